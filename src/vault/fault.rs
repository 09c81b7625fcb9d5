//! Class, code and next step of each failure of a repository.

use super::RepoError;
use super::authors::Foreign;
use super::crypto::CryptoError;
use super::format::FormatError;
use crate::base::fault::{Class, Fault, Next};

impl Fault for RepoError {
    fn class(&self) -> Class {
        of(self).0
    }

    fn code(&self) -> &'static str {
        of(self).1
    }

    fn next(&self) -> Option<Next> {
        Some(Next::new(match self {
            Self::Storage(error) => return error.next(),
            Self::Revoked { .. } => "ask whoever holds a full key for a new one (`dumpvault key add`)",
            Self::NotAllowed(Foreign::NotAllowed(_)) => "a full key can allow it: `dumpvault key grant`",
            Self::NotAllowed(Foreign::Revoked(_)) => {
                "ask whoever holds a full key for a new one (`dumpvault key add`)"
            }
            Self::NotAllowed(_) => return None,
            // Not damaged, and the text says what to do.
            Self::Damaged { .. } if of(self).1 == "newer_format" => return None,
            Self::TwoEpochs { .. } => "find out which rotation was yours, then use {trust_epoch} ID",
            Self::TurnedBack { .. } => {
                "restore the newer state of the storage; if the rollback was intended, use {accept_rollback} once"
            }
            Self::NoRepository { .. } => "create one with `dumpvault init`, or give another with {repo}",
            Self::AlreadyExists { .. } => "use it, or choose another address",
            Self::NotEmpty { .. } => "choose an empty or new directory",
            Self::WrongKey { credential: "passphrase", slots: 0, .. } => "use {key_file}",
            Self::WrongKey { slots: 0, .. } => {
                "use {password_file}, DUMPVAULT_PASSWORD_FILE or DUMPVAULT_PASSWORD"
            }
            Self::SlotsLeft { .. } => {
                "if the key is right, `keys/` was filled with junk: open with an exported slot ({key_slot} FILE), or try all slots with {allow_costly_kdf}"
            }
            Self::WrongKey { .. } => {
                "check DUMPVAULT_PASSWORD, DUMPVAULT_PASSWORD_FILE or {key_file}; nothing was changed"
            }
            Self::Missing { object } if object == "config" => {
                "put the object back from a copy of the repository"
            }
            Self::Damaged { .. }
            | Self::Missing { .. }
            | Self::ChunkLost { .. }
            | Self::Inconsistent { .. } => {
                "`dumpvault check --read-data` lists all damage; the next backup stores lost data that its source still has"
            }
            Self::ChunksLost { .. } => {
                "`dumpvault check` lists the affected snapshots; next: `dumpvault repair packs`, `dumpvault backup` (stores \
                 lost data that the source still has), then `dumpvault repair snapshots`, after which a prune goes on"
            }
            Self::ClockSkew { .. } => {
                "fix the clock (`chronyc makestep`): with a wrong clock, new packs can look old"
            }
            Self::Busy { .. } => {
                "try again later; if it was killed, wait 30 minutes or use `prune {end_sessions}`"
            }
            Self::Overtaken { .. } => "run it again: a forget or prune ran at the same time",
            Self::ListsLate { .. } => {
                "`dumpvault doctor` shows what the storage does; docs/offsite.md says what it must promise"
            }
            Self::Fenced { .. } => {
                "run it again: data already stored is reused; if this host was not suspended, keep other programs from \
                 changing times in the repository (`touch`, copies), and run `dumpvault doctor`"
            }
            Self::NoLock => {
                "use {object_lock} compliance:30d, or object_lock = \"compliance:30d\" in [s3]; directories, SFTP servers and rclone remotes have no object locks"
            }
            Self::Catalog(_) => "the catalog can be deleted at any time: it is rebuilt from the repository",
            Self::Crypto(CryptoError::RoleTooWeak { .. }) => {
                "open the repository with a full key: `dumpvault key list` shows the roles"
            }
            Self::Crypto(_)
            | Self::Format(_)
            | Self::Entropy(_)
            | Self::Input { .. }
            | Self::Output { .. }
            | Self::CacheTooSmall { .. }
            | Self::OlderContent { .. }
            | Self::Thread { .. }
            | Self::Stopped
            | Self::Cancelled
            | Self::Codec(_)
            | Self::NoSlots { .. }
            | Self::NoAuthor { .. }
            | Self::SlotRefused { .. } => return None,
        }))
    }
}

fn of(error: &RepoError) -> (Class, &'static str) {
    use Class::{Conflict, Integrity, NothingDone, Refused, Usage, WrongKey};
    match error {
        RepoError::Storage(error) => (error.class(), error.code()),
        // Whole, and not ours to read. (Of a pack that cannot be said: only a part of it was read.)
        RepoError::Damaged {
            object,
            source: FormatError::NewerVersion { .. } | FormatError::UnknownFeatures { .. },
        } if !object.starts_with("packs/") => (NothingDone, "newer_format"),
        RepoError::Damaged { .. } => (Integrity, "damaged"),
        RepoError::Missing { .. } => (Integrity, "missing"),
        RepoError::ChunkLost { .. } => (Integrity, "chunk_lost"),
        RepoError::ChunksLost { .. } => (Integrity, "chunks_lost"),
        RepoError::TwoEpochs { .. } => (Integrity, "two_epochs"),
        RepoError::TurnedBack { .. } => (Integrity, "turned_back"),
        RepoError::Inconsistent { .. } => (Integrity, "inconsistent"),
        RepoError::NoSlots { .. } => (Integrity, "no_slots"),
        RepoError::Codec(_) => (Integrity, "codec"),
        RepoError::NoRepository { .. } => (Class::NoRepository, "no_repository"),
        RepoError::WrongKey { .. } => (WrongKey, "wrong_key"),
        RepoError::SlotsLeft { .. } => (WrongKey, "slots_left"),
        RepoError::Revoked { .. } => (WrongKey, "key_revoked"),
        RepoError::NotAllowed(_) => (WrongKey, "not_allowed"),
        RepoError::Crypto(CryptoError::RoleTooWeak { .. }) => (WrongKey, "role_too_weak"),
        RepoError::Crypto(
            CryptoError::Unsealed
            | CryptoError::UnknownEpoch { .. }
            | CryptoError::BadSignature
            | CryptoError::Malformed { .. }
            | CryptoError::KdfCosts { .. }
            | CryptoError::TooLong
            | CryptoError::Entropy(_),
        ) => (NothingDone, "crypto"),
        RepoError::AlreadyExists { .. } => (Usage, "already_exists"),
        RepoError::NotEmpty { .. } => (Usage, "not_empty"),
        RepoError::NoAuthor { .. } => (Usage, "no_author"),
        RepoError::NoLock => (Usage, "no_lock"),
        RepoError::SlotRefused { .. } => (Refused, "slot_refused"),
        RepoError::ClockSkew { .. } => (Refused, "clock_skew"),
        RepoError::ListsLate { .. } => (Refused, "lists_late"),
        RepoError::Busy { .. } => (Conflict, "busy"),
        RepoError::Fenced { .. } => (Conflict, "fenced"),
        RepoError::Overtaken { .. } => (Conflict, "overtaken"),
        RepoError::Cancelled => (Class::Interrupted, "cancelled"),
        RepoError::Catalog(_) => (NothingDone, "catalog"),
        RepoError::Format(_) => (NothingDone, "format"),
        RepoError::Entropy(_) => (NothingDone, "entropy"),
        RepoError::Input { .. } => (NothingDone, "input"),
        RepoError::Output { .. } => (NothingDone, "output"),
        RepoError::CacheTooSmall { .. } => (NothingDone, "cache_too_small"),
        RepoError::OlderContent { .. } => (NothingDone, "older_content"),
        RepoError::Thread { .. } => (NothingDone, "thread"),
        RepoError::Stopped => (NothingDone, "stopped"),
    }
}
