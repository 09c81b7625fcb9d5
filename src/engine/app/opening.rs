//! Opening a repository: first whether there is one, then a key.

use super::{App, AppError, Ask};
use crate::base::event::{Event, Observer};
use crate::base::words::count;
use crate::vault::crypto::Credential;
use crate::vault::{RepoError, Repository};
use std::path::PathBuf;

/// A clock further off than this earns a warning.
const SKEW_MS_MAX: u64 = 300_000;

/// An open repository.
pub struct Opened {
    /// The repository.
    pub repo: Repository,
    /// What opened it.
    pub credential: Credential,
}

/// Where what is read comes from, of a repository that is not on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// From the pack cache, where that has it.
    Cached,
    /// From the storage itself.
    Afresh,
}

/// Where a repository would be made.
pub struct Vacancy {
    /// Where it would lie.
    pub location: String,
    /// The key file that would be made.
    pub key_file: Option<PathBuf>,
}

impl App {
    /// Opens the repository at the address. Whether there is one is told before a key is asked for.
    ///
    /// # Errors
    /// When there is none, there is no key, the key is wrong, or something is damaged.
    pub fn unlock(
        &self,
        reading: Reading,
        ask: Ask<'_>,
        observer: &dyn Observer,
    ) -> Result<Opened, AppError> {
        let warn = |message: String| observer.observe(Event::Warning { message });
        let identity = self.identify()?;
        self.skew_words().into_iter().for_each(&warn);
        let found = self.credential(ask)?;
        found.warnings.into_iter().for_each(&warn);
        let repo = match reading {
            Reading::Cached => self.open(&identity, &found.credential)?,
            Reading::Afresh => self.open_uncached(&identity, &found.credential)?,
        };
        Ok(Opened { repo, credential: found.credential })
    }

    /// What a clock that is far off comes to.
    fn skew_words(&self) -> Option<String> {
        let skew = self.skew_ms().filter(|skew| skew.unsigned_abs() > SKEW_MS_MAX)?;
        let (minutes, direction) =
            (skew.unsigned_abs() / 60_000, if skew > 0 { "behind" } else { "ahead of" });
        Some(format!(
            "this host's clock is {} {direction} the storage's: fix it (timedatectl); until then forget and prune refuse to run",
            count(minutes, "minute")
        ))
    }

    /// Whether a repository can be made at the address, as far as that can be told without making anything.
    ///
    /// # Errors
    /// When there is one already, or the storage holds other things.
    pub fn check_vacant(&self) -> Result<(), AppError> {
        match self.storage() {
            Ok(storage) => Ok(Repository::check_vacant(storage.as_ref())?),
            Err(_) => Ok(()),
        }
    }

    /// What making a repository at the address would come to.
    ///
    /// # Errors
    /// When none can be made there.
    pub fn plan_init(&self) -> Result<Vacancy, AppError> {
        match self.storage() {
            Ok(storage) => Repository::check_vacant(storage.as_ref())?,
            // A directory that would be made.
            Err(AppError::Repo(RepoError::NoRepository { .. })) => {}
            Err(error) => return Err(error),
        }
        let place = self.settings.repository.place.as_ref();
        Ok(Vacancy {
            location: place.map(|place| place.value.to_string()).unwrap_or_default(),
            key_file: self.key_file_named().filter(|path| !path.exists()),
        })
    }
}
