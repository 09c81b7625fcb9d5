//! What is said of a damaged pack and of who needs it: by `check`, `repair`, `prune` and `show`, for packs of data, of
//! recipes and of both alike.
//!
//! A pack that a snapshot needs keeps every check red until it is repaired, whether it is needed for a chunk or for a
//! recipe node, and though all that is needed of it still opens.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use crate::support::small;
use crate::support::small::{HandClock, Kept};
use dumpvault::base::event::{Cancel, Silent};
use dumpvault::base::id::PackId;
use dumpvault::engine::check::check;
use dumpvault::engine::repair::repair_snapshots;
use dumpvault::storage::Storage;
use dumpvault::storage::memory::MemoryStorage;
use dumpvault::vault::check::{CheckReport, CheckSettings, ReadData};
use dumpvault::vault::format::index::BlockKind;
use dumpvault::vault::gc::{PruneReport, PruneSettings};
use dumpvault::vault::{RepoError, Repository, pack_key};
use std::sync::Arc;
use std::time::Duration;

/// One snapshot: a pack of data and a pack with its recipe, or one small pack with both.
struct Vault {
    clock: Arc<HandClock>,
    storage: MemoryStorage,
    repo: Repository,
    kept: Kept,
    _cache: tempfile::TempDir,
}

impl Vault {
    fn new(bytes: usize) -> Self {
        let clock = HandClock::new();
        let storage = small::memory(&clock);
        let cache = small::scratch();
        let repo = small::init(storage.clone(), cache.path()).unwrap();
        let kept = small::backup(&repo, 1, &small::noise(1, bytes), None).unwrap();
        clock.advance_minutes(3 * 24 * 60);
        Self { clock, storage, repo, kept, _cache: cache }
    }

    fn pack(&self, kind: BlockKind) -> (PackId, usize) {
        let mut catalog = self.repo.catalog(&Silent).unwrap();
        let packs = catalog.packs().unwrap().into_iter();
        let rows = packs.map(|pack| catalog.pack(pack.number).unwrap()).collect::<Vec<_>>();
        let row = rows.iter().find(|row| row.table.blocks[0].kind == kind).unwrap();
        (row.id, row.bytes as usize)
    }

    fn flip(&self, pack: &PackId, at: usize) {
        assert!(self.storage.tamper(&pack_key(pack), |bytes| bytes[at] ^= 4));
    }

    /// As the command does it: what is found is marked.
    fn check(&self, read: ReadData) -> CheckReport {
        let settings = CheckSettings::new(read, self.clock.now_ms(), 1);
        check(&self.repo, self.clock.as_ref(), "test", settings, &Silent, &Cancel::new()).unwrap()
    }

    #[track_caller]
    fn assert_red(&self, pack: &PackId) {
        for read in [ReadData::All, ReadData::Nothing, ReadData::All] {
            let report = self.check(read);
            assert!(!report.is_clean(), "{read:?}: {report:?}");
            assert!(
                report.damage.iter().any(|damage| damage.object == pack_key(pack)),
                "{read:?}: {report:?}"
            );
            assert!(report.quarantined.is_empty() && report.unreferenced_packs == 0, "{read:?}: {report:?}");
        }
    }

    #[track_caller]
    fn assert_restores(&self) {
        assert!(small::restore(&self.repo, &self.kept.id).unwrap() == *self.kept.bytes);
    }

    fn prune(&self) -> Result<PruneReport, RepoError> {
        let settings = PruneSettings { grace: Duration::ZERO, ..PruneSettings::new(self.clock.now_ms()) };
        self.repo.prune(&settings, &Silent, &Cancel::new())
    }

    fn is_there(&self, pack: &PackId) -> bool {
        self.storage.size(&pack_key(pack)).unwrap().is_some()
    }

    fn repair_packs(&self) -> dumpvault::vault::repair::PacksRepair {
        self.repo.repairer().repair_packs("test", self.clock.now_ms(), &Silent, &Cancel::new()).unwrap()
    }
}

/// So many bytes take packs of their own for data and recipes …
const APART: usize = 80_000;
/// … and so many do not.
const TOGETHER: usize = 40_000;
/// The pack that is harmed is that which begins with a block of such a kind.
const SCENES: [(BlockKind, usize); 3] =
    [(BlockKind::Data, APART), (BlockKind::Recipe, APART), (BlockKind::Data, TOGETHER)];

#[test]
fn given_a_flipped_bit_of_padding_then_checks_stay_red_until_the_pack_is_repaired_and_a_prune_removes_it() {
    for (kind, bytes) in SCENES {
        let vault = Vault::new(bytes);
        let (pack, len) = vault.pack(kind);
        // The padding lies before the footer of 24 bytes.
        vault.flip(&pack, len - 100);
        vault.assert_red(&pack);
        vault.assert_restores();
        let pruned = vault.prune().unwrap();
        assert!(pruned.packs_deleted == 0 && vault.is_there(&pack), "{pruned:?}");
        vault.assert_red(&pack);

        let repair = vault.repair_packs();
        assert!(
            repair.is_whole() && (1..=2).contains(&repair.packs_written) && repair.chunks_salvaged > 0,
            "{repair:?}"
        );
        assert_eq!(repair.set_aside.iter().map(|aside| aside.pack).collect::<Vec<_>>(), [pack]);
        for read in [ReadData::All, ReadData::Nothing] {
            let report = vault.check(read);
            assert!(report.is_clean(), "{report:?}");
            let aside: Vec<&String> = report.quarantined.iter().map(|damage| &damage.object).collect();
            assert_eq!(aside, [&pack_key(&pack)]);
        }
        vault.clock.advance_minutes(60);
        let pruned = vault.prune().unwrap();
        assert!(pruned.packs_deleted == 1 && !vault.is_there(&pack), "{pruned:?}");
        let report = vault.check(ReadData::All);
        assert!(report.is_clean() && report.quarantined.is_empty(), "{report:?}");
        vault.assert_restores();
    }
}

#[test]
fn given_a_damaged_pack_that_no_index_names_then_checks_stay_red_whatever_the_catalog_knows() {
    // Without an index a pack tells itself what lies in it: so what is hit is padding, and not its table.
    for (kind, bytes) in SCENES.into_iter().filter(|(_, bytes)| *bytes == APART) {
        let vault = Vault::new(bytes);
        let (pack, len) = vault.pack(kind);
        vault.flip(&pack, len - 100);
        vault.assert_red(&pack);
        let mut indexes = Vec::new();
        vault.storage.list("index/", &mut |listed| indexes.push(listed.key)).unwrap();
        indexes.iter().for_each(|index| vault.storage.delete(index).unwrap());
        let assert_red_by_any_catalog = || {
            for read in [ReadData::Nothing, ReadData::All] {
                vault.repo.drop_catalog().unwrap();
                for report in [vault.check(read), vault.check(read)] {
                    let is_told = report.damage.iter().any(|damage| damage.object == pack_key(&pack));
                    assert!(is_told && !report.is_clean(), "{kind:?}, {read:?}: {report:?}");
                }
            }
        };
        assert_red_by_any_catalog();
        vault.repo.repairer().repair_index(vault.clock.now_ms(), &Silent, &Cancel::new()).unwrap();
        assert_red_by_any_catalog();
        vault.repo.drop_catalog().unwrap();
        let repair = vault.repair_packs();
        assert_eq!(repair.set_aside.iter().map(|aside| aside.pack).collect::<Vec<_>>(), [pack]);
        assert!(vault.check(ReadData::All).is_clean());
        vault.assert_restores();
    }
}

#[test]
fn given_a_footer_or_table_that_rots_then_the_same_holds() {
    for (kind, bytes) in SCENES {
        let vault = Vault::new(bytes);
        let (pack, len) = vault.pack(kind);
        vault.flip(&pack, len - 10);
        vault.assert_red(&pack);
        let pruned = vault.prune().unwrap();
        assert!(pruned.packs_deleted == 0 && vault.is_there(&pack), "{pruned:?}");
        assert!(vault.repair_packs().is_whole());
        vault.clock.advance_minutes(60);
        // No index says anything else of it, so that it goes although it cannot be asked itself.
        assert_eq!(vault.prune().unwrap().packs_deleted, 1);
        assert!(vault.check(ReadData::All).is_clean());
        vault.assert_restores();
    }
}

#[test]
fn given_a_block_that_does_not_open_then_nothing_says_that_the_pack_is_not_needed() {
    for (kind, bytes) in SCENES {
        let vault = Vault::new(bytes);
        let (pack, _) = vault.pack(kind);
        vault.flip(&pack, 150);
        vault.assert_red(&pack);
        let repair = vault.repair_packs();
        assert!(!repair.is_whole() && repair.set_aside[0].chunks_lost > 0, "{repair:?}");
        let report = vault.check(ReadData::Nothing);
        assert!(!report.is_clean() && report.quarantined.is_empty(), "{report:?}");
        match (kind, vault.prune()) {
            (BlockKind::Data, Ok(pruned)) => assert_eq!(pruned.packs_deleted, 0, "{pruned:?}"),
            (BlockKind::Recipe, Err(error)) => assert!(error.is_integrity(), "{error}"),
            (_, outcome) => panic!("{outcome:?}"),
        }
        assert!(vault.is_there(&pack));
        let repaired =
            repair_snapshots(&vault.repo, vault.clock.as_ref(), "test", 1, &Silent, &Cancel::new()).unwrap();
        assert_eq!(repaired.marked, [vault.kept.id]);
        // It is kept, and so it is not whole.
        assert!(!vault.check(ReadData::All).is_clean());

        // The byte is put right: all is as it was.
        vault.flip(&pack, 150);
        assert_eq!(vault.check(ReadData::All).recovered, [pack]);
        let report = vault.check(ReadData::All);
        assert!(report.is_clean() && report.quarantined.is_empty(), "{report:?}");
        vault.assert_restores();
    }
}

#[test]
fn given_packs_that_nobody_needs_then_a_check_says_so_of_data_and_of_recipes() {
    for (bytes, packs) in [(APART, 2), (TOGETHER, 1)] {
        let vault = Vault::new(bytes);
        let gone = small::backup(&vault.repo, 2, &small::noise(2, bytes), None).unwrap();
        assert_eq!(vault.check(ReadData::Nothing).unreferenced_packs, 0);
        let alone =
            |root| vault.repo.bytes_held_alone(&[root], &[vault.kept.stream.root], &Cancel::new()).unwrap();
        assert!(alone(gone.stream.root) > bytes as u64);
        vault.repo.forget(&[gone.id]).unwrap();
        let report = vault.check(ReadData::All);
        assert!(report.is_clean() && report.unreferenced_packs == packs, "{report:?}");
        assert_eq!(vault.prune().unwrap().packs_deleted, packs);
        assert_eq!(vault.check(ReadData::Nothing).unreferenced_packs, 0);
    }
}
