//! Who holds a chunk that several packs claim: only a pack that was opened, by the run that relies on it.
//!
//! An index object is the word of whoever wrote it, and a pack that was whole last week may have rotted since. So
//! before a pack counts for less because another one holds the same chunks, the blocks of that other one are read from
//! the storage, past every cache, and the ids in them are compared. Duplicates are rare: this reads little.

use super::live::LiveSet;
use crate::base::event::Cancel;
use crate::base::id::PackId;
use crate::vault::catalog::{Catalog, KnownPack, PackRow};
use crate::vault::format::index::BlockKind;
use crate::vault::reader::{BlockReader, Workspace};
use crate::vault::{RepoError, Repository};
use hashbrown::{HashMap, HashSet};
use std::collections::BTreeMap;
use std::ops::Range;

/// Blocks that lie side by side are read together, up to so many stored bytes.
const RUN_BYTES: u64 = 4 << 20;

/// A chunk or recipe node: what tells it from all others.
pub(super) type Chunk = (BlockKind, [u8; 32]);

/// Of chunks that several packs claim, the number of the pack that was seen to hold them.
#[derive(Default)]
pub(super) struct Holders(HashMap<Chunk, i64>);

impl Holders {
    /// Whether a pack was seen to hold the chunk.
    pub(super) fn holds(&self, chunk: &Chunk) -> bool {
        self.0.contains_key(chunk)
    }

    /// Whether the pack `number`, which claims the chunk, is to keep it: no other pack was seen to hold it.
    pub(super) fn keeps(&self, chunk: &Chunk, number: i64) -> bool {
        self.0.get(chunk).is_none_or(|holder| *holder == number)
    }
}

/// What one run has seen with its own eyes.
pub(super) struct Witness {
    blocks: BlockReader,
    workspace: Workspace,
    /// Blocks that opened, and hold what their ids say.
    opened: HashSet<(PackId, u32)>,
    /// Packs with a block that did not, and why. Nothing more is taken from them.
    failed: BTreeMap<PackId, String>,
    /// Packs whose own table says what indexes say of them.
    pub agreed: HashSet<PackId>,
}

impl Witness {
    pub(super) fn new(repo: &Repository) -> Self {
        Self {
            blocks: BlockReader::new(&repo.past_cache()),
            workspace: Workspace::default(),
            opened: HashSet::new(),
            failed: BTreeMap::new(),
            agreed: HashSet::new(),
        }
    }

    /// Packs in which a block was not what an index says, with the reason.
    pub(super) fn failed(&self) -> &BTreeMap<PackId, String> {
        &self.failed
    }

    /// Asks `packs`, in this order, for the chunks `wanted`. The first that shows a chunk is its holder. One that fails
    /// somewhere is a holder only of what no other pack shows.
    pub(super) fn holders(
        &mut self,
        catalog: &mut Catalog,
        packs: &[KnownPack],
        wanted: &HashSet<Chunk>,
        cancel: &Cancel,
    ) -> Result<Holders, RepoError> {
        let mut holders = HashMap::new();
        if wanted.is_empty() {
            return Ok(Holders(holders));
        }
        self.ask(catalog, packs, wanted, &mut holders, cancel)?;
        let failed: HashSet<i64> =
            packs.iter().filter(|pack| self.failed.contains_key(&pack.id)).map(|pack| pack.number).collect();
        let doubtful: HashSet<Chunk> =
            holders.iter().filter(|(_, holder)| failed.contains(*holder)).map(|(chunk, _)| *chunk).collect();
        if !doubtful.is_empty() {
            let mut better = HashMap::new();
            self.ask(catalog, packs, &doubtful, &mut better, cancel)?;
            holders.extend(better);
        }
        Ok(Holders(holders))
    }

    fn ask(
        &mut self,
        catalog: &mut Catalog,
        packs: &[KnownPack],
        wanted: &HashSet<Chunk>,
        holders: &mut HashMap<Chunk, i64>,
        cancel: &Cancel,
    ) -> Result<(), RepoError> {
        for pack in packs {
            if cancel.is_cancelled() {
                return Err(RepoError::Cancelled);
            }
            if holders.len() == wanted.len() {
                break;
            }
            if self.failed.contains_key(&pack.id) {
                continue;
            }
            let row = catalog.pack(pack.number)?;
            let is_sought = |chunk: &Chunk| wanted.contains(chunk) && !holders.contains_key(chunk);
            let shown = self.open(&row, &runs_of(&row, is_sought))?;
            for number in shown {
                let Some(block) = row.block(number) else { continue };
                for (id, _) in row.table.chunks_of(block) {
                    let chunk = (block.kind, *id);
                    if wanted.contains(&chunk) {
                        holders.entry(chunk).or_insert(row.number);
                    }
                }
            }
        }
        Ok(())
    }

    /// Opens these blocks; the numbers of those that are what they should be. After the first that is not, no further
    /// one.
    fn open(&mut self, row: &PackRow, runs: &[Range<u32>]) -> Result<Vec<u32>, RepoError> {
        let mut shown = Vec::new();
        for run in runs {
            if run.clone().all(|number| self.opened.contains(&(row.id, number))) {
                shown.extend(run.clone());
                continue;
            }
            let mut seen = Vec::new();
            let outcome = self
                .blocks
                .open_run(row, run.clone(), &mut self.workspace, &mut |number, _| seen.push(number));
            self.opened.extend(seen.iter().map(|number| (row.id, *number)));
            shown.append(&mut seen);
            match outcome {
                Ok(()) => {}
                Err(error) if error.is_integrity() => {
                    self.failed.insert(row.id, error.to_string());
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(shown)
    }
}

/// The blocks of a pack that hold something sought, those side by side together.
fn runs_of(row: &PackRow, is_sought: impl Fn(&Chunk) -> bool) -> Vec<Range<u32>> {
    let mut runs: Vec<(Range<u32>, u64)> = Vec::new();
    for (number, block) in (0u32..).zip(&row.table.blocks) {
        if !row.table.chunks_of(block).iter().any(|(id, _)| is_sought(&(block.kind, *id))) {
            continue;
        }
        let bytes = u64::from(block.stored_bytes);
        match runs.last_mut() {
            Some((run, sum)) if run.end == number && *sum + bytes <= RUN_BYTES => {
                run.end += 1;
                *sum += bytes;
            }
            _ => runs.push((number..number + 1, bytes)),
        }
    }
    runs.into_iter().map(|(run, _)| run).collect()
}

/// Live chunks that more than one of `packs` claim.
pub(super) fn contested(
    catalog: &mut Catalog,
    packs: &[KnownPack],
    live: &LiveSet,
) -> Result<HashSet<Chunk>, RepoError> {
    let mut contested = HashSet::new();
    if !live.has_twice() {
        return Ok(contested);
    }
    let mut claimed: HashMap<Chunk, i64> = HashMap::new();
    for pack in packs {
        for chunk in twice_in(&*catalog.pack(pack.number)?, live) {
            match claimed.insert(chunk, pack.number) {
                Some(other) if other != pack.number => {
                    contested.insert(chunk);
                }
                _ => {}
            }
        }
    }
    Ok(contested)
}

/// Live chunks of a pack that another one may claim, too.
pub(super) fn twice_in(row: &PackRow, live: &LiveSet) -> Vec<Chunk> {
    let blocks = row.table.blocks.iter();
    blocks
        .flat_map(|block| row.table.chunks_of(block).iter().map(|(id, _)| (block.kind, *id)))
        .filter(|(_, id)| live.is_twice(id) && live.is_live(id))
        .collect()
}
