//! Redis and Valkey through the command line, with real servers of five versions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support::cli::{Running, Vault, exit, run, text};
use crate::support::redis::{ALL, Redis};
use dumpvault::content::rdb::{Reader, Structure, Survey};
use rustix::process::Signal;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;

fn survey(bytes: &[u8]) -> Survey {
    let mut reader = Reader::new();
    reader.push(bytes);
    let (structure, survey) = reader.finish();
    assert_eq!(structure, Structure::Whole);
    survey
}

#[test]
fn given_a_server_of_each_version_when_backed_up_then_the_file_holds_every_key_and_is_proven() {
    let vault = Vault::new();
    for (kind, version) in ALL.into_iter().zip([9, 10, 11, 11, 12]) {
        let server = Redis::start(kind);
        let keys = server.fill();
        // Fields that end by themselves have a form of their own, which only who announces a version is sent.
        let version = match kind {
            "valkey91" => {
                server.ask("HEXPIRE h:5 100000 FIELDS 1 field1");
                80
            }
            _ => version,
        };
        let shown = vault.run(["backup", &server.uri(), "--series", kind]).expect(exit::OK);
        shown.does_not_say("warning");
        let snapshot = vault.snapshots().pop().unwrap();
        assert_eq!(text(&snapshot, "state"), "complete", "{kind}");
        assert_eq!(text(&snapshot, "proof"), "exit-status+structure", "{kind}");
        // No server program is found there.
        let mut command = vault.command(["verify", kind]);
        command.env("PATH", vault.work());
        let told = run(command, b"").expect(exit::OK).says("--redis-server").text();
        assert!(told.contains("whole; not restored"), "{kind}: {told}");
        let bytes = vault.restore(kind).expect(exit::OK).stdout;
        let found = survey(&bytes);
        assert_eq!((found.keys(), found.version), (keys as u64, version), "{kind}");
        assert_eq!(found.groups[&(0, b"session:".to_vec())].expiring, 100, "{kind}");
        assert_eq!(found.functions, u64::from(kind != "redis62"), "{kind}");
        let file = server.home().join("dump.rdb");
        assert_eq!(file.exists(), kind == "redis62", "{kind}: only the oldest writes a file of its own");
    }
}

#[test]
fn given_a_socket_a_table_and_passwords_then_they_lead_to_the_server_and_are_never_shown() {
    let server = Redis::start("redis70");
    server.fill();
    let vault = Vault::new();
    let socket = server.home().join("s");
    vault.run(["backup", &format!("unix://{}", socket.display())]).expect(exit::OK);
    assert_eq!(text(&vault.snapshots().pop().unwrap(), "series"), "localhost");

    server.ask("ACL SETUSER vault on >s3cret-word +psync +replconf +info");
    server.ask("CONFIG SET requirepass other-word");
    let uri = format!("redis://vault@127.0.0.1:{}", server.port);
    vault.run(["backup", &uri]).expect(exit::NOTHING_DONE).says("REDISCLI_AUTH");
    let mut command = vault.command(["backup", &uri]);
    command.env("REDISCLI_AUTH", "s3cret-word");
    run(command, b"").expect(exit::OK).does_not_say("s3cret");
    let mut command = vault.command(["backup", &uri]);
    command.env("REDISCLI_AUTH", "wrong-word");
    run(command, b"")
        .expect(exit::NOTHING_DONE)
        .says("WRONGPASS")
        .says("check the user")
        .does_not_say("wrong-word");
    let with_password = format!("redis://vault:s3cret-word@127.0.0.1:{}", server.port);
    vault.run(["backup", &with_password]).expect(exit::USAGE).says("others can read").does_not_say("s3cret");

    std::fs::write(vault.work().join("pass"), "s3cret-word\n").unwrap();
    let config = format!(
        "[source.one]\ntype = \"redis\"\nuri = \"{uri}\"\npassword_file = \"{}\"\n\
         [source.two]\ntype = \"redis\"\nhost = \"127.0.0.1\"\nport = {}\nuser = \"vault\"\npassword_command = \"cat pass\"\n\
         [source.three]\ntype = \"redis\"\nuri = \"{with_password}\"\n\
         [source.four]\ntype = \"redis\"\nuri = \"{uri}\"\nenv = {{ REDISCLI_AUTH = \"s3cret-word\" }}\n",
        vault.work().join("pass").display(),
        server.port
    );
    let path = vault.work().join("dumpvault.toml");
    std::fs::write(&path, config).unwrap();
    let config = path.to_str().unwrap();
    for name in ["one", "two", "three", "four"] {
        vault.run(["--config", config, "backup", name]).expect(exit::OK).does_not_say("s3cret");
        assert_eq!(survey(&vault.restore(name).stdout).groups[&(5, b"other:".to_vec())].keys, 1);
    }
    let shown = vault.run(["--config", config, "config", "show"]).expect(exit::OK);
    assert!(!shown.text().contains("s3cret"), "{shown}");

    // A user without the rights is told which are missing.
    server.client().words(&["AUTH", "other-word"]);
    let mut client = server.client();
    client.ask("AUTH other-word");
    client.good("ACL SETUSER weak on >weak-word +info");
    let mut command = vault.command(["backup", &format!("redis://weak@127.0.0.1:{}", server.port)]);
    command.env("REDISCLI_AUTH", "weak-word");
    run(command, b"").expect(exit::NOTHING_DONE).says("NOPERM").says("+psync +replconf +info");
}

/// Answers like a server, and as told to `PSYNC`; then it closes.
fn impostor(answer: Vec<u8>) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("redis://{}", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || serve(listener.accept().unwrap().0, &answer));
    (uri, thread)
}

fn serve(socket: TcpStream, answer: &[u8]) {
    let mut reader = BufReader::new(socket);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let count: usize = line.trim_end()[1..].parse().unwrap();
        let mut words = Vec::new();
        for _ in 0..count {
            let mut length = String::new();
            reader.read_line(&mut length).unwrap();
            let mut word = vec![0; length.trim_end()[1..].parse::<usize>().unwrap() + 2];
            reader.read_exact(&mut word).unwrap();
            words.push(String::from_utf8_lossy(&word[..word.len() - 2]).into_owned());
        }
        let reply: &[u8] = match words[0].as_str() {
            "PSYNC" => answer,
            "INFO" => b"$20\r\nredis_version:7.0.15\r\n",
            _ => b"+OK\r\n",
        };
        reader.get_mut().write_all(reply).unwrap();
        if words[0] == "PSYNC" {
            return;
        }
    }
}

#[test]
fn given_a_server_that_stops_early_or_refuses_then_there_is_no_snapshot_and_the_next_step_is_told() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rdb");
    let rdb = std::fs::read(folder.join("redis82.rdb")).unwrap();
    let vault = Vault::new();
    let mark = "m".repeat(40);
    let front = |kind: &str| format!("+FULLRESYNC {} 0\r\n\n\n{kind}\r\n", "a".repeat(40)).into_bytes();
    let with_length = |bytes: &[u8]| [front(&format!("${}", rdb.len())), bytes.to_vec()].concat();
    let with_mark =
        |bytes: &[u8], end: &str| [front(&format!("$EOF:{mark}")), bytes.to_vec(), end.into()].concat();
    let flipped = |at: usize| {
        let mut bytes = rdb.clone();
        bytes[at] ^= 0x40;
        bytes
    };
    let cut = &rdb[..rdb.len() / 2];
    for (answer, words) in [
        (with_length(cut), "closed the connection before its data ended"),
        (with_mark(cut, ""), "closed the connection before its data ended"),
        (with_mark(&rdb, ""), "closed the connection before its data ended"),
        (with_mark(cut, &mark), "closed the connection before its data ended"),
        (b"-ERR unknown command 'PSYNC'\r\n".to_vec(), "read key by key"),
        (b"-NOPERM this user has no permissions\r\n".to_vec(), "refused PSYNC: NOPERM"),
        (b"\n\n-NOMASTERLINK Can't SYNC\r\n".to_vec(), "replica without its master"),
        (b"".to_vec(), "closed the connection while it prepared"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "does not answer as a Redis server does"),
        (front("$EOF:short"), "does not answer as a Redis server does"),
    ] {
        let (uri, server) = impostor(answer);
        vault.run(["backup", &uri]).expect(exit::NOTHING_DONE).says(words);
        server.join().unwrap();
    }
    assert!(vault.ids().is_empty());
    // Bytes that make no sense are kept, and never called complete.
    let (uri, _server) = impostor(with_mark(&flipped(rdb.len() / 2), &mark));
    vault.run(["backup", &uri]).expect_one_of(&[exit::PART_FAILED, exit::NOTHING_DONE]);
    assert!(vault.snapshots().iter().all(|snapshot| text(snapshot, "state") != "complete"));
    // Both ways to end, and an empty line behind the mark.
    for answer in [with_length(&rdb), with_mark(&rdb, &mark), with_mark(&rdb, &format!("{mark}\n"))] {
        let (uri, _server) = impostor(answer);
        vault.run(["backup", &uri, "--series", "whole"]).expect(exit::OK);
        assert_eq!(survey(&vault.restore("whole").stdout).types, survey(&rdb).types);
    }
}

#[test]
fn given_a_backup_that_stands_still_for_the_servers_time_limit_then_there_is_no_snapshot_and_the_server_goes_on()
 {
    let settings = ["--repl-timeout", "2", "--repl-diskless-sync-delay", "4", "--rdbcompression", "no"];
    let server = Redis::start_with("redis70", &settings);
    // More than the buffers between the two hold.
    (0..64).for_each(|at| drop(server.ask(&format!("SETRANGE k:{at} 1048575 x"))));
    let vault = Vault::new();
    let running = Running::start(vault.command(["backup", &server.uri(), "--name", "queue"]));
    server.wait("INFO replication", |told| told.contains("connected_slaves:1"));
    // The server waits some seconds for other replicas before it sends anything.
    running.signal(Signal::STOP);
    server.wait("INFO replication", |told| told.contains("connected_slaves:0"));
    running.signal(Signal::CONT);
    running.wait().expect(exit::NOTHING_DONE).says("closed the connection").says("repl-timeout");
    assert!(vault.ids().is_empty());
    // Its copy of itself has ended, too, and the next backup comes through.
    server.wait("INFO persistence", |told| told.contains("rdb_bgsave_in_progress:0"));
    vault.run(["backup", &server.uri(), "--name", "queue"]).expect(exit::OK);
}

#[test]
fn given_nobody_who_listens_a_cluster_without_slots_or_another_database_number_then_that_is_told() {
    let vault = Vault::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nobody = format!("redis://127.0.0.1:{port}");
    vault.run(["backup", &nobody]).expect(exit::NOTHING_DONE).says("cannot connect");
    vault.run(["backup", &format!("{nobody}/3")]).expect(exit::USAGE).says("all databases");
    let cluster = Redis::start_with("redis70", &["--cluster-enabled", "yes"]);
    vault.run(["backup", &cluster.uri()]).expect(exit::NOTHING_DONE).says("no server for slots 0-16383");
    assert!(vault.ids().is_empty());
}

/// Rows of a list of keys, as database, prefix, keys, expiring.
fn counted(list: &serde_json::Value) -> Vec<(u64, String, u64, u64)> {
    let row = |row: &serde_json::Value| {
        let number = |field: &str| row[field].as_u64().unwrap();
        (number("database"), text(row, "prefix"), number("keys"), number("expiring"))
    };
    list.as_array().unwrap().iter().map(row).collect()
}

#[test]
fn given_keys_of_several_prefixes_then_they_are_listed_compared_and_missed_when_all_are_gone() {
    let server = Redis::start("valkey91");
    let mut client = server.client();
    for at in 0..1200 {
        client.good(&format!("SET job:{at} x"));
        client.good(&format!("SET cache:{at} x EX 100000"));
    }
    client.good("SET plain x");
    client.good("SELECT 3");
    client.good("SET job:1 x");
    let vault = Vault::new();
    let uri = server.uri();
    let backup = ["backup", uri.as_str(), "--series", "queue"];
    vault.run(backup).expect(exit::OK);
    let row =
        |database: u64, prefix: &str, keys: u64, expiring: u64| (database, prefix.to_owned(), keys, expiring);
    let listed = vault.run(["ls", "queue", "--json"]).expect(exit::OK).json();
    let expected =
        [row(0, "*", 1, 0), row(0, "cache:", 1200, 1200), row(0, "job:", 1200, 0), row(3, "job:", 1, 0)];
    assert_eq!(counted(&listed["keys"]), expected);
    let told = vault.run(["ls", "queue"]).expect(exit::OK).text();
    assert!(told.contains("2402 keys") && told.contains("cache:"), "{told}");

    // What expires may all be gone, and what was replaced is told.
    client.good("SELECT 0");
    for at in 0..1200 {
        client.ask(&format!("DEL cache:{at}"));
    }
    client.good("SET other:1 x");
    vault.run(backup).expect(exit::OK).does_not_say("suspect");
    let changed = vault.run(["diff", "queue~1", "queue", "--json"]).expect(exit::OK).json();
    let mut changes: Vec<(String, String)> = changed["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (text(row, "prefix"), text(row, "change")))
        .collect();
    changes.retain(|(_, change)| change != "none");
    assert_eq!(changes, [("cache:", "gone"), ("other:", "new")].map(|(a, b)| (a.to_owned(), b.to_owned())));
    let told = vault.run(["diff", "queue~1", "queue"]).expect(exit::OK).text();
    assert!(told.contains("-1200") && !told.contains("tables"), "{told}");

    // Keys that last do not go all at once.
    let more = "x".repeat(400);
    for at in 0..1200 {
        client.ask(&format!("DEL job:{at}"));
        client.good(&format!("SET filler:{at} {more}"));
    }
    let shown = vault.run(backup).expect(exit::PART_FAILED);
    shown.says("no keys with prefix job: in database 0 (had at least 1200 keys)");
    assert_eq!(text(vault.snapshots().last().unwrap(), "state"), "suspect");
}

#[test]
fn given_a_server_with_another_order_of_its_keys_then_the_same_data_is_the_same_file() {
    for kind in ALL {
        let server = Redis::start(kind);
        server.fill();
        let vault = Vault::new();
        let config = |normalise: bool| {
            let path = vault.work().join(format!("{normalise}.toml"));
            let text = format!("[source.queue]\ntype = \"redis\"\nport = PORT\nnormalise = {normalise}\n");
            (path, text)
        };
        let backup = |server: &Redis, normalise: bool| {
            let (path, text) = config(normalise);
            std::fs::write(&path, text.replace("PORT", &server.port.to_string())).unwrap();
            vault.run(["backup", "--config", path.to_str().unwrap()]).expect(exit::OK);
            vault.restore("queue").expect(exit::OK).stdout
        };
        let first = backup(&server, true);
        assert!(vault.run(["show", "queue"]).expect(exit::OK).text().contains("sorted"), "{kind}");
        let as_sent = backup(&server, false);
        assert!(!vault.run(["show", "queue"]).expect(exit::OK).text().contains("sorted"), "{kind}");
        // Each server draws another seed for its tables.
        let other = Redis::start(kind);
        vault.run(["restore", "queue", "--to-redis", &other.uri()]).expect(exit::OK);
        assert_eq!(other.contents(), server.contents(), "{kind}");
        assert!(backup(&other, true) == first, "{kind}");
        assert!(backup(&other, false) != as_sent, "{kind}");
        let (of_first, of_sent) = (survey(&first), survey(&as_sent));
        assert_eq!((of_first.keys(), of_first.functions), (of_sent.keys(), of_sent.functions), "{kind}");
        // What is sorted loads like any other.
        let third = Redis::start(kind);
        vault.run(["restore", "queue~1", "--to-redis", &third.uri()]).expect(exit::OK);
        assert_eq!(third.contents(), server.contents(), "{kind}");
    }
}

#[test]
fn given_more_data_than_may_be_held_then_it_is_stored_as_it_is_sent() {
    let server = Redis::start("redis70");
    let keys = server.fill();
    let vault = Vault::new();
    let path = vault.work().join("config.toml");
    let text = format!("[source.queue]\ntype = \"redis\"\nport = {}\nsort_memory = \"16K\"\n", server.port);
    std::fs::write(&path, text).unwrap();
    vault.run(["backup", "--config", path.to_str().unwrap()]).expect(exit::OK);
    assert!(vault.run(["show", "queue"]).expect(exit::OK).text().contains("as sent"));
    assert_eq!(text_of(&vault, "proof"), "exit-status+structure");
    assert_eq!(survey(&vault.restore("queue").stdout).keys(), keys as u64);
}

fn text_of(vault: &Vault, field: &str) -> String {
    text(&vault.snapshots().pop().unwrap(), field)
}

#[test]
fn given_a_server_that_is_read_key_by_key_then_the_file_is_that_of_replication() {
    for kind in ALL {
        let server = Redis::start(kind);
        let keys = server.fill();
        let vault = Vault::new();
        let path = vault.work().join("config.toml");
        let backup = |more: &str| {
            let text = format!("[source.queue]\ntype = \"redis\"\nport = {}\n{more}", server.port);
            std::fs::write(&path, text).unwrap();
            vault.run(["backup", "--config", path.to_str().unwrap()])
        };
        backup("method = \"psync\"").expect(exit::OK);
        let pulled = vault.restore("queue").stdout;
        backup("method = \"scan\"").expect(exit::OK).does_not_say("warning");
        let scanned = vault.restore("queue").stdout;
        // Made key by key, it proves nothing by its own structure.
        assert_eq!(text_of(&vault, "proof"), "exit-status", "{kind}");
        assert!(vault.run(["show", "queue"]).text().contains("consistency"), "{kind}");
        assert_eq!(survey(&scanned).keys(), keys as u64, "{kind}");
        // The oldest tells when a key ends only from now on.
        if kind != "redis62" {
            assert!(pulled == scanned, "{kind}");
        }
        let other = Redis::start(kind);
        vault.run(["restore", "queue", "--to-redis", &other.uri()]).expect(exit::OK);
        assert_eq!(other.contents(), server.contents(), "{kind}");

        // Not sorted, and by itself where replication is refused.
        server.ask("ACL SETUSER some on >word ~* +scan +dump +pttl +select +time +randomkey +info");
        if kind != "redis62" {
            server.ask("ACL SETUSER some +function|dump +pexpiretime");
        }
        let secret = vault.work().join("pass");
        std::fs::write(&secret, "word\n").unwrap();
        let more = format!("user = \"some\"\npassword_file = \"{}\"\n", secret.display());
        let told = backup(&format!("{more}normalise = false\n")).expect(exit::OK);
        told.says("read key by key");
        assert_eq!(survey(&vault.restore("queue").stdout).keys(), keys as u64, "{kind}");
        backup(&format!("{more}method = \"psync\"\n")).expect(exit::NOTHING_DONE).says("NOPERM");
        server.ask("ACL SETUSER some -dump");
        backup(&more).expect(exit::NOTHING_DONE).says("+dump");
    }
}
