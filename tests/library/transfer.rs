//! Streams taken from a repository in which content has the same names, block by block.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use crate::support::small;
use crate::support::small::{HandClock, Kept};
use dumpvault::base::calendar::Calendar;
use dumpvault::base::event::{Cancel, Silent};
use dumpvault::base::id::PackId;
use dumpvault::content::codec::Level;
use dumpvault::engine::copy::{CopyRequest, Fate, copy};
use dumpvault::storage::memory::MemoryStorage;
use dumpvault::vault::reader::{Locator, ReadSettings};
use dumpvault::vault::snapshot::{Proof, StreamFormat};
use dumpvault::vault::writer::{CommitRequest, TransferError, TransferSource};
use dumpvault::vault::{RepoError, Repository, pack_key};
use std::sync::{Arc, Mutex};

/// A repository in memory.
struct Place {
    repo: Repository,
    storage: MemoryStorage,
    _cache: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let (storage, cache) = (small::memory(&HandClock::new()), small::scratch());
        Self { repo: small::init(storage.clone(), cache.path()).unwrap(), storage, _cache: cache }
    }

    /// One that is made for copies of this one.
    fn alike(&self) -> Self {
        let (storage, cache) = (small::memory(&HandClock::new()), small::scratch());
        let around = small::surroundings(cache.path());
        let credential = small::another_credential(9);
        let repo = self.repo.init_alike(Arc::new(storage.clone()), &credential, "", 0, &around).unwrap();
        Self { repo, storage, _cache: cache }
    }

    fn source(&self, window_bytes: u64, recompress: bool) -> TransferSource {
        let mut catalog = self.repo.catalog(&Silent).unwrap();
        let damaged = self.repo.history(&mut catalog).unwrap().damaged_packs;
        let locator = Arc::new(Mutex::new(Locator::new(&self.repo, catalog, damaged)));
        let settings = ReadSettings { workers: 3, ..ReadSettings::local(2) };
        TransferSource::new(&self.repo, &locator, settings, recompress).window(window_bytes)
    }

    /// Takes the stream over in a backup of its own.
    fn take(&self, source: &mut TransferSource, kept: &Kept) -> Result<Kept, TransferError> {
        let mut session = small::begin(&self.repo).unwrap();
        let stored = session.transfer(source, &kept.stream, &Silent, &Cancel::new())?;
        let committed = small::commit(session, stored, 1).unwrap();
        Ok(Kept::new(&committed, &kept.bytes))
    }

    fn holds(&self, kept: &Kept) {
        assert!(small::restore(&self.repo, &kept.id).unwrap() == *kept.bytes);
        let report = small::check(&self.repo).unwrap();
        assert!(report.is_clean(), "{report:?}");
    }

    fn pack_bytes(&self) -> u64 {
        self.repo.list_packs().unwrap().values().sum()
    }

    /// The pack of the most bytes, other than `but`.
    fn largest_pack(&self, but: Option<PackId>) -> PackId {
        let packs = self.repo.list_packs().unwrap().into_iter().filter(|(id, _)| Some(*id) != but);
        packs.max_by_key(|(_, bytes)| *bytes).unwrap().0
    }
}

/// Eight days of a table and bytes of their own, each day upon the one before.
fn days(repo: &Repository) -> Vec<Kept> {
    let mut days: Vec<Kept> = Vec::new();
    for day in 0..8 {
        let bytes = [small::table(600, day), small::noise(day, 9000)].concat();
        let parent = days.last().map(|day| day.stream.clone());
        days.push(small::backup(repo, day, &bytes, parent.as_ref()).unwrap());
    }
    days
}

#[test]
fn streams_arrive_whole_whatever_the_window_and_in_whatever_order() {
    let from = Place::new();
    let days = days(&from.repo);
    for (window_bytes, recompress) in [(1 << 30, false), (10_000, false), (777, true), (1 << 30, true)] {
        let to = from.alike();
        let mut source = from.source(window_bytes, recompress);
        for at in [7, 0, 3, 5, 7] {
            let copy = to.take(&mut source, &days[at]).unwrap();
            to.holds(&copy);
            assert_eq!(copy.stream.root, days[at].stream.root);
        }
        // One that is there takes nothing.
        let before = to.pack_bytes();
        let copy = to.take(&mut source, &days[0]).unwrap();
        assert_eq!((copy.stream.stats.bytes_new, to.pack_bytes()), (0, before));
    }
}

#[test]
fn a_stream_that_rests_on_a_copy_can_be_stored_there() {
    let from = Place::new();
    let days = days(&from.repo);
    let to = from.alike();
    let copy = to.take(&mut from.source(1 << 30, false), &days[7]).unwrap();
    let next = [small::table(600, 8), small::noise(8, 9000)].concat();
    let kept = small::backup(&to.repo, 2, &next, Some(&copy.stream)).unwrap();
    assert!(kept.stream.stats.bytes_copied > next.len() as u64 / 2, "{:?}", kept.stream.stats);
    to.holds(&kept);
}

#[test]
fn damage_at_the_source_is_told_and_a_chunk_that_another_pack_holds_is_taken_from_there() {
    // Packs are padded: that of the data is the larger one only if it holds more.
    let (from, bytes) = (Place::new(), small::noise(1, 150_000));
    let to = from.alike();
    let first = small::backup(&from.repo, 1, &bytes, None).unwrap();
    let harm = |pack: &PackId| {
        let harmed = from.storage.tamper(&pack_key(pack), |bytes| {
            let end = bytes.len() - 4000;
            bytes[2000..end].iter_mut().step_by(3000).for_each(|byte| *byte ^= 1);
        });
        assert!(harmed);
    };
    let one = from.largest_pack(None);
    harm(&one);
    match to.take(&mut from.source(1 << 30, false), &first) {
        Err(TransferError::Source(error)) => assert!(error.is_integrity(), "{error}"),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("damage was copied"),
    }
    assert!(small::listed(&to.repo).unwrap().is_empty());

    // The next backup stores all of it again. Then the new pack is the damaged one, and the old one whole again.
    from.repo.marks().mark_damaged(&one, "flipped", "test", 0).unwrap();
    let second = small::backup(&from.repo, 2, &bytes, None).unwrap();
    let other = from.largest_pack(Some(one));
    harm(&one);
    harm(&other);
    let copy = to.take(&mut from.source(1 << 30, false), &second).unwrap();
    to.holds(&copy);
}

#[test]
fn a_transfer_that_is_cancelled_says_so_though_nothing_is_missing() {
    let from = Place::new();
    let days = days(&from.repo);
    let to = from.alike();
    let mut source = from.source(1 << 30, false);
    to.take(&mut source, &days[1]).unwrap();
    let mut session = small::begin(&to.repo).unwrap();
    let cancel = Cancel::new();
    cancel.cancel();
    let outcome = session.transfer(&mut source, &days[1].stream, &Silent, &cancel);
    assert!(matches!(outcome, Err(TransferError::Source(RepoError::Cancelled))));
}

/// As an older program, or somebody with an append key and bad intentions, may have called one.
#[test]
fn given_a_snapshot_with_a_name_that_nothing_new_may_have_then_it_can_be_read_by_its_id_and_the_others_are_copied()
 {
    let from = Place::new();
    let good = small::backup(&from.repo, 1, b"well called", None).unwrap();
    let mut session = small::begin(&from.repo).unwrap();
    let stored = small::store(&mut session, b"badly called", None).unwrap();
    let finished = stored.finish(Proof::Exited, StreamFormat::Unknown, Default::default());
    let request = CommitRequest { series: "\u{202e}a:b".into(), ..small::request(2) };
    let odd = session.commit(vec![finished], request).unwrap().summary;
    assert_eq!(small::restore(&from.repo, &odd.id).unwrap(), b"badly called");

    let to = from.alike();
    let request = CopyRequest {
        names: Vec::new(),
        any_host: false,
        series: Vec::new(),
        series_must_be: true,
        host: None,
        tags: Vec::new(),
        since: None,
        calendar: Calendar::default(),
        level: Level::DEFAULT,
        recompress: false,
        workers: 1,
        read: ReadSettings::local(1),
        by: "test".into(),
        dry_run: false,
    };
    let clock = HandClock::new();
    let report = copy(&from.repo, &to.repo, clock.as_ref(), &request, &Silent, &Cancel::new()).unwrap();
    assert!(report.stopped.is_none());
    let fates: Vec<bool> = report.snapshots.iter().map(|one| matches!(one.fate, Fate::Copied(_))).collect();
    assert_eq!(fates, [true, false]);
    assert!(matches!(&report.snapshots[0], one if one.summary.id == good.id));
    let Fate::Failed(error) = &report.snapshots[1].fate else { panic!("it was copied") };
    assert!(
        error.to_string().contains("invalid series name") && !error.to_string().contains('\u{202e}'),
        "{error}"
    );
}
