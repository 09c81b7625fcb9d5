//! Which snapshot a name means, among those that there are.

use super::{State, Summary};
use crate::base::name::{Position, SeriesName, SnapshotName, nearest};
use std::cmp::Ordering;

/// A name that stands for no snapshot, or for several.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// The repository holds none at all.
    #[error("the repository has no snapshots")]
    NoSnapshots,
    /// Nothing fits.
    #[error("no snapshot matches `{name}`")]
    NotFound {
        /// As given.
        name: String,
        /// The series that may have been meant.
        near: Option<String>,
        /// Series that there are.
        series: Vec<String>,
    },
    /// There is no such series.
    #[error("no series matches `{name}`")]
    NoSeries {
        /// As given.
        name: String,
        /// The series that may have been meant.
        near: Option<String>,
        /// Series that there are.
        series: Vec<String>,
    },
    /// Several ids begin so.
    #[error("`{name}` matches {count} snapshots: {candidates}", count = candidates.len(), candidates = candidates.join(", "))]
    Ambiguous {
        /// As given.
        name: String,
        /// Each candidate: short id, series, time.
        candidates: Vec<String>,
    },
    /// Other hosts have a series of that name, and this one does not.
    #[error("`{name}` exists on {count} hosts: {candidates}", count = candidates.len(), candidates = candidates.join(", "))]
    SeveralHosts {
        /// As given.
        name: String,
        /// The same with a host that is there.
        example: String,
        /// Each host's: its name, short id, time.
        candidates: Vec<String>,
    },
    /// The series has fewer snapshots.
    #[error("`{name}` does not exist: series `{series}` has {count}")]
    TooFarBack {
        /// As given.
        name: String,
        /// The series.
        series: String,
        /// Complete snapshots of the series, in words.
        count: String,
        /// What the oldest is called.
        oldest: String,
    },
}

impl SelectionError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoSnapshots => Some("create one with `dumpvault backup`".to_owned()),
            Self::NotFound { near, series, .. } | Self::NoSeries { near, series, .. } => {
                let list = (!series.is_empty()).then(|| format!("series here: {}", series.join(", ")));
                let near = near.as_ref().map(|near| format!("did you mean `{near}`?"));
                let words: Vec<String> = near.into_iter().chain(list).collect();
                (!words.is_empty()).then(|| words.join(" "))
            }
            Self::Ambiguous { .. } => Some("give more digits of the id".to_owned()),
            Self::SeveralHosts { example, .. } => {
                Some(format!("name the host, as in `{example}`; or take the newest of all with --any-host"))
            }
            Self::TooFarBack { oldest, .. } => Some(format!("the oldest is `{oldest}`")),
        }
    }
}

/// From where names are looked at.
#[derive(Debug, Clone)]
pub struct Viewpoint {
    /// This host: its series come first.
    pub host: String,
    /// The newest of all hosts is meant, where a name says nothing of the host.
    pub any_host: bool,
}

/// Which of two snapshots of one series and host is newer. The counter says in which order they were made, whatever the
/// clocks did; a doubtful one, or an import, is newer than no other.
pub fn newer(a: &Summary, b: &Summary) -> Ordering {
    a.rank().cmp(&b.rank())
}

/// Which of two snapshots of any series was taken later.
fn later(a: &Summary, b: &Summary) -> Ordering {
    (a.head.time_ms, a.id).cmp(&(b.head.time_ms, b.id))
}

/// Finds the snapshot that `name` stands for; `all` may have any order.
///
/// `latest`, `SERIES` and its forms give a *complete* snapshot, or one of any state where none is complete: steps of
/// `~N` count the same snapshots as `SERIES` alone does, so that `app~0` is `app`. A series wins over an id that begins
/// with the same digits.
///
/// # Errors
/// When nothing or too much fits.
pub fn select<'a>(
    all: &'a [Summary],
    name: &SnapshotName,
    from: &Viewpoint,
) -> Result<&'a Summary, SelectionError> {
    if all.is_empty() {
        return Err(SelectionError::NoSnapshots);
    }
    let of_series = of_host_meant(all, name, from)?;
    if of_series.is_empty() {
        if let Some(found) = by_id(all, name) {
            return found;
        }
        return Err(not_found(all, name));
    }
    let mut counted = counted(of_series);
    match name.is_latest() || spans_hosts(&counted) {
        true => counted.sort_by(|a, b| later(a, b)),
        false => counted.sort_by(|a, b| newer(a, b)),
    }
    let found = match name.position {
        Position::Newest => counted.last(),
        Position::Until(until) => counted.iter().rev().find(|summary| summary.head.time() <= until),
        Position::Back(back) => {
            let count = counted.len();
            let found = count.checked_sub(1).and_then(|last| last.checked_sub(back));
            let at = found.ok_or_else(|| too_far_back(name, &counted))?;
            counted.get(at)
        }
    };
    found.copied().ok_or_else(|| not_found(all, name))
}

/// The snapshots of the series that is meant: of the host named, of this host, or of the only one that has it.
fn of_host_meant<'a>(
    all: &'a [Summary],
    name: &SnapshotName,
    from: &Viewpoint,
) -> Result<Vec<&'a Summary>, SelectionError> {
    let fits = |summary: &&Summary| {
        let head = &summary.head;
        (name.is_latest() || head.series == name.word)
            && name.host.as_ref().is_none_or(|host| *host == head.host)
    };
    let mut found: Vec<&Summary> = all.iter().filter(fits).collect();
    if name.is_latest() || name.host.is_some() || from.any_host {
        return Ok(found);
    }
    if found.iter().any(|summary| summary.head.host == from.host) {
        found.retain(|summary| summary.head.host == from.host);
        return Ok(found);
    }
    if spans_hosts(&found) {
        return Err(several_hosts(name, &found));
    }
    Ok(found)
}

fn spans_hosts(found: &[&Summary]) -> bool {
    found.iter().zip(found.iter().skip(1)).any(|(a, b)| a.head.host != b.head.host)
}

/// The complete ones, or all where none is complete.
fn counted(found: Vec<&Summary>) -> Vec<&Summary> {
    let complete: Vec<&Summary> =
        found.iter().copied().filter(|summary| summary.head.state == State::Complete).collect();
    if complete.is_empty() { found } else { complete }
}

fn several_hosts(name: &SnapshotName, found: &[&Summary]) -> SelectionError {
    let mut hosts: Vec<&str> = found.iter().map(|summary| summary.head.host.as_str()).collect();
    hosts.sort_unstable();
    hosts.dedup();
    let candidate = |host: &&str| {
        let own: Vec<&Summary> = found.iter().copied().filter(|summary| summary.head.host == *host).collect();
        let newest = counted(own).into_iter().max_by(|a, b| newer(a, b));
        newest.map_or_else(String::new, |newest| {
            format!("{host} ({}, {})", newest.id.short(), newest.head.time())
        })
    };
    SelectionError::SeveralHosts {
        name: name.to_string(),
        example: format!("{}/{name}", hosts.first().copied().unwrap_or_default()),
        candidates: hosts.iter().map(candidate).collect(),
    }
}

fn too_far_back(name: &SnapshotName, counted: &[&Summary]) -> SelectionError {
    let count = counted.len();
    let series = SeriesName { host: name.host.clone(), series: name.word.clone() };
    let complete = counted.iter().all(|summary| summary.head.state == State::Complete);
    let kind = if complete { "complete " } else { "" };
    SelectionError::TooFarBack {
        name: name.to_string(),
        oldest: match count {
            0 | 1 => series.to_string(),
            _ => format!("{series}~{}", count - 1),
        },
        series: series.to_string(),
        count: format!("{count} {kind}snapshot{}", if count == 1 { "" } else { "s" }),
    }
}

fn by_id<'a>(all: &'a [Summary], name: &SnapshotName) -> Option<Result<&'a Summary, SelectionError>> {
    let digits = name.id_digits()?;
    let mut fits: Vec<&Summary> =
        all.iter().filter(|summary| summary.id.to_string().starts_with(&digits)).collect();
    fits.sort_by(|a, b| later(a, b));
    match fits.as_slice() {
        [] => None,
        [one] => Some(Ok(one)),
        many => {
            let describe = |summary: &&Summary| {
                let head = &summary.head;
                format!("{} ({}/{}, {})", summary.id.short(), head.host, head.series, head.time())
            };
            let candidates = many.iter().map(describe).collect();
            Some(Err(SelectionError::Ambiguous { name: name.to_string(), candidates }))
        }
    }
}

fn not_found(all: &[Summary], name: &SnapshotName) -> SelectionError {
    let wanted = SeriesName { host: name.host.clone(), series: name.word.clone() };
    let (near, series) = known(all, &wanted);
    SelectionError::NotFound { name: name.to_string(), near, series }
}

/// Sees that there is a series of that name.
///
/// # Errors
/// When there is none, with the one that may have been meant.
pub fn check_series(all: &[Summary], wanted: &SeriesName) -> Result<(), SelectionError> {
    if all.iter().any(|summary| summary.head.is_of(wanted)) {
        return Ok(());
    }
    if all.is_empty() {
        return Err(SelectionError::NoSnapshots);
    }
    let (near, series) = known(all, wanted);
    Err(SelectionError::NoSeries { name: wanted.to_string(), near, series })
}

/// The series most like the one wanted, and all that there are.
fn known(all: &[Summary], wanted: &SeriesName) -> (Option<String>, Vec<String>) {
    let name = |summary: &Summary| match wanted.host {
        Some(_) => format!("{}/{}", summary.head.host, summary.head.series),
        None => summary.head.series.clone(),
    };
    let mut names: Vec<String> = all.iter().map(name).collect();
    names.sort();
    names.dedup();
    let text = wanted.to_string();
    // One that is there is not what was meant: something else of the name did not fit.
    let others = names.iter().map(String::as_str).filter(|known| *known != text);
    (nearest(&text, others).map(str::to_owned), names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::{AuthorId, SnapshotId};
    use crate::vault::snapshot::{Head, Proof};
    use jiff::Timestamp;
    use jiff::tz::TimeZone;

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
                set: None,
                system: None,
                role: None,
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

    fn pick_of(all: &[Summary], name: &str) -> Result<u8, SelectionError> {
        let from = Viewpoint { host: "db1".into(), any_host: false };
        let name = SnapshotName::parse(name, &TimeZone::UTC).unwrap();
        select(all, &name, &from).map(|summary| summary.id.as_bytes()[1])
    }

    fn pick(name: &str) -> Result<u8, SelectionError> {
        pick_of(&some(), name)
    }

    #[test]
    fn names_find_their_snapshots() {
        assert_eq!(pick("app"), Ok(2), "the newest complete one");
        assert_eq!(pick("latest"), Ok(4));
        assert_eq!(pick("app~0"), Ok(2), "steps count what the name alone counts");
        assert_eq!(pick("app~1"), Ok(1));
        assert_eq!(pick("app@2026-11-01"), Ok(1));
        assert_eq!(pick("app@2026-11-02T02:59"), Ok(1));
        assert_eq!(pick("app@2026-11-02T03:00:00Z"), Ok(2));
        assert_eq!(pick("app@2026-11-02T03:00:00Z:x"), Ok(2));
        assert_eq!(pick("db1/app"), Ok(2));
        assert_eq!(pick("db1/latest"), Ok(4));
        assert_eq!(pick("ab0404"), Ok(4));
        assert_eq!(pick("AB0404:x"), Ok(4));
    }

    #[test]
    fn given_a_suspect_newest_snapshot_then_one_step_back_is_another_snapshot_than_none() {
        for state in [State::Suspect, State::Partial] {
            let mut all = some();
            all[2].head.state = state;
            assert_ne!(pick_of(&all, "app"), pick_of(&all, "app~1"));
            assert_eq!(pick_of(&all, "app"), pick_of(&all, "app~0"));
        }
        // Without a complete one all count.
        let all: Vec<Summary> = some()
            .into_iter()
            .map(|mut one| {
                one.head.state = State::Suspect;
                one
            })
            .collect();
        assert_eq!(
            (pick_of(&all, "app"), pick_of(&all, "app~1"), pick_of(&all, "app~2")),
            (Ok(3), Ok(2), Ok(1))
        );
    }

    #[test]
    fn bad_names_say_why() {
        let far = pick("app~9").unwrap_err();
        assert_eq!(far.to_string(), "`app~9` does not exist: series `app` has 2 complete snapshots");
        assert_eq!(far.hint().as_deref(), Some("the oldest is `app~1`"));
        let missing = pick("shpo").unwrap_err();
        assert_eq!(missing.to_string(), "no snapshot matches `shpo`");
        assert_eq!(missing.hint().as_deref(), Some("did you mean `shop`? series here: app, shop"));
        let host = pick("db11/shop").unwrap_err();
        assert_eq!(host.hint().as_deref(), Some("did you mean `db1/shop`? series here: db1/app, db1/shop"));
        assert!(matches!(pick("app@2025-01-01"), Err(SelectionError::NotFound { near: None, .. })));
        assert!(matches!(pick("ab0"), Err(SelectionError::NotFound { .. })), "too short");
        let mut all = some();
        all.push(summary(1, "x", "2026-11-09T03:00:00Z", State::Complete));
        assert!(
            matches!(pick_of(&all, "ab0101"), Err(SelectionError::Ambiguous { candidates, .. }) if candidates.len() == 2)
        );
        assert!(matches!(pick_of(&[], "latest"), Err(SelectionError::NoSnapshots)));
        assert_eq!(check_series(&some(), &SeriesName::parse("app").unwrap()), Ok(()));
        assert!(check_series(&some(), &SeriesName::parse("db2/app").unwrap()).is_err());
    }

    #[test]
    fn a_series_of_several_hosts_is_this_hosts_or_the_only_ones_or_none() {
        let mut all = some();
        all[0].head.host = "db2".into();
        assert_eq!(pick_of(&all, "app"), Ok(2), "this host's");
        assert_eq!(pick_of(&all, "db2/app"), Ok(1));
        all[1].head.host = "db3".into();
        all[2].head.host = "db3".into();
        let error = pick_of(&all, "app").unwrap_err();
        assert!(error.to_string().starts_with("`app` exists on 2 hosts: db2 (ab010101"), "{error}");
        assert!(error.hint().unwrap().contains("`db2/app`") && error.hint().unwrap().contains("--any-host"));
        let from = Viewpoint { host: "db1".into(), any_host: true };
        let name = SnapshotName::parse("app", &TimeZone::UTC).unwrap();
        assert_eq!(select(&all, &name, &from).unwrap().id.as_bytes()[1], 2);
        all.remove(0);
        assert_eq!(pick_of(&all, "app"), Ok(2), "the only host that has one");
    }

    #[test]
    fn the_counter_says_what_is_newer_before_the_time_does() {
        let mut all = vec![
            summary(1, "app", "2026-11-05T03:00:00Z", State::Complete),
            summary(2, "app", "2026-11-02T03:00:00Z", State::Complete),
        ];
        all[1].head.counter = 2;
        assert_eq!((pick_of(&all, "app"), pick_of(&all, "app~1")), (Ok(2), Ok(1)));
        all[1].head.counter = 1;
        assert_eq!(pick_of(&all, "app"), Ok(1));
    }
}
