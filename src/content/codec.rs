//! Block compression. Codec 0 is raw, codec 1 is one zstd frame (RFC 8878), codec 2 is rows by column.

pub use crate::base::level::{Level, ParseLevelError};

use super::columns;
use zstd::zstd_safe::{CCtx, CParameter, DCtx};

/// How a block's bytes are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// As they are.
    Raw,
    /// One zstd frame.
    Zstd,
    /// Rows by column, each stream a zstd frame.
    Columns,
}

impl Codec {
    /// The codec's number in the format.
    pub fn number(self) -> u8 {
        match self {
            Self::Raw => 0,
            Self::Zstd => 1,
            Self::Columns => 2,
        }
    }

    /// The codec with that number.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Raw),
            1 => Some(Self::Zstd),
            2 => Some(Self::Columns),
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
    /// The stored bytes are no block of columns.
    #[error(transparent)]
    Columns {
        /// What is wrong with them.
        #[from]
        source: columns::Malformed,
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
    #[error("a block did not read back as it was written: this machine's memory or processor is faulty")]
    ReadBack,
}

/// zstd's level inside columns, and where there are none.
const COLUMNS_ZSTD_LEVEL: i32 = 1;

/// A compressor with its working memory, for one thread.
#[derive(Default)]
pub struct Compressor {
    context: Option<CCtx<'static>>,
    columns: columns::Encoder,
    /// What was stored by column is decoded and compared at once.
    decoder: columns::Decoder,
    back: Vec<u8>,
}

/// Of blocks up to so many bytes the smaller of both forms is kept: the description of columns weighs most there.
const SMALL_BLOCK_BYTES: usize = 300 << 10;

impl Compressor {
    /// Compresses `plain` into `stored` (cleared first) and says how. What does not get at least 1/64 smaller is stored
    /// raw.
    ///
    /// Of [`Level::Auto`], the caller says which it is; here it is [`Level::Columns`].
    ///
    /// What is stored by column was decoded and compared: a transform has more places for a fault than zstd. A block
    /// that did not come back is stored by zstd.
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
        let gains = |stored: &[u8]| stored.len() + plain.len() / 64 < plain.len();
        let zstd_level = match level {
            Level::Off => None,
            Level::Zstd(level) => Some(level),
            Level::Columns | Level::Auto => Some(COLUMNS_ZSTD_LEVEL),
        };
        if matches!(level, Level::Columns | Level::Auto) && self.by_column(plain, stored)? && gains(stored) {
            if plain.len() > SMALL_BLOCK_BYTES {
                return Ok(Codec::Columns);
            }
            let mut zstd = std::mem::take(&mut self.back);
            zstd.clear();
            self.zstd(plain, COLUMNS_ZSTD_LEVEL, &mut zstd)?;
            let is_smaller = stored.len() < zstd.len();
            if !is_smaller {
                std::mem::swap(stored, &mut zstd);
            }
            self.back = zstd;
            return Ok(if is_smaller { Codec::Columns } else { Codec::Zstd });
        }
        if let Some(level) = zstd_level {
            stored.clear();
            self.zstd(plain, level, stored)?;
            if gains(stored) {
                return Ok(Codec::Zstd);
            }
            stored.clear();
        }
        stored.extend_from_slice(plain);
        Ok(Codec::Raw)
    }

    /// One zstd frame, into what is empty.
    fn zstd(&mut self, plain: &[u8], level: i32, stored: &mut Vec<u8>) -> Result<(), CodecError> {
        let failed = |code| CodecError::Compress { reason: zstd::zstd_safe::get_error_name(code) };
        let context = self.context.get_or_insert_with(CCtx::create);
        context.set_parameter(CParameter::CompressionLevel(level)).map_err(failed)?;
        stored.reserve(zstd::zstd_safe::compress_bound(plain.len()));
        context.compress2(stored, plain).map_err(failed)?;
        Ok(())
    }

    /// Whether `plain` has rows, was stored by column, and came back.
    fn by_column(&mut self, plain: &[u8], stored: &mut Vec<u8>) -> Result<bool, CodecError> {
        let encoded = self.columns.encode(plain, COLUMNS_ZSTD_LEVEL, stored);
        if !encoded.map_err(|columns::NotCompressed { reason }| CodecError::Compress { reason })? {
            return Ok(false);
        }
        let came_back = self.decoder.decode(stored, plain.len(), &mut self.back);
        if came_back.is_ok() && self.back == plain {
            return Ok(true);
        }
        tracing::warn!("a block did not come back from its columns; it is stored by zstd");
        Ok(false)
    }
}

/// A decompressor with its working memory, for one thread.
#[derive(Default)]
pub struct Decompressor {
    /// Made when it is first needed: it takes 160 KB, too much for a decompressor that only holds the place of another.
    context: Option<DCtx<'static>>,
    columns: columns::Decoder,
}

impl Decompressor {
    /// Restores exactly `plain_bytes` bytes into `plain`, in the place of what it holds. The caller has bounded
    /// `plain_bytes`; nothing larger is ever allocated.
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
        match codec {
            Codec::Raw => {
                plain.clear();
                plain.extend_from_slice(stored);
            }
            Codec::Columns => self.columns.decode(stored, plain_bytes, plain)?,
            Codec::Zstd => {
                plain.clear();
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
        fn what_goes_in_comes_out(bytes in prop::collection::vec(any::<u8>(), 0..5000), repeat in 1usize..20, level in prop_oneof![Just(Level::Columns), (-3i32..6).prop_map(Level::Zstd)]) {
            let plain = bytes.repeat(repeat);
            let (mut stored, mut back) = (Vec::new(), Vec::new());
            let codec = Compressor::default().compress(&plain, level, &mut stored).unwrap();
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
        assert_eq!(("default".parse(), "columns".parse()), (Ok(Level::Columns), Ok(Level::Columns)));
        assert_eq!(("zstd".parse(), "auto".parse()), (Ok(Level::Zstd(1)), Ok(Level::Auto)));
        for bad in ["20", "-1", "", "best"] {
            assert!(bad.parse::<Level>().is_err());
        }
    }
}
