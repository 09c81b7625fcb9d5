//! Servers by other people: the storage contract, and the program's whole life, over each.

use std::panic::AssertUnwindSafe;

use serde_json::Value;

use crate::cli::{Output, Vault, exit, run};
use crate::conformance::CASES;
use crate::outside::{Kind, Outside};
use crate::program::table;

/// Runs every case of the contract but `exceptions`, each below a prefix of its own.
fn conform(kind: Kind, exceptions: &[&str]) {
    let server = Outside::start(kind);
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

/// What no server here keeps when two write one key in the same moment: neither hears of the other. The server in this
/// process does.
const RACES: [&str; 2] =
    ["of_eight_equal_puts_at_once_one_creates", "of_eight_different_puts_at_once_one_wins_and_stays"];

#[test]
fn moto_keeps_the_contract() {
    // It looks, and puts, in two steps.
    conform(Kind::Moto, &RACES);
}

#[test]
fn rclone_keeps_the_contract() {
    conform(
        Kind::Rclone,
        &[
            // A key that is a folder of others is a folder to it, and answered with 500. No key of a repository is one.
            "deleting_what_others_lie_below_is_success_and_leaves_them",
            RACES[0],
            RACES[1],
        ],
    );
}

#[test]
fn s3rver_keeps_the_contract() {
    conform(
        Kind::S3rver,
        &[
            // It announces a byte of an empty object, and sends none. No object of a repository is empty.
            "a_range_of_an_empty_object_finds_it_short",
            // It makes no token for the next page on the versions of Node that there are: 500 for more than a thousand
            // objects.
            "a_listing_of_several_pages_gives_each_object_once",
            // It writes into place.
            "a_listing_never_shows_half_an_object",
            // It adds to the names of files, and ends when one is too long.
            "the_longest_key_and_all_its_letters_work",
            RACES[0],
            RACES[1],
        ],
    );
}

/// The program against one of the servers.
struct Life {
    server: Outside,
    vault: Vault,
}

impl Life {
    fn command(&self, args: &[&str], stdin: &[u8]) -> Output {
        let mut command = self.vault.command(args);
        self.server.surround(&mut command, "repo");
        command.env("DUMPVAULT_KEY_FILE", self.vault.key_file());
        run(command, stdin)
    }

    fn backup(&self, dump: &[u8]) -> Value {
        let args = ["--json", "backup", "--stdin", "--series", "app"];
        self.command(&args, dump).expect(exit::OK).json()
    }

    fn restored(&self, options: &[&str]) -> Vec<u8> {
        self.command(&[options, &["restore", "app", "--output", "-"]].concat(), b"").expect(exit::OK).stdout
    }
}

/// Init, two backups, restores, a check of all data, a copy to another prefix and its restore, forget and prune.
fn live(kind: Kind) {
    let life = Life { server: Outside::start(kind), vault: Vault::empty() };
    life.command(&["init"], b"").expect(exit::OK);
    let (first, second) = (table(100_000, |_| false), table(100_000, |row| row % 97 == 0));
    life.backup(&first);
    let report = life.backup(&second);
    assert!(report["requests"]["total"].as_u64().unwrap() <= 30, "{report}");
    assert!(life.restored(&[]) == second);
    assert!(life.restored(&["--no-cache"]) == second);
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
fn given_moto_then_the_program_does_all_that_it_does() {
    live(Kind::Moto);
}

#[test]
fn given_rclone_serve_s3_then_the_program_does_all_that_it_does() {
    live(Kind::Rclone);
}

#[test]
fn given_s3rver_then_the_program_does_all_that_it_does() {
    live(Kind::S3rver);
}
