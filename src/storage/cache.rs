//! A local cache of packs in front of a storage that is far away.
//!
//! A backup reads its parent's bytes wherever rows changed, which is nearly everywhere a little: it wants whole packs,
//! and those of the day before. So packs are kept as they are put, fetched whole when [`PackCache::warm`] asks for
//! them, and served to `get_range` from then on. Everything else passes through: a restore's ranges are not kept, since
//! they would push out what the next backup needs, and `get` of a whole object always asks the storage beneath, since
//! that is how a check looks for damage.
//!
//! # Trust
//! None. A file is hashed when this process first opens it and must have the hash that is its name; otherwise it is
//! removed and the storage beneath is asked. From then on the open file is used, whatever happens to its name. The
//! files hold ciphertext only.
//!
//! # Several processes
//! Files are written beside and renamed into place, and may vanish at any time. Each process keeps count by itself and
//! looks at the folder before it removes anything, so the bound may be exceeded for a moment by what others write.
//!
//! # Failures
//! A cache that cannot be written (full disk, permissions) is warned of once and not written any more; one that cannot
//! be read is a miss. Neither fails the operation.

mod folder;

use std::collections::{HashSet, VecDeque};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use self::folder::{CacheFile, CacheFolder};
use super::{ErrorKind, Listed, PackCache, Put, Storage, StorageError};

/// What a cache holds unless it is told otherwise, in bytes.
pub const CACHE_BYTES_DEFAULT: u64 = 2 << 30;
/// Files whose hash was checked, kept open.
const OPEN_FILES_MAX: usize = 128;
/// A pack may take this share of the cache at most: one that pushes out all others helps nobody.
const PACK_SHARE: u64 = 4;
/// Packs fetched at a time: each is whole in memory.
const FETCHES_MAX: usize = 2;
/// The objects that are kept.
const PREFIX: &str = "packs/";

/// A storage with a cache of its packs. See the module.
#[derive(Debug)]
pub struct Cached<S> {
    inner: S,
    folder: CacheFolder,
    bytes_max: u64,
    /// What the folder holds, as far as this process knows.
    bytes: AtomicU64,
    /// Checked files, the one used last in front.
    open: Mutex<VecDeque<(String, Arc<Checked>)>>,
    fetching: Mutex<HashSet<String>>,
    fetched: Condvar,
    writable: AtomicBool,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// An open file that has the hash of its name.
#[derive(Debug)]
struct Checked {
    file: File,
    bytes: u64,
}

/// How often a cache could answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Ranges of packs read from the cache.
    pub hits: u64,
    /// Ranges of packs that the storage beneath was asked for.
    pub misses: u64,
}

impl<S: Storage> Cached<S> {
    /// Puts a cache of at most `bytes_max` bytes in `folder` in front of `inner`. The folder is made when it is not
    /// there; a folder that cannot be used is warned of, and nothing is kept. One folder serves one repository.
    pub fn new(inner: S, folder: impl Into<PathBuf>, bytes_max: u64) -> Self {
        let cached = Self {
            inner,
            folder: CacheFolder::new(folder.into()),
            bytes_max,
            bytes: AtomicU64::new(0),
            open: Mutex::default(),
            fetching: Mutex::default(),
            fetched: Condvar::new(),
            writable: AtomicBool::new(true),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        };
        if let Err(error) = cached.folder.prepare().and_then(|()| cached.evict()) {
            cached.give_up(&error);
        }
        cached
    }

    /// How often it could answer so far.
    pub fn stats(&self) -> CacheStats {
        CacheStats { hits: self.hits.load(Ordering::Relaxed), misses: self.misses.load(Ordering::Relaxed) }
    }

    /// The name of the file for the object `key`; `None` for what is not kept.
    fn name(key: &str) -> Option<&str> {
        let name = key.strip_prefix(PREFIX)?.rsplit('/').next()?;
        blake3::Hash::from_hex(name).ok().map(|_| name)
    }

    /// The checked file under `name`, if there is one.
    fn checked(&self, name: &str) -> Option<Arc<Checked>> {
        {
            let mut open = lock(&self.open);
            if let Some(at) = open.iter().position(|(other, _)| other == name)
                && let Some(found) = open.remove(at)
            {
                let checked = Arc::clone(&found.1);
                open.push_front(found);
                return Some(checked);
            }
        }
        match self.folder.open(name) {
            Ok(Some(file)) => self.check(name, file),
            Ok(None) => None,
            Err(error) => {
                tracing::debug!("{error}; the storage is asked instead");
                None
            }
        }
    }

    /// Hashes the file. One with other bytes than its name says is removed.
    fn check(&self, name: &str, file: File) -> Option<Arc<Checked>> {
        let outcome = hash_of(&file);
        let right = match &outcome {
            Ok((hash, _)) => blake3::Hash::from_hex(name).is_ok_and(|wanted| wanted == *hash),
            Err(_) => false,
        };
        match outcome {
            Ok((_, bytes)) if right => {
                let checked = Arc::new(Checked { file, bytes });
                let mut open = lock(&self.open);
                open.push_front((name.to_owned(), Arc::clone(&checked)));
                open.truncate(OPEN_FILES_MAX);
                Some(checked)
            }
            outcome => {
                let reason =
                    outcome.map_or_else(|error| error.to_string(), |_| "it has another hash".to_owned());
                tracing::warn!("the cached pack {name} is not used: {reason}");
                // Safe to ignore because a file that stays is found out again.
                let _ = self.folder.remove(name);
                None
            }
        }
    }

    /// Keeps `bytes` under `name`. A failure ends all writing to the cache, and is no error.
    fn keep(&self, name: &str, bytes: &[u8]) {
        let len = bytes.len() as u64;
        if !self.writable.load(Ordering::Relaxed) || len > self.bytes_max / PACK_SHARE {
            return;
        }
        if let Err(error) = self.try_keep(name, bytes) {
            self.give_up(&error);
        }
    }

    fn try_keep(&self, name: &str, bytes: &[u8]) -> Result<(), CacheError> {
        let len = bytes.len() as u64;
        if self.bytes.fetch_add(len, Ordering::Relaxed) + len > self.bytes_max {
            self.evict()?;
            self.bytes.fetch_add(len, Ordering::Relaxed);
        }
        self.folder.write(name, bytes)
    }

    /// Removes what is wanted least until a tenth of the bound is free. Looks at the folder first: others write there
    /// too.
    fn evict(&self) -> Result<(), CacheError> {
        let mut files = self.folder.files()?;
        let mut bytes: u64 = files.iter().map(|file| file.bytes).sum();
        if bytes > self.bytes_max / 10 * 9 {
            // What came after the newest list is of the backup under way: nobody had the time to list it.
            let newest = files.iter().filter_map(|file| file.wanted).max();
            let is_new = |file: &CacheFile| newest.is_some_and(|newest| file.used >= newest);
            files.sort_by_key(|file| {
                (file.wanted.is_some() || is_new(file), file.wanted.max(Some(file.used)))
            });
            for file in &files {
                if bytes <= self.bytes_max / 10 * 9 {
                    break;
                }
                self.folder.remove(&file.name)?;
                bytes -= file.bytes;
            }
        }
        self.bytes.store(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn give_up(&self, error: &CacheError) {
        if self.writable.swap(false, Ordering::Relaxed) {
            tracing::warn!("{error}; continuing without the pack cache");
        }
    }

    /// Fetches the whole object and keeps it. The caller has the name in `fetching`.
    fn fetch(&self, key: &str, name: &str) -> Result<bool, StorageError> {
        // Larger ones would not be kept.
        let bytes = match self.inner.get(key, self.bytes_max / PACK_SHARE) {
            Ok(bytes) => bytes,
            Err(error) if error.kind == ErrorKind::Other && !error.retryable => return Ok(false),
            Err(error) => return Err(error),
        };
        // What is damaged there already is for the reader to find: it knows what to do about it.
        if blake3::Hash::from_hex(name).is_ok_and(|wanted| wanted == blake3::hash(&bytes)) {
            self.keep(name, &bytes);
        }
        Ok(self.checked(name).is_some())
    }
}

impl<S: Storage> PackCache for Cached<S> {
    fn holds(&self, key: &str) -> bool {
        Self::name(key).is_some_and(|name| self.folder.holds(name))
    }

    fn warm(&self, key: &str) -> Result<bool, StorageError> {
        let Some(name) = Self::name(key) else { return Ok(false) };
        if self.checked(name).is_some() {
            self.folder.touch(name);
            return Ok(true);
        }
        {
            let mut fetching = lock(&self.fetching);
            while fetching.contains(name) || fetching.len() >= FETCHES_MAX {
                fetching = self.fetched.wait(fetching).unwrap_or_else(PoisonError::into_inner);
            }
            fetching.insert(name.to_owned());
        }
        let leave = Leave { cached: self, name };
        let outcome = if self.checked(name).is_some() {
            Ok(true)
        } else if self.writable.load(Ordering::Relaxed) {
            self.fetch(key, name)
        } else {
            Ok(false)
        };
        drop(leave);
        outcome
    }

    fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    fn prefer(&self, series: &str, keys: &[String]) {
        if !self.writable.load(Ordering::Relaxed) {
            return;
        }
        let names: Vec<&str> = keys.iter().filter_map(|key| Self::name(key)).collect();
        let list = blake3::hash(series.as_bytes()).to_hex();
        if let Err(error) = self.folder.write_wanted(list.as_str(), &names) {
            self.give_up(&error);
        }
    }
}

/// Lets others fetch the same object again, however the fetch ended.
struct Leave<'a, S> {
    cached: &'a Cached<S>,
    name: &'a str,
}

impl<S> Drop for Leave<'_, S> {
    fn drop(&mut self) {
        lock(&self.cached.fetching).remove(self.name);
        self.cached.fetched.notify_all();
    }
}

/// A storage without the cache of packs in front of it: for whoever wants to know what the storage itself holds.
#[derive(Debug, Clone)]
pub struct PastCache(Arc<dyn Storage>);

impl PastCache {
    /// What lies beneath the cache of `storage`, where it has one.
    pub fn new(storage: Arc<dyn Storage>) -> Self {
        Self(storage)
    }

    fn storage(&self) -> &dyn Storage {
        let mut at = self.0.as_ref();
        while at.cache().is_some()
            && let Some(beneath) = at.beneath()
        {
            at = beneath;
        }
        at
    }
}

impl Storage for PastCache {
    fn put(&self, key: &str, bytes: &[u8]) -> Result<Put, StorageError> {
        self.storage().put(key, bytes)
    }

    fn get(&self, key: &str, bytes_max: u64) -> Result<Vec<u8>, StorageError> {
        self.storage().get(key, bytes_max)
    }

    fn get_range(&self, key: &str, offset: u64, buffer: &mut [u8]) -> Result<(), StorageError> {
        self.storage().get_range(key, offset, buffer)
    }

    fn size(&self, key: &str) -> Result<Option<u64>, StorageError> {
        self.storage().size(key)
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Listed)) -> Result<(), StorageError> {
        self.storage().list(prefix, each)
    }

    fn delete(&self, key: &str) -> Result<(), StorageError> {
        self.storage().delete(key)
    }

    fn location(&self) -> String {
        self.storage().location()
    }

    fn beneath(&self) -> Option<&dyn Storage> {
        Some(self.storage())
    }
}

impl<S: Storage> Storage for Cached<S> {
    fn put(&self, key: &str, bytes: &[u8]) -> Result<Put, StorageError> {
        let put = self.inner.put(key, bytes)?;
        if let Some(name) = Self::name(key) {
            self.keep(name, bytes);
        }
        Ok(put)
    }

    fn get(&self, key: &str, bytes_max: u64) -> Result<Vec<u8>, StorageError> {
        self.inner.get(key, bytes_max)
    }

    fn get_range(&self, key: &str, offset: u64, buffer: &mut [u8]) -> Result<(), StorageError> {
        let Some(name) = Self::name(key) else {
            return self.inner.get_range(key, offset, buffer);
        };
        let checked = self.checked(name);
        let inside = |checked: &Arc<Checked>| {
            offset.checked_add(buffer.len() as u64).is_some_and(|end| end <= checked.bytes)
        };
        if let Some(checked) = checked.filter(inside)
            && checked.file.read_exact_at(buffer, offset).is_ok()
        {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        self.inner.get_range(key, offset, buffer)
    }

    fn size(&self, key: &str) -> Result<Option<u64>, StorageError> {
        self.inner.size(key)
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Listed)) -> Result<(), StorageError> {
        self.inner.list(prefix, each)
    }

    fn delete(&self, key: &str) -> Result<(), StorageError> {
        // Before and after: in between, another thread may have fetched it.
        self.forget(key);
        let outcome = self.inner.delete(key);
        self.forget(key);
        outcome
    }

    fn location(&self) -> String {
        self.inner.location()
    }

    fn beneath(&self) -> Option<&dyn Storage> {
        Some(&self.inner)
    }

    fn cache(&self) -> Option<&dyn PackCache> {
        Some(self)
    }
}

impl<S> Cached<S> {
    fn forget(&self, key: &str) {
        let name = key.strip_prefix(PREFIX).and_then(|rest| rest.rsplit('/').next());
        if let Some(name) = name.filter(|name| blake3::Hash::from_hex(name).is_ok()) {
            lock(&self.open).retain(|(other, _)| other != name);
            // Safe to ignore because nobody asks for an object that no index names.
            let _ = self.folder.remove(name);
        }
    }
}

/// The cache's folder failed.
#[derive(Debug, thiserror::Error)]
#[error("pack cache: cannot {operation} `{path}`: {source}", path = path.display())]
struct CacheError {
    operation: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change under these locks is one call, so a panic elsewhere cannot have left half of one.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hash and length of a file, read from its beginning.
fn hash_of(file: &File) -> io::Result<(blake3::Hash, u64)> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    loop {
        match file.read_at(&mut buffer, at) {
            Ok(0) => return Ok((hasher.finalize(), at)),
            Ok(read) => {
                hasher.update(buffer.get(..read).unwrap_or_default());
                at += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
