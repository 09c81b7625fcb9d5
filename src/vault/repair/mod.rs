//! What can be done about damage. Nothing is deleted but index objects that others replace, and everything can be run
//! again.
//!
//! | file | hides |
//! |---|---|
//! | `index` | the index made anew from the packs' own tables |
//! | `packs` | what still opens in a damaged pack, brought to safety |
//!
//! Backups may go on meanwhile; a prune may not: each refuses to run beside the other.

mod index;
mod packs;

pub use index::IndexRepair;
pub use packs::{PacksRepair, SetAside};

use super::{RepoError, Repository};
use crate::vault::crypto::{CryptoError, Role};

/// Does what can be done about damage in a repository.
pub struct Repairer<'a> {
    pub(in crate::vault) repo: &'a Repository,
}

impl Repairer<'_> {
    fn require_full_key(&self) -> Result<(), RepoError> {
        if self.repo.keys.role() == Role::Full {
            return Ok(());
        }
        Err(CryptoError::RoleTooWeak { needed: "repairing" }.into())
    }
}
