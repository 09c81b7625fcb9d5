//! The storage contract, as one suite that runs over every backend and every decorator. Used with `#[path]`.

// Clippy sees a test only where `#[test]` stands; the cases here are plain functions.
#![allow(clippy::unwrap_used, clippy::panic, dead_code)]

use std::any::Any;
use std::sync::Arc;

use dumpvault::storage::Storage;

/// An empty storage, and what has to live as long as it.
pub struct Place {
    pub storage: Arc<dyn Storage>,
    _keep: Box<dyn Any>,
}

pub fn place(storage: impl Storage + 'static, keep: impl Any) -> Place {
    Place { storage: Arc::new(storage), _keep: Box::new(keep) }
}

#[allow(unused_macros)]
macro_rules! conformance {
    ($backend:ident) => {
        conformance!(
            $backend,
            [
                what_was_put_is_read_back_whole,
                the_same_bytes_again_are_already_there,
                other_bytes_are_a_conflict_and_the_old_ones_stay,
                what_is_not_there_is_not_found,
                an_object_larger_than_allowed_is_refused,
                a_range_gives_exactly_the_bytes_asked_for,
                a_range_that_reaches_behind_the_end_finds_the_object_short,
                a_range_of_an_empty_object_finds_it_short,
                an_object_deleted_is_gone_and_its_key_is_free_again,
                deleting_what_is_not_there_is_success,
                deleting_what_others_lie_below_is_success_and_leaves_them,
                a_listing_gives_what_starts_with_the_prefix_and_nothing_else,
                a_listing_tells_size_and_time,
                a_listing_gives_each_of_ten_thousand_objects_once,
                a_listing_in_a_storm_still_gives_what_was_there_before,
                a_listing_never_shows_half_an_object,
                whoever_receives_a_listing_may_use_the_storage,
                keys_and_prefixes_that_break_the_rules_are_invalid,
                the_longest_key_and_all_its_letters_work,
                of_eight_equal_puts_at_once_one_creates,
                of_eight_different_puts_at_once_one_wins_and_stays,
                errors_name_the_operation_and_the_object,
            ]
        );
    };
    ($backend:ident, [$($case:ident,)*]) => {
        mod $backend {
            $(
                #[test]
                fn $case() {
                    let place = super::$backend();
                    super::conformance::cases::$case(&*place.storage);
                }
            )*
        }
    };
}
#[allow(unused_imports)]
pub(crate) use conformance;

/// One case of the suite.
pub type Case = fn(&dyn Storage);

/// All cases by name, for a server that is started once for all of them. It is slower than one in this process: two of
/// them are shorter.
pub const CASES: [(&str, Case); 22] = [
    ("what_was_put_is_read_back_whole", cases::what_was_put_is_read_back_whole),
    ("the_same_bytes_again_are_already_there", cases::the_same_bytes_again_are_already_there),
    (
        "other_bytes_are_a_conflict_and_the_old_ones_stay",
        cases::other_bytes_are_a_conflict_and_the_old_ones_stay,
    ),
    ("what_is_not_there_is_not_found", cases::what_is_not_there_is_not_found),
    ("an_object_larger_than_allowed_is_refused", cases::an_object_larger_than_allowed_is_refused),
    ("a_range_gives_exactly_the_bytes_asked_for", cases::a_range_gives_exactly_the_bytes_asked_for),
    (
        "a_range_that_reaches_behind_the_end_finds_the_object_short",
        cases::a_range_that_reaches_behind_the_end_finds_the_object_short,
    ),
    ("a_range_of_an_empty_object_finds_it_short", cases::a_range_of_an_empty_object_finds_it_short),
    (
        "an_object_deleted_is_gone_and_its_key_is_free_again",
        cases::an_object_deleted_is_gone_and_its_key_is_free_again,
    ),
    ("deleting_what_is_not_there_is_success", cases::deleting_what_is_not_there_is_success),
    (
        "deleting_what_others_lie_below_is_success_and_leaves_them",
        cases::deleting_what_others_lie_below_is_success_and_leaves_them,
    ),
    (
        "a_listing_gives_what_starts_with_the_prefix_and_nothing_else",
        cases::a_listing_gives_what_starts_with_the_prefix_and_nothing_else,
    ),
    ("a_listing_tells_size_and_time", cases::a_listing_tells_size_and_time),
    (
        "a_listing_of_several_pages_gives_each_object_once",
        cases::a_listing_of_several_pages_gives_each_object_once,
    ),
    (
        "a_listing_in_a_short_storm_gives_what_was_there_before",
        cases::a_listing_in_a_short_storm_gives_what_was_there_before,
    ),
    ("a_listing_never_shows_half_an_object", cases::a_listing_never_shows_half_an_object),
    ("whoever_receives_a_listing_may_use_the_storage", cases::whoever_receives_a_listing_may_use_the_storage),
    (
        "keys_and_prefixes_that_break_the_rules_are_invalid",
        cases::keys_and_prefixes_that_break_the_rules_are_invalid,
    ),
    ("the_longest_key_and_all_its_letters_work", cases::the_longest_key_and_all_its_letters_work),
    ("of_eight_equal_puts_at_once_one_creates", cases::of_eight_equal_puts_at_once_one_creates),
    (
        "of_eight_different_puts_at_once_one_wins_and_stays",
        cases::of_eight_different_puts_at_once_one_wins_and_stays,
    ),
    ("errors_name_the_operation_and_the_object", cases::errors_name_the_operation_and_the_object),
];

pub mod cases {
    use std::collections::BTreeSet;
    use std::sync::Barrier;
    use std::thread;
    use std::time::{Duration, SystemTime};

    use dumpvault::storage::{ErrorKind, KEY_BYTES_MAX, Listed, Put, Storage, StorageError};

    const MIB: usize = 1024 * 1024;

    /// Bytes that differ from place to place and from seed to seed.
    fn content(bytes: usize, seed: u64) -> Vec<u8> {
        let words = (0..).map(|n: u64| (n ^ seed << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        words.flat_map(|word| (word ^ word >> 29).to_le_bytes()).take(bytes).collect()
    }

    fn listed(storage: &dyn Storage, prefix: &str) -> Vec<Listed> {
        let mut listed = Vec::new();
        storage.list(prefix, &mut |one| listed.push(one)).unwrap();
        listed.sort_by(|a, b| a.key.cmp(&b.key));
        listed
    }

    fn keys(storage: &dyn Storage, prefix: &str) -> Vec<String> {
        listed(storage, prefix).into_iter().map(|listed| listed.key).collect()
    }

    fn kind<T: std::fmt::Debug>(result: Result<T, StorageError>) -> ErrorKind {
        result.unwrap_err().kind
    }

    /// What `n` threads get for what they do at the same moment.
    fn at_once<T: Send>(n: u64, act: impl Fn(u64) -> T + Sync) -> Vec<T> {
        let barrier = Barrier::new(n as usize);
        thread::scope(|scope| {
            let threads: Vec<_> = (0..n)
                .map(|thread| {
                    let (barrier, act) = (&barrier, &act);
                    scope.spawn(move || {
                        barrier.wait();
                        act(thread)
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    pub fn what_was_put_is_read_back_whole(storage: &dyn Storage) {
        for bytes in [0, 1, 4095, 4096, MIB + 1, 32 * MIB] {
            let key = format!("packs/{bytes}");
            let content = content(bytes, 1);
            assert_eq!(storage.put(&key, &content).unwrap(), Put::Created);
            assert_eq!(storage.size(&key).unwrap(), Some(bytes as u64));
            assert!(storage.get(&key, bytes as u64).unwrap() == content, "{bytes} bytes came back as others");
        }
    }

    pub fn the_same_bytes_again_are_already_there(storage: &dyn Storage) {
        for (key, content) in [("a", content(MIB + 1, 1)), ("empty", Vec::new())] {
            assert_eq!(storage.put(key, &content).unwrap(), Put::Created);
            assert_eq!(storage.put(key, &content).unwrap(), Put::AlreadyThere);
            assert_eq!(storage.put(key, &content).unwrap(), Put::AlreadyThere);
        }
        assert_eq!(keys(storage, ""), ["a", "empty"]);
    }

    pub fn other_bytes_are_a_conflict_and_the_old_ones_stay(storage: &dyn Storage) {
        let old = content(MIB, 1);
        storage.put("index/a", &old).unwrap();
        let changed_at = |at: usize| {
            let mut changed = old.clone();
            changed[at] ^= 1;
            changed
        };
        let others = [
            Vec::new(),
            old[..MIB - 1].to_vec(),
            [&old[..], b"x"].concat(),
            changed_at(0),
            changed_at(MIB / 2),
            changed_at(MIB - 1),
        ];
        for other in others {
            let error = storage.put("index/a", &other).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Conflict);
            assert!(!error.retryable);
        }
        assert!(storage.get("index/a", u64::MAX).unwrap() == old);
    }

    pub fn what_is_not_there_is_not_found(storage: &dyn Storage) {
        storage.put("packs/ab/cd", b"1").unwrap();
        // Neither an object, nor the folder of one, nor what would be within one.
        for key in ["a", "packs", "packs/ab", "packs/ab/c", "other/a"] {
            assert_eq!(kind(storage.get(key, 100)), ErrorKind::NotFound, "{key}");
            let range = storage.get_range(key, 0, &mut [0]);
            assert_eq!(kind(range), ErrorKind::NotFound, "{key}");
            assert_eq!(storage.size(key).unwrap(), None, "{key}");
        }
    }

    pub fn an_object_larger_than_allowed_is_refused(storage: &dyn Storage) {
        storage.put("a", b"12345").unwrap();
        assert_eq!(kind(storage.get("a", 4)), ErrorKind::Other);
        assert_eq!(kind(storage.get("a", 0)), ErrorKind::Other);
        assert_eq!(storage.get("a", 5).unwrap(), b"12345");
    }

    pub fn a_range_gives_exactly_the_bytes_asked_for(storage: &dyn Storage) {
        let content = content(100_000, 1);
        storage.put("a", &content).unwrap();
        for (offset, bytes) in [(0, 1), (0, 100_000), (99_999, 1), (12_345, 54_321), (7, 0)] {
            let mut buffer = vec![0; bytes];
            storage.get_range("a", offset as u64, &mut buffer).unwrap();
            assert!(buffer == content[offset..offset + bytes], "{bytes} bytes at {offset}");
        }
    }

    pub fn a_range_that_reaches_behind_the_end_finds_the_object_short(storage: &dyn Storage) {
        storage.put("a", b"12345").unwrap();
        let i64_max = i64::MAX as u64;
        let ranges = [
            ("a", 0, 6),
            ("a", 4, 2),
            ("a", 5, 1),
            ("a", 6, 1),
            ("a", u64::from(u32::MAX), MIB),
            ("a", i64_max - 1, 1),
            ("a", i64_max, 1),
            ("a", i64_max + 1, 1),
            ("a", u64::MAX, 1),
            ("a", u64::MAX - 1, MIB),
        ];
        for (key, offset, bytes) in ranges {
            let result = storage.get_range(key, offset, &mut vec![0; bytes]);
            assert_eq!(kind(result), ErrorKind::ShortObject, "{bytes} bytes at {offset} of {key}");
        }
    }

    pub fn a_range_of_an_empty_object_finds_it_short(storage: &dyn Storage) {
        storage.put("empty", b"").unwrap();
        for (offset, bytes) in [(0, 1), (1, 1), (0, MIB)] {
            let result = storage.get_range("empty", offset, &mut vec![0; bytes]);
            assert_eq!(kind(result), ErrorKind::ShortObject, "{bytes} bytes at {offset}");
        }
    }

    pub fn an_object_deleted_is_gone_and_its_key_is_free_again(storage: &dyn Storage) {
        storage.put("sessions/a", b"1").unwrap();
        storage.put("sessions/b", b"2").unwrap();
        storage.delete("sessions/a").unwrap();
        assert_eq!(kind(storage.get("sessions/a", 9)), ErrorKind::NotFound);
        assert_eq!(storage.size("sessions/a").unwrap(), None);
        assert_eq!(keys(storage, ""), ["sessions/b"]);
        assert_eq!(storage.put("sessions/a", b"other").unwrap(), Put::Created);
        assert_eq!(storage.get("sessions/a", 9).unwrap(), b"other");
    }

    pub fn deleting_what_is_not_there_is_success(storage: &dyn Storage) {
        storage.delete("a").unwrap();
        storage.put("packs/ab/cd", b"1").unwrap();
        for key in ["packs/ab/ce", "packs/xy/cd"] {
            storage.delete(key).unwrap();
        }
        assert_eq!(keys(storage, ""), ["packs/ab/cd"]);
    }

    pub fn deleting_what_others_lie_below_is_success_and_leaves_them(storage: &dyn Storage) {
        storage.put("packs/ab/cd", b"1").unwrap();
        for key in ["packs/ab", "packs"] {
            storage.delete(key).unwrap();
        }
        assert_eq!(keys(storage, ""), ["packs/ab/cd"]);
    }

    pub fn a_listing_gives_what_starts_with_the_prefix_and_nothing_else(storage: &dyn Storage) {
        assert_eq!(keys(storage, ""), [""; 0]);
        let all = ["config", "index/a", "packs-old/a", "packs/ab/1", "packs/ab/2", "packs/abc/1", "packs/b"];
        for key in all {
            storage.put(key, key.as_bytes()).unwrap();
        }
        assert_eq!(keys(storage, ""), all);
        assert_eq!(keys(storage, "packs/"), ["packs/ab/1", "packs/ab/2", "packs/abc/1", "packs/b"]);
        assert_eq!(keys(storage, "packs/ab/"), ["packs/ab/1", "packs/ab/2"]);
        for nothing in ["snapshots/", "packs/a/", "packs/b/", "config/", "index/a/b/"] {
            assert_eq!(keys(storage, nothing), [""; 0], "{nothing}");
        }
    }

    pub fn a_listing_tells_size_and_time(storage: &dyn Storage) {
        storage.put("a", b"12345").unwrap();
        storage.put("empty", b"").unwrap();
        let listed = listed(storage, "");
        let sizes: Vec<u64> = listed.iter().map(|one| one.bytes).collect();
        assert_eq!(sizes, [5, 0]);
        for one in listed {
            // Some clocks tell whole seconds only, and a storage's may be another host's.
            let now = SystemTime::now();
            let off = now.duration_since(one.modified).unwrap_or_else(|ahead| ahead.duration());
            assert!(off < Duration::from_secs(60), "{off:?} off");
        }
    }

    pub fn a_listing_gives_each_of_ten_thousand_objects_once(storage: &dyn Storage) {
        list_each_of(storage, 1250);
    }

    pub fn a_listing_of_several_pages_gives_each_object_once(storage: &dyn Storage) {
        list_each_of(storage, 260);
    }

    fn list_each_of(storage: &dyn Storage, of_each_thread: usize) {
        at_once(8, |thread| {
            for n in 0..of_each_thread {
                let key = format!("packs/{:02x}/{thread}-{n}", n % 16);
                storage.put(&key, key.as_bytes()).unwrap();
            }
        });
        let keys = keys(storage, "packs/");
        let different: BTreeSet<&String> = keys.iter().collect();
        assert_eq!((keys.len(), different.len()), (8 * of_each_thread, 8 * of_each_thread));
    }

    pub fn a_listing_in_a_storm_still_gives_what_was_there_before(storage: &dyn Storage) {
        list_in_a_storm(storage, 500);
    }

    pub fn a_listing_in_a_short_storm_gives_what_was_there_before(storage: &dyn Storage) {
        list_in_a_storm(storage, 60);
    }

    fn list_in_a_storm(storage: &dyn Storage, rounds: u32) {
        for n in 0..100 {
            storage.put(&format!("packs/{n}"), b"1").unwrap();
        }
        thread::scope(|scope| {
            let storm = scope.spawn(|| {
                for round in 0..rounds {
                    let key = format!("packs/new-{}", round % 50);
                    storage.put(&key, b"1").unwrap();
                    storage.delete(&key).unwrap();
                }
            });
            loop {
                let last = storm.is_finished();
                let mut old = keys(storage, "packs/");
                old.retain(|key| !key.contains("new"));
                old.dedup();
                assert_eq!(old.len(), 100);
                if last {
                    break;
                }
            }
        });
    }

    pub fn a_listing_never_shows_half_an_object(storage: &dyn Storage) {
        let content = content(MIB, 1);
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for n in 0..30 {
                    storage.put(&format!("packs/{n}"), &content).unwrap();
                }
            });
            loop {
                let last = writer.is_finished();
                let listed = listed(storage, "");
                assert!(listed.iter().all(|one| one.bytes == MIB as u64));
                if last {
                    assert_eq!(listed.len(), 30);
                    break;
                }
            }
        });
    }

    pub fn whoever_receives_a_listing_may_use_the_storage(storage: &dyn Storage) {
        for n in 0..10 {
            storage.put(&format!("gc/{n}"), b"1").unwrap();
        }
        let delete = &mut |one: Listed| storage.delete(&one.key).unwrap();
        storage.list("gc/", delete).unwrap();
        assert_eq!(keys(storage, ""), [""; 0]);
    }

    pub fn keys_and_prefixes_that_break_the_rules_are_invalid(storage: &dyn Storage) {
        let too_long = "a".repeat(KEY_BYTES_MAX + 1);
        let bad = [
            "", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", "a/.", ".hidden", "a/.b", "a.", "a./b",
            "a/b.", "A", "a b", "a\\b", "a\0b", "a\n", "ä", "a:b", "a+b", "tmp", "tmp/a", &too_long,
        ];
        for key in bad {
            assert_eq!(kind(storage.put(key, b"1")), ErrorKind::Invalid, "{key:?}");
            assert_eq!(kind(storage.get(key, 9)), ErrorKind::Invalid, "{key:?}");
            let range = storage.get_range(key, 0, &mut [0]);
            assert_eq!(kind(range), ErrorKind::Invalid, "{key:?}");
            assert_eq!(kind(storage.size(key)), ErrorKind::Invalid, "{key:?}");
            assert_eq!(kind(storage.delete(key)), ErrorKind::Invalid, "{key:?}");
        }
        for prefix in ["a", "packs", "/", "//", "../", "a//", "a/../", ".a/", "a./", "A/", "tmp/"] {
            let result = storage.list(prefix, &mut |_| {});
            assert_eq!(kind(result), ErrorKind::Invalid, "{prefix:?}");
        }
        assert_eq!(keys(storage, ""), [""; 0]);
    }

    pub fn the_longest_key_and_all_its_letters_work(storage: &dyn Storage) {
        let longest = "a".repeat(KEY_BYTES_MAX);
        let deepest = format!("{}b", "a/".repeat(KEY_BYTES_MAX / 2));
        let letters = "abcdefghijklmnopqrstuvwxyz0123456789._-/-/_/a.tmp/tmp";
        let mut all = [longest.as_str(), &deepest, letters, "tmp2/a", "a.b..c"];
        for key in all {
            assert_eq!(storage.put(key, key.as_bytes()).unwrap(), Put::Created);
            assert_eq!(storage.get(key, 1000).unwrap(), key.as_bytes());
        }
        all.sort_unstable();
        assert_eq!(keys(storage, ""), all);
    }

    pub fn of_eight_equal_puts_at_once_one_creates(storage: &dyn Storage) {
        let content = content(MIB, 1);
        for round in 0..20 {
            let key = format!("packs/{round:02}/a");
            let puts = at_once(8, |_| storage.put(&key, &content).unwrap());
            let created = puts.iter().filter(|put| **put == Put::Created).count();
            assert_eq!(created, 1, "round {round}");
            assert!(storage.get(&key, u64::MAX).unwrap() == content);
        }
    }

    pub fn of_eight_different_puts_at_once_one_wins_and_stays(storage: &dyn Storage) {
        for round in 0..20 {
            let key = format!("packs/{round:02}/a");
            let puts = at_once(8, |thread| storage.put(&key, &content(MIB, thread)));
            let mut winners = Vec::new();
            for (thread, put) in (0..).zip(puts) {
                match put {
                    Ok(put) => {
                        assert_eq!(put, Put::Created);
                        winners.push(thread);
                    }
                    Err(error) => assert_eq!(error.kind, ErrorKind::Conflict, "{error}"),
                }
            }
            assert_eq!(winners.len(), 1, "round {round}");
            assert!(storage.get(&key, u64::MAX).unwrap() == content(MIB, winners[0]));
        }
    }

    pub fn errors_name_the_operation_and_the_object(storage: &dyn Storage) {
        storage.put("index/a", b"1").unwrap();
        let read = storage.get("index/b", 9).unwrap_err();
        assert_eq!(read.operation, "read");
        assert!(read.object.ends_with("index/b"), "{}", read.object);
        let write = storage.put("index/a", b"2").unwrap_err();
        assert_eq!(write.operation, "write");
        assert!(write.object.ends_with("index/a"), "{}", write.object);
    }
}
