//! XChaCha20-Poly1305 with a random nonce (draft-irtf-cfrg-xchacha-03).

use super::CryptoError;
use crate::base::secret::{Entropy, SecretKey};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

/// Length of the nonce in bytes.
pub const NONCE_BYTES: usize = 24;

/// A nonce and what was sealed under it (ciphertext, then a 16-byte tag).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmallSealed {
    /// The random nonce.
    pub nonce: [u8; NONCE_BYTES],
    /// Ciphertext and tag.
    pub bytes: Vec<u8>,
}

impl SmallSealed {
    /// Seals `plain` and binds it to `associated`.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn seal(
        key: &SecretKey,
        associated: &[u8],
        plain: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Self, CryptoError> {
        let mut nonce = [0; NONCE_BYTES];
        entropy.fill(&mut nonce)?;
        let bytes = XChaCha20Poly1305::new(key.expose().into())
            .encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: associated })
            .map_err(|_| CryptoError::TooLong)?;
        Ok(Self { nonce, bytes })
    }

    /// Opens what [`SmallSealed::seal`] made.
    ///
    /// # Errors
    /// [`CryptoError::Unsealed`] when key, bytes, nonce or `associated` are not those of the sealing.
    pub fn open(&self, key: &SecretKey, associated: &[u8]) -> Result<Vec<u8>, CryptoError> {
        XChaCha20Poly1305::new(key.expose().into())
            .decrypt(&XNonce::from(self.nonce), Payload { msg: &self.bytes, aad: associated })
            .map_err(|_| CryptoError::Unsealed)
    }
}
