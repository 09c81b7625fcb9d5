//! What there is in a repository.

use super::keys::KeyAmount;
use super::snapshot::{ShownStream, Snapshot};
use super::tables::{Streamed, TableAmount};
use super::{Report, Time};
use crate::engine::listing::{self, Closer, Seen, Sums};
use crate::vault::history::History;
use schemars::JsonSchema;
use serde::Serialize;

/// The snapshots of a repository.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Snapshots {
    /// Those that were asked for, oldest first.
    pub snapshots: Vec<ListedSnapshot>,
    /// The time zone of calendar tags.
    pub time_zone: String,
    /// Bytes of all packs, padding included.
    pub pack_bytes: u64,
    /// What this host has seen in the repository and is gone, though nobody forgot it.
    pub turned_back: Vec<String>,
}

impl Report for Snapshots {}

/// A snapshot, and what marks say of it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ListedSnapshot {
    /// The snapshot.
    #[serde(flatten)]
    pub snapshot: Snapshot,
    /// No policy removes it.
    pub pinned: bool,
    /// When it was last restored and compared by `verify`; null for never.
    pub verified: Option<Time>,
    /// A mark says that it is damaged, for people.
    #[serde(skip)]
    pub is_damaged: bool,
    /// Nothing proves that it is whole, for people.
    #[serde(skip)]
    pub is_unproven: bool,
}

impl ListedSnapshot {
    /// A snapshot with its tags, amid the history.
    pub fn new(seen: &Seen, tags: Vec<String>, history: &History) -> Self {
        let id = &seen.summary.id;
        Self {
            snapshot: Snapshot::new(seen, tags),
            pinned: history.pinned.contains(id),
            verified: history.verified.get(id).copied().map(Time::from_ms),
            is_damaged: history.damaged_snapshots.contains_key(id),
            is_unproven: seen.summary.head.proof.is_missing(),
        }
    }
}

/// What a snapshot holds.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Listed {
    /// The snapshot; of one stream, if that was named.
    pub snapshot: Snapshot,
    /// Tables of all streams of which they are known; null where the snapshot's body cannot be read.
    pub tables: Option<Streamed<TableAmount>>,
    /// Keys of all streams of Redis and Valkey, by database and prefix; null where the snapshot's body cannot be read.
    pub keys: Option<Vec<KeyAmount>>,
}

impl Report for Listed {}

/// All that is known of a snapshot.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Shown {
    /// The snapshot.
    pub snapshot: ShownSnapshot,
}

impl Report for Shown {}

/// A snapshot, and what a closer look tells.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ShownSnapshot {
    /// The snapshot.
    #[serde(flatten)]
    pub snapshot: Snapshot<ShownStream>,
    /// Stored bytes that no other snapshot needs.
    pub bytes_held_alone: u64,
}

impl Shown {
    /// A snapshot with its tags, looked at closely.
    pub fn new(seen: &Seen, tags: Vec<String>, closer: &Closer) -> Self {
        let reads = |at: usize| closer.streams.get(at).and_then(Option::as_ref).map(Into::into);
        let snapshot =
            Snapshot::with(seen, tags, |at, stream| ShownStream { stream: stream.into(), reads: reads(at) });
        Self { snapshot: ShownSnapshot { snapshot, bytes_held_alone: closer.bytes_alone } }
    }
}

/// Statistics of a repository.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Stats {
    /// Of each series and host.
    pub series: Vec<Series>,
    /// All snapshots together.
    pub total: Totals,
    /// Packs in the storage.
    pub packs: u64,
    /// Bytes of those packs, padding included.
    pub pack_bytes: u64,
    /// Chunks and recipe nodes in the index.
    pub chunks: u64,
    /// Bytes of all objects, padding included.
    pub disk_bytes: u64,
    /// What this host has seen in the repository and is gone, though nobody forgot it.
    pub turned_back: Vec<String>,
}

impl Report for Stats {}

/// Statistics of a series.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "SeriesStats")]
pub struct Series {
    /// Its name.
    pub series: String,
    /// Its host.
    pub host: String,
    /// Its snapshots together.
    pub sums: Totals,
    /// What restoring the newest complete snapshot reads for each byte that it takes by itself, where that can be told.
    pub read_amplification: Option<f64>,
    /// Bytes of the packs that hold data of the series, padding included. Packs that several series share count for
    /// each.
    pub disk_bytes: Option<u64>,
}

/// Sums over snapshots.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Sums")]
pub struct Totals {
    /// Snapshots.
    pub snapshots: u64,
    /// Plain bytes of all their streams.
    pub bytes: u64,
    /// Bytes that they took in the storage when they were made, without padding.
    pub bytes_stored: u64,
    /// How many times larger the streams are than what they take; 0 for nothing.
    pub ratio: f64,
    /// Plain bytes that were new.
    pub bytes_new: u64,
    /// Plain bytes known by their chunk ids.
    pub bytes_known: u64,
    /// Plain bytes found in parents.
    pub bytes_copied: u64,
}

impl From<&Sums> for Totals {
    fn from(sums: &Sums) -> Self {
        Self {
            snapshots: sums.snapshots,
            bytes: sums.bytes,
            bytes_stored: sums.bytes_stored,
            ratio: sums.ratio(),
            bytes_new: sums.bytes_new,
            bytes_known: sums.bytes_known,
            bytes_copied: sums.bytes_copied,
        }
    }
}

impl From<&listing::Stats> for Stats {
    fn from(stats: &listing::Stats) -> Self {
        let series = stats.series.iter().map(|(key, sums)| Series {
            series: key.0.clone(),
            host: key.1.clone(),
            sums: sums.into(),
            read_amplification: stats.reads.get(key).copied(),
            disk_bytes: stats.disk.get(key).copied(),
        });
        Self {
            series: series.collect(),
            total: (&stats.total).into(),
            packs: stats.on_disk.packs,
            pack_bytes: stats.on_disk.pack_bytes,
            chunks: stats.chunks,
            disk_bytes: stats.on_disk.bytes,
            turned_back: stats.turned_back.clone(),
        }
    }
}
