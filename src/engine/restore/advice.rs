//! What to do about a failed restore into a database: nothing that was asked for already is named.

use super::{DatabaseJob, Extract};
use crate::base::fault::{Fault, Next};
use crate::engine::OpError;
use crate::source::postgres::{Doing, Given, PostgresError};

/// What was asked for, as far as advice depends on it.
#[derive(Debug, Clone, Copy)]
pub struct Advice {
    given: Given,
    /// Somebody said how long it may wait for what uses the database.
    has_patience: bool,
}

impl Advice {
    /// For a restore that is about to begin.
    pub fn of(job: &DatabaseJob, extract: &Extract) -> Self {
        let given = Given {
            create: job.create,
            swap: job.swap,
            clean: job.clean,
            selection: extract.names_parts(),
            bare: extract.is_bare(),
            no_owner: job.without.owner,
            no_privileges: job.without.privileges,
            no_tablespaces: job.without.tablespaces,
        };
        Self { given, has_patience: job.manners.patience.is_some() }
    }

    /// What to do next, where that can be known.
    pub fn next(&self, error: &OpError) -> Option<Next> {
        match (error, error.failure()) {
            // What is known better goes before.
            (OpError::Hinted { .. }, _) => error.next(),
            (_, Some(failure)) => failure.hint(Doing::Restore(self.given)).map(Next::new),
            (_, None) => match problem_of(error) {
                Some(problem) => self.next_of(problem),
                None => error.next(),
            },
        }
    }

    fn next_of(&self, problem: &PostgresError) -> Option<Next> {
        let given = self.given;
        let is_whole = !given.selection && !given.bare;
        let words = match problem {
            // Only what is given beside it makes such a database be met.
            PostgresError::NotEmpty { .. } if given.create && is_whole => {
                "use a new name, or {clean}, or {swap}"
            }
            PostgresError::NotEmpty { .. } if given.create => "use a new name",
            PostgresError::PartsNeedEmpty { .. } if given.create => "use a new name, or omit {jobs}",
            PostgresError::CleanNeedsArchive { .. } if given.create => "use a new name, and omit {clean}",
            PostgresError::NoDatabase { .. } if given.swap => {
                "{swap} replaces a database that is there; use {create} for a new one"
            }
            PostgresError::InUse { by, .. } if by.prepared == 0 && self.has_patience => {
                "stop what uses it, or use {terminate_connections}"
            }
            other => return other.hint().as_deref().map(Next::plain),
        };
        Some(Next::new(words))
    }
}

/// What a server refused before or after the restore itself, if that is what failed.
fn problem_of(error: &OpError) -> Option<&PostgresError> {
    match error {
        OpError::Database(problem) => Some(problem),
        OpError::Aftermath { failure, .. } => problem_of(failure),
        _ => None,
    }
}
