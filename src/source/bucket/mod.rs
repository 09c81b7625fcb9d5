//! Buckets of objects: an index and the data, two streams of a snapshot.
//!
//! | file | hides |
//! |---|---|
//! | `kind` | the keys of the configuration |
//! | `listing` | the listing, page by page, in the order of the keys |
//! | `fetch` | threads that read objects ahead, within a bound of memory |
//! | `data` | the data stream: what is read, and what is the parent's; the index comes of it |
//!
//! How a bucket is spoken to is told by whoever made the [`BucketKind`].

mod data;
mod fetch;
mod kind;
mod listing;

pub(crate) use kind::BucketKind;
pub(crate) use listing::Listing;

use super::indexed::{Deadline, IndexedError, Kept};
use super::{Dump, PlannedStream, Source, SourceError};
use crate::base::objects::{ObjectsError, Place, Reach, Reached, Trouble};
use crate::base::run::Run;
use data::Data;
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

/// A bucket could not be backed up, or not be restored into.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// The service says no, or nothing.
    #[error(transparent)]
    Objects(#[from] ObjectsError),
    /// The index could not be made.
    #[error(transparent)]
    Indexed(#[from] IndexedError),
    /// Keys come in no order: nothing can be told by comparing them.
    #[error("`{place}` lists its keys out of order")]
    Unsorted {
        /// The bucket.
        place: String,
    },
    /// A thread could not be started, or ended by a panic.
    #[error("cannot read the bucket: {source}")]
    Thread {
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Somebody asked to stop.
    #[error("stopped: cancelled")]
    Cancelled,
}

impl BucketError {
    /// What to do about it, where that can be known.
    pub fn hint(&self) -> Option<String> {
        let Self::Objects(ObjectsError { trouble, .. }) = self else { return None };
        let words = match trouble {
            Trouble::Credentials => {
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, in the environment or the `env` of the source, or `profile`"
            }
            Trouble::Denied => "check the keys and what they may do; docs/buckets.md lists the actions",
            Trouble::Unreachable => "check `endpoint`, and whether the service is up",
            _ => return None,
        };
        Some(words.to_owned())
    }
}

/// Which tags are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Tags {
    /// Those of objects that are read: a request for each that has some.
    #[default]
    Changed,
    /// Those of all objects: a request for each, also for one that did not change, since a listing says nothing of
    /// tags.
    All,
    /// None.
    None,
}

/// A bucket, or what lies below a prefix of it.
#[derive(Clone)]
pub(crate) struct Bucket {
    /// Who speaks to it.
    pub reach: &'static dyn Reach,
    /// How it is reached.
    pub reached: Reached,
    /// Where it is, as far as the settings tell.
    pub place: Place,
    /// Which tags are kept.
    pub tags: Tags,
    /// Versions that are not current, too.
    pub versions: bool,
    /// How long reading it may take.
    pub timeout: Option<Duration>,
}

/// What was asked for ahead, and the index of some hundred thousand objects, which is held compressed until the data is
/// stored.
const BYTES_OPEN: u64 = 38 << 20;

impl Source for Bucket {
    fn describe(&self) -> BTreeMap<String, String> {
        let kind = |word: &str| ("kind".to_owned(), word.to_owned());
        BTreeMap::from([kind("bucket"), ("address".to_owned(), self.place.to_string())])
    }

    fn place(&self) -> Option<Place> {
        Some(self.place.clone())
    }

    fn bytes_open(&self) -> u64 {
        BYTES_OPEN
    }

    fn streams(self: Box<Self>, series: &str, run: &Run) -> Result<Vec<PlannedStream<'static>>, SourceError> {
        let objects = self.reach.open(&self.reached, run).map_err(BucketError::from)?;
        let (made, run) = (Kept::default(), run.clone());
        let (kept, wanted) = (made.clone(), made.index_name(series));
        let which = (self.tags, self.versions);
        let timeout = self.timeout;
        let start = move || {
            let data = Data::start(objects, which, wanted, (kept, Deadline::after(timeout)), run)?;
            Ok(Box::new(data) as Box<dyn Dump>)
        };
        Ok(made.streams(series, Box::new(start)))
    }
}

#[cfg(test)]
mod tests;
