//! Reports that no other test has a reason to print, each held against its schema, and a count of those that nothing
//! holds.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support::cli::{HANGS, Running, Vault, exit, text};
use crate::support::reports::folder;
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Every run with `--json` is held to the schema of its command.
fn report(vault: &Vault, args: &[&str], stdin: &str) -> Value {
    let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
    vault.run_with(args, stdin.as_bytes()).expect(exit::OK).json()
}

#[test]
fn given_keys_then_each_change_of_them_is_reported() {
    let vault = Vault::new();
    let at = |name: &str| vault.home().join(name).to_str().unwrap().to_owned();
    let added = ["key", "add", "--append", "--label", "web", "--host", "web", "--new-key-file", &at("web")];
    vault.run(added).expect(exit::OK);
    let granted = report(&vault, &["key", "grant", "web", "--host", "db"], "");
    assert_eq!(granted["author"]["hosts"], serde_json::json!(["db", "web"]));
    let exported = report(&vault, &["key", "export", &at("kept")], "");
    let imported = report(&vault, &["key", "import", &at("kept")], "");
    assert_eq!(exported["id"], imported["id"]);
    let changed = report(&vault, &["key", "passwd", "--new-key-file", &at("new")], "");
    assert_ne!(changed["id"], exported["id"]);
}

#[test]
fn given_a_repository_that_is_well_then_repairs_of_marks_and_times_report_nothing_to_do() {
    let vault = Vault::new();
    vault.backup("app", b"a dump");
    assert_eq!(report(&vault, &["repair", "marks"], "")["given_up"], serde_json::json!([]));
    assert_eq!(report(&vault, &["repair", "times", "--dry-run"], "")["confirmed"], serde_json::json!([]));
    assert_eq!(report(&vault, &["repair", "times"], "")["dry_run"], false);
}

#[test]
fn given_users_and_tokens_then_each_change_of_them_is_reported() {
    let vault = Vault::new();
    let password = "correct horse battery\n";
    report(&vault, &["user", "add", "mara", "--stdin"], password);
    report(&vault, &["user", "passwd", "mara", "--stdin"], "another horse battery\n");
    let made = report(&vault, &["token", "add", "grafana", "--user", "mara"], "");
    let tokens = report(&vault, &["token", "list"], "");
    let id = text(&tokens["tokens"][0], "id");
    assert!(made["token"].is_string(), "{made}");
    report(&vault, &["token", "remove", &id], "");
    assert_eq!(report(&vault, &["user", "list"], "")["users"].as_array().unwrap().len(), 1);
    report(&vault, &["user", "remove", "mara"], "");
    let log = report(&vault, &["audit", "export"], "");
    assert!(log["entries"].is_array(), "{log}");
}

#[test]
fn given_a_source_then_its_first_schedule_is_reported() {
    let vault = Vault::new();
    fs::write(vault.work().join("dumpvault.toml"), "[source.app]\ncommand = [\"true\"]\n").unwrap();
    report(&vault, &["schedule", "init"], "");
}

#[test]
fn given_a_service_that_is_asked_to_end_then_it_reports_that() {
    let vault = Vault::new();
    let path = vault.home().join("http.sock");
    let serve = format!("[serve]\nlisten = \"unix:{}\"\n", path.display());
    fs::write(vault.work().join("dumpvault.toml"), serve).unwrap();
    let running = Running::start(vault.command(["serve", "--json"]));
    let begun = Instant::now();
    while UnixStream::connect(&path).is_err() {
        assert!(begun.elapsed() < HANGS, "it does not listen");
        std::thread::sleep(Duration::from_millis(50));
    }
    running.signal(Signal::TERM);
    running.wait().expect(exit::OK).json();
}

/// So near to a command's words `--json` stands where it is run with it.
const NEAR: usize = 250;

/// Whether a test runs the command of these words with `--json`.
fn runs(test: &str, words: &[&str]) -> bool {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    let near = |from: usize, to: usize| {
        let bytes = test.as_bytes().get(from..to.min(test.len())).unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    };
    test.match_indices(&quoted[0]).any(|(at, _)| {
        let around = near(at.saturating_sub(NEAR), at + NEAR);
        let behind = near(at, at + 60);
        (around.contains("\"--json\"") || around.contains("report(&"))
            && quoted.iter().all(|word| behind.contains(word))
    })
}

#[test]
fn no_report_is_without_a_test_that_prints_it() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let files = ["program", "storage_s3"].iter().flat_map(|name| fs::read_dir(tests.join(name)).unwrap());
    let texts: Vec<String> = files.filter_map(|file| fs::read_to_string(file.unwrap().path()).ok()).collect();
    let names = fs::read_dir(folder()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let commands = names.filter_map(|name| Some(name.strip_suffix(".schema.json")?.to_owned()));
    let commands: Vec<String> = commands.filter(|name| name != "error").collect();
    assert!(commands.len() > 60, "{}", commands.len());
    let is_missing = |name: &&String| {
        let words: Vec<&str> = match name.as_str() {
            "object-lock-extend" => vec!["object-lock", "extend"],
            name => name.splitn(2, '-').collect(),
        };
        // One that runs the program by itself says so.
        let holds = format!("faults(\"{name}\"");
        !texts.iter().any(|test| runs(test, &words) || test.contains(&holds))
    };
    let missing: Vec<&String> = commands.iter().filter(is_missing).collect();
    assert!(missing.is_empty(), "no test prints these: {missing:?}");
}
