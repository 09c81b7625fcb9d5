//! The engine without a command line: sources of any kind, several jobs in one process.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use crate::support::small::{self, restore};
use dumpvault::base::clock::SystemClock;
use dumpvault::base::event::{Cancel, Silent};
use dumpvault::base::fault::Class;
use dumpvault::base::numbers::Proof;
use dumpvault::base::run::{Room, Run};
use dumpvault::engine::backup::{BackupsReport, run_backups};
use dumpvault::engine::plan::{BackupPlan, PlannedBackup};
use dumpvault::source::{Dump, PlannedStream, Source, SourceError, StartedDump};
use dumpvault::storage::memory::MemoryStorage;
use dumpvault::vault::Repository;
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How many sources are being read, and how many were at most.
#[derive(Default)]
struct Watch {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// A source that no module of the program knows: so many bytes, slowly, or for ever.
struct Slow {
    watch: Arc<Watch>,
    pieces: usize,
}

struct SlowDump {
    watch: Arc<Watch>,
    pieces: usize,
    cancel: Cancel,
}

impl Source for Slow {
    fn describe(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("kind".to_owned(), "slow".to_owned())])
    }

    fn streams(self: Box<Self>, series: &str, run: &Run) -> Result<Vec<PlannedStream<'static>>, SourceError> {
        let cancel = run.cancel.clone();
        let start = Box::new(move || {
            let now = self.watch.now.fetch_add(1, Ordering::SeqCst) + 1;
            self.watch.most.fetch_max(now, Ordering::SeqCst);
            let dump = SlowDump { watch: self.watch, pieces: self.pieces, cancel };
            Ok(StartedDump { dump: Box::new(dump) as Box<dyn Dump>, attributes: BTreeMap::new() })
        });
        Ok(vec![PlannedStream { name: series.to_owned(), start }])
    }
}

impl Read for SlowDump {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(std::io::Error::other("stopped"));
        }
        if self.pieces == 0 {
            return Ok(0);
        }
        self.pieces -= 1;
        std::thread::sleep(Duration::from_millis(2));
        let bytes = buffer.len().min(1000);
        buffer[..bytes].fill(self.pieces as u8);
        Ok(bytes)
    }
}

impl Dump for SlowDump {
    fn finish(self: Box<Self>) -> Result<Proof, SourceError> {
        match self.cancel.is_cancelled() {
            true => Err(SourceError::Cancelled { program: "slow".to_owned() }),
            false => Ok(Proof::Exited),
        }
    }
}

impl Drop for SlowDump {
    fn drop(&mut self) {
        self.watch.now.fetch_sub(1, Ordering::SeqCst);
    }
}

fn plan(series: &str, watch: &Arc<Watch>, pieces: usize) -> BackupPlan {
    let source: Box<dyn Source> = Box::new(Slow { watch: Arc::clone(watch), pieces });
    let request = small::backup_request(series, source.as_ref(), 1);
    BackupPlan { backups: vec![PlannedBackup { request, source }] }
}

fn run(room: &Room) -> Run {
    Run::new(Arc::new(SystemClock), Arc::new(Silent), Cancel::new(), room.clone())
}

fn back_up(plan: BackupPlan, repo: &Repository, run: &Run) -> BackupsReport {
    run_backups(plan, repo, run, &mut |_| ())
}

/// Two backups of one process at the same time, in so much room: how many sources were open at once.
fn together(room: &Room) -> usize {
    let cache = small::scratch();
    let repo = small::init(MemoryStorage::new(), cache.path()).unwrap();
    let watch = Arc::new(Watch::default());
    std::thread::scope(|scope| {
        for series in ["one", "other"] {
            let (repo, watch) = (repo.clone(), &watch);
            scope.spawn(move || {
                let report = back_up(plan(series, watch, 50), &repo, &run(room));
                assert_eq!(report.class(), None);
                let committed = &report.outcomes[0].result.as_ref().unwrap().committed;
                assert_eq!(restore(&repo, &committed.summary.id).unwrap().len(), 50_000);
            });
        }
    });
    watch.most.load(Ordering::SeqCst)
}

#[test]
fn given_two_backups_in_one_process_then_they_share_its_room() {
    assert_eq!(together(&Room::new(256 << 20)), 1, "room for one: the other waits, its source not started");
    assert_eq!(together(&Room::new(1)), 1, "whatever the room, one runs");
    assert_eq!(together(&Room::new(1 << 30)), 2, "room for both");
}

#[test]
fn given_a_part_that_is_stopped_then_the_others_go_on() {
    let cache = small::scratch();
    let repo = small::init(MemoryStorage::new(), cache.path()).unwrap();
    let (whole, watch) = (run(&Room::new(1 << 30)), Arc::new(Watch::default()));
    let (one, other) = (whole.child(), whole.child());
    std::thread::scope(|scope| {
        let (endless, short) = (plan("endless", &watch, usize::MAX), plan("short", &watch, 20));
        let endless = scope.spawn({
            let (repo, one) = (repo.clone(), one.clone());
            move || back_up(endless, &repo, &one)
        });
        assert_eq!(back_up(short, &repo, &other).class(), None);
        one.cancel.cancel();
        assert_eq!(endless.join().unwrap().class(), Some(Class::Interrupted));
    });
    assert!(!whole.cancel.is_cancelled());
    assert_eq!(small::listed(&repo).unwrap().len(), 1, "nothing half-made is listed");
}

#[test]
fn given_a_source_that_fails_then_the_others_of_the_plan_are_stored_and_the_class_says_so() {
    let cache = small::scratch();
    let repo = small::init(MemoryStorage::new(), cache.path()).unwrap();
    let watch = Arc::new(Watch::default());
    // An empty dump is an error.
    let plans = [("empty", 0), ("good", 3)];
    let backups =
        plans.into_iter().flat_map(|(series, pieces)| plan(series, &watch, pieces).backups).collect();
    let mut told = Vec::new();
    let report = run_backups(BackupPlan { backups }, &repo, &run(&Room::default()), &mut |outcome| {
        told.push((outcome.series.clone(), outcome.result.is_ok()));
    });
    assert_eq!(told, [("empty".to_owned(), false), ("good".to_owned(), true)]);
    assert_eq!(report.class(), Some(Class::Partial));
    assert_eq!(
        back_up(plan("empty", &watch, 0), &repo, &run(&Room::default())).class(),
        Some(Class::NothingDone)
    );
}
