//! Is this chunk stored already? Answered without a query where the stream follows an earlier one.
//!
//! Three steps, after Zhu, Li, Patterson: *Avoiding the Disk Bottleneck in the Data Domain Deduplication File System*,
//! FAST 2008. The chunk that follows the last known one in its pack is guessed first. Then the filter in memory says
//! that a chunk is surely new. Only then the catalog is asked, whose answer loads the pack's whole table for the next
//! guess.

use super::super::catalog::filter::{ChunkFilter, chunk_key};
use super::super::catalog::{Catalog, CatalogError, Found, PackRow};
use super::super::format::index::{BlockKind, IndexedPack};
use super::super::reader::{BlockReader, Workspace};
use super::super::session::CONDEMNED;
use super::super::sync::{Presence, tolerate};
use super::super::{RepoError, Repository};
use crate::base::id::{AuthorId, IndexId, PackId};
use crate::vault::crypto::Role;
use hashbrown::HashSet;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where a known chunk or node is.
pub(super) enum Place {
    /// On its way into a pack.
    Pending,
    /// In a pack, by its number in the catalog, and a block of it.
    At { pack: i64, block: u32 },
}

impl Place {
    fn of(row: &PackRow, at: usize) -> Self {
        Self::At { pack: row.number, block: row.block_of(at) }
    }
}

pub(super) struct Known {
    catalog: Catalog,
    filter: ChunkFilter,
    /// The newest pack that was in the catalog when the filter was loaded.
    filter_until: i64,
    presence: Presence,
    /// Chunks handed to the pipeline whose pack is not in the catalog yet.
    pending: HashSet<[u8; 32]>,
    /// Where a data chunk and a recipe node were found last.
    last_data: Option<(Arc<PackRow>, usize)>,
    last_recipe: Option<(Arc<PackRow>, usize)>,
    /// The catalog turned out corrupt: it says nothing any more, and is rebuilt next time.
    catalog_lost: bool,
    /// Packs that something of this backup is in, by number.
    relied: HashSet<i64>,
    /// Packs that could not be relied on for chunks of this backup, with the reason.
    healed: BTreeMap<PackId, String>,
    me: AuthorId,
    /// Packs are relied on whoever names them.
    relies_on_all: bool,
    /// Opens blocks of packs that nobody to be relied on vouches for; with an *append* key there is nothing to open
    /// them with.
    blocks: Option<BlockReader>,
    /// Blocks of such packs that were opened, by the pack's number.
    opened: HashSet<(i64, u32)>,
    /// Such packs that do not hold what they should, by number.
    lies: HashSet<i64>,
}

impl Known {
    pub(super) fn new(repo: &Repository, mut catalog: Catalog, presence: Presence) -> Self {
        let mut catalog_lost = false;
        let (filter, filter_until) = tolerate(catalog.filter(), Default::default(), &mut catalog_lost);
        Self {
            catalog,
            filter,
            filter_until,
            presence,
            pending: HashSet::new(),
            last_data: None,
            last_recipe: None,
            catalog_lost,
            relied: HashSet::new(),
            healed: BTreeMap::new(),
            me: repo.keys.author().id(),
            relies_on_all: repo.dedup_all,
            blocks: (repo.role() == Role::Full).then(|| BlockReader::new(repo)),
            opened: HashSet::new(),
            lies: HashSet::new(),
        }
    }

    /// Whether the chunk or node need not be stored.
    pub(super) fn contains(&mut self, id: &[u8; 32], kind: BlockKind) -> bool {
        self.place(id, kind).is_some()
    }

    /// Where the chunk or node is, if it need not be stored.
    pub(super) fn place(&mut self, id: &[u8; 32], kind: BlockKind) -> Option<Place> {
        let last = match kind {
            BlockKind::Data | BlockKind::Blinded => &mut self.last_data,
            BlockKind::Recipe => &mut self.last_recipe,
        };
        if let Some((row, at)) = last
            && !self.presence.unvouched.contains(&row.number)
            && row.holds_at(*at + 1, id, kind)
        {
            *at += 1;
            return Some(Place::of(row, *at));
        }
        if !self.filter.may_contain(chunk_key(id)) {
            return None;
        }
        if self.pending.contains(id) {
            return Some(Place::Pending);
        }
        if self.catalog_lost {
            return None;
        }
        loop {
            let Self { presence, lies, blocks, catalog, .. } = self;
            let Presence { unusable, condemned, unvouched, .. } = &*presence;
            let is_usable = |number| {
                !unusable.contains_key(&number)
                    && !condemned.contains_key(&number)
                    && !lies.contains(&number)
                    && (blocks.is_some() || !unvouched.contains(&number))
            };
            let found = catalog.find(id, kind, is_usable);
            match tolerate(found, Found::Nowhere, &mut self.catalog_lost) {
                Found::At(row, at) => {
                    if !self.admits(&row, at) {
                        continue;
                    }
                    self.relied.insert(row.number);
                    let place = Place::of(&row, at);
                    match kind {
                        BlockKind::Data | BlockKind::Blinded => self.last_data = Some((row, at)),
                        BlockKind::Recipe => self.last_recipe = Some((row, at)),
                    }
                    return Some(place);
                }
                Found::OnlyUnusable => {
                    self.note_healing(id, kind);
                    return None;
                }
                Found::Nowhere => return None,
            }
        }
    }

    /// Whether a chunk may be relied on: somebody to be relied on says what the pack holds, or the very block was
    /// opened.
    fn admits(&mut self, row: &PackRow, at: usize) -> bool {
        let block = row.block_of(at);
        if !self.presence.unvouched.contains(&row.number) || self.opened.contains(&(row.number, block)) {
            return true;
        }
        let opened = match &self.blocks {
            Some(blocks) => blocks.open_whole(row, block, &mut Workspace::default()).map(|_| ()),
            None => Err(RepoError::Stopped),
        };
        match opened {
            Ok(()) => {
                self.opened.insert((row.number, block));
                true
            }
            Err(error) => {
                tracing::warn!("pack {} does not hold what is said of it: {error}", row.id.short());
                self.lies.insert(row.number);
                false
            }
        }
    }

    /// Packs that nothing may be taken from, with the reason.
    pub(super) fn unusable(&self) -> std::collections::HashMap<PackId, String> {
        let condemned = self.presence.condemned.values().map(|id| (*id, CONDEMNED.to_owned()));
        self.presence.unusable.values().cloned().chain(condemned).collect()
    }

    /// The packs of which this author or one that may read said what they hold.
    pub(super) fn vouched_for(&self) -> std::collections::HashSet<PackId> {
        let packs = match self.relies_on_all {
            // Whoever names a pack is relied on then: it says nothing.
            true => Vec::new(),
            // Safe to ignore because without it each block is compared.
            false => self.catalog.packs().unwrap_or_default(),
        };
        let unvouched = &self.presence.unvouched;
        packs.into_iter().filter(|pack| !unvouched.contains(&pack.number)).map(|pack| pack.id).collect()
    }

    /// Something of this backup is in the pack with that number.
    pub(super) fn rely_on(&mut self, number: i64) {
        self.relied.insert(number);
    }

    /// The packs that something of this backup was found in.
    pub(super) fn relied_on(&mut self) -> Vec<PackId> {
        let known = tolerate(self.catalog.packs(), Vec::new(), &mut self.catalog_lost);
        known.iter().filter(|pack| self.relied.contains(&pack.number)).map(|pack| pack.id).collect()
    }

    /// Remembers which unusable packs made it necessary to store a chunk afresh.
    fn note_healing(&mut self, id: &[u8; 32], kind: BlockKind) {
        let located = tolerate(self.catalog.locate(id, kind), Vec::new(), &mut self.catalog_lost);
        for location in located {
            if let Some((pack, reason)) = self.presence.unusable.get(&location.pack.number) {
                self.healed.entry(*pack).or_insert_with(|| reason.clone());
            }
        }
    }

    /// The chunk was handed to the pipeline.
    pub(super) fn add_pending(&mut self, id: [u8; 32]) {
        self.filter.insert(chunk_key(&id));
        self.pending.insert(id);
    }

    /// Packs became durable: the catalog takes over from memory.
    pub(super) fn add_packs(&mut self, packs: &[IndexedPack]) {
        if !self.catalog_lost {
            let added = self.catalog.add_packs(None, Some(&self.me), packs);
            tolerate(added, (), &mut self.catalog_lost);
        }
        // Without a catalog the ids stay in memory, so that this backup still dedups against itself.
        if !self.catalog_lost {
            for (id, _) in packs.iter().flat_map(|pack| &pack.table.chunks) {
                self.pending.remove(id);
            }
        }
    }

    /// An index object now names these packs.
    pub(super) fn set_indexed(&mut self, index: &IndexId, packs: &[IndexedPack]) {
        if self.catalog_lost {
            return;
        }
        let ids: Vec<PackId> = packs.iter().map(|pack| pack.id).collect();
        let outcome = self.catalog.set_indexed(index, &self.me, &ids);
        tolerate(outcome, (), &mut self.catalog_lost);
    }

    /// Packs that are there, that no index object names yet, and that this author wrote or this backup relies on and
    /// opened whole: naming a pack vouches for all that it holds.
    pub(super) fn unindexed(&mut self) -> Vec<IndexedPack> {
        if self.catalog_lost {
            return Vec::new();
        }
        let mut packs = Vec::new();
        for pack in tolerate(self.catalog.packs(), Vec::new(), &mut self.catalog_lost) {
            let Presence { unusable, condemned, .. } = &self.presence;
            if pack.indexed || unusable.contains_key(&pack.number) || condemned.contains_key(&pack.number) {
                continue;
            }
            let row: Result<Arc<PackRow>, CatalogError> = self.catalog.pack(pack.number);
            let row = tolerate(row.map(Some), None, &mut self.catalog_lost);
            let row = row.filter(|row| self.is_worth_naming(row));
            packs.extend(row.map(|row| IndexedPack {
                id: row.id,
                bytes: row.bytes,
                table: row.table.clone(),
            }));
        }
        packs
    }

    fn is_worth_naming(&self, row: &PackRow) -> bool {
        if !self.presence.unvouched.contains(&row.number) {
            return true;
        }
        let Some(blocks) = self.blocks.as_ref().filter(|_| self.relied.contains(&row.number)) else {
            return false;
        };
        let mut workspace = Workspace::default();
        let numbers = 0..row.table.blocks.len() as u32;
        numbers.into_iter().all(|number| blocks.open_whole(row, number, &mut workspace).is_ok())
    }

    /// Unusable packs whose chunks had to be stored again.
    pub(super) fn healed(&self) -> &BTreeMap<PackId, String> {
        &self.healed
    }

    /// Packs that cannot be relied on, and that hold chunks which no other pack has: what else was stored cannot be
    /// whole.
    pub(super) fn lost(&mut self) -> BTreeMap<PackId, String> {
        let mut lost = BTreeMap::new();
        if self.catalog_lost {
            return lost;
        }
        let unusable = &self.presence.unusable;
        for (number, (id, reason)) in unusable {
            let row = tolerate(self.catalog.pack(*number).map(Some), None, &mut self.catalog_lost);
            let Some(row) = row else { continue };
            let kinds = row.table.blocks.iter().flat_map(|block| {
                row.table.chunks_of(block).iter().map(move |(chunk, _)| (chunk, block.kind))
            });
            let mut alone = 0u64;
            for (chunk, kind) in kinds {
                let found = self.catalog.find(chunk, kind, |number| !unusable.contains_key(&number));
                let found = tolerate(found, Found::Nowhere, &mut self.catalog_lost);
                alone += u64::from(!matches!(found, Found::At(..)));
            }
            if alone > 0 {
                lost.insert(*id, format!("{reason}; {alone} chunks of it are in no other pack"));
            }
        }
        lost
    }

    /// Whether the catalog must be rebuilt.
    pub(super) fn is_catalog_lost(&self) -> bool {
        self.catalog_lost
    }

    pub(super) fn catalog(&mut self) -> &mut Catalog {
        &mut self.catalog
    }

    /// Keeps the filter for the next backup. It only saves time, so that failing to do so is no error.
    pub(super) fn save_filter(&self) {
        if !self.catalog_lost
            && let Err(error) = self.catalog.save_filter(&self.filter, self.filter_until)
        {
            tracing::warn!("{error}");
        }
    }
}
