//! Files and directories: an index and the data, two streams of a snapshot.
//!
//! | file | hides |
//! |---|---|
//! | `walk` | how a tree is walked, in the order of the index, never through a symbolic link |
//! | `kind` | the keys of the configuration |
//! | `choice` | which files are left out |
//! | `content` | how a file is read: holes, changes meanwhile |
//! | `parent` | what the parent's index says of a path, and where its bytes are |
//! | `data` | the data stream: what is read, and what is the parent's; the index comes of it |
//! | `tree` | how a tree is written, never through a symbolic link |
//! | `meta` | how owner, attributes, mode and times are set |
//! | `facts` | what a row says of a file: times, attributes, names of owners |
//!
//! The data stream comes first: the index holds the digests of what was read for it. Until it is stored it lies compressed in memory.

mod choice;
mod content;
mod data;
mod facts;
mod kind;
mod meta;
mod parent;
mod tree;
mod walk;

use super::{Dump, PlannedStream, Source, SourceError, StartedDump};
use crate::base::numbers::{Proof, StreamFormat};
use crate::base::run::Run;
use crate::base::unit::Age;
use crate::content::codec::{Codec, CodecError, Decompressor};
use crate::content::index::{IndexError, SectionMap};
use data::Data;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use choice::{Choice, ChoiceError};
pub use kind::FilesKind;
pub use meta::Ownership;
pub use tree::{NewFile, TreeWriter, is_directory, is_older, seems_same, shown};

/// The attribute of each of the two streams that names the other.
pub const PAIR: &str = "pair";

/// The attribute of an index that counts what is in it, directories left out.
pub const FILES: &str = "files";

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
    /// A path has no name that an index can have.
    #[error("cannot back up `{}`: {source}", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: IndexError,
    },
    /// Nothing to back up was named.
    #[error("no path to back up")]
    NoPaths,
    /// The data was not stored, and so there is no index of it.
    #[error("there is no index: the data was not stored")]
    NoData,
    /// A thread could not be started, or ended by a panic.
    #[error("cannot walk the files: {source}")]
    Walk {
        /// What the system said.
        #[source]
        source: io::Error,
    },
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

    fn streams(self: Box<Self>, series: &str, run: &Run) -> Result<Vec<PlannedStream<'static>>, SourceError> {
        let (index, data) = (format!("{series}/index"), format!("{series}/data"));
        let made: Arc<Mutex<Option<Made>>> = Arc::default();
        let (run, kept, wanted) = (run.clone(), Arc::clone(&made), index.clone());
        let attributes = |pair: &str| BTreeMap::from([(PAIR.to_owned(), pair.to_owned())]);
        let (of_data, of_index) = (attributes(&index), attributes(&data));
        let start_data = Box::new(move || {
            let dump = Data::start(*self, wanted, kept, run)?;
            Ok(StartedDump { dump: Box::new(dump), attributes: of_data })
        });
        let start_index = Box::new(move || {
            let made = made.lock().unwrap_or_else(PoisonError::into_inner).take();
            let made = made.ok_or(FilesError::NoData)?;
            let mut attributes = of_index;
            attributes.extend(made.counts.clone());
            let dump =
                Index { made, section: 0, plain: Vec::new(), at: 0, decompressor: Decompressor::default() };
            Ok(StartedDump { dump: Box::new(dump), attributes })
        });
        Ok(vec![
            PlannedStream { name: data, start: start_data },
            PlannedStream { name: index, start: start_index },
        ])
    }
}

/// The index of data that was stored.
#[derive(Default)]
struct Made {
    /// Compressed pieces, and how long they are plain.
    pieces: Vec<(Codec, Vec<u8>, usize)>,
    map: SectionMap,
    counts: BTreeMap<String, String>,
}

/// The index as a stream.
struct Index {
    made: Made,
    section: usize,
    plain: Vec<u8>,
    at: usize,
    decompressor: Decompressor,
}

impl Read for Index {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at >= self.plain.len() {
            let Some((codec, stored, len)) = self.made.pieces.get_mut(self.section) else { return Ok(0) };
            self.decompressor.decompress(*codec, stored, *len, &mut self.plain).map_err(io::Error::other)?;
            stored.clear();
            stored.shrink_to_fit();
            self.section += 1;
            self.at = 0;
        }
        let rest = self.plain.get(self.at..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        self.at += count;
        Ok(count)
    }
}

impl Dump for Index {
    fn finish(self: Box<Self>) -> Result<Proof, SourceError> {
        Ok(Proof::Structure)
    }

    fn format(&self) -> Option<StreamFormat> {
        Some(StreamFormat::FileIndex)
    }

    fn map(&self) -> Option<Vec<u8>> {
        Some(self.made.map.encode())
    }
}

/// Files changed within so much of the beginning of a backup are read again by the next: a change in the same tick of a clock is not seen.
const RACY: Duration = Duration::from_secs(2);
