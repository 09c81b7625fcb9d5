//! Epoch objects: one closes a key epoch, says what of it counts, and gives the next one's keys to each author.

use super::author::AUTHORS_MAX;
use super::header::{Header, ObjectType};
use super::signed::{by_authority, check_authority, split};
use super::{FormatError, Sealed, from_cbor, malformed, object, to_cbor};
use crate::base::id::{AuthorId, RepoId};
use crate::base::secret::Entropy;
use crate::vault::crypto::{Envelope, Epoch, KeyBundle, OpenEnvelope, Role, SmallSealed, SubKey};
use minicbor::bytes::{ByteArray, ByteVec};
use minicbor::{Decode, Encode};
use std::collections::HashSet;

/// An epoch object is never larger, in bytes.
pub const EPOCH_BYTES_MAX: u64 = 64 << 20;

/// What an epoch object says.
#[derive(Debug, Clone)]
pub struct Close {
    /// The epoch that it closes.
    pub closes: u16,
    /// Sorted hashes of the index, snapshot, mark and author objects of that epoch and those before that count from now
    /// on.
    pub counts: Vec<[u8; 32]>,
    /// The authors that go on.
    pub authors: HashSet<AuthorId>,
    header: [u8; 32],
    public: [u8; 32],
    authority: [u8; 32],
    entries: Vec<Entry>,
}

/// An author that is to go on in the next epoch.
#[derive(Debug, Clone, Copy)]
pub struct Heir {
    /// Its name.
    pub author: AuthorId,
    /// What its key may do.
    pub role: Role,
    /// Its X25519 public key.
    pub wrap_key: [u8; 32],
}

impl Close {
    /// The bytes of the object that closes the newest epoch of `old` and opens `next`, the newest one of the same keys
    /// rotated.
    ///
    /// # Errors
    /// When `old` are not those of a full key, there is too much to list, or there is no randomness.
    pub fn seal(
        repo: RepoId,
        old: &KeyBundle,
        next: &Epoch,
        mut counts: Vec<[u8; 32]>,
        heirs: &[Heir],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, FormatError> {
        let epoch = old.newest();
        let header = Header { kind: ObjectType::Epoch, epoch: epoch.number(), repo };
        let raw = header.to_bytes();
        counts.sort_unstable();
        counts.dedup();
        let mut entries = Vec::with_capacity(heirs.len());
        for heir in heirs {
            let associated = associated(&raw, &heir.author);
            let OpenEnvelope(Envelope { enc, bytes }) =
                next.wrap(heir.role, &heir.wrap_key, &associated, entropy)?;
            entries.push(Entry { author: heir.author, enc: enc.into(), sealed: bytes.into() });
        }
        let stored = Stored {
            next: next.number(),
            public: *next.public(),
            authority: *next.authority(),
            counts: counts.as_flattened().to_vec().into(),
            entries,
        };
        let sealed = SmallSealed::seal(&epoch.sub_key(SubKey::Epoch), &raw, &to_cbor(&stored)?, entropy)?;
        let sealed = Sealed::from(sealed);
        let bytes = by_authority(object(&header, &sealed)?, epoch)?;
        if bytes.len() as u64 > EPOCH_BYTES_MAX {
            return Err(malformed("more objects than an epoch can list"));
        }
        Ok(bytes)
    }

    /// Opens the object that closes an epoch of `keys`, and checks the signature of that epoch's authority.
    ///
    /// # Errors
    /// When it is damaged, forged, or of another repository.
    pub fn open(bytes: &[u8], repo: &RepoId, keys: &KeyBundle) -> Result<Self, FormatError> {
        let (body, signature) = split(bytes)?;
        let (header, raw, rest) = Header::read(body, ObjectType::Epoch, Some(repo))?;
        let epoch = keys.epoch(header.epoch)?;
        check_authority(body, &signature, epoch)?;
        let sealed = from_cbor::<Sealed>(rest, "epoch")?;
        let sealed = SmallSealed::from(sealed);
        let plain = sealed.open(&epoch.sub_key(SubKey::Epoch), &raw)?;
        let stored: Stored = from_cbor(&plain, "epoch")?;
        let (counts, []) = stored.counts.as_chunks::<32>() else {
            return Err(malformed("a list of objects cut short"));
        };
        if Some(stored.next) != header.epoch.checked_add(1) || stored.entries.len() > AUTHORS_MAX {
            return Err(malformed("an epoch that does not follow"));
        }
        if !counts.is_sorted() {
            return Err(malformed("a list of objects that is not sorted"));
        }
        Ok(Self {
            closes: header.epoch,
            counts: counts.to_vec(),
            authors: stored.entries.iter().map(|entry| entry.author).collect(),
            header: raw,
            public: stored.public,
            authority: stored.authority,
            entries: stored.entries,
        })
    }

    /// The epoch that a stored epoch object closes, read without a key.
    ///
    /// # Errors
    /// When it is no epoch object of `repo`.
    pub fn closed_by(bytes: &[u8], repo: &RepoId) -> Result<u16, FormatError> {
        Header::read(bytes, ObjectType::Epoch, Some(repo)).map(|(header, _, _)| header.epoch)
    }

    /// Whether this is what opened the epoch `next`.
    pub fn opens(&self, next: &Epoch) -> bool {
        next.number() == self.closes + 1
            && *next.public() == self.public
            && *next.authority() == self.authority
    }

    /// The next epoch's keys for the author of `keys`; `None` where the author does not go on.
    ///
    /// # Errors
    /// When the entry does not open, or its keys are not those that the object names.
    pub fn next_epoch(&self, keys: &KeyBundle) -> Result<Option<Epoch>, FormatError> {
        let author = keys.author();
        let Some(entry) = self.entries.iter().find(|entry| entry.author == author.id()) else {
            return Ok(None);
        };
        let envelope = OpenEnvelope(Envelope { enc: *entry.enc, bytes: entry.sealed.to_vec() });
        let epoch = author.unwrap_epoch(keys.role(), &envelope, &associated(&self.header, &author.id()))?;
        if self.opens(&epoch) { Ok(Some(epoch)) } else { Err(malformed("keys of another epoch")) }
    }
}

fn associated(header: &[u8], author: &AuthorId) -> Vec<u8> {
    [header, author.as_bytes()].concat()
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Stored {
    #[n(0)]
    next: u16,
    #[cbor(n(1), with = "minicbor::bytes")]
    public: [u8; 32],
    #[cbor(n(2), with = "minicbor::bytes")]
    authority: [u8; 32],
    #[n(3)]
    counts: ByteVec,
    #[n(4)]
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, Encode, Decode)]
struct Entry {
    #[n(0)]
    author: AuthorId,
    #[n(1)]
    enc: ByteArray<32>,
    #[n(2)]
    sealed: ByteVec,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::OsEntropy;

    #[test]
    fn an_epoch_reaches_its_heirs_and_nobody_else() {
        let full = KeyBundle::generate(&OsEntropy).unwrap();
        let host = full.for_new_author(Role::Append, &OsEntropy).unwrap();
        let revoked = full.for_new_author(Role::Append, &OsEntropy).unwrap();
        let repo = RepoId::from_bytes([3; 16]);
        let rotated = full.rotated(&OsEntropy).unwrap();
        let heir = |keys: &KeyBundle| Heir {
            author: keys.author().id(),
            role: keys.role(),
            wrap_key: keys.author().wrap_key().unwrap(),
        };
        let heirs = [heir(&full), heir(&host)];
        let counts = vec![[9; 32], [1; 32]];
        let bytes = Close::seal(repo, &full, rotated.newest(), counts, &heirs, &OsEntropy).unwrap();
        assert_eq!(Close::closed_by(&bytes, &repo).unwrap(), 0);
        let close = Close::open(&bytes, &repo, &host).unwrap();
        assert_eq!((close.closes, close.counts.as_slice()), (0, [[1; 32], [9; 32]].as_slice()));
        for keys in [&full, &host] {
            let next = close.next_epoch(keys).unwrap().unwrap();
            assert_eq!(next.authority(), rotated.newest().authority());
        }
        assert!(close.next_epoch(&revoked).unwrap().is_none());
        assert!(Close::seal(repo, &host, rotated.newest(), vec![], &heirs, &OsEntropy).is_err());
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert!(Close::open(&changed, &repo, &full).is_err(), "byte {at}");
        }
    }
}
