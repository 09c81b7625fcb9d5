//! The folder of a demonstration: what lies where in it.

use crate::base::secret::{Entropy, Passphrase};
use crate::engine::OpError;
use crate::engine::scratch::random_hex;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A random passphrase, which is also in a file that only its owner reads.
pub(super) fn passphrase(scratch: &Path, entropy: &dyn Entropy) -> Result<Passphrase, OpError> {
    let path = passphrase_file(scratch);
    let text = random_hex::<16>(entropy)?;
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    let written = opened.and_then(|mut file| writeln!(file, "{text}"));
    written.map_err(|source| OpError::File { path, source })?;
    Ok(Passphrase::new(text))
}

/// Where the repository is in a scratch folder.
pub(crate) fn repository(scratch: &Path) -> PathBuf {
    scratch.join("repository")
}

/// Where the passphrase is in a scratch folder.
pub(crate) fn passphrase_file(scratch: &Path) -> PathBuf {
    scratch.join("passphrase")
}
