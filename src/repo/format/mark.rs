//! Marks: what is said later of a snapshot or a pack.

use super::header::{Header, ObjectType};
use super::{FormatError, from_cbor, malformed, object, to_cbor};
use crate::crypto::{KeyBundle, SmallSealed, SubKey};
use crate::id::{MarkId, RepoId};
use crate::secret::Entropy;
use minicbor::bytes::{ByteArray, ByteVec};
use minicbor::{Decode, Encode};
use std::collections::{HashMap, HashSet};

/// A mark object is never larger, in bytes.
pub const MARK_BYTES_MAX: u64 = 64 << 10;

/// What a mark says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkKind {
    /// The snapshot is listed.
    Committed,
    /// The snapshot's tags are those of the value, one a line.
    Tags,
    /// Only a person lets go of the snapshot.
    Pinned,
    /// The snapshot was restored and compared; the value says which share of it, if it was not all.
    Verified,
    /// The pack does not hold what it should.
    Damaged,
    /// What it supersedes holds no more. Where that is nothing, it speaks of a snapshot that was removed as abandoned: should its writer
    /// wake up and commit it all the same, that says nothing. Signed.
    Cleared,
    /// Something that this program does not know, by number.
    Other(u8),
}

impl MarkKind {
    fn number(self) -> u8 {
        match self {
            Self::Committed => 1,
            Self::Tags => 2,
            Self::Pinned => 3,
            Self::Verified => 4,
            Self::Damaged => 5,
            Self::Cleared => 6,
            Self::Other(number) => number,
        }
    }
}

/// A mark's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// What it says.
    pub kind: MarkKind,
    /// Key of the object that it speaks of.
    pub object: String,
    /// When it was made, ms since the epoch; for display only.
    pub time_ms: i64,
    /// Marks that it supersedes.
    pub supersedes: Vec<MarkId>,
    /// More words, depending on the kind.
    pub value: Option<String>,
    /// Host that made it.
    pub host: String,
}

impl Mark {
    /// The mark object's bytes.
    ///
    /// # Errors
    /// When there is no randomness, or the key may not sign what must be signed.
    pub fn seal(
        &self,
        repo: RepoId,
        keys: &KeyBundle,
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, FormatError> {
        let epoch = keys.newest();
        let header = Header { kind: ObjectType::Mark, epoch: epoch.number(), repo };
        let stored = Stored {
            kind: self.kind.number(),
            object: self.object.clone(),
            time_ms: self.time_ms,
            supersedes: self.supersedes.iter().flat_map(|id| *id.as_bytes()).collect::<Vec<u8>>().into(),
            value: self.value.clone(),
            host: self.host.clone(),
        };
        let sealed =
            SmallSealed::seal(&epoch.sub_key(SubKey::Mark), &header.to_bytes(), &to_cbor(&stored)?, entropy)?;
        let signature = match self.kind {
            MarkKind::Cleared => Some(epoch.sign(&signed_part(&header.to_bytes(), &sealed))?.into()),
            _ => None,
        };
        object(&header, &Sealed { nonce: sealed.nonce.into(), sealed: sealed.bytes.into(), signature })
    }

    /// Opens a mark object.
    ///
    /// # Errors
    /// When it is damaged or of another repository.
    pub fn open(bytes: &[u8], repo: &RepoId, keys: &KeyBundle) -> Result<Self, FormatError> {
        let (header, raw, rest) = Header::read(bytes, ObjectType::Mark, Some(repo))?;
        let Sealed { nonce, sealed, signature } = from_cbor(rest, "mark")?;
        let sealed = SmallSealed { nonce: *nonce, bytes: sealed.into() };
        let epoch = keys.epoch(header.epoch)?;
        let is_signed = signature.is_some();
        if let Some(signature) = signature {
            epoch.verify(&signed_part(&raw, &sealed), &signature)?;
        }
        let key = epoch.sub_key(SubKey::Mark);
        let stored: Stored = from_cbor(&sealed.open(&key, &raw)?, "mark")?;
        if stored.kind == MarkKind::Cleared.number() && !is_signed {
            return Err(malformed("a mark that takes back, and is not signed"));
        }
        let is_known = (1..=MarkKind::Cleared.number()).contains(&stored.kind);
        let (supersedes, []) = stored.supersedes.as_chunks::<32>() else {
            return Err(malformed("a list of marks cut short"));
        };
        Ok(Self {
            kind: match stored.kind {
                1 => MarkKind::Committed,
                2 => MarkKind::Tags,
                3 => MarkKind::Pinned,
                4 => MarkKind::Verified,
                5 => MarkKind::Damaged,
                6 => MarkKind::Cleared,
                other => MarkKind::Other(other),
            },
            object: stored.object,
            time_ms: stored.time_ms,
            // What a kind of later times takes back is not for a key that may only add to say.
            supersedes: match is_known || is_signed {
                true => supersedes.iter().map(|id| MarkId::from_bytes(*id)).collect(),
                false => Vec::new(),
            },
            value: stored.value,
            host: stored.host,
        })
    }
}

/// The marks that hold no more because another one of `marks` supersedes them.
///
/// One that is not signed, which a key that may only add can make, supersedes only what says the same kind of thing of the same
/// object: it says it anew, and takes nothing back.
pub fn superseded(marks: &[(MarkId, Mark)]) -> HashSet<MarkId> {
    let by_id: HashMap<&MarkId, &Mark> = marks.iter().map(|(id, mark)| (id, mark)).collect();
    let may = |mark: &Mark, old: &MarkId| match mark.kind {
        MarkKind::Cleared | MarkKind::Other(_) => true,
        kind => by_id.get(old).is_none_or(|old| old.kind == kind && old.object == mark.object),
    };
    marks
        .iter()
        .flat_map(|(_, mark)| mark.supersedes.iter().filter(move |old| may(mark, old)).copied())
        .collect()
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Sealed {
    #[n(0)]
    nonce: ByteArray<24>,
    #[n(1)]
    sealed: ByteVec,
    #[n(2)]
    signature: Option<ByteArray<64>>,
}

const SIGN_CONTEXT: &[u8] = b"dumpvault v1 mark";

fn signed_part(header: &[u8], sealed: &SmallSealed) -> Vec<u8> {
    [SIGN_CONTEXT, header, &sealed.nonce, &sealed.bytes].concat()
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Stored {
    #[n(0)]
    kind: u8,
    #[n(1)]
    object: String,
    #[n(2)]
    time_ms: i64,
    #[n(3)]
    supersedes: ByteVec,
    #[n(4)]
    value: Option<String>,
    #[n(5)]
    host: String,
}
