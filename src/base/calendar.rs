//! Calendar tags: which snapshots are daily, weekly, monthly.

use jiff::Timestamp;
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;

/// A calendar tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CalendarTag {
    /// The first good snapshot of its day.
    Daily,
    /// The first of its week, too.
    Weekly,
    /// The first of its month, too.
    Monthly,
}

impl CalendarTag {
    /// The word in the format and on the screen.
    pub fn word(self) -> &'static str {
        match self {
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
        }
    }
}

/// How the calendar is reckoned.
#[derive(Debug, Clone)]
pub struct Calendar {
    /// Zone whose days count.
    pub zone: TimeZone,
    /// The day that a week begins on.
    pub week_anchor: Weekday,
}

impl Default for Calendar {
    fn default() -> Self {
        Self { zone: TimeZone::UTC, week_anchor: Weekday::Sunday }
    }
}

impl Calendar {
    fn day(&self, time: Timestamp) -> Date {
        self.zone.to_datetime(time).date()
    }

    /// First day of the week that `day` lies in.
    fn week(&self, day: Date) -> Date {
        let since = day.weekday().since(self.week_anchor);
        day.saturating_sub(jiff::Span::new().days(since))
    }

    /// Which bucket of that kind the moment lies in. Buckets of one kind are equal if and only if they are the same
    /// stretch of time.
    pub fn bucket(&self, kind: Bucket, time: Timestamp) -> (Date, i64) {
        let local = self.zone.to_datetime(time);
        let day = local.date();
        match kind {
            // By the moment too: where clocks go back, an hour of the day comes twice.
            Bucket::Hour => {
                let into = i64::from(local.minute()) * 60 + i64::from(local.second());
                (day, time.as_second() - into)
            }
            Bucket::Day => (day, 0),
            Bucket::Week => (self.week(day), 0),
            Bucket::Month => (day.first_of_month(), 0),
            Bucket::Year => (day.first_of_year(), 0),
        }
    }

    /// The zone's name, for people.
    pub fn zone_name(&self) -> String {
        self.zone
            .iana_name()
            .map_or_else(|| self.zone.to_offset(Timestamp::UNIX_EPOCH).to_string(), str::to_owned)
    }
}

/// A kind of calendar bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bucket {
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// A week.
    Week,
    /// A month.
    Month,
    /// A year.
    Year,
}

/// The calendar tags of each of a series' good snapshots, given their times in any order; the answer has the same
/// order.
///
/// The first snapshot of a calendar day is *daily*; the first of a week is also *weekly*, the first of a month also
/// *monthly*. Of equal times the earlier in the list counts as first.
pub fn calendar_tags(times: &[Timestamp], calendar: &Calendar) -> Vec<Vec<CalendarTag>> {
    let mut order: Vec<(usize, Timestamp)> = times.iter().copied().enumerate().collect();
    order.sort_by_key(|(at, time)| (*time, *at));
    let mut tags = vec![Vec::new(); times.len()];
    let (mut last_day, mut last_week, mut last_month) = (None, None, None);
    for (at, time) in order {
        let day = calendar.day(time);
        let Some(tags) = tags.get_mut(at) else { continue };
        if last_day.replace(day) != Some(day) {
            tags.push(CalendarTag::Daily);
        }
        let week = calendar.week(day);
        if last_week.replace(week) != Some(week) {
            tags.push(CalendarTag::Weekly);
        }
        let month = (day.year(), day.month());
        if last_month.replace(month) != Some(month) {
            tags.push(CalendarTag::Monthly);
        }
    }
    tags
}

#[cfg(test)]
mod tests {
    use super::CalendarTag::{Daily, Monthly, Weekly};
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_first_of_a_day_week_and_month_is_tagged() {
        // 2026-11-01 is a Sunday.
        let times = [
            at("2026-10-31T23:00:00Z"),
            at("2026-11-01T01:00:00Z"),
            at("2026-11-01T13:00:00Z"),
            at("2026-11-02T01:00:00Z"),
            at("2026-11-09T01:00:00Z"),
        ];
        let tags = calendar_tags(&times, &Calendar::default());
        assert_eq!(
            tags,
            [
                vec![Daily, Weekly, Monthly],
                vec![Daily, Weekly, Monthly],
                vec![],
                vec![Daily],
                // Sunday's backup is missing: Monday's becomes the weekly.
                vec![Daily, Weekly],
            ]
        );
    }

    #[test]
    fn days_are_those_of_the_stated_zone() {
        let zone = TimeZone::fixed(jiff::tz::offset(9));
        let calendar = Calendar { zone, ..Calendar::default() };
        let times = [at("2026-11-10T14:00:00Z"), at("2026-11-10T16:00:00Z")];
        let tags = calendar_tags(&times, &calendar);
        assert_eq!(tags[1], [Daily], "past midnight in +09");
    }

    #[test]
    fn the_week_anchor_moves_the_week() {
        let times = [at("2026-11-01T00:00:00Z"), at("2026-11-02T00:00:00Z")];
        let monday = Calendar { week_anchor: Weekday::Monday, ..Calendar::default() };
        assert_eq!(calendar_tags(&times, &monday)[1], [Daily, Weekly]);
    }

    proptest! {
        #[test]
        fn tags_do_not_depend_on_the_order(mut hours in prop::collection::vec(0i64..5000, 1..60)) {
            hours.sort();
            hours.dedup();
            let times: Vec<_> = hours.iter().map(|h| Timestamp::from_second(h * 3600).unwrap()).collect();
            let forward = calendar_tags(&times, &Calendar::default());
            let reversed: Vec<_> = times.iter().rev().copied().collect();
            let mut backward = calendar_tags(&reversed, &Calendar::default());
            backward.reverse();
            prop_assert_eq!(&forward, &backward);
            // A weekly or monthly is a daily, too.
            prop_assert!(forward.iter().all(|tags| tags.is_empty() || tags.contains(&Daily)));
        }
    }
}
