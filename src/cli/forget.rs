//! `dumpvault forget`, `prune` and `tag`.

use super::args::{ForgetArgs, PruneArgs, RuleArgs, TagArgs};
use super::report::{CliError, Exit};
use super::{Context, render};
use crate::clock::Clock;
use crate::config::{age, duration};
use crate::ops::forget::{Decided, ForgetRequest, Policies, forget as forget_by_policy, forget_named};
use crate::ops::tag::{TagRequest, tag as change_tags};
use crate::repo::Repository;
use crate::repo::gc::{PruneReport, PruneSettings};
use crate::snapshot::retention::Policy;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use std::time::Duration;

pub(super) fn forget(context: &Context, args: &ForgetArgs) -> Result<Exit, CliError> {
    let calendar = context.app.config.calendar()?;
    let zone = calendar.zone.clone();
    let grace = args.grace.as_deref().map(parse_grace).transpose()?;
    let request = ForgetRequest {
        policies: policies(context, args)?,
        series: args.series.clone(),
        host: args.host.clone(),
        force: args.force,
        dry_run: args.dry_run,
        calendar,
    };
    let repo = context.repository()?;
    let (clock, observer) = (&context.clock, &context.progress);
    let decided = if args.snapshots.is_empty() {
        forget_by_policy(&repo, clock, &request, observer)?
    } else {
        forget_named(&repo, clock, &args.snapshots, &request, observer)?
    };
    if !context.json {
        tell_decided(context, &decided, args, &zone);
    }
    let settings = PruneSettings { dry_run: args.dry_run, ..settings(context, grace) };
    let pruned = if args.prune {
        let report = repo.prune(&settings, observer, &context.cancel)?;
        if !context.json {
            tell_pruned(context, &report, &settings, &zone);
        }
        Some(report)
    } else {
        None
    };
    if context.json {
        let gone = decided.iter().filter(|one| !one.verdict.is_kept()).count();
        let list: Vec<Value> = decided.iter().map(decided_json).collect();
        let prune = pruned.as_ref().map(pruned_json);
        context.output(
            &json!({
                "version": 1, "dry_run": args.dry_run, "kept": decided.len() - gone, "removed": gone,
                "snapshots": list, "prune": prune,
            })
            .to_string(),
        );
    }
    Ok(Exit::Good)
}

/// The rules of the command line, or else of the configuration.
fn policies(context: &Context, args: &ForgetArgs) -> Result<Policies, CliError> {
    if !args.snapshots.is_empty() {
        return Ok(Policies::default());
    }
    let given = policy(&args.rules)?;
    if !given.is_empty() {
        return Ok(Policies { default: Some(given), ..Policies::default() });
    }
    let (default, by_series) = context.app.config.retention()?;
    Ok(Policies { default, by_series })
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
                head.state.word().to_owned(),
                why,
            ]
        })
        .collect();
    if !rows.is_empty() {
        let titles = ["", "ID", "TIME", "SERIES", "HOST", "STATE", "RULES"];
        context.say(&render::table(&titles, &[], &rows));
    }
    let (would, hint) = match (args.dry_run, args.prune || gone == 0) {
        (true, _) => ("would be ", ""),
        (false, true) => ("", ""),
        (false, false) => ("", "; `dumpvault prune` gives the space back"),
    };
    if args.snapshots.is_empty() {
        context.say(&format!("{} snapshots {would}kept, {gone} {would}removed{hint}", decided.len() - gone));
    } else {
        context.say(&format!("{} snapshots {would}removed{hint}", args.snapshots.len()));
    }
}

fn decided_json(one: &Decided) -> Value {
    let head = &one.summary.head;
    let reasons: Vec<Value> = one
        .verdict
        .reasons
        .iter()
        .map(|(rule, stream)| json!({"rule": rule.to_string(), "stream": stream}))
        .collect();
    json!({
        "id": one.summary.id.to_string(), "series": head.series, "host": head.host,
        "time": head.time().to_string(), "state": head.state.word(),
        "keep": one.verdict.is_kept(), "reasons": reasons,
    })
}

pub(super) fn prune(context: &Context, args: &PruneArgs) -> Result<Exit, CliError> {
    let zone = context.app.config.calendar()?.zone;
    let grace = args.grace.as_deref().map(parse_grace).transpose()?;
    let settings =
        PruneSettings { dry_run: args.dry_run, end_sessions: args.end_sessions, ..settings(context, grace) };
    let repo: Repository = context.repository()?;
    let report = repo.prune(&settings, &context.progress, &context.cancel)?;
    if context.json {
        let mut object = pruned_json(&report);
        if let Some(map) = object.as_object_mut() {
            map.insert("version".to_owned(), json!(1));
            map.insert("dry_run".to_owned(), json!(args.dry_run));
        }
        context.output(&object.to_string());
    } else {
        tell_pruned(context, &report, &settings, &zone);
    }
    Ok(Exit::Good)
}

fn settings(context: &Context, grace: Option<Duration>) -> PruneSettings {
    let usual = PruneSettings::new(context.clock.now().as_millisecond());
    PruneSettings { grace: grace.unwrap_or(usual.grace), ..usual }
}

fn parse_grace(text: &str) -> Result<Duration, CliError> {
    if text.chars().all(|c| c == '0') && !text.is_empty() {
        return Ok(Duration::ZERO);
    }
    match age(text, "--grace") {
        // Whoever means minutes must not get months, nor the other way round.
        Ok(age) if age.months > 0 && !text.contains("mo") => Err(CliError::Usage {
            message: format!("--grace: `{text}` could mean minutes or months"),
            hint: Some("use 30min, 36h, 2d or 1mo".to_owned()),
        }),
        Ok(age) => {
            let grace = Duration::try_from(age.approximate());
            grace.map_err(|_| CliError::usage(format!("--grace: invalid age `{text}`")))
        }
        Err(_) => Ok(duration(text, "--grace")?),
    }
}

fn tell_pruned(context: &Context, report: &PruneReport, settings: &PruneSettings, zone: &TimeZone) {
    let bytes: u64 = report.condemned.iter().map(|pack| pack.bytes).sum();
    let live: u64 = report.condemned.iter().map(|pack| pack.live_bytes).sum();
    context.say(&format!(
        "{} snapshots, {} packs ({}), of which {} is live",
        report.snapshots,
        report.packs,
        render::bytes(report.pack_bytes),
        render::bytes(report.live_bytes)
    ));
    let (condemned, copied) =
        if settings.dry_run { ("would be condemned", "would be copied") } else { ("condemned", "copied") };
    if !report.condemned.is_empty() {
        context.say(&format!(
            "{} packs ({}) {condemned}; {} of it is live and {copied}",
            report.condemned.len(),
            render::bytes(bytes),
            render::bytes(live)
        ));
    }
    for waiting in &report.waiting {
        let until = waiting.until.and_then(|until| Timestamp::try_from(until).ok());
        let until = until
            .map(|until| format!("their grace is over at {}", render::time(until.as_millisecond(), zone)));
        let sessions = (waiting.sessions > 0)
            .then(|| format!("{} backups under way may still rely on them", waiting.sessions));
        let locked = waiting.locked_until.and_then(|until| Timestamp::try_from(until).ok());
        let locked = locked
            .map(|until| format!("they are locked until {}", render::time(until.as_millisecond(), zone)));
        let why: Vec<String> = until.into_iter().chain(sessions).chain(locked).collect();
        context.say(&format!("{} condemned packs stay for now: {}", waiting.packs, why.join("; ")));
    }
    if report.packs_deleted > 0 || report.packs_written > 0 {
        context.say(&format!(
            "{} packs ({}) deleted, {} ({}) written",
            report.packs_deleted,
            render::bytes(report.bytes_deleted),
            report.packs_written,
            render::bytes(report.bytes_written)
        ));
    }
    if report.condemned.is_empty() && report.waiting.is_empty() && report.packs_deleted == 0 {
        context.say("nothing to delete");
    }
}

fn pruned_json(report: &PruneReport) -> Value {
    let condemned: Vec<Value> = report
        .condemned
        .iter()
        .map(
            |pack| json!({"pack": pack.pack.to_string(), "bytes": pack.bytes, "live_bytes": pack.live_bytes}),
        )
        .collect();
    let waiting: Vec<Value> = report
        .waiting
        .iter()
        .map(|plan| {
            let until = plan.until.and_then(|until| Timestamp::try_from(until).ok());
            json!({
                "plan": plan.plan.to_string(), "packs": plan.packs, "sessions": plan.sessions,
                "until": until.map(|until| until.to_string()),
                "locked_until": plan.locked_until.and_then(|until| Timestamp::try_from(until).ok()).map(|until| until.to_string()),
            })
        })
        .collect();
    json!({
        "snapshots": report.snapshots, "packs": report.packs, "pack_bytes": report.pack_bytes,
        "live_bytes": report.live_bytes, "lost_chunks": report.lost_chunks, "condemned": condemned,
        "waiting": waiting, "plans_done": report.plans_done, "packs_deleted": report.packs_deleted,
        "bytes_deleted": report.bytes_deleted, "packs_written": report.packs_written,
        "bytes_written": report.bytes_written, "chunks_rescued": report.chunks_rescued,
        "indexes_written": report.indexes_written, "indexes_replaced": report.indexes_replaced,
        "uncommitted_removed": report.uncommitted_removed.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "warnings": report.warnings,
    })
}

pub(super) fn tag(context: &Context, args: &TagArgs) -> Result<Exit, CliError> {
    let zone = context.app.config.calendar()?.zone;
    let pin = (args.pin || args.unpin).then_some(args.pin);
    if let Some(bad) = args.add.iter().find(|tag| tag.is_empty() || tag.contains(char::is_control)) {
        return Err(CliError::usage(format!("`{bad}` is no tag: it must be one line, and not empty")));
    }
    if args.add.is_empty() && args.remove.is_empty() && pin.is_none() {
        return Err(CliError::usage("nothing to change: give --add, --remove, --pin or --unpin"));
    }
    let request = TagRequest { add: args.add.clone(), remove: args.remove.clone(), pin };
    let repo = context.repository()?;
    let host = context.app.host();
    let name = &args.snapshot;
    let (summary, pinned) =
        change_tags(&repo, &context.clock, &host, name, &zone, &request, &context.progress)?;
    if context.json {
        let id = summary.id.to_string();
        let object = json!({"version": 1, "id": id, "tags": summary.head.tags, "pinned": pinned});
        context.output(&object.to_string());
    } else {
        let tags =
            if summary.head.tags.is_empty() { "none".to_owned() } else { summary.head.tags.join(", ") };
        let pin = if pinned { ", pinned" } else { "" };
        context.say(&format!(
            "snapshot {} of `{}`: tags {tags}{pin}",
            summary.id.short(),
            summary.head.series
        ));
    }
    Ok(Exit::Good)
}
