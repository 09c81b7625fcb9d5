//! ChaCha20-Poly1305 (RFC 8439) for blocks: one key a pack, nonces from the position.

use super::CryptoError;
use crate::base::secret::SecretKey;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

/// Bytes that sealing adds.
pub const TAG_BYTES: usize = 16;

/// A nonce that follows from where the bytes lie in their pack, so that it cannot repeat under one pack key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockNonce([u8; 12]);

impl BlockNonce {
    /// The nonce of block `number`.
    pub fn block(number: u32) -> Self {
        Self::new(0, u64::from(number))
    }

    /// The nonce of the pack's chunk table.
    pub fn table() -> Self {
        Self::new(1, 0)
    }

    fn new(domain: u32, number: u64) -> Self {
        let mut bytes = [0; 12];
        let (low, high) = bytes.split_at_mut(4);
        low.copy_from_slice(&domain.to_le_bytes());
        high.copy_from_slice(&number.to_le_bytes());
        Self(bytes)
    }
}

/// A pack's key, ready for use.
pub struct PackKey(LessSafeKey);

impl PackKey {
    /// Prepares the key for use.
    ///
    /// # Errors
    /// When the cipher does not take it.
    pub fn new(key: &SecretKey) -> Result<Self, CryptoError> {
        UnboundKey::new(&CHACHA20_POLY1305, key.expose())
            .map(|key| Self(LessSafeKey::new(key)))
            .map_err(|_| CryptoError::Malformed { what: "pack key" })
    }

    /// Seals `bytes` in place and gives the tag that belongs behind them.
    ///
    /// # Errors
    /// When there are more bytes than the cipher takes (256 GiB).
    pub fn seal_in_place(
        &self,
        nonce: BlockNonce,
        associated: &[u8],
        bytes: &mut [u8],
    ) -> Result<[u8; TAG_BYTES], CryptoError> {
        let tag = self
            .0
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce.0), Aad::from(associated), bytes)
            .map_err(|_| CryptoError::TooLong)?;
        tag.as_ref().try_into().map_err(|_| CryptoError::TooLong)
    }

    /// Opens ciphertext and tag in place; the plain bytes are the front of `bytes`, all but the last [`TAG_BYTES`].
    ///
    /// # Errors
    /// [`CryptoError::Unsealed`]; `bytes` must then not be used.
    pub fn open_in_place<'a>(
        &self,
        nonce: BlockNonce,
        associated: &[u8],
        bytes: &'a mut [u8],
    ) -> Result<&'a mut [u8], CryptoError> {
        self.0
            .open_in_place(Nonce::assume_unique_for_key(nonce.0), Aad::from(associated), bytes)
            .map_err(|_| CryptoError::Unsealed)
    }
}

impl std::fmt::Debug for PackKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PackKey(…)")
    }
}
