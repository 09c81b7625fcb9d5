//! What is said of a restore is true: of triggers, rows, errors, hints, and of where it goes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code)]
use crate::support::cli::{Output, Running, Vault, exit, run};
use crate::support::pg::Server;

struct World {
    server: Server,
    vault: Vault,
}

impl World {
    fn run(&self, args: &[&str]) -> Output {
        let mut command = self.vault.command(args);
        self.server.reached_by(&mut command, "postgres");
        run(command, b"")
    }

    fn backup(&self, database: &str) {
        self.run(&["backup", "--pg-database", database]).expect(exit::OK);
    }

    fn dump(&self, name: &str, options: &[&str]) {
        let pg_dump = self.server.bin().join("pg_dump");
        let program = pg_dump.to_str().unwrap();
        self.run(&[&["backup", "--series", name, "--command", "--", program], options].concat())
            .expect(exit::OK);
    }
}

#[test]
fn what_is_said_of_a_restore_is_true() {
    let world = World { server: Server::start(), vault: Vault::new() };
    triggers_do_not_change_other_tables_unsaid(&world);
    foreign_keys_are_checked_when_they_were_off(&world);
    rows_that_were_not_compared_are_not_called_right(&world);
    an_error_is_told_however_long_its_statement_is(&world);
    hints_name_no_option_that_was_given_or_does_not_apply(&world);
    colours_of_the_environment_stay_out_of_messages(&world);
}

const AUDITED: &str = "
CREATE TABLE a (x int); CREATE TABLE log (m text); CREATE TABLE quiet (x int);
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.log VALUES (1); RETURN new; END';
CREATE TRIGGER tr AFTER INSERT ON a FOR EACH ROW EXECUTE FUNCTION f();
INSERT INTO a VALUES (1), (2); INSERT INTO quiet VALUES (1);
";

fn triggers_do_not_change_other_tables_unsaid(world: &World) {
    let World { server, .. } = world;
    server.psql("postgres", "CREATE ROLE clerk LOGIN");
    server.psql("postgres", "CREATE DATABASE app OWNER clerk");
    server.psql("app", &format!("SET ROLE clerk; {AUDITED}"));
    world.backup("app");
    let log = || server.psql("app", "SELECT count(*) FROM log");
    let restore = |table: &str, more: &[&str]| {
        server.psql("app", "TRUNCATE a, quiet");
        let args = ["restore", "app", "--table", table, "--data-only", "--to-database", "app", "--yes"];
        world.run(&[&args[..], more].concat()).expect(exit::OK)
    };
    assert!(restore("a", &[]).text().contains("Triggers are off meanwhile: a (tr)"));
    assert_eq!(log(), "2", "as before");
    assert_eq!(
        server.psql("app", "SELECT count(*), min(tgenabled) FROM a, pg_trigger WHERE tgname = 'tr'"),
        "2|O"
    );
    // Whoever may not turn them off is told.
    let said = restore("a", &["--pg-user", "clerk"]);
    assert!(
        said.stderr.contains("triggers fire for the restored rows, and may change other tables: a (tr)"),
        "{said}"
    );
    assert_eq!(log(), "4");
    // One that is off already would be on afterwards.
    server.psql(
        "app",
        "CREATE TRIGGER off AFTER INSERT ON a EXECUTE FUNCTION f(); ALTER TABLE a DISABLE TRIGGER off",
    );
    let said = restore("a", &[]);
    assert!(said.stderr.contains("a (tr)") && !said.stderr.contains("(off)"), "{said}");
    assert_eq!(server.psql("app", "SELECT tgenabled FROM pg_trigger WHERE tgname = 'off'"), "D");
    assert!(!restore("quiet", &[]).text().contains("riggers"));
}

fn foreign_keys_are_checked_when_they_were_off(world: &World) {
    let World { server, .. } = world;
    server.create("keys");
    server.psql(
        "keys",
        "CREATE TABLE parents (id int, kind text, PRIMARY KEY (id, kind)); CREATE TABLE log (m text);
         CREATE TABLE children (parent int, kind text, CONSTRAINT of_parent FOREIGN KEY (parent, kind) REFERENCES parents);
         CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.log VALUES (1); RETURN new; END';
         INSERT INTO parents VALUES (1, 'a'), (2, 'a'); INSERT INTO children VALUES (1, 'a'), (2, 'a'), (9, NULL)",
    );
    world.backup("keys");
    server.psql("keys", "TRUNCATE children; DELETE FROM parents WHERE id = 2");
    let restore = ["restore", "keys", "--table", "children", "--data-only", "--to-database", "keys", "--yes"];
    // Without a trigger of anybody's, they stay on.
    world.run(&restore).expect(exit::TARGET).says("violates foreign key constraint");
    server.psql("keys", "CREATE TRIGGER tr AFTER INSERT ON children FOR EACH ROW EXECUTE FUNCTION f()");
    world
        .run(&restore)
        .expect(exit::INTEGRITY)
        .says("foreign key of_parent does not hold: 1 row of children");
    server.psql("keys", "INSERT INTO parents VALUES (2, 'a'); TRUNCATE children");
    world.run(&restore).expect(exit::OK);
    assert_eq!(server.psql("keys", "SELECT count(*) FROM log"), "0");
}

fn rows_that_were_not_compared_are_not_called_right(world: &World) {
    let World { server, .. } = world;
    server.create("rows");
    server.psql("rows", "CREATE TABLE a AS SELECT generate_series(1, 2300); CREATE TABLE b AS SELECT 1");
    world.dump("packed", &["-Fc", "-Z6", "rows"]);
    let said =
        world.run(&["restore", "packed", "--to-database", "packed", "--create"]).expect(exit::OK).text();
    assert!(said.contains("2 tables: readable; the dump's row count is not known"), "{said}");
    assert!(!said.contains("counts match") && !said.contains("2300") && !said.contains("2301"), "{said}");
    world.dump("inserts", &["-Fc", "-Z0", "--inserts", "rows"]);
    let said = world.run(&["verify", "inserts"]).expect(exit::OK).text();
    assert!(!said.contains("counts match"), "{said}");
    world.backup("rows");
    let said =
        world.run(&["restore", "rows", "--to-database", "counted", "--create"]).expect(exit::OK).text();
    assert!(said.contains("2 tables, 2301 rows: all counts match"), "{said}");
    let more =
        ["restore", "rows", "--table", "a", "--data-only", "--verify", "--to-database", "counted", "--yes"];
    let said = world.run(&more).expect(exit::OK).text();
    assert!(
        said.contains("1 table, 4600 rows: at least the rows of the dump") && !said.contains("counts match"),
        "{said}"
    );
}

fn an_error_is_told_however_long_its_statement_is(world: &World) {
    let World { server, .. } = world;
    server.create("wide");
    // One statement is longer than all that is kept of a program's words.
    for (name, columns) in [("w", 60), ("wider", 1000)] {
        let columns: String = (0..columns).map(|at| format!("c{at} int DEFAULT 1, ")).collect();
        server.psql(
            "wide",
            &format!(
                "CREATE OR REPLACE FUNCTION hh(i int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
                 CREATE OR REPLACE FUNCTION h(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN hh(i); END';
                 DROP TABLE IF EXISTS w;
                 CREATE TABLE {name} ({columns} z int GENERATED ALWAYS AS (h(1)) STORED)"
            ),
        );
        world.backup("wide");
        let failed = world.run(&["restore", "wide", "--to-database", "wide2", "--create"]);
        let failed = failed.expect(exit::TARGET).says("search_path").says("\n  dropped database `wide2");
        assert_eq!(
            failed.stderr.matches("ERROR:  function hh(integer) does not exist").count(),
            1,
            "{failed}"
        );
        assert!(failed.stderr.lines().count() < 30, "{failed}");
    }
}

fn hints_name_no_option_that_was_given_or_does_not_apply(world: &World) {
    let World { server, .. } = world;
    server.create("typed");
    server
        .psql("typed", "CREATE TYPE mood AS ENUM ('good'); CREATE TABLE m (a mood); CREATE TABLE n (a mood)");
    world.backup("typed");
    let hint = |output: &Output| {
        let hint = output.stderr.lines().find(|line| line.starts_with("dumpvault: hint:"));
        hint.unwrap_or_default().to_owned()
    };
    let to = |more: &[&str]| world.run(&[&["restore", "typed", "--to-database", "part"], more].concat());
    let bare = to(&["--create", "--table", "m", "--bare"]);
    assert!(hint(&bare).contains("omit --bare"), "{bare}");
    to(&["--create", "--table", "m"]).expect(exit::OK);
    let second = to(&["--table", "n", "--yes"]);
    assert!(hint(&second).contains("--bare"), "{second}");
    to(&["--table", "n", "--bare", "--yes"]).expect(exit::OK);
    let full = to(&["--create"]);
    assert!(!hint(&full).contains("--create"), "{full}");
    let roles =
        world.run(&["restore", "app", "--to-database", "fresh", "--create", "--no-owner", "--no-privileges"]);
    roles.expect(exit::OK);
    // An address that is wrong is found before anything starts.
    let wrong = world.run(&["restore", "typed", "--to-database", "postgres://a:b@c@h/x"]);
    assert!(hint(&wrong.expect(exit::USAGE)).contains("postgresql://USER"));
    // What is configured is not told to be so where it is not.
    std::fs::write(world.vault.work().join("dumpvault.toml"), "[source.typed]\n").unwrap();
    let refused = world.run(&["backup", "typed", "--lock-wait-timeout", "2s"]).expect(exit::USAGE);
    assert!(refused.stderr.contains("pg_dump options cannot be given for the configured source `typed`"));
    assert!(hint(&refused).contains("lock_wait_timeout"), "{refused}");
}

fn colours_of_the_environment_stay_out_of_messages(world: &World) {
    let mut command =
        world.vault.command(["restore", "typed", "--to-database", "part", "--table", "m", "--yes"]);
    world.server.reached_by(&mut command, "postgres").env("PG_COLOR", "always");
    let failed = run(command, b"").expect(exit::TARGET).says("already exists");
    assert!(!failed.stderr.contains('\u{1b}') && !failed.stderr.contains("[01;31m"), "{failed}");
}

#[test]
fn a_silent_standard_input_is_not_waited_for_longer_than_was_said() {
    let vault = Vault::new();
    let mut running =
        Running::start(vault.command(["backup", "--stdin", "--series", "x", "--timeout", "1s"]));
    // A row, and then nothing: it stays open.
    running.feed(b"row\n");
    let output = running.wait_open();
    assert!(output.code != Some(exit::OK), "{output}");
    assert!(output.stderr.contains("standard input did not end within 1s"), "{output}");
    assert!(vault.ids().is_empty());
}

#[test]
fn a_grace_period_that_could_mean_minutes_or_months_is_refused() {
    let vault = Vault::new();
    for grace in ["30m", "1h 30m", "1y6m"] {
        vault.run(["prune", "--grace", grace]).expect(exit::USAGE).says("minutes or months").says("30min");
    }
    for grace in ["30min", "36h", "2d", "1mo", "1y", "90s"] {
        vault.run(["prune", "--grace", grace]).expect(exit::OK);
    }
    vault.backup("app", b"a dump");
    vault.run(["forget", "--keep-within", "6m", "--dry-run"]).expect(exit::OK);
    vault.run(["forget", "--keep-within", "6mo", "--dry-run"]).expect(exit::OK);
}
