//! `-n`: a command that changes something says what it would do, and does nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support::cli::{Vault, exit, noise, number, text};

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
    let args = ["--json", "--key-file", key.to_str().unwrap(), "init", "-n"];
    let report = vault.run(args).expect(exit::OK).json();
    assert_eq!((&report["dry_run"], text(&report, "key_file")), (&true.into(), key.display().to_string()));
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
    let report = vault.run(["--json", "key", "revoke", "db1", "-n", "--content"]).expect(exit::OK).json();
    assert_eq!((&report["dry_run"], number(&report["content"], "series")), (&true.into(), 0), "{report}");
    assert_eq!(report["revoked"].as_array().map(Vec::len), Some(1));
    assert_eq!(vault.objects(), before);
}

#[test]
fn given_a_dry_run_of_an_alert_then_the_message_is_shown_and_not_sent() {
    let vault = Vault::empty();
    let config = "[alert.ops]\nkind = 'webhook'\nurl = 'http://127.0.0.1:1/'\n";
    std::fs::write(vault.work().join("dumpvault.toml"), config).unwrap();
    let said = vault.run(["alert", "test", "ops", "-n"]).expect(exit::OK).text();
    assert!(said.contains("would send to `ops` (webhook)") && said.contains("test of `ops`"), "{said}");
    let report = vault.run(["--json", "alert", "test", "ops", "-n"]).expect(exit::OK).json();
    assert_eq!((&report["dry_run"], text(&report, "channel")), (&true.into(), "ops".to_owned()));
    // Nobody listens there, which only a message that is sent finds out.
    vault.run(["alert", "test", "ops"]).expect(exit::TARGET);
}

/// All objects, and what they hold.
fn contents(vault: &Vault) -> Vec<(String, Vec<u8>)> {
    vault
        .objects()
        .into_iter()
        .map(|key| (key.clone(), std::fs::read(vault.repo().join(&key)).unwrap()))
        .collect()
}

#[test]
fn given_a_dry_run_of_a_key_then_what_it_would_be_allowed_is_said_and_nothing_is_asked_or_stored() {
    let vault = Vault::new();
    let before = contents(&vault);
    // Without a terminal and a new key: whoever asks fails.
    let args = ["key", "add", "-n", "--append", "--name", "db1", "--host", "db1"];
    let said = vault.run(args).expect(exit::OK).text();
    assert_eq!(said, "would add append key `db1`; it may add backups of host db1\n");
    let report = vault.run([&["--json"], &args[..]].concat()).expect(exit::OK).json();
    assert_eq!((&report["dry_run"], text(&report, "role")), (&true.into(), "append".to_owned()));
    assert_eq!(
        (&report["hosts"], &report["series"]),
        (&serde_json::json!(["db1"]), &serde_json::Value::Null)
    );
    let slot = vault.run(["--json", "key", "passwd", "-n"]).expect(exit::OK).json();
    let own = text(&vault.run(["--json", "key", "list"]).expect(exit::OK).json()["keys"][0], "id");
    assert_eq!((text(&slot, "id"), &slot["dry_run"]), (own.clone(), &true.into()));
    let said = vault.run(["key", "passwd", "-n"]).expect(exit::OK).text();
    assert_eq!(said, format!("would replace key slot {}\n", &own[..8]));
    // The last full key is refused as it would be.
    let refused = vault.run(["key", "remove", &own[..8], "-n"]).expect(exit::REFUSED).stderr;
    assert_eq!(vault.run(["key", "remove", &own[..8]]).expect(exit::REFUSED).stderr, refused);
    assert_eq!(contents(&vault), before);

    let key = vault.home().join("db1.key");
    let real = ["key", "add", "--append", "--name", "db1", "--host", "db1", "--new-key-file"];
    let added =
        vault.run([&["--json"], &real[..], &[key.to_str().unwrap()]].concat()).expect(exit::OK).json();
    let (before, added) = (contents(&vault), text(&added, "id"));
    vault.run(args).expect(exit::REFUSED).says("--share");
    let grant = ["key", "grant", "db1", "-n", "--host", "db2", "--series", "app", "--rename", "dbs"];
    let said = vault.run(grant).expect(exit::OK).text();
    assert_eq!(said, "key `dbs` would be allowed to add backups of all series of host db1, db2\n");
    let report = vault.run([&["--json"], &grant[..]].concat()).expect(exit::OK).json();
    assert_eq!(report["dry_run"], true);
    assert_eq!(report["author"]["hosts"], serde_json::json!(["db1", "db2"]));
    let said = vault.run(["key", "remove", &added[..8], "-n"]).expect(exit::OK).text();
    assert_eq!(said, format!("would remove key slot {}\n", &added[..8]));
    let slot = vault.home().join("slot");
    vault.run(["key", "export", slot.to_str().unwrap()]).expect(exit::OK);
    let said = vault.run(["key", "import", slot.to_str().unwrap(), "-n"]).expect(exit::OK).text();
    assert_eq!(said, format!("would put back key slot {}\n", &own[..8]));
    vault.run(["key", "import", key.to_str().unwrap(), "-n"]).expect(exit::INTEGRITY);
    assert_eq!(contents(&vault), before);
    assert_eq!(vault.run(["key", "grant", "db1", "--host", "db2"]).expect(exit::OK).code, Some(exit::OK));
}

#[test]
fn given_dry_runs_of_repairs_then_they_say_what_the_repairs_then_do_and_change_nothing() {
    let vault = Vault::new();
    let whole = vault.backup("app", &noise(1, 300_000));
    vault.backup("app", &noise(2, 300_000));
    // A pack that is broken, and known to be.
    let path = |key: &String| vault.repo().join(key);
    let bytes = |key: &String| std::fs::metadata(path(key)).unwrap().len();
    let pack = vault.objects_in("packs").into_iter().max_by_key(bytes).unwrap();
    let mut broken = std::fs::read(path(&pack)).unwrap();
    broken[1000] ^= 1;
    std::fs::remove_file(path(&pack)).unwrap();
    std::fs::write(path(&pack), broken).unwrap();
    vault.run(["check", "--read-data"]).expect(exit::INTEGRITY);
    let gone = vault.objects_in("index").remove(0);
    std::fs::remove_file(vault.repo().join(gone)).unwrap();
    assert_eq!(vault.ids().len(), 2);

    for (what, lists) in [
        ("index", &["packs", "indexes_before", "indexes_written", "missing", "dropped"][..]),
        ("packs", &["recovered", "set_aside", "missing", "chunks_salvaged"]),
        ("snapshots", &["marked", "still", "recovered", "given_up", "snapshots_hit"]),
    ] {
        let before = contents(&vault);
        let dry = vault.run(["--json", "repair", what, "-n"]);
        let said = vault.run(["repair", what, "-n"]);
        assert_eq!(contents(&vault), before, "{what}");
        let real = vault.run(["--json", "repair", what]);
        assert_eq!((dry.code, said.code), (real.code, real.code), "{what}: {said}");
        let (dry, real) = (dry.json(), real.json());
        assert_eq!((&dry["dry_run"], &real["dry_run"]), (&true.into(), &false.into()), "{what}");
        assert_eq!(dry["ok"], real["ok"], "{what}");
        for list in lists {
            assert_eq!(dry[list], real[list], "{what}: {list}");
        }
        let words = said.text();
        assert!(words.contains("would "), "{what}: {words}");
        assert_ne!(contents(&vault), before, "{what}: nothing was to be done, and nothing was tried");
    }
    assert!(vault.ids().contains(&whole));
}

#[test]
fn given_a_dry_run_of_a_removed_user_or_token_then_both_stay() {
    let vault = Vault::empty();
    let password = b"a long password\n";
    vault.run_with(["user", "add", "mara", "--role", "admin", "--stdin"], password).expect(exit::OK);
    let token = vault.run(["--json", "token", "add", "grafana", "--user", "mara"]).expect(exit::OK).json();
    let id = text(&token, "id");
    let said = vault.run(["user", "remove", "mara", "-n"]).expect(exit::OK).text();
    assert_eq!(said, "would remove user `mara`, 0 sessions and 1 token\n");
    let said = vault.run(["token", "remove", &id, "-n"]).expect(exit::OK).text();
    assert_eq!(said, format!("would remove token {id}, for grafana of user `mara`\n"));
    let report = vault.run(["--json", "token", "remove", &id, "-n"]).expect(exit::OK).json();
    assert_eq!((&report["dry_run"], text(&report, "name")), (&true.into(), id.clone()));
    for args in [["user", "remove", "lena", "-n"], ["token", "remove", "none", "-n"]] {
        vault.run(args).expect(exit::USAGE);
    }
    let tokens = vault.run(["--json", "token", "list"]).expect(exit::OK).json();
    assert_eq!(text(&tokens["tokens"][0], "id"), id);
    vault.run(["user", "remove", "mara"]).expect(exit::OK);
}
