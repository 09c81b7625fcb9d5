//! `dumpvault repair`: how what was repaired, and what stays lost, is shown.

use super::args::RepairCommand;
use super::check::hits_json;
use super::exit::Exit;
use super::report::CliError;
use super::{Context, render};
use crate::base::clock::Clock;
use crate::engine::repair::repair_snapshots;
use crate::vault::check::Damage;
use crate::vault::history::Stops;
use serde_json::{Value, json};

pub(super) fn run(context: &Context, command: &RepairCommand) -> Result<Exit, CliError> {
    match command {
        RepairCommand::Index => index(context),
        RepairCommand::Packs => packs(context),
        RepairCommand::Snapshots => snapshots(context),
        RepairCommand::Marks { dry_run } => marks(context, *dry_run),
        RepairCommand::Times { dry_run } => times(context, *dry_run),
    }
}

/// What is not whole after a repair is still a failure of integrity.
fn exit(is_whole: bool) -> Exit {
    if is_whole { Exit::Good } else { Exit::Integrity }
}

fn names<N: ToString>(ids: &[N]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

fn damage_json(damage: &[Damage]) -> Vec<Value> {
    damage.iter().map(|damage| json!({"object": damage.object, "what": damage.what})).collect()
}

fn index(context: &Context) -> Result<Exit, CliError> {
    let repo = context.repository_uncached()?;
    let now_ms = context.clock.now().as_millisecond();
    let repair = repo.repairer().repair_index(now_ms, &context.progress, &context.cancel)?;
    let is_whole = repair.unexplained.is_empty() && repair.missing.is_empty();
    if context.json {
        let object = json!({
            "version": 1, "ok": is_whole, "packs": repair.packs, "indexes_before": repair.indexes_before,
            "indexes_written": repair.indexes_written, "unexplained": damage_json(&repair.unexplained),
            "missing": names(&repair.missing), "dropped": names(&repair.dropped),
        });
        context.report(object);
        return Ok(exit(is_whole));
    }
    context.say(&format!(
        "{} packs in {} index objects, in the place of {}",
        repair.packs, repair.indexes_written, repair.indexes_before
    ));
    for pack in &repair.dropped {
        context
            .say(&format!("pack {} is gone, and nothing in it is missed: it is named no more", pack.short()));
    }
    for damage in &repair.unexplained {
        let Damage { object, what } = damage;
        context.output(&format!("not named: {object}: nothing says what it holds: {what}"));
    }
    for pack in &repair.missing {
        context.output(&format!("missing: pack {pack}: it held what no other pack does"));
    }
    Ok(exit(is_whole))
}

fn packs(context: &Context) -> Result<Exit, CliError> {
    let repo = context.repository_uncached()?;
    let now_ms = context.clock.now().as_millisecond();
    let host = context.app.host();
    let repair = repo.repairer().repair_packs(&host, now_ms, &context.progress, &context.cancel)?;
    let is_whole = repair.is_whole();
    if context.json {
        let set_aside: Vec<Value> = repair
            .set_aside
            .iter()
            .map(|pack| {
                json!({
                    "pack": pack.pack.to_string(), "what": pack.what, "blocks": pack.blocks,
                    "blocks_broken": pack.blocks_broken, "chunks_lost": pack.chunks_lost,
                })
            })
            .collect();
        let object = json!({
            "version": 1, "ok": is_whole, "recovered": names(&repair.recovered), "set_aside": set_aside,
            "missing": names(&repair.missing), "unexplained": damage_json(&repair.unexplained),
            "chunks_salvaged": repair.chunks_salvaged, "packs_written": repair.packs_written,
            "bytes_written": repair.bytes_written,
        });
        context.report(object);
        return Ok(exit(is_whole));
    }
    for pack in &repair.recovered {
        context.say(&format!("pack {} is whole, and marked as damaged no more", pack.short()));
    }
    if repair.packs_written > 0 {
        context.say(&format!(
            "{} chunks saved into {} new packs ({})",
            repair.chunks_salvaged,
            repair.packs_written,
            render::bytes(repair.bytes_written)
        ));
    }
    for pack in &repair.set_aside {
        let line = format!(
            "set aside: pack {}: {} of {} blocks do not open, {} chunks are lost: {}",
            pack.pack, pack.blocks_broken, pack.blocks, pack.chunks_lost, pack.what
        );
        if pack.chunks_lost == 0 { context.say(&line) } else { context.output(&line) }
    }
    for pack in &repair.missing {
        context.output(&format!("missing: pack {pack}"));
    }
    for damage in &repair.unexplained {
        context.say(&format!("left alone: {}: {}", damage.object, damage.what));
    }
    if repair.set_aside.is_empty() && repair.recovered.is_empty() && repair.missing.is_empty() {
        context.say("no pack is known to be damaged: `dumpvault check --read-data` reads them all");
    } else if !is_whole {
        context.output(
            "run `dumpvault backup`, which stores anew what it meets, then `dumpvault repair snapshots`",
        );
    }
    Ok(exit(is_whole))
}

fn snapshots(context: &Context) -> Result<Exit, CliError> {
    let repo = context.repository_uncached()?;
    let host = context.app.host();
    let (cores, progress, cancel) = (context.cores(), &context.progress, &context.cancel);
    let repair = repair_snapshots(&repo, &context.clock, &host, cores, progress, cancel)?;
    let is_whole = repair.marked.is_empty() && repair.still.is_empty() && repair.given_up.is_empty();
    if context.json {
        let object = json!({
            "version": 1, "ok": is_whole, "marked": names(&repair.marked), "still": names(&repair.still),
            "recovered": names(&repair.recovered), "given_up": names(&repair.given_up), "snapshots_hit": hits_json(&repair.report.hits),
        });
        context.report(object);
        return Ok(exit(is_whole));
    }
    for id in &repair.recovered {
        context.say(&format!("snapshot {} is whole again, and marked no more", id.short()));
    }
    for id in &repair.given_up {
        context.output(&format!("snapshot {} is gone, and given up", id.short()));
    }
    for id in &repair.marked {
        context.output(&format!("snapshot {} is not whole: it is suspect from now on", id.short()));
    }
    for id in &repair.still {
        context.output(&format!("snapshot {} is not whole still", id.short()));
    }
    if is_whole {
        context.say(&format!("{} snapshots are whole", repair.report.snapshots));
    }
    Ok(exit(is_whole))
}

fn marks(context: &Context, dry_run: bool) -> Result<Exit, CliError> {
    let repo = context.repository_uncached()?;
    let now_ms = context.clock.now().as_millisecond();
    let objects = if dry_run {
        let history = repo.history(&mut repo.catalog(&context.progress)?)?;
        let given_up = history.damaged.iter().filter(|damage| damage.stops == Stops::Nothing);
        given_up.filter_map(|damage| damage.error.object().map(str::to_owned)).collect()
    } else {
        repo.give_up_unreadable(now_ms)?
    };
    if context.json {
        context
            .output(&json!({"version": 1, "ok": true, "dry_run": dry_run, "given_up": objects}).to_string());
        return Ok(Exit::Good);
    }
    let verb = if dry_run { "would give up" } else { "gave up" };
    for object in &objects {
        context.output(&format!("{verb} {object}: it cannot be read"));
    }
    if objects.is_empty() {
        context.say("every mark and snapshot can be read");
    }
    Ok(Exit::Good)
}

fn times(context: &Context, dry_run: bool) -> Result<Exit, CliError> {
    let repo = context.repository_uncached()?;
    let now_ms = context.clock.now().as_millisecond();
    let ids = if dry_run {
        let history = repo.history(&mut repo.catalog(&context.progress)?)?;
        history.snapshots.iter().filter(|summary| summary.is_doubtful).map(|summary| summary.id).collect()
    } else {
        repo.confirm_times(None, now_ms)?
    };
    if context.json {
        let object = json!({"version": 1, "ok": true, "dry_run": dry_run, "confirmed": names(&ids)});
        context.report(object);
        return Ok(Exit::Good);
    }
    let verb = if dry_run { "would confirm" } else { "confirmed" };
    context.say(&format!("{verb} the times of {} snapshots", ids.len()));
    Ok(Exit::Good)
}
