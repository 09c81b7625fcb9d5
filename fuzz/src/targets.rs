//! What every fuzz target does with its input: one function each, shared by the targets of libFuzzer and by the replay
//! in the tests.
//!
//! None of them may panic, hang, or take more memory than its input explains. What is sealed is tried twice: the bytes
//! as they stand, which exercises the outside, and as the plain content of an object whose seal is right, as somebody
//! with a stolen key would write it.

use dumpvault::base::id::{RepoId, SessionId};
use dumpvault::base::secret::{Entropy, EntropyError};
use dumpvault::content::codec::{Codec, Decompressor};
use dumpvault::content::columns::{Decoder, Encoder};
use dumpvault::content::index::{Entry, IndexReader, IndexWriter, Of, SectionMap, read_section};
use dumpvault::content::inspect::{FRONT_BYTES as KIND_BYTES, Inspector, Kind};
use dumpvault::content::pg::{ArchiveSurvey, ScriptScanner, TableMap, Toc, WithData, synthesise};
use dumpvault::content::rdb::{KeyMap, Ordered, Reader, Structure};
use dumpvault::source::postgres::{FilterError, ScriptFilter, ScriptRefused, SessionSettings};
use dumpvault::vault::crypto::{Credential, KeyBundle, KeyFile, SmallSealed, SubKey};
use dumpvault::vault::format::author::Statement;
use dumpvault::vault::format::config::{BLOCK_BYTES_MAX, Config};
use dumpvault::vault::format::epoch::Close;
use dumpvault::vault::format::header::{Header, ObjectType};
use dumpvault::vault::format::index::{ChunkTable, Index};
use dumpvault::vault::format::mark::Mark;
use dumpvault::vault::format::pack::{FOOTER_BYTES, FRONT_BYTES, Footer, PackOpener};
use dumpvault::vault::format::plan::Plan;
use dumpvault::vault::format::session::SessionState;
use dumpvault::vault::format::signed::padme;
use dumpvault::vault::format::slot::{Slot, SlotKind};
use dumpvault::vault::format::snapshot;
use dumpvault::vault::snapshot::recipe::Node;
use std::sync::OnceLock;

/// A target: what its corpus's folder is called, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("header", header),
    ("slot", slot),
    ("bundle", bundle),
    ("config", config),
    ("pack", pack),
    ("chunk_table", chunk_table),
    ("block", block),
    ("columns", columns),
    ("columns_round_trip", columns_round_trip),
    ("index", index),
    ("snapshot", snapshot),
    ("mark", mark),
    ("session", session),
    ("plan", plan),
    ("author", author),
    ("epoch", epoch),
    ("recipe", recipe),
    ("table_map", table_map),
    ("file_index", file_index),
    ("rdb", rdb),
    ("archive", archive),
    ("script", script),
    ("content", content),
    ("psql_filter", psql_filter),
    ("toc", toc),
    ("settings", settings),
    ("sftp", sftp),
    ("round_trip", round_trip),
];

/// What a server says, whoever it is: nothing makes a panic, or more memory than it sent.
fn sftp(input: &[u8]) {
    use dumpvault::storage::sftp::packets;
    if let Ok((_, packets::Answer::Names(names))) = packets::decode(input) {
        assert!(names.len() * 12 <= input.len());
    }
    let _ = (packets::welcome(input), packets::limits(input), packets::room(input));
}

/// The repository that all inputs are of.
pub const REPO: RepoId = RepoId::from_bytes([3; 16]);

/// Bytes that are always the same: an input that fails must fail again.
pub struct Same;

impl Entropy for Same {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        bytes.fill(7);
        Ok(())
    }
}

/// The keys that all inputs are sealed with.
pub fn keys() -> &'static KeyBundle {
    static KEYS: OnceLock<KeyBundle> = OnceLock::new();
    KEYS.get_or_init(|| KeyBundle::generate(&Same).expect("keys come from bytes alone"))
}

/// The key file of the slots in the corpus.
pub fn credential() -> Credential {
    static FILE: OnceLock<KeyFile> = OnceLock::new();
    let file = FILE.get_or_init(|| {
        let path = std::env::temp_dir().join(format!("dumpvault-fuzz-{}.key", std::process::id()));
        std::fs::write(&path, [7; 32]).expect("a key file can be written");
        let file = KeyFile::read(&path).expect("a key file of 32 bytes").0;
        std::fs::remove_file(&path).expect("it was there");
        file
    });
    Credential::KeyFile(file.clone())
}

fn header_of(kind: ObjectType) -> [u8; 32] {
    Header { kind, epoch: keys().newest().number(), repo: REPO }.to_bytes()
}

fn sealed(key: SubKey, associated: &[u8], plain: &[u8]) -> SmallSealed {
    let key = keys().newest().sub_key(key);
    SmallSealed::seal(&key, associated, plain, &Same).expect("an input is not too long")
}

/// An object as the smaller ones are: header, nonce, sealed content; a signature, which is the authority's where
/// `by_authority` says so.
fn object(kind: ObjectType, key: SubKey, tie: &[u8], by_authority: bool, plain: &[u8]) -> Vec<u8> {
    let raw = header_of(kind);
    let small = sealed(key, &[&raw[..], tie].concat(), plain);
    let mut bytes = raw.to_vec();
    map_head(&mut bytes, 2);
    byte_field(&mut bytes, 0, &small.nonce);
    byte_field(&mut bytes, 1, &small.bytes);
    signed(tie, bytes, by_authority)
}

/// The object `body` with a signature.
fn signed(tie: &[u8], mut body: Vec<u8>, by_authority: bool) -> Vec<u8> {
    let message = [b"dumpvault v1 signed", tie, &body].concat();
    let signature = match by_authority {
        true => keys().newest().sign(&message).expect("a full key signs"),
        false => keys().author().sign(&message),
    };
    body.extend_from_slice(&signature);
    body
}

/// What small seals of index objects, snapshot heads and marks hold.
fn padded(cbor: &[u8]) -> Vec<u8> {
    let mut bytes = (cbor.len() as u32).to_le_bytes().to_vec();
    bytes.extend_from_slice(cbor);
    bytes.resize(padme(bytes.len()), 0);
    bytes
}

/// CBOR: the head of a map with so many fields.
fn map_head(out: &mut Vec<u8>, fields: u8) {
    out.push(0xa0 + fields);
}

/// CBOR: a small integer key and a byte string.
fn byte_field(out: &mut Vec<u8>, key: u8, bytes: &[u8]) {
    out.extend_from_slice(&[key, 0x5a]);
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// The 32 bytes in front of every object.
pub fn header(input: &[u8]) {
    let kinds = [ObjectType::Config, ObjectType::KeySlot, ObjectType::Pack, ObjectType::Index];
    for kind in kinds {
        if let Ok((header, raw, rest)) = Header::read(input, kind, None) {
            assert_eq!((header.to_bytes().len() + rest.len(), raw.len()), (input.len(), 32));
        }
    }
}

/// A key slot. Passphrases are left out: trying one takes its time by design.
pub fn slot(input: &[u8]) {
    if let Ok(slot) = Slot::decode(input, &REPO) {
        let _ = slot.label(keys());
        if slot.kind() == SlotKind::KeyFile {
            let _ = slot.open(&credential(), dumpvault::vault::crypto::KdfCaps::USUAL);
        }
    }
}

/// The keys that a slot holds.
pub fn bundle(input: &[u8]) {
    if let Ok(bundle) = KeyBundle::decode(input) {
        let again = bundle.encode().expect("what was read can be written");
        assert!(KeyBundle::decode(&again).is_ok());
    }
}

/// The config object.
pub fn config(input: &[u8]) {
    let _ = Config::repo_id(input);
    let _ = Config::open(input, &REPO, keys());
    let inner = object(ObjectType::Config, SubKey::Config, b"", true, input);
    if let Ok(config) = Config::open(&inner, &REPO, keys()) {
        assert!(config.chunk_sizes.are_valid() && config.block_bytes <= BLOCK_BYTES_MAX);
    }
}

/// A pack: footer, front, table.
pub fn pack(input: &[u8]) {
    let (Some(footer), Some(front)) =
        (input.last_chunk::<FOOTER_BYTES>(), input.first_chunk::<FRONT_BYTES>())
    else {
        return;
    };
    let Ok(footer) = Footer::read(footer, input.len() as u64) else { return };
    let Ok(opener) = PackOpener::new(front, &REPO, keys()) else { return };
    let (start, len) = (footer.table_offset as usize, footer.table_bytes as usize);
    let mut table = input.get(start..start + len).expect("the footer was checked").to_vec();
    let _ = opener.open_table(&footer, &mut table);
}

/// What a pack says that it holds.
pub fn chunk_table(input: &[u8]) {
    if let Ok(table) = ChunkTable::decode(input) {
        let chunks: usize = table.blocks.iter().map(|block| table.chunks_of(block).len()).sum();
        assert_eq!(chunks, table.chunks.len());
        let again = table.encode().expect("what was read can be written");
        assert!(ChunkTable::decode(&again).expect("and read again") == table);
    }
}

/// A block's compressed bytes: the first byte is the codec, the next two the length that was promised, in KiB.
pub fn block(input: &[u8]) {
    let Some(([codec, low, high], stored)) = input.split_first_chunk::<3>() else { return };
    let plain_bytes = (usize::from(u16::from_le_bytes([*low, *high])) << 10).min(BLOCK_BYTES_MAX);
    let Some(codec) = Codec::from_number(*codec) else { return };
    let mut plain = Vec::new();
    if Decompressor::default().decompress(codec, stored, plain_bytes, &mut plain).is_ok() {
        assert_eq!(plain.len(), plain_bytes);
    }
}

/// A block by column as somebody writes it who wants to hurt: a description and streams of any kind, in a frame that is
/// right. The input: plain length, number of streams (at most 32), their lengths, length of the description; the
/// description, and the streams.
pub fn columns(input: &[u8]) {
    let Some(([low, high, count], rest)) = input.split_first_chunk::<3>() else { return };
    let plain_bytes = usize::from(u16::from_le_bytes([*low, *high]));
    let Some((lens, rest)) = rest.split_at_checked(usize::from(*count % 33)) else { return };
    let Some((head_len, rest)) = rest.split_first() else { return };
    let bytes: usize = lens.iter().map(|len| usize::from(*len)).sum();
    let mut small = vec![*head_len & 0x7f];
    small.extend_from_slice(rest);
    small.resize(1 + usize::from(*head_len & 0x7f) + bytes, b'\n');
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0xa0];
    frame.extend_from_slice(&(small.len() as u32).to_le_bytes());
    // One block, the last, of bytes as they are.
    frame.extend_from_slice(&((small.len() as u32) << 3 | 1).to_le_bytes()[..3]);
    frame.extend_from_slice(&small);
    let mut stored = Vec::new();
    let lens_of_streams = lens.iter().map(|len| usize::from(*len) << 2);
    for mut number in [small.len(), frame.len(), lens.len()].into_iter().chain(lens_of_streams) {
        while number >= 128 {
            stored.push(number as u8 | 128);
            number >>= 7;
        }
        stored.push(number as u8);
    }
    stored.extend_from_slice(&frame);
    let (mut decoder, mut plain) = (Decoder::default(), Vec::new());
    if decoder.decode(&stored, plain_bytes, &mut plain).is_ok() {
        assert_eq!(plain.len(), plain_bytes);
    }
    assert!(decoder.memory_bytes() + plain.capacity() <= 4 * plain_bytes + (16 << 10));
}

/// Rows stored by column come back: as they are, repeated, and by an encoder that saw others before.
pub fn columns_round_trip(input: &[u8]) {
    let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
    let (mut stored, mut back) = (Vec::new(), Vec::new());
    for plain in [input.to_vec(), input.repeat(20), [input, b"\n"].concat().repeat(20), input.to_vec()] {
        stored.clear();
        if encoder.encode(&plain, 1, &mut stored).expect("there is memory") {
            decoder.decode(&stored, plain.len(), &mut back).expect("what was encoded decodes");
            assert_eq!(back, plain);
        }
    }
}

/// An index object.
pub fn index(input: &[u8]) {
    let _ = Index::open(input, &REPO, keys());
    let raw = header_of(ObjectType::Index);
    // Padded as it should be, and with padding of the input's own.
    for plain in [&padded(input), input] {
        let small = sealed(SubKey::Index, &raw, plain);
        let bytes = signed(b"", [&raw[..], &small.nonce, &small.bytes].concat(), false);
        let _ = Index::open(&bytes, &REPO, keys());
    }
}

/// A snapshot: the input is its head, then its body.
pub fn snapshot(input: &[u8]) {
    let _ = snapshot::open_head(input, &REPO, keys());
    let _ = snapshot::open_body(input.to_vec(), &REPO, keys());
    let raw = header_of(ObjectType::Snapshot);
    let head = sealed(SubKey::SnapshotHead, &raw, &padded(input));
    let associated = [&raw[..], blake3::hash(&head.bytes).as_bytes()].concat();
    let epoch = keys().newest();
    let body =
        epoch.seal(b"dumpvault v1 snapshot", &associated, input, &Same).expect("an input is not too long");
    let mut bytes = raw.to_vec();
    map_head(&mut bytes, 4);
    byte_field(&mut bytes, 0, &head.nonce);
    byte_field(&mut bytes, 1, &head.bytes);
    byte_field(&mut bytes, 2, &body.enc);
    byte_field(&mut bytes, 3, &body.bytes);
    let bytes = signed(b"", bytes, false);
    let _ = snapshot::open_head(&bytes, &REPO, keys());
    let _ = snapshot::open_body(bytes, &REPO, keys());
}

/// A mark.
pub fn mark(input: &[u8]) {
    let _ = Mark::open(input, &REPO, keys());
    for plain in [&padded(input), input] {
        let _ = Mark::open(&object(ObjectType::Mark, SubKey::Mark, b"", false, plain), &REPO, keys());
    }
}

/// A session object.
pub fn session(input: &[u8]) {
    let name = (SessionId::from_bytes([5; 16]), 1u64);
    let _ = SessionState::open(input, name, &REPO, keys());
    let tie = [&name.0.as_bytes()[..], &name.1.to_le_bytes()].concat();
    let inner = object(ObjectType::Session, SubKey::Session, &tie, false, input);
    let _ = SessionState::open(&inner, name, &REPO, keys());
}

/// A prune plan.
pub fn plan(input: &[u8]) {
    let _ = Plan::open(input, &REPO, keys());
    let inner = object(ObjectType::PrunePlan, SubKey::PrunePlan, b"", false, input);
    let _ = Plan::open(&inner, &REPO, keys());
}

/// A statement about an author.
pub fn author(input: &[u8]) {
    let _ = Statement::open(input, &REPO, keys());
    let inner = object(ObjectType::Author, SubKey::Author, b"", true, input);
    if let Ok((_, statement)) = Statement::open(&inner, &REPO, keys()) {
        let _ = statement.covers("app", "host");
    }
}

/// The end of a key epoch.
pub fn epoch(input: &[u8]) {
    let _ = Close::closed_by(input, &REPO);
    let _ = Close::open(input, &REPO, keys());
    let inner = object(ObjectType::Epoch, SubKey::Epoch, b"", true, input);
    if let Ok(close) = Close::open(&inner, &REPO, keys()) {
        assert!(close.counts.is_sorted());
        let _ = close.next_epoch(keys());
    }
}

/// A node of a recipe.
pub fn recipe(input: &[u8]) {
    if let Ok(node) = Node::decode(input) {
        let again = node.encode().expect("what was read can be written");
        assert!(Node::decode(&again).is_ok());
    }
}

/// Where the tables of a dump lie.
pub fn table_map(input: &[u8]) {
    if let Ok(map) = TableMap::decode(input) {
        assert!(TableMap::decode(&map.encode()).is_ok());
    }
    if let Ok(map) = KeyMap::decode(input) {
        assert!(KeyMap::decode(&map.encode()).is_ok());
    }
}

/// An index of files or objects, a section of one, and its map. Rows that were read can be written, and are the same
/// when read again.
pub fn file_index(input: &[u8]) {
    for of in [Of::Files, Of::Objects] {
        let _ = read_section(of, input);
        let Ok(rows) = rows_of(of, input) else { continue };
        let mut writer = IndexWriter::new(of);
        for Entry { row, change } in &rows {
            writer.push(row, change).expect("a row that was read");
        }
        let (bytes, map) = writer.finish();
        assert!(rows_of(of, &bytes).expect("an index that was written") == rows);
        assert_eq!(map.rows(), rows.len() as u64);
        assert!(SectionMap::decode(&map.encode()).is_ok());
    }
    if let Ok(map) = SectionMap::decode(input) {
        assert!(SectionMap::decode(&map.encode()).is_ok());
    }
}

fn rows_of(of: Of, mut bytes: &[u8]) -> Result<Vec<Entry>, ()> {
    let mut reader = IndexReader::new(of, &mut bytes);
    let mut rows = Vec::new();
    while let Some(section) = reader.section().map_err(|_| ())? {
        rows.extend(section);
    }
    Ok(rows)
}

/// A Redis file as it passes by: however it is cut, the answer is the same. One that is whole can be put in order, and
/// is whole then, too.
pub fn rdb(input: &[u8]) {
    let read = |mut reader: Reader, piece: usize| {
        input.chunks(piece).for_each(|bytes| reader.push(bytes));
        (reader.take_records().len(), reader.finish_places())
    };
    let (_, (structure, survey, places)) = read(Reader::with_places(), usize::MAX);
    for (reader, piece) in [(Reader::new(), 1), (Reader::with_places(), 7), (Reader::with_records(64), 13)] {
        let (_, (again, other, _)) = read(reader, piece);
        assert!(again == structure && other.keys() == survey.keys());
    }
    if structure != Structure::Whole {
        return;
    }
    if let Ok(mut ordered) = Ordered::new(input.to_vec(), &survey, places) {
        let mut sorted = Vec::new();
        while ordered.next(&mut sorted) {}
        let mut reader = Reader::new();
        reader.push(&sorted);
        let (structure, other) = reader.finish();
        assert!(structure == Structure::Whole && other.keys() == survey.keys());
    }
}

/// A dump as it passes by, in pieces of several sizes.
pub fn archive(input: &[u8]) {
    let mut whole = Inspector::new();
    whole.push(input);
    let _ = whole.finish();
    let mut pieces = ArchiveSurvey::new();
    input.chunks(7).for_each(|piece| pieces.push(piece));
    let _ = pieces.finish();
}

/// A stream of any kind as it passes by: however it is cut, the answer is the same.
pub fn content(input: &[u8]) {
    let inspected = |piece: usize| {
        let mut inspector = Inspector::new();
        input.chunks(piece).for_each(|bytes| inspector.push(bytes));
        inspector.finish()
    };
    let whole = inspected(usize::MAX);
    assert_eq!(whole, inspected(7));
    assert_eq!(whole, inspected(4097));
    if input.len() > 8 {
        assert_eq!(whole.kind, Kind::of(input.get(..KIND_BYTES).unwrap_or(input)));
    }
}

/// A plain dump as it passes by.
pub fn script(input: &[u8]) {
    let mut scanner = ScriptScanner::new();
    input.chunks(5).for_each(|piece| scanner.push(piece));
    let _ = scanner.finish();
}

/// A script on its way to psql: the same comes out, and the same is refused, however it is cut.
pub fn psql_filter(input: &[u8]) {
    let whole = filtered(input.chunks(input.len().max(1)));
    assert_eq!(filtered(input.chunks(1)), whole);
    assert_eq!(filtered(input.chunks(7)), whole);
}

fn filtered<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<Vec<u8>, ScriptRefused> {
    let settings = SessionSettings { conforming: Some(true), encoding: "UTF8".to_owned() };
    let mut filter = ScriptFilter::new("target", &settings);
    let mut out = Vec::new();
    let mut take = |bytes: &[u8]| {
        out.extend_from_slice(bytes);
        Ok(())
    };
    let mut outcome = Ok(());
    for piece in pieces {
        outcome = outcome.and_then(|()| filter.push(piece, &mut take));
    }
    match outcome.and_then(|()| filter.finish(&mut take)) {
        Ok(()) => Ok(out),
        Err(FilterError::Refused(refused)) => Err(refused),
        Err(FilterError::Io(error)) => panic!("nothing is written: {error}"),
    }
}

/// A table of contents, and the archive made of all that it names.
pub fn toc(input: &[u8]) {
    let Ok(toc) = Toc::parse(input) else { return };
    let mut survey = ArchiveSurvey::new();
    survey.push(input);
    let all: Vec<usize> = (0..toc.entries().len()).collect();
    for index in &all {
        let _ = toc.section(*index);
    }
    if let Ok(map) = survey.finish() {
        for data in [WithData::Yes, WithData::No] {
            let _ = synthesise(&toc, &map, &[], &all, data);
        }
    }
}

/// What people write: addresses, settings, the configuration file.
pub fn settings(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let _ = dumpvault::storage::s3::S3Address::parse(text);
    let _ = dumpvault::base::unit::bytes(text);
    let _ = dumpvault::base::unit::duration(text);
    let _ = dumpvault::base::unit::age(text);
    let _ = dumpvault::base::unit::since(text);
    let _ = dumpvault::base::unit::object_lock(text);
    let _ = dumpvault::base::unit::level(text);
    match dumpvault::engine::app::settings_of_text("x.toml".into(), text) {
        Ok(settings) => {
            let _ = settings.retention();
            for shown in settings.shown {
                let _ = shown.value.map(|value| value.to_string());
            }
        }
        Err(error) => drop(error.to_string()),
    }
}

/// Two dumps, divided by the input's first byte: the second is stored on the first. Both have to come back.
pub fn round_trip(input: &[u8]) {
    use dumpvault::base::event::{Cancel, Silent};
    use dumpvault::vault::reader::{Locator, ReadSettings};
    use dumpvault::vault::snapshot::{Proof, StreamFormat};
    use dumpvault::vault::writer::{Basis, CommitRequest, PipelineSettings};
    use dumpvault::vault::{Repository, Surroundings};
    use std::sync::{Arc, Mutex};

    let Some((cut, dumps)) = input.split_first() else { return };
    let (first, second) = dumps.split_at(dumps.len() * usize::from(*cut) / 256);
    // Short inputs would never make more than one chunk.
    let dumps = [first.repeat(40), [first.repeat(20), second.repeat(3), first.repeat(20)].concat()];
    // Nothing can be made there: the catalog stays in memory.
    let cache_root = std::path::PathBuf::from("/dev/null/nowhere");
    let around = Surroundings::new(Arc::new(dumpvault::base::secret::OsEntropy), cache_root);
    let storage = Arc::new(dumpvault::storage::memory::MemoryStorage::new());
    let chunk_sizes = dumpvault::content::chunker::ChunkSizes { min: 256, average: 512, max: 2048 };
    let config = Config { chunk_sizes, block_bytes: 4096, pack_bytes: 1 << 20, ..Config::new(0) };
    let repo = Repository::init(storage, &credential(), "", config, &around).expect("a repository");
    let mut parent = None;
    for (counter, dump) in (1..).zip(&dumps) {
        let (catalog, _, presence) = repo.synced(&Silent).expect("nothing fails here");
        let level = dumpvault::content::codec::Level::DEFAULT;
        let settings = PipelineSettings { level, read_back: true, workers: 1 };
        let mut session =
            repo.writer().begin_backup(catalog, presence, settings).expect("nothing fails here");
        let basis = match &parent {
            None => Basis::Chunks,
            Some(stream) => {
                let parent = session.parent(stream, "fuzz", 1, Box::new(|_| true));
                Basis::Parent(Box::new(parent.expect("the parent can be read")))
            }
        };
        let stored =
            session.store("s", &mut &dump[..], basis, &Silent, &Cancel::new()).expect("it is stored");
        let finished = stored.finish(Proof::Exited, StreamFormat::Unknown, Default::default());
        let request = CommitRequest {
            series: "s".into(),
            host: "h".into(),
            time_ms: counter,
            now_ms: counter,
            tags: vec![],
            counter: counter as u64,
            predecessor: None,
            time_zone: "UTC".into(),
            calendar: vec![],
            program: String::new(),
            source: Default::default(),
            parent: None,
            failed: vec![],
            origin: None,
            origin_author: None,
            set: None,
            is_import: false,
            pins: Vec::new(),
        };
        let committed = session.commit(vec![finished], request).expect("it is committed");
        let stream = committed.body.streams[0].clone();
        let catalog = repo.catalog(&Silent).expect("nothing fails here");
        let locator = Arc::new(Mutex::new(Locator::new(&repo, catalog, Default::default())));
        let mut out = Vec::new();
        let mut write = |bytes: &[u8]| {
            out.extend_from_slice(bytes);
            Ok(())
        };
        let read = ReadSettings { workers: 1, ..ReadSettings::local(1) };
        repo.reader()
            .read_stream(&locator, &stream, read, &Silent, &Cancel::new(), &mut write)
            .expect("it comes back");
        assert!(out == *dump, "other bytes came back");
        parent = Some(stream);
    }
}
