//! Restores of Redis and Valkey key by key.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support::cli::{Vault, exit, number};
use crate::support::redis::{ALL, Redis};
use std::collections::BTreeSet;

/// A repository with a backup of a server that holds something of everything, and what that is.
fn vault_of(kind: &'static str) -> (Vault, String) {
    let source = Redis::start(kind);
    source.fill();
    let vault = Vault::new();
    vault.run(["backup", &source.uri(), "--series", "queue"]).expect(exit::OK);
    (vault, source.contents())
}

#[test]
fn given_each_pair_of_versions_then_every_key_that_the_target_knows_is_restored_and_the_others_are_named() {
    for from in ALL {
        let (vault, original) = vault_of(from);
        let original: BTreeSet<&str> = original.lines().collect();
        for into in ALL {
            let mut target = Redis::start(into);
            let shown =
                vault.run(["restore", "queue", "--to-redis", &target.uri(), "--via", "keys", "--json"]);
            let code = shown.code;
            let report = shown.json();
            let failed = report["keys"]["failed"].as_array().unwrap().clone();
            assert_eq!(
                code,
                Some(if failed.is_empty() { exit::OK } else { exit::PART_FAILED }),
                "{from} {into}"
            );
            assert!(target.is_alive(), "{from} {into}");
            let contents = target.contents();
            let found: BTreeSet<&str> = contents.lines().collect();
            let missing: Vec<&&str> = original.difference(&found).collect();
            // One line tells of a key; the last of functions.
            let refused = number(&report["keys"], "refused") as usize;
            assert_eq!(missing.len(), refused, "{from} {into}: {missing:?} {failed:?}");
            if from == into || (from == "redis62") {
                assert_eq!(refused, 0, "{from} {into}: {failed:?}");
            }
        }
    }
}

#[test]
fn given_patterns_and_databases_then_only_those_keys_come_beside_what_is_there() {
    let (vault, _) = vault_of("redis70");
    let target = Redis::start("valkey91");
    target.ask("SET mine 1");
    let uri = target.uri();
    let restore = |more: &[&str]| {
        let args = ["restore", "queue", "--to-redis", &uri, "--yes"];
        vault.run(args.iter().chain(more).copied())
    };
    let told = restore(&["--key", "session:1?", "--dry-run"]).expect(exit::OK).text();
    assert!(told.contains("would restore 10 keys"), "{told}");
    assert_eq!(target.ask("DBSIZE"), "1");
    restore(&["--key", "session:1?", "--key", "z:5"]).expect(exit::OK);
    assert_eq!(target.ask("DBSIZE"), "12");
    assert_eq!(target.ask("GET mine"), "1");
    assert!(target.ask("TTL session:12").parse::<u64>().unwrap() > 1000);
    assert_eq!(target.ask("TTL session:11"), "-1");

    restore(&["--db", "5:2"]).expect(exit::OK);
    let mut client = target.client();
    client.good("SELECT 2");
    assert_eq!(client.ask("GET plain"), "y");
    assert_eq!(client.ask("DBSIZE"), "2");
    client.good("SELECT 5");
    assert_eq!(client.ask("DBSIZE"), "0");

    restore(&["--key", "nothing:*"]).expect(exit::USAGE).says("has none of keys `nothing:*`");
    restore(&["--db", "x"]).expect(exit::USAGE).says("is not a database");
    restore(&["--db", "0:99"]).expect(exit::TARGET).says("SELECT");
    restore(&["--key", "a", "--via", "master"]).expect(exit::USAGE);
}

#[test]
fn given_keys_that_are_there_then_nothing_is_touched_unless_it_was_said_what_becomes_of_them() {
    let (vault, _) = vault_of("redis82");
    let target = Redis::start("redis82");
    target.ask("SET session:7 mine");
    let uri = target.uri();
    let args = ["restore", "queue", "--to-redis", &uri, "--key", "session:*"];
    let and = |more: &[&str]| vault.run(args.iter().chain(more).copied());
    and(&["--yes"]).expect(exit::REFUSED).says("1 key").says("session:7").says("--on-conflict");
    assert_eq!(target.ask("DBSIZE"), "1");
    and(&["--on-conflict", "skip"]).expect(exit::REFUSED).says("--yes");
    assert_eq!(target.ask("DBSIZE"), "1");
    let told = and(&["--on-conflict", "skip", "--yes"]).expect(exit::OK).text();
    assert!(told.contains("restored 299 keys") && told.contains("1 were there"), "{told}");
    assert_eq!(target.ask("GET session:7"), "mine");
    let told = and(&["--on-conflict", "replace", "--yes"]).expect(exit::OK).text();
    assert!(told.contains("restored 300 keys"), "{told}");
    assert_eq!(target.ask("GET session:7"), "valuexxxxxxx");

    let config = vault.home().join("protect.toml");
    std::fs::write(&config, "protect = ['\"127.0.0.1\"']\n").unwrap();
    and(&["--on-conflict", "replace", "--yes", "--config", config.to_str().unwrap()])
        .expect(exit::REFUSED)
        .says("protect");
}

#[test]
fn given_keys_that_have_expired_then_they_do_not_come_back() {
    let source = Redis::start("redis70");
    let mut client = source.client();
    client.good("SET short x PX 4000");
    client.good("SET long x EX 10000");
    let vault = Vault::new();
    vault.run(["backup", &source.uri(), "--series", "queue"]).expect(exit::OK);
    while client.ask("EXISTS short") != "0" {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let target = Redis::start("redis70");
    let told =
        vault.run(["restore", "queue", "--to-redis", &target.uri(), "--via", "keys"]).expect(exit::OK).text();
    assert!(told.contains("restored 1 key") && told.contains("1 had expired"), "{told}");
    assert_eq!(target.ask("DBSIZE"), "1");
}
