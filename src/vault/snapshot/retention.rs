//! Which snapshots a policy keeps, and which rule says so. Pure, and it forgets nothing by itself.
//!
//! Snapshots are looked at per series and host. Good ones are sorted into calendar buckets (hours, days, weeks, months,
//! years of a stated zone). The *first* good snapshot of a bucket stands for it, or the last where the policy says so.
//! A rule with the count n keeps those of the newest n buckets that have one. So a daily that is the week's first is
//! the weekly from the day it is made, a bucket that is full never changes its mind, and forgetting day by day ends
//! where forgetting once at the end does. Where backups stop, nothing expires.
//!
//! A stream that is in a *partial* snapshot is whole. So the rules run over the complete snapshots first, and then once
//! more for each stream of the newest snapshot over all that hold it: one database that fails does not end the
//! retention of the others.

pub use crate::base::retention::{Policy, Representative};
pub use crate::base::unit::Age;

use super::{Proof, State, Summary};
use crate::base::calendar::{Bucket, Calendar};
use jiff::{SignedDuration, Timestamp};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Why a snapshot is kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// One of the newest.
    Last,
    /// Stands for its hour.
    Hourly,
    /// Stands for its day.
    Daily,
    /// Stands for its week.
    Weekly,
    /// Stands for its month.
    Monthly,
    /// Stands for its year.
    Yearly,
    /// Young enough.
    Within,
    /// Bears a tag to keep.
    Tag(String),
    /// Pinned by a person.
    Pinned,
    /// The newest complete one of its series, or the newest that holds one of its streams. Never goes.
    Newest,
    /// The newest one that a restore has proven. Never goes.
    Verified,
    /// Not good, and nothing good is newer: there is nothing better yet.
    NothingNewer,
    /// Younger than a day, and nobody said to do it all the same.
    Young,
    /// Its time lies in the future, its host's clock went backwards, or it does not fit when the snapshot was stored:
    /// nobody knows how old it is.
    DoubtfulTime,
    /// The snapshot that stands for its hour, day, … in its place was stored later, by a key that may only add, and
    /// says an earlier time.
    StoredEarlier,
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Last => "last",
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
            Self::Within => "within",
            Self::Tag(tag) => return write!(f, "tag {tag}"),
            Self::Pinned => "pinned",
            Self::Newest => "newest complete",
            Self::Verified => "newest verified",
            Self::NothingNewer => "nothing better is newer",
            Self::Young => "younger than 24 h",
            Self::DoubtfulTime => "its time is doubtful",
            Self::StoredEarlier => "what would take its place was stored later",
        })
    }
}

/// The rules of a policy that count: what each is called, whose buckets it looks at, and how many it keeps.
fn counts(policy: &Policy) -> [(Rule, Option<Bucket>, u32); 6] {
    [
        (Rule::Last, None, policy.last),
        (Rule::Hourly, Some(Bucket::Hour), policy.hourly),
        (Rule::Daily, Some(Bucket::Day), policy.daily),
        (Rule::Weekly, Some(Bucket::Week), policy.weekly),
        (Rule::Monthly, Some(Bucket::Month), policy.monthly),
        (Rule::Yearly, Some(Bucket::Year), policy.yearly),
    ]
}

/// A snapshot to decide on.
#[derive(Debug, Clone)]
pub struct Candidate<'a> {
    /// Id and head.
    pub summary: &'a Summary,
    /// Names of the streams that it holds whole; empty where the body is not known.
    pub streams: Vec<&'a str>,
    /// Names of the streams that failed.
    pub failed: Vec<&'a str>,
    /// Whether a person pinned it.
    pub pinned: bool,
    /// Whether it was restored and compared as a whole.
    pub verified: bool,
}

/// What was decided on one snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The rules that keep it, each with the stream it holds for where it is not the snapshot as a whole. Empty: it
    /// goes.
    pub reasons: Vec<(Rule, Option<String>)>,
}

impl Verdict {
    /// Whether it stays.
    pub fn is_kept(&self) -> bool {
        !self.reasons.is_empty()
    }

    fn add(&mut self, rule: Rule, stream: Option<&str>) {
        let known = |(other, of): &(Rule, Option<String>)| {
            *other == rule && (of.is_none() || of.as_deref() == stream)
        };
        if !self.reasons.iter().any(known) {
            self.reasons.push((rule, stream.map(str::to_owned)));
        }
    }

    /// The rules in words: "daily, weekly (stream app)".
    pub fn words(&self) -> String {
        let word = |(rule, stream): &(Rule, Option<String>)| match stream {
            Some(stream) => format!("{rule} (stream {stream})"),
            None => rule.to_string(),
        };
        self.reasons.iter().map(word).collect::<Vec<_>>().join(", ")
    }
}

/// How the present is reckoned with.
#[derive(Debug, Clone)]
pub struct Reckoning<'a> {
    /// Zone and weeks.
    pub calendar: &'a Calendar,
    /// The present.
    pub now: Timestamp,
    /// Also let go what is younger than a day.
    pub force: bool,
}

/// Times further ahead of the present than this are doubtful, and so are those that lie so far behind an older
/// backup's.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(5);
/// Nothing younger goes unless forced.
const YOUNG: SignedDuration = SignedDuration::from_hours(24);

/// Which snapshots of one series count for calendar tags and retention, in the order of `series`: the complete ones. Of
/// these the unproven count only as long as no proven one came before, so that a bare standard input counts in its own
/// series alone.
pub fn good(series: &[&Summary]) -> Vec<bool> {
    let first_proven = series
        .iter()
        .filter(|summary| summary.head.state == State::Complete && summary.head.proof > Proof::Unproven)
        .map(|summary| order(summary))
        .min();
    let counts = |summary: &&&Summary| {
        let proven = summary.head.proof > Proof::Unproven;
        summary.head.state == State::Complete
            && (proven || first_proven.is_none_or(|first| order(summary) < first))
    };
    series.iter().map(|summary| counts(&summary)).collect()
}

fn order(summary: &Summary) -> (i64, u64, crate::base::id::SnapshotId) {
    (summary.head.time_ms, summary.head.counter, summary.id)
}

/// Decides on all `snapshots`, of any series and in any order; the answer has the same order.
///
/// Deciding again on what was kept keeps all of it.
pub fn decide(policy: &Policy, snapshots: &[Candidate<'_>], reckoning: &Reckoning<'_>) -> Vec<Verdict> {
    let mut verdicts = vec![Verdict::default(); snapshots.len()];
    let mut series: BTreeMap<(&str, &str), Vec<(usize, &Candidate<'_>)>> = BTreeMap::new();
    for numbered in snapshots.iter().enumerate() {
        let head = &numbered.1.summary.head;
        series.entry((&head.series, &head.host)).or_default().push(numbered);
    }
    for mut members in series.into_values() {
        members.sort_by_key(|(_, candidate)| order(candidate.summary));
        // What counts depends on what is there: once some are gone, others may be judged differently. Until that
        // changes nothing.
        loop {
            let candidates: Vec<&Candidate<'_>> = members.iter().map(|(_, candidate)| *candidate).collect();
            let decided = decide_series(policy, &candidates, reckoning);
            let before = members.len();
            let kept: Vec<bool> = decided.iter().map(Verdict::is_kept).collect();
            for ((at, _), verdict) in members.iter().zip(decided) {
                if let Some(place) = verdicts.get_mut(*at) {
                    *place = verdict;
                }
            }
            let mut kept = kept.into_iter();
            members.retain(|_| kept.next().unwrap_or(true));
            if members.len() == before {
                break;
            }
        }
    }
    verdicts
}

/// Decides on one series, given oldest first.
fn decide_series(policy: &Policy, series: &[&Candidate<'_>], reckoning: &Reckoning<'_>) -> Vec<Verdict> {
    let mut verdicts = vec![Verdict::default(); series.len()];
    let doubtful = doubtful(series, reckoning.now);
    let summaries: Vec<&Summary> = series.iter().map(|candidate| candidate.summary).collect();
    let good = good(&summaries);
    let sure = |at: usize| !doubtful.get(at).copied().unwrap_or(true);
    let is_good = |at: usize| good.get(at).copied().unwrap_or(false);

    // The snapshots as wholes, then each stream that the source still has.
    let mut views: Vec<(Option<&str>, Vec<usize>)> =
        vec![(None, (0..series.len()).filter(|at| is_good(*at)).collect())];
    for stream in streams_of_newest(series) {
        let holds = |at: &usize| {
            series.get(*at).is_some_and(|candidate| {
                let state = candidate.summary.head.state;
                let counts = is_good(*at) || state == State::Partial;
                counts && candidate.streams.contains(&stream)
            })
        };
        views.push((Some(stream), (0..series.len()).filter(holds).collect()));
    }
    for (stream, members) in &views {
        let newest = members.iter().copied().max_by_key(|at| summaries.get(*at).map(|one| one.rank()));
        if let Some(at) = newest {
            add(&mut verdicts, at, Rule::Newest, *stream);
        }
        let members: Vec<usize> = members.iter().copied().filter(|at| sure(*at)).collect();
        keep_by_rules(policy, &members, &summaries, *stream, reckoning, &mut verdicts);
    }
    let complete = |at: &usize| summaries.get(*at).is_some_and(|one| one.head.state == State::Complete);
    let by_rank = |at: &usize| summaries.get(*at).map(|one| one.rank());
    if let Some(newest) = (0..series.len()).filter(complete).max_by_key(by_rank) {
        add(&mut verdicts, newest, Rule::Newest, None);
    }

    let verified = |at: &usize| series.get(*at).is_some_and(|candidate| candidate.verified);
    if let Some(newest) = (0..series.len()).rev().find(verified) {
        add(&mut verdicts, newest, Rule::Verified, None);
    }

    // One with a doubtful time stands where somebody wanted it to.
    let sure_good = (0..series.len()).rev().find(|at| is_good(*at) && sure(*at));
    for (at, candidate) in series.iter().enumerate() {
        let head = &candidate.summary.head;
        let age_of_series = sure_good.and_then(|newest| summaries.get(newest)).map(|one| one.head.time());
        if let (Some(within), Some(newest)) = (policy.within, age_of_series)
            && head.time() >= within.before(newest, &reckoning.calendar.zone)
        {
            add(&mut verdicts, at, Rule::Within, None);
        }
        for tag in head.tags.iter().filter(|tag| policy.tags.contains(*tag)) {
            add(&mut verdicts, at, Rule::Tag(tag.clone()), None);
        }
        if candidate.pinned {
            add(&mut verdicts, at, Rule::Pinned, None);
        }
        let stands_in = !head.state.is_trusted() || views.len() == 1;
        if !is_good(at) && stands_in && sure_good.is_none_or(|newest| at > newest) {
            add(&mut verdicts, at, Rule::NothingNewer, None);
        }
        let age = reckoning.now.duration_since(head.time());
        if !reckoning.force && age < YOUNG && age >= -CLOCK_TOLERANCE {
            add(&mut verdicts, at, Rule::Young, None);
        }
        if !sure(at) {
            add(&mut verdicts, at, Rule::DoubtfulTime, None);
        }
    }
    verdicts
}

fn add(verdicts: &mut [Verdict], at: usize, rule: Rule, stream: Option<&str>) {
    if let Some(verdict) = verdicts.get_mut(at) {
        verdict.add(rule, stream);
    }
}

/// Streams that the newest snapshot holds or tried to. One that the source has no more does not keep its last days for
/// ever.
fn streams_of_newest<'a>(series: &[&Candidate<'a>]) -> BTreeSet<&'a str> {
    let newest = series.iter().rev().find(|candidate| candidate.summary.head.state.is_trusted());
    newest.map_or_else(BTreeSet::new, |newest| newest.streams.iter().chain(&newest.failed).copied().collect())
}

/// The rules with counts, over `members` from old to new.
fn keep_by_rules(
    policy: &Policy,
    members: &[usize],
    summaries: &[&Summary],
    stream: Option<&str>,
    reckoning: &Reckoning<'_>,
    verdicts: &mut [Verdict],
) {
    for (rule, bucket, count) in counts(policy) {
        let mut one_of_each = Vec::new();
        // The one of each bucket, and what would go in its favour though it was stored before.
        let mut seen: HashMap<_, (&Summary, usize)> = HashMap::new();
        let mut displaced: HashMap<usize, Vec<usize>> = HashMap::new();
        let mut pick = |at: usize| {
            let Some(summary) = summaries.get(at) else { return };
            let Some(bucket) = bucket else {
                one_of_each.push(at);
                return;
            };
            match seen.entry(reckoning.calendar.bucket(bucket, summary.head.time())) {
                Entry::Vacant(vacant) => {
                    vacant.insert((summary, at));
                    one_of_each.push(at);
                }
                Entry::Occupied(occupied) => {
                    let (chosen, number) = occupied.get();
                    let is_earlier = chosen.head.time_ms <= summary.head.time_ms;
                    if !chosen.by_full && is_earlier && chosen.stored_ms > summary.stored_ms {
                        displaced.entry(*number).or_default().push(at);
                    }
                }
            }
        };
        match policy.representative {
            Representative::First => members.iter().for_each(|at| pick(*at)),
            Representative::Last => members.iter().rev().for_each(|at| pick(*at)),
        }
        // By age, whichever way they were met.
        one_of_each.sort_unstable();
        for at in one_of_each.into_iter().rev().take(count as usize) {
            add(verdicts, at, rule.clone(), stream);
            let others = displaced.remove(&at).unwrap_or_default();
            if !reckoning.force {
                others.into_iter().for_each(|other| add(verdicts, other, Rule::StoredEarlier, stream));
            }
        }
    }
}

/// Snapshots whose time says nothing: it is yet to come, or their backup ended before one with a lower counter had.
fn doubtful(series: &[&Candidate<'_>], now: Timestamp) -> Vec<bool> {
    let tolerance = CLOCK_TOLERANCE.as_millis() as i64;
    let latest = now.as_millisecond().saturating_add(tolerance);
    let is_future = |candidate: &Candidate<'_>| {
        candidate.summary.head.time_ms > latest || candidate.summary.head.finished_ms > latest
    };
    let mut by_counter: Vec<usize> = (0..series.len()).collect();
    by_counter.sort_by_key(|at| series.get(*at).map(|candidate| candidate.summary.head.counter));
    let mut doubtful = vec![false; series.len()];
    let mut finished_until = i64::MIN;
    for at in by_counter {
        let (Some(candidate), Some(place)) = (series.get(at), doubtful.get_mut(at)) else { continue };
        let finished = candidate.summary.head.finished_ms;
        // An import ended long after the backups whose times follow its own.
        let is_import = candidate.summary.head.is_import();
        *place = candidate.summary.is_doubtful
            || is_future(candidate)
            || !is_import && finished < finished_until.saturating_sub(tolerance);
        if !*place && !is_import {
            finished_until = finished_until.max(finished);
        }
    }
    doubtful
}

#[cfg(test)]
mod tests;
