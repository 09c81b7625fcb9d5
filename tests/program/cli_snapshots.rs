//! Looking at snapshots and naming them: `snapshots`, `show`, `ls`, `stats`, `cat NAME`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support::cli::{Vault, exit, noise, number, rows, run, text};
#[allow(dead_code)]
use crate::support::test_writer;
use serde_json::Value;

/// The words in an array field.
fn words(value: &Value, field: &str) -> Vec<String> {
    let array = value[field].as_array().unwrap_or_else(|| panic!("no array `{field}` in {value}"));
    array.iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// A vault with a series of dumps taken at these times; each dump is its own time.
fn imports(times: &[&str]) -> Vault {
    let vault = Vault::new();
    for time in times {
        vault.backup_with("app", time.as_bytes(), &["--time", time]);
    }
    vault
}

#[track_caller]
fn assert_is(vault: &Vault, name: &str, expected: &str) {
    assert_eq!(vault.run(["cat", name]).expect(exit::OK).text(), expected, "{name}");
}

// --- naming

#[test]
fn given_several_series_then_each_way_to_name_a_snapshot_finds_it() {
    let vault = Vault::new();
    let days =
        ["2026-10-30T03:00:00Z", "2026-11-01T03:00:00Z", "2026-11-01T15:00:00Z", "2026-11-03T03:00:00Z"];
    let ids: Vec<String> =
        days.iter().map(|day| vault.backup_with("app", day.as_bytes(), &["--time", day])).collect();
    vault.backup_with("other", b"other", &["--time", "2026-11-04T03:00:00Z"]);

    assert_is(&vault, "latest", "other");
    assert_is(&vault, "app", days[3]);
    assert_is(&vault, "app~0", days[3]);
    assert_is(&vault, "app~1", days[2]);
    assert_is(&vault, "app~3", days[0]);
    // A date is the whole of its day; between two days the earlier one holds.
    assert_is(&vault, "app@2026-11-01", days[2]);
    assert_is(&vault, "app@2026-11-02", days[2]);
    assert_is(&vault, "app@2026-11-01T12:00:00Z", days[1]);
    assert_is(&vault, "app@2030-01-01", days[3]);
    for (id, day) in ids.iter().zip(days) {
        assert_is(&vault, id, day);
        assert_is(&vault, &id[..16], day);
    }
    for wrong in ["app~4", "app@2026-10-29", "app@yesterday", "apple", "app~x", "0000000000000000", "zz"] {
        vault.run(["cat", wrong]).expect(exit::USAGE);
    }
}

#[test]
fn given_no_snapshot_at_all_then_that_is_said() {
    let vault = Vault::new();
    vault.run(["cat", "latest"]).expect(exit::USAGE).says("no snapshot");
    assert_eq!(vault.snapshots(), [Value::Null; 0]);
    vault.run(["snapshots"]).expect(exit::OK);
}

#[test]
fn given_a_series_on_two_hosts_then_its_name_alone_is_ambiguous_and_the_candidates_are_listed() {
    let vault = Vault::new();
    let one = vault.backup_with("app", b"one", &["--host", "db1"]);
    let two = vault.backup_with("app", b"two", &["--host", "db2"]);
    let said = vault.run(["cat", "app"]).expect(exit::USAGE).says("db1").says("db2");
    for id in [&one, &two] {
        assert!(said.stderr.contains(&id[..8]), "{said}");
    }
    assert_is(&vault, &one, "one");
}

// --- JSON

#[test]
fn given_snapshots_then_json_lists_them_oldest_first_with_every_documented_field() {
    let vault = Vault::new();
    let dump = rows(1, 20_000);
    // Made in another order than they tell.
    let newer =
        vault.backup_with("app", &dump, &["--time", "2026-11-02T03:00:00Z", "--host", "db1", "--tag", "v2"]);
    let older = vault.backup_with("web", b"small", &["--time", "2026-11-01T03:00:00+01:00"]);

    let listed = vault.run(["snapshots", "--json"]).expect(exit::OK).json();
    assert_eq!(listed["version"], 1);
    let snapshots = listed["snapshots"].as_array().unwrap();
    let ids: Vec<String> = snapshots.iter().map(|snapshot| text(snapshot, "id")).collect();
    assert_eq!(ids, [older, newer]);
    let app = &snapshots[1];
    assert_eq!(text(app, "series"), "app");
    assert_eq!(text(app, "host"), "db1");
    assert_eq!(text(app, "state"), "complete");
    assert_eq!(text(app, "time"), "2026-11-02T03:00:00Z");
    assert!(words(app, "tags").contains(&"v2".to_owned()), "{app}");
    assert_eq!(number(app, "bytes"), dump.len() as u64);
    let stored = number(app, "bytes_stored");
    assert!(stored > 0 && stored < dump.len() as u64, "{app}");
    assert_eq!(app["streams"].as_array().map(Vec::len), Some(1), "{app}");
    assert_eq!(text(&snapshots[0], "time"), "2026-11-01T02:00:00Z");
    for snapshot in snapshots {
        let id = text(snapshot, "id");
        assert!(id.len() == 64 && id.bytes().all(|digit| digit.is_ascii_hexdigit()), "{id}");
    }
}

#[test]
fn given_a_filter_then_only_what_fits_is_listed() {
    let vault = Vault::new();
    let app = vault.backup_with("app", b"1", &["--tag", "before-upgrade", "--tag", "v1"]);
    let web = vault.backup_with("web", b"2", &["--tag", "v1"]);
    let ids = |args: &[&str]| -> Vec<String> {
        let listed = vault.run(["snapshots", "--json"].iter().chain(args)).expect(exit::OK).json();
        listed["snapshots"].as_array().unwrap().iter().map(|snapshot| text(snapshot, "id")).collect()
    };
    assert_eq!(ids(&["--series", "app"]), std::slice::from_ref(&app));
    assert_eq!(ids(&["--tag", "v1"]), [app.clone(), web.clone()]);
    assert_eq!(ids(&["--tag", "before-upgrade"]), [app]);
    assert_eq!(ids(&["--series", "web", "--tag", "v1"]), [web]);
    assert_eq!(ids(&["--series", "web", "--tag", "nothing"]), [""; 0]);
}

#[test]
fn given_every_command_that_looks_then_json_is_one_object_with_a_version() {
    let vault = Vault::new();
    let id = vault.backup("app", &rows(1, 1000));
    for args in [
        &["snapshots"][..],
        &["show", "app"],
        &["ls", "app"],
        &["stats"],
        &["check"],
        &["check", "--read-data"],
    ] {
        let answer = vault.run(args.iter().chain(&["--json"])).expect(exit::OK).json();
        assert_eq!(answer["version"], 1, "{args:?}: {answer}");
    }
    let shown = vault.run(["show", "app", "--json"]).expect(exit::OK).json();
    assert!(shown.to_string().contains(&id), "{shown}");
}

// --- calendar

#[test]
fn given_imports_then_the_first_of_a_day_a_week_from_sunday_and_a_month_is_tagged_so() {
    let times = [
        ("2026-01-28T03:00:00Z", "daily weekly monthly"), // a Wednesday, and the first of all
        ("2026-01-28T15:00:00Z", ""),
        ("2026-01-29T03:00:00Z", "daily"),
        ("2026-02-01T03:00:00Z", "daily weekly monthly"), // a Sunday, and a new month
        ("2026-02-02T03:00:00Z", "daily"),
        ("2026-02-07T23:59:59Z", "daily"),
        ("2026-02-08T00:00:00Z", "daily weekly"), // the next Sunday
        ("2026-03-01T03:00:00Z", "daily weekly monthly"),
        ("2026-03-02T03:00:00Z", "daily"),
    ];
    let vault = imports(&times.map(|(time, _)| time));
    let listed = vault.snapshots();
    assert_eq!(listed.len(), times.len());
    for (snapshot, (time, expected)) in listed.iter().zip(times) {
        let tags = words(snapshot, "tags");
        let given: Vec<&str> = ["daily", "weekly", "monthly"]
            .into_iter()
            .filter(|tag| tags.iter().any(|own| own == tag))
            .collect();
        assert_eq!(given.join(" "), expected, "{time}");
    }
}

#[test]
fn given_two_series_then_their_calendars_are_apart() {
    let vault = Vault::new();
    for series in ["app", "web"] {
        let id = vault.backup_with(series, b"dump", &["--time", "2026-11-01T03:00:00Z"]);
        assert!(words(&vault.snapshot(&id), "tags").contains(&"daily".to_owned()), "{series}");
    }
}

// --- for people

#[test]
fn given_snapshots_then_tables_show_what_a_person_looks_for() {
    let vault = Vault::new();
    let id = vault.backup_with("app", &noise(1, 2_000_000), &["--tag", "before-upgrade"]);
    for (args, expected) in [
        (&["snapshots"][..], &["app", "before-upgrade", &id[..8]][..]),
        (&["show", "app"], &["app", &id[..8], "unproven"]),
        (&["ls", "app"], &["app"]),
        (&["stats"], &["app"]),
    ] {
        let output = vault.run(args).expect(exit::OK).text().to_lowercase();
        for word in expected {
            assert!(output.contains(word), "no `{word}` in {args:?}:\n{output}");
        }
        assert!(!output.contains('\u{1b}'), "{args:?} colours what is no terminal");
    }
}

#[test]
fn given_a_full_device_as_standard_output_then_a_list_that_was_not_written_is_no_success() {
    let vault = Vault::new();
    vault.backup("app", b"a dump");
    for command in ["snapshots", "snapshots --json", "stats", "show app"] {
        let output = run(vault.shell(&format!("\"$dumpvault\" {command} >/dev/full")), b"");
        assert!(output.code != Some(exit::OK), "{command}: {output}");
    }
    // A reader that has seen enough is another thing.
    run(vault.shell("\"$dumpvault\" snapshots | head -c 1"), b"").expect(exit::OK);
}

#[test]
fn given_a_dump_by_command_then_its_proof_is_shown_and_one_by_standard_input_is_unproven() {
    let vault = Vault::new();
    vault.run(["backup", "--series", "app", "--command", "--", "echo", "a dump"]).expect(exit::OK);
    let shown = vault.run(["show", "app"]).expect(exit::OK).text().to_lowercase();
    assert!(!shown.contains("unproven"), "{shown}");
}

#[test]
fn given_a_stream_that_was_read_whole_then_its_sha256_is_shown_and_else_none() {
    let sha256 = |vault: &Vault, name: &str| -> Vec<Value> {
        let shown = vault.run(["show", name, "--json"]).expect(exit::OK).json();
        let streams = shown["snapshot"]["streams"].as_array().unwrap();
        streams.iter().map(|stream| stream["attributes"]["sha256"].clone()).collect()
    };
    let vault = Vault::new();
    vault.backup("app", b"abc");
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(sha256(&vault, "app"), [abc]);
    let shown = vault.run(["show", "app"]).expect(exit::OK).text();
    assert!(shown.contains(&format!("sha256         {abc}\n")), "{shown}");
    // Longer than all buffers, against a parent: what others make of the same bytes.
    let mut dump = noise(1, 20_000_000);
    vault.backup("app", &dump);
    dump[7_000_000] ^= 1;
    vault.backup("app", &dump);
    let others = run(vault.shell("\"$dumpvault\" cat app | sha256sum"), b"").expect(exit::OK).text();
    assert_eq!(sha256(&vault, "app"), [others.split(' ').next().unwrap()]);
    // Of files that did not change nobody reads the bytes: their stream has another digest and none of this kind. Its
    // index is read.
    std::fs::create_dir(vault.work().join("tree")).unwrap();
    std::fs::write(vault.work().join("tree/a"), b"abc").unwrap();
    for _ in 0..2 {
        vault.run(["backup", "--path", "tree", "--series", "files"]).expect(exit::OK);
        let found = sha256(&vault, "files");
        assert_eq!(found.iter().filter(|one| one.is_null()).count(), 1, "{found:?}");
    }
    // A copy says what its original says, by blocks and by bytes.
    let all = |vault: &Vault, options: &[&str]| -> Vec<Vec<Value>> {
        let names = ["app", "app~1", "app~2", "files", "files~1"];
        let shown = names.map(|name| vault.run(options.iter().copied().chain(["show", name, "--json"])));
        let streams =
            shown.map(|one| one.expect(exit::OK).json()["snapshot"]["streams"].as_array().unwrap().clone());
        streams.map(|them| them.iter().map(|one| one["attributes"]["sha256"].clone()).collect()).into()
    };
    let originals = all(&vault, &[]);
    let own = ["--repo", "by-bytes", "--key-file", "bytes.key"];
    vault.run(own.iter().chain(&["init"])).expect(exit::OK);
    vault.run(["copy", "--to", "by-bytes", "--to-key-file", "bytes.key"]).expect(exit::OK);
    assert_eq!(all(&vault, &own), originals);
    vault.run(["copy", "--to", "by-blocks", "--init"]).expect(exit::OK);
    assert_eq!(all(&vault, &["--repo", "by-blocks"]), originals);
}

#[test]
fn given_backups_then_stats_tell_what_dedup_saved() {
    let vault = Vault::new();
    let dump = noise(1, 1_000_000);
    for _ in 0..3 {
        vault.backup("app", &dump);
    }
    let stats = vault.run(["stats", "--json"]).expect(exit::OK).json();
    assert!(stats.to_string().contains("3000000"), "three dumps of a million bytes: {stats}");
    // Packs are padded, so that a snapshot of a few bytes takes 4 KiB all the same; a pack that two series share counts
    // for both.
    let disk = |series: &str, stats: &serde_json::Value| {
        let all = stats["series"].as_array().unwrap();
        number(all.iter().find(|own| own["series"] == series).unwrap(), "disk_bytes")
    };
    vault.backup("tiny", b"a few bytes");
    let first = vault.run(["stats", "--json"]).expect(exit::OK).json();
    assert!(disk("tiny", &first) == 4 << 10, "{first}");
    assert_eq!(disk("app", &first) + disk("tiny", &first), number(&first, "pack_bytes"), "{first}");
    vault.backup("twin", &dump);
    let second = vault.run(["stats", "--json"]).expect(exit::OK).json();
    assert!(disk("twin", &second) >= disk("app", &second) / 2 && disk("app", &second) == disk("app", &first));
    assert!(vault.run(["stats"]).expect(exit::OK).text().contains("DISK"));
}

#[test]
fn given_help_then_every_command_has_it_with_an_example() {
    let vault = Vault::empty();
    vault.run(["--version"]).expect(exit::OK);
    let all = vault.run(["--help"]).expect(exit::OK).text();
    for command in [
        "init",
        "backup",
        "restore",
        "cat",
        "snapshots",
        "ls",
        "show",
        "check",
        "stats",
        "key",
        "demo",
        "completions",
    ] {
        assert!(all.contains(command), "{command} is not in --help");
        vault.run([command, "--help"]).expect(exit::OK);
    }
    for command in ["backup", "restore", "init"] {
        let help = vault.run([command, "--help"]).expect(exit::OK).text();
        assert!(help.contains(&format!("dumpvault {command} ")), "no example in {command} --help");
    }
    assert!(all.contains("--s3-region") && all.contains("--password-file"), "{all}");
    for words in [&["key", "list", "--help"][..], &["forget", "-h"], &["help", "schedule", "next"]] {
        let help = vault.run(words).expect(exit::OK).text();
        assert!(help.trim_end().ends_with("Global options: see `dumpvault --help`"), "{help}");
        assert!(!help.contains("--s3-region") && !help.contains("--key-file"), "{help}");
        // Its own or those of the command above.
        assert_eq!(help.contains("Examples:"), words != ["forget", "-h"], "{help}");
    }
    let backup = vault.run(["backup", "--help"]).expect(exit::OK).text();
    assert!(backup.contains("exit status"), "--stdin cannot see its producer's, and must say so");
    for shell in ["bash", "zsh", "fish"] {
        assert!(vault.run(["completions", shell]).expect(exit::OK).text().contains("dumpvault"));
    }
    for wrong in [&["frobnicate"][..], &["snapshots", "--frobnicate"], &[]] {
        vault.run(wrong).expect(exit::USAGE);
    }
}

// --- what a newer program wrote

/// A repository with a snapshot whose state, proof and format have numbers that mean nothing here. It opens with the
/// vault's key file.
fn newer(vault: &Vault, dump: &[u8]) {
    use crate::support::test_writer::{RAW, RawNode, TestWriter};
    use dumpvault::base::secret::OsEntropy;
    use dumpvault::storage::Storage;
    use dumpvault::vault::crypto::{Credential, KeyFile};
    use dumpvault::vault::format::snapshot;
    use dumpvault::vault::snapshot::{Proof, State, StreamFormat};

    let mut writer = TestWriter::create(&vault.repo());
    let block = writer.data_block(RAW, &[dump]);
    writer.pack(&[block]);
    let leaf = RawNode::default().table(&[writer.chunk_id(dump)]).extent(0, 0, dump.len() as u64);
    let root = writer.node(&leaf);
    writer.recipe_pack();
    writer.index(&[]);
    let mut stream = test_writer::stream("s", dump, root);
    stream.format = StreamFormat::from_number(77);
    stream.proof = Proof::from_number(9);
    let known = writer.snapshot("app", 1, vec![stream], &[]);
    let bytes = writer.storage.get(&format!("snapshots/{known}"), 1 << 20).unwrap();
    let mut head = snapshot::open_head(&bytes, &writer.repo, &writer.keys).unwrap().content;
    let body = snapshot::open_body(bytes, &writer.repo, &writer.keys).unwrap();
    writer.commit(known);
    (head.state, head.counter, head.time_ms) = (State::from_number(9), 2, head.time_ms + 86_400_000);
    let bytes = snapshot::seal(&head, &body, writer.repo, &writer.keys, &OsEntropy).unwrap();
    let unknown = dumpvault::base::id::SnapshotId::from_bytes(writer.put("snapshots", &bytes));
    writer.commit(unknown);
    writer.slot(&Credential::KeyFile(KeyFile::create(&vault.key_file(), &OsEntropy).unwrap()));
}

#[test]
fn given_numbers_of_a_newer_program_then_the_snapshot_is_shown_and_restored_and_not_called_damaged() {
    let vault = Vault::empty();
    let dump = noise(3, 5000);
    newer(&vault, &dump);
    let key = vault.key_file();
    let run = |args: &[&str]| vault.run([&["--key-file", key.to_str().unwrap()], args].concat());
    let listed = run(&["snapshots", "--json"]).expect(exit::OK).json();
    let all = listed["snapshots"].as_array().unwrap();
    let states: Vec<String> = all.iter().map(|one| text(one, "state")).collect();
    assert_eq!(states, ["complete", "unknown (9)"]);
    let newest = text(&all[1], "id");
    for command in ["show", "ls"] {
        let told = run(&[command, &newest]).expect(exit::OK).text();
        assert!(told.contains("unknown (77)") && told.contains("unknown (9)"), "{command}: {told}");
    }
    assert!(run(&["cat", &newest]).expect(exit::OK).stdout == dump);
    run(&["check", "--read-data"]).expect(exit::OK);
    run(&["stats"]).expect(exit::OK);
    run(&["diff", "app", &newest]).expect(exit::OK);
    // It is never taken for a complete one, and nothing that came after it makes it go.
    let named = run(&["show", "app", "--json"]).expect(exit::OK).json();
    assert_eq!(named["snapshot"]["counter"], 1);
    run(&["forget", "--keep-last", "1"]).expect(exit::OK);
    let left = run(&["snapshots", "--json"]).expect(exit::OK).json();
    assert_eq!(left["snapshots"].as_array().unwrap().len(), 2, "{left}");
    // The next backup has the complete one as its parent. A copy of it is suspect: what it is cannot be said again.
    let args = ["--key-file", key.to_str().unwrap(), "backup", "--stdin", "--series", "app"];
    vault.run_with(args, &dump).expect(exit::OK);
    let away = vault.home().join("away");
    let away = away.to_str().unwrap();
    run(&["copy", &newest, "--to", away, "--to-key-file", key.to_str().unwrap(), "--init"]).expect(exit::OK);
    let copied = run(&["--repo", away, "snapshots", "--json"]).expect(exit::OK).json();
    assert_eq!(text(&copied["snapshots"][0], "state"), "suspect");
}

#[test]
fn given_a_name_that_only_a_stream_has_then_the_hint_names_it_with_its_series() {
    let vault = Vault::empty();
    newer(&vault, &noise(3, 5000));
    let key = vault.key_file();
    let args = ["--key-file", key.to_str().unwrap(), "cat", "s"];
    vault.run(args).expect(exit::USAGE).says("no snapshot matches `s`").says("did you mean `app:s`?");
}
