//! Passwords: Argon2id, written as the PHC string that other programs read, at most two computed at a time.

use crate::base::permits::Permits;
use crate::base::secret::{Entropy, EntropyError};
use argon2::{Algorithm, Argon2, Block, Params, Version};

/// Shorter ones are refused. There are no other rules.
pub const LENGTH_MIN: usize = 12;
/// Longer ones are refused before anything is computed.
const LENGTH_MAX: usize = 1024;
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Memory is asked for in blocks of 1 KiB, and more than is needed: what is larger than 32 MiB glibc gives back when
/// it is freed, and of the rest it keeps some for each thread. That was 1 GiB after some hundred logins.
const BLOCKS_ASKED: usize = 33 << 10;
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Computes hashes, two at a time: what is guessed costs two cores at most.
pub struct Passwords {
    permits: Permits,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { permits: Permits::new(2) }
    }
}

impl Passwords {
    /// The hash of a new password.
    ///
    /// # Errors
    /// Without randomness.
    pub fn hash(&self, password: &str, entropy: &dyn Entropy) -> Result<String, EntropyError> {
        let mut salt = [0; 16];
        entropy.fill(&mut salt)?;
        let hash = self.compute(password, &salt).unwrap_or_default();
        Ok(format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${}${}", base64(&salt), base64(&hash)))
    }

    /// Whether it is the password. Without a hash the same time goes by.
    pub fn is_right(&self, password: &str, phc: Option<&str>) -> bool {
        let parts: Vec<&str> = phc.unwrap_or_default().split('$').collect();
        let (salt, wanted) = match parts.as_slice() {
            [_, "argon2id", "v=19", _, salt, hash] => (from_base64(salt), from_base64(hash)),
            _ => (vec![0; 16], Vec::new()),
        };
        let Some(hash) = self.compute(password, &salt) else { return false };
        same(&hash, &wanted)
    }

    fn compute(&self, password: &str, salt: &[u8]) -> Option<[u8; 32]> {
        if password.len() > LENGTH_MAX {
            return None;
        }
        let _permit = self.permits.one();
        let params = Params::new(MEMORY_KIB, PASSES, LANES, Some(32)).ok()?;
        let mut hash = [0; 32];
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let mut memory = Vec::with_capacity(BLOCKS_ASKED);
        memory.resize(argon.params().block_count(), Block::default());
        argon.hash_password_into_with_memory(password.as_bytes(), salt, &mut hash, &mut memory).ok()?;
        Some(hash)
    }
}

/// Whether two secrets are the same, in a time that does not tell where they differ.
pub(super) fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

fn base64(bytes: &[u8]) -> String {
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let word =
            three.iter().fold(0_u32, |word, byte| (word << 8) | u32::from(*byte)) << (8 * (3 - three.len()));
        for at in 0..=three.len() {
            let index = usize::try_from((word >> (18 - 6 * at)) & 63).unwrap_or_default();
            out.push(char::from(LETTERS.get(index).copied().unwrap_or(b'A')));
        }
    }
    out
}

fn from_base64(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for four in text.as_bytes().chunks(4) {
        let values =
            four.iter().map(|letter| LETTERS.iter().position(|own| own == letter).unwrap_or_default());
        let word = values.fold(0_usize, |word, value| (word << 6) | value) << (6 * (4 - four.len()));
        for at in 0..four.len().saturating_sub(1) {
            out.push(u8::try_from((word >> (16 - 8 * at)) & 255).unwrap_or_default());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::OsEntropy;

    #[test]
    fn a_password_is_recognised_and_no_other() {
        let passwords = Passwords::default();
        let hash = passwords.hash("correct horse battery", &OsEntropy).unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(passwords.is_right("correct horse battery", Some(&hash)));
        assert!(!passwords.is_right("correct horse batterz", Some(&hash)));
        assert!(!passwords.is_right("", None) && !passwords.is_right("x", Some("$argon2id$")));
        assert!(!passwords.is_right(&"x".repeat(5000), Some(&hash)));
    }

    #[test]
    fn base64_comes_back() {
        for length in 0..20_u8 {
            let bytes: Vec<u8> = (0..length).map(|at| at.wrapping_mul(37)).collect();
            assert_eq!(from_base64(&base64(&bytes)), bytes);
        }
    }
}
