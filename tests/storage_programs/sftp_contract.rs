//! The storage contract over OpenSSH's server, over rclone's, and over servers that can less.

use crate::conformance::CASES;
use crate::sshd::Sshd;
use crate::stub::{Stub, Ways};
use dumpvault::storage::{ErrorKind, Put, Storage};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

/// Runs every case of the contract but `exceptions`.
pub fn conform(exceptions: &[&str], storage: impl Fn(&str) -> Arc<dyn Storage>) {
    for exception in exceptions {
        assert!(CASES.iter().any(|(name, _)| name == exception), "{exception}");
    }
    let mut failed = Vec::new();
    for (name, case) in CASES.iter().filter(|(name, _)| !exceptions.contains(name)) {
        let storage = storage(name);
        if std::panic::catch_unwind(AssertUnwindSafe(|| case(&*storage))).is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

/// What is not told apart where a rename replaces: two who write one key in the same moment.
const RACES: [&str; 2] =
    ["of_eight_equal_puts_at_once_one_creates", "of_eight_different_puts_at_once_one_wins_and_stays"];

#[test]
fn openssh_keeps_the_contract() {
    let server = Sshd::start();
    conform(&[], |name| server.storage(name));
}

#[test]
fn a_server_without_links_and_syncs_keeps_the_contract() {
    conform(&[], |_| Stub::new(Ways { links: false, syncs: false, ..Ways::default() }).storage());
}

#[test]
fn a_server_whose_file_system_makes_no_links_keeps_the_contract() {
    conform(&[], |_| Stub::new(Ways { links_work: false, ..Ways::default() }).storage());
}

#[test]
fn a_server_that_replaces_on_rename_keeps_the_contract_but_for_races() {
    conform(&RACES, |_| {
        Stub::new(Ways { links: false, syncs: false, rename_replaces: true, ..Ways::default() }).storage()
    });
}

#[test]
fn a_server_that_answers_late_in_another_order_and_in_small_pieces_keeps_the_contract() {
    conform(&[], |_| Stub::new(Ways { shuffles: true, gives_max: 20_000, ..Ways::default() }).storage());
}

#[test]
fn given_two_writers_of_one_key_two_hundred_times_then_one_creates_and_the_other_hears_of_it() {
    let server = Sshd::start();
    let (one, two) = (server.storage("race"), server.storage("race"));
    for round in 0..200 {
        let key = format!("index/{round}");
        let same = round % 2 == 0;
        let (first, second) = std::thread::scope(|scope| {
            let first = scope.spawn(|| one.put(&key, b"first"));
            let second = scope.spawn(|| two.put(&key, if same { b"first" } else { b"other" }));
            (first.join().unwrap(), second.join().unwrap())
        });
        let word = |put: &Result<Put, dumpvault::storage::StorageError>| match put {
            Ok(Put::Created) => "created",
            Ok(Put::AlreadyThere) => "there",
            Err(error) if error.kind == ErrorKind::Conflict => "conflict",
            Err(error) => panic!("{error}"),
        };
        let mut words = [word(&first), word(&second)];
        words.sort_unstable();
        assert_eq!(words, if same { ["created", "there"] } else { ["conflict", "created"] });
    }
}
