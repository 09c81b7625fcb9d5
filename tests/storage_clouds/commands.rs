//! Commands over a server that speaks as Azure and Google do: locks that are kept, tokens that end on the way, requests
//! of a night, a service that never comes back.

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;

use crate::cli::{HANGS, Output, Running, Vault, exit, long, noise, number, run};
use crate::clouds::ACCOUNT_KEY;
use crate::stub::{Call, Fault, Stub};

const DAY: Duration = Duration::from_secs(86_400);
/// More than a pack: one of them goes while the rest of the dump is still to come.
const HALF_BYTES: usize = 40 << 20;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Cloud {
    Azure,
    Google,
}

const CLOUDS: [Cloud; 2] = [Cloud::Azure, Cloud::Google];

/// The program with a repository at a cloud of its own.
struct Place {
    cloud: Cloud,
    vault: Vault,
    server: Stub,
    /// The program shows tokens, and no key.
    has_tokens: bool,
}

impl Place {
    fn new(cloud: Cloud) -> Self {
        Self { cloud, vault: Vault::empty(), server: Stub::new(), has_tokens: false }
    }

    fn with_tokens(cloud: Cloud) -> Self {
        let place = Self { has_tokens: true, ..Self::new(cloud) };
        let endpoint = place.server.endpoint();
        let person = json!({
            "type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r",
            "token_uri": format!("{endpoint}/token"),
        });
        std::fs::write(place.vault.home().join("person.json"), person.to_string()).unwrap();
        std::fs::write(
            place.vault.work().join("dumpvault.toml"),
            format!("[gcs]\nendpoint = \"{endpoint}\"\n"),
        )
        .unwrap();
        place.command(&["init"], b"").expect(exit::OK);
        place
    }

    fn prepared(&self, args: &[&str]) -> Command {
        let mut command = self.vault.command(args);
        command.env("DUMPVAULT_KEY_FILE", self.vault.key_file());
        match self.cloud {
            Cloud::Azure => command.env("DUMPVAULT_REPOSITORY", self.server.azure()),
            Cloud::Google => command.env("DUMPVAULT_REPOSITORY", "gs://vault/repo"),
        };
        match (self.cloud, self.has_tokens) {
            (Cloud::Azure, false) => command.env("AZURE_STORAGE_ACCOUNT_KEY", ACCOUNT_KEY),
            (Cloud::Azure, true) => command
                .env("AZURE_TENANT_ID", "tenant")
                .env("AZURE_CLIENT_ID", "client")
                .env("AZURE_CLIENT_SECRET", "THECLIENTSECRET")
                .env("AZURE_AUTHORITY_HOST", self.server.endpoint()),
            (Cloud::Google, false) => command.env("STORAGE_EMULATOR_HOST", self.server.endpoint()),
            (Cloud::Google, true) => {
                command.env("GOOGLE_APPLICATION_CREDENTIALS", self.vault.home().join("person.json"))
            }
        };
        command
    }

    fn command(&self, args: &[&str], stdin: &[u8]) -> Output {
        run(self.prepared(args), stdin)
    }

    fn locking(&self, args: &[&str], stdin: &[u8]) -> Output {
        self.command(&[&["--object-lock", "compliance:30d"], args].concat(), stdin)
    }

    fn backup(&self, bytes: &[u8]) {
        self.locking(&["backup", "--stdin", "--name", "app"], bytes).expect(exit::OK);
    }

    fn names(&self, part: &str) -> Vec<String> {
        self.server.names().into_iter().filter(|name| name.contains(part)).collect()
    }

    /// For how long the object is locked from now on.
    fn lasts(&self, name: &str) -> Duration {
        let until = self.server.lock(name).map_or(SystemTime::UNIX_EPOCH, |(_, until)| until);
        until.duration_since(SystemTime::now()).unwrap_or_default()
    }

    fn restored(&self) -> Vec<u8> {
        self.command(&["--no-cache", "restore", "app", "--to", "-"], b"").expect(exit::OK).stdout
    }

    /// Waits until a pack has arrived.
    fn has_a_pack(&self) {
        let began = Instant::now();
        while self.names("/packs/").is_empty() {
            assert!(began.elapsed() < HANGS, "no pack comes");
            std::thread::yield_now();
        }
    }
}

fn is_kept(name: &str) -> bool {
    !name.contains("/sessions/") && !name.contains("/gc/")
}

#[test]
fn given_locks_that_end_soon_then_a_check_says_so_until_they_are_extended() {
    for cloud in CLOUDS {
        let place = Place::new(cloud);
        place.locking(&["init"], b"").expect(exit::OK);
        place.backup(&noise(1, 200_000));
        place.backup(&noise(2, 200_000));
        for name in place.server.names().iter().filter(|name| is_kept(name)) {
            assert!(place.lasts(name) > DAY * 29, "{cloud:?} {name}");
        }
        place.locking(&["check"], b"").expect(exit::OK);
        place.server.age_locks(DAY * 20);
        place.locking(&["check"], b"").expect(exit::PART_FAILED).says("lock extend").says("config");
        let extended = place.locking(&["--json", "lock", "extend"], b"").expect(exit::OK).json();
        assert!(number(&extended, "objects") >= 3 + 2 * 4, "{cloud:?}: {extended}");
        place.locking(&["check"], b"").expect(exit::OK);
        for name in place.server.names().iter().filter(|name| is_kept(name)) {
            assert!(place.lasts(name) > DAY * 29, "{cloud:?} {name}: {:?}", place.lasts(name));
        }
        // Without --object-lock nobody knows for how long.
        place.command(&["lock", "extend"], b"").expect(exit::USAGE).says("--object-lock");
    }
}

#[test]
fn given_versions_then_a_prune_waits_for_the_locks_and_forgotten_snapshots_are_hidden_and_not_gone() {
    for cloud in CLOUDS {
        let place = Place::new(cloud);
        place.server.keep_versions();
        place.locking(&["init"], b"").expect(exit::OK);
        place.backup(&noise(4, 300_000));
        place.backup(&noise(5, 300_000));
        let before = place.names("/packs/");
        place.locking(&["forget", "--keep-last", "1", "--force"], b"").expect(exit::OK);
        let hidden = place.server.hidden();
        assert!(hidden.iter().any(|name| name.contains("/snapshots/")), "{cloud:?}: {hidden:?}");
        let said = place.locking(&["prune", "--grace", "0"], b"").expect(exit::OK);
        assert!(said.text().contains("locked until"), "{cloud:?}: {said}");
        assert!(before.iter().all(|name| place.names("/packs/").contains(name)), "{cloud:?}: {before:?}");

        place.server.age_locks(DAY * 40);
        place.locking(&["prune", "--grace", "0"], b"").expect(exit::OK);
        assert!(!before.iter().all(|name| place.names("/packs/").contains(name)), "{cloud:?}: {before:?}");
        assert!(place.restored() == noise(5, 300_000), "{cloud:?}");
    }
}

#[test]
fn given_no_versions_then_nothing_locked_is_forgotten_before_its_lock_ends() {
    for cloud in CLOUDS {
        let place = Place::new(cloud);
        place.locking(&["init"], b"").expect(exit::OK);
        place.backup(&noise(4, 300_000));
        place.backup(&noise(5, 300_000));
        let before = place.names("/snapshots/");
        let refused = place.locking(&["forget", "--keep-last", "1", "--force"], b"");
        assert_ne!(refused.code, Some(exit::OK), "{cloud:?}: {refused}");
        assert!(
            refused.stderr.contains("lock") || refused.stderr.contains("retention"),
            "{cloud:?}: {refused}"
        );
        assert_eq!(place.names("/snapshots/"), before, "{cloud:?}");
        place.locking(&["check", "--read-data"], b"").expect(exit::OK);

        place.server.age_locks(DAY * 40);
        place.locking(&["forget", "--keep-last", "1", "--force"], b"").expect(exit::OK);
        place.locking(&["prune", "--grace", "0"], b"").expect(exit::OK);
        assert_eq!(place.names("/snapshots/").len(), 1, "{cloud:?}");
        assert!(place.restored() == noise(5, 300_000), "{cloud:?}");
    }
}

#[test]
fn given_a_container_that_keeps_no_locks_then_init_with_locks_ends_with_an_error() {
    for cloud in CLOUDS {
        let place = Place::new(cloud);
        place.server.forget_locks();
        place.locking(&["init"], b"").expect(exit::NOTHING_DONE).says("keeps none");
    }
}

/// A table's rows, some of them changed.
fn table(is_changed: impl Fn(usize) -> bool) -> Vec<u8> {
    let row = |row: usize| {
        let state = if is_changed(row) { "changed" } else { "as-ever" };
        format!("{row:>8}\t{state}\t{}\tsome words\n", blake3::hash(&row.to_le_bytes()).to_hex())
    };
    (0..100_000).map(row).collect::<String>().into_bytes()
}

#[test]
fn given_a_night_then_its_commands_take_as_many_requests_as_the_manual_says() {
    let (first, second) = (table(|_| false), table(|row| row % 97 == 0));
    for (cloud, name) in [(Cloud::Azure, "Azure"), (Cloud::Google, "Google")] {
        let place = Place::new(cloud);
        let count = |args: &[&str], stdin: &[u8]| {
            place.server.forget_calls();
            place.command(args, stdin).expect(exit::OK);
            Some(place.server.calls().len() as u64)
        };
        let backup = ["backup", "--stdin", "--name", "app"];
        let counted = [
            count(&["init"], b""),
            count(&backup, &first),
            count(&backup, &second),
            count(&backup, &second),
            count(&["forget", "--keep-last", "2", "--force"], b""),
            count(&["prune", "--grace", "0"], b""),
            count(&["check"], b""),
        ];
        crate::night::holds(name, counted);
    }
}

/// A backup of which one pack has arrived, and the rest of its dump.
fn half_done(place: &Place) -> (Running, Vec<u8>) {
    let dump = noise(7, 2 * HALF_BYTES);
    let mut backup = Running::start(place.prepared(&["backup", "--stdin", "--name", "app"]));
    assert!(backup.feed(&dump[..HALF_BYTES]));
    place.has_a_pack();
    (backup, dump)
}

#[test]
fn given_a_token_that_ends_in_the_middle_of_a_backup_then_it_is_fetched_once_more_and_the_backup_goes_on() {
    for cloud in CLOUDS {
        let place = Place::with_tokens(cloud);
        let (mut backup, dump) = half_done(&place);
        let given = place.server.tokens_given();
        place.server.take_tokens_back();
        assert!(backup.feed(&dump[HALF_BYTES..]));
        backup.wait().expect(exit::OK);
        assert_eq!(place.server.tokens_given(), given + 1, "{cloud:?}");
        assert!(place.restored() == dump, "{cloud:?}");
    }
}

#[test]
fn given_tokens_that_last_a_second_then_a_backup_of_several_is_whole() {
    for cloud in CLOUDS {
        let place = Place::with_tokens(cloud);
        let before = place.server.tokens_given();
        place.server.shorten_tokens(Duration::from_secs(1), before + 3);
        let mut dump = Vec::new();
        let mut backup = Running::start(place.prepared(&["backup", "--stdin", "--name", "app"]));
        let began = Instant::now();
        // A pack after the other, until three tokens have ended on the way.
        for seed in 0.. {
            let piece = noise(seed, HALF_BYTES);
            assert!(backup.feed(&piece) && began.elapsed() < HANGS, "{cloud:?}");
            dump.extend(piece);
            if place.server.tokens_given() >= before + 3 {
                break;
            }
        }
        backup.wait().expect(exit::OK);
        assert!(place.restored() == dump, "{cloud:?}");
    }
}

#[test]
fn given_no_memory_for_a_second_source_then_its_application_is_not_stopped_before_there_is() {
    let place = Place::new(Cloud::Azure);
    place.command(&["init"], b"").expect(exit::OK);
    let (one, other) = (place.vault.home().join("one"), place.vault.home().join("other"));
    for tree in [&one, &other] {
        std::fs::create_dir(tree).unwrap();
        std::fs::write(tree.join("file"), "contents").unwrap();
    }
    // The index of files takes memory of its own: two such sources are more than a process has for its jobs.
    let text = format!(
        "[system.s]\nsources = ['one', 'other']\n[source.one]\npaths = ['{}']\n\
         [source.other]\npaths = ['{}']\nbefore = 'touch stopped'\n",
        one.display(),
        other.display()
    );
    std::fs::write(place.vault.work().join("dumpvault.toml"), text).unwrap();
    // The first was read, and would be stored, but for the service, which looks what the second does meanwhile.
    let stopped = place.vault.work().join("stopped");
    let (seen, look) = (Arc::new(Mutex::new(Vec::new())), stopped.clone());
    let noted = Arc::clone(&seen);
    place.server.set_hook(move |call| {
        if call.method == "PUT" && call.path.contains("/snapshots/") {
            let began = Instant::now();
            while noted.lock().unwrap().is_empty()
                && !look.exists()
                && began.elapsed() < Duration::from_secs(3)
            {
                std::thread::yield_now();
            }
            noted.lock().unwrap().push(look.exists());
        }
        None
    });
    place.command(&["run", "s"], b"").expect(exit::OK);
    assert_eq!(*seen.lock().unwrap(), [false, true]);
}

#[test]
fn given_folders_of_a_hierarchy_then_every_command_does_as_without_them() {
    let place = Place::new(Cloud::Azure);
    place.server.show_folders();
    for args in [
        &["init"][..],
        &["backup", "--stdin", "--series", "app"],
        &["backup", "--stdin", "--series", "app"],
        &["forget", "--keep-last", "1", "--force"],
        &["prune", "--grace", "0"],
        &["check", "--read-data"],
        &["doctor"],
    ] {
        let output = place.command(args, &noise(3, 300_000)).expect(exit::OK);
        assert!(!output.stderr.contains("unknown"), "{args:?}: {output}");
    }
    assert!(place.restored() == noise(3, 300_000));
}

#[test]
fn given_a_token_that_ends_and_nobody_who_gives_another_then_a_backup_ends_clearly_and_leaves_no_snapshot() {
    let is_token = |call: &Call| call.path.ends_with("/token");
    for cloud in CLOUDS {
        let place = Place::with_tokens(cloud);
        let (mut backup, dump) = half_done(&place);
        place.server.set_hook(move |call| {
            let body =
                r#"{"error":"invalid_grant","error_description":"AADSTS700082: The token has expired"}"#;
            is_token(call).then(|| Fault::Answer(400, Vec::new(), body.to_owned()))
        });
        place.server.take_tokens_back();
        // It may have ended before all of it was written.
        backup.feed(&dump[HALF_BYTES..]);
        let output = backup.wait().expect(exit::NOTHING_DONE).says("invalid_grant").says("has expired");
        for word in ["THECLIENTSECRET", "secret-token"] {
            assert!(!format!("{}{}", output.text(), output.stderr).contains(word), "{cloud:?}: {output}");
        }
        assert!(place.names("/snapshots/").is_empty(), "{cloud:?}");
        let asked = place.server.calls().iter().filter(|call| is_token(call)).count();
        assert!(asked < 20, "{cloud:?}: {asked} questions for a token");

        // What was stored until then is used, and nothing is in the way.
        place.server.set_hook(|_| None);
        let packs = place.names("/packs/");
        place.command(&["backup", "--stdin", "--name", "app"], &dump).expect(exit::OK);
        assert!(packs.iter().all(|name| place.names("/packs/").contains(name)), "{cloud:?}");
        place.command(&["check", "--read-data"], b"").expect(exit::OK);
        assert!(place.restored() == dump, "{cloud:?}");
    }
}

#[test]
fn given_a_service_that_never_comes_back_then_a_backup_ends_after_a_bounded_time() {
    // It waits for more than a minute, as it should: `given_a_service_that_stays_away_…` counts what it does meanwhile.
    if !long() {
        return;
    }
    for cloud in CLOUDS {
        let place = Place::with_tokens(cloud);
        let (mut backup, dump) = half_done(&place);
        let began = Instant::now();
        place.server.die();
        backup.feed(&dump[HALF_BYTES..]);
        // A process that takes longer than `HANGS` is killed, and that is no exit code.
        backup.wait().expect(exit::NOTHING_DONE).says("cannot connect");
        eprintln!("{cloud:?}: given up after {:?}", began.elapsed());
    }
}
