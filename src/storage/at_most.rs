//! A bound on the requests under way at the same time.

use super::{Listed, Put, Storage, StorageError};
use crate::base::permits::{Permit, Permits};

/// A storage that is asked for so many things at a time; who comes later waits for a place.
///
/// Listings are not counted: whoever receives one may use the storage, and a thread has no second one under way.
#[derive(Debug)]
pub struct AtMost<S> {
    inner: S,
    permits: Permits,
}

impl<S> AtMost<S> {
    /// Lets `requests` go at the same time; 0 counts as 1.
    pub fn new(inner: S, requests: usize) -> Self {
        Self { inner, permits: Permits::new(requests as u64) }
    }

    fn permit(&self) -> Permit {
        self.permits.one()
    }
}

impl<S: Storage> Storage for AtMost<S> {
    fn put(&self, key: &str, bytes: &[u8]) -> Result<Put, StorageError> {
        let _permit = self.permit();
        self.inner.put(key, bytes)
    }

    fn get(&self, key: &str, bytes_max: u64) -> Result<Vec<u8>, StorageError> {
        let _permit = self.permit();
        self.inner.get(key, bytes_max)
    }

    fn get_range(&self, key: &str, offset: u64, buffer: &mut [u8]) -> Result<(), StorageError> {
        let _permit = self.permit();
        self.inner.get_range(key, offset, buffer)
    }

    fn size(&self, key: &str) -> Result<Option<u64>, StorageError> {
        let _permit = self.permit();
        self.inner.size(key)
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Listed)) -> Result<(), StorageError> {
        self.inner.list(prefix, each)
    }

    fn delete(&self, key: &str) -> Result<(), StorageError> {
        let _permit = self.permit();
        self.inner.delete(key)
    }

    fn location(&self) -> String {
        self.inner.location()
    }

    fn beneath(&self) -> Option<&dyn Storage> {
        Some(&self.inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::faulty::Faulty;
    use crate::storage::memory::MemoryStorage;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn given_many_threads_then_no_more_than_allowed_are_in_the_storage_at_once() {
        let beneath = Faulty::new(MemoryStorage::new(), 1);
        let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (counted, seen) = (Arc::clone(&inside), Arc::clone(&most));
        beneath.set_hook(move |_| {
            seen.fetch_max(counted.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::yield_now();
            counted.fetch_sub(1, Ordering::SeqCst);
            None
        });
        let storage = AtMost::new(beneath, 3);
        std::thread::scope(|scope| {
            for thread in 0..16 {
                let storage = &storage;
                scope.spawn(move || {
                    for n in 0..50 {
                        let key = format!("a/{thread}-{n}");
                        storage.put(&key, b"1").unwrap();
                        assert_eq!(storage.get(&key, 1).unwrap(), b"1");
                    }
                });
            }
        });
        assert!(most.load(Ordering::SeqCst) <= 3, "{most:?}");
        assert_eq!(storage.permits.free(), 3, "every place was given back");
    }
}
