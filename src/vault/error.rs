//! What can fail in a repository.

use super::authors::Foreign;
use super::catalog::CatalogError;
use super::crypto::CryptoError;
use super::format::FormatError;
use super::sync;
use crate::base::id::{AuthorId, EpochId};
use crate::base::secret::EntropyError;
use crate::base::words;
use crate::storage::{ErrorKind, StorageError};

/// Something in the repository failed.
#[derive(Debug, thiserror::Error)]
pub enum RepoError {
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// An object is damaged, or was tampered with.
    #[error("`{object}` {}: {source}", state(object, source))]
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
    /// Chunks that snapshots want are in no pack: neither an index object nor a pack's own table names them.
    #[error("{chunks} chunks that snapshots need are in no pack: nothing was deleted")]
    ChunksLost {
        /// How many.
        chunks: u64,
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
    /// No key slot opened, and not all were tried: that would have been too much work.
    #[error(
        "none of the {tried} key slots of {location} that were tried opens with this {credential}, and {left} more were not tried: they ask for too much work"
    )]
    SlotsLeft {
        /// "passphrase" or "key file".
        credential: &'static str,
        /// Slots of that kind that were tried.
        tried: usize,
        /// Slots that were not.
        left: usize,
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
    /// The author of the key was revoked: it was given no key of a later epoch.
    #[error("the key of author {author} was revoked")]
    Revoked {
        /// Whose key it is.
        author: AuthorId,
    },
    /// Two objects say how a key epoch ended.
    #[error("two objects close key epoch {epoch}: {}", objects.iter().map(|id| id.short()).collect::<Vec<_>>().join(" and "))]
    TwoEpochs {
        /// The epoch.
        epoch: u16,
        /// The objects.
        objects: Vec<EpochId>,
    },
    /// No key is called so.
    #[error("no key `{name}`; keys here: {}", known.join(", "))]
    NoAuthor {
        /// As given.
        name: String,
        /// Names of those that there are.
        known: Vec<String>,
    },
    /// The repository lacks what this host has seen in it.
    #[error("the repository was turned back: {what}")]
    TurnedBack {
        /// What is missing.
        what: String,
    },
    /// This key's author may not do that.
    #[error("this key cannot do that: {0}")]
    NotAllowed(#[from] Foreign),
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
    Codec(#[from] crate::content::codec::CodecError),
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
    /// Another process changed what this one was reading; nothing is damaged.
    #[error("{what}")]
    Overtaken {
        /// What happened meanwhile.
        what: String,
    },
    /// The storage does not list what was just put, or goes on listing what was just deleted.
    #[error("the storage does not keep its listings up to date (`{object}`); nothing was deleted")]
    ListsLate {
        /// Key of the object that was put or deleted.
        object: String,
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
        "its packs have {}, and the pack cache holds {}: raise --cache-size", words::bytes(*pack_bytes), words::bytes(*cache_bytes)
    )]
    CacheTooSmall {
        /// Bytes of the packs that the parent needs.
        pack_bytes: u64,
        /// What the cache may hold.
        cache_bytes: u64,
    },
    /// A stream was written before the content root was rotated.
    #[error("it is of content generation {generation}, and the content root was rotated since")]
    OlderContent {
        /// The generation that names it.
        generation: u16,
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
            format!("{location} has no {credential}, only {other}s")
        }
        _ => format!("wrong {credential} for {location}"),
    }
}

/// What is wrong with an object: one that a newer program wrote is whole. (Of a pack only a part was read.)
fn state(object: &str, source: &FormatError) -> &'static str {
    match source {
        FormatError::NewerVersion { .. } | FormatError::UnknownFeatures { .. }
            if !object.starts_with("packs/") =>
        {
            "cannot be read"
        }
        _ => "is damaged",
    }
}

impl RepoError {
    /// Whether an object is whole and says nothing that counts, as anybody could put it.
    pub fn is_foreign(&self) -> bool {
        matches!(self, Self::Damaged { source, .. } if sync::is_foreign(source))
    }

    /// Whether stored bytes are damaged, missing, or lie: what ends with the exit code of an integrity failure.
    pub fn is_integrity(&self) -> bool {
        matches!(
            self,
            Self::Damaged { .. }
                | Self::Missing { .. }
                | Self::ChunkLost { .. }
                | Self::ChunksLost { .. }
                | Self::Inconsistent { .. }
                | Self::TwoEpochs { .. }
                | Self::TurnedBack { .. }
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

    /// Whether the storage took nothing because it is full.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Self::Storage(error) if error.kind == ErrorKind::NoSpace)
    }

    /// Whether the catalog is to blame: rebuilding it may cure the error.
    pub fn is_catalog_corrupt(&self) -> bool {
        matches!(self, Self::Catalog(CatalogError::Corrupt { .. }))
    }
}

impl From<crate::vault::snapshot::recipe::NodeError> for RepoError {
    fn from(error: crate::vault::snapshot::recipe::NodeError) -> Self {
        Self::Format(FormatError::Malformed { what: error.what })
    }
}
