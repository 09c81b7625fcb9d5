//! Memory of closed blocks, for those that are opened next: fresh memory costs a page fault every 4 KiB.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Bytes of buffers that are kept.
const KEPT_BYTES: usize = 32 << 20;

/// Buffers that nobody uses at present; those given back first are let go first.
#[derive(Default)]
pub(super) struct Buffers {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    buffers: VecDeque<Vec<u8>>,
    /// The sum of their capacities.
    bytes: usize,
}

impl Buffers {
    /// A buffer for `bytes` bytes, of less than twice the size.
    pub(super) fn take(&self, bytes: usize) -> Vec<u8> {
        // What was never written to takes no memory: rounded up, a buffer does for blocks of like sizes.
        let capacity = bytes.next_power_of_two();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = kept.buffers.iter().rposition(|buffer| buffer.capacity() == capacity);
        match fits.and_then(|at| kept.buffers.remove(at)) {
            Some(buffer) => {
                kept.bytes -= buffer.capacity();
                buffer
            }
            None => Vec::with_capacity(capacity),
        }
    }

    /// Gives a buffer back.
    pub(super) fn give(&self, buffer: Vec<u8>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.bytes += buffer.capacity();
        kept.buffers.push_back(buffer);
        while kept.bytes > KEPT_BYTES
            && let Some(oldest) = kept.buffers.pop_front()
        {
            kept.bytes -= oldest.capacity();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_for_what_is_nearly_as_large() {
        let buffers = Buffers::default();
        let (small, large) = (buffers.take(200 << 10), buffers.take(1000 << 10));
        assert_eq!((small.capacity(), large.capacity()), (256 << 10, 1 << 20));
        let (small_at, large_at) = (small.as_ptr(), large.as_ptr());
        buffers.give(large);
        buffers.give(small);
        let small = buffers.take(250 << 10);
        assert_eq!(small.as_ptr(), small_at);
        let other = buffers.take(250 << 10);
        assert_eq!(other.capacity(), 256 << 10, "a larger one is left for something larger");
        let large = buffers.take(513 << 10);
        assert_eq!(large.as_ptr(), large_at);
    }

    #[test]
    fn no_more_is_kept_than_that() {
        let buffers = Buffers::default();
        (0..40).map(|_| Vec::with_capacity(1 << 20)).for_each(|buffer| buffers.give(buffer));
        let kept = buffers.kept.lock().unwrap();
        assert_eq!((kept.buffers.len(), kept.bytes), (32, 32 << 20));
    }
}
