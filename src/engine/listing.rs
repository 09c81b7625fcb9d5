//! Looking: snapshots with their bodies, statistics.

use super::OpError;
use crate::base::event::{Cancel, Observer};
use crate::base::id::{NodeId, SnapshotId};
use crate::base::name::SeriesName;
use crate::vault::history::{History, HistoryDamage, Stops};
use crate::vault::reader::{BlockReader, Locator, ReadCost, RecipeWalker};
use crate::vault::snapshot::selection::{self, newer};
use crate::vault::snapshot::{Body, State, Stream, Summary};
use crate::vault::sync::OnDisk;
use crate::vault::{RepoError, Repository};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

/// Which snapshots there are.
#[derive(Debug, Clone, Default)]
pub struct Present {
    /// All of them.
    pub there: BTreeSet<SnapshotId>,
    /// Their series.
    pub series: BTreeSet<String>,
    /// Snapshots that were removed by somebody.
    pub forgotten: BTreeSet<SnapshotId>,
}

impl Present {
    /// These, and what `history` says of those that were removed.
    pub fn of<'a>(snapshots: impl Iterator<Item = &'a Summary>, history: &History) -> Self {
        let mut present = Self { forgotten: history.forgotten.iter().copied().collect(), ..Self::default() };
        for summary in snapshots {
            present.there.insert(summary.id);
            present.series.insert(summary.head.series.clone());
        }
        present
    }
}

/// A committed snapshot and, where the key may read it and it is whole, its body.
pub struct Seen {
    /// Id and head.
    pub summary: Summary,
    /// Streams and the rest.
    pub body: Option<Body>,
}

/// What there is.
pub struct Listing {
    /// Committed snapshots, oldest first.
    pub snapshots: Vec<Seen>,
    /// The rest of the history: uncommitted, damaged.
    pub history: History,
    /// Bytes of all packs, padding and all.
    pub pack_bytes: u64,
}

/// Reads all snapshots.
///
/// # Errors
/// When the repository cannot be read. Damaged snapshots are in the answer.
pub fn survey(repo: &Repository, observer: &dyn Observer) -> Result<Listing, OpError> {
    // No index is needed: a machine without a catalog would read one for each backup.
    let (mut catalog, mut history) = repo.told(observer)?;
    let mut snapshots = Vec::new();
    for summary in std::mem::take(&mut history.snapshots) {
        let body = match repo.body(&mut catalog, &summary.id) {
            Ok(body) => Some(body),
            Err(RepoError::Crypto(crate::vault::crypto::CryptoError::RoleTooWeak { .. })) => None,
            Err(error) if error.is_integrity() => {
                let series = Some(summary.head.series.clone());
                let stops = if history.was_whole(&summary) { Stops::Deletion } else { Stops::Nothing };
                history.damaged.push(HistoryDamage { error, series, stops });
                None
            }
            Err(error) => return Err(error.into()),
        };
        snapshots.push(Seen { summary, body });
    }
    let pack_bytes = repo.pack_bytes(&catalog)?;
    Ok(Listing { snapshots, history, pack_bytes })
}

/// Makes sure that there is such a series.
///
/// # Errors
/// When no snapshot is of it; the error names those that there are.
pub(crate) fn check_series(all: &[Summary], wanted: &SeriesName) -> Result<(), OpError> {
    Ok(selection::check_series(all, wanted)?)
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
    /// Plain bytes that were new.
    pub bytes_new: u64,
    /// Plain bytes known by their chunk ids.
    pub bytes_known: u64,
    /// Plain bytes found in parents.
    pub bytes_copied: u64,
}

impl Sums {
    fn add(&mut self, body: &Body) {
        let (bytes, bytes_stored) = sizes(body);
        self.bytes += bytes;
        self.bytes_stored += bytes_stored;
        for Stream { stats, .. } in &body.streams {
            self.bytes_new += stats.bytes_new;
            self.bytes_known += stats.bytes_known;
            self.bytes_copied += stats.bytes_copied;
        }
    }

    /// How many times larger the streams are than what they take; 0 for nothing.
    pub fn ratio(&self) -> f64 {
        if self.bytes_stored == 0 { 0.0 } else { self.bytes as f64 / self.bytes_stored as f64 }
    }
}

/// Statistics of a repository.
pub struct Stats {
    /// Per series and host.
    pub series: BTreeMap<(String, String), Sums>,
    /// What restoring the newest complete snapshot of each reads for each byte that it takes by itself, where that can
    /// be told.
    pub reads: BTreeMap<(String, String), f64>,
    /// Bytes of the packs that hold anything of each, padding and all; what several share counts for each.
    pub disk: BTreeMap<(String, String), u64>,
    /// All snapshots together.
    pub total: Sums,
    /// What lies in the storage, padding and all.
    pub on_disk: OnDisk,
    /// Chunks and recipe nodes in the index.
    pub chunks: u64,
    /// What was seen in the repository and is gone without a word.
    pub turned_back: Vec<String>,
}

/// Reckons statistics.
///
/// # Errors
/// When the repository cannot be read.
pub(crate) fn stats(repo: &Repository, observer: &dyn Observer, cancel: &Cancel) -> Result<Stats, OpError> {
    let found = survey(repo, observer)?;
    let mut series: BTreeMap<(String, String), Sums> = BTreeMap::new();
    let mut total = Sums::default();
    let mut roots: BTreeMap<(String, String), Vec<NodeId>> = BTreeMap::new();
    for seen in &found.snapshots {
        let head = &seen.summary.head;
        let key = (head.series.clone(), head.host.clone());
        let streams = seen.body.iter().flat_map(|body| &body.streams);
        roots.entry(key.clone()).or_default().extend(streams.map(|stream| stream.root));
        let own = series.entry(key).or_default();
        for sums in [own, &mut total] {
            sums.snapshots += 1;
            seen.body.iter().for_each(|body| sums.add(body));
        }
    }
    let reads = newest_reads(repo, &found, observer)?;
    let (keys, groups): (Vec<_>, Vec<_>) = roots.into_iter().unzip();
    let disk = keys.into_iter().zip(repo.pack_bytes_of(&groups, cancel)?).collect();
    let on_disk = repo.on_disk()?;
    let chunks = repo.catalog(observer)?.chunk_count().map_err(RepoError::from)?;
    Ok(Stats { series, reads, disk, total, on_disk, chunks, turned_back: found.history.turned_back })
}

/// What a closer look at one snapshot tells.
pub struct Closer {
    /// What restoring each of its streams reads, in their order; `None` for one whose recipe cannot be followed.
    pub streams: Vec<Option<ReadCost>>,
    /// Stored bytes that no other snapshot needs.
    pub bytes_alone: u64,
}

/// Looks closely at the snapshot `id`. No data is read, but every recipe.
///
/// # Errors
/// When the repository cannot be read, or it has no such snapshot with a body that can be read.
pub(crate) fn closer(
    repo: &Repository,
    id: &SnapshotId,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Closer, OpError> {
    let found = survey(repo, observer)?;
    let (mut own, mut others) = (Vec::new(), Vec::new());
    for seen in &found.snapshots {
        let roots = if seen.summary.id == *id { &mut own } else { &mut others };
        roots.extend(seen.body.iter().flat_map(|body| &body.streams).map(|stream| stream.root));
    }
    let bodies =
        found.snapshots.iter().filter(|seen| seen.summary.id == *id).filter_map(|seen| seen.body.as_ref());
    let look = RecipeLook::new(repo, observer)?;
    let streams = bodies.flat_map(|body| &body.streams).map(|stream| look.at(stream)).collect();
    Ok(Closer { streams, bytes_alone: repo.bytes_held_alone(&own, &others, cancel)? })
}

/// Looks at recipes.
struct RecipeLook<'a> {
    repo: &'a Repository,
    locator: Arc<Mutex<Locator>>,
}

impl<'a> RecipeLook<'a> {
    fn new(repo: &'a Repository, observer: &dyn Observer) -> Result<Self, OpError> {
        let locator = Locator::new(repo, repo.catalog(observer)?, Default::default());
        Ok(Self { repo, locator: Arc::new(Mutex::new(locator)) })
    }

    fn at(&self, stream: &Stream) -> Option<ReadCost> {
        let blocks = Arc::new(BlockReader::new(self.repo));
        let mut walker = RecipeWalker::new(blocks, Arc::clone(&self.locator));
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        // What is the matter with it is for `check` to say.
        ReadCost::of(stream, &mut walker, &self.locator, threads).ok()
    }
}

fn newest_reads(
    repo: &Repository,
    found: &Listing,
    observer: &dyn Observer,
) -> Result<BTreeMap<(String, String), f64>, OpError> {
    let look = RecipeLook::new(repo, observer)?;
    let mut newest: BTreeMap<(String, String), (&Summary, &Body)> = BTreeMap::new();
    for Seen { summary, body } in &found.snapshots {
        let (State::Complete, Some(body)) = (summary.head.state, body) else { continue };
        let place = newest.entry((summary.head.series.clone(), summary.head.host.clone()));
        let known = place.or_insert((summary, body));
        if newer(summary, known.0).is_gt() {
            *known = (summary, body);
        }
    }
    let of_body = |body: &Body| {
        let looks: Option<Vec<ReadCost>> = body.streams.iter().map(|stream| look.at(stream)).collect();
        let looks = looks?;
        let own: u64 = looks.iter().map(|look| look.stored_own).sum();
        let read: u64 = looks.iter().map(|look| look.stored_read).sum();
        (own > 0).then(|| read as f64 / own as f64)
    };
    Ok(newest.into_iter().filter_map(|(series, (_, body))| Some((series, of_body(body)?))).collect())
}

/// Plain bytes of a snapshot's streams, and the bytes that they took in packs.
pub(crate) fn sizes(body: &Body) -> (u64, u64) {
    let bytes = body.streams.iter().map(|stream| stream.bytes).sum();
    let stored =
        body.streams.iter().map(|stream| stream.stats.bytes_stored + stream.stats.recipe_bytes_stored).sum();
    (bytes, stored)
}
