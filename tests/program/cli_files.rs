//! Files: `backup --path`, and what comes of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support::cli::{Vault, exit, noise, number, text};
use crate::support::tree::seen;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

fn write(vault: &Vault, path: &str, bytes: &[u8]) -> PathBuf {
    let path = vault.work().join("tree").join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

/// A vault with a tree, backed up as series `files`.
fn vault() -> Vault {
    let vault = Vault::new();
    write(&vault, "etc/app.conf", b"port = 1\n");
    write(&vault, "uploads/a", &noise(1, 200_000));
    write(&vault, "uploads/b", &noise(2, 300_000));
    write(&vault, "uploads/c", &noise(3, 100_000));
    back_up(&vault);
    vault
}

fn back_up(vault: &Vault) {
    vault.run(["backup", "--path", "tree", "--name", "files"]).expect(exit::OK);
}

fn restored(vault: &Vault, into: &str) -> PathBuf {
    let tree = vault.work().join("tree");
    vault.work().join(into).join(tree.strip_prefix("/").unwrap())
}

/// Makes bytes of an object others.
fn damage(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn given_files_then_they_come_back_and_a_directory_in_use_is_asked_about() {
    let vault = vault();
    let output = vault.run(["restore", "files", "--to-dir", "into"]).expect(exit::OK);
    assert!(output.text().contains("restored 4 files and"), "{output}");
    assert_eq!(seen(&vault.work().join("tree")), seen(&restored(&vault, "into")));
    // All is there: nothing would be replaced, and it is asked all the same.
    let again = ["restore", "files", "--to-dir", "into"];
    vault.run(again).expect(exit::REFUSED).says("0 would replace").says("--yes");
    fs::write(restored(&vault, "into").join("uploads/a"), b"mine").unwrap();
    let dry = vault.run([&again[..], &["--dry-run", "--json"]].concat()).expect(exit::OK).json();
    assert_eq!((number(&dry, "replaced"), number(&dry, "kept")), (1, 3));
    vault.run(again).expect(exit::REFUSED).says("1 would replace").says("uploads/a");
    assert_eq!(fs::read(restored(&vault, "into").join("uploads/a")).unwrap(), b"mine");
    let kept = vault.run([&again[..], &["--yes", "--overwrite", "never"]].concat());
    kept.expect(exit::OK);
    assert_eq!(fs::read(restored(&vault, "into").join("uploads/a")).unwrap(), b"mine");
    let done = vault.run([&again[..], &["--yes", "--json"]].concat()).expect(exit::OK).json();
    assert_eq!((number(&done, "files"), number(&done, "kept"), text(&done, "snapshot").len()), (1, 3, 64));
    assert_eq!(seen(&vault.work().join("tree")), seen(&restored(&vault, "into")));
}

#[test]
fn given_a_pattern_that_fits_nothing_then_it_is_refused() {
    let vault = vault();
    let args = ["restore", "files", "--to-dir", "into", "--path", "/nowhere/at/all"];
    vault.run(args).expect(exit::USAGE).says("--path");
    assert!(!vault.work().join("into").exists());
    vault.backup("app", b"no files");
    vault.run(["restore", "app", "--to-dir", "into"]).expect(exit::USAGE).says("holds no files");
    vault.run(["restore", "files", "--path", "x"]).expect(exit::USAGE);
}

#[test]
fn given_a_copied_range_that_is_damaged_then_all_that_read_it_tell_and_other_files_come_back() {
    let vault = vault();
    let packs = vault.objects_in("packs");
    // The second backup holds none of the contents itself.
    fs::set_permissions(vault.work().join("tree/etc/app.conf"), fs::Permissions::from_mode(0o600)).unwrap();
    back_up(&vault);
    let largest = packs.iter().max_by_key(|key| fs::metadata(vault.repo().join(key)).unwrap().len());
    let pack = vault.repo().join(largest.unwrap());
    damage(&pack, 200);
    vault.run(["restore", "files", "--stream", "files/data", "--to", "data"]).expect(exit::INTEGRITY);
    assert!(!vault.work().join("data").exists());
    let output = vault.run(["restore", "files", "--to-dir", "into", "--json"]).expect(exit::INTEGRITY);
    let report = output.json();
    let damaged = report["damaged"].as_array().unwrap();
    assert!(!damaged.is_empty() && damaged.len() as u64 + number(&report, "files") == 4, "{report}");
    for path in damaged {
        let path = vault.work().join("into").join(path.as_str().unwrap().trim_start_matches('/'));
        assert!(!path.exists(), "{}", path.display());
    }
    let names = seen(&vault.work().join("into")).into_keys();
    let names: Vec<String> = names.map(|name| String::from_utf8(name).unwrap()).collect();
    assert!(names.iter().all(|name| !name.contains(".dumpvault")), "{names:?}");
    vault.run(["check", "--read-data"]).expect(exit::INTEGRITY);
}
