//! What a repository is opened with: where it may write on this machine, and what somebody said of it beforehand.

use crate::base::clock::{Clock, SystemClock};
use crate::base::id::EpochId;
use crate::base::secret::Entropy;
use crate::vault::crypto::KdfCaps;
use std::path::PathBuf;
use std::sync::Arc;

/// What a repository is opened with, besides its storage and key.
#[derive(Clone)]
pub struct Surroundings {
    /// Where random bytes come from.
    pub entropy: Arc<dyn Entropy>,
    /// Directory that holds a directory per repository with its catalog.
    pub cache_root: PathBuf,
    /// Directory of what is to be remembered; no cache.
    pub state_root: PathBuf,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// How a person wants it opened.
    pub access: Access,
}

impl Surroundings {
    /// The system's clock, a state directory inside of the cache's, and nothing special: for programs that last as long
    /// as their cache.
    pub fn new(entropy: Arc<dyn Entropy>, cache_root: PathBuf) -> Self {
        let state_root = cache_root.join("state");
        Self { entropy, cache_root, state_root, clock: Arc::new(SystemClock), access: Access::default() }
    }
}

/// How a person wants a repository opened.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// An exported key slot, to be tried in the place of those in the storage.
    pub key_slot: Option<Vec<u8>>,
    /// Slots may ask for as much as the format allows.
    pub allow_costly_kdf: bool,
    /// Of two objects that close an epoch, the one that holds.
    pub trust_epoch: Option<EpochId>,
    /// What this host remembers and the repository lacks is put up with from now on.
    pub accept_rollback: bool,
    /// Backups rely on what any author says of packs, not only on *full* ones and their own.
    pub dedup_all: bool,
}

impl Access {
    pub(super) fn caps(&self) -> KdfCaps {
        if self.allow_costly_kdf { KdfCaps::COSTLY } else { KdfCaps::USUAL }
    }
}
