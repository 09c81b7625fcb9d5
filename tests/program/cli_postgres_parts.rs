//! Parts of a real database, in and out: tables, schemas, several workers, proof by counting.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code)]
use crate::support::cli;
use crate::support::cli::{Output, Vault, exit, run};
use crate::support::pg::Server;
use crate::support::terminal::AtTerminal;
use std::process::Command;

const WORLD: &str = r#"
CREATE SCHEMA audit;
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TABLE customers (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, mood mood);
INSERT INTO customers (name, mood) SELECT 'customer ' || i, 'ok' FROM generate_series(1, 3000) i;
CREATE TABLE orders (id serial PRIMARY KEY, customer int REFERENCES customers, amount positive,
  twice int GENERATED ALWAYS AS (amount * 2) STORED);
INSERT INTO orders (customer, amount) SELECT 1 + i % 3000, i FROM generate_series(1, 20000) i;
CREATE INDEX orders_amount ON orders (amount);
CREATE TABLE audit.log (at timestamptz, what text);
INSERT INTO audit.log SELECT now(), 'row ' || i FROM generate_series(1, 500) i;
CREATE TABLE audit.orders (id int PRIMARY KEY);
INSERT INTO audit.orders VALUES (1), (2);
CREATE TABLE audit.one (a int);
INSERT INTO audit.one VALUES (1), (2), (3);
CREATE TABLE audit.two (a int);
INSERT INTO audit.two VALUES (1), (2), (3), (4);
CREATE FUNCTION audit.note() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN INSERT INTO audit.log VALUES (now(), ''order''); RETURN NEW; END';
CREATE TRIGGER noted AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION audit.note();
CREATE TABLE measured (id int, at date) PARTITION BY RANGE (at);
CREATE TABLE measured_25 PARTITION OF measured FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE measured_26 PARTITION OF measured FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO measured SELECT i, date '2025-07-01' + i FROM generate_series(0, 364) i;
CREATE TABLE "Odd ""name"". Größe" ("a b" int);
INSERT INTO "Odd ""name"". Größe" VALUES (1);
CREATE TABLE parent (id int);
CREATE TABLE child (more int) INHERITS (parent);
INSERT INTO parent VALUES (1);
INSERT INTO child VALUES (2, 3), (4, 5);
CREATE TABLE nothing ();
CREATE MATERIALIZED VIEW totals AS SELECT customer, count(*) FROM orders GROUP BY customer;
CREATE VIEW happy AS SELECT name FROM customers WHERE mood = 'happy';
SELECT lo_from_bytea(0, 'a large object');
SELECT lo_from_bytea(0, 'another one');
GRANT SELECT ON orders TO keeper;
COMMENT ON TABLE orders IS 'what was ordered';
"#;

fn command_at(server: &Server, vault: &Vault, args: &[&str]) -> Command {
    let mut command = vault.command(args);
    server.reached_by(&mut command, "postgres");
    command
}

fn run_at(server: &Server, vault: &Vault, args: &[&str]) -> Output {
    run(command_at(server, vault, args), b"")
}

struct World {
    server: Server,
    vault: Vault,
}

impl World {
    fn new() -> Self {
        let (server, vault) = (Server::start(), Vault::new());
        server.create("world");
        server.psql("world", WORLD);
        run_at(&server, &vault, &["backup", "--pg-database", "world"]).expect(exit::OK);
        Self { server, vault }
    }

    fn restore(&self, database: &str, options: &[&str]) -> Output {
        let args = [&["restore", "world", "--to-database", database], options].concat();
        run_at(&self.server, &self.vault, &args)
    }

    fn original(&self) -> String {
        self.server.dump_plain("world")
    }
}

// One server for all: starting one takes longer than everything that is done with it.

#[test]
fn parts_of_a_database_are_restored() {
    let world = World::new();
    a_table_comes_with_what_it_needs(&world);
    a_lost_table_comes_back_into_a_database_in_use(&world);
    a_person_is_asked_before_anything_is_replaced(&world);
    schemas_definitions_and_data_can_be_had_apart(&world);
    workers_restore_the_same_database(&world);
    rows_in_tables_that_workers_make_are_frozen(&world);
    rows_come_as_they_are_where_they_cannot_be_frozen(&world);
    workers_that_fail_leave_nothing_behind(&world);
    rows_are_counted_after_a_restore(&world);
    backups_are_proven_in_a_scratch_database(&world);
    a_view_brings_the_rows_that_it_shows(&world);
    a_tar_dump_is_as_good_as_an_archive(&world);
}

const ORDERS: &str = "SELECT md5(string_agg(o::text, ',' ORDER BY id)) FROM public.orders o";

fn a_table_comes_with_what_it_needs(world: &World) {
    let World { server, .. } = world;
    let told = world.restore("one", &["--create", "--table", "public.orders"]).expect(exit::OK);
    assert!(told.stderr.contains("orders_customer_fkey"), "the foreign key is missing untold: {told}");
    assert_eq!(server.psql("one", ORDERS), server.psql("world", ORDERS));
    let indexes = "SELECT string_agg(indexdef, ';' ORDER BY indexdef) FROM pg_indexes WHERE tablename = 'orders' AND schemaname = 'public'";
    assert_eq!(server.psql("one", indexes), server.psql("world", indexes));
    let tables = "SELECT string_agg(relname, ',' ORDER BY relname) FROM pg_class WHERE relkind = 'r' AND relnamespace >= 2200 AND relname !~ '^(pg|sql)_'";
    assert_eq!(server.psql("one", tables), "orders");
    // Its sequence goes on where it was, its trigger's function came along.
    assert_eq!(server.psql("one", "SELECT nextval('orders_id_seq')"), "20001");
    assert_eq!(server.psql("one", "SELECT count(*) FROM pg_trigger WHERE tgname = 'noted'"), "1");
    // Bare, it is the rows alone.
    world
        .restore("bare", &["--create", "--table", "customers", "--bare", "--data-only"])
        .expect(exit::TARGET);
    assert!(!server.has("bare"), "a database made for a failed restore is left");
}

fn a_lost_table_comes_back_into_a_database_in_use(world: &World) {
    let World { server, .. } = world;
    world.restore("used", &["--create"]).expect(exit::OK);
    server.psql("used", "DROP TABLE audit.log; CREATE TABLE mine (a int)");
    // Nobody is there to say yes.
    world.restore("used", &["--table", "audit.log", "--bare"]).expect(exit::REFUSED).says("--yes");
    world.restore("used", &["--table", "audit.log", "--bare", "--yes"]).expect(exit::OK);
    assert_eq!(server.psql("used", "SELECT count(*) FROM audit.log"), "500");
    // Rows into a table that is there.
    server.psql("used", "TRUNCATE audit.orders");
    world.restore("used", &["--table", "audit.orders", "--data-only", "--yes"]).expect(exit::OK);
    assert_eq!(server.psql("used", "SELECT count(*) FROM audit.orders"), "2");
    // A second time they are there already: nothing changes.
    world.restore("used", &["--table", "audit.orders", "--data-only", "--yes"]).expect(exit::TARGET);
    assert_eq!(server.psql("used", "SELECT count(*) FROM audit.orders"), "2");
    // Replacing one table leaves the others alone.
    server.psql("used", "DELETE FROM audit.orders");
    world.restore("used", &["--table", "audit.orders", "--bare", "--clean", "--yes"]).expect(exit::OK);
    assert_eq!(server.psql("used", "SELECT count(*) FROM audit.orders"), "2");
    assert_eq!(server.psql("used", "SELECT count(*) FROM mine"), "0");
}

/// In the database that was used before.
fn a_person_is_asked_before_anything_is_replaced(world: &World) {
    let World { server, vault } = world;
    server.psql("used", "DELETE FROM audit.orders");
    let args = ["restore", "world", "--to-database", "used", "--table", "audit.orders", "--bare", "--clean"];
    let rows = || server.psql("used", "SELECT count(*) FROM audit.orders");
    // Where it would go to is what the server says, whatever the environment named.
    let plan = [&args[..], &["--dry-run"]].concat();
    let plan = run(command_at(server, vault, &plan), b"").expect(exit::OK).text();
    assert!(plan.contains("into database `used` on localhost:"), "{plan}");
    for (keys, code, said, left) in [
        ("y\n", exit::REFUSED, "cancelled", "0"),
        ("\x03", exit::INTERRUPTED, "interrupted", "0"),
        ("yes\n", exit::OK, "", "2"),
    ] {
        let mut terminal = AtTerminal::start(&command_at(server, vault, &args));
        terminal.wait_for("into `used` on localhost:");
        terminal.wait_for("Type `yes` to continue: ");
        terminal.enter(keys);
        assert_eq!(terminal.end(), Some(code), "{}", terminal.screen());
        assert!(terminal.screen().contains(said), "{}", terminal.screen());
        assert_eq!(rows(), left);
    }
}

fn schemas_definitions_and_data_can_be_had_apart(world: &World) {
    let World { server, .. } = world;
    world.restore("schema", &["--create", "--schema", "audit"]).expect(exit::OK);
    assert_eq!(server.psql("schema", "SELECT count(*) FROM audit.log"), "500");
    assert_eq!(server.psql("schema", "SELECT to_regclass('public.orders') IS NULL"), "t");

    world.restore("apart", &["--create", "--schema-only"]).expect(exit::OK);
    assert_eq!(server.psql("apart", "SELECT count(*) FROM orders"), "0");
    let definitions = server.dump("world", &["-s"]);
    assert_eq!(lines(&server.dump("apart", &["-s"])), lines(&definitions));
    // Triggers would write to the log, and keys would ask for an order of tables.
    server.psql(
        "apart",
        "DROP TRIGGER noted ON orders; ALTER TABLE orders DROP CONSTRAINT orders_customer_fkey",
    );
    world.restore("apart", &["--data-only", "--yes"]).expect(exit::OK);
    assert_eq!(server.psql("apart", ORDERS), server.psql("world", ORDERS));

    world.restore("without", &["--create", "--exclude-table", "public.orders"]).expect(exit::OK);
    assert_eq!(server.psql("without", "SELECT to_regclass('public.orders') IS NULL"), "t");
    assert_eq!(server.psql("without", "SELECT count(*) FROM customers"), "3000");
}

/// Lines that do not differ from run to run.
fn lines(dump: &[u8]) -> Vec<String> {
    let text = String::from_utf8(dump.to_vec()).unwrap();
    let fleeting = |line: &&str| !line.contains("restrict ");
    text.lines().filter(fleeting).map(str::to_owned).collect()
}

fn workers_restore_the_same_database(world: &World) {
    let World { server, vault } = world;
    for jobs in ["1", "2", "4"] {
        let database = format!("jobs_{jobs}");
        let temp = tempfile::tempdir().unwrap();
        let args = ["restore", "world", "--to-database", &database, "--create", "--clean", "--jobs", jobs];
        let mut command = vault.command(args);
        server.reached_by(&mut command, "postgres").env("TMPDIR", temp.path());
        run(command, b"").expect(exit::OK);
        assert_eq!(server.dump_plain(&database), world.original(), "{jobs} workers");
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0, "a temporary file is left");
    }
    world
        .restore("plain_owner", &["--create", "--jobs", "2", "--no-owner", "--no-privileges"])
        .expect(exit::OK);
    let grants = "SELECT relacl IS NULL FROM pg_class WHERE oid = 'public.orders'::regclass";
    assert_eq!(server.psql("plain_owner", grants), "t");
    let plan = world.restore("planned", &["--create", "--jobs", "3", "--dry-run"]).expect(exit::OK).text();
    assert!(plan.contains("worker 3") && plan.contains("public.orders"), "{plan}");
    assert!(!server.has("planned"));
}

/// Tables without a frozen page, and the number of all that have pages. Some pages may be there that no row came to.
const FROZEN: &str = "CREATE EXTENSION IF NOT EXISTS pg_visibility; \
    SELECT coalesce(string_agg(oid::regclass::text, ' ' ORDER BY 1) FILTER (WHERE frozen = 0), ''), count(*) FROM ( \
    SELECT c.oid, (pg_visibility_map_summary(c.oid)).all_frozen AS frozen, pg_relation_size(c.oid) / 8192 AS pages \
    FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace \
    WHERE relkind = 'r' AND nspname IN ('public', 'audit')) t WHERE pages > 0";

fn rows_in_tables_that_workers_make_are_frozen(world: &World) {
    let server = &world.server;
    world.restore("frozen", &["--create", "--jobs", "2"]).expect(exit::OK);
    assert_eq!(server.psql("frozen", FROZEN), "|11");
    assert_eq!(server.psql("frozen", "SELECT count(*) FROM parent"), "3", "rows of a child were lost");
    world.restore("frozen_part", &["--create", "--jobs", "2", "--table", "public.orders"]).expect(exit::OK);
    assert_eq!(server.psql("frozen_part", FROZEN), "|1");
    // In a database that was there, somebody may look already.
    server.create("looked_at");
    world.restore("looked_at", &["--jobs", "2"]).expect(exit::OK);
    assert_ne!(server.psql("looked_at", FROZEN), "|11");
}

/// In each database that is made from now on, a table refuses in these words to be emptied (`when_emptied`), or to take
/// a row in the transaction that emptied it.
fn refuse_frozen_rows(server: &Server, code: &str, words: &str, when_emptied: bool) {
    let refuse = format!("RAISE EXCEPTION USING ERRCODE = '{code}', MESSAGE = '{words}';");
    let note = "PERFORM set_config('test.emptied', 'yes', true);".to_owned();
    let (emptied, filled) = if when_emptied { (refuse, String::new()) } else { (note, refuse) };
    server.psql("postgres", "ALTER DATABASE template0 ALLOW_CONNECTIONS true");
    // What lies in pg_catalog is nobody's, and no dump takes it along.
    let sql = format!(
        "CREATE OR REPLACE FUNCTION pg_catalog.test_emptied() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN {emptied} RETURN NULL; END $$;
         CREATE OR REPLACE FUNCTION pg_catalog.test_filled() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN IF current_setting('test.emptied', true) = 'yes' THEN {filled} END IF; RETURN NEW; END $$;
         CREATE OR REPLACE FUNCTION pg_catalog.test_made() RETURNS event_trigger LANGUAGE plpgsql AS $$
           DECLARE made text; BEGIN
             FOR made IN SELECT object_identity FROM pg_event_trigger_ddl_commands() c
               JOIN pg_class ON oid = c.objid WHERE relkind = 'r' LOOP
               EXECUTE 'CREATE TRIGGER test_emptied BEFORE TRUNCATE ON ' || made
                 || ' EXECUTE FUNCTION test_emptied()';
               EXECUTE 'CREATE TRIGGER test_filled BEFORE INSERT ON ' || made
                 || ' FOR EACH ROW EXECUTE FUNCTION test_filled()';
             END LOOP; END $$;
         DROP EVENT TRIGGER IF EXISTS test_made;
         CREATE EVENT TRIGGER test_made ON ddl_command_end WHEN TAG IN ('CREATE TABLE')
           EXECUTE FUNCTION test_made();"
    );
    server.psql("template0", &sql);
    server.psql("postgres", "ALTER DATABASE template0 ALLOW_CONNECTIONS false");
}

fn rows_come_as_they_are_where_they_cannot_be_frozen(world: &World) {
    let World { server, vault } = world;
    let counts = "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM audit.log), \
        (SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'test%')";
    let again = |database: &str, code: &str, words: &str, when_emptied: bool| {
        refuse_frozen_rows(server, code, words, when_emptied);
        let args = ["restore", "world", "--to-database", database, "--create", "--jobs", "2", "-v"];
        run_at(server, vault, &args)
    };
    for (at, (code, words, when_emptied)) in [
        ("42501", "permission denied for table t", true),
        ("53200", "out of shared memory", true),
        ("53200", "out of shared memory", false),
        ("40P01", "deadlock detected", false),
    ]
    .into_iter()
    .enumerate()
    {
        let database = format!("unfrozen_{at}");
        let restored = again(&database, code, words, when_emptied).expect(exit::OK);
        let told = restored.stderr.matches("the restore begins once more").count();
        assert!(told == 1 && restored.stderr.contains(words), "{}", restored.stderr);
        let found = server.psql(&database, counts);
        assert!(found.starts_with("20000|500|") && !found.ends_with("|0"), "{found}");
        assert_ne!(server.psql(&database, FROZEN), "|11");
    }
    // What is wrong with the rows themselves is no better the second time.
    let failed = again("unfrozen_not", "22000", "a row that nobody takes", false).expect(exit::TARGET);
    assert!(!failed.stderr.contains("once more"), "{}", failed.stderr);
    assert!(!server.has("unfrozen_not"));
    server.psql("postgres", "ALTER DATABASE template0 ALLOW_CONNECTIONS true");
    server.psql("template0", "DROP EVENT TRIGGER test_made");
    server.psql("postgres", "ALTER DATABASE template0 ALLOW_CONNECTIONS false");
}

fn workers_that_fail_leave_nothing_behind(world: &World) {
    let World { server, vault } = world;
    // It holds something, and no transaction could bring that back.
    server.psql("jobs_1", "DELETE FROM audit.log");
    let full = world.restore("jobs_1", &["--clean", "--yes", "--jobs", "2"]);
    full.expect(exit::REFUSED).says("--create");
    assert_eq!(server.psql("jobs_1", "SELECT count(*) FROM audit.log"), "0");
    // One worker's rows are refused by the server.
    let mut dump = server.dump("world", &["-Fc", "-Z0"]);
    let at = dump.windows(11).position(|window| window == b"customer 77").unwrap();
    dump[at] = 0xff;
    vault.backup("broken", &dump);
    let args = ["restore", "broken", "--to-database", "half", "--create", "--jobs", "2"];
    run_at(server, vault, &args).expect(exit::TARGET).says("invalid byte sequence").says("dropped");
    assert!(!server.has("half"), "a half database is left");
    server.create("empty");
    let args = ["restore", "broken", "--to-database", "empty", "--jobs", "2"];
    run_at(server, vault, &args).expect(exit::TARGET).says("holds a part");
}

/// A dump that is whole, and puts the rows of one table into another.
fn crooked(server: &Server) -> Vec<u8> {
    let mut dump = server.dump("world", &["-Fc", "-Z0"]);
    let copy = b"COPY audit.two";
    let at = dump.windows(copy.len()).position(|window| window == copy).unwrap();
    dump[at + 11..at + 14].copy_from_slice(b"one");
    dump
}

fn rows_are_counted_after_a_restore(world: &World) {
    let World { server, vault } = world;
    for jobs in [&[][..], &["--jobs", "3"]] {
        let database = format!("counted_{}", jobs.len());
        let told =
            world.restore(&database, &[&["--create", "--json"], jobs].concat()).expect(exit::OK).json();
        assert_eq!(told["verified"], true);
        let tables = told["verification"]["tables"].as_array().unwrap();
        assert_eq!(tables.len(), 12, "{tables:?}");
        assert!(tables.iter().all(|table| table["rows"] == table["rows_expected"] && table["rows"].is_u64()));
        assert_eq!(told["verification"]["large_objects"]["found"], 2);
    }
    vault.backup("crooked", &crooked(server));
    for (at, options) in [&[][..], &["--jobs", "2"], &["--table", "audit.two"]].iter().enumerate() {
        let database = format!("crooked_{at}");
        if at == 2 {
            // The table that the rows go to is there.
            server.create(&database);
            server.psql(&database, "CREATE SCHEMA audit; CREATE TABLE audit.one (a int)");
            let args =
                ["restore", "crooked", "--to-database", &database, "--table", "audit.two", "--bare", "--yes"];
            run_at(server, vault, &args)
                .expect(exit::INTEGRITY)
                .says("audit.two: 0 rows restored, 4 in the dump");
            continue;
        }
        let args = [&["restore", "crooked", "--to-database", &database, "--create"], *options].concat();
        run_at(server, vault, &args)
            .expect(exit::INTEGRITY)
            .says("audit.one: 7 rows restored, 3 in the dump")
            .says("audit.two: 0 rows restored, 4 in the dump");
        let args = [&args[..], &["--no-verify", "--clean", "--yes"]].concat();
        if options.is_empty() {
            run_at(server, vault, &args).expect(exit::OK);
        }
    }
}

fn backups_are_proven_in_a_scratch_database(world: &World) {
    let World { server, vault } = world;
    let uri = server.uri("postgres");
    let databases = "SELECT string_agg(datname, ',' ORDER BY datname) FROM pg_database";
    let before = server.psql("postgres", databases);
    let good = vault.run(["verify", "world", "--server", &uri]).expect(exit::OK).text();
    assert!(good.contains("verified") && good.contains("12 tables"), "{good}");
    let found = run_at(server, vault, &["verify", "world", "--jobs", "3", "--json"]).expect(exit::OK).json();
    assert_eq!(found["ok"], true);
    assert_eq!(found["streams"][0]["foreign_keys"], 1);

    // A script, too.
    let args = ["backup", "--series", "script", "--command", "--", "pg_dump", "-Fp", "world"];
    run_at(server, vault, &args).expect(exit::OK);
    run_at(server, vault, &["verify", "script"]).expect(exit::OK);

    let bad = run_at(server, vault, &["verify", "crooked"]).expect(exit::INTEGRITY);
    bad.says("audit.two: 0 rows restored, 4 in the dump");
    let bad = run_at(server, vault, &["verify", "crooked", "--json"]).expect(exit::INTEGRITY).json();
    assert_eq!(bad["ok"], false);
    run_at(server, vault, &["verify", "broken"]).expect(exit::INTEGRITY).says("cannot be restored");
    // That says nothing of the backup.
    vault.run(["verify", "world", "--server", "postgres://postgres@127.0.0.1:1/x"]).expect(exit::TARGET);
    assert_eq!(server.psql("postgres", databases), before, "a scratch database is left");
}

fn a_view_brings_the_rows_that_it_shows(world: &World) {
    let World { server, .. } = world;
    for view in ["totals", "happy"] {
        let database = format!("view_of_{view}");
        let told = world.restore(&database, &["--create", "--table", view, "--json"]).expect(exit::OK).json();
        assert_eq!((told["verified"].as_bool(), told["tables"].as_array().unwrap().len()), (Some(true), 1));
        let rows = format!("SELECT count(*) FROM {view}");
        assert_eq!(server.psql(&database, &rows), server.psql("world", &rows), "{view}");
    }
    let refused = world.restore("view_of_rows", &["--create", "--table", "totals", "--data-only"]);
    refused.expect(exit::USAGE).says("`public.totals` is a view").says("hint:");
    assert!(!server.has("view_of_rows"));
}

/// Stored, listed, compared, restored whole and in parts, verified.
fn a_tar_dump_is_as_good_as_an_archive(world: &World) {
    let World { server, vault } = world;
    let dump = server.dump("world", &["-Ft"]);
    vault.backup("tar", &dump);
    let listed = |name: &str| vault.run(["ls", name, "--json"]).expect(exit::OK).json();
    let shown =
        vault.run(["show", "tar", "--json"]).expect(exit::OK).json()["snapshot"]["streams"][0].clone();
    assert_eq!(
        (cli::text(&shown, "format"), cli::text(&shown, "proof")),
        ("pg_dump-tar".into(), "structure".into())
    );
    let tables = |name: &str| -> Vec<(String, u64, u64)> {
        let tables = listed(name)["tables"].as_array().unwrap().clone();
        let one = |table: &serde_json::Value| {
            (cli::text(table, "name"), table["rows"].as_u64().unwrap(), table["bytes"].as_u64().unwrap())
        };
        tables.iter().map(one).collect()
    };
    assert_eq!(tables("tar"), tables("world"));
    // A day later one table has grown.
    server.psql("world", "INSERT INTO audit.two VALUES (5)");
    vault.backup("tar", &server.dump("world", &["-Ft"]));
    server.psql("world", "DELETE FROM audit.two WHERE a = 5");
    let changed = vault.run(["diff", "tar~1", "tar"]).expect(exit::OK).text();
    assert!(changed.contains("audit.two") && !changed.contains("audit.one"), "{changed}");

    let restore = |database: &str, options: &[&str]| {
        let args = [&["restore", "tar~1", "--to-database", database, "--create"], options].concat();
        run_at(server, vault, &args)
    };
    for (at, options) in [&[][..], &["--jobs", "2"]].iter().enumerate() {
        let database = format!("tar_{at}");
        let told = restore(&database, &[&["--json"], *options].concat()).expect(exit::OK).json();
        assert_eq!(told["verified"], true);
        assert_eq!(told["verification"]["large_objects"]["found"], 2);
        assert_eq!(server.dump_plain(&database), world.original(), "{options:?}");
    }
    restore("tar_part", &["--table", "public.orders", "--large-objects"]).expect(exit::OK);
    assert_eq!(server.psql("tar_part", ORDERS), server.psql("world", ORDERS));
    assert_eq!(server.psql("tar_part", "SELECT count(*) FROM pg_largeobject_metadata"), "2");
    let good = run_at(server, vault, &["verify", "tar", "--json"]).expect(exit::OK).json();
    assert_eq!((good["ok"].as_bool(), good["streams"][0]["foreign_keys"].as_u64()), (Some(true), Some(1)));
    run_at(server, vault, &["verify", "tar", "--sample", "20%"]).expect(exit::OK);

    let before = vault.ids();
    for cut in [400, 5000, dump.len() / 2, dump.len() - 1] {
        let args = ["backup", "--stdin", "--series", "tar"];
        vault.run_with(args, &dump[..cut]).expect(exit::NOTHING_DONE).says("is incomplete");
    }
    assert_eq!(vault.ids(), before, "a tar that is not whole became a snapshot");
}
