//! One stream on its way into the repository: each chunk is looked up, and what nobody knows is compared with the
//! parent.

use super::input::CutPiece;
use super::recipe::{Copies, Emitter, RecipeWriter};
use super::{Basis, Edges, Parent, Sink};
use crate::base::id::{ChunkId, NodeId};
use crate::content::delta::Differ;
use crate::vault::RepoError;
use crate::vault::reader::{ReadCost, Windows};
use crate::vault::snapshot::recipe::Entry;
use hashbrown::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

/// Changes are scattered where no more than one byte in so many is new.
const SCATTERED_SHARE: u64 = 8;

/// Takes the chunks of a stream in order.
pub(super) struct StreamWriter<'a> {
    sink: &'a mut Sink,
    recipe: RecipeWriter,
    against: Option<Against>,
    afresh: Option<Afresh>,
}

/// The parent of a stream, while the two are compared.
struct Against {
    differ: Differ<RepoError>,
    windows: Windows,
    places: Places,
    /// Bytes of the stream that were handed over.
    at: u64,
    parent_bytes: u64,
    edges: Option<Arc<Edges>>,
    edges_told: usize,
}

impl Against {
    fn new(parent: Parent, edges: Option<Arc<Edges>>) -> (Copies, Self) {
        let Parent { survey, windows, copies, section_ends, .. } = parent;
        let parent_bytes = survey.bytes;
        let (differ, places) = (Differ::with_sections(section_ends), Places::new(survey.whole));
        (copies, Self { differ, windows, places, at: 0, parent_bytes, edges, edges_told: 0 })
    }

    /// `len` bytes come next: tells the differ which sections end in them.
    fn expect(&mut self, len: usize) {
        self.at += len as u64;
        let Some(edges) = &self.edges else { return };
        while let Some(edge) = edges.get(self.edges_told).filter(|edge| *edge <= self.at) {
            self.differ.section_ends(edge);
            self.edges_told += 1;
        }
    }
}

/// A stream that is stored afresh shares no chunk with blocks that are mostly dead.
struct Afresh {
    survey: ReadCost,
    /// Chunks stored again.
    renewed: HashSet<ChunkId>,
}

/// Where the parent holds whole chunks.
struct Places {
    /// Ascending by offset.
    whole: Vec<(u64, ChunkId)>,
    /// First place of each chunk, by the first word of its id.
    numbers: HashMap<u64, u32>,
}

impl Places {
    fn new(whole: Vec<(u64, ChunkId)>) -> Self {
        let mut numbers = HashMap::with_capacity(whole.len());
        for (number, (_, chunk)) in (0u32..).zip(&whole) {
            numbers.entry(first_word(chunk)).or_insert(number);
        }
        Self { whole, numbers }
    }

    /// An offset of the parent at which it holds the chunk: `expected`, if it is there.
    fn find(&self, chunk: &ChunkId, expected: u64) -> Option<u64> {
        let number = *self.numbers.get(&first_word(chunk))?;
        let is_expected = self.whole.binary_search_by_key(&expected, |(offset, _)| *offset);
        let is_expected =
            is_expected.ok().and_then(|at| self.whole.get(at)).filter(|(_, other)| other == chunk);
        let first = self.whole.get(number as usize).filter(|(_, other)| other == chunk);
        is_expected.or(first).map(|(offset, _)| *offset)
    }
}

fn first_word(chunk: &ChunkId) -> u64 {
    chunk.as_bytes().first_chunk::<8>().map_or(0, |word| u64::from_le_bytes(*word))
}

impl<'a> StreamWriter<'a> {
    pub(super) fn new(sink: &'a mut Sink, basis: Basis) -> Self {
        let (copies, against, afresh) = match basis {
            Basis::Chunks => (Copies::None, None, None),
            Basis::Afresh(survey) => (Copies::None, None, Some(Afresh { survey, renewed: HashSet::new() })),
            Basis::Parent(parent) => {
                let (copies, against) = Against::new(*parent, sink.tally.edges());
                (copies, Some(against), None)
            }
        };
        Self { sink, recipe: RecipeWriter::new(copies), against, afresh }
    }

    /// Takes the next piece. Whether it followed the parent with changes all over: no chunk of it is known, and it is
    /// neither the same as the parent nor much else.
    pub(super) fn piece(&mut self, piece: &CutPiece) -> Result<bool, RepoError> {
        let known_before = self.sink.stats.bytes_known;
        let before = self.against.as_ref().map(|against| against.differ.summary());
        for (id, bytes) in piece.iter() {
            match id {
                Some(id) => self.chunk(id, bytes)?,
                None => self.span(bytes)?,
            }
        }
        if let Some(range) = &piece.copy {
            self.copy(range.clone())?;
            return Ok(false);
        }
        let (Some(before), Some(against)) = (before, &self.against) else { return Ok(false) };
        let now = against.differ.summary();
        let literal = now.literal_bytes - before.literal_bytes;
        Ok(self.sink.stats.bytes_known == known_before
            && now.parent_failures == before.parent_failures
            && literal > 0
            && literal * SCATTERED_SHARE <= piece.fresh as u64)
    }

    /// The next bytes are a range of the parent's stream, which nobody read. What the parent lies in is relied on and
    /// was looked up when it was opened.
    fn copy(&mut self, range: Range<u64>) -> Result<(), RepoError> {
        let misfit = |what: &str| {
            Err(RepoError::Inconsistent { object: "the stream".to_owned(), what: what.to_owned() })
        };
        let Some(against) = &mut self.against else { return misfit("a copy of a parent that is not there") };
        if range.is_empty() || range.end > against.parent_bytes {
            return misfit("a copy of bytes that its parent does not have");
        }
        let len = range.end - range.start;
        against.at += len;
        let Against { differ, windows, .. } = against;
        let mut out = Emitter { sink: self.sink, recipe: &mut self.recipe };
        differ.known(Some(range.end), len, windows, &mut out)?;
        self.sink.stats.bytes_copied += len;
        self.sink.tally.same(len);
        self.recipe.copied(self.sink, range.start, len)
    }

    /// Takes the next bytes where chunks are not looked for.
    fn span(&mut self, bytes: &[u8]) -> Result<(), RepoError> {
        let Some(against) = &mut self.against else {
            let what = "bytes without a parent that were not cut into chunks".to_owned();
            return Err(RepoError::Inconsistent { object: "the stream".to_owned(), what });
        };
        against.expect(bytes.len());
        let Against { differ, windows, .. } = against;
        self.recipe.expect(None, bytes.len() as u64);
        let mut out = Emitter { sink: self.sink, recipe: &mut self.recipe };
        if out.recipe.is_far_behind() {
            differ.end_run(windows, &mut out)?;
        }
        differ.push(bytes, windows, &mut out)
    }

    /// Takes the next chunk.
    fn chunk(&mut self, id: ChunkId, bytes: &[u8]) -> Result<(), RepoError> {
        let len = bytes.len() as u64;
        self.sink.stats.chunks += 1;
        let is_known = match &mut self.afresh {
            // Its id would tell what it is: nobody looks for it.
            _ if self.sink.is_blinded(bytes) => false,
            None => self.sink.is_known(&id),
            Some(afresh) => {
                let sound = afresh.renewed.contains(&id) || self.sink.is_known_in(&id, &afresh.survey);
                if !sound {
                    afresh.renewed.insert(id);
                }
                sound
            }
        };
        let Some(against) = &mut self.against else {
            let chunk = if is_known {
                self.sink.stats.bytes_known += len;
                self.sink.tally.same(len);
                id
            } else {
                self.sink.tally.new_bytes(len);
                self.sink.store_chunk(id, bytes)?
            };
            return self.recipe.push(self.sink, Entry::Extent { chunk, offset: 0, len });
        };
        against.expect(bytes.len());
        let Against { differ, windows, places, .. } = against;
        if !is_known {
            self.recipe.expect(Some(id), len);
        }
        let mut out = Emitter { sink: self.sink, recipe: &mut self.recipe };
        if !is_known {
            if out.recipe.is_far_behind() {
                differ.end_run(windows, &mut out)?;
            }
            return differ.push(bytes, windows, &mut out);
        }
        differ.end_run(windows, &mut out)?;
        let expected = differ.position();
        let place = places.find(&id, expected);
        differ.known(place.map(|place| place + len), len, windows, &mut out)?;
        self.sink.stats.bytes_known += len;
        self.sink.tally.same(len);
        self.recipe.known(self.sink, id, len, place)
    }

    /// Bytes found in the repository or in the parent so far.
    pub(super) fn bytes_found(&self) -> u64 {
        self.sink.stats.bytes_known + self.sink.stats.bytes_copied
    }

    /// Takes note of packs that are stored by now.
    pub(super) fn take_finished(&mut self) -> Result<(), RepoError> {
        self.sink.take_finished()
    }

    /// Ends the stream: root of its recipe, and the first error of reading the parent.
    pub(super) fn finish(mut self) -> Result<(NodeId, Option<RepoError>), RepoError> {
        let mut failure = None;
        if let Some(Against { mut differ, mut windows, .. }) = self.against.take() {
            let mut out = Emitter { sink: self.sink, recipe: &mut self.recipe };
            differ.end_run(&mut windows, &mut out)?;
            failure = differ.take_failure();
            self.sink.stats.bytes_parent_read = Some(windows.bytes_read());
        }
        let (root, entries) = self.recipe.finish(self.sink)?;
        self.sink.stats.extents = entries;
        Ok((root, failure))
    }
}
