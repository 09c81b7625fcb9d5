//! Fields of values that are held as a whole.

/// A length at the front, and what follows.
pub(super) fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let (high, more) = match first {
        0..0x40 => (u64::from(*first), 0),
        0x40..0x80 => (u64::from(first & 0x3f), 1),
        0x80 => (0, 4),
        0x81 => (0, 8),
        _ => return None,
    };
    let (low, rest) = rest.split_at_checked(more)?;
    Some((low.iter().fold(high, |sum, byte| sum << 8 | u64::from(*byte)), rest))
}

/// Writes a length in its shortest form.
pub fn put_length(length: u64, to: &mut Vec<u8>) {
    match length {
        0..0x40 => to.push(length as u8),
        0x40..0x4000 => to.extend_from_slice(&[0x40 | (length >> 8) as u8, length as u8]),
        0x4000..=0xffff_ffff => {
            to.push(0x80);
            to.extend_from_slice(&(length as u32).to_be_bytes());
        }
        _ => {
            to.push(0x81);
            to.extend_from_slice(&length.to_be_bytes());
        }
    }
}
