//! Bit rot: whatever single bit of whatever object turns over, whatever object is cut, emptied, replaced or removed, a
//! check that reads everything says so, and a restore gives the right bytes or an error.
//!
//! One bit of every byte is tried, with `DUMPVAULT_TEST_LONG` every bit, in a repository whose packs have little
//! padding; and 1,000 bits (2,000) of each kind of larger object, chosen by a fixed seed. `tests/program/cli_damage.rs`
//! looks at the same from outside: which object is named, and with what status the program ends.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test that cannot go on fails")]

use crate::support::small;
use crate::support::small::{Dice, HandClock, Kept};
use dumpvault::base::event::{Cancel, Silent};
use dumpvault::base::id::PackId;
use dumpvault::base::secret::OsEntropy;
use dumpvault::engine::check::check;
use dumpvault::storage::Storage;
use dumpvault::storage::memory::MemoryStorage;
use dumpvault::vault::check::{CheckSettings, ReadData, check_storage};
use dumpvault::vault::crypto::{KeyBundle, Role};
use dumpvault::vault::format::index::Index;
use dumpvault::vault::format::mark::{Mark, MarkKind};
use dumpvault::vault::format::pack::{FOOTER_BYTES, FRONT_BYTES, Footer};
use dumpvault::vault::format::plan::Plan;
use dumpvault::vault::format::session::SessionKind;
use dumpvault::vault::format::slot::Slot;
use dumpvault::vault::gc::PruneSettings;
use dumpvault::vault::rotation::{RotateRequest, Rotation};
use dumpvault::vault::session::Session;
use dumpvault::vault::{RepoError, Repository, pack_key};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

const SMALL_BYTES: usize = 4096;
/// What the header of a pack says, at its tenth byte, if it has blocks by column.
const FEATURE_COLUMNS: u8 = 2;
const RANDOM_BITS: usize = 1000;

/// A healthy repository.
struct Patient {
    clock: Arc<HandClock>,
    storage: MemoryStorage,
    kept: Vec<Kept>,
    /// Of another repository: what might be put in the place of one of ours.
    foreign: BTreeMap<String, Vec<u8>>,
    /// Objects that leave nothing behind by which a host that never saw them could tell that they are gone.
    unknown_once_gone: BTreeSet<String>,
}

/// No directory can be made there, so that catalogs stay in memory: each look is one without a cache.
fn no_cache() -> PathBuf {
    PathBuf::from("/dev/null/nowhere")
}

impl Patient {
    /// Two snapshots, the second of which builds on the first; a third that was forgotten, and a plan to delete what it
    /// had.
    fn new(rows: u64, bytes: usize) -> Self {
        let (clock, kept, storage) = Self::made(rows, bytes);
        let (_, _, other) = Self::made(rows, bytes);
        let foreign = small::keys(&other, "").into_iter();
        let foreign = foreign.map(|key| (key.clone(), other.get(&key, u64::MAX).unwrap())).collect();
        let unknown_once_gone = forgotten_marks(&storage);
        Self { clock, storage, kept, foreign, unknown_once_gone }
    }

    fn made(rows: u64, bytes: usize) -> (Arc<HandClock>, Vec<Kept>, MemoryStorage) {
        let clock = HandClock::new();
        let storage = small::memory(&clock);
        let cache = small::scratch();
        let repo = small::init(storage.clone(), cache.path()).unwrap();
        let first = [small::table(rows, 1), small::noise(1, bytes)].concat();
        let second = [small::table(rows, 2), small::noise(1, bytes), small::noise(2, 500)].concat();
        let gone = small::backup(&repo, 0, &small::noise(9, 3000), None).unwrap();
        let first = small::backup(&repo, 1, &first, None).unwrap();
        let second = small::backup(&repo, 2, &second, Some(&first.stream)).unwrap();
        repo.forget(&[gone.id]).unwrap();
        clock.advance_minutes(3 * 24 * 60);
        repo.prune(&PruneSettings::new(clock.now_ms()), &Silent, &Cancel::new()).unwrap();
        assert_eq!(small::keys(&storage, "gc/").len(), 1);
        (clock, vec![first, second], storage)
    }

    fn objects(&self) -> Vec<(String, usize)> {
        let keys = small::keys(&self.storage, "").into_iter();
        keys.map(|key| (key.clone(), self.storage.size(&key).unwrap().unwrap() as usize)).collect()
    }
}

/// What is done to an object.
#[derive(Debug, Clone)]
enum Harm {
    Flip(usize),
    CutTo(usize),
    Removed,
    /// Other bytes stand there: those of another object of its kind, of this repository or another.
    Replaced(Vec<u8>),
    Swapped(String),
}

impl Harm {
    fn inflict(&self, storage: &MemoryStorage, key: &str) {
        let is_there = match self {
            Self::Flip(bit) => storage.tamper(key, |bytes| bytes[bit / 8] ^= 1 << (bit % 8)),
            Self::CutTo(len) => storage.tamper(key, |bytes| bytes.truncate(*len)),
            Self::Removed => storage.delete(key).is_ok(),
            Self::Replaced(other) => storage.tamper(key, |bytes| bytes.clone_from(other)),
            Self::Swapped(other) => {
                let (here, there) =
                    (storage.get(key, u64::MAX).unwrap(), storage.get(other, u64::MAX).unwrap());
                storage.tamper(key, |bytes| *bytes = there) && storage.tamper(other, |bytes| *bytes = here)
            }
        };
        assert!(is_there);
    }

    fn words(&self) -> String {
        match self {
            Self::Replaced(other) => format!("Replaced({} bytes)", other.len()),
            other => format!("{other:?}"),
        }
    }
}

fn kind(key: &str) -> &str {
    key.split('/').next().unwrap()
}

/// Looks at a harmed repository as somebody does who never saw it before. `Err` tells what is wrong with what was
/// found.
fn judge(
    patient: &Patient,
    harmed: &MemoryStorage,
    repo: &Repository,
    key: &str,
    harm: &Harm,
) -> Result<(), String> {
    let wrong = |why: String| Err(format!("{key} {}: {why}", harm.words()));
    // These are read at the opening alone.
    let opened = match kind(key) {
        "config" | "keys" | "authors" | "epochs" => small::open(harmed.clone(), &no_cache()),
        _ => Ok(repo.clone()),
    };
    let repo = match opened {
        Ok(repo) => repo,
        Err(RepoError::WrongKey { .. }) => return wrong("the key is blamed".to_owned()),
        Err(_) => return Ok(()),
    };
    let mut restored_all = true;
    for kept in &patient.kept {
        match small::restore(&repo, &kept.id) {
            Ok(bytes) if *bytes == *kept.bytes => {}
            Ok(_) => return wrong("WRONG BYTES, AND NO ERROR".to_owned()),
            Err(error) if error.is_integrity() => restored_all = false,
            Err(error) => return wrong(format!("not called damage: {error}")),
        }
    }
    let report = match small::check(&repo) {
        Ok(report) => report,
        Err(error) => return wrong(format!("the check failed: {error}")),
    };
    // A mark that is gone leaves a snapshot that nobody committed: that is what the check tells.
    let is_found = !report.is_clean() || !report.uncommitted.is_empty();
    // Packs say themselves what they hold, and who removes a plan cancels it: neither is damage.
    let may_be_gone = matches!(harm, Harm::Removed) && matches!(kind(key), "index" | "gc") && restored_all;
    // A host that never saw a *forgotten* mark cannot know that there was one, and nothing else is lost with it. The
    // hosts that saw the snapshots that it names ask what became of them.
    let is_unknown_here = matches!(harm, Harm::Removed) && patient.unknown_once_gone.contains(key);
    let may_be_gone = may_be_gone || is_unknown_here;
    if is_found || may_be_gone { Ok(()) } else { wrong("not found".to_owned()) }
}

/// Does every harm to a repository of its own, several at a time.
fn all_are_found(patient: &Patient, harms: &[(String, Harm)]) {
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                let harmed = small::copy_of(&patient.storage, &patient.clock);
                let repo = small::open(harmed.clone(), &no_cache()).unwrap();
                while let Some((key, harm)) = harms.get(next.fetch_add(1, Ordering::SeqCst)) {
                    harm.inflict(&harmed, key);
                    if let Err(why) = judge(patient, &harmed, &repo, key, harm) {
                        failures.lock().unwrap().push(why);
                    }
                    heal(patient, &harmed, key, harm);
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    eprintln!("{} harms, {} not found", harms.len(), failures.len());
    let first: Vec<&str> = failures.iter().take(20).map(String::as_str).collect();
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), harms.len(), first.join("\n"));
}

fn heal(patient: &Patient, harmed: &MemoryStorage, key: &str, harm: &Harm) {
    let other = if let Harm::Swapped(other) = harm { Some(other.as_str()) } else { None };
    for key in [Some(key), other].into_iter().flatten() {
        let right = patient.storage.get(key, u64::MAX).unwrap();
        if !harmed.tamper(key, |bytes| bytes.clone_from(&right)) {
            harmed.put(key, &right).unwrap();
        }
    }
}

/// A repository of some thousand bytes in which every byte is needed: two snapshots, the second of which rests on the
/// first. The keys were rotated in between.
fn tight() -> Patient {
    let clock = HandClock::new();
    let storage = small::memory(&clock);
    let cache = small::scratch();
    let repo = small::init(storage.clone(), cache.path()).unwrap();
    let first = [small::table(4, 1), small::noise(1, 700)].concat();
    let second = [small::table(4, 2), small::noise(1, 700), small::noise(2, 100)].concat();
    let first = small::backup(&repo, 1, &first, None).unwrap();
    let request = RotateRequest { end_sessions: true, now_ms: clock.now_ms(), ..RotateRequest::default() };
    Rotation::new(&repo, request, &Silent, &Cancel::new()).run(&small::credential()).unwrap();
    let repo = small::open(storage.clone(), cache.path()).unwrap();
    let second = small::backup(&repo, 2, &second, Some(&first.stream)).unwrap();
    repo.add_key(&small::another_credential(8), Role::Append, "other", 0).unwrap();
    tighten(&repo, &storage);
    let plan = Plan { time_ms: 0, packs: vec![PackId::from_bytes([7; 32])] };
    let plan = plan.seal(repo.id(), &bundle(&repo, &storage), &OsEntropy).unwrap();
    storage.put(&format!("gc/{}", blake3::hash(&plan).to_hex()), &plan).unwrap();
    let (foreign, unknown_once_gone) = (BTreeMap::new(), BTreeSet::new());
    Patient { clock, storage, kept: vec![first, second], foreign, unknown_once_gone }
}

/// Keys of the marks that say which snapshots were removed on purpose.
fn forgotten_marks(storage: &MemoryStorage) -> BTreeSet<String> {
    let repo = small::open(storage.clone(), &no_cache()).unwrap();
    let keys = bundle(&repo, storage);
    let is_forgotten = |key: &String| {
        let bytes = storage.get(key, u64::MAX).unwrap();
        Mark::open(&bytes, &repo.id(), &keys).unwrap().content.kind == MarkKind::Forgotten
    };
    small::keys(storage, "marks/").into_iter().filter(is_forgotten).collect()
}

/// All keys of the repository.
fn bundle(repo: &Repository, storage: &MemoryStorage) -> KeyBundle {
    let slots = small::keys(storage, "keys/").into_iter();
    let slots = slots.map(|key| Slot::decode(&storage.get(&key, u64::MAX).unwrap(), &repo.id()).unwrap());
    let mut opened = slots
        .filter_map(|slot| slot.open(&small::credential(), dumpvault::vault::crypto::KdfCaps::USUAL).ok());
    opened.next().unwrap()
}

/// Packs may have any padding: with some bytes of it, each of them can be tried. They get other names by it.
fn tighten(repo: &Repository, storage: &MemoryStorage) {
    const PADDING: usize = 16;
    let keys = bundle(repo, storage);
    let mut renamed = BTreeMap::new();
    for key in small::keys(storage, "packs/") {
        let bytes = storage.get(&key, u64::MAX).unwrap();
        let (rest, footer) = bytes.split_at(bytes.len() - FOOTER_BYTES);
        let table = Footer::read(footer.try_into().unwrap(), bytes.len() as u64).unwrap();
        let end = (table.table_offset + u64::from(table.table_bytes)) as usize;
        let bytes = [&rest[..end], &[0; PADDING], footer].concat();
        let id = PackId::from_bytes(*blake3::hash(&bytes).as_bytes());
        storage.put(&pack_key(&id), &bytes).unwrap();
        storage.delete(&key).unwrap();
        renamed.insert(key, (id, bytes.len() as u64));
    }
    for key in small::keys(storage, "index/") {
        let mut index =
            Index::open(&storage.get(&key, u64::MAX).unwrap(), &repo.id(), &keys).unwrap().content;
        for pack in &mut index.packs {
            (pack.id, pack.bytes) = renamed[&pack_key(&pack.id)];
        }
        let bytes = index.seal(repo.id(), &keys, &OsEntropy).unwrap();
        storage.put(&format!("index/{}", blake3::hash(&bytes).to_hex()), &bytes).unwrap();
        storage.delete(&key).unwrap();
    }
}

/// Checks as the command does: what is found is marked. Whether damage was found.
fn is_red(patient: &Patient, repo: &Repository) -> Result<bool, String> {
    let settings = CheckSettings::new(ReadData::All, patient.clock.now_ms(), 1);
    let report = check(repo, patient.clock.as_ref(), "test", settings, &Silent, &Cancel::new());
    report.map(|report| !report.is_clean()).map_err(|error| format!("the check failed: {error}"))
}

/// What a storage server finds by itself.
fn is_red_without_a_key(patient: &Patient, storage: &MemoryStorage) -> Result<bool, String> {
    let settings = CheckSettings::new(ReadData::All, patient.clock.now_ms(), 1);
    match check_storage(storage, &no_cache(), &settings, &Silent, &Cancel::new()) {
        Ok(report) => Ok(!report.is_clean()),
        Err(error) => Err(format!("the check without a key failed: {error}")),
    }
}

/// Flips the bit, and looks at what two checks and a restore say; puts it right again, and looks whether all is well.
fn rot(
    patient: &Patient,
    harmed: &MemoryStorage,
    repo: &Repository,
    key: &str,
    bit: usize,
) -> Result<(), String> {
    let flip = || Harm::Flip(bit).inflict(harmed, key);
    let found = |red: Result<bool, String>, what: &str| match red {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("{what} found nothing")),
        Err(why) => Err(why),
    };
    let marks = small::keys(harmed, "marks/");
    flip();
    let opened = match kind(key) {
        "config" | "keys" | "authors" | "epochs" => small::open(harmed.clone(), &no_cache()),
        _ => Ok(repo.clone()),
    };
    let judged = match opened {
        Err(RepoError::WrongKey { .. }) => Err("the key is blamed".to_owned()),
        // Neither a check nor anything else begins.
        Err(_) => Ok(()),
        Ok(repo) => (|| {
            for kept in &patient.kept {
                match small::restore(&repo, &kept.id) {
                    Ok(bytes) if *bytes != *kept.bytes => return Err("WRONG BYTES, AND NO ERROR".to_owned()),
                    Err(error) if !error.is_integrity() => return Err(format!("not called damage: {error}")),
                    _ => {}
                }
            }
            found(is_red(patient, &repo), "the first check")?;
            found(is_red(patient, &repo), "the second check")
        })(),
    };
    // The name of the config is no hash.
    let by_itself = match kind(key) {
        "config" => Ok(()),
        // It remembers nothing here, so that a second one would see the same.
        _ => found(is_red_without_a_key(patient, harmed), "a check without a key"),
    };
    flip();
    let is_marked = small::keys(harmed, "marks/").len() != marks.len();
    // Once for every few is enough: what a check that reads everything says of a healthy repository does not depend on
    // the bit.
    let healed = match is_marked && (bit / 8).is_multiple_of(4) && is_red(patient, repo)? {
        true => Err("the byte was put right, and damage is still found".to_owned()),
        false => Ok(()),
    };
    for mark in small::keys(harmed, "marks/").into_iter().filter(|mark| !marks.contains(mark)) {
        harmed.delete(&mark).unwrap();
    }
    judged.and(by_itself).and(healed)
}

/// In one bit of every byte of every object; with `DUMPVAULT_TEST_LONG` in every bit.
#[test]
fn given_any_byte_that_rots_then_every_check_says_so_until_it_is_put_right() {
    let patient = tight();
    let long = std::env::var_os("DUMPVAULT_TEST_LONG").is_some();
    let mut dice = Dice(11);
    let mut bits = Vec::new();
    for (key, len) in patient.objects() {
        for byte in 0..len {
            let tried = if long { 0..8 } else { dice.below(8) as usize..8 };
            bits.extend(tried.take(if long { 8 } else { 1 }).map(|bit| (key.clone(), byte * 8 + bit)));
        }
    }
    let kinds: BTreeSet<&str> = bits.iter().map(|(key, _)| kind(key)).collect();
    assert_eq!(
        kinds.into_iter().collect::<Vec<_>>(),
        ["authors", "config", "epochs", "gc", "index", "keys", "marks", "packs", "snapshots"]
    );
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                let harmed = small::copy_of(&patient.storage, &patient.clock);
                let repo = small::open(harmed.clone(), &no_cache()).unwrap();
                assert!(!is_red(&patient, &repo).unwrap());
                while let Some((key, bit)) = bits.get(next.fetch_add(1, Ordering::SeqCst)) {
                    if let Err(why) = rot(&patient, &harmed, &repo, key, *bit) {
                        failures.lock().unwrap().push(format!("{key} bit {bit}: {why}"));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    eprintln!("{} bits, {} failures", bits.len(), failures.len());
    let first: Vec<&str> = failures.iter().take(20).map(String::as_str).collect();
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), bits.len(), first.join("\n"));
}

#[test]
fn a_thousand_bits_of_each_kind_of_larger_object() {
    let random_bits = if std::env::var_os("DUMPVAULT_TEST_LONG").is_some() { 2 } else { 1 } * RANDOM_BITS;
    let patient = Patient::new(60, 200_000);
    let mut dice = Dice(6);
    let mut harms = Vec::new();
    let mut by_kind: BTreeMap<String, Vec<(String, usize)>> = BTreeMap::new();
    for (key, len) in patient.objects().into_iter().filter(|(_, len)| *len > SMALL_BYTES) {
        by_kind.entry(kind(&key).to_owned()).or_default().push((key, len));
    }
    assert!(by_kind.contains_key("packs") && by_kind.contains_key("index"), "{by_kind:?}");
    for objects in by_kind.values() {
        for turn in 0..random_bits {
            let (key, len) = &objects[turn % objects.len()];
            // Packs are padded: half of the bits are of their first part, where there is something in any case.
            let within = if turn / objects.len() % 2 == 0 { *len } else { (*len).min(3000) };
            harms.push((key.clone(), Harm::Flip(dice.below(within as u64 * 8) as usize)));
        }
    }
    all_are_found(&patient, &harms);
}

/// The seal finds it before the rows are put together again: a decoder alone could give other rows.
#[test]
fn given_any_bit_of_blocks_by_column_that_turns_over_then_the_restore_fails_as_damaged() {
    let clock = HandClock::new();
    let storage = small::memory(&clock);
    let cache = small::scratch();
    let repo = small::init(storage.clone(), cache.path()).unwrap();
    let rows = (0..90).map(|row| {
        let hash = blake3::hash(&[row]).to_hex();
        format!("{row}\t{}.{:02}\t2024-02-29 12:{:02}:07+02\t{}\n", row * 2, row, row % 60, &hash[..6])
    });
    let kept = small::backup(&repo, 1, rows.collect::<String>().as_bytes(), None).unwrap();
    let mut packs = small::keys(&storage, "packs/");
    assert_eq!(packs.len(), 1);
    let pack = packs.remove(0);
    let bytes = storage.get(&pack, u64::MAX).unwrap();
    assert_eq!(bytes[10], FEATURE_COLUMNS, "no block by column");
    let footer = bytes[bytes.len() - FOOTER_BYTES..].try_into().unwrap();
    let end = Footer::read(footer, bytes.len() as u64).unwrap().table_offset as usize;
    let bits: Vec<usize> = (FRONT_BYTES * 8..end * 8).collect();
    assert!(bits.len() > 4000, "{}", bits.len());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                let harmed = small::copy_of(&storage, &clock);
                let repo = small::open(harmed.clone(), &no_cache()).unwrap();
                assert!(*small::restore(&repo, &kept.id).unwrap() == *kept.bytes);
                while let Some(bit) = bits.get(next.fetch_add(1, Ordering::SeqCst)) {
                    Harm::Flip(*bit).inflict(&harmed, &pack);
                    let restored = small::restore(&repo, &kept.id);
                    let is_damage = restored.as_ref().is_err_and(RepoError::is_integrity);
                    assert!(is_damage, "bit {bit}: {restored:?}");
                    Harm::Flip(*bit).inflict(&harmed, &pack);
                }
            });
        }
    });
}

#[test]
fn every_object_cut_emptied_swapped_replaced_and_removed() {
    let patient = Patient::new(20, 5000);
    let objects = patient.objects();
    let mut harms = Vec::new();
    for (key, len) in &objects {
        let cuts = [0, 1, 31, 32, 33, len / 3, len / 2, len - 25, len - 24, len - 1];
        let mut own: Vec<Harm> = cuts.into_iter().filter(|cut| cut < len).map(Harm::CutTo).collect();
        own.push(Harm::Removed);
        for (other, _) in objects.iter().filter(|(other, _)| other != key) {
            let bytes = patient.storage.get(other, u64::MAX).unwrap();
            // Of another kind as well: a header names the kind.
            own.push(Harm::Replaced(bytes));
            if kind(other) == kind(key) {
                own.push(Harm::Swapped(other.clone()));
            }
        }
        let foreign = patient.foreign.iter().filter(|(other, _)| kind(other) == kind(key));
        own.extend(foreign.map(|(_, bytes)| Harm::Replaced(bytes.clone())));
        harms.extend(own.into_iter().map(|harm| (key.clone(), harm)));
    }
    assert!(harms.len() > 200, "{}", harms.len());
    all_are_found(&patient, &harms);
}

#[test]
fn a_session_object_with_any_bit_flipped_is_one_that_knows_of_no_plan() {
    let patient = Patient::new(4, 700);
    let repo = small::open(patient.storage.clone(), &no_cache()).unwrap();
    let _session = Session::register(&repo, SessionKind::Prune).unwrap();
    let key = small::keys(&patient.storage, "sessions/").remove(0);
    let len = patient.storage.size(&key).unwrap().unwrap() as usize;
    for bit in 0..len * 8 {
        Harm::Flip(bit).inflict(&patient.storage, &key);
        let seen = repo.sessions().unwrap();
        // Without a state it counts as a backup, for which prunes wait: the careful way.
        assert!(
            seen.len() == 1 && seen[0].state.is_none() && seen[0].kind() == SessionKind::Write,
            "bit {bit}"
        );
        Harm::Flip(bit).inflict(&patient.storage, &key);
    }
    assert!(repo.sessions().unwrap()[0].state.is_some());
}
