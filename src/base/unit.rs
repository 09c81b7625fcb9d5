//! Quantities that a person writes as text: sizes, durations, ages, fractions, moments. Each is parsed once, where it
//! comes in.

use super::level::{Level, ParseLevelError};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};
use std::time::Duration;

/// A value that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Problem {
    /// What is wrong: "invalid duration `soon`".
    pub text: String,
    /// What to do about it.
    pub next: Option<String>,
}

impl Problem {
    /// Something is wrong, and no more is known.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), next: None }
    }

    /// The same, and what to do about it.
    pub fn next(self, next: impl Into<String>) -> Self {
        Self { next: Some(next.into()), ..self }
    }

    /// The text is not of that kind.
    fn form(kind: &str, text: &str, next: &str) -> Self {
        Self::new(format!("invalid {kind} `{text}`")).next(next)
    }
}

/// How long ago: years and months of the calendar, and hours beside them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Age {
    /// Calendar years.
    pub years: i16,
    /// Calendar months.
    pub months: i32,
    /// Hours; a day has 24 of them.
    pub hours: i32,
}

impl Age {
    /// The moment so long before another one, in a zone; the earliest that there is if it lies before that.
    pub fn before(self, moment: Timestamp, zone: &TimeZone) -> Timestamp {
        let calendar = Span::new().try_years(self.years).and_then(|span| span.try_months(self.months));
        let earlier = calendar.and_then(|span| moment.to_zoned(zone.clone()).checked_sub(span));
        let earlier = earlier.map(|zoned| zoned.timestamp());
        let hours = SignedDuration::from_hours(i64::from(self.hours));
        earlier.and_then(|earlier| earlier.checked_sub(hours)).unwrap_or(Timestamp::MIN)
    }

    /// About how long that is: 365 days a year and 30 a month.
    pub fn approximate(self) -> SignedDuration {
        let days = i64::from(self.years) * 365 + i64::from(self.months) * 30;
        SignedDuration::from_hours(days * 24 + i64::from(self.hours))
    }
}

/// From when on: a moment, a day or time in the zone that counts, or so long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// A moment of its own.
    Moment(Timestamp),
    /// A day's beginning or a time, wherever the reader is.
    Local(DateTime),
    /// So long ago.
    Ago(Age),
}

impl Since {
    /// The moment that it is, in a zone and at a time.
    pub fn moment(self, zone: &TimeZone, now: Timestamp) -> Timestamp {
        match self {
            Self::Moment(moment) => moment,
            Self::Local(time) => zone.to_timestamp(time).unwrap_or(Timestamp::MAX),
            Self::Ago(age) => age.before(now, zone),
        }
    }
}

/// How long nobody can delete what is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectLock {
    /// Keys with a right of their own may end the lock (*governance*); otherwise nobody may (*compliance*).
    pub governance: bool,
    /// How long.
    pub lasts: Duration,
}

/// Parses a compression level.
///
/// # Errors
/// When it is none.
pub fn level(text: &str) -> Result<Level, Problem> {
    text.parse().map_err(|error: ParseLevelError| Problem::new(error.to_string()).next(ParseLevelError::HINT))
}

/// Parses a size like `2G`, `500MiB`, `10 M` or a plain number of bytes. Units count in powers of 1024, as other tools
/// of the trade have them.
///
/// # Errors
/// When it is none.
pub fn bytes(text: &str) -> Result<u64, Problem> {
    let trimmed = text.trim();
    let digits = trimmed.len() - trimmed.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = trimmed.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let shift = match unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit) {
        "" => Some(0),
        "k" => Some(10),
        "m" => Some(20),
        "g" => Some(30),
        "t" => Some(40),
        _ => None,
    };
    let number = number.parse::<u64>().ok();
    let bytes = number.zip(shift).and_then(|(number, shift)| number.checked_mul(1 << shift));
    bytes.ok_or_else(|| Problem::form("size", text, "use 500M, 2G or a number of bytes"))
}

/// Parses a duration like `90s`, `30m`, `2h 30m`, or a plain number of seconds.
///
/// # Errors
/// When it is none, or not positive.
pub fn duration(text: &str) -> Result<Duration, Problem> {
    let wrong = || Problem::form("duration", text, "use a positive duration: 90s, 30m, 1h 30m");
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let signed: SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(signed).ok().filter(|duration| !duration.is_zero()).ok_or_else(wrong)
}

/// Parses a part of one: `0.1`, `10%`, `1/30`; from 0, and 1 at most.
///
/// # Errors
/// When it is none.
pub fn fraction(text: &str) -> Result<f64, Problem> {
    let number = |text: &str| text.trim().parse::<f64>().ok();
    let value = match (text.trim().strip_suffix('%'), text.split_once('/')) {
        (Some(percent), _) => number(percent).map(|percent| percent / 100.0),
        (None, Some((part, whole))) => number(part).zip(number(whole)).map(|(part, whole)| part / whole),
        (None, None) => number(text),
    };
    let value = value.filter(|value| (0.0..=1.0).contains(value));
    value.ok_or_else(|| Problem::form("fraction", text, "use 0.1, 10% or 1/30"))
}

/// As [`fraction`], and not 0.
///
/// # Errors
/// When it is none.
pub fn part(text: &str) -> Result<f64, Problem> {
    let value = fraction(text)?;
    match value > 0.0 {
        true => Ok(value),
        false => Err(Problem::form("fraction", text, "use a fraction above 0: 0.1, 10% or 1/30")),
    }
}

/// Parses a number of times: 1 or more.
///
/// # Errors
/// When it is none.
pub fn factor(text: &str) -> Result<f64, Problem> {
    let value = text.trim().parse::<f64>().ok().filter(|value| value.is_finite() && *value >= 1.0);
    value.ok_or_else(|| Problem::form("factor", text, "use a number from 1 on, such as 3"))
}

/// Parses a moment, the beginning of a day, or so long ago.
///
/// # Errors
/// When it is none of these.
pub fn since(text: &str) -> Result<Since, Problem> {
    if let Ok(moment) = text.parse() {
        return Ok(Since::Moment(moment));
    }
    if let Ok(time) = text.parse() {
        return Ok(Since::Local(time));
    }
    let wrong = |_| Problem::form("time", text, "use 2026-11-01, 2026-11-01T03:00:00Z or 30d");
    age(text).map(Since::Ago).map_err(wrong)
}

/// Parses a grace period: an age or a duration; 0 in any unit is none at all.
///
/// # Errors
/// When it is none, or `m` leaves open whether minutes or months are meant.
pub fn grace(text: &str) -> Result<Duration, Problem> {
    let wrong = |next| Problem::form("age", text, next);
    let trimmed = text.trim();
    let digits = trimmed.trim_start_matches('0');
    if digits.len() < trimmed.len()
        && matches!(digits.trim(), "" | "s" | "m" | "min" | "h" | "d" | "w" | "mo" | "y")
    {
        return Ok(Duration::ZERO);
    }
    let mut units = trimmed.split(|c: char| c.is_ascii_digit() || c.is_whitespace());
    if units.any(|unit| unit == "m") {
        return Err(wrong("`m` could be minutes or months: use 30min, or 30d"));
    }
    let parsed = age(text).ok().and_then(|age| Duration::try_from(age.approximate()).ok());
    let parsed = parsed.map_or_else(|| duration(text), Ok);
    parsed.map_err(|_| wrong("use 36h, 2d or 30min; 0 for none"))
}

/// Parses how long ago something may be: `36h`, `30d`, `2w`, `6m` or `6mo` (calendar months), `1y`, `1y6m`.
///
/// # Errors
/// When it is none, or not positive.
pub fn age(text: &str) -> Result<Age, Problem> {
    let wrong = || Problem::form("age", text, "use 36h, 30d, 2w, 6mo or 1y");
    let (mut years, mut months, mut hours) = (0i64, 0i64, 0i64);
    let mut rest = text.trim();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, later) = rest.split_at_checked(digits).ok_or_else(wrong)?;
        let unit = match later.starts_with("mo") {
            true => "mo",
            false => later.get(..1).ok_or_else(wrong)?,
        };
        let (sum, of_unit) = match unit {
            "h" => (&mut hours, 1),
            "d" => (&mut hours, 24),
            "w" => (&mut hours, 7 * 24),
            "m" | "mo" => (&mut months, 1),
            "y" => (&mut years, 1),
            _ => return Err(wrong()),
        };
        let number: i64 = number.parse().map_err(|_| wrong())?;
        *sum = number.checked_mul(of_unit).and_then(|more| sum.checked_add(more)).ok_or_else(wrong)?;
        rest = later.get(unit.len()..).unwrap_or_default().trim_start();
    }
    // What a calendar cannot hold is no age either.
    let fits = years < 10_000 && months < 10_000 * 12 && hours < 10_000 * 365 * 24;
    let age = Age {
        years: i16::try_from(years).map_err(|_| wrong())?,
        months: i32::try_from(months).map_err(|_| wrong())?,
        hours: i32::try_from(hours).map_err(|_| wrong())?,
    };
    if fits && age != Age::default() { Ok(age) } else { Err(wrong()) }
}

/// Parses how long objects are locked: `compliance:30d`, `governance:1y`; `off` is not at all.
///
/// # Errors
/// When it is none.
pub fn object_lock(text: &str) -> Result<Option<ObjectLock>, Problem> {
    if text == "off" {
        return Ok(None);
    }
    let wrong = || Problem::form("value", text, "use compliance:30d, governance:30d or off");
    let (mode, lasts) = text.split_once(':').ok_or_else(wrong)?;
    let governance = match mode {
        "governance" => true,
        "compliance" => false,
        _ => return Err(wrong()),
    };
    let lasts = age(lasts).map_err(|_| wrong())?;
    let lasts = Duration::try_from(lasts.approximate()).map_err(|_| wrong())?;
    Ok(Some(ObjectLock { governance, lasts }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_ages_parse() {
        assert_eq!(duration("90s").unwrap().as_secs(), 90);
        assert_eq!(age("30d").unwrap(), Age { hours: 720, ..Age::default() });
        assert_eq!(age("1y 6m").unwrap(), Age { years: 1, months: 6, hours: 0 });
        assert_eq!(age("6mo2w").unwrap(), Age { years: 0, months: 6, hours: 336 });
        for bad in ["", "0d", "d", "5", "5 days", "-3d", "9999999999999999y", "99999y", "3µ"] {
            assert!(age(bad).is_err(), "{bad}");
        }
        assert_eq!(duration("1h 30m").unwrap().as_secs(), 5400);
        assert_eq!(duration("45").unwrap().as_secs(), 45);
        for bad in ["", "-3s", "soon", "0s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn fractions_have_one_form_wherever_they_stand() {
        for (given, expected) in
            [("0.1", 0.1), ("10%", 0.1), ("1/10", 0.1), ("1", 1.0), ("100 %", 1.0), ("0", 0.0)]
        {
            let value = fraction(given).unwrap();
            assert!((value - expected).abs() < 1e-12, "{given}: {value}");
        }
        for bad in ["", "x", "1/0", "-1%", "101%", "2", "3/2", "nan", "0/0"] {
            let error = fraction(bad).unwrap_err();
            assert_eq!(error.to_string(), format!("invalid fraction `{bad}`"));
            assert!(error.next.is_some());
        }
        assert!(part("0").is_err() && part("0%").is_err() && part("5%").is_ok());
        assert!(factor("0.9").is_err() && factor("inf").is_err() && factor("3").is_ok());
    }

    #[test]
    fn a_grace_of_nothing_has_any_unit_and_minutes_are_no_months() {
        for none in ["0", "0s", "0h", "0d", "00", "0 m"] {
            assert_eq!(grace(none).unwrap().as_secs(), 0, "{none}");
        }
        for (given, seconds) in
            [("30min", 1800), ("90s", 90), ("36h", 36 * 3600), ("2d", 172_800), ("1h 30min", 5400)]
        {
            assert_eq!(grace(given).unwrap().as_secs(), seconds, "{given}");
        }
        for bad in ["30m", "1h 5m", "", "soon", "-1d", "s"] {
            assert!(grace(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn since_is_a_moment_a_day_or_an_age() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let since = |text: &str| since(text).map(|since| since.moment(&zone, now).to_string());
        assert_eq!(since("2026-11-01T03:00:00Z").unwrap(), "2026-11-01T03:00:00Z");
        assert_eq!(since("2026-11-01").unwrap(), "2026-10-31T22:00:00Z");
        assert_eq!(since("30d").unwrap(), "2026-10-22T12:00:00Z");
        for bad in ["", "soon", "2026-13-01", "5"] {
            assert!(since(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_parse_with_and_without_units() {
        for (text, expected) in
            [("0", 0), ("12", 12), ("3k", 3072), ("10 M", 10 << 20), ("2GiB", 2 << 30), ("1tb", 1 << 40)]
        {
            assert_eq!(bytes(text).unwrap(), expected, "{text}");
        }
        for bad in ["", "M", "-1", "1.5G", "3x", "99999999T", "1 0"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn object_locks_have_a_mode_and_an_age() {
        assert_eq!(object_lock("off"), Ok(None));
        let lock = object_lock("governance:30d").unwrap().unwrap();
        assert!(lock.governance && lock.lasts == Duration::from_secs(30 * 86_400));
        for bad in ["", "30d", "compliance", "compliance:", "other:30d", "compliance:soon"] {
            assert!(object_lock(bad).is_err(), "{bad}");
        }
    }
}
