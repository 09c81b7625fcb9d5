//! What some recipes reach and no others do.

use super::live::LiveSet;
use super::mark::Marker;
use crate::base::event::{Cancel, Silent};
use crate::base::id::NodeId;
use crate::vault::reader::{BlockReader, Locator, RecipeWalker};
use crate::vault::{RepoError, Repository};
use std::sync::{Arc, Mutex};

impl Repository {
    /// Stored bytes of the chunks and recipe nodes that the recipes below `own` reach and those below `others` do not:
    /// what would be free some day if `own` went. Recipes reach as much as can be read of them. Memory: 16 bytes for
    /// each chunk that is stored.
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

    /// For each group of roots, the bytes of the packs that hold anything of it, padding and all. A pack that several
    /// groups need counts for each of them. Of recipes that cannot be read, what can be.
    ///
    /// # Errors
    /// When the storage or the catalog fails.
    pub fn pack_bytes_of(&self, groups: &[Vec<NodeId>], cancel: &Cancel) -> Result<Vec<u64>, RepoError> {
        let mut catalog = self.catalog(&Silent)?;
        let mut live = LiveSet::new(&mut catalog)?;
        // The pack of each place in the set; one of them where several hold the same.
        let mut holder = vec![0u32; live.len()];
        let packs = catalog.packs()?;
        for (number, pack) in packs.iter().enumerate() {
            for (id, _) in &catalog.pack(pack.number)?.table.chunks {
                if let Some(holder) = live.place(id).and_then(|place| holder.get_mut(place)) {
                    *holder = u32::try_from(number).unwrap_or(u32::MAX);
                }
            }
        }
        let locator =
            Arc::new(Mutex::new(Locator::new(self, catalog, Default::default()).with_numbers_kept()));
        let blocks = Arc::new(BlockReader::new(self));
        let mut sums = Vec::with_capacity(groups.len());
        for roots in groups {
            live.clear();
            let walker = RecipeWalker::new(Arc::clone(&blocks), Arc::clone(&locator));
            Marker::new(walker, &mut live, cancel).mark_what_can_be_read(roots)?;
            let mut is_needed = vec![false; packs.len()];
            for number in live.marked().filter_map(|place| holder.get(place)) {
                if let Some(is_needed) = is_needed.get_mut(*number as usize) {
                    *is_needed = true;
                }
            }
            let needed = packs.iter().zip(&is_needed).filter(|(_, is_needed)| **is_needed);
            sums.push(needed.map(|(pack, _)| pack.bytes).sum());
        }
        Ok(sums)
    }
}
