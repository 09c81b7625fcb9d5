//! `dumpvault restore --set`: a whole system, by the very commands that a person would give one after another.

use crate::cli::args::{Cli, Command, RestoreArgs};
use crate::cli::exit::Exit;
use crate::cli::report::CliError;
use crate::cli::{Context, render};
use crate::engine::OpError;
use crate::engine::plan::{SetJob, SetPlan, SetStep, plan_set};
use crate::engine::report::{RestoredSet, SetStepStatus};
use crate::engine::restore::{Journal, quoted};
use clap::Parser;
use std::ffi::OsString;

pub(super) fn run(context: &Context, args: &RestoreArgs, set: &str) -> Result<Exit, CliError> {
    let job = job(context, args, set)?;
    let repo = context.repository()?;
    let (mut catalog, history) = repo.told(&context.progress)?;
    let mut body = |id: &_| repo.body(&mut catalog, id).map_err(OpError::from);
    let plan = plan_set(&job, &history, &mut body, &context.app)?;
    let short = short(&plan);
    if let Some(newer) = &plan.newer {
        let newer_id = newer.set.to_string();
        context.warn(format!(
            "`{}` is run {short}; run {} is newer and {}: give its id to use it",
            job.name,
            newer_id.get(..8).unwrap_or_default(),
            newer.state()
        ));
    }
    for (source, error) in plan.set.end.iter().flat_map(|end| &end.missing) {
        context.warn(format!("run {short} has no snapshot of `{source}`: {error}"));
    }
    if !args.apply {
        return Ok(tell(context, &plan));
    }
    apply(context, args, &plan)
}

fn job(context: &Context, args: &RestoreArgs, set: &str) -> Result<SetJob, CliError> {
    let name = context.name(set)?;
    if name.stream.is_some() {
        return Err(CliError::usage("--set brings back whole snapshots; name a stream without --set"));
    }
    let pair = |text: &String| {
        let pair = text.split_once('=').filter(|(source, target)| !source.is_empty() && !target.is_empty());
        let pair = pair.map(|(source, target)| (source.to_owned(), target.to_owned()));
        pair.ok_or_else(|| CliError::usage(format!("--set-target `{text}` is not SOURCE=TARGET")))
    };
    let targets = args.target.iter().map(pair).collect::<Result<_, _>>()?;
    Ok(SetJob { name, targets, skipped: args.skip.clone() })
}

fn short(plan: &SetPlan) -> String {
    plan.set.set.to_string().get(..8).unwrap_or_default().to_owned()
}

/// The command as a person would type it.
fn command(words: &[OsString]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(&word.to_string_lossy())).collect();
    format!("dumpvault {}", words.join(" "))
}

fn tell(context: &Context, plan: &SetPlan) -> Exit {
    if context.json {
        context.report(RestoredSet::planned(plan));
        return Exit::Good;
    }
    let zone = &context.app.settings.calendar.zone;
    let system = plan.set.system.as_ref().map_or("all sources".to_owned(), |name| format!("system `{name}`"));
    context.output(&format!(
        "{system}, run {} of {} ({}). Stop what uses it, then:",
        short(plan),
        render::time(plan.set.time_ms(), zone),
        plan.set.state()
    ));
    for (at, step) in plan.steps.iter().enumerate() {
        let words = match step.words() {
            Some(words) => command(&words),
            None => no_target(step),
        };
        context.output(&format!("{}. {}: {words}", at + 1, step.source));
    }
    context.output("--apply does these steps in this order and stops at the first that fails");
    Exit::Good
}

fn no_target(step: &SetStep) -> String {
    format!("no target is known; use --set-target {}=FILE, or --skip {}", step.source, step.source)
}

fn apply(context: &Context, args: &RestoreArgs, plan: &SetPlan) -> Result<Exit, CliError> {
    // All of it is known before anything is touched.
    let mut commands = Vec::new();
    for step in &plan.steps {
        let words = step.words().ok_or_else(|| {
            let message = format!("source `{}`: no target is known", step.source);
            CliError::usage_hint(message, format!("use --set-target {0}=FILE, or --skip {0}", step.source))
        })?;
        commands.push((parsed(args, &words)?, words));
    }
    let mut journal = Journal::open(&context.app.environment.state_root(), plan.set.set);
    if args.again {
        let cleared = journal.clear();
        cleared.map_err(|error| CliError::usage(format!("cannot forget what was done: {error}")))?;
    }
    let mut report = RestoredSet { dry_run: false, ..RestoredSet::planned(plan) };
    let mut worst = if report.missing.is_empty() { Exit::Good } else { Exit::Partial };
    let all = commands.len();
    for (at, (own, words)) in commands.iter().enumerate() {
        let Some(step) = report.steps.get_mut(at) else { break };
        let number = format!("{}/{all} {}", at + 1, step.source);
        if journal.has(words) {
            context.say(&format!("{number}: done by an earlier try; skipped (--again does it anew)"));
            step.status = SetStepStatus::Skipped;
            continue;
        }
        context.say(&format!("{number}: {}", command(words)));
        let outcome = super::run(&context.muted(), own);
        match outcome {
            Ok(Exit::Good) => {
                step.status = SetStepStatus::Restored;
                if let Err(error) = journal.note(words) {
                    context.warn(format!("cannot note that this step is done: {error}"));
                }
            }
            Ok(Exit::Partial) => {
                step.status = SetStepStatus::Partial;
                worst = Exit::Partial;
            }
            Ok(exit) => {
                step.status = SetStepStatus::Failed;
                worst = exit;
                break;
            }
            Err(error) => {
                step.status = SetStepStatus::Failed;
                step.error = Some(error.to_string());
                worst = context.fail(&error, false);
                break;
            }
        }
    }
    report.ok = worst == Exit::Good;
    conclude(context, report, &short(plan));
    Ok(worst)
}

/// The options of the command that a step is.
fn parsed(args: &RestoreArgs, words: &[OsString]) -> Result<RestoreArgs, CliError> {
    let mut line: Vec<OsString> = vec!["dumpvault".into()];
    line.extend(words.iter().cloned());
    let has = |option: &str| words.iter().any(|word| word == option);
    if args.yes {
        line.push("--yes".into());
    }
    if args.accept_change && (has("--all-databases") || has("--to-redis")) {
        line.push("--accept-change".into());
    }
    if let Some(jobs) = args.jobs.filter(|_| has("--all-databases")) {
        line.extend(["--jobs".into(), jobs.to_string().into()]);
    }
    match Cli::try_parse_from(line).map(|cli| cli.command) {
        Ok(Command::Restore(own)) => Ok(*own),
        Ok(_) => Err(CliError::usage("not a restore")),
        Err(error) => Err(CliError::usage(error.to_string())),
    }
}

fn conclude(context: &Context, report: RestoredSet, set: &str) {
    let done =
        |status| matches!(status, SetStepStatus::Restored | SetStepStatus::Skipped | SetStepStatus::Partial);
    let count = report.steps.iter().filter(|step| done(step.status)).count();
    let left: Vec<&str> =
        report.steps.iter().filter(|step| !done(step.status)).map(|step| step.source.as_str()).collect();
    let left = match left.as_slice() {
        [] => String::new(),
        names => format!("; not restored: {}. The same command goes on there", names.join(", ")),
    };
    let all = render::count(report.steps.len(), "source");
    context.say(&format!("run {set}: {count} of {all} restored{left}"));
    if context.json {
        context.report(report);
    }
}
