//! Looking: snapshots with their bodies, statistics.

use super::OpError;
use crate::event::Observer;
use crate::repo::history::{History, HistoryDamage};
use crate::repo::{RepoError, Repository};
use crate::snapshot::{Body, Summary};
use std::collections::BTreeMap;

/// A committed snapshot and, where the key may read it and it is whole, its body.
pub struct Seen {
    /// Id and head.
    pub summary: Summary,
    /// Streams and the rest.
    pub body: Option<Body>,
}

/// What there is.
pub struct Survey {
    /// Committed snapshots, oldest first.
    pub snapshots: Vec<Seen>,
    /// The rest of the history: uncommitted, damaged.
    pub history: History,
}

/// Reads all snapshots.
///
/// # Errors
/// When the repository cannot be read. Damaged snapshots are in the answer.
pub fn survey(repo: &Repository, observer: &dyn Observer) -> Result<Survey, OpError> {
    let mut catalog = repo.catalog(observer)?;
    let mut history = repo.history(&mut catalog)?;
    let mut snapshots = Vec::new();
    for summary in std::mem::take(&mut history.snapshots) {
        let body = match repo.body(&mut catalog, &summary.id) {
            Ok(body) => Some(body),
            Err(RepoError::Crypto(crate::crypto::CryptoError::RoleTooWeak { .. })) => None,
            Err(error) if error.is_integrity() => {
                history.damaged.push(HistoryDamage { error, series: Some(summary.head.series.clone()) });
                None
            }
            Err(error) => return Err(error.into()),
        };
        snapshots.push(Seen { summary, body });
    }
    Ok(Survey { snapshots, history })
}

/// Sums over snapshots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// Snapshots.
    pub snapshots: u64,
    /// Plain bytes of all their streams.
    pub bytes: u64,
    /// Bytes that they took in the storage when they were made.
    pub bytes_stored: u64,
}

impl Sums {
    /// How many times larger the streams are than what they take; 0 for nothing.
    pub fn ratio(&self) -> f64 {
        if self.bytes_stored == 0 { 0.0 } else { self.bytes as f64 / self.bytes_stored as f64 }
    }
}

/// Statistics of a repository.
pub struct Stats {
    /// Per series and host.
    pub series: BTreeMap<(String, String), Sums>,
    /// All snapshots together.
    pub total: Sums,
    /// Packs in the storage.
    pub packs: u64,
    /// Bytes of those packs.
    pub pack_bytes: u64,
    /// Chunks and recipe nodes in the index.
    pub chunks: u64,
}

/// Reckons statistics.
///
/// # Errors
/// When the repository cannot be read.
pub fn stats(repo: &Repository, observer: &dyn Observer) -> Result<Stats, OpError> {
    let found = survey(repo, observer)?;
    let mut series: BTreeMap<(String, String), Sums> = BTreeMap::new();
    let mut total = Sums::default();
    for seen in &found.snapshots {
        let (bytes, bytes_stored) = seen.body.as_ref().map_or((0, 0), sizes);
        let head = &seen.summary.head;
        let own = series.entry((head.series.clone(), head.host.clone())).or_default();
        for sums in [own, &mut total] {
            sums.snapshots += 1;
            sums.bytes += bytes;
            sums.bytes_stored += bytes_stored;
        }
    }
    let packs = repo.list_packs()?;
    let chunks = repo.catalog(observer)?.chunk_count().map_err(RepoError::from)?;
    Ok(Stats { series, total, packs: packs.len() as u64, pack_bytes: packs.values().sum(), chunks })
}

/// Plain bytes of a snapshot's streams, and the bytes that they took in packs.
pub fn sizes(body: &Body) -> (u64, u64) {
    let bytes = body.streams.iter().map(|stream| stream.bytes).sum();
    let stored =
        body.streams.iter().map(|stream| stream.stats.bytes_stored + stream.stats.recipe_bytes_stored).sum();
    (bytes, stored)
}
