//! Restoring into a database: the hooks, the rows and their count, and the swap.

mod hooks;
mod made;
mod plan;

pub use hooks::When;
pub use plan::{Count, DatabaseJob, DatabasePlan, Effect, plan_database};

use super::extract::{Extract, Picked};
use super::swap::{fresh_name, kept_name, not_swapped};
use super::{Expected, Findings, Jobs, Target};
use crate::base::event::Event;
use crate::base::fault::{Class, Fault};
use crate::base::run::Run;
use crate::base::words;
use crate::engine::OpError;
use crate::engine::app::App;
use crate::engine::plan::Programs;
use crate::source::postgres::{BrokenKey, InTheWay, RestoreTarget};
use crate::vault::reader::ReadStats;
use hooks::Around;
use std::time::Duration;

/// How long a rename is waited for at the end where nothing else is said: nobody was connected at the beginning.
const PATIENCE_DEFAULT: Duration = Duration::from_secs(60);

/// A database that was filled.
pub struct Filled {
    /// The database that holds the dump.
    pub database: String,
    /// What the one is called now whose place it took.
    pub kept: Option<String>,
    /// What was read.
    pub stats: ReadStats,
    /// What was counted.
    pub findings: Option<Findings>,
}

/// What is told while a restore is under way.
pub enum Restoring<'a> {
    /// These use the database, and will be waited for.
    WaitsFor(&'a InTheWay),
    /// The database is filled with this, and counted.
    Filled(&'a Extract, &'a Filled),
}

/// What became of a restore into a database.
#[derive(Default)]
pub struct DatabaseReport {
    /// What was restored, if something was.
    pub filled: Option<Filled>,
    /// Foreign keys hold, as far as they could be checked that were off meanwhile.
    pub keys_broken: bool,
    /// What failed.
    pub failure: Option<OpError>,
}

impl DatabaseReport {
    /// What it comes to; `None` when all of it is there.
    pub fn class(&self) -> Option<Class> {
        let findings = self.filled.iter().find_map(|filled| filled.findings.as_ref());
        match &self.failure {
            Some(error) => Some(error.class()),
            None if self.keys_broken || findings.is_some_and(|findings| !findings.is_good()) => {
                Some(Class::Integrity)
            }
            None => None,
        }
    }
}

/// Carries out a plan: nobody is asked any more.
pub fn run_database(
    plan: DatabasePlan,
    app: &App,
    run: &Run,
    told: &mut dyn FnMut(Restoring<'_>),
) -> DatabaseReport {
    let mut report = DatabaseReport::default();
    if let Err(error) = around(plan, app, run, told, &mut report) {
        report.failure = Some(error);
    }
    report
}

/// The restore and the commands around it.
fn around(
    mut plan: DatabasePlan,
    app: &App,
    run: &Run,
    told: &mut dyn FnMut(Restoring<'_>),
    report: &mut DatabaseReport,
) -> Result<(), OpError> {
    if let Some(refusal) = plan.refusal.take() {
        return Err(refusal);
    }
    let is_beside = made::decide(&mut plan, run);
    // Also known before anything is touched.
    let expected = expected(&plan, run)?;
    let hooks = plan.hooks.clone();
    let database = plan.target.database.clone();
    let snapshot = plan.extract.chosen.summary.clone();
    let programs = Programs::of(app).surroundings();
    let hooks = Around { hooks: &hooks, database: &database, snapshot: &snapshot, programs };
    hooks.run(When::Before, run)?;
    let outcome = match plan.job.swap {
        true => swap(&plan, expected, app, run, told, report),
        false if is_beside => made::fill_beside(&plan, expected, app, run, told, report),
        false => fill_in_place(&plan, expected, app, run, told, report),
    };
    let is_good = outcome.is_ok() && report.class().is_none();
    let after = if is_good { When::After } else { When::AfterFailure };
    match (outcome, hooks.run(after, run)) {
        // What went wrong first is what to tell.
        (Err(error), Err(after)) => {
            run.events.observe(Event::Warning { message: after.to_string() });
            Err(error)
        }
        (Err(error), Ok(())) | (Ok(()), Err(error)) => Err(error),
        (Ok(()), Ok(())) => Ok(()),
    }
}

fn fill_in_place(
    plan: &DatabasePlan,
    expected: Option<Expected>,
    app: &App,
    run: &Run,
    told: &mut dyn FnMut(Restoring<'_>),
    report: &mut DatabaseReport,
) -> Result<(), OpError> {
    let (stats, findings) = fill(plan, plan.job.workers, &plan.target, expected, app, run)?;
    let filled = Filled { database: plan.target.database.clone(), kept: None, stats, findings };
    told(Restoring::Filled(&plan.extract, &filled));
    report.filled = Some(filled);
    report.keys_broken = plan.target.disable_triggers && !keys_hold(&plan.target, &plan.loaded, run)?;
    Ok(())
}

/// Restores beside the database, and renames both once the new one is whole.
fn swap(
    plan: &DatabasePlan,
    expected: Option<Expected>,
    app: &App,
    run: &Run,
    told: &mut dyn FnMut(Restoring<'_>),
    report: &mut DatabaseReport,
) -> Result<(), OpError> {
    let (live, manners) = (&plan.target, plan.job.manners);
    if plan.hooks.before.is_some()
        && let Some(in_the_way) = manners.look(live)?
    {
        told(Restoring::WaitsFor(&in_the_way));
    }
    let clock = run.clock.as_ref();
    let kept = kept_name(live, clock)?;
    let fresh = RestoreTarget {
        database: fresh_name(live, clock)?,
        create: true,
        clean: false,
        terminate: false,
        like: Some(live.database.clone()),
        ..live.clone()
    };
    let (stats, findings) = fill(plan, plan.job.workers, &fresh, expected, app, run)?;
    let is_good = findings.as_ref().is_none_or(Findings::is_good);
    let mut filled = Filled { database: fresh.database.clone(), kept: None, stats, findings };
    let warn = |message: String| run.events.observe(Event::Warning { message });
    if !is_good {
        told(Restoring::Filled(&plan.extract, &filled));
        report.filled = Some(filled);
        fresh.drop_database()?;
        warn(format!(
            "row counts differ from the dump; `{}` is unchanged, the new database was dropped",
            live.database
        ));
        return Ok(());
    }
    let patience = manners.patience.unwrap_or(PATIENCE_DEFAULT);
    if let Err(error) = fresh.take_place_of(&live.database, &kept, manners.terminate, patience) {
        // Safe to ignore: the mark only helps a later run to find what is named here.
        let _ = fresh.mark_waiting();
        // Told at once: an interrupted program says nothing more than that.
        warn(format!(
            "`{}` holds the complete dump, but could not replace `{}`",
            fresh.database, live.database
        ));
        return Err(not_swapped(&fresh, live, plan.job.exec.as_deref(), error.into()));
    }
    (filled.database, filled.kept) = (live.database.clone(), Some(kept));
    told(Restoring::Filled(&plan.extract, &filled));
    report.filled = Some(filled);
    Ok(())
}

/// Restores, by so many workers where a number is given, and counts what came.
fn fill(
    plan: &DatabasePlan,
    workers: Option<usize>,
    target: &RestoreTarget,
    expected: Option<Expected>,
    app: &App,
    run: &Run,
) -> Result<(ReadStats, Option<Findings>), OpError> {
    let Extract { chosen, stream, picked, .. } = &plan.extract;
    let stats = match (workers, picked) {
        (Some(workers), Some(Picked { archive, part })) => {
            let scratch = app.environment.temporary();
            let jobs =
                Jobs { workers, scratch: &scratch, observer: run.events.as_ref(), cancel: &run.cancel };
            chosen.restore_jobs(stream, archive, &part.entries, target, &jobs)?
        }
        _ => plan.extract.send(Target::Database(Box::new(target.clone())), run)?,
    };
    let cores = || std::thread::available_parallelism().map_or(2, usize::from);
    let connections = workers.unwrap_or_else(cores);
    let findings = expected.map(|expected| expected.compare(target, connections)).transpose()?;
    Ok((stats, findings))
}

/// What the database must hold afterwards. Rows that are added to tables in use prove little, and are only counted when
/// asked for.
fn expected(plan: &DatabasePlan, run: &Run) -> Result<Option<Expected>, OpError> {
    let Extract { chosen, stream, picked, .. } = &plan.extract;
    let adds_rows = plan.extract.is_rows_alone();
    let count = plan.job.count;
    if count == Count::Never || plan.extract.is_schema_alone() || (adds_rows && count != Count::Always) {
        return Ok(None);
    }
    let expected = match picked {
        Some(Picked { archive, part }) => Some(archive.expected_of(part)),
        None => chosen.expected(stream, run.events.as_ref(), &run.cancel)?,
    };
    if expected.is_none() && count == Count::Always {
        let message = "nothing is known of this dump's tables: their rows cannot be compared".to_owned();
        run.events.observe(Event::Warning { message });
    }
    Ok(expected.map(|expected| if adds_rows { expected.beside_others() } else { expected }))
}

/// Says what rows the foreign keys forbid that were loaded while their triggers were off.
fn keys_hold(target: &RestoreTarget, tables: &[(String, String)], run: &Run) -> Result<bool, OpError> {
    let broken = target.broken_keys(tables)?;
    for BrokenKey { table, name, rows } in &broken {
        let message = match rows {
            Some(rows) => format!(
                "foreign key {name} does not hold: {} of {table} without the row that is referenced",
                words::count(*rows, "row")
            ),
            None => format!("foreign key {name} of {table} could not be checked"),
        };
        run.events.observe(Event::Warning { message });
    }
    Ok(broken.iter().all(|key| key.rows.is_none()))
}
