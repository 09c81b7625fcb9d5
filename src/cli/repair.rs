//! `dumpvault repair`: how what was repaired, and what stays lost, is shown.

use super::args::RepairCommand;
use super::exit::Exit;
use super::report::CliError;
use super::{Context, render};
use crate::engine::repair::{
    foresee_snapshots, repair_index, repair_marks, repair_packs, repair_snapshots, repair_times,
};
use crate::engine::report::{
    Id, RepairedIndex, RepairedMarks, RepairedPacks, RepairedSnapshots, RepairedTimes,
};

pub(super) fn run(context: &Context, command: &RepairCommand) -> Result<Exit, CliError> {
    match command {
        RepairCommand::Index { dry_run } => index(context, *dry_run),
        RepairCommand::Packs { dry_run } => packs(context, *dry_run),
        RepairCommand::Snapshots { dry_run } => snapshots(context, *dry_run),
        RepairCommand::Marks { dry_run } => marks(context, *dry_run),
        RepairCommand::Times { dry_run } => times(context, *dry_run),
    }
}

/// What is not whole after a repair is still a failure of integrity.
fn exit(is_whole: bool) -> Exit {
    if is_whole { Exit::Good } else { Exit::Integrity }
}

fn index(context: &Context, dry_run: bool) -> Result<Exit, CliError> {
    let repo = context.repository_uncached()?;
    let report = RepairedIndex::new(&repair_index(&repo, dry_run, &context.run())?, dry_run);
    let is_whole = report.ok;
    if context.json {
        context.report(report);
        return Ok(exit(is_whole));
    }
    let told = if dry_run { Context::output } else { Context::say };
    let verb = if dry_run { "would replace" } else { "replaced" };
    told(
        context,
        &format!(
            "{verb} {} by {}, which {} {}",
            render::count(report.indexes_before, "index object"),
            report.indexes_written,
            if report.indexes_written == 1 { "names" } else { "name" },
            render::count(report.packs, "pack")
        ),
    );
    for pack in &report.dropped {
        told(
            context,
            &format!("removed from the index: pack {} is missing, and nothing needs it", pack.short()),
        );
    }
    for damage in &report.unexplained {
        let (object, what) = (&damage.object, &damage.what);
        context.output(&format!("not in the index: {object}: its content is unknown: {what}"));
    }
    for pack in &report.missing {
        context.output(&format!("missing: pack {pack}: no other pack holds its data"));
    }
    Ok(exit(is_whole))
}

fn packs(context: &Context, dry_run: bool) -> Result<Exit, CliError> {
    let repo = context.repository_uncached()?;
    let repair = repair_packs(&repo, &context.app.host(), dry_run, &context.run())?;
    let report = RepairedPacks::new(&repair, dry_run);
    let is_whole = report.ok;
    if context.json {
        context.report(report);
        return Ok(exit(is_whole));
    }
    let told = if dry_run { Context::output } else { Context::say };
    let cleared = if dry_run { "would clear" } else { "cleared" };
    for pack in &report.recovered {
        told(context, &format!("pack {} is intact; {cleared} its damage mark", pack.short()));
    }
    if dry_run && report.chunks_salvaged > 0 {
        context
            .output(&format!("would copy {} into new packs", render::count(report.chunks_salvaged, "chunk")));
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
            "{}: pack {}: {} of {} broken, {} lost: {}",
            if dry_run { "would set aside" } else { "set aside" },
            pack.pack,
            pack.blocks_broken,
            render::count(pack.blocks, "block"),
            render::count(pack.chunks_lost, "chunk"),
            pack.what
        );
        if pack.chunks_lost == 0 { told(context, &line) } else { context.output(&line) }
    }
    for pack in &report.missing {
        context.output(&format!("missing: pack {pack}"));
    }
    for damage in &report.unexplained {
        context.say(&format!("left alone: {}: {}", damage.object, damage.what));
    }
    if report.set_aside.is_empty() && report.recovered.is_empty() && report.missing.is_empty() {
        context.say("no pack is known to be damaged: `dumpvault check --read-data` reads them all");
    } else if !is_whole && !dry_run {
        context.output(
            "next: `dumpvault backup` (stores lost data that the source still has), then `dumpvault repair snapshots`",
        );
    }
    Ok(exit(is_whole))
}

fn snapshots(context: &Context, dry_run: bool) -> Result<Exit, CliError> {
    let repo = context.repository_uncached()?;
    let host = context.app.host();
    let (cores, progress, cancel) = (context.cores(), &context.progress, &context.cancel);
    let repair = match dry_run {
        true => foresee_snapshots(&repo, &context.clock, cores, progress, cancel)?,
        false => repair_snapshots(&repo, &context.clock, &host, cores, progress, cancel)?,
    };
    let report = RepairedSnapshots::new(&repair, dry_run);
    let is_whole = report.ok;
    if context.json {
        context.report(report);
        return Ok(exit(is_whole));
    }
    let told = if dry_run { Context::output } else { Context::say };
    let [cleared, recorded, marked] = match dry_run {
        true => ["would clear", "would be recorded", "would be marked"],
        false => ["cleared", "recorded", "marked"],
    };
    for id in &repair.recovered {
        told(context, &format!("snapshot {} is complete again; {cleared} its damage mark", id.short()));
    }
    for id in &repair.given_up {
        let line = format!("snapshot {} is missing; {recorded} as lost, so that prune can run", id.short());
        context.output(&line);
    }
    for id in &repair.marked {
        context.output(&format!("snapshot {} is incomplete; {marked} suspect", id.short()));
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
    let verb = if dry_run { "would be recorded" } else { "recorded" };
    for object in &objects {
        context.output(&format!("{object} cannot be read; {verb} as lost, so that prune can run"));
    }
    if objects.is_empty() {
        context.say("all marks and snapshots can be read");
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
