//! Everything that a prune must know, read in the order that makes it safe: plans, sessions, snapshots, packs.

use super::PruneReport;
use super::live::{LiveSet, Marks};
use super::mark::Marker;
use super::unseen::{Seen, Unseen, held_until, only_in};
use super::weigh::{Weight, weigh};
use super::witness::{Holders, Witness, contested, twice_in};
use crate::base::event::{Cancel, Event, Observer};
use crate::base::id::{NodeId, PackId, SnapshotId};
use crate::vault::catalog::KnownPack;
use crate::vault::format::session::SessionKind;
use crate::vault::history::{History, Stops, is_newer, refuse_turned_back};
use crate::vault::objects::name_in_key;
use crate::vault::reader::{BlockReader, Locator, RecipeWalker};
use crate::vault::session::{SeenPlan, SeenSession, condemned};
use crate::vault::snapshot::Summary;
use crate::vault::{RepoError, Repository};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// An uncommitted snapshot keeps what it reaches for so long: its writer may be suspended right before the last step.
const UNCOMMITTED_KEPT: Duration = Duration::from_secs(7 * 86_400);

pub(super) struct Survey {
    /// The storage's time when it was taken.
    pub now: SystemTime,
    pub plans: Vec<SeenPlan>,
    pub sessions: Vec<SeenSession>,
    /// Uncommitted snapshots that keep nothing any more.
    pub stale: Vec<SnapshotId>,
    /// Packs in the storage: size, and when they were put.
    pub listed: HashMap<PackId, (u64, SystemTime)>,
    /// Packs that are missing, of another size, or marked as damaged.
    pub unusable: HashMap<PackId, String>,
    /// Snapshots of append authors that this survey saw whole, and no full author before.
    pub seen_whole: Vec<SnapshotId>,
    /// Until when nothing goes, since what was never seen whole may hide what it needs.
    pub held: Option<SystemTime>,
    pub locator: Arc<Mutex<Locator>>,
    pub live: LiveSet,
    /// What this run has opened.
    witness: Mutex<Witness>,
    snapshots: u64,
    lost: u64,
    /// Packs of which only authors that may only add say what they hold.
    unvouched: HashSet<PackId>,
    /// Some snapshot that was never seen whole is not.
    lacks: bool,
    warnings: Vec<String>,
}

impl Survey {
    /// Looks at everything; `witness` is what the run has opened so far.
    pub(super) fn take(
        repo: &Repository,
        now: SystemTime,
        witness: Witness,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<Self, RepoError> {
        let mut warnings = Vec::new();
        let (plans, unreadable) = repo.plans()?;
        unreadable.iter().try_for_each(refuse_newer)?;
        let sessions = repo.sessions()?;
        let (mut catalog, history, presence) = repo.synced(observer)?;
        let is_open = |error: &&RepoError| error.object().is_none_or(|key| !history.given_up.contains(key));
        warnings
            .extend(unreadable.iter().filter(is_open).map(|error| format!("{error}; it condemns nothing")));
        refuse_damage(&history)?;
        refuse_turned_back(&history)?;
        repo.refuse_newer_indexes(&catalog.indexes()?, &mut warnings)?;
        warnings.extend(presence.unexplained.iter().map(|(id, why)| {
            format!("pack {} is left alone, since nothing says what it holds: {why}", id.short())
        }));
        warnings.extend(presence.lies.iter().map(|lie| format!("{lie}; {HINT_INDEX}")));
        let listed = repo.list_packs_with_times()?;
        let mut unvouched: HashSet<PackId> = HashSet::new();
        for pack in catalog.packs()? {
            unvouched.extend(presence.unvouched.contains(&pack.number).then_some(pack.id));
        }
        let unusable = presence.unusable.into_values().collect::<HashMap<PackId, String>>();
        let live = LiveSet::new(&mut catalog)?;
        let locator = Arc::new(Mutex::new(
            Locator::new(repo, catalog, history.damaged_packs.clone()).with_numbers_kept(),
        ));
        let mut survey = Self {
            now,
            plans,
            sessions,
            stale: Vec::new(),
            listed,
            unusable,
            seen_whole: Vec::new(),
            held: None,
            locator,
            live,
            witness: Mutex::new(witness),
            snapshots: history.snapshots.len() as u64,
            lost: 0,
            unvouched,
            lacks: false,
            warnings,
        };
        survey.mark_all(repo, &history, cancel)?;
        for warning in &survey.warnings {
            observer.observe(Event::Warning { message: warning.clone() });
        }
        Ok(survey)
    }

    /// Marks, and where a snapshot wants what no index names, once more after every pack was asked itself.
    fn mark_all(&mut self, repo: &Repository, history: &History, cancel: &Cancel) -> Result<(), RepoError> {
        let before = self.warnings.len();
        let outcome = self.mark(repo, history, cancel);
        let is_amiss = match &outcome {
            Ok(()) => self.lost > 0 || self.lacks,
            Err(error) => error.is_integrity(),
        };
        if !is_amiss {
            return outcome;
        }
        let put_right = repo.believe_own_tables(&self.locator, &self.listed, cancel)?;
        if put_right.is_empty() {
            return outcome;
        }
        self.warnings.truncate(before);
        for (pack, why) in put_right {
            self.warnings.push(format!("pack {}: {why}; {HINT_INDEX}", pack.short()));
            if !history.damaged_packs.contains_key(&pack) {
                self.unusable.remove(&pack);
            }
        }
        let live = LiveSet::new(self.locator().catalog())?;
        self.live = live;
        self.mark(repo, history, cancel)
    }

    fn mark(&mut self, repo: &Repository, history: &History, cancel: &Cancel) -> Result<(), RepoError> {
        let oldest = self.writers().filter_map(|session| session.started).min();
        self.stale = repo.stale_snapshots(history, self.now, oldest)?;
        let (mut roots, mut unseen, mut lenient) = (Vec::new(), Vec::new(), Vec::new());
        for summary in history.snapshots.iter().chain(&history.uncommitted) {
            if self.stale.contains(&summary.id) {
                continue;
            }
            let weight = Say::of(history, summary);
            let body = repo.body(self.locator().catalog(), &summary.id);
            let body = body.map(|body| body.streams.iter().map(|stream| stream.root).collect::<Vec<_>>());
            match (body, weight) {
                (Ok(body), Say::Counts) => roots.extend(body),
                (Err(error), Say::Counts) => return Err(error),
                (Ok(body), Say::Little) => lenient.extend(body),
                // Removed by its writer since.
                (Err(RepoError::Missing { .. }), _) => {}
                (Err(error), Say::Little) if error.is_integrity() => {
                    self.warnings.push(format!("{error}; it keeps nothing"));
                }
                (body @ Ok(_), Say::Unseen) => unseen.push(Unseen::new(summary, body)),
                (Err(error), Say::Unseen) if error.is_integrity() => {
                    unseen.push(Unseen::new(summary, Err(error)));
                }
                (Err(error), _) => return Err(error),
            }
        }
        // What counts for nothing keeps what it reaches, as far as it can be followed: hiding a statement must delete
        // nothing.
        for id in history.foreign_snapshots() {
            let body = repo.body(self.locator().catalog(), &id);
            match body {
                Ok(body) => lenient.extend(body.streams.iter().map(|stream| stream.root)),
                Err(error) if error.is_integrity() => tracing::debug!("{error}"),
                Err(error) => return Err(error),
            }
        }
        let blocks = Arc::new(BlockReader::new(repo));
        // An index may still name a pack that is gone: what only such packs hold is lost.
        let mut gone: HashSet<PackId> =
            self.locator().catalog().packs()?.iter().map(|pack| pack.id).collect();
        gone.retain(|id| !self.listed.contains_key(id));
        let absent = only_in(self.locator().catalog(), &gone)?;
        let mut marker =
            Marker::new(walker(&blocks, &self.locator), &mut self.live, cancel).asking_for(&absent);
        marker.mark(&roots)?;
        self.lost = marker.lost() + marker.absent();
        self.follow_unseen(repo, history, unseen, &blocks, cancel)?;
        let mut marker = Marker::new(walker(&blocks, &self.locator), &mut self.live, cancel);
        for error in marker.mark_what_can_be_read(&lenient)? {
            self.warnings
                .push(format!("a snapshot that is damaged or does not count is incomplete: {error}"));
        }
        Ok(())
    }

    /// Marks what snapshots reach that no full author has seen whole, and finds out which of them are.
    fn follow_unseen(
        &mut self,
        repo: &Repository,
        history: &History,
        mut unseen: Vec<Unseen>,
        blocks: &Arc<BlockReader>,
        cancel: &Cancel,
    ) -> Result<(), RepoError> {
        (self.seen_whole, self.lacks, self.held) = (Vec::new(), false, None);
        let mut bad: HashSet<PackId> = self.unusable.keys().copied().collect();
        bad.extend(self.locator().catalog().packs()?.iter().map(|pack| pack.id));
        bad.retain(|id| !self.listed.contains_key(id) || self.unusable.contains_key(id));
        let absent = only_in(self.locator().catalog(), &bad)?;
        let before = self.live.marks();
        let roots: Vec<NodeId> = unseen.iter().flat_map(|one| one.roots()).copied().collect();
        let mut marker =
            Marker::new(walker(blocks, &self.locator), &mut self.live, cancel).asking_for(&absent);
        let are_whole =
            marker.mark_what_can_be_read(&roots)?.is_empty() && marker.lost() + marker.absent() == 0;
        let lying = self.lying_about(repo, &before, cancel)?;
        if are_whole && lying.is_empty() && unseen.iter().all(Unseen::is_readable) {
            self.seen_whole = unseen.iter().map(|one| one.id).collect();
            self.held = held_until(history, &[], self.now);
            return Ok(());
        }
        bad.extend(lying);
        let absent = only_in(self.locator().catalog(), &bad)?;
        let mut unwhole = Vec::new();
        for one in &mut unseen {
            let seen = one.follow(walker(blocks, &self.locator), &mut self.live, &absent, cancel)?;
            let what = match seen {
                Seen::Whole => {
                    self.seen_whole.push(one.id);
                    continue;
                }
                Seen::Lacking { chunks } => {
                    unwhole.push((&*one, false));
                    format!("{chunks} of its chunks are in no pack")
                }
                Seen::Hiding(error) => {
                    unwhole.push((&*one, true));
                    error.to_string()
                }
            };
            let id = one.id.short();
            self.warnings
                .push(format!("snapshot {id} of an append key was never seen whole and is not: {what}"));
        }
        self.lacks = !unwhole.is_empty();
        self.held = held_until(history, &unwhole, self.now);
        Ok(())
    }

    /// Packs of which only append authors say what they hold, that became live since `before`, and that say otherwise
    /// themselves.
    fn lying_about(
        &self,
        repo: &Repository,
        before: &Marks,
        cancel: &Cancel,
    ) -> Result<Vec<PackId>, RepoError> {
        let mut fresh = Vec::new();
        {
            let mut locator = self.locator();
            let witness = self.witness();
            let is_open = |id: &PackId| self.unvouched.contains(id) && !witness.agreed.contains(id);
            let known = self.packs(&mut locator, is_open)?;
            for pack in known {
                let row = locator.catalog().pack(pack.number)?;
                if row.table.chunks.iter().any(|(id, _)| self.live.is_live_since(before, id)) {
                    fresh.push(pack);
                }
            }
        }
        let (agreed, lying) = repo.compare_tables(&self.locator, &fresh, &self.listed, cancel)?;
        self.witness().agreed.extend(agreed);
        Ok(lying)
    }

    /// While chunks are missing nobody knows what else is.
    ///
    /// # Errors
    /// [`RepoError::ChunksLost`] when a snapshot that counts wants what no pack holds.
    pub(super) fn refuse_loss(&self) -> Result<(), RepoError> {
        match self.lost {
            0 => Ok(()),
            chunks => Err(RepoError::ChunksLost { chunks }),
        }
    }

    /// The catalog behind a lock.
    pub(super) fn locator(&self) -> MutexGuard<'_, Locator> {
        self.locator.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What this run has opened so far.
    pub(super) fn witness(&self) -> MutexGuard<'_, Witness> {
        self.witness.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, for the next survey of this run.
    pub(super) fn into_witness(self) -> Witness {
        self.witness.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Packs that some plan condemns.
    pub(super) fn condemned(&self) -> HashSet<PackId> {
        condemned(&self.plans)
    }

    /// Backups that may still commit.
    pub(super) fn writers(&self) -> impl Iterator<Item = &SeenSession> {
        let may_commit = |session: &&SeenSession| {
            session.kind() != SessionKind::Prune && session.started.is_some() && !session.is_foreign
        };
        self.sessions.iter().filter(may_commit)
    }

    /// Weighs all packs that are there and that no plan condemns. A chunk is live in one that was seen to hold it.
    /// Damaged ones are not asked: what a good pack shows, too, is not live in them.
    pub(super) fn weigh(
        &self,
        condemned: &HashSet<PackId>,
        cancel: &Cancel,
    ) -> Result<Vec<Weight>, RepoError> {
        let mut witness = self.witness();
        let mut locator = self.locator();
        let all = self.packs(&mut locator, |id| !condemned.contains(id))?;
        let good: Vec<KnownPack> =
            all.iter().filter(|pack| !self.unusable.contains_key(&pack.id)).copied().collect();
        let catalog = locator.catalog();
        let wanted = contested(catalog, &all, &self.live)?;
        let holders = witness.holders(catalog, &good, &wanted, cancel)?;
        weigh(catalog, &all, &self.live, &holders)
    }

    /// Which live chunks of `from` were seen in a pack that is neither among `going` nor damaged.
    pub(super) fn held_elsewhere(
        &self,
        from: &[KnownPack],
        going: &HashSet<PackId>,
        cancel: &Cancel,
    ) -> Result<Holders, RepoError> {
        let mut witness = self.witness();
        let mut locator = self.locator();
        let mut wanted = hashbrown::HashSet::new();
        for pack in from {
            wanted.extend(twice_in(&*locator.catalog().pack(pack.number)?, &self.live));
        }
        let staying =
            self.packs(&mut locator, |id| !going.contains(id) && !self.unusable.contains_key(id))?;
        witness.holders(locator.catalog(), &staying, &wanted, cancel)
    }

    /// Whether something in the pack is known not to be what it should.
    pub(super) fn is_damaged(&self, pack: &PackId) -> bool {
        self.unusable.contains_key(pack) || self.witness().failed().contains_key(pack)
    }

    /// Packs that an index names, that are not there, and that nobody misses.
    pub(super) fn missing_and_dead(&self) -> Result<HashSet<PackId>, RepoError> {
        let mut locator = self.locator();
        let mut dead = HashSet::new();
        for pack in locator.catalog().packs()? {
            if self.listed.contains_key(&pack.id) {
                continue;
            }
            let row = locator.catalog().pack(pack.number)?;
            let wanted = |id: &[u8; 32]| self.live.is_live(id) && !self.live.is_twice(id);
            if !row.table.chunks.iter().any(|(id, _)| wanted(id)) {
                dead.insert(pack.id);
            }
        }
        Ok(dead)
    }

    /// Packs that the storage lists and that fit.
    pub(super) fn packs(
        &self,
        locator: &mut Locator,
        fits: impl Fn(&PackId) -> bool,
    ) -> Result<Vec<KnownPack>, RepoError> {
        let mut packs = locator.catalog().packs()?;
        packs.retain(|pack| self.listed.contains_key(&pack.id) && fits(&pack.id));
        // The newest first: what was copied is live in its copy.
        packs.sort_by_key(|pack| std::cmp::Reverse(pack.number));
        Ok(packs)
    }

    /// What the report says of it.
    pub(super) fn describe(&self, report: &mut PruneReport) {
        report.snapshots = self.snapshots;
        report.packs = self.listed.len() as u64;
        report.pack_bytes = self.listed.values().map(|(bytes, _)| bytes).sum();
        report.lost_chunks = self.lost;
        report.held_until = self.held;
        report.warnings.clone_from(&self.warnings);
    }
}

/// What to do about index objects that say other things than packs.
pub(super) const HINT_INDEX: &str = "`dumpvault repair index` rebuilds the index from the packs";

/// What a snapshot has to say when something that it wants is not there.
#[derive(Clone, Copy)]
enum Say {
    /// It stops a prune.
    Counts,
    /// No full author has seen it whole: it may stop none.
    Unseen,
    /// It keeps what it reaches, and no more: nobody committed it, or it is known that something of it is lost.
    Little,
}

impl Say {
    fn of(history: &History, summary: &Summary) -> Self {
        if history.damaged_snapshots.contains_key(&summary.id)
            || history.uncommitted.iter().any(|other| other.id == summary.id)
        {
            Self::Little
        } else if history.was_whole(summary) {
            Self::Counts
        } else {
            Self::Unseen
        }
    }
}

fn walker(blocks: &Arc<BlockReader>, locator: &Arc<Mutex<Locator>>) -> RecipeWalker {
    RecipeWalker::new(Arc::clone(blocks), Arc::clone(locator))
}

/// A snapshot or mark that cannot be read may need anything.
fn refuse_damage(history: &History) -> Result<(), RepoError> {
    match history.damaged.iter().find(|damage| damage.stops == Stops::Deletion) {
        None => Ok(()),
        Some(damage) => Err(super::same(&damage.error)),
    }
}

/// What a newer program wrote may mean anything.
pub(super) fn refuse_newer(error: &RepoError) -> Result<(), RepoError> {
    if is_newer(error) { Err(super::same(error)) } else { Ok(()) }
}

impl Repository {
    /// Refuses where a full author wrote an index object that only a newer program can read; of others that cannot be
    /// read it warns.
    ///
    /// # Errors
    /// That it needs a newer program, or the storage's.
    pub(in crate::vault) fn refuse_newer_indexes(
        &self,
        known: &HashSet<crate::base::id::IndexId>,
        warnings: &mut Vec<String>,
    ) -> Result<(), RepoError> {
        for id in self.list_names::<crate::base::id::IndexId>("index/")? {
            if known.contains(&id) {
                continue;
            }
            match self.read_index(&id) {
                // Written since, or left out of a catalog in memory.
                Ok(_) | Err(RepoError::Missing { .. }) => {}
                Err(error) if error.is_integrity() => {
                    refuse_newer(&error)?;
                    warnings.push(format!("{error}; its packs' own tables were read instead"));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn list_packs_with_times(&self) -> Result<HashMap<PackId, (u64, SystemTime)>, RepoError> {
        let mut packs = HashMap::new();
        self.storage.list("packs/", &mut |listed| {
            let id = name_in_key::<PackId>(&listed.key);
            packs.extend(id.map(|id| (id, (listed.bytes, listed.modified))));
        })?;
        Ok(packs)
    }

    /// Uncommitted snapshots that are old, and that no writer can be about to commit: none whose session has not ended,
    /// the oldest of which began at `oldest_writer`, can have put them. One that a later snapshot names as its
    /// predecessor was committed, and has lost its mark: it stays.
    fn stale_snapshots(
        &self,
        history: &History,
        now: SystemTime,
        oldest_writer: Option<SystemTime>,
    ) -> Result<Vec<SnapshotId>, RepoError> {
        // A mark that cannot be read may be the one that commits any of them.
        if history.uncommitted.is_empty() || history.hides_marks() {
            return Ok(Vec::new());
        }
        let mut times = HashMap::new();
        self.storage.list("snapshots/", &mut |listed| {
            times.extend(name_in_key::<SnapshotId>(&listed.key).map(|id| (id, listed.modified)));
        })?;
        let named: HashSet<SnapshotId> =
            history.snapshots.iter().filter_map(|summary| summary.head.predecessor).collect();
        let stale = |id: &SnapshotId| {
            let Some(put) = times.get(id) else { return false };
            let age = now.duration_since(*put).unwrap_or_default();
            let is_under_way = oldest_writer.is_some_and(|oldest| oldest <= *put);
            age >= UNCOMMITTED_KEPT && !is_under_way && !named.contains(id)
        };
        Ok(history.uncommitted.iter().map(|summary| summary.id).filter(stale).collect())
    }
}
