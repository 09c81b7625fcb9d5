//! Who may say what: append keys that are limited, lying or revoked, rotations, junk, wrong times, and storages that
//! were turned back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support::cli;
use crate::support::cli::{Output, Vault, copy_folder, exit, noise, number, run, text};
use crate::support::forger::{Forger, key_of, put, snapshot_id, table_of_all};
use dumpvault::base::event::Silent;
use dumpvault::base::secret::{OsEntropy, SecretKey};
use dumpvault::storage::Storage;
use dumpvault::storage::local::LocalStorage;
use dumpvault::vault::crypto::{Credential, KeyFile, SmallSealed};
use dumpvault::vault::format::header::{Header, ObjectType};
use dumpvault::vault::format::index::{BlockKind, IndexedPack};
use dumpvault::vault::format::mark::MarkKind;
use dumpvault::vault::format::session::SessionKind;
use dumpvault::vault::format::slot::Slot;
use dumpvault::vault::snapshot::Stream;
use dumpvault::vault::{Repository, SlotLabel, Surroundings};
use serde_json::Value;
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Another machine with a key file of its own: nothing of the first one's cache and state.
struct Machine<'a> {
    vault: &'a Vault,
    key: PathBuf,
    home: PathBuf,
}

impl<'a> Machine<'a> {
    /// With a new append key of that name.
    fn added(vault: &'a Vault, name: &str, options: &[&str]) -> Self {
        let machine = Self::with(vault, name, &vault.home().join(format!("{name}.key")));
        let key = machine.key.to_str().unwrap();
        let add = ["key", "add", "--append", "--name", name, "--new-key-file", key];
        vault.run(add.iter().chain(options)).expect(exit::OK);
        machine
    }

    /// With a new full key of that name.
    fn full(vault: &'a Vault, name: &str) -> Self {
        let machine = Self::with(vault, name, &vault.home().join(format!("{name}.key")));
        let key = machine.key.to_str().unwrap();
        vault.run(["key", "add", "--name", name, "--new-key-file", key]).expect(exit::OK);
        machine
    }

    fn with(vault: &'a Vault, name: &str, key: &Path) -> Self {
        let home = vault.home().join(format!("machine-{name}"));
        fs::create_dir(&home).unwrap();
        Self { vault, key: key.to_owned(), home }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.vault.command(args);
        command
            .env("DUMPVAULT_KEY_FILE", &self.key)
            .env("XDG_STATE_HOME", self.home.join("state"))
            .env("XDG_CACHE_HOME", self.home.join("cache"));
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        run(self.command(args), b"")
    }

    fn backup(&self, series: &str, host: &str, bytes: &[u8], options: &[&str]) -> Output {
        let args = ["backup", "--stdin", "--series", series, "--host", host];
        let args: Vec<&str> = args.into_iter().chain(options.iter().copied()).collect();
        run(self.command(&args), bytes)
    }

    fn forger(&self) -> Forger {
        Forger::with(&storage(self.vault), &credential(&self.key), Arc::new(OsEntropy))
    }
}

fn credential(key: &Path) -> Credential {
    Credential::KeyFile(KeyFile::read(key).unwrap().0)
}

fn storage(vault: &Vault) -> LocalStorage {
    LocalStorage::open(vault.repo()).unwrap()
}

fn hosts(vault: &Vault) -> Vec<(String, String)> {
    let named = |snapshot: &Value| (text(snapshot, "host"), text(snapshot, "series"));
    vault.snapshots().iter().map(named).collect()
}

fn check(vault: &Vault) -> Value {
    vault.run(["check", "--read-data", "--json"]).expect(exit::OK).json()
}

fn foreign(report: &Value) -> Vec<String> {
    report["foreign"].as_array().unwrap().iter().map(|one| text(one, "object")).collect()
}

/// The streams of a snapshot, as somebody with the full key sees them.
fn streams(vault: &Vault, id: &str) -> Vec<Stream> {
    let around = Surroundings::new(Arc::new(OsEntropy), vault.home().join("library"));
    let repo = Repository::open(Arc::new(storage(vault)), &credential(&vault.key_file()), &around).unwrap();
    let mut catalog = repo.catalog(&Silent).unwrap();
    repo.body(&mut catalog, &id.parse().unwrap()).unwrap().streams
}

/// Demands words on standard output.
#[track_caller]
fn tells(output: Output, words: &str) {
    assert!(output.text().contains(words), "no `{words}` in {output}");
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// Sets when the storage says that an object was put.
fn put_at(vault: &Vault, key: &str, time: SystemTime) {
    let path = vault.repo().join(key);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    File::options().write(true).open(path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
}

/// All objects as if they had been put so long ago.
fn age(vault: &Vault, by: Duration) {
    for key in vault.objects() {
        let put = fs::metadata(vault.repo().join(&key)).unwrap().modified().unwrap();
        put_at(vault, &key, put - by);
    }
}

const DAY: Duration = Duration::from_secs(86_400);
const PRUNE: [&str; 3] = ["prune", "--grace", "0"];

// --- limits of append keys

#[test]
fn given_an_append_key_of_one_host_and_series_then_it_is_refused_any_other_and_stores_nothing() {
    let vault = Vault::new();
    let web = Machine::added(&vault, "web", &["--host", "web", "--series", "app"]);
    web.backup("app", "web", &noise(1, 50_000), &[]).expect(exit::OK);
    let before = (vault.objects_in("snapshots"), vault.objects_in("marks"));
    for (series, host) in [("app", "db"), ("other", "web")] {
        let refused = web.backup(series, host, &noise(2, 50_000), &[]);
        refused.expect(exit::WRONG_KEY).says("may not add to that series of that host").says("key grant");
    }
    assert_eq!((vault.objects_in("snapshots"), vault.objects_in("marks")), before);
    assert_eq!(hosts(&vault), [("web".to_owned(), "app".to_owned())]);
    vault.run(["key", "grant", "web", "--host", "db", "--all-series"]).expect(exit::OK);
    web.backup("other", "db", &noise(2, 50_000), &[]).expect(exit::OK);
    assert_eq!(hosts(&vault).len(), 2);
}

#[test]
fn given_a_host_that_one_append_key_has_then_another_gets_it_only_when_it_is_said_that_they_share() {
    let vault = Vault::new();
    Machine::added(&vault, "one", &["--host", "web"]);
    let key = vault.home().join("two.key");
    let add = ["key", "add", "--append", "--name", "two", "--host", "web", "--new-key-file"];
    let add = || add.into_iter().chain([key.to_str().unwrap()]);
    vault.run(add()).expect(exit::REFUSED).says("--share");
    vault.run(add().chain(["--share"])).expect(exit::OK);
    let keys = vault.run(["key", "list", "--json"]).expect(exit::OK).json();
    let of_web = |author: &&Value| author["hosts"] == serde_json::json!(["web"]);
    assert_eq!(keys["authors"].as_array().unwrap().iter().filter(of_web).count(), 2, "{keys}");
}

#[test]
fn given_snapshots_that_an_append_key_forged_for_others_then_they_count_for_nothing_and_keep_what_they_reach()
{
    let vault = Vault::new();
    let lost = noise(1, 300_000);
    let first = vault.backup_with("app", &lost, &["--host", "db"]);
    let second = vault.backup_with("app", &noise(2, 300_000), &["--host", "db"]);
    let web = Machine::added(&vault, "web", &["--host", "web"]);
    let forger = web.forger();
    let storage = storage(&vault);
    // The newest of another host's series, by counter and time, over streams that exist; committed by its own mark.
    let head = forger.head("app", "db", now_ms(), 99);
    let forged = put(&storage, "snapshots", &forger.snapshot(&head, streams(&vault, &first))).unwrap();
    put(&storage, "marks", &forger.mark(MarkKind::Committed, &forged, Some("app"))).unwrap();
    let mut badly = web.forger();
    badly.signs_badly = true;
    let own = badly.head("app", "web", now_ms(), 1);
    let unsigned = put(&storage, "snapshots", &badly.snapshot(&own, streams(&vault, &first))).unwrap();

    assert_eq!(vault.ids(), [first.clone(), second.clone()]);
    assert!(vault.restore("app").expect(exit::OK).stdout == noise(2, 300_000));
    tells(vault.run(["check"]).expect(exit::OK), "2 foreign objects: dumpvault check --foreign");
    let told = vault.run(["check", "--foreign"]).expect(exit::OK).text();
    assert!(told.contains(&forged) && told.contains(&unsigned), "{told}");
    assert!(told.contains("may not add to that series of that host"), "{told}");
    assert!(told.contains("signature is not that of its author"), "{told}");

    // What only they reach outlives a prune, and goes once they do.
    vault.run(["forget", &first, "--force"]).expect(exit::OK);
    vault.run(PRUNE).expect(exit::OK);
    let kept = vault.repo_bytes();
    assert!(kept > 550_000, "{kept}");
    // Somebody must be there to say that it is meant.
    vault.run(["restore", &forged[10..], "--output", "-"]).expect(exit::REFUSED);
    web.run(&["forget", "--foreign"]).expect(exit::WRONG_KEY);
    assert_eq!(foreign(&check(&vault)).len(), 2);
    tells(vault.run(["forget", "--foreign", "--dry-run"]).expect(exit::OK), "would remove 2 foreign objects");
    assert_eq!(foreign(&check(&vault)).len(), 2);
    tells(vault.run(["forget", "--foreign"]).expect(exit::OK), "removed 2 foreign objects");
    assert_eq!(foreign(&check(&vault)), [] as [String; 0]);
    vault.run(PRUNE).expect(exit::OK);
    assert!(vault.repo_bytes() < kept - 250_000, "{kept} -> {}", vault.repo_bytes());
    assert!(vault.restore("app").expect(exit::OK).stdout == noise(2, 300_000));
}

// --- lies

/// Two snapshots of `db/app` over data of which they share the most, and the append key of `web`.
fn two_and_web(vault: &Vault) -> (Machine<'_>, [String; 2]) {
    let shared = noise(1, 400_000);
    let first = vault.backup_with("app", &shared, &["--host", "db"]);
    let second = vault.backup_with("app", &[shared, noise(2, 100_000)].concat(), &["--host", "db"]);
    (Machine::added(vault, "web", &["--host", "web"]), [first, second])
}

/// That all of a stream was found but for a last chunk that is too short (16 KiB) for an id that tells what it is.
/// Where chunks end is the key's secret, so that a run here and there has one.
#[track_caller]
fn assert_all_known(known: u64, bytes: u64, what: &str) {
    assert!((bytes - 16 * 1024 + 1..=bytes).contains(&known), "{what}: {known} of {bytes}");
}

#[track_caller]
fn both_restore(vault: &mut Vault, ids: &[String; 2]) {
    for is_fresh in [false, true] {
        if is_fresh {
            vault.forget_cache();
        }
        let shared = noise(1, 400_000);
        assert!(vault.restore(&ids[0]).expect(exit::OK).stdout == shared, "fresh cache: {is_fresh}");
        let second = [shared, noise(2, 100_000)].concat();
        assert!(vault.restore(&ids[1]).expect(exit::OK).stdout == second, "fresh cache: {is_fresh}");
    }
}

#[test]
fn given_an_append_key_whose_indexes_lie_then_a_prune_loses_nothing_of_others_and_removes_the_junk() {
    for denies in [false, true] {
        let mut vault = Vault::new();
        let (web, ids) = two_and_web(&vault);
        let (forger, storage) = (web.forger(), storage(&vault));
        drop(web);
        let packs = forger.packs(&storage).unwrap();
        let mut junk = Vec::new();
        let mut said = Vec::new();
        for (seed, kind) in (900..).zip([BlockKind::Data, BlockKind::Recipe]) {
            let table = table_of_all(&packs, kind);
            let bytes = noise(seed, table.end() as usize);
            let key = put(&storage, "packs", &bytes).unwrap();
            said.push(IndexedPack { id: key[9..].parse().unwrap(), bytes: bytes.len() as u64, table });
            junk.push(key);
        }
        put(&storage, "index", &forger.index(said)).unwrap();
        if denies {
            let nothing =
                packs.iter().map(|pack| IndexedPack { table: Default::default(), ..pack.clone() }).collect();
            put(&storage, "index", &forger.index(nothing)).unwrap();
        }
        age(&vault, 3 * DAY);
        vault.run(["check"]).expect_one_of(&[exit::OK, exit::INTEGRITY]);
        for _ in 0..2 {
            vault.run(PRUNE).expect(exit::OK);
            vault.forget_cache();
        }
        let left = vault.objects_in("packs");
        let gone = packs.iter().filter(|pack| !left.contains(&dumpvault::vault::pack_key(&pack.id)));
        assert_eq!(gone.count(), 0, "denies: {denies}");
        assert!(junk.iter().all(|junk| !left.contains(junk)), "denies: {denies}: {left:?}");
        both_restore(&mut vault, &ids);
        // A backup of the same bytes rests on what it has seen.
        let again = vault.backup_with("app", &noise(1, 400_000), &["--host", "db"]);
        assert!(vault.restore(&again).expect(exit::OK).stdout == noise(1, 400_000));
    }
}

#[test]
fn given_packs_that_an_append_key_names_then_no_other_relies_on_what_it_did_not_open() {
    let vault = Vault::new();
    let [web, late, far] = ["web", "late", "far"].map(|name| Machine::added(&vault, name, &["--host", name]));
    let full = Machine::full(&vault, "ops");
    let known = |machine: &Machine<'_>, host: &str, bytes: &[u8], options: &[&str]| {
        let options = [&["--json", "--no-parent"], options].concat();
        let json = machine.backup("app", host, bytes, &options).expect(exit::OK).json();
        number(&json["results"][0]["snapshot"]["streams"][0], "bytes_known")
    };
    let bytes = noise(6, 300_000);
    web.backup("app", "web", &bytes, &[]).expect(exit::OK);
    let trusting = vault.home().join("trusting.toml");
    fs::write(&trusting, "dedup = \"all\"\n").unwrap();
    assert_eq!(known(&late, "late", &bytes, &[]), 0, "another append key stores it again");
    assert_all_known(
        known(&far, "far", &bytes, &["--config", trusting.to_str().unwrap()]),
        300_000,
        "unless told",
    );
    assert_all_known(known(&full, "db", &bytes, &[]), 300_000, "a full key opens the blocks");

    // An index that says where other bytes are: as if they had been stored, and in a pack that holds noise.
    let others = [noise(7, 300_000), noise(8, 300_000)];
    let copy = vault.home().join("copy");
    copy_folder(&vault.repo(), &copy);
    for other in &others {
        let mut there = web.command(&["backup", "--stdin", "--series", "app", "--host", "web"]);
        there.env("DUMPVAULT_REPOSITORY", &copy);
        run(there, other).expect(exit::OK);
    }
    let (forger, storage) = (web.forger(), storage(&vault));
    let before = forger.packs(&storage).unwrap();
    let mut packs = forger.packs(&LocalStorage::open(&copy).unwrap()).unwrap();
    packs.retain(|pack| !before.iter().any(|known| known.id == pack.id));
    let table = table_of_all(&packs, BlockKind::Data);
    let junk = noise(900, table.end() as usize);
    let key = put(&storage, "packs", &junk).unwrap();
    let said = IndexedPack { id: key[9..].parse().unwrap(), bytes: junk.len() as u64, table };
    put(&storage, "index", &forger.index(vec![said])).unwrap();
    for ((machine, host), other) in [(&full, "db"), (&late, "late")].into_iter().zip(&others) {
        assert_eq!(known(machine, host, other, &[]), 0, "{host}");
        let restored = full.run(&["restore", &format!("{host}/app"), "--output", "-"]).expect(exit::OK);
        assert!(restored.stdout == *other, "{host}");
    }
}

#[test]
fn given_marks_sessions_and_plans_of_an_append_key_then_others_snapshots_stay_as_they_are() {
    let mut vault = Vault::new();
    let (web, ids) = two_and_web(&vault);
    let (forger, storage) = (web.forger(), storage(&vault));
    drop(web);
    vault.run(["tag", &ids[0], "--add", "keep-forever"]).expect(exit::OK);
    let object = format!("snapshots/{}", ids[0]);
    let pack = dumpvault::vault::pack_key(&forger.packs(&storage).unwrap()[0].id);
    for (kind, value) in [
        (MarkKind::Tags, Some("")),
        (MarkKind::Pinned, None),
        (MarkKind::Damaged, Some("rot")),
        (MarkKind::Verified, None),
        (MarkKind::Cleared, None),
        (MarkKind::GivenUp, None),
        (MarkKind::TimeConfirmed, None),
    ] {
        put(&storage, "marks", &forger.mark(kind, &object, value)).unwrap();
    }
    put(&storage, "marks", &forger.mark(MarkKind::Forgotten, "snapshots", Some(&ids[0]))).unwrap();
    put(&storage, "marks", &forger.mark(MarkKind::Damaged, &pack, Some("rot"))).unwrap();
    let all = forger.packs(&storage).unwrap().iter().map(|pack| pack.id).collect();
    let plan = put(&storage, "gc", &forger.plan(all)).unwrap();
    let session = "ab".repeat(16).parse().unwrap();
    let (prune, bytes) = forger.session(SessionKind::Prune, session, 0, None);
    storage.put(&prune, &bytes).unwrap();
    age(&vault, 3 * DAY);
    storage.put(&format!("sessions/{}-0", "cd".repeat(16)), b"no session").unwrap();

    let first = vault.snapshot(&ids[0]);
    assert_eq!(text(&first, "state"), "complete");
    assert!(first["tags"].as_array().unwrap().contains(&"keep-forever".into()), "{first}");
    assert!(first["pinned"] != true && first["verified"].is_null(), "{first}");
    vault.run(["check", "--read-data"]).expect(exit::OK);
    vault.run(PRUNE).expect(exit::OK);
    both_restore(&mut vault, &ids);
    assert_eq!(vault.objects_in("sessions"), [] as [String; 0]);
    let _ = plan;
}

#[test]
fn given_a_forged_slot_that_says_it_is_a_full_key_then_the_last_full_key_is_not_removed() {
    let vault = Vault::new();
    let (web, _) = two_and_web(&vault);
    let forger = web.forger();
    let label = SlotLabel {
        text: "offsite copy".into(),
        created_ms: 0,
        role: dumpvault::vault::crypto::Role::Full,
        author: forger.keys.author().id(),
    };
    let slot = Slot::seal(forger.repo, &forger.keys, &credential(&web.key), &label, &OsEntropy);
    put(&storage(&vault), "keys", &slot.unwrap()).unwrap();
    let keys = vault.run(["key", "list", "--json"]).expect(exit::OK).json();
    let current = keys["keys"].as_array().unwrap().iter().find(|slot| slot["current"] == true).unwrap();
    let id = text(current, "id");
    for force in [&[][..], &["--force"]] {
        vault.run(["key", "remove", &id].iter().chain(force)).expect(exit::REFUSED).says("the last full key");
    }
    web.run(&["key", "remove", &id, "--force"]).expect(exit::WRONG_KEY);
    vault.run(["snapshots"]).expect(exit::OK);
}

#[test]
fn given_a_full_key_whose_slot_is_gone_then_the_last_slot_of_a_full_key_goes_only_by_force() {
    let vault = Vault::new();
    let id = vault.backup("app", &noise(1, 40_000));
    let ops = Machine::full(&vault, "ops");
    Machine::added(&vault, "web", &["--host", "web"]);
    let slot_of = |label: &str| {
        let keys = vault.run(["key", "list", "--json"]).expect(exit::OK).json();
        let slots = keys["keys"].as_array().unwrap().iter();
        slots.filter(|slot| slot["label"] == label).map(|slot| text(slot, "id")).collect::<Vec<_>>()
    };
    let own = slot_of("").remove(0);
    // Another full key has its slot: then only the one in use is asked for.
    vault.run(["key", "remove", &own]).expect(exit::REFUSED).says("it is the one in use");
    vault.run(["key", "remove", &slot_of("ops")[0]]).expect(exit::OK);
    let keys = vault.run(["key", "list", "--json"]).expect(exit::OK).json();
    let full = keys["authors"].as_array().unwrap().iter().filter(|author| author["role"] == "full").count();
    assert_eq!(full, 2, "both are stated, one has a slot: {keys}");
    ops.run(&["snapshots"]).expect(exit::WRONG_KEY);
    let kept = vault.home().join("kept");
    vault.run(["key", "export", kept.to_str().unwrap()]).expect(exit::OK);
    vault
        .run(["key", "remove", &own])
        .expect(exit::REFUSED)
        .says("the last slot of a full key")
        .says("export");
    vault.run(["snapshots"]).expect(exit::OK);
    vault.run(["key", "remove", &own, "--force"]).expect(exit::OK);
    vault.restore(&id).expect(exit::WRONG_KEY);
    let with = ["restore", &id, "--output", "-", "--key-slot", kept.to_str().unwrap()];
    assert!(vault.run(with).expect(exit::OK).stdout == noise(1, 40_000));
    vault.run(["key", "import", kept.to_str().unwrap()]).expect(exit::OK);
    vault.restore(&id).expect(exit::OK);
}

#[test]
fn given_the_only_full_key_opened_with_an_exported_slot_then_the_slot_that_is_left_is_not_removed() {
    let vault = Vault::new();
    let kept = vault.home().join("kept");
    vault.run(["key", "export", kept.to_str().unwrap()]).expect(exit::OK);
    let new = vault.home().join("new.key");
    vault.run(["key", "passwd", "--new-key-file", new.to_str().unwrap()]).expect(exit::OK);
    let slot = vault.objects_in("keys").remove(0).split_off(5);
    for force in [&[][..], &["--force"]] {
        let args = ["key", "remove", &slot, "--key-slot", kept.to_str().unwrap()];
        vault.run(args.iter().chain(force)).expect(exit::REFUSED).says("it is the last full key");
    }
    let renewed = Machine::with(&vault, "renewed", &new);
    renewed.run(&["snapshots"]).expect(exit::OK);
}

// --- junk

#[test]
fn given_a_hundred_older_slots_that_others_open_then_a_fresh_machine_finds_its_own() {
    let vault = Vault::new();
    let id = vault.backup("app", &noise(1, 40_000));
    let web = Machine::added(&vault, "web", &["--host", "web"]);
    let thief = web.forger();
    let (repo, keys, key) = (thief.repo, &thief.keys, credential(&web.key));
    for number in 0..100 {
        let (text, role, author) = (number.to_string(), keys.role(), keys.author().id());
        let label = SlotLabel { text, created_ms: 0, role, author };
        let slot = Slot::seal(repo, keys, &key, &label, &OsEntropy).unwrap();
        let key = put(&storage(&vault), "keys", &slot).unwrap();
        put_at(&vault, &key, SystemTime::now() - Duration::from_secs(1_000_000));
    }
    let fresh = Machine::with(&vault, "fresh", &vault.key_file());
    assert!(fresh.run(&["restore", &id, "--output", "-"]).expect(exit::OK).stdout == noise(1, 40_000));
    let listed = fresh.run(&["key", "list", "--json"]).expect(exit::OK).json();
    assert_eq!(listed["keys"].as_array().unwrap().iter().filter(|slot| slot["current"] == true).count(), 1);
}

/// What anybody can put who has no key: bytes that are their name's, and bytes that are not.
fn put_junk(vault: &Vault, is_named_so: bool) {
    let storage = storage(vault);
    let repo = Repository::identify(&storage).unwrap().id;
    for (seed, folder) in (0u64..).zip(["keys", "marks", "index", "snapshots", "authors", "epochs", "gc"]) {
        let kind = match folder {
            "keys" => ObjectType::KeySlot,
            "marks" => ObjectType::Mark,
            "index" => ObjectType::Index,
            "snapshots" => ObjectType::Snapshot,
            "authors" => ObjectType::Author,
            "epochs" => ObjectType::Epoch,
            _ => ObjectType::PrunePlan,
        };
        let header = Header { kind, epoch: 0, repo };
        for n in 0..70 {
            let seed = seed * 1000 + n;
            let headless = noise(seed, 3 + n as usize);
            let bytes = if n % 2 == 0 { [&header.to_bytes()[..], &headless].concat() } else { headless };
            let key = match is_named_so {
                true => key_of(folder, &bytes),
                false => key_of(folder, &noise(seed + 1_000_000, 10)),
            };
            storage.put(&key, &bytes).unwrap();
        }
    }
}

#[test]
fn given_junk_in_every_folder_then_no_command_stops_for_it() {
    for is_named_so in [true, false] {
        let mut vault = Vault::new();
        let (web, ids) = two_and_web(&vault);
        put_junk(&vault, is_named_so);
        let key = vault.home().join("new.key");
        let add = ["key", "add", "--name", "new", "--new-key-file", key.to_str().unwrap()];
        vault.run(add).expect(exit::OK);
        let stored = web.backup("app", "web", &noise(3, 50_000), &[]).expect(exit::OK);
        let listed = vault.run(["snapshots"]).expect(exit::OK);
        if !is_named_so {
            // Told in a word, and not for each.
            for output in [stored, listed] {
                let said = output.says("objects are damaged: `dumpvault check` names them").stderr.clone();
                assert!(said.lines().count() < 100, "{said}");
            }
        }
        drop(web);
        // Of damaged marks one may commit a damaged snapshot: nothing goes for some days.
        let pruned = vault.run(PRUNE).expect(exit::OK);
        assert_eq!(pruned.text().contains("nothing is deleted before"), !is_named_so, "{pruned}");
        vault.run(["check"]).expect(if is_named_so { exit::OK } else { exit::INTEGRITY });
        for command in [
            &["snapshots"][..],
            &["stats"],
            &["tag", &ids[0], "--add", "seen"],
            &["key", "rotate"],
            &["forget", "--keep-last", "5"],
            &["repair", "marks"],
            &PRUNE,
        ] {
            vault.run(command).expect(exit::OK);
        }
        both_restore(&mut vault, &ids);
    }
}

// --- a storage that was turned back

#[test]
fn given_an_older_copy_in_the_place_of_the_repository_then_backups_go_on_and_all_else_asks_first() {
    let mut vault = Vault::new();
    vault.backup_with("app", &noise(1, 50_000), &["--host", "db"]);
    let copy = vault.home().join("copy");
    copy_folder(&vault.repo(), &copy);
    vault.backup_with("app", &noise(2, 50_000), &["--host", "db"]);
    fs::remove_dir_all(vault.repo()).unwrap();
    copy_folder(&copy, &vault.repo());
    vault.forget_cache();

    let args = ["backup", "--stdin", "--series", "app", "--host", "db"];
    vault.run_with(args, &noise(3, 50_000)).expect(exit::INTEGRITY).says("turned back");
    vault.run(["forget", "--keep-last", "1", "--force"]).expect(exit::INTEGRITY).says("was not forgotten");
    vault.run(PRUNE).expect(exit::INTEGRITY).says("was not forgotten");
    vault.run(["key", "rotate"]).expect(exit::INTEGRITY).says("was not forgotten");
    tells(vault.run(["check"]).expect(exit::INTEGRITY), "turned back");
    vault.restore("app").expect(exit::REFUSED).says("--accept-rollback").says("now stands for snapshot");
    vault.run(["tag", "app", "--add", "seen"]).expect(exit::REFUSED).says("turned back");
    for list in [&["snapshots"][..], &["show", "app"], &["ls", "app"], &["stats"]] {
        vault.run(list).expect(exit::OK).says("turned back").says("was not forgotten");
    }
    for list in ["snapshots", "stats"] {
        let report = vault.run([list, "--json"]).expect(exit::OK).json();
        let words = report["turned_back"][0].as_str().unwrap().to_owned();
        assert!(words.contains("/app`, which this host has seen, is missing"), "{report}");
        assert!(report["warnings"][0].as_str().unwrap().contains(&words), "{report}");
    }
    let by_id = vault.ids().pop().unwrap();
    vault.restore(&by_id).expect(exit::OK).says("turned back");
    assert_eq!(vault.ids().len(), 2, "the backup was stored all the same");

    // A machine that has seen nothing cannot know; the others are told so by an honest host's next backup.
    let fresh = Machine::with(&vault, "fresh", &vault.key_file());
    assert!(fresh.run(&["restore", "app", "--output", "-"]).expect(exit::OK).stdout == noise(3, 50_000));

    let accepted = vault.run(["restore", "app", "--output", "-", "--accept-rollback"]).expect(exit::OK);
    assert!(accepted.stdout == noise(3, 50_000));
    assert!(vault.restore("app").expect(exit::OK).stdout == noise(3, 50_000), "the answer is remembered");
    vault.run(["forget", "--keep-last", "5"]).expect(exit::OK);
    vault.run(PRUNE).expect(exit::OK);
    vault.run(["check"]).expect(exit::OK);
}

#[test]
fn given_an_older_copy_then_one_host_that_saw_more_tells_all_others() {
    let vault = Vault::new();
    let web = Machine::added(&vault, "web", &["--host", "web"]);
    vault.backup_with("app", &noise(1, 50_000), &["--host", "db"]);
    let gone = vault.objects();
    web.backup("app", "web", &noise(2, 50_000), &[]).expect(exit::OK);
    // Of full keys the word counts; it saw the other's newest.
    vault.backup_with("app", &noise(3, 50_000), &["--host", "db"]);
    let fresh = Machine::with(&vault, "fresh", &vault.key_file());
    let web_mark = |key: &String| !gone.contains(key) && key.starts_with("snapshots/");
    let of_web =
        vault.snapshots().iter().find(|one| one["host"] == "web").map(|one| text(one, "id")).unwrap();
    assert!(vault.objects().iter().filter(|key| web_mark(key)).count() == 2);
    // Snapshot and marks of `web` vanish.
    fs::remove_file(vault.repo().join(format!("snapshots/{of_web}"))).unwrap();
    tells(fresh.run(&["check"]).expect(exit::INTEGRITY), "has seen, is missing and was not forgotten");
    fresh.run(&["forget", "--keep-last", "1"]).expect(exit::INTEGRITY);
    fresh
        .run(&["forget", "--keep-last", "1", "--accept-rollback"])
        .expect_one_of(&[exit::OK, exit::INTEGRITY]);
}

// --- rotation

#[test]
fn given_a_rotation_then_every_key_goes_on_and_old_snapshots_restore() {
    let mut vault = Vault::new();
    let (web, ids) = two_and_web(&vault);
    let ops = Machine::full(&vault, "ops");
    // Both were here before, and are away while it happens.
    web.backup("app", "web", &noise(3, 50_000), &[]).expect(exit::OK);
    ops.run(&["snapshots"]).expect(exit::OK);
    let slots = vault.objects_in("keys").len();
    let rotated = vault.run(["key", "rotate", "--json"]).expect(exit::OK).json();
    assert_eq!((number(&rotated, "epoch"), number(&rotated, "authors")), (1, 3), "{rotated}");
    vault.run(["key", "rotate"]).expect(exit::OK);
    assert_eq!(vault.objects_in("keys").len(), slots, "the slot in use was replaced");

    web.backup("app", "web", &noise(3, 60_000), &[]).expect(exit::OK);
    let fresh = Machine::with(&vault, "fresh", &web.key);
    fresh.backup("app", "web", &noise(4, 60_000), &[]).expect(exit::OK);
    assert!(ops.run(&["restore", &ids[0], "--output", "-"]).expect(exit::OK).stdout == noise(1, 400_000));
    ops.run(&["key", "list"]).expect(exit::OK);
    assert_eq!(foreign(&check(&vault)), [] as [String; 0]);
    ops.run(&PRUNE).expect(exit::OK);
    drop((web, ops, fresh));
    both_restore(&mut vault, &ids);
    assert_eq!(vault.ids().len(), 5);
}

#[test]
fn given_a_revoked_key_and_a_new_content_root_then_the_price_is_told_and_all_other_keys_store_under_it() {
    let mut vault = Vault::new();
    let (web, ids) = two_and_web(&vault);
    web.backup("app", "web", &noise(3, 300_000), &[]).expect(exit::OK);
    let away = Machine::added(&vault, "away", &["--host", "away"]);
    let old = Repository::open(
        Arc::new(storage(&vault)),
        &credential(&web.key),
        &Surroundings::new(Arc::new(OsEntropy), vault.home().join("thief")),
    )
    .unwrap();
    let revoke = ["key", "revoke", "web", "--content"];
    vault
        .run(revoke)
        .expect(exit::REFUSED)
        .says("the next backup of each series is a full one")
        .says("--yes");
    assert_eq!(vault.objects_in("epochs"), [] as [String; 0], "nothing was changed");
    vault.run(["key", "rotate", "--yes"]).expect(exit::USAGE);
    let revoked = vault.run(revoke.iter().chain(&["--yes", "--json"])).expect(exit::OK).json();
    assert_eq!((number(&revoked, "epoch"), number(&revoked, "content_generation")), (1, 1), "{revoked}");
    web.run(&["snapshots"]).expect(exit::WRONG_KEY);

    // What the revoked key holds names nothing of what is stored from now on.
    let around = Surroundings::new(Arc::new(OsEntropy), vault.home().join("now"));
    let now = Repository::open(Arc::new(storage(&vault)), &credential(&vault.key_file()), &around).unwrap();
    assert!(!now.is_alike(&old));
    // A key that was given before, from a machine that was away; and one that is given now.
    let late = Machine::added(&vault, "late", &["--host", "late"]);
    for (machine, host) in [(&away, "away"), (&late, "late")] {
        let stored = |bytes: &[u8]| {
            let json = machine.backup("app", host, bytes, &["--json"]).expect(exit::OK).json();
            json["results"][0]["snapshot"]["streams"][0].clone()
        };
        let first = stored(&noise(3, 300_000));
        assert_eq!(number(&first, "bytes_known"), 0, "{first}");
        let again = stored(&noise(3, 300_000));
        assert_all_known(number(&again, "bytes_known"), 300_000, host);
    }
    // With the full key it is as on the first day, and from then on as ever.
    let like = number(&vault.snapshot(&ids[0]), "bytes");
    let day = |seed| [noise(1, like as usize), noise(seed, 2_000)].concat();
    let ids_before = vault.ids();
    vault.backup_with("app", &day(8), &["--host", "db"]);
    vault.backup_with("app", &day(9), &["--host", "db"]);
    let mut new = vault.snapshots();
    new.retain(|one| !ids_before.contains(&text(one, "id")));
    assert!(new[0]["parent"].is_null() && new[1]["parent"] == new[0]["id"], "{new:?}");
    assert_eq!(number(&new[0]["streams"][0], "bytes_copied"), 0);
    assert_eq!(number(&new[0]["streams"][0], "bytes_known"), 0);
    assert_eq!(number(&new[1]["streams"][0], "bytes_new"), 2_000);
    assert_eq!(foreign(&check(&vault)), [] as [String; 0]);
    vault.run(PRUNE).expect(exit::OK);
    for one in &new {
        vault.restore(&text(one, "id")).expect(exit::OK);
    }
    drop((web, away, late));
    both_restore(&mut vault, &ids);
}

#[test]
fn given_a_backup_under_way_when_keys_are_rotated_then_it_is_fenced_and_the_next_try_succeeds() {
    let vault = Vault::new();
    let web = Machine::added(&vault, "web", &["--host", "web"]);
    let args = ["backup", "--stdin", "--series", "app", "--host", "web"];
    let mut running = cli::Running::start(web.command(&args));
    // It has registered once it takes more than a pipe holds.
    assert!(running.feed(&noise(1, 20 << 20)));
    let rotated = vault.run(["key", "rotate", "--end-sessions", "--json"]).expect(exit::OK).json();
    assert_eq!(number(&rotated, "sessions_ended"), 1, "{rotated}");
    running.wait().expect(exit::CONFLICT);
    assert_eq!(vault.ids(), [] as [String; 0]);
    web.backup("app", "web", &noise(1, 20 << 20), &[]).expect(exit::OK);
    assert_eq!(vault.ids().len(), 1);
    assert_eq!(foreign(&check(&vault)), [] as [String; 0]);
}

#[test]
fn given_a_revoked_key_then_it_opens_nothing_and_what_it_writes_with_old_keys_counts_for_nothing() {
    let mut vault = Vault::new();
    let (web, ids) = two_and_web(&vault);
    web.backup("app", "web", &noise(3, 50_000), &[]).expect(exit::OK);
    let thief = web.forger();
    vault.run(["key", "revoke", "nobody"]).expect(exit::USAGE).says("web");
    vault.run(["key", "revoke", "web"]).expect(exit::OK);
    web.backup("app", "web", &noise(4, 50_000), &[]).expect(exit::WRONG_KEY).says("was revoked");
    web.run(&["snapshots"]).expect(exit::WRONG_KEY);
    let fresh = Machine::with(&vault, "fresh", &web.key);
    fresh.run(&["snapshots"]).expect(exit::WRONG_KEY).says("was revoked");
    let keys = vault.run(["key", "list", "--json"]).expect(exit::OK).json();
    let revoked = keys["authors"].as_array().unwrap().iter().filter(|author| author["revoked"] == true);
    assert_eq!(revoked.map(|author| text(author, "name")).collect::<Vec<_>>(), ["web"]);

    // The bundle that was copied before.
    let storage = storage(&vault);
    let head = thief.head("app", "web", now_ms(), 9);
    let forged = put(&storage, "snapshots", &thief.snapshot(&head, streams(&vault, &ids[0]))).unwrap();
    let mark = put(&storage, "marks", &thief.mark(MarkKind::Committed, &forged, Some("app"))).unwrap();
    let packs = thief.packs(&storage).unwrap();
    let nothing = packs.into_iter().map(|pack| IndexedPack { table: Default::default(), ..pack }).collect();
    let index = put(&storage, "index", &thief.index(nothing)).unwrap();
    drop((web, fresh));
    let of_web = || vault.snapshots().iter().filter(|one| one["host"] == "web").count();
    assert_eq!(of_web(), 1, "what it stored before counts");
    let mut told = foreign(&check(&vault));
    told.sort();
    assert_eq!(told, [index, mark, forged]);
    vault.run(PRUNE).expect(exit::OK);
    both_restore(&mut vault, &ids);
}

#[test]
fn given_a_key_revoked_since_a_moment_then_what_it_stored_later_is_gone_and_all_else_is_whole() {
    let mut vault = Vault::new();
    let (web, ids) = two_and_web(&vault);
    web.backup("app", "web", &noise(3, 300_000), &[]).expect(exit::OK);
    let early = vault.ids().into_iter().find(|id| !ids.contains(id)).unwrap();
    age(&vault, 3 * DAY);
    // The same bytes and more: the later snapshot rests on what was stored before.
    web.backup("app", "web", &[noise(3, 300_000), noise(4, 50_000)].concat(), &[]).expect(exit::OK);
    let late = vault.ids().into_iter().find(|id| !ids.contains(id) && *id != early).unwrap();
    // Two hosts remember the later one, and one's snapshot vouches for it.
    let ops = Machine::full(&vault, "ops");
    ops.run(&["snapshots"]).expect(exit::OK);
    vault.backup_with("other", &noise(5, 20_000), &["--host", "db"]);
    let since = (jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24)).to_string();
    let revoked = vault.run(["key", "revoke", "web", "--since", &since, "--json"]).expect(exit::OK).json();
    assert!(number(&revoked, "objects_dropped") >= 3, "{revoked}");
    assert!(!vault.ids().contains(&late) && vault.ids().contains(&early));
    assert!(foreign(&check(&vault)).contains(&format!("snapshots/{late}")));
    vault.run(["forget", "--foreign"]).expect(exit::OK);
    drop(web);
    // Nobody takes that for a rollback.
    ops.run(&["forget", "--keep-last", "5"]).expect(exit::OK);
    ops.run(&PRUNE).expect(exit::OK);
    drop(ops);
    vault.run(["check", "--read-data"]).expect(exit::OK);
    let fresh = Machine::with(&vault, "fresh", &vault.key_file());
    assert!(fresh.run(&["restore", &early, "--output", "-"]).expect(exit::OK).stdout == noise(3, 300_000));
    drop(fresh);
    both_restore(&mut vault, &ids);
}

#[test]
fn given_two_objects_that_close_one_epoch_then_a_person_says_which_holds() {
    let vault = Vault::new();
    let (web, ids) = two_and_web(&vault);
    let copy = vault.home().join("copy");
    copy_folder(&vault.repo(), &copy);
    vault.run(["key", "rotate"]).expect(exit::OK);
    let right = vault.objects_in("epochs").remove(0);
    let thief = Machine::with(&vault, "thief", &vault.key_file());
    let mut rotate = thief.command(&["key", "rotate"]);
    rotate.env("DUMPVAULT_REPOSITORY", &copy);
    run(rotate, b"").expect(exit::OK);
    for file in cli::files_below(&copy.join("epochs")) {
        fs::copy(copy.join("epochs").join(&file), vault.repo().join("epochs").join(&file)).unwrap();
    }
    // The slot of the append key is of the epoch before both.
    web.run(&["snapshots"]).expect(exit::INTEGRITY).says("--trust-epoch");
    let id = &right["epochs/".len()..];
    let listed = web.run(&["snapshots", "--json", "--trust-epoch", id]).expect(exit::OK).json();
    assert_eq!(listed["snapshots"].as_array().unwrap().len(), 2);
    web.run(&["snapshots"]).expect(exit::OK);
    // A slot of the epoch that holds tells by itself.
    assert!(vault.restore(&ids[0]).expect(exit::OK).stdout == noise(1, 400_000));
}

// --- times

#[test]
fn given_a_time_that_is_yet_to_come_then_it_is_refused_and_one_that_is_past_makes_an_import() {
    let vault = Vault::new();
    let args = ["backup", "--stdin", "--series", "app", "--time"];
    vault.run_with(args.iter().chain(&["2099-01-01T00:00:00Z"]), b"x").expect(exit::USAGE).says("2099");
    assert_eq!(vault.ids(), [] as [String; 0]);
    let (old, new, older) = (noise(1, 40_000), noise(2, 40_000), noise(3, 40_000));
    let first = vault.backup_with("app", &old, &["--time", "2026-10-01T03:00:00Z"]);
    assert!(vault.restore("app").expect(exit::OK).stdout == old, "the only one there is");
    vault.backup("app", &new);
    let yesterday = (jiff::Timestamp::now() - jiff::SignedDuration::from_hours(25)).to_string();
    let second = vault.backup_with("app", &older, &["--time", &yesterday]);
    assert!(vault.restore("app").expect(exit::OK).stdout == new, "an import is never the newest");
    for id in [&first, &second] {
        assert_eq!(vault.snapshot(id)["counter"].as_u64().unwrap_or(0), 0);
    }
    vault.run(["forget", "--keep-last", "1", "--force"]).expect(exit::OK);
    assert!(vault.restore("app").expect(exit::OK).stdout == new);
}

/// Snapshots of `host/app` that were put on the days before today, a little after what they say.
fn dailies(vault: &Vault, by: &Forger, host: &str, like: &str, days: u64, counter: u64) -> Vec<String> {
    let storage = storage(vault);
    let of_day = |day: u64| {
        let put_ms = now_ms() - (day as i64) * 86_400_000;
        let head = by.head("app", host, put_ms - 60_000, counter + days - day);
        let key = put(&storage, "snapshots", &by.snapshot(&head, streams(vault, like))).unwrap();
        let mark = put(&storage, "marks", &by.mark(MarkKind::Committed, &key, Some("app"))).unwrap();
        let time = SystemTime::now() - DAY * u32::try_from(day).unwrap();
        put_at(vault, &key, time);
        put_at(vault, &mark, time);
        snapshot_id(&key).to_string()
    };
    (1..=days).rev().map(of_day).collect()
}

#[test]
fn given_an_append_key_that_says_earlier_times_then_no_genuine_snapshot_goes_for_it() {
    let vault = Vault::new();
    let like = vault.backup_with("other", &noise(1, 40_000), &["--host", "db"]);
    let web = Machine::added(&vault, "web", &["--host", "web"]);
    let forger = web.forger();
    let genuine = dailies(&vault, &forger, "web", &like, 5, 1);
    // The key is stolen: for each day one more, a little earlier, with a counter beyond all; and one through the front
    // door.
    let storage = storage(&vault);
    let mut forged = Vec::new();
    for day in 1..=5 {
        let head = forger.head("app", "web", now_ms() - day * 86_400_000 - 3_600_000, 100);
        let key = put(&storage, "snapshots", &forger.snapshot(&head, streams(&vault, &like))).unwrap();
        put(&storage, "marks", &forger.mark(MarkKind::Committed, &key, Some("app"))).unwrap();
        forged.push(snapshot_id(&key).to_string());
    }
    web.backup("app", "web", &noise(9, 40_000), &["--time", "2026-10-01T03:00:00Z"]).expect(exit::OK);
    // This machine has looked meanwhile and knows that none of them was there; another one goes by the storage's times.
    let other = Machine::with(&vault, "other", &vault.key_file());
    let refused = other.run(&["restore", "web/app", "--output", "-"]);
    refused.expect(exit::REFUSED).says("was added by a key that may only add");
    for options in [&["--keep-daily", "5"][..], &["--keep-last", "5"], &["--keep-within", "6d"]] {
        let args: Vec<&str> = ["forget", "--series", "app"].iter().chain(options).copied().collect();
        other.run(&args).expect(exit::OK);
        let left = vault.ids();
        assert!(genuine.iter().all(|id| left.contains(id)), "{options:?}: {left:?}");
    }
    other.run(&["tag", &forged[0], "--confirm-time"]).expect(exit::OK);
    web.run(&["tag", &forged[1], "--confirm-time"]).expect(exit::WRONG_KEY);
}

#[test]
fn given_a_repository_that_was_moved_with_new_times_then_one_repair_makes_its_snapshots_count_again() {
    let vault = Vault::new();
    let bytes = noise(1, 40_000);
    let like = vault.backup_with("other", &bytes, &["--host", "db"]);
    let web = Machine::added(&vault, "web", &["--host", "web"]);
    dailies(&vault, &web.forger(), "web", &like, 3, 1);
    let restore = |machine: &Machine<'_>| machine.run(&["restore", "web/app", "--output", "-"]);
    let before = Machine::with(&vault, "before", &vault.key_file());
    assert!(restore(&before).expect(exit::OK).stdout == bytes);
    for key in vault.objects() {
        put_at(&vault, &key, SystemTime::now());
    }
    restore(&before).expect(exit::REFUSED).says("dumpvault repair times");
    web.run(&["repair", "times"]).expect(exit::WRONG_KEY);
    tells(before.run(&["repair", "times", "--dry-run"]).expect(exit::OK), "would confirm the times of");
    restore(&before).expect(exit::REFUSED);
    before.run(&["repair", "times"]).expect(exit::OK);
    for machine in [before, Machine::with(&vault, "fresh", &vault.key_file())] {
        assert!(restore(&machine).expect(exit::OK).stdout == bytes);
    }
}

// --- slots and secrets

#[test]
fn given_an_exported_slot_then_it_opens_a_repository_that_has_none_any_more() {
    let vault = Vault::new();
    let id = vault.backup("app", &noise(1, 40_000));
    let slot = vault.home().join("slot");
    vault.run(["key", "export", slot.to_str().unwrap()]).expect(exit::OK);
    for key in vault.objects_in("keys") {
        fs::remove_file(vault.repo().join(key)).unwrap();
    }
    vault.restore(&id).expect(exit::INTEGRITY).says("key import");
    let with = ["restore", &id, "--output", "-", "--key-slot", slot.to_str().unwrap()];
    assert!(vault.run(with).expect(exit::OK).stdout == noise(1, 40_000));
}

/// A slot that opens with `passphrase` after one pass more than is usual, over little memory.
fn costly_slot(forger: &Forger, passphrase: &str) -> Vec<u8> {
    let (passes, memory_kib, lanes, salt) = (17u32, 64u32, 1u32, [3u8; 16]);
    let params = argon2::Params::new(memory_kib, passes, lanes, Some(32)).unwrap();
    let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let mut output = [0; 32];
    argon2.hash_password_into(passphrase.as_bytes(), &salt, &mut output).unwrap();
    let key = blake3::derive_key("dumpvault v1 slot passphrase", &output);
    let commitment = blake3::derive_key("dumpvault v1 slot commitment", &key);
    let header = Header { kind: ObjectType::KeySlot, epoch: 0, repo: forger.repo }.to_bytes();
    let mut associated = [&header[..], &[1]].concat();
    for cost in [passes, memory_kib, lanes] {
        associated.extend_from_slice(&cost.to_le_bytes());
    }
    associated.extend_from_slice(&salt);
    associated.extend_from_slice(&commitment);
    let bundle = forger.keys.encode().unwrap();
    let sealed = SmallSealed::seal(&SecretKey::from_bytes(key), &associated, &bundle, &OsEntropy).unwrap();
    let mut bytes = header.to_vec();
    let mut e = minicbor::Encoder::new(&mut bytes);
    e.map(7).unwrap().u8(0).unwrap().u8(1).unwrap().u8(1).unwrap().map(4).unwrap();
    for (number, cost) in (0u8..).zip([passes, memory_kib, lanes]) {
        e.u8(number).unwrap().u32(cost).unwrap();
    }
    e.u8(3).unwrap().bytes(&salt).unwrap();
    e.u8(2).unwrap().bytes(&sealed.nonce).unwrap().u8(3).unwrap().bytes(&sealed.bytes).unwrap();
    e.u8(4).unwrap().bytes(&[4; 24]).unwrap().u8(5).unwrap().bytes(&[5; 64]).unwrap();
    e.u8(6).unwrap().bytes(&commitment).unwrap();
    bytes
}

#[test]
fn given_a_slot_whose_derivation_costs_more_than_is_usual_then_it_opens_only_when_that_is_allowed() {
    let vault = Vault::new();
    let id = vault.backup("app", &noise(1, 40_000));
    let forger = Forger::with(&storage(&vault), &credential(&vault.key_file()), Arc::new(OsEntropy));
    put(&storage(&vault), "keys", &costly_slot(&forger, "a passphrase")).unwrap();
    let restore = |options: &[&str]| {
        let args = ["restore", id.as_str(), "--output", "-"];
        let mut command = vault.command(args.iter().chain(options));
        command.env_remove("DUMPVAULT_KEY_FILE").env("DUMPVAULT_PASSWORD", "a passphrase");
        run(command, b"")
    };
    restore(&[]).expect(exit::INTEGRITY).says("refused key-derivation costs");
    assert!(restore(&["--allow-costly-kdf"]).expect(exit::OK).stdout == noise(1, 40_000));
    // Whoever has another key is not held up.
    assert!(vault.restore(&id).expect(exit::OK).stdout == noise(1, 40_000));
}

#[test]
fn given_a_small_secret_then_an_append_key_can_tell_nothing_of_it_by_its_id() {
    let vault = Vault::new();
    // Control: of a whole chunk an append key can confirm that it is there.
    let (small, large) = (noise(1, 9_000), noise(2, 40_000));
    vault.backup_with("small", &small, &["--host", "db"]);
    vault.backup_with("large", &large, &["--host", "db"]);
    let web = Machine::added(&vault, "web", &["--host", "web"]);
    let known = |bytes: &[u8]| {
        let json = web.backup("guess", "web", bytes, &["--no-parent", "--suspect-below", "0", "--json"]);
        let json = json.expect(exit::OK).json();
        json["results"][0]["snapshot"]["streams"][0].clone()
    };
    let (of_small, of_large) = (known(&small), known(&large));
    assert_eq!(number(&of_small, "bytes_known"), 0, "{of_small}");
    assert_all_known(number(&of_large, "bytes_known"), large.len() as u64, "large");
    // And not by trying: the id of the bytes themselves is in no index.
    let forger = web.forger();
    let chunk_key = forger.keys.content().newest().chunk_id.clone();
    let of = |bytes: &[u8]| *blake3::keyed_hash(chunk_key.expose(), bytes).as_bytes();
    let packs = forger.packs(&storage(&vault)).unwrap();
    let ids: Vec<[u8; 32]> =
        packs.iter().flat_map(|pack| pack.table.chunks.iter().map(|(id, _)| *id)).collect();
    let sizes: Vec<u32> =
        packs.iter().flat_map(|pack| pack.table.chunks.iter().map(|(_, len)| *len)).collect();
    assert!(sizes.iter().filter(|len| **len == 9_000).count() == 2, "stored twice, under two ids: {sizes:?}");
    assert!(!ids.contains(&of(&small)));
}

#[test]
fn given_an_append_key_then_it_makes_and_removes_no_key() {
    let vault = Vault::new();
    let web = Machine::added(&vault, "web", &["--host", "web"]);
    let of_keys = |key: &String| ["keys", "authors", "epochs"].iter().any(|folder| key.starts_with(folder));
    let keys = || vault.objects().into_iter().filter(of_keys).collect::<Vec<String>>();
    let before = keys();
    let new = vault.home().join("more.key");
    let new = new.to_str().unwrap();
    for args in [
        &["key", "add", "--append", "--name", "more", "--new-key-file", new][..],
        &["key", "add", "--name", "more", "--new-key-file", new],
        &["key", "revoke", "web"],
        &["key", "rotate"],
    ] {
        web.run(args).expect_one_of(&[exit::WRONG_KEY, exit::REFUSED]);
        assert_eq!(keys(), before, "{args:?}");
    }
}
