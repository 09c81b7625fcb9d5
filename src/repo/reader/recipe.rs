//! Recipes resolved: from a root to the extents of real chunks, streaming.

use super::blocks::{BlockReader, Workspace};
use super::locate::Locator;
use crate::id::{ChunkId, NodeId};
use crate::repo::RepoError;
use crate::repo::format::index::BlockKind;
use crate::snapshot::recipe::{Base, Child, Content, Entry, Node};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// Decoded nodes kept: some 150 KiB each at most.
const NODES_KEPT: usize = 64;
/// Bytes of plain recipe blocks kept: enough for each recipe of a long chain to have the block that it is in.
const RECENT_BYTES_MAX: usize = 40 << 20;

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

type EachStep<'a> = dyn FnMut(Step) -> Result<(), RepoError> + 'a;

/// A node with the stream offset, within the node, at which each entry or child begins.
struct Loaded {
    node: Node,
    starts: Vec<u64>,
}

/// The place that a walk has reached in one recipe of a chain. Copies of a base mostly go on where the last one ended: the next
/// entry is then found without a look at the tree.
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
    fn base(&self) -> Option<Base> {
        self.root.node.base
    }

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

/// A plain recipe block, by pack and block number.
type RecentBlock = ((i64, u32), Arc<Vec<u8>>);

/// Walks recipes. Memory: a few blocks and nodes and a leaf for each recipe of the chain, whatever the stream's length.
///
/// A recipe that rests on others is walked with one cursor for each of them, so that a walk in stream order takes each entry
/// of the chain once, and never seeks.
pub struct RecipeWalker {
    blocks: Arc<BlockReader>,
    locator: Arc<Mutex<Locator>>,
    workspace: Workspace,
    nodes: VecDeque<(NodeId, Arc<Loaded>)>,
    recent: VecDeque<RecentBlock>,
    /// Of the recipe walked last and of what it rests on, in this order. A walk takes them out while it uses them.
    cursors: Vec<Option<Cursor>>,
    /// Copies of the recipe of this depth are not followed.
    floor: Option<u8>,
}

impl RecipeWalker {
    /// A walker over the recipes that `blocks` and `locator` reach.
    pub fn new(blocks: Arc<BlockReader>, locator: Arc<Mutex<Locator>>) -> Self {
        Self {
            blocks,
            locator,
            workspace: Workspace::default(),
            nodes: VecDeque::new(),
            recent: VecDeque::new(),
            cursors: Vec::new(),
            floor: None,
        }
    }

    /// Length of the stream below `root` in bytes, and what its recipe rests on.
    ///
    /// # Errors
    /// When the root is lost or damaged.
    pub fn root(&mut self, root: &NodeId) -> Result<(u64, Option<Base>), RepoError> {
        let loaded = self.load(root)?;
        Ok((loaded.node.len, loaded.node.base))
    }

    /// Gives the extents that make up `range` of the stream below `root`, in order.
    ///
    /// # Errors
    /// When a node is lost, damaged, or does not fit its parent; and those of `each`.
    pub fn walk(
        &mut self,
        root: &NodeId,
        range: Range<u64>,
        each: &mut dyn FnMut(Extent) -> Result<(), RepoError>,
    ) -> Result<(), RepoError> {
        self.walk_above(root, None, range, &mut |step| match step {
            Step::Extent(extent) => each(extent),
            // Without a floor, a walk goes down to the chunks.
            Step::Copy { .. } => Ok(()),
        })
    }

    /// The recipe of depth `depth` that the one below `root` rests on, in so many steps.
    ///
    /// # Errors
    /// When a node is lost or damaged, or there is none of that depth.
    pub fn ancestor(&mut self, root: &NodeId, depth: u8) -> Result<NodeId, RepoError> {
        let mut at = *root;
        loop {
            let base = self.load(&at)?.node.base;
            match base {
                _ if base.map_or(0, |base| base.depth) == depth => return Ok(at),
                Some(base) if base.depth > depth => at = base.root,
                _ => return Err(misfit(&at, "no recipe of that depth lies below it")),
            }
        }
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
        each: &mut EachStep<'_>,
    ) -> Result<(), RepoError> {
        let present = self.cursors.first().and_then(Option::as_ref);
        if present.is_none_or(|cursor| cursor.id != *root) {
            self.cursors.clear();
        }
        self.floor = floor;
        self.walk_recipe(0, root, None, range, each)
    }

    /// Walks a recipe of the chain. `promised` is what the recipe above says of its depth: depths fall with each step, so that no
    /// cycle goes on for ever.
    fn walk_recipe(
        &mut self,
        depth: usize,
        root: &NodeId,
        promised: Option<u8>,
        range: Range<u64>,
        each: &mut EachStep<'_>,
    ) -> Result<(), RepoError> {
        let kept = self.cursors.get_mut(depth).and_then(Option::take);
        let mut cursor = match kept {
            Some(cursor) => cursor,
            None => self.enter(root, promised)?,
        };
        let outcome = self.walk_from(&mut cursor, depth, range, each);
        if self.cursors.len() <= depth {
            self.cursors.resize_with(depth + 1, || None);
        }
        if let Some(place) = self.cursors.get_mut(depth) {
            *place = Some(cursor);
        }
        outcome
    }

    fn enter(&mut self, root: &NodeId, promised: Option<u8>) -> Result<Cursor, RepoError> {
        let loaded = self.load(root)?;
        let below = loaded.node.base.map_or(0, |below| below.depth);
        if promised.is_some_and(|promised| below != promised) {
            return Err(misfit(root, "its depth is not the one that was promised"));
        }
        let leaf = Arc::clone(&loaded);
        // A root that is no leaf holds nothing as one.
        let leaf_start = if matches!(loaded.node.content, Content::Leaf(_)) { 0 } else { u64::MAX };
        Ok(Cursor { id: *root, root: loaded, leaf, leaf_start, at: 0 })
    }

    fn walk_from(
        &mut self,
        cursor: &mut Cursor,
        depth: usize,
        range: Range<u64>,
        each: &mut EachStep<'_>,
    ) -> Result<(), RepoError> {
        if range.start > range.end || range.end > cursor.root.node.len {
            return Err(misfit(&cursor.id, "a range beyond its stream"));
        }
        let base = cursor.base();
        let mut from = range.start;
        while from < range.end {
            if !cursor.holds(from) {
                self.descend(cursor, from)?;
            }
            cursor.settle(from);
            let Content::Leaf(entries) = &cursor.leaf.node.content else {
                return Err(misfit(&cursor.id, "it does not fit its parent"));
            };
            let rest = entries.iter().zip(&cursor.leaf.starts).skip(cursor.at);
            for (entry, start) in rest {
                let start = cursor.leaf_start + start;
                let end = start + entry.len();
                let (skip, upto) = (from - start, end.min(range.end));
                let len = upto - from;
                match *entry {
                    // Both fit: an extent lies within a chunk of at most 256 KiB.
                    Entry::Extent { chunk, offset, .. } => {
                        each(Step::Extent(Extent { chunk, offset: offset + skip as u32, len: len as u32 }))?;
                    }
                    Entry::Copy { offset, .. } => {
                        let base = base.ok_or_else(|| misfit(&cursor.id, "a copy without a base"))?;
                        let offset = offset + skip;
                        if self.floor == Some(base.depth - 1) {
                            each(Step::Copy { offset, len })?;
                        } else {
                            let promised = Some(base.depth - 1);
                            self.walk_recipe(depth + 1, &base.root, promised, offset..offset + len, each)?;
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

    /// Loads the leaf that holds `offset`, which lies within the stream.
    fn descend(&mut self, cursor: &mut Cursor, offset: u64) -> Result<(), RepoError> {
        let mut node = Arc::clone(&cursor.root);
        let mut start = 0;
        while let Content::Inner { level, children } = &node.node.content {
            let within = offset - start;
            let at = node.starts.partition_point(|start| *start <= within).saturating_sub(1);
            let child = children.get(at).ok_or_else(|| misfit(&cursor.id, "a range beyond its stream"))?;
            let below = self.load_child(child, *level)?;
            start += node.starts.get(at).copied().unwrap_or_default();
            node = below;
        }
        (cursor.leaf, cursor.leaf_start, cursor.at) = (node, start, 0);
        Ok(())
    }

    /// A node by itself, for whoever walks trees in an order of its own.
    ///
    /// # Errors
    /// When it is lost or damaged.
    pub(in crate::repo) fn node(&mut self, id: &NodeId) -> Result<Node, RepoError> {
        Ok(self.load(id)?.node.clone())
    }

    fn load_child(&mut self, child: &Child, level: u8) -> Result<Arc<Loaded>, RepoError> {
        let below = self.load(&child.id)?;
        let actual = match &below.node.content {
            Content::Leaf(_) => 0,
            Content::Inner { level, .. } => *level,
        };
        if below.node.len != child.len || actual + 1 != level || below.node.base.is_some() {
            return Err(misfit(&child.id, "it does not fit its parent"));
        }
        Ok(below)
    }

    fn load(&mut self, id: &NodeId) -> Result<Arc<Loaded>, RepoError> {
        if let Some(at) = self.nodes.iter().position(|(other, _)| other == id)
            && let Some(found) = self.nodes.remove(at)
        {
            let loaded = Arc::clone(&found.1);
            self.nodes.push_front(found);
            return Ok(loaded);
        }
        let node = Node::decode(&self.node_bytes(id)?).map_err(|error| misfit(id, error.what))?;
        let lens: Vec<u64> = match &node.content {
            Content::Leaf(entries) => entries.iter().map(Entry::len).collect(),
            Content::Inner { children, .. } => children.iter().map(|child| child.len).collect(),
        };
        let starts = lens
            .iter()
            .scan(0, |next, len| {
                *next += len;
                Some(*next - len)
            })
            .collect();
        let loaded = Arc::new(Loaded { node, starts });
        self.nodes.push_front((*id, Arc::clone(&loaded)));
        self.nodes.truncate(NODES_KEPT);
        Ok(loaded)
    }

    /// The node's bytes, from any place that still holds them.
    fn node_bytes(&mut self, id: &NodeId) -> Result<Vec<u8>, RepoError> {
        let locations = {
            let mut locator = self.locator.lock().unwrap_or_else(PoisonError::into_inner);
            locator.all(id.as_bytes(), BlockKind::Recipe)?
        };
        let mut first_error = None;
        for location in locations {
            match self.recipe_block(&location.pack, location.block) {
                Ok(plain) => {
                    let start = location.offset as usize;
                    let bytes = plain.get(start..start + location.len as usize);
                    return bytes.map(<[u8]>::to_vec).ok_or_else(|| misfit(id, "it lies outside its block"));
                }
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
        let lost = RepoError::ChunkLost {
            what: "recipe node",
            id: id.to_string(),
            hint: "its pack or index object is gone".to_owned(),
        };
        Err(first_error.unwrap_or(lost))
    }

    fn recipe_block(
        &mut self,
        pack: &crate::repo::catalog::PackRow,
        number: u32,
    ) -> Result<Arc<Vec<u8>>, RepoError> {
        let key = (pack.number, number);
        if let Some(place) = self.recent.iter().position(|(other, _)| *other == key)
            && let Some(block) = self.recent.remove(place)
        {
            let plain = Arc::clone(&block.1);
            self.recent.push_front(block);
            return Ok(plain);
        }
        let mut opened = None;
        self.blocks
            .open_run(pack, number..number + 1, &mut self.workspace, &mut |_, plain| opened = Some(plain))?;
        let plain = Arc::new(opened.unwrap_or_default());
        self.recent.push_front((key, Arc::clone(&plain)));
        let mut bytes: usize = self.recent.iter().map(|(_, plain)| plain.len()).sum();
        while bytes > RECENT_BYTES_MAX
            && self.recent.len() > 1
            && let Some((_, oldest)) = self.recent.pop_back()
        {
            bytes -= oldest.len();
        }
        Ok(plain)
    }
}

fn misfit(id: &NodeId, what: &str) -> RepoError {
    RepoError::Inconsistent { object: format!("recipe node {}", id.short()), what: what.to_owned() }
}
