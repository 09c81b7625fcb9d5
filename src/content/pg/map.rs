//! What is remembered of a dump's stream, and its encoding.

use super::header::{Created, Header};
use super::tables::{DataKind, Place, Row, TableData, Tables};
use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};

/// The encoding's version.
const VERSION: u32 = 1;
const BEHIND_THE_END: &str = "a range lies behind the end of the stream";
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

/// The map of a whole dump: made while it was stored, kept with it, and enough to list it and to find every table's
/// bytes.
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
    pub tables: Tables,
}

/// An encoded map cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// It is not what an encoder writes.
    #[error("the map of a dump cannot be decoded")]
    Decode {
        /// Why.
        #[source]
        source: DecodeError,
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
struct Encoded<T> {
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
    tables: T,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct EncodedTable<'a> {
    #[b(0)]
    name: &'a str,
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

/// Tables as they are encoded, one after the other: never all of them at once.
struct Written<'a>(&'a Tables);

impl<C> Encode<C> for Written<'_> {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, ctx: &mut C) -> Result<(), EncodeError<W::Error>> {
        let Self(tables) = self;
        e.array(tables.len() as u64)?;
        let mut end = 0;
        for (at, row) in (0..tables.len()).filter_map(|at| Some((at, tables.row(at)?))) {
            let place = tables.place(at);
            let gap = place.offset.saturating_sub(end);
            end = place.offset.saturating_add(place.len);
            let table = EncodedTable {
                name: tables.name(at),
                gap,
                len: place.len,
                data_bytes: row.data_bytes,
                rows: row.rows,
                dump_id: place.dump_id,
                schema: row.schema,
                database: row.database,
                kind: row.kind,
                new_bytes: place.new_bytes.checked_sub(1),
            };
            table.encode(e, ctx)?;
        }
        Ok(())
    }
}

/// Tables as they were read, with their places or without: in the place of their offsets stand the gaps before them.
struct Read<const PLACES: bool>(Tables);

impl<'b, C, const PLACES: bool> Decode<'b, C> for Read<PLACES> {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, DecodeError> {
        // Room for all of them at once: what grows leaves holes behind. A table takes ten bytes at least, whatever the
        // number says.
        let stored = d.input().len();
        let count = d.probe().array()?.map_or(0, |count| count.min(stored as u64 / 10) as usize);
        let mut tables = Tables::with_room(count, if PLACES { count } else { 0 }, stored);
        for table in d.array_iter_with::<C, EncodedTable<'b>>(ctx)? {
            let table = table?;
            let mut row = Row::new(table.kind, [table.schema, table.database]);
            row.data_bytes = table.data_bytes;
            row.rows = table.rows;
            let place = PLACES.then(|| Place {
                offset: table.gap,
                len: table.len,
                new_bytes: table.new_bytes.map_or(0, |bytes| bytes.saturating_add(1)),
                dump_id: table.dump_id,
            });
            tables.push_row(table.name, row, place);
        }
        tables.shrink();
        Ok(Self(tables))
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
            tables: Tables::default(),
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
            words: self.tables.words.iter().map(str::to_owned).collect(),
            tables: Written(&self.tables),
        };
        // Counted first: what grows by doubling leaves holes behind that are as large. Writing to memory cannot fail.
        let mut counted = Counted(0);
        let Ok(()) = minicbor::encode(&encoded, &mut counted) else { return Vec::new() };
        let mut out = Vec::with_capacity(counted.0);
        let Ok(()) = minicbor::encode(&encoded, &mut out) else { return Vec::new() };
        out
    }

    /// Reads stored bytes table by table, in the order of the stream, and holds one at a time.
    ///
    /// # Errors
    /// As [`TableMap::decode`]; some tables may have been read before.
    pub fn each_table(bytes: &[u8], mut each: impl FnMut(TableData<'_>)) -> Result<(), MapError> {
        check_version(bytes)?;
        let mut decoder = Decoder::new(bytes);
        let failed = |source| MapError::Decode { source };
        // Maps have a length, which the check of the version read.
        let fields = decoder.map().map_err(failed)?.unwrap_or(0);
        let (mut words, mut stream_bytes) = (Vec::<String>::new(), 0);
        for _ in 0..fields {
            match decoder.u32().map_err(failed)? {
                STREAM_BYTES => stream_bytes = decoder.u64().map_err(failed)?,
                WORDS => words = decoder.decode().map_err(failed)?,
                TABLES => tables(&mut decoder, stream_bytes, &words, &mut each)?,
                _ => decoder.skip().map_err(failed)?,
            }
        }
        Ok(())
    }

    /// Reads stored bytes. Ranges of the result lie in the stream, in order, without overlap.
    ///
    /// # Errors
    /// When the bytes are not a map, or a newer program's.
    pub fn decode(bytes: &[u8]) -> Result<Self, MapError> {
        Self::decode_with::<true>(bytes)
    }

    /// As [`TableMap::decode`], in half the memory: all ranges are empty, and nothing is known of new bytes.
    ///
    /// # Errors
    /// As [`TableMap::decode`].
    pub fn decode_amounts(bytes: &[u8]) -> Result<Self, MapError> {
        Self::decode_with::<false>(bytes)
    }

    fn decode_with<const PLACES: bool>(bytes: &[u8]) -> Result<Self, MapError> {
        check_version(bytes)?;
        let failed = |source| MapError::Decode { source };
        let encoded: Encoded<Read<PLACES>> = minicbor::decode(bytes).map_err(failed)?;
        let Read(mut tables) = encoded.tables;
        let words = encoded.words.len();
        let mut end = 0u64;
        if tables.rows().iter().any(|row| row.schema.max(row.database) as usize >= words) {
            return Err(MapError::Damaged { what: "a name is missing" });
        }
        for place in tables.places_mut() {
            let offset = end.checked_add(place.offset);
            let place_end = offset.and_then(|offset| offset.checked_add(place.len));
            let (Some(offset), Some(place_end)) = (offset, place_end) else {
                return Err(MapError::Damaged { what: "a range is too long" });
            };
            (place.offset, end) = (offset, place_end);
        }
        tables.words = encoded.words.into_iter().collect();
        if end.max(encoded.head_bytes) > encoded.stream_bytes {
            return Err(MapError::Damaged { what: BEHIND_THE_END });
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

/// The fields of [`Encoded`] that are read by themselves, too; the tables come last.
const STREAM_BYTES: u32 = 10;
const WORDS: u32 = 11;
const TABLES: u32 = 12;

/// Hands on tables one after the other; their ranges lie in order, without overlap.
fn tables(
    decoder: &mut Decoder<'_>,
    stream_bytes: u64,
    words: &[String],
    each: &mut impl FnMut(TableData<'_>),
) -> Result<(), MapError> {
    let failed = |source| MapError::Decode { source };
    let word =
        |number: u32| words.get(number as usize).ok_or(MapError::Damaged { what: "a name is missing" });
    let mut end = 0u64;
    for table in decoder.array_iter::<EncodedTable<'_>>().map_err(failed)? {
        let table = table.map_err(failed)?;
        let offset = end.checked_add(table.gap);
        let table_end = offset.and_then(|offset| offset.checked_add(table.len));
        let (Some(offset), Some(table_end)) = (offset, table_end) else {
            return Err(MapError::Damaged { what: "a range is too long" });
        };
        if table_end > stream_bytes {
            return Err(MapError::Damaged { what: BEHIND_THE_END });
        }
        end = table_end;
        each(TableData {
            kind: table.kind,
            dump_id: table.dump_id,
            database: word(table.database)?,
            schema: word(table.schema)?,
            name: table.name,
            offset,
            len: table.len,
            data_bytes: table.data_bytes,
            rows: table.rows.checked_sub(1),
            new_bytes: table.new_bytes,
        });
    }
    Ok(())
}

/// Counts bytes that are written.
struct Counted(usize);

impl Write for Counted {
    type Error = std::convert::Infallible;

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), Self::Error> {
        self.0 += bytes.len();
        Ok(())
    }
}

/// Refuses what this program does not read.
fn check_version(bytes: &[u8]) -> Result<(), MapError> {
    if bytes.len() > MAP_BYTES_MAX {
        return Err(MapError::Damaged { what: "it is too large" });
    }
    match version(bytes).map_err(|source| MapError::Decode { source })? {
        VERSION => Ok(()),
        version => Err(MapError::Version { version }),
    }
}

/// The version alone, which stands first: what follows may be unlike what this program knows.
fn version(bytes: &[u8]) -> Result<u32, DecodeError> {
    let mut decoder = minicbor::Decoder::new(bytes);
    decoder.map()?;
    match decoder.u32()? {
        0 => decoder.u32(),
        _ => Err(DecodeError::message("the version does not stand first")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> TableMap {
        let table = |name, offset, schema| TableData {
            name,
            offset,
            schema,
            database: "app",
            len: 20,
            data_bytes: 10,
            dump_id: 7,
            rows: Some(3),
            ..TableData::NONE
        };
        let large = TableData { kind: DataKind::LargeObjects, rows: None, ..table("", 200, "") };
        let tables = [table("a", 50, "public"), table("größe", 70, "other"), large];
        TableMap {
            stream_bytes: 300,
            tables: tables.into_iter().collect(),
            ..TableMap::of(DumpForm::Archive)
        }
    }

    #[test]
    fn tables_that_are_read_one_by_one_are_those_of_the_whole_map() {
        let bytes = map().encode();
        assert_eq!(bytes.len(), bytes.capacity(), "room for what is written, and no more");
        assert_eq!(TableMap::decode(&bytes).unwrap(), map());
        let mut at = 0;
        TableMap::each_table(&bytes, |table| {
            assert_eq!(Some(table), map().tables.get(at));
            at += 1;
        })
        .unwrap();
        assert_eq!(at, 3);
    }

    #[test]
    fn what_the_whole_map_is_refused_for_is_refused_one_by_one() {
        let read = |bytes: &[u8]| TableMap::each_table(bytes, |_| ()).map_err(|error| error.to_string());
        let bytes = map().encode();
        for cut in 0..bytes.len() {
            assert!(read(&bytes[..cut]).is_err(), "{cut}");
        }
        let short = TableMap { stream_bytes: 219, ..map() }.encode();
        let whole = TableMap::decode(&short).unwrap_err().to_string();
        assert_eq!(read(&short), Err(whole));
        // A map of one field, the version.
        let newer = [0xa1, 0x00, VERSION as u8 + 1];
        assert_eq!(read(&newer), Err(TableMap::decode(&newer).unwrap_err().to_string()));
    }
}
