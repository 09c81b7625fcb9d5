//! A database that the restore makes: by several workers, and under the name that is wanted only once it is whole.
//!
//! Workers share no transaction, and a program may be killed at any moment. So the database fills under a name of its
//! own.

use super::super::verify::extension_refused;
use super::{DatabasePlan, DatabaseReport, Filled, Restoring, fill};
use crate::base::event::{Event, Observer};
use crate::base::fault::Next;
use crate::base::run::Run;
use crate::engine::OpError;
use crate::engine::app::App;
use crate::engine::restore::swap::fresh_name;
use crate::engine::restore::{Expected, Findings};
use crate::source::postgres::RestoreTarget;
use crate::vault::snapshot::StreamFormat;
use std::sync::Arc;

/// Workers where nobody says how many. The server is what they wait for.
const WORKERS_MIN: usize = 2;
const WORKERS_MAX: usize = 4;

/// Tells of the database by the name that it will have.
struct Shown {
    events: Arc<dyn Observer>,
    beside: String,
    wanted: String,
}

impl Observer for Shown {
    fn observe(&self, event: Event) {
        self.events.observe(match event {
            Event::Warning { message } => {
                Event::Warning { message: message.replace(&self.beside, &self.wanted) }
            }
            event => event,
        });
    }
}

/// Decides by how many workers the database is filled, and whether under a name of its own until it is whole. Only one
/// that this command makes may be filled in many transactions, or under another name.
pub(super) fn decide(plan: &mut DatabasePlan, run: &Run) -> bool {
    let is_made = plan.target.create && !plan.state.exists;
    if !is_made && !plan.job.swap || plan.extract.stream.format != StreamFormat::PgCustom {
        return false;
    }
    // What cannot be taken apart may still be restored as it is.
    if let Err(error) = plan.extract.pick_all(run) {
        tracing::debug!("the archive is restored by one program: {error}");
        plan.job.workers = None;
        return false;
    }
    let cores = std::thread::available_parallelism().map_or(WORKERS_MIN, usize::from);
    plan.job.workers.get_or_insert(cores.clamp(WORKERS_MIN, WORKERS_MAX));
    is_made
}

/// Restores under another name, and gives the database the name that is wanted if every row that is counted is there.
pub(super) fn fill_beside(
    plan: &DatabasePlan,
    expected: Option<Expected>,
    app: &App,
    run: &Run,
    told: &mut dyn FnMut(Restoring<'_>),
    report: &mut DatabaseReport,
) -> Result<(), OpError> {
    let warn = |message: String| run.events.observe(Event::Warning { message });
    let wanted = &plan.target.database;
    let fresh =
        RestoreTarget { database: fresh_name(&plan.target, run.clock.as_ref())?, ..plan.target.clone() };
    let beside = fresh.database.clone();
    let events =
        Arc::new(Shown { events: Arc::clone(&run.events), beside: beside.clone(), wanted: wanted.clone() });
    let own = Run { events, ..run.clone() };
    let outcome = fill(plan, plan.job.workers, &fresh, expected.clone(), app, &own);
    let (database, (stats, findings)) = match outcome.as_ref().err().and_then(extension_refused) {
        Some(extension) => {
            warn(format!(
                "extension `{extension}` refuses the name `{beside}`: restoring as `{wanted}` at once"
            ));
            (wanted, fill(plan, None, &plan.target, expected, app, run)?)
        }
        None => (&beside, outcome?),
    };
    let is_good = findings.as_ref().is_none_or(Findings::is_good);
    let mut filled = Filled { database: database.clone(), kept: None, stats, findings };
    if database != wanted && is_good {
        fresh.take_name(wanted).map_err(|error| {
            warn(format!("`{beside}` holds the complete dump, but could not be named `{wanted}`"));
            let rename = format!("ALTER DATABASE \"{beside}\" RENAME TO \"{wanted}\"");
            let next = Next::plain(&format!("finish it with `{rename}`, or drop `{beside}`"));
            OpError::Hinted { source: Box::new(error.into()), next }
        })?;
        filled.database.clone_from(wanted);
    }
    told(Restoring::Filled(&plan.extract, &filled));
    if database != wanted && !is_good {
        warn(format!("row counts differ from the dump: the database stays `{beside}`, not `{wanted}`"));
    }
    report.filled = Some(filled);
    Ok(())
}
