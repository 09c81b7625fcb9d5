//! Chunks that are stored already, put together into new packs.

use super::format::index::{BlockKind, CHUNK_BYTES_MAX, ChunkEntry, IndexedPack};
use super::format::pack::PackBuffer;
use super::objects::pack_key;
use super::{RepoError, Repository};
use crate::content::codec::{Codec, Compressor, Level};
use std::collections::HashMap;

/// Packs that were written.
pub(super) struct Repacked {
    pub packs: Vec<IndexedPack>,
    /// Chunks and recipe nodes in them.
    pub chunks: u64,
    /// Bytes of the packs.
    pub bytes: u64,
}

/// What remains of blocks is put together up to so many plain bytes. More would bring places of a stream together that are far apart, and a
/// restore would have to open the block for each, or to keep it open between them.
const BLOCK_BYTES: usize = CHUNK_BYTES_MAX as usize;

/// A chunk or node that remains: its id, what blinds it or nothing, and its bytes.
pub(super) type Remaining<'a> = ([u8; 32], &'a [u8], &'a [u8]);

#[derive(Default)]
struct OpenBlock {
    prefixes: Vec<u8>,
    plain: Vec<u8>,
    chunks: Vec<ChunkEntry>,
}

/// Fills blocks and packs of each kind. No index names what it writes.
pub(super) struct Repacker<'a> {
    repo: &'a Repository,
    compressor: Compressor,
    open: HashMap<BlockKind, OpenBlock>,
    packs: HashMap<BlockKind, PackBuffer>,
    written: Repacked,
}

impl<'a> Repacker<'a> {
    pub fn new(repo: &'a Repository) -> Self {
        Self {
            repo,
            compressor: Compressor::default(),
            open: HashMap::new(),
            packs: HashMap::new(),
            written: Repacked { packs: Vec::new(), chunks: 0, bytes: 0 },
        }
    }

    /// Adds what remains of a block: chunks or nodes, whose bytes must be those that their ids name. They stay together.
    pub fn add(&mut self, kind: BlockKind, remains: &[Remaining<'_>]) -> Result<(), RepoError> {
        let bytes: usize = remains.iter().map(|(_, _, chunk)| chunk.len()).sum();
        if self.open.get(&kind).is_some_and(|open| open.plain.len() + bytes > BLOCK_BYTES) {
            self.close_block(kind)?;
        }
        let open = self.open.entry(kind).or_default();
        for (id, prefix, chunk) in remains {
            open.prefixes.extend_from_slice(prefix);
            open.plain.extend_from_slice(chunk);
            open.chunks.push((*id, chunk.len() as u32));
        }
        self.written.chunks += remains.len() as u64;
        Ok(())
    }

    fn close_block(&mut self, kind: BlockKind) -> Result<(), RepoError> {
        let Some(OpenBlock { prefixes, plain, chunks }) =
            self.open.remove(&kind).filter(|open| !open.chunks.is_empty())
        else {
            return Ok(());
        };
        let mut stored = Vec::new();
        let codec: Codec = self.compressor.compress(&plain, Level::DEFAULT, &mut stored)?;
        let pack = self.packs.entry(kind).or_default();
        if !pack.is_empty() && pack.len() + stored.len() > self.repo.config.pack_bytes {
            self.close_pack(kind)?;
        }
        self.packs.entry(kind).or_default().push(kind, codec, &prefixes, &stored, &chunks);
        Ok(())
    }

    fn close_pack(&mut self, kind: BlockKind) -> Result<(), RepoError> {
        let Some(pack) = self.packs.remove(&kind) else { return Ok(()) };
        let Repository { id, keys, entropy, storage, .. } = self.repo;
        let sealed = pack.seal(*id, keys, entropy.as_ref(), true)?;
        storage.put(&pack_key(&sealed.id), &sealed.bytes)?;
        let bytes = sealed.bytes.len() as u64;
        self.written.bytes += bytes;
        self.written.packs.push(IndexedPack { id: sealed.id, bytes, table: sealed.table });
        Ok(())
    }

    /// Makes everything durable.
    pub fn finish(mut self) -> Result<Repacked, RepoError> {
        for kind in [BlockKind::Data, BlockKind::Blinded, BlockKind::Recipe] {
            self.close_block(kind)?;
            self.close_pack(kind)?;
        }
        Ok(self.written)
    }
}
