//! Failures of sources and of what restores go into, seen from outside: as of a target. To a backup they are a
//! source's.

use super::SourceError;
use super::bucket::BucketError;
use super::files::FilesError;
use super::indexed::IndexedError;
use super::postgres::PostgresError;
use crate::base::fault::{Class, Fault, Next};
use crate::base::objects::Trouble;

impl Fault for SourceError {
    fn class(&self) -> Class {
        match self {
            Self::Postgres(error) => error.class(),
            Self::Redis(error) => error.class(),
            Self::Files(error) => error.class(),
            Self::Bucket(error) => error.class(),
            Self::Indexed(error) => error.class(),
            Self::Cancelled { .. } => Class::Interrupted,
            Self::StreamName { .. } => Class::Usage,
            Self::NotReadToEnd { .. } | Self::InputTimedOut { .. } => Class::NothingDone,
            Self::ProgramNotFound { .. }
            | Self::NoWorkingDirectory { .. }
            | Self::Start { .. }
            | Self::Io { .. }
            | Self::Exited { .. }
            | Self::Killed { .. }
            | Self::TimedOut { .. }
            | Self::HungAfterOutput { .. }
            | Self::PipeHeldOpen { .. }
            | Self::StoppedReading { .. } => Class::Target,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Postgres(error) => error.code(),
            Self::Redis(error) => error.code(),
            Self::Files(error) => error.code(),
            Self::Bucket(error) => error.code(),
            Self::Indexed(error) => error.code(),
            Self::Cancelled { .. } => "cancelled",
            Self::StreamName { .. } => "stream_name",
            Self::NotReadToEnd { .. } => "not_read_to_end",
            Self::InputTimedOut { .. } => "input_timed_out",
            Self::ProgramNotFound { .. } => "program_not_found",
            Self::NoWorkingDirectory { .. } => "no_working_directory",
            Self::Start { .. } => "program_not_started",
            Self::Io { .. } => "program_io",
            Self::Exited { .. } => "program_failed",
            Self::Killed { .. } => "program_killed",
            Self::TimedOut { .. } => "program_timed_out",
            Self::HungAfterOutput { .. } => "program_hung",
            Self::PipeHeldOpen { .. } => "pipe_held_open",
            Self::StoppedReading { .. } => "program_stopped_reading",
        }
    }

    fn next(&self) -> Option<Next> {
        match self {
            Self::Files(error) => error.next(),
            _ => self.hint().map(Next::new),
        }
    }
}

impl Fault for FilesError {
    fn class(&self) -> Class {
        match self {
            Self::NoPaths => Class::Usage,
            Self::Cancelled => Class::Interrupted,
            Self::Root { .. } | Self::Walk { .. } => Class::NothingDone,
            Self::Indexed(error) => error.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NoPaths => "no_paths",
            Self::Cancelled => "cancelled",
            Self::Root { .. } => "files_root",
            Self::Walk { .. } => "files_walk",
            Self::Indexed(error) => error.code(),
        }
    }

    fn next(&self) -> Option<Next> {
        match self {
            Self::Root { .. } => {
                Some(Next::new("check that it is there, mounted, and readable for this user"))
            }
            _ => None,
        }
    }
}

impl Fault for BucketError {
    fn class(&self) -> Class {
        match self {
            Self::Cancelled => Class::Interrupted,
            Self::Indexed(error) => error.class(),
            Self::Objects(_) | Self::Unsorted { .. } | Self::Thread { .. } => Class::Target,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Objects(error) => match error.trouble {
                Trouble::Missing => "object_missing",
                Trouble::Changed => "object_changed",
                Trouble::Archived => "object_archived",
                Trouble::Denied => "bucket_denied",
                Trouble::Credentials => "bucket_credentials",
                Trouble::Invalid => "bucket_invalid",
                Trouble::Unreachable => "bucket_unreachable",
                Trouble::Other => "bucket_failed",
            },
            Self::Indexed(error) => error.code(),
            Self::Unsorted { .. } => "bucket_unsorted",
            Self::Thread { .. } => "bucket_thread",
            Self::Cancelled => "cancelled",
        }
    }

    fn next(&self) -> Option<Next> {
        self.hint().map(Next::new)
    }
}

impl Fault for IndexedError {
    fn class(&self) -> Class {
        Class::NothingDone
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Name { .. } => "index_name",
            Self::TimedOut { .. } => "reading_timed_out",
            Self::NoData => "index_no_data",
            Self::Index { .. } => "index_unwritten",
            Self::Codec { .. } => "index_compression",
        }
    }

    fn next(&self) -> Option<Next> {
        matches!(self, Self::TimedOut { .. })
            .then(|| Next::new("raise --timeout, or `timeout` of the source"))
    }
}

impl Fault for PostgresError {
    fn class(&self) -> Class {
        of(self).0
    }

    fn code(&self) -> &'static str {
        of(self).1
    }

    fn next(&self) -> Option<Next> {
        self.hint().map(Next::new)
    }
}

fn of(error: &PostgresError) -> (Class, &'static str) {
    use Class::{Conflict, Refused, Target, Usage};
    match error {
        PostgresError::BadUri { .. } => (Usage, "bad_uri"),
        PostgresError::SecretInUri { .. } => (Usage, "secret_in_uri"),
        PostgresError::NoClient { .. } => (Usage, "no_client"),
        PostgresError::NoClientAtAll { .. } => (Usage, "no_client_at_all"),
        PostgresError::NoneFits { .. } => (Usage, "no_database_fits"),
        PostgresError::CleanNeedsArchive { .. } => (Usage, "clean_needs_archive"),
        PostgresError::NotADump { .. } => (Usage, "not_a_dump"),
        PostgresError::Step { source, .. } if matches!(**source, SourceError::Cancelled { .. }) => {
            (Class::Interrupted, "cancelled")
        }
        PostgresError::Connect { .. } => (Target, "connect"),
        PostgresError::Step { .. } => (Target, "server_step"),
        PostgresError::Answer { .. } => (Target, "server_answer"),
        PostgresError::NotCommitted { .. } => (Target, "not_committed"),
        PostgresError::TextBehindDump { .. } => (Target, "text_behind_dump"),
        PostgresError::NoDatabase { .. } => (Target, "no_database"),
        PostgresError::NotEmpty { .. } => (Refused, "database_not_empty"),
        PostgresError::PartsNeedEmpty { .. } => (Refused, "parts_need_empty"),
        PostgresError::CannotSwap { .. } => (Refused, "cannot_swap"),
        PostgresError::Script(_) => (Refused, "script_refused"),
        PostgresError::ClusterScript { .. } => (Refused, "cluster_script"),
        PostgresError::ConnectsElsewhere { .. } => (Refused, "connects_elsewhere"),
        PostgresError::InUse { .. } => (Conflict, "database_in_use"),
    }
}
