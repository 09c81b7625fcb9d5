//! The demonstration keeps what it promises, and leaves nothing behind: no folder, no process, whatever ends it.
//!
//! A machine without a PostgreSQL server fails these tests; `apt install postgresql` gives what they need.

#![allow(clippy::unwrap_used, clippy::panic)]

use crate::support::reports::faults;
use dumpvault::base::event::Cancel;
use dumpvault::source::postgres::{Clients, PrivateServer};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longer than anything takes here that does not hang, however busy the machine.
const HANGS: Duration = Duration::from_secs(120);

/// Where the demonstration makes its folder.
struct Temp(TempDir);

impl Temp {
    fn new() -> Self {
        let temp = tempfile::Builder::new().prefix("dv-demo-").tempdir().unwrap();
        // The private server may run as another user.
        std::fs::set_permissions(temp.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        Self(temp)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn demo(&self, args: &[&str]) -> Command {
        self.demo_of("4", args)
    }

    fn demo_of(&self, megabytes: &str, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dumpvault"));
        command.args(["demo", "--size", megabytes]).args(args).stdin(Stdio::null());
        command.env("TMPDIR", self.path()).env("XDG_CACHE_HOME", self.path().join("cache"));
        command
    }

    /// The scratch folder, if there is one.
    fn scratch(&self) -> Option<PathBuf> {
        let mut entries = std::fs::read_dir(self.path()).unwrap();
        entries.next().map(|entry| entry.unwrap().path())
    }

    /// Processes that were started with a path in here or work in here.
    fn processes(&self) -> Vec<String> {
        let inside = self.path().to_str().unwrap();
        let all = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        all.filter_map(|process| {
            let arguments = std::fs::read(process.join("cmdline")).unwrap_or_default();
            let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
            let works_in = std::fs::read_link(process.join("cwd")).unwrap_or_default();
            let ours = arguments.contains(inside) || works_in.starts_with(inside);
            ours.then(|| format!("{}: {arguments} in {}", process.display(), works_in.display()))
        })
        .collect()
    }

    #[track_caller]
    fn assert_no_process(&self) {
        // What was killed may take a moment to be gone.
        let begun = Instant::now();
        while !self.processes().is_empty() {
            assert!(begun.elapsed() < HANGS, "left behind: {:#?}", self.processes());
            std::thread::yield_now();
        }
    }

    #[track_caller]
    fn assert_nothing_left(&self) {
        assert_eq!(self.scratch(), None, "the scratch folder is gone");
        self.assert_no_process();
    }
}

#[track_caller]
fn finished(output: &Output) -> Value {
    let words = String::from_utf8_lossy(&output.stderr);
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {words}"));
    assert_eq!(output.status.code(), Some(0), "{report} {words}");
    assert_eq!(report["ok"], true, "{report}");
    assert_eq!(faults("demo", &report), [""; 0]);
    report
}

/// What holds wherever the dumps come from.
#[track_caller]
fn assert_proven(report: &Value) {
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("no number in {report}"));
    let days = report["days"].as_array().unwrap();
    assert_eq!(days.iter().map(|day| number(&day["day"])).collect::<Vec<_>>(), [1, 2, 3]);
    for day in days {
        let bytes = number(&day["bytes"]);
        assert!((3_500_000..5_500_000).contains(&bytes), "about 4 MB, as asked for: {report}");
        assert_eq!(number(&day["bytes_full_copy"]), number(&days[0]["bytes_stored"]));
        assert!(number(&day["bytes_per_second"]) > 0);
        assert_eq!(day["snapshot"].as_str().unwrap().len(), 64);
    }
    for day in &days[1..] {
        assert!(number(&day["bytes_stored"]) < number(&days[0]["bytes_stored"]), "it costs less: {report}");
        assert!(number(&day["rows_touched"]) > 0, "something happened: {report}");
    }
    let sum = |field: &str| days.iter().map(|day| number(&day[field])).sum::<u64>();
    assert_eq!(number(&report["bytes"]), sum("bytes"));
    assert_eq!(number(&report["bytes_stored"]), sum("bytes_stored"));
    assert_eq!(number(&report["bytes_full_copies"]), sum("bytes_full_copy"));
    assert_eq!(report["restore"]["same"], true);
    assert_eq!(report["restore"]["bytes"], days[2]["bytes"], "the last day was restored");
    assert_eq!(report["check"]["ok"], true);
    assert_eq!(report["flip"]["found"], true, "{report}");
    for (at, day) in days.iter().enumerate() {
        let uploads = &day["uploads"];
        assert!(number(&uploads["files"]) > 20 && number(&uploads["bytes"]) > 200_000, "{report}");
        assert_eq!(number(&uploads["files_touched"]) > 0, at > 0, "{report}");
        if at > 0 {
            let first = number(&days[0]["uploads"]["bytes_stored"]);
            assert!(number(&uploads["bytes_stored"]) < first / 2, "unchanged files cost nothing: {report}");
        }
    }
    assert_eq!(report["file"]["same"], true, "{report}");
    let saved = |field: &str| number(&report["saved"][field]);
    let of_uploads = |field: &str| days.iter().map(|day| number(&day["uploads"][field])).sum::<u64>();
    assert_eq!((saved("snapshots"), saved("restores_proven")), (6, saved("restores")), "{report}");
    assert_eq!(saved("restores"), if report["table"].is_null() { 2 } else { 3 }, "{report}");
    assert_eq!(saved("bytes"), sum("bytes") + of_uploads("bytes"));
    assert_eq!(saved("bytes_stored"), sum("bytes_stored") + of_uploads("bytes_stored"));
    assert_eq!(report["flip"]["pack"].as_str().unwrap().len(), 64);
    assert!(number(&report["flip"]["snapshots"]) > 0, "{report}");
    assert!(number(&report["check"]["bytes_read"]) >= number(&report["bytes_stored"]), "all data was read");
}

#[test]
fn given_a_server_then_three_days_of_a_real_database_come_back_the_same() {
    let temp = Temp::new();
    let report = finished(&temp.demo(&["--json"]).output().unwrap());
    assert_proven(&report);
    assert_eq!(report["database"]["source"]["kind"], "postgres", "{report}");
    assert_eq!(report["restore"]["into"], "database");
    assert_eq!(report["table"]["same"], true, "{report}");
    let (table, whole) = (&report["table"], &report["restore"]["bytes"]);
    assert!(table["rows"].as_u64().unwrap() > 100, "{report}");
    assert!(table["bytes"].as_u64() < whole.as_u64(), "only its part is read: {report}");
    temp.assert_nothing_left();
}

#[test]
fn given_no_wish_for_a_server_then_three_generated_days_come_back_the_same() {
    let temp = Temp::new();
    let report = finished(&temp.demo(&["--json", "--generated"]).output().unwrap());
    assert_proven(&report);
    assert_eq!(report["database"]["source"]["reason"], "wished", "{report}");
    assert_eq!(report["restore"]["into"], "stream");
    temp.assert_nothing_left();
}

#[test]
fn given_a_server_that_cannot_start_then_it_says_so_and_generated_days_do() {
    let temp = Temp::new();
    // Too long for the path of a socket.
    let far = temp.path().join("x".repeat(100));
    std::fs::create_dir(&far).unwrap();
    let output = temp.demo(&["--json"]).env("TMPDIR", &far).output().unwrap();
    let report = finished(&output);
    assert_proven(&report);
    assert_eq!(report["database"]["source"]["reason"], "does-not-start", "{report}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("private PostgreSQL server cannot be had"));
    assert_eq!(std::fs::read_dir(&far).unwrap().count(), 0, "the scratch folder is gone");
}

#[test]
fn given_an_environment_that_points_to_another_server_then_that_one_is_never_asked() {
    let temp = Temp::new();
    let elsewhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let port = elsewhere.local_addr().unwrap().port().to_string();
    let mut demo = temp.demo(&["--json"]);
    demo.env("PGHOSTADDR", "127.0.0.1").env("PGPORT", port).env("PGHOST", "db.invalid");
    demo.env("PGSERVICE", "nowhere").env("PGSSLMODE", "verify-full").env("PGREQUIREAUTH", "scram-sha-256");
    demo.env("PGOPTIONS", "--nonsense").env("PGDATA", "/nonexistent").env("PGDATABASE", "production");
    let report = finished(&demo.output().unwrap());
    assert_eq!(report["database"]["source"]["kind"], "postgres", "{report}");
    assert!(elsewhere.accept().is_err(), "nobody called");
    temp.assert_nothing_left();
}

#[test]
fn given_a_person_then_it_tells_what_was_measured_and_how_to_begin() {
    let temp = Temp::new();
    let output = temp.demo(&["--generated"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let words = String::from_utf8(output.stdout).unwrap();
    for expected in [
        "day 1 ",
        "day 2 ",
        "day 3 ",
        "byte for byte",
        "no damage",
        "bit of pack",
        "uploads",
        "was deleted. It came back",
        "What was saved",
        "2 of 2 brought back the same bytes",
        "1 of 1 flipped bit was found",
        "all demo files were removed",
        " init\n",
    ] {
        assert!(words.contains(expected), "no `{expected}` in {words}");
    }
}

#[test]
fn given_quiet_then_nothing_is_said_when_all_is_well() {
    let temp = Temp::new();
    let output = temp.demo(&["--generated", "--quiet"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!((output.stdout.len(), output.stderr.len()), (0, 0));
}

#[test]
fn given_keep_then_the_repository_opens_with_the_passphrase_beside_it_and_the_server_is_gone() {
    let temp = Temp::new();
    let report = finished(&temp.demo(&["--json", "--keep"]).output().unwrap());
    temp.assert_no_process();
    let scratch = temp.scratch().unwrap();
    assert_eq!(report["folder"].as_str().unwrap(), scratch.to_str().unwrap());
    assert!(!scratch.join("postgres").exists(), "only the repository stays");
    assert!(!scratch.join("uploads").exists() && !scratch.join("restored").exists());
    let passphrase = scratch.join("passphrase");
    assert_eq!(passphrase.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let mut list = Command::new(env!("CARGO_BIN_EXE_dumpvault"));
    list.args(["snapshots", "--json", "--series", "shop", "--repo"]).arg(scratch.join("repository"));
    let listed = list.arg("--password-file").arg(passphrase).env("XDG_CACHE_HOME", temp.path()).output();
    let listed: Value = serde_json::from_slice(&listed.unwrap().stdout).unwrap();
    let listed = listed["snapshots"].as_array().unwrap();
    let ids = |list: &[Value], field: &str| list.iter().map(|one| one[field].clone()).collect::<Vec<_>>();
    assert_eq!(ids(listed, "id"), ids(report["days"].as_array().unwrap(), "snapshot"));
    assert!(listed.iter().all(|snapshot| snapshot["tags"][0] == "daily"), "a day apart: {listed:?}");
}

/// Starts the demonstration and reads what it says until a line begins with `line`.
fn under_way(temp: &Temp, line: &str) -> (Child, BufReader<impl Read>) {
    // Large enough that much is still to be done.
    let mut child = temp.demo_of("30", &[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let mut words = String::new();
    while !words.lines().last().is_some_and(|last| last.starts_with(line)) {
        assert!(said.read_line(&mut words).unwrap() > 0, "it ended before `{line}`: {words}");
    }
    (child, said)
}

#[test]
fn given_sigterm_at_any_time_then_nothing_is_left() {
    // While the cluster is made or starts; during the first backup; during the changes or the last backup; during the
    // restore.
    for line in ["repository", "database", "day 2", "day 3"] {
        let temp = Temp::new();
        let (mut child, said) = under_way(&temp, line);
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(130), "after `{line}`");
        temp.assert_nothing_left();
        drop(said);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn given_sigkill_then_the_server_goes_too() {
    let temp = Temp::new();
    let (mut child, said) = under_way(&temp, "database");
    assert!(temp.processes().iter().any(|process| process.contains("postgres")), "the server runs");
    child.kill().unwrap();
    child.wait().unwrap();
    temp.assert_no_process();
    drop(said);
}

#[test]
fn given_databases_that_differ_in_a_row_or_a_table_then_their_dumps_are_not_the_same() {
    let temp = Temp::new();
    let cancel = Cancel::new();
    let programs = PrivateServer::find(&Clients::installed(), None).unwrap();
    let home = temp.path().join("postgres");
    let server = PrivateServer::start(&programs, &home, &cancel).unwrap();
    let table = "CREATE TABLE t AS SELECT n, 'row ' || n AS words FROM generate_series(1, 9) AS n";
    for (database, change) in [
        ("one", "SELECT 1"),
        ("same", "SELECT 1"),
        ("row", "UPDATE t SET words = 'Row 9' WHERE n = 9"),
        ("more", "CREATE TABLE u (n int)"),
    ] {
        server.run_sql("postgres", [format!("CREATE DATABASE {database}").as_str()], &cancel).unwrap();
        server.run_sql(database, [table, change], &cancel).unwrap();
    }
    let same = |other: &str| server.dumps_are_same("one", other, &cancel);
    assert!(same("same").unwrap());
    assert!(!same("row").unwrap());
    assert!(!same("more").unwrap());
    assert!(same("missing").is_err(), "a dump that fails is no dump that is shorter");
    drop(server);
    assert!(!home.exists());
    temp.assert_no_process();
}
