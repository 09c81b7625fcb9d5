//! Locks on objects: prolonged for what snapshots need, so that it never runs out before they do.

use super::catalog::Catalog;
use super::format::index::BlockKind;
use super::objects::{ObjectName as _, pack_key};
use super::{CONFIG_KEY, RepoError, Repository};
use crate::base::event::{Cancel, Observer};
use crate::base::id::{EpochId, IndexId, MarkId, PackId, SlotId, SnapshotId, StatementId};
use crate::storage::{ErrorKind, ObjectLock, StorageError};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Requests about locks at a time.
const AT_ONCE: usize = 16;
/// A lock is prolonged by one so-manieth more than it must last, so that the next backups need not prolong it again.
const SLACK: u32 = 8;
/// A lock that lasts less than one so-manieth of what it should ends too soon.
const TOO_SOON: u32 = 2;

/// An object whose lock ends too soon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShortLock {
    /// Its key.
    pub object: String,
    /// When its lock ends; `None` where it has none.
    pub until: Option<SystemTime>,
}

/// What prolonging locks did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extended {
    /// Objects that snapshots need.
    pub objects: u64,
    /// All of them are locked until then at least.
    pub until: SystemTime,
}

/// The locks of a repository's objects, where its storage has any.
pub struct ObjectLocks<'a> {
    pub(in crate::vault) repo: &'a Repository,
}

impl ObjectLocks<'_> {
    /// Whether the storage was told to lock what is put.
    pub fn locks(&self) -> bool {
        self.repo.storage.lock().is_some()
    }

    /// Prolongs the locks of all that kept snapshots need: packs, index, snapshots, marks, keys, config. With
    /// `dry_run`, says only what it would do.
    ///
    /// # Errors
    /// When the storage fails or refuses, it was not told to lock, or a snapshot cannot be followed.
    pub fn extend_all_locks(
        &self,
        now_ms: i64,
        dry_run: bool,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<Extended, RepoError> {
        let lock = self.repo.storage.lock().ok_or(RepoError::NoLock)?;
        let keys = self.needed(now_ms, observer, cancel)?;
        let until = lock.now() + lock.lasts() + lock.lasts() / SLACK;
        let objects = keys.len() as u64;
        if !dry_run {
            side_by_side(keys, cancel, |key| extend(lock, key, until))?;
        }
        Ok(Extended { objects, until })
    }

    /// Which objects that kept snapshots need have locks that end too soon, and how many there are in all. None, where
    /// the storage was not told to lock.
    ///
    /// # Errors
    /// When the storage fails, or a snapshot cannot be followed.
    pub fn short_locks(
        &self,
        now_ms: i64,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<(Vec<ShortLock>, u64), RepoError> {
        let Some(lock) = self.repo.storage.lock() else { return Ok((Vec::new(), 0)) };
        let keys = self.needed(now_ms, observer, cancel)?;
        let objects = keys.len() as u64;
        let least = lock.now() + lock.lasts() / TOO_SOON;
        let short = Mutex::new(Vec::new());
        side_by_side(keys, cancel, |key| {
            let until = match lock.locked_until(key) {
                // Gone since it was listed.
                Err(error) if error.kind == ErrorKind::NotFound => return Ok(()),
                outcome => outcome?,
            };
            if until.is_none_or(|until| until < least) {
                let mut short = short.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                short.push(ShortLock { object: key.to_owned(), until });
            }
            Ok(())
        })?;
        let mut short = short.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        short.sort_by(|a, b| a.object.cmp(&b.object));
        Ok((short, objects))
    }

    /// Keys of all objects that a restore of any kept snapshot needs.
    fn needed(
        &self,
        now_ms: i64,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<Vec<String>, RepoError> {
        let mut keys = self.small_ones()?;
        let of = |packs: Vec<PackId>| packs.into_iter().map(|pack| pack_key(&pack));
        keys.extend(of(self.repo.packs_needed(now_ms, observer, cancel)?));
        keys.extend(self.repo.list_names::<SnapshotId>("snapshots/")?.iter().map(|id| id.key()));
        keys.extend(self.repo.list_names::<MarkId>("marks/")?.iter().map(|id| id.key()));
        Ok(keys)
    }

    /// Keys of the objects without which nothing can be read.
    fn small_ones(&self) -> Result<Vec<String>, RepoError> {
        let mut keys = vec![CONFIG_KEY.to_owned()];
        keys.extend(self.repo.list_names::<SlotId>("keys/")?.iter().map(|id| id.key()));
        keys.extend(self.repo.list_names::<StatementId>("authors/")?.iter().map(|id| id.key()));
        keys.extend(self.repo.list_names::<EpochId>("epochs/")?.iter().map(|id| id.key()));
        keys.extend(self.repo.list_names::<IndexId>("index/")?.iter().map(|id| id.key()));
        Ok(keys)
    }

    /// Prolongs the locks of what a new snapshot relies on: the packs `relied_on`, all recipes, and what is needed to
    /// read anything. What the catalog remembers to be locked for long enough costs nothing.
    pub(super) fn extend_locks(
        &self,
        catalog: &mut Catalog,
        relied_on: Vec<PackId>,
    ) -> Result<(), RepoError> {
        let Some(lock) = self.repo.storage.lock() else { return Ok(()) };
        let listed = self.repo.list_packs()?;
        let mut packs: BTreeSet<PackId> = relied_on.into_iter().collect();
        // Recipes rest on those before, of which the session does not keep count. They are few.
        for pack in catalog.packs()? {
            let mut is_recipe = || -> Result<bool, RepoError> {
                let row = catalog.pack(pack.number)?;
                Ok(row.table.blocks.iter().any(|block| block.kind == BlockKind::Recipe))
            };
            if !packs.contains(&pack.id) && listed.contains_key(&pack.id) && is_recipe()? {
                packs.insert(pack.id);
            }
        }
        let mut keys = self.small_ones()?;
        keys.extend(packs.iter().filter(|pack| listed.contains_key(pack)).map(pack_key));
        let least = lock.now() + lock.lasts();
        let until = least + lock.lasts() / SLACK;
        keys.retain(|key| remembered(catalog, key).is_none_or(|end| end < least));
        side_by_side(keys.clone(), &Cancel::new(), |key| extend(lock, key, until))?;
        let end = until.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        for key in keys {
            // Safe to ignore because the catalog only spares the next request.
            let _ = catalog.keep_object(&memory_of(&key), &end.to_le_bytes());
        }
        Ok(())
    }

    /// When the last of these packs is no longer locked; `None` when none of them is.
    pub(super) fn last_lock_end(&self, packs: &[PackId]) -> Result<Option<SystemTime>, RepoError> {
        let Some(lock) = self.repo.storage.lock() else { return Ok(None) };
        let last = Mutex::new(None);
        side_by_side(packs.iter().map(pack_key).collect(), &Cancel::new(), |key| {
            let until = match lock.locked_until(key) {
                Err(error) if error.kind == ErrorKind::NotFound => None,
                outcome => outcome?,
            };
            let mut last = last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            *last = (*last).max(until);
            Ok(())
        })?;
        let last = last.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(last.filter(|until| *until > lock.now()))
    }
}

fn memory_of(key: &str) -> String {
    format!("lock of {key}")
}

/// When the lock of `key` ends, as far as this host remembers.
fn remembered(catalog: &Catalog, key: &str) -> Option<SystemTime> {
    let bytes = catalog.object(&memory_of(key)).ok()??;
    let seconds = u64::from_le_bytes(*bytes.first_chunk::<8>()?);
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

fn extend(lock: &dyn ObjectLock, key: &str, until: SystemTime) -> Result<(), StorageError> {
    match lock.extend(key, until) {
        // Gone since it was listed.
        Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// Does `each` for all keys, many at a time; ends with the first error.
fn side_by_side(
    keys: Vec<String>,
    cancel: &Cancel,
    each: impl Fn(&str) -> Result<(), StorageError> + Sync,
) -> Result<(), RepoError> {
    let next = AtomicUsize::new(0);
    let failure = Mutex::new(None);
    let failed = || failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let work = || {
        while let Some(key) = keys.get(next.fetch_add(1, Ordering::Relaxed)) {
            if cancel.is_cancelled() || failed().is_some() {
                return;
            }
            if let Err(error) = each(key) {
                failed().get_or_insert(error);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..AT_ONCE.min(keys.len()) {
            // Safe to ignore because fewer threads only take longer.
            let _ = std::thread::Builder::new().name("locks".to_owned()).spawn_scoped(scope, work);
        }
        work();
    });
    if cancel.is_cancelled() {
        return Err(RepoError::Cancelled);
    }
    match failure.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}
