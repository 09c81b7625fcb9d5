//! Two backups of one process at the same time, in the memory that `docs/data_path.md` names.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on fails; figures"
)]

use crate::support::small;
use dumpvault::base::numbers::Proof;
use dumpvault::engine::plan::{Afterwards, PlannedBackup, PlannedMember, SystemPlan};
use dumpvault::engine::prelude::*;
use dumpvault::engine::system::{Vaults, new_set, run_system};
use dumpvault::source::{Dump, PlannedStream, Source, SourceError, StartedDump};
use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

/// What `docs/data_path.md` grants each of two backups that a run makes at a time.
const EACH_BYTES: u64 = 173 << 20;
/// What every process of the program has: code that was made ready, the catalog's pages, stacks, what the allocator
/// keeps.
const BESIDE_BYTES: u64 = 32 << 20;
/// Bytes of a dump: several times what is held open.
const DUMP_BYTES: usize = 320 << 20;
/// One byte of so many differs from day to day.
const CHANGE_EVERY: usize = 300_000;
const FOLDER: &str = "DUMPVAULT_TEST_MEMORY";

/// A dump that cannot be compressed, the same every day but for some bytes. Both ends wait for the other dump's: the
/// two are open together from their first bytes to their last.
struct Noise {
    name: &'static str,
    day: u8,
    both: Arc<Barrier>,
}

struct NoiseDump {
    at: usize,
    /// Where it waited for the other.
    waited: usize,
    day: u8,
    words: blake3::OutputReader,
    both: Arc<Barrier>,
}

impl Source for Noise {
    fn describe(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("kind".to_owned(), "noise".to_owned())])
    }

    fn streams(self: Box<Self>, series: &str, _: &Run) -> Result<Vec<PlannedStream<'static>>, SourceError> {
        let start = Box::new(move || {
            let words = blake3::Hasher::new().update(self.name.as_bytes()).finalize_xof();
            let dump = NoiseDump { at: 0, waited: 0, day: self.day, words, both: self.both };
            Ok(StartedDump { dump: Box::new(dump) as Box<dyn Dump>, attributes: BTreeMap::new() })
        });
        Ok(vec![PlannedStream { name: series.to_owned(), start }])
    }
}

impl Read for NoiseDump {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        // The first bytes say that it is settled; only then the other begins.
        const FIRST: usize = 4096;
        if (self.at == FIRST || self.at == DUMP_BYTES) && self.waited != self.at {
            self.both.wait();
            self.waited = self.at;
        }
        let end = if self.at < FIRST { FIRST } else { DUMP_BYTES };
        let bytes = buffer.len().min(end - self.at);
        let buffer = &mut buffer[..bytes];
        self.words.fill(buffer);
        let first = self.at.next_multiple_of(CHANGE_EVERY) - self.at;
        buffer.iter_mut().skip(first).step_by(CHANGE_EVERY).for_each(|byte| *byte ^= self.day);
        self.at += bytes;
        Ok(bytes)
    }
}

impl Dump for NoiseDump {
    fn finish(self: Box<Self>) -> Result<Proof, SourceError> {
        Ok(Proof::Exited)
    }

    fn is_settled(&self) -> bool {
        true
    }
}

fn member(name: &'static str, day: u8, both: &Arc<Barrier>) -> PlannedMember {
    let source: Box<dyn Source> = Box::new(Noise { name, day, both: Arc::clone(both) });
    // More than a backup takes beside another.
    let request = small::backup_request(name, source.as_ref(), 16);
    PlannedMember {
        name: name.to_owned(),
        series: name.to_owned(),
        host: "here".to_owned(),
        attempts: vec![PlannedBackup { request, source }],
        required: true,
        needs: Vec::new(),
        hooks: Default::default(),
        programs: Default::default(),
    }
}

/// Anonymous memory that the process holds.
fn anonymous_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// The most that it holds while `work` is done.
fn peak_bytes(work: impl FnOnce()) -> u64 {
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut peak = 0;
            while !is_done.load(Ordering::SeqCst) {
                peak = peak.max(anonymous_bytes());
                std::thread::sleep(Duration::from_millis(2));
            }
            peak
        });
        work();
        is_done.store(true, Ordering::SeqCst);
        watch.join().unwrap()
    })
}

fn app(folder: &Path, key: &Path) -> App {
    let mut flags = Flags::default();
    flags.say("--repo", folder.join("repository").to_str());
    flags.say("--key-file", key.to_str());
    let variables = ["XDG_CACHE_HOME", "XDG_STATE_HOME"].map(|name| (name.into(), folder.join(name).into()));
    let directory = PathBuf::from("/");
    let environment =
        Environment { variables: HashMap::from(variables), directory, uid: 1000, is_interactive: false };
    App::new(&flags, Access::default(), environment, Arc::default()).unwrap()
}

#[test]
#[ignore = "a process that the test of memory starts"]
fn child_that_makes_two_backups_at_a_time() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let path = folder.join("key");
    let key = KeyFile::create(&path, &OsEntropy).unwrap();
    let app = app(&folder, &path);
    let run = Run::new(Arc::new(SystemClock), Arc::new(Silent), Cancel::new(), Room::default());
    let repo = app.init(&Credential::KeyFile(key), "memory", run.clock.now().as_millisecond()).unwrap();
    let both = Arc::new(Barrier::new(2));
    for day in 0..3 {
        let members = vec![member("one", day, &both), member("other", day, &both)];
        let plan = SystemPlan { name: None, members, at_once: 2, afterwards: Afterwards::default() };
        let vaults = Vaults { repo: &repo, maintenance: None, app: &app };
        let set = new_set(&OsEntropy).unwrap();
        let mut class = None;
        let peak = peak_bytes(|| class = run_system(plan, set, vaults, &run, &mut |_| ()).class());
        assert_eq!(class, None);
        println!("day {day}: {} MiB", peak >> 20);
        assert!(peak <= 2 * EACH_BYTES + BESIDE_BYTES, "day {day}: {} MiB", peak >> 20);
    }
}

#[test]
fn given_two_backups_of_one_process_at_the_same_time_then_they_stay_in_the_documented_memory() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/data_path.md")).unwrap();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let granted = format!("each takes {} MiB", EACH_BYTES >> 20);
    assert!(text.contains(&granted), "docs/data_path.md does not say `{granted}`");
    // A gigabyte is stored, on a real disk: that takes a minute.
    if std::env::var_os("DUMPVAULT_TEST_LONG").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let name = "memory::child_that_makes_two_backups_at_a_time";
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--ignored", "--exact", "--nocapture", name]).env(FOLDER, folder.path());
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    println!("{said}");
}
