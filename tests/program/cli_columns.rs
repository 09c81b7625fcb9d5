//! Rows stored by column, as the program writes and reads them: beside blocks of zstd, and through everything that
//! carries blocks along.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support::cli::{Vault, exit};
use crate::support::independent::{self, Unlock};
use dumpvault::source::sample::{SampleConfig, SampleDump};
use dumpvault::vault::format::pack::{FOOTER_BYTES, FRONT_BYTES, Footer};
use std::fs;
use std::io::Read;
use std::path::Path;

fn dump(seed: u64, day: u16) -> Vec<u8> {
    let mut dump = Vec::new();
    SampleDump::new(SampleConfig::new(seed, 2 << 20).day(day)).unwrap().read_to_end(&mut dump).unwrap();
    dump
}

/// Objects of a folder whose header says that they have blocks by column, and the others.
fn by_feature(repo: &Path, folder: &str) -> (usize, usize) {
    let files = fs::read_dir(repo.join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let files = files.flat_map(|path| match path.is_dir() {
        true => fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect(),
        false => vec![path],
    });
    let features: Vec<u8> = files.map(|path| fs::read(path).unwrap()[10]).collect();
    assert!(features.iter().all(|feature| matches!(feature, 0 | 2)), "{features:?}");
    let with = features.iter().filter(|feature| **feature == 2).count();
    (with, features.len() - with)
}

#[test]
fn given_blocks_of_both_kinds_then_all_come_back_and_go_along() {
    let vault = Vault::new();
    let days = [dump(1, 0), dump(2, 0), dump(2, 1)];
    let first = vault.backup_with("zstd", &days[0], &["--compression", "zstd"]);
    assert_eq!(by_feature(&vault.repo(), "packs").0, 0);
    let without = vault.repo_bytes();
    vault.backup("app", &days[1]);
    let added = vault.repo_bytes() - without;
    assert!(added * 10 < without * 8, "{added} bytes by column, {without} by zstd");
    vault.backup_with("app", &days[2], &["--compression", "columns"]);
    for folder in ["packs", "index"] {
        let (with, without) = by_feature(&vault.repo(), folder);
        assert!(with > 0 && without > 0, "{folder}: {with} and {without}");
    }

    let all = |vault: &Vault| {
        for (name, dump) in [("app~1", &days[1]), ("app", &days[2])] {
            assert!(vault.restore(name).expect(exit::OK).stdout == *dump, "{name}");
        }
        vault.run(["check", "--read-data"]).expect(exit::OK);
    };
    all(&vault);
    assert!(vault.restore("zstd").expect(exit::OK).stdout == days[0]);
    let key = vault.key_file();
    let read = independent::read(&vault.repo(), &Unlock::KeyFile(&key), &["latest"]);
    assert!(independent::stdout(read) == days[2]);

    for (name, options) in
        [("same", &[][..]), ("anew", &["--compression", "zstd"]), ("columns", &["--compression", "columns"])]
    {
        let to = vault.home().join(name);
        let to = to.to_str().unwrap();
        vault.run(["copy", "--to", to, "--init"].iter().chain(options)).expect(exit::OK);
        let (with, _) = by_feature(Path::new(to), "packs");
        assert_eq!(with > 0, name != "anew", "{name}");
        let key = vault.key_file();
        for (series, dump) in [("zstd", &days[0]), ("app", &days[2])] {
            let args =
                ["--repo", to, "--key-file", key.to_str().unwrap(), "restore", series, "--output", "-"];
            assert!(vault.run(args).expect(exit::OK).stdout == *dump, "{name} {series}");
        }
    }

    vault.run(["forget", &first, "--force", "--even-the-last"]).expect(exit::OK);
    vault.run(["prune", "--grace", "0", "--end-sessions"]).expect(exit::OK);
    all(&vault);

    // Without its indexes, a pack's own table says what is in it.
    fs::remove_dir_all(vault.repo().join("index")).unwrap();
    fs::create_dir(vault.repo().join("index")).unwrap();
    vault.run(["repair", "index"]).expect(exit::OK);
    all(&vault);
}

#[test]
fn given_a_reader_of_before_then_it_reads_what_has_no_columns_and_says_why_not_the_rest() {
    let vault = Vault::new();
    let days = [dump(1, 0), dump(2, 0)];
    vault.backup_with("app", &days[0], &["--compression", "zstd"]);
    // The independent reader as it was when nobody knew of columns: it knows one feature less.
    let source = fs::read_to_string(independent::script()).unwrap();
    let known =
        "FEATURES = {\"snapshots\": FEATURE_DIGESTS, \"packs\": FEATURE_COLUMNS, \"index\": FEATURE_COLUMNS}";
    assert!(source.contains(known));
    let before = vault.home().join("reader_of_before.py");
    fs::write(&before, source.replace(known, "FEATURES = {\"snapshots\": FEATURE_DIGESTS}")).unwrap();
    let key = vault.key_file();
    let read = |script: &Path, name: &str| {
        independent::read_by(script, &vault.repo(), &Unlock::KeyFile(&key), &[name])
    };
    assert!(independent::stdout(read(&before, "latest")) == days[0]);
    vault.backup("app", &days[1]);
    let refused = read(&before, "latest");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && refused.stdout.is_empty(), "{said}");
    assert!(said.contains("needs features 0x0002 that this reader does not know"), "{said}");
    assert!(independent::stdout(read(&independent::script(), "latest")) == days[1]);
    for (name, dump) in [("app~1", &days[0]), ("app", &days[1])] {
        assert!(vault.restore(name).expect(exit::OK).stdout == *dump, "{name}");
    }
}

#[test]
fn given_compression_by_slack_then_the_dump_comes_back_whatever_was_chosen() {
    let vault = Vault::new();
    for (day, options) in [(0, ["--compression", "auto"]), (1, ["--compression", "auto"])] {
        vault.backup_with("app", &dump(4, day), &options);
        assert!(vault.restore("app").expect(exit::OK).stdout == dump(4, day));
    }
    vault.run(["check", "--read-data"]).expect(exit::OK);
}

#[test]
fn given_a_pack_with_a_feature_of_later_then_it_is_refused_as_such() {
    let vault = Vault::new();
    vault.backup("app", &dump(3, 0));
    let pack = vault.objects_in("packs").into_iter().map(|key| vault.repo().join(key));
    for path in pack {
        let mut bytes = fs::read(&path).unwrap();
        bytes[10] |= 4;
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        fs::write(&path, bytes).unwrap();
    }
    let refused = vault.restore("app");
    assert_ne!(refused.code, Some(exit::OK));
    assert!(refused.stderr.contains("feature"), "{}", refused.stderr);
}

#[test]
fn given_a_block_by_column_with_a_changed_byte_then_a_restore_ends_with_4_and_gives_no_other_rows() {
    let vault = Vault::new();
    let rows: String = (0..4000).map(|row| format!("{row}\t{}.{:02}\tword\n", row * 7, row % 100)).collect();
    vault.backup("app", rows.as_bytes());
    assert_eq!(by_feature(&vault.repo(), "packs"), (1, 0));
    let pack = vault.objects_in("packs").remove(0);
    let path = vault.repo().join(&pack);
    let whole = fs::read(&path).unwrap();
    let footer = whole[whole.len() - FOOTER_BYTES..].try_into().unwrap();
    let table_offset = Footer::read(footer, whole.len() as u64).unwrap().table_offset as usize;
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let places = (FRONT_BYTES..table_offset).step_by((table_offset - FRONT_BYTES) / 30);
    for (turn, at) in places.chain([table_offset - 1]).enumerate() {
        let mut changed = whole.clone();
        changed[at] ^= 1 << (turn % 8);
        fs::write(&path, changed).unwrap();
        let restored = vault.restore("app").expect(exit::INTEGRITY);
        assert!(rows.as_bytes().starts_with(&restored.stdout), "byte {at}: {} bytes", restored.stdout.len());
        assert!(restored.stderr.contains(&pack[6..14]), "byte {at}: {}", restored.stderr);
    }
    fs::write(&path, whole).unwrap();
    assert!(vault.restore("app").expect(exit::OK).stdout == rows.as_bytes());
}
