//! `dumpvault repair`: how what was repaired, and what stays lost, is shown.

use super::args::RepairCommand;
use super::exit::Exit;
use super::report::CliError;
use super::{Context, render};
use crate::engine::repair::{repair_index, repair_marks, repair_packs, repair_snapshots, repair_times};
use crate::engine::report::{
    Id, RepairedIndex, RepairedMarks, RepairedPacks, RepairedSnapshots, RepairedTimes,
};

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

fn index(context: &Context) -> Result<Exit, CliError> {
    let repo = context.repository_uncached()?;
    let report = RepairedIndex::from(&repair_index(&repo, &context.run())?);
    let is_whole = report.ok;
    if context.json {
        context.report(report);
        return Ok(exit(is_whole));
    }
    context.say(&format!(
        "{} packs in {} index objects, in the place of {}",
        report.packs, report.indexes_written, report.indexes_before
    ));
    for pack in &report.dropped {
        context
            .say(&format!("pack {} is gone, and nothing in it is missed: it is named no more", pack.short()));
    }
    for damage in &report.unexplained {
        let (object, what) = (&damage.object, &damage.what);
        context.output(&format!("not named: {object}: nothing says what it holds: {what}"));
    }
    for pack in &report.missing {
        context.output(&format!("missing: pack {pack}: it held what no other pack does"));
    }
    Ok(exit(is_whole))
}

fn packs(context: &Context) -> Result<Exit, CliError> {
    let repo = context.repository_uncached()?;
    let report = RepairedPacks::from(&repair_packs(&repo, &context.app.host(), &context.run())?);
    let is_whole = report.ok;
    if context.json {
        context.report(report);
        return Ok(exit(is_whole));
    }
    for pack in &report.recovered {
        context.say(&format!("pack {} is intact; cleared its damage mark", pack.short()));
    }
    if report.packs_written > 0 {
        context.say(&format!(
            "copied {} into {} ({})",
            render::count(report.chunks_salvaged, "chunk"),
            render::count(report.packs_written, "new pack"),
            render::bytes(report.bytes_written)
        ));
    }
    for pack in &report.set_aside {
        let line = format!(
            "set aside: pack {}: {} of {} broken, {} lost: {}",
            pack.pack,
            pack.blocks_broken,
            render::count(pack.blocks, "block"),
            render::count(pack.chunks_lost, "chunk"),
            pack.what
        );
        if pack.chunks_lost == 0 { context.say(&line) } else { context.output(&line) }
    }
    for pack in &report.missing {
        context.output(&format!("missing: pack {pack}"));
    }
    for damage in &report.unexplained {
        context.say(&format!("left alone: {}: {}", damage.object, damage.what));
    }
    if report.set_aside.is_empty() && report.recovered.is_empty() && report.missing.is_empty() {
        context.say("no pack is known to be damaged: `dumpvault check --read-data` reads them all");
    } else if !is_whole {
        context.output(
            "next: `dumpvault backup` (stores lost data that the source still has), then `dumpvault repair snapshots`",
        );
    }
    Ok(exit(is_whole))
}

fn snapshots(context: &Context) -> Result<Exit, CliError> {
    let repo = context.repository_uncached()?;
    let host = context.app.host();
    let (cores, progress, cancel) = (context.cores(), &context.progress, &context.cancel);
    let repair = repair_snapshots(&repo, &context.clock, &host, cores, progress, cancel)?;
    let report = RepairedSnapshots::from(&repair);
    let is_whole = report.ok;
    if context.json {
        context.report(report);
        return Ok(exit(is_whole));
    }
    for id in &repair.recovered {
        context.say(&format!("snapshot {} is complete again; cleared its damage mark", id.short()));
    }
    for id in &repair.given_up {
        context
            .output(&format!("snapshot {} is missing; recorded as lost, so that prune can run", id.short()));
    }
    for id in &repair.marked {
        context.output(&format!("snapshot {} is incomplete; marked suspect", id.short()));
    }
    for id in &repair.still {
        context.output(&format!("snapshot {} is still incomplete", id.short()));
    }
    if is_whole {
        context.say(&format!("{}: complete", render::count(repair.report.snapshots, "snapshot")));
    }
    Ok(exit(is_whole))
}

fn marks(context: &Context, dry_run: bool) -> Result<Exit, CliError> {
    let repo = context.repository_uncached()?;
    let objects = repair_marks(&repo, dry_run, &context.run())?;
    if context.json {
        context.report(RepairedMarks { ok: true, dry_run, given_up: objects });
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
    let ids = repair_times(&repo, dry_run, &context.run())?;
    if context.json {
        context.report(RepairedTimes { ok: true, dry_run, confirmed: Id::all(&ids) });
        return Ok(Exit::Good);
    }
    let verb = if dry_run { "would confirm" } else { "confirmed" };
    context.say(&format!("{verb} the times of {} snapshots", ids.len()));
    Ok(Exit::Good)
}
