//! New credentials: how short a passphrase may be, and key files that are made where there are none.

use crate::base::fault::Next;
use crate::base::secret::Entropy;
use crate::engine::OpError;
use crate::engine::app::AppError;
use crate::vault::crypto::{Credential, KeyFile};
use std::path::Path;

/// Shorter passphrases are refused unless forced.
pub(crate) const PASSPHRASE_MIN: usize = 8;
/// Shorter passphrases earn a warning.
const PASSPHRASE_SHORT: usize = 12;

/// A key file that is from now on a credential.
pub(crate) struct Fresh {
    /// The credential.
    pub credential: Credential,
    /// Others can read it.
    pub is_exposed: bool,
}

/// Refuses a passphrase that is guessed in no time. A short one is warned of, in words.
///
/// # Errors
/// When it is too short, and not forced.
pub(crate) fn check_passphrase(credential: &Credential, force: bool) -> Result<Option<String>, OpError> {
    let Credential::Passphrase(passphrase) = credential else { return Ok(None) };
    let length = passphrase.expose().len();
    if length < PASSPHRASE_MIN && !force {
        return Err(OpError::Refused {
            message: format!("the passphrase has less than {PASSPHRASE_MIN} characters"),
            next: Some(Next::new("use a longer one, or {force}")),
        });
    }
    let is_short = length < PASSPHRASE_SHORT;
    Ok(is_short.then(|| {
        format!("the passphrase is short: {PASSPHRASE_SHORT} characters and more are hard to guess")
    }))
}

/// Makes a key file.
///
/// # Errors
/// When it is there, or cannot be written.
pub(crate) fn fresh_key_file(path: &Path, entropy: &dyn Entropy) -> Result<Fresh, AppError> {
    let key = KeyFile::create(path, entropy)?;
    Ok(Fresh { credential: Credential::KeyFile(key), is_exposed: false })
}

/// The key file at that path, made if it is not there.
///
/// # Errors
/// When it cannot be read or written.
pub(crate) fn key_file_or_fresh(path: &Path, entropy: &dyn Entropy) -> Result<Fresh, AppError> {
    if !path.exists() {
        return fresh_key_file(path, entropy);
    }
    let (key, is_exposed) = KeyFile::read(path)?;
    Ok(Fresh { credential: Credential::KeyFile(key), is_exposed })
}
