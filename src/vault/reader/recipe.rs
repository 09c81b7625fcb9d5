//! Recipes resolved: from a root to the extents of real chunks, streaming.

use super::blocks::BlockReader;
use super::locate::Locator;
use super::nodes::{Loaded, Nodes, misfit};
use crate::base::id::{ChunkId, NodeId};
use crate::vault::RepoError;
use crate::vault::snapshot::recipe::{Base, Content, Entry, Node};
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// A byte range of a real chunk: what every recipe comes down to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The chunk.
    pub chunk: ChunkId,
    /// Where in the chunk.
    pub offset: u32,
    /// How many bytes.
    pub len: u32,
}

/// What a walk gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A range of a chunk.
    Extent(Extent),
    /// A range of the stream that the walk does not go below.
    Copy {
        /// Where in that stream.
        offset: u64,
        /// How many bytes.
        len: u64,
    },
}

/// The place that a walk has reached in one recipe of a chain. Copies of a base mostly go on where the last one ended:
/// the next entry is then found without a look at the tree.
struct Cursor {
    id: NodeId,
    root: Arc<Loaded>,
    leaf: Arc<Loaded>,
    /// Stream offset at which the leaf begins.
    leaf_start: u64,
    /// Entry of the leaf that was reached.
    at: usize,
}

impl Cursor {
    /// Whether the leaf holds the byte at `offset`.
    fn holds(&self, offset: u64) -> bool {
        offset >= self.leaf_start && offset - self.leaf_start < self.leaf.node.len
    }

    /// Moves to the entry of the leaf that holds `offset`, which the leaf does.
    fn settle(&mut self, offset: u64) {
        let starts = &self.leaf.starts;
        let within = offset - self.leaf_start;
        let begins = |at: usize| starts.get(at).is_some_and(|start| *start <= within);
        if !begins(self.at) {
            self.at = starts.partition_point(|start| *start <= within).saturating_sub(1);
            return;
        }
        // Rarely more than a step or two.
        for _ in 0..NEARBY {
            if !begins(self.at + 1) {
                return;
            }
            self.at += 1;
        }
        let later = starts.get(self.at..).unwrap_or_default();
        self.at += later.partition_point(|start| *start <= within).saturating_sub(1);
    }
}

/// Entries tried one by one before a binary search.
const NEARBY: usize = 8;

/// Walks recipes. Memory: a few blocks and nodes and a leaf for each recipe of the chain, whatever the stream's length.
///
/// A recipe that rests on others is walked with one cursor for each of them, so that a walk in stream order takes each
/// entry of the chain once, and never seeks.
pub struct RecipeWalker {
    nodes: Nodes,
    /// Of the recipe walked last and of what it rests on, in this order, as far as they were wanted.
    cursors: Vec<Option<Cursor>>,
}

impl RecipeWalker {
    /// A walker over the recipes that `blocks` and `locator` reach.
    pub fn new(blocks: Arc<BlockReader>, locator: Arc<Mutex<Locator>>) -> Self {
        Self { nodes: Nodes::new(blocks, locator), cursors: Vec::new() }
    }

    /// A walker over the same recipes, for a thread of its own.
    pub fn another(&self) -> Self {
        Self { nodes: self.nodes.another(), cursors: Vec::new() }
    }

    /// Length of the stream below `root` in bytes, and what its recipe rests on.
    ///
    /// # Errors
    /// When the root is lost or damaged.
    pub fn root(&mut self, root: &NodeId) -> Result<(u64, Option<Base>), RepoError> {
        let loaded = self.nodes.load(root)?;
        Ok((loaded.node.len, loaded.node.base))
    }

    /// A node by itself, for whoever walks trees in an order of its own.
    ///
    /// # Errors
    /// When it is lost or damaged.
    pub(in crate::vault) fn node(&mut self, id: &NodeId) -> Result<Node, RepoError> {
        Ok(self.nodes.load(id)?.node.clone())
    }

    /// The bytes of a node.
    ///
    /// # Errors
    /// When it is lost or damaged.
    pub(in crate::vault) fn node_bytes(&mut self, id: &NodeId) -> Result<Vec<u8>, RepoError> {
        self.nodes.node_bytes(id)
    }

    /// From now on, which nodes are wanted is noted, for [`RecipeWalker::take_visited`].
    pub(in crate::vault) fn note_visits(&mut self) {
        self.nodes.note_visits();
    }

    /// The nodes that were wanted since the last call, those that cannot be read too, in the order in which they first
    /// were.
    pub(in crate::vault) fn take_visited(&mut self) -> Vec<NodeId> {
        self.nodes.take_visited()
    }

    /// The recipe of depth `depth` that the one below `root` rests on, in so many steps.
    ///
    /// # Errors
    /// When a node is lost or damaged, or there is none of that depth.
    pub fn ancestor(&mut self, root: &NodeId, depth: u8) -> Result<NodeId, RepoError> {
        let mut at = *root;
        loop {
            let base = self.nodes.load(&at)?.node.base;
            match base {
                _ if base.map_or(0, |base| base.depth) == depth => return Ok(at),
                Some(base) if base.depth > depth => at = base.root,
                _ => return Err(misfit(&at, "no recipe of that depth lies below it")),
            }
        }
    }

    /// Gives the extents that make up `range` of the stream below `root`, in order.
    ///
    /// # Errors
    /// When a node is lost, damaged, or does not fit its parent; and those of `each`.
    pub fn walk(
        &mut self,
        root: &NodeId,
        range: Range<u64>,
        mut each: impl FnMut(Extent) -> Result<(), RepoError>,
    ) -> Result<(), RepoError> {
        self.walk_above(root, None, range, |step| match step {
            Step::Extent(extent) => each(extent),
            // Without a floor, a walk goes down to the chunks.
            Step::Copy { .. } => Ok(()),
        })
    }

    /// As [`RecipeWalker::walk`], but gives copies of the recipe of depth `floor` as they are.
    ///
    /// # Errors
    /// As [`RecipeWalker::walk`].
    pub fn walk_above(
        &mut self,
        root: &NodeId,
        floor: Option<u8>,
        range: Range<u64>,
        each: impl FnMut(Step) -> Result<(), RepoError>,
    ) -> Result<(), RepoError> {
        let present = self.cursors.first().and_then(Option::as_ref);
        if present.is_none_or(|cursor| cursor.id != *root) {
            let depth = self.nodes.load(root)?.node.base.map_or(0, |base| base.depth);
            self.cursors.clear();
            self.cursors.resize_with(usize::from(depth) + 1, || None);
        }
        Walk { nodes: &mut self.nodes, floor, each }.recipe(&mut self.cursors, root, None, range)
    }
}

/// A walk under way.
struct Walk<'a, E> {
    nodes: &'a mut Nodes,
    /// Copies of the recipe of this depth are not followed.
    floor: Option<u8>,
    each: E,
}

impl<E: FnMut(Step) -> Result<(), RepoError>> Walk<'_, E> {
    /// Walks a recipe of the chain. `promised` is what the recipe above says of its depth: depths fall with each step,
    /// so that no cycle goes on for ever.
    fn recipe(
        &mut self,
        cursors: &mut [Option<Cursor>],
        root: &NodeId,
        promised: Option<u8>,
        range: Range<u64>,
    ) -> Result<(), RepoError> {
        let Some((cursor, below)) = cursors.split_first_mut() else {
            return Err(misfit(root, "its depth is not the one that was promised"));
        };
        let cursor = match cursor {
            Some(cursor) => cursor,
            None => cursor.insert(self.enter(root, promised)?),
        };
        if range.start > range.end || range.end > cursor.root.node.len {
            return Err(misfit(&cursor.id, "a range beyond its stream"));
        }
        let base = cursor.root.node.base;
        let mut from = range.start;
        while from < range.end {
            if !cursor.holds(from) {
                self.descend(cursor, from)?;
            }
            cursor.settle(from);
            let Content::Leaf(entries) = &cursor.leaf.node.content else {
                return Err(misfit(&cursor.id, "it does not fit its parent"));
            };
            let rest = entries.get(cursor.at..).unwrap_or_default().iter();
            for (entry, start) in rest.zip(cursor.leaf.starts.get(cursor.at..).unwrap_or_default()) {
                let start = cursor.leaf_start + start;
                let end = start + entry.len();
                let (skip, upto) = (from - start, end.min(range.end));
                let len = upto - from;
                match *entry {
                    // Both fit: an extent lies within a chunk of at most 256 KiB.
                    Entry::Extent { chunk, offset, .. } => {
                        let extent = Extent { chunk, offset: offset + skip as u32, len: len as u32 };
                        (self.each)(Step::Extent(extent))?;
                    }
                    Entry::Copy { offset, .. } => {
                        let base = base.ok_or_else(|| misfit(&cursor.id, "a copy without a base"))?;
                        let offset = offset + skip;
                        let depth = base.depth - 1;
                        if self.floor == Some(depth) {
                            (self.each)(Step::Copy { offset, len })?;
                        } else {
                            self.recipe(below, &base.root, Some(depth), offset..offset + len)?;
                        }
                    }
                }
                from = upto;
                if from >= range.end {
                    break;
                }
                cursor.at += 1;
            }
        }
        Ok(())
    }

    fn enter(&mut self, root: &NodeId, promised: Option<u8>) -> Result<Cursor, RepoError> {
        let loaded = self.nodes.load(root)?;
        let below = loaded.node.base.map_or(0, |below| below.depth);
        if promised.is_some_and(|promised| below != promised) {
            return Err(misfit(root, "its depth is not the one that was promised"));
        }
        let leaf = Arc::clone(&loaded);
        // A root that is no leaf holds nothing as one.
        let leaf_start = if matches!(loaded.node.content, Content::Leaf(_)) { 0 } else { u64::MAX };
        Ok(Cursor { id: *root, root: loaded, leaf, leaf_start, at: 0 })
    }

    /// Loads the leaf that holds `offset`, which lies within the stream.
    fn descend(&mut self, cursor: &mut Cursor, offset: u64) -> Result<(), RepoError> {
        let mut node = Arc::clone(&cursor.root);
        let mut start = 0;
        while let Content::Inner { level, children } = &node.node.content {
            let within = offset - start;
            let at = node.starts.partition_point(|start| *start <= within).saturating_sub(1);
            let child = children.get(at).ok_or_else(|| misfit(&cursor.id, "a range beyond its stream"))?;
            let below = self.nodes.load_child(child, *level)?;
            start += node.starts.get(at).copied().unwrap_or_default();
            node = below;
        }
        (cursor.leaf, cursor.leaf_start, cursor.at) = (node, start, 0);
        Ok(())
    }
}
