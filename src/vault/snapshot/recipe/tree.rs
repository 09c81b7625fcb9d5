//! Where recipes are cut into nodes: a stream's entries in, its tree out.

#![deny(clippy::indexing_slicing)]

use super::{Base, Child, Content, Entry, LEVEL_MAX, Node, NodeError, wrong};
use crate::base::id::NodeId;

/// Takes a stream's entries in order and gives finished nodes, leaves first, each before its parent.
///
/// Memory: one unfinished node a level.
#[derive(Debug, Default)]
pub struct TreeBuilder {
    base: Option<Base>,
    entries: Vec<Entry>,
    entries_len: u64,
    entries_total: u64,
    /// Unfinished inner nodes, lowest level first.
    inner: Vec<Vec<Child>>,
}

/// Entries a leaf holds at most: even if each names a chunk of its own (32 bytes) with the longest numbers (up to 23
/// bytes), the node stays within [`NODE_BYTES_MAX`].
const LEAF_ENTRIES_MAX: usize = 4096;
const LEAF_ENTRIES_MIN: usize = 512;
/// Children an inner node holds at most.
const CHILDREN_MAX: usize = 1024;
const CHILDREN_MIN: usize = 64;

impl TreeBuilder {
    /// A builder of a recipe that rests on `base`, or on nothing.
    pub fn new(base: Option<Base>) -> Self {
        Self { base, ..Self::default() }
    }

    /// Adds an entry; joins it to the one before where it goes on from it. Finished nodes are handed to `store`, which
    /// gives their ids.
    ///
    /// # Errors
    /// Those of `store`.
    pub fn push<E: From<NodeError>>(
        &mut self,
        entry: Entry,
        store: &mut dyn FnMut(Vec<u8>) -> Result<NodeId, E>,
    ) -> Result<(), E> {
        if let Some(last) = self.entries.last_mut()
            && join(last, &entry)
        {
            self.entries_len += entry.len();
            return Ok(());
        }
        // The cut is decided by the entry before, now that nothing can be joined to it any more.
        if self.leaf_is_full() {
            self.finish_leaf(store)?;
        }
        self.entries_len += entry.len();
        self.entries_total += 1;
        self.entries.push(entry);
        Ok(())
    }

    /// Entries so far; joined ones count once.
    pub fn entries(&self) -> u64 {
        self.entries_total
    }

    /// Whether what was pushed is one copy of a base of `bytes` bytes, all of it.
    pub fn is_copy_of_all(&self, bytes: u64) -> bool {
        self.inner.is_empty() && self.entries == [Entry::Copy { offset: 0, len: bytes }]
    }

    fn leaf_is_full(&self) -> bool {
        let Some(last) = self.entries.last() else { return false };
        self.entries.len() >= LEAF_ENTRIES_MAX
            || self.entries.len() >= LEAF_ENTRIES_MIN && fingerprint(last).is_multiple_of(512)
    }

    fn finish_leaf<E: From<NodeError>>(
        &mut self,
        store: &mut dyn FnMut(Vec<u8>) -> Result<NodeId, E>,
    ) -> Result<(), E> {
        let len = std::mem::take(&mut self.entries_len);
        let content = Content::Leaf(std::mem::take(&mut self.entries));
        let id = store(Node { len, base: None, content }.encode()?)?;
        self.push_child(0, Child { id, len }, store)
    }

    fn push_child<E: From<NodeError>>(
        &mut self,
        at: usize,
        child: Child,
        store: &mut dyn FnMut(Vec<u8>) -> Result<NodeId, E>,
    ) -> Result<(), E> {
        if self.inner.len() <= at {
            self.inner.push(Vec::new());
        }
        let Some(children) = self.inner.get_mut(at) else { return Ok(()) };
        children.push(child);
        let cut = first_word(child.id.as_bytes()).is_multiple_of(256);
        if children.len() >= CHILDREN_MAX || children.len() >= CHILDREN_MIN && cut {
            let children = std::mem::take(children);
            let parent = store_inner(at, children, None, store)?;
            self.push_child(at + 1, parent, store)?;
        }
        Ok(())
    }

    /// Ends the recipe and gives its root.
    ///
    /// # Errors
    /// Those of `store`.
    pub fn finish<E: From<NodeError>>(
        mut self,
        store: &mut dyn FnMut(Vec<u8>) -> Result<NodeId, E>,
    ) -> Result<NodeId, E> {
        if self.inner.is_empty() {
            let content = Content::Leaf(self.entries);
            return store(Node { len: self.entries_len, base: self.base, content }.encode()?);
        }
        if !self.entries.is_empty() {
            self.finish_leaf(store)?;
        }
        let mut at = 0;
        loop {
            let children = self.inner.get_mut(at).map(std::mem::take).unwrap_or_default();
            let is_top = self.inner.len() == at + 1;
            if is_top && (children.len() > 1 || self.base.is_some() || at == 0) {
                return Ok(store_inner(at, children, self.base, store)?.id);
            }
            match children.as_slice() {
                [] => {}
                // The root need not be a chain of single children; it never holds a base here.
                [only] if is_top => return Ok(only.id),
                _ => {
                    let parent = store_inner(at, children, None, store)?;
                    self.push_child(at + 1, parent, store)?;
                }
            }
            at += 1;
        }
    }
}

fn store_inner<E: From<NodeError>>(
    at: usize,
    children: Vec<Child>,
    base: Option<Base>,
    store: &mut dyn FnMut(Vec<u8>) -> Result<NodeId, E>,
) -> Result<Child, E> {
    let level = u8::try_from(at + 1).ok().filter(|level| *level <= LEVEL_MAX);
    let level = level.ok_or(wrong("a stream too long for a recipe"))?;
    let len = children.iter().map(|child| child.len).sum();
    let id = store(Node { len, base, content: Content::Inner { level, children } }.encode()?)?;
    Ok(Child { id, len })
}

/// Joins `next` to `last` where it goes on from it.
fn join(last: &mut Entry, next: &Entry) -> bool {
    match (last, next) {
        (
            Entry::Extent { chunk, offset, len },
            Entry::Extent { chunk: next_chunk, offset: next_offset, len: next_len },
        ) if chunk == next_chunk && u64::from(*offset) + *len == u64::from(*next_offset) => {
            *len += next_len;
            true
        }
        (Entry::Copy { offset, len }, Entry::Copy { offset: next_offset, len: next_len })
            if *offset + *len == *next_offset =>
        {
            *len += next_len;
            true
        }
        _ => false,
    }
}

/// A number that depends on what the entry says, to cut nodes by.
fn fingerprint(entry: &Entry) -> u64 {
    let mixed = match entry {
        Entry::Extent { chunk, offset, len } => first_word(chunk.as_bytes()) ^ u64::from(*offset) ^ len << 20,
        Entry::Copy { offset, len } => offset ^ len << 40,
    };
    // Multiplicative hashing (Knuth): the upper bits depend on all of the input.
    mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32
}

fn first_word(bytes: &[u8; 32]) -> u64 {
    bytes.first_chunk().map_or(0, |word| u64::from_le_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::super::tests::entry;
    use super::*;
    use crate::base::id::ChunkId;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn build(entries: &[Entry], base: Option<Base>) -> (NodeId, HashMap<NodeId, Vec<u8>>) {
        let mut nodes = HashMap::new();
        let mut store = |bytes: Vec<u8>| {
            let id = NodeId::from_bytes(*blake3::hash(&bytes).as_bytes());
            nodes.insert(id, bytes);
            Ok::<_, NodeError>(id)
        };
        let mut builder = TreeBuilder::new(base);
        for entry in entries {
            builder.push(*entry, &mut store).unwrap();
        }
        let root = builder.finish(&mut store).unwrap();
        (root, nodes)
    }

    fn flatten(id: NodeId, nodes: &HashMap<NodeId, Vec<u8>>, out: &mut Vec<Entry>) {
        match Node::decode(&nodes[&id]).unwrap().content {
            Content::Leaf(entries) => out.extend(entries),
            Content::Inner { children, .. } => {
                children.iter().for_each(|child| flatten(child.id, nodes, out))
            }
        }
    }

    fn joined(entries: &[Entry]) -> Vec<Entry> {
        let mut out: Vec<Entry> = Vec::new();
        for entry in entries {
            if !out.last_mut().is_some_and(|last| join(last, entry)) {
                out.push(*entry);
            }
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_tree_holds_what_was_pushed(entries in prop::collection::vec(entry(), 0..9000), based: bool) {
            let base = based.then_some(Base { root: NodeId::from_bytes([9; 32]), depth: 3, checkpoint: 1 });
            let (root, nodes) = build(&entries, base);
            let decoded = Node::decode(&nodes[&root]).unwrap();
            prop_assert_eq!(decoded.base, base);
            prop_assert_eq!(decoded.len, entries.iter().map(Entry::len).sum::<u64>());
            let mut out = Vec::new();
            flatten(root, &nodes, &mut out);
            prop_assert_eq!(joined(&out), joined(&entries));
        }
    }

    #[test]
    fn like_recipes_share_most_nodes() {
        let entries: Vec<Entry> = (0..100_000u32)
            .map(|n| Entry::Extent {
                chunk: ChunkId::from_bytes(*blake3::hash(&n.to_le_bytes()).as_bytes()),
                offset: 0,
                len: 1000,
            })
            .collect();
        let mut changed = entries.clone();
        changed.insert(50_000, Entry::Copy { offset: 5, len: 5 });
        let (_, old) = build(&entries, None);
        let (_, new) = build(&changed, None);
        let fresh = new.keys().filter(|id| !old.contains_key(*id)).count();
        assert!(old.len() > 50, "{}", old.len());
        assert!(fresh <= 6, "{fresh} of {}", new.len());
    }
}
