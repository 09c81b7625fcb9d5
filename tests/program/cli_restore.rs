//! `dumpvault restore` and `cat`: the exit status tells the truth about both ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support::cli::{Lifeline, Output, Running, Vault, exit, files_below, noise, rows, run};
use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

/// More than pipes and buffers between the two ends hold.
const LARGE: usize = 24_000_000;

/// A vault with one snapshot of `app`.
fn vault_with(dump: &[u8]) -> Vault {
    let vault = Vault::new();
    vault.backup("app", dump);
    vault
}

/// Restores into a shell script.
fn restore_into(vault: &Vault, script: &str) -> Output {
    vault.run(["restore", "app", "--command", "--", "sh", "-c", script])
}

/// Flips a bit in the last data pack, in what was written first or last.
fn damage(vault: &Vault, at_end: bool) {
    let largest = |key: &String| fs::metadata(vault.repo().join(key)).unwrap().len();
    let pack = vault.objects_in("packs").into_iter().max_by_key(largest).unwrap();
    let path = vault.repo().join(pack);
    let mut bytes = fs::read(&path).unwrap();
    let at = if at_end { bytes.len() * 9 / 10 } else { 200 };
    bytes[at] ^= 1;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, bytes).unwrap();
}

// --- to standard output

#[test]
fn given_a_snapshot_then_cat_and_restore_without_a_target_write_it_to_standard_output() {
    let dump = rows(1, 10_000);
    let vault = vault_with(&dump);
    for args in [&["cat", "app"][..], &["restore", "app"], &["restore", "app", "--output", "-"]] {
        let output = vault.run(args).expect(exit::OK);
        assert!(output.stdout == dump, "{args:?}");
    }
}

#[test]
fn given_a_reader_that_stops_early_then_the_restore_does_not_claim_success() {
    let dump = noise(1, LARGE);
    let vault = vault_with(&dump);
    for command in ["cat app", "restore app --output -"] {
        let script = format!("{{ \"$dumpvault\" {command}; echo $? >status; }} | head -c 100");
        let output = run(vault.shell(&script), b"").expect(exit::OK);
        assert_eq!(output.stdout, dump[..100]);
        let status = fs::read_to_string(vault.work().join("status")).unwrap();
        assert_eq!(status.trim(), exit::READER_GONE.to_string(), "{output}");
    }
}

#[test]
fn given_a_full_device_as_standard_output_then_the_restore_fails() {
    let vault = vault_with(&rows(1, 1000));
    run(vault.shell("\"$dumpvault\" cat app >/dev/full"), b"").expect(exit::NOTHING_DONE).says("space");
}

#[test]
fn given_a_restore_under_way_when_interrupted_then_it_ends_with_130() {
    let vault = vault_with(&noise(1, LARGE));
    let lifeline = Lifeline::new();
    let script =
        format!("exec 3>{}; head -c 1000 >/dev/null; echo read >&3; sleep 1000 | cat", lifeline.path());
    let running = Running::start(vault.command(["restore", "app", "--command", "--", "sh", "-c", &script]));
    let mut held = lifeline.held();
    assert_eq!(held.line(), "read");
    running.signal(Signal::INT);
    running.wait().expect(exit::INTERRUPTED);
    held.let_go();
}

// --- to a file

#[test]
fn given_a_file_to_restore_to_then_it_appears_whole_and_for_the_owner_only() {
    let dump = noise(1, 3_000_000);
    let vault = vault_with(&dump);
    vault.run(["restore", "app", "--output", "out.dump"]).expect(exit::OK);
    let out = vault.work().join("out.dump");
    assert!(fs::read(&out).unwrap() == dump);
    assert_eq!(fs::metadata(&out).unwrap().mode() & 0o077, 0, "a dump is nobody else's business");
    assert_eq!(files_below(&vault.work()), ["out.dump"]);
}

#[test]
fn given_damage_when_restoring_to_a_file_then_nothing_appears_and_an_old_file_stays() {
    for at_end in [false, true] {
        let vault = vault_with(&noise(1, LARGE));
        damage(&vault, at_end);
        vault.run(["restore", "app", "--output", "out.dump"]).expect(exit::INTEGRITY).says("packs/");
        assert_eq!(files_below(&vault.work()), [""; 0], "a part of a dump is left");

        fs::write(vault.work().join("old.dump"), "older").unwrap();
        let failed = vault.run(["restore", "app", "--output", "old.dump"]);
        assert!(failed.code != Some(exit::OK), "{failed}");
        assert_eq!(files_below(&vault.work()), ["old.dump"]);
        assert_eq!(fs::read(vault.work().join("old.dump")).unwrap(), b"older");
    }
}

#[test]
fn given_a_place_that_cannot_be_written_then_it_is_named() {
    let vault = vault_with(b"a dump");
    let failed = vault.run(["restore", "app", "--output", "no/such/folder/out"]).says("no/such/folder");
    failed.expect_one_of(&[exit::PART_FAILED, exit::NOTHING_DONE]);
}

// --- into a command

#[test]
fn given_a_command_that_takes_all_then_its_status_is_the_restore_s() {
    let dump = noise(1, LARGE);
    let vault = vault_with(&dump);
    restore_into(&vault, "cat >taken").expect(exit::OK);
    assert!(fs::read(vault.work().join("taken")).unwrap() == dump);
    restore_into(&vault, "cat >/dev/null; echo no room >&2; exit 9")
        .expect(exit::TARGET)
        .says("9")
        .says("no room");
    vault
        .run(["restore", "app", "--command", "--", "no-such-program"])
        .expect(exit::TARGET)
        .says("no-such-program");
}

#[test]
fn given_a_command_that_stops_reading_then_the_restore_fails_though_the_command_exits_with_0() {
    let vault = vault_with(&noise(1, LARGE));
    restore_into(&vault, "head -c 100 >/dev/null").expect(exit::TARGET);
    restore_into(&vault, "exec <&-; true").expect(exit::TARGET);
}

#[test]
fn given_a_command_that_is_killed_then_the_restore_fails() {
    let vault = vault_with(&noise(1, LARGE));
    restore_into(&vault, "head -c 1000 >/dev/null; kill -9 $$").expect(exit::TARGET);
}

#[test]
fn given_damage_when_restoring_into_a_command_then_it_is_killed_before_it_can_take_a_part_for_the_whole() {
    for at_end in [false, true] {
        let vault = vault_with(&noise(1, LARGE));
        damage(&vault, at_end);
        let lifeline = Lifeline::new();
        let script = format!("exec 3>{}; cat >taken && echo the end >ended", lifeline.path());
        let running =
            Running::start(vault.command(["restore", "app", "--command", "--", "sh", "-c", &script]));
        // Damage that is met before the command is started leaves nobody to hold the line.
        let opener = fs::OpenOptions::new().read(true).write(true).open(lifeline.path()).unwrap();
        let held = lifeline.held();
        running.wait().expect(exit::INTEGRITY).says("packs/");
        drop(opener);
        held.let_go();
        assert!(!vault.work().join("ended").exists(), "the command saw a proper end");
    }
}

#[test]
fn given_what_a_command_prints_then_it_does_not_get_lost() {
    let vault = vault_with(b"a dump");
    let output = restore_into(&vault, "wc -c").expect(exit::OK);
    assert!((output.text() + &output.stderr).contains('6'), "{output}");
}

// --- usage

#[test]
fn given_two_targets_or_an_unknown_snapshot_then_the_usage_is_wrong() {
    let vault = vault_with(b"a dump");
    let wrong: [&[&str]; 8] = [
        &["restore"],
        &["restore", "app", "--output", "-", "--command", "--", "cat"],
        &["restore", "app", "--output", "-", "--to-database", "db"],
        &["restore", "app", "--output", "-", "--create"],
        &["restore", "app", "--command"],
        &["restore", "app", "--command", "--"],
        &["restore", "app", "--", "cat"],
        &["restore", "app", "--output", "-", "--", "cat"],
    ];
    for args in wrong {
        vault.run(args).expect(exit::USAGE);
    }
    vault.run(["restore", "nothing-like-it"]).expect(exit::USAGE).says("nothing-like-it").says("app");
    vault.run(["cat", "app~1"]).expect(exit::USAGE);
    vault.run(["cat", "ffffffff"]).expect(exit::USAGE);
}

#[test]
fn given_json_when_restoring_to_standard_output_then_the_dump_is_not_mixed_with_the_report() {
    let vault = vault_with(b"a dump");
    let output = vault.run(["restore", "app", "--json"]);
    if output.code == Some(exit::OK) {
        assert_eq!(output.stdout, b"a dump");
    } else {
        output.expect(exit::USAGE);
    }
    let report = vault.run(["restore", "app", "--output", "out", "--json"]).expect(exit::OK).json();
    assert_eq!(report["version"], 1);
}

// --- in a folder that others write to

#[test]
fn given_a_file_or_link_of_somebody_else_under_a_guessable_name_then_neither_gets_the_dump() {
    let dump = noise(1, 3_000_000);
    let vault = vault_with(&dump);
    let folder = vault.work();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    let victim = vault.home().join("victim");
    fs::write(&victim, "precious").unwrap();
    // The names of old, by the process's number, which the shell hands on to the program that takes its place.
    for trap in [
        "(umask 0; : >.out.dump.$$.partial)".to_owned(),
        format!("ln -s '{}' .out.dump.$$.partial", victim.display()),
    ] {
        let script = format!("{trap}; exec \"$dumpvault\" restore app --output out.dump");
        run(vault.shell(&script), b"").expect(exit::OK);
        let out = folder.join("out.dump");
        assert!(out.symlink_metadata().unwrap().is_file());
        assert_eq!(fs::metadata(&out).unwrap().mode() & 0o777, 0o600, "{trap}");
        assert!(fs::read(&out).unwrap() == dump);
        assert_eq!(fs::read(&victim).unwrap(), b"precious", "{trap}");
        let mut left = files_below(&folder);
        left.retain(|name| name != "out.dump");
        for name in &left {
            let trap = folder.join(name);
            let bytes = if trap.is_symlink() { 0 } else { fs::metadata(&trap).unwrap().len() };
            assert_eq!(bytes, 0, "{name} holds a part of the dump");
            fs::remove_file(trap).unwrap();
        }
        fs::remove_file(out).unwrap();
    }
}

#[test]
fn given_a_pipe_of_somebody_else_under_the_files_name_then_it_is_refused() {
    // Only root can give a file away.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let vault = vault_with(b"a dump");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    let pipe = vault.work().join("out.dump");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    std::os::unix::fs::chown(&pipe, Some(65_534), None).unwrap();
    // Its other end is open, so that nobody waits.
    let mut reader = std::process::Command::new("sh");
    reader.args(["-c", "exec cat <>out.dump >/dev/null"]).current_dir(vault.work());
    let mut reader = reader.spawn().unwrap();
    let refused = vault.run(["restore", "app", "--output", "out.dump"]);
    refused.expect(exit::NOTHING_DONE).says("belongs to another user");
    reader.kill().unwrap();
    reader.wait().unwrap();
}
