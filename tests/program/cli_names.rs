//! How snapshots, series and repositories are named, and what is said when a name means nothing or too much.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support::cli::{PASSPHRASE, Vault, exit, noise, run, text};
use crate::support::terminal::AtTerminal;

/// A vault whose own host is `here`.
fn at_here() -> Vault {
    let vault = Vault::new();
    std::fs::write(vault.work().join("dumpvault.toml"), "host = 'here'\n").unwrap();
    vault
}

#[track_caller]
fn assert_is(vault: &Vault, args: &[&str], expected: &str) {
    assert_eq!(vault.run(args).expect(exit::OK).text(), expected, "{args:?}");
}

// --- hosts

#[test]
fn given_a_series_on_several_hosts_then_its_name_means_this_hosts_or_the_only_ones_or_asks() {
    let vault = at_here();
    vault.backup_with("app", b"one on db1", &["--host", "db1"]);
    assert_is(&vault, &["cat", "app"], "one on db1");
    vault.backup_with("app", b"two on db2", &["--host", "db2"]);
    vault.backup_with("app", b"three on db1", &["--host", "db1"]);
    let said = vault.run(["cat", "app"]).expect(exit::USAGE);
    said.says("exists on 2 hosts: db1").says("db2").says("as in `db1/app`").says("--any-host");
    assert_is(&vault, &["cat", "app", "--any-host"], "three on db1");
    assert_is(&vault, &["cat", "db2/app"], "two on db2");
    assert_is(&vault, &["cat", "db1/app~1"], "one on db1");
    assert_is(&vault, &["cat", "db1/app@2099-01-01"], "three on db1");
    vault.backup("app", b"four here");
    assert_is(&vault, &["cat", "app"], "four here");
    assert_is(&vault, &["cat", "db2/app"], "two on db2");

    // Every command understands the same names.
    for command in ["ls", "show", "restore", "cat"] {
        vault.run([command, "db2/app"]).expect(exit::OK);
        vault
            .run([command, "db3/app"])
            .expect(exit::USAGE)
            .says("no snapshot matches `db3/app`")
            .says("db2/app");
    }
    vault.run(["tag", "db2/app", "--add", "seen"]).expect(exit::OK);
    vault.run(["diff", "db1/app~1", "db1/app"]).expect(exit::OK);
    vault.run(["forget", "db1/app~1", "--force"]).expect(exit::OK);
    let listed = vault.run(["snapshots", "--series", "db1/app", "--json"]).expect(exit::OK).json();
    assert_eq!(listed["snapshots"].as_array().unwrap().len(), 1);
    assert_eq!(vault.snapshots().len(), 3);
}

// --- states

#[test]
fn given_a_suspect_newest_snapshot_then_no_two_names_mean_the_same_one() {
    let vault = Vault::new();
    for seed in 1..=3 {
        vault.backup_with("app", &noise(seed, 50_000), &["--time", &format!("2026-10-0{seed}T03:00:00Z")]);
    }
    vault.run_with(["backup", "--stdin", "--series", "app"], &noise(9, 1000)).expect(exit::PART_FAILED);
    assert!(vault.restore("app").expect(exit::OK).stdout == noise(3, 50_000));
    assert!(vault.restore("app~0").expect(exit::OK).stdout == noise(3, 50_000));
    assert!(vault.restore("app~1").expect(exit::OK).stdout == noise(2, 50_000));
    let both = vault.run(["diff", "app~1", "app", "--json"]).expect(exit::OK).json();
    assert_ne!(both["before"], both["after"], "{both}");
    vault
        .run(["cat", "app~3"])
        .expect(exit::USAGE)
        .says("has 3 complete snapshots")
        .says("oldest is `app~2`");
}

// --- streams

#[test]
fn given_a_stream_behind_a_colon_then_it_is_that_one() {
    let vault = Vault::new();
    let id = vault.backup("app", b"all there is");
    for name in
        ["app:app", "app~0:app", "latest:app", &format!("{}:app", &id[..8]), "app@2099-01-01T03:00:app"]
    {
        assert_is(&vault, &["cat", name], "all there is");
        vault.run(["ls", name]).expect(exit::OK);
    }
    vault.run(["cat", "app:other"]).expect(exit::USAGE).says("has no stream `other`").says(":app`");
    vault.run(["cat", "app:app", "--stream", "other"]).expect(exit::USAGE).says("another stream");
    vault.run(["tag", "app:app", "--pin"]).expect(exit::USAGE).says("use `app`");
}

// --- names that nothing may have

#[test]
fn given_odd_names_then_no_snapshot_is_made_whoever_brings_them() {
    let vault = Vault::new();
    let odd = [
        "",
        " ",
        ".",
        "--help",
        "a/b",
        "a:b",
        "a~1",
        "a@b",
        "a\nb",
        "\u{202e}gpj",
        "a\u{200b}b",
        "latest",
        "\u{1b}[2J",
    ];
    for name in odd {
        let by_option = format!("--series={name}");
        let output = vault.run_with(["backup", "--stdin", &by_option], b"x").expect(exit::USAGE);
        assert!(!output.stderr.contains(['\u{1b}', '\u{202e}', '\u{200b}']), "{output}");
        let host = format!("--host={name}");
        if name != "latest" {
            vault
                .run_with(["backup", "--stdin", "--series", "app", &host], b"x")
                .expect(exit::USAGE)
                .says("host name");
        }
    }
    vault
        .run_with(["backup", "--stdin", "--series", "app", "--tag", "a\tb"], b"x")
        .expect(exit::USAGE)
        .says("tag");
    std::fs::write(vault.work().join("dumpvault.toml"), "[source.'a:b']\ncommand = ['echo', 'x']\n").unwrap();
    vault.run(["backup", "a:b"]).expect(exit::USAGE).says("invalid series name `a:b`");
    std::fs::remove_file(vault.work().join("dumpvault.toml")).unwrap();
    assert!(vault.snapshots().is_empty());
}

// --- names that mean nothing

#[test]
fn given_a_slip_then_what_was_meant_is_proposed_wherever_a_series_is_named() {
    let vault = Vault::new();
    vault.backup("vendhub", b"x");
    vault.backup("shop", b"y");
    for args in [
        &["cat", "vendhbu"][..],
        &["show", "vendhbu"],
        &["verify", "vendhbu"],
        &["snapshots", "--series", "vendhbu"],
        &["forget", "--series", "vendhbu", "--keep-last", "1"],
        &["forget", "--series", "vendhbu", "--all", "--yes"],
        &["copy", "--series", "vendhbu", "--to", "other", "--init"],
        &["copy", "vendhbu", "--to", "other", "--init"],
    ] {
        vault.run(args).expect(exit::USAGE).says("did you mean `vendhub`?").says("shop");
    }
    assert!(!vault.work().join("other").exists());
    let config = "[source.vendhub]\ncommand = ['echo', 'x']\n";
    std::fs::write(vault.work().join("dumpvault.toml"), config).unwrap();
    vault.run(["backup", "vendhbu"]).expect(exit::USAGE).says("did you mean `vendhub`?");
    vault
        .run(["backup", "vendhub", "--lock-wait-timeout", "2s"])
        .expect(exit::USAGE)
        .says("[source.vendhub]");
}

#[test]
fn given_options_of_other_tools_then_the_tip_helps() {
    let vault = Vault::new();
    vault
        .run(["restore", "app", "--latest"])
        .expect(exit::USAGE)
        .says("name the snapshot `app`")
        .does_not_say("--after");
    vault.run(["restore", "app", "--date", "2026-11-01"]).expect(exit::USAGE).says("app@2026-11-01");
    vault.run(["list"]).expect(exit::USAGE).says("dumpvault snapshots");
}

// --- the last of a series

#[test]
fn given_a_last_snapshot_then_it_goes_only_when_that_is_said() {
    let vault = at_here();
    let only = vault.backup_with("typo", b"x", &["--time", "2026-10-01T03:00:00Z"]);
    vault.backup("app", b"y");
    let said = vault.run(["forget", &only]).expect(exit::REFUSED);
    let said = said.says("newest complete of its series; nothing was removed").says("use --even-the-last");
    said.does_not_say("--force");
    vault.run(["forget", "app"]).expect(exit::REFUSED).says("use --force and --even-the-last");
    vault.run(["forget", &only, "--even-the-last"]).expect(exit::OK);
    assert_eq!(vault.snapshots().len(), 1);
}

#[test]
fn given_a_series_that_is_to_go_then_all_of_it_does_once_that_is_confirmed() {
    let vault = at_here();
    for host in ["db1", "db2"] {
        for bytes in [b"1", b"2"] {
            vault.backup_with("app", bytes, &["--host", host]);
        }
    }
    vault.backup("other", b"3");
    let all = ["forget", "--series", "db1/app", "--all"];
    vault.run(all).expect(exit::REFUSED).says("no terminal to confirm").says("--yes");
    vault.run(all.iter().chain(&["--dry-run"])).expect(exit::OK);
    vault.run(["forget", "--all"]).expect(exit::USAGE);
    vault.run(["forget", "--series", "db1/app", "--all", "--keep-last", "1"]).expect(exit::USAGE);
    vault.run(["tag", "db1/app", "--pin"]).expect(exit::OK);
    vault.run(all.iter().chain(&["--yes"])).expect(exit::REFUSED).says("pinned").says("--unpin");
    vault.run(["tag", "db1/app", "--unpin"]).expect(exit::OK);
    assert_eq!(vault.snapshots().len(), 5);

    for (answer, code, left) in [("yes\n", exit::REFUSED, 5), ("db1/app\n", exit::OK, 3)] {
        let mut asked = AtTerminal::start(&vault.command(all));
        asked.wait_for("Type `db1/app` to continue: ");
        asked.enter(answer);
        assert_eq!(asked.end(), Some(code), "{}", asked.screen());
        assert_eq!(vault.snapshots().len(), left);
    }
    let answer = vault.run(["forget", "--series", "app", "--all", "--yes", "--json"]).expect(exit::OK).json();
    assert_eq!(answer["removed"], 2);
    let left: Vec<String> = vault.snapshots().iter().map(|one| text(one, "series")).collect();
    assert_eq!(left, ["other"]);
}

// --- lists

#[test]
fn given_many_snapshots_then_the_newest_and_the_recent_can_be_listed_alone() {
    let vault = Vault::new();
    for (series, day) in [("app", 1), ("app", 2), ("app", 3), ("shop", 1), ("shop", 2)] {
        vault.backup_with(
            series,
            b"x",
            &["--time", &format!("2026-10-0{day}T03:00:00Z"), "--suspect-below", "0"],
        );
    }
    let listed = |args: &[&str]| -> Vec<String> {
        let listed = vault.run(["snapshots", "--json"].iter().chain(args)).expect(exit::OK).json();
        let list = listed["snapshots"].as_array().unwrap().clone();
        list.iter().map(|one| format!("{} {}", text(one, "series"), &text(one, "time")[8..10])).collect()
    };
    let mut latest = listed(&["--latest", "1"]);
    latest.sort();
    assert_eq!(latest, ["app 03", "shop 02"]);
    assert_eq!(listed(&["--latest", "2"]).len(), 4);
    assert_eq!(listed(&["--since", "2026-10-03"]), ["app 03"]);
    assert_eq!(
        listed(&["--series", "app", "--since", "2026-10-02T00:00:00Z", "--latest", "9"]),
        ["app 02", "app 03"]
    );
    vault.run(["snapshots", "--since", "soon"]).expect(exit::USAGE).says("2026-11-01");
    vault.run(["snapshots", "--latest", "0"]).expect(exit::USAGE);
    let compact = vault.run(["snapshots", "--compact"]).expect(exit::OK).text();
    assert!(compact.starts_with("ID") && !compact.contains("HOST") && compact.contains("STATE"), "{compact}");
}

#[test]
fn given_a_terminal_then_no_line_of_a_list_is_wider_and_states_have_colours() {
    let vault = Vault::new();
    let long = "a series with a name that is far too long for any terminal of a hundred columns".to_owned();
    vault.backup(&long, &noise(1, 50_000));
    vault.backup(&long, &noise(2, 50_000));
    vault.run_with(["backup", "--stdin", "--series", &long], b"x").expect(exit::PART_FAILED);
    let mut list = AtTerminal::start(&vault.command(["snapshots"]));
    assert_eq!(list.end(), Some(exit::OK));
    let screen = list.screen();
    assert!(screen.contains("…") && !screen.contains(&long), "{screen}");
    assert!(screen.contains("\u{1b}[33msuspect"), "{screen:?}");
    let plain = screen.replace("\u{1b}[33m", "").replace("\u{1b}[0m", "");
    for line in plain.lines() {
        assert!(line.trim_end().chars().count() <= 100, "{line}");
    }
    let mut without = vault.command(["snapshots"]);
    without.env("NO_COLOR", "1");
    let mut list = AtTerminal::start(&without);
    assert_eq!(list.end(), Some(exit::OK));
    assert!(!list.screen().contains("\u{1b}[33m"));
    // A script gets all of it, and nothing else.
    let piped = vault.run(["snapshots"]).expect(exit::OK).text();
    assert!(piped.contains(&long) && !piped.contains('\u{1b}'), "{piped}");
}

#[test]
fn given_a_passphrase_then_looking_at_one_or_two_snapshots_asks_for_it_once() {
    let vault = Vault::with_passphrase();
    vault.backup("app", b"one");
    vault.backup("app", b"two");
    for args in [&["show", "app"][..], &["diff", "app~1", "app"], &["ls", "app"]] {
        let mut command = vault.command(args);
        command.env_remove("DUMPVAULT_PASSWORD");
        let mut asked = AtTerminal::start(&command);
        asked.wait_for("passphrase of the repository: ");
        asked.wait_until_hidden();
        asked.enter(&format!("{PASSPHRASE}\n"));
        assert_eq!(asked.end(), Some(exit::OK), "{}", asked.screen());
        assert_eq!(asked.screen().matches("passphrase of").count(), 1, "{args:?}");
    }
}

// --- what is asked for and what there is

#[test]
fn given_a_key_of_a_kind_that_the_repository_has_none_of_then_that_is_said() {
    let vault = Vault::with_passphrase();
    let key = vault.home().join("key");
    std::fs::write(&key, noise(1, 32)).unwrap();
    let args = ["snapshots", "--key-file", key.to_str().unwrap()];
    vault.run(args).expect(exit::WRONG_KEY).says("has no key file, only passphrases").says("--password-file");
    let vault = Vault::new();
    let mut command = vault.command(["snapshots"]);
    command.env_remove("DUMPVAULT_KEY_FILE").env("DUMPVAULT_PASSWORD", PASSPHRASE);
    run(command, b"")
        .expect(exit::WRONG_KEY)
        .says("has no passphrase, only key files")
        .says("use --key-file");
}

#[test]
fn given_a_destination_that_is_not_there_then_a_dry_run_plans_for_an_empty_one() {
    let vault = Vault::new();
    vault.backup("app", b"1");
    vault.backup("app", b"2");
    let plan = ["copy", "--to", "other", "--init", "--dry-run"];
    let said = vault.run(plan).expect(exit::OK).text();
    assert!(said.contains("2 snapshots would be copied"), "{said}");
    assert!(!vault.work().join("other").exists());
    vault
        .run(["copy", "--to", "other", "--dry-run"])
        .expect(exit::NO_REPOSITORY)
        .says("create it with --init");
}

#[test]
fn given_an_import_then_its_time_is_written_as_in_names() {
    let vault = Vault::new();
    std::fs::write(vault.work().join("dumpvault.toml"), "time_zone = 'Europe/Berlin'\n").unwrap();
    vault.backup_with("app", b"x", &["--time", "2026-10-01T03:00"]);
    assert_eq!(text(&vault.snapshots()[0], "time"), "2026-10-01T01:00:00Z");
    for wrong in ["2026-10-01", "noon", ""] {
        let args = ["backup", "--stdin", "--series", "app", "--time", wrong];
        vault.run_with(args, b"x").expect(exit::USAGE).says("2026-11-01T03:00");
    }
}

// --- how it ends

#[test]
fn given_several_sources_of_which_one_fails_then_that_is_told_once_with_its_hint() {
    let vault = Vault::new();
    let config = "[source.bad]\ncommand = ['no-such-program']\n[source.good]\ncommand = ['echo', 'x']\n\
                  [source.worse]\ncommand = ['false']\n";
    std::fs::write(vault.work().join("dumpvault.toml"), config).unwrap();
    let output = vault.run(["backup", "bad", "good"]).expect(exit::PART_FAILED).says("hint: install it");
    assert_eq!(output.stderr.matches("not found").count(), 1, "{output}");
    let output = vault.run(["backup", "bad"]).expect(exit::NOTHING_DONE).says("hint: install it");
    assert_eq!(output.stderr.matches("not found").count(), 1, "{output}");
    vault.run(["backup", "bad", "worse"]).expect(exit::NOTHING_DONE);
    let report = vault.run(["backup", "bad", "good", "--json"]).expect(exit::PART_FAILED).json();
    assert!(report["results"][0]["hint"].as_str().unwrap().contains("install it"), "{report}");
}

#[test]
fn given_warnings_then_every_one_is_in_the_report_for_programs() {
    let vault = Vault::with_passphrase();
    let file = vault.home().join("pw");
    std::fs::write(&file, PASSPHRASE).unwrap();
    let file = file.to_str().unwrap();
    for args in
        [&["snapshots"][..], &["stats"], &["check"], &["prune"], &["key", "list"], &["cat", "nothing"]]
    {
        let args = [args, &["--password-file", file, "--json"]].concat();
        let report = vault.run(&args).json();
        assert!(report["warnings"][0].as_str().unwrap().contains("read"), "{args:?}: {report}");
    }
    let args = ["backup", "--stdin", "--series", "app", "--password-file", file, "--json"];
    let report = vault.run_with(args, b"x").json();
    assert_eq!(report["warnings"].as_array().map(Vec::len), Some(1), "{report}");
    // Also what the depths of the library only log: here of a record that is a folder.
    vault.run(["check", "--read-data"]).expect(exit::OK);
    let record = walk(vault.cache()).into_iter().find(|path| path.ends_with("verified.sqlite")).unwrap();
    std::fs::remove_file(&record).unwrap();
    std::fs::create_dir(&record).unwrap();
    let report = vault.run(["check", "--read-data", "--json"]).expect(exit::OK);
    assert!(report.stderr.starts_with("dumpvault: warning: `"), "{report}");
    assert!(report.json()["warnings"].to_string().contains("not remembered"), "{report}");
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn given_an_address_where_a_name_belongs_then_that_is_said_and_no_password_is_shown() {
    let vault = Vault::new();
    let address = "postgres://app:s3cret@db1/app";
    for options in [&[][..], &["--series", "app"]] {
        let args = [&["backup", "--pg-database", address][..], options].concat();
        vault.run(args).expect(exit::USAGE).says("not an address").does_not_say("s3cret");
    }
}

#[test]
fn given_standard_output_that_is_closed_then_what_should_be_there_is_missed() {
    let vault = Vault::new();
    vault.backup("app", b"x");
    for command in ["cat app", "snapshots", "show app", "snapshots --json", "ls app"] {
        let script = format!("exec \"$dumpvault\" {command} >&-");
        run(vault.shell(&script), b"").expect(exit::NOTHING_DONE).says("standard output").says("closed");
        // Some parents open it for reading and writing, as the runtime does in the place of what is closed.
        for thrown_away in [">/dev/null", "1<>/dev/null"] {
            let script = format!("exec \"$dumpvault\" {command} {thrown_away}");
            run(vault.shell(&script), b"").expect(exit::OK);
        }
    }
    // Nobody needs the summary of a backup.
    run(vault.shell("echo x | \"$dumpvault\" backup --stdin --series app >&-"), b"").expect(exit::OK);
}

#[test]
fn given_a_reader_that_has_enough_then_nothing_is_said_about_it() {
    let vault = Vault::new();
    vault.backup("app", &noise(1, 5 << 20));
    let script = "{ \"$dumpvault\" cat app; echo $? >status; } | head -c 100";
    let output = run(vault.shell(script), b"").expect(exit::OK);
    assert_eq!(output.stderr, "");
    assert_eq!(std::fs::read_to_string(vault.work().join("status")).unwrap().trim(), "141");
}

#[test]
fn given_more_and_more_words_then_more_is_told_and_a_file_gets_no_colours() {
    let vault = Vault::new();
    let told = |options: &[&str]| {
        let args = ["backup", "--stdin", "--series", "app"];
        let output = vault.run_with(args.iter().chain(options), &noise(1, 100_000)).expect(exit::OK);
        assert!(!output.stderr.contains('\u{1b}'), "{output}");
        output.stderr
    };
    assert_eq!(told(&[]), "");
    let some = told(&["-v"]);
    assert!(some.contains("committing") && !some.contains("parent: snapshot"), "{some}");
    let more = told(&["-vv"]);
    assert!(more.contains("parent: snapshot") && more.contains("stored snapshots/"), "{more}");
}

#[test]
fn given_a_source_that_fails_at_a_terminal_then_no_line_of_progress_stays() {
    let vault = Vault::new();
    vault.backup("app", &noise(1, 30 << 20));
    let script = "head -c 20000000 /dev/zero; until test -e go; do sleep 0.05; done; exit 3";
    let mut backup = AtTerminal::start(&vault.command([
        "backup",
        "--series",
        "app",
        "--command",
        "--",
        "sh",
        "-c",
        script,
    ]));
    // How long it takes is told by what the one before had.
    backup.wait_for("ETA");
    std::fs::write(vault.work().join("go"), "").unwrap();
    assert_eq!(backup.end(), Some(exit::NOTHING_DONE), "{}", backup.screen());
    let screen = backup.screen();
    let (_, stays) = screen.rsplit_once("\u{1b}[2K").unwrap();
    assert!(stays.contains("exit status 3") && !stays.contains("ETA"), "{stays:?}");
}

#[test]
fn given_fractions_and_a_grace_of_nothing_then_each_form_is_taken_everywhere() {
    let vault = Vault::new();
    for fraction in ["0.5", "50%", "1/2"] {
        vault
            .run_with(["backup", "--stdin", "--series", "app", "--suspect-below", fraction], b"x")
            .expect(exit::OK);
        vault.run(["check", "--read-data-subset", fraction]).expect(exit::OK);
    }
    std::fs::write(vault.work().join("dumpvault.toml"), "suspect_below = '10%'\n").unwrap();
    vault.backup("app", b"x");
    for (args, said) in [
        (&["check", "--read-data-subset", "2"][..], "--read-data-subset: invalid fraction `2`"),
        (&["verify", "app", "--sample", "0"], "--sample: invalid fraction `0`"),
    ] {
        vault.run(args).expect(exit::USAGE).says(said).says("1/30");
    }
    for grace in ["0", "0s", "30min", "36h", "2d"] {
        vault.run(["prune", "--dry-run", "--grace", grace]).expect(exit::OK);
    }
    vault.run(["prune", "--dry-run", "--grace", "30m"]).expect(exit::USAGE).says("minutes or months");
}

#[test]
fn given_keep_last_then_the_last_of_a_day_stays_by_option_and_by_configuration() {
    for configured in [false, true] {
        let vault = Vault::new();
        for hour in ["02", "18"] {
            for day in ["01", "02"] {
                let time = format!("2026-10-{day}T{hour}:00:00Z");
                vault.backup_with("app", b"x", &["--time", &time]);
            }
        }
        let args: &[&str] = if configured { &[] } else { &["--keep-daily", "2", "--keep", "last"] };
        if configured {
            let config = "[retention]\nkeep_daily = 2\nkeep = 'last'\n";
            std::fs::write(vault.work().join("dumpvault.toml"), config).unwrap();
        }
        vault.run(["forget"].iter().chain(args)).expect(exit::OK);
        let hours: Vec<String> =
            vault.snapshots().iter().map(|one| text(one, "time")[11..13].to_owned()).collect();
        assert_eq!(hours, ["18", "18"]);
    }
}

#[test]
fn given_a_series_with_braces_then_hints_have_its_name_as_it_is() {
    let vault = Vault::new();
    vault.backup("{repo}", b"one");
    vault.run(["show", "{repo}~9"]).expect(exit::USAGE).says("the oldest is `{repo}`");
    vault.run(["show", "{rep}"]).expect(exit::USAGE).says("did you mean `{repo}`? series here: {repo}");
}

#[test]
fn given_one_series_or_several_then_the_plugin_counts_them_in_plain_english() {
    let vault = Vault::new();
    vault.backup("apple", b"one");
    let one = vault.run(["status", "--nagios"]).expect(exit::OK).text();
    assert!(one.starts_with("DUMPVAULT OK - 1 series"), "{one}");
    vault.backup("banana", b"two");
    let two = vault.run(["status", "--nagios"]).expect(exit::OK).text();
    assert!(two.starts_with("DUMPVAULT OK - 2 series") && !two.contains("serieses"), "{two}");
}

#[test]
fn given_streams_without_tables_then_a_difference_claims_nothing_about_tables() {
    let vault = Vault::new();
    vault.backup("notes", b"one");
    vault.backup("notes", b"two");
    let said = vault.run(["diff", "notes~1", "notes"]).expect(exit::OK).text();
    assert!(said.contains("stream notes: not compared"), "{said}");
    assert!(!said.contains("0 tables"), "{said}");
}

#[test]
fn given_a_stream_of_an_unknown_kind_then_verify_reads_it_and_asks_for_no_server() {
    let vault = Vault::new();
    vault.backup("notes", b"neither a dump nor an archive");
    // A server that is not there would fail with another code.
    let said = vault.run(["verify", "notes"]).expect(exit::PART_FAILED);
    said.says("nothing tells whether it is whole").does_not_say("server");
    let report = vault.run(["--json", "verify", "notes"]).expect(exit::PART_FAILED).json();
    assert_eq!(report["streams"][0]["ok"], false, "{report}");
    let shown = vault.run(["--json", "status"]).json();
    assert!(!shown.to_string().contains("\"verified\":\"2"), "it counts as verified: {shown}");
}

#[test]
fn given_a_dry_run_of_a_restore_then_it_names_where_the_bytes_would_go() {
    let vault = Vault::new();
    vault.backup("notes", b"one");
    for (args, place) in [
        (&["--output", "out.txt"][..], "into the file `out.txt`"),
        (&["--output", "-"], "into standard output"),
        (&["--command", "--", "cat"], "into the program `cat`"),
    ] {
        let all = [&["restore", "notes", "-n"], args].concat();
        let said = vault.run(all).expect(exit::OK).text();
        assert!(said.contains(place), "{args:?}: {said}");
    }
    assert!(!vault.work().join("out.txt").exists());
}
