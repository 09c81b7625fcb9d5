//! Settings: files, environment, options, and the sources that a file names.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support::cli::{PASSPHRASE, Vault, exit, files_below, run, text};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// A vault with a `dumpvault.toml` where the program runs.
fn with_config(toml: &str) -> Vault {
    let vault = Vault::new();
    fs::write(vault.work().join("dumpvault.toml"), toml).unwrap();
    vault
}

fn private_file(vault: &Vault, name: &str, content: &str) -> String {
    let path = vault.home().join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

// --- sources

#[test]
fn given_sources_in_the_file_then_backup_takes_them_by_name() {
    let vault = with_config(
        r#"
        [source.app]
        command = ["printf", "%s", "the app's $dump"]
        tags = ["nightly"]

        [source.web]
        command = ["sh", "-c", "echo web"]
        series = "website"
        "#,
    );
    vault.run(["backup", "app", "web"]).expect(exit::OK);
    assert_eq!(vault.restore("app").expect(exit::OK).text(), "the app's $dump");
    assert_eq!(vault.restore("website").expect(exit::OK).text(), "web\n");
    let app = &vault.snapshots()[0];
    assert_eq!(text(app, "series"), "app");
    assert!(app["tags"].to_string().contains("nightly"), "{app}");

    vault.run(["backup", "app", "--tag", "by-hand"]).expect(exit::OK);
    let newest = vault.snapshots().pop().unwrap();
    assert!(newest["tags"].to_string().contains("by-hand"), "{newest}");
}

#[test]
fn given_two_sources_of_which_one_fails_then_the_other_is_stored_and_the_status_is_1() {
    let vault = with_config(
        r#"
        [source.good]
        command = ["echo", "a dump"]
        [source.bad]
        command = ["sh", "-c", "echo half; exit 5"]
        "#,
    );
    for order in [["good", "bad"], ["bad", "good"]] {
        let before = vault.ids().len();
        vault.run(["backup"].iter().chain(&order)).expect(exit::PART_FAILED).says("bad");
        let listed = vault.snapshots();
        assert_eq!(listed.len(), before + 1);
        assert_eq!(text(&listed[before], "series"), "good");
    }
    assert_eq!(vault.restore("good").expect(exit::OK).stdout, b"a dump\n");
}

#[test]
fn given_a_source_that_allows_emptiness_or_limits_time_then_it_is_heeded() {
    let vault = with_config(
        r#"
        [source.empty]
        command = ["true"]
        allow_empty = true
        [source.slow]
        command = ["sleep", "1000"]
        timeout = "1s"
        "#,
    );
    vault.run(["backup", "empty"]).expect(exit::OK);
    vault.run(["backup", "slow"]).expect(exit::NOTHING_DONE);
    assert_eq!(vault.snapshots().len(), 1);
}

#[test]
fn given_a_source_that_the_file_does_not_name_then_those_that_it_does_are_listed() {
    let vault = with_config("[source.app]\ncommand = ['true']\n");
    vault.run(["backup", "apple"]).expect(exit::USAGE).says("apple").says("app");
    // One wrong name: nothing of it is begun.
    vault.run(["backup", "app", "apple"]).expect(exit::USAGE);
    assert_eq!(vault.snapshots().len(), 0);
}

// --- the file

#[test]
fn given_a_wrong_file_then_file_and_line_are_named() {
    for (toml, named) in [
        ("repository = 5\n", "line 1"),
        ("\n[source.app]\ncomand = ['x']\n", "comand"),
        ("not toml at all", "line 1"),
    ] {
        let vault = with_config(toml);
        vault.run(["backup", "app"]).expect(exit::USAGE).says("dumpvault.toml").says(named);
    }
    // A command is wanted, and none is there.
    for toml in [
        "[source.app]\ncommand = []\n",
        "[source.app]\ntype = 'command'\n",
        "[source.app]\ntype = 'oracle'\n",
    ] {
        with_config(toml).run(["backup", "app"]).expect(exit::USAGE).says("source.app");
    }
    let vault = Vault::new();
    vault.run(["--config", "absent.toml", "snapshots"]).expect(exit::USAGE).says("absent.toml");
}

#[test]
fn given_several_files_then_the_nearest_holds_and_the_environment_and_options_come_before_it() {
    let vault = Vault::with_passphrase();
    let user = vault.home().join("config/dumpvault");
    fs::create_dir_all(&user).unwrap();
    let secret = private_file(&vault, "passphrase", &format!("{PASSPHRASE}\n"));
    let repo = vault.repo();
    let good = format!("repository = '{}'\npassword_file = '{secret}'\n", repo.display());
    let bad = "repository = '/no/such/place'\n";
    let unset = |mut command: Command| {
        command.env_remove("DUMPVAULT_REPOSITORY").env_remove("DUMPVAULT_PASSWORD");
        command
    };
    let snapshots = || unset(vault.command(["snapshots"]));

    run(snapshots(), b"").expect(exit::USAGE).says("--repo").says("DUMPVAULT_REPOSITORY");
    fs::write(user.join("config.toml"), &good).unwrap();
    run(snapshots(), b"").expect(exit::OK);
    fs::write(vault.work().join("dumpvault.toml"), bad.to_owned() + &format!("password_file = '{secret}'\n"))
        .unwrap();
    run(snapshots(), b"").expect(exit::NO_REPOSITORY).says("/no/such/place");
    run(unset(vault.command(["--config", user.join("config.toml").to_str().unwrap(), "snapshots"])), b"")
        .expect(exit::OK);
    let mut by_environment = snapshots();
    by_environment.env("DUMPVAULT_REPOSITORY", format!("file://{}", repo.display()));
    run(by_environment, b"").expect(exit::OK);
    let mut by_option = unset(vault.command(["--repo", repo.to_str().unwrap(), "snapshots"]));
    by_option.env("DUMPVAULT_REPOSITORY", "/another/wrong/place");
    run(by_option, b"").expect(exit::OK);
}

#[test]
fn given_addresses_of_storages_that_are_not_known_then_the_usage_is_wrong() {
    let vault = Vault::new();
    vault
        .run(["--repo", "file://relative/path", "snapshots"])
        .expect(exit::USAGE)
        .says("file://relative/path");
    // None of them is a folder of that name.
    for address in ["ftp://host/path", "webdav:host:/x", "rest:https://host/", "root@host:/x", "b2:x"] {
        for command in ["snapshots", "init"] {
            let (scheme, _) = address.split_once(':').unwrap();
            vault
                .run(["--repo", address, command])
                .expect(exit::USAGE)
                .says(&format!("`{scheme}:` is not a supported storage"))
                .says("s3://bucket/prefix");
        }
    }
    assert_eq!(std::fs::read_dir(vault.work()).unwrap().count(), 0);
    vault.run(["--repo", "./with:colon", "init"]).expect(exit::OK);
}

#[test]
fn given_several_faults_in_the_file_then_every_command_tells_them_all_and_config_check_lists_them() {
    let vault = with_config(
        "compresion = 'max'\n[source.app]\ncommand = ['true']\n[source.other]\ntimeout = 'soon'\n[copy.x]\nrepository = 'ftp:x'\n",
    );
    let told = vault.run(["backup", "app"]).expect(exit::USAGE).says("3 settings are wrong");
    told.says("line 1: compresion").says("line 5: source.other.timeout").says("line 7: copy.x.repository");
    let told = vault
        .run(["config", "check"])
        .expect(exit::USAGE)
        .says("dumpvault.toml:1: compresion: unknown setting");
    told.says("hint: did you mean `compression`?")
        .says("dumpvault.toml:5: source.other.timeout: invalid duration `soon`");
    let report = vault.run(["--json", "config", "check"]).expect(exit::USAGE).json();
    assert_eq!(report["ok"], false);
    assert_eq!(report["errors"][1]["origin"]["line"], 5);
    assert_eq!(report["errors"][1]["setting"], "source.other.timeout");
}

#[test]
fn given_a_good_file_then_config_check_says_ok_and_show_tells_where_each_value_comes_from() {
    let vault = with_config(
        "compression = 'fast'\npassword_command = 'echo s3cret'\n[source.app]\nuri = 'postgres://u:s3cret@h/x'\n",
    );
    let said = |vault: &Vault| vault.run(["config", "check"]).expect(exit::OK).text();
    assert!(said(&vault).ends_with("dumpvault.toml: ok\n"));
    let shown = vault.run(["--limit-upload", "5M", "config", "show"]).expect(exit::OK).text();
    assert!(!shown.contains("s3cret"), "{shown}");
    for line in ["compression", "\"fast\"", "dumpvault.toml:1", "--limit-upload", "DUMPVAULT_REPOSITORY"] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let report = vault.run(["--json", "config", "show"]).expect(exit::OK).json();
    let found =
        report["settings"].as_array().unwrap().iter().find(|one| one["setting"] == "source.app.uri").unwrap();
    assert_eq!(found["value"], "postgresql://u@h/x");
    assert_eq!(found["origin"]["line"], 4);
    assert!(!report.to_string().contains("s3cret"), "{report}");
    // None of it needs a repository, a key or a file.
    let bare = Vault::empty();
    let nothing = said(&bare);
    assert!(nothing.starts_with("no configuration file found; options, environment"), "{nothing}");
    assert!(nothing.contains("/config/dumpvault/config.toml`") && !nothing.contains(": ok"), "{nothing}");
    let example = bare.run(["config", "example"]).expect(exit::OK).text();
    fs::write(bare.work().join("dumpvault.toml"), example).unwrap();
    assert!(said(&bare).ends_with("dumpvault.toml: ok\n"));
}

#[test]
fn given_a_configuration_that_is_not_there_then_the_file_and_the_next_step_are_named() {
    let vault = Vault::empty();
    let said = vault.run(["--config", "none.toml", "snapshots"]).expect(exit::USAGE);
    said.says("configuration file `none.toml` not found").says("check --config").does_not_say("entity");
    let mut named = vault.command(["config", "check"]);
    named.env("DUMPVAULT_CONFIG", "/nowhere/at/all.toml");
    run(named, b"").expect(exit::USAGE).says("configuration file `/nowhere/at/all.toml` not found");
}

/// A file that would run a command, and whether it did.
struct Trap {
    text: String,
    sprung: std::path::PathBuf,
}

impl Trap {
    fn new(vault: &Vault) -> Self {
        let sprung = vault.home().join("sprung");
        let text = format!("password_command = \"touch '{}'; echo x\"\n", sprung.display());
        Self { text, sprung }
    }

    /// Runs the program with no other secret than the file's.
    fn refused(&self, vault: &Vault, args: &[&str], by_variable: Option<&str>) {
        let mut command = vault.command(args.iter().chain(&["snapshots"]));
        command.env_remove("DUMPVAULT_KEY_FILE");
        if let Some(file) = by_variable {
            command.env("DUMPVAULT_CONFIG", file);
        }
        run(command, b"").expect(exit::USAGE).says("is not trusted").says(".toml").says("hint");
        assert!(!self.sprung.exists(), "somebody else's command was run");
    }
}

#[test]
fn given_a_file_that_others_may_write_then_none_of_its_commands_is_run_wherever_it_lies() {
    let vault = Vault::new();
    let trap = Trap::new(&vault);
    let user = vault.home().join("config/dumpvault");
    fs::create_dir_all(&user).unwrap();
    let named = vault.home().join("named.toml");
    let near = vault.work().join("dumpvault.toml");
    let mode = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let named_text = named.to_str().unwrap();
    let cases: [(&std::path::Path, &[&str], Option<&str>); 4] = [
        (&near, &[], None),
        (&user.join("config.toml"), &[], None),
        (&named, &["--config", named_text], None),
        (&named, &[], Some(named_text)),
    ];
    for (file, args, variable) in cases {
        fs::write(file, &trap.text).unwrap();
        let folder = file.parent().unwrap();
        let of_folder = fs::metadata(folder).unwrap().permissions();
        for bad in [0o646, 0o664] {
            mode(file, bad);
            trap.refused(&vault, args, variable);
        }
        mode(file, 0o644);
        for bad in [0o777, 0o1777, 0o775] {
            mode(folder, bad);
            trap.refused(&vault, args, variable);
        }
        fs::set_permissions(folder, of_folder).unwrap();
        fs::remove_file(file).unwrap();
    }
}

#[test]
fn given_a_file_or_folder_of_another_user_then_none_of_its_commands_is_run() {
    // Only root can give a file away.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let vault = Vault::new();
    let trap = Trap::new(&vault);
    let file = vault.work().join("dumpvault.toml");
    fs::write(&file, &trap.text).unwrap();
    for place in [&file, &vault.work()] {
        std::os::unix::fs::chown(place, Some(65_534), None).unwrap();
        trap.refused(&vault, &[], None);
        std::os::unix::fs::chown(place, Some(0), None).unwrap();
    }
    // Root's own is good, and its command is run.
    let mut command = vault.command(["snapshots"]);
    command.env_remove("DUMPVAULT_KEY_FILE");
    run(command, b"").expect(exit::WRONG_KEY);
    assert!(trap.sprung.exists());
}

// --- the passphrase

#[test]
fn given_a_passphrase_in_a_file_or_from_a_command_then_its_first_line_counts() {
    let vault = Vault::with_passphrase();
    let file = private_file(&vault, "passphrase", &format!("{PASSPHRASE}\n"));
    let with = |name: &str, value: &str| {
        let mut command = vault.command(["snapshots"]);
        command.env_remove("DUMPVAULT_PASSWORD").env(name, value);
        run(command, b"")
    };
    with("DUMPVAULT_PASSWORD_FILE", &file).expect(exit::OK);
    with("DUMPVAULT_PASSWORD_COMMAND", &format!("cat '{file}'")).expect(exit::OK);
    with("DUMPVAULT_PASSWORD_COMMAND", "echo not it").expect(exit::WRONG_KEY);
    with("DUMPVAULT_PASSWORD_COMMAND", &format!("cat '{file}'; exit 3")).expect(exit::USAGE).says("3");
    with("DUMPVAULT_PASSWORD_COMMAND", "true").expect(exit::USAGE).says("empty");
    with("DUMPVAULT_PASSWORD_FILE", "/no/such/file").expect(exit::USAGE).says("/no/such/file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    with("DUMPVAULT_PASSWORD_FILE", &file).expect(exit::OK).says("warning").says("chmod");
}

// --- where things are kept

#[test]
fn given_no_directories_for_cache_and_state_then_they_are_made_where_the_settings_say_and_nowhere_else() {
    let vault = Vault::new();
    vault.backup("app", b"a dump");
    let below_home = files_below(vault.home());
    assert!(below_home.iter().any(|file| file.starts_with("cache/dumpvault/")), "{below_home:?}");
    for file in &below_home {
        let known = ["repo/", "cache/dumpvault/", "state/dumpvault/", "key"];
        assert!(known.iter().any(|place| file.starts_with(place)), "{file}");
    }
}
