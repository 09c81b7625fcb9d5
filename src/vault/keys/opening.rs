//! Which slot a credential opens, at a bounded cost: whoever may put objects may have put many slots, and slots that
//! ask for much work.
//!
//! The slot that opened last comes first, then the oldest: who came later cannot push others back. Slots whose key
//! derivation is dearer than that of a slot which this program makes wait for a second round. In each round the work is
//! bounded.

use super::{read_slot, slot_ids};
use crate::base::id::{RepoId, SlotId};
use crate::storage::Storage;
use crate::vault::crypto::{Credential, CryptoError, KdfCaps, KeyBundle};
use crate::vault::format::FormatError;
use crate::vault::format::slot::{SLOTS_MAX, Slot, SlotKind};
use crate::vault::objects::ObjectName as _;
use crate::vault::{Access, RepoError};
use std::collections::VecDeque;

/// How much work may be spent on slots that do not open, in KiB of memory times passes over it.
#[derive(Debug, Clone, Copy)]
struct WorkMax {
    /// What a slot costs that this program makes.
    usual: u64,
    /// What all slots of one round may cost together.
    round: u64,
}

impl WorkMax {
    /// As much as so many usual slots cost as there may be.
    const USUAL: Self = Self { usual: 3 * (64 << 10), round: SLOTS_MAX as u64 * 3 * (64 << 10) };
    /// As much as it takes.
    const ANY: Self = Self { usual: u64::MAX, round: u64::MAX };
}

/// A slot that opened.
pub(super) struct Opened {
    pub slot: SlotId,
    pub keys: KeyBundle,
}

/// A search for the slot that a credential opens.
pub(super) struct Search<'a> {
    storage: &'a dyn Storage,
    repo: &'a RepoId,
    credential: &'a Credential,
    caps: KdfCaps,
    work: WorkMax,
    tries: Tries,
}

/// What was found while slots were tried.
#[derive(Default)]
struct Tries {
    /// Slots of the right kind that were tried.
    tried: usize,
    /// Slots that were not, because it would have been too much work.
    left: usize,
    /// Slots of this repository.
    own: usize,
    /// Slots that name another repository: the first of them.
    foreign: Option<FormatError>,
    /// The first that cannot be read.
    damaged: Option<RepoError>,
    /// The first that asks for too much.
    refused: Option<RepoError>,
}

/// A credential's kind, and the word for it.
pub(super) fn kind_of(credential: &Credential) -> (SlotKind, &'static str) {
    match credential {
        Credential::Passphrase(_) => (SlotKind::Passphrase, "passphrase"),
        Credential::KeyFile(_) => (SlotKind::KeyFile, "key file"),
    }
}

impl<'a> Search<'a> {
    pub(super) fn new(
        storage: &'a dyn Storage,
        repo: &'a RepoId,
        credential: &'a Credential,
        access: &Access,
    ) -> Self {
        // Whoever lets one slot cost as much as it likes has the time.
        let work = if access.allow_costly_kdf { WorkMax::ANY } else { WorkMax::USUAL };
        Self { storage, repo, credential, caps: access.caps(), work, tries: Tries::default() }
    }

    /// The first slot that opens: `last`, then the oldest first. Those in `but` are passed over.
    ///
    /// # Errors
    /// When the storage fails, or none opens.
    pub(super) fn run(mut self, last: Option<SlotId>, but: &[SlotId]) -> Result<Opened, RepoError> {
        let mut ids: VecDeque<SlotId> = slot_ids(self.storage)?.into();
        let is_empty = ids.is_empty();
        ids.retain(|id| !but.contains(id) && Some(*id) != last);
        if let Some(last) = last.filter(|last| !but.contains(last))
            && let Some(slot) = self.read(&last)?
            && let Some(keys) = self.attempt(&last, &slot)
        {
            return Ok(Opened { slot: last, keys });
        }
        let mut dear: Vec<(SlotId, Slot)> = Vec::new();
        let mut work_left = self.work.round;
        while let Some(id) = ids.pop_front() {
            let Some(slot) = self.read(&id)? else { continue };
            if slot.cost() > self.work.usual {
                if dear.len() < SLOTS_MAX {
                    dear.push((id, slot))
                } else {
                    self.tries.left += 1
                }
                continue;
            }
            let Some(rest) = work_left.checked_sub(slot.cost()) else {
                // Those behind it are younger; they are not even fetched.
                self.tries.left += 1 + ids.len();
                break;
            };
            work_left = rest;
            if let Some(keys) = self.attempt(&id, &slot) {
                return Ok(Opened { slot: id, keys });
            }
        }
        let mut work_left = self.work.round;
        for (id, slot) in dear {
            match work_left.checked_sub(slot.cost()) {
                // More than any slot may ask for: it is refused before anything is done, and named.
                None if slot.cost() > self.work.round => drop(self.attempt(&id, &slot)),
                None => self.tries.left += 1,
                Some(rest) => {
                    work_left = rest;
                    if let Some(keys) = self.attempt(&id, &slot) {
                        return Ok(Opened { slot: id, keys });
                    }
                }
            }
        }
        Err(self.tries.failure(is_empty, kind_of(self.credential).1, self.storage.location()))
    }

    /// A slot of the right kind.
    fn read(&mut self, id: &SlotId) -> Result<Option<Slot>, RepoError> {
        match read_slot(self.storage, id, self.repo) {
            Ok(slot) => {
                self.tries.own += 1;
                return Ok(Some(slot).filter(|slot| slot.kind() == kind_of(self.credential).0));
            }
            Err(error @ RepoError::Storage(_)) => return Err(error),
            // The one that opened last may be gone.
            Err(RepoError::Missing { .. }) => {}
            // A slot of a repository that was never finished does not belong here, and is no damage.
            Err(RepoError::Damaged { source: source @ FormatError::OtherRepository { .. }, .. }) => {
                self.tries.foreign.get_or_insert(source);
            }
            Err(error) => {
                self.tries.damaged.get_or_insert(error);
            }
        }
        Ok(None)
    }

    fn attempt(&mut self, id: &SlotId, slot: &Slot) -> Option<KeyBundle> {
        self.tries.tried += 1;
        let failed = |source| RepoError::Damaged { object: id.key(), source };
        match slot.open(self.credential, self.caps) {
            Ok(keys) => return Some(keys),
            Err(FormatError::Crypto(CryptoError::Unsealed)) => {}
            Err(source @ FormatError::Crypto(CryptoError::KdfCosts { .. })) => {
                self.tries.refused.get_or_insert(failed(source));
            }
            Err(source) => {
                self.tries.damaged.get_or_insert(failed(source));
            }
        }
        None
    }
}

impl Tries {
    fn failure(self, is_empty: bool, credential: &'static str, location: String) -> RepoError {
        if let (0, None, Some(source)) = (self.own, &self.damaged, self.foreign) {
            // Every slot names the same other repository: then it is the config that is not what it was.
            return RepoError::Damaged { object: "config".to_owned(), source };
        }
        if is_empty {
            let detail = "directory `keys` is empty; restore an exported key with `dumpvault key import`";
            return RepoError::NoSlots { location, detail: detail.to_owned() };
        }
        if self.left > 0 {
            return RepoError::SlotsLeft { credential, tried: self.tried, left: self.left, location };
        }
        // The credential may be right, and its slot the damaged one.
        match self.damaged.or(self.refused) {
            Some(error) => error,
            None => RepoError::WrongKey { credential, slots: self.tried, location },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::put_slot;
    use super::*;
    use crate::base::secret::{OsEntropy, Passphrase};
    use crate::storage::memory::MemoryStorage;
    use crate::vault::crypto::{Kdf, SealedBundle, SmallSealed};
    use crate::vault::format::header::{Header, ObjectType};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    /// A second later each time that somebody looks.
    struct Ticking(AtomicI64);

    impl crate::base::clock::Clock for Ticking {
        fn now(&self) -> jiff::Timestamp {
            jiff::Timestamp::from_second(self.0.fetch_add(1, Ordering::SeqCst)).unwrap()
        }
    }

    /// Each object is younger than those before it.
    fn storage() -> MemoryStorage {
        MemoryStorage::with_clock(Arc::new(Ticking(AtomicI64::new(1_790_000_000))))
    }

    const REPO: RepoId = RepoId::from_bytes([3; 16]);

    fn passphrase() -> Credential {
        Credential::Passphrase(Passphrase::new("the right one".to_owned()))
    }

    /// What looks like a slot and opens with nothing.
    fn junk(number: u8, passes: u32, memory_kib: u32) -> Vec<u8> {
        let kdf = Kdf { passes, memory_kib, lanes: 1, salt: [number; 16] };
        let sealed = SmallSealed { nonce: [0; 24], bytes: vec![0; 200] };
        let bundle = SealedBundle { kdf: Some(kdf), commitment: [0; 32], sealed };
        let label = SmallSealed { nonce: [0; 24], bytes: vec![0; 60] };
        Slot::of_parts(Header { kind: ObjectType::KeySlot, epoch: 0, repo: REPO }, &bundle, &label).unwrap()
    }

    fn put(storage: &dyn Storage, bytes: &[u8]) -> SlotId {
        let id = SlotId::from_hash(*blake3::hash(bytes).as_bytes());
        storage.put(&id.key(), bytes).unwrap();
        id
    }

    /// A slot that the passphrase opens.
    fn put_own(storage: &dyn Storage, keys: &KeyBundle) -> SlotId {
        put_slot(storage, REPO, keys, &passphrase(), "own", 0, &OsEntropy).unwrap()
    }

    fn search<'a>(storage: &'a MemoryStorage, credential: &'a Credential, work: WorkMax) -> Search<'a> {
        Search { work, ..Search::new(storage, &REPO, credential, &Access::default()) }
    }

    #[test]
    fn older_slots_that_cost_little_or_much_keep_nobody_out() {
        let (storage, credential) = (storage(), passphrase());
        for number in 0..200 {
            put(&storage, &junk(number, 1, 8));
            // Each of them would take seconds.
            put(&storage, &junk(number, 16, 256 << 10));
        }
        let keys = KeyBundle::generate(&OsEntropy).unwrap();
        let own = put_own(&storage, &keys);
        let opened = search(&storage, &credential, WorkMax::USUAL).run(None, &[]).unwrap();
        assert_eq!((opened.slot, opened.keys.author().id()), (own, keys.author().id()));
    }

    #[test]
    fn work_is_bounded_and_what_was_not_tried_is_told() {
        let (storage, credential) = (storage(), passphrase());
        for number in 0..30 {
            put(&storage, &junk(number, 1, 8));
            put(&storage, &junk(number, 2, 8));
        }
        let own = put_own(&storage, &KeyBundle::generate(&OsEntropy).unwrap());
        // Ten usual ones, and five dear ones.
        let work = WorkMax { usual: 8, round: 80 };
        let mut failed = search(&storage, &credential, work);
        failed.caps = KdfCaps::COSTLY;
        let error = failed.run(None, &[]).err();
        assert!(matches!(error, Some(RepoError::SlotsLeft { tried: 15, left: 46, .. })), "{error:?}");
        // Whoever opened it before is not kept out.
        assert_eq!(search(&storage, &credential, work).run(Some(own), &[]).unwrap().slot, own);
        assert!(search(&storage, &credential, work).run(Some(own), &[own]).is_err());
        assert_eq!(search(&storage, &credential, WorkMax::ANY).run(None, &[]).unwrap().slot, own);
    }

    #[test]
    fn key_files_cost_nothing_and_all_are_tried() {
        let storage = storage();
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            Credential::KeyFile(
                crate::vault::crypto::KeyFile::create(&dir.path().join(name), &OsEntropy).unwrap(),
            )
        };
        let keys = KeyBundle::generate(&OsEntropy).unwrap();
        let other = file("other");
        for _ in 0..100 {
            put_slot(&storage, REPO, &keys, &other, "other", 0, &OsEntropy).unwrap();
        }
        let own = file("own");
        let slot = put_slot(&storage, REPO, &keys, &own, "own", 0, &OsEntropy).unwrap();
        assert_eq!(search(&storage, &own, WorkMax::USUAL).run(None, &[]).unwrap().slot, slot);
    }
}
