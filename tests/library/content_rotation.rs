//! A new content root: what was stored before is read under the old names, what is stored from then on has new ones,
//! and nothing moves from one generation into the other.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use crate::support::independent;
use crate::support::independent::Unlock;
use crate::support::small;
use crate::support::small::{Kept, noise, table};
use dumpvault::base::calendar::Calendar;
use dumpvault::base::event::{Cancel, Silent};
use dumpvault::content::codec::Level;
use dumpvault::engine::copy::{CopyRequest, Fate, copy};
use dumpvault::storage::Storage;
use dumpvault::storage::local::LocalStorage;
use dumpvault::vault::crypto::Role;
use dumpvault::vault::format::index::BlockKind;
use dumpvault::vault::gc::PruneSettings;
use dumpvault::vault::reader::ReadSettings;
use dumpvault::vault::rotation::{RotateReport, RotateRequest, Rotation};
use dumpvault::vault::{RepoError, Repository};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// A repository in a folder, and the caches of those who open it.
struct Place {
    folder: TempDir,
    caches: Vec<TempDir>,
}

impl Place {
    fn new() -> (Self, Repository) {
        let mut place = Self { folder: small::scratch(), caches: vec![small::scratch()] };
        let cache = place.caches[0].path().to_owned();
        std::fs::create_dir(place.path()).unwrap();
        let repo = small::init(place.storage(), &cache).unwrap();
        place.caches.push(small::scratch());
        (place, repo)
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    fn storage(&self) -> LocalStorage {
        LocalStorage::open(self.path()).unwrap()
    }

    /// The repository as somebody finds it who was never here.
    fn fresh(&mut self, key: u8) -> Repository {
        let cache = small::scratch();
        let around = small::surroundings(cache.path());
        self.caches.push(cache);
        Repository::open(Arc::new(self.storage()), &small::another_credential(key), &around).unwrap()
    }

    /// What the reader of another make gets of a snapshot.
    fn read_independently(&self, kept: &Kept) -> Vec<u8> {
        let key = self.folder.path().join("key");
        std::fs::write(&key, [7; 32]).unwrap();
        let id = kept.id.to_string();
        independent::stdout(independent::read(&self.path(), &Unlock::KeyFile(&key), &[&id]))
    }
}

fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

fn rotate(repo: &Repository, content: bool) -> RotateReport {
    let request = RotateRequest { content, now_ms: now_ms(), ..RotateRequest::default() };
    Rotation::new(repo, request, &Silent, &Cancel::new()).run(&small::credential()).unwrap()
}

/// Blocks by content generation and kind, as all packs' tables have them.
fn blocks(repo: &Repository) -> BTreeMap<u16, BTreeSet<BlockKind>> {
    let mut catalog = repo.catalog(&Silent).unwrap();
    let mut found: BTreeMap<u16, BTreeSet<BlockKind>> = BTreeMap::new();
    for pack in catalog.packs().unwrap() {
        for block in &catalog.pack(pack.number).unwrap().table.blocks {
            found.entry(block.generation).or_default().insert(block.kind);
        }
    }
    found
}

#[track_caller]
fn is_whole(repo: &Repository, kept: &[Kept]) {
    for kept in kept {
        assert!(small::restore(repo, &kept.id).unwrap() == *kept.bytes, "snapshot {}", kept.id);
    }
    let report = small::check(repo).unwrap();
    assert!(report.is_clean(), "{report:?}");
}

/// Bytes that are stored as whole chunks, as gathered rows, and as what is cut short at the end.
fn day(number: u64) -> Vec<u8> {
    [noise(1, 60_000), table(600, number), noise(100 + number, 300)].concat()
}

/// Bytes that were not stored again.
fn found(kept: &Kept) -> u64 {
    kept.stream.stats.bytes_known + kept.stream.stats.bytes_copied
}

#[test]
fn given_a_new_content_root_then_nothing_old_is_found_again_and_all_generations_restore() {
    let (mut place, repo) = Place::new();
    let first = small::backup(&repo, 1, &day(1), None).unwrap();
    let second = small::backup(&repo, 2, &day(2), Some(&first.stream)).unwrap();
    assert!(found(&second) > 80_000, "{:?}", second.stream.stats);
    let report = rotate(&repo, true);
    assert_eq!((report.epoch, report.content_generation), (1, 1));

    // The same bytes once more: all of them are new, and nothing rests on the snapshot before.
    let repo = place.fresh(7);
    let third = small::backup(&repo, 3, &day(2), Some(&second.stream)).unwrap();
    let stats = &third.stream.stats;
    assert_eq!((stats.bytes_new, stats.bytes_known, stats.bytes_copied), (day(2).len() as u64, 0, 0));
    let refused = small::begin(&repo).unwrap().parent(&second.stream, "test", 1, Box::new(|_| true));
    assert!(matches!(refused, Err(RepoError::OlderContent { generation: 0 })));
    // From then on it is as ever.
    let fourth = small::backup(&repo, 4, &day(4), Some(&third.stream)).unwrap();
    assert!(found(&fourth) > 80_000, "{:?}", fourth.stream.stats);
    let fifth = small::backup(&repo, 5, &day(4), None).unwrap();
    assert!(fifth.stream.stats.bytes_known > 50_000, "{:?}", fifth.stream.stats);

    // An epoch without a content root of its own goes on with the generation before it.
    assert_eq!(rotate(&repo, false).content_generation, 1);
    let repo = place.fresh(7);
    let sixth = small::backup(&repo, 6, &day(6), Some(&fifth.stream)).unwrap();
    assert!(found(&sixth) > 80_000, "{:?}", sixth.stream.stats);
    assert_eq!(rotate(&repo, true).content_generation, 3);
    let repo = place.fresh(7);
    let last = small::backup(&repo, 7, &day(6), None).unwrap();
    assert_eq!(last.stream.stats.bytes_known, 0);
    let kept = [first, second, third, fourth, fifth, sixth, last];
    let found = blocks(&repo);
    assert_eq!(found.keys().copied().collect::<Vec<u16>>(), [0, 1, 3]);
    assert!(found[&0].len() == 3 && found[&1].len() == 3, "data, recipes, and blinded rows: {found:?}");
    is_whole(&place.fresh(7), &kept);
    for kept in &kept {
        assert!(place.read_independently(kept) == *kept.bytes, "snapshot {}", kept.id);
    }
}

#[test]
fn given_append_keys_from_before_and_after_then_both_write_under_the_new_root_and_find_each_others_chunks() {
    let (mut place, repo) = Place::new();
    // Whoever rotates opened the repository before that key was added.
    repo.key_ring().add_for_all(&small::another_credential(8), Role::Append, "before", now_ms()).unwrap();
    let first = small::backup(&place.fresh(8), 1, &day(1), None).unwrap();
    rotate(&repo, true);
    let repo = place.fresh(7);
    repo.key_ring().add_for_all(&small::another_credential(9), Role::Append, "after", now_ms()).unwrap();
    let mut kept = vec![first];
    for (counter, key) in [(2, 8), (3, 9), (4, 8), (5, 7)] {
        let writer = place.fresh(key);
        assert_eq!(writer.content_generation(), 1);
        kept.push(small::backup(&writer, counter, &day(1), None).unwrap());
    }
    let known: Vec<bool> = kept.iter().map(|kept| kept.stream.stats.bytes_known > 50_000).collect();
    // Keys that may only add rely on what they stored themselves; a full key opens the block and relies on it.
    assert_eq!(known, [false, false, false, true, true]);
    assert_eq!(blocks(&repo).keys().copied().collect::<Vec<u16>>(), [0, 1]);
    is_whole(&place.fresh(7), &kept);
    assert!(place.read_independently(&kept[2]) == *kept[2].bytes);
}

#[test]
fn given_packs_of_two_generations_that_are_mostly_dead_when_pruned_then_blocks_move_with_their_names() {
    let (mut place, mut repo) = Place::new();
    let (mut goes, mut stays) = (Vec::new(), Vec::new());
    for round in 0..2 {
        let counter = 10 * round;
        // One pack, of which the snapshot that stays wants a part: whole chunks, rows that it copies, and nodes.
        let whole = [day(1), noise(5 + round, 200_000)].concat();
        let base = small::backup(&repo, counter + 1, &whole, None).unwrap();
        stays.push(small::backup(&repo, counter + 2, &day(1), None).unwrap());
        stays.push(small::backup(&repo, counter + 3, &day(3), Some(&stays[stays.len() - 1].stream)).unwrap());
        goes.push(base);
        if round == 0 {
            rotate(&repo, true);
            repo = place.fresh(7);
        }
    }
    let before = blocks(&repo);
    let ids: Vec<_> = goes.iter().map(|kept| kept.id).collect();
    repo.forget(&ids).unwrap();
    let settings = PruneSettings { grace: Duration::ZERO, ..PruneSettings::new(now_ms()) };
    let report = repo.prune(&settings, &Silent, &Cancel::new()).unwrap();
    assert!(report.packs_written > 0 && report.packs_deleted > 0, "{report:?}");
    assert_eq!(blocks(&repo), before, "each block kept its generation");
    is_whole(&place.fresh(7), &stays);
    for kept in &stays {
        assert!(place.read_independently(kept) == *kept.bytes, "snapshot {}", kept.id);
    }

    // What the first generation named goes with the last snapshot that it named.
    let old: Vec<_> = stays.drain(..2).map(|kept| kept.id).collect();
    repo.forget(&old).unwrap();
    repo.prune(&settings, &Silent, &Cancel::new()).unwrap();
    assert_eq!(blocks(&place.fresh(7)).keys().copied().collect::<Vec<u16>>(), [1]);
    is_whole(&place.fresh(7), &stays);
}

#[test]
fn given_a_damaged_pack_of_an_old_generation_then_what_opens_of_it_is_saved_under_its_old_names() {
    let (mut place, repo) = Place::new();
    let first = small::backup(&repo, 1, &day(1), None).unwrap();
    let packs = small::keys(&place.storage(), "packs/");
    rotate(&repo, true);
    let repo = place.fresh(7);
    let second = small::backup(&repo, 2, &day(1), None).unwrap();
    // The last block of the largest pack breaks, the others are copied.
    let size = |key: &String| std::fs::metadata(place.path().join(key)).unwrap().len();
    let broken = packs.iter().max_by_key(|key| size(key)).unwrap();
    let id = broken.rsplit('/').next().unwrap().parse().unwrap();
    let mut catalog = repo.catalog(&Silent).unwrap();
    let pack = catalog.packs().unwrap().into_iter().find(|pack| pack.id == id).unwrap();
    let last = *catalog.pack(pack.number).unwrap().table.blocks.last().unwrap();
    drop(catalog);
    let path = place.path().join(broken);
    let mut bytes = place.storage().get(broken, u64::MAX).unwrap();
    bytes[last.offset as usize + 1] ^= 1;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, bytes).unwrap();
    repo.marks().mark_damaged(&id, "flipped", "test", now_ms()).unwrap();
    let repair = repo.repairer().repair_packs("test", now_ms(), &Silent, &Cancel::new()).unwrap();
    assert!(repair.chunks_salvaged > 10 && repair.packs_written > 0, "{repair:?}");
    let repo = place.fresh(7);
    assert_eq!(blocks(&repo).keys().copied().collect::<Vec<u16>>(), [0, 1]);
    assert!(small::restore(&repo, &second.id).unwrap() == *second.bytes);
    // Only what was in the broken block is lost.
    let lost = small::restore(&repo, &first.id);
    assert!(matches!(lost, Err(error) if error.is_integrity()));
}

#[test]
fn given_copies_in_a_repository_with_the_old_root_or_the_new_one_then_each_snapshot_arrives_whole() {
    let (mut place, repo) = Place::new();
    let old = small::backup(&repo, 1, &day(1), None).unwrap();
    let before = small::scratch();
    let (storage, cache) = (small::memory(&small::HandClock::new()), small::scratch());
    let around = small::surroundings(cache.path());
    let made_before = repo.init_alike(Arc::new(storage), &small::credential(), "", 0, &around).unwrap();
    rotate(&repo, true);
    let repo = place.fresh(7);
    let new = small::backup(&repo, 2, &day(2), None).unwrap();
    let newer = small::backup(&repo, 3, &day(3), Some(&new.stream)).unwrap();
    let (storage, cache) = (small::memory(&small::HandClock::new()), small::scratch());
    let around = small::surroundings(cache.path());
    let made_after = repo.init_alike(Arc::new(storage), &small::credential(), "", 0, &around).unwrap();
    assert!(!repo.is_alike(&made_before) && repo.is_alike(&made_after));
    let clock = small::HandClock::new();
    for to in [&made_before, &made_after] {
        let request = CopyRequest {
            names: Vec::new(),
            any_host: true,
            series: Vec::new(),
            series_must_be: true,
            host: None,
            tags: Vec::new(),
            since: None,
            by: "test".to_owned(),
            calendar: Calendar::default(),
            level: Level::DEFAULT,
            recompress: false,
            workers: 1,
            read: ReadSettings::local(1),
            dry_run: false,
        };
        let report = copy(&repo, to, clock.as_ref(), &request, &Silent, &Cancel::new()).unwrap();
        assert!(report.stopped.is_none(), "{:?}", report.stopped);
        let copies: Vec<Kept> = report
            .snapshots
            .iter()
            .zip([&old, &new, &newer])
            .map(|(one, kept)| match &one.fate {
                Fate::Copied(committed) => Kept::new(committed, &kept.bytes),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(copies.len(), 3);
        // Of its newest generation alone, whichever names it came under.
        assert_eq!(blocks(to).keys().copied().collect::<Vec<u16>>(), [0]);
        is_whole(to, &copies);
    }
    drop(before);
}
