//! Small repositories in memory, through the library: made, filled and looked at within milliseconds.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use dumpvault::base::calendar::Calendar;
use dumpvault::base::clock::Clock;
use dumpvault::base::event::{Cancel, Silent};
use dumpvault::base::id::SnapshotId;
use dumpvault::base::secret::{Entropy, OsEntropy};
use dumpvault::content::chunker::ChunkSizes;
use dumpvault::content::codec::Level;
use dumpvault::engine::backup::{BackupRequest, ParentChoice, READ_AMPLIFICATION_MAX};
use dumpvault::source::Source;
use dumpvault::storage::Storage;
use dumpvault::storage::memory::MemoryStorage;
use dumpvault::vault::check::{CheckReport, CheckSettings, ReadData};
use dumpvault::vault::crypto::{Credential, KeyFile};
use dumpvault::vault::format::config::Config;
use dumpvault::vault::reader::{Locator, ReadSettings};
use dumpvault::vault::snapshot::{Proof, Stream, StreamFormat};
use dumpvault::vault::writer::{
    BackupSession, Basis, CommitRequest, Committed, PipelineSettings, StoredStream,
};
use dumpvault::vault::{RepoError, Repository, Surroundings};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

/// What all these repositories are opened with. A passphrase would be slow to try, by design.
pub fn credential() -> Credential {
    another_credential(7)
}

/// One of 256 key files.
pub fn another_credential(byte: u8) -> Credential {
    static OPENED: OnceLock<Mutex<BTreeMap<u8, KeyFile>>> = OnceLock::new();
    let mut opened = OPENED.get_or_init(Mutex::default).lock().unwrap();
    let key = opened.entry(byte).or_insert_with(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, [byte; 32]).unwrap();
        KeyFile::read(&path).unwrap().0
    });
    Credential::KeyFile(key.clone())
}

/// A directory that is gone when dropped, in memory where there is such a file system: catalogs are written often here.
pub fn scratch() -> tempfile::TempDir {
    let shared = Path::new("/dev/shm");
    let in_memory = tempfile::Builder::new().prefix("dv-").tempdir_in(shared);
    in_memory.unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// Chunks and blocks of a few KiB, so that a few hundred of them are a small repository.
pub fn tiny() -> Config {
    let chunk_sizes = ChunkSizes { min: 512, average: 1024, max: 4096 };
    Config { chunk_sizes, block_bytes: 8 << 10, pack_bytes: 1 << 20, ..Config::new(0) }
}

pub fn surroundings(cache: &Path) -> Surroundings {
    Surroundings::new(Arc::new(OsEntropy), cache.to_owned())
}

pub fn init(storage: impl Storage + 'static, cache: &Path) -> Result<Repository, RepoError> {
    Repository::init(Arc::new(storage), &credential(), "", tiny(), &surroundings(cache))
}

pub fn open(storage: impl Storage + 'static, cache: &Path) -> Result<Repository, RepoError> {
    Repository::open(Arc::new(storage), &credential(), &surroundings(cache))
}

/// A committed snapshot and the bytes that its only stream had.
#[derive(Clone)]
pub struct Kept {
    pub id: SnapshotId,
    pub stream: Stream,
    pub bytes: Arc<[u8]>,
}

impl Kept {
    pub fn new(committed: &Committed, bytes: &[u8]) -> Self {
        Self { id: committed.summary.id, stream: committed.body.streams[0].clone(), bytes: bytes.into() }
    }
}

pub fn begin(repo: &Repository) -> Result<BackupSession, RepoError> {
    let (catalog, _, presence) = repo.synced(&Silent)?;
    let level = dumpvault::content::codec::Level::DEFAULT;
    repo.writer().begin_backup(catalog, presence, PipelineSettings { level, read_back: true, workers: 1 })
}

/// Stores a stream, compared with `parent` where there is one that can be read.
pub fn store(
    session: &mut BackupSession,
    bytes: &[u8],
    parent: Option<&Stream>,
) -> Result<StoredStream, RepoError> {
    let parent = parent.and_then(|stream| session.parent(stream, "test", 1, Box::new(|_| true)).ok());
    let basis = parent.map_or(Basis::Chunks, |parent| Basis::Parent(Box::new(parent)));
    session.store("app", &mut &bytes[..], basis, &Silent, &Cancel::new())
}

pub fn commit(session: BackupSession, stored: StoredStream, counter: u64) -> Result<Committed, RepoError> {
    let finished = stored.finish(Proof::Exited, StreamFormat::Unknown, BTreeMap::new());
    session.commit(vec![finished], request(counter))
}

/// A whole backup of one stream.
pub fn backup(
    repo: &Repository,
    counter: u64,
    bytes: &[u8],
    parent: Option<&Stream>,
) -> Result<Kept, RepoError> {
    let mut session = begin(repo)?;
    let stored = store(&mut session, bytes, parent)?;
    commit(session, stored, counter).map(|committed| Kept::new(&committed, bytes))
}

pub fn request(counter: u64) -> CommitRequest {
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
        origin: None,
        origin_author: None,
        set: None,
        is_import: false,
        pins: Vec::new(),
    }
}

/// A job's request for a backup, as plain as can be.
pub fn backup_request(series: &str, source: &dyn Source, workers: usize) -> BackupRequest {
    BackupRequest {
        series: series.to_owned(),
        host: "here".to_owned(),
        time: None,
        tags: Vec::new(),
        calendar: Calendar::default(),
        level: Level::DEFAULT,
        allow_empty: false,
        workers,
        parent: ParentChoice::Newest,
        read_amplification_max: READ_AMPLIFICATION_MAX,
        suspect_below: 0.0,
        source: source.describe(),
        set: None,
    }
}

/// The snapshots that are listed.
pub fn listed(repo: &Repository) -> Result<BTreeSet<SnapshotId>, RepoError> {
    let mut catalog = repo.catalog(&Silent)?;
    Ok(repo.history(&mut catalog)?.snapshots.iter().map(|summary| summary.id).collect())
}

/// Restores the first stream of a snapshot: as a person would, knowing nothing but its id.
pub fn restore(repo: &Repository, id: &SnapshotId) -> Result<Vec<u8>, RepoError> {
    let mut catalog = repo.catalog(&Silent)?;
    let history = repo.history(&mut catalog)?;
    if !history.snapshots.iter().any(|summary| summary.id == *id) {
        return Err(RepoError::Missing { object: format!("snapshots/{id}") });
    }
    let body = repo.body(&mut catalog, id)?;
    let locator = Arc::new(Mutex::new(Locator::new(repo, catalog, history.damaged_packs)));
    let mut out = Vec::new();
    let mut write = |bytes: &[u8]| {
        out.extend_from_slice(bytes);
        Ok(())
    };
    let read = ReadSettings { workers: 1, ..ReadSettings::local(1) };
    repo.reader().read_stream(&locator, &body.streams[0], read, &Silent, &Cancel::new(), &mut write)?;
    Ok(out)
}

/// Reads everything.
pub fn check(repo: &Repository) -> Result<CheckReport, RepoError> {
    repo.checker().check(CheckSettings::new(ReadData::All, 0, 1), &Silent, &Cancel::new())
}

/// A clock that stands until it is moved.
pub struct HandClock(Mutex<Timestamp>);

impl HandClock {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new("2026-11-01T00:00:00Z".parse().unwrap())))
    }

    pub fn advance_minutes(&self, minutes: i64) {
        *self.0.lock().unwrap() += SignedDuration::from_mins(minutes);
    }

    pub fn now_ms(&self) -> i64 {
        self.now().as_millisecond()
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

/// A storage that tells the time by `clock`.
pub fn memory(clock: &Arc<HandClock>) -> MemoryStorage {
    MemoryStorage::with_clock(Arc::clone(clock) as Arc<dyn Clock>)
}

/// All keys.
pub fn keys(storage: &dyn Storage, prefix: &str) -> Vec<String> {
    let mut keys = Vec::new();
    storage.list(prefix, &mut |listed| keys.push(listed.key)).unwrap();
    keys
}

/// Another storage with the same objects. They bear the clock's present time.
pub fn copy_of(storage: &dyn Storage, clock: &Arc<HandClock>) -> MemoryStorage {
    let copy = memory(clock);
    for key in keys(storage, "") {
        copy.put(&key, &storage.get(&key, u64::MAX).unwrap()).unwrap();
    }
    copy
}

/// Copies a folder with all that is in it.
pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Bytes that do not compress, different for each seed.
pub fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

/// A table's dump of `rows` lines, of which each seventh was changed on `day`.
pub fn table(rows: u64, day: u64) -> Vec<u8> {
    let line = |row: u64| {
        let day = if row % 7 == day % 7 { day } else { 0 };
        format!("{row}\t{}\n", &blake3::hash(format!("{row} {day}").as_bytes()).to_hex()[..48])
    };
    (0..rows).map(line).collect::<String>().into_bytes()
}

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone)]
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// The same bytes for the same seed.
pub struct SeededEntropy(Mutex<blake3::OutputReader>);

impl SeededEntropy {
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof()))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), dumpvault::base::secret::EntropyError> {
        self.0.lock().unwrap().fill(bytes);
        Ok(())
    }
}
