//! The scheduler over random weeks: killed at any step, asleep, its clock set, its state full, its jobs slow, failing, edited and paused.
//!
//! Each seed is a timeline of its own; time is virtual. `DUMPVAULT_TEST_SEEDS` sets how many there are (10,000), `DUMPVAULT_TEST_SEED` takes one.

#![allow(clippy::unwrap_used, clippy::panic)]

use dumpvault::base::schedule::Schedule;
use dumpvault::daemon::book::{
    Changes, Decision, JobState, OpenRun, RunChange, RunId, SlotRow, StateError, Store, Trigger,
};
use dumpvault::daemon::scheduler::{Launcher, Scheduler};
use dumpvault::daemon::{Exit, Why};
use dumpvault::settings::{CatchUp, Job, Overlap, Retry, Work};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// Numbers from a seed.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: i64) -> i64 {
        i64::try_from(self.next() % u64::try_from(n).unwrap()).unwrap()
    }

    fn one_in(&mut self, n: i64) -> bool {
        self.below(n) == 0
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(i64::try_from(all.len()).unwrap())).unwrap()]
    }
}

/// A run as it is written down.
#[derive(Clone, Debug)]
struct Row {
    run: OpenRun,
    /// How it ended: whether well.
    ended: Option<bool>,
    noted: Option<i32>,
}

/// A process that lives whatever becomes of the scheduler.
#[derive(Debug)]
struct Process {
    job: String,
    ends: i64,
    started: i64,
    exit: Exit,
    is_hung: bool,
    stopped: Option<Why>,
    /// The scheduler that saw it last.
    watcher: u32,
}

/// What outlives the scheduler: disk, processes, real time.
struct World {
    dice: Dice,
    /// Real time. The wall clock is this and `offset`.
    real: i64,
    offset: i64,
    jobs: BTreeMap<String, JobState>,
    slots: BTreeMap<(String, i64), (SlotRow, i64)>,
    runs: BTreeMap<RunId, Row>,
    newest: Option<i64>,
    processes: BTreeMap<RunId, Process>,
    /// How often each run ended with 0.
    successes: BTreeMap<RunId, u32>,
    starts: BTreeMap<RunId, u32>,
    ids: u64,
    /// Steps until the scheduler is killed.
    fuse: Option<i64>,
    is_dead: bool,
    disk_fails: bool,
    /// Somebody else has written.
    is_changed: bool,
    incarnation: u32,
}

impl World {
    fn now(&self) -> i64 {
        self.real + self.offset
    }

    /// One step of the scheduler that something may come in the way of. After its death nothing has an effect.
    fn step(&mut self) -> bool {
        if let Some(fuse) = &mut self.fuse {
            *fuse -= 1;
            self.is_dead |= *fuse < 0;
        }
        !self.is_dead
    }
}

#[derive(Clone)]
struct Shared(Rc<RefCell<World>>);

fn unusable(reason: &str) -> StateError {
    StateError::Unusable { path: "state".into(), reason: reason.to_owned() }
}

impl Store for Shared {
    fn jobs(&self) -> Result<BTreeMap<String, JobState>, StateError> {
        Ok(self.0.borrow().jobs.clone())
    }

    fn open_runs(&self) -> Result<Vec<OpenRun>, StateError> {
        Ok(self
            .0
            .borrow()
            .runs
            .values()
            .filter(|row| row.ended.is_none())
            .map(|row| row.run.clone())
            .collect())
    }

    fn newest(&self) -> Result<Option<i64>, StateError> {
        Ok(self.0.borrow().newest)
    }

    fn commit(&mut self, changes: &Changes) -> Result<(), StateError> {
        let world = &mut *self.0.borrow_mut();
        // Before it is durable, or behind it: the caller does not live to see which.
        if !world.step() {
            return Err(unusable("dead"));
        }
        if world.disk_fails {
            return Err(unusable("no space left"));
        }
        for (id, change) in &changes.runs {
            let row = world.runs.get_mut(id).unwrap();
            assert!(row.ended.is_none(), "a run ends twice: {row:?} {change:?}");
            match change {
                RunChange::Starts => {
                    assert!(row.run.started.is_none(), "started while it runs: {row:?}");
                    (row.run.started, row.run.attempt) = (Some(changes.at), row.run.attempt + 1);
                }
                RunChange::Ended { ok, .. } => row.ended = Some(*ok),
                RunChange::Again { not_before, parts, .. } => {
                    (row.run.started, row.run.not_before) = (None, *not_before);
                    row.run.parts = parts.clone();
                    row.noted = None;
                }
            }
        }
        for run in &changes.queued {
            let row = Row { run: run.clone(), ended: None, noted: None };
            assert!(world.runs.insert(run.id.clone(), row).is_none());
        }
        let open = |running: bool| {
            let open =
                world.runs.values().filter(|row| row.ended.is_none() && row.run.is_running() == running);
            open.map(|row| row.run.job.as_str()).collect::<Vec<_>>()
        };
        for jobs in [open(true), open(false)] {
            let unique: BTreeSet<&str> = jobs.iter().copied().collect();
            assert_eq!(unique.len(), jobs.len(), "two open runs of a job");
        }
        for slot in &changes.slots {
            let key = (slot.job.clone(), slot.at);
            let before = world.slots.insert(key, (slot.clone(), changes.at));
            assert!(before.is_none(), "decided twice: {slot:?}");
        }
        for (job, state) in &changes.jobs {
            let before = world.jobs.insert(job.clone(), state.clone());
            assert!(before.is_none_or(|before| before.cursor <= state.cursor), "a cursor went back");
        }
        world.newest = world.newest.max(Some(changes.at));
        if !world.step() { Err(unusable("dead")) } else { Ok(()) }
    }

    fn is_changed(&mut self) -> bool {
        std::mem::take(&mut self.0.borrow_mut().is_changed)
    }

    fn noted_exit(&self, run: &RunId) -> Result<Option<i32>, StateError> {
        Ok(self.0.borrow().runs.get(run).and_then(|row| row.noted))
    }

    fn failed_parts(&self, run: &RunId) -> Result<Vec<String>, StateError> {
        Ok(vec![format!("part of {run}")])
    }
}

impl Launcher for Shared {
    fn start(&mut self, run: &OpenRun, _: &Job) -> Result<(), String> {
        let world = &mut *self.0.borrow_mut();
        if !world.step() {
            return Err("dead".to_owned());
        }
        if world.dice.one_in(40) {
            return Err("no memory".to_owned());
        }
        let other = world.processes.values().find(|process| process.job == run.job);
        assert!(other.is_none(), "two processes of a job: {other:?}");
        let length = match world.dice.below(10) {
            0 => world.dice.below(5 * HOUR),
            1..=4 => world.dice.below(20 * MINUTE),
            _ => world.dice.below(2 * MINUTE),
        };
        let exit = match world.dice.below(12) {
            0 => Exit::Code(world.dice.of(&[1, 2, 3, 4, 5, 6, 7, 12, 130])),
            1 => Exit::Signal(9),
            _ => Exit::Code(0),
        };
        let is_hung = world.dice.one_in(60);
        let process = Process {
            job: run.job.clone(),
            ends: if is_hung { i64::MAX } else { world.real + length },
            started: world.real,
            exit,
            is_hung,
            stopped: None,
            watcher: world.incarnation,
        };
        *world.starts.entry(run.id.clone()).or_default() += 1;
        world.processes.insert(run.id.clone(), process);
        if world.step() { Ok(()) } else { Err("dead".to_owned()) }
    }

    fn adopt(&mut self, run: &RunId) -> bool {
        let world = &mut *self.0.borrow_mut();
        let incarnation = world.incarnation;
        let process = world.processes.get_mut(run);
        process.map(|process| process.watcher = incarnation).is_some()
    }

    fn has(&self, run: &RunId) -> bool {
        let world = self.0.borrow();
        world.processes.get(run).is_some_and(|process| process.watcher == world.incarnation)
    }

    fn age_ms(&self, run: &RunId) -> i64 {
        let world = self.0.borrow();
        world.processes.get(run).map_or(0, |process| world.real - process.started)
    }

    fn ended(&mut self) -> Vec<(RunId, Exit)> {
        let mut told = self.0.borrow_mut().let_end();
        let incarnation = self.0.borrow().incarnation;
        told.retain(|(_, _, watcher)| *watcher == incarnation);
        told.into_iter().map(|(run, exit, _)| (run, exit)).collect()
    }

    fn is_stalled(&mut self, run: &RunId, for_ms: i64) -> bool {
        let world = self.0.borrow();
        world
            .processes
            .get(run)
            .is_some_and(|process| process.is_hung && world.real - process.started > for_ms)
    }

    fn stop(&mut self, run: &RunId, why: Why) {
        let world = &mut *self.0.borrow_mut();
        let soon = world.real + world.dice.below(30_000);
        if let Some(process) = world.processes.get_mut(run).filter(|process| process.stopped.is_none()) {
            (process.ends, process.stopped) = (process.ends.min(soon), Some(why));
        }
    }

    fn new_id(&mut self, _: i64) -> RunId {
        let world = &mut *self.0.borrow_mut();
        world.ids += 1;
        RunId(format!("{:08}", world.ids))
    }
}

impl World {
    /// Processes whose time has come are gone; each noted its exit code by itself, if it had the time.
    fn let_end(&mut self) -> Vec<(RunId, Exit, u32)> {
        let real = self.real;
        let over: Vec<RunId> = self
            .processes
            .iter()
            .filter(|(_, process)| process.ends <= real)
            .map(|(run, _)| run.clone())
            .collect();
        let mut told = Vec::new();
        for run in over {
            let process = self.processes.remove(&run).unwrap();
            let exit = process.stopped.map_or(process.exit, Exit::Stopped);
            if exit == Exit::Code(0) {
                *self.successes.entry(run.clone()).or_default() += 1;
            }
            if let Exit::Code(code) = exit {
                self.runs.get_mut(&run).unwrap().noted = Some(code);
            }
            told.push((run, exit, process.watcher));
        }
        told
    }
}

fn jobs(dice: &mut Dice) -> BTreeMap<String, Job> {
    let count = 1 + dice.below(3);
    (0..count)
        .map(|number| {
            let zone = dice.of(&["Europe/Berlin", "America/New_York", "UTC", "Australia/Lord_Howe"]);
            let zone = TimeZone::get(zone).unwrap();
            let cron = dice.of(&[
                "15 3 * * *",
                "*/30 * * * *",
                "30 2,14 * * *",
                "0 * * * *",
                "0 4 * * sun",
                "5 */6 * * *",
            ]);
            let schedule = match dice.one_in(6) {
                true => Schedule::every(Duration::from_secs(20 * 60), zone).unwrap(),
                false => Schedule::cron(cron, zone).unwrap(),
            };
            let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
            let job = Job {
                work: if dice.one_in(2) { Work::Prune } else { Work::Run { system: None } },
                schedule,
                jitter: minutes(dice.of(&[0, 0, 3, 50])),
                catch_up: dice.of(&[CatchUp::Never, CatchUp::Always, CatchUp::Within(minutes(1440))]),
                overlap: dice.of(&[Overlap::Skip, Overlap::Skip, Overlap::Queue]),
                timeout: dice.of(&[None, Some(minutes(60))]),
                stall: minutes(15),
                retry: Retry { attempts: 3, first: minutes(1), factor: 5 },
                grace: minutes(60),
                enabled: !dice.one_in(20),
                run_at_start: dice.one_in(8),
            };
            (format!("job{number}"), job)
        })
        .collect()
}

/// What came up.
#[derive(Default, Debug)]
struct Seen {
    decided: usize,
    runs: usize,
    skipped: usize,
    missed: usize,
    caught_up: usize,
    again: usize,
    crashes: usize,
}

impl Seen {
    fn add(&mut self, other: &Self) {
        self.decided += other.decided;
        self.runs += other.runs;
        self.skipped += other.skipped;
        self.missed += other.missed;
        self.caught_up += other.caught_up;
        self.again += other.again;
        self.crashes += other.crashes;
    }
}

/// A scheduler that finds what others left.
fn born(world: &Shared, jobs: &BTreeMap<String, Job>, most: u32) -> Scheduler<Shared, Shared> {
    {
        let world = &mut *world.0.borrow_mut();
        world.incarnation += 1;
        world.is_dead = false;
        world.fuse = world.dice.one_in(3).then(|| world.dice.below(60));
    }
    let mut scheduler = Scheduler::new(world.clone(), world.clone(), "machine".to_owned());
    scheduler.configure(jobs.clone(), most);
    scheduler
}

fn simulate(seed: u64) -> Seen {
    let mut dice = Dice(seed);
    let begin: Timestamp =
        dice.of(&["2026-11-20T10:00:00Z", "2027-03-12T00:00:00Z", "2027-10-28T00:00:00Z"]).parse().unwrap();
    let begin = begin.as_millisecond() + dice.below(48 * HOUR);
    let jobs = jobs(&mut dice);
    let most = u32::try_from(1 + dice.below(2)).unwrap();
    let world = Shared(Rc::new(RefCell::new(World {
        dice,
        real: begin,
        offset: 0,
        jobs: BTreeMap::new(),
        slots: BTreeMap::new(),
        runs: BTreeMap::new(),
        newest: None,
        processes: BTreeMap::new(),
        successes: BTreeMap::new(),
        starts: BTreeMap::new(),
        ids: 0,
        fuse: None,
        is_dead: false,
        disk_fails: false,
        is_changed: false,
        incarnation: 0,
    })));
    let mut story =
        Story { life: None, jobs, most, began: BTreeMap::new(), well_since: i64::MAX, seen: Seen::default() };
    let end = begin + 36 * HOUR;
    while world.0.borrow().real < end {
        if story.life.is_none() {
            let world_ref = &mut *world.0.borrow_mut();
            let long = if world_ref.dice.one_in(4) { 30 * HOUR } else { HOUR };
            world_ref.real += world_ref.dice.below(long);
            world_ref.let_end();
        }
        if story.life.is_none() {
            story.life = Some(born(&world, &story.jobs, most));
        }
        story.disturb(&world);
        story.tick(&world);
    }
    story.settle(&world);
    let world = world.0.borrow();
    story.check_slots(&world);
    check_runs(&world);
    let count = |decision: Decision| world.slots.values().filter(|(row, _)| row.decision == decision).count();
    Seen {
        decided: world.slots.len(),
        runs: world.runs.len(),
        skipped: count(Decision::Skipped),
        missed: count(Decision::Missed),
        caught_up: count(Decision::CatchUp),
        again: world.starts.values().filter(|starts| **starts > 1).count(),
        ..story.seen
    }
}

/// What is true of runs whatever happened.
fn check_runs(world: &World) {
    for (id, row) in &world.runs {
        let successes = world.successes.get(id).copied().unwrap_or_default();
        assert!(successes <= 1, "ran to its end twice: {row:?}");
        assert_eq!(successes == 1, row.ended == Some(true), "what is written is not what happened: {row:?}");
        let starts = world.starts.get(id).copied().unwrap_or_default();
        assert!(starts <= row.run.attempt, "started more often than written: {row:?}");
        assert!(!row.run.is_running() || row.ended.is_some(), "runs for ever: {row:?}");
    }
    for (slot, _) in world.slots.values() {
        if let Some(run) = &slot.run {
            assert!(world.runs.contains_key(run), "no run for {slot:?}");
        }
    }
}

/// A timeline.
struct Story {
    life: Option<Scheduler<Shared, Shared>>,
    jobs: BTreeMap<String, Job>,
    most: u32,
    /// From where on the slots of each job are counted.
    began: BTreeMap<String, i64>,
    /// Since when nothing has kept the scheduler from deciding, by the wall clock.
    well_since: i64,
    seen: Seen,
}

impl Story {
    /// Something happens, or nothing.
    fn disturb(&mut self, world: &Shared) {
        let event = world.0.borrow_mut().dice.below(250);
        let now = world.0.borrow().now();
        let is_quiet = match event {
            0 => {
                // The machine sleeps, and so do its processes.
                let world = &mut *world.0.borrow_mut();
                let asleep = world.dice.below(20 * HOUR);
                world.real += asleep;
                for process in world.processes.values_mut() {
                    process.ends = process.ends.saturating_add(asleep);
                    process.started += asleep;
                }
                false
            }
            1 => {
                let world = &mut *world.0.borrow_mut();
                let by = world.dice.of(&[
                    -2 * HOUR,
                    -1,
                    5_000,
                    48 * HOUR,
                    -60_000,
                    -10 * 365 * 24 * HOUR,
                    3 * HOUR,
                ]);
                world.offset = if world.dice.one_in(3) { 0 } else { world.offset + by };
                false
            }
            2 => {
                world.0.borrow_mut().disk_fails = true;
                false
            }
            3..=30 => {
                world.0.borrow_mut().disk_fails = false;
                true
            }
            31 => {
                self.stop(world);
                false
            }
            32 => {
                self.life = None;
                self.seen.crashes += 1;
                false
            }
            33 => {
                self.edit(world);
                false
            }
            34 => {
                let world = &mut *world.0.borrow_mut();
                let until = now + world.dice.below(6 * HOUR);
                world.jobs.values_mut().for_each(|state| state.paused_until = Some(until));
                world.is_changed = true;
                true
            }
            35 => {
                self.trigger(world, now);
                true
            }
            36 => {
                let world = &mut *world.0.borrow_mut();
                let real = world.real;
                for process in world.processes.values_mut() {
                    (process.ends, process.exit) = (real, Exit::Signal(9));
                }
                true
            }
            37 => {
                world.0.borrow_mut().offset = 0;
                false
            }
            _ => true,
        };
        if !is_quiet {
            self.well_since = i64::MAX;
        }
    }

    /// As the command line does it: in a transaction, and not beside another run of the job.
    fn trigger(&self, world: &Shared, now: i64) {
        let id = world.clone().new_id(now);
        let world = &mut *world.0.borrow_mut();
        let Some((name, job)) = self.jobs.iter().find(|(_, job)| job.enabled) else { return };
        if world.runs.values().any(|row| row.ended.is_none() && row.run.job == *name) {
            return;
        }
        let run = OpenRun {
            id: id.clone(),
            job: name.clone(),
            kind: job.work.word().to_owned(),
            trigger: Trigger::Manual,
            slot: None,
            queued: now,
            not_before: now,
            attempt: 0,
            started: None,
            parts: Vec::new(),
        };
        world.runs.insert(id, Row { run, ended: None, noted: None });
        world.is_changed = true;
    }

    /// The scheduler is asked to stop, and waits for its processes.
    fn stop(&mut self, world: &Shared) {
        let Some(mut scheduler) = self.life.take() else { return };
        scheduler.stop();
        for _ in 0..200 {
            let (now, real) = (world.0.borrow().now(), world.0.borrow().real);
            // Safe to ignore: what is not written is found by the next scheduler.
            let _ = scheduler.tick(now, Some(real));
            if world.0.borrow().processes.is_empty() || world.0.borrow().is_dead {
                break;
            }
            world.0.borrow_mut().real += 1000;
        }
    }

    fn edit(&mut self, world: &Shared) {
        self.check_slots(&world.0.borrow());
        let world = &mut *world.0.borrow_mut();
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let text = world.dice.of(&["7 * * * *", "0 3 * * *", "*/15 * * * *"]);
        let Some((name, job)) = self.jobs.iter_mut().next() else { return };
        job.schedule = Schedule::cron(text, zone).unwrap();
        self.began.remove(name);
        if let Some(scheduler) = &mut self.life {
            scheduler.configure(self.jobs.clone(), self.most);
        }
    }

    fn tick(&mut self, world: &Shared) {
        let Some(scheduler) = &mut self.life else { return };
        let (now, real) = (world.0.borrow().now(), world.0.borrow().real);
        let clock_is_right = world.0.borrow().newest.is_none_or(|newest| now >= newest);
        let result = scheduler.tick(now, Some(real));
        if world.0.borrow().is_dead {
            self.seen.crashes += 1;
            self.life = None;
            self.well_since = i64::MAX;
            return;
        }
        let wake = match result {
            Ok(wake) => {
                assert!(wake > now, "no progress");
                if !clock_is_right {
                    self.well_since = i64::MAX;
                } else {
                    self.well_since = self.well_since.min(now);
                    self.check_prompt(&world.0.borrow(), now);
                }
                wake
            }
            Err(_) => {
                assert!(world.0.borrow().disk_fails, "an error without a cause");
                self.well_since = i64::MAX;
                now + 30_000
            }
        };
        for (name, state) in &world.0.borrow().jobs {
            let job = self.jobs.get(name).filter(|job| job.schedule.text() == state.schedule);
            if job.is_some() {
                self.began.entry(name.clone()).or_insert(state.cursor);
            }
        }
        let pass = self.until(&world.0.borrow(), now, wake - now);
        world.0.borrow_mut().real += pass;
    }

    /// How long nothing happens. Ticks of an idle scheduler are all the same: those before the next event are left out.
    fn until(&self, world: &World, now: i64, sleep: i64) -> i64 {
        let first_end = world.processes.values().map(|process| process.ends.saturating_sub(world.real)).min();
        let sleep = sleep.min(first_end.unwrap_or(i64::MAX)).max(1);
        if sleep < 30_000 {
            return sleep;
        }
        let slots = self.jobs.iter().filter_map(|(name, job)| {
            let cursor = world.jobs.get(name)?.cursor;
            Some(job.schedule.next(Timestamp::from_millisecond(cursor).unwrap())?.as_millisecond() - now)
        });
        let limits = world.processes.values().flat_map(|process| {
            [15 * MINUTE, 60 * MINUTE]
                .map(|limit| process.started + limit - world.real)
                .into_iter()
                .filter(|left| *left > 0)
        });
        let open = world.runs.values().filter(|row| row.ended.is_none() && !row.run.is_running());
        let waits = open.map(|row| row.run.not_before - now);
        let pauses = world.jobs.values().filter_map(|state| state.paused_until).map(|until| until - now);
        let first = slots.chain(limits).chain(waits).chain(pauses).chain(first_end).min().unwrap_or(HOUR);
        sleep * (first / sleep).clamp(1, 20)
    }

    /// While nothing is in its way, the scheduler decides every slot within a second of when it is due.
    fn check_prompt(&self, world: &World, now: i64) {
        for (name, job) in self.jobs.iter().filter(|(_, job)| job.enabled) {
            // None of a job that was never looked at while the clock was right.
            let Some(state) = world.jobs.get(name) else { continue };
            let jitter = i64::try_from(job.jitter.as_millis()).unwrap();
            let next = job
                .schedule
                .next(Timestamp::from_millisecond(state.cursor).unwrap())
                .unwrap()
                .as_millisecond();
            let after =
                job.schedule.next(Timestamp::from_millisecond(next).unwrap()).unwrap().as_millisecond();
            assert!(
                next + jitter.min(after - next) > now - 1000 || next < self.well_since,
                "{name}: not decided in time"
            );
            let Some(((_, at), (row, decided))) = world.slots.range(..=(name.clone(), i64::MAX)).next_back()
            else {
                continue;
            };
            if row.job == *name && *at >= self.well_since && *decided == now {
                assert!(now - at <= jitter + 1000, "{row:?}: late");
                assert!(!matches!(row.decision, Decision::CatchUp | Decision::Missed), "{row:?}: on time");
            }
        }
    }

    /// A quiet day, and a good end.
    fn settle(&mut self, world: &Shared) {
        {
            let world = &mut *world.0.borrow_mut();
            world.disk_fails = false;
            let behind = world.newest.map_or(0, |newest| newest - world.now());
            world.offset += behind.max(0);
        }
        self.life = Some(born(world, &self.jobs, self.most));
        world.0.borrow_mut().fuse = None;
        self.well_since = i64::MAX;
        let end = world.0.borrow().real + 8 * HOUR;
        while world.0.borrow().real < end {
            self.tick(world);
        }
        self.stop(world);
        assert!(world.0.borrow().processes.is_empty());
    }

    /// Every slot of a job between where its counting began and its cursor is in exactly one row.
    fn check_slots(&self, world: &World) {
        for (name, job) in self.jobs.iter().filter(|(_, job)| job.enabled) {
            let (Some(state), Some(mut at)) = (world.jobs.get(name), self.began.get(name).copied()) else {
                continue;
            };
            let counted = world.slots.values().filter(|(row, _)| row.job == *name);
            let counted = counted.filter(|(row, _)| row.at > at && row.at <= state.cursor);
            let covered: u64 = counted.map(|(row, _)| row.covers).sum();
            let mut slots = 0;
            while let Some(next) = job.schedule.next(Timestamp::from_millisecond(at).unwrap()) {
                at = next.as_millisecond();
                if at > state.cursor {
                    break;
                }
                slots += 1;
            }
            assert_eq!(covered, slots, "{name}: a slot is in no row, or in two");
        }
    }
}

#[test]
fn whatever_happens_no_slot_runs_twice_and_none_is_lost() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("DUMPVAULT_TEST_SEED") {
        simulate(seed);
        return;
    }
    let seeds = number("DUMPVAULT_TEST_SEEDS").unwrap_or(10_000);
    let threads = std::thread::available_parallelism().map_or(2, usize::from) as u64;
    let part = |thread: u64| {
        let mut all = Seen::default();
        for seed in (thread..seeds).step_by(usize::try_from(threads).unwrap()) {
            let seen = std::panic::catch_unwind(|| simulate(seed));
            let seen = seen.unwrap_or_else(|_| panic!("run again with DUMPVAULT_TEST_SEED={seed}"));
            all.add(&seen);
        }
        all
    };
    let all = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || part(thread))).collect();
        let mut all = Seen::default();
        threads.into_iter().for_each(|thread| all.add(&thread.join().unwrap()));
        all
    });
    // What is never met is not tested.
    let least = usize::try_from(seeds / 20).unwrap();
    assert!(
        [all.skipped, all.missed, all.caught_up, all.again, all.crashes].iter().all(|count| *count >= least),
        "{all:?}"
    );
}
