//! Weighing: how much of each pack is live, every chunk counted in one pack only, as far as that one was seen to hold
//! it.

use super::live::LiveSet;
use super::witness::Holders;
use crate::vault::RepoError;
use crate::vault::catalog::{Catalog, KnownPack, PackRow};
use crate::vault::format::index::BlockKind;

/// A pack and what of it is live.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weight {
    pub pack: KnownPack,
    /// What its live chunks take, in stored bytes.
    pub live_bytes: u64,
    /// What all its blocks take.
    pub used_bytes: u64,
    pub live_chunks: u64,
    /// Of its first block. Only small packs are of more than one kind, and what they hold is told apart when it is
    /// copied.
    pub kind: BlockKind,
}

/// Weighs `packs`. A chunk that another pack was seen to hold is dead in them; one that several claim and none was seen
/// to hold is live in each.
pub(super) fn weigh(
    catalog: &mut Catalog,
    packs: &[KnownPack],
    live: &LiveSet,
    holders: &Holders,
) -> Result<Vec<Weight>, RepoError> {
    packs
        .iter()
        .map(|pack| {
            let row = catalog.pack(pack.number)?;
            Ok(weigh_pack(pack, &row, live, holders))
        })
        .collect()
}

fn weigh_pack(pack: &KnownPack, row: &PackRow, live: &LiveSet, holders: &Holders) -> Weight {
    let kind = row.table.blocks.first().map_or(BlockKind::Data, |block| block.kind);
    let mut weight = Weight { pack: *pack, live_bytes: 0, used_bytes: 0, live_chunks: 0, kind };
    for block in &row.table.blocks {
        let mut plain = 0u64;
        for (id, len) in row.table.chunks_of(block) {
            let is_own = || !live.is_twice(id) || holders.keeps(&(block.kind, *id), pack.number);
            if live.is_live(id) && is_own() {
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
