//! The folder of a demonstration: how it is made and removed, and what lies where in it.

use crate::base::secret::{Entropy, Passphrase};
use crate::engine::OpError;
use crate::vault::RepoError;
use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A folder that goes when this does, unless it is to stay.
pub(super) struct Scratch {
    path: PathBuf,
    keep: bool,
}

impl Scratch {
    /// Makes a folder in `parent` under a name that nobody can foresee. Others may pass through it if `passable`, and see
    /// nothing: a server in it may have to run as another user.
    pub(super) fn create(
        parent: &Path,
        keep: bool,
        passable: bool,
        entropy: &dyn Entropy,
    ) -> Result<Self, OpError> {
        let path = parent.join(format!("dumpvault-demo-{}", random_hex::<8>(entropy)?));
        let failed = |source| OpError::File { path: path.clone(), source };
        DirBuilder::new().mode(0o700).create(&path).map_err(failed)?;
        let scratch = Self { path: path.clone(), keep };
        if passable {
            // Not left to the mode above, from which the caller's umask may take.
            std::fs::set_permissions(&path, Permissions::from_mode(0o711)).map_err(failed)?;
        }
        Ok(scratch)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A random passphrase, which is also in a file that only its owner reads.
    pub(super) fn passphrase(&self, entropy: &dyn Entropy) -> Result<Passphrase, OpError> {
        let path = passphrase_file(&self.path);
        let text = random_hex::<16>(entropy)?;
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let written = opened.and_then(|mut file| writeln!(file, "{text}"));
        written.map_err(|source| OpError::File { path, source })?;
        Ok(Passphrase::new(text))
    }

    /// Removes the folder, unless it is to stay; then it is in the answer.
    pub(super) fn close(mut self) -> Result<Option<PathBuf>, OpError> {
        if self.keep {
            return Ok(Some(self.path.clone()));
        }
        // Tried once: what cannot be removed now is told, and not tried again in silence.
        self.keep = true;
        let path = self.path.clone();
        match std::fs::remove_dir_all(&path) {
            Ok(()) => Ok(None),
            Err(source) => Err(OpError::File { path, source }),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.keep {
            // Safe to ignore: an error is on its way already, and the folder lies where the system clears up by itself.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// Where the repository is in a scratch folder.
pub fn repository(scratch: &Path) -> PathBuf {
    scratch.join("repository")
}

/// Where the passphrase is in a scratch folder.
pub fn passphrase_file(scratch: &Path) -> PathBuf {
    scratch.join("passphrase")
}

fn random_hex<const BYTES: usize>(entropy: &dyn Entropy) -> Result<String, OpError> {
    let mut bytes = [0; BYTES];
    entropy.fill(&mut bytes).map_err(RepoError::from)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
