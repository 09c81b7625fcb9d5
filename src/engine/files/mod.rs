//! Files of a snapshot: which there are, where their contents lie, and how they come back.
//!
//! | file | hides |
//! |---|---|
//! | `wanted` | which files are meant, and which sections of the index they can be in |
//! | `diff` | what became of files from one snapshot to another |
//! | `moved` | which of these only went to another path |
//! | `extra` | what a directory holds and a snapshot does not, and what must not be deleted |
//! | `pieces` | how contents of many files are read in few goes |
//! | `bucket` | what a restore would do to a bucket, and how it does it |
//! | `into_bucket` | which bucket is meant, and what must not happen to it |
//! | `restore` | what a restore would do to a directory, and how it does it |

mod bucket;
mod diff;
mod extra;
mod hits;
mod into_bucket;
mod moved;
mod pieces;
mod restore;
mod wanted;

pub use bucket::{BucketJob, BucketPlan, BucketReport};
pub use diff::{Became, EachChange};
pub use extra::{Assent, Extras, check_protected_directory};
pub use hits::first;
pub use into_bucket::{IntoBucketJob, IntoBucketPlan, plan_into_bucket, run_into_bucket};
pub use moved::{ChangedRow, Moves};
pub use restore::{FilesJob, FilesPlan, FilesReport, Overwrite, usual_ownership};
pub use wanted::{WantedFiles, lies_below};

use super::OpError;
use super::file_digest::of;
use super::restore::Chosen;
use crate::base::event::Cancel;
use crate::base::fault::Next;
use crate::base::words::path as shown;
use crate::content::index::{IndexError, Kind, Of, Placed, Row, SectionMap, read_section};
use crate::source::indexed::PAIR;
use crate::vault::RepoError;
use crate::vault::snapshot::Stream;
use diff::Rows;
use std::io::{self, Write};
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

/// An index without rows: its magic, and its end.
const EMPTY_BYTES: u64 = 10;

/// Takes files one after another.
pub type Each<'a> = dyn FnMut(PlacedFile) -> Result<(), OpError> + 'a;

impl<'a> Tree<'a> {
    /// The same where there have to be some.
    ///
    /// # Errors
    /// As [`Tree::of`], and when there are none.
    pub fn any(chosen: &'a Chosen, stream: Option<&str>) -> Result<Self, OpError> {
        Self::of(chosen, stream)?.ok_or_else(|| OpError::Job {
            message: format!("snapshot {} holds no files", chosen.summary.id.short()),
            next: Some(Next::new("restore a dump with {output} FILE or {to_database}")),
        })
    }

    /// Sees that a restore of so many has something to do.
    ///
    /// # Errors
    /// When it has not.
    pub fn check_matches(&self, count: u64) -> Result<(), OpError> {
        if count > 0 || self.is_empty() {
            return Ok(());
        }
        let what = self.noun();
        let next = format!(
            "`dumpvault ls SNAPSHOT:/PATH` lists {what}s; patterns of {{path}} are those of a .gitignore file in `/`"
        );
        let message = format!("no {what} in the snapshot matches");
        Err(OpError::Job { message, next: Some(Next::new(next)) })
    }

    /// The files of a snapshot, or those that belong to the stream of that name; `None` where it has none.
    ///
    /// # Errors
    /// When the streams do not fit each other.
    pub fn of(chosen: &'a Chosen, stream: Option<&str>) -> Result<Option<Self>, OpError> {
        let streams = &chosen.body.streams;
        let is_meant = |index: &&Stream| {
            let pair = index.attributes.get(PAIR).map(String::as_str);
            index.format.is_index() && stream.is_none_or(|name| index.name == name || pair == Some(name))
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
            None => SectionMap { of: of(index), ..SectionMap::default() },
        };
        if map.of != of(index) {
            return Err(wrong("its map is of another kind").into());
        }
        if !map.sections.is_empty() && map.data_bytes() != data.bytes {
            return Err(wrong("its map is of other data").into());
        }
        Ok(Some(Self { chosen, index, data, map }))
    }

    /// What it holds.
    pub fn holds(&self) -> Of {
        self.map.of
    }

    /// Whether those are objects of a bucket, and not files.
    pub fn is_of_objects(&self) -> bool {
        self.map.of == Of::Objects
    }

    /// What one of those is called.
    pub fn noun(&self) -> &'static str {
        match self.map.of {
            Of::Files => "file",
            Of::Objects => "object",
        }
    }

    /// Whether it holds nothing at all.
    pub fn is_empty(&self) -> bool {
        self.data.bytes == 0 && self.map.sections.is_empty() && self.index.bytes <= EMPTY_BYTES
    }

    /// The path, or key, that somebody wrote behind the name of a snapshot. Of a key only the first slash is none of
    /// its own.
    pub fn path_of<'b>(&self, given: &'b str) -> &'b [u8] {
        match self.map.of {
            Of::Files => given.trim_matches('/'),
            Of::Objects => given.strip_prefix('/').unwrap_or(given),
        }
        .as_bytes()
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
        let mut take = |row: Row, offset: &mut u64| {
            let start = *offset;
            *offset = start.saturating_add(row.data_bytes());
            let file = PlacedFile { row, bytes: start..*offset };
            if !wanted.fits_age(file.row.is_old) {
                return Ok(());
            }
            above.retain(|directory| lies_below(&file.row.path, &directory.row.path));
            let is_directory = file.row.kind == Kind::Directory;
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
            if !wanted.may_be_in(self.map.of, section.section, next) {
                continue;
            }
            let mut bytes = Vec::new();
            self.chosen.read_range(self.index, section.index.clone(), cancel, &mut |part| {
                bytes.extend_from_slice(part);
                Ok(())
            })?;
            let mut offset = section.data.start;
            let entries = read_section(self.map.of, &bytes).map_err(|error| self.wrong(&error))?;
            entries.into_iter().try_for_each(|entry| take(entry.row, &mut offset))?;
        }
        Ok(())
    }

    /// Reads the whole index, and checks its digest.
    fn all(
        &self,
        take: &mut dyn FnMut(Row, &mut u64) -> Result<(), OpError>,
        cancel: &Cancel,
    ) -> Result<(), OpError> {
        let (mut rows, mut offset) = (Rows::of(self), 0);
        while let Some(row) = rows.next()? {
            if cancel.is_cancelled() {
                return Err(RepoError::Cancelled.into());
            }
            take(row, &mut offset)?;
        }
        Ok(())
    }

    /// Writes one file, or that version of an object, to `output`, holes as zeros, and checks its digest.
    ///
    /// # Errors
    /// When there is none of that path, it is not a regular file, or it is not what its digest says.
    pub fn cat(
        &self,
        path: &[u8],
        version: Option<&str>,
        output: &mut dyn Write,
        cancel: &Cancel,
    ) -> Result<(), OpError> {
        let found = match version {
            Some(version) => self.find_version(path, version, cancel)?,
            None => self.find(path, cancel)?,
        };
        let found = match found {
            Some(PlacedFile { row: Row { kind: Kind::HardLink(first), .. }, .. }) => {
                self.find(&first, cancel)?
            }
            found => found,
        };
        let refused = |what: &str| OpError::Job { message: format!("`{}` {what}", shown(path)), next: None };
        let Some(PlacedFile { row, bytes }) = found else { return Err(refused("is not in the snapshot")) };
        let Kind::File { size, digest } = row.kind else { return Err(refused("is not a regular file")) };
        let (mut hasher, mut at, mut segments) = (blake3::Hasher::new(), 0, restore::segments(&row, size));
        let outcome = self.read(bytes, cancel, &mut |mut part| {
            hasher.update(part);
            while let Some(range) = segments.front_mut().filter(|_| !part.is_empty()) {
                zeros(output, range.start - at)?;
                let count = usize::try_from(range.end - range.start).unwrap_or(usize::MAX).min(part.len());
                let (now, later) = part.split_at_checked(count).unwrap_or((part, &[]));
                output.write_all(now)?;
                range.start += count as u64;
                (at, part) = (range.start, later);
                if range.start >= range.end {
                    segments.pop_front();
                }
            }
            Ok(())
        });
        outcome?;
        zeros(output, size.saturating_sub(at)).map_err(|source| RepoError::Output { source })?;
        match *hasher.finalize().as_bytes() == digest {
            true => Ok(()),
            false => {
                let what = format!("`{}` is not what its digest says", shown(path));
                Err(RepoError::Inconsistent { object: format!("stream {}", self.data.name), what }.into())
            }
        }
    }

    /// The file of that path.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn find(&self, path: &[u8], cancel: &Cancel) -> Result<Option<PlacedFile>, OpError> {
        let mut found = None;
        self.files(&WantedFiles::exactly(path), cancel, &mut |file| {
            if file.row.path == path {
                found = Some(file);
            }
            Ok(())
        })?;
        Ok(found)
    }

    fn find_version(
        &self,
        path: &[u8],
        version: &str,
        cancel: &Cancel,
    ) -> Result<Option<PlacedFile>, OpError> {
        let mut found = None;
        self.files(&WantedFiles::exactly(path).with_versions(true), cancel, &mut |file| {
            if file.row.path == path && file.row.extra.version.as_deref() == Some(version) {
                found = Some(file);
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Writes the bytes of a file, which is all of its contents but the holes.
    fn read(
        &self,
        bytes: Range<u64>,
        cancel: &Cancel,
        output: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<(), RepoError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.chosen.read_range(self.data, bytes, cancel, output).map(drop)
    }
}

/// Writes so many bytes of zero.
fn zeros(output: &mut dyn Write, count: u64) -> io::Result<()> {
    io::copy(&mut io::Read::take(io::repeat(0), count), &mut Through(output)).map(drop)
}

/// A writer of unknown size as one of a known.
struct Through<'a>(&'a mut dyn Write);

impl Write for Through<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
