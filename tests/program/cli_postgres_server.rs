//! Whole servers through the command line: several databases, roles, filters, client programs that run elsewhere.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code)]
use crate::support::cli::{Output, Vault, exit, run, text};
use crate::support::pg::Server;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

const SHOP: &str = "
CREATE TABLE orders (id int PRIMARY KEY, what text);
INSERT INTO orders SELECT i, 'order ' || i FROM generate_series(1, 3000) i;
CREATE SCHEMA audit;
CREATE TABLE audit.log (id int, line text);
INSERT INTO audit.log SELECT i, 'line ' || i FROM generate_series(1, 5000) i;
";

struct World {
    server: Server,
    vault: Vault,
}

impl World {
    fn new() -> Self {
        let world = Self { server: Server::start(), vault: Vault::new() };
        for database in ["app", "shop_eu", "shop_us", "shop_test", "odd.name"] {
            world.server.create(database);
            world.server.psql(database, SHOP);
            world.server.psql(database, &format!("COMMENT ON TABLE orders IS 'of {database}'"));
        }
        world
    }

    fn run_as(&self, user: &str, args: &[&str]) -> Output {
        let mut command = self.vault.command(args);
        self.server.reached_by(&mut command, user);
        run(command, b"")
    }

    fn run(&self, args: &[&str]) -> Output {
        self.run_as("postgres", args)
    }

    fn streams(&self, series: &str) -> Vec<String> {
        let snapshots = self.vault.snapshots();
        let newest = snapshots.iter().rfind(|one| text(one, "series") == series).expect("a snapshot");
        let streams = newest["streams"].as_array().unwrap();
        streams.iter().map(|stream| text(stream, "name")).collect()
    }

    fn stream(&self, series: &str, name: &str) -> Value {
        let snapshots = self.vault.snapshots();
        let newest = snapshots.iter().rfind(|one| text(one, "series") == series).expect("a snapshot");
        newest["streams"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone()
    }

    fn restores_the_same(&self, series: &str, database: &str) {
        let args = ["restore", series, "--stream", database, "--to-database", "back", "--create"];
        self.run(&args).expect(exit::OK);
        assert_eq!(self.server.dump_plain("back"), self.server.dump_plain(database), "{database}");
        self.server.psql("postgres", "DROP DATABASE back");
    }

    fn tables(&self, series: &str) -> Vec<(String, u64)> {
        let listed = self.vault.run(["ls", series, "--json"]).expect(exit::OK).json();
        let row = |table: &Value| (text(table, "name"), table["rows"].as_u64().unwrap_or_default());
        listed["tables"].as_array().unwrap().iter().map(row).collect()
    }
}

// One server for all: starting one takes longer than everything that is done with it.

#[test]
fn a_whole_server_is_backed_up_as_one_snapshot() {
    let world = World::new();
    all_databases_and_roles_are_streams_of_one_snapshot(&world);
    databases_are_chosen_by_patterns_and_by_the_configuration(&world);
    a_database_that_fails_fails_its_stream_alone(&world);
    a_role_without_rights_stores_no_passwords_and_says_so(&world);
    filters_are_those_of_pg_dump(&world);
    a_locked_table_is_not_waited_for_longer_than_said(&world);
    clients_may_run_somewhere_else(&world);
}

fn all_databases_and_roles_are_streams_of_one_snapshot(world: &World) {
    world
        .server
        .psql("postgres", "CREATE ROLE clerk LOGIN PASSWORD 'secret'; CREATE ROLE boss IN ROLE clerk");
    let said = world.run(&["backup", "--pg-all", "--pg-globals", "--series", "db1"]).expect(exit::OK);
    assert!(said.stderr.is_empty() || !said.stderr.contains("warning"), "{said}");
    let names = ["globals.sql", "app", "odd.name", "postgres", "shop_eu", "shop_test", "shop_us"];
    assert_eq!(world.streams("db1"), names);
    let globals = world.vault.run(["cat", "db1", "--stream", "globals.sql"]).expect(exit::OK).text();
    assert!(globals.contains("CREATE ROLE clerk") && globals.contains("SCRAM-SHA-256"), "{globals}");
    assert_eq!(text(&world.stream("db1", "globals.sql"), "proof"), "exit-status+structure");
    world.restores_the_same("db1", "app");
    world.restores_the_same("db1", "odd.name");
    world.vault.run(["restore", "db1", "--output", "x"]).expect(exit::USAGE).says("--stream");
    // A database's name alone is that of a stream: the hint says how it is named.
    world
        .vault
        .run(["restore", "odd.name", "--output", "x"])
        .expect(exit::USAGE)
        .says("did you mean `db1:odd.name`?");
    world.vault.run(["restore", "db1:odd.name", "--output", "x"]).expect(exit::OK);

    // Roles are for the server; a scratch database is no place to try them.
    world.run(&["verify", "db1", "--stream", "globals.sql"]).expect(exit::USAGE).says("roles");
    world.run(&["verify", "db1"]).expect(exit::OK);
}

fn databases_are_chosen_by_patterns_and_by_the_configuration(world: &World) {
    world
        .run(&["backup", "--pg-database", "shop_*", "--pg-exclude-database", "*_test", "--series", "shops"])
        .expect(exit::OK);
    assert_eq!(world.streams("shops"), ["shop_eu", "shop_us"]);
    let config = "[source.all]\nseries = 'configured'\ndatabases = ['app', 'shop_?s']\nglobals = true\n";
    std::fs::write(world.vault.work().join("dumpvault.toml"), config).unwrap();
    world.run(&["backup", "all"]).expect(exit::OK);
    assert_eq!(world.streams("configured"), ["globals.sql", "app", "shop_us"]);
    std::fs::remove_file(world.vault.work().join("dumpvault.toml")).unwrap();
    world
        .run(&["backup", "--pg-database", "nothing*", "--series", "shops"])
        .expect(exit::USAGE)
        .says("no database matches `nothing*`")
        .says("shop_eu");
    // A single name is no pattern, dots and all, and names the series.
    world.run(&["backup", "--pg-database", "odd.name"]).expect(exit::OK);
    assert_eq!(world.streams("odd.name"), ["odd.name"]);
    let uri = world.server.uri("");
    world.vault.run(["backup", uri.trim_end_matches('/'), "--pg-all"]).expect(exit::OK);
    assert!(world.streams("127.0.0.1").contains(&"app".to_owned()), "named after the host");
    // Several have a stream of that name: the one that was named like a host is meant.
    world
        .vault
        .run(["restore", "db1/odd.name", "--output", "y"])
        .expect(exit::USAGE)
        .says("did you mean `db1:odd.name`?");
}

fn a_database_that_fails_fails_its_stream_alone(world: &World) {
    let args = ["backup", "--pg-database", "app", "--pg-database", "gone", "--series", "part"];
    world.run(&args).expect(exit::PART_FAILED).says("`gone` failed").says("does not exist");
    assert_eq!(world.streams("part"), ["app"]);
    let snapshot = world.vault.snapshots().pop().unwrap();
    assert_eq!(text(&snapshot, "state"), "partial");
    let said = world.vault.run(["show", &text(&snapshot, "id")]).expect(exit::OK).text();
    assert!(said.contains("gone"), "{said}");
    world.restores_the_same(&text(&snapshot, "id"), "app");
}

fn a_role_without_rights_stores_no_passwords_and_says_so(world: &World) {
    world.server.psql("postgres", "CREATE ROLE reader LOGIN; GRANT pg_read_all_data TO reader");
    let args = ["backup", "--pg-globals", "--pg-database", "app", "--series", "weak"];
    world.run_as("reader", &args).expect(exit::OK).says("without passwords");
    let globals = world.vault.run(["cat", "weak", "--stream", "globals.sql"]).expect(exit::OK).text();
    assert!(globals.contains("CREATE ROLE clerk") && !globals.contains("SCRAM"), "{globals}");
    world.restores_the_same("weak", "app");

    world.server.psql("app", "CREATE ROLE nobody LOGIN");
    let args = ["backup", "--pg-database", "app", "--series", "denied"];
    world.run_as("nobody", &args).expect(exit::NOTHING_DONE).says("pg_read_all_data");
}

fn filters_are_those_of_pg_dump(world: &World) {
    let app = ["backup", "--pg-database", "app", "--series", "filtered"];
    let run = |options: &[&str]| world.run(&[&app[..], options].concat());
    run(&["--exclude-table-data", "audit.*"]).expect(exit::OK);
    assert_eq!(world.tables("filtered"), [("orders".to_owned(), 3000)]);
    let filter = text(&world.stream("filtered", "app")["attributes"], "filter");
    assert_eq!(filter, "--exclude-table-data=audit.*");
    run(&["--table", "audit.log", "--suspect-below", "0"]).expect(exit::OK);
    assert_eq!(world.tables("filtered"), [("log".to_owned(), 5000)]);
    run(&["--exclude-schema", "audit", "--suspect-below", "0"]).expect(exit::OK);
    assert_eq!(world.tables("filtered"), [("orders".to_owned(), 3000)]);
    run(&["--schema-only", "--suspect-below", "0"]).expect(exit::OK);
    assert_eq!(world.tables("filtered"), []);
    run(&["--table", "orders", "--table", "typo"]).expect(exit::NOTHING_DONE).says("typo");
    world
        .vault
        .run_with(["backup", "--stdin", "--series", "x", "--table", "orders"], b"x")
        .expect(exit::USAGE);
}

fn a_locked_table_is_not_waited_for_longer_than_said(world: &World) {
    let mut psql = world.server.client("psql");
    let lock = "BEGIN; LOCK TABLE orders; SELECT 'locked'; SELECT pg_sleep(600)";
    // Two `-c`, so that the first answer comes before the sleep.
    psql.args(["-X", "-A", "-t", "-d", "app"]);
    for command in lock.split("; ") {
        psql.args(["-c", command]);
    }
    let mut holder = psql.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(holder.stdout.take().unwrap()));
    assert!(lines.by_ref().any(|line| line.unwrap() == "locked"));
    let args = ["backup", "--pg-database", "app", "--series", "locked", "--lock-wait-timeout", "100ms"];
    world.run(&args).expect(exit::NOTHING_DONE).says("hint: another session holds a table lock");
    holder.kill().unwrap();
    holder.wait().unwrap();
    world
        .server
        .psql("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ~ 'pg_sleep' AND pid <> pg_backend_pid()");
    assert!(world.vault.snapshots().iter().all(|one| text(one, "series") != "locked"));
}

/// As in a container: nothing of this environment is there, and the programs are found in the `PATH` there.
fn clients_may_run_somewhere_else(world: &World) {
    let script = world.vault.work().join("inside");
    let (bin, home) = (world.server.bin().display(), world.server.socket_dir().display());
    let port = world.server.port();
    let inside = format!(
        "#!/bin/sh\necho \"$@\" >> {home}/ran\nexec env -i PATH={bin}:/usr/bin:/bin PGHOST={home} PGPORT={port} \"$@\"\n"
    );
    std::fs::write(&script, inside).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let exec = script.to_str().unwrap();
    let plain = |args: &[&str]| world.vault.run([args, &["--pg-exec", exec]].concat());
    plain(&["backup", "--pg-database", "app", "--pg-user", "postgres", "--series", "inside"])
        .expect(exit::OK);
    let ran = std::fs::read_to_string(world.server.socket_dir().join("ran")).unwrap();
    assert!(ran.contains("psql --no-password") && ran.contains("pg_dump --no-password"), "{ran}");
    let original = world.server.dump_plain("app");
    for options in [&[][..], &["--jobs", "2"]] {
        let args = ["restore", "inside", "--to-database", "back", "--create", "--pg-user", "postgres"];
        plain(&[&args[..], options].concat()).expect(exit::OK);
        assert_eq!(world.server.dump_plain("back"), original, "{options:?}");
        world.server.psql("postgres", "DROP DATABASE back");
    }
    let uri = "postgres://postgres@/postgres";
    plain(&["verify", "inside", "--server", uri]).expect(exit::OK);
    let nowhere =
        ["backup", "--pg-database", "app", "--series", "no", "--pg-exec", "/there/is/no/such-program"];
    world.vault.run(nowhere).expect(exit::NOTHING_DONE).says("such-program");
}
