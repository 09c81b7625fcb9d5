//! Snapshots from one repository to another.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use rustix::process::Signal;
use serde_json::Value;

use crate::cli::{Output, Running, Vault, exit, noise, number, run, text};
use crate::program::table;
use crate::s3::{ACCESS_KEY, HttpFault, SECRET_KEY, TestServer};

/// A repository in a folder, and one of another key in a bucket.
struct Pair {
    server: TestServer,
    vault: Vault,
    /// The copy makes it, so that content has the same names in both.
    alike: bool,
}

impl Pair {
    fn new() -> Self {
        let pair = Self { server: TestServer::new(), vault: Vault::new(), alike: false };
        pair.at_bucket(&["init"]).expect(exit::OK);
        pair
    }

    fn alike() -> Self {
        Self { server: TestServer::new(), vault: Vault::new(), alike: true }
    }

    fn of_each_kind() -> [Self; 2] {
        [Self::new(), Self::alike()]
    }

    fn offsite_key(&self) -> String {
        self.vault.home().join("offsite.key").to_str().unwrap().to_owned()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.vault.command(args);
        command
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
            .env("AWS_REGION", "us-east-1")
            .env("AWS_EC2_METADATA_DISABLED", "true");
        command
    }

    /// A command on the repository in the bucket.
    fn at_bucket(&self, args: &[&str]) -> Output {
        let mut command = self.command(args);
        command
            .env("DUMPVAULT_REPOSITORY", self.server.address("offsite"))
            .env("DUMPVAULT_KEY_FILE", self.offsite_key());
        run(command, b"")
    }

    /// A copy from the folder to the bucket.
    fn copy_command(&self, options: &[&str]) -> Command {
        let (to, key) = (self.server.address("offsite"), self.offsite_key());
        let init: &[&str] = if self.alike { &["--init"] } else { &[] };
        self.command(&[&["--json", "copy", "--to", &to, "--to-key-file", &key], init, options].concat())
    }

    fn copy(&self, options: &[&str]) -> Output {
        run(self.copy_command(options), b"")
    }

    /// A copy under way, once so many packs were taken and the next one gets no answer.
    fn copy_that_stalls_after(&self, packs: usize) -> Running {
        let (stalled_in, stalled) = mpsc::channel();
        let put = AtomicUsize::new(0);
        self.server.set_hook(move |call| {
            let is_pack = call.method == "PUT" && call.path.contains("/packs/");
            if !is_pack || put.fetch_add(1, Ordering::SeqCst) < packs {
                return None;
            }
            let _ = stalled_in.send(());
            Some(HttpFault::Stall)
        });
        let running = Running::start(self.copy_command(&[]));
        stalled.recv().unwrap();
        running
    }

    fn offsite(&self) -> Vec<Value> {
        let listed = self.at_bucket(&["snapshots", "--json"]).expect(exit::OK).json();
        listed["snapshots"].as_array().unwrap().clone()
    }

    fn restored(&self, id: &str) -> Vec<u8> {
        self.at_bucket(&["restore", id, "--output", "-"]).expect(exit::OK).stdout
    }

    /// Bytes of the packs in the bucket.
    fn pack_bytes(&self) -> usize {
        let names = self.server.names();
        let packs = names.iter().filter(|name| name.contains("/packs/"));
        packs.filter_map(|name| self.server.object(name)).map(|bytes| bytes.len()).sum()
    }

    fn packs_put(&self) -> usize {
        self.server
            .calls()
            .iter()
            .filter(|call| call.method == "PUT" && call.path.contains("/packs/"))
            .count()
    }
}

fn states(report: &Value) -> Vec<String> {
    let snapshots = report["results"][0]["snapshots"].as_array().unwrap();
    snapshots.iter().map(|snapshot| text(snapshot, "state")).collect()
}

/// Day `day` of a table of which one row in a hundred changes a day.
fn day(day: u32) -> Vec<u8> {
    table(100_000, |row| row % 97 < day)
}

/// When the dump of that day was made. The days are an hour long: what is older than a day would be an import, and no
/// parent.
fn time_of(day: u32) -> String {
    static FIRST: std::sync::OnceLock<jiff::Timestamp> = std::sync::OnceLock::new();
    let first = FIRST.get_or_init(|| jiff::Timestamp::now() - jiff::SignedDuration::from_hours(20));
    let time = *first + jiff::SignedDuration::from_hours(i64::from(day));
    jiff::Timestamp::from_second(time.as_second()).unwrap().to_string()
}

fn back_up_days(vault: &Vault, days: u32) -> Vec<String> {
    let one = |n: u32| {
        let time = time_of(n);
        vault.backup_with("app", &day(n), &["--time", &time, "--tag", &format!("day{n}"), "--host", "db1"])
    };
    (0..days).map(one).collect()
}

#[test]
fn given_days_in_a_folder_then_they_go_to_a_bucket_of_another_key_at_the_cost_of_their_change_and_come_back()
{
    for pair in Pair::of_each_kind() {
        let ids = back_up_days(&pair.vault, 3);
        pair.vault.run(["tag", &ids[1], "--pin"]).expect(exit::OK);
        let report = pair.copy(&[]).expect(exit::OK).json();
        assert_eq!(states(&report), ["copied"; 3], "{report}");

        let (here, there) = (pair.vault.snapshots(), pair.offsite());
        assert_eq!(there.len(), 3);
        for (n, (original, copy)) in here.iter().zip(&there).enumerate() {
            for same in
                ["time", "series", "host", "tags", "state", "proof", "bytes", "pinned", "counter", "source"]
            {
                assert_eq!(original[same], copy[same], "{same} of day {n}");
            }
            for same in ["name", "blake3", "proof", "format", "attributes"] {
                assert_eq!(original["streams"][0][same], copy["streams"][0][same], "{same} of day {n}");
            }
            let (cost, copied) = (number(original, "bytes_stored"), number(copy, "bytes_stored"));
            assert!(copied <= cost + cost / 5 + 65_536, "day {n}: {copied} bytes, and {cost} at the source");
            assert!(pair.restored(&text(copy, "id")) == day(n as u32), "day {n}");
        }
        assert!(number(&there[2], "bytes_stored") < number(&there[0], "bytes_stored") / 5);
        assert_eq!(there[1]["pinned"], true);
        pair.at_bucket(&["check", "--read-data"]).expect(exit::OK);

        // Once more: nothing to do, and it is found out cheaply.
        let again = pair.copy(&[]).expect(exit::OK).json();
        assert_eq!(states(&again), ["there"; 3]);
        let requests = &again["results"][0]["requests"];
        assert!(number(requests, "total") <= 10 && number(requests, "put") == 0, "{requests}");

        // A day later only that day is copied.
        pair.vault.backup_with("app", &day(3), &["--time", &time_of(3), "--host", "db1"]);
        let later = pair.copy(&[]).expect(exit::OK).json();
        assert_eq!(states(&later), ["there", "there", "there", "copied"]);
        let up = number(&later["results"][0]["requests"], "bytes_up");
        assert!(up < number(&here[2], "bytes_stored") * 2 + 300_000, "{up}");
    }
}

#[test]
fn given_a_bucket_then_it_is_copied_into_a_folder_and_what_came_from_there_is_not_copied_back() {
    let pair = Pair::new();
    back_up_days(&pair.vault, 2);
    pair.copy(&[]).expect(exit::OK);

    let folder = pair.vault.home().join("second").to_str().unwrap().to_owned();
    let (words, passphrase) = (pair.vault.home().join("words"), "a passphrase of its own");
    std::fs::write(&words, passphrase).unwrap();
    let in_folder = |args: &[&str]| {
        let mut command = pair.command(&[&["--repo", &folder], args].concat());
        command.env_remove("DUMPVAULT_KEY_FILE").env("DUMPVAULT_PASSWORD", passphrase);
        run(command, b"")
    };
    in_folder(&["init"]).expect(exit::OK);
    let copy = ["--json", "copy", "--to", &folder, "--to-password-file", words.to_str().unwrap()];
    assert_eq!(states(&pair.at_bucket(&copy).expect(exit::OK).json()), ["copied"; 2]);
    for n in 0..2 {
        let name = format!("app@{}", time_of(n));
        assert!(in_folder(&["cat", &name]).expect(exit::OK).stdout == day(n), "day {n}");
    }
    in_folder(&["check", "--read-data"]).expect(exit::OK);

    // A copy of a copy is a copy of the first: the first repository lacks nothing, and the second neither.
    let (first, key) = (pair.vault.repo(), pair.vault.key_file());
    let back = ["--json", "copy", "--to", first.to_str().unwrap(), "--to-key-file", key.to_str().unwrap()];
    assert_eq!(states(&pair.at_bucket(&back).expect(exit::OK).json()), ["there"; 2]);
    assert_eq!(states(&in_folder(&back).expect(exit::OK).json()), ["there"; 2]);
}

#[test]
fn given_a_copy_that_is_killed_then_nothing_is_listed_there_and_the_next_one_uses_what_arrived() {
    for pair in Pair::of_each_kind() {
        let dump = noise(1, 140 << 20);
        pair.vault.backup("app", &dump);
        let running = pair.copy_that_stalls_after(3);
        // Those before it have been sent, and at least one of them was answered: more are not under way at a time.
        running.signal(Signal::KILL);
        assert_eq!(running.wait().signal, Some(Signal::KILL.as_raw()));
        pair.server.calm();
        assert!(pair.offsite().is_empty());

        let arrived = pair.server.names().iter().filter(|name| name.contains("/packs/")).count();
        assert!(arrived >= 1);
        let before = pair.packs_put();
        assert_eq!(states(&pair.copy(&[]).expect(exit::OK).json()), ["copied"]);
        let put = pair.packs_put() - before;
        assert!(put + arrived <= 6, "{arrived} packs had arrived, and {put} more were sent");
        assert!(pair.restored("app") == dump);
        pair.at_bucket(&["check", "--read-data"]).expect(exit::OK);
    }
}

#[test]
fn given_a_copy_that_is_interrupted_then_nothing_is_listed_there_and_the_next_one_is_whole() {
    for pair in Pair::of_each_kind() {
        let dump = noise(4, 140 << 20);
        pair.vault.backup("app", &dump);
        let running = pair.copy_that_stalls_after(2);
        running.signal(Signal::INT);
        running.wait().expect(exit::INTERRUPTED);
        pair.server.calm();
        assert!(pair.offsite().is_empty());
        pair.at_bucket(&["check"]).expect(exit::OK);
        assert_eq!(states(&pair.copy(&[]).expect(exit::OK).json()), ["copied"]);
        assert!(pair.restored("app") == dump);
        pair.at_bucket(&["check", "--read-data"]).expect(exit::OK);
    }
}

#[test]
fn given_several_destinations_that_do_not_exist_then_init_makes_each_and_one_that_fails_does_not_stop_the_others()
 {
    let pair = Pair::alike();
    pair.vault.backup("app", b"a dump");
    let (folder, folder_key) = (pair.vault.home().join("second"), pair.vault.home().join("second.key"));
    let settings = format!(
        "[copy.broken]\nrepository = '{}'\nkey_file = '{}'\n\
         [copy.offsite]\nrepository = '{}'\nkey_file = '{}'\n\
         [copy.second]\nrepository = '{}'\nkey_file = '{}'\n",
        pair.server.address("broken"),
        pair.vault.home().join("broken.key").display(),
        pair.server.address("offsite"),
        pair.offsite_key(),
        folder.display(),
        folder_key.display(),
    );
    std::fs::write(pair.vault.work().join("dumpvault.toml"), settings).unwrap();
    let is_broken = |path: &str| path.contains("/broken/");
    pair.server.set_hook(move |call| {
        (call.method == "PUT" && is_broken(&call.path)).then_some(HttpFault::Status(403, "AccessDenied"))
    });
    run(pair.command(&["copy"]), b"").expect(exit::NO_REPOSITORY).says("--init");
    let copy =
        || run(pair.command(&["--json", "copy", "--init"]), b"").expect(exit::NOTHING_DONE).says("broken: ");
    let told = |output: Output| {
        let report = output.json();
        let results = report["results"].as_array().unwrap();
        let told = |result: &Value| (text(result, "to"), result["ok"].as_bool().unwrap());
        results.iter().map(told).collect::<Vec<_>>()
    };
    let expected =
        [("broken", false), ("offsite", true), ("second", true)].map(|(to, ok)| (to.to_owned(), ok));
    assert_eq!(told(copy()), expected);
    assert_eq!(pair.restored("app"), b"a dump");
    let from_folder = || {
        let mut command = pair.vault.command(["restore", "app", "--output", "-"]);
        command.env("DUMPVAULT_REPOSITORY", &folder).env("DUMPVAULT_KEY_FILE", &folder_key);
        run(command, b"").expect(exit::OK).stdout
    };
    assert_eq!(from_folder(), b"a dump");
    // What is there by now is not made again.
    pair.vault.backup("app", b"the next dump");
    assert_eq!(told(copy()), expected);
    assert_eq!((pair.restored("app"), from_folder()), (b"the next dump".to_vec(), b"the next dump".to_vec()));
}

#[test]
fn given_init_and_a_repository_of_its_own_there_then_it_stays_what_it_is_and_takes_the_copies() {
    let pair = Pair::new();
    let config = pair.server.object("offsite/config");
    let ids = back_up_days(&pair.vault, 2);
    assert_eq!(states(&pair.copy(&["--init"]).expect(exit::OK).json()), ["copied"; 2]);
    assert_eq!(pair.server.object("offsite/config"), config);
    assert_eq!(pair.offsite().len(), ids.len());
    assert!(pair.restored("app") == day(1));
    pair.at_bucket(&["check", "--read-data"]).expect(exit::OK);
}

#[test]
fn given_damage_at_the_source_then_it_is_named_and_the_whole_snapshots_are_copied() {
    for pair in Pair::of_each_kind() {
        let lost = pair.vault.backup("app", &noise(2, 3 << 20));
        for key in pair.vault.objects_in("packs") {
            let path = pair.vault.repo().join(key);
            let mut bytes = std::fs::read(&path).unwrap();
            // The pack of the recipe stays whole.
            for at in (100_000..bytes.len().saturating_sub(200_000)).step_by(50_000) {
                bytes[at] ^= 1;
            }
            std::fs::write(path, bytes).unwrap();
        }
        let whole = noise(3, 3 << 20);
        pair.vault.backup("shop", &whole);
        let output = pair.copy(&[]).expect(exit::INTEGRITY).says("packs/").says(&lost[..8]).says("source");
        assert_eq!(states(&output.json()), ["failed", "copied"]);
        let there = pair.offsite();
        assert_eq!((there.len(), text(&there[0], "series")), (1, "shop".to_owned()));
        assert!(pair.restored("shop") == whole);
        pair.at_bucket(&["check", "--read-data"]).expect(exit::OK);
    }
}

#[test]
fn given_a_line_in_cron_then_the_configuration_says_where_and_what() {
    let pair = Pair::new();
    pair.vault.backup_with("app", b"an old one", &["--time", "2020-01-01T00:00:00Z"]);
    pair.vault.backup_with("app", b"a new one", &["--tag", "nightly"]);
    pair.vault.backup("shop", b"another series");
    let text = format!(
        "[copy.offsite]\nrepository = '{}'\nkey_file = '{}'\nseries = ['app']\nsince = '30d'\n",
        pair.server.address("offsite"),
        pair.offsite_key()
    );
    std::fs::write(pair.vault.work().join("dumpvault.toml"), text).unwrap();
    run(pair.command(&["copy", "--dry-run"]), b"").expect(exit::OK);
    assert!(pair.offsite().is_empty(), "a dry run copies nothing");
    run(pair.command(&["copy"]), b"").expect(exit::OK);
    assert_eq!(pair.offsite().len(), 1);
    assert_eq!(pair.restored("app"), b"a new one");

    // What the command line says comes first.
    run(pair.command(&["copy", "--to", "offsite", "--series", "shop"]), b"").expect(exit::OK);
    assert_eq!(pair.offsite().len(), 2);
    run(pair.command(&["copy", "app@2020-01-01", "--to", "offsite", "--since", "2019-12-31"]), b"")
        .expect(exit::OK);
    assert_eq!(pair.offsite().len(), 3);
    assert_eq!(states(&pair.copy(&["--tag", "nightly"]).expect(exit::OK).json()), ["there"]);
    pair.copy(&["--since", "whenever"]).expect(exit::USAGE).says("--since");
}

#[test]
fn given_a_destination_that_only_takes_then_copies_go_there_and_are_known_again() {
    let pair = Pair::new();
    let key = pair.vault.home().join("append.key").to_str().unwrap().to_owned();
    pair.at_bucket(&["key", "add", "--append", "--host", "db1", "--new-key-file", &key]).expect(exit::OK);
    back_up_days(&pair.vault, 2);
    let to = pair.server.address("offsite");
    let copy = || {
        let args = ["--json", "copy", "--to", &to, "--to-key-file", &key];
        states(&run(pair.command(&args), b"").expect(exit::OK).json())
    };
    assert_eq!(copy(), ["copied"; 2]);
    assert_eq!(copy(), ["there"; 2]);
    assert!(pair.restored("app") == day(1));
}

#[test]
fn given_a_suspect_snapshot_then_its_copy_is_suspect_too() {
    for pair in Pair::of_each_kind() {
        for n in 0..3 {
            pair.vault.backup("app", &noise(n, 100_000));
        }
        pair.vault
            .run_with(["backup", "--stdin", "--series", "app"], &noise(9, 5000))
            .expect(exit::PART_FAILED);
        pair.copy(&[]).expect(exit::OK);
        let states: Vec<String> = pair.offsite().iter().map(|snapshot| text(snapshot, "state")).collect();
        assert_eq!(states, ["complete", "complete", "complete", "suspect"]);
    }
}

#[test]
fn given_what_is_wrong_with_a_destination_then_the_exit_code_and_the_words_say_it() {
    let pair = Pair::new();
    pair.vault.backup("app", b"a dump");
    let to = pair.server.address("offsite");
    let copy = |args: &[&str]| run(pair.command(&[&["copy"], args].concat()), b"");
    copy(&[]).expect(exit::USAGE).says("[copy.offsite]");
    copy(&["--to", &to]).expect(exit::WRONG_KEY).says("offsite");
    let nothing = pair.server.address("nothing");
    copy(&["--to", &nothing]).expect(exit::NO_REPOSITORY).says("nothing").says("--init");
    copy(&["--to", &nothing, "--init", "--dry-run"]).expect(exit::OK);
    assert!(!pair.server.names().iter().any(|name| name.contains("nothing")));
    let own = pair.vault.repo();
    copy(&["--to", own.to_str().unwrap()])
        .expect(exit::USAGE)
        .says("source and destination are the same repository");
    pair.server.set_hook(|call| (call.method == "PUT").then_some(HttpFault::Status(403, "AccessDenied")));
    pair.copy(&[]).expect(exit::NOTHING_DONE).says("docs/offsite.md").says("destination");
    pair.server.calm();
    assert!(pair.offsite().is_empty());
}

/// The offsite repository once it holds nothing but the snapshots that it lists.
fn prune(pair: &Pair) {
    pair.at_bucket(&["prune", "--grace", "0"]).expect(exit::OK);
    pair.at_bucket(&["prune", "--grace", "0"]).expect(exit::OK);
    pair.at_bucket(&["check", "--read-data"]).expect(exit::OK);
}

#[test]
fn given_a_repository_that_a_copy_made_then_the_last_of_many_days_goes_there_alone_and_others_follow() {
    let pair = Pair::alike();
    let ids = back_up_days(&pair.vault, 16);
    pair.copy(&[&ids[15]]).expect(exit::OK);
    assert_eq!(pair.offsite().len(), 1);
    assert!(pair.restored("app") == day(15));
    prune(&pair);
    assert!(pair.restored("app") == day(15));

    // Of the others most is there.
    let sent = pair.pack_bytes();
    assert_eq!(states(&pair.copy(&[]).expect(exit::OK).json()).iter().filter(|s| *s == "copied").count(), 15);
    assert!(pair.pack_bytes() - sent < sent, "{sent}");
    for n in [0, 7, 14] {
        assert!(pair.restored(&format!("app@{}", time_of(n))) == day(n), "day {n}");
    }
    prune(&pair);

    // The next day is backed up at both, and each time it is stored upon the day before.
    let fresh = day(16);
    let time_16 = time_of(16);
    let time = ["--time", &time_16, "--host", "db1"];
    pair.vault.backup_with("app", &fresh, &time);
    let mut command =
        pair.command(&[&["--json", "backup", "--stdin", "--series", "app"], &time[..]].concat());
    command
        .env("DUMPVAULT_REPOSITORY", pair.server.address("offsite"))
        .env("DUMPVAULT_KEY_FILE", pair.offsite_key());
    run(command, &fresh).expect(exit::OK);
    let (here, there) = (pair.vault.snapshots(), pair.offsite());
    let stored = |snapshot: &Value| number(snapshot, "bytes_stored");
    let (here, there) = (stored(here.last().unwrap()), stored(there.last().unwrap()));
    assert!(there <= here + here / 5 + 65_536, "{there} bytes, and {here} at the source");
}

#[test]
fn given_half_of_the_content_there_under_its_own_name_then_only_the_other_half_is_sent() {
    let pair = Pair::alike();
    pair.vault.backup("seed", b"so that there is something to begin with");
    pair.copy(&[]).expect(exit::OK);
    let dump = noise(5, 24 << 20);
    // Every second piece of 700 KB: hardly a block of the source is wanted whole.
    let there: Vec<u8> = dump.chunks(700_000).step_by(2).flatten().copied().collect();
    let mut command = pair.command(&["backup", "--stdin", "--series", "half"]);
    command
        .env("DUMPVAULT_REPOSITORY", pair.server.address("offsite"))
        .env("DUMPVAULT_KEY_FILE", pair.offsite_key());
    run(command, &there).expect(exit::OK);
    pair.vault.backup("app", &dump);
    let sent = pair.pack_bytes();
    pair.copy(&[]).expect(exit::OK);
    let sent = pair.pack_bytes() - sent;
    assert!(sent < 17 << 20, "{sent}");
    assert!(pair.restored("app") == dump);
    pair.at_bucket(&["forget", "--keep-last", "1", "--series", "app", "--force"]).expect(exit::OK);
    prune(&pair);
    assert!(pair.restored("app") == dump);
}

/// The tags of a snapshot that a person gave it.
fn own_tags(snapshot: &Value) -> Vec<&str> {
    let tags = snapshot["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap());
    tags.filter(|tag| !["daily", "weekly", "monthly"].contains(tag)).collect()
}

#[test]
fn given_tags_and_pins_that_came_later_then_they_follow_to_the_copies() {
    for pair in Pair::of_each_kind() {
        let ids = back_up_days(&pair.vault, 2);
        pair.copy(&[]).expect(exit::OK);
        let copy = text(&pair.offsite()[0], "id");
        pair.at_bucket(&["tag", &copy, "--add", "offsite"]).expect(exit::OK);
        pair.vault.run(["tag", &ids[0], "--add", "audit", "--pin"]).expect(exit::OK);
        pair.copy(&["--dry-run"]).expect(exit::OK);
        assert_eq!(own_tags(&pair.offsite()[0]), ["day0", "offsite"]);
        assert_eq!(states(&pair.copy(&[]).expect(exit::OK).json()), ["there"; 2]);
        let there = pair.offsite();
        assert_eq!(own_tags(&there[0]), ["audit", "day0", "offsite"]);
        assert_eq!((&there[0]["pinned"], &there[1]["pinned"]), (&true.into(), &false.into()));
        // Nothing is left to be said, and nothing is said again.
        let before = pair.server.names().len();
        pair.copy(&[]).expect(exit::OK);
        assert_eq!(pair.server.names().len(), before);
    }
}

#[test]
fn given_a_bucket_as_the_source_then_only_blocks_that_are_missing_are_read() {
    let pair = Pair::new();
    let folder = pair.vault.home().join("second").to_str().unwrap().to_owned();
    let key = pair.vault.home().join("second.key").to_str().unwrap().to_owned();
    let copy_day = |n: u32| {
        let time = time_of(n);
        let mut command = pair.command(&["backup", "--stdin", "--series", "app", "--time", &time]);
        command
            .env("DUMPVAULT_REPOSITORY", pair.server.address("offsite"))
            .env("DUMPVAULT_KEY_FILE", pair.offsite_key());
        run(command, &day(n)).expect(exit::OK);
        let copy = ["--json", "--no-cache", "copy", "--to", &folder, "--to-key-file", &key, "--init"];
        let report = pair.at_bucket(&copy).expect(exit::OK).json();
        (number(&report["requests_source"], "bytes_down"), report)
    };
    let (first, _) = copy_day(0);
    for n in 1..3 {
        let (later, report) = copy_day(n);
        assert!(later < first / 5, "day {n}: {later} bytes, and {first} on the first: {report}");
    }
    let mut command = pair.command(&["--repo", &folder, "cat", "app"]);
    command.env("DUMPVAULT_KEY_FILE", &key);
    assert!(run(command, b"").expect(exit::OK).stdout == day(2));
    // Compressed anew: as it is asked for, and whole.
    let other = pair.vault.home().join("third").to_str().unwrap().to_owned();
    let copy = ["copy", "--to", &other, "--to-key-file", &key, "--init", "--compression", "max"];
    pair.at_bucket(&copy).expect(exit::OK);
    let mut command = pair.command(&["--repo", &other, "check", "--read-data"]);
    command.env("DUMPVAULT_KEY_FILE", &key);
    run(command, b"").expect(exit::OK);
}
