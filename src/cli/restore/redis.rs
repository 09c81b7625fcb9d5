//! Restoring into a Redis or Valkey server: what is asked before it is touched, and what is told after.

use super::{Work, done};
use crate::cli::args::{OnConflict, RestoreArgs, RestoreKeysArgs, Via};
use crate::cli::exit::Exit;
use crate::cli::report::CliError;
use crate::cli::{Context, doubts, prompt, render};
use crate::engine::report::{Restore, RestoreRedisPlan, RestoredKeys};
use crate::engine::restore::{
    Chosen, ExpectedHost, Extract, RedisJob, RedisPlan, meant, numbers, plan_redis, run_redis,
    streams_of_keys,
};
use crate::source::redis::{Choice, Conflict, Outcome};
use crate::vault::reader::ReadStats;
use std::time::{Duration, Instant};

/// What is asked for.
pub(super) fn job(
    args: &RestoreArgs,
    address: &str,
    timeout: Option<Duration>,
) -> Result<RedisJob, CliError> {
    if args.keys.by_key() && args.keys.via == Some(Via::Master) {
        return Err(CliError::usage(
            "--key, --db and --on-conflict restore key by key: leave out --via master",
        ));
    }
    Ok(RedisJob {
        address: address.to_owned(),
        keys: args.keys.by_key().then(|| choice(&args.keys)).transpose()?,
        as_master: args.keys.via == Some(Via::Master),
        force: args.force,
        expected_host: ExpectedHost(args.expect_host.clone()),
        timeout,
        dry_run: args.dry_run,
    })
}

pub(super) fn run(
    context: &Context,
    args: &RestoreArgs,
    job: RedisJob,
    chosen: Chosen,
    wanted: Option<&str>,
    began: Instant,
) -> Result<Exit, CliError> {
    let streams = streams_of_keys(&chosen, wanted)?;
    for stream in &streams {
        match args.dry_run {
            true => doubts::tell(context, &chosen, stream),
            false => doubts::settle(context, &chosen, stream, args.accept_change)?,
        }
    }
    let run = context.run();
    let plan = plan_redis(job, chosen, streams, &context.app, &run)?;
    if args.dry_run && context.json {
        context.report(RestoreRedisPlan::from(&plan));
        return Ok(Exit::Good);
    }
    if args.dry_run {
        context.say(&would(context, &plan));
        return Ok(Exit::Good);
    }
    let asks = match &plan.job.keys {
        Some(_) => !plan.state.databases.is_empty(),
        None => plan.holds_keys(),
    };
    if asks && !agreed(context, &question(context, &plan, args.yes), args.yes, &plan.about())? {
        return Err(CliError::Refused { message: "cancelled; nothing was restored".to_owned(), hint: None });
    }
    let report = run_redis(&plan, &context.app, &run)?;
    if report.has_queue {
        context.say(
            "it holds a queue of jobs: delayed jobs whose time has passed run at once, and those done since the backup run again",
        );
    }
    let work = Work { context, extract: &plan.extract, began };
    match &report.outcome {
        None => Ok(done(&work, &format!("server `{}`", plan.server), report.stats, None)),
        Some(outcome) => {
            tell(&work, &plan.server, outcome, &report.stats);
            Ok(report.class().map_or(Exit::Good, Exit::from))
        }
    }
}

fn choice(args: &RestoreKeysArgs) -> Result<Choice, CliError> {
    let databases = args.db.iter().map(|text| numbers(text));
    Ok(Choice {
        patterns: args.key.iter().map(|pattern| pattern.clone().into_bytes()).collect(),
        databases: databases.collect::<Result<_, _>>()?,
        conflict: match args.on_conflict.unwrap_or(OnConflict::Fail) {
            OnConflict::Fail => Conflict::Fail,
            OnConflict::Skip => Conflict::Skip,
            OnConflict::Replace => Conflict::Replace,
        },
    })
}

/// The snapshot in a few words.
fn what(context: &Context, plan: &RedisPlan) -> String {
    let Extract { chosen, stream, .. } = &plan.extract;
    let head = &chosen.summary.head;
    format!(
        "snapshot {} of `{}` ({}, {})",
        chosen.summary.id.short(),
        head.series,
        render::time(head.time_ms, &context.app.settings.calendar.zone),
        render::bytes(stream.bytes)
    )
}

fn would(context: &Context, plan: &RedisPlan) -> String {
    let about = plan.about();
    match &plan.looked {
        None => format!("would restore {} into {about}; nothing was touched", what(context, plan)),
        Some(looked) => format!(
            "would restore {} into {about}, {} of which are there already; nothing was touched",
            render::count(looked.meant, "key"),
            looked.there
        ),
    }
}

fn question(context: &Context, plan: &RedisPlan, yes: bool) -> String {
    let (end, about) = (if yes { '.' } else { '?' }, plan.about());
    let Some(choice) = &plan.job.keys else {
        return format!(
            "Restore {} into {about}{end} All of its keys will be replaced.",
            what(context, plan)
        );
    };
    let words = match choice.conflict {
        Conflict::Fail | Conflict::Skip => "Keys that are there stay.",
        Conflict::Replace => "Keys of the same name will be replaced.",
    };
    let id = plan.extract.chosen.summary.id.short();
    format!("Restore {} of snapshot {id} into {about}{end} {words}", meant(choice))
}

fn agreed(context: &Context, question: &str, yes: bool, about: &str) -> Result<bool, CliError> {
    if yes {
        context.say(question);
        return Ok(true);
    }
    let answer = prompt::confirm(question, &context.cancel).ok_or_else(|| CliError::Refused {
        message: format!("{about} is not empty and there is no terminal to confirm"),
        hint: Some("use --yes".to_owned()),
    })?;
    answer.map_err(|error| CliError::usage(error.to_string()))
}

fn tell(work: &Work<'_>, server: &str, outcome: &Outcome, stats: &ReadStats) {
    let Work { context, extract: Extract { chosen, stream, .. }, began } = work;
    for (key, why) in &outcome.named {
        context.warn(format!("key `{key}` was not restored: {why}"));
    }
    let unnamed = outcome.refused.saturating_sub(outcome.named.len() as u64);
    if unnamed > 0 {
        context.warn(format!("{} more were not restored", render::count(unnamed, "key")));
    }
    let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    if context.json {
        let report = Restore::new(&chosen.summary.id, stream, None, stats, ms, None);
        context.report(report.with_keys(RestoredKeys::from(outcome)));
        return;
    }
    let mut beside = Vec::new();
    for (count, words) in [
        (outcome.there, "were there and stay"),
        (outcome.expired, "had expired"),
        (outcome.refused, "were not taken"),
    ] {
        if count > 0 {
            beside.push(format!(", {count} {words}"));
        }
    }
    context.say(&format!(
        "{}: restored {} of snapshot {} to server `{server}` in {}{}",
        chosen.summary.head.series,
        render::count(outcome.restored, "key"),
        chosen.summary.id.short(),
        render::duration(ms),
        beside.concat()
    ));
}
