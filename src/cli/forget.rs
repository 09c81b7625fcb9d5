//! `dumpvault forget`, `prune` and `tag`: how options become policies, and how decisions are shown.

use super::args::{ForgetArgs, PruneArgs, RuleArgs, TagArgs};
use super::exit::Exit;
use super::report::CliError;
use super::table::Table;
use super::{Context, note_gone, prompt, render};
use crate::base::name::{NameKind, SeriesName, SnapshotName, check_name};
use crate::base::retention::{Policy, Representative};
use crate::engine::OpError;
use crate::engine::forget::{
    Decided, ForgetRequest, Policies, forget as forget_by_policy, forget_foreign, forget_named,
    forget_series, whole_series,
};
use crate::engine::prune::{PruneJob, prune as run_prune};
use crate::engine::report::{Forgotten, ForgottenForeign, Prune, Pruned, Tagged, Young};
use crate::engine::tag::{TagRequest, tag as change_tags};
use crate::settings::{age, grace};
use crate::vault::Repository;
use jiff::tz::TimeZone;

fn foreign(context: &Context, repo: &Repository, dry_run: bool) -> Result<Exit, CliError> {
    let objects = forget_foreign(repo, dry_run)?;
    if context.json {
        context.report(ForgottenForeign { dry_run, foreign: objects });
        return Ok(Exit::Good);
    }
    let verb = if dry_run { "would remove" } else { "removed" };
    context.say(&format!("{verb} {} foreign objects", objects.len()));
    Ok(Exit::Good)
}

pub(super) fn forget(context: &Context, args: &ForgetArgs) -> Result<Exit, CliError> {
    let calendar = context.app.settings.calendar.clone();
    let zone = calendar.zone.clone();
    let grace = args.grace.as_deref().map(|text| grace(text, "--grace")).transpose()?;
    let names: Vec<SnapshotName> =
        args.snapshots.iter().map(|name| context.whole_name(name)).collect::<Result<_, _>>()?;
    let request = ForgetRequest {
        policies: policies(context, args)?,
        series: args.series.as_deref().map(SeriesName::parse).transpose()?,
        host: args.host.clone(),
        force: args.force,
        even_the_last: args.even_the_last,
        dry_run: args.dry_run,
        calendar,
    };
    let repo = context.repository()?;
    if args.foreign {
        return foreign(context, &repo, args.dry_run);
    }
    let (clock, observer) = (&context.clock, &context.progress);
    let decided = match &request.series {
        Some(series) if args.all => all_of(context, args, &repo, series)?,
        _ if names.is_empty() => forget_by_policy(&repo, clock, &request, observer)?,
        _ => {
            let from = context.app.viewpoint(args.which.any_host);
            forget_named(&repo, clock, &names, &from, &request, observer)?
        }
    };
    if !args.dry_run {
        note_gone(context, &decided, &request.policies);
    }
    if !context.json {
        tell_decided(context, &decided, args, &zone);
    }
    let job = PruneJob { grace, dry_run: args.dry_run, ..PruneJob::default() };
    let pruned = args.prune.then(|| run_prune(&job, &repo, &context.run())).transpose()?;
    if context.json {
        context.report(Forgotten::new(&decided, pruned, args.dry_run));
    } else if let Some(report) = &pruned {
        tell_pruned(context, report, &job, &zone);
    }
    Ok(Exit::Good)
}

/// Removes a series as a whole, once somebody said that it is meant.
fn all_of(
    context: &Context,
    args: &ForgetArgs,
    repo: &Repository,
    series: &SeriesName,
) -> Result<Vec<Decided>, CliError> {
    let series = match &args.host {
        Some(host) => SeriesName { host: Some(host.clone()), ..series.clone() },
        None => series.clone(),
    };
    let whole = whole_series(repo, &series, &context.progress)?;
    if args.dry_run {
        return Ok(whole.decided());
    }
    let mut hosts: Vec<&str> = whole.snapshots.iter().map(|summary| summary.head.host.as_str()).collect();
    hosts.sort_unstable();
    hosts.dedup();
    let count = render::count(whole.snapshots.len(), "snapshot");
    let question = format!(
        "Remove all of series `{series}` ({count}, host {}), the newest included? This cannot be undone.",
        hosts.join(", ")
    );
    if !args.yes {
        let word = series.to_string();
        let answer = prompt::confirm_word(&question, &word, &context.cancel);
        match answer {
            Some(Ok(true)) => {}
            Some(Err(_)) => return Err(OpError::cancelled().into()),
            Some(Ok(false)) => {
                return Err(CliError::Refused {
                    message: "cancelled; nothing was removed".to_owned(),
                    hint: None,
                });
            }
            None => {
                return Err(CliError::Refused {
                    message: format!(
                        "cannot remove series `{series}` ({count}): there is no terminal to confirm"
                    ),
                    hint: Some("use --yes".to_owned()),
                });
            }
        }
    }
    Ok(forget_series(repo, &whole)?)
}

/// The rules of the command line, or else of the configuration.
fn policies(context: &Context, args: &ForgetArgs) -> Result<Policies, CliError> {
    if !args.snapshots.is_empty() || args.all {
        return Ok(Policies::default());
    }
    let given = policy(&args.rules)?;
    let representative = args.rules.keep.is_some().then_some(given.representative);
    Ok(Policies::of_settings(&context.app.settings, given, representative))
}

fn policy(rules: &RuleArgs) -> Result<Policy, CliError> {
    let within = rules.keep_within.as_deref().map(|text| age(text, "--keep-within")).transpose()?;
    Ok(Policy {
        last: rules.keep_last.unwrap_or_default(),
        hourly: rules.keep_hourly.unwrap_or_default(),
        daily: rules.keep_daily.unwrap_or_default(),
        weekly: rules.keep_weekly.unwrap_or_default(),
        monthly: rules.keep_monthly.unwrap_or_default(),
        yearly: rules.keep_yearly.unwrap_or_default(),
        within,
        tags: rules.keep_tag.iter().cloned().collect(),
        representative: match rules.keep.as_deref() {
            Some("last") => Representative::Last,
            _ => Representative::First,
        },
    })
}

fn tell_decided(context: &Context, decided: &[Decided], args: &ForgetArgs, zone: &TimeZone) {
    let gone = decided.iter().filter(|one| !one.verdict.is_kept()).count();
    let rows: Vec<Vec<String>> = decided
        .iter()
        .map(|one| {
            let head = &one.summary.head;
            let (word, why) =
                if one.verdict.is_kept() { ("keep", one.verdict.words()) } else { ("remove", String::new()) };
            vec![
                word.to_owned(),
                one.summary.id.short(),
                render::time(head.time_ms, zone),
                head.series.clone(),
                head.host.clone(),
                head.state.word().into_owned(),
                why,
            ]
        })
        .collect();
    if !rows.is_empty() {
        let titles = ["", "ID", "TIME", "SERIES", "HOST", "STATE", "RULES"];
        context.say_table(&Table { fixed: &[0, 1, 2], ..Table::new(&titles, &[], &rows) });
    }
    let (would, hint) = match (args.dry_run, args.prune || gone == 0) {
        (true, _) => ("would be ", ""),
        (false, true) => ("", ""),
        (false, false) => ("", "; `dumpvault prune` gives the space back"),
    };
    if args.snapshots.is_empty() {
        let kept = render::count(decided.len() - gone, "snapshot");
        context.say(&format!("{kept} {would}kept, {gone} {would}removed{hint}"));
    } else {
        context.say(&format!("{} {would}removed{hint}", render::count(args.snapshots.len(), "snapshot")));
    }
}

pub(super) fn prune(context: &Context, args: &PruneArgs) -> Result<Exit, CliError> {
    let zone = context.app.settings.calendar.zone.clone();
    let job = PruneJob {
        grace: args.grace.as_deref().map(|text| grace(text, "--grace")).transpose()?,
        dry_run: args.dry_run,
        end_sessions: args.end_sessions,
        full_store: args.full_store,
    };
    let report = run_prune(&job, &context.repository()?, &context.run())?;
    match context.json {
        true => context.report(report),
        false => tell_pruned(context, &report, &job, &zone),
    }
    Ok(Exit::Good)
}

fn tell_pruned(context: &Context, report: &Prune, job: &PruneJob, zone: &TimeZone) {
    let report = &report.pruned;
    let bytes: u64 = report.condemned.iter().map(|pack| pack.bytes).sum();
    let live: u64 = report.condemned.iter().map(|pack| pack.live_bytes).sum();
    context.say(&format!(
        "{}: {} of {} in {} is referenced",
        render::count(report.snapshots, "snapshot"),
        render::bytes(report.live_bytes),
        render::bytes(report.pack_bytes),
        render::count(report.packs, "pack")
    ));
    if !report.condemned.is_empty() {
        let (scheduled, copied) = match job.dry_run {
            true => ("would schedule", "would be copied first"),
            false => ("scheduled", "will be copied first"),
        };
        context.say(&format!(
            "{scheduled} {} ({}) for deletion; {} is still referenced and {copied}",
            render::count(report.condemned.len() as u64, "pack"),
            render::bytes(bytes),
            render::bytes(live)
        ));
    }
    if let Some(until) = report.held_until {
        context.say(&format!(
            "nothing is deleted before {}: a snapshot of an append key that is not whole may need it; \
             `dumpvault repair snapshots` or `dumpvault forget` ends that",
            render::time(until.ms(), zone)
        ));
    }
    for waiting in &report.waiting {
        let until =
            waiting.until.map(|until| format!("grace period ends {}", render::time(until.ms(), zone)));
        let sessions = (waiting.sessions > 0)
            .then(|| format!("{} may use them", render::count(waiting.sessions, "running backup")));
        let locked =
            waiting.locked_until.map(|until| format!("locked until {}", render::time(until.ms(), zone)));
        let why: Vec<String> = until.into_iter().chain(sessions).chain(locked).collect();
        let wait = if waiting.packs == 1 { "waits" } else { "wait" };
        context.say(&format!(
            "{} {wait} for deletion: {}",
            render::count(waiting.packs, "pack"),
            why.join("; ")
        ));
    }
    if report.packs_deleted > 0 || report.packs_written > 0 {
        context.say(&format!(
            "deleted {} ({}), wrote {} ({})",
            render::count(report.packs_deleted, "pack"),
            render::bytes(report.bytes_deleted),
            render::count(report.packs_written, "pack"),
            render::bytes(report.bytes_written)
        ));
    }
    if report.young.packs > 0 {
        context.say(&young_words(report, job, zone));
    } else if report.condemned.is_empty()
        && report.waiting.is_empty()
        && report.packs_deleted == 0
        && report.held_until.is_none()
    {
        context.say("nothing to delete");
    }
}

/// What waits because it is young, and until when.
fn young_words(report: &Pruned, job: &PruneJob, zone: &TimeZone) -> String {
    let Young { packs, bytes, until, sessions } = report.young;
    let grace = job.grace();
    let grace = match (grace.as_secs() / 3600, grace.as_secs() % 3600) {
        (hours @ 1.., 0) => format!("{hours} h"),
        _ => render::duration(u64::try_from(grace.as_millis()).unwrap_or(u64::MAX)),
    };
    let (are, wait) = if packs == 1 { ("is", "waits") } else { ("are", "wait") };
    let nothing =
        if report.condemned.is_empty() && report.packs_deleted == 0 { "nothing to delete yet: " } else { "" };
    let packs = format!("{nothing}{} ({})", render::count(packs, "pack"), render::bytes(bytes));
    match (until, sessions) {
        (Some(until), 0) => format!(
            "{packs} {are} younger than {grace}; run again after {}, or use --grace 0 while no backup runs",
            render::time(until.ms(), zone)
        ),
        (Some(until), sessions) => format!(
            "{packs} {are} younger than {grace}, and {} may use them; run again after {}",
            render::count(sessions, "running backup"),
            render::time(until.ms(), zone)
        ),
        (None, sessions) => {
            format!(
                "{packs} {wait}: {} may use them; run again when it has ended",
                render::count(sessions, "running backup")
            )
        }
    }
}

pub(super) fn tag(context: &Context, args: &TagArgs) -> Result<Exit, CliError> {
    let pin = (args.pin || args.unpin).then_some(args.pin);
    args.add.iter().try_for_each(|tag| check_name(NameKind::Tag, tag))?;
    if args.add.is_empty() && args.remove.is_empty() && pin.is_none() && !args.confirm_time {
        let message = "nothing to change: give --add, --remove, --pin, --unpin or --confirm-time";
        return Err(CliError::usage(message));
    }
    let request = TagRequest {
        add: args.add.clone(),
        remove: args.remove.clone(),
        pin,
        confirm_time: args.confirm_time,
        dry_run: args.dry_run,
    };
    let name = context.whole_name(&args.snapshot)?;
    let repo = context.repository()?;
    let from = context.app.viewpoint(args.which.any_host);
    let (summary, pinned) = change_tags(&repo, &context.clock, &name, &from, &request, &context.progress)?;
    if context.json {
        context.report(Tagged::new(&summary, pinned, args.dry_run));
    } else {
        let tags =
            if summary.head.tags.is_empty() { "none".to_owned() } else { summary.head.tags.join(", ") };
        let pin = if pinned { ", pinned" } else { "" };
        let then = if args.dry_run { "would have tags" } else { "tags" };
        context.say(&format!(
            "snapshot {} of `{}`: {then} {tags}{pin}",
            summary.id.short(),
            summary.head.series
        ));
    }
    Ok(Exit::Good)
}
