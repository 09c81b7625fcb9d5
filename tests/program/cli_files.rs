//! Files: `backup --path`, and what comes of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support::cli::{Vault, exit, noise, number, text};
use crate::support::tree::seen;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
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
    vault.run(["backup", "--path", "tree", "--series", "files"]).expect(exit::OK);
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
    // No database takes it: it is read, no server is asked, and nothing says that it was restored.
    let verified = vault.run(["verify", "files", "--json"]).expect(exit::OK).json();
    let streams = verified["streams"].as_array().unwrap();
    assert!(streams.iter().all(|one| one["ok"] == true && one["restored"] == false), "{verified}");
    assert_eq!((streams.len(), &vault.snapshots()[0]["verified"]), (2, &serde_json::Value::Null));
    // All is there: nothing would be replaced, and it is asked all the same.
    let again = ["restore", "files", "--to-dir", "into"];
    vault.run(again).expect(exit::REFUSED).says("no file there would be replaced").says("--yes");
    fs::write(restored(&vault, "into").join("uploads/a"), b"mine").unwrap();
    let dry = vault.run([&again[..], &["--dry-run", "--json"]].concat()).expect(exit::OK).json();
    assert_eq!((number(&dry, "replaced"), number(&dry, "kept")), (1, 3));
    vault.run(again).expect(exit::REFUSED).says("1 file there would be replaced").says("uploads/a");
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
    vault.run(["restore", "files", "--stream", "files/data", "--output", "data"]).expect(exit::INTEGRITY);
    assert!(!vault.work().join("data").exists());
    vault.run(["verify", "files"]).expect(exit::INTEGRITY);
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

#[test]
fn given_a_path_then_ls_lists_it_and_cat_writes_it() {
    let vault = vault();
    let tree = vault.work().join("tree");
    let at = |path: &str| format!("files:{}/{path}", tree.display());
    let lines = |args: &[&str]| {
        let output = vault.run(args).expect(exit::OK);
        output.text().lines().map(|line| line.replace(tree.to_str().unwrap(), "")).collect::<Vec<_>>()
    };
    assert_eq!(lines(&["ls", at("").trim_end_matches('/')]), ["/etc/", "/uploads/"]);
    let all = ["/etc/", "/etc/app.conf", "/uploads/", "/uploads/a", "/uploads/b", "/uploads/c"];
    assert_eq!(lines(&["ls", "-R", &at("")]), all);
    let long = lines(&["ls", "--long", &at("uploads/b")]);
    assert!(long.len() == 1 && long[0].starts_with("-0644") && long[0].contains("292.97 KiB"), "{long:?}");
    let json = vault.run(["ls", "--json", &at("uploads")]).expect(exit::OK).json();
    assert_eq!(json["files"].as_array().unwrap().len(), 3);
    assert_eq!(number(&json["files"][0], "size"), 200_000);
    vault.run(["ls", &at("nothing")]).expect(exit::USAGE).says("has no");
    vault.run(["ls", "files", "--long"]).expect(exit::USAGE);

    assert!(vault.run(["cat", &at("uploads/a")]).expect(exit::OK).stdout == noise(1, 200_000));
    vault.run(["cat", &at("uploads")]).expect(exit::USAGE).says("not a regular file");
    vault.run(["cat", &at("uploads/z")]).expect(exit::USAGE).says("not in the snapshot");
    // Holes are zeros.
    let sparse = write(&vault, "sparse", b"");
    let file = fs::OpenOptions::new().write(true).open(&sparse).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"x", 100_000).unwrap();
    file.set_len(300_000).unwrap();
    back_up(&vault);
    assert!(vault.run(["cat", &at("sparse")]).expect(exit::OK).stdout == fs::read(&sparse).unwrap());
    fs::hard_link(&sparse, tree.join("zweiter")).unwrap();
    back_up(&vault);
    assert!(vault.run(["cat", &at("zweiter")]).expect(exit::OK).stdout == fs::read(&sparse).unwrap());
}

#[test]
fn given_a_root_that_is_empty_all_at_once_then_the_snapshot_is_suspect_and_no_parent() {
    let vault = Vault::new();
    write(&vault, "only", b"one small file");
    back_up(&vault);
    // As when the volume is not mounted.
    let tree = vault.work().join("tree");
    fs::rename(&tree, vault.work().join("away")).unwrap();
    fs::create_dir(&tree).unwrap();
    let args = ["backup", "--path", "tree", "--series", "files"];
    vault.run(args).expect(exit::PART_FAILED).says("suspect").says("0 files, usually about 1 file");
    fs::remove_dir(&tree).unwrap();
    vault.run(args).expect(exit::NOTHING_DONE).says("tree").says("mounted");
    fs::rename(vault.work().join("away"), &tree).unwrap();
    back_up(&vault);
    assert_eq!(vault.run(["cat", &format!("files:{}/only", tree.display())]).text(), "one small file");
}

/// The program as a user that files can be hidden from.
fn as_somebody(vault: &Vault, args: &[&str]) -> crate::support::cli::Output {
    use std::os::unix::process::CommandExt;
    let mut command = vault.command(args);
    if rustix::process::geteuid().is_root() {
        let mut all: Vec<PathBuf> = vec![vault.home().to_owned()];
        while let Some(path) = all.pop() {
            if path.symlink_metadata().unwrap().uid() != 12345 {
                std::os::unix::fs::lchown(&path, Some(12345), Some(12345)).unwrap();
            }
            if path.symlink_metadata().unwrap().is_dir() {
                all.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
        command.uid(12345).gid(12345);
    }
    crate::support::cli::run(command, b"")
}

#[test]
fn given_a_file_that_cannot_be_read_then_it_is_named_and_the_next_backup_still_reads_nothing_else() {
    let vault = vault();
    let hidden = write(&vault, "uploads/hidden", b"not for you");
    fs::set_permissions(&hidden, fs::Permissions::from_mode(0o000)).unwrap();
    let args = ["backup", "--path", "tree", "--series", "files", "--json"];
    let first = as_somebody(&vault, &args).expect(exit::PART_FAILED).says("uploads/hidden");
    assert!(first.text().contains("partial"), "{first}");
    // Long enough for all that was changed to count as settled: a rule about the clock, of 2 s.
    std::thread::sleep(std::time::Duration::from_secs(3));
    as_somebody(&vault, &args).expect(exit::PART_FAILED);
    let second = as_somebody(&vault, &args).expect(exit::PART_FAILED).json();
    let streams = second["results"][0]["snapshot"]["streams"].as_array().unwrap();
    let data = streams.iter().find(|stream| text(stream, "name") == "files/data").unwrap();
    assert_eq!((number(data, "bytes_copied"), number(data, "bytes")), (600_009, 600_009), "{second}");
    let restored = vault.run(["restore", &text(&second["results"][0]["snapshot"], "id"), "--to-dir", "into"]);
    restored.expect(exit::OK).says("1 file could not be read when the backup was made");
}

#[test]
fn given_two_snapshots_then_diff_tells_what_became_of_each_file_and_find_finds_them() {
    let vault = vault();
    let tree = vault.work().join("tree");
    write(&vault, "uploads/a", b"shorter");
    write(&vault, "uploads/new.pdf", b"pdf");
    fs::remove_file(tree.join("uploads/c")).unwrap();
    fs::set_permissions(tree.join("uploads/b"), fs::Permissions::from_mode(0o600)).unwrap();
    back_up(&vault);
    let plain = |text: String| {
        text.replace(tree.to_str().unwrap(), "").lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let names = [format!("files~1:{}", tree.display()), format!("files:{}", tree.display())];
    let output = vault.run(["diff", &names[0], &names[1]]).expect(exit::OK);
    let expected = ["m /uploads/", "M /uploads/a", "m /uploads/b", "- /uploads/c", "+ /uploads/new.pdf"];
    assert_eq!(plain(output.text()), expected);
    let json = vault.run(["diff", &names[0], "files", "--json"]).expect(exit::OK).json();
    assert_eq!(json["files"].as_array().unwrap().len(), 5);
    let below = format!("{}/etc", names[0]);
    assert_eq!(vault.run(["diff", &below, "files"]).expect(exit::OK).text(), "");
    vault.run(["diff", &below, &names[1]]).expect(exit::USAGE);

    let found =
        |args: &[&str]| plain(vault.run([&["find", "files"][..], args].concat()).expect(exit::OK).text());
    assert_eq!(found(&["*.pdf"]), ["/uploads/new.pdf"]);
    assert_eq!(found(&["uploads", "*.conf"]), ["/etc/app.conf", "/uploads/"]);
    assert_eq!(found(&["nothing"]), [""; 0]);
    let json = vault.run(["find", "files~1", "c", "--json"]).expect(exit::OK).json();
    assert_eq!(json["files"].as_array().unwrap().len(), 1);
}

#[test]
fn given_directories_that_say_that_they_are_caches_then_what_is_in_them_is_left_out_where_that_is_said() {
    const SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55\n# a cache\n";
    let vault = Vault::new();
    write(&vault, "kept/a", b"a");
    write(&vault, "cache/CACHEDIR.TAG", SIGNATURE);
    write(&vault, "cache/deep/b", b"b");
    // A name alone says nothing.
    write(&vault, "liar/CACHEDIR.TAG", b"Signature: another");
    write(&vault, "liar/c", b"c");
    fs::create_dir_all(vault.work().join("tree/pipe")).unwrap();
    let pipe = vault.work().join("tree/pipe/CACHEDIR.TAG");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let tree = vault.work().join("tree");
    let table = format!("[source.files]\npaths = ['{}']\nexclude_caches = true\n", tree.display());
    fs::write(vault.work().join("dumpvault.toml"), table).unwrap();
    let args: [&[&str]; 3] = [
        &["backup", "--path", "tree", "--series", "all"],
        &["backup", "--path", "tree", "--series", "some", "--exclude-caches"],
        &["--config", "dumpvault.toml", "backup", "files"],
    ];
    for (args, name) in args.into_iter().zip(["all", "some", "files"]) {
        vault.run(args).expect(exit::OK);
        let into = format!("into-{name}");
        vault.run(["restore", name, "--to-dir", &into]).expect(exit::OK);
        let found = restored(&vault, &into);
        assert_eq!(found.join("cache/deep/b").exists(), name == "all", "{name}");
        assert!(found.join("cache/CACHEDIR.TAG").exists() && found.join("liar/c").exists(), "{name}");
        assert!(found.join("kept/a").exists() && found.join("pipe").exists(), "{name}");
    }
}

#[test]
fn given_files_that_were_renamed_then_diff_says_where_each_was() {
    let vault = vault();
    let tree = vault.work().join("tree");
    fs::rename(tree.join("uploads/a"), tree.join("etc/a")).unwrap();
    fs::rename(tree.join("uploads/b"), tree.join("uploads/z")).unwrap();
    write(&vault, "uploads/other", b"other");
    back_up(&vault);
    let plain = |text: String| text.replace(tree.to_str().unwrap(), "");
    let names = [format!("files~1:{}", tree.display()), format!("files:{}", tree.display())];
    let told = plain(vault.run(["diff", &names[0], &names[1]]).expect(exit::OK).text());
    for line in ["R /uploads/a => /etc/a", "R /uploads/b => /uploads/z", "+ /uploads/other"] {
        assert!(told.lines().any(|found| found == line), "no `{line}` in\n{told}");
    }
    assert!(!told.contains("- "), "{told}");
    let json = vault.run(["diff", &names[0], &names[1], "--json"]).expect(exit::OK).json();
    let moved = json["files"].as_array().unwrap().iter().filter(|one| one["became"] == "moved");
    assert!(moved.clone().count() == 2 && moved.clone().all(|one| one["from"].is_string()), "{json}");
}

/// The tree as it was, restored into `into`, and things beside it that the snapshot does not have.
fn with_extras(vault: &Vault) -> PathBuf {
    vault.run(["restore", "files", "--to-dir", "into"]).expect(exit::OK);
    let tree = restored(vault, "into");
    fs::write(tree.join("uploads/extra"), b"1").unwrap();
    fs::create_dir_all(tree.join("old/deep")).unwrap();
    fs::write(tree.join("old/deep/x"), b"1").unwrap();
    std::os::unix::fs::symlink("/etc", tree.join("old/link")).unwrap();
    // It is above what was backed up, and none of the snapshot's.
    fs::write(tree.parent().unwrap().join("neighbour"), b"1").unwrap();
    tree
}

#[test]
fn given_delete_then_what_the_snapshot_does_not_have_goes_after_a_listing_and_a_question() {
    let vault = vault();
    let tree = with_extras(&vault);
    let args = ["restore", "files", "--to-dir", "into", "--delete"];
    let before = seen(&tree);
    let listed = vault.run([&args[..], &["--dry-run"]].concat()).expect(exit::OK);
    for path in ["old", "old/deep", "old/deep/x", "old/link", "uploads/extra"] {
        assert!(listed.text().contains(&format!("would delete `{}`", tree.join(path).display())), "{listed}");
    }
    assert!(!listed.text().contains("neighbour"), "{listed}");
    let json = vault.run([&args[..], &["--dry-run", "--json"]].concat()).expect(exit::OK).json();
    assert_eq!(json["deleted"].as_array().unwrap().len(), 5, "{json}");
    vault.run(args).expect(exit::REFUSED).says("5 paths would be deleted").says("--yes");
    assert_eq!(seen(&tree), before);

    // With a pattern only what fits it.
    let some = vault.run([&args[..], &["--yes", "--path", "uploads/"]].concat()).expect(exit::OK);
    assert!(some.text().contains("1 path deleted"), "{some}");
    assert!(!tree.join("uploads/extra").exists() && tree.join("old/deep/x").exists());
    let all = vault.run([&args[..], &["--yes", "--json"]].concat()).expect(exit::OK).json();
    assert_eq!(number(&all, "deleted"), 4, "{all}");
    assert_eq!(seen(&vault.work().join("tree")), seen(&tree));
    assert!(tree.parent().unwrap().join("neighbour").exists() && Path::new("/etc/passwd").exists());
}

#[test]
fn given_a_file_that_cannot_be_restored_then_delete_deletes_nothing() {
    let vault = vault();
    let tree = with_extras(&vault);
    fs::remove_file(tree.join("uploads/a")).unwrap();
    fs::create_dir(tree.join("uploads/a")).unwrap();
    let args = ["restore", "files", "--to-dir", "into", "--delete", "--yes"];
    vault.run(args).expect(exit::PART_FAILED).says("nothing was deleted");
    assert!(tree.join("uploads/extra").exists() && tree.join("old/deep/x").exists());
}

#[test]
fn given_a_directory_that_is_not_one_to_delete_from_then_it_is_refused() {
    let vault = vault();
    let tree = with_extras(&vault);
    let delete = |into: &str, more: &[&str]| {
        let args = [&["restore", "files", "--delete", "--dry-run", "--to-dir", into], more].concat();
        vault.run(args)
    };
    delete("/", &["--yes"]).expect(exit::REFUSED).says("root directory").says("--force");
    let home = vault.home().display().to_string();
    delete(&home, &["--yes"]).expect(exit::REFUSED).says("home directory").says("--force");
    delete("/", &["--force", "--yes", "--path", "uploads/"]).expect(exit::OK);

    // One that never held the tree: its name says it does, and what is in it is something else.
    let other = restored(&vault, "other");
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("mine"), b"1").unwrap();
    delete("other", &[]).expect(exit::REFUSED).says("nothing of snapshot").says("mine").says("--yes");
    delete("other", &["--yes"]).expect(exit::OK);
    assert!(other.join("mine").exists());

    // `protect` keeps it from restores of any kind, as long as it holds something.
    let into = vault.work().join("into").canonicalize().unwrap();
    let text = format!("protect = ['\"{}\"']\n", into.display());
    fs::write(vault.work().join("dumpvault.toml"), text).unwrap();
    let args = ["restore", "files", "--to-dir", "into", "--yes", "--delete"];
    vault.run(args).expect(exit::REFUSED).says("protect");
    vault.run(["restore", "files", "--to-dir", "into", "--yes"]).expect(exit::REFUSED).says("protect");
    assert!(tree.join("uploads/extra").exists());
    vault.run(["restore", "files", "--to-dir", "fresh"]).expect(exit::OK);
}

#[test]
fn given_a_backup_that_left_files_out_then_delete_needs_force_to_delete_them() {
    let vault = Vault::new();
    write(&vault, "a", b"1");
    write(&vault, "cache/x", b"1");
    vault.run(["backup", "--path", "tree", "--exclude", "cache/", "--series", "files"]).expect(exit::OK);
    vault.run(["restore", "files", "--to-dir", "into"]).expect(exit::OK);
    let cache = restored(&vault, "into").join("cache");
    fs::create_dir(&cache).unwrap();
    let args = ["restore", "files", "--to-dir", "into", "--delete", "--yes"];
    vault.run(args).expect(exit::REFUSED).says("left out").says("--force");
    assert!(cache.exists());
    vault.run([&args[..], &["--force"]].concat()).expect(exit::OK);
    assert!(!cache.exists());
}

#[test]
fn given_a_directory_that_could_not_be_read_then_delete_deletes_nothing_in_it() {
    let vault = vault();
    let closed = write(&vault, "closed/x", b"1").parent().unwrap().to_owned();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    let backup = ["backup", "--path", "tree", "--series", "files", "--json"];
    let output = as_somebody(&vault, &backup);
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).unwrap();
    let id = text(&output.expect(exit::PART_FAILED).json()["results"][0]["snapshot"], "id");
    let into = vault.work().join("into").display().to_string();
    vault.run(["restore", &id, "--to-dir", &into]).expect(exit::OK);
    let tree = restored(&vault, "into");
    fs::create_dir_all(tree.join("closed")).unwrap();
    fs::write(tree.join("closed/x"), b"1").unwrap();
    fs::write(tree.join("extra"), b"1").unwrap();
    let args = ["restore", &id, "--to-dir", &into, "--delete", "--yes"];
    vault.run(args).expect(exit::OK);
    assert!(tree.join("closed/x").exists() && !tree.join("extra").exists());
}
