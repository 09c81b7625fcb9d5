//! How the golden repositories were made. Run once a format version; see `tests/fixtures/README.md`.

use super::contents::{content, swapped_by};
use super::test_writer::{Block, DATA, PackLies, RAW, RawNode, TestWriter, ZSTD, stream};
use dumpvault::base::event::{Cancel, Silent};
use dumpvault::base::id::{ChunkId, MarkId, NodeId, PackId, SessionId, SnapshotId};
use dumpvault::base::secret::{OsEntropy, Passphrase};
use dumpvault::content::chunker::ChunkSizes;
use dumpvault::content::codec::Level;
use dumpvault::storage::Storage;
use dumpvault::storage::local::LocalStorage;
use dumpvault::vault::crypto::{Credential, KeyFile, Role};
use dumpvault::vault::format::config::Config;
use dumpvault::vault::format::index::BlockKind;
use dumpvault::vault::format::mark::MarkKind;
use dumpvault::vault::format::plan::Plan;
use dumpvault::vault::format::session::{SessionKind, SessionState};
use dumpvault::vault::keys::NewKey;
use dumpvault::vault::rotation::{RotateRequest, Rotation};
use dumpvault::vault::snapshot::{FailedStream, Proof, Stream, StreamFormat};
use dumpvault::vault::writer::{Basis, CommitRequest, PipelineSettings};
use dumpvault::vault::{Repository, Surroundings};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

pub const PASSPHRASE: &str = "correct horse battery staple – ü";

/// The host that the *append* key of either repository may add backups of.
const EDGE: &str = "edge";

pub fn passphrase() -> Credential {
    Credential::Passphrase(Passphrase::new(PASSPHRASE.into()))
}

/// A backup by the program itself: each stream has the content of its own name.
pub fn backup(
    repo: &Repository,
    (host, series): (&str, &str),
    day: u64,
    level: Level,
    streams: &[(&str, &str)],
    failed: &[&str],
) -> SnapshotId {
    let mut catalog = repo.catalog(&Silent).unwrap();
    let history = repo.history(&mut catalog).unwrap();
    let before = history.series(series, host).next_back().map(|summary| (summary.id, summary.head.counter));
    let presence = repo.reconcile(&mut catalog, &history.damaged_packs).unwrap();
    let settings = PipelineSettings { level, read_back: true, workers: 1 };
    let mut session = repo.writer().begin_backup(catalog, presence, settings).unwrap();
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
        host: host.into(),
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
        set: None,
        is_import: false,
        pins: Vec::new(),
    };
    session.commit(finished, request).unwrap().summary.id
}

/// A repository by the program itself: several series and streams, a slot of each kind, compressed and raw blocks, a
/// pack that was damaged after the first backup, was marked so, and whose chunks were stored again. Also an *append*
/// author that got a grant, one that was revoked when the keys were rotated, and a mark of each kind that the program
/// makes.
pub fn make_by_program(folder: &Path, keys: &Path, cache: &Path) {
    let storage = Arc::new(LocalStorage::create(folder).unwrap());
    let surroundings = Surroundings::new(Arc::new(OsEntropy), cache.to_owned());
    let chunk_sizes = ChunkSizes { min: 2 << 10, average: 16 << 10, max: 64 << 10 };
    let config = Config { chunk_sizes, block_bytes: 128 << 10, ..Config::new(1_793_000_000_000) };
    let repo =
        Repository::init(storage.clone(), &passphrase(), "the passphrase", config, &surroundings).unwrap();
    let key_file = Credential::KeyFile(KeyFile::create(&keys.join("key"), &OsEntropy).unwrap());
    repo.key_ring().add_for_all(&key_file, Role::Full, "the key file", 1_793_000_000_000).unwrap();
    let append = Credential::KeyFile(KeyFile::create(&keys.join("append-key"), &OsEntropy).unwrap());
    let lost = tempfile::tempdir().unwrap();
    let revoked = Credential::KeyFile(KeyFile::create(&lost.path().join("key"), &OsEntropy).unwrap());
    for (credential, name, host) in [(&append, "edge key", EDGE), (&revoked, "lost key", "lost")] {
        let (hosts, series) = (vec![host.to_owned()], Some(vec!["mixed".to_owned()]));
        let new = NewKey { role: Role::Append, name, hosts, series, share: false };
        repo.key_ring().add(credential, &new, 1_793_000_000_000).unwrap();
    }
    let reopened =
        |credential: &Credential| Repository::open(storage.clone(), credential, &surroundings).unwrap();
    let repo = reopened(&passphrase());
    let edge = repo.key_ring().find("edge key").unwrap();
    let grant = |statement: &mut dumpvault::vault::format::author::Statement| {
        statement.series = Some(vec!["mixed".to_owned(), "shop".to_owned()]);
    };
    repo.key_ring().grant(&edge, 1_793_000_050_000, grant).unwrap();

    let streams = [("app", "app day 0"), ("globals", "globals"), ("empty", "empty"), ("noise", "noise")];
    let app = ("golden", "app");
    let first = backup(&repo, app, 0, Level::DEFAULT, &streams, &[]);
    let damaged = damage_data_pack(folder, &repo);
    repo.marks().mark_damaged(&damaged, "block 0 does not open", "golden", 1_793_000_100_000).unwrap();
    // From here on the damage heals: what the first snapshot lost is stored again.
    let second = backup(&repo, app, 1, Level::Off, &streams, &["audit"]);
    let cache_streams = [("cache", "cache"), ("zeros", "zeros"), ("x/ü", "one byte")];
    backup(&repo, ("golden", "cache"), 2, Level::Zstd(9), &cache_streams, &[]);
    let mixed = [("mixed", "mixed")];
    let of_edge = backup(&reopened(&append), (EDGE, "shop"), 2, Level::DEFAULT, &mixed, &[]);
    let of_lost = backup(&reopened(&revoked), ("lost", "mixed"), 2, Level::DEFAULT, &mixed, &[]);
    say_everything(&reopened(&passphrase()), folder, &[first, second, of_edge, of_lost]);

    let repo = reopened(&passphrase());
    let lost = repo.key_ring().find("lost key").unwrap();
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let request =
        RotateRequest { revoke: vec![lost], since_ms: None, content: false, end_sessions: true, now_ms };
    let report = Rotation::new(&repo, request, &Silent, &Cancel::new()).run(&passphrase()).unwrap();
    assert_eq!((report.epoch, report.authors, report.dropped), (1, 3, 0));
    // The key file's slots are of the time before: whoever opens them follows the epochs.
    backup(&reopened(&key_file), app, 3, Level::DEFAULT, &[("app", "app day 2")], &[]);
    backup(&reopened(&append), (EDGE, "mixed"), 4, Level::DEFAULT, &mixed, &[]);
}

/// A repository by the program as a person runs it, with what it does unasked: rows by column, a day that rests on the
/// day before, small packs shared, what a prune leaves behind.
pub fn make_by_release(folder: &Path, keys: &Path, home: &Path) {
    let run = |args: &[&str], key: Option<&Path>, stdin: &[u8]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dumpvault"));
        command.args(args).env_clear().env("HOME", home).env("TZ", "UTC").current_dir(home);
        command.env("DUMPVAULT_REPOSITORY", folder);
        match key {
            Some(key) => command.env("DUMPVAULT_KEY_FILE", key),
            None => command.env("DUMPVAULT_PASSWORD", PASSPHRASE),
        };
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), stdin).unwrap();
        assert!(child.wait().unwrap().success(), "{args:?}");
    };
    let backup = |series: &str, host: &str, key: Option<&Path>, name: &str| {
        let args = ["backup", "--stdin", "--series", series, "--host", host, "--allow-empty"];
        run(&args, key, &content(name));
    };
    run(&["init", "--label", "the passphrase"], None, b"");
    let (key, append) = (keys.join("key"), keys.join("append-key"));
    run(&["key", "add", "--name", "the key file", "--new-key-file", key.to_str().unwrap()], None, b"");
    let new = ["key", "add", "--append", "--name", "edge key", "--host", EDGE, "--new-key-file"];
    run(&[&new[..], &[append.to_str().unwrap()]].concat(), None, b"");
    backup("shop", "golden", None, "shop day 0");
    backup("noise", "golden", None, "noise");
    backup("shop", "golden", Some(&key), "shop day 1");
    backup("cache", "golden", None, "cache");
    backup("edge", EDGE, Some(&append), "mixed");
    backup("empty", "golden", None, "empty");
    backup("shop", "golden", None, "shop day 2");
    run(&["forget", "--series", "golden/cache", "--all", "--yes", "--force"], None, b"");
    run(&["prune", "--grace", "0"], None, b"");
    backup("zeros", "golden", None, "zeros");
}

/// A mark of each kind that the program makes.
fn say_everything(repo: &Repository, folder: &Path, snapshots: &[SnapshotId; 4]) {
    let [first, second, of_edge, of_lost] = snapshots;
    let say = |snapshot: &SnapshotId, kind, value: Option<Option<&str>>| {
        let value = value.map(|value| value.map(str::to_owned));
        repo.marks().mark_snapshot(snapshot, kind, value, "golden", 1_793_000_200_000).unwrap();
    };
    say(second, MarkKind::Pinned, Some(None));
    say(first, MarkKind::Tags, Some(Some("kept\ngrößer")));
    say(first, MarkKind::Verified, Some(None));
    say(second, MarkKind::Damaged, Some(Some("nothing of it is lost")));
    say(second, MarkKind::Damaged, None);
    assert_eq!(repo.confirm_times(Some(of_edge), 1_793_000_200_000).unwrap(), [*of_edge]);
    let gone = backup(repo, ("golden", "gone"), 5, Level::DEFAULT, &[("one byte", "one byte")], &[]);
    let lost = backup(repo, ("golden", "gone"), 6, Level::DEFAULT, &[("one byte", "one byte")], &[]);
    repo.forget(&[gone]).unwrap();
    std::fs::remove_file(folder.join("snapshots").join(lost.to_string())).unwrap();
    assert_eq!(repo.give_up_missing(1_793_000_200_000).unwrap(), [lost]);
    // That of the key that is about to be revoked stays as it is: it was stored before.
    let history = repo.history(&mut repo.catalog(&Silent).unwrap()).unwrap();
    assert!(history.snapshots.iter().any(|summary| summary.id == *of_lost));
}

/// Flips a bit in a block of chunks that are found by their content, and gives the pack's id.
fn damage_data_pack(folder: &Path, repo: &Repository) -> PackId {
    let mut catalog = repo.catalog(&Silent).unwrap();
    let found = catalog.packs().unwrap().into_iter().find_map(|pack| {
        let row = catalog.pack(pack.number).unwrap();
        let data = row.table.blocks.iter().find(|block| block.kind == BlockKind::Data)?;
        Some((pack.id, data.offset as usize))
    });
    let (id, offset) = found.unwrap();
    let hex = id.to_string();
    let path = folder.join("packs").join(&hex[..2]).join(&hex);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[offset + 80] ^= 4;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, bytes).unwrap();
    id
}

/// A repository by hand: three key epochs, partial extents, extents that go on, copies over many depths, trees of
/// several levels, an index that replaces another, packs that no index names, marks superseded, and a snapshot that
/// nothing commits. Also *append* authors that say what they may not, a session and a prune plan.
pub fn make_by_hand(folder: &Path, keys: &Path) {
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
    let committed = writer.mark(1, &format!("snapshots/{snapshot}"), &[committed], true);
    // Of no author, and of kinds that nobody makes yet.
    writer.mark(2, &format!("snapshots/{snapshot}"), &[], false);
    for kind in [10, 11, 200] {
        writer.mark(kind, &format!("snapshots/{snapshot}"), &[], true);
    }
    writer.snapshot("app", 4, vec![third.clone()], &[]);
    let undone = writer.snapshot("app", 5, vec![third.clone()], &[]);
    let mark = writer.commit(undone);
    writer.mark(6, &format!("snapshots/{undone}"), &[mark], true);
    // A prune removed a snapshot that nobody had committed; its writer woke up and committed it all the same.
    let abandoned = writer.snapshot("app", 6, vec![third.clone()], &[]);
    writer.mark(6, &format!("snapshots/{abandoned}"), &[], true);
    writer.commit(abandoned);
    append_authors(&writer, folder, keys, snapshot, committed, &third);
    session_and_plan(&writer);

    writer.slot(&passphrase());
    writer.slot(&Credential::KeyFile(KeyFile::create(&keys.join("key"), &OsEntropy).unwrap()));
}

/// An author that adds a snapshot of its own host, and says much that it may not; and one that may add nothing here.
fn append_authors(
    writer: &TestWriter,
    folder: &Path,
    keys: &Path,
    snapshot: SnapshotId,
    committed: MarkId,
    content: &Stream,
) {
    let host = writer.author(Role::Append, &["hand"], folder);
    let own = host.snapshot("edge", 7, vec![content.clone()], &[]);
    host.commit(own);
    host.mark(3, &format!("snapshots/{own}"), &[], true);
    host.mark(2, &format!("snapshots/{own}"), &[], true);
    // None of this counts: another's snapshot stays committed, and is neither damaged nor forgotten.
    host.mark(6, &format!("snapshots/{snapshot}"), &[committed], true);
    for kind in [3, 4, 5, 8, 9] {
        host.mark(kind, &format!("snapshots/{snapshot}"), &[], true);
    }
    let mut indexes = Vec::new();
    writer.storage.list("index/", &mut |listed| indexes.push(listed.key[6..].parse().unwrap())).unwrap();
    host.index_of(&[], &indexes);
    host.slot(&Credential::KeyFile(KeyFile::create(&keys.join("append-key"), &OsEntropy).unwrap()));

    let stranger = writer.author(Role::Append, &["elsewhere"], folder);
    let foreign = stranger.snapshot("app", 8, vec![content.clone()], &[]);
    stranger.commit(foreign);
}

/// A backup under way, and packs that a prune has condemned.
fn session_and_plan(writer: &TestWriter) {
    let plan = Plan { time_ms: 1_790_000_000_000, packs: vec![PackId::from_bytes([7; 32])] };
    writer.put("gc", &plan.seal(writer.repo, &writer.keys, &OsEntropy).unwrap());
    let name = (SessionId::from_bytes([5; 16]), 0);
    let state = SessionState { kind: SessionKind::Write, plans: Vec::new(), began_ms: None };
    let bytes = state.seal(name, writer.repo, &writer.keys, &OsEntropy).unwrap();
    writer.storage.put(&format!("sessions/{}-0", name.0), &bytes).unwrap();
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
