//! Reaching: from roots of recipes down to chunks, each once however often the streams repeat it.
//!
//! A recipe of a few KiB may stand for an exbibyte. Whoever only wants to know what it is made of must not go through
//! it byte by byte.
//!
//! A recipe may rest on another and copy ranges of it. Recipes are taken in the order of falling depth, and each hands
//! down the ranges that it copies: a base keeps alive what is needed of it, and no more. A node is gone through once
//! for each base that its copies may mean, so that hundreds of snapshots that share most of their recipes cost little
//! more than one.

use super::recipe::RecipeWalker;
use crate::base::event::Cancel;
use crate::base::id::{ChunkId, NodeId};
use crate::vault::RepoError;
use crate::vault::snapshot::recipe::{Base, Child, Content, DEPTH_MAX, Entry, Node};
use std::collections::{HashMap, HashSet};

/// Sorted ranges of a stream that do not touch.
#[derive(Default)]
struct Ranges {
    ranges: Vec<(u64, u64)>,
    /// How many were there when they were sorted last.
    tidied: usize,
}

impl Ranges {
    fn add(&mut self, start: u64, end: u64) {
        match self.ranges.last_mut() {
            Some(last) if last.1 == start => last.1 = end,
            _ => self.ranges.push((start, end)),
        }
        if self.ranges.len() > 4096 && self.ranges.len() > self.tidied * 2 {
            self.tidy();
        }
    }

    fn tidy(&mut self) {
        self.ranges.sort_unstable();
        let mut tidy: Vec<(u64, u64)> = Vec::with_capacity(self.ranges.len());
        for (start, end) in self.ranges.drain(..) {
            match tidy.last_mut() {
                Some(last) if start <= last.1 => last.1 = last.1.max(end),
                _ => tidy.push((start, end)),
            }
        }
        self.tidied = tidy.len();
        self.ranges = tidy;
    }
}

/// What is done with what is reached.
pub(in crate::vault) trait Visitor {
    /// A node that resolving takes, before it is read. May come more than once.
    fn node(&mut self, id: &NodeId) -> Result<(), RepoError>;

    /// A chunk of which the bytes from `offset` on, `len` of them, are wanted.
    fn extent(&mut self, chunk: &ChunkId, offset: u32, len: u64) -> Result<(), RepoError>;
}

/// Goes down recipes and shows all that they are made of to a visitor.
pub(in crate::vault) struct Reacher<'a, V> {
    walker: RecipeWalker,
    pub visitor: V,
    cancel: &'a Cancel,
    /// Nodes whose whole stretch was shown, with the number of the base that their copies mean.
    done: HashSet<(NodeId, u32)>,
    base_numbers: HashMap<NodeId, u32>,
    /// What is needed of recipes that are still to come.
    needs: HashMap<NodeId, Ranges>,
    by_depth: Vec<Vec<NodeId>>,
    /// Ranges that the recipe under way copies of its base.
    handed: Ranges,
    /// What cannot be read is gone round, and kept here.
    broken: Option<Vec<RepoError>>,
}

impl<'a, V: Visitor> Reacher<'a, V> {
    pub(crate) fn new(walker: RecipeWalker, visitor: V, cancel: &'a Cancel) -> Self {
        Self {
            walker,
            visitor,
            cancel,
            done: HashSet::new(),
            base_numbers: HashMap::new(),
            needs: HashMap::new(),
            by_depth: vec![Vec::new(); usize::from(DEPTH_MAX) + 1],
            handed: Ranges::default(),
            broken: None,
        }
    }

    /// Forgets what was reached: it is shown again.
    pub(crate) fn begin_anew(&mut self) {
        self.done.clear();
    }

    /// As [`Reacher::reach`], as far as recipes can be read: what lies behind a node that is lost is shown where
    /// another way leads to it, and all beside it is.
    ///
    /// # Errors
    /// When the storage fails. What is wrong with recipes is the answer.
    pub(crate) fn reach_what_can_be_read(&mut self, roots: &[NodeId]) -> Result<Vec<RepoError>, RepoError> {
        self.broken = Some(Vec::new());
        let outcome = self.reach(roots);
        let broken = self.broken.take().unwrap_or_default();
        outcome.map(|()| broken)
    }

    /// Whether to go on behind what is wrong with a recipe.
    fn pass_over<T>(&mut self, outcome: Result<T, RepoError>) -> Result<Option<T>, RepoError> {
        match (outcome, &mut self.broken) {
            (Err(error), Some(broken)) if error.is_integrity() => {
                broken.push(error);
                Ok(None)
            }
            (outcome, _) => outcome.map(Some),
        }
    }

    /// Shows all that the recipes below `roots` resolve to, and the nodes that resolving them takes.
    ///
    /// # Errors
    /// When a node is lost or damaged, or the visitor fails: then too little was shown.
    pub(crate) fn reach(&mut self, roots: &[NodeId]) -> Result<(), RepoError> {
        self.needs.clear();
        self.by_depth.iter_mut().for_each(Vec::clear);
        for root in roots {
            let node = self.node(root);
            let Some(node) = self.pass_over(node)? else { continue };
            self.need(root, &node, None)?.add(0, node.len);
        }
        for depth in (0..self.by_depth.len()).rev() {
            let due = self.by_depth.get_mut(depth).map(std::mem::take).unwrap_or_default();
            for root in due {
                let mut needed = self.needs.remove(&root).unwrap_or_default();
                needed.tidy();
                let reached = self.reach_recipe(&root, &needed.ranges);
                self.pass_over(reached)?;
            }
        }
        Ok(())
    }

    fn reach_recipe(&mut self, root: &NodeId, ranges: &[(u64, u64)]) -> Result<(), RepoError> {
        let node = self.node(root)?;
        if ranges.last().is_some_and(|(_, end)| *end > node.len) {
            return Err(misfit(root, "a copy reaches behind its stream's end"));
        }
        let base_number = node.base.map_or(0, |base| {
            let next = self.base_numbers.len() as u32 + 1;
            *self.base_numbers.entry(base.root).or_insert(next)
        });
        self.handed = Ranges::default();
        self.walk(&node, 0, base_number, ranges)?;
        if let Some(base) = node.base {
            let handed = std::mem::take(&mut self.handed);
            let below = self.node(&base.root)?;
            // Its root at least stays in any case: a reader asks it how deep the recipe is.
            let needs = self.need(&base.root, &below, Some(base))?;
            handed.ranges.iter().for_each(|(start, end)| needs.add(*start, *end));
        } else if !self.handed.ranges.is_empty() {
            return Err(misfit(root, "a copy without a base"));
        }
        Ok(())
    }

    /// The place where it is gathered what is needed of a recipe.
    fn need(&mut self, root: &NodeId, node: &Node, of: Option<Base>) -> Result<&mut Ranges, RepoError> {
        let depth = node.base.map_or(0, |base| base.depth);
        // Depths fall with each step, so that no cycle goes on for ever.
        if of.is_some_and(|base| base.depth - 1 != depth) {
            return Err(misfit(root, "its depth is not the one that was promised"));
        }
        let by_depth = &mut self.by_depth;
        Ok(self.needs.entry(*root).or_insert_with(|| {
            if let Some(due) = by_depth.get_mut(usize::from(depth)) {
                due.push(*root);
            }
            Ranges::default()
        }))
    }

    /// A child of an inner node of `level`.
    fn child(&mut self, child: &Child, level: u8) -> Result<Node, RepoError> {
        let below = self.node(&child.id)?;
        let below_level = match &below.content {
            Content::Leaf(_) => 0,
            Content::Inner { level, .. } => *level,
        };
        if below.len != child.len || below_level + 1 != level || below.base.is_some() {
            return Err(misfit(&child.id, "it does not fit its parent"));
        }
        Ok(below)
    }

    fn node(&mut self, id: &NodeId) -> Result<Node, RepoError> {
        if self.cancel.is_cancelled() {
            return Err(RepoError::Cancelled);
        }
        self.visitor.node(id)?;
        self.walker.node(id)
    }

    /// Shows what lies in `ranges` below a node that begins at `start` of its stream.
    fn walk(
        &mut self,
        node: &Node,
        start: u64,
        base_number: u32,
        ranges: &[(u64, u64)],
    ) -> Result<(), RepoError> {
        let mut ranges = ranges;
        let mut at = start;
        match &node.content {
            Content::Leaf(entries) => {
                for entry in entries {
                    let end = at + entry.len();
                    ranges = skip(ranges, at);
                    match entry {
                        Entry::Extent { chunk, offset, len } => {
                            if ranges.first().is_some_and(|(first, _)| *first < end) {
                                self.visitor.extent(chunk, *offset, *len)?;
                            }
                        }
                        Entry::Copy { offset, .. } => {
                            for (from, to) in ranges.iter().take_while(|(from, _)| *from < end) {
                                let (from, to) = ((*from).max(at), (*to).min(end));
                                self.handed.add(offset + (from - at), offset + (to - at));
                            }
                        }
                    }
                    at = end;
                }
            }
            Content::Inner { level, children } => {
                for child in children {
                    let end = at + child.len;
                    ranges = skip(ranges, at);
                    let Some((from, to)) = ranges.first().copied().filter(|(from, _)| *from < end) else {
                        at = end;
                        continue;
                    };
                    let whole = from <= at && end <= to;
                    // Gone through before: what it copies was handed to the same base.
                    if !whole || self.done.insert((child.id, base_number)) {
                        let below = self.child(child, *level);
                        if let Some(below) = self.pass_over(below)? {
                            self.walk(&below, at, base_number, ranges)?;
                        }
                    }
                    at = end;
                }
            }
        }
        Ok(())
    }
}

/// The ranges that end behind `at`.
fn skip(ranges: &[(u64, u64)], at: u64) -> &[(u64, u64)] {
    let passed = ranges.iter().take_while(|(_, end)| *end <= at).count();
    ranges.get(passed..).unwrap_or_default()
}

fn misfit(id: &NodeId, what: &str) -> RepoError {
    RepoError::Inconsistent { object: format!("recipe node {}", id.short()), what: what.to_owned() }
}
