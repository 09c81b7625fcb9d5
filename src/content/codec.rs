//! Block compression. Codec 0 is raw, codec 1 is one zstd frame (RFC 8878).

pub use crate::base::level::{Level, ParseLevelError};

use zstd::zstd_safe::{CCtx, CParameter, DCtx};

/// How a block's bytes are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// As they are.
    Raw,
    /// One zstd frame.
    Zstd,
}

impl Codec {
    /// The codec's number in the format.
    pub fn number(self) -> u8 {
        match self {
            Self::Raw => 0,
            Self::Zstd => 1,
        }
    }

    /// The codec with that number.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Raw),
            1 => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// A block did not go through the codec.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// zstd refused to compress.
    #[error("zstd cannot compress: {reason}")]
    Compress {
        /// What zstd said.
        reason: &'static str,
    },
    /// The stored bytes are no frame of the promised length.
    #[error("zstd cannot decompress: {reason}")]
    Decompress {
        /// What zstd said.
        reason: &'static str,
    },
    /// The bytes have another length than promised.
    #[error("a block of {actual} bytes where {expected} were promised")]
    Length {
        /// Bytes found.
        actual: usize,
        /// Bytes promised.
        expected: usize,
    },
    /// What was compressed did not come back the same: broken memory, a broken processor, or a bug.
    #[error(
        "a block did not read back as it was written: this machine's memory or processor is not to be trusted"
    )]
    ReadBack,
}

/// A compressor with its working memory, for one thread.
pub struct Compressor {
    context: CCtx<'static>,
}

impl Default for Compressor {
    fn default() -> Self {
        Self { context: CCtx::create() }
    }
}

impl Compressor {
    /// Compresses `plain` into `stored` (cleared first) and says how. What does not get at least 1/64 smaller is stored raw.
    ///
    /// # Errors
    /// When zstd fails, which it does only without memory.
    pub fn compress(
        &mut self,
        plain: &[u8],
        level: Level,
        stored: &mut Vec<u8>,
    ) -> Result<Codec, CodecError> {
        stored.clear();
        if let Level::Zstd(level) = level {
            let failed = |code| CodecError::Compress { reason: zstd::zstd_safe::get_error_name(code) };
            self.context.set_parameter(CParameter::CompressionLevel(level)).map_err(failed)?;
            stored.reserve(zstd::zstd_safe::compress_bound(plain.len()));
            self.context.compress2(stored, plain).map_err(failed)?;
            if stored.len() + plain.len() / 64 < plain.len() {
                return Ok(Codec::Zstd);
            }
            stored.clear();
        }
        stored.extend_from_slice(plain);
        Ok(Codec::Raw)
    }
}

/// A decompressor with its working memory, for one thread.
#[derive(Default)]
pub struct Decompressor {
    /// Made when it is first needed: it takes 160 KB, too much for a decompressor that only holds the place of another.
    context: Option<DCtx<'static>>,
}

impl Decompressor {
    /// Restores exactly `plain_bytes` bytes into `plain` (cleared first). The caller has bounded `plain_bytes`; nothing larger is
    /// ever allocated.
    ///
    /// # Errors
    /// When the stored bytes do not yield exactly that many.
    pub fn decompress(
        &mut self,
        codec: Codec,
        stored: &[u8],
        plain_bytes: usize,
        plain: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        plain.clear();
        match codec {
            Codec::Raw => plain.extend_from_slice(stored),
            Codec::Zstd => {
                plain.reserve_exact(plain_bytes);
                // zstd writes into the spare capacity, which may be larger than asked for: the length is checked below.
                let context = self.context.get_or_insert_with(DCtx::create);
                context.decompress(plain, stored).map_err(|code| CodecError::Decompress {
                    reason: zstd::zstd_safe::get_error_name(code),
                })?;
            }
        }
        if plain.len() != plain_bytes {
            return Err(CodecError::Length { actual: plain.len(), expected: plain_bytes });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_goes_in_comes_out(bytes in prop::collection::vec(any::<u8>(), 0..5000), repeat in 1usize..20, level in -3i32..6) {
            let plain = bytes.repeat(repeat);
            let (mut stored, mut back) = (Vec::new(), Vec::new());
            let codec = Compressor::default().compress(&plain, Level::Zstd(level), &mut stored).unwrap();
            Decompressor::default().decompress(codec, &stored, plain.len(), &mut back).unwrap();
            prop_assert_eq!(back, plain);
        }

        #[test]
        fn foreign_bytes_are_an_error_or_the_promised_length(bytes in prop::collection::vec(any::<u8>(), 0..500), promised in 0usize..1000) {
            let mut back = Vec::new();
            if Decompressor::default().decompress(Codec::Zstd, &bytes, promised, &mut back).is_ok() {
                prop_assert_eq!(back.len(), promised);
            }
        }
    }

    #[test]
    fn a_bomb_is_refused_without_its_memory() {
        let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap();
        let mut back = Vec::new();
        let outcome = Decompressor::default().decompress(Codec::Zstd, &bomb, 1 << 20, &mut back);
        assert!(matches!(outcome, Err(CodecError::Decompress { .. })), "{outcome:?}");
        assert!(back.capacity() < 2 << 20);
    }

    #[test]
    fn noise_is_stored_raw() {
        let mut noise = vec![0; 100_000];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        let mut stored = Vec::new();
        assert_eq!(Compressor::default().compress(&noise, Level::DEFAULT, &mut stored).unwrap(), Codec::Raw);
        assert_eq!(stored, noise);
    }

    #[test]
    fn levels_parse() {
        assert_eq!("max".parse(), Ok(Level::MAX));
        assert_eq!("0".parse(), Ok(Level::Off));
        assert_eq!("7".parse(), Ok(Level::Zstd(7)));
        for bad in ["20", "-1", "", "best"] {
            assert!(bad.parse::<Level>().is_err());
        }
    }
}
