//! Streams that say of parts of themselves that they are their parent's: nothing of these is read, and every byte comes
//! back.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use dumpvault::base::calendar::Calendar;
use dumpvault::base::clock::SystemClock;
use dumpvault::base::event::{Cancel, Silent};
use dumpvault::base::id::StreamDigest;
use dumpvault::base::numbers::StreamFormat;
use dumpvault::base::secret::{OsEntropy, Passphrase};
use dumpvault::content::codec::Level;
use dumpvault::engine::OpError;
use dumpvault::engine::backup::{
    BackupReport, BackupRequest, ParentChoice, PlannedStream, READ_AMPLIFICATION_MAX, StartedDump, backup,
};
use dumpvault::source::{Dump, SourceError};
use dumpvault::storage::Storage;
use dumpvault::storage::memory::MemoryStorage;
use dumpvault::vault::crypto::Credential;
use dumpvault::vault::format::config::Config;
use dumpvault::vault::reader::{Locator, ReadSettings};
use dumpvault::vault::snapshot::{DigestKind, Proof, Stream};
use dumpvault::vault::{Repository, Surroundings};
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex};

#[derive(Debug, Clone)]
enum Part {
    New(Vec<u8>),
    Copy(Range<u64>),
}

/// A stream of parts, with the digest that it says.
struct Parts {
    parts: VecDeque<Part>,
    digest: Option<StreamDigest>,
}

impl Read for Parts {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(Part::New(bytes)) = self.parts.front_mut() {
            if bytes.is_empty() {
                self.parts.pop_front();
                continue;
            }
            let count = bytes.len().min(buffer.len());
            buffer[..count].copy_from_slice(&bytes[..count]);
            bytes.drain(..count);
            return Ok(count);
        }
        Ok(0)
    }
}

impl Dump for Parts {
    fn finish(self: Box<Self>) -> Result<Proof, SourceError> {
        Ok(Proof::Structure)
    }

    fn format(&self) -> Option<StreamFormat> {
        Some(StreamFormat::FileData)
    }

    fn copy(&mut self) -> Option<Range<u64>> {
        match self.parts.pop_front() {
            Some(Part::Copy(range)) => Some(range),
            _ => None,
        }
    }

    fn digest(&self) -> Option<StreamDigest> {
        self.digest
    }
}

struct World {
    repo: Repository,
    _cache: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let cache = tempfile::tempdir().unwrap();
        let around = Surroundings::new(Arc::new(OsEntropy), cache.path().into());
        let shared: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let passphrase = Credential::Passphrase(Passphrase::new("a long enough passphrase".into()));
        let repo = Repository::init(shared, &passphrase, "", Config::new(0), &around).unwrap();
        Self { repo, _cache: cache }
    }

    fn back_up(&self, parts: &[Part], digest: Option<StreamDigest>) -> Result<BackupReport, OpError> {
        let request = BackupRequest {
            series: "files".into(),
            host: "here".into(),
            time: None,
            tags: Vec::new(),
            calendar: Calendar::default(),
            level: Level::DEFAULT,
            allow_empty: true,
            workers: 2,
            parent: ParentChoice::Newest,
            read_amplification_max: READ_AMPLIFICATION_MAX,
            suspect_below: 0.0,
            source: BTreeMap::from([("kind".to_owned(), "files".to_owned())]),
            set: None,
        };
        let dump = Parts { parts: parts.to_vec().into(), digest };
        let start = Box::new(|| {
            Ok(StartedDump { dump: Box::new(dump) as Box<dyn Dump>, attributes: BTreeMap::new() })
        });
        let stream = PlannedStream { name: "files/data".into(), start };
        backup(&self.repo, &SystemClock, request, vec![stream], &Silent, &Cancel::new())
    }

    fn store(&self, parts: &[Part]) -> Stream {
        let report = self.back_up(parts, Some(DIGEST)).unwrap();
        assert_eq!(report.damage, Vec::<String>::new());
        report.committed.body.streams[0].clone()
    }

    fn restore(&self, stream: &Stream) -> Vec<u8> {
        let locator = Locator::new(&self.repo, self.repo.catalog(&Silent).unwrap(), Default::default());
        let (mut out, cancel) = (Vec::new(), Cancel::new());
        let mut write = |bytes: &[u8]| {
            out.extend_from_slice(bytes);
            Ok(())
        };
        let settings = ReadSettings::local(2);
        let locator = Arc::new(Mutex::new(locator));
        self.repo.reader().read_stream(&locator, stream, settings, &Silent, &cancel, &mut write).unwrap();
        out
    }
}

const DIGEST: StreamDigest = StreamDigest::from_bytes([7; 32]);

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// What parts come to, over a parent.
fn whole(parts: &[Part], parent: &[u8]) -> Vec<u8> {
    let each = parts.iter().map(|part| match part {
        Part::New(bytes) => bytes.as_slice(),
        Part::Copy(range) => &parent[range.start as usize..range.end as usize],
    });
    each.collect::<Vec<_>>().concat()
}

#[test]
fn given_a_copy_of_all_then_nothing_is_read_or_stored_and_the_recipe_is_the_parents() {
    let world = World::new();
    let bytes = noise(1, 5_000_000);
    let first = world.store(&[Part::New(bytes.clone())]);
    let again = world.store(&[Part::Copy(0..bytes.len() as u64)]);
    assert_eq!((again.root, again.bytes, again.digest), (first.root, first.bytes, DIGEST));
    assert_eq!((again.stats.bytes_stored, again.stats.recipe_bytes_stored), (0, 0));
    assert_eq!(again.stats.bytes_parent_read, Some(0));
    // In many parts it is the same.
    let cuts = [0u64, 1, 17, 100_000, 100_001, 3_000_000, 5_000_000];
    let parts: Vec<Part> = cuts.windows(2).map(|pair| Part::Copy(pair[0]..pair[1])).collect();
    let parts = world.store(&parts);
    assert_eq!((parts.root, parts.digest_kind()), (first.root, DigestKind::OfFiles));
    assert_eq!(world.restore(&parts), bytes);
}

#[test]
fn given_many_short_parts_between_copies_then_no_buffer_gets_lost() {
    let world = World::new();
    let old = noise(2, 400_000);
    world.store(&[Part::New(old.clone())]);
    // Two copies in a row that cannot be joined have no bytes between them.
    let parts: Vec<Part> = (0..200u64)
        .flat_map(|at| {
            let place = (199 - at) * 2000;
            [Part::Copy(place..place + 700), Part::Copy(place + 900..place + 1500), Part::New(noise(at, 30))]
        })
        .collect();
    let stream = world.store(&parts);
    assert!(world.restore(&stream) == whole(&parts, &old));
}

#[test]
fn given_a_changed_part_then_it_is_compared_with_what_stood_there() {
    let world = World::new();
    let old = noise(3, 3_000_000);
    world.store(&[Part::New(old.clone())]);
    let mut changed = old[1_000_000..2_000_000].to_vec();
    changed[500_000..500_100].fill(b'x');
    let parts = [Part::Copy(0..1_000_000), Part::New(changed), Part::Copy(2_000_000..3_000_000)];
    let stream = world.store(&parts);
    assert!(world.restore(&stream) == whole(&parts, &old));
    assert!(stream.stats.bytes_new < 300_000, "{:?}", stream.stats);
}

#[test]
fn given_copies_that_cannot_be_then_nothing_is_committed() {
    let world = World::new();
    let refused = |parts: &[Part], digest, why: &str| {
        let error = world.back_up(parts, digest).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    };
    refused(&[Part::Copy(0..5)], Some(DIGEST), "a parent that is not there");
    world.store(&[Part::New(noise(4, 100))]);
    refused(&[Part::Copy(50..101)], Some(DIGEST), "bytes that its parent does not have");
    refused(&[Part::Copy(7..7)], Some(DIGEST), "bytes that its parent does not have");
    refused(&[Part::Copy(0..100)], None, "no digest");
    assert_eq!(world.restore(&world.store(&[Part::Copy(0..100)])), noise(4, 100));
}

/// Numbers that make a day's parts: whether new, where from, how much.
fn days() -> impl Strategy<Value = Vec<Vec<(bool, prop::sample::Index, usize)>>> {
    let len = prop_oneof![1usize..200, 1000usize..70_000];
    let part = (prop::bool::weighted(0.3), any::<prop::sample::Index>(), len);
    prop::collection::vec(prop::collection::vec(part, 1..12), 2..35)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn whatever_is_copied_day_after_day_comes_back(days in days()) {
        let world = World::new();
        let mut bytes = noise(0, 300_000);
        let mut stored = vec![(world.store(&[Part::New(bytes.clone())]), bytes.clone())];
        for (day, numbers) in (0u64..).zip(days) {
            let part = |(at, (is_new, from, len)): (u64, (bool, prop::sample::Index, usize))| {
                if is_new {
                    return Part::New(noise(day * 100 + at, len));
                }
                let from = from.index(bytes.len()) as u64;
                Part::Copy(from..(from + len as u64).min(bytes.len() as u64))
            };
            let parts: Vec<Part> = (0u64..).zip(numbers).map(part).collect();
            bytes = whole(&parts, &bytes);
            stored.push((world.store(&parts), bytes.clone()));
        }
        for (stream, right) in stored {
            prop_assert!(world.restore(&stream) == right);
        }
    }
}
