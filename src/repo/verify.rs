//! Checking everything: that every object is what its name says, that every snapshot's bytes can be reached, and, on demand, that
//! every byte of every pack is what was written.
//!
//! Objects are fetched afresh: what the catalog keeps proves nothing about the storage.

use super::catalog::{Catalog, PackRow};
use super::format::index::{BlockKind, IndexedPack};
use super::format::pack::{FRONT_BYTES, PackOpener};
use super::format::snapshot::{SNAPSHOT_BYTES_MAX, open_body, open_head};
use super::format::{FormatError, mark, slot};
use super::history::History;
use super::objects::{ObjectName, fetch, pack_key};
use super::reader::{BlockReader, Extent, Locator, RecipeWalker, Workspace};
use super::sync::Presence;
use super::{RepoError, Repository};
use crate::crypto::Role;
use crate::event::{Cancel, Event, Observer};
use crate::id::{IndexId, MarkId, PackId, SlotId, SnapshotId};
use crate::snapshot::Stream;
use hashbrown::HashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What to check.
#[derive(Debug, Clone, Copy)]
pub struct CheckSettings {
    /// Read every pack, open every block, check every id.
    pub read_data: bool,
    /// Threads that read packs; each holds one pack in memory.
    pub workers: usize,
}

/// Something is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Key of the object.
    pub object: String,
    /// What is wrong with it.
    pub what: String,
}

/// A committed snapshot that cannot be restored whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The snapshot.
    pub id: SnapshotId,
    /// Its series; empty when not even the head can be read.
    pub series: String,
    /// The stream; empty when it is the snapshot itself that is damaged.
    pub stream: String,
    /// Bytes of the stream that are lost, where that is known.
    pub bytes_lost: u64,
    /// Offset in the stream of the first of them.
    pub first_lost: u64,
    /// Why.
    pub what: String,
}

/// What a check found.
#[derive(Debug, Default)]
pub struct CheckReport {
    /// Committed snapshots.
    pub snapshots: u64,
    /// Packs listed, and their bytes.
    pub packs: u64,
    /// Bytes of those packs.
    pub pack_bytes: u64,
    /// Bytes of packs that were read.
    pub bytes_read: u64,
    /// Metadata objects that were read.
    pub objects: u64,
    /// Damaged or missing objects.
    pub damage: Vec<Damage>,
    /// Snapshots that are not whole.
    pub hits: Vec<Hit>,
    /// Packs that no committed snapshot needs: of backups under way or cut short, or of snapshots that were forgotten. Not damage.
    pub unreferenced_packs: u64,
    /// Bytes of those packs.
    pub unreferenced_bytes: u64,
    /// Snapshots without a mark that commits them: of backups cut short at the very end. Not damage.
    pub uncommitted: Vec<SnapshotId>,
}

impl CheckReport {
    /// Whether nothing is damaged and every snapshot is whole.
    pub fn is_clean(&self) -> bool {
        self.damage.is_empty() && self.hits.is_empty()
    }

    fn add(&mut self, error: &RepoError) {
        let (object, what) = match error {
            RepoError::Damaged { object, source } => (object.clone(), source.to_string()),
            RepoError::Missing { object } => (object.clone(), "it is missing".to_owned()),
            RepoError::Inconsistent { object, what } => (object.clone(), what.clone()),
            other => (String::new(), other.to_string()),
        };
        let damage = Damage { object, what };
        if !self.damage.contains(&damage) {
            self.damage.push(damage);
        }
    }
}

impl Repository {
    /// Checks the repository. Takes no lock; backups may go on meanwhile.
    ///
    /// # Errors
    /// When the storage fails, so that nothing can be said. Damage is in the answer.
    pub fn check(
        &self,
        settings: CheckSettings,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<CheckReport, RepoError> {
        if self.keys.role() != Role::Full {
            return Err(crate::crypto::CryptoError::RoleTooWeak { needed: "checking" }.into());
        }
        let mut report = CheckReport::default();
        let step = |what: &str| observer.observe(Event::Step { what: what.to_owned() });
        step("reading metadata");
        self.check_slots(&mut report)?;
        let mut catalog = self.check_indexes(&mut report)?;
        let history = self.check_history(&mut catalog, &mut report)?;
        step("comparing the index with the packs");
        let listed = self.list_packs()?;
        (report.packs, report.pack_bytes) = (listed.len() as u64, listed.values().sum());
        let mut presence = self.reconcile(&mut catalog, &history.damaged_packs)?;
        for (id, what) in presence.unusable.values() {
            report.damage.push(Damage { object: pack_key(id), what: what.clone() });
        }
        if settings.read_data {
            self.check_packs(&mut catalog, &mut presence, &mut report, settings, observer, cancel)?;
        }
        step("following every snapshot");
        self.check_snapshots(catalog, &history, &presence, &mut report, cancel)?;
        report.damage.sort_by(|a, b| a.object.cmp(&b.object));
        Ok(report)
    }

    fn check_slots(&self, report: &mut CheckReport) -> Result<(), RepoError> {
        for id in self.list_names::<SlotId>("keys/")? {
            let read = fetch(self.storage.as_ref(), &id, slot::SLOT_BYTES_MAX);
            let outcome = read.and_then(|bytes| {
                let slot = slot::Slot::decode(&bytes, &self.id).map_err(damaged(&id))?;
                slot.label(&self.keys).map(|_| ()).map_err(damaged(&id))
            });
            report.note(outcome)?;
        }
        Ok(())
    }

    /// Reads every index object and compares it with the catalog, which is rebuilt when it says anything else.
    fn check_indexes(&self, report: &mut CheckReport) -> Result<Catalog, RepoError> {
        let mut catalog = self.catalog(&crate::event::Silent)?;
        let mut rebuilt = false;
        for id in self.list_names::<IndexId>("index/")? {
            report.objects += 1;
            match self.read_index(&id) {
                Ok(index) if rebuilt || self.agrees(&mut catalog, &index.packs) => {}
                Ok(_) => {
                    drop(catalog);
                    self.drop_catalog()?;
                    catalog = self.catalog(&crate::event::Silent)?;
                    rebuilt = true;
                }
                Err(error) if error.is_integrity() => report.add(&error),
                Err(error) => return Err(error),
            }
        }
        Ok(catalog)
    }

    fn agrees(&self, catalog: &mut Catalog, packs: &[IndexedPack]) -> bool {
        let Ok(known) = catalog.packs() else { return false };
        let numbers: HashMap<PackId, i64> = known.iter().map(|pack| (pack.id, pack.number)).collect();
        packs.iter().all(|pack| {
            let row = numbers.get(&pack.id).map(|number| catalog.pack(*number));
            row.is_some_and(|row| row.is_ok_and(|row| row.bytes == pack.bytes && row.table == pack.table))
        })
    }

    /// Fetches every mark and snapshot from the storage.
    fn check_history(&self, catalog: &mut Catalog, report: &mut CheckReport) -> Result<History, RepoError> {
        for id in self.list_names::<MarkId>("marks/")? {
            let read = fetch(self.storage.as_ref(), &id, mark::MARK_BYTES_MAX);
            let outcome = read
                .and_then(|bytes| mark::Mark::open(&bytes, &self.id, &self.keys).map_err(damaged(&id)))
                .map(|_| ());
            report.note(outcome)?;
        }
        for id in self.list_names::<SnapshotId>("snapshots/")? {
            let read = fetch(self.storage.as_ref(), &id, SNAPSHOT_BYTES_MAX);
            let outcome = read.and_then(|bytes| {
                open_head(&bytes, &self.id, &self.keys).map_err(damaged(&id))?;
                open_body(&bytes, &self.id, &self.keys).map(|_| ()).map_err(damaged(&id))
            });
            report.note(outcome)?;
        }
        let history = self.history(catalog)?;
        history.damaged.iter().for_each(|damage| report.add(&damage.error));
        report.snapshots = history.snapshots.len() as u64;
        report.uncommitted = history.uncommitted.iter().map(|summary| summary.id).collect();
        Ok(history)
    }

    /// Reads every pack. Those that are not what was written become unusable for the rest of the check.
    fn check_packs(
        &self,
        catalog: &mut Catalog,
        presence: &mut Presence,
        report: &mut CheckReport,
        settings: CheckSettings,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<(), RepoError> {
        let known: Vec<_> = catalog
            .packs()?
            .into_iter()
            .filter(|pack| !presence.unusable.contains_key(&pack.number))
            .collect();
        let bytes_expected = Some(known.iter().map(|pack| pack.bytes).sum());
        observer.observe(Event::StreamStarted { stream: "packs".to_owned(), bytes_expected });
        let blocks = BlockReader::new(self);
        let catalog = Mutex::new(catalog);
        let next = AtomicUsize::new(0);
        let outcomes = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..settings.workers.max(1) {
                scope.spawn(|| {
                    let mut workspace = Workspace::default();
                    while let Some(pack) = known.get(next.fetch_add(1, Ordering::SeqCst)) {
                        if cancel.is_cancelled() {
                            break;
                        }
                        let row = catalog.lock().unwrap_or_else(PoisonError::into_inner).pack(pack.number);
                        let outcome = row
                            .map_err(RepoError::from)
                            .and_then(|row| self.check_pack(&row, &blocks, &mut workspace));
                        observer.observe(Event::Advanced { bytes: pack.bytes, bytes_known: 0 });
                        let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
                        outcomes.push((*pack, outcome));
                    }
                });
            }
        });
        if cancel.is_cancelled() {
            return Err(RepoError::Cancelled);
        }
        for (pack, outcome) in outcomes.into_inner().unwrap_or_else(PoisonError::into_inner) {
            report.bytes_read += pack.bytes;
            match outcome {
                Ok(()) => {}
                Err(error) if error.is_integrity() => {
                    report.add(&error);
                    presence.unusable.insert(pack.number, (pack.id, error.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
        observer.observe(Event::StreamFinished { stream: "packs".to_owned() });
        Ok(())
    }

    fn check_pack(
        &self,
        row: &PackRow,
        blocks: &BlockReader,
        workspace: &mut Workspace,
    ) -> Result<(), RepoError> {
        let object = pack_key(&row.id);
        let damage = |source| RepoError::Damaged { object: object.clone(), source };
        let mut bytes = fetch(self.storage.as_ref(), &row.id, row.bytes)?;
        let front = bytes.first_chunk::<FRONT_BYTES>().ok_or_else(|| damage(FormatError::CutShort))?;
        let opener = PackOpener::new(front, &self.id, &self.keys).map_err(damage)?;
        let mut plain = Vec::new();
        for (number, entry) in (0u32..).zip(&row.table.blocks) {
            let start = entry.offset as usize;
            let sealed = bytes.get_mut(start..start + entry.stored_bytes as usize);
            let sealed = sealed.ok_or_else(|| damage(FormatError::CutShort))?;
            blocks.open_block(
                &opener,
                &object,
                &row.table,
                (number, entry),
                sealed,
                workspace,
                &mut plain,
            )?;
        }
        Ok(())
    }

    fn check_snapshots(
        &self,
        catalog: Catalog,
        history: &History,
        presence: &Presence,
        report: &mut CheckReport,
        cancel: &Cancel,
    ) -> Result<(), RepoError> {
        let locator = Locator::new(self, catalog, history.damaged_packs.clone());
        let locator = Arc::new(Mutex::new(locator));
        let walker = RecipeWalker::new(Arc::new(BlockReader::new(self)), Arc::clone(&locator));
        let mut follower =
            Follower { walker, locator, presence, used: BTreeSet::new(), seen: HashMap::new() };
        for summary in &history.snapshots {
            if cancel.is_cancelled() {
                return Err(RepoError::Cancelled);
            }
            let hit = |stream: &str, what: String| Hit {
                id: summary.id,
                series: summary.head.series.clone(),
                stream: stream.to_owned(),
                bytes_lost: 0,
                first_lost: 0,
                what,
            };
            let body = {
                let mut locator = follower.locator.lock().unwrap_or_else(PoisonError::into_inner);
                self.body(locator.catalog(), &summary.id)
            };
            match body {
                Ok(body) => {
                    for stream in &body.streams {
                        match follower.follow(stream) {
                            Ok(None) => {}
                            Ok(Some(lost)) => report.hits.push(Hit {
                                bytes_lost: lost.bytes,
                                first_lost: lost.first,
                                ..hit(&stream.name, lost.what)
                            }),
                            Err(error) if error.is_integrity() => {
                                report.hits.push(hit(&stream.name, error.to_string()));
                            }
                            Err(error) => return Err(error),
                        }
                    }
                }
                Err(error) if error.is_integrity() => report.hits.push(hit("", error.to_string())),
                Err(error) => return Err(error),
            }
        }
        follower.count_unreferenced(self, report)
    }
}

impl CheckReport {
    /// Counts an object; damage goes into the report, other errors go up.
    fn note(&mut self, outcome: Result<(), RepoError>) -> Result<(), RepoError> {
        self.objects += 1;
        match outcome {
            Err(error) if error.is_integrity() => {
                self.add(&error);
                Ok(())
            }
            outcome => outcome,
        }
    }
}

/// Bytes of a stream that no usable pack holds.
struct Lost {
    bytes: u64,
    first: u64,
    what: String,
}

/// Follows recipes down to chunks and looks whether each lies in a usable pack.
struct Follower<'a> {
    walker: RecipeWalker,
    locator: Arc<Mutex<Locator>>,
    presence: &'a Presence,
    /// Packs that a snapshot needs.
    used: BTreeSet<PackId>,
    /// Per chunk: its length, and the unusable pack that holds it alone.
    seen: HashMap<[u8; 32], (u32, Option<PackId>)>,
}

/// Chunks remembered between streams; forgotten when there are more, which costs look-ups only.
const SEEN_MAX: usize = 1 << 20;

impl Follower<'_> {
    fn follow(&mut self, stream: &Stream) -> Result<Option<Lost>, RepoError> {
        let (length, _) = self.walker.root(&stream.root)?;
        let misfit =
            |what: String| RepoError::Inconsistent { object: format!("stream {}", stream.name), what };
        if length != stream.bytes {
            return Err(misfit(format!(
                "its recipe makes {length} bytes, and it should have {}",
                stream.bytes
            )));
        }
        let Self { walker, locator, presence, used, seen } = self;
        let mut at = 0u64;
        let mut lost: Option<Lost> = None;
        let mut packs = BTreeMap::<PackId, u64>::new();
        walker.walk(&stream.root, 0..length, &mut |extent: Extent| {
            let (len, unusable) = locate(locator, presence, used, seen, extent.chunk.as_bytes())?;
            if extent.offset + extent.len > len {
                return Err(misfit(format!(
                    "it wants bytes beyond the end of chunk {}",
                    extent.chunk.short()
                )));
            }
            if let Some(pack) = unusable {
                let lost = lost.get_or_insert(Lost { bytes: 0, first: at, what: String::new() });
                lost.bytes += u64::from(extent.len);
                *packs.entry(pack).or_default() += u64::from(extent.len);
            }
            at += u64::from(extent.len);
            Ok(())
        })?;
        Ok(lost.map(|lost| {
            let names: Vec<String> = packs.keys().map(pack_key).collect();
            Lost { what: format!("its bytes lie in damaged or missing packs: {}", names.join(", ")), ..lost }
        }))
    }

    fn count_unreferenced(&mut self, repo: &Repository, report: &mut CheckReport) -> Result<(), RepoError> {
        // Recipes keep their packs, too.
        let mut locator = self.locator.lock().unwrap_or_else(PoisonError::into_inner);
        let catalog = locator.catalog();
        let mut recipe_packs = BTreeSet::new();
        for pack in catalog.packs()? {
            let row = catalog.pack(pack.number)?;
            if row.table.blocks.first().is_some_and(|block| block.kind == BlockKind::Recipe) {
                recipe_packs.insert(pack.id);
            }
        }
        for (id, bytes) in repo.list_packs()? {
            if !self.used.contains(&id) && !recipe_packs.contains(&id) {
                report.unreferenced_packs += 1;
                report.unreferenced_bytes += bytes;
            }
        }
        Ok(())
    }
}

fn locate(
    locator: &Mutex<Locator>,
    presence: &Presence,
    used: &mut BTreeSet<PackId>,
    seen: &mut HashMap<[u8; 32], (u32, Option<PackId>)>,
    id: &[u8; 32],
) -> Result<(u32, Option<PackId>), RepoError> {
    if let Some(known) = seen.get(id) {
        return Ok(*known);
    }
    let locations = locator.lock().unwrap_or_else(PoisonError::into_inner).all(id, BlockKind::Data)?;
    let usable = locations.iter().find(|location| !presence.unusable.contains_key(&location.pack.number));
    let found = match (usable, locations.first()) {
        (Some(location), _) => {
            used.insert(location.pack.id);
            (location.len, None)
        }
        (None, Some(location)) => (location.len, Some(location.pack.id)),
        (None, None) => {
            return Err(RepoError::ChunkLost {
                what: "chunk",
                id: crate::id::ChunkId::from_bytes(*id).to_string(),
                hint: "its pack or index object is gone".to_owned(),
            });
        }
    };
    if seen.len() >= SEEN_MAX {
        seen.clear();
    }
    seen.insert(*id, found);
    Ok(found)
}

fn damaged<N: ObjectName>(name: &N) -> impl Fn(FormatError) -> RepoError + use<N> {
    let object = name.key();
    move |source| RepoError::Damaged { object: object.clone(), source }
}
