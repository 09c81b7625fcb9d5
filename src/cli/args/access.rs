//! Options that say how a repository is opened when something about it is odd.

use crate::base::id::EpochId;
use crate::vault::Access;
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(in crate::cli) struct AccessArgs {
    /// Open the repository with this exported key slot instead of those in the repository.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub key_slot: Option<PathBuf>,
    /// Accept key slots whose key derivation needs up to 1 GiB of memory and 64 passes, and try them all.
    #[arg(long, global = true, help_heading = "Global options")]
    pub allow_costly_kdf: bool,
    /// Accept that snapshots or keys that this host has seen are missing.
    #[arg(long, global = true, help_heading = "Global options")]
    pub accept_rollback: bool,
    /// Trust this object if two objects close the same key epoch.
    #[arg(long, global = true, value_name = "ID", help_heading = "Global options")]
    pub trust_epoch: Option<EpochId>,
}

impl AccessArgs {
    /// The same for the repository.
    ///
    /// # Errors
    /// When the file cannot be read: with its path.
    pub(crate) fn read(self) -> Result<Access, (PathBuf, std::io::Error)> {
        let key_slot = match self.key_slot {
            None => None,
            Some(path) => Some(std::fs::read(&path).map_err(|error| (path, error))?),
        };
        Ok(Access {
            key_slot,
            allow_costly_kdf: self.allow_costly_kdf,
            trust_epoch: self.trust_epoch,
            accept_rollback: self.accept_rollback,
            dedup_all: false,
        })
    }
}
