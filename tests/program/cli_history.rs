//! The history against the repository: what is lost is found again, what was forgotten and deleted is said, what was
//! killed has failed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support::cli::{HANGS, Running, Vault, exit, text};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::time::{Duration, Instant};

fn history(vault: &Vault) -> Vec<Value> {
    let history = vault.run(["history", "list", "--json"]).expect(exit::OK).json();
    history["backups"].as_array().unwrap().clone()
}

fn rebuilt(vault: &Vault) -> Value {
    vault.run(["history", "rebuild", "--json"]).expect(exit::OK).json()
}

fn count(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap()
}

#[test]
fn given_a_state_that_is_lost_then_the_history_is_rebuilt_and_every_backup_is_restorable() {
    let vault = Vault::new();
    let ids: Vec<String> = (0..3).map(|day| vault.backup("app", format!("dump {day}").as_bytes())).collect();
    let before = history(&vault);
    vault.forget_state();
    let found = rebuilt(&vault);
    assert_eq!((count(&found, "snapshots"), count(&found, "added")), (3, 3), "{found}");
    assert_eq!(count(&rebuilt(&vault), "added"), 0, "once is enough");
    let after = history(&vault);
    assert_eq!(after.len(), 3);
    for (one, other) in before.iter().zip(&after) {
        for field in ["snapshot", "series", "status", "size", "checksum", "type", "file_name", "path"] {
            assert_eq!(one[field], other[field], "{field}");
        }
    }
    for (day, id) in ids.iter().enumerate() {
        assert_eq!(vault.restore(id).expect(exit::OK).stdout, format!("dump {day}").into_bytes());
    }
}

#[test]
fn given_snapshots_that_are_forgotten_and_pruned_then_the_history_says_so() {
    let vault = Vault::new();
    let ids: Vec<String> = (0..3).map(|day| vault.backup("app", format!("dump {day}").as_bytes())).collect();
    rebuilt(&vault);
    vault.run(["forget", &ids[0], "--force"]).expect(exit::OK);
    let found = rebuilt(&vault);
    assert_eq!((count(&found, "expired"), count(&found, "deleted")), (1, 0), "{found}");
    let status = |vault: &Vault| {
        let record = history(vault).into_iter().find(|record| record["snapshot"] == ids[0]);
        text(&record.unwrap(), "status")
    };
    assert_eq!(status(&vault), "EXPIRED");
    vault.run(["prune"]).expect(exit::OK);
    let found = rebuilt(&vault);
    assert_eq!((count(&found, "expired"), count(&found, "deleted")), (0, 1), "{found}");
    assert_eq!(status(&vault), "DELETED");
    assert_eq!(history(&vault).iter().filter(|record| record["status"] == "COMPLETED").count(), 2);
}

#[test]
fn given_retention_rules_then_the_history_says_when_each_backup_will_go() {
    const HOUR: i64 = 3_600_000;
    let vault = Vault::new();
    let ids: Vec<String> = (0..4).map(|day| vault.backup("app", format!("dump {day}").as_bytes())).collect();
    rebuilt(&vault);
    assert!(history(&vault).iter().all(|record| record["expires"].is_null()), "without rules all stay");
    vault.run(["tag", &ids[0], "--pin"]).expect(exit::OK);
    let rules = "[retention]\nkeep_last = 30\n";
    fs::write(vault.work().join("dumpvault.toml"), rules).unwrap();
    let now = jiff::Timestamp::now().as_millisecond();
    rebuilt(&vault);
    let records = history(&vault);
    let hours = |id: &String| {
        let record = records.iter().find(|record| record["snapshot"] == *id).unwrap();
        let expires: Option<jiff::Timestamp> = record["expires"].as_str().map(|text| text.parse().unwrap());
        expires.map(|at| (at.as_millisecond() - now + HOUR / 2) / HOUR)
    };
    // Backups go on at least an hour apart: the n-th of four makes room for the backup that is the thirtieth after it.
    assert_eq!(ids.iter().map(hours).collect::<Vec<_>>(), [None, Some(28), Some(29), Some(30)]);
}

#[test]
fn given_a_backup_that_is_killed_then_the_scheduler_writes_down_that_it_failed_and_tells() {
    let vault = Vault::new();
    fs::write(
        vault.work().join("dumpvault.toml"),
        "[source.slow]\ncommand = [\"sh\", \"-c\", \"touch started; sleep 1000\"]\n[job.a]\ncommand = \"true\"\ncron = \"@yearly\"\n",
    )
    .unwrap();
    let backup = Running::start(vault.command(["backup", "slow"]));
    let begun = Instant::now();
    while !vault.work().join("started").exists() {
        assert!(begun.elapsed() < HANGS);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(history(&vault)[0]["status"], "IN_PROGRESS");
    backup.signal(Signal::KILL);
    backup.wait();
    let daemon = Running::start(vault.command(["schedule", "daemon"]));
    let db = rusqlite::Connection::open(vault.state().join("dumpvault/schedule.sqlite")).unwrap();
    db.busy_timeout(Duration::from_secs(10)).unwrap();
    let begun = Instant::now();
    loop {
        let ended: Option<i64> = db.query_row("SELECT ended FROM invocation", [], |row| row.get(0)).unwrap();
        if ended.is_some() {
            break;
        }
        assert!(begun.elapsed() < HANGS);
        std::thread::sleep(Duration::from_millis(20));
    }
    daemon.signal(Signal::TERM);
    daemon.wait().expect(exit::OK);
    let record = history(&vault).remove(0);
    assert_eq!(
        (text(&record, "status"), text(&record, "error")),
        ("FAILED".to_owned(), "interrupted: its process is gone".to_owned())
    );
    vault.run(["alert", "list"]).expect(exit::PART_FAILED);
}

#[test]
fn given_the_state_of_the_first_version_then_it_opens_with_all_that_it_holds() {
    let vault = Vault::new();
    let folder = vault.state().join("dumpvault");
    fs::create_dir_all(&folder).unwrap();
    for name in ["schedule.sqlite", "schedule.sqlite-wal", "schedule.sqlite-shm"] {
        let _ = fs::remove_file(folder.join(name));
    }
    let db = rusqlite::Connection::open(folder.join("schedule.sqlite")).unwrap();
    db.execute_batch(include_str!("../support/schedule_v1.sql")).unwrap();
    db.execute_batch(
        "INSERT INTO invocation(id, command, words, started, ended, exit, boot, pid, pid_start) VALUES ('01A', 'backup', 'app', 1, 2, 0, '', 0, 0);
         INSERT INTO record(invocation, number, source, series, host, status, calendar) VALUES ('01A', 0, 'app', 'app', 'h', 'COMPLETED', 'daily');",
    )
    .unwrap();
    drop(db);
    let record = history(&vault).remove(0);
    assert_eq!((text(&record, "id"), text(&record, "type")), ("01A.0".to_owned(), "DAILY".to_owned()));
    vault.run(["schedule", "list"]).expect(exit::OK);
    vault.run(["metrics"]).expect(exit::OK);
}

#[test]
fn given_credentials_of_the_service_manager_then_keys_are_found_by_their_names() {
    let vault = Vault::new();
    let folder = vault.home().join("credentials");
    fs::create_dir(&folder).unwrap();
    fs::copy(vault.key_file(), folder.join("repo.key")).unwrap();
    let mut command = vault.command(["snapshots", "--json"]);
    command.env("CREDENTIALS_DIRECTORY", &folder).env("DUMPVAULT_KEY_FILE", "credential:repo.key");
    crate::support::cli::run(command, b"").expect(exit::OK);
    let mut command = vault.command(["snapshots", "--json"]);
    command.env("DUMPVAULT_KEY_FILE", "credential:repo.key");
    assert_ne!(crate::support::cli::run(command, b"").code, Some(exit::OK));
}

#[test]
fn given_a_textfile_then_it_is_replaced_as_a_whole_and_the_repository_is_not_asked() {
    let vault = Vault::new();
    vault.backup("app", b"a dump");
    rebuilt(&vault);
    fs::rename(vault.repo(), vault.home().join("away")).unwrap();
    let file = vault.home().join("dumpvault.prom");
    fs::write(&file, "old").unwrap();
    vault.run(["metrics", "--textfile", file.to_str().unwrap()]).expect(exit::OK);
    let text = fs::read_to_string(&file).unwrap();
    assert!(
        text.contains("dumpvault_series_newest_snapshot_timestamp_seconds{") && text.ends_with('\n'),
        "{text}"
    );
    let others: Vec<_> =
        fs::read_dir(vault.home()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(others.iter().all(|name| !name.to_string_lossy().contains(".part")), "{others:?}");
    vault
        .run(["metrics", "--textfile", "/no/such/folder/x.prom"])
        .expect_one_of(&[exit::USAGE, exit::NOTHING_DONE]);
}

/// The object of a snapshot.
fn object_of(vault: &Vault, id: &str) -> std::path::PathBuf {
    let mut folders = vec![vault.repo().join("snapshots")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            match entry.is_dir() {
                true => folders.push(entry),
                false if entry.file_name().unwrap().to_string_lossy() == id => return entry,
                false => {}
            }
        }
    }
    panic!("no object of {id}")
}

fn of<'a>(records: &'a [Value], id: &str) -> &'a Value {
    records.iter().find(|record| record["snapshot"] == id).unwrap()
}

#[test]
fn given_a_good_exit_and_no_snapshot_in_the_listing_then_the_backup_has_failed_and_that_is_told() {
    let vault = Vault::new();
    let kept = vault.backup("app", b"one");
    let lost = vault.backup("app", b"two");
    let forgotten = vault.backup("other", b"three");
    vault.run(["forget", &forgotten, "--force", "--even-the-last"]).expect(exit::OK);
    assert_eq!(of(&history(&vault), &lost)["status"], "COMPLETED");
    fs::remove_file(object_of(&vault, &lost)).unwrap();
    rebuilt(&vault);
    let records = history(&vault);
    assert_eq!(of(&records, &kept)["status"], "COMPLETED");
    assert_eq!(of(&records, &forgotten)["status"], "EXPIRED", "somebody let go of it");
    let record = of(&records, &lost);
    assert_eq!(record["status"], "FAILED", "{record}");
    assert!(text(record, "error").contains("not in the repository"), "{record}");
    let told = vault.run(["alert", "list", "--json"]).expect(exit::PART_FAILED).json();
    let alert = told["alerts"].as_array().unwrap().iter().find(|alert| alert["condition"] == "integrity");
    assert!(text(alert.unwrap(), "text").contains(&lost[..8]), "{told}");
    // It stays so, and is told once.
    rebuilt(&vault);
    assert_eq!(of(&history(&vault), &lost)["status"], "FAILED");
}

#[test]
fn given_snapshots_that_rules_or_somebody_let_go_of_then_the_history_says_which() {
    let vault = Vault::new();
    let day = |day: u32| format!("2026-02-{day:02}T03:00:00Z");
    let ids: Vec<String> = (1..=5)
        .map(|n| vault.backup_with("app", format!("dump {n}").as_bytes(), &["--time", &day(n)]))
        .collect();
    vault.run(["forget", "--keep-daily", "2", "--force"]).expect(exit::OK);
    vault.run(["forget", &ids[3], "--force"]).expect(exit::OK);
    let why = |id: &str| of(&history(&vault), id)["removed_by"].clone();
    let check = || {
        for id in &ids[..3] {
            assert_eq!(why(id), "no rule keeps it (daily 2)");
        }
        assert_eq!(why(&ids[3]), "removed by hand");
        assert_eq!(why(&ids[4]), Value::Null);
    };
    check();
    rebuilt(&vault);
    check();
    assert!(vault.run(["history", "list"]).expect(exit::OK).text().contains("no rule keeps it (daily 2)"));
}

#[test]
fn given_a_dump_without_a_row_or_a_table_then_its_record_and_an_alert_say_so_until_there_is_one() {
    let script = |body: &str| {
        format!(
            "--\n-- PostgreSQL database dump\n--\n\n{body}--\n-- PostgreSQL database dump complete\n--\n\n"
        )
        .into_bytes()
    };
    let table = |rows: &str| script(&format!("COPY public.t (id) FROM stdin;\n{rows}\\.\n\n\n"));
    let vault = Vault::new();
    let warnings = || {
        let told = vault.run(["alert", "list", "--json"]).json();
        let alerts = told["alerts"].as_array().unwrap();
        alerts.iter().filter(|alert| alert["condition"] == "warning").count()
    };
    for (dump, is_odd) in [(table("1\n"), false), (table(""), true), (table("1\n2\n"), false)] {
        let id = vault.backup("app", &dump);
        let record = of(&history(&vault), &id).clone();
        assert_eq!(
            (record["status"].as_str(), record["warning"].is_string()),
            (Some("COMPLETED"), is_odd),
            "{record}"
        );
        assert_eq!(warnings(), usize::from(is_odd), "{record}");
    }
    let id = vault.backup("bare", &script("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';\n\n"));
    let record = of(&history(&vault), &id).clone();
    assert_eq!((record["table_count"].as_u64(), warnings()), (Some(0), 1), "no table at all: {record}");
    assert!(
        vault.run(["history", "list"]).expect(exit::OK).text().contains("warning: the dump has no table")
    );
}

#[test]
fn given_snapshots_that_another_host_removed_then_the_history_says_so_once_a_command_sees_the_listing() {
    let vault = Vault::new();
    let ids: Vec<String> = (0..4).map(|day| vault.backup("app", format!("dump {day}").as_bytes())).collect();
    let elsewhere = |words: &[&str]| {
        let mut command = vault.command(words);
        command.env("XDG_STATE_HOME", vault.home().join("elsewhere"));
        crate::support::cli::run(command, b"").expect(exit::OK)
    };
    let status = |id: &str| text(of(&history(&vault), id), "status");
    for (id, command) in [(&ids[0], "status"), (&ids[1], "snapshots")] {
        elsewhere(&["forget", id, "--force"]);
        assert_eq!(status(id), "COMPLETED", "nobody has looked");
        vault.run([command]).expect(exit::OK);
        assert_eq!(status(id), "EXPIRED", "{command}");
    }
    assert_eq!(of(&history(&vault), &ids[0])["removed_by"], "let go of elsewhere, or by hand");
    vault.run(["prune"]).expect(exit::OK);
    vault.run(["status"]).expect(exit::OK);
    assert_eq!((status(&ids[0]), status(&ids[2])), ("DELETED".to_owned(), "COMPLETED".to_owned()));

    // The listing of another repository says nothing of these, and a host without a history gets none.
    let other = Vault::new();
    let repo = other.repo().display().to_string();
    let key = other.key_file().display().to_string();
    vault.run(["--repo", &repo, "--key-file", &key, "snapshots"]).expect(exit::OK);
    assert_eq!(status(&ids[2]), "COMPLETED");
    let mut command = vault.command(["status"]);
    command.env("XDG_STATE_HOME", vault.home().join("fresh"));
    crate::support::cli::run(command, b"").expect(exit::OK);
    assert!(!vault.home().join("fresh/dumpvault/schedule.sqlite").exists());

    // One that is gone and that nobody removed is told.
    fs::remove_file(object_of(&vault, &ids[2])).unwrap();
    vault.run(["snapshots"]);
    assert_eq!((status(&ids[2]), status(&ids[3])), ("FAILED".to_owned(), "COMPLETED".to_owned()));
    vault.run(["alert", "list"]).expect(exit::PART_FAILED);
}
