//! Carrying out a plan of backups: one snapshot after another.

use super::{BackupReport, backup_within};
use crate::base::fault::{Class, Fault};
use crate::base::permits::Permit;
use crate::base::run::Run;
use crate::engine::OpError;
use crate::engine::plan::{BackupPlan, PlannedBackup};
use crate::vault::writer::Share;
use crate::vault::{RepoError, Repository};

/// What one backup may hold open at most, in bytes: `docs/data_path.md` adds it up …
const BYTES_OPEN: u64 = 256 << 20;
/// … and what one of two does.
const BYTES_OPEN_OF_HALF: u64 = 173 << 20;
/// Threads that compress for one of two.
const WORKERS_OF_HALF: usize = 3;

/// What became of a source.
pub struct Outcome {
    /// The series that it was to be stored in.
    pub series: String,
    /// The snapshot, or why there is none.
    pub result: Result<BackupReport, OpError>,
}

/// What became of all sources of a plan.
#[derive(Default)]
pub struct BackupsReport {
    /// In the order of the plan. Those after one that was interrupted are missing.
    pub outcomes: Vec<Outcome>,
    /// Somebody asked to stop.
    pub is_interrupted: bool,
}

impl BackupsReport {
    /// What it comes to; `None` when all is well. Nothing stored at all is worse than a part.
    pub fn class(&self) -> Option<Class> {
        let reports = || self.outcomes.iter().filter_map(|outcome| outcome.result.as_ref().ok());
        let failures: Vec<Class> =
            self.outcomes.iter().filter_map(|outcome| outcome.result.as_ref().err()).map(class_of).collect();
        let is_stored = reports().next().is_some();
        match failures.as_slice() {
            _ if self.is_interrupted => Some(Class::Interrupted),
            _ if reports().any(|report| !report.turned_back.is_empty()) => Some(Class::Integrity),
            [] if reports().all(BackupReport::is_clean) => None,
            _ if is_stored => Some(Class::Partial),
            // Of one mind: a conflict, say, goes away by itself.
            [first, others @ ..] if others.iter().all(|other| other == first) => Some(*first),
            _ => Some(Class::NothingDone),
        }
    }
}

/// Of a backup that failed: its server is a source, and no target.
pub fn class_of(error: &OpError) -> Class {
    match error.class() {
        Class::Target => Class::NothingDone,
        class => class,
    }
}

/// Makes one snapshot after another; `each` is told of each as it ends. One that fails does not stop the others.
pub fn run_backups(
    plan: BackupPlan,
    repo: &Repository,
    run: &Run,
    each: &mut dyn FnMut(&Outcome),
) -> BackupsReport {
    let mut report = BackupsReport::default();
    for planned in plan.backups {
        let series = planned.request.series.clone();
        let result = take_room(&planned, Share::Whole, run)
            .and_then(|room| run_one(planned, Share::Whole, &room, repo, run));
        report.is_interrupted =
            run.cancel.is_cancelled() || result.as_ref().is_err_and(OpError::is_cancelled);
        let outcome = Outcome { series, result };
        each(&outcome);
        report.outcomes.push(outcome);
        if report.is_interrupted {
            break;
        }
    }
    report
}

/// What a backup of a source would be.
pub struct Foreseen {
    /// The series that it would be stored in.
    pub series: String,
    /// Host that the series belongs to.
    pub host: String,
    /// Names of its streams, or why it could not be backed up.
    pub streams: Result<Vec<String>, OpError>,
}

/// Says what [`run_backups`] would store. Servers are asked what they have; no dump is started, and nothing is written.
pub fn foresee_backups(plan: BackupPlan, repo: &Repository, run: &Run) -> Vec<Foreseen> {
    let foresee = |PlannedBackup { request, source }: PlannedBackup| {
        let may_add = repo.authors().may_add(&request.series, &request.host);
        let may_add = may_add.map_err(|error| OpError::from(RepoError::from(error)));
        let streams = may_add.and_then(|()| {
            let streams = source.streams(&request.series, run)?;
            Ok(streams.into_iter().map(|stream| stream.name).collect())
        });
        Foreseen { series: request.series, host: request.host, streams }
    };
    plan.backups.into_iter().map(foresee).collect()
}

/// What a backup of a source holds open, in so much memory.
fn bytes_open(planned: &PlannedBackup, share: Share) -> u64 {
    let own = match share {
        Share::Whole => BYTES_OPEN,
        Share::Half => BYTES_OPEN_OF_HALF,
    };
    own.saturating_add(planned.source.bytes_open())
}

/// Waits for the memory that a backup needs. To be held before the source is started, and before anything is stopped
/// for it: a server does not hold its tables, and no application waits, while others use the room.
///
/// # Errors
/// When somebody asks to stop.
pub(in crate::engine) fn take_room(
    planned: &PlannedBackup,
    share: Share,
    run: &Run,
) -> Result<Permit, OpError> {
    run.room.take(bytes_open(planned, share), &run.cancel).ok_or_else(|| RepoError::Cancelled.into())
}

/// Makes one snapshot, in memory that was taken for it.
pub(in crate::engine) fn run_one(
    planned: PlannedBackup,
    share: Share,
    _room: &Permit,
    repo: &Repository,
    run: &Run,
) -> Result<BackupReport, OpError> {
    let PlannedBackup { mut request, source } = planned;
    if share == Share::Half {
        request.workers = request.workers.min(WORKERS_OF_HALF);
    }
    let streams = source.streams(&request.series, run)?;
    backup_within(share, repo, run.clock.as_ref(), request, streams, run.events.as_ref(), &run.cancel)
}
