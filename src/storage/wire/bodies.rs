//! Bodies of large requests, in memory that goes round: fresh memory costs a page fault every 4 KiB.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Smaller bodies are copied into memory of their own.
const LARGE_BYTES: usize = 1 << 20;
/// Buffers kept: as many as packs are sent at a time.
const KEPT: usize = 3;

/// Buffers that no request uses at the moment.
#[derive(Debug, Default)]
pub(crate) struct Bodies {
    spare: Mutex<Vec<Vec<u8>>>,
}

impl Bodies {
    /// A body of these bytes, which a client may keep for as long as it likes.
    pub(crate) fn body(self: &Arc<Self>, bytes: &[u8]) -> Bytes {
        if bytes.len() < LARGE_BYTES {
            return Bytes::copy_from_slice(bytes);
        }
        let mut buffer = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(bytes);
        Bytes::from_owner(Lent { buffer, home: Arc::clone(self) })
    }
}

/// A buffer that goes home when the last who uses it is done.
struct Lent {
    buffer: Vec<u8>,
    home: Arc<Bodies>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut spare = self.home.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < KEPT {
            spare.push(std::mem::take(&mut self.buffer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_goes_round_and_holds_what_it_was_given_last() {
        let bodies = Arc::new(Bodies::default());
        let (first, second) = (vec![1; LARGE_BYTES + 5], vec![2; LARGE_BYTES]);
        let body = bodies.body(&first);
        let clone = body.clone();
        let place = body.as_ptr();
        drop(body);
        assert!(clone == first);
        drop(clone);
        let body = bodies.body(&second);
        assert!(body == second && body.as_ptr() == place);
        assert!(bodies.body(b"small") == b"small".as_slice());
    }
}
