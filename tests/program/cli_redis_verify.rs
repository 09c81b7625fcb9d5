//! `verify` of Redis and Valkey: the file is loaded into a server for a while.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support::cli::{Lifeline, Running, Vault, exit, number, text};
use crate::support::redis::{ALL, Redis};
use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// A server with data, and the program that it is.
fn filled(kind: &'static str) -> (Redis, PathBuf) {
    let server = Redis::start(kind);
    server.fill();
    let name = if kind.starts_with("valkey") { "valkey-server" } else { "redis-server" };
    let program = server.home().join(name);
    (server, program)
}

/// A program that runs `program` and holds `line` open as long as it runs.
fn holding(vault: &Vault, program: &std::path::Path, line: &Lifeline) -> PathBuf {
    let script = vault.work().join("server");
    let text = format!("#!/bin/sh\nexec 9>'{}'\nexec '{}' \"$@\"\n", line.path(), program.display());
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).unwrap();
    script
}

#[test]
fn given_a_file_of_each_version_then_a_server_of_its_own_loads_it_and_the_snapshot_counts_as_verified() {
    for kind in ALL {
        let (server, program) = filled(kind);
        let vault = Vault::new();
        vault.run(["backup", &server.uri(), "--series", "queue"]).expect(exit::OK);
        let program = program.to_str().unwrap();
        let found =
            vault.run(["verify", "queue", "--redis-server", program, "--json"]).expect(exit::OK).json();
        let stream = &found["streams"][0];
        assert_eq!((&stream["ok"], &stream["restored"]), (&true.into(), &true.into()), "{kind}: {found}");
        assert_eq!(number(stream, "keys"), number(stream, "keys_expected"), "{kind}");
        assert!(number(stream, "keys") > 300, "{kind}");
        // All values, in whichever form the server keeps them.
        assert_eq!(number(stream, "keys_compared"), number(stream, "keys"), "{kind}");
        assert!(!vault.snapshots().pop().unwrap()["verified"].is_null(), "{kind}");
        assert_eq!(
            fs::read_dir(server.home()).unwrap().count(),
            before(kind),
            "{kind}: nothing is left behind"
        );
    }
}

/// Files beside a server: its program, its socket, its log; the oldest wrote its own file for the backup.
fn before(kind: &str) -> usize {
    3 + usize::from(kind == "redis62")
}

#[test]
fn given_a_file_that_only_a_server_finds_wrong_then_the_verification_fails_and_says_what_the_server_said() {
    // A sorted set whose bytes are none; zeros stand for no checksum.
    let mut file = b"REDIS0010\xfe\x00\x11\x01z\x07garbage\xff".to_vec();
    file.extend_from_slice(&[0; 8]);
    let vault = Vault::new();
    vault.run_with(["backup", "--stdin", "--series", "queue"], &file).expect(exit::OK);
    for kind in ["redis70", "valkey91"] {
        let (_server, program) = filled(kind);
        let line = Lifeline::new();
        let script = holding(&vault, &program, &line);
        let running =
            Running::start(vault.command(["verify", "queue", "--redis-server", script.to_str().unwrap()]));
        let held = line.held();
        running.wait().expect(exit::INTEGRITY).says("its last words");
        held.let_go();
        assert!(vault.snapshots().pop().unwrap()["verified"].is_null());
    }
}

#[test]
fn given_a_server_that_does_not_read_the_file_then_it_is_read_and_one_that_does_not_start_is_told() {
    let (server, _) = filled("valkey91");
    let (_old, old_program) = filled("redis70");
    let vault = Vault::new();
    vault.run(["backup", &server.uri(), "--series", "queue"]).expect(exit::OK);
    let old_program = old_program.to_str().unwrap();
    let told = vault.run(["verify", "queue", "--redis-server", old_program]).expect(exit::OK);
    told.says("reads RDB files up to version 10; this one has version 80");
    assert!(vault.snapshots().pop().unwrap()["verified"].is_null());
    vault.run(["verify", "queue", "--redis-server", "/bin/false"]).expect(exit::TARGET).says("did not start");
    vault
        .run(["verify", "queue", "--redis-server", "/no/such"])
        .expect_one_of(&[exit::NOTHING_DONE, exit::TARGET]);
}

#[test]
fn given_a_verification_that_is_killed_then_its_server_ends() {
    let (server, program) = filled("redis82");
    let mut client = server.client();
    for at in 0..100 {
        client.good(&format!("SET large:{at} {}", text(&serde_json::json!({ "x": noise(at) }), "x")));
    }
    let vault = Vault::new();
    vault.run(["backup", &server.uri(), "--series", "queue"]).expect(exit::OK);
    for signal in [Signal::KILL, Signal::INT] {
        let line = Lifeline::new();
        let script = holding(&vault, &program, &line);
        let args =
            ["verify", "queue", "--limit-download", "100K", "--redis-server", script.to_str().unwrap()];
        let running = Running::start(vault.command(args));
        let held = line.held();
        running.signal(signal);
        running.wait();
        held.let_go();
    }
}

/// Text that does not compress.
fn noise(seed: u64) -> String {
    crate::support::cli::noise(seed, 1000).iter().map(|byte| format!("{byte:02x}")).collect()
}
