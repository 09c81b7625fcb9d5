//! Slots over the changes of all time zones, against an oracle that walks every minute of real time and knows nothing
//! of offsets.
//!
//! `DUMPVAULT_TEST_ALL_ZONES=1` takes every change of every zone; without, each kind of change is taken a few times.

#![allow(clippy::unwrap_used, clippy::panic)]

use dumpvault::base::schedule::Schedule;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// An expression as the oracle has it: the hours (none for every one), and the minutes.
struct Rule {
    text: String,
    hours: Option<Vec<i8>>,
    minutes: Vec<i8>,
}

impl Rule {
    fn new(hours: Option<Vec<i8>>, minutes: Vec<i8>) -> Self {
        let list = |values: &[i8]| values.iter().map(i8::to_string).collect::<Vec<_>>().join(",");
        let hour = hours.as_deref().map_or_else(|| "*".to_owned(), list);
        Self { text: format!("{} {hour} * * *", list(&minutes)), hours, minutes }
    }

    fn fits(&self, local: DateTime) -> bool {
        self.minutes.contains(&local.minute())
            && self.hours.as_ref().is_none_or(|hours| hours.contains(&local.hour()))
    }
}

/// What a clock on the wall shows from minute to minute.
fn oracle(rule: &Rule, walk: &[(Timestamp, DateTime)]) -> BTreeSet<Timestamp> {
    let mut slots = BTreeSet::new();
    let mut latest = None;
    for (at, local) in walk {
        // By real time each fitting minute counts; by the clock those that it jumped over, too, and none that it has
        // shown before.
        let shown_from = match (&rule.hours, latest) {
            (Some(_), Some(latest)) => latest + SignedDuration::from_mins(1),
            _ => *local,
        };
        let mut shown = shown_from;
        while shown <= *local {
            if rule.fits(shown) {
                slots.insert(*at);
            }
            shown += SignedDuration::from_mins(1);
        }
        latest = latest.max(Some(*local));
    }
    slots
}

#[test]
fn slots_are_right_over_the_changes_of_all_zones() {
    let all = std::env::var_os("DUMPVAULT_TEST_ALL_ZONES").is_some();
    let begin: Timestamp = "2010-01-01T00:00:00Z".parse().unwrap();
    let end: Timestamp = "2038-01-01T00:00:00Z".parse().unwrap();
    let mut kinds: BTreeMap<(i32, i32, i8), u32> = BTreeMap::new();
    let (mut zones, mut changes, mut compared) = (0, 0, 0);
    for name in jiff::tz::db().available() {
        let zone = TimeZone::get(name.as_str()).unwrap();
        zones += 1;
        for change in zone.following(begin).take_while(|change| change.timestamp() < end) {
            let at = change.timestamp();
            let before = zone.to_offset(at - SignedDuration::from_secs(1)).seconds();
            let local = change.offset().to_datetime(at);
            // As many of a kind: from which offset to which, at which hour.
            let seen = kinds.entry((before, change.offset().seconds(), local.hour())).or_default();
            *seen += 1;
            if !all && *seen > 2 {
                continue;
            }
            changes += 1;
            compared += compare(&zone, at, changes);
        }
    }
    assert!(
        zones > 400 && changes > 200 && compared > 20_000,
        "{zones} zones, {changes} changes, {compared} slots"
    );
}

fn compare(zone: &TimeZone, change: Timestamp, seed: i64) -> usize {
    let from = change - SignedDuration::from_hours(26);
    let minutes = (0..54 * 60).map(|minute| from + SignedDuration::from_mins(minute));
    let walk: Vec<(Timestamp, DateTime)> = minutes.map(|at| (at, zone.to_datetime(at))).collect();
    let to = walk.last().unwrap().0;
    let hour = i8::try_from(seed.rem_euclid(24)).unwrap();
    let minute = i8::try_from((seed * 7).rem_euclid(60)).unwrap();
    let near = zone.to_datetime(change).hour();
    let mut compared = 0;
    for rule in [
        Rule::new(None, vec![0, 30]),
        Rule::new(None, vec![minute]),
        Rule::new(Some(vec![hour]), vec![minute]),
        Rule::new(Some(vec![0]), vec![0, 30]),
        Rule::new(Some(vec![near, (near + 23) % 24]), vec![0, 15, 30, 45]),
        Rule::new(Some((0..12).map(|hour| hour * 2).collect()), vec![0, minute]),
    ] {
        // Lists may not say a value twice in what follows from the seed: bits do not mind.
        let schedule = Schedule::cron(&rule.text, zone.clone()).unwrap();
        let mut slots = BTreeSet::new();
        let mut at = from - SignedDuration::from_secs(1);
        while let Some(next) = schedule.next(at).filter(|next| *next <= to) {
            slots.insert(next);
            at = next;
        }
        // What came before the walk may have shown a time that the walk begins with: changes less than a day apart.
        let expected = oracle(&rule, &walk);
        let settled = from + SignedDuration::from_hours(3);
        let later =
            |slots: BTreeSet<Timestamp>| slots.into_iter().filter(|slot| *slot > settled).collect::<Vec<_>>();
        let (slots, expected) = (later(slots), later(expected));
        assert_eq!(slots, expected, "{} in {:?} about {change}", rule.text, zone.iana_name());
        compared += slots.len();
    }
    compared
}
