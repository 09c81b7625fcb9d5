//! Objects fetched and checked against their names.

use super::format::FormatError;
use super::{RepoError, Repository};
use crate::base::id::{EpochId, IndexId, MarkId, PackId, PlanId, SlotId, SnapshotId, StatementId};
use crate::storage::{ErrorKind, Storage};

/// Ids that name objects by their hash.
pub(super) trait ObjectName: Copy + std::fmt::Display {
    fn key(&self) -> String;
    fn from_hash(hash: [u8; 32]) -> Self;
    fn hash(&self) -> &[u8; 32];
}

macro_rules! object_name {
    ($name:ident, $prefix:literal) => {
        impl ObjectName for $name {
            fn key(&self) -> String {
                format!(concat!($prefix, "/{}"), self)
            }
            fn from_hash(hash: [u8; 32]) -> Self {
                Self::from_bytes(hash)
            }
            fn hash(&self) -> &[u8; 32] {
                self.as_bytes()
            }
        }
    };
}

object_name!(IndexId, "index");
object_name!(SnapshotId, "snapshots");
object_name!(MarkId, "marks");
object_name!(PlanId, "gc");
object_name!(SlotId, "keys");
object_name!(StatementId, "authors");
object_name!(EpochId, "epochs");

impl ObjectName for PackId {
    fn key(&self) -> String {
        let name = self.to_string();
        let (front, _) = name.split_at(2);
        format!("packs/{front}/{name}")
    }
    fn from_hash(hash: [u8; 32]) -> Self {
        Self::from_bytes(hash)
    }
    fn hash(&self) -> &[u8; 32] {
        self.as_bytes()
    }
}

/// Key of a pack in the storage.
pub fn pack_key(id: &PackId) -> String {
    id.key()
}

/// Fetches an object and checks that its bytes have the hash that is its name.
pub(super) fn fetch<N: ObjectName>(
    storage: &dyn Storage,
    name: &N,
    bytes_max: u64,
) -> Result<Vec<u8>, RepoError> {
    let object = name.key();
    match storage.get(&object, bytes_max) {
        Err(error) if error.kind == ErrorKind::NotFound => Err(RepoError::Missing { object }),
        Err(error) => Err(error.into()),
        Ok(bytes) if blake3::hash(&bytes) == *name.hash() => Ok(bytes),
        Ok(_) => Err(RepoError::Damaged { object, source: FormatError::WrongHash }),
    }
}

/// The last part of a key, read as an id; `None` for files that are no objects of ours.
pub(super) fn name_in_key<N: std::str::FromStr>(key: &str) -> Option<N> {
    key.rsplit('/').next()?.parse().ok()
}

impl Repository {
    /// Puts an object under the hash of its bytes.
    pub(super) fn put_hashed<N: ObjectName>(&self, bytes: &[u8]) -> Result<N, RepoError> {
        let name = N::from_hash(*blake3::hash(bytes).as_bytes());
        self.storage.put(&name.key(), bytes)?;
        tracing::debug!("stored {}, {} bytes", name.key(), bytes.len());
        Ok(name)
    }
}
