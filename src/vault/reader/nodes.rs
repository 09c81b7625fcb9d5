//! Recipe nodes loaded, decoded and kept for a while.

use super::blocks::{BlockReader, Workspace};
use super::locate::Locator;
use crate::base::id::{NodeId, PackId};
use crate::vault::RepoError;
use crate::vault::catalog::{Location, PackRow};
use crate::vault::format::index::BlockKind;
use crate::vault::snapshot::recipe::{Child, Content, Entry, Node};
use std::collections::{HashSet, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Decoded nodes kept: some 150 KiB each at most.
const NODES_KEPT: usize = 64;
/// Bytes of plain recipe blocks kept: enough for each recipe of a chain to have the block that it is in.
const RECENT_BYTES_MAX: usize = 24 << 20;

/// A node with the stream offset, within the node, at which each entry or child begins.
pub(super) struct Loaded {
    pub node: Node,
    pub starts: Vec<u64>,
}

/// A plain recipe block, by pack and its number in it.
type RecentBlock = ((PackId, u32), Arc<Vec<u8>>);

/// A node's bytes: a plain block and where in it they are.
type Place = (Arc<Vec<u8>>, Range<usize>);

/// Loads nodes. Memory: a few blocks and nodes, whatever the stream's length.
pub(super) struct Nodes {
    blocks: Arc<BlockReader>,
    locator: Arc<Mutex<Locator>>,
    workspace: Workspace,
    kept: VecDeque<(NodeId, Arc<Loaded>)>,
    recent: VecDeque<RecentBlock>,
    /// Ids of the nodes that were wanted, where somebody wants to know: in the order in which they first were, and as a
    /// set.
    visited: Option<(Vec<NodeId>, HashSet<NodeId>)>,
}

impl Nodes {
    pub(super) fn new(blocks: Arc<BlockReader>, locator: Arc<Mutex<Locator>>) -> Self {
        Self {
            blocks,
            locator,
            workspace: Workspace::default(),
            kept: VecDeque::new(),
            recent: VecDeque::new(),
            visited: None,
        }
    }

    /// From now on, which nodes are wanted is noted.
    pub(super) fn note_visits(&mut self) {
        self.visited.get_or_insert_default();
    }

    /// The nodes that were wanted since the last call, in the order in which they first were.
    pub(super) fn take_visited(&mut self) -> Vec<NodeId> {
        self.visited.as_mut().map(std::mem::take).unwrap_or_default().0
    }

    /// The same nodes, for a thread of its own.
    pub(super) fn another(&self) -> Self {
        Self::new(Arc::clone(&self.blocks), Arc::clone(&self.locator))
    }

    /// Loads a child of an inner node of `level`, and sees that it is the one that the node means.
    ///
    /// # Errors
    /// When it is lost or damaged, or does not fit.
    pub(super) fn load_child(&mut self, child: &Child, level: u8) -> Result<Arc<Loaded>, RepoError> {
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

    /// Loads a node.
    ///
    /// # Errors
    /// When it is lost or damaged.
    pub(super) fn load(&mut self, id: &NodeId) -> Result<Arc<Loaded>, RepoError> {
        if let Some(at) = self.kept.iter().position(|(other, _)| other == id)
            && let Some(found) = self.kept.remove(at)
        {
            let loaded = Arc::clone(&found.1);
            self.kept.push_front(found);
            return Ok(loaded);
        }
        // Before it is read: one that cannot be is wanted all the same.
        if let Some((order, set)) = &mut self.visited
            && set.insert(*id)
        {
            order.push(*id);
        }
        let (block, place) = self.place(id)?;
        let node =
            Node::decode(block.get(place).unwrap_or_default()).map_err(|error| misfit(id, error.what))?;
        let starts = match &node.content {
            Content::Leaf(entries) => starts(entries.iter().map(Entry::len)),
            Content::Inner { children, .. } => starts(children.iter().map(|child| child.len)),
        };
        let loaded = Arc::new(Loaded { node, starts });
        self.kept.push_front((*id, Arc::clone(&loaded)));
        self.kept.truncate(NODES_KEPT);
        Ok(loaded)
    }

    /// The node's bytes, from any place that still holds them.
    ///
    /// # Errors
    /// When it is lost or damaged.
    pub(super) fn node_bytes(&mut self, id: &NodeId) -> Result<Vec<u8>, RepoError> {
        let (block, place) = self.place(id)?;
        Ok(block.get(place).unwrap_or_default().to_vec())
    }

    /// Where the node is, in any pack that still has it.
    fn place(&mut self, id: &NodeId) -> Result<Place, RepoError> {
        let best = self.locator().best(id.as_bytes(), BlockKind::Recipe)?;
        let Some(best) = best else { return Err(lost(id)) };
        match self.recipe_block(&best.pack, best.block) {
            Ok(plain) => place_in(id, plain, &best),
            Err(error) => {
                for round in 0..2 {
                    let locations = match round {
                        0 => self.locator().all(id.as_bytes(), BlockKind::Recipe)?,
                        _ => self.locator().by_own_tables(id.as_bytes(), BlockKind::Recipe)?,
                    };
                    let others = locations.iter().filter(|other| other.pack.id != best.pack.id);
                    let mut opened = others.map(|other| (self.recipe_block(&other.pack, other.block), other));
                    if let Some((plain, other)) = opened.find_map(|(plain, other)| Some((plain.ok()?, other)))
                    {
                        return place_in(id, plain, other);
                    }
                }
                Err(error)
            }
        }
    }

    fn locator(&self) -> MutexGuard<'_, Locator> {
        self.locator.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recipe_block(&mut self, pack: &PackRow, number: u32) -> Result<Arc<Vec<u8>>, RepoError> {
        let key = (pack.id, number);
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

fn place_in(id: &NodeId, plain: Arc<Vec<u8>>, location: &Location) -> Result<Place, RepoError> {
    let start = location.offset as usize;
    let place = start..start + location.len as usize;
    if place.end > plain.len() {
        return Err(misfit(id, "it lies outside its block"));
    }
    Ok((plain, place))
}

fn lost(id: &NodeId) -> RepoError {
    RepoError::ChunkLost {
        what: "recipe node",
        id: id.to_string(),
        hint: "its pack or index object is gone".to_owned(),
    }
}

/// Where each of parts of these lengths begins that lie side by side.
fn starts(lens: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut next = 0;
    lens.map(|len| {
        next += len;
        next - len
    })
    .collect()
}

/// An error that names the node.
#[cold]
pub(super) fn misfit(id: &NodeId, what: &str) -> RepoError {
    RepoError::Inconsistent { object: format!("recipe node {}", id.short()), what: what.to_owned() }
}
