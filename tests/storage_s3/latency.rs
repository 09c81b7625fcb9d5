//! What waiting for the wire costs.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dumpvault::base::event::{Cancel, Silent};
use dumpvault::base::secret::OsEntropy;
use dumpvault::vault::crypto::{Credential, KeyFile};
use dumpvault::vault::reader::{Locator, ReadSettings};
use dumpvault::vault::{Repository, Surroundings};

use crate::cli::{exit, noise};
use crate::program::{Remote, table};

/// How long reading the newest snapshot's stream takes, and whether it is `expected`.
pub fn read(repo: &Repository, settings: ReadSettings, expected: &[u8]) -> Duration {
    let mut catalog = repo.catalog(&Silent).unwrap();
    let history = repo.history(&mut catalog).unwrap();
    let newest = history.snapshots.last().unwrap().id;
    let stream = repo.body(&mut catalog, &newest).unwrap().streams.remove(0);
    let locator = Arc::new(Mutex::new(Locator::new(repo, catalog, Default::default())));
    let mut at = 0;
    let mut is_same = true;
    let began = Instant::now();
    let mut compare = |bytes: &[u8]| {
        is_same &= expected.get(at..at + bytes.len()) == Some(bytes);
        at += bytes.len();
        Ok(())
    };
    repo.reader().read_stream(&locator, &stream, settings, &Silent, &Cancel::new(), &mut compare).unwrap();
    assert!(is_same && at == expected.len());
    began.elapsed()
}

/// The repository as a library has it, without a pack cache.
pub fn open(remote: &Remote) -> (Repository, tempfile::TempDir) {
    let cache = tempfile::tempdir().unwrap();
    let (key, _) = KeyFile::read(&remote.vault.key_file()).unwrap();
    let surroundings = Surroundings::new(Arc::new(OsEntropy), cache.path().to_owned());
    let storage = Arc::new(remote.server.storage("repo"));
    (Repository::open(storage, &Credential::KeyFile(key), &surroundings).unwrap(), cache)
}

/// One request after another, a block each.
pub const ONE_AT_A_TIME: ReadSettings = ReadSettings::new(1, 8 << 20, 1);

/// The figure for 50 ms is measured elsewhere (`figures_of_a_bucket`). Here it is counted how often the wire is waited
/// for: how long that takes is a matter of the machine.
#[test]
fn given_a_slow_wire_then_a_restore_waits_ten_times_less_often_than_one_request_at_a_time() {
    let remote = Remote::new();
    let dump = noise(11, 128 << 20);
    remote.backup(&dump, &[]);
    let (repo, _cache) = open(&remote);
    let gets = |settings: ReadSettings| {
        let before = remote.server.count("GET");
        remote.server.take_under_way_max();
        read(&repo, settings, &dump);
        (remote.server.count("GET") - before, remote.server.take_under_way_max())
    };
    let (slow, one) = gets(ONE_AT_A_TIME);
    assert_eq!(one, 1);
    remote.server.set_latency(Duration::from_millis(300));
    let (fast, under_way) = gets(ReadSettings::remote());
    assert!(fast.div_ceil(under_way) * 10 <= slow, "{slow} one at a time; {fast}, {under_way} at a time");
}

#[test]
fn given_many_snapshots_and_a_new_machine_then_they_are_not_fetched_one_after_another() {
    let mut remote = Remote::new();
    for n in 0..12 {
        remote.backup(&noise(n, 1000), &[]);
    }
    remote.vault.forget_cache();
    remote.server.set_latency(Duration::from_millis(100));
    remote.server.take_under_way_max();
    remote.run(["snapshots"]).expect(exit::OK);
    let under_way = remote.server.take_under_way_max();
    assert!(under_way >= 6, "{under_way}");
}

#[test]
fn given_a_backup_then_packs_are_listed_before_it_and_before_the_commit_and_not_more() {
    let remote = Remote::new();
    for day in 0..2 {
        let before = remote.server.calls().len();
        remote.backup(&table(1000, |row| row < day), &[]);
        let calls = remote.server.calls();
        let of_packs =
            |call: &&crate::s3::Call| call.query.contains("list-type") && call.query.contains("packs");
        assert_eq!(calls[before..].iter().filter(of_packs).count(), 2, "day {day}");
    }
}
