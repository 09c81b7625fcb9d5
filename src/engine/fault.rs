//! Class, code and next step of each failure of an operation.

use super::OpError;
use super::app::AppError;
use super::copy::Side;
use super::restore::When;
use crate::base::fault::{Class, Fault, Next, as_it_is};
use crate::content::pg::SelectError;
use crate::settings::ConfigError;

impl Fault for OpError {
    fn class(&self) -> Class {
        if self.is_refused_script() {
            return Class::Refused;
        }
        of(self).0
    }

    fn code(&self) -> &'static str {
        of(self).1
    }

    fn next(&self) -> Option<Next> {
        let words = match self {
            Self::Repo(error) => return error.next(),
            Self::Source { source, .. } => return source.next(),
            Self::NothingStored { hint, .. } => return hint.clone(),
            Self::Incomplete { .. } => Some(
                "find what cut it off: a closed connection, a full disk, or a script without `set -o pipefail`"
                    .to_owned(),
            ),
            Self::Selection(error) => return error.hint().as_deref().map(Next::plain),
            Self::SnapshotName(error) => Some(error.hint().to_owned()),
            Self::Name(error) => Some(error.hint().to_owned()),
            Self::SelectionAmidDamage { .. } => Some(
                "`dumpvault check` lists the damage; a snapshot whose mark is lost can be restored by its id"
                    .to_owned(),
            ),
            Self::Hidden { visible, .. } => Some(format!(
                "to use the newest readable one, give its id: {visible}"
            )),
            Self::TurnedBack { visible, .. } => Some(format!(
                "restore the newer state of the storage, or give the id {visible}; if the rollback was intended, use {{accept_rollback}} once"
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
            Self::NoDestination { .. } => Some("create it with {init} (without {dry_run})".to_owned()),
            Self::FutureTime { .. } => {
                Some("give the time when the dump was made; without {time} it is the present".to_owned())
            }
            Self::NoPolicy => Some(
                "use {keep_daily} 7 {keep_weekly} 4 {keep_monthly} 12, or add [retention] to dumpvault.toml"
                    .to_owned(),
            ),
            Self::Kept { snapshot, rules } => Some(super::forget::way_out(snapshot, rules)),
            Self::PinnedInSeries { .. } => Some("unpin them first: `dumpvault tag SNAPSHOT --unpin`".to_owned()),
            Self::WhichStream { snapshot, streams, .. } => {
                streams.first().map(|first| format!("choose one with {{stream}}, or name it `{snapshot}:{}`", as_it_is(first)))
            }
            Self::Database(error) => return error.next(),
            Self::Aftermath { failure, .. } => return failure.next(),
            Self::SameRepository { .. } => {
                Some("choose another destination with {to}".to_owned())
            }
            Self::NotCopied { source, side: Side::Source, .. } if matches!(source.as_ref(), Self::Repo(error) if error.is_integrity()) => {
                Some("`dumpvault check --read-data` on the source lists all damage; intact snapshots were copied".to_owned())
            }
            Self::NotCopied { source, .. } => return source.next(),
            Self::NotByItself { .. } => Some("verify a snapshot of the whole database".to_owned()),
            Self::NoParts { .. } => Some("selection needs `pg_dump -Fc` or `-Ft`; restore the whole stream".to_owned()),
            Self::Select(SelectError::NoRows { .. }) => {
                Some("leave out {data_only} to restore the view with its tables, or name its tables".to_owned())
            }
            Self::Select(SelectError::ShowsExcluded { .. }) => {
                Some("do not exclude it, or restore the view alone over tables that are there ({bare})".to_owned())
            }
            Self::Select(_) => Some("`dumpvault ls SNAPSHOT` lists the tables; names are matched as they stand there, `*` and `?` are wildcards".to_owned()),
            Self::Job { next, .. } | Self::Refused { next, .. } => return next.clone(),
            Self::Hook { source, .. } => return source.next(),
            Self::Hinted { next, .. } => return Some(next.clone()),
            Self::Config(error) => return error.next(),
            Self::App(error) => return error.next(),
            Self::AlreadyRunning { .. } => Some("wait until it has ended".to_owned()),
            Self::Archive(_) | Self::Synthesis(_) | Self::File { .. } => None,
        };
        words.map(Next::new)
    }
}

fn of(error: &OpError) -> (Class, &'static str) {
    use Class::{Integrity, NothingDone, Refused, Usage};
    match error {
        OpError::Repo(error) => (error.class(), error.code()),
        OpError::Source { source, .. } => (source.class(), source.code()),
        OpError::Database(error) => (error.class(), error.code()),
        OpError::NothingStored { .. } => (NothingDone, "nothing_stored"),
        OpError::Incomplete { .. } => (NothingDone, "dump_incomplete"),
        OpError::File { .. } => (NothingDone, "file"),
        OpError::NoParts { .. } => (Usage, "no_parts"),
        OpError::NotByItself { .. } => (Usage, "not_by_itself"),
        OpError::Job { .. } => (Usage, "usage"),
        OpError::Refused { .. } => (Refused, "refused"),
        OpError::Hook { source, .. } if error.is_cancelled() => (source.class(), source.code()),
        OpError::Hook { when: When::Before, source, .. } => (Refused, source.code()),
        OpError::Hook { source, .. } => (Class::Partial, source.code()),
        OpError::Hinted { source, .. } => (source.class(), source.code()),
        OpError::Config(error) => (error.class(), error.code()),
        OpError::App(error) => (error.class(), error.code()),
        OpError::Select(_) => (Usage, "nothing_selected"),
        OpError::SnapshotName(_) => (Usage, "snapshot_name"),
        OpError::Name(_) => (Usage, "bad_name"),
        OpError::Selection(_) => (Usage, "no_such_snapshot"),
        OpError::WhichStream { .. } => (Usage, "which_stream"),
        OpError::SameRepository { .. } => (Usage, "same_repository"),
        OpError::NoDestination { .. } => (Class::NoRepository, "no_destination"),
        OpError::FutureTime { .. } => (Usage, "future_time"),
        OpError::NoPolicy => (Usage, "no_policy"),
        OpError::NotCopied { source, .. } => (source.class(), source.code()),
        OpError::AlreadyRunning { .. } => (Class::Conflict, "already_running"),
        OpError::Kept { .. } => (Refused, "kept"),
        OpError::PinnedInSeries { .. } => (Refused, "pinned"),
        OpError::TurnedBack { .. } => (Refused, "turned_back"),
        OpError::Doubtful { .. } => (Refused, "doubtful_time"),
        OpError::ForeignSnapshot { .. } => (Refused, "foreign_snapshot"),
        OpError::SelectionAmidDamage { .. } => (Integrity, "selection_amid_damage"),
        OpError::Hidden { .. } => (Integrity, "hidden_by_damage"),
        OpError::Archive(_) => (NothingDone, "archive"),
        OpError::Synthesis(_) => (NothingDone, "archive_synthesis"),
        // Something of it came into the database.
        OpError::Aftermath { changed: true, failure, .. } if failure.is_refused_script() => {
            (Class::Target, failure.code())
        }
        OpError::Aftermath { failure, .. } => (failure.class(), failure.code()),
    }
}

impl Fault for AppError {
    fn class(&self) -> Class {
        match self {
            Self::Repo(error) => error.class(),
            Self::Config(_)
            | Self::NoRepositoryNamed
            | Self::NoCredential
            | Self::EmptyPassphrase { .. }
            | Self::Passphrase { .. }
            | Self::PasswordCommandSlow { .. }
            | Self::KeyFile(_) => Class::Usage,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Repo(error) => error.code(),
            Self::Config(error) => error.code(),
            Self::NoRepositoryNamed => "no_repository_named",
            Self::NoCredential => "no_credential",
            Self::EmptyPassphrase { .. } => "empty_passphrase",
            Self::Passphrase { .. } => "passphrase",
            Self::PasswordCommandSlow { .. } => "password_command_slow",
            Self::KeyFile(_) => "key_file",
        }
    }

    fn next(&self) -> Option<Next> {
        match self {
            Self::Repo(error) => error.next(),
            other => other.hint().map(Next::new),
        }
    }
}

impl Fault for ConfigError {
    fn class(&self) -> Class {
        Class::Usage
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Untrusted { .. } => "configuration_untrusted",
            _ => "configuration",
        }
    }

    fn next(&self) -> Option<Next> {
        self.hint().map(Next::new)
    }
}
