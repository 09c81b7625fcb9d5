//! Packs as the catalog knows them: what each holds, and where in it.

use crate::base::id::PackId;
use crate::vault::format::index::{BlockEntry, BlockKind, ChunkTable};
use std::sync::Arc;

/// Where a chunk lies.
#[derive(Debug, Clone)]
pub struct Location {
    /// The pack.
    pub pack: Arc<PackRow>,
    /// Number of the block in it.
    pub block: u32,
    /// Offset of the chunk in the block's plain bytes.
    pub offset: u32,
    /// Length of the chunk in bytes.
    pub len: u32,
}

impl Location {
    /// What the chunk's block holds.
    pub fn kind(&self) -> Option<BlockKind> {
        self.pack.block(self.block).map(|block| block.kind)
    }
}

/// One pack as the catalog knows it.
#[derive(Debug)]
pub struct PackRow {
    /// Number in this catalog.
    pub number: i64,
    /// The pack.
    pub id: PackId,
    /// Its size in bytes.
    pub bytes: u64,
    /// What it holds.
    pub table: ChunkTable,
    /// Number of each chunk's block.
    chunk_blocks: Vec<u32>,
}

impl PackRow {
    /// A row of that number.
    pub(in crate::vault) fn new(number: i64, id: PackId, bytes: u64, table: ChunkTable) -> Self {
        let numbered = (0u32..).zip(&table.blocks);
        let chunk_blocks =
            numbered.flat_map(|(number, block)| std::iter::repeat_n(number, block.chunks as usize)).collect();
        Self { number, id, bytes, table, chunk_blocks }
    }

    /// The block with that number.
    pub fn block(&self, number: u32) -> Option<&BlockEntry> {
        self.table.blocks.get(number as usize)
    }

    /// Number of the block that holds chunk `at`.
    pub fn block_of(&self, at: usize) -> u32 {
        self.chunk_blocks.get(at).copied().unwrap_or(u32::MAX)
    }

    /// Number of the chunk with that id and kind in the pack.
    pub(super) fn find(&self, id: &[u8; 32], kind: BlockKind) -> Option<usize> {
        let mut fits = self.table.chunks.iter().enumerate().filter(|(_, (other, _))| other == id);
        fits.find(|(at, _)| self.is_kind(*at, kind)).map(|(at, _)| at)
    }

    /// Whether chunk `at` has that id and kind.
    pub fn holds_at(&self, at: usize, id: &[u8; 32], kind: BlockKind) -> bool {
        self.table.chunks.get(at).is_some_and(|(other, _)| other == id) && self.is_kind(at, kind)
    }

    fn is_kind(&self, at: usize, kind: BlockKind) -> bool {
        self.chunk_blocks
            .get(at)
            .and_then(|block| self.block(*block))
            .is_some_and(|block| block.kind.holds_like(kind))
    }

    pub(super) fn location(self: &Arc<Self>, at: usize) -> Option<Location> {
        let block = *self.chunk_blocks.get(at)?;
        let entry = self.block(block)?;
        let before = self.table.chunks.get(entry.first_chunk as usize..at)?;
        let offset = before.iter().map(|(_, len)| len).sum();
        let (_, len) = *self.table.chunks.get(at)?;
        Some(Location { pack: Arc::clone(self), block, offset, len })
    }
}

pub(super) fn row_checksum(id: &PackId, bytes: u64, table: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(id.as_bytes()).update(&bytes.to_le_bytes()).update(table);
    *hasher.finalize().as_bytes()
}
