//! Which blocks a restore wants next, and the bound on how many are open.

use super::blocks::{BlockReader, Workspace};
use super::locate::Locator;
use super::recipe::Extent;
use super::{ReadSettings, ReadStats};
use crate::event::Cancel;
use crate::id::PackId;
use crate::repo::RepoError;
use crate::repo::catalog::{Location, PackRow};
use crossbeam_channel::{Receiver, Sender, TrySendError};
use hashbrown::HashMap;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// Stream bytes that a segment holds at most.
const SEGMENT_BYTES: u64 = 1 << 20;
/// Pieces that a segment holds at most: a recipe may be made of extents of one byte each.
const SEGMENT_PIECES: usize = 4096;

/// Room for open blocks, in plain bytes.
struct Budget {
    free: Mutex<u64>,
    freed: Condvar,
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
    pub fn wait(&self) -> &Result<Vec<u8>, Arc<RepoError>> {
        self.outcome.wait()
    }

    fn set(&self, outcome: Result<Vec<u8>, Arc<RepoError>>) {
        // Safe to ignore because a slot that is set already keeps its first outcome.
        let _ = self.outcome.set(outcome);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
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

/// A piece of the stream and the block that it lies in.
#[derive(Clone)]
pub(super) struct Piece {
    pub extent: Extent,
    pub pack: PackId,
    pub chunk_offset: u32,
    pub slot: Arc<Slot>,
}

/// Consecutive pieces.
#[derive(Default)]
pub(super) struct Segment {
    pub pieces: Vec<Piece>,
    bytes: u64,
}

/// Opens blocks until there are no more jobs.
pub(super) fn run_jobs(blocks: &BlockReader, jobs: &Receiver<Job>) {
    let mut workspace = Workspace::default();
    for job in jobs {
        let first = job.blocks.start;
        let outcome = blocks.open_run(&job.pack, job.blocks.clone(), &mut workspace, &mut |number, plain| {
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
    segments: Sender<Segment>,
    stop: Cancel,
    /// Open blocks, and when each was wanted last.
    open: HashMap<(i64, u32), (Arc<Slot>, u64)>,
    tick: u64,
    segment: Segment,
    /// Blocks gathered for one read.
    run: Option<Job>,
    run_bytes: u64,
    stats: ReadStats,
}

impl Planner {
    pub fn new(
        locator: Arc<Mutex<Locator>>,
        settings: ReadSettings,
        jobs: Sender<Job>,
        segments: Sender<Segment>,
        stop: Cancel,
    ) -> Self {
        // Less would not hold one block of the largest kind.
        let free = settings.open_bytes.max(8 << 20);
        Self {
            locator,
            settings,
            budget: Arc::new(Budget { free: Mutex::new(free), freed: Condvar::new() }),
            jobs,
            segments,
            stop,
            open: HashMap::new(),
            tick: 0,
            segment: Segment::default(),
            run: None,
            run_bytes: 0,
            stats: ReadStats::default(),
        }
    }

    /// Plans all extents that `walk` gives.
    pub fn run(
        &mut self,
        walk: impl FnOnce(&mut dyn FnMut(Extent) -> Result<(), RepoError>) -> Result<(), RepoError>,
    ) -> Result<ReadStats, RepoError> {
        walk(&mut |extent| self.add(extent))?;
        self.send_run()?;
        self.send_segment()?;
        Ok(self.stats)
    }

    fn add(&mut self, extent: Extent) -> Result<(), RepoError> {
        let location = {
            let mut locator = self.locator.lock().unwrap_or_else(PoisonError::into_inner);
            locator.data(extent.chunk.as_bytes())?
        };
        if u64::from(extent.offset) + u64::from(extent.len) > u64::from(location.len) {
            return Err(RepoError::Inconsistent {
                object: format!("chunk {}", extent.chunk.short()),
                what: "the recipe wants bytes beyond its end".to_owned(),
            });
        }
        let slot = self.slot(&location)?;
        self.segment.bytes += u64::from(extent.len);
        self.stats.bytes += u64::from(extent.len);
        self.segment.pieces.push(Piece {
            extent,
            pack: location.pack.id,
            chunk_offset: location.offset,
            slot,
        });
        let full = self.segment.bytes >= SEGMENT_BYTES || self.segment.pieces.len() >= SEGMENT_PIECES;
        if full { self.send_segment() } else { Ok(()) }
    }

    fn slot(&mut self, location: &Location) -> Result<Arc<Slot>, RepoError> {
        self.tick += 1;
        let key = (location.pack.number, location.block);
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

    fn send_run(&mut self) -> Result<(), RepoError> {
        match self.run.take() {
            Some(run) => self.jobs.send(run).map_err(|_| RepoError::Stopped),
            None => Ok(()),
        }
    }

    fn send_segment(&mut self) -> Result<(), RepoError> {
        let segment = std::mem::take(&mut self.segment);
        if segment.pieces.is_empty() {
            return Ok(());
        }
        match self.segments.try_send(segment) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(segment)) => {
                // The writer may be waiting for a block of the run that is still being gathered.
                self.send_run()?;
                self.segments.send(segment).map_err(|_| RepoError::Stopped)
            }
            Err(TrySendError::Disconnected(_)) => Err(RepoError::Stopped),
        }
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
        RepoError::Crypto(crate::crypto::CryptoError::RoleTooWeak { needed }) => {
            crate::crypto::CryptoError::RoleTooWeak { needed }.into()
        }
        RepoError::Stopped => RepoError::Stopped,
        RepoError::Storage(error) => RepoError::Storage(crate::storage::StorageError {
            operation: error.operation,
            object: error.object.clone(),
            kind: error.kind,
            retryable: error.retryable,
            source: error.source.to_string().into(),
        }),
        other => RepoError::Inconsistent { object: "a block".to_owned(), what: other.to_string() },
    }
}
