//! What became of a run over a system.

use super::snapshot::{Requests, Snapshot};
use super::{Hint, Id, Report, Time};
use crate::base::fault::Fault as _;
use crate::engine::listing::{Seen, sizes};
use crate::engine::plan::SystemPlan;
use crate::engine::system::{Fate, MemberOutcome, SeenSet, Step, StepError, StepOutcome, SystemReport};
use crate::storage;
use crate::vault::snapshot::State;
use schemars::JsonSchema;
use serde::Serialize;

/// What became of a run over a system.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SystemRun {
    /// The system's name; null where no system is configured and all sources are meant.
    pub system: Option<String>,
    /// What all snapshots of the run have in common.
    pub set: Id,
    /// Every source is stored, nothing is suspect, and every step went well. Sources that are not required do not
    /// count.
    pub ok: bool,
    /// In the order in which they were read. Those after an interruption are missing.
    pub sources: Vec<Member>,
    /// What was done afterwards.
    pub steps: Vec<StepDone>,
    /// What went over the wire; null where the repository is a folder.
    pub requests: Option<Requests>,
}

/// What became of a source.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "SystemSource")]
pub struct Member {
    /// Its name.
    pub name: String,
    /// The series of its snapshots.
    pub series: String,
    /// What came of it.
    pub status: Status,
    /// Its failure is one of the run.
    pub required: bool,
    /// How often it was tried.
    pub attempts: u32,
    /// The new snapshot.
    pub snapshot: Option<Box<Snapshot>>,
    /// Plain bytes of its streams.
    pub bytes: Option<u64>,
    /// Bytes that the snapshot takes in the storage, without padding.
    pub bytes_stored: Option<u64>,
    /// Damage met on the way, and why the snapshot is suspect.
    pub problems: Vec<String>,
    /// What failed; also a command behind a backup that was stored.
    pub error: Option<String>,
    /// What to do next, where that can be known.
    pub hint: Option<String>,
}

/// What came of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "SystemSourceStatus")]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// There is a snapshot of all of it.
    Complete,
    /// There is a snapshot; a stream is missing in it.
    Partial,
    /// There is a snapshot, which may not be what it should.
    Suspect,
    /// There is none.
    Failed,
    /// It was not read: a source that it needs has no snapshot.
    Skipped,
}

/// Something that was done behind the backups.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "SystemStep")]
pub struct StepDone {
    /// The command that does the same: `forget`, `prune`, `check`, `copy`.
    pub step: String,
    /// The destination of a copy.
    pub to: Option<String>,
    /// It went well.
    pub ok: bool,
    /// What was done, in words.
    pub done: Option<String>,
    /// What failed.
    pub error: Option<String>,
    /// What to do next, where that can be known.
    pub hint: Option<String>,
}

impl Report for SystemRun {}

/// What a run over a system would do, by `--dry-run`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SystemRunPlan {
    /// Always true.
    pub dry_run: bool,
    /// The system's name; null where all sources are meant.
    pub system: Option<String>,
    /// In the order in which they would be read.
    pub sources: Vec<PlannedSource>,
    /// What would be done afterwards. A prune only if the last one is long enough ago then.
    pub steps: Vec<PlannedStep>,
}

/// A source that would be read.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "SystemPlannedSource")]
pub struct PlannedSource {
    /// Its name.
    pub name: String,
    /// The series of its snapshots.
    pub series: String,
    /// Host that they belong to.
    pub host: String,
    /// Its failure would be one of the run.
    pub required: bool,
    /// Sources without which it is not read.
    pub needs: Vec<String>,
    /// How often it may be tried.
    pub attempts: usize,
}

/// Something that would be done behind the backups.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "SystemPlannedStep")]
pub struct PlannedStep {
    /// The command that does the same: `forget`, `prune`, `check`, `copy`.
    pub step: String,
    /// The destination of a copy.
    pub to: Option<String>,
}

impl Report for SystemRunPlan {}

impl SystemRunPlan {
    /// What would be done.
    pub fn new(plan: &SystemPlan) -> Self {
        let sources = plan.members.iter().map(|member| PlannedSource {
            name: member.name.clone(),
            series: member.series.clone(),
            host: member.host.clone(),
            required: member.required,
            needs: member.needs.clone(),
            attempts: member.attempts.len(),
        });
        let todo = &plan.afterwards;
        let own = [
            (todo.forget.is_some(), Step::Forget),
            (todo.prune.is_some(), Step::Prune),
            (todo.check.is_some(), Step::Check),
        ];
        let own = own.into_iter().filter(|(wanted, _)| *wanted);
        let own = own.map(|(_, step)| PlannedStep { step: step.word().to_owned(), to: None });
        let copies = todo
            .copies
            .iter()
            .map(|copy| PlannedStep { step: Step::Copy.word().to_owned(), to: Some(copy.name.clone()) });
        Self {
            dry_run: true,
            system: plan.name.clone(),
            sources: sources.collect(),
            steps: own.chain(copies).collect(),
        }
    }
}

/// Runs over systems.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Sets {
    /// Those of which a snapshot is still there, oldest first.
    pub sets: Vec<Set>,
}

impl Report for Sets {}

/// A run over a system.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "SystemSet")]
pub struct Set {
    /// What its snapshots have in common.
    pub set: Id,
    /// The system's name; null where all sources were meant.
    pub system: Option<String>,
    /// Moment of its first snapshot.
    pub time: Time,
    /// `complete`, `partial`, `partly forgotten`, or `unfinished`: cut short, or under way.
    pub state: String,
    /// The snapshots that are still there, in the order in which they were made.
    pub snapshots: Vec<SetSnapshot>,
    /// Sources without a snapshot, as the end of the run tells.
    pub missing: Vec<SetMissing>,
}

/// A snapshot of a run.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SetSnapshot {
    /// What its source is called.
    pub source: String,
    /// The snapshot.
    pub id: Id,
    /// The series.
    pub series: String,
    /// Moment of the dump.
    pub time: Time,
    /// `complete`, `partial`, `suspect`.
    pub state: String,
}

/// A source without a snapshot.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SetMissing {
    /// Its name.
    pub source: String,
    /// Why.
    pub error: String,
}

impl Sets {
    /// These runs.
    pub fn new(seen: &[SeenSet]) -> Self {
        Self { sets: seen.iter().map(Set::new).collect() }
    }
}

impl Set {
    fn new(seen: &SeenSet) -> Self {
        let snapshots = seen.members.iter().map(|(source, summary)| SetSnapshot {
            source: source.clone(),
            id: Id::of(summary.id),
            series: summary.head.series.clone(),
            time: Time::from_ms(summary.head.time_ms),
            state: summary.head.state.word().into_owned(),
        });
        let missing = seen.end.iter().flat_map(|end| &end.missing);
        Self {
            set: Id::of(seen.set),
            system: seen.system.clone(),
            time: Time::from_ms(seen.time_ms()),
            state: seen.state().to_owned(),
            snapshots: snapshots.collect(),
            missing: missing
                .map(|(source, error)| SetMissing { source: source.clone(), error: error.clone() })
                .collect(),
        }
    }
}

impl SystemRun {
    /// What became of all of it.
    pub fn new(report: &SystemReport, requests: Option<&storage::Requests>, hint: Hint<'_>) -> Self {
        Self {
            system: report.system.clone(),
            set: Id::of(report.set),
            ok: report.class().is_none(),
            sources: report.members.iter().map(|member| Member::new(member, hint)).collect(),
            steps: report.steps.iter().map(|step| StepDone::new(step, hint)).collect(),
            requests: requests.map(Requests::from),
        }
    }
}

impl Member {
    fn new(member: &MemberOutcome, hint: Hint<'_>) -> Self {
        let (status, error) = match &member.fate {
            Fate::Stored(report, behind) => {
                let status = match report.committed.summary.head.state {
                    State::Complete => Status::Complete,
                    State::Partial => Status::Partial,
                    State::Suspect | State::Other(_) => Status::Suspect,
                };
                (status, behind.as_ref().map(|error| (error.to_string(), error.next())))
            }
            Fate::Failed(error) => (Status::Failed, Some((error.to_string(), error.next()))),
            Fate::Skipped { needs } => {
                (Status::Skipped, Some((format!("`{needs}`, which it needs, has no snapshot"), None)))
            }
        };
        let report = member.report();
        let snapshot = report.map(|report| {
            let summary = report.committed.summary.clone();
            let tags = summary.head.calendar.iter().chain(&summary.head.tags).cloned().collect();
            Box::new(Snapshot::new(&Seen { summary, body: Some(report.committed.body.clone()) }, tags))
        });
        let size = report.map(|report| sizes(&report.committed.body));
        let problems = report.iter().flat_map(|report| {
            report.damage.iter().chain(&report.suspects).chain(&report.turned_back).cloned()
        });
        let problems = problems.collect();
        let (error, next) = error.unzip();
        Self {
            name: member.name.clone(),
            series: member.series.clone(),
            status,
            required: member.required,
            attempts: member.attempts,
            snapshot,
            bytes: size.map(|(plain, _)| plain),
            bytes_stored: size.map(|(_, stored)| stored),
            problems,
            error,
            hint: next.flatten().map(hint),
        }
    }
}

impl StepDone {
    fn new(outcome: &StepOutcome, hint: Hint<'_>) -> Self {
        let (done, error) = match &outcome.result {
            Ok(done) => (Some(done.words.clone()), None),
            Err(error) => (None, Some(error)),
        };
        Self {
            step: outcome.step.word().to_owned(),
            to: outcome.to.clone(),
            ok: outcome.class().is_none(),
            done,
            error: error.map(ToString::to_string),
            hint: error.and_then(StepError::next).map(hint),
        }
    }
}
