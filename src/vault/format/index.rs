//! Index objects, and the chunk tables that they and packs hold.

use super::header::{COLUMNS, HEADER_BYTES, Header, ObjectType};
use super::signed::{Claim, Opened, SIGNATURE_BYTES, by_author, pad, split, unpad};
use super::{FormatError, from_cbor, malformed, to_cbor};
use crate::base::id::{AuthorId, IndexId, PackId, RepoId};
use crate::base::secret::Entropy;
use crate::content::codec::Codec;
use crate::vault::crypto::{KeyBundle, NONCE_BYTES, SmallSealed, SubKey, TAG_BYTES};
use crate::vault::format::config::{BLOCK_BYTES_MAX, PACK_BYTES_MAX};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

/// An index object is never larger, in bytes.
pub const INDEX_BYTES_MAX: u64 = 256 << 20;
/// A chunk or recipe node is never longer, in bytes.
pub const CHUNK_BYTES_MAX: u32 = 256 << 10;
/// A chunk table is never longer, in bytes, sealed or not.
pub const TABLE_BYTES_MAX: u32 = 16 << 20;
/// Offset of a pack's first block in bytes.
pub const BLOCKS_START: u64 = 112;
const BLOCK_RECORD_BYTES: usize = 16;

/// What a block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BlockKind {
    /// Chunks of streams.
    Data,
    /// Recipe nodes.
    Recipe,
    /// Chunks of streams whose ids say nothing of their bytes: each is hashed behind 16 random ones.
    Blinded,
}

impl BlockKind {
    /// The kind's number in the format.
    pub fn number(self) -> u8 {
        match self {
            Self::Data => 1,
            Self::Recipe => 2,
            Self::Blinded => 3,
        }
    }

    /// Whether what is named as one kind may lie in a block of the other: chunks are chunks, blinded or not.
    pub fn holds_like(self, other: Self) -> bool {
        (self == Self::Recipe) == (other == Self::Recipe)
    }

    /// Random bytes in front of each chunk's bytes, which its id covers.
    pub fn prefix_bytes(self) -> usize {
        match self {
            Self::Blinded => PREFIX_BYTES,
            Self::Data | Self::Recipe => 0,
        }
    }
}

/// How the ids in a block are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Naming {
    /// What the block holds.
    pub kind: BlockKind,
    /// The content generation whose keys made the ids.
    pub generation: u16,
}

impl Naming {
    /// Blocks of `kind` in the first content generation.
    pub const fn first(kind: BlockKind) -> Self {
        Self { kind, generation: 0 }
    }
}

/// Length of what blinds a chunk's id, in bytes.
pub const PREFIX_BYTES: usize = 16;

/// One block of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockEntry {
    /// Where its sealed bytes begin in the pack.
    pub offset: u64,
    /// Their length, tag included.
    pub stored_bytes: u32,
    /// Length once opened and decompressed.
    pub plain_bytes: u32,
    /// Number of its first chunk in the pack.
    pub first_chunk: u32,
    /// How many chunks it holds.
    pub chunks: u32,
    /// What they are.
    pub kind: BlockKind,
    /// How it is compressed.
    pub codec: Codec,
    /// The content generation whose keys made the ids in it.
    pub generation: u16,
}

impl BlockEntry {
    /// How the ids in it are made.
    pub fn naming(&self) -> Naming {
        Naming { kind: self.kind, generation: self.generation }
    }
}

/// One chunk (or recipe node) of a pack: its raw id and its length in bytes.
pub type ChunkEntry = ([u8; 32], u32);

/// What a pack holds: its blocks and, in order, their chunks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChunkTable {
    /// The blocks, in order.
    pub blocks: Vec<BlockEntry>,
    /// All blocks' chunks, in order.
    pub chunks: Vec<ChunkEntry>,
}

impl ChunkTable {
    /// Adds a block that lies behind the last one.
    pub fn push(&mut self, naming: Naming, codec: Codec, stored_bytes: u32, chunks: &[ChunkEntry]) {
        let offset = self.end();
        let first_chunk = self.chunks.len() as u32;
        self.chunks.extend_from_slice(chunks);
        self.blocks.push(BlockEntry {
            offset,
            stored_bytes,
            plain_bytes: chunks.iter().map(|(_, len)| len).sum(),
            first_chunk,
            chunks: chunks.len() as u32,
            kind: naming.kind,
            codec,
            generation: naming.generation,
        });
    }

    /// Where the next block begins.
    pub fn end(&self) -> u64 {
        self.blocks.last().map_or(BLOCKS_START, |last| last.offset + u64::from(last.stored_bytes))
    }

    /// The chunks of a block; empty when it is not one of this table.
    pub fn chunks_of(&self, block: &BlockEntry) -> &[ChunkEntry] {
        let first = block.first_chunk as usize;
        self.chunks.get(first..first + block.chunks as usize).unwrap_or_default()
    }

    fn columns(&self) -> Columns {
        let mut blocks = Vec::with_capacity(self.blocks.len() * BLOCK_RECORD_BYTES);
        for block in &self.blocks {
            blocks.extend_from_slice(&block.stored_bytes.to_le_bytes());
            blocks.extend_from_slice(&block.plain_bytes.to_le_bytes());
            blocks.extend_from_slice(&block.chunks.to_le_bytes());
            blocks.extend_from_slice(&[block.kind.number(), block.codec.number()]);
            blocks.extend_from_slice(&block.generation.to_le_bytes());
        }
        let mut ids = Vec::with_capacity(self.chunks.len() * 32);
        let mut lens = Vec::with_capacity(self.chunks.len() * 4);
        for (id, len) in &self.chunks {
            ids.extend_from_slice(id);
            lens.extend_from_slice(&len.to_le_bytes());
        }
        Columns { blocks: blocks.into(), ids: ids.into(), lens: lens.into() }
    }

    fn from_columns(columns: &Columns) -> Result<Self, FormatError> {
        // What would not fit into a pack does not become a table because an index says so.
        if columns.blocks.len() + columns.ids.len() + columns.lens.len() > TABLE_BYTES_MAX as usize {
            return Err(malformed("a chunk table too large"));
        }
        let (records, []) = columns.blocks.as_chunks::<BLOCK_RECORD_BYTES>() else {
            return Err(malformed("a block list cut short"));
        };
        let (ids, []) = columns.ids.as_chunks::<32>() else {
            return Err(malformed("a chunk list cut short"));
        };
        let (lens, []) = columns.lens.as_chunks::<4>() else {
            return Err(malformed("a chunk list cut short"));
        };
        if ids.len() != lens.len() {
            return Err(malformed("as many ids as lengths are needed"));
        }
        let chunks: Vec<ChunkEntry> =
            ids.iter().zip(lens).map(|(id, len)| (*id, u32::from_le_bytes(*len))).collect();
        if chunks.iter().any(|(_, len)| *len > CHUNK_BYTES_MAX) {
            return Err(malformed("a chunk too large"));
        }
        let mut blocks: Vec<BlockEntry> = Vec::with_capacity(records.len());
        let (mut offset, mut first_chunk) = (BLOCKS_START, 0u32);
        for record in records {
            let block = read_block(record, offset, first_chunk)?;
            offset += u64::from(block.stored_bytes);
            first_chunk = first_chunk.checked_add(block.chunks).ok_or(malformed("too many chunks"))?;
            let own = chunks.get(block.first_chunk as usize..first_chunk as usize);
            let own = own.ok_or(malformed("a block of more chunks than there are"))?;
            let plain: u64 = own.iter().map(|(_, len)| u64::from(*len)).sum();
            if plain != u64::from(block.plain_bytes) {
                return Err(malformed("a block's chunks do not make up its length"));
            }
            blocks.push(block);
        }
        if first_chunk as usize != chunks.len() || offset > PACK_BYTES_MAX {
            return Err(malformed("blocks and chunks do not fit"));
        }
        Ok(Self { blocks, chunks })
    }

    /// The table's CBOR form.
    ///
    /// # Errors
    /// Never in practice.
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        to_cbor(&self.columns())
    }

    /// The incompatible features of a pack with these blocks.
    pub fn features(&self) -> u16 {
        if self.blocks.iter().any(|block| block.codec == Codec::Columns) { COLUMNS } else { 0 }
    }

    /// Reads the CBOR form and checks that everything in it fits together.
    ///
    /// # Errors
    /// When it does not.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        Self::from_columns(&from_cbor(bytes, "chunk table")?)
    }
}

fn read_block(
    record: &[u8; BLOCK_RECORD_BYTES],
    offset: u64,
    first_chunk: u32,
) -> Result<BlockEntry, FormatError> {
    let [s0, s1, s2, s3, p0, p1, p2, p3, c0, c1, c2, c3, kind, codec, g0, g1] = *record;
    let kind = match kind {
        1 => BlockKind::Data,
        2 => BlockKind::Recipe,
        3 => BlockKind::Blinded,
        _ => return Err(malformed("an unknown kind of block")),
    };
    let block = BlockEntry {
        offset,
        stored_bytes: u32::from_le_bytes([s0, s1, s2, s3]),
        plain_bytes: u32::from_le_bytes([p0, p1, p2, p3]),
        first_chunk,
        chunks: u32::from_le_bytes([c0, c1, c2, c3]),
        kind,
        codec: Codec::from_number(codec).ok_or(malformed("an unknown codec"))?,
        generation: u16::from_le_bytes([g0, g1]),
    };
    // What does not compress is stored raw: a block is never much larger than its content.
    let prefixes = u64::from(block.chunks) * kind.prefix_bytes() as u64;
    let stored_max = BLOCK_BYTES_MAX as u64 + 64;
    if block.plain_bytes as usize > BLOCK_BYTES_MAX
        || prefixes > stored_max
        || u64::from(block.stored_bytes) > stored_max + prefixes
    {
        return Err(malformed("a block too large"));
    }
    if u64::from(block.stored_bytes) < prefixes + TAG_BYTES as u64 {
        return Err(malformed("a block shorter than what blinds its chunks"));
    }
    Ok(block)
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Columns {
    #[n(0)]
    blocks: ByteVec,
    #[n(1)]
    ids: ByteVec,
    #[n(2)]
    lens: ByteVec,
}

/// A pack as an index names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedPack {
    /// The pack.
    pub id: PackId,
    /// Its size in bytes.
    pub bytes: u64,
    /// What it holds.
    pub table: ChunkTable,
}

/// An index object's content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    /// Packs and what they hold.
    pub packs: Vec<IndexedPack>,
    /// Index objects that this one replaces.
    pub replaces: Vec<IndexId>,
}

impl Index {
    /// The index object's bytes.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn seal(
        &self,
        repo: RepoId,
        keys: &KeyBundle,
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, FormatError> {
        let epoch = keys.newest();
        let header = Header { kind: ObjectType::Index, epoch: epoch.number(), repo };
        let features = self.packs.iter().fold(0, |features, pack| features | pack.table.features());
        let raw = header.with_features(features);
        let packs = self.packs.iter().map(|pack| {
            let Columns { blocks, ids, lens } = pack.table.columns();
            StoredPack { id: pack.id, bytes: pack.bytes, blocks, ids, lens }
        });
        let replaces = self.replaces.iter().flat_map(|id| *id.as_bytes()).collect::<Vec<u8>>();
        let stored = Stored {
            packs: packs.collect(),
            replaces: (!replaces.is_empty()).then(|| replaces.into()),
            author: keys.author().id(),
        };
        let plain = pad(to_cbor(&stored)?)?;
        let sealed = SmallSealed::seal(&epoch.sub_key(SubKey::Index), &raw, &plain, entropy)?;
        Ok(by_author([&raw[..], &sealed.nonce, &sealed.bytes].concat(), None, keys.author()))
    }

    /// Opens an index object.
    ///
    /// # Errors
    /// When it is damaged or of another repository.
    pub fn open(bytes: &[u8], repo: &RepoId, keys: &KeyBundle) -> Result<Opened<Self>, FormatError> {
        let (body, signature) = split(bytes)?;
        let (header, raw, rest) = Header::read(body, ObjectType::Index, Some(repo))?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(FormatError::CutShort)?;
        let sealed = SmallSealed { nonce: *nonce, bytes: sealed.to_vec() };
        let key = keys.epoch(header.epoch)?.sub_key(SubKey::Index);
        let plain = sealed.open(&key, &raw)?;
        let stored: Stored = from_cbor(unpad(&plain)?, "index")?;
        drop(plain);
        let mut packs = Vec::with_capacity(stored.packs.len());
        for pack in stored.packs {
            let StoredPack { id, bytes, blocks, ids, lens } = pack;
            let table = ChunkTable::from_columns(&Columns { blocks, ids, lens })?;
            if bytes < table.end() || bytes > PACK_BYTES_MAX {
                return Err(malformed("a pack smaller than its blocks"));
            }
            packs.push(IndexedPack { id, bytes, table });
        }
        let replaces = stored.replaces.unwrap_or_else(|| Vec::new().into());
        let (replaces, []) = replaces.as_chunks::<32>() else {
            return Err(malformed("a list of indexes cut short"));
        };
        let replaces = replaces.iter().map(|id| IndexId::from_bytes(*id)).collect();
        let claim = Claim::new(stored.author, header.epoch, None, body, signature);
        Ok(Opened { content: Self { packs, replaces }, claim })
    }
}

/// Bytes of an index object less what grows with its packs.
pub const INDEX_OVERHEAD_BYTES: usize = HEADER_BYTES + NONCE_BYTES + 16 + SIGNATURE_BYTES;

#[derive(Encode, Decode)]
#[cbor(map)]
struct Stored {
    #[n(0)]
    packs: Vec<StoredPack>,
    #[n(1)]
    replaces: Option<ByteVec>,
    #[n(2)]
    author: AuthorId,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct StoredPack {
    #[n(0)]
    id: PackId,
    #[n(1)]
    bytes: u64,
    #[n(2)]
    blocks: ByteVec,
    #[n(3)]
    ids: ByteVec,
    #[n(4)]
    lens: ByteVec,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::OsEntropy;
    use proptest::prelude::*;

    pub(crate) fn table() -> ChunkTable {
        let mut table = ChunkTable::default();
        table.push(Naming::first(BlockKind::Data), Codec::Zstd, 500, &[([1; 32], 1000), ([2; 32], 2000)]);
        let later = Naming { kind: BlockKind::Data, generation: 0x0102 };
        table.push(later, Codec::Raw, 316, &[([3; 32], 300)]);
        table
    }

    #[test]
    fn an_index_round_trips_and_is_bound_to_its_repository() {
        let keys = KeyBundle::generate(&OsEntropy).unwrap();
        let repo = RepoId::from_bytes([3; 16]);
        let pack = IndexedPack { id: PackId::from_bytes([9; 32]), bytes: 65536, table: table() };
        let index = Index { packs: vec![pack], replaces: vec![IndexId::from_bytes([8; 32])] };
        let bytes = index.seal(repo, &keys, &OsEntropy).unwrap();
        let opened = Index::open(&bytes, &repo, &keys.to_append()).unwrap();
        assert_eq!(opened.content, index);
        opened.claim.verify(&keys.author().verifying_key()).unwrap();
        assert!(Index::open(&bytes, &RepoId::from_bytes([4; 16]), &keys).is_err());
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            // Compatible feature bits (bytes 12, 13) are covered by the seal like all others.
            let is_whole = |bytes: &[u8]| {
                let opened = Index::open(bytes, &repo, &keys);
                opened.is_ok_and(|index| index.claim.verify(&keys.author().verifying_key()).is_ok())
            };
            assert!(!is_whole(&changed), "byte {at}");
            assert!(!is_whole(&bytes[..at]), "cut at {at}");
        }
    }

    proptest! {
        #[test]
        fn a_changed_table_is_an_error_or_consistent(at: prop::sample::Index, value: u8) {
            let mut bytes = table().encode().unwrap();
            prop_assert_eq!(ChunkTable::decode(&bytes).unwrap(), table());
            let at = at.index(bytes.len());
            bytes[at] = value;
            if let Ok(table) = ChunkTable::decode(&bytes) {
                let plain: u64 = table.blocks.iter().map(|b| u64::from(b.plain_bytes)).sum();
                prop_assert_eq!(plain, table.chunks.iter().map(|c| u64::from(c.1)).sum::<u64>());
            }
        }

        #[test]
        fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = ChunkTable::decode(&bytes);
        }
    }
}
