//! Directorys as a kind of storage.

use super::super::limit::Limited;
use super::super::scheme::{Connected, Connecting, Location, Options, Scheme};
use super::super::{Storage, StorageError};
use super::LocalStorage;
use crate::base::setting::Problem;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The kind. What is meant for no other is meant for it.
pub struct Directory;

impl Scheme for Directory {
    fn name(&self) -> &'static str {
        "file"
    }

    fn forms(&self) -> &'static str {
        "a directory or file:///path"
    }

    fn is_meant(&self, address: &str) -> bool {
        address.starts_with("file://") || !(address.is_empty() || address.contains("://"))
    }

    fn location(&self, address: &str, directory: &Path) -> Result<Arc<dyn Location>, Problem> {
        let path = match address.strip_prefix("file://") {
            Some(path) if path.starts_with('/') => path.into(),
            Some(_) => return Err(Problem::new(format!("`{address}` is not a repository address"))),
            None => directory.join(address),
        };
        Ok(Arc::new(At(path)))
    }
}

/// A folder.
#[derive(Debug)]
struct At(PathBuf);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

impl Location for At {
    fn scheme(&self) -> &'static str {
        Directory.name()
    }

    fn is_local(&self) -> bool {
        true
    }

    fn connect(&self, _options: &Options, around: &Connecting) -> Result<Connected, StorageError> {
        Ok(within(LocalStorage::open(&self.0)?, around))
    }

    fn create(&self, _options: &Options, around: &Connecting) -> Result<Connected, StorageError> {
        Ok(within(LocalStorage::create(&self.0)?, around))
    }

    fn remove_leftovers(&self, older_than: Duration) -> Result<(), StorageError> {
        LocalStorage::open(&self.0)?.remove_leftovers(older_than).map(drop)
    }

    fn leftovers(&self) -> usize {
        LocalStorage::open(&self.0).and_then(|storage| storage.leftovers()).map_or(0, |found| found.len())
    }
}

/// Within its bounds, where it has some.
fn within(storage: LocalStorage, around: &Connecting) -> Connected {
    let bare: Arc<dyn Storage> = Arc::new(storage);
    let storage = match (&around.upload, &around.download) {
        (None, None) => Arc::clone(&bare),
        (upload, download) => {
            Arc::new(Limited::new(Arc::clone(&bare), upload.clone(), download.clone())) as Arc<dyn Storage>
        }
    };
    Connected { storage, bare, bucket: None }
}
