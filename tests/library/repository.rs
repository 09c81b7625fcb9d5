//! The repository as a library: streams in, snapshots out, over memory and local storage.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use crate::support::small;
use dumpvault::base::event::{Cancel, Silent};
use dumpvault::base::secret::{OsEntropy, Passphrase};
use dumpvault::source::sample::{SampleConfig, SampleDump};
use dumpvault::storage::Storage;
use dumpvault::storage::memory::MemoryStorage;
use dumpvault::vault::crypto::Credential;
use dumpvault::vault::format::config::Config;
use dumpvault::vault::reader::{Locator, ReadSettings};
use dumpvault::vault::snapshot::{Proof, StreamFormat};
use dumpvault::vault::writer::{Basis, CommitRequest, Committed, PipelineSettings};
use dumpvault::vault::{RepoError, Repository, Surroundings};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex};

fn passphrase() -> Credential {
    Credential::Passphrase(Passphrase::new("a long enough passphrase".into()))
}

fn surroundings(cache: &Path) -> Surroundings {
    Surroundings::new(Arc::new(OsEntropy), cache.to_owned())
}

fn settings() -> PipelineSettings {
    PipelineSettings { level: dumpvault::content::codec::Level::DEFAULT, read_back: true, workers: 2 }
}

fn backup(repo: &Repository, name: &str, bytes: &[u8]) -> Committed {
    let mut catalog = repo.catalog(&Silent).unwrap();
    let history = repo.history(&mut catalog).unwrap();
    let presence = repo.reconcile(&mut catalog, &history.damaged_packs).unwrap();
    let mut session = repo.writer().begin_backup(catalog, presence, settings()).unwrap();
    let stored = session.store(name, &mut &bytes[..], Basis::Chunks, &Silent, &Cancel::new()).unwrap();
    let finished = stored.finish(Proof::Exited, StreamFormat::Unknown, BTreeMap::new());
    session.commit(vec![finished], request(name)).unwrap()
}

fn request(name: &str) -> CommitRequest {
    CommitRequest {
        series: name.into(),
        time_ms: 1_790_000_000_000,
        now_ms: 1_790_000_001_000,
        ..small::request(1)
    }
}

fn restore(repo: &Repository, committed: &Committed) -> Result<Vec<u8>, RepoError> {
    let locator = Arc::new(Mutex::new(Locator::new(repo, repo.catalog(&Silent)?, Default::default())));
    let mut out = Vec::new();
    let mut write = |bytes: &[u8]| {
        out.extend_from_slice(bytes);
        Ok(())
    };
    let read = ReadSettings::new(3, 8 << 20, 1 << 20);
    repo.reader().read_stream(
        &locator,
        &committed.body.streams[0],
        read,
        &Silent,
        &Cancel::new(),
        &mut write,
    )?;
    Ok(out)
}

fn sample(bytes: u64, day: u16) -> Vec<u8> {
    let mut dump = Vec::new();
    SampleDump::new(SampleConfig::new(1, bytes).day(day)).unwrap().read_to_end(&mut dump).unwrap();
    dump
}

#[test]
fn a_dump_comes_back_bit_for_bit_and_a_second_one_costs_its_last_bytes() {
    let cache = tempfile::tempdir().unwrap();
    let storage = MemoryStorage::new();
    let repo = Repository::init(
        Arc::new(storage.clone()),
        &passphrase(),
        "",
        Config::new(0),
        &surroundings(cache.path()),
    )
    .unwrap();
    let dump = sample(80 << 20, 0);
    let first = backup(&repo, "app", &dump);
    assert!(restore(&repo, &first).unwrap() == dump);

    let reopened = Repository::open(Arc::new(storage), &passphrase(), &surroundings(cache.path())).unwrap();
    let second = backup(&reopened, "app", &dump);
    let stats = second.body.streams[0].stats;
    // What is shorter than a chunk has an id that nobody can guess, and so is not found again without a parent.
    assert!(stats.bytes_new < 16 << 10 && stats.recipe_bytes_stored < 64 << 10, "{stats:?}");
    assert!(restore(&reopened, &second).unwrap() == dump);
}

#[test]
fn a_lost_catalog_and_a_lost_index_cost_nothing_but_time() {
    let cache = tempfile::tempdir().unwrap();
    let storage = MemoryStorage::new();
    let repo = Repository::init(
        Arc::new(storage.clone()),
        &passphrase(),
        "",
        Config::new(0),
        &surroundings(cache.path()),
    )
    .unwrap();
    let dump = sample(5 << 20, 0);
    let first = backup(&repo, "app", &dump);
    repo.drop_catalog().unwrap();
    assert!(restore(&repo, &first).unwrap() == dump);
    let mut indexes = Vec::new();
    storage.list("index/", &mut |listed| indexes.push(listed.key)).unwrap();
    for index in indexes {
        storage.delete(&index).unwrap();
    }
    repo.drop_catalog().unwrap();
    assert!(restore(&repo, &first).unwrap() == dump);
    let again = backup(&repo, "app", &dump);
    assert!(again.body.streams[0].stats.bytes_new < 16 << 10, "only what is shorter than a chunk");
}

#[test]
fn odd_lengths_come_back() {
    let cache = tempfile::tempdir().unwrap();
    let repo = Repository::init(
        Arc::new(MemoryStorage::new()),
        &passphrase(),
        "",
        Config::new(0),
        &surroundings(cache.path()),
    )
    .unwrap();
    for len in [0, 1, 255, 16384, 262_143, 262_144, 262_145, 2 << 20, (2 << 20) + 1, 4_999_999] {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        let committed = backup(&repo, "odd", &bytes);
        assert!(restore(&repo, &committed).unwrap() == bytes, "{len}");
        let zeros = vec![0; len];
        let committed = backup(&repo, "zeros", &zeros);
        assert!(restore(&repo, &committed).unwrap() == zeros, "{len} zeros");
    }
}
