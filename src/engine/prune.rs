//! Prune: what no snapshot needs is deleted, after a grace period.

use super::OpError;
use super::report::Prune;
use crate::base::run::Run;
use crate::vault::Repository;
use crate::vault::gc::PruneSettings;
use std::time::Duration;

/// What somebody asks of a prune.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PruneJob {
    /// How long a pack stays after it was condemned, and how old it must be before; `None` for the usual time.
    pub grace: Option<Duration>,
    /// Nothing is changed, only planned.
    pub dry_run: bool,
    /// All sessions end, also those of backups that are under way.
    pub end_sessions: bool,
    /// The store is full: one pack that nothing needs goes first.
    pub full_store: bool,
}

impl PruneJob {
    /// The grace period.
    pub(crate) fn grace(&self) -> Duration {
        self.grace.unwrap_or_else(|| PruneSettings::new(0).grace)
    }

    fn settings(&self, run: &Run) -> PruneSettings {
        PruneSettings {
            grace: self.grace(),
            dry_run: self.dry_run,
            end_sessions: self.end_sessions,
            full_store: self.full_store,
            ..PruneSettings::new(run.clock.now().as_millisecond())
        }
    }
}

/// Plans what to delete, and carries out the plans whose time has come. With `dry_run`, says what that would be.
///
/// # Errors
/// As [`Repository::prune`].
pub(crate) fn prune(job: &PruneJob, repo: &Repository, run: &Run) -> Result<Prune, OpError> {
    let report = repo.prune(&job.settings(run), run.events.as_ref(), &run.cancel)?;
    Ok(Prune::new(&report, job.dry_run))
}
