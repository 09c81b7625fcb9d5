//! Kinds of storages: which addresses are meant for each, which settings it has, and what it makes of both.

use super::bucket::Bucket;
use super::limit::Rate;
use super::retry::Backoff;
use super::{Storage, StorageError};
use crate::base::objects::Place;
use crate::base::setting::{Given, Problem, Section, Table};
use std::any::Any;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A kind of storage. `docs/architecture.md` says how to add one.
pub trait Scheme: Sync {
    /// Its word, and the name of its table: `s3`.
    fn name(&self) -> &'static str;

    /// How its addresses are written, for whoever wrote one that is none.
    fn forms(&self) -> &'static str;

    /// Whether an address is meant for it.
    fn is_meant(&self, address: &str) -> bool;

    /// Understands an address that is meant for it. Paths that have no beginning begin at `directory`.
    ///
    /// # Errors
    /// When it is none. The text is without what may be a secret.
    fn location(&self, address: &str, directory: &Path) -> Result<Arc<dyn Location>, Problem>;

    /// Its table, and the same for the destination of a copy; `None` where it has no settings.
    fn sections(&self) -> Option<[&'static Section; 2]> {
        None
    }

    /// Takes its keys out of its table; of a destination without a table of its own there is none.
    fn options(&self, _table: Option<&mut Table<'_>>, _given: &Given<'_>) -> Options {
        Arc::new(())
    }
}

/// What the settings of a kind of storage come to. Only the kind itself knows the type.
pub type Options = Arc<dyn Any + Send + Sync>;

/// Where a repository lies. Never shows a secret.
pub trait Location: Send + Sync + fmt::Debug + fmt::Display {
    /// The word of its kind.
    fn scheme(&self) -> &'static str;

    /// Whether reading there costs neither a wire nor money.
    fn is_local(&self) -> bool;

    /// The bucket that it is in, if it is in one, as far as the settings tell.
    fn bucket(&self, _options: &Options) -> Option<Place> {
        None
    }

    /// The storage there, if it is there. One with a wire sends nothing yet.
    ///
    /// # Errors
    /// [`super::ErrorKind::NotFound`] where that can be told without a request and nothing is there; when settings make
    /// no sense.
    fn connect(&self, options: &Options, around: &Connecting) -> Result<Connected, StorageError>;

    /// Makes room for a new repository.
    ///
    /// # Errors
    /// When that cannot be done.
    fn create(&self, options: &Options, around: &Connecting) -> Result<Connected, StorageError> {
        self.connect(options, around)
    }

    /// Removes what killed writers left unfinished and nobody wrote to for `older_than`.
    ///
    /// # Errors
    /// When the storage fails.
    fn remove_leftovers(&self, _older_than: Duration) -> Result<(), StorageError> {
        // Objects are put in one request: parts are left by very large ones only, and a request costs money.
        Ok(())
    }

    /// How many unfinished objects there are, where that can be told.
    fn leftovers(&self) -> usize {
        0
    }
}

/// What a storage is connected with, whatever its kind.
pub struct Connecting {
    /// Bound of what is sent, in bytes a second.
    pub upload: Option<Arc<Rate>>,
    /// Bound of what is received.
    pub download: Option<Arc<Rate>>,
    /// How requests that failed are made again.
    pub backoff: Arc<Backoff>,
    /// Requests under way at the same time, at most.
    pub requests_at_once: usize,
}

/// A storage that is connected.
#[derive(Clone)]
pub struct Connected {
    /// As commands use it: within its bounds, and with failed requests made again.
    pub storage: Arc<dyn Storage>,
    /// Without retries, for whoever looks at it closely.
    pub bare: Arc<dyn Storage>,
    /// What it can tell of itself as a bucket, if it is one.
    pub bucket: Option<Arc<dyn Bucket>>,
}
