//! `dumpvault check`: how damage is shown, and what a report says of packs that were not read.

use super::args::CheckArgs;
use super::exit::Exit;
use super::report::CliError;
use super::{Context, render};
use crate::engine::check::{CheckJob, Checked, run_check, run_check_of_storage};
use crate::engine::report::{Check, SnapshotHit};
use crate::settings::{duration, part};
use std::time::Instant;

/// So many ranges of a stream are shown to people; JSON has them all.
const RANGES_SHOWN: usize = 8;

pub(super) fn run(context: &Context, args: &CheckArgs) -> Result<Exit, CliError> {
    let job = job(context, args)?;
    let Checked { report, class } = match args.storage_only {
        true => run_check_of_storage(&job, &context.app, &context.run())?,
        // A cache would hide what the storage has lost.
        false => run_check(&job, &context.repository_uncached()?, &context.app, &context.run())?,
    };
    match context.json {
        true => context.report(report),
        false => tell(context, &report, args),
    }
    Ok(class.map_or(Exit::Good, Exit::from))
}

fn job(context: &Context, args: &CheckArgs) -> Result<CheckJob, CliError> {
    Ok(CheckJob {
        read_data: args.read_data,
        share: args.read_data_subset.as_deref().map(|text| part(text, "--read-data-subset")).transpose()?,
        asked: Instant::now(),
        time_box: args.time_box.as_deref().map(|text| duration(text, "--for")).transpose()?,
        workers: context.cores(),
    })
}

fn tell(context: &Context, report: &Check, args: &CheckArgs) {
    let read = match report.bytes_read {
        0 => "pack data not read".to_owned(),
        bytes => format!("read {} of pack data", render::bytes(bytes)),
    };
    context.say(&format!(
        "checked {}, {}, {} ({}); {read}",
        render::count(report.snapshots, "snapshot"),
        render::count(report.objects, "metadata object"),
        render::count(report.packs, "pack"),
        render::bytes(report.pack_bytes),
    ));
    if report.packs_left > 0 {
        context.say(&format!(
            "time limit reached; {} left for the next run",
            render::count(report.packs_left, "pack")
        ));
    }
    if report.packs_read > 0 {
        tell_age(context, report);
    }
    if report.unreferenced_packs > 0 {
        context.say(&format!(
            "{} ({}) unreferenced: of running or interrupted backups, or of removed snapshots; the next prune deletes what no backup uses again",
            render::count(report.unreferenced_packs, "pack"),
            render::bytes(report.unreferenced_bytes)
        ));
    }
    for id in &report.uncommitted {
        context.say(&format!(
            "snapshot {} is not committed: its backup is running or was interrupted, or its mark is lost",
            id.short()
        ));
    }
    if !report.foreign.is_empty() && !args.foreign {
        context.say(&format!(
            "{}: dumpvault check --foreign",
            render::count(report.foreign.len(), "foreign object")
        ));
    }
    for foreign in report.foreign.iter().filter(|_| args.foreign) {
        let who = foreign.claims.as_ref().map_or_else(String::new, |(series, host)| {
            format!(" (says it is of series `{series}` of host `{host}`)")
        });
        context.output(&format!("foreign: {}{who}: {}", foreign.object, foreign.what));
    }
    for what in &report.claimed_lost {
        context.warn(format!("{what}; that key may only add, and may be lying"));
    }
    for what in &report.turned_back {
        context.output(&format!("turned back: {what}"));
    }
    if report.temporary_files > 0 {
        let files = render::count(report.temporary_files, "temporary file");
        context.say(&format!("{files} of running or killed runs"));
    }
    for damage in &report.set_aside {
        context.say(&format!("set aside: {}: {}; no snapshot needs it", damage.object, damage.what));
    }
    for pack in &report.recovered {
        context.say(&format!("pack {} is intact; cleared its damage mark", pack.short()));
    }
    for damage in &report.damage {
        context.output(&format!("damaged: {}: {}", damage.object, damage.what));
    }
    for hit in &report.snapshots_hit {
        context.output(&describe(hit));
    }
    if report.ok {
        context.say("no damage found");
    } else {
        context.output(&format!(
            "{} damaged, {} incomplete",
            render::count(report.damage.len(), "object"),
            render::count(report.snapshots_hit.len(), "stream")
        ));
    }
}

fn tell_age(context: &Context, report: &Check) {
    let never = match report.packs_never_read {
        0 => String::new(),
        packs => format!(", except {packs} never read completely"),
    };
    if let Some(oldest) = report.oldest_read {
        context.say(&format!(
            "{} read; every pack was read since {}{never}",
            render::count(report.packs_read, "pack"),
            render::time(oldest.ms(), &context.app.settings.calendar.zone)
        ));
    }
}

fn describe(hit: &SnapshotHit) -> String {
    let stream = if hit.stream.is_empty() { String::new() } else { format!(", stream `{}`", hit.stream) };
    let lost = match hit.bytes_lost {
        0 => String::new(),
        bytes => {
            let shown = hit.ranges.iter().take(RANGES_SHOWN);
            let mut ranges: Vec<String> = shown.map(|[first, end]| format!("{first}-{}", end - 1)).collect();
            if hit.ranges.len() > RANGES_SHOWN {
                ranges.push(format!("and {} more", hit.ranges.len() - RANGES_SHOWN));
            }
            format!(" ({} lost: bytes {})", render::bytes(bytes), ranges.join(", "))
        }
    };
    let tables = match hit.tables.len() {
        0 => String::new(),
        count => {
            let shown: Vec<&str> = hit.tables.iter().take(RANGES_SHOWN).map(String::as_str).collect();
            let more = if count > RANGES_SHOWN {
                format!(" and {} more", count - RANGES_SHOWN)
            } else {
                String::new()
            };
            format!(", in {}{more}", shown.join(", "))
        }
    };
    format!(
        "incomplete: snapshot {} of `{}`{stream}{lost}{tables}: {}",
        hit.snapshot.short(),
        hit.series,
        hit.what
    )
}
