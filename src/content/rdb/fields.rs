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
