//! What restoring a stream would read, known from its recipe and the catalog alone.

use super::locate::Locator;
use super::recipe::{Extent, RecipeWalker};
use crate::id::ChunkId;
use crate::repo::RepoError;
use crate::repo::catalog::PackRow;
use crate::snapshot::Stream;
use crate::snapshot::recipe::Base;
use hashbrown::HashMap;
use std::sync::{Mutex, PoisonError};

/// Chunks found again without a look at the catalog; a power of two.
const RECENT: usize = 1024;
/// Whole chunks that are remembered with their place in the stream, 24 bytes each.
const WHOLE_MAX: usize = 1 << 19;

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

    /// Walks the whole recipe of `stream`. No data is read. Memory: 40 bytes a block, and 40 a whole chunk.
    ///
    /// # Errors
    /// When a node is lost or damaged, or a chunk is nowhere.
    pub fn of(
        stream: &Stream,
        walker: &mut RecipeWalker,
        locator: &Mutex<Locator>,
    ) -> Result<Self, RepoError> {
        let (bytes, base) = walker.root(&stream.root)?;
        if bytes != stream.bytes {
            let what = format!("its recipe makes {bytes} bytes, and it should have {}", stream.bytes);
            return Err(RepoError::Inconsistent { object: format!("stream {}", stream.name), what });
        }
        let mut survey = Self { bytes, base, ..Self::default() };
        let mut counter = Counter::default();
        let mut offset = 0;
        walker.walk(&stream.root, 0..bytes, &mut |extent| {
            let chunk_bytes = counter.count(extent, locator)?;
            if extent.offset == 0 && extent.len == chunk_bytes && survey.whole.len() < WHOLE_MAX {
                survey.whole.push((offset, extent.chunk));
            }
            survey.extents += 1;
            offset += u64::from(extent.len);
            Ok(())
        })?;
        survey.blocks =
            counter.numbers.into_iter().filter_map(|(key, at)| Some((key, *counter.uses.get(at)?))).collect();
        for block in survey.blocks.values() {
            let plain = u64::from(block.plain).max(1);
            survey.stored_read += u64::from(block.stored);
            survey.stored_own += u64::from(block.stored) * block.live.min(plain) / plain;
        }
        Ok(survey)
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
