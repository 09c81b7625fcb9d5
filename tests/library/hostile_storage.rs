//! A storage that lists what it likes: a million key slots, names that climb out of their folder, objects that are
//! none. What it says is taken for what it is worth, in bounded time and memory.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use crate::support::small;
use dumpvault::base::event::{Cancel, Silent};
use dumpvault::storage::faulty::{Faulty, Operation};
use dumpvault::storage::memory::MemoryStorage;
use dumpvault::storage::{Listed, Storage, StorageError};
use dumpvault::vault::Repository;
use dumpvault::vault::check::{CheckSettings, ReadData, check_storage};
use dumpvault::vault::crypto::Role;
use dumpvault::vault::format::slot::SLOTS_MAX;
use dumpvault::vault::gc::PruneSettings;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

/// What is there, and more.
#[derive(Debug)]
struct Liar {
    inner: MemoryStorage,
    /// Key slots that are listed and not there.
    slots: u64,
    /// Names for every folder, in place of `{}`.
    names: Vec<String>,
}

impl Storage for Liar {
    dumpvault::passes_on!(put, get, get_range, size, delete);

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Listed)) -> Result<(), StorageError> {
        let listed = |key: String| Listed { key, bytes: u64::MAX, modified: SystemTime::UNIX_EPOCH };
        for name in &self.names {
            each(listed(format!("{prefix}{name}")));
        }
        if prefix == "keys/" {
            for n in 0..self.slots {
                each(listed(format!("keys/{n:064x}")));
            }
        }
        self.inner.list(prefix, each)
    }
    fn location(&self) -> String {
        "liar:".to_owned()
    }
}

/// A deadline for work that would take hours if it went about it the wrong way.
#[track_caller]
fn soon<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, outcome) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(work()));
    outcome.recv_timeout(Duration::from_secs(120)).unwrap_or_else(|error| panic!("no end in sight: {error}"))
}

#[test]
fn a_million_key_slots_that_are_older_than_all_others_keep_out_nobody_who_has_opened_before_or_has_a_slot() {
    let storage = MemoryStorage::new();
    let cache = small::scratch();
    let repo = small::init(storage.clone(), cache.path()).unwrap();
    drop(repo);
    drop(small::open(storage.clone(), cache.path()).unwrap());
    let slot = storage.get(&small::keys(&storage, "keys/")[0], u64::MAX).unwrap();
    let liar = Arc::new(Liar { inner: storage, slots: 1_000_000, names: vec![] });
    soon(move || {
        let repo = small::open(Arc::clone(&liar), cache.path()).unwrap();
        repo.key_ring().add_for_all(&small::another_credential(8), Role::Append, "", 0).unwrap();
        let fresh = small::scratch();
        assert!(small::open(Arc::clone(&liar), fresh.path()).is_err());
        let mut around = small::surroundings(fresh.path());
        around.access.key_slot = Some(slot);
        Repository::open(liar, &small::credential(), &around).unwrap();
    });
}

#[test]
fn names_that_are_none_or_climb_out_of_their_folder_mean_nothing() {
    let storage = MemoryStorage::new();
    let cache = small::scratch();
    let repo = small::init(storage.clone(), cache.path()).unwrap();
    let bytes = small::noise(1, 20_000);
    let kept = small::backup(&repo, 1, &bytes, None).unwrap();
    let names = ["../../etc/passwd", "..", "", "/", "\0", "../config", "a/../../b", "%2e%2e%2f", "ü", "CON"];
    let mut names: Vec<String> = names.into_iter().map(str::to_owned).collect();
    names.extend(["x".repeat(100_000), "-1".into(), format!("{}-{}", "ab".repeat(16), "9".repeat(99))]);
    let liar = Arc::new(Liar { inner: storage.clone(), slots: 0, names });
    let fresh = small::scratch();
    let repo = small::open(Arc::clone(&liar), fresh.path()).unwrap();
    assert!(small::restore(&repo, &kept.id).unwrap() == bytes);
    assert!(small::check(&repo).unwrap().is_clean());
    small::backup(&repo, 2, &small::noise(2, 20_000), None).unwrap();
    repo.forget(&[kept.id]).unwrap();
    let settings = PruneSettings {
        grace: Duration::ZERO,
        ..PruneSettings::new(jiff::Timestamp::now().as_millisecond())
    };
    repo.prune(&settings, &Silent, &Cancel::new()).unwrap();
    repo.key_ring().add_for_all(&small::another_credential(8), Role::Append, "", 0).unwrap();
    assert!(small::check(&repo).unwrap().is_clean());
    // Nothing was made outside of what the format knows.
    let folders = ["authors", "config", "gc", "index", "keys", "marks", "packs", "sessions", "snapshots"];
    let keys = small::keys(&storage, "");
    assert!(keys.iter().all(|key| folders.contains(&key.split('/').next().unwrap())), "{keys:?}");
}

#[test]
fn a_hundred_thousand_objects_that_are_none_are_told_in_a_check_that_comes_to_an_end() {
    const MANY: usize = 100_000;
    let storage = MemoryStorage::new();
    let cache = small::scratch();
    let repo = small::init(storage.clone(), cache.path()).unwrap();
    let kept = small::backup(&repo, 1, &small::noise(1, 5000), None).unwrap();
    for n in 0..MANY {
        storage.put(&format!("marks/{n:064x}"), b"no mark").unwrap();
    }
    let cache_root = cache.path().to_owned();
    soon(move || {
        let report = small::check(&repo).unwrap();
        assert_eq!((report.damage.len(), report.hits.len()), (MANY, 0));
        let settings = CheckSettings::new(ReadData::Nothing, 0, 1);
        let report = check_storage(&storage, &cache_root, &settings, &Silent, &Cancel::new()).unwrap();
        assert_eq!(report.damage.len(), MANY);
        assert!(small::restore(&repo, &kept.id).unwrap() == small::noise(1, 5000));
    });
}

/// The second looks how many there are before the first has put its own.
#[test]
fn two_hosts_that_add_the_last_key_at_the_same_moment_both_open_and_a_third_is_refused() {
    let (storage, cache) = (MemoryStorage::new(), small::scratch());
    let repo = small::init(storage.clone(), cache.path()).unwrap();
    for other in 100..100 + SLOTS_MAX as u8 - 2 {
        repo.key_ring().add_for_all(&small::another_credential(other), Role::Full, "", 0).unwrap();
    }
    assert_eq!(small::keys(&storage, "keys/").len(), SLOTS_MAX - 1);
    let faulty = Faulty::new(storage.clone(), 0);
    let is_raced = AtomicBool::new(false);
    faulty.set_hook(move |call| {
        let is_slot = matches!(call.operation, Operation::Put) && call.key.starts_with("keys/");
        if is_slot && !is_raced.swap(true, Ordering::SeqCst) {
            repo.key_ring().add_for_all(&small::another_credential(8), Role::Full, "", 0).unwrap();
        }
        None
    });
    let elsewhere = small::scratch();
    let first = small::open(faulty, elsewhere.path()).unwrap();
    first.key_ring().add_for_all(&small::another_credential(9), Role::Full, "", 0).unwrap();
    assert_eq!(small::keys(&storage, "keys/").len(), SLOTS_MAX + 1);
    for (number, byte) in [7, 8, 9, 100].into_iter().enumerate() {
        let fresh = small::scratch();
        let opened = Repository::open(
            Arc::new(storage.clone()),
            &small::another_credential(byte),
            &small::surroundings(fresh.path()),
        );
        let refused = opened.unwrap().key_ring().add_for_all(
            &small::another_credential(200 + number as u8),
            Role::Full,
            "",
            0,
        );
        assert!(refused.is_err(), "{byte}");
    }
}
