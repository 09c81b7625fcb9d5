//! Restores that people fear: over a live database, with what surrounds it; and the proof that is remembered.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code)]
use crate::support::cli::{Output, Running, Vault, exit, run, text};
use crate::support::pg::Server;
use std::process::{Child, Stdio};

const SHOP: &str = "
CREATE TABLE customers (id int PRIMARY KEY, name text);
CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers, what text);
INSERT INTO customers SELECT i, 'customer ' || i FROM generate_series(1, 500) i;
INSERT INTO orders SELECT i, i % 500 + 1, 'order ' || i FROM generate_series(1, 3000) i;
";

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

    fn databases(&self) -> Vec<String> {
        let sql =
            "SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres' ORDER BY 1";
        self.server.psql("postgres", sql).lines().map(str::to_owned).collect()
    }

    /// Somebody who is connected and does not leave.
    fn visitor(&self, database: &str) -> Child {
        let mut psql = self.server.client("psql");
        psql.args(["-X", "-A", "-t", "-d", database, "-c", "SELECT 'here'", "-c", "SELECT pg_sleep(600)"]);
        let mut child = psql.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
        assert!(lines.by_ref().any(|line| line.unwrap() == "here"));
        child
    }

    /// Drops all but the live database.
    fn drop_old(&self) {
        for name in self.databases().iter().filter(|name| *name != "shop") {
            self.server.psql("postgres", &format!("DROP DATABASE \"{name}\""));
        }
    }

    fn config(&self, text: &str) {
        std::fs::write(self.vault.work().join("dumpvault.toml"), text).unwrap();
    }

    /// Everything about a database that no dump of it holds.
    fn settings(&self) -> String {
        self.server.psql(
            "postgres",
            "SELECT datname, datdba::regrole, datacl, encoding, datcollate, datconnlimit, shobj_description(oid, 'pg_database') \
             FROM pg_database WHERE datname = 'shop'; \
             SELECT setrole::regrole, setconfig FROM pg_db_role_setting \
             WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = 'shop') ORDER BY 1",
        )
    }
}

// One server for all: starting one takes longer than everything that is done with it.

#[test]
fn a_live_database_is_replaced_without_fear() {
    let world = World { server: Server::start(), vault: Vault::new() };
    world.server.psql("postgres", "CREATE ROLE clerk LOGIN");
    let create = "CREATE DATABASE shop OWNER clerk ENCODING 'UTF8' LC_COLLATE 'C' TEMPLATE template0";
    world.server.psql("postgres", create);
    world.server.psql("shop", SHOP);
    world.server.psql(
        "postgres",
        "REVOKE ALL ON DATABASE shop FROM PUBLIC; GRANT CONNECT ON DATABASE shop TO keeper; \
         ALTER DATABASE shop SET search_path = audit, public; ALTER DATABASE shop SET work_mem = '7MB'; \
         ALTER ROLE keeper IN DATABASE shop SET statement_timeout = '3s'; COMMENT ON DATABASE shop IS 'it''s live'; \
         ALTER DATABASE shop CONNECTION LIMIT 50",
    );
    world.run(&["backup", "--pg-database", "shop"]).expect(exit::OK);
    what_is_protected_or_elsewhere_is_refused(&world);
    hooks_run_around_a_restore(&world);
    a_swap_keeps_the_old_database_and_all_settings(&world);
    a_swap_works_however_the_server_is_named(&world);
    a_swap_that_cannot_be_done_changes_nothing(&world);
    a_swap_that_fails_at_its_end_is_finished_by_a_command(&world);
    a_swap_waits_for_those_who_are_connected(&world);
    a_verified_snapshot_says_so_and_is_kept(&world);
}

fn what_is_protected_or_elsewhere_is_refused(world: &World) {
    world.config("protect = ['sh*']\n");
    for options in [&["--clean"][..], &["--swap"], &["--table", "orders", "--data-only"]] {
        let args = [&["restore", "shop", "--to-database", "shop", "--yes"], options].concat();
        world.run(&args).expect(exit::REFUSED).says("protected");
    }
    world.run(&["restore", "shop", "--to-database", "fresh", "--create"]).expect(exit::OK);
    world.server.psql("postgres", "DROP DATABASE fresh");
    // One that was lost can be brought back under its name.
    world.server.create("shining");
    world.run(&["restore", "shop", "--to-database", "shining"]).expect(exit::OK);
    world.server.psql("postgres", "DROP DATABASE shining");
    world.config("");
    let args = ["restore", "shop", "--to-database", "other", "--create", "--expect-host", "test1"];
    world.run(&args).expect(exit::REFUSED).says("target host is `localhost`");
    world.run(&[&args[..], &["--dry-run"]].concat()).expect(exit::REFUSED).says("target host is `localhost`");
    let uri = world.server.uri("other");
    let args = ["restore", "shop", "--to-database", &uri, "--create", "--expect-host", "127.0.0.1"];
    world.run(&args).expect(exit::OK);
    world.server.psql("postgres", "DROP DATABASE other");
}

fn hooks_run_around_a_restore(world: &World) {
    let log = world.vault.work().join("log");
    let said = || std::fs::read_to_string(&log).unwrap_or_default();
    let hook = |word: &str| format!("echo {word} $DUMPVAULT_DATABASE $DUMPVAULT_SERIES >> {}", log.display());
    let (before, after, failed) = (hook("before"), hook("after"), hook("failed"));
    let hooks = ["--before", &before, "--after", &after, "--after-failure", &failed];
    let restore = |options: &[&str]| {
        world.run(&[&["restore", "shop", "--to-database", "copy"], options, &hooks].concat())
    };
    restore(&["--create"]).expect(exit::OK);
    assert_eq!(said(), "before copy shop\nafter copy shop\n");
    // Refused before anything is touched: nothing was stopped, so nothing is to be started.
    std::fs::remove_file(&log).unwrap();
    restore(&[]).expect(exit::REFUSED).says("not empty");
    assert_eq!(said(), "");
    restore(&["--table", "orders", "--yes"]).expect(exit::TARGET).says("already exists").says("--clean");
    assert_eq!(said(), "before copy shop\nfailed copy shop\n");
    world.server.psql("postgres", "DROP DATABASE copy");
    // The configuration's, of which the first fails: nothing is restored.
    world.config("[restore]\nbefore = 'echo no way >&2; false'\n");
    let args = ["restore", "shop", "--to-database", "copy", "--create"];
    world.run(&args).expect(exit::REFUSED).says("no way").says("--before");
    assert_eq!(world.databases(), ["shop"]);
    world.config("");
}

fn a_swap_keeps_the_old_database_and_all_settings(world: &World) {
    let before = world.settings();
    let original = world.server.dump_plain("shop");
    for jobs in [&[][..], &["--jobs", "2"]] {
        world.server.psql("shop", "DELETE FROM public.orders WHERE id > 10");
        let swap = [&["restore", "shop", "--to-database", "shop", "--swap"], jobs].concat();
        world.run(&swap).expect(exit::REFUSED).says("--yes");
        let said = world.run(&[&swap[..], &["--yes"]].concat()).expect(exit::OK).text();
        assert!(
            said.contains("2 tables with data") && said.contains("the old database is now `shop_before_"),
            "{said}"
        );
        assert_eq!(world.server.dump_plain("shop"), original);
        assert_eq!(world.settings(), before);
        let databases = world.databases();
        let [_, kept] = databases.as_slice() else { panic!("{databases:?}") };
        assert_eq!(world.server.psql(kept, "SELECT count(*) FROM public.orders"), "10");
        world.server.psql("postgres", &format!("DROP DATABASE {kept}"));
    }
}

fn a_swap_works_however_the_server_is_named(world: &World) {
    let original = world.server.dump_plain("shop");
    let service = world.vault.work().join("services");
    let (host, port) = ("127.0.0.1", world.server.port().to_string());
    // The service, too, names the live database.
    let text = format!("[live]\nhost={host}\nport={port}\nuser=postgres\ndbname=shop\n");
    std::fs::write(&service, text).unwrap();
    let uri = world.server.uri("shop");
    let place = format!("{host}:{port}");
    let in_socket = format!("localhost:{port} (socket {})", world.server.socket_dir().display());
    let ways: [(&[&str], &str); 5] = [
        (&["--to-database", &uri], &place),
        (&["--to-database", "shop", "--pg-host", host, "--pg-port", &port, "--pg-user", "postgres"], &place),
        (&["--to-database", "postgresql:///shop?service=live"], &place),
        // The environment alone decides.
        (&["--to-database", "postgresql:///shop"], &in_socket),
        (&["--to-database", "shop"], &in_socket),
    ];
    for (way, place) in ways {
        world.server.psql("shop", "DELETE FROM public.orders WHERE id > 10");
        let mut command = world.vault.command([&["restore", "shop", "--swap", "--yes"], way].concat());
        world.server.reached_by(&mut command, "postgres").env("PGSERVICEFILE", &service);
        if way.iter().any(|word| word.contains("service=")) {
            // A variable would win over what the service says only where that says nothing.
            command.env_remove("PGHOST").env_remove("PGPORT");
        }
        let said = run(command, b"").expect(exit::OK).text();
        assert!(said.contains(&format!("into `shop` on {place} (PostgreSQL ")), "{way:?}: {said}");
        assert_eq!(world.server.dump_plain("shop"), original, "{way:?}");
        assert_eq!(world.databases().len(), 2, "{way:?}");
        world.drop_old();
    }
}

/// A visitor comes while the dump is restored, and the swap at the end finds the database in use.
fn a_swap_that_fails_at_its_end_is_finished_by_a_command(world: &World) {
    let uri = world.server.uri("shop");
    world.server.psql("postgres", "COMMENT ON DATABASE shop IS NULL");
    let settings = world.settings();
    let visit = format!(
        "{} -X -A -t -d shop -c \"SELECT 'here'\" -c 'SELECT pg_sleep(600)' >visited 2>&1 & \
         until grep -q here visited; do sleep 0.05; done",
        world.server.bin().join("psql").display()
    );
    // The hook comes after the first look, and before the second one: it is the second that finds the visitor.
    let args = ["restore", "shop", "--to-database", &uri, "--swap", "--yes", "--before", &visit];
    world.run(&args).expect(exit::CONFLICT).says("1 of psql as postgres");
    assert_eq!(world.databases(), ["shop"]);
    // Waiting was promised: so it is restored first.
    let patient = [&args[..6], &["--swap-timeout", "1s"]].concat();
    let failed = world.run(&patient).expect(exit::CONFLICT).says("holds the complete dump");
    let databases = world.databases();
    let [_, new] = databases.as_slice() else { panic!("{databases:?}") };
    let server = format!("postgresql://postgres@127.0.0.1:{}", world.server.port());
    let command = format!("dumpvault swap {new} shop --server {server}");
    assert!(failed.stderr.contains(&format!("`{command}`")), "{failed}");

    // The next run names it, and does not drop it without being asked.
    let again = world.run(&[&args[..6], &["--drop-leftovers"]].concat()).expect(exit::CONFLICT);
    assert!(again.stderr.contains(&format!("database `{new}` waits to be swapped")), "{again}");
    assert!(world.server.has(new));

    let words: Vec<&str> = command.split(' ').skip(1).collect();
    world.run(&words).expect(exit::CONFLICT).says("1 of psql as postgres");
    world.run(&[&words[..], &["--terminate-connections"]].concat()).expect(exit::REFUSED).says("--yes");
    let said =
        world.run(&[&words[..], &["--terminate-connections", "--yes"]].concat()).expect(exit::OK).text();
    assert!(said.contains("the old database is now `shop_before_"), "{said}");
    assert_eq!(world.server.psql("shop", "SELECT count(*) FROM public.orders"), "3000");
    assert_eq!(world.settings(), settings, "the mark is gone, and all else as it was");
    world.drop_old();
    world.server.psql("postgres", "CREATE DATABASE twin TEMPLATE shop");
    let would = world.run(&["swap", "twin", "shop", "--dry-run", "--json"]).expect(exit::OK).json();
    assert_eq!((&would["database"], &would["replaced"]), (&"shop".into(), &"twin".into()), "{would}");
    // What is empty or not there takes nobody's place.
    world.server.create("bare");
    world.run(&["swap", "bare", "shop", "--yes"]).expect(exit::USAGE).says("`bare` is empty");
    world.run(&["swap", "none", "shop", "--yes"]).expect(exit::TARGET).says("`none` does not exist");
    world.run(&["swap", "shop", "shop", "--yes"]).expect(exit::USAGE);
    world.drop_old();
}

fn a_swap_waits_for_those_who_are_connected(world: &World) {
    let mut visitor = world.visitor("shop");
    let swap = ["restore", "shop", "--to-database", "shop", "--swap", "--yes", "--swap-timeout", "100s"];
    let mut command = world.vault.command(swap);
    world.server.reached_by(&mut command, "postgres");
    let running = Running::start(command);
    // It has restored everything, and waits.
    world.server.wait_until(
        "postgres",
        "EXISTS (SELECT FROM pg_database WHERE datname LIKE 'shop_new_%' AND shobj_description(oid, 'pg_database') IS NULL) \
         AND NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname LIKE 'shop_new_%')",
    );
    let ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = 'shop'";
    world.server.psql("postgres", ended);
    assert!(!visitor.wait().unwrap().success());
    running.wait().expect(exit::OK);
    assert_eq!(world.databases().len(), 2);
    world.drop_old();
}

fn a_swap_that_cannot_be_done_changes_nothing(world: &World) {
    world.run(&["restore", "shop", "--to-database", "gone", "--swap"]).expect(exit::TARGET);
    // Somebody who is connected is met before anything is restored.
    let mut visitor = world.visitor("shop");
    let swap = ["restore", "shop", "--to-database", "shop", "--swap", "--yes"];
    let refused =
        world.run(&swap).expect(exit::CONFLICT).says("--terminate-connections").says("--swap-timeout");
    assert!(refused.stderr.contains("1 of psql as postgres"), "{refused}");
    assert_eq!(world.databases(), ["shop"], "nothing was made");
    world.run(&[&swap[..], &["--terminate-connections"]].concat()).expect(exit::OK);
    assert!(!visitor.wait().unwrap().success());
    assert_eq!(world.databases().len(), 2);
    assert_eq!(world.server.psql("shop", "SELECT count(*) FROM public.orders"), "3000");
    world.drop_old();

    // A role that may not rename is told at once, too.
    world
        .server
        .psql("postgres", "CREATE ROLE passer LOGIN CREATEDB; GRANT CONNECT ON DATABASE shop TO passer");
    let as_passer = [&swap[..], &["--pg-user", "passer"]].concat();
    world.run(&as_passer).expect(exit::REFUSED).says("must be its owner");
    assert_eq!(world.databases(), ["shop"]);

    // A restore in place that somebody's session is in the way of.
    let mut visitor = world.visitor("shop");
    let clean = ["restore", "shop", "--to-database", "shop", "--clean", "--yes", "--terminate-connections"];
    world.run(&clean).expect(exit::OK);
    assert!(!visitor.wait().unwrap().success());
}

fn a_verified_snapshot_says_so_and_is_kept(world: &World) {
    let verified = |at: usize| world.vault.snapshots()[at]["verified"].is_string();
    assert!(!verified(0));
    world.run(&["verify", "shop", "--sample", "10%"]).expect(exit::OK);
    assert!(!verified(0), "a sample is no proof of the whole");
    world.run(&["verify", "shop", "--sample", "0%"]).expect(exit::USAGE);
    let quiet = world.run(&["--quiet", "verify", "shop", "--sample", "1/2"]).expect(exit::OK);
    assert_eq!(
        (quiet.text().as_str(), quiet.stderr.as_str()),
        ("", ""),
        "nothing is wrong, so nothing is said"
    );
    world.run(&["verify", "shop"]).expect(exit::OK);
    assert!(verified(0));
    let said = world.run(&["snapshots"]).expect(exit::OK).text();
    assert!(said.contains("verified just now"), "{said}");
    let first = text(&world.vault.snapshots()[0], "id");
    for _ in 0..2 {
        world.run(&["backup", "--pg-database", "shop"]).expect(exit::OK);
    }
    let answer = world.run(&["forget", "--keep-last", "1", "--force", "--json"]).expect(exit::OK).json();
    let decided = answer["snapshots"].as_array().unwrap();
    let kept = decided.iter().find(|one| one["id"] == first.as_str()).unwrap();
    assert_eq!(kept["reasons"][0]["rule"], "newest verified", "{answer}");
    assert_eq!(world.vault.snapshots().len(), 2);
    world.run(&["verify", "shop"]).expect(exit::OK);
    world.run(&["forget", "--keep-last", "1", "--force"]).expect(exit::OK);
    assert_eq!(world.vault.snapshots().len(), 1, "a newer one is verified");
    let scratch = "SELECT count(*) FROM pg_database WHERE datname LIKE 'dumpvault_verify%'";
    assert_eq!(world.server.psql("postgres", scratch), "0");
}
