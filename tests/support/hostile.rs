//! Runs a reader, and then its owner, on what somebody with all the keys wrote to harm them: in a process of its own,
//! whose memory and processor time are bounded by the system, under a deadline.

use super::independent::{self, Unlock};
use super::test_writer::TestWriter;
use dumpvault::base::event::{Cancel, Event, Observer, Silent};
use dumpvault::base::id::SnapshotId;
use dumpvault::base::secret::OsEntropy;
use dumpvault::storage::local::LocalStorage;
use dumpvault::vault::check::{CheckSettings, ReadData};
use dumpvault::vault::crypto::{Credential, KeyFile};
use dumpvault::vault::gc::PruneSettings;
use dumpvault::vault::reader::{Locator, ReadSettings};
use dumpvault::vault::snapshot::Stream;
use dumpvault::vault::{RepoError, Repository, Surroundings};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

const CONFINED: &str = "DUMPVAULT_TEST_CONFINED";
/// What a restore may take in all, the test's own memory included.
const MEMORY_BYTES: u64 = 256 << 20;
const DEADLINE: Duration = Duration::from_secs(60);
/// More than this no test wants to see of a stream.
pub const OUTPUT_BYTES_MAX: usize = 48 << 20;

/// What a restore of the newest snapshot's first stream came to.
pub struct Outcome {
    pub result: Result<Vec<u8>, RepoError>,
    /// What was reported on the way without ending it, and what the history calls damaged.
    pub damage: Vec<String>,
    pub memory_peak_bytes: u64,
}

#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Observer for Notes {
    fn observe(&self, event: Event) {
        if let Event::Damage { object, message } = event {
            self.0.lock().unwrap().push(format!("{object}: {message}"));
        }
    }
}

/// Writes a repository with `make`, which gives the stream that the snapshot then names, restores it, and hands the
/// outcome to `judge`. All of it happens in a child process; the test fails when that does.
pub fn confined<M>(make: M, judge: impl FnOnce(&Path, Outcome))
where
    M: FnOnce(&mut TestWriter) -> Stream,
{
    // A closure's type is called after the function that it stands in.
    let name = std::any::type_name::<M>();
    let name = name.split_once("::").unwrap().1.rsplit_once("::").unwrap().0;
    if std::env::var_os(CONFINED).is_none() {
        let mut child = Command::new(std::env::current_exe().unwrap());
        let output = child.args([name, "--exact", "--nocapture"]).env(CONFINED, "1").output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && out.contains("1 passed"), "{}\n{out}\n{err}", output.status);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let repository = folder.path().join("repository");
    let mut writer = TestWriter::create(&repository);
    let stream = make(&mut writer);
    let snapshot = writer.snapshot("hostile", 1, vec![stream], &[]);
    writer.commit(snapshot);
    writer.slot(&Credential::KeyFile(KeyFile::create(&folder.path().join("key"), &OsEntropy).unwrap()));
    drop(writer);

    let limit = |bytes| Rlimit { current: Some(bytes), maximum: Some(bytes) };
    setrlimit(Resource::Data, limit(MEMORY_BYTES)).unwrap();
    setrlimit(Resource::Cpu, limit(2 * DEADLINE.as_secs())).unwrap();
    let (done, outcome) = mpsc::channel();
    let (path, cache) = (repository.clone(), folder.path().join("cache"));
    let key = folder.path().join("key");
    let owner = (path.clone(), key.clone(), cache.clone());
    std::thread::spawn(move || done.send(restore(&path, &key, &cache)));
    let outcome = soon(&outcome);
    let was = outcome.result.as_ref().ok().cloned();
    judge(folder.path(), outcome);
    let (done, cared_for) = mpsc::channel();
    std::thread::spawn(move || {
        care(&owner.0, &owner.1, &owner.2, was);
        done.send(())
    });
    soon(&cared_for);
}

/// What the other thread comes to.
fn soon<T>(outcome: &mpsc::Receiver<T>) -> T {
    match outcome.recv_timeout(DEADLINE) {
        Ok(outcome) => outcome,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("no end after {DEADLINE:?}"),
        Err(mpsc::RecvTimeoutError::Disconnected) => panic!("the reader panicked"),
    }
}

/// The owner checks, prunes and forgets. What could be restored still can; what cannot be is told, and stops nothing
/// once it is forgotten.
fn care(repository: &Path, key: &Path, cache: &Path, was: Option<Vec<u8>>) {
    let notes = Notes::default();
    let open = || {
        let storage = Arc::new(LocalStorage::open(repository).unwrap());
        let credential = Credential::KeyFile(KeyFile::read(key).unwrap().0);
        let surroundings = Surroundings::new(Arc::new(OsEntropy), cache.to_owned());
        Repository::open(storage, &credential, &surroundings).unwrap()
    };
    let repo = open();
    let settings = PruneSettings {
        grace: Duration::ZERO,
        ..PruneSettings::new(jiff::Timestamp::now().as_millisecond())
    };
    let prune = || repo.prune(&settings, &Silent, &Cancel::new());
    let check =
        || repo.checker().check(CheckSettings::new(ReadData::All, 0, 2), &Silent, &Cancel::new()).unwrap();
    check();
    match (prune(), &was) {
        (Ok(_), Some(bytes)) => {
            let restored = restored(repository, key, &cache.join("fresh"), &notes);
            assert!(restored.unwrap() == *bytes, "otherwise after a prune");
        }
        (Err(error), None) => assert!(error.is_integrity(), "{error}"),
        (Ok(_), None) => {}
        (Err(error), Some(_)) => panic!("the owner cannot prune: {error}"),
    }
    let history = repo.history(&mut repo.catalog(&Silent).unwrap()).unwrap();
    let damaged = history.damaged.iter().filter_map(|damage| damage.error.object());
    let damaged = damaged.filter_map(|object| object.strip_prefix("snapshots/")?.parse().ok());
    let all: Vec<SnapshotId> = history.snapshots.iter().map(|summary| summary.id).chain(damaged).collect();
    repo.forget(&all).unwrap();
    repo.forget_foreign().unwrap();
    prune().unwrap();
    let report = check();
    assert!(report.foreign.is_empty() && report.hits.is_empty(), "{report:?}");
}

/// The repository is refused with an integrity error that says one of `words`, and the independent reader refuses it,
/// too.
pub fn refused<M>(words: &[&str], make: M)
where
    M: FnOnce(&mut TestWriter) -> Stream,
{
    confined(make, |folder, outcome| {
        let error = outcome.result.expect_err("the restore succeeded");
        let mut said = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(next) = cause {
            said = format!("{said}: {next}");
            cause = next.source();
        }
        assert!(error.is_integrity(), "not an integrity error: {error:?}");
        assert!(
            words.iter().any(|word| said.contains(word)),
            "it said: {said}; damage: {:?}",
            outcome.damage
        );
        independent_refuses(folder);
    });
}

/// The independent reader ends with a message, not with a traceback.
pub fn independent_refuses(folder: &Path) {
    let unlock = Unlock::KeyFile(&folder.join("key"));
    let output = independent::read(&folder.join("repository"), &unlock, &["latest"]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "the independent reader: {message}");
    assert!(message.starts_with("independent_reader: ") && message.lines().count() == 1, "{message}");
}

fn restore(repository: &Path, key: &Path, cache: &Path) -> Outcome {
    let notes = Notes::default();
    let result = restored(repository, key, cache, &notes);
    Outcome { result, damage: notes.0.into_inner().unwrap(), memory_peak_bytes: memory_peak_bytes() }
}

fn restored(repository: &Path, key: &Path, cache: &Path, notes: &Notes) -> Result<Vec<u8>, RepoError> {
    let storage = Arc::new(LocalStorage::open(repository)?);
    let credential = Credential::KeyFile(KeyFile::read(key).unwrap().0);
    let surroundings = Surroundings::new(Arc::new(OsEntropy), cache.to_owned());
    let repo = Repository::open(storage, &credential, &surroundings)?;
    let mut catalog = repo.catalog(notes)?;
    let history = repo.history(&mut catalog)?;
    notes.0.lock().unwrap().extend(history.damaged.iter().map(|damage| damage.error.to_string()));
    let Some(newest) = history.snapshots.last() else {
        let first = history.damaged.into_iter().next();
        return Err(first.map_or(RepoError::Stopped, |damage| damage.error));
    };
    let body = repo.body(&mut catalog, &newest.id)?;
    let stream = body.streams.first().unwrap();
    let locator = Arc::new(Mutex::new(Locator::new(&repo, catalog, history.damaged_packs)));
    let mut out = Vec::new();
    let mut write = |bytes: &[u8]| {
        if out.len() + bytes.len() > OUTPUT_BYTES_MAX {
            return Err(std::io::Error::other("enough"));
        }
        out.extend_from_slice(bytes);
        Ok(())
    };
    // As little read ahead as there can be: what is bounded by a setting is not the question here.
    let settings = ReadSettings::new(2, 8 << 20, 1 << 20);
    repo.reader().read_stream(&locator, stream, settings, &Silent, &Cancel::new(), &mut write)?;
    Ok(out)
}

/// The most memory that the process has held so far.
fn memory_peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}
