//! How the golden repositories were made. Run once a format version; see `tests/fixtures/README.md`.

use crate::contents::{content, swapped_by};
use crate::test_writer::{Block, DATA, PackLies, RAW, RawNode, TestWriter, ZSTD, stream};
use dumpvault::chunker::ChunkSizes;
use dumpvault::codec::Level;
use dumpvault::crypto::{Credential, KeyFile, Role};
use dumpvault::event::{Cancel, Silent};
use dumpvault::id::{ChunkId, NodeId, PackId};
use dumpvault::repo::format::config::Config;
use dumpvault::repo::writer::{Basis, CommitRequest, PipelineSettings};
use dumpvault::repo::{Repository, Surroundings};
use dumpvault::secret::{OsEntropy, Passphrase};
use dumpvault::snapshot::{FailedStream, Proof, StreamFormat};
use dumpvault::storage::local::LocalStorage;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

pub const PASSPHRASE: &str = "correct horse battery staple – ü";

pub fn passphrase() -> Credential {
    Credential::Passphrase(Passphrase::new(PASSPHRASE.into()))
}

/// A backup by the program itself: each stream has the content of its own name.
fn backup(
    repo: &Repository,
    series: &str,
    day: u64,
    level: Level,
    streams: &[(&str, &str)],
    failed: &[&str],
) {
    let mut catalog = repo.catalog(&Silent).unwrap();
    let history = repo.history(&mut catalog).unwrap();
    let before =
        history.series(series, "golden").next_back().map(|summary| (summary.id, summary.head.counter));
    let presence = repo.reconcile(&mut catalog, &history.damaged_packs).unwrap();
    let settings = PipelineSettings { level, read_back: true, workers: 1 };
    let mut session = repo.begin_backup(catalog, presence, settings).unwrap();
    let mut finished = Vec::new();
    for (name, made_of) in streams {
        let stored = session
            .store(name, &mut content(made_of).as_slice(), Basis::Chunks, &Silent, &Cancel::new())
            .unwrap();
        let attributes = BTreeMap::from([("server_version".to_owned(), "15.6".to_owned())]);
        finished.push(stored.finish(Proof::Exited, StreamFormat::PlainSql, attributes));
    }
    let now_ms = 1_793_000_000_000 + day as i64 * 86_400_000;
    let failed =
        failed.iter().map(|name| FailedStream { name: (*name).into(), reason: "exit status 1".into() });
    let request = CommitRequest {
        series: series.into(),
        host: "golden".into(),
        time_ms: now_ms,
        now_ms: now_ms + 60_000,
        tags: vec!["nightly".into(), "größer".into()],
        counter: before.map_or(1, |(_, counter)| counter + 1),
        predecessor: before.map(|(id, _)| id),
        time_zone: "Europe/Berlin".into(),
        calendar: vec!["daily".into()],
        program: env!("CARGO_PKG_VERSION").into(),
        source: BTreeMap::from([("kind".to_owned(), "golden".to_owned())]),
        parent: before.map(|(id, _)| id),
        failed: failed.collect(),
        origin: None,
        origin_author: None,
        is_import: false,
        pins: Vec::new(),
    };
    session.commit(finished, request).unwrap();
}

/// A repository by the program itself: several series and streams, a slot of each kind, compressed and raw blocks, a pack that
/// was damaged after the first backup, was marked so, and whose chunks were stored again.
pub fn make_by_program(folder: &Path, key_file: &Path, cache: &Path) {
    let storage = Arc::new(LocalStorage::create(folder).unwrap());
    let surroundings = Surroundings::new(Arc::new(OsEntropy), cache.to_owned());
    let chunk_sizes = ChunkSizes { min: 2 << 10, average: 8 << 10, max: 64 << 10 };
    let config = Config { chunk_sizes, block_bytes: 128 << 10, ..Config::new(1_793_000_000_000) };
    let repo =
        Repository::init(storage.clone(), &passphrase(), "the passphrase", config, &surroundings).unwrap();
    let key_file = Credential::KeyFile(KeyFile::create(key_file, &OsEntropy).unwrap());
    repo.add_key(&key_file, Role::Full, "the key file", 1_793_000_000_000).unwrap();

    let streams = [("app", "app day 0"), ("globals", "globals"), ("empty", "empty"), ("noise", "noise")];
    backup(&repo, "app", 0, Level::DEFAULT, &streams, &[]);
    let damaged = damage_data_pack(folder, &repo);
    repo.mark_damaged(&damaged, "block 0 does not open", "golden", 1_793_000_100_000).unwrap();
    // From here on the damage heals: what the first snapshot lost is stored again.
    backup(&repo, "app", 1, Level::Off, &streams, &["audit"]);
    backup(
        &repo,
        "cache",
        2,
        Level::Zstd(9),
        &[("cache", "cache"), ("zeros", "zeros"), ("x/ü", "one byte")],
        &[],
    );
}

/// Flips a bit in the first block of the pack with data in it, and gives the pack's id.
fn damage_data_pack(folder: &Path, repo: &Repository) -> PackId {
    let mut catalog = repo.catalog(&Silent).unwrap();
    let packs = catalog.packs().unwrap();
    let kind = |number| catalog.pack(number).unwrap().table.blocks[0].kind;
    let data = dumpvault::repo::format::index::BlockKind::Data;
    let number = packs.iter().map(|pack| pack.number).map(kind).position(|kind| kind == data).unwrap();
    let id = packs[number].id;
    let hex = id.to_string();
    let path = folder.join("packs").join(&hex[..2]).join(&hex);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[200] ^= 4;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, bytes).unwrap();
    id
}

/// A repository by hand: three key epochs, partial extents, extents that go on, copies over many depths, trees of several
/// levels, an index that replaces another, packs that no index names, marks superseded, and a snapshot that nothing commits.
pub fn make_by_hand(folder: &Path, key_file: &Path) {
    let mut writer = TestWriter::create(folder);
    let (first, chunks) = day_0(&mut writer);
    writer.rotate();
    let third = days_1_and_2(&mut writer, first, &chunks);
    writer.rotate();
    let deep = swapped(&mut writer);
    // No index names this pack: a backup that was killed before its index was written.
    writer.recipe_pack();
    let late = writer.unindexed.pop().unwrap();
    assert!(writer.unindexed.is_empty(), "{}", late.id);

    let content_third = content("app day 2");
    let third = stream("app", &content_third, third);
    let deep = stream("deep", &content("swapped 32"), deep);
    let snapshot = writer.snapshot("app", 3, vec![third.clone(), deep], &["audit"]);
    let committed = writer.commit(snapshot);
    // Said again, by a mark that takes the first one's place.
    writer.mark(1, &format!("snapshots/{snapshot}"), &[committed], false);
    writer.mark(2, &format!("snapshots/{snapshot}"), &[], false);
    writer.snapshot("app", 4, vec![third.clone()], &[]);
    let undone = writer.snapshot("app", 5, vec![third], &[]);
    let mark = writer.commit(undone);
    writer.mark(6, &format!("snapshots/{undone}"), &[mark], true);

    writer.slot(&passphrase());
    writer.slot(&Credential::KeyFile(KeyFile::create(key_file, &OsEntropy).unwrap()));
}

type Chunks = Vec<(ChunkId, Vec<u8>)>;

/// Cuts `bytes` into chunks of odd lengths.
fn chunks_of(writer: &TestWriter, bytes: &[u8]) -> Chunks {
    let mut chunks = Vec::new();
    let mut rest = bytes;
    for len in [1usize, 700, 4_096, 9_999, 2].into_iter().cycle() {
        if rest.is_empty() {
            return chunks;
        }
        let (chunk, later) = rest.split_at(len.min(rest.len()));
        chunks.push((writer.chunk_id(chunk), chunk.to_vec()));
        rest = later;
    }
    chunks
}

/// Blocks of `per_block` chunks each, raw and compressed in turn.
fn blocks_of(writer: &TestWriter, chunks: &Chunks, per_block: usize) -> Vec<Block> {
    let codecs = [RAW, ZSTD].into_iter().cycle();
    let groups = chunks.chunks(per_block).zip(codecs);
    let block = |(group, codec): (&[(ChunkId, Vec<u8>)], u8)| {
        let slices: Vec<&[u8]> = group.iter().map(|(_, bytes)| bytes.as_slice()).collect();
        writer.data_block(codec, &slices)
    };
    groups.map(block).collect()
}

/// Leaves of two chunks each; every chunk is taken in three extents where it is long enough.
fn leaves(writer: &mut TestWriter, chunks: &Chunks) -> Vec<(NodeId, u64)> {
    let mut leaves = Vec::new();
    for (at, pair) in chunks.chunks(2).enumerate() {
        let ids: Vec<ChunkId> = pair.iter().map(|(id, _)| *id).collect();
        // The reserved list of own chunks stands in some; readers pass over it.
        let mut leaf = RawNode { own_chunks: at % 3 == 0, ..RawNode::default() }.table(&ids);
        for (number, (_, bytes)) in (0u64..).zip(pair) {
            let len = bytes.len() as u64;
            leaf = match len {
                0..3 => leaf.extent(number, 0, len),
                _ => leaf.extent(number, 0, len / 3).goes_on(len / 3).extent(
                    number,
                    len / 3 * 2,
                    len - len / 3 * 2,
                ),
            };
        }
        leaves.push((writer.node(&leaf), leaf.len));
    }
    leaves
}

/// Joins nodes by threes until one is left; that one is the root and rests on `base`.
fn tree(writer: &mut TestWriter, mut nodes: Vec<(NodeId, u64)>, base: Option<(NodeId, u8)>) -> (NodeId, u8) {
    let mut level = 0;
    loop {
        level += 1;
        let is_top = nodes.len() <= 3;
        let groups: Vec<RawNode> = nodes.chunks(3).map(|group| RawNode::inner(level, group)).collect();
        let groups = groups.into_iter().map(|node| match base {
            Some((root, depth)) if is_top => node.based(root, depth),
            _ => node,
        });
        let groups: Vec<RawNode> = groups.collect();
        nodes = groups.iter().map(|node| (writer.node(node), node.len)).collect();
        if let ([(root, _)], true) = (nodes.as_slice(), is_top) {
            return (*root, level);
        }
    }
}

/// Epoch 0: a stream in whole chunks and parts of chunks, below a tree of several levels; an empty stream; a mixed one.
fn day_0(writer: &mut TestWriter) -> (NodeId, Chunks) {
    let bytes = content("app day 0");
    let chunks = chunks_of(writer, &bytes);
    let mixed = content("mixed");
    let mixed_chunks = chunks_of(writer, &mixed);
    let mut blocks = blocks_of(writer, &chunks, 5);
    blocks.extend(blocks_of(writer, &mixed_chunks, 4));
    writer.lying_pack(&blocks, PackLies { compatible: 0x8000, ..PackLies::default() });
    let nodes = leaves(writer, &chunks);
    let (root, level) = tree(writer, nodes, None);
    assert!(level >= 2, "the tree has {level} levels only");
    let nodes = leaves(writer, &mixed_chunks);
    let (mixed_root, _) = tree(writer, nodes, None);
    let empty = writer.node(&RawNode::default());
    writer.recipe_pack();
    let snapshot = writer.snapshot(
        "app",
        1,
        vec![stream("app", &bytes, root), stream("mixed", &mixed, mixed_root), stream("empty", b"", empty)],
        &[],
    );
    writer.commit(snapshot);
    (root, chunks)
}

/// A leaf per 90 rows: what the base has is copied, what it has not is an extent of `literals`, which grow.
fn against(new: &[u8], old: &[u8], literals: &mut Vec<u8>) -> Vec<Vec<Part>> {
    let old_rows: Vec<&[u8]> = old.split_inclusive(|byte| *byte == b'\n').collect();
    let starts: Vec<u64> = old_rows
        .iter()
        .scan(0, |next, row| {
            *next += row.len() as u64;
            Some(*next - row.len() as u64)
        })
        .collect();
    let mut groups: Vec<Vec<Part>> = Vec::new();
    for (number, row) in new.split_inclusive(|byte| *byte == b'\n').enumerate() {
        if number % 90 == 0 {
            groups.push(Vec::new());
        }
        let group = groups.last_mut().unwrap();
        let len = row.len() as u64;
        if old_rows.get(number) == Some(&row) {
            match group.last_mut() {
                Some(Part::Copy { offset, len: run }) if *offset + *run == starts[number] => *run += len,
                _ => group.push(Part::Copy { offset: starts[number], len }),
            }
        } else {
            group.push(Part::New { offset: literals.len() as u64, len });
            literals.extend_from_slice(row);
        }
    }
    groups
}

enum Part {
    Copy { offset: u64, len: u64 },
    New { offset: u64, len: u64 },
}

/// A recipe of those parts; the new bytes are one chunk.
fn based_tree(writer: &mut TestWriter, groups: &[Vec<Part>], chunk: ChunkId, base: (NodeId, u8)) -> NodeId {
    let mut nodes = Vec::new();
    for group in groups {
        let mut leaf = RawNode::default().table(&[chunk]);
        let (mut copied, mut taken) = (0u64, None);
        for part in group {
            leaf = match *part {
                Part::Copy { offset, len } => {
                    let step = offset as i64 - copied as i64;
                    copied = offset + len;
                    leaf.copy(step, len)
                }
                // Copies in between do not keep an extent from going on.
                Part::New { offset, len } if taken == Some(offset) => {
                    taken = Some(offset + len);
                    leaf.goes_on(len)
                }
                Part::New { offset, len } => {
                    taken = Some(offset + len);
                    leaf.extent(0, offset, len)
                }
            };
        }
        nodes.push((writer.node(&leaf), leaf.len));
    }
    tree(writer, nodes, Some(base)).0
}

/// Epoch 1: two more days, each resting on the day before; an index, and one that replaces it.
fn days_1_and_2(writer: &mut TestWriter, first: NodeId, chunks: &Chunks) -> NodeId {
    let (day_0, day_1, day_2) = (content("app day 0"), content("app day 1"), content("app day 2"));
    assert_eq!(chunks.iter().map(|(_, bytes)| bytes.len()).sum::<usize>(), day_0.len());
    let mut literals = [Vec::new(), Vec::new()];
    let second = against(&day_1, &day_0, &mut literals[0]);
    let third = against(&day_2, &day_1, &mut literals[1]);
    let ids = [writer.chunk_id(&literals[0]), writer.chunk_id(&literals[1])];
    let both = writer.data_block(ZSTD, &[&literals[0], &literals[1]]);
    assert_eq!(both.kind, DATA);
    // The first chunks of day 0 are stored a second time: a reader may take either.
    let again = writer.data_block(RAW, &[&chunks[0].1, &chunks[1].1]);
    writer.pack(&[again, both]);
    let index = {
        let packs = writer.unindexed.clone();
        writer.index_of(&packs, &[])
    };
    let second = based_tree(writer, &second, ids[0], (first, 1));
    let third = based_tree(writer, &third, ids[1], (second, 2));
    writer.recipe_pack();
    writer.index(&[index]);
    let snapshot = writer.snapshot("app", 2, vec![stream("app", &day_1, second)], &[]);
    writer.commit(snapshot);
    third
}

/// Epoch 2: a stream whose recipe rests on 32 others, each of which turns the one before it around.
fn swapped(writer: &mut TestWriter) -> NodeId {
    let bytes = content("swapped 0");
    let chunk = writer.chunk_id(&bytes);
    let block = writer.data_block(RAW, &[&bytes]);
    writer.pack(&[block]);
    writer.index(&[]);
    let len = bytes.len() as u64;
    let mut root = writer.node(&RawNode::default().table(&[chunk]).extent(0, 0, len));
    for depth in 1..=32u8 {
        let by = swapped_by(u32::from(depth), bytes.len()) as u64;
        let leaf = RawNode::default().copy(by as i64, len - by).copy(-(len as i64), by);
        root = writer.node(&leaf.based(root, depth));
    }
    root
}
