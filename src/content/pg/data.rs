//! The walk over the pieces of a data block.
//!
//! It has to keep up with any pipe, so the common case, whole pieces within what was pushed, touches a piece's length
//! only; rows are counted by counting newlines over everything, lengths included, and taking away those in the lengths.

use super::Problem;
use super::wire::{INT_BYTES, int};

/// What `pg_dump` writes behind the last row of a table.
const COPY_END: &[u8; 5] = b"\\.\n\n\n";
/// Newlines of it.
const COPY_END_NEWLINES: u64 = 3;
/// Newlines are counted in steps that fit a core's cache, so that the lengths are read from there.
const COUNT_STEP_BYTES: usize = 32 << 10;

/// What a walk has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DataFacts {
    /// Bytes of the pieces, without their lengths.
    pub bytes: u64,
    /// Pieces. Up to PostgreSQL 18 a row of an uncompressed archive is one.
    pub pieces: u64,
    /// Newlines in the pieces; 0 where they were not counted.
    pub newlines: u64,
    /// The last five bytes.
    tail: [u8; 5],
}

impl DataFacts {
    /// The rows of a table that was dumped by COPY, uncompressed. In COPY's text format a newline within a value is
    /// written as `\n`, so every newline ends a row. `None` if the data does not end as such data does.
    pub fn copy_rows(&self) -> Option<u64> {
        if &self.tail != COPY_END {
            return None;
        }
        self.newlines.checked_sub(COPY_END_NEWLINES)
    }

    /// The bytes of the rows alone, without what ends them.
    pub fn copy_bytes(&self) -> u64 {
        self.bytes.saturating_sub(COPY_END.len() as u64)
    }

    /// Takes bytes of data that nothing frames.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.newlines += newlines(bytes);
        self.end_with(bytes);
    }

    /// Keeps the last bytes of a piece.
    fn end_with(&mut self, bytes: &[u8]) {
        match bytes.last_chunk::<5>() {
            Some(last) => self.tail = *last,
            None => {
                self.tail.rotate_left(bytes.len());
                let kept = self.tail.len() - bytes.len();
                for (to, from) in self.tail.iter_mut().skip(kept).zip(bytes) {
                    *to = *from;
                }
            }
        }
    }
}

/// The state of a walk between two pushes.
#[derive(Debug, Clone)]
pub(super) struct Walk {
    facts: DataFacts,
    counts_newlines: bool,
    /// Bytes of the present piece that have not come.
    piece_left: usize,
    /// The start of a length of which the rest has not come.
    length: [u8; INT_BYTES],
    length_len: usize,
}

/// How far a push got.
pub(super) enum Step {
    /// All bytes were taken, and more are needed.
    More,
    /// The data has ended, behind so many bytes.
    Ended(usize),
}

impl Walk {
    pub(super) fn new(counts_newlines: bool) -> Self {
        Self {
            facts: DataFacts::default(),
            counts_newlines,
            piece_left: 0,
            length: [0; INT_BYTES],
            length_len: 0,
        }
    }

    pub(super) fn facts(&self) -> DataFacts {
        self.facts
    }

    /// Goes on. An error tells the place in `bytes`.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<Step, (usize, Problem)> {
        let mut at = 0;
        loop {
            if self.piece_left > 0 {
                let rest = bytes.get(at..).unwrap_or_default();
                let part = rest.get(..self.piece_left).unwrap_or(rest);
                self.take(part);
                at += part.len();
                self.piece_left -= part.len();
                if self.piece_left > 0 {
                    return Ok(Step::More);
                }
            }
            if self.length_len == 0 {
                at = self.hop(bytes, at);
            }
            let Some(&byte) = bytes.get(at) else {
                return Ok(Step::More);
            };
            if let Some(to) = self.length.get_mut(self.length_len) {
                *to = byte;
            }
            self.length_len += 1;
            at += 1;
            if self.length_len == INT_BYTES {
                self.length_len = 0;
                let len = int(&self.length).and_then(|len| usize::try_from(len).ok());
                match len.filter(|&len| len <= i32::MAX as usize) {
                    Some(0) => return Ok(Step::Ended(at)),
                    Some(len) => {
                        self.piece_left = len;
                        self.facts.pieces += 1;
                        self.facts.bytes += len as u64;
                    }
                    None => return Err((at - 1, Problem::Damaged("the length of a piece of data"))),
                }
            }
        }
    }

    /// Takes bytes of a piece.
    fn take(&mut self, part: &[u8]) {
        if self.counts_newlines {
            self.facts.newlines += newlines(part);
            self.facts.end_with(part);
        }
    }

    /// Passes over pieces that are whole, from a piece's start; gives the start of the first one that is not, or that
    /// is none.
    fn hop(&mut self, bytes: &[u8], mut at: usize) -> usize {
        loop {
            let start = at;
            // Counted first: going through memory in one stretch, it brings the lengths into the cache.
            let ahead = Ahead::count(self.counts_newlines, bytes, start);
            let mut in_lengths = 0;
            let mut pieces = 0;
            let mut last: &[u8] = &[];
            while at - start < COUNT_STEP_BYTES {
                let Some((&[0, a, b, c, d], rest)) = bytes.get(at..).and_then(<[u8]>::split_first_chunk)
                else {
                    break;
                };
                let length = u32::from_le_bytes([a, b, c, d]);
                let len = length as usize;
                if len == 0 || len > i32::MAX as usize {
                    break;
                }
                let Some(piece) = rest.get(..len) else {
                    break;
                };
                if len < COPY_END.len() {
                    self.facts.end_with(last);
                    self.facts.end_with(piece);
                    last = &[];
                } else {
                    last = piece;
                }
                in_lengths += newlines_in_word(length);
                pieces += 1;
                at += INT_BYTES + len;
            }
            if at == start {
                return at;
            }
            self.facts.pieces += pieces;
            self.facts.bytes += (at - start) as u64 - pieces * INT_BYTES as u64;
            if self.counts_newlines {
                self.facts.newlines += ahead.up_to(bytes, at).saturating_sub(u64::from(in_lengths));
                self.facts.end_with(last);
            }
        }
    }
}

/// Newlines of a stretch of bytes, counted before it is known how far of it they are wanted.
struct Ahead {
    start: usize,
    end: usize,
    newlines: u64,
}

impl Ahead {
    fn count(is_wanted: bool, bytes: &[u8], start: usize) -> Self {
        let end = if is_wanted { bytes.len().min(start.saturating_add(COUNT_STEP_BYTES)) } else { start };
        Self { start, end, newlines: newlines(bytes.get(start..end).unwrap_or_default()) }
    }

    /// The newlines up to `at`, which may lie within the stretch or behind it. Of what has to be counted for it, the
    /// shorter.
    fn up_to(&self, bytes: &[u8], at: usize) -> u64 {
        let between = |from: usize, to: usize| newlines(bytes.get(from..to).unwrap_or_default());
        if at >= self.end {
            self.newlines + between(self.end, at)
        } else if self.end - at < at - self.start {
            self.newlines - between(at, self.end)
        } else {
            between(self.start, at)
        }
    }
}

fn newlines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

/// How many bytes of a word are newlines.
fn newlines_in_word(word: u32) -> u32 {
    const LOW: u32 = 0x7f7f_7f7f;
    // A byte is zero in `differs` exactly where the word has a newline; the sum carries into no other byte.
    let differs = word ^ u32::from_le_bytes([b'\n'; 4]);
    (!(((differs & LOW) + LOW) | differs | LOW)).count_ones()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newlines_in_a_word_are_counted_byte_by_byte() {
        for word in [0, 10, 0x0a0a_0a0a, 0x0a00_0a0b, 0x0b0a_090a, u32::MAX, 0x8a0a_8a0a] {
            let expected = word.to_le_bytes().iter().filter(|&&byte| byte == b'\n').count();
            assert_eq!(newlines_in_word(word) as usize, expected, "{word:#x}");
        }
    }
}
