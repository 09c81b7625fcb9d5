//! Key slots: opening, listing, adding, removing.

mod opening;

use super::authors::Foreign;
use super::format::slot::{Label, SLOT_BYTES_MAX, SLOTS_MAX, Slot, SlotKind};
use super::objects::{ObjectName, fetch, name_in_key};
use super::{Access, RepoError, Repository};
use crate::base::id::{AuthorId, RepoId, SlotId, StatementId};
use crate::base::secret::Entropy;
use crate::storage::Storage;
use crate::vault::crypto::{Credential, CryptoError, KeyBundle, Role};
use crate::vault::format::FormatError;
use crate::vault::format::author::{ANY_HOST, Statement};
use crate::vault::memory::HostMemory;
use opening::{Search, kind_of};
use std::collections::HashSet;

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

/// What of `keys/` is looked at: anybody who can put objects may have put millions.
const SLOTS_LISTED: usize = 4096;

/// Names of slot objects, the oldest first: whoever came later cannot push them back.
fn slot_ids(storage: &dyn Storage) -> Result<Vec<SlotId>, RepoError> {
    let mut found = Vec::new();
    storage.list("keys/", &mut |listed| {
        found.extend(name_in_key::<SlotId>(&listed.key).map(|id| (listed.modified, id)));
        if found.len() > 2 * SLOTS_LISTED {
            found.sort_unstable();
            found.truncate(SLOTS_LISTED);
        }
    })?;
    found.sort_unstable();
    found.truncate(SLOTS_LISTED);
    Ok(found.into_iter().map(|(_, id)| id).collect())
}

fn read_slot(storage: &dyn Storage, id: &SlotId, repo: &RepoId) -> Result<Slot, RepoError> {
    let bytes = fetch(storage, id, SLOT_BYTES_MAX)?;
    Slot::decode(&bytes, repo).map_err(|source| RepoError::Damaged { object: id.key(), source })
}

/// Puts a slot that `credential` opens and that holds `keys`.
pub(super) fn put_slot(
    storage: &dyn Storage,
    repo: RepoId,
    keys: &KeyBundle,
    credential: &Credential,
    label: &str,
    now_ms: i64,
    entropy: &dyn Entropy,
) -> Result<SlotId, RepoError> {
    let author = keys.author().id();
    let label = Label { text: label.to_owned(), created_ms: now_ms, role: keys.role(), author };
    let bytes = Slot::seal(repo, keys, credential, &label, entropy)?;
    let name = SlotId::from_hash(*blake3::hash(&bytes).as_bytes());
    storage.put(&name.key(), &bytes)?;
    Ok(name)
}

/// Opens the first slot that the credential fits.
pub(super) fn unlock(
    storage: &dyn Storage,
    repo: &RepoId,
    credential: &Credential,
    memory: &HostMemory,
    access: &Access,
) -> Result<(Option<SlotId>, KeyBundle), RepoError> {
    let Some(bytes) = &access.key_slot else {
        let opened = Search::new(storage, repo, credential, access).run(memory.last_slot(), &[])?;
        return Ok((Some(opened.slot), opened.keys));
    };
    let damaged = |source| RepoError::Damaged { object: "the key slot that was given".to_owned(), source };
    let slot = Slot::decode(bytes, repo).map_err(damaged)?;
    match slot.open(credential, access.caps()) {
        Ok(keys) => Ok((None, keys)),
        Err(FormatError::Crypto(CryptoError::Unsealed)) => {
            let (credential, location) = (kind_of(credential).1, storage.location());
            Err(RepoError::WrongKey { credential, slots: 1, location })
        }
        Err(source) => Err(damaged(source)),
    }
}

/// A key that is to be added.
#[derive(Debug, Clone)]
pub struct NewKey<'a> {
    /// What it may do.
    pub role: Role,
    /// The user's words for it.
    pub name: &'a str,
    /// Hosts that an *append* key may add backups of.
    pub hosts: Vec<String>,
    /// Series that it may add to; all where it says nothing.
    pub series: Option<Vec<String>>,
    /// Another *append* key may add backups of the same host.
    pub share: bool,
}

/// The keys of a repository: who holds one, and what it may do.
#[derive(Debug)]
pub struct KeyRing<'a>(pub(super) &'a Repository);

impl KeyRing<'_> {
    /// Adds a key: an author of its own, stated by the authority, and a slot that `credential` opens.
    ///
    /// # Errors
    /// When this key is not a full one, there are too many slots, or another key adds backups of the same host.
    pub fn add(&self, credential: &Credential, new: &NewKey<'_>, now_ms: i64) -> Result<SlotId, RepoError> {
        let repo = self.0;
        let keys = self.checked(new)?;
        let hosts = if new.role == Role::Full { vec![ANY_HOST.to_owned()] } else { new.hosts.clone() };
        let statement =
            Statement { series: new.series.clone(), ..Statement::of(&keys, new.name, hosts, now_ms)? };
        self.put_statement(&statement)?;
        put_slot(repo.storage.as_ref(), repo.id, &keys, credential, new.name, now_ms, repo.entropy.as_ref())
    }

    /// Whether [`KeyRing::add`] would add that key.
    ///
    /// # Errors
    /// Those of [`KeyRing::add`].
    pub fn check_add(&self, new: &NewKey<'_>) -> Result<(), RepoError> {
        self.checked(new).map(drop)
    }

    /// The keys of a new author, once nothing speaks against it.
    fn checked(&self, new: &NewKey<'_>) -> Result<KeyBundle, RepoError> {
        let repo = self.0;
        if self.are_slots_full()? {
            let reason = format!("there are {SLOTS_MAX} key slots already: remove one first");
            return Err(RepoError::SlotRefused { reason });
        }
        let keys = repo.keys.for_new_author(new.role, repo.entropy.as_ref())?;
        if new.role == Role::Append && !new.share {
            self.refuse_shared_host(&new.hosts)?;
        }
        Ok(keys)
    }

    /// Whether there are as many slots as an open tries. Those count whose label opens: whoever can put objects can put
    /// files that are none.
    fn are_slots_full(&self) -> Result<bool, RepoError> {
        let repo = self.0;
        let ids = slot_ids(repo.storage.as_ref())?;
        if ids.len() < SLOTS_MAX {
            return Ok(false);
        }
        let mut genuine = 0;
        for id in ids {
            match read_slot(repo.storage.as_ref(), &id, &repo.id) {
                Ok(slot) => genuine += usize::from(slot.label(&repo.keys).is_ok()),
                Err(error) if error.is_integrity() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(genuine >= SLOTS_MAX)
    }

    /// Says anew what the author `author` may do: `change` gets what was said last.
    ///
    /// # Errors
    /// When this key is not a full one, or nobody knows that author.
    pub fn grant(
        &self,
        author: &AuthorId,
        now_ms: i64,
        change: impl FnOnce(&mut Statement),
    ) -> Result<Statement, RepoError> {
        let (statement, sealed) = self.changed(author, now_ms, change)?;
        self.put_sealed(&sealed)?;
        Ok(statement)
    }

    /// What [`KeyRing::grant`] would say. Nothing is put.
    ///
    /// # Errors
    /// Those of [`KeyRing::grant`].
    pub fn foresee_grant(
        &self,
        author: &AuthorId,
        now_ms: i64,
        change: impl FnOnce(&mut Statement),
    ) -> Result<Statement, RepoError> {
        Ok(self.changed(author, now_ms, change)?.0)
    }

    fn changed(
        &self,
        author: &AuthorId,
        now_ms: i64,
        change: impl FnOnce(&mut Statement),
    ) -> Result<(Statement, Vec<u8>), RepoError> {
        let old = self.0.authors.statement(author).ok_or(Foreign::UnknownAuthor(*author))?;
        let mut statement = old.clone();
        change(&mut statement);
        statement.number = old.number.saturating_add(1);
        statement.time_ms = now_ms;
        let sealed = self.sealed(&statement)?;
        Ok((statement, sealed))
    }

    /// The author that `name` stands for: its name, or digits of its id.
    ///
    /// # Errors
    /// When nobody or several are called so.
    pub fn find(&self, name: &str) -> Result<AuthorId, RepoError> {
        let all = self.0.authors.all();
        let exact: Vec<AuthorId> =
            all.iter().filter(|statement| statement.name == name).map(|statement| statement.author).collect();
        let digits = name.to_ascii_lowercase();
        let by_id = || -> Vec<AuthorId> {
            let ids = all.iter().map(|statement| statement.author);
            ids.filter(|id| digits.len() >= 4 && id.to_string().starts_with(&digits)).collect()
        };
        let found = if exact.is_empty() { by_id() } else { exact };
        match found.as_slice() {
            [one] => Ok(*one),
            [] => Err(RepoError::NoAuthor { name: name.to_owned(), known: self.names() }),
            _ => Err(RepoError::NoAuthor {
                name: format!("{name}` (several keys; give digits of the id) `"),
                known: self.names(),
            }),
        }
    }

    fn names(&self) -> Vec<String> {
        let all = self.0.authors.all();
        all.iter().map(|statement| format!("{} ({})", statement.name, statement.author.short())).collect()
    }

    fn sealed(&self, statement: &Statement) -> Result<Vec<u8>, RepoError> {
        let repo = self.0;
        Ok(statement.seal(repo.id, &repo.keys, repo.entropy.as_ref())?)
    }

    fn put_statement(&self, statement: &Statement) -> Result<(), RepoError> {
        self.put_sealed(&self.sealed(statement)?)
    }

    fn put_sealed(&self, statement: &[u8]) -> Result<(), RepoError> {
        let repo = self.0;
        let name: StatementId = repo.put_hashed(statement)?;
        repo.memory.trust(&name.key(), statement);
        Ok(())
    }

    fn refuse_shared_host(&self, hosts: &[String]) -> Result<(), RepoError> {
        for other in self.0.authors.all().into_iter().filter(|other| other.role == Role::Append) {
            let shared = hosts.iter().find(|host| {
                host.as_str() == ANY_HOST || other.hosts.iter().any(|own| own == *host || own == ANY_HOST)
            });
            if let Some(host) = shared {
                let reason = format!(
                    "key `{}` already adds backups of host `{host}`: use --share if both are to do so",
                    other.name
                );
                return Err(RepoError::SlotRefused { reason });
            }
        }
        Ok(())
    }
}

impl KeyRing<'_> {
    /// Adds a key of that role for all hosts and series.
    ///
    /// # Errors
    /// See [`KeyRing::add`].
    pub fn add_for_all(
        &self,
        credential: &Credential,
        role: Role,
        label: &str,
        now_ms: i64,
    ) -> Result<SlotId, RepoError> {
        let hosts = vec![ANY_HOST.to_owned()];
        let new = NewKey { role, name: label, hosts, series: None, share: true };
        self.add(credential, &new, now_ms)
    }

    /// All key slots.
    ///
    /// # Errors
    /// When they cannot be listed. A slot that cannot be read is in the list with its error.
    pub fn slots(&self, credential: &Credential) -> Result<Vec<SlotInfo>, RepoError> {
        let mut slots = Vec::new();
        let current = self.opens(credential, &[])?;
        for id in slot_ids(self.0.storage.as_ref())? {
            let slot = read_slot(self.0.storage.as_ref(), &id, &self.0.id);
            let current = Some(id) == current;
            let damaged = |source| RepoError::Damaged { object: id.key(), source };
            let label = slot.and_then(|slot| Ok((slot.label(&self.0.keys).map_err(damaged)?, slot.kind())));
            slots.push(SlotInfo { id, label, current });
        }
        Ok(slots)
    }

    /// The slot that `credential` opens: the one that opened last where it does, and none of `but`.
    fn opens(&self, credential: &Credential, but: &[SlotId]) -> Result<Option<SlotId>, RepoError> {
        let search = Search::new(self.0.storage.as_ref(), &self.0.id, credential, &Access::default());
        match search.run(self.0.memory.last_slot(), but) {
            Ok(opened) => Ok(Some(opened.slot)),
            Err(error @ RepoError::Storage(_)) => Err(error),
            // The credential may be right and its slot not here: an exported one was given.
            Err(_) => Ok(None),
        }
    }

    /// Objects that are no slots, as anybody could put them. What has a slot's form stays: `key remove` takes it away.
    pub(super) fn foreign_slots(&self) -> Result<Vec<SlotId>, RepoError> {
        let mut slots = slot_ids(self.0.storage.as_ref())?;
        slots.retain(|id| {
            read_slot(self.0.storage.as_ref(), id, &self.0.id).is_err_and(|error| error.is_foreign())
        });
        Ok(slots)
    }

    /// Removes a slot. Whoever has copied it keeps access until the keys are rotated.
    ///
    /// # Errors
    /// When this key is not a full one, or the slot is not there. When the slot is the only one of the only full
    /// author. Unless `force` says so, when it is the only one that this credential opens, or no other is left of a
    /// full author.
    pub fn remove(&self, id: &SlotId, credential: &Credential, force: bool) -> Result<(), RepoError> {
        self.check_remove(id, credential, force)?;
        Ok(self.0.storage.delete(&id.key())?)
    }

    /// Whether [`KeyRing::remove`] would remove that slot.
    ///
    /// # Errors
    /// Those of [`KeyRing::remove`].
    pub fn check_remove(&self, id: &SlotId, credential: &Credential, force: bool) -> Result<(), RepoError> {
        if self.0.keys.role() != Role::Full {
            return Err(CryptoError::RoleTooWeak { needed: "removing a key" }.into());
        }
        let slots = self.slots(credential)?;
        let Some(slot) = slots.iter().find(|slot| slot.id == *id) else {
            return Err(RepoError::Missing { object: id.key() });
        };
        let refuse = |why: &str| {
            let reason = format!("cannot remove key slot {}: {why}", id.short());
            Err(RepoError::SlotRefused { reason })
        };
        // Opening is proof; a label is not, since any key can write one.
        let opens_another = self.opens(credential, &[*id])?.is_some();
        if !opens_another {
            // As it is now: keys may have been added since the repository was opened.
            let now = self.0.refreshed()?;
            let full = now.authors.all().into_iter().filter(|author| author.role == Role::Full);
            let full: HashSet<AuthorId> = full.map(|author| author.author).collect();
            // Other full keys may be stated whose slots are gone.
            let is_of_full =
                |other: &SlotInfo| other.label.as_ref().is_ok_and(|(label, _)| full.contains(&label.author));
            let has_others = slots.iter().any(|other| other.id != *id && is_of_full(other));
            // Opened with an exported slot, nothing tells whose a slot is: it may be this author's.
            let may_be_own = slot.current || !has_others;
            if may_be_own && full.iter().all(|author| *author == self.0.authors.me()) {
                return refuse("it is the last full key; add another first");
            }
            if !force && !has_others {
                return refuse(
                    "it is the last slot of a full key; add another key first, or export this slot and use --force",
                );
            }
            if !force && slot.current {
                return refuse("it is the one in use; use --force");
            }
        }
        Ok(())
    }

    /// The slot that `credential` opens.
    ///
    /// # Errors
    /// When no slot opens with it.
    pub fn current(&self, credential: &Credential) -> Result<SlotInfo, RepoError> {
        self.slots(credential)?.into_iter().find(|slot| slot.current).ok_or_else(|| RepoError::SlotRefused {
            reason: "the present key opens no slot any more".to_owned(),
        })
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
        let SlotInfo { id: old_id, label, .. } = self.current(old)?;
        let text = label.map(|(label, _)| label.text).unwrap_or_default();
        let entropy = self.0.entropy.as_ref();
        let id = put_slot(self.0.storage.as_ref(), self.0.id, &self.0.keys, new, &text, now_ms, entropy)?;
        // Only now: a crash in between leaves two slots, never none.
        self.0.storage.delete(&old_id.key())?;
        Ok(id)
    }

    /// The slot object that `credential` opens, as it is stored: sealed, safe to keep elsewhere.
    ///
    /// # Errors
    /// When no slot opens with it.
    pub fn export(&self, credential: &Credential) -> Result<(SlotId, Vec<u8>), RepoError> {
        match self.opens(credential, &[])? {
            Some(id) => Ok((id, fetch(self.0.storage.as_ref(), &id, SLOT_BYTES_MAX)?)),
            None => {
                let reason = "the present key opens no slot any more".to_owned();
                Err(RepoError::SlotRefused { reason })
            }
        }
    }

    /// Puts an exported slot object back, without opening the repository.
    ///
    /// # Errors
    /// When the bytes are no key slot of the repository in `storage`.
    pub fn import(storage: &dyn Storage, bytes: &[u8]) -> Result<SlotId, RepoError> {
        let id = Self::check_import(storage, bytes)?;
        storage.put(&id.key(), bytes)?;
        Ok(id)
    }

    /// The id that an exported slot object would have, without putting it.
    ///
    /// # Errors
    /// When the bytes are no key slot of the repository in `storage`.
    pub fn check_import(storage: &dyn Storage, bytes: &[u8]) -> Result<SlotId, RepoError> {
        let repo = Repository::identify(storage)?;
        let id = SlotId::from_hash(*blake3::hash(bytes).as_bytes());
        Slot::decode(bytes, &repo.id)
            .map_err(|source| RepoError::Damaged { object: "the exported key".to_owned(), source })?;
        Ok(id)
    }
}
