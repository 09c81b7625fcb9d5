//! What a run over a system is to do: its sources in their order, and what comes afterwards.

use super::backup::{BackupJob, PlannedBackup, Wanted, plan_backup};
use super::copy::{CopyJob, PlannedCopy, plan_copy};
use super::{Programs, refused};
use crate::base::fault::Next;
use crate::base::name::nearest;
use crate::base::run::Run;
use crate::base::unit::Age;
use crate::engine::OpError;
use crate::engine::app::App;
use crate::engine::forget::Policies;
use crate::settings::{Hooks, System};
use crate::source::postgres::DumpFilter;
use crate::source::surroundings::Surroundings;

/// What somebody asks to run.
#[derive(Debug, Clone, Default)]
pub struct SystemJob {
    /// The system's name. Without one the only system, or where none is configured, every source.
    pub name: Option<String>,
}

/// A run over a system.
pub struct SystemPlan {
    /// The system's name, where it has one.
    pub name: Option<String>,
    /// Its sources, in the order in which they are read.
    pub members: Vec<PlannedMember>,
    /// How many of them are read at the same time.
    pub at_once: usize,
    /// What is done afterwards.
    pub afterwards: Afterwards,
}

/// A source of a system.
pub struct PlannedMember {
    /// Its name.
    pub name: String,
    /// The series of its snapshots.
    pub series: String,
    /// Host that they belong to.
    pub host: String,
    /// The same backup as often as it may be tried.
    pub attempts: Vec<PlannedBackup>,
    /// Its failure is one of the run.
    pub required: bool,
    /// Sources without which it is not read.
    pub needs: Vec<String>,
    /// What runs around it.
    pub hooks: Hooks,
    /// What that finds around it.
    pub programs: Surroundings,
}

/// What a run does behind its backups.
#[derive(Default)]
pub struct Afterwards {
    /// Let go of snapshots of the sources that were stored, by these rules.
    pub forget: Option<Policies>,
    /// Prune when the last time is so long ago.
    pub prune: Option<Age>,
    /// Check so much of the packs.
    pub check: Option<f64>,
    /// Copies to make.
    pub copies: Vec<PlannedCopy>,
}

impl Afterwards {
    /// Whether an append key is not enough.
    pub fn needs_full_key(&self) -> bool {
        self.forget.is_some() || self.prune.is_some() || self.check.is_some()
    }
}

/// Says what a job comes to. Nothing is started, and no server is asked.
///
/// # Errors
/// When there is no such system, or something in the settings of one of its sources makes no sense.
pub fn plan_system(job: &SystemJob, app: &App, run: &Run) -> Result<SystemPlan, OpError> {
    let (name, system) = chosen(job, app)?;
    let mut members: Vec<PlannedMember> = Vec::with_capacity(system.sources.len());
    for source in &system.sources {
        let member = member(source, app, run)?;
        if let Some(missing) =
            member.needs.iter().find(|needed| !members.iter().any(|other| other.name == **needed))
        {
            let next = format!("put `{missing}` before `{source}` in `sources`, or take it out of `needs`");
            let message = format!("source `{source}` needs `{missing}`, which does not come before it");
            return Err(refused(message, Next::plain(&next)));
        }
        if let Some(twin) = members.iter().find(|other| other.series == member.series) {
            let message =
                format!("sources `{}` and `{source}` have one series, `{}`", twin.name, twin.series);
            return Err(refused(message, Next::new("give each a `series` of its own")));
        }
        members.push(member);
    }
    let afterwards = afterwards(&system, app, run)?;
    let at_once = usize::try_from(system.parallel).unwrap_or(usize::MAX);
    Ok(SystemPlan { name, members, at_once, afterwards })
}

/// How many sources are read at the same time where no table says it.
const AT_ONCE_DEFAULT: u32 = 2;

/// The system that is meant: also one that nobody configured, of all sources.
fn chosen(job: &SystemJob, app: &App) -> Result<(Option<String>, System), OpError> {
    let known = &app.settings.systems;
    let names: Vec<&str> = known.keys().map(String::as_str).collect();
    match (&job.name, names.as_slice()) {
        (Some(name), _) => match known.get(name) {
            Some(system) => Ok((Some(name.clone()), system.clone())),
            None => {
                let next = match (nearest(name, names.iter().copied()), names.is_empty()) {
                    (Some(near), _) => format!("did you mean `{near}`?"),
                    (None, true) => format!("add [system.{name}] with `sources = […]` to the configuration"),
                    (None, false) => format!("the configuration has: {}", names.join(", ")),
                };
                Err(refused(format!("unknown system `{name}`"), Next::plain(&next)))
            }
        },
        (None, [only]) => {
            let system = known.get(*only).cloned();
            system.map(|system| (Some((*only).to_owned()), system)).ok_or_else(none_configured)
        }
        (None, []) if !app.settings.sources.is_empty() => {
            let sources = app.settings.sources.keys().cloned().collect();
            let system = System {
                sources,
                parallel: AT_ONCE_DEFAULT,
                forget: false,
                prune: None,
                check: None,
                copy: Vec::new(),
                retention: None,
            };
            Ok((None, system))
        }
        (None, []) => Err(none_configured()),
        (None, several) => Err(refused(
            "several systems are configured",
            Next::plain(&format!("name one of {}", several.join(", "))),
        )),
    }
}

fn none_configured() -> OpError {
    refused("no sources are configured", Next::new("add [source.NAME] to the configuration"))
}

fn member(name: &str, app: &App, run: &Run) -> Result<PlannedMember, OpError> {
    let Some(settings) = app.settings.sources.get(name) else { return Err(none_configured()) };
    let job = || {
        let sources = vec![name.to_owned()];
        BackupJob::new(Wanted::Named { sources, filter: DumpFilter::default() })
    };
    let mut attempts = Vec::new();
    for _ in 0..=settings.retries {
        attempts.extend(plan_backup(&job(), app, run)?.backups);
    }
    let Some(first) = attempts.first() else { return Err(none_configured()) };
    let programs = Programs::of(app).surroundings_of(name, &settings.programs, run.events.as_ref())?;
    Ok(PlannedMember {
        name: name.to_owned(),
        series: first.request.series.clone(),
        host: first.request.host.clone(),
        attempts,
        required: settings.required,
        needs: settings.needs.clone(),
        hooks: settings.hooks.clone(),
        programs,
    })
}

fn afterwards(system: &System, app: &App, run: &Run) -> Result<Afterwards, OpError> {
    let (default, by_series) = app.settings.retention();
    let policies = Policies { default, by_series, by_system: app.settings.retention_of_systems() };
    if system.forget && policies.are_empty() {
        let next = "add [retention] with `keep_daily = 7` or the like, or take `forget` out";
        return Err(refused("`forget = true`, and no rule says what is kept", Next::new(next)));
    }
    let mut copies = Vec::new();
    for to in &system.copy {
        let job = CopyJob { to: Some(to.clone()), ..CopyJob::default() };
        copies.extend(plan_copy(&job, app, run)?.copies);
    }
    Ok(Afterwards {
        forget: system.forget.then_some(policies),
        prune: system.prune,
        check: system.check,
        copies,
    })
}
