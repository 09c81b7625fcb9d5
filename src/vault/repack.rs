//! Chunks that are stored already, put together into new packs.

use super::format::index::{CHUNK_BYTES_MAX, ChunkEntry, IndexedPack, Naming};
use super::format::pack::PackBuffer;
use super::objects::pack_key;
use super::{RepoError, Repository};
use crate::content::codec::{Codec, Compressor, Level};
use std::collections::BTreeMap;

/// Packs that were written.
pub(super) struct Repacked {
    pub packs: Vec<IndexedPack>,
    /// Chunks and recipe nodes in them.
    pub chunks: u64,
    /// Bytes of the packs.
    pub bytes: u64,
}

/// What remains of blocks is put together up to so many plain bytes. More would bring places of a stream together that
/// are far apart, and a restore would have to open the block for each, or to keep it open between them.
const BLOCK_BYTES: usize = CHUNK_BYTES_MAX as usize;

/// A chunk or node that remains: its id, what blinds it or nothing, and its bytes.
pub(super) type Remaining<'a> = ([u8; 32], &'a [u8], &'a [u8]);

#[derive(Default)]
struct OpenBlock {
    prefixes: Vec<u8>,
    plain: Vec<u8>,
    chunks: Vec<ChunkEntry>,
}

/// Fills blocks and packs of each kind and content generation: ids move as they are, so a block keeps the generation
/// that named what is in it. No index names what it writes.
pub(super) struct Repacker<'a> {
    repo: &'a Repository,
    compressor: Compressor,
    open: BTreeMap<Naming, OpenBlock>,
    packs: BTreeMap<Naming, PackBuffer>,
    written: Repacked,
}

impl<'a> Repacker<'a> {
    pub(super) fn new(repo: &'a Repository) -> Self {
        Self {
            repo,
            compressor: Compressor::default(),
            open: BTreeMap::new(),
            packs: BTreeMap::new(),
            written: Repacked { packs: Vec::new(), chunks: 0, bytes: 0 },
        }
    }

    /// Adds what remains of a block: chunks or nodes, whose bytes must be those that their ids name. They stay
    /// together.
    pub(super) fn add(&mut self, naming: Naming, remains: &[Remaining<'_>]) -> Result<(), RepoError> {
        let bytes: usize = remains.iter().map(|(_, _, chunk)| chunk.len()).sum();
        if self.open.get(&naming).is_some_and(|open| open.plain.len() + bytes > BLOCK_BYTES) {
            self.close_block(naming)?;
        }
        let open = self.open.entry(naming).or_default();
        for (id, prefix, chunk) in remains {
            open.prefixes.extend_from_slice(prefix);
            open.plain.extend_from_slice(chunk);
            open.chunks.push((*id, chunk.len() as u32));
        }
        self.written.chunks += remains.len() as u64;
        Ok(())
    }

    fn close_block(&mut self, naming: Naming) -> Result<(), RepoError> {
        let Some(OpenBlock { prefixes, plain, chunks }) =
            self.open.remove(&naming).filter(|open| !open.chunks.is_empty())
        else {
            return Ok(());
        };
        let mut stored = Vec::new();
        let codec: Codec = self.compressor.compress(&plain, Level::DEFAULT, &mut stored)?;
        let pack = self.packs.entry(naming).or_default();
        if !pack.is_empty() && pack.len() + stored.len() > self.repo.config.pack_bytes {
            self.close_pack(naming)?;
        }
        self.packs.entry(naming).or_default().push(naming, codec, &prefixes, &stored, &chunks);
        Ok(())
    }

    fn close_pack(&mut self, naming: Naming) -> Result<(), RepoError> {
        let Some(pack) = self.packs.remove(&naming) else { return Ok(()) };
        let Repository { id, keys, entropy, storage, .. } = self.repo;
        let sealed = pack.seal(*id, keys, entropy.as_ref(), true)?;
        storage.put(&pack_key(&sealed.id), &sealed.bytes)?;
        let bytes = sealed.bytes.len() as u64;
        self.written.bytes += bytes;
        self.written.packs.push(IndexedPack { id: sealed.id, bytes, table: sealed.table });
        Ok(())
    }

    /// Puts small packs of one content generation together.
    fn share_packs(&mut self) -> Result<(), RepoError> {
        let mut shared: BTreeMap<Naming, PackBuffer> = BTreeMap::new();
        for (naming, pack) in std::mem::take(&mut self.packs) {
            let fits = |(other, open): &(&Naming, &mut PackBuffer)| {
                other.generation == naming.generation
                    && open.is_small_with(&pack, self.repo.config.pack_bytes)
            };
            match shared.iter_mut().find(fits) {
                Some((_, open)) => open.append(&pack)?,
                None => drop(shared.insert(naming, pack)),
            }
        }
        self.packs = shared;
        Ok(())
    }

    /// Makes everything durable.
    pub(super) fn finish(mut self) -> Result<Repacked, RepoError> {
        let open: Vec<Naming> = self.open.keys().copied().collect();
        open.into_iter().try_for_each(|naming| self.close_block(naming))?;
        self.share_packs()?;
        let packs: Vec<Naming> = self.packs.keys().copied().collect();
        packs.into_iter().try_for_each(|naming| self.close_pack(naming))?;
        Ok(self.written)
    }
}
