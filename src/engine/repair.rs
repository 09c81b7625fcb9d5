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
use std::collections::BTreeMap;

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
}

/// Makes the index anew from what the packs hold.
///
/// # Errors
/// When nothing can be said, or the index cannot be written.
pub fn repair_index(repo: &Repository, run: &Run) -> Result<IndexRepair, OpError> {
    Ok(repo.repairer().repair_index(now_ms(run), run.events.as_ref(), &run.cancel)?)
}

/// Copies what can be read of damaged packs into new ones.
///
/// # Errors
/// When nothing can be said, or a pack cannot be written.
pub fn repair_packs(repo: &Repository, host: &str, run: &Run) -> Result<PacksRepair, OpError> {
    Ok(repo.repairer().repair_packs(host, now_ms(run), run.events.as_ref(), &run.cancel)?)
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
    let mut repair =
        SnapshotsRepair { report, marked: Vec::new(), still: Vec::new(), recovered: Vec::new(), given_up };
    for (id, words) in hit.iter() {
        if known.contains_key(id) {
            repair.still.push(*id);
            continue;
        }
        let words: String = words.join("; ").chars().take(WORDS_MAX).collect();
        repo.marks().mark_snapshot(id, MarkKind::Damaged, Some(Some(words)), host, now_ms)?;
        repair.marked.push(*id);
    }
    for id in known.keys().filter(|id| !hit.contains_key(*id)) {
        repo.marks().mark_snapshot(id, MarkKind::Damaged, None, host, now_ms)?;
        repair.recovered.push(*id);
    }
    repair.recovered.sort();
    Ok(repair)
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
