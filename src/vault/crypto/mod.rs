//! Sealing, key derivation, key bundles and key slots. The byte layouts are in `docs/format.md`.
//!
//! | file | hides |
//! |---|---|
//! | `small` | XChaCha20-Poly1305 with a random nonce, for objects sealed one at a time |
//! | `bulk` | ChaCha20-Poly1305 with nonces from a position, for blocks |
//! | `envelope` | HPKE to the repository's public key |
//! | `bundle` | what keys there are, per role and epoch, and what is derived from them |
//! | `content` | which keys name content, in each generation |
//! | `slot` | how a passphrase or a key file opens a bundle |

mod bulk;
mod bundle;
mod content;
mod envelope;
mod slot;
mod small;

pub use bulk::{BlockNonce, PackKey, TAG_BYTES};
pub use bundle::{Author, Epoch, KeyBundle, Role, Signature, SubKey, verify};
pub use content::{ContentKeys, ContentRing};
pub use envelope::{ENC_BYTES, Envelope, OpenEnvelope};
pub use slot::{Credential, Kdf, KdfCaps, KeyFile, KeyFileError, SealedBundle};
pub use small::{NONCE_BYTES, SmallSealed};

use crate::base::secret::EntropyError;

/// A cryptographic step failed.
#[derive(Debug, thiserror::Error)]
pub enum CryptoError {
    /// The seal does not open: another key, or changed bytes. The two cannot be told apart.
    #[error("the seal does not open: the bytes are damaged, or were sealed with another key")]
    Unsealed,
    /// A key needed for this is not in the bundle.
    #[error("{needed} needs a full key; this one has the role append")]
    RoleTooWeak {
        /// What was tried.
        needed: &'static str,
    },
    /// The object names a key epoch that the bundle does not hold.
    #[error("sealed in key epoch {epoch}, which this key does not hold")]
    UnknownEpoch {
        /// The epoch named.
        epoch: u16,
    },
    /// A signature is not one of the repository's key.
    #[error("the signature is not valid")]
    BadSignature,
    /// The key bundle or a key in it is not well-formed.
    #[error("malformed key material: {what}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
    },
    /// Key-derivation costs beyond what may be asked for, or impossible ones.
    #[error("refused key-derivation costs: t={passes}, m={memory_kib} KiB, p={lanes}")]
    KdfCosts {
        /// Argon2 passes.
        passes: u32,
        /// Argon2 memory in KiB.
        memory_kib: u32,
        /// Argon2 lanes.
        lanes: u32,
    },
    /// More plaintext than the cipher takes in one go.
    #[error("too many bytes for one seal")]
    TooLong,
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}
