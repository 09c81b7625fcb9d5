//! Packs whose own tables lie: whoever has any key can seal one, and no index object need name it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use crate::support::forger::{self, Forger};
use crate::support::small;
use dumpvault::base::event::{Cancel, Silent};
use dumpvault::storage::Storage;
use dumpvault::storage::memory::MemoryStorage;
use dumpvault::vault::crypto::Role;
use dumpvault::vault::format::index::{BlockKind, ChunkTable, IndexedPack};
use dumpvault::vault::reader::{BlockReader, Workspace};
use dumpvault::vault::{NewKey, Repository};
use std::collections::HashSet;
use std::sync::Arc;

/// A repository with a pack that says of itself that it holds what a dump is made of, that dump, and the pack's key.
fn with_a_hollow_pack() -> (MemoryStorage, Vec<u8>, String) {
    let storage = MemoryStorage::new();
    let cache = small::scratch();
    let repo = small::init(storage.clone(), cache.path()).unwrap();
    small::backup(&repo, 0, &small::noise(1, 6000), None).unwrap();
    // What the packs of that dump will be is found out in a copy.
    let copy = MemoryStorage::new();
    for key in small::keys(&storage, "") {
        copy.put(&key, &storage.get(&key, u64::MAX).unwrap()).unwrap();
    }
    let dump = small::noise(2, 9000);
    let elsewhere = small::scratch();
    small::backup(&small::open(copy.clone(), elsewhere.path()).unwrap(), 1, &dump, None).unwrap();
    let entropy = Arc::new(small::SeededEntropy::new(3));
    let forger = Forger::with(&copy, &small::credential(), entropy);
    let is_data = |block: &dumpvault::vault::format::index::BlockEntry| block.kind == BlockKind::Data;
    let mut packs = forger.packs(&copy).unwrap();
    // A last chunk that is short stands in a blinded block.
    packs.retain(|pack| pack.table.blocks.iter().any(is_data));
    let hollow = forger.hollow_pack(&packs);
    let key = forger::put(&storage, "packs", &hollow.bytes).unwrap();
    (storage, dump, key)
}

/// Backs up from a machine that sees the repository for the first time, twice, and restores from another.
fn is_stored_whole(storage: &MemoryStorage, dump: &[u8]) {
    for counter in 1..3 {
        let (first, second) = (small::scratch(), small::scratch());
        let kept = small::backup(&small::open(storage.clone(), first.path()).unwrap(), counter, dump, None);
        let restored =
            small::restore(&small::open(storage.clone(), second.path()).unwrap(), &kept.unwrap().id);
        assert!(restored.unwrap() == dump);
    }
}

#[test]
fn given_a_pack_whose_author_is_believed_then_its_recipes_alone_are_compared_with_their_ids() {
    let (storage, cache) = (MemoryStorage::new(), small::scratch());
    let repo = small::init(storage.clone(), cache.path()).unwrap();
    small::backup(&repo, 0, &small::noise(1, 80_000), None).unwrap();
    let entropy = Arc::new(small::SeededEntropy::new(3));
    let forger = Forger::with(&storage, &small::credential(), entropy);
    let hollow = forger.hollow_pack(&forger.packs(&storage).unwrap());
    forger::put(&storage, "packs", &hollow.bytes).unwrap();
    let named = IndexedPack { id: hollow.id, bytes: hollow.bytes.len() as u64, table: hollow.table };
    forger::put(&storage, "index", &forger.index(vec![named])).unwrap();
    let elsewhere = small::scratch();
    let repo = small::open(storage, elsewhere.path()).unwrap();
    let mut catalog = repo.catalog(&Silent).unwrap();
    let pack = catalog.packs().unwrap().into_iter().find(|pack| pack.id == hollow.id).unwrap();
    let row = catalog.pack(pack.number).unwrap();
    let mut kinds = Vec::new();
    for (number, block) in (0..).zip(&row.table.blocks).filter(|(_, block)| block.kind != BlockKind::Blinded)
    {
        kinds.push(block.kind);
        for believed in [HashSet::new(), HashSet::from([hollow.id])] {
            let is_taken = !believed.is_empty() && block.kind == BlockKind::Data;
            let reader = BlockReader::new(&repo).believing(believed);
            let opened = reader.open_run(&row, number..number + 1, &mut Workspace::default(), &mut |_, _| {});
            assert_eq!(opened.is_ok(), is_taken, "{:?}", block.kind);
        }
    }
    assert!(kinds.contains(&BlockKind::Data) && kinds.contains(&BlockKind::Recipe));
}

#[test]
fn given_a_pack_that_says_it_holds_a_dump_then_a_full_key_stores_the_dump() {
    let (storage, dump, _) = with_a_hollow_pack();
    is_stored_whole(&storage, &dump);
}

/// What an append key says of a pack: that it holds nothing, so that a check which goes by it opens nothing.
fn say_that_it_holds_nothing(storage: &MemoryStorage, repo: &Repository, key: &str) {
    let append = small::another_credential(66);
    let web =
        NewKey { role: Role::Append, name: "web", hosts: vec!["web".to_owned()], series: None, share: false };
    repo.key_ring().add(&append, &web, 0).unwrap();
    let forger = Forger::with(storage, &append, Arc::new(small::SeededEntropy::new(4)));
    let id = key.rsplit('/').next().unwrap().parse().unwrap();
    let bytes = storage.size(key).unwrap().unwrap();
    let index = forger.index(vec![IndexedPack { id, bytes, table: ChunkTable::default() }]);
    forger::put(storage, "index", &index).unwrap();
}

#[test]
fn given_a_check_that_went_by_a_lying_index_then_a_repaired_index_does_not_vouch_for_the_pack() {
    let (storage, dump, key) = with_a_hollow_pack();
    let cache = small::scratch();
    let repo = small::open(storage.clone(), cache.path()).unwrap();
    say_that_it_holds_nothing(&storage, &repo, &key);
    // Which authors there are is read when a repository is opened.
    let repo = small::open(storage.clone(), cache.path()).unwrap();
    small::check(&repo).unwrap();
    let now_ms = dumpvault::base::clock::Clock::now(&dumpvault::base::clock::SystemClock).as_millisecond();
    let repair = repo.repairer().repair_index(now_ms, &Silent, &Cancel::new()).unwrap();
    assert_eq!(repair.unexplained.iter().map(|damage| &damage.object).collect::<Vec<_>>(), [&key]);
    is_stored_whole(&storage, &dump);
}

#[test]
fn given_such_a_pack_then_a_repaired_index_does_not_vouch_for_it() {
    let (storage, dump, key) = with_a_hollow_pack();
    let cache = small::scratch();
    let repo = small::open(storage.clone(), cache.path()).unwrap();
    let now_ms = dumpvault::base::clock::Clock::now(&dumpvault::base::clock::SystemClock).as_millisecond();
    let repair = repo.repairer().repair_index(now_ms, &Silent, &Cancel::new()).unwrap();
    assert_eq!(repair.unexplained.iter().map(|damage| &damage.object).collect::<Vec<_>>(), [&key]);
    is_stored_whole(&storage, &dump);
}
