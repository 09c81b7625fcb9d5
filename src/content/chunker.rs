//! Content-defined chunking: FastCDC with normalized chunking (Xia et al., USENIX ATC 2016; the two-byte step of 2020).
//!
//! The gear table is drawn from a key, so that chunk lengths tell an observer nothing about known contents. The loop is
//! that of the `fastcdc` crate; table and masks are ours, as `docs/format.md` has them.

use crate::base::secret::SecretKey;
use fastcdc::v2020::cut_gear;

/// Chunk size limits, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkSizes {
    /// No cut before this many bytes; at least 256 and even.
    pub min: usize,
    /// Where the mask is relaxed: about the average chunk.
    pub average: usize,
    /// A cut here at the latest.
    pub max: usize,
}

impl ChunkSizes {
    /// 16, 64 and 256 KiB.
    pub const DEFAULT: Self = Self { min: 16 << 10, average: 64 << 10, max: 256 << 10 };

    /// Whether the sizes make sense: even, ascending, `max` at most 256 KiB.
    pub fn are_valid(&self) -> bool {
        let even = |bytes: usize| bytes.is_multiple_of(2);
        even(self.min)
            && even(self.average)
            && even(self.max)
            && 256 <= self.min
            && self.min <= self.average
            && self.average <= self.max
            && self.max <= 256 << 10
    }
}

/// Finds chunk ends. Stateless between chunks: a chunk's end depends on its own bytes alone.
#[derive(Clone)]
pub struct Chunker {
    sizes: ChunkSizes,
    gear: Box<[u64; 256]>,
    /// The same, shifted left by one: takes two bytes in one step.
    gear_shifted: Box<[u64; 256]>,
    mask_strict: u64,
    mask_loose: u64,
}

impl std::fmt::Debug for Chunker {
    // The table is secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chunker").field("sizes", &self.sizes).finish_non_exhaustive()
    }
}

impl Chunker {
    /// A chunker whose table is drawn from `key`.
    pub fn new(key: &SecretKey, sizes: ChunkSizes) -> Self {
        let mut words = [0u8; 256 * 8];
        blake3::Hasher::new_keyed(key.expose()).finalize_xof().fill(&mut words);
        let mut gear = Box::new([0u64; 256]);
        for (entry, bytes) in gear.iter_mut().zip(words.as_chunks::<8>().0) {
            *entry = u64::from_le_bytes(*bytes);
        }
        let gear_shifted = Box::new(gear.map(|word| word << 1));
        let bits = sizes.average.max(2).ilog2();
        Self { sizes, gear, gear_shifted, mask_strict: mask(bits + 2), mask_loose: mask(bits - 2) }
    }

    /// The limits it was made with.
    pub fn sizes(&self) -> ChunkSizes {
        self.sizes
    }

    /// Length of the chunk at the front of `bytes`: all of `bytes` when no cut falls within it.
    /// The answer is final if `bytes` holds at least `max` bytes, or is all that is left of the stream.
    pub fn cut(&self, bytes: &[u8]) -> usize {
        let ChunkSizes { min, average, max } = self.sizes;
        let (strict, loose) = (self.mask_strict, self.mask_loose);
        let (gear, shifted) = (self.gear.as_slice(), self.gear_shifted.as_slice());
        // It panics on tables that have not 256 entries; these have, by their type.
        let (_, length) =
            cut_gear(bytes, min, average, max, strict, loose, strict << 1, loose << 1, gear, shifted);
        length
    }
}

/// `bits` ones, every other bit from the top but one (the shifted mask needs the topmost) downwards: high bits have
/// seen most bytes.
fn mask(bits: u32) -> u64 {
    (0..bits.min(31)).fold(0, |mask, bit| mask | 1 << (62 - 2 * bit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chunker() -> Chunker {
        Chunker::new(&SecretKey::from_bytes([1; 32]), ChunkSizes { min: 256, average: 1024, max: 4096 })
    }

    fn noise(seed: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        hasher.finalize_xof().fill(&mut bytes);
        bytes
    }

    fn lengths(chunker: &Chunker, mut bytes: &[u8]) -> Vec<usize> {
        let mut lengths = Vec::new();
        while !bytes.is_empty() {
            let cut = chunker.cut(bytes);
            lengths.push(cut);
            bytes = &bytes[cut..];
        }
        lengths
    }

    /// The cut as the format's page describes it, a byte at a time.
    fn cut_by_the_book(chunker: &Chunker, bytes: &[u8]) -> usize {
        let ChunkSizes { min, average, max } = chunker.sizes;
        let end = bytes.len().min(max);
        let mut hash = 0u64;
        for (at, byte) in bytes.iter().enumerate().take(end - end % 2).skip(min) {
            hash = (hash << 1).wrapping_add(chunker.gear[usize::from(*byte)]);
            let mask = if at < average { chunker.mask_strict } else { chunker.mask_loose };
            if hash & mask == 0 {
                return at;
            }
        }
        end
    }

    proptest! {
        #[test]
        fn cuts_are_those_of_the_format(seed: u64, len in 0usize..6000) {
            let bytes = noise(seed, len);
            prop_assert_eq!(chunker().cut(&bytes), cut_by_the_book(&chunker(), &bytes));
        }

        #[test]
        fn chunks_cover_the_input_within_limits(seed: u64, len in 0usize..50_000) {
            let bytes = noise(seed, len);
            let lengths = lengths(&chunker(), &bytes);
            prop_assert_eq!(lengths.iter().sum::<usize>(), len);
            prop_assert!(lengths.iter().all(|&l| l <= 4096));
            prop_assert!(lengths.iter().rev().skip(1).all(|&l| l >= 256));
        }

        #[test]
        fn a_cut_depends_only_on_the_next_max_bytes(seed: u64, tail in 0usize..5000) {
            let bytes = noise(seed, 4096 + tail);
            prop_assert_eq!(chunker().cut(&bytes), chunker().cut(&bytes[..4096]));
        }

        #[test]
        fn cuts_settle_again_after_an_insertion(seed: u64, at in 0usize..20_000) {
            let bytes = noise(seed, 60_000);
            let mut changed = bytes.clone();
            changed.splice(at..at, [1, 2, 3]);
            let ends = |bytes: &[u8]| -> Vec<usize> {
                lengths(&chunker(), bytes).iter().scan(0, |end, l| { *end += l; Some(bytes.len() - *end) }).collect()
            };
            let (old, new) = (ends(&bytes), ends(&changed));
            let shared = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
            prop_assert!(shared > 10, "only {} shared cuts at the end", shared);
        }
    }

    #[test]
    fn the_average_is_near_what_was_asked_for_and_keys_differ() {
        let sizes = ChunkSizes::DEFAULT;
        let bytes = noise(1, 32 << 20);
        let one = lengths(&Chunker::new(&SecretKey::from_bytes([1; 32]), sizes), &bytes);
        let two = lengths(&Chunker::new(&SecretKey::from_bytes([2; 32]), sizes), &bytes);
        let average = bytes.len() / one.len();
        assert!((56 << 10..96 << 10).contains(&average), "{average}");
        assert_ne!(one, two);
    }

    #[test]
    fn masks_have_as_many_ones_as_asked_for() {
        for bits in 1..=24 {
            assert_eq!(mask(bits).count_ones(), bits);
        }
    }
}
