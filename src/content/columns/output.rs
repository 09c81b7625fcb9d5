//! Bytes written quickly inside given bounds. Short values are written as whole words; what stands behind them is
//! overwritten by the next.

use super::value::{civil, hex_digits};
use super::{Malformed, malformed};

/// A buffer has so much room behind what is to be written.
pub(super) const ROOM: usize = 64;

/// Where the plain bytes go.
pub(super) struct Output<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

const FULL: Malformed = Malformed { reason: "more bytes than promised" };

impl<'a> Output<'a> {
    /// Writes to the front of `bytes`, whose last [`ROOM`] bytes are room.
    pub(super) fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes written.
    pub(super) fn len(&self) -> usize {
        self.at
    }

    /// Whether more was written than there is place for.
    pub(super) fn is_over(&self) -> bool {
        self.at + ROOM > self.bytes.len()
    }

    #[inline(always)]
    fn word<const N: usize>(&mut self, word: &[u8; N], len: usize) -> Result<(), Malformed> {
        let place = self.bytes.get_mut(self.at..).and_then(|place| place.first_chunk_mut::<N>());
        *place.ok_or(FULL)? = *word;
        self.at += len;
        Ok(())
    }

    /// One byte.
    #[inline(always)]
    pub(super) fn byte(&mut self, byte: u8) -> Result<(), Malformed> {
        self.word(&[byte], 1)
    }

    /// `len` bytes of `from`, which lie at `start`.
    #[inline(always)]
    pub(super) fn copy(&mut self, from: &[u8], start: usize, len: usize) -> Result<(), Malformed> {
        if len <= 32
            && let Some(word) = from.get(start..).and_then(|from| from.first_chunk::<32>())
        {
            return self.word(word, len);
        }
        self.copy_long(from, start, len)
    }

    fn copy_long(&mut self, from: &[u8], start: usize, len: usize) -> Result<(), Malformed> {
        let from =
            from.get(start..start.saturating_add(len)).ok_or(malformed("a value outside its stream"))?;
        let end = self.at.saturating_add(len);
        self.bytes.get_mut(self.at..end).ok_or(FULL)?.copy_from_slice(from);
        self.at = end;
        Ok(())
    }

    /// A line of `from` that begins at `start`, without its end; answers where the next begins.
    #[inline(always)]
    pub(super) fn line(&mut self, from: &[u8], start: usize, end: usize) -> Result<usize, Malformed> {
        const ENDS: u64 = 0x0a0a_0a0a_0a0a_0a0a;
        let window = from.get(start..).and_then(|from| from.first_chunk::<32>());
        if let Some(window) = window {
            let (words, _) = window.as_chunks::<8>();
            let mut before = 0;
            for word in words {
                let marks = super::value::zero_bytes(u64::from_le_bytes(*word) ^ ENDS);
                if marks != 0 {
                    let len = before + (marks.trailing_zeros() / 8) as usize;
                    let next = start + len + 1;
                    if next > end {
                        return Err(malformed("a text stream that is too short"));
                    }
                    self.word(window, len)?;
                    return Ok(next);
                }
                before += 8;
            }
        }
        let rest = from.get(start..end).unwrap_or_default();
        let len = memchr::memchr(b'\n', rest).ok_or(malformed("a text stream that is too short"))?;
        self.copy_long(from, start, len)?;
        Ok(start + len + 1)
    }

    /// Eight digits in the order of memory.
    #[inline(always)]
    fn eight(value: u32) -> u64 {
        let halves = u64::from(value / 10_000) | u64::from(value % 10_000) << 32;
        let hundreds = ((halves * 10_486) >> 20) & 0x0000_007f_0000_007f;
        let pairs = hundreds | (halves - hundreds * 100) << 16;
        let tens = ((pairs * 103) >> 10) & 0x000f_000f_000f_000f;
        tens | (pairs - tens * 10) << 8
    }

    /// A number without zeros in front.
    #[inline(always)]
    pub(super) fn number(&mut self, value: u64) -> Result<(), Malformed> {
        const MANY: u64 = 100_000_000;
        if value < MANY {
            let digits = Self::eight(value as u32);
            // The last digit is there also where it is a zero.
            let empty = (digits | 1 << 56).trailing_zeros() / 8;
            return self.word(&((digits | ZEROS) >> (8 * empty)).to_le_bytes(), 8 - empty as usize);
        }
        self.long_number(value)
    }

    fn long_number(&mut self, value: u64) -> Result<(), Malformed> {
        const MANY: u64 = 100_000_000;
        self.number(value / MANY)?;
        self.word(&(Self::eight((value % MANY) as u32) | ZEROS).to_le_bytes(), 8)
    }

    /// A number of exactly `width` (0 to 18) digits.
    #[inline(always)]
    pub(super) fn padded(&mut self, value: u64, width: usize) -> Result<(), Malformed> {
        const MANY: u64 = 100_000_000;
        if width <= 8 {
            let digits = Self::eight((value % MANY) as u32) | ZEROS;
            let shifted = digits.checked_shr(64 - 8 * width as u32).unwrap_or_default();
            return self.word(&shifted.to_le_bytes(), width);
        }
        self.long_padded(value, width)
    }

    fn long_padded(&mut self, value: u64, width: usize) -> Result<(), Malformed> {
        const MANY: u64 = 100_000_000;
        self.padded(value / MANY, width - 8)?;
        self.word(&(Self::eight((value % MANY) as u32) | ZEROS).to_le_bytes(), 8)
    }

    /// `YYYY-MM-DD` of a day that [`super::value::DAYS`] holds.
    #[inline(always)]
    pub(super) fn date(&mut self, days: u32) -> Result<(), Malformed> {
        let (year, month, day) = civil(days);
        let [y0, y1, y2, y3, m0, m1, d0, d1] =
            (Self::eight(year * 10_000 + month * 100 + day) | ZEROS).to_le_bytes();
        self.word(&[y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1], 10)
    }

    /// ` HH:MM:SS[.f]` of microseconds of a day.
    #[inline(always)]
    pub(super) fn clock(&mut self, micros: u64) -> Result<(), Malformed> {
        let (seconds, mut fraction) = ((micros / 1_000_000) as u32, (micros % 1_000_000) as u32);
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        let [_, _, h0, h1, m0, m1, s0, s1] =
            (Self::eight(hours * 10_000 + minutes * 100 + seconds % 60) | ZEROS).to_le_bytes();
        self.word(&[b' ', h0, h1, b':', m0, m1, b':', s0, s1], 9)?;
        if fraction > 0 {
            let mut width = 6;
            while fraction.is_multiple_of(10) {
                fraction /= 10;
                width -= 1;
            }
            self.byte(b'.')?;
            self.padded(u64::from(fraction), width)?;
        }
        Ok(())
    }

    /// Two hexadecimal digits a byte.
    #[inline(always)]
    pub(super) fn hex(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let end = self.at + 2 * bytes.len();
        let place = self.bytes.get_mut(self.at..end).ok_or(FULL)?;
        let (words, rest) = bytes.as_chunks::<4>();
        let (places, last) = place.as_chunks_mut::<8>();
        places.iter_mut().zip(words).for_each(|(to, word)| *to = eight_hex(*word));
        let (pairs, _) = last.as_chunks_mut::<2>();
        pairs.iter_mut().zip(rest).for_each(|(to, byte)| *to = [digit(byte >> 4), digit(byte & 15)]);
        self.at = end;
        Ok(())
    }

    /// One hexadecimal digit.
    pub(super) fn nibble(&mut self, value: u8) -> Result<(), Malformed> {
        self.byte(digit(value & 15))
    }

    /// A UUID.
    #[inline(always)]
    pub(super) fn uuid(&mut self, bytes: &[u8; 16]) -> Result<(), Malformed> {
        let (words, _) = bytes.as_chunks::<4>();
        let [a, b, c, d] = words else { return Err(FULL) };
        let [a0, a1, a2, a3, a4, a5, a6, a7] = eight_hex(*a);
        let [b0, b1, b2, b3, b4, b5, b6, b7] = eight_hex(*b);
        let [c0, c1, c2, c3, c4, c5, c6, c7] = eight_hex(*c);
        let [d0, d1, d2, d3, d4, d5, d6, d7] = eight_hex(*d);
        let text = [
            a0, a1, a2, a3, a4, a5, a6, a7, b'-', b0, b1, b2, b3, b'-', b4, b5, b6, b7, b'-', c0, c1, c2, c3,
            b'-', c4, c5, c6, c7, d0, d1, d2, d3, d4, d5, d6, d7,
        ];
        self.word(&text, 36)
    }

    /// The length of a framed row, whose frame begins at `start`.
    #[inline(always)]
    pub(super) fn frame(&mut self, start: usize) -> Result<(), Malformed> {
        let len = (self.at - start).checked_sub(5).ok_or(malformed("a frame without its row"))? as u32;
        let place = self.bytes.get_mut(start..).and_then(|place| place.first_chunk_mut::<5>()).ok_or(FULL)?;
        let [l0, l1, l2, l3] = len.to_le_bytes();
        *place = [0, l0, l1, l2, l3];
        Ok(())
    }

    /// Leaves place for a frame; answers where it begins.
    #[inline(always)]
    pub(super) fn frame_place(&mut self) -> Result<usize, Malformed> {
        let start = self.at;
        self.word(&[0; 5], 5)?;
        Ok(start)
    }
}

const ZEROS: u64 = 0x3030_3030_3030_3030;

/// The hexadecimal digits of four bytes.
#[inline(always)]
fn eight_hex(bytes: [u8; 4]) -> [u8; 8] {
    let all = u64::from(u32::from_le_bytes(bytes));
    let pairs = (all | all << 16) & 0x0000_ffff_0000_ffff;
    let each = (pairs | pairs << 8) & 0x00ff_00ff_00ff_00ff;
    let values = (each >> 4) & 0x000f_000f_000f_000f | (each & 0x000f_000f_000f_000f) << 8;
    hex_digits(values).to_le_bytes()
}

#[inline(always)]
fn digit(value: u8) -> u8 {
    value + if value < 10 { b'0' } else { b'a' - 10 }
}
