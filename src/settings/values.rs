//! Values that are written as text: sizes, durations, ages, fractions, moments. Each says which setting it stands in when it is none.

use super::ConfigError;
use crate::base::name::start_of;
use crate::content::codec::Level;
use crate::vault::snapshot::retention::Age;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Parses a compression level that stands in `setting`.
///
/// # Errors
/// When it is none.
pub fn level(text: &str, setting: &str) -> Result<Level, ConfigError> {
    text.parse().map_err(|error: crate::content::codec::ParseLevelError| ConfigError::Value {
        setting: setting.to_owned(),
        reason: error.to_string(),
    })
}

/// Parses a size like `2G`, `500MiB`, `10 M` or a plain number of bytes. Units count in powers of 1024, as other tools of the
/// trade have them.
///
/// # Errors
/// When it is none.
pub fn bytes(text: &str, setting: &str) -> Result<u64, ConfigError> {
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
    bytes.ok_or_else(|| ConfigError::Value {
        setting: setting.to_owned(),
        reason: format!("`{text}` is no size: write 500M, 2G or a number of bytes"),
    })
}

/// Parses a duration like `90s`, `30m`, `2h 30m`, or a plain number of seconds.
///
/// # Errors
/// When it is none, or not positive.
pub fn duration(text: &str, setting: &str) -> Result<std::time::Duration, ConfigError> {
    let wrong = || ConfigError::Value {
        setting: setting.to_owned(),
        reason: format!("`{text}` is no duration: write 90s, 30m, 2h or 1h 30m"),
    };
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(std::time::Duration::from_secs(seconds));
    }
    let signed: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    std::time::Duration::try_from(signed).ok().filter(|duration| !duration.is_zero()).ok_or_else(wrong)
}

/// Parses a part of one: `0.1`, `10%`, `1/30`; from 0, and 1 at most.
///
/// # Errors
/// When it is none.
pub fn fraction(text: &str, setting: &str) -> Result<f64, ConfigError> {
    let number = |text: &str| text.trim().parse::<f64>().ok();
    let value = match (text.trim().strip_suffix('%'), text.split_once('/')) {
        (Some(percent), _) => number(percent).map(|percent| percent / 100.0),
        (None, Some((part, whole))) => number(part).zip(number(whole)).map(|(part, whole)| part / whole),
        (None, None) => number(text),
    };
    value.filter(|value| (0.0..=1.0).contains(value)).ok_or_else(|| ConfigError::Form {
        setting: setting.to_owned(),
        kind: "fraction",
        text: text.to_owned(),
        hint: "use 0.1, 10% or 1/30",
    })
}

/// As [`fraction`], and not 0.
///
/// # Errors
/// When it is none.
pub fn part(text: &str, setting: &str) -> Result<f64, ConfigError> {
    let value = fraction(text, setting)?;
    if value > 0.0 {
        return Ok(value);
    }
    let hint = "use a fraction above 0: 0.1, 10% or 1/30";
    Err(ConfigError::Form { setting: setting.to_owned(), kind: "fraction", text: text.to_owned(), hint })
}

/// Parses a moment, the beginning of a day, or so long ago.
///
/// # Errors
/// When it is none of these.
pub fn since(text: &str, setting: &str, zone: &TimeZone, now: Timestamp) -> Result<Timestamp, ConfigError> {
    let ago = || age(text, setting).ok().map(|age| age.before(now, zone));
    start_of(text, zone).or_else(ago).ok_or_else(|| ConfigError::Form {
        setting: setting.to_owned(),
        kind: "time",
        text: text.to_owned(),
        hint: "use 2026-11-01, 2026-11-01T03:00:00Z or 30d",
    })
}

/// Parses a grace period: an age or a duration; 0 in any unit is none at all.
///
/// # Errors
/// When it is none, or `m` leaves open whether minutes or months are meant.
pub fn grace(text: &str, setting: &str) -> Result<std::time::Duration, ConfigError> {
    let wrong =
        |hint| ConfigError::Form { setting: setting.to_owned(), kind: "age", text: text.to_owned(), hint };
    let trimmed = text.trim();
    let digits = trimmed.trim_start_matches('0');
    if digits.len() < trimmed.len()
        && matches!(digits.trim(), "" | "s" | "m" | "min" | "h" | "d" | "w" | "mo" | "y")
    {
        return Ok(std::time::Duration::ZERO);
    }
    let units = trimmed.split(|c: char| c.is_ascii_digit() || c.is_whitespace());
    if { units }.any(|unit| unit == "m") {
        return Err(wrong("`m` could be minutes or months: use 30min, or 30d"));
    }
    let parsed =
        age(text, setting).ok().and_then(|age| std::time::Duration::try_from(age.approximate()).ok());
    let parsed = parsed.map_or_else(|| duration(text, setting), Ok);
    parsed.map_err(|_| wrong("use 36h, 2d or 30min; 0 for none"))
}

/// Parses how long ago something may be: `36h`, `30d`, `2w`, `6m` or `6mo` (calendar months), `1y`, `1y6m`.
///
/// # Errors
/// When it is none, or not positive.
pub fn age(text: &str, setting: &str) -> Result<Age, ConfigError> {
    let wrong = || ConfigError::Value {
        setting: setting.to_owned(),
        reason: format!("invalid age `{text}`: use 36h, 30d, 2w, 6m (months) or 1y"),
    };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_ages_parse() {
        assert_eq!(duration("90s", "x").unwrap().as_secs(), 90);
        assert_eq!(age("30d", "x").unwrap(), Age { hours: 720, ..Age::default() });
        assert_eq!(age("1y 6m", "x").unwrap(), Age { years: 1, months: 6, hours: 0 });
        assert_eq!(age("6mo2w", "x").unwrap(), Age { years: 0, months: 6, hours: 336 });
        for bad in ["", "0d", "d", "5", "5 days", "-3d", "9999999999999999y", "99999y", "3µ"] {
            assert!(age(bad, "x").is_err(), "{bad}");
        }
        assert_eq!(duration("1h 30m", "x").unwrap().as_secs(), 5400);
        assert_eq!(duration("45", "x").unwrap().as_secs(), 45);
        for bad in ["", "-3s", "soon", "0s"] {
            assert!(duration(bad, "x").is_err(), "{bad}");
        }
    }

    #[test]
    fn fractions_have_one_form_wherever_they_stand() {
        for (given, expected) in
            [("0.1", 0.1), ("10%", 0.1), ("1/10", 0.1), ("1", 1.0), ("100 %", 1.0), ("0", 0.0)]
        {
            let value = fraction(given, "x").unwrap();
            assert!((value - expected).abs() < 1e-12, "{given}: {value}");
        }
        for bad in ["", "x", "1/0", "-1%", "101%", "2", "3/2", "nan", "0/0"] {
            let error = fraction(bad, "--sample").unwrap_err();
            assert_eq!(error.to_string(), format!("--sample: invalid fraction `{bad}`"));
            assert!(error.hint().is_some());
        }
        assert!(part("0", "x").is_err() && part("0%", "x").is_err() && part("5%", "x").is_ok());
    }

    #[test]
    fn a_grace_of_nothing_has_any_unit_and_minutes_are_no_months() {
        for none in ["0", "0s", "0h", "0d", "00", "0 m"] {
            assert_eq!(grace(none, "x").unwrap().as_secs(), 0, "{none}");
        }
        for (given, seconds) in
            [("30min", 1800), ("90s", 90), ("36h", 36 * 3600), ("2d", 172_800), ("1h 30min", 5400)]
        {
            assert_eq!(grace(given, "x").unwrap().as_secs(), seconds, "{given}");
        }
        for bad in ["30m", "1h 5m", "", "soon", "-1d", "s"] {
            assert!(grace(bad, "x").is_err(), "{bad}");
        }
    }

    #[test]
    fn since_is_a_moment_a_day_or_an_age() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let since = |text: &str| since(text, "--since", &zone, now).map(|moment| moment.to_string());
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
            assert_eq!(bytes(text, "x").unwrap(), expected, "{text}");
        }
        for bad in ["", "M", "-1", "1.5G", "3x", "99999999T", "1 0"] {
            assert!(bytes(bad, "x").is_err(), "{bad}");
        }
    }
}
