//! Rotation: a new key epoch for all authors but those revoked.
//!
//! Writers under way are fenced: their sessions end, then what counts is listed, then the epoch object is put. A writer
//! that registered in between finds its session gone after its mark; what it had put before that is found by a second
//! look, and a second close lists it. So nothing that was reported as stored is lost, and nothing else of the old epoch
//! ever counts.

use super::authors::Foreign;
use super::format::epoch::{Close, Heir};
use super::format::index::{Index, IndexedPack};
use super::format::plan::Plan;
use super::format::session::SessionKind;
use super::history::{History, ms_of, refuse_turned_back};
use super::keys::put_slot;
use super::objects::{ObjectName as _, name_in_key};
use super::reader::BlockReader;
use super::session::{LIVE, Session};
use super::{RepoError, Repository};
use crate::base::event::{Cancel, Event, Observer, Silent};
use crate::base::id::{AuthorId, EpochId, IndexId, MarkId, PackId, PlanId, SnapshotId, StatementId};
use crate::vault::crypto::{Credential, CryptoError, Role};
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// So often it is looked whether backups have ended.
const POLL: Duration = Duration::from_secs(1);
/// Closes in a row that one rotation makes at most: each is made because a backup ended just then.
const CLOSES_MAX: usize = 8;

/// What a rotation is to do.
#[derive(Debug, Clone, Default)]
pub struct RotateRequest {
    /// Authors that do not go on.
    pub revoke: Vec<AuthorId>,
    /// What revoked authors stored after that moment, ms since the epoch, does not count any more.
    pub since_ms: Option<i64>,
    /// Begin a new content generation, too: nothing that is stored is found again, so that the next backup of each
    /// series is a full one.
    pub content: bool,
    /// Do not wait for backups under way.
    pub end_sessions: bool,
    /// The present, ms since the epoch.
    pub now_ms: i64,
}

/// What a rotation did.
#[derive(Debug, Clone, Default)]
pub struct RotateReport {
    /// The epoch that is open now.
    pub epoch: u16,
    /// The content generation in which is written from now on.
    pub content_generation: u16,
    /// Authors that go on.
    pub authors: usize,
    /// Objects of revoked authors that do not count any more.
    pub dropped: usize,
    /// Packs that were read whole and named anew, since what named them does not count any more.
    pub packs_named: usize,
    /// Packs that do not hold what was said of them.
    pub packs_refused: usize,
    /// Backups under way that were ended.
    pub sessions_ended: usize,
}

/// Rotates the keys of a repository.
pub struct Rotation<'a> {
    repo: &'a Repository,
    request: RotateRequest,
    observer: &'a dyn Observer,
    cancel: &'a Cancel,
}

/// What counts from now on, and what of it is no longer named.
struct Counted {
    ids: Vec<[u8; 32]>,
    dropped: usize,
    /// Packs that only index objects named that do not count any more.
    unnamed: HashSet<PackId>,
}

impl<'a> Rotation<'a> {
    /// Prepares a rotation.
    pub fn new(
        repo: &'a Repository,
        request: RotateRequest,
        observer: &'a dyn Observer,
        cancel: &'a Cancel,
    ) -> Self {
        Self { repo, request, observer, cancel }
    }

    /// Closes the epoch and opens the next. The slot that `credential` opens then holds the new keys; other keys follow
    /// by themselves.
    ///
    /// # Errors
    /// When this key is not a full one, its own author or the last full one is to be revoked, another prune is under
    /// way, the repository was turned back, or the storage fails. Before the epoch object is put nothing has changed.
    pub fn run(self, credential: &Credential) -> Result<RotateReport, RepoError> {
        self.refuse()?;
        let mut report = RotateReport::default();
        let session = self.repo.begin_beside_backups(self.request.now_ms)?;
        self.end_writers(&session, &mut report)?;
        // As it is by now: a key that was added while backups were waited for goes on, too.
        let mut now = self.repo.refreshed()?;
        let mut unnamed = HashSet::new();
        let mut closed: HashSet<[u8; 32]> = HashSet::new();
        for round in 0..CLOSES_MAX {
            let counted = self.count(&now)?;
            let is_news = counted.ids.iter().any(|id| !closed.contains(id));
            if round > 0 && !is_news {
                break;
            }
            let of_this = counted.ids.iter().copied();
            closed.extend(of_this);
            report.dropped = report.dropped.max(counted.dropped);
            unnamed.extend(counted.unnamed);
            let begins_content = self.request.content && round == 0;
            now = self.close(&now, counted.ids, begins_content, &mut report)?;
            // Who registered since the first look is of the closed epoch.
            self.end_all(&session, &mut report)?;
        }
        self.renew_plans(&now)?;
        self.name_packs(&now, unnamed, &mut report)?;
        self.renew_slot(&now, credential)?;
        report.epoch = now.keys.newest().number();
        report.content_generation = now.content_generation();
        Ok(report)
    }

    fn refuse(&self) -> Result<(), RepoError> {
        let repo = self.repo;
        if repo.role() != Role::Full {
            return Err(CryptoError::RoleTooWeak { needed: "rotating keys" }.into());
        }
        if self.request.revoke.contains(&repo.authors.me()) {
            let reason =
                "this key cannot revoke itself: open the repository with another full key".to_owned();
            return Err(RepoError::SlotRefused { reason });
        }
        let mut catalog = repo.catalog(&Silent)?;
        refuse_turned_back(&repo.history(&mut catalog)?)
    }

    /// Ends the backups that were under way before anything is listed; waits for them where that was not declined.
    fn end_writers(&self, own: &Session, report: &mut RotateReport) -> Result<(), RepoError> {
        let began = Instant::now();
        let mut told = false;
        while !self.request.end_sessions && began.elapsed() < LIVE {
            let now = own.beat()?;
            let sessions = self.repo.sessions()?;
            let live =
                sessions.iter().filter(|session| session.id != own.id() && session.is_live(now)).count();
            if live == 0 {
                break;
            }
            if !told {
                told = true;
                let what = format!(
                    "waiting for {live} backups to end (at most 30 minutes; --end-sessions ends them)"
                );
                self.observer.observe(Event::Step { what });
            }
            if self.cancel.is_cancelled() {
                return Err(RepoError::Cancelled);
            }
            std::thread::sleep(POLL);
        }
        self.end_all(own, report)
    }

    fn end_all(&self, own: &Session, report: &mut RotateReport) -> Result<(), RepoError> {
        for session in self.repo.sessions()? {
            if session.id != own.id() && session.kind() != SessionKind::Prune {
                self.repo.end_session(&session)?;
                report.sessions_ended += usize::from(session.started.is_some() && !session.is_foreign);
            }
        }
        Ok(())
    }

    /// Whether an object of `author` that was put at `put_ms` does not count any more.
    fn is_dropped(&self, author: &AuthorId, put_ms: i64) -> bool {
        self.request.revoke.contains(author) && self.request.since_ms.is_some_and(|since| put_ms > since)
    }

    /// Whether an object came too late for the close that this rotation has made, by a backup that was under way.
    fn came_late(&self, why: &Foreign) -> bool {
        let since = self.repo.keys.newest().number();
        matches!(why, Foreign::Closed { epoch, author } if *epoch >= since && !self.request.revoke.contains(author))
    }

    /// Names of all objects that count, as `now` sees them, and of those that came too late.
    fn count(&self, now: &Repository) -> Result<Counted, RepoError> {
        let mut catalog = now.catalog(&Silent)?;
        let history = now.history(&mut catalog)?;
        let mut counted = Counted { ids: Vec::new(), dropped: 0, unnamed: HashSet::new() };
        self.count_snapshots(now, &history, &mut counted)?;
        let mut times = HashMap::new();
        now.storage.list("marks/", &mut |listed| {
            times.extend(name_in_key::<MarkId>(&listed.key).map(|id| (id, ms_of(listed.modified))));
        })?;
        for vouched in now.read_marks(&mut catalog, &mut Vec::new())? {
            let put_ms = times.get(&vouched.id).copied().unwrap_or(i64::MIN);
            counted.take(vouched.id.as_bytes(), self.is_dropped(&vouched.by.author, put_ms));
        }
        let late = history.foreign.iter().filter(|foreign| self.came_late(&foreign.why));
        counted.ids.extend(late.filter_map(|foreign| {
            // Marks and snapshots alike are named by a hash.
            name_in_key::<SnapshotId>(&foreign.object).map(|id| *id.as_bytes())
        }));
        self.count_indexes(now, &mut counted)?;
        for id in now.list_names::<StatementId>("authors/")? {
            // Those that count for nothing now do not by being listed: nobody could make one of a closed epoch.
            counted.ids.push(*id.as_bytes());
        }
        Ok(counted)
    }

    fn count_snapshots(
        &self,
        now: &Repository,
        history: &History,
        counted: &mut Counted,
    ) -> Result<(), RepoError> {
        let mut times = HashMap::new();
        now.storage.list("snapshots/", &mut |listed| {
            times.extend(name_in_key::<SnapshotId>(&listed.key).map(|id| (id, ms_of(listed.modified))));
        })?;
        for summary in history.snapshots.iter().chain(&history.uncommitted) {
            let put_ms = times.get(&summary.id).copied().unwrap_or(i64::MIN);
            counted.take(summary.id.as_bytes(), self.is_dropped(&summary.head.author, put_ms));
        }
        Ok(())
    }

    fn count_indexes(&self, now: &Repository, counted: &mut Counted) -> Result<(), RepoError> {
        let mut listed = Vec::new();
        now.storage.list("index/", &mut |one| {
            listed.extend(name_in_key::<IndexId>(&one.key).map(|id| (id, ms_of(one.modified))));
        })?;
        let (mut named, mut unnamed) = (HashSet::new(), HashSet::new());
        for (id, put_ms) in listed {
            match now.read_index(&id) {
                Ok((Ok(by), index)) => {
                    let is_dropped = self.is_dropped(&by.author, put_ms);
                    counted.take(id.as_bytes(), is_dropped);
                    let packs = index.packs.iter().map(|pack| pack.id);
                    if is_dropped { unnamed.extend(packs) } else { named.extend(packs) }
                }
                Ok((Err(why), _)) if self.came_late(&why) => counted.ids.push(*id.as_bytes()),
                Ok((Err(_), _)) => {}
                Err(error) if error.is_integrity() => {}
                Err(error) => return Err(error),
            }
        }
        counted.unnamed.extend(unnamed.difference(&named).copied());
        Ok(())
    }

    /// Puts the epoch object; the repository as it is from then on.
    fn close(
        &self,
        now: &Repository,
        ids: Vec<[u8; 32]>,
        begins_content: bool,
        report: &mut RotateReport,
    ) -> Result<Repository, RepoError> {
        if self.cancel.is_cancelled() {
            return Err(RepoError::Cancelled);
        }
        let entropy = now.entropy.as_ref();
        let authors = now.authors.all().into_iter();
        let heirs: Vec<Heir> = authors
            .filter(|author| !self.request.revoke.contains(&author.author))
            .map(|author| Heir { author: author.author, role: author.role, wrap_key: author.wrap_key })
            .collect();
        report.authors = heirs.len();
        let rotated = match begins_content {
            true => now.keys.rotated_with_content(entropy)?,
            false => now.keys.rotated(entropy)?,
        };
        let bytes = Close::seal(now.id, &now.keys, rotated.newest(), ids, &heirs, entropy)?;
        let id: EpochId = now.put_hashed(&bytes)?;
        now.memory.trust(&id.key(), &bytes);
        now.refreshed()
    }

    /// Puts the plans of the closed epochs again: what they condemn must stay condemned.
    fn renew_plans(&self, now: &Repository) -> Result<(), RepoError> {
        for seen in self.repo.plans()?.0 {
            let Plan { time_ms, packs } = seen.plan;
            let plan = Plan { time_ms, packs };
            let _: PlanId = now.put_hashed(&plan.seal(now.id, &now.keys, now.entropy.as_ref())?)?;
            now.storage.delete(&seen.id.key())?;
        }
        Ok(())
    }

    /// Names packs whose index objects do not count any more, as far as they hold what their own tables say: each block
    /// is opened.
    fn name_packs(
        &self,
        now: &Repository,
        unnamed: HashSet<PackId>,
        report: &mut RotateReport,
    ) -> Result<(), RepoError> {
        if unnamed.is_empty() {
            return Ok(());
        }
        let what = format!("reading {} packs that a revoked key had named", unnamed.len());
        self.observer.observe(Event::Step { what });
        let listed = now.list_packs()?;
        let mut good: Vec<IndexedPack> = Vec::new();
        for id in unnamed {
            if self.cancel.is_cancelled() {
                return Err(RepoError::Cancelled);
            }
            let Some(bytes) = listed.get(&id) else { continue };
            match BlockReader::open_pack(now, &id, *bytes) {
                Ok(pack) => good.push(pack),
                Err(error) if error.is_integrity() => report.packs_refused += 1,
                Err(error) => return Err(error),
            }
        }
        report.packs_named = good.len();
        for packs in good.chunks(64) {
            let index = Index { packs: packs.to_vec(), replaces: Vec::new() };
            let _: IndexId = now.put_hashed(&index.seal(now.id, &now.keys, now.entropy.as_ref())?)?;
        }
        Ok(())
    }

    /// Puts the new keys into the slot in use, so that a machine that reads nothing but the slot is not told of the old
    /// epoch alone.
    fn renew_slot(&self, now: &Repository, credential: &Credential) -> Result<(), RepoError> {
        let old = now.key_ring().slots(credential)?.into_iter().find(|slot| slot.current);
        let Some(old) = old else { return Ok(()) };
        let text = old.label.map(|(label, _)| label.text).unwrap_or_default();
        let entropy = now.entropy.as_ref();
        let slot = put_slot(
            now.storage.as_ref(),
            now.id,
            &now.keys,
            credential,
            &text,
            self.request.now_ms,
            entropy,
        )?;
        now.storage.delete(&old.id.key())?;
        now.memory.note_slot(&slot);
        Ok(())
    }
}

impl Counted {
    fn take(&mut self, id: &[u8; 32], is_dropped: bool) {
        if is_dropped {
            self.dropped += 1;
        } else {
            self.ids.push(*id);
        }
    }
}
