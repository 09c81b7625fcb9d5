//! What other processes did since something was looked up: what a forget or a prune removed meanwhile is no damage.
//!
//! A prune puts the index objects that name what it moved before it removes the old ones, and removes packs last. So
//! whoever misses a pack, and finds that an index object it relied on is gone, too, was overtaken. (Whoever misses a
//! snapshot looks whether its mark is there still, since `forget` removes marks first: see `history`.)

use super::catalog::Catalog;
use super::{RepoError, Repository};
use crate::base::id::IndexId;
use std::collections::HashSet;

/// What an operation began with.
#[derive(Debug, Clone, Default)]
pub struct Before {
    indexes: HashSet<IndexId>,
}

impl Before {
    /// What `catalog` was told.
    pub fn new(catalog: &Catalog) -> Self {
        // Where the catalog fails, less is explained.
        Self { indexes: catalog.indexes().unwrap_or_default() }
    }

    /// The error as it is, or, where something is missing because another process removed it since, that this is so.
    pub fn explain(&self, repo: &Repository, error: RepoError) -> RepoError {
        let (RepoError::Missing { .. } | RepoError::ChunkLost { .. } | RepoError::ChunksLost { .. }) = error
        else {
            return error;
        };
        match has_lost_any(repo, &self.indexes) {
            Ok(true) => RepoError::Overtaken { what: format!("a prune ran at the same time: {error}") },
            // What cannot be explained stays damage.
            Ok(false) | Err(_) => error,
        }
    }
}

/// Whether one of these index objects is there no more: then what it said may hold no longer.
pub(super) fn has_lost_any(repo: &Repository, indexes: &HashSet<IndexId>) -> Result<bool, RepoError> {
    let listed: HashSet<IndexId> = repo.list_names::<IndexId>("index/")?.into_iter().collect();
    Ok(indexes.iter().any(|id| !listed.contains(id)))
}
