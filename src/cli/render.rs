//! Words and figures for people.

use crate::storage::Requests;
use crate::vault::snapshot::Summary;
use indicatif::HumanBytes;
use jiff::tz::TimeZone;

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
