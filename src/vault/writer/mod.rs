//! Writing: streams in, a committed snapshot out.
//!
//! [`BackupSession::store`] takes a stream and gives a [`StoredStream`]; only [`StoredStream::finish`], which wants the
//! proof that the source ended well, makes a [`Finished`]; and only those can be committed. Until the commit nothing
//! shows: packs of a session that fails are garbage, which a later backup finds and uses again.

mod commit;
mod input;
mod known;
mod parent;
mod pipeline;
mod recipe;
mod slack;
mod stream;
mod tally;
mod transfer;
mod withdraw;

pub use commit::{CommitRequest, Committed};
pub use input::Input;
pub use parent::{Basis, IsAlike, Parent};
pub use pipeline::PipelineSettings;
pub use tally::{Edges, NewBytes};
pub use transfer::{TransferError, TransferSource};

use super::catalog::Catalog;
use super::format::index::{BlockKind, ChunkEntry, Index, IndexedPack, PREFIX_BYTES};
use super::format::session::SessionKind;
use super::objects::ObjectName;
use super::reader::{ReadCost, blinded_hash};
use super::session::{SeenPlan, Session};
use super::sync::{Presence, heed_plans};
use super::{RepoError, Repository};
use crate::base::event::{Cancel, Event, Observer};
use crate::base::id::{ChunkId, IndexId, NodeId, PackId, SnapshotId};
use crate::content::chunker::Chunker;
use crate::vault::snapshot::{DigestKind, Proof, Stream, StreamFormat, StreamStats};
use commit::Staged;
use input::{BUFFERS, CutPiece, Plain, Total, cut_ahead, read_ahead};
use known::{Known, Place};
use pipeline::{Block, Pipeline};
use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use stream::StreamWriter;
use tally::Tally;

/// Chunks of fewer bytes have ids that say nothing of them, and no writer looks for them by content.
const BLINDED_BELOW: usize = 16 << 10;
/// An index object is written at least every so many packs …
const PACKS_PER_INDEX: usize = 64;
/// … or after so long, so that a killed backup's work is found again without its key.
const INDEX_INTERVAL: Duration = Duration::from_secs(300);

/// A backup under way.
pub struct BackupSession {
    repo: Repository,
    session: Session,
    share: Share,
    number: u64,
    chunker: Chunker,
    sink: Sink,
    staged: Vec<Staged>,
}

/// A stream whose bytes are stored, and of which nobody knows yet whether it is whole.
#[derive(Debug)]
#[must_use = "a stored stream that is not finished is garbage"]
pub struct StoredStream {
    session: u64,
    stream: Stream,
    /// The first bytes, enough to tell what it is.
    pub front: Vec<u8>,
    /// The parent was of no use because its stream is of another kind.
    pub is_unlike_parent: bool,
    /// Why the parent could not be read, or not all of it; nothing that could not be read was taken from it.
    pub parent_failure: Option<RepoError>,
    /// Which bytes are new, if they were to be counted.
    pub new_bytes: Option<NewBytes>,
}

impl StoredStream {
    /// Length in bytes.
    pub fn bytes(&self) -> u64 {
        self.stream.bytes
    }

    /// The bytes came from another repository, which has this digest of them: of a kind that cannot be had from the
    /// bytes alone.
    pub fn set_digest_of(&mut self, original: &Stream) {
        (self.stream.digest, self.stream.digest_kind) = (original.digest, original.digest_kind);
        self.stream.attributes.remove(SHA256);
    }

    /// Keeps the stream's table map with it.
    pub fn set_table_map(&mut self, map: Option<Vec<u8>>) {
        self.stream.table_map = map.map(Into::into);
    }

    /// The source ended well, as `proof` says: the stream may be committed.
    pub fn finish(
        self,
        proof: Proof,
        format: StreamFormat,
        mut attributes: BTreeMap<String, String>,
    ) -> Finished {
        // What was reckoned here stands above what others say.
        attributes.extend(self.stream.attributes);
        let stream = Stream { proof, format, attributes, ..self.stream };
        Finished { session: self.session, stream, is_suspect: false, is_partial: false }
    }
}

/// A stream that may be committed. Made by [`StoredStream::finish`] alone.
#[derive(Debug)]
pub struct Finished {
    session: u64,
    stream: Stream,
    is_suspect: bool,
    is_partial: bool,
}

/// The attribute of a stream that says what could not be read and is missing from it.
pub const UNREAD: &str = "unread";

/// The attribute of a stream with the SHA-256 of its bytes, in hexadecimal digits.
pub const SHA256: &str = "sha256";

/// The attribute of a stream that says why it is suspect.
pub const SUSPECT: &str = "suspect";

impl Finished {
    /// What will stand in the snapshot.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Good, but for what could not be read: the snapshot becomes a partial one, and says what.
    pub fn without(mut self, what: String) -> Self {
        self.is_partial = true;
        self.stream.attributes.insert(UNREAD.to_owned(), what);
        self
    }

    /// Whole, and so odd that a person should look: the snapshot becomes a suspect one, and says why.
    pub fn suspect(mut self, why: String) -> Self {
        self.is_suspect = true;
        self.stream.attributes.insert(SUSPECT.to_owned(), why);
        self
    }
}

/// A backup that is registered, and the plans of prunes that it heeds.
pub struct Registered {
    session: Session,
    plans: Vec<SeenPlan>,
}

impl Registered {
    /// How many seconds the clock that shows `now_ms` is ahead of the storage's; to be asked right after.
    pub fn skew_seconds(&self, now_ms: i64) -> i64 {
        self.session.skew_seconds(now_ms)
    }
}

/// How much of the memory of a process a backup may take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Share {
    /// What a backup alone takes.
    #[default]
    Whole,
    /// Less, since another backup is under way beside it.
    Half,
}

/// Begins backups into a repository.
pub struct Writer<'a> {
    pub(in crate::vault) repo: &'a Repository,
    share: Share,
}

impl<'a> Writer<'a> {
    pub(in crate::vault) fn new(repo: &'a Repository) -> Self {
        Self { repo, share: Share::Whole }
    }

    /// The same, in so much memory.
    pub fn within(self, share: Share) -> Self {
        Self { share, ..self }
    }
}

impl Writer<'_> {
    /// Registers a backup that is about to begin. What is looked up from now on, no prune takes away without saying so:
    /// it either finds the session, or its plan is there now. (Plans are read before packs are listed: one that was
    /// carried out in between is gone, and so are its packs.)
    ///
    /// # Errors
    /// When the storage fails, or a thread cannot be started.
    pub fn register_backup(&self) -> Result<Registered, RepoError> {
        let session = Session::register(self.repo, SessionKind::Write)?;
        let (plans, unreadable) = self.repo.plans()?;
        for error in unreadable {
            // Not heeded, and not said to be: whoever can read it waits for this session.
            tracing::debug!("{error}");
        }
        Ok(Registered { session, plans })
    }

    /// Begins a backup. `catalog` and `presence` are those of this repository, just brought up to date.
    ///
    /// # Errors
    /// When the storage or the catalog fails, or threads cannot be started.
    pub fn begin_backup(
        &self,
        catalog: Catalog,
        mut presence: Presence,
        settings: PipelineSettings,
    ) -> Result<BackupSession, RepoError> {
        let registered = self.register_backup()?;
        // What was looked up is older than the session.
        self.repo.look_again(&catalog, &mut presence)?;
        self.begin_registered(registered, catalog, presence, settings)
    }

    /// Begins a backup that was registered before `catalog` and `presence` were brought up to date: packs are listed
    /// once less.
    ///
    /// # Errors
    /// As [`Writer::begin_backup`].
    pub fn begin_registered(
        &self,
        registered: Registered,
        catalog: Catalog,
        mut presence: Presence,
        settings: PipelineSettings,
    ) -> Result<BackupSession, RepoError> {
        static SESSIONS: AtomicU64 = AtomicU64::new(0);
        let Registered { session, plans } = registered;
        heed_plans(&plans, &catalog, &mut presence)?;
        if !plans.is_empty() {
            session.acknowledge(plans.into_iter().map(|seen| seen.id).collect())?;
        }
        Ok(BackupSession {
            session,
            repo: self.repo.clone(),
            share: self.share,
            number: SESSIONS.fetch_add(1, Ordering::Relaxed),
            chunker: Chunker::new(&self.repo.content.newest().chunker_gear, self.repo.config.chunk_sizes),
            staged: Vec::new(),
            sink: Sink {
                repo: self.repo.clone(),
                known: Known::new(self.repo, catalog, presence),
                pipeline: Pipeline::start(self.repo, settings, self.share)?,
                data: OpenBlock::default(),
                recipe: OpenBlock::default(),
                blinded: OpenBlock::default(),
                unindexed: Vec::new(),
                indexes: Vec::new(),
                last_index: Instant::now(),
                stats: StreamStats::default(),
                tally: Tally::default(),
            },
        })
    }
}

impl Writer<'_> {
    /// Removes a snapshot that nobody commits any more. Where that fails, a prune does it.
    fn clear_away(&self, id: &SnapshotId) {
        if let Err(error) = self.repo.storage.delete(&id.key()) {
            tracing::warn!("{error}");
        }
    }
}

impl BackupSession {
    /// Counts the new bytes of the next stream between `edges`, which its reader adds as it reads.
    pub fn tally(&mut self, edges: Arc<Edges>) {
        self.sink.tally = Tally::new(Some(edges));
    }

    /// Stores all that `source` yields, as far as `basis` does not have it. Progress goes to `observer`.
    ///
    /// # Errors
    /// When reading, the storage or a thread fails, or somebody cancels. What was stored until then stays, as garbage.
    pub fn store(
        &mut self,
        name: &str,
        source: &mut (dyn Read + Send),
        basis: Basis,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<StoredStream, RepoError> {
        self.store_input(name, &mut Plain(source), basis, observer, cancel)
    }

    /// As [`BackupSession::store`], of a stream that may say that parts of it are the parent's.
    ///
    /// # Errors
    /// As [`BackupSession::store`], and when it says so of bytes that the parent of `basis` does not have.
    pub fn store_input(
        &mut self,
        name: &str,
        source: &mut dyn Input,
        basis: Basis,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<StoredStream, RepoError> {
        let began = Instant::now();
        self.sink.stats = StreamStats::default();
        if let Basis::Parent(parent) = &basis {
            parent.survey().blocks.keys().for_each(|(pack, _)| self.sink.known.rely_on(*pack));
        }
        let before = self.sink.pipeline.stored_bytes();
        let headroom = self.chunker.sizes().max;
        let (full_in, full) = crossbeam_channel::bounded(BUFFERS);
        let (empty_in, empty) = crossbeam_channel::bounded(BUFFERS);
        for _ in 0..BUFFERS {
            // Safe to ignore because the channel has room for exactly these.
            let _ = empty_in.send(Vec::with_capacity(headroom + input::FILL_BYTES));
        }
        let (taken, total) = std::thread::scope(|scope| {
            let reader = std::thread::Builder::new().name("read".to_owned());
            let reader = reader
                .spawn_scoped(scope, move || read_ahead(source, headroom, &full_in, &empty, cancel))
                .map_err(|thread| RepoError::Thread { source: thread })?;
            let (cut_in, cut) = crossbeam_channel::bounded(BUFFERS);
            let (scattered_in, scattered) = crossbeam_channel::unbounded();
            let (chunker, key) = (&self.chunker, &self.repo.content.newest().chunk_id);
            let cutter = std::thread::Builder::new().name("chunk".to_owned());
            cutter
                .spawn_scoped(scope, move || cut_ahead(chunker, key.expose(), &full, &cut_in, &scattered))
                .map_err(|thread| RepoError::Thread { source: thread })?;
            let pieces = Pieces { cut, scattered: scattered_in, empty: empty_in };
            let stored = self.sink.store_pieces(basis, pieces, observer, cancel);
            let read = reader.join().unwrap_or(Err(RepoError::Stopped));
            match (stored, read) {
                // The reader stops because the other side did, and the other way round: the cause is told.
                (Err(error), Err(RepoError::Stopped) | Ok(_)) => Err(error),
                (_, Err(error)) => Err(error),
                (Ok(taken), Ok(total)) => Ok((taken, total)),
            }
        })?;
        let Taken { root, front, is_unlike_parent, parent_failure } = taken;
        self.sink.pipeline.settle()?;
        let after = self.sink.pipeline.stored_bytes();
        let stats = StreamStats {
            bytes_stored: after.0 - before.0,
            recipe_bytes_stored: after.1 - before.1,
            duration_ms: began.elapsed().as_millis() as u64,
            ..self.sink.stats
        };
        let Total { bytes, digest, digest_kind, sha256 } = total;
        let stream = Stream {
            name: name.to_owned(),
            bytes,
            digest,
            proof: Proof::Unproven,
            root,
            format: StreamFormat::Unknown,
            stats,
            attributes: sha256.map(|digest| (SHA256.to_owned(), digest)).into_iter().collect(),
            table_map: None,
            digest_kind: Some(digest_kind).filter(|kind| *kind != DigestKind::Whole),
        };
        let new_bytes = std::mem::take(&mut self.sink.tally).finish();
        Ok(StoredStream { session: self.number, stream, front, is_unlike_parent, parent_failure, new_bytes })
    }

    /// Shows other machines that this backup is alive. That happens every five minutes by itself; this is for whoever
    /// keeps time otherwise.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn show_life(&self) -> Result<(), RepoError> {
        self.session.beat().map(|_| ())
    }

    /// How many seconds the clock that shows `now_ms` is ahead of the storage's; to be asked right after the backup
    /// began.
    pub fn clock_skew_seconds(&self, now_ms: i64) -> i64 {
        self.session.skew_seconds(now_ms)
    }

    /// Gives up: keeps what is durable for a later backup, commits nothing.
    pub fn abandon(mut self) {
        let finished = self.sink.pipeline.take_finished();
        self.sink.known.add_packs(&finished);
    }
}

/// Chunks that will make up the next block.
#[derive(Default)]
struct OpenBlock {
    plain: Vec<u8>,
    chunks: Vec<ChunkEntry>,
    prefixes: Vec<u8>,
}

/// Where chunks and nodes go: looked up, gathered into blocks, handed to the pipeline.
struct Sink {
    repo: Repository,
    known: Known,
    pipeline: Pipeline,
    data: OpenBlock,
    recipe: OpenBlock,
    blinded: OpenBlock,
    /// Durable packs that no index object names yet.
    unindexed: Vec<IndexedPack>,
    /// Index objects that were written.
    indexes: Vec<IndexId>,
    last_index: Instant,
    stats: StreamStats,
    tally: Tally,
}

/// Bytes at the front of a stream that are kept, to tell what it is.
const FRONT_BYTES: usize = 512;

/// What became of a stream's pieces.
struct Taken {
    root: NodeId,
    front: Vec<u8>,
    is_unlike_parent: bool,
    parent_failure: Option<RepoError>,
}

/// Where pieces come from, and what goes back.
struct Pieces {
    cut: crossbeam_channel::Receiver<CutPiece>,
    /// For each piece, whether it followed the parent with changes all over.
    scattered: crossbeam_channel::Sender<bool>,
    /// Buffers to fill again.
    empty: crossbeam_channel::Sender<Vec<u8>>,
}

impl Sink {
    fn store_pieces(
        &mut self,
        mut basis: Basis,
        pieces: Pieces,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<Taken, RepoError> {
        let Pieces { cut, scattered, empty } = pieces;
        let mut pieces = cut.iter().peekable();
        let front = pieces.peek().and_then(|piece| piece.bytes.get(piece.start..)).unwrap_or_default();
        let front = front.get(..FRONT_BYTES).unwrap_or(front).to_vec();
        let is_unlike_parent = basis.drop_unlike(&front);
        let mut writer = StreamWriter::new(self, basis);
        for piece in pieces {
            if cancel.is_cancelled() {
                return Err(RepoError::Cancelled);
            }
            let found_before = writer.bytes_found();
            let is_scattered = writer.piece(&piece)?;
            // Safe to ignore because the cutter may have ended already.
            let _ = scattered.send(is_scattered);
            let CutPiece { bytes, fresh, copy, .. } = piece;
            // Safe to ignore because the reader may have ended already, and the last piece's buffer is none of its own.
            let _ = empty.try_send(bytes);
            writer.take_finished()?;
            let bytes_known = writer.bytes_found() - found_before;
            let copied = copy.map_or(0, |range| range.end - range.start);
            observer.observe(Event::Advanced { bytes: fresh as u64 + copied, bytes_known });
        }
        let (root, parent_failure) = writer.finish()?;
        self.submit(BlockKind::Data)?;
        self.submit(BlockKind::Blinded)?;
        self.submit(BlockKind::Recipe)?;
        Ok(Taken { root, front, is_unlike_parent, parent_failure })
    }

    /// Whether a chunk's id must say nothing of its bytes, which are few enough to be guessed.
    fn is_blinded(&self, bytes: &[u8]) -> bool {
        bytes.len() < BLINDED_BELOW.min(self.repo.config.chunk_sizes.min)
    }

    fn is_known(&mut self, chunk: &ChunkId) -> bool {
        self.known.contains(chunk.as_bytes(), BlockKind::Data)
    }

    /// Whether the chunk is known and not in a block of which the surveyed stream wants little else.
    fn is_known_in(&mut self, chunk: &ChunkId, survey: &ReadCost) -> bool {
        match self.known.place(chunk.as_bytes(), BlockKind::Data) {
            None => false,
            Some(Place::Pending) => true,
            Some(Place::At { pack, block }) => {
                survey.blocks.get(&(pack, block)).is_none_or(|block| survey.is_sound(block))
            }
        }
    }

    /// Stores a chunk unless it is known; its id.
    fn add_chunk(&mut self, id: ChunkId, bytes: &[u8]) -> Result<ChunkId, RepoError> {
        if !self.is_blinded(bytes) && self.is_known(&id) {
            self.stats.bytes_known += bytes.len() as u64;
            return Ok(id);
        }
        self.store_chunk(id, bytes)
    }

    /// Stores a chunk that is not known; its id: `id`, unless it is too short for one that tells what it is.
    fn store_chunk(&mut self, id: ChunkId, bytes: &[u8]) -> Result<ChunkId, RepoError> {
        if self.is_blinded(bytes) {
            return self.add_blinded(bytes);
        }
        self.stats.bytes_new += bytes.len() as u64;
        self.add_new(BlockKind::Data, *id.as_bytes(), &[], bytes)?;
        Ok(id)
    }

    /// Stores bytes as a chunk whose id says nothing of them.
    fn add_blinded(&mut self, bytes: &[u8]) -> Result<ChunkId, RepoError> {
        self.stats.bytes_new += bytes.len() as u64;
        let (id, prefix) = self.blind(bytes)?;
        self.add_new(BlockKind::Blinded, *id.as_bytes(), &prefix, bytes)?;
        Ok(id)
    }

    /// Stores a chunk of gathered runs as a block of its own.
    fn add_gathered(&mut self, bytes: &[u8]) -> Result<ChunkId, RepoError> {
        self.stats.bytes_new += bytes.len() as u64;
        let (id, prefix) = self.blind(bytes)?;
        self.add_alone(BlockKind::Blinded, *id.as_bytes(), &prefix, bytes)?;
        Ok(id)
    }

    /// A fresh id for `bytes`, and the random bytes that it covers besides.
    fn blind(&self, bytes: &[u8]) -> Result<(ChunkId, [u8; PREFIX_BYTES]), RepoError> {
        let mut prefix = [0; PREFIX_BYTES];
        self.repo.entropy.fill(&mut prefix)?;
        let hash = blinded_hash(&self.repo.content.newest().chunk_id, &prefix, bytes);
        Ok((ChunkId::from_bytes(*hash.as_bytes()), prefix))
    }

    /// Stores a chunk that is not known as a block of its own.
    fn add_alone(
        &mut self,
        kind: BlockKind,
        id: [u8; 32],
        prefix: &[u8],
        bytes: &[u8],
    ) -> Result<(), RepoError> {
        let mut plain = self.pipeline.buffer();
        plain.extend_from_slice(bytes);
        let chunks = vec![(id, bytes.len() as u32)];
        self.pipeline.submit(Block { kind, plain, chunks, prefixes: prefix.to_vec(), packed: None })?;
        self.known.add_pending(id);
        Ok(())
    }

    fn add_node(&mut self, bytes: &[u8]) -> Result<NodeId, RepoError> {
        let id = *blake3::keyed_hash(self.repo.content.newest().node_id.expose(), bytes).as_bytes();
        if !self.known.contains(&id, BlockKind::Recipe) {
            self.add_new(BlockKind::Recipe, id, &[], bytes)?;
        }
        Ok(NodeId::from_bytes(id))
    }

    fn add_new(
        &mut self,
        kind: BlockKind,
        id: [u8; 32],
        prefix: &[u8],
        bytes: &[u8],
    ) -> Result<(), RepoError> {
        if self.open(kind).plain.len() + bytes.len() > self.repo.config.block_bytes {
            self.submit(kind)?;
        }
        let block = self.open(kind);
        block.prefixes.extend_from_slice(prefix);
        block.plain.extend_from_slice(bytes);
        block.chunks.push((id, bytes.len() as u32));
        self.known.add_pending(id);
        Ok(())
    }

    fn open(&mut self, kind: BlockKind) -> &mut OpenBlock {
        match kind {
            BlockKind::Data => &mut self.data,
            BlockKind::Recipe => &mut self.recipe,
            BlockKind::Blinded => &mut self.blinded,
        }
    }

    /// Hands the open block of that kind to the pipeline, if there is anything in it.
    fn submit(&mut self, kind: BlockKind) -> Result<(), RepoError> {
        if self.open(kind).chunks.is_empty() {
            return Ok(());
        }
        let fresh = OpenBlock { plain: self.pipeline.buffer(), ..OpenBlock::default() };
        let OpenBlock { plain, chunks, prefixes } = std::mem::replace(self.open(kind), fresh);
        self.pipeline.submit(Block { kind, plain, chunks, prefixes, packed: None })
    }

    fn take_finished(&mut self) -> Result<(), RepoError> {
        let packs = self.pipeline.take_finished();
        self.add_finished(packs)?;
        let due = self.last_index.elapsed() >= INDEX_INTERVAL && !self.unindexed.is_empty();
        if due || self.unindexed.len() >= PACKS_PER_INDEX { self.write_index() } else { Ok(()) }
    }

    fn add_finished(&mut self, packs: Vec<IndexedPack>) -> Result<(), RepoError> {
        if !packs.is_empty() {
            self.known.add_packs(&packs);
            self.unindexed.extend(packs);
        }
        Ok(())
    }

    fn write_index(&mut self) -> Result<(), RepoError> {
        self.last_index = Instant::now();
        if self.unindexed.is_empty() {
            return Ok(());
        }
        let index = Index { packs: std::mem::take(&mut self.unindexed), replaces: Vec::new() };
        let bytes = index.seal(self.repo.id, &self.repo.keys, self.repo.entropy.as_ref())?;
        let id: IndexId = self.repo.put_hashed(&bytes)?;
        self.indexes.push(id);
        self.known.set_indexed(&id, &index.packs);
        Ok(())
    }

    /// Makes all packs durable.
    fn settle(&mut self) -> Result<(), RepoError> {
        // Also what a stream that failed left in its open block: its chunks count as known by now.
        self.submit(BlockKind::Data)?;
        self.submit(BlockKind::Blinded)?;
        self.submit(BlockKind::Recipe)?;
        let packs = self.pipeline.flush()?;
        self.add_finished(packs)
    }

    /// Makes all packs durable and names them in index objects, also those that an earlier backup left without.
    fn flush(&mut self) -> Result<(), RepoError> {
        self.settle()?;
        let own: HashSet<PackId> = self.unindexed.iter().map(|pack| pack.id).collect();
        for pack in self.known.unindexed().into_iter().filter(|pack| !own.contains(&pack.id)) {
            // Others of this host wrote it, and a prune may have deleted it since.
            if self.repo.storage.size(&pack.id.key())?.is_some() {
                self.unindexed.push(pack);
            }
        }
        while self.unindexed.len() > PACKS_PER_INDEX {
            let later = self.unindexed.split_off(PACKS_PER_INDEX);
            self.write_index()?;
            self.unindexed = later;
        }
        self.write_index()
    }
}
