//! Key slots: opening, listing, adding, removing.

use super::format::slot::{Label, SLOT_BYTES_MAX, SLOTS_MAX, Slot, SlotKind};
use super::objects::{ObjectName, fetch, name_in_key};
use super::{RepoError, Repository};
use crate::crypto::{Credential, CryptoError, KeyBundle, Role};
use crate::id::{RepoId, SlotId};
use crate::repo::format::FormatError;
use crate::storage::Storage;

pub use super::format::slot::Label as SlotLabel;

/// One key slot, as `key list` shows it.
#[derive(Debug)]
pub struct SlotInfo {
    /// Its id.
    pub id: SlotId,
    /// What it says of itself, or why it cannot be read.
    pub label: Result<(Label, SlotKind), RepoError>,
    /// Whether it is the one that the repository was opened with.
    pub current: bool,
}

fn slot_ids(storage: &dyn Storage) -> Result<Vec<SlotId>, RepoError> {
    let mut ids = Vec::new();
    storage.list("keys/", &mut |listed| {
        // Bounded: a hostile storage may list millions.
        if ids.len() <= SLOTS_MAX {
            ids.extend(name_in_key::<SlotId>(&listed.key));
        }
    })?;
    ids.sort();
    Ok(ids)
}

fn read_slot(storage: &dyn Storage, id: &SlotId, repo: &RepoId) -> Result<Slot, RepoError> {
    let bytes = fetch(storage, id, SLOT_BYTES_MAX)?;
    Slot::decode(&bytes, repo).map_err(|source| RepoError::Damaged { object: id.key(), source })
}

/// Opens the first slot that the credential fits.
pub(super) fn unlock(
    storage: &dyn Storage,
    repo: &RepoId,
    credential: &Credential,
) -> Result<KeyBundle, RepoError> {
    let ids = slot_ids(storage)?;
    if ids.len() > SLOTS_MAX {
        let detail = format!("it has more than {SLOTS_MAX}");
        return Err(RepoError::NoSlots { location: storage.location(), detail });
    }
    let (kind, credential_word) = match credential {
        Credential::Passphrase(_) => (SlotKind::Passphrase, "passphrase"),
        Credential::KeyFile(_) => (SlotKind::KeyFile, "key file"),
    };
    let mut tried = 0;
    let mut damaged = Vec::new();
    let mut own = 0;
    let mut foreign = None;
    for id in &ids {
        let slot = read_slot(storage, id, repo);
        own += usize::from(slot.is_ok());
        match slot {
            Ok(slot) if slot.kind() == kind => {
                tried += 1;
                match slot.open(credential) {
                    Ok(keys) => return Ok(keys),
                    Err(FormatError::Crypto(CryptoError::Unsealed)) => {}
                    Err(source) => damaged.push(RepoError::Damaged { object: id.key(), source }),
                }
            }
            Ok(_) => {}
            Err(error @ RepoError::Storage(_)) => return Err(error),
            // A slot of a repository that was never finished does not belong here, and is no damage.
            Err(RepoError::Damaged { source: source @ FormatError::OtherRepository { .. }, .. }) => {
                foreign.get_or_insert(source);
            }
            Err(error) => damaged.push(error),
        }
    }
    if let (0, true, Some(source)) = (own, damaged.is_empty(), foreign) {
        // Every slot names the same other repository: then it is the config that is not what it was.
        return Err(RepoError::Damaged { object: "config".to_owned(), source });
    }
    let location = storage.location();
    if damaged.is_empty() && !ids.is_empty() {
        return Err(RepoError::WrongKey { credential: credential_word, slots: tried, location });
    }
    // The credential may be right, and its slot the damaged one.
    match damaged.into_iter().next() {
        Some(error) => Err(error),
        None => Err(RepoError::NoSlots {
            location,
            detail: "the folder `keys` is empty; put back an exported key with `dumpvault key import`"
                .to_owned(),
        }),
    }
}

impl Repository {
    /// Adds a slot that `credential` opens and that holds `keys`.
    pub(super) fn add_slot(
        &self,
        keys: &KeyBundle,
        credential: &Credential,
        label: &str,
        now_ms: i64,
    ) -> Result<SlotId, RepoError> {
        let label = Label { text: label.to_owned(), created_ms: now_ms, role: keys.role() };
        self.put_hashed(&Slot::seal(self.id, keys, credential, &label, self.entropy.as_ref())?)
    }

    /// Adds a slot with the role `role`.
    ///
    /// # Errors
    /// When this key may not give that role, there are too many slots, or the storage fails.
    pub fn add_key(
        &self,
        credential: &Credential,
        role: Role,
        label: &str,
        now_ms: i64,
    ) -> Result<SlotId, RepoError> {
        if slot_ids(self.storage.as_ref())?.len() >= SLOTS_MAX {
            let reason = format!("there are {SLOTS_MAX} key slots already: remove one first");
            return Err(RepoError::SlotRefused { reason });
        }
        match (role, self.keys.role()) {
            (Role::Full, Role::Full) => self.add_slot(&self.keys, credential, label, now_ms),
            (Role::Full, Role::Append) => {
                Err(CryptoError::RoleTooWeak { needed: "adding a full key" }.into())
            }
            (Role::Append, _) => self.add_slot(&self.keys.to_append(), credential, label, now_ms),
        }
    }

    /// All key slots.
    ///
    /// # Errors
    /// When they cannot be listed. A slot that cannot be read is in the list with its error.
    pub fn list_keys(&self, credential: &Credential) -> Result<Vec<SlotInfo>, RepoError> {
        let mut slots = Vec::new();
        let mut found_current = false;
        for id in slot_ids(self.storage.as_ref())? {
            let slot = read_slot(self.storage.as_ref(), &id, &self.id);
            // Key derivation is slow: stop trying once found.
            let current = !found_current && slot.as_ref().is_ok_and(|slot| slot.open(credential).is_ok());
            found_current |= current;
            let damaged = |source| RepoError::Damaged { object: id.key(), source };
            let label = slot.and_then(|slot| Ok((slot.label(&self.keys).map_err(damaged)?, slot.kind())));
            slots.push(SlotInfo { id, label, current });
        }
        Ok(slots)
    }

    /// Removes a slot.
    ///
    /// # Errors
    /// When it is the last that holds a full key and can be read, or is not there.
    pub fn remove_key(&self, id: &SlotId, credential: &Credential) -> Result<(), RepoError> {
        let slots = self.list_keys(credential)?;
        let is_full = |slot: &&SlotInfo| matches!(&slot.label, Ok((label, _)) if label.role == Role::Full);
        if !slots.iter().any(|slot| slot.id == *id) {
            return Err(RepoError::Missing { object: id.key() });
        }
        if slots.iter().filter(is_full).all(|slot| slot.id == *id) {
            let reason = format!(
                "key slot {} is the last one that can read this repository: add another first",
                id.short()
            );
            return Err(RepoError::SlotRefused { reason });
        }
        Ok(self.storage.delete(&id.key())?)
    }

    /// Replaces the slot that `old` opens by one that `new` opens: a new passphrase, the same keys.
    ///
    /// # Errors
    /// When no slot opens with `old`.
    pub fn change_credential(
        &self,
        old: &Credential,
        new: &Credential,
        now_ms: i64,
    ) -> Result<SlotId, RepoError> {
        let current = self.list_keys(old)?.into_iter().find(|slot| slot.current);
        let Some(SlotInfo { id: old_id, label, .. }) = current else {
            let reason = "the present key opens no slot any more".to_owned();
            return Err(RepoError::SlotRefused { reason });
        };
        let text = label.map(|(label, _)| label.text).unwrap_or_default();
        let id = self.add_slot(&self.keys, new, &text, now_ms)?;
        // Only now: a crash in between leaves two slots, never none.
        self.storage.delete(&old_id.key())?;
        Ok(id)
    }

    /// The slot object that `credential` opens, as it is stored: sealed, safe to keep elsewhere.
    ///
    /// # Errors
    /// When no slot opens with it.
    pub fn export_key(&self, credential: &Credential) -> Result<(SlotId, Vec<u8>), RepoError> {
        for id in slot_ids(self.storage.as_ref())? {
            let Ok(bytes) = fetch(self.storage.as_ref(), &id, SLOT_BYTES_MAX) else { continue };
            if Slot::decode(&bytes, &self.id).is_ok_and(|slot| slot.open(credential).is_ok()) {
                return Ok((id, bytes));
            }
        }
        let reason = "the present key opens no slot any more".to_owned();
        Err(RepoError::SlotRefused { reason })
    }

    /// Puts an exported slot object back, without opening the repository.
    ///
    /// # Errors
    /// When the bytes are no key slot of the repository in `storage`.
    pub fn import_key(storage: &dyn Storage, bytes: &[u8]) -> Result<SlotId, RepoError> {
        let repo = Self::identify(storage)?;
        let id = SlotId::from_hash(*blake3::hash(bytes).as_bytes());
        Slot::decode(bytes, &repo.id)
            .map_err(|source| RepoError::Damaged { object: "the exported key".to_owned(), source })?;
        storage.put(&id.key(), bytes)?;
        Ok(id)
    }
}
