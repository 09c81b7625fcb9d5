//! A run over a system: snapshots of its sources under one set id, their moments in the order of the plan, and then
//! what the configuration wants.

mod afterwards;
mod hooks;
mod lock;
mod maintenance;
mod sets;
mod together;

pub use afterwards::{Done, Step, StepError, StepOutcome};
pub use lock::RunLock;
pub use maintenance::maintenance;
pub use sets::{SeenSet, SetEnd, list_sets, sets};

use super::OpError;
use super::backup::{BackupReport, class_of, run_one, take_room};
use super::plan::{PlannedMember, SystemPlan};
use crate::base::event::{Event, Observer};
use crate::base::fault::Class;
use crate::base::run::Run;
use crate::base::secret::Entropy;
use crate::engine::app::App;
use crate::vault::format::mark::MarkKind;
use crate::vault::snapshot::{SetId, SetMember};
use crate::vault::writer::Share;
use crate::vault::{RepoError, Repository};
use serde::Serialize;

/// What became of a source.
pub struct MemberOutcome {
    /// Its name.
    pub name: String,
    /// The series of its snapshots.
    pub series: String,
    /// Its failure is one of the run.
    pub required: bool,
    /// How often it was tried.
    pub attempts: u32,
    /// What came of it.
    pub fate: Fate,
}

/// What came of a source.
pub enum Fate {
    /// There is a snapshot; and what failed behind it, if anything did.
    Stored(Box<BackupReport>, Option<OpError>),
    /// There is none.
    Failed(OpError),
    /// It was not read: the source that it needs has none.
    Skipped {
        /// That source.
        needs: String,
    },
}

impl MemberOutcome {
    /// Whether there is a snapshot, all of it, and nothing is wrong with it.
    pub fn is_clean(&self) -> bool {
        matches!(&self.fate, Fate::Stored(report, None) if report.is_clean())
    }

    /// The snapshot.
    pub fn report(&self) -> Option<&BackupReport> {
        match &self.fate {
            Fate::Stored(report, _) => Some(report),
            Fate::Failed(_) | Fate::Skipped { .. } => None,
        }
    }
}

/// What became of a run.
pub struct SystemReport {
    /// The system's name, where it has one.
    pub system: Option<String>,
    /// What all snapshots of the run have in common.
    pub set: SetId,
    /// In the order of the plan. Those that an interruption left out are missing.
    pub members: Vec<MemberOutcome>,
    /// What was done afterwards.
    pub steps: Vec<StepOutcome>,
    /// Somebody asked to stop.
    pub is_interrupted: bool,
}

impl SystemReport {
    /// What it comes to; `None` when all is well.
    pub fn class(&self) -> Option<Class> {
        if self.is_interrupted {
            return Some(Class::Interrupted);
        }
        let classes = self.steps.iter().filter_map(StepOutcome::class);
        let turned_back = |report: &BackupReport| !report.turned_back.is_empty();
        let damage = classes.clone().any(|class| class == Class::Integrity);
        if damage || self.members.iter().filter_map(MemberOutcome::report).any(turned_back) {
            return Some(Class::Integrity);
        }
        let bad = |member: &&MemberOutcome| member.required && !member.is_clean();
        if self.members.iter().any(|member| member.report().is_some()) {
            let all_is_well = !self.members.iter().any(|member| bad(&member)) && classes.count() == 0;
            return (!all_is_well).then_some(Class::Partial);
        }
        // Of one mind: a conflict, say, goes away by itself.
        let mut failures = self.members.iter().filter_map(|member| match &member.fate {
            Fate::Failed(error) => Some(class_of(error)),
            Fate::Stored(..) | Fate::Skipped { .. } => None,
        });
        let first = failures.next().unwrap_or(Class::NothingDone);
        Some(if failures.all(|other| other == first) { first } else { Class::NothingDone })
    }
}

/// The repositories of a run.
#[derive(Clone, Copy)]
pub struct Vaults<'a> {
    /// For backups.
    pub repo: &'a Repository,
    /// For what takes a full key: past any cache, and with that key.
    pub maintenance: Option<&'a Repository>,
    /// How others are opened.
    pub app: &'a App,
}

/// Something has ended.
pub enum Ended<'a> {
    /// A source.
    Member(&'a MemberOutcome),
    /// A step afterwards.
    Step(&'a StepOutcome),
}

/// Draws what all snapshots of a run have in common.
///
/// # Errors
/// When there is no randomness.
pub fn new_set(entropy: &dyn Entropy) -> Result<SetId, OpError> {
    let mut set = SetId([0; 16]);
    entropy.fill(&mut set.0).map_err(RepoError::from)?;
    Ok(set)
}

/// Carries out a plan. What fails is in the report; `each` is told of every source and step as it ends.
pub fn run_system(
    plan: SystemPlan,
    set: SetId,
    vaults: Vaults<'_>,
    run: &Run,
    each: &mut dyn FnMut(Ended<'_>),
) -> SystemReport {
    let SystemPlan { name, members, at_once, afterwards } = plan;
    let place = Place { set, system: name.as_deref(), repo: vaults.repo };
    let members = together::all(members, at_once, place, run, each);
    let was_cancelled =
        |member: &MemberOutcome| matches!(&member.fate, Fate::Failed(error) if error.is_cancelled());
    let is_interrupted = run.cancel.is_cancelled() || members.iter().any(was_cancelled);
    let mut report = SystemReport { system: name, set, members, steps: Vec::new(), is_interrupted };
    if report.is_interrupted {
        return report;
    }
    report.steps = afterwards::run(&afterwards, &report, vaults, run, each);
    report.is_interrupted = run.cancel.is_cancelled();
    if !report.is_interrupted {
        end(&report, vaults, run);
    }
    report
}

/// Where snapshots of a run belong.
#[derive(Clone, Copy)]
struct Place<'a> {
    set: SetId,
    system: Option<&'a str>,
    repo: &'a Repository,
}

/// Makes the snapshot of a source, with what runs around it. `begins` is called before each attempt, and told whether
/// another may follow.
fn member(
    planned: PlannedMember,
    share: Share,
    place: Place<'_>,
    run: &Run,
    begins: &dyn Fn(bool),
) -> MemberOutcome {
    let PlannedMember { name, series, required, hooks, programs, attempts: planned, .. } = planned;
    let around = hooks::Hook { source: &name, system: place.system, programs: &programs };
    let mut attempts = 0;
    // Before any hook: an application is not stopped while others use the room.
    let room = match planned.first().map(|first| take_room(first, share, run)).transpose() {
        Ok(room) => room,
        Err(error) => {
            return MemberOutcome { name, series, required, attempts, fate: Fate::Failed(error) };
        }
    };
    let mut last = match around.run("before", hooks.before.as_deref(), run) {
        Ok(()) => None,
        Err(error) => Some(Err(error)),
    };
    if last.is_none() {
        let mut planned = planned.into_iter().peekable();
        while let Some(mut backup) = planned.next() {
            attempts += 1;
            let system = place.system.map(str::to_owned);
            backup.request.set = Some(SetMember { set: place.set, system, role: name.clone() });
            if let Some(Err(error)) = &last {
                let message = format!("{name}: {error}; trying again");
                run.events.observe(Event::Warning { message });
            }
            begins(planned.peek().is_some());
            let Some(room) = &room else { break };
            let result = run_one(backup, share, room, place.repo, run);
            let helps = |error: &OpError| may_pass(class_of(error)) && !run.cancel.is_cancelled();
            let again = result.as_ref().is_err_and(helps);
            last = Some(result);
            if !again {
                break;
            }
        }
    }
    drop(room);
    let fate = match last {
        Some(Ok(report)) => {
            let behind = around.run("after", hooks.after.as_deref(), run).err();
            Fate::Stored(Box::new(report), behind)
        }
        Some(Err(error)) => {
            if let Err(also) = around.run("after_failure", hooks.after_failure.as_deref(), run) {
                run.events.observe(Event::Warning { message: also.to_string() });
            }
            Fate::Failed(error)
        }
        None => Fate::Failed(RepoError::Cancelled.into()),
    };
    MemberOutcome { name, series, required, attempts, fate }
}

/// Whether a failure may be gone the next time.
fn may_pass(class: Class) -> bool {
    matches!(class, Class::NothingDone | Class::Conflict | Class::Target)
}

/// A line of what the *set ended* mark says.
#[derive(Serialize)]
#[serde(untagged)]
enum Line<'a> {
    Set { set: String, system: Option<&'a str>, ok: bool },
    Member { source: &'a str, snapshot: Option<String>, moment_ms: Option<i64>, error: Option<String> },
}

/// Leaves a mark that the run came to its end, with what became of each source. It speaks of the run's first snapshot.
fn end(report: &SystemReport, vaults: Vaults<'_>, run: &Run) {
    let Some(first) = report.members.iter().find_map(MemberOutcome::report) else { return };
    let ok = report.class().is_none();
    let head = Line::Set { set: report.set.to_string(), system: report.system.as_deref(), ok };
    let members = report.members.iter().map(|member| {
        let summary = member.report().map(|report| &report.committed.summary);
        Line::Member {
            source: &member.name,
            snapshot: summary.map(|summary| summary.id.to_string()),
            moment_ms: summary.map(|summary| summary.head.time_ms),
            error: match &member.fate {
                Fate::Stored(_, behind) => behind.as_ref().map(ToString::to_string),
                Fate::Failed(error) => Some(error.to_string()),
                Fate::Skipped { needs } => Some(format!("skipped: `{needs}` has no snapshot")),
            },
        }
    });
    let lines: Vec<String> =
        std::iter::once(head).chain(members).filter_map(|line| serde_json::to_string(&line).ok()).collect();
    let id = first.committed.summary.id;
    let (host, now_ms) = (vaults.app.host(), run.clock.now().as_millisecond());
    if let Err(error) = vaults.repo.marks().mark_snapshot(
        &id,
        MarkKind::SetEnded,
        Some(Some(lines.join("\n"))),
        &host,
        now_ms,
    ) {
        let message = format!("cannot note that the run has ended: {error}");
        run.events.observe(Event::Warning { message });
    }
}
