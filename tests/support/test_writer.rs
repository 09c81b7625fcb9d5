//! Writes repositories by hand, from `docs/format.md`: what the format allows and the program does not write yet, and,
//! since it holds all keys, what the format forbids.
//!
//! Bytes are laid down here on purpose and not by the program's own encoders, which refuse to lie.

use dumpvault::base::id::{ChunkId, IndexId, MarkId, NodeId, PackId, RepoId, SnapshotId, StreamDigest};
use dumpvault::base::secret::{OsEntropy, SecretKey};
use dumpvault::storage::Storage;
use dumpvault::storage::local::LocalStorage;
use dumpvault::vault::crypto::{BlockNonce, Credential, KeyBundle, PackKey, Role, SmallSealed, SubKey};
use dumpvault::vault::format::author::Statement;
use dumpvault::vault::format::config::Config;
use dumpvault::vault::format::epoch::{Close, Heir};
use dumpvault::vault::format::header::{Header, ObjectType};
use dumpvault::vault::format::slot::{Label, Slot};
use dumpvault::vault::format::snapshot;
use dumpvault::vault::snapshot::{Body, FailedStream, Head, Proof, State, Stream, StreamFormat, StreamStats};
use minicbor::Encoder;
use std::collections::BTreeMap;
use std::path::Path;

pub const DATA: u8 = 1;
pub const RECIPE: u8 = 2;
pub const RAW: u8 = 0;
pub const ZSTD: u8 = 1;
pub const COMMITTED: u8 = 1;
pub const DAMAGED: u8 = 5;

const FRONT_BYTES: usize = 112;
const FOOTER_BYTES: usize = 24;
const PADDING: usize = 64 << 10;

/// CBOR into a vector cannot fail.
fn cbor(write: impl FnOnce(&mut Encoder<&mut Vec<u8>>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut Encoder::new(&mut bytes));
    bytes
}

/// A block before sealing. Every field may be made to lie.
#[derive(Clone)]
pub struct Block {
    pub kind: u8,
    pub codec: u8,
    /// What is sealed.
    pub stored: Vec<u8>,
    /// What the table says of it.
    pub plain_bytes: u32,
    pub chunk_count: u32,
    pub chunks: Vec<([u8; 32], u32)>,
}

/// A pack's chunk table as its three columns, and the pack's name and size: what an index says of it.
#[derive(Clone)]
pub struct Described {
    pub id: PackId,
    pub bytes: u64,
    pub columns: [Vec<u8>; 3],
}

/// What a pack says that does not follow from its blocks.
#[derive(Default)]
pub struct PackLies {
    pub columns: Option<[Vec<u8>; 3]>,
    pub table_offset: Option<u64>,
    pub table_bytes: Option<u32>,
    pub block_count: Option<u32>,
    /// Compatible feature bits, which a reader ignores.
    pub compatible: u16,
}

/// A recipe node, field by field.
#[derive(Default, Clone)]
pub struct RawNode {
    pub level: u8,
    pub len: u64,
    pub ids: Vec<u8>,
    pub body: Vec<u8>,
    pub base: Option<NodeId>,
    pub depth: Option<u8>,
    /// The reserved list of the stream's own chunks, which a reader ignores.
    pub own_chunks: bool,
}

impl RawNode {
    pub fn encode(&self) -> Vec<u8> {
        let optional = u64::from(self.base.is_some()) + u64::from(self.depth.is_some());
        cbor(|e| {
            e.map(4 + optional + if self.own_chunks { 2 } else { 0 }).unwrap();
            e.u8(0).unwrap().u8(self.level).unwrap().u8(1).unwrap().u64(self.len).unwrap();
            e.u8(2).unwrap().bytes(&self.ids).unwrap().u8(3).unwrap().bytes(&self.body).unwrap();
            if self.own_chunks {
                e.u8(4).unwrap().bytes(&[7; 32]).unwrap().u8(5).unwrap().bytes(&[1]).unwrap();
            }
            if let Some(base) = self.base {
                e.u8(6).unwrap().bytes(base.as_bytes()).unwrap();
            }
            if let Some(depth) = self.depth {
                e.u8(7).unwrap().u8(depth).unwrap();
            }
        })
    }

    /// An inner node of children with their lengths.
    pub fn inner(level: u8, children: &[(NodeId, u64)]) -> Self {
        let mut node = Self { level, ..Self::default() };
        for (id, len) in children {
            node.ids.extend_from_slice(id.as_bytes());
            put_varint(&mut node.body, *len);
            node.len = node.len.wrapping_add(*len);
        }
        node
    }

    /// Adds an extent of chunk `number` of the table.
    pub fn extent(mut self, number: u64, offset: u64, len: u64) -> Self {
        put_varint(&mut self.body, len << 1);
        put_varint(&mut self.body, number + 1);
        put_varint(&mut self.body, offset);
        self.len += len;
        self
    }

    /// Adds an extent that goes on where the last one ended.
    pub fn goes_on(mut self, len: u64) -> Self {
        put_varint(&mut self.body, len << 1);
        put_varint(&mut self.body, 0);
        self.len += len;
        self
    }

    /// Adds a copy that lies `step` bytes behind the end of the last one.
    pub fn copy(mut self, step: i64, len: u64) -> Self {
        put_varint(&mut self.body, len << 1 | 1);
        put_varint(&mut self.body, (step << 1 ^ step >> 63).cast_unsigned());
        self.len = self.len.wrapping_add(len);
        self
    }

    pub fn table(mut self, chunks: &[ChunkId]) -> Self {
        self.ids = chunks.iter().flat_map(|id| *id.as_bytes()).collect();
        self
    }

    pub fn based(mut self, base: NodeId, depth: u8) -> Self {
        (self.base, self.depth) = (Some(base), Some(depth));
        self
    }
}

pub fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// A stream as a snapshot names it.
pub fn stream(name: &str, bytes: &[u8], root: NodeId) -> Stream {
    Stream {
        name: name.into(),
        bytes: bytes.len() as u64,
        digest: StreamDigest::from_bytes(*blake3::hash(bytes).as_bytes()),
        proof: Proof::ExitedAndStructure,
        root,
        format: StreamFormat::Unknown,
        stats: StreamStats::default(),
        attributes: BTreeMap::new(),
        table_map: None,
        digest_kind: None,
    }
}

/// A repository being written by hand.
pub struct TestWriter {
    pub storage: LocalStorage,
    pub repo: RepoId,
    pub keys: KeyBundle,
    /// Packs that no index object names yet.
    pub unindexed: Vec<Described>,
    nodes: Vec<(NodeId, Vec<u8>)>,
}

impl TestWriter {
    pub fn create(folder: &Path) -> Self {
        let keys = KeyBundle::generate(&OsEntropy).unwrap();
        let id = SecretKey::random(&OsEntropy).unwrap();
        let repo = RepoId::from_slice(&id.expose()[..16]).unwrap();
        let storage = LocalStorage::create(folder).unwrap();
        storage.put("config", &Config::new(0).seal(repo, &keys, &OsEntropy).unwrap()).unwrap();
        let writer = Self { storage, repo, keys, unindexed: vec![], nodes: vec![] };
        let statement = Statement::of(&writer.keys, "hand-made", vec!["*".into()], 0).unwrap();
        writer.put("authors", &statement.seal(repo, &writer.keys, &OsEntropy).unwrap());
        writer
    }

    /// A writer with the keys of a new author of that role, which a statement of this one's authority allows `hosts`.
    pub fn author(&self, role: Role, hosts: &[&str], folder: &Path) -> Self {
        let keys = self.keys.for_new_author(role, &OsEntropy).unwrap();
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        let statement = Statement::of(&keys, "added by hand", hosts, 0).unwrap();
        self.put("authors", &statement.seal(self.repo, &self.keys, &OsEntropy).unwrap());
        let storage = LocalStorage::open(folder).unwrap();
        Self { storage, repo: self.repo, keys, unindexed: vec![], nodes: vec![] }
    }

    /// What is written from now on is sealed in a new key epoch; all that was written before counts.
    pub fn rotate(&mut self) {
        let mut counts = Vec::new();
        for folder in ["index/", "snapshots/", "marks/", "authors/"] {
            self.storage
                .list(folder, &mut |listed| {
                    let name = listed.key.rsplit('/').next().unwrap().parse::<SnapshotId>().unwrap();
                    counts.push(*name.as_bytes());
                })
                .unwrap();
        }
        let rotated = self.keys.rotated(&OsEntropy).unwrap();
        let author = self.keys.author();
        let heir = Heir { author: author.id(), role: self.keys.role(), wrap_key: author.wrap_key().unwrap() };
        let bytes =
            Close::seal(self.repo, &self.keys, rotated.newest(), counts, &[heir], &OsEntropy).unwrap();
        self.put("epochs", &bytes);
        self.keys = rotated;
    }

    /// The object with its author's signature, as all but packs and slots have it.
    fn signed(&self, body: Vec<u8>) -> Vec<u8> {
        let signature = self.keys.author().sign(&[b"dumpvault v1 signed", &body[..]].concat());
        [&body[..], &signature].concat()
    }

    /// Writes a slot that holds all epochs so far.
    pub fn slot(&self, credential: &Credential) {
        let (role, author) = (self.keys.role(), self.keys.author().id());
        let label = Label { text: "hand-made".into(), created_ms: 0, role, author };
        let bytes = Slot::seal(self.repo, &self.keys, credential, &label, &OsEntropy).unwrap();
        self.put("keys", &bytes);
    }

    /// Puts an object under its hash.
    pub fn put(&self, folder: &str, bytes: &[u8]) -> [u8; 32] {
        let hash = blake3::hash(bytes);
        let hex = hash.to_hex();
        let key =
            if folder == "packs" { format!("packs/{}/{hex}", &hex[..2]) } else { format!("{folder}/{hex}") };
        self.storage.put(&key, bytes).unwrap();
        *hash.as_bytes()
    }

    fn header(&self, kind: ObjectType) -> [u8; 32] {
        Header { kind, epoch: self.keys.newest().number(), repo: self.repo }.to_bytes()
    }

    pub fn chunk_id(&self, bytes: &[u8]) -> ChunkId {
        let content = self.keys.content();
        let key = &content.newest().chunk_id;
        ChunkId::from_bytes(*blake3::keyed_hash(key.expose(), bytes).as_bytes())
    }

    /// The id that a node of these bytes has.
    pub fn node_id(&self, bytes: &[u8]) -> NodeId {
        let content = self.keys.content();
        let key = &content.newest().node_id;
        NodeId::from_bytes(*blake3::keyed_hash(key.expose(), bytes).as_bytes())
    }

    /// A data block that holds `chunks`.
    pub fn data_block(&self, codec: u8, chunks: &[&[u8]]) -> Block {
        let named = chunks.iter().map(|chunk| (*self.chunk_id(chunk).as_bytes(), chunk.len() as u32));
        Self::block(DATA, codec, &chunks.concat(), named.collect())
    }

    fn block(kind: u8, codec: u8, plain: &[u8], chunks: Vec<([u8; 32], u32)>) -> Block {
        let stored = if codec == ZSTD { zstd::bulk::compress(plain, 1).unwrap() } else { plain.to_vec() };
        Block {
            kind,
            codec,
            stored,
            plain_bytes: plain.len() as u32,
            chunk_count: chunks.len() as u32,
            chunks,
        }
    }

    /// Keeps a node for the next [`TestWriter::recipe_pack`] and gives its id.
    pub fn node(&mut self, node: &RawNode) -> NodeId {
        self.node_bytes(node.encode())
    }

    pub fn node_bytes(&mut self, bytes: Vec<u8>) -> NodeId {
        let id = self.node_id(&bytes);
        if !self.nodes.iter().any(|(other, _)| *other == id) {
            self.nodes.push((id, bytes));
        }
        id
    }

    /// Writes the nodes gathered into a pack with two blocks, one of each codec.
    pub fn recipe_pack(&mut self) -> PackId {
        let nodes = std::mem::take(&mut self.nodes);
        let (raw, packed) = nodes.split_at(nodes.len() / 2);
        let block = |codec, nodes: &[(NodeId, Vec<u8>)]| {
            let plain: Vec<u8> = nodes.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
            let chunks = nodes.iter().map(|(id, bytes)| (*id.as_bytes(), bytes.len() as u32)).collect();
            Self::block(RECIPE, codec, &plain, chunks)
        };
        self.pack(&[block(RAW, raw), block(ZSTD, packed)])
    }

    pub fn pack(&mut self, blocks: &[Block]) -> PackId {
        self.lying_pack(blocks, PackLies::default())
    }

    /// Seals a pack of `blocks`, with the table and footer that follow from them unless told otherwise.
    pub fn lying_pack(&mut self, blocks: &[Block], lies: PackLies) -> PackId {
        let epoch = self.keys.newest();
        let mut header = self.header(ObjectType::Pack);
        header[12..14].copy_from_slice(&lies.compatible.to_le_bytes());
        let secret = SecretKey::random(&OsEntropy).unwrap();
        let wrapped = epoch.seal(b"dumpvault v1 pack", &header, secret.expose(), &OsEntropy).unwrap();
        let key = PackKey::new(&secret).unwrap();
        let mut bytes = [&header[..], &wrapped.enc, &wrapped.bytes].concat();
        assert_eq!(bytes.len(), FRONT_BYTES);
        for (number, block) in (0u32..).zip(blocks) {
            let parts: [&[u8]; 4] =
                [&header, &wrapped.enc, &number.to_le_bytes(), &[block.kind, block.codec]];
            let mut sealed = block.stored.clone();
            let tag = key.seal_in_place(BlockNonce::block(number), &parts.concat(), &mut sealed).unwrap();
            bytes.extend_from_slice(&sealed);
            bytes.extend_from_slice(&tag);
        }
        let columns = lies.columns.unwrap_or_else(|| columns(blocks));
        let count = lies.block_count.unwrap_or(blocks.len() as u32);
        let mut table = cbor(|e| {
            e.map(3).unwrap();
            for (number, column) in (0u8..).zip(&columns) {
                e.u8(number).unwrap().bytes(column).unwrap();
            }
        });
        let associated = [&header[..], &wrapped.enc, &count.to_le_bytes()].concat();
        let tag = key.seal_in_place(BlockNonce::table(), &associated, &mut table).unwrap();
        let table_offset = lies.table_offset.unwrap_or(bytes.len() as u64);
        let table_bytes = lies.table_bytes.unwrap_or((table.len() + tag.len()) as u32);
        bytes.extend_from_slice(&table);
        bytes.extend_from_slice(&tag);
        bytes.resize((bytes.len() + FOOTER_BYTES).next_multiple_of(PADDING) - FOOTER_BYTES, 0);
        bytes.extend_from_slice(&table_offset.to_le_bytes());
        bytes.extend_from_slice(&table_bytes.to_le_bytes());
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes.extend_from_slice(b"DVLTPEND");
        let id = PackId::from_bytes(self.put("packs", &bytes));
        self.unindexed.push(Described { id, bytes: bytes.len() as u64, columns });
        id
    }

    /// Writes an index object of the packs that none names yet.
    pub fn index(&mut self, replaces: &[IndexId]) -> IndexId {
        let packs = std::mem::take(&mut self.unindexed);
        self.index_of(&packs, replaces)
    }

    pub fn index_of(&self, packs: &[Described], replaces: &[IndexId]) -> IndexId {
        let replaces: Vec<u8> = replaces.iter().flat_map(|id| *id.as_bytes()).collect();
        self.index_bytes(&cbor(|e| {
            e.map(3).unwrap().u8(0).unwrap().array(packs.len() as u64).unwrap();
            for pack in packs {
                e.map(5).unwrap().u8(0).unwrap().bytes(pack.id.as_bytes()).unwrap();
                e.u8(1).unwrap().u64(pack.bytes).unwrap();
                for (number, column) in (2u8..).zip(&pack.columns) {
                    e.u8(number).unwrap().bytes(column).unwrap();
                }
            }
            e.u8(1).unwrap().bytes(&replaces).unwrap();
            e.u8(2).unwrap().bytes(self.keys.author().id().as_bytes()).unwrap();
        }))
    }

    /// Seals any bytes as an index object.
    pub fn index_bytes(&self, plain: &[u8]) -> IndexId {
        let header = self.header(ObjectType::Index);
        let key = self.keys.newest().sub_key(SubKey::Index);
        let sealed = SmallSealed::seal(&key, &header, &padded(plain), &OsEntropy).unwrap();
        let bytes = self.signed([&header[..], &sealed.nonce, &sealed.bytes].concat());
        IndexId::from_bytes(self.put("index", &bytes))
    }

    /// Writes a snapshot that nothing commits yet. Its time follows from its counter.
    pub fn snapshot(&self, series: &str, counter: u64, streams: Vec<Stream>, failed: &[&str]) -> SnapshotId {
        let head = Head {
            series: series.into(),
            host: "hand".into(),
            time_ms: 1_790_000_000_000 + counter as i64 * 86_400_000,
            state: if failed.is_empty() { State::Complete } else { State::Partial },
            tags: vec!["golden".into()],
            counter,
            predecessor: None,
            finished_ms: 1_790_000_001_000 + counter as i64 * 86_400_000,
            time_zone: "Europe/Berlin".into(),
            calendar: vec!["daily".into()],
            proof: streams.iter().map(|stream| stream.proof).min().unwrap_or(Proof::Unproven),
            program: "hand".into(),
            origin: None,
            author: self.keys.author().id(),
            pins: None,
            import: None,
            origin_author: None,
            set: None,
            system: None,
            role: None,
        };
        let failed = failed.iter().map(|name| FailedStream { name: (*name).into(), reason: "exit 1".into() });
        let body = Body { streams, failed: failed.collect(), source: BTreeMap::new(), parent: None };
        let bytes = snapshot::seal(&head, &body, self.repo, &self.keys, &OsEntropy).unwrap();
        SnapshotId::from_bytes(self.put("snapshots", &bytes))
    }

    /// Puts the head of an honest snapshot in front of any bytes, sealed as its body.
    pub fn snapshot_with_body(&self, honest: SnapshotId, body: &[u8]) -> SnapshotId {
        let bytes = self.storage.get(&format!("snapshots/{honest}"), 1 << 20).unwrap();
        let head = snapshot::open_head(&bytes, &self.repo, &self.keys).unwrap().content;
        let header = self.header(ObjectType::Snapshot);
        let epoch = self.keys.newest();
        let key = epoch.sub_key(SubKey::SnapshotHead);
        let head =
            SmallSealed::seal(&key, &header, &padded(&minicbor::to_vec(&head).unwrap()), &OsEntropy).unwrap();
        let associated = [&header[..], blake3::hash(&head.bytes).as_bytes()].concat();
        let body = epoch.seal(b"dumpvault v1 snapshot", &associated, body, &OsEntropy).unwrap();
        let envelope = cbor(|e| {
            e.map(4).unwrap();
            for (number, field) in (0u8..).zip([&head.nonce[..], &head.bytes, &body.enc, &body.bytes]) {
                e.u8(number).unwrap().bytes(field).unwrap();
            }
        });
        let bytes = self.signed([&header[..], &envelope].concat());
        SnapshotId::from_bytes(self.put("snapshots", &bytes))
    }

    /// Writes a passphrase slot that asks for Argon2id of these costs, and opens with nothing.
    pub fn slot_asking(&self, passes: u32, memory_kib: u32, lanes: u32) {
        let envelope = cbor(|e| {
            e.map(7).unwrap().u8(0).unwrap().u8(1).unwrap().u8(1).unwrap().map(4).unwrap();
            for (number, cost) in (0u8..).zip([passes, memory_kib, lanes]) {
                e.u8(number).unwrap().u32(cost).unwrap();
            }
            e.u8(3).unwrap().bytes(&[1; 16]).unwrap();
            e.u8(2).unwrap().bytes(&[2; 24]).unwrap().u8(3).unwrap().bytes(&[3; 64]).unwrap();
            e.u8(4).unwrap().bytes(&[4; 24]).unwrap().u8(5).unwrap().bytes(&[5; 64]).unwrap();
            e.u8(6).unwrap().bytes(&[6; 32]).unwrap();
        });
        self.put("keys", &[&self.header(ObjectType::KeySlot)[..], &envelope].concat());
    }

    pub fn commit(&self, snapshot: SnapshotId) -> MarkId {
        self.mark(COMMITTED, &format!("snapshots/{snapshot}"), &[], true)
    }

    pub fn mark(&self, kind: u8, object: &str, supersedes: &[MarkId], signed: bool) -> MarkId {
        let superseded: Vec<u8> = supersedes.iter().flat_map(|id| *id.as_bytes()).collect();
        let plain = cbor(|e| {
            e.map(7).unwrap().u8(0).unwrap().u8(kind).unwrap().u8(1).unwrap().str(object).unwrap();
            e.u8(2).unwrap().i64(1_790_000_000_000).unwrap().u8(3).unwrap().bytes(&superseded).unwrap();
            e.u8(4).unwrap().str("by hand").unwrap().u8(5).unwrap().str("hand").unwrap();
            e.u8(6).unwrap().bytes(self.keys.author().id().as_bytes()).unwrap();
        });
        let header = self.header(ObjectType::Mark);
        let epoch = self.keys.newest();
        let key = epoch.sub_key(SubKey::Mark);
        let sealed = SmallSealed::seal(&key, &header, &padded(&plain), &OsEntropy).unwrap();
        let envelope = cbor(|e| {
            e.map(2).unwrap();
            e.u8(0).unwrap().bytes(&sealed.nonce).unwrap().u8(1).unwrap().bytes(&sealed.bytes).unwrap();
        });
        let body = [&header[..], &envelope].concat();
        let bytes = if signed { self.signed(body) } else { [&body[..], &[0; 64]].concat() };
        MarkId::from_bytes(self.put("marks", &bytes))
    }
}

/// What small seals of index objects, heads and marks hold.
pub fn padded(cbor: &[u8]) -> Vec<u8> {
    let mut bytes = (cbor.len() as u32).to_le_bytes().to_vec();
    bytes.extend_from_slice(cbor);
    bytes.resize(dumpvault::vault::format::signed::padme(bytes.len()), 0);
    bytes
}

/// The three columns of the table that tells of `blocks`.
pub fn columns(blocks: &[Block]) -> [Vec<u8>; 3] {
    let (mut records, mut ids, mut lens) = (Vec::new(), Vec::new(), Vec::new());
    for block in blocks {
        // The length with the tag.
        records.extend_from_slice(&(block.stored.len() as u32 + 16).to_le_bytes());
        records.extend_from_slice(&block.plain_bytes.to_le_bytes());
        records.extend_from_slice(&block.chunk_count.to_le_bytes());
        records.extend_from_slice(&[block.kind, block.codec, 0, 0]);
        for (id, len) in &block.chunks {
            ids.extend_from_slice(id);
            lens.extend_from_slice(&len.to_le_bytes());
        }
    }
    [records, ids, lens]
}
