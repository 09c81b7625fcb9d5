//! A crash after every single step of every operation: the operation's puts and deletes are counted, then it is run
//! again for each of them over a storage that is gone after that many. What lies beneath is opened with the catalog
//! that the crash left, with one of before and with none, and has to hold. Snapshots that were acknowledged are listed
//! and restore bit for bit, nothing half is listed, the operation can be run again, and then nothing is damaged.
//!
//! The contract of a storage makes a put durable before it returns, so that there is no step in which something is
//! written and not yet safe; that `storage::local` keeps the contract is tested there.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use crate::support::small;
use crate::support::small::{HandClock, Kept};
use dumpvault::base::calendar::Calendar;
use dumpvault::base::event::{Cancel, Silent};
use dumpvault::base::id::PackId;
use dumpvault::content::codec::Level;
use dumpvault::engine::copy::{CopyRequest, Fate};
use dumpvault::engine::{self, OpError};
use dumpvault::storage::ErrorKind;
use dumpvault::storage::Storage;
use dumpvault::storage::faulty::{Fault, Faulty, Operation};
use dumpvault::storage::memory::MemoryStorage;
use dumpvault::vault::crypto::Role;
use dumpvault::vault::format::mark::MarkKind;
use dumpvault::vault::gc::{PruneReport, PruneSettings};
use dumpvault::vault::reader::ReadSettings;
use dumpvault::vault::{RepoError, Repository};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const DAY: i64 = 24 * 60;

/// A repository before the operation, the catalog of the host that will run it, and what must outlive it.
struct Scene {
    clock: Arc<HandClock>,
    storage: MemoryStorage,
    cache: tempfile::TempDir,
    kept: Vec<Kept>,
    /// Snapshots that may be there or not afterwards: the operation removes them.
    leaving: Vec<Kept>,
}

impl Scene {
    fn empty() -> Self {
        let clock = HandClock::new();
        let storage = small::memory(&clock);
        Self { clock, storage, cache: small::scratch(), kept: Vec::new(), leaving: Vec::new() }
    }

    fn new() -> Self {
        let scene = Self::empty();
        small::init(scene.storage.clone(), scene.cache.path()).unwrap();
        scene
    }

    fn open(&self) -> Repository {
        small::open(self.storage.clone(), self.cache.path()).unwrap()
    }

    fn backup(&mut self, bytes: &[u8], on: Option<usize>) -> usize {
        let parent = on.map(|at| self.kept[at].stream.clone());
        let kept = small::backup(&self.open(), self.kept.len() as u64, bytes, parent.as_ref()).unwrap();
        self.kept.push(kept);
        self.kept.len() - 1
    }

    /// Runs `operation` to its end once, to count its steps, and then up to each of them.
    fn crash_at_every_step<T>(&self, steps_min: u64, operation: impl Fn(&Repository, &World) -> Outcome<T>) {
        let world = self.world();
        let whole = Faulty::new(world.storage.clone(), 0);
        let repo = small::open(whole.clone(), world.cache.path()).unwrap();
        operation(&repo, &world).unwrap();
        drop(repo);
        let steps = whole.mutations();
        assert!(steps >= steps_min, "only {steps} steps");
        let mut failed = 0;
        for step in 0..=steps {
            let world = self.world();
            let faulty = Faulty::new(world.storage.clone(), step);
            let repo = small::open(faulty.clone(), world.cache.path()).unwrap();
            faulty.stop_after(step);
            let outcome = operation(&repo, &world);
            drop(repo);
            failed += u32::from(outcome.is_err());
            let acknowledged = outcome.ok().and_then(|(_, kept)| kept);
            world.survived(self, acknowledged, step, &operation);
        }
        assert!(failed > 0, "no step was one that the operation needs");
    }

    fn world(&self) -> World {
        let cache = small::scratch();
        small::copy_folder(self.cache.path(), cache.path());
        let storage = small::copy_of(&self.storage, &self.clock);
        // The copies are as old as the originals may be.
        self.clock.advance_minutes(10 * DAY);
        World { clock: Arc::clone(&self.clock), storage, cache }
    }
}

/// What an operation gives, and the snapshot that it acknowledged, if it makes one.
type Outcome<T> = Result<(T, Option<Kept>), RepoError>;

/// One copy of the scene's repository, in which a crash happens.
struct World {
    clock: Arc<HandClock>,
    storage: MemoryStorage,
    cache: tempfile::TempDir,
}

impl World {
    fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    fn prune(&self, repo: &Repository, grace: Duration) -> Result<PruneReport, RepoError> {
        let settings = PruneSettings { grace, ..PruneSettings::new(self.now_ms()) };
        repo.prune(&settings, &Silent, &Cancel::new())
    }

    fn survived<T>(
        &self,
        scene: &Scene,
        acknowledged: Option<Kept>,
        step: u64,
        operation: &impl Fn(&Repository, &World) -> Outcome<T>,
    ) {
        let mut kept = scene.kept.clone();
        kept.extend(acknowledged);
        let (older, fresh) = (small::scratch(), small::scratch());
        small::copy_folder(scene.cache.path(), older.path());
        let catalogs = [("the crash's", self.cache.path()), ("an older", older.path()), ("no", fresh.path())];
        for (whose, cache) in catalogs {
            self.holds(&kept, &scene.leaving, cache, &format!("step {step}, {whose} catalog"));
        }
        // Sessions that the crash left behind are not waited for after half an hour.
        self.clock.advance_minutes(31);
        let repo = small::open(self.storage.clone(), self.cache.path()).unwrap();
        let (_, again) =
            operation(&repo, self).unwrap_or_else(|error| panic!("step {step}, run again: {error}"));
        kept.extend(again);
        let fresh = small::scratch();
        for cache in [self.cache.path(), fresh.path()] {
            self.holds(&kept, &[], cache, &format!("step {step}, run again"));
            let repo = small::open(self.storage.clone(), cache).unwrap();
            let report = small::check(&repo).unwrap();
            assert!(report.is_clean(), "step {step}: {report:?}");
        }
    }

    fn holds(&self, kept: &[Kept], leaving: &[Kept], cache: &Path, what: &str) {
        let repo = small::open(self.storage.clone(), cache).unwrap();
        let listed = small::listed(&repo).unwrap_or_else(|error| panic!("{what}: {error}"));
        for one in kept {
            assert!(listed.contains(&one.id), "{what}: snapshot {} is lost", one.id);
        }
        for id in &listed {
            let known = kept.iter().chain(leaving).find(|one| one.id == *id);
            let bytes = small::restore(&repo, id).unwrap_or_else(|error| panic!("{what}: {id}: {error}"));
            // One that is listed and was not acknowledged: its backup was cut off behind the last step. `read_stream`
            // has compared the bytes with the digest.
            assert!(known.is_none_or(|one| *one.bytes == *bytes), "{what}: {id} came back otherwise");
            assert!(known.is_some() || !bytes.is_empty());
        }
    }
}

/// Three days of a table, each resting on the one before, and bytes of their own.
fn three_days() -> Scene {
    let mut scene = Scene::new();
    let first = scene.backup(&[small::table(300, 1), small::noise(1, 9000)].concat(), None);
    let second = scene.backup(&[small::table(300, 2), small::noise(2, 9000)].concat(), Some(first));
    scene.backup(&[small::table(300, 3), small::noise(3, 9000)].concat(), Some(second));
    scene
}

/// The first two of three days forgotten: packs that are dead, mostly dead, and live.
fn worn() -> Scene {
    let mut scene = three_days();
    let dead = scene.backup(&small::noise(9, 30_000), None);
    scene.backup(&[small::noise(9, 4000), small::noise(10, 500)].concat(), None);
    let repo = scene.open();
    for at in [dead, 1, 0] {
        let gone = scene.kept.remove(at);
        repo.forget(&[gone.id]).unwrap();
    }
    scene.clock.advance_minutes(3 * DAY);
    scene
}

#[test]
fn init() {
    for step in 0..4 {
        let scene = Scene::empty();
        let faulty = Faulty::new(scene.storage.clone(), 0);
        faulty.stop_after(step);
        let made = small::init(faulty.clone(), scene.cache.path());
        // The last step makes it exist: whether its maker heard so is another matter.
        let exists = scene.storage.size("config").unwrap().is_some();
        assert_eq!((exists, made.is_ok()), (step == 3, step == 3), "step {step}");
        let again = small::init(scene.storage.clone(), scene.cache.path());
        match again {
            Err(RepoError::AlreadyExists { .. }) => assert!(exists),
            again => drop(again.unwrap_or_else(|error| panic!("step {step}: {error}"))),
        }
        let repo = small::open(scene.storage.clone(), scene.cache.path()).unwrap();
        let kept = small::backup(&repo, 1, &small::noise(1, 5000), None).unwrap();
        assert!(small::restore(&repo, &kept.id).unwrap() == small::noise(1, 5000));
        assert!(small::check(&repo).unwrap().is_clean(), "step {step}");
    }
}

#[test]
fn the_first_backup() {
    Scene::new().crash_at_every_step(6, |repo, _| {
        let kept = small::backup(repo, 1, &[small::table(200, 1), small::noise(1, 9000)].concat(), None)?;
        Ok(((), Some(kept)))
    });
}

#[test]
fn a_backup_that_copies_from_its_parent() {
    let scene = three_days();
    let parent = scene.kept[2].stream.clone();
    scene.crash_at_every_step(6, |repo, _| {
        let bytes = [small::table(300, 4), small::noise(4, 9000)].concat();
        let kept = small::backup(repo, 4, &bytes, Some(&parent))?;
        Ok((assert!(kept.stream.stats.bytes_copied > 0), Some(kept)))
    });
}

#[test]
fn a_backup_that_finds_everything() {
    let scene = three_days();
    let bytes = scene.kept[2].bytes.clone();
    scene.crash_at_every_step(4, |repo, _| Ok(((), Some(small::backup(repo, 4, &bytes, None)?))));
}

/// Copies everything that `from` holds, whose snapshots are `originals`; what is acknowledged is there, whatever
/// happens later.
fn copy(from: &Repository, originals: &[Kept], to: &Repository, world: &World) -> Outcome<()> {
    let request = CopyRequest {
        names: Vec::new(),
        any_host: false,
        series: Vec::new(),
        series_must_be: true,
        host: None,
        tags: Vec::new(),
        since: None,
        calendar: Calendar::default(),
        level: Level::DEFAULT,
        recompress: false,
        workers: 1,
        read: ReadSettings { workers: 1, ..ReadSettings::local(1) },
        by: "test".into(),
        dry_run: false,
    };
    let report = engine::copy::copy(from, to, world.clock.as_ref(), &request, &Silent, &Cancel::new());
    let report = report.map_err(repo_error)?;
    let copies = report.snapshots.iter().filter_map(|copied| match &copied.fate {
        Fate::Copied(committed) => {
            let original = originals.iter().find(|one| one.id == copied.summary.id).unwrap();
            Some(Kept::new(committed, &original.bytes))
        }
        _ => None,
    });
    let copies: Vec<Kept> = copies.collect();
    world.holds(&copies, &[], small::scratch().path(), "acknowledged copies");
    match report.stopped {
        Some(error) => Err(repo_error(error)),
        None => Ok(((), copies.into_iter().next_back())),
    }
}

fn repo_error(error: OpError) -> RepoError {
    match error {
        OpError::Repo(error) => error,
        OpError::NotCopied { source, .. } => repo_error(*source),
        other => panic!("{other}"),
    }
}

#[test]
fn a_copy_of_three_days_as_bytes() {
    let source = three_days();
    let from = source.open();
    // They are committed together.
    Scene::new().crash_at_every_step(12, |to, world| copy(&from, &source.kept, to, world));
}

#[test]
fn a_copy_of_three_days_block_by_block() {
    let source = three_days();
    let from = source.open();
    let scene = Scene::empty();
    let storage = Arc::new(scene.storage.clone());
    let around = small::surroundings(scene.cache.path());
    from.init_alike(storage, &small::credential(), "", 0, &around).unwrap();
    // They are committed together.
    scene.crash_at_every_step(10, |to, world| {
        assert!(from.is_alike(to));
        copy(&from, &source.kept, to, world)
    });
}

#[test]
fn forget() {
    let mut scene = three_days();
    scene.leaving = scene.kept.drain(..2).collect();
    let repo = scene.open();
    // Marks that supersede others go after them.
    for tags in ["a", "b"] {
        let id = &scene.leaving[0].id;
        repo.marks().mark_snapshot(id, MarkKind::Tags, Some(Some(tags.to_owned())), "test", 0).unwrap();
    }
    repo.marks().mark_snapshot(&scene.leaving[1].id, MarkKind::Pinned, Some(None), "test", 0).unwrap();
    let ids: Vec<_> = scene.leaving.iter().map(|one| one.id).collect();
    scene.crash_at_every_step(7, |repo, _| Ok((repo.forget(&ids)?, None)));
}

#[test]
fn prune_at_once() {
    worn().crash_at_every_step(12, |repo, world| {
        let report = world.prune(repo, Duration::ZERO)?;
        Ok((assert_eq!(report.lost_chunks, 0), None))
    });
}

#[test]
fn prune_that_plans() {
    worn().crash_at_every_step(6, |repo, world| Ok((world.prune(repo, Duration::from_secs(86_400))?, None)));
}

#[test]
fn prune_that_carries_out_a_plan_and_rescues() {
    let mut scene = worn();
    let garbage = small::noise(9, 30_000);
    let repo = scene.open();
    // A backup that relies on what the plan condemns commits after the plan.
    let mut session = small::begin(&repo).unwrap();
    let stored = small::store(&mut session, &garbage, None).unwrap();
    let settings = PruneSettings::new(scene.clock.now_ms());
    assert!(!repo.prune(&settings, &Silent, &Cancel::new()).unwrap().condemned.is_empty());
    let committed = small::commit(session, stored, 9).unwrap();
    scene.kept.push(Kept::new(&committed, &garbage));
    let grace = Duration::from_secs(86_400);
    let world = scene.world();
    let repo = small::open(world.storage.clone(), world.cache.path()).unwrap();
    assert!(world.prune(&repo, grace).unwrap().chunks_rescued > 0);
    scene.crash_at_every_step(9, |repo, world| Ok((world.prune(repo, grace)?, None)));
}

#[test]
fn keys_added_changed_and_removed() {
    let scene = three_days();
    scene.crash_at_every_step(4, |repo, world| {
        let other = small::another_credential(8);
        let slot = repo.key_ring().add_for_all(&other, Role::Full, "other", world.now_ms())?;
        // There and back again: the old credential opens it at every step.
        let third = small::another_credential(9);
        repo.key_ring().change_credential(&other, &third, world.now_ms())?;
        let slots = repo.key_ring().slots(&third)?;
        let last = slots.iter().find(|info| info.current).unwrap().id;
        assert_ne!(last, slot);
        Ok((repo.key_ring().remove(&last, &third, true)?, None))
    });
}

#[test]
fn the_only_key_changed() {
    let scene = three_days();
    let (old, new) = (small::credential(), small::another_credential(8));
    let steps = {
        let faulty = Faulty::new(scene.world().storage, 0);
        let repo = small::open(faulty.clone(), scene.cache.path()).unwrap();
        repo.key_ring().change_credential(&old, &new, 0).unwrap();
        faulty.mutations()
    };
    for step in 0..=steps {
        let world = scene.world();
        let faulty = Faulty::new(world.storage.clone(), 0);
        let repo = small::open(faulty.clone(), world.cache.path()).unwrap();
        faulty.stop_after(step);
        let outcome = repo.key_ring().change_credential(&old, &new, 0);
        let opens = |credential| {
            let around = small::surroundings(world.cache.path());
            Repository::open(Arc::new(world.storage.clone()), credential, &around).is_ok()
        };
        assert!(opens(&old) || opens(&new), "step {step}: nobody can open it any more");
        assert!(outcome.is_err() || opens(&new) && !opens(&old), "step {step}");
    }
}

#[test]
fn repair_index() {
    let scene = three_days();
    for key in small::keys(&scene.storage, "index/").iter().take(1) {
        scene.storage.delete(key).unwrap();
    }
    scene.crash_at_every_step(5, |repo, world| {
        let repair = repo.repairer().repair_index(world.now_ms(), &Silent, &Cancel::new())?;
        Ok((assert!(repair.unexplained.is_empty() && repair.missing.is_empty(), "{repair:?}"), None))
    });
}

/// A pack of data of which one block does not open.
fn broken_pack(scene: &Scene) -> PackId {
    let packs = small::keys(&scene.storage, "packs/");
    let key = packs.iter().max_by_key(|key| {
        let bytes = scene.storage.get(key, u64::MAX).unwrap();
        bytes.iter().rev().skip(24).skip_while(|byte| **byte == 0).count()
    });
    let key = key.unwrap();
    assert!(scene.storage.tamper(key, |bytes| bytes[2000] ^= 1));
    key.rsplit('/').next().unwrap().parse().unwrap()
}

#[test]
fn a_backup_that_heals_a_damaged_pack() {
    let mut scene = Scene::new();
    let bytes = small::noise(1, 60_000);
    scene.backup(&bytes, None);
    let broken = broken_pack(&scene);
    scene.open().marks().mark_damaged(&broken, "flipped", "test", 0).unwrap();
    // Not whole before, so that there is nothing to hold it to; afterwards it is.
    let before = scene.kept.remove(0);
    scene.leaving.push(before.clone());
    let world = scene.world();
    let whole = Faulty::new(world.storage.clone(), 0);
    let repo = small::open(whole.clone(), world.cache.path()).unwrap();
    small::backup(&repo, 2, &bytes, None).unwrap();
    for step in 0..=whole.mutations() {
        let world = scene.world();
        let faulty = Faulty::new(world.storage.clone(), 0);
        let repo = small::open(faulty.clone(), world.cache.path()).unwrap();
        faulty.stop_after(step);
        let outcome = small::backup(&repo, 2, &bytes, None);
        drop(repo);
        let repo = small::open(world.storage.clone(), world.cache.path()).unwrap();
        if let Ok(kept) = &outcome {
            assert!(small::restore(&repo, &kept.id).unwrap() == bytes, "step {step}");
        }
        assert!(small::restore(&repo, &before.id).map_or(true, |restored| restored == bytes));
        let again = small::backup(&repo, 3, &bytes, None).unwrap();
        for id in [again.id, before.id] {
            assert!(small::restore(&repo, &id).unwrap() == bytes, "step {step}: {id} is whole again");
        }
    }
}

#[test]
fn repair_packs_and_snapshots() {
    let mut scene = three_days();
    scene.backup(&small::noise(5, 60_000), None);
    let broken = broken_pack(&scene);
    let hit: Vec<Kept> = {
        let repo = scene.open();
        scene.kept.extract_if(.., |one| small::restore(&repo, &one.id).is_err()).collect()
    };
    assert!(!hit.is_empty() && !scene.kept.is_empty(), "{} and {}", hit.len(), scene.kept.len());
    let ids: Vec<_> = hit.iter().map(|one| one.id).collect();
    let run = |repo: &Repository, world: &World| -> Result<(), RepoError> {
        repo.marks().mark_damaged(&broken, "flipped", "test", world.now_ms())?;
        let repair = repo.repairer().repair_packs("test", world.now_ms(), &Silent, &Cancel::new())?;
        assert!(repair.set_aside.iter().any(|aside| aside.pack == broken), "{repair:?}");
        let repaired =
            dumpvault::engine::repair::repair_snapshots(repo, &*world.clock, "t", 1, &Silent, &Cancel::new());
        match repaired {
            Ok(repair) => assert!(repair.marked.len() + repair.still.len() >= ids.len(), "{repair:?}"),
            Err(error) => assert!(error.to_string().contains("gone"), "{error}"),
        }
        Ok(())
    };
    let world = scene.world();
    let whole = Faulty::new(world.storage.clone(), 0);
    let repo = small::open(whole.clone(), world.cache.path()).unwrap();
    run(&repo, &world).unwrap();
    let steps = whole.mutations();
    assert!(steps >= 6, "{steps}");
    let still_whole = |world: &World, what: &str| {
        let fresh = small::scratch();
        for cache in [world.cache.path(), fresh.path()] {
            let repo = small::open(world.storage.clone(), cache).unwrap();
            for one in &scene.kept {
                assert!(small::restore(&repo, &one.id).unwrap() == *one.bytes, "{what}: {}", one.id);
            }
            for one in &hit {
                assert!(small::restore(&repo, &one.id).is_err(), "{what}: wrong bytes and no error");
            }
        }
    };
    for step in 0..=steps {
        let world = scene.world();
        let faulty = Faulty::new(world.storage.clone(), 0);
        let repo = small::open(faulty.clone(), world.cache.path()).unwrap();
        faulty.stop_after(step);
        // The last steps are ones whose failure is no failure.
        let _ = run(&repo, &world);
        drop(repo);
        still_whole(&world, &format!("step {step}"));
        world.clock.advance_minutes(31);
        let repo = small::open(world.storage.clone(), world.cache.path()).unwrap();
        run(&repo, &world).unwrap_or_else(|error| panic!("step {step}, run again: {error}"));
        still_whole(&world, &format!("step {step}, run again"));
        let report = small::check(&repo).unwrap();
        let named = report.hits.iter().all(|hit| ids.contains(&hit.id));
        assert!(named, "step {step}: {report:?}");
    }
}

/// Puts fail from the first one on that has no room any more; what is there can be read and deleted.
fn full_after(storage: &MemoryStorage, puts: u64) -> Faulty<MemoryStorage> {
    let faulty = Faulty::new(storage.clone(), 0);
    let done = AtomicU64::new(0);
    faulty.set_hook(move |call| {
        let is_put = call.operation == Operation::Put;
        let fault = Fault::FailBefore { kind: ErrorKind::NoSpace, retryable: false };
        (is_put && done.fetch_add(1, Ordering::SeqCst) >= puts).then_some(fault)
    });
    faulty
}

#[test]
fn a_storage_that_is_full_after_any_put() {
    type Act = fn(&Repository, &World) -> Result<Option<Kept>, RepoError>;
    let acts: [(Scene, Act); 3] = [
        (three_days(), |repo, _| small::backup(repo, 9, &small::noise(20, 20_000), None).map(Some)),
        (worn(), |repo, world| world.prune(repo, Duration::ZERO).map(|_| None)),
        (three_days(), |repo, world| {
            repo.repairer().repair_index(world.now_ms(), &Silent, &Cancel::new()).map(|_| None)
        }),
    ];
    for (scene, act) in acts {
        let mut failed = 0;
        for puts in 0.. {
            let world = scene.world();
            let faulty = full_after(&world.storage, puts);
            let repo = small::open(faulty.clone(), world.cache.path()).unwrap();
            let outcome = act(&repo, &world);
            drop(repo);
            let mut kept = scene.kept.clone();
            let is_over = faulty.faults() == 0;
            match outcome {
                Ok(made) => kept.extend(made),
                Err(RepoError::Storage(error)) if error.kind == ErrorKind::NoSpace => failed += 1,
                Err(error) => panic!("after {puts} puts: {error}"),
            }
            // It failed in good order: nobody has to wait for its session.
            world.holds(&kept, &[], world.cache.path(), &format!("full after {puts} puts"));
            let repo = small::open(world.storage.clone(), world.cache.path()).unwrap();
            kept.extend(
                act(&repo, &world).unwrap_or_else(|error| panic!("{puts}, with room again: {error}")),
            );
            world.holds(&kept, &[], small::scratch().path(), &format!("with room again after {puts} puts"));
            assert!(small::check(&repo).unwrap().is_clean(), "{puts}");
            if is_over {
                break;
            }
        }
        assert!(failed >= 2, "{failed}");
    }
}
