//! The threads behind a backup: blocks in, durable packs out.
//!
//! ```text
//! submit -> [compress + read back] x N -> packer (in order) -> [seal + read back + hash + put] x 2 -> finished packs
//! ```
//!
//! Blocks keep their order, so that a later restore reads packs from front to back. Every queue is bounded, and buffers
//! go round: memory is `(2 N + 4) * 2 * block + 5 * pack` whatever the stream's length (9 packs where the storage is
//! not local, and no other backup is under way beside this one). The first error stops all threads and is kept; nothing
//! that failed is ever reported as finished.

use super::Share;
use super::slack::{Sight, Slack};
use crate::content::codec::{Codec, CodecError, Compressor, Decompressor, Level};
use crate::vault::format::index::{BlockKind, ChunkEntry, IndexedPack, Naming};
use crate::vault::format::pack::{PACK_CHUNKS_MAX, PackBuffer};
use crate::vault::objects::pack_key;
use crate::vault::{RepoError, Repository};
use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, bounded, unbounded};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How the pipeline works.
#[derive(Debug, Clone, Copy)]
pub struct PipelineSettings {
    /// Compression of data blocks.
    pub level: Level,
    /// Open and compare every block before it leaves.
    pub read_back: bool,
    /// Compressing threads, at least 1.
    pub workers: usize,
}

/// Recipe nodes compress well and are few.
const RECIPE_LEVEL: Level = Level::Zstd(3);
const PACK_WRITERS: usize = 2;
/// A storage behind a wire lets each writer wait, and holds a copy of what it sends.
const PACK_WRITERS_REMOTE: usize = 3;
/// How often a waiting caller looks whether a thread failed.
const FAILURE_POLL: Duration = Duration::from_millis(50);

/// A run of new chunks to store.
#[derive(Debug)]
pub(super) struct Block {
    pub kind: BlockKind,
    pub plain: Vec<u8>,
    pub chunks: Vec<ChunkEntry>,
    /// What blinds the chunks, 16 bytes each, or nothing.
    pub prefixes: Vec<u8>,
    /// Set where it is compressed already; then there are no plain bytes.
    pub packed: Option<(Codec, Vec<u8>)>,
}

enum Laid {
    Block {
        block: Block,
        codec: Codec,
        stored: Vec<u8>,
    },
    /// Answer once everything before is laid down; with `flush`, close the packs first. The answer: packs closed so
    /// far.
    Barrier {
        flush: bool,
        answer: Sender<u64>,
    },
}

#[derive(Default)]
struct Shared {
    failed: AtomicBool,
    error: Mutex<Option<RepoError>>,
    data_stored: AtomicU64,
    recipe_stored: AtomicU64,
}

impl Shared {
    fn fail(&self, error: RepoError) {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.failed.store(true, Ordering::SeqCst);
    }

    fn has_failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }
}

/// Stops the others when its thread ends by a panic, so that nobody waits for it for ever.
struct StopOnPanic(Arc<Shared>);

impl Drop for StopOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(RepoError::Stopped);
        }
    }
}

pub(super) struct Pipeline {
    shared: Arc<Shared>,
    next: u64,
    /// One for each block that is not laid down yet.
    under_way: Sender<()>,
    blocks: Option<Sender<(u64, Block)>>,
    laid: Option<Sender<(u64, Laid)>>,
    finished: Receiver<IndexedPack>,
    finished_count: u64,
    buffers: Receiver<Vec<u8>>,
    threads: Vec<JoinHandle<()>>,
}

impl Pipeline {
    pub(super) fn start(
        repo: &Repository,
        settings: PipelineSettings,
        share: Share,
    ) -> Result<Self, RepoError> {
        let shared = Arc::new(Shared::default());
        let workers = settings.workers.max(1);
        let (blocks_in, blocks_out) = bounded::<(u64, Block)>(workers);
        let (laid_in, laid_out) = bounded::<(u64, Laid)>(workers + 2);
        // Blocks that come compressed pass those that do not, and wait for them.
        let (under_way_in, under_way) = bounded::<()>(2 * workers + 3);
        let (packs_in, packs_out) = bounded::<PackBuffer>(0);
        let (finished_in, finished) = unbounded();
        // Not bounded by a number, but by what is under way: each holds only buffers that were taken out before.
        let (buffers_in, buffers) = unbounded::<Vec<u8>>();
        let (spare_stored_in, spare_stored) = unbounded::<Vec<u8>>();
        let (spare_packs_in, spare_packs) = unbounded::<Vec<u8>>();
        let mut threads = Vec::new();
        let mut spawn = |name: &str, run: Box<dyn FnOnce() -> Result<(), RepoError> + Send>| {
            let shared = Arc::clone(&shared);
            let body = move || {
                let guard = StopOnPanic(Arc::clone(&shared));
                if let Err(error) = run() {
                    guard.0.fail(error);
                }
            };
            let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body);
            threads.push(thread.map_err(|source| RepoError::Thread { source })?);
            Ok::<(), RepoError>(())
        };
        let slack = Arc::new(Slack::default());
        for _ in 0..workers {
            let worker = Worker {
                slack: Arc::clone(&slack),
                shared: Arc::clone(&shared),
                settings,
                blocks: blocks_out.clone(),
                laid: laid_in.clone(),
                spare: spare_stored.clone(),
            };
            spawn("compress", Box::new(move || worker.run()))?;
        }
        let packer = Packer {
            shared: Arc::clone(&shared),
            pack_bytes: repo.config.pack_bytes,
            generation: repo.content_generation(),
            laid: laid_out,
            under_way,
            packs: packs_in,
            buffers: buffers_in,
            spare_stored: spare_stored_in,
            spare_packs,
            closed: 0,
        };
        spawn("pack", Box::new(move || packer.run()))?;
        let pack_writers = match (share, repo.storage.is_local()) {
            (Share::Half, _) | (Share::Whole, true) => PACK_WRITERS,
            (Share::Whole, false) => PACK_WRITERS_REMOTE,
        };
        for _ in 0..pack_writers {
            let writer = PackWriter {
                shared: Arc::clone(&shared),
                repo: repo.clone(),
                read_back: settings.read_back,
                packs: packs_out.clone(),
                finished: finished_in.clone(),
                spare: spare_packs_in.clone(),
            };
            spawn("write", Box::new(move || writer.run()))?;
        }
        Ok(Self {
            shared,
            next: 0,
            under_way: under_way_in,
            blocks: Some(blocks_in),
            laid: Some(laid_in),
            finished,
            finished_count: 0,
            buffers,
            threads,
        })
    }

    /// An empty buffer for a block's plain bytes.
    pub(super) fn buffer(&self) -> Vec<u8> {
        self.buffers.try_recv().unwrap_or_default()
    }

    /// Hands a block over; waits while the pipeline is full.
    pub(super) fn submit(&mut self, block: Block) -> Result<(), RepoError> {
        loop {
            self.check()?;
            match self.under_way.send_timeout((), FAILURE_POLL) {
                Ok(()) => break,
                Err(SendTimeoutError::Timeout(())) => {}
                Err(SendTimeoutError::Disconnected(())) => {
                    self.check()?;
                    return Err(RepoError::Stopped);
                }
            }
        }
        let number = self.next;
        self.next += 1;
        let mut message = (number, block);
        loop {
            self.check()?;
            let Some(blocks) = &self.blocks else { return Err(RepoError::Stopped) };
            match blocks.send_timeout(message, FAILURE_POLL) {
                Ok(()) => return Ok(()),
                Err(error) => message = error.into_inner(),
            }
        }
    }

    /// Packs that became durable since the last call.
    pub(super) fn take_finished(&mut self) -> Vec<IndexedPack> {
        let packs: Vec<_> = self.finished.try_iter().collect();
        self.finished_count += packs.len() as u64;
        packs
    }

    /// Waits until every block handed over is laid down and counted in [`Pipeline::stored_bytes`].
    pub(super) fn settle(&mut self) -> Result<(), RepoError> {
        self.barrier(false).map(|_| ())
    }

    /// Closes the packs and waits until all are durable; gives those not taken yet.
    pub(super) fn flush(&mut self) -> Result<Vec<IndexedPack>, RepoError> {
        let closed = self.barrier(true)?;
        let mut packs = Vec::new();
        loop {
            packs.extend(self.take_finished());
            if self.finished_count >= closed {
                self.check()?;
                return Ok(packs);
            }
            self.check()?;
            if let Ok(pack) = self.finished.recv_timeout(FAILURE_POLL) {
                self.finished_count += 1;
                packs.push(pack);
            }
        }
    }

    fn barrier(&mut self, flush: bool) -> Result<u64, RepoError> {
        let (answer, answered) = bounded(1);
        let number = self.next;
        self.next += 1;
        let mut message = (number, Laid::Barrier { flush, answer });
        loop {
            self.check()?;
            let Some(laid) = &self.laid else { return Err(RepoError::Stopped) };
            match laid.send_timeout(message, FAILURE_POLL) {
                Ok(()) => break,
                Err(error) => message = error.into_inner(),
            }
        }
        loop {
            match answered.recv_timeout(FAILURE_POLL) {
                Ok(closed) => return Ok(closed),
                Err(RecvTimeoutError::Timeout) => self.check()?,
                Err(RecvTimeoutError::Disconnected) => {
                    self.check()?;
                    return Err(RepoError::Stopped);
                }
            }
        }
    }

    /// Bytes that data and recipe blocks laid down so far take in packs.
    pub(super) fn stored_bytes(&self) -> (u64, u64) {
        (self.shared.data_stored.load(Ordering::SeqCst), self.shared.recipe_stored.load(Ordering::SeqCst))
    }

    fn check(&self) -> Result<(), RepoError> {
        if !self.shared.has_failed() {
            return Ok(());
        }
        let mut error = self.shared.error.lock().unwrap_or_else(PoisonError::into_inner);
        Err(error.take().unwrap_or(RepoError::Stopped))
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        // A pipeline that is dropped full is one that nobody waits for any more.
        self.shared.failed.store(true, Ordering::SeqCst);
        self.blocks = None;
        self.laid = None;
        for thread in self.threads.drain(..) {
            // Safe to ignore because a panic was turned into an error by `StopOnPanic`.
            let _ = thread.join();
        }
    }
}

struct Worker {
    shared: Arc<Shared>,
    settings: PipelineSettings,
    slack: Arc<Slack>,
    blocks: Receiver<(u64, Block)>,
    laid: Sender<(u64, Laid)>,
    spare: Receiver<Vec<u8>>,
}

impl Worker {
    fn run(self) -> Result<(), RepoError> {
        let mut compressor = Compressor::default();
        let mut decompressor = Decompressor::default();
        let mut back = Vec::new();
        loop {
            let (waiting, is_held_up) = (self.blocks.len(), self.laid.is_full());
            let Ok((number, mut block)) = self.blocks.recv() else { break };
            if self.shared.has_failed() {
                break;
            }
            if let Some((codec, stored)) = block.packed.take() {
                if self.laid.send((number, Laid::Block { block, codec, stored })).is_err() {
                    break;
                }
                continue;
            }
            let level = match block.kind {
                BlockKind::Data | BlockKind::Blinded => {
                    let sight = Sight { waiting, room: self.settings.workers.max(1), is_held_up };
                    self.slack.settle(self.settings.level, sight)
                }
                BlockKind::Recipe => RECIPE_LEVEL,
            };
            let mut stored = self.spare.try_recv().unwrap_or_default();
            let codec = compressor.compress(&block.plain, level, &mut stored)?;
            // What is stored by column was read back already.
            if self.settings.read_back && codec == Codec::Zstd {
                decompressor.decompress(codec, &stored, block.plain.len(), &mut back)?;
                if back != block.plain {
                    return Err(CodecError::ReadBack.into());
                }
            }
            // Nobody listens only when the pipeline stops.
            if self.laid.send((number, Laid::Block { block, codec, stored })).is_err() {
                break;
            }
        }
        Ok(())
    }
}

struct Packer {
    shared: Arc<Shared>,
    pack_bytes: usize,
    /// All that is written is named in this content generation.
    generation: u16,
    laid: Receiver<(u64, Laid)>,
    under_way: Receiver<()>,
    packs: Sender<PackBuffer>,
    buffers: Sender<Vec<u8>>,
    spare_stored: Sender<Vec<u8>>,
    spare_packs: Receiver<Vec<u8>>,
    closed: u64,
}

impl Packer {
    fn run(mut self) -> Result<(), RepoError> {
        let mut early = BTreeMap::new();
        let mut next = 0;
        let mut data = PackBuffer::default();
        let mut recipe = PackBuffer::default();
        while let Ok((number, laid)) = self.laid.recv() {
            if self.shared.has_failed() {
                return Ok(());
            }
            early.insert(number, laid);
            while let Some(laid) = early.remove(&next) {
                next += 1;
                match laid {
                    Laid::Block { block, codec, stored } => {
                        let pack = if block.kind == BlockKind::Recipe { &mut recipe } else { &mut data };
                        self.lay(pack, block, codec, stored)?;
                        // Safe to ignore because each block that is laid down was counted before.
                        let _ = self.under_way.try_recv();
                    }
                    Laid::Barrier { flush, answer } => {
                        if flush {
                            if data.is_small_with(&recipe, self.pack_bytes) {
                                data.append(&std::mem::take(&mut recipe))?;
                            }
                            self.close(&mut data)?;
                            self.close(&mut recipe)?;
                        }
                        // Safe to ignore because whoever asked may have given up.
                        let _ = answer.send(self.closed);
                    }
                }
            }
        }
        Ok(())
    }

    fn lay(
        &mut self,
        pack: &mut PackBuffer,
        block: Block,
        codec: Codec,
        stored: Vec<u8>,
    ) -> Result<(), RepoError> {
        let is_full = pack.len() + block.prefixes.len() + stored.len() > self.pack_bytes
            || pack.chunk_count() + block.chunks.len() > PACK_CHUNKS_MAX;
        if !pack.is_empty() && is_full {
            self.close(pack)?;
        }
        if pack.is_empty() && block.kind != BlockKind::Recipe {
            let mut bytes = self.spare_packs.try_recv().unwrap_or_default();
            bytes.clear();
            bytes.reserve(self.pack_bytes + (128 << 10));
            *pack = PackBuffer::reuse(bytes);
        }
        let before = pack.len();
        let naming = Naming { kind: block.kind, generation: self.generation };
        pack.push(naming, codec, &block.prefixes, &stored, &block.chunks);
        let counter = match block.kind {
            BlockKind::Data | BlockKind::Blinded => &self.shared.data_stored,
            BlockKind::Recipe => &self.shared.recipe_stored,
        };
        counter.fetch_add((pack.len() - before) as u64, Ordering::SeqCst);
        let mut plain = block.plain;
        if plain.is_empty() {
            // It came compressed, in a buffer that is none of ours.
            return Ok(());
        }
        plain.clear();
        // Safe to ignore because buffers that nobody takes back are freed.
        let _ = self.buffers.send(plain);
        let _ = self.spare_stored.send(stored);
        Ok(())
    }

    fn close(&mut self, pack: &mut PackBuffer) -> Result<(), RepoError> {
        if !pack.is_empty() {
            self.closed += 1;
            let full = std::mem::take(pack);
            self.packs.send(full).map_err(|_| RepoError::Stopped)?;
        }
        Ok(())
    }
}

struct PackWriter {
    shared: Arc<Shared>,
    repo: Repository,
    read_back: bool,
    packs: Receiver<PackBuffer>,
    finished: Sender<IndexedPack>,
    spare: Sender<Vec<u8>>,
}

impl PackWriter {
    fn run(self) -> Result<(), RepoError> {
        for pack in &self.packs {
            if self.shared.has_failed() {
                break;
            }
            let Repository { id, keys, entropy, storage, .. } = &self.repo;
            let sealed = pack.seal(*id, keys, entropy.as_ref(), self.read_back)?;
            storage.put(&pack_key(&sealed.id), &sealed.bytes)?;
            tracing::debug!("stored {}, {} bytes", pack_key(&sealed.id), sealed.bytes.len());
            let bytes = sealed.bytes.len() as u64;
            // Safe to ignore because both receivers go only when the pipeline does.
            let _ = self.finished.send(IndexedPack { id: sealed.id, bytes, table: sealed.table });
            let _ = self.spare.send(sealed.bytes);
        }
        Ok(())
    }
}
