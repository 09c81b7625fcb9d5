//! `[job.NAME]`: what the scheduler runs, and when.

use crate::base::name::nearest;
use crate::base::schedule::Schedule;
use crate::base::setting::{
    BOOLEAN, COMMAND, Described, Entry, FRACTION, Key, Kind, Origin, PART, Problem, Raw, SOME, Section, TEXT,
    TEXTS, TIME, Table, Value, ZONE,
};
use crate::base::unit;
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::time::Duration;

/// What a job does.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// `dumpvault run`, of a system where one is named.
    Run {
        /// The system.
        system: Option<String>,
    },
    /// `dumpvault backup` of these sources.
    Backup {
        /// Their names.
        sources: Vec<String>,
    },
    /// `dumpvault check`, of a share of the packs where one is named.
    Check {
        /// From 0 to 1.
        part: Option<f64>,
    },
    /// `dumpvault verify`.
    Verify {
        /// The snapshot's name.
        snapshot: String,
        /// The server for the scratch database.
        server: Option<String>,
    },
    /// `dumpvault forget`, by the rules of the file.
    Forget,
    /// `dumpvault prune`.
    Prune,
    /// `dumpvault copy`, to one destination where one is named.
    Copy {
        /// `[copy.NAME]`.
        to: Option<String>,
    },
    /// `dumpvault object-lock extend`.
    LockExtend,
    /// A command of the shell.
    Command(String),
}

impl Work {
    /// The word for `kind`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Run { .. } => "run",
            Self::Backup { .. } => "backup",
            Self::Check { .. } => "check",
            Self::Verify { .. } => "verify",
            Self::Forget => "forget",
            Self::Prune => "prune",
            Self::Copy { .. } => "copy",
            Self::LockExtend => "object-lock-extend",
            Self::Command(_) => "command",
        }
    }
}

/// Which slots are made up for that nobody could keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatchUp {
    /// None.
    Never,
    /// The newest, if it is no older than this.
    Within(Duration),
    /// The newest, however old.
    Always,
}

/// What becomes of a slot whose job still runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlap {
    /// It is skipped.
    Skip,
    /// It waits; one at most.
    Queue,
}

/// How often a run is tried, and how long it waits in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Tries in all; 1 for no second one.
    pub attempts: u32,
    /// Time before the second.
    pub first: Duration,
    /// How much longer each later one waits.
    pub factor: u32,
}

/// `[job.NAME]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// What it does.
    pub work: Work,
    /// When.
    pub schedule: Schedule,
    /// Slots are put off by up to this.
    pub jitter: Duration,
    /// What is made up for.
    pub catch_up: CatchUp,
    /// What becomes of a slot whose job still runs.
    pub overlap: Overlap,
    /// A run that takes longer is stopped.
    pub timeout: Option<Duration>,
    /// A run that does nothing for so long is stopped.
    pub stall: Duration,
    /// How failures are tried again.
    pub retry: Retry,
    /// A slot without a good run is overdue so long after it was due.
    pub grace: Duration,
    /// Whether it runs at all.
    pub enabled: bool,
    /// Whether a new job runs once at once.
    pub run_at_start: bool,
}

const WORK: Kind<String> = Kind {
    word: "choice",
    parse: |raw| {
        let text = raw.text()?;
        // Its name of before.
        let text = if text == "lock-extend" { "object-lock-extend" } else { text };
        if KINDS.contains(&text) {
            return Ok(text.to_owned());
        }
        let next = match nearest(text, KINDS) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("use one of {}", KINDS.join(", ")),
        };
        Err(Problem::new(format!("unknown kind of job `{text}`")).next(next))
    },
    show: shown,
};
const KINDS: [&str; 9] =
    ["run", "backup", "check", "verify", "forget", "prune", "copy", "object-lock-extend", "command"];
const CATCH_UP_KIND: Kind<CatchUp> = Kind {
    word: "duration, never or always",
    parse: |raw| match raw.text()? {
        "never" => Ok(CatchUp::Never),
        "always" => Ok(CatchUp::Always),
        text => match unit::duration(text) {
            Ok(time) => Ok(CatchUp::Within(time)),
            Err(problem) => Err(problem.next("use a duration such as 24h, never or always")),
        },
    },
    show: shown,
};
const OVERLAP_KIND: Kind<Overlap> = Kind {
    word: "choice",
    parse: |raw| match raw.text()? {
        "skip" => Ok(Overlap::Skip),
        "queue" => Ok(Overlap::Queue),
        other => Err(Problem::new(format!("invalid value `{other}`")).next("use skip or queue")),
    },
    show: shown,
};
/// The address of a server. Everybody on the machine can read a program's arguments.
pub(super) const SERVER_KIND: Kind<String> = Kind {
    word: "text",
    parse: |raw| {
        let text = raw.text()?;
        let authority = text.split_once("://").map_or(text, |(_, rest)| rest);
        let user = authority.split_once('@').map(|(user, _)| user);
        if user.is_some_and(|user| user.contains(':')) || text.contains("password=") {
            let next = "leave it out, and put it into ~/.pgpass or PGPASSFILE";
            return Err(Problem::new("a server for `verify` bears no password").next(next));
        }
        Ok(text.to_owned())
    },
    show: shown,
};

fn shown(raw: &Raw) -> Option<Raw> {
    Some(raw.clone())
}

section! {
    /// What holds for all jobs.
    SCHEDULE_TABLE, "schedule", "", "What holds for all jobs of `dumpvault schedule daemon`.",
    MAX_PARALLEL: u32 = SOME, Entry::new("max_parallel", "Run at most this many jobs at the same time.", "2").default("2");
    GROUP_ALERTS: Duration = TIME, Entry::new(
        "group_alerts", "How long alerts wait for others of the same cause, so that one message tells all.", "\"30s\"").default("30s");
    SPACE_BELOW: f64 = FRACTION, Entry::new(
        "space_below", "Alert when a smaller fraction of the repository's disk is free; 0 for never.", "\"10%\"").default("0.1");
}

section! {
    /// A job.
    JOB_TABLE, "job.NAME", "", "A job that `dumpvault schedule daemon` runs. It has one of `cron`, `daily` and `every`.",
    JOB_KIND: String = WORK, Entry::new(
        "kind", "What it does: run, backup, check, verify, forget, prune, copy, object-lock-extend, command. Where nothing is said: backup with `sources`, command with `command`, and else run.",
        "\"backup\"");
    JOB_SYSTEM: String = TEXT, Entry::new("system", "For run: the system; all sources where no system is configured.", "\"shop\"");
    JOB_SOURCES: Vec<String> = TEXTS, Entry::new("sources", "For backup: names of its sources.", "[\"app\"]");
    JOB_PART: f64 = PART, Entry::new("part", "For check: read this share of the packs; otherwise metadata only.", "\"1/30\"");
    JOB_SNAPSHOT: String = TEXT, Entry::new("snapshot", "For verify: the snapshot's name; the newest of all otherwise.", "\"app\"");
    JOB_SERVER: String = SERVER_KIND, Entry::new(
        "server", "For verify: server for the scratch database, without a password.", "\"postgres://postgres@test1/postgres\"");
    JOB_TO: String = TEXT, Entry::new("to", "For copy: one destination; all otherwise.", "\"offsite\"");
    JOB_COMMAND: String = COMMAND, Entry::new("command", "For command: a shell command.", "\"/usr/local/bin/tidy\"");
    CRON: String = TEXT, Entry::new(
        "cron", "When it runs: minute, hour, day of the month, month, day of the week; or @hourly, @daily, @weekly, @monthly.",
        "\"15 3 * * *\"");
    DAILY: String = TEXT, Entry::new("daily", "Each day at this time.", "\"03:15\"");
    EVERY: Duration = TIME, Entry::new("every", "At multiples of this time since 1970, whatever clocks do.", "\"6h\"");
    JOB_ZONE: TimeZone = ZONE, Entry::new(
        "time_zone", "Time zone of `cron` and `daily`; the `time_zone` of all otherwise.", "\"Europe/Berlin\"");
    JITTER: Duration = TIME, Entry::new(
        "jitter", "Put each slot off by up to this, by an amount that depends on host, job and slot.", "\"10m\"");
    CATCH_UP: CatchUp = CATCH_UP_KIND, Entry::new(
        "catch_up", "Run once if slots were missed and the newest is no older than this: a duration, never or always.",
        "\"24h\"").default("24h");
    OVERLAP: Overlap = OVERLAP_KIND, Entry::new(
        "overlap", "What becomes of a slot whose job still runs: skip, or queue (one at most).", "\"skip\"").default("skip");
    JOB_TIMEOUT: Duration = TIME, Entry::new("timeout", "Stop a run that takes longer.", "\"6h\"");
    STALL: Duration = TIME, Entry::new("stall", "Stop a run that does nothing for this long.", "\"15m\"").default("15m");
    GRACE: Duration = TIME, Entry::new(
        "grace", "Alert when a slot has no good run this long after it was due.", "\"1h\"").default("1h");
    ENABLED: bool = BOOLEAN, Entry::new("enabled", "Whether it runs at all.", "false").default("true");
    RUN_AT_START: bool = BOOLEAN, Entry::new("run_at_start", "Run a new job once at once.", "true").default("false");
}

section! {
    /// How failures are tried again.
    RETRY_TABLE, "job.NAME.retry", "",
    "How failed runs are tried again: those with exit code 2, 5 or 7, those that were cut short, and the failed sources of 1.",
    ATTEMPTS: u32 = SOME, Entry::new("attempts", "Tries in all; 1 for no second one.", "3").default("3");
    FIRST: Duration = TIME, Entry::new("first", "Time before the second.", "\"1m\"").default("1m");
    RETRY_FACTOR: u32 = SOME, Entry::new("factor", "How many times as long each later one waits.", "5").default("5");
}

/// The tables of the scheduler.
pub(super) static SECTIONS: [&Section; 3] = [&SCHEDULE_TABLE, &JOB_TABLE, &RETRY_TABLE];

/// What jobs may name.
pub(super) struct Known<'a> {
    pub systems: &'a [String],
    pub sources: &'a [String],
    pub copies: &'a [String],
    pub zone: &'a TimeZone,
}

/// What `[schedule]` says.
pub(super) struct Common {
    pub most: u32,
    pub group: Duration,
    pub space_below: f64,
}

/// All jobs, and what holds for all.
pub(super) fn jobs(table: &mut Table<'_>, known: &Known<'_>) -> (BTreeMap<String, Job>, Common) {
    let mut all = table.table("schedule");
    let common = Common {
        most: all.take(&MAX_PARALLEL).map_or(1, |found| found.value),
        group: all.take(&GROUP_ALERTS).map_or(Duration::ZERO, |found| found.value),
        space_below: all.take(&SPACE_BELOW).map_or(0.0, |found| found.value),
    };
    all.finish(&[]);
    let tables = table.tables("job");
    let jobs = tables.into_iter().filter_map(|(name, table)| Some((name.clone(), job(&name, table, known)?)));
    (jobs.collect(), common)
}

fn job(name: &str, mut table: Table<'_>, known: &Known<'_>) -> Option<Job> {
    let table_ref = &mut table;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(is_plain) {
        let next = "use up to 64 letters, digits, `.`, `_` and `-`";
        table_ref.wrong(None, Problem::new(format!("invalid name of a job `{name}`")).next(next));
    }
    let work = work(table_ref, known);
    let schedule = schedule(table_ref, known);
    let retry = retry(table_ref);
    let mut take = |key: &Key<Duration>| table_ref.take(key).map(|found| found.value);
    let (jitter, timeout, stall) = (take(&JITTER).unwrap_or_default(), take(&JOB_TIMEOUT), take(&STALL));
    let grace = take(&GRACE);
    let catch_up = table_ref.take(&CATCH_UP);
    let overlap = table_ref.take(&OVERLAP);
    let mut take = |key: &Key<bool>| table_ref.take(key).map(|found| found.value);
    let (enabled, run_at_start) = (take(&ENABLED), take(&RUN_AT_START));
    table.finish(&[]);
    Some(Job {
        work: work?,
        schedule: schedule?,
        jitter,
        catch_up: catch_up?.value,
        overlap: overlap?.value,
        timeout,
        stall: stall?,
        retry: retry?,
        grace: grace?,
        enabled: enabled?,
        run_at_start: run_at_start?,
    })
}

fn retry(table: &mut Table<'_>) -> Option<Retry> {
    let mut table = table.table("retry");
    let attempts = table.take(&ATTEMPTS);
    let first = table.take(&FIRST);
    let factor = table.take(&RETRY_FACTOR);
    table.finish(&[]);
    Some(Retry { attempts: attempts?.value, first: first?.value, factor: factor?.value })
}

/// What there is of the three ways to say when.
fn schedule(table: &mut Table<'_>, known: &Known<'_>) -> Option<Schedule> {
    let zone = table.take(&JOB_ZONE).map_or_else(|| known.zone.clone(), |found| found.value);
    let there = ["cron", "daily", "every"].into_iter().filter(|key| table.has(key)).count();
    if there != 1 {
        let text = if there == 0 {
            "nothing says when the job runs"
        } else {
            "several settings say when the job runs"
        };
        table.wrong(None, Problem::new(text).next("use one of `cron`, `daily` and `every`"));
    }
    let cron = table.take_and(&CRON, |text| Schedule::cron(&text, zone.clone()));
    let daily = table.take_and(&DAILY, |text| Schedule::daily(&text, zone.clone()));
    let every = table.take_and(&EVERY, |time| Schedule::every(time, zone.clone()));
    cron.or(daily).or(every).map(|found| found.value)
}

/// What it does, and that it has no settings of what others do.
fn work(table: &mut Table<'_>, known: &Known<'_>) -> Option<Work> {
    let kind = table.take(&JOB_KIND).map(|found| found.value);
    let is = |key: &str| table.has(key);
    let kind = kind.unwrap_or_else(|| match (is("sources"), is("command")) {
        (true, _) => "backup".to_owned(),
        (false, true) => "command".to_owned(),
        (false, false) => "run".to_owned(),
    });
    let system = own(table, &JOB_SYSTEM, "run", &kind);
    let sources = own(table, &JOB_SOURCES, "backup", &kind);
    let part = own(table, &JOB_PART, "check", &kind).map(|found| found.value);
    let snapshot = own(table, &JOB_SNAPSHOT, "verify", &kind);
    let snapshot = snapshot.map_or_else(|| "latest".to_owned(), |found| found.value);
    let server = own(table, &JOB_SERVER, "verify", &kind).map(|found| found.value);
    let to = own(table, &JOB_TO, "copy", &kind);
    let command = own(table, &JOB_COMMAND, "command", &kind).map(|found| found.value);
    let system = system.map(|found| one_of(table, &JOB_SYSTEM, found, (known.systems, "system")));
    let to = to.map(|found| one_of(table, &JOB_TO, found, (known.copies, "copy")));
    let sources = sources.map_or_else(Vec::new, |Value { value, origin }| {
        let there =
            |name: &String| must_be_there(table, &JOB_SOURCES, name, &origin, (known.sources, "source"));
        value.iter().for_each(there);
        value
    });
    let missing = |key: &str, next: &str| {
        table.wrong(None, Problem::new(format!("a job of kind {kind} needs `{key}`")).next(next.to_owned()));
        None
    };
    Some(match kind.as_str() {
        "run" => Work::Run { system },
        "backup" if sources.is_empty() => {
            return missing("sources", "name them, such as `sources = [\"app\"]`");
        }
        "backup" => Work::Backup { sources },
        "check" => Work::Check { part },
        "verify" => Work::Verify { snapshot, server },
        "forget" => Work::Forget,
        "prune" => Work::Prune,
        "copy" => Work::Copy { to },
        "object-lock-extend" => Work::LockExtend,
        _ => match command {
            Some(command) => Work::Command(command),
            None => return missing("command", "name a shell command"),
        },
    })
}

/// The value of a key that only one kind of job has.
fn own<T>(table: &mut Table<'_>, key: &Key<T>, of: &str, kind: &str) -> Option<Value<T>> {
    let found = table.take(key)?;
    if of != kind {
        let problem = Problem::new(format!("a job of kind {kind} has no `{}`", key.entry.name));
        table.wrong(Some((key.entry.name, &found.origin)), problem.next("take it out, or change `kind`"));
    }
    Some(found)
}

fn one_of(table: &Table<'_>, key: &Key<String>, found: Value<String>, known: (&[String], &str)) -> String {
    must_be_there(table, key, &found.value, &found.origin, known);
    found.value
}

fn must_be_there<T>(
    table: &Table<'_>,
    key: &Key<T>,
    name: &str,
    origin: &Origin,
    (known, kind): (&[String], &str),
) {
    if known.iter().any(|known| known == name) {
        return;
    }
    let next = match nearest(name, known.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("add [{kind}.{name}]"),
    };
    let problem = Problem::new(format!("there is no `[{kind}.{name}]`")).next(next);
    table.wrong(Some((key.entry.name, origin)), problem);
}
