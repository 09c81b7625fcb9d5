//! What a stream is, told once, by its first bytes.

use super::text::Text;
use super::{bzip2, frames, gzip, mongo, rdb, tar, text, xz};
use std::fmt;

/// How an archive of `pg_dump -Fc` begins, and how one of `pg_dump -Ft`.
pub(super) const CUSTOM: &[u8] = b"PGDMP";
pub(super) const TAR_OF_DUMP: &[u8] = b"toc.dat";

/// What a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Nothing at all.
    Empty,
    /// An archive of `pg_dump -Fc`.
    PgCustom {
        /// The version of the archive format.
        format: (u8, u8),
    },
    /// The same behind text: what some program printed went into the dump.
    PgCustomBehindText {
        /// Bytes of text.
        at: usize,
    },
    /// An archive of `pg_dump -Ft`.
    PgTar,
    /// A script of `pg_dump` or `pg_dumpall`.
    PgScript {
        /// Bytes before its opening comment.
        at: usize,
    },
    /// SQL statements that PostgreSQL may take, by whatever wrote them.
    Sql,
    /// A script of `mysqldump` or `mariadb-dump`.
    Mysql {
        /// Bytes before its opening comment.
        at: usize,
    },
    /// An archive of `mongodump`.
    MongoArchive,
    /// A Redis RDB file.
    RedisRdb,
    /// Another tar.
    Tar,
    /// Compressed by gzip.
    Gzip,
    /// Compressed by xz.
    Xz,
    /// Compressed by zstd.
    Zstd,
    /// Compressed by bzip2.
    Bzip2,
    /// Compressed by lz4.
    Lz4,
    /// Text in UTF-16.
    Utf16,
    /// None of these.
    Unknown,
}

impl Kind {
    /// Tells what a stream is from its first [`super::FRONT_BYTES`] bytes, or all of them if it has fewer.
    pub fn of(front: &[u8]) -> Self {
        Self::binary(front).unwrap_or_else(|| Self::text(front))
    }

    fn binary(front: &[u8]) -> Option<Self> {
        let magic = front.get(..4).unwrap_or_default();
        let kind = match front {
            [] => Self::Empty,
            _ if front.starts_with(CUSTOM) => {
                let number = |at: usize| front.get(at).copied().unwrap_or_default();
                Self::PgCustom { format: (number(5), number(6)) }
            }
            _ if front.starts_with(&gzip::MAGIC) => Self::Gzip,
            _ if front.starts_with(&xz::MAGIC) => Self::Xz,
            _ if magic == frames::ZSTD || frames::is_skippable(magic) => Self::Zstd,
            _ if magic == frames::LZ4 => Self::Lz4,
            _ if magic == mongo::MAGIC => Self::MongoArchive,
            _ if bzip2::is_start(front) => Self::Bzip2,
            _ if rdb::version(front).is_some() => Self::RedisRdb,
            _ => return Self::tar(front),
        };
        Some(kind)
    }

    fn tar(front: &[u8]) -> Option<Self> {
        match tar::Header::read(front) {
            Some(header) if header.name == TAR_OF_DUMP => Some(Self::PgTar),
            Some(_) => Some(Self::Tar),
            // Cut within its first block.
            None => {
                front.strip_prefix(TAR_OF_DUMP).filter(|rest| rest.starts_with(&[0])).map(|_| Self::PgTar)
            }
        }
    }

    fn text(front: &[u8]) -> Self {
        match Text::of(front) {
            Text::Dump { at } => Self::PgScript { at },
            Text::Mysql { at } => Self::Mysql { at },
            Text::Sql => Self::Sql,
            Text::Utf16 => Self::Utf16,
            Text::Unknown => Self::behind_text(front).unwrap_or(Self::Unknown),
        }
    }

    /// An archive may stand behind what a program said on its way.
    fn behind_text(front: &[u8]) -> Option<Self> {
        let at = memchr::memmem::find(front, CUSTOM)?;
        let is_archive = front.get(at + CUSTOM.len()) == Some(&1);
        (is_archive && text::is_text(front.get(..at)?)).then_some(Self::PgCustomBehindText { at })
    }

    /// The word for it in a stream's attributes, where the format has no number of its own for it.
    pub fn word(self) -> Option<&'static str> {
        Some(match self {
            Self::Mysql { .. } => "mysql",
            Self::MongoArchive => "mongodb-archive",
            Self::Tar => "tar",
            Self::Utf16 => "utf-16",
            _ => return self.compression(),
        })
    }

    /// The compression, if it is compressed data.
    pub fn compression(self) -> Option<&'static str> {
        Some(match self {
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Lz4 => "lz4",
            _ => return None,
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("empty"),
            Self::PgCustom { format: (major, minor) } => {
                write!(f, "a pg_dump archive of format {major}.{minor}")
            }
            Self::PgCustomBehindText { .. } => f.write_str("a pg_dump archive behind text"),
            Self::PgTar => f.write_str("a pg_dump tar archive"),
            Self::PgScript { .. } => f.write_str("a pg_dump script"),
            Self::Sql => f.write_str("SQL text"),
            Self::Mysql { .. } => f.write_str("a MySQL dump"),
            Self::MongoArchive => f.write_str("a mongodump archive"),
            Self::RedisRdb => f.write_str("a Redis RDB file"),
            Self::Tar => f.write_str("a tar"),
            Self::Utf16 => f.write_str("text in UTF-16"),
            Self::Unknown => f.write_str("data of an unknown kind"),
            Self::Gzip | Self::Xz | Self::Zstd | Self::Bzip2 | Self::Lz4 => {
                write!(f, "{} data", self.compression().unwrap_or_default())
            }
        }
    }
}
