//! `dumpvault backup`.

mod jobs;
mod origin;

pub(super) use jobs::exec;
pub(super) use origin::{clients, connection, surroundings};

use super::args::BackupArgs;
use super::report::{CliError, Exit, op_exit};
use super::{Context, render};
use crate::config::SourceConfig;
use crate::ops::OpError;
use crate::ops::backup::{
    BackupReport, BackupRequest, ParentChoice, READ_AMPLIFICATION_MAX, SUSPECT_BELOW, backup,
};
use crate::ops::survey::{Seen, sizes};
use jobs::jobs;
use origin::{describe, streams};
use serde_json::json;
use std::time::Duration;

/// Temporary files of killed runs are removed once they are this old.
pub(super) const LEFTOVER_AGE: Duration = Duration::from_secs(24 * 3600);

pub(super) fn run(context: &Context, args: &BackupArgs) -> Result<Exit, CliError> {
    // Everything that can be wrong with the arguments is told before anything is touched.
    let jobs = jobs(context, args)?;
    let time = args.time.as_deref().map(parse_time).transpose()?;
    let calendar = context.app.config.calendar()?;
    let parent = match &args.parent {
        _ if args.no_parent => ParentChoice::None,
        Some(name) => ParentChoice::Named(name.clone()),
        None => ParentChoice::Newest,
    };
    let read_amplification_max = read_amplification_max(context, args)?;
    let repo = context.repository()?;
    sweep(context);
    let host = args.host.clone().unwrap_or_else(|| context.app.host());
    let mut outcomes = Vec::new();
    for job in jobs {
        let request = BackupRequest {
            series: job.series.clone(),
            host: host.clone(),
            time,
            tags: job.tags.clone(),
            calendar: calendar.clone(),
            level: job.level,
            allow_empty: job.allow_empty,
            workers: context.cores(),
            parent: parent.clone(),
            read_amplification_max,
            suspect_below: job.suspect_below,
            source: describe(&job.origin),
        };
        let series = job.series.clone();
        let outcome = streams(context, job).and_then(|streams| {
            backup(&repo, &context.clock, request, streams, &context.progress, &context.cancel)
        });
        if outcome.as_ref().is_err_and(OpError::is_cancelled) || context.cancel.is_cancelled() {
            return outcome.map(|_| Exit::Interrupted).map_err(CliError::from);
        }
        if let Ok(report) = &outcome {
            context.say(&summary_line(report));
        }
        outcomes.push((series, outcome));
    }
    conclude(context, outcomes)
}

fn read_amplification_max(context: &Context, args: &BackupArgs) -> Result<f64, CliError> {
    let configured = context.app.config.max_read_amplification;
    let max = args.max_read_amplification.or(configured).unwrap_or(READ_AMPLIFICATION_MAX);
    if max.is_finite() && max >= 1.0 {
        return Ok(max);
    }
    Err(CliError::usage("--max-read-amplification: a number from 1 on, such as 3"))
}

/// How short a dump may be, from the command line or else the configuration of the source or of all.
fn suspect_below(
    context: &Context,
    args: &BackupArgs,
    source: Option<&SourceConfig>,
) -> Result<f64, CliError> {
    let configured = source.and_then(|source| source.suspect_below).or(context.app.config.suspect_below);
    let share = args.suspect_below.or(configured).unwrap_or(SUSPECT_BELOW);
    if (0.0..=1.0).contains(&share) {
        return Ok(share);
    }
    Err(CliError::usage("--suspect-below: a share from 0 to 1, such as 0.5"))
}

/// The exit code over all sources. A single source's error goes up as it is.
fn conclude(
    context: &Context,
    mut outcomes: Vec<(String, Result<BackupReport, OpError>)>,
) -> Result<Exit, CliError> {
    if let [(_, outcome)] = outcomes.as_mut_slice()
        && outcome.is_err()
        && let Some((_, Err(error))) = outcomes.pop()
    {
        return Err(error.into());
    }
    if context.json {
        let results: Vec<_> = outcomes.iter().map(|(series, outcome)| result_json(series, outcome)).collect();
        let requests = context.app.requests().map(|requests| render::requests_json(&requests));
        context.output(&json!({"version": 1, "results": results, "requests": requests}).to_string());
    }
    let mut exit = Exit::Good;
    let stored = outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).count();
    for (series, outcome) in &outcomes {
        match outcome {
            Ok(report) if report.is_clean() => {}
            Ok(report) if !report.turned_back.is_empty() => exit = Exit::Integrity,
            Ok(_) if exit == Exit::Integrity => {}
            Ok(_) => exit = Exit::Partial,
            Err(error) => {
                let failed = CliError::Failed { message: format!("{series}: {error}") };
                super::report::report(&failed, false, false);
                exit = if stored == 0 { op_exit(error) } else { Exit::Partial };
            }
        }
    }
    Ok(exit)
}

fn parse_time(text: &str) -> Result<jiff::Timestamp, CliError> {
    text.parse().map_err(|error| CliError::Usage {
        message: format!("--time: `{text}` is no moment: {error}"),
        hint: Some("write it as 2026-11-01T03:00:00Z or 2026-11-01T03:00:00+01:00".to_owned()),
    })
}

/// Removes temporary files that killed runs left in the repository's directory.
fn sweep(context: &Context) {
    if let Err(error) = context.app.remove_leftovers(LEFTOVER_AGE) {
        tracing::info!("old temporary files were not removed: {error}");
    }
}

fn summary_line(report: &BackupReport) -> String {
    let committed = &report.committed;
    let head = &committed.summary.head;
    let (plain, stored) = sizes(&committed.body);
    let stats = committed.body.streams.iter().map(|stream| stream.stats);
    let (ms, known) =
        stats.fold((0, 0), |(ms, known), stats| (ms + stats.duration_ms, known + stats.bytes_known));
    let rate = plain.saturating_mul(1000) / ms.max(1);
    let mut line = format!(
        "{}: snapshot {}, {} in {} ({}/s), {} known, {} stored",
        head.series,
        committed.summary.id.short(),
        render::bytes(plain),
        render::duration(ms),
        render::bytes(rate),
        render::bytes(known),
        render::bytes(stored),
    );
    let tags: Vec<&str> = head.calendar.iter().chain(&head.tags).map(String::as_str).collect();
    if !tags.is_empty() {
        line += &format!("; {}", tags.join(", "));
    }
    if !report.suspects.is_empty() {
        line += "; SUSPECT";
    }
    if head.proof.is_missing() {
        line += "; unproven: standard input says nothing of how its producer ended";
    }
    line
}

fn result_json(series: &str, outcome: &Result<BackupReport, OpError>) -> serde_json::Value {
    match outcome {
        Ok(report) => {
            let committed = &report.committed;
            let seen = Seen { summary: committed.summary.clone(), body: Some(committed.body.clone()) };
            let calendar: Vec<&str> = seen.summary.head.calendar.iter().map(String::as_str).collect();
            let tags = render::tags(&calendar, &seen.summary);
            json!({
                "source": series, "ok": report.is_clean(),
                "snapshot": render::snapshot(&seen, tags), "damage": report.damage,
                "suspect": report.suspects, "turned_back": report.turned_back,
            })
        }
        Err(error) => {
            json!({"source": series, "ok": false, "error": error.to_string(), "hint": error.hint()})
        }
    }
}
