//! bzip2: blocks and the end of a stream are marked, at any bit, and the end bears a checksum made of those of all
//! blocks.

use super::check::{Check, End};

/// Marks of 48 bits: the digits of pi, and those of its square root.
const BLOCK: u64 = 0x3141_5926_5359;
const STREAM_END: u64 = 0x1772_4538_5090;
const MARK_BITS: u64 = 0xffff_ffff_ffff;
/// Each bit of the last four bytes of a mark, shifted by up to seven bits, has to be in the last five bytes that came.
const HEADER_BYTES: usize = 4;

/// Whether the bytes open a stream: its magic, and one of the two marks.
pub(super) fn is_start(front: &[u8]) -> bool {
    let Some((magic, rest)) = front.split_first_chunk::<HEADER_BYTES>() else { return false };
    let mark =
        rest.first_chunk::<6>().map(|mark| mark.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)));
    is_magic(magic) && matches!(mark, Some(BLOCK | STREAM_END))
}

fn is_magic(bytes: &[u8]) -> bool {
    matches!(bytes, [b'B', b'Z', b'h', b'1'..=b'9'])
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// So many bytes of a stream's magic have come.
    Magic(usize),
    /// Looking for a mark.
    Blocks,
    /// So many bits of a checksum are still to come: of a block, or of the stream.
    Sum {
        left: u32,
        is_stream: bool,
    },
    /// In the last byte of a stream.
    Rest,
    Ended(End),
}

/// Streams one behind the other.
#[derive(Debug)]
pub(super) struct Bzip2 {
    at: At,
    magic: [u8; HEADER_BYTES],
    /// The last bits, as many as have come since the last mark.
    bits: u64,
    have: u32,
    sum: u32,
    offset: u64,
}

impl Bzip2 {
    pub(super) fn new() -> Self {
        Self { at: At::Magic(0), magic: [0; HEADER_BYTES], bits: 0, have: 0, sum: 0, offset: 0 }
    }

    fn byte(&mut self, byte: u8) {
        match self.at {
            At::Magic(have) => self.magic(byte, have),
            At::Ended(_) => {}
            At::Blocks | At::Sum { .. } | At::Rest => {
                for shift in (0..8).rev() {
                    self.bit(byte >> shift & 1);
                }
                if self.at == At::Rest {
                    self.at = At::Magic(0);
                }
            }
        }
        self.offset += 1;
    }

    fn magic(&mut self, byte: u8, have: usize) {
        if let Some(place) = self.magic.get_mut(have) {
            *place = byte;
        }
        let come = self.magic.get(..=have).unwrap_or_default();
        let could_be = match come.split_last() {
            Some((digit, b"BZh")) => (b'1'..=b'9').contains(digit),
            _ => b"BZh".starts_with(come),
        };
        self.at = match (could_be, have + 1) {
            (false, _) => At::Ended(End::Followed(self.offset - have as u64)),
            (true, HEADER_BYTES) => {
                (self.bits, self.have, self.sum) = (0, 0, 0);
                At::Blocks
            }
            (true, have) => At::Magic(have),
        };
    }

    fn bit(&mut self, bit: u8) {
        self.bits = self.bits << 1 | u64::from(bit);
        self.have = self.have.saturating_add(1);
        match self.at {
            At::Blocks if self.have >= 48 => {
                let is_stream = match self.bits & MARK_BITS {
                    BLOCK => false,
                    STREAM_END => true,
                    _ => return,
                };
                self.at = At::Sum { left: 32, is_stream };
            }
            At::Sum { left: 1, is_stream: false } => {
                self.sum = self.sum.rotate_left(1) ^ self.bits as u32;
                self.have = 0;
                self.at = At::Blocks;
            }
            At::Sum { left: 1, is_stream: true } => {
                let is_right = self.bits as u32 == self.sum;
                let what = "the checksum of a stream";
                self.at = if is_right { At::Rest } else { At::Ended(End::Damaged { what, at: self.offset }) };
            }
            At::Sum { left, is_stream } => self.at = At::Sum { left: left - 1, is_stream },
            _ => {}
        }
    }
}

impl Check for Bzip2 {
    fn push(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.byte(*byte));
    }

    fn finish(&mut self) -> End {
        match self.at {
            At::Ended(end) => end,
            At::Magic(0) if self.offset > 0 => End::Whole,
            At::Magic(_) => End::Cut("the start of a stream"),
            At::Blocks | At::Sum { .. } | At::Rest => End::Cut("a stream"),
        }
    }
}
