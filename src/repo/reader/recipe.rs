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
/// Plain recipe blocks kept, 1 MiB each.
const BLOCKS_KEPT: usize = 8;

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

/// A node with the stream offset, within the node, at which each entry or child begins.
struct Loaded {
    node: Node,
    starts: Vec<u64>,
}

/// A plain recipe block, by pack and block number.
type RecentBlock = ((i64, u32), Arc<Vec<u8>>);

/// Walks recipes. Memory: a few blocks and nodes, whatever the stream's length.
pub struct RecipeWalker {
    blocks: Arc<BlockReader>,
    locator: Arc<Mutex<Locator>>,
    workspace: Workspace,
    nodes: VecDeque<(NodeId, Arc<Loaded>)>,
    recent: VecDeque<RecentBlock>,
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
        let loaded = self.load(root)?;
        let base = loaded.node.base;
        self.walk_node(root, &loaded, base, range, each)
    }

    fn walk_node(
        &mut self,
        id: &NodeId,
        loaded: &Loaded,
        base: Option<Base>,
        range: Range<u64>,
        each: &mut dyn FnMut(Extent) -> Result<(), RepoError>,
    ) -> Result<(), RepoError> {
        if range.start > range.end || range.end > loaded.node.len {
            return Err(misfit(id, "a range beyond its stream"));
        }
        let first = loaded.starts.partition_point(|start| *start <= range.start).saturating_sub(1);
        let starts = loaded.starts.iter().skip(first);
        match &loaded.node.content {
            Content::Leaf(entries) => {
                for (entry, start) in entries.iter().skip(first).zip(starts) {
                    let Some((skip, len)) = overlap(*start, entry.len(), &range) else { break };
                    match *entry {
                        Entry::Extent { chunk, offset, .. } => {
                            // Both fit: an extent lies within a chunk of at most 256 KiB.
                            each(Extent { chunk, offset: offset + skip as u32, len: len as u32 })?;
                        }
                        Entry::Copy { offset, .. } => {
                            let base = base.ok_or_else(|| misfit(id, "a copy without a base"))?;
                            self.walk_base(base, offset + skip..offset + skip + len, each)?;
                        }
                    }
                }
            }
            Content::Inner { level, children } => {
                for (child, start) in children.iter().skip(first).zip(starts) {
                    let Some((skip, len)) = overlap(*start, child.len, &range) else { break };
                    let below = self.load_child(child, *level)?;
                    self.walk_node(&child.id, &below, base, skip..skip + len, each)?;
                }
            }
        }
        Ok(())
    }

    /// Goes on in the recipe that this one rests on. Depths fall with each step, so that no cycle goes on for ever.
    fn walk_base(
        &mut self,
        base: Base,
        range: Range<u64>,
        each: &mut dyn FnMut(Extent) -> Result<(), RepoError>,
    ) -> Result<(), RepoError> {
        let loaded = self.load(&base.root)?;
        let below = loaded.node.base;
        if below.map_or(0, |below| below.depth) != base.depth - 1 {
            return Err(misfit(&base.root, "its depth is not the one that was promised"));
        }
        self.walk_node(&base.root, &loaded, below, range, each)
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
        if let Some((_, plain)) = self.recent.iter().find(|(other, _)| *other == key) {
            return Ok(Arc::clone(plain));
        }
        let mut opened = None;
        self.blocks
            .open_run(pack, number..number + 1, &mut self.workspace, &mut |_, plain| opened = Some(plain))?;
        let plain = Arc::new(opened.unwrap_or_default());
        self.recent.push_front((key, Arc::clone(&plain)));
        self.recent.truncate(BLOCKS_KEPT);
        Ok(plain)
    }
}

/// How much of the piece `start..start + len` is skipped before `range`, and how much of it lies within; `None` behind it.
fn overlap(start: u64, len: u64, range: &Range<u64>) -> Option<(u64, u64)> {
    let from = range.start.max(start);
    let to = range.end.min(start + len);
    (from < to).then(|| (from - start, to - from))
}

fn misfit(id: &NodeId, what: &str) -> RepoError {
    RepoError::Inconsistent { object: format!("recipe node {}", id.short()), what: what.to_owned() }
}
