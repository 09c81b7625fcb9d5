//! What restoring a stream would read, known from its recipe and the catalog alone.

use super::locate::Locator;
use super::outline::Outline;
use super::recipe::{Extent, RecipeWalker};
use crate::base::id::{ChunkId, NodeId};
use crate::vault::RepoError;
use crate::vault::catalog::PackRow;
use crate::vault::snapshot::Stream;
use crate::vault::snapshot::recipe::Base;
use hashbrown::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Chunks found again without a look at the catalog; a power of two.
const RECENT: usize = 1024;
/// Whole chunks that are remembered with their place in the stream, 24 bytes each.
const WHOLE_MAX: usize = 1 << 19;
/// Memory of the outline that a survey keeps at most.
const OUTLINE_BYTES_MAX: usize = 24 << 20;
/// Blocks are wanted again from one such stretch of the stream to the next …
const STRETCH_BYTES: u64 = 4 << 20;
/// … and can stay open for that, if they have no more plain bytes than this: room for a block of gathered rows of each
/// of some 250 backups.
const ROOM_BYTES: u64 = 64 << 20;
/// A block that more stretches take bytes from lies scattered over the stream.
const STRETCHES_NEAR: u32 = 4;
/// A part of the stream that is worth a thread.
const PART_BYTES_MIN: u64 = 16 << 20;
const PARTS_MAX: u64 = 32;
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
    /// How many stretches of the stream, of 4 MiB each, take bytes from it.
    pub stretches: u32,
}

/// What a recipe comes down to.
#[derive(Debug, Default)]
pub struct ReadCost {
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
    /// Plain bytes that a restore opens again, for want of room to keep their blocks open.
    pub reopened: u64,
    /// The blocks, by number of the pack in the catalog and of the block in the pack.
    pub blocks: HashMap<(i64, u32), BlockUse>,
    /// Chunks that the stream holds whole: where they begin in it. Half a million at most, an even share of each part
    /// of the stream.
    pub whole: Vec<(u64, ChunkId)>,
    /// Packs of it that would have to be fetched first. Whoever has a pack cache says so; 0 otherwise.
    pub fetches: u64,
}

impl ReadCost {
    /// Bytes that a restore reads for each byte that the stream itself takes; 1 for one stored alone.
    pub fn read_amplification(&self) -> f64 {
        if self.stored_own == 0 { 1.0 } else { self.stored_read as f64 / self.stored_own as f64 }
    }

    /// How often a restore opens a block, on average.
    pub fn opens(&self) -> f64 {
        let plain: u64 = self.blocks.values().map(|block| u64::from(block.plain)).sum();
        if plain == 0 { 1.0 } else { (plain + self.reopened) as f64 / plain as f64 }
    }

    /// Whether a stream that is stored afresh after this one may share a block with it: at least half of it is wanted,
    /// and all in one place if there are too many that are wanted everywhere.
    pub fn is_sound(&self, block: &BlockUse) -> bool {
        let is_mostly_live = block.live * 2 >= u64::from(block.plain);
        is_mostly_live && (self.reopened == 0 || block.stretches <= STRETCHES_NEAR)
    }

    /// Walks the whole recipe of `stream`, parts of it side by side in up to `threads` threads. No data is read.
    /// Memory: 40 bytes a block, 40 a whole chunk, and a walker for each of at most four threads.
    ///
    /// # Errors
    /// When a node is lost or damaged, or a chunk is nowhere.
    pub fn of(
        stream: &Stream,
        walker: &mut RecipeWalker,
        locator: &Mutex<Locator>,
        threads: usize,
    ) -> Result<Self, RepoError> {
        Self::take(stream, walker, locator, threads, 0).map(|(survey, _)| survey)
    }

    /// As [`ReadCost::of`], with the extents, unless they would take more than 24 MiB: a walk over them costs nothing.
    ///
    /// # Errors
    /// As [`ReadCost::of`].
    pub fn outlined(
        stream: &Stream,
        walker: &mut RecipeWalker,
        locator: &Mutex<Locator>,
        threads: usize,
    ) -> Result<(Self, Option<Outline>), RepoError> {
        Self::take(stream, walker, locator, threads, OUTLINE_BYTES_MAX)
    }

    fn take(
        stream: &Stream,
        walker: &mut RecipeWalker,
        locator: &Mutex<Locator>,
        threads: usize,
        outline_bytes: usize,
    ) -> Result<(Self, Option<Outline>), RepoError> {
        let (bytes, base) = walker.root(&stream.root)?;
        if bytes != stream.bytes {
            let what = format!("its recipe makes {bytes} bytes, and it should have {}", stream.bytes);
            return Err(RepoError::Inconsistent { object: format!("stream {}", stream.name), what });
        }
        let parts = (bytes / PART_BYTES_MIN).clamp(1, PARTS_MAX);
        let threads = parts.min(threads.clamp(1, THREADS_MAX) as u64);
        let start_of = |part: u64| bytes / parts * part + (bytes % parts) * part / parts;
        let bounds =
            Bounds { outline_bytes: outline_bytes / parts as usize, whole: WHOLE_MAX / parts as usize };
        let next = AtomicU64::new(0);
        // Where the recipe is fragmented a part takes long: each thread takes the next when it is done with one.
        let count = |walker: &mut RecipeWalker| {
            let mut counted = Vec::new();
            loop {
                let part = next.fetch_add(1, Ordering::Relaxed);
                if part >= parts {
                    return Ok::<_, RepoError>(counted);
                }
                let range = start_of(part)..start_of(part + 1);
                let outcome = Part::of(&stream.root, range, walker, locator, bounds);
                if outcome.is_err() {
                    next.store(parts, Ordering::Relaxed);
                }
                counted.push((part, outcome?));
            }
        };
        let mut counted = std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads)
                .map(|_| {
                    let mut walker = walker.another();
                    let thread = std::thread::Builder::new().name("survey".to_owned());
                    let spawned = thread.spawn_scoped(scope, move || count(&mut walker));
                    spawned.map_err(|source| RepoError::Thread { source })
                })
                .collect();
            let mut counted = count(walker)?;
            for other in others {
                counted.extend(other?.join().unwrap_or(Err(RepoError::Stopped))?);
            }
            Ok::<_, RepoError>(counted)
        })?;
        counted.sort_unstable_by_key(|(number, _)| *number);
        let joined = counted.into_iter().map(|(_, part)| part).reduce(|mut joined, part| {
            joined.append(part);
            joined
        });
        let counted = joined.unwrap_or_default();
        let Part { extents, counter, whole, .. } = counted;
        let Counter { numbers, uses, mut outline, stretch, .. } = counter;
        outline.iter_mut().for_each(Outline::shrink);
        let mut survey = Self { bytes, base, extents, whole, reopened: stretch.reopened, ..Self::default() };
        let used = |at: usize| uses.get(at).map(|counted| counted.block);
        survey.blocks = numbers.into_iter().filter_map(|(key, at)| Some((key, used(at)?))).collect();
        for block in survey.blocks.values() {
            let plain = u64::from(block.plain).max(1);
            survey.stored_read += u64::from(block.stored);
            survey.stored_own += u64::from(block.stored) * block.live.min(plain) / plain;
        }
        Ok((survey, outline))
    }
}

/// What is remembered of a part at most.
#[derive(Clone, Copy)]
struct Bounds {
    outline_bytes: usize,
    /// Whole chunks.
    whole: usize,
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
        bounds: Bounds,
    ) -> Result<Self, RepoError> {
        let Bounds { outline_bytes, whole: whole_max } = bounds;
        let mut part = Self::default();
        let mut offset = range.start;
        part.counter.outline = (outline_bytes > 0).then(|| Outline::at(offset));
        walker.walk(root, range, |extent| {
            part.counter.stretch.reach(offset);
            let chunk_bytes = part.counter.count(extent, locator)?;
            if part.counter.outline.as_ref().is_some_and(|outline| outline.memory() > outline_bytes) {
                part.counter.outline = None;
            }
            if extent.offset == 0 && extent.len == chunk_bytes && part.whole.len() < whole_max {
                part.whole.push((offset, extent.chunk));
            }
            let first = part.ends.map_or(extent, |(first, _)| first);
            part.ends = Some((first, extent));
            part.extents += 1;
            offset += u64::from(extent.len);
            Ok(())
        })?;
        part.counter.stretch.end();
        Ok(part)
    }

    /// Takes in what follows. A chunk that lies across the joint is one extent, though it is not remembered as a whole
    /// one.
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
        self.counter.append(next.counter);
    }
}

/// A chunk met a moment ago: its length, and where its block's use is counted.
#[derive(Clone, Copy)]
struct Recent {
    chunk: ChunkId,
    bytes: u32,
    at: usize,
    /// Its number in the outline.
    number: u32,
}

/// The stretch of the stream under way: whether there was room to keep what it wants again.
#[derive(Default)]
struct Stretch {
    /// From 1 on.
    number: u64,
    /// Plain bytes of those of its blocks that stretches before it took from.
    again: u64,
    /// Plain bytes opened once more in all stretches that ended.
    reopened: u64,
}

impl Stretch {
    /// The stream has come as far as `offset`.
    fn reach(&mut self, offset: u64) {
        let number = offset / STRETCH_BYTES + 1;
        if number != self.number {
            self.end();
            self.number = number;
        }
    }

    fn end(&mut self) {
        if self.again > ROOM_BYTES {
            self.reopened += self.again;
        }
        self.again = 0;
    }

    /// Takes bytes from a block.
    fn take(&mut self, Counted { block, stretch }: &mut Counted) {
        if *stretch != self.number {
            self.again += if *stretch == 0 { 0 } else { u64::from(block.plain) };
            *stretch = self.number;
            block.stretches += 1;
        }
    }
}

/// What is counted of a block.
struct Counted {
    block: BlockUse,
    /// The stretch that took bytes from it last; 0 for none.
    stretch: u64,
}

struct Counter {
    recent: Vec<Option<Recent>>,
    numbers: HashMap<(i64, u32), usize>,
    uses: Vec<Counted>,
    stretch: Stretch,
    /// None where it is not wanted, or too large.
    outline: Option<Outline>,
}

impl Default for Counter {
    fn default() -> Self {
        Self {
            recent: vec![None; RECENT],
            numbers: HashMap::new(),
            uses: Vec::new(),
            stretch: Stretch::default(),
            outline: None,
        }
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
        if let Some(counted) = self.uses.get_mut(recent.at) {
            counted.block.live += u64::from(extent.len);
            self.stretch.take(counted);
        }
        if let Some(outline) = &mut self.outline {
            outline.add(recent.number, extent);
        }
        Ok(recent.bytes)
    }

    /// Adds what another one counted.
    fn append(&mut self, other: Self) {
        self.outline = self.outline.take().zip(other.outline).map(|(mut outline, next)| {
            outline.append(next);
            outline
        });
        for (key, at) in &other.numbers {
            let Some(Counted { block, stretch }) = other.uses.get(*at) else { continue };
            let at = *self.numbers.entry(*key).or_insert_with(|| {
                self.uses
                    .push(Counted { block: BlockUse { live: 0, stretches: 0, ..*block }, stretch: *stretch });
                self.uses.len() - 1
            });
            if let Some(own) = self.uses.get_mut(at) {
                own.block.live += block.live;
                own.block.stretches += block.stretches;
            }
        }
        self.stretch.reopened += other.stretch.reopened;
    }

    fn find(&mut self, chunk: ChunkId, locator: &Mutex<Locator>) -> Result<Recent, RepoError> {
        let location = locator.lock().unwrap_or_else(PoisonError::into_inner).data(chunk.as_bytes())?;
        let pack: &PackRow = &location.pack;
        let Self { numbers, uses, .. } = self;
        let at = *numbers.entry((pack.number, location.block)).or_insert_with(|| {
            let (plain, stored) =
                pack.block(location.block).map_or((0, 0), |block| (block.plain_bytes, block.stored_bytes));
            uses.push(Counted { block: BlockUse { live: 0, plain, stored, stretches: 0 }, stretch: 0 });
            uses.len() - 1
        });
        let number = self.outline.as_mut().map_or(0, |outline| outline.add_chunk(chunk));
        Ok(Recent { chunk, bytes: location.len, at, number })
    }
}

#[cfg(test)]
mod tests {
    use super::{BlockUse, Counted, STRETCH_BYTES, Stretch};

    /// Plain bytes opened again where each of ten stretches takes from the blocks that `wanted` names, of 256 KiB each.
    fn reopened(blocks: usize, wanted: impl Fn(u64, usize) -> bool) -> u64 {
        let block = BlockUse { live: 0, plain: 256 << 10, stored: 0, stretches: 0 };
        let mut blocks: Vec<Counted> = (0..blocks).map(|_| Counted { block, stretch: 0 }).collect();
        let mut stretch = Stretch::default();
        for number in 0..10 {
            for offset in [number * STRETCH_BYTES, number * STRETCH_BYTES + 99] {
                stretch.reach(offset);
                let wanted = blocks.iter_mut().enumerate().filter(|(at, _)| wanted(number, *at));
                wanted.for_each(|(_, counted)| stretch.take(counted));
            }
        }
        stretch.end();
        stretch.reopened
    }

    #[test]
    fn given_blocks_that_there_is_room_for_then_none_is_opened_again() {
        assert_eq!(reopened(256, |_, _| true), 0);
        assert_eq!(reopened(2570, |stretch, at| at as u64 % 10 == stretch), 0, "each is wanted once");
        assert_eq!(reopened(500, |stretch, at| (stretch < 5) == (at < 250)), 0, "others in each half");
    }

    #[test]
    fn given_a_block_too_many_then_each_stretch_opens_all_again() {
        assert_eq!(reopened(257, |_, _| true), 9 * 257 * (256 << 10));
    }
}
