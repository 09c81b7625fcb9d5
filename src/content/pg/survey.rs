//! A custom archive as it streams, and its map.

use super::ArchiveError;
use super::header::{Compression, Header};
use super::map::{DumpForm, TableMap};
use super::parser::{Block, BlockKind, DataEntry, Parser, Visitor};
use super::tables::DataKind;
use super::tables::{TableData, Tables};

/// Surveys an archive as it streams.
#[derive(Debug, Default)]
pub struct ArchiveSurvey {
    parser: Parser,
    mapper: Mapper,
    stream_bytes: u64,
}

impl ArchiveSurvey {
    /// A survey of an archive that has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes. What is wrong with them is said at the end.
    pub fn push(&mut self, bytes: &[u8]) {
        self.stream_bytes += bytes.len() as u64;
        // The parser remembers the error, and `finish` gives it.
        let _ = self.parser.push(bytes, &mut self.mapper);
    }

    /// Where the sections of the dump end that have passed, by number: what stands before the data, and each table.
    pub fn edge(&self, number: usize) -> Option<u64> {
        self.mapper.edge(number)
    }

    /// The end of the stream: where everything is.
    ///
    /// # Errors
    /// When the archive is not complete.
    pub fn finish(self) -> Result<TableMap, ArchiveError> {
        self.parser.finish()?;
        let header = self.mapper.header.ok_or(ArchiveError::NotAnArchive)?;
        Ok(TableMap {
            head_bytes: self.mapper.head_bytes,
            stream_bytes: self.stream_bytes,
            tables: self.mapper.tables,
            ..TableMap::of_archive(DumpForm::Archive, header)
        })
    }
}

#[derive(Debug, Default)]
struct Mapper {
    header: Option<Header>,
    head_bytes: u64,
    tables: Tables,
}

impl Mapper {
    fn edge(&self, number: usize) -> Option<u64> {
        match number.checked_sub(1) {
            None => Some(self.head_bytes).filter(|bytes| *bytes > 0),
            Some(table) => self.tables.get(table).map(|table| table.range().end),
        }
    }
}

impl Visitor for Mapper {
    fn header(&mut self, header: &Header) {
        self.header = Some(header.clone());
    }

    fn contents_end(&mut self, offset: u64) {
        self.head_bytes = offset;
    }

    fn block(&mut self, entry: &DataEntry<'_>, block: &Block) {
        let header = self.header.as_ref();
        let is_plain = header.is_some_and(|header| header.compression == Compression::None);
        let rows = match block.kind {
            BlockKind::LargeObjects => Some(block.objects),
            BlockKind::Table if is_plain && entry.is_copy => block.data.copy_rows(),
            BlockKind::Table => None,
        };
        self.tables.push(TableData {
            kind: match block.kind {
                BlockKind::Table => DataKind::Table,
                BlockKind::LargeObjects => DataKind::LargeObjects,
            },
            dump_id: entry.dump_id,
            database: header.and_then(|header| header.database.as_deref()).unwrap_or_default(),
            schema: entry.schema,
            name: entry.name,
            offset: block.offset,
            len: block.len,
            data_bytes: match (block.kind, rows) {
                (BlockKind::Table, Some(_)) => block.data.copy_bytes(),
                _ => block.data.bytes,
            },
            rows,
            new_bytes: None,
        });
    }
}
