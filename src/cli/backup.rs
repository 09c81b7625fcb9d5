//! `dumpvault backup`: how a job is run at a terminal, and what is shown of each snapshot.

mod jobs;

use super::args::BackupArgs;
use super::exit::Exit;
use super::report::{CliError, hint_of, shown};
use super::{Context, render};
use crate::base::fault::Fault as _;
use crate::engine::OpError;
use crate::engine::backup::{
    BackupReport, BackupsReport, Foreseen, Outcome, class_of, foresee_backups, run_backups,
};
use crate::engine::listing::sizes;
use crate::engine::plan::plan_backup;
use crate::engine::report::{Backups, BackupsPlan};

pub(super) fn run(context: &Context, args: &BackupArgs) -> Result<Exit, CliError> {
    // Everything that can be wrong with the arguments is told before anything is touched.
    let run = context.run();
    let plan = plan_backup(&jobs::job(context, args)?, &context.app, &run)?;
    let repo = context.repository()?;
    if args.dry_run {
        return dry_run(context, foresee_backups(plan, &repo, &run));
    }
    context.app.remove_old_leftovers();
    let count = plan.backups.len();
    let report = run_backups(plan, &repo, &run, &mut |outcome| {
        remember(context, outcome);
        match &outcome.result {
            Ok(report) if !context.cancel.is_cancelled() => context.say(&summary_line(report)),
            // A single one's goes up as it is.
            Err(error) if count > 1 && !error.is_cancelled() => tell_failure(context, &outcome.series, error),
            _ => {}
        }
    });
    conclude(context, report)
}

/// Says what would be stored, and what could not be.
fn dry_run(context: &Context, mut foreseen: Vec<Foreseen>) -> Result<Exit, CliError> {
    if let [Foreseen { streams: Err(_), .. }] = foreseen.as_slice()
        && let Some(Err(error)) = foreseen.pop().map(|one| one.streams)
    {
        let exit = class_of(&error).into();
        return Err(CliError::from(error).ends(exit));
    }
    for one in &foreseen {
        match &one.streams {
            Ok(streams) if !context.json => context.output(&format!(
                "would back up `{}/{}`: {}: {}",
                one.host,
                one.series,
                render::count(streams.len() as u64, "stream"),
                streams.join(", ")
            )),
            Err(error) if !error.is_cancelled() => tell_failure(context, &one.series, error),
            _ => {}
        }
    }
    if context.json {
        context.report(BackupsPlan::new(&foreseen, &shown));
    }
    let first = foreseen.iter().find_map(|one| one.streams.as_ref().err());
    Ok(first.map_or(Exit::Good, |error| class_of(error).into()))
}

/// For the history.
fn remember(context: &Context, outcome: &Outcome) {
    let sources = &context.app.settings.sources;
    let source = sources.iter().find(|(_, source)| source.series == outcome.series).map(|(name, _)| name);
    let source = source.unwrap_or(&outcome.series);
    match &outcome.result {
        Ok(report) => context.memoir.stored(source, report),
        Err(error) => context.memoir.failed(source, &outcome.series, &context.app.host(), error.to_string()),
    }
}

/// The exit code over all sources, and why those failed that did.
fn conclude(context: &Context, mut report: BackupsReport) -> Result<Exit, CliError> {
    let exit = report.class().map_or(Exit::Good, Exit::from);
    if report.is_interrupted || report.outcomes.len() == 1 {
        match report.outcomes.pop() {
            Some(Outcome { result: Err(error), .. }) => {
                let exit = class_of(&error).into();
                return Err(CliError::from(error).ends(exit));
            }
            Some(_) if report.is_interrupted => return Ok(Exit::Interrupted),
            last => report.outcomes.extend(last),
        }
    }
    if context.json {
        context.report(Backups::new(&report.outcomes, context.app.requests().as_ref(), &shown));
    }
    Ok(exit)
}

/// Tells at once why a source among several failed.
pub(super) fn tell_failure(context: &Context, series: &str, error: &OpError) {
    let message = format!("{series}: {error}");
    let failed = CliError::Told {
        message,
        hint: hint_of(error),
        code: Some(error.code()),
        kind: None,
        exit: class_of(error).into(),
    };
    context.fail(&failed, false);
}

pub(super) fn summary_line(report: &BackupReport) -> String {
    let committed = &report.committed;
    let head = &committed.summary.head;
    let (plain, stored) = sizes(&committed.body);
    let stats = committed.body.streams.iter().map(|stream| stream.stats);
    let (ms, known) =
        stats.fold((0, 0), |(ms, known), stats| (ms + stats.duration_ms, known + stats.bytes_known));
    let rate = plain.saturating_mul(1000) / ms.max(1);
    let mut line = format!(
        "{}: created snapshot {}: {} in {} ({}/s), {} deduplicated, {} added",
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
        line += &format!("; tags: {}", tags.join(", "));
    }
    if !report.suspects.is_empty() {
        line += "; SUSPECT";
    }
    if head.proof.is_missing() {
        line += "; unproven (exit status of the producer unknown)";
    }
    line
}
