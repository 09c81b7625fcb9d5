//! Key slots: opening, listing, adding, removing.

use super::format::slot::{Label, SLOT_BYTES_MAX, SLOTS_MAX, Slot, SlotKind};
use super::objects::{ObjectName, fetch, name_in_key};
use super::{Access, Foreign, RepoError, Repository};
use crate::base::id::{AuthorId, RepoId, SlotId, StatementId};
use crate::base::secret::Entropy;
use crate::storage::Storage;
use crate::vault::crypto::{Credential, CryptoError, KdfCaps, KeyBundle, Role};
use crate::vault::format::FormatError;
use crate::vault::format::author::{ANY_HOST, Statement};
use crate::vault::memory::HostMemory;

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

/// What was found while slots were tried.
#[derive(Default)]
struct Tries {
    /// Slots of the right kind that were tried.
    tried: usize,
    /// Slots of this repository.
    own: usize,
    /// Slots that name another repository: the first of them.
    foreign: Option<FormatError>,
    /// The first that cannot be read.
    damaged: Option<RepoError>,
    /// The first that asks for too much.
    refused: Option<RepoError>,
}

/// Opens the first slot that the credential fits: the one that opened last, then the oldest first. Junk beside it costs a request each.
pub(super) fn unlock(
    storage: &dyn Storage,
    repo: &RepoId,
    credential: &Credential,
    memory: &HostMemory,
    access: &Access,
) -> Result<(Option<SlotId>, KeyBundle), RepoError> {
    let (kind, credential_word) = match credential {
        Credential::Passphrase(_) => (SlotKind::Passphrase, "passphrase"),
        Credential::KeyFile(_) => (SlotKind::KeyFile, "key file"),
    };
    let location = storage.location();
    if let Some(bytes) = &access.key_slot {
        let damaged =
            |source| RepoError::Damaged { object: "the key slot that was given".to_owned(), source };
        let slot = Slot::decode(bytes, repo).map_err(damaged)?;
        return match slot.open(credential, access.caps()) {
            Ok(keys) => Ok((None, keys)),
            Err(FormatError::Crypto(CryptoError::Unsealed)) => {
                Err(RepoError::WrongKey { credential: credential_word, slots: 1, location })
            }
            Err(source) => Err(damaged(source)),
        };
    }
    let mut ids = slot_ids(storage)?;
    let is_empty = ids.is_empty();
    if let Some(last) = memory.last_slot() {
        ids.retain(|id| *id != last);
        ids.insert(0, last);
    }
    let mut tries = Tries::default();
    for id in ids {
        if tries.tried >= SLOTS_MAX {
            break;
        }
        let slot = match read_slot(storage, &id, repo) {
            Ok(slot) => slot,
            Err(error @ RepoError::Storage(_)) => return Err(error),
            // The one that opened last may be gone.
            Err(RepoError::Missing { .. }) => continue,
            // A slot of a repository that was never finished does not belong here, and is no damage.
            Err(RepoError::Damaged { source: source @ FormatError::OtherRepository { .. }, .. }) => {
                tries.foreign.get_or_insert(source);
                continue;
            }
            Err(error) => {
                tries.damaged.get_or_insert(error);
                continue;
            }
        };
        tries.own += 1;
        if slot.kind() != kind {
            continue;
        }
        tries.tried += 1;
        match slot.open(credential, access.caps()) {
            Ok(keys) => return Ok((Some(id), keys)),
            Err(FormatError::Crypto(CryptoError::Unsealed)) => {}
            Err(source @ FormatError::Crypto(CryptoError::KdfCosts { .. })) => {
                tries.refused.get_or_insert(RepoError::Damaged { object: id.key(), source });
            }
            Err(source) => {
                tries.damaged.get_or_insert(RepoError::Damaged { object: id.key(), source });
            }
        }
    }
    Err(tries.failure(is_empty, credential_word, location))
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
        // The credential may be right, and its slot the damaged one.
        match self.damaged.or(self.refused) {
            Some(error) => error,
            None => RepoError::WrongKey { credential, slots: self.tried, location },
        }
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
pub struct KeyRing<'a>(&'a Repository);

impl<'a> KeyRing<'a> {
    /// The keys of `repo`.
    pub fn of(repo: &'a Repository) -> Self {
        Self(repo)
    }

    /// Adds a key: an author of its own, stated by the authority, and a slot that `credential` opens.
    ///
    /// # Errors
    /// When this key is not a full one, there are too many slots, or another key adds backups of the same host.
    pub fn add(&self, credential: &Credential, new: &NewKey<'_>, now_ms: i64) -> Result<SlotId, RepoError> {
        let repo = self.0;
        if self.are_slots_full()? {
            let reason = format!("there are {SLOTS_MAX} key slots already: remove one first");
            return Err(RepoError::SlotRefused { reason });
        }
        let entropy = repo.entropy.as_ref();
        let keys = repo.keys.for_new_author(new.role, entropy)?;
        if new.role == Role::Append && !new.share {
            self.refuse_shared_host(&new.hosts)?;
        }
        let hosts = if new.role == Role::Full { vec![ANY_HOST.to_owned()] } else { new.hosts.clone() };
        let statement =
            Statement { series: new.series.clone(), ..Statement::of(&keys, new.name, hosts, now_ms)? };
        self.put_statement(&statement)?;
        put_slot(repo.storage.as_ref(), repo.id, &keys, credential, new.name, now_ms, entropy)
    }

    /// Whether there are as many slots as an open tries. Those count whose label opens: whoever can put objects can put files that are none.
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
        let old = self.0.authors.statement(author).ok_or(Foreign::UnknownAuthor(*author))?;
        let mut statement = old.clone();
        change(&mut statement);
        statement.number = old.number.saturating_add(1);
        statement.time_ms = now_ms;
        self.put_statement(&statement)?;
        Ok(statement)
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

    fn put_statement(&self, statement: &Statement) -> Result<(), RepoError> {
        let repo = self.0;
        let bytes = statement.seal(repo.id, &repo.keys, repo.entropy.as_ref())?;
        let name: StatementId = repo.put_hashed(&bytes)?;
        repo.memory.trust(&name.key(), &bytes);
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

impl Repository {
    /// Adds a key of that role for all hosts and series.
    ///
    /// # Errors
    /// See [`KeyRing::add`].
    pub fn add_key(
        &self,
        credential: &Credential,
        role: Role,
        label: &str,
        now_ms: i64,
    ) -> Result<SlotId, RepoError> {
        let hosts = vec![ANY_HOST.to_owned()];
        let new = NewKey { role, name: label, hosts, series: None, share: true };
        KeyRing::of(self).add(credential, &new, now_ms)
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
            let current = !found_current
                && slot.as_ref().is_ok_and(|slot| slot.open(credential, KdfCaps::USUAL).is_ok());
            found_current |= current;
            let damaged = |source| RepoError::Damaged { object: id.key(), source };
            let label = slot.and_then(|slot| Ok((slot.label(&self.keys).map_err(damaged)?, slot.kind())));
            slots.push(SlotInfo { id, label, current });
        }
        Ok(slots)
    }

    /// Objects that are no slots, as anybody could put them. What has a slot's form stays: `key remove` takes it away.
    pub(super) fn foreign_slots(&self) -> Result<Vec<SlotId>, RepoError> {
        let mut slots = slot_ids(self.storage.as_ref())?;
        slots.retain(|id| {
            read_slot(self.storage.as_ref(), id, &self.id).is_err_and(|error| error.is_foreign())
        });
        Ok(slots)
    }

    /// Removes a slot. Whoever has copied it keeps access until the keys are rotated.
    ///
    /// # Errors
    /// When this key is not a full one; when the slot is the one in use, unless `force` says so and another full key is stated; or when it
    /// is not there. What labels say decides nothing: any key can write them.
    pub fn remove_key(&self, id: &SlotId, credential: &Credential, force: bool) -> Result<(), RepoError> {
        if self.keys.role() != Role::Full {
            return Err(CryptoError::RoleTooWeak { needed: "removing a key" }.into());
        }
        let slots = self.list_keys(credential)?;
        let Some(slot) = slots.iter().find(|slot| slot.id == *id) else {
            return Err(RepoError::Missing { object: id.key() });
        };
        // As it is now: keys may have been added since the repository was opened.
        let now = self.refreshed()?;
        let others = now.authors.all().into_iter().filter(|author| author.role == Role::Full);
        let is_last = others.filter(|author| author.author != self.authors.me()).count() == 0;
        if slot.current && (is_last || !force) {
            let short = id.short();
            let reason = if is_last {
                format!("cannot remove key {short}: it is the last full key; add another first")
            } else {
                format!("key {short} is the one in use: use --force to remove it")
            };
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
        let entropy = self.entropy.as_ref();
        let id = put_slot(self.storage.as_ref(), self.id, &self.keys, new, &text, now_ms, entropy)?;
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
            if Slot::decode(&bytes, &self.id).is_ok_and(|slot| slot.open(credential, KdfCaps::USUAL).is_ok())
            {
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
