//! `-n`: a command that changes something says what it would do, and does nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support::cli::{Vault, exit, text};

#[test]
fn given_a_dry_run_of_a_backup_then_no_program_is_started_and_nothing_is_stored() {
    let vault = Vault::new();
    vault.backup("app", b"one");
    let before = vault.objects();
    let script = "echo x; touch started";
    let args = ["backup", "-n", "--series", "app", "--command", "--", "sh", "-c", script];
    let said = vault.run(args).expect(exit::OK).text();
    assert!(said.starts_with("would back up `") && said.contains("/app`: 1 stream: app"), "{said}");
    let args = ["--json", "backup", "-n", "--series", "app", "--command", "--", "sh", "-c", script];
    let report = vault.run(args).expect(exit::OK).json();
    assert_eq!(report["dry_run"], true);
    assert_eq!(text(&report["sources"][0], "source"), "app");
    assert_eq!(report["sources"][0]["streams"], serde_json::json!(["app"]));
    assert!(!vault.work().join("started").exists());
    assert_eq!(vault.objects(), before);
    let history = vault.run(["--json", "history", "list"]).expect(exit::OK).json();
    assert_eq!(history["backups"].as_array().map_or(0, Vec::len), 1, "{history}");
}

#[test]
fn given_a_dry_run_of_a_backup_that_cannot_be_made_then_it_fails_as_the_backup_would() {
    let vault = Vault::new();
    vault.run(["backup", "-n", "nothing"]).expect(exit::USAGE).says("unknown source `nothing`");
    let real = ["backup", "postgres://x@127.0.0.1:1", "--pg-all"];
    let dry = [&real[..], &["-n"]].concat();
    let dry = vault.run(dry);
    assert_ne!(dry.code, Some(exit::OK), "{dry}");
    assert_eq!(dry.code, vault.run(real).code);
}

#[test]
fn given_a_dry_run_of_a_tag_then_the_tags_are_said_and_stay_as_they_were() {
    let vault = Vault::new();
    vault.backup_with("app", b"one", &["--tag", "old"]);
    let before = vault.objects();
    let args = ["tag", "app", "-n", "--add", "new", "--remove", "old", "--pin"];
    let said = vault.run(args).expect(exit::OK).text();
    assert!(said.contains("would have tags new, pinned"), "{said}");
    let report = vault.run([&["--json"], &args[..]].concat()).expect(exit::OK).json();
    assert_eq!((&report["dry_run"], &report["pinned"]), (&true.into(), &true.into()));
    assert_eq!(vault.objects(), before);
    let shown = vault.run(["--json", "show", "app"]).expect(exit::OK).text();
    assert!(shown.contains("old") && !shown.contains("\"new\""), "{shown}");
}
