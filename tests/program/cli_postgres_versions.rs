//! Every version of a server, of the client programs and of the server that is restored into, with one another. The
//! table of `docs/postgres.md` is what comes out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code)]
use crate::support::cli;
use crate::support::cli::{Output, Vault, exit, run};
use crate::support::pg::{Server, VERSIONS, bin_of};
use dumpvault::content::inspect::{Inspector, Verdict};
use std::collections::BTreeMap;

/// What every version has; of each kind of entry that the versions write in ways of their own, one.
const SHOP: &str = "
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TABLE customers (id serial PRIMARY KEY, name text NOT NULL, mood mood DEFAULT 'good');
INSERT INTO customers (name) SELECT 'customer ' || i FROM generate_series(1, 500) i;
CREATE TABLE orders (id int, at int, customer int REFERENCES customers, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (10);
CREATE TABLE orders_2 PARTITION OF orders FOR VALUES FROM (10) TO (20);
INSERT INTO orders SELECT i, i % 20, i FROM generate_series(1, 500) i;
CREATE INDEX ON orders (customer);
CREATE FUNCTION rich(int) RETURNS bool LANGUAGE sql AS 'SELECT $1 > 100';
CREATE MATERIALIZED VIEW totals AS SELECT customer, count(*) FROM orders GROUP BY 1;
SELECT lo_from_bytea(4711, 'large'), lo_from_bytea(4712, 'larger');
COMMENT ON LARGE OBJECT 4711 IS 'said of it';
GRANT SELECT ON LARGE OBJECT 4712 TO keeper;
GRANT SELECT ON customers TO keeper;
ALTER DATABASE app SET search_path = public, pg_catalog;
";

const FACTS: &str = "SELECT (SELECT count(*) FROM customers), (SELECT sum(id) FROM orders), (SELECT count(*) FROM totals), \
  (SELECT string_agg(convert_from(lo_get(oid), 'UTF8') || coalesce(obj_description(oid, 'pg_largeobject'), ''), ',' ORDER BY oid) \
   FROM pg_largeobject_metadata), \
  (SELECT bool_and(indisvalid) FROM pg_index), \
  (SELECT setconfig FROM pg_db_role_setting JOIN pg_database ON setdatabase = pg_database.oid WHERE datname = current_database())";

/// Between these lines of the document stands the table.
const MARKS: [&str; 2] =
    ["<!-- versions: made by tests/program/cli_postgres_versions.rs -->\n", "<!-- versions end -->\n"];

struct World {
    servers: BTreeMap<u32, Server>,
    vault: Vault,
}

impl World {
    /// Runs the program where no client programs but those of one version are found.
    fn run(&self, server: u32, client: u32, args: &[&str]) -> Output {
        let exec = format!("/usr/bin/env PATH={}", bin_of(client).display());
        let mut command = self.vault.command([args, &["--pg-exec", &exec]].concat());
        self.servers[&server].reached_by(&mut command, "postgres");
        run(command, b"")
    }

    /// The versions of the servers that a backup can be restored into.
    fn row(&self, server: u32, client: u32, refused: &mut Vec<String>) -> Vec<u32> {
        let series = format!("of_{server}_by_{client}");
        self.run(server, client, &["backup", "--pg-database", "app", "--series", &series]).expect(exit::OK);
        let facts = self.servers[&server].psql("app", FACTS);
        let mut into = Vec::new();
        for (target, restored) in &self.servers {
            let args = ["restore", &series, "--to-database", "back", "--create"];
            let output = self.run(*target, client, &args);
            if output.code == Some(exit::OK) {
                assert_eq!(restored.psql("back", FACTS), facts, "{server} by {client} into {target}");
                restored.psql("postgres", "DROP DATABASE back");
                into.push(*target);
            } else {
                refused.push(format!("{server} by {client} into {target}: {output}"));
            }
        }
        // Where it came from, it can be restored in every way.
        let args = ["restore", &series, "--to-database", "back", "--create", "--jobs", "2"];
        self.run(server, client, &args).expect(exit::OK);
        assert_eq!(self.servers[&server].psql("back", FACTS), facts, "{server} by {client}");
        // Into one that was there, in one transaction.
        self.servers[&server].psql("postgres", "DROP DATABASE back");
        self.servers[&server].create("back");
        self.servers[&server].psql("postgres", "ALTER DATABASE back SET search_path = public, pg_catalog");
        self.run(server, client, &["restore", &series, "--to-database", "back"]).expect(exit::OK);
        assert_eq!(self.servers[&server].psql("back", FACTS), facts, "{server} by {client}");
        self.servers[&server].psql("postgres", "DROP DATABASE back");
        self.run(server, client, &["verify", &series]).expect(exit::OK);
        into
    }
}

/// Large objects of several owners, which newer versions list apart, and a table that has grown to more than a block of
/// a tar.
const TAR: &str = "
CREATE TABLE longer AS SELECT i, repeat('x', i) AS x FROM generate_series(1, 100) i;
ALTER LARGE OBJECT 4712 OWNER TO keeper;
SELECT lo_from_bytea(4713, convert_to(repeat('largest', 1000), 'UTF8'));
";

/// Versions differ in how they list large objects, and in what their headers hold.
#[test]
fn a_tar_of_every_version_is_as_good_as_an_archive() {
    for version in VERSIONS {
        let (server, vault) = (Server::start_version(version), Vault::new());
        server.create("app");
        server.psql("app", SHOP);
        server.psql("app", TAR);
        let at = |args: &[&str]| {
            let mut command = vault.command(args);
            server.reached_by(&mut command, "postgres");
            run(command, b"")
        };
        at(&["backup", "--pg-database", "app"]).expect(exit::OK);
        let tar = server.dump("app", &["-Ft"]);
        vault.backup("tar", &tar);
        let tables =
            |series: &str| vault.run(["ls", series, "--json"]).expect(exit::OK).json()["tables"].clone();
        let plain = |tables: serde_json::Value| -> Vec<(String, Option<u64>, Option<u64>)> {
            let each = tables.as_array().unwrap().clone().into_iter();
            each.map(|it| (cli::text(&it, "name"), it["rows"].as_u64(), it["bytes"].as_u64())).collect()
        };
        assert_eq!(plain(tables("tar")), plain(tables("app")), "{version}");

        for options in [&[][..], &["--jobs", "2"]] {
            let args = [&["restore", "tar", "--to-database", "back", "--create"], options].concat();
            at(&args).expect(exit::OK);
            assert_eq!(server.dump_plain("back"), server.dump_plain("app"), "{version} {options:?}");
            server.psql("postgres", "DROP DATABASE back");
        }
        let part = ["--table", "longer", "--large-objects", "--to-database", "back", "--create"];
        at(&[&["restore", "tar"], &part[..]].concat()).expect(exit::OK);
        let facts = "SELECT (SELECT count(*) FROM longer), (SELECT sum(length(lo_get(oid))) FROM pg_largeobject_metadata)";
        assert_eq!(server.psql("back", facts), "100|7011", "{version}");
        at(&["verify", "tar"]).expect(exit::OK);

        // Cut at the edge of each of its blocks, and beside it: the program and the library say the same.
        let before = vault.ids();
        for cut in [600, tar.len() / 2, tar.len() - 512, tar.len() - 1] {
            let args = ["backup", "--stdin", "--series", "tar"];
            vault.run_with(args, &tar[..cut]).expect(exit::NOTHING_DONE).says("is incomplete");
        }
        assert_eq!(vault.ids(), before, "a tar that is not whole became a snapshot: {version}");
        for cut in (512..=tar.len()).step_by(512).flat_map(|edge| [edge - 1, edge, edge + 1]) {
            let mut inspector = Inspector::new();
            inspector.push(&tar[..cut.min(tar.len())]);
            let verdict = inspector.finish().verdict;
            assert_eq!(
                matches!(verdict, Verdict::Whole(_)),
                cut >= tar.len(),
                "{version} at {cut}: {verdict:?}"
            );
        }
    }
}

#[test]
fn the_table_of_versions_is_what_they_do() {
    let mut world = World { servers: BTreeMap::new(), vault: Vault::new() };
    for version in VERSIONS {
        let server = Server::start_version(version);
        server.create("app");
        server.psql("app", SHOP);
        world.servers.insert(version, server);
    }
    let mut refused = Vec::new();
    let mut table = String::from("| server | client programs | restores into |\n|---|---|---|\n");
    for server in VERSIONS {
        for client in VERSIONS {
            let cell = match client < server {
                true => {
                    world
                        .run(server, client, &["backup", "--pg-database", "app", "--series", "none"])
                        .expect(exit::NOTHING_DONE)
                        .says(&format!("found: {client}"))
                        .says(&format!("postgresql-client-{server}"));
                    "no backup: `pg_dump` is older than the server".to_owned()
                }
                false => {
                    let into = world.row(server, client, &mut refused);
                    into.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
                }
            };
            table += &format!("| {server} | {client} | {cell} |\n");
        }
    }
    let document = std::fs::read_to_string("docs/postgres.md").unwrap();
    let (_, behind) = document.split_once(MARKS[0]).expect("the document has the table");
    let (there, _) = behind.split_once(MARKS[1]).unwrap();
    assert_eq!(there, table, "docs/postgres.md is to have:\n{table}\n{}", refused.join("\n"));
}

/// Older client programs read an archive of newer ones as little as `pg_restore` does: what to install is said.
#[test]
fn a_dump_by_newer_programs_names_what_reads_it() {
    let server = Server::start_version(16);
    server.create("app");
    server.psql("app", "CREATE TABLE t (a int)");
    let world = World { servers: BTreeMap::from([(16, server)]), vault: Vault::new() };
    world.run(16, 18, &["backup", "--pg-database", "app"]).expect(exit::OK);
    let args = ["restore", "app", "--to-database", "back", "--create"];
    let refused = world.run(16, 16, &args).says("`pg_restore` 17 or newer not found");
    assert!(refused.code != Some(exit::OK), "{refused}");
    refused.says("postgresql-client-17").does_not_say("is older than");
    // A statement that fails is told as `psql` tells it, and leaves nothing.
    world.servers[&16]
        .psql("app", "CREATE ROLE gone; CREATE TABLE theirs (a int); ALTER TABLE theirs OWNER TO gone");
    world.run(16, 18, &["backup", "--pg-database", "app"]).expect(exit::OK);
    world.servers[&16].psql("app", "DROP OWNED BY gone");
    world.servers[&16].psql("app", "DROP ROLE gone");
    for more in [&[][..], &["--jobs", "2"]] {
        world
            .run(16, 18, &[&args[..], more].concat())
            .expect(exit::TARGET)
            .says("role \"gone\" does not exist");
        assert!(!world.servers[&16].has("back"));
    }
    // So does a stream of scripts.
    let script = ["backup", "--series", "script", "--command", "--"];
    let dump = format!("{}/pg_dump", bin_of(18).display());
    let mut command = world.vault.command([&script[..], &[&dump, "-Fp", "app"]].concat());
    world.servers[&16].psql("app", "CREATE TABLE mine AS SELECT 1 AS a");
    world.servers[&16].reached_by(&mut command, "postgres");
    run(command, b"").expect(exit::OK);
    world.run(16, 18, &["restore", "script", "--to-database", "back", "--create"]).expect(exit::OK);
    assert_eq!(world.servers[&16].psql("back", "SELECT a FROM mine"), "1");
}

/// What an archive says is SQL to the server alone, also where `psql` has to run it.
#[test]
fn an_archive_runs_no_commands_of_psql() {
    let server = Server::start_version(16);
    server.create("app");
    let room = "x".repeat(400);
    server.psql("app", &format!("CREATE TABLE t (a int); COMMENT ON TABLE t IS 'of table {room}'"));
    server.psql("app", &format!("COMMENT ON DATABASE app IS 'of database {room}'"));
    let world = World { servers: BTreeMap::from([(16, server)]), vault: Vault::new() };
    let server = &world.servers[&16];
    let mut dump = std::process::Command::new(bin_of(18).join("pg_dump"));
    server.reached_by(&mut dump, "postgres").args(["-Fc", "app"]);
    let archive = dump.output().unwrap().stdout;
    let forge = |from: &str, proof: &str| {
        let from = format!("{from} {room}';");
        let proof = world.vault.work().join(proof);
        let command = format!("\\! touch {}", proof.display());
        let at = archive.windows(from.len()).position(|bytes| bytes == from.as_bytes()).unwrap();
        let mut forged = archive.clone();
        forged[at..at + from.len()].copy_from_slice(format!("{command:<0$}", from.len()).as_bytes());
        (forged, proof)
    };
    let (forged, proof) = forge("COMMENT ON TABLE public.t IS 'of table", "ran-by-script");
    world.vault.backup("forged", &forged);
    for more in [&[][..], &["--jobs", "2"]] {
        let args = [&["restore", "forged", "--to-database", "back", "--create"], more].concat();
        world.run(16, 18, &args).expect(exit::REFUSED).says("psql command `\\!`");
        assert!(!proof.exists() && !server.has("back"));
    }
    let (forged, proof) = forge("COMMENT ON DATABASE app IS 'of database", "ran-by-command");
    world.vault.backup("forged", &forged);
    let args = ["restore", "forged", "--to-database", "back", "--create"];
    world.run(16, 18, &args).expect(exit::OK).says("syntax error");
    assert!(!proof.exists());
    assert_eq!(server.psql("back", "SELECT count(*) FROM t"), "0");
}
