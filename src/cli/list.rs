//! `dumpvault snapshots`, `ls`, `show` and `stats`.

use super::args::{NameArgs, SnapshotsArgs};
use super::render::{self, table};
use super::report::{CliError, Exit};
use super::{Context, print, tables};
use crate::clock::Clock;
use crate::event::{Event, Observer};
use crate::ops::backup::tags_of;
use crate::ops::restore::find;
use crate::ops::survey::{Closer, Seen, Sums, Survey, closer, sizes, stats as reckon, survey};
use crate::repo::history::History;
use crate::snapshot::Summary;
use serde_json::{Value, json};

pub(super) fn snapshots(context: &Context, args: &SnapshotsArgs) -> Result<Exit, CliError> {
    let calendar = context.app.config.calendar()?;
    let repo = context.repository()?;
    let Survey { snapshots, history } = survey(&repo, &context.progress)?;
    let summaries: Vec<Summary> = snapshots.iter().map(|seen| seen.summary.clone()).collect();
    let tags = tags_of(&summaries, &calendar);
    let shown: Vec<(Seen, Vec<String>)> = snapshots
        .into_iter()
        .zip(tags)
        .map(|(seen, calendar)| {
            let tags = render::tags(&calendar, &seen.summary);
            (seen, tags)
        })
        .filter(|(seen, tags)| {
            let head = &seen.summary.head;
            args.series.as_ref().is_none_or(|series| *series == head.series)
                && args.host.as_ref().is_none_or(|host| *host == head.host)
                && args.tag.iter().all(|tag| tags.contains(tag))
        })
        .collect();
    for damage in &history.damaged {
        let message = damage.error.to_string();
        context.progress.observe(Event::Damage { object: "history".to_owned(), message });
    }
    if context.json {
        let one = |(seen, tags): (Seen, Vec<String>)| {
            let mut object = render::snapshot(&seen, tags);
            if let Some(map) = object.as_object_mut() {
                map.insert("pinned".to_owned(), json!(history.pinned.contains(&seen.summary.id)));
                let verified = history.verified.get(&seen.summary.id);
                let time = verified.map(|ms| crate::snapshot::timestamp(*ms).to_string());
                map.insert("verified".to_owned(), json!(time));
            }
            object
        };
        let list: Vec<Value> = shown.into_iter().map(one).collect();
        context
            .output(&json!({"version": 1, "snapshots": list, "time_zone": calendar.zone_name()}).to_string());
    } else if shown.is_empty() {
        context.say("no snapshots");
    } else {
        let rows: Vec<Vec<String>> =
            shown.iter().map(|(seen, tags)| row(context, seen, tags, &calendar.zone, &history)).collect();
        let titles = ["ID", "TIME", "SERIES", "HOST", "TAGS", "SIZE", "STORED", "TOOK", "STATE"];
        context.output(&table(&titles, &[5, 6, 7], &rows));
        context.say(&format!("{} snapshots, times in {}", rows.len(), calendar.zone_name()));
    }
    Ok(if history.damaged.is_empty() { Exit::Good } else { Exit::Integrity })
}

fn row(
    context: &Context,
    seen: &Seen,
    tags: &[String],
    zone: &jiff::tz::TimeZone,
    history: &History,
) -> Vec<String> {
    let head = &seen.summary.head;
    let unknown = || "?".to_owned();
    let totals = seen.body.as_ref().map(sizes);
    let took =
        seen.body.as_ref().map(|body| body.streams.iter().map(|stream| stream.stats.duration_ms).sum());
    let mut state = head.state.word().into_owned();
    if head.proof.is_missing() {
        state += ", unproven";
    }
    if history.pinned.contains(&seen.summary.id) {
        state += ", pinned";
    }
    if let Some(ms) = history.verified.get(&seen.summary.id) {
        let now_ms = context.clock.now().as_millisecond();
        state += &format!(", verified {}", render::ago(now_ms.saturating_sub(*ms)));
    }
    vec![
        seen.summary.id.short(),
        render::time(head.time_ms, zone),
        head.series.clone(),
        head.host.clone(),
        tags.join(","),
        totals.map_or_else(unknown, |(plain, _)| render::bytes(plain)),
        totals.map_or_else(unknown, |(_, stored)| render::bytes(stored)),
        took.map_or_else(unknown, render::duration),
        state,
    ]
}

/// The snapshot that a name stands for, its tags among all others.
pub(super) fn one(context: &Context, name: &str) -> Result<(Seen, Vec<String>), CliError> {
    let calendar = context.app.config.calendar()?;
    let repo = context.repository()?;
    let (mut catalog, history) = repo.known(&context.progress)?;
    let summary = find(&history, name, &calendar.zone, &context.progress)?;
    let tags = tags_of(&history.snapshots, &calendar);
    let mut paired = history.snapshots.iter().zip(&tags);
    let own = paired.find(|(other, _)| other.id == summary.id).map(|(_, tags)| tags.as_slice());
    let tags = render::tags(own.unwrap_or_default(), &summary);
    let body = Some(repo.body(&mut catalog, &summary.id)?);
    Ok((Seen { summary, body }, tags))
}

pub(super) fn ls(context: &Context, args: &NameArgs) -> Result<Exit, CliError> {
    let (seen, tags) = one(context, &args.snapshot)?;
    if context.json {
        let tables = seen.body.as_ref().map(tables::list_json);
        let object = json!({"version": 1, "snapshot": render::snapshot(&seen, tags), "tables": tables});
        context.output(&object.to_string());
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
                render::format_word(stream),
                stream.proof.word().into_owned(),
            ]
        })
        .collect();
    context.output(&table(&["STREAM", "SIZE", "NEW", "STORED", "FORMAT", "PROOF"], &[1, 2, 3], &rows));
    for failed in seen.body.iter().flat_map(|body| &body.failed) {
        context.output(&format!("failed: {}: {}", failed.name, failed.reason));
    }
    if let Some(body) = &seen.body {
        tables::list(context, body);
    }
    Ok(Exit::Good)
}

pub(super) fn show(context: &Context, args: &NameArgs) -> Result<Exit, CliError> {
    let (seen, tags) = one(context, &args.snapshot)?;
    let closer = closer(&context.repository()?, &seen.summary.id, &context.progress, &context.cancel)?;
    if context.json {
        let mut snapshot = render::snapshot(&seen, tags);
        add_closer(&mut snapshot, &closer);
        context.output(&json!({"version": 1, "snapshot": snapshot}).to_string());
        return Ok(Exit::Good);
    }
    let zone = context.app.config.calendar()?.zone;
    let Summary { id, head } = &seen.summary;
    let line = |name: &str, value: String| print(&format!("{name:<14} {value}"));
    line("snapshot", id.to_string());
    line("series", format!("{} on {}, number {}", head.series, head.host, head.counter));
    line("time", render::time(head.time_ms, &zone));
    line("finished", render::time(head.finished_ms, &zone));
    line("state", format!("{}, proof: {}", head.state.word(), head.proof.word()));
    line("tags", tags.join(", "));
    line("written by", format!("dumpvault {}", head.program));
    let Some(body) = &seen.body else { return Ok(Exit::Good) };
    line("parent", body.parent.map_or("none".to_owned(), |id| id.to_string()));
    line("held alone", format!("{}, which no other snapshot needs", render::bytes(closer.bytes_alone)));
    for (key, value) in &body.source {
        line("source", format!("{key}: {value}"));
    }
    for (stream, survey) in body.streams.iter().zip(&closer.streams) {
        let stats = &stream.stats;
        print("");
        line("stream", stream.name.clone());
        line("size", format!("{} ({} bytes)", render::bytes(stream.bytes), stream.bytes));
        line("blake3", stream.digest.to_string());
        line("format", format!("{}, proof: {}", render::format_word(stream), stream.proof.word()));
        line("new", render::bytes(stats.bytes_new));
        line("known", render::bytes(stats.bytes_known));
        line("copied", render::bytes(stats.bytes_copied));
        line(
            "stored",
            format!(
                "{} of data, {} of recipe",
                render::bytes(stats.bytes_stored),
                render::bytes(stats.recipe_bytes_stored)
            ),
        );
        line("pieces", format!("{} chunks met, {} entries of recipe", stats.chunks, stats.extents));
        if let Some(bytes) = stats.bytes_parent_read {
            line("compared", format!("{} of the parent read", render::bytes(bytes)));
        }
        if let Some(survey) = survey {
            line(
                "restore reads",
                format!(
                    "{} in {} blocks, {:.2} times what the stream takes by itself; {} ranges, {} recipes deep",
                    render::bytes(survey.stored_read),
                    survey.blocks.len(),
                    survey.read_amplification(),
                    survey.extents,
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

/// Adds what a closer look tells to a snapshot for programs.
fn add_closer(snapshot: &mut Value, closer: &Closer) {
    if let Some(map) = snapshot.as_object_mut() {
        map.insert("bytes_held_alone".to_owned(), json!(closer.bytes_alone));
    }
    let streams = snapshot.get_mut("streams").and_then(Value::as_array_mut);
    for (stream, survey) in streams.into_iter().flatten().zip(&closer.streams) {
        if let (Some(map), Some(survey)) = (stream.as_object_mut(), survey) {
            map.insert("blocks".to_owned(), json!(survey.blocks.len()));
            map.insert("ranges".to_owned(), json!(survey.extents));
            map.insert("bytes_restore_reads".to_owned(), json!(survey.stored_read));
            map.insert("read_amplification".to_owned(), json!(survey.read_amplification()));
        }
    }
}

pub(super) fn stats(context: &Context) -> Result<Exit, CliError> {
    let repo = context.repository()?;
    let found = reckon(&repo, &context.progress)?;
    if context.json {
        let sums = |sums: &Sums| {
            json!({
                "snapshots": sums.snapshots, "bytes": sums.bytes,
                "bytes_stored": sums.bytes_stored, "ratio": sums.ratio(),
                "bytes_new": sums.bytes_new, "bytes_known": sums.bytes_known, "bytes_copied": sums.bytes_copied,
            })
        };
        let series: Vec<Value> = found
            .series
            .iter()
            .map(|(key, own)| {
                let read = found.reads.get(key);
                json!({"series": key.0, "host": key.1, "sums": sums(own), "read_amplification": read})
            })
            .collect();
        let object = json!({
            "version": 1, "series": series, "total": sums(&found.total),
            "packs": found.packs, "pack_bytes": found.pack_bytes, "chunks": found.chunks,
        });
        context.output(&object.to_string());
        return Ok(Exit::Good);
    }
    let row = |name: &str, host: &str, sums: &Sums, read: Option<&f64>| {
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
        ]
    };
    let of_series = found.series.iter();
    let mut rows: Vec<Vec<String>> =
        of_series.map(|(key, sums)| row(&key.0, &key.1, sums, found.reads.get(key))).collect();
    rows.push(row("all", "", &found.total, None));
    let titles = ["SERIES", "HOST", "SNAPSHOTS", "SIZE", "NEW", "KNOWN", "COPIED", "STORED", "RATIO", "READ"];
    context.output(&table(&titles, &[2, 3, 4, 5, 6, 7, 8, 9], &rows));
    context.say(&format!(
        "{} in {} packs, {} chunks; STORED counts what each snapshot added when it was made, READ what a restore of \
         the newest reads for each byte that it takes by itself",
        render::bytes(found.pack_bytes),
        found.packs,
        found.chunks
    ));
    Ok(Exit::Good)
}
