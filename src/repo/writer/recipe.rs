//! The recipe of a stream under way: entries in stream order, and the new bytes that they need gathered into chunks.
//!
//! Runs of new bytes of 64 KiB or more are cut like any stream, so that they are found again wherever they turn up. Shorter ones,
//! a few rows each, are gathered into chunks of up to 256 KiB, each of which is a block of its own: a restore then keeps one
//! small block open for each backup that the stream has bytes of. Entries that follow such a run wait until its chunk has a name.

use super::Sink;
use crate::chunker::Chunker;
use crate::delta;
use crate::id::{ChunkId, NodeId};
use crate::repo::RepoError;
use crate::repo::reader::RecipeWalker;
use crate::snapshot::recipe::{Base, Entry, TreeBuilder};

/// Runs of new bytes from that length on are cut by content.
const LONG_RUN: usize = 64 << 10;
/// A chunk of gathered runs is at most that long, in bytes.
const GATHERED_MAX: usize = 256 << 10;
/// Entries that may wait for a chunk of gathered runs.
const WAITING_MAX: usize = 64 << 10;

/// How a copy of the parent's bytes is written down.
pub(super) enum Copies {
    /// There is no parent, and nothing is copied.
    None,
    /// As a range of the parent's stream: the recipe rests on the parent's.
    Relative { bytes: u64, base: Base },
    /// As the ranges of chunks that the parent's recipe comes down to.
    Resolved { root: NodeId, walker: Box<RecipeWalker> },
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

pub(super) struct RecipeWriter {
    tree: TreeBuilder,
    copies: Copies,
    /// The run of new bytes under way, or what of it was not cut off yet.
    run: Vec<u8>,
    run_is_long: bool,
    gathered: Vec<u8>,
    waiting: Vec<Waiting>,
}

impl RecipeWriter {
    pub fn new(copies: Copies) -> Self {
        let base = if let Copies::Relative { base, .. } = &copies { Some(*base) } else { None };
        Self {
            tree: TreeBuilder::new(base),
            copies,
            run: Vec::new(),
            run_is_long: false,
            gathered: Vec::new(),
            waiting: Vec::new(),
        }
    }

    /// Adds an entry after all that came before it.
    pub fn push(&mut self, sink: &mut Sink, entry: Entry) -> Result<(), RepoError> {
        if self.waiting.is_empty() {
            return self.tree.push(entry, &mut |node| sink.add_node(&node));
        }
        self.waiting.push(Waiting::Entry(entry));
        if self.waiting.len() >= WAITING_MAX { self.close_gathered(sink) } else { Ok(()) }
    }

    /// Adds `len` bytes that are the parent's from `offset` on.
    pub fn copy(&mut self, sink: &mut Sink, offset: u64, len: u64) -> Result<(), RepoError> {
        let (root, mut walker) = match std::mem::replace(&mut self.copies, Copies::None) {
            Copies::Resolved { root, walker } => (root, walker),
            others => {
                self.copies = others;
                return self.push(sink, Entry::Copy { offset, len });
            }
        };
        let walked = walker.walk(&root, offset..offset + len, &mut |extent| {
            let entry =
                Entry::Extent { chunk: extent.chunk, offset: extent.offset, len: u64::from(extent.len) };
            self.push(sink, entry)
        });
        self.copies = Copies::Resolved { root, walker };
        walked
    }

    /// Takes new bytes; they belong to the run under way.
    fn literal(&mut self, sink: &mut Sink, chunker: &Chunker, bytes: &[u8]) -> Result<(), RepoError> {
        self.run.extend_from_slice(bytes);
        self.run_is_long |= self.run.len() >= LONG_RUN;
        if self.run.len() >= 4 * chunker.sizes().max {
            self.cut_run(sink, chunker, chunker.sizes().max)
        } else {
            Ok(())
        }
    }

    /// Ends the run of new bytes, if there is one.
    pub fn end_run(&mut self, sink: &mut Sink, chunker: &Chunker) -> Result<(), RepoError> {
        if self.run.is_empty() {
            return Ok(());
        }
        if std::mem::take(&mut self.run_is_long) {
            return self.cut_run(sink, chunker, 1);
        }
        if self.gathered.len() + self.run.len() > GATHERED_MAX {
            self.close_gathered(sink)?;
        }
        let (offset, len) = (self.gathered.len() as u32, self.run.len() as u32);
        self.gathered.append(&mut self.run);
        self.waiting.push(Waiting::Gathered { offset, len });
        Ok(())
    }

    /// Cuts chunks off the run while at least `least` bytes are left.
    fn cut_run(&mut self, sink: &mut Sink, chunker: &Chunker, least: usize) -> Result<(), RepoError> {
        let run = std::mem::take(&mut self.run);
        let mut rest = run.as_slice();
        while rest.len() >= least {
            let (chunk, later) = rest.split_at(chunker.cut(rest));
            let id = sink.add_chunk(chunk)?;
            self.push(sink, Entry::Extent { chunk: id, offset: 0, len: chunk.len() as u64 })?;
            rest = later;
        }
        let left = rest.len();
        self.run = run;
        self.run.drain(..self.run.len() - left);
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
    pub fn finish(mut self, sink: &mut Sink, chunker: &Chunker) -> Result<(NodeId, u64), RepoError> {
        self.end_run(sink, chunker)?;
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
    pub chunker: &'a Chunker,
    pub recipe: &'a mut RecipeWriter,
}

impl delta::Sink for Emitter<'_> {
    type Error = RepoError;

    fn copy(&mut self, offset: u64, len: u64) -> Result<(), RepoError> {
        self.sink.stats.bytes_copied += len;
        self.recipe.end_run(self.sink, self.chunker)?;
        self.recipe.copy(self.sink, offset, len)
    }

    fn literal(&mut self, bytes: &[u8]) -> Result<(), RepoError> {
        self.recipe.literal(self.sink, self.chunker, bytes)
    }
}
