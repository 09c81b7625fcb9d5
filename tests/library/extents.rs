//! Streams that resemble their parents: what is stored, what is read, and that every byte comes back.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use dumpvault::base::calendar::Calendar;
use dumpvault::base::clock::SystemClock;
use dumpvault::base::event::{Cancel, Event, Observer, Silent};
use dumpvault::base::name::SnapshotName;
use dumpvault::base::secret::{OsEntropy, Passphrase};
use dumpvault::content::codec::Level;
use dumpvault::engine::OpError;
use dumpvault::engine::backup::{
    BackupReport, BackupRequest, ParentChoice, PlannedStream, READ_AMPLIFICATION_MAX, StartedDump, backup,
};
use dumpvault::source::sample::{Churn, SampleConfig, SampleDump};
use dumpvault::source::{Dump, SourceError};
use dumpvault::storage::Storage;
use dumpvault::storage::memory::MemoryStorage;
use dumpvault::vault::crypto::{Credential, Role};
use dumpvault::vault::format::config::Config;
use dumpvault::vault::format::index::BlockKind;
use dumpvault::vault::reader::{BlockReader, Locator, ReadCost, ReadSettings, ReadStats, RecipeWalker};
use dumpvault::vault::snapshot::{Proof, Stream, StreamStats};
use dumpvault::vault::{Repository, Surroundings};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// A repository in memory.
struct World {
    storage: MemoryStorage,
    repo: Repository,
    cache: tempfile::TempDir,
    heard: Heard,
}

#[derive(Default)]
struct Heard(Mutex<Vec<Event>>);

impl Observer for Heard {
    fn observe(&self, event: Event) {
        if !matches!(event, Event::Advanced { .. }) {
            self.0.lock().unwrap().push(event);
        }
    }
}

impl Heard {
    fn take(&self) -> String {
        self.0.lock().unwrap().drain(..).map(|event| format!("{event:?}\n")).collect()
    }
}

struct Bytes(Cursor<Vec<u8>>);

impl Read for Bytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Dump for Bytes {
    fn finish(self: Box<Self>) -> Result<Proof, SourceError> {
        Ok(Proof::Exited)
    }
}

fn passphrase() -> Credential {
    Credential::Passphrase(Passphrase::new("a long enough passphrase".into()))
}

fn request() -> BackupRequest {
    BackupRequest {
        series: "app".into(),
        host: "here".into(),
        time: None,
        tags: Vec::new(),
        calendar: Calendar::default(),
        // Shares of the first day are of what zstd makes of both: by column, the first day shrinks most.
        level: Level::ZSTD,
        allow_empty: true,
        workers: 2,
        parent: ParentChoice::Newest,
        read_amplification_max: READ_AMPLIFICATION_MAX,
        suspect_below: 0.0,
        source: BTreeMap::new(),
        set: None,
    }
}

impl World {
    fn new() -> Self {
        let cache = tempfile::tempdir().unwrap();
        let around = Surroundings::new(Arc::new(OsEntropy), cache.path().into());
        let storage = MemoryStorage::new();
        let shared: Arc<dyn Storage> = Arc::new(storage.clone());
        let repo = Repository::init(shared, &passphrase(), "", Config::new(0), &around).unwrap();
        Self { storage, repo, cache, heard: Heard::default() }
    }

    fn back_up(&self, bytes: &[u8]) -> Stream {
        let report = self.back_up_as(bytes, request()).unwrap();
        assert_eq!(report.damage, Vec::<String>::new());
        report.committed.body.streams[0].clone()
    }

    fn back_up_as(&self, bytes: &[u8], request: BackupRequest) -> Result<BackupReport, OpError> {
        let dump = Bytes(Cursor::new(bytes.to_vec()));
        let start = Box::new(|| {
            Ok(StartedDump { dump: Box::new(dump) as Box<dyn Dump>, attributes: BTreeMap::new() })
        });
        let stream = PlannedStream { name: "app".into(), start };
        backup(&self.repo, &SystemClock, request, vec![stream], &self.heard, &Cancel::new())
    }

    fn locator(&self) -> Arc<Mutex<Locator>> {
        let catalog = self.repo.catalog(&Silent).unwrap();
        Arc::new(Mutex::new(Locator::new(&self.repo, catalog, Default::default())))
    }

    fn restore(&self, stream: &Stream) -> (Vec<u8>, ReadStats) {
        self.restore_with(stream, ReadSettings::local(2))
    }

    fn restore_with(&self, stream: &Stream, settings: ReadSettings) -> (Vec<u8>, ReadStats) {
        let mut out = Vec::new();
        let mut write = |bytes: &[u8]| {
            out.extend_from_slice(bytes);
            Ok(())
        };
        let cancel = Cancel::new();
        let stats = self
            .repo
            .reader()
            .read_stream(&self.locator(), stream, settings, &Silent, &cancel, &mut write)
            .unwrap();
        (out, stats)
    }

    fn range(&self, stream: &Stream, range: Range<u64>) -> Vec<u8> {
        let mut out = Vec::new();
        let mut write = |bytes: &[u8]| {
            out.extend_from_slice(bytes);
            Ok(())
        };
        let (settings, cancel) = (ReadSettings::local(2), Cancel::new());
        self.repo.reader().read_range(&self.locator(), stream, range, settings, &cancel, &mut write).unwrap();
        out
    }

    fn survey(&self, stream: &Stream) -> ReadCost {
        self.survey_by(stream, 1)
    }

    fn survey_by(&self, stream: &Stream, threads: usize) -> ReadCost {
        let locator = self.locator();
        let mut walker = RecipeWalker::new(Arc::new(BlockReader::new(&self.repo)), Arc::clone(&locator));
        ReadCost::of(stream, &mut walker, &locator, threads).unwrap()
    }

    fn packs(&self) -> Vec<(String, u64)> {
        let mut packs = Vec::new();
        self.storage.list("packs/", &mut |listed| packs.push((listed.key, listed.bytes))).unwrap();
        packs
    }
}

fn sample(mb: u64, day: u16) -> Vec<u8> {
    let mut dump = Vec::new();
    SampleDump::new(SampleConfig::new(5, mb << 20).day(day)).unwrap().read_to_end(&mut dump).unwrap();
    dump
}

/// Rows that are no archive: a dump whose structure makes sense must not be cut up.
fn rows(mb: u64) -> Vec<u8> {
    sample(mb, 0).split_off(5)
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn stored(stats: StreamStats) -> u64 {
    stats.bytes_stored + stats.recipe_bytes_stored
}

#[test]
fn given_a_week_of_small_changes_then_each_day_stores_a_fiftieth_and_comes_back() {
    let world = World::new();
    let days: Vec<Vec<u8>> = (0..7).map(|day| sample(16, day)).collect();
    let streams: Vec<Stream> = days.iter().map(|day| world.back_up(day)).collect();
    let full = stored(streams[0].stats);
    for (day, (stream, right)) in streams.iter().zip(&days).enumerate() {
        let (bytes, read) = world.restore(stream);
        assert!(bytes == *right, "day {day}");
        let survey = world.survey(stream);
        let blocks = survey.blocks.len() as f64;
        assert!(read.blocks_opened as f64 <= 1.2 * blocks, "day {day}: {read:?}, {blocks} blocks");
        let stats = stream.stats;
        assert_eq!(stats.bytes_new + stats.bytes_known + stats.bytes_copied, stream.bytes, "{stats:?}");
        if day > 0 {
            assert!(stored(stats) * 30 < full, "day {day}: {stats:?}, the first {full}");
            assert!(stats.recipe_bytes_stored * 1000 < stream.bytes, "day {day}: {stats:?}");
            assert!(survey.read_amplification() < 1.5, "day {day}: {}", survey.read_amplification());
        }
    }
}

#[test]
fn given_rows_added_to_tables_then_the_parents_other_tables_are_not_searched_for_them() {
    let world = World::new();
    let churn = Churn { update_ppm: 10_000, insert_ppm: 20_000, delete_ppm: 0 };
    let dump = |day| {
        let (mut bytes, config) =
            (Vec::new(), SampleConfig { churn, ..SampleConfig::new(5, 48 << 20).day(day) });
        SampleDump::new(config).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    };
    let (first, second) = (dump(0), dump(1));
    let (parent, stream) = (world.back_up(&first), world.back_up(&second));
    let read = stream.stats.bytes_parent_read.unwrap();
    assert!(read > parent.bytes / 2 && read < parent.bytes * 11 / 10, "{read} of {}", parent.bytes);
    assert!(world.restore(&stream).0 == second);
}

#[test]
fn given_rows_of_more_backups_than_there_is_room_for_then_room_is_made_and_blocks_are_opened_once() {
    let world = World::new();
    let mut bytes = rows(8);
    bytes.truncate(8_000_000);
    let mut stream = world.back_up(&bytes);
    for day in 0..60u64 {
        let new = noise(day, 160_000);
        for (number, field) in new.chunks(40).enumerate() {
            let at = number * 2000 + day as usize * 30;
            bytes[at..at + 40].copy_from_slice(field);
        }
        let request = BackupRequest { read_amplification_max: f64::MAX, ..request() };
        stream = world.back_up_as(&bytes, request).unwrap().committed.body.streams[0].clone();
    }
    let blocks = world.survey(&stream).blocks.len() as u64;
    // As much as the gathered rows of 30 backups take.
    let settings = ReadSettings { open_bytes_max: 96 << 20, ..ReadSettings::new(2, 8 << 20, 1 << 20) };
    let (restored, ReadStats { blocks_opened: opened, .. }) = world.restore_with(&stream, settings);
    assert!(restored == bytes && opened > blocks && opened < blocks * 6, "{opened} of {blocks}");
}

#[test]
fn given_rows_added_in_places_far_apart_then_no_block_holds_rows_of_two() {
    let world = World::new();
    let mut tables: Vec<Vec<u8>> = rows(8).chunks(2_000_000).take(4).map(<[u8]>::to_vec).collect();
    let mut stream = world.back_up(&tables.concat());
    for day in 0..30u64 {
        for (number, table) in (0u64..).zip(&mut tables) {
            table.extend_from_slice(&noise(day * 10 + number, 150_000));
        }
        stream = world.back_up(&tables.concat());
    }
    let settings = ReadSettings::new(2, 16 << 20, 1 << 20);
    let (restored, ReadStats { blocks_opened: opened, .. }) = world.restore_with(&stream, settings);
    let blocks = world.survey(&stream).blocks.len() as u64;
    assert!(restored == tables.concat() && opened * 10 <= blocks * 12, "{opened} of {blocks}");
}

#[test]
fn given_an_unchanged_stream_then_nothing_is_stored_and_the_recipe_is_the_parents() {
    let world = World::new();
    let first = world.back_up(&sample(8, 0));
    let again = world.back_up(&sample(8, 0));
    assert_eq!((stored(again.stats), again.root), (0, first.root));
    // Of the parent only what is shorter than a chunk and has an id that nobody can guess.
    assert!(again.stats.bytes_parent_read.is_some_and(|read| read < 128 << 10), "{:?}", again.stats);
    let changed = world.back_up(&sample(8, 1));
    let again = world.back_up(&sample(8, 1));
    assert_eq!((stored(again.stats), again.root), (0, changed.root));
}

#[test]
fn given_the_id_of_a_recipe_node_then_no_chunk_is_found_by_it() {
    let world = World::new();
    let stream = world.back_up(&sample(3, 0));
    let locator = world.locator();
    let mut locator = locator.lock().unwrap();
    let root = stream.root.as_bytes();
    for _ in 0..2 {
        assert!(locator.data(root).is_err());
        assert!(locator.best(root, BlockKind::Recipe).unwrap().is_some());
    }
}

#[test]
fn given_seventy_days_then_chains_stay_short_and_any_day_and_any_range_comes_back() {
    let world = World::new();
    let mut bytes = rows(1);
    let mut days = Vec::new();
    let mut deepest = 0;
    for day in 0..70u64 {
        let at = (day as usize * 7919 + 300) % (bytes.len() - 2000);
        bytes.splice(at..at + 40, noise(day, 64));
        bytes.drain(bytes.len() / 2..bytes.len() / 2 + 33);
        let stream = world.back_up(&bytes);
        let survey = world.survey(&stream);
        let depth = survey.base.map_or(0, |base| base.depth);
        deepest = deepest.max(depth);
        assert!(depth <= 15 && stored(stream.stats) < if day == 0 { 1 << 20 } else { 20_000 }, "day {day}");
        days.push((stream, bytes.clone()));
    }
    assert_eq!(deepest, 15, "the chain is used to its end");
    for (day, (stream, right)) in days.iter().enumerate() {
        assert!(world.restore(stream).0 == *right, "day {day}");
        let (from, to) = (right.len() / 3 + day * 1001, right.len() / 3 + day * 1501 + 77);
        assert!(world.range(stream, from as u64..to as u64) == right[from..to], "day {day}");
    }
}

#[test]
fn given_a_long_stream_surveyed_in_parts_then_it_is_the_same_as_in_one() {
    let world = World::new();
    world.back_up(&sample(100, 0));
    let stream = world.back_up(&sample(100, 1));
    let (one, parts) = (world.survey_by(&stream, 1), world.survey_by(&stream, 8));
    assert!(one.extents > 1000 && one.blocks.len() > 50);
    let told = |survey: &ReadCost| (survey.bytes, survey.extents, survey.stored_read, survey.stored_own);
    assert_eq!(told(&parts), told(&one));
    let lives = |survey: &ReadCost| {
        survey.blocks.iter().map(|(at, block)| (*at, block.live)).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(lives(&parts), lives(&one));
    let joints = one.whole.len() - parts.whole.len();
    assert!(joints < 3 && parts.whole.iter().all(|place| one.whole.binary_search(place).is_ok()));
}

#[test]
fn given_rows_of_more_backups_than_a_restore_has_room_for_then_the_stream_is_stored_afresh() {
    const ROW: usize = 400;
    const HOT_ROWS: usize = 630;
    let world = World::new();
    let mut bytes = noise(1, 5_000_000);
    let put = |bytes: &mut Vec<u8>, place: usize, row: &[u8]| {
        // Neighbours in number lie far apart.
        let at = place * 7919 % (bytes.len() / ROW) * ROW;
        bytes[at..at + ROW].copy_from_slice(row);
    };
    let mut blocks_max = 0;
    let mut stream = world.back_up(&bytes);
    for day in 0..300 {
        // All but sixteen of a day's rows are replaced the next day: of its block little stays, and that everywhere.
        let new = noise(day + 2, (HOT_ROWS + 16) * ROW);
        for (number, row) in new.chunks(ROW).enumerate() {
            let place =
                if number < HOT_ROWS { number } else { HOT_ROWS + day as usize * 16 + number - HOT_ROWS };
            put(&mut bytes, place, row);
        }
        let request = BackupRequest { read_amplification_max: f64::MAX, ..request() };
        stream = world.back_up_as(&bytes, request).unwrap().committed.body.streams[0].clone();
        let heard = world.heard.take();
        if heard.contains("storing a full copy") {
            assert!(heard.contains("wants blocks of too many backups at a time"), "{heard}");
            break;
        }
        if day >= 240 {
            let survey = world.survey(&stream);
            blocks_max = survey.blocks.len();
            assert!(day < 290, "{blocks_max} blocks, each opened {} times", survey.opens());
        }
    }
    // More than 64 MiB of them, a day's rows take a block of 256 KiB.
    assert!((240..290).contains(&blocks_max), "{blocks_max}");
    let survey = world.survey(&stream);
    assert!(survey.opens() == 1.0 && survey.blocks.len() < 12, "{} blocks", survey.blocks.len());
    let (restored, read) = world.restore(&stream);
    assert!(restored == bytes && read.blocks_opened as usize == survey.blocks.len());
}

#[test]
fn given_a_stream_that_reads_too_much_then_it_is_stored_afresh_and_shares_what_is_alive() {
    let world = World::new();
    let first = world.back_up(&sample(4, 0));
    let full = stored(first.stats);
    (1..6).for_each(|day| drop(world.back_up(&sample(4, day))));
    world.heard.take();
    let report =
        world.back_up_as(&sample(4, 6), BackupRequest { read_amplification_max: 1.01, ..request() }).unwrap();
    let heard = world.heard.take();
    assert!(heard.contains("storing a full copy of") && heard.contains("(limit 1.0)"), "{heard}");
    let stream = &report.committed.body.streams[0];
    assert!(report.committed.body.parent.is_none() && stored(stream.stats) * 2 > full);
    let survey = world.survey(stream);
    assert!(survey.base.is_none() && survey.read_amplification() < 1.3, "{}", survey.read_amplification());
    assert!(world.restore(stream).0 == sample(4, 6));
}

#[test]
fn given_a_table_rewritten_in_another_order_then_it_costs_no_more_than_chunks_alone() {
    let rows: Vec<Vec<u8>> = rows(8).split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    let mut reversed = rows.clone();
    reversed.reverse();
    let mut shuffled = rows.clone();
    shuffled.sort_by_key(|row| *blake3::hash(row).as_bytes());
    let halves = rows.len() / 2;
    let swapped = [&rows[halves..], &rows[..halves]].concat();
    let mut other = SampleConfig::new(77, 4 << 20);
    other.day = 3;
    let mut replaced = Vec::new();
    SampleDump::new(other).unwrap().read_to_end(&mut replaced).unwrap();
    let replaced = [rows[..halves].concat(), replaced].concat();
    let cases = [
        ("reversed", reversed.concat()),
        ("shuffled", shuffled.concat()),
        ("swapped", swapped.concat()),
        ("another table", replaced),
        ("noise", noise(3, 6 << 20)),
    ];
    for (name, second) in &cases {
        // By column, rows with holes weigh more.
        for (level, at_most) in [(Level::ZSTD, 1.02), (Level::DEFAULT, 1.05)] {
            let sizes = [ParentChoice::None, ParentChoice::Newest]
                .map(|parent| size_of_second(&rows.concat(), second, parent, level));
            assert!(sizes[1] as f64 <= sizes[0] as f64 * at_most, "{name}, {level:?}: {sizes:?}");
        }
    }
}

/// What the second of two streams takes, which comes back.
fn size_of_second(first: &[u8], second: &[u8], parent: ParentChoice, level: Level) -> u64 {
    let world = World::new();
    world.back_up_as(first, BackupRequest { level, ..request() }).unwrap();
    let report = world.back_up_as(second, BackupRequest { parent, level, ..request() }).unwrap();
    let stream = &report.committed.body.streams[0];
    assert!(world.restore(stream).0 == second);
    stored(stream.stats)
}

#[test]
fn given_a_damaged_pack_below_the_parent_then_the_backup_is_whole_and_names_the_damage() {
    let world = World::new();
    world.back_up(&sample(6, 0));
    world.back_up(&sample(6, 1));
    let data = world.packs().into_iter().max_by_key(|(_, bytes)| *bytes).unwrap().0;
    world.storage.tamper(&data, |bytes| {
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
    });
    let report = world.back_up_as(&sample(6, 2), request()).unwrap();
    assert!(report.damage.iter().any(|damage| damage.contains(&data)), "{:?}", report.damage);
    assert!(!report.is_clean());
    let stream = &report.committed.body.streams[0];
    // What could be read was copied; chunks known by their ids are trusted until a check says otherwise.
    assert!(stream.stats.bytes_copied > stream.bytes / 10, "{:?}", stream.stats);
}

#[test]
fn given_a_missing_pack_below_the_parent_then_nothing_is_taken_from_it() {
    let world = World::new();
    world.back_up(&sample(6, 0));
    world.back_up(&sample(6, 1));
    let data = world.packs().into_iter().max_by_key(|(_, bytes)| *bytes).unwrap().0;
    world.storage.delete(&data).unwrap();
    let report = world.back_up_as(&sample(6, 2), request()).unwrap();
    assert!(report.damage.iter().any(|damage| damage.contains(&data)), "{:?}", report.damage);
    assert!(world.restore(&report.committed.body.streams[0]).0 == sample(6, 2));
}

#[test]
fn given_a_lost_recipe_of_the_parent_then_the_backup_is_whole_without_it() {
    let world = World::new();
    world.back_up(&sample(2, 0));
    let before = world.packs();
    world.back_up(&sample(2, 1));
    // Of the second day's two packs the smaller holds its recipe.
    let own = world.packs().into_iter().filter(|pack| !before.contains(pack));
    let recipe = own.min_by_key(|(_, bytes)| *bytes).unwrap().0;
    world.storage.delete(&recipe).unwrap();
    let report = world.back_up_as(&sample(2, 2), request()).unwrap();
    assert!(!report.damage.is_empty() && report.committed.body.parent.is_none());
    assert!(world.restore(&report.committed.body.streams[0]).0 == sample(2, 2));
}

#[test]
fn given_a_stream_that_begins_like_text_one_day_and_not_the_next_then_it_is_compared_all_the_same() {
    let world = World::new();
    let mut bytes = rows(4);
    world.back_up(&bytes);
    for first in [0, b'a'] {
        bytes[0] = first;
        bytes[2_000_000] ^= 1;
        assert!(world.back_up(&bytes).stats.bytes_new < 10_000);
    }
}

#[test]
fn given_a_parent_of_another_kind_then_it_is_not_used_and_that_is_said() {
    let world = World::new();
    world.back_up(&sample(1, 0));
    world.heard.take();
    let other = noise(1, 500_000);
    let stream = world.back_up(&other);
    assert!(world.heard.take().contains("has another format than its parent"));
    assert_eq!(stream.stats.bytes_parent_read, None);
    assert!(world.restore(&stream).0 == other);
}

fn name(text: &str) -> SnapshotName {
    SnapshotName::parse(text, &jiff::tz::TimeZone::UTC).unwrap()
}

#[test]
fn given_no_parent_or_a_named_one_then_that_is_what_is_compared() {
    let world = World::new();
    let first = world.back_up_as(&sample(2, 0), request()).unwrap().committed;
    world.back_up(&noise(1, 300_000));
    let named = ParentChoice::Named(Box::new(name(&first.summary.id.to_string())));
    let report = world.back_up_as(&sample(2, 1), BackupRequest { parent: named, ..request() }).unwrap();
    assert_eq!(report.committed.body.parent, Some(first.summary.id));
    assert!(report.committed.body.streams[0].stats.bytes_copied > 1 << 20);
    let report =
        world.back_up_as(&sample(2, 2), BackupRequest { parent: ParentChoice::None, ..request() }).unwrap();
    assert_eq!(report.committed.body.streams[0].stats.bytes_copied, 0);
    let unknown = ParentChoice::Named(Box::new(name("0123456789")));
    let refused = world.back_up_as(&sample(2, 2), BackupRequest { parent: unknown, ..request() });
    assert!(matches!(refused, Err(OpError::Selection(_))));
}

#[test]
fn given_a_key_that_cannot_read_then_whole_chunks_are_found_and_that_is_said() {
    let world = World::new();
    world.back_up(&sample(2, 0));
    let append = Credential::Passphrase(Passphrase::new("another passphrase, for writers".into()));
    world.repo.key_ring().add_for_all(&append, Role::Append, "writer", 0).unwrap();
    let around = Surroundings::new(Arc::new(OsEntropy), world.cache.path().into());
    let shared: Arc<dyn Storage> = Arc::new(world.storage.clone());
    let writer = World {
        repo: Repository::open(shared, &append, &around).unwrap(),
        storage: world.storage.clone(),
        cache: tempfile::tempdir().unwrap(),
        heard: Heard::default(),
    };
    let again = writer.back_up(&sample(2, 0));
    assert_eq!(again.stats.bytes_copied, 0);
    // A last chunk that is so small has an id that nobody finds again.
    assert!(again.stats.bytes_new < 16 << 10, "{:?}", again.stats);
    assert!(writer.heard.take().contains("deduplicating whole chunks only"));
}

/// Small changes of all kinds.
#[derive(Debug, Clone)]
enum Edit {
    Insert(prop::sample::Index, u64, usize),
    Remove(prop::sample::Index, usize),
    Move(prop::sample::Index, prop::sample::Index, usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let place = any::<prop::sample::Index>;
    prop_oneof![
        (place(), any::<u64>(), 1usize..150_000).prop_map(|(at, seed, len)| Edit::Insert(at, seed, len)),
        (place(), 1usize..200_000).prop_map(|(at, len)| Edit::Remove(at, len)),
        (place(), place(), 1usize..400_000).prop_map(|(from, to, len)| Edit::Move(from, to, len)),
    ]
}

fn apply(bytes: &mut Vec<u8>, edit: &Edit) {
    let cut = |bytes: &mut Vec<u8>, at: usize, len: usize| -> Vec<u8> {
        let end = (at + len).min(bytes.len());
        bytes.drain(at..end).collect()
    };
    match edit {
        Edit::Insert(at, seed, len) => {
            let at = at.index(bytes.len() + 1);
            bytes.splice(at..at, noise(*seed, *len));
        }
        Edit::Remove(at, len) => drop(cut(bytes, at.index(bytes.len() + 1), *len)),
        Edit::Move(from, to, len) => {
            let moved = cut(bytes, from.index(bytes.len() + 1), *len);
            let to = to.index(bytes.len() + 1);
            bytes.splice(to..to, moved);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 20, ..ProptestConfig::default() })]
    #[test]
    fn whatever_changes_every_version_comes_back(
        days in prop::collection::vec(prop::collection::vec(edit(), 0..6), 1..5)
    ) {
        let world = World::new();
        let mut bytes = rows(2);
        let mut kept = vec![(world.back_up(&bytes), bytes.clone())];
        for edits in &days {
            edits.iter().for_each(|edit| apply(&mut bytes, edit));
            kept.push((world.back_up(&bytes), bytes.clone()));
        }
        for (stream, right) in &kept {
            prop_assert!(world.restore(stream).0 == *right);
        }
    }
}
