//! When the rules will let go of each snapshot, if its series goes on as it did so far.

use super::Policies;
use crate::base::calendar::Calendar;
use crate::base::id::SnapshotId;
use crate::vault::history::History;
use crate::vault::snapshot::retention::{Candidate, Policy, Reckoning, decide};
use crate::vault::snapshot::{State, Summary};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// What goes later than this has no moment: too much may change until then.
const AHEAD_MS: i64 = 400 * DAY_MS;
/// Backups of the future that are reckoned with in their own distance; later ones come once a day.
const CLOSE_MAX: u32 = 1000;

/// The moment at which the rules let go of each snapshot, in milliseconds. The next `forget` after it removes the
/// snapshot. Those that are missing stay for more than a year: they are pinned, the last verified, of a series without
/// rules, or of a system with rules of its own.
pub(crate) fn expiries(
    history: &History,
    policies: &Policies,
    calendar: &Calendar,
    now: Timestamp,
) -> BTreeMap<SnapshotId, i64> {
    let mut series: BTreeMap<(&str, &str), Vec<&Summary>> = BTreeMap::new();
    for summary in &history.snapshots {
        let head = &summary.head;
        if head.system.as_ref().is_none_or(|system| !policies.by_system.contains_key(system)) {
            series.entry((&head.series, &head.host)).or_default().push(summary);
        }
    }
    let mut found = BTreeMap::new();
    for ((name, _), members) in series {
        let policy = policies.by_series.get(name).or(policies.default.as_ref());
        if let Some(policy) = policy.filter(|policy| !policy.is_empty()) {
            of_series(policy, &members, history, &Reckoning { calendar, now, force: false }, &mut found);
        }
    }
    found
}

fn of_series(
    policy: &Policy,
    members: &[&Summary],
    history: &History,
    reckoning: &Reckoning<'_>,
    found: &mut BTreeMap<SnapshotId, i64>,
) {
    let complete = || members.iter().filter(|member| member.head.state == State::Complete);
    let Some(newest) = complete().max_by_key(|member| member.rank()) else { return };
    let distance = usual_distance(complete().map(|member| member.head.time_ms).collect());
    let close = policy.last.max(policy.hourly).saturating_add(2).min(CLOSE_MAX);
    let begin = reckoning.now.as_millisecond();
    let mut left: BTreeSet<SnapshotId> = members.iter().map(|member| member.id).collect();
    let mut all: Vec<Summary> = members.iter().map(|member| (*member).clone()).collect();
    let (mut at, mut number) = (begin, 0_u32);
    while at <= begin.saturating_add(AHEAD_MS) && !left.is_empty() {
        let Ok(now) = Timestamp::from_millisecond(at) else { return };
        let candidates: Vec<Candidate<'_>> = all
            .iter()
            .map(|summary| Candidate {
                summary,
                streams: Vec::new(),
                failed: Vec::new(),
                pinned: history.pinned.contains(&summary.id),
                verified: history.verified.contains_key(&summary.id),
            })
            .collect();
        let verdicts = decide(policy, &candidates, &Reckoning { now, ..reckoning.clone() });
        let mut kept = verdicts.iter().map(|verdict| verdict.is_kept());
        all.retain(|summary| {
            let is_kept = kept.next().unwrap_or(true);
            if !is_kept && left.remove(&summary.id) {
                found.insert(summary.id, at);
            }
            is_kept
        });
        number = number.saturating_add(1);
        let step = if number > close { distance.max(DAY_MS) } else { distance };
        at = at.max(newest.head.time_ms).saturating_add(step);
        all.push(coming(newest, at, number));
    }
}

/// A backup that is yet to be made, as good as the newest.
fn coming(newest: &Summary, at: i64, number: u32) -> Summary {
    let mut summary = newest.clone();
    let name = blake3::hash(format!("{} {number}", newest.id).as_bytes());
    let mut id = [0; SnapshotId::LEN];
    id.iter_mut().zip(name.as_bytes()).for_each(|(to, from)| *to = *from);
    summary.id = SnapshotId::from_bytes(id);
    summary.stored_ms = at;
    summary.head.time_ms = at;
    summary.head.finished_ms = at;
    summary.head.counter = newest.head.counter.saturating_add(u64::from(number));
    summary.head.tags.clear();
    summary
}

/// The median of the times between backups, from an hour to a year; a day where there is only one.
fn usual_distance(mut times: Vec<i64>) -> i64 {
    times.sort_unstable();
    let mut distances: Vec<i64> =
        times.iter().zip(times.iter().skip(1)).map(|(one, next)| next.saturating_sub(*one)).collect();
    distances.sort_unstable();
    distances.get(distances.len() / 2).map_or(DAY_MS, |median| (*median).clamp(HOUR_MS, AHEAD_MS))
}
