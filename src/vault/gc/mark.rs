//! Marking: from roots of recipes down to chunks.
//!
//! A recipe may rest on another and copy ranges of it. Recipes are taken in the order of falling depth, and each hands down the
//! ranges that it copies: a base keeps alive what is needed of it, and no more. A node is gone through once for each base that its
//! copies may mean, so that hundreds of snapshots that share most of their recipes cost little more than one.

use super::live::LiveSet;
use crate::base::event::Cancel;
use crate::base::id::NodeId;
use crate::vault::RepoError;
use crate::vault::catalog::filter::chunk_key;
use crate::vault::reader::RecipeWalker;
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

pub(super) struct Marker<'a> {
    walker: RecipeWalker,
    live: &'a mut LiveSet,
    cancel: &'a Cancel,
    /// Nodes whose whole stretch was marked, with the number of the base that their copies mean.
    done: HashSet<(NodeId, u32)>,
    base_numbers: HashMap<NodeId, u32>,
    /// What is needed of recipes that are still to come.
    needs: HashMap<NodeId, Ranges>,
    by_depth: Vec<Vec<NodeId>>,
    /// Ranges that the recipe under way copies of its base.
    handed: Ranges,
    /// Chunks wanted that no pack holds.
    pub lost: u64,
    /// Keys of chunks that are claimed, and not there.
    asked: Option<&'a hashbrown::HashSet<u64>>,
    /// Those of them that were wanted.
    pub absent: u64,
    /// What cannot be read is gone round, and kept here.
    broken: Option<Vec<RepoError>>,
}

impl<'a> Marker<'a> {
    pub fn new(walker: RecipeWalker, live: &'a mut LiveSet, cancel: &'a Cancel) -> Self {
        Self {
            walker,
            live,
            cancel,
            done: HashSet::new(),
            base_numbers: HashMap::new(),
            needs: HashMap::new(),
            by_depth: vec![Vec::new(); usize::from(DEPTH_MAX) + 1],
            handed: Ranges::default(),
            lost: 0,
            asked: None,
            absent: 0,
            broken: None,
        }
    }

    /// Counts also how often one of `keys` is wanted.
    pub fn asking_for(mut self, keys: &'a hashbrown::HashSet<u64>) -> Self {
        self.asked = Some(keys);
        self
    }

    /// Marks all that the recipes below `roots` resolve to, as far as they can be read: what lies behind a node that is lost is
    /// marked where another way leads to it, and all beside it is.
    ///
    /// # Errors
    /// When the storage fails. What is wrong with recipes is the answer.
    pub fn mark_what_can_be_read(&mut self, roots: &[NodeId]) -> Result<Vec<RepoError>, RepoError> {
        self.broken = Some(Vec::new());
        let outcome = self.mark(roots);
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

    /// Marks all that the recipes below `roots` resolve to, and the nodes that resolving them takes.
    ///
    /// # Errors
    /// When a node is lost or damaged: then too little was marked.
    pub fn mark(&mut self, roots: &[NodeId]) -> Result<(), RepoError> {
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
                let marked = self.mark_recipe(&root, &needed.ranges);
                self.pass_over(marked)?;
            }
        }
        Ok(())
    }

    fn mark_recipe(&mut self, root: &NodeId, ranges: &[(u64, u64)]) -> Result<(), RepoError> {
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

    fn want(&mut self, chunk: &[u8; 32]) {
        if !self.live.mark(chunk) {
            self.lost += 1;
        } else if self.asked.is_some_and(|keys| keys.contains(&chunk_key(chunk))) {
            self.absent += 1;
        }
    }

    fn node(&mut self, id: &NodeId) -> Result<Node, RepoError> {
        if self.cancel.is_cancelled() {
            return Err(RepoError::Cancelled);
        }
        self.live.mark(id.as_bytes());
        self.walker.node(id)
    }

    /// Marks what lies in `ranges` below a node that begins at `start` of its stream.
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
                        Entry::Extent { chunk, .. } => {
                            if ranges.first().is_some_and(|(first, _)| *first < end) {
                                self.want(chunk.as_bytes());
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
