//! A whole run that was brought back, or would be.

use super::{Id, Report, Time};
use crate::engine::plan::{SetPlan, SetStep};
use crate::engine::restore::{SetReport, StepEnd};
use schemars::JsonSchema;
use serde::Serialize;

/// The way back of a run over a system.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RestoredSet {
    /// Nothing was done: these are only the steps.
    pub dry_run: bool,
    /// What the snapshots of the run have in common.
    pub set: Id,
    /// The system's name; null where all sources were meant.
    pub system: Option<String>,
    /// Moment of its first snapshot.
    pub time: Time,
    /// All steps are done.
    pub ok: bool,
    /// In the order in which they are done.
    pub steps: Vec<RestoredSetStep>,
    /// Sources of which the run has no snapshot.
    pub missing: Vec<String>,
}

impl Report for RestoredSet {}

/// A snapshot that goes back.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RestoredSetStep {
    /// Its source.
    pub source: String,
    /// The snapshot.
    pub snapshot: Id,
    /// Moment of the dump.
    pub time: Time,
    /// The command that does the same, word by word, without the program's name; null where no target is known.
    pub command: Option<Vec<String>>,
    /// What became of it.
    pub status: SetStepStatus,
    /// What failed.
    pub error: Option<String>,
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SetStepStatus {
    /// Nothing was done yet.
    Planned,
    /// It is done.
    Restored,
    /// An earlier try did it.
    Skipped,
    /// It is done, but for something that was told.
    Partial,
    /// It failed, and so did the restore.
    Failed,
}

impl RestoredSet {
    /// The steps of a plan, of which none was done.
    pub fn planned(plan: &SetPlan) -> Self {
        Self {
            dry_run: true,
            set: Id::of(plan.set.set),
            system: plan.set.system.clone(),
            time: Time::from_ms(plan.set.time_ms()),
            ok: true,
            steps: plan.steps.iter().map(RestoredSetStep::planned).collect(),
            missing: plan
                .set
                .end
                .iter()
                .flat_map(|end| &end.missing)
                .map(|(source, _)| source.clone())
                .collect(),
        }
    }
}

impl RestoredSet {
    /// The steps of a plan, and what became of each.
    pub fn done(plan: &SetPlan, report: &SetReport) -> Self {
        let mut set = Self { dry_run: false, ok: report.class().is_none(), ..Self::planned(plan) };
        for (step, end) in set.steps.iter_mut().zip(&report.ends) {
            (step.status, step.error) = match end {
                StepEnd::Restored => (SetStepStatus::Restored, None),
                StepEnd::Skipped => (SetStepStatus::Skipped, None),
                StepEnd::Partial => (SetStepStatus::Partial, None),
                StepEnd::Failed { why, .. } => (SetStepStatus::Failed, why.clone()),
            };
        }
        set
    }
}

impl RestoredSetStep {
    fn planned(step: &SetStep) -> Self {
        let words = |words: Vec<std::ffi::OsString>| {
            words.iter().map(|word| word.to_string_lossy().into_owned()).collect()
        };
        Self {
            source: step.source.clone(),
            snapshot: Id::of(step.summary.id),
            time: Time::from_ms(step.summary.head.time_ms),
            command: step.words().map(words),
            status: SetStepStatus::Planned,
            error: None,
        }
    }
}
