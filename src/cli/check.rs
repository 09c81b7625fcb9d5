//! `dumpvault check`.

use super::args::CheckArgs;
use super::report::{CliError, Exit};
use super::{Context, render};
use crate::ops::check::check;
use crate::repo::verify::{CheckReport, CheckSettings};
use serde_json::json;

pub(super) fn run(context: &Context, args: &CheckArgs) -> Result<Exit, CliError> {
    // A cache would hide what the storage has lost.
    let repo = context.repository_uncached()?;
    let settings = CheckSettings { read_data: args.read_data, workers: context.cores() };
    let host = context.app.host();
    let report = check(&repo, &context.clock, &host, settings, &context.progress, &context.cancel)?;
    let leftovers = context.app.leftovers();
    if context.json {
        context.output(&to_json(&report, args.read_data, leftovers).to_string());
    } else {
        tell(context, &report, leftovers);
    }
    Ok(if report.is_clean() { Exit::Good } else { Exit::Integrity })
}

fn tell(context: &Context, report: &CheckReport, leftovers: usize) {
    context.say(&format!(
        "{} snapshots, {} metadata objects, {} packs ({}), {} read",
        report.snapshots,
        report.objects,
        report.packs,
        render::bytes(report.pack_bytes),
        render::bytes(report.bytes_read)
    ));
    if report.unreferenced_packs > 0 {
        context.say(&format!(
            "{} packs ({}) are unreferenced: of backups under way or cut short; a later backup may use them again",
            report.unreferenced_packs,
            render::bytes(report.unreferenced_bytes)
        ));
    }
    for id in &report.uncommitted {
        context.say(&format!(
            "snapshot {} is not committed: its backup is under way or was cut short, or its mark is lost",
            id.short()
        ));
    }
    if leftovers > 0 {
        context.say(&format!("{leftovers} temporary files of runs under way or killed"));
    }
    for damage in &report.damage {
        context.output(&format!("damaged: {}: {}", damage.object, damage.what));
    }
    for hit in &report.hits {
        let stream = if hit.stream.is_empty() { String::new() } else { format!(", stream `{}`", hit.stream) };
        let lost = match hit.bytes_lost {
            0 => String::new(),
            bytes => format!(" ({} lost, the first at byte {})", render::bytes(bytes), hit.first_lost),
        };
        context.output(&format!(
            "not whole: snapshot {} of `{}`{stream}{lost}: {}",
            hit.id.short(),
            hit.series,
            hit.what
        ));
    }
    if report.is_clean() {
        context.say("no damage found");
    } else {
        context.output(&format!(
            "{} objects damaged, {} streams not whole",
            report.damage.len(),
            report.hits.len()
        ));
    }
}

fn to_json(report: &CheckReport, read_data: bool, leftovers: usize) -> serde_json::Value {
    let damage: Vec<_> =
        report.damage.iter().map(|damage| json!({"object": damage.object, "what": damage.what})).collect();
    let hits: Vec<_> = report
        .hits
        .iter()
        .map(|hit| {
            json!({
                "snapshot": hit.id.to_string(), "series": hit.series, "stream": hit.stream,
                "bytes_lost": hit.bytes_lost, "first_lost": hit.first_lost, "what": hit.what,
            })
        })
        .collect();
    json!({
        "version": 1, "ok": report.is_clean(), "read_data": read_data, "snapshots": report.snapshots,
        "objects": report.objects, "packs": report.packs, "pack_bytes": report.pack_bytes,
        "bytes_read": report.bytes_read, "damage": damage, "snapshots_hit": hits,
        "unreferenced_packs": report.unreferenced_packs, "unreferenced_bytes": report.unreferenced_bytes,
        "uncommitted": report.uncommitted.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "temporary_files": leftovers,
    })
}
