//! Integers and texts as the archive writes them, and entries of its table of contents.
//!
//! Everything here reads from a slice that may end too early. Then [`Stop::More`] says how long it has to be at least
//! to get one step further, so that a caller who waits for that many bytes never scans in vain.

use super::{ArchiveError, Problem};

/// An integer: a sign byte and four bytes.
pub(super) const INT_BYTES: usize = 5;
/// No text of an archive may be longer: a definition, a comment. PostgreSQL itself cannot hold more than 1 GiB in a
/// value, and what people write is thousands of times shorter.
pub(super) const TEXT_BYTES_MAX: u64 = 64 << 20;
/// No entry of the table of contents may be longer.
pub(super) const ENTRY_BYTES_MAX: u64 = 128 << 20;
/// No entry may depend on more others.
pub(super) const DEPENDENCIES_MAX: usize = 1 << 20;

/// Why reading stopped.
#[derive(Debug)]
pub(super) enum Stop {
    /// The slice must have at least so many bytes.
    More(usize),
    /// It is wrong, at this place of the slice.
    Bad { at: usize, problem: Problem },
}

impl Stop {
    /// As an error, for a slice that begins at `offset` of the stream and that nothing follows.
    pub(super) fn at_end(self, offset: u64, len: usize, what: &'static str) -> ArchiveError {
        match self {
            Self::More(_) => ArchiveError::Truncated { what, bytes: offset + len as u64 },
            Self::Bad { at, problem } => problem.at(offset + at as u64),
        }
    }
}

/// Reads one value after the other.
#[derive(Debug, Clone)]
pub(super) struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// Where the next value begins.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn bad(&self, problem: Problem) -> Stop {
        Stop::Bad { at: self.at, problem }
    }

    pub(super) fn raw(&mut self, len: usize) -> Result<&'a [u8], Stop> {
        let end = self.at.saturating_add(len);
        let raw = self.bytes.get(self.at..end).ok_or(Stop::More(end))?;
        self.at = end;
        Ok(raw)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Stop> {
        Ok(self.raw(1)?.first().copied().unwrap_or_default())
    }

    pub(super) fn int(&mut self) -> Result<i64, Stop> {
        let at = self.at;
        let raw = self.raw(INT_BYTES)?;
        int(raw).ok_or(Stop::Bad { at, problem: Problem::Damaged("an integer's sign") })
    }

    /// An integer that names an entry.
    pub(super) fn dump_id(&mut self) -> Result<u32, Stop> {
        let at = self.at;
        let id = self.int()?;
        u32::try_from(id)
            .ok()
            .filter(|&id| id > 0 && id <= i32::MAX as u32)
            .ok_or(Stop::Bad { at, problem: Problem::Damaged("the number of an entry") })
    }

    /// A text; `None` is SQL's null.
    pub(super) fn text(&mut self, what: &'static str) -> Result<Option<&'a [u8]>, Stop> {
        let at = self.at;
        let len = self.int()?;
        let Ok(len) = u64::try_from(len) else {
            return match len {
                -1 => Ok(None),
                _ => Err(Stop::Bad { at, problem: Problem::Damaged("the length of a text") }),
            };
        };
        if len > TEXT_BYTES_MAX {
            return Err(Stop::Bad { at, problem: Problem::TooLong { what, len, max: TEXT_BYTES_MAX } });
        }
        self.raw(len as usize).map(Some)
    }
}

/// Decodes an integer of [`INT_BYTES`] bytes.
pub(super) fn int(raw: &[u8]) -> Option<i64> {
    let &[sign, a, b, c, d] = raw else { return None };
    let magnitude = i64::from(u32::from_le_bytes([a, b, c, d]));
    match sign {
        0 => Some(magnitude),
        1 => Some(-magnitude),
        _ => None,
    }
}

/// Encodes an integer.
pub(super) fn put_int(out: &mut Vec<u8>, value: u32) {
    out.push(0);
    out.extend_from_slice(&value.to_le_bytes());
}

/// A decimal number in text.
pub(super) fn decimal(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.parse().ok()
}
