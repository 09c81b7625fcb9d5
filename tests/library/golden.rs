//! Golden repositories: what a version of the format wrote is restored by every later program, and by a reader that
//! shares no code with it.

// Clippy sees a test only where `#[test]` stands; there are helpers here.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::print_stderr)]

use crate::support::contents::content;
use crate::support::golden;
use crate::support::golden::{PASSPHRASE, passphrase};
use crate::support::independent;
use crate::support::independent::Unlock;
use crate::support::small;
use dumpvault::base::event::{Cancel, Silent};
use dumpvault::base::id::SnapshotId;
use dumpvault::base::secret::OsEntropy;
use dumpvault::content::codec::Level;
use dumpvault::source::sample::{SampleConfig, SampleDump};
use dumpvault::storage::local::LocalStorage;
use dumpvault::vault::check::{CheckSettings, ReadData};
use dumpvault::vault::crypto::{Credential, KeyFile};
use dumpvault::vault::format::config::Config;
use dumpvault::vault::gc::PruneSettings;
use dumpvault::vault::reader::{Locator, ReadSettings};
use dumpvault::vault::snapshot::{Proof, Stream, StreamFormat};
use dumpvault::vault::writer::{Basis, CommitRequest, PipelineSettings};
use dumpvault::vault::{Repository, Surroundings};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
const BY_PROGRAM: &str = "v1-program";
const BY_HAND: &str = "v1-hand";
/// By the program of that version, as a person runs it.
const RELEASES: [&str; 1] = ["v0.2.0"];
const ALL: [&str; 3] = [BY_PROGRAM, BY_HAND, RELEASES[0]];
/// What an opening reads of a repository that was made when version 1 was another format.
const OLD: &str = "before-first-release";

/// A stream that a golden repository must yield.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Expected {
    snapshot: String,
    series: String,
    stream: String,
    bytes: u64,
    digest: String,
    /// The name under which `contents.rs` makes the same bytes again.
    content: String,
}

fn expected(fixture: &str) -> Vec<Expected> {
    let text = std::fs::read(Path::new(FIXTURES).join(fixture).join("expected.json")).unwrap();
    let entries: Value = serde_json::from_slice(&text).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let entry = |entry: &Value| Expected {
        snapshot: text(&entry["snapshot"]),
        series: text(&entry["series"]),
        stream: text(&entry["stream"]),
        bytes: entry["bytes"].as_u64().unwrap(),
        digest: text(&entry["digest"]),
        content: text(&entry["content"]),
    };
    entries.as_array().unwrap().iter().map(entry).collect()
}

/// A copy of a golden repository, which tests may not change.
struct Golden {
    _folder: TempDir,
    repository: PathBuf,
    key_file: PathBuf,
    append_key: PathBuf,
    cache: PathBuf,
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}

fn golden(fixture: &str) -> Golden {
    let folder = tempfile::tempdir().unwrap();
    let all = folder.path().join("copy");
    copy(&Path::new(FIXTURES).join(fixture), &all);
    Golden {
        repository: all.join("repository"),
        key_file: all.join("key"),
        append_key: all.join("append-key"),
        cache: folder.path().join("cache"),
        _folder: folder,
    }
}

fn open(repository: &Path, credential: &Credential, cache: &Path) -> Repository {
    let storage = Arc::new(LocalStorage::open(repository).unwrap());
    let surroundings = Surroundings::new(Arc::new(OsEntropy), cache.to_owned());
    Repository::open(storage, credential, &surroundings).unwrap()
}

fn read(repo: &Repository, stream: &Stream, range: Option<Range<u64>>) -> Vec<u8> {
    let mut catalog = repo.catalog(&Silent).unwrap();
    let history = repo.history(&mut catalog).unwrap();
    let locator = Arc::new(Mutex::new(Locator::new(repo, catalog, history.damaged_packs)));
    let mut out = Vec::new();
    let mut write = |bytes: &[u8]| {
        out.extend_from_slice(bytes);
        Ok(())
    };
    let (settings, cancel) = (ReadSettings::local(1), Cancel::new());
    match range {
        None => repo.reader().read_stream(&locator, stream, settings, &Silent, &cancel, &mut write).unwrap(),
        Some(range) => {
            repo.reader().read_range(&locator, stream, range, settings, &cancel, &mut write).unwrap()
        }
    };
    out
}

/// All committed snapshots' streams, oldest first, with the snapshot's id and series.
fn streams(repo: &Repository) -> Vec<(SnapshotId, String, Stream)> {
    let mut catalog = repo.catalog(&Silent).unwrap();
    let history = repo.history(&mut catalog).unwrap();
    assert!(history.damaged.is_empty(), "{:?}", history.damaged);
    let mut streams = Vec::new();
    for summary in history.snapshots {
        let body = repo.body(&mut catalog, &summary.id).unwrap();
        streams
            .extend(body.streams.into_iter().map(|stream| (summary.id, summary.head.series.clone(), stream)));
    }
    streams
}

#[test]
fn expected_digests_are_those_of_contents_that_can_be_made_again() {
    for expected in ALL.into_iter().flat_map(expected) {
        let bytes = content(&expected.content);
        assert_eq!(bytes.len() as u64, expected.bytes, "{}", expected.content);
        assert_eq!(blake3::hash(&bytes).to_string(), expected.digest, "{}", expected.content);
    }
}

#[test]
fn this_version_has_a_golden_repository() {
    let this = format!("v{}", env!("CARGO_PKG_VERSION"));
    assert!(RELEASES.contains(&this.as_str()), "make the one of {this}: tests/fixtures/README.md");
    let mut folders: BTreeSet<String> = std::fs::read_dir(FIXTURES)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with('v'))
        .collect();
    folders.retain(|name| !ALL.contains(&name.as_str()));
    assert!(folders.is_empty(), "no test restores {folders:?}");
}

/// What an older program began goes on: a backup, a prune that copies and deletes, a check; by our reader and another.
#[test]
fn a_repository_of_every_release_goes_on_and_restores_old_and_new_alike() {
    for fixture in RELEASES {
        let golden = golden(fixture);
        let repo = open(&golden.repository, &passphrase(), &golden.cache);
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let expected = expected(fixture);
        let forgotten = streams(&repo).iter().find(|(_, series, _)| series == "shop").unwrap().0;
        let new =
            golden::backup(&repo, ("golden", "shop"), 400, Level::DEFAULT, &[("shop", "shop day 1")], &[]);
        repo.forget(&[forgotten]).unwrap();
        let settings = PruneSettings { grace: std::time::Duration::ZERO, ..PruneSettings::new(now_ms) };
        repo.prune(&settings, &Silent, &Cancel::new()).unwrap();
        repo.drop_catalog().unwrap();
        let repo = open(&golden.repository, &passphrase(), &golden.cache);
        let settings = CheckSettings::new(ReadData::All, now_ms, 1);
        let report = repo.checker().check(settings, &Silent, &Cancel::new()).unwrap();
        assert!(report.is_clean(), "{fixture}: {:?} {:?}", report.damage, report.hits);
        let wanted: BTreeMap<(String, String), Vec<u8>> = expected
            .iter()
            .filter(|one| one.snapshot != forgotten.to_string())
            .map(|one| ((one.snapshot.clone(), one.stream.clone()), content(&one.content)))
            .chain([((new.to_string(), "shop".to_owned()), content("shop day 1"))])
            .collect();
        let found = streams(&repo);
        assert_eq!(found.len(), wanted.len(), "{fixture}");
        for (snapshot, _, stream) in found {
            let content = &wanted[&(snapshot.to_string(), stream.name.clone())];
            assert!(read(&repo, &stream, None) == *content, "{fixture}: {}", stream.name);
            let arguments = [snapshot.to_string(), "--stream".to_owned(), stream.name.clone()];
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let unlock = Unlock::KeyFile(&golden.key_file);
            let theirs = independent::stdout(independent::read(&golden.repository, &unlock, &arguments));
            assert!(theirs == *content, "{fixture}: {}", stream.name);
        }
    }
}

#[test]
fn every_stream_of_every_golden_repository_is_restored_bit_for_bit() {
    for fixture in ALL {
        let golden = golden(fixture);
        let (key_file, _) = KeyFile::read(&golden.key_file).unwrap();
        for credential in [passphrase(), Credential::KeyFile(key_file)] {
            let repo = open(&golden.repository, &credential, &golden.cache);
            let (found, expected) = (streams(&repo), expected(fixture));
            assert_eq!(found.len(), expected.len(), "{fixture}");
            for ((snapshot, series, stream), expected) in found.iter().zip(&expected) {
                let found = (snapshot.to_string(), series.as_str(), stream.name.as_str());
                assert_eq!(
                    found,
                    (expected.snapshot.clone(), &*expected.series, &*expected.stream),
                    "{fixture}"
                );
                let what = format!("{fixture} {} {}", snapshot.short(), stream.name);
                assert!(read(&repo, stream, None) == content(&expected.content), "{what}");
            }
            repo.drop_catalog().unwrap();
        }
    }
}

#[test]
fn any_range_of_a_golden_stream_is_that_range_of_its_content() {
    for fixture in ALL {
        let golden = golden(fixture);
        let repo = open(&golden.repository, &passphrase(), &golden.cache);
        for ((_, _, stream), expected) in streams(&repo).iter().zip(expected(fixture)) {
            let content = content(&expected.content);
            let len = content.len() as u64;
            for (start, end) in
                [(0, 0), (len, len), (len / 3, len / 3 + 1), (len / 5, len - len / 7), (1, len)]
            {
                let range = start.min(len)..end.clamp(start.min(len), len);
                let wanted = &content[range.start as usize..range.end as usize];
                let what = format!("{fixture} {} {range:?}", stream.name);
                assert!(read(&repo, stream, Some(range)) == wanted, "{what}");
            }
        }
    }
}

#[test]
fn the_independent_reader_lists_and_restores_every_golden_stream_alike() {
    for fixture in ALL {
        let golden = golden(fixture);
        for unlock in [Unlock::Password(PASSPHRASE), Unlock::KeyFile(&golden.key_file)] {
            let list = list(&golden, &unlock);
            for expected in expected(fixture) {
                assert!(
                    list.contains(&expected.snapshot) && list.contains(&expected.digest),
                    "{fixture}: {list}"
                );
                // The key file opens the same bundle: listing shows it, and the streams need no second reading.
                if let Unlock::Password(_) = unlock {
                    let arguments = [expected.snapshot.as_str(), "--stream", &expected.stream];
                    let restored =
                        independent::stdout(independent::read(&golden.repository, &unlock, &arguments));
                    assert!(restored == content(&expected.content), "{fixture} {arguments:?}");
                }
            }
            let listed = list.lines().filter(|line| line.starts_with('\t')).count();
            assert_eq!(listed, expected(fixture).len(), "it lists what nothing committed: {list}");
        }
    }
}

fn list(golden: &Golden, unlock: &Unlock<'_>) -> String {
    let list = independent::stdout(independent::read(&golden.repository, unlock, &["--list"]));
    String::from_utf8(list).unwrap()
}

/// Keys of the objects that count for nothing, as the independent reader says.
fn foreign(list: &str) -> BTreeSet<String> {
    let lines = list.lines().filter_map(|line| line.strip_prefix("foreign\t"));
    lines.map(|line| line.split('\t').next().unwrap().to_owned()).collect()
}

#[test]
fn both_readers_pass_over_the_same_objects_that_count_for_nothing() {
    for fixture in ALL {
        let golden = golden(fixture);
        let repo = open(&golden.repository, &passphrase(), &golden.cache);
        let history = repo.history(&mut repo.catalog(&Silent).unwrap()).unwrap();
        let ours: BTreeSet<String> = history.foreign.into_iter().map(|foreign| foreign.object).collect();
        let list = list(&golden, &Unlock::Password(PASSPHRASE));
        let theirs = foreign(&list);
        assert!(ours.is_subset(&theirs), "{fixture}: {ours:?} {list}");
        // What the other one names beyond that are marks that say what their authors may not.
        let snapshot = |key: &&String| !key.starts_with("marks/");
        assert!(
            theirs.iter().filter(snapshot).eq(ours.iter().filter(snapshot)),
            "{fixture}: {ours:?} {list}"
        );
        let (foreign, silenced) = (ours.len(), theirs.len() - ours.len());
        assert_eq!((foreign, silenced), if fixture == BY_HAND { (2, 6) } else { (0, 0) }, "{list}");
    }
}

#[test]
fn an_append_key_lists_every_golden_snapshot_and_reads_none() {
    for fixture in ALL {
        let golden = golden(fixture);
        let (key_file, _) = KeyFile::read(&golden.append_key).unwrap();
        let repo = open(&golden.repository, &Credential::KeyFile(key_file), &golden.cache);
        let snapshots = repo.history(&mut repo.catalog(&Silent).unwrap()).unwrap().snapshots;
        let unlock = Unlock::KeyFile(&golden.append_key);
        let list = list(&golden, &unlock);
        let named: BTreeSet<String> = expected(fixture).into_iter().map(|stream| stream.snapshot).collect();
        assert_eq!(snapshots.len(), named.len(), "{fixture}");
        for snapshot in snapshots {
            let id = snapshot.id.to_string();
            assert!(named.contains(&id) && list.contains(&id), "{fixture}: {list}");
            assert!(repo.body(&mut repo.catalog(&Silent).unwrap(), &snapshot.id).is_err());
        }
        let output = independent::read(&golden.repository, &unlock, &["latest"]);
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && message.contains("this key can write only"), "{message}");
    }
}

#[test]
fn a_repository_from_before_the_first_release_is_refused_in_one_sentence() {
    let golden = golden(OLD);
    let storage = Arc::new(LocalStorage::open(&golden.repository).unwrap());
    let surroundings = Surroundings::new(Arc::new(OsEntropy), golden.cache.clone());
    let error = Repository::open(storage, &passphrase(), &surroundings).err().unwrap();
    let sentence = "this repository was made before the first release of dumpvault";
    let (mut message, mut beneath) = (error.to_string(), std::error::Error::source(&error));
    while let Some(source) = beneath {
        message = format!("{message}: {source}");
        beneath = source.source();
    }
    assert!(message.contains(sentence) && message.lines().count() == 1, "{message}");
    let output = independent::read(&golden.repository, &Unlock::Password(PASSPHRASE), &["--list"]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains(sentence) && message.lines().count() == 1, "{message}");
}

#[test]
fn the_independent_reader_notices_a_flipped_bit_in_any_object_that_a_restore_needs() {
    let golden = golden(BY_HAND);
    let unlock = Unlock::KeyFile(&golden.key_file);
    let mut objects = Vec::new();
    let storage = LocalStorage::open(&golden.repository).unwrap();
    dumpvault::storage::Storage::list(&storage, "", &mut |listed| objects.push(listed.key)).unwrap();
    // Of packs only some matter to one stream; sessions and plans matter to none.
    objects.retain(|key| !["packs/", "sessions/", "gc/"].iter().any(|folder| key.starts_with(folder)));
    for folder in ["authors/", "epochs/", "marks/", "snapshots/", "index/", "keys/"] {
        assert!(objects.iter().any(|key| key.starts_with(folder)), "{folder}");
    }
    for key in objects {
        let path = golden.repository.join(&key);
        let whole = std::fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, flipped).unwrap();
        let output = independent::read(&golden.repository, &unlock, &["latest", "--stream", "deep"]);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{key}: {message}");
        assert!(
            message.starts_with("independent_reader: ") && message.lines().count() == 1,
            "{key}: {message}"
        );
        std::fs::write(&path, whole).unwrap();
    }
}

/// Changes the last byte of an object, which is of its signature or, in a slot, of its commitment, and gives it the
/// name that it then has.
fn forge(repository: &Path, key: &str) -> String {
    let mut bytes = std::fs::read(repository.join(key)).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::remove_file(repository.join(key)).unwrap();
    let forged = match key.split_once('/') {
        Some((folder, _)) => format!("{folder}/{}", blake3::hash(&bytes).to_hex()),
        None => key.to_owned(),
    };
    std::fs::write(repository.join(&forged), bytes).unwrap();
    forged
}

#[test]
fn the_independent_reader_believes_no_object_that_its_author_did_not_sign() {
    let golden = golden(BY_PROGRAM);
    let unlock = Unlock::KeyFile(&golden.key_file);
    let storage = LocalStorage::open(&golden.repository).unwrap();
    let mut objects = Vec::new();
    dumpvault::storage::Storage::list(&storage, "", &mut |listed| objects.push(listed.key)).unwrap();
    let slots: Vec<String> = objects.extract_if(.., |key| key.starts_with("keys/")).collect();
    objects.retain(|key| !key.starts_with("packs/"));
    for folder in ["config", "authors/", "epochs/", "snapshots/", "marks/", "index/"] {
        assert!(objects.iter().any(|key| key.starts_with(folder)), "{folder}");
    }
    for key in objects {
        let whole = std::fs::read(golden.repository.join(&key)).unwrap();
        let forged = forge(&golden.repository, &key);
        let output = independent::read(&golden.repository, &unlock, &["--list"]);
        if output.status.success() {
            let list = String::from_utf8(output.stdout).unwrap();
            assert!(foreign(&list).contains(&forged), "{key}: {list}");
        }
        std::fs::remove_file(golden.repository.join(forged)).unwrap();
        std::fs::write(golden.repository.join(&key), whole).unwrap();
    }
    slots.iter().for_each(|key| drop(forge(&golden.repository, key)));
    let output = independent::read(&golden.repository, &unlock, &["--list"]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("no key slot opens"));
}

#[test]
fn the_independent_reader_refuses_a_wrong_passphrase() {
    let golden = golden(BY_PROGRAM);
    let output = independent::read(&golden.repository, &Unlock::Password("wrong"), &["--list"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("no key slot opens"));
}

#[test]
fn the_independent_reader_restores_a_fresh_repository_of_two_days() {
    let folder = tempfile::tempdir().unwrap();
    let (repository, cache) = (folder.path().join("repository"), folder.path().join("cache"));
    let storage = Arc::new(LocalStorage::create(&repository).unwrap());
    let surroundings = Surroundings::new(Arc::new(OsEntropy), cache);
    let repo = Repository::init(storage, &passphrase(), "", Config::new(0), &surroundings).unwrap();
    let mut days = Vec::new();
    for day in 0..2 {
        let mut dump = Vec::new();
        SampleDump::new(SampleConfig::new(7, 20 << 20).day(day)).unwrap().read_to_end(&mut dump).unwrap();
        days.push((backup(&repo, u64::from(day), &dump), dump));
    }
    let unlock = Unlock::Password(PASSPHRASE);
    let latest = independent::stdout(independent::read(&repository, &unlock, &["latest"]));
    assert!(latest == days[1].1);
    for (snapshot, dump) in days {
        let restored = independent::stdout(independent::read(&repository, &unlock, &[&snapshot.short()]));
        assert!(restored == dump);
    }
}

fn backup(repo: &Repository, day: u64, bytes: &[u8]) -> SnapshotId {
    let mut catalog = repo.catalog(&Silent).unwrap();
    let history = repo.history(&mut catalog).unwrap();
    let presence = repo.reconcile(&mut catalog, &history.damaged_packs).unwrap();
    let settings =
        PipelineSettings { level: dumpvault::content::codec::Level::DEFAULT, read_back: true, workers: 2 };
    let mut session = repo.writer().begin_backup(catalog, presence, settings).unwrap();
    let stored = session.store("orders", &mut &bytes[..], Basis::Chunks, &Silent, &Cancel::new()).unwrap();
    let finished = stored.finish(Proof::Exited, StreamFormat::PgCustom, BTreeMap::new());
    let request = CommitRequest {
        series: "orders".into(),
        time_ms: 1_790_000_000_000 + day as i64,
        now_ms: 1_790_000_001_000,
        ..small::request(day + 1)
    };
    session.commit(vec![finished], request).unwrap().summary.id
}

/// Which content each stream was made of, by series, position and name.
fn content_name(fixture: &str, series: &str, counter: u64, stream: &str) -> String {
    match (fixture, series, stream) {
        (BY_PROGRAM, "app", "app") if counter == 3 => "app day 2".into(),
        (BY_PROGRAM, "app", "app") => "app day 0".into(),
        (BY_PROGRAM, "cache", "x/ü") => "one byte".into(),
        ("v0.2.0", "shop", _) => format!("shop day {}", counter - 1),
        ("v0.2.0", "edge", _) => "mixed".into(),
        (BY_HAND, "edge", _) => "app day 2".into(),
        (BY_HAND, _, "app") => format!("app day {}", counter - 1),
        (BY_HAND, _, "deep") => "swapped 32".into(),
        _ => stream.into(),
    }
}

#[test]
#[ignore = "makes the golden repositories of a new format version; see tests/fixtures/README.md"]
fn make_golden() {
    for fixture in ALL {
        let folder = Path::new(FIXTURES).join(fixture);
        if folder.exists() {
            // What is there is never made again.
            continue;
        }
        std::fs::create_dir(&folder).unwrap();
        let cache = tempfile::tempdir().unwrap();
        let repository = folder.join("repository");
        match fixture {
            BY_PROGRAM => golden::make_by_program(&repository, &folder, cache.path()),
            _ if RELEASES.contains(&fixture) => golden::make_by_release(&repository, &folder, cache.path()),
            _ => golden::make_by_hand(&repository, &folder),
        }
        let repo = open(&repository, &passphrase(), cache.path());
        let mut catalog = repo.catalog(&Silent).unwrap();
        let mut entries = Vec::new();
        for summary in repo.history(&mut catalog).unwrap().snapshots {
            for stream in repo.body(&mut catalog, &summary.id).unwrap().streams {
                let content = content_name(fixture, &summary.head.series, summary.head.counter, &stream.name);
                entries.push(json!({
                    "snapshot": summary.id.to_string(),
                    "series": summary.head.series,
                    "stream": stream.name,
                    "bytes": stream.bytes,
                    "digest": stream.digest.to_string(),
                    "content": content,
                }));
            }
        }
        let text = serde_json::to_string_pretty(&entries).unwrap() + "\n";
        std::fs::write(folder.join("expected.json"), text).unwrap();
        // Folders that hold no object are not kept by version control.
        let _ = std::fs::remove_dir_all(repository.join("tmp"));
    }
}
