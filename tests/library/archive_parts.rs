//! Parts of archives as the library reads them: how many bytes come from the storage, also for snapshots without a
//! table map.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use crate::support::small;
use dumpvault::base::event::{Cancel, Silent};
use dumpvault::base::name::SnapshotName;
use dumpvault::base::secret::{OsEntropy, Passphrase};
use dumpvault::content::pg::Selection;
use dumpvault::engine::restore::{Chosen, OnRollback, Target, choose};
use dumpvault::source::sample::{SampleConfig, SampleDump};
use dumpvault::storage::memory::MemoryStorage;
use dumpvault::storage::{Storage, StorageError};
use dumpvault::vault::crypto::Credential;
use dumpvault::vault::format::config::Config;
use dumpvault::vault::reader::ReadSettings;
use dumpvault::vault::snapshot::selection::Viewpoint;
use dumpvault::vault::snapshot::{Proof, StreamFormat};
use dumpvault::vault::writer::{Basis, CommitRequest, PipelineSettings};
use dumpvault::vault::{Repository, Surroundings};
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the bytes that are read of packs.
#[derive(Debug)]
struct Counting {
    inner: MemoryStorage,
    bytes: Arc<AtomicU64>,
}

impl Counting {
    fn count(&self, key: &str, bytes: usize) {
        if key.starts_with("packs/") {
            self.bytes.fetch_add(bytes as u64, Ordering::SeqCst);
        }
    }
}

impl Storage for Counting {
    dumpvault::passes_on!(put, size, list, delete, location);

    fn get(&self, key: &str, bytes_max: u64) -> Result<Vec<u8>, StorageError> {
        let bytes = self.inner.get(key, bytes_max)?;
        self.count(key, bytes.len());
        Ok(bytes)
    }
    fn get_range(&self, key: &str, offset: u64, buffer: &mut [u8]) -> Result<(), StorageError> {
        self.count(key, buffer.len());
        self.inner.get_range(key, offset, buffer)
    }
}

/// Stores a dump as a program did that made no maps.
fn store(repo: &Repository, dump: &[u8]) {
    let mut catalog = repo.catalog(&Silent).unwrap();
    let history = repo.history(&mut catalog).unwrap();
    let presence = repo.reconcile(&mut catalog, &history.damaged_packs).unwrap();
    let settings =
        PipelineSettings { level: dumpvault::content::codec::Level::DEFAULT, read_back: true, workers: 2 };
    let mut session = repo.writer().begin_backup(catalog, presence, settings).unwrap();
    let stored = session.store("shop", &mut &dump[..], Basis::Chunks, &Silent, &Cancel::new()).unwrap();
    let finished = stored.finish(Proof::Exited, StreamFormat::PgCustom, BTreeMap::new());
    let request = CommitRequest {
        series: "shop".into(),
        time_ms: 1_790_000_000_000,
        now_ms: 1_790_000_001_000,
        ..small::request(1)
    };
    session.commit(vec![finished], request).unwrap();
}

fn newest(repo: &Repository) -> Chosen {
    let name = SnapshotName::parse("latest", &jiff::tz::TimeZone::UTC).unwrap();
    let from = Viewpoint { host: "test".into(), any_host: false };
    choose(repo, &name, &from, OnRollback::Refuse, ReadSettings::local(2), &Silent).unwrap()
}

#[test]
fn one_small_table_of_a_large_dump_reads_less_than_3_percent_of_it() {
    let mut dump = Vec::new();
    SampleDump::new(SampleConfig::new(3, 150_000_000)).unwrap().read_to_end(&mut dump).unwrap();
    let bytes = Arc::new(AtomicU64::new(0));
    let storage = Counting { inner: MemoryStorage::default(), bytes: Arc::clone(&bytes) };
    let cache = tempfile::tempdir().unwrap();
    let credential = Credential::Passphrase(Passphrase::new("a long enough passphrase".into()));
    let surroundings = Surroundings::new(Arc::new(OsEntropy), cache.path().to_owned());
    let config = Config::new(1_790_000_000_000);
    let repo = Repository::init(Arc::new(storage), &credential, "test", config, &surroundings).unwrap();
    store(&repo, &dump);
    let read = |work: &mut dyn FnMut()| {
        let before = bytes.load(Ordering::SeqCst);
        work();
        bytes.load(Ordering::SeqCst) - before
    };

    let chosen = newest(&repo);
    let stream = chosen.stream(None).unwrap().clone();
    let (mut whole, mut part, mut archive) = (Vec::new(), Vec::new(), None);
    let all = read(&mut || {
        let target = Target::Writer(&mut whole);
        chosen.restore(&stream, target, &Silent, &Cancel::new()).unwrap();
    });
    assert_eq!(whole, dump);
    // Without a map, all is read once to make one.
    let surveyed = read(&mut || archive = Some(chosen.archive(&stream, &Silent, &Cancel::new()).unwrap()));
    assert!(surveyed >= all, "{surveyed} bytes of {all}");
    let archive = archive.unwrap();
    let selection = Selection { tables: vec!["warehouses".parse().unwrap()], ..Selection::default() };
    let picked = archive.select(&selection).unwrap();
    let parts = archive.synthesise(&picked.entries).unwrap();
    let few = read(&mut || {
        let target = Target::Writer(&mut part);
        chosen.restore_part(&stream, &parts, target, &Silent, &Cancel::new()).unwrap();
    });
    let table = archive.tables(&picked).next().unwrap();
    let rows = table.rows.unwrap();
    assert!(rows > 0 && part.len() as u64 == parts.len());
    assert!(few * 100 < all * 3, "{few} bytes read for a table, {all} for the whole dump");
    assert!(few * 100 < dump.len() as u64 * 3);
    // The bytes are those of the dump.
    let range = table.range();
    let block = &dump[range.start as usize..range.end as usize];
    assert!(part.windows(block.len()).any(|window| window == block));
}
