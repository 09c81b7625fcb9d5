//! Programs that dumpvault starts: what they get to see, where and as whom they run, and how they are ended.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code)]
use crate::support::cli::{Lifeline, PASSPHRASE, Running, Vault, exit, run};
use crate::support::pg::Server;
use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// Secrets of the caller's environment, by name; each has its name as its value.
const SECRETS: [&str; 6] = [
    "DUMPVAULT_TO_PASSWORD",
    "DUMPVAULT_ANYTHING",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_PROFILE",
    "AZURE_STORAGE_KEY",
    "GOOGLE_APPLICATION_CREDENTIALS",
];

fn with_secrets(vault: &Vault, args: &[&str]) -> Command {
    let mut command = vault.command(args);
    command.envs(SECRETS.map(|name| (name, name)));
    command.env("ORDINARY", "ordinary");
    command
}

fn config(vault: &Vault, text: &str) {
    fs::write(vault.work().join("dumpvault.toml"), text).unwrap();
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Lines of what was printed that are variables of the secret kinds.
fn secrets_in(text: &str) -> Vec<&str> {
    let kinds = ["DUMPVAULT_", "AWS_", "AZURE_", "GOOGLE_"];
    text.lines().filter(|line| kinds.iter().any(|kind| line.starts_with(kind))).collect()
}

#[test]
fn given_secrets_in_the_environment_then_programs_that_make_or_take_a_dump_get_none_of_them() {
    let vault = Vault::new();
    let backup = ["backup", "--series", "env", "--command", "--", "env"];
    run(with_secrets(&vault, &backup), b"").expect(exit::OK);
    let dump = vault.restore("env").expect(exit::OK).text();
    assert_eq!(secrets_in(&dump), [""; 0], "{dump}");
    assert!(dump.contains("ORDINARY=ordinary") && dump.contains("PATH="), "{dump}");

    let restore = ["restore", "env", "--command", "--", "sh", "-c", "cat >/dev/null; env"];
    let taken = run(with_secrets(&vault, &restore), b"").expect(exit::OK).text();
    assert_eq!(secrets_in(&taken), [""; 0], "{taken}");
    assert!(taken.contains("ORDINARY=ordinary"), "{taken}");

    config(&vault, "pass_env = ['AWS_PROFILE']\n");
    let taken = run(with_secrets(&vault, &restore), b"").expect(exit::OK).text();
    assert_eq!(secrets_in(&taken), ["AWS_PROFILE=AWS_PROFILE"]);
}

#[test]
fn given_a_source_that_says_what_its_programs_need_then_they_get_that_and_nothing_more() {
    let vault = Vault::new();
    let env_file = vault.home().join("env");
    fs::write(&env_file, "# comes first\nFROM_FILE=\"a file\"\nBOTH=file\n").unwrap();
    fs::set_permissions(&env_file, fs::Permissions::from_mode(0o600)).unwrap();
    let folder = vault.home().join("folder");
    fs::create_dir(&folder).unwrap();
    config(
        &vault,
        &format!(
            "[source.x]\ncommand = ['sh', '-c', 'env; pwd']\nenv = {{ BOTH = 'table', AWS_REGION = 'here' }}\n\
             env_file = '{}'\npass_env = ['AZURE_STORAGE_KEY', 'NOT_SET']\nworkdir = '../folder'\n",
            env_file.display()
        ),
    );
    run(with_secrets(&vault, &["backup", "x"]), b"").expect(exit::OK).does_not_say("readable");
    let dump = vault.restore("x").expect(exit::OK).text();
    let mut secrets = secrets_in(&dump);
    secrets.sort_unstable();
    assert_eq!(secrets, ["AWS_REGION=here", "AZURE_STORAGE_KEY=AZURE_STORAGE_KEY"]);
    for line in ["FROM_FILE=a file", "BOTH=table", folder.to_str().unwrap()] {
        assert!(dump.lines().any(|other| other == line), "{line}: {dump}");
    }
    assert!(!dump.contains("BOTH=file"), "{dump}");

    fs::set_permissions(&env_file, fs::Permissions::from_mode(0o644)).unwrap();
    vault.run(["backup", "x"]).expect(exit::OK).says("readable by other users").says("chmod 600");
    fs::set_permissions(&env_file, fs::Permissions::from_mode(0o666)).unwrap();
    vault.run(["backup", "x"]).expect(exit::USAGE).says("is not trusted");
}

#[test]
fn given_a_source_with_a_user_then_its_programs_run_as_that_user_alone() {
    let vault = Vault::new();
    let source = |user: &str| {
        let script = "id -u; id -G; echo $HOME $USER $LOGNAME";
        config(&vault, &format!("[source.x]\ncommand = ['sh', '-c', '{script}']\nrun_as = '{user}'\n"));
    };
    source("no-such-user");
    vault.run(["backup", "x"]).expect(exit::USAGE).says("source.x.run_as").says("no-such-user");
    if !is_root() {
        source("root");
        vault.run(["backup", "x"]).expect(exit::USAGE).says("only root");
        return;
    }
    source("nobody");
    vault.run(["backup", "x"]).expect(exit::OK);
    let said = vault.restore("x").expect(exit::OK).text();
    let ids = |option: &str| {
        let output = Command::new("id").args([option, "nobody"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let mut lines = said.lines();
    assert_eq!(lines.next(), Some(ids("-u").trim()));
    assert_eq!(lines.next(), Some(ids("-g").trim()), "no group of root's");
    assert!(lines.next().unwrap().ends_with(" nobody nobody"), "{said}");
}

// --- the password command

fn by_command(vault: &Vault, command: &str) -> Command {
    let mut program = vault.command(["snapshots"]);
    program.env_remove("DUMPVAULT_PASSWORD").env("DUMPVAULT_PASSWORD_COMMAND", command);
    program
}

#[test]
fn given_a_password_command_that_never_ends_then_it_is_stopped_with_all_that_it_started() {
    let vault = Vault::with_passphrase();
    let lifeline = Lifeline::new();
    config(&vault, "password_command_timeout = '1s'\n");
    // Held by a child of the command's own, too.
    let script = format!("exec 3>{}; echo started >&3; sleep 1000 | cat", lifeline.path());
    let running = Running::start(by_command(&vault, &script));
    let mut held = lifeline.held();
    assert_eq!(held.line(), "started");
    running.wait().expect(exit::USAGE).says("exceeded 1s").says("password_command_timeout");
    held.let_go();
    let mut bad = by_command(&vault, "true");
    bad.env("DUMPVAULT_PASSWORD_COMMAND_TIMEOUT", "soon");
    run(bad, b"").expect(exit::USAGE).says("DUMPVAULT_PASSWORD_COMMAND_TIMEOUT");
}

#[test]
fn given_a_password_command_under_way_when_interrupted_then_it_is_stopped_and_the_status_is_130() {
    let vault = Vault::with_passphrase();
    let lifeline = Lifeline::new();
    let script = format!("exec 3>{}; echo started >&3; sleep 1000 | cat", lifeline.path());
    let running = Running::start(by_command(&vault, &script));
    let mut held = lifeline.held();
    assert_eq!(held.line(), "started");
    running.signal(Signal::INT);
    running.wait().expect(exit::INTERRUPTED).says("interrupted");
    held.let_go();
}

#[test]
fn given_a_password_command_then_it_gets_what_a_cloud_wants_and_nothing_of_ours() {
    let vault = Vault::with_passphrase();
    let seen = vault.home().join("seen");
    let script = format!("env >'{}'; echo '{PASSPHRASE}'", seen.display());
    let mut program = by_command(&vault, &script);
    program.envs(SECRETS.map(|name| (name, name)));
    run(program, b"").expect(exit::OK);
    let seen = fs::read_to_string(seen).unwrap();
    assert!(seen.contains("AWS_SECRET_ACCESS_KEY=") && !seen.contains("DUMPVAULT_"), "{seen}");
    // More than any passphrase: refused, not read for ever.
    run(by_command(&vault, "exec cat /dev/zero"), b"").expect(exit::USAGE).says("too long");
}

#[test]
fn given_what_an_editor_leaves_around_a_passphrase_then_it_counts_and_is_told() {
    let vault = Vault::with_passphrase();
    let file = vault.home().join("pw");
    for (text, told) in [
        (format!("\u{feff}{PASSPHRASE}\n"), "byte order mark"),
        (format!("{PASSPHRASE} \n"), "ends with a blank"),
        (format!("{PASSPHRASE}\t\r\n"), "ends with a blank"),
        (format!(" {PASSPHRASE}\n"), "begins with a blank"),
    ] {
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let by_file = vault.run(["--password-file", file.to_str().unwrap(), "snapshots"]);
        by_file.expect(exit::WRONG_KEY).says(told);
        run(by_command(&vault, &format!("cat '{}'", file.display())), b"").expect(exit::WRONG_KEY).says(told);
        let add = ["key", "add", "--new-password-file", file.to_str().unwrap()];
        vault.run(add).expect(exit::OK).says(told);
        // With what was told, it opens.
        vault.run(["--password-file", file.to_str().unwrap(), "snapshots"]).expect(exit::OK).says(told);
    }
    fs::write(&file, format!("{PASSPHRASE}\r\n")).unwrap();
    let good = vault.run(["--password-file", file.to_str().unwrap(), "snapshots"]).expect(exit::OK);
    good.does_not_say("warning");
}

// --- memory

#[test]
fn given_the_program_runs_then_it_leaves_no_core_dump_and_nobody_else_reads_its_memory() {
    let vault = Vault::new();
    // Its own program may be looked into, this one may not: neither as the same user nor as root without special
    // rights.
    let script = "grep '^Max core' /proc/$PPID/limits; sleep 1000 & other=$!; \
                  cat /proc/$other/environ >/dev/null && echo other; kill $other; \
                  cat /proc/$PPID/environ >/dev/null && echo this; true";
    let args = ["backup", "--series", "x", "--command", "--", "sh", "-c", script];
    let program = vault.command(args);
    let bare = match is_root() {
        false => program,
        true => {
            let mut bare = vault.command([""; 0]);
            let words: Vec<_> = std::iter::once(program.get_program()).chain(program.get_args()).collect();
            let mut without = Command::new("setpriv");
            without.args(["--bounding-set=-all", "--inh-caps=-all", "--"]).args(words);
            without.env_clear().envs(bare.get_envs().filter_map(|(name, value)| Some((name, value?))));
            without.current_dir(vault.work()).stdin(std::process::Stdio::null());
            std::mem::swap(&mut bare, &mut without);
            bare
        }
    };
    run(bare, b"").expect(exit::OK);
    let said = vault.restore("x").expect(exit::OK).text();
    let words: Vec<&str> = said.split_whitespace().collect();
    assert_eq!(words, ["Max", "core", "file", "size", "0", "0", "bytes", "other"], "{said}");
}

// --- PostgreSQL's programs

#[test]
fn programs_of_postgresql_behind_other_programs() {
    let server = Server::start();
    server.create("app");
    server.psql(
        "app",
        "CREATE TABLE t (a text); INSERT INTO t SELECT 'row ' || i FROM generate_series(1, 500) i",
    );
    let vault = Vault::new();
    every_word_reaches_a_remote_shell_whole(&server, &vault);
    hooks_get_what_is_meant_for_them(&server, &vault);
    programs_get_what_their_source_says(&server, &vault);
}

/// A stand-in that does as `ssh` does: it joins its words, and a shell at the other end takes them apart.
fn every_word_reaches_a_remote_shell_whole(server: &Server, vault: &Vault) {
    let (bin, home, port) = (server.bin().display(), server.socket_dir().display(), server.port());
    let far = format!(
        "#!/bin/sh\n[ \"$1\" = db1 ] || exit 99\nshift\n\
         exec env -i PATH={bin}:/usr/bin:/bin PGHOST={home} PGPORT={port} sh -c \"$*\"\n"
    );
    let name = "it's $(odd) `name`; x";
    server.psql("postgres", "CREATE DATABASE \"it's $(odd) `name`; x\" TEMPLATE app");
    let original = server.dump_plain("app");
    for program in ["ssh", "jump"] {
        let script = vault.work().join(program);
        fs::write(&script, &far).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let exec = format!("{} db1 env A=b", script.display());
        let with = |args: &[&str]| vault.run([args, &["--pg-user", "postgres", "--pg-exec", &exec]].concat());
        if program == "jump" {
            with(&["backup", "--pg-database", name, "--series", "far"]).expect(exit::NOTHING_DONE);
            config(vault, "exec_shell = true\n");
        }
        with(&["backup", "--pg-database", name, "--series", "far"]).expect(exit::OK);
        with(&[
            "backup",
            "--pg-database",
            "app",
            "--exclude-table",
            "\"no 'such\" (table)",
            "--series",
            "app",
        ])
        .expect(exit::OK);
        for jobs in [&[][..], &["--jobs", "2"]] {
            with(&[&["restore", "far", "--to-database", "back", "--create"], jobs].concat()).expect(exit::OK);
            assert_eq!(server.dump_plain("back"), original);
            server.psql("postgres", "DROP DATABASE back");
        }
    }
    config(
        vault,
        &format!(
            "[source.far]\ndatabase = 'app'\nuser = 'postgres'\nexec = ['{}', 'db1']\nexec_shell = true\n",
            vault.work().join("jump").display()
        ),
    );
    vault.run(["backup", "far"]).expect(exit::OK);
    config(vault, "");
}

fn hooks_get_what_is_meant_for_them(server: &Server, vault: &Vault) {
    let seen = vault.home().join("seen");
    let hook =
        format!("env | grep -E '^(DUMPVAULT|AWS|AZURE|GOOGLE)_' | cut -d= -f1 | sort >'{}'", seen.display());
    let args = ["restore", "app", "--to-database", "copy", "--create", "--before", &hook];
    let mut restore = with_secrets(vault, &args);
    server.reached_by(&mut restore, "postgres");
    run(restore, b"").expect(exit::OK);
    let seen = fs::read_to_string(seen).unwrap();
    assert_eq!(seen, "DUMPVAULT_DATABASE\nDUMPVAULT_SERIES\nDUMPVAULT_SNAPSHOT\n");
}

/// Where the server is, and who asks, by nothing but the source's own variables.
fn programs_get_what_their_source_says(server: &Server, vault: &Vault) {
    let (home, port) = (server.socket_dir().display(), server.port());
    let env = format!("env = {{ PGHOST = '{home}', PGPORT = '{port}', PGUSER = 'postgres' }}");
    let bin = format!("pg_bin_dirs = ['{}']\n", server.bin().display());
    config(
        vault,
        &format!("{bin}[source.app]\n{env}\n[source.all]\nall_databases = true\nglobals = true\n{env}\n"),
    );
    vault.run(["backup", "app", "all"]).expect(exit::OK);
    // Its programs cannot even begin in a folder that is not there.
    config(vault, &format!("{bin}[source.app]\n{env}\nworkdir = '/no/such/folder'\n"));
    vault.run(["backup", "app"]).expect(exit::NOTHING_DONE).says("/no/such/folder");
}
