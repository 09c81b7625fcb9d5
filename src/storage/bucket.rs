//! What a service can tell of a bucket beyond the contract of storages: nothing relies on it, and a person wants to
//! know.

use super::StorageError;

/// What a service does when an object is put under a name that is taken, with `If-None-Match: *`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replacing {
    /// It refuses: two writers never overwrite each other.
    Refused,
    /// It does not know the header, and says so.
    HeaderUnknown,
    /// It ignores the header, and replaces.
    Replaced,
}

/// Whether a bucket can keep objects from being deleted for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BucketLock {
    /// It cannot.
    Off,
    /// It can; with what every new object gets by itself, in words, if anything.
    On(Option<String>),
    /// It does not say: the service does not know the question, or the keys may not ask it.
    Unknown(String),
}

/// A bucket that can be asked.
pub trait Bucket: Send + Sync {
    /// Puts `bytes` under `key`, which holds others, and sees what comes of it.
    ///
    /// # Errors
    /// When it fails in a way that tells nothing.
    fn probe_replacing(&self, key: &str, bytes: &[u8]) -> Result<Replacing, StorageError>;

    /// Whether objects can be locked.
    ///
    /// # Errors
    /// When the bucket cannot be asked.
    fn bucket_lock(&self) -> Result<BucketLock, StorageError>;

    /// Whether what is overwritten or deleted can be recovered; `None` where the service does not tell.
    ///
    /// # Errors
    /// When the bucket cannot be asked.
    fn keeps_versions(&self) -> Result<Option<bool>, StorageError>;
}
