//! The config object: parameters that all writers of a repository share.

use super::header::{Header, ObjectType};
use super::signed::{by_authority, check_authority, split};
use super::{FormatError, Sealed, from_cbor, malformed, object, to_cbor};
use crate::base::id::RepoId;
use crate::base::secret::Entropy;
use crate::content::chunker::ChunkSizes;
use crate::vault::crypto::{KeyBundle, SmallSealed, SubKey};
use minicbor::bytes::{ByteArray, ByteVec};
use minicbor::{Decode, Encode};

/// A config object is never larger, in bytes.
pub const CONFIG_BYTES_MAX: u64 = 64 << 10;
/// A block holds at most this many plain bytes.
pub const BLOCK_BYTES_MAX: usize = 4 << 20;
/// A pack is never larger than this, in bytes, whoever wrote it.
pub const PACK_BYTES_MAX: u64 = 512 << 20;

/// Parameters of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// When it was made, ms since the epoch.
    pub created_ms: i64,
    /// Chunk size limits.
    pub chunk_sizes: ChunkSizes,
    /// Plain bytes that a block aims at.
    pub block_bytes: usize,
    /// Bytes that a pack aims at.
    pub pack_bytes: usize,
}

/// The revision of format 1 that this program writes and reads.
const REVISION: u32 = 1;
/// Number of the only chunker that this program has: FastCDC with a keyed gear table.
const CHUNKER_GEAR: u8 = 1;

impl Config {
    /// The defaults of format version 1.
    pub fn new(created_ms: i64) -> Self {
        Self { created_ms, chunk_sizes: ChunkSizes::DEFAULT, block_bytes: 1 << 20, pack_bytes: 32 << 20 }
    }

    /// The config object's bytes.
    ///
    /// # Errors
    /// When `keys` cannot sign, or there is no randomness.
    pub fn seal(
        &self,
        repo: RepoId,
        keys: &KeyBundle,
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, FormatError> {
        let header = Header { kind: ObjectType::Config, epoch: 0, repo };
        let epoch = keys.epoch(0)?;
        let stored = Stored {
            created_ms: self.created_ms,
            chunk_min: self.chunk_sizes.min as u64,
            chunk_average: self.chunk_sizes.average as u64,
            chunk_max: self.chunk_sizes.max as u64,
            block_bytes: self.block_bytes as u64,
            pack_bytes: self.pack_bytes as u64,
            chunker: None,
            revision: Some(REVISION),
        };
        let raw = header.to_bytes();
        let sealed = SmallSealed::seal(&epoch.sub_key(SubKey::Config), &raw, &to_cbor(&stored)?, entropy)?;
        let envelope = Sealed::from(sealed);
        by_authority(object(&header, &envelope)?, epoch)
    }

    /// Reads the public part: which repository it is.
    ///
    /// # Errors
    /// When the bytes are no config object that this program can read.
    pub fn repo_id(bytes: &[u8]) -> Result<RepoId, FormatError> {
        let (header, _, rest) = Header::read(bytes, ObjectType::Config, None)?;
        // Then the signature was a field, and nothing was left behind the map.
        if from_cbor::<BeforeFirstRelease>(rest, "config").is_ok() {
            return Err(FormatError::BeforeFirstRelease);
        }
        Ok(header.repo)
    }

    /// Opens a config object and checks its signature.
    ///
    /// # Errors
    /// When it is damaged, forged, or asks for impossible sizes.
    pub fn open(bytes: &[u8], repo: &RepoId, keys: &KeyBundle) -> Result<Self, FormatError> {
        let (body, signature) = split(bytes)?;
        let (header, raw, rest) = Header::read(body, ObjectType::Config, Some(repo))?;
        let sealed = from_cbor::<Sealed>(rest, "config")?;
        let epoch = keys.epoch(header.epoch)?;
        let sealed = SmallSealed::from(sealed);
        check_authority(body, &signature, epoch)?;
        let stored: Stored = from_cbor(&sealed.open(&epoch.sub_key(SubKey::Config), &raw)?, "config")?;
        match stored.revision {
            Some(REVISION) => {}
            None => return Err(FormatError::BeforeFirstRelease),
            Some(_) => {
                return Err(malformed("a revision that this program does not know: use a newer dumpvault"));
            }
        }
        if stored.chunker.is_some_and(|chunker| chunker != CHUNKER_GEAR) {
            return Err(malformed("a chunker that this program does not know: use a newer dumpvault"));
        }
        let size = |bytes: u64| usize::try_from(bytes).map_err(|_| malformed("a size too large"));
        let config = Self {
            created_ms: stored.created_ms,
            chunk_sizes: ChunkSizes {
                min: size(stored.chunk_min)?,
                average: size(stored.chunk_average)?,
                max: size(stored.chunk_max)?,
            },
            block_bytes: size(stored.block_bytes)?,
            pack_bytes: size(stored.pack_bytes)?,
        };
        let block_fits = (config.chunk_sizes.max..=BLOCK_BYTES_MAX / 2).contains(&config.block_bytes);
        let pack_fits = (config.block_bytes..=PACK_BYTES_MAX as usize / 4).contains(&config.pack_bytes);
        if config.chunk_sizes.are_valid() && block_fits && pack_fits {
            Ok(config)
        } else {
            Err(malformed("impossible sizes"))
        }
    }
}

#[derive(Decode)]
#[cbor(map)]
struct BeforeFirstRelease {
    #[n(0)]
    _nonce: ByteArray<24>,
    #[n(1)]
    _sealed: ByteVec,
    #[n(2)]
    _signature: ByteArray<64>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Stored {
    #[n(0)]
    created_ms: i64,
    #[n(1)]
    chunk_min: u64,
    #[n(2)]
    chunk_average: u64,
    #[n(3)]
    chunk_max: u64,
    #[n(4)]
    block_bytes: u64,
    #[n(5)]
    pack_bytes: u64,
    #[n(6)]
    chunker: Option<u8>,
    #[n(7)]
    revision: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::OsEntropy;

    #[test]
    fn a_config_round_trips_and_every_flipped_bit_is_noticed() {
        let keys = KeyBundle::generate(&OsEntropy).unwrap();
        let repo = RepoId::from_bytes([3; 16]);
        let config = Config::new(1_234_567);
        let bytes = config.seal(repo, &keys, &OsEntropy).unwrap();
        assert_eq!(Config::repo_id(&bytes).unwrap(), repo);
        assert_eq!(Config::open(&bytes, &repo, &keys.to_append()).unwrap(), config);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Config::open(&flipped, &repo, &keys).is_err(), "bit {bit}");
        }
    }
}
