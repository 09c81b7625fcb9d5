//! `dumpvault setup`: a configuration for one source, tried out: repository, first backup, verification.
//!
//! Each step is a command of this program in a process of its own, as a person would run it later.

use super::args::{Globals, SetupArgs};
use super::exit::Exit;
use super::print;
use super::report::CliError;
use crate::engine::restore::quoted;
use crate::settings::Environment;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

pub(super) fn run(args: &SetupArgs, globals: &Globals, environment: &Environment) -> Result<Exit, CliError> {
    let started = Instant::now();
    let repo = globals.repo.clone().or_else(|| environment.text("DUMPVAULT_REPOSITORY"));
    let repo = repo.ok_or_else(|| {
        CliError::usage_hint("no repository given", "add --repo, such as --repo /srv/vault")
    })?;
    let source = source(args)?;
    let config =
        environment.directory.join(globals.config.clone().unwrap_or_else(|| usual_place(environment)));
    let folder = config.parent().unwrap_or(Path::new("/")).to_owned();
    let key = globals.key_file.clone().unwrap_or_else(|| folder.join("repo.key"));
    let text = configuration(&absolute(&repo, environment), &environment.directory.join(key), &source);
    if args.dry_run {
        print(&format!("would write {}:", config.display()));
        print("");
        masked(text.trim_end(), &args.source).lines().for_each(print);
        return Ok(Exit::Good);
    }
    write_new(&config, &text)?;
    say(globals, &format!("wrote configuration {}", config.display()));
    let steps = Steps { globals, config: &config };
    let server = args.server.clone().or_else(|| source.server.clone());
    match tried(&steps, &source.name) {
        Ok(None) => {}
        outcome => {
            // The key file stays: a repository that was created needs it.
            // Safe to ignore because the next run says that the file is there.
            let _ = std::fs::remove_file(&config);
            let exit = outcome?.unwrap_or(1);
            return Err(CliError::Told {
                message: format!("setup failed (see above); removed {}", config.display()),
                hint: Some("fix the cause and run the same command again".to_owned()),
                code: None,
                kind: None,
                exit: Exit::of_code(exit),
            });
        }
    }
    if let Some(exit) = verified(&steps, &source, server.as_deref())? {
        return Err(CliError::Told {
            message: "the backup is stored, and could not be verified (see above)".to_owned(),
            hint: Some(format!(
                "run `dumpvault --config {} verify {} --server URI` with a role that may create databases",
                config.display(),
                source.name
            )),
            code: None,
            kind: None,
            exit: Exit::of_code(exit),
        });
    }
    say(
        globals,
        &format!("Done in {:.1} s: a verified backup of `{}`.", started.elapsed().as_secs_f64(), source.name),
    );
    say(globals, &schedule(&config, server.as_deref()));
    Ok(Exit::Good)
}

/// What is to be backed up: a name, and lines of its table.
struct Source {
    name: String,
    lines: Vec<String>,
    /// A server that can take a scratch copy: its own, without a password.
    server: Option<String>,
    password: Option<String>,
}

fn source(args: &SetupArgs) -> Result<Source, CliError> {
    let address = args.source.as_str();
    let (scheme, rest) = address.split_once("://").unwrap_or_default();
    if address.contains("?password=") || address.contains("&password=") {
        return Err(CliError::usage_hint(
            "setup takes no password behind `?` of an address",
            "write it into ~/.pgpass, or as USER:PASSWORD@HOST",
        ));
    }
    let quoted = toml::Value::from(address).to_string();
    let (kind, lines, has_rows) = match scheme {
        "postgres" | "postgresql" => ("postgres", vec![format!("uri = {quoted}")], true),
        "redis" | "rediss" | "valkey" | "valkeys" => {
            ("redis", vec!["type = \"redis\"".to_owned(), format!("uri = {quoted}")], false)
        }
        "s3" => ("bucket", vec![format!("bucket = {quoted}")], false),
        _ => {
            return Err(CliError::usage_hint(
                "setup needs the address of a source",
                "use postgres://USER@HOST/DATABASE, redis://HOST or s3://BUCKET",
            ));
        }
    };
    // The database, or the host; nothing of a password.
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = authority.rsplit('@').next().unwrap_or_default().split(':').next().unwrap_or_default();
    if has_rows && path.is_empty() {
        return Err(CliError::usage_hint("the address has no database name", "add /DATABASE"));
    }
    let own = [path.trim_end_matches('/').rsplit('/').next().unwrap_or_default(), host];
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    // The number of a Redis database says nothing, nor does what is left of a name in other letters.
    let is_telling = |name: &String| name.contains(|letter: char| letter.is_ascii_alphabetic());
    let own = own.into_iter().filter(|text| !text.contains('%'));
    let mut own = own.map(|text| text.replace(|letter| !allowed(letter), "_")).filter(is_telling);
    let name = args.series.clone().or_else(|| own.next()).unwrap_or_else(|| kind.to_owned());
    if name.is_empty() || !name.chars().all(allowed) {
        return Err(CliError::usage("--series: use letters, digits, `-` and `_` here"));
    }
    let password = password_of(address).map(str::to_owned);
    let server = has_rows.then(|| match &password {
        Some(password) => address.replacen(&format!(":{password}@"), "@", 1),
        None => address.to_owned(),
    });
    Ok(Source { name, lines, server, password })
}

/// Where the configuration of this user is looked for.
fn usual_place(environment: &Environment) -> PathBuf {
    match (environment.uid, environment.path("XDG_CONFIG_HOME"), environment.path("HOME")) {
        (0, None, _) => PathBuf::from("/etc/dumpvault/config.toml"),
        (_, Some(folder), _) => folder.join("dumpvault/config.toml"),
        (_, None, Some(home)) => home.join(".config/dumpvault/config.toml"),
        (_, None, None) => PathBuf::from("/etc/dumpvault/config.toml"),
    }
}

/// A directory by its whole path, since jobs run elsewhere; other addresses as they are.
fn absolute(repo: &str, environment: &Environment) -> String {
    match repo.contains(':') {
        true => repo.to_owned(),
        false => environment.directory.join(repo).display().to_string(),
    }
}

fn configuration(repo: &str, key: &Path, source: &Source) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let name = &source.name;
    format!(
        "# Written by `dumpvault setup`. All settings: `dumpvault config example`.
repository = {repo}
key_file = {key}

[source.{name}]
{lines}

# `dumpvault run nightly` does all of it.
[system.nightly]
sources = [{quoted_name}]
forget = true
prune = \"7d\"
check = \"1/30\"

[retention]
keep_daily = 7
keep_weekly = 4
keep_monthly = 12
",
        repo = quoted(repo),
        key = quoted(&key.display().to_string()),
        lines = source.lines.join("\n"),
        quoted_name = quoted(name),
    )
}

/// The password in an address.
fn password_of(address: &str) -> Option<&str> {
    let authority = address.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@'));
    let password = authority.and_then(|(person, _)| person.split_once(':')).map(|(_, password)| password);
    password.filter(|password| !password.is_empty())
}

/// The same text without the password of the address.
fn masked(text: &str, address: &str) -> String {
    match password_of(address) {
        Some(password) => text.replace(&format!(":{password}@"), ":***@"),
        None => text.to_owned(),
    }
}

/// Writes a file that is not there yet, for its owner alone.
fn write_new(path: &Path, text: &str) -> Result<(), CliError> {
    let failed = |source| CliError::File { path: path.display().to_string(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    if path.exists() {
        return Err(CliError::usage_hint(
            format!("configuration `{}` exists", path.display()),
            "edit it, or give another one with --config",
        ));
    }
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all())).map_err(failed)
}

/// Variables that override the file.
const ELSEWHERE: [&str; 5] = [
    "DUMPVAULT_REPOSITORY",
    "DUMPVAULT_KEY_FILE",
    "DUMPVAULT_PASSWORD",
    "DUMPVAULT_PASSWORD_FILE",
    "DUMPVAULT_PASSWORD_COMMAND",
];

/// Commands of this program, with the new configuration.
struct Steps<'a> {
    globals: &'a Globals,
    config: &'a Path,
}

impl Steps<'_> {
    fn command(&self, words: &[&str]) -> Result<Command, CliError> {
        let mut command = Command::new(std::env::current_exe().map_err(CliError::WorkingDirectory)?);
        // What the file says holds, as it will at night.
        for variable in ELSEWHERE {
            command.env_remove(variable);
        }
        command.arg("--config").arg(self.config).args(words);
        Ok(command)
    }

    /// Runs it where everybody sees it; its exit code if that is not 0.
    fn show(&self, words: &[&str]) -> Result<Option<u8>, CliError> {
        self.show_with(words, None)
    }

    /// The same, with a password for the server, which no list of processes shows.
    fn show_with(&self, words: &[&str], password: Option<&str>) -> Result<Option<u8>, CliError> {
        say(self.globals, "");
        say(self.globals, &format!("$ dumpvault {}", words.join(" ")));
        let mut command = self.command(words)?;
        command.envs(password.map(|password| ("PGPASSWORD", password)));
        if self.globals.quiet {
            command.arg("--quiet");
        }
        code(command.status())
    }
}

/// An exit code that is not 0.
fn code(status: std::io::Result<std::process::ExitStatus>) -> Result<Option<u8>, CliError> {
    let code = status.map_err(CliError::WorkingDirectory)?.code();
    let code = code.and_then(|code| u8::try_from(code).ok()).unwrap_or(Exit::Interrupted.code());
    Ok((code != 0).then_some(code))
}

/// Every step until one fails; the exit code of that one.
fn tried(steps: &Steps<'_>, name: &str) -> Result<Option<u8>, CliError> {
    if let Some(failed) = steps.show(&["config", "check"])? {
        return Ok(Some(failed));
    }
    let mut look = steps.command(&["--quiet", "snapshots"])?;
    look.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let is_new = code(look.status())? == Some(Exit::NoRepository.code());
    if is_new && let Some(failed) = steps.show(&["init"])? {
        return Ok(Some(failed));
    }
    steps.show(&["backup", name])
}

/// Verifies the backup; the exit code if that fails.
fn verified(steps: &Steps<'_>, source: &Source, server: Option<&str>) -> Result<Option<u8>, CliError> {
    let mut verify = vec!["verify", &source.name];
    verify.extend(server.iter().flat_map(|server| ["--server", *server]));
    let own = server.is_some() && server == source.server.as_deref();
    steps.show_with(&verify, source.password.as_deref().filter(|_| own))
}

fn schedule(config: &Path, server: Option<&str>) -> String {
    let option = format!(" --config {}", config.display());
    // In a crontab `%` ends a command.
    let server =
        server.map_or_else(String::new, |server| format!(" --server {}", quoted(server).replace('%', "\\%")));
    let program = std::env::current_exe().map_or("dumpvault".to_owned(), |path| path.display().to_string());
    format!(
        "
To run it every night, put these lines into /etc/cron.d/dumpvault:

15 3 * * *  root  {program}{option} --quiet run nightly
15 6 * * 0  root  {program}{option} --quiet verify{server}
0 9 * * *   root  {program}{option} status --max-age 26h > /dev/null

Keep a copy of the key file on another machine: without it the data cannot be read."
    )
}

fn say(globals: &Globals, line: &str) {
    if !globals.quiet {
        line.split('\n').for_each(print);
    }
}
