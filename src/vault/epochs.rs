//! Key epochs: followed from object to object, so that a rotation reaches hosts that are away, and its revoked ones do
//! not go on.

use super::RepoError;
use super::format::FormatError;
use super::format::epoch::{Close, EPOCH_BYTES_MAX};
use super::memory::{HostMemory, Question};
use super::objects::{ObjectName as _, fetch, name_in_key};
use crate::base::id::{AuthorId, EpochId, RepoId};
use crate::storage::Storage;
use crate::vault::crypto::KeyBundle;
use std::collections::HashSet;

/// The epochs of a repository, as far as they were closed.
#[derive(Debug, Default)]
pub struct Epochs {
    /// By the epoch that they close, from 0.
    closed: Vec<(EpochId, HashSet<AuthorId>)>,
    /// What counts of all closed epochs: the newest close says.
    counts: Vec<[u8; 32]>,
    /// Epoch objects that this host has seen and that are gone.
    pub missing: Vec<EpochId>,
    /// Keys of objects below `epochs/` whose bytes are not those of their name.
    pub damaged: Vec<String>,
}

/// What of `epochs/` was found.
struct Found {
    objects: Vec<(EpochId, u16, Vec<u8>)>,
    missing: Vec<EpochId>,
    damaged: Vec<String>,
}

impl Epochs {
    /// Follows the epochs from those that `keys` hold to the newest one; gives the keys of all.
    ///
    /// # Errors
    /// When the storage fails; [`RepoError::Revoked`] where the author of `keys` does not go on;
    /// [`RepoError::TwoEpochs`] where two objects close the same epoch and nobody said which is right;
    /// [`RepoError::Missing`] where the keys are of an epoch that nothing opened.
    pub(super) fn follow(
        storage: &dyn Storage,
        repo: &RepoId,
        keys: KeyBundle,
        memory: &HostMemory,
        trust: Option<&EpochId>,
    ) -> Result<(KeyBundle, Self), RepoError> {
        let found = Found::gather(storage, repo, memory)?;
        let mut keys = keys;
        let mut epochs = Self { missing: found.missing, damaged: found.damaged, ..Self::default() };
        for number in 0..u16::MAX {
            if keys.epoch(number).is_err() {
                break;
            }
            let mut closes: Vec<(EpochId, Close)> = Vec::new();
            for (id, _, bytes) in found.objects.iter().filter(|(_, closes, _)| *closes == number) {
                match Close::open(bytes, repo, &keys) {
                    Ok(close) => {
                        memory.trust(&id.key(), bytes);
                        closes.push((*id, close));
                    }
                    Err(_) => memory.note_junk(&id.key()),
                }
            }
            if let Ok(next) = keys.epoch(number + 1) {
                // The bundle is newer than this close: only the object that opened what it holds can be meant.
                closes.retain(|(_, close)| close.opens(next));
                if closes.is_empty() {
                    return Err(RepoError::Missing { object: format!("epochs/ (closing epoch {number})") });
                }
            }
            let Some((id, close)) = choose(number, closes, memory, trust)? else { break };
            if keys.epoch(number + 1).is_err() {
                let damaged = |source: FormatError| RepoError::Damaged { object: id.key(), source };
                let Some(next) = close.next_epoch(&keys).map_err(damaged)? else {
                    return Err(RepoError::Revoked { author: keys.author().id() });
                };
                keys = keys.followed_by(next);
            }
            epochs.closed.push((id, close.authors));
            epochs.counts = close.counts;
        }
        epochs.missing.retain(|id| epochs.closed.iter().any(|(closed, _)| closed == id));
        Ok((keys, epochs))
    }

    /// The newest epoch.
    pub fn newest(&self) -> u16 {
        u16::try_from(self.closed.len()).unwrap_or(u16::MAX)
    }

    /// The object that closed an epoch.
    pub fn closed_by(&self, epoch: u16) -> Option<EpochId> {
        self.closed.get(usize::from(epoch)).map(|(id, _)| *id)
    }

    /// Whether an object of `epoch` with the hash `id` counts: the epoch is open, or the newest close lists it.
    pub fn counts(&self, epoch: u16, id: &[u8; 32]) -> bool {
        epoch >= self.newest() || self.counts.binary_search(id).is_ok()
    }

    /// Whether an author that was first stated in the epoch `since` was given the keys of all epochs up to `epoch`.
    pub fn goes_on(&self, author: &AuthorId, since: u16, epoch: u16) -> bool {
        let closes = self.closed.get(usize::from(since)..usize::from(epoch.min(self.newest())));
        since <= epoch && closes.is_none_or(|closes| closes.iter().all(|(_, heirs)| heirs.contains(author)))
    }

    /// A value that changes with every close.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        self.hash_into(&mut hasher);
        *hasher.finalize().as_bytes()
    }

    pub(super) fn hash_into(&self, hasher: &mut blake3::Hasher) {
        self.closed.iter().for_each(|(id, _)| {
            hasher.update(id.as_bytes());
        });
    }
}

impl Found {
    fn gather(storage: &dyn Storage, repo: &RepoId, memory: &HostMemory) -> Result<Self, RepoError> {
        let mut trusted = memory.trusted();
        trusted.retain(|key, _| key.starts_with("epochs/"));
        let junk = memory.junk();
        let mut found = Self { objects: Vec::new(), missing: Vec::new(), damaged: Vec::new() };
        let mut names: Vec<EpochId> = Vec::new();
        storage.list("epochs/", &mut |listed| names.extend(name_in_key::<EpochId>(&listed.key)))?;
        names.sort();
        for name in names {
            let key = name.key();
            let bytes = match trusted.remove(&key) {
                Some(bytes) => bytes,
                None if junk.contains(&key) => continue,
                None => match fetch(storage, &name, EPOCH_BYTES_MAX) {
                    Ok(bytes) => bytes,
                    Err(error) if error.is_integrity() => {
                        found.damaged.push(key);
                        continue;
                    }
                    Err(error) => return Err(error),
                },
            };
            if let Ok(closes) = Close::closed_by(&bytes, repo) {
                found.objects.push((name, closes, bytes));
            }
        }
        for (key, bytes) in trusted {
            // Gone from the storage, and still true.
            if let (Some(name), Ok(closes)) = (name_in_key(&key), Close::closed_by(&bytes, repo)) {
                found.missing.push(name);
                found.objects.push((name, closes, bytes));
            }
        }
        Ok(found)
    }
}

/// Which of several objects that close the same epoch holds.
fn choose(
    number: u16,
    mut closes: Vec<(EpochId, Close)>,
    memory: &HostMemory,
    trust: Option<&EpochId>,
) -> Result<Option<(EpochId, Close)>, RepoError> {
    if closes.len() > 1 {
        let subject = number.to_string();
        let ids: Vec<EpochId> = closes.iter().map(|(id, _)| *id).collect();
        let answered = memory.answer(Question::Epoch, &subject).and_then(|answer| answer.parse().ok());
        let said = trust.copied().filter(|id| ids.contains(id));
        if let Some(said) = said {
            memory.note_answer(Question::Epoch, &subject, &said.to_string());
        }
        match said.or(answered).filter(|id| ids.contains(id)) {
            Some(chosen) => closes.retain(|(id, _)| *id == chosen),
            None => return Err(RepoError::TwoEpochs { epoch: number, objects: ids }),
        }
    }
    Ok(closes.pop())
}
