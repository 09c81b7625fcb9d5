//! HPKE (RFC 9180): PSK mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305, one message.

use super::CryptoError;
use crate::base::secret::{Entropy, SecretKey};
use hpke::aead::{AeadTag, ChaCha20Poly1305};
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable, Kem, OpModeR, OpModeS, PskBundle, Serializable};
use std::convert::Infallible;

/// Length of the encapsulated key in bytes.
pub const ENC_BYTES: usize = 32;

const PSK_ID: &[u8] = b"dumpvault v1 hpke psk";

type PublicKey = <X25519HkdfSha256 as Kem>::PublicKey;
type PrivateKey = <X25519HkdfSha256 as Kem>::PrivateKey;
type Tag = AeadTag<ChaCha20Poly1305>;
type EncappedKey = <X25519HkdfSha256 as Kem>::EncappedKey;

/// One message sealed to a public key by somebody who holds the pre-shared key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope<B = Vec<u8>> {
    /// The encapsulated key.
    pub enc: [u8; ENC_BYTES],
    /// Ciphertext and tag.
    pub bytes: B,
}

impl Envelope {
    /// Seals `plain` to `public` for the purpose `info`, bound to `associated`.
    ///
    /// # Errors
    /// When the public key is not one, or there is no randomness.
    pub fn seal(
        public: &[u8; 32],
        psk: &SecretKey,
        info: &[u8],
        associated: &[u8],
        plain: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Self, CryptoError> {
        let malformed = |_| CryptoError::Malformed { what: "public key" };
        let public = PublicKey::from_bytes(public).map_err(malformed)?;
        let psk = PskBundle::new(psk.expose(), PSK_ID).map_err(malformed)?;
        let mut drawn = Drawn::new(entropy)?;
        let (enc, mut context) =
            hpke::setup_sender_with_rng::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
                &OpModeS::Psk(psk),
                &public,
                info,
                &mut drawn,
            )
            .map_err(malformed)?;
        let bytes = context.seal(plain, associated).map_err(|_| CryptoError::TooLong)?;
        let enc = enc.to_bytes().as_slice().try_into().map_err(|_| CryptoError::TooLong)?;
        Ok(Self { enc, bytes })
    }
}

impl<B: AsRef<[u8]>> Envelope<B> {
    /// Opens what [`Envelope::seal`] made.
    ///
    /// # Errors
    /// [`CryptoError::Unsealed`] when any key, purpose, or byte is not that of the sealing.
    pub fn open(
        &self,
        secret: &SecretKey,
        psk: &SecretKey,
        info: &[u8],
        associated: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        let mut bytes = self.bytes.as_ref().to_vec();
        let plain = Envelope { enc: self.enc, bytes: bytes.as_mut_slice() };
        let len = plain.open_in_place(secret, psk, info, associated)?.len();
        bytes.truncate(len);
        Ok(bytes)
    }
}

impl<'b> Envelope<&'b mut [u8]> {
    /// Opens what [`Envelope::seal`] made where it lies: the plain bytes stand in the place of the sealed ones.
    ///
    /// # Errors
    /// As [`Envelope::open`]; nothing can be done with the bytes then.
    pub fn open_in_place(
        self,
        secret: &SecretKey,
        psk: &SecretKey,
        info: &[u8],
        associated: &[u8],
    ) -> Result<&'b [u8], CryptoError> {
        let malformed = |_| CryptoError::Malformed { what: "secret key" };
        let secret = PrivateKey::from_bytes(secret.expose()).map_err(malformed)?;
        let psk = PskBundle::new(psk.expose(), PSK_ID).map_err(malformed)?;
        let enc = EncappedKey::from_bytes(&self.enc).map_err(|_| CryptoError::Unsealed)?;
        let plain_bytes = self.bytes.len().checked_sub(Tag::size()).ok_or(CryptoError::Unsealed)?;
        let (bytes, tag) = self.bytes.split_at_mut(plain_bytes);
        let tag = Tag::from_bytes(tag).map_err(|_| CryptoError::Unsealed)?;
        let mut context = hpke::setup_receiver::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Psk(psk),
            &secret,
            &enc,
            info,
        )
        .map_err(|_| CryptoError::Unsealed)?;
        context.open_inout_detached(bytes.into(), associated, &tag).map_err(|_| CryptoError::Unsealed)?;
        Ok(bytes)
    }
}

/// One message sealed to a public key by anybody (HPKE base mode).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenEnvelope(pub Envelope);

impl OpenEnvelope {
    /// Seals `plain` to `public` for the purpose `info`, bound to `associated`.
    ///
    /// # Errors
    /// When the public key is not one, or there is no randomness.
    pub fn seal(
        public: &[u8; 32],
        info: &[u8],
        associated: &[u8],
        plain: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Self, CryptoError> {
        let malformed = |_| CryptoError::Malformed { what: "public key" };
        let public = PublicKey::from_bytes(public).map_err(malformed)?;
        let mut drawn = Drawn::new(entropy)?;
        let (enc, mut context) =
            hpke::setup_sender_with_rng::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
                &OpModeS::Base,
                &public,
                info,
                &mut drawn,
            )
            .map_err(malformed)?;
        let bytes = context.seal(plain, associated).map_err(|_| CryptoError::TooLong)?;
        let enc = enc.to_bytes().as_slice().try_into().map_err(|_| CryptoError::TooLong)?;
        Ok(Self(Envelope { enc, bytes }))
    }

    /// Opens what [`OpenEnvelope::seal`] made.
    ///
    /// # Errors
    /// [`CryptoError::Unsealed`] when the key, purpose, or any byte is not that of the sealing.
    pub fn open(&self, secret: &SecretKey, info: &[u8], associated: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let malformed = |_| CryptoError::Malformed { what: "secret key" };
        let secret = PrivateKey::from_bytes(secret.expose()).map_err(malformed)?;
        let enc = EncappedKey::from_bytes(&self.0.enc).map_err(|_| CryptoError::Unsealed)?;
        hpke::setup_receiver::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &secret,
            &enc,
            info,
        )
        .and_then(|mut context| context.open(&self.0.bytes, associated))
        .map_err(|_| CryptoError::Unsealed)
    }
}

/// The public key that belongs to an X25519 secret key.
pub(super) fn public_key(secret: &SecretKey) -> Result<[u8; 32], CryptoError> {
    let malformed = CryptoError::Malformed { what: "secret key" };
    let Ok(secret) = PrivateKey::from_bytes(secret.expose()) else {
        return Err(malformed);
    };
    X25519HkdfSha256::sk_to_pk(&secret).to_bytes().as_slice().try_into().map_err(|_| malformed)
}

/// Randomness drawn beforehand: the HPKE library wants a generator that cannot fail, and ours can.
/// It stretches one 32-byte draw, so it cannot run dry.
struct Drawn(blake3::OutputReader);

impl Drawn {
    fn new(entropy: &dyn Entropy) -> Result<Self, CryptoError> {
        let seed = SecretKey::random(entropy)?;
        Ok(Self(blake3::Hasher::new_keyed(seed.expose()).finalize_xof()))
    }
}

impl TryRng for Drawn {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl TryCryptoRng for Drawn {}
