//! The pack cache: what it keeps and removes, and that a file that was harmed is never believed.

use super::*;
use crate::storage::faulty::{Call, Fault, Faulty, Operation};
use crate::storage::memory::MemoryStorage;
use std::path::Path;
use tempfile::TempDir;

type Counted = Arc<Faulty<MemoryStorage>>;

struct Place {
    folder: TempDir,
    remote: Counted,
}

impl Place {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            remote: Arc::new(Faulty::new(MemoryStorage::new(), 1).remote()),
        }
    }

    fn cached(&self, bytes_max: u64) -> Cached<Counted> {
        Cached::new(Arc::clone(&self.remote), self.folder.path(), bytes_max)
    }

    /// What the remote storage is asked while `act` runs.
    fn calls(&self, act: impl FnOnce()) -> u64 {
        let before = self.remote.calls();
        act();
        self.remote.calls() - before
    }

    fn file(&self, key: &str) -> PathBuf {
        let name = key.rsplit('/').next().unwrap();
        self.folder.path().join(&name[..2]).join(name)
    }
}

fn pack(seed: u8, bytes: usize) -> (String, Vec<u8>) {
    let content: Vec<u8> = (0..bytes).map(|at| (at as u8).wrapping_mul(31) ^ seed).collect();
    let name = blake3::hash(&content).to_hex();
    (format!("packs/{}/{name}", &name[..2]), content)
}

fn range(storage: &dyn Storage, key: &str, offset: usize, bytes: usize) -> Vec<u8> {
    let mut buffer = vec![0; bytes];
    storage.get_range(key, offset as u64, &mut buffer).unwrap();
    buffer
}

/// Gives a file another age, so that no test waits for a clock to move.
fn age(path: &Path, seconds: u64) {
    let moment = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000 - seconds);
    File::options().write(true).open(path).unwrap().set_modified(moment).unwrap();
}

#[test]
fn given_a_pack_that_was_put_then_its_ranges_cost_no_request() {
    let place = Place::new();
    let cached = place.cached(1 << 20);
    let (key, content) = pack(1, 10_000);
    cached.put(&key, &content).unwrap();
    assert!(cached.cached(&key));
    let calls = place.calls(|| assert_eq!(range(&cached, &key, 100, 900), content[100..1000]));
    assert_eq!(calls, 0);
    assert_eq!(place.remote.inner().size(&key).unwrap(), Some(10_000), "it was written through");

    let later = place.cached(1 << 20);
    assert_eq!(place.calls(|| assert_eq!(range(&later, &key, 0, 10_000), content)), 0);
}

#[test]
fn given_a_pack_not_cached_then_a_range_is_passed_on_and_warming_fetches_it_once() {
    let place = Place::new();
    let (key, content) = pack(1, 10_000);
    place.remote.put(&key, &content).unwrap();
    let cached = place.cached(1 << 20);

    let calls = place.calls(|| assert_eq!(range(&cached, &key, 5, 10), content[5..15]));
    assert_eq!((calls, cached.cached(&key)), (1, false), "ranges are not kept");

    let calls = place.calls(|| {
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert!(cached.warm(&key).unwrap()));
            }
        });
    });
    assert_eq!(calls, 1, "eight that want it fetch it once");
    assert_eq!(place.calls(|| assert_eq!(range(&cached, &key, 5, 10), content[5..15])), 0);
}

#[test]
fn given_any_flipped_bit_or_a_cut_in_the_file_then_it_is_removed_and_the_storage_asked() {
    let (key, content) = pack(1, 1000);
    type Damage<'a> = &'a dyn Fn(&mut Vec<u8>);
    let damages: [Damage<'_>; 4] =
        [&|bytes| bytes[0] ^= 1, &|bytes| bytes[999] ^= 128, &|bytes| bytes.truncate(500), &|bytes| {
            bytes.clear()
        }];
    for damage in damages {
        let place = Place::new();
        place.cached(1 << 20).put(&key, &content).unwrap();
        let mut bytes = std::fs::read(place.file(&key)).unwrap();
        damage(&mut bytes);
        std::fs::write(place.file(&key), bytes).unwrap();

        let cached = place.cached(1 << 20);
        assert_eq!(range(&cached, &key, 0, 1000), content);
        assert!(!place.file(&key).exists());
        assert!(cached.warm(&key).unwrap(), "it is fetched again");
        assert_eq!(place.calls(|| assert_eq!(range(&cached, &key, 0, 1000), content)), 0);
    }
}

#[test]
fn given_a_pack_damaged_in_the_storage_then_it_is_not_kept_and_the_reader_sees_the_damage() {
    let place = Place::new();
    let (key, content) = pack(1, 1000);
    place.remote.put(&key, &content).unwrap();
    place.remote.inner().tamper(&key, |bytes| bytes[7] ^= 1);
    let cached = place.cached(1 << 20);
    assert!(!cached.warm(&key).unwrap());
    assert!(!cached.cached(&key));
    assert_ne!(range(&cached, &key, 0, 1000), content);
}

#[test]
fn a_whole_object_is_always_asked_from_the_storage_so_that_a_check_sees_what_is_there() {
    let place = Place::new();
    let cached = place.cached(1 << 20);
    let (key, content) = pack(1, 1000);
    cached.put(&key, &content).unwrap();
    place.remote.inner().tamper(&key, |bytes| bytes[7] ^= 1);
    assert_ne!(cached.get(&key, 1000).unwrap(), content);
}

#[test]
fn given_more_than_the_bound_then_what_was_of_use_longest_ago_goes_and_the_bound_holds() {
    let place = Place::new();
    let cached = place.cached(10_000);
    let packs: Vec<_> = (0..20).map(|seed| pack(seed, 1000)).collect();
    for (at, (key, content)) in (0..).zip(&packs) {
        cached.put(key, content).unwrap();
        if place.file(key).exists() {
            age(&place.file(key), 1000 - at);
        }
    }
    let held =
        |cached: &Cached<_>| -> Vec<usize> { (0..20).filter(|at| cached.holds(&packs[*at].0)).collect() };
    let left = held(&cached);
    assert!(left.len() <= 10 && left.contains(&19) && !left.contains(&0), "{left:?}");
    // A smaller bound holds from the next opening on.
    assert!(held(&place.cached(5_000)).len() <= 4);
}

#[test]
fn given_lists_of_what_the_newest_snapshots_need_then_these_packs_go_last() {
    let place = Place::new();
    let cached = place.cached(10_000);
    let packs: Vec<_> = (0..9).map(|seed| pack(seed, 1000)).collect();
    for (at, (key, content)) in (0..).zip(&packs) {
        cached.put(key, content).unwrap();
        age(&place.file(key), 1000 - at);
    }
    // The oldest three belong to a weekly series, of which nothing is read on other days.
    let weekly: Vec<String> = packs[..3].iter().map(|(key, _)| key.clone()).collect();
    cached.prefer("weekly", &weekly);
    let more: Vec<_> = (100..104).map(|seed| pack(seed, 1000)).collect();
    for (key, content) in &more {
        cached.put(key, content).unwrap();
    }
    assert!(weekly.iter().all(|key| cached.holds(key)));
    assert!(!cached.holds(&packs[3].0));

    // The next list takes the place of the one before.
    cached.prefer("weekly", &[packs[8].0.clone()]);
    for seed in 110..116 {
        let (key, content) = pack(seed, 1000);
        cached.put(&key, &content).unwrap();
    }
    assert!(cached.holds(&packs[8].0));
    assert!(!weekly.iter().any(|key| cached.holds(key)));
}

#[test]
fn given_two_caches_on_one_folder_then_what_one_removes_the_other_does_without() {
    let place = Place::new();
    let (one, other) = (place.cached(10_000), place.cached(10_000));
    let (key, content) = pack(1, 1000);
    one.put(&key, &content).unwrap();
    assert_eq!(range(&other, &key, 0, 1000), content, "the other opens what the one wrote");
    std::fs::remove_file(place.file(&key)).unwrap();
    assert_eq!(
        place.calls(|| assert_eq!(range(&other, &key, 0, 1000), content)),
        0,
        "it holds the open file"
    );
    let third = place.cached(10_000);
    assert_eq!(place.calls(|| assert_eq!(range(&third, &key, 0, 1000), content)), 1);
}

#[test]
fn given_many_writers_with_tight_bounds_then_every_range_is_right_all_the_same() {
    let place = Place::new();
    let caches: Vec<_> = (0..4).map(|_| place.cached(8_000)).collect();
    std::thread::scope(|scope| {
        for cached in &caches {
            scope.spawn(move || {
                for round in 0..60u8 {
                    let (key, content) = pack(round % 23, 1000);
                    cached.put(&key, &content).unwrap();
                    let (key, content) = pack(round.wrapping_mul(7) % 23, 1000);
                    match cached.warm(&key) {
                        Ok(_) => assert_eq!(range(cached, &key, 1, 998), content[1..999]),
                        Err(error) => assert_eq!(error.kind, ErrorKind::NotFound, "{error}"),
                    }
                }
            });
        }
    });
}

#[test]
fn given_a_folder_that_cannot_be_used_then_everything_works_without_a_cache() {
    let place = Place::new();
    let file = place.folder.path().join("file");
    std::fs::write(&file, b"in the way").unwrap();
    let cached = Cached::new(Arc::clone(&place.remote), file.join("below"), 1 << 20);
    let (key, content) = pack(1, 1000);
    assert_eq!(cached.put(&key, &content).unwrap(), Put::Created);
    assert!(!cached.warm(&key).unwrap());
    assert_eq!(range(&cached, &key, 0, 1000), content);
    cached.prefer("series", std::slice::from_ref(&key));
    cached.delete(&key).unwrap();
}

#[test]
fn given_a_disk_that_fails_later_then_writing_ends_and_reading_goes_on() {
    let place = Place::new();
    let cached = place.cached(1 << 20);
    let (key, content) = pack(1, 1000);
    cached.put(&key, &content).unwrap();
    std::fs::remove_dir_all(place.folder.path().join("tmp")).unwrap();
    let (other, other_content) = pack(2, 1000);
    cached.put(&other, &other_content).unwrap();
    assert!(!cached.holds(&other));
    assert_eq!(place.calls(|| assert_eq!(range(&cached, &key, 0, 1000), content)), 0);
    assert_eq!(range(&cached, &other, 0, 1000), other_content);
}

#[test]
fn given_a_delete_then_the_cache_forgets_too() {
    let place = Place::new();
    let cached = place.cached(1 << 20);
    let (key, content) = pack(1, 1000);
    cached.put(&key, &content).unwrap();
    range(&cached, &key, 0, 10);
    cached.delete(&key).unwrap();
    assert!(!place.file(&key).exists());
    let error = cached.get_range(&key, 0, &mut [0]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
}

#[test]
fn given_a_storage_that_fails_then_warming_says_so_and_a_later_one_succeeds() {
    let place = Place::new();
    let (key, content) = pack(1, 1000);
    place.remote.put(&key, &content).unwrap();
    let first = |call: &Call<'_>| {
        (call.operation == Operation::Get && call.repetition == 0).then_some(Fault::LOST_REQUEST)
    };
    place.remote.set_hook(first);
    let cached = place.cached(1 << 20);
    assert!(cached.warm(&key).unwrap_err().retryable);
    assert!(cached.warm(&key).unwrap());
}

#[test]
fn what_is_no_pack_and_what_is_too_large_is_not_kept() {
    let place = Place::new();
    let cached = place.cached(10_000);
    let (large, content) = pack(1, 2_501);
    cached.put(&large, &content).unwrap();
    cached.put("packs/ab/cd", b"1").unwrap();
    cached.put("index/a", b"1").unwrap();
    for key in [large.as_str(), "packs/ab/cd", "index/a"] {
        assert!(!cached.holds(key), "{key}");
        assert!(!cached.warm(key).unwrap(), "{key}");
    }
}

#[test]
fn given_leftovers_of_killed_processes_then_old_ones_are_cleared_away_and_young_ones_left() {
    let place = Place::new();
    let tmp = place.folder.path().join("tmp");
    std::fs::create_dir(&tmp).unwrap();
    std::fs::write(tmp.join("1-old"), b"x").unwrap();
    std::fs::write(tmp.join("1-young"), b"x").unwrap();
    age(&tmp.join("1-old"), 0);
    place.cached(10_000);
    assert!(!tmp.join("1-old").exists() && tmp.join("1-young").exists());
}
