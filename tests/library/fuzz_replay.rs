//! The corpus of `fuzz/`, replayed without libFuzzer, and changed at random: so that what was once found stays found on
//! every toolchain.
//!
//! `DUMPVAULT_FUZZ_WRITE=1` writes the seeds of the corpus anew. Inputs that a fuzzer found are put beside them, with a
//! name of their own.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test that cannot go on fails")]

#[path = "../../fuzz/src/targets.rs"]
#[allow(clippy::expect_used, reason = "a target that cannot go on has found something")]
mod targets;

use crate::support::small;
use crate::support::small::Dice;
use dumpvault::base::id::{IndexId, PackId, PlanId, SessionId};
use dumpvault::content::pg::Toc;
use dumpvault::vault::crypto::{Role, SubKey};
use dumpvault::vault::format::author::Statement;
use dumpvault::vault::format::config::Config;
use dumpvault::vault::format::epoch::{Close, Heir};
use dumpvault::vault::format::index::{Index, IndexedPack, Naming};
use dumpvault::vault::format::mark::{Mark, MarkKind};
use dumpvault::vault::format::plan::Plan;
use dumpvault::vault::format::session::{SessionKind, SessionState};
use dumpvault::vault::format::signed::SIGNATURE_BYTES;
use dumpvault::vault::format::slot::{Label, Slot};
use dumpvault::vault::format::{pack, snapshot};
use dumpvault::vault::snapshot::recipe::{Base, Child, Content, Entry, Node};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::path::{Path, PathBuf};
use targets::{REPO, Same, TARGETS, keys};

const CONFINED: &str = "DUMPVAULT_TEST_CONFINED";
/// What all targets together may take, this program's own memory included.
const MEMORY_BYTES: u64 = 256 << 20;

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

fn inputs(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let files = std::fs::read_dir(corpus(target)).unwrap();
    let mut files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// Does `work` in a process of its own, with bounded memory. `test` is the name of the test that calls it.
fn confined(test: &str, work: impl FnOnce()) {
    if std::env::var_os(CONFINED).is_some() {
        let limit = Rlimit { current: Some(MEMORY_BYTES), maximum: Some(MEMORY_BYTES) };
        setrlimit(Resource::Data, limit).unwrap();
        return work();
    }
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    let test = format!("fuzz_replay::{test}");
    let output = child.args([&test, "--exact", "--nocapture"]).env(CONFINED, "1").output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("1 passed"), "{}\n{out}\n{err}", output.status);
}

#[test]
fn every_input_of_the_corpus_is_dealt_with() {
    if std::env::var_os("DUMPVAULT_FUZZ_WRITE").is_some() {
        write_seeds();
    }
    confined("every_input_of_the_corpus_is_dealt_with", || {
        for (name, target) in TARGETS {
            let inputs = inputs(name);
            assert!(!inputs.is_empty(), "no corpus for {name}");
            for (path, input) in inputs {
                eprintln!("{}", path.display());
                target(&input);
            }
        }
        let folders = std::fs::read_dir(corpus("")).unwrap().count();
        assert_eq!(folders, TARGETS.len(), "a folder of no target");
    });
}

/// A transform of its own, with more places for a fault than any other.
const COLUMNS: [&str; 2] = ["columns", "columns_round_trip"];

#[test]
fn inputs_changed_at_random_are_dealt_with() {
    confined("inputs_changed_at_random_are_dealt_with", || {
        for (name, target) in TARGETS.iter().filter(|(name, _)| !COLUMNS.contains(name)) {
            change_at_random(name, *target, if *name == "round_trip" { 30 } else { 3000 });
        }
    });
}

#[test]
fn blocks_of_columns_changed_at_random_are_dealt_with() {
    confined("blocks_of_columns_changed_at_random_are_dealt_with", || {
        for (name, target) in TARGETS.iter().filter(|(name, _)| COLUMNS.contains(name)) {
            change_at_random(name, *target, 60_000);
        }
    });
}

/// Deals with so many changed inputs, many times more of them in a long run.
fn change_at_random(name: &str, target: fn(&[u8]), turns: u64) {
    let long = std::env::var_os("DUMPVAULT_TEST_LONG").is_some();
    let seed = std::env::var("DUMPVAULT_TEST_SEED").ok().map(|text| text.parse().unwrap());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    let inputs: Vec<Vec<u8>> = inputs(name).into_iter().map(|(_, input)| input).collect();
    for turn in 0..turns * if long { 60 } else { 1 } {
        let mut dice = Dice(seed ^ turn << 20);
        let input = changed(&inputs, &mut dice);
        let outcome = std::panic::catch_unwind(|| target(&input));
        if let Err(panic) = outcome {
            eprintln!("target {name}, DUMPVAULT_TEST_SEED={seed}, turn {turn}; the input:\n{input:02x?}");
            std::panic::resume_unwind(panic);
        }
    }
}

/// Else a change of the format leaves seeds behind that are refused at their first bytes, and exercise nothing.
#[test]
fn the_objects_of_the_corpus_are_of_the_present_format() {
    let object = |target: &str, name: &str| std::fs::read(corpus(target).join(name)).unwrap();
    let session = (SessionId::from_bytes([5; 16]), 1u64);
    Config::open(&object("config", "object"), &REPO, keys()).unwrap();
    Slot::decode(&object("slot", "object"), &REPO).unwrap().label(keys()).unwrap();
    Index::open(&object("index", "object"), &REPO, keys()).unwrap();
    snapshot::open_head(&object("snapshot", "object"), &REPO, keys()).unwrap();
    snapshot::open_body(object("snapshot", "object"), &REPO, keys()).unwrap();
    Mark::open(&object("mark", "committed"), &REPO, keys()).unwrap();
    Mark::open(&object("mark", "cleared"), &REPO, keys()).unwrap();
    SessionState::open(&object("session", "object"), session, &REPO, keys()).unwrap();
    Plan::open(&object("plan", "object"), &REPO, keys()).unwrap();
    Statement::open(&object("author", "object"), &REPO, keys()).unwrap();
    let close = Close::open(&object("epoch", "object"), &REPO, keys()).unwrap();
    assert!(close.next_epoch(keys()).unwrap().is_some());
    for name in ["full", "append"] {
        dumpvault::vault::crypto::KeyBundle::decode(&object("bundle", name)).unwrap();
    }
}

/// An input of the corpus, changed in up to four places.
fn changed(inputs: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut input = inputs[dice.below(inputs.len() as u64) as usize].clone();
    for _ in 0..=dice.below(4) {
        let at = dice.below(input.len() as u64 + 1) as usize;
        let end = (at + dice.below(40) as usize).min(input.len());
        match dice.below(8) {
            0 => {
                let piece = input[at..end].to_vec();
                input.splice(at..at, piece);
            }
            1 => drop(input.drain(at..end)),
            2 => input.truncate(at),
            3 => {
                // The front of this one and the end of another.
                let other = &inputs[dice.below(inputs.len() as u64) as usize];
                let from = dice.below(other.len() as u64 + 1) as usize;
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            4 => {
                let number = [0, 1, 0x7f, 0x80, 0xff, 0x7fff_ffff, u64::MAX >> 1, u64::MAX, dice.next()];
                let bytes = number[dice.below(9) as usize].to_be_bytes();
                let width = [1, 2, 4, 8][dice.below(4) as usize];
                let end = (at + width).min(input.len());
                input.splice(at..end, bytes[8 - width..].iter().copied());
            }
            _ if at < input.len() => input[at] ^= 1 << dice.below(8),
            _ => input.push(dice.next() as u8),
        }
    }
    input
}

// --- seeds

/// The CBOR in a padded seal, which the targets pad again.
fn unpadded(plain: &[u8]) -> &[u8] {
    let (len, rest) = plain.split_first_chunk::<4>().unwrap();
    &rest[..u32::from_le_bytes(*len) as usize]
}

/// The plain content of a small sealed object, which the targets seal again.
fn inner(object: &[u8], key: SubKey, tie: &[u8]) -> Vec<u8> {
    let (header, rest) = object.split_at(32);
    let mut decoder = minicbor::Decoder::new(rest);
    decoder.map().unwrap();
    decoder.u8().unwrap();
    let nonce = decoder.bytes().unwrap().try_into().unwrap();
    decoder.u8().unwrap();
    let bytes = decoder.bytes().unwrap().to_vec();
    let sealed = dumpvault::vault::crypto::SmallSealed { nonce, bytes };
    sealed.open(&keys().newest().sub_key(key), &[header, tie].concat()).unwrap()
}

fn seed(target: &str, name: &str, bytes: &[u8]) {
    std::fs::create_dir_all(corpus(target)).unwrap();
    std::fs::write(corpus(target).join(name), bytes).unwrap();
}

fn write_seeds() {
    let config = Config::new(1).seal(REPO, keys(), &Same).unwrap();
    seed("config", "object", &config);
    seed("config", "content", &inner(&config, SubKey::Config, b""));
    seed("header", "config", &config[..40]);
    let label =
        Label { text: "a label".into(), created_ms: 1, role: Role::Full, author: keys().author().id() };
    seed("slot", "object", &Slot::seal(REPO, keys(), &targets::credential(), &label, &Same).unwrap());
    seed("bundle", "full", &keys().encode().unwrap());
    seed("bundle", "append", &keys().to_append().encode().unwrap());
    let mut buffer = pack::PackBuffer::default();
    let chunk = ([1; 32], 5u32);
    let kind = dumpvault::vault::format::index::BlockKind::Data;
    buffer.push(Naming::first(kind), dumpvault::content::codec::Codec::Raw, b"", b"bytes", &[chunk]);
    let sealed = buffer.seal(REPO, keys(), &Same, true).unwrap();
    // The padding is of no interest.
    let table_end = sealed.bytes.len() - pack::FOOTER_BYTES;
    let footer = &sealed.bytes[table_end..];
    let used = sealed.bytes[..table_end].iter().rposition(|byte| *byte != 0).unwrap() + 1;
    seed("pack", "one-block", &[&sealed.bytes[..used], footer].concat());
    seed("chunk_table", "one-block", &sealed.table.encode().unwrap());
    let indexed = IndexedPack { id: sealed.id, bytes: sealed.bytes.len() as u64, table: sealed.table };
    let index = Index { packs: vec![indexed], replaces: vec![IndexId::from_bytes([9; 32])] };
    let index = index.seal(REPO, keys(), &Same).unwrap();
    seed("index", "object", &index);
    let (front, rest) = index[..index.len() - SIGNATURE_BYTES].split_at(32);
    let small = dumpvault::vault::crypto::SmallSealed {
        nonce: rest[..24].try_into().unwrap(),
        bytes: rest[24..].into(),
    };
    let plain = small.open(&keys().newest().sub_key(SubKey::Index), front).unwrap();
    seed("index", "content", unpadded(&plain));
    seed("index", "padded-content", &plain);
    write_author_seeds();
    write_block_seeds();
    write_history_seeds();
    write_dump_seeds();
    write_index_seeds();
}

fn write_index_seeds() {
    use dumpvault::content::index::{Change, Extra, IndexWriter, Kind, Of, Row, Time};
    let change = Change { ctime: Time { seconds: 2, nanos: 5 }, inode: 77, is_clean: true };
    let row = |path: &str, kind| Row {
        path: path.into(),
        kind,
        mode: 0o644,
        uid: 1000,
        gid: 0,
        mtime: Time { seconds: -1, nanos: 999_999_999 },
        is_torn: false,
        is_old: false,
        extra: Extra::default(),
    };
    let file = |size| Kind::File { size, digest: [size as u8; 32] };
    let holes = Extra { holes: Some(vec![4, 8]), ..Extra::default() };
    let reason = Extra { reason: Some("no right".into()), ..Extra::default() };
    let files = [
        row("", Kind::Directory),
        row("srv", Kind::Directory),
        row("srv/a", file(3)),
        Row { extra: holes, ..row("srv/b", file(20)) },
        row("srv/c", Kind::HardLink(b"srv/a".to_vec())),
        row("srv/d", Kind::Symlink(b"../etc".to_vec())),
        row("srv/e", Kind::BlockDevice(8, 1)),
        Row { extra: reason, ..row("srv/f", Kind::Unreadable) },
    ];
    let facts = dumpvault::base::objects::Facts { content_type: Some("a/b".into()), ..Default::default() };
    let object = |path: &str, is_old| Row {
        mode: 0,
        uid: 0,
        is_old,
        extra: Extra { facts: Some(facts.clone()), etag: Some("e".into()), ..Extra::default() },
        ..row(path, file(9))
    };
    let objects = [object("a//b", false), object("a/c", false), object("a/c", true)];
    for (name, of, rows) in [("files", Of::Files, &files[..]), ("objects", Of::Objects, &objects)] {
        let mut writer = IndexWriter::new(of);
        rows.iter().for_each(|row| writer.push(row, &change).unwrap());
        let (bytes, map) = writer.finish();
        seed("file_index", name, &bytes);
        seed("file_index", &format!("{name}-map"), &map.encode());
    }
}

fn write_author_seeds() {
    let hosts = vec!["db1".into(), "*".into()];
    let statement = Statement {
        series: Some(vec!["app".into()]),
        ..Statement::of(keys(), "the passphrase", hosts, 1).unwrap()
    };
    let bytes = statement.seal(REPO, keys(), &Same).unwrap();
    seed("author", "object", &bytes);
    seed("author", "content", &inner(&bytes, SubKey::Author, b""));
    let (author, next) = (keys().author(), keys().rotated(&Same).unwrap());
    let heir = Heir { author: author.id(), role: Role::Full, wrap_key: author.wrap_key().unwrap() };
    let counts = vec![[1; 32], [2; 32]];
    let bytes = Close::seal(REPO, keys(), next.newest(), counts, &[heir], &Same).unwrap();
    seed("epoch", "object", &bytes);
    seed("epoch", "content", &inner(&bytes, SubKey::Epoch, b""));
}

fn write_block_seeds() {
    let mut stored = Vec::new();
    let plain = small::table(30, 1);
    let mut codec = dumpvault::content::codec::Compressor::default();
    let level = dumpvault::content::codec::Level::ZSTD;
    let mut padded = plain;
    padded.resize(2048, b' ');
    let used = codec.compress(&padded, level, &mut stored).unwrap();
    seed("block", "zstd", &[&[used.number(), 2, 0], &stored[..]].concat());
    seed("block", "columns", &[&[2, 3, 0], &by_column(&rows(60)[..3072])[..]].concat());
    // 16 rows of an integer (a series), a date, words, and text.
    let head = [0, 16, 8, 2, 0, 0, 2, 4, 1, 1, 0x80, 0xb4, 0x59, 1, 7, 2, 11];
    let (days, words, text) = ([7u8; 16], b"yes\nno\n", b"some text\n".repeat(16));
    let streams = [&days[..], &words[..], &[0, 1].repeat(8), &text].concat();
    let lens = [0, 16, 7, 16, text.len() as u8];
    let front = [&[0xae, 1, lens.len() as u8][..], &lens, &[head.len() as u8]].concat();
    seed("columns", "kinds", &[&front[..], &head, &streams].concat());
    seed("columns_round_trip", "rows", &rows(40));
    seed("columns_round_trip", "one_row", &rows(1));
    seed("block", "raw", &[&[0, 1, 0], &[b'x'; 1024][..]].concat());
}

/// Rows with values of most types.
fn rows(count: usize) -> Vec<u8> {
    let rows = (0..count).map(|row| {
        let hash = blake3::hash(&[row as u8]).to_hex();
        let money = format!("{}.{:02}", row * 37 % 900, row % 100);
        let when = format!("2024-02-{:02} 12:{:02}:07.5+02", row % 29 + 1, row % 60);
        let name = if row % 3 == 0 { "\\N".to_owned() } else { format!("user{row}@host.example") };
        format!("{row}\t{money}\t{when}\t{name}\t{}\t{{\"a\": {row}, \"b\": \"x\"}}\n", &hash[..16])
    });
    rows.collect::<String>().into_bytes()
}

fn by_column(plain: &[u8]) -> Vec<u8> {
    let mut stored = Vec::new();
    assert!(dumpvault::content::columns::Encoder::default().encode(plain, 1, &mut stored).unwrap());
    stored
}

fn write_history_seeds() {
    let mark = |kind, supersedes| Mark {
        kind,
        object: format!("snapshots/{}", "ab".repeat(32)),
        time_ms: 1,
        supersedes,
        value: Some("series".into()),
        host: "host".into(),
    };
    for (name, kind) in [("committed", MarkKind::Committed), ("cleared", MarkKind::Cleared)] {
        let bytes = mark(kind, vec![]).seal(REPO, keys(), &Same).unwrap();
        seed("mark", name, &bytes);
        seed("mark", &format!("{name}-content"), unpadded(&inner(&bytes, SubKey::Mark, b"")));
    }
    let name = (SessionId::from_bytes([5; 16]), 1u64);
    let state = SessionState {
        kind: SessionKind::Write,
        plans: vec![PlanId::from_bytes([1; 32])],
        began_ms: Some(1),
    };
    let bytes = state.seal(name, REPO, keys(), &Same).unwrap();
    let tie = [&name.0.as_bytes()[..], &name.1.to_le_bytes()].concat();
    seed("session", "object", &bytes);
    seed("session", "content", &inner(&bytes, SubKey::Session, &tie));
    let plan = Plan { time_ms: 1, packs: vec![PackId::from_bytes([1; 32]), PackId::from_bytes([2; 32])] };
    let bytes = plan.seal(REPO, keys(), &Same).unwrap();
    seed("plan", "object", &bytes);
    seed("plan", "content", &inner(&bytes, SubKey::PrunePlan, b""));

    // A snapshot and its recipe, as a backup makes them.
    let storage = dumpvault::storage::memory::MemoryStorage::new();
    let cache = small::scratch();
    let repo = small::init(storage, cache.path()).unwrap();
    let first = small::backup(&repo, 1, &small::table(60, 1), None).unwrap();
    small::backup(&repo, 2, &small::table(60, 2), Some(&first.stream)).unwrap();
    let mut catalog = repo.catalog(&dumpvault::base::event::Silent).unwrap();
    let history = repo.history(&mut catalog).unwrap();
    let newest = history.snapshots.last().unwrap();
    let body = repo.body(&mut catalog, &newest.id).unwrap();
    let bytes = snapshot::seal(&newest.head, &body, REPO, keys(), &Same).unwrap();
    seed("snapshot", "object", &bytes);
    seed("snapshot", "head-content", &minicbor::to_vec(&newest.head).unwrap());
    seed("snapshot", "body-content", &minicbor::to_vec(&body).unwrap());
    write_recipe_seeds();
    let round = [&[100][..], &small::table(20, 1), &small::noise(1, 300)].concat();
    seed("round_trip", "table-and-noise", &round);
    seed("round_trip", "nothing", &[0]);
}

fn write_recipe_seeds() {
    let chunk = |n: u8| dumpvault::base::id::ChunkId::from_bytes([n; 32]);
    let entries = vec![
        Entry::Extent { chunk: chunk(1), offset: 0, len: 300 },
        Entry::Copy { offset: 10, len: 50_000 },
        Entry::Extent { chunk: chunk(2), offset: 77, len: 5 },
        Entry::Extent { chunk: chunk(2), offset: 82, len: 1000 },
        Entry::Copy { offset: 60_000, len: 1 },
    ];
    let root = dumpvault::base::id::NodeId::from_bytes([4; 32]);
    let base = Some(Base { root, depth: 3, checkpoint: 1 });
    let node = Node { len: entries.iter().map(Entry::len).sum(), base, content: Content::Leaf(entries) };
    seed("recipe", "leaf-on-a-base", &node.encode().unwrap());
    let child =
        |n: u8| Child { id: dumpvault::base::id::NodeId::from_bytes([n; 32]), len: u64::from(n) * 1000 };
    let children = (1..4).map(child).collect();
    let content = Content::Inner { level: 1, children };
    seed("recipe", "inner", &Node { len: 6000, base: None, content }.encode().unwrap());
}

fn write_dump_seeds() {
    let mut dump = Vec::new();
    let sample = dumpvault::source::sample::SampleConfig::new(1, 1);
    std::io::Read::read_to_end(&mut dumpvault::source::sample::SampleDump::new(sample).unwrap(), &mut dump)
        .unwrap();
    let head = Toc::parse(&dump).unwrap().head_bytes() as usize;
    seed("archive", "sample-front", &dump[..(head + 2000).min(dump.len())]);
    seed("toc", "sample-head", &dump[..head]);
    let mut survey = dumpvault::content::pg::ArchiveSurvey::new();
    survey.push(&dump);
    seed("table_map", "sample", &survey.finish().unwrap().encode());
    let script = "--\n-- PostgreSQL database dump\n--\n\nSET statement_timeout = 0;\nCREATE TABLE public.t (a integer, b text);\n\
                  COPY public.t (a, b) FROM stdin;\n1\tone\n2\ttwo\n\\.\n\nINSERT INTO public.u VALUES (1, 'it''s');\n\
                  DO $$ BEGIN NULL; END $$;\n--\n-- PostgreSQL database dump complete\n--\n\n";
    seed("script", "plain-dump", script.as_bytes());
    seed("psql_filter", "plain-dump", script.as_bytes());
    let quotes = "\\restrict abc\nSELECT 'C:\\', E'\\'', $a$ $b$ $a$, U&'x', b'1'; /* /* */ */ -- x\r\n\
                  SET standard_conforming_strings = off;\nSET client_encoding = 'SJIS';\nSELECT '\u{20ac}', a[1:b], 1e-5;\n\
                  CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; END;\n\
                  COPY public.\"t\" (a) FROM stdin;\n\\! id\n\\.\n\\connect target\n\\unrestrict abc\n";
    seed("psql_filter", "quotes", quotes.as_bytes());
    let mut scanner = dumpvault::content::pg::ScriptScanner::new();
    scanner.push(script.as_bytes());
    if let Ok(map) = scanner.finish() {
        seed("table_map", "plain-dump", &map.encode());
    }
    let sum = |file: &[u8]| crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Redis, file).to_le_bytes();
    let redis = b"REDIS0011\xfa\x09redis-ver\x057.0.0\xfe\x00\x00\x01a\x01b\xff";
    let mut tar = vec![0; 2048];
    tar[..7].copy_from_slice(b"toc.dat");
    tar[124..135].copy_from_slice(b"00000000005");
    tar[156] = b'0';
    tar[148..156].fill(b' ');
    let stated: u32 = tar[..512].iter().map(|byte| u32::from(*byte)).sum();
    tar[148..155].copy_from_slice(format!("{stated:06o}\0").as_bytes());
    tar[512..517].copy_from_slice(b"PGDMP");
    let mongo = b"\x6d\xe2\x99\x81\x05\0\0\0\0\xff\xff\xff\xff\x1b\0\0\0\x02db\0\x02\0\0\0d\0\x08EOF\0\x01\0\0\0\0\0\xff\xff\xff\xff";
    seed("rdb", "small", &[&redis[..], &sum(redis)].concat());
    for server in ["redis62", "valkey91"] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/rdb/{server}.rdb"));
        seed("rdb", server, &std::fs::read(file).unwrap());
    }
    for (name, bytes) in [
        ("redis", &[&redis[..], &sum(redis)].concat()[..]),
        ("tar", &tar),
        ("mongodb", mongo),
        ("mysql", b"-- MySQL dump 10.13\n\nSELECT 1;\n-- Dump completed\n"),
        ("gzip", b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x4b\x4c\x4a\x06\0\xc2\x41\x24\x35\x03\0\0\0"),
        ("bzip2", b"BZh9\x17\x72\x45\x38\x50\x90\0\0\0\0"),
        ("zstd", b"\x28\xb5\x2f\xfd\x04\x58\x19\0\0abc\x52\xb8\x44\xad"),
        ("lz4", b"\x04\x22\x4d\x18\x64\x40\xa7\x03\0\0\x80abc\0\0\0\0\x99\x3e\x3d\x32"),
        ("xz", b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4\x46\0\0\0\0\x1c\xdf\x44\x21\x1f\xb6\xf3\x7d\x01\0\0\0\0\x04YZ"),
        ("windows", script.replace('\n', "\r\n").as_bytes()),
        ("behind-text", &[b"a warning\n", &dump[..300]].concat()),
    ] {
        seed("content", name, bytes);
    }
    let settings = "time-zone = \"Europe/Berlin\"\n\n[retention]\nkeep-daily = 7\nkeep-within = \"30d\"\n";
    for (name, text) in [
        ("file", settings),
        ("address", "s3://bucket/some/prefix?endpoint=http://localhost:9000&region=eu-1"),
        ("size", "64 MiB"),
        ("duration", "1h30m"),
        ("age", "30d"),
    ] {
        seed("settings", name, text.as_bytes());
    }
}
