//! Small immutable objects: fetched many at once, kept in the catalog, and checked against their names either way.

use crate::vault::catalog::Catalog;
use crate::vault::format::FormatError;
use crate::vault::objects::{ObjectName, fetch};
use crate::vault::{RepoError, Repository};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Fetches what the catalog does not have, many at once, where each waits for a wire: a new machine would wait for one
/// snapshot and mark after another. What fails is met again, and told, by whoever wants it.
pub(super) fn fetch_unknown<N: ObjectName + Sync>(
    repo: &Repository,
    catalog: &mut Catalog,
    names: &[N],
    bytes_max: u64,
    at_once: usize,
) {
    if repo.storage.is_local() {
        return;
    }
    let is_unknown = |name: &&N| !matches!(catalog.object(&name.key()), Ok(Some(_)));
    let unknown: Vec<&N> = names.iter().filter(is_unknown).collect();
    if unknown.len() < 2 {
        return;
    }
    let next = AtomicUsize::new(0);
    let (fetched_in, fetched) = crossbeam_channel::bounded(at_once);
    std::thread::scope(|scope| {
        for _ in 0..at_once.min(unknown.len()) {
            let (next, unknown, fetched_in) = (&next, &unknown, fetched_in.clone());
            let work = move || {
                while let Some(name) = unknown.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let Ok(bytes) = fetch(repo.storage.as_ref(), *name, bytes_max) else { return };
                    if fetched_in.send((name.key(), bytes)).is_err() {
                        return;
                    }
                }
            };
            let named = std::thread::Builder::new().name("metadata".to_owned());
            // Safe to ignore because fewer threads, or none, only take longer.
            let _ = named.spawn_scoped(scope, work);
        }
        drop(fetched_in);
        for (key, bytes) in fetched {
            // Safe to ignore because the catalog only spares the next fetch.
            let _ = catalog.keep_object(&key, &bytes);
        }
    });
}

/// A small object, opened. One that only a newer program could open is an error of that kind where a full author signed
/// it; whatever others say in a header is nothing.
pub(super) fn small_and_opened<N: ObjectName, T>(
    repo: &Repository,
    catalog: &mut Catalog,
    name: &N,
    bytes_max: u64,
    open: impl Fn(&[u8]) -> Result<T, FormatError>,
) -> Result<T, RepoError> {
    let bytes = small_object(repo, catalog, name, bytes_max)?;
    open(&bytes).map_err(|source| {
        let is_claim = source.is_newer() && !repo.authors.is_newer_by_full(&bytes, None, Some(name.hash()));
        damaged(name)(if is_claim { FormatError::ClaimsNewer } else { source })
    })
}

/// A small immutable object, from the catalog where it was read before. The name is checked either way: the catalog is
/// never trusted.
pub(super) fn small_object<N: ObjectName>(
    repo: &Repository,
    catalog: &mut Catalog,
    name: &N,
    bytes_max: u64,
) -> Result<Vec<u8>, RepoError> {
    let key = name.key();
    if let Ok(Some(bytes)) = catalog.object(&key)
        && blake3::hash(&bytes) == *name.hash()
    {
        return Ok(bytes);
    }
    let bytes = fetch(repo.storage.as_ref(), name, bytes_max)?;
    // Safe to ignore because the catalog only spares the next fetch.
    let _ = catalog.keep_object(&key, &bytes);
    Ok(bytes)
}

pub(super) fn damaged<N: ObjectName>(name: &N) -> impl FnOnce(FormatError) -> RepoError + use<N> {
    let object = name.key();
    move |source| RepoError::Damaged { object, source }
}
