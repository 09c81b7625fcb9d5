//! Files and directories: an index and the data, two streams of a snapshot.
//!
//! | file | hides |
//! |---|---|
//! | `walk` | how a tree is walked, in the order of the index, never through a symbolic link |
//! | `kind` | the keys of the configuration |
//! | `choice` | which files are left out |
//! | `content` | how a file is read: holes, changes meanwhile |
//! | `data` | the data stream: what is read, and what is the parent's; the index comes of it |
//! | `tree` | how a tree is written, never through a symbolic link |
//! | `there` | what lies in directories that are restored into |
//! | `meta` | how owner, attributes, mode and times are set |
//! | `facts` | what a row says of a file: times, attributes, names of owners |
//!
//! The data stream comes first: the index holds the digests of what was read for it. Until it is stored it lies
//! compressed in memory.

mod choice;
mod content;
mod data;
mod facts;
mod folder;
mod kind;
mod meta;
mod there;
mod tree;
mod walk;

use super::indexed::{IndexedError, Kept};
use super::{Dump, PlannedStream, Source, SourceError};
use crate::base::run::Run;
use crate::base::unit::Age;
use data::Data;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

pub use choice::{Choice, ChoiceError};
pub use kind::FilesKind;
pub use meta::Ownership;
pub use there::{Lying, There};
pub use tree::{NewFile, TreeWriter, is_directory, is_older, seems_same};

/// What a snapshot says of its source where old files are left out.
pub const NEWER_THAN: &str = "newer_than";

/// Files could not be backed up.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// What is to be backed up is not there, or cannot be looked at.
    #[error("cannot read `{}`: {source}", path.display())]
    Root {
        /// The path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Nothing to back up was named.
    #[error("no path to back up")]
    NoPaths,
    /// A thread could not be started, or ended by a panic.
    #[error("cannot walk the files: {source}")]
    Walk {
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The index could not be made.
    #[error(transparent)]
    Indexed(#[from] IndexedError),
    /// Somebody asked to stop.
    #[error("stopped: cancelled")]
    Cancelled,
}

/// Files and directories.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// What to back up: absolute paths, sorted and apart from each other, as [`roots`] makes them.
    pub paths: Vec<PathBuf>,
    /// What to leave out.
    pub choice: Choice,
    /// Leave out files, not directories, that were last modified longer ago than that.
    pub newer_than: Option<Age>,
    /// Enter what is mounted below.
    pub crosses: bool,
    /// Leave out what lies in a directory that says of itself that it is a cache.
    pub skips_caches: bool,
    /// How long reading them may take.
    pub timeout: Option<Duration>,
}

/// Paths made whole, sorted, and without those that lie in others.
///
/// # Errors
/// When there are none.
pub fn roots(paths: &[PathBuf], directory: &Path) -> Result<Vec<PathBuf>, FilesError> {
    let mut whole: Vec<PathBuf> = paths.iter().map(|path| plain(&directory.join(path))).collect();
    whole.sort_by(|one, other| {
        crate::content::index::canonical(one.as_os_str().as_bytes(), other.as_os_str().as_bytes())
    });
    whole.dedup_by(|later, first| later.starts_with(&*first));
    if whole.is_empty() { Err(FilesError::NoPaths) } else { Ok(whole) }
}

/// The path without `.` and `..`, as it is written: what it is called does not change when a link on the way does.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => {
                plain.pop();
            }
            _ => {}
        }
    }
    plain
}

impl Source for Files {
    fn describe(&self) -> BTreeMap<String, String> {
        let paths: Vec<String> = self.paths.iter().map(|path| path.display().to_string()).collect();
        let mut told =
            BTreeMap::from([("kind".to_owned(), "files".to_owned()), ("paths".to_owned(), paths.join("\n"))]);
        if let Some(age) = self.newer_than {
            told.insert(NEWER_THAN.to_owned(), format!("{} h", age.approximate().as_hours()));
        }
        told
    }

    fn bytes_open(&self) -> u64 {
        BYTES_OPEN
    }

    fn streams(self: Box<Self>, series: &str, run: &Run) -> Result<Vec<PlannedStream<'static>>, SourceError> {
        let (made, run) = (Kept::default(), run.clone());
        let (kept, wanted) = (made.clone(), made.index_name(series));
        let start = Box::new(move || Ok(Box::new(Data::start(*self, wanted, kept, run)?) as Box<dyn Dump>));
        Ok(made.streams(series, start))
    }
}

/// The index of a million files, which is held compressed until the data is stored.
const BYTES_OPEN: u64 = 38 << 20;

/// Files changed within so much of the beginning of a backup are read again by the next: a change in the same tick of a
/// clock is not seen.
const RACY: Duration = Duration::from_secs(2);
