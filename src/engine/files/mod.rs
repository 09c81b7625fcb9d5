//! Files of a snapshot: which there are, where their contents lie, and how they come back.
//!
//! | file | hides |
//! |---|---|
//! | `wanted` | which files are meant, and which sections of the index they can be in |
//! | `restore` | what a restore would do to a directory, and how it does it |

mod restore;
mod wanted;

pub use restore::{FilesJob, FilesPlan, FilesReport, Overwrite};
pub use wanted::{WantedFiles, lies_below};

use super::OpError;
use super::restore::Chosen;
use super::stream_reader::StreamReader;
use crate::base::event::Cancel;
use crate::content::index::{Entry, IndexError, IndexReader, Placed, Row, SectionMap, read_section};
use crate::source::files::PAIR;
use crate::vault::RepoError;
use crate::vault::snapshot::{Stream, StreamFormat};
use std::io::BufReader;
use std::ops::Range;

/// The files of a snapshot.
pub struct Tree<'a> {
    chosen: &'a Chosen,
    index: &'a Stream,
    data: &'a Stream,
    map: SectionMap,
}

/// A file, and where its bytes are in the data.
pub struct PlacedFile {
    /// The file.
    pub row: Row,
    /// Its bytes.
    pub bytes: Range<u64>,
}

/// Takes files one after another.
pub type Each<'a> = dyn FnMut(PlacedFile) -> Result<(), OpError> + 'a;

impl<'a> Tree<'a> {
    /// The files of a snapshot, or those that belong to the stream of that name; `None` where it has none.
    ///
    /// # Errors
    /// When the streams do not fit each other.
    pub fn of(chosen: &'a Chosen, stream: Option<&str>) -> Result<Option<Self>, OpError> {
        let streams = &chosen.body.streams;
        let is_meant = |index: &&Stream| {
            let pair = index.attributes.get(PAIR).map(String::as_str);
            index.format == StreamFormat::FileIndex
                && stream.is_none_or(|name| index.name == name || pair == Some(name))
        };
        let Some(index) = streams.iter().find(is_meant) else { return Ok(None) };
        let wrong = |what: &str| RepoError::Inconsistent {
            object: format!("stream {}", index.name),
            what: what.to_owned(),
        };
        let pair = index.attributes.get(PAIR);
        let data = streams.iter().find(|stream| Some(&stream.name) == pair);
        let data = data.ok_or_else(|| wrong("the snapshot lacks the data of these files"))?;
        let map = match &index.table_map {
            Some(bytes) => SectionMap::decode(bytes).map_err(|error| wrong(&error.to_string()))?,
            None => SectionMap::default(),
        };
        if !map.sections.is_empty() && map.data_bytes() != data.bytes {
            return Err(wrong("its map is of other data").into());
        }
        Ok(Some(Self { chosen, index, data, map }))
    }

    fn wrong(&self, error: &IndexError) -> OpError {
        let object = format!("stream {}", self.index.name);
        RepoError::Inconsistent { object, what: error.to_string() }.into()
    }

    /// Gives all files that are meant, in the order of the index, and before each the directories that it is in.
    ///
    /// # Errors
    /// When the index cannot be read, or whoever takes them fails.
    pub fn files(&self, wanted: &WantedFiles, cancel: &Cancel, each: &mut Each<'_>) -> Result<(), OpError> {
        let mut above: Vec<PlacedFile> = Vec::new();
        let mut take = |entry: Entry, offset: &mut u64| {
            let start = *offset;
            *offset = start.saturating_add(entry.row.data_bytes());
            let file = PlacedFile { row: entry.row, bytes: start..*offset };
            above.retain(|directory| lies_below(&file.row.path, &directory.row.path));
            let is_directory = file.row.kind == crate::content::index::Kind::Directory;
            if wanted.fits(&file.row.path, is_directory) {
                above.drain(..).try_for_each(&mut *each)?;
                return each(file);
            }
            if is_directory {
                above.push(file);
            }
            Ok(())
        };
        if wanted.is_all() || self.map.sections.is_empty() {
            return self.all(&mut take, cancel);
        }
        let placed: Vec<Placed<'_>> = self.map.placed().collect();
        for (at, section) in placed.iter().enumerate() {
            let next = placed.get(at + 1).map(|next| next.section.first.as_slice());
            if !wanted.may_be_in(section.section, next) {
                continue;
            }
            let mut bytes = Vec::new();
            self.chosen.read_range(self.index, section.index.clone(), cancel, &mut |part| {
                bytes.extend_from_slice(part);
                Ok(())
            })?;
            let mut offset = section.data.start;
            let entries = read_section(&bytes).map_err(|error| self.wrong(&error))?;
            entries.into_iter().try_for_each(|entry| take(entry, &mut offset))?;
        }
        Ok(())
    }

    /// Reads the whole index, and checks its digest.
    fn all(
        &self,
        take: &mut dyn FnMut(Entry, &mut u64) -> Result<(), OpError>,
        cancel: &Cancel,
    ) -> Result<(), OpError> {
        let reader = StreamReader::open(self.chosen.repo(), self.index.clone());
        let failure = reader.failure();
        let mut sections = IndexReader::new(BufReader::with_capacity(256 << 10, reader));
        let mut offset = 0;
        loop {
            if cancel.is_cancelled() {
                return Err(RepoError::Cancelled.into());
            }
            match sections.section() {
                Ok(Some(entries)) => entries.into_iter().try_for_each(|entry| take(entry, &mut offset))?,
                Ok(None) => return Ok(()),
                Err(error) => {
                    let failure = failure.lock().ok().and_then(|mut failure| failure.take());
                    return Err(failure.map_or_else(|| self.wrong(&error), OpError::from));
                }
            }
        }
    }

    /// Writes the bytes of a file, which is all of its contents but the holes.
    fn read(
        &self,
        bytes: Range<u64>,
        cancel: &Cancel,
        output: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<(), RepoError> {
        self.chosen.read_range(self.data, bytes, cancel, output).map(drop)
    }
}
