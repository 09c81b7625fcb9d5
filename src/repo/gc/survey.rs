//! Everything that a prune must know, read in the order that makes it safe: plans, sessions, snapshots, packs.

use super::PruneReport;
use super::live::LiveSet;
use super::mark::Marker;
use super::weigh::{Claimed, Weight, weigh};
use crate::event::{Cancel, Event, Observer};
use crate::id::{PackId, SnapshotId};
use crate::repo::catalog::KnownPack;
use crate::repo::format::FormatError;
use crate::repo::format::session::SessionKind;
use crate::repo::history::History;
use crate::repo::objects::name_in_key;
use crate::repo::reader::{BlockReader, Locator, RecipeWalker};
use crate::repo::session::{SeenPlan, SeenSession, condemned};
use crate::repo::{RepoError, Repository};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
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
    pub locator: Arc<Mutex<Locator>>,
    pub live: LiveSet,
    snapshots: u64,
    lost: u64,
    warnings: Vec<String>,
}

impl Survey {
    pub fn take(
        repo: &Repository,
        now: SystemTime,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<Self, RepoError> {
        let mut warnings = Vec::new();
        let (plans, unreadable) = repo.plans()?;
        for error in unreadable {
            refuse_newer(&error)?;
            warnings.push(format!("{error}; it condemns nothing"));
        }
        let sessions = repo.sessions()?;
        let (mut catalog, history, presence) = repo.synced(observer)?;
        refuse_damage(&history)?;
        Repository::refuse_turned_back(&history)?;
        repo.refuse_newer_indexes(&catalog.indexes()?, &mut warnings)?;
        warnings.extend(presence.unexplained.iter().map(|(id, why)| {
            format!("pack {} is left alone, since nothing says what it holds: {why}", id.short())
        }));
        let listed = repo.list_packs_with_times()?;
        let unusable = presence.unusable.into_values().collect::<HashMap<PackId, String>>();
        let live = LiveSet::new(&mut catalog)?;
        let locator = Arc::new(Mutex::new(Locator::new(repo, catalog, history.damaged_packs.clone())));
        let mut survey = Self {
            now,
            plans,
            sessions,
            stale: Vec::new(),
            listed,
            unusable,
            locator,
            live,
            snapshots: history.snapshots.len() as u64,
            lost: 0,
            warnings,
        };
        survey.mark(repo, &history, cancel)?;
        for warning in &survey.warnings {
            observer.observe(Event::Warning { message: warning.clone() });
        }
        Ok(survey)
    }

    fn mark(&mut self, repo: &Repository, history: &History, cancel: &Cancel) -> Result<(), RepoError> {
        let mut roots = Vec::new();
        for summary in &history.snapshots {
            let body = {
                let mut locator = self.locator.lock().unwrap_or_else(PoisonError::into_inner);
                repo.body(locator.catalog(), &summary.id)?
            };
            roots.extend(body.streams.iter().map(|stream| stream.root));
        }
        // What may not be whole, and keeps what it reaches all the same.
        let mut lenient = Vec::new();
        let oldest = self.writers().filter_map(|session| session.started).min();
        self.stale = repo.stale_snapshots(history, self.now, oldest)?;
        for summary in history.uncommitted.iter().filter(|summary| !self.stale.contains(&summary.id)) {
            let mut locator = self.locator.lock().unwrap_or_else(PoisonError::into_inner);
            match repo.body(locator.catalog(), &summary.id) {
                Ok(body) => lenient.extend(body.streams.iter().map(|stream| stream.root)),
                // Removed by its writer since.
                Err(RepoError::Missing { .. }) => {}
                Err(error) => return Err(error),
            }
        }

        // What counts for nothing keeps what it reaches, as far as it can be followed: hiding a statement must delete nothing.
        for id in history.foreign_snapshots() {
            let mut locator = self.locator.lock().unwrap_or_else(PoisonError::into_inner);
            match repo.body(locator.catalog(), &id) {
                Ok(body) => lenient.extend(body.streams.iter().map(|stream| stream.root)),
                Err(error) if error.is_integrity() => tracing::debug!("{error}"),
                Err(error) => return Err(error),
            }
        }

        let walker = RecipeWalker::new(Arc::new(BlockReader::new(repo)), Arc::clone(&self.locator));
        let mut marker = Marker::new(walker, &mut self.live, cancel);
        marker.mark(&roots)?;
        self.lost = marker.lost;
        for error in marker.mark_what_is_whole(&lenient)? {
            self.warnings.push(format!("a backup that does not count is not whole: {error}"));
        }
        if self.lost > 0 {
            self.warnings.push(format!(
                "{} chunks that snapshots want are in no pack: run `dumpvault check`",
                self.lost
            ));
        }
        Ok(())
    }

    /// Packs that some plan condemns.
    pub fn condemned(&self) -> HashSet<PackId> {
        condemned(&self.plans)
    }

    /// Backups that may still commit.
    pub fn writers(&self) -> impl Iterator<Item = &SeenSession> {
        let may_commit = |session: &&SeenSession| {
            session.kind() != SessionKind::Prune && session.started.is_some() && !session.is_foreign
        };
        self.sessions.iter().filter(may_commit)
    }

    /// Weighs all packs that are there and that no plan condemns. Damaged ones come last: a chunk that a good pack holds, too, is not
    /// live in them.
    pub fn weigh(&self, condemned: &HashSet<PackId>) -> Result<Vec<Weight>, RepoError> {
        let mut claimed = Claimed::default();
        self.weigh_good(condemned, &mut claimed).and_then(|mut weights| {
            let mut locator = self.locator.lock().unwrap_or_else(PoisonError::into_inner);
            let damaged =
                self.packs(&mut locator, |id| !condemned.contains(id) && self.unusable.contains_key(id))?;
            weights.extend(weigh(locator.catalog(), &damaged, &self.live, &mut claimed)?);
            Ok(weights)
        })
    }

    /// Packs that an index names, that are not there, and that nobody misses.
    pub fn missing_and_dead(&self) -> Result<HashSet<PackId>, RepoError> {
        let mut locator = self.locator.lock().unwrap_or_else(PoisonError::into_inner);
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

    /// Weighs the packs that can be relied on.
    pub fn weigh_good(
        &self,
        condemned: &HashSet<PackId>,
        claimed: &mut Claimed,
    ) -> Result<Vec<Weight>, RepoError> {
        let mut locator = self.locator.lock().unwrap_or_else(PoisonError::into_inner);
        let good =
            self.packs(&mut locator, |id| !condemned.contains(id) && !self.unusable.contains_key(id))?;
        weigh(locator.catalog(), &good, &self.live, claimed)
    }

    /// Packs that the storage lists and that fit.
    pub fn packs(
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
    pub fn describe(&self, report: &mut PruneReport) {
        report.snapshots = self.snapshots;
        report.packs = self.listed.len() as u64;
        report.pack_bytes = self.listed.values().map(|(bytes, _)| bytes).sum();
        report.lost_chunks = self.lost;
        report.warnings.clone_from(&self.warnings);
    }
}

/// A snapshot or mark that cannot be read may need anything.
fn refuse_damage(history: &History) -> Result<(), RepoError> {
    match history.damaged.iter().find(|damage| damage.stops_deletion) {
        None => Ok(()),
        Some(damage) => Err(super::sweep::same(&damage.error)),
    }
}

/// What a newer program wrote may mean anything.
fn refuse_newer(error: &RepoError) -> Result<(), RepoError> {
    match error {
        RepoError::Damaged {
            source: FormatError::NewerVersion { .. } | FormatError::UnknownFeatures { .. },
            ..
        } => Err(super::sweep::same(error)),
        _ => Ok(()),
    }
}

impl Repository {
    fn refuse_newer_indexes(
        &self,
        known: &HashSet<crate::id::IndexId>,
        warnings: &mut Vec<String>,
    ) -> Result<(), RepoError> {
        for id in self.list_names::<crate::id::IndexId>("index/")? {
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

    /// Uncommitted snapshots that are old, and that no writer can be about to commit: none whose session has not ended, the oldest of
    /// which began at `oldest_writer`, can have put them. One that a later snapshot names as its predecessor was committed, and has
    /// lost its mark: it stays.
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
