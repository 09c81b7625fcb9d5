//! The recipe of a stream under way: entries in stream order, and the new bytes that they need gathered into chunks.
//!
//! Runs of new bytes of 64 KiB or more are cut where the stream is cut anyway. So a chunk that is all new is stored
//! under the id by which it is found again wherever it turns up. Shorter ones, a few rows each, are gathered into
//! chunks of up to 256 KiB, each of which is a block of its own. A restore then keeps one small block open for each
//! backup that the stream has bytes of. Entries that follow such a run wait until its chunk has a name.

use super::Sink;
use crate::base::id::{ChunkId, NodeId};
use crate::content::delta;
use crate::vault::RepoError;
use crate::vault::format::index::BlockKind;
use crate::vault::reader::{Extent, RecipeWalker, Step};
use crate::vault::snapshot::recipe::{Base, Entry, TreeBuilder};
use std::collections::VecDeque;

/// Runs of new bytes from that length on are cut by content.
const LONG_RUN: usize = 64 << 10;
/// A part of a chunk is gathered with others if it is shorter, in bytes.
const LONG_PIECE: usize = 64 << 10;
/// Longer pieces share a block with those so near before them in the stream, in bytes, and with none further away. A
/// restore that came to the one would have to open the block again for the other, or to keep it open until then.
const NEAR: u64 = 1 << 20;
/// A chunk of gathered runs is at most that long, in bytes.
const GATHERED_MAX: usize = 256 << 10;
/// Chunks of the stream that may be under comparison: one copy may span any number.
const CUTS_MAX: usize = 4096;
/// Entries that may wait for a chunk of gathered runs.
const WAITING_MAX: usize = 64 << 10;

/// How a copy of the parent's bytes is written down.
pub(super) enum Copies {
    /// There is no parent, and nothing is copied.
    None,
    /// As a range of the parent's stream: the recipe rests on the parent's.
    Relative { bytes: u64, base: Base },
    /// As what the parent's recipe makes of them: ranges of the stream of `base`, which lies far below the parent, and
    /// ranges of chunks; of chunks alone without one.
    Resolved { root: NodeId, base: Option<Base>, walker: Box<RecipeWalker> },
}

/// An entry that waits for the chunk of gathered runs before it.
enum Waiting {
    /// A range of that chunk.
    Gathered {
        offset: u32,
        len: u32,
    },
    Entry(Entry),
}

/// A chunk of the stream.
struct Cut {
    start: u64,
    end: u64,
    chunk: Option<ChunkId>,
}

pub(super) struct RecipeWriter {
    tree: TreeBuilder,
    copies: Copies,
    /// Offset in the stream of the run under way, or of what comes next.
    position: u64,
    /// Chunks of the stream that are being compared: where each ends.
    cuts: VecDeque<Cut>,
    /// The run of new bytes under way, or what of it was not cut off yet.
    run: Vec<u8>,
    run_is_long: bool,
    /// Where the last long piece ended.
    long_end: u64,
    gathered: Vec<u8>,
    waiting: Vec<Waiting>,
}

impl RecipeWriter {
    pub(super) fn new(copies: Copies) -> Self {
        let base = match &copies {
            Copies::None => None,
            Copies::Relative { base, .. } => Some(*base),
            Copies::Resolved { base, .. } => *base,
        };
        Self {
            tree: TreeBuilder::new(base),
            copies,
            position: 0,
            cuts: VecDeque::new(),
            run: Vec::new(),
            run_is_long: false,
            long_end: 0,
            gathered: Vec::new(),
            waiting: Vec::new(),
        }
    }

    /// Adds an entry after all that came before it.
    pub(super) fn push(&mut self, sink: &mut Sink, entry: Entry) -> Result<(), RepoError> {
        if self.waiting.is_empty() {
            return self.tree.push(entry, &mut |node| sink.add_node(&node));
        }
        self.waiting.push(Waiting::Entry(entry));
        if self.waiting.len() >= WAITING_MAX { self.close_gathered(sink) } else { Ok(()) }
    }

    /// Adds `len` bytes that are the parent's from `offset` on.
    fn copy(&mut self, sink: &mut Sink, offset: u64, len: u64) -> Result<(), RepoError> {
        let (root, base, mut walker) = match std::mem::replace(&mut self.copies, Copies::None) {
            Copies::Resolved { root, base, walker } => (root, base, walker),
            others => {
                self.copies = others;
                return self.push(sink, Entry::Copy { offset, len });
            }
        };
        let floor = base.map(|base| base.depth - 1);
        let walked = walker.walk_above(&root, floor, offset..offset + len, |step| {
            let entry = match step {
                Step::Extent(Extent { chunk, offset, len }) => {
                    Entry::Extent { chunk, offset, len: u64::from(len) }
                }
                Step::Copy { offset, len } => Entry::Copy { offset, len },
            };
            self.push(sink, entry)
        });
        self.copies = Copies::Resolved { root, base, walker };
        walked
    }

    /// The next `len` bytes of the stream were put down.
    fn advance(&mut self, len: u64) {
        self.position += len;
        while self.cuts.front().is_some_and(|cut| cut.end <= self.position) {
            self.cuts.pop_front();
        }
    }

    /// A chunk of `len` bytes follows that is known, and where: after all that came before it.
    pub(super) fn known(
        &mut self,
        sink: &mut Sink,
        chunk: ChunkId,
        len: u64,
        place: Option<u64>,
    ) -> Result<(), RepoError> {
        self.end_run(sink)?;
        self.advance(len);
        match place {
            Some(offset) => self.copy(sink, offset, len),
            None => self.push(sink, Entry::Extent { chunk, offset: 0, len }),
        }
    }

    /// `len` bytes follow that are the parent's from `offset` on: after all that came before them.
    pub(super) fn copied(&mut self, sink: &mut Sink, offset: u64, len: u64) -> Result<(), RepoError> {
        self.end_run(sink)?;
        self.advance(len);
        self.copy(sink, offset, len)
    }

    /// A chunk of `len` bytes, or a span that is none, is about to be compared, which in the stream follows all that
    /// was put down or is being compared.
    pub(super) fn expect(&mut self, chunk: Option<ChunkId>, len: u64) {
        let start = self.cuts.back().map_or(self.position, |cut| cut.end);
        self.cuts.push_back(Cut { start, end: start + len, chunk });
    }

    /// Whether so many chunks are being compared that the comparison had better put down what it has.
    pub(super) fn is_far_behind(&self) -> bool {
        self.cuts.len() >= CUTS_MAX
    }

    /// Takes new bytes; they belong to the run under way.
    fn literal(&mut self, sink: &mut Sink, bytes: &[u8]) -> Result<(), RepoError> {
        self.run.extend_from_slice(bytes);
        self.run_is_long |= self.run.len() >= LONG_RUN;
        if !self.run_is_long {
            return Ok(());
        }
        while let Some(cut) = self.cuts.front().filter(|cut| cut.end <= self.position + self.run.len() as u64)
        {
            let whole = cut.chunk.filter(|_| cut.start == self.position);
            let len = (cut.end - self.position) as usize;
            self.take_piece(sink, len, whole)?;
        }
        Ok(())
    }

    /// Ends the run of new bytes, if there is one.
    fn end_run(&mut self, sink: &mut Sink) -> Result<(), RepoError> {
        self.run_is_long = false;
        self.take_piece(sink, self.run.len(), None)
    }

    /// Puts down the first `len` bytes of the run: a chunk of the stream, if `whole` names it, or part of one.
    fn take_piece(&mut self, sink: &mut Sink, len: usize, whole: Option<ChunkId>) -> Result<(), RepoError> {
        let mut run = std::mem::take(&mut self.run);
        let piece = run.get(..len).unwrap_or_default();
        let outcome = self.put_piece(sink, piece, whole);
        run.drain(..len);
        self.run = run;
        self.advance(len as u64);
        outcome
    }

    fn put_piece(&mut self, sink: &mut Sink, piece: &[u8], whole: Option<ChunkId>) -> Result<(), RepoError> {
        if whole.is_some() || piece.len() >= LONG_PIECE {
            if self.position - self.long_end > NEAR {
                sink.submit(BlockKind::Data)?;
                sink.submit(BlockKind::Blinded)?;
            }
            let len = piece.len() as u64;
            self.long_end = self.position + len;
            let chunk = match whole {
                Some(chunk) => sink.add_chunk(chunk, piece)?,
                // Not cut by its content: nobody finds it again by that.
                None => sink.add_blinded(piece)?,
            };
            return self.push(sink, Entry::Extent { chunk, offset: 0, len });
        }
        if piece.is_empty() {
            return Ok(());
        }
        if self.gathered.len() + piece.len() > GATHERED_MAX {
            self.close_gathered(sink)?;
        }
        let (offset, len) = (self.gathered.len() as u32, piece.len() as u32);
        self.gathered.extend_from_slice(piece);
        self.waiting.push(Waiting::Gathered { offset, len });
        Ok(())
    }

    /// Stores the gathered runs as a chunk and lets the entries go that waited for it.
    fn close_gathered(&mut self, sink: &mut Sink) -> Result<(), RepoError> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let chunk: ChunkId = sink.add_gathered(&self.gathered)?;
        self.gathered.clear();
        let tree = &mut self.tree;
        self.waiting.drain(..).try_for_each(|waiting| {
            let entry = match waiting {
                Waiting::Entry(entry) => entry,
                Waiting::Gathered { offset, len } => Entry::Extent { chunk, offset, len: u64::from(len) },
            };
            tree.push(entry, &mut |node| sink.add_node(&node))
        })
    }

    /// Ends the recipe; its root, and the number of its entries.
    pub(super) fn finish(mut self, sink: &mut Sink) -> Result<(NodeId, u64), RepoError> {
        self.end_run(sink)?;
        self.close_gathered(sink)?;
        if let Copies::Relative { bytes, base } = self.copies
            && self.tree.is_copy_of_all(bytes)
        {
            // The stream is its parent once more, and so is the recipe.
            return Ok((base.root, 1));
        }
        let entries = self.tree.entries();
        Ok((self.tree.finish(&mut |node| sink.add_node(&node))?, entries))
    }
}

/// Takes what a comparison finds into the recipe.
pub(super) struct Emitter<'a> {
    pub sink: &'a mut Sink,
    pub recipe: &'a mut RecipeWriter,
}

impl delta::Sink for Emitter<'_> {
    type Error = RepoError;

    fn copy(&mut self, offset: u64, len: u64) -> Result<(), RepoError> {
        self.sink.stats.bytes_copied += len;
        self.sink.tally.same(len);
        self.recipe.end_run(self.sink)?;
        self.recipe.advance(len);
        self.recipe.copy(self.sink, offset, len)
    }

    fn literal(&mut self, bytes: &[u8]) -> Result<(), RepoError> {
        self.sink.tally.new_bytes(bytes.len() as u64);
        self.recipe.literal(self.sink, bytes)
    }
}
