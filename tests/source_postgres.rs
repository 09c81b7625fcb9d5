//! PostgreSQL as a source and as a target, on a real server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use dumpvault::base::event::Cancel;
use dumpvault::content::inspect::Kind;
use dumpvault::source::SourceError;
use dumpvault::source::postgres::{
    Clients, ConnectProblem, Connection, ConnectionParts, Discarded, DumpKind, PostgresError, PostgresSource,
    RestoreTarget, Version, kind_of_dump,
};
use dumpvault::source::process::Limits;
use dumpvault::vault::snapshot::Proof;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use support::pg::{PASSWORD, PASSWORD_ENCODED, PASSWORD_USER, Server};

const SHOP: &str = "
CREATE TABLE customers (id serial PRIMARY KEY, name text NOT NULL, note text);
INSERT INTO customers (name, note) SELECT 'customer ' || i, E'a\\ttab, a \\\\ and ''quotes'' ' || i FROM generate_series(1, 2000) i;
CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers, paid bool);
INSERT INTO orders SELECT i, i, i % 2 = 0 FROM generate_series(1, 2000) i;
CREATE VIEW unpaid AS SELECT * FROM orders WHERE NOT paid;
CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql AS 'SELECT $1 * 2';
";

/// `pg_dump` writes a transaction around them into a plain dump.
const LARGE_OBJECT: &str = "SELECT lo_from_bytea(0, 'a large object')";

/// More than the pipes and sockets between server and reader hold.
const BULK: &str =
    "CREATE TABLE bulk AS SELECT i, repeat('x', 1000) AS filler FROM generate_series(1, 30000) i";

fn no_limits() -> Limits {
    Limits::new(Cancel::new())
}

fn connection(server: &Server, database: &str) -> Connection {
    Connection::from_uri(&server.uri(database)).unwrap()
}

/// The server's own programs only.
fn clients(server: &Server) -> Clients {
    Clients::new(vec![server.bin().to_owned()], false)
}

fn source(server: &Server, connection: Connection) -> PostgresSource {
    PostgresSource { clients: clients(server), ..PostgresSource::new(connection, no_limits()) }
}

fn target(server: &Server, database: &str) -> RestoreTarget {
    RestoreTarget {
        clients: clients(server),
        ..RestoreTarget::new(connection(server, "postgres"), database, no_limits())
    }
}

fn shop(server: &Server, database: &str) {
    server.create(database);
    server.psql(database, SHOP);
}

fn dump(source: &PostgresSource) -> Vec<u8> {
    let mut dump = source.open().unwrap().dump;
    let mut bytes = Vec::new();
    dump.read_to_end(&mut bytes).unwrap();
    assert_eq!(dump.finish().unwrap(), Proof::Exited);
    bytes
}

fn restore(target: &RestoreTarget, bytes: &[u8]) {
    let prepared = target.prepare(kind_of_dump(bytes)).unwrap();
    let mut sink = prepared.open_sink().unwrap();
    if sink.write_all(bytes).is_err() {
        panic!("{}", sink.fail_reason());
    }
    sink.finish().unwrap();
    prepared.keep().unwrap();
}

/// Restores what cannot be restored, and gives the reason.
fn restore_error(target: &RestoreTarget, bytes: &[u8]) -> (SourceError, Discarded) {
    let prepared = target.prepare(kind_of_dump(bytes)).unwrap();
    let mut sink = prepared.open_sink().unwrap();
    let error = match sink.write_all(bytes) {
        Ok(()) => sink.finish().unwrap_err(),
        Err(_) => sink.fail_reason(),
    };
    (error, prepared.discard().unwrap())
}

fn open_error(source: &PostgresSource) -> PostgresError {
    match source.open().err().unwrap() {
        SourceError::Postgres(error) => error,
        other => panic!("{other:?}"),
    }
}

fn connect_problem(source: &PostgresSource) -> ConnectProblem {
    let error = open_error(source);
    let PostgresError::Connect { problem, client_text, .. } = &error else { panic!("{error:?}") };
    assert!(!client_text.as_str().is_empty(), "the client's own text is lost");
    assert!(error.hint().is_some(), "{error}");
    assert!(!format!("{error} {error:?}").contains("p@ss"), "a password is shown: {error:?}");
    *problem
}

/// Puts a shell script where a client program is looked for.
fn fake_client(directory: &Path, name: &str, script: &str) {
    let path = directory.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// A directory with a `pg_dump` that says it is of that version.
fn pg_dump_of(version: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fake_client(dir.path(), "pg_dump", &format!("echo 'pg_dump (PostgreSQL) {version}'"));
    dir
}

// --- dumps

#[test]
fn given_a_database_when_dumped_then_server_database_and_client_are_told_and_the_archive_is_whole() {
    let server = Server::shared();
    shop(&server, "dumped");
    let mut opened = source(&server, connection(&server, "dumped")).open().unwrap();
    assert_eq!(opened.server.database, "dumped");
    assert_eq!(opened.server.version, opened.client.version);
    assert!(opened.server.version_text.starts_with(&opened.server.version.to_string()));
    let mut bytes = Vec::new();
    opened.dump.read_to_end(&mut bytes).unwrap();
    assert_eq!(opened.dump.finish().unwrap(), Proof::Exited);
    assert!(matches!(kind_of_dump(&bytes), DumpKind::Archive { format: (1, 14..) }));
    // Uncompressed: a row stands in it as it is.
    assert!(bytes.windows(14).any(|window| window == b"customer 1999\t"));
}

#[test]
fn given_parts_instead_of_a_uri_when_dumped_then_the_same_bytes_come_over_the_socket() {
    let server = Server::shared();
    shop(&server, "parted");
    let parts = ConnectionParts {
        database: Some("parted".to_owned()),
        host: Some(server.socket_dir().display().to_string()),
        port: Some(server.port()),
        user: Some("postgres".to_owned()),
    };
    let by_parts = dump(&source(&server, Connection::from_parts(parts).unwrap()));
    assert_eq!(by_parts.len(), dump(&source(&server, connection(&server, "parted"))).len());
}

#[test]
fn given_a_password_in_the_uri_when_dumped_then_it_works_and_no_command_line_shows_it() {
    let server = Server::shared();
    server.create("guarded");
    let spy = tempfile::tempdir().unwrap();
    let log = spy.path().join("log");
    for tool in ["psql", "pg_dump"] {
        let real = server.bin().join(tool);
        let script = format!(
            "echo \"$0 $*\" >> {log}\necho \"environment: $PGPASSWORD $PGAPPNAME\" >> {log}\nexec {real} \"$@\"",
            log = log.display(),
            real = real.display()
        );
        fake_client(spy.path(), tool, &script);
    }
    let uri = server.uri_as(&format!("{PASSWORD_USER}:{PASSWORD_ENCODED}"), "guarded");
    let connection = Connection::from_uri(&uri).unwrap();
    let source = PostgresSource {
        clients: Clients::new(vec![spy.path().to_owned()], false),
        ..PostgresSource::new(connection, no_limits())
    };
    assert!(!dump(&source).is_empty());
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains(&format!("environment: {PASSWORD} dumpvault")), "{log}");
    let lines: Vec<&str> = log.lines().filter(|line| !line.starts_with("environment: ")).collect();
    assert!(lines.iter().any(|line| line.contains("pg_dump --no-password -d postgresql://keeper@")), "{log}");
    assert!(lines.iter().all(|line| !line.contains("p@ss") && !line.contains("p%40ss")), "{log}");
    assert!(
        !format!("{source:?}").contains("ss%3A") && !format!("{source:?}").contains("ss:w"),
        "{source:?}"
    );
}

#[test]
fn given_a_password_file_or_a_service_when_dumped_then_the_client_programs_find_them() {
    let server = Server::shared();
    server.create("filed");
    let dir = tempfile::tempdir().unwrap();
    let passwords = dir.path().join("passwords");
    let escaped = PASSWORD.replace(':', "\\:");
    std::fs::write(&passwords, format!("127.0.0.1:{}:filed:{PASSWORD_USER}:{escaped}\n", server.port()))
        .unwrap();
    std::fs::set_permissions(&passwords, std::fs::Permissions::from_mode(0o600)).unwrap();
    let uri = server.uri_as(PASSWORD_USER, "filed");
    let by_file = Connection::from_uri(&uri).unwrap().with_env("PGPASSFILE", &passwords);
    assert!(!dump(&source(&server, by_file)).is_empty());

    let services = dir.path().join("services");
    let port = server.port();
    let service = format!(
        "[nightly]\nhost=127.0.0.1\nport={port}\nuser={PASSWORD_USER}\npassword={PASSWORD}\ndbname=filed\n"
    );
    std::fs::write(&services, service).unwrap();
    let by_service =
        Connection::from_uri("postgresql:///?service=nightly").unwrap().with_env("PGSERVICEFILE", &services);
    let opened = source(&server, by_service).open().unwrap();
    assert_eq!(opened.server.database, "filed");
}

#[test]
fn given_a_connection_that_fails_when_opened_then_the_problem_is_named_and_a_next_step_given() {
    let server = Server::shared();
    server.create("barred");
    let problem = |uri: &str| connect_problem(&source(&server, Connection::from_uri(uri).unwrap()));
    assert_eq!(problem(&server.uri("not_there")), ConnectProblem::NoDatabase);
    assert_eq!(problem(&server.uri_as(PASSWORD_USER, "barred")), ConnectProblem::PasswordMissing);
    assert_eq!(
        problem(&server.uri_as(&format!("{PASSWORD_USER}:p%40ssing%20by"), "barred")),
        ConnectProblem::AuthenticationFailed
    );
    assert_eq!(problem(&server.uri_as("stranger", "barred")), ConnectProblem::NotAllowed);
    let socket = |user: &str, directory: &Path| {
        let parts = ConnectionParts {
            database: Some("barred".to_owned()),
            host: Some(directory.display().to_string()),
            port: Some(server.port()),
            user: Some(user.to_owned()),
        };
        connect_problem(&source(&server, Connection::from_parts(parts).unwrap()))
    };
    assert_eq!(socket("stranger", server.socket_dir()), ConnectProblem::NoRole);
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(socket("postgres", empty.path()), ConnectProblem::NotRunning);
    assert_eq!(problem("postgresql://postgres@127.0.0.1:1/barred"), ConnectProblem::NotRunning);
    assert_eq!(problem(&format!("{}?sslmode=require", server.uri("barred"))), ConnectProblem::Encryption);
    assert_eq!(problem("postgresql:///?service=nowhere_defined"), ConnectProblem::NoService);
}

#[test]
fn given_only_an_older_pg_dump_when_opened_then_nothing_is_dumped_and_the_package_is_named() {
    let server = Server::shared();
    server.create("too_new");
    let own = Clients::installed().server(&connection(&server, "too_new"), &Cancel::new()).unwrap().version;
    let old = pg_dump_of("9.6.24");
    fake_client(old.path(), "psql", &format!("exec {} \"$@\"", server.bin().join("psql").display()));
    let source = PostgresSource {
        clients: Clients::new(vec![old.path().to_owned()], false),
        ..source(&server, connection(&server, "too_new"))
    };
    let error = open_error(&source);
    assert!(
        matches!(&error, PostgresError::NoClient { tool: "pg_dump", needed, .. } if *needed == own),
        "{error:?}"
    );
    assert!(error.to_string().contains("found: 9.6 at "), "{error}");
    assert!(error.hint().unwrap().contains(&format!("postgresql-client-{own}")));
}

#[test]
fn given_several_pg_dumps_when_chosen_then_the_same_version_wins_and_else_the_oldest_newer_one() {
    let (old, same, newer, newest) =
        (pg_dump_of("14.9"), pg_dump_of("15.4 (Debian)"), pg_dump_of("16beta2"), pg_dump_of("17.0"));
    let choose = |directories: &[&tempfile::TempDir], best: u32, at_least: u32| {
        let directories = directories.iter().map(|dir| dir.path().to_owned()).collect();
        Clients::new(directories, false)
            .choose("pg_dump", Version::new(best), Version::new(at_least), &Cancel::new())
            .map(|client| client.path)
            .map_err(|error| error.to_string())
    };
    let at = |dir: &tempfile::TempDir| Ok(dir.path().join("pg_dump"));
    assert_eq!(choose(&[&newest, &old, &same, &newer], 15, 15), at(&same));
    assert_eq!(choose(&[&newest, &old, &newer], 15, 15), at(&newer));
    assert_eq!(choose(&[&newest, &old, &same], 12, 16), at(&newest));
    // For a restore, a program older than the server will do if it reads the archive.
    assert_eq!(choose(&[&old, &same], 16, 12), at(&same));
    assert!(choose(&[&old], 15, 15).is_err());
}

#[test]
fn given_a_connection_that_dies_in_the_middle_when_finished_then_the_bytes_are_no_dump() {
    let server = Server::shared();
    server.create("dying");
    server.psql("dying", BULK);
    let mut dump = source(&server, connection(&server, "dying")).open().unwrap().dump;
    dump.read_exact(&mut [0; 4096]).unwrap();
    server.psql(
        "postgres",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'dying' AND application_name = 'dumpvault'",
    );
    let mut rest = Vec::new();
    dump.read_to_end(&mut rest).unwrap();
    let error = dump.finish().unwrap_err();
    let SourceError::Exited { program, last_words, .. } = &error else { panic!("{error:?}") };
    assert!(program.ends_with("pg_dump") && last_words.as_str().contains("bulk"), "{error}");
}

#[test]
fn given_a_table_that_is_locked_when_the_time_is_up_then_the_dump_is_stopped() {
    let server = Server::shared();
    shop(&server, "locked");
    let mut holder = server
        .client("psql")
        .args(["-X", "-q", "-A", "-t", "-d", "locked"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut commands = holder.stdin.take().unwrap();
    commands.write_all(b"BEGIN; LOCK TABLE orders; SELECT 'held';\n").unwrap();
    let mut answer = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut answer).unwrap();
    assert_eq!(answer, "held\n");

    let limits = no_limits().with_timeout(Some(Duration::from_secs(1)));
    let source = PostgresSource { limits, ..source(&server, connection(&server, "locked")) };
    let since = Instant::now();
    let mut dump = source.open().unwrap().dump;
    let _ = dump.read_to_end(&mut Vec::new());
    assert!(matches!(dump.finish().unwrap_err(), SourceError::TimedOut { .. }));
    assert!(since.elapsed() < Duration::from_secs(20));
    drop(commands);
    holder.wait().unwrap();
}

// --- restores

#[test]
fn given_a_dump_of_any_kind_when_restored_into_a_new_database_then_it_is_the_same_database() {
    let server = Server::shared();
    shop(&server, "origin");
    server.psql("origin", LARGE_OBJECT);
    let archive = dump(&source(&server, connection(&server, "origin")));
    let plain = server.dump("origin", &["--format=plain"]);
    let tar = server.dump("origin", &["--format=tar"]);
    for (name, bytes) in [("archive", archive), ("plain", plain), ("tar", tar)] {
        let name = format!("copy by {name}; \"quoted\" 'and' \\");
        let target = RestoreTarget { create: true, ..target(&server, &name) };
        assert!(!target.inspect().unwrap().exists);
        restore(&target, &bytes);
        // With `-d` a name is a connection string to the test's own clients, too: ask by URI.
        let state = target.inspect().unwrap();
        assert_eq!((state.exists, state.tables, state.other_objects), (true, 2, 3), "{name}");
        let alias = format!("copy_{}", bytes.len());
        server
            .psql("postgres", &format!("ALTER DATABASE \"{}\" RENAME TO {alias}", name.replace('"', "\"\"")));
        assert!(server.dump_plain(&alias) == server.dump_plain("origin"), "{name}");
    }
}

#[test]
fn given_no_database_when_creating_was_not_asked_for_then_it_is_refused_with_the_next_step() {
    let server = Server::shared();
    let error = target(&server, "nowhere").prepare(DumpKind::Sql).unwrap_err();
    assert!(
        matches!(&error, PostgresError::NoDatabase { database, .. } if database == "nowhere"),
        "{error:?}"
    );
    assert!(error.hint().unwrap().contains("--create"));
    assert!(!server.has("nowhere"));
}

#[test]
fn given_a_database_that_holds_something_when_not_told_to_replace_it_then_it_is_refused_and_counted() {
    let server = Server::shared();
    shop(&server, "full");
    server.psql("full", LARGE_OBJECT);
    let before = server.dump_plain("full");
    let error = target(&server, "full").prepare(DumpKind::Archive { format: (1, 14) }).unwrap_err();
    // Others: a view, a function, a large object; the serial column's sequence is the table's.
    assert!(matches!(&error, PostgresError::NotEmpty { tables: 2, other_objects: 3, .. }), "{error:?}");
    assert!(error.to_string().contains("2 tables"));
    assert_eq!(server.dump_plain("full"), before);
}

#[test]
fn given_objects_of_many_kinds_when_inspected_then_a_users_count_and_an_extensions_do_not() {
    let server = Server::shared();
    server.create("kinds");
    let counts = || {
        let state = target(&server, "kinds").inspect().unwrap();
        (state.tables, state.other_objects)
    };
    server.psql(
        "kinds",
        "CREATE EXTENSION hstore; CREATE EXTENSION pg_stat_statements; CREATE EXTENSION tablefunc",
    );
    assert_eq!(counts(), (0, 0));
    for (sql, more_tables, more_others) in [
        ("CREATE SCHEMA s", 0, 1),
        ("CREATE TABLE s.parted (a int GENERATED ALWAYS AS IDENTITY) PARTITION BY RANGE (a)", 1, 0),
        ("CREATE TABLE s.part PARTITION OF s.parted DEFAULT", 1, 0),
        ("CREATE MATERIALIZED VIEW m AS SELECT 1", 1, 0),
        ("CREATE VIEW v AS SELECT 1", 0, 1),
        ("CREATE SEQUENCE q", 0, 1),
        ("CREATE TYPE colour AS ENUM ('red')", 0, 1),
        ("CREATE TYPE pair AS (a int, b int)", 0, 1),
        ("CREATE TYPE span AS RANGE (subtype = int)", 0, 1),
        ("CREATE DOMAIN positive AS int CHECK (VALUE > 0)", 0, 1),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", 0, 1),
    ] {
        let (tables, others) = counts();
        server.psql("kinds", sql);
        assert_eq!(counts(), (tables + more_tables, others + more_others), "{sql}");
    }
}

#[test]
fn given_a_full_database_when_told_to_replace_it_then_it_becomes_what_the_archive_holds() {
    let server = Server::shared();
    shop(&server, "replaced");
    let archive = dump(&source(&server, connection(&server, "replaced")));
    let before = server.dump_plain("replaced");
    server.psql("replaced", "DELETE FROM orders; ALTER TABLE customers DROP note; DROP VIEW unpaid");
    restore(&RestoreTarget { clean: true, ..target(&server, "replaced") }, &archive);
    assert!(server.dump_plain("replaced") == before);
}

#[test]
fn given_a_full_database_when_a_plain_dump_is_to_replace_it_then_it_is_refused() {
    let server = Server::shared();
    shop(&server, "not_replaced");
    let error =
        RestoreTarget { clean: true, ..target(&server, "not_replaced") }.prepare(DumpKind::Sql).unwrap_err();
    assert!(matches!(error, PostgresError::CleanNeedsArchive { .. }), "{error:?}");
}

#[test]
fn given_no_dump_when_prepared_then_it_is_refused_before_a_database_is_made() {
    let server = Server::shared();
    for kind in [Kind::Gzip, Kind::Unknown, Kind::Empty].map(DumpKind::Other) {
        let error =
            RestoreTarget { create: true, ..target(&server, "never_made") }.prepare(kind).unwrap_err();
        assert!(matches!(error, PostgresError::NotADump { .. }), "{error:?}");
    }
    assert!(!server.has("never_made"));
}

#[test]
fn given_a_cut_stream_when_aborted_then_a_database_made_for_it_is_dropped() {
    let server = Server::shared();
    shop(&server, "cut_origin");
    for bytes in [dump(&source(&server, connection(&server, "cut_origin"))), server.dump("cut_origin", &[])] {
        let target = RestoreTarget { create: true, ..target(&server, "cut_new") };
        let prepared = target.prepare(kind_of_dump(&bytes)).unwrap();
        assert!(prepared.created() && server.has("cut_new"));
        let mut sink = prepared.open_sink().unwrap();
        sink.write_all(&bytes[..bytes.len() / 2]).unwrap();
        sink.abort();
        assert_eq!(prepared.discard().unwrap(), Discarded::Dropped);
        assert!(!server.has("cut_new"));
    }
}

#[test]
fn given_every_byte_of_a_stream_when_aborted_instead_of_finished_then_nothing_is_committed() {
    let server = Server::shared();
    shop(&server, "unconfirmed_origin");
    let archive = dump(&source(&server, connection(&server, "unconfirmed_origin")));
    server.create("unconfirmed");
    for bytes in [archive, server.dump("unconfirmed_origin", &[])] {
        let target = target(&server, "unconfirmed");
        let prepared = target.prepare(kind_of_dump(&bytes)).unwrap();
        let mut sink = prepared.open_sink().unwrap();
        sink.write_all(&bytes).unwrap();
        // Time enough for a program that believes to have everything.
        for _ in 0..20 {
            assert!(target.inspect().unwrap().is_empty());
        }
        sink.abort();
        assert!(target.inspect().unwrap().is_empty());
    }
}

#[test]
fn given_bytes_behind_an_archive_when_restored_then_what_it_does_not_need_does_no_harm() {
    let server = Server::shared();
    shop(&server, "trailed");
    let mut bytes = dump(&source(&server, connection(&server, "trailed")));
    // More than a pipe holds: it cannot all be swallowed unread.
    bytes.resize(bytes.len() + (4 << 20), 0);
    restore(&RestoreTarget { create: true, ..target(&server, "trailed_copy") }, &bytes);
    assert!(server.dump_plain("trailed_copy") == server.dump_plain("trailed"));
}

#[test]
fn given_a_restore_that_was_forgotten_when_dropped_then_a_database_made_for_it_is_dropped() {
    let server = Server::shared();
    let cancel = Cancel::new();
    let target =
        RestoreTarget { create: true, limits: Limits::new(cancel.clone()), ..target(&server, "forgotten") };
    let prepared = target.prepare(DumpKind::Sql).unwrap();
    assert!(server.has("forgotten"));
    cancel.cancel();
    drop(prepared);
    assert!(!server.has("forgotten"));
}

#[test]
fn given_a_database_that_was_there_when_the_restore_fails_then_it_stays_as_it_was() {
    let server = Server::shared();
    shop(&server, "kept");
    let archive = dump(&source(&server, connection(&server, "kept")));
    // What the archive cannot drop makes the restore fail after much of it was done.
    server.psql("kept", "CREATE VIEW in_the_way AS SELECT * FROM customers");
    let before = server.dump_plain("kept");
    let (error, after) = restore_error(&RestoreTarget { clean: true, ..target(&server, "kept") }, &archive);
    assert!(error.to_string().contains("in_the_way"), "{error}");
    assert_eq!(after, Discarded::RolledBack);
    assert!(server.dump_plain("kept") == before);
}

#[test]
fn given_a_statement_that_fails_when_restored_then_its_line_is_told_and_nothing_stays() {
    let server = Server::shared();
    server.create("failing");
    let (error, _) =
        restore_error(&target(&server, "failing"), b"CREATE TABLE made (a int);\nSELECT nonsense;\n");
    assert!(matches!(&error, SourceError::Exited { status: 3, .. }), "{error:?}");
    // One line was sent before the stream's own.
    assert!(error.to_string().contains("<stdin>:3: ERROR:  column \"nonsense\" does not exist"), "{error}");
    assert!(target(&server, "failing").inspect().unwrap().is_empty());
}

#[test]
fn given_a_plain_dump_that_commits_by_itself_when_it_fails_later_then_what_stays_is_told() {
    let server = Server::shared();
    server.create("self_committed");
    let dump = b"CREATE TABLE made (a int);\nBEGIN;\nSELECT lo_create(4711);\nCOMMIT;\nSELECT nonsense;\n";
    let (_, after) = restore_error(&target(&server, "self_committed"), dump);
    assert_eq!(after, Discarded::PartlyFilled { tables: 1, other_objects: 1 });
    assert!(server.has("self_committed"));
}

#[test]
fn given_a_plain_dump_that_ends_inside_a_copy_when_finished_then_nothing_is_committed() {
    let server = Server::shared();
    server.create("half_copied");
    // Text columns take anything for a row, a COMMIT, too.
    let half = b"CREATE TABLE made (a text);\nCOPY made FROM stdin;\none\ntwo\n";
    let (error, _) = restore_error(&target(&server, "half_copied"), half);
    assert!(matches!(&error, SourceError::Postgres(PostgresError::NotCommitted { .. })), "{error:?}");
    assert!(target(&server, "half_copied").inspect().unwrap().is_empty());
}

#[test]
fn given_a_cut_archive_when_finished_then_nothing_is_restored() {
    let server = Server::shared();
    shop(&server, "cut_archive_origin");
    let archive = dump(&source(&server, connection(&server, "cut_archive_origin")));
    server.create("cut_archive");
    let (error, _) = restore_error(&target(&server, "cut_archive"), &archive[..archive.len() - 100_000]);
    assert!(matches!(&error, SourceError::Exited { .. }), "{error:?}");
    assert!(target(&server, "cut_archive").inspect().unwrap().is_empty());
}

#[test]
fn given_a_database_that_somebody_replaced_when_discarded_then_it_is_not_ours_to_drop() {
    let server = Server::shared();
    let prepared =
        RestoreTarget { create: true, ..target(&server, "usurped") }.prepare(DumpKind::Sql).unwrap();
    server.psql("postgres", "DROP DATABASE usurped");
    server.create("usurped");
    assert_eq!(prepared.discard().unwrap(), Discarded::NotOursAnyMore);
    assert!(server.has("usurped"));
}

/// Set for the process that is to die in the middle of a restore: the URI of the server.
const DIE_ON: &str = "DUMPVAULT_TEST_DIE_ON";

#[test]
#[ignore = "started by the test below, to be killed"]
fn restores_half_and_waits() {
    let connection = Connection::from_uri(&std::env::var(DIE_ON).unwrap()).unwrap();
    let prepared = RestoreTarget::new(connection, "widowed", no_limits()).prepare(DumpKind::Sql).unwrap();
    let mut sink = prepared.open_sink().unwrap();
    sink.write_all(b"CREATE TABLE made (a int);\nINSERT INTO made VALUES (1);\n").unwrap();
    // Ends with the test that started it, if that does not kill it.
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    sink.abort();
}

#[test]
fn given_a_restore_whose_process_is_killed_when_its_input_closes_then_nothing_is_committed() {
    let server = Server::shared();
    server.create("widowed");
    let mut restoring = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "restores_half_and_waits"])
        .env(DIE_ON, server.uri("postgres"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let until = |condition: &str, sign: &str| {
        let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = 'widowed' {condition}");
        let since = Instant::now();
        while server.psql("postgres", &sql) != sign {
            assert!(since.elapsed() < Duration::from_secs(20), "waited in vain for {sign} {condition}");
        }
    };
    until("AND state = 'idle in transaction' AND query LIKE 'INSERT%'", "1");
    restoring.kill().unwrap();
    restoring.wait().unwrap();
    // `psql` lives on and sees an ordinary end. Once its connection is gone, what it did is decided.
    until("", "0");
    assert!(target(&server, "widowed").inspect().unwrap().is_empty());
}

/// A database that is there is planned and restored without a command line: the plan says what keeps it from being
/// done.
#[test]
fn given_a_database_that_holds_something_then_the_plan_says_so_and_nothing_is_touched() {
    use dumpvault::base::clock::FixedClock;
    use dumpvault::engine::plan::ServerAt;
    use dumpvault::engine::prelude::*;
    use dumpvault::engine::restore::{
        DatabaseJob, DatabasePlan, Effect, Extract, Filled, Manners, Restoring, SwapJob, plan_database,
        plan_swap, run_database, run_swap,
    };
    use dumpvault::source::postgres::DumpFilter;
    use std::sync::Arc;

    let server = Server::start();
    shop(&server, "shop");
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("dumpvault.toml");
    std::fs::write(&config, format!("pg_bin_dirs = [{:?}]\n", server.bin())).unwrap();
    let key = KeyFile::create(&home.path().join("key"), &OsEntropy).unwrap();
    let mut flags = Flags::default();
    flags.say("--config", config.to_str());
    flags.say("--repo", home.path().join("repository").to_str());
    flags.say("--key-file", home.path().join("key").to_str());
    let variables =
        ["XDG_CACHE_HOME", "XDG_STATE_HOME"].map(|name| (name.into(), home.path().join(name).into()));
    let environment = Environment {
        variables: variables.into_iter().collect(),
        directory: home.path().to_owned(),
        uid: rustix::process::geteuid().as_raw(),
        is_interactive: false,
    };
    let app = App::new(&flags, Access::default(), environment, Arc::default()).unwrap();
    // All in one second, so that the names made of the time meet.
    let now = FixedClock(SystemClock.now());
    let run = Run::new(Arc::new(now), Arc::new(Silent), Cancel::new(), Room::default());
    let repo = app.init(&Credential::KeyFile(key), "", run.clock.now().as_millisecond()).unwrap();
    let sources = vec![server.uri("shop")];
    let job = BackupJob::new(Wanted::Named { sources, filter: DumpFilter::default() });
    let report = run_backups(plan_backup(&job, &app, &run).unwrap(), &repo, &run, &mut |_| ());
    assert_eq!(report.class(), None);

    let extract = || {
        let from = Viewpoint { host: app.host(), any_host: false };
        let name = SnapshotName::parse("shop", &app.settings.calendar.zone).unwrap();
        let settings = ReadSettings::local(2);
        let chosen = choose(&repo, &name, &from, OnRollback::Refuse, settings, &Silent).unwrap();
        let stream = chosen.stream(None).unwrap().clone();
        Extract::whole(chosen, stream)
    };
    let to = |database: &str| DatabaseJob::new(ServerAt::Address(server.uri(database)));
    let planned = |job: DatabaseJob| -> DatabasePlan { plan_database(job, extract(), &app, &run).unwrap() };
    let restored = |plan: DatabasePlan| {
        let mut names = Vec::new();
        let report = run_database(plan, &app, &run, &mut |event| match event {
            Restoring::Filled(_, Filled { database, kept, .. }) => {
                names.push((database.clone(), kept.clone()))
            }
            Restoring::WaitsFor(_) => {}
        });
        (report, names)
    };
    let orders = |database: &str| server.psql(database, "SELECT count(*) FROM orders");

    server.psql("shop", "DELETE FROM orders WHERE id > 10");
    let plan = planned(to("shop"));
    assert_eq!((plan.effect, plan.state.tables), (Effect::ObjectsAdded, 2));
    assert_eq!(plan.refusal.as_ref().map(Fault::code), Some("database_not_empty"));
    let (report, names) = restored(plan);
    assert_eq!((report.class(), names), (Some(Class::Refused), Vec::new()));
    assert_eq!(orders("shop"), "10");

    let plan = planned(DatabaseJob { create: true, ..to("copy") });
    assert!(!plan.state.exists && plan.refusal.is_none() && plan.effect == Effect::Nothing);
    let (report, names) = restored(plan);
    assert_eq!((report.class(), names), (None, vec![("copy".to_owned(), None)]));
    assert_eq!(orders("copy"), "2000");

    let plan = planned(DatabaseJob { swap: true, ..to("shop") });
    assert_eq!((plan.effect, plan.refusal.is_none()), (Effect::Swapped, true));
    assert_eq!(orders("shop"), "10", "a plan changes nothing");
    let (report, names) = restored(plan);
    assert_eq!(report.class(), None);
    let (database, kept) = names.into_iter().next().unwrap();
    assert_eq!((database.as_str(), orders("shop").as_str()), ("shop", "2000"));
    let kept = kept.unwrap();
    assert_eq!(orders(&kept), "10");

    let job = SwapJob {
        new: kept,
        live: "shop".to_owned(),
        server: ServerAt::Address(server.uri("postgres")),
        exec: None,
        // The server takes a moment to notice that a session has ended.
        manners: Manners { terminate: false, patience: Some(Duration::from_secs(30)) },
    };
    let plan = plan_swap(job, &app, &run).unwrap();
    assert_eq!((plan.new_state.tables, orders("shop").as_str()), (2, "2000"));
    run_swap(&plan).unwrap();
    assert_eq!((orders("shop").as_str(), orders(&plan.kept).as_str()), ("10", "2000"));
}
