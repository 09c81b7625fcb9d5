//! What was removed, and what was kept.

use super::{Id, Report, Time};
use crate::engine::forget::Decided;
use crate::vault::gc::{CondemnedPack, PruneReport, WaitingPlan, YoungPacks};
use crate::vault::snapshot::Summary;
use schemars::JsonSchema;
use serde::Serialize;

/// Which snapshots were removed.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Forgotten {
    /// Nothing was removed, only looked.
    pub dry_run: bool,
    /// Snapshots that stay, of those that were decided about.
    pub kept: usize,
    /// Snapshots that go.
    pub removed: usize,
    /// The snapshots that were decided about.
    pub snapshots: Vec<DecidedSnapshot>,
    /// What a prune did afterwards; null without `--prune`.
    pub prune: Option<PrunedAfter>,
}

impl Report for Forgotten {}

impl Forgotten {
    /// What was decided, and what a prune did afterwards.
    pub fn new(decided: &[Decided], pruned: Option<Prune>, dry_run: bool) -> Self {
        let removed = decided.iter().filter(|one| !one.verdict.is_kept()).count();
        Self {
            dry_run,
            kept: decided.len() - removed,
            removed,
            snapshots: decided.iter().map(DecidedSnapshot::from).collect(),
            prune: pruned.map(|Prune { pruned, warnings, .. }| PrunedAfter { pruned, warnings }),
        }
    }
}

/// A snapshot that was decided about.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct DecidedSnapshot {
    /// Its id.
    pub id: Id,
    /// Name of the series.
    pub series: String,
    /// Host that the series belongs to.
    pub host: String,
    /// Moment of the dump.
    pub time: Time,
    /// How good it is.
    pub state: String,
    /// Whether it stays.
    pub keep: bool,
    /// What keeps it.
    pub reasons: Vec<Reason>,
}

/// A rule that keeps a snapshot.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "KeepReason")]
pub struct Reason {
    /// The rule.
    pub rule: String,
    /// The stream that it holds for, where it is not the snapshot as a whole.
    pub stream: Option<String>,
}

impl From<&Decided> for DecidedSnapshot {
    fn from(one: &Decided) -> Self {
        let head = &one.summary.head;
        let reasons = one.verdict.reasons.iter();
        Self {
            id: Id::of(one.summary.id),
            series: head.series.clone(),
            host: head.host.clone(),
            time: head.time().into(),
            state: head.state.word().into_owned(),
            keep: one.verdict.is_kept(),
            reasons: reasons
                .map(|(rule, stream)| Reason { rule: rule.to_string(), stream: stream.clone() })
                .collect(),
        }
    }
}

/// Objects that count for nothing were removed, by `--foreign`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ForgottenForeign {
    /// Nothing was removed, only looked.
    pub dry_run: bool,
    /// Keys of the objects in the storage.
    pub foreign: Vec<String>,
}

impl Report for ForgottenForeign {}

/// What a prune did, or would do.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Prune {
    /// Nothing was changed, only planned.
    pub dry_run: bool,
    /// What it did.
    #[serde(flatten)]
    pub pruned: Pruned,
    #[serde(skip)]
    warnings: Vec<String>,
}

impl Report for Prune {
    fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

impl Prune {
    /// What a prune did, or would do.
    pub fn new(report: &PruneReport, dry_run: bool) -> Self {
        Self { dry_run, pruned: report.into(), warnings: report.warnings.clone() }
    }
}

/// What a prune behind a `forget` did, or would do.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct PrunedAfter {
    /// What it did.
    #[serde(flatten)]
    pub pruned: Pruned,
    /// Damage that was met and gone round.
    pub warnings: Vec<String>,
}

/// What a prune did, or would do.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Pruned {
    /// Snapshots that keep what they reach.
    pub snapshots: u64,
    /// Packs before.
    pub packs: u64,
    /// Bytes of those packs.
    pub pack_bytes: u64,
    /// Stored bytes in them that are needed.
    pub live_bytes: u64,
    /// Chunks that snapshots want and no pack holds: damage that was there before.
    pub lost_chunks: u64,
    /// Packs that are condemned by this run.
    pub condemned: Vec<Condemned>,
    /// Packs that would be condemned if they were older.
    pub young: Young,
    /// Plans that could not be carried out yet.
    pub waiting: Vec<Waiting>,
    /// Plans carried out.
    pub plans_done: u64,
    /// Packs deleted.
    pub packs_deleted: u64,
    /// Bytes of those packs.
    pub bytes_deleted: u64,
    /// Packs written with what was still needed of condemned ones.
    pub packs_written: u64,
    /// Bytes of those packs.
    pub bytes_written: u64,
    /// Chunks and recipe nodes in them.
    pub chunks_rescued: u64,
    /// Index objects written.
    pub indexes_written: u64,
    /// Index objects replaced by others.
    pub indexes_replaced: u64,
    /// Snapshots without a mark that were removed: left behind long ago by backups that never ended.
    pub uncommitted_removed: Vec<Id>,
    /// Until when nothing is deleted, since a snapshot of an append key that was never seen whole may hide what it
    /// needs.
    pub held_until: Option<Time>,
}

/// A pack that is condemned.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "CondemnedPack")]
pub struct Condemned {
    /// The pack.
    pub pack: Id,
    /// Its size.
    pub bytes: u64,
    /// Stored bytes of it that are needed: they will be copied.
    pub live_bytes: u64,
}

/// Packs that are of little or no use, and too young to be condemned.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[schemars(rename = "YoungPacks")]
pub struct Young {
    /// How many.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Backups under way that may have written some of them: these wait until they end.
    pub sessions: u64,
    /// When the last of them is old enough, by the storage's clock.
    pub until: Option<Time>,
}

/// A plan that cannot be carried out yet.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "WaitingPlan")]
pub struct Waiting {
    /// The plan.
    pub plan: Id,
    /// Packs that it condemns.
    pub packs: u64,
    /// Backups under way that began before the plan.
    pub sessions: u64,
    /// When its grace period is over; null when it is.
    pub until: Option<Time>,
    /// When the last of its packs can be deleted, where the storage has them locked.
    pub locked_until: Option<Time>,
}

impl From<&PruneReport> for Pruned {
    fn from(report: &PruneReport) -> Self {
        Self {
            snapshots: report.snapshots,
            packs: report.packs,
            pack_bytes: report.pack_bytes,
            live_bytes: report.live_bytes,
            lost_chunks: report.lost_chunks,
            condemned: report.condemned.iter().map(Condemned::from).collect(),
            young: report.young.into(),
            waiting: report.waiting.iter().map(Waiting::from).collect(),
            plans_done: report.plans_done,
            packs_deleted: report.packs_deleted,
            bytes_deleted: report.bytes_deleted,
            packs_written: report.packs_written,
            bytes_written: report.bytes_written,
            chunks_rescued: report.chunks_rescued,
            indexes_written: report.indexes_written,
            indexes_replaced: report.indexes_replaced,
            uncommitted_removed: Id::all(&report.uncommitted_removed),
            held_until: report.held_until.and_then(Time::of_system),
        }
    }
}

impl From<&CondemnedPack> for Condemned {
    fn from(pack: &CondemnedPack) -> Self {
        Self { pack: Id::of(pack.pack), bytes: pack.bytes, live_bytes: pack.live_bytes }
    }
}

impl From<YoungPacks> for Young {
    fn from(young: YoungPacks) -> Self {
        Self {
            packs: young.packs,
            bytes: young.bytes,
            sessions: young.sessions,
            until: young.until.and_then(Time::of_system),
        }
    }
}

impl From<&WaitingPlan> for Waiting {
    fn from(plan: &WaitingPlan) -> Self {
        Self {
            plan: Id::of(plan.plan),
            packs: plan.packs,
            sessions: plan.sessions,
            until: plan.until.and_then(Time::of_system),
            locked_until: plan.locked_until.and_then(Time::of_system),
        }
    }
}

/// A snapshot whose tags or pin were changed, or would be.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Tagged {
    /// Nothing was changed, only looked.
    pub dry_run: bool,
    /// The snapshot.
    pub id: Id,
    /// The user's tags after the change.
    pub tags: Vec<String>,
    /// Whether it is pinned after the change.
    pub pinned: bool,
}

impl Report for Tagged {}

impl Tagged {
    /// The snapshot after the change.
    pub fn new(summary: &Summary, pinned: bool, dry_run: bool) -> Self {
        Self { dry_run, id: Id::of(summary.id), tags: summary.head.tags.clone(), pinned }
    }
}
