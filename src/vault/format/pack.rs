//! Packs: blocks, a sealed chunk table, a footer.
//!
//! A pack is put together in memory. Compressed blocks are laid down in order, each with room for its tag;
//! [`PackBuffer::seal`] then seals them in place, reads each back, and closes the pack.

use super::header::{COLUMNS, HEADER_BYTES, Header, ObjectType};
use super::index::{BLOCKS_START, BlockEntry, BlockKind, ChunkEntry, ChunkTable, Naming, TABLE_BYTES_MAX};
use super::signed::padme;
use super::{FormatError, malformed};
use crate::base::id::{PackId, RepoId};
use crate::base::secret::{Entropy, SecretKey};
use crate::content::codec::Codec;
use crate::vault::crypto::{BlockNonce, ENC_BYTES, Envelope, KeyBundle, PackKey, TAG_BYTES};
use crate::vault::format::config::PACK_BYTES_MAX;

/// Length of a pack's front (header and wrapped key) in bytes.
pub const FRONT_BYTES: usize = BLOCKS_START as usize;
/// Length of the footer in bytes.
pub const FOOTER_BYTES: usize = 24;
/// Packs from this size on have a multiple of [`PADDING`] bytes, smaller ones a Padmé length.
const SMALL_PACK_BYTES: usize = 1 << 20;
const PADDING: usize = 64 << 10;
/// No pack is smaller, so that a day without any change looks like one with a few changed rows.
const PACK_BYTES_MIN: usize = 4 << 10;
/// A pack's table has room for more than so many chunks: 16 MiB, of some 35 bytes each.
pub const PACK_CHUNKS_MAX: usize = 1 << 18;
/// Blocks of two kinds share a pack that stays below this share of the usual size.
const SHARED_PACK: usize = 16;
const FOOTER_MAGIC: &[u8; 8] = b"DVLTPEND";
const INFO: &[u8] = b"dumpvault v1 pack";

/// The front of a pack: everything that its seals are bound to.
#[derive(Clone, Copy)]
struct Front {
    header: [u8; HEADER_BYTES],
    enc: [u8; ENC_BYTES],
}

impl Front {
    fn block_associated(
        &self,
        number: u32,
        kind: BlockKind,
        codec: Codec,
    ) -> [u8; HEADER_BYTES + ENC_BYTES + 6] {
        let mut bytes = [0; HEADER_BYTES + ENC_BYTES + 6];
        let [n0, n1, n2, n3] = number.to_le_bytes();
        let parts: [&[u8]; 3] = [&self.header, &self.enc, &[n0, n1, n2, n3, kind.number(), codec.number()]];
        let all = parts.into_iter().flatten();
        bytes.iter_mut().zip(all).for_each(|(to, from)| *to = *from);
        bytes
    }

    fn table_associated(&self, blocks: u32) -> Vec<u8> {
        [&self.header[..], &self.enc, &blocks.to_le_bytes()].concat()
    }
}

/// A pack being filled: compressed blocks, not sealed yet.
#[derive(Debug, Default)]
pub struct PackBuffer {
    bytes: Vec<u8>,
    table: ChunkTable,
    plain_bytes: u64,
}

/// A finished pack.
#[derive(Debug)]
pub struct SealedPack {
    /// Its name.
    pub id: PackId,
    /// The object's bytes.
    pub bytes: Vec<u8>,
    /// What it holds.
    pub table: ChunkTable,
}

impl PackBuffer {
    /// An empty pack that uses the memory of `bytes`.
    pub fn reuse(mut bytes: Vec<u8>) -> Self {
        bytes.clear();
        bytes.resize(FRONT_BYTES, 0);
        Self { bytes, table: ChunkTable::default(), plain_bytes: 0 }
    }

    /// Lays down a compressed block; `prefixes`, of a block of blinded chunks, stand in front of it.
    pub fn push(
        &mut self,
        naming: Naming,
        codec: Codec,
        prefixes: &[u8],
        stored: &[u8],
        chunks: &[ChunkEntry],
    ) {
        if self.bytes.is_empty() {
            self.bytes.resize(FRONT_BYTES, 0);
        }
        self.bytes.extend_from_slice(prefixes);
        self.bytes.extend_from_slice(stored);
        self.bytes.extend_from_slice(&[0; TAG_BYTES]);
        self.table.push(naming, codec, (prefixes.len() + stored.len() + TAG_BYTES) as u32, chunks);
        self.plain_bytes += chunks.iter().map(|(_, len)| u64::from(*len)).sum::<u64>();
    }

    /// Whether this and `other` are better off as one pack, where packs are to have `pack_bytes`: both together are
    /// small. Then each would be mostly front, table and padding, and another object to put and to name.
    pub fn is_small_with(&self, other: &Self, pack_bytes: usize) -> bool {
        !self.is_empty()
            && !other.is_empty()
            && self.len() + other.len() < SMALL_PACK_BYTES.min(pack_bytes / SHARED_PACK)
            && self.chunk_count() + other.chunk_count() <= PACK_CHUNKS_MAX
    }

    /// Lays down the blocks of `other` behind those that are there.
    ///
    /// # Errors
    /// When `other` was not filled by [`PackBuffer::push`].
    pub fn append(&mut self, other: &Self) -> Result<(), FormatError> {
        if other.is_empty() {
            return Ok(());
        }
        if self.bytes.is_empty() {
            self.bytes.resize(FRONT_BYTES, 0);
        }
        let blocks = other.bytes.get(FRONT_BYTES..).ok_or(malformed("a pack without its front"))?;
        self.bytes.extend_from_slice(blocks);
        for block in &other.table.blocks {
            self.table.push(block.naming(), block.codec, block.stored_bytes, other.table.chunks_of(block));
        }
        self.plain_bytes += other.plain_bytes;
        Ok(())
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Chunks in the blocks so far.
    pub fn chunk_count(&self) -> usize {
        self.table.chunks.len()
    }

    /// Whether nothing was laid down yet.
    pub fn is_empty(&self) -> bool {
        self.table.blocks.is_empty()
    }

    /// Seals all blocks under a fresh key, opens each again and compares, and closes the pack.
    ///
    /// # Errors
    /// When a block does not read back ([`FormatError::Crypto`], [`FormatError::Malformed`]), or there is no
    /// randomness.
    pub fn seal(
        self,
        repo: RepoId,
        keys: &KeyBundle,
        entropy: &dyn Entropy,
        read_back: bool,
    ) -> Result<SealedPack, FormatError> {
        let Self { mut bytes, table, .. } = self;
        let epoch = keys.newest();
        let header = Header { kind: ObjectType::Pack, epoch: epoch.number(), repo };
        let header = header.with_features(table.features());
        let secret = SecretKey::random(entropy)?;
        let wrapped = epoch.seal(INFO, &header, secret.expose(), entropy)?;
        let front = Front { header, enc: wrapped.enc };
        let key = PackKey::new(&secret)?;

        let start = [&header[..], &wrapped.enc, &wrapped.bytes].concat();
        let place = bytes.get_mut(..FRONT_BYTES).filter(|place| place.len() == start.len());
        place.ok_or(malformed("a pack without its front"))?.copy_from_slice(&start);

        let mut scratch = Scratch::default();
        for (number, block) in (0u32..).zip(&table.blocks) {
            let place = block_slice_mut(&mut bytes, block)?;
            seal_block(&key, &front, number, block, place, read_back.then_some(&mut scratch))?;
        }
        seal_table(&key, &front, &table, &mut bytes)?;
        let id = PackId::from_bytes(*blake3::hash(&bytes).as_bytes());
        Ok(SealedPack { id, bytes, table })
    }
}

fn block_slice_mut<'a>(bytes: &'a mut [u8], block: &BlockEntry) -> Result<&'a mut [u8], FormatError> {
    let start = block.offset as usize;
    bytes.get_mut(start..start + block.stored_bytes as usize).ok_or(malformed("a block outside its pack"))
}

/// Memory for reading a block back, used again for the next.
#[derive(Default)]
struct Scratch {
    before: Vec<u8>,
    sealed: Vec<u8>,
}

/// Seals one block in place; `place` ends with room for the tag.
fn seal_block(
    key: &PackKey,
    front: &Front,
    number: u32,
    block: &BlockEntry,
    place: &mut [u8],
    read_back: Option<&mut Scratch>,
) -> Result<(), FormatError> {
    let associated = front.block_associated(number, block.kind, block.codec);
    let (plain, tag_place) =
        place.split_last_chunk_mut::<TAG_BYTES>().ok_or(malformed("a block without room for its tag"))?;
    let Some(scratch) = read_back else {
        *tag_place = key.seal_in_place(BlockNonce::block(number), &associated, plain)?;
        return Ok(());
    };
    scratch.before.clear();
    scratch.before.extend_from_slice(plain);
    *tag_place = key.seal_in_place(BlockNonce::block(number), &associated, plain)?;
    scratch.sealed.clear();
    scratch.sealed.extend_from_slice(place);
    let opened = key.open_in_place(BlockNonce::block(number), &associated, &mut scratch.sealed)?;
    if *opened != *scratch.before {
        return Err(malformed("a sealed block did not read back as it was written"));
    }
    Ok(())
}

/// The size of a pack that holds `len` bytes, its footer included. What a day adds to a database is mostly small, and
/// 64 KiB would be most of it.
fn padded_bytes(len: usize) -> usize {
    if len < SMALL_PACK_BYTES { padme(len.max(PACK_BYTES_MIN)) } else { len.next_multiple_of(PADDING) }
}

fn seal_table(
    key: &PackKey,
    front: &Front,
    table: &ChunkTable,
    bytes: &mut Vec<u8>,
) -> Result<(), FormatError> {
    let offset = bytes.len() as u64;
    let blocks = table.blocks.len() as u32;
    let mut plain = table.encode()?;
    let tag = key.seal_in_place(BlockNonce::table(), &front.table_associated(blocks), &mut plain)?;
    let table_bytes = (plain.len() + TAG_BYTES) as u32;
    if table_bytes > TABLE_BYTES_MAX {
        return Err(malformed("too many chunks for one pack"));
    }
    bytes.extend_from_slice(&plain);
    bytes.extend_from_slice(&tag);
    bytes.resize(padded_bytes(bytes.len() + FOOTER_BYTES) - FOOTER_BYTES, 0);
    bytes.extend_from_slice(&offset.to_le_bytes());
    bytes.extend_from_slice(&table_bytes.to_le_bytes());
    bytes.extend_from_slice(&blocks.to_le_bytes());
    bytes.extend_from_slice(FOOTER_MAGIC);
    Ok(())
}

/// Where a pack's sealed chunk table lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footer {
    /// Offset of the sealed table in the pack.
    pub table_offset: u64,
    /// Its length, tag included, at most [`TABLE_BYTES_MAX`].
    pub table_bytes: u32,
    /// Number of blocks.
    pub blocks: u32,
}

impl Footer {
    /// Reads a footer: the last [`FOOTER_BYTES`] of a pack of `pack_bytes`.
    ///
    /// # Errors
    /// When it is none, or points outside the pack.
    pub fn read(bytes: &[u8; FOOTER_BYTES], pack_bytes: u64) -> Result<Self, FormatError> {
        let [o0, o1, o2, o3, o4, o5, o6, o7, t0, t1, t2, t3, b0, b1, b2, b3, ref magic @ ..] = *bytes;
        let footer = Self {
            table_offset: u64::from_le_bytes([o0, o1, o2, o3, o4, o5, o6, o7]),
            table_bytes: u32::from_le_bytes([t0, t1, t2, t3]),
            blocks: u32::from_le_bytes([b0, b1, b2, b3]),
        };
        if magic != FOOTER_MAGIC {
            return Err(malformed("its end is not that of a pack"));
        }
        let end = footer.table_offset.checked_add(u64::from(footer.table_bytes));
        if pack_bytes > PACK_BYTES_MAX
            || footer.table_offset < BLOCKS_START
            || footer.table_bytes > TABLE_BYTES_MAX
            || (footer.table_bytes as usize) < TAG_BYTES
            || end.is_none_or(|end| end > pack_bytes.saturating_sub(FOOTER_BYTES as u64))
        {
            return Err(malformed("its footer points outside the pack"));
        }
        Ok(footer)
    }
}

/// Opens what lies in one pack.
#[derive(Debug)]
pub struct PackOpener {
    front: Front,
    key: PackKey,
}

impl std::fmt::Debug for Front {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Front(…)")
    }
}

impl PackOpener {
    /// Unwraps the pack's key from its front.
    ///
    /// # Errors
    /// When the front is damaged, of another repository, or `keys` may not read.
    pub fn new(front: &[u8; FRONT_BYTES], repo: &RepoId, keys: &KeyBundle) -> Result<Self, FormatError> {
        let (header, raw, rest) = Header::read(front, ObjectType::Pack, Some(repo))?;
        let (enc, wrapped) = rest.split_first_chunk::<ENC_BYTES>().ok_or(FormatError::CutShort)?;
        let envelope = Envelope { enc: *enc, bytes: wrapped.to_vec() };
        let secret = zeroize::Zeroizing::new(keys.epoch(header.epoch)?.open(&envelope, INFO, &raw)?);
        let secret = SecretKey::from_slice(&secret).ok_or(malformed("a pack key of another length"))?;
        Ok(Self { front: Front { header: raw, enc: *enc }, key: PackKey::new(&secret)? })
    }

    /// Opens block `number` in place; the answer is what blinds its chunks, where anything does, and the compressed
    /// bytes.
    ///
    /// # Errors
    /// When it is damaged, or not that block.
    pub fn open_block<'a>(
        &self,
        number: u32,
        block: &BlockEntry,
        sealed: &'a mut [u8],
    ) -> Result<&'a mut [u8], FormatError> {
        if block.codec == Codec::Columns && Header::features_of(&self.front.header) & COLUMNS == 0 {
            return Err(malformed("a block stored by column in a pack that does not say so"));
        }
        let associated = self.front.block_associated(number, block.kind, block.codec);
        Ok(self.key.open_in_place(BlockNonce::block(number), &associated, sealed)?)
    }

    /// Opens the chunk table that `footer` points to, in place.
    ///
    /// # Errors
    /// When it is damaged or does not fit the footer.
    pub fn open_table(&self, footer: &Footer, sealed: &mut [u8]) -> Result<ChunkTable, FormatError> {
        let associated = self.front.table_associated(footer.blocks);
        let table = ChunkTable::decode(self.key.open_in_place(BlockNonce::table(), &associated, sealed)?)?;
        if table.blocks.len() != footer.blocks as usize || table.end() != footer.table_offset {
            return Err(malformed("its chunk table does not fit its blocks"));
        }
        Ok(table)
    }

    /// Opens the chunk table of a pack that is in memory as a whole, in place.
    ///
    /// # Errors
    /// As [`Footer::read`] and [`PackOpener::open_table`].
    pub fn own_table(&self, pack: &mut [u8]) -> Result<ChunkTable, FormatError> {
        let footer = pack.last_chunk().ok_or(FormatError::CutShort)?;
        let footer = Footer::read(footer, pack.len() as u64)?;
        let start = footer.table_offset as usize;
        let sealed = pack.get_mut(start..start + footer.table_bytes as usize);
        self.open_table(&footer, sealed.ok_or(FormatError::CutShort)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::OsEntropy;

    const REPO: RepoId = RepoId::from_bytes([3; 16]);

    fn open(bytes: &[u8], keys: &KeyBundle) -> Result<Vec<Vec<u8>>, FormatError> {
        let opener = PackOpener::new(bytes[..FRONT_BYTES].try_into().unwrap(), &REPO, keys)?;
        let footer = Footer::read(bytes.last_chunk().unwrap(), bytes.len() as u64)?;
        let start = footer.table_offset as usize;
        let table =
            opener.open_table(&footer, &mut bytes[start..start + footer.table_bytes as usize].to_vec())?;
        let mut plain = Vec::new();
        for (number, block) in (0..).zip(&table.blocks) {
            let mut sealed = bytes[block.offset as usize..][..block.stored_bytes as usize].to_vec();
            plain.push(opener.open_block(number, block, &mut sealed)?.to_vec());
        }
        Ok(plain)
    }

    #[test]
    fn a_pack_opens_with_the_full_key_alone_and_hides_its_length() {
        let keys = KeyBundle::generate(&OsEntropy).unwrap();
        let mut pack = PackBuffer::default();
        pack.push(Naming::first(BlockKind::Data), Codec::Raw, b"", b"hello", &[([1; 32], 5)]);
        pack.push(Naming::first(BlockKind::Data), Codec::Raw, b"", b"world!", &[([2; 32], 2), ([3; 32], 4)]);
        let sealed = pack.seal(REPO, &keys.to_append(), &OsEntropy, true).unwrap();
        assert_eq!(sealed.bytes.len(), PACK_BYTES_MIN);
        assert_eq!(open(&sealed.bytes, &keys).unwrap(), [b"hello".to_vec(), b"world!".to_vec()]);
        assert!(matches!(
            open(&sealed.bytes, &keys.to_append()),
            Err(FormatError::Crypto(crate::vault::crypto::CryptoError::RoleTooWeak { .. }))
        ));
    }

    #[test]
    fn small_packs_have_padme_lengths_and_large_ones_multiples_of_64_kib() {
        let (mut before, mut sizes) = (0, std::collections::BTreeSet::new());
        for len in (0..3 << 20).step_by(97).chain([SMALL_PACK_BYTES - 1, SMALL_PACK_BYTES]) {
            let padded = padded_bytes(len);
            assert!(padded >= len && padded >= PACK_BYTES_MIN, "{len}");
            assert_eq!(padded_bytes(padded), padded, "{len}");
            let most =
                if len < SMALL_PACK_BYTES { PACK_BYTES_MIN.max(len + len / 16) } else { len + PADDING };
            assert!(padded <= most, "{len} {padded}");
            if padded > before {
                sizes.insert(padded);
                before = padded;
            }
        }
        let small = sizes.range(..=SMALL_PACK_BYTES).count();
        assert!((100..260).contains(&small), "{small} lengths of small packs");
    }

    #[test]
    fn a_pack_of_two_kinds_opens_as_what_went_into_it() {
        let keys = KeyBundle::generate(&OsEntropy).unwrap();
        let (mut data, mut recipe) = (PackBuffer::default(), PackBuffer::default());
        data.push(Naming::first(BlockKind::Data), Codec::Raw, b"", b"hello", &[([1; 32], 5)]);
        recipe.push(Naming::first(BlockKind::Recipe), Codec::Raw, b"", b"a node", &[([2; 32], 6)]);
        recipe.push(Naming::first(BlockKind::Recipe), Codec::Raw, b"", b"another", &[([3; 32], 7)]);
        data.append(&recipe).unwrap();
        data.append(&PackBuffer::default()).unwrap();
        let mut empty = PackBuffer::default();
        empty.append(&recipe).unwrap();
        assert_eq!((empty.len(), empty.chunk_count()), (recipe.len(), 2));
        let sealed = data.seal(REPO, &keys, &OsEntropy, true).unwrap();
        let kinds: Vec<_> = sealed.table.blocks.iter().map(|block| block.kind).collect();
        assert_eq!(kinds, [BlockKind::Data, BlockKind::Recipe, BlockKind::Recipe]);
        let plain = [b"hello".to_vec(), b"a node".to_vec(), b"another".to_vec()];
        assert_eq!(open(&sealed.bytes, &keys).unwrap(), plain);
    }

    #[test]
    fn every_flipped_bit_outside_the_padding_is_noticed() {
        let keys = KeyBundle::generate(&OsEntropy).unwrap();
        let mut pack = PackBuffer::default();
        pack.push(Naming::first(BlockKind::Data), Codec::Raw, b"", b"hello", &[([1; 32], 5)]);
        let bytes = pack.seal(REPO, &keys, &OsEntropy, true).unwrap().bytes;
        let footer = Footer::read(bytes.last_chunk().unwrap(), bytes.len() as u64).unwrap();
        let used = (footer.table_offset + u64::from(footer.table_bytes)) as usize;
        for at in (0..used).chain(bytes.len() - FOOTER_BYTES..bytes.len()) {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(open(&changed, &keys).is_err(), "byte {at}");
        }
    }
}
