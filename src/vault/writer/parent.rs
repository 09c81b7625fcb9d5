//! What a stream is stored on the basis of.

use super::recipe::Copies;
use super::{BackupSession, Share};
use crate::vault::reader::{BlockReader, Locator, ReadCost, ReadSettings, RecipeWalker, Windows};
use crate::vault::snapshot::Stream;
use crate::vault::snapshot::recipe::{Base, DEPTH_MAX};
use crate::vault::{RepoError, pack_key};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Plain bytes of the parent's blocks that are kept open: those of the time when the stream was last stored afresh …
const OPEN_BYTES: u64 = 40 << 20;
/// … and, where it turns out that they do not suffice, one literal block for each backup since.
const OPEN_BYTES_MAX: u64 = 80 << 20;
/// The same for one of two backups, all the time.
const OPEN_BYTES_OF_HALF: u64 = 32 << 20;

/// So many recipes rest one upon the other before one is written to rest on what lies far below, a checkpoint …
const CHAIN_MAX: u8 = 11;
/// … and so many checkpoints, until a recipe rests on nothing again. Each recipe below a stream's is a step more for
/// every range that a restore looks up, and each checkpoint the ranges of all changes since the last one.
const CHECKPOINTS_MAX: u8 = 20;
const _: () = assert!(CHAIN_MAX + CHECKPOINTS_MAX <= DEPTH_MAX);

/// Tells from a stream's first bytes whether it is of the same kind as its parent.
pub type IsAlike = Box<dyn Fn(&[u8]) -> bool>;

/// What a stream is stored on the basis of.
pub enum Basis {
    /// The chunks in the repository: what is known by its id is not stored again.
    Chunks,
    /// The chunks, and the bytes of a parent that nobody knows by an id.
    Parent(Box<Parent>),
    /// The chunks, except those in blocks that the surveyed stream makes little use of.
    Afresh(ReadCost),
}

impl Basis {
    /// Drops a parent whose stream is of another kind than one that begins with `front`; whether it did.
    pub(super) fn drop_unlike(&mut self, front: &[u8]) -> bool {
        let is_unlike = if let Self::Parent(parent) = self { !(parent.is_alike)(front) } else { false };
        if is_unlike {
            *self = Self::Chunks;
        }
        is_unlike
    }
}

/// A stream of an earlier snapshot, with which a new one is compared.
pub struct Parent {
    pub(super) survey: ReadCost,
    pub(super) windows: Windows,
    pub(super) copies: Copies,
    /// See [`Parent::with_sections`].
    pub(super) section_ends: Vec<u64>,
    is_alike: IsAlike,
}

impl Parent {
    /// What restoring the parent would read.
    pub fn survey(&self) -> &ReadCost {
        &self.survey
    }

    /// The stream consists of sections that end at `ends`, ascending; those of the new stream are what
    /// [`BackupSession::tally`] tells. What one does not have is not looked for in the others.
    pub fn with_sections(mut self, ends: Vec<u64>) -> Self {
        self.section_ends = ends;
        self
    }

    /// What restoring the parent would read, without the parent.
    pub fn into_survey(self) -> ReadCost {
        self.survey
    }
}

impl BackupSession {
    /// Opens `stream` to compare a new one with. `is_alike` tells from the first bytes of the new one whether it is of
    /// the same kind; the pack cache knows the stream by `label`. Nothing is taken from packs that are missing, or
    /// marked as damaged. Blocks of packs that a full author vouches for are not hashed again: what is copied of them
    /// is named by their ids, which every restore compares.
    ///
    /// # Errors
    /// When its recipe cannot be followed to the end, it was written before the content root was rotated, or threads
    /// cannot be started. The session can go on without it.
    pub fn parent(
        &self,
        stream: &Stream,
        label: &str,
        workers: usize,
        is_alike: IsAlike,
    ) -> Result<Parent, RepoError> {
        let repo = &self.repo;
        let catalog = repo.another_catalog()?;
        let mut locator = Locator::strict(repo, catalog, self.sink.known.unusable());
        // Nothing new rests on names of an old content root.
        let generation = locator.generation_of(stream)?;
        if let Some(generation) = generation.filter(|generation| *generation != repo.content_generation()) {
            return Err(RepoError::OlderContent { generation });
        }
        let locator = Arc::new(Mutex::new(locator));
        let known = &self.sink.known;
        let blocks = Arc::new(BlockReader::of_whole_packs(repo).believing(known.vouched_for()));
        let mut walker = RecipeWalker::new(Arc::clone(&blocks), Arc::clone(&locator));
        let (mut survey, outline) = ReadCost::outlined(stream, &mut walker, &locator, workers)?;
        survey.fetches = self.keep_at_hand(&survey, &locator, label)?;
        let (open_bytes, open_bytes_max) = match self.share {
            Share::Whole => (OPEN_BYTES, OPEN_BYTES_MAX),
            Share::Half => (OPEN_BYTES_OF_HALF, OPEN_BYTES_OF_HALF),
        };
        let settings = ReadSettings { workers, open_bytes, open_bytes_max, ..ReadSettings::local(workers) };
        let windows = Windows::new(blocks, locator, (stream.root, stream.bytes), outline, settings)?;
        let copies = copies(stream, &survey, walker)?;
        Ok(Parent { survey, windows, copies, section_ends: Vec::new(), is_alike })
    }

    /// Tells the pack cache, if there is one, which packs the parent lies in; how many of them it has not.
    fn keep_at_hand(
        &self,
        survey: &ReadCost,
        locator: &Mutex<Locator>,
        label: &str,
    ) -> Result<u64, RepoError> {
        let Some(cache) = self.repo.storage.cache() else { return Ok(0) };
        let wanted: HashSet<i64> = survey.blocks.keys().map(|(pack, _)| *pack).collect();
        let packs = locator.lock().unwrap_or_else(PoisonError::into_inner).catalog().packs()?;
        let packs: Vec<_> = packs.into_iter().filter(|pack| wanted.contains(&pack.number)).collect();
        let pack_bytes: u64 = packs.iter().map(|pack| pack.bytes).sum();
        if pack_bytes > cache.bytes_max() {
            // They would be fetched, and pushed out again before the next backup wants them.
            return Err(RepoError::CacheTooSmall { pack_bytes, cache_bytes: cache.bytes_max() });
        }
        let keys: Vec<String> = packs.iter().map(|pack| pack_key(&pack.id)).collect();
        cache.prefer(label, &keys);
        Ok(keys.iter().filter(|key| !cache.holds(key)).count() as u64)
    }
}

/// What the recipe of the next stream rests on: the parent's, until the chain is long. Then the ranges that the chain
/// has gathered are written down once, on top of the recipe that the last one of that kind is. So none of them grows
/// with the age of the stream, and what it takes is what changed since the last.
fn copies(stream: &Stream, survey: &ReadCost, mut walker: RecipeWalker) -> Result<Copies, RepoError> {
    let (depth, checkpoint) = survey.base.map_or((0, 0), |base| (base.depth, base.checkpoint));
    if depth < checkpoint + CHAIN_MAX {
        let base = Base { root: stream.root, depth: depth + 1, checkpoint };
        return Ok(Copies::Relative { bytes: survey.bytes, base });
    }
    let base = if checkpoint < CHECKPOINTS_MAX {
        let root = walker.ancestor(&stream.root, checkpoint)?;
        Some(Base { root, depth: checkpoint + 1, checkpoint: checkpoint + 1 })
    } else {
        None
    };
    Ok(Copies::Resolved { root: stream.root, base, walker: Box::new(walker) })
}
