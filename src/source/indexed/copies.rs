//! Ranges of the parent's data that come before what is read next; neighbours become one.

use std::collections::VecDeque;
use std::ops::Range;

/// Ranges in order.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    ready: VecDeque<Range<u64>>,
    /// The last one, which may grow.
    pending: Option<Range<u64>>,
}

impl Copies {
    /// The next bytes are these of the parent.
    pub(crate) fn push(&mut self, bytes: Range<u64>) {
        if bytes.is_empty() {
            return;
        }
        match &mut self.pending {
            Some(pending) if pending.end == bytes.start => pending.end = bytes.end,
            pending => self.ready.extend(pending.replace(bytes)),
        }
    }

    /// What comes next is none of the parent's.
    pub(crate) fn settle(&mut self) {
        self.ready.extend(self.pending.take());
    }

    /// Whether there is a range to be taken before anything is read.
    pub(crate) fn are_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The next one.
    pub(crate) fn take(&mut self) -> Option<Range<u64>> {
        self.ready.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_become_one_range() {
        let mut copies = Copies::default();
        for range in [0..10, 10..10, 10..30, 40..50] {
            copies.push(range);
        }
        assert_eq!(copies.take(), Some(0..30));
        assert!(!copies.are_ready());
        copies.settle();
        assert_eq!((copies.take(), copies.take()), (Some(40..50), None));
    }
}
