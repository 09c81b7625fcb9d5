//! A whole server comes back with one command: roles, tablespaces, every database. The same command goes on where it
//! was stopped.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support::cli::{Output, Running, Vault, exit, run, text};
use crate::support::pg::Server;
use rustix::process::{Signal, kill_process_group};
use serde_json::Value;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

const RESTORE: [&str; 3] = ["restore", "db1", "--all-databases"];

fn command(vault: &Vault, server: &Server, args: &[&str]) -> Command {
    let mut command = vault.command(args);
    server.reached_by(&mut command, "postgres");
    command
}

fn on(vault: &Vault, server: &Server, args: &[&str]) -> Output {
    run(command(vault, server, args), b"")
}

fn restore(vault: &Vault, server: &Server, more: &[&str]) -> Output {
    on(vault, server, &[&RESTORE[..], more].concat())
}

/// A server with three roles, a tablespace, and two databases beside its own; and a vault with a snapshot of it.
fn backed_up() -> (Server, Vault) {
    let server = Server::start();
    let place = server.socket_dir().join("fast");
    fs::create_dir(&place).unwrap();
    let owner = fs::metadata(server.socket_dir()).unwrap();
    let (uid, gid) = {
        use std::os::unix::fs::MetadataExt;
        (owner.uid(), owner.gid())
    };
    std::os::unix::fs::chown(&place, Some(uid), Some(gid)).unwrap();
    for sql in [
        "CREATE ROLE boss LOGIN PASSWORD 'it''s; secret'",
        "CREATE ROLE \"Odd; role\" NOLOGIN",
        "GRANT \"Odd; role\" TO boss WITH ADMIN OPTION",
        "COMMENT ON ROLE boss IS 'said; of him'",
        "ALTER ROLE boss SET work_mem = '7MB'",
        &format!("CREATE TABLESPACE fast OWNER boss LOCATION '{}'", place.display()),
        "CREATE DATABASE shop OWNER boss",
        "CREATE DATABASE audit",
        "ALTER ROLE boss IN DATABASE shop SET search_path = 'public'",
    ] {
        server.psql("postgres", sql);
    }
    server.psql("shop", "CREATE TABLE orders AS SELECT i AS id FROM generate_series(1, 1000) i; ALTER TABLE orders OWNER TO boss");
    server
        .psql("shop", "CREATE TABLE stock (id int) TABLESPACE fast; GRANT SELECT ON stock TO \"Odd; role\"");
    server.psql("audit", "CREATE TABLE entries AS SELECT i AS id FROM generate_series(1, 500) i");
    let vault = Vault::new();
    let args = ["backup", "--pg-all", "--pg-globals", "--series", "db1", "--suspect-below", "0"];
    on(&vault, &server, &args).expect(exit::OK);
    (server, vault)
}

/// Standard output holds these words.
trait Prints {
    fn prints(self, words: &str) -> Self;
}

impl Prints for Output {
    fn prints(self, words: &str) -> Self {
        assert!(self.text().contains(words), "no `{words}` in {self}");
        self
    }
}

fn actions(plan: &Value) -> Vec<(String, String)> {
    let all = plan["databases"].as_array().unwrap();
    let field = if plan["dry_run"] == true { "action" } else { "status" };
    all.iter().map(|one| (text(one, "name"), text(one, field))).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, what)| ((*name).to_owned(), (*what).to_owned())).collect()
}

/// What roles there are, and what is said of them, passwords included.
const ROLES: &str = "SELECT rolname, rolcanlogin, rolpassword, setconfig, shobj_description(a.oid, 'pg_authid'), \
  (SELECT string_agg(m.roleid::regrole || ' ' || m.admin_option, ',' ORDER BY 1) FROM pg_auth_members m WHERE m.member = a.oid) \
  FROM pg_authid a LEFT JOIN pg_db_role_setting ON setrole = a.oid AND setdatabase = 0 \
  WHERE rolname !~ '^pg_' AND rolname <> 'keeper' ORDER BY rolname";

#[test]
fn given_an_empty_server_then_roles_and_every_database_come_back_in_one_command() {
    let (server, vault) = backed_up();
    // An older server does not know all that roles may have.
    for version in [15, 18].into_iter().filter(|version| *version >= server.version()) {
        let fresh = Server::start_version(version);
        let plan = restore(&vault, &fresh, &["--dry-run", "--json"]).expect(exit::OK).json();
        let expected = [("audit", "create"), ("postgres", "skip"), ("shop", "create")];
        assert_eq!(actions(&plan), pairs(&expected));
        assert_eq!(plan["roles"], serde_json::json!(["Odd; role", "boss"]));
        let told = restore(&vault, &fresh, &["--dry-run"]).expect(exit::OK);
        told.prints("would restore")
            .prints("creates roles Odd; role, boss")
            .prints("creates databases audit, shop");
        assert!(!fresh.has("shop") && fresh.psql("postgres", ROLES) != server.psql("postgres", ROLES));
        // Nobody to ask, and it names the server.
        let asked = restore(&vault, &fresh, &[]).expect(exit::REFUSED).says("no terminal to confirm");
        asked.says(&format!("(PostgreSQL {version}")).says("creates databases audit, shop");
        assert!(!fresh.has("shop"));
        // The folder of the tablespace is in use by a server of the same version: that is told, and the rest comes.
        let is_lost = version == server.version();
        let code = if is_lost { exit::PART_FAILED } else { exit::OK };
        let report = restore(&vault, &fresh, &["--yes", "--json"]).expect(code).json();
        let expected = [("audit", "restored"), ("postgres", "there"), ("shop", "restored")];
        assert_eq!(actions(&report), pairs(&expected), "{report}");
        let field = if is_lost { "tablespaces_lost" } else { "tablespaces" };
        assert_eq!(report[field], serde_json::json!(["fast"]));
        assert_eq!(report["databases"][2]["verified"], true);
        assert_eq!(fresh.psql("postgres", ROLES), server.psql("postgres", ROLES));
        let facts = "SELECT (SELECT count(*) FROM orders), (SELECT tableowner FROM pg_tables WHERE tablename = 'orders'), \
                     has_table_privilege('Odd; role', 'stock', 'SELECT'), \
                     (SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'shop'), \
                     (SELECT setconfig FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase WHERE datname = 'shop')";
        assert_eq!(fresh.psql("shop", facts), server.psql("shop", facts));
        // Again: all is there, and nothing is asked.
        let again = restore(&vault, &fresh, &["--no-globals"]).expect(exit::OK);
        let again = again.prints("`shop`: back already (2 tables, rows as in the dump); skipped");
        assert!(!again.prints("3 of 3 databases there").text().contains("restored, "));
        let again = restore(&vault, &fresh, &["--all", "--no-globals"]).code;
        assert_eq!(again, Some(exit::USAGE), "--all is the same option, given twice");
    }
}

#[test]
fn given_a_tablespace_whose_folder_is_there_then_it_comes_back_with_what_lies_in_it() {
    let (server, vault) = backed_up();
    let place = server.socket_dir().join("fast");
    let fresh = Server::start();
    // As on another machine: the folder is there, and empty.
    server.psql("shop", "DROP TABLE stock");
    server.psql("postgres", "DROP TABLESPACE fast");
    assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
    let report = restore(&vault, &fresh, &["--yes", "--json", "--jobs", "2"]).expect(exit::OK).json();
    assert_eq!((&report["tablespaces"], report["ok"].as_bool()), (&serde_json::json!(["fast"]), Some(true)));
    let lies = "SELECT spcname, pg_get_userbyid(spcowner) FROM pg_class JOIN pg_tablespace t ON t.oid = reltablespace \
                WHERE relname = 'stock'";
    assert_eq!(fresh.psql("shop", lies), "fast|boss");
}

#[test]
fn given_a_run_that_was_killed_then_the_next_one_finishes_it() {
    let (server, vault) = backed_up();
    // Restoring it takes for ever anywhere but where it was made.
    server.create("zoo");
    let slow = "CREATE FUNCTION slow(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS \
                'BEGIN PERFORM pg_sleep(600) FROM pg_roles WHERE rolname = ''waits''; RETURN i; END'";
    server.psql("zoo", slow);
    server.psql("zoo", "CREATE TABLE beasts AS SELECT 1 AS id; CREATE INDEX slowly ON beasts (slow(id))");
    on(&vault, &server, &["backup", "--pg-all", "--pg-globals", "--series", "db1", "--suspect-below", "0"])
        .expect(exit::OK);
    let fresh = Server::start();
    fresh.psql("postgres", "CREATE ROLE waits");
    let mut stuck = command(&vault, &fresh, &[&RESTORE[..], &["--yes"]].concat());
    stuck.process_group(0);
    let running = Running::start(stuck);
    let at_work = "SELECT FROM pg_stat_activity WHERE datname = 'zoo' AND query LIKE 'CREATE INDEX%'";
    fresh.wait_until("postgres", &format!("EXISTS ({at_work})"));
    kill_process_group(running.pid(), Signal::KILL).unwrap();
    running.wait();
    let sessions = "FROM pg_stat_activity WHERE datname = 'zoo'";
    fresh.psql("postgres", &format!("SELECT count(pg_terminate_backend(pid)) {sessions}"));
    fresh.wait_until("postgres", &format!("NOT EXISTS (SELECT {sessions})"));
    fresh.psql("postgres", "DROP ROLE waits");
    let plan = restore(&vault, &fresh, &["--dry-run", "--json"]).expect(exit::OK).json();
    let expected = [("audit", "skip"), ("postgres", "skip"), ("shop", "skip"), ("zoo", "finish")];
    assert_eq!(actions(&plan), pairs(&expected));
    assert_eq!(plan["roles"], serde_json::json!([]), "roles that are there are whole");
    let done = restore(&vault, &fresh, &["--yes"]).expect_one_of(&[exit::OK, exit::PART_FAILED]);
    let done = done.prints("`shop`: back already").prints("`zoo`: restored");
    done.prints("4 of 4 databases there");
    assert_eq!(fresh.psql("zoo", "SELECT count(*) FROM beasts"), "1");
    assert_eq!(
        fresh.psql(
            "postgres",
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'zoo'"
        ),
        ""
    );
}

#[test]
fn given_a_database_that_holds_something_else_then_nothing_is_touched() {
    let (_server, vault) = backed_up();
    let fresh = Server::start();
    fresh.create("shop");
    fresh.psql("shop", "CREATE TABLE others (id int)");
    fs::write(vault.work().join("dumpvault.toml"), "protect = ['sh*']\n").unwrap();
    let refused = restore(&vault, &fresh, &["--yes"]).expect(exit::REFUSED);
    let refused =
        refused.says("hold something else").says("`shop` (1 table; 2 in the dump").says("protected by");
    refused.says("--exclude-database").says("restore db1:shop --to-database shop --swap");
    assert!(!fresh.has("audit"));
    assert_eq!(fresh.psql("postgres", "SELECT count(*) FROM pg_roles WHERE rolname = 'boss'"), "0");
    restore(&vault, &fresh, &["--dry-run", "--json"]).expect(exit::REFUSED);
    // Without it, all else comes.
    restore(&vault, &fresh, &["--yes", "--exclude-database", "sh*", "--no-tablespaces"])
        .expect(exit::PART_FAILED)
        .prints("2 of 2 databases there");
    assert_eq!(fresh.psql("shop", "SELECT count(*) FROM others"), "0");
    // As many tables, other rows.
    fresh.psql("postgres", "DROP DATABASE audit");
    fresh.create("audit");
    fresh.psql("audit", "CREATE TABLE entries (id int)");
    restore(&vault, &fresh, &["--yes", "--exclude-database", "shop"])
        .expect(exit::REFUSED)
        .says("0 rows restored, 500 in the dump");
    restore(&vault, &fresh, &["--yes", "--expect-host", "elsewhere"]).expect(exit::REFUSED).says("elsewhere");
}

#[test]
fn given_what_cannot_be_done_then_it_is_said_and_the_exit_code_tells_what_it_is() {
    let (server, vault) = backed_up();
    let mut fresh = Server::start();
    // Not a superuser: before any database.
    fresh.psql("postgres", "CREATE ROLE weak LOGIN CREATEDB");
    let as_weak = ["--yes", "--server", &fresh.uri_as("weak", "postgres")];
    let mut weak = vault.command([&RESTORE[..], &as_weak].concat());
    server.reached_by(&mut weak, "weak");
    let weak = run(weak, b"");
    assert!(matches!(weak.code, Some(exit::TARGET)), "{weak}");
    assert!(!fresh.has("audit"));
    on(&vault, &fresh, &["restore", "db1", "--all-databases", "--create"]).expect(exit::USAGE);
    on(&vault, &fresh, &["restore", "db1", "--all-databases", "--table", "x"]).expect(exit::USAGE);
    on(&vault, &fresh, &["restore", "db1:shop", "--all-databases"]).expect(exit::USAGE);
    vault.backup("plain", b"no dump at all\n");
    on(&vault, &fresh, &["restore", "plain", "--all-databases"])
        .expect(exit::USAGE)
        .says("no dumps of databases");
    fresh.stop_now();
    restore(&vault, &fresh, &["--yes"]).expect(exit::TARGET);
}
