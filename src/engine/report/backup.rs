//! What became of backups.

use super::snapshot::{Requests, Snapshot};
use super::{Hint, Report};
use crate::base::fault::Fault as _;
use crate::engine::backup::{BackupReport, Foreseen, Outcome};
use crate::engine::listing::Seen;
use crate::storage;
use schemars::JsonSchema;
use serde::Serialize;

/// What became of the sources of a backup. A single source that failed is an error, and no report.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Backups {
    /// In the order in which they were backed up. Those after one that was interrupted are missing.
    pub results: Vec<BackupResult>,
    /// What went over the wire; null where the repository is a folder.
    pub requests: Option<Requests>,
}

/// What became of a source.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum BackupResult {
    /// There is a snapshot.
    Stored(Box<Stored>),
    /// There is none.
    Failed(NotStored),
}

/// A source that was stored.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "StoredBackup")]
pub struct Stored {
    /// The series.
    pub source: String,
    /// All streams were stored, none is suspect, and no damage was met.
    pub ok: bool,
    /// The new snapshot.
    pub snapshot: Snapshot,
    /// Damage met on the way. The snapshot is whole all the same.
    pub damage: Vec<String>,
    /// Why the snapshot is suspect, if it is.
    pub suspect: Vec<String>,
    /// What this host has seen in the repository and is gone: somebody turned it back.
    pub turned_back: Vec<String>,
}

/// A source that failed.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "FailedBackup")]
pub struct NotStored {
    /// The series.
    pub source: String,
    /// Always false.
    pub ok: bool,
    /// What failed.
    pub error: String,
    /// What to do next, where that can be known.
    pub hint: Option<String>,
}

impl Report for Backups {}

impl Backups {
    /// What became of all of them.
    pub fn new(outcomes: &[Outcome], requests: Option<&storage::Requests>, hint: Hint<'_>) -> Self {
        let result = |outcome: &Outcome| match &outcome.result {
            Ok(report) => BackupResult::Stored(Box::new(Stored::new(&outcome.series, report))),
            Err(error) => BackupResult::Failed(NotStored {
                source: outcome.series.clone(),
                ok: false,
                error: error.to_string(),
                hint: error.next().map(hint),
            }),
        };
        Self { results: outcomes.iter().map(result).collect(), requests: requests.map(Requests::from) }
    }
}

/// What a backup would store, by `--dry-run`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct BackupsPlan {
    /// Always true.
    pub dry_run: bool,
    /// In the order in which they would be backed up.
    pub sources: Vec<PlannedBackup>,
}

/// A source that would be backed up.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct PlannedBackup {
    /// The series.
    pub source: String,
    /// Host that the series belongs to.
    pub host: String,
    /// Names of its streams; empty if it cannot be backed up.
    pub streams: Vec<String>,
    /// Why it cannot be backed up.
    pub error: Option<String>,
    /// What to do next, where that can be known.
    pub hint: Option<String>,
}

impl Report for BackupsPlan {}

impl BackupsPlan {
    /// What would be stored of each of them.
    pub fn new(foreseen: &[Foreseen], hint: Hint<'_>) -> Self {
        let planned = |one: &Foreseen| PlannedBackup {
            source: one.series.clone(),
            host: one.host.clone(),
            streams: one.streams.as_ref().map(Vec::clone).unwrap_or_default(),
            error: one.streams.as_ref().err().map(ToString::to_string),
            hint: one.streams.as_ref().err().and_then(|error| error.next()).map(hint),
        };
        Self { dry_run: true, sources: foreseen.iter().map(planned).collect() }
    }
}

impl Stored {
    fn new(series: &str, report: &BackupReport) -> Self {
        let committed = &report.committed;
        let seen = Seen { summary: committed.summary.clone(), body: Some(committed.body.clone()) };
        let head = &seen.summary.head;
        let tags = head.calendar.iter().chain(&head.tags).cloned().collect();
        Self {
            source: series.to_owned(),
            ok: report.is_clean(),
            snapshot: Snapshot::new(&seen, tags),
            damage: report.damage.clone(),
            suspect: report.suspects.clone(),
            turned_back: report.turned_back.clone(),
        }
    }
}
