//! Weighing: how much of each pack is live, every chunk counted in one pack only.

use super::live::LiveSet;
use crate::repo::RepoError;
use crate::repo::catalog::{Catalog, KnownPack, PackRow};
use crate::repo::format::index::BlockKind;
use std::collections::HashSet;

/// A pack and what of it is live.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weight {
    pub pack: KnownPack,
    /// What its live chunks take, in stored bytes.
    pub live_bytes: u64,
    /// What all its blocks take.
    pub used_bytes: u64,
    pub live_chunks: u64,
    /// Of its first block; all of a pack are of one kind.
    pub kind: BlockKind,
}

/// Chunks met in a pack that keeps them.
#[derive(Default)]
pub(super) struct Claimed(HashSet<(BlockKind, [u8; 32])>);

impl Claimed {
    /// Whether [`Claimed::claim`] would say yes.
    pub fn is_free(&self, live: &LiveSet, kind: BlockKind, id: &[u8; 32]) -> bool {
        live.is_live(id) && !self.0.contains(&(kind, *id))
    }

    /// Whether a live chunk is this pack's to keep: the first pack asked keeps it.
    pub fn claim(&mut self, live: &LiveSet, kind: BlockKind, id: &[u8; 32]) -> bool {
        live.is_live(id) && (!live.is_twice(id) || self.0.insert((kind, *id)))
    }
}

/// Weighs `packs` in the order given. A chunk that an earlier one keeps is dead in a later one.
pub(super) fn weigh(
    catalog: &mut Catalog,
    packs: &[KnownPack],
    live: &LiveSet,
    claimed: &mut Claimed,
) -> Result<Vec<Weight>, RepoError> {
    packs
        .iter()
        .map(|pack| {
            let row = catalog.pack(pack.number)?;
            Ok(weigh_pack(pack, &row, live, claimed))
        })
        .collect()
}

fn weigh_pack(pack: &KnownPack, row: &PackRow, live: &LiveSet, claimed: &mut Claimed) -> Weight {
    let kind = row.table.blocks.first().map_or(BlockKind::Data, |block| block.kind);
    let mut weight = Weight { pack: *pack, live_bytes: 0, used_bytes: 0, live_chunks: 0, kind };
    for block in &row.table.blocks {
        let mut plain = 0u64;
        for (id, len) in row.table.chunks_of(block) {
            if claimed.claim(live, block.kind, id) {
                plain += u64::from(*len);
                weight.live_chunks += 1;
            }
        }
        let stored = u64::from(block.stored_bytes);
        weight.used_bytes += stored;
        weight.live_bytes += stored * plain / u64::from(block.plain_bytes).max(1);
    }
    weight
}
