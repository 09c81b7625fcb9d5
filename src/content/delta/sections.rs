//! Sections in which both streams have their order, such as the tables of a dump: what one of the parent's does not
//! have is new, and not to be looked for in those behind it.

use std::collections::VecDeque;

/// So few bytes may agree by accident where one stream has left a section and the other has not.
const ACCIDENT: u64 = 256;

/// Where the sections of both streams end, and whether the two are in sections that stand for each other.
#[derive(Debug, Default)]
pub(super) struct Sections {
    /// Offsets in the parent, ascending.
    parent_ends: Vec<u64>,
    /// Offsets in the new stream that it has not passed, ascending.
    ends: VecDeque<u64>,
    /// Since the streams last agreed, the new one has not left its section.
    is_within: bool,
}

impl Sections {
    pub(super) fn new(parent_ends: Vec<u64>) -> Self {
        Self { parent_ends, ..Self::default() }
    }

    /// A section of the new stream ends at `offset`, behind those told before.
    pub(super) fn end_at(&mut self, offset: u64) {
        if !self.parent_ends.is_empty() {
            self.ends.push_back(offset);
        }
    }

    fn drop_ends(&mut self, are_passed: impl Fn(u64) -> bool) -> bool {
        let passed = self.ends.iter().take_while(|end| are_passed(**end)).count();
        self.ends.drain(..passed);
        passed > 0
    }

    /// The streams agreed up to byte `at` of the new one.
    pub(super) fn agreed(&mut self, at: u64) {
        self.drop_ends(|end| end.saturating_add(ACCIDENT) < at);
        self.is_within = true;
    }

    /// Nobody knows where in the parent the new stream is.
    pub(super) fn lost(&mut self) {
        self.is_within = false;
    }

    /// With the new stream at byte `at` and the parent last at `offset`: where in the parent the section ends that both
    /// are in, if they are in one.
    pub(super) fn shared_end(&mut self, at: u64, offset: u64) -> Option<u64> {
        if self.drop_ends(|end| end <= at) {
            self.is_within = false;
        }
        let number = self.parent_ends.partition_point(|end| end.saturating_add(ACCIDENT) < offset);
        self.parent_ends.get(number).copied().filter(|_| self.is_within)
    }
}
