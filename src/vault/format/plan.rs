//! Prune plans: packs that will go. From the plan on no writer relies on them.

use super::header::{Header, ObjectType};
use super::signed::{Claim, Opened, by_author, split};
use super::{FormatError, Sealed, from_cbor, malformed, object, to_cbor};
use crate::base::id::{AuthorId, PackId, RepoId};
use crate::base::secret::Entropy;
use crate::vault::crypto::{KeyBundle, SmallSealed, SubKey};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

/// A prune plan is never larger, in bytes.
pub const PLAN_BYTES_MAX: u64 = 64 << 20;
/// Packs that one plan names at most.
pub const PLAN_PACKS_MAX: usize = 1 << 20;

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
    /// When there is no randomness.
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
        let stored = Stored { time_ms: self.time_ms, packs: packs.into(), author: keys.author().id() };
        let sealed = SmallSealed::seal(&epoch.sub_key(SubKey::PrunePlan), &raw, &to_cbor(&stored)?, entropy)?;
        let sealed = Sealed::from(sealed);
        Ok(by_author(object(&header, &sealed)?, None, keys.author()))
    }

    /// Opens a plan.
    ///
    /// # Errors
    /// When it is damaged, or of another repository.
    pub fn open(bytes: &[u8], repo: &RepoId, keys: &KeyBundle) -> Result<Opened<Self>, FormatError> {
        let (body, signature) = split(bytes)?;
        let (header, raw, rest) = Header::read(body, ObjectType::PrunePlan, Some(repo))?;
        let sealed = from_cbor::<Sealed>(rest, "prune plan")?;
        let epoch = keys.epoch(header.epoch)?;
        let sealed = SmallSealed::from(sealed);
        let plain = sealed.open(&epoch.sub_key(SubKey::PrunePlan), &raw)?;
        let stored: Stored = from_cbor(&plain, "prune plan")?;
        let (packs, []) = stored.packs.as_chunks::<32>() else {
            return Err(malformed("a list of packs cut short"));
        };
        if packs.len() > PLAN_PACKS_MAX {
            return Err(malformed("too many packs for one plan"));
        }
        let packs = packs.iter().map(|id| PackId::from_bytes(*id)).collect();
        let claim = Claim::new(stored.author, header.epoch, None, body, signature);
        Ok(Opened { content: Self { time_ms: stored.time_ms, packs }, claim })
    }
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Stored {
    #[n(0)]
    time_ms: i64,
    #[n(1)]
    packs: ByteVec,
    #[n(2)]
    author: AuthorId,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::OsEntropy;

    #[test]
    fn a_plan_is_readable_by_all_and_bound_to_its_author() {
        let keys = KeyBundle::generate(&OsEntropy).unwrap();
        let repo = RepoId::from_bytes([3; 16]);
        let plan = Plan { time_ms: 5, packs: vec![PackId::from_bytes([1; 32]), PackId::from_bytes([2; 32])] };
        let bytes = plan.seal(repo, &keys, &OsEntropy).unwrap();
        let whole = |bytes: &[u8]| {
            let opened = Plan::open(bytes, &repo, &keys.to_append()).ok()?;
            opened.claim.verify(&keys.author().verifying_key()).ok().map(|()| opened.content)
        };
        assert_eq!(whole(&bytes), Some(plan));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert!(whole(&changed).is_none(), "byte {at}");
            assert!(whole(&bytes[..at]).is_none(), "cut at {at}");
        }
    }
}
