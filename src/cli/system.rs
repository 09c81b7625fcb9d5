//! `dumpvault run`: how a run over a system is started, and what is shown of it then and later.

use super::args::RunArgs;
use super::backup::{summary_line, tell_failure};
use super::exit::Exit;
use super::report::{CliError, shown};
use super::table::Table;
use super::{Context, prompt, render};
use crate::base::fault::Next;
use crate::base::numbers::State;
use crate::engine::plan::{SystemJob, SystemPlan, plan_system};
use crate::engine::report::{Sets, SystemRun, SystemRunPlan};
use crate::engine::system::{
    Ended, Fate, MemberOutcome, RunLock, SeenSet, StepOutcome, SystemReport, Vaults, list_sets, maintenance,
    new_set, run_system,
};

pub(super) fn run(context: &Context, args: &RunArgs) -> Result<Exit, CliError> {
    let job = context.run();
    let plan = plan_system(&SystemJob { name: args.system.clone() }, &context.app, &job)?;
    let repo = context.repository()?;
    let ask = || prompt::ask("passphrase of the repository: ");
    let maintenance = maintenance(&plan, &repo, &context.app, &ask, &job)?;
    if args.dry_run {
        return Ok(dry_run(context, &plan));
    }
    let state = context.app.environment.state_root();
    // Held until the end of the run.
    let _lock = RunLock::take(&state, repo.id(), plan.name.as_deref(), context.progress.as_ref())?;
    context.app.remove_old_leftovers();
    let set = new_set(context.app.entropy())?;
    let vaults = Vaults { repo: &repo, maintenance: maintenance.as_ref(), app: &context.app };
    let report = run_system(plan, set, vaults, &job, &mut |ended| match ended {
        Ended::Member(member) => {
            remember(context, member);
            tell_member(context, member);
        }
        Ended::Step(step) => tell_step(context, step),
    });
    let exit = report.class().map_or(Exit::Good, Exit::from);
    if context.json {
        context.report(SystemRun::new(&report, context.app.requests().as_ref(), &shown));
    } else {
        conclude(context, &report);
    }
    Ok(exit)
}

/// Says what a run would do: its sources in their order, then its steps.
fn dry_run(context: &Context, plan: &SystemPlan) -> Exit {
    if context.json {
        context.report(SystemRunPlan::new(plan));
        return Exit::Good;
    }
    for (at, member) in plan.members.iter().enumerate() {
        let mut more = Vec::new();
        if !member.needs.is_empty() {
            more.push(format!("needs {}", member.needs.join(", ")));
        }
        if !member.required {
            more.push("not required".to_owned());
        }
        if member.attempts.len() > 1 {
            more.push(format!("up to {} attempts", member.attempts.len()));
        }
        let hooks = [
            ("before", &member.hooks.before),
            ("after", &member.hooks.after),
            ("after_failure", &member.hooks.after_failure),
        ];
        more.extend(hooks.iter().filter_map(|(name, hook)| Some(format!("{name}: {}", hook.as_ref()?))));
        let more = if more.is_empty() { String::new() } else { format!(" ({})", more.join("; ")) };
        let series = format!("{}/{}", member.host, member.series);
        context.output(&format!("{}. back up `{}` into series `{series}`{more}", at + 1, member.name));
    }
    let steps = SystemRunPlan::new(plan).steps;
    for (at, step) in steps.iter().enumerate() {
        let to = step.to.as_ref().map(|to| format!(" to {to}")).unwrap_or_default();
        context.output(&format!("{}. {}{to}", plan.members.len() + at + 1, step.step));
    }
    Exit::Good
}

/// For the history.
fn remember(context: &Context, member: &MemberOutcome) {
    let failed = |why: String| context.memoir.failed(&member.name, &member.series, &context.app.host(), why);
    match &member.fate {
        Fate::Stored(report, _) => context.memoir.stored(&member.name, report),
        Fate::Failed(error) => failed(error.to_string()),
        Fate::Skipped { needs } => failed(format!("skipped: `{needs}`, which it needs, has no snapshot")),
    }
}

fn tell_member(context: &Context, member: &MemberOutcome) {
    match &member.fate {
        Fate::Stored(report, behind) => {
            context.say(&summary_line(report));
            if let Some(error) = behind {
                tell_failure(context, &member.name, error);
            }
        }
        Fate::Failed(error) if error.is_cancelled() => {}
        Fate::Failed(error) if member.required => tell_failure(context, &member.name, error),
        Fate::Failed(error) => context.warn(format!("{}: {error} (not required)", member.name)),
        Fate::Skipped { needs } => {
            context.warn(format!("{}: skipped: `{needs}`, which it needs, has no snapshot", member.name));
        }
    }
}

fn tell_step(context: &Context, outcome: &StepOutcome) {
    let step = match &outcome.to {
        Some(to) => format!("{} to {to}", outcome.step.word()),
        None => outcome.step.word().to_owned(),
    };
    match &outcome.result {
        Ok(done) => context.say(&format!("{step}: {}", done.words)),
        Err(error) => {
            let hint = error.next().map(|next: Next| shown(next));
            let failed = CliError::Told {
                message: format!("{step}: {error}"),
                hint,
                code: Some(error.code()),
                kind: None,
                exit: error.class().into(),
            };
            context.fail(&failed, false);
        }
    }
}

/// The last line: how many of all were stored, and which were not.
fn conclude(context: &Context, report: &SystemReport) {
    let stored = report.members.iter().filter(|member| member.report().is_some()).count();
    let name =
        report.system.as_ref().map_or_else(|| "all sources".to_owned(), |name| format!("system `{name}`"));
    let all = render::count(report.members.len(), "source");
    let missing: Vec<&str> = report
        .members
        .iter()
        .filter(|member| member.report().is_none())
        .map(|member| member.name.as_str())
        .collect();
    let missing = match missing.as_slice() {
        [] => String::new(),
        names => format!("; no snapshot of {}", names.join(", ")),
    };
    let set = report.set.to_string();
    let set = set.get(..8).unwrap_or_default();
    context.say(&format!("{name}: {stored} of {all} stored{missing}; set {set}"));
}

/// `dumpvault snapshots --sets`
pub(super) fn list(context: &Context) -> Result<Exit, CliError> {
    let seen = list_sets(&context.repository()?, &context.app, &context.run())?;
    if context.json {
        context.report(Sets::new(&seen));
        return Ok(Exit::Good);
    }
    if seen.is_empty() {
        context.say("no runs of `dumpvault run`");
        return Ok(Exit::Good);
    }
    let zone = &context.app.settings.calendar.zone;
    let row = |set: &SeenSet| {
        let members = set.members.iter().map(|(source, summary)| match summary.head.state {
            State::Complete => source.clone(),
            other => format!("{source} ({})", other.word()),
        });
        let missing = set.end.iter().flat_map(|end| &end.missing);
        let missing = missing.map(|(source, _)| format!("{source} (no snapshot)"));
        let id = set.set.to_string();
        vec![
            id.get(..8).unwrap_or_default().to_owned(),
            render::time(set.time_ms(), zone),
            set.system.clone().unwrap_or_else(|| "-".to_owned()),
            set.state().to_owned(),
            members.chain(missing).collect::<Vec<_>>().join(", "),
        ]
    };
    let rows: Vec<Vec<String>> = seen.iter().map(row).collect();
    let titles = ["SET", "TIME", "SYSTEM", "STATE", "SOURCES"];
    context.table(&Table { fixed: &[0, 1], ..Table::new(&titles, &[], &rows) });
    Ok(Exit::Good)
}
