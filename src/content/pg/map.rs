//! What is remembered of a dump's stream, and its encoding.

use super::header::{Created, Header};
use minicbor::{Decode, Encode};
use std::ops::Range;

/// The encoding's version.
const VERSION: u32 = 1;
/// No encoded map may be larger.
const MAP_BYTES_MAX: usize = 256 << 20;

/// What kind of stream a map is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum DumpForm {
    /// An archive of `pg_dump -Fc`.
    #[n(0)]
    Archive,
    /// A script of `pg_dump -Fp`.
    #[n(1)]
    Script,
    /// A script of `pg_dumpall`.
    #[n(2)]
    ClusterScript,
    /// An archive of `pg_dump -Ft`.
    #[n(3)]
    Tar,
}

/// What a range holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum DataKind {
    /// A table's rows.
    #[n(0)]
    Table,
    /// Large objects.
    #[n(1)]
    LargeObjects,
}

/// Where one table's data is, and how much of it there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableData {
    /// What it is.
    pub kind: DataKind,
    /// The number of its entry in the archive's table of contents; 0 in a script.
    pub dump_id: u32,
    /// The database, in a script of several; the stream's only one otherwise (empty if it is not named).
    pub database: String,
    /// Schema, empty if it has none.
    pub schema: String,
    /// Name.
    pub name: String,
    /// First byte in the stream: of the block in an archive, of the first row in a script or a tar; of the first file in a tar's
    /// large objects.
    pub offset: u64,
    /// Bytes in the stream: the whole block in an archive, the rows and the end mark in a script or a tar, whole files of a tar's
    /// large objects.
    pub len: u64,
    /// Bytes of the rows or large objects alone, as the archive has them (compressed, if it is).
    pub data_bytes: u64,
    /// Rows, or large objects. `None` where they cannot be told: compressed archives, INSERT commands.
    pub rows: Option<u64>,
    /// Bytes of the block that the repository did not hold when the dump was stored. `None` where nobody counted.
    pub new_bytes: Option<u64>,
}

impl TableData {
    /// A table without anything.
    pub(super) fn empty() -> Self {
        Self {
            kind: DataKind::Table,
            dump_id: 0,
            database: String::new(),
            schema: String::new(),
            name: String::new(),
            offset: 0,
            len: 0,
            data_bytes: 0,
            rows: None,
            new_bytes: None,
        }
    }

    /// Its place in the stream.
    pub fn range(&self) -> Range<u64> {
        self.offset..self.offset.saturating_add(self.len)
    }
}

/// The map of a whole dump: made while it was stored, kept with it, and enough to list it and to find every table's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableMap {
    /// What kind of stream it is of.
    pub form: DumpForm,
    /// Version of the archive format, major and minor; 0 in a script.
    pub format_version: (u8, u8),
    /// How the data is compressed: a word, see [`super::Compression::word`].
    pub compression: String,
    /// The database that was dumped, where the stream names it.
    pub database: String,
    /// The server's version.
    pub server_version: String,
    /// The version of `pg_dump`.
    pub dump_version: String,
    /// When the dump began by its host's clock.
    pub created: Option<Created>,
    /// Entries of the table of contents.
    pub entries: u64,
    /// Bytes up to the end of an archive's table of contents; what [`super::Toc::parse`] needs. 0 in a script.
    pub head_bytes: u64,
    /// Length of the stream.
    pub stream_bytes: u64,
    /// The data, in the order of the stream.
    pub tables: Vec<TableData>,
}

/// An encoded map cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// It is not what an encoder writes.
    #[error("the map of a dump cannot be decoded")]
    Decode {
        /// Why.
        #[source]
        source: minicbor::decode::Error,
    },
    /// A newer program wrote it.
    #[error("the map of a dump has version {version}, which is newer than this program")]
    Version {
        /// Its version.
        version: u32,
    },
    /// It contradicts itself.
    #[error("the map of a dump is damaged: {what}")]
    Damaged {
        /// What is wrong.
        what: &'static str,
    },
}

/// The map as it is encoded. Names of schemas and databases stand once; offsets are gaps behind the range before.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Encoded {
    #[n(0)]
    version: u32,
    #[n(1)]
    form: DumpForm,
    #[n(2)]
    format_version: (u8, u8),
    #[n(3)]
    compression: String,
    #[n(4)]
    database: String,
    #[n(5)]
    server_version: String,
    #[n(6)]
    dump_version: String,
    #[n(7)]
    created: Option<(u16, u8, u8, u8, u8, u8)>,
    #[n(8)]
    entries: u64,
    #[n(9)]
    head_bytes: u64,
    #[n(10)]
    stream_bytes: u64,
    /// Databases and schemas.
    #[n(11)]
    words: Vec<String>,
    #[n(12)]
    tables: Vec<EncodedTable>,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct EncodedTable {
    #[n(0)]
    name: String,
    #[n(1)]
    gap: u64,
    #[n(2)]
    len: u64,
    #[n(3)]
    data_bytes: u64,
    /// 0: unknown; else one more than there are.
    #[n(4)]
    rows: u64,
    #[n(5)]
    dump_id: u32,
    #[n(6)]
    schema: u32,
    #[n(7)]
    database: u32,
    #[n(8)]
    kind: DataKind,
    #[n(9)]
    new_bytes: Option<u64>,
}

/// Words by number, each once.
#[derive(Default)]
struct Words<'a> {
    all: Vec<String>,
    numbers: std::collections::HashMap<&'a str, u32>,
}

impl<'a> Words<'a> {
    fn number(&mut self, word: &'a str) -> u32 {
        let next = self.all.len() as u32;
        *self.numbers.entry(word).or_insert_with(|| {
            self.all.push(word.to_owned());
            next
        })
    }
}

impl TableMap {
    /// A map of a stream of which nothing is known but its kind.
    pub(super) fn of(form: DumpForm) -> Self {
        Self {
            form,
            format_version: (0, 0),
            compression: "none".into(),
            database: String::new(),
            server_version: String::new(),
            dump_version: String::new(),
            created: None,
            entries: 0,
            head_bytes: 0,
            stream_bytes: 0,
            tables: Vec::new(),
        }
    }

    /// What an archive's header says.
    pub(super) fn of_archive(form: DumpForm, header: Header) -> Self {
        Self {
            format_version: (header.version.0, header.version.1),
            compression: header.compression.word().into(),
            database: header.database.unwrap_or_default(),
            server_version: header.server_version.unwrap_or_default(),
            dump_version: header.dump_version.unwrap_or_default(),
            created: header.created,
            entries: header.entries,
            ..Self::of(form)
        }
    }

    /// The bytes to store. They compress well, and are not compressed.
    pub fn encode(&self) -> Vec<u8> {
        let mut words = Words::default();
        let mut end = 0;
        let tables = self
            .tables
            .iter()
            .map(|table| {
                let gap = table.offset.saturating_sub(end);
                end = table.range().end;
                EncodedTable {
                    name: table.name.clone(),
                    gap,
                    len: table.len,
                    data_bytes: table.data_bytes,
                    rows: table.rows.map_or(0, |rows| rows.saturating_add(1)),
                    dump_id: table.dump_id,
                    schema: words.number(&table.schema),
                    database: words.number(&table.database),
                    kind: table.kind,
                    new_bytes: table.new_bytes,
                }
            })
            .collect();
        let encoded = Encoded {
            version: VERSION,
            form: self.form,
            format_version: self.format_version,
            compression: self.compression.clone(),
            database: self.database.clone(),
            server_version: self.server_version.clone(),
            dump_version: self.dump_version.clone(),
            created: self.created.map(|c| (c.year, c.month, c.day, c.hour, c.minute, c.second)),
            entries: self.entries,
            head_bytes: self.head_bytes,
            stream_bytes: self.stream_bytes,
            words: words.all,
            tables,
        };
        let mut out = Vec::new();
        // Writing to memory cannot fail.
        let Ok(()) = minicbor::encode(&encoded, &mut out) else { return Vec::new() };
        out
    }

    /// Reads stored bytes. Ranges of the result lie in the stream, in order, without overlap.
    ///
    /// # Errors
    /// When the bytes are not a map, or a newer program's.
    pub fn decode(bytes: &[u8]) -> Result<Self, MapError> {
        if bytes.len() > MAP_BYTES_MAX {
            return Err(MapError::Damaged { what: "it is too large" });
        }
        let failed = |source| MapError::Decode { source };
        let version = version(bytes).map_err(failed)?;
        if version != VERSION {
            return Err(MapError::Version { version });
        }
        let encoded: Encoded = minicbor::decode(bytes).map_err(failed)?;
        let word = |number: u32| {
            encoded.words.get(number as usize).cloned().ok_or(MapError::Damaged { what: "a name is missing" })
        };
        let mut end = 0u64;
        let mut tables = Vec::new();
        for table in &encoded.tables {
            let offset = end.checked_add(table.gap);
            let table_end = offset.and_then(|offset| offset.checked_add(table.len));
            let (Some(offset), Some(table_end)) = (offset, table_end) else {
                return Err(MapError::Damaged { what: "a range is too long" });
            };
            end = table_end;
            tables.push(TableData {
                kind: table.kind,
                dump_id: table.dump_id,
                database: word(table.database)?,
                schema: word(table.schema)?,
                name: table.name.clone(),
                offset,
                len: table.len,
                data_bytes: table.data_bytes,
                rows: table.rows.checked_sub(1),
                new_bytes: table.new_bytes,
            });
        }
        if end.max(encoded.head_bytes) > encoded.stream_bytes {
            return Err(MapError::Damaged { what: "a range lies behind the end of the stream" });
        }
        let created = encoded.created.map(|(year, month, day, hour, minute, second)| Created {
            year,
            month,
            day,
            hour,
            minute,
            second,
        });
        Ok(Self {
            form: encoded.form,
            format_version: encoded.format_version,
            compression: encoded.compression,
            database: encoded.database,
            server_version: encoded.server_version,
            dump_version: encoded.dump_version,
            created,
            entries: encoded.entries,
            head_bytes: encoded.head_bytes,
            stream_bytes: encoded.stream_bytes,
            tables,
        })
    }
}

/// The version alone, which stands first: what follows may be unlike what this program knows.
fn version(bytes: &[u8]) -> Result<u32, minicbor::decode::Error> {
    let mut decoder = minicbor::Decoder::new(bytes);
    decoder.map()?;
    match decoder.u32()? {
        0 => decoder.u32(),
        _ => Err(minicbor::decode::Error::message("the version does not stand first")),
    }
}
