//! A day on which little changed: what it adds to the repository, and that packs of data and recipes together go
//! through everything.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support::cli::{Vault, exit, noise, number};
use crate::support::independent::{self, Unlock};
use dumpvault::source::sample::{SampleConfig, SampleDump};
use std::fs;
use std::io::Read;

/// Above this size a pack is padded to a multiple of 64 KiB.
const SMALL_PACK: u64 = 1 << 20;

fn dump(day: u16) -> Vec<u8> {
    let mut dump = Vec::new();
    SampleDump::new(SampleConfig::new(5, 8 << 20).day(day)).unwrap().read_to_end(&mut dump).unwrap();
    dump
}

fn pack_sizes(vault: &Vault) -> Vec<u64> {
    let packs = vault.objects_in("packs");
    packs.iter().map(|key| fs::metadata(vault.repo().join(key)).unwrap().len()).collect()
}

#[test]
fn given_small_days_then_they_add_little_more_than_their_blocks() {
    let vault = Vault::new();
    let days = [dump(0), dump(1)];
    vault.backup("app", &days[0]);
    assert!(pack_sizes(&vault).iter().any(|bytes| *bytes > SMALL_PACK && bytes % (64 << 10) == 0));
    // Nothing changed, twice: the first day has a parent that was stored whole, the second one that is all copies.
    for _ in 0..2 {
        let before = vault.repo_bytes();
        vault.backup("app", &days[0]);
        let added = vault.repo_bytes() - before;
        assert!(added <= 8_000, "{added} bytes for nothing new");
    }
    let (before, packs) = (vault.repo_bytes(), vault.objects_in("packs"));
    let id = vault.backup("app", &days[1]);
    let added = vault.repo_bytes() - before;
    let stats = vault.snapshot(&id);
    let blocks = number(&stats, "bytes_stored");
    assert!(blocks > 20_000, "a day of changes: {stats}");
    assert!(added < blocks + blocks / 16 + 5_000, "{added} bytes for blocks of {blocks}");
    let new: Vec<_> = vault.objects_in("packs").into_iter().filter(|key| !packs.contains(key)).collect();
    assert_eq!(new.len(), 1, "data and recipe share a pack");
    for (name, dump) in [("app", &days[1]), ("app~2", &days[0])] {
        assert!(vault.restore(name).expect(exit::OK).stdout == *dump, "{name}");
    }
}

#[test]
fn given_packs_of_data_and_recipes_then_every_command_and_the_independent_reader_go_on_with_them() {
    let mut vault = Vault::new();
    let days: Vec<Vec<u8>> = (0..4).map(|day| [noise(day, 90_000), noise(77, 20_000)].concat()).collect();
    let ids: Vec<String> = days.iter().map(|day| vault.backup("app", day)).collect();
    vault.backup("twin", &days[3]);
    let sizes = pack_sizes(&vault);
    // Each day put one pack: the twin only a recipe, if any.
    assert!(sizes.len() <= 5 && sizes.iter().all(|bytes| *bytes < SMALL_PACK), "{sizes:?}");
    let stats = vault.run(["stats", "--json"]).expect(exit::OK).json();
    assert_eq!(number(&stats, "pack_bytes"), sizes.iter().sum::<u64>(), "{stats}");
    let key = vault.key_file();
    let read = |vault: &Vault, name: &str| {
        independent::stdout(independent::read(&vault.repo(), &Unlock::KeyFile(&key), &[name]))
    };
    for (id, day) in ids.iter().zip(&days) {
        assert!(read(&vault, &id[..8]) == *day);
    }

    // What the first two days had alone goes; what the others share with them is copied, with its recipes.
    for id in &ids[..2] {
        vault.run(["forget", id, "--force"]).expect(exit::OK);
    }
    let before = vault.repo_bytes();
    vault.run(["prune", "--grace", "0", "--end-sessions"]).expect(exit::OK);
    vault.run(["prune", "--grace", "0", "--end-sessions"]).expect(exit::OK);
    // Where one chunk of the first day holds what it had alone and what the others share, it stays as a whole.
    assert!(vault.repo_bytes() + 60_000 < before, "{} of {before}", vault.repo_bytes());
    let whole = |vault: &Vault| {
        vault.run(["check", "--read-data"]).expect(exit::OK);
        for (id, day) in ids.iter().zip(&days).skip(2) {
            assert!(vault.restore(id).expect(exit::OK).stdout == *day);
            assert!(read(vault, &id[..8]) == *day);
        }
    };
    whole(&vault);

    // Its own table says of which kinds a pack is.
    fs::remove_dir_all(vault.repo().join("index")).unwrap();
    fs::create_dir(vault.repo().join("index")).unwrap();
    vault.forget_cache();
    vault.run(["repair", "index"]).expect(exit::OK);
    whole(&vault);

    // A bit of padding rots in each pack: all of it is copied, recipes too.
    for key in vault.objects_in("packs") {
        let path = vault.repo().join(key);
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.len() - 25;
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    vault.run(["check", "--read-data"]).expect(exit::INTEGRITY);
    vault.run(["repair", "packs"]).expect(exit::OK);
    whole(&vault);
}
