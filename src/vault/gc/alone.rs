//! What some recipes reach and no others do.

use super::live::LiveSet;
use super::mark::Marker;
use crate::base::event::{Cancel, Silent};
use crate::base::id::NodeId;
use crate::vault::reader::{BlockReader, Locator, RecipeWalker};
use crate::vault::{RepoError, Repository};
use std::sync::{Arc, Mutex};

impl Repository {
    /// Stored bytes of the chunks and recipe nodes that the recipes below `own` reach and those below `others` do not: what would be
    /// free some day if `own` went. Recipes reach as much as can be read of them. Memory: 16 bytes for each chunk that is stored.
    ///
    /// # Errors
    /// When the storage or the catalog fails.
    pub fn bytes_held_alone(
        &self,
        own: &[NodeId],
        others: &[NodeId],
        cancel: &Cancel,
    ) -> Result<u64, RepoError> {
        let mut catalog = self.catalog(&Silent)?;
        let mut live = LiveSet::new(&mut catalog)?;
        let locator =
            Arc::new(Mutex::new(Locator::new(self, catalog, Default::default()).with_numbers_kept()));
        let blocks = Arc::new(BlockReader::new(self));
        let mark = |live: &mut LiveSet, roots: &[NodeId]| {
            let walker = RecipeWalker::new(Arc::clone(&blocks), Arc::clone(&locator));
            Marker::new(walker, live, cancel).mark_what_can_be_read(roots)
        };
        mark(&mut live, others)?;
        let before = live.clone();
        mark(&mut live, own)?;
        let mut locator = locator.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let catalog = locator.catalog();
        let mut alone = 0u64;
        for pack in catalog.packs()? {
            let row = catalog.pack(pack.number)?;
            for block in &row.table.blocks {
                let chunks = row.table.chunks_of(block).iter();
                let plain: u64 = chunks
                    .filter(|(id, _)| live.is_live(id) && !before.is_live(id))
                    .map(|(_, len)| u64::from(*len))
                    .sum();
                alone += plain * u64::from(block.stored_bytes) / u64::from(block.plain_bytes).max(1);
            }
        }
        Ok(alone)
    }
}
