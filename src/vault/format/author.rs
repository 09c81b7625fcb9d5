//! Statements: who an author is and what it may say.

use super::header::{Header, ObjectType};
use super::signed::{by_authority, check_authority, split};
use super::{FormatError, Sealed, from_cbor, object, to_cbor};
use crate::base::id::{AuthorId, RepoId};
use crate::base::secret::Entropy;
use crate::vault::crypto::{KeyBundle, Role, SmallSealed, SubKey};
use minicbor::{Decode, Encode};

/// A statement object is never larger, in bytes.
pub const STATEMENT_BYTES_MAX: u64 = 64 << 10;
/// More authors than this are not told apart.
pub const AUTHORS_MAX: usize = 4096;
/// The host that stands for all.
pub const ANY_HOST: &str = "*";

/// What is said of an author. Of several statements the one with the highest number counts.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Statement {
    /// The author.
    #[n(0)]
    pub author: AuthorId,
    /// Its Ed25519 public key.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub verifying: [u8; 32],
    /// Its X25519 public key.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub wrap_key: [u8; 32],
    /// What its key may do.
    #[n(3)]
    pub role: Role,
    /// The user's words for it.
    #[n(4)]
    pub name: String,
    /// Hosts that it may add snapshots for; `*` stands for all.
    #[n(5)]
    pub hosts: Vec<String>,
    /// Series that it may add to; absent for all.
    #[n(6)]
    pub series: Option<Vec<String>>,
    /// 1, 2, … for each author.
    #[n(7)]
    pub number: u64,
    /// When it was made, ms since the epoch.
    #[n(8)]
    pub time_ms: i64,
}

impl Statement {
    /// The first statement about the author of `keys`.
    ///
    /// # Errors
    /// Never in practice.
    pub fn of(keys: &KeyBundle, name: &str, hosts: Vec<String>, time_ms: i64) -> Result<Self, FormatError> {
        let author = keys.author();
        Ok(Self {
            author: author.id(),
            verifying: author.verifying_key(),
            wrap_key: author.wrap_key()?,
            role: keys.role(),
            name: name.to_owned(),
            hosts,
            series: None,
            number: 1,
            time_ms,
        })
    }

    /// The statement object's bytes.
    ///
    /// # Errors
    /// When `keys` are not those of a full key, or there is no randomness.
    pub fn seal(
        &self,
        repo: RepoId,
        keys: &KeyBundle,
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, FormatError> {
        let epoch = keys.newest();
        let header = Header { kind: ObjectType::Author, epoch: epoch.number(), repo };
        let raw = header.to_bytes();
        let sealed = SmallSealed::seal(&epoch.sub_key(SubKey::Author), &raw, &to_cbor(self)?, entropy)?;
        let stored = Sealed::from(sealed);
        by_authority(object(&header, &stored)?, epoch)
    }

    /// Opens a statement object and checks the authority's signature; gives its epoch, too.
    ///
    /// # Errors
    /// When it is damaged, forged, or of another repository.
    pub fn open(bytes: &[u8], repo: &RepoId, keys: &KeyBundle) -> Result<(u16, Self), FormatError> {
        let (body, signature) = split(bytes)?;
        let (header, raw, rest) = Header::read(body, ObjectType::Author, Some(repo))?;
        let epoch = keys.epoch(header.epoch)?;
        check_authority(body, &signature, epoch)?;
        let sealed = from_cbor::<Sealed>(rest, "statement")?;
        let sealed = SmallSealed::from(sealed);
        let plain = sealed.open(&epoch.sub_key(SubKey::Author), &raw)?;
        Ok((header.epoch, from_cbor(&plain, "statement")?))
    }

    /// Whether the author may add snapshots of that series and host.
    pub fn covers(&self, series: &str, host: &str) -> bool {
        let host_fits = self.hosts.iter().any(|own| own == host || own == ANY_HOST);
        let series_fits = self.series.as_ref().is_none_or(|all| all.iter().any(|own| own == series));
        self.role == Role::Full || host_fits && series_fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::OsEntropy;

    #[test]
    fn a_statement_is_made_by_a_full_key_read_by_all_and_bound_to_every_bit() {
        let full = KeyBundle::generate(&OsEntropy).unwrap();
        let host = full.for_new_author(Role::Append, &OsEntropy).unwrap();
        let repo = RepoId::from_bytes([3; 16]);
        let statement = Statement {
            series: Some(vec!["app".into()]),
            ..Statement::of(&host, "db1", vec!["db1".into()], 7).unwrap()
        };
        let bytes = statement.seal(repo, &full, &OsEntropy).unwrap();
        assert_eq!(Statement::open(&bytes, &repo, &host).unwrap(), (0, statement.clone()));
        assert!(statement.seal(repo, &host, &OsEntropy).is_err());
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert!(Statement::open(&changed, &repo, &full).is_err(), "byte {at}");
            assert!(Statement::open(&bytes[..at], &repo, &full).is_err(), "cut at {at}");
        }
        assert!(statement.covers("app", "db1"));
        assert!(!statement.covers("app", "db2") && !statement.covers("shop", "db1"));
        let any = Statement { hosts: vec!["*".into()], series: None, ..statement };
        assert!(any.covers("shop", "db2"));
    }
}
