//! How many bytes of a stream's sections are new.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// Where the sections of a stream begin and end: offsets, ascending. Whoever reads the stream adds them as it passes,
/// each before the bytes behind it are handed on.
#[derive(Debug, Default)]
pub struct Edges(Mutex<Vec<u64>>);

impl Edges {
    /// Adds the next edge.
    pub fn push(&self, offset: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(offset);
    }

    pub(super) fn get(&self, number: usize) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(number).copied()
    }
}

/// Counts a stream's new bytes by section. Memory: 16 bytes a section that has any.
#[derive(Debug, Default)]
pub(super) struct Tally {
    edges: Option<Arc<Edges>>,
    /// Offset in the stream of what comes next.
    at: u64,
    /// Edges at or before it.
    passed: usize,
    /// Where the section under way began.
    start: u64,
    counts: Vec<(u64, u64)>,
}

impl Tally {
    pub(super) fn new(edges: Option<Arc<Edges>>) -> Self {
        Self { edges, ..Self::default() }
    }

    /// Where sections begin and end, if anybody tells.
    pub(super) fn edges(&self) -> Option<Arc<Edges>> {
        self.edges.clone()
    }

    /// The next `len` bytes are known.
    pub(super) fn same(&mut self, len: u64) {
        self.at += len;
    }

    /// The next `len` bytes are new.
    pub(super) fn new_bytes(&mut self, len: u64) {
        let Some(edges) = self.edges.as_ref() else { return };
        let end = self.at + len;
        while self.at < end {
            let mut section_end = end;
            while let Some(edge) = edges.get(self.passed) {
                if edge > self.at {
                    section_end = edge.min(end);
                    break;
                }
                self.start = edge;
                self.passed += 1;
            }
            let count = section_end - self.at;
            match self.counts.last_mut().filter(|(start, _)| *start == self.start) {
                Some((_, counted)) => *counted += count,
                None => self.counts.push((self.start, count)),
            }
            self.at = section_end;
        }
    }

    pub(super) fn finish(self) -> Option<NewBytes> {
        self.edges.map(|_| NewBytes { counts: self.counts })
    }
}

/// How many bytes of each section are new.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewBytes {
    /// Where a section begins, and its new bytes; ascending, without those that have none.
    counts: Vec<(u64, u64)>,
}

impl NewBytes {
    /// New bytes of the sections that begin in `range`.
    pub fn within(&self, range: Range<u64>) -> u64 {
        let from = self.counts.partition_point(|(start, _)| *start < range.start);
        let rest = self.counts.get(from..).unwrap_or_default();
        rest.iter().take_while(|(start, _)| *start < range.end).map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever the pieces and however late an edge becomes known, each byte counts for the section that it lies
        /// in.
        #[test]
        fn each_new_byte_counts_for_the_section_that_it_lies_in(
            sections in prop::collection::vec(0u64..40, 1..12),
            pieces in prop::collection::vec((any::<bool>(), 1u64..50), 1..40),
        ) {
            let mut ends: Vec<u64> = sections.iter().scan(0, |end, len| { *end += len; Some(*end) }).collect();
            ends.dedup();
            let edges = Arc::new(Edges::default());
            let mut tally = Tally::new(Some(Arc::clone(&edges)));
            let (mut told, mut at, mut right) = (0, 0, std::collections::BTreeMap::new());
            for (is_new, len) in pieces {
                while let Some(&edge) = ends.get(told).filter(|&&edge| edge <= at + len) {
                    edges.push(edge);
                    told += 1;
                }
                if is_new { tally.new_bytes(len) } else { tally.same(len) }
                for byte in at..at + len {
                    let start = ends.iter().rev().find(|&&edge| edge <= byte).copied().unwrap_or(0);
                    *right.entry(start).or_insert(0u64) += u64::from(is_new);
                }
                at += len;
            }
            let counted = tally.finish().unwrap_or_default();
            for (start, count) in right {
                prop_assert_eq!(counted.within(start..start + 1), count);
            }
        }
    }
}
