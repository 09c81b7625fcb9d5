//! Clusters and sentinels: several servers that are one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support::cli::{Vault, exit, number, run, text};
use crate::support::redis::{Cluster, Redis, sentinel};

const KEYS: u64 = 600;

fn filled(kind: &'static str) -> Cluster {
    let cluster = Cluster::start(kind);
    for at in 0..KEYS {
        cluster.set(&format!("job:{at}"), &format!("value{at}"));
    }
    cluster
}

fn holds_all(cluster: &Cluster) {
    for at in 0..KEYS {
        assert_eq!(cluster.get(&format!("job:{at}")), Some(format!("value{at}")), "job:{at}");
    }
}

#[test]
fn given_a_cluster_of_three_masters_then_each_is_a_stream_and_all_keys_come_back_wherever_their_slots_are() {
    for kind in ["redis70", "valkey81", "redis82"] {
        let cluster = filled(kind);
        if kind != "redis70" {
            let code = "#!lua name=mylib\nredis.register_function('f', function() return 1 end)";
            cluster.nodes.iter().for_each(|node| drop(node.client().words(&["FUNCTION", "LOAD", code])));
        }
        let vault = Vault::new();
        let uri = cluster.nodes[1].uri();
        vault.run(["backup", &uri, "--series", "queue"]).expect(exit::OK);
        let id = vault.ids().pop().unwrap();
        let shown = vault.snapshot(&id);
        let streams: Vec<String> =
            shown["streams"].as_array().unwrap().iter().map(|stream| text(stream, "name")).collect();
        let wanted = ["queue/shard-0", "queue/shard-5461", "queue/shard-10923", "queue/settings"];
        assert_eq!(streams, wanted, "{kind}");
        assert_eq!(shown["streams"][1]["attributes"]["slots"], "5461-10922", "{kind}");
        // The next one has parents, and adds next to nothing.
        let again = vault.run(["backup", &uri, "--series", "queue", "--json"]).expect(exit::OK).json();
        assert_eq!(text(&vault.snapshots().pop().unwrap(), "state"), "complete", "{again}");

        let target = Cluster::start(kind);
        let into = target.nodes[2].uri();
        let told = vault.run(["restore", "queue", "--to-redis", &into, "--dry-run"]).expect(exit::OK).text();
        assert!(told.contains("would restore 600 keys"), "{kind}: {told}");
        assert_eq!(target.keys(), 0);
        let report = vault.run(["restore", "queue", "--to-redis", &into, "--json"]).expect(exit::OK).json();
        assert_eq!(number(&report["keys"], "restored"), KEYS, "{kind}: {report}");
        holds_all(&target);
        if kind != "redis70" {
            target
                .nodes
                .iter()
                .for_each(|node| assert!(node.ask("FUNCTION LIST").contains("mylib"), "{kind}"));
        }
        // What is there is counted over all servers, and stays.
        vault
            .run(["restore", "queue", "--to-redis", &into])
            .expect(exit::REFUSED)
            .says("600 keys of the snapshot");
        // A server by itself takes them, too, and a cluster those of a server.
        let alone = Redis::start(kind);
        vault.run(["restore", "queue", "--to-redis", &alone.uri()]).expect(exit::OK);
        assert_eq!(alone.ask("DBSIZE"), KEYS.to_string(), "{kind}");
        let args = ["restore", "queue", "--to-redis", &alone.uri(), "--via", "master"];
        vault.run(args).expect(exit::USAGE);
    }
}

#[test]
fn given_a_server_by_itself_when_restored_into_a_cluster_then_keys_of_its_other_databases_are_named() {
    let source = Redis::start("redis70");
    source.fill();
    let vault = Vault::new();
    vault.run(["backup", &source.uri(), "--series", "queue"]).expect(exit::OK);
    let cluster = Cluster::start("redis70");
    let uri = cluster.nodes[0].uri();
    let told = vault.run(["restore", "queue", "--to-redis", &uri]).expect(exit::PART_FAILED);
    told.says("key `other:1` was not restored").says("no such database");
    assert_eq!(cluster.keys(), 314);
    let args = ["restore", "queue", "--to-redis", &uri, "--db", "5:0", "--yes"];
    vault.run(args).expect(exit::OK);
    assert_eq!(cluster.keys(), 316);
}

/// The slot of a key, as a server reckons it.
fn slot(node: &Redis, key: &str) -> u64 {
    node.ask(&format!("CLUSTER KEYSLOT {key}")).parse().unwrap()
}

/// Begins to move the slot of a key from one server to another.
fn begin_move(from: &Redis, to: &Redis, slot: u64) {
    let (from_id, to_id) = (from.ask("CLUSTER MYID"), to.ask("CLUSTER MYID"));
    to.client().good(&format!("CLUSTER SETSLOT {slot} IMPORTING {from_id}"));
    from.client().good(&format!("CLUSTER SETSLOT {slot} MIGRATING {to_id}"));
}

#[test]
fn given_slots_that_move_then_a_backup_is_partial_and_a_restore_follows_them() {
    let cluster = filled("redis70");
    let vault = Vault::new();
    vault.run(["backup", &cluster.nodes[0].uri(), "--series", "queue"]).expect(exit::OK);
    let key = (0..).map(|at| format!("job:{at}")).find(|key| slot(&cluster.nodes[0], key) < 5000).unwrap();
    let number = slot(&cluster.nodes[0], &key);
    let target = Cluster::start("redis70");
    for under_way in [&cluster, &target] {
        begin_move(&under_way.nodes[0], &under_way.nodes[2], number);
    }
    let told = vault.run(["backup", &cluster.nodes[0].uri(), "--series", "queue"]).expect(exit::PART_FAILED);
    told.says("slots moved");
    assert_eq!(text(&vault.snapshots().pop().unwrap(), "state"), "partial");
    // A key that is not there is asked for at the other server, which takes it.
    let into = target.nodes[0].uri();
    vault.run(["restore", "queue", "--to-redis", &into]).expect(exit::OK);
    assert_eq!(target.keys(), KEYS);
    let mut there = target.nodes[2].client();
    there.good("ASKING");
    assert!(there.ask(&format!("GET {key}")).starts_with("value"));
}

#[test]
fn given_a_cluster_that_lost_a_master_then_the_others_are_stored_and_it_is_named() {
    let mut cluster = filled("redis70");
    let vault = Vault::new();
    let lost = cluster.nodes.remove(1);
    let (port, uri) = (lost.port, cluster.nodes[0].uri());
    drop(lost);
    let told = vault.run(["backup", &uri, "--series", "queue"]).expect(exit::PART_FAILED);
    told.says("queue/shard-5461").says(&port.to_string());
    assert_eq!(text(&vault.snapshots().pop().unwrap(), "state"), "partial");
    // Nothing is sent to a cluster of which a part cannot be reached.
    vault
        .run(["restore", "queue", "--to-redis", &uri, "--on-conflict", "replace", "--yes"])
        .expect(exit::TARGET);
}

#[test]
fn given_sentinels_then_the_master_of_the_moment_is_read_also_after_a_failover() {
    for kind in ["redis70", "valkey91"] {
        let master = Redis::start(kind);
        master.ask("CONFIG SET requirepass s3cret-word");
        master.login("s3cret-word");
        master.ask("CONFIG SET masterauth s3cret-word");
        let replica = Redis::start_with(kind, &["--masterauth", "s3cret-word"]);
        replica.ask(&format!("REPLICAOF 127.0.0.1 {}", master.port));
        replica.wait("INFO", |told| told.contains("master_link_status:up"));
        replica.ask("CONFIG SET requirepass s3cret-word");
        replica.login("s3cret-word");
        master.ask("SET mine 1");
        replica.wait("GET mine", |told| told == "1");
        let watch = sentinel(&master, "mymaster");
        watch.ask("SENTINEL SET mymaster auth-pass s3cret-word");
        watch.wait("SENTINEL MASTER mymaster", |told| told.contains("num-slaves 1"));
        let vault = Vault::new();
        let backup = |uri: &str| {
            let mut command = vault.command(["backup", uri]);
            command.env("REDISCLI_AUTH", "s3cret-word");
            run(command, b"")
        };
        // A sentinel that is gone is passed over.
        let uri = format!("redis+sentinel://127.0.0.1:1,127.0.0.1:{}/mymaster", watch.port);
        backup(&uri).expect(exit::OK);
        let snapshot = vault.snapshots().pop().unwrap();
        assert_eq!(
            (text(&snapshot, "series"), text(&snapshot, "state")),
            ("mymaster".into(), "complete".into())
        );
        let other = format!("redis+sentinel://127.0.0.1:{}/other", watch.port);
        backup(&other).expect(exit::NOTHING_DONE).says("know no master `other`");

        // As a whole it cannot be restored while it is watched; keys can.
        let restore = |more: &[&str]| {
            let mut command = vault.command(["restore", "mymaster", "--to-redis", &uri].iter().chain(more));
            command.env("REDISCLI_AUTH", "s3cret-word");
            run(command, b"")
        };
        restore(&["--force", "--yes"]).expect(exit::REFUSED);
        restore(&["--key", "mine", "--on-conflict", "replace", "--yes"]).expect(exit::OK);

        drop(master);
        // While it is made the master, the other one is waited for.
        backup(&uri).expect(exit::OK);
        assert_eq!(replica.info("role").as_deref(), Some("master"), "{kind}");
        assert_eq!(vault.ids().len(), 2);
        // It has no replica now, and is watched all the same.
        restore(&["--force", "--yes"]).expect(exit::REFUSED).says("sentinels watch");
        assert_eq!(replica.ask("GET mine"), "1");
    }
}
