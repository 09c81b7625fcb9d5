//! Which slots are due, and what becomes of them: a function of cursor, time and schedule, and of nothing else.

use super::book::Decision;
use crate::base::schedule::Schedule;
use crate::settings::{CatchUp, Job};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// A run that starts no later than this is on time.
const ON_TIME_MS: i64 = 60_000;

/// Slots that have come since the cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    /// The newest of them.
    pub newest: i64,
    /// When that was due: the slot, put off by its jitter.
    pub at: i64,
    /// Those before it: the newest of these, and how many.
    pub older: Option<(i64, u64)>,
}

impl Due {
    /// What becomes of the newest, if nothing is in its way.
    pub(super) fn decision(&self, now: i64, catch_up: CatchUp) -> Decision {
        let late = now.saturating_sub(self.at);
        let within = match catch_up {
            CatchUp::Never => ON_TIME_MS,
            CatchUp::Within(time) => i64::try_from(time.as_millis()).unwrap_or(i64::MAX).max(ON_TIME_MS),
            CatchUp::Always => i64::MAX,
        };
        match late {
            _ if late <= ON_TIME_MS => Decision::Run,
            _ if late <= within => Decision::CatchUp,
            _ => Decision::Missed,
        }
    }
}

/// A job's slots on this machine.
#[derive(Debug, Clone)]
pub(crate) struct Slots<'a> {
    schedule: &'a Schedule,
    jitter: Duration,
    /// What the jitter depends on besides the slot.
    seed: String,
}

impl<'a> Slots<'a> {
    /// Those of a job on that machine.
    pub(crate) fn of(machine: &str, name: &str, job: &'a Job) -> Self {
        Self { schedule: &job.schedule, jitter: job.jitter, seed: format!("{machine}\0{name}") }
    }

    /// The first slot after the cursor, and when it is due.
    pub(crate) fn next(&self, cursor: i64) -> Option<(i64, i64)> {
        let slot = self.schedule.next(moment(cursor)?)?;
        let at = slot.as_millisecond();
        Some((at, self.due(slot)))
    }

    /// Slots that are due by now; all of them are later than the cursor.
    pub(super) fn due_by(&self, cursor: i64, now: i64) -> Option<Due> {
        let (now_at, mut slot) = (moment(now)?, self.schedule.next(moment(cursor)?)?);
        let (mut found, mut count): (Option<(i64, i64)>, u64) = (None, 0);
        let mut before = None;
        while slot <= now_at {
            let next = self.schedule.next(slot);
            // Only the last one may still be put off: each is due before the next slot.
            let due = match next {
                Some(next) if next <= now_at => slot.as_millisecond(),
                _ => self.due(slot),
            };
            if due > now {
                break;
            }
            before = found.map(|(at, _)| at);
            found = Some((slot.as_millisecond(), due));
            count += 1;
            let Some(next) = next else { break };
            slot = next;
        }
        let (newest, at) = found?;
        // What was taken to be due at its slot may have been put off; that is for the newest to know.
        let at = moment(newest).map_or(at, |slot| self.due(slot));
        Some(Due { newest, at, older: before.map(|before| (before, count.saturating_sub(1))) })
    }

    /// When a slot is due: put off by less than the jitter, and less than the time to the next one.
    fn due(&self, slot: Timestamp) -> i64 {
        let at = slot.as_millisecond();
        if self.jitter.is_zero() {
            return at;
        }
        let gap = self.schedule.next(slot).map_or(i64::MAX, |next| next.as_millisecond().saturating_sub(at));
        let most = i64::try_from(self.jitter.as_millis()).unwrap_or(i64::MAX).min(gap).max(1);
        let hash = blake3::hash(format!("{}\0{at}", self.seed).as_bytes());
        let mut bytes = [0; 8];
        bytes.iter_mut().zip(hash.as_bytes()).for_each(|(to, from)| *to = *from);
        let share = u64::from_le_bytes(bytes) % u64::try_from(most).unwrap_or(1);
        at.saturating_add(i64::try_from(share).unwrap_or_default())
    }
}

fn moment(ms: i64) -> Option<Timestamp> {
    Timestamp::from_millisecond(ms).ok()
}

/// Milliseconds of a time span.
pub(super) fn ms(time: Duration) -> i64 {
    SignedDuration::try_from(time)
        .map_or(i64::MAX, |time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    fn every(seconds: u64) -> Schedule {
        Schedule::every(Duration::from_secs(seconds), TimeZone::UTC).unwrap()
    }

    #[test]
    fn of_several_slots_the_newest_is_due_and_the_others_are_counted() {
        let schedule = every(60);
        let slots = Slots { schedule: &schedule, jitter: Duration::ZERO, seed: String::new() };
        assert_eq!(slots.due_by(0, 59_999), None);
        assert_eq!(slots.due_by(0, 60_000), Some(Due { newest: 60_000, at: 60_000, older: None }));
        let due = slots.due_by(0, 400 * 60_000 + 5).unwrap();
        assert_eq!(due, Due { newest: 400 * 60_000, at: 400 * 60_000, older: Some((399 * 60_000, 399)) });
        assert_eq!(due.decision(400 * 60_000 + 60_000, CatchUp::Never), Decision::Run);
        assert_eq!(due.decision(400 * 60_000 + 60_001, CatchUp::Never), Decision::Missed);
        let day = CatchUp::Within(Duration::from_secs(86_400));
        assert_eq!(due.decision(400 * 60_000 + 86_400_000, day), Decision::CatchUp);
        assert_eq!(due.decision(400 * 60_000 + 86_400_001, day), Decision::Missed);
    }

    proptest! {
        #[test]
        fn jitter_neither_loses_a_slot_nor_brings_two_into_disorder(
            period in 1u64..4000, jitter in 0u64..8000, steps in prop::collection::vec(1i64..9_000_000, 1..40),
        ) {
            let schedule = every(period);
            let slots = Slots { schedule: &schedule, jitter: Duration::from_secs(jitter), seed: "host\0job".to_owned() };
            let (mut cursor, mut now, mut counted) = (0, 0, 0);
            for step in steps {
                now += step;
                if let Some(due) = slots.due_by(cursor, now) {
                    prop_assert!(due.newest > cursor && due.at <= now && due.at >= due.newest);
                    counted += 1 + due.older.map_or(0, |(at, count)| { assert!(at < due.newest); count });
                    cursor = due.newest;
                }
                let (next, at) = slots.next(cursor).unwrap();
                prop_assert!(at > now && at >= next);
            }
            prop_assert_eq!(counted, u64::try_from(cursor).unwrap() / (period * 1000));
        }
    }
}
