//! Restores into Redis and Valkey servers: what fits goes there whole, what does not touches nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support::cli::{Running, Vault, exit};
use crate::support::redis::{ALL, Redis};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// A vault with a snapshot of a server, and what that holds.
fn vault_of(kind: &'static str) -> (Vault, String) {
    let vault = Vault::new();
    let server = Redis::start(kind);
    server.fill();
    vault.run(["backup", &server.uri(), "--series", "queue"]).expect(exit::OK);
    (vault, server.contents())
}

/// So much noise that it passes for a while, under one key.
fn large(server: &Redis) {
    let mut seed = 1u64;
    let mut client = server.client();
    for at in 0..60 {
        let word: String = (0..50_000)
            .map(|_| {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                char::from(b'!' + (seed >> 33) as u8 % 90)
            })
            .collect();
        client.words(&["SET", &format!("large:{at}"), &word]);
    }
}

fn is_master(server: &Redis) -> bool {
    server.info("role").as_deref() == Some("master")
}

#[test]
fn given_each_pair_of_versions_then_what_fits_is_restored_whole_and_what_does_not_touches_nothing() {
    let vault = Vault::new();
    let mut originals = BTreeMap::new();
    for kind in ALL {
        let server = Redis::start(kind);
        server.fill();
        if kind == "valkey91" {
            server.ask("HEXPIRE h:5 100000 FIELDS 1 field1");
        }
        vault.run(["backup", &server.uri(), "--series", kind]).expect(exit::OK);
        originals.insert(kind, server.contents());
    }
    // By the form of the file: which targets read it.
    let fits = |from: &str, into: &str| match from {
        "redis62" => true,
        "redis70" => into != "redis62",
        "valkey81" => !matches!(into, "redis62" | "redis70"),
        "valkey91" => into == "valkey91",
        _ => into == "redis82",
    };
    for into in ALL {
        let mut target = Redis::start_with(into, &["--appendonly", "no"]);
        for from in ALL {
            target.client().words(&["SET", "mine", from]);
            let before = target.contents();
            let args = ["restore", from, "--to-redis", &target.uri(), "--force", "--yes"];
            let output = vault.run(args);
            if fits(from, into) {
                let said = output.expect(exit::OK).text();
                assert!(said.contains("All of its keys will be replaced"), "{said}");
                assert_eq!(target.contents(), originals[from], "{from} -> {into}");
            } else {
                output.expect(exit::REFUSED).says("reads RDB files up to version");
                assert_eq!(target.contents(), before, "{from} -> {into}");
            }
            assert!(is_master(&target) && target.is_alive(), "{from} -> {into}");
        }
    }
}

#[test]
fn given_a_target_that_holds_keys_then_it_is_replaced_only_when_that_was_said() {
    let (vault, original) = vault_of("redis70");
    let target = Redis::start("redis82");
    let uri = target.uri();
    let to = |more: &[&str]| {
        let args = ["restore", "queue", "--to-redis", &uri];
        vault.run(args.iter().chain(more))
    };
    let said = to(&["--dry-run"]).expect(exit::OK).text();
    assert!(said.contains("Redis 8.2.3, empty") && said.contains("nothing was touched"), "{said}");
    assert_eq!(target.ask("DBSIZE"), "0");
    // An empty one is not asked about.
    assert!(to(&[]).expect(exit::OK).text().contains("restored snapshot"));
    assert_eq!(target.contents(), original);

    target.ask("SET mine 1");
    let before = target.contents();
    to(&[])
        .expect(exit::REFUSED)
        .says("is not empty")
        .says("315 keys in database 0, 2 keys in database 5")
        .says("--force");
    to(&["--yes"]).expect(exit::REFUSED).says("--force");
    to(&["--force"]).expect(exit::REFUSED).says("no terminal to confirm");
    assert!(to(&["--force", "--dry-run"]).expect(exit::OK).text().contains("would restore"));
    let plan = to(&["--force", "--dry-run", "--json"]).expect(exit::OK).json();
    assert_eq!(
        (&plan["dry_run"], &plan["server_keys"], &plan["keys"]),
        (&true.into(), &317.into(), &serde_json::Value::Null)
    );
    to(&["--force", "--yes", "--expect-host", "other"]).expect(exit::REFUSED).says("--expect-host");
    let config = vault.home().join("protect.toml");
    fs::write(&config, "protect = ['\"127.0.0.1\"']\n").unwrap();
    to(&["--force", "--yes", "--config", config.to_str().unwrap()]).expect(exit::REFUSED).says("protect = ");
    assert_eq!(target.contents(), before);
    to(&["--force", "--yes", "--expect-host", "127.0.0.1"]).expect(exit::OK);
    assert_eq!(target.contents(), original);
    to(&["--force", "--table", "x"]).expect(exit::USAGE).says("whole stream");
    vault.backup("other", b"no rdb");
    vault.run(["restore", "other", "--to-redis", &uri]).expect(exit::USAGE).says("is not a Redis RDB file");
}

#[test]
fn given_a_replica_a_cluster_or_a_master_of_others_then_it_is_refused() {
    let (vault, _) = vault_of("redis62");
    let master = Redis::start("redis70");
    master.ask("SET mine 1");
    let replica = Redis::start_with("redis70", &["--replicaof", "127.0.0.1", &master.port.to_string()]);
    while replica.info("master_link_status").as_deref() != Some("up") {
        std::thread::yield_now();
    }
    let cluster = Redis::start_with("redis70", &["--cluster-enabled", "yes"]);
    for (server, words) in [
        (&replica, "is a replica of"),
        (&master, "has 1 replica,"),
        (&cluster, "no server for slots 0-16383"),
    ] {
        let args = ["restore", "queue", "--to-redis", &server.uri(), "--force", "--yes"];
        vault.run(args).expect_one_of(&[exit::REFUSED, exit::TARGET]).says(words);
    }
    assert_eq!(master.ask("GET mine"), "1");
    assert_eq!(replica.info("role").as_deref(), Some("slave"));
}

#[test]
fn given_a_damaged_pack_or_a_file_with_a_wrong_byte_then_the_target_is_as_before() {
    for kind in ["redis62", "redis70", "redis82", "valkey91"] {
        let source = Redis::start("redis62");
        source.fill();
        large(&source);
        let vault = Vault::new();
        vault.run(["backup", &source.uri(), "--series", "queue"]).expect(exit::OK);
        let rdb = vault.restore("queue").stdout;
        let mut target = Redis::start(kind);
        target.ask("SET mine 1");
        let before = target.contents();
        let args = |name: &'static str| {
            ["restore", name, "--to-redis", &target.uri(), "--force", "--yes"].map(str::to_owned)
        };
        let (of_queue, of_wrong) = (args("queue"), args("wrong"));

        // A byte of a large value: only the checksum tells.
        let mut wrong = rdb;
        let at = wrong.len() / 2;
        wrong[at] ^= 1;
        vault.run_with(["backup", "--stdin", "--series", "wrong"], &wrong).expect(exit::PART_FAILED);
        vault.run(of_wrong).expect_one_of(&[exit::INTEGRITY, exit::REFUSED]);
        assert!(target.is_alive() && is_master(&target), "{kind}");
        assert_eq!(target.contents(), before, "{kind}");

        let largest = |key: &String| fs::metadata(vault.repo().join(key)).unwrap().len();
        let pack = vault.repo().join(vault.objects_in("packs").into_iter().max_by_key(largest).unwrap());
        let mut bytes = fs::read(&pack).unwrap();
        let at = bytes.len() * 9 / 10;
        bytes[at] ^= 1;
        fs::set_permissions(&pack, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&pack, bytes).unwrap();
        vault.run(of_queue).expect(exit::INTEGRITY);
        assert!(target.is_alive() && is_master(&target), "{kind}");
        assert_eq!(target.contents(), before, "{kind}");
    }
}

#[test]
fn given_a_restore_that_is_stopped_then_the_target_is_a_master_with_its_own_data() {
    let source = Redis::start("redis70");
    source.fill();
    large(&source);
    let vault = Vault::new();
    vault.run(["backup", &source.uri(), "--series", "queue"]).expect(exit::OK);
    let original = source.contents();
    for kind in ["redis70", "redis82", "valkey91"] {
        let target = Redis::start(kind);
        target.ask("SET mine 1");
        let before = target.contents();
        let uri = target.uri();
        let args = ["restore", "queue", "--to-redis", &uri, "--force", "--yes"];
        let slow = args.iter().chain(&["--limit-download", "1M"]);
        for signal in [Signal::INT, Signal::TERM] {
            let running = Running::start(vault.command(slow.clone()));
            while target.info("master_sync_in_progress").as_deref() != Some("1") {
                std::thread::sleep(Duration::from_millis(5));
            }
            running.signal(signal);
            running.wait().expect(exit::INTERRUPTED);
            assert!(is_master(&target), "{kind}");
            assert_eq!(target.contents(), before, "{kind}");
        }
        // Nobody can clear up behind this one: the next restore says what to do.
        let running = Running::start(vault.command(slow));
        while target.info("master_sync_in_progress").as_deref() != Some("1") {
            std::thread::sleep(Duration::from_millis(5));
        }
        running.signal(Signal::KILL);
        assert_eq!(running.wait().code, None);
        assert_eq!(target.contents(), before, "{kind}");
        vault.run(args).expect(exit::REFUSED).says("REPLICAOF NO ONE");
        target.ask("REPLICAOF NO ONE");
        assert_eq!(target.contents(), before, "{kind}");
        vault.run(args).expect(exit::OK);
        assert_eq!(target.contents(), original, "{kind}");
    }
}

#[test]
fn given_an_append_only_target_when_it_is_killed_after_the_restore_then_everything_is_there_again() {
    let (vault, original) = vault_of("redis70");
    for kind in ["redis70", "valkey91"] {
        let mut target = Redis::start_with(kind, &["--appendonly", "yes"]);
        let args = ["restore", "queue", "--to-redis", &target.uri(), "--force", "--yes"];
        vault.run(args).expect(exit::OK);
        // The id of the master that it had stays: with one that others know, their replicas could go on from it.
        let first = target.info("master_replid2").unwrap();
        vault.run(args).expect(exit::OK);
        let second = target.info("master_replid2").unwrap();
        assert!(first != second && [&first, &second].iter().all(|id| id.len() == 40), "{first} {second}");
        while target.info("aof_rewrite_in_progress").as_deref() != Some("0")
            || target.info("aof_rewrite_scheduled").as_deref() != Some("0")
        {
            std::thread::sleep(Duration::from_millis(5));
        }
        target.kill_and_start();
        assert_eq!(target.contents(), original, "{kind}");
    }
}

#[test]
fn given_passwords_on_both_sides_then_the_restore_goes_through_and_shows_none() {
    let (vault, original) = vault_of("redis62");
    let target =
        Redis::start_with("valkey81", &["--masterauth", "master-word", "--requirepass", "s3cret-word"]);
    let mut command = vault.command(["restore", "queue", "--to-redis", &target.uri()]);
    command.env("REDISCLI_AUTH", "s3cret-word");
    crate::support::cli::run(command, b"").expect(exit::OK).does_not_say("-word");
    target.client().words(&["AUTH", "s3cret-word"]);
    target.login("s3cret-word");
    assert_eq!(target.contents(), original);
}

#[test]
fn given_restores_then_each_server_remembers_a_replication_id_that_nobody_else_knows() {
    let (vault, contents) = vault_of("redis70");
    let restored = || {
        let target = Redis::start("redis70");
        // It shows its master a password, which is not looked at.
        target.ask("CONFIG SET masterauth xyzzy");
        vault.run(["restore", "queue", "--to-redis", &target.uri(), "--yes"]).expect(exit::OK);
        assert_eq!(target.contents(), contents);
        target.info("master_replid2").unwrap()
    };
    // With an id that others know, a replica of theirs could go on from it as if the data were its master's.
    let (one, other) = (restored(), restored());
    assert_ne!(one, other);
    for id in [one, other] {
        let digits: std::collections::BTreeSet<char> = id.chars().collect();
        assert!(id.len() == 40 && digits.len() > 4, "{id}");
    }
}
