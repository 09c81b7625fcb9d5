//! `dumpvault backup`: what a source can do wrong makes no snapshot, and is said.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support::cli::{
    Held, Lifeline, Output, PASSPHRASE, Running, Vault, exit, files_below, noise, number, rows, run, text,
};
use rustix::process::Signal;
use std::fs;
use std::time::{Duration, Instant};

/// Backs up what a shell script writes.
fn backup_script(vault: &Vault, options: &[&str], script: &str) -> Output {
    vault.run(backup_args(options, script))
}

fn backup_args<'a>(options: &[&'a str], script: &'a str) -> Vec<&'a str> {
    let mut args = vec!["backup", "--series", "app"];
    args.extend(options);
    args.extend(["--command", "--", "sh", "-c", script]);
    args
}

#[track_caller]
fn assert_no_snapshot(vault: &Vault) {
    assert_eq!(vault.snapshots().len(), 0, "a snapshot of a dump that did not end well");
    vault.restore("app").expect(exit::USAGE);
}

// --- dumps that end well

#[test]
fn given_a_dump_on_standard_input_when_restored_then_every_byte_is_the_same() {
    let vault = Vault::new();
    for (seed, len) in [(1, 1), (2, 255), (3, 262_144), (4, 3_000_001)] {
        let dump = noise(seed, len);
        let id = vault.backup("app", &dump);
        assert!(vault.restore(&id).expect(exit::OK).stdout == dump, "{len} bytes");
    }
    let dump = rows(5, 100_000);
    let id = vault.backup("app", &dump);
    assert!(vault.restore(&id).expect(exit::OK).stdout == dump);
}

#[test]
fn given_a_command_when_it_exits_with_0_then_its_output_is_the_dump_and_its_arguments_meet_no_shell() {
    let vault = Vault::new();
    let odd = "two  words; $HOME `id` 'q' \"q\" \\ *";
    vault.run(["backup", "--series", "app", "--command", "--", "printf", "%s", odd]).expect(exit::OK);
    assert_eq!(vault.restore("app").expect(exit::OK).text(), odd);
}

#[test]
fn given_the_same_dump_again_then_next_to_nothing_is_added() {
    let vault = Vault::new();
    let dump = noise(1, 8_000_000);
    let first = vault.backup("app", &dump);
    let bytes = vault.repo_bytes();
    let second = vault.backup("app", &dump);
    assert!(number(&vault.snapshot(&first), "bytes_stored") >= 8_000_000);
    assert!(number(&vault.snapshot(&second), "bytes_stored") < 8_000);
    assert!(vault.repo_bytes() - bytes < 160_000, "{} bytes more", vault.repo_bytes() - bytes);
}

#[test]
fn given_every_compression_then_the_dump_comes_back_and_more_effort_takes_less_room() {
    let dump = rows(1, 60_000);
    let stored = |level: &str| {
        let vault = Vault::new();
        let id = vault.backup_with("app", &dump, &["--compression", level]);
        assert!(vault.restore(&id).expect(exit::OK).stdout == dump, "{level}");
        number(&vault.snapshot(&id), "bytes_stored")
    };
    let raw = stored("0");
    let sizes: Vec<u64> = ["fast", "zstd", "max", "19", "columns"].into_iter().map(stored).collect();
    assert!(sizes.iter().all(|size| *size < raw), "{sizes:?} {raw}");
    assert!(sizes[3] < sizes[0] && sizes[2] <= sizes[1], "{sizes:?}");
    // What is known of rows is worth more than effort.
    assert!(sizes[4] < sizes[3] && stored("default") < sizes[3], "{sizes:?}");

    let vault = Vault::new();
    for level in ["20", "-1", "best", ""] {
        let option = format!("--compression={level}");
        vault.run_with(["backup", "--stdin", "--series", "app", &option], b"x").expect(exit::USAGE);
    }
}

#[test]
fn given_bytes_that_do_not_compress_then_they_are_stored_as_they_are() {
    let vault = Vault::new();
    let id = vault.backup("app", &noise(1, 4_000_000));
    let stored = number(&vault.snapshot(&id), "bytes_stored");
    assert!(stored < 4_000_000 + 40_000, "{stored}");
}

// --- dumps that do not

#[test]
fn given_a_command_that_does_not_exist_then_it_is_named() {
    let vault = Vault::new();
    for program in ["no-such-program", "/no/such/program"] {
        vault
            .run(["backup", "--series", "app", "--command", "--", program, "x"])
            .expect(exit::NOTHING_DONE)
            .says(program);
    }
    assert_no_snapshot(&vault);
}

#[test]
fn given_a_command_that_fails_after_its_output_then_its_status_and_last_words_are_shown() {
    let vault = Vault::new();
    backup_script(&vault, &[], "head -c 20000000 /dev/zero; echo last words >&2; exit 7")
        .expect(exit::NOTHING_DONE)
        .says("7")
        .says("last words");
    assert_no_snapshot(&vault);
}

#[test]
fn given_a_command_that_fails_before_any_output_then_no_snapshot_is_made_even_where_empty_is_allowed() {
    let vault = Vault::new();
    backup_script(&vault, &["--allow-empty"], "exit 1").expect(exit::NOTHING_DONE);
    assert_no_snapshot(&vault);
}

#[test]
fn given_a_command_that_is_killed_then_the_signal_is_named() {
    let vault = Vault::new();
    let killed = backup_script(&vault, &[], "echo half a dump; kill -9 $$").expect(exit::NOTHING_DONE);
    assert!(killed.stderr.contains("signal 9") || killed.stderr.contains("SIGKILL"), "{killed}");
    assert_no_snapshot(&vault);
}

#[test]
fn given_an_empty_dump_then_it_is_an_error_unless_allowed() {
    let vault = Vault::new();
    backup_script(&vault, &[], "true").expect(exit::NOTHING_DONE).says("empty").says("--allow-empty");
    vault.run(["backup", "--series", "app", "--stdin"]).expect(exit::NOTHING_DONE).says("empty");
    assert_no_snapshot(&vault);

    backup_script(&vault, &["--allow-empty"], "true").expect(exit::OK);
    vault.run(["backup", "--series", "app", "--stdin", "--allow-empty"]).expect(exit::OK);
    assert_eq!(vault.snapshots().len(), 2);
    for name in ["app", "app~1"] {
        assert_eq!(vault.restore(name).expect(exit::OK).stdout, b"");
    }
}

#[test]
fn given_a_command_that_closes_its_output_and_hangs_when_the_time_is_over_then_it_is_ended() {
    let vault = Vault::new();
    let lifeline = Lifeline::new();
    let script = format!("exec 3>{}; echo a dump; exec >&-; sleep 1000; true", lifeline.path());
    let running = Running::start(vault.command(backup_args(&["--timeout", "1s"], &script)));
    let held = lifeline.held();
    let since = Instant::now();
    running.wait().expect(exit::NOTHING_DONE).says("sh");
    assert!(since.elapsed() < Duration::from_secs(30));
    held.let_go();
    assert_no_snapshot(&vault);
}

#[test]
fn given_a_command_that_writes_on_and_on_when_the_time_is_over_then_it_is_ended() {
    let vault = Vault::new();
    backup_script(&vault, &["--timeout", "1s"], "while :; do echo more; sleep 0.1; done")
        .expect(exit::NOTHING_DONE);
    assert_no_snapshot(&vault);
    for nonsense in ["1 parsec", "-1s", ""] {
        let option = format!("--timeout={nonsense}");
        backup_script(&vault, &[&option], "echo x").expect(exit::USAGE);
    }
}

// --- who else stops a backup

/// A backup whose command has written a lot, holds a lifeline, and goes on for ever.
fn endless_backup(vault: &Vault) -> (Running, Held) {
    let lifeline = Lifeline::new();
    let script = format!(
        "exec 3>{}; head -c 3000000 /dev/urandom; echo written >&3; sleep 1000 | cat; true",
        lifeline.path()
    );
    let running = Running::start(vault.command(backup_args(&[], &script)));
    let mut held = lifeline.held();
    assert_eq!(held.line(), "written");
    (running, held)
}

#[test]
fn given_a_backup_under_way_when_interrupted_then_neither_snapshot_nor_child_is_left() {
    let vault = Vault::new();
    let earlier = vault.backup("other", b"an earlier dump");
    for signal in [Signal::INT, Signal::TERM] {
        let (running, held) = endless_backup(&vault);
        running.signal(signal);
        running.wait().expect(exit::INTERRUPTED);
        held.let_go();
        assert_eq!(vault.ids(), [earlier.as_str()]);
        vault.run(["check"]).expect(exit::OK);
    }
}

#[test]
fn given_a_producer_on_standard_input_that_does_nothing_when_interrupted_then_it_ends() {
    let vault = Vault::new();
    let mut running = Running::start(vault.command(["backup", "--stdin", "--series", "app"]));
    // More than a pipe holds: when it is taken, the backup is reading.
    assert!(running.feed(&noise(1, 1_000_000)));
    running.signal(Signal::TERM);
    running.wait().expect(exit::INTERRUPTED);
    assert_no_snapshot(&vault);
}

#[test]
fn given_a_backup_that_is_killed_then_its_command_does_not_run_on_for_ever() {
    let vault = Vault::new();
    let lifeline = Lifeline::new();
    let script = format!("exec 3>{}; echo ready >&3; exec cat /dev/zero", lifeline.path());
    let running = Running::start(vault.command(backup_args(&[], &script)));
    let mut held = lifeline.held();
    held.line();
    running.signal(Signal::KILL);
    assert_eq!(running.wait().signal, Some(Signal::KILL.as_raw()));
    held.let_go();
    assert_no_snapshot(&vault);
}

// --- usage

#[test]
fn given_no_source_or_two_then_the_usage_is_wrong() {
    let vault = Vault::new();
    let wrong: [&[&str]; 9] = [
        &["backup"],
        &["backup", "--stdin"],
        &["backup", "--series", "app"],
        &["backup", "--series", "app", "--command"],
        &["backup", "--series", "app", "--command", "--"],
        &["backup", "--series", "app", "--stdin", "--command", "--", "true"],
        &["backup", "--series", "app", "--stdin", "--", "true"],
        &["backup", "no-such-source"],
        &["backup", "--stdin", "--series", "app", "--time", "yesterday"],
    ];
    for args in wrong {
        vault.run_with(args, b"bytes").expect(exit::USAGE);
    }
    assert_no_snapshot(&vault);
}

#[test]
fn given_names_that_could_not_be_told_apart_from_ways_to_name_a_snapshot_then_they_are_refused() {
    let vault = Vault::new();
    for name in ["", "latest", "a\nb", "app@2026-11-01", "app~1"] {
        vault.run_with(["backup", "--stdin", "--series", name], b"bytes").expect(exit::USAGE);
    }
    let unusual = "Łódź 2+4 — ändern";
    let id = vault.backup(unusual, b"bytes");
    assert_eq!(text(&vault.snapshot(&id), "series"), unusual);
    assert_eq!(vault.restore(unusual).expect(exit::OK).stdout, b"bytes");
}

// --- what is said

#[test]
fn given_a_backup_then_standard_error_has_one_line_of_summary_and_quiet_has_none() {
    let vault = Vault::new();
    let loud = vault.run_with(["backup", "--stdin", "--series", "app"], &rows(1, 1000)).expect(exit::OK);
    let said = loud.text() + &loud.stderr;
    let summary: Vec<&str> = said.lines().filter(|line| line.contains("app")).collect();
    assert_eq!(summary.len(), 1, "{loud}");
    let quiet =
        vault.run_with(["backup", "--stdin", "--series", "app", "--quiet"], &rows(2, 1000)).expect(exit::OK);
    assert_eq!((quiet.text().as_str(), quiet.stderr.as_str()), ("", ""));
    // Errors are said all the same.
    let failed = backup_script(&vault, &["--quiet"], "exit 3").expect(exit::NOTHING_DONE);
    assert!(!failed.stderr.is_empty());
}

#[test]
fn given_json_then_standard_output_is_one_object_with_a_version() {
    let vault = Vault::new();
    let output = vault.run_with(["backup", "--stdin", "--series", "app", "--json"], &rows(1, 1000));
    let answer = output.expect(exit::OK).json();
    assert_eq!(answer["version"], 1);
    assert!(answer.to_string().contains(&vault.ids()[0]), "{answer}");
}

#[test]
fn given_a_passphrase_then_it_is_in_no_message_no_file_no_argument_and_no_child() {
    let vault = Vault::with_passphrase();
    // What the child sees of itself and of the program: environment and arguments.
    let script = "cat /proc/self/environ /proc/$PPID/cmdline /proc/self/cmdline";
    let mut said = String::new();
    for options in [&["-v", "-v", "-v"][..], &["--json"]] {
        let output = backup_script(&vault, options, script).expect(exit::OK);
        said += &(output.text() + &output.stderr);
    }
    let mut wrong = vault.command(["snapshots", "-v"]);
    wrong.env("DUMPVAULT_PASSWORD", format!("{PASSPHRASE}-wrong"));
    let output = run(wrong, b"").expect(exit::WRONG_KEY);
    said += &(output.text() + &output.stderr);
    assert!(!said.contains(PASSPHRASE), "{said}");

    let seen = vault.restore("app").expect(exit::OK).stdout;
    assert!(!String::from_utf8_lossy(&seen).contains(PASSPHRASE), "the child's environment held it");
    for file in files_below(vault.home()) {
        let bytes = fs::read(vault.home().join(&file)).unwrap();
        let held = bytes.windows(PASSPHRASE.len()).any(|window| window == PASSPHRASE.as_bytes());
        assert!(!held, "{file}");
    }
}
