//! The repository: the deep module between storage and everything above.
//!
//! | file | hides |
//! |---|---|
//! | `format/` | stored bytes |
//! | `catalog/` | the local index |
//! | `objects` | how objects are fetched, checked against their names, and put |
//! | `keys` | key slots: opening, adding, removing |
//! | `lock` | how long nobody can delete what snapshots need |
//! | `sync` | how catalog and storage are brought together |
//! | `history` | which snapshots are committed |
//! | `writer/` | the backup pipeline and the commit |
//! | `reader/` | recipes resolved, blocks fetched ahead, streams written in order |
//! | `session` | how writers and prunes know of each other |
//! | `gc/` | what is unreachable, and how it goes |
//! | `repack` | chunks put together into new packs |
//! | `verify/` | checking everything |
//! | `repair/` | what can be done about damage |

pub mod catalog;
pub mod format;
pub mod gc;
pub mod history;
pub mod keys;
pub mod lock;
mod objects;
pub mod reader;
mod repack;
pub mod repair;
pub mod session;
pub mod sync;
pub mod verify;
pub mod writer;

pub use keys::{SlotInfo, SlotLabel};
pub use objects::pack_key;

use crate::crypto::{ContentKeys, Credential, CryptoError, KeyBundle};
use crate::id::RepoId;
use crate::secret::{Entropy, EntropyError};
use crate::storage::{ErrorKind, Storage, StorageError};
use catalog::CatalogError;
use format::FormatError;
use format::config::{CONFIG_BYTES_MAX, Config};
use std::path::PathBuf;
use std::sync::Arc;

/// Something in the repository failed.
#[derive(Debug, thiserror::Error)]
pub enum RepoError {
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// An object is damaged, or was tampered with.
    #[error("`{object}` is damaged: {source}")]
    Damaged {
        /// Key of the object.
        object: String,
        /// What is wrong.
        #[source]
        source: FormatError,
    },
    /// An object that others rely on is not there.
    #[error("`{object}` is missing")]
    Missing {
        /// Key of the object.
        object: String,
    },
    /// A chunk or recipe node is in no pack that is there.
    #[error("{what} {id} is in no pack that the index names: {hint}")]
    ChunkLost {
        /// "chunk" or "recipe node".
        what: &'static str,
        /// Its id in hex.
        id: String,
        /// Which pack should hold it, where that is known.
        hint: String,
    },
    /// A block holds other bytes than its ids say, or its recipe does not fit.
    #[error("`{object}`: {what}")]
    Inconsistent {
        /// Key of the object, or name of the stream.
        object: String,
        /// What does not fit.
        what: String,
    },
    /// No repository there.
    #[error("no repository at {location}")]
    NoRepository {
        /// Where it was looked for.
        location: String,
    },
    /// There is one already.
    #[error("there is a repository at {location} already")]
    AlreadyExists {
        /// Where.
        location: String,
    },
    /// The directory holds other things.
    #[error("{location} is not empty and holds no repository (found `{found}`)")]
    NotEmpty {
        /// Where.
        location: String,
        /// One of the things found.
        found: String,
    },
    /// No key slot opens with what was given.
    #[error("{}", wrong_key(credential, *slots, location))]
    WrongKey {
        /// "passphrase" or "key file".
        credential: &'static str,
        /// Slots of that kind that were tried.
        slots: usize,
        /// Which repository.
        location: String,
    },
    /// Every key slot is gone or damaged.
    #[error("{location} has no usable key slot: {detail}")]
    NoSlots {
        /// Which repository.
        location: String,
        /// What was found instead.
        detail: String,
    },
    /// The last key slot, or the only full one, was to be removed.
    #[error("{reason}")]
    SlotRefused {
        /// Why not.
        reason: String,
    },
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A value could not be brought into the format.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A key cannot do what was asked.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// Compression failed, or a block did not read back.
    #[error(transparent)]
    Codec(#[from] crate::codec::CodecError),
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// Reading what is to be stored failed.
    #[error("reading the stream: {source}")]
    Input {
        /// What lies beneath.
        #[source]
        source: std::io::Error,
    },
    /// Writing what was restored failed.
    #[error("writing the stream: {source}")]
    Output {
        /// What lies beneath.
        #[source]
        source: std::io::Error,
    },
    /// The host's clock and the storage's disagree: what is old cannot be told.
    #[error("this machine's clock and the storage's differ by {seconds} seconds: nothing was deleted")]
    ClockSkew {
        /// How far the host's is ahead, in seconds.
        seconds: i64,
    },
    /// Another operation is under way that this one cannot run beside.
    #[error("{what}")]
    Busy {
        /// What is under way.
        what: String,
    },
    /// What the backup relied on may be gone: it cannot be committed.
    #[error("the backup was not committed: {why}")]
    Fenced {
        /// What happened meanwhile.
        why: String,
    },
    /// Locks were to be prolonged, and nothing says for how long.
    #[error("nothing says how long objects are to be locked")]
    NoLock,
    /// What a parent needs does not fit into the pack cache.
    #[error(
        "it lies in {pack_bytes} bytes of packs, and the pack cache may hold {cache_bytes}: raise --cache-size"
    )]
    CacheTooSmall {
        /// Bytes of the packs that the parent needs.
        pack_bytes: u64,
        /// What the cache may hold.
        cache_bytes: u64,
    },
    /// A thread could not be started.
    #[error("cannot start a thread: {source}")]
    Thread {
        /// What lies beneath.
        #[source]
        source: std::io::Error,
    },
    /// Another thread of the same operation failed first; its error says why.
    #[error("stopped because another part failed")]
    Stopped,
    /// Somebody asked to stop.
    #[error("interrupted")]
    Cancelled,
}

/// Words for a key that opens nothing. Where there is no key of its kind at all, that is what to say.
fn wrong_key(credential: &str, slots: usize, location: &str) -> String {
    match slots {
        0 => {
            let other = if credential == "passphrase" { "key file" } else { "passphrase" };
            format!("{location} has no {credential}: use a {other}")
        }
        1 => format!("wrong {credential}: the only key slot of {location} for one does not open with it"),
        slots => format!("wrong {credential}: none of the {slots} key slots of {location} opens with it"),
    }
}

impl RepoError {
    /// Whether stored bytes are damaged, missing, or lie: what ends with the exit code of an integrity failure.
    pub fn is_integrity(&self) -> bool {
        matches!(
            self,
            Self::Damaged { .. } | Self::Missing { .. } | Self::ChunkLost { .. } | Self::Inconsistent { .. }
        )
    }

    /// Key of the object that is damaged or missing, where it is one.
    pub fn object(&self) -> Option<&str> {
        match self {
            Self::Damaged { object, .. } | Self::Missing { object } | Self::Inconsistent { object, .. } => {
                Some(object)
            }
            _ => None,
        }
    }

    /// Whether the catalog is to blame: rebuilding it may cure the error.
    pub fn is_catalog_corrupt(&self) -> bool {
        matches!(self, Self::Catalog(CatalogError::Corrupt { .. }))
    }
}

impl From<crate::snapshot::recipe::NodeError> for RepoError {
    fn from(error: crate::snapshot::recipe::NodeError) -> Self {
        Self::Format(FormatError::Malformed { what: error.what })
    }
}

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
    content: Arc<ContentKeys>,
    config: Config,
    cache_dir: PathBuf,
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repository")
            .field("id", &self.id)
            .field("storage", &self.storage)
            .finish_non_exhaustive()
    }
}

/// What a repository is opened with, besides its storage and key.
#[derive(Clone)]
pub struct Surroundings {
    /// Where random bytes come from.
    pub entropy: Arc<dyn Entropy>,
    /// Directory that holds a directory per repository with its catalog.
    pub cache_root: PathBuf,
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

    /// Makes a repository in which the same content has the same names as in this one, so that snapshots can be copied block by
    /// block; with keys of its own, and this one's parameters.
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

    /// Whether the same content has the same names in both.
    pub fn is_alike(&self, other: &Self) -> bool {
        self.content == other.content
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
        let repository = Self::assemble(storage, RepoId::from_bytes(id), keys, config, surroundings);
        repository.add_slot(&repository.keys, credential, label, config.created_ms)?;
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
        storage.list("", &mut |listed| {
            // Key slots without a config are what an init that was cut short leaves behind.
            if !listed.key.starts_with("keys/") {
                found.get_or_insert(listed.key);
            }
        })?;
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
        let keys = keys::unlock(storage.as_ref(), &id, credential)?;
        let damaged = |source| RepoError::Damaged { object: CONFIG_KEY.to_owned(), source };
        let config = Config::open(&identity.config, &id, &keys).map_err(damaged)?;
        Ok(Self::assemble(storage, id, keys, config, surroundings))
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
        config: Config,
        surroundings: &Surroundings,
    ) -> Self {
        Self {
            storage,
            entropy: Arc::clone(&surroundings.entropy),
            id,
            content: Arc::new(keys.content()),
            keys: Arc::new(keys),
            config,
            cache_dir: surroundings.cache_root.join(id.to_string()),
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

    /// Where it lies, for people.
    pub fn location(&self) -> String {
        self.storage.location()
    }

    /// Whether packs can be read here and there at little cost: they are on this machine, or can be brought here.
    pub fn reads_are_cheap(&self) -> bool {
        self.storage.is_local() || self.storage.cache().is_some()
    }

    /// What the key that opened it may do.
    pub fn role(&self) -> crate::crypto::Role {
        self.keys.role()
    }
}
