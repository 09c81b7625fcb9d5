//! Streams of another repository in which chunks and recipe nodes have the same names: taken as they are.
//!
//! What is not here yet is fetched block by block, in the order in which the source stored it. A block of which
//! everything is wanted is sealed again as it was compressed; of others the wanted chunks are put together anew.
//! Nothing is cut into chunks, named or compared: every id in a block is checked when it is opened, and the recipe
//! comes along with its nodes.

use super::pipeline::Block;
use super::{BackupSession, Sink, StoredStream};
use crate::base::event::{Cancel, Event, Observer};
use crate::base::id::{ChunkId, NodeId, PackId};
use crate::vault::format::index::{BlockKind, PREFIX_BYTES};
use crate::vault::reader::{
    BlockReader, Extent, FetchedBlock, Locator, ReadSettings, RecipeWalker, WantedBlock, Workspace,
    fetch_blocks,
};
use crate::vault::snapshot::{Proof, Stream, StreamFormat, StreamStats};
use crate::vault::{RepoError, Repository};
use hashbrown::{HashMap, HashSet};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Stream bytes whose chunks are looked for, and then fetched, at a time.
const WINDOW_BYTES: u64 = 1 << 30;
/// Chunks found again without a look at the catalog; a power of two.
const RECENT: usize = 1024;
/// After so many extents it is looked whether somebody cancelled.
const CANCEL_EXTENTS: u64 = 4096;

/// Which of the two repositories failed.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The one that is read.
    #[error(transparent)]
    Source(RepoError),
    /// The one that is written to.
    #[error(transparent)]
    Destination(RepoError),
}

impl From<RepoError> for TransferError {
    /// What is not said to be of the destination is of the source.
    fn from(error: RepoError) -> Self {
        Self::Source(error)
    }
}

fn of_destination(error: RepoError) -> TransferError {
    TransferError::Destination(error)
}

/// A repository that streams are taken from.
pub struct TransferSource {
    blocks: Arc<BlockReader>,
    locator: Arc<Mutex<Locator>>,
    walker: RecipeWalker,
    settings: ReadSettings,
    /// Blocks are compressed anew as the session says, instead of being left as they are.
    recompress: bool,
    window_bytes: u64,
    /// The content generation in which names are the same at the destination.
    generation: u16,
}

/// A chunk that is not at the destination, and how much of it the stream reaches.
struct Missing {
    chunk: ChunkId,
    end: u64,
}

impl TransferSource {
    /// Takes from `repo`, whose chunks `locator` finds, what is of its newest content generation.
    pub fn new(
        repo: &Repository,
        locator: &Arc<Mutex<Locator>>,
        settings: ReadSettings,
        recompress: bool,
    ) -> Self {
        let blocks = Arc::new(BlockReader::new(repo));
        let mut walker = RecipeWalker::new(Arc::clone(&blocks), Arc::clone(locator));
        walker.note_visits();
        Self {
            blocks,
            locator: Arc::clone(locator),
            walker,
            settings,
            recompress,
            window_bytes: WINDOW_BYTES,
            generation: repo.content_generation(),
        }
    }

    /// Looks for the chunks of so many stream bytes at a time.
    #[must_use]
    pub fn window(self, window_bytes: u64) -> Self {
        Self { window_bytes, ..self }
    }

    /// Whether `stream` can be taken as it is: what it consists of has the names that the newest content generation
    /// gives. Its recipe rests on nothing of another generation, as writers make them.
    ///
    /// # Errors
    /// When the catalog or the storage fails.
    pub fn can_take(&self, stream: &Stream) -> Result<bool, RepoError> {
        let generation = self.locator().generation_of(stream)?;
        // One that is lost is met again by whoever reads it.
        Ok(generation.is_none_or(|generation| generation == self.generation))
    }

    fn locator(&self) -> std::sync::MutexGuard<'_, Locator> {
        self.locator.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which blocks the chunks lie in, and what is wanted of each. Ordered as the source stored them.
    fn places(&self, missing: Vec<Missing>) -> Result<Places, RepoError> {
        let mut numbers: HashMap<(PackId, u32), usize> = HashMap::new();
        let mut places: Vec<(WantedBlock, HashSet<[u8; 32]>)> = Vec::new();
        let mut locator = self.locator();
        for Missing { chunk, end } in missing {
            let location = locator.data(chunk.as_bytes())?;
            if end > u64::from(location.len) {
                let object = format!("chunk {}", chunk.short());
                let what = "the recipe wants bytes beyond its end".to_owned();
                return Err(RepoError::Inconsistent { object, what });
            }
            let entry = location.pack.block(location.block);
            if entry.is_some_and(|entry| entry.generation != self.generation) {
                // At the destination its name would be a lie.
                let object = format!("chunk {}", chunk.short());
                let what = "it is of another content generation than its recipe".to_owned();
                return Err(RepoError::Inconsistent { object, what });
            }
            let at = *numbers.entry((location.pack.id, location.block)).or_insert_with(|| {
                let block =
                    WantedBlock { pack: location.pack, block: location.block, compressed: !self.recompress };
                places.push((block, HashSet::new()));
                places.len() - 1
            });
            if let Some((_, wanted)) = places.get_mut(at) {
                wanted.insert(*chunk.as_bytes());
            }
        }
        places.sort_unstable_by_key(|(block, _)| (block.pack.number, block.block));
        for (block, wanted) in &mut places {
            let is_wanted_whole = chunks_of(block).all(|(id, _)| wanted.contains(id));
            block.compressed &= is_wanted_whole;
        }
        let (blocks, wanted) = places.into_iter().unzip();
        Ok(Places { blocks, wanted })
    }

    /// The bytes of a chunk whose block is damaged, as `error` says: it may lie in another one, too.
    fn elsewhere(&self, id: &[u8; 32], error: RepoError) -> Result<Named, RepoError> {
        let locations = self.locator().all(id, BlockKind::Data)?;
        for location in locations {
            let range = location.offset as usize..(location.offset + location.len) as usize;
            match self.blocks.open_whole(&location.pack, location.block, &mut Workspace::default()) {
                Err(error) if !error.is_integrity() => return Err(error),
                Err(_) => {}
                Ok(opened) => {
                    let entry = location.pack.block(location.block);
                    let entry = entry.filter(|entry| entry.generation == self.generation);
                    let chunks = entry.map(|entry| location.pack.table.chunks_of(entry)).unwrap_or_default();
                    let at = chunks.iter().position(|(other, _)| other == id);
                    if let (Some(at), Some(entry), Some(found)) = (at, entry, opened.plain.get(range)) {
                        let prefix = opened.prefix(at).to_vec();
                        return Ok(Named { kind: entry.kind, prefix, bytes: found.to_vec() });
                    }
                }
            }
        }
        Err(error)
    }
}

/// The bytes of a chunk, and what its id covers besides.
struct Named {
    kind: BlockKind,
    prefix: Vec<u8>,
    bytes: Vec<u8>,
}

/// Blocks, and what is wanted of each.
struct Places {
    blocks: Vec<WantedBlock>,
    wanted: Vec<HashSet<[u8; 32]>>,
}

fn chunks_of(block: &WantedBlock) -> impl Iterator<Item = &([u8; 32], u32)> {
    let entry = block.pack.block(block.block);
    entry.map(|entry| block.pack.table.chunks_of(entry)).unwrap_or_default().iter()
}

impl BackupSession {
    /// Stores `stream` of the repository `source`, in which chunks and nodes have the same names as here, as far as it
    /// is not here yet. Progress goes to `observer`.
    ///
    /// # Errors
    /// When either side fails, something at the source is lost or damaged, or somebody cancels. What was stored until
    /// then stays, as garbage.
    pub fn transfer(
        &mut self,
        source: &mut TransferSource,
        stream: &Stream,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<StoredStream, TransferError> {
        let began = Instant::now();
        let before = self.sink.pipeline.stored_bytes();
        let (bytes, _) = source.walker.root(&stream.root)?;
        if bytes != stream.bytes {
            let what = format!("its recipe makes {bytes} bytes, and it should have {}", stream.bytes);
            let object = format!("stream {}", stream.name);
            return Err(RepoError::Inconsistent { object, what }.into());
        }
        let mut stats = StreamStats::default();
        let mut start = 0;
        while start < bytes {
            let range = start..bytes.min(start.saturating_add(source.window_bytes.max(1)));
            self.sink.transfer_window(source, &stream.root, range.clone(), &mut stats, observer, cancel)?;
            start = range.end;
        }
        self.sink.transfer_bases(source, &stream.root)?;
        self.sink.submit(BlockKind::Data).map_err(of_destination)?;
        self.sink.submit(BlockKind::Blinded).map_err(of_destination)?;
        self.sink.submit(BlockKind::Recipe).map_err(of_destination)?;
        self.sink.pipeline.settle().map_err(of_destination)?;
        let after = self.sink.pipeline.stored_bytes();
        // Chunks of which the stream takes little may be more than the stream.
        stats.bytes_new = stats.bytes_new.min(bytes);
        stats.bytes_known = bytes - stats.bytes_new;
        (stats.chunks, stats.extents) = (stream.stats.chunks, stream.stats.extents);
        stats.bytes_stored = after.0 - before.0;
        stats.recipe_bytes_stored = after.1 - before.1;
        stats.duration_ms = began.elapsed().as_millis() as u64;
        let stream = Stream {
            name: stream.name.clone(),
            bytes,
            digest: stream.digest,
            proof: Proof::Unproven,
            root: stream.root,
            format: StreamFormat::Unknown,
            stats,
            attributes: BTreeMap::new(),
            table_map: None,
            digest_kind: stream.digest_kind,
        };
        Ok(StoredStream {
            session: self.number,
            stream,
            front: Vec::new(),
            is_unlike_parent: false,
            parent_failure: None,
            new_bytes: None,
        })
    }
}

impl Sink {
    /// Takes what a range of the stream needs, chunks first.
    fn transfer_window(
        &mut self,
        source: &mut TransferSource,
        root: &NodeId,
        range: Range<u64>,
        stats: &mut StreamStats,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<(), TransferError> {
        let window_bytes = range.end - range.start;
        // Chunks met a moment ago, and which of the missing ones they are.
        let mut recent: Vec<Option<(ChunkId, Option<usize>)>> = vec![None; RECENT];
        let mut numbers: HashMap<ChunkId, usize> = HashMap::new();
        let mut missing: Vec<Missing> = Vec::new();
        let mut extents = 0u64;
        source.walker.walk(root, range, |Extent { chunk, offset, len }| {
            extents += 1;
            if extents % CANCEL_EXTENTS == 1 && cancel.is_cancelled() {
                return Err(RepoError::Cancelled);
            }
            let word = chunk.as_bytes().first_chunk::<8>().map_or(0, |word| u64::from_le_bytes(*word));
            let place = word as usize % RECENT;
            let kept = recent.get(place).copied().flatten().filter(|(kept, _)| *kept == chunk);
            let number = match kept {
                Some((_, number)) => number,
                None => {
                    let number = match self.is_known(&chunk) {
                        true => None,
                        false => Some(*numbers.entry(chunk).or_insert_with(|| {
                            missing.push(Missing { chunk, end: 0 });
                            missing.len() - 1
                        })),
                    };
                    if let Some(kept) = recent.get_mut(place) {
                        *kept = Some((chunk, number));
                    }
                    number
                }
            };
            if let Some(missing) = number.and_then(|number| missing.get_mut(number)) {
                missing.end = missing.end.max(u64::from(offset) + u64::from(len));
            }
            Ok(())
        })?;
        drop((recent, numbers));
        let places = source.places(missing)?;
        // Chunks of which the stream takes little may be more than the window.
        let mut left = window_bytes;
        let (from, settings) = (&*source, source.settings);
        fetch_blocks(&from.blocks, &places.blocks, settings, cancel, |at, fetched| {
            let (Some(block), Some(wanted)) = (places.blocks.get(at), places.wanted.get(at)) else {
                return Ok(());
            };
            let new = self.take_block(from, block, wanted, fetched)?;
            stats.bytes_new += new;
            observer.observe(Event::Advanced { bytes: new.min(left), bytes_known: 0 });
            left -= new.min(left);
            self.take_finished().map_err(of_destination)
        })?;
        observer.observe(Event::Advanced { bytes: left, bytes_known: left });
        self.transfer_nodes(source)
    }

    /// Takes what is wanted of a block; its plain bytes.
    ///
    /// # Errors
    /// Also when something that is wanted is not in it.
    fn take_block(
        &mut self,
        source: &TransferSource,
        block: &WantedBlock,
        wanted: &HashSet<[u8; 32]>,
        fetched: Result<FetchedBlock, RepoError>,
    ) -> Result<u64, TransferError> {
        let mut new = 0;
        let mut taken = 0;
        let kind = block.pack.block(block.block).map_or(BlockKind::Data, |entry| entry.kind);
        match fetched {
            Ok(FetchedBlock { codec, prefixes, bytes }) if block.compressed => {
                let chunks: Vec<_> = chunks_of(block).copied().collect();
                for (id, len) in &chunks {
                    taken += usize::from(wanted.contains(id));
                    new += u64::from(*len);
                    self.known.add_pending(*id);
                }
                let block = Block { kind, plain: Vec::new(), chunks, prefixes, packed: Some((codec, bytes)) };
                self.pipeline.submit(block).map_err(of_destination)?;
            }
            Ok(FetchedBlock { prefixes, bytes, .. }) => {
                let mut rest = bytes.as_slice();
                let is_alone = chunks_of(block).count() == 1;
                let mut prefixes = prefixes.chunks_exact(PREFIX_BYTES);
                for (id, len) in chunks_of(block) {
                    let prefix = prefixes.next().unwrap_or_default();
                    // The reader saw that they fit.
                    let (chunk, later) = rest.split_at_checked(*len as usize).unwrap_or_default();
                    rest = later;
                    if wanted.contains(id) {
                        taken += 1;
                        new += chunk.len() as u64;
                        // Gathered rows: a restore has such a block of each backup open.
                        let added = match is_alone {
                            true => self.add_alone(kind, *id, prefix, chunk),
                            false => self.add_new(kind, *id, prefix, chunk),
                        };
                        added.map_err(of_destination)?;
                    }
                }
            }
            Err(error) if error.is_integrity() => {
                let mut error = Some(error);
                for (id, _) in chunks_of(block).filter(|(id, _)| wanted.contains(id)) {
                    let error = error.take().unwrap_or_else(|| RepoError::ChunkLost {
                        what: "chunk",
                        id: ChunkId::from_bytes(*id).to_string(),
                        hint: "its pack is damaged".to_owned(),
                    });
                    let Named { kind, prefix, bytes } = source.elsewhere(id, error)?;
                    taken += 1;
                    new += bytes.len() as u64;
                    self.add_new(kind, *id, &prefix, &bytes).map_err(of_destination)?;
                }
            }
            Err(error) => return Err(error.into()),
        }
        if taken != wanted.len() {
            let object = format!("pack {}", block.pack.id.short());
            let what = format!("block {} does not hold what the catalog says", block.block);
            return Err(RepoError::Inconsistent { object, what }.into());
        }
        Ok(new)
    }

    /// Takes the nodes that the last walk went through.
    fn transfer_nodes(&mut self, source: &mut TransferSource) -> Result<(), TransferError> {
        for id in source.walker.take_visited() {
            if self.known.contains(id.as_bytes(), BlockKind::Recipe) {
                continue;
            }
            let bytes = source.walker.node_bytes(&id)?;
            let own = blake3::keyed_hash(self.repo.content.newest().node_id.expose(), &bytes);
            if own != *id.as_bytes() {
                let object = format!("recipe node {}", id.short());
                let what = "its bytes are not those that its id names".to_owned();
                return Err(RepoError::Inconsistent { object, what }.into());
            }
            self.add_new(BlockKind::Recipe, *id.as_bytes(), &[], &bytes).map_err(of_destination)?;
        }
        Ok(())
    }

    /// Takes the roots of the recipes that the stream's rests on: the next recipe may rest on any of them.
    fn transfer_bases(&mut self, source: &mut TransferSource, root: &NodeId) -> Result<(), TransferError> {
        let mut below = source.walker.root(root)?.1;
        while let Some(base) = below {
            below = source.walker.root(&base.root)?.1.filter(|next| next.depth < base.depth);
        }
        self.transfer_nodes(source)
    }
}
