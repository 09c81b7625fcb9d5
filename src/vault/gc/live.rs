//! The set of chunks and recipe nodes that anything reaches: one bit each.
//!
//! An id is known by its first 64 bits. Two ids that share them are live together, which keeps one too many once in a
//! billion repositories, and never one too few. Memory: 8 bytes a chunk and a little: 140 MB for 16 million.

use crate::vault::RepoError;
use crate::vault::catalog::Catalog;
use crate::vault::catalog::filter::chunk_key;
use hashbrown::HashSet;

/// Chunks that several packs hold are told apart up to this many; beyond, all their copies are kept.
const TWICE_MAX: usize = 1 << 20;

#[derive(Clone)]
pub(super) struct LiveSet {
    /// Sorted, each once.
    keys: Vec<u64>,
    /// Where the keys with the same front bits begin.
    starts: Vec<u32>,
    shift: u32,
    live: Vec<u64>,
    /// Keys that several packs hold.
    twice: HashSet<u64>,
}

/// What was live at a moment.
pub(super) struct Marks(Vec<u64>);

impl LiveSet {
    /// All that the catalog's packs hold; nothing is live yet. Read from the packs' tables, which have checksums, and
    /// not from the catalog's list of keys: what is missing here would be dead.
    pub(super) fn new(catalog: &mut Catalog) -> Result<Self, RepoError> {
        let mut keys = Vec::with_capacity(usize::try_from(catalog.chunk_count()?).unwrap_or_default());
        for pack in catalog.packs()? {
            let row = catalog.pack(pack.number)?;
            keys.extend(row.table.chunks.iter().map(|(id, _)| chunk_key(id)));
        }
        keys.sort_unstable();
        let mut twice = HashSet::new();
        for pair in keys.windows(2) {
            if let [one, other] = pair
                && one == other
                && twice.len() < TWICE_MAX
            {
                twice.insert(*one);
            }
        }
        keys.dedup();
        // About 16 keys share their front bits.
        let bits = keys.len().max(2).ilog2().saturating_sub(4).clamp(1, 24);
        let shift = 64 - bits;
        let mut starts = vec![0u32; (1 << bits) + 1];
        for key in &keys {
            if let Some(count) = starts.get_mut((key >> shift) as usize + 1) {
                *count += 1;
            }
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        let live = vec![0; keys.len().div_ceil(64)];
        Ok(Self { keys, starts, shift, live, twice })
    }

    fn position(&self, key: u64) -> Option<usize> {
        let bucket = (key >> self.shift) as usize;
        let (start, end) = (*self.starts.get(bucket)? as usize, *self.starts.get(bucket + 1)? as usize);
        self.keys.get(start..end)?.binary_search(&key).ok().map(|at| start + at)
    }

    /// Marks a chunk or node as live; false when no pack holds it.
    pub(super) fn mark(&mut self, id: &[u8; 32]) -> bool {
        let Some(at) = self.position(chunk_key(id)) else { return false };
        if let Some(word) = self.live.get_mut(at / 64) {
            *word |= 1 << (at % 64);
        }
        true
    }

    /// Whether the chunk or node was marked. What is not in the set is not known to be dead.
    pub(super) fn is_live(&self, id: &[u8; 32]) -> bool {
        match self.position(chunk_key(id)) {
            Some(at) => self.live.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1),
            None => true,
        }
    }

    /// What is live now, to be compared with later.
    pub(super) fn marks(&self) -> Marks {
        Marks(self.live.clone())
    }

    /// Whether it was marked since.
    pub(super) fn is_live_since(&self, before: &Marks, id: &[u8; 32]) -> bool {
        let is_set =
            |words: &[u64], at: usize| words.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1);
        self.position(chunk_key(id)).is_some_and(|at| is_set(&self.live, at) && !is_set(&before.0, at))
    }

    /// Where the chunk or node stands in the set; `None` when no pack holds it.
    pub(super) fn place(&self, id: &[u8; 32]) -> Option<usize> {
        self.position(chunk_key(id))
    }

    /// How many places there are.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The places of all that was marked.
    pub(super) fn marked(&self) -> impl Iterator<Item = usize> {
        let of_word = |(at, word): (usize, &u64)| {
            let word = *word;
            (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| at * 64 + bit)
        };
        self.live.iter().enumerate().filter(|(_, word)| **word != 0).flat_map(of_word)
    }

    /// From now on nothing is live.
    pub(super) fn clear(&mut self) {
        self.live.fill(0);
    }

    /// Whether any key may be held by more than one pack.
    pub(super) fn has_twice(&self) -> bool {
        !self.twice.is_empty()
    }

    /// Whether more than one pack may hold it.
    pub(super) fn is_twice(&self, id: &[u8; 32]) -> bool {
        self.twice.contains(&chunk_key(id))
    }
}
