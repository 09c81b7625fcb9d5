//! Places in a stream that two versions of it choose alike, each with a hash of what follows.

/// A row's hash covers at least this much: short rows take the next ones in.
const KEY_BYTES_MIN: usize = 24;
/// And at most this much, so that a look ahead of fixed size is enough to know it.
pub(super) const KEY_BYTES_MAX: usize = 512;
/// What is hashed after a sampled place.
const SAMPLE_BYTES: usize = 32;
/// One place in 64 is sampled.
const SAMPLE_SHIFT: u32 = 64 - 6;

/// How places are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// After each newline: text, `COPY` rows, with or without a length before each.
    Rows,
    /// Where a hash of eight bytes says so: binary data, or rows of many kilobytes.
    Sampled,
}

impl Kind {
    /// What suits `bytes`: rows if they are at most a kilobyte on average.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let head = bytes.get(..4096).unwrap_or(bytes);
        let rows = memchr::memchr_iter(b'\n', head).count();
        if rows > head.len() / 1024 { Self::Rows } else { Self::Sampled }
    }
}

/// The anchors in a piece of a stream, in order: place and hash.
pub(super) struct Anchors<'a> {
    kind: Kind,
    bytes: &'a [u8],
    /// None starts here or later.
    until: usize,
    /// The piece ends where the stream ends: rows cut short by it count.
    last: bool,
    at: usize,
}

impl<'a> Anchors<'a> {
    /// Anchors that start before `until`. `starts_row`: the byte before `bytes` is a newline, or there is none.
    /// `last`: nothing follows `bytes`.
    pub(super) fn new(kind: Kind, bytes: &'a [u8], starts_row: bool, until: usize, last: bool) -> Self {
        let at = match kind {
            Kind::Rows if !starts_row => newline(bytes).map_or(bytes.len(), |at| at + 1),
            _ => 0,
        };
        Self { kind, bytes, until: until.min(bytes.len()), last, at }
    }

    fn next_row(&mut self) -> Option<(usize, u64)> {
        let start = self.at;
        let rest = self.bytes.get(start..)?;
        let first = newline(rest).map(|at| at + 1);
        self.at = first.map_or(self.bytes.len(), |len| start + len);
        let whole = match first {
            Some(len) if len >= KEY_BYTES_MIN => Some(len),
            // A short row alone says little.
            Some(_) => rest.get(KEY_BYTES_MIN..).and_then(newline).map(|at| KEY_BYTES_MIN + at + 1),
            None => None,
        };
        let len = match whole {
            Some(len) => len.min(KEY_BYTES_MAX),
            None if rest.len() >= KEY_BYTES_MAX => KEY_BYTES_MAX,
            None if self.last && rest.len() >= KEY_BYTES_MIN => rest.len(),
            None => return None,
        };
        Some((start, hash(rest.get(..len)?)))
    }

    fn next_sample(&mut self) -> Option<(usize, u64)> {
        let from = self.bytes.get(self.at..)?;
        let reach = self.until.saturating_sub(self.at);
        for (step, window) in from.windows(SAMPLE_BYTES).take(reach).enumerate() {
            let word = window.first_chunk::<8>().map_or(0, |word| u64::from_le_bytes(*word));
            if (word ^ 0x5851_f42d_4c95_7f2d).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> SAMPLE_SHIFT == 0 {
                let start = self.at + step;
                self.at = start + 1;
                return Some((start, !hash(window)));
            }
        }
        self.at = self.until;
        None
    }
}

impl Iterator for Anchors<'_> {
    type Item = (usize, u64);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.until {
            return None;
        }
        match self.kind {
            Kind::Rows => self.next_row(),
            Kind::Sampled => self.next_sample(),
        }
    }
}

/// Where the first newline is.
#[inline]
pub(super) fn newline(bytes: &[u8]) -> Option<usize> {
    let (blocks, rest) = bytes.as_chunks::<32>();
    let mut at = 0;
    for block in blocks {
        // No early exit inside: this becomes a few vector compares.
        if block.iter().fold(false, |any, &byte| any | (byte == b'\n')) {
            return block.iter().position(|&byte| byte == b'\n').map(|inside| at + inside);
        }
        at += block.len();
    }
    rest.iter().position(|&byte| byte == b'\n').map(|inside| at + inside)
}

/// A quick hash, sixteen bytes a step. It only proposes: every match is compared.
#[inline]
fn hash(bytes: &[u8]) -> u64 {
    const A: u64 = 0xa076_1d64_78bd_642f;
    const B: u64 = 0xe703_7ed1_a0b4_28db;
    let fold = |a: u64, b: u64| {
        let wide = u128::from(a) * u128::from(b);
        (wide as u64) ^ (wide >> 64) as u64
    };
    let mut state = bytes.len() as u64 ^ A;
    let mut step = |pair: &[u8; 16]| {
        let pair = u128::from_le_bytes(*pair);
        state = fold(pair as u64 ^ A ^ state, (pair >> 64) as u64 ^ B);
    };
    let (pairs, _) = bytes.as_chunks::<16>();
    pairs.iter().for_each(&mut step);
    // The last sixteen once more, overlapping: cheaper than a loop over the rest. Keys are never shorter.
    if let Some(tail) = bytes.last_chunk::<16>() {
        step(tail);
    }
    fold(state, B)
}

/// Hash to offset, direct-mapped: one probe, bounded memory, newer entries push out older ones.
#[derive(Debug)]
pub(super) struct Table {
    slots: Vec<Slot>,
    shift: u32,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    key: u64,
    offset: u64,
}

impl Table {
    /// A table of `2^bits` entries of 16 bytes.
    pub(super) fn new(bits: u32) -> Self {
        Self { slots: vec![Slot { key: 0, offset: u64::MAX }; 1 << bits], shift: 64 - bits }
    }

    fn slot(&self, key: u64) -> usize {
        (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize
    }

    /// Remembers where `key` is, unless the table knows it in `near` already: of equal rows the first one is wanted.
    #[inline]
    pub(super) fn insert(&mut self, key: u64, offset: u64, near: &std::ops::Range<u64>) {
        let at = self.slot(key);
        if let Some(slot) = self.slots.get_mut(at)
            && !(slot.key == key && near.contains(&slot.offset))
        {
            *slot = Slot { key, offset };
        }
    }

    /// Where `key` was seen, if that is still known.
    #[inline]
    pub(super) fn get(&self, key: u64) -> Option<u64> {
        let slot = self.slots.get(self.slot(key))?;
        (slot.key == key && slot.offset != u64::MAX).then_some(slot.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_an_anchor_and_equal_rows_have_equal_keys() {
        let text = b"tail of a row\nthe first row, long enough\nshort\nthe first row, long enough\nend";
        let rows: Vec<_> = Anchors::new(Kind::Rows, text, false, text.len(), false).collect();
        let starts: Vec<_> = rows.iter().map(|row| row.0).collect();
        assert_eq!(starts, [14, 41, 47]);
        assert_eq!(rows[0].1, rows[2].1);
        assert_ne!(rows[0].1, rows[1].1);
    }

    #[test]
    fn samples_do_not_depend_on_where_the_piece_begins() {
        let bytes: Vec<u8> = (0..40_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let all: Vec<_> = Anchors::new(Kind::Sampled, &bytes, true, bytes.len(), true).collect();
        let cut: Vec<_> = Anchors::new(Kind::Sampled, &bytes[777..], true, bytes.len(), true)
            .map(|(at, key)| (at + 777, key))
            .collect();
        assert!(all.ends_with(&cut) && all.len() - cut.len() < 60);
        assert!((300..1200).contains(&all.len()), "{}", all.len());
    }

    #[test]
    fn the_newline_is_found_wherever_it_is() {
        for at in 0..200 {
            let mut bytes = vec![b'x'; 200];
            bytes[at] = b'\n';
            assert_eq!(newline(&bytes), Some(at));
            assert_eq!(newline(&bytes[..at]), None);
        }
    }
}
