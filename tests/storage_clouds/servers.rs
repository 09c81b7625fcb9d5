//! Emulators by other people: the storage contract, and the program's whole life, over each.

use std::io::Read as _;
use std::panic::AssertUnwindSafe;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::cli::{Output, Running, Vault, exit, noise, run};
use crate::clouds::{ACCOUNT_KEY, Emulator, Kind};
use crate::conformance::CASES;

/// Runs every case of the contract but `exceptions`, each below a prefix of its own.
fn conform(kind: Kind, exceptions: &[&str]) {
    let server = Emulator::start(kind);
    for exception in exceptions {
        assert!(CASES.iter().any(|(name, _)| name == exception), "{exception}");
    }
    let mut failed = Vec::new();
    for (name, case) in CASES.iter().filter(|(name, _)| !exceptions.contains(name)) {
        let storage = server.storage(&format!("contract/{name}"));
        if std::panic::catch_unwind(AssertUnwindSafe(|| case(&storage))).is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn azurite_keeps_the_contract() {
    conform(Kind::Azurite, &[]);
}

#[test]
fn fake_gcs_server_keeps_the_contract() {
    conform(Kind::FakeGcsInMemory, &[]);
}

#[test]
fn given_gcp_storage_emulator_then_what_it_checks_of_the_contract_holds() {
    // It ignores conditions and takes ranges for something else: of it only the checksum is of use, which no other
    // emulator looks at.
    let server = Emulator::start(Kind::GcpEmulator);
    let storage = server.storage("contract");
    for bytes in [0, 1, 100_000] {
        let (key, content) = (format!("packs/{bytes}"), noise(1, bytes));
        storage.put(&key, &content).unwrap();
        assert!(storage.get(&key, bytes as u64).unwrap() == content);
        assert_eq!(storage.size(&key).unwrap(), Some(bytes as u64));
    }
}

/// The program against one of the servers.
struct Life {
    server: Emulator,
    vault: Vault,
}

/// A table's rows, some of them changed.
fn table(rows: usize, changed: impl Fn(usize) -> bool) -> Vec<u8> {
    let mut text = String::new();
    for row in 0..rows {
        let filler = blake3::hash(&row.to_le_bytes()).to_hex();
        let state = if changed(row) { "changed" } else { "as-ever" };
        text.push_str(&format!("{row:>8}\t{state}\t{filler}\tsome words\n"));
    }
    text.into_bytes()
}

impl Life {
    fn new(kind: Kind) -> Self {
        Self { server: Emulator::start(kind), vault: Vault::empty() }
    }

    fn prepared(&self, args: &[&str]) -> Command {
        let mut command = self.vault.command(args);
        self.server.surround(&mut command, "repo");
        command.env("DUMPVAULT_KEY_FILE", self.vault.key_file());
        command
    }

    fn command(&self, args: &[&str], stdin: &[u8]) -> Output {
        run(self.prepared(args), stdin)
    }

    fn backup(&self, dump: &[u8]) -> Value {
        let args = ["--json", "backup", "--stdin", "--series", "app"];
        self.command(&args, dump).expect(exit::OK).json()
    }

    fn restored(&self, options: &[&str]) -> Vec<u8> {
        self.command(&[options, &["restore", "app", "--output", "-"]].concat(), b"").expect(exit::OK).stdout
    }
}

/// Init, backups, restores, a check of all data, a copy to another prefix and its restore, forget and prune.
fn live(kind: Kind) {
    let life = Life::new(kind);
    life.command(&["snapshots"], b"").expect(exit::NO_REPOSITORY);
    life.command(&["init"], b"").expect(exit::OK);
    let (first, second) = (table(100_000, |_| false), table(100_000, |row| row % 97 == 0));
    life.backup(&first);
    life.backup(&second);
    let report = life.backup(&second);
    eprintln!("{kind:?}: an unchanged backup takes {}", report["requests"]);
    assert!(report["requests"]["total"].as_u64().unwrap() <= 30, "{report}");
    assert!(life.restored(&[]) == second);
    assert!(life.restored(&["--no-cache"]) == second);
    let limited = ["--limit-download", "50M", "--limit-upload", "50M"];
    assert!(life.restored(&limited) == second);
    let checked = life.command(&["check", "--read-data"], b"").expect(exit::OK);
    checked.does_not_say("damaged");

    let to = life.server.address("copy");
    life.command(&["copy", "--to", &to, "--init"], b"").expect(exit::OK);
    assert!(life.restored(&["--repo", &to, "--no-cache"]) == second);
    life.command(&["--repo", &to, "check", "--read-data"], b"").expect(exit::OK);

    life.command(&["forget", "--keep-last", "1", "--force"], b"").expect(exit::OK);
    life.command(&["prune", "--grace", "0"], b"").expect(exit::OK);
    life.command(&["check", "--read-data"], b"").expect(exit::OK);
    assert!(life.restored(&["--no-cache"]) == second);
    life.command(&["doctor"], b"").expect(exit::OK).does_not_say("ERROR");
}

#[test]
fn given_azurite_then_the_program_does_all_that_it_does() {
    live(Kind::Azurite);
}

#[test]
fn given_fake_gcs_server_then_the_program_does_all_that_it_does() {
    live(Kind::FakeGcs);
}

/// Starts the server again after a while, as a machine does; meanwhile `act` goes on.
fn while_it_is_away<T>(life: &mut Life, act: impl FnOnce() -> T) -> T {
    life.server.kill();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_secs(5));
            life.server.restart();
        });
        act()
    })
}

/// The server is killed in the middle of a backup and of a restore, and comes back.
fn survive(kind: Kind) {
    let mut life = Life::new(kind);
    life.command(&["init"], b"").expect(exit::OK);
    life.server.settle("repo/keys/");
    let dump = noise(7, 160 << 20);
    let mut backup = Running::start(life.prepared(&["--json", "backup", "--stdin", "--series", "app"]));
    let (front, back) = dump.split_at(80 << 20);
    assert!(backup.feed(front));
    let output = while_it_is_away(&mut life, || {
        backup.feed(back);
        backup.wait()
    });
    // Azurite forgets what it was given in the last seconds: the backup may then end with an error, and the next one is
    // whole.
    if output.code != Some(exit::OK) {
        assert_eq!(kind, Kind::Azurite, "{output}");
        life.backup(&dump);
    }
    life.command(&["check", "--read-data"], b"").expect(exit::OK);
    life.server.settle("repo/marks/");

    let mut restore = life.prepared(&["--no-cache", "restore", "app", "--output", "-"]);
    let mut restore = restore.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut from, mut said) = (restore.stdout.take().unwrap(), restore.stderr.take().unwrap());
    let mut restored = vec![0; 1 << 20];
    from.read_exact(&mut restored).unwrap();
    while_it_is_away(&mut life, || from.read_to_end(&mut restored).unwrap());
    let mut words = String::new();
    said.read_to_string(&mut words).unwrap();
    assert!(restore.wait().unwrap().success(), "{words}");
    assert!(restored == dump);
}

#[test]
fn given_azurite_killed_in_the_middle_then_nothing_that_is_stored_is_damaged() {
    survive(Kind::Azurite);
}

#[test]
fn given_fake_gcs_server_killed_in_the_middle_then_backup_and_restore_end_well() {
    survive(Kind::FakeGcs);
}

/// What is wrong is said, in words that help, and without a secret.
fn tell(kind: Kind, words: &str) {
    let life = Life::new(kind);
    let nowhere = life.server.address_in("elsewhere", "repo");
    for args in [&["init"][..], &["snapshots"], &["backup", "--stdin", "--series", "app"]] {
        let args = [&["--repo", &nowhere], args].concat();
        life.command(&args, b"dump").expect(exit::NOTHING_DONE).says(words);
    }
    let inside = life.server.address("nothing");
    life.command(&["--repo", &inside, "snapshots"], b"").expect(exit::NO_REPOSITORY);
}

#[test]
fn given_no_such_container_then_every_command_says_to_make_it_first() {
    tell(Kind::Azurite, "make the container first");
    tell(Kind::FakeGcs, "make the bucket first");
}

#[test]
fn given_a_wrong_account_key_then_it_is_said_once_and_no_key_is_shown() {
    let life = Life::new(Kind::Azurite);
    life.command(&["init"], b"").expect(exit::OK);
    let wrong = ACCOUNT_KEY.replace("Eby8", "Abcd");
    for args in
        [&["-vvv", "snapshots"][..], &["-vvv", "doctor"], &["-vvv", "backup", "--stdin", "--series", "app"]]
    {
        let mut command = life.prepared(args);
        command.env("AZURE_STORAGE_ACCOUNT_KEY", &wrong);
        let output = run(command, b"dump");
        assert_ne!(output.code, Some(exit::OK), "{output}");
        let said = format!("{}{}", output.text(), output.stderr);
        assert!(said.contains("AuthorizationFailure"), "{output}");
        assert!(!said.contains(&wrong[..20]) && !said.contains("SharedKey "), "{output}");
    }
}
