//! The xz format: a stream ends with an index of its blocks and a footer, so that its length can be reckoned from its
//! end.

use super::check::{Check, End, little};
use memchr::memmem;

pub(super) const MAGIC: [u8; 6] = [0xfd, b'7', b'z', b'X', b'Z', 0];
const HEADER_BYTES: u64 = 12;
const FOOTER_BYTES: usize = 12;
/// So much of the end is kept: indexes of some hundred thousand blocks.
const KEPT_BYTES: usize = 2 << 20;

/// Streams one behind the other, with or without padding between.
#[derive(Debug, Default)]
pub(super) struct Xz {
    /// Where the present stream begins.
    start: u64,
    offset: u64,
    /// The last bytes before `offset`.
    kept: Vec<u8>,
}

/// What stands before a place.
enum Behind {
    /// A stream that began where it should.
    Stream,
    Nothing,
    /// An index that is longer than what is kept.
    TooLong,
}

impl Xz {
    /// Whether a stream ends at byte `end` of what is kept.
    fn stream_before(&self, end: usize) -> Behind {
        let Some(whole) = self.kept.get(..end) else { return Behind::Nothing };
        // Padding is of whole words.
        let padding = whole.iter().rev().take_while(|byte| **byte == 0).count() / 4 * 4;
        let whole = whole.get(..end - padding).unwrap_or_default();
        let Some((before, footer)) = whole.split_last_chunk::<FOOTER_BYTES>() else { return Behind::Nothing };
        let [.., b'Y', b'Z'] = footer else { return Behind::Nothing };
        let (sum, rest) = footer.split_at(4);
        let (sealed, _) = rest.split_at(6);
        if little(sum) != crc32(sealed) {
            return Behind::Nothing;
        }
        let index_bytes = (little(sealed.get(..4).unwrap_or_default()) + 1) * 4;
        let Some(index) =
            (before.len() as u64).checked_sub(index_bytes).and_then(|at| before.get(at as usize..))
        else {
            return Behind::TooLong;
        };
        let footer_end = self.offset - (self.kept.len() - end + padding) as u64;
        let len = blocks_bytes(index)
            .and_then(|blocks| blocks.checked_add(HEADER_BYTES + index_bytes + FOOTER_BYTES as u64));
        match len.and_then(|len| footer_end.checked_sub(len)) {
            Some(start) if start == self.start => Behind::Stream,
            _ => Behind::Nothing,
        }
    }
}

/// The bytes of all blocks that an index names, if it is one.
fn blocks_bytes(index: &[u8]) -> Option<u64> {
    let (records, sum) = index.split_last_chunk::<4>()?;
    if little(sum) != crc32(records) {
        return None;
    }
    let mut rest = records.strip_prefix(&[0])?;
    let count = number(&mut rest)?;
    let mut bytes = 0u64;
    for _ in 0..count {
        let unpadded = number(&mut rest)?;
        number(&mut rest)?;
        bytes = bytes.checked_add(unpadded.checked_next_multiple_of(4)?)?;
    }
    (rest.len() < 4 && rest.iter().all(|byte| *byte == 0)).then_some(bytes)
}

/// A number of seven bits a byte, the lowest first.
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..63).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn crc32(bytes: &[u8]) -> u64 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, bytes)
}

impl Check for Xz {
    fn push(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(KEPT_BYTES) {
            let overlap = MAGIC.len() - 1;
            let from = self.kept.len().saturating_sub(overlap);
            self.kept.extend_from_slice(part);
            self.offset += part.len() as u64;
            // Where another stream may begin, the one before may end.
            let begin = self.offset - self.kept.len() as u64;
            let new = self.kept.get(from..).unwrap_or_default();
            let places: Vec<usize> = memmem::find_iter(new, &MAGIC).map(|at| from + at).collect();
            for at in places {
                if begin + at as u64 > self.start && matches!(self.stream_before(at), Behind::Stream) {
                    self.start = begin + at as u64;
                }
            }
            let surplus = self.kept.len().saturating_sub(KEPT_BYTES);
            // In large steps, so that bytes are moved once each.
            if surplus >= KEPT_BYTES {
                self.kept.drain(..surplus);
            }
        }
    }

    fn finish(&mut self) -> End {
        match self.stream_before(self.kept.len()) {
            Behind::Stream => End::Whole,
            Behind::TooLong => End::Unsure,
            Behind::Nothing => End::Cut("a stream: its index and footer are missing"),
        }
    }
}
