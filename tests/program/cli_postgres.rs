//! PostgreSQL through the command line: a database goes in, the same database comes out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support::cli::{Output, Vault, exit, run, text};
#[allow(dead_code)]
use crate::support::pg;
use crate::support::pg::{PASSWORD, PASSWORD_USER, Server};

const SHOP: &str = "
CREATE TABLE customers (id serial PRIMARY KEY, name text NOT NULL, note text);
INSERT INTO customers (name, note) SELECT 'customer ' || i, E'tab\\t, \\\\ and ''quotes'' ' || i FROM generate_series(1, 2000) i;
CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers);
INSERT INTO orders SELECT i, i FROM generate_series(1, 2000) i;
CREATE VIEW known AS SELECT name FROM customers;
";

/// Runs the program with the server in its environment, as a person would have it.
fn run_at(server: &Server, vault: &Vault, args: &[&str]) -> Output {
    let mut command = vault.command(args);
    server.reached_by(&mut command, "postgres");
    run(command, b"")
}

fn shop(server: &Server, database: &str) {
    server.create(database);
    server.psql(database, SHOP);
}

// One server for all: starting one takes longer than everything that is done with it.

#[test]
fn a_database_goes_there_and_back_in_every_way_that_the_command_line_has() {
    let server = Server::start();
    let vault = Vault::new();
    shop(&server, "shop");
    let original = server.dump_plain("shop");

    every_kind_of_backup_restores_the_same(&server, &vault, &original);
    a_database_that_holds_something_is_not_overwritten(&server, &vault, &original);
    a_failed_restore_leaves_no_database_behind(&server, &vault);
    errors_of_the_server_are_told(&server, &vault);
    passwords_are_used_and_never_shown(&server, &vault, &original);
}

fn every_kind_of_backup_restores_the_same(server: &Server, vault: &Vault, original: &str) {
    let port = server.port().to_string();
    let uri = server.uri("shop");
    let socket = server.socket_dir().to_str().unwrap();
    let ways: [&[&str]; 4] = [
        &["backup", &uri],
        &["backup", "--pg-database", "shop"],
        &[
            "backup",
            "--pg-database",
            "shop",
            "--pg-host",
            socket,
            "--pg-port",
            &port,
            "--pg-user",
            "postgres",
        ],
        &["backup", "--series", "shop", "--command", "--", "pg_dump", "-Fc", "-Z0", "shop"],
    ];
    for (at, args) in ways.iter().enumerate() {
        run_at(server, vault, args).expect(exit::OK);
        let newest = vault.snapshots().pop().unwrap();
        assert_eq!(text(&newest, "series"), "shop", "{args:?}");
        let database = format!("restored_{at}");
        run_at(server, vault, &["restore", "shop", "--to-database", &database, "--create"]).expect(exit::OK);
        assert_eq!(server.dump_plain(&database), original, "{args:?}");
    }
    // The tools of the trade read what comes out.
    server.create("by_hand");
    let args = ["restore", "shop", "--command", "--", "pg_restore", "--exit-on-error", "-d", "by_hand"];
    run_at(server, vault, &args).expect(exit::OK);
    assert_eq!(server.dump_plain("by_hand"), original);
}

fn a_database_that_holds_something_is_not_overwritten(server: &Server, vault: &Vault, original: &str) {
    let into = |database: &str, more: &[&str]| {
        let args = [&["restore", "shop", "--to-database", database], more].concat();
        run_at(server, vault, &args)
    };
    server.create("full");
    server.psql("full", "CREATE TABLE precious AS SELECT 1 AS one");
    into("full", &[]).expect(exit::REFUSED).says("--clean");
    into("full", &["--yes"]).expect(exit::REFUSED).says("--clean");
    into("full", &["--create", "--yes"]).expect(exit::REFUSED);
    // There is nobody to ask, and nobody said yes.
    let unasked = into("full", &["--clean"]);
    assert!(unasked.code != Some(exit::OK), "{unasked}");
    assert!(unasked.stderr.contains("--yes"), "{unasked}");
    assert_eq!(server.psql("full", "SELECT one FROM precious"), "1");

    server.psql("restored_0", "DELETE FROM orders");
    into("restored_0", &["--clean", "--yes"]).expect(exit::OK);
    assert_eq!(server.dump_plain("restored_0"), original);
    // An empty one may be filled; one that is not there is not made unasked.
    server.create("empty");
    into("empty", &[]).expect(exit::OK);
    assert_eq!(server.dump_plain("empty"), original);
    into("absent", &[]).expect(exit::TARGET).says("absent");
    assert!(!server.has("absent"));
}

fn a_failed_restore_leaves_no_database_behind(server: &Server, vault: &Vault) {
    // Whole by its structure, and nothing that a server understands: a view is made by a command that there is not.
    let mut dump = server.dump("shop", &["-Fc", "-Z0"]);
    let at = dump.windows(11).position(|window| window == b"CREATE VIEW").unwrap();
    dump[at + 7] = b'X';
    let broken = vault.backup("broken", &dump);
    let args = ["restore", &broken, "--to-database", "half", "--create"];
    run_at(server, vault, &args).expect(exit::TARGET);
    assert!(!server.has("half"), "a half database is left");
}

fn errors_of_the_server_are_told(server: &Server, vault: &Vault) {
    let before = vault.ids();
    let uri = server.uri("no_such_database");
    run_at(server, vault, &["backup", &uri]).expect(exit::NOTHING_DONE).says("no_such_database");
    // Port 1 is nobody's.
    run_at(server, vault, &["backup", "postgres://postgres@127.0.0.1:1/shop"]).expect(exit::NOTHING_DONE);
    assert_eq!(vault.ids(), before);
}

fn passwords_are_used_and_never_shown(server: &Server, vault: &Vault, original: &str) {
    server.psql("shop", &format!("GRANT pg_read_all_data TO {PASSWORD_USER}"));
    let uri = server.uri_as(&format!("{PASSWORD_USER}:{}", pg::PASSWORD_ENCODED), "shop");
    let good =
        run_at(server, vault, &["backup", &uri, "--series", "with-password", "-v", "-v"]).expect(exit::OK);
    let uri = server.uri_as(&format!("{PASSWORD_USER}:wrong-{}", pg::PASSWORD_ENCODED), "shop");
    let bad =
        run_at(server, vault, &["backup", &uri, "-v", "-v"]).expect(exit::NOTHING_DONE).says("password");
    let shown = run_at(server, vault, &["show", "with-password", "--json"]).expect(exit::OK);
    for output in [&good, &bad, &shown] {
        for secret in [PASSWORD, pg::PASSWORD_ENCODED] {
            assert!(!output.text().contains(secret) && !output.stderr.contains(secret), "{output}");
        }
    }
    run_at(server, vault, &["restore", "with-password", "--to-database", "by_password", "--create"])
        .expect(exit::OK);
    assert_eq!(server.dump_plain("by_password"), original);
}
