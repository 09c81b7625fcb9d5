//! Authors: who wrote an object, and what it may decide by that.
//!
//! An object counts if its author is known to the authority, may still write in the object's epoch, signed it, and, in
//! an epoch that was closed, the object is in the close's list. All else is *foreign*: it counts for nothing, though
//! what a foreign snapshot reaches is kept. `docs/format.md` has the rules, and the table of who may say what.

use super::RepoError;
use super::epochs::Epochs;
use super::format::FormatError;
use super::format::author::{AUTHORS_MAX, STATEMENT_BYTES_MAX, Statement};
use super::format::header::Header;
use super::format::mark::{Mark, MarkKind};
use super::format::session::SessionKind;
use super::format::signed::{Claim, Opened, Place, is_signed_by};
use super::memory::HostMemory;
use super::objects::{ObjectName as _, fetch, name_in_key};
use crate::base::id::{AuthorId, RepoId, StatementId};
use crate::storage::Storage;
use crate::vault::crypto::{CryptoError, KeyBundle, Role};
use crate::vault::snapshot::Head;
use std::collections::HashMap;

/// Why an object counts for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Foreign {
    /// No statement names its author.
    #[error("its author {0} is unknown")]
    UnknownAuthor(AuthorId),
    /// Its author was revoked before its epoch.
    #[error("its author {0} was revoked")]
    Revoked(AuthorId),
    /// The signature is not its author's.
    #[error("its signature is not that of its author")]
    BadSignature,
    /// It is of a closed epoch, and not among what counts of it.
    #[error("it is of closed key epoch {epoch} and not among the objects that count of it")]
    Closed {
        /// Its epoch.
        epoch: u16,
        /// Its author.
        author: AuthorId,
    },
    /// It cannot be opened with any key of the repository, or is malformed.
    #[error("it cannot be opened with the keys of this repository")]
    Unreadable,
    /// Its author may not say this.
    #[error("its author may not {0}")]
    NotAllowed(&'static str),
    /// It claims a version or feature that this program does not know, and no full author signed it.
    #[error("it claims a newer format, and no full key signed it")]
    Newer,
}

/// Who vouches for an object that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Voucher {
    /// The author.
    pub author: AuthorId,
    /// What its key may do.
    pub role: Role,
}

impl Voucher {
    /// Whether it is a *full* author.
    pub fn is_full(self) -> bool {
        self.role == Role::Full
    }
}

/// A statement and where it was found.
#[derive(Debug, Clone)]
struct Said {
    epoch: u16,
    statement: Statement,
}

/// What an object below `authors/` turned out to be.
#[derive(PartialEq, Eq)]
enum Taken {
    Statement,
    /// Of a later epoch or a newer program: nothing can be said of it yet.
    OfLater,
    Junk,
}

/// Everything that is known of authors, as one open of the repository found it.
#[derive(Debug)]
pub struct Authors {
    me: AuthorId,
    said: HashMap<AuthorId, Vec<Said>>,
    epochs: Epochs,
    /// Statements that this host has seen and that are gone.
    pub missing: Vec<StatementId>,
    /// Keys of objects below `authors/` whose bytes are not those of their name.
    pub damaged: Vec<String>,
    /// Objects below `authors/` that are no statements of this repository.
    pub(super) junk: Vec<StatementId>,
}

impl Authors {
    /// Reads all statements. `keys` hold all epochs that `epochs` lead to.
    ///
    /// # Errors
    /// When the storage fails.
    pub(super) fn load(
        storage: &dyn Storage,
        repo: &RepoId,
        keys: &KeyBundle,
        epochs: Epochs,
        memory: &HostMemory,
    ) -> Result<Self, RepoError> {
        let mut trusted = memory.trusted();
        trusted.retain(|key, _| key.starts_with("authors/"));
        let junk = memory.junk();
        let mut authors = Self {
            me: keys.author().id(),
            said: HashMap::new(),
            epochs,
            missing: Vec::new(),
            damaged: Vec::new(),
            junk: Vec::new(),
        };
        let mut names: Vec<StatementId> = Vec::new();
        storage.list("authors/", &mut |listed| names.extend(name_in_key::<StatementId>(&listed.key)))?;
        names.sort();
        for name in names {
            let key = name.key();
            let remembered = trusted.remove(&key);
            let is_new = remembered.is_none();
            let bytes = match remembered {
                Some(bytes) => bytes,
                None if junk.contains(&key) => {
                    authors.junk.push(name);
                    continue;
                }
                None => match fetch(storage, &name, STATEMENT_BYTES_MAX) {
                    Ok(bytes) => bytes,
                    Err(error) if error.is_integrity() => {
                        authors.damaged.push(key);
                        continue;
                    }
                    Err(error) => return Err(error),
                },
            };
            match authors.take(&name, &bytes, repo, keys) {
                Taken::Statement if is_new => memory.trust(&key, &bytes),
                Taken::Statement | Taken::OfLater => {}
                Taken::Junk => {
                    memory.note_junk(&key);
                    authors.junk.push(name);
                }
            }
        }
        for (key, bytes) in trusted {
            // Gone from the storage, and still true.
            if let Some(name) = name_in_key::<StatementId>(&key)
                && authors.take(&name, &bytes, repo, keys) == Taken::Statement
            {
                authors.missing.push(name);
            }
        }
        Ok(authors)
    }

    /// Takes in a statement.
    fn take(&mut self, name: &StatementId, bytes: &[u8], repo: &RepoId, keys: &KeyBundle) -> Taken {
        let (epoch, statement) = match Statement::open(bytes, repo, keys) {
            Ok(opened) => opened,
            // Somebody rotated the keys since the epochs were listed.
            Err(FormatError::Crypto(CryptoError::UnknownEpoch { .. })) => return Taken::OfLater,
            Err(error) if error.is_newer() => return Taken::OfLater,
            Err(_) => return Taken::Junk,
        };
        if !self.epochs.counts(epoch, name.as_bytes()) {
            return Taken::Statement;
        }
        if self.said.len() < AUTHORS_MAX || self.said.contains_key(&statement.author) {
            let said = self.said.entry(statement.author).or_default();
            said.push(Said { epoch, statement });
            said.sort_by_key(|said| (said.epoch, said.statement.number));
        }
        Taken::Statement
    }

    /// The author whose key is in use.
    pub fn me(&self) -> AuthorId {
        self.me
    }

    /// What is said of an author now.
    pub fn statement(&self, author: &AuthorId) -> Option<&Statement> {
        self.statement_in(author, u16::MAX)
    }

    /// What counts of an author in an epoch: of all statements of that epoch and those before, the one with the highest
    /// number.
    fn statement_in(&self, author: &AuthorId, epoch: u16) -> Option<&Statement> {
        let said = self.said.get(author)?.iter().filter(|said| said.epoch <= epoch);
        said.max_by_key(|said| said.statement.number).map(|said| &said.statement)
    }

    /// All authors that were not revoked, by name.
    pub fn all(&self) -> Vec<&Statement> {
        let newest = self.epochs.newest();
        let all = self.said.keys().filter(|author| self.goes_on(author, newest));
        let mut all: Vec<&Statement> = all.filter_map(|author| self.statement(author)).collect();
        all.sort_by(|a, b| (&a.name, a.author).cmp(&(&b.name, b.author)));
        all
    }

    /// Every author that was ever stated, revoked or not.
    pub fn known(&self) -> impl Iterator<Item = &Statement> {
        self.said.keys().filter_map(|author| self.statement(author))
    }

    /// Whether the author was not revoked up to `epoch`.
    pub fn goes_on(&self, author: &AuthorId, epoch: u16) -> bool {
        let since = self.said.get(author).and_then(|said| said.iter().map(|said| said.epoch).min());
        since.is_some_and(|since| self.epochs.goes_on(author, since, epoch))
    }

    /// The epochs.
    pub fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    /// Whether an author is a *full* one, revoked or not.
    pub fn is_full(&self, author: &AuthorId) -> bool {
        self.statement(author).is_some_and(|statement| statement.role == Role::Full)
    }

    /// The name of an author, for people.
    pub fn name(&self, author: &AuthorId) -> String {
        match self.statement(author).map(|statement| statement.name.as_str()) {
            None | Some("") => author.short(),
            Some(name) => name.to_owned(),
        }
    }

    /// A value that changes with anything that a verdict hangs on.
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        let mut all: Vec<_> = self.said.iter().collect();
        all.sort_by_key(|(author, _)| **author);
        for (author, said) in all {
            hasher.update(author.as_bytes());
            for said in said {
                hasher.update(&said.epoch.to_le_bytes()).update(&said.statement.number.to_le_bytes());
            }
        }
        self.epochs.hash_into(&mut hasher);
        *hasher.finalize().as_bytes()
    }

    /// Whose word an object is. `id` is its hash where that is its name; `is_signed` tells that its signature was
    /// checked before.
    ///
    /// # Errors
    /// Why it counts for nothing.
    pub fn judge(&self, claim: &Claim, id: Option<&[u8; 32]>, is_signed: bool) -> Result<Voucher, Foreign> {
        let Claim { author, epoch, .. } = claim;
        let statement = self.statement_in(author, *epoch).ok_or(Foreign::UnknownAuthor(*author))?;
        if !self.goes_on(author, *epoch) {
            return Err(Foreign::Revoked(*author));
        }
        if !is_signed {
            claim.verify(&statement.verifying).map_err(|_| Foreign::BadSignature)?;
        }
        let counts = match id {
            Some(id) => self.epochs.counts(*epoch, id),
            None => *epoch >= self.epochs.newest(),
        };
        if !counts {
            return Err(Foreign::Closed { epoch: *epoch, author: *author });
        }
        Ok(Voucher { author: *author, role: statement.role })
    }

    /// Whether a snapshot counts.
    ///
    /// # Errors
    /// Why not.
    pub fn judge_head(
        &self,
        head: &Opened<Head>,
        id: &[u8; 32],
        is_signed: bool,
    ) -> Result<Voucher, Foreign> {
        let voucher = self.judge(&head.claim, Some(id), is_signed)?;
        let statement = self.statement_in(&voucher.author, head.claim.epoch);
        let covers = |statement: &Statement| statement.covers(&head.content.series, &head.content.host);
        if statement.is_some_and(covers) {
            Ok(voucher)
        } else {
            Err(Foreign::NotAllowed("add to that series of that host"))
        }
    }

    /// Whether a session counts.
    ///
    /// # Errors
    /// Why not.
    pub fn judge_session(&self, kind: SessionKind, claim: &Claim) -> Result<Voucher, Foreign> {
        let voucher = self.judge(claim, None, false)?;
        match kind {
            SessionKind::Write => Ok(voucher),
            _ if voucher.is_full() => Ok(voucher),
            _ => Err(Foreign::NotAllowed("prune")),
        }
    }

    /// Whether a *full* author signed an object that only a newer program can read. `id` is its hash where that is its
    /// name. Nobody else begins with a newer format, so nobody else's word for it counts.
    pub fn is_newer_by_full(&self, bytes: &[u8], place: Place, id: Option<&[u8; 32]>) -> bool {
        let Some(epoch) = Header::epoch_of(bytes) else { return false };
        let counts = id.map_or(epoch >= self.epochs.newest(), |id| self.epochs.counts(epoch, id));
        counts
            && self.said.keys().any(|author| {
                let statement =
                    self.statement_in(author, epoch).filter(|statement| statement.role == Role::Full);
                self.goes_on(author, epoch)
                    && statement.is_some_and(|one| is_signed_by(bytes, place, &one.verifying))
            })
    }

    /// Whether an author may add to a series of any host.
    pub fn may_name(&self, author: &AuthorId, series: &str) -> bool {
        let statement = self.statement(author);
        statement.is_some_and(|one| {
            one.hosts.iter().any(|host| one.covers(series, host)) || one.role == Role::Full
        })
    }

    /// Whether the author of this key may add to a series of a host.
    ///
    /// # Errors
    /// Why not.
    pub fn may_add(&self, series: &str, host: &str) -> Result<(), Foreign> {
        match self.statement(&self.me) {
            None => Err(Foreign::UnknownAuthor(self.me)),
            Some(statement) if statement.covers(series, host) => Ok(()),
            Some(_) => Err(Foreign::NotAllowed("add to that series of that host")),
        }
    }
}

/// Whether a mark says something that its author may say of any object, of its own ones alone, or not at all.
pub(super) fn reach(mark: &Mark, voucher: Voucher) -> Reach {
    if voucher.is_full() {
        return Reach::Any;
    }
    match mark.kind {
        MarkKind::Committed | MarkKind::Tags | MarkKind::Pinned | MarkKind::SetEnded | MarkKind::Damaged => {
            Reach::Own
        }
        MarkKind::Verified
        | MarkKind::Checked
        | MarkKind::Cleared
        | MarkKind::Forgotten
        | MarkKind::GivenUp
        | MarkKind::TimeConfirmed
        | MarkKind::Other(_) => Reach::None,
    }
}

/// See [`reach`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Of whatever there is.
    Any,
    /// Of snapshots of the same author.
    Own,
    /// Of nothing.
    None,
}
