//! How a passphrase or a key file opens a key bundle.

use super::{CryptoError, KeyBundle, SmallSealed};
use crate::base::id::RepoId;
use crate::base::secret::{Entropy, Passphrase, SecretKey};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use zeroize::{Zeroize, Zeroizing};

/// What somebody brings to open a slot.
#[derive(Debug, Clone)]
pub enum Credential {
    /// A passphrase.
    Passphrase(Passphrase),
    /// The contents of a key file.
    KeyFile(KeyFile),
}

/// The 32 bytes of a key file.
#[derive(Debug, Clone)]
pub struct KeyFile(SecretKey);

/// A key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// Reading or writing failed.
    #[error("key file `{path}`: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What lies beneath.
        #[source]
        source: std::io::Error,
    },
    /// The file does not hold exactly 32 bytes.
    #[error("`{path}` is not a key file: it holds {bytes} bytes, not 32", path = path.display())]
    WrongLength {
        /// The file.
        path: PathBuf,
        /// What it holds.
        bytes: u64,
    },
    /// No randomness for a new key.
    #[error(transparent)]
    Entropy(#[from] crate::base::secret::EntropyError),
}

impl KeyFile {
    /// Reads a key file. The flag tells whether others than its owner may read it, which deserves a warning.
    ///
    /// # Errors
    /// When it cannot be read or is not a key file.
    pub fn read(path: &Path) -> Result<(Self, bool), KeyFileError> {
        use std::io::Read;
        use std::os::unix::fs::PermissionsExt;
        let io = |source| KeyFileError::Io { path: path.to_owned(), source };
        let mut file = std::fs::File::open(path).map_err(io)?;
        let meta = file.metadata().map_err(io)?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(64));
        file.by_ref().take(64).read_to_end(&mut bytes).map_err(io)?;
        let key = SecretKey::from_slice(&bytes).ok_or_else(|| KeyFileError::WrongLength {
            path: path.to_owned(),
            bytes: meta.len().max(bytes.len() as u64),
        })?;
        Ok((Self(key), meta.permissions().mode() & 0o077 != 0))
    }

    /// Makes a new key file that only its owner can read. Never replaces a file.
    ///
    /// # Errors
    /// When the file is there already or cannot be written.
    pub fn create(path: &Path, entropy: &dyn Entropy) -> Result<Self, KeyFileError> {
        use std::io::Write;
        use std::os::unix::fs::OpenOptionsExt;
        let io = |source| KeyFileError::Io { path: path.to_owned(), source };
        let key = SecretKey::random(entropy)?;
        let mut file =
            std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
        file.write_all(key.expose()).and_then(|()| file.sync_all()).map_err(io)?;
        Ok(Self(key))
    }
}

/// Argon2id's costs and salt (RFC 9106).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kdf {
    /// Passes over the memory, `t`.
    pub passes: u32,
    /// Memory in KiB, `m`.
    pub memory_kib: u32,
    /// Lanes, `p`.
    pub lanes: u32,
    /// Salt.
    pub salt: [u8; 16],
}

/// What a slot may ask for before it is refused. Anybody who can put objects writes slots, and each is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KdfCaps {
    passes: u32,
    memory_kib: u32,
    lanes: u32,
}

impl KdfCaps {
    /// 256 MiB and 16 passes.
    pub const USUAL: Self = Self { passes: 16, memory_kib: 256 << 10, lanes: 16 };
    /// As much as the format allows: 1 GiB and 64 passes.
    pub const COSTLY: Self = Self { passes: 64, memory_kib: 1 << 20, lanes: 64 };
}

impl Kdf {
    /// The second recommended choice of RFC 9106, section 4 (t=3, 64 MiB, p=4), and a fresh salt.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn recommended(entropy: &dyn Entropy) -> Result<Self, CryptoError> {
        let mut salt = [0; 16];
        entropy.fill(&mut salt)?;
        Ok(Self { passes: 3, memory_kib: 64 << 10, lanes: 4, salt })
    }

    /// What deriving costs: memory in KiB times passes.
    pub fn cost(&self) -> u64 {
        u64::from(self.memory_kib) * u64::from(self.passes)
    }

    fn derive(&self, passphrase: &Passphrase, caps: KdfCaps) -> Result<SecretKey, CryptoError> {
        let refused =
            CryptoError::KdfCosts { passes: self.passes, memory_kib: self.memory_kib, lanes: self.lanes };
        // Before anything is allocated: a stored byte asks for this.
        if self.memory_kib > caps.memory_kib || self.passes > caps.passes || self.lanes > caps.lanes {
            return Err(refused);
        }
        let Ok(params) = Params::new(self.memory_kib, self.passes, self.lanes, Some(32)) else {
            return Err(refused);
        };
        let mut memory = Vec::new();
        if memory.try_reserve_exact(params.block_count()).is_err() {
            return Err(refused);
        }
        // Fresh memory is dear: the threads that will work in it take it side by side.
        (0..params.block_count()).into_par_iter().map(|_| Block::new()).collect_into_vec(&mut memory);
        let mut output = Zeroizing::new([0; 32]);
        let hashed = Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into_with_memory(
            passphrase.expose(),
            &self.salt,
            output.as_mut_slice(),
            &mut memory,
        );
        // The last blocks are what the output is made of.
        memory.par_iter_mut().for_each(Block::zeroize);
        hashed.map_err(|_| refused)?;
        let key = Zeroizing::new(blake3::derive_key("dumpvault v1 slot passphrase", output.as_slice()));
        Ok(SecretKey::from_bytes(*key))
    }

    fn associated(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(28);
        for cost in [self.passes, self.memory_kib, self.lanes] {
            bytes.extend_from_slice(&cost.to_le_bytes());
        }
        bytes.extend_from_slice(&self.salt);
        bytes
    }
}

/// A key bundle sealed for one credential.
#[derive(Debug, Clone)]
pub struct SealedBundle {
    /// Set for a passphrase, absent for a key file.
    pub kdf: Option<Kdf>,
    /// Hash of the one key that opens the slot. XChaCha20-Poly1305 binds no key: without this a slot could be made that
    /// opens with thousands of keys, and would tell which of them a passphrase gives.
    pub commitment: [u8; 32],
    /// The bundle.
    pub sealed: SmallSealed,
}

impl SealedBundle {
    /// Seals `bundle` for `credential`. `header` is the slot object's header.
    ///
    /// # Errors
    /// When there is no randomness, or the costs are refused.
    pub fn seal(
        bundle: &KeyBundle,
        credential: &Credential,
        repo: &RepoId,
        header: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Self, CryptoError> {
        let kdf = match credential {
            Credential::Passphrase(_) => Some(Kdf::recommended(entropy)?),
            Credential::KeyFile(_) => None,
        };
        let key = slot_key(kdf.as_ref(), credential, repo, KdfCaps::COSTLY)?;
        let commitment = commitment(&key);
        let associated = associated(header, kdf.as_ref(), &commitment);
        let sealed = SmallSealed::seal(&key, &associated, &bundle.encode()?, entropy)?;
        Ok(Self { kdf, commitment, sealed })
    }

    /// Opens the bundle.
    ///
    /// # Errors
    /// [`CryptoError::Unsealed`] when the credential is not this slot's; [`CryptoError::KdfCosts`] when the slot asks
    /// too much.
    pub fn open(
        &self,
        credential: &Credential,
        repo: &RepoId,
        header: &[u8],
        caps: KdfCaps,
    ) -> Result<KeyBundle, CryptoError> {
        let key = slot_key(self.kdf.as_ref(), credential, repo, caps)?;
        if commitment(&key) != self.commitment {
            return Err(CryptoError::Unsealed);
        }
        let plain = self.sealed.open(&key, &associated(header, self.kdf.as_ref(), &self.commitment))?;
        KeyBundle::decode(&Zeroizing::new(plain))
    }
}

fn slot_key(
    kdf: Option<&Kdf>,
    credential: &Credential,
    repo: &RepoId,
    caps: KdfCaps,
) -> Result<SecretKey, CryptoError> {
    match (kdf, credential) {
        (Some(kdf), Credential::Passphrase(passphrase)) => kdf.derive(passphrase, caps),
        (None, Credential::KeyFile(KeyFile(key))) => {
            let mut material = Zeroizing::new(key.expose().to_vec());
            material.extend_from_slice(repo.as_bytes());
            Ok(SecretKey::from_bytes(blake3::derive_key("dumpvault v1 slot key file", &material)))
        }
        // The slot is for the other kind of credential.
        _ => Err(CryptoError::Unsealed),
    }
}

fn commitment(key: &SecretKey) -> [u8; 32] {
    blake3::derive_key("dumpvault v1 slot commitment", key.expose())
}

fn associated(header: &[u8], kdf: Option<&Kdf>, commitment: &[u8; 32]) -> Vec<u8> {
    let mut bytes = header.to_vec();
    bytes.push(if kdf.is_some() { 1 } else { 2 });
    bytes.extend(kdf.iter().flat_map(|kdf| kdf.associated()));
    bytes.extend_from_slice(commitment);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::OsEntropy;

    #[test]
    fn a_new_slot_for_a_passphrase_costs_what_the_rfc_recommends_and_one_for_a_key_file_nothing() {
        let bundle = KeyBundle::generate(&OsEntropy).unwrap();
        let costs = |credential: &Credential| {
            let repo = RepoId::from_bytes([7; 16]);
            let slot = SealedBundle::seal(&bundle, credential, &repo, b"header", &OsEntropy).unwrap();
            slot.kdf.map(|kdf| (kdf.passes, kdf.memory_kib, kdf.lanes))
        };
        let passphrase = Credential::Passphrase(Passphrase::new("correct horse".into()));
        assert_eq!(costs(&passphrase), Some((3, 64 << 10, 4)));
        assert_eq!(costs(&Credential::KeyFile(KeyFile(SecretKey::from_bytes([7; 32])))), None);
    }

    #[test]
    fn a_slot_opens_only_with_its_credential_header_and_costs() {
        let bundle = KeyBundle::generate(&OsEntropy).unwrap();
        let repo = RepoId::from_bytes([7; 16]);
        let right = Credential::Passphrase(Passphrase::new("correct horse".into()));
        let wrong = Credential::Passphrase(Passphrase::new("battery staple".into()));
        let mut slot = SealedBundle::seal(&bundle, &right, &repo, b"header", &OsEntropy).unwrap();
        let caps = KdfCaps::USUAL;
        assert!(slot.open(&right, &repo, b"header", caps).is_ok());
        assert!(slot.open(&wrong, &repo, b"header", caps).is_err());
        assert!(slot.open(&right, &repo, b"other", caps).is_err());
        let mut uncommitted = slot.clone();
        uncommitted.commitment[0] ^= 1;
        assert!(matches!(uncommitted.open(&right, &repo, b"header", caps), Err(CryptoError::Unsealed)));
        if let Some(kdf) = &mut slot.kdf {
            kdf.memory_kib = (256 << 10) + 1;
        }
        let refused = slot.open(&right, &repo, b"header", caps);
        assert!(matches!(refused, Err(CryptoError::KdfCosts { .. })));
    }
}
