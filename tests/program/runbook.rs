//! The runbook in `docs/operations.md`, run as it stands there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code)]
use crate::support::cli::{Vault, exit, run};
use crate::support::pg::Server;
use crate::support::redis::Redis;
use crate::support::tree::seen;
use std::path::Path;

const SHOP: &str = "
CREATE TABLE customers (id int PRIMARY KEY, name text);
CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers, what text);
INSERT INTO customers SELECT i, md5(i::text) FROM generate_series(1, 20000) i;
INSERT INTO orders SELECT i, i % 2000 + 1, 'order ' || i FROM generate_series(1, 9000) i;
ALTER TABLE orders OWNER TO clerk;
";

struct World {
    server: Server,
    vault: Vault,
}

impl World {
    /// A command of the program, with the server in its environment.
    fn dumpvault(&self, args: &[&str]) {
        let mut command = self.vault.command(args);
        self.server.reached_by(&mut command, "postgres");
        run(command, b"").expect(exit::OK);
    }

    /// The commands under a heading of the page, by a shell that stops at the first that fails.
    fn follow(&self, heading: &str, cache: &Path) -> String {
        self.follow_with(heading, cache, &[])
    }

    fn follow_with(&self, heading: &str, cache: &Path, variables: &[(&str, &str)]) -> String {
        let page =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md")).unwrap();
        let (_, section) = page.split_once(&format!("### {heading}\n")).expect("the heading");
        let (_, block) = section.split_once("```sh\n").expect("a block of commands");
        let (commands, _) = block.split_once("```").unwrap();
        let mut shell = self.vault.shell(&format!("set -e\n{commands}"));
        let program = Path::new(env!("CARGO_BIN_EXE_dumpvault")).parent().unwrap();
        self.server.reached_by(&mut shell, "postgres");
        shell
            .env("PATH", format!("{}:{}:/usr/bin:/bin", program.display(), self.server.bin().display()))
            .env("XDG_CACHE_HOME", cache)
            .envs(variables.iter().copied());
        run(shell, b"").expect(exit::OK).text()
    }
}

#[test]
fn every_disaster_of_the_page_is_mended_by_its_commands() {
    let mut world = World { server: Server::start(), vault: Vault::new() };
    let cache = tempfile::tempdir().unwrap();
    world.server.psql("postgres", "CREATE ROLE clerk LOGIN");
    for database in ["app", "shop"] {
        world.server.create(database);
        world.server.psql(database, SHOP);
    }
    let original = world.server.dump_plain("app");
    world.dumpvault(&["backup", "--pg-database", "app"]);
    world.dumpvault(&["backup", "--pg-all", "--pg-globals", "--series", "server"]);

    world.server.psql("postgres", "DROP DATABASE app");
    world.follow("The database is lost", cache.path());
    assert_eq!(world.server.dump_plain("app"), original);

    world.server.psql("app", "DROP TABLE orders");
    world.dumpvault(&["backup", "--pg-database", "app"]);
    let said = world.follow("A table was deleted, or emptied", cache.path());
    assert!(said.contains("orders"), "{said}");
    assert_eq!(world.server.dump_plain("app"), original);

    // Another machine: no role, no database, no index.
    world.server = Server::start();
    let cache = tempfile::tempdir().unwrap();
    world.follow("The server is lost", cache.path());
    assert_eq!(world.server.dump_plain("app"), original);
    assert_eq!(
        world.server.psql(
            "shop",
            "SELECT count(*), min(tableowner) FROM orders, pg_tables WHERE tablename = 'orders'"
        ),
        "9000|clerk"
    );

    // A bit rots in the largest pack.
    let packs = world.vault.objects().into_iter().filter(|key| key.starts_with("packs/"));
    let pack = packs.map(|key| world.vault.repo().join(key));
    let pack = pack.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&pack).unwrap();
    let middle = bytes.len() / 3;
    bytes[middle] ^= 1;
    std::fs::write(&pack, bytes).unwrap();
    let said = world.follow("The repository is damaged", cache.path());
    for words in ["damaged, as listed", ", in public.", "the damage was met", "`app` verified"] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn a_lost_queue_lost_files_and_a_lost_system_come_back_by_the_commands_of_the_page() {
    let mut world = World { server: Server::start(), vault: Vault::new() };
    let mut queue = Redis::start("redis70");
    queue.fill();
    world.server.create("shop");
    world.server.psql("postgres", "CREATE ROLE clerk");
    world.server.psql("shop", SHOP);
    let uploads = world.vault.home().join("uploads");
    std::fs::create_dir(&uploads).unwrap();
    let put = || {
        (1..=20).for_each(|at| std::fs::write(uploads.join(format!("order {at}")), vec![at; 5000]).unwrap())
    };
    put();
    let config = |world: &World, queue: &Redis| {
        let text = format!(
            "[system.shop]\nsources = ['queue', 'db', 'uploads']\n[source.queue]\nuri = '{}'\n[source.db]\nuri = '{}'\nglobals = true\n\
             all_databases = true\nreferences = {{ 'shop:uploads' = 'SELECT what FROM orders WHERE id <= 20' }}\n[source.uploads]\npaths = ['{}']\n",
            queue.uri(),
            world.server.uri("postgres"),
            uploads.display()
        );
        std::fs::write(world.vault.work().join("dumpvault.toml"), text).unwrap();
    };
    config(&world, &queue);
    world.dumpvault(&["run"]);
    let (jobs, files, rows) = (queue.contents(), seen(&uploads), world.server.dump_plain("shop"));
    let cache = tempfile::tempdir().unwrap();

    queue = Redis::start("redis70");
    world.follow_with("The Redis server is lost", cache.path(), &[("NEW_QUEUE", &queue.uri())]);
    assert_eq!(queue.contents(), jobs);

    std::fs::remove_dir_all(&uploads).unwrap();
    world.follow("Files are lost", cache.path());
    assert_eq!(seen(&uploads), files);

    // Another machine.
    std::fs::remove_dir_all(&uploads).unwrap();
    (queue, world.server) = (Redis::start("redis70"), Server::start());
    config(&world, &queue);
    let cache = tempfile::tempdir().unwrap();
    let said = world.follow("The whole system is lost", cache.path());
    for words in
        ["1. uploads: dumpvault restore", "3 of 3 sources restored", "references to `uploads`: 20 keys: good"]
    {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!((queue.contents(), world.server.dump_plain("shop")), (jobs, rows));
    assert_eq!(seen(&uploads), files);
}
