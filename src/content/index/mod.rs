//! The index of a backup of files, or of objects: a row for each, in canonical order, in sections that can be read one
//! by one.
//!
//! | file | hides |
//! |---|---|
//! | `encode` | how rows become bytes, and where sections begin |
//! | `decode` | how bytes become rows: total, checked, at most one section in memory |
//! | `map` | the section map: where sections are, in the index and in the data |
//! | `wire` | numbers and byte strings |
//!
//! `docs/format.md` describes the bytes. A row depends on nothing before it but the path in front of it, so that one
//! more file changes one row. Offsets of contents are sums of lengths, with absolute values in the section map alone.

mod decode;
mod encode;
mod map;
#[cfg(test)]
mod tests;
mod wire;

pub use decode::{IndexReader, read_section};
pub use encode::IndexWriter;
pub use map::{Placed, Section, SectionMap};

use crate::base::objects::Facts;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use std::cmp::Ordering;

/// What an index is of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Of {
    /// Files: rows are paths, a directory stands right before what is in it.
    #[default]
    Files,
    /// Objects of a bucket: rows are keys of any bytes, in their plain order.
    Objects,
}

/// Bytes that an index begins with.
const MAGIC_BYTES: usize = 8;

impl Of {
    /// What an index begins with.
    pub fn magic(self) -> &'static [u8; MAGIC_BYTES] {
        match self {
            Self::Files => b"DVFIDX1\n",
            Self::Objects => b"DVOIDX1\n",
        }
    }

    /// The order of its rows.
    pub fn compare(self, one: &[u8], other: &[u8]) -> Ordering {
        match self {
            Self::Files => canonical(one, other),
            Self::Objects => one.cmp(other),
        }
    }

    /// Whether a row may stand behind that of a path.
    fn follows(self, before: &[u8], row: &Row) -> bool {
        match self.compare(before, &row.path) {
            Ordering::Less => true,
            Ordering::Equal => row.is_old,
            Ordering::Greater => false,
        }
    }

    /// Sees that something is a path, or a key.
    fn check(self, path: &[u8]) -> Result<(), IndexError> {
        match self {
            Self::Files => check_path(path),
            Self::Objects if path.len() > PATH_BYTES_MAX => Err(malformed("a key too long")),
            Self::Objects => Ok(()),
        }
    }
}

/// A path is never longer, in bytes.
pub const PATH_BYTES_MAX: usize = 64 << 10;
/// An encoded row is never longer, in bytes: two paths, and attributes.
pub const ROW_BYTES_MAX: usize = 2 << 20;
/// A section has no more rows …
pub const SECTION_ROWS_MAX: usize = 16 << 10;
/// … and no more bytes, but for its last row and the block at its end.
pub const SECTION_BYTES_MAX: usize = 8 << 20;
/// One path in so many begins a section.
const RESTART_EVERY: u64 = 512;

/// An index, or a map, makes no sense.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum IndexError {
    /// It does not begin as one does.
    #[error("not a file index")]
    NotAnIndex,
    /// It ends before it is whole.
    #[error("the file index ends too early")]
    CutShort,
    /// Something follows the end.
    #[error("the file index goes on after its end")]
    GoesOn,
    /// Something in it is wrong.
    #[error("invalid file index: {what}")]
    Malformed {
        /// What.
        what: &'static str,
    },
    /// A map of another version or kind.
    #[error("section map of unknown version or kind")]
    OtherMap,
    /// It could not be read.
    #[error("cannot read the file index: {what}")]
    Unreadable {
        /// What the reader said.
        what: String,
    },
}

fn malformed(what: &'static str) -> IndexError {
    IndexError::Malformed { what }
}

/// A file, as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Path from `/`, without the first slash; empty for `/` itself.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// The lower twelve bits of its mode.
    pub mode: u32,
    /// Number of its owner.
    pub uid: u32,
    /// Number of its group.
    pub gid: u32,
    /// When it was changed last.
    pub mtime: Time,
    /// It changed while it was read.
    pub is_torn: bool,
    /// Of an object: a version that is not the current one. It stands behind the newer ones of its key.
    pub is_old: bool,
    /// What most files do not have.
    pub extra: Extra,
}

/// A moment: seconds since the epoch, and nanoseconds after them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(array)]
pub struct Time {
    /// Seconds since the epoch, negative before.
    #[n(0)]
    pub seconds: i64,
    /// Below 1,000,000,000.
    #[n(1)]
    pub nanos: u32,
}

/// What a row is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A file with contents.
    File {
        /// Its length, holes included.
        size: u64,
        /// BLAKE3 of its bytes, holes left out.
        digest: [u8; 32],
    },
    /// A directory.
    Directory,
    /// A symbolic link, and what it says.
    Symlink(Vec<u8>),
    /// A further name of a file whose first is this path.
    HardLink(Vec<u8>),
    /// A character device: major and minor number.
    CharDevice(u32, u32),
    /// A block device: major and minor number.
    BlockDevice(u32, u32),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// Something that could not be read; [`Extra::reason`] says why.
    Unreadable,
    /// Something that was there and went before it was read.
    Vanished,
}

/// What most files do not have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Extra {
    /// Extended attributes with ACLs and capabilities: name and value, sorted by name.
    #[n(0)]
    pub xattrs: Option<Vec<(ByteVec, ByteVec)>>,
    /// Holes: offset and length in turn, ascending.
    #[n(1)]
    pub holes: Option<Vec<u64>>,
    /// Names of owner and group; empty where there is none.
    #[n(2)]
    pub names: Option<(ByteVec, ByteVec)>,
    /// When it was made.
    #[n(3)]
    pub birth: Option<Time>,
    /// Why it could not be read.
    #[n(4)]
    pub reason: Option<String>,
    /// Of an object: what it has besides its bytes.
    #[n(5)]
    pub facts: Option<Facts>,
    /// Of an object: its version.
    #[n(6)]
    pub version: Option<String>,
    /// Of an object: what its service tells one upload from another by.
    #[n(7)]
    pub etag: Option<String>,
}

/// By what the next backup tells that a file is unchanged. It stands apart from the rows: that a file moved to another
/// disk changes none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Change {
    /// When the inode was changed last.
    pub ctime: Time,
    /// Number of the inode.
    pub inode: u64,
    /// The times are old enough, and did not change while the file was read: equal ones mean equal contents.
    pub is_clean: bool,
}

/// A row, and what tells whether it changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The file.
    pub row: Row,
    /// What tells whether it changed.
    pub change: Change,
}

impl Row {
    /// How many bytes of the data stream are its.
    pub fn data_bytes(&self) -> u64 {
        let Kind::File { size, .. } = self.kind else { return 0 };
        let holes = self.extra.holes.iter().flatten().skip(1).step_by(2);
        // Holes lie within the file and apart from each other, which both ways of making a row see to.
        size.saturating_sub(holes.fold(0, |sum, len| sum.saturating_add(*len)))
    }

    /// The digest of its bytes in the data stream, if it has any.
    pub fn data_digest(&self) -> Option<&[u8; 32]> {
        match &self.kind {
            Kind::File { digest, .. } if self.data_bytes() > 0 => Some(digest),
            _ => None,
        }
    }

    /// Sees that the row can be written and read again.
    fn check(&self, of: Of) -> Result<(), IndexError> {
        of.check(&self.path)?;
        if of == Of::Objects {
            let is_one = matches!(self.kind, Kind::File { .. } | Kind::Unreadable | Kind::Vanished);
            if !is_one || self.extra.holes.is_some() {
                return Err(malformed("an object that is none"));
            }
        } else if self.is_old {
            return Err(malformed("an old version of a file"));
        } else if self.path.is_empty() && self.kind != Kind::Directory {
            return Err(malformed("a file without a name"));
        }
        if let Kind::HardLink(first) = &self.kind {
            check_path(first)?;
            if canonical(first, &self.path) != Ordering::Less {
                return Err(malformed("a hard link to what does not come before it"));
            }
        }
        let is_known_time = |time: &Time| time.nanos < 1_000_000_000;
        if self.mode > 0o7777 || !is_known_time(&self.mtime) || !self.extra.birth.iter().all(is_known_time) {
            return Err(malformed("a mode or time out of range"));
        }
        self.check_holes()
    }

    fn check_holes(&self) -> Result<(), IndexError> {
        let Some(holes) = &self.extra.holes else { return Ok(()) };
        let Kind::File { size, .. } = self.kind else {
            return Err(malformed("holes in something that is not a file"));
        };
        let (pairs, []) = holes.as_chunks::<2>() else { return Err(malformed("half a hole")) };
        let mut end = 0u64;
        for (number, [offset, len]) in pairs.iter().enumerate() {
            let is_apart = *offset > end || number == 0;
            let next = offset.checked_add(*len).filter(|next| *len > 0 && is_apart && *next <= size);
            end = next.ok_or(malformed("a hole out of place"))?;
        }
        Ok(())
    }
}

/// Sees that a path leads nowhere but down: components without `.`, `..`, NUL and emptiness.
fn check_path(path: &[u8]) -> Result<(), IndexError> {
    if path.len() > PATH_BYTES_MAX {
        return Err(malformed("a path too long"));
    }
    let is_name = |name: &[u8]| !matches!(name, b"" | b"." | b"..") && !name.contains(&0);
    match path.is_empty() || path.split(|byte| *byte == b'/').all(is_name) {
        true => Ok(()),
        false => Err(malformed("a path that is none")),
    }
}

/// Whether a key can be the path of a file: no name of it is longer than file systems have them.
pub fn is_path(key: &[u8]) -> bool {
    !key.is_empty()
        && check_path(key).is_ok()
        && key.split(|byte| *byte == b'/').all(|name| name.len() <= 255)
}

/// The order of an index of files: component by component, each as bytes, so that a directory stands right before what
/// is in it.
pub fn canonical(one: &[u8], other: &[u8]) -> Ordering {
    let rank = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    let common = one.iter().zip(other).find(|(a, b)| a != b);
    match common {
        Some((a, b)) => rank(a).cmp(&rank(b)),
        None => one.len().cmp(&other.len()),
    }
}

/// Whether a section begins with that path, wherever it stands.
fn restarts(path: &[u8]) -> bool {
    let hash = blake3::hash(path);
    let word = hash.as_bytes().first_chunk::<8>().map_or(0, |word| u64::from_le_bytes(*word));
    word.is_multiple_of(RESTART_EVERY)
}

/// The digest of a data stream: BLAKE3 of the digests of the files that have bytes in it, in the order of the index.
#[derive(Debug, Default, Clone)]
pub struct DataDigest(blake3::Hasher);

impl DataDigest {
    /// Takes the next row.
    pub fn row(&mut self, row: &Row) {
        if let Some(digest) = row.data_digest() {
            self.0.update(digest);
        }
    }

    /// Takes the digest of the next file's bytes, of which it has at least one.
    pub fn file(&mut self, digest: &[u8; 32]) {
        self.0.update(digest);
    }

    /// The digest.
    pub fn finish(&self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}
