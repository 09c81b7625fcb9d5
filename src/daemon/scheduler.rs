//! The scheduler as a state machine: clock, store and processes are handed in, and nothing else has a say.
//!
//! A tick reads what ended, decides every slot that is due, writes both in one transaction, and only then starts
//! processes. A slot whose row is written is never decided again; a run whose start is written is never started a
//! second time without its process being gone.

mod decide;
mod ended;

use super::book::{Changes, JobState, Note, OpenRun, RunChange, RunId, StateError, Store};
use super::due::{Slots, ms};
use super::verdict::{Exit, Why};
use crate::settings::Job;
use std::collections::{BTreeMap, BTreeSet};

/// The longest sleep: the wall clock is read at least so often, so that a jump of it needs no path of its own.
pub const SLEEP_MS_MAX: i64 = 30_000;
/// No clock that is right shows an earlier time: 2026-11-01.
const EARLIEST_MS: i64 = 1_793_491_200_000;
/// A jump of the clock by more than this is noted.
const JUMP_MS: i64 = 2_000;
/// A clock that went back by more than this is an alarm.
const BACK_MS: i64 = 3_600_000;
/// What is stopped is gone by then: it is killed after 30 seconds, and somebody has to see it.
const STOP_MS: i64 = 60_000;

/// Starts processes and knows of them.
pub trait Launcher {
    /// Starts the run's process.
    ///
    /// # Errors
    /// Why it cannot.
    fn start(&mut self, run: &OpenRun, job: &Job) -> Result<(), String>;

    /// Whether the process of a run that another scheduler started is still there; from now on it is watched.
    fn adopt(&mut self, run: &RunId) -> bool;

    /// Whether that process is watched.
    fn has(&self, run: &RunId) -> bool;

    /// Whether somebody asked for that run to be stopped.
    fn is_asked_to_stop(&self, run: &RunId) -> bool;

    /// Processes that have ended since the last call.
    fn ended(&mut self) -> Vec<(RunId, Exit)>;

    /// How long the process is there, by a clock that knows no jumps.
    fn age_ms(&self, run: &RunId) -> i64;

    /// Whether the process has done nothing for that long.
    fn is_stalled(&mut self, run: &RunId, for_ms: i64) -> bool;

    /// Asks a process to stop. It is told as ended later, with that reason.
    fn stop(&mut self, run: &RunId, why: Why);

    /// A name for a new run.
    fn new_id(&mut self, now_ms: i64) -> RunId;
}

/// Something that a person should know at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alarm {
    /// The clock is wrong; nothing is decided.
    Clock(String),
    /// A job takes longer than its interval.
    TooLong(String),
    /// A run failed for good.
    Failed(String),
    /// Slots were missed.
    Missed(String),
}

/// The scheduler.
pub struct Scheduler<S, L> {
    /// Where everything is kept.
    pub store: S,
    /// What runs the jobs.
    pub launcher: L,
    jobs: BTreeMap<String, Job>,
    most: usize,
    /// What jitter depends on.
    machine: String,
    states: BTreeMap<String, JobState>,
    open: BTreeMap<RunId, OpenRun>,
    newest: Option<i64>,
    is_loaded: bool,
    /// What ended and is not written yet.
    ended: BTreeMap<RunId, Exit>,
    /// How often a run was stopped to make room for a backup: tries that do not count.
    gave_way: BTreeMap<RunId, u32>,
    /// Runs that were asked to make room and have not ended.
    giving_way: BTreeSet<RunId>,
    /// When the next slot of each job is due, by its cursor.
    next: BTreeMap<String, (i64, Option<i64>)>,
    /// Wall clock minus time since boot, at the last tick.
    clock_offset: Option<i64>,
    /// Runs that have ended and may have changed the repository.
    ended_count: u64,
    /// Nothing is started any more.
    is_stopping: bool,
    alarms: Vec<Alarm>,
}

impl<S: Store, L: Launcher> Scheduler<S, L> {
    /// With these jobs.
    pub fn new(store: S, launcher: L, machine: String) -> Self {
        Self {
            store,
            launcher,
            jobs: BTreeMap::new(),
            most: 1,
            machine,
            states: BTreeMap::new(),
            open: BTreeMap::new(),
            newest: None,
            is_loaded: false,
            ended: BTreeMap::new(),
            gave_way: BTreeMap::new(),
            giving_way: BTreeSet::new(),
            next: BTreeMap::new(),
            clock_offset: None,
            ended_count: 0,
            is_stopping: false,
            alarms: Vec::new(),
        }
    }

    /// From now on these jobs, and so many of them at the same time.
    pub fn configure(&mut self, jobs: BTreeMap<String, Job>, most: u32) {
        self.jobs = jobs;
        self.most = usize::try_from(most).unwrap_or(usize::MAX).max(1);
        self.next.clear();
    }

    /// Decides nothing and starts nothing any more; what runs is asked to stop.
    pub fn stop(&mut self) {
        self.is_stopping = true;
        let running: Vec<RunId> = self.running().cloned().collect();
        running.iter().for_each(|run| self.launcher.stop(run, Why::Shutdown));
    }

    /// Where everything is kept, and the jobs.
    pub fn state_and_jobs(&mut self) -> (&mut S, &BTreeMap<String, Job>) {
        (&mut self.store, &self.jobs)
    }

    /// How many processes there are.
    pub fn running_count(&self) -> usize {
        self.running().count()
    }

    /// How many runs have ended that may have changed the repository.
    pub fn ended_count(&self) -> u64 {
        self.ended_count
    }

    fn running(&self) -> impl Iterator<Item = &RunId> {
        self.open
            .values()
            .filter(|run| run.is_running() && !self.ended.contains_key(&run.id))
            .map(|run| &run.id)
    }

    /// What a person should know since the last call.
    pub fn alarms(&mut self) -> Vec<Alarm> {
        std::mem::take(&mut self.alarms)
    }

    /// Does what is to be done at that moment; `since_boot` is the machine's age, which knows no jumps. Says when to
    /// come again at the latest.
    ///
    /// # Errors
    /// When the state cannot be read or written: then nothing was decided and nothing started, and a later tick makes
    /// up for it.
    pub fn tick(&mut self, now: i64, since_boot: Option<i64>) -> Result<i64, StateError> {
        self.ended.extend(self.launcher.ended());
        let result = self.step(now, since_boot);
        if result.is_err() {
            // What is in memory may not be what is written.
            self.is_loaded = false;
        }
        result
    }

    fn step(&mut self, now: i64, since_boot: Option<i64>) -> Result<i64, StateError> {
        if self.store.is_changed() || !self.is_loaded {
            self.load()?;
        }
        self.stop_what_takes_too_long();
        let mut changes = Changes::new(now);
        let offset = since_boot.map(|since_boot| now.saturating_sub(since_boot));
        self.note_jump(offset, &mut changes);
        self.take_ended(now, &mut changes)?;
        if !self.is_stopping && self.is_clock_right(now) {
            self.decide(now, &mut changes);
        }
        self.write(changes)?;
        self.clock_offset = offset.or(self.clock_offset);
        if !self.is_stopping {
            self.start(now)?;
            self.make_room(now);
        }
        Ok(self.wake(now))
    }

    fn load(&mut self) -> Result<(), StateError> {
        self.states = self.store.jobs()?;
        self.open = self.store.open_runs()?.into_iter().map(|run| (run.id.clone(), run)).collect();
        self.newest = self.store.newest()?;
        self.next.clear();
        self.is_loaded = true;
        // Processes of a scheduler that is gone.
        let unknown = self.open.values().filter(|run| run.is_running() && !self.launcher.has(&run.id));
        let unknown: Vec<RunId> =
            unknown.map(|run| run.id.clone()).filter(|run| !self.ended.contains_key(run)).collect();
        for run in unknown {
            if !self.launcher.adopt(&run) {
                self.ended.insert(run, Exit::Lost);
            }
        }
        Ok(())
    }

    fn stop_what_takes_too_long(&mut self) {
        for run in self.open.values() {
            let Some(job) = self.jobs.get(&run.job).filter(|_| run.is_running()) else { continue };
            if job.timeout.is_some_and(|timeout| self.launcher.age_ms(&run.id) > ms(timeout)) {
                self.launcher.stop(&run.id, Why::Timeout);
            } else if self.launcher.is_stalled(&run.id, ms(job.stall)) {
                self.launcher.stop(&run.id, Why::Stalled);
            }
        }
    }

    fn note_jump(&mut self, offset: Option<i64>, changes: &mut Changes) {
        let Some(jump) = offset.zip(self.clock_offset).map(|(now, before)| now.saturating_sub(before)) else {
            return;
        };
        if jump.saturating_abs() > JUMP_MS {
            let text = format!("the clock was set by {} s", jump / 1000);
            changes.notes.push(Note { kind: "clock", object: "clock".to_owned(), text });
        }
    }

    fn is_clock_right(&mut self, now: i64) -> bool {
        let newest = self.newest.unwrap_or(EARLIEST_MS);
        if now < EARLIEST_MS || now < newest.saturating_sub(BACK_MS) {
            let back = newest.max(EARLIEST_MS).saturating_sub(now) / 1000;
            self.alarms.push(Alarm::Clock(format!(
                "the clock is wrong, or was: it is {back} s behind; nothing is started"
            )));
        }
        now >= EARLIEST_MS && now >= newest
    }

    fn slots<'a>(&self, name: &str, job: &'a Job) -> Slots<'a> {
        Slots::of(&self.machine, name, job)
    }

    /// Writes, and only then believes it.
    fn write(&mut self, changes: Changes) -> Result<(), StateError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.store.commit(&changes)?;
        for (id, change) in changes.runs {
            self.ended.remove(&id);
            self.giving_way.remove(&id);
            match change {
                RunChange::Ended { .. } => {
                    self.open.remove(&id);
                    self.gave_way.remove(&id);
                }
                RunChange::Again { not_before, parts, .. } => {
                    if let Some(run) = self.open.get_mut(&id) {
                        (run.started, run.not_before, run.parts) = (None, not_before, parts);
                    }
                }
                RunChange::Starts => {
                    if let Some(run) = self.open.get_mut(&id) {
                        (run.started, run.attempt) = (Some(changes.at), run.attempt.saturating_add(1));
                    }
                }
            }
        }
        self.open.extend(changes.queued.into_iter().map(|run| (run.id.clone(), run)));
        self.states.extend(changes.jobs);
        self.newest = self.newest.max(Some(changes.at));
        Ok(())
    }

    /// Runs that would start if there were room.
    fn waiting(&self) -> Vec<&OpenRun> {
        let running: BTreeSet<&str> =
            self.open.values().filter(|run| run.is_running()).map(|run| run.job.as_str()).collect();
        let waits = |run: &&OpenRun| !run.is_running() && !running.contains(run.job.as_str());
        self.open.values().filter(waits).collect()
    }

    /// When each backup that would start if there were room may wait no longer.
    fn pressing(&self) -> impl Iterator<Item = i64> {
        let backups = self.waiting().into_iter().filter(|run| is_backup(&run.kind));
        backups.filter_map(|run| {
            let grace = ms(self.jobs.get(&run.job)?.grace);
            let patience = (grace / 2).min(grace.saturating_sub(STOP_MS)).max(0);
            Some(run.queued.saturating_add(patience).max(run.not_before))
        })
    }

    /// Prunes and checks that keep a backup from starting are stopped in time. They go on later: nothing of what they
    /// did is lost, or wrong.
    fn make_room(&mut self, now: i64) {
        let open = &self.open;
        self.giving_way.retain(|run| open.get(run).is_some_and(OpenRun::is_running));
        let pressing = self.pressing().filter(|at| *at <= now).count();
        let wanted = pressing.saturating_sub(self.giving_way.len());
        let mut maintenance: Vec<&OpenRun> =
            self.open.values().filter(|run| run.is_running() && gives_way(&run.kind)).collect();
        maintenance.retain(|run| !self.ended.contains_key(&run.id) && !self.giving_way.contains(&run.id));
        // The least urgent first, and of those the youngest: it loses least.
        maintenance.sort_by_key(|run| std::cmp::Reverse((urgency(&run.kind), run.started)));
        let chosen: Vec<RunId> = maintenance.into_iter().take(wanted).map(|run| run.id.clone()).collect();
        for run in chosen {
            self.launcher.stop(&run, Why::GivesWay);
            self.giving_way.insert(run);
        }
    }

    /// Starts what waits, as far as there is room: backups first.
    fn start(&mut self, now: i64) -> Result<(), StateError> {
        let mut waiting = self.waiting();
        waiting.retain(|run| run.not_before <= now);
        let room = self.most.saturating_sub(self.running_count());
        waiting.sort_by_key(|run| (urgency(&run.kind), run.slot.unwrap_or(run.queued), run.id.clone()));
        let chosen: Vec<OpenRun> = waiting.into_iter().take(room).cloned().collect();
        for run in chosen {
            let Some(job) = self.jobs.get(&run.job).cloned() else { continue };
            let mut changes = Changes::new(now);
            changes.runs.push((run.id.clone(), RunChange::Starts));
            self.write(changes)?;
            let started = self.open.get(&run.id).cloned().unwrap_or(run);
            if let Err(why) = self.launcher.start(&started, &job) {
                self.ended.insert(started.id, Exit::NotStarted(why));
            }
        }
        Ok(())
    }

    /// When there is something to do again.
    fn wake(&self, now: i64) -> i64 {
        let slots = self.next.values().filter_map(|(_, due)| *due);
        let is_full = self.running_count() >= self.most;
        let retries =
            self.open.values().filter(|run| !run.is_running() && !is_full).map(|run| run.not_before);
        let pressing = self.pressing().filter(|_| is_full);
        let pauses = self.states.values().filter_map(|state| state.paused_until);
        let unwritten = (!self.ended.is_empty()).then_some(now);
        let limits = self.open.values().filter(|run| run.is_running()).filter_map(|run| {
            let job = self.jobs.get(&run.job)?;
            // A stall is noticed within a quarter of what it takes.
            let look = (ms(job.stall) / 4).max(250);
            let left = job.timeout.map(|timeout| ms(timeout).saturating_sub(self.launcher.age_ms(&run.id)));
            let left = left.filter(|left| *left >= 0).map_or(look, |left| look.min(left.saturating_add(1)));
            Some(now.saturating_add(left))
        });
        let first = slots
            .chain(retries)
            .chain(pressing)
            .chain(pauses)
            .chain(unwritten)
            .chain(limits)
            .filter(|at| *at >= now)
            .min();
        let latest = now.saturating_add(SLEEP_MS_MAX);
        first.map_or(latest, |first| first.min(latest)).max(now.saturating_add(1))
    }
}

fn is_backup(kind: &str) -> bool {
    matches!(kind, "run" | "backup")
}

/// What may be stopped at any moment and done again: a check remembers what it has read, and a prune removes nothing
/// before what it wrote is whole.
fn gives_way(kind: &str) -> bool {
    matches!(kind, "check" | "prune")
}

/// What is started first when there is not room for all.
fn urgency(kind: &str) -> u8 {
    match kind {
        "run" | "backup" => 0,
        "copy" => 2,
        "verify" => 3,
        "check" => 4,
        "forget" | "prune" => 5,
        // Between what stores and what tidies up: nobody knows what it is.
        _ => 1,
    }
}
