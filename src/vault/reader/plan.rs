//! Which blocks a restore wants next, and the bound on how many are open.

use super::blocks::BlockReader;
use super::buffers::Buffers;
use super::locate::Locator;
use super::recipe::{Extent, RecipeWalker};
use super::turns::Turns;
use super::{ReadSettings, ReadStats};
use crate::base::event::Cancel;
use crate::base::id::{ChunkId, NodeId, PackId};
use crate::vault::RepoError;
use crate::vault::catalog::{Location, PackRow};
use crossbeam_channel::{Receiver, SendTimeoutError, Sender};
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// Stream bytes that a segment holds at most.
const SEGMENT_BYTES: u64 = 1 << 20;
/// Pieces that a segment holds at most: a recipe may be made of extents of one byte each.
const SEGMENT_PIECES: usize = 16 << 10;
/// Chunks of the present segment that are found again without a look at the catalog; a power of two.
const RECENT: usize = 1024;

/// Plain bytes of blocks that are kept open although a later one of their pack was wanted since; more where they are
/// wanted again.
const PASSED_BYTES: u64 = 8 << 20;
/// Twice as many are kept when so many were wanted again: a few to be opened again cost less than the memory.
const PASSED_AGAIN_MAX: u32 = 8;
/// A pack in which a restore goes back so often, and with so many of a hundred of its blocks, holds blocks of several
/// days, put together by a prune: none of them counts as passed. A pack of one day goes back where a table's gathered
/// rows end.
const TIMES_BACK_MAX: u32 = 3;
const PERCENT_BACK_MAX: u32 = 40;
/// Opening so many blocks again and again for want of room is no reason to make more: a comparison that looks for its
/// place jumps.
const OPENED_AGAIN_MAX: u32 = 32;
/// So many closed blocks are remembered, to see whether one is wanted again.
const CLOSED_KEPT: usize = 1024;

/// A writer that has more than enough planned for it takes a segment within this time, unless it waits for a block.
const WRITER_WAIT: Duration = Duration::from_millis(3);

/// Open blocks, and when each was wanted last.
type OpenBlocks = HashMap<BlockKey, (Arc<Slot>, u64)>;

/// A block, by its pack (whose number changes when the catalog is rebuilt) and its number there.
type BlockKey = (PackId, u32);

/// Room for open blocks, in plain bytes.
struct Budget {
    free: Mutex<u64>,
    freed: Condvar,
    /// Memory of closed blocks.
    buffers: Buffers,
}

impl Budget {
    fn try_take(&self, bytes: u64) -> bool {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = *free >= bytes;
        if fits {
            *free -= bytes;
        }
        fits
    }

    /// Waits a moment for somebody to give room back.
    fn wait(&self) {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        // Safe to ignore because the caller looks again whatever the outcome.
        let _ = self.freed.wait_timeout(free, Duration::from_millis(20));
    }

    fn give(&self, bytes: u64) {
        *self.free.lock().unwrap_or_else(PoisonError::into_inner) += bytes;
        self.freed.notify_all();
    }
}

/// A block that is open or will be. Its room is given back when the last holder drops it.
pub(super) struct Slot {
    outcome: OnceLock<Result<Vec<u8>, Arc<RepoError>>>,
    budget: Arc<Budget>,
    bytes: u64,
}

impl Slot {
    /// Waits until the block is open.
    pub(super) fn wait(&self) -> &Result<Vec<u8>, Arc<RepoError>> {
        self.outcome.wait()
    }

    /// Its plain bytes, if it is open by now.
    pub(super) fn opened(&self) -> Option<&[u8]> {
        self.outcome.get().and_then(|outcome| outcome.as_deref().ok())
    }

    fn set(&self, outcome: Result<Vec<u8>, Arc<RepoError>>) {
        // Safe to ignore because a slot that is set already keeps its first outcome.
        let _ = self.outcome.set(outcome);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(Ok(plain)) = self.outcome.take() {
            self.budget.buffers.give(plain);
        }
        self.budget.give(self.bytes);
    }
}

/// Consecutive blocks of a pack to open. Slots never stay unset, whatever happens to the job.
pub(super) struct Job {
    pack: Arc<PackRow>,
    blocks: Range<u32>,
    slots: Vec<Arc<Slot>>,
}

impl Drop for Job {
    fn drop(&mut self) {
        for slot in &self.slots {
            slot.set(Err(Arc::new(RepoError::Stopped)));
        }
    }
}

/// A chunk that a segment takes bytes from, and the block that it lies in.
pub(super) struct Held {
    pub chunk: ChunkId,
    pub pack: PackId,
    /// Where the chunk begins in the block's plain bytes.
    pub start: u32,
    pub len: u32,
    pub slot: Arc<Slot>,
}

/// A piece of the stream: a byte range of one of the segment's chunks. There may be thousands in a MiB, so they are
/// small.
#[derive(Clone, Copy)]
pub(super) struct Piece {
    pub held: u32,
    pub offset: u32,
    pub len: u32,
}

/// Consecutive pieces.
#[derive(Default)]
pub(super) struct Segment {
    pub held: Vec<Held>,
    pub pieces: Vec<Piece>,
    bytes: u64,
}

impl Segment {
    /// Bytes of the stream that it stands for.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Each piece with its chunk, in stream order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Held, Piece)> {
        self.held_by(&self.pieces)
    }

    /// Each of some of its pieces with its chunk.
    pub(super) fn held_by<'a>(&'a self, pieces: &'a [Piece]) -> impl Iterator<Item = (&'a Held, Piece)> {
        pieces.iter().filter_map(|piece| Some((self.held.get(piece.held as usize)?, *piece)))
    }
}

/// What the planner hands on; an error where the recipe cannot be followed any further.
pub(super) type Planned = Result<Segment, RepoError>;

/// Where a chunk stands in the list of a segment.
#[derive(Clone, Copy)]
struct Recent {
    chunk: ChunkId,
    segment: u64,
    held: u32,
}

/// Opens blocks until there are no more jobs.
pub(super) fn run_jobs(blocks: &BlockReader, turns: &Turns, jobs: &Receiver<Job>) {
    loop {
        let mut turn = turns.next();
        let Ok(job) = jobs.recv() else { break };
        let first = job.blocks.start;
        let budget = job.slots.first().map(|slot| Arc::clone(&slot.budget));
        let mut buffer =
            |bytes: usize| budget.as_ref().map(|budget| budget.buffers.take(bytes)).unwrap_or_default();
        let (row, run) = (&job.pack, job.blocks.clone());
        let outcome =
            blocks.open_run_into(row, run, &mut turn.workspace, &mut buffer, &mut |number, _, plain| {
                if let Some(slot) = job.slots.get((number - first) as usize) {
                    slot.set(Ok(plain));
                }
            });
        if let Err(error) = outcome {
            let error = Arc::new(error);
            job.slots.iter().for_each(|slot| slot.set(Err(Arc::clone(&error))));
        }
    }
}

pub(super) struct Planner {
    locator: Arc<Mutex<Locator>>,
    settings: ReadSettings,
    budget: Arc<Budget>,
    jobs: Sender<Job>,
    segments: Sender<Planned>,
    stop: Cancel,
    /// Open blocks, and when each was wanted last.
    open: OpenBlocks,
    passed: Passed,
    closed: Closed,
    /// Plain bytes of open blocks that there is room for.
    open_bytes: u64,
    /// By how many more blocks were opened for the third time or more often for want of room than for the first time.
    opened_again: u32,
    tick: u64,
    segment: Segment,
    /// Number of the present segment.
    segment_number: u64,
    recent: Vec<Recent>,
    /// Blocks gathered for one read.
    run: Option<Job>,
    run_bytes: u64,
    stats: ReadStats,
}

impl Planner {
    pub(super) fn new(
        locator: Arc<Mutex<Locator>>,
        settings: ReadSettings,
        jobs: Sender<Job>,
        segments: Sender<Planned>,
        stop: Cancel,
    ) -> Self {
        // Less would not hold one block of the largest kind.
        let open_bytes = settings.open_bytes.max(8 << 20);
        Self {
            locator,
            settings,
            budget: Arc::new(Budget {
                free: Mutex::new(open_bytes),
                freed: Condvar::new(),
                buffers: Buffers::default(),
            }),
            jobs,
            segments,
            stop,
            open: HashMap::new(),
            passed: Passed::default(),
            closed: Closed::default(),
            open_bytes,
            opened_again: 0,
            tick: 0,
            segment: Segment::default(),
            segment_number: 1,
            recent: vec![Recent { chunk: ChunkId::from_bytes([0; 32]), segment: 0, held: 0 }; RECENT],
            run: None,
            run_bytes: 0,
            stats: ReadStats::default(),
        }
    }

    /// Plans `range` of the stream below `root` and hands on every segment of it.
    ///
    /// # Errors
    /// When the recipe cannot be followed, and when nobody takes the segments any more. What was handed on before is
    /// good.
    pub(super) fn run(
        &mut self,
        walker: &mut RecipeWalker,
        root: &NodeId,
        range: Range<u64>,
    ) -> Result<(), RepoError> {
        let walked = walker.walk(root, range, |extent| self.add(extent));
        self.end(walked)
    }

    /// Hands on what is left of a range whose extents were added; `walked` tells whether that went well.
    ///
    /// # Errors
    /// That of `walked`, and when nobody takes the segments any more.
    pub(super) fn end(&mut self, walked: Result<(), RepoError>) -> Result<(), RepoError> {
        self.send_run()?;
        self.send_segment()?;
        walked
    }

    /// Hands on an error in the place of the segments that cannot be.
    ///
    /// # Errors
    /// When nobody takes it.
    pub(super) fn fail(&mut self, error: RepoError) -> Result<(), RepoError> {
        self.send(Err(error))
    }

    /// What was planned so far.
    pub(super) fn stats(&self) -> ReadStats {
        self.stats
    }

    /// Plans the next extent.
    ///
    /// # Errors
    /// When its chunk is nowhere or too short, and when nobody takes the segments any more.
    pub(super) fn add(&mut self, extent: Extent) -> Result<(), RepoError> {
        let word = extent.chunk.as_bytes().first_chunk::<8>().map_or(0, |word| u64::from_le_bytes(*word));
        let place = word as usize % RECENT;
        let known = self.recent.get(place);
        let known =
            known.filter(|recent| recent.segment == self.segment_number && recent.chunk == extent.chunk);
        let held = match known {
            Some(recent) => recent.held,
            None => self.hold(extent.chunk, place)?,
        };
        let len = self.segment.held.get(held as usize).map_or(0, |held| held.len);
        if u64::from(extent.offset) + u64::from(extent.len) > u64::from(len) {
            return Err(RepoError::Inconsistent {
                object: format!("chunk {}", extent.chunk.short()),
                what: "the recipe wants bytes beyond its end".to_owned(),
            });
        }
        self.segment.bytes += u64::from(extent.len);
        self.stats.bytes += u64::from(extent.len);
        self.segment.pieces.push(Piece { held, offset: extent.offset, len: extent.len });
        let full = self.segment.bytes >= SEGMENT_BYTES || self.segment.pieces.len() >= SEGMENT_PIECES;
        if full { self.send_segment() } else { Ok(()) }
    }

    /// Adds a chunk to those of the present segment; its number there.
    fn hold(&mut self, chunk: ChunkId, place: usize) -> Result<u32, RepoError> {
        let location = {
            let mut locator = self.locator.lock().unwrap_or_else(PoisonError::into_inner);
            locator.data(chunk.as_bytes())?
        };
        // Making room may send the present segment away: the number counts from then on.
        let slot = self.slot(&location)?;
        let held = self.segment.held.len() as u32;
        self.segment.held.push(Held {
            chunk,
            pack: location.pack.id,
            start: location.offset,
            len: location.len,
            slot,
        });
        if let Some(recent) = self.recent.get_mut(place) {
            *recent = Recent { chunk, segment: self.segment_number, held };
        }
        Ok(held)
    }

    fn slot(&mut self, location: &Location) -> Result<Arc<Slot>, RepoError> {
        self.tick += 1;
        let key = (location.pack.id, location.block);
        if let Some((slot, used)) = self.open.get_mut(&key) {
            *used = self.tick;
            return Ok(Arc::clone(slot));
        }
        let entry = location.pack.block(location.block).copied();
        let entry = entry.ok_or_else(|| RepoError::Inconsistent {
            object: format!("pack {}", location.pack.id.short()),
            what: "the catalog names a block that it does not have".to_owned(),
        })?;
        let bytes = u64::from(entry.plain_bytes);
        match self.closed.why(&key) {
            Some(Why::Passed) => self.passed.wanted_again(),
            // Once may be for a jump back, on which much room would be spent in vain.
            Some(Why::NoRoom { times: 2.. }) => self.give_more_room(),
            Some(Why::NoRoom { .. }) => {}
            None => self.opened_again = self.opened_again.saturating_sub(1),
        }
        // Those that a segment under way still needs close when it is done.
        self.passed.open(key, bytes, self.tick, &mut self.open, &mut self.closed);
        self.make_room(bytes)?;
        let slot = Arc::new(Slot { outcome: OnceLock::new(), budget: Arc::clone(&self.budget), bytes });
        self.open.insert(key, (Arc::clone(&slot), self.tick));
        self.stats.blocks_opened += 1;
        self.stats.bytes_fetched += u64::from(entry.stored_bytes);
        self.add_to_run(&location.pack, location.block, u64::from(entry.stored_bytes), Arc::clone(&slot))?;
        Ok(slot)
    }

    fn add_to_run(
        &mut self,
        pack: &Arc<PackRow>,
        block: u32,
        bytes: u64,
        slot: Arc<Slot>,
    ) -> Result<(), RepoError> {
        if let Some(run) = &mut self.run
            && run.pack.id == pack.id
            && run.blocks.end == block
            && self.run_bytes + bytes <= self.settings.run_bytes
        {
            run.blocks.end += 1;
            run.slots.push(slot);
            self.run_bytes += bytes;
            return Ok(());
        }
        self.send_run()?;
        self.run = Some(Job { pack: Arc::clone(pack), blocks: block..block + 1, slots: vec![slot] });
        self.run_bytes = bytes;
        if bytes >= self.settings.run_bytes { self.send_run() } else { Ok(()) }
    }

    fn make_room(&mut self, bytes: u64) -> Result<(), RepoError> {
        while !self.budget.try_take(bytes) {
            if self.stop.is_cancelled() {
                return Err(RepoError::Stopped);
            }
            // Blocks that a segment under way still needs give no room when they leave the list; others do.
            let idle = self.open.iter().filter(|(_, (slot, _))| Arc::strong_count(slot) == 1);
            let oldest = idle.min_by_key(|(_, (_, used))| *used).map(|(key, _)| *key);
            match oldest {
                Some(key) => {
                    self.open.remove(&key);
                    let times = match self.closed.why(&key) {
                        Some(Why::NoRoom { times }) => times.saturating_add(1),
                        _ => 1,
                    };
                    self.closed.add(key, Why::NoRoom { times });
                }
                None => {
                    // Everything open is wanted: let the writer have all that is planned, and wait for it.
                    self.send_run()?;
                    self.send_segment()?;
                    self.budget.wait();
                }
            }
        }
        Ok(())
    }

    /// A block is wanted again and again that is closed for others: with a little more room it would have been open.
    fn give_more_room(&mut self) {
        self.opened_again += 1;
        if self.opened_again < OPENED_AGAIN_MAX {
            return;
        }
        self.opened_again = 0;
        let more = (self.open_bytes / 4).min(self.settings.open_bytes_max.saturating_sub(self.open_bytes));
        self.open_bytes += more;
        self.budget.give(more);
    }

    fn send_run(&mut self) -> Result<(), RepoError> {
        match self.run.take() {
            Some(run) => self.jobs.send(run).map_err(|_| RepoError::Stopped),
            None => Ok(()),
        }
    }

    fn send_segment(&mut self) -> Result<(), RepoError> {
        if self.segment.pieces.is_empty() {
            return Ok(());
        }
        self.segment_number += 1;
        let segment = std::mem::take(&mut self.segment);
        self.send(Ok(segment))
    }

    fn send(&mut self, planned: Planned) -> Result<(), RepoError> {
        match self.segments.send_timeout(planned, WRITER_WAIT) {
            Ok(()) => Ok(()),
            Err(SendTimeoutError::Timeout(planned)) => {
                // The writer may be waiting for a block of the run that is still being gathered.
                self.send_run()?;
                self.segments.send(planned).map_err(|_| RepoError::Stopped)
            }
            Err(SendTimeoutError::Disconnected(_)) => Err(RepoError::Stopped),
        }
    }
}

/// Blocks of which most likely nothing more is wanted: a restore goes through the packs of each day of origin from
/// front to back, so that a block is done with when a later one of its pack is opened. To close it then, and not only
/// when there is no room left, spares fresh memory. So much is kept for what goes back a little; where a stream goes
/// back further, that is seen, and more is kept.
struct Passed {
    packs: HashMap<PackId, ReadPack>,
    /// Blocks passed, the first one in front: their plain bytes, and when that was.
    queue: VecDeque<(BlockKey, u64, u64)>,
    /// The sum of their plain bytes.
    bytes: u64,
    bytes_max: u64,
    /// Blocks that were wanted again after all.
    again: u32,
}

/// How a pack is read.
#[derive(Default)]
struct ReadPack {
    /// The block opened last, with its plain bytes.
    last: Option<(u32, u64)>,
    /// Blocks opened behind another one, and how often that was one before the one opened last.
    opened: u32,
    times_back: u32,
}

impl ReadPack {
    fn is_mixed(&self) -> bool {
        self.times_back >= TIMES_BACK_MAX && self.times_back * 100 >= self.opened * PERCENT_BACK_MAX
    }
}

impl Default for Passed {
    fn default() -> Self {
        Self { packs: HashMap::new(), queue: VecDeque::new(), bytes: 0, bytes_max: PASSED_BYTES, again: 0 }
    }
}

impl Passed {
    /// A block is wanted again that was closed.
    fn wanted_again(&mut self) {
        self.again += 1;
        if self.again.is_multiple_of(PASSED_AGAIN_MAX) {
            self.bytes_max = self.bytes_max.saturating_mul(2);
        }
    }

    /// Takes note that the block is about to be opened; takes those out of `open` that can be closed.
    fn open(&mut self, key: BlockKey, bytes: u64, now: u64, open: &mut OpenBlocks, closed: &mut Closed) {
        let (pack, number) = key;
        let read = self.packs.entry(pack).or_default();
        if let Some((before, before_bytes)) = read.last.replace((number, bytes)) {
            let was_mixed = read.is_mixed();
            read.opened += 1;
            read.times_back += u32::from(number < before);
            if !read.is_mixed() {
                self.queue.push_back(((pack, before), before_bytes, now));
                self.bytes += before_bytes;
            } else if !was_mixed {
                self.queue.retain(|(key, bytes, _)| {
                    let stays = key.0 != pack;
                    self.bytes -= if stays { 0 } else { *bytes };
                    stays
                });
            }
        }
        for _ in 0..self.queue.len() {
            if self.bytes <= self.bytes_max {
                break;
            }
            let Some((key, bytes, since)) = self.queue.pop_front() else { break };
            // The gathered rows of a day lie behind blocks that came up while they were gathered.
            if open.get(&key).is_some_and(|(_, used)| *used > since) {
                self.queue.push_back((key, bytes, now));
                continue;
            }
            self.bytes -= bytes;
            open.remove(&key);
            closed.add(key, Why::Passed);
        }
    }
}

/// Blocks closed lately.
#[derive(Default)]
struct Closed {
    /// The first one in front.
    order: VecDeque<BlockKey>,
    why: HashMap<BlockKey, Why>,
}

/// Why a block was closed.
#[derive(Clone, Copy)]
enum Why {
    Passed,
    /// So often by now.
    NoRoom {
        times: u32,
    },
}

impl Closed {
    fn why(&self, key: &BlockKey) -> Option<Why> {
        self.why.get(key).copied()
    }

    fn add(&mut self, key: BlockKey, why: Why) {
        if self.why.insert(key, why).is_some() {
            return;
        }
        if self.order.len() >= CLOSED_KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.why.remove(&oldest);
        }
        self.order.push_back(key);
    }
}

/// An error that several pieces share, as one of its own.
pub(super) fn unshare(error: &Arc<RepoError>) -> RepoError {
    match error.as_ref() {
        RepoError::Missing { object } => RepoError::Missing { object: object.clone() },
        RepoError::Damaged { object, source } => {
            RepoError::Inconsistent { object: object.clone(), what: format!("it is damaged: {source}") }
        }
        RepoError::Inconsistent { object, what } => {
            RepoError::Inconsistent { object: object.clone(), what: what.clone() }
        }
        RepoError::Crypto(crate::vault::crypto::CryptoError::RoleTooWeak { needed }) => {
            crate::vault::crypto::CryptoError::RoleTooWeak { needed }.into()
        }
        RepoError::Stopped => RepoError::Stopped,
        RepoError::Storage(error) => RepoError::Storage(crate::storage::StorageError {
            operation: error.operation,
            object: error.object.clone(),
            kind: error.kind,
            retryable: error.retryable,
            wait: error.wait,
            source: error.source.to_string().into(),
        }),
        other => RepoError::Inconsistent { object: "a block".to_owned(), what: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks of a MiB of one pack that are open after they were wanted in this order.
    fn open_after(order: impl Iterator<Item = u32>) -> usize {
        let budget =
            Arc::new(Budget { free: Mutex::new(0), freed: Condvar::new(), buffers: Buffers::default() });
        let (mut passed, mut closed) = (Passed::default(), Closed::default());
        let mut open = OpenBlocks::new();
        for (tick, number) in order.enumerate() {
            let (key, bytes) = ((PackId::from_bytes([1; 32]), number), 1 << 20);
            passed.open(key, bytes, tick as u64, &mut open, &mut closed);
            let slot = Slot { outcome: OnceLock::new(), budget: Arc::clone(&budget), bytes };
            open.insert(key, (Arc::new(slot), tick as u64));
        }
        open.len()
    }

    #[test]
    fn given_a_pack_of_one_day_then_what_was_passed_is_closed_also_where_gathered_rows_end() {
        let kept = (PASSED_BYTES >> 20) as usize + 1;
        assert_eq!(open_after(0..100), kept);
        // Where each of ten tables ends, its gathered rows come first.
        let tables = (0..10).flat_map(|table| [9, 0, 1, 2, 3, 4, 5, 6, 7, 8].map(|block| table * 10 + block));
        assert_eq!(open_after(tables), kept);
    }

    #[test]
    fn given_a_pack_of_two_days_then_nothing_of_it_counts_as_passed() {
        assert!(open_after((0..100).flat_map(|block| [block, 1000 + block])) >= 195);
    }
}
