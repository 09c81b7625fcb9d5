//! How old the newest good snapshots are.

use super::{Id, Report, Time};
use crate::engine::status::{SeriesStatus, StatusReport};
use crate::vault::snapshot::Summary;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

/// How old the newest good snapshot of each series is.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Status {
    /// Every series has a good snapshot that is new enough, and all can be read.
    pub ok: bool,
    /// By host and name.
    pub series: Vec<Series>,
    /// Why it cannot be told for sure: snapshots that cannot be read, a storage that was turned back.
    pub unclear: Vec<String>,
}

/// A series of a host.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "SeriesStatus")]
pub struct Series {
    /// Its name.
    pub series: String,
    /// The host.
    pub host: String,
    /// The newest snapshot that is complete and not suspect; null if there is none.
    pub good: Option<Newest>,
    /// The newest snapshot, where it is another.
    pub newest: Option<Newest>,
    /// When a snapshot of the series was last restored and compared as a whole.
    pub verified: Option<Time>,
    /// When a check with a full key last found a snapshot of the series whole.
    pub checked: Option<Time>,
    /// There is no good snapshot that is new enough.
    pub too_old: bool,
}

/// A snapshot.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "NewestSnapshot")]
pub struct Newest {
    /// Its id.
    pub id: Id,
    /// Moment of the dump.
    pub time: Time,
    /// How old it is.
    pub age_seconds: i64,
    /// `complete`, `partial`, `suspect`.
    pub state: String,
}

impl Report for Status {}

impl Status {
    /// What was found, at that moment.
    pub fn new(report: &StatusReport, now: Timestamp) -> Self {
        Self {
            ok: !report.is_too_old() && report.unclear.is_empty(),
            series: report.series.iter().map(|one| Series::new(one, now)).collect(),
            unclear: report.unclear.clone(),
        }
    }
}

impl Series {
    fn new(one: &SeriesStatus, now: Timestamp) -> Self {
        let newest = |summary: &Summary| Newest {
            id: Id::of(summary.id),
            time: Time::from_ms(summary.head.time_ms),
            age_seconds: now.duration_since(summary.head.time()).as_secs(),
            state: summary.head.state.word().into_owned(),
        };
        Self {
            series: one.series.clone(),
            host: one.host.clone(),
            good: one.good.as_ref().map(newest),
            newest: one.newest.as_ref().map(newest),
            verified: one.verified_ms.map(Time::from_ms),
            checked: one.checked_ms.map(Time::from_ms),
            too_old: one.is_too_old,
        }
    }
}
