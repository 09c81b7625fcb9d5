//! The repository: the deep module between storage and everything above.
//!
//! | file | hides |
//! |---|---|
//! | `error` | what can fail |
//! | `surroundings` | what a repository is opened with |
//! | `format/` | stored bytes |
//! | `catalog/` | the local index |
//! | `authors` | who wrote an object, and what it may decide by that |
//! | `epochs` | key epochs, followed and closed |
//! | `memory` | what this host remembers, so that a rollback is noticed |
//! | `rotation` | a new key epoch for all authors but those revoked |
//! | `objects` | how objects are fetched, checked against their names, and put |
//! | `keys` | key slots: opening, adding, removing |
//! | `object_locks` | how long nobody can delete what snapshots need |
//! | `sync` | how catalog and storage are brought together |
//! | `history` | which snapshots are committed |
//! | `writer/` | the backup pipeline and the commit |
//! | `reader/` | recipes resolved, blocks fetched ahead, streams written in order |
//! | `session` | how writers and prunes know of each other |
//! | `meanwhile` | what other processes did since something was looked up |
//! | `gc/` | what is unreachable, and how it goes |
//! | `repack` | chunks put together into new packs |
//! | `check/` | checking everything |
//! | `repair/` | what can be done about damage |

pub(crate) mod authors;
pub mod catalog;
pub mod check;
pub mod crypto;
pub(crate) mod epochs;
mod error;
mod fault;
pub mod format;
pub mod gc;
pub mod history;
pub mod keys;
mod meanwhile;
pub(crate) mod memory;
pub(crate) mod object_locks;
mod objects;
pub mod reader;
mod repack;
pub mod repair;
pub mod rotation;
pub mod session;
pub mod snapshot;
mod surroundings;
pub(crate) mod sync;
pub mod writer;

pub use error::RepoError;
pub use keys::{KeyRing, NewKey, SlotInfo, SlotLabel};
pub use meanwhile::Before;
pub use objects::pack_key;
pub use surroundings::{Access, Surroundings};

use crate::base::clock::Clock;
use crate::base::id::RepoId;
use crate::base::secret::Entropy;
use crate::storage::{ErrorKind, Storage};
use crate::vault::crypto::{ContentRing, Credential, KeyBundle};
use authors::Authors;
use check::Checker;
use epochs::Epochs;
use format::author::{ANY_HOST, Statement};
use format::config::{CONFIG_BYTES_MAX, Config};
use memory::HostMemory;
use object_locks::ObjectLocks;
use objects::ObjectName as _;
use reader::Reader;
use repair::Repairer;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use writer::Writer;

/// A repository that was found, and is not open yet.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Which it is.
    pub id: RepoId,
    /// Its config, sealed.
    config: Vec<u8>,
}

/// An open repository: storage, keys and parameters. Cheap to share.
#[derive(Clone)]
pub struct Repository {
    storage: Arc<dyn Storage>,
    entropy: Arc<dyn Entropy>,
    id: RepoId,
    keys: Arc<KeyBundle>,
    authors: Arc<Authors>,
    memory: Arc<HostMemory>,
    clock: Arc<dyn Clock>,
    content: Arc<ContentRing>,
    config: Config,
    cache_dir: PathBuf,
    /// Which packs checks on this host read, once somebody asks.
    checked: Arc<OnceLock<check::Remembered>>,
    /// What the host remembers and the repository lacks is put up with.
    accept_rollback: bool,
    dedup_all: bool,
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repository")
            .field("id", &self.id)
            .field("storage", &self.storage)
            .finish_non_exhaustive()
    }
}

const CONFIG_KEY: &str = "config";

impl Repository {
    /// Makes a repository in an empty storage. A repository that was cut short while being made does not count as one.
    ///
    /// # Errors
    /// When there is one already, or the storage holds other things.
    pub fn init(
        storage: Arc<dyn Storage>,
        credential: &Credential,
        label: &str,
        config: Config,
        surroundings: &Surroundings,
    ) -> Result<Self, RepoError> {
        let keys = KeyBundle::generate(surroundings.entropy.as_ref())?;
        Self::make(storage, credential, label, config, keys, surroundings)
    }

    /// Makes a repository in which the same content has the same names as in this one, so that snapshots can be copied
    /// block by block; with keys of its own, and this one's parameters.
    ///
    /// # Errors
    /// As [`Repository::init`].
    pub fn init_alike(
        &self,
        storage: Arc<dyn Storage>,
        credential: &Credential,
        label: &str,
        created_ms: i64,
        surroundings: &Surroundings,
    ) -> Result<Self, RepoError> {
        let keys = self.keys.generate_alike(surroundings.entropy.as_ref())?;
        let config = Config { created_ms, ..self.config };
        Self::make(storage, credential, label, config, keys, surroundings)
    }

    /// Whether the same content has the same names in both when it is written now.
    pub fn is_alike(&self, other: &Self) -> bool {
        self.content.newest() == other.content.newest()
    }

    /// The content generation in which is written.
    pub fn content_generation(&self) -> u16 {
        self.content.newest_generation()
    }

    fn make(
        storage: Arc<dyn Storage>,
        credential: &Credential,
        label: &str,
        config: Config,
        keys: KeyBundle,
        surroundings: &Surroundings,
    ) -> Result<Self, RepoError> {
        Self::check_vacant(storage.as_ref())?;
        let location = storage.location();
        let mut id = [0; RepoId::LEN];
        surroundings.entropy.fill(&mut id)?;
        let id = RepoId::from_bytes(id);
        let entropy = surroundings.entropy.as_ref();
        keys::put_slot(storage.as_ref(), id, &keys, credential, label, config.created_ms, entropy)?;
        let statement = Statement::of(&keys, label, vec![ANY_HOST.to_owned()], config.created_ms)?;
        let bytes = statement.seal(id, &keys, entropy)?;
        let name = crate::base::id::StatementId::from_hash(*blake3::hash(&bytes).as_bytes());
        storage.put(&name.key(), &bytes)?;
        let memory = Self::remember(&id, surroundings);
        let (keys, authors) = Self::trust(storage.as_ref(), &id, keys, &memory, &surroundings.access)?;
        let repository = Self::assemble(storage, id, keys, authors, memory, config, surroundings);
        // Last: with it the repository exists.
        let bytes = config.seal(repository.id, &repository.keys, surroundings.entropy.as_ref())?;
        match repository.storage.put(CONFIG_KEY, &bytes) {
            Err(error) if error.kind == ErrorKind::Conflict => Err(RepoError::AlreadyExists { location }),
            outcome => outcome.map(|_| repository).map_err(RepoError::from),
        }
    }

    /// Whether a repository can be made in `storage`.
    ///
    /// # Errors
    /// When there is one already, or the storage holds other things.
    pub fn check_vacant(storage: &dyn Storage) -> Result<(), RepoError> {
        let location = storage.location();
        if storage.size(CONFIG_KEY)?.is_some() {
            return Err(RepoError::AlreadyExists { location });
        }
        let mut found = None;
        let listed = storage.list("", &mut |listed| {
            // Key slots and a statement without a config are what an init that was cut short leaves behind.
            if !listed.key.starts_with("keys/") && !listed.key.starts_with("authors/") {
                found.get_or_insert(listed.key);
            }
        });
        match listed {
            // A directory that is not there is vacant; whoever makes the repository makes it.
            Err(error) if error.kind == ErrorKind::NotFound => {}
            listed => listed?,
        }
        found.map_or(Ok(()), |found| Err(RepoError::NotEmpty { location, found }))
    }

    /// Opens a repository.
    ///
    /// # Errors
    /// When there is none, no slot opens with the credential, or the config is damaged.
    pub fn open(
        storage: Arc<dyn Storage>,
        credential: &Credential,
        surroundings: &Surroundings,
    ) -> Result<Self, RepoError> {
        let identity = Self::identify(storage.as_ref())?;
        Self::open_identified(storage, &identity, credential, surroundings)
    }

    /// Opens the repository that was found in `storage`.
    ///
    /// # Errors
    /// When no slot opens with the credential, or the config is damaged.
    pub fn open_identified(
        storage: Arc<dyn Storage>,
        identity: &Identity,
        credential: &Credential,
        surroundings: &Surroundings,
    ) -> Result<Self, RepoError> {
        let id = identity.id;
        let memory = Self::remember(&id, surroundings);
        let (slot, keys) = keys::unlock(storage.as_ref(), &id, credential, &memory, &surroundings.access)?;
        let damaged = |source| RepoError::Damaged { object: CONFIG_KEY.to_owned(), source };
        let (keys, authors) = Self::trust(storage.as_ref(), &id, keys, &memory, &surroundings.access)?;
        let config = Config::open(&identity.config, &id, &keys).map_err(damaged)?;
        if let Some(slot) = slot {
            memory.note_slot(&slot);
        }
        Ok(Self::assemble(storage, id, keys, authors, memory, config, surroundings))
    }

    fn remember(id: &RepoId, surroundings: &Surroundings) -> HostMemory {
        let dir = surroundings.state_root.join("repositories").join(id.to_string());
        let memory = HostMemory::open(&dir);
        if let Some(failure) = memory.failure() {
            tracing::warn!(
                "the state directory `{}` cannot be used, so a repository that was turned back is not noticed: {failure}",
                dir.display()
            );
        }
        memory
    }

    /// Follows the key epochs and reads who may say what.
    fn trust(
        storage: &dyn Storage,
        id: &RepoId,
        keys: KeyBundle,
        memory: &HostMemory,
        access: &Access,
    ) -> Result<(KeyBundle, Authors), RepoError> {
        let (keys, epochs) = Epochs::follow(storage, id, keys, memory, access.trust_epoch.as_ref())?;
        let authors = Authors::load(storage, id, &keys, epochs, memory)?;
        Ok((keys, authors))
    }

    /// The same repository with the keys and statements that its storage holds by now.
    ///
    /// # Errors
    /// When the storage fails, or the key was revoked.
    pub fn refreshed(&self) -> Result<Self, RepoError> {
        let access = Access::default();
        let keys = KeyBundle::clone(&self.keys);
        let (keys, authors) = Self::trust(self.storage.as_ref(), &self.id, keys, &self.memory, &access)?;
        let content = Arc::new(keys.content());
        Ok(Self { keys: Arc::new(keys), content, authors: Arc::new(authors), ..self.clone() })
    }

    /// Which repository lies in `storage`, as its config says without a key.
    ///
    /// # Errors
    /// When there is none.
    pub fn identify(storage: &dyn Storage) -> Result<Identity, RepoError> {
        let config = match storage.get(CONFIG_KEY, CONFIG_BYTES_MAX) {
            Err(error) if error.kind == ErrorKind::NotFound => return Err(Self::without_config(storage)),
            outcome => outcome?,
        };
        let damaged = |source| RepoError::Damaged { object: CONFIG_KEY.to_owned(), source };
        let id = Config::repo_id(&config).map_err(damaged)?;
        Ok(Identity { id, config })
    }

    /// The config is not there: nothing at all is, or somebody removed it.
    fn without_config(storage: &dyn Storage) -> RepoError {
        let mut packs = false;
        let listed = storage.list("packs/", &mut |_| packs = true);
        if listed.is_ok() && packs {
            RepoError::Missing { object: CONFIG_KEY.to_owned() }
        } else {
            RepoError::NoRepository { location: storage.location() }
        }
    }

    fn assemble(
        storage: Arc<dyn Storage>,
        id: RepoId,
        keys: KeyBundle,
        authors: Authors,
        memory: HostMemory,
        config: Config,
        surroundings: &Surroundings,
    ) -> Self {
        Self {
            authors: Arc::new(authors),
            memory: Arc::new(memory),
            clock: Arc::clone(&surroundings.clock),
            accept_rollback: surroundings.access.accept_rollback,
            dedup_all: surroundings.access.dedup_all,
            storage,
            entropy: Arc::clone(&surroundings.entropy),
            id,
            content: Arc::new(keys.content()),
            keys: Arc::new(keys),
            config,
            cache_dir: surroundings.cache_root.join(id.to_string()),
            checked: Arc::default(),
        }
    }

    /// The repository's id.
    pub fn id(&self) -> RepoId {
        self.id
    }

    /// Its parameters.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether this host had never seen the repository before it was opened.
    pub fn is_new_here(&self) -> bool {
        self.memory.is_new()
    }

    /// Where it lies, for people.
    pub fn location(&self) -> String {
        self.storage.location()
    }

    /// The same repository past the cache of packs: what the storage itself holds.
    fn past_cache(&self) -> Self {
        let storage = Arc::new(crate::storage::cache::PastCache::new(Arc::clone(&self.storage)));
        Self { storage, ..self.clone() }
    }

    /// Whether packs can be read here and there at little cost: they are on this machine, or can be brought here.
    pub fn reads_are_cheap(&self) -> bool {
        self.storage.is_local() || self.storage.cache().is_some()
    }

    /// Hex of the first authority's public key: whoever compares it knows that it is the repository that was made.
    pub fn authority_fingerprint(&self) -> String {
        let authority = self.keys.epoch(0).map(|epoch| *epoch.authority()).unwrap_or_default();
        authority.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Who may say what in it.
    pub fn authors(&self) -> &Authors {
        &self.authors
    }

    /// What the key that opened it may do.
    pub fn role(&self) -> crate::vault::crypto::Role {
        self.keys.role()
    }

    /// What this host remembers of the repository.
    pub fn memory(&self) -> &HostMemory {
        &self.memory
    }

    /// Begins backups into a repository.
    pub fn writer(&self) -> Writer<'_> {
        Writer::new(self)
    }

    /// Reads streams out of a repository.
    pub fn reader(&self) -> Reader<'_> {
        Reader { repo: self }
    }

    /// Looks for damage in a repository.
    pub fn checker(&self) -> Checker<'_> {
        Checker { repo: self }
    }

    /// Does what can be done about damage in a repository.
    pub fn repairer(&self) -> Repairer<'_> {
        Repairer { repo: self }
    }

    /// Its keys: who holds one, and what it may do.
    pub fn key_ring(&self) -> KeyRing<'_> {
        KeyRing(self)
    }

    /// The locks of a repository's objects, where its storage has any.
    pub fn object_locks(&self) -> ObjectLocks<'_> {
        ObjectLocks { repo: self }
    }
}
