//! Repair: the index is made anew, damaged packs are brought to safety, snapshots that cannot be whole are marked, so
//! that nothing takes them for good copies. Repair of marks and times.

use super::OpError;
use crate::base::clock::Clock;
use crate::base::event::{Cancel, Observer};
use crate::base::id::SnapshotId;
use crate::base::run::Run;
use crate::vault::Repository;
use crate::vault::check::{CheckReport, CheckSettings, ReadData};
use crate::vault::format::mark::MarkKind;
use crate::vault::history::Stops;
use crate::vault::repair::{IndexRepair, PacksRepair};
use std::collections::{BTreeMap, HashSet};

/// What marking snapshots came to.
#[derive(Debug)]
pub struct SnapshotsRepair {
    /// What was found.
    pub report: CheckReport,
    /// Snapshots that are marked since now.
    pub marked: Vec<SnapshotId>,
    /// Snapshots that were marked before and are not whole still.
    pub still: Vec<SnapshotId>,
    /// Snapshots that were marked and are whole again: they are marked no more.
    pub recovered: Vec<SnapshotId>,
    /// Snapshots that were committed and are not there: nothing speaks of them any more.
    pub given_up: Vec<SnapshotId>,
    /// What the marks of `marked` say.
    words: BTreeMap<SnapshotId, String>,
}

/// Makes the index anew from what the packs hold, or says what it would name.
///
/// # Errors
/// When nothing can be said, or the index cannot be written.
pub fn repair_index(repo: &Repository, dry_run: bool, run: &Run) -> Result<IndexRepair, OpError> {
    let (repairer, observer) = (repo.repairer(), run.events.as_ref());
    Ok(match dry_run {
        true => repairer.foresee_index(observer, &run.cancel)?,
        false => repairer.repair_index(now_ms(run), observer, &run.cancel)?,
    })
}

/// Copies what can be read of damaged packs into new ones, or says what it would copy.
///
/// # Errors
/// When nothing can be said, or a pack cannot be written.
pub fn repair_packs(repo: &Repository, host: &str, dry_run: bool, run: &Run) -> Result<PacksRepair, OpError> {
    let (repairer, observer) = (repo.repairer(), run.events.as_ref());
    Ok(match dry_run {
        true => repairer.foresee_packs(observer, &run.cancel)?,
        false => repairer.repair_packs(host, now_ms(run), observer, &run.cancel)?,
    })
}

/// Follows every snapshot and marks those of which something is lost. Their other bytes can be restored as before.
///
/// # Errors
/// When nothing can be said, or a mark cannot be written.
pub fn repair_snapshots(
    repo: &Repository,
    clock: &dyn Clock,
    host: &str,
    workers: usize,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<SnapshotsRepair, OpError> {
    let now_ms = clock.now().as_millisecond();
    let given_up = repo.give_up_missing(now_ms)?;
    let repair = looked_at(repo, now_ms, workers, given_up, observer, cancel)?;
    for (id, words) in &repair.words {
        repo.marks().mark_snapshot(id, MarkKind::Damaged, Some(Some(words.clone())), host, now_ms)?;
    }
    for id in &repair.recovered {
        repo.marks().mark_snapshot(id, MarkKind::Damaged, None, host, now_ms)?;
    }
    Ok(repair)
}

/// What [`repair_snapshots`] would come to. Nothing is written.
///
/// # Errors
/// When nothing can be said.
pub fn foresee_snapshots(
    repo: &Repository,
    clock: &dyn Clock,
    workers: usize,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<SnapshotsRepair, OpError> {
    let (now_ms, missing) = (clock.now().as_millisecond(), repo.missing_snapshots()?);
    let is_missing: HashSet<SnapshotId> = missing.iter().copied().collect();
    let mut repair = looked_at(repo, now_ms, workers, missing, observer, cancel)?;
    // The repair gives these up first, and nothing follows them any more then.
    repair.marked.retain(|id| !is_missing.contains(id));
    repair.still.retain(|id| !is_missing.contains(id));
    repair.report.hits.retain(|hit| !is_missing.contains(&hit.id));
    Ok(repair)
}

fn looked_at(
    repo: &Repository,
    now_ms: i64,
    workers: usize,
    given_up: Vec<SnapshotId>,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<SnapshotsRepair, OpError> {
    let mut report =
        repo.checker().check(CheckSettings::new(ReadData::Nothing, now_ms, workers), observer, cancel)?;
    super::check::name_tables(repo, &mut report.hits, observer)?;
    let known = repo.history(&mut repo.catalog(observer)?)?.damaged_snapshots;
    let mut hit: BTreeMap<SnapshotId, Vec<String>> = BTreeMap::new();
    for one in &report.hits {
        let stream = if one.stream.is_empty() { String::new() } else { format!("stream `{}`: ", one.stream) };
        let words = format!("{stream}{} bytes lost: {}", one.bytes_lost, one.what);
        hit.entry(one.id).or_default().push(words);
    }
    let (still, marked): (Vec<SnapshotId>, Vec<SnapshotId>) =
        hit.keys().copied().partition(|id| known.contains_key(id));
    let mut recovered: Vec<SnapshotId> = known.keys().filter(|id| !hit.contains_key(*id)).copied().collect();
    recovered.sort();
    hit.retain(|id, _| !known.contains_key(id));
    let limited = |words: Vec<String>| words.join("; ").chars().take(WORDS_MAX).collect();
    let words = hit.into_iter().map(|(id, words)| (id, limited(words))).collect();
    Ok(SnapshotsRepair { report, marked, still, recovered, given_up, words })
}

/// Gives up marks and snapshots that cannot be read, and that nothing depends on; or says which those are.
///
/// # Errors
/// When nothing can be said, or it cannot be written down.
pub fn repair_marks(repo: &Repository, dry_run: bool, run: &Run) -> Result<Vec<String>, OpError> {
    if !dry_run {
        return Ok(repo.give_up_unreadable(now_ms(run))?);
    }
    let history = repo.history(&mut repo.catalog(run.events.as_ref())?)?;
    let given_up = history.damaged.iter().filter(|damage| damage.stops == Stops::Nothing);
    Ok(given_up.filter_map(|damage| damage.error.object().map(str::to_owned)).collect())
}

/// Confirms the times of snapshots that are doubtful; or says which those are.
///
/// # Errors
/// When nothing can be said, or it cannot be written down.
pub fn repair_times(repo: &Repository, dry_run: bool, run: &Run) -> Result<Vec<SnapshotId>, OpError> {
    if !dry_run {
        return Ok(repo.confirm_times(None, now_ms(run))?);
    }
    let history = repo.history(&mut repo.catalog(run.events.as_ref())?)?;
    Ok(history.snapshots.iter().filter(|summary| summary.is_doubtful).map(|summary| summary.id).collect())
}

fn now_ms(run: &Run) -> i64 {
    run.clock.now().as_millisecond()
}

/// A mark has its limits, and packs may be many.
const WORDS_MAX: usize = 4000;
