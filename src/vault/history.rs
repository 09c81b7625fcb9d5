//! Which snapshots are committed, and what marks say.

mod fold;
mod marks;
mod seen;
mod small;

pub use marks::Marks;
pub(super) use seen::refuse_turned_back;

use super::authors::{Foreign, Voucher};
use super::catalog::Catalog;
use super::format::FormatError;
use super::format::mark::{MARK_BYTES_MAX, Mark};
use super::format::signed::Opened;
use super::format::snapshot::{SNAPSHOT_BYTES_MAX, open_body, open_head};
use super::memory::Remembered;
use super::objects::{ObjectName as _, name_in_key};
use super::{RepoError, Repository};
use crate::base::event::Observer;
use crate::base::id::{AuthorId, MarkId, PackId, SnapshotId};
use crate::vault::snapshot::{Body, Head, State, Summary};
use fold::{Committed, Folded, fold};
use seen::compare_with_memory;
use small::{damaged, fetch_unknown, small_and_opened, small_object};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{SystemTime, UNIX_EPOCH};

pub(super) use fold::{Vouched, superseded};

/// So many marks are fetched at once: some hundred bytes each.
const MARKS_AT_ONCE: usize = 16;
/// So many snapshots are fetched at once: they may have megabytes.
const SNAPSHOTS_AT_ONCE: usize = 8;
/// So many damaged objects that nothing hangs on are told one by one.
pub(super) const JUNK_TOLD: usize = 3;
/// A snapshot of an append author says a time so long before it was stored at most …
const OLDER_MAX_MS: i64 = 86_400_000;
/// … and so long after.
const NEWER_MAX_MS: i64 = 300_000;

/// What the storage says of snapshots.
#[derive(Debug, Default)]
pub struct History {
    /// Committed snapshots, oldest first by their time.
    pub snapshots: Vec<Summary>,
    /// Snapshots that no mark commits: a backup that was cut short or is under way, or a mark that was lost.
    pub uncommitted: Vec<Summary>,
    /// Snapshots and marks that cannot be read.
    pub damaged: Vec<HistoryDamage>,
    /// Packs marked as damaged, with the words of the mark.
    pub damaged_packs: HashMap<PackId, String>,
    /// Packs that an author that may only add calls damaged: its name and words.
    pub doubted_packs: HashMap<PackId, (AuthorId, String)>,
    /// Snapshots that a person pinned.
    pub pinned: HashSet<SnapshotId>,
    /// Snapshots that were restored and compared as a whole, and when that was last, ms since the epoch.
    pub verified: HashMap<SnapshotId, i64>,
    /// Snapshots of which something is lost, with the words of the mark. Their state is suspect, whatever it was.
    pub damaged_snapshots: HashMap<SnapshotId, String>,
    /// Objects that count for nothing. What a foreign snapshot reaches is kept all the same.
    pub foreign: Vec<ForeignObject>,
    /// What this host, or a full author, saw here and is gone without a word.
    pub turned_back: Vec<String>,
    /// What an append author says it saw here and is gone: it may be lying.
    pub claimed_lost: Vec<String>,
    /// Snapshots that somebody let go of, as long as a mark says so.
    pub forgotten: HashSet<SnapshotId>,
    /// Objects given up: nothing waits for them any more.
    pub given_up: HashSet<String>,
    /// What *set ended* marks say, and of which snapshot: see [`super::format::mark::MarkKind::SetEnded`].
    pub set_ends: Vec<(SnapshotId, String)>,
    /// Snapshots that a full author has seen whole: every recipe node opened, every chunk in a pack that was there.
    pub seen_whole: HashSet<SnapshotId>,
    /// When a check last went through with these snapshots whole, ms since the epoch: the newest of each series then.
    pub checked: HashMap<SnapshotId, i64>,
}

/// An object that counts for nothing.
#[derive(Debug, Clone)]
pub struct ForeignObject {
    /// Its key.
    pub object: String,
    /// Why it counts for nothing.
    pub why: Foreign,
    /// Of a snapshot: its head, as it says.
    pub head: Option<Head>,
}

/// A snapshot or mark that cannot be read.
#[derive(Debug)]
pub struct HistoryDamage {
    /// What is wrong.
    pub error: RepoError,
    /// Series of the snapshot, where a mark tells it.
    pub series: Option<String>,
    /// What it keeps from being deleted.
    pub stops: Stops,
}

/// What an object that cannot be read keeps from being deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stops {
    /// Nothing.
    Nothing,
    /// Everything, for a while after it was stored: it may need anything, but nobody who may read ever saw it whole.
    ForAWhile {
        /// Who commits it, where somebody does.
        author: Option<AuthorId>,
        /// When it was stored, ms since the epoch.
        stored_ms: i64,
    },
    /// Everything, until it is readable again or given up: what it needs is unknown.
    Deletion,
}

impl HistoryDamage {
    /// Whether a command fails for it that does not need the object itself: something that counted is missing, or a
    /// newer program is in use. Bytes that do not fit their name are a matter of `check`: anybody who may put objects
    /// can put such.
    pub fn is_failure(&self) -> bool {
        let is_wrong = matches!(&self.error, RepoError::Damaged { source: FormatError::WrongHash, .. });
        self.stops == Stops::Deletion && !is_wrong
    }
}

impl History {
    /// Committed snapshots of one series, oldest first.
    pub fn series<'a>(
        &'a self,
        series: &'a str,
        host: &'a str,
    ) -> impl DoubleEndedIterator<Item = &'a Summary> {
        self.snapshots
            .iter()
            .filter(move |summary| summary.head.series == series && summary.head.host == host)
    }

    /// Damage that no command fails for that does not need the object, in words. Of what counts for nothing there may
    /// be a million: more than a few are told as one.
    pub fn damage_beside(&self) -> Vec<String> {
        let (junk, rest): (Vec<_>, Vec<_>) = self
            .damaged
            .iter()
            .filter(|damage| !damage.is_failure())
            .partition(|damage| damage.stops == Stops::Nothing);
        let mut words: Vec<String> = rest.iter().map(|damage| damage.error.to_string()).collect();
        if junk.len() > JUNK_TOLD {
            words.push(format!("{} objects are damaged: `dumpvault check` names them", junk.len()));
        } else {
            words.extend(junk.iter().map(|damage| damage.error.to_string()));
        }
        words
    }

    /// Whether a full author vouches for it that a snapshot that counts was whole once: by having written it, or by
    /// having seen it.
    pub fn was_whole(&self, summary: &Summary) -> bool {
        summary.by_full || self.seen_whole.contains(&summary.id) || self.verified.contains_key(&summary.id)
    }

    /// Ids of foreign snapshots.
    pub fn foreign_snapshots(&self) -> impl Iterator<Item = SnapshotId> {
        self.foreign.iter().filter_map(|foreign| {
            name_in_key::<SnapshotId>(&foreign.object).filter(|id| id.key() == foreign.object)
        })
    }

    /// Whether a mark cannot be read: what it says may be that a snapshot is committed.
    pub fn hides_marks(&self) -> bool {
        let is_mark =
            |damage: &HistoryDamage| damage.error.object().is_some_and(|key| key.starts_with("marks/"));
        self.damaged.iter().any(is_mark)
    }
}

/// What there is of marks and snapshots.
struct Listing {
    /// What this host remembered before it looked.
    remembered: Vec<Remembered>,
    marks: Vec<MarkId>,
    /// With the storage's times.
    snapshots: Vec<(SnapshotId, i64)>,
}

pub(super) fn ms_of(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
    }
}

/// A snapshot object that could be read.
struct Read {
    id: SnapshotId,
    head: Head,
    stored_ms: i64,
    verdict: Result<Voucher, Foreign>,
}

/// A snapshot object that could not be read.
struct Broken {
    id: SnapshotId,
    stored_ms: i64,
    error: RepoError,
}

/// What came of reading all snapshot objects.
#[derive(Default)]
struct Heads {
    read: Vec<Read>,
    broken: Vec<Broken>,
    gone: HashSet<SnapshotId>,
}

impl Repository {
    /// Puts marks.
    pub fn marks(&self) -> Marks<'_> {
        Marks(self)
    }

    /// Reads all marks and snapshot heads; what was read before comes from the catalog.
    ///
    /// # Errors
    /// When the storage or the catalog fails. Damaged objects are in the answer.
    pub fn history(&self, catalog: &mut Catalog) -> Result<History, RepoError> {
        let history = self.history_of(catalog, self.list_history()?)?;
        if history.turned_back.is_empty() {
            return Ok(history);
        }
        // Somebody may have forgotten snapshots between the two listings.
        self.history_of(catalog, self.list_history()?)
    }

    /// Marks first: a snapshot that is there when its mark is seen is there in a listing that follows. What the host
    /// remembers before either: what it remembers was there then.
    fn list_history(&self) -> Result<Listing, RepoError> {
        let remembered = self.memory.newest();
        let marks = self.list_names::<MarkId>("marks/")?;
        let mut snapshots = Vec::new();
        self.storage.list("snapshots/", &mut |listed| {
            let id = name_in_key::<SnapshotId>(&listed.key);
            snapshots.extend(id.map(|id| (id, ms_of(listed.modified))));
        })?;
        snapshots.sort_unstable();
        Ok(Listing { remembered, marks, snapshots })
    }

    /// The catalog brought up to date, and the history, for whoever only reads: who changes what the history says wants
    /// it as late as can be. Behind a wire the listings for both are asked for at the same time.
    ///
    /// # Errors
    /// As [`Repository::catalog`] and [`Repository::history`].
    pub fn known(&self, observer: &dyn Observer) -> Result<(Catalog, History), RepoError> {
        if self.storage.is_local() {
            let mut catalog = self.catalog(observer)?;
            let history = self.history(&mut catalog)?;
            return Ok((catalog, history));
        }
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("list".to_owned());
            let listing = thread.spawn_scoped(scope, || self.list_history());
            let listing = listing.map_err(|source| RepoError::Thread { source })?;
            let mut catalog = self.catalog(observer)?;
            let listing = listing.join().unwrap_or(Err(RepoError::Stopped))?;
            let history = self.history_of(&mut catalog, listing)?;
            Ok((catalog, history))
        })
    }

    /// The history alone, with a catalog that keeps what was read of it; its index is as it was left last time. For
    /// whoever asks where no chunk lies: a machine that sees the repository for the first time is spared all its index
    /// objects.
    ///
    /// # Errors
    /// As [`Repository::history`].
    pub fn told(&self, observer: &dyn Observer) -> Result<(Catalog, History), RepoError> {
        let mut catalog = self.catalog_as_it_is(observer)?;
        let history = self.history(&mut catalog)?;
        Ok((catalog, history))
    }

    fn history_of(&self, catalog: &mut Catalog, listing: Listing) -> Result<History, RepoError> {
        let mut history = History::default();
        let Listing { remembered, marks, snapshots } = listing;
        let mut unreadable = Vec::new();
        let marks = self.read_marks_of(catalog, marks, &mut unreadable, &mut history.foreign)?;
        let Heads { read, broken, gone } = self.read_heads(catalog, &snapshots, &mut history.foreign)?;
        let mut snapshots = snapshots;
        snapshots.retain(|(id, _)| !gone.contains(id));
        let author_of: HashMap<SnapshotId, AuthorId> =
            read.iter().filter_map(|read| Some((read.id, read.verdict.ok()?.author))).collect();
        let mut folded = fold(&marks, |id| author_of.get(id).copied());
        unreadable.retain(|damage| !is_given_up(&damage.error, &folded));
        history.damaged = unreadable;
        let hides_marks = history.hides_marks();
        for read in read {
            self.place(read, &folded, &mut history);
        }
        for Broken { id, stored_ms, error } in broken {
            let said = folded.committed.get(&id.key());
            if is_given_up(&error, &folded) {
                continue;
            }
            let stops = match said {
                // Only what a full author signed is known to be of a newer program.
                _ if is_newer(&error) => Stops::Deletion,
                Some(said) if said.by_full || folded.seen_whole(&id) => Stops::Deletion,
                Some(said) => Stops::ForAWhile { author: Some(said.author), stored_ms },
                // Nobody says that it counts: junk, unless a mark that cannot be read does.
                None if hides_marks && folded.seen_whole(&id) => Stops::Deletion,
                None if hides_marks => Stops::ForAWhile { author: None, stored_ms },
                None => Stops::Nothing,
            };
            let series = said.and_then(|said| self.series_of(said));
            history.damaged.push(HistoryDamage { error, series, stops });
        }
        self.note_missing(&snapshots, &folded, &mut history)?;
        compare_with_memory(self, &snapshots, remembered, &folded, &mut history);
        history.damaged_packs = std::mem::take(&mut folded.damaged_packs);
        history.doubted_packs = std::mem::take(&mut folded.doubted_packs);
        history.pinned = folded.pinned;
        history.verified = folded.verified;
        history.damaged_snapshots = folded.damaged_snapshots;
        history.given_up = folded.given_up;
        history.forgotten = folded.forgotten;
        history.seen_whole = folded.seen_whole;
        history.checked = folded.checked;
        history.set_ends = folded.set_ends;
        history.snapshots.sort_by_key(|summary| (summary.head.time_ms, summary.head.counter, summary.id));
        Ok(history)
    }

    /// Reads all snapshot objects.
    fn read_heads(
        &self,
        catalog: &mut Catalog,
        snapshots: &[(SnapshotId, i64)],
        foreign: &mut Vec<ForeignObject>,
    ) -> Result<Heads, RepoError> {
        let names: Vec<SnapshotId> = snapshots.iter().map(|(id, _)| *id).collect();
        fetch_unknown(self, catalog, &names, SNAPSHOT_BYTES_MAX, SNAPSHOTS_AT_ONCE);
        let not_before = self.memory.not_before(&names, self.clock.now().as_millisecond());
        let mut heads = Heads::default();
        for (id, put_ms) in snapshots {
            let stored_ms = (*put_ms).max(not_before.get(id).copied().unwrap_or(i64::MIN));
            let open = |bytes: &[u8]| open_head(bytes, &self.id, &self.keys);
            match small_and_opened(self, catalog, id, SNAPSHOT_BYTES_MAX, open) {
                Ok(head) => {
                    let is_signed = catalog.is_signed(id.as_bytes());
                    let verdict = self.authors.judge_head(&head, id.as_bytes(), is_signed);
                    if verdict.is_ok() && !is_signed {
                        catalog.note_signed(id.as_bytes());
                    }
                    // Without the claim, which has the whole object in it: of a million tables, 25 MB a snapshot.
                    heads.read.push(Read { id: *id, head: head.content, stored_ms, verdict });
                }
                // Removed since it was listed. If a mark says that it should be there, that is seen below.
                Err(RepoError::Missing { .. }) => {
                    heads.gone.insert(*id);
                }
                Err(error) if is_rot(&error) => heads.broken.push(Broken { id: *id, stored_ms, error }),
                Err(error) if error.is_integrity() => {
                    foreign.push(ForeignObject { object: id.key(), why: why_foreign(&error), head: None });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(heads)
    }

    /// Puts a snapshot where it belongs: committed, not committed, or foreign.
    fn place(&self, read: Read, folded: &Folded, history: &mut History) {
        let Read { id, mut head, stored_ms, verdict } = read;
        let voucher = match verdict {
            Ok(voucher) => voucher,
            Err(why) => {
                history.foreign.push(ForeignObject { object: id.key(), why, head: Some(head) });
                return;
            }
        };
        head.tags = folded.tags(&id.key(), std::mem::take(&mut head.tags));
        // Not to be taken for a good copy, by retention or as a parent.
        if folded.damaged_snapshots.contains_key(&id) {
            head.state = State::Suspect;
        }
        let is_odd = head.time_ms < stored_ms.saturating_sub(OLDER_MAX_MS)
            || head.time_ms > stored_ms.saturating_add(NEWER_MAX_MS);
        let is_doubtful = is_odd && !voucher.is_full() && !folded.time_confirmed.contains(&id);
        let summary = Summary { id, head, stored_ms, is_doubtful, by_full: voucher.is_full() };
        if folded.committed.contains_key(&id.key()) {
            history.snapshots.push(summary);
        } else {
            history.uncommitted.push(summary);
        }
    }

    pub(super) fn read_marks(
        &self,
        catalog: &mut Catalog,
        unreadable: &mut Vec<HistoryDamage>,
    ) -> Result<Vec<Vouched>, RepoError> {
        self.read_marks_of(catalog, self.list_names::<MarkId>("marks/")?, unreadable, &mut Vec::new())
    }

    fn read_marks_of(
        &self,
        catalog: &mut Catalog,
        names: Vec<MarkId>,
        unreadable: &mut Vec<HistoryDamage>,
        foreign: &mut Vec<ForeignObject>,
    ) -> Result<Vec<Vouched>, RepoError> {
        let mut marks = Vec::new();
        fetch_unknown(self, catalog, &names, MARK_BYTES_MAX, MARKS_AT_ONCE);
        for id in names {
            let open = |bytes: &[u8]| Mark::open(bytes, &self.id, &self.keys);
            let mark = small_and_opened(self, catalog, &id, MARK_BYTES_MAX, open);
            let Opened { content: mark, claim } = match mark {
                Ok(mark) => mark,
                // Removed since it was listed.
                Err(RepoError::Missing { .. }) => continue,
                Err(error) if is_rot(&error) => {
                    // A full author has begun with a newer format, and what that says of other objects is not known.
                    let stops = if is_newer(&error) { Stops::Deletion } else { Stops::Nothing };
                    unreadable.push(HistoryDamage { error, series: None, stops });
                    continue;
                }
                Err(error) if error.is_integrity() => {
                    foreign.push(ForeignObject { object: id.key(), why: why_foreign(&error), head: None });
                    continue;
                }
                Err(error) => return Err(error),
            };
            let is_signed = catalog.is_signed(id.as_bytes());
            match self.authors.judge(&claim, Some(id.as_bytes()), is_signed) {
                Ok(by) => {
                    if !is_signed {
                        catalog.note_signed(id.as_bytes());
                    }
                    marks.push(Vouched { id, mark, by });
                }
                Err(why) => foreign.push(ForeignObject { object: id.key(), why, head: None }),
            }
        }
        Ok(marks)
    }

    /// Reads a snapshot's body.
    ///
    /// # Errors
    /// When it is damaged, or this key may not read it.
    pub fn body(&self, catalog: &mut Catalog, id: &SnapshotId) -> Result<Body, RepoError> {
        let bytes = small_object(self, catalog, id, SNAPSHOT_BYTES_MAX)?;
        open_body(bytes, &self.id, &self.keys).map_err(|source| match source {
            FormatError::Crypto(error @ crate::vault::crypto::CryptoError::RoleTooWeak { .. }) => {
                error.into()
            }
            source => damaged(id)(source),
        })
    }

    pub(super) fn list_names<N: std::str::FromStr + Ord>(&self, prefix: &str) -> Result<Vec<N>, RepoError> {
        let mut names = Vec::new();
        self.storage.list(prefix, &mut |listed| names.extend(name_in_key::<N>(&listed.key)))?;
        names.sort();
        Ok(names)
    }

    /// The series that a *committed* mark names, where its author may add to it: a snapshot that cannot be read hides
    /// others of it.
    fn series_of(&self, said: &Committed) -> Option<String> {
        said.series.clone().filter(|series| self.authors.may_name(&said.author, series))
    }

    /// A mark that outlived its snapshot tells of one that is gone; `forget` removes both.
    fn note_missing(
        &self,
        listed: &[(SnapshotId, i64)],
        folded: &Folded,
        history: &mut History,
    ) -> Result<(), RepoError> {
        let there: HashSet<String> = listed.iter().map(|(id, _)| id.key()).collect();
        let mut lost: BTreeSet<&String> = folded.committed.keys().collect();
        lost.retain(|key| !there.contains(*key) && !folded.given_up.contains(*key));
        for object in lost {
            let is_forgotten =
                name_in_key::<SnapshotId>(object).is_some_and(|id| folded.forgotten.contains(&id));
            let Some(said) = folded.committed.get(object).filter(|_| !is_forgotten) else { continue };
            // `forget` removes the mark first: one that is gone by now tells that it was at work.
            if self.storage.size(&said.mark.key())?.is_none() {
                continue;
            }
            history.damaged.push(HistoryDamage {
                error: RepoError::Missing { object: object.clone() },
                series: self.series_of(said),
                // Whoever may only add can say so of what never was.
                stops: match name_in_key::<SnapshotId>(object) {
                    Some(id) if said.by_full || folded.seen_whole(&id) => Stops::Deletion,
                    _ => Stops::Nothing,
                },
            });
        }
        Ok(())
    }
}

/// Whether the bytes are not those that were written, or those of a newer program by a full author: all else that does
/// not open was never ours.
fn is_rot(error: &RepoError) -> bool {
    matches!(error, RepoError::Missing { .. } | RepoError::Damaged { source: FormatError::WrongHash, .. })
        || is_newer(error)
}

/// What a newer program wrote may mean anything.
pub(super) fn is_newer(error: &RepoError) -> bool {
    matches!(error, RepoError::Damaged { source, .. } if source.is_newer())
}

/// Why bytes count for nothing that have the right hash and do not open.
fn why_foreign(error: &RepoError) -> Foreign {
    match error {
        RepoError::Damaged { source: FormatError::ClaimsNewer, .. } => Foreign::Newer,
        _ => Foreign::Unreadable,
    }
}

fn is_given_up(error: &RepoError, folded: &Folded) -> bool {
    error.object().is_some_and(|object| folded.given_up.contains(object))
}
