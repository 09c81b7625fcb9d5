//! What restoring a stream would read, known from its recipe and the catalog alone.

use super::locate::Locator;
use super::recipe::{Extent, RecipeWalker};
use crate::id::{ChunkId, NodeId};
use crate::repo::RepoError;
use crate::repo::catalog::PackRow;
use crate::snapshot::Stream;
use crate::snapshot::recipe::Base;
use hashbrown::HashMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Chunks found again without a look at the catalog; a power of two.
const RECENT: usize = 1024;
/// Whole chunks that are remembered with their place in the stream, 24 bytes each.
const WHOLE_MAX: usize = 1 << 19;
/// A part of the stream that is worth a thread.
const PART_BYTES_MIN: u64 = 32 << 20;
/// Each thread has a walker of its own, which may keep some 30 MiB.
const THREADS_MAX: usize = 4;

/// A block that a stream takes bytes from.
#[derive(Debug, Clone, Copy)]
pub struct BlockUse {
    /// Plain bytes of it that the stream takes; a byte taken twice counts twice.
    pub live: u64,
    /// All of its plain bytes.
    pub plain: u32,
    /// Bytes that it takes in its pack.
    pub stored: u32,
}

impl BlockUse {
    /// Whether at least half of it is wanted.
    pub fn is_mostly_live(&self) -> bool {
        self.live * 2 >= u64::from(self.plain)
    }
}

/// What a recipe comes down to.
#[derive(Debug, Default)]
pub struct Survey {
    /// Bytes of the stream.
    pub bytes: u64,
    /// Ranges of chunks that it is made of.
    pub extents: u64,
    /// What its recipe rests on.
    pub base: Option<Base>,
    /// Stored bytes of all blocks that a restore opens.
    pub stored_read: u64,
    /// What the stream's own bytes take of them: about what the stream would take if it were stored alone.
    pub stored_own: u64,
    /// The blocks, by number of the pack in the catalog and of the block in the pack.
    pub blocks: HashMap<(i64, u32), BlockUse>,
    /// Chunks that the stream holds whole: where they begin in it. The first half million.
    pub whole: Vec<(u64, ChunkId)>,
}

impl Survey {
    /// Bytes that a restore reads for each byte that the stream itself takes; 1 for one stored alone.
    pub fn read_amplification(&self) -> f64 {
        if self.stored_own == 0 { 1.0 } else { self.stored_read as f64 / self.stored_own as f64 }
    }

    /// Walks the whole recipe of `stream`, parts of it side by side in up to `threads` threads. No data is read. Memory: 40 bytes
    /// a block, 40 a whole chunk, and a walker for each of at most four threads.
    ///
    /// # Errors
    /// When a node is lost or damaged, or a chunk is nowhere.
    pub fn of(
        stream: &Stream,
        walker: &mut RecipeWalker,
        locator: &Mutex<Locator>,
        threads: usize,
    ) -> Result<Self, RepoError> {
        let (bytes, base) = walker.root(&stream.root)?;
        if bytes != stream.bytes {
            let what = format!("its recipe makes {bytes} bytes, and it should have {}", stream.bytes);
            return Err(RepoError::Inconsistent { object: format!("stream {}", stream.name), what });
        }
        let parts = (bytes / PART_BYTES_MIN).clamp(1, threads.clamp(1, THREADS_MAX) as u64);
        let start_of = |part: u64| bytes / parts * part + (bytes % parts) * part / parts;
        let mut counted = std::thread::scope(|scope| {
            let others: Vec<_> = (1..parts)
                .map(|part| {
                    let (mut walker, range) = (walker.another(), start_of(part)..start_of(part + 1));
                    let thread = std::thread::Builder::new().name("survey".to_owned());
                    let count = move || Part::of(&stream.root, range, &mut walker, locator);
                    thread.spawn_scoped(scope, count).map_err(|source| RepoError::Thread { source })
                })
                .collect();
            let mut counted = Part::of(&stream.root, 0..start_of(1), walker, locator)?;
            for other in others {
                counted.append(other?.join().unwrap_or(Err(RepoError::Stopped))?);
            }
            Ok::<_, RepoError>(counted)
        })?;
        counted.whole.truncate(WHOLE_MAX);
        let Part { extents, counter, whole, .. } = counted;
        let Counter { numbers, uses, .. } = counter;
        let mut survey = Self { bytes, base, extents, whole, ..Self::default() };
        survey.blocks = numbers.into_iter().filter_map(|(key, at)| Some((key, *uses.get(at)?))).collect();
        for block in survey.blocks.values() {
            let plain = u64::from(block.plain).max(1);
            survey.stored_read += u64::from(block.stored);
            survey.stored_own += u64::from(block.stored) * block.live.min(plain) / plain;
        }
        Ok(survey)
    }
}

/// What a range of the stream comes down to.
#[derive(Default)]
struct Part {
    extents: u64,
    counter: Counter,
    whole: Vec<(u64, ChunkId)>,
    ends: Option<(Extent, Extent)>,
}

impl Part {
    fn of(
        root: &NodeId,
        range: Range<u64>,
        walker: &mut RecipeWalker,
        locator: &Mutex<Locator>,
    ) -> Result<Self, RepoError> {
        let mut part = Self::default();
        let mut offset = range.start;
        walker.walk(root, range, |extent| {
            let chunk_bytes = part.counter.count(extent, locator)?;
            if extent.offset == 0 && extent.len == chunk_bytes && part.whole.len() < WHOLE_MAX {
                part.whole.push((offset, extent.chunk));
            }
            let first = part.ends.map_or(extent, |(first, _)| first);
            part.ends = Some((first, extent));
            part.extents += 1;
            offset += u64::from(extent.len);
            Ok(())
        })?;
        Ok(part)
    }

    /// Takes in what follows. A chunk that lies across the joint is one extent, though it is not remembered as a whole one.
    fn append(&mut self, next: Self) {
        if let (Some((_, last)), Some((first, _))) = (self.ends, next.ends)
            && last.chunk == first.chunk
            && last.offset.checked_add(last.len) == Some(first.offset)
        {
            self.extents -= 1;
        }
        self.extents += next.extents;
        self.whole.extend(next.whole);
        self.ends =
            next.ends.map(|(_, last)| (self.ends.map_or(last, |(first, _)| first), last)).or(self.ends);
        self.counter.append(&next.counter);
    }
}

/// A chunk met a moment ago: its length, and where its block's use is counted.
#[derive(Clone, Copy)]
struct Recent {
    chunk: ChunkId,
    bytes: u32,
    at: usize,
}

struct Counter {
    recent: Vec<Option<Recent>>,
    numbers: HashMap<(i64, u32), usize>,
    uses: Vec<BlockUse>,
}

impl Default for Counter {
    fn default() -> Self {
        Self { recent: vec![None; RECENT], numbers: HashMap::new(), uses: Vec::new() }
    }
}

impl Counter {
    /// Counts the extent; the length of its chunk.
    fn count(&mut self, extent: Extent, locator: &Mutex<Locator>) -> Result<u32, RepoError> {
        let word = extent.chunk.as_bytes().first_chunk::<8>().map_or(0, |word| u64::from_le_bytes(*word));
        let place = word as usize % RECENT;
        let known = self.recent.get(place).copied().flatten().filter(|recent| recent.chunk == extent.chunk);
        let recent = match known {
            Some(recent) => recent,
            None => {
                let recent = self.find(extent.chunk, locator)?;
                if let Some(kept) = self.recent.get_mut(place) {
                    *kept = Some(recent);
                }
                recent
            }
        };
        if let Some(block) = self.uses.get_mut(recent.at) {
            block.live += u64::from(extent.len);
        }
        Ok(recent.bytes)
    }

    /// Adds what another one counted.
    fn append(&mut self, other: &Self) {
        for (key, at) in &other.numbers {
            let Some(block) = other.uses.get(*at) else { continue };
            let at = *self.numbers.entry(*key).or_insert_with(|| {
                self.uses.push(BlockUse { live: 0, ..*block });
                self.uses.len() - 1
            });
            if let Some(own) = self.uses.get_mut(at) {
                own.live += block.live;
            }
        }
    }

    fn find(&mut self, chunk: ChunkId, locator: &Mutex<Locator>) -> Result<Recent, RepoError> {
        let location = locator.lock().unwrap_or_else(PoisonError::into_inner).data(chunk.as_bytes())?;
        let pack: &PackRow = &location.pack;
        let Self { numbers, uses, .. } = self;
        let at = *numbers.entry((pack.number, location.block)).or_insert_with(|| {
            let (plain, stored) =
                pack.block(location.block).map_or((0, 0), |block| (block.plain_bytes, block.stored_bytes));
            uses.push(BlockUse { live: 0, plain, stored });
            uses.len() - 1
        });
        Ok(Recent { chunk, bytes: location.len, at })
    }
}
