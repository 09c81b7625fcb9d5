//! What a run does behind its backups: forget, prune when due, a share of a check, copies.

use super::{Ended, MemberOutcome, SystemReport, Vaults};
use crate::base::fault::{Class, Fault, Next};
use crate::base::name::SeriesName;
use crate::base::run::Run;
use crate::base::unit::Age;
use crate::base::words::count;
use crate::engine::OpError;
use crate::engine::app::AppError;
use crate::engine::check::check;
use crate::engine::copy::{Copied, Fate as CopyFate, copy};
use crate::engine::forget::{ForgetRequest, Policies, forget};
use crate::engine::plan::{Afterwards, PlannedCopy};
use crate::engine::prune::{PruneJob, prune as prune_now};
use crate::engine::report::Prune;
use crate::vault::Repository;
use crate::vault::check::{CheckSettings, ReadData};

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Snapshots that no rule keeps go.
    Forget,
    /// What no snapshot reaches goes.
    Prune,
    /// A share of the packs is read.
    Check,
    /// Snapshots go to another repository.
    Copy,
}

impl Step {
    /// Its word: the command that does the same.
    pub fn word(self) -> &'static str {
        match self {
            Self::Forget => "forget",
            Self::Prune => "prune",
            Self::Check => "check",
            Self::Copy => "copy",
        }
    }
}

/// What became of a step.
pub struct StepOutcome {
    /// The step.
    pub step: Step,
    /// The destination of a copy.
    pub to: Option<String>,
    /// What was done, or why it was not.
    pub result: Result<Done, StepError>,
}

impl StepOutcome {
    /// Of which kind its failure is, if it failed.
    pub fn class(&self) -> Option<Class> {
        match &self.result {
            Ok(done) => done.class,
            Err(error) => Some(error.class()),
        }
    }
}

/// A step that came to its end.
pub struct Done {
    /// What was done, in a few words.
    pub words: String,
    /// Set if the step ran to its end and found something wrong, such as damage.
    pub class: Option<Class>,
}

/// A step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The operation itself.
    #[error(transparent)]
    Op(#[from] OpError),
    /// A repository cannot be opened.
    #[error(transparent)]
    App(#[from] AppError),
}

impl StepError {
    fn fault(&self) -> &dyn Fault {
        match self {
            Self::Op(error) => error,
            Self::App(error) => error,
        }
    }

    /// Of which kind it is.
    pub fn class(&self) -> Class {
        self.fault().class()
    }

    /// Its word for programs.
    pub fn code(&self) -> &'static str {
        self.fault().code()
    }

    /// What to do next, where that can be known.
    pub fn next(&self) -> Option<Next> {
        self.fault().next()
    }
}

impl From<crate::vault::RepoError> for StepError {
    fn from(error: crate::vault::RepoError) -> Self {
        Self::Op(error.into())
    }
}

/// Does what is to be done. A step that fails does not stop the others, but nothing is deleted behind a run that stored
/// nothing.
pub(super) fn run(
    todo: &Afterwards,
    report: &SystemReport,
    vaults: Vaults<'_>,
    run: &Run,
    each: &mut dyn FnMut(Ended<'_>),
) -> Vec<StepOutcome> {
    let stored = report.members.iter().filter_map(MemberOutcome::report);
    let heads = stored.map(|report| &report.committed.summary.head);
    let series: Vec<SeriesName> =
        heads.map(|head| SeriesName { host: Some(head.host.clone()), series: head.series.clone() }).collect();
    let mut steps = Vec::new();
    let mut did = |step: Step, to: Option<String>, result: Result<Done, StepError>| {
        if !run.cancel.is_cancelled() {
            let outcome = StepOutcome { step, to, result };
            each(Ended::Step(&outcome));
            steps.push(outcome);
        }
    };
    if series.is_empty() {
        return steps;
    }
    if let Some(full) = vaults.maintenance {
        if let Some(policies) = &todo.forget {
            did(Step::Forget, None, let_go(policies, series, full, vaults, run));
        }
        if todo.prune.is_some_and(|age| is_due(age, full, vaults, run)) {
            did(Step::Prune, None, prune(full, run));
        }
        if let Some(share) = todo.check {
            did(Step::Check, None, look(share, full, vaults, run));
        }
    }
    for planned in &todo.copies {
        did(Step::Copy, Some(planned.name.clone()), copy_to(planned, vaults, run));
    }
    steps
}

fn let_go(
    policies: &Policies,
    series: Vec<SeriesName>,
    full: &Repository,
    vaults: Vaults<'_>,
    run: &Run,
) -> Result<Done, StepError> {
    let (mut kept, mut gone) = (0, 0);
    for series in series {
        let request = ForgetRequest {
            policies: policies.clone(),
            series: Some(series),
            host: None,
            force: false,
            even_the_last: false,
            dry_run: false,
            calendar: vaults.app.settings.calendar.clone(),
        };
        for decided in forget(full, run.clock.as_ref(), &request, run.events.as_ref())? {
            *if decided.verdict.is_kept() { &mut kept } else { &mut gone } += 1;
        }
    }
    Ok(Done { words: format!("{} kept, {gone} removed", count(kept, "snapshot")), class: None })
}

/// Of its age a prune may be so much too early: a run that is a few minutes quicker than the one before does not wait
/// another day.
const EARLY_SHARE: i64 = 8;

/// Whether the last prune of this host is so long ago, or there was none.
fn is_due(age: Age, full: &Repository, vaults: Vaults<'_>, run: &Run) -> bool {
    let now = run.clock.now();
    let since = age.before(now, &vaults.app.settings.calendar.zone).as_millisecond();
    let early = i64::try_from(age.approximate().as_millis()).unwrap_or(i64::MAX) / EARLY_SHARE;
    full.memory().last_pruned_ms().is_none_or(|last| last <= since.saturating_add(early))
}

fn prune(full: &Repository, run: &Run) -> Result<Done, StepError> {
    let Prune { pruned, .. } = prune_now(&PruneJob::default(), full, run)?;
    let words = format!(
        "{} scheduled for deletion, {} deleted",
        count(pruned.condemned.len() as u64, "pack"),
        pruned.packs_deleted
    );
    Ok(Done { words, class: None })
}

fn look(share: f64, full: &Repository, vaults: Vaults<'_>, run: &Run) -> Result<Done, StepError> {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let now_ms = run.clock.now().as_millisecond();
    let settings = CheckSettings::new(ReadData::Share(share), now_ms, cores);
    let host = vaults.app.host();
    let report = check(full, run.clock.as_ref(), &host, settings, run.events.as_ref(), &run.cancel)?;
    let read = count(report.packs_read, "pack");
    Ok(match report.is_clean() {
        true => Done { words: format!("{read} read, no damage found"), class: None },
        false => {
            let objects = count(report.damage.len() as u64, "object");
            let streams = count(report.hits.len() as u64, "stream");
            let words = format!("{read} read: {objects} damaged, {streams} incomplete");
            Done { words, class: Some(Class::Integrity) }
        }
    })
}

fn copy_to(planned: &PlannedCopy, vaults: Vaults<'_>, run: &Run) -> Result<Done, StepError> {
    let app = vaults.app.at(&planned.destination.repository);
    let identity = app.identify()?;
    // There may be nobody to ask in the middle of the night.
    let found = app.credential(&|| None)?;
    let to = app.open(&identity, &found.credential)?;
    let (clock, events) = (run.clock.as_ref(), run.events.as_ref());
    let report = copy(vaults.repo, &to, clock, &planned.request, events, &run.cancel)?;
    let (mut copied, mut there, mut failed) = (0, 0, 0);
    for Copied { fate, .. } in &report.snapshots {
        match fate {
            CopyFate::Copied(_) => copied += 1,
            CopyFate::There(_) => there += 1,
            CopyFate::Failed(_) => failed += 1,
            CopyFate::Wanted => {}
        }
    }
    if let Some(error) = report.stopped {
        return Err(error.into());
    }
    let words = format!("{} copied, {there} there already, {failed} failed", count(copied, "snapshot"));
    let is_whole = report.damage.is_empty() && report.unfollowed.is_empty();
    let class = match (failed > 0 || !report.hidden.is_empty(), is_whole) {
        (true, _) => Some(Class::Integrity),
        (false, false) => Some(Class::Partial),
        (false, true) => None,
    };
    Ok(Done { words, class })
}
