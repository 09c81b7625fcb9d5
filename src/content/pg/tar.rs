//! The files in an archive of `pg_dump -Ft`: which is which, and whether all are there.
//!
//! `toc.dat` stands first and is the table of contents. Each entry with data has a file that is called by its number
//! (`3021.dat`), in which a table's rows stand as COPY wrote them. Large objects are a file each (`blob_16412.dat`),
//! and behind those of an entry stands their list: `blobs.toc`, since version 16 `blobs_3021.toc`. The last file,
//! `restore.sql`, repeats the definitions for people.

use super::data::DataFacts;
use super::header::{Container, Header};
use super::map::{DumpForm, TableMap};
use super::parser::{DataEntries, Parser, Visitor};
use super::tables::DataKind;
use super::tables::TableData;
use super::{ArchiveError, Problem};

const CONTENTS: &[u8] = b"toc.dat";
const SCRIPT: &[u8] = b"restore.sql";

/// Surveys the files of a tar archive as they stream: whoever reads the tar tells of each.
#[derive(Debug)]
pub struct TarSurvey {
    contents: Contents,
    file: File,
    facts: DataFacts,
    /// The table or the large objects under way.
    open: Option<TableData<'static>>,
    has_script: bool,
    failed: Option<ArchiveError>,
    map: TableMap,
}

/// The table of contents.
#[derive(Debug)]
enum Contents {
    Reading(Box<Parser>, Heading),
    Read(DataEntries),
    Missing,
}

/// The file under way.
#[derive(Debug, Clone, Copy)]
enum File {
    None,
    Contents {
        at: u64,
    },
    Table,
    LargeObject,
    /// The list behind large objects, with the number of their entry where it says so.
    ObjectList(Option<u32>),
    Script,
    Other,
}

#[derive(Debug, Default)]
struct Heading(Option<Header>);

impl Visitor for Heading {
    fn header(&mut self, header: &Header) {
        self.0 = Some(header.clone());
    }
}

impl Default for TarSurvey {
    fn default() -> Self {
        Self::new()
    }
}

impl TarSurvey {
    /// A survey of an archive that has not begun.
    pub fn new() -> Self {
        Self {
            contents: Contents::Missing,
            file: File::None,
            facts: DataFacts::default(),
            open: None,
            has_script: false,
            failed: None,
            map: TableMap::of(DumpForm::Tar),
        }
    }

    /// A file begins: its name, where its header stands in the stream, where its first byte will.
    pub fn begin(&mut self, name: &[u8], header_at: u64, at: u64) {
        self.facts = DataFacts::default();
        self.file = match name {
            CONTENTS if header_at == 0 => {
                let parser = Parser::of(Container::Tar);
                self.contents = Contents::Reading(Box::new(parser), Heading::default());
                File::Contents { at }
            }
            SCRIPT => File::Script,
            _ => self.data_file(name, header_at, at),
        };
    }

    fn data_file(&mut self, name: &[u8], header_at: u64, at: u64) -> File {
        let number = |text: Option<&[u8]>| std::str::from_utf8(text?).ok()?.parse::<u32>().ok();
        if let Some(list) = name.strip_prefix(b"blobs").and_then(|rest| rest.strip_suffix(b".toc")) {
            return File::ObjectList(number(list.strip_prefix(b"_")));
        }
        let Some(data) = name.strip_suffix(b".dat") else { return File::Other };
        if number(data.strip_prefix(b"blob_")).is_some() {
            self.open.get_or_insert(TableData {
                kind: DataKind::LargeObjects,
                offset: header_at,
                rows: Some(0),
                ..TableData::NONE
            });
            return File::LargeObject;
        }
        let Some(dump_id) = number(Some(data)) else { return File::Other };
        self.open = Some(TableData { dump_id, offset: at, ..TableData::NONE });
        File::Table
    }

    /// The next bytes of the file under way.
    pub fn data(&mut self, bytes: &[u8]) {
        match self.file {
            File::Contents { .. } => {
                if let Contents::Reading(parser, heading) = &mut self.contents {
                    // The parser remembers the error, and the end of the file gives it.
                    let _ = parser.push(bytes, heading);
                }
            }
            File::Table | File::LargeObject => self.facts.take(bytes),
            _ => {}
        }
    }

    /// The file under way has ended; the next one's header will stand at `next_at`.
    pub fn end(&mut self, end: u64, next_at: u64) {
        let outcome = match self.file {
            File::Contents { at } => self.contents_end(at, end),
            File::Table => self.table_end(),
            File::LargeObject => {
                if let Some(objects) = &mut self.open {
                    objects.rows = objects.rows.map(|count| count.saturating_add(1));
                    objects.data_bytes = objects.data_bytes.saturating_add(self.facts.bytes);
                }
                Ok(())
            }
            File::ObjectList(dump_id) => self.objects_end(dump_id, next_at),
            File::Script => {
                self.has_script = true;
                Ok(())
            }
            File::None | File::Other => Ok(()),
        };
        self.file = File::None;
        if let Err(error) = outcome {
            self.failed.get_or_insert(error);
        }
    }

    fn contents_end(&mut self, at: u64, end: u64) -> Result<(), ArchiveError> {
        let contents = std::mem::replace(&mut self.contents, Contents::Missing);
        let Contents::Reading(parser, Heading(header)) = contents else { return Ok(()) };
        let entries = parser.contents().map_err(|error| error.moved_by(at))?;
        let header = header.ok_or(ArchiveError::NotAnArchive)?;
        self.map = TableMap { head_bytes: end, ..TableMap::of_archive(DumpForm::Tar, header) };
        self.contents = Contents::Read(entries);
        Ok(())
    }

    fn table_end(&mut self) -> Result<(), ArchiveError> {
        match self.open.take() {
            Some(table) => self.announced(TableData { len: self.facts.bytes, ..table }),
            None => Ok(()),
        }
    }

    fn objects_end(&mut self, dump_id: Option<u32>, next_at: u64) -> Result<(), ArchiveError> {
        // A list of no objects is a block all the same.
        let mut objects = self.open.take().unwrap_or(TableData {
            kind: DataKind::LargeObjects,
            offset: next_at,
            rows: Some(0),
            ..TableData::NONE
        });
        objects.len = next_at.saturating_sub(objects.offset);
        objects.dump_id = match (dump_id, &self.contents) {
            (Some(dump_id), _) => dump_id,
            (None, Contents::Read(entries)) => entries.first_of("BLOBS").map_or(0, |entry| entry.dump_id),
            (None, _) => 0,
        };
        self.announced(objects)
    }

    /// Finds the entry that announces data, and takes the data down under its name.
    fn announced(&mut self, data: TableData<'static>) -> Result<(), ArchiveError> {
        let Contents::Read(entries) = &mut self.contents else {
            return Err(Problem::Damaged("data before a table of contents").at(data.offset));
        };
        let entry = entries.take(data.dump_id).and_then(|index| entries.get(index));
        let entry =
            entry.ok_or_else(|| Problem::Damaged("a data file that no entry announces").at(data.offset))?;
        let (rows, data_bytes) = match (data.kind, self.facts.copy_rows().filter(|_| entry.is_copy)) {
            (DataKind::LargeObjects, _) => (data.rows, data.data_bytes),
            (DataKind::Table, Some(rows)) => (Some(rows), self.facts.copy_bytes()),
            (DataKind::Table, None) => (None, self.facts.bytes),
        };
        let TableMap { tables, database, .. } = &mut self.map;
        tables.push(TableData { schema: entry.schema, name: entry.name, database, rows, data_bytes, ..data });
        Ok(())
    }

    /// Where tables begin and end, by turns, as far as is known.
    pub fn edge(&self, number: usize) -> Option<u64> {
        let table = self.map.tables.get(number / 2);
        match number % 2 {
            0 => table.or(self.open).map(|table| table.offset),
            _ => table.map(|table| table.range().end),
        }
    }

    /// The end of a tar that is whole, after so many bytes: where everything is.
    ///
    /// # Errors
    /// When the archive is not complete.
    pub fn finish(mut self, bytes: u64) -> Result<TableMap, ArchiveError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        match &self.contents {
            Contents::Read(entries) => entries.finish(bytes)?,
            _ => return Err(ArchiveError::Truncated { what: "the table of contents", bytes }),
        }
        if self.open.is_some() {
            return Err(ArchiveError::Truncated { what: "large objects", bytes });
        }
        if !self.has_script {
            return Err(ArchiveError::Truncated { what: "the script behind the data", bytes });
        }
        self.map.stream_bytes = bytes;
        Ok(self.map)
    }

    /// The end of a tar that is cut off, after so many bytes, within a file or between two.
    pub fn cut(self, bytes: u64) -> ArchiveError {
        let what = match self.file {
            File::Contents { .. } => "the table of contents",
            File::Table => "the data of a table",
            File::LargeObject | File::ObjectList(_) => "large objects",
            File::Script => "the script behind the data",
            File::None | File::Other if self.has_script => "the blocks that end a tar",
            File::None | File::Other => "the start of a file",
        };
        // Whatever made no sense before: it is cut off.
        ArchiveError::Truncated { what, bytes }
    }
}

impl ArchiveError {
    /// The same error in a stream in which the archive begins that much later.
    fn moved_by(mut self, by: u64) -> Self {
        match &mut self {
            Self::TooLong { offset: place, .. }
            | Self::Damaged { offset: place, .. }
            | Self::Truncated { bytes: place, .. }
            | Self::Unfinished { bytes: place, .. } => *place = place.saturating_add(by),
            Self::NotAnArchive | Self::Format { .. } | Self::Version { .. } | Self::Widths { .. } => {}
        }
        self
    }
}
