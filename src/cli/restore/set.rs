//! `dumpvault restore --set`: a whole system, by the very commands that a person would give one after another.

use crate::base::fault::Class;
use crate::cli::args::{Cli, Command, RestoreArgs};
use crate::cli::exit::Exit;
use crate::cli::report::CliError;
use crate::cli::{Context, render};
use crate::engine::plan::{SetJob, SetPlan, SetStep, plan_set};
use crate::engine::report::{RestoredSet, SetStepStatus};
use crate::engine::restore::{SetCommand, StepEnd, quoted, run_set, set_commands};
use clap::Parser;
use std::ffi::OsString;

pub(super) fn run(context: &Context, args: &RestoreArgs, set: &str) -> Result<Exit, CliError> {
    let job = job(context, args, set)?;
    let repo = context.repository()?;
    let plan = plan_set(&job, &repo, &context.app, &context.run())?;
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
    let commands = set_commands(plan)?;
    let options: Vec<RestoreArgs> =
        commands.iter().map(|command| parsed(args, &command.words)).collect::<Result<_, _>>()?;
    let all = commands.len();
    let number = |at: usize, command: &SetCommand| format!("{}/{all} {}", at + 1, command.source);
    let mut skipped = |at: usize, command: &SetCommand| {
        let number = number(at, command);
        context.say(&format!("{number}: done by an earlier try; skipped (--again does it anew)"));
    };
    let mut restore = |at: usize, own: &SetCommand| {
        context.say(&format!("{}: {}", number(at, own), command(&own.words)));
        let outcome = options.get(at).map(|options| super::run(&context.muted(), options));
        match outcome.unwrap_or_else(|| Err(CliError::usage("no such step"))) {
            Ok(exit) => match exit.class() {
                None => StepEnd::Restored,
                Some(Class::Partial) => StepEnd::Partial,
                Some(class) => StepEnd::Failed { class, why: None },
            },
            Err(error) => {
                let why = Some(error.to_string());
                let class = context.fail(&error, false).class().unwrap_or(Class::NothingDone);
                StepEnd::Failed { class, why }
            }
        }
    };
    let (state_root, run) = (context.app.environment.state_root(), context.run());
    let report = run_set(plan, &commands, args.again, &state_root, &run, &mut skipped, &mut restore)?;
    conclude(context, RestoredSet::done(plan, &report), &short(plan));
    Ok(report.class().map_or(Exit::Good, Exit::from))
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
