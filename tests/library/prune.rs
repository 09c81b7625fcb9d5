//! Forgetting and pruning: what is kept stays whole, what is not goes, and a crash at any step leaves garbage at worst.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use crate::support::small::request;
use dumpvault::base::clock::Clock;
use dumpvault::base::event::{Cancel, Silent};
use dumpvault::base::id::{IndexId, PackId, SnapshotId};
use dumpvault::base::secret::OsEntropy;
use dumpvault::storage::faulty::{Faulty, Operation};
use dumpvault::storage::memory::MemoryStorage;
use dumpvault::storage::{Listed, ObjectLock, Storage, StorageError};
use dumpvault::vault::check::{CheckSettings, ReadData};
use dumpvault::vault::crypto::{Credential, KeyBundle, KeyFile};
use dumpvault::vault::format::config::Config;
use dumpvault::vault::format::index::{BlockKind, ChunkTable, Index, IndexedPack, Naming};
use dumpvault::vault::format::plan::Plan;
use dumpvault::vault::format::slot::Slot;
use dumpvault::vault::gc::{PruneReport, PruneSettings};
use dumpvault::vault::reader::{Locator, ReadSettings};
use dumpvault::vault::snapshot::{Proof, StreamFormat};
use dumpvault::vault::writer::{BackupSession, Basis, Committed, PipelineSettings};
use dumpvault::vault::{RepoError, Repository, Surroundings, pack_key};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

/// A key file: a passphrase is slow to try by design.
fn credential() -> Credential {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    std::fs::write(&path, [7; 32]).unwrap();
    Credential::KeyFile(KeyFile::read(&path).unwrap().0)
}

/// A repository and what was put into it.
struct Vault {
    storage: Arc<dyn Storage>,
    repo: Repository,
    // Held, so that the catalog stays where it is.
    _cache: tempfile::TempDir,
    kept: BTreeMap<SnapshotId, (Committed, Vec<u8>)>,
    counter: u64,
}

impl Vault {
    fn new(storage: impl Storage + 'static) -> Self {
        let storage: Arc<dyn Storage> = Arc::new(storage);
        let cache = tempfile::tempdir().unwrap();
        let around = Surroundings::new(Arc::new(OsEntropy), cache.path().into());
        let repo =
            Repository::init(Arc::clone(&storage), &credential(), "", Config::new(0), &around).unwrap();
        Self { storage, repo, _cache: cache, kept: BTreeMap::new(), counter: 0 }
    }

    /// The same repository, opened over another storage and with a catalog of its own.
    fn reopened(&self, storage: impl Storage + 'static) -> (Repository, tempfile::TempDir) {
        let cache = tempfile::tempdir().unwrap();
        let around = Surroundings::new(Arc::new(OsEntropy), cache.path().into());
        (Repository::open(Arc::new(storage), &credential(), &around).unwrap(), cache)
    }

    fn begin(&self) -> BackupSession {
        let (catalog, _, presence) = self.repo.synced(&Silent).unwrap();
        self.repo.writer().begin_backup(catalog, presence, settings()).unwrap()
    }

    fn store_and_commit(
        &mut self,
        mut session: BackupSession,
        bytes: &[u8],
    ) -> Result<SnapshotId, RepoError> {
        let stored = session.store("app", &mut &bytes[..], Basis::Chunks, &Silent, &Cancel::new())?;
        self.commit(session, stored, bytes)
    }

    fn commit(
        &mut self,
        session: BackupSession,
        stored: dumpvault::vault::writer::StoredStream,
        bytes: &[u8],
    ) -> Result<SnapshotId, RepoError> {
        self.counter += 1;
        let finished = stored.finish(Proof::Exited, StreamFormat::Unknown, BTreeMap::new());
        let committed = session.commit(vec![finished], request(self.counter))?;
        let id = committed.summary.id;
        self.kept.insert(id, (committed, bytes.to_vec()));
        Ok(id)
    }

    fn backup(&mut self, bytes: &[u8]) -> SnapshotId {
        let session = self.begin();
        self.store_and_commit(session, bytes).unwrap()
    }

    /// Compares with the snapshot `parent`, so that the recipe rests on its.
    fn backup_on(&mut self, parent: SnapshotId, bytes: &[u8]) -> SnapshotId {
        let mut session = self.begin();
        let parent = self.kept[&parent].0.body.streams[0].clone();
        let parent = session.parent(&parent, "test", 1, Box::new(|_| true)).unwrap();
        let basis = Basis::Parent(Box::new(parent));
        let stored = session.store("app", &mut &bytes[..], basis, &Silent, &Cancel::new()).unwrap();
        self.commit(session, stored, bytes).unwrap()
    }

    fn forget(&mut self, id: SnapshotId) {
        self.repo.forget(&[id]).unwrap();
        self.kept.remove(&id);
    }

    fn prune(&self, grace: Duration) -> Result<PruneReport, RepoError> {
        self.repo.prune(&PruneSettings { grace, ..now() }, &Silent, &Cancel::new())
    }

    /// Every snapshot that is kept is listed and restores bit for bit, and the check finds nothing.
    #[track_caller]
    fn assert_whole(&self, repo: &Repository) {
        self.assert_restores(repo);
        let check = CheckSettings::new(ReadData::All, 0, 1);
        let report = repo.checker().check(check, &Silent, &Cancel::new()).unwrap();
        assert!(report.is_clean(), "{report:?}");
    }

    #[track_caller]
    fn assert_restores(&self, repo: &Repository) {
        let mut catalog = repo.catalog(&Silent).unwrap();
        let history = repo.history(&mut catalog).unwrap();
        let listed: Vec<SnapshotId> = history.snapshots.iter().map(|summary| summary.id).collect();
        let locator = Locator::new(repo, catalog, history.damaged_packs);
        let locator = Arc::new(Mutex::new(locator));
        for (id, (committed, bytes)) in &self.kept {
            assert!(listed.contains(id), "snapshot {id} is not listed any more");
            let mut out = Vec::new();
            let mut write = |bytes: &[u8]| {
                out.extend_from_slice(bytes);
                Ok(())
            };
            let (stream, read) = (&committed.body.streams[0], ReadSettings::local(1));
            repo.reader().read_stream(&locator, stream, read, &Silent, &Cancel::new(), &mut write).unwrap();
            assert!(out == *bytes, "snapshot {id} came back otherwise");
        }
    }

    fn keys(&self, prefix: &str) -> Vec<String> {
        let mut keys = Vec::new();
        self.storage.list(prefix, &mut |listed| keys.push(listed.key)).unwrap();
        keys
    }

    fn pack_bytes(&self) -> u64 {
        self.repo.list_packs().unwrap().values().sum()
    }
}

fn now() -> PruneSettings {
    PruneSettings::new(jiff::Timestamp::now().as_millisecond())
}

fn settings() -> PipelineSettings {
    PipelineSettings { level: dumpvault::content::codec::Level::DEFAULT, read_back: true, workers: 1 }
}

/// Bytes that do not compress, different for each seed.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

const MIB: usize = 1 << 20;

#[test]
fn given_a_forgotten_snapshot_when_pruned_then_its_own_bytes_go_and_what_others_share_stays() {
    let mut vault = Vault::new(MemoryStorage::new());
    let shared = noise(1, 2 * MIB);
    let first = vault.backup(&[shared.clone(), noise(2, 5 * MIB)].concat());
    vault.backup(&[shared.clone(), noise(3, MIB)].concat());
    let before = vault.pack_bytes();

    let report = vault.prune(Duration::ZERO).unwrap();
    assert_eq!((report.packs_deleted, report.condemned.len()), (0, 0), "everything is live: {report:?}");

    vault.forget(first);
    let report = vault.prune(Duration::ZERO).unwrap();
    assert!(report.packs_deleted > 0 && report.chunks_rescued > 0, "{report:?}");
    vault.assert_whole(&vault.repo);
    let after = vault.pack_bytes();
    assert!(before - after > 4 * MIB as u64, "{before} -> {after}");
    assert_eq!(vault.keys("gc/").len() + vault.keys("sessions/").len(), 0);

    // Another machine sees the same, and a further prune finds nothing to do.
    let (other, _cache) = vault.reopened(Arc::clone(&vault.storage));
    vault.assert_whole(&other);
    let report = vault.prune(Duration::ZERO).unwrap();
    assert_eq!((report.packs_deleted, report.packs_written), (0, 0), "{report:?}");
}

/// A storage's clock that moves when told to.
struct HandClock(Mutex<Timestamp>);

impl HandClock {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new("2026-11-01T00:00:00Z".parse().unwrap())))
    }

    fn advance(&self, minutes: i64) {
        *self.0.lock().unwrap() += SignedDuration::from_mins(minutes);
    }

    fn settings(&self) -> PruneSettings {
        PruneSettings::new(self.now().as_millisecond())
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

fn prune_with(repo: &Repository, settings: &PruneSettings) -> Result<PruneReport, RepoError> {
    repo.prune(settings, &Silent, &Cancel::new())
}

const DAY: i64 = 24 * 60;

/// A repository that is some days old, and in which a forgotten snapshot left bytes behind.
fn with_garbage(clock: &Arc<HandClock>) -> (Vault, Vec<u8>) {
    let mut vault = Vault::new(MemoryStorage::with_clock(Arc::clone(clock) as Arc<dyn Clock>));
    let garbage = noise(1, MIB);
    let forgotten = vault.backup(&garbage);
    vault.backup(&noise(2, MIB));
    vault.forget(forgotten);
    clock.advance(3 * DAY);
    (vault, garbage)
}

#[test]
fn given_a_grace_period_then_a_run_plans_and_a_later_one_deletes() {
    let clock = HandClock::new();
    let (vault, _) = with_garbage(&clock);
    let before = vault.repo.list_packs().unwrap();

    let report = prune_with(&vault.repo, &clock.settings()).unwrap();
    assert_eq!((report.condemned.len(), report.packs_deleted, report.waiting.len()), (2, 0, 1), "{report:?}");
    assert_eq!(vault.repo.list_packs().unwrap(), before);
    clock.advance(DAY - 1);
    let report = prune_with(&vault.repo, &clock.settings()).unwrap();
    assert_eq!((report.condemned.len(), report.packs_deleted), (0, 0), "{report:?}");
    clock.advance(1);
    let report = prune_with(&vault.repo, &clock.settings()).unwrap();
    assert_eq!((report.plans_done, report.packs_deleted), (1, 2), "{report:?}");
    vault.assert_whole(&vault.repo);
}

#[test]
fn given_a_dry_run_then_it_says_what_the_run_does_and_changes_nothing() {
    let clock = HandClock::new();
    let (vault, _) = with_garbage(&clock);
    let keys = vault.keys("");
    let dry = PruneSettings { dry_run: true, ..clock.settings() };
    let said = prune_with(&vault.repo, &dry).unwrap();
    assert_eq!(vault.keys(""), keys);
    let done = prune_with(&vault.repo, &clock.settings()).unwrap();
    assert_eq!(said.condemned, done.condemned);
    assert!(!said.condemned.is_empty());
}

#[test]
fn given_a_backup_that_found_bytes_in_a_pack_condemned_meanwhile_then_prunes_wait_and_rescue_them() {
    let clock = HandClock::new();
    let (mut vault, garbage) = with_garbage(&clock);
    let mut session = vault.begin();
    let stored = session.store("app", &mut &garbage[..], Basis::Chunks, &Silent, &Cancel::new()).unwrap();
    assert_eq!(stored.bytes(), MIB as u64);

    assert_eq!(prune_with(&vault.repo, &clock.settings()).unwrap().condemned.len(), 2);
    for _ in 0..5 {
        clock.advance(10 * 60 / 24);
        session.show_life().unwrap();
    }
    clock.advance(DAY - 25);
    session.show_life().unwrap();
    clock.advance(25);
    let report = prune_with(&vault.repo, &clock.settings()).unwrap();
    let waiting: Vec<_> = report.waiting.iter().map(|plan| (plan.until, plan.sessions)).collect();
    assert_eq!((waiting, report.packs_deleted), (vec![(None, 1)], 0), "the backup is heard of: {report:?}");

    vault.commit(session, stored, &garbage).unwrap();
    let report = prune_with(&vault.repo, &clock.settings()).unwrap();
    assert!(report.chunks_rescued > 0 && report.packs_deleted == 2, "{report:?}");
    vault.assert_whole(&vault.repo);
}

#[test]
fn given_a_backup_that_begins_after_the_plan_then_it_relies_on_nothing_condemned_and_holds_nobody_up() {
    let clock = HandClock::new();
    let (mut vault, garbage) = with_garbage(&clock);
    prune_with(&vault.repo, &clock.settings()).unwrap();
    clock.advance(DAY);
    let mut session = vault.begin();
    let stored = session.store("app", &mut &garbage[..], Basis::Chunks, &Silent, &Cancel::new()).unwrap();
    let report = prune_with(&vault.repo, &clock.settings()).unwrap();
    assert_eq!((report.packs_deleted, report.chunks_rescued), (2, 0), "{report:?}");
    vault.commit(session, stored, &garbage).unwrap();
    vault.assert_whole(&vault.repo);
}

#[test]
fn given_a_backup_suspended_for_longer_than_a_prune_waits_then_it_fails_its_fence_and_nothing_shows() {
    for grace in [Duration::ZERO, Duration::from_secs(86_400)] {
        let clock = HandClock::new();
        let (mut vault, garbage) = with_garbage(&clock);
        let settings = PruneSettings { grace, ..clock.settings() };
        let mut session = vault.begin();
        let stored = session.store("app", &mut &garbage[..], Basis::Chunks, &Silent, &Cancel::new()).unwrap();
        if !grace.is_zero() {
            prune_with(&vault.repo, &settings).unwrap();
        }
        clock.advance(2 * DAY);
        let settings = PruneSettings { now_ms: clock.now().as_millisecond(), ..settings };
        assert!(prune_with(&vault.repo, &settings).unwrap().packs_deleted >= 2);
        let error = vault.commit(session, stored, &garbage).unwrap_err();
        assert!(matches!(error, RepoError::Fenced { .. }), "{error}");
        vault.assert_whole(&vault.repo);
        assert_eq!(vault.keys("snapshots/").len(), 1);
    }
}

#[test]
fn given_a_backup_suspended_while_nobody_pruned_then_it_commits() {
    let clock = HandClock::new();
    let (mut vault, garbage) = with_garbage(&clock);
    let mut session = vault.begin();
    let stored = session.store("app", &mut &garbage[..], Basis::Chunks, &Silent, &Cancel::new()).unwrap();
    clock.advance(30 * DAY);
    vault.commit(session, stored, &garbage).unwrap();
    vault.assert_whole(&vault.repo);
}

#[test]
fn given_a_backup_under_way_or_another_prune_then_a_prune_without_grace_is_refused() {
    let clock = HandClock::new();
    let (vault, _) = with_garbage(&clock);
    let at_once = PruneSettings { grace: Duration::ZERO, ..clock.settings() };
    let session = vault.begin();
    let error = prune_with(&vault.repo, &at_once).unwrap_err();
    assert!(matches!(&error, RepoError::Busy { what } if what.contains("backup")), "{error}");
    session.abandon();
    assert_eq!(prune_with(&vault.repo, &at_once).unwrap().packs_deleted, 2);
}

#[test]
fn given_a_backup_that_was_killed_days_ago_then_what_it_left_and_what_came_later_can_go() {
    let clock = HandClock::new();
    let storage = MemoryStorage::with_clock(Arc::clone(&clock) as Arc<dyn Clock>);
    let mut vault = Vault::new(storage.clone());
    let dying = Faulty::new(storage, 0);
    let (repo, _cache) = vault.reopened(dying.clone());
    let (catalog, _, presence) = repo.synced(&Silent).unwrap();
    let session = repo.writer().begin_backup(catalog, presence, settings()).unwrap();
    dying.stop_after(dying.mutations());
    drop(session);
    assert_eq!(vault.keys("sessions/").len(), 1, "nobody could clear up");
    clock.advance(10);
    let forgotten = vault.backup(&noise(1, MIB));
    vault.backup(&noise(2, MIB));
    vault.forget(forgotten);
    clock.advance(3 * DAY);
    let report = prune_with(&vault.repo, &clock.settings()).unwrap();
    assert_eq!(report.condemned.len(), 2, "{report:?}");
    clock.advance(DAY);
    assert_eq!(prune_with(&vault.repo, &clock.settings()).unwrap().packs_deleted, 2);
    assert_eq!(vault.keys("sessions/").len(), 0);
    vault.assert_whole(&vault.repo);
}

#[test]
fn given_clocks_that_disagree_then_nothing_is_deleted() {
    let clock = HandClock::new();
    let (vault, _) = with_garbage(&clock);
    let keys = vault.keys("packs/");
    for years in [-10, 10] {
        let now_ms = clock.now().as_millisecond() + years * 365 * 86_400_000;
        let settings = PruneSettings { grace: Duration::ZERO, now_ms, ..clock.settings() };
        let error = prune_with(&vault.repo, &settings).unwrap_err();
        assert!(matches!(error, RepoError::ClockSkew { .. }), "{error}");
    }
    // Both wrong together, backwards: everything seems young.
    clock.advance(-3650 * DAY);
    assert_eq!(prune_with(&vault.repo, &clock.settings()).unwrap().condemned.len(), 0);
    assert_eq!((vault.keys("packs/"), vault.keys("gc/").len()), (keys, 0));
}

#[test]
fn given_clocks_that_jump_together_between_every_two_steps_then_what_is_kept_stays_whole() {
    const YEARS: i64 = 3650 * DAY;
    for jumps in
        [[YEARS, -YEARS, YEARS, -2 * YEARS], [-YEARS, 2 * YEARS, -YEARS, -YEARS], [-DAY, -DAY, YEARS, -YEARS]]
    {
        let clock = HandClock::new();
        let (mut vault, garbage) = with_garbage(&clock);
        prune_with(&vault.repo, &clock.settings()).unwrap();
        let mut session = vault.begin();
        let stored = session.store("app", &mut &garbage[..], Basis::Chunks, &Silent, &Cancel::new()).unwrap();
        for (step, jump) in jumps.into_iter().enumerate() {
            clock.advance(jump);
            vault.backup(&noise(10 + step as u64, MIB / 8));
            prune_with(&vault.repo, &clock.settings()).unwrap();
            vault.assert_whole(&vault.repo);
        }
        // It looked dead for years: it ends well or loudly, and does no harm either way.
        match vault.commit(session, stored, &garbage) {
            Ok(_) | Err(RepoError::Fenced { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        vault.assert_whole(&vault.repo);
        clock.advance(YEARS);
        prune_with(&vault.repo, &clock.settings()).unwrap();
        clock.advance(3 * DAY);
        prune_with(&vault.repo, &clock.settings()).unwrap();
        vault.assert_whole(&vault.repo);
    }
}

#[test]
fn given_a_snapshot_or_recipe_that_cannot_be_read_then_nothing_is_deleted() {
    let clock = HandClock::new();
    let storage = MemoryStorage::with_clock(Arc::clone(&clock) as Arc<dyn Clock>);
    let mut vault = Vault::new(storage.clone());
    let forgotten = vault.backup(&noise(1, MIB));
    let packs_before = vault.keys("packs/");
    vault.backup(&noise(2, MIB));
    vault.forget(forgotten);
    clock.advance(3 * DAY);
    let at_once = PruneSettings { grace: Duration::ZERO, ..clock.settings() };
    let recipe_pack = vault
        .keys("packs/")
        .into_iter()
        .filter(|key| !packs_before.contains(key))
        .min_by_key(|key| storage.size(key).unwrap())
        .unwrap();
    let victims = [vault.keys("snapshots/"), vec![recipe_pack]].concat();
    let packs = vault.keys("packs/");
    for victim in victims {
        // Its version too: a newer program's object is no garbage.
        for at in [9usize, 150] {
            let mut before = 0;
            assert!(storage.tamper(&victim, |bytes| {
                before = bytes[at];
                bytes[at] ^= 2;
            }));
            let (repo, _cache) = vault.reopened(storage.clone());
            let error = prune_with(&repo, &at_once).unwrap_err();
            assert!(error.is_integrity(), "{victim}: {error}");
            assert_eq!((vault.keys("packs/"), vault.keys("gc/").len()), (packs.clone(), 0), "{victim}");
            storage.tamper(&victim, |bytes| bytes[at] = before);
        }
    }
    assert!(prune_with(&vault.repo, &at_once).unwrap().packs_deleted > 0);
    vault.assert_whole(&vault.repo);
}

#[test]
fn given_a_mark_that_cannot_be_read_then_a_prune_goes_on_and_keeps_what_it_may_have_committed() {
    for at in [9usize, 150] {
        let clock = HandClock::new();
        let storage = MemoryStorage::with_clock(Arc::clone(&clock) as Arc<dyn Clock>);
        let mut vault = Vault::new(storage.clone());
        let forgotten = vault.backup(&noise(1, MIB));
        vault.backup(&noise(2, MIB));
        vault.forget(forgotten);
        clock.advance(30 * DAY);
        for victim in vault.keys("marks/") {
            let mut before = 0;
            assert!(storage.tamper(&victim, |bytes| {
                before = bytes[at];
                bytes[at] ^= 2;
            }));
            let (repo, _cache) = vault.reopened(storage.clone());
            let at_once = PruneSettings { grace: Duration::ZERO, ..clock.settings() };
            if let Err(error) = prune_with(&repo, &at_once) {
                // That of a newer program says what this one cannot know.
                assert!(at == 9 && error.is_integrity(), "{victim}: {error}");
            }
            storage.tamper(&victim, |bytes| bytes[at] = before);
            vault.assert_restores(&vault.reopened(storage.clone()).0);
        }
    }
}

#[test]
fn given_many_small_packs_then_they_become_few_and_a_prune_does_not_do_it_again() {
    let mut vault = Vault::new(MemoryStorage::new());
    for day in 0..40 {
        vault.backup(&noise(day, 100_000));
    }
    assert_eq!(vault.keys("packs/").len(), 40);
    vault.prune(Duration::ZERO).unwrap();
    assert!(vault.keys("packs/").len() <= 4, "{:?}", vault.keys("packs/"));
    assert!(vault.keys("index/").len() <= 4, "{:?}", vault.keys("index/"));
    vault.assert_whole(&vault.repo);
    let again = vault.prune(Duration::ZERO).unwrap();
    assert_eq!((again.packs_written, again.packs_deleted), (0, 0), "{again:?}");
}

#[test]
fn given_rows_gathered_by_many_backups_when_repacked_then_they_are_not_brought_together_in_large_blocks() {
    let mut vault = Vault::new(MemoryStorage::new());
    let mut bytes = noise(99, 4 * MIB);
    let mut newest = vault.backup(&bytes);
    for day in 0..40 {
        for (number, field) in noise(day, 300_000).chunks(300).enumerate() {
            let at = number * 4000 + day as usize * 100;
            bytes[at..at + 300].copy_from_slice(field);
        }
        let before = newest;
        newest = vault.backup_on(before, &bytes);
        vault.forget(before);
    }
    let report = vault.prune(Duration::ZERO).unwrap();
    assert!(report.packs_written > 0, "{report:?}");
    vault.assert_whole(&vault.repo);
    let mut catalog = vault.repo.catalog(&Silent).unwrap();
    let packs = catalog.packs().unwrap();
    let blocks = packs.iter().flat_map(|pack| catalog.pack(pack.number).unwrap().table.blocks.clone());
    let data = blocks.filter(|block| block.kind != BlockKind::Recipe);
    let (large, small): (Vec<_>, Vec<_>) = data.partition(|block| block.plain_bytes > 256 << 10);
    assert!(large.len() <= 4 && small.len() >= 20, "{} large, {} small", large.len(), small.len());
}

#[test]
fn given_a_chunk_in_two_packs_then_one_copy_goes_and_a_damaged_copy_counts_for_nothing() {
    let clock = HandClock::new();
    let (mut vault, storage, _) = stored_twice(&clock);
    let bytes = noise(1, MIB);
    let packs = vault.pack_bytes();
    let at_once = PruneSettings { grace: Duration::ZERO, ..clock.settings() };
    prune_with(&vault.repo, &at_once).unwrap();
    assert!(vault.pack_bytes() < packs * 6 / 10, "{packs} -> {}", vault.pack_bytes());
    vault.assert_whole(&vault.repo);

    // What is left breaks, a further backup heals it: then the broken pack goes, and the mark that says so.
    let broken = vault.keys("packs/").into_iter().max_by_key(|key| storage.size(key).unwrap()).unwrap();
    storage.tamper(&broken, |bytes| bytes[5000] ^= 1);
    let pack = broken.rsplit('/').next().unwrap().parse().unwrap();
    vault.repo.marks().mark_damaged(&pack, "flipped", "test", 0).unwrap();
    vault.backup(&bytes);
    let report = prune_with(&vault.repo, &at_once).unwrap();
    assert_eq!(report.packs_deleted, 1, "{report:?}");
    assert!(!vault.keys("packs/").contains(&broken));
    vault.assert_whole(&vault.repo);
}

/// A copy of all objects; what happens to it does not happen to the original.
fn copy_of(storage: &dyn Storage, clock: &Arc<HandClock>) -> MemoryStorage {
    let copy = MemoryStorage::with_clock(Arc::clone(clock) as Arc<dyn Clock>);
    let mut keys = Vec::new();
    storage.list("", &mut |listed| keys.push(listed.key)).unwrap();
    for key in keys {
        copy.put(&key, &storage.get(&key, u64::MAX).unwrap()).unwrap();
    }
    copy
}

/// Garbage, a pack that is mostly dead, and one that is mostly live.
fn worn(clock: &Arc<HandClock>) -> (Vault, SnapshotId) {
    let mut vault = Vault::new(MemoryStorage::with_clock(Arc::clone(clock) as Arc<dyn Clock>));
    let shared = noise(1, 100_000);
    let gone =
        [vault.backup(&[shared.clone(), noise(2, 400_000)].concat()), vault.backup(&noise(3, 200_000))];
    vault.backup(&[shared, noise(4, 300_000)].concat());
    vault.forget(gone[0]);
    // Two packs with the same bytes, of which a third snapshot keeps some.
    let twice = noise(5, 100_000);
    let sessions = [vault.begin(), vault.begin()];
    for (number, session) in (6..).zip(sessions) {
        let bytes = [twice.clone(), noise(number, 250_000)].concat();
        let id = vault.store_and_commit(session, &bytes).unwrap();
        vault.forget(id);
    }
    vault.backup(&twice);
    (vault, gone[1])
}

#[test]
fn given_a_crash_after_any_step_of_forget_and_prune_then_what_is_kept_is_whole_and_it_can_be_run_again() {
    let clock = HandClock::new();
    let (mut vault, victim) = worn(&clock);
    let settings = PruneSettings { grace: Duration::ZERO, end_sessions: true, ..clock.settings() };
    let run = |repo: &Repository| -> Result<(), RepoError> {
        repo.forget(&[victim])?;
        prune_with(repo, &settings).map(|_| ())
    };
    let whole = Faulty::new(copy_of(vault.storage.as_ref(), &clock), 0);
    run(&vault.reopened(whole.clone()).0).unwrap();
    let steps = whole.mutations();
    assert!(steps > 12, "{steps}");
    vault.kept.remove(&victim);
    for step in 1..=steps {
        let copy = copy_of(vault.storage.as_ref(), &clock);
        let faulty = Faulty::new(copy.clone(), step);
        faulty.stop_after(step);
        let (repo, cache) = vault.reopened(faulty);
        // The last step may be one whose failure is no failure.
        let _ = run(&repo);
        drop(repo);
        // With the catalog that the crash left, and with none.
        let around = Surroundings::new(Arc::new(OsEntropy), cache.path().into());
        let same = Repository::open(Arc::new(copy.clone()), &credential(), &around).unwrap();
        vault.assert_restores(&same);
        let (fresh, _other_cache) = vault.reopened(copy.clone());
        vault.assert_whole(&fresh);
        run(&same).unwrap_or_else(|error| panic!("step {step}: {error}"));
        vault.assert_whole(&same);
        vault.assert_whole(&vault.reopened(copy.clone()).0);
        let mut left = Vec::new();
        copy.list("", &mut |listed| left.push((listed.key, listed.bytes))).unwrap();
        assert!(left.iter().all(|(key, _)| !key.starts_with("gc/")), "step {step}: {left:?}");
        let packs: u64 =
            left.iter().filter(|(key, _)| key.starts_with("packs/")).map(|(_, bytes)| bytes).sum();
        assert!(packs < 1_100_000, "step {step}: {packs} bytes are left");
    }
}

/// Runs `first` over a storage whose call number `at` has `second` happen right before it; false when there are no so
/// many calls.
fn interleave(
    storage: &MemoryStorage,
    at: u64,
    second: impl Fn() + Send + Sync + 'static,
    first: impl FnOnce(Faulty<MemoryStorage>),
) -> bool {
    let faulty = Faulty::new(storage.clone(), 0);
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = Arc::clone(&done);
    faulty.set_hook(move |call| {
        let due = call.number == at && !matches!(call.operation, Operation::Size);
        if (due || call.number == at + 1) && !seen.swap(true, std::sync::atomic::Ordering::SeqCst) {
            second();
        }
        None
    });
    first(faulty);
    done.load(std::sync::atomic::Ordering::SeqCst)
}

#[test]
fn given_a_prune_that_runs_as_a_whole_between_any_two_steps_of_another_then_what_is_kept_is_whole() {
    let clock = HandClock::new();
    let (mut vault, victim) = worn(&clock);
    vault.forget(victim);
    let settings = PruneSettings { grace: Duration::ZERO, end_sessions: true, ..clock.settings() };
    for at in 0.. {
        let copy = copy_of(vault.storage.as_ref(), &clock);
        let (other, _cache) = vault.reopened(copy.clone());
        let second = move || {
            prune_with(&other, &settings).unwrap();
        };
        let happened = interleave(&copy, at, second, |faulty| {
            let (repo, _cache) = vault.reopened(faulty);
            // Ended by the other, or met an object that the other removed: an error is fine, damage is not.
            let _ = prune_with(&repo, &settings);
        });
        let (fresh, _cache) = vault.reopened(copy.clone());
        vault.assert_restores(&fresh);
        prune_with(&fresh, &settings).unwrap();
        vault.assert_whole(&vault.reopened(copy).0);
        if !happened {
            assert!(at > 30, "{at}");
            break;
        }
    }
}

#[test]
fn given_a_prune_between_any_two_steps_of_a_backup_then_it_is_whole_or_not_there() {
    let clock = HandClock::new();
    let (mut vault, victim) = worn(&clock);
    // The very bytes of the forgotten snapshot: found in packs that the prune deletes.
    let again = vault.kept[&victim].1.clone();
    vault.forget(victim);
    let (mut fenced, mut committed) = (0, 0);
    for at in 0.. {
        let copy = copy_of(vault.storage.as_ref(), &clock);
        let (other, _cache) = vault.reopened(copy.clone());
        let settings = PruneSettings { grace: Duration::ZERO, end_sessions: true, ..clock.settings() };
        let second = move || {
            prune_with(&other, &settings).unwrap();
        };
        let mut outcome = None;
        let happened = interleave(&copy, at, second, |faulty| {
            let (repo, _cache) = vault.reopened(faulty);
            let mut here =
                Vault { storage: Arc::new(copy.clone()), repo, _cache, kept: vault.kept.clone(), counter: 9 };
            outcome = Some(backup_of(&mut here, &again).map(|_| here.kept));
        });
        let (fresh, _cache) = vault.reopened(copy.clone());
        let kept = match outcome.unwrap() {
            Ok(kept) => {
                committed += 1;
                kept
            }
            Err(RepoError::Fenced { .. }) => {
                fenced += 1;
                vault.kept.clone()
            }
            // Something that it was reading was removed: an error, and no snapshot.
            Err(_) => vault.kept.clone(),
        };
        let mut catalog = fresh.catalog(&Silent).unwrap();
        assert_eq!(fresh.history(&mut catalog).unwrap().snapshots.len(), kept.len(), "call {at}");
        let after = Vault { storage: Arc::new(copy), repo: fresh, _cache, kept, counter: 9 };
        after.assert_whole(&after.repo);
        let settings = PruneSettings { grace: Duration::ZERO, end_sessions: true, ..clock.settings() };
        prune_with(&after.repo, &settings).unwrap_or_else(|error| panic!("call {at}: {error}"));
        after.assert_whole(&after.repo);
        if !happened {
            break;
        }
    }
    assert!(fenced > 3 && committed > 3, "{fenced} fenced, {committed} committed");
}

fn backup_of(vault: &mut Vault, bytes: &[u8]) -> Result<SnapshotId, RepoError> {
    let (catalog, _, presence) = vault.repo.synced(&Silent)?;
    let session = vault.repo.writer().begin_backup(catalog, presence, settings())?;
    vault.store_and_commit(session, bytes)
}

/// A table's dump: a line a row, each with the day that it was changed last.
fn table(changed: &[u64]) -> Vec<u8> {
    let line = |(row, day): (usize, &u64)| {
        let hash = blake3::hash(format!("{row} {day}").as_bytes()).to_hex();
        format!("{row}\t{day}\t{hash}\n")
    };
    changed.iter().enumerate().map(line).collect::<String>().into_bytes()
}

#[test]
fn given_months_of_days_that_rest_on_one_another_when_most_are_forgotten_then_the_rest_is_whole() {
    let mut vault = Vault::new(MemoryStorage::new());
    let mut changed = vec![0u64; 8000];
    let mut last = vault.backup(&table(&changed));
    let first_bytes = vault.pack_bytes();
    let mut days = vec![last];
    for day in 1..=90u64 {
        for n in 0..80 {
            changed[((day * 7919 + n * n * 31) % 8000) as usize] = day;
        }
        last = vault.backup_on(last, &table(&changed));
        days.push(last);
        // The last week, and each tenth day.
        if day >= 8 && (day - 8) % 10 != 0 {
            vault.forget(days[day as usize - 8]);
        }
        if day % 15 == 0 {
            let report = vault.prune(Duration::ZERO).unwrap();
            assert_eq!(report.lost_chunks, 0, "{report:?}");
            vault.assert_restores(&vault.repo);
        }
    }
    assert!(vault.kept.len() < 20);
    vault.assert_whole(&vault.repo);
    vault.assert_whole(&vault.reopened(Arc::clone(&vault.storage)).0);
    // Bytes that only forgotten days had are gone: what is left is no multiple of one dump.
    assert!(vault.pack_bytes() < first_bytes * 4, "{first_bytes} -> {}", vault.pack_bytes());

    // The newest alone, with all that its recipe rests on.
    for id in vault.kept.keys().copied().filter(|id| *id != last).collect::<Vec<_>>() {
        vault.forget(id);
    }
    vault.prune(Duration::ZERO).unwrap();
    vault.assert_whole(&vault.reopened(Arc::clone(&vault.storage)).0);
    vault.backup_on(last, &table(&changed));
    vault.assert_whole(&vault.repo);
}

/// What happens once, right before a storage call for a key that begins so.
type Moment = (&'static str, Box<dyn FnOnce() + Send>);

/// A storage in which something happens while somebody reads.
struct Meanwhile {
    inner: Arc<dyn Storage>,
    moment: Mutex<Option<Moment>>,
}

impl std::fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meanwhile")
    }
}

impl Meanwhile {
    fn reached(&self, call: &str) {
        let is_now = self.moment.lock().unwrap().as_ref().is_some_and(|(at, _)| call.starts_with(at));
        if is_now && let Some((_, act)) = { self.moment.lock().unwrap().take() } {
            act();
        }
    }
}

impl Storage for Meanwhile {
    dumpvault::passes_on!(put, size, delete, location);

    fn get(&self, key: &str, bytes_max: u64) -> Result<Vec<u8>, StorageError> {
        self.reached(&format!("get {key}"));
        self.inner.get(key, bytes_max)
    }
    fn get_range(&self, key: &str, offset: u64, buffer: &mut [u8]) -> Result<(), StorageError> {
        self.reached(&format!("range {key}"));
        self.inner.get_range(key, offset, buffer)
    }
    fn list(&self, prefix: &str, each: &mut dyn FnMut(Listed)) -> Result<(), StorageError> {
        self.reached(&format!("list {prefix}"));
        let listed = self.inner.list(prefix, each);
        self.reached(&format!("after list {prefix}"));
        listed
    }
}

#[test]
fn given_a_prune_in_the_middle_of_a_check_then_what_it_deletes_is_no_damage() {
    for at in ["get index/", "get marks/", "get snapshots/", "list packs/", "get packs/", "range packs/"] {
        let mut vault = Vault::new(MemoryStorage::new());
        let garbage = vault.backup(&[noise(1, MIB), noise(2, MIB)].concat());
        vault.backup(&[noise(2, MIB), noise(3, MIB)].concat());
        vault.kept.remove(&garbage);
        let before = vault.keys("packs/").len();
        let other = vault.repo.clone();
        let act = move || {
            other.forget(&[garbage]).unwrap();
            let report = prune_with(&other, &PruneSettings { grace: Duration::ZERO, ..now() }).unwrap();
            assert!(report.packs_deleted > 0, "{report:?}");
        };
        let moment = Mutex::new(Some((at, Box::new(act) as Box<dyn FnOnce() + Send>)));
        let storage = Arc::new(Meanwhile { inner: Arc::clone(&vault.storage), moment });
        let (repo, _cache) = vault.reopened(Arc::clone(&storage));
        let settings = CheckSettings::new(ReadData::All, 0, 2);
        let report = repo.checker().check(settings, &Silent, &Cancel::new()).unwrap();
        assert!(storage.moment.lock().unwrap().is_none(), "{at}: the prune has run");
        assert!(report.is_clean() && report.quarantined.is_empty(), "{at}: {report:?}");
        assert!(vault.keys("packs/").len() <= before);
        vault.assert_whole(&vault.repo);
    }
}

#[test]
fn given_a_prune_under_way_then_repairs_wait_and_the_other_way_round() {
    let clock = HandClock::new();
    let (vault, _) = with_garbage(&clock);
    let now_ms = clock.now().as_millisecond();
    let act = {
        let repo = vault.repo.clone();
        move || {
            let busy = repo.repairer().repair_index(now_ms, &Silent, &Cancel::new());
            assert!(matches!(busy, Err(RepoError::Busy { .. })), "{busy:?}");
            let busy = repo.repairer().repair_packs("test", now_ms, &Silent, &Cancel::new());
            assert!(matches!(busy, Err(RepoError::Busy { .. })), "{busy:?}");
        }
    };
    let moment = Mutex::new(Some(("get snapshots/", Box::new(act) as Box<dyn FnOnce() + Send>)));
    let storage = Arc::new(Meanwhile { inner: Arc::clone(&vault.storage), moment });
    let (repo, _cache) = vault.reopened(Arc::clone(&storage));
    prune_with(&repo, &clock.settings()).unwrap();
    assert!(storage.moment.lock().unwrap().is_none());
    vault.repo.repairer().repair_index(now_ms, &Silent, &Cancel::new()).unwrap();
    vault.assert_whole(&vault.repo);
}

/// Somebody with an append key and the right to put objects, as a host that was broken into has.
struct Intruder {
    storage: MemoryStorage,
    repo: Repository,
    keys: KeyBundle,
    /// The owner's, for what the owner does.
    full: KeyBundle,
}

impl Intruder {
    fn new(vault: &Vault, storage: &MemoryStorage) -> Self {
        let slot = vault.keys("keys/").remove(0);
        let slot = storage.get(&slot, u64::MAX).unwrap();
        let keys = Slot::decode(&slot, &vault.repo.id())
            .unwrap()
            .open(&credential(), dumpvault::vault::crypto::KdfCaps::USUAL)
            .unwrap();
        Self { storage: storage.clone(), repo: vault.repo.clone(), keys: keys.to_append(), full: keys }
    }

    /// What the index says of all packs.
    fn packs(&self) -> Vec<IndexedPack> {
        let mut catalog = self.repo.catalog(&Silent).unwrap();
        let packs = catalog.packs().unwrap();
        let row = |number| catalog.pack(number).unwrap();
        packs
            .into_iter()
            .map(|pack| pack.number)
            .map(row)
            .map(|row| self.said(&row.id, row.bytes, &row.table))
            .collect()
    }

    fn said(&self, id: &PackId, bytes: u64, table: &ChunkTable) -> IndexedPack {
        IndexedPack { id: *id, bytes, table: table.clone() }
    }

    /// Puts an index object that says so: by its name the first of all, which is believed, or the last, whose packs
    /// count as the newest.
    fn say(&self, packs: Vec<IndexedPack>, first: bool) -> IndexId {
        let others = self.repo.catalog(&Silent).unwrap().indexes().unwrap();
        let index = Index { packs, replaces: Vec::new() };
        loop {
            let bytes = index.seal(self.repo.id(), &self.keys, &OsEntropy).unwrap();
            let id = IndexId::from_bytes(*blake3::hash(&bytes).as_bytes());
            if others.iter().all(|other| (id < *other) == first) {
                self.storage.put(&format!("index/{id}"), &bytes).unwrap();
                return id;
            }
        }
    }

    /// Two packs of random bytes, and the word that they hold all that there is.
    fn claim_everything(&self) -> (Vec<PackId>, IndexId) {
        let mut junk = Vec::new();
        for (number, kind) in (900..).zip([BlockKind::Data, BlockKind::Recipe]) {
            let mut table = ChunkTable::default();
            for pack in self.packs() {
                for block in pack.table.blocks.iter().filter(|block| block.kind == kind) {
                    table.push(
                        Naming { kind, generation: block.generation },
                        block.codec,
                        block.stored_bytes,
                        pack.table.chunks_of(block),
                    );
                }
            }
            let bytes = noise(number, table.end() as usize);
            let id = PackId::from_bytes(*blake3::hash(&bytes).as_bytes());
            self.storage.put(&pack_key(&id), &bytes).unwrap();
            junk.push(IndexedPack { id, bytes: bytes.len() as u64, table });
        }
        let ids = junk.iter().map(|pack| pack.id).collect();
        (ids, self.say(junk, false))
    }

    /// The word that the packs there are hold nothing.
    fn deny_everything(&self) -> IndexId {
        let nothing = |pack: IndexedPack| IndexedPack { table: ChunkTable::default(), ..pack };
        self.say(self.packs().into_iter().map(nothing).collect(), true)
    }
}

/// Two snapshots, three days old.
fn two_old_snapshots(clock: &Arc<HandClock>) -> (Vault, MemoryStorage) {
    let storage = MemoryStorage::with_clock(Arc::clone(clock) as Arc<dyn Clock>);
    let mut vault = Vault::new(storage.clone());
    let first = noise(1, 2 * MIB);
    vault.backup(&first);
    vault.backup(&[first, noise(2, MIB)].concat());
    clock.advance(3 * DAY);
    (vault, storage)
}

/// Prunes on this host and on one that never saw the repository, over some days.
#[track_caller]
fn prune_for_days(vault: &Vault, clock: &HandClock) -> Vec<PruneReport> {
    let mut reports = Vec::new();
    for _ in 0..4 {
        let (fresh, _cache) = vault.reopened(Arc::clone(&vault.storage));
        for repo in [&fresh, &vault.repo] {
            reports.push(prune_with(repo, &clock.settings()).unwrap());
        }
        clock.advance(DAY + 1);
    }
    reports
}

#[test]
fn given_junk_that_an_index_says_holds_everything_then_the_packs_that_do_stay_and_the_junk_goes() {
    let clock = HandClock::new();
    let (vault, storage) = two_old_snapshots(&clock);
    let packs = vault.keys("packs/");
    let (junk, _) = Intruder::new(&vault, &storage).claim_everything();
    clock.advance(3 * DAY);
    let reports = prune_for_days(&vault, &clock);
    let left = vault.keys("packs/");
    assert!(packs.iter().all(|pack| left.contains(pack)), "{packs:?} -> {left:?}");
    assert!(junk.iter().all(|pack| !left.contains(&pack_key(pack))), "{left:?}");
    let warned = |id: &PackId| reports[0].warnings.iter().any(|warning| warning.contains(&id.short()));
    assert!(junk.iter().all(warned), "{:?}", reports[0].warnings);
    vault.assert_whole(&vault.repo);
    vault.assert_whole(&vault.reopened(storage).0);
}

#[test]
fn given_an_index_that_says_packs_hold_nothing_then_their_own_tables_decide_and_it_is_named() {
    for junk_as_well in [false, true] {
        let clock = HandClock::new();
        let (vault, storage) = two_old_snapshots(&clock);
        let packs = vault.keys("packs/");
        let intruder = Intruder::new(&vault, &storage);
        if junk_as_well {
            // So that nothing seems to be missing.
            intruder.claim_everything();
        }
        let lie = intruder.deny_everything();
        clock.advance(3 * DAY);
        let reports = prune_for_days(&vault, &clock);
        let left = vault.keys("packs/");
        assert!(packs.iter().all(|pack| left.contains(pack)), "{packs:?} -> {left:?}");
        let named = reports[0].warnings.iter().any(|warning| warning.contains(&format!("index/{lie}")));
        assert!(named, "{:?}", reports[0].warnings);
        vault.assert_restores(&vault.repo);
        vault.repo.repairer().repair_index(clock.now().as_millisecond(), &Silent, &Cancel::new()).unwrap();
        let (fresh, _cache) = vault.reopened(storage);
        let report = prune_with(&fresh, &clock.settings()).unwrap();
        assert!(!report.warnings.iter().any(|warning| warning.contains("index/")), "{:?}", report.warnings);
        vault.assert_restores(&fresh);
    }
}

#[test]
fn given_a_plan_that_condemns_packs_of_which_an_index_says_they_are_empty_then_what_they_hold_stays() {
    let clock = HandClock::new();
    let (vault, storage) = two_old_snapshots(&clock);
    let intruder = Intruder::new(&vault, &storage);
    let ids = intruder.packs().iter().map(|pack| pack.id).collect();
    intruder.claim_everything();
    intruder.deny_everything();
    let plan = Plan { time_ms: 0, packs: ids };
    let plan = plan.seal(vault.repo.id(), &intruder.full, &OsEntropy).unwrap();
    storage.put(&format!("gc/{}", blake3::hash(&plan).to_hex()), &plan).unwrap();
    clock.advance(3 * DAY);
    prune_for_days(&vault, &clock);
    vault.assert_restores(&vault.repo);
    vault.assert_restores(&vault.reopened(storage).0);
}

/// Two backups at once, neither of which knows of the other's chunks; the keys of the large packs, the older first.
fn stored_twice(clock: &Arc<HandClock>) -> (Vault, MemoryStorage, [String; 2]) {
    // Where a stream ends in a chunk so small that its id is blinded, each pack has one of its own.
    let stored = std::iter::repeat_with(|| {
        let storage = MemoryStorage::with_clock(Arc::clone(clock) as Arc<dyn Clock>);
        let mut vault = Vault::new(storage.clone());
        let bytes = noise(1, MIB);
        let sessions = [vault.begin(), vault.begin()];
        let mut large: Vec<String> = Vec::new();
        for session in sessions {
            vault.store_and_commit(session, &bytes).unwrap();
            let is_new =
                |key: &String| storage.size(key).unwrap().unwrap() > MIB as u64 && !large.contains(key);
            large.extend(vault.keys("packs/").into_iter().filter(|key| is_new(key)).collect::<Vec<_>>());
        }
        (vault, storage, large)
    });
    let is_shared = |vault: &Vault| {
        let mut catalog = vault.repo.catalog(&Silent).unwrap();
        let packs = catalog.packs().unwrap();
        let mut blocks =
            packs.iter().flat_map(|pack| catalog.pack(pack.number).unwrap().table.blocks.clone());
        blocks.all(|block| block.kind != BlockKind::Blinded)
    };
    let (vault, storage, large) = stored.take(1_000).find(|(vault, ..)| is_shared(vault)).unwrap();
    clock.advance(3 * DAY);
    (vault, storage, large.try_into().unwrap())
}

#[test]
fn given_two_copies_of_which_one_rots_before_or_after_the_plan_then_the_good_one_stays_whichever_it_is() {
    for rotten in 0..2 {
        for planned_before in [false, true] {
            let clock = HandClock::new();
            let (vault, storage, packs) = stored_twice(&clock);
            if planned_before {
                assert!(!prune_with(&vault.repo, &clock.settings()).unwrap().condemned.is_empty());
                clock.advance(DAY);
            }
            // In the last block, after those before it were seen to be whole.
            assert!(storage.tamper(&packs[rotten], |bytes| bytes[MIB - 5000] ^= 1));
            prune_for_days(&vault, &clock);
            let case = format!("copy {rotten} rots, planned before: {planned_before}");
            let (fresh, _cache) = vault.reopened(storage);
            vault.assert_restores(&fresh);
            assert!(!vault.keys("packs/").contains(&packs[rotten]), "{case}");
            vault.assert_whole(&fresh);
        }
    }
}

#[test]
fn given_a_chunk_that_is_in_no_pack_then_nothing_is_deleted_until_its_snapshot_is_marked() {
    let clock = HandClock::new();
    let (mut vault, storage) = two_old_snapshots(&clock);
    let before = vault.keys("packs/");
    // The first half lies in a pack of old snapshots, which only it keeps from now on.
    let readable = noise(1, 2 * MIB);
    let hit = vault.backup(&[readable.clone(), noise(3, MIB)].concat());
    for old in vault.kept.keys().copied().filter(|id| *id != hit).collect::<Vec<_>>() {
        vault.forget(old);
    }
    vault.backup(&noise(5, 1000));
    let lost = vault.keys("packs/").into_iter().filter(|key| !before.contains(key));
    let lost = lost.max_by_key(|key| storage.size(key).unwrap()).unwrap();
    let garbage = vault.backup(&noise(4, MIB));
    vault.forget(garbage);
    storage.delete(&lost).unwrap();
    clock.advance(3 * DAY);
    // Without the index objects that named the pack nothing knows its chunks any more.
    vault.repo.drop_catalog().unwrap();
    for key in vault.keys("index/") {
        storage.delete(&key).unwrap();
    }
    let objects = vault.keys("");
    for dry_run in [true, false] {
        let settings = PruneSettings { dry_run, ..clock.settings() };
        let error = prune_with(&vault.repo, &settings).unwrap_err();
        assert!(matches!(error, RepoError::ChunksLost { .. }) && error.is_integrity(), "{error}");
        assert_eq!(vault.keys(""), objects);
    }
    let repaired = dumpvault::engine::repair::repair_snapshots(
        &vault.repo,
        clock.as_ref(),
        "test",
        1,
        &Silent,
        &Cancel::new(),
    );
    assert_eq!(repaired.unwrap().marked, [hit]);
    let (committed, _) = vault.kept.remove(&hit).unwrap();
    let reports = prune_for_days(&vault, &clock);
    assert!(reports.iter().any(|report| report.packs_deleted > 0), "{reports:?}");
    let (fresh, _cache) = vault.reopened(storage);
    vault.assert_restores(&fresh);
    let locator = Locator::new(&fresh, fresh.catalog(&Silent).unwrap(), Default::default());
    let (locator, stream) = (Arc::new(Mutex::new(locator)), &committed.body.streams[0]);
    let mut out = Vec::new();
    let mut write = |bytes: &[u8]| {
        out.extend_from_slice(bytes);
        Ok(())
    };
    // A chunk may begin in the one half and end in the other.
    let range = 0..(readable.len() - MIB / 2) as u64;
    let read = ReadSettings::local(1);
    fresh.reader().read_range(&locator, stream, range.clone(), read, &Cancel::new(), &mut write).unwrap();
    assert!(out == readable[..range.end as usize]);
}

#[test]
fn given_a_snapshot_that_lost_its_recipe_then_a_prune_goes_on_once_it_is_marked() {
    let clock = HandClock::new();
    let storage = MemoryStorage::with_clock(Arc::clone(&clock) as Arc<dyn Clock>);
    let mut vault = Vault::new(storage.clone());
    let bytes = noise(1, 2 * MIB);
    let hit = vault.backup(&bytes);
    let before = vault.keys("packs/");
    let stays = vault.backup(&[bytes.clone(), noise(2, MIB)].concat());
    // The second snapshot loses its recipe.
    let new = vault.keys("packs/").into_iter().filter(|key| !before.contains(key));
    let recipe = new.min_by_key(|key| storage.size(key).unwrap()).unwrap();
    vault.forget(hit);
    storage.tamper(&recipe, |bytes| bytes[150] ^= 1);
    clock.advance(3 * DAY);
    let error = prune_with(&vault.repo, &clock.settings()).unwrap_err();
    assert!(error.is_integrity(), "{error}");
    let clock_of = clock.as_ref();
    let repaired = dumpvault::engine::repair::repair_snapshots(
        &vault.repo,
        clock_of,
        "test",
        1,
        &Silent,
        &Cancel::new(),
    );
    assert_eq!(repaired.unwrap().marked, [stays]);
    prune_with(&vault.repo, &clock.settings()).unwrap();
}

/// A storage that locks, and notes what was prolonged.
struct Locking {
    inner: MemoryStorage,
    extended: Mutex<BTreeSet<String>>,
}

impl std::fmt::Debug for Locking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Locking")
    }
}

impl ObjectLock for Locking {
    fn lasts(&self) -> Duration {
        Duration::from_secs(30 * 86_400)
    }
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
    fn locked_until(&self, _: &str) -> Result<Option<SystemTime>, StorageError> {
        Ok(None)
    }
    fn extend(&self, key: &str, _: SystemTime) -> Result<(), StorageError> {
        self.extended.lock().unwrap().insert(key.to_owned());
        Ok(())
    }
}

impl Storage for Locking {
    dumpvault::passes_on!(put, get, get_range, size, list, delete, location);

    fn lock(&self) -> Option<&dyn ObjectLock> {
        Some(self)
    }
}

#[test]
fn given_junk_and_lies_then_the_locks_of_what_snapshots_need_are_prolonged_and_not_those_of_the_junk() {
    let clock = HandClock::new();
    let (vault, storage) = two_old_snapshots(&clock);
    let packs = vault.keys("packs/");
    let intruder = Intruder::new(&vault, &storage);
    for denied in [false, true] {
        let (junk, _) = intruder.claim_everything();
        if denied {
            intruder.deny_everything();
        }
        let locking = Arc::new(Locking { inner: storage.clone(), extended: Mutex::default() });
        let (repo, _cache) = vault.reopened(Arc::clone(&locking));
        repo.object_locks()
            .extend_all_locks(clock.now().as_millisecond(), false, &Silent, &Cancel::new())
            .unwrap();
        let extended = locking.extended.lock().unwrap();
        assert!(packs.iter().all(|pack| extended.contains(pack)), "denied: {denied}: {extended:?}");
        let prolonged = junk.iter().any(|pack| extended.contains(&pack_key(pack)));
        assert!(denied || !prolonged, "{extended:?}");
    }
}

/// A storage whose listings lag behind: new objects are not listed, or deleted ones still are.
struct Late {
    inner: MemoryStorage,
    shows_new: bool,
    deleted: Mutex<Vec<Listed>>,
}

impl std::fmt::Debug for Late {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Late")
    }
}

impl Storage for Late {
    dumpvault::passes_on!(put, get, get_range, size, location);

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Listed)) -> Result<(), StorageError> {
        self.inner.list(prefix, &mut |listed| {
            if self.shows_new || !listed.key.starts_with("sessions/") {
                each(listed);
            }
        })?;
        if self.shows_new {
            let deleted = self.deleted.lock().unwrap().clone();
            deleted.into_iter().filter(|listed| listed.key.starts_with(prefix)).for_each(each);
        }
        Ok(())
    }
    fn delete(&self, key: &str) -> Result<(), StorageError> {
        self.inner.list("sessions/", &mut |listed| {
            if listed.key == key {
                self.deleted.lock().unwrap().push(listed);
            }
        })?;
        self.inner.delete(key)
    }
}

#[test]
fn given_a_storage_whose_listings_lag_behind_then_doctor_says_so_and_a_prune_refuses() {
    for shows_new in [false, true] {
        let clock = HandClock::new();
        let storage = MemoryStorage::with_clock(Arc::clone(&clock) as Arc<dyn Clock>);
        let mut vault = Vault::new(storage.clone());
        let forgotten = vault.backup(&noise(1, MIB));
        vault.backup(&noise(2, MIB));
        vault.forget(forgotten);
        clock.advance(3 * DAY);
        let late = Arc::new(Late { inner: storage.clone(), shows_new, deleted: Mutex::default() });
        let (repo, _cache) = vault.reopened(Arc::clone(&late));
        let packs = vault.keys("packs/");
        let at_once = PruneSettings { grace: Duration::ZERO, ..clock.settings() };
        let error = prune_with(&repo, &at_once).unwrap_err();
        assert!(matches!(error, RepoError::ListsLate { .. }), "{error}");
        assert_eq!((vault.keys("packs/"), vault.keys("gc/").len()), (packs, 0));
        let findings = dumpvault::engine::doctor::storage(late.as_ref(), None, clock.as_ref(), &OsEntropy);
        let is_told = |finding: &dumpvault::engine::doctor::Finding| {
            finding.detail.contains("listed") && finding.status == dumpvault::engine::doctor::Status::Error
        };
        assert!(findings.iter().any(is_told), "{findings:?}");
    }
}

#[test]
fn given_a_snapshot_that_is_forgotten_and_pruned_while_it_is_read_then_no_damage_is_told() {
    for moved in [false, true] {
        let mut vault = Vault::new(MemoryStorage::new());
        let bytes = noise(1, 8 * MIB);
        let read = vault.backup(&bytes);
        let (other, kept) = (vault.repo.clone(), vault.backup(&[noise(2, MIB), noise(3, 4 * MIB)].concat()));
        let half = vault.backup(&noise(3, 4 * MIB));
        let (wanted, gone) = if moved { (half, kept) } else { (read, read) };
        let act = move || {
            other.forget(&[gone]).unwrap();
            let settings = PruneSettings { grace: Duration::ZERO, live_share_max: 0.95, ..now() };
            assert!(prune_with(&other, &settings).unwrap().packs_deleted > 0);
        };
        let moment = Mutex::new(Some(("range packs/", Box::new(act) as Box<dyn FnOnce() + Send>)));
        let storage = Arc::new(Meanwhile { inner: Arc::clone(&vault.storage), moment });
        let (repo, _cache) = vault.reopened(Arc::clone(&storage));
        let locator = Locator::new(&repo, repo.catalog(&Silent).unwrap(), Default::default());
        let (locator, stream) = (Arc::new(Mutex::new(locator)), &vault.kept[&wanted].0.body.streams[0]);
        let read = ReadSettings::local(1);
        let outcome =
            repo.reader().read_stream(&locator, stream, read, &Silent, &Cancel::new(), &mut |_| Ok(()));
        assert!(storage.moment.lock().unwrap().is_none());
        match outcome {
            // The pack that it was moved to was asked itself.
            Ok(_) => assert!(moved),
            Err(error) => assert!(matches!(error, RepoError::Overtaken { .. }), "moved: {moved}: {error}"),
        }
    }
}

#[test]
fn given_a_forget_between_any_two_steps_of_looking_then_nothing_is_damaged() {
    for at in ["list marks/", "get marks/", "list snapshots/", "get snapshots/"] {
        let mut vault = Vault::new(MemoryStorage::new());
        let gone = vault.backup(&noise(1, 1000));
        let stays = vault.backup(&noise(2, 1000));
        let other = vault.repo.clone();
        let act = move || other.forget(&[gone]).unwrap();
        let moment = Mutex::new(Some((at, Box::new(act) as Box<dyn FnOnce() + Send>)));
        let storage = Arc::new(Meanwhile { inner: Arc::clone(&vault.storage), moment });
        let (repo, _cache) = vault.reopened(Arc::clone(&storage));
        let history = repo.history(&mut repo.catalog(&Silent).unwrap()).unwrap();
        assert!(storage.moment.lock().unwrap().is_none(), "{at}: the other has run");
        assert!(history.damaged.is_empty(), "{at}: {:?}", history.damaged);
        assert!(history.snapshots.iter().any(|summary| summary.id == stays), "{at}");
    }
}

#[test]
fn given_packs_of_another_process_that_shares_the_catalog_then_none_seems_to_be_missing() {
    let mut vault = Vault::new(MemoryStorage::new());
    vault.backup(&noise(1, 1000));
    // Right after this one has listed packs, the other stores its own and notes them in the same catalog.
    let other = vault.repo.clone();
    let act = move || {
        let (catalog, _, presence) = other.synced(&Silent).unwrap();
        let mut session = other.writer().begin_backup(catalog, presence, settings()).unwrap();
        let bytes = noise(2, MIB);
        let stored = session.store("app", &mut &bytes[..], Basis::Chunks, &Silent, &Cancel::new()).unwrap();
        let finished = stored.finish(Proof::Exited, StreamFormat::Unknown, BTreeMap::new());
        session.commit(vec![finished], request(2)).unwrap();
    };
    let moment = Mutex::new(Some(("after list packs/", Box::new(act) as Box<dyn FnOnce() + Send>)));
    let storage = Arc::new(Meanwhile { inner: Arc::clone(&vault.storage), moment });
    let around = Surroundings::new(Arc::new(OsEntropy), vault._cache.path().into());
    let here = Repository::open(Arc::clone(&storage) as Arc<dyn Storage>, &credential(), &around).unwrap();
    let (_, _, presence) = here.synced(&Silent).unwrap();
    assert!(storage.moment.lock().unwrap().is_none());
    assert!(presence.unusable.is_empty(), "{:?}", presence.unusable);
}
