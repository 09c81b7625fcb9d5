//! The byte layout of key slots, and of the labels in them.

use super::header::{Header, ObjectType};
use super::{FormatError, from_cbor, malformed, object, to_cbor};
use crate::base::id::{AuthorId, RepoId};
use crate::base::secret::Entropy;
use crate::vault::crypto::{
    Credential, Epoch, Kdf, KdfCaps, KeyBundle, Role, SealedBundle, SmallSealed, SubKey,
};
use minicbor::bytes::{ByteArray, ByteVec};
use minicbor::{Decode, Encode};

/// A key slot object is never larger, in bytes.
pub const SLOT_BYTES_MAX: u64 = 64 << 10;
/// More slots than this are not made, and passphrase slots are tried until that costs as much as so many usual ones.
pub const SLOTS_MAX: usize = 64;

/// What a slot says of itself to whoever holds any key of the repository. For display alone: any key of the repository
/// can write it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Label {
    /// The user's words.
    #[n(0)]
    pub text: String,
    /// When the slot was made, ms since the epoch.
    #[n(1)]
    pub created_ms: i64,
    /// What its key may do.
    #[n(2)]
    pub role: Role,
    /// Whose key it holds.
    #[n(3)]
    pub author: AuthorId,
}

/// Which kind of credential opens a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotKind {
    /// A passphrase.
    Passphrase,
    /// A key file.
    KeyFile,
}

/// A slot as it is stored, still sealed.
#[derive(Debug, Clone)]
pub struct Slot {
    header: Header,
    raw: [u8; 32],
    bundle: SealedBundle,
    label: SmallSealed,
}

impl Slot {
    /// Bytes of a new slot object that `credential` opens.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn seal(
        repo: RepoId,
        keys: &KeyBundle,
        credential: &Credential,
        label: &Label,
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, FormatError> {
        let header = Header { kind: ObjectType::KeySlot, epoch: keys.newest().number(), repo };
        let raw = header.to_bytes();
        let bundle = SealedBundle::seal(keys, credential, &repo, &raw, entropy)?;
        let label = SmallSealed::seal(
            &keys.newest().sub_key(SubKey::SlotLabel),
            &label_associated(&raw, &bundle.sealed),
            &to_cbor(label)?,
            entropy,
        )?;
        Self::of_parts(header, &bundle, &label)
    }

    /// The bytes of a slot object.
    pub(in crate::vault) fn of_parts(
        header: Header,
        bundle: &SealedBundle,
        label: &SmallSealed,
    ) -> Result<Vec<u8>, FormatError> {
        let stored = Stored {
            kind: if bundle.kdf.is_some() { 1 } else { 2 },
            kdf: bundle.kdf.map(|kdf| StoredKdf {
                passes: kdf.passes,
                memory_kib: kdf.memory_kib,
                lanes: kdf.lanes,
                salt: kdf.salt.into(),
            }),
            nonce: bundle.sealed.nonce.into(),
            sealed: bundle.sealed.bytes.clone().into(),
            label_nonce: label.nonce.into(),
            label: label.bytes.clone().into(),
            commitment: bundle.commitment.into(),
        };
        object(&header, &stored)
    }

    /// Reads a slot object without opening it.
    ///
    /// # Errors
    /// When the bytes are no slot of `repo`.
    pub fn decode(bytes: &[u8], repo: &RepoId) -> Result<Self, FormatError> {
        let (header, raw, rest) = Header::read(bytes, ObjectType::KeySlot, Some(repo))?;
        let stored: Stored = from_cbor(rest, "key slot")?;
        let kdf = match (stored.kind, stored.kdf) {
            (1, Some(kdf)) => Some(Kdf {
                passes: kdf.passes,
                memory_kib: kdf.memory_kib,
                lanes: kdf.lanes,
                salt: *kdf.salt,
            }),
            (2, None) => None,
            _ => return Err(malformed("an unknown kind of key slot")),
        };
        Ok(Self {
            header,
            raw,
            bundle: SealedBundle {
                kdf,
                commitment: *stored.commitment,
                sealed: SmallSealed { nonce: *stored.nonce, bytes: stored.sealed.into() },
            },
            label: SmallSealed { nonce: *stored.label_nonce, bytes: stored.label.into() },
        })
    }

    /// Which kind of credential it takes.
    pub fn kind(&self) -> SlotKind {
        if self.bundle.kdf.is_some() { SlotKind::Passphrase } else { SlotKind::KeyFile }
    }

    /// Opens the slot.
    ///
    /// # Errors
    /// When the credential is not this slot's.
    pub fn open(&self, credential: &Credential, caps: KdfCaps) -> Result<KeyBundle, FormatError> {
        Ok(self.bundle.open(credential, &self.header.repo, &self.raw, caps)?)
    }

    /// What trying it costs: memory in KiB times passes of its key derivation; nothing for a key file.
    pub fn cost(&self) -> u64 {
        self.bundle.kdf.as_ref().map_or(0, Kdf::cost)
    }

    /// Reads the label with any key of the repository.
    ///
    /// # Errors
    /// When the key does not hold the slot's epoch, or the label is damaged.
    pub fn label(&self, keys: &KeyBundle) -> Result<Label, FormatError> {
        let epoch: &Epoch = keys.epoch(self.header.epoch)?;
        let associated = label_associated(&self.raw, &self.bundle.sealed);
        from_cbor(&self.label.open(&epoch.sub_key(SubKey::SlotLabel), &associated)?, "key slot label")
    }
}

fn label_associated(header: &[u8], bundle: &SmallSealed) -> Vec<u8> {
    [header, &bundle.nonce].concat()
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Stored {
    #[n(0)]
    kind: u8,
    #[n(1)]
    kdf: Option<StoredKdf>,
    #[n(2)]
    nonce: ByteArray<24>,
    #[n(3)]
    sealed: ByteVec,
    #[n(4)]
    label_nonce: ByteArray<24>,
    #[n(5)]
    label: ByteVec,
    #[n(6)]
    commitment: ByteArray<32>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct StoredKdf {
    #[n(0)]
    passes: u32,
    #[n(1)]
    memory_kib: u32,
    #[n(2)]
    lanes: u32,
    #[n(3)]
    salt: ByteArray<16>,
}
