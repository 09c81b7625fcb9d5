//! Retention policies, rule by rule: what is kept, and which rule says so.

use super::*;
use crate::base::calendar::calendar_tags;
use crate::base::id::{AuthorId, SnapshotId};
use crate::vault::snapshot::Head;
use jiff::tz::TimeZone;
use proptest::prelude::*;

const NOW: &str = "2030-01-01T00:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn snapshot(number: u64, time: Timestamp, state: State, proof: Proof) -> Summary {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&number.to_be_bytes());
    Summary {
        id: SnapshotId::from_bytes(id),
        head: Head {
            series: "app".into(),
            host: "db1".into(),
            time_ms: time.as_millisecond(),
            state,
            tags: vec![],
            counter: number,
            predecessor: None,
            finished_ms: time.as_millisecond(),
            time_zone: "UTC".into(),
            calendar: vec![],
            proof,
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

fn hours(hours: i32) -> Age {
    Age { hours, ..Age::default() }
}

fn complete(number: u64, time: &str) -> Summary {
    snapshot(number, at(time), State::Complete, Proof::ExitedAndStructure)
}

/// A good snapshot at three o'clock on each day from 2026-01-01 on.
fn days(count: u64) -> Vec<Summary> {
    let first = at("2026-01-01T03:00:00Z");
    let day = |n: u64| first + SignedDuration::from_hours(24 * n as i64);
    (0..count).map(|n| snapshot(n + 1, day(n), State::Complete, Proof::Exited)).collect()
}

fn candidates(all: &[Summary]) -> Vec<Candidate<'_>> {
    let one =
        |summary| Candidate { summary, streams: vec!["db"], failed: vec![], pinned: false, verified: false };
    all.iter().map(one).collect()
}

fn decide_at(policy: &Policy, all: &[Summary], now: Timestamp) -> Vec<Verdict> {
    let calendar = Calendar::default();
    decide(policy, &candidates(all), &Reckoning { calendar: &calendar, now, force: false })
}

fn kept(policy: &Policy, all: &[Summary]) -> Vec<u64> {
    let verdicts = decide_at(policy, all, at(NOW));
    all.iter().zip(verdicts).filter(|(_, v)| v.is_kept()).map(|(one, _)| one.head.counter).collect()
}

#[test]
fn given_a_year_of_days_then_each_rule_keeps_its_newest_buckets_and_says_so() {
    let all = days(365);
    let policy = Policy { daily: 7, weekly: 4, monthly: 12, ..Policy::default() };
    let verdicts = decide_at(&policy, &all, at(NOW));
    let of_rule = |rule: &Rule| -> Vec<String> {
        all.iter()
            .zip(&verdicts)
            .filter(|(_, verdict)| verdict.reasons.iter().any(|(other, _)| other == rule))
            .map(|(one, _)| one.head.time().strftime("%m-%d").to_string())
            .collect()
    };
    assert_eq!(of_rule(&Rule::Daily), ["12-25", "12-26", "12-27", "12-28", "12-29", "12-30", "12-31"]);
    // Sundays.
    assert_eq!(of_rule(&Rule::Weekly), ["12-06", "12-13", "12-20", "12-27"]);
    let months: Vec<String> = (1..=12).map(|month| format!("{month:02}-01")).collect();
    assert_eq!(of_rule(&Rule::Monthly), months);
    assert_eq!(verdicts[360].words(), "daily, weekly");
    assert_eq!(verdicts[364].words(), "newest complete, daily");
    assert_eq!(verdicts.iter().filter(|verdict| verdict.is_kept()).count(), 7 + 3 + 12);
}

#[test]
fn given_a_sunday_without_a_good_backup_then_mondays_is_the_weekly() {
    // 2026-11-01 is a Sunday.
    let mut all = vec![complete(1, "2026-11-01T03:00:00Z"), complete(2, "2026-11-02T03:00:00Z")];
    all.extend([complete(3, "2026-11-03T03:00:00Z"), complete(4, "2026-11-08T03:00:00Z")]);
    let policy = Policy { weekly: 2, ..Policy::default() };
    assert_eq!(kept(&policy, &all), [1, 4]);
    all[0].head.state = State::Suspect;
    assert_eq!(kept(&policy, &all), [2, 4]);
    all[0].head.state = State::Partial;
    // Nothing says that its stream is whole for a snapshot that holds none.
    let mut some = candidates(&all);
    some[0].streams.clear();
    let calendar = Calendar::default();
    let reckoning = Reckoning { calendar: &calendar, now: at(NOW), force: false };
    let verdicts = decide(&policy, &some, &reckoning);
    assert_eq!(verdicts.iter().map(Verdict::is_kept).collect::<Vec<_>>(), [false, true, false, true]);
}

#[test]
fn given_backups_that_stopped_then_nothing_expires_with_time() {
    let all = days(30);
    let policy = Policy { daily: 7, within: Some(hours(72)), ..Policy::default() };
    let soon = decide_at(&policy, &all, at("2026-02-02T00:00:00Z"));
    let later = decide_at(&policy, &all, at("2056-01-31T12:00:00Z"));
    assert_eq!(soon, later);
    assert_eq!(soon.iter().filter(|verdict| verdict.is_kept()).count(), 7);
}

#[test]
fn given_only_failures_since_then_the_newest_complete_and_what_came_later_stay() {
    let mut all = days(10);
    all.iter_mut().skip(6).for_each(|one| one.head.state = State::Suspect);
    assert_eq!(kept(&Policy { last: 1, ..Policy::default() }, &all), [6, 7, 8, 9, 10]);
    // A good one follows: the suspects count no more.
    all.push(complete(11, "2026-02-01T03:00:00Z"));
    assert_eq!(kept(&Policy { last: 1, ..Policy::default() }, &all), [11]);
}

#[test]
fn given_one_database_that_fails_then_the_others_expire_as_ever_and_it_keeps_its_last_days() {
    let mut all = days(20);
    all.iter_mut().skip(10).for_each(|one| one.head.state = State::Partial);
    let mut some = candidates(&all);
    for (at, one) in some.iter_mut().enumerate() {
        (one.streams, one.failed) = if at < 10 { (vec!["a", "b"], vec![]) } else { (vec!["a"], vec!["b"]) };
    }
    let calendar = Calendar::default();
    let reckoning = Reckoning { calendar: &calendar, now: at(NOW), force: false };
    let verdicts = decide(&Policy { daily: 3, ..Policy::default() }, &some, &reckoning);
    let kept: Vec<usize> = (0..20).filter(|at| verdicts[*at].is_kept()).collect();
    assert_eq!(kept, [7, 8, 9, 17, 18, 19]);
    assert_eq!(verdicts[17].words(), "daily (stream a)");
}

#[test]
fn given_unproven_snapshots_then_they_count_in_their_own_series_until_a_proven_one_comes() {
    let mut all = days(6);
    let policy = Policy { last: 2, ..Policy::default() };
    all.iter_mut().for_each(|one| one.head.proof = Proof::Unproven);
    assert_eq!(kept(&policy, &all), [5, 6]);
    // The series is proven from its third snapshot on; then somebody pipes a dump into it again.
    all[2].head.proof = Proof::Exited;
    all[3].head.proof = Proof::Exited;
    assert_eq!(kept(&policy, &all), [3, 4, 6], "the sixth is the newest complete, and takes no place");
    // What was there before the series was proven does not lose its place at once.
    assert_eq!(kept(&Policy { daily: 4, ..Policy::default() }, &all), [1, 2, 3, 4, 6]);
}

#[test]
fn given_clocks_that_jumped_then_what_they_stamped_stays_and_takes_nobodys_place() {
    let mut all = days(10);
    let policy = Policy { daily: 3, within: Some(hours(30)), ..Policy::default() };
    assert_eq!(kept(&policy, &all), [8, 9, 10]);
    all.push(complete(11, "2040-01-01T03:00:00Z"));
    assert_eq!(kept(&policy, &all), [8, 9, 10, 11]);
    // Ten years back, between two backups.
    all[10] = complete(11, "2016-01-01T03:00:00Z");
    all.push(complete(12, "2026-01-11T03:00:00Z"));
    assert_eq!(kept(&policy, &all), [9, 10, 11, 12]);
}

#[test]
fn given_a_backup_of_today_then_it_goes_by_force_only() {
    let all = [complete(1, "2026-01-01T03:00:00Z"), complete(2, "2026-01-01T13:00:00Z")];
    let calendar = Calendar::default();
    let policy = Policy { last: 1, ..Policy::default() };
    let words = |now, force| {
        let reckoning = Reckoning { calendar: &calendar, now: at(now), force };
        decide(&policy, &candidates(&all), &reckoning)[0].words()
    };
    assert_eq!(words("2026-01-02T02:59:00Z", false), "younger than 24 h");
    assert_eq!(words("2026-01-02T02:59:00Z", true), "");
    assert_eq!(words("2026-01-02T03:00:00Z", false), "");
}

#[test]
fn given_the_hour_that_comes_twice_in_autumn_then_both_are_hours() {
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let calendar = Calendar { zone, ..Calendar::default() };
    // 02:30 summer time, 02:30 winter time.
    let all = [complete(1, "2026-10-25T00:30:00Z"), complete(2, "2026-10-25T01:30:00Z")];
    let reckoning = Reckoning { calendar: &calendar, now: at(NOW), force: false };
    let verdicts = decide(&Policy { hourly: 2, ..Policy::default() }, &candidates(&all), &reckoning);
    assert!(verdicts.iter().all(|verdict| verdict.words().contains("hourly")), "{verdicts:?}");
    // And a day of 25 hours is one day.
    let long = [complete(1, "2026-10-24T22:10:00Z"), complete(2, "2026-10-25T22:50:00Z")];
    let verdicts = decide(&Policy { daily: 2, ..Policy::default() }, &candidates(&long), &reckoning);
    assert!(!verdicts[1].words().contains("daily"), "{verdicts:?}");
}

#[test]
fn a_day_is_stood_for_by_its_first_or_where_the_policy_says_so_by_its_last() {
    let all = [
        complete(1, "2026-10-01T02:00:00Z"),
        complete(2, "2026-10-01T18:00:00Z"),
        complete(3, "2026-10-02T02:00:00Z"),
        complete(4, "2026-10-02T18:00:00Z"),
        complete(5, "2026-10-03T02:00:00Z"),
    ];
    let first = Policy { daily: 3, ..Policy::default() };
    assert_eq!(kept(&first, &all), [1, 3, 5]);
    let last = Policy { representative: Representative::Last, ..first };
    assert_eq!(kept(&last, &all), [2, 4, 5]);
    assert!(Policy { representative: Representative::Last, ..Policy::default() }.is_empty());
}

fn policies() -> impl Strategy<Value = Policy> {
    let counts = (0u32..4, 0u32..5, 0u32..9, 0u32..6, 0u32..6, 0u32..3);
    (counts, prop::option::of(0i32..2000), any::<bool>()).prop_map(
        |((last, hourly, daily, weekly, monthly, yearly), within, is_last)| {
            let within = within.map(hours);
            let representative = if is_last { Representative::Last } else { Representative::First };
            Policy {
                last,
                hourly,
                daily,
                weekly,
                monthly,
                yearly,
                within,
                tags: BTreeSet::new(),
                representative,
            }
        },
    )
}

prop_compose! {
    fn histories()(
        gaps in prop::collection::vec((1i64..90, 0u8..10, any::<bool>()), 1..60),
        proven_from in 0usize..60,
    ) -> Vec<Summary> {
        let mut time = at("2024-01-01T00:00:00Z");
        gaps.into_iter().enumerate().map(|(number, (hours, state, _))| {
            time += SignedDuration::from_hours(hours);
            let state = match state { 0 => State::Suspect, 1 => State::Partial, _ => State::Complete };
            let proof = if number < proven_from { Proof::Unproven } else { Proof::Exited };
            snapshot(number as u64 + 1, time, state, proof)
        }).collect()
    }
}

proptest! {
    #[test]
    fn deciding_again_on_what_was_kept_keeps_all_of_it(all in histories(), policy in policies()) {
        let first = decide_at(&policy, &all, at(NOW));
        let rest: Vec<Summary> =
            all.iter().zip(&first).filter(|(_, v)| v.is_kept()).map(|(one, _)| one.clone()).collect();
        prop_assert_eq!(kept(&policy, &rest).len(), rest.len());
    }

    #[test]
    fn a_larger_count_keeps_no_less(all in histories(), policy in policies(), more in policies()) {
        let larger = Policy {
            last: policy.last + more.last,
            hourly: policy.hourly + more.hourly,
            daily: policy.daily + more.daily,
            weekly: policy.weekly + more.weekly,
            monthly: policy.monthly + more.monthly,
            yearly: policy.yearly + more.yearly,
            within: policy.within.max(more.within),
            representative: policy.representative,
            ..Policy::default()
        };
        let few: BTreeSet<u64> = kept(&policy, &all).into_iter().collect();
        let many: BTreeSet<u64> = kept(&larger, &all).into_iter().collect();
        prop_assert!(few.is_subset(&many), "{:?}", few.difference(&many).collect::<Vec<_>>());
    }

    #[test]
    fn the_order_of_the_list_does_not_matter(all in histories(), policy in policies(), seed: u64) {
        let mut shuffled = all.clone();
        shuffled.sort_by_key(|one| blake3::hash(&(one.head.counter ^ seed).to_le_bytes()).as_bytes()[0]);
        let mut other = kept(&policy, &shuffled);
        other.sort();
        prop_assert_eq!(kept(&policy, &all), other);
    }

    #[test]
    fn the_newest_complete_and_the_pinned_never_go(
        all in histories(),
        policy in policies(),
        pinned in prop::collection::vec(any::<bool>(), 60),
    ) {
        let mut some = candidates(&all);
        some.iter_mut().zip(&pinned).for_each(|(one, pinned)| one.pinned = *pinned);
        let calendar = Calendar::default();
        let verdicts =
            decide(&policy, &some, &Reckoning { calendar: &calendar, now: at(NOW), force: true });
        for (one, verdict) in some.iter().zip(&verdicts) {
            prop_assert!(verdict.is_kept() || !one.pinned);
        }
        if let Some(newest) = all.iter().rposition(|one| one.head.state == State::Complete) {
            prop_assert!(verdicts[newest].is_kept());
        }
    }

    #[test]
    fn suspects_take_no_place(all in histories(), policy in policies()) {
        let policy = Policy { within: None, ..policy };
        let without: Vec<Summary> =
            all.iter().filter(|one| one.head.state != State::Suspect).cloned().collect();
        let mut with = kept(&policy, &all);
        with.retain(|counter| without.iter().any(|one| one.head.counter == *counter));
        prop_assert_eq!(with, kept(&policy, &without));
    }

    #[test]
    fn forgetting_every_day_ends_where_forgetting_once_does(hours in prop::collection::vec(1i64..60, 1..80), policy in policies()) {
        let mut time = at("2024-01-01T00:00:00Z");
        let mut present: Vec<Summary> = Vec::new();
        let mut all = Vec::new();
        for (number, gap) in hours.into_iter().enumerate() {
            time += SignedDuration::from_hours(gap);
            let fresh = snapshot(number as u64 + 1, time, State::Complete, Proof::Exited);
            all.push(fresh.clone());
            present.push(fresh);
            let calendar = Calendar::default();
            let reckoning = Reckoning { calendar: &calendar, now: time, force: true };
            let verdicts = decide(&policy, &candidates(&present), &reckoning);
            let mut verdicts = verdicts.iter();
            present.retain(|_| verdicts.next().is_some_and(Verdict::is_kept));
        }
        let daily: Vec<u64> = present.iter().map(|one| one.head.counter).collect();
        prop_assert_eq!(daily, kept(&policy, &all));
    }

    #[test]
    fn tags_shown_and_places_taken_are_the_same(all in histories()) {
        let policy = Policy { daily: 1000, weekly: 1000, monthly: 1000, ..Policy::default() };
        let refs: Vec<&Summary> = all.iter().collect();
        let good = good(&refs);
        let times: Vec<Timestamp> =
            all.iter().zip(&good).filter(|(_, good)| **good).map(|(one, _)| one.head.time()).collect();
        let mut tags = calendar_tags(&times, &Calendar::default()).into_iter();
        let verdicts = decide_at(&policy, &all, at(NOW));
        for (verdict, good) in verdicts.iter().zip(good) {
            let words = if good { tags.next().unwrap_or_default() } else { vec![] };
            for (rule, tag) in [(Rule::Daily, "daily"), (Rule::Weekly, "weekly"), (Rule::Monthly, "monthly")] {
                let has = verdict.reasons.iter().any(|(other, stream)| *other == rule && stream.is_none());
                prop_assert_eq!(has, words.iter().any(|word| word.word() == tag));
            }
        }
    }
}

#[test]
fn given_a_limit_of_months_then_they_are_those_of_the_calendar() {
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let before = |age: Age, moment: &str| age.before(at(moment), &zone).to_string();
    let months = |months| Age { months, ..Age::default() };
    // 184 days, and the clocks were changed in between.
    assert_eq!(before(months(6), "2029-09-15T10:00:00Z"), "2029-03-15T11:00:00Z");
    // The month before has fewer days.
    assert_eq!(before(months(1), "2029-03-31T10:00:00Z"), "2029-02-28T11:00:00Z");
    assert_eq!(before(Age { years: 1, ..Age::default() }, "2028-02-29T11:00:00Z"), "2027-02-28T11:00:00Z");
    assert_eq!(
        before(Age { years: 15_000, months: 0, hours: 0 }, "2029-01-01T00:00:00Z"),
        Timestamp::MIN.to_string()
    );

    let calendar = Calendar { zone, ..Calendar::default() };
    let policy = Policy { within: Some(months(6)), ..Policy::default() };
    let all = [
        complete(1, "2029-03-15T10:59:59Z"),
        complete(2, "2029-03-15T11:00:00Z"),
        complete(3, "2029-09-15T10:00:00Z"),
    ];
    let reckoning = Reckoning { calendar: &calendar, now: at(NOW), force: true };
    let candidates: Vec<Candidate<'_>> = all
        .iter()
        .map(|summary| Candidate { summary, streams: vec![], failed: vec![], pinned: false, verified: false })
        .collect();
    let kept: Vec<bool> = decide(&policy, &candidates, &reckoning).iter().map(Verdict::is_kept).collect();
    assert_eq!(kept, [false, true, true]);
}

#[test]
fn given_400_days_when_forgotten_each_day_then_what_is_left_is_what_one_look_at_the_end_would_keep() {
    let all = days(400);
    let ids = |of: &[Summary]| of.iter().map(|one| one.head.counter).collect::<Vec<_>>();
    for policy in [
        Policy { daily: 7, weekly: 5, monthly: 12, yearly: 2, ..Policy::default() },
        Policy { last: 3, weekly: 4, ..Policy::default() },
        Policy { daily: 30, monthly: 6, within: Some(hours(72)), ..Policy::default() },
    ] {
        let mut left: Vec<Summary> = Vec::new();
        for today in &all {
            left.push(today.clone());
            let verdicts = decide_at(&policy, &left, today.head.time() + SignedDuration::from_hours(1));
            let mut kept = verdicts.iter().map(Verdict::is_kept);
            left.retain(|_| kept.next().unwrap());
        }
        let end = all.last().unwrap().head.time() + SignedDuration::from_hours(1);
        let verdicts = decide_at(&policy, &all, end);
        let at_once: Vec<Summary> =
            all.iter().zip(&verdicts).filter(|(_, one)| one.is_kept()).map(|(one, _)| one.clone()).collect();
        assert_eq!(ids(&left), ids(&at_once), "{policy:?}");
        assert!(left.len() > 5 && left.len() < 60, "{policy:?}");
    }
}

#[test]
fn given_failures_for_longer_than_the_rules_keep_then_the_last_good_and_the_last_verified_are_still_there() {
    let mut all = days(120);
    // Good for twenty days, and the tenth was restored; then a hundred days of parts.
    all.iter_mut().skip(20).for_each(|one| one.head.state = State::Partial);
    let policy = Policy { daily: 7, ..Policy::default() };
    let calendar = Calendar::default();
    let now = all.last().unwrap().head.time() + SignedDuration::from_hours(24 * 60);
    let mut candidates = candidates(&all);
    candidates[9].verified = true;
    let verdicts = decide(&policy, &candidates, &Reckoning { calendar: &calendar, now, force: false });
    assert!(verdicts[19].is_kept(), "the last good one");
    assert!(verdicts[9].is_kept(), "the last verified one");
    assert!(!verdicts[5].is_kept(), "one that nothing keeps");
}
