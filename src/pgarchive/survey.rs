//! Which of the known kinds a stream is, and its map.

use super::ArchiveError;
use super::header::{Compression, Header};
use super::map::{DataKind, DumpForm, TableData, TableMap};
use super::parser::{Block, BlockKind, DataEntry, Parser, Visitor};
use super::plain::{ScriptError, ScriptScanner};

/// How scripts begin.
const SCRIPT_STARTS: [&[u8]; 2] =
    [b"--\n-- PostgreSQL database dump\n", b"--\n-- PostgreSQL database cluster dump\n"];
const ARCHIVE_START: &[u8] = b"PGDMP";

/// A dump is not whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SurveyError {
    /// An archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A script.
    #[error(transparent)]
    Script(#[from] ScriptError),
}

impl SurveyError {
    /// Whether the stream ends too early; else all of it came, and it makes no sense to this program.
    pub fn is_cut_off(&self) -> bool {
        match self {
            Self::Archive(error) => {
                matches!(error, ArchiveError::Truncated { .. } | ArchiveError::Unfinished { .. })
            }
            Self::Script(error) => matches!(error, ScriptError::Truncated { .. }),
        }
    }
}

/// What is known of a stream when it has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// A dump, whole by its own structure.
    Complete(TableMap),
    /// A dump that is cut off or damaged, whatever its program's exit status says.
    Incomplete(SurveyError),
    /// An archive that this program cannot read: whole or not, nobody knows.
    Unreadable(ArchiveError),
    /// Not a dump of PostgreSQL's, or of a kind that is not looked into (a tar archive). Nothing is known.
    Unknown,
}

/// Surveys any stream as it passes: give it every byte, then ask for the verdict. It never fails, and when a stream makes no sense
/// to it, it costs nothing from there on.
#[derive(Debug, Default)]
pub struct Survey(State);

#[derive(Debug)]
enum State {
    /// Too few bytes to say; these.
    Start(Vec<u8>),
    Archive(Box<ArchiveSurvey>),
    Script(Box<ScriptScanner>),
    Unknown,
}

impl Default for State {
    fn default() -> Self {
        Self::Start(Vec::new())
    }
}

impl Survey {
    /// A survey of a stream that has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Start(start) => {
                start.extend_from_slice(bytes);
                let start = std::mem::take(start);
                self.0 = State::of(start);
            }
            State::Archive(archive) => archive.push(bytes),
            State::Script(script) => script.push(bytes),
            State::Unknown => {}
        }
    }

    /// Where the sections of the dump end that have passed, by number: what stands before the data, and each table.
    pub fn edge(&self, number: usize) -> Option<u64> {
        match &self.0 {
            State::Archive(archive) => archive.mapper.edge(number),
            State::Script(script) => script.edge(number),
            State::Start(_) | State::Unknown => None,
        }
    }

    /// The end of the stream.
    pub fn finish(self) -> Verdict {
        match self.0 {
            State::Start(start) if start.is_empty() => Verdict::Unknown,
            // Beginnings of a beginning.
            State::Start(start) if ARCHIVE_START.starts_with(&start) => {
                let bytes = start.len() as u64;
                Verdict::Incomplete(ArchiveError::Truncated { what: "the header", bytes }.into())
            }
            State::Start(start) => {
                let bytes = start.len() as u64;
                Verdict::Incomplete(
                    ScriptError::Truncated { what: "the opening comment".into(), bytes }.into(),
                )
            }
            State::Archive(archive) => match archive.finish() {
                Ok(map) => Verdict::Complete(map),
                Err(error) if error.is_foreign() => Verdict::Unreadable(error),
                Err(error) => Verdict::Incomplete(error.into()),
            },
            State::Script(script) => match script.finish() {
                Ok(map) => Verdict::Complete(map),
                Err(ScriptError::NotADump) => Verdict::Unknown,
                Err(error) => Verdict::Incomplete(error.into()),
            },
            State::Unknown => Verdict::Unknown,
        }
    }
}

impl State {
    fn of(start: Vec<u8>) -> Self {
        if start.starts_with(ARCHIVE_START) {
            let mut archive = Box::new(ArchiveSurvey::new());
            archive.push(&start);
            Self::Archive(archive)
        } else if SCRIPT_STARTS.iter().any(|script| start.starts_with(script)) {
            let mut script = Box::new(ScriptScanner::new());
            script.push(&start);
            Self::Script(script)
        } else if ARCHIVE_START.starts_with(&start)
            || SCRIPT_STARTS.iter().any(|script| script.starts_with(&start))
        {
            Self::Start(start)
        } else {
            Self::Unknown
        }
    }
}

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

    /// The end of the stream: where everything is.
    ///
    /// # Errors
    /// When the archive is not complete.
    pub fn finish(self) -> Result<TableMap, ArchiveError> {
        self.parser.finish()?;
        let header = self.mapper.header.ok_or(ArchiveError::NotAnArchive)?;
        Ok(TableMap {
            form: DumpForm::Archive,
            format_version: (header.version.0, header.version.1),
            compression: header.compression.word().into(),
            database: header.database.unwrap_or_default(),
            server_version: header.server_version.unwrap_or_default(),
            dump_version: header.dump_version.unwrap_or_default(),
            created: header.created,
            entries: header.entries,
            head_bytes: self.mapper.head_bytes,
            stream_bytes: self.stream_bytes,
            tables: self.mapper.tables,
        })
    }
}

#[derive(Debug, Default)]
struct Mapper {
    header: Option<Header>,
    head_bytes: u64,
    tables: Vec<TableData>,
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

    fn block(&mut self, entry: &DataEntry, block: &Block) {
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
            database: header.and_then(|header| header.database.clone()).unwrap_or_default(),
            schema: entry.schema.clone(),
            name: entry.name.clone(),
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
