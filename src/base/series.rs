//! A series of a host, as somebody saw it in a repository: what is good of it, and how old.

/// A series of a host, as it was when somebody looked. Moments are in ms since the epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeenSeries {
    /// Its host.
    pub host: String,
    /// Its name.
    pub series: String,
    /// Moment of its newest snapshot.
    pub newest: Option<i64>,
    /// Moment of the newest one that is complete, whole and not doubtful.
    pub good: Option<i64>,
    /// Complete snapshots.
    pub complete: u64,
    /// Partial snapshots.
    pub partial: u64,
    /// Suspect snapshots.
    pub suspect: u64,
    /// The newest is suspect or damaged.
    pub is_suspect: bool,
    /// When one of them was last verified.
    pub verified: Option<i64>,
    /// When one of them was last checked.
    pub checked: Option<i64>,
}
