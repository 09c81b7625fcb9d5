//! `dumpvault backup`.

mod jobs;
mod origin;

pub(super) use jobs::exec;
pub(super) use origin::{clients, connection, surroundings};

use super::args::BackupArgs;
use super::exit::{Exit, backup_exit};
use super::report::CliError;
use super::{Context, render};
use crate::base::name::{NameKind, check_name, start_of};
use crate::engine::OpError;
use crate::engine::backup::{BackupReport, BackupRequest, ParentChoice, backup};
use crate::engine::survey::{Seen, sizes};
use crate::settings::fraction;
use jobs::jobs;
use origin::{describe, streams};
use serde_json::json;
use std::time::Duration;

/// Temporary files of killed runs are removed once they are this old.
pub(super) const LEFTOVER_AGE: Duration = Duration::from_secs(24 * 3600);

pub(super) fn run(context: &Context, args: &BackupArgs) -> Result<Exit, CliError> {
    // Everything that can be wrong with the arguments is told before anything is touched.
    let jobs = jobs(context, args)?;
    let calendar = context.app.settings.calendar.clone();
    let time = args.time.as_deref().map(|text| parse_time(text, &calendar.zone)).transpose()?;
    let parent = match &args.parent {
        _ if args.no_parent => ParentChoice::None,
        Some(name) => ParentChoice::Named(Box::new(context.whole_name(name)?)),
        None => ParentChoice::Newest,
    };
    let read_amplification_max = context.app.settings.max_read_amplification;
    let host = args.host.clone().unwrap_or_else(|| context.app.host());
    check_name(NameKind::Host, &host)?;
    args.tag.iter().try_for_each(|tag| check_name(NameKind::Tag, tag))?;
    let repo = context.repository()?;
    sweep(context);
    let mut outcomes = Vec::new();
    let count = jobs.len();
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
        match &outcome {
            Ok(report) => context.say(&summary_line(report)),
            // A single one's goes up as it is.
            Err(error) if count > 1 => tell_failure(context, &series, error),
            Err(_) => {}
        }
        outcomes.push((series, outcome));
    }
    conclude(context, outcomes)
}

/// How short a dump may be: of the command line, the source, or of all.
fn suspect_below(context: &Context, args: &BackupArgs, source: Option<f64>) -> Result<f64, CliError> {
    if let Some(text) = &args.suspect_below {
        return Ok(fraction(text, "--suspect-below")?);
    }
    Ok(source.unwrap_or(context.app.settings.suspect_below))
}

/// The exit code over all sources, and why those failed that did.
fn conclude(
    context: &Context,
    mut outcomes: Vec<(String, Result<BackupReport, OpError>)>,
) -> Result<Exit, CliError> {
    if let [(_, outcome)] = outcomes.as_mut_slice()
        && outcome.is_err()
        && let Some((_, Err(error))) = outcomes.pop()
    {
        let exit = backup_exit(&error);
        return Err(CliError::from(error).ends(exit));
    }
    if context.json {
        let results: Vec<_> = outcomes.iter().map(|(series, outcome)| result_json(series, outcome)).collect();
        let requests = context.app.requests().map(|requests| render::requests_json(&requests));
        context.report(json!({"version": 1, "results": results, "requests": requests}));
    }
    Ok(exit_over(outcomes.iter().map(|(_, outcome)| outcome)))
}

/// What one source ends with among several: nothing stored at all is worse than a part.
fn exit_over<'a>(outcomes: impl Iterator<Item = &'a Result<BackupReport, OpError>>) -> Exit {
    let (mut is_stored, mut is_clean, mut is_turned_back) = (false, true, false);
    let mut failures = Vec::new();
    for outcome in outcomes {
        match outcome {
            Ok(report) => {
                is_stored = true;
                is_clean &= report.is_clean();
                is_turned_back |= !report.turned_back.is_empty();
            }
            Err(error) => failures.push(backup_exit(error)),
        }
    }
    match failures.as_slice() {
        _ if is_turned_back => Exit::Integrity,
        [] if is_clean => Exit::Good,
        [] => Exit::Partial,
        _ if is_stored => Exit::Partial,
        // Of one mind: a conflict, say, goes away by itself.
        [first, others @ ..] if others.iter().all(|other| other == first) => *first,
        _ => Exit::NothingDone,
    }
}

/// Tells at once why a source among several failed.
fn tell_failure(context: &Context, series: &str, error: &OpError) {
    let message = format!("{series}: {error}");
    let failed = CliError::Told { message, hint: error.hint(), kind: None, exit: backup_exit(error) };
    context.fail(&failed, false);
}

/// As names of snapshots have times; a day alone says too little of a dump.
fn parse_time(text: &str, zone: &jiff::tz::TimeZone) -> Result<jiff::Timestamp, CliError> {
    let time = start_of(text, zone).filter(|_| text.len() > 10);
    time.ok_or_else(|| {
        CliError::usage_hint(
            format!("--time: invalid time `{text}`"),
            "use 2026-11-01T03:00, 2026-11-01T03:00:00Z or 2026-11-01T03:00:00+01:00",
        )
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
