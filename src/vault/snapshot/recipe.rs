//! Recipe nodes: what they hold, and their encoding (`docs/format.md`, *Recipes*).
//!
//! A recipe lists, in stream order, where a stream's bytes are: ranges of chunks, or ranges of another stream's recipe.
//! It is kept as a tree of nodes whose cuts depend on content, so that recipes of like streams share nodes.

#![deny(clippy::indexing_slicing)]

mod tree;

pub use tree::TreeBuilder;

use crate::base::id::{ChunkId, NodeId};
use minicbor::bytes::{ByteArray, ByteSlice};
use minicbor::{Decode, Encode};

/// No node may be larger than this when encoded, in bytes.
pub const NODE_BYTES_MAX: usize = 256 << 10;
/// No chunk may be longer than this, in bytes.
pub const CHUNK_BYTES_MAX: u64 = 256 << 10;
/// A leaf has at most so many entries, an inner node at most so many children. A node decoded takes many times its
/// bytes where entries are small: this bounds it.
pub const PARTS_MAX: usize = 8192;
/// The root's level is at most this.
pub const LEVEL_MAX: u8 = 8;
/// A recipe may rest on at most this many others, one upon the other.
pub const DEPTH_MAX: u8 = 32;

/// One piece of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// A byte range of a chunk.
    Extent {
        /// The chunk.
        chunk: ChunkId,
        /// Where in the chunk.
        offset: u32,
        /// How many bytes, at least 1.
        len: u64,
    },
    /// A byte range of the base recipe's stream.
    Copy {
        /// Where in the base's stream.
        offset: u64,
        /// How many bytes, at least 1.
        len: u64,
    },
}

impl Entry {
    /// Bytes of the stream that the entry stands for.
    pub fn len(&self) -> u64 {
        match self {
            Self::Extent { len, .. } | Self::Copy { len, .. } => *len,
        }
    }

    /// Never: an entry has at least one byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a recipe rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base {
    /// Root of the base recipe.
    pub root: NodeId,
    /// 1 + the base's own depth.
    pub depth: u8,
    /// Depth of the newest recipe of the chain, this one included, that was written to rest on what lies far below:
    /// where the next one of that kind rests. At most `depth`.
    pub checkpoint: u8,
}

/// A child of an inner node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Child {
    /// The child's id.
    pub id: NodeId,
    /// Stream bytes below it, at least 1.
    pub len: u64,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Entries.
    Leaf(Vec<Entry>),
    /// Children, one level below.
    Inner {
        /// 1 or more.
        level: u8,
        /// At least one.
        children: Vec<Child>,
    },
}

impl Content {
    /// How many entries or children there are.
    fn parts(&self) -> usize {
        match self {
            Self::Leaf(entries) => entries.len(),
            Self::Inner { children, .. } => children.len(),
        }
    }
}

/// A decoded node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Stream bytes below it.
    pub len: u64,
    /// In a root: what it rests on.
    pub base: Option<Base>,
    /// Entries or children.
    pub content: Content,
}

/// Bytes that are no recipe node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a recipe node: {what}")]
pub struct NodeError {
    /// What is wrong.
    pub what: &'static str,
}

const fn wrong(what: &'static str) -> NodeError {
    NodeError { what }
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct StoredNode<'b> {
    #[n(0)]
    level: u8,
    #[n(1)]
    len: u64,
    #[b(2)]
    ids: &'b ByteSlice,
    #[b(3)]
    body: &'b ByteSlice,
    #[n(6)]
    base: Option<ByteArray<32>>,
    #[n(7)]
    depth: Option<u8>,
    #[b(8)]
    columns: Option<Vec<&'b ByteSlice>>,
    #[n(9)]
    checkpoint: Option<u8>,
}

impl Node {
    /// The node's bytes.
    ///
    /// # Errors
    /// When the node breaks the format's limits.
    pub fn encode(&self) -> Result<Vec<u8>, NodeError> {
        let (level, ids, body, columns) = match &self.content {
            Content::Leaf(entries) => {
                let mut encoder = LeafEncoder::default();
                entries.iter().for_each(|entry| encoder.push(entry));
                (0, encoder.chunks, Vec::new(), Some(encoder.columns))
            }
            Content::Inner { level, children } => {
                let (mut ids, mut lens) = (Vec::new(), Vec::new());
                for child in children {
                    ids.extend_from_slice(child.id.as_bytes());
                    put_varint(&mut lens, child.len);
                }
                (*level, ids, lens, None)
            }
        };
        let stored = StoredNode {
            level,
            len: self.len,
            ids: ids.as_slice().into(),
            body: body.as_slice().into(),
            base: self.base.map(|base| (*base.root.as_bytes()).into()),
            depth: self.base.map(|base| base.depth),
            columns: columns.as_ref().map(Columns::stored),
            checkpoint: self.base.map(|base| base.checkpoint),
        };
        let bytes = minicbor::to_vec(&stored).map_err(|_| wrong("it cannot be encoded"))?;
        if bytes.len() > NODE_BYTES_MAX || self.content.parts() > PARTS_MAX {
            return Err(wrong("too large"));
        }
        Ok(bytes)
    }

    /// Reads a node, checking every limit that needs no other node.
    ///
    /// # Errors
    /// When the bytes are not a node.
    pub fn decode(bytes: &[u8]) -> Result<Self, NodeError> {
        if bytes.len() > NODE_BYTES_MAX {
            return Err(wrong("too large"));
        }
        let stored: StoredNode = minicbor::decode(bytes).map_err(|_| wrong("malformed CBOR"))?;
        let base = match (stored.base, stored.depth) {
            (None, None) => None,
            (Some(root), Some(depth @ 1..=DEPTH_MAX)) => {
                let checkpoint = stored.checkpoint.unwrap_or(0);
                if checkpoint > depth {
                    return Err(wrong("its checkpoint lies above it"));
                }
                Some(Base { root: NodeId::from_bytes(*root), depth, checkpoint })
            }
            _ => return Err(wrong("its base and its depth do not fit")),
        };
        let content = match stored.level {
            0 => Content::Leaf(match &stored.columns {
                Some(columns) if stored.body.is_empty() => decode_columns(stored.ids, columns, stored.len)?,
                Some(_) => return Err(wrong("entries in two forms")),
                None => decode_leaf(stored.ids, stored.body, stored.len)?,
            }),
            level @ 1..=LEVEL_MAX => {
                Content::Inner { level, children: decode_children(stored.ids, stored.body, stored.len)? }
            }
            _ => return Err(wrong("too high a level")),
        };
        Ok(Self { len: stored.len, base, content })
    }
}

/// Numbers of one kind, the low bytes apart from the rest: what they have in common then lies side by side, and
/// compresses.
#[derive(Debug, Default)]
struct Column {
    low: Vec<u8>,
    high: Vec<u8>,
}

impl Column {
    fn push(&mut self, value: u64) {
        self.low.push(value as u8);
        put_varint(&mut self.high, value >> 8);
    }
}

/// The entries of a leaf, taken apart by what their numbers mean.
#[derive(Debug, Default)]
struct Columns {
    /// Of each entry: 0 for a copy, 1 + the number of its chunk for an extent.
    kinds: Vec<u8>,
    extent_lens: Column,
    /// From where the last extent of the same chunk ended.
    extent_steps: Column,
    copy_lens: Column,
    /// From where the last copy ended.
    copy_steps: Column,
}

/// Byte strings that columns are stored as.
const COLUMNS: usize = 9;

impl Columns {
    fn stored(&self) -> Vec<&ByteSlice> {
        let Self { kinds, extent_lens, extent_steps, copy_lens, copy_steps } = self;
        let pairs = [extent_lens, extent_steps, copy_lens, copy_steps];
        let rest = pairs.into_iter().flat_map(|column| [&column.low, &column.high]);
        std::iter::once(kinds).chain(rest).map(|bytes| bytes.as_slice().into()).collect()
    }
}

/// Encodes a leaf's entries one after another.
#[derive(Debug, Default)]
struct LeafEncoder {
    chunks: Vec<u8>,
    columns: Columns,
    /// Numbers of the chunks met, so that a chunk stands in the table once, and where its last extent ended.
    met: hashbrown::HashMap<ChunkId, (u64, u64)>,
    /// End of the last copy.
    last_copy: u64,
}

impl LeafEncoder {
    fn push(&mut self, entry: &Entry) {
        let columns = &mut self.columns;
        match *entry {
            Entry::Extent { chunk, offset, len } => {
                let next = self.met.len() as u64;
                let chunks = &mut self.chunks;
                let (number, end) = self.met.entry(chunk).or_insert_with(|| {
                    chunks.extend_from_slice(chunk.as_bytes());
                    (next, 0)
                });
                put_varint(&mut columns.kinds, *number + 1);
                columns.extent_lens.push(len);
                columns.extent_steps.push(zigzag(u64::from(offset).wrapping_sub(*end).cast_signed()));
                *end = u64::from(offset) + len;
            }
            Entry::Copy { offset, len } => {
                put_varint(&mut columns.kinds, 0);
                columns.copy_lens.push(len);
                columns.copy_steps.push(zigzag(offset.wrapping_sub(self.last_copy).cast_signed()));
                self.last_copy = offset + len;
            }
        }
    }
}

/// A stored [`Column`], read from the front.
struct ColumnReader<'a> {
    low: &'a [u8],
    high: &'a [u8],
}

impl ColumnReader<'_> {
    fn take(&mut self) -> Result<u64, NodeError> {
        let (low, rest) = self.low.split_first().ok_or(wrong("a number cut short"))?;
        self.low = rest;
        let high = take_varint(&mut self.high)?;
        if high >> 56 != 0 {
            return Err(wrong("a number too large"));
        }
        Ok(high << 8 | u64::from(*low))
    }

    fn is_empty(&self) -> bool {
        self.low.is_empty() && self.high.is_empty()
    }
}

/// A leaf's entries out of its columns.
fn decode_columns(ids: &[u8], columns: &[&ByteSlice], len: u64) -> Result<Vec<Entry>, NodeError> {
    let (ids, []) = ids.as_chunks::<32>() else {
        return Err(wrong("a chunk table cut short"));
    };
    let columns: [&ByteSlice; COLUMNS] =
        columns.try_into().map_err(|_| wrong("not the columns of a leaf"))?;
    let [kinds, pairs @ ..] = columns.map(|column| &**column);
    let [a, b, c, d, e, f, g, h] = pairs;
    let reader = |low, high| ColumnReader { low, high };
    let (mut extent_lens, mut extent_steps) = (reader(a, b), reader(c, d));
    let (mut copy_lens, mut copy_steps) = (reader(e, f), reader(g, h));
    let mut kinds = kinds;
    let mut ends = vec![0u64; ids.len()];
    // Each entry takes a byte or two of the kinds.
    let mut entries = Vec::with_capacity(kinds.len().min(PARTS_MAX));
    let (mut total, mut last_copy) = (0u64, 0u64);
    while !kinds.is_empty() {
        if entries.len() == PARTS_MAX {
            return Err(wrong("too many entries"));
        }
        let kind = take_varint(&mut kinds)?;
        let entry_len = if kind == 0 { copy_lens.take()? } else { extent_lens.take()? };
        if entry_len == 0 {
            return Err(wrong("an empty entry"));
        }
        total = total.checked_add(entry_len).ok_or(wrong("lengths overflow"))?;
        if kind == 0 {
            let step = unzigzag(copy_steps.take()?);
            let offset = last_copy.checked_add_signed(step).ok_or(wrong("a copy before the start"))?;
            last_copy = offset.checked_add(entry_len).ok_or(wrong("a copy beyond the end"))?;
            entries.push(Entry::Copy { offset, len: entry_len });
            continue;
        }
        let number = usize::try_from(kind - 1).unwrap_or(usize::MAX);
        let (Some(chunk), Some(last)) = (ids.get(number), ends.get_mut(number)) else {
            return Err(wrong("no such chunk in the table"));
        };
        let step = unzigzag(extent_steps.take()?);
        let offset = last.checked_add_signed(step).ok_or(wrong("an extent before its chunk"))?;
        let end = offset.checked_add(entry_len).filter(|end| *end <= CHUNK_BYTES_MAX);
        *last = end.ok_or(wrong("an extent beyond the largest chunk"))?;
        // Fits: its end is at most 256 KiB.
        entries.push(Entry::Extent {
            chunk: ChunkId::from_bytes(*chunk),
            offset: offset as u32,
            len: entry_len,
        });
    }
    let is_all = [extent_lens, extent_steps, copy_lens, copy_steps].iter().all(ColumnReader::is_empty);
    if !is_all {
        return Err(wrong("numbers that no entry takes"));
    }
    if total == len { Ok(entries) } else { Err(wrong("its entries do not make up its length")) }
}

/// A leaf's entries in the form of repositories made before there were columns.
fn decode_leaf(ids: &[u8], mut body: &[u8], len: u64) -> Result<Vec<Entry>, NodeError> {
    let (ids, []) = ids.as_chunks::<32>() else {
        return Err(wrong("a chunk table cut short"));
    };
    let mut entries = Vec::new();
    let mut total = 0u64;
    let mut last_extent: Option<(ChunkId, u64)> = None;
    let mut last_copy = 0u64;
    while !body.is_empty() {
        if entries.len() == PARTS_MAX {
            return Err(wrong("too many entries"));
        }
        let head = take_varint(&mut body)?;
        let entry_len = head >> 1;
        total = total.checked_add(entry_len).ok_or(wrong("lengths overflow"))?;
        if entry_len == 0 {
            return Err(wrong("an empty entry"));
        }
        if head & 1 == 0 {
            let (chunk, offset) = match take_varint(&mut body)? {
                0 => last_extent.ok_or(wrong("an extent that goes on from nothing"))?,
                number => {
                    let chunk = usize::try_from(number - 1)
                        .ok()
                        .and_then(|at| ids.get(at))
                        .ok_or(wrong("no such chunk in the table"))?;
                    (ChunkId::from_bytes(*chunk), take_varint(&mut body)?)
                }
            };
            let end = offset.checked_add(entry_len).filter(|end| *end <= CHUNK_BYTES_MAX);
            let end = end.ok_or(wrong("an extent beyond the largest chunk"))?;
            last_extent = Some((chunk, end));
            // Fits: end is at most 256 KiB.
            entries.push(Entry::Extent { chunk, offset: offset as u32, len: entry_len });
        } else {
            let step = unzigzag(take_varint(&mut body)?);
            let offset = last_copy.checked_add_signed(step).ok_or(wrong("a copy before the start"))?;
            last_copy = offset.checked_add(entry_len).ok_or(wrong("a copy beyond the end"))?;
            entries.push(Entry::Copy { offset, len: entry_len });
        }
    }
    if total == len { Ok(entries) } else { Err(wrong("its entries do not make up its length")) }
}

fn decode_children(ids: &[u8], mut lens: &[u8], len: u64) -> Result<Vec<Child>, NodeError> {
    let (ids, []) = ids.as_chunks::<32>() else {
        return Err(wrong("a child table cut short"));
    };
    if ids.len() > PARTS_MAX {
        return Err(wrong("too many children"));
    }
    let mut children = Vec::with_capacity(ids.len());
    let mut total = 0u64;
    for id in ids {
        let child_len = take_varint(&mut lens)?;
        total = total.checked_add(child_len).ok_or(wrong("lengths overflow"))?;
        if child_len == 0 {
            // Else a tree could be made of nothing, and never end.
            return Err(wrong("an empty child"));
        }
        children.push(Child { id: NodeId::from_bytes(*id), len: child_len });
    }
    if children.is_empty() || !lens.is_empty() || total != len {
        return Err(wrong("its children do not make up its length"));
    }
    Ok(children)
}

fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Result<u64, NodeError> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or(wrong("a number cut short"))?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            break;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(wrong("a number too large"))
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(super) fn entry() -> impl Strategy<Value = Entry> {
        prop_oneof![
            (any::<u8>(), 0u32..100_000, 1u64..100_000).prop_map(|(id, offset, len)| Entry::Extent {
                chunk: ChunkId::from_bytes([id; 32]),
                offset,
                len
            }),
            (0u64..1 << 50, 1u64..1 << 40).prop_map(|(offset, len)| Entry::Copy { offset, len }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Node::decode(&bytes);
        }

        #[test]
        fn a_changed_byte_is_an_error_or_another_well_formed_node(entries in prop::collection::vec(entry(), 1..50), at: prop::sample::Index, value: u8) {
            let len = entries.iter().map(Entry::len).sum();
            let mut bytes = Node { len, base: None, content: Content::Leaf(entries) }.encode().unwrap();
            let at = at.index(bytes.len());
            bytes[at] = value;
            if let Ok(node) = Node::decode(&bytes)
                && let Content::Leaf(entries) = &node.content {
                prop_assert_eq!(node.len, entries.iter().map(Entry::len).sum::<u64>());
            }
        }

        #[test]
        fn varints_round_trip(value: u64, signed: i64) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            prop_assert_eq!(take_varint(&mut bytes.as_slice()).unwrap(), value);
            prop_assert_eq!(unzigzag(zigzag(signed)), signed);
        }
    }

    #[test]
    fn a_node_of_more_parts_than_allowed_is_neither_written_nor_read() {
        let copies = |count: usize| {
            let entries = (0..count).map(|at| Entry::Copy { offset: 2 * at as u64, len: 1 }).collect();
            Node { len: count as u64, base: None, content: Content::Leaf(entries) }
        };
        let most = copies(PARTS_MAX);
        assert_eq!(Node::decode(&most.encode().unwrap()), Ok(most));
        assert_eq!(copies(PARTS_MAX + 1).encode(), Err(wrong("too large")));

        let (len, body) = ((PARTS_MAX + 1) as u64, [3, 0].repeat(PARTS_MAX + 1));
        let none: &ByteSlice = [].as_slice().into();
        let (base, depth, checkpoint) = (None, None, None);
        let body = body.as_slice().into();
        let stored = StoredNode { level: 0, len, ids: none, body, base, depth, columns: None, checkpoint };
        assert_eq!(Node::decode(&minicbor::to_vec(&stored).unwrap()), Err(wrong("too many entries")));
        let mut columns = Columns { kinds: vec![0; PARTS_MAX + 1], ..Columns::default() };
        (0..=PARTS_MAX).for_each(|_| columns.copy_lens.push(1));
        (0..=PARTS_MAX).for_each(|_| columns.copy_steps.push(2));
        let columns = Some(columns.stored());
        let stored = StoredNode { level: 0, len, ids: none, body: none, base, depth, columns, checkpoint };
        assert_eq!(Node::decode(&minicbor::to_vec(&stored).unwrap()), Err(wrong("too many entries")));
    }

    #[test]
    fn entries_in_the_old_form_are_read() {
        let chunk = ChunkId::from_bytes([5; 32]);
        // An extent of 7 bytes at 3 of chunk 0, a copy of 2 bytes at 9, and the extent goes on for 4.
        let body = vec![14, 1, 3, 5, 18, 8, 0];
        let stored = StoredNode {
            level: 0,
            len: 13,
            ids: chunk.as_bytes().as_slice().into(),
            body: body.as_slice().into(),
            base: Some([9; 32].into()),
            depth: Some(1),
            columns: None,
            checkpoint: None,
        };
        let node = Node::decode(&minicbor::to_vec(&stored).unwrap()).unwrap();
        let entries = vec![
            Entry::Extent { chunk, offset: 3, len: 7 },
            Entry::Copy { offset: 9, len: 2 },
            Entry::Extent { chunk, offset: 10, len: 4 },
        ];
        assert_eq!(node.content, Content::Leaf(entries));
        assert_eq!(Node::decode(&node.encode().unwrap()), Ok(node));
    }

    #[test]
    fn numbers_that_no_entry_takes_are_refused() {
        let entries = vec![Entry::Copy { offset: 7, len: 3 }];
        let bytes = Node { len: 3, base: None, content: Content::Leaf(entries) }.encode().unwrap();
        let mut stored: StoredNode = minicbor::decode(&bytes).unwrap();
        stored.columns.as_mut().unwrap()[1] = [1].as_slice().into();
        let refused = Node::decode(&minicbor::to_vec(&stored).unwrap());
        assert_eq!(refused, Err(wrong("numbers that no entry takes")));
    }
}
