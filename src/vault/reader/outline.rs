//! The extents of a stream, remembered from one walk over its recipe for the next.

use super::recipe::Extent;
use crate::base::id::ChunkId;
use crate::vault::RepoError;
use std::ops::Range;

/// Of so many stream bytes, one is remembered with the extent that it lies in.
const MARK_BYTES: u64 = 256 << 10;

/// A range of one of the outline's chunks.
#[derive(Debug, Clone, Copy)]
struct Piece {
    chunk: u32,
    offset: u32,
    len: u32,
}

/// The extents of a range of a stream, in order. Memory: 12 bytes an extent, 32 a chunk met anew, and 16 for each 256
/// KiB.
#[derive(Debug, Default)]
pub struct Outline {
    chunks: Vec<ChunkId>,
    pieces: Vec<Piece>,
    /// Stream offsets at which pieces begin, and the pieces; ascending.
    marks: Vec<(u64, u32)>,
    next_mark: u64,
    /// Where the next extent begins.
    end: u64,
}

impl Outline {
    /// An outline of a range of a stream that begins at `start`.
    pub fn at(start: u64) -> Self {
        Self { next_mark: start, end: start, ..Self::default() }
    }

    /// Notes a chunk from which extents will be taken; its number.
    pub fn add_chunk(&mut self, chunk: ChunkId) -> u32 {
        self.chunks.push(chunk);
        self.chunks.len() as u32 - 1
    }

    /// Notes the next extent, which is of the chunk with that number.
    pub fn add(&mut self, chunk: u32, extent: Extent) {
        if self.end >= self.next_mark {
            self.marks.push((self.end, self.pieces.len() as u32));
            self.next_mark = self.end + MARK_BYTES;
        }
        self.pieces.push(Piece { chunk, offset: extent.offset, len: extent.len });
        self.end += u64::from(extent.len);
    }

    /// Adds the outline of the range that follows.
    pub fn append(&mut self, next: Self) {
        let (chunks, pieces) = (self.chunks.len() as u32, self.pieces.len() as u32);
        self.chunks.extend(next.chunks);
        self.pieces.extend(next.pieces.iter().map(|piece| Piece { chunk: piece.chunk + chunks, ..*piece }));
        self.marks.extend(next.marks.iter().map(|(offset, at)| (*offset, at + pieces)));
        (self.next_mark, self.end) = (next.next_mark, next.end);
    }

    /// Bytes of memory that it takes.
    pub fn memory(&self) -> usize {
        self.chunks.capacity() * size_of::<ChunkId>()
            + self.pieces.capacity() * size_of::<Piece>()
            + self.marks.capacity() * size_of::<(u64, u32)>()
    }

    /// Gives back what is reserved and not used.
    pub fn shrink(&mut self) {
        self.chunks.shrink_to_fit();
        self.pieces.shrink_to_fit();
        self.marks.shrink_to_fit();
    }

    /// Gives the extents that make up `range` of the stream, which lies in the outline, in order.
    ///
    /// # Errors
    /// Those of `each`.
    pub fn walk(
        &self,
        range: Range<u64>,
        mut each: impl FnMut(Extent) -> Result<(), RepoError>,
    ) -> Result<(), RepoError> {
        let mark = self.marks.partition_point(|(offset, _)| *offset <= range.start).saturating_sub(1);
        let Some((mut at, first)) = self.marks.get(mark).copied() else { return Ok(()) };
        for piece in self.pieces.get(first as usize..).unwrap_or_default() {
            if at >= range.end {
                break;
            }
            let end = at + u64::from(piece.len);
            if end > range.start {
                let skip = range.start.saturating_sub(at) as u32;
                let len = (end.min(range.end) - at) as u32 - skip;
                // Numbers come from `add_chunk` alone.
                let Some(chunk) = self.chunks.get(piece.chunk as usize) else { break };
                each(Extent { chunk: *chunk, offset: piece.offset + skip, len })?;
            }
            at = end;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chunk(number: u8) -> ChunkId {
        ChunkId::from_bytes([number; 32])
    }

    /// The outline of `extents`, made in two parts that are joined at one of them.
    fn outline(extents: &[Extent], joint: usize) -> Outline {
        let mut whole = Outline::at(0);
        let mut start = 0;
        for part in [&extents[..joint], &extents[joint..]] {
            let mut outline = Outline::at(start);
            for extent in part {
                let number = outline.add_chunk(extent.chunk);
                outline.add(number, *extent);
                start += u64::from(extent.len);
            }
            whole.append(outline);
        }
        whole
    }

    proptest! {
        #[test]
        fn gives_any_range_of_what_was_added(
            parts in prop::collection::vec((any::<u8>(), 0u32..1 << 20, 1u32..300 << 10), 1..60),
            joint in any::<prop::sample::Index>(),
            ends in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
        ) {
            let extents: Vec<Extent> =
                parts.iter().map(|&(n, offset, len)| Extent { chunk: chunk(n), offset, len }).collect();
            let bytes: u64 = extents.iter().map(|extent| u64::from(extent.len)).sum();
            let outline = outline(&extents, joint.index(extents.len()));
            let (a, b) = (ends.0.index(bytes as usize + 1) as u64, ends.1.index(bytes as usize + 1) as u64);
            let range = a.min(b)..a.max(b);
            let mut given = Vec::new();
            outline.walk(range.clone(), |extent| { given.push(extent); Ok(()) }).unwrap();

            let mut expected = Vec::new();
            let mut at = 0;
            for extent in extents {
                let (start, end) = (at, at + u64::from(extent.len));
                at = end;
                let (from, upto) = (start.max(range.start), end.min(range.end));
                if from < upto {
                    let skip = (from - start) as u32;
                    expected.push(Extent { offset: extent.offset + skip, len: (upto - from) as u32, ..extent });
                }
            }
            prop_assert_eq!(given, expected);
        }
    }
}
