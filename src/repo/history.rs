//! Which snapshots are committed, and what marks say.

use super::catalog::Catalog;
use super::format::mark::{MARK_BYTES_MAX, Mark, MarkKind, superseded};
use super::format::snapshot::{SNAPSHOT_BYTES_MAX, open_body, open_head};
use super::objects::{ObjectName, fetch, name_in_key, pack_key};
use super::{RepoError, Repository};
use crate::event::Observer;
use crate::id::{MarkId, PackId, SnapshotId};
use crate::snapshot::{Body, State, Summary};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};

/// So many marks are fetched at once: some hundred bytes each.
const MARKS_AT_ONCE: usize = 16;
/// So many snapshots are fetched at once: they may have megabytes.
const SNAPSHOTS_AT_ONCE: usize = 8;

/// What the storage says of snapshots.
#[derive(Debug, Default)]
pub struct History {
    /// Committed snapshots, oldest first.
    pub snapshots: Vec<Summary>,
    /// Snapshots that no mark commits: a backup that was cut short or is under way, or a mark that was lost.
    pub uncommitted: Vec<Summary>,
    /// Snapshots and marks that cannot be read.
    pub damaged: Vec<HistoryDamage>,
    /// Packs marked as damaged, with the words of the mark.
    pub damaged_packs: HashMap<PackId, String>,
    /// Snapshots that a person pinned.
    pub pinned: HashSet<SnapshotId>,
    /// Snapshots that were restored and compared as a whole, and when that was last, ms since the epoch.
    pub verified: HashMap<SnapshotId, i64>,
    /// Snapshots of which something is lost, with the words of the mark. Their state is suspect, whatever it was.
    pub damaged_snapshots: HashMap<SnapshotId, String>,
}

/// A snapshot or mark that cannot be read.
#[derive(Debug)]
pub struct HistoryDamage {
    /// What is wrong.
    pub error: RepoError,
    /// Series of the snapshot, where a mark tells it.
    pub series: Option<String>,
}

impl History {
    /// Committed snapshots of one series, oldest first.
    pub fn series<'a>(
        &'a self,
        series: &'a str,
        host: &'a str,
    ) -> impl DoubleEndedIterator<Item = &'a Summary> {
        self.snapshots
            .iter()
            .filter(move |summary| summary.head.series == series && summary.head.host == host)
    }
}

/// What there is of marks and snapshots.
struct Listing {
    marks: Vec<MarkId>,
    snapshots: Vec<SnapshotId>,
}

impl Repository {
    /// Reads all marks and snapshot heads; what was read before comes from the catalog.
    ///
    /// # Errors
    /// When the storage or the catalog fails. Damaged objects are in the answer.
    pub fn history(&self, catalog: &mut Catalog) -> Result<History, RepoError> {
        self.history_of(catalog, self.list_history()?)
    }

    /// Marks first: a snapshot that is there when its mark is seen is there in a listing that follows.
    fn list_history(&self) -> Result<Listing, RepoError> {
        let marks = self.list_names::<MarkId>("marks/")?;
        Ok(Listing { marks, snapshots: self.list_names::<SnapshotId>("snapshots/")? })
    }

    /// The catalog brought up to date, and the history, for whoever only reads: who changes what the history says wants it as late as can be.
    /// Behind a wire the listings for both are asked for at the same time.
    ///
    /// # Errors
    /// As [`Repository::catalog`] and [`Repository::history`].
    pub fn known(&self, observer: &dyn Observer) -> Result<(Catalog, History), RepoError> {
        if self.storage.is_local() {
            let mut catalog = self.catalog(observer)?;
            let history = self.history(&mut catalog)?;
            return Ok((catalog, history));
        }
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("list".to_owned());
            let listing = thread.spawn_scoped(scope, || self.list_history());
            let listing = listing.map_err(|source| RepoError::Thread { source })?;
            let mut catalog = self.catalog(observer)?;
            let listing = listing.join().unwrap_or(Err(RepoError::Stopped))?;
            let history = self.history_of(&mut catalog, listing)?;
            Ok((catalog, history))
        })
    }

    fn history_of(&self, catalog: &mut Catalog, listing: Listing) -> Result<History, RepoError> {
        let mut history = History::default();
        let marks = self.read_marks_of(catalog, listing.marks, &mut history.damaged)?;
        let superseded = superseded(&marks);
        // Key of the snapshot, and the series that its mark names.
        let mut committed: HashMap<String, (Option<String>, MarkId)> = HashMap::new();
        let mut abandoned: HashSet<&String> = HashSet::new();
        let mut tags: HashMap<String, BTreeSet<String>> = HashMap::new();
        for (id, mark) in &marks {
            if superseded.contains(id) {
                continue;
            }
            match mark.kind {
                MarkKind::Committed => {
                    committed.insert(mark.object.clone(), (mark.value.clone(), *id));
                }
                MarkKind::Damaged => {
                    let pack = name_in_key::<PackId>(&mark.object);
                    // A mark may name anything, and another object's id may look like a pack's.
                    if let Some(pack) = pack.filter(|pack| pack_key(pack) == mark.object) {
                        history.damaged_packs.insert(pack, mark.value.clone().unwrap_or_default());
                    }
                    let snapshot = name_in_key::<SnapshotId>(&mark.object);
                    if let Some(snapshot) = snapshot.filter(|snapshot| snapshot.key() == mark.object) {
                        history.damaged_snapshots.insert(snapshot, mark.value.clone().unwrap_or_default());
                    }
                }
                MarkKind::Pinned => history.pinned.extend(name_in_key::<SnapshotId>(&mark.object)),
                // A sample proves nothing of the rest.
                MarkKind::Verified if mark.value.is_some() => {}
                MarkKind::Verified => {
                    if let Some(snapshot) = name_in_key::<SnapshotId>(&mark.object) {
                        let last = history.verified.entry(snapshot).or_insert(mark.time_ms);
                        *last = (*last).max(mark.time_ms);
                    }
                }
                // Two of them were made at the same time: both count.
                MarkKind::Tags => {
                    let own = mark.value.iter().flat_map(|tags| tags.lines()).map(str::to_owned);
                    tags.entry(mark.object.clone()).or_default().extend(own);
                }
                MarkKind::Cleared if mark.supersedes.is_empty() => {
                    abandoned.insert(&mark.object);
                }
                MarkKind::Cleared | MarkKind::Other(_) => {}
            }
        }
        committed.retain(|object, _| !abandoned.contains(object));
        let names = listing.snapshots;
        self.fetch_unknown(catalog, &names, SNAPSHOT_BYTES_MAX, SNAPSHOTS_AT_ONCE);
        for id in names {
            let head = self
                .small_object(catalog, &id, SNAPSHOT_BYTES_MAX)
                .and_then(|bytes| open_head(&bytes, &self.id, &self.keys).map_err(damaged(&id)));
            let head = head.map(|mut head| {
                if let Some(tags) = tags.remove(&id.key()) {
                    head.tags = tags.into_iter().collect();
                }
                // Not to be taken for a good copy, by retention or as a parent.
                if history.damaged_snapshots.contains_key(&id) {
                    head.state = State::Suspect;
                }
                head
            });
            match head {
                Ok(head) if committed.contains_key(&id.key()) => history.snapshots.push(Summary { id, head }),
                Ok(head) => history.uncommitted.push(Summary { id, head }),
                // Removed since it was listed. If a mark says that it should be there, that is seen below.
                Err(RepoError::Missing { .. }) => {}
                Err(error) if error.is_integrity() => {
                    let series = committed.get(&id.key()).and_then(|(series, _)| series.clone());
                    history.damaged.push(HistoryDamage { error, series });
                }
                Err(error) => return Err(error),
            }
        }
        // A mark that outlived its snapshot tells of one that is gone; `forget` removes both.
        let seen: HashSet<String> = history.snapshots.iter().map(|summary| summary.id.key()).collect();
        let named = history.damaged.iter().filter_map(|damage| match &damage.error {
            RepoError::Damaged { object, .. } | RepoError::Missing { object } => Some(object.clone()),
            _ => None,
        });
        let named: HashSet<String> = named.collect();
        let mut lost: Vec<(String, Option<String>)> = Vec::new();
        for (key, (series, mark)) in committed {
            // `forget` removes the mark first: one that is gone by now tells that it was at work.
            if !seen.contains(&key) && !named.contains(&key) && self.storage.size(&mark.key())?.is_some() {
                lost.push((key, series));
            }
        }
        lost.sort();
        history.damaged.extend(
            lost.into_iter()
                .map(|(object, series)| HistoryDamage { error: RepoError::Missing { object }, series }),
        );
        history.snapshots.sort_by_key(|summary| (summary.head.time_ms, summary.head.counter, summary.id));
        Ok(history)
    }

    pub(super) fn read_marks(
        &self,
        catalog: &mut Catalog,
        unreadable: &mut Vec<HistoryDamage>,
    ) -> Result<Vec<(MarkId, Mark)>, RepoError> {
        self.read_marks_of(catalog, self.list_names::<MarkId>("marks/")?, unreadable)
    }

    fn read_marks_of(
        &self,
        catalog: &mut Catalog,
        names: Vec<MarkId>,
        unreadable: &mut Vec<HistoryDamage>,
    ) -> Result<Vec<(MarkId, Mark)>, RepoError> {
        let mut marks = Vec::new();
        self.fetch_unknown(catalog, &names, MARK_BYTES_MAX, MARKS_AT_ONCE);
        for id in names {
            let mark = self
                .small_object(catalog, &id, MARK_BYTES_MAX)
                .and_then(|bytes| Mark::open(&bytes, &self.id, &self.keys).map_err(damaged(&id)));
            match mark {
                Ok(mark) => marks.push((id, mark)),
                // Removed since it was listed.
                Err(RepoError::Missing { .. }) => {}
                Err(error) if error.is_integrity() => unreadable.push(HistoryDamage { error, series: None }),
                Err(error) => return Err(error),
            }
        }
        Ok(marks)
    }

    /// Reads a snapshot's body.
    ///
    /// # Errors
    /// When it is damaged, or this key may not read it.
    pub fn body(&self, catalog: &mut Catalog, id: &SnapshotId) -> Result<Body, RepoError> {
        let bytes = self.small_object(catalog, id, SNAPSHOT_BYTES_MAX)?;
        open_body(&bytes, &self.id, &self.keys).map_err(|source| match source {
            super::FormatError::Crypto(error @ crate::crypto::CryptoError::RoleTooWeak { .. }) => {
                error.into()
            }
            source => damaged(id)(source),
        })
    }

    /// Puts a mark.
    pub(super) fn put_mark(&self, mark: &Mark) -> Result<MarkId, RepoError> {
        self.put_hashed(&mark.seal(self.id, &self.keys, self.entropy.as_ref())?)
    }

    /// Says something of a snapshot in the place of all that marks of the same kind say of it; with `None`, nothing any more.
    ///
    /// # Errors
    /// When the mark cannot be written. Taking back takes a full key.
    pub fn mark_snapshot(
        &self,
        snapshot: &SnapshotId,
        kind: MarkKind,
        value: Option<Option<String>>,
        host: &str,
        now_ms: i64,
    ) -> Result<(), RepoError> {
        self.mark_object(snapshot.key(), kind, value, host, now_ms)
    }

    /// The pack is whole again, or was all the time: takes back that it is damaged.
    ///
    /// # Errors
    /// When the mark cannot be written. Takes a full key.
    pub fn clear_damaged(&self, pack: &PackId, host: &str, now_ms: i64) -> Result<(), RepoError> {
        self.mark_object(pack_key(pack), MarkKind::Damaged, None, host, now_ms)
    }

    fn mark_object(
        &self,
        object: String,
        kind: MarkKind,
        value: Option<Option<String>>,
        host: &str,
        now_ms: i64,
    ) -> Result<(), RepoError> {
        let mut catalog = self.catalog(&crate::event::Silent)?;
        let mut unreadable = Vec::new();
        let marks = self.read_marks(&mut catalog, &mut unreadable)?;
        let gone = superseded(&marks);
        let holds =
            |(id, mark): &&(MarkId, Mark)| mark.kind == kind && mark.object == object && !gone.contains(id);
        let supersedes: Vec<MarkId> = marks.iter().filter(holds).map(|(id, _)| *id).collect();
        let (kind, value) = match value {
            Some(value) => (kind, value),
            None if supersedes.is_empty() => return Ok(()),
            None => (MarkKind::Cleared, None),
        };
        let mark = Mark { kind, object, time_ms: now_ms, supersedes, value, host: host.to_owned() };
        self.put_mark(&mark).map(|_| ())
    }

    /// Remembers that a pack is damaged, so that no new snapshot relies on it.
    ///
    /// # Errors
    /// When the mark cannot be written.
    pub fn mark_damaged(
        &self,
        pack: &PackId,
        why: &str,
        host: &str,
        now_ms: i64,
    ) -> Result<MarkId, RepoError> {
        self.put_mark(&Mark {
            kind: MarkKind::Damaged,
            object: pack_key(pack),
            time_ms: now_ms,
            supersedes: Vec::new(),
            value: Some(why.to_owned()),
            host: host.to_owned(),
        })
    }

    pub(super) fn list_names<N: std::str::FromStr + Ord>(&self, prefix: &str) -> Result<Vec<N>, RepoError> {
        let mut names = Vec::new();
        self.storage.list(prefix, &mut |listed| names.extend(name_in_key::<N>(&listed.key)))?;
        names.sort();
        Ok(names)
    }

    /// Fetches what the catalog does not have, many at once, where each waits for a wire: a new machine would wait for one snapshot and
    /// mark after another. What fails is met again, and told, by whoever wants it.
    fn fetch_unknown<N: ObjectName + Sync>(
        &self,
        catalog: &mut Catalog,
        names: &[N],
        bytes_max: u64,
        at_once: usize,
    ) {
        if self.storage.is_local() {
            return;
        }
        let is_unknown = |name: &&N| !matches!(catalog.object(&name.key()), Ok(Some(_)));
        let unknown: Vec<&N> = names.iter().filter(is_unknown).collect();
        if unknown.len() < 2 {
            return;
        }
        let next = AtomicUsize::new(0);
        let (fetched_in, fetched) = crossbeam_channel::bounded(at_once);
        std::thread::scope(|scope| {
            for _ in 0..at_once.min(unknown.len()) {
                let (next, unknown, fetched_in) = (&next, &unknown, fetched_in.clone());
                let work = move || {
                    while let Some(name) = unknown.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let Ok(bytes) = fetch(self.storage.as_ref(), *name, bytes_max) else { return };
                        if fetched_in.send((name.key(), bytes)).is_err() {
                            return;
                        }
                    }
                };
                let named = std::thread::Builder::new().name("metadata".to_owned());
                // Safe to ignore because fewer threads, or none, only take longer.
                let _ = named.spawn_scoped(scope, work);
            }
            drop(fetched_in);
            for (key, bytes) in fetched {
                // Safe to ignore because the catalog only spares the next fetch.
                let _ = catalog.keep_object(&key, &bytes);
            }
        });
    }

    /// A small immutable object, from the catalog where it was read before. The name is checked either way: the catalog is
    /// never trusted.
    fn small_object<N: ObjectName>(
        &self,
        catalog: &mut Catalog,
        name: &N,
        bytes_max: u64,
    ) -> Result<Vec<u8>, RepoError> {
        let key = name.key();
        if let Ok(Some(bytes)) = catalog.object(&key)
            && blake3::hash(&bytes) == *name.hash()
        {
            return Ok(bytes);
        }
        let bytes = fetch(self.storage.as_ref(), name, bytes_max)?;
        // Safe to ignore because the catalog only spares the next fetch.
        let _ = catalog.keep_object(&key, &bytes);
        Ok(bytes)
    }
}

fn damaged<N: ObjectName>(name: &N) -> impl FnOnce(super::FormatError) -> RepoError + use<N> {
    let object = name.key();
    move |source| RepoError::Damaged { object, source }
}
