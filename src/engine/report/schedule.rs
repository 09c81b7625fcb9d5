//! Jobs, their slots, and the history.

use super::{Report, Time};
use schemars::JsonSchema;
use serde::Serialize;

/// The jobs of the configuration.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Schedule {
    /// Whether a scheduler runs on this host's state.
    pub running: bool,
    /// The jobs by name.
    pub jobs: Vec<ScheduledJob>,
    /// The newest slots that led to no run, newest first.
    pub gaps: Vec<ScheduleGap>,
}

/// Slots that led to no run.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ScheduleGap {
    /// The job.
    pub job: String,
    /// The slot, or the newest of several.
    pub slot: Time,
    /// `skipped`: the job still ran; `missed`: it was too late; `paused`.
    pub decision: String,
    /// How many slots.
    pub slots: i64,
}

/// A job.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ScheduledJob {
    /// Its name.
    pub name: String,
    /// What it does: `run`, `backup`, `check`, `verify`, `forget`, `prune`, `copy`, `object-lock-extend`, `command`.
    pub kind: String,
    /// When it runs, as it was written.
    pub schedule: String,
    /// Whether it runs at all.
    pub enabled: bool,
    /// No slot runs before that; null where it is not paused.
    pub paused_until: Option<Time>,
    /// When the next slot is due, jitter included; null where the job is disabled.
    pub next: Option<Time>,
    /// The run that has not ended.
    pub open: Option<ScheduledRun>,
    /// The newest run that has ended.
    pub last: Option<ScheduledRun>,
    /// When the last good run ended.
    pub last_good: Option<Time>,
}

/// A run of a job.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ScheduledRun {
    /// Its name.
    pub id: String,
    /// Why it was queued: `schedule`, `catch_up`, `manual`.
    pub trigger: String,
    /// Its slot; null where a person asked for it.
    pub slot: Option<Time>,
    /// `QUEUED`, `IN_PROGRESS`, `COMPLETED`, `FAILED`.
    pub status: String,
    /// When its last try began.
    pub started: Option<Time>,
    /// When it ended.
    pub ended: Option<Time>,
    /// How often it was tried.
    pub attempts: u32,
    /// Exit code of the last try.
    pub exit_code: Option<i32>,
    /// Why it, or its last try, failed.
    pub reason: Option<String>,
}

/// The next slots of all jobs.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ScheduleNext {
    /// By time.
    pub slots: Vec<NextSlot>,
}

/// A slot to come.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct NextSlot {
    /// The job.
    pub job: String,
    /// The slot.
    pub slot: Time,
    /// When it is due: the slot, put off by jitter.
    pub due: Time,
    /// The slot in the job's time zone, with its offset.
    pub local: String,
}

/// What a schedule says.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ScheduleExplained {
    /// The schedule, with its zone.
    pub schedule: String,
    /// What it says, in words.
    pub words: String,
    /// The next slots.
    pub slots: Vec<ExplainedSlot>,
}

/// A slot to come.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ExplainedSlot {
    /// The slot.
    pub slot: Time,
    /// The same in the schedule's time zone, with its offset.
    pub local: String,
}

/// A run was asked for.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ScheduleTriggered {
    /// The job.
    pub job: String,
    /// The run.
    pub run: String,
}

/// A job was paused, or a pause ended.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SchedulePaused {
    /// The jobs.
    pub jobs: Vec<String>,
    /// Until when; null where the pause was ended.
    pub until: Option<Time>,
}

/// The scheduler has stopped.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ScheduleEnded {
    /// It stopped because it was asked to.
    pub stopped: bool,
}

/// Jobs to put into the configuration.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SchedulePlan {
    /// Tables of TOML.
    pub toml: String,
}

/// The history of backups.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct History {
    /// Newest first.
    pub backups: Vec<BackupRecord>,
}

/// A source in a `backup` or `run`, or such a command that did not get to its sources.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct BackupRecord {
    /// Its id: that of the command, a dot, a number.
    pub id: String,
    /// The command: `backup` or `run`.
    pub command: String,
    /// The scheduler's run that it belongs to; null where a person or cron started it.
    pub run: Option<String>,
    /// `IN_PROGRESS`, `COMPLETED`, `FAILED`; `EXPIRED`: its snapshot was forgotten; `DELETED`: it is gone from the
    /// storage.
    pub status: String,
    /// `MONTHLY`, `WEEKLY`, `DAILY`, or `MANUAL` where it is the first of no calendar day.
    #[serde(rename = "type")]
    pub kind: String,
    /// A name for a download. No such file exists.
    pub file_name: Option<String>,
    /// The source.
    pub source: Option<String>,
    /// The series.
    pub series: Option<String>,
    /// The host.
    pub host: Option<String>,
    /// `local` or `s3`.
    pub storage: Option<String>,
    /// The repository's address and the snapshot's id.
    pub path: Option<String>,
    /// The snapshot.
    pub snapshot: Option<String>,
    /// Plain bytes.
    pub size: Option<u64>,
    /// Bytes that it added to the storage.
    pub stored: Option<u64>,
    /// Plain bytes that were not there before.
    pub new: Option<u64>,
    /// Digest of the stream: `sha256:` or `blake3:` and hexadecimal digits; null where there are several streams.
    pub checksum: Option<String>,
    /// How many tables.
    pub table_count: Option<u64>,
    /// Rows of all tables.
    pub rows: Option<u64>,
    /// Why the snapshot is suspect.
    pub suspect: Option<String>,
    /// What is odd of a dump that counts all the same: it has no table, or no row in any.
    pub warning: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// What to do about that.
    pub hint: Option<String>,
    /// Exit code of the command.
    pub exit_code: Option<u8>,
    /// When the command began.
    pub created: Time,
    /// When it ended.
    pub ended: Option<Time>,
    /// How long the source took.
    pub duration_ms: Option<u64>,
    /// When retention will delete it; null if that is not known.
    pub expires: Option<Time>,
    /// Why the snapshot is gone: the rules that did not keep it, or `by hand`.
    pub removed_by: Option<String>,
}

/// A command of the history.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct HistoryShown {
    /// What became of its sources.
    pub backups: Vec<BackupRecord>,
    /// The end of its log.
    pub log: Option<String>,
}

/// The history was compared with the repository.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct HistoryRebuilt {
    /// Snapshots in the repository.
    pub snapshots: u64,
    /// Backups that the history did not have.
    pub added: u64,
    /// Backups whose snapshot was forgotten, and of which the storage still has something.
    pub expired: u64,
    /// Backups whose snapshot is gone.
    pub deleted: u64,
}

/// The audit log.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct AuditLog {
    /// Oldest first.
    pub entries: Vec<AuditLine>,
}

/// An entry of the audit log.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct AuditLine {
    /// Its number; there is no gap.
    pub seq: i64,
    /// When.
    pub at: Time,
    /// Who: `scheduler`, or a user of the system.
    pub actor: String,
    /// What kind of event: `trigger`, `pause`, `schedule`, `clock`.
    pub kind: String,
    /// What it is about.
    pub object: String,
    /// What happened.
    pub detail: String,
    /// Its hash: BLAKE3 over the hash before and the fields, in hexadecimal digits.
    pub hash: String,
}

/// Whether the audit log is whole.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct AuditVerified {
    /// No entry was changed or taken out.
    pub ok: bool,
    /// How many entries there are.
    pub entries: u64,
    /// The newest hash: keep it elsewhere to notice a cut at the end.
    pub head: Option<String>,
    /// The first entry that does not fit.
    pub broken_at: Option<i64>,
    /// What is wrong with it.
    pub problem: Option<String>,
}

impl Report for Schedule {}
impl Report for ScheduleNext {}
impl Report for ScheduleExplained {}
impl Report for ScheduleTriggered {}
impl Report for SchedulePaused {}
impl Report for ScheduleEnded {}
impl Report for SchedulePlan {}
impl Report for History {}
impl Report for HistoryShown {}
impl Report for HistoryRebuilt {}
impl Report for AuditLog {}
impl Report for AuditVerified {}
