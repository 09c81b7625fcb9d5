//! Forgetting and pruning: what is kept stays whole, what is not goes, and a crash at any step leaves garbage at worst.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use dumpvault::crypto::Credential;
use dumpvault::event::{Cancel, Silent};
use dumpvault::id::SnapshotId;
use dumpvault::repo::format::config::Config;
use dumpvault::repo::gc::{PruneReport, PruneSettings};
use dumpvault::repo::reader::{Locator, ReadSettings};
use dumpvault::repo::verify::CheckSettings;
use dumpvault::repo::writer::{BackupSession, Basis, CommitRequest, Committed, PipelineSettings};
use dumpvault::repo::{RepoError, Repository, Surroundings};
use dumpvault::secret::{OsEntropy, Passphrase};
use dumpvault::snapshot::{Proof, StreamFormat};
use dumpvault::storage::Storage;
use dumpvault::storage::memory::MemoryStorage;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn passphrase() -> Credential {
    Credential::Passphrase(Passphrase::new("a long enough passphrase".into()))
}

/// A repository and what was put into it.
struct Vault {
    storage: Arc<dyn Storage>,
    repo: Repository,
    /// Removed with it.
    _cache: tempfile::TempDir,
    kept: BTreeMap<SnapshotId, (Committed, Vec<u8>)>,
    counter: u64,
}

impl Vault {
    fn new(storage: impl Storage + 'static) -> Self {
        let storage: Arc<dyn Storage> = Arc::new(storage);
        let cache = tempfile::tempdir().unwrap();
        let around = Surroundings { entropy: Arc::new(OsEntropy), cache_root: cache.path().into() };
        let repo =
            Repository::init(Arc::clone(&storage), &passphrase(), "", Config::new(0), &around).unwrap();
        Self { storage, repo, _cache: cache, kept: BTreeMap::new(), counter: 0 }
    }

    /// The same repository, opened over another storage and with a catalog of its own.
    fn reopened(&self, storage: impl Storage + 'static) -> (Repository, tempfile::TempDir) {
        let cache = tempfile::tempdir().unwrap();
        let around = Surroundings { entropy: Arc::new(OsEntropy), cache_root: cache.path().into() };
        (Repository::open(Arc::new(storage), &passphrase(), &around).unwrap(), cache)
    }

    fn begin(&self) -> BackupSession {
        let (catalog, _, presence) = self.repo.synced(&Silent).unwrap();
        self.repo.begin_backup(catalog, presence, settings()).unwrap()
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
        stored: dumpvault::repo::writer::StoredStream,
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
            repo.read_stream(&locator, stream, read, &Silent, &Cancel::new(), &mut write).unwrap();
            assert!(out == *bytes, "snapshot {id} came back otherwise");
        }
        let check = CheckSettings { read_data: true, workers: 1 };
        let report = repo.check(check, &Silent, &Cancel::new()).unwrap();
        assert!(report.is_clean(), "{report:?}");
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
    PipelineSettings { level: dumpvault::codec::Level::DEFAULT, read_back: true, workers: 1 }
}

fn request(counter: u64) -> CommitRequest {
    CommitRequest {
        series: "app".into(),
        host: "test".into(),
        time_ms: 1_790_000_000_000 + counter as i64 * 86_400_000,
        now_ms: 1_790_000_001_000 + counter as i64 * 86_400_000,
        tags: vec![],
        counter,
        predecessor: None,
        time_zone: "UTC".into(),
        calendar: vec![],
        program: "test".into(),
        source: BTreeMap::new(),
        parent: None,
        failed: vec![],
    }
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
