//! The archives of `pg_dump -Fc` and `-Ft`, and the script of `pg_dump -Fp` and `pg_dumpall`: what is in it, where, and
//! whether it is whole. Pure.
//!
//! | file | hides |
//! |---|---|
//! | `wire` | how integers and texts are written |
//! | `header` | what stands before the table of contents |
//! | `entry` | an entry of the table of contents |
//! | `data` | the walk over the pieces of a data block |
//! | `tables`, `words` | how little a table takes in memory |
//! | `parser` | the states of the stream, and when it is complete |
//! | `plain` | enough of SQL's and psql's syntax to find COPY blocks in a script |
//! | `map` | what is remembered of a stream, and its encoding |
//! | `survey` | a custom archive as it streams |
//! | `tar` | which file of a tar archive is which |
//! | `toc` | the table of contents in memory |
//! | `database` | what is said of the database itself |
//! | `order` | rows for tables with foreign keys |
//! | `pattern` | how a person names a table |
//! | `select` | what must come along with a table |
//! | `synthesise` | an archive made of parts of another |
//! | `jobs` | how a restore is spread over workers |
//!
//! **The format** (1.12 to 1.16: PostgreSQL 9.0 to 19). An integer is a sign byte and four bytes, little-endian; a text
//! is its length (-1: null) and its bytes. Header, number of entries, entries; then a block for every entry with data:
//! type (1 table, 3 large objects), the entry's number, pieces of {length, bytes}, and a length of 0. Large objects:
//! {object's number, pieces, 0}, and a number of 0. Nothing marks the end: an archive is complete when every entry with
//! data has had its block, and nothing follows.
//!
//! **Compression** of the archive hides rows from the parser, but neither blocks nor the end.

#![deny(clippy::indexing_slicing)]

mod data;
mod database;
mod entry;
mod freeze;
mod header;
mod jobs;
mod map;
mod order;
mod parser;
mod plain;
mod select;
mod survey;
mod synthesise;
mod tables;
mod tar;
mod toc;
mod wire;
mod words;

pub use data::DataFacts;
pub use database::{DatabaseEntry, DatabaseStatement, StatementKind};
pub use entry::{Entry, Piece, Section};
pub use header::{Compression, Created, Header};
pub use jobs::{JobsPlan, Part, plan_jobs};
pub use map::{DumpForm, MapError, TableMap};
pub use parser::{Block, BlockKind, DataEntry, Parser, Visitor};
pub use plain::{ScriptError, ScriptScanner, script_encoding};
pub use select::{Chosen, Omitted, Sections, SelectError, Selection, select};
pub use survey::ArchiveSurvey;
pub use synthesise::{
    Copied, LargeObject, Synthesis, SynthesisError, WithData, needs_mending, synthesise, synthesised_bytes,
};
pub use tables::{DataKind, TableData, Tables};
pub use tar::TarSurvey;
pub use toc::{Entries, Toc, TocReader};

/// The oldest minor version of format 1 that is read: that of PostgreSQL 9.0.
pub const VERSION_MINOR_MIN: u8 = 12;
/// The newest: that of PostgreSQL 17 to 19.
pub const VERSION_MINOR_MAX: u8 = 16;

/// A stream is no archive, or not a whole one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// It does not begin as an archive does.
    #[error("not an archive of pg_dump -Fc: it does not begin with PGDMP")]
    NotAnArchive,
    /// It is an archive of another kind.
    #[error("an archive of pg_dump, but not of format custom (1): its format is {format}")]
    Format {
        /// 3 is a tar file, 5 a directory's table of contents.
        format: u8,
    },
    /// It is of a version that this program does not know.
    #[error(
        "archive version {major}.{minor} is not supported: 1.{VERSION_MINOR_MIN} to 1.{VERSION_MINOR_MAX} are"
    )]
    Version {
        /// The major version.
        major: u8,
        /// The minor version.
        minor: u8,
    },
    /// It was written on a machine unlike all that PostgreSQL runs on today.
    #[error("an archive with integers of {int_bytes} and offsets of {offset_bytes} bytes is not supported")]
    Widths {
        /// Bytes of an integer; 4 is supported.
        int_bytes: u8,
        /// Bytes of an offset; 4 and 8 are supported.
        offset_bytes: u8,
    },
    /// Something claims to be larger than anything that PostgreSQL writes.
    #[error("{what} at offset {offset} claims {len}, but no more than {max} is possible")]
    TooLong {
        /// What.
        what: &'static str,
        /// Where in the stream.
        offset: u64,
        /// How long or how many it claims to be.
        len: u64,
        /// The limit.
        max: u64,
    },
    /// Bytes make no sense.
    #[error("the archive is damaged at offset {offset}: {what}")]
    Damaged {
        /// What makes no sense.
        what: &'static str,
        /// Where in the stream.
        offset: u64,
    },
    /// The stream ends within something.
    #[error("the archive ends after {bytes} bytes, inside {what}")]
    Truncated {
        /// Within what.
        what: &'static str,
        /// Length of the stream.
        bytes: u64,
    },
    /// The stream ends between two blocks, but not all have come.
    #[error(
        "the archive ends after {bytes} bytes: {missing} of {blocks} data blocks are missing, starting with {first}"
    )]
    Unfinished {
        /// How many blocks are missing.
        missing: u64,
        /// How many there should be.
        blocks: u64,
        /// What the first missing one belongs to.
        first: String,
        /// Length of the stream.
        bytes: u64,
    },
}

impl ArchiveError {
    /// Whether the stream may well be whole, only that this program cannot read it.
    pub fn is_foreign(&self) -> bool {
        matches!(self, Self::NotAnArchive | Self::Format { .. } | Self::Version { .. } | Self::Widths { .. })
    }
}

/// What is wrong, before it is known where.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Problem {
    NotAnArchive,
    Format(u8),
    Version(u8, u8),
    Widths(u8, u8),
    TooLong { what: &'static str, len: u64, max: u64 },
    Damaged(&'static str),
}

impl Problem {
    pub(crate) fn at(self, offset: u64) -> ArchiveError {
        match self {
            Self::NotAnArchive => ArchiveError::NotAnArchive,
            Self::Format(format) => ArchiveError::Format { format },
            Self::Version(major, minor) => ArchiveError::Version { major, minor },
            Self::Widths(int_bytes, offset_bytes) => ArchiveError::Widths { int_bytes, offset_bytes },
            Self::TooLong { what, len, max } => ArchiveError::TooLong { what, offset, len, max },
            Self::Damaged(what) => ArchiveError::Damaged { what, offset },
        }
    }
}
