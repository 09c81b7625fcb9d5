//! Which steps of a restore of a whole run are done, so that the next try goes on behind them. Kept in the state
//! directory.

use crate::vault::snapshot::SetId;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The steps that are done. One is known by its command: with another target it is another step.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    done: BTreeSet<String>,
}

impl Journal {
    /// What is known of a run.
    pub(super) fn open(state_root: &Path, set: SetId) -> Self {
        let path = state_root.join("restores").join(set.to_string());
        // Safe to ignore: what cannot be read was not done, and is done again.
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        Self { path, done: text.lines().map(str::to_owned).collect() }
    }

    /// Whether the step is done.
    pub(super) fn has(&self, words: &[OsString]) -> bool {
        self.done.contains(&key(words))
    }

    /// Notes that it is.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub(super) fn note(&mut self, words: &[OsString]) -> std::io::Result<()> {
        if let Some(folder) = self.path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path)?;
        let key = key(words);
        file.write_all(format!("{key}\n").as_bytes())?;
        file.sync_all()?;
        self.done.insert(key);
        Ok(())
    }

    /// Forgets all of it.
    ///
    /// # Errors
    /// When the file stays.
    pub(super) fn clear(&mut self) -> std::io::Result<()> {
        self.done.clear();
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// A hash: an address may tell more than a file should.
fn key(words: &[OsString]) -> String {
    let mut hasher = blake3::Hasher::new();
    for word in words {
        hasher.update(&(word.len() as u64).to_le_bytes()).update(word.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_known_to_the_next_try_and_other_words_are_another_step() {
        let home = tempfile::tempdir().unwrap();
        let set = SetId([7; 16]);
        let words = |words: &[&str]| -> Vec<OsString> { words.iter().map(OsString::from).collect() };
        let step = words(&["restore", "ab", "--to-dir", "/"]);
        let mut journal = Journal::open(home.path(), set);
        assert!(!journal.has(&step));
        journal.note(&step).unwrap();
        let mut again = Journal::open(home.path(), set);
        assert!(again.has(&step) && !again.has(&words(&["restore", "ab", "--to-dir/"])));
        assert!(!Journal::open(home.path(), SetId([8; 16])).has(&step));
        again.clear().unwrap();
        again.clear().unwrap();
        assert!(!Journal::open(home.path(), set).has(&step));
    }
}
