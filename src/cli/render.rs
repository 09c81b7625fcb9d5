//! Words and figures for people.

use crate::engine::report::Requests;
use jiff::tz::TimeZone;

pub(super) use crate::base::words::{bytes, count};

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
    crate::base::clock::timestamp(ms).to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// What went over the wire, in a line.
pub(super) fn requests(requests: &Requests) -> String {
    format!(
        "{} requests ({} put, {} get, {} head, {} list, {} delete), {} sent, {} received",
        requests.total,
        requests.put,
        requests.get,
        requests.head,
        requests.list,
        requests.delete,
        bytes(requests.bytes_up),
        bytes(requests.bytes_down),
    )
}

/// What came or went, with its sign.
pub(super) fn signed(before: u64, after: u64, show: impl Fn(u64) -> String) -> String {
    match after.cmp(&before) {
        std::cmp::Ordering::Greater => format!("+{}", show(after - before)),
        std::cmp::Ordering::Less => format!("-{}", show(before - after)),
        std::cmp::Ordering::Equal => "0".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
