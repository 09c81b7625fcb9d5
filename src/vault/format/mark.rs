//! Marks: what is said later of a snapshot or a pack.

use super::header::{Header, ObjectType};
use super::signed::{Claim, Opened, by_author, pad, split, unpad};
use super::{FormatError, Sealed, from_cbor, malformed, object, to_cbor};
use crate::base::id::{AuthorId, MarkId, RepoId};
use crate::base::secret::Entropy;
use crate::vault::crypto::{KeyBundle, SmallSealed, SubKey};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

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
    /// What it supersedes holds no more. Where that is nothing, it speaks of a snapshot that was removed as abandoned:
    /// should its writer wake up and commit it all the same, that says nothing.
    Cleared,
    /// The snapshots whose ids are the lines of the value were removed on purpose: their absence is no rollback.
    Forgotten,
    /// The object cannot be read or is gone, and nothing waits for it any more.
    GivenUp,
    /// The time of the snapshot is right, whatever the storage says of when it was put.
    TimeConfirmed,
    /// The snapshot was checked.
    Checked,
    /// A run over a system came to its end. The lines of the value are JSON objects: the run, then each of its sources.
    SetEnded,
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
            Self::Forgotten => 7,
            Self::GivenUp => 8,
            Self::TimeConfirmed => 9,
            Self::Checked => 10,
            Self::SetEnded => 11,
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
    /// When there is no randomness.
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
            author: keys.author().id(),
        };
        let plain = pad(to_cbor(&stored)?)?;
        let sealed = SmallSealed::seal(&epoch.sub_key(SubKey::Mark), &header.to_bytes(), &plain, entropy)?;
        let sealed = Sealed::from(sealed);
        Ok(by_author(object(&header, &sealed)?, None, keys.author()))
    }

    /// Opens a mark object.
    ///
    /// # Errors
    /// When it is damaged or of another repository.
    pub fn open(bytes: &[u8], repo: &RepoId, keys: &KeyBundle) -> Result<Opened<Self>, FormatError> {
        let (body, signature) = split(bytes)?;
        let (header, raw, rest) = Header::read(body, ObjectType::Mark, Some(repo))?;
        let sealed = from_cbor::<Sealed>(rest, "mark")?;
        let sealed = SmallSealed::from(sealed);
        let key = keys.epoch(header.epoch)?.sub_key(SubKey::Mark);
        let stored: Stored = from_cbor(unpad(&sealed.open(&key, &raw)?)?, "mark")?;
        let (supersedes, []) = stored.supersedes.as_chunks::<32>() else {
            return Err(malformed("a list of marks cut short"));
        };
        let mark = Self {
            kind: match stored.kind {
                1 => MarkKind::Committed,
                2 => MarkKind::Tags,
                3 => MarkKind::Pinned,
                4 => MarkKind::Verified,
                5 => MarkKind::Damaged,
                6 => MarkKind::Cleared,
                7 => MarkKind::Forgotten,
                8 => MarkKind::GivenUp,
                9 => MarkKind::TimeConfirmed,
                10 => MarkKind::Checked,
                11 => MarkKind::SetEnded,
                other => MarkKind::Other(other),
            },
            object: stored.object,
            time_ms: stored.time_ms,
            supersedes: supersedes.iter().map(|id| MarkId::from_bytes(*id)).collect(),
            value: stored.value,
            host: stored.host,
        };
        Ok(Opened { content: mark, claim: Claim::new(stored.author, header.epoch, None, body, signature) })
    }
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
    #[n(6)]
    author: AuthorId,
}
