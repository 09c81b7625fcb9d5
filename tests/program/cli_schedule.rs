//! The scheduler as a service: a real daemon, killed, stopped, rung, reloaded; and the history that backups write.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support::cli::{HANGS, PASSPHRASE, Running, Vault, exit, text};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use serde_json::Value;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

/// A source that waits for the file `go`, and says with the file `started` that it does.
const SLOW: &str = r#"
[source.slow]
command = ["sh", "-c", "touch started; while [ ! -e go ]; do sleep 0.02; done; echo dump"]
[job.slow]
sources = ["slow"]
cron = "@yearly"
"#;

fn configure(vault: &Vault, toml: &str) {
    fs::write(vault.work().join("dumpvault.toml"), toml).unwrap();
}

fn with_config(toml: &str) -> Vault {
    let vault = Vault::new();
    configure(&vault, toml);
    vault
}

/// Looks until there is something to see.
fn wait<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(begun.elapsed() < HANGS, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn daemon(vault: &Vault) -> Running {
    let running = Running::start(vault.command(["schedule", "daemon"]));
    wait("the scheduler runs", || listed(vault)["running"].as_bool().filter(|running| *running));
    running
}

fn listed(vault: &Vault) -> Value {
    vault.run(["schedule", "list", "--json"]).expect(exit::OK).json()
}

fn job(vault: &Vault, name: &str) -> Value {
    let listed = listed(vault);
    let jobs = listed["jobs"].as_array().unwrap();
    jobs.iter().find(|job| job["name"] == name).unwrap().clone()
}

/// The last run of a job, once it has none that is open.
fn ended(vault: &Vault, name: &str) -> Value {
    wait("the run ends", || {
        let job = job(vault, name);
        (job["open"].is_null() && !job["last"].is_null()).then(|| job["last"].clone())
    })
}

fn started(vault: &Vault) {
    wait("the source is read", || vault.work().join("started").exists().then_some(()));
}

fn go(vault: &Vault) {
    fs::write(vault.work().join("go"), "").unwrap();
}

fn history(vault: &Vault) -> Vec<Value> {
    let history = vault.run(["history", "list", "--json"]).expect(exit::OK).json();
    history["backups"].as_array().unwrap().clone()
}

/// The process group of the job's run.
fn group(vault: &Vault) -> Pid {
    let folder = vault.state().join("dumpvault/schedule/runs");
    wait("the process is noted", || {
        let pid = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let pid =
            pid.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "pid"))?;
        Pid::from_raw(fs::read_to_string(pid).ok()?.parse().ok()?)
    })
}

#[test]
fn given_slots_that_come_then_their_jobs_run_and_are_in_the_history() {
    let vault = with_config(
        "[source.app]\ncommand = [\"echo\", \"a dump\"]\n[job.often]\nsources = [\"app\"]\nevery = \"1s\"\n",
    );
    let daemon = daemon(&vault);
    let last = ended(&vault, "often");
    assert_eq!((&last["status"], &last["exit_code"]), (&"COMPLETED".into(), &0.into()), "{last}");
    daemon.signal(Signal::TERM);
    daemon.wait().expect(exit::OK);
    let records = history(&vault);
    let record = records.last().unwrap();
    assert_eq!(record["status"], "COMPLETED", "{record}");
    assert_eq!((text(record, "source"), &record["size"]), ("app".to_owned(), &7.into()));
    assert_eq!(text(record, "type"), "MONTHLY");
    assert!(text(record, "checksum").starts_with("sha256:") && text(record, "file_name").ends_with(".dump"));
    assert!(record["run"].is_string(), "{record}");
}

#[test]
fn given_a_scheduler_killed_in_a_run_then_the_next_one_waits_for_the_same_process() {
    let vault = with_config(SLOW);
    let first = daemon(&vault);
    vault.run(["schedule", "trigger", "slow"]).expect(exit::OK);
    started(&vault);
    first.signal(Signal::KILL);
    assert_eq!(first.wait().signal, Some(9));
    vault.run(["schedule", "trigger", "slow"]).expect(exit::REFUSED).says("no scheduler is running");
    let second = daemon(&vault);
    vault.run(["schedule", "trigger", "slow"]).expect(exit::CONFLICT).says("has a run that has not ended");
    go(&vault);
    let last = ended(&vault, "slow");
    assert_eq!((&last["status"], &last["attempts"]), (&"COMPLETED".into(), &1.into()), "{last}");
    assert_eq!(vault.ids().len(), 1, "it ran once");
    second.signal(Signal::TERM);
    second.wait().expect(exit::OK);
}

#[test]
fn given_a_scheduler_and_its_run_killed_then_the_run_is_done_again_once() {
    let vault = with_config(SLOW);
    let first = daemon(&vault);
    vault.run(["schedule", "trigger", "slow"]).expect(exit::OK);
    started(&vault);
    let run = group(&vault);
    first.signal(Signal::KILL);
    first.wait();
    kill_process_group(run, Signal::KILL).unwrap();
    go(&vault);
    let second = daemon(&vault);
    let last = ended(&vault, "slow");
    assert_eq!((&last["status"], &last["attempts"]), (&"COMPLETED".into(), &2.into()), "{last}");
    assert_eq!(vault.ids().len(), 1);
    let records = history(&vault);
    let status: Vec<&str> = records.iter().map(|record| record["status"].as_str().unwrap()).collect();
    assert_eq!(status, ["COMPLETED", "FAILED"], "the one that was killed is told, too: {records:?}");
    second.signal(Signal::TERM);
    second.wait().expect(exit::OK);
}

#[test]
fn given_a_scheduler_that_is_stopped_then_its_run_stops_with_it_and_is_caught_up() {
    let vault = with_config(SLOW);
    let first = daemon(&vault);
    vault.run(["schedule", "trigger", "slow"]).expect(exit::OK);
    started(&vault);
    let run = group(&vault);
    first.signal(Signal::TERM);
    first.wait().expect(exit::OK);
    assert!(test_kill_process_group(run).is_err(), "something of the run is left");
    go(&vault);
    let second = daemon(&vault);
    let last = ended(&vault, "slow");
    assert_eq!((&last["status"], &last["attempts"]), (&"COMPLETED".into(), &2.into()), "{last}");
    second.signal(Signal::TERM);
    second.wait().expect(exit::OK);
}

#[test]
fn given_a_run_that_is_stopped_after_its_scheduler_was_killed_then_it_is_done_again() {
    let vault = with_config(SLOW);
    let first = daemon(&vault);
    vault.run(["schedule", "trigger", "slow"]).expect(exit::OK);
    started(&vault);
    let run = group(&vault);
    first.signal(Signal::KILL);
    first.wait();
    kill_process_group(run, Signal::TERM).unwrap();
    wait("the run is gone", || test_kill_process_group(run).is_err().then_some(()));
    go(&vault);
    let second = daemon(&vault);
    let last = ended(&vault, "slow");
    assert_eq!((&last["status"], &last["attempts"]), (&"COMPLETED".into(), &2.into()), "{last}");
    assert_eq!(vault.ids().len(), 1);
    second.signal(Signal::TERM);
    second.wait().expect(exit::OK);
}

#[test]
fn given_a_run_that_the_kernel_kills_then_it_has_failed_is_told_and_the_scheduler_goes_on() {
    let vault = with_config(SLOW);
    let daemon = daemon(&vault);
    vault.run(["schedule", "trigger", "slow"]).expect(exit::OK);
    started(&vault);
    // As for want of memory: the process alone, and nobody asks it.
    rustix::process::kill_process(group(&vault), Signal::KILL).unwrap();
    let last = ended(&vault, "slow");
    assert_eq!(last["status"], "FAILED", "{last}");
    assert_eq!(text(&last, "reason"), "killed by signal 9; likely out of memory");
    let told = vault.run(["alert", "list", "--json"]).expect(exit::PART_FAILED).json();
    let alert = told["alerts"].as_array().unwrap().iter().find(|alert| alert["subject"] == "slow").unwrap();
    assert!(text(alert, "text").contains("signal 9; likely out of memory"), "{alert}");
    fs::remove_file(vault.work().join("started")).unwrap();
    go(&vault);
    vault.run(["schedule", "trigger", "slow"]).expect(exit::OK);
    wait("the next run is good", || (ended(&vault, "slow")["status"] == "COMPLETED").then_some(()));
    daemon.signal(Signal::TERM);
    daemon.wait().expect(exit::OK).says("killed by signal 9");
}

#[test]
fn given_a_check_that_takes_the_only_place_then_a_backup_gets_it_within_its_grace_and_the_check_goes_on() {
    let vault = Vault::with_passphrase();
    configure(
        &vault,
        "[source.app]\ncommand = [\"echo\", \"a dump\"]\n[schedule]\nmax_parallel = 1\nspace_below = 0\n\
         [job.night]\nsources = [\"app\"]\ncron = \"@yearly\"\ngrace = \"1m\"\n\
         [job.long]\nkind = \"check\"\ncron = \"@yearly\"\nretry = { attempts = 1 }\n",
    );
    // Whoever asks for the passphrase while `hang` is there waits for it for ever: the check alone does.
    let work = vault.work().display().to_string();
    let script =
        format!("test -e '{work}/hang' && {{ touch '{work}/started'; sleep 1000; }}; echo '{PASSPHRASE}'");
    let mut command = vault.command(["schedule", "daemon"]);
    command.env_remove("DUMPVAULT_PASSWORD").env("DUMPVAULT_PASSWORD_COMMAND", script);
    fs::write(vault.work().join("hang"), "").unwrap();
    let daemon = Running::start(command);
    wait("the scheduler runs", || listed(&vault)["running"].as_bool().filter(|running| *running));
    vault.run(["schedule", "trigger", "long"]).expect(exit::OK);
    started(&vault);
    fs::remove_file(vault.work().join("hang")).unwrap();
    let check = group(&vault);
    assert_eq!(job(&vault, "long")["open"]["status"], "IN_PROGRESS");
    vault.run(["schedule", "trigger", "night"]).expect(exit::OK);
    assert_eq!(ended(&vault, "night")["status"], "COMPLETED");
    assert!(test_kill_process_group(check).is_err(), "the first check is over");
    let last = ended(&vault, "long");
    assert_eq!((&last["status"], &last["attempts"]), (&"COMPLETED".into(), &2.into()), "one run: {last}");
    assert!(vault.run(["alert", "list"]).expect(exit::OK).text().contains("nothing is wrong"));
    daemon.signal(Signal::TERM);
    daemon.wait().expect(exit::OK);
}

#[test]
fn given_no_jobs_then_the_next_slots_are_said_to_be_none() {
    let vault = with_config("");
    let next = || vault.run(["schedule", "next"]).expect(exit::OK).text();
    assert!(next().contains("no jobs; `dumpvault schedule init`"));
    configure(&vault, "[job.a]\ncommand = \"true\"\ncron = \"@daily\"\nenabled = false\n");
    assert!(next().contains("no slots: every job is disabled"));
}

#[test]
fn given_a_run_that_does_nothing_then_it_is_stopped_with_all_that_it_started() {
    let vault = with_config(
        "[job.hung]\ncommand = \"sleep 1000 & sleep 1000\"\ncron = \"@yearly\"\nstall = \"1s\"\nretry = { attempts = 1 }\n",
    );
    let daemon = daemon(&vault);
    vault.run(["schedule", "trigger", "hung"]).expect(exit::OK);
    let run = group(&vault);
    let last = ended(&vault, "hung");
    assert_eq!(last["status"], "FAILED");
    assert!(text(&last, "reason").contains("stall"), "{last}");
    wait("the processes are gone", || test_kill_process_group(run).is_err().then_some(()));
    daemon.signal(Signal::TERM);
    daemon.wait().expect(exit::OK).says("job `hung`: stopped");
}

#[test]
fn given_one_of_two_sources_that_fails_then_only_that_one_is_tried_again() {
    let vault = with_config(
        "[source.good]\ncommand = [\"echo\", \"a dump\"]\n\
         [source.later]\ncommand = [\"sh\", \"-c\", \"test -e second || { touch second; exit 1; }; echo dump\"]\n\
         [job.both]\nsources = [\"good\", \"later\"]\ncron = \"@yearly\"\nretry = { first = \"1s\" }\n",
    );
    let daemon = daemon(&vault);
    vault.run(["schedule", "trigger", "both"]).expect(exit::OK);
    let last = ended(&vault, "both");
    assert_eq!((&last["status"], &last["attempts"]), (&"COMPLETED".into(), &2.into()), "{last}");
    let series: Vec<String> = vault.snapshots().iter().map(|snapshot| text(snapshot, "series")).collect();
    assert_eq!(series, ["good", "later"]);
    daemon.signal(Signal::TERM);
    daemon.wait().expect(exit::OK);
}

#[test]
fn given_a_configuration_that_goes_wrong_then_the_old_one_stays_in_force_and_the_manager_is_told() {
    let vault = with_config("[job.a]\ncommand = \"true\"\ncron = \"@yearly\"\n");
    let socket = vault.home().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(HANGS)).unwrap();
    let heard = |wanted: &str| {
        let mut bytes = [0; 200];
        loop {
            let length = manager.recv(&mut bytes).unwrap();
            if &bytes[..length] == wanted.as_bytes() {
                return;
            }
        }
    };
    let mut command = vault.command(["schedule", "daemon"]);
    command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "400000");
    let daemon = Running::start(command);
    heard("READY=1");
    configure(&vault, "[job.a]\ncommand = \"true\"\ncorn = \"@yearly\"\n");
    daemon.signal(Signal::HUP);
    heard("READY=1");
    heard("WATCHDOG=1");
    configure(
        &vault,
        "[job.a]\ncommand = \"true\"\ncron = \"@yearly\"\n[job.b]\ncommand = \"touch b\"\nevery = \"1s\"\nrun_at_start = true\n",
    );
    daemon.signal(Signal::HUP);
    assert_eq!(ended(&vault, "b")["status"], "COMPLETED");
    daemon.signal(Signal::TERM);
    heard("STOPPING=1");
    daemon.wait().expect(exit::OK).says("the old one stays in force").says("did you mean `cron`?");
}

#[test]
fn given_a_scheduler_then_there_is_no_second_one_and_the_audit_log_tells_who_did_what() {
    let vault = with_config(
        "[job.a]\ncommand = \"true\"\ncron = \"@yearly\"\n[job.off]\ncommand = \"true\"\ncron = \"@yearly\"\nenabled = false\n",
    );
    let daemon = daemon(&vault);
    vault.run(["schedule", "daemon"]).expect(exit::CONFLICT).says("another scheduler is running");
    vault.run(["schedule", "trigger", "b"]).expect(exit::USAGE).says("there is no job");
    vault.run(["schedule", "trigger", "off"]).expect(exit::REFUSED).says("is disabled");
    vault.run(["schedule", "pause", "a", "--for", "2d", "--json"]).expect(exit::OK);
    assert!(job(&vault, "a")["paused_until"].is_string());
    vault.run(["schedule", "resume", "--json"]).expect(exit::OK);
    assert!(job(&vault, "a")["paused_until"].is_null());
    daemon.signal(Signal::TERM);
    daemon.wait().expect(exit::OK);
    let log = vault.run(["audit", "list", "--json"]).expect(exit::OK).json();
    let details: Vec<&str> =
        log["entries"].as_array().unwrap().iter().map(|entry| entry["detail"].as_str().unwrap()).collect();
    assert!(details[0].starts_with("paused until ") && details[1] == "resumed", "{details:?}");
    assert_eq!(vault.run(["audit", "verify", "--json"]).expect(exit::OK).json()["ok"], true);
    let db = rusqlite::Connection::open(vault.state().join("dumpvault/schedule.sqlite")).unwrap();
    db.execute("UPDATE audit SET actor = 'somebody else' WHERE seq = 1", []).unwrap();
    vault.run(["audit", "verify"]).expect(exit::INTEGRITY).says("broken at entry 1: the entry was changed");
    db.execute("DELETE FROM audit WHERE seq = 1", []).unwrap();
    vault.run(["audit", "verify"]).expect(exit::INTEGRITY).says("broken at entry 1: the entry is missing");
}

#[test]
fn given_a_state_that_cannot_be_used_then_backups_go_on_and_the_scheduler_says_why() {
    let vault = with_config(
        "[source.app]\ncommand = [\"echo\", \"a dump\"]\n[job.a]\nsources = [\"app\"]\ncron = \"@yearly\"\n",
    );
    let file = vault.state().join("dumpvault/schedule.sqlite");
    vault.run(["backup", "app"]).expect(exit::OK);
    let db = rusqlite::Connection::open(&file).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    drop(db);
    vault
        .run(["backup", "app"])
        .expect(exit::OK)
        .says("warning: the history is not written")
        .says("newer version");
    vault.run(["schedule", "daemon"]).expect(exit::USAGE).says("newer version");
    vault.run(["history", "list", "--json"]).expect(exit::USAGE);

    fs::write(&file, "no database at all, but long enough to be looked at as one: ".repeat(40)).unwrap();
    vault.run(["backup", "app"]).expect(exit::OK).says("the history is not written");
    vault
        .run(["schedule", "daemon"])
        .expect(exit::NOTHING_DONE)
        .says("is damaged")
        .says("move the file away");

    for name in ["schedule.sqlite", "schedule.sqlite-wal", "schedule.sqlite-shm"] {
        let _ = fs::remove_file(vault.state().join("dumpvault").join(name));
    }
    vault.run(["backup", "app"]).expect(exit::OK).does_not_say("warning");
    assert_eq!(history(&vault).len(), 1, "a deleted state begins anew");

    // A file is where the directory should be.
    fs::remove_dir_all(vault.state()).unwrap();
    fs::write(vault.state(), "").unwrap();
    vault.run(["backup", "app"]).expect(exit::OK).says("the history is not written");
    vault.run(["schedule", "daemon"]).expect(exit::NOTHING_DONE);
    assert_eq!(vault.ids().len(), 5, "every backup was made");
}

#[test]
fn given_backups_that_fail_then_each_is_in_the_history_with_its_log_and_without_secrets() {
    let vault = with_config("[source.bad]\ncommand = [\"sh\", \"-c\", \"echo why it failed >&2; exit 3\"]\n");
    vault.run(["backup", "bad"]).expect(exit::NOTHING_DONE);
    let secret = "postgres://backup:canary-secret@127.0.0.1:1/app";
    vault.run(["backup", secret, "--series", "x"]).expect(exit::NOTHING_DONE);
    let mut wrong = vault.command(["backup", "bad"]);
    wrong.env("DUMPVAULT_KEY_FILE", vault.home().join("no-such-key"));
    assert_ne!(crate::support::cli::run(wrong, b"").code, Some(0));
    let records = history(&vault);
    assert_eq!(records.len(), 3, "{records:?}");
    assert!(
        records.iter().all(|record| record["status"] == "FAILED" && record["error"].is_string()),
        "{records:?}"
    );
    let id = text(&records[2], "id");
    let shown = vault.run(["history", "show", &id, "--json"]).expect(exit::OK).json();
    assert!(text(&shown, "log").contains("why it failed"), "{shown}");
    let csv = vault.run(["history", "export"]).expect(exit::OK).text();
    assert_eq!(csv.lines().count(), 4, "{csv}");
    let state = vault.state().join("dumpvault");
    for name in ["schedule.sqlite", "schedule.sqlite-wal"] {
        let bytes = fs::read(state.join(name)).unwrap_or_default();
        assert!(!bytes.windows(6).any(|window| window == b"canary"), "a secret is in {name}");
    }
}

#[test]
fn given_jobs_that_are_wrong_then_the_check_names_each_with_its_line() {
    let vault = with_config(
        "[source.app]\ncommand = [\"true\"]\n\
         [job.a]\nsources = [\"ap\"]\ncron = \"0 3 * * * *\"\n\
         [job.b]\nkind = \"chek\"\ncron = \"0 0 30 2 *\"\ntime_zone = \"Europe/Nowhere\"\n\
         [job.c]\nkind = \"prune\"\nsources = [\"app\"]\n\
         [job.d]\nkind = \"verify\"\nserver = \"postgres://me:secret@db/x\"\ndaily = \"25:00\"\ncorn = \"\"\n",
    );
    let said = vault.run(["config", "check"]).expect(exit::USAGE).stderr;
    for wanted in [
        "dumpvault.toml:4: job.a.sources: there is no `[source.ap]`",
        "dumpvault.toml:5: job.a.cron: invalid cron expression",
        "use five fields: there are no seconds",
        "job.b.kind: unknown kind of job `chek`",
        "did you mean `check`?",
        "job.b.cron: `0 0 30 2 *` never fires",
        "job.b.time_zone: unknown time zone",
        "job.c: nothing says when the job runs",
        "job.c.sources: a job of kind prune has no `sources`",
        "job.d.server: a server for `verify` bears no password",
        "job.d.daily: invalid time of day `25:00`",
        "job.d.corn: unknown setting",
    ] {
        assert!(said.contains(wanted), "no {wanted:?} in:\n{said}");
    }
    assert!(!said.contains("secret"), "{said}");
}

#[test]
fn given_a_plan_by_init_then_it_is_a_configuration_and_its_slots_are_told() {
    let vault = with_config("[source.app]\ncommand = [\"true\"]\n[retention]\nkeep_daily = 7\n");
    let plan = vault.run(["schedule", "init"]).expect(exit::OK).text();
    let before = fs::read_to_string(vault.work().join("dumpvault.toml")).unwrap();
    configure(&vault, &format!("{before}\n{plan}"));
    vault.run(["config", "check"]).expect(exit::OK);
    let next = vault.run(["schedule", "next", "--json", "--count", "7"]).expect(exit::OK).json();
    assert_eq!(next["slots"].as_array().unwrap().len(), 7);
    let said = ["schedule", "explain", "30 2 * * sun", "--time-zone", "Europe/Berlin", "--json"];
    let said = vault.run(said).expect(exit::OK).json();
    assert_eq!(text(&said, "words"), "at 02:30, on Sunday");
    assert_eq!(said["slots"].as_array().unwrap().len(), 10);
    vault.run(["schedule", "explain", "nightly"]).expect(exit::OK);
    vault.run(["schedule", "explain", "0 0 31 4 *"]).expect(exit::USAGE).says("never fires");
    vault.run(["schedule", "list"]).expect(exit::OK).says("no scheduler is running");
}
