//! Redis's and Valkey's RDB file: since version 5 it ends with an opcode and the checksum of all that stands before.
//!
//! A file is whole when both say so, its structure and its checksum. Where something stands in it that is not known,
//! only the checksum is left, and that is told.

use super::check::{Check, End, little};
use crate::content::rdb::{KeyMap, Reader, Structure, Survey};
use crc_fast::{CrcAlgorithm, Digest};

/// The magic, and four digits of a version.
const HEADER_BYTES: usize = 9;
const END_OPCODE: u8 = 0xff;
const SUM_BYTES: usize = 8;
/// Opcode and checksum.
const TAIL_BYTES: usize = 1 + SUM_BYTES;
/// The first version with a checksum.
const VERSION_WITH_SUM: u32 = 5;
/// Fields at the front of a file that commands follow: the base of an append-only file.
const PREAMBLES: [&[u8]; 2] = [b"aof-preamble\xc0\x01", b"aof-base\xc0\x01"];

/// The version of a file that begins so; those of Valkey's own count from 80.
pub(super) fn version(front: &[u8]) -> Option<u32> {
    let digits = match (front.strip_prefix(b"REDIS"), front.strip_prefix(b"VALKEY")) {
        (Some(rest), _) => rest.get(..4)?,
        (_, Some(rest)) => rest.get(..3)?,
        _ => return None,
    };
    digits.iter().try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + u32::from(digit - b'0')))
}

/// A file.
pub(super) struct Rdb {
    has_sum: bool,
    may_go_on: bool,
    sum: Digest,
    /// The last bytes, which are not in `sum` yet.
    tail: Vec<u8>,
    bytes: u64,
    reader: Reader,
    survey: Option<Survey>,
}

/// What the end of a file says of its checksum.
enum Sum {
    Fits,
    Differs,
    /// A server without `rdbchecksum`, or a version without one.
    Absent,
    /// There is no end mark where there should be one.
    Missing,
}

impl std::fmt::Debug for Rdb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rdb").field("has_sum", &self.has_sum).finish_non_exhaustive()
    }
}

impl Rdb {
    /// A file that begins with `front`, which is to be pushed, too.
    pub(super) fn new(front: &[u8]) -> Self {
        let has = |preamble: &&[u8]| memchr::memmem::find(front, preamble).is_some();
        Self {
            has_sum: version(front).is_some_and(|version| version >= VERSION_WITH_SUM),
            may_go_on: PREAMBLES.iter().any(has),
            sum: Digest::new(CrcAlgorithm::Crc64Redis),
            tail: Vec::with_capacity(2 * TAIL_BYTES),
            bytes: 0,
            reader: Reader::new(),
            survey: None,
        }
    }
}

impl Check for Rdb {
    fn push(&mut self, bytes: &[u8]) {
        self.reader.push(bytes);
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        let held = self.tail.len() + bytes.len();
        let passed = held.saturating_sub(TAIL_BYTES);
        let of_tail = passed.min(self.tail.len());
        self.sum.update(self.tail.get(..of_tail).unwrap_or_default());
        self.tail.drain(..of_tail);
        let (settled, kept) = bytes.split_at(passed - of_tail);
        self.sum.update(settled);
        self.tail.extend_from_slice(kept);
    }

    fn finish(&mut self) -> End {
        let sum = match self.tail.split_first() {
            Some((&END_OPCODE, sum)) if self.has_sum && sum.len() == SUM_BYTES => {
                self.sum.update(&[END_OPCODE]);
                match little(sum) {
                    stated if stated == self.sum.finalize() => Sum::Fits,
                    0 => Sum::Absent,
                    _ => Sum::Differs,
                }
            }
            _ if !self.has_sum && self.tail.last() == Some(&END_OPCODE) => Sum::Absent,
            _ => Sum::Missing,
        };
        let (structure, survey) = std::mem::take(&mut self.reader).finish();
        // Of a file that is not read to its end it is not known what else is in it.
        self.survey = (structure == Structure::Whole).then_some(survey);
        match (sum, structure) {
            (Sum::Fits, _) if self.bytes < (HEADER_BYTES + TAIL_BYTES) as u64 => End::Unsure,
            (Sum::Fits, Structure::Whole) => End::Whole,
            (Sum::Fits, Structure::Unknown { at }) => End::WholeBySum(at),
            (_, Structure::Followed(_) | Structure::Unknown { .. }) if self.may_go_on => End::Unsure,
            // What stands before was not proven: the checksum is reckoned to the end of the stream.
            (_, Structure::Followed(at)) => End::Damaged { what: "what stands behind the end mark", at },
            (_, Structure::Damaged { what, at }) => End::Damaged { what, at },
            // It did come to its end: it may be this reader that is wrong.
            (Sum::Fits, Structure::Cut(_)) => {
                End::Damaged { what: "a length that leads behind the end", at: self.bytes }
            }
            (_, Structure::Cut(what)) => End::Cut(what),
            (Sum::Absent, Structure::Whole | Structure::Unknown { .. }) => End::Unsure,
            // All of it came: a byte of it is another.
            (Sum::Differs, Structure::Whole) => End::Damaged {
                what: "the checksum of all that stands before does not fit",
                at: self.bytes.saturating_sub(SUM_BYTES as u64),
            },
            (Sum::Differs, _) => End::Cut("the data: its checksum does not fit"),
            (Sum::Missing, _) => End::Cut("the data: the end mark and the checksum are missing"),
        }
    }

    fn keys(&mut self) -> Option<KeyMap> {
        self.survey.take().map(|survey| KeyMap::of(&survey))
    }
}
