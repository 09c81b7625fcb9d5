//! `dumpvault check`: how damage is shown, and what a report says of packs that were not read.

use super::args::CheckArgs;
use super::exit::Exit;
use super::report::CliError;
use super::{Context, render};
use crate::base::clock::Clock;
use crate::engine::check::{check, check_storage, class_of, short_locks};
use crate::engine::report::{Check, ShortLock};
use crate::settings::{duration, part};
use crate::vault::check::{CheckReport, CheckSettings, Hit, ReadData};
use std::time::Instant;

/// So many ranges of a stream are shown to people; JSON has them all.
const RANGES_SHOWN: usize = 8;

pub(super) fn run(context: &Context, args: &CheckArgs) -> Result<Exit, CliError> {
    let settings = settings(context, args)?;
    let mut locks = Vec::new();
    let report = if args.storage_only {
        check_storage(&context.app, &settings, &context.run())?
    } else {
        // A cache would hide what the storage has lost.
        let repo = context.repository_uncached()?;
        let host = context.app.host();
        let report = check(&repo, &context.clock, &host, settings, &context.progress, &context.cancel)?;
        locks = short_locks(&repo, &report, &context.run())?;
        report
    };
    let leftovers = context.app.leftovers();
    if context.json {
        context.report(Check {
            read_data: args.read_data,
            temporary_files: leftovers,
            short_locks: locks.iter().map(ShortLock::from).collect(),
            ..Check::new(&report, args.storage_only)
        });
    } else {
        tell(context, &report, args, leftovers)?;
    }
    Ok(class_of(&report, &locks).map_or(Exit::Good, Exit::from))
}

fn settings(context: &Context, args: &CheckArgs) -> Result<CheckSettings, CliError> {
    let time_box = args.time_box.as_deref().map(|text| duration(text, "--for")).transpose()?;
    let read = match &args.read_data_subset {
        Some(text) => ReadData::Share(part(text, "--read-data-subset")?),
        None if args.read_data || time_box.is_some() => ReadData::All,
        None => ReadData::Nothing,
    };
    let now_ms = context.clock.now().as_millisecond();
    let deadline = time_box.and_then(|time| Instant::now().checked_add(time));
    Ok(CheckSettings { deadline, ..CheckSettings::new(read, now_ms, context.cores()) })
}

fn tell(context: &Context, report: &CheckReport, args: &CheckArgs, leftovers: usize) -> Result<(), CliError> {
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
        tell_age(context, report)?;
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
        let who = foreign.head.as_ref().map_or_else(String::new, |head| {
            format!(" (says it is of series `{}` of host `{}`)", head.series, head.host)
        });
        context.output(&format!("foreign: {}{who}: {}", foreign.object, foreign.why));
    }
    for what in &report.claimed_lost {
        context.warn(format!("{what}; that key may only add, and may be lying"));
    }
    for what in &report.turned_back {
        context.output(&format!("turned back: {what}"));
    }
    if leftovers > 0 {
        context.say(&format!("{} of running or killed runs", render::count(leftovers, "temporary file")));
    }
    for damage in &report.quarantined {
        context.say(&format!("set aside: {}: {}; no snapshot needs it", damage.object, damage.what));
    }
    for pack in &report.recovered {
        context.say(&format!("pack {} is intact; cleared its damage mark", pack.short()));
    }
    for damage in &report.damage {
        context.output(&format!("damaged: {}: {}", damage.object, damage.what));
    }
    for hit in &report.hits {
        context.output(&describe(hit));
    }
    if report.is_clean() {
        context.say("no damage found");
    } else {
        context.output(&format!(
            "{} damaged, {} incomplete",
            render::count(report.damage.len(), "object"),
            render::count(report.hits.len(), "stream")
        ));
    }
    Ok(())
}

fn tell_age(context: &Context, report: &CheckReport) -> Result<(), CliError> {
    let zone = context.app.settings.calendar.zone.clone();
    let never = match report.packs_never_read {
        0 => String::new(),
        packs => format!(", except {packs} never read completely"),
    };
    if let Some(oldest) = report.oldest_read_ms {
        context.say(&format!(
            "{} read; every pack was read since {}{never}",
            render::count(report.packs_read, "pack"),
            render::time(oldest, &zone)
        ));
    }
    Ok(())
}

fn describe(hit: &Hit) -> String {
    let stream = if hit.stream.is_empty() { String::new() } else { format!(", stream `{}`", hit.stream) };
    let lost = match hit.bytes_lost {
        0 => String::new(),
        bytes => {
            let shown = hit.ranges.iter().take(RANGES_SHOWN);
            let mut ranges: Vec<String> =
                shown.map(|range| format!("{}-{}", range.start, range.end - 1)).collect();
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
    format!("incomplete: snapshot {} of `{}`{stream}{lost}{tables}: {}", hit.id.short(), hit.series, hit.what)
}
