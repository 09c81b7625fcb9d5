//! Operations: plan, then execute. Each is what one command does, without a terminal.
//!
//! Errors are met with hints here: what failed, on what, what to do next.

pub mod app;
pub mod backup;
pub mod check;
pub mod copy;
pub mod demo;
pub mod doctor;
pub mod forget;
pub mod repair;
pub mod restore;
pub mod survey;
pub mod tables;
pub mod tag;

use crate::base::id::SnapshotId;
use crate::base::name::{BadName, NameError};
use crate::source::SourceError;
use crate::storage::ErrorKind;
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
        hint: Option<String>,
    },
    /// A dump is not whole by its own structure, whatever the exit status of its program.
    #[error("the dump `{stream}` is not whole: {source}{}", after(*exited))]
    Incomplete {
        /// The stream.
        stream: String,
        /// What the exit status says.
        exited: crate::vault::snapshot::Proof,
        /// What is missing.
        #[source]
        source: crate::content::inspect::ContentError,
    },
    /// Two streams of a snapshot would bear the same name.
    #[error("a database is called `{name}`, as the stream of the server's roles is")]
    StreamName {
        /// The name.
        name: &'static str,
    },
    /// Parts were asked for of a stream that has none.
    #[error("no parts can be taken of the stream `{stream}`: it is {what}")]
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
    #[error("the snapshot that `{name}` means may be hidden: {damage}")]
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
    /// A repository is to be copied into itself.
    #[error("{location} is the repository that is to be copied")]
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
    #[error("{failure}; {aftermath}")]
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

impl OpError {
    /// What to do next, where that can be known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Repo(error) => repo_hint(error),
            Self::Source { source, .. } => source.hint(),
            Self::NothingStored { hint, .. } => hint.clone(),
            Self::Incomplete { .. } => Some(
                "find out what ended it: a connection that was closed, a full disk, a script that hides its exit status (`set -o pipefail`); then dump again"
                    .to_owned(),
            ),
            Self::Selection(error) => error.hint(),
            Self::SnapshotName(error) => Some(error.hint().to_owned()),
            Self::Name(error) => Some(error.hint().to_owned()),
            Self::SelectionAmidDamage { .. } => Some(
                "`dumpvault check` lists the damage; a snapshot whose mark is lost can be restored by its id"
                    .to_owned(),
            ),
            Self::Hidden { visible, .. } => Some(format!(
                "the newest that can be read is {visible}: name it by its id to restore it all the same"
            )),
            Self::Doubtful { doubtful, visible, .. } => Some(match visible {
                Some(visible) => format!(
                    "restore {visible} or {doubtful} by its id; `dumpvault tag --confirm-time {doubtful}` says that its time is right"
                ),
                None => format!(
                    "restore {doubtful} by its id; after a repository was moved, `dumpvault repair times` confirms all times"
                ),
            }),
            Self::ForeignSnapshot { .. } => Some(
                "restore it at a terminal if you know where it comes from; `dumpvault forget --foreign` removes it"
                    .to_owned(),
            ),
            Self::FutureTime { .. } => {
                Some("give the time when the dump was made; without --time it is the present".to_owned())
            }
            Self::NoPolicy => Some(
                "use --keep-daily 7 --keep-weekly 4 --keep-monthly 12, or add [retention] to dumpvault.toml"
                    .to_owned(),
            ),
            Self::Kept { snapshot, rules } => Some(forget::way_out(snapshot, rules)),
            Self::PinnedInSeries { .. } => Some("unpin them first: `dumpvault tag SNAPSHOT --unpin`".to_owned()),
            Self::WhichStream { snapshot, streams, .. } => {
                streams.first().map(|first| format!("choose one with --stream, or name it `{snapshot}:{first}`"))
            }
            Self::Database(error) => error.hint(),
            Self::Aftermath { failure, .. } => failure.hint(),
            Self::SameRepository { .. } => {
                Some("name another repository with --to: a copy beside the original is none".to_owned())
            }
            Self::NotCopied { source, side: copy::Side::Source, .. } if matches!(source.as_ref(), Self::Repo(error) if error.is_integrity()) => {
                Some("`dumpvault check --read-data` on the source shows all that is damaged; whole snapshots are copied all the same".to_owned())
            }
            Self::NotCopied { source, .. } => source.hint(),
            Self::NotByItself { .. } => Some("verify a snapshot of the whole database".to_owned()),
            Self::NoParts { .. } => Some("tables can be taken out of archives of `pg_dump -Fc -Z0` only; restore the whole of this one".to_owned()),
            Self::Select(crate::content::pg::SelectError::NoRows { .. }) => {
                Some("leave out --data-only to restore the view with its tables, or name its tables".to_owned())
            }
            Self::Select(crate::content::pg::SelectError::ShowsExcluded { .. }) => {
                Some("do not exclude it, or restore the view alone over tables that are there (--bare)".to_owned())
            }
            Self::Select(_) => Some("`dumpvault ls SNAPSHOT` lists the tables; names are matched as they stand there, `*` and `?` stand for others".to_owned()),
            Self::StreamName { .. } => {
                Some("leave it out (`--pg-exclude-database`) and back it up by itself, without --globals".to_owned())
            }
            Self::Archive(_) | Self::Synthesis(_) | Self::File { .. } => None,
        }
    }

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
            _ => false,
        }
    }

    /// What failed in one of PostgreSQL's programs, if that is what failed.
    pub fn failure(&self) -> Option<crate::source::postgres::Failure> {
        match self {
            Self::Source { source, .. } => source.failure(),
            Self::Database(error) => error.failure(),
            Self::Aftermath { failure, .. } => failure.failure(),
            _ => None,
        }
    }

    /// Whether somebody asked to stop.
    pub fn is_cancelled(&self) -> bool {
        match self {
            Self::Repo(RepoError::Cancelled) | Self::Source { source: SourceError::Cancelled { .. }, .. } => {
                true
            }
            Self::Aftermath { failure, .. } => failure.is_cancelled(),
            Self::NotCopied { source, .. } => source.is_cancelled(),
            _ => false,
        }
    }
}

/// Words about an exit status that does not tell the truth.
fn after(exited: crate::vault::snapshot::Proof) -> &'static str {
    match exited {
        crate::vault::snapshot::Proof::Unproven => "",
        _ => ", although its program ended with exit status 0",
    }
}

pub(crate) fn repo_hint(error: &RepoError) -> Option<String> {
    let words = match error {
        RepoError::Storage(error) => match error.kind {
            ErrorKind::NoSpace => {
                "free space or raise the quota: stored snapshots are intact, and the next run reuses what this one stored. On a full store `dumpvault forget` works, and `dumpvault prune --full-store` deletes what nothing needs"
            }
            ErrorKind::NoCredentials => {
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE for a profile in ~/.aws; -v shows where they were looked for"
            }
            ErrorKind::Unreachable => "check the address, the network and the service; -v shows the details",
            // The message says which credential or policy it is.
            ErrorKind::Denied if error.object.starts_with("s3:") => {
                "`dumpvault doctor` tries each permission; docs/offsite.md lists the policies"
            }
            ErrorKind::Denied => {
                "check the permissions of the repository and the user that dumpvault runs as"
            }
            ErrorKind::Conflict => "another program wrote to this object: run `dumpvault check`",
            _ => return None,
        },
        RepoError::Revoked { .. } => "ask whoever holds a full key for a new one (`dumpvault key add`)",
        RepoError::NotAllowed(_) => "a full key can allow it: `dumpvault key grant`",
        RepoError::TwoEpochs { .. } => {
            "find out which rotation was yours (`dumpvault key rotate` prints nothing secret), then use --trust-epoch ID"
        }
        RepoError::TurnedBack { .. } => {
            "put the storage back as it was; if it was turned back on purpose, use --accept-rollback once"
        }
        RepoError::NoRepository { .. } => "make one with `dumpvault init`, or name another with --repo",
        RepoError::AlreadyExists { .. } => "use it as it is, or choose another place",
        RepoError::NotEmpty { .. } => "choose an empty directory, or one that is not there yet",
        RepoError::WrongKey { .. } => {
            "check DUMPVAULT_PASSWORD, DUMPVAULT_PASSWORD_FILE or --key-file; nothing was changed"
        }
        RepoError::Missing { object } if object == "config" => {
            "put the object back from a copy of the repository"
        }
        RepoError::Damaged { .. }
        | RepoError::Missing { .. }
        | RepoError::ChunkLost { .. }
        | RepoError::Inconsistent { .. } => {
            "run `dumpvault check --read-data` to see all that is damaged; a new backup stores anew what it can"
        }
        RepoError::ChunksLost { .. } => {
            "`dumpvault check` lists the affected snapshots; next: `dumpvault repair packs`, `dumpvault backup` (stores \
             lost data that the source still has), then `dumpvault repair snapshots`, after which a prune goes on"
        }
        RepoError::ClockSkew { .. } => {
            "set the clock (timedatectl, chronyc makestep): by a wrong one the wrong things are old"
        }
        RepoError::Busy { .. } => {
            "try again when it has ended; if it was killed, wait half an hour or say `prune --end-sessions`"
        }
        RepoError::Overtaken { .. } => "run it again: a forget or prune ran at the same time",
        RepoError::ListsLate { .. } => {
            "`dumpvault doctor` shows what the storage does; docs/offsite.md says what it must promise"
        }
        RepoError::Fenced { .. } => {
            "run the backup again: what it stored is found again, as far as it is there"
        }
        RepoError::NoLock => {
            "give --object-lock compliance:30d, or object_lock = \"compliance:30d\" in [s3]; folders have no locks"
        }
        RepoError::Catalog(_) => "the catalog can be deleted at any time: it is rebuilt from the repository",
        RepoError::Crypto(crate::vault::crypto::CryptoError::RoleTooWeak { .. }) => {
            "open the repository with a full key: `dumpvault key list` shows the roles"
        }
        _ => return None,
    };
    Some(words.to_owned())
}
