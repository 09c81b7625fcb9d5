//! Every snapshot followed down to its chunks: which bytes of which stream cannot be had.

use super::Checker;
use super::{CheckReport, Hit, RANGES_MAX};
use crate::base::event::Cancel;
use crate::base::id::{ChunkId, NodeId, PackId};
use crate::vault::catalog::{Catalog, Location, PackRow};
use crate::vault::format::index::BlockKind;
use crate::vault::history::History;
use crate::vault::objects::pack_key;
use crate::vault::reader::{BlockReader, Extent, Locator, Reacher, RecipeWalker, Visitor, Workspace};
use crate::vault::snapshot::recipe::DEPTH_MAX;
use crate::vault::snapshot::{Stream, Summary};
use crate::vault::sync::Presence;
use crate::vault::{RepoError, Repository};
use hashbrown::{HashMap, HashSet};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// Chunks remembered between streams; forgotten when there are more, which costs look-ups only.
const SEEN_MAX: usize = 1 << 20;
/// So many pieces of a stream that is not whole are looked at, some minutes' worth: a few KiB of recipe may stand for
/// an exbibyte.
const PIECES_MAX: u64 = 1 << 30;

/// Where a chunk is, as far as it matters here.
#[derive(Clone, Copy)]
enum Found {
    Usable,
    /// Only in this pack, which cannot be used.
    Unusable(PackId),
    Nowhere,
}

/// Bytes of a stream that cannot be had.
#[derive(Default)]
struct Loss {
    ranges: Vec<Range<u64>>,
    bytes: u64,
    packs: BTreeSet<PackId>,
    /// A chunk that is in no pack.
    nowhere: Option<ChunkId>,
    /// Why the recipe could not be followed to its end.
    recipe: Option<String>,
}

impl Loss {
    fn add(&mut self, range: Range<u64>) {
        self.bytes += range.end - range.start;
        match self.ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.ranges.push(range),
        }
        // One that is hit everywhere must not take all memory: near ranges become one.
        if self.ranges.len() >= 2 * RANGES_MAX {
            self.ranges = merged(std::mem::take(&mut self.ranges));
        }
    }

    fn words(&self) -> String {
        let mut words = Vec::new();
        words.extend(self.recipe.clone());
        if !self.packs.is_empty() {
            let names: Vec<String> = self.packs.iter().map(pack_key).collect();
            words.push(format!("its bytes lie in damaged or missing packs: {}", names.join(", ")));
        }
        if let Some(chunk) = self.nowhere {
            words.push(format!("chunk {} and maybe more are in no pack that the index names", chunk.short()));
        }
        words.join("; ")
    }
}

/// At most [`RANGES_MAX`] ranges that cover the given ones: the narrowest gaps are closed.
fn merged(ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    if ranges.len() <= RANGES_MAX {
        return ranges;
    }
    let mut gaps: Vec<u64> = ranges
        .iter()
        .zip(ranges.iter().skip(1))
        .map(|(one, next)| next.start.saturating_sub(one.end))
        .collect();
    gaps.sort_unstable_by(|a, b| b.cmp(a));
    let widest_closed = gaps.get(RANGES_MAX - 1).copied().unwrap_or_default();
    let mut kept: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match kept.last_mut() {
            Some(last) if range.start.saturating_sub(last.end) <= widest_closed => last.end = range.end,
            _ => kept.push(range),
        }
    }
    kept
}

/// Knows of chunks and recipe nodes whether each lies in a usable pack.
struct Places<'a> {
    locator: Arc<Mutex<Locator>>,
    presence: &'a Presence,
    /// Packs that a snapshot needs, for a chunk or a recipe node.
    used: BTreeSet<PackId>,
    /// Of these, those that cannot be relied on.
    needed: BTreeSet<PackId>,
    /// Per chunk: its length and where it is.
    seen: HashMap<[u8; 32], (u32, Found)>,
    /// Recipe nodes of which it is known which packs they keep.
    nodes: HashSet<NodeId>,
    blocks: BlockReader,
    /// Blocks that do not open, of packs that cannot be relied on.
    broken: HashMap<PackId, HashSet<u32>>,
    /// Something was wanted that cannot be had.
    lacks: bool,
}

impl Places<'_> {
    fn locations(&self, id: &[u8; 32], kind: BlockKind) -> Result<Vec<Location>, RepoError> {
        let locator = self.locator.lock().unwrap_or_else(PoisonError::into_inner);
        { locator }.all(id, kind)
    }

    fn chunk(&mut self, chunk: &ChunkId) -> Result<(u32, Found), RepoError> {
        let id = chunk.as_bytes();
        if let Some(known) = self.seen.get(id) {
            return Ok(*known);
        }
        let locations = self.locations(id, BlockKind::Data)?;
        let found = self.choose(&locations)?;
        if self.seen.len() >= SEEN_MAX {
            self.seen.clear();
        }
        self.seen.insert(*id, found);
        Ok(found)
    }

    /// Recipe nodes keep their packs as chunks do.
    fn keep(&mut self, node: &NodeId) -> Result<(), RepoError> {
        if self.nodes.insert(*node) {
            let locations = self.locations(node.as_bytes(), BlockKind::Recipe)?;
            self.choose(&locations)?;
        }
        Ok(())
    }

    /// The place that a restore would take a chunk from, and its length.
    fn choose(&mut self, locations: &[Location]) -> Result<(u32, Found), RepoError> {
        let is_usable = |location: &&Location| !self.presence.unusable.contains_key(&location.pack.number);
        if let Some(location) = locations.iter().find(is_usable) {
            self.used.insert(location.pack.id);
            return Ok((location.len, Found::Usable));
        }
        let Some(first) = locations.first() else { return Ok((0, Found::Nowhere)) };
        for location in locations {
            let pack = location.pack.id;
            self.used.insert(pack);
            self.needed.insert(pack);
            if !self.broken.contains_key(&pack) {
                self.broken.insert(pack, broken_blocks(&self.blocks, &location.pack)?);
            }
            if self.broken.get(&pack).is_some_and(|broken| !broken.contains(&location.block)) {
                return Ok((location.len, Found::Usable));
            }
        }
        Ok((first.len, Found::Unusable(first.pack.id)))
    }
}

impl Visitor for Places<'_> {
    fn node(&mut self, id: &NodeId) -> Result<(), RepoError> {
        self.keep(id)
    }

    fn extent(&mut self, chunk: &ChunkId, offset: u32, len: u64) -> Result<(), RepoError> {
        let (chunk_bytes, found) = self.chunk(chunk)?;
        let is_within = u64::from(offset).checked_add(len).is_some_and(|end| end <= u64::from(chunk_bytes));
        self.lacks |= !is_within || !matches!(found, Found::Usable);
        Ok(())
    }
}

/// Follows recipes down to chunks.
struct Follower<'a> {
    walker: RecipeWalker,
    /// Looks at each part once, and sees whether anything is wrong at all.
    reacher: Reacher<'a, Places<'a>>,
    /// A recipe could not be followed to its end: it may need any pack.
    blind: bool,
}

impl Checker<'_> {
    pub(super) fn check_snapshots(
        &self,
        catalog: Catalog,
        history: &History,
        presence: &Presence,
        report: &mut CheckReport,
        cancel: &Cancel,
    ) -> Result<(), RepoError> {
        let unusable = presence.unusable.values().cloned().collect();
        let locator = Arc::new(Mutex::new(Locator::new(self.repo, catalog, unusable)));
        let blocks = Arc::new(BlockReader::new(self.repo));
        let mut walker = RecipeWalker::new(Arc::clone(&blocks), Arc::clone(&locator));
        walker.note_visits();
        let places = Places {
            locator: Arc::clone(&locator),
            presence,
            used: BTreeSet::new(),
            needed: BTreeSet::new(),
            seen: HashMap::new(),
            nodes: HashSet::new(),
            blocks: BlockReader::new(self.repo),
            broken: HashMap::new(),
            lacks: false,
        };
        let reaching = RecipeWalker::new(blocks, Arc::clone(&locator));
        let reacher = Reacher::new(reaching, places, cancel);
        let mut follower = Follower { walker, reacher, blind: false };
        for summary in &history.snapshots {
            let body = {
                let mut locator = locator.lock().unwrap_or_else(PoisonError::into_inner);
                self.repo.body(locator.catalog(), &summary.id)
            };
            match body {
                Ok(body) => {
                    for stream in &body.streams {
                        if cancel.is_cancelled() {
                            return Err(RepoError::Cancelled);
                        }
                        report.hits.extend(follower.follow(summary, stream)?);
                    }
                }
                Err(error) if error.is_integrity() => {
                    follower.blind = true;
                    report.hits.push(hit(
                        summary,
                        "",
                        Loss { recipe: Some(error.to_string()), ..Loss::default() },
                    ));
                }
                Err(error) => return Err(error),
            }
        }
        follower.count_unreferenced(self.repo, report)?;
        report.needed = follower.reacher.visitor.needed;
        report.blind = follower.blind;
        Ok(())
    }
}

fn hit(summary: &Summary, stream: &str, loss: Loss) -> Hit {
    Hit {
        id: summary.id,
        series: summary.head.series.clone(),
        stream: stream.to_owned(),
        bytes_lost: loss.bytes,
        first_lost: loss.ranges.first().map_or(0, |range| range.start),
        what: loss.words(),
        tables: Vec::new(),
        packs: loss.packs,
        ranges: merged(loss.ranges),
    }
}

impl Follower<'_> {
    /// What of the stream cannot be had, if anything.
    fn follow(&mut self, summary: &Summary, stream: &Stream) -> Result<Option<Hit>, RepoError> {
        if self.is_whole(stream)? {
            return Ok(None);
        }
        let mut loss = Loss::default();
        let mut at = 0u64;
        let walked = self.walk(stream, &mut at, &mut loss).and_then(|()| self.walk_chain(&stream.root));
        for node in self.walker.take_visited() {
            self.reacher.visitor.keep(&node)?;
        }
        match walked {
            Ok(()) => {}
            Err(error) if error.is_integrity() => {
                // What comes behind the node that cannot be read is not known to be lost, and cannot be had.
                self.blind = true;
                loss.recipe = Some(format!("its recipe: {error}"));
                if at < stream.bytes {
                    loss.add(at..stream.bytes);
                }
            }
            Err(error) => return Err(error),
        }
        let is_hit = loss.recipe.is_some() || !loss.ranges.is_empty();
        Ok(is_hit.then(|| hit(summary, &stream.name, loss)))
    }

    /// Whether all of the stream can be had, found without going through all of it.
    fn is_whole(&mut self, stream: &Stream) -> Result<bool, RepoError> {
        self.reacher.visitor.lacks = false;
        let reached = self.walker.root(&stream.root).and_then(|(length, _)| {
            self.reacher.reach(std::slice::from_ref(&stream.root))?;
            Ok(length == stream.bytes)
        });
        let is_whole = match reached {
            Ok(fits) => fits && !self.reacher.visitor.lacks,
            Err(error) if error.is_integrity() => false,
            Err(error) => return Err(error),
        };
        if !is_whole {
            // What it shares with others must not pass for whole there.
            self.reacher.begin_anew();
        }
        Ok(is_whole)
    }

    /// Goes through the stream from its front to its end, and finds out which of its bytes are lost.
    fn walk(&mut self, stream: &Stream, at: &mut u64, loss: &mut Loss) -> Result<(), RepoError> {
        let (length, _) = self.walker.root(&stream.root)?;
        let misfit =
            |what: String| RepoError::Inconsistent { object: format!("stream {}", stream.name), what };
        if length != stream.bytes {
            let what = format!("its recipe makes {length} bytes, and it should have {}", stream.bytes);
            return Err(misfit(what));
        }
        let Self { walker, reacher, .. } = self;
        let mut pieces = 0u64;
        walker.walk(&stream.root, 0..length, |extent: Extent| {
            pieces += 1;
            if pieces > PIECES_MAX {
                return Err(misfit("it has too many pieces to tell which bytes are lost".to_owned()));
            }
            let (len, found) = reacher.visitor.chunk(&extent.chunk)?;
            let range = *at..*at + u64::from(extent.len);
            match found {
                Found::Nowhere => loss.nowhere = loss.nowhere.or(Some(extent.chunk)),
                _ if extent.offset + extent.len > len => {
                    let chunk = extent.chunk.short();
                    return Err(misfit(format!("it wants bytes beyond the end of chunk {chunk}")));
                }
                Found::Unusable(pack) => {
                    loss.packs.insert(pack);
                }
                Found::Usable => {}
            }
            *at = range.end;
            if !matches!(found, Found::Usable) {
                loss.add(range);
            }
            Ok(())
        })
    }

    /// The recipes that one rests on, down to the last: their roots are asked how deep the chain is.
    fn walk_chain(&mut self, root: &NodeId) -> Result<(), RepoError> {
        let mut at = *root;
        // Depths fall with each step, which the walk has seen for those that are copied from.
        for _ in 0..=DEPTH_MAX {
            match self.walker.root(&at)?.1 {
                Some(base) => at = base.root,
                None => break,
            }
        }
        Ok(())
    }

    fn count_unreferenced(&mut self, repo: &Repository, report: &mut CheckReport) -> Result<(), RepoError> {
        if self.blind {
            return Ok(());
        }
        for (id, bytes) in repo.list_packs()? {
            if !self.reacher.visitor.used.contains(&id) {
                report.unreferenced_packs += 1;
                report.unreferenced_bytes += bytes;
            }
        }
        Ok(())
    }
}

/// Numbers of the blocks of a pack that do not open.
///
/// # Errors
/// When the storage fails.
pub(in crate::vault) fn broken_blocks(
    blocks: &BlockReader,
    pack: &PackRow,
) -> Result<HashSet<u32>, RepoError> {
    let mut broken = HashSet::new();
    let mut workspace = Workspace::default();
    for number in 0..pack.table.blocks.len() as u32 {
        match blocks.open_run(pack, number..number + 1, &mut workspace, &mut |_, _| {}) {
            Ok(()) => {}
            Err(error) if error.is_integrity() => {
                broken.insert(number);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_are_one_and_many_are_merged_where_they_are_near() {
        let mut loss = Loss::default();
        loss.add(5..10);
        loss.add(10..12);
        loss.add(20..21);
        assert_eq!((loss.ranges.clone(), loss.bytes), (vec![5..12, 20..21], 8));

        let mut loss = Loss::default();
        for n in 0..10 * RANGES_MAX as u64 {
            loss.add(n * 10..n * 10 + 1);
        }
        let ranges = merged(loss.ranges);
        assert!(ranges.len() <= RANGES_MAX);
        let covers = |at: u64| ranges.iter().any(|range| range.contains(&at));
        assert!((0..10 * RANGES_MAX as u64).all(|n| covers(n * 10)));
    }
}
