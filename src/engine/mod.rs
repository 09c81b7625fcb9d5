//! Operations: plan, then execute. Each is what one command does, without a terminal.
//!
//! Errors are met with hints here: what failed, on what, what to do next.

pub mod app;
pub mod backup;
pub mod check;
pub mod copy;
pub(crate) mod demo;
pub mod doctor;
mod fault;
mod file_digest;
pub mod files;
pub(crate) mod forget;
pub(crate) mod keyring;
pub(crate) mod keys;
pub(crate) mod listing;
pub(crate) mod object_lock;
pub mod plan;
pub mod prelude;
pub(crate) mod prune;
// Only a history asks for it.
#[cfg(feature = "daemon")]
pub(crate) mod recall;
pub mod repair;
pub mod report;
pub mod restore;
mod scratch;
pub(crate) mod snapshots;
pub(crate) mod status;
mod stream_reader;
pub mod system;
pub(crate) mod tables;
pub(crate) mod tag;

use crate::base::fault::Next;
use crate::base::id::SnapshotId;
use crate::base::name::{BadName, NameError};
use crate::settings::ConfigError;
use crate::source::SourceError;
use crate::vault::RepoError;
use crate::vault::snapshot::retention::Rule;
use crate::vault::snapshot::selection::SelectionError;
use std::path::PathBuf;

/// An operation failed.
#[derive(Debug, thiserror::Error)]
pub enum OpError {
    /// The repository failed.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// A source, or what takes a restore, failed.
    #[error("{what}: {source}")]
    Source {
        /// The stream, or what the restore goes into.
        what: String,
        /// What lies beneath.
        #[source]
        source: SourceError,
    },
    /// No stream of a backup ended well, so that there is no snapshot.
    #[error("no snapshot of `{series}` created: {reasons}")]
    NothingStored {
        /// The series.
        series: String,
        /// Why its stream failed, or that all of several did, which was told of each.
        reasons: String,
        /// What to do about the first.
        hint: Option<Next>,
    },
    /// A dump is not whole by its own structure, whatever the exit status of its program.
    #[error("dump `{stream}` is incomplete: {source}{}", after(*exited))]
    Incomplete {
        /// The stream.
        stream: String,
        /// What the exit status says.
        exited: crate::vault::snapshot::Proof,
        /// What is missing.
        #[source]
        source: crate::content::inspect::ContentError,
    },
    /// What was asked for makes no sense.
    #[error("{message}")]
    Job {
        /// Why.
        message: String,
        /// What to do about it.
        next: Option<Next>,
    },
    /// A run of the same system is under way on this machine.
    #[error("another run of {} is under way on this machine", system.as_ref().map_or("all sources".to_owned(), |name| format!("system `{name}`")))]
    AlreadyRunning {
        /// The system's name, where it has one.
        system: Option<String>,
    },
    /// A safety rule. Nothing was changed.
    #[error("{message}")]
    Refused {
        /// Why.
        message: String,
        /// What to do about it.
        next: Option<Next>,
    },
    /// A command that runs around a restore failed.
    #[error("`{}` command `{command}`: {source}", when.word())]
    Hook {
        /// When it ran.
        when: restore::When,
        /// The command.
        command: String,
        /// What lies beneath.
        #[source]
        source: SourceError,
    },
    /// What to do next is known better than the error knows it by itself.
    #[error("{source}")]
    Hinted {
        /// The error.
        #[source]
        source: Box<OpError>,
        /// What to do next.
        next: Next,
    },
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Settings do not lead to a repository.
    #[error(transparent)]
    App(#[from] app::AppError),
    /// Parts were asked for of a stream that has none.
    #[error("cannot select from stream `{stream}`: {what}")]
    NoParts {
        /// The stream.
        stream: String,
        /// What it is.
        what: &'static str,
    },
    /// A dump of rows or statistics alone was to be tried, and holds nothing that they could go into.
    #[error("cannot verify `{stream}`: it holds {what} without the tables that they are of")]
    NotByItself {
        /// The stream.
        stream: String,
        /// What it holds.
        what: &'static str,
    },
    /// No part of an archive fits what was asked for.
    #[error(transparent)]
    Select(#[from] crate::content::pg::SelectError),
    /// An archive cannot be looked into.
    #[error(transparent)]
    Archive(#[from] crate::content::pg::ArchiveError),
    /// An archive cannot be put together.
    #[error(transparent)]
    Synthesis(#[from] crate::content::pg::SynthesisError),
    /// What was given is no snapshot's name.
    #[error(transparent)]
    SnapshotName(#[from] NameError),
    /// Nothing new may be called so.
    #[error(transparent)]
    Name(#[from] BadName),
    /// The name stands for no snapshot.
    #[error(transparent)]
    Selection(#[from] SelectionError),
    /// No snapshot was found, and a damaged object may be the reason.
    #[error("{source}; but {damage}")]
    SelectionAmidDamage {
        /// What was not found.
        #[source]
        source: Box<SelectionError>,
        /// What is damaged.
        damage: String,
    },
    /// The snapshot meant may be hidden by damage, and what is left is an older one.
    #[error("a newer snapshot of `{name}` may be unreadable: {damage}")]
    Hidden {
        /// As given.
        name: String,
        /// The snapshot that can be seen.
        visible: String,
        /// What is damaged.
        damage: String,
    },
    /// The snapshot has no stream of that name, or several to choose from.
    #[error("snapshot {snapshot} {problem}; it has: {streams}", streams = streams.join(", "))]
    WhichStream {
        /// The snapshot.
        snapshot: String,
        /// "has no stream `x`", "has several streams".
        problem: String,
        /// The streams that there are.
        streams: Vec<String>,
    },
    /// A file to restore into failed.
    #[error("`{path}`: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What lies beneath.
        #[source]
        source: std::io::Error,
    },
    /// A copy's destination holds no repository, and none is to be made.
    #[error("no repository at destination {location}")]
    NoDestination {
        /// Where it was looked for.
        location: String,
    },
    /// A repository is to be copied into itself.
    #[error("source and destination are the same repository: {location}")]
    SameRepository {
        /// Where it lies.
        location: String,
    },
    /// A snapshot could not be copied.
    #[error("snapshot {snapshot} of `{shown}` was not copied: {side}: {source}", shown = crate::base::name::shown(series))]
    NotCopied {
        /// The snapshot.
        snapshot: String,
        /// Its series.
        series: String,
        /// Which repository failed.
        side: copy::Side,
        /// What lies beneath.
        #[source]
        source: Box<OpError>,
    },
    /// The repository lacks what was seen in it: what a name stands for may be an old snapshot.
    #[error("{missing}; `{name}` now stands for snapshot {visible} of {time}")]
    TurnedBack {
        /// What is missing, in words.
        missing: String,
        /// As given.
        name: String,
        /// What the name stands for among what is left.
        visible: String,
        /// The time of that one.
        time: jiff::Timestamp,
    },
    /// The newest snapshot of a series says a time that its author may not be believed.
    #[error(
        "the newest snapshot of `{name}`, {doubtful}, was added by a key that may only add, and says it is of {time}, though it was stored at {stored}"
    )]
    Doubtful {
        /// As given.
        name: String,
        /// The doubtful snapshot.
        doubtful: String,
        /// The time that it says.
        time: jiff::Timestamp,
        /// When it was stored.
        stored: jiff::Timestamp,
        /// The newest one that is not doubtful, if there is one.
        visible: Option<String>,
    },
    /// A snapshot that counts for nothing was named by its whole id.
    #[error(
        "snapshot {} counts for nothing: {why}; it says that {claim}",
        snapshot.short()
    )]
    ForeignSnapshot {
        /// Its id.
        snapshot: SnapshotId,
        /// Why it counts for nothing.
        why: String,
        /// Who added it to which series, as it says.
        claim: String,
    },
    /// A time that lies ahead was given.
    #[error("the time {time} lies in the future")]
    FutureTime {
        /// As given.
        time: jiff::Timestamp,
    },
    /// Nothing says which snapshots to keep.
    #[error("no retention policy")]
    NoPolicy,
    /// A snapshot that was named must stay.
    #[error("cannot remove snapshot {snapshot}: {}; nothing was removed", forget::reasons(rules))]
    Kept {
        /// The snapshot.
        snapshot: String,
        /// What keeps it.
        rules: Vec<Rule>,
    },
    /// Some of a series' snapshots were pinned by a person.
    #[error("cannot remove series `{series}`: pinned: {}; nothing was removed", snapshots.join(", "))]
    PinnedInSeries {
        /// The series.
        series: String,
        /// The snapshots that are pinned.
        snapshots: Vec<String>,
    },
    /// The database to restore into could not be prepared, or cleaned up.
    #[error(transparent)]
    Database(#[from] crate::source::postgres::PostgresError),
    /// The restore failed, and so did clearing away what it had made.
    #[error("{failure}{}{aftermath}", between(failure))]
    Aftermath {
        /// Why the restore failed.
        #[source]
        failure: Box<OpError>,
        /// What is left behind.
        aftermath: String,
        /// Something is.
        changed: bool,
    },
}

/// What stands between a failure and what is said after it. The last words of a program have lines of their own, and
/// often end with the `;` of a statement.
fn between(failure: &OpError) -> &'static str {
    if failure.to_string().contains('\n') { "\n  " } else { "; " }
}

/// A source that could not be asked.
impl From<SourceError> for OpError {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Postgres(error) => Self::Database(error),
            source => Self::Source { what: "source".to_owned(), source },
        }
    }
}

impl OpError {
    /// Whether a script was kept from psql: nothing of it counts as tried.
    pub fn is_refused_script(&self) -> bool {
        use crate::source::postgres::PostgresError;
        let of = |error: &PostgresError| {
            matches!(
                error,
                PostgresError::Script(_)
                    | PostgresError::ClusterScript { .. }
                    | PostgresError::ConnectsElsewhere { .. }
            )
        };
        match self {
            Self::Database(error) | Self::Source { source: SourceError::Postgres(error), .. } => of(error),
            Self::Aftermath { failure, changed: false, .. } => failure.is_refused_script(),
            Self::Hinted { source, .. } => source.is_refused_script(),
            _ => false,
        }
    }

    /// What failed in one of PostgreSQL's programs, if that is what failed.
    pub fn failure(&self) -> Option<crate::source::postgres::Failure> {
        match self {
            Self::Source { source, .. } => source.failure(),
            Self::Database(error) => error.failure(),
            Self::Aftermath { failure, .. } => failure.failure(),
            Self::Hinted { source, .. } => source.failure(),
            _ => None,
        }
    }

    /// Somebody asked to stop.
    pub fn cancelled() -> Self {
        Self::Repo(RepoError::Cancelled)
    }

    /// Whatever takes what is restored failed.
    pub fn output(source: std::io::Error) -> Self {
        Self::Repo(RepoError::Output { source })
    }

    /// Whether whoever took what is restored went away.
    pub fn is_unheard(&self) -> bool {
        matches!(self, Self::Repo(RepoError::Output { source }) if source.kind() == std::io::ErrorKind::BrokenPipe)
    }

    /// Whether somebody asked to stop.
    pub fn is_cancelled(&self) -> bool {
        match self {
            Self::Repo(RepoError::Cancelled)
            | Self::Source { source: SourceError::Cancelled { .. }, .. }
            | Self::Hook { source: SourceError::Cancelled { .. }, .. } => true,
            Self::Aftermath { failure, .. } => failure.is_cancelled(),
            Self::NotCopied { source, .. } | Self::Hinted { source, .. } => source.is_cancelled(),
            _ => false,
        }
    }
}

/// Words about an exit status that does not tell the truth.
fn after(exited: crate::vault::snapshot::Proof) -> &'static str {
    match exited {
        crate::vault::snapshot::Proof::Unproven => "",
        _ => " (exit status was 0)",
    }
}
