//! Kinds of storages: which addresses are meant for each, which settings it has, and what it makes of both.

use super::at_most::AtMost;
use super::bucket::Bucket;
use super::limit::Rate;
use super::retry::{Backoff, Retry};
use super::{ErrorKind, Storage, StorageError};
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

impl Connected {
    /// A storage with a wire, as commands use it.
    pub fn by_wire<S: Storage + 'static>(bare: Arc<S>, around: &Connecting) -> Self {
        // Beneath the retries: who waits to try again takes nobody's place.
        let bounded = AtMost::new(Arc::clone(&bare), around.requests_at_once);
        let storage = Arc::new(Retry::new(bounded, Arc::clone(&around.backoff)));
        Self { storage, bare, bucket: None }
    }
}

/// An address that was understood, or why it is none: as the error shows it, without what may be a secret.
///
/// # Errors
/// The problem with it.
pub fn understood<L: Location + 'static>(
    parsed: Result<L, StorageError>,
) -> Result<Arc<dyn Location>, Problem> {
    let wrong = |error: StorageError| {
        Problem::new(format!("`{}` is not a repository address: {}", error.object, error.source))
    };
    parsed.map(|found| Arc::new(found) as Arc<dyn Location>).map_err(wrong)
}

/// The settings of a kind: what its table says, else those of everything else, else the usual ones.
pub fn options_of<T: Clone + Default + 'static>(
    table: Option<&mut Table<'_>>,
    given: &Given<'_>,
    of: impl FnOnce(&mut Table<'_>) -> T,
) -> T {
    let other = given.other.and_then(|other| other.downcast_ref::<T>());
    table.map(of).or_else(|| other.cloned()).unwrap_or_default()
}

/// The settings as the kind of a location has them.
///
/// # Errors
/// [`ErrorKind::Invalid`] when they are another kind's.
pub fn own_options<T: Clone + Default + 'static>(
    options: &Options,
    location: &dyn Location,
) -> Result<T, StorageError> {
    match options.downcast_ref::<T>() {
        Some(own) => Ok(own.clone()),
        None if options.is::<()>() => Ok(T::default()),
        None => {
            let what = "settings of another kind of storage";
            Err(StorageError::permanent("read", location.to_string(), ErrorKind::Invalid, what))
        }
    }
}
