//! Words and figures for people, objects for programs.

use crate::engine::listing::{Seen, sizes};
use crate::storage::Requests;
use crate::vault::snapshot::{Stream, Summary};
use indicatif::HumanBytes;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

/// "1 pack", "2 packs", "1 index", "2 indexes".
pub(super) fn count(number: impl TryInto<u64>, noun: &str) -> String {
    let number: u64 = number.try_into().unwrap_or(u64::MAX);
    let plural = if noun.ends_with(['x', 's']) { "es" } else { "s" };
    format!("{number} {noun}{}", if number == 1 { "" } else { plural })
}

/// Bytes for people: 1.23 GiB.
pub(super) fn bytes(count: u64) -> String {
    HumanBytes(count).to_string()
}

/// A duration for people, from milliseconds.
pub(super) fn duration(ms: u64) -> String {
    match ms {
        0..60_000 => format!("{:.1} s", ms as f64 / 1000.0),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms / 1000 % 60),
        _ => format!("{} h {} min", ms / 3_600_000, ms / 60_000 % 60),
    }
}

/// How long ago something was, roughly.
pub(super) fn ago(ms: i64) -> String {
    let minutes = ms / 60_000;
    match minutes {
        ..1 => "just now".to_owned(),
        1..120 => format!("{minutes} min ago"),
        120..2880 => format!("{} h ago", minutes / 60),
        _ => format!("{} days ago", minutes / 1440),
    }
}

/// A moment in the zone, to the second.
pub(super) fn time(ms: i64, zone: &TimeZone) -> String {
    crate::vault::snapshot::timestamp(ms).to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// A snapshot's tags: calendar tags, then the user's.
pub(super) fn tags(calendar: &[&str], summary: &Summary) -> Vec<String> {
    let user = summary.head.tags.iter().cloned();
    calendar.iter().map(|tag| (*tag).to_owned()).chain(user).collect()
}

/// A snapshot for programs.
pub(super) fn snapshot(seen: &Seen, tags: Vec<String>) -> Value {
    let Summary { id, head, .. } = &seen.summary;
    let body = seen.body.as_ref();
    let (plain, stored) = body.map(sizes).unzip();
    json!({
        "id": id.to_string(),
        "time": head.time().to_string(),
        "finished": crate::vault::snapshot::timestamp(head.finished_ms).to_string(),
        "series": head.series,
        "host": head.host,
        "tags": tags,
        "state": head.state.word(),
        "proof": head.proof.word(),
        "counter": head.counter,
        "predecessor": head.predecessor.map(|id| id.to_string()),
        "parent": body.and_then(|body| body.parent).map(|id| id.to_string()),
        "bytes": plain,
        "bytes_stored": stored,
        "duration_ms": body.map(|body| body.streams.iter().map(|stream| stream.stats.duration_ms).sum::<u64>()),
        "streams": body.map(|body| body.streams.iter().map(stream).collect::<Vec<_>>()),
        "failed": body.map(|body| {
            body.failed.iter().map(|failed| json!({"name": failed.name, "reason": failed.reason})).collect::<Vec<_>>()
        }),
        "source": body.map(|body| &body.source),
    })
}

fn stream(stream: &Stream) -> Value {
    let stats = &stream.stats;
    json!({
        "name": stream.name,
        "bytes": stream.bytes,
        "blake3": stream.digest.to_string(),
        "proof": stream.proof.word(),
        "format": format_word(stream),
        "bytes_new": stats.bytes_new,
        "bytes_known": stats.bytes_known,
        "bytes_copied": stats.bytes_copied,
        "bytes_stored": stats.bytes_stored,
        "recipe_bytes_stored": stats.recipe_bytes_stored,
        "chunks": stats.chunks,
        "extents": stats.extents,
        "bytes_parent_read": stats.bytes_parent_read,
        "duration_ms": stats.duration_ms,
        "attributes": stream.attributes,
    })
}

/// What a stream's bytes are, in a word. Where the format has no number for it, the stream itself may say.
pub(super) fn format_word(stream: &Stream) -> String {
    use crate::vault::snapshot::{CONTENT, StreamFormat};
    match (stream.format, stream.attributes.get(CONTENT)) {
        (StreamFormat::Unknown, Some(content)) => content.clone(),
        (format, _) => format.word().into_owned(),
    }
}

/// What went over the wire, in a line.
pub(super) fn requests(requests: &Requests) -> String {
    format!(
        "{} requests ({} put, {} get, {} head, {} list, {} delete), {} sent, {} received",
        requests.total(),
        requests.put,
        requests.get,
        requests.head,
        requests.list,
        requests.delete,
        bytes(requests.bytes_up),
        bytes(requests.bytes_down),
    )
}

/// What went over the wire.
pub(super) fn requests_json(requests: &Requests) -> Value {
    json!({
        "total": requests.total(), "put": requests.put, "get": requests.get, "head": requests.head,
        "list": requests.list, "delete": requests.delete, "other": requests.other,
        "bytes_up": requests.bytes_up, "bytes_down": requests.bytes_down,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_a_thing_is_not_several() {
        assert_eq!([0u64, 1, 2].map(|number| count(number, "pack")), ["0 packs", "1 pack", "2 packs"]);
        assert_eq!(count(2u64, "index"), "2 indexes");
    }

    #[test]
    fn durations_read_well() {
        assert_eq!(duration(1234), "1.2 s");
        assert_eq!(duration(61_000), "1 min 1 s");
        assert_eq!(duration(7_260_000), "2 h 1 min");
        assert_eq!(
            [-5, 59_000, 3_600_000, 7_200_000, 3 * 86_400_000].map(ago),
            ["just now", "just now", "60 min ago", "2 h ago", "3 days ago"]
        );
    }
}
