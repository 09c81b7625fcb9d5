//! A compact set of chunk keys: says *surely not there* or *probably there*.
//!
//! Stands in front of the SQLite tables, so that a chunk that is new costs no query. 256 open-addressing tables of
//! 32-bit fingerprints; each grows by itself, so that growing never needs twice the memory. A key's first 8 bits choose
//! the table, the next 32 are the fingerprint, and the fingerprint's place follows from itself: growing needs no keys.
//!
//! Memory: 4 bytes a slot, 5/8 to 7/8 full: 4.6 to 6.4 bytes a chunk. False positives: about n / 2^40 a look-up, 1 in
//! 65,000 at 16 million.

const TABLES: usize = 256;

/// The set. False positives are possible, false negatives are not.
#[derive(Debug, Clone)]
pub struct ChunkFilter {
    tables: Vec<Table>,
}

#[derive(Debug, Clone, Default)]
struct Table {
    /// 0 is an empty slot.
    slots: Vec<u32>,
    used: usize,
}

impl Default for ChunkFilter {
    fn default() -> Self {
        Self { tables: vec![Table::default(); TABLES] }
    }
}

/// The key that the filter and the catalog know a chunk by: the front of its id.
pub fn chunk_key(id: &[u8; 32]) -> u64 {
    id.first_chunk().map_or(0, |front| u64::from_be_bytes(*front))
}

fn split(key: u64) -> (usize, u32) {
    let fingerprint = (key >> 24) as u32;
    ((key >> 56) as usize, fingerprint.max(1))
}

impl ChunkFilter {
    /// Adds a key.
    pub fn insert(&mut self, key: u64) {
        let (table, fingerprint) = split(key);
        if let Some(table) = self.tables.get_mut(table) {
            table.insert(fingerprint);
        }
    }

    /// Whether the key may have been added.
    pub fn may_contain(&self, key: u64) -> bool {
        let (table, fingerprint) = split(key);
        self.tables.get(table).is_some_and(|table| table.contains(fingerprint))
    }

    /// Bytes that the set takes in memory.
    pub fn memory_bytes(&self) -> usize {
        self.tables.iter().map(|table| table.slots.len() * 4).sum()
    }

    /// The set as bytes, in pieces: per table the number of slots, then the slots.
    pub fn save(&self, mut write: impl FnMut(&[u8]) -> std::io::Result<()>) -> std::io::Result<()> {
        let mut bytes = Vec::new();
        for table in &self.tables {
            bytes.clear();
            bytes.extend_from_slice(&(table.slots.len() as u32).to_le_bytes());
            bytes.extend(table.slots.iter().flat_map(|slot| slot.to_le_bytes()));
            write(&bytes)?;
        }
        Ok(())
    }

    /// Reads what [`ChunkFilter::save`] wrote; `None` when it is anything else.
    pub fn load(mut bytes: &[u8]) -> Option<Self> {
        let mut tables = Vec::with_capacity(TABLES);
        for _ in 0..TABLES {
            let (count, rest) = bytes.split_first_chunk::<4>()?;
            let count = u32::from_le_bytes(*count) as usize;
            let (slots, rest) = rest.split_at_checked(count.checked_mul(4)?)?;
            let (slots, []) = slots.as_chunks::<4>() else { return None };
            let slots: Vec<u32> = slots.iter().map(|slot| u32::from_le_bytes(*slot)).collect();
            let used = slots.iter().filter(|slot| **slot != 0).count();
            // A full table would be searched for ever.
            if count > 0 && used == count {
                return None;
            }
            tables.push(Table { slots, used });
            bytes = rest;
        }
        bytes.is_empty().then_some(Self { tables })
    }
}

impl Table {
    /// Where a fingerprint's search begins: a share of the table (Lemire's multiply-shift range reduction). Mixed first
    /// (multiplicative hashing), because keys come in order when a filter is built from the catalog, and would crowd
    /// the front of a table that still grows.
    fn home(&self, fingerprint: u32) -> usize {
        let mixed = fingerprint.wrapping_mul(0x9E37_79B1);
        ((u64::from(mixed) * self.slots.len() as u64) >> 32) as usize
    }

    /// The slot that holds the fingerprint, or the empty one where it belongs.
    fn find(&self, fingerprint: u32) -> Option<usize> {
        let home = self.home(fingerprint);
        let (before, from) = self.slots.split_at_checked(home)?;
        let fits = |slot: &u32| *slot == 0 || *slot == fingerprint;
        from.iter().position(fits).map(|at| home + at).or_else(|| before.iter().position(fits))
    }

    fn contains(&self, fingerprint: u32) -> bool {
        self.find(fingerprint).and_then(|at| self.slots.get(at)) == Some(&fingerprint)
    }

    fn insert(&mut self, fingerprint: u32) {
        if self.used * 8 >= self.slots.len() * 7 {
            self.grow();
        }
        let Some(slot) = self.find(fingerprint).and_then(|at| self.slots.get_mut(at)) else { return };
        if *slot == 0 {
            *slot = fingerprint;
            self.used += 1;
        }
    }

    fn grow(&mut self) {
        let larger = (self.used * 8 / 5).max(64);
        let old = std::mem::replace(&mut self.slots, vec![0; larger]);
        for fingerprint in old.into_iter().filter(|slot| *slot != 0) {
            if let Some(slot) = self.find(fingerprint).and_then(|at| self.slots.get_mut(at)) {
                *slot = fingerprint;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(n: u64) -> u64 {
        chunk_key(blake3::hash(&n.to_le_bytes()).as_bytes())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn what_was_added_is_found_also_after_a_round_trip(count in 0u64..30_000) {
            let mut filter = ChunkFilter::default();
            (0..count).for_each(|n| filter.insert(key(n)));
            let mut bytes = Vec::new();
            filter.save(|part| { bytes.extend_from_slice(part); Ok(()) }).unwrap();
            let loaded = ChunkFilter::load(&bytes).unwrap();
            for n in 0..count {
                prop_assert!(filter.may_contain(key(n)) && loaded.may_contain(key(n)));
            }
        }

        #[test]
        fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
            let _ = ChunkFilter::load(&bytes);
        }
    }

    #[test]
    fn keys_in_order_do_not_crowd_a_table_that_still_grows() {
        let mut table = Table::default();
        // The lower half of all fingerprints, ascending, as a scan of the catalog gives them.
        (1..=50_000u32).for_each(|n| table.insert(n * 42_949));
        let longest = table.slots.split(|slot| *slot == 0).map(<[u32]>::len).max().unwrap();
        assert!(longest < 5_000, "a search may go over {longest} slots");
    }

    #[test]
    fn a_million_keys_take_little_memory_and_few_false_positives() {
        let mut filter = ChunkFilter::default();
        (0..1_000_000).for_each(|n| filter.insert(key(n)));
        assert!(filter.memory_bytes() < 6_600_000, "{}", filter.memory_bytes());
        let wrong = (1_000_000..2_000_000).filter(|n| filter.may_contain(key(*n))).count();
        assert!(wrong < 20, "{wrong}");
    }
}
