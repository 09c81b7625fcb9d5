//! Object Lock: nobody deletes what snapshots need.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use crate::cli::{Output, Vault, exit, noise, number, run};
use crate::outside::{Kind, Outside};
use crate::program::{Remote, table};

const DAY: Duration = Duration::from_secs(86_400);

/// A repository in which everything is locked for 30 days.
fn locked() -> Remote {
    let remote = Remote::bare();
    locking(&remote, &["init"], b"").expect(exit::OK);
    remote
}

fn locking(remote: &Remote, args: &[&str], stdin: &[u8]) -> Output {
    run(remote.command(&[&["--object-lock", "compliance:30d"], args].concat()), stdin)
}

fn backup(remote: &Remote, bytes: &[u8]) {
    locking(remote, &["backup", "--stdin", "--series", "app"], bytes).expect(exit::OK);
}

fn is_kept(name: &str) -> bool {
    !name.contains("/sessions/") && !name.contains("/gc/")
}

/// For how long the object is locked from now on.
fn lasts(remote: &Remote, name: &str) -> Option<Duration> {
    remote.server.locked_until(name)?.duration_since(SystemTime::now()).ok()
}

#[test]
fn given_a_lock_then_every_object_that_a_restore_needs_has_it() {
    let remote = locked();
    backup(&remote, &noise(1, 100_000));
    let names = remote.server.names();
    for folder in ["config", "keys/", "authors/", "packs/", "index/", "snapshots/", "marks/"] {
        assert!(names.iter().any(|name| name.starts_with(&format!("repo/{folder}"))), "{folder}");
    }
    for name in names.iter().filter(|name| is_kept(name)) {
        let lasts = lasts(&remote, name).unwrap_or_default();
        assert!(lasts > DAY * 30 - Duration::from_secs(600) && lasts < DAY * 35, "{name}: {lasts:?}");
    }
    assert!(
        remote.server.hidden().is_empty(),
        "what comes and goes has no lock: {:?}",
        remote.server.hidden()
    );
    locking(&remote, &["check"], b"").expect(exit::OK);
    assert!(remote.restored(&[]) == noise(1, 100_000));
}

#[test]
fn given_a_backup_that_finds_all_its_bytes_then_it_prolongs_the_locks_of_what_it_relies_on() {
    let mut remote = locked();
    let dump = table(50_000, |_| false);
    backup(&remote, &dump);
    let old = remote.server.names();
    remote.server.age_locks(DAY * 20);
    // This machine would remember; the time has passed for it, too.
    remote.vault.forget_cache();
    backup(&remote, &dump);
    for name in old.iter().filter(|name| is_kept(name)) {
        let lasts = lasts(&remote, name).unwrap_or_default();
        // The old snapshot and its mark are none of this backup's business.
        if name.contains("/snapshots/") || name.contains("/marks/") {
            assert!(lasts < DAY * 10, "{name}: {lasts:?}");
        } else {
            assert!(lasts >= DAY * 30, "{name}: {lasts:?}");
        }
    }
    // What was prolonged a moment ago costs nothing the next time.
    let before = remote.server.calls().len();
    backup(&remote, &dump);
    let prolonged = |call: &&crate::s3::Call| call.method == "PUT" && call.query.contains("retention");
    let calls = remote.server.calls();
    let again: Vec<&crate::s3::Call> = calls[before..].iter().filter(prolonged).collect();
    assert!(again.iter().all(|call| !call.path.contains("/packs/")), "{again:?}");
}

#[test]
fn given_locks_that_end_soon_then_a_check_says_so_until_they_are_prolonged() {
    let remote = locked();
    backup(&remote, &noise(2, 200_000));
    backup(&remote, &noise(3, 200_000));
    remote.server.age_locks(DAY * 20);
    locking(&remote, &["check"], b"").expect(exit::PART_FAILED).says("object-lock extend").says("config");
    let extended = locking(&remote, &["--json", "object-lock", "extend"], b"").expect(exit::OK).json();
    // Config, key, its author, two of each: a pack of data and recipe, index, snapshot, mark; and the mark of the
    // check.
    assert_eq!(number(&extended, "objects"), 3 + 2 * 4 + 1, "{extended}");
    locking(&remote, &["check"], b"").expect(exit::OK);
    for name in remote.server.names().iter().filter(|name| is_kept(name)) {
        // The mark of the last check was put a moment ago.
        let lasts = lasts(&remote, name).unwrap_or_default();
        assert!(lasts > DAY * 30 - Duration::from_secs(600), "{name}: {lasts:?}");
    }
    // Without --object-lock nobody knows for how long, and nothing is said of locks.
    remote.run(["object-lock", "extend"]).expect(exit::USAGE).says("--object-lock");
    remote.run(["check"]).expect(exit::OK);
}

#[test]
fn given_packs_that_nobody_needs_any_more_then_a_prune_leaves_them_until_their_lock_ends() {
    let remote = locked();
    backup(&remote, &noise(4, 300_000));
    backup(&remote, &noise(5, 300_000));
    let packs = || -> BTreeSet<String> {
        remote.server.names().into_iter().filter(|name| name.contains("/packs/")).collect()
    };
    let before = packs();
    locking(&remote, &["forget", "--keep-last", "1", "--force"], b"").expect(exit::OK);
    let said = locking(&remote, &["prune", "--grace", "0"], b"").expect(exit::OK);
    assert!(said.text().contains("locked until"), "{said}");
    // What is still needed of them is copied; they stay.
    assert!(before.is_subset(&packs()), "{before:?}");
    assert!(
        remote.server.hidden().iter().all(|name| !name.contains("/packs/")),
        "{:?}",
        remote.server.hidden()
    );

    remote.server.age_locks(DAY * 40);
    locking(&remote, &["prune", "--grace", "0"], b"").expect(exit::OK);
    assert!(!before.is_subset(&packs()), "{before:?}");
    assert!(remote.restored(&[]) == noise(5, 300_000));
}

#[test]
fn given_a_service_that_refuses_to_prolong_then_the_snapshot_is_there_and_the_exit_code_says_it() {
    let mut remote = locked();
    let dump = noise(6, 100_000);
    backup(&remote, &dump);
    remote.server.age_locks(DAY * 20);
    remote.vault.forget_cache();
    remote.server.set_hook(|call| {
        let refused = call.method == "PUT" && call.query.contains("retention");
        refused.then_some(crate::s3::HttpFault::Status(403, "AccessDenied"))
    });
    locking(&remote, &["backup", "--stdin", "--series", "app"], &dump)
        .expect(exit::PART_FAILED)
        .says("object-lock extend");
    assert!(remote.restored(&[]) == dump);
    for wrong in ["forever", "compliance", "none:30d", "compliance:30"] {
        let args = ["--object-lock", wrong, "snapshots"];
        run(remote.command(&args), b"").expect(exit::USAGE).says("--object-lock");
    }
}

#[test]
fn given_a_server_by_others_then_locks_hold_there_and_everything_works_with_them() {
    let moto = Outside::start(Kind::Moto);
    let vault = Vault::empty();
    let locking = |args: &[&str], stdin: &[u8]| {
        let mut command = vault.command([&["--object-lock", "compliance:30d"], args].concat());
        moto.surround(&mut command, "repo");
        command.env("DUMPVAULT_KEY_FILE", vault.key_file());
        run(command, stdin)
    };
    locking(&["init"], b"").expect(exit::OK);
    let (first, second) = (noise(7, 300_000), noise(8, 300_000));
    for dump in [&first, &second] {
        locking(&["backup", "--stdin", "--series", "app"], dump).expect(exit::OK);
    }
    locking(&["check", "--read-data"], b"").expect(exit::OK);
    locking(&["object-lock", "extend"], b"").expect(exit::OK);
    let config = moto.ask("HEAD", "/vault/repo/config", "");
    assert!(config.to_lowercase().contains("x-amz-object-lock-mode: compliance"), "{config}");
    let doctor = locking(&["doctor"], b"").expect(exit::OK).text();
    assert!(doctor.contains("object lock"), "{doctor}");

    locking(&["forget", "--keep-last", "1", "--force"], b"").expect(exit::OK);
    let said = locking(&["prune", "--grace", "0"], b"").expect(exit::OK);
    assert!(said.text().contains("locked until"), "{said}");
    // What was forgotten is behind a marker, and still there.
    let versions = moto.ask("GET", "/vault?versions&prefix=repo%2Fsnapshots%2F", "");
    assert!(versions.contains("<DeleteMarker>") && versions.matches("<Version>").count() == 2, "{versions}");
    assert!(locking(&["cat", "app"], b"").expect(exit::OK).stdout == second);
}
