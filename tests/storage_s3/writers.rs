//! Many hosts, one bucket, and some of them die.

use std::process::Command;
use std::sync::Barrier;
use std::thread;

use rustix::process::Signal;

use crate::cli::{Running, exit, noise, run};
use crate::program::Remote;

const WRITERS: usize = 8;

fn series(writer: usize) -> String {
    format!("series{writer}")
}

/// Half of it is more than one pack.
fn dump(writer: usize, day: u64) -> Vec<u8> {
    noise(1000 * day + writer as u64, 72 << 20)
}

/// A backup of that writer's series. Every two of them share a host, with its cache.
fn backup(remote: &Remote, writer: usize) -> Command {
    let mut command = remote.command(&["backup", "--stdin", "--series", &series(writer)]);
    command.env("XDG_CACHE_HOME", remote.vault.home().join(format!("host{}", writer / 2)));
    command
}

fn restored(remote: &Remote, name: &str) -> Vec<u8> {
    remote.run(["restore", name, "--output", "-", "--no-cache"]).expect(exit::OK).stdout
}

#[test]
fn given_eight_backups_at_the_same_time_and_two_of_them_killed_then_all_that_was_committed_restores() {
    let remote = Remote::new();
    let is_killed = |writer: usize| writer == 2 || writer == 5;
    // One of those that will be killed has an earlier day, which must outlive it.
    let before = noise(7, 1 << 20);
    run(backup(&remote, 2), &before).expect(exit::OK);

    let all_in_the_middle = Barrier::new(WRITERS);
    let two_are_dead = Barrier::new(WRITERS);
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (remote, middle, dead) = (&remote, &all_in_the_middle, &two_are_dead);
            scope.spawn(move || {
                let bytes = dump(writer, 1);
                let (front, back) = bytes.split_at(bytes.len() / 2);
                let mut running = Running::start(backup(remote, writer));
                // A pipe holds 64 KiB: when all of it was taken, the backup is well under way.
                let taken = running.feed(front);
                middle.wait();
                assert!(taken);
                if is_killed(writer) {
                    running.signal(Signal::KILL);
                    assert_eq!(running.wait().signal, Some(Signal::KILL.as_raw()));
                    dead.wait();
                } else {
                    dead.wait();
                    assert!(running.feed(back));
                    running.wait().expect(exit::OK);
                }
            });
        }
    });

    let listed = remote.run(["snapshots", "--json"]).expect(exit::OK).json();
    assert_eq!(listed["snapshots"].as_array().unwrap().len(), 1 + WRITERS - 2, "{listed}");
    for writer in (0..WRITERS).filter(|writer| !is_killed(*writer)) {
        assert!(restored(&remote, &series(writer)) == dump(writer, 1), "{}", series(writer));
    }
    assert!(restored(&remote, "series2") == before);
    remote.run(["check", "--read-data"]).expect(exit::OK);

    // What the killed ones left does not bother anybody, and is used.
    for writer in (0..WRITERS).filter(|writer| is_killed(*writer)) {
        run(backup(&remote, writer), &dump(writer, 1)).expect(exit::OK);
        assert!(restored(&remote, &series(writer)) == dump(writer, 1), "{}", series(writer));
    }
    remote.run(["check", "--read-data"]).expect(exit::OK);
}
