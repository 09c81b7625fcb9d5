//! What lies in `contrib`: units that systemd takes, rules that fire and are silent, a board whose queries a real
//! Prometheus answers.
//!
//! `systemd-analyze`, `promtool` and `prometheus` are Debian's; DUMPVAULT_TEST_PROMETHEUS is a folder with the latter
//! two. Where a tool is not there, its test says so and does nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use dumpvault::base::schedule::Schedule;
use dumpvault::base::series::SeenSeries;
use dumpvault::daemon::book::{Changes, Ending, OpenRun, RunChange, RunId, Store, Trigger};
use dumpvault::daemon::metrics::render;
use dumpvault::daemon::state::State;
use dumpvault::settings::{CatchUp, Job, Overlap, Retry, Work};
use jiff::tz::TimeZone;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn contrib() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib")
}

/// A program that `tests/run.sh` installs.
fn tool(name: &str) -> PathBuf {
    let own = std::env::var_os("DUMPVAULT_TEST_PROMETHEUS").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = own
        .into_iter()
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(name))
        .filter(|path| path.exists());
    found.next().unwrap_or_else(|| panic!("{name} is not installed"))
}

#[test]
fn the_units_are_right_and_expose_little() {
    let analyze = tool("systemd-analyze");
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(contrib().join("systemd")).unwrap() {
        let path = entry.unwrap().path();
        // The program is not installed where tests run.
        let text = std::fs::read_to_string(&path).unwrap().replace("/usr/bin/dumpvault", "/bin/true");
        std::fs::write(folder.path().join(path.file_name().unwrap()), text).unwrap();
    }
    let run = |words: &[&str]| {
        let out = Command::new(&analyze).args(words).current_dir(folder.path()).output().unwrap();
        assert!(out.status.success(), "{words:?}: {out:?}");
        format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
    };
    let said =
        run(&["verify", "./dumpvault.service", "./dumpvault-job@x.service", "./dumpvault-job@x.timer"]);
    assert_eq!(said.trim(), "");
    for unit in ["./dumpvault.service", "./dumpvault-job@.service"] {
        // The threshold is in tenths: exit status 0 only below it.
        run(&["security", "--offline=true", "--threshold=25", unit]);
    }
}

#[test]
fn each_rule_fires_in_its_case_and_is_silent_in_the_other() {
    let rules = std::fs::read_to_string(contrib().join("prometheus/dumpvault.rules.yml")).unwrap();
    let tests = std::fs::read_to_string(contrib().join("prometheus/dumpvault.test.yml")).unwrap();
    let names: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(names.len() >= 20, "{names:?}");
    for name in names {
        for case in ["fires", "is silent"] {
            assert!(
                tests.contains(&format!("- name: {name} {case}\n")),
                "{name} {case}: there is no such case"
            );
        }
    }
    let promtool = tool("promtool");
    let out = Command::new(promtool)
        .args(["test", "rules", "dumpvault.test.yml"])
        .current_dir(contrib().join("prometheus"))
        .output()
        .unwrap();
    assert!(out.status.success(), "{out:?}");
}

fn job(work: Work) -> Job {
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    Job {
        work,
        schedule: Schedule::cron("15 3 * * *", TimeZone::get("Europe/Berlin").unwrap()).unwrap(),
        jitter: Duration::ZERO,
        catch_up: CatchUp::Always,
        overlap: Overlap::Skip,
        timeout: None,
        stall: minutes(15),
        retry: Retry { attempts: 3, first: minutes(1), factor: 5 },
        grace: minutes(60),
        enabled: true,
        run_at_start: false,
    }
}

/// A state in which every metric is known, and its jobs.
fn seeded(folder: &Path, now: i64) -> (State, BTreeMap<String, Job>) {
    let mut state = State::open(folder).unwrap();
    let jobs = BTreeMap::from([
        ("nightly".to_owned(), job(Work::Backup { sources: vec!["app".to_owned()] })),
        ("check \"1\"".to_owned(), job(Work::Check { part: Some(0.1) })),
    ]);
    for (number, (name, job)) in jobs.iter().enumerate() {
        for (step, ok) in [(0, false), (1, true)] {
            let id = RunId(format!("{number}{step}"));
            let at = now - 60_000 + step * 1000;
            let mut changes = Changes::new(at);
            changes.queued.push(OpenRun {
                id: id.clone(),
                job: name.clone(),
                kind: job.work.word().to_owned(),
                trigger: Trigger::Manual,
                slot: None,
                queued: at,
                not_before: at,
                attempt: 0,
                started: None,
                parts: Vec::new(),
            });
            state.commit(&changes).unwrap();
            let mut changes = Changes::new(at);
            changes.runs.push((id.clone(), RunChange::Starts));
            state.commit(&changes).unwrap();
            let mut changes = Changes::new(at + 500);
            changes.runs.push((
                id,
                RunChange::Ended { ok, ending: Ending { reason: None, exit: Some(i32::from(!ok)) } },
            ));
            state.commit(&changes).unwrap();
        }
        let schedule = job.schedule.text();
        state.pause(name, &schedule, None, now - 90_000, "me").unwrap();
    }
    let series = SeenSeries {
        host: "db1".to_owned(),
        series: "app".to_owned(),
        newest: Some(now),
        good: Some(now - 5000),
        complete: 3,
        verified: Some(now - 9000),
        checked: Some(now - 7000),
        ..SeenSeries::default()
    };
    state.note_series(&[series], now).unwrap();
    state.note_figure("free_bytes", "repository", now, 1 << 40).unwrap();
    state.note_figure("total_bytes", "repository", now, 1 << 41).unwrap();
    state.note_figure("damaged_objects", "", now, 0).unwrap();
    state.set_counter("heartbeat", now).unwrap();
    state.count("login_failures", 2).unwrap();
    (state, jobs)
}

fn names(page: &str) -> BTreeSet<&str> {
    page.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect()
}

#[test]
fn metrics_are_absent_until_known_survive_a_restart_and_are_what_promtool_takes() {
    let folder = tempfile::tempdir().unwrap();
    let now = 1_796_083_200_000;
    let empty = tempfile::tempdir().unwrap();
    let jobs = BTreeMap::from([("nightly".to_owned(), job(Work::Prune))]);
    let page = render(&State::open(empty.path()).unwrap(), &jobs, "m", now).unwrap();
    for absent in ["last_success", "consecutive_failures", "heartbeat", "deadline", "series_", "damaged"] {
        assert!(!page.contains(absent), "{absent} in {page}");
    }
    assert!(page.contains("dumpvault_job_next_run_timestamp_seconds{task=\"nightly\"} "));
    let (state, jobs) = seeded(folder.path(), now);
    let before = render(&state, &jobs, "m", now).unwrap();
    drop(state);
    let after = render(&State::open(folder.path()).unwrap(), &jobs, "m", now).unwrap();
    let stable =
        |page: &str| page.lines().filter(|line| !line.contains("state_bytes")).collect::<Vec<_>>().join("\n");
    assert_eq!(stable(&before), stable(&after), "a restart changes nothing");
    assert!(
        after.contains("dumpvault_job_runs_total{task=\"check \\\"1\\\"\",status=\"completed\"} 1"),
        "{after}"
    );
    assert!(after.contains("dumpvault_job_consecutive_failures{task=\"nightly\"} 0"), "{after}");
    assert!(after.contains("dumpvault_check_last_success_timestamp_seconds{mode=\"part\"} "), "{after}");
    let promtool = tool("promtool");
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(after.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{out:?}");
}

/// All expressions of a board.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(expr)) = fields.get("expr") {
                found.push(expr.clone());
            }
            fields.values().for_each(|value| expressions(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

/// Metrics that a query names.
fn metrics_of(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("dumpvault_"))
        .collect()
}

#[test]
fn rules_and_board_name_only_metrics_that_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let (mut state, jobs) = seeded(folder.path(), 1_796_083_200_000);
    state.pause("nightly", "x", Some(1_796_083_300_000), 1_796_083_200_000, "me").unwrap();
    let page = render(&state, &jobs, "m", 1_796_083_200_000).unwrap();
    let known: BTreeSet<&str> = names(&page);
    // Of backups, a pending message and a run under way there is nothing in this state.
    let rare = [
        "dumpvault_job_last_plain_bytes",
        "dumpvault_job_last_new_bytes",
        "dumpvault_job_last_stored_bytes",
        "dumpvault_notification_oldest_pending_timestamp_seconds",
        "dumpvault_notifications_total",
        "dumpvault_job_running_since_timestamp_seconds",
    ];
    let rules = std::fs::read_to_string(contrib().join("prometheus/dumpvault.rules.yml")).unwrap();
    let board = std::fs::read_to_string(contrib().join("grafana/dumpvault.json")).unwrap();
    let mut all = Vec::new();
    expressions(&serde_json::from_str(&board).unwrap(), &mut all);
    assert!(all.len() > 20);
    let exprs = rules.lines().filter_map(|line| line.trim().strip_prefix("expr: ").map(str::to_owned));
    for expr in all.into_iter().chain(exprs) {
        for name in metrics_of(&expr) {
            assert!(known.contains(name) || rare.contains(&name), "`{name}` of `{expr}` is no metric");
        }
    }
}

/// A server that is stopped when dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The answer to a query: status and body.
fn ask(port: u16, query: &str) -> Option<Value> {
    let mut encoded = String::new();
    for byte in query.bytes() {
        encoded.push_str(&format!("%{byte:02X}"));
    }
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET /api/v1/query?query={encoded} HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    serde_json::from_str(text.split_once("\r\n\r\n")?.1).ok()
}

#[test]
fn every_query_of_the_board_is_answered_by_prometheus_after_one_scrape() {
    let prometheus = tool("prometheus");
    let folder = tempfile::tempdir().unwrap();
    let now = jiff::Timestamp::now().as_millisecond();
    let (state, jobs) = seeded(folder.path(), now);
    let page = render(&state, &jobs, "m", now).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let scraped = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = write!(
                stream,
                "HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\r\n{page}",
                page.len()
            );
        }
    });
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let config = folder.path().join("prometheus.yml");
    std::fs::write(&config, format!("global: {{scrape_interval: 1s}}\nscrape_configs:\n  - job_name: dumpvault\n    static_configs: [{{targets: ['127.0.0.1:{scraped}']}}]\n")).unwrap();
    let data = folder.path().join("data");
    let _server = Server(
        Command::new(prometheus)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let begun = Instant::now();
    while ask(port, "dumpvault_build_info")
        .is_none_or(|answer| answer["data"]["result"].as_array().is_none_or(Vec::is_empty))
    {
        assert!(begun.elapsed() < Duration::from_secs(120), "nothing is scraped");
        std::thread::sleep(Duration::from_millis(100));
    }
    let board = std::fs::read_to_string(contrib().join("grafana/dumpvault.json")).unwrap();
    let mut all = Vec::new();
    expressions(&serde_json::from_str(&board).unwrap(), &mut all);
    let mut answered = 0;
    for expr in all {
        let query = expr.replace("$task", ".*").replace("$series", ".*");
        let answer = ask(port, &query).unwrap_or_else(|| panic!("no answer to {query}"));
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        answered += usize::from(answer["data"]["result"].as_array().is_some_and(|result| !result.is_empty()));
    }
    assert!(answered >= 15, "only {answered} have a value");
}
