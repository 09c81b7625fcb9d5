//! Objects in memory: for tests, demonstrations and dry runs.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::{ErrorKind, Listed, Put, Storage, StorageError, check_key, check_prefix};
use crate::base::clock::{Clock, SystemClock};

/// A storage that lives as long as its last handle. Clones share the objects.
#[derive(Clone)]
pub struct MemoryStorage {
    objects: Arc<Mutex<BTreeMap<String, Object>>>,
    clock: Arc<dyn Clock>,
}

#[derive(Clone)]
struct Object {
    // Shared, so that reading copies outside the lock.
    bytes: Arc<[u8]>,
    modified: SystemTime,
}

impl MemoryStorage {
    /// An empty storage that tells the time by the system's clock.
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock))
    }

    /// An empty storage whose times of modification come from `clock`.
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self { objects: Arc::default(), clock }
    }

    /// Changes an object behind the contract's back, as a thief or a bad disk would. Its time of modification stays.
    /// Gives whether the object was there. For tests.
    pub fn tamper(&self, key: &str, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut objects = self.lock();
        let Some(object) = objects.get_mut(key) else {
            return false;
        };
        let mut bytes = object.bytes.to_vec();
        change(&mut bytes);
        object.bytes = bytes.into();
        true
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Object>> {
        // Each change is one call on the map, so a panic elsewhere under the lock cannot have left half of one.
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn object(&self, key: &str) -> Result<Object, StorageError> {
        check_key("read", key)?;
        let object = self.lock().get(key).cloned();
        object.ok_or_else(|| failure("read", key, ErrorKind::NotFound, "no such object"))
    }
}

impl Default for MemoryStorage {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStorage").field("objects", &self.lock().len()).finish_non_exhaustive()
    }
}

impl Storage for MemoryStorage {
    fn put(&self, key: &str, bytes: &[u8]) -> Result<Put, StorageError> {
        check_key("write", key)?;
        let object = Object { bytes: bytes.into(), modified: self.clock.now().into() };
        let mut objects = self.lock();
        match objects.get(key) {
            Some(present) if *present.bytes == *bytes => Ok(Put::AlreadyThere),
            Some(_) => Err(failure("write", key, ErrorKind::Conflict, "other bytes are there")),
            None => {
                objects.insert(key.to_owned(), object);
                Ok(Put::Created)
            }
        }
    }

    fn get(&self, key: &str, bytes_max: u64) -> Result<Vec<u8>, StorageError> {
        let object = self.object(key)?;
        let bytes = object.bytes.len() as u64;
        if bytes > bytes_max {
            let message = format!("it has {bytes} bytes, more than the {bytes_max} that are allowed");
            return Err(failure("read", key, ErrorKind::Other, message));
        }
        Ok(object.bytes.to_vec())
    }

    fn get_range(&self, key: &str, offset: u64, buffer: &mut [u8]) -> Result<(), StorageError> {
        let object = self.object(key)?;
        if buffer.is_empty() {
            return Ok(());
        }
        let start = usize::try_from(offset).ok();
        let end = start.and_then(|start| start.checked_add(buffer.len()));
        let range = start.zip(end).and_then(|(start, end)| object.bytes.get(start..end));
        let range = range.ok_or_else(|| {
            let message = format!("{} bytes at {offset} reach behind its end", buffer.len());
            failure("read", key, ErrorKind::ShortObject, message)
        })?;
        buffer.copy_from_slice(range);
        Ok(())
    }

    fn size(&self, key: &str) -> Result<Option<u64>, StorageError> {
        check_key("read", key)?;
        Ok(self.lock().get(key).map(|object| object.bytes.len() as u64))
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Listed)) -> Result<(), StorageError> {
        check_prefix(prefix)?;
        // Gathered first: `each` may use this very storage.
        let listed: Vec<Listed> = self
            .lock()
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, object)| Listed {
                key: key.clone(),
                bytes: object.bytes.len() as u64,
                modified: object.modified,
            })
            .collect();
        listed.into_iter().for_each(each);
        Ok(())
    }

    fn delete(&self, key: &str) -> Result<(), StorageError> {
        check_key("delete", key)?;
        self.lock().remove(key);
        Ok(())
    }

    fn location(&self) -> String {
        "memory:".to_owned()
    }
}

fn failure(
    operation: &'static str,
    key: &str,
    kind: ErrorKind,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> StorageError {
    StorageError::permanent(operation, format!("memory:{key}"), kind, source)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::FixedClock;
    use jiff::Timestamp;

    #[test]
    fn given_a_clock_then_objects_bear_its_time() {
        let moment = Timestamp::from_second(1_700_000_000).unwrap();
        let storage = MemoryStorage::with_clock(Arc::new(FixedClock(moment)));
        storage.put("a", b"1").unwrap();
        let mut times = Vec::new();
        storage.list("", &mut |listed| times.push(listed.modified)).unwrap();
        assert_eq!(times, [SystemTime::from(moment)]);
    }

    #[test]
    fn clones_share_the_objects_and_tampering_shows_in_all() {
        let storage = MemoryStorage::new();
        storage.clone().put("a", b"1").unwrap();
        assert!(storage.tamper("a", |bytes| bytes.push(b'2')));
        assert!(!storage.tamper("b", |_| {}));
        assert_eq!(storage.clone().get("a", 9).unwrap(), b"12");
    }
}
