//! Making repositories and opening them: `init`, keys, wrong keys, what is no repository.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support::cli::{Output, PASSPHRASE, Vault, exit, files_below, run};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Runs the program with these variables.
fn run_with_env(vault: &Vault, args: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = vault.command(args);
    command.envs(variables.iter().copied());
    run(command, b"")
}

/// A file that only its owner can read.
fn secret_file(vault: &Vault, content: &str) -> String {
    let path = vault.home().join("new-secret");
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

// --- init

#[test]
fn given_an_empty_place_then_init_makes_a_repository_that_only_its_owner_can_read() {
    let vault = Vault::with_passphrase();
    assert_eq!(vault.objects().iter().filter(|key| key.as_str() == "config").count(), 1);
    assert_eq!(vault.objects_in("keys").len(), 1);
    for key in vault.objects() {
        assert_eq!(fs::metadata(vault.repo().join(&key)).unwrap().mode() & 0o077, 0, "{key}");
    }
    assert_eq!(vault.snapshots().len(), 0);
    vault.run(["check"]).expect(exit::OK);
}

#[test]
fn given_a_passphrase_that_goes_before_then_init_makes_no_key_file_and_the_passphrase_opens() {
    let vault = Vault::empty();
    let words = secret_file(&vault, PASSPHRASE);
    let absent = vault.home().join("absent.key").to_str().unwrap().to_owned();
    let key_file = [("DUMPVAULT_KEY_FILE", absent.as_str())];
    run_with_env(&vault, &["--password-file", &words, "init"], &key_file).expect(exit::OK);
    assert!(!Path::new(&absent).exists());
    run_with_env(&vault, &["snapshots"], &[("DUMPVAULT_PASSWORD", PASSPHRASE)]).expect(exit::OK);

    // What the environment says goes before the configuration.
    fs::write(vault.home().join("work/dumpvault.toml"), format!("key_file = \"{absent}\"\n")).unwrap();
    let other = vault.home().join("other").to_str().unwrap().to_owned();
    let password = [("DUMPVAULT_PASSWORD", PASSPHRASE)];
    run_with_env(&vault, &["--repo", &other, "init"], &password).expect(exit::OK);
    assert!(!Path::new(&absent).exists());
    run_with_env(&vault, &["--repo", &other, "snapshots"], &password).expect(exit::OK);
}

#[test]
fn given_a_repository_then_init_refuses_and_changes_nothing() {
    let vault = Vault::new();
    let id = vault.backup("app", b"a dump");
    let before = vault.objects();
    let key = fs::read(vault.key_file()).unwrap();
    for args in [&["init"][..], &["init", "--key-file", "another-key"]] {
        run_with_env(&vault, args, &[("DUMPVAULT_PASSWORD", PASSPHRASE)])
            .expect(exit::USAGE)
            .says("already")
            .says(vault.repo().to_str().unwrap());
    }
    assert_eq!(vault.objects(), before);
    assert_eq!(fs::read(vault.key_file()).unwrap(), key);
    assert!(!vault.work().join("another-key").exists(), "a key that opens nothing");
    assert_eq!(vault.restore(&id).expect(exit::OK).stdout, b"a dump");
}

#[test]
fn given_a_folder_with_other_things_then_init_refuses_and_changes_nothing() {
    let vault = Vault::empty();
    fs::create_dir(vault.repo()).unwrap();
    fs::write(vault.repo().join("thesis.tex"), b"years of work").unwrap();
    for args in [&["init"][..], &["init", "--key-file", "new-key"]] {
        run_with_env(&vault, args, &[("DUMPVAULT_PASSWORD", PASSPHRASE)]).expect(exit::USAGE).says("empty");
    }
    assert_eq!(vault.objects(), ["thesis.tex"]);
    assert!(!vault.work().join("new-key").exists(), "a key that opens nothing");
}

#[test]
fn given_no_secret_and_nobody_to_ask_then_the_ways_to_give_one_are_named() {
    let vault = Vault::empty();
    vault.run(["init"]).expect(exit::USAGE).says("DUMPVAULT_PASSWORD");
    run_with_env(&vault, &["init"], &[("DUMPVAULT_PASSWORD", "")]).expect(exit::USAGE);
    assert_eq!(vault.objects(), [""; 0]);
}

#[test]
fn given_a_key_file_that_is_not_there_then_init_makes_it_for_the_owner_only_and_one_that_is_there_is_used() {
    let vault = Vault::new();
    let meta = fs::metadata(vault.key_file()).unwrap();
    assert_eq!(meta.mode() & 0o777, 0o600);
    let key = fs::read(vault.key_file()).unwrap();

    let second = vault.home().join("second");
    let args = ["--repo", second.to_str().unwrap()];
    vault
        .run(args.iter().copied().chain(["init", "--key-file", vault.key_file().to_str().unwrap()]))
        .expect(exit::OK);
    assert_eq!(fs::read(vault.key_file()).unwrap(), key);
    vault.run(args.iter().copied().chain(["snapshots"])).expect(exit::OK);
}

// --- opening

#[test]
fn given_a_wrong_passphrase_then_every_command_ends_with_12_and_nothing_is_changed() {
    let vault = Vault::with_passphrase();
    vault.backup("app", b"a dump");
    let before = vault.objects();
    for args in [
        &["snapshots"][..],
        &["backup", "--series", "app", "--command", "--", "touch", "was-run"],
        &["restore", "app", "--output", "out"],
        &["check"],
        &["stats"],
    ] {
        run_with_env(&vault, args, &[("DUMPVAULT_PASSWORD", "not it")])
            .expect(exit::WRONG_KEY)
            .says("passphrase");
    }
    assert_eq!(vault.objects(), before);
    assert_eq!(files_below(&vault.work()), [""; 0]);
}

#[test]
fn given_a_wrong_key_file_or_one_that_is_none_then_it_is_refused() {
    let vault = Vault::new();
    let write = |name: &str, bytes: &[u8]| {
        let path = vault.home().join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let other = write("other", &[7; 32]);
    run_with_env(&vault, &["snapshots"], &[("DUMPVAULT_KEY_FILE", &other)]).expect(exit::WRONG_KEY);
    for (name, bytes) in [("short", &[7; 31][..]), ("long", &[7; 33]), ("nothing", &[])] {
        let path = write(name, bytes);
        run_with_env(&vault, &["snapshots"], &[("DUMPVAULT_KEY_FILE", &path)])
            .expect_one_of(&[exit::WRONG_KEY, exit::USAGE])
            .says(&path);
    }
    let absent = vault.home().join("absent");
    run_with_env(&vault, &["snapshots"], &[("DUMPVAULT_KEY_FILE", absent.to_str().unwrap())])
        .expect_one_of(&[exit::WRONG_KEY, exit::USAGE])
        .says("absent");
    assert!(!absent.exists(), "only init makes key files");
}

#[test]
fn given_a_key_file_that_others_can_read_then_a_warning_says_so_and_the_work_is_done() {
    let vault = Vault::new();
    vault.run(["snapshots"]).expect(exit::OK).does_not_say("chmod");
    for mode in [0o640, 0o604] {
        fs::set_permissions(vault.key_file(), fs::Permissions::from_mode(mode)).unwrap();
        vault.run(["snapshots"]).expect(exit::OK).says("warning").says(vault.key_file().to_str().unwrap());
    }
}

// --- what is no repository

#[test]
fn given_a_place_that_is_no_repository_then_every_command_ends_with_10_and_makes_nothing() {
    let vault = Vault::new();
    let file = vault.home().join("file");
    fs::write(&file, b"a file").unwrap();
    let folder = vault.home().join("folder");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("thesis.tex"), b"years of work").unwrap();
    let missing = vault.home().join("missing");
    for place in [&missing, &file, &folder, &vault.home().join("file/below")] {
        for args in [
            &["snapshots"][..],
            &["backup", "--series", "app", "--command", "--", "touch", "was-run"],
            &["cat", "app"],
            &["check"],
            &["key", "list"],
        ] {
            let args = [&["--repo", place.to_str().unwrap()], args].concat();
            vault.run(args).expect(exit::NO_REPOSITORY).says(place.to_str().unwrap());
        }
    }
    assert!(!missing.exists());
    assert_eq!(files_below(&folder), ["thesis.tex"]);
    assert_eq!(files_below(&vault.work()), [""; 0], "the command was run though there is no repository");
}

#[test]
fn given_a_repository_of_a_newer_format_or_with_an_unknown_feature_then_it_is_said_and_nothing_is_changed() {
    // Places in the header of `config`, as docs/format.md has them: version, then incompatible feature bits.
    for at in [9, 10] {
        let vault = Vault::new();
        vault.backup("app", b"a dump");
        let path = vault.repo().join("config");
        let mut config = fs::read(&path).unwrap();
        config[at] = if at == 9 { 2 } else { 1 };
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, config).unwrap();
        let before = vault.objects();
        let words = if at == 9 { "version" } else { "feature" };
        for args in [
            &["snapshots"][..],
            &["backup", "--series", "app", "--command", "--", "echo", "x"],
            &["cat", "app"],
        ] {
            let output = vault.run(args).says(words);
            assert!(output.stdout.is_empty(), "{output}");
            output.expect(exit::NOTHING_DONE);
        }
        assert_eq!(vault.objects(), before);
    }
}

// --- keys

#[test]
fn given_two_keys_then_each_opens_the_repository_and_a_removed_one_does_not() {
    let vault = Vault::new();
    vault.backup("app", b"a dump");
    let new = secret_file(&vault, "a second way in\n");
    vault.run(["key", "add", "--label", "second", "--new-password-file", &new]).expect(exit::OK);
    assert_eq!(vault.objects_in("keys").len(), 2);
    let by_passphrase = |passphrase: &str| {
        let mut command = vault.command(["cat", "app"]);
        command.env_remove("DUMPVAULT_KEY_FILE").env("DUMPVAULT_PASSWORD", passphrase);
        run(command, b"")
    };
    assert_eq!(by_passphrase("a second way in").expect(exit::OK).stdout, b"a dump");
    by_passphrase("a third").expect(exit::WRONG_KEY);

    let listed = vault.run(["key", "list", "--json"]).expect(exit::OK).json();
    assert_eq!(listed["version"], 1);
    let keys = listed["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 2);
    let second = keys.iter().find(|key| key["label"] == "second").unwrap_or_else(|| panic!("{listed}"));
    let id = second["id"].as_str().unwrap();
    vault.run(["key", "remove", id]).expect(exit::OK);
    assert_eq!(vault.objects_in("keys").len(), 1);
    by_passphrase("a second way in").expect(exit::WRONG_KEY);
    assert_eq!(vault.restore("app").expect(exit::OK).stdout, b"a dump");
}

#[test]
fn given_one_key_then_it_cannot_be_removed() {
    let vault = Vault::new();
    let listed = vault.run(["key", "list", "--json"]).expect(exit::OK).json();
    let id = listed["keys"][0]["id"].as_str().unwrap();
    let refused = vault.run(["key", "remove", id]);
    assert!(refused.code != Some(exit::OK), "{refused}");
    assert_eq!(vault.objects_in("keys").len(), 1);
    vault.run(["snapshots"]).expect(exit::OK);
    vault.run(["key", "remove", "0123456789abcdef"]).expect(exit::USAGE);
}

#[test]
fn given_another_passphrase_then_the_old_one_opens_nothing_any_more() {
    let vault = Vault::with_passphrase();
    vault.backup("app", b"a dump");
    let new = secret_file(&vault, "changed by its owner\n");
    vault.run(["key", "passwd", "--new-password-file", &new]).expect(exit::OK);
    assert_eq!(vault.objects_in("keys").len(), 1);
    vault.run(["cat", "app"]).expect(exit::WRONG_KEY);
    let output = run_with_env(&vault, &["cat", "app"], &[("DUMPVAULT_PASSWORD", "changed by its owner")])
        .expect(exit::OK);
    assert_eq!(output.stdout, b"a dump");
}

#[test]
fn given_an_exported_key_when_all_slots_are_lost_then_importing_it_opens_the_repository_again() {
    let vault = Vault::new();
    vault.backup("app", b"a dump");
    vault.run(["key", "export", "saved-key"]).expect(exit::OK);
    let saved = vault.work().join("saved-key");
    assert_eq!(fs::metadata(&saved).unwrap().mode() & 0o077, 0);
    // What is there already might be the only copy of something.
    assert!(vault.run(["key", "export", "saved-key"]).code != Some(exit::OK));
    for key in vault.objects_in("keys") {
        fs::remove_file(vault.repo().join(key)).unwrap();
    }
    vault.run(["cat", "app"]).expect_one_of(&[exit::INTEGRITY, exit::WRONG_KEY]);
    vault.run([Path::new("key"), Path::new("import"), &saved]).expect(exit::OK);
    assert_eq!(vault.restore("app").expect(exit::OK).stdout, b"a dump");
    // Not a key of this repository, not a key at all.
    let other = Vault::new();
    for rubbish in [other.repo().join("config"), other.key_file(), vault.home().join("absent")] {
        let refused = vault.run([Path::new("key"), Path::new("import"), &rubbish]);
        assert!(refused.code != Some(exit::OK), "{refused}");
    }
    assert_eq!(vault.objects_in("keys").len(), 1);
}

#[test]
fn given_an_append_key_then_it_adds_snapshots_and_reads_none() {
    let vault = Vault::new();
    let earlier = vault.backup("app", b"an earlier dump");
    let key = vault.home().join("append-key");
    let key = key.to_str().unwrap();
    vault.run(["key", "add", "--role", "append", "--new-key-file", key]).expect(exit::OK);
    let by_append = [("DUMPVAULT_KEY_FILE", key)];
    let args = ["backup", "--series", "app", "--command", "--", "echo", "a later dump"];
    run_with_env(&vault, &args, &by_append).expect(exit::OK);
    run_with_env(&vault, &["snapshots"], &by_append).expect(exit::OK);
    let refused = run_with_env(&vault, &["cat", &earlier], &by_append).expect(exit::WRONG_KEY);
    assert!(refused.stdout.is_empty(), "{refused}");
    assert_eq!(vault.restore("app").expect(exit::OK).stdout, b"a later dump\n");
}
