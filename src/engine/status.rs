//! How old the newest good snapshot of each series is: from heads and marks alone, so that an append key can watch.

use super::OpError;
use super::listing::Present;
use crate::base::event::Observer;
use crate::base::name::SeriesName;
use crate::vault::Repository;
use crate::vault::snapshot::selection::newer;
use crate::vault::snapshot::{State, Summary};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// What is asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct StatusRequest {
    /// Only this series.
    pub series: Option<SeriesName>,
    /// Series that should be there, with their host: those of configured sources.
    pub expected: Vec<(String, String)>,
    /// The oldest moment that is good enough.
    pub not_before: Option<Timestamp>,
}

/// A series of a host.
#[derive(Debug, Clone)]
pub struct SeriesStatus {
    /// Its name.
    pub series: String,
    /// The host.
    pub host: String,
    /// The newest snapshot that is complete and not suspect.
    pub good: Option<Summary>,
    /// The newest one, where it is another.
    pub newest: Option<Summary>,
    /// When a snapshot of it was last restored and compared, ms since the epoch.
    pub verified_ms: Option<i64>,
    /// When a check last found a snapshot of it whole, ms since the epoch.
    pub checked_ms: Option<i64>,
    /// There is no good one that is new enough.
    pub is_too_old: bool,
}

/// All series.
#[derive(Debug, Clone, Default)]
pub struct StatusReport {
    /// By host and name.
    pub series: Vec<SeriesStatus>,
    /// Why it cannot be told for sure: snapshots that cannot be read, a storage that was turned back.
    pub unclear: Vec<String>,
    /// Which snapshots there are, of all series.
    pub present: Present,
}

impl StatusReport {
    /// Whether a series is too old, or there is nothing at all.
    pub fn is_too_old(&self) -> bool {
        self.series.is_empty() || self.series.iter().any(|one| one.is_too_old)
    }
}

/// Looks at all series.
///
/// # Errors
/// When the repository cannot be read.
pub(crate) fn status(
    repo: &Repository,
    request: &StatusRequest,
    observer: &dyn Observer,
) -> Result<StatusReport, OpError> {
    let (_, history) = repo.told(observer)?;
    let damage = history.damaged.iter().filter(|damage| damage.is_failure());
    let mut unclear: Vec<String> = damage.map(|damage| damage.error.to_string()).collect();
    unclear.extend(history.turned_back.iter().map(|what| format!("the repository was turned back: {what}")));
    let is_meant = |series: &str, host: &str| {
        request.series.as_ref().is_none_or(|wanted| {
            wanted.series == series && wanted.host.as_ref().is_none_or(|wanted| wanted == host)
        })
    };
    let mut all: BTreeMap<(String, String), Vec<&Summary>> = BTreeMap::new();
    for (series, host) in request.expected.iter().filter(|(series, host)| is_meant(series, host)) {
        all.entry((host.clone(), series.clone())).or_default();
    }
    for summary in history.snapshots.iter().filter(|one| is_meant(&one.head.series, &one.head.host)) {
        let head = &summary.head;
        all.entry((head.host.clone(), head.series.clone())).or_default().push(summary);
    }
    let series = all.into_iter().map(|((host, series), members)| {
        let is_good = |summary: &&&Summary| {
            summary.head.state == State::Complete
                && !history.damaged_snapshots.contains_key(&summary.id)
                && !summary.is_doubtful
                && !summary.head.is_import()
        };
        let good = members.iter().filter(is_good).max_by(|a, b| newer(a, b)).copied();
        let newest = members.iter().max_by(|a, b| newer(a, b)).copied();
        let newest = newest.filter(|newest| good.is_none_or(|good| good.id != newest.id));
        let verified = members.iter().filter_map(|summary| history.verified.get(&summary.id));
        let checked = members.iter().filter_map(|summary| history.checked.get(&summary.id));
        let is_new = |good: &Summary| request.not_before.is_none_or(|least| good.head.time() >= least);
        SeriesStatus {
            series,
            host,
            good: good.cloned(),
            newest: newest.cloned(),
            verified_ms: verified.max().copied(),
            checked_ms: checked.max().copied(),
            is_too_old: !good.is_some_and(is_new),
        }
    });
    let present = Present::of(history.snapshots.iter(), &history);
    Ok(StatusReport { series: series.collect(), unclear, present })
}
