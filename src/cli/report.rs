//! Errors become words, hints and exit codes. The codes are part of the interface.

use crate::app::AppError;
use crate::config::ConfigError;
use crate::crypto::CryptoError;
use crate::ops::OpError;
use crate::repo::RepoError;
use crate::repo::format::FormatError;
use crate::storage::ErrorKind;
use std::io::Write;
use std::process::ExitCode;

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    Good,
    Partial,
    NothingDone,
    Usage,
    Integrity,
    Conflict,
    NoRepository,
    WrongKey,
    Interrupted,
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
            Self::NoRepository => 10,
            Self::WrongKey => 12,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// A command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    #[error(transparent)]
    App(#[from] AppError),
    #[error(transparent)]
    Op(#[from] OpError),
    #[error("{message}")]
    Usage { message: String, hint: Option<String> },
    #[error("the working directory is gone: {0}")]
    WorkingDirectory(#[source] std::io::Error),
    #[error("`{path}`: {source}")]
    File {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{message}")]
    Failed { message: String },
    #[error("no repository at {location} to copy into")]
    NoDestination { location: String },
    /// With one of several destinations.
    #[error("{name}: {error}")]
    Destination { name: String, error: Box<CliError> },
}

impl From<RepoError> for CliError {
    fn from(error: RepoError) -> Self {
        Self::Op(error.into())
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        Self::App(error.into())
    }
}

impl CliError {
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: None }
    }

    pub fn exit(&self) -> Exit {
        match self {
            Self::App(AppError::Repo(error)) => repo_exit(error),
            Self::App(_) | Self::Usage { .. } => Exit::Usage,
            Self::Op(error) => op_exit(error),
            Self::WorkingDirectory(_) => Exit::NothingDone,
            Self::NoDestination { .. } => Exit::NoRepository,
            Self::Destination { error, .. } => error.exit(),
            Self::File { .. } | Self::Failed { .. } => Exit::Partial,
        }
    }

    pub fn hint(&self) -> Option<String> {
        match self {
            // The same hints, whichever way the error came.
            Self::App(AppError::Repo(error)) => crate::ops::repo_hint(error),
            Self::App(error) => error.hint().map(str::to_owned),
            Self::Op(error) => error.hint(),
            Self::Usage { hint, .. } => hint.clone(),
            Self::NoDestination { .. } => {
                Some("let --init make it there, without --dry-run; or name another with --to".to_owned())
            }
            Self::Destination { error, .. } => error.hint(),
            _ => None,
        }
    }
}

impl CliError {
    /// What failed in a database's programs: a word for programs.
    fn kind(&self) -> Option<String> {
        match self {
            Self::Op(error) => error.failure().map(|failure| failure.to_string()),
            _ => None,
        }
    }
}

pub(super) fn op_exit(error: &OpError) -> Exit {
    match error {
        OpError::Repo(error) => repo_exit(error),
        OpError::Source { .. }
        | OpError::NothingStored { .. }
        | OpError::Incomplete { .. }
        | OpError::File { .. } => Exit::Partial,
        OpError::NoParts { .. }
        | OpError::NotByItself { .. }
        | OpError::StreamName { .. }
        | OpError::Select(_)
        | OpError::Selection(_)
        | OpError::WhichStream { .. }
        | OpError::NoPolicy => Exit::Usage,
        OpError::SameRepository { .. } => Exit::Usage,
        OpError::NotCopied { source, .. } => op_exit(source),
        OpError::Kept { .. } => Exit::NothingDone,
        OpError::SelectionAmidDamage { .. } | OpError::Hidden { .. } => Exit::Integrity,
        OpError::Archive(_) | OpError::Synthesis(_) | OpError::Database(_) => Exit::NothingDone,
        OpError::Aftermath { failure, .. } => op_exit(failure),
    }
}

fn repo_exit(error: &RepoError) -> Exit {
    match error {
        // Whole, and not ours to read. (Of a pack that cannot be said: only a part of it was read.)
        RepoError::Damaged {
            object,
            source: FormatError::NewerVersion { .. } | FormatError::UnknownFeatures { .. },
        } if !object.starts_with("packs/") => Exit::NothingDone,
        error if error.is_integrity() => Exit::Integrity,
        RepoError::NoRepository { .. } => Exit::NoRepository,
        RepoError::WrongKey { .. } | RepoError::Crypto(CryptoError::RoleTooWeak { .. }) => Exit::WrongKey,
        RepoError::NoSlots { .. } | RepoError::Codec(_) => Exit::Integrity,
        RepoError::AlreadyExists { .. }
        | RepoError::NotEmpty { .. }
        | RepoError::SlotRefused { .. }
        | RepoError::NoLock => Exit::Usage,
        RepoError::Storage(error) if error.kind == ErrorKind::Conflict => Exit::Conflict,
        RepoError::Busy { .. } | RepoError::Fenced { .. } => Exit::Conflict,
        RepoError::Input { .. } | RepoError::Output { .. } => Exit::Partial,
        RepoError::Cancelled => Exit::Interrupted,
        _ => Exit::NothingDone,
    }
}

/// Tells what went wrong and what to do next. The exit code says the same.
pub(super) fn report(error: &CliError, json: bool, interrupted: bool) -> Exit {
    let interrupted = interrupted || matches!(error, CliError::Op(error) if error.is_cancelled());
    let exit = if interrupted { Exit::Interrupted } else { error.exit() };
    let message = if interrupted { "interrupted".to_owned() } else { error.to_string() };
    let hint = if interrupted { None } else { error.hint() };
    let mut stderr = std::io::stderr().lock();
    // Safe to ignore because there is nowhere left to say it.
    let _ = writeln!(stderr, "dumpvault: error: {message}");
    if let Some(hint) = &hint {
        let _ = writeln!(stderr, "dumpvault: hint: {hint}");
    }
    if json {
        let object = serde_json::json!({
            "version": 1, "error": message, "hint": hint, "exit_code": exit.code(),
            "kind": error.kind(),
        });
        super::print(&object.to_string());
    }
    exit
}
