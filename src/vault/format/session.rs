//! Session objects: a writer or a prune says that it is under way, and what it knows.

use super::header::{Header, ObjectType};
use super::signed::{Claim, Opened, by_author, split};
use super::{FormatError, Sealed, from_cbor, malformed, object, to_cbor};
use crate::base::id::{AuthorId, PlanId, RepoId, SessionId};
use crate::base::secret::Entropy;
use crate::vault::crypto::{KeyBundle, SmallSealed, SubKey};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

/// A session object is never larger, in bytes.
pub const SESSION_BYTES_MAX: u64 = 1 << 20;

/// What is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionKind {
    /// A backup, or anything else that adds to the repository.
    Write,
    /// A prune.
    Prune,
    /// Something that this program does not know, by number.
    Other(u8),
}

/// A session object's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionState {
    /// What is under way.
    pub kind: SessionKind,
    /// Prune plans whose packs it treats as not there.
    pub plans: Vec<PlanId>,
    /// In all objects but the first: when the first one was put, by the storage's clock, ms since the epoch. An object
    /// that was put again by somebody who saw it names another time.
    pub began_ms: Option<i64>,
}

impl SessionState {
    /// The bytes of the session's object with that number.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn seal(
        &self,
        (session, number): (SessionId, u64),
        repo: RepoId,
        keys: &KeyBundle,
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, FormatError> {
        let epoch = keys.newest();
        let header = Header { kind: ObjectType::Session, epoch: epoch.number(), repo };
        let stored = Stored {
            kind: match self.kind {
                SessionKind::Write => 1,
                SessionKind::Prune => 2,
                SessionKind::Other(number) => number,
            },
            plans: self.plans.iter().flat_map(|id| *id.as_bytes()).collect::<Vec<u8>>().into(),
            author: keys.author().id(),
            began_ms: self.began_ms,
        };
        let key = epoch.sub_key(SubKey::Session);
        let associated = associated(&header.to_bytes(), &session, number);
        let sealed = SmallSealed::seal(&key, &associated, &to_cbor(&stored)?, entropy)?;
        let sealed = Sealed::from(sealed);
        Ok(by_author(object(&header, &sealed)?, Some((session, number)), keys.author()))
    }

    /// Opens the session's object with that number.
    ///
    /// # Errors
    /// When it is damaged, of another repository, or another session's.
    pub fn open(
        bytes: &[u8],
        (session, number): (SessionId, u64),
        repo: &RepoId,
        keys: &KeyBundle,
    ) -> Result<Opened<Self>, FormatError> {
        let (body, signature) = split(bytes)?;
        let (header, raw, rest) = Header::read(body, ObjectType::Session, Some(repo))?;
        let sealed = from_cbor::<Sealed>(rest, "session")?;
        let sealed = SmallSealed::from(sealed);
        let key = keys.epoch(header.epoch)?.sub_key(SubKey::Session);
        let stored: Stored = from_cbor(&sealed.open(&key, &associated(&raw, &session, number))?, "session")?;
        let (plans, []) = stored.plans.as_chunks::<32>() else {
            return Err(malformed("a list of plans cut short"));
        };
        let state = Self {
            kind: match stored.kind {
                1 => SessionKind::Write,
                2 => SessionKind::Prune,
                other => SessionKind::Other(other),
            },
            plans: plans.iter().map(|id| PlanId::from_bytes(*id)).collect(),
            began_ms: stored.began_ms,
        };
        let claim = Claim::new(stored.author, header.epoch, Some((session, number)), body, signature);
        Ok(Opened { content: state, claim })
    }
}

/// Ties the content to its name: an old object put under a new name says nothing.
fn associated(header: &[u8], session: &SessionId, number: u64) -> Vec<u8> {
    [header, session.as_bytes(), &number.to_le_bytes()].concat()
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Stored {
    #[n(0)]
    kind: u8,
    #[n(1)]
    plans: ByteVec,
    #[n(2)]
    author: AuthorId,
    #[n(3)]
    began_ms: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::OsEntropy;

    #[test]
    fn a_session_round_trips_and_is_bound_to_its_name() {
        let keys = KeyBundle::generate(&OsEntropy).unwrap();
        let repo = RepoId::from_bytes([3; 16]);
        let state = SessionState {
            kind: SessionKind::Write,
            plans: vec![PlanId::from_bytes([1; 32]), PlanId::from_bytes([2; 32])],
            began_ms: Some(5),
        };
        let whole = |bytes: &[u8], name| {
            let opened = SessionState::open(bytes, name, &repo, &keys).ok()?;
            opened.claim.verify(&keys.author().verifying_key()).ok().map(|()| opened.content)
        };
        let name = (SessionId::from_bytes([7; 16]), 5);
        let bytes = state.seal(name, repo, &keys.to_append(), &OsEntropy).unwrap();
        assert_eq!(whole(&bytes, name), Some(state));
        assert!(whole(&bytes, (name.0, 6)).is_none());
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert!(whole(&changed, name).is_none(), "byte {at}");
            assert!(whole(&bytes[..at], name).is_none(), "cut at {at}");
        }
    }
}
