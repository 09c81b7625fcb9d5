//! `restore --set`: a whole system comes back in one command, in the reverse order of its run, and goes on where it was
//! stopped.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support::cli::{Output, Vault, exit, run, text};
use crate::support::pg::Server;
use crate::support::redis::Redis;
use serde_json::Value;
use std::fs;

fn config(vault: &Vault, text: &str) {
    fs::write(vault.work().join("dumpvault.toml"), text).unwrap();
}

fn fields(report: &Value, field: &str) -> Vec<String> {
    report["steps"].as_array().unwrap().iter().map(|step| text(step, field)).collect()
}

fn command(report: &Value, at: usize) -> String {
    let words = report["steps"][at]["command"].as_array().unwrap();
    words.iter().skip(2).map(|word| word.as_str().unwrap()).collect::<Vec<_>>().join(" ")
}

/// Shop: a queue, a database and files.
struct Shop {
    vault: Vault,
    queue: Redis,
    server: Server,
}

impl Shop {
    fn new() -> Self {
        let (vault, queue, server) = (Vault::new(), Redis::start("redis70"), Server::start());
        queue.ask("SET bull:1 job");
        server.create("shop");
        server.psql(
            "shop",
            "CREATE TABLE uploads AS SELECT i AS id, 'file ' || i AS key FROM generate_series(1, 50) i",
        );
        let uploads = vault.home().join("uploads");
        fs::create_dir(&uploads).unwrap();
        (1..=50)
            .for_each(|at| fs::write(uploads.join(format!("file {at}")), format!("contents {at}")).unwrap());
        let text = format!(
            "[system.shop]\nsources = ['queue', 'db', 'uploads']\n[source.queue]\nuri = '{}'\n\
             [source.db]\nuri = '{}'\n[source.uploads]\npaths = ['{}']\n",
            queue.uri(),
            server.uri("shop"),
            uploads.display()
        );
        config(&vault, &text);
        vault.run(["run"]).expect(exit::OK);
        Self { vault, queue, server }
    }

    fn restore(&self, more: &[&str]) -> Output {
        let mut command = self.vault.command([&["restore", "--set", "shop"], more].concat());
        self.server.reached_by(&mut command, "postgres");
        run(command, b"")
    }
}

#[test]
fn given_a_system_of_three_kinds_then_it_comes_back_in_reverse_order_and_goes_on_where_it_stopped() {
    let shop = Shop::new();
    let plan = shop.restore(&["--plan", "--json"]).expect(exit::OK).json();
    assert_eq!(fields(&plan, "source"), ["uploads", "db", "queue"]);
    assert_eq!(command(&plan, 0), "--to-dir /");
    assert_eq!(
        command(&plan, 1),
        format!("--all-databases --server {}", shop.server.uri("").trim_end_matches('/'))
    );
    assert_eq!(command(&plan, 2), format!("--to-redis {}", shop.queue.uri()));
    let told = shop.restore(&[]).expect(exit::OK).text();
    assert!(
        told.contains("1. uploads: dumpvault restore") && told.contains("3. queue: dumpvault restore"),
        "{told}"
    );
    // To another machine. Its queue holds something: everything before that is done.
    let (queue, server) = (Redis::start("redis70"), Server::start());
    queue.ask("SET other key");
    let files = shop.vault.home().join("new");
    let targets = [
        format!("uploads={}", files.display()),
        format!("db={}", server.uri("postgres")),
        format!("queue={}", queue.uri()),
    ];
    let apply = |more: &[&str]| {
        let targets = targets.iter().flat_map(|target| ["--set-target", target]);
        let all: Vec<&str> =
            ["--apply", "--yes"].into_iter().chain(targets).chain(more.iter().copied()).collect();
        shop.restore(&all)
    };
    let refused = apply(&["--json"]).expect(exit::REFUSED).says("is not empty");
    let report = refused.json();
    assert_eq!(fields(&report, "status"), ["restored", "restored", "failed"]);
    assert_eq!(report["ok"], false);
    assert_eq!(queue.ask("GET other"), "key");
    queue.ask("FLUSHALL");
    let report = apply(&["--json"]).expect(exit::OK).json();
    assert_eq!(fields(&report, "status"), ["skipped", "skipped", "restored"]);
    assert_eq!(queue.ask("GET bull:1"), "job");
    assert_eq!(server.psql("shop", "SELECT count(*) FROM uploads"), "50");
    // No row without its file.
    let below = files.join(shop.vault.home().strip_prefix("/").unwrap()).join("uploads");
    for key in server.psql("shop", "SELECT key FROM uploads").lines() {
        assert!(below.join(key).exists(), "{key}");
    }
    let told = apply(&[]).expect(exit::OK).text();
    assert!(told.contains("3/3 queue: done by an earlier try; skipped"), "{told}");
    assert!(told.contains("3 of 3 sources restored"), "{told}");
    // Anew: what is there already stays, and the queue is not overwritten.
    let again = apply(&["--again"]).expect(exit::REFUSED).text();
    assert!(again.contains("`shop`: back already"), "{again}");
    apply(&["--skip", "queue", "--skip", "uploads", "--skip", "nothing"]).expect(exit::USAGE);
    // A server that is not there, and nobody to ask.
    shop.restore(&[
        "--apply",
        "--yes",
        "--skip",
        "uploads",
        "--set-target",
        "db=postgres://postgres@127.0.0.1:1",
    ])
    .expect(exit::TARGET);
    shop.restore(&["--apply", "--set-target", &targets[0], "--skip", "db", "--skip", "queue", "--again"])
        .expect(exit::REFUSED)
        .says("no terminal to confirm");
}

#[test]
fn given_several_runs_then_names_and_ids_mean_the_right_one() {
    let vault = Vault::new();
    let with = |words: &str, more: &str| {
        config(
            &vault,
            &format!(
                "[system.s]\nsources = ['a', 'b']\n[source.a]\ncommand = ['sh', '-c', '{words}']\n{more}\n[source.b]\ncommand = ['echo', 'b']\n"
            ),
        );
    };
    let set = |name: &str| {
        let plan = vault.run(["restore", "--set", name, "--json"]).expect(exit::OK).json();
        text(&plan, "set")
    };
    with("echo one", "");
    vault.run(["restore", "--set", "s"]).expect(exit::USAGE).says("no complete run");
    let one = text(&vault.run(["run", "--json"]).expect(exit::OK).json(), "set");
    with("echo two", "");
    let two = text(&vault.run(["run", "--json"]).expect(exit::OK).json(), "set");
    assert_eq!((set("s"), set("s~1"), set("s~0")), (two.clone(), one.clone(), two.clone()));
    assert_eq!((set(&one), set(&one[..10]), set("s@2099-01-01")), (one.clone(), one.clone(), two.clone()));
    vault.run(["restore", "--set", "s@2001-01-01"]).expect(exit::USAGE);
    vault.run(["restore", "--set", "s~2"]).expect(exit::USAGE);
    vault.run(["restore", "--set", "other"]).expect(exit::USAGE).says("snapshots --sets");
    vault.run(["restore", "--set", "s:a"]).expect(exit::USAGE);
    vault.run(["restore", "s", "--set", "s"]).expect(exit::USAGE);
    vault.run(["restore", "--set", "s", "--set-target", "x=y"]).expect(exit::USAGE).says("it has: a, b");
    // One of the newest is not there.
    with("exit 1", "");
    let three = text(&vault.run(["run", "--json"]).expect(exit::PART_FAILED).json(), "set");
    let told = vault.run(["restore", "--set", "s"]).expect(exit::OK);
    told.says(&format!("run {} is newer and partial", &three[..8]));
    vault.run(["restore", "--set", &three]).expect(exit::OK).says("has no snapshot of `a`");
    // What is not required may be missing.
    with("exit 1", "required = false");
    let four = text(&vault.run(["run", "--json"]).expect(exit::OK).json(), "set");
    assert_eq!(set("s"), four);
    // A stream that only a person knows where to put.
    let apply = ["restore", "--set", &one, "--apply", "--yes"];
    vault.run(apply).expect(exit::USAGE).says("no target is known").says("--set-target b=FILE");
    let targets = ["--set-target", "a=restored-a", "--set-target", "b=restored-b"];
    vault.run([&apply[..], &targets].concat()).expect(exit::OK);
    let read = |name: &str| fs::read_to_string(vault.work().join(name)).unwrap();
    assert_eq!((read("restored-a"), read("restored-b")), ("one\n".to_owned(), "b\n".to_owned()));
}

#[test]
fn given_a_system_then_verify_tries_each_source_and_finds_rows_without_a_file() {
    let shop = Shop::new();
    let path = shop.vault.work().join("dumpvault.toml");
    let written = fs::read_to_string(&path).unwrap();
    let with = |query: &str| {
        let references = format!("[source.db]\nreferences = {{ uploads = \"{query}\" }}\n");
        config(&shop.vault, &written.replace("[source.db]\n", &references));
    };
    let verify = |args: &[&str]| {
        let mut command = shop.vault.command([&["verify"], args].concat());
        shop.server.reached_by(&mut command, "postgres");
        run(command, b"")
    };
    for query in ["SELECT key FROM uploads", "SELECT 'uploads/' || key FROM uploads UNION SELECT NULL"] {
        with(query);
        let told = verify(&["shop"]).expect(exit::OK).text();
        assert!(told.contains("references to `uploads`: 50 keys: good"), "{told}");
        assert!(told.contains("3 of 3 good") || told.contains("3 of 3 sources good"), "{told}");
    }
    let whole = format!("SELECT '{}/uploads/' || key FROM uploads", shop.vault.home().display());
    with(&whole);
    let report = verify(&["--set", "shop", "--json"]).expect(exit::OK).json();
    assert_eq!((text(&report, "system"), report["ok"].as_bool()), ("shop".to_owned(), Some(true)));
    let names: Vec<String> =
        report["sources"].as_array().unwrap().iter().map(|one| text(one, "source")).collect();
    assert_eq!(names, ["queue", "db", "uploads"]);
    assert_eq!(report["sources"][1]["streams"][0]["looked"][0]["ok"], true);
    // A file that is gone, and a row that nobody ever had a file for; quotes and all.
    fs::remove_file(shop.vault.home().join("uploads/file 7")).unwrap();
    shop.server.psql("shop", "INSERT INTO uploads VALUES (51, 'no \"such''\nfile')");
    shop.vault.run(["run"]).expect(exit::OK);
    let dangling = verify(&["shop"]).expect(exit::INTEGRITY);
    dangling.says("references to `uploads`: 51 keys: 2 without a file: ").says("file 7");
    // Of the run before, nothing dangles.
    verify(&["--set", "shop~1"]).expect(exit::OK);
    // What cannot be asked is told, and so is a source that there is not.
    with("SELECT nothing FROM uploads");
    verify(&["--set", "shop~1"]).expect(exit::INTEGRITY).says("nothing");
    with("DELETE FROM uploads RETURNING key");
    verify(&["--set", "shop~1"]).expect(exit::INTEGRITY);
    assert_eq!(shop.server.psql("shop", "SELECT count(*) FROM uploads"), "51");
    config(
        &shop.vault,
        &written.replace("[source.db]\n", "[source.db]\nreferences = { upload = \"SELECT 1\" }\n"),
    );
    verify(&["shop"]).expect(exit::USAGE).says("did you mean `uploads`?");
    config(
        &shop.vault,
        &written.replace("[source.db]\n", "[source.db]\nreferences = { 'ship:uploads' = 'SELECT 1' }\n"),
    );
    verify(&["shop"]).expect(exit::USAGE).says("names none of its databases");
    verify(&["shop:a", "--run", "true"]).expect(exit::USAGE);
}

#[test]
fn given_a_command_then_it_tries_the_scratch_copy_out_and_decides_and_is_told_nothing_else() {
    let shop = Shop::new();
    let verify = |script: &str, more: &[&str]| {
        let mut command = shop.vault.command([&["verify", "db", "--run", script], more].concat());
        shop.server.reached_by(&mut command, "postgres");
        for name in ["AWS_SECRET_ACCESS_KEY", "PGPASSWORD", "MY_TOKEN", "DUMPVAULT_TO_PASSWORD", "SHOWN"] {
            command.env(name, "very secret");
        }
        run(command, b"")
    };
    let bin = shop.server.bin().display();
    let count = format!(
        "test $({bin}/psql -X -A -t -c 'SELECT count(*) FROM uploads' \"$DUMPVAULT_SCRATCH_URL\") = "
    );
    let told = verify(&format!("{count} 50 && env > seen"), &[]).expect(exit::OK).text();
    assert!(told.contains(": good"), "{told}");
    let seen = fs::read_to_string(shop.vault.work().join("seen")).unwrap();
    assert!(seen.contains("DUMPVAULT_SCRATCH_URL=postgresql://dumpvault_verify_role_"), "{seen}");
    assert!(!seen.contains("very secret"), "{seen}");
    assert!(!seen.contains(shop.vault.key_file().to_str().unwrap()), "{seen}");
    assert!(shop.vault.snapshots()[1]["verified"].is_string(), "it counts as verified");
    // Gone with the copy.
    assert_eq!(
        shop.server.psql("postgres", "SELECT count(*) FROM pg_roles WHERE rolname ~ 'dumpvault'"),
        "0"
    );
    config_passes(&shop, "SHOWN");
    verify("env > seen", &[]).expect(exit::OK);
    assert!(fs::read_to_string(shop.vault.work().join("seen")).unwrap().contains("SHOWN=very secret"));
    // Its exit code decides.
    shop.vault.run(["run"]).expect(exit::OK);
    verify(&format!("{count} 49"), &[]).expect(exit::INTEGRITY).says("exit status 1");
    let failed = verify("echo not today >&2; exit 3", &["--json"]).expect(exit::INTEGRITY).json();
    let looked = &failed["streams"][0]["looked"][0];
    assert_eq!(looked["ok"], false);
    assert!(text(looked, "problem").contains("not today"), "{failed}");
    assert_eq!(shop.vault.snapshots()[4]["verified"], Value::Null);
    verify("sleep 600", &["--timeout", "2s"]).expect(exit::INTEGRITY);
    shop.vault.run(["verify", "queue", "--run", "true"]).expect(exit::USAGE).says("no database");
}

fn config_passes(shop: &Shop, name: &str) {
    let text = fs::read_to_string(shop.vault.work().join("dumpvault.toml")).unwrap();
    config(&shop.vault, &format!("pass_env = ['{name}']\n{text}"));
}
