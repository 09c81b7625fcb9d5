//! What went over a wire, counted as it goes.

use super::Requests;
use std::sync::atomic::{AtomicU64, Ordering};

/// Requests by kind, and bytes both ways.
#[derive(Debug, Default)]
pub(super) struct Counted {
    pub(super) put: AtomicU64,
    pub(super) get: AtomicU64,
    pub(super) head: AtomicU64,
    pub(super) list: AtomicU64,
    pub(super) delete: AtomicU64,
    pub(super) other: AtomicU64,
    pub(super) bytes_up: AtomicU64,
    pub(super) bytes_down: AtomicU64,
}

impl Counted {
    /// As they are now.
    pub(super) fn requests(&self) -> Requests {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Requests {
            put: read(&self.put),
            get: read(&self.get),
            head: read(&self.head),
            list: read(&self.list),
            delete: read(&self.delete),
            other: read(&self.other),
            bytes_up: read(&self.bytes_up),
            bytes_down: read(&self.bytes_down),
        }
    }
}
