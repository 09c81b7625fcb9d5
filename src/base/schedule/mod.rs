//! When something is due: a schedule as a person writes it, in a time zone, and the moments that it comes to.
//!
//! A *slot* is a moment at which a schedule wants its job to run. `slots` says how local times become moments where
//! clocks change.

mod cron;
mod slots;

pub use cron::Cron;

use super::unit::Problem;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::sync::Arc;
use std::time::Duration;

/// A schedule in its time zone. A copy costs nothing: a service holds several of each of thousands of jobs.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule(Arc<Parts>);

#[derive(Debug, PartialEq)]
struct Parts {
    rule: Rule,
    zone: TimeZone,
    text: String,
}

/// What a schedule follows.
#[derive(Debug, Clone, PartialEq)]
enum Rule {
    /// Local times.
    Cron(Cron),
    /// Multiples of a time since 1970, which know nothing of clocks that change. In seconds.
    Every(i64),
}

impl Schedule {
    fn of(rule: Rule, zone: TimeZone, text: String) -> Self {
        Self(Arc::new(Parts { rule, zone, text }))
    }

    /// By a cron expression.
    ///
    /// # Errors
    /// When it is none, or never comes.
    pub fn cron(text: &str, zone: TimeZone) -> Result<Self, Problem> {
        Ok(Self::of(Rule::Cron(Cron::parse(text)?), zone, text.trim().to_owned()))
    }

    /// Each day at that local time: `03:15`.
    ///
    /// # Errors
    /// When it is none.
    pub fn daily(text: &str, zone: TimeZone) -> Result<Self, Problem> {
        let cron = Cron::daily(text)?;
        Ok(Self::of(Rule::Cron(cron), zone, format!("daily at {}", text.trim())))
    }

    /// At multiples of that time since 1970.
    ///
    /// # Errors
    /// When it is shorter than a second or has a part of one, or longer than a year.
    pub fn every(time: Duration, zone: TimeZone) -> Result<Self, Problem> {
        let seconds =
            i64::try_from(time.as_secs()).ok().filter(|seconds| (1..=366 * 86_400).contains(seconds));
        let seconds = seconds.filter(|_| time.subsec_nanos() == 0).ok_or_else(|| {
            Problem::new(format!("invalid interval `{time:?}`"))
                .next("use whole seconds, at most a year: 30m, 6h")
        })?;
        Ok(Self::of(Rule::Every(seconds), zone, format!("every {time:?}")))
    }

    /// The first slot after that moment; `None` only at the end of the calendar.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.0.rule {
            Rule::Every(seconds) => {
                let slot = after.as_second().div_euclid(*seconds).checked_add(1)?.checked_mul(*seconds)?;
                Timestamp::from_second(slot).ok()
            }
            Rule::Cron(cron) => slots::next(cron, &self.0.zone, after),
        }
    }

    /// The zone of its local times.
    pub fn zone(&self) -> &TimeZone {
        &self.0.zone
    }

    /// As it was written, with its zone. Equal schedules have equal texts.
    pub fn text(&self) -> String {
        match &self.0.rule {
            Rule::Every(_) => self.0.text.clone(),
            Rule::Cron(_) => format!("{} {}", self.0.text, self.0.zone.iana_name().unwrap_or("local time")),
        }
    }

    /// What it says, in words.
    pub fn words(&self) -> String {
        match &self.0.rule {
            Rule::Every(seconds) => {
                let units = [(86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")];
                let (unit, name) =
                    units.into_iter().find(|(unit, _)| seconds % unit == 0).unwrap_or((1, "second"));
                let every = match seconds / unit {
                    1 => format!("every {name}"),
                    count => format!("every {count} {name}s"),
                };
                format!("{every}, counted from 1970-01-01T00:00Z; clock changes do not matter")
            }
            Rule::Cron(cron) => cron.words(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_told_in_its_greatest_unit() {
        let words = |seconds| Schedule::every(Duration::from_secs(seconds), TimeZone::UTC).unwrap().words();
        for (seconds, expected) in [
            (1, "every second,"),
            (90, "every 90 seconds,"),
            (60, "every minute,"),
            (21_600, "every 6 hours,"),
            (86_400, "every day,"),
            (5_400, "every 90 minutes,"),
        ] {
            assert!(words(seconds).starts_with(expected), "{}", words(seconds));
        }
    }
}
