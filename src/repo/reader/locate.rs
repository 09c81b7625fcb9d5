//! Where chunks lie: the catalog's answer, guessed where a stream follows its packs.

use crate::id::PackId;
use crate::repo::catalog::{Catalog, Location};
use crate::repo::format::index::BlockKind;
use crate::repo::objects::pack_key;
use crate::repo::session::CONDEMNED;
use crate::repo::{RepoError, Repository};
use hashbrown::HashMap;
use std::cmp::Reverse;

/// Answers kept; cleared when full.
const KEPT: usize = 1 << 16;

/// Finds chunks. When the catalog does not know one, it is brought up to date once, by listing packs and reading the tables of
/// those that no index names.
pub struct Locator {
    repo: Repository,
    catalog: Catalog,
    damaged: std::collections::HashMap<PackId, String>,
    refuses: bool,
    kept: HashMap<[u8; 32], Location>,
    reconciled: bool,
    rebuilt: bool,
}

impl Locator {
    /// A locator over `catalog`. Packs in `damaged` are asked last.
    pub fn new(
        repo: &Repository,
        catalog: Catalog,
        damaged: std::collections::HashMap<PackId, String>,
    ) -> Self {
        Self {
            repo: repo.clone(),
            catalog,
            damaged,
            refuses: false,
            kept: HashMap::new(),
            reconciled: false,
            rebuilt: false,
        }
    }

    /// A locator that takes nothing from the packs in `unusable`: what is only there cannot be had. Nor can anything once the catalog
    /// turns out corrupt.
    pub fn strict(
        repo: &Repository,
        catalog: Catalog,
        unusable: std::collections::HashMap<PackId, String>,
    ) -> Self {
        Self { refuses: true, ..Self::new(repo, catalog, unusable) }
    }

    /// The place to read a data chunk from.
    ///
    /// # Errors
    /// [`RepoError::ChunkLost`] when no pack holds it.
    pub fn data(&mut self, id: &[u8; 32]) -> Result<Location, RepoError> {
        if let Some(location) = self.kept.get(id) {
            return Ok(location.clone());
        }
        let location = self.all(id, BlockKind::Data)?.into_iter().next();
        let location = location.ok_or_else(|| RepoError::ChunkLost {
            what: "chunk",
            id: crate::id::ChunkId::from_bytes(*id).to_string(),
            hint: "its pack or index object is gone".to_owned(),
        })?;
        if self.kept.len() >= KEPT {
            self.kept.clear();
        }
        // The whole pack's chunks at once would be faster still, and dearer where few of them are wanted: its block's are.
        self.keep_block(&location);
        Ok(location)
    }

    fn keep_block(&mut self, location: &Location) {
        let Some(block) = location.pack.block(location.block) else { return };
        let mut offset = 0;
        for (id, len) in location.pack.table.chunks_of(block) {
            let own = Location {
                pack: std::sync::Arc::clone(&location.pack),
                block: location.block,
                offset,
                len: *len,
            };
            self.kept.insert(*id, own);
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
                // Whatever is the matter with it, it can be had anew; once. A backup goes on without its parent: it knows packs by the numbers
                // that they have now.
                if self.refuses || std::mem::replace(&mut self.rebuilt, true) {
                    return Err(error.into());
                }
                tracing::warn!("{error}; rebuilding it");
                self.repo.drop_catalog()?;
                self.catalog = self.repo.catalog(&crate::event::Silent)?;
                self.kept.clear();
                self.catalog.locate(id, kind)?
            }
            outcome => outcome?,
        };
        if locations.is_empty() && !self.reconciled {
            self.reconciled = true;
            self.repo.reconcile(&mut self.catalog, &self.damaged)?;
            locations = self.catalog.locate(id, kind)?;
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

    /// The catalog behind it.
    pub fn catalog(&mut self) -> &mut Catalog {
        &mut self.catalog
    }
}
