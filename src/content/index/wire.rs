//! Numbers and byte strings as an index has them.

use super::{IndexError, malformed};

pub(super) fn put_number(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

pub(super) fn put_signed(bytes: &mut Vec<u8>, value: i64) {
    put_number(bytes, (value << 1 ^ value >> 63).cast_unsigned());
}

pub(super) fn put_bytes(bytes: &mut Vec<u8>, value: &[u8]) {
    put_number(bytes, value.len() as u64);
    bytes.extend_from_slice(value);
}

/// Takes a number from bytes that come one by one. There is one way to write each.
pub(super) fn number(mut next: impl FnMut() -> Result<u8, IndexError>) -> Result<u64, IndexError> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let byte = next()?;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            break;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return match byte == 0 && shift > 0 {
                true => Err(malformed("a number longer than it need be")),
                false => Ok(value),
            };
        }
    }
    Err(malformed("a number too large"))
}

/// What is left of a row or a block.
pub(super) struct Rest<'a>(pub &'a [u8]);

impl<'a> Rest<'a> {
    pub(super) fn byte(&mut self) -> Result<u8, IndexError> {
        let (byte, rest) = self.0.split_first().ok_or(malformed("a row cut short"))?;
        self.0 = rest;
        Ok(*byte)
    }

    pub(super) fn number(&mut self) -> Result<u64, IndexError> {
        number(|| self.byte())
    }

    /// A number that has to be below 2^32.
    pub(super) fn small(&mut self) -> Result<u32, IndexError> {
        u32::try_from(self.number()?).map_err(|_| malformed("a number too large"))
    }

    pub(super) fn signed(&mut self) -> Result<i64, IndexError> {
        let value = self.number()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    pub(super) fn take(&mut self, len: u64) -> Result<&'a [u8], IndexError> {
        let len = usize::try_from(len).map_err(|_| malformed("a row cut short"))?;
        let (taken, rest) = self.0.split_at_checked(len).ok_or(malformed("a row cut short"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], IndexError> {
        let len = self.number()?;
        self.take(len)
    }
}
