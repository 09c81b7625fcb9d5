//! Check: find damage, and remember it, so that the next backup stores anew what it hits.

use super::OpError;
use super::app::App;
use super::object_lock::short_locks;
use super::report::{Check, ShortLock as ToldLock};
use super::tables::table_map;
use crate::base::clock::Clock;
use crate::base::event::{Cancel, Event, Observer};
use crate::base::fault::Class;
use crate::base::id::{PackId, SnapshotId};
use crate::base::run::Run;
use crate::content::pg::{DataKind, TableData};
use crate::vault::Repository;
use crate::vault::check::{CheckReport, CheckSettings, Hit, ReadData, check_storage as keyless};
use crate::vault::object_locks::ShortLock;
use crate::vault::snapshot::selection::newer;
use crate::vault::snapshot::{State, Summary};
use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

/// What somebody asks to check.
#[derive(Debug, Clone, Copy)]
pub struct CheckJob {
    /// All packs are read.
    pub read_data: bool,
    /// Packs with at least this share of the bytes are read, from 0 to 1: those that were read the longest ago.
    pub share: Option<f64>,
    /// When it was asked for.
    pub asked: Instant,
    /// No further pack is read so long after that. All are read until then, if no share is asked for.
    pub time_box: Option<Duration>,
    /// Threads that read packs.
    pub workers: usize,
}

impl CheckJob {
    fn settings(&self, run: &Run) -> CheckSettings {
        let read = match self.share {
            Some(share) => ReadData::Share(share),
            None if self.read_data || self.time_box.is_some() => ReadData::All,
            None => ReadData::Nothing,
        };
        let deadline = self.time_box.and_then(|time| self.asked.checked_add(time));
        CheckSettings { deadline, ..CheckSettings::new(read, now_ms(run), self.workers) }
    }
}

/// What a check came to.
#[derive(Debug)]
pub struct Checked {
    /// What was found.
    pub report: Check,
    /// What kind of failure that is; `None` where all is well.
    pub class: Option<Class>,
}

impl Checked {
    fn new(job: &CheckJob, found: &CheckReport, locks: Option<&[ShortLock]>, app: &App) -> Self {
        let report = Check {
            read_data: job.read_data,
            temporary_files: app.leftovers(),
            short_locks: locks.unwrap_or_default().iter().map(ToldLock::from).collect(),
            ..Check::new(found, locks.is_none())
        };
        Self { report, class: class_of(found, locks.unwrap_or_default()) }
    }
}

/// Checks the repository, and the locks of what it needs.
///
/// # Errors
/// When nothing can be said. Damage is in the answer.
pub fn run_check(job: &CheckJob, repo: &Repository, app: &App, run: &Run) -> Result<Checked, OpError> {
    let (clock, events) = (run.clock.as_ref(), run.events.as_ref());
    let found = check(repo, clock, &app.host(), job.settings(run), events, &run.cancel)?;
    let locks = short_locks(repo, &found, run)?;
    Ok(Checked::new(job, &found, Some(&locks), app))
}

/// Checks what can be checked without a key: see [`keyless`].
///
/// # Errors
/// When the storage fails, or holds no repository.
pub fn run_check_of_storage(job: &CheckJob, app: &App, run: &Run) -> Result<Checked, OpError> {
    let (storage, cache_root) = (app.storage()?, app.environment.cache_root());
    let events = run.events.as_ref();
    let found = keyless(storage.as_ref(), &cache_root, &job.settings(run), events, &run.cancel)?;
    Ok(Checked::new(job, &found, None, app))
}

fn now_ms(run: &Run) -> i64 {
    run.clock.now().as_millisecond()
}

/// Checks the repository. Where packs are read, those found damaged are marked, so that no new snapshot relies on them,
/// and those that were marked and are whole are so no more.
///
/// # Errors
/// When nothing can be said. Damage is in the answer.
pub fn check(
    repo: &Repository,
    clock: &dyn Clock,
    host: &str,
    settings: CheckSettings,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<CheckReport, OpError> {
    let mut report = repo.checker().check(settings, observer, cancel)?;
    name_tables(repo, &mut report.hits, observer)?;
    let now_ms = clock.now().as_millisecond();
    remember(repo, &report, host, now_ms, observer);
    if settings.read == ReadData::Nothing {
        return Ok(report);
    }
    let warn = |message: String| observer.observe(Event::Warning { message });
    let marked = repo.history(&mut repo.catalog(observer)?)?.damaged_packs;
    for damage in &report.damage {
        let pack = damage.object.strip_prefix("packs/").and_then(|key| key.rsplit('/').next());
        let Some(Ok(pack)) = pack.map(str::parse::<PackId>) else { continue };
        // A pack that is missing or short shows without a mark.
        let shows = damage.what.contains("missing") || damage.what.contains("should have");
        if marked.contains_key(&pack) || shows {
            continue;
        }
        if let Err(error) = repo.marks().mark_damaged(&pack, &damage.what, host, now_ms) {
            warn(format!("cannot mark `{}` as damaged: {error}", damage.object));
        }
    }
    for pack in &report.recovered {
        if let Err(error) = repo.marks().clear_damaged(pack, host, now_ms) {
            warn(format!("cannot take back that pack {} is damaged: {error}", pack.short()));
        }
    }
    Ok(report)
}

/// What a check comes to; `None` where all is well. Locks that end too soon are no damage yet.
pub fn class_of(report: &CheckReport, short_locks: &[ShortLock]) -> Option<Class> {
    match (report.is_clean(), short_locks.is_empty()) {
        (false, _) => Some(Class::Integrity),
        (true, false) => Some(Class::Partial),
        (true, true) => None,
    }
}

/// The newest whole snapshot of each series bears from now on that it was checked, so that others can tell how long ago
/// that was.
fn remember(repo: &Repository, report: &CheckReport, host: &str, now_ms: i64, observer: &dyn Observer) {
    // What cannot be read is in the report.
    let history = repo.catalog(observer).and_then(|mut catalog| repo.history(&mut catalog));
    let Ok(history) = history else { return };
    let hit: HashSet<SnapshotId> = report.hits.iter().map(|hit| hit.id).collect();
    let mut newest: BTreeMap<(&str, &str), &Summary> = BTreeMap::new();
    for summary in history.snapshots.iter().filter(|one| !hit.contains(&one.id)) {
        let head = &summary.head;
        if head.state != State::Complete || history.damaged_snapshots.contains_key(&summary.id) {
            continue;
        }
        let last = newest.entry((&head.host, &head.series)).or_insert(summary);
        if newer(summary, last).is_gt() {
            *last = summary;
        }
    }
    let ids: Vec<SnapshotId> = newest.into_values().map(|summary| summary.id).collect();
    if let Err(error) = repo.marks().mark_checked(&ids, host, now_ms) {
        let message = format!("checked, but not recorded: {error}");
        observer.observe(Event::Warning { message });
    }
}

/// Says which tables the lost bytes are of, as far as the snapshots that they are missing from can tell.
pub(super) fn name_tables(
    repo: &Repository,
    hits: &mut [Hit],
    observer: &dyn Observer,
) -> Result<(), OpError> {
    if hits.is_empty() {
        return Ok(());
    }
    let mut catalog = repo.catalog(observer)?;
    for hit in hits.iter_mut().filter(|hit| !hit.ranges.is_empty()) {
        // What cannot be read is in the report already.
        let Ok(body) = repo.body(&mut catalog, &hit.id) else { continue };
        let stream = body.streams.iter().find(|stream| stream.name == hit.stream);
        let Some(Ok(Some(map))) = stream.map(table_map) else { continue };
        let is_hit = |table: &TableData<'_>| {
            let whole = table.range();
            hit.ranges.iter().any(|range| range.start < whole.end && whole.start < range.end)
        };
        let name = |table: TableData<'_>| match (table.kind, table.schema) {
            (DataKind::LargeObjects, _) => "large objects".to_owned(),
            (DataKind::Table, "") => table.name.to_owned(),
            (DataKind::Table, schema) => format!("{schema}.{}", table.name),
        };
        hit.tables = map.tables.iter().filter(is_hit).map(name).collect();
    }
    Ok(())
}
