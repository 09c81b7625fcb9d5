//! Exit codes: a part of the interface, the same for every command. `docs/operations.md` lists them.
//!
//! Every error has its code in a `match` that names all variants of its type: a new kind of error without a code does not compile.

use super::report::CliError;
use crate::engine::OpError;
use crate::engine::app::AppError;
use crate::source::SourceError;
use crate::source::postgres::PostgresError;
use crate::storage::{ErrorKind, StorageError};
use crate::vault::RepoError;
use crate::vault::crypto::CryptoError;
use crate::vault::format::FormatError;
use std::process::ExitCode;

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// All well.
    Good,
    /// Something failed or is suspect; something was stored.
    Partial,
    /// Nothing was stored or read: every source failed, or the storage did.
    NothingDone,
    /// Wrong usage or configuration, found before anything started.
    Usage,
    /// Damage, or a verification that failed.
    Integrity,
    /// Another operation is in the way: try again.
    Conflict,
    /// Refused by a safety rule, or by a question that nobody answered with yes. Nothing was changed.
    Refused,
    /// The server, or whatever else a restore goes into, failed or is not there.
    Target,
    /// There is no repository.
    NoRepository,
    /// The key is wrong, or too weak.
    WrongKey,
    /// Somebody asked to stop.
    Interrupted,
    /// Whoever read standard output went away. The process ends as programs do that nobody listens to any more.
    Unheard,
}

impl Exit {
    pub fn code(self) -> u8 {
        match self {
            Self::Good => 0,
            Self::Partial => 1,
            Self::NothingDone => 2,
            Self::Usage => 3,
            Self::Integrity => 4,
            Self::Conflict => 5,
            Self::Refused => 6,
            Self::Target => 7,
            Self::NoRepository => 10,
            Self::WrongKey => 12,
            Self::Interrupted => 130,
            // What a shell shows of a process that SIGPIPE ended.
            Self::Unheard => 141,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

impl CliError {
    pub fn exit(&self) -> Exit {
        match self {
            Self::App(error) => app_exit(error),
            Self::Op(error) => op_exit(error),
            Self::Usage { .. } => Exit::Usage,
            Self::Refused { .. } => Exit::Refused,
            Self::WorkingDirectory(_) | Self::File { .. } => Exit::NothingDone,
            Self::NoDestination { .. } => Exit::NoRepository,
            Self::Hinted { error, .. } | Self::Destination { error, .. } => error.exit(),
            Self::Told { exit, .. } => *exit,
        }
    }
}

fn app_exit(error: &AppError) -> Exit {
    match error {
        AppError::Repo(error) => repo_exit(error),
        AppError::Config(_)
        | AppError::NoRepositoryNamed
        | AppError::NoCredential
        | AppError::EmptyPassphrase { .. }
        | AppError::Passphrase { .. }
        | AppError::PasswordCommandSlow { .. }
        | AppError::KeyFile(_) => Exit::Usage,
    }
}

pub(super) fn op_exit(error: &OpError) -> Exit {
    if error.is_refused_script() {
        return Exit::Refused;
    }
    match error {
        OpError::Repo(error) => repo_exit(error),
        OpError::Source { source, .. } => source_exit(source),
        OpError::Database(error) => postgres_exit(error),
        OpError::NothingStored { .. } | OpError::Incomplete { .. } | OpError::File { .. } => {
            Exit::NothingDone
        }
        OpError::NoParts { .. }
        | OpError::NotByItself { .. }
        | OpError::StreamName { .. }
        | OpError::Select(_)
        | OpError::SnapshotName(_)
        | OpError::Name(_)
        | OpError::Selection(_)
        | OpError::WhichStream { .. }
        | OpError::SameRepository { .. }
        | OpError::FutureTime { .. }
        | OpError::NoPolicy => Exit::Usage,
        OpError::NotCopied { source, .. } => op_exit(source),
        OpError::Kept { .. }
        | OpError::PinnedInSeries { .. }
        | OpError::Doubtful { .. }
        | OpError::ForeignSnapshot { .. } => Exit::Refused,
        OpError::SelectionAmidDamage { .. } | OpError::Hidden { .. } => Exit::Integrity,
        OpError::Archive(_) | OpError::Synthesis(_) => Exit::NothingDone,
        // Something of it came into the database.
        OpError::Aftermath { changed: true, failure, .. } if failure.is_refused_script() => Exit::Target,
        OpError::Aftermath { failure, .. } => op_exit(failure),
    }
}

/// Of a backup: its server is a source, and no target.
pub(super) fn backup_exit(error: &OpError) -> Exit {
    match op_exit(error) {
        Exit::Target => Exit::NothingDone,
        exit => exit,
    }
}

/// A program that a restore goes into.
fn source_exit(error: &SourceError) -> Exit {
    match error {
        SourceError::Postgres(error) => postgres_exit(error),
        SourceError::Cancelled { .. } => Exit::Interrupted,
        SourceError::NotReadToEnd { .. } | SourceError::InputTimedOut { .. } => Exit::NothingDone,
        SourceError::ProgramNotFound { .. }
        | SourceError::NoWorkingDirectory { .. }
        | SourceError::Start { .. }
        | SourceError::Io { .. }
        | SourceError::Exited { .. }
        | SourceError::Killed { .. }
        | SourceError::TimedOut { .. }
        | SourceError::HungAfterOutput { .. }
        | SourceError::PipeHeldOpen { .. }
        | SourceError::StoppedReading { .. } => Exit::Target,
    }
}

/// A server that a restore goes into.
fn postgres_exit(error: &PostgresError) -> Exit {
    match error {
        PostgresError::BadUri { .. }
        | PostgresError::SecretInUri { .. }
        | PostgresError::NoClient { .. }
        | PostgresError::NoClientAtAll { .. }
        | PostgresError::NoneFits { .. }
        | PostgresError::CleanNeedsArchive { .. }
        | PostgresError::NotADump { .. } => Exit::Usage,
        PostgresError::Step { source, .. } if matches!(**source, SourceError::Cancelled { .. }) => {
            Exit::Interrupted
        }
        PostgresError::Connect { .. }
        | PostgresError::Step { .. }
        | PostgresError::Answer { .. }
        | PostgresError::NotCommitted { .. }
        | PostgresError::TextBehindDump { .. }
        | PostgresError::NoDatabase { .. } => Exit::Target,
        PostgresError::NotEmpty { .. }
        | PostgresError::PartsNeedEmpty { .. }
        | PostgresError::CannotSwap { .. }
        | PostgresError::Script(_)
        | PostgresError::ClusterScript { .. }
        | PostgresError::ConnectsElsewhere { .. } => Exit::Refused,
        PostgresError::InUse { .. } => Exit::Conflict,
    }
}

pub(super) fn repo_exit(error: &RepoError) -> Exit {
    match error {
        RepoError::Storage(error) => storage_exit(error),
        // Whole, and not ours to read. (Of a pack that cannot be said: only a part of it was read.)
        RepoError::Damaged {
            object,
            source: FormatError::NewerVersion { .. } | FormatError::UnknownFeatures { .. },
        } if !object.starts_with("packs/") => Exit::NothingDone,
        RepoError::Damaged { .. }
        | RepoError::Missing { .. }
        | RepoError::ChunkLost { .. }
        | RepoError::ChunksLost { .. }
        | RepoError::TwoEpochs { .. }
        | RepoError::TurnedBack { .. }
        | RepoError::Inconsistent { .. }
        | RepoError::NoSlots { .. }
        | RepoError::Codec(_) => Exit::Integrity,
        RepoError::NoRepository { .. } => Exit::NoRepository,
        RepoError::WrongKey { .. } | RepoError::Revoked { .. } | RepoError::NotAllowed(_) => Exit::WrongKey,
        RepoError::Crypto(error) => crypto_exit(error),
        RepoError::AlreadyExists { .. }
        | RepoError::NotEmpty { .. }
        | RepoError::NoAuthor { .. }
        | RepoError::NoLock => Exit::Usage,
        RepoError::SlotRefused { .. } | RepoError::ClockSkew { .. } | RepoError::ListsLate { .. } => {
            Exit::Refused
        }
        RepoError::Busy { .. } | RepoError::Fenced { .. } | RepoError::Overtaken { .. } => Exit::Conflict,
        RepoError::Cancelled => Exit::Interrupted,
        RepoError::Catalog(_)
        | RepoError::Format(_)
        | RepoError::Entropy(_)
        | RepoError::Input { .. }
        | RepoError::Output { .. }
        | RepoError::CacheTooSmall { .. }
        | RepoError::Thread { .. }
        | RepoError::Stopped => Exit::NothingDone,
    }
}

fn crypto_exit(error: &CryptoError) -> Exit {
    match error {
        CryptoError::RoleTooWeak { .. } => Exit::WrongKey,
        CryptoError::Unsealed
        | CryptoError::UnknownEpoch { .. }
        | CryptoError::BadSignature
        | CryptoError::Malformed { .. }
        | CryptoError::KdfCosts { .. }
        | CryptoError::TooLong
        | CryptoError::Entropy(_) => Exit::NothingDone,
    }
}

fn storage_exit(error: &StorageError) -> Exit {
    match error.kind {
        ErrorKind::Conflict => Exit::Conflict,
        ErrorKind::NotFound
        | ErrorKind::ShortObject
        | ErrorKind::NoSpace
        | ErrorKind::Denied
        | ErrorKind::NoCredentials
        | ErrorKind::Unreachable
        | ErrorKind::Invalid
        | ErrorKind::Other => Exit::NothingDone,
    }
}

#[cfg(test)]
mod tests;
