//! Stored bytes to types and back, as `docs/format.md` says. Pure: no storage, no clock.
//!
//! Decoders take foreign bytes: they check first, then compute, and never panic.

#![deny(clippy::indexing_slicing)]

pub mod author;
pub mod config;
pub mod epoch;
pub mod header;
pub mod index;
pub mod mark;
pub mod pack;
pub mod plan;
pub mod session;
pub mod signed;
pub mod slot;
pub mod snapshot;

use crate::vault::crypto::{CryptoError, SmallSealed};
use header::{Header, ObjectType};
use minicbor::bytes::{ByteArray, ByteVec};
use minicbor::{Decode, Encode};

/// Stored bytes are not what they should be.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// Shorter than anything of this kind.
    #[error("it is cut short")]
    CutShort,
    /// No header of ours.
    #[error("it does not begin as a dumpvault object does")]
    NotOurs,
    /// Another object lies under this key.
    #[error("it is an object of type {actual}, where {expected:?} belongs")]
    WrongType {
        /// Type number found.
        actual: u8,
        /// Type that belongs there.
        expected: ObjectType,
    },
    /// Written by a newer program.
    #[error(
        "it has format version {version}, and this program knows versions up to 1: use a newer dumpvault"
    )]
    NewerVersion {
        /// The version found.
        version: u8,
    },
    /// Says that it was written by a newer program, and nobody vouches for that who could have begun to use one.
    #[error("it claims a newer format, and no full key signed it")]
    ClaimsNewer,
    /// Needs a feature that this program does not have.
    #[error("it needs features that this program does not know (bits {bits:#06x}): use a newer dumpvault")]
    UnknownFeatures {
        /// The unknown bits.
        bits: u16,
    },
    /// Of another repository.
    #[error("it belongs to another repository ({actual})")]
    OtherRepository {
        /// The repository named in it.
        actual: crate::base::id::RepoId,
    },
    /// Written by a program from before the first release, whose format was another one.
    #[error(
        "this repository was made before the first release of dumpvault and cannot be read by it: make a new one"
    )]
    BeforeFirstRelease,
    /// Its bytes do not have the hash that is its name.
    #[error("content does not match its hash")]
    WrongHash,
    /// Not well-formed.
    #[error("it is malformed: {what}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
    },
    /// It does not open, or does not verify.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

impl FormatError {
    /// Whether the object claims to be of a newer program. Anybody can write that into a header.
    pub fn is_newer(&self) -> bool {
        matches!(self, Self::NewerVersion { .. } | Self::UnknownFeatures { .. })
    }
}

impl From<crate::base::secret::EntropyError> for FormatError {
    fn from(error: crate::base::secret::EntropyError) -> Self {
        Self::Crypto(error.into())
    }
}

pub(crate) fn malformed(what: &'static str) -> FormatError {
    FormatError::Malformed { what }
}

fn to_cbor<T: minicbor::Encode<()>>(value: &T) -> Result<Vec<u8>, FormatError> {
    minicbor::to_vec(value).map_err(|_| malformed("it cannot be encoded"))
}

fn from_cbor<'b, T: minicbor::Decode<'b, ()>>(bytes: &'b [u8], what: &'static str) -> Result<T, FormatError> {
    let mut decoder = minicbor::Decoder::new(bytes);
    let value = decoder.decode().map_err(|_| malformed(what))?;
    // Bytes behind the value are covered by no seal.
    if decoder.position() == bytes.len() { Ok(value) } else { Err(malformed("bytes behind its end")) }
}

/// A small seal as an object holds it behind its header.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Sealed {
    #[n(0)]
    nonce: ByteArray<24>,
    #[n(1)]
    sealed: ByteVec,
}

impl From<SmallSealed> for Sealed {
    fn from(seal: SmallSealed) -> Self {
        Self { nonce: seal.nonce.into(), sealed: seal.bytes.into() }
    }
}

impl From<Sealed> for SmallSealed {
    fn from(stored: Sealed) -> Self {
        Self { nonce: *stored.nonce, bytes: stored.sealed.into() }
    }
}

/// A header and the CBOR value behind it.
fn object(header: &Header, value: &impl minicbor::Encode<()>) -> Result<Vec<u8>, FormatError> {
    behind(&header.to_bytes(), value)
}

/// The bytes of a header and the CBOR value behind it.
fn behind(header: &[u8], value: &impl minicbor::Encode<()>) -> Result<Vec<u8>, FormatError> {
    let mut bytes = header.to_vec();
    minicbor::encode(value, &mut bytes).map_err(|_| malformed("it cannot be encoded"))?;
    Ok(bytes)
}
