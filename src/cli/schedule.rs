//! `dumpvault schedule`: the daemon at a terminal, and what is shown of jobs.

use super::args::{ScheduleArgs, ScheduleCommand};
use super::exit::Exit;
use super::report::CliError;
use super::table::Table;
use super::{Context, clean, render};
use crate::base::clock::Clock;
use crate::base::name::nearest;
use crate::base::schedule::Schedule;
use crate::base::secret::OsEntropy;
use crate::daemon::alert::post::{Postman, over_the_wire};
use crate::daemon::book::{OpenRun, StateError, Trigger};
use crate::daemon::due::Slots;
use crate::daemon::launch::{Program, new_id};
use crate::daemon::serve::{Daemon, ServeError, is_running, ring, serve};
use crate::daemon::state::{Asked, JobRow, RunRow, State};
use crate::engine::app::{self, Settings};
use crate::engine::report::{
    ExplainedSlot, NextSlot, Schedule as ScheduleReport, ScheduleEnded, ScheduleExplained, ScheduleGap,
    ScheduleNext, SchedulePaused, SchedulePlan, ScheduleTriggered, ScheduledJob, ScheduledRun, Time,
};
use crate::settings::{Flags, Job, age};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Slots that `explain` lists.
const EXPLAINED: usize = 10;
/// Slots without a run that `list` shows, of the last week.
const GAPS: u32 = 20;
const WEEK_MS: i64 = 7 * 86_400_000;

pub(super) fn run(context: &Context, args: &ScheduleArgs, flags: &Flags) -> Result<Exit, CliError> {
    match &args.command {
        ScheduleCommand::Daemon => daemon(context, flags),
        ScheduleCommand::List => list(context),
        ScheduleCommand::Next { count } => next(context, *count),
        ScheduleCommand::Explain { what, time_zone } => explain(context, what, time_zone.as_deref()),
        ScheduleCommand::Trigger { job } => trigger(context, job),
        ScheduleCommand::Pause { job, time } => {
            let now = context.clock.now();
            let zone = &context.app.settings.calendar.zone;
            // Backwards and forwards an age is as long but for months.
            let long = now.duration_since(age(time, "--for")?.before(now, zone));
            let until = now.saturating_add(long).map_err(|error| CliError::usage(error.to_string()))?;
            pause(context, std::slice::from_ref(job), Some(until.as_millisecond()))
        }
        ScheduleCommand::Resume { job } => {
            let all = || context.app.settings.jobs.keys().cloned().collect();
            let jobs: Vec<String> = job.as_ref().map_or_else(all, |job| vec![job.clone()]);
            pause(context, &jobs, None)
        }
        ScheduleCommand::Init => init(context),
    }
}

impl From<StateError> for CliError {
    fn from(error: StateError) -> Self {
        let (exit, hint) = match &error {
            StateError::Newer { .. } => (Exit::Usage, "use the newer version of dumpvault"),
            StateError::Damaged { .. } => {
                (Exit::NothingDone, "move the file away: no backup depends on it, and a new one is made")
            }
            StateError::Unusable { .. } => {
                (Exit::NothingDone, "make the state directory writable, or set XDG_STATE_HOME to one that is")
            }
            StateError::Raced { .. } => (Exit::Conflict, "try again"),
        };
        let message = error.to_string();
        Self::Told { message, hint: Some(hint.to_owned()), code: Some("state"), kind: None, exit }
    }
}

impl From<ServeError> for CliError {
    fn from(error: ServeError) -> Self {
        match error {
            ServeError::State(error) => error.into(),
            ServeError::Running { .. } => Self::Told {
                message: error.to_string(),
                hint: Some("stop it first, or use another XDG_STATE_HOME".to_owned()),
                code: Some("running"),
                kind: None,
                exit: Exit::Conflict,
            },
            ServeError::Io { path, source } => Self::File { path: path.display().to_string(), source },
        }
    }
}

fn state(context: &Context) -> Result<State, CliError> {
    Ok(State::open(&context.app.environment.state_root())?)
}

/// This machine, for jitter.
pub(super) fn machine(context: &Context) -> String {
    let id = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    format!("{}{}", id.trim(), context.app.host())
}

fn slots<'a>(context: &Context, name: &str, job: &'a Job) -> Slots<'a> {
    Slots::of(&machine(context), name, job)
}

fn daemon(context: &Context, flags: &Flags) -> Result<Exit, CliError> {
    let settings = &context.app.settings;
    clean::tell(&format!("dumpvault: scheduler started with {}", render::count(settings.jobs.len(), "job")));
    run_jobs(context, flags, &mut || Ok(()), &mut |_| {})
}

/// Runs jobs until it is asked to stop. `begun` is called once it is the only scheduler; `read` each time that the
/// configuration was read.
pub(super) fn run_jobs(
    context: &Context,
    flags: &Flags,
    begun: &mut dyn FnMut() -> Result<(), ServeError>,
    read: &mut dyn FnMut(&Settings),
) -> Result<Exit, CliError> {
    let environment = context.app.environment.clone();
    let settings = &context.app.settings;
    let number = |name: &str| environment.text(name).and_then(|text| text.parse::<u64>().ok());
    let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    let watchdog = number("WATCHDOG_USEC").filter(|_| is_ours).map(Duration::from_micros);
    let program = program(flags)?;
    let tell = &mut |line: &str| clean::tell(&format!("dumpvault: {line}"));
    serve(Daemon {
        state: environment.state_root(),
        program,
        clock: &context.clock,
        entropy: Box::new(OsEntropy),
        machine: machine(context),
        notify: environment.path("NOTIFY_SOCKET").map(Into::into),
        watchdog,
        jobs: (settings.jobs.clone(), settings.jobs_parallel, settings.alerts.clone()),
        postman: postman(context),
        disks: disks(context),
        reload: &mut || {
            let settings = app::settings(flags, &environment).map_err(|error| error.to_string())?;
            read(&settings);
            Ok((settings.jobs, settings.jobs_parallel, settings.alerts))
        },
        tell,
        begun,
    })?;
    if context.json {
        context.report(ScheduleEnded { stopped: true });
    }
    Ok(Exit::Good)
}

/// Who tells of what is wrong.
pub(super) fn postman(context: &Context) -> Postman {
    Postman {
        state: context.app.environment.state_root(),
        clock: Arc::new(context.clock),
        entropy: Arc::new(OsEntropy),
        host: context.app.host(),
        zone: context.app.settings.calendar.zone.clone(),
        deliver: over_the_wire(context.app.environment.clone()),
    }
}

/// The disks that may fill: of the state, and of a repository on this machine.
fn disks(context: &Context) -> Vec<(&'static str, PathBuf)> {
    let mut disks = vec![("state directory", context.app.environment.state_root())];
    let place = context.app.settings.repository.place.as_ref().filter(|place| place.value.is_local());
    if let Some(place) = place {
        let path = place.value.to_string();
        let path = path.strip_prefix("file://").unwrap_or(&path);
        disks.push(("repository", context.app.environment.directory.join(path)));
    }
    disks
}

/// How this program is started again.
pub(super) fn program(flags: &Flags) -> Result<Program, CliError> {
    let path = std::env::current_exe().map_err(CliError::WorkingDirectory)?;
    Ok(Program { path, options: options(flags) })
}

/// What the scheduler was given is what its runs are given.
fn options(flags: &Flags) -> Vec<OsString> {
    let names = [
        "--repo",
        "--config",
        "--password-file",
        "--key-file",
        "--s3-endpoint",
        "--s3-region",
        "--object-lock",
        "--limit-upload",
        "--limit-download",
        "--cache-size",
    ];
    let given = names.into_iter().filter_map(|name| Some([OsString::from(name), flags.get(name)?.clone()]));
    given.flatten().collect()
}

fn job<'a>(context: &'a Context, name: &str) -> Result<&'a Job, CliError> {
    let jobs = &context.app.settings.jobs;
    jobs.get(name).ok_or_else(|| {
        let hint = match nearest(name, jobs.keys().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("add [job.{name}] to the configuration"),
        };
        CliError::usage_hint(format!("there is no job `{name}`"), hint)
    })
}

fn moment(ms: i64) -> Timestamp {
    crate::base::clock::timestamp(ms)
}

fn local(ms: i64, zone: &TimeZone) -> String {
    moment(ms).to_zoned(zone.clone()).strftime("%a %Y-%m-%d %H:%M:%S %:z").to_string()
}

fn list(context: &Context) -> Result<Exit, CliError> {
    let state = state(context)?;
    let (rows, gaps) = (state.job_rows()?, state.gaps(GAPS)?);
    let running = is_running(&context.app.environment.state_root());
    let now = context.clock.now().as_millisecond();
    let jobs = context.app.settings.jobs.iter();
    let next = |name: &str, job: &Job| {
        let row = rows.get(name).filter(|row| row.schedule == job.schedule.text());
        let cursor = row.map_or(now, |row| row.cursor.max(row.paused_until.unwrap_or(row.cursor)));
        slots(context, name, job).next(cursor).map(|(_, due)| due).filter(|_| job.enabled)
    };
    let paused = |row: &JobRow| row.paused_until.filter(|until| *until > now);
    if context.json {
        let jobs = jobs.map(|(name, job)| {
            let row = rows.get(name);
            ScheduledJob {
                name: name.clone(),
                kind: job.work.word().to_owned(),
                schedule: job.schedule.text(),
                enabled: job.enabled,
                paused_until: row.and_then(paused).map(Time::from_ms),
                next: next(name, job).map(Time::from_ms),
                open: row.and_then(|row| row.open.as_ref()).map(shown),
                last: row.and_then(|row| row.last.as_ref()).map(shown),
                last_good: row.and_then(|row| row.last_good).map(Time::from_ms),
            }
        });
        let gaps = gaps.into_iter().map(|(slot, job, decision, slots)| ScheduleGap {
            job,
            slot: Time::from_ms(slot),
            decision,
            slots,
        });
        context.report(ScheduleReport { running, jobs: jobs.collect(), gaps: gaps.collect() });
        return Ok(Exit::Good);
    }
    if context.app.settings.jobs.is_empty() {
        context.output("no jobs; `dumpvault schedule init` prints a standard plan");
        return Ok(Exit::Good);
    }
    let lines: Vec<Vec<String>> = jobs
        .map(|(name, job)| {
            let row = rows.get(name);
            let state = match row {
                _ if !job.enabled => "disabled".to_owned(),
                Some(row) if paused(row).is_some() => {
                    format!(
                        "paused until {}",
                        local(row.paused_until.unwrap_or_default(), job.schedule.zone())
                    )
                }
                Some(JobRow { open: Some(open), .. }) => open.status.to_lowercase().replace('_', " "),
                Some(JobRow { last: Some(last), .. }) => match &last.reason {
                    Some(reason) if last.status == "FAILED" => format!("failed: {reason}"),
                    _ => last.status.to_lowercase(),
                },
                _ => "-".to_owned(),
            };
            let ago = row.and_then(|row| row.last_good).map(|at| render::ago(now.saturating_sub(at)));
            vec![
                name.clone(),
                job.work.word().to_owned(),
                job.schedule.text(),
                next(name, job).map_or_else(|| "-".to_owned(), |at| local(at, job.schedule.zone())),
                ago.unwrap_or_else(|| "never".to_owned()),
                state,
            ]
        })
        .collect();
    let titles = ["JOB", "KIND", "SCHEDULE", "NEXT", "LAST GOOD", "STATE"];
    context.table(&Table { fixed: &[0, 3], ..Table::new(&titles, &[], &lines) });
    let zone = &context.app.settings.calendar.zone;
    for (slot, job, decision, slots) in gaps.iter().filter(|(slot, ..)| *slot > now.saturating_sub(WEEK_MS)) {
        let which = if *slots == 1 { String::new() } else { format!(", the newest of {slots}") };
        context.output(&format!("{decision}: {job} at {}{which}", local(*slot, zone)));
    }
    if !running {
        context.warn("no scheduler is running: start `dumpvault schedule daemon`".to_owned());
    }
    Ok(Exit::Good)
}

fn shown(run: &RunRow) -> ScheduledRun {
    ScheduledRun {
        id: run.id.clone(),
        trigger: run.trigger.clone(),
        slot: run.slot.map(Time::from_ms),
        status: run.status.clone(),
        started: run.started.map(Time::from_ms),
        ended: run.ended.map(Time::from_ms),
        attempts: run.attempts,
        exit_code: run.exit,
        reason: run.reason.clone(),
    }
}

fn next(context: &Context, count: u32) -> Result<Exit, CliError> {
    let now = context.clock.now().as_millisecond();
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let mut all: Vec<(i64, i64, &str, &Job)> = Vec::new();
    for (name, job) in context.app.settings.jobs.iter().filter(|(_, job)| job.enabled) {
        let slots = slots(context, name, job);
        let mut cursor = now;
        for _ in 0..count {
            let Some((slot, due)) = slots.next(cursor) else { break };
            all.push((due, slot, name, job));
            cursor = slot;
        }
    }
    all.sort_by_key(|(due, _, name, _)| (*due, *name));
    all.truncate(count);
    if context.json {
        let slots = all.iter().map(|(due, slot, name, job)| NextSlot {
            job: (*name).to_owned(),
            slot: Time::from_ms(*slot),
            due: Time::from_ms(*due),
            local: local(*slot, job.schedule.zone()),
        });
        context.report(ScheduleNext { slots: slots.collect() });
        return Ok(Exit::Good);
    }
    if all.is_empty() {
        context.output(match context.app.settings.jobs.is_empty() {
            true => "no jobs; `dumpvault schedule init` prints a standard plan",
            false => "no slots: every job is disabled",
        });
        return Ok(Exit::Good);
    }
    let row = |(due, _, name, job): &(i64, i64, &str, &Job)| {
        let words = job.schedule.words();
        vec![local(*due, job.schedule.zone()), (*name).to_owned(), job.work.word().to_owned(), words]
    };
    let rows: Vec<Vec<String>> = all.iter().map(row).collect();
    context.table(&Table { fixed: &[0, 1], ..Table::new(&["DUE", "JOB", "KIND", "WHEN"], &[], &rows) });
    Ok(Exit::Good)
}

fn explain(context: &Context, what: &str, zone: Option<&str>) -> Result<Exit, CliError> {
    let own = context.app.settings.jobs.get(what).map(|job| job.schedule.clone());
    let schedule = match own {
        Some(schedule) => schedule,
        None => {
            let zone = match zone {
                Some(name) => {
                    TimeZone::get(name).map_err(|_| CliError::usage(format!("unknown time zone `{name}`")))?
                }
                None => context.app.settings.calendar.zone.clone(),
            };
            Schedule::cron(what, zone)
                .map_err(|problem| CliError::Usage { message: problem.text, hint: problem.next })?
        }
    };
    let mut at = context.clock.now();
    let mut slots = Vec::new();
    while let Some(slot) = schedule.next(at).filter(|_| slots.len() < EXPLAINED) {
        slots.push(slot.as_millisecond());
        at = slot;
    }
    if context.json {
        let slots = slots.into_iter();
        let slots = slots
            .map(|slot| ExplainedSlot { slot: Time::from_ms(slot), local: local(slot, schedule.zone()) });
        context.report(ScheduleExplained {
            schedule: schedule.text(),
            words: schedule.words(),
            slots: slots.collect(),
        });
        return Ok(Exit::Good);
    }
    context.output(&format!("{}: {}", schedule.text(), schedule.words()));
    let row = |slot: &i64| vec![local(*slot, schedule.zone()), moment(*slot).to_string()];
    let rows: Vec<Vec<String>> = slots.iter().map(row).collect();
    context.table(&Table { fixed: &[0, 1], ..Table::new(&["LOCAL", "UTC"], &[], &rows) });
    Ok(Exit::Good)
}

/// Who asks, for the audit log.
pub(super) fn actor(context: &Context) -> String {
    let name = context.app.environment.text("SUDO_USER").or_else(|| context.app.environment.text("USER"));
    let uid = context.app.environment.uid;
    name.map_or_else(|| format!("uid {uid}"), |name| format!("{name} (uid {uid})"))
}

fn trigger(context: &Context, name: &str) -> Result<Exit, CliError> {
    let wanted = job(context, name)?;
    let refuse =
        |message: String, hint: &str| Err(CliError::Refused { message, hint: Some(hint.to_owned()) });
    if !wanted.enabled {
        return refuse(
            format!("job `{name}` is disabled"),
            "take `enabled = false` out of the configuration",
        );
    }
    let root = context.app.environment.state_root();
    if !is_running(&root) {
        return refuse(
            "no scheduler is running".to_owned(),
            "start `dumpvault schedule daemon`, or use `dumpvault run`",
        );
    }
    let now = context.clock.now().as_millisecond();
    let run = OpenRun {
        id: new_id(context.app.entropy(), now),
        job: name.to_owned(),
        kind: wanted.work.word().to_owned(),
        trigger: Trigger::Manual,
        slot: None,
        queued: now,
        not_before: now,
        attempt: 0,
        started: None,
        parts: Vec::new(),
    };
    if let Asked::Busy(other) = state(context)?.ask(&run, &actor(context))? {
        return Err(CliError::Told {
            message: format!("job `{name}` has a run that has not ended: {other}"),
            hint: Some("wait for it: `dumpvault schedule list` tells".to_owned()),
            code: Some("busy"),
            kind: None,
            exit: Exit::Conflict,
        });
    }
    ring(&root);
    if context.json {
        context.report(ScheduleTriggered { job: name.to_owned(), run: run.id.0 });
    } else {
        context.say(&format!("{name}: run {} is queued", run.id));
    }
    Ok(Exit::Good)
}

fn pause(context: &Context, names: &[String], until: Option<i64>) -> Result<Exit, CliError> {
    let now = context.clock.now().as_millisecond();
    let mut state = state(context)?;
    for name in names {
        let schedule = job(context, name)?.schedule.text();
        state.pause(name, &schedule, until, now, &actor(context))?;
    }
    ring(&context.app.environment.state_root());
    if context.json {
        context.report(SchedulePaused { jobs: names.to_vec(), until: until.map(Time::from_ms) });
        return Ok(Exit::Good);
    }
    for name in names {
        let zone = job(context, name)?.schedule.zone().clone();
        match until {
            Some(until) => context.say(&format!("{name}: paused until {}", local(until, &zone))),
            None => context.say(&format!("{name}: runs at its times")),
        }
    }
    Ok(Exit::Good)
}

/// What most sites want: back up by night, check a part each day, prune each week.
fn init(context: &Context) -> Result<Exit, CliError> {
    let settings = &context.app.settings;
    let quoted = |name: &String| format!("\"{name}\"");
    let mut jobs = vec![match settings.systems.keys().next() {
        Some(system) => format!(
            "[job.nightly]\nkind = \"run\"\nsystem = \"{system}\"\ncron = \"15 3 * * *\"\njitter = \"10m\"\n"
        ),
        None if settings.sources.is_empty() => {
            return Err(CliError::usage_hint("there are no sources to back up", "add a [source.NAME] first"));
        }
        None => {
            let sources: Vec<String> = settings.sources.keys().map(quoted).collect();
            format!(
                "[job.nightly]\nkind = \"backup\"\nsources = [{}]\ncron = \"15 3 * * *\"\njitter = \"10m\"\n",
                sources.join(", ")
            )
        }
    }];
    jobs.push("[job.check]\nkind = \"check\"\npart = \"1/30\"\ncron = \"0 6 * * *\"\n".to_owned());
    if settings.retention.is_some() || settings.sources.values().any(|source| source.retention.is_some()) {
        jobs.push("[job.forget]\nkind = \"forget\"\ncron = \"0 7 * * *\"\n".to_owned());
    }
    jobs.push("[job.prune]\nkind = \"prune\"\ncron = \"0 8 * * sun\"\n".to_owned());
    if !settings.copies.is_empty() {
        jobs.push("[job.copy]\nkind = \"copy\"\ncron = \"0 5 * * *\"\n".to_owned());
    }
    let toml = jobs.join("\n");
    if context.json {
        context.report(SchedulePlan { toml });
    } else {
        super::print_as_is(toml.trim_end());
    }
    Ok(Exit::Good)
}
