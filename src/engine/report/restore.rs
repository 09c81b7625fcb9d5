//! What was restored, would be, or took the place of what.

use super::tables::{PickedTable, Streamed};
use super::verify::Verification;
use super::{Id, Report};
use crate::base::id::SnapshotId;
use crate::engine::OpError;
use crate::engine::restore::{Extract, Findings, Picked, RedisPlan, Shares};
use crate::source::redis::Outcome;
use crate::vault::reader::ReadStats;
use crate::vault::snapshot::Stream;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// A stream that was restored. Fields that do not apply are left out.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Restore {
    /// The snapshot.
    pub snapshot: Id,
    /// The stream.
    pub stream: String,
    /// Plain bytes that were written.
    pub bytes: u64,
    /// BLAKE3-256 of the whole stream. Left out where a part was restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blake3: Option<Id>,
    /// Blocks that were opened.
    pub blocks_opened: u64,
    /// Stored bytes that were fetched.
    pub bytes_fetched: u64,
    /// How long all of it took.
    pub duration_ms: u64,
    /// Tables that were restored, where a part was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tables: Option<Vec<PickedTable>>,
    /// The database holds what the dump does, where that was compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<bool>,
    /// What was compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
    /// What became of the keys, where a Redis or Valkey server got them one by one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<RestoredKeys>,
}

/// What became of keys that a server got one by one.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RestoredKeys {
    /// Keys that were restored.
    pub restored: u64,
    /// Libraries of functions that were restored.
    pub functions: u64,
    /// Keys that had expired since the backup.
    pub expired: u64,
    /// Keys that were there already, and stay.
    pub there: u64,
    /// Keys that the server did not take.
    pub refused: u64,
    /// Some of those, each with why.
    pub failed: Vec<FailedKey>,
}

/// A key that was not restored.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct FailedKey {
    /// The key. Bytes that are no UTF-8 are replaced.
    pub key: String,
    /// Why.
    pub error: String,
}

impl From<&Outcome> for RestoredKeys {
    fn from(outcome: &Outcome) -> Self {
        let failed = |(key, error): &(String, String)| FailedKey { key: key.clone(), error: error.clone() };
        Self {
            restored: outcome.restored,
            functions: outcome.functions,
            expired: outcome.expired,
            there: outcome.there,
            refused: outcome.refused,
            failed: outcome.named.iter().map(failed).collect(),
        }
    }
}

impl Report for Restore {}

impl Restore {
    /// A stream of a snapshot, or a part of it, that was restored.
    pub fn new(
        snapshot: &SnapshotId,
        stream: &Stream,
        picked: Option<&Picked>,
        stats: &ReadStats,
        duration_ms: u64,
        findings: Option<&Findings>,
    ) -> Self {
        Self {
            snapshot: Id::of(snapshot),
            stream: stream.name.clone(),
            bytes: stats.bytes,
            // The digest is that of the whole stream.
            blake3: picked.is_none().then(|| Id::of(stream.digest)),
            blocks_opened: stats.blocks_opened,
            bytes_fetched: stats.bytes_fetched,
            duration_ms,
            tables: picked.map(tables),
            verified: findings.map(Findings::is_good),
            verification: findings.map(Verification::from),
            keys: None,
        }
    }

    /// The same, with what became of keys.
    pub fn with_keys(self, keys: RestoredKeys) -> Self {
        Self { keys: Some(keys), ..self }
    }
}

fn tables(picked: &Picked) -> Vec<PickedTable> {
    picked.tables().map(PickedTable::from).collect()
}

/// What a restore would do, by `--dry-run`. Fields that do not apply are left out.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RestorePlan {
    /// Always true.
    pub dry_run: bool,
    /// The snapshot.
    pub snapshot: Id,
    /// The stream.
    pub stream: String,
    /// Plain bytes that would be written.
    pub bytes: u64,
    /// The database that it would go into; null where it would go elsewhere.
    pub database: Option<String>,
    /// How many entries of each kind, of an archive of PostgreSQL's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entries: Option<BTreeMap<String, usize>>,
    /// Tables that would be restored, of an archive of PostgreSQL's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tables: Option<Streamed<PickedTable>>,
    /// What belongs to the part and would be left out, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub omitted: Option<Vec<String>>,
    /// Bytes of data for each of several workers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_bytes: Option<Vec<u64>>,
}

impl Report for RestorePlan {}

impl RestorePlan {
    /// What would be restored, and what each of several workers would do of it.
    ///
    /// # Errors
    /// When the table of contents of its archive is damaged.
    pub fn new(extract: Extract, database: Option<&str>, shares: Option<&Shares>) -> Result<Self, OpError> {
        let bytes = extract.bytes()?;
        let Extract { chosen, stream, picked, .. } = extract;
        Ok(Self {
            dry_run: true,
            snapshot: Id::of(chosen.summary.id),
            stream: stream.name,
            bytes,
            database: database.map(str::to_owned),
            entries: picked.as_ref().map(Picked::kinds),
            omitted: picked.as_ref().map(|picked| picked.part.omitted.clone()),
            tables: picked.map(Streamed::of),
            worker_bytes: shares.map(|shares| shares.workers.iter().map(|(_, bytes)| *bytes).collect()),
        })
    }
}

/// What a restore into a Redis or Valkey server would do, by `--dry-run`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RestoreRedisPlan {
    /// Always true.
    pub dry_run: bool,
    /// The snapshot.
    pub snapshot: Id,
    /// The stream.
    pub stream: String,
    /// Plain bytes of its file.
    pub bytes: u64,
    /// The server: host and port.
    pub server: String,
    /// Keys that it holds now.
    pub server_keys: u64,
    /// Keys that would be restored; null where the whole file would be, in place of all that the server holds.
    pub keys: Option<u64>,
    /// Of these, keys that are there already.
    pub there: Option<u64>,
}

impl Report for RestoreRedisPlan {}

impl From<&RedisPlan> for RestoreRedisPlan {
    fn from(plan: &RedisPlan) -> Self {
        let Extract { chosen, stream, .. } = &plan.extract;
        Self {
            dry_run: true,
            snapshot: Id::of(chosen.summary.id),
            stream: stream.name.clone(),
            bytes: stream.bytes,
            server: plan.server.clone(),
            server_keys: plan.state.info.databases().values().map(|found| found.keys).sum(),
            keys: plan.looked.as_ref().map(|looked| looked.meant),
            there: plan.looked.as_ref().map(|looked| looked.there),
        }
    }
}

/// A database that took the place of another, or would.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Swap {
    /// Nothing was changed, only looked.
    pub dry_run: bool,
    /// The name that it has afterwards.
    pub database: String,
    /// The name that it had.
    pub replaced: String,
    /// The name that the old database has afterwards.
    pub kept: String,
}

impl Report for Swap {}
