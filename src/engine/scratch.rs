//! A folder for a while: how it is made and removed.

use super::OpError;
use crate::base::secret::Entropy;
use crate::vault::RepoError;
use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A folder that goes when this does, unless it is to stay.
pub(in crate::engine) struct Scratch {
    path: PathBuf,
    keep: bool,
}

impl Scratch {
    /// Makes a folder in `parent` under a name that begins with `front` and that nobody can foresee. Others may pass
    /// through it if `passable`, and see nothing: a server in it may have to run as another user.
    pub(in crate::engine) fn create(
        parent: &Path,
        front: &str,
        keep: bool,
        passable: bool,
        entropy: &dyn Entropy,
    ) -> Result<Self, OpError> {
        let path = parent.join(format!("{front}{}", random_hex::<8>(entropy)?));
        let failed = |source| OpError::File { path: path.clone(), source };
        DirBuilder::new().mode(0o700).create(&path).map_err(failed)?;
        let scratch = Self { path: path.clone(), keep };
        if passable {
            // Not left to the mode above, from which the caller's umask may take.
            std::fs::set_permissions(&path, Permissions::from_mode(0o711)).map_err(failed)?;
        }
        Ok(scratch)
    }

    pub(in crate::engine) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the folder, unless it is to stay; then it is in the answer.
    pub(in crate::engine) fn close(mut self) -> Result<Option<PathBuf>, OpError> {
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

/// Random bytes in digits.
pub(in crate::engine) fn random_hex<const BYTES: usize>(entropy: &dyn Entropy) -> Result<String, OpError> {
    let mut bytes = [0; BYTES];
    entropy.fill(&mut bytes).map_err(RepoError::from)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
