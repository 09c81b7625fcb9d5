//! Sources whose snapshots have an index and the data, two streams: what files and buckets share.
//!
//! | file | hides |
//! |---|---|
//! | `rows` | the index while the data is read: it lies compressed in memory, and is a stream afterwards |
//! | `parent` | what the parent's index says of a path or key, and where its bytes are |
//! | `deadline` | how long all of it may take |
//! | `copies` | ranges of the parent's data that come before what is read next |

mod copies;
mod deadline;
mod parent;
mod rows;

pub(super) use copies::Copies;
pub(super) use deadline::Deadline;
pub(super) use parent::{Before, ParentIndex};
pub(super) use rows::{Kept, Rows};

use crate::content::codec::CodecError;
use crate::content::index::IndexError;
use std::time::Duration;

/// The attribute of each of the two streams that names the other.
pub const PAIR: &str = "pair";

/// The attribute of an index that counts what is in it, directories left out.
pub const FILES: &str = "files";

/// An index could not be made.
#[derive(Debug, thiserror::Error)]
pub enum IndexedError {
    /// A path or key that an index cannot have.
    #[error("cannot back up `{name}`: {source}")]
    Name {
        /// As a person reads it.
        name: String,
        /// Why.
        #[source]
        source: IndexError,
    },
    /// It took longer than it may.
    #[error("reading exceeded {limit:?} and was stopped")]
    TimedOut {
        /// The time limit.
        limit: Duration,
    },
    /// The data was not stored, and so there is no index of it.
    #[error("there is no index: the data was not stored")]
    NoData,
    /// The index could not be made.
    #[error("cannot write the index: {source}")]
    Index {
        /// Why.
        #[source]
        source: IndexError,
    },
    /// The index could not be kept.
    #[error("cannot compress the index: {source}")]
    Codec {
        /// Why.
        #[from]
        source: CodecError,
    },
}
