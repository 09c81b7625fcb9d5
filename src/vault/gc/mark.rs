//! Marking: what recipes reach is live.

use super::live::LiveSet;
use crate::base::event::Cancel;
use crate::base::id::{ChunkId, NodeId};
use crate::vault::RepoError;
use crate::vault::catalog::filter::chunk_key;
use crate::vault::reader::{Reacher, RecipeWalker, Visitor};
use hashbrown::HashSet;

/// Marks what it is shown.
struct Marks<'a> {
    live: &'a mut LiveSet,
    lost: u64,
    /// Keys of chunks and nodes that are claimed, and not there.
    asked: Option<&'a HashSet<u64>>,
    absent: u64,
}

impl Marks<'_> {
    fn is_asked(&self, id: &[u8; 32]) -> bool {
        self.asked.is_some_and(|keys| keys.contains(&chunk_key(id)))
    }
}

impl Visitor for Marks<'_> {
    fn node(&mut self, id: &NodeId) -> Result<(), RepoError> {
        self.live.mark(id.as_bytes());
        self.absent += u64::from(self.is_asked(id.as_bytes()));
        Ok(())
    }

    fn extent(&mut self, chunk: &ChunkId, _: u32, _: u64) -> Result<(), RepoError> {
        if !self.live.mark(chunk.as_bytes()) {
            self.lost += 1;
        } else {
            self.absent += u64::from(self.is_asked(chunk.as_bytes()));
        }
        Ok(())
    }
}

pub(super) struct Marker<'a>(Reacher<'a, Marks<'a>>);

impl<'a> Marker<'a> {
    pub(super) fn new(walker: RecipeWalker, live: &'a mut LiveSet, cancel: &'a Cancel) -> Self {
        Self(Reacher::new(walker, Marks { live, lost: 0, asked: None, absent: 0 }, cancel))
    }

    /// Counts also how often one of `keys` is wanted.
    pub(super) fn asking_for(mut self, keys: &'a HashSet<u64>) -> Self {
        self.0.visitor.asked = Some(keys);
        self
    }

    /// Chunks wanted that no pack holds.
    pub(super) fn lost(&self) -> u64 {
        self.0.visitor.lost
    }

    /// Chunks wanted that are among those asked for.
    pub(super) fn absent(&self) -> u64 {
        self.0.visitor.absent
    }

    /// Marks all that the recipes below `roots` resolve to, as far as they can be read.
    ///
    /// # Errors
    /// When the storage fails. What is wrong with recipes is the answer.
    pub(super) fn mark_what_can_be_read(&mut self, roots: &[NodeId]) -> Result<Vec<RepoError>, RepoError> {
        self.0.reach_what_can_be_read(roots)
    }

    /// Marks all that the recipes below `roots` resolve to, and the nodes that resolving them takes.
    ///
    /// # Errors
    /// When a node is lost or damaged: then too little was marked.
    pub(super) fn mark(&mut self, roots: &[NodeId]) -> Result<(), RepoError> {
        self.0.reach(roots)
    }
}
