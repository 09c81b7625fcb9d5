//! A database that the restore makes: by several workers, and under the name that is wanted only once it is whole.
//!
//! Workers share no transaction, and a program may be killed at any moment. So the database fills under a name of its own.

use super::fill::fill;
use super::parts::{self, Picked};
use super::swap::stamp;
use super::{Work, done};
use crate::cli::args::RestoreArgs;
use crate::cli::exit::Exit;
use crate::cli::report::CliError;
use crate::content::pg::Selection;
use crate::engine::OpError;
use crate::engine::restore::{Expected, extension_refused};
use crate::source::postgres::{RestoreTarget, TargetState, name_beside};
use crate::vault::snapshot::StreamFormat;

/// Workers where nobody says how many. The server is what they wait for.
const WORKERS_MIN: usize = 2;
const WORKERS_MAX: usize = 4;

/// How a database is filled.
#[derive(Default)]
pub(super) struct Making {
    /// All of the dump, where nothing was picked before and it is restored by workers.
    pub picked: Option<Picked>,
    /// Nothing: by one program, which takes the stream as it is.
    pub workers: Option<usize>,
    /// Under a name of its own until it is whole.
    pub is_beside: bool,
}

/// Decides it. Only a database that this command makes may be filled in many transactions, or under another name.
pub(super) fn plan(
    work: &Work<'_>,
    args: &RestoreArgs,
    target: &RestoreTarget,
    state: &TargetState,
) -> Making {
    let named = args.jobs.map(usize::from);
    let is_made = target.create && !state.exists;
    if !is_made && !args.swap || work.stream.format != StreamFormat::PgCustom {
        return Making { workers: named, ..Making::default() };
    }
    let picked = match work.picked {
        Some(_) => None,
        // What cannot be taken apart may still be restored as it is.
        None => match parts::pick(work.context, work.chosen, work.stream, Selection::default()) {
            Ok(picked) => Some(picked),
            Err(error) => {
                tracing::debug!("the archive is restored by one program: {error}");
                return Making::default();
            }
        },
    };
    let usual = work.context.cores().clamp(WORKERS_MIN, WORKERS_MAX);
    Making { picked, workers: Some(named.unwrap_or(usual)), is_beside: is_made }
}

/// Restores under another name, and gives the database the name of `target` if every row that is counted is there.
pub(super) fn run(
    work: &Work<'_>,
    target: &RestoreTarget,
    workers: Option<usize>,
    expected: Option<Expected>,
) -> Result<Exit, CliError> {
    let context = work.context;
    let wanted = &target.database;
    let beside = name_beside(wanted, &format!("_new_{}", stamp(context)));
    let fresh = RestoreTarget { database: beside.clone(), ..target.clone() };
    let filled = fill(work, workers, &fresh, expected.clone());
    if let Some(extension) = filled.as_ref().err().and_then(extension_refused) {
        let message =
            format!("extension `{extension}` refuses the name `{beside}`: restoring as `{wanted}` at once");
        context.warn(message);
        let (stats, findings) = fill(work, None, target, expected)?;
        return Ok(done(work, &format!("database `{wanted}`"), stats, findings.as_ref()));
    }
    let (stats, findings) = filled?;
    if findings.as_ref().is_some_and(|findings| !findings.is_good()) {
        let exit = done(work, &format!("database `{beside}`"), stats, findings.as_ref());
        context
            .warn(format!("row counts differ from the dump: the database stays `{beside}`, not `{wanted}`"));
        return Ok(exit);
    }
    fresh.take_name(wanted).map_err(|error| {
        let rename = format!("ALTER DATABASE \"{beside}\" RENAME TO \"{wanted}\"");
        context.warn(format!("`{beside}` holds the complete dump, but could not be named `{wanted}`"));
        CliError::Hinted {
            error: Box::new(OpError::from(error).into()),
            hint: Some(format!("finish it with `{rename}`, or drop `{beside}`")),
        }
    })?;
    Ok(done(work, &format!("database `{wanted}`"), stats, findings.as_ref()))
}
