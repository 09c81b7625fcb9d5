//! How local times become moments where clocks are put forward or back.
//!
//! Where hours are named, a time that is skipped counts at the first moment after the gap, and a time that comes twice
//! counts the first time. Where every hour is meant, real time counts: a gap has no slots, and an hour that comes twice
//! has them twice. Two local times that come to one moment are one slot. A day that a zone leaves out is a gap as any
//! other.

use super::Cron;
use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan};

/// Days that are looked at: 29 February does not come more than 8 years later.
const DAYS_MAX: usize = 8 * 366 + 2;

pub(super) fn next(cron: &Cron, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    if cron.is_every_hour() {
        next_of_every_hour(cron, zone, after)
    } else {
        next_of_hours(cron, zone, after)
    }
}

/// Local times in order come to moments in order, so that the first moment later than `after` is the one wanted. Those
/// before what clocks show at `after` come to no later moment.
fn next_of_hours(cron: &Cron, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    let local = zone.to_datetime(after);
    let mut date = local.date();
    for _ in 0..DAYS_MAX {
        if cron.has_day(date) {
            let first = if date == local.date() { local.hour() } else { 0 };
            let hours = cron.hours().filter(|hour| *hour >= first);
            let times = hours.flat_map(|hour| cron.minutes().map(move |minute| (hour, minute)));
            for (hour, minute) in times {
                let slot = moment(zone, date.at(hour, minute, 0, 0))?;
                if slot > after {
                    return Some(slot);
                }
            }
        }
        date = date.tomorrow().ok()?;
    }
    None
}

/// The moment that a local time counts at.
fn moment(zone: &TimeZone, local: DateTime) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(local);
    match ambiguous.offset() {
        // Before the gap, at the earliest: the next change is its end.
        AmbiguousOffset::Gap { after, .. } => {
            let before = after.to_timestamp(local).ok()?;
            zone.following(before).next().map(|change| change.timestamp())
        }
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => ambiguous.earlier().ok(),
    }
}

/// From one change of the zone's offset to the next, where local time goes on as real time does.
fn next_of_every_hour(cron: &Cron, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    let mut start = after.checked_add(SignedDuration::from_nanos(1)).ok()?;
    let end = after.checked_add(SignedDuration::from_hours(24 * i64::try_from(DAYS_MAX).ok()?)).ok()?;
    while start < end {
        let offset = zone.to_offset(start);
        let change = zone.following(start).next().map(|change| change.timestamp());
        let last = change.filter(|change| *change < end).unwrap_or(end);
        let found = next_local(cron, offset.to_datetime(start), offset.to_datetime(last));
        if let Some(local) = found {
            return offset.to_timestamp(local).ok();
        }
        start = last;
    }
    None
}

/// The first local time that fits, not before `from` and before `end`.
fn next_local(cron: &Cron, from: DateTime, end: DateTime) -> Option<DateTime> {
    let mut date: Date = from.date();
    while date <= end.date() {
        if cron.has_day(date) {
            let first = if date == from.date() { from.hour() } else { 0 };
            let times =
                (first..24).flat_map(|hour| cron.minutes().map(move |minute| date.at(hour, minute, 0, 0)));
            let found = times.into_iter().find(|local| *local >= from);
            if let Some(local) = found {
                return (local < end).then_some(local);
            }
        }
        date = date.checked_add(1.day()).ok()?;
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::base::schedule::Schedule;
    use jiff::Timestamp;
    use jiff::tz::TimeZone;
    use proptest::prelude::*;
    use std::time::Duration;

    fn slots(cron: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let zone = TimeZone::get(zone).unwrap();
        let schedule = Schedule::cron(cron, zone.clone()).unwrap();
        let mut at: Timestamp = after.parse().unwrap();
        let mut slots = Vec::new();
        for _ in 0..count {
            at = schedule.next(at).unwrap();
            slots.push(at.to_zoned(zone.clone()).strftime("%m-%dT%H:%M%:z").to_string());
        }
        slots
    }

    #[test]
    fn a_time_in_a_gap_counts_at_its_end_once() {
        assert_eq!(
            slots("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", 3),
            ["03-28T02:30+01:00", "03-29T03:00+02:00", "03-30T02:30+02:00"]
        );
        assert_eq!(
            slots("0,30 2,3 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", 3),
            ["03-29T03:00+02:00", "03-29T03:30+02:00", "03-30T02:00+02:00"],
            "two local times at one moment are one slot"
        );
        assert_eq!(slots("0 0 * * *", "Africa/Cairo", "2026-04-23T12:00:00Z", 1), ["04-24T01:00+03:00"]);
    }

    #[test]
    fn a_time_that_comes_twice_counts_the_first_time() {
        assert_eq!(
            slots("30 2,14 * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", 3),
            ["10-25T02:30+02:00", "10-25T14:30+01:00", "10-26T02:30+01:00"]
        );
    }

    #[test]
    fn every_hour_means_real_time() {
        assert_eq!(
            slots("*/30 * * * *", "Europe/Berlin", "2026-10-24T23:59:00Z", 6),
            [
                "10-25T02:00+02:00",
                "10-25T02:30+02:00",
                "10-25T02:00+01:00",
                "10-25T02:30+01:00",
                "10-25T03:00+01:00",
                "10-25T03:30+01:00"
            ]
        );
        assert_eq!(
            slots("15 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", 2),
            ["03-29T01:15+01:00", "03-29T03:15+02:00"]
        );
    }

    #[test]
    fn a_day_that_a_zone_left_out_is_a_gap_and_the_schedule_goes_on() {
        assert_eq!(
            slots("0 12 * * *", "Pacific/Apia", "2011-12-29T00:00:00Z", 4),
            ["12-29T12:00-10:00", "12-31T00:00+14:00", "12-31T12:00+14:00", "01-01T12:00+14:00"]
        );
        assert_eq!(slots("0 12 30 12 *", "Pacific/Apia", "2011-12-29T00:00:00Z", 1), ["12-31T00:00+14:00"]);
    }

    #[test]
    fn a_rare_day_is_found() {
        assert_eq!(slots("0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", 1), ["02-29T00:00+00:00"]);
        assert_eq!(slots("* * 29 2 *", "UTC", "2096-03-01T00:00:00Z", 1), ["02-29T00:00+00:00"]);
    }

    #[test]
    fn an_interval_counts_from_1970_whatever_clocks_do() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let every = Schedule::every(Duration::from_secs(6 * 3600), zone.clone()).unwrap();
        let next = every.next("2026-10-25T00:00:00Z".parse().unwrap()).unwrap();
        assert_eq!(next.to_string(), "2026-10-25T06:00:00Z");
        assert!(Schedule::every(Duration::from_millis(1500), zone).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn slots_are_later_in_order_and_do_not_depend_on_where_one_starts(
            minute in 0u8..60, hour in prop::option::of(0u8..24), second in 1_262_304_000i64..2_100_000_000,
            zone in prop::sample::select(vec!["Europe/Berlin", "Australia/Lord_Howe", "America/Santiago", "UTC"]),
            part in 1i64..100,
        ) {
            let hour = hour.map_or_else(|| "*".to_owned(), |hour| hour.to_string());
            let zone = TimeZone::get(zone).unwrap();
            let schedule = Schedule::cron(&format!("{minute} {hour} * * *"), zone).unwrap();
            let after = Timestamp::from_second(second).unwrap();
            let first = schedule.next(after).unwrap();
            prop_assert!(first > after);
            let gap = first.as_second() - after.as_second();
            let between = Timestamp::from_second(after.as_second() + gap * part / 100).unwrap();
            prop_assert_eq!(schedule.next(between).unwrap(), first);
            prop_assert!(schedule.next(first).unwrap() > first);
        }
    }
}
