//! What the scheduler keeps: the contract of its store, and the rows of it.
//!
//! Times are milliseconds since 1970.

use super::alert::Fact;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// The state cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file was written by a newer program.
    #[error("state `{path}` was written by a newer version of dumpvault (schema {found}, this program knows {known})", path = path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest that this program knows.
        known: i64,
    },
    /// The file is damaged.
    #[error("state `{path}` is damaged: {reason}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The file cannot be used now: a full disk, no permission, a lock held too long.
    #[error("state `{path}`: {reason}", path = path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Somebody else was quicker: the rows are not as they were read.
    #[error("the state changed meanwhile: {what}")]
    Raced {
        /// Which row.
        what: String,
    },
}

/// The name of a run: letters and digits that sort by time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub String);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How far a job is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobState {
    /// Every slot up to here is decided. It never goes back.
    pub cursor: i64,
    /// The schedule that the cursor was moved by; empty while the job is disabled.
    pub schedule: String,
    /// No slot runs before that.
    pub paused_until: Option<i64>,
    /// Slots in a row that were skipped because the job still ran.
    pub skips: u32,
}

/// What became of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// A run was queued.
    Run,
    /// A run was queued, later than it should.
    CatchUp,
    /// The job still ran.
    Skipped,
    /// It was too late.
    Missed,
    /// The job was paused.
    Paused,
}

impl Decision {
    /// The word in the state.
    pub fn word(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::CatchUp => "catch_up",
            Self::Skipped => "skipped",
            Self::Missed => "missed",
            Self::Paused => "paused",
        }
    }
}

/// A slot that was decided; there is one row for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotRow {
    /// The job.
    pub job: String,
    /// The slot, or the newest of several.
    pub at: i64,
    /// What became of it.
    pub decision: Decision,
    /// How many slots the row stands for.
    pub covers: u64,
    /// The run that it led to, or that was in its way.
    pub run: Option<RunId>,
}

/// Why a run was queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// Its slot came.
    Schedule,
    /// Its slot had passed.
    CatchUp,
    /// A person asked for it.
    Manual,
}

impl Trigger {
    /// The word in the state.
    pub fn word(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::CatchUp => "catch_up",
            Self::Manual => "manual",
        }
    }
}

/// A run that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenRun {
    /// Its name.
    pub id: RunId,
    /// The job.
    pub job: String,
    /// What the job does: the word for `kind`.
    pub kind: String,
    /// Why it was queued.
    pub trigger: Trigger,
    /// Its slot, if it has one.
    pub slot: Option<i64>,
    /// When it was queued.
    pub queued: i64,
    /// It waits until then.
    pub not_before: i64,
    /// How often it was started.
    pub attempt: u32,
    /// When it was started last; `None` while it waits.
    pub started: Option<i64>,
    /// Only these sources, once others are stored.
    pub parts: Vec<String>,
}

impl OpenRun {
    /// Whether its process may be there.
    pub fn is_running(&self) -> bool {
        self.started.is_some()
    }
}

/// How a run or a try of it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// Why, where it did not end well.
    pub reason: Option<String>,
    /// The exit code, where there is one.
    pub exit: Option<i32>,
}

/// What becomes of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunChange {
    /// It is about to be started.
    Starts,
    /// It has ended for good.
    Ended {
        /// Whether it did what it should.
        ok: bool,
        /// How.
        ending: Ending,
    },
    /// This try has ended, and there will be another.
    Again {
        /// Not before that.
        not_before: i64,
        /// Only these sources; all where it is empty.
        parts: Vec<String>,
        /// How.
        ending: Ending,
    },
}

/// Something that a person may want to look up later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// A word for the kind: `clock`, `pause`, `schedule`, `run`.
    pub kind: &'static str,
    /// The job that it is about, or another thing.
    pub object: String,
    /// What happened.
    pub text: String,
}

/// What is written in one transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// When.
    pub at: i64,
    /// What became of runs. These come first: a job has one run that waits and one that runs, at most.
    pub runs: Vec<(RunId, RunChange)>,
    /// New runs.
    pub queued: Vec<OpenRun>,
    /// Slots that were decided.
    pub slots: Vec<SlotRow>,
    /// How far jobs are now.
    pub jobs: BTreeMap<String, JobState>,
    /// What else is to be remembered.
    pub notes: Vec<Note>,
    /// What is wrong now, or no longer. It comes with something else, never alone.
    pub facts: Vec<Fact>,
}

impl Changes {
    /// Nothing yet.
    pub fn new(at: i64) -> Self {
        Self { at, ..Self::default() }
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
            && self.queued.is_empty()
            && self.slots.is_empty()
            && self.jobs.is_empty()
            && self.notes.is_empty()
    }
}

/// Where the scheduler keeps what it knows. What [`commit`](Store::commit) said is durable stays so whatever happens to
/// the process.
pub trait Store {
    /// How far each job is.
    ///
    /// # Errors
    /// When the state cannot be read.
    fn jobs(&self) -> Result<BTreeMap<String, JobState>, StateError>;

    /// The runs that have not ended.
    ///
    /// # Errors
    /// When the state cannot be read.
    fn open_runs(&self) -> Result<Vec<OpenRun>, StateError>;

    /// The latest moment at which something was written.
    ///
    /// # Errors
    /// When the state cannot be read.
    fn newest(&self) -> Result<Option<i64>, StateError>;

    /// Writes all of it or nothing.
    ///
    /// # Errors
    /// [`StateError::Raced`] when a row is not as the changes presume; others when the state cannot be written.
    fn commit(&mut self, changes: &Changes) -> Result<(), StateError>;

    /// Whether somebody else has written since the last look.
    fn is_changed(&mut self) -> bool;

    /// The exit code that the run's process noted by itself, if it did.
    ///
    /// # Errors
    /// When the state cannot be read.
    fn noted_exit(&self, run: &RunId) -> Result<Option<i32>, StateError>;

    /// The sources of which the last try of the run stored nothing.
    ///
    /// # Errors
    /// When the state cannot be read.
    fn failed_parts(&self, run: &RunId) -> Result<Vec<String>, StateError>;
}
