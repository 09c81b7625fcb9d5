//! Checking everything: that every object is what its name says, that every snapshot's bytes can be reached, and, on
//! demand, that every byte of every pack is what was written.
//!
//! | file | hides |
//! |---|---|
//! | `packs` | which packs are read, and how many at a time |
//! | `remember` | when each pack was read last |
//! | `follow` | which bytes of which stream damage hits |
//! | `keyless` | what can be checked without a key |
//!
//! Objects are fetched afresh: what the catalog keeps proves nothing about the storage. No lock is taken. What seems
//! damaged while backups, `forget` or `prune` change the repository is looked at again: an object that was removed in
//! between is no damage.

mod follow;
mod keyless;
mod packs;
mod remember;

pub(super) use follow::broken_blocks;
pub use keyless::check_storage;

use super::authors::Foreign;
use super::catalog::{Catalog, PackRow};
use super::format::author::STATEMENT_BYTES_MAX;
use super::format::epoch::EPOCH_BYTES_MAX;
use super::format::index::IndexedPack;
use super::format::pack::{FRONT_BYTES, PackOpener};
use super::format::snapshot::{SNAPSHOT_BYTES_MAX, open_body};
use super::format::{FormatError, mark, slot};
use super::history::{ForeignObject, History};
use super::objects::{ObjectName, fetch, pack_key};
use super::reader::{BlockReader, Workspace};
use super::sync::{Presence, is_foreign};
use super::{RepoError, Repository};
use crate::base::event::{Cancel, Event, Observer};
use crate::base::id::{EpochId, IndexId, MarkId, PackId, SlotId, SnapshotId, StatementId};
use crate::vault::crypto::Role;
use hashbrown::HashMap;
use packs::{Due, Reading, choose, read, words};
pub(in crate::vault) use remember::Depth;
pub(super) use remember::Remembered;
use std::collections::{BTreeSet, HashSet};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// At most so many ranges are told of one stream; where there are more, near ones are told as one.
pub const RANGES_MAX: usize = 100;

/// So often a check looks at most, when something seems damaged and objects come and go.
const LOOKS: usize = 4;

/// How much of the packs to read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ReadData {
    /// Nothing: that they are there is enough.
    Nothing,
    /// Everything.
    All,
    /// At least this share of their bytes, from 0 to 1: those that were read the longest ago.
    Share(f64),
}

/// What to check.
#[derive(Debug, Clone, Copy)]
pub struct CheckSettings {
    /// Packs to read: every block is opened, every id checked.
    pub read: ReadData,
    /// No further pack is read after this moment. The rest of the check is brief, and always done.
    pub deadline: Option<Instant>,
    /// The host's clock, ms since the epoch: when packs were read is remembered.
    pub now_ms: i64,
    /// Threads that read packs; each holds one pack in memory.
    pub workers: usize,
}

impl CheckSettings {
    /// Reads metadata, and of the packs what `read` says.
    pub fn new(read: ReadData, now_ms: i64, workers: usize) -> Self {
        Self { read, deadline: None, now_ms, workers }
    }
}

/// Something is damaged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Damage {
    /// Key of the object.
    pub object: String,
    /// What is wrong with it.
    pub what: String,
}

/// A committed snapshot that cannot be restored whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The snapshot.
    pub id: SnapshotId,
    /// Its series.
    pub series: String,
    /// The stream; empty when it is the snapshot itself that is damaged.
    pub stream: String,
    /// Bytes of the stream that are lost, where that is known.
    pub bytes_lost: u64,
    /// Offset in the stream of the first of them.
    pub first_lost: u64,
    /// Which bytes of the stream are lost; at most [`RANGES_MAX`] ranges, which may cover some that are not.
    pub ranges: Vec<Range<u64>>,
    /// The tables of a database that they are of, where that is known and whoever made the report has looked.
    pub tables: Vec<String>,
    /// Packs that should hold them.
    pub packs: BTreeSet<PackId>,
    /// Why.
    pub what: String,
}

/// What a check found.
#[derive(Debug, Default)]
pub struct CheckReport {
    /// Committed snapshots.
    pub snapshots: u64,
    /// Packs listed.
    pub packs: u64,
    /// Bytes of those packs.
    pub pack_bytes: u64,
    /// Packs that were read.
    pub packs_read: u64,
    /// Bytes of packs that were read.
    pub bytes_read: u64,
    /// Packs that should have been read, and for which there was no time.
    pub packs_left: u64,
    /// Packs that were never read to the end and found whole, as far as this host remembers.
    pub packs_never_read: u64,
    /// When the pack that was read the longest ago was read, ms since the epoch.
    pub oldest_read_ms: Option<i64>,
    /// Metadata objects that were read.
    pub objects: u64,
    /// Damaged or missing objects.
    pub damage: Vec<Damage>,
    /// Snapshots that are not whole.
    pub hits: Vec<Hit>,
    /// Packs known to be damaged of which no snapshot needs anything any more. No damage: a prune removes them.
    pub quarantined: Vec<Damage>,
    /// Packs marked as damaged that were read and are whole.
    pub recovered: Vec<PackId>,
    /// Packs that no committed snapshot needs: of backups under way or cut short, or of snapshots that were forgotten.
    /// Not damage. None, where a snapshot cannot be followed.
    pub unreferenced_packs: u64,
    /// Bytes of those packs.
    pub unreferenced_bytes: u64,
    /// Snapshots without a mark that commits them: of backups cut short at the very end. Not damage.
    pub uncommitted: Vec<SnapshotId>,
    /// Objects that count for nothing. Not damage.
    pub foreign: Vec<ForeignObject>,
    /// What this host, or a full author, saw in the repository and is gone.
    pub turned_back: Vec<String>,
    /// What an append author says is gone, though it saw it, or is damaged: it may be lying.
    pub claimed_lost: Vec<String>,
    /// Packs that cannot be relied on, and that a snapshot needs.
    needed: BTreeSet<PackId>,
    /// A snapshot could not be followed, so that it cannot be told of any pack that nobody needs it.
    blind: bool,
    /// Damage of single objects that was told already.
    told: HashSet<Damage>,
}

impl CheckReport {
    /// Whether nothing is damaged and every snapshot is whole.
    pub fn is_clean(&self) -> bool {
        self.damage.is_empty() && self.hits.is_empty() && self.turned_back.is_empty()
    }

    fn add(&mut self, error: &RepoError) {
        let damage = Damage { object: error.object().unwrap_or_default().to_owned(), what: words(error) };
        // Somebody may have put a million objects that are none.
        if self.told.insert(damage.clone()) {
            self.damage.push(damage);
        }
    }

    fn take_reading(&mut self, reading: &Reading) {
        self.packs_read = reading.packs;
        self.bytes_read = reading.bytes;
        self.packs_left = reading.left;
    }

    fn describe_age(
        &mut self,
        packs: impl Iterator<Item = PackId>,
        times: &std::collections::HashMap<PackId, i64>,
    ) {
        for pack in packs {
            match times.get(&pack) {
                None => self.packs_never_read += 1,
                Some(at) => {
                    self.oldest_read_ms = Some(self.oldest_read_ms.map_or(*at, |oldest| oldest.min(*at)))
                }
            }
        }
    }
}

/// Looks for damage in a repository.
pub struct Checker<'a> {
    pub(in crate::vault) repo: &'a Repository,
}

impl Checker<'_> {
    /// Checks the repository. Takes no lock; backups, `forget` and `prune` may go on meanwhile.
    ///
    /// # Errors
    /// When the storage fails, so that nothing can be said. Damage is in the answer.
    pub fn check(
        &self,
        settings: CheckSettings,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<CheckReport, RepoError> {
        if self.repo.keys.role() != Role::Full {
            return Err(crate::vault::crypto::CryptoError::RoleTooWeak { needed: "checking" }.into());
        }
        let mut reading = None;
        let mut looks = 1;
        let mut seen = None;
        loop {
            let before = self.changeable()?;
            let report = self.look(&settings, &mut reading, observer, cancel)?;
            // Something may have been forgotten, pruned or indexed anew while it was being looked at; even what came
            // and went in that time, of which no listing tells. Names never come back: what is seen twice is so.
            if report.is_clean() || looks == LOOKS {
                return Ok(report);
            }
            let now = (report.damage.clone(), report.hits.clone());
            if seen.as_ref() == Some(&now) && self.changeable()? == before {
                return Ok(report);
            }
            seen = Some(now);
            looks += 1;
            observer.observe(Event::Step { what: "rechecking damage".to_owned() });
        }
    }

    /// The names of all objects whose coming or going says that packs may have gone: a prune writes an index before it
    /// deletes.
    fn changeable(&self) -> Result<BTreeSet<String>, RepoError> {
        let mut names = BTreeSet::new();
        for prefix in ["snapshots/", "marks/", "index/", "gc/"] {
            self.repo.storage.list(prefix, &mut |listed| {
                names.insert(listed.key);
            })?;
        }
        Ok(names)
    }

    /// One look at everything. Packs are read the first time only.
    fn look(
        &self,
        settings: &CheckSettings,
        reading: &mut Option<Reading>,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<CheckReport, RepoError> {
        let mut report = CheckReport::default();
        let step = |what: &str| observer.observe(Event::Step { what: what.to_owned() });
        step("reading metadata");
        self.check_slots(&mut report)?;
        let mut catalog = self.check_indexes(&mut report)?;
        let history = self.check_history(&mut catalog, &mut report)?;
        step("comparing the index with the packs");
        let listed = self.repo.list_packs()?;
        (report.packs, report.pack_bytes) = (listed.len() as u64, listed.values().sum());
        let mut presence = self.repo.reconcile(&mut catalog, &history.damaged_packs)?;
        let remembered = Remembered::open(&self.repo.cache_dir);
        if reading.is_none() {
            let there = |pack: &Due| listed.get(&pack.id) == Some(&pack.bytes);
            let known = catalog.packs()?.into_iter();
            let known = known.map(|pack| Due { id: pack.id, bytes: pack.bytes, number: pack.number });
            let times = remembered.times(Depth::Opened, settings.now_ms);
            let chosen = choose(known.filter(there).collect(), settings.read, &times);
            *reading =
                Some(self.check_packs(&mut catalog, &chosen, settings, &remembered, observer, cancel)?);
        }
        if let Some(reading) = reading {
            report.take_reading(reading);
            apply(reading, &catalog, &history, &mut presence, &mut report)?;
        }
        report.describe_age(listed.keys().copied(), &remembered.times(Depth::Opened, settings.now_ms));
        step("checking snapshots");
        self.check_snapshots(catalog, &history, &presence, &mut report, cancel)?;
        report.sort_out(&presence, &history, reading.as_ref());
        Ok(report)
    }

    fn check_slots(&self, report: &mut CheckReport) -> Result<(), RepoError> {
        for id in self.repo.list_names::<SlotId>("keys/")? {
            let read = fetch(self.repo.storage.as_ref(), &id, slot::SLOT_BYTES_MAX);
            let outcome = read.and_then(|bytes| {
                let slot = slot::Slot::decode(&bytes, &self.repo.id).map_err(damaged(&id))?;
                slot.label(&self.repo.keys).map(|_| ()).map_err(damaged(&id))
            });
            match outcome {
                // What an init that was cut short left behind: whole, and of no use to anybody.
                Err(RepoError::Damaged { source: FormatError::OtherRepository { .. }, .. }) => {}
                // Anybody who can put objects can put what is none.
                Err(RepoError::Damaged { source, .. }) if is_foreign(&source) => {
                    let object = ObjectName::key(&id);
                    report.foreign.push(ForeignObject { object, why: Foreign::Unreadable, head: None });
                }
                outcome => report.note(outcome)?,
            }
        }
        Ok(())
    }

    /// Reads every index object and compares it with the catalog, which is rebuilt when it says anything else.
    fn check_indexes(&self, report: &mut CheckReport) -> Result<Catalog, RepoError> {
        let mut catalog = self.repo.catalog(&crate::base::event::Silent)?;
        let mut rebuilt = false;
        for id in self.repo.list_names::<IndexId>("index/")? {
            report.objects += 1;
            match self.repo.read_index(&id) {
                Ok((Err(why), _)) => {
                    report.foreign.push(ForeignObject { object: ObjectName::key(&id), why, head: None });
                }
                Ok((Ok(_), index)) if rebuilt || self.agrees(&mut catalog, &index.packs) => {}
                Ok(_) => {
                    drop(catalog);
                    self.repo.drop_catalog()?;
                    catalog = self.repo.catalog(&crate::base::event::Silent)?;
                    rebuilt = true;
                }
                Err(RepoError::Damaged { source, .. }) if is_foreign(&source) => {
                    let object = ObjectName::key(&id);
                    report.foreign.push(ForeignObject { object, why: Foreign::Unreadable, head: None });
                }
                Err(error) if error.is_integrity() => report.add(&error),
                Err(error) => return Err(error),
            }
        }
        Ok(catalog)
    }

    fn agrees(&self, catalog: &mut Catalog, packs: &[IndexedPack]) -> bool {
        let Ok(known) = catalog.packs() else { return false };
        let numbers: HashMap<PackId, i64> = known.iter().map(|pack| (pack.id, pack.number)).collect();
        packs.iter().all(|pack| {
            let row = numbers.get(&pack.id).map(|number| catalog.pack(*number));
            row.is_some_and(|row| row.is_ok_and(|row| row.bytes == pack.bytes && row.table == pack.table))
        })
    }

    /// Fetches every mark, snapshot and prune plan from the storage.
    fn check_history(&self, catalog: &mut Catalog, report: &mut CheckReport) -> Result<History, RepoError> {
        let history = self.repo.history(catalog)?;
        let is_open = |key: &str| !history.given_up.contains(key);
        // Whether they open and count, the history says; here they are fetched, so that no copy in the catalog hides
        // rot.
        for id in self.repo.list_names::<MarkId>("marks/")?.into_iter().filter(|id| is_open(&id.key())) {
            report.note(fetch(self.repo.storage.as_ref(), &id, mark::MARK_BYTES_MAX).map(|_| ()))?;
        }
        for id in
            self.repo.list_names::<SnapshotId>("snapshots/")?.into_iter().filter(|id| is_open(&id.key()))
        {
            report.note(fetch(self.repo.storage.as_ref(), &id, SNAPSHOT_BYTES_MAX).map(|_| ()))?;
        }
        for summary in history.snapshots.iter().chain(&history.uncommitted) {
            let bytes = fetch(self.repo.storage.as_ref(), &summary.id, SNAPSHOT_BYTES_MAX);
            let outcome = bytes.and_then(|bytes| {
                open_body(bytes, &self.repo.id, &self.repo.keys).map(|_| ()).map_err(damaged(&summary.id))
            });
            match outcome {
                Err(error @ RepoError::Damaged { .. }) => report.add(&error),
                Ok(()) | Err(RepoError::Missing { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.check_trust(report)?;
        // A plan that nobody can read is carried out by nobody, and heeded by nobody.
        let (plans, unreadable) = self.repo.plans()?;
        report.objects += plans.len() as u64;
        let unreadable = unreadable.iter().filter(|error| error.object().is_none_or(&is_open));
        unreadable.for_each(|error| report.add(error));
        report.foreign.extend(self.repo.foreign_plans()?);
        let no_statement = |id: &StatementId| ForeignObject {
            object: ObjectName::key(id),
            why: Foreign::Unreadable,
            head: None,
        };
        report.foreign.extend(self.repo.authors.junk.iter().map(no_statement));
        let known: HashSet<String> = report.damage.iter().map(|damage| damage.object.clone()).collect();
        for damage in &history.damaged {
            if !damage.error.object().is_some_and(|object| known.contains(object)) {
                report.add(&damage.error);
            }
        }
        report.foreign.extend(history.foreign.iter().cloned());
        report.turned_back.clone_from(&history.turned_back);
        report.claimed_lost.clone_from(&history.claimed_lost);
        let mut doubted: Vec<String> = history
            .doubted_packs
            .iter()
            .map(|(pack, (author, why))| {
                let key = self.repo.authors.name(author);
                format!("pack {}, as key `{key}` says, is damaged: {why}", pack.short())
            })
            .collect();
        doubted.sort();
        report.claimed_lost.extend(doubted);
        report.snapshots = history.snapshots.len() as u64;
        report.uncommitted = history.uncommitted.iter().map(|summary| summary.id).collect();
        Ok(history)
    }

    /// Fetches every statement and epoch object.
    fn check_trust(&self, report: &mut CheckReport) -> Result<(), RepoError> {
        for id in self.repo.list_names::<StatementId>("authors/")? {
            report.note(fetch(self.repo.storage.as_ref(), &id, STATEMENT_BYTES_MAX).map(|_| ()))?;
        }
        for id in self.repo.list_names::<EpochId>("epochs/")? {
            report.note(fetch(self.repo.storage.as_ref(), &id, EPOCH_BYTES_MAX).map(|_| ()))?;
        }
        // Then nothing that this key has stored counts, and a machine that never saw the statement would take it all
        // for a stranger's.
        if self.repo.authors.statement(&self.repo.authors.me()).is_none() {
            let what = "the statement about the author of this key is gone".to_owned();
            report.damage.push(Damage { object: "authors".to_owned(), what });
        }
        Ok(())
    }

    /// Reads the packs that were chosen.
    fn check_packs(
        &self,
        catalog: &mut Catalog,
        chosen: &[Due],
        settings: &CheckSettings,
        remembered: &Remembered,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<Reading, RepoError> {
        if settings.read == ReadData::Nothing {
            return Ok(Reading::default());
        }
        let blocks = BlockReader::new(self.repo);
        let catalog = Mutex::new(catalog);
        let look = |pack: &Due| {
            let row = catalog.lock().unwrap_or_else(PoisonError::into_inner).pack(pack.number)?;
            self.check_pack(&row, &blocks)
        };
        read(chosen, settings, remembered, observer, cancel, &look)
    }

    /// Whether a check on this host has opened every block that the pack's own table names, ever.
    pub(super) fn was_opened(&self, pack: &PackId) -> bool {
        self.repo.checked.get_or_init(|| Remembered::open(&self.repo.cache_dir)).was_opened(pack)
    }

    /// Reads one pack to its end, and opens the blocks that the catalog knows of. It was opened as a whole only if its
    /// own table says the same: an index object can say less.
    pub(super) fn check_pack(&self, row: &PackRow, blocks: &BlockReader) -> Result<Depth, RepoError> {
        let object = pack_key(&row.id);
        let damage = |source| RepoError::Damaged { object: object.clone(), source };
        let mut bytes = fetch(self.repo.storage.as_ref(), &row.id, row.bytes)?;
        let front = bytes.first_chunk::<FRONT_BYTES>().ok_or_else(|| damage(FormatError::CutShort))?;
        let opener = PackOpener::new(front, &self.repo.id, &self.repo.keys).map_err(damage)?;
        let mut workspace = Workspace::default();
        let mut plain = Vec::new();
        for (number, entry) in (0u32..).zip(&row.table.blocks) {
            let start = entry.offset as usize;
            let sealed = bytes.get_mut(start..start + entry.stored_bytes as usize);
            let sealed = sealed.ok_or_else(|| damage(FormatError::CutShort))?;
            let block = (number, entry);
            blocks.open_block(&opener, &object, &row.table, block, sealed, &mut workspace, &mut plain)?;
        }
        // After the blocks, which are opened in place; the table lies behind them.
        match opener.own_table(&mut bytes) {
            Ok(own) if own == row.table => Ok(Depth::Opened),
            _ => Ok(Depth::Hash),
        }
    }
}

/// What was read decides over marks: bad packs cannot be used for the rest of the check, and marked ones that are whole
/// can.
fn apply(
    reading: &Reading,
    catalog: &Catalog,
    history: &History,
    presence: &mut Presence,
    report: &mut CheckReport,
) -> Result<(), RepoError> {
    let whole: HashSet<&PackId> = reading.whole.iter().collect();
    for pack in catalog.packs()? {
        if let Some(what) = reading.bad.get(&pack.id) {
            presence.unusable.entry(pack.number).or_insert_with(|| (pack.id, what.clone()));
        } else if whole.contains(&pack.id) && history.damaged_packs.contains_key(&pack.id) {
            presence.unusable.remove(&pack.number);
            report.recovered.push(pack.id);
        }
    }
    Ok(())
}

impl CheckReport {
    /// Tells packs that cannot be used and are still of concern from those that are not.
    fn sort_out(&mut self, presence: &Presence, history: &History, reading: Option<&Reading>) {
        for (id, what) in presence.unusable.values() {
            let bad = reading.and_then(|reading| reading.bad.get(id));
            let what = bad.unwrap_or(what).clone();
            let damage = Damage { object: pack_key(id), what };
            let is_hit = |hit: &Hit| hit.packs.contains(id) || hit.what.contains(&damage.object);
            let is_news = !history.damaged_packs.contains_key(id);
            if is_news || self.blind || self.needed.contains(id) || self.hits.iter().any(is_hit) {
                self.damage.push(damage);
            } else {
                self.quarantined.push(damage);
            }
        }
        self.damage.sort_by(|a, b| a.object.cmp(&b.object));
        self.quarantined.sort_by(|a, b| a.object.cmp(&b.object));
        self.recovered.sort();
    }
}

impl CheckReport {
    /// Counts an object; damage goes into the report, other errors go up.
    fn note(&mut self, outcome: Result<(), RepoError>) -> Result<(), RepoError> {
        self.objects += 1;
        match outcome {
            Err(error) if error.is_integrity() => {
                self.add(&error);
                Ok(())
            }
            outcome => outcome,
        }
    }
}

fn damaged<N: ObjectName>(name: &N) -> impl Fn(FormatError) -> RepoError + use<N> {
    let object = name.key();
    move |source| RepoError::Damaged { object: object.clone(), source }
}
