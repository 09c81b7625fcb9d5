//! `dumpvault run` with two sources at a time: what begins when, who waits for whom, and a system that is written to
//! meanwhile.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support::cli::{Lifeline, Output, Running, Vault, exit, run, text};
use crate::support::pg::Server;
use crate::support::redis::Redis;
use rustix::process::Signal;
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A database, behind whose dumps a script runs before they end, and a directory.
struct Pair {
    vault: Vault,
    server: Server,
}

impl Pair {
    fn new() -> Self {
        let (vault, server) = (Vault::new(), Server::start());
        server.create("shop");
        server.psql("shop", "CREATE TABLE t AS SELECT generate_series(1, 1000) AS i");
        let tree = vault.home().join("tree");
        fs::create_dir(&tree).unwrap();
        fs::write(tree.join("file"), "contents").unwrap();
        Self { vault, server }
    }

    /// `behind` runs when all of a dump was written, and before it ends.
    fn config(&self, system: &str, db: &str, files: &str, behind: &str) {
        let script = self.vault.work().join("behind");
        let text = format!(
            "PATH={}:$PATH; export PATH\n\
             case \"$*\" in *--format=custom*) \"$@\" || exit; {behind};; *) exec \"$@\";; esac\n",
            self.server.bin().display()
        );
        fs::write(&script, text).unwrap();
        let text = format!(
            "[system.shop]\nsources = ['db', 'files']\n{system}\n[source.db]\nuri = '{}'\n\
             exec = ['sh', '{}']\n{db}\n[source.files]\npaths = ['{}']\n{files}\n",
            self.server.uri("shop"),
            script.display(),
            self.vault.home().join("tree").display(),
        );
        fs::write(self.vault.work().join("dumpvault.toml"), text).unwrap();
    }

    fn run(&self, args: &[&str]) -> Output {
        self.vault.run([&["run"], args].concat())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.vault.work().join(name)
    }
}

/// Waits for a file, and fails if it does not come: a run that is stuck is told, and not waited for for ever.
fn waits_for(file: &str, tries: u32) -> String {
    format!("i=0; until [ -e {file} ]; do i=$((i+1)); [ $i -lt {tries} ] || exit 7; sleep 0.1; done")
}

/// Waits for a file, and goes on without it.
fn looks_for(file: &str) -> String {
    format!("i=0; while [ ! -e {file} ] && [ $i -lt 20 ]; do i=$((i+1)); sleep 0.1; done")
}

#[test]
fn given_a_dump_of_a_database_then_files_are_read_beside_it_and_stay_behind_it_in_the_order() {
    let pair = Pair::new();
    // The dump ends when the files are stored.
    let after = "after = 'touch files-stored'";
    pair.config("", "", after, &waits_for("files-stored", 600));
    let report = pair.run(&["--json"]).expect(exit::OK).json();
    let names: Vec<String> =
        report["sources"].as_array().unwrap().iter().map(|one| text(one, "name")).collect();
    assert_eq!(names, ["db", "files"], "in the order of the plan, though the files ended first");
    let sets = pair.vault.run(["snapshots", "--sets", "--json"]).expect(exit::OK).json();
    let sources = sets["sets"][0]["snapshots"].as_array().unwrap().iter().map(|one| text(one, "source"));
    assert_eq!(sources.collect::<Vec<_>>(), ["db", "files"]);
    let plan = pair.vault.run(["restore", "--set", "shop", "--plan", "--json"]).expect(exit::OK).json();
    assert_eq!(text(&plan["steps"][0], "source"), "files", "what is referred to comes back first");
    pair.vault.run(["check", "--read-data"]).expect(exit::OK);
}

#[test]
fn given_a_run_that_was_killed_behind_its_last_snapshot_then_it_comes_back_in_the_order_of_moments() {
    let pair = Pair::new();
    let (db, files) = ("after = 'kill -9 $PPID; sleep 5'", "after = 'touch files-stored'");
    pair.config("", db, files, &waits_for("files-stored", 600));
    let killed = pair.run(&[]);
    assert_eq!(killed.code, None, "{killed}");
    let sets = pair.vault.run(["snapshots", "--sets", "--json"]).expect(exit::OK).json();
    assert_eq!(text(&sets["sets"][0], "state"), "unfinished");
    let sources = sets["sets"][0]["snapshots"].as_array().unwrap().iter().map(|one| text(one, "source"));
    assert_eq!(sources.collect::<Vec<_>>(), ["db", "files"], "though the files were stored first");
    let set = text(&sets["sets"][0], "set");
    let plan = pair.vault.run(["restore", "--set", &set, "--plan", "--json"]).expect(exit::OK).json();
    assert_eq!(text(&plan["steps"][0], "source"), "files", "what is referred to comes back first");
}

#[test]
fn given_one_at_a_time_or_another_attempt_or_a_need_then_files_wait_for_the_dump() {
    let pair = Pair::new();
    let db = "after = 'touch db-stored'";
    let files = "before = 'touch files-begun; test -e db-stored'";
    for (system, more_db, more_files) in
        [("parallel = 1", "", ""), ("", "retries = 1", ""), ("", "", "needs = ['db']")]
    {
        let _ = (fs::remove_file(pair.at("db-stored")), fs::remove_file(pair.at("files-begun")));
        let (db, files) = (format!("{db}\n{more_db}"), format!("{files}\n{more_files}"));
        pair.config(system, &db, &files, &looks_for("files-begun"));
        pair.run(&[]).expect(exit::OK);
    }
    pair.config("parallel = 0", "", "", "true");
    pair.run(&[]).expect(exit::USAGE).says("from 1 on");
}

#[test]
fn given_a_source_that_is_read_bit_by_bit_then_the_next_waits_for_its_end() {
    let vault = Vault::new();
    let dump = format!("echo one; {}; touch first-read; echo two", looks_for("next-begun"));
    let text = format!(
        "[system.s]\nsources = ['first', 'next']\n[source.first]\ncommand = ['sh', '-c', '{dump}']\n\
         [source.next]\ncommand = ['echo', 'next']\nbefore = 'touch next-begun; test -e first-read'\n"
    );
    fs::write(vault.work().join("dumpvault.toml"), text).unwrap();
    vault.run(["run"]).expect(exit::OK);
}

#[test]
fn given_a_dump_that_fails_then_the_files_beside_it_are_stored() {
    let pair = Pair::new();
    let fails = format!("{}; exit 9", waits_for("files-stored", 600));
    pair.config("", "", "after = 'touch files-stored'", &fails);
    let report = pair.run(&["--json"]).expect(exit::PART_FAILED).json();
    let statuses: Vec<String> =
        report["sources"].as_array().unwrap().iter().map(|one| text(one, "status")).collect();
    assert_eq!(statuses, ["failed", "complete"]);
    // And the other way round.
    fs::remove_file(pair.at("files-stored")).unwrap();
    let fails = "before = 'exit 9'\nafter_failure = 'touch files-failed'";
    pair.config("", "", fails, &waits_for("files-failed", 600));
    let told = pair.run(&[]).expect(exit::PART_FAILED).text();
    assert!(told.contains("1 of 2 sources stored; no snapshot of files"), "{told}");
}

#[test]
fn given_an_interrupt_then_both_sources_end_and_nothing_is_stored() {
    let pair = Pair::new();
    let (dump, hook) = (Lifeline::new(), Lifeline::new());
    let holds = |lifeline: &Lifeline| format!("exec 9>{}; echo held >&9; sleep 600", lifeline.path());
    let before = format!("before = '{}'", holds(&hook));
    pair.config("", "", &before, &holds(&dump));
    let running = Running::start(pair.vault.command(["run"]));
    // Both at the same time.
    let (dump, hook) = (dump.held(), hook.held());
    running.signal(Signal::INT);
    running.wait().expect(exit::INTERRUPTED);
    dump.let_go();
    hook.let_go();
    assert!(pair.vault.ids().is_empty());
}

/// An application that uploads a file, then inserts a row that names it, then enqueues a job that names the row.
struct Shop {
    vault: Vault,
    queue: Redis,
    server: Server,
}

/// What came back, or is there: of each kind how many, and how many references lead nowhere.
#[derive(Debug)]
struct Found {
    jobs: usize,
    rows: usize,
    files: usize,
    dangling: usize,
}

fn found(queue: &Redis, server: &Server, uploads: &Path) -> Found {
    let jobs = queue.client().list("LRANGE jobs 0 -1");
    let rows = server.psql("shop", "SELECT id || ' ' || file FROM uploads");
    let rows: Vec<(&str, &str)> = rows.lines().filter_map(|row| row.split_once(' ')).collect();
    let ids: HashSet<&str> = rows.iter().map(|(id, _)| *id).collect();
    let files = fs::read_dir(uploads).unwrap().count();
    let lost_rows = jobs.iter().filter(|job| !ids.contains(job.as_str())).count();
    let lost_files = rows.iter().filter(|(_, file)| !uploads.join(file).exists()).count();
    Found { jobs: jobs.len(), rows: rows.len(), files, dangling: lost_rows + lost_files }
}

impl Shop {
    fn new() -> Self {
        let (vault, queue, server) = (Vault::new(), Redis::start("redis70"), Server::start());
        server.create("shop");
        server.psql("shop", "CREATE TABLE uploads (id integer PRIMARY KEY, file text NOT NULL)");
        fs::create_dir(vault.home().join("uploads")).unwrap();
        Self { vault, queue, server }
    }

    /// A run in that order, in which the application goes on all the time: each source waits for some of its rounds
    /// before it begins.
    fn run(&self, order: &str) {
        let rounds = self.vault.work().join("rounds");
        let before = format!(
            "before = 'n=$(cat {0}); i=0; until [ $(cat {0}) -gt $((n+5)) ]; do i=$((i+1)); [ $i -lt 600 ] || exit 7; sleep 0.1; done'",
            rounds.display()
        );
        let text = format!(
            "[system.shop]\nsources = [{order}]\n[source.queue]\nuri = '{}'\n{before}\n\
             [source.db]\nuri = '{}'\n{before}\n[source.uploads]\npaths = ['{}']\n{before}\n",
            self.queue.uri(),
            self.server.uri("shop"),
            self.uploads().display()
        );
        fs::write(self.vault.work().join("dumpvault.toml"), text).unwrap();
        fs::write(&rounds, "0\n").unwrap();
        let (has_ended, round) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut queue = self.queue.client();
                let first: usize = self.server.psql("shop", "SELECT count(*) FROM uploads").parse().unwrap();
                while !has_ended.load(Ordering::SeqCst) {
                    let id = first + round.fetch_add(1, Ordering::SeqCst);
                    fs::write(self.uploads().join(format!("file-{id}")), format!("contents {id}")).unwrap();
                    self.server.psql("shop", &format!("INSERT INTO uploads VALUES ({id}, 'file-{id}')"));
                    queue.ask(&format!("RPUSH jobs {id}"));
                    // Whole, or not at all.
                    let partial = rounds.with_extension("partial");
                    fs::write(&partial, format!("{}\n", round.load(Ordering::SeqCst))).unwrap();
                    fs::rename(&partial, &rounds).unwrap();
                }
            });
            let output = self.vault.run(["run"]);
            has_ended.store(true, Ordering::SeqCst);
            output.expect(exit::OK);
        });
    }

    fn uploads(&self) -> PathBuf {
        self.vault.home().join("uploads")
    }

    /// Brings the newest run back to other servers, and another directory.
    fn restored(&self) -> Found {
        let (queue, server, files) = (Redis::start("redis70"), Server::start(), tempfile::tempdir().unwrap());
        let targets = [
            format!("uploads={}", files.path().display()),
            format!("db={}", server.uri("postgres")),
            format!("queue={}", queue.uri()),
        ];
        let mut args = vec!["restore", "--set", "shop", "--apply", "--yes"];
        args.extend(targets.iter().flat_map(|target| ["--set-target", target]));
        let mut command = self.vault.command(args);
        server.reached_by(&mut command, "postgres");
        run(command, b"").expect(exit::OK);
        let uploads = files.path().join(self.uploads().strip_prefix("/").unwrap());
        found(&queue, &server, &uploads)
    }
}

#[test]
fn given_a_system_that_is_written_to_all_the_time_then_no_reference_of_its_run_leads_nowhere() {
    let shop = Shop::new();
    shop.run("'queue', 'db', 'uploads'");
    let there = found(&shop.queue, &shop.server, &shop.uploads());
    let back = shop.restored();
    assert_eq!(back.dangling, 0, "{back:?}");
    assert!(0 < back.jobs && back.jobs < back.rows && back.rows < back.files, "{back:?}");
    assert!(back.files <= there.files, "{back:?} of {there:?}");
    // In the wrong order there are such references: this test can see them.
    shop.run("'uploads', 'db', 'queue'");
    let back = shop.restored();
    assert!(back.dangling > 0, "{back:?}");
}
