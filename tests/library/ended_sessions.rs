//! Sessions that a prune ended: they stay so, whatever is put again under their names. And those that nobody may end by
//! what he puts: junk in their place, or names that are taken.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use crate::support::forger::Forger;
use crate::support::small::{self, HandClock, Kept};
use dumpvault::base::event::{Cancel, Silent};
use dumpvault::base::fault::Fault;
use dumpvault::base::id::{PlanId, SessionId};
use dumpvault::base::secret::OsEntropy;
use dumpvault::engine::doctor::{Status, storage as examine};
use dumpvault::storage::faulty::{Faulty, Operation};
use dumpvault::storage::memory::MemoryStorage;
use dumpvault::storage::{Listed, Storage, StorageError};
use dumpvault::vault::crypto::Role;
use dumpvault::vault::format::session::{SessionKind, SessionState};
use dumpvault::vault::gc::{PruneReport, PruneSettings};
use dumpvault::vault::session::Session;
use dumpvault::vault::writer::{BackupSession, StoredStream};
use dumpvault::vault::{NewKey, RepoError, Repository};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, SystemTime};

/// A repository with one snapshot, and a pack that nothing needs any more.
struct World {
    storage: MemoryStorage,
    clock: Arc<HandClock>,
    _cache: tempfile::TempDir,
    repo: Repository,
    kept: Kept,
    garbage: Vec<u8>,
}

impl World {
    fn new() -> Self {
        let clock = HandClock::new();
        let (storage, cache) = (small::memory(&clock), small::scratch());
        let repo = small::init(storage.clone(), cache.path()).unwrap();
        let garbage = small::noise(1, 60_000);
        let forgotten = small::backup(&repo, 1, &garbage, None).unwrap();
        let kept = small::backup(&repo, 2, &small::noise(2, 60_000), None).unwrap();
        repo.forget(&[forgotten.id]).unwrap();
        clock.advance_minutes(600);
        Self { storage, clock, _cache: cache, repo, kept, garbage }
    }

    /// The same repository on a host that remembers nothing.
    fn elsewhere(&self, storage: impl Storage + 'static) -> (Repository, tempfile::TempDir) {
        let cache = small::scratch();
        (small::open(storage, cache.path()).unwrap(), cache)
    }

    /// The host with an append key that somebody broke into.
    fn forger(&self) -> Forger {
        let credential = small::another_credential(8);
        let web = NewKey {
            role: Role::Append,
            name: "web",
            hosts: vec!["web".to_owned()],
            series: None,
            share: false,
        };
        self.repo.key_ring().add(&credential, &web, 0).unwrap();
        Forger::with(&self.storage, &credential, Arc::new(OsEntropy))
    }

    /// A backup that relies on the packs that nothing else needs.
    fn under_way(&self, repo: &Repository) -> (BackupSession, StoredStream) {
        let mut session = small::begin(repo).unwrap();
        let stored = small::store(&mut session, &self.garbage, None).unwrap();
        (session, stored)
    }

    fn ending(&self) -> PruneSettings {
        PruneSettings { grace: Duration::ZERO, end_sessions: true, ..PruneSettings::new(self.clock.now_ms()) }
    }

    fn first_objects(&self) -> Vec<(String, Vec<u8>)> {
        let keys = small::keys(&self.storage, "sessions/").into_iter().filter(|key| key.ends_with("-0"));
        keys.map(|key| (key.clone(), self.storage.get(&key, u64::MAX).unwrap())).collect()
    }

    /// What is listed restores bit for bit, on a host that knows nothing.
    fn assert_whole(&self) {
        let (fresh, _cache) = self.elsewhere(self.storage.clone());
        for id in small::listed(&fresh).unwrap() {
            let bytes = small::restore(&fresh, &id).unwrap();
            let wanted = if id == self.kept.id { &self.kept.bytes[..] } else { &self.garbage };
            assert!(bytes == wanted, "{id}");
        }
    }
}

fn prune(repo: &Repository, settings: &PruneSettings) -> Result<PruneReport, RepoError> {
    repo.prune(settings, &Silent, &Cancel::new())
}

/// Its first object is put again after it was ended, and it commits right before the prune deletes the first pack.
#[test]
fn given_an_ended_session_whose_first_object_is_put_again_then_its_backup_fails_and_nothing_is_lost() {
    let world = World::new();
    let (host, _cache) = world.elsewhere(world.storage.clone());
    let (session, stored) = world.under_way(&host);
    let first = world.first_objects().remove(0);
    world.clock.advance_minutes(1);
    // The prune stops before its first deletion of a pack until it is told to go on.
    let (reached, is_reached) = mpsc::channel();
    let (go_on, goes_on) = mpsc::channel::<()>();
    let faulty = Faulty::new(world.storage.clone(), 0);
    let meeting = Mutex::new(Some((reached, goes_on)));
    faulty.set_hook(move |call| {
        if matches!(call.operation, Operation::Delete) && call.key.starts_with("packs/") {
            let meeting = meeting.lock().unwrap().take();
            if let Some((reached, goes_on)) = meeting {
                reached.send(()).unwrap();
                goes_on.recv().unwrap();
            }
        }
        None
    });
    let (pruner, _other) = world.elsewhere(faulty);
    let settings = world.ending();
    let pruning = std::thread::spawn(move || prune(&pruner, &settings));
    is_reached.recv().unwrap();
    world.storage.put(&first.0, &first.1).unwrap();
    let outcome = small::commit(session, stored, 3).map(|_| ());
    go_on.send(()).unwrap();
    let report = pruning.join().unwrap().unwrap();
    assert!(report.packs_deleted > 0, "{report:?}");
    assert!(matches!(outcome, Err(RepoError::Fenced { .. })), "{outcome:?}");
    world.assert_whole();
}

#[test]
fn given_an_ended_session_that_is_put_again_then_the_host_that_ended_it_does_not_wait_and_removes_it() {
    let world = World::new();
    let (host, _cache) = world.elsewhere(world.storage.clone());
    let (session, stored) = world.under_way(&host);
    let objects = world.first_objects();
    prune(&world.repo, &world.ending()).unwrap();
    for (key, bytes) in &objects {
        world.storage.put(key, bytes).unwrap();
    }
    let seen = world.repo.sessions().unwrap();
    assert!(seen.len() == 1 && seen[0].was_ended && seen[0].started.is_none(), "{seen:?}");
    let at_once = PruneSettings { end_sessions: false, ..world.ending() };
    prune(&world.repo, &at_once).unwrap();
    assert!(world.first_objects().is_empty(), "{:?}", small::keys(&world.storage, "sessions/"));
    drop((session, stored));
    world.assert_whole();
}

#[test]
fn given_a_session_of_another_author_then_nobody_says_for_it_that_it_knows_a_plan() {
    let world = World::new();
    let forger = world.forger();
    // Opened later, so that the forger's author is known.
    let (host, _cache) = world.elsewhere(world.storage.clone());
    let session = Session::register(&host, SessionKind::Write).unwrap();
    let plan = PlanId::from_bytes([7; 32]);
    let says = |keys: &dumpvault::vault::crypto::KeyBundle| {
        let state = SessionState {
            kind: SessionKind::Write,
            plans: vec![plan],
            began_ms: Some(world.clock.now_ms()),
        };
        let bytes = state.seal((session.id(), 1_000_000), forger.repo, keys, &OsEntropy).unwrap();
        world.storage.put(&format!("sessions/{}-1000000", session.id()), &bytes).unwrap();
        let seen = host.sessions().unwrap();
        world.storage.delete(&format!("sessions/{}-1000000", session.id())).unwrap();
        (seen[0].knows(&plan), seen[0].is_foreign)
    };
    assert_eq!(says(&forger.keys), (false, false));
    let owner = Forger::with(&world.storage, &small::credential(), Arc::new(OsEntropy));
    assert_eq!(says(&owner.keys), (true, false));
}

/// Junk, and objects that another author signed: each with a number that the session never used.
fn put_junk(world: &World, forger: &Forger, session: &SessionId, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let (key, signed) = forger.session(SessionKind::Write, *session, number, Some(world.clock.now_ms()));
        let bytes = if number % 2 == 0 { small::noise(number, 300) } else { signed };
        world.storage.put(&key, &bytes).unwrap();
    }
}

#[test]
fn given_junk_with_higher_numbers_then_a_session_is_heard_all_the_same_and_its_backup_commits() {
    let world = World::new();
    let forger = world.forger();
    let (host, _cache) = world.elsewhere(world.storage.clone());
    let (session, stored) = world.under_way(&host);
    world.clock.advance_minutes(25);
    session.show_life().unwrap();
    let id = host.sessions().unwrap()[0].id;
    let heard = host.sessions().unwrap()[0].heard;
    put_junk(&world, &forger, &id, 1_000_000..1_000_050);
    put_junk(&world, &forger, &id, u64::MAX - 5..u64::MAX);
    world.clock.advance_minutes(20);

    let seen = host.sessions().unwrap().remove(0);
    assert_eq!((seen.heard, seen.is_foreign), (heard, false), "{seen:?}");
    let at_once = PruneSettings { end_sessions: false, ..world.ending() };
    let refused = prune(&world.repo, &at_once);
    assert!(matches!(refused, Err(RepoError::Busy { .. })), "{refused:?}");
    small::commit(session, stored, 3).unwrap();
    world.assert_whole();
}

#[test]
fn given_names_of_a_session_that_others_took_then_it_uses_the_next_and_leaves_nothing_of_its_own() {
    let world = World::new();
    let forger = world.forger();
    let (host, _cache) = world.elsewhere(world.storage.clone());
    let session = Session::register(&host, SessionKind::Write).unwrap();
    put_junk(&world, &forger, &session.id(), 1..40);
    world.clock.advance_minutes(20);
    session.acknowledge(vec![PlanId::from_bytes([7; 32])]).unwrap();
    let now = session.beat().unwrap();
    let seen = host.sessions().unwrap().remove(0);
    assert!(seen.knows(&PlanId::from_bytes([7; 32])) && seen.heard == now, "{seen:?}");
    session.beat().unwrap();
    let name = |number: u64| format!("sessions/{}-{number}", session.id());
    let own = |storage: &MemoryStorage| {
        let keys = small::keys(storage, "sessions/").into_iter();
        keys.filter(|key| !(1..40).any(|number| *key == name(number))).collect::<Vec<_>>()
    };
    assert_eq!(own(&world.storage).len(), 3, "{:?}", own(&world.storage));
    let left = {
        let id = session.id();
        drop(session);
        small::keys(&world.storage, "sessions/")
            .into_iter()
            .filter(|key| key.contains(&id.to_string()))
            .count()
    };
    assert_eq!(left, 39);
}

/// A storage whose listings tell times that are `shift_s` later, by `step_s` more with each listing.
#[derive(Debug)]
struct Shifted {
    inner: MemoryStorage,
    shift_s: Arc<AtomicU64>,
    step_s: u64,
}

impl Storage for Shifted {
    dumpvault::passes_on!(put, get, get_range, size, delete, location);

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Listed)) -> Result<(), StorageError> {
        let shift = Duration::from_secs(self.shift_s.fetch_add(self.step_s, Ordering::SeqCst));
        let later = |time: SystemTime| time + shift;
        self.inner.list(prefix, &mut |listed| each(Listed { modified: later(listed.modified), ..listed }))
    }
}

#[test]
fn given_times_that_something_changed_then_a_backup_fails_and_the_hint_tells_of_that_cause_too() {
    let world = World::new();
    let shift_s = Arc::new(AtomicU64::new(0));
    let shifted = Shifted { inner: world.storage.clone(), shift_s: Arc::clone(&shift_s), step_s: 0 };
    let (host, _cache) = world.elsewhere(shifted);
    let (session, stored) = world.under_way(&host);
    shift_s.store(60, Ordering::SeqCst);
    let error = small::commit(session, stored, 3).map(|_| ()).unwrap_err();
    assert!(matches!(&error, RepoError::Fenced { why } if why.contains("another time")), "{error}");
    let next = error.next().unwrap().to_string();
    assert!(next.contains("suspended") && next.contains("`touch`") && next.contains("doctor"), "{next}");
    world.assert_whole();
}

#[test]
fn given_a_storage_that_tells_another_time_with_each_listing_then_doctor_says_so() {
    for (step_s, wanted) in [(0, Status::Good), (2, Status::Error)] {
        let world = World::new();
        let shifted = Shifted { inner: world.storage.clone(), shift_s: Arc::default(), step_s };
        let before = small::keys(&world.storage, "");
        let findings = examine(&shifted, None, world.clock.as_ref(), &OsEntropy);
        let times = findings.iter().find(|finding| finding.name == "times in listings").unwrap();
        assert_eq!(times.status, wanted, "{findings:?}");
        assert_eq!(small::keys(&world.storage, ""), before);
    }
}
