//! Numbers and times as people read them, in one place.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Whether a browser may take this character for something else than a sign of its own.
pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// Text that others wrote, in one line.
pub(crate) fn line(text: &str) -> String {
    text.replace(is_hidden, "\u{fffd}")
}

/// Text that others wrote, with its lines.
pub(crate) fn lines(text: &str) -> String {
    text.replace(|c| is_hidden(c) && c != '\n' && c != '\t', "\u{fffd}")
}

/// Bytes, decimal: `18.4 GB`.
pub(crate) fn bytes(bytes: u64) -> String {
    let value = bytes as f64;
    for (unit, factor) in [("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)] {
        if value >= factor {
            let value = value / factor;
            return match value {
                _ if value < 10.0 => format!("{value:.2} {unit}"),
                _ if value < 100.0 => format!("{value:.1} {unit}"),
                _ => format!("{value:.0} {unit}"),
            };
        }
    }
    format!("{bytes} B")
}

/// A count, in groups of three.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// So many of a thing: `1 run`, `2 runs`.
pub(crate) fn of(number: u64, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{} {thing}s", count(number)) }
}

/// Seconds in the two largest units: `3 min 39 s`, `2 d 4 h`.
pub(crate) fn time(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (size, unit) in units {
        if rest >= size && parts.len() < 2 {
            parts.push(format!("{} {unit}", rest / size));
        } else if !parts.is_empty() {
            break;
        }
        rest %= size;
    }
    if parts.is_empty() { "0 s".to_owned() } else { parts.join(" ") }
}

/// Milliseconds, as [`time`].
pub(crate) fn time_ms(ms: i64) -> String {
    let ms = u64::try_from(ms).unwrap_or_default();
    if ms < 10_000 && ms % 1000 != 0 { format!("{:.1} s", ms as f64 / 1000.0) } else { time(ms / 1000) }
}

/// A moment.
pub(crate) fn moment(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A moment in RFC 3339, in UTC.
pub(crate) fn utc(ms: i64) -> String {
    moment(ms).to_string()
}

/// A moment as a short text in a zone: `27 Nov 03:15`, with the year where that is another.
pub(crate) fn short(ms: i64, zone: &TimeZone, now: i64) -> String {
    let zoned = moment(ms).to_zoned(zone.clone());
    let form = if zoned.year() == moment(now).to_zoned(zone.clone()).year() {
        "%-d %b %H:%M"
    } else {
        "%-d %b %Y %H:%M"
    };
    zoned.strftime(form).to_string()
}

/// Milliseconds of an RFC 3339 text.
pub(crate) fn ms_of(text: &str) -> Option<i64> {
    text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_short_and_exact() {
        assert_eq!(
            (bytes(999), bytes(18_410_000_000), bytes(214_000_000)),
            ("999 B".into(), "18.4 GB".into(), "214 MB".into())
        );
        assert_eq!(
            (time(0), time(219), time(7_200), time(187_200)),
            ("0 s".into(), "3 min 39 s".into(), "2 h".into(), "2 d 4 h".into())
        );
        assert_eq!(count(1_204_118), "1\u{202f}204\u{202f}118");
        assert_eq!(line("a\u{1b}[31m\u{202e}b\nc"), "a\u{fffd}[31m\u{fffd}b\u{fffd}c");
    }
}
