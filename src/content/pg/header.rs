//! The layout of an archive's header: versions, compression, the database it was made of.

use super::wire::{Fields, Stop};
use super::{Problem, VERSION_MINOR_MAX, VERSION_MINOR_MIN};

const MAGIC: &[u8] = b"PGDMP";
const FORMAT_CUSTOM: u8 = 1;
const FORMAT_TAR: u8 = 3;
/// Where the format's number stands: behind the magic, the version and two widths.
const FORMAT_AT: usize = 10;
/// No archive has more entries: each takes at least 60 bytes, and PostgreSQL numbers them with 31 bits.
const ENTRIES_MAX: u64 = i32::MAX as u64;

/// How the data of an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// zlib.
    Gzip,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
    /// By something that this program does not know.
    Unknown(u8),
}

impl Compression {
    /// The word shown to people and in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// What a table of contents stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Container {
    /// At the front of an archive of `pg_dump -Fc`.
    Custom,
    /// In the file `toc.dat` of an archive of `pg_dump -Ft`.
    Tar,
}

/// When `pg_dump` began, by the clock and in the time zone of its host, which the archive does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Created {
    pub year: u16,
    /// From 1.
    pub month: u8,
    /// From 1.
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
}

/// What an archive says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Major, minor, revision of the format.
    pub version: (u8, u8, u8),
    /// How the data is compressed.
    pub compression: Compression,
    /// When it was made; `None` if it is no moment of a calendar.
    pub created: Option<Created>,
    /// The database's name. Texts of an archive are in the database's encoding; what is not UTF-8 is replaced.
    pub database: Option<String>,
    /// The server's version.
    pub server_version: Option<String>,
    /// The version of `pg_dump`.
    pub dump_version: Option<String>,
    /// How many entries the table of contents has.
    pub entries: u64,
    /// What it stands in.
    pub(super) container: Container,
    /// Bytes of an offset in the table of contents.
    pub(super) offset_bytes: u8,
    /// Where the number of entries stands.
    pub(super) count_at: usize,
    /// Where the first entry begins.
    pub(super) len: usize,
}

impl Header {
    /// Whether entries name their table access method.
    pub(super) fn has_access_method(&self) -> bool {
        self.version.1 >= 14
    }

    /// Whether entries name their kind of relation.
    pub(super) fn has_relation_kind(&self) -> bool {
        self.version.1 >= 16
    }

    /// The same header for a custom archive: its bytes up to the number of entries.
    pub(super) fn as_custom(&self, bytes: &[u8]) -> Vec<u8> {
        let mut head = bytes.get(..self.count_at).unwrap_or_default().to_vec();
        if let Some(format) = head.get_mut(FORMAT_AT) {
            *format = FORMAT_CUSTOM;
        }
        head
    }

    /// Reads a header and the number of entries from the start of a stream, or of a tar archive's `toc.dat`.
    pub(super) fn decode(bytes: &[u8], container: Container) -> Result<Self, Stop> {
        let mut fields = Fields::new(bytes, 0);
        // Foreign bytes are refused by the first wrong one, not when five have come.
        if !bytes.iter().zip(MAGIC).all(|(is, should)| is == should) {
            return Err(fields.bad(Problem::NotAnArchive));
        }
        fields.raw(MAGIC.len())?;
        let version = (fields.byte()?, fields.byte()?, fields.byte()?);
        let (major, minor, _) = version;
        if major != 1 || !(VERSION_MINOR_MIN..=VERSION_MINOR_MAX).contains(&minor) {
            return Err(fields.bad(Problem::Version(major, minor)));
        }
        let (int_bytes, offset_bytes) = (fields.byte()?, fields.byte()?);
        if int_bytes != 4 || !matches!(offset_bytes, 4 | 8) {
            return Err(fields.bad(Problem::Widths(int_bytes, offset_bytes)));
        }
        let format = fields.byte()?;
        let expected = match container {
            Container::Custom => FORMAT_CUSTOM,
            Container::Tar => FORMAT_TAR,
        };
        if format != expected {
            return Err(fields.bad(Problem::Format(format)));
        }
        let compression = compression(&mut fields, minor)?;
        if container == Container::Tar && compression != Compression::None {
            // No version writes one.
            return Err(fields.bad(Problem::Damaged("a tar archive with compressed data")));
        }
        let created = created(&mut fields)?;
        let mut text = |what| -> Result<_, Stop> {
            Ok(fields.text(what)?.map(|text| String::from_utf8_lossy(text).into_owned()))
        };
        let database = text("the database's name")?;
        let server_version = text("the server's version")?;
        let dump_version = text("the version of pg_dump")?;
        let count_at = fields.at();
        let entries = fields.int()?;
        let entries = u64::try_from(entries)
            .ok()
            .filter(|&count| count <= ENTRIES_MAX)
            .ok_or(Stop::Bad { at: count_at, problem: Problem::Damaged("the number of entries") })?;
        Ok(Self {
            version,
            compression,
            created,
            database,
            server_version,
            dump_version,
            entries,
            container,
            offset_bytes,
            count_at,
            len: fields.at(),
        })
    }
}

fn compression(fields: &mut Fields, minor: u8) -> Result<Compression, Stop> {
    if minor >= 15 {
        return Ok(match fields.byte()? {
            0 => Compression::None,
            1 => Compression::Gzip,
            2 => Compression::Lz4,
            3 => Compression::Zstd,
            other => Compression::Unknown(other),
        });
    }
    // A level of zlib's; -1 is its default.
    Ok(if fields.int()? == 0 { Compression::None } else { Compression::Gzip })
}

/// Reads C's `struct tm`.
fn created(fields: &mut Fields) -> Result<Option<Created>, Stop> {
    let mut parts = [0; 7];
    for part in &mut parts {
        *part = fields.int()?;
    }
    let [second, minute, hour, day, month, year, _] = parts;
    let within =
        |value: i64, from: i64, to: i64| u8::try_from(value).ok().filter(|_| (from..=to).contains(&value));
    let moment = || {
        Some(Created {
            year: u16::try_from(year.checked_add(1900)?).ok()?,
            month: within(month, 0, 11)? + 1,
            day: within(day, 1, 31)?,
            hour: within(hour, 0, 23)?,
            minute: within(minute, 0, 59)?,
            second: within(second, 0, 60)?,
        })
    };
    Ok(moment())
}
