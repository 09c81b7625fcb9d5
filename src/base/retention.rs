//! What a person wants kept of a series: the rules, and nothing of how they are applied.

use super::unit::Age;
use std::collections::BTreeSet;

/// Which snapshot of an hour, day, week, month or year stands for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Representative {
    /// The first, which stays the same whatever comes later.
    #[default]
    First,
    /// The last, as other tools have it. The one of a day that is not over makes room for the next.
    Last,
}

/// What to keep. The default keeps nothing but what is always kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// The newest so many good snapshots.
    pub last: u32,
    /// One of each of the newest so many hours that have one.
    pub hourly: u32,
    /// As `hourly`, of days.
    pub daily: u32,
    /// Of weeks.
    pub weekly: u32,
    /// Of months.
    pub monthly: u32,
    /// Of years.
    pub yearly: u32,
    /// All that are not older than this, reckoned from the newest good one of the series.
    pub within: Option<Age>,
    /// All with one of these tags.
    pub tags: BTreeSet<String>,
    /// Which one that is, of an hour, a day and so on.
    pub representative: Representative,
}

impl Policy {
    /// Whether no rule keeps anything: then forgetting would leave one snapshot a series, which nobody asks for.
    pub fn is_empty(&self) -> bool {
        let rules = Self { representative: Representative::default(), ..self.clone() };
        rules == Self::default()
    }

    /// What it keeps, in words: `daily 7, weekly 4`.
    pub fn words(&self) -> String {
        let counts = [
            ("last", self.last),
            ("hourly", self.hourly),
            ("daily", self.daily),
            ("weekly", self.weekly),
            ("monthly", self.monthly),
            ("yearly", self.yearly),
        ];
        let counts = counts.iter().filter(|(_, count)| *count > 0);
        let mut words: Vec<String> = counts.map(|(rule, count)| format!("{rule} {count}")).collect();
        words.extend(self.within.map(|_| "all of late".to_owned()));
        words.extend(self.tags.iter().map(|tag| format!("tag {tag}")));
        words.join(", ")
    }
}
