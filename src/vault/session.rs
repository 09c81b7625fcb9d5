//! Sessions: how writers and prunes that run at the same time know of each other, without locks.
//!
//! Whoever writes puts a *session object* before it looks at anything else, and a new one every five minutes. A prune
//! that is to delete lists sessions after its plan is there: each writer either has read the plan (its newest object
//! says so) and does not rely on what will go, or the prune sees it and waits. A session that has not been heard of for
//! half an hour is *ended* by the prune, which removes its first object before it looks for snapshots. A writer that
//! was suspended finds that object missing when it is about to commit, and fails. So no safety hangs on clocks, only
//! how long one waits for the other.
//!
//! A session that was ended stays so when its first object is put again: by a request that lingered in the network, or
//! by somebody who saw it. The writer knows when the storage took the one that it put, and goes by no other.

use super::authors::Foreign;
use super::format::plan::{PLAN_BYTES_MAX, Plan};
use super::format::session::{SESSION_BYTES_MAX, SessionKind, SessionState};
use super::format::signed::Opened;
use super::history::{ForeignObject, ms_of};
use super::objects::{ObjectName, fetch, name_in_key};
use super::{RepoError, Repository};
use crate::base::id::{AuthorId, PackId, PlanId, SessionId};
use crate::storage::ErrorKind;
use crossbeam_channel::{RecvTimeoutError, Sender};
use std::collections::BTreeMap;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

/// A session puts a new object so often.
pub const HEARTBEAT: Duration = Duration::from_secs(300);
/// A session not heard of for so long, by the storage's clock, may be ended.
pub const LIVE: Duration = Duration::from_secs(1800);
/// Host and storage may be so far apart.
pub const SKEW_MAX: Duration = Duration::from_secs(300);

/// So many objects of a session are read to find one that counts. Who hides the right ones has to put as many for each
/// session.
const OBJECTS_READ: usize = 1000;
/// So many are read of a session whose first object counts for nothing, or is gone: nobody need have begun it.
const OBJECTS_READ_UNSIGNED: usize = 4;
/// So many names of a session are tried when others have taken them.
const NAMES_TRIED: usize = 1000;
/// So many objects of a session stay besides the first: a listing that takes its time sees one of them.
const OBJECTS_KEPT: usize = 2;

/// What an object of a session says.
enum Said {
    State(SessionState, AuthorId),
    /// It cannot be told, and may be anything: it counts.
    Unknown,
    /// It counts for nothing.
    Nothing,
}

/// Why nothing is taken from a pack that a plan names.
pub(super) const CONDEMNED: &str = "a prune is about to delete it";

/// A session of this process. Dropping it removes its objects, where the storage lets it.
pub struct Session {
    shared: Arc<Shared>,
    registered: SystemTime,
    stop: Option<Sender<()>>,
    heart: Option<JoinHandle<()>>,
}

struct Shared {
    repo: Repository,
    id: SessionId,
    state: Mutex<Spoken>,
}

/// What a session says, and the objects in which it does.
struct Spoken {
    state: SessionState,
    /// The number that was used last.
    number: u64,
    /// Numbers of its objects that may be there, besides the first.
    own: Vec<u64>,
}

/// How it stands with a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its first object is the very one that was put.
    Registered,
    /// Its first object is gone: a prune has ended it.
    Ended,
    /// Its first object has another time than it had: it was ended and somebody put it again, or times were changed.
    OtherTime,
}

/// A session as the storage shows it.
#[derive(Debug, Clone)]
pub struct SeenSession {
    /// Its name.
    pub id: SessionId,
    /// When its first object was put; `None` when it was ended.
    pub started: Option<SystemTime>,
    /// When its newest object was put.
    pub heard: SystemTime,
    /// What the newest object that counts says; `None` when it cannot be read.
    pub state: Option<SessionState>,
    /// Nothing of it counts: nobody who may write wrote it, or it was put again by somebody who saw it.
    pub is_foreign: bool,
    /// A prune of this host has ended it. What is left of it, or was put again, counts for nothing.
    pub was_ended: bool,
    /// All its objects, the first one first.
    keys: Vec<String>,
}

impl SeenSession {
    /// Whether it may still commit anything, at the storage's time `now`.
    pub fn is_live(&self, now: SystemTime) -> bool {
        // A time that lies ahead is a fresh one.
        self.started.is_some()
            && !self.is_foreign
            && now.duration_since(self.heard).unwrap_or_default() < LIVE
    }

    /// What it does, as far as can be told.
    pub fn kind(&self) -> SessionKind {
        self.state.as_ref().map_or(SessionKind::Write, |state| state.kind)
    }

    /// Whether it says that it relies on nothing that `plan` will delete.
    pub fn knows(&self, plan: &PlanId) -> bool {
        self.state.as_ref().is_some_and(|state| state.plans.contains(plan))
    }
}

/// A prune plan as the storage shows it.
#[derive(Debug, Clone)]
pub struct SeenPlan {
    /// Its name.
    pub id: PlanId,
    /// When it was put.
    pub put: SystemTime,
    /// What it says.
    pub plan: Plan,
}

fn key_of(id: &SessionId, number: u64) -> String {
    format!("sessions/{id}-{number}")
}

fn parse_key(key: &str) -> Option<(SessionId, u64)> {
    let (id, number) = key.strip_prefix("sessions/")?.split_once('-')?;
    Some((id.parse().ok()?, number.parse().ok()?))
}

impl Session {
    /// Puts the first object of a new session. To be called before anything is read that the session will rely on.
    ///
    /// # Errors
    /// When the storage fails or a thread cannot be started.
    pub fn register(repo: &Repository, kind: SessionKind) -> Result<Self, RepoError> {
        let mut id = [0; SessionId::LEN];
        repo.entropy.fill(&mut id)?;
        let id = SessionId::from_bytes(id);
        let state = SessionState { kind, plans: Vec::new(), began_ms: None };
        let spoken = Spoken { state: state.clone(), number: 0, own: Vec::new() };
        let shared = Arc::new(Shared { repo: repo.clone(), id, state: Mutex::new(spoken) });
        shared.put(0, &state)?;
        // From here on dropping it removes the object again.
        let mut session = Self { shared, registered: SystemTime::UNIX_EPOCH, stop: None, heart: None };
        session.registered = session.shared.time_of(0)?;
        session.shared.lock().state.began_ms = Some(ms_of(session.registered));
        let (stop, stopped) = crossbeam_channel::bounded::<()>(0);
        let shared = Arc::clone(&session.shared);
        let beat = move || {
            while stopped.recv_timeout(HEARTBEAT) == Err(RecvTimeoutError::Timeout) {
                match shared.standing() {
                    Ok(Standing::Registered) => {}
                    // To show life again would only mislead.
                    Ok(Standing::Ended | Standing::OtherTime) => return,
                    Err(error) => tracing::warn!("{error}"),
                }
                if let Err(error) = shared.change(|_| {}) {
                    tracing::warn!("the session cannot show that it is alive: {error}");
                }
            }
        };
        let heart = std::thread::Builder::new().name("heartbeat".to_owned()).spawn(beat);
        session.heart = Some(heart.map_err(|source| RepoError::Thread { source })?);
        session.stop = Some(stop);
        Ok(session)
    }

    /// Its name.
    pub fn id(&self) -> SessionId {
        self.shared.id
    }

    /// When it was registered, by the storage's clock.
    pub fn registered(&self) -> SystemTime {
        self.registered
    }

    /// How far the host's clock, which shows `now_ms`, is ahead of the storage's; to be asked right after registering.
    pub fn skew_seconds(&self, now_ms: i64) -> i64 {
        let storage_ms = ms_of(self.registered);
        now_ms.saturating_sub(storage_ms) / 1000
    }

    /// Shows life at once, and gives the storage's time.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn beat(&self) -> Result<SystemTime, RepoError> {
        let number = self.shared.change(|_| {})?;
        self.shared.time_of(number)
    }

    /// Says that the session treats the packs of these plans as not there.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn acknowledge(&self, plans: Vec<PlanId>) -> Result<(), RepoError> {
        self.shared.change(|state| state.plans = plans).map(|_| ())
    }

    /// Whether no prune has ended the session.
    ///
    /// # Errors
    /// When the storage cannot tell.
    pub fn is_registered(&self) -> Result<bool, RepoError> {
        Ok(self.standing()? == Standing::Registered)
    }

    /// How it stands with the session.
    ///
    /// # Errors
    /// When the storage cannot tell.
    pub fn standing(&self) -> Result<Standing, RepoError> {
        self.shared.standing()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(heart) = self.heart.take() {
            // Safe to ignore because a heart that panicked has stopped, too.
            let _ = heart.join();
        }
        let spoken = self.shared.lock();
        // The first one last: until then the session counts.
        for number in spoken.own.iter().rev().chain([&0]) {
            if let Err(error) = self.shared.repo.storage.delete(&key_of(&self.shared.id, *number)) {
                tracing::debug!("a session object stays behind: {error}");
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Spoken> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, number: u64, state: &SessionState) -> Result<(), RepoError> {
        let Repository { id, keys, entropy, storage, .. } = &self.repo;
        let bytes = state.seal((self.id, number), *id, keys, entropy.as_ref())?;
        storage.put(&key_of(&self.id, number), &bytes)?;
        Ok(())
    }

    /// Puts a new object with a changed state, and removes older ones. The first stays: it tells whether the session
    /// was ended.
    fn change(&self, change: impl FnOnce(&mut SessionState)) -> Result<u64, RepoError> {
        let mut guard = self.lock();
        let Spoken { state, number, own } = &mut *guard;
        change(state);
        let mut tries = 0;
        loop {
            // Counted up first: a put whose answer was lost may have happened, and its name is used.
            *number += 1;
            match self.put(*number, state) {
                Ok(()) => break,
                // Whoever may put objects may take names.
                Err(RepoError::Storage(error))
                    if error.kind == ErrorKind::Conflict && tries < NAMES_TRIED =>
                {
                    tries += 1;
                }
                Err(error) => {
                    own.push(*number);
                    return Err(error);
                }
            }
        }
        own.push(*number);
        for old in own.drain(..own.len().saturating_sub(OBJECTS_KEPT)) {
            if let Err(error) = self.repo.storage.delete(&key_of(&self.id, old)) {
                tracing::debug!("an old session object stays behind: {error}");
            }
        }
        Ok(*number)
    }

    fn time_of(&self, number: u64) -> Result<SystemTime, RepoError> {
        let key = key_of(&self.id, number);
        let mut found = None;
        self.repo.storage.list("sessions/", &mut |listed| {
            if listed.key == key {
                found = Some(listed.modified);
            }
        })?;
        match found {
            Some(time) => Ok(time),
            None if self.repo.storage.size(&key)?.is_some() => Err(RepoError::ListsLate { object: key }),
            None => {
                let what = "a prune that ends all sessions has ended this one".to_owned();
                Err(RepoError::Overtaken { what })
            }
        }
    }

    fn standing(&self) -> Result<Standing, RepoError> {
        let first = key_of(&self.id, 0);
        let mut listed_at = None;
        self.repo.storage.list("sessions/", &mut |listed| {
            if listed.key == first {
                listed_at = Some(listed.modified);
            }
        })?;
        let began_ms = self.lock().state.began_ms;
        Ok(match listed_at {
            None => Standing::Ended,
            Some(time) if began_ms.is_none_or(|began_ms| is_same_ms(ms_of(time), began_ms)) => {
                Standing::Registered
            }
            Some(_) => Standing::OtherTime,
        })
    }
}

/// Whether both are the time of one object, though a storage may tell only its second in one answer and more in
/// another.
pub fn is_same_time(one: SystemTime, other: SystemTime) -> bool {
    is_same_ms(ms_of(one), ms_of(other))
}

fn is_same_ms(one_ms: i64, other_ms: i64) -> bool {
    const SECOND_MS: i64 = 1_000;
    one_ms == other_ms
        || (one_ms % SECOND_MS == 0 || other_ms % SECOND_MS == 0)
            && one_ms.abs_diff(other_ms) < SECOND_MS.unsigned_abs()
}

impl Repository {
    /// All sessions that the storage shows, live or not.
    ///
    /// # Errors
    /// When the storage fails. A session that cannot be read is in the answer without its state.
    pub fn sessions(&self) -> Result<Vec<SeenSession>, RepoError> {
        let found = self.session_objects()?;
        let mut sessions = Vec::with_capacity(found.len());
        for (id, objects) in found {
            let was_ended = self.memory.was_ended(&id);
            let started = objects.first().filter(|(number, _)| *number == 0 && !was_ended);
            let started = started.map(|(_, time)| *time);
            let Some((_, last)) = objects.last().copied() else { continue };
            let said = self.newest_that_counts(&id, started, &objects)?;
            sessions.push(SeenSession {
                id,
                started,
                heard: said.as_ref().map_or(last, |(heard, _)| *heard),
                is_foreign: said.is_none(),
                was_ended,
                state: said.and_then(|(_, state)| state),
                keys: objects.iter().map(|(number, _)| key_of(&id, *number)).collect(),
            });
        }
        Ok(sessions)
    }

    /// Numbers and times of the objects of each session, the lowest number first.
    fn session_objects(&self) -> Result<BTreeMap<SessionId, Vec<(u64, SystemTime)>>, RepoError> {
        let mut found: BTreeMap<SessionId, Vec<(u64, SystemTime)>> = BTreeMap::new();
        self.storage.list("sessions/", &mut |listed| {
            if let Some((id, number)) = parse_key(&listed.key) {
                found.entry(id).or_default().push((number, listed.modified));
            }
        })?;
        found.values_mut().for_each(|objects| objects.sort_unstable());
        Ok(found)
    }

    /// The newest object of a session that counts: when it was put, and what it says, if that can be told. `None` where
    /// none counts.
    fn newest_that_counts(
        &self,
        id: &SessionId,
        started: Option<SystemTime>,
        objects: &[(u64, SystemTime)],
    ) -> Result<Option<(SystemTime, Option<SessionState>)>, RepoError> {
        let first = objects.first().filter(|(number, _)| *number == 0);
        let began_by = match first.map(|_| self.said_in(id, 0)).transpose()? {
            Some(Said::State(_, author)) => Some(author),
            _ => None,
        };
        // Whoever can put objects may put junk with higher numbers: it must not make a session seem silent.
        let reads = if began_by.is_some() { OBJECTS_READ } else { OBJECTS_READ_UNSIGNED };
        let newest = objects.iter().rev().filter(|(number, _)| *number > 0).take(reads);
        for (number, put) in newest.chain(first) {
            match self.said_in(id, *number)? {
                Said::Nothing => {}
                Said::Unknown => return Ok(Some((*put, None))),
                Said::State(state, author) => {
                    let fits = |began: SystemTime| {
                        let apart = ms_of(began).abs_diff(state.began_ms.unwrap_or(i64::MIN));
                        u128::from(apart) <= SKEW_MAX.as_millis()
                    };
                    // That it knows a plan nobody else may say for it.
                    let is_its_own = began_by.is_none_or(|own| own == author);
                    if *number == 0 || is_its_own && started.is_none_or(fits) {
                        return Ok(Some((*put, Some(state))));
                    }
                }
            }
        }
        Ok(None)
    }

    fn said_in(&self, id: &SessionId, number: u64) -> Result<Said, RepoError> {
        let bytes = match self.storage.get(&key_of(id, number), SESSION_BYTES_MAX) {
            // Gone since it was listed.
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(Said::Unknown),
            outcome => outcome?,
        };
        match SessionState::open(&bytes, (*id, number), &self.id, &self.keys) {
            Ok(Opened { content: state, claim }) => match self.authors.judge_session(state.kind, &claim) {
                Ok(by) => Ok(Said::State(state, by.author)),
                Err(why) => {
                    tracing::debug!("session {}: {why}", id.short());
                    Ok(Said::Nothing)
                }
            },
            Err(error)
                if error.is_newer() && self.authors.is_newer_by_full(&bytes, Some((*id, number)), None) =>
            {
                tracing::warn!("session {}: {error}", id.short());
                Ok(Said::Unknown)
            }
            Err(error) => {
                tracing::debug!("session {}: {error}", id.short());
                Ok(Said::Nothing)
            }
        }
    }

    /// Ends a session: from now on it cannot commit. Its first object goes first.
    pub(super) fn end_session(&self, session: &SeenSession) -> Result<(), RepoError> {
        for (at, key) in session.keys.iter().enumerate() {
            self.storage.delete(key)?;
            if at == 0 {
                // Not before: until then it can commit, and nobody may take it for one that cannot.
                self.memory.note_ended(&session.id);
            }
        }
        Ok(())
    }

    /// All prune plans, and the reasons why others cannot be read. What cannot be read condemns nothing, and no session
    /// says that it knows it, so that whoever can read it waits.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn plans(&self) -> Result<(Vec<SeenPlan>, Vec<RepoError>), RepoError> {
        let Plans { seen, unreadable, .. } = self.read_plans()?;
        Ok((seen, unreadable))
    }

    /// Prune plans that count for nothing, and why.
    ///
    /// # Errors
    /// When the storage fails.
    pub(super) fn foreign_plans(&self) -> Result<Vec<ForeignObject>, RepoError> {
        Ok(self.read_plans()?.foreign)
    }

    fn read_plans(&self) -> Result<Plans, RepoError> {
        let mut names = Vec::new();
        self.storage.list("gc/", &mut |listed| {
            names.extend(name_in_key::<PlanId>(&listed.key).map(|id| (id, listed.modified)));
        })?;
        names.sort();
        let mut plans = Plans::default();
        for (id, put) in names {
            let bytes = match fetch(self.storage.as_ref(), &id, PLAN_BYTES_MAX) {
                Ok(bytes) => bytes,
                // Carried out and removed since the listing.
                Err(RepoError::Missing { .. }) => continue,
                Err(error) if error.is_integrity() => {
                    plans.unreadable.push(error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let why = match Plan::open(&bytes, &self.id, &self.keys) {
                Ok(Opened { content: plan, claim }) => match self.authors.judge(&claim, None, false) {
                    Ok(by) if by.is_full() => {
                        plans.seen.push(SeenPlan { id, put, plan });
                        continue;
                    }
                    Ok(_) => Foreign::NotAllowed("plan what is deleted"),
                    Err(why) => why,
                },
                Err(source)
                    if source.is_newer()
                        && self.authors.is_newer_by_full(&bytes, None, Some(id.as_bytes())) =>
                {
                    plans.unreadable.push(RepoError::Damaged { object: id.key(), source });
                    continue;
                }
                Err(source) if source.is_newer() => Foreign::Newer,
                Err(_) => Foreign::Unreadable,
            };
            tracing::debug!("prune plan {}: {why}", id.short());
            plans.foreign.push(ForeignObject { object: id.key(), why, head: None });
        }
        Ok(plans)
    }
}

/// What there is of prune plans.
#[derive(Default)]
struct Plans {
    seen: Vec<SeenPlan>,
    unreadable: Vec<RepoError>,
    foreign: Vec<ForeignObject>,
}

/// The packs that `plans` condemn.
pub(super) fn condemned(plans: &[SeenPlan]) -> HashSet<PackId> {
    plans.iter().flat_map(|seen| seen.plan.packs.iter().copied()).collect()
}
