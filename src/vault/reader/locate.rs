//! Where chunks lie: the catalog's answer, guessed where a stream follows its packs.

use crate::base::id::PackId;
use crate::vault::catalog::{Catalog, Location, PackRow};
use crate::vault::format::index::BlockKind;
use crate::vault::objects::pack_key;
use crate::vault::session::CONDEMNED;
use crate::vault::snapshot::Stream;
use crate::vault::{Before, RepoError, Repository};
use hashbrown::HashMap;
use std::cmp::Reverse;
use std::sync::Arc;

/// Answers kept; cleared when full.
const KEPT: usize = 1 << 16;
/// When so many of a pack's blocks were asked for, all that it holds is kept: an answer of the catalog takes as long as
/// keeping a few hundred.
const ASKED_MAX: u32 = 4;
/// Answers that are kept for whole packs: large packs wanted in turn must not drive each other out again and again.
const KEPT_WHOLE: usize = KEPT / 2;

/// Finds chunks. When the catalog does not know one, it is brought up to date once, by listing packs and reading the
/// tables of those that no index names.
pub struct Locator {
    repo: Repository,
    before: Before,
    catalog: Catalog,
    damaged: std::collections::HashMap<PackId, String>,
    refuses: bool,
    kept: HashMap<[u8; 32], Location>,
    /// Answers that lay in each pack, by its number, since the last clearing.
    asked: HashMap<i64, u32>,
    /// Answers kept for whole packs.
    kept_whole: usize,
    reconciled: bool,
    rebuilt: bool,
    /// The packs' own tables need not be read any more, or must not.
    own_tables_read: bool,
}

impl Locator {
    /// The body of a snapshot.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn body(
        &mut self,
        id: &crate::base::id::SnapshotId,
    ) -> Result<crate::vault::snapshot::Body, super::RepoError> {
        self.repo.body(&mut self.catalog, id)
    }

    /// A locator over `catalog`. Packs in `damaged` are asked last.
    pub fn new(
        repo: &Repository,
        catalog: Catalog,
        damaged: std::collections::HashMap<PackId, String>,
    ) -> Self {
        Self {
            repo: repo.clone(),
            before: Before::new(&catalog),
            catalog,
            damaged,
            refuses: false,
            kept: HashMap::new(),
            asked: HashMap::new(),
            kept_whole: 0,
            reconciled: false,
            rebuilt: false,
            own_tables_read: false,
        }
    }

    /// A locator that takes nothing from the packs in `unusable`: what is only there cannot be had. Nor can anything
    /// once the catalog turns out corrupt.
    pub fn strict(
        repo: &Repository,
        catalog: Catalog,
        unusable: std::collections::HashMap<PackId, String>,
    ) -> Self {
        Self { refuses: true, ..Self::new(repo, catalog, unusable) }
    }

    /// For whoever holds pack numbers over a run: packs are not asked what they hold, which may give them new ones.
    pub fn with_numbers_kept(self) -> Self {
        Self { own_tables_read: true, ..self }
    }

    /// The place to read a data chunk from.
    ///
    /// # Errors
    /// [`RepoError::ChunkLost`] when no pack holds it.
    pub fn data(&mut self, id: &[u8; 32]) -> Result<Location, RepoError> {
        self.best(id, BlockKind::Data)?.ok_or_else(|| RepoError::ChunkLost {
            what: "chunk",
            id: crate::base::id::ChunkId::from_bytes(*id).to_string(),
            hint: "its pack or index object is gone".to_owned(),
        })
    }

    /// The content generation that the recipe of `stream` was written in, when it is found.
    ///
    /// # Errors
    /// When catalog or storage fails.
    pub fn generation_of(&mut self, stream: &Stream) -> Result<Option<u16>, RepoError> {
        let location = self.best(stream.root.as_bytes(), BlockKind::Recipe)?;
        Ok(location.and_then(|location| Some(location.pack.block(location.block)?.generation)))
    }

    /// The place to read the chunk or node from, when there is one.
    ///
    /// # Errors
    /// When catalog or storage fails.
    pub fn best(&mut self, id: &[u8; 32], kind: BlockKind) -> Result<Option<Location>, RepoError> {
        if let Some(location) = self.kept.get(id).filter(|location| location.kind() == Some(kind)) {
            return Ok(Some(location.clone()));
        }
        let Some(location) = self.all(id, kind)?.into_iter().next() else { return Ok(None) };
        if self.kept.len() >= KEPT {
            self.forget();
        }
        let asked = self.asked.entry(location.pack.number).or_default();
        *asked += 1;
        let kept_whole = self.kept_whole + location.pack.table.chunks.len();
        if *asked == ASKED_MAX && kept_whole <= KEPT_WHOLE && !self.damaged.contains_key(&location.pack.id) {
            self.kept_whole = kept_whole;
            (0..location.pack.table.blocks.len() as u32)
                .for_each(|block| self.keep_block(&location.pack, block));
        } else {
            self.keep_block(&location.pack, location.block);
        }
        Ok(Some(location))
    }

    /// Forgets all answers: what the catalog says has changed.
    pub(in crate::vault) fn forget(&mut self) {
        self.kept.clear();
        self.asked.clear();
        self.kept_whole = 0;
    }

    fn keep_block(&mut self, pack: &Arc<PackRow>, number: u32) {
        let Some(block) = pack.block(number) else { return };
        let mut offset = 0;
        for (id, len) in pack.table.chunks_of(block) {
            self.kept.insert(*id, Location { pack: Arc::clone(pack), block: number, offset, len: *len });
            offset += len;
        }
    }

    /// Every place that holds the chunk or node, those thought good first; empty when there is none.
    ///
    /// # Errors
    /// When catalog or storage fails.
    pub fn all(&mut self, id: &[u8; 32], kind: BlockKind) -> Result<Vec<Location>, RepoError> {
        let mut locations = match self.catalog.locate(id, kind) {
            Err(error) => {
                // Whatever is the matter with it, it can be had anew; once. A backup goes on without its parent: it
                // knows packs by the numbers that they have now.
                if self.refuses || std::mem::replace(&mut self.rebuilt, true) {
                    return Err(error.into());
                }
                tracing::warn!("{error}; rebuilding it");
                self.repo.drop_catalog()?;
                self.catalog = self.repo.catalog(&crate::base::event::Silent)?;
                self.forget();
                self.catalog.locate(id, kind)?
            }
            outcome => outcome?,
        };
        if locations.is_empty() && !self.reconciled {
            self.reconciled = true;
            self.repo.reconcile(&mut self.catalog, &self.damaged)?;
            locations = self.catalog.locate(id, kind)?;
            if locations.is_empty() {
                // What index objects say may be a lie.
                self.ask_packs()?;
                locations = self.catalog.locate(id, kind)?;
            }
        }
        // A chunk stored again since was stored for a reason.
        locations.sort_by_key(|location| {
            (self.damaged.contains_key(&location.pack.id), Reverse(location.pack.number))
        });
        if self.refuses
            && let Some(best) = locations.first()
            && let Some(reason) = self.damaged.get(&best.pack.id)
        {
            if reason == CONDEMNED {
                let what = format!("pack {}: {reason}", best.pack.id.short());
                return Err(RepoError::Busy { what });
            }
            return Err(RepoError::Inconsistent { object: pack_key(&best.pack.id), what: reason.clone() });
        }
        Ok(locations)
    }

    /// Every place that holds the chunk or node by the packs' own tables, where no place opened that index objects
    /// name: these may have lied.
    ///
    /// # Errors
    /// When catalog or storage fails.
    pub(super) fn by_own_tables(
        &mut self,
        id: &[u8; 32],
        kind: BlockKind,
    ) -> Result<Vec<Location>, RepoError> {
        // A backup stores afresh what it cannot read.
        if self.refuses || self.own_tables_read {
            return Ok(Vec::new());
        }
        self.ask_packs()?;
        self.all(id, kind)
    }

    /// Reads the own tables of packs that nobody who is relied on vouches for; once.
    fn ask_packs(&mut self) -> Result<(), RepoError> {
        if !std::mem::replace(&mut self.own_tables_read, true) {
            self.repo.read_own_tables(&mut self.catalog)?;
            self.forget();
        }
        Ok(())
    }

    /// The error as it is, or what another process did since this locator was made.
    pub(super) fn explain(&self, error: RepoError) -> RepoError {
        self.before.explain(&self.repo, error)
    }

    /// The catalog behind it.
    pub fn catalog(&mut self) -> &mut Catalog {
        &mut self.catalog
    }
}
