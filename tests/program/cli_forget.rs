//! `forget`, `prune` and `tag` as a user meets them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support::cli::{Vault, exit, number, rows, text};
use serde_json::Value;
use std::fs;

/// A vault with a dump a day at three o'clock, from 2026-08-01 on; each is its day's own.
fn days(count: u64) -> Vault {
    let vault = Vault::new();
    let first: jiff::Timestamp = "2026-08-01T03:00:00Z".parse().unwrap();
    for day in 0..count {
        let time = first + jiff::SignedDuration::from_hours(24 * day as i64);
        vault.backup_with("app", &rows(day, 300), &["--time", &time.to_string()]);
    }
    vault
}

fn listed(vault: &Vault) -> Vec<String> {
    vault.snapshots().iter().map(|snapshot| text(snapshot, "time")).collect()
}

fn decided(answer: &Value, keep: bool) -> Vec<String> {
    let all = answer["snapshots"].as_array().unwrap();
    all.iter().filter(|one| one["keep"] == keep).map(|one| text(one, "time")).collect()
}

#[test]
fn given_rules_then_a_dry_run_names_the_rule_for_each_and_the_run_does_the_same() {
    let vault = days(40);
    let rules = ["--keep-daily", "3", "--keep-weekly", "2", "--keep-monthly", "2"];
    let dry = vault.run(["forget", "--dry-run", "--json"].iter().chain(&rules)).expect(exit::OK).json();
    assert_eq!(listed(&vault).len(), 40);
    let expected = [
        ("2026-08-01T03:00:00Z", "monthly"),
        ("2026-08-30T03:00:00Z", "weekly"),
        ("2026-09-01T03:00:00Z", "monthly"),
        ("2026-09-06T03:00:00Z", "weekly"),
        ("2026-09-07T03:00:00Z", "daily"),
        ("2026-09-08T03:00:00Z", "daily"),
        ("2026-09-09T03:00:00Z", "newest complete"),
    ];
    assert_eq!(decided(&dry, true), expected.map(|(time, _)| time));
    for (time, rule) in expected {
        let one = dry["snapshots"].as_array().unwrap().iter().find(|one| one["time"] == time).unwrap();
        assert_eq!(one["reasons"][0]["rule"], rule, "{one}");
    }
    let said = vault.run(["forget", "--dry-run"].iter().chain(&rules)).expect(exit::OK).text();
    assert!(said.contains("33 would be removed") && said.contains("newest complete, daily"), "{said}");

    let done = vault.run(["forget", "--json"].iter().chain(&rules)).expect(exit::OK).json();
    assert_eq!(decided(&done, true), decided(&dry, true));
    assert_eq!(listed(&vault), decided(&dry, true));
    vault.run(["check", "--read-data"]).expect(exit::OK);
}

#[test]
fn given_forgotten_days_when_pruned_then_space_comes_back_and_all_that_is_listed_restores() {
    let vault = Vault::new();
    let first = vault.backup_with("app", &rows(1, 150_000), &["--time", "2026-08-01T03:00:00Z"]);
    let second = vault.backup_with(
        "app",
        &rows(2, 3_000),
        // Packs are padded, and the first day has to be many times as large as a pack of one block.
        &["--time", "2026-08-02T03:00:00Z", "--suspect-below", "0"],
    );
    let size = |vault: &Vault| number(&vault.run(["stats", "--json"]).expect(exit::OK).json(), "pack_bytes");
    let before = size(&vault);
    let answer = vault.run(["forget", &first, "--prune", "--grace", "0", "--json"]).expect(exit::OK).json();
    assert!(number(&answer["prune"], "packs_deleted") > 0, "{answer}");
    assert!(size(&vault) < before / 2, "{before} -> {}", size(&vault));
    assert_eq!(vault.run(["cat", &second]).expect(exit::OK).stdout, rows(2, 3_000));
    vault.run(["check", "--read-data"]).expect(exit::OK);
    vault.run(["cat", &first]).expect(exit::USAGE);
    let said = vault.run(["prune", "--grace", "0"]).expect(exit::OK).text();
    assert!(said.contains("nothing to delete"), "{said}");
}

#[test]
fn given_no_grace_named_then_new_packs_stay_and_a_dry_run_says_what_would_go() {
    let vault = Vault::new();
    let first = vault.backup_with("app", &rows(1, 3_000), &["--time", "2026-08-01T03:00:00Z"]);
    vault.backup_with("app", b"2", &["--time", "2026-08-02T03:00:00Z", "--suspect-below", "0"]);
    vault.run(["forget", &first]).expect(exit::OK);
    let answer = vault.run(["prune", "--json"]).expect(exit::OK).json();
    assert_eq!(
        (number(&answer, "packs_deleted"), answer["condemned"].as_array().map(Vec::len)),
        (0, Some(0))
    );
    assert!(number(&answer["young"], "packs") == 1 && answer["young"]["until"].is_string(), "{answer}");
    // Which packs wait, for what, and until when.
    let said = vault.run(["prune"]).expect(exit::OK).text();
    let words = ["nothing to delete yet: 1 pack (", "is younger than 24 h; run again after 20", "--grace 0"];
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
    let said = vault.run(["prune", "--grace", "0", "--dry-run"]).expect(exit::OK).text();
    assert!(said.contains("would schedule 1 pack (") && said.contains("would be copied first"), "{said}");
    let dry = vault.run(["prune", "--grace", "0", "--dry-run", "--json"]).expect(exit::OK).json();
    let run = vault.run(["prune", "--grace", "0", "--json"]).expect(exit::OK).json();
    assert_eq!(dry["condemned"], run["condemned"]);
    assert_eq!(Some(number(&run, "packs_deleted") as usize), run["condemned"].as_array().map(Vec::len));
}

#[test]
fn given_a_policy_in_the_configuration_then_each_series_has_its_own() {
    let vault = days(10);
    for day in 1..=6 {
        let time = format!("2026-08-0{day}T03:00:00Z");
        vault.backup_with("redis", time.as_bytes(), &["--time", &time]);
        vault.backup_with("other", time.as_bytes(), &["--time", &time]);
    }
    let config = vault.work().join("retention.toml");
    let table =
        "[source.cache]\ncommand = ['true']\nseries = 'redis'\n[source.cache.retention]\nkeep_last = 2\n";
    fs::write(
        &config,
        format!("{table}[source.app]\ncommand = ['true']\nretention = {{ keep_within = '3d' }}\n"),
    )
    .unwrap();
    let config = config.to_str().unwrap();
    vault.run(["forget", "--config", config]).expect(exit::OK);
    let count = |series: &str| vault.snapshots().iter().filter(|one| text(one, "series") == series).count();
    assert_eq!((count("app"), count("redis"), count("other")), (4, 2, 6), "other has no policy");
    // What the command line says comes first, and for all.
    vault.run(["forget", "--config", config, "--keep-last", "1"]).expect(exit::OK);
    assert_eq!((count("app"), count("redis"), count("other")), (1, 1, 1));
}

#[test]
fn given_no_rule_or_one_that_makes_no_sense_then_nothing_goes_and_it_says_what_to_do() {
    let vault = days(3);
    vault.run(["forget"]).expect(exit::USAGE).says("--keep-daily");
    vault.run(["forget", "--keep-last", "0"]).expect(exit::USAGE);
    vault.run(["forget", "--keep-within", "soon"]).expect(exit::USAGE).says("30d");
    vault.run(["forget", "--keep-last", "1", "latest"]).expect(exit::USAGE);
    vault.run(["prune", "--grace", "-1"]).expect(exit::USAGE);
    vault.run(["forget", "nothing"]).expect(exit::USAGE);
    assert_eq!(listed(&vault).len(), 3);
}

#[test]
fn given_a_snapshot_that_is_pinned_young_or_the_newest_then_it_stays_and_the_reason_is_said() {
    let vault = days(3);
    let ids: Vec<String> = vault.snapshots().iter().map(|one| text(one, "id")).collect();
    vault.run(["tag", &ids[0], "--pin", "--add", "before-upgrade"]).expect(exit::OK);
    assert_eq!(vault.snapshots()[0]["pinned"], true);
    let answer = vault.run(["forget", "--keep-last", "1", "--json"]).expect(exit::OK).json();
    assert_eq!(decided(&answer, true).len(), 2, "{answer}");
    vault.run(["forget", &ids[0], "--force"]).expect(exit::REFUSED).says("--unpin");
    vault.run(["forget", &ids[2], "--force"]).expect(exit::REFUSED).says("newest");

    vault.backup_with("app", b"now", &["--suspect-below", "0"]);
    vault.run(["forget", &ids[2]]).expect(exit::OK);
    let young = vault.backup_with("app", b"now, again", &["--suspect-below", "0"]);
    vault.backup_with("app", b"and again", &["--suspect-below", "0"]);
    vault.run(["forget", &young]).expect(exit::REFUSED).says("--force");
    vault.run(["forget", "--keep-last", "1"]).expect(exit::OK);
    assert_eq!(listed(&vault).len(), 4);
    vault.run(["forget", &young, "--force"]).expect(exit::OK);

    vault.run(["tag", &ids[0], "--unpin"]).expect(exit::OK);
    assert_eq!(vault.snapshots()[0]["pinned"], false);
    assert_eq!(vault.snapshots()[0]["tags"].as_array().unwrap().last().unwrap(), "before-upgrade");
    vault.run(["forget", "--keep-last", "1", "--keep-tag", "before-upgrade"]).expect(exit::OK);
    vault.run(["tag", &ids[0], "--remove", "before-upgrade"]).expect(exit::OK);
    vault.run(["forget", "--keep-last", "1", "--force"]).expect(exit::OK);
    assert_eq!(listed(&vault).len(), 1);
    vault.run(["check"]).expect(exit::OK);
}

#[test]
fn given_a_key_that_may_only_add_then_it_forgets_and_prunes_nothing() {
    let vault = days(3);
    let key = vault.work().join("append.key");
    let key = key.to_str().unwrap();
    vault.run(["key", "add", "--new-key-file", key, "--role", "append"]).expect(exit::OK);
    let with_key = |args: &[&str]| vault.run(args.iter().chain(&["--key-file", key]));
    with_key(&["forget", "--keep-last", "1"]).expect(exit::WRONG_KEY);
    with_key(&["prune", "--grace", "0"]).expect(exit::WRONG_KEY);
    assert_eq!(listed(&vault).len(), 3);
}
