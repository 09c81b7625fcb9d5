//! Storage: a flat space of immutable objects under string keys.
//!
//! # Contract
//! Every backend and every decorator keeps it; the conformance suite (`tests/library/storage_conformance.rs`) checks
//! it.
//!
//! - **Keys** are relative, `/`-separated, made of `[a-z0-9._-]`, of 1 to [`KEY_BYTES_MAX`] bytes, with no empty part.
//!   None begins with a dot (file systems and tools keep their own files there: `.nfs…`, `.snapshot`) or ends in one
//!   (Azure cuts it off). The first part is not `tmp`, which backends keep for themselves. No key is a folder of
//!   another: `a` and `a/b` are never both in use. [`check_key`] and [`check_prefix`] say so for every backend; a key
//!   that breaks these rules is [`ErrorKind::Invalid`] in every operation.
//! - **`put` is atomic and never replaces**: after it returned `Ok`, the whole object is there and survives a power
//!   cut; after an error there is the whole object or none. Putting the same bytes under a key that holds them is
//!   [`Put::AlreadyThere`]; other bytes are [`ErrorKind::Conflict`], and the old bytes stay.
//! - **`get_range`** gives exactly the bytes asked for, or an error when the object is shorter. Offsets up to
//!   `u64::MAX` may be asked.
//! - **`list`** gives every object whose key starts with the prefix, in no particular order, each once. An object put
//!   before the listing began is in it.
//! - **`delete`** of what is not there is success.
//!
//! The face is blocking: callers are plain threads, each with one request at a time; concurrency is the number of
//! threads. A backend that speaks an asynchronous protocol keeps its executor to itself.

pub mod at_most;
#[cfg(feature = "azure")]
pub mod azure;
pub mod bucket;
pub mod cache;
#[cfg(any(feature = "sftp", feature = "rclone"))]
mod child;
#[cfg(any(feature = "s3", feature = "azure", feature = "gcs", feature = "sftp", feature = "rclone"))]
mod counted;
mod fault;
#[cfg(any(test, feature = "testkit"))]
pub mod faulty;
#[cfg(feature = "gcs")]
pub mod gcs;
#[cfg(any(test, not(feature = "s3")))]
pub(crate) mod left_out;
pub mod limit;
pub mod local;
#[cfg(any(test, feature = "testkit"))]
pub mod memory;
#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
mod precondition;
#[cfg(feature = "rclone")]
pub mod rclone;
#[cfg(any(feature = "azure", feature = "gcs"))]
mod rest;
#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
pub(crate) mod retention;
pub mod retry;
#[cfg(feature = "s3")]
pub mod s3;
pub mod scheme;
#[cfg(feature = "sftp")]
pub mod sftp;
#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Longest key, in bytes. What every file system can hold as one name, and a quarter of what S3 can.
pub const KEY_BYTES_MAX: usize = 255;

/// What `put` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// The object was not there and is now.
    Created,
    /// The very same bytes were there already.
    AlreadyThere,
}

/// One object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The object's key.
    pub key: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// When it was put, by the storage's clock.
    pub modified: SystemTime,
}

/// What went over the wire so far, requests by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Requests {
    /// Objects, or parts of them, put.
    pub put: u64,
    /// Objects, or ranges of them, read.
    pub get: u64,
    /// Sizes asked for.
    pub head: u64,
    /// Pages of listings.
    pub list: u64,
    /// Objects deleted.
    pub delete: u64,
    /// Everything else.
    pub other: u64,
    /// Bytes of bodies sent.
    pub bytes_up: u64,
    /// Bytes of bodies received.
    pub bytes_down: u64,
}

impl Requests {
    /// Requests of any kind.
    pub fn total(&self) -> u64 {
        self.put + self.get + self.head + self.list + self.delete + self.other
    }
}

/// Something that a storage does in its own way, which the contract leaves open and a person may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manner {
    /// What it is about.
    pub name: &'static str,
    /// What the storage does.
    pub detail: String,
    /// What to do about it, where it could be better.
    pub next: Option<&'static str>,
}

impl Manner {
    /// As it should be.
    pub fn good(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, detail: detail.into(), next: None }
    }

    /// It could be better.
    pub fn lacking(name: &'static str, detail: impl Into<String>, next: &'static str) -> Self {
        Self { name, detail: detail.into(), next: Some(next) }
    }
}

/// What kind of failure it was: what a caller can decide on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No object under that key.
    NotFound,
    /// The object is there with other bytes.
    Conflict,
    /// The object is shorter than the range asked for.
    ShortObject,
    /// The storage is full, or a quota is.
    NoSpace,
    /// The storage refuses: credentials, permissions, a read-only mount.
    Denied,
    /// A key that breaks the contract, or an address that is not one. A bug or a wrong setting.
    Invalid,
    /// Nobody answers where the storage should be: a wrong address, or a server that is down.
    Unreachable,
    /// Nothing says with which credentials to ask.
    NoCredentials,
    /// Anything else; see `retryable`.
    Other,
}

/// A storage operation failed on one object.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} `{object}`: {source}")]
pub struct StorageError {
    /// What was tried: "read", "write", "list", "delete".
    pub operation: &'static str,
    /// The object in full: path or URL.
    pub object: String,
    /// The kind of failure.
    pub kind: ErrorKind,
    /// Whether the same call may succeed a moment later.
    pub retryable: bool,
    /// How long the storage asks to be left alone before the next attempt, where it says so.
    pub wait: Option<Duration>,
    /// What lies beneath.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl StorageError {
    /// A failure of that kind that trying again does not cure.
    pub fn permanent(
        operation: &'static str,
        object: impl Into<String>,
        kind: ErrorKind,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { operation, object: object.into(), kind, retryable: false, wait: None, source: source.into() }
    }
}

/// Holds `key` against the contract's rules for keys.
///
/// # Errors
/// [`ErrorKind::Invalid`], naming `operation`.
pub fn check_key(operation: &'static str, key: &str) -> Result<(), StorageError> {
    if key.len() <= KEY_BYTES_MAX && key.split('/').all(is_key_part) && !is_reserved(key) {
        return Ok(());
    }
    Err(StorageError::permanent(operation, key, ErrorKind::Invalid, "not a valid key"))
}

/// Holds a listing's `prefix` against the contract: empty, or a valid key and a `/`.
///
/// # Errors
/// [`ErrorKind::Invalid`].
pub fn check_prefix(prefix: &str) -> Result<(), StorageError> {
    let well_formed = match prefix.strip_suffix('/') {
        Some(folder) => {
            folder.len() <= KEY_BYTES_MAX && folder.split('/').all(is_key_part) && !is_reserved(folder)
        }
        None => prefix.is_empty(),
    };
    if well_formed {
        return Ok(());
    }
    Err(StorageError::permanent("list", prefix, ErrorKind::Invalid, "not a valid prefix"))
}

/// Whether `part` can stand between two slashes of a key.
fn is_key_part(part: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    !part.is_empty() && !part.starts_with('.') && !part.ends_with('.') && part.bytes().all(allowed)
}

/// Whether `key` is in the folder that backends keep for themselves.
fn is_reserved(key: &str) -> bool {
    key.split('/').next() == Some("tmp")
}

/// A place that holds objects. See the module's contract.
pub trait Storage: Send + Sync + fmt::Debug {
    /// Stores `bytes` under `key`, atomically, durably, without replacing.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when other bytes are there.
    fn put(&self, key: &str, bytes: &[u8]) -> Result<Put, StorageError>;

    /// The whole object.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; [`ErrorKind::Other`] when it is larger than `bytes_max`, which nothing was allocated
    /// for.
    fn get(&self, key: &str, bytes_max: u64) -> Result<Vec<u8>, StorageError>;

    /// Fills `buffer` with the object's bytes from `offset` on.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; [`ErrorKind::ShortObject`] when the object ends before the buffer is full.
    fn get_range(&self, key: &str, offset: u64, buffer: &mut [u8]) -> Result<(), StorageError>;

    /// The object's size in bytes, or `None` when it is not there.
    ///
    /// # Errors
    /// When the storage cannot tell.
    fn size(&self, key: &str) -> Result<Option<u64>, StorageError>;

    /// Calls `each` for every object whose key starts with `prefix`; a prefix is empty or ends with `/`.
    ///
    /// # Errors
    /// When the listing is not complete; what was given until then must not be taken for all.
    fn list(&self, prefix: &str, each: &mut dyn FnMut(Listed)) -> Result<(), StorageError>;

    /// Removes the object, durably. Not being there is success.
    ///
    /// # Errors
    /// When it may still be there.
    fn delete(&self, key: &str) -> Result<(), StorageError>;

    /// The storage's address, for people and logs; without secrets.
    fn location(&self) -> String;

    /// The storage that this one is put around, if it is. It answers the questions below, unless this one knows better.
    fn beneath(&self) -> Option<&dyn Storage> {
        None
    }

    /// Whether reading costs neither a wire nor money. A storage that is not local wants few and large reads.
    fn is_local(&self) -> bool {
        self.beneath().is_none_or(Storage::is_local)
    }

    /// The local cache of packs in front of it, where there is one.
    fn cache(&self) -> Option<&dyn PackCache> {
        self.beneath()?.cache()
    }

    /// How it keeps objects from being deleted, where it was told to.
    fn lock(&self) -> Option<&dyn ObjectLock> {
        self.beneath()?.lock()
    }

    /// Whether ranges of the object `key` can be read at no cost: the storage is local, or the cache holds the object.
    /// A hint; the cache may lose it a moment later.
    fn cached(&self, key: &str) -> bool {
        self.is_local() || self.cache().is_some_and(|cache| cache.holds(key))
    }

    /// Tries what the storage does where the contract leaves it open. What it puts for that it deletes again.
    ///
    /// # Errors
    /// When it fails in a way that tells nothing.
    fn manners(&self) -> Result<Vec<Manner>, StorageError> {
        self.beneath().map_or(Ok(Vec::new()), Storage::manners)
    }

    /// What went over the wire so far, where there is one.
    fn requests(&self) -> Option<Requests> {
        self.beneath()?.requests()
    }

    /// How far the storage's clock was ahead of this host's at the last answer, in milliseconds, to the second; `None`
    /// where the storage tells no time by itself.
    fn skew_ms(&self) -> Option<i64> {
        self.beneath()?.skew_ms()
    }
}

/// Keeps objects from being deleted by anybody for a while. What is put is locked by itself, if it is such that a
/// restore needs it.
pub trait ObjectLock: Sync {
    /// How long what is put is locked.
    fn lasts(&self) -> Duration;

    /// The present moment by the storage's clock, as far as it is known.
    fn now(&self) -> SystemTime;

    /// When the object's lock ends; `None` when it has none.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    fn locked_until(&self, key: &str) -> Result<Option<SystemTime>, StorageError>;

    /// Locks the object until then; a lock that lasts longer stays.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], and when the storage refuses.
    fn extend(&self, key: &str, until: SystemTime) -> Result<(), StorageError>;
}

/// A local cache of packs. Whoever is about to read a pack here and there all over asks for it whole first.
pub trait PackCache {
    /// Whether the pack `key` is in the cache, as far as its name says.
    fn holds(&self, key: &str) -> bool;

    /// Fetches the pack `key` whole, if need be, so that ranges of it are read from the cache from now on. False when
    /// it cannot be kept, or what the storage holds does not have the hash that is its name: ranges then go to the
    /// storage.
    ///
    /// # Errors
    /// When the storage fails.
    fn warm(&self, key: &str) -> Result<bool, StorageError>;

    /// What it may hold, in bytes.
    fn bytes_max(&self) -> u64;

    /// Says which packs the newest snapshot of `series` needs, in place of those said before. They are removed last.
    fn prefer(&self, series: &str, keys: &[String]);
}

/// A shared storage is a storage, so that decorators can be put around what others hold too.
impl<S: Storage + ?Sized> Storage for Arc<S> {
    fn put(&self, key: &str, bytes: &[u8]) -> Result<Put, StorageError> {
        (**self).put(key, bytes)
    }

    fn get(&self, key: &str, bytes_max: u64) -> Result<Vec<u8>, StorageError> {
        (**self).get(key, bytes_max)
    }

    fn get_range(&self, key: &str, offset: u64, buffer: &mut [u8]) -> Result<(), StorageError> {
        (**self).get_range(key, offset, buffer)
    }

    fn size(&self, key: &str) -> Result<Option<u64>, StorageError> {
        (**self).size(key)
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Listed)) -> Result<(), StorageError> {
        (**self).list(prefix, each)
    }

    fn delete(&self, key: &str) -> Result<(), StorageError> {
        (**self).delete(key)
    }

    fn location(&self) -> String {
        (**self).location()
    }

    fn beneath(&self) -> Option<&dyn Storage> {
        (**self).beneath()
    }

    fn is_local(&self) -> bool {
        (**self).is_local()
    }

    fn lock(&self) -> Option<&dyn ObjectLock> {
        (**self).lock()
    }

    fn cache(&self) -> Option<&dyn PackCache> {
        (**self).cache()
    }

    fn manners(&self) -> Result<Vec<Manner>, StorageError> {
        (**self).manners()
    }

    fn requests(&self) -> Option<Requests> {
        (**self).requests()
    }

    fn skew_ms(&self) -> Option<i64> {
        (**self).skew_ms()
    }
}
