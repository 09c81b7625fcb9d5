//! What was seen in the repository before, by this host or another: what is gone of it, and what is remembered from now
//! on.

use super::History;
use super::fold::Folded;
use crate::base::id::{AuthorId, SnapshotId};
use crate::vault::memory::{Question, Remembered};
use crate::vault::objects::ObjectName;
use crate::vault::snapshot::Summary;
use crate::vault::{RepoError, Repository};
use std::collections::{HashMap, HashSet};

/// What the host, or an author, saw and is gone; and what the host remembers from now on.
pub(super) fn compare_with_memory(
    repo: &Repository,
    listed: &[(SnapshotId, i64)],
    remembered: Vec<Remembered>,
    folded: &Folded,
    history: &mut History,
) {
    let there: HashSet<SnapshotId> = listed.iter().map(|(id, _)| *id).collect();
    let is_explained = |id: &SnapshotId| {
        there.contains(id) || folded.forgotten.contains(id) || folded.given_up.contains(&id.key())
    };
    let is_accepted = |subject: &str| {
        if repo.accept_rollback {
            repo.memory.note_answer(Question::Rollback, subject, "accepted");
        }
        repo.memory.answer(Question::Rollback, subject).is_some()
    };
    let (mut kept, mut missing) = (HashMap::new(), HashSet::new());
    for newest in remembered {
        if !is_explained(&newest.snapshot) && !is_accepted(&newest.snapshot.to_string()) {
            let Remembered { host, series, snapshot, .. } = &newest;
            history.turned_back.push(format!(
                "snapshot {} of `{host}/{series}`, which this host has seen, is missing and was not forgotten",
                snapshot.short()
            ));
            missing.insert((host.clone(), series.clone()));
        }
        kept.insert((newest.host.clone(), newest.series.clone()), newest);
    }
    repo.memory.hold_fast(missing);
    let objects = repo.authors.missing.iter().map(ObjectName::key);
    for object in objects.chain(repo.authors.epochs().missing.iter().map(ObjectName::key)) {
        if !is_accepted(&object) {
            history.turned_back.push(format!("`{object}`, which this host has seen, is gone"));
        }
    }
    let mut lost: Vec<(SnapshotId, AuthorId)> = Vec::new();
    for summary in &history.snapshots {
        let pins = summary.head.pinned_ids().filter(|id| !is_explained(id));
        lost.extend(pins.map(|id| (id, summary.head.author)));
    }
    lost.sort_unstable();
    lost.dedup_by_key(|(id, _)| *id);
    for (id, author) in lost {
        if is_accepted(&id.to_string()) {
            continue;
        }
        let name = repo.authors.name(&author);
        let what =
            format!("snapshot {}, which key `{name}` has seen, is missing and was not forgotten", id.short());
        match repo.authors.is_full(&author) {
            true => history.turned_back.push(what),
            false => history.claimed_lost.push(what),
        }
    }
    remember_newest(repo, &history.snapshots, &kept, is_explained);
}

/// Remembers the newest snapshot of each series, where that is another than before and nothing is missing.
fn remember_newest(
    repo: &Repository,
    snapshots: &[Summary],
    before: &HashMap<(String, String), Remembered>,
    is_explained: impl Fn(&SnapshotId) -> bool,
) {
    let mut newest: HashMap<(String, String), &Summary> = HashMap::new();
    for summary in snapshots {
        let key = (summary.head.host.clone(), summary.head.series.clone());
        let best = newest.entry(key).or_insert(summary);
        if summary.rank() > best.rank() {
            *best = summary;
        }
    }
    let mut fresh = Vec::new();
    for ((host, series), summary) in newest {
        let old = before.get(&(host.clone(), series.clone()));
        let may = old.is_none_or(|old| {
            old.snapshot != summary.id
                && (is_explained(&old.snapshot)
                    || repo.memory.answer(Question::Rollback, &old.snapshot.to_string()).is_some())
        });
        if may {
            fresh.push(Remembered { host, series, counter: summary.head.counter, snapshot: summary.id });
        }
    }
    if !fresh.is_empty() {
        repo.memory.remember_newest(&fresh);
    }
    let there: HashSet<(&str, &str)> =
        snapshots.iter().map(|summary| (summary.head.host.as_str(), summary.head.series.as_str())).collect();
    for ((host, series), old) in before {
        if !there.contains(&(host.as_str(), series.as_str())) && is_explained(&old.snapshot) {
            repo.memory.drop_series(host, series);
        }
    }
}

/// Refuses where the repository lacks what was seen in it.
///
/// # Errors
/// [`RepoError::TurnedBack`].
pub(in crate::vault) fn refuse_turned_back(history: &History) -> Result<(), RepoError> {
    match history.turned_back.first() {
        None => Ok(()),
        Some(what) => Err(RepoError::TurnedBack { what: what.clone() }),
    }
}
