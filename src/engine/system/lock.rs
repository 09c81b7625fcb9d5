//! Two runs of one system on one machine: the second goes away. The lock is the operating system's, so that it goes
//! with a run that is killed; the empty file stays.

use crate::base::event::{Event, Observer};
use crate::base::id::RepoId;
use crate::engine::OpError;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Keeps other runs of the system away while it is held.
#[derive(Debug)]
pub struct RunLock(Option<File>);

impl RunLock {
    /// Takes the lock of a system of a repository; `None` is the system of all sources. Where no file can be had, the
    /// run goes on without, and that is told.
    ///
    /// # Errors
    /// When another run of the system holds it.
    pub fn take(
        state_root: &Path,
        repo: RepoId,
        system: Option<&str>,
        observer: &dyn Observer,
    ) -> Result<Self, OpError> {
        let opened = open(state_root, repo, system);
        let taken = opened.and_then(|file| match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        });
        match taken {
            Ok(Some(file)) => Ok(Self(Some(file))),
            Ok(None) => Err(OpError::AlreadyRunning { system: system.map(str::to_owned) }),
            Err(error) => {
                let place = state_root.display();
                let message = format!("cannot keep other runs away: `{place}`: {error}");
                observer.observe(Event::Warning { message });
                Ok(Self(None))
            }
        }
    }

    /// Whether other runs are kept away.
    pub fn is_held(&self) -> bool {
        self.0.is_some()
    }
}

/// A system's name may hold any characters, so the file is called by its hash.
fn open(state_root: &Path, repo: RepoId, system: Option<&str>) -> std::io::Result<File> {
    let folder = state_root.join("runs");
    DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    let whole = match system {
        Some(name) => format!("{repo} system {name}"),
        None => format!("{repo} all"),
    };
    let name = blake3::hash(whole.as_bytes()).to_hex();
    let path = folder.join(format!("{}.lock", name.get(..32).unwrap_or(&name)));
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::event::Silent;

    #[test]
    fn one_run_of_a_system_at_a_time_and_others_beside_it() {
        let home = tempfile::tempdir().unwrap();
        let (one, two) = (RepoId::from_bytes([1; 16]), RepoId::from_bytes([2; 16]));
        let take = |repo, system| RunLock::take(home.path(), repo, system, &Silent);
        let held = take(one, Some("shop/../x")).unwrap();
        assert!(held.is_held());
        assert!(matches!(take(one, Some("shop/../x")), Err(OpError::AlreadyRunning { .. })));
        for (repo, system) in [(one, None), (one, Some("other")), (two, Some("shop/../x"))] {
            assert!(take(repo, system).unwrap().is_held());
        }
        drop(held);
        assert!(take(one, Some("shop/../x")).unwrap().is_held());
    }

    #[test]
    fn without_a_place_for_the_file_a_run_goes_on() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        std::fs::write(&file, b"").unwrap();
        assert!(!RunLock::take(&file, RepoId::from_bytes([1; 16]), None, &Silent).unwrap().is_held());
    }
}
