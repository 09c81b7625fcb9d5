//! The scheduler over random weeks: killed at any step, asleep, its clock set, its state full, its jobs slow, failing,
//! edited and paused.
//!
//! Each seed is a timeline of its own; time is virtual. `DUMPVAULT_TEST_SEEDS` sets how many there are (10,000),
//! `DUMPVAULT_TEST_SEED` takes one.
//!
//! The same timelines also run over the SQLite file (200 of them, 5,000 with `DUMPVAULT_TEST_LONG`). The file is what
//! the scheduler reads; the tables in memory say what has to be in it. A killed scheduler leaves the file and its
//! journal as they are, cut off within the last write.

#![allow(clippy::unwrap_used, clippy::panic)]

use dumpvault::base::schedule::Schedule;
use dumpvault::daemon::book::{
    Changes, Decision, JobState, OpenRun, RunChange, RunId, SlotRow, StateError, Store, Trigger,
};
use dumpvault::daemon::scheduler::{Launcher, Scheduler};
use dumpvault::daemon::state::State;
use dumpvault::daemon::{Exit, Why};
use dumpvault::settings::{CatchUp, Job, Overlap, Retry, Work};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
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
    /// The disk reports that a write failed, and keeps it.
    disk_lies: bool,
    /// How many writes went through.
    written: u64,
    /// The scheduler died within a write: what was there before it.
    before: Option<Tables>,
    /// What others have written, for whoever keeps it in a file.
    outside: Vec<Outside>,
    /// Somebody else has written.
    is_changed: bool,
    incarnation: u32,
    /// Runs that ended because they had to give way, and of which nothing is written since.
    gave_way: BTreeSet<RunId>,
    gave_way_count: usize,
}

/// What is kept.
#[derive(Clone)]
struct Tables {
    jobs: BTreeMap<String, JobState>,
    slots: BTreeMap<(String, i64), (SlotRow, i64)>,
    runs: BTreeMap<RunId, Row>,
    newest: Option<i64>,
}

/// What processes and people write.
enum Outside {
    Exit(RunId, u32, i32),
    Asked(OpenRun),
    Paused(String, String, i64, i64),
}

impl World {
    fn tables(&self) -> Tables {
        let (jobs, slots, runs) = (self.jobs.clone(), self.slots.clone(), self.runs.clone());
        Tables { jobs, slots, runs, newest: self.newest }
    }

    fn set_tables(&mut self, tables: Tables) {
        (self.jobs, self.slots, self.runs) = (tables.jobs, tables.slots, tables.runs);
        self.newest = tables.newest;
    }

    fn open(&self) -> BTreeMap<RunId, OpenRun> {
        let open = self.runs.iter().filter(|(_, row)| row.ended.is_none());
        open.map(|(id, row)| (id.clone(), row.run.clone())).collect()
    }

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
        Ok(self.0.borrow().open().into_values().collect())
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
            let (job, gave_way) = (row.run.job.clone(), world.gave_way.remove(id));
            match change {
                RunChange::Starts => {
                    assert!(row.run.started.is_none(), "started while it runs: {row:?}");
                    (row.run.started, row.run.attempt) = (Some(changes.at), row.run.attempt + 1);
                }
                RunChange::Ended { ok, .. } => {
                    row.ended = Some(*ok);
                    let waits = |other: &Row| other.ended.is_none() && !other.run.is_running();
                    let other_waits = world.runs.values().any(|other| other.run.job == job && waits(other));
                    assert!(*ok || !gave_way || other_waits, "gave way, and is never done again: {id}");
                }
                RunChange::Again { not_before, parts, .. } => {
                    assert!(row.run.is_running(), "a try ends twice: {row:?}");
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
        world.written += 1;
        match world.step() {
            true if world.disk_lies => Err(unusable("input/output error")),
            true => Ok(()),
            false => Err(unusable("dead")),
        }
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

    fn is_asked_to_stop(&self, _: &RunId) -> bool {
        false
    }

    fn age_ms(&self, run: &RunId) -> i64 {
        let world = self.0.borrow();
        world.processes.get(run).map_or(0, |process| world.real - process.started)
    }

    fn ended(&mut self) -> Vec<(RunId, Exit)> {
        let mut told = self.0.borrow_mut().let_end();
        let incarnation = self.0.borrow().incarnation;
        told.retain(|(_, _, watcher)| *watcher == incarnation);
        for (run, _, _) in told.iter().filter(|(_, exit, _)| *exit == Exit::Stopped(Why::GivesWay)) {
            let world = &mut *self.0.borrow_mut();
            world.gave_way_count += 1;
            world.gave_way.insert(run.clone());
        }
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
                let row = self.runs.get_mut(&run).unwrap();
                row.noted = Some(code);
                self.outside.push(Outside::Exit(run.clone(), row.run.attempt, code));
            }
            told.push((run, exit, process.watcher));
        }
        told
    }
}

/// Where timelines are kept.
trait Medium: Clone {
    type Store: Store;

    /// As a scheduler finds it that begins.
    fn open(&self, world: &Shared) -> Self::Store;

    /// Whether it holds what it has to.
    fn check(&self, world: &World);
}

#[derive(Clone)]
struct Memory;

impl Medium for Memory {
    type Store = Shared;

    fn open(&self, world: &Shared) -> Shared {
        world.clone()
    }

    fn check(&self, _: &World) {}
}

/// Files of the state. Each scheduler that was killed leaves a folder of its own.
#[derive(Clone)]
struct Disk(Rc<RefCell<Files>>);

struct Files {
    folder: tempfile::TempDir,
    number: u32,
}

impl Files {
    fn path(&self) -> PathBuf {
        self.folder.path().join(self.number.to_string())
    }
}

impl Disk {
    fn new() -> Self {
        // In memory where there is such a place: what is asked of the disk is asked of the file's bytes here.
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        Self(Rc::new(RefCell::new(Files { folder: folder.unwrap(), number: 0 })))
    }
}

impl Medium for Disk {
    type Store = Kept;

    fn open(&self, world: &Shared) -> Kept {
        let path = self.0.borrow().path();
        let (state, other) = (State::open(&path).unwrap(), State::open(&path).unwrap());
        let kept =
            Kept { state, other: RefCell::new(other), world: world.clone(), disk: self.clone(), torn: None };
        kept.compare();
        kept
    }

    fn check(&self, world: &World) {
        let path = self.0.borrow().path().join("schedule.sqlite");
        let db = rusqlite::Connection::open(path).unwrap();
        let mut slots = db.prepare("SELECT job, at, decision, covers, run, decided FROM slot").unwrap();
        let slots = slots.query_map([], |row| {
            let run: Option<String> = row.get(4)?;
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, run, row.get(5)?))
        });
        let slots: BTreeSet<(String, i64, String, i64, Option<String>, i64)> =
            slots.unwrap().collect::<Result<_, _>>().unwrap();
        let expected = world.slots.values().map(|(row, decided)| {
            let run = row.run.as_ref().map(|run| run.0.clone());
            let covers = i64::try_from(row.covers).unwrap();
            (row.job.clone(), row.at, row.decision.word().to_owned(), covers, run, *decided)
        });
        assert_eq!(
            slots,
            expected.collect::<BTreeSet<_>>(),
            "slots of the file are not those that were decided"
        );
        let mut runs = db.prepare("SELECT id, status, attempt, job, slot FROM run").unwrap();
        let runs =
            runs.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)));
        let runs: BTreeSet<(String, String, u32, String, Option<i64>)> =
            runs.unwrap().collect::<Result<_, _>>().unwrap();
        let expected = world.runs.values().map(|row| {
            let status = match row.ended {
                Some(true) => "COMPLETED",
                Some(false) => "FAILED",
                None if row.run.is_running() => "IN_PROGRESS",
                None => "QUEUED",
            };
            (row.run.id.0.clone(), status.to_owned(), row.run.attempt, row.run.job.clone(), row.run.slot)
        });
        assert_eq!(runs, expected.collect::<BTreeSet<_>>(), "runs of the file are not those that there were");
        let tries: u32 = db.query_row("SELECT count(*) FROM attempt", [], |row| row.get(0)).unwrap();
        assert_eq!(tries, world.runs.values().map(|row| row.run.attempt).sum::<u32>());
        let whole: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(whole, "ok");
    }
}

/// The file of a scheduler. What it holds is what the tables in memory say.
struct Kept {
    state: State,
    /// How others write.
    other: RefCell<State>,
    world: Shared,
    disk: Disk,
    /// How long the journal was before the write in which the scheduler died.
    torn: Option<u64>,
}

impl Kept {
    fn journal(&self) -> PathBuf {
        self.disk.0.borrow().path().join("schedule.sqlite-wal")
    }

    fn journal_len(&self) -> u64 {
        std::fs::metadata(self.journal()).map_or(0, |journal| journal.len())
    }

    /// What others have written meanwhile is in the file.
    fn flush(&self) {
        let outside = std::mem::take(&mut self.world.0.borrow_mut().outside);
        let mut other = self.other.borrow_mut();
        for write in outside {
            match write {
                Outside::Exit(run, attempt, code) => {
                    other.note_exit(&run, attempt, u8::try_from(code).unwrap()).unwrap();
                }
                Outside::Asked(run) => drop(other.ask(&run, "somebody").unwrap()),
                Outside::Paused(job, schedule, until, now) => {
                    other.pause(&job, &schedule, Some(until), now, "somebody").unwrap();
                }
            }
        }
    }

    /// A write is there as a whole, or not at all.
    fn compare(&self) {
        let open = |state: &State| -> BTreeMap<RunId, OpenRun> {
            state.open_runs().unwrap().into_iter().map(|run| (run.id.clone(), run)).collect()
        };
        let found = (self.state.jobs().unwrap(), open(&self.state));
        let world = &mut *self.world.0.borrow_mut();
        if let Some(mut before) = world.before.take()
            && found != (world.jobs.clone(), world.open())
        {
            for (id, row) in &mut before.runs {
                row.noted = world.runs.get(id).and_then(|row| row.noted).or(row.noted);
            }
            world.set_tables(before);
        }
        let expected = (world.jobs.clone(), world.open());
        assert_eq!(found, expected, "the file is not what was written");
    }
}

impl Drop for Kept {
    /// What a killed process leaves: the file and its journal, and no last words. Of the last write any part may be
    /// there.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let from = self.disk.0.borrow().path();
        self.disk.0.borrow_mut().number += 1;
        let to = self.disk.0.borrow().path();
        std::fs::create_dir(&to).unwrap();
        for name in ["schedule.sqlite", "schedule.sqlite-wal"] {
            std::fs::copy(from.join(name), to.join(name)).unwrap();
        }
        let after = self.journal_len();
        let Some(before) = self.torn.filter(|before| *before < after) else { return };
        let left = i64::try_from(after - before).unwrap();
        let left = before + u64::try_from(self.world.0.borrow_mut().dice.below(left + 1)).unwrap();
        std::fs::OpenOptions::new().write(true).open(self.journal()).unwrap().set_len(left).unwrap();
    }
}

impl Store for Kept {
    fn jobs(&self) -> Result<BTreeMap<String, JobState>, StateError> {
        self.flush();
        self.state.jobs()
    }

    fn open_runs(&self) -> Result<Vec<OpenRun>, StateError> {
        self.flush();
        self.state.open_runs()
    }

    fn newest(&self) -> Result<Option<i64>, StateError> {
        self.state.newest()
    }

    fn commit(&mut self, changes: &Changes) -> Result<(), StateError> {
        self.flush();
        let (written, journal) = (self.world.0.borrow().written, self.journal_len());
        // It dies once this is written, and before it learns of that.
        let dies = self.world.0.borrow().fuse == Some(1);
        let before = dies.then(|| self.world.0.borrow().tables());
        let outcome = self.world.commit(changes);
        if self.world.0.borrow().written == written {
            return outcome;
        }
        self.state.commit(changes).unwrap_or_else(|error| panic!("{error}: {changes:?}"));
        if let Some(before) = before {
            self.world.0.borrow_mut().before = Some(before);
            self.torn = Some(journal);
        }
        outcome
    }

    fn is_changed(&mut self) -> bool {
        self.flush();
        // The tables in memory know it, too, and are not asked again.
        self.world.0.borrow_mut().is_changed = false;
        self.state.is_changed()
    }

    fn noted_exit(&self, run: &RunId) -> Result<Option<i32>, StateError> {
        self.flush();
        let noted = self.state.noted_exit(run)?;
        assert_eq!(noted, self.world.noted_exit(run)?);
        Ok(noted)
    }

    fn failed_parts(&self, run: &RunId) -> Result<Vec<String>, StateError> {
        self.world.failed_parts(run)
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
    gave_way: usize,
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
        self.gave_way += other.gave_way;
    }
}

/// A scheduler that finds what others left.
fn born<M: Medium>(medium: &M, world: &Shared, jobs: &BTreeMap<String, Job>, most: u32) -> Life<M> {
    {
        let world = &mut *world.0.borrow_mut();
        world.incarnation += 1;
        world.is_dead = false;
        world.gave_way.clear();
        world.fuse = world.dice.one_in(3).then(|| world.dice.below(60));
    }
    let mut scheduler = Scheduler::new(medium.open(world), world.clone(), "machine".to_owned());
    scheduler.configure(jobs.clone(), most);
    scheduler
}

type Life<M> = Scheduler<<M as Medium>::Store, Shared>;

fn simulate<M: Medium>(seed: u64, medium: &M) -> Seen {
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
        disk_lies: false,
        written: 0,
        before: None,
        outside: Vec::new(),
        is_changed: false,
        incarnation: 0,
        gave_way: BTreeSet::new(),
        gave_way_count: 0,
    })));
    let mut story = Story {
        medium: medium.clone(),
        life: None,
        jobs,
        most,
        began: BTreeMap::new(),
        well_since: i64::MAX,
        seen: Seen::default(),
    };
    let end = begin + 36 * HOUR;
    while world.0.borrow().real < end {
        if story.life.is_none() {
            let world_ref = &mut *world.0.borrow_mut();
            let long = if world_ref.dice.one_in(4) { 30 * HOUR } else { HOUR };
            world_ref.real += world_ref.dice.below(long);
            world_ref.let_end();
        }
        if story.life.is_none() {
            story.life = Some(born(medium, &world, &story.jobs, most));
        }
        story.disturb(&world);
        story.tick(&world);
    }
    story.settle(&world);
    let world = world.0.borrow();
    story.check_slots(&world);
    check_runs(&world);
    medium.check(&world);
    let count = |decision: Decision| world.slots.values().filter(|(row, _)| row.decision == decision).count();
    Seen {
        decided: world.slots.len(),
        runs: world.runs.len(),
        skipped: count(Decision::Skipped),
        missed: count(Decision::Missed),
        caught_up: count(Decision::CatchUp),
        again: world.starts.values().filter(|starts| **starts > 1).count(),
        gave_way: world.gave_way_count,
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
struct Story<M: Medium> {
    medium: M,
    life: Option<Life<M>>,
    jobs: BTreeMap<String, Job>,
    most: u32,
    /// From where on the slots of each job are counted.
    began: BTreeMap<String, i64>,
    /// Since when nothing has kept the scheduler from deciding, by the wall clock.
    well_since: i64,
    seen: Seen,
}

impl<M: Medium> Story<M> {
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
                let world = &mut *world.0.borrow_mut();
                (world.disk_fails, world.disk_lies) = (false, false);
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
                for (job, state) in &mut world.jobs {
                    state.paused_until = Some(until);
                    let paused = Outside::Paused(job.clone(), state.schedule.clone(), until, now);
                    world.outside.push(paused);
                }
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
            38 => {
                world.0.borrow_mut().disk_lies = true;
                true
            }
            39 => {
                self.stop_everything(world);
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
        world.outside.push(Outside::Asked(run.clone()));
        world.runs.insert(id, Row { run, ended: None, noted: None });
        world.is_changed = true;
    }

    /// The machine is shut down, and the scheduler dies first: each run notes that it was interrupted, and nobody hears
    /// it. The next scheduler does them again, unless the next slot has come.
    fn stop_everything(&mut self, world: &Shared) {
        self.life = None;
        self.seen.crashes += 1;
        let interrupted: Vec<RunId> = {
            let world = &mut *world.0.borrow_mut();
            let real = world.real;
            for process in world.processes.values_mut() {
                (process.ends, process.exit, process.stopped) = (real, Exit::Code(130), None);
            }
            let runs = world.processes.keys().cloned().collect();
            world.let_end();
            runs
        };
        self.life = Some(born(&self.medium, world, &self.jobs, self.most));
        world.0.borrow_mut().fuse = None;
        let (now, real) = (world.0.borrow().now(), world.0.borrow().real);
        // A slot that is decided in the same breath has come, whatever becomes of it.
        let cursors: BTreeMap<String, i64> =
            world.0.borrow().jobs.iter().map(|(name, state)| (name.clone(), state.cursor)).collect();
        let Some(Ok(_)) = self.life.as_mut().map(|scheduler| scheduler.tick(now, Some(real))) else { return };
        let world = world.0.borrow();
        for run in interrupted {
            let row = &world.runs[&run];
            let Some(job) = self.jobs.get(&row.run.job).filter(|job| job.enabled) else { continue };
            let cursor = cursors.get(&row.run.job).copied().max(row.run.slot).unwrap_or(now);
            let next = job.schedule.next(Timestamp::from_millisecond(cursor).unwrap()).unwrap();
            let mut others =
                world.runs.values().filter(|other| other.run.job == row.run.job && other.run.id != run);
            let other_waits = others.any(|other| other.ended.is_none());
            let may = row.run.attempt < job.retry.attempts && next.as_millisecond() > now && !other_waits;
            assert!(
                row.ended.is_none() || !may,
                "interrupted with its scheduler, and never done again: {row:?}"
            );
        }
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
                    self.check_room(&world.0.borrow(), now);
                }
                wake
            }
            Err(_) => {
                let world = world.0.borrow();
                assert!(world.disk_fails || world.disk_lies, "an error without a cause");
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

    /// While nothing is in the scheduler's way, no backup waits longer than its grace for a prune or a check.
    fn check_room(&self, world: &World, now: i64) {
        let open = || world.runs.values().filter(|row| row.ended.is_none()).map(|row| &row.run);
        let Some(prune) = open().find(|run| run.is_running() && run.kind == "prune") else { return };
        let runs = |job: &str| open().any(|run| run.is_running() && run.job == job);
        for run in open().filter(|run| !run.is_running() && run.kind == "run" && !runs(&run.job)) {
            let grace = i64::try_from(self.jobs[&run.job].grace.as_millis()).unwrap();
            let latest = (run.queued + grace).max(run.not_before + MINUTE).max(self.well_since + MINUTE);
            assert!(now <= latest, "a backup waits for a prune: {run:?} {prune:?}");
        }
    }

    /// A quiet day, and a good end.
    fn settle(&mut self, world: &Shared) {
        {
            let world = &mut *world.0.borrow_mut();
            (world.disk_fails, world.disk_lies) = (false, false);
            let behind = world.newest.map_or(0, |newest| newest - world.now());
            world.offset += behind.max(0);
        }
        // The one before is gone before the next begins.
        self.life = None;
        self.life = Some(born(&self.medium, world, &self.jobs, self.most));
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

/// Runs that many timelines, on all processors.
fn simulate_all(seeds: u64, one: impl Fn(u64) -> Seen + Sync + std::panic::RefUnwindSafe) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("DUMPVAULT_TEST_SEED") {
        one(seed);
        return;
    }
    let seeds = number("DUMPVAULT_TEST_SEEDS").unwrap_or(seeds);
    let threads = std::thread::available_parallelism().map_or(2, usize::from) as u64;
    let part = |thread: u64| {
        let mut all = Seen::default();
        for seed in (thread..seeds).step_by(usize::try_from(threads).unwrap()) {
            let seen = std::panic::catch_unwind(|| one(seed));
            let seen = seen.unwrap_or_else(|_| panic!("run again with DUMPVAULT_TEST_SEED={seed}"));
            all.add(&seen);
        }
        all
    };
    let all = std::thread::scope(|scope| {
        let part = &part;
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || part(thread))).collect();
        let mut all = Seen::default();
        threads.into_iter().for_each(|thread| all.add(&thread.join().unwrap()));
        all
    });
    // What is never met is not tested.
    let least = usize::try_from(seeds / 20).unwrap();
    assert!(
        [all.skipped, all.missed, all.caught_up, all.again, all.crashes, all.gave_way]
            .iter()
            .all(|count| *count >= least),
        "{all:?}"
    );
}

#[test]
fn whatever_happens_no_slot_runs_twice_and_none_is_lost() {
    simulate_all(10_000, |seed| simulate(seed, &Memory));
}

#[test]
fn whatever_happens_the_file_holds_what_was_decided_and_the_same_is_true() {
    let seeds = if std::env::var_os("DUMPVAULT_TEST_LONG").is_some() { 5_000 } else { 200 };
    simulate_all(seeds, |seed| simulate(seed, &Disk::new()));
}
