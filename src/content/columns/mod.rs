//! Rows of a dump stored by column: the transform behind codec 2.
//!
//! A block of `COPY` text is split into rows and fields. Each column is stored as what it is: numbers as bytes of equal
//! weight, times as differences, words as numbers of a dictionary, text as text. Each stream of such bytes is one zstd
//! frame. `docs/format.md` has the bytes.
//!
//! | module | hides |
//! |---|---|
//! | `rows` | how rows lie in a block, and where their fields end |
//! | `value` | how values are written, and that each is written in one way only |
//! | `ints` | how a column of integers becomes streams |
//! | `plan` | what a column was last time, so that it is not looked for again |
//! | `shape` | what a column is: its type, dictionary, common ends or parts |
//! | `streams` | how streams are compressed and laid down |
//! | `encode` | a whole block, forwards |
//! | `tree` | a column that is read back, value by value |
//! | `decode` | a whole block, backwards |
//! | `output` | bytes written quickly inside given bounds |
//!
//! **Every byte comes back.** A value is parsed only where writing it again gives the same bytes; all else is text, and
//! what is no row is kept as it is. The caller still decodes each block and compares.
//!
//! **The decoder is total.** Lengths, counts and depths are checked before anything is allocated for them. Besides the
//! plain block it takes the streams, which are no longer than the block and 1 KiB, and nodes and descriptors whose
//! number is bounded by the block's length.

mod decode;
mod encode;
mod ints;
mod output;
mod plan;
mod rows;
mod shape;
mod streams;
mod tree;
mod value;

#[cfg(test)]
mod tests;

pub use decode::Decoder;
pub use encode::Encoder;

/// Stored bytes are no block of columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid block of columns: {reason}")]
pub struct Malformed {
    /// What is wrong.
    pub reason: &'static str,
}

fn malformed(reason: &'static str) -> Malformed {
    Malformed { reason }
}

/// zstd failed to compress, which it does only without memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("zstd cannot compress: {reason}")]
pub struct NotCompressed {
    /// What zstd said.
    pub reason: &'static str,
}

/// A run has at least so many rows: fewer are not worth the description of their columns.
const ROWS_MIN: usize = 16;
/// Columns inside columns go no deeper.
const DEPTH_MAX: usize = 20;
/// Streams may be so much longer than the block.
const STREAMS_SLACK: usize = 1024;
/// Entries of a dictionary.
const WORDS_MAX: usize = 255;
/// Parts of a column that is split.
const PARTS_MAX: usize = 64;

/// All streams and the description of a block of `plain_bytes` together.
fn stream_bytes_max(plain_bytes: usize) -> usize {
    plain_bytes + STREAMS_SLACK
}

/// Streams in a block.
fn streams_max(plain_bytes: usize) -> usize {
    plain_bytes / 64 + 64
}

/// Nodes of all columns of one run.
fn nodes_max(plain_bytes: usize) -> usize {
    plain_bytes / 128 + 64
}

/// What the description says a column is.
mod tag {
    pub(super) const SAME: u8 = 0;
    pub(super) const SPECIAL: u8 = 1;
    pub(super) const INT: u8 = 2;
    pub(super) const DECIMAL: u8 = 3;
    pub(super) const DATE: u8 = 4;
    pub(super) const TIME: u8 = 5;
    pub(super) const UUID: u8 = 6;
    pub(super) const WORDS: u8 = 7;
    pub(super) const AFFIX: u8 = 8;
    pub(super) const HEX: u8 = 9;
    pub(super) const PARTS: u8 = 10;
    pub(super) const TEXT: u8 = 11;
    pub(super) const PADDED: u8 = 12;
}

/// How integers are stored.
mod mode {
    pub(super) const SERIES: u8 = 0;
    pub(super) const OFFSETS: u8 = 1;
    pub(super) const DELTAS: u8 = 2;
}

/// How a stream is stored.
mod how {
    pub(super) const SMALL: u64 = 0;
    pub(super) const STORED: u64 = 1;
    pub(super) const ZSTD: u64 = 2;
}

/// Appends a number as LEB128: seven bits a byte, the lowest first.
fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Small numbers of either sign as small numbers.
fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Reads a description from the front.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        let byte = *self.bytes.get(self.at).ok_or(malformed("it ends too early"))?;
        self.at += 1;
        Ok(byte)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(malformed("a number too large"))
    }

    /// A number of things, at most `max`.
    fn count(&mut self, max: usize) -> Result<usize, Malformed> {
        let count = self.varint()?;
        usize::try_from(count).ok().filter(|count| *count <= max).ok_or(malformed("a count too large"))
    }

    fn signed(&mut self) -> Result<i64, Malformed> {
        self.varint().map(unzigzag)
    }

    /// The next `len` bytes.
    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(len).ok_or(malformed("a length too large"))?;
        let bytes = self.bytes.get(self.at..end).ok_or(malformed("it ends too early"))?;
        self.at = end;
        Ok(bytes)
    }
}
