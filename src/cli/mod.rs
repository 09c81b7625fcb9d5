//! The command line: one file a command; only here is a terminal drawn on.

mod args;
mod backup;
mod check;
mod copy;
mod demo;
mod doctor;
mod forget;
mod key;
mod leftovers;
mod list;
mod lock;
mod progress;
mod prompt;
mod render;
mod repair;
mod report;
mod restore;
mod signals;
mod tables;
mod verify;

use crate::app::{App, Overrides};
use crate::clock::SystemClock;
use crate::config::Environment;
use crate::crypto::Credential;
use crate::event::{Cancel, Event, Observer};
use crate::repo::reader::ReadSettings;
use crate::repo::{Identity, Repository};
use args::{Cli, Command};
use clap::{CommandFactory, Parser};
use progress::Progress;
use report::{CliError, Exit};
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

/// Parses the arguments, runs the command, reports.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Safe to ignore because there is nowhere left to say it.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Good.into() };
        }
    };
    start_logging(cli.globals.verbose);
    let cancel = Cancel::new();
    if let Err(error) = signals::watch(&cancel) {
        tracing::warn!("signals cannot be watched: {error}");
    }
    let json = cli.globals.json;
    let outcome = run(cli, &cancel);
    match outcome {
        Ok(Exit::Good) if OUTPUT_FAILED.load(Ordering::SeqCst) => Exit::Partial.into(),
        Ok(exit) => exit.into(),
        Err(error) => report::report(&error, json, cancel.is_cancelled()).into(),
    }
}

fn start_logging(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = tracing_subscriber::EnvFilter::new(format!("dumpvault={level}"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
}

/// A clock further off than this earns a warning.
const SKEW_MS_MAX: u64 = 300_000;

/// What every command works with.
struct Context {
    app: App,
    cancel: Cancel,
    clock: SystemClock,
    json: bool,
    quiet: bool,
    progress: Progress,
}

impl Context {
    /// The key, from wherever it is given.
    fn credential(&self) -> Result<Credential, CliError> {
        let found = self.app.credential(&|| prompt::ask("passphrase of the repository: "))?;
        if let Some(message) = found.warning {
            self.warn(message);
        }
        Ok(found.credential)
    }

    fn repository(&self) -> Result<Repository, CliError> {
        let identity = self.identify()?;
        Ok(self.app.open(&identity, &self.credential()?)?)
    }

    /// The repository as the storage has it, past any cache.
    fn repository_uncached(&self) -> Result<Repository, CliError> {
        let identity = self.identify()?;
        Ok(self.app.open_uncached(&identity, &self.credential()?)?)
    }

    /// Whether there is a repository is told before a passphrase is asked for.
    fn identify(&self) -> Result<Identity, CliError> {
        let identity = self.app.identify()?;
        if let Some(skew) = self.app.skew_ms().filter(|skew| skew.unsigned_abs() > SKEW_MS_MAX) {
            let (minutes, direction) =
                (skew.unsigned_abs() / 60_000, if skew > 0 { "behind" } else { "ahead of" });
            self.warn(format!(
                "this host's clock is {minutes} minutes {direction} the storage's: set it right"
            ));
        }
        Ok(identity)
    }

    fn warn(&self, message: String) {
        self.progress.observe(Event::Warning { message });
    }

    /// A line for people, left out with --quiet and --json.
    fn say(&self, line: &str) {
        if !self.quiet && !self.json {
            self.progress.suspend(|| print(line));
        }
    }

    /// A line that is the command's very output.
    fn output(&self, line: &str) {
        self.progress.suspend(|| print(line));
    }

    fn cores(&self) -> usize {
        std::thread::available_parallelism().map_or(2, usize::from)
    }

    fn read_settings(&self) -> ReadSettings {
        if self.app.is_remote() { ReadSettings::remote() } else { ReadSettings::local(self.cores()) }
    }
}

/// Set when a line could not be written: what a script takes for the whole list would not be.
static OUTPUT_FAILED: AtomicBool = AtomicBool::new(false);

/// Prints a line. A reader that went away is no error of ours: `… | head` is a fine thing to do.
fn print(line: &str) {
    // Names come from the repository: a terminal may obey what is hidden in them.
    let line = line.replace(|c: char| c.is_control() && c != '\n', "?");
    let mut out = std::io::stdout().lock();
    if let Err(error) = writeln!(out, "{line}").and_then(|()| out.flush())
        && error.kind() != std::io::ErrorKind::BrokenPipe
        && !OUTPUT_FAILED.swap(true, Ordering::SeqCst)
    {
        // Safe to ignore because there is nowhere left to say it.
        let _ = writeln!(std::io::stderr().lock(), "dumpvault: error: standard output: {error}");
    }
}

fn run(cli: Cli, cancel: &Cancel) -> Result<Exit, CliError> {
    let globals = cli.globals;
    if let Command::Completions { shell } = cli.command {
        clap_complete::generate(shell, &mut Cli::command(), "dumpvault", &mut std::io::stdout());
        return Ok(Exit::Good);
    }
    let environment = Environment {
        variables: std::env::vars_os().collect(),
        directory: std::env::current_dir().map_err(CliError::WorkingDirectory)?,
        is_root: rustix::process::geteuid().is_root(),
    };
    let overrides = Overrides {
        repository: globals.repo,
        config: globals.config,
        password_file: globals.password_file,
        key_file: globals.key_file,
        s3_endpoint: globals.s3_endpoint,
        s3_region: globals.s3_region,
        object_lock: globals.object_lock,
        limit_upload: globals.limit_upload,
        limit_download: globals.limit_download,
        cache_size: globals.cache_size,
        no_cache: globals.no_cache,
    };
    let draw = !globals.quiet && !globals.json;
    let context = Context {
        app: App::new(overrides, environment, cancel.flag())?,
        cancel: cancel.clone(),
        clock: SystemClock,
        json: globals.json,
        quiet: globals.quiet,
        progress: Progress::new(draw, std::io::stderr().is_terminal()),
    };
    let outcome = dispatch(&context, cli.command);
    if let Some(requests) = context.app.requests() {
        tracing::info!("{}", render::requests(&requests));
    }
    outcome
}

fn dispatch(context: &Context, command: Command) -> Result<Exit, CliError> {
    match command {
        Command::Init(args) => key::init(context, &args),
        Command::Backup(args) => backup::run(context, &args),
        Command::Restore(args) => restore::run(context, &args),
        Command::Cat(args) => restore::cat(context, &args),
        Command::Snapshots(args) => list::snapshots(context, &args),
        Command::Ls(args) => list::ls(context, &args),
        Command::Diff(args) => tables::diff(context, &args),
        Command::Swap(args) => restore::swap_databases(context, &args),
        Command::Verify(args) => verify::run(context, &args),
        Command::Show(args) => list::show(context, &args),
        Command::Stats => list::stats(context),
        Command::Check(args) => check::run(context, &args),
        Command::Repair(args) => repair::run(context, &args.command),
        Command::Forget(args) => forget::forget(context, &args),
        Command::Prune(args) => forget::prune(context, &args),
        Command::Lock(args) => lock::run(context, &args),
        Command::Copy(args) => copy::run(context, &args),
        Command::Tag(args) => forget::tag(context, &args),
        Command::Key(args) => key::run(context, &args.command),
        Command::Demo(args) => demo::run(context, &args),
        Command::Doctor => doctor::run(context),
        Command::Completions { .. } => Ok(Exit::Good),
    }
}
