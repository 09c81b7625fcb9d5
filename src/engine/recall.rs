//! What the repository says of snapshots and series to a history that does not know them.

use super::OpError;
use super::forget::{Policies, expiries};
use super::listing::Seen;
use crate::base::calendar::Calendar;
use crate::base::id::SnapshotId;
use crate::base::run::Run;
use crate::base::series::SeenSeries;
use crate::vault::history::History;
use crate::vault::snapshot::{State, Summary};
use crate::vault::{RepoError, Repository};
use std::collections::{BTreeMap, BTreeSet};

/// The repository as it is.
pub(crate) struct Recalled {
    /// Snapshots that were not known. One whose body is damaged, or that the key cannot open, comes without it.
    pub new: Vec<Seen>,
    /// Until when the retention rules keep each snapshot, ms since the epoch. `None` if no rule sets an end.
    pub expires: BTreeMap<SnapshotId, Option<i64>>,
    /// Snapshots that were removed by somebody.
    pub forgotten: BTreeSet<SnapshotId>,
    /// All series.
    pub series: Vec<SeenSeries>,
    /// Damaged packs and snapshots.
    pub damaged: u64,
}

/// Reads what is not known yet, and counts the rest.
///
/// # Errors
/// When the repository cannot be read. Damage is part of the answer.
pub(crate) fn recall(
    repo: &Repository,
    is_known: &dyn Fn(&SnapshotId) -> bool,
    policies: &Policies,
    calendar: &Calendar,
    run: &Run,
) -> Result<Recalled, OpError> {
    let (mut catalog, history) = repo.told(run.events.as_ref())?;
    let mut new = Vec::new();
    for summary in history.snapshots.iter().filter(|summary| !is_known(&summary.id)) {
        let body = match repo.body(&mut catalog, &summary.id) {
            Ok(body) => Some(body),
            Err(error) if error.is_integrity() || matches!(error, RepoError::Crypto(_)) => None,
            Err(error) => return Err(error.into()),
        };
        new.push(Seen { summary: summary.clone(), body });
    }
    let known = expiries(&history, policies, calendar, run.clock.now());
    let ids = history.snapshots.iter().map(|summary| summary.id);
    let expires = ids.map(|id| (id, known.get(&id).copied())).collect();
    let damaged = history.damaged_packs.len().saturating_add(history.damaged_snapshots.len());
    let damaged = u64::try_from(damaged).unwrap_or(u64::MAX);
    let forgotten = history.forgotten.iter().copied().collect();
    Ok(Recalled { new, expires, forgotten, series: series(&history), damaged })
}

fn series(history: &History) -> Vec<SeenSeries> {
    let mut all: BTreeMap<(String, String), Vec<&Summary>> = BTreeMap::new();
    for summary in &history.snapshots {
        all.entry((summary.head.host.clone(), summary.head.series.clone())).or_default().push(summary);
    }
    let each = all.into_iter().map(|((host, series), members)| {
        let is_whole = |summary: &Summary| !history.damaged_snapshots.contains_key(&summary.id);
        let is_good = |summary: &&&Summary| {
            summary.head.state == State::Complete
                && is_whole(summary)
                && !summary.is_doubtful
                && !summary.head.is_import()
        };
        let newest = members.iter().max_by_key(|summary| summary.rank());
        let good = members.iter().filter(is_good).max_by_key(|summary| summary.rank());
        let count = |state: State| {
            u64::try_from(members.iter().filter(|summary| summary.head.state == state).count())
                .unwrap_or(u64::MAX)
        };
        SeenSeries {
            newest: newest.map(|summary| summary.head.time_ms),
            good: good.map(|summary| summary.head.time_ms),
            complete: count(State::Complete),
            partial: count(State::Partial),
            suspect: count(State::Suspect),
            is_suspect: newest
                .is_some_and(|summary| summary.head.state == State::Suspect || !is_whole(summary)),
            verified: members.iter().filter_map(|summary| history.verified.get(&summary.id)).max().copied(),
            checked: members.iter().filter_map(|summary| history.checked.get(&summary.id)).max().copied(),
            host,
            series,
        }
    });
    each.collect()
}
