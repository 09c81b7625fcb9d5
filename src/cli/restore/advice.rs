//! Hints of a restore: they name no option that was given already.

use crate::cli::args::RestoreArgs;
use crate::cli::report::CliError;
use crate::engine::OpError;
use crate::source::postgres::{Doing, Given, PostgresError};

/// The error with the hint that fits the options.
pub(super) fn hinted(error: CliError, args: &RestoreArgs) -> CliError {
    let hint = match &error {
        // What the engine says goes before.
        CliError::Op(OpError::Hinted { .. }) => return error,
        // Settings as options.
        CliError::Op(OpError::Hook { when, command, source }) if !error.is_cancelled() => {
            let option = when.word().replace('_', "-");
            return CliError::Told {
                message: format!("--{option} `{command}`: {source}"),
                hint: error.hint(),
                code: error.code(),
                kind: None,
                exit: error.exit(),
            };
        }
        CliError::Op(operation) => match (operation.failure(), problem_of(operation)) {
            (Some(failure), _) => failure.hint(Doing::Restore(given(args))).map(str::to_owned),
            (None, Some(problem)) => database_hint(problem, args),
            (None, None) => return error,
        },
        _ => return error,
    };
    CliError::Hinted { error: Box::new(error), hint }
}

fn given(args: &RestoreArgs) -> Given {
    let parts = &args.parts;
    Given {
        create: args.create,
        swap: args.swap,
        clean: args.clean,
        selection: !parts.table.is_empty() || !parts.schema.is_empty() || !parts.exclude_table.is_empty(),
        bare: parts.bare,
        no_owner: args.no_owner,
        no_privileges: args.no_privileges,
        no_tablespaces: args.no_tablespaces,
    }
}

fn database_hint(problem: &PostgresError, args: &RestoreArgs) -> Option<String> {
    let is_whole = given(args) == Given { selection: false, bare: false, ..given(args) };
    let words = match problem {
        // Only what is given beside --create makes such a database be met.
        PostgresError::NotEmpty { .. } if args.create && is_whole => "use a new name, or --clean, or --swap",
        PostgresError::NotEmpty { .. } if args.create => "use a new name",
        PostgresError::PartsNeedEmpty { .. } if args.create => "use a new name, or omit --jobs",
        PostgresError::CleanNeedsArchive { .. } if args.create => "use a new name, and omit --clean",
        PostgresError::NoDatabase { .. } if args.swap => {
            "--swap replaces a database that is there; use --create for a new one"
        }
        PostgresError::InUse { by, .. } if by.prepared == 0 && args.swap_timeout.is_some() => {
            "stop what uses it, or use --terminate-connections"
        }
        other => return other.hint(),
    };
    Some(words.to_owned())
}

/// What a server refused before or after the restore itself, if that is what failed.
fn problem_of(error: &OpError) -> Option<&PostgresError> {
    match error {
        OpError::Database(problem) => Some(problem),
        OpError::Aftermath { failure, .. } => problem_of(failure),
        _ => None,
    }
}
