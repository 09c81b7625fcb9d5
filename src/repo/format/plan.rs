//! Prune plans: packs that will go. From the plan on no writer relies on them.

use super::header::{Header, ObjectType};
use super::{FormatError, from_cbor, malformed, object, to_cbor};
use crate::crypto::{KeyBundle, SmallSealed, SubKey};
use crate::id::{PackId, RepoId};
use crate::secret::Entropy;
use minicbor::bytes::{ByteArray, ByteVec};
use minicbor::{Decode, Encode};

/// A prune plan is never larger, in bytes.
pub const PLAN_BYTES_MAX: u64 = 64 << 20;
/// Packs that one plan names at most.
pub const PLAN_PACKS_MAX: usize = 1 << 20;
const SIGN_CONTEXT: &[u8] = b"dumpvault v1 prune plan";

/// A prune plan's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// When it was made, ms since the epoch; for display only.
    pub time_ms: i64,
    /// The packs that will go.
    pub packs: Vec<PackId>,
}

impl Plan {
    /// The plan object's bytes.
    ///
    /// # Errors
    /// When the key may not sign, or there is no randomness.
    pub fn seal(
        &self,
        repo: RepoId,
        keys: &KeyBundle,
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, FormatError> {
        let epoch = keys.newest();
        let header = Header { kind: ObjectType::PrunePlan, epoch: epoch.number(), repo };
        let raw = header.to_bytes();
        let packs = self.packs.iter().flat_map(|id| *id.as_bytes()).collect::<Vec<u8>>();
        let stored = Stored { time_ms: self.time_ms, packs: packs.into() };
        let sealed = SmallSealed::seal(&epoch.sub_key(SubKey::PrunePlan), &raw, &to_cbor(&stored)?, entropy)?;
        let signature = epoch.sign(&signed_part(&raw, &sealed))?;
        let envelope =
            Signed { nonce: sealed.nonce.into(), sealed: sealed.bytes.into(), signature: signature.into() };
        object(&header, &envelope)
    }

    /// Opens a plan and checks its signature.
    ///
    /// # Errors
    /// When it is damaged, forged, or of another repository.
    pub fn open(bytes: &[u8], repo: &RepoId, keys: &KeyBundle) -> Result<Self, FormatError> {
        let (header, raw, rest) = Header::read(bytes, ObjectType::PrunePlan, Some(repo))?;
        let signed: Signed = from_cbor(rest, "prune plan")?;
        let epoch = keys.epoch(header.epoch)?;
        let sealed = SmallSealed { nonce: *signed.nonce, bytes: signed.sealed.into() };
        epoch.verify(&signed_part(&raw, &sealed), &signed.signature)?;
        let plain = sealed.open(&epoch.sub_key(SubKey::PrunePlan), &raw)?;
        let stored: Stored = from_cbor(&plain, "prune plan")?;
        let (packs, []) = stored.packs.as_chunks::<32>() else {
            return Err(malformed("a list of packs cut short"));
        };
        if packs.len() > PLAN_PACKS_MAX {
            return Err(malformed("too many packs for one plan"));
        }
        Ok(Self { time_ms: stored.time_ms, packs: packs.iter().map(|id| PackId::from_bytes(*id)).collect() })
    }
}

fn signed_part(header: &[u8], sealed: &SmallSealed) -> Vec<u8> {
    [SIGN_CONTEXT, header, &sealed.nonce, &sealed.bytes].concat()
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Signed {
    #[n(0)]
    nonce: ByteArray<24>,
    #[n(1)]
    sealed: ByteVec,
    #[n(2)]
    signature: ByteArray<64>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Stored {
    #[n(0)]
    time_ms: i64,
    #[n(1)]
    packs: ByteVec,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::CryptoError;
    use crate::secret::OsEntropy;

    #[test]
    fn a_plan_is_readable_by_all_and_written_by_the_full_key_alone() {
        let keys = KeyBundle::generate(&OsEntropy).unwrap();
        let repo = RepoId::from_bytes([3; 16]);
        let plan = Plan { time_ms: 5, packs: vec![PackId::from_bytes([1; 32]), PackId::from_bytes([2; 32])] };
        let bytes = plan.seal(repo, &keys, &OsEntropy).unwrap();
        assert_eq!(Plan::open(&bytes, &repo, &keys.to_append()).unwrap(), plan);
        assert!(matches!(
            plan.seal(repo, &keys.to_append(), &OsEntropy),
            Err(FormatError::Crypto(CryptoError::RoleTooWeak { .. }))
        ));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert!(Plan::open(&changed, &repo, &keys).is_err(), "byte {at}");
            assert!(Plan::open(&bytes[..at], &repo, &keys).is_err(), "cut at {at}");
        }
    }
}
