//! How a person names a snapshot: an id prefix, `latest`, `SERIES`, `SERIES@2026-11-01`, `SERIES~1`.

use super::{State, Summary};
use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

/// A name that stands for no snapshot, or for several.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// The repository holds none at all.
    #[error("the repository holds no snapshot")]
    NoSnapshots,
    /// Nothing fits.
    #[error("no snapshot `{name}`")]
    NotFound {
        /// As given.
        name: String,
        /// Series that there are.
        series: Vec<String>,
    },
    /// Several fit.
    #[error("`{name}` could be {count} snapshots: {candidates}", count = candidates.len(), candidates = candidates.join(", "))]
    Ambiguous {
        /// As given.
        name: String,
        /// Each candidate: short id, series, time.
        candidates: Vec<String>,
    },
    /// The series has fewer snapshots.
    #[error("`{name}` reaches back {back}, and the series `{series}` has {count} snapshots")]
    TooFarBack {
        /// As given.
        name: String,
        /// The series.
        series: String,
        /// Steps back.
        back: usize,
        /// Snapshots in the series.
        count: usize,
    },
    /// What follows `@` is no date or time.
    #[error("`{text}` is no date or time: give 2026-11-01, 2026-11-01T03:00 or 2026-11-01T03:00:00Z")]
    BadTime {
        /// As given.
        text: String,
    },
}

/// Finds the snapshot that `name` stands for. Dates without a zone are those of `zone`; `all` may have any order.
///
/// `latest`, `SERIES` and its forms give the newest *complete* snapshot, or the newest of any state where none is complete.
/// An id prefix has at least 4 digits; a series of the same name wins over an id prefix.
///
/// # Errors
/// When nothing or too much fits.
pub fn select<'a>(all: &'a [Summary], name: &str, zone: &TimeZone) -> Result<&'a Summary, SelectionError> {
    let mut sorted: Vec<&Summary> = all.iter().collect();
    sorted.sort_by_key(|summary| (summary.head.time_ms, summary.head.counter, summary.id));
    if sorted.is_empty() {
        return Err(SelectionError::NoSnapshots);
    }
    let of_series = |series: &str| -> Vec<&'a Summary> {
        sorted.iter().copied().filter(|summary| summary.head.series == series).collect()
    };
    let not_found = || SelectionError::NotFound { name: name.to_owned(), series: series_names(&sorted) };

    let exact = of_series(name);
    if let Some(found) = newest(&exact) {
        return one_host(name, &exact, found);
    }
    if name == "latest" {
        return newest(&sorted).ok_or_else(not_found);
    }
    if let Some((series, back)) = name.rsplit_once('~')
        && let Ok(back) = back.parse::<usize>()
    {
        let snapshots = of_series(series);
        if snapshots.is_empty() {
            return Err(not_found());
        }
        let count = snapshots.len();
        let found = count.checked_sub(back + 1).and_then(|at| snapshots.get(at).copied());
        let found = found.ok_or_else(|| SelectionError::TooFarBack {
            name: name.to_owned(),
            series: series.to_owned(),
            back,
            count,
        })?;
        return one_host(name, &snapshots, found);
    }
    if let Some((series, when)) = name.rsplit_once('@') {
        let until = end_of(when, zone)?;
        let mut snapshots = of_series(series);
        snapshots.retain(|summary| summary.head.time() <= until);
        let found = newest(&snapshots).ok_or_else(not_found)?;
        return one_host(name, &snapshots, found);
    }
    by_id(&sorted, name).unwrap_or_else(|| Err(not_found()))
}

fn by_id<'a>(sorted: &[&'a Summary], name: &str) -> Option<Result<&'a Summary, SelectionError>> {
    let digits = name.to_ascii_lowercase();
    if digits.len() < 4 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let fits: Vec<&Summary> =
        sorted.iter().copied().filter(|summary| summary.id.to_string().starts_with(&digits)).collect();
    match fits.as_slice() {
        [] => None,
        [one] => Some(Ok(one)),
        many => Some(Err(ambiguous(name, many))),
    }
}

/// Two hosts may use the same series name; then the name alone does not say which is meant.
fn one_host<'a>(name: &str, fits: &[&'a Summary], found: &'a Summary) -> Result<&'a Summary, SelectionError> {
    let mut newest_per_host: Vec<&Summary> = Vec::new();
    for summary in fits.iter().rev() {
        if newest_per_host.iter().all(|seen| seen.head.host != summary.head.host) {
            newest_per_host.push(summary);
        }
    }
    if newest_per_host.len() > 1 { Err(ambiguous(name, &newest_per_host)) } else { Ok(found) }
}

fn ambiguous(name: &str, fits: &[&Summary]) -> SelectionError {
    let describe = |summary: &&Summary| {
        format!(
            "{} ({} on {}, {})",
            summary.id.short(),
            summary.head.series,
            summary.head.host,
            summary.head.time()
        )
    };
    SelectionError::Ambiguous { name: name.to_owned(), candidates: fits.iter().map(describe).collect() }
}

fn newest<'a>(sorted: &[&'a Summary]) -> Option<&'a Summary> {
    let complete = sorted.iter().rev().find(|summary| summary.head.state == State::Complete);
    complete.or(sorted.last()).copied()
}

fn series_names(sorted: &[&Summary]) -> Vec<String> {
    let mut names: Vec<String> = sorted.iter().map(|summary| summary.head.series.clone()).collect();
    names.sort();
    names.dedup();
    names
}

/// The last moment that `text` means: the end of a day for a date, the moment itself for a time.
fn end_of(text: &str, zone: &TimeZone) -> Result<Timestamp, SelectionError> {
    let bad = || SelectionError::BadTime { text: text.to_owned() };
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment);
    }
    // A bare date parses as a datetime, too: midnight would be its first moment, not its last.
    if text.len() <= 10
        && let Ok(date) = text.parse::<Date>()
    {
        let last = date.to_datetime(jiff::civil::Time::MAX);
        return zone.to_timestamp(last).map_err(|_| bad());
    }
    let local: DateTime = text.parse().map_err(|_| bad())?;
    zone.to_timestamp(local).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{AuthorId, SnapshotId};
    use crate::snapshot::{Head, Proof};

    fn summary(id: u8, series: &str, time: &str, state: State) -> Summary {
        let time: Timestamp = time.parse().unwrap();
        let mut bytes = [id; 32];
        bytes[0] = 0xab;
        Summary {
            id: SnapshotId::from_bytes(bytes),
            head: Head {
                series: series.into(),
                host: "db1".into(),
                time_ms: time.as_millisecond(),
                state,
                tags: vec![],
                counter: 1,
                predecessor: None,
                finished_ms: 0,
                time_zone: "UTC".into(),
                calendar: vec![],
                proof: Proof::Exited,
                program: String::new(),
                origin: None,
                author: AuthorId::from_bytes([1; 16]),
                pins: None,
                import: None,
                origin_author: None,
            },
            stored_ms: time.as_millisecond(),
            is_doubtful: false,
            by_full: true,
        }
    }

    fn some() -> Vec<Summary> {
        vec![
            summary(1, "app", "2026-11-01T03:00:00Z", State::Complete),
            summary(2, "app", "2026-11-02T03:00:00Z", State::Complete),
            summary(3, "app", "2026-11-03T03:00:00Z", State::Partial),
            summary(4, "shop", "2026-11-02T05:00:00Z", State::Complete),
        ]
    }

    fn pick(name: &str) -> Result<u8, SelectionError> {
        select(&some(), name, &TimeZone::UTC).map(|summary| summary.id.as_bytes()[1])
    }

    #[test]
    fn names_find_their_snapshots() {
        assert_eq!(pick("app"), Ok(2), "the newest complete one");
        assert_eq!(pick("latest"), Ok(4));
        assert_eq!(pick("app~0"), Ok(3), "steps count every snapshot");
        assert_eq!(pick("app~2"), Ok(1));
        assert_eq!(pick("app@2026-11-01"), Ok(1));
        assert_eq!(pick("app@2026-11-02T02:59"), Ok(1));
        assert_eq!(pick("app@2026-11-02T03:00:00Z"), Ok(2));
        assert_eq!(pick("ab0404"), Ok(4));
        assert_eq!(pick("AB0404"), Ok(4));
    }

    #[test]
    fn bad_names_say_why() {
        assert!(matches!(pick("app~9"), Err(SelectionError::TooFarBack { count: 3, .. })));
        assert!(
            matches!(pick("nope"), Err(SelectionError::NotFound { series, .. }) if series == ["app", "shop"])
        );
        assert!(matches!(pick("app@2025-01-01"), Err(SelectionError::NotFound { .. })));
        assert!(matches!(pick("app@noon"), Err(SelectionError::BadTime { .. })));
        assert!(matches!(pick("ab0"), Err(SelectionError::NotFound { .. })), "too short");
        let mut all = some();
        all.push(summary(1, "x", "2026-11-09T03:00:00Z", State::Complete));
        assert!(
            matches!(select(&all, "ab0101", &TimeZone::UTC), Err(SelectionError::Ambiguous { candidates, .. }) if candidates.len() == 2)
        );
        assert!(matches!(select(&[], "latest", &TimeZone::UTC), Err(SelectionError::NoSnapshots)));
    }

    #[test]
    fn a_series_on_two_hosts_is_ambiguous() {
        let mut all = some();
        all[0].head.host = "db2".into();
        assert!(matches!(select(&all, "app", &TimeZone::UTC), Err(SelectionError::Ambiguous { .. })));
    }
}
