//! `dumpvault snapshots`, `ls`, `show` and `stats`: which snapshots are shown, and how.

use super::args::{LsArgs, NameArgs, SnapshotsArgs};
use super::exit::Exit;
use super::render;
use super::report::CliError;
use super::style::Colour;
use super::table::Table;
use super::which::one;
use super::{Context, files, keys, remember, system, tables};
use crate::base::calendar::Calendar;
use crate::base::clock::Clock;
use crate::base::name::SeriesName;
use crate::base::numbers::State;
use crate::engine::listing::{Sums, closer, stats as reckon};
use crate::engine::report::{
    KeyAmount, Listed, ListedSnapshot, Shown, Snapshot, Snapshots, Stats, format_word,
};
use crate::engine::restore::rollback_words;
use crate::engine::snapshots::{SnapshotsJob, snapshots as list_snapshots};
use crate::settings;

pub(super) fn snapshots(context: &Context, args: &SnapshotsArgs) -> Result<Exit, CliError> {
    if args.sets {
        return system::list(context);
    }
    let calendar = context.app.settings.calendar.clone();
    let series = args.series.as_deref().map(SeriesName::parse).transpose()?;
    let since = args.since.as_deref().map(|text| settings::since(text, "--since")).transpose()?;
    let since = since.map(|since| since.moment(&calendar.zone, context.clock.now()));
    let job =
        SnapshotsJob { series, host: args.host.clone(), tags: args.tag.clone(), since, latest: args.latest };
    let looked = context.clock.now().as_millisecond();
    let found = list_snapshots(&job, &context.repository()?, &calendar, &context.progress)?;
    remember(context, &found.present, looked);
    let (report, class) = (found.report, found.class);
    match context.json {
        true => context.report(report),
        false if report.snapshots.is_empty() => context.say("no snapshots"),
        false => print_list(context, args, &report, &calendar),
    }
    Ok(class.map_or(Exit::Good, Exit::from))
}

const TITLES: [&str; 9] = ["ID", "TIME", "SERIES", "HOST", "TAGS", "SIZE", "STORED", "TOOK", "STATE"];
/// Of these, what `--compact` shows.
const COMPACT: [usize; 5] = [0, 1, 2, 5, 8];

fn print_list(context: &Context, args: &SnapshotsArgs, report: &Snapshots, calendar: &Calendar) {
    let columns: Vec<usize> = if args.compact { COMPACT.to_vec() } else { (0..TITLES.len()).collect() };
    let pick = |cells: &[String]| -> Vec<String> {
        columns.iter().filter_map(|column| cells.get(*column).cloned()).collect()
    };
    let Snapshots { snapshots, pack_bytes, .. } = report;
    let rows: Vec<Vec<String>> =
        snapshots.iter().map(|one| pick(&row(context, one, &calendar.zone))).collect();
    let titles: Vec<&str> = columns.iter().filter_map(|column| TITLES.get(*column).copied()).collect();
    let numbers = |(_, column): &(usize, &usize)| [5, 6, 7].contains(*column);
    let right: Vec<usize> = columns.iter().enumerate().filter(numbers).map(|(at, _)| at).collect();
    let colour =
        |at: usize, column: usize| colour_of(snapshots.get(at).filter(|_| column + 1 == titles.len())?);
    let lines = Table { fixed: &[0, 1], colour: Some(&colour), ..Table::new(&titles, &right, &rows) };
    context.table(&lines);
    context.say(&format!(
        "{}, times in {}; packs: {} on disk, padding included (by series: `stats`)",
        render::count(rows.len(), "snapshot"),
        calendar.zone_name(),
        render::bytes(*pack_bytes)
    ));
}

/// What of a state a person should see first.
fn colour_of(one: &ListedSnapshot) -> Option<Colour> {
    match one.snapshot.state == State::Complete.word() {
        _ if one.is_damaged => Some(Colour::Red),
        false => Some(Colour::Yellow),
        true => one.verified.map(|_| Colour::Green),
    }
}

fn row(context: &Context, one: &ListedSnapshot, zone: &jiff::tz::TimeZone) -> Vec<String> {
    let ListedSnapshot { snapshot, pinned, verified, is_unproven, .. } = one;
    let unknown = || "?".to_owned();
    let mut state = snapshot.state.clone();
    if *is_unproven {
        state += ", unproven";
    }
    if *pinned {
        state += ", pinned";
    }
    if let Some(time) = verified {
        let now_ms = context.clock.now().as_millisecond();
        state += &format!(", verified {}", render::ago(now_ms.saturating_sub(time.ms())));
    }
    vec![
        snapshot.id.short().to_owned(),
        render::time(snapshot.time.ms(), zone),
        snapshot.series.clone(),
        snapshot.host.clone(),
        snapshot.tags.join(","),
        snapshot.bytes.map_or_else(unknown, render::bytes),
        snapshot.bytes_stored.map_or_else(unknown, render::bytes),
        snapshot.duration_ms.map_or_else(unknown, render::duration),
        state,
    ]
}

pub(super) fn ls(context: &Context, args: &LsArgs) -> Result<Exit, CliError> {
    let name = context.name(&args.snapshot)?;
    if name.stream.as_ref().is_some_and(|path| path.starts_with('/')) {
        return files::list(context, args, &name);
    }
    if args.recursive || args.long || args.versions {
        return Err(CliError::usage("--recursive, --long and --versions go with SNAPSHOT:/PATH"));
    }
    let (seen, tags) = one(context, &context.repository()?, &name, args.which.any_host)?;
    if context.json {
        let keys = seen.body.as_ref().map(|body| KeyAmount::all(&keys::of(context, body)));
        let tables = seen.body.clone().map(|body| tables::amounts_of(context, body));
        context.report(Listed { snapshot: Snapshot::new(&seen, tags), tables, keys });
        return Ok(Exit::Good);
    }
    let streams = seen.body.iter().flat_map(|body| &body.streams);
    let rows: Vec<Vec<String>> = streams
        .map(|stream| {
            vec![
                stream.name.clone(),
                render::bytes(stream.bytes),
                render::bytes(stream.stats.bytes_new),
                render::bytes(stream.stats.bytes_stored + stream.stats.recipe_bytes_stored),
                format_word(stream),
                stream.proof.word().into_owned(),
            ]
        })
        .collect();
    context.table(&Table::new(&["STREAM", "SIZE", "NEW", "STORED", "FORMAT", "PROOF"], &[1, 2, 3], &rows));
    for failed in seen.body.iter().flat_map(|body| &body.failed) {
        context.output(&format!("failed: {}: {}", failed.name, failed.reason));
    }
    if let Some(body) = seen.body {
        keys::list(context, &body);
        tables::list(context, body);
    }
    Ok(Exit::Good)
}

pub(super) fn show(context: &Context, args: &NameArgs) -> Result<Exit, CliError> {
    let name = context.whole_name(&args.snapshot)?;
    // Opened once: a passphrase is asked for once, and a key takes its time.
    let repo = context.repository()?;
    let (seen, tags) = one(context, &repo, &name, args.which.any_host)?;
    let closer = closer(&repo, &seen.summary.id, &context.progress, &context.cancel)?;
    if context.json {
        context.report(Shown::new(&seen, tags, &closer));
        return Ok(Exit::Good);
    }
    let zone = context.app.settings.calendar.zone.clone();
    let (id, head) = (&seen.summary.id, &seen.summary.head);
    let line = |name: &str, value: String| context.output(&format!("{name:<14} {value}"));
    line("snapshot", id.to_string());
    line("series", format!("{} on {}, number {}", head.series, head.host, head.counter));
    line("time", render::time(head.time_ms, &zone));
    line("finished", render::time(head.finished_ms, &zone));
    line("state", format!("{}, proof: {}", head.state.word(), head.proof.word()));
    line("tags", tags.join(", "));
    line("written by", format!("dumpvault {}", head.program));
    let Some(body) = &seen.body else { return Ok(Exit::Good) };
    line("parent", body.parent.map_or("none".to_owned(), |id| id.to_string()));
    line("unique", format!("{} (in no other snapshot)", render::bytes(closer.bytes_alone)));
    for (key, value) in &body.source {
        line("source", format!("{key}: {value}"));
    }
    for (stream, survey) in body.streams.iter().zip(&closer.streams) {
        let stats = &stream.stats;
        context.output("");
        line("stream", stream.name.clone());
        line("size", format!("{} ({} bytes)", render::bytes(stream.bytes), stream.bytes));
        line("blake3", stream.digest.to_string());
        line("format", format!("{}, proof: {}", format_word(stream), stream.proof.word()));
        line("new", render::bytes(stats.bytes_new));
        line("deduplicated", render::bytes(stats.bytes_known));
        line("copied", render::bytes(stats.bytes_copied));
        line(
            "stored",
            format!(
                "{} of data, {} of recipe",
                render::bytes(stats.bytes_stored),
                render::bytes(stats.recipe_bytes_stored)
            ),
        );
        line(
            "recipe",
            format!("{}, {}", render::count(stats.chunks, "chunk"), render::count(stats.extents, "extent")),
        );
        if let Some(bytes) = stats.bytes_parent_read {
            line("compared", format!("{} of the parent read", render::bytes(bytes)));
        }
        if let Some(survey) = survey {
            line(
                "restore",
                format!(
                    "reads {} in {}; read amplification {:.2}; {}; recipe depth {}",
                    render::bytes(survey.stored_read),
                    render::count(survey.blocks.len(), "block"),
                    survey.read_amplification(),
                    render::count(survey.extents, "extent"),
                    survey.base.map_or(0, |base| base.depth) + 1,
                ),
            );
        }
        line("took", render::duration(stats.duration_ms));
        for (key, value) in &stream.attributes {
            line(key, value.clone());
        }
    }
    for failed in &body.failed {
        line("failed", format!("{}: {}", failed.name, failed.reason));
    }
    Ok(Exit::Good)
}

pub(super) fn stats(context: &Context) -> Result<Exit, CliError> {
    let repo = context.repository()?;
    let found = reckon(&repo, &context.progress, &context.cancel)?;
    if let Some(words) = rollback_words(&found.turned_back) {
        context.warn(words);
    }
    if context.json {
        context.report(Stats::from(&found));
        return Ok(Exit::Good);
    }
    let row = |name: &str, host: &str, sums: &Sums, read: Option<&f64>, disk: Option<&u64>| {
        vec![
            name.to_owned(),
            host.to_owned(),
            sums.snapshots.to_string(),
            render::bytes(sums.bytes),
            render::bytes(sums.bytes_new),
            render::bytes(sums.bytes_known),
            render::bytes(sums.bytes_copied),
            render::bytes(sums.bytes_stored),
            format!("{:.1}", sums.ratio()),
            read.map_or_else(|| "-".to_owned(), |read| format!("{read:.2}")),
            disk.map_or_else(|| "-".to_owned(), |disk| render::bytes(*disk)),
        ]
    };
    let of_series = found.series.iter();
    let mut rows: Vec<Vec<String>> = of_series
        .map(|(key, own)| row(&key.0, &key.1, own, found.reads.get(key), found.disk.get(key)))
        .collect();
    rows.push(row("all", "", &found.total, None, Some(&found.on_disk.pack_bytes)));
    let titles =
        ["SERIES", "HOST", "SNAPSHOTS", "SIZE", "NEW", "KNOWN", "COPIED", "STORED", "RATIO", "READ", "DISK"];
    context.table(&Table::new(&titles, &[2, 3, 4, 5, 6, 7, 8, 9, 10], &rows));
    context.say(&format!(
        "{} on disk, of which {} in {} packs, padding included; {} chunks. STORED: bytes added by each snapshot, without padding. \
         READ: read amplification of the newest snapshot. DISK: packs that hold data of the series, padding included; shared packs \
         count for each series.",
        render::bytes(found.on_disk.bytes),
        render::bytes(found.on_disk.pack_bytes),
        found.on_disk.packs,
        found.chunks
    ));
    Ok(Exit::Good)
}
