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

#[test]
fn given_a_dry_run_of_init_then_nothing_is_made_and_what_is_in_the_way_is_told() {
    let vault = Vault::empty();
    let key = vault.home().join("new.key");
    let args = ["--key-file", key.to_str().unwrap(), "init", "-n"];
    let said = vault.run(args).expect(exit::OK).text();
    assert!(
        said.contains("would create key file") && said.contains("would create a repository at"),
        "{said}"
    );
    assert!(!key.exists() && !vault.repo().exists(), "something was made");
    Vault::new().run(["init", "-n"]).expect(exit::USAGE);
}

#[test]
fn given_a_dry_run_of_a_revocation_then_the_key_is_named_and_still_counts() {
    let vault = Vault::new();
    let file = vault.home().join("db1.key");
    vault
        .run(["key", "add", "--append", "--name", "db1", "--new-key-file", file.to_str().unwrap()])
        .expect(exit::OK);
    let before = vault.objects();
    let said = vault.run(["key", "revoke", "db1", "-n", "--content"]).expect(exit::OK).text();
    assert!(said.contains("would revoke key `db1`") && said.contains("full one"), "{said}");
    assert!(
        vault.run(["key", "rotate", "-n"]).expect(exit::OK).text().contains("would open a new key epoch")
    );
    assert_eq!(vault.objects(), before);
}

#[test]
fn given_a_dry_run_of_an_alert_then_the_message_is_shown_and_not_sent() {
    let vault = Vault::empty();
    let config = "[alert.ops]\nkind = 'webhook'\nurl = 'http://127.0.0.1:1/'\n";
    std::fs::write(vault.work().join("dumpvault.toml"), config).unwrap();
    let said = vault.run(["alert", "test", "ops", "-n"]).expect(exit::OK).text();
    assert!(said.contains("would send to `ops` (webhook)") && said.contains("test of `ops`"), "{said}");
    // Nobody listens there, which only a message that is sent finds out.
    vault.run(["alert", "test", "ops"]).expect(exit::TARGET);
}
