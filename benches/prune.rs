//! Planning a prune of a large repository: time and memory.
//!
//! `cargo bench --bench prune -- 16` makes a repository of 16 million chunks in a temporary directory, with 8 series of
//! 50 snapshots: two flat recipes each, and the others resting on one another with ten thousand entries a day. The data
//! packs are files with holes: they have their front and their own table, which a plan reads of those that it condemns,
//! and no blocks. Then it plans in a process of its own, with a catalog that is up to date.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use dumpvault::base::event::{Cancel, Silent};
use dumpvault::base::id::{ChunkId, NodeId, PackId, RepoId, SnapshotId, StreamDigest};
use dumpvault::base::secret::{OsEntropy, SecretKey};
use dumpvault::content::codec::{Codec, Compressor, Level};
use dumpvault::storage::Storage;
use dumpvault::storage::local::LocalStorage;
use dumpvault::vault::crypto::{BlockNonce, Credential, KeyBundle, KeyFile, PackKey};
use dumpvault::vault::format::author::Statement;
use dumpvault::vault::format::config::Config;
use dumpvault::vault::format::header::{Header, ObjectType};
use dumpvault::vault::format::index::{BlockKind, ChunkTable, Index, IndexedPack, Naming};
use dumpvault::vault::format::mark::{Mark, MarkKind};
use dumpvault::vault::format::pack::PackBuffer;
use dumpvault::vault::format::slot::{Label, Slot};
use dumpvault::vault::format::snapshot;
use dumpvault::vault::gc::PruneSettings;
use dumpvault::vault::snapshot::recipe::{Base, Entry, NodeError, TreeBuilder};
use dumpvault::vault::snapshot::{Body, Head, Proof, State, Stream, StreamFormat, StreamStats};
use dumpvault::vault::{Repository, Surroundings, pack_key};
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const SERIES: u64 = 8;
const SNAPSHOTS: u64 = 50;
const CHUNKS_PER_PACK: u64 = 1500;
const CHUNK: u64 = 65_536;
const ENTRIES_A_DAY: u64 = 10_000;
const DEPTH: u64 = 31;

fn id(n: u64) -> [u8; 32] {
    *blake3::hash(&n.to_le_bytes()).as_bytes()
}

struct Writer {
    storage: LocalStorage,
    repo: RepoId,
    keys: KeyBundle,
    compressor: Compressor,
    open: (Vec<u8>, Vec<([u8; 32], u32)>),
    pack: PackBuffer,
    indexed: Vec<IndexedPack>,
}

impl Writer {
    fn new(folder: &Path, key: &Path) -> Self {
        let keys = KeyBundle::generate(&OsEntropy).unwrap();
        let repo = RepoId::from_bytes([7; 16]);
        let storage = LocalStorage::create(folder).unwrap();
        let credential = Credential::KeyFile(KeyFile::read(key).unwrap().0);
        let label =
            Label { text: String::new(), created_ms: 0, role: keys.role(), author: keys.author().id() };
        let slot = Slot::seal(repo, &keys, &credential, &label, &OsEntropy).unwrap();
        let mut writer = Self {
            storage,
            repo,
            keys,
            compressor: Compressor::default(),
            open: Default::default(),
            pack: PackBuffer::default(),
            indexed: vec![],
        };
        writer.put("keys", &slot);
        let statement = Statement::of(&writer.keys, "bench", vec!["*".into()], 0).unwrap();
        writer.put("authors", &statement.seal(repo, &writer.keys, &OsEntropy).unwrap());
        let config = Config::new(0).seal(repo, &writer.keys, &OsEntropy).unwrap();
        writer.storage.put("config", &config).unwrap();
        writer
    }

    fn put(&mut self, prefix: &str, bytes: &[u8]) -> [u8; 32] {
        let hash = blake3::hash(bytes);
        self.storage.put(&format!("{prefix}/{}", hash.to_hex()), bytes).unwrap();
        *hash.as_bytes()
    }

    fn node(&mut self, bytes: &[u8]) -> NodeId {
        let id = *blake3::keyed_hash(self.keys.content().newest().node_id.expose(), bytes).as_bytes();
        if self.open.0.len() + bytes.len() > 1 << 20 {
            self.close_block();
        }
        self.open.0.extend_from_slice(bytes);
        self.open.1.push((id, bytes.len() as u32));
        NodeId::from_bytes(id)
    }

    fn close_block(&mut self) {
        let (plain, chunks) = std::mem::take(&mut self.open);
        let mut stored = Vec::new();
        let codec = self.compressor.compress(&plain, Level::DEFAULT, &mut stored).unwrap();
        self.pack.push(Naming::first(BlockKind::Recipe), codec, &[], &stored, &chunks);
        if self.pack.len() > 32 << 20 {
            self.close_pack();
        }
    }

    fn close_pack(&mut self) {
        let pack = std::mem::take(&mut self.pack).seal(self.repo, &self.keys, &OsEntropy, false).unwrap();
        self.storage.put(&pack_key(&pack.id), &pack.bytes).unwrap();
        self.indexed.push(IndexedPack { id: pack.id, bytes: pack.bytes.len() as u64, table: pack.table });
        self.write_index();
    }

    fn write_index(&mut self) {
        let index = Index { packs: std::mem::take(&mut self.indexed), replaces: vec![] };
        let bytes = index.seal(self.repo, &self.keys, &OsEntropy).unwrap();
        self.put("index", &bytes);
    }

    /// A pack without its blocks: front, table, footer.
    fn hollow_pack(&self, path: &Path, pack: &IndexedPack) {
        let epoch = self.keys.newest();
        let header = Header { kind: ObjectType::Pack, epoch: epoch.number(), repo: self.repo }.to_bytes();
        let secret = SecretKey::random(&OsEntropy).unwrap();
        let wrapped = epoch.seal(b"dumpvault v1 pack", &header, secret.expose(), &OsEntropy).unwrap();
        let blocks = pack.table.blocks.len() as u32;
        let associated = [&header[..], &wrapped.enc, &blocks.to_le_bytes()].concat();
        let mut table = pack.table.encode().unwrap();
        let key = PackKey::new(&secret).unwrap();
        let tag = key.seal_in_place(BlockNonce::table(), &associated, &mut table).unwrap();
        table.extend_from_slice(&tag);
        let offset = pack.table.end();
        let footer = [
            &offset.to_le_bytes()[..],
            &(table.len() as u32).to_le_bytes(),
            &blocks.to_le_bytes(),
            b"DVLTPEND",
        ];
        let file = std::fs::File::create(path).unwrap();
        file.set_len(pack.bytes).unwrap();
        file.write_all_at(&[&header[..], &wrapped.enc, &wrapped.bytes].concat(), 0).unwrap();
        file.write_all_at(&table, offset).unwrap();
        file.write_all_at(&footer.concat(), pack.bytes - 24).unwrap();
    }

    fn data_pack(&mut self, folder: &Path, number: u64) {
        let mut table = ChunkTable::default();
        for block in 0..CHUNKS_PER_PACK / 15 {
            let first = number * CHUNKS_PER_PACK + block * 15;
            let chunks: Vec<_> = (first..first + 15).map(|n| (id(n), CHUNK as u32)).collect();
            table.push(Naming::first(BlockKind::Data), Codec::Zstd, 300_000, &chunks);
        }
        let pack = IndexedPack { id: PackId::from_bytes(id(u64::MAX - number)), bytes: 32 << 20, table };
        let path = folder.join(pack_key(&pack.id));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        self.hollow_pack(&path, &pack);
        self.indexed.push(pack);
        if self.indexed.len() == 64 {
            self.write_index();
        }
    }

    fn recipe(&mut self, base: Option<Base>, entries: impl Iterator<Item = Entry>) -> (NodeId, u64) {
        let mut tree = TreeBuilder::new(base);
        let mut bytes = 0;
        let mut store = |node: Vec<u8>| Ok::<_, NodeError>(self.node(&node));
        for entry in entries {
            bytes += entry.len();
            tree.push(entry, &mut store).unwrap();
        }
        (tree.finish(&mut store).unwrap(), bytes)
    }

    fn snapshot(&mut self, series: u64, day: u64, (root, bytes): (NodeId, u64)) {
        let time_ms = 1_790_000_000_000 + day as i64 * 86_400_000;
        let head = Head {
            series: format!("series{series}"),
            host: "bench".into(),
            time_ms,
            state: State::Complete,
            tags: vec![],
            counter: day + 1,
            predecessor: None,
            finished_ms: time_ms,
            time_zone: "UTC".into(),
            calendar: vec![],
            proof: Proof::Exited,
            program: "bench".into(),
            origin: None,
            author: self.keys.author().id(),
            pins: None,
            import: None,
            origin_author: None,
            set: None,
            system: None,
            role: None,
        };
        let stream = Stream {
            name: "db".into(),
            bytes,
            digest: StreamDigest::from_bytes([0; 32]),
            proof: Proof::Exited,
            root,
            format: StreamFormat::Unknown,
            stats: StreamStats::default(),
            attributes: BTreeMap::new(),
            table_map: None,
            digest_kind: None,
        };
        let body = Body { streams: vec![stream], failed: vec![], source: BTreeMap::new(), parent: None };
        let sealed = snapshot::seal(&head, &body, self.repo, &self.keys, &OsEntropy).unwrap();
        let id = SnapshotId::from_bytes(self.put("snapshots", &sealed));
        let mark = Mark {
            kind: MarkKind::Committed,
            object: format!("snapshots/{id}"),
            time_ms,
            supersedes: vec![],
            value: None,
            host: "bench".into(),
        };
        let sealed = mark.seal(self.repo, &self.keys, &OsEntropy).unwrap();
        self.put("marks", &sealed);
    }
}

/// A stream of whole chunks.
fn flat(first: u64, count: u64) -> impl Iterator<Item = Entry> {
    let extent = |n| Entry::Extent { chunk: ChunkId::from_bytes(id(n)), offset: 0, len: CHUNK };
    (first..first + count).map(extent)
}

/// The base's stream with one byte in so many replaced by a few of some chunk.
fn day_later(first: u64, count: u64, day: u64, bytes: u64) -> impl Iterator<Item = Entry> {
    let step = bytes / (ENTRIES_A_DAY / 2);
    (0..ENTRIES_A_DAY / 2).flat_map(move |n| {
        let chunk = ChunkId::from_bytes(id(first + (n * 7919 + day) % count));
        let at = n * step;
        let end = if n + 1 == ENTRIES_A_DAY / 2 { bytes } else { at + step };
        [
            Entry::Extent { chunk, offset: (day * 100) as u32, len: 100 },
            Entry::Copy { offset: at + 100, len: end - at - 100 },
        ]
    })
}

fn make(folder: &Path, key: &Path, millions: u64) {
    let packs = millions * 1_000_000 / CHUNKS_PER_PACK;
    let chunks = packs * CHUNKS_PER_PACK;
    let mut writer = Writer::new(folder, key);
    for number in 0..packs {
        writer.data_pack(folder, number);
    }
    let own = chunks / SERIES;
    for series in 0..SERIES {
        let mut last = None;
        for day in 0..SNAPSHOTS {
            let age = day % (DEPTH + 1);
            // Of a series' chunks the first half at first, then the middle: a quarter is dead.
            let first = series * own + if day > DEPTH { own / 4 } else { 0 };
            let recipe = match last {
                Some((root, bytes)) if age > 0 => {
                    let base = Base { root, depth: age as u8, checkpoint: 0 };
                    writer.recipe(Some(base), day_later(first, own / 2, day, bytes))
                }
                _ => writer.recipe(None, flat(first, own / 2)),
            };
            writer.snapshot(series, day, recipe);
            last = Some(recipe);
        }
    }
    writer.close_block();
    writer.close_pack();
}

fn open(folder: &Path, key: &Path, cache: &Path) -> Repository {
    let storage: Arc<dyn Storage> = Arc::new(LocalStorage::open(folder).unwrap());
    let credential = Credential::KeyFile(KeyFile::read(key).unwrap().0);
    let around = Surroundings::new(Arc::new(OsEntropy), cache.to_owned());
    Repository::open(storage, &credential, &around).unwrap()
}

/// Most memory that this process had so far, in MiB.
fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

fn plan(folder: &Path, key: &Path, cache: &Path) {
    let repo = open(folder, key, cache);
    let settings = PruneSettings {
        grace: Duration::ZERO,
        dry_run: true,
        ..PruneSettings::new(jiff::Timestamp::now().as_millisecond())
    };
    let began = Instant::now();
    let report = repo.prune(&settings, &Silent, &Cancel::new()).unwrap();
    println!(
        "{} snapshots, {} packs, {} condemned: planned in {:.1} s, {:.0} MiB at most",
        report.snapshots,
        report.packs,
        report.condemned.len(),
        began.elapsed().as_secs_f64(),
        peak_mib()
    );
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let [step, dir] = args.as_slice() {
        assert_eq!(step, "plan");
        let dir = Path::new(dir);
        return plan(&dir.join("repo"), &dir.join("key"), &dir.join("cache"));
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("key"), [1; 32]).unwrap();
    let millions = args.first().map_or(1, |arg| arg.parse().unwrap());
    let (repo, key, cache) = (dir.path().join("repo"), dir.path().join("key"), dir.path().join("cache"));
    let began = Instant::now();
    make(&repo, &key, millions);
    println!("{millions} million chunks: made in {:.1} s", began.elapsed().as_secs_f64());
    let began = Instant::now();
    drop(open(&repo, &key, &cache).catalog(&Silent).unwrap());
    println!("catalog made in {:.1} s", began.elapsed().as_secs_f64());
    let program = std::env::current_exe().unwrap();
    let status = std::process::Command::new(program).arg("plan").arg(dir.path()).status().unwrap();
    assert!(status.success());
}
