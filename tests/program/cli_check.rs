//! Check and repair: damage is found by every level that can see it, told by snapshot and byte range, and what can be
//! saved is.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support::cli::{Output, Vault, exit, noise, number, text};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;

const MIB: usize = 1 << 20;

fn flip(vault: &Vault, key: &str, at: usize) {
    let path = vault.repo().join(key);
    let mut bytes = fs::read(&path).unwrap();
    bytes[at] ^= 1;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, bytes).unwrap();
}

fn size(vault: &Vault, key: &str) -> usize {
    fs::metadata(vault.repo().join(key)).unwrap().len() as usize
}

/// The largest pack: that of the data.
fn data_pack(vault: &Vault) -> String {
    vault.objects_in("packs").into_iter().max_by_key(|key| size(vault, key)).unwrap()
}

fn check(vault: &Vault, options: &[&str]) -> Output {
    vault.run(["check", "--json"].iter().chain(options))
}

/// Ranges of the only stream that is hit.
fn ranges(report: &Value) -> Vec<(usize, usize)> {
    let hits = report["snapshots_hit"].as_array().unwrap();
    assert_eq!(hits.len(), 1, "{report}");
    let range = |range: &Value| (range[0].as_u64().unwrap() as usize, range[1].as_u64().unwrap() as usize);
    hits[0]["ranges"].as_array().unwrap().iter().map(range).collect()
}

// --- what is read

#[test]
fn given_checks_of_a_part_then_they_come_round_to_every_pack_and_are_remembered_on_this_machine() {
    let mut vault = Vault::new();
    for seed in 0..4 {
        vault.backup("app", &noise(seed, 200_000 + 1000 * seed as usize));
    }
    let report = check(&vault, &[]).expect(exit::OK).json();
    let packs = number(&report, "packs");
    assert_eq!((number(&report, "packs_read"), number(&report, "packs_never_read")), (0, packs));
    let mut never = packs;
    for round in 0..4 {
        let report = check(&vault, &["--read-data-subset", "1/4"]).expect(exit::OK).json();
        let read = number(&report, "packs_read");
        assert!(read >= 1 && read < packs, "round {round}: {report}");
        // None is read twice before all were read once.
        never = never.saturating_sub(read);
        assert_eq!(number(&report, "packs_never_read"), never, "round {round}: {report}");
        if never == 0 {
            break;
        }
    }
    assert_eq!(never, 0);
    let report = check(&vault, &["--read-data-subset", "25%"]).expect(exit::OK).json();
    assert!(number(&report, "packs_read") >= 1 && report["oldest_read"].is_string(), "{report}");
    vault.forget_cache();
    let report = check(&vault, &[]).expect(exit::OK).json();
    assert_eq!(number(&report, "packs_never_read"), packs);
}

#[test]
fn given_rot_in_any_pack_then_checks_of_a_third_find_it_within_three() {
    let vault = Vault::new();
    for seed in 0..3 {
        vault.backup("app", &noise(seed, 200_000));
    }
    // All read once, so that the order is by time.
    check(&vault, &["--read-data"]).expect(exit::OK);
    for key in vault.objects_in("packs") {
        let middle = 200.min(size(&vault, &key) / 2);
        flip(&vault, &key, middle);
        let codes: Vec<_> =
            (0..3).map(|_| check(&vault, &["--read-data-subset", "1/3"]).code.unwrap()).collect();
        assert!(codes.contains(&exit::INTEGRITY), "{key}: {codes:?}");
        flip(&vault, &key, middle);
        let report = check(&vault, &["--read-data"]).expect(exit::OK).json();
        assert_eq!(report["recovered"].as_array().unwrap().len(), 1, "its mark is taken back: {report}");
        assert_eq!(check(&vault, &[]).expect(exit::OK).json()["damage"].as_array().unwrap().len(), 0);
    }
}

#[test]
fn given_a_time_box_then_no_pack_is_begun_after_it() {
    let vault = Vault::new();
    vault.backup("app", &noise(1, 200_000));
    let report = check(&vault, &["--for", "1ns"]).expect(exit::OK).json();
    assert_eq!((number(&report, "packs_read"), number(&report, "packs_left")), (0, number(&report, "packs")));
    let report = check(&vault, &["--for", "1h"]).expect(exit::OK).json();
    assert_eq!((number(&report, "packs_left"), number(&report, "packs_read")), (0, number(&report, "packs")));
}

#[test]
fn given_options_that_make_no_sense_then_nothing_is_checked() {
    let vault = Vault::new();
    for part in ["7x", "0%", "200%", "3/2", "1/0", "-1/3"] {
        vault.run(["check", &format!("--read-data-subset={part}")]).expect(exit::USAGE);
    }
    vault.run(["check", "--for", "soon"]).expect(exit::USAGE);
    vault.run(["check", "--structure", "--read-data"]).expect(exit::USAGE);
    vault.run(["check", "--structure"]).expect(exit::OK);
}

// --- without a key

#[test]
fn given_no_key_then_any_flipped_bit_of_any_object_is_found_and_named() {
    let vault = Vault::new();
    vault.backup("app", &noise(1, 100_000));
    fs::remove_file(vault.key_file()).unwrap();
    let report = check(&vault, &["--storage-only"]).expect(exit::OK).json();
    assert_eq!(report["level"], "storage");
    assert_eq!(number(&report, "packs_read"), number(&report, "packs"));
    let objects = vault.objects();
    assert!(objects.len() >= 7, "{objects:?}");
    for key in objects {
        let len = size(&vault, &key);
        let places = if key == "config" { vec![0, 20] } else { vec![0, 20, 40, len / 2, len - 1] };
        for at in places {
            // Without a key nothing tells which repository a config should be of: the others tell.
            flip(&vault, &key, at);
            let output = check(&vault, &["--storage-only"]).expect(exit::INTEGRITY);
            let is_named = output.text().contains(&key);
            assert!(is_named || key == "config", "{key}, byte {at}: {output}");
            flip(&vault, &key, at);
        }
    }
    check(&vault, &["--storage-only"]).expect(exit::OK);
}

// --- what is hit

#[test]
fn given_a_flipped_bit_then_the_check_tells_the_lost_bytes_and_no_others() {
    let vault = Vault::new();
    let dump = noise(1, 4 * MIB);
    let id = vault.backup("app", &dump);
    let whole = vault.backup("other", &noise(2, MIB));
    flip(&vault, &data_pack(&vault), 2 * MIB);
    let report = check(&vault, &["--read-data"]).expect(exit::INTEGRITY).json();
    assert_eq!(report["snapshots_hit"][0]["snapshot"], id.as_str());
    let ranges = ranges(&report);
    let lost: usize = ranges.iter().map(|(from, to)| to - from).sum();
    assert!((1..=MIB + MIB / 4).contains(&lost), "one block of four: {ranges:?}");
    // Noise is stored as it is, so that places in the pack are nearly those in the stream.
    assert!(ranges.iter().any(|(from, to)| (*from..*to).contains(&(2 * MIB - 1000))), "{ranges:?}");
    let out = vault.restore(&id).expect(exit::INTEGRITY).stdout;
    assert!(out.len() <= ranges[0].0 && out == dump[..out.len()]);
    vault.restore(&whole).expect(exit::OK);
    let said = vault.run(["check"]).expect(exit::INTEGRITY).text();
    assert!(said.contains(&format!("bytes {}-{}", ranges[0].0, ranges[0].1 - 1)), "{said}");
}

// --- repair

#[test]
fn given_a_pack_with_a_broken_block_then_repair_saves_the_others_and_a_new_backup_heals_the_rest() {
    let vault = Vault::new();
    let dump = noise(1, 4 * MIB);
    let id = vault.backup("app", &dump);
    let bad = data_pack(&vault);
    flip(&vault, &bad, 2 * MIB);
    let before = ranges(&check(&vault, &["--read-data"]).expect(exit::INTEGRITY).json());

    let repair = vault.run(["repair", "packs", "--json"]).expect(exit::INTEGRITY).json();
    let aside = &repair["set_aside"][0];
    assert_eq!(number(aside, "blocks_broken"), 1, "{repair}");
    assert!(number(aside, "chunks_lost") > 0 && number(&repair, "chunks_salvaged") > 0, "{repair}");
    assert!(vault.objects().contains(&bad), "nothing is deleted");
    let again = vault.run(["repair", "packs", "--json"]).expect(exit::INTEGRITY).json();
    assert_eq!(number(&again, "chunks_salvaged"), 0, "what is safe is not copied twice: {again}");
    // Even without the bad pack nothing more is lost than before.
    let aside = vault.home().join("aside");
    fs::rename(vault.repo().join(&bad), &aside).unwrap();
    assert_eq!(ranges(&check(&vault, &[]).expect(exit::INTEGRITY).json()), before);
    fs::rename(&aside, vault.repo().join(&bad)).unwrap();

    let repair = vault.run(["repair", "snapshots", "--json"]).expect(exit::INTEGRITY).json();
    assert_eq!(repair["marked"][0], id.as_str());
    assert_eq!(text(&vault.snapshot(&id), "state"), "suspect");

    let args = ["backup", "--stdin", "--series", "app"];
    vault.run_with(args, &dump).expect_one_of(&[exit::OK, exit::PART_FAILED]);
    assert!(vault.restore(&id).expect(exit::OK).stdout == dump, "the old snapshot is whole again");
    let repair = vault.run(["repair", "snapshots", "--json"]).expect(exit::OK).json();
    assert_eq!(repair["recovered"][0], id.as_str());
    assert_eq!(text(&vault.snapshot(&id), "state"), "complete");
    let report = check(&vault, &["--read-data"]).expect(exit::OK).json();
    assert_eq!(report["set_aside"].as_array().unwrap().len(), 1, "known, and of no concern: {report}");
    vault.run(["repair", "packs"]).expect(exit::OK);
}

#[test]
fn given_a_pack_of_which_only_the_end_is_damaged_then_all_of_it_is_saved() {
    let vault = Vault::new();
    for key in {
        vault.backup("app", &noise(1, 2 * MIB));
        vault.objects_in("packs")
    } {
        flip(&vault, &key, size(&vault, &key) - 1);
    }
    check(&vault, &["--read-data"]).expect(exit::INTEGRITY);
    let repair = vault.run(["repair", "packs", "--json"]).expect(exit::OK).json();
    assert_eq!(repair["set_aside"].as_array().unwrap().len(), 2, "recipes, too: {repair}");
    assert!(vault.restore("app").expect(exit::OK).stdout == noise(1, 2 * MIB));
    check(&vault, &["--read-data"]).expect(exit::OK);
}

#[test]
fn given_a_pack_that_was_put_back_then_repair_takes_its_mark_away() {
    let vault = Vault::new();
    vault.backup("app", &noise(1, MIB));
    let key = data_pack(&vault);
    flip(&vault, &key, 1000);
    check(&vault, &["--read-data"]).expect(exit::INTEGRITY);
    flip(&vault, &key, 1000);
    // Without reading it, its mark is all that is known.
    check(&vault, &[]).expect(exit::INTEGRITY);
    let repair = vault.run(["repair", "packs", "--json"]).expect(exit::OK).json();
    assert_eq!(repair["recovered"].as_array().unwrap().len(), 1, "{repair}");
    check(&vault, &[]).expect(exit::OK);
}

#[test]
fn given_indexes_that_are_damaged_or_lost_then_repair_makes_them_anew_from_the_packs() {
    let mut vault = Vault::new();
    let ids: Vec<String> = (0..3).map(|seed| vault.backup("app", &noise(seed, 300_000))).collect();
    let old = vault.objects_in("index");
    assert_eq!(old.len(), 3);
    flip(&vault, &old[0], 100);
    fs::remove_file(vault.repo().join(&old[1])).unwrap();
    check(&vault, &[]).expect(exit::INTEGRITY);
    let repair = vault.run(["repair", "index", "--json"]).expect(exit::OK).json();
    assert_eq!(number(&repair, "packs"), vault.objects_in("packs").len() as u64);
    assert_eq!(vault.objects_in("index").len(), 1, "one in the place of all");
    for fresh in [false, true] {
        if fresh {
            vault.forget_cache();
        }
        check(&vault, &["--read-data"]).expect(exit::OK);
        for (seed, id) in ids.iter().enumerate() {
            assert!(vault.restore(id).expect(exit::OK).stdout == noise(seed as u64, 300_000));
        }
    }
    assert_eq!(vault.objects_in("sessions").len(), 0);
}

#[test]
fn given_a_missing_pack_then_the_index_names_it_until_nobody_misses_it() {
    // Where the dump ends in a chunk so small that its id is blinded, another backup stores it under another id.
    assert!((0..20).any(|_| is_made_good_by_another_backup()));
}

fn is_made_good_by_another_backup() -> bool {
    let vault = Vault::new();
    let dump = noise(1, MIB);
    let id = vault.backup("app", &dump);
    fs::remove_file(vault.repo().join(data_pack(&vault))).unwrap();
    let repair = vault.run(["repair", "index", "--json"]).expect(exit::INTEGRITY).json();
    assert_eq!(repair["missing"].as_array().unwrap().len(), 1, "{repair}");
    check(&vault, &[]).expect(exit::INTEGRITY);
    vault.run_with(["backup", "--stdin", "--series", "app"], &dump).expect(exit::PART_FAILED);
    check(&vault, &[]).expect(exit::INTEGRITY);
    let output = vault.run(["repair", "index", "--json"]);
    if output.code != Some(exit::OK) {
        output.expect(exit::INTEGRITY);
        vault.restore(&id).expect(exit::INTEGRITY);
        return false;
    }
    let repair = output.json();
    assert_eq!(repair["dropped"].as_array().unwrap().len(), 1, "{repair}");
    check(&vault, &[]).expect(exit::OK);
    assert!(vault.restore(&id).expect(exit::OK).stdout == dump);
    true
}

#[test]
fn given_a_key_that_may_only_append_then_neither_check_nor_repair_goes_on() {
    let vault = Vault::new();
    let append = vault.home().join("append");
    let append = append.to_str().unwrap();
    vault.run(["key", "add", "--new-key-file", append, "--role", "append"]).expect(exit::OK);
    for what in ["index", "packs", "snapshots"] {
        vault.run(["repair", what, "--key-file", append]).expect(exit::WRONG_KEY);
    }
}

#[test]
fn given_a_check_then_status_tells_of_it_and_neither_checks_nor_prunes_pile_up_its_marks() {
    let vault = Vault::new();
    let first = vault.backup("app", &noise(1, 100_000));
    vault.backup("app", &noise(2, 100_000));
    vault.backup("other", &noise(3, 100_000));
    let checked = || -> Vec<bool> {
        let status = vault.run(["status", "--json"]).expect(exit::OK).json();
        status["series"].as_array().unwrap().iter().map(|one| one["checked"].is_string()).collect()
    };
    assert_eq!(checked(), [false, false]);
    let before = vault.objects_in("marks").len();
    vault.run(["check"]).expect(exit::OK);
    assert_eq!(checked(), [true, true]);
    for _ in 0..10 {
        vault.run(["check"]).expect(exit::OK);
    }
    assert_eq!(vault.objects_in("marks").len(), before + 1, "each says it in the place of the one before");
    // Words of a prune do not take it along.
    vault.run(["forget", &first, "--force"]).expect(exit::OK);
    vault.run(["prune"]).expect(exit::OK);
    assert_eq!(checked(), [true, true]);
    let told = vault.run(["status"]).expect(exit::OK).text();
    assert!(told.contains("CHECKED"), "{told}");
    // A repository that takes no more is checked all the same.
    let folder = vault.repo().join("marks");
    for entry in
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir())
    {
        fs::set_permissions(entry, fs::Permissions::from_mode(0o500)).unwrap();
    }
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o500)).unwrap();
    let told = vault.run(["check"]).expect(exit::OK);
    if !rustix::process::geteuid().is_root() {
        told.says("checked, but not recorded");
    }
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
}
