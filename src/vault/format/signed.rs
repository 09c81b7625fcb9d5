//! Signatures: the last 64 bytes of every object but packs and key slots.
//!
//! Opening such an object gives an [`Opened`]: its content and the [`Claim`] that it makes. What the content may
//! decide, the room `authors` says; nothing here does.

use super::{FormatError, malformed};
use crate::base::id::{AuthorId, SessionId};
use crate::vault::crypto::{Author, CryptoError, Epoch, Signature, verify};

/// Length of a signature in bytes.
pub const SIGNATURE_BYTES: usize = 64;
const CONTEXT: &[u8] = b"dumpvault v1 signed";

/// Which object of a session it is, where it is one: its name is no hash, so that the signature binds it.
pub type Place = Option<(SessionId, u64)>;

/// What an object says of its author, before anybody checked it.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Who signed, by the object's sealed part.
    pub author: AuthorId,
    /// Key epoch that the object is sealed in.
    pub epoch: u16,
    message: Vec<u8>,
    signature: Signature,
}

impl Claim {
    pub(super) fn new(author: AuthorId, epoch: u16, place: Place, body: &[u8], signature: Signature) -> Self {
        Self { author, epoch, message: message(place, body), signature }
    }

    /// Whether the holder of the key `verifying` signed it.
    ///
    /// # Errors
    /// [`CryptoError::BadSignature`].
    pub fn verify(&self, verifying: &[u8; 32]) -> Result<(), CryptoError> {
        verify(verifying, &self.message, &self.signature)
    }
}

/// The content of a signed object, and what it claims.
#[derive(Debug, Clone)]
pub struct Opened<T> {
    /// The content. Nothing may be decided by it before the claim was judged.
    pub content: T,
    /// Who is said to have written it.
    pub claim: Claim,
}

fn message(place: Place, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(CONTEXT.len() + 24 + body.len());
    bytes.extend_from_slice(CONTEXT);
    if let Some((session, number)) = place {
        bytes.extend_from_slice(session.as_bytes());
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(body);
    bytes
}

/// The object `body` with its author's signature.
pub(super) fn by_author(mut body: Vec<u8>, place: Place, author: &Author) -> Vec<u8> {
    let signature = author.sign(&message(place, &body));
    body.extend_from_slice(&signature);
    body
}

/// The object `body` with the signature of an epoch's authority.
pub(super) fn by_authority(mut body: Vec<u8>, epoch: &Epoch) -> Result<Vec<u8>, FormatError> {
    let signature = epoch.sign(&message(None, &body))?;
    body.extend_from_slice(&signature);
    Ok(body)
}

/// The signed part of an object, and its signature.
pub(super) fn split(bytes: &[u8]) -> Result<(&[u8], Signature), FormatError> {
    bytes
        .split_last_chunk::<SIGNATURE_BYTES>()
        .map(|(body, signature)| (body, *signature))
        .ok_or(FormatError::CutShort)
}

/// Whether the last bytes of an object are a signature of it by the key `verifying`. That holds for objects of every
/// version.
pub fn is_signed_by(bytes: &[u8], place: Place, verifying: &[u8; 32]) -> bool {
    split(bytes).is_ok_and(|(body, signature)| verify(verifying, &message(place, body), &signature).is_ok())
}

/// Checks that the authority of `epoch` signed `body`.
pub(super) fn check_authority(body: &[u8], signature: &Signature, epoch: &Epoch) -> Result<(), FormatError> {
    Ok(epoch.verify(&message(None, body), signature)?)
}

/// The bytes that small seals of index objects, snapshot heads and marks hold: `u32 length || CBOR || zeros`. Their
/// length is a Padmé length, so that it tells little of what is inside (Nikitin et al., *Reducing Metadata Leakage from
/// Encrypted Files and Communication with PURBs*, PETS 2019).
pub(super) fn pad(cbor: Vec<u8>) -> Result<Vec<u8>, FormatError> {
    let len = u32::try_from(cbor.len()).map_err(|_| malformed("too long for a seal"))?;
    let mut bytes = Vec::with_capacity(padme(cbor.len() + 4));
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(&cbor);
    bytes.resize(padme(bytes.len()), 0);
    Ok(bytes)
}

/// The CBOR bytes in what [`pad`] made.
pub(super) fn unpad(bytes: &[u8]) -> Result<&[u8], FormatError> {
    let (len, rest) = bytes.split_first_chunk::<4>().ok_or(FormatError::CutShort)?;
    let (cbor, padding) =
        rest.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or(FormatError::CutShort)?;
    if padding.iter().any(|byte| *byte != 0) {
        return Err(malformed("padding that is not zeros"));
    }
    Ok(cbor)
}

/// The Padmé length of `len` bytes: at most 12 % more.
pub fn padme(len: usize) -> usize {
    if len < 2 {
        return len;
    }
    let exponent = len.ilog2();
    // Bits of the length that are kept: as many as it takes to write the exponent.
    let kept = exponent.checked_ilog2().map_or(1, |bits| bits + 1);
    let mask = (1usize << exponent.saturating_sub(kept)) - 1;
    len.saturating_add(mask) & !mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padded_lengths_are_those_of_the_paper_and_never_much_more() {
        for (len, padded) in [(1, 1), (8, 8), (9, 10), (100, 104), (1_000, 1_024), (10_000, 10_240)] {
            assert_eq!(padme(len), padded, "{len}");
        }
        for len in 1..100_000 {
            let padded = padme(len);
            assert!(padded >= len && padded as f64 <= len as f64 * 1.12 + 1.0, "{len} {padded}");
            assert_eq!(padme(padded), padded, "{len}");
        }
    }

    #[test]
    fn what_was_padded_comes_back_and_anything_else_is_refused() {
        for len in [0, 1, 5, 200, 4000] {
            let cbor = vec![7; len];
            assert_eq!(unpad(&pad(cbor.clone()).unwrap()).unwrap(), cbor);
        }
        let mut padded = pad(vec![7; 301]).unwrap();
        assert!(padded.len() > 305);
        *padded.last_mut().unwrap() = 1;
        assert!(unpad(&padded).is_err());
        assert!(unpad(&[200, 0, 0, 0, 1]).is_err());
        assert!(unpad(&[1, 0]).is_err());
    }
}
