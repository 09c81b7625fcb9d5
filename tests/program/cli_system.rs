//! `dumpvault run` and `dumpvault status`: all sources of a system as one set, what comes behind them, and how old the
//! newest good snapshots are.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support::cli::{Output, Vault, exit, noise, number, text};
use crate::support::cli::{copy_folder, run};
use serde_json::Value;
use std::fs;

/// Writes the configuration that the vault's commands read.
fn config(vault: &Vault, text: &str) {
    fs::write(vault.work().join("dumpvault.toml"), text).unwrap();
}

/// A source whose program prints `words` and is noted in the file `order`.
fn source(name: &str, words: &str, more: &str) -> String {
    format!("[source.{name}]\ncommand = ['sh', '-c', 'echo {name} >> order; {words}']\n{more}\n")
}

fn order(vault: &Vault) -> Vec<String> {
    let order = fs::read_to_string(vault.work().join("order")).unwrap_or_default();
    order.lines().map(str::to_owned).collect()
}

fn run_json(vault: &Vault, code: i32) -> Value {
    vault.run(["run", "--json"]).expect(code).json()
}

fn statuses(report: &Value) -> Vec<(String, String)> {
    let sources = report["sources"].as_array().unwrap();
    sources.iter().map(|one| (text(one, "name"), text(one, "status"))).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, status)| ((*name).to_owned(), (*status).to_owned())).collect()
}

#[test]
fn given_a_system_then_its_sources_are_read_in_its_order_and_their_snapshots_are_one_set() {
    let vault = Vault::new();
    let all = [
        "[system.shop]\nsources = ['queue', 'db', 'files']\n".to_owned(),
        source("db", "echo rows", ""),
        source("files", "echo contents", ""),
        source("queue", "echo jobs", "tags = ['nightly']"),
        source("other", "echo nobody", ""),
    ];
    config(&vault, &all.concat());
    let report = run_json(&vault, exit::OK);
    assert_eq!(order(&vault), ["queue", "db", "files"]);
    let complete = [("queue", "complete"), ("db", "complete"), ("files", "complete")];
    assert_eq!(statuses(&report), pairs(&complete));
    assert_eq!((text(&report, "system"), report["ok"].as_bool()), ("shop".to_owned(), Some(true)));
    let set = text(&report, "set");
    assert_eq!(set.len(), 32);
    let snapshots = vault.snapshots();
    assert_eq!(snapshots.len(), 3);
    for (one, name) in snapshots.iter().zip(["queue", "db", "files"]) {
        assert_eq!([text(one, "set"), text(one, "system"), text(one, "role")], [&set, "shop", name], "{one}");
    }
    assert!(snapshots[0]["tags"].as_array().unwrap().contains(&"nightly".into()));
    // The next run is another set; a backup alone is of none.
    let next = text(&vault.run(["run", "shop", "--json"]).expect(exit::OK).json(), "set");
    assert_ne!(next, set);
    vault.run(["backup", "db"]).expect(exit::OK);
    assert_eq!(vault.snapshots().last().unwrap()["set"], Value::Null);
    let sets = vault.run(["snapshots", "--sets", "--json"]).expect(exit::OK).json();
    let sets = sets["sets"].as_array().unwrap();
    assert_eq!((sets.len(), text(&sets[0], "set"), text(&sets[1], "set")), (2, set, next));
    assert_eq!(text(&sets[0], "state"), "complete");
    let sources = sets[0]["snapshots"].as_array().unwrap().iter().map(|one| text(one, "source"));
    assert_eq!(sources.collect::<Vec<_>>(), ["queue", "db", "files"]);
    let told = vault.run(["snapshots", "--sets"]).expect(exit::OK).text();
    assert!(told.lines().count() == 3 && told.contains("queue, db, files"), "{told}");
    let told = vault.run(["run"]).expect(exit::OK).text();
    assert!(told.contains("system `shop`: 3 of 3 sources stored"), "{told}");
    vault.run(["check"]).expect(exit::OK);
}

#[test]
fn given_no_system_then_every_source_is_run_and_backed_up() {
    let vault = Vault::new();
    vault.run(["run"]).expect(exit::USAGE).says("no sources are configured");
    config(&vault, &[source("b", "echo b", ""), source("a", "echo a", "")].concat());
    assert_eq!(run_json(&vault, exit::OK)["system"], Value::Null);
    assert_eq!(order(&vault), ["a", "b"]);
    vault.run(["backup"]).expect(exit::OK);
    assert_eq!(order(&vault), ["a", "b", "a", "b"]);
    vault.run(["run", "shop"]).expect(exit::USAGE).says("unknown system `shop`").says("[system.shop]");
    let two = "[system.one]\nsources = ['a']\n[system.two]\nsources = ['b']\n";
    config(&vault, &[two.to_owned(), source("b", "echo b", ""), source("a", "echo a", "")].concat());
    vault.run(["run"]).expect(exit::USAGE).says("several systems").says("one, two");
    vault.run(["run", "tow"]).expect(exit::USAGE).says("did you mean `two`?");
}

#[test]
fn given_a_source_that_fails_then_the_others_are_stored_and_the_exit_code_says_how_bad_it_is() {
    let vault = Vault::new();
    let with = |db: &str, required: &str| {
        let all = [
            "[system.shop]\nsources = ['queue', 'db', 'files', 'logs']\n".to_owned(),
            source("queue", "echo jobs", ""),
            source("db", db, required),
            source("files", "echo contents", "needs = ['db']"),
            source("logs", "echo lines", ""),
        ];
        config(&vault, &all.concat());
    };
    with("echo half; exit 3", "");
    let report = run_json(&vault, exit::PART_FAILED);
    let expected = [("queue", "complete"), ("db", "failed"), ("files", "skipped"), ("logs", "complete")];
    assert_eq!(statuses(&report), pairs(&expected));
    assert_eq!(order(&vault), ["queue", "db", "logs"], "what needs it is not read");
    assert!(text(&report["sources"][1], "error").contains("exit status"), "{report}");
    let told = vault.run(["run"]).expect(exit::PART_FAILED);
    let told = told.says("db: ").says("files: skipped").text();
    assert!(told.contains("2 of 4 sources stored; no snapshot of db, files"), "{told}");
    let sets = vault.run(["snapshots", "--sets", "--json"]).expect(exit::OK).json();
    let set = &sets["sets"][0];
    assert_eq!((text(set, "state"), set["missing"].as_array().unwrap().len()), ("partial".to_owned(), 2));
    assert_eq!(text(&set["missing"][0], "source"), "db");
    // A cache may fail.
    with("exit 3", "required = false");
    let all = fs::read_to_string(vault.work().join("dumpvault.toml")).unwrap();
    config(&vault, &all.replace("needs = ['db']", ""));
    let report = run_json(&vault, exit::OK);
    assert_eq!(
        (report["ok"].as_bool(), text(&report["sources"][1], "status")),
        (Some(true), "failed".to_owned())
    );
    vault.run(["run"]).expect(exit::OK).says("not required");
    // Nothing at all.
    config(&vault, &[source("a", "exit 1", ""), source("b", "exit 1", "")].concat());
    let before = vault.ids();
    run_json(&vault, exit::NOTHING_DONE);
    assert_eq!(vault.ids(), before);
}

#[test]
fn given_a_wrong_configuration_then_nothing_starts() {
    let vault = Vault::new();
    let good = source("a", "echo a", "");
    for (wrong, says) in [
        ("[system.s]\nsources = ['a', 'bb']\n", "there is no `[source.bb]`"),
        ("[system.s]\nsources = []\n", "a system has sources"),
        ("[system.s]\nsources = ['a']\ncopy = ['offsite']\n", "there is no `[copy.offsite]`"),
        ("[system.s]\nsources = ['a']\nforget = true\n", "no rule says what is kept"),
        ("[system.s]\nsources = ['a']\ncheck = 0\n", "fraction"),
        (
            "[system.s]\nsources = ['a', 'c']\n[source.c]\ncommand = ['echo', 'c']\nneeds = ['x']\n",
            "needs `x`",
        ),
        (
            "[system.s]\nsources = ['a', 'c']\n[source.c]\ncommand = ['echo', 'c']\nseries = 'a'\n",
            "one series",
        ),
        (
            "[system.s]\nsources = ['a', 'c']\n[source.c]\ncommand = ['echo', 'c']\nrun_as = 'no-such-user'\n",
            "no-such-user",
        ),
    ] {
        config(&vault, &[wrong, &good].concat());
        vault.run(["run", "s"]).expect(exit::USAGE).says(says);
        assert_eq!(order(&vault), [""; 0], "{wrong}");
    }
    assert_eq!(vault.ids(), [""; 0]);
}

#[test]
fn given_retries_and_hooks_then_they_run_around_the_source() {
    let vault = Vault::new();
    // It works the third time.
    let flaky = "echo x >> tries; test $(wc -l < tries) -ge 3 && echo data";
    let hooks = "before = 'echo before $DUMPVAULT_SYSTEM/$DUMPVAULT_SOURCE >> order'\n\
                 after = 'echo after >> order'\nafter_failure = 'echo failed $DUMPVAULT_FAILED >> order'\n";
    let with = |retries: u32, more: &str| {
        let source = source("a", flaky, &format!("retries = {retries}\n{hooks}{more}"));
        config(&vault, &["[system.s]\nsources = ['a']\n", &source].concat());
    };
    with(1, "");
    let report = run_json(&vault, exit::NOTHING_DONE);
    assert_eq!(number(&report["sources"][0], "attempts"), 2);
    assert_eq!(order(&vault), ["before s/a", "a", "a", "failed a"]);
    fs::remove_file(vault.work().join("order")).unwrap();
    fs::remove_file(vault.work().join("tries")).unwrap();
    with(5, "");
    let report = run_json(&vault, exit::OK);
    assert_eq!(number(&report["sources"][0], "attempts"), 3);
    assert_eq!(order(&vault), ["before s/a", "a", "a", "a", "after"]);
    // A command that says no before keeps the source unread; one behind it is a failure of a part.
    let say_no = source("a", "echo a", "before = 'exit 9'");
    config(&vault, &say_no);
    fs::remove_file(vault.work().join("order")).unwrap();
    let report = run_json(&vault, exit::NOTHING_DONE);
    assert!(text(&report["sources"][0], "error").contains("`before` of source `a`"), "{report}");
    assert_eq!(order(&vault), [""; 0]);
    config(&vault, &source("a", "echo a", "after = 'exit 9'"));
    let report = run_json(&vault, exit::PART_FAILED);
    assert_eq!(text(&report["sources"][0], "status"), "complete");
}

#[test]
fn given_steps_behind_the_backups_then_they_are_done_when_due_and_a_failed_copy_is_told() {
    let vault = Vault::new();
    let offsite = vault.home().join("offsite");
    let system = |more: &str| {
        let all = [
            format!("[system.s]\nsources = ['a', 'b']\n{more}\n[retention]\nkeep_last = 2\n"),
            format!("[copy.offsite]\nrepository = '{}'\n", offsite.display()),
            source("a", "date +%s%N", ""),
            source("b", "exit $(cat b-fails 2>/dev/null || echo 0); ", "allow_empty = true"),
        ];
        config(&vault, &all.concat());
    };
    system("forget = true\nprune = '7d'\ncheck = '1/2'\ncopy = ['offsite']");
    let steps = |report: &Value| -> Vec<(String, bool)> {
        let steps = report["steps"].as_array().unwrap();
        steps.iter().map(|one| (text(one, "step"), one["ok"].as_bool().unwrap())).collect()
    };
    let named = |steps: &[(&str, bool)]| -> Vec<(String, bool)> {
        steps.iter().map(|(step, ok)| ((*step).to_owned(), *ok)).collect()
    };
    // No repository there: all else is done, and it is told.
    let report = run_json(&vault, exit::PART_FAILED);
    assert_eq!(steps(&report), named(&[("forget", true), ("prune", true), ("check", true), ("copy", false)]));
    assert_eq!(report["ok"], false);
    vault.run(["copy", "--to", "offsite", "--init"]).expect(exit::OK);
    // A prune was a moment ago.
    let report = run_json(&vault, exit::OK);
    assert_eq!(steps(&report), named(&[("forget", true), ("check", true), ("copy", true)]));
    assert_eq!(text(&report["steps"][2], "to"), "offsite");
    // A source that fails loses none of its snapshots to the rules.
    fs::write(vault.work().join("b-fails"), "1").unwrap();
    for _ in 0..3 {
        let told = vault.run(["run"]).expect(exit::PART_FAILED).text();
        assert!(told.contains("forget: "), "{told}");
    }
    let of = |series: &str| vault.snapshots().iter().filter(|one| text(one, "series") == series).count();
    assert_eq!(of("b"), 2);
    // Damage is worse than a source that fails.
    let pack = vault.objects_in("packs").pop().unwrap();
    let path = vault.repo().join(&pack);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    system("check = 1");
    let report = run_json(&vault, exit::INTEGRITY);
    assert_eq!(steps(&report), named(&[("check", false)]));
}

#[test]
fn given_an_append_key_then_maintenance_has_a_key_of_its_own_or_nothing_starts() {
    let vault = Vault::new();
    let append = vault.home().join("append.key");
    let add = [
        "key",
        "add",
        "--append",
        "--host",
        "*",
        "--name",
        "web",
        "--new-key-file",
        append.to_str().unwrap(),
    ];
    vault.run(add).expect(exit::OK);
    let with = |more: &str| {
        let system =
            "[system.s]\nsources = ['a']\ncheck = '1/2'\nforget = true\n[retention]\nkeep_last = 1\n";
        config(&vault, &[more, system, &source("a", "echo a", "")].concat());
    };
    let run_as_append = || -> Output {
        let mut command = vault.command(["run", "--json"]);
        command.env("DUMPVAULT_KEY_FILE", &append);
        run(command, b"")
    };
    with("");
    run_as_append().expect(exit::USAGE).says("maintenance_key_file");
    assert_eq!(order(&vault), [""; 0], "before anything started");
    with(&format!("maintenance_key_file = '{}'\n", append.display()));
    run_as_append().expect(exit::USAGE).says("append key");
    with(&format!("maintenance_key_file = '{}'\n", vault.key_file().display()));
    for _ in 0..2 {
        run_as_append().expect(exit::OK);
    }
    // Its heads can be read by whoever watches with an append key.
    let mut watch = vault.command(["status", "--max-age", "1h", "--json"]);
    watch.env("DUMPVAULT_KEY_FILE", &append);
    let status = run(watch, b"").expect(exit::OK).json();
    assert_eq!(text(&status["series"][0], "series"), "a");
}

#[test]
fn given_a_run_that_is_killed_then_what_was_stored_is_whole_and_no_mark_says_that_it_ended() {
    let vault = Vault::new();
    let all = [
        "[system.s]\nsources = ['a', 'b']\n".to_owned(),
        source("a", "echo a", ""),
        source("b", "kill -9 $PPID; sleep 5", ""),
    ];
    config(&vault, &all.concat());
    let marks = vault.objects_in("marks").len();
    let killed = vault.run(["run"]);
    assert_eq!(killed.code, None, "{killed}");
    assert_eq!(vault.objects_in("marks").len(), marks + 1, "the snapshot's own");
    assert_eq!(vault.snapshots().len(), 1);
    let sets = vault.run(["snapshots", "--sets", "--json"]).expect(exit::OK).json();
    assert_eq!(text(&sets["sets"][0], "state"), "unfinished");
    assert_eq!(vault.restore("a").expect(exit::OK).text(), "a\n");
    vault.run(["check"]).expect(exit::OK);
    config(&vault, &all.concat().replace("kill -9 $PPID; sleep 5", "echo b"));
    vault.run(["run"]).expect(exit::OK);
    assert_eq!(
        vault.objects_in("marks").len(),
        marks + 5,
        "two snapshots, a check, and one that the run ended"
    );
}

#[test]
fn given_a_run_under_way_then_another_of_the_same_system_ends_with_a_conflict() {
    let vault = Vault::new();
    let both = "[system.s]\nsources = ['a']\n[system.t]\nsources = ['b']\n";
    // The source of one runs the other while it is read.
    let dumpvault = env!("CARGO_BIN_EXE_dumpvault");
    let around = [
        format!("DUMPVAULT_REPOSITORY={}", vault.repo().display()),
        format!("DUMPVAULT_KEY_FILE={}", vault.key_file().display()),
        format!("HOME={}", vault.home().display()),
        format!("XDG_STATE_HOME={}", vault.state().display()),
        format!("XDG_CACHE_HOME={}", vault.cache().display()),
    ];
    let around = around.join(" ");
    let within = |system: &str| {
        format!("env {around} {dumpvault} run {system} --quiet 2> said; echo $? > code; echo a")
    };
    let with = |system: &str| {
        let all = [both.to_owned(), source("a", &within(system), ""), source("b", "echo b", "")];
        config(&vault, &all.concat());
        vault.run(["run", "s"]).expect(exit::OK);
        let read = |name: &str| fs::read_to_string(vault.work().join(name)).unwrap();
        (read("code").trim().to_owned(), read("said"))
    };
    let (code, said) = with("s");
    assert_eq!(code, exit::CONFLICT.to_string(), "{said}");
    assert!(said.contains("another run of system `s` is under way"), "{said}");
    let (code, said) = with("t");
    assert_eq!(code, "0", "another system: {said}");
}

#[test]
fn given_a_dry_run_then_it_tells_the_order_and_starts_nothing() {
    let vault = Vault::new();
    let all = [
        "[system.s]\nsources = ['b', 'a']\nforget = true\nprune = '7d'\n[retention]\nkeep_last = 2\n"
            .to_owned(),
        source("a", "echo a", "needs = ['b']\nretries = 2\nbefore = 'echo before >> order'"),
        source("b", "echo b", "required = false"),
    ];
    config(&vault, &all.concat());
    let plan = vault.run(["run", "--dry-run", "--json"]).expect(exit::OK).json();
    let names = plan["sources"].as_array().unwrap().iter().map(|one| text(one, "name"));
    assert_eq!(names.collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!(number(&plan["sources"][1], "attempts"), 3);
    let steps = plan["steps"].as_array().unwrap().iter().map(|one| text(one, "step"));
    assert_eq!(steps.collect::<Vec<_>>(), ["forget", "prune"]);
    let told = vault.run(["run", "-n"]).expect(exit::OK).text();
    for words in [
        "1. back up `b`",
        "not required",
        "2. back up `a`",
        "needs b; up to 3 attempts; before: echo",
        "3. forget",
        "4. prune",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert_eq!((order(&vault), vault.ids()), (vec![], vec![]));
    config(&vault, &all.concat().replace("needs = ['b']", "needs = ['x']"));
    vault.run(["run", "--dry-run"]).expect(exit::USAGE).says("needs `x`");
}

#[test]
fn given_series_of_any_age_then_status_tells_which_are_too_old() {
    let vault = Vault::new();
    let says = |args: &[&str], code: i32, words: &str| {
        let told = vault.run(args).expect(code).text();
        assert!(told.contains(words), "{args:?}: {told}");
    };
    says(&["status"], exit::PART_FAILED, "no snapshots");
    says(&["status", "--nagios"], 2, "DUMPVAULT CRITICAL - no snapshots");
    vault.backup_with("app", &noise(1, 50_000), &["--host", "db1"]);
    vault.backup_with("web", &noise(2, 50_000), &["--host", "db2"]);
    for args in [&["status"][..], &["status", "--max-age", "1h"]] {
        vault.run(args).expect(exit::OK);
    }
    says(&["status", "--nagios", "--max-age", "1h"], 0, "DUMPVAULT OK - 2 series");
    // An import is old, and is not the newest of anything.
    vault.backup_with("old", &noise(3, 50_000), &["--host", "db1", "--time", "2026-01-01T00:00"]);
    let status = vault.run(["status", "--json"]).expect(exit::PART_FAILED).json();
    let series = status["series"].as_array().unwrap();
    let names: Vec<String> = series.iter().map(|one| text(one, "series")).collect();
    assert_eq!((names, &series[1]["good"]), (vec!["app".into(), "old".into(), "web".into()], &Value::Null));
    vault.run(["status", "--series", "db1/app", "--max-age", "1h"]).expect(exit::OK);
    vault.run(["status", "--max-age", "1 week"]).expect(exit::USAGE);
    // A suspect one is newer, and not good.
    vault
        .run_with(["backup", "--stdin", "--series", "app", "--host", "db1"], &noise(1, 100))
        .expect(exit::PART_FAILED);
    says(&["status", "--series", "app"], exit::OK, "newest is suspect");
    // A source that never ran.
    config(&vault, &source("never", "echo never", ""));
    says(&["status", "--max-age", "1h"], exit::PART_FAILED, "no good snapshot");
    says(&["status", "--nagios", "--series", "never"], 2, "never (no good snapshot)");
    // It cannot be told.
    let copy = vault.home().join("copy");
    copy_folder(&vault.repo(), &copy);
    let nobody = ["--repo", "/nonexistent", "status"];
    vault.run(nobody).expect(2);
    says(&[&nobody[..], &["--nagios"]].concat(), 3, "DUMPVAULT UNKNOWN");
}

#[test]
fn given_rules_of_a_system_then_a_run_that_is_kept_keeps_what_it_holds() {
    let vault = Vault::new();
    let all = |rules: &str| {
        let all = [
            format!("[system.s]\nsources = ['a', 'b']\n{rules}\n"),
            source("a", "date +%s%N", ""),
            source("b", "date +%s%N", ""),
        ];
        config(&vault, &all.concat());
    };
    all("");
    for _ in 0..4 {
        vault.run(["run"]).expect(exit::OK);
        vault.run(["backup", "a"]).expect(exit::OK);
    }
    let count = |series: &str, in_set: bool| {
        let all = vault.snapshots();
        let of = all.iter().filter(|one| text(one, "series") == series && one["set"].is_string() == in_set);
        of.count()
    };
    assert_eq!((count("a", true), count("a", false), count("b", true)), (4, 4, 4));
    // The runs' rules alone: what no run holds is left alone.
    all("[system.s.retention]\nkeep_last = 3\n");
    vault.run(["forget", "--force"]).expect(exit::OK);
    assert_eq!((count("a", true), count("a", false), count("b", true)), (3, 4, 3));
    // With rules of the series: the newest by those, and what the runs hold.
    all("[system.s.retention]\nkeep_last = 2\n[retention]\nkeep_last = 1\n");
    vault.run(["forget", "--force"]).expect(exit::OK);
    assert_eq!((count("a", true), count("a", false), count("b", true)), (2, 1, 2));
    let sets = vault.run(["snapshots", "--sets", "--json"]).expect(exit::OK).json();
    assert_eq!(sets["sets"].as_array().unwrap().len(), 2);
    // Deciding again on what was kept keeps all of it.
    vault.run(["forget", "--force"]).expect(exit::OK);
    assert_eq!(vault.ids().len(), 5);
}

#[test]
fn given_a_run_then_its_snapshots_are_copied_together_and_no_others() {
    let vault = Vault::new();
    let all = [
        "[system.s]\nsources = ['a', 'b']\n".to_owned(),
        format!("[copy.offsite]\nrepository = '{}'\n", vault.home().join("offsite").display()),
        source("a", "date +%s%N", ""),
        source("b", "date +%s%N", ""),
    ];
    config(&vault, &all.concat());
    run_json(&vault, exit::OK);
    run_json(&vault, exit::OK);
    let copied = |more: &[&str]| {
        let report = vault.run([&["copy", "--json"], more].concat()).expect(exit::OK).json();
        report["results"][0]["snapshots"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|one| one["state"] == "copied")
            .count()
    };
    assert_eq!(copied(&["--set", "s~1", "--init"]), 2);
    assert_eq!(copied(&["--set", "s~1"]), 0);
    assert_eq!(copied(&[]), 2);
    vault.run(["copy", "--set", "other"]).expect(exit::USAGE);
    vault.run(["copy", "--set", "s:a"]).expect(exit::USAGE);
    vault.run(["copy", "--set", "s", "--series", "a"]).expect(exit::USAGE);
}
