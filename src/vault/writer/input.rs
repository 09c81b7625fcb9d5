//! Reads a stream ahead in large buffers and reckons its digest on the way; cuts it into chunks and names them. A thread each.
//!
//! Where the writer finds that the stream follows its parent with changes all over, no chunk is one that is known, and looking for
//! their ends and reckoning their ids is for nothing: then pieces pass uncut. What the writer found in a piece decides on
//! the piece [`LAG`] later, and is waited for, so that the outcome depends on the bytes alone and not on which thread is faster.

use crate::base::event::Cancel;
use crate::base::id::{ChunkId, StreamDigest};
use crate::content::chunker::Chunker;
use crate::vault::RepoError;
use crossbeam_channel::{Receiver, Sender};
use std::io::{ErrorKind, Read};

/// Bytes read at a time.
pub(super) const FILL_BYTES: usize = 2 << 20;
/// Buffers that go round between reader, chunker and writer.
pub(super) const BUFFERS: usize = 6;

/// A piece of the stream: the bytes from `headroom` on. The room before takes what the chunker left over of the piece before.
pub(super) struct Piece {
    pub bytes: Vec<u8>,
    pub headroom: usize,
}

/// So many pieces later it counts what was found in one.
const LAG: usize = 3;
/// Pieces that are not cut into chunks are handed on in spans of so many bytes.
const SPAN_BYTES: usize = 256 << 10;

/// A run of whole chunks, or of spans that are none.
pub(super) struct CutPiece {
    pub bytes: Vec<u8>,
    /// Where in `bytes` the first chunk begins; the others follow.
    pub start: usize,
    /// Length and id of each chunk; spans have none.
    pub chunks: Vec<(usize, Option<ChunkId>)>,
    /// Bytes that were read for it.
    pub fresh: usize,
}

impl CutPiece {
    /// Each chunk or span with its id, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Option<ChunkId>, &[u8])> {
        let mut rest = self.bytes.get(self.start..).unwrap_or_default();
        self.chunks.iter().map(move |(len, id)| {
            let (chunk, later) = rest.split_at_checked(*len).unwrap_or_default();
            rest = later;
            (*id, chunk)
        })
    }

    fn cut(&mut self, chunker: &Chunker, key: &[u8; 32], run_min: usize) -> usize {
        let mut run = self.bytes.get(self.start..).unwrap_or_default();
        while run.len() >= run_min {
            let (chunk, later) = run.split_at(chunker.cut(run));
            let id = ChunkId::from_bytes(*blake3::keyed_hash(key, chunk).as_bytes());
            self.chunks.push((chunk.len(), Some(id)));
            run = later;
        }
        run.len()
    }

    fn pass(&mut self) {
        let run = self.bytes.get(self.start..).unwrap_or_default();
        self.chunks.extend(run.chunks(SPAN_BYTES).map(|span| (span.len(), None)));
    }
}

/// Cuts pieces into chunks and names them with `key`. For each piece that it took, the writer says in `scattered` whether all of
/// it followed the parent but for small changes. Stops when nobody takes them any more.
pub(super) fn cut_ahead(
    chunker: &Chunker,
    key: &[u8; 32],
    full: &Receiver<Piece>,
    cut: &Sender<CutPiece>,
    scattered: &Receiver<bool>,
) {
    let max = chunker.sizes().max;
    let mut rest: Vec<u8> = Vec::with_capacity(max);
    for (number, Piece { mut bytes, headroom }) in full.iter().enumerate() {
        let passes = match number < LAG {
            true => false,
            false => match scattered.recv() {
                Ok(scattered) => scattered,
                Err(_) => return,
            },
        };
        let fresh = bytes.len() - headroom;
        // What was left over of the piece before goes right in front: chunks are cut from one run of bytes.
        let start = headroom - rest.len();
        if let Some(room) = bytes.get_mut(start..headroom) {
            room.copy_from_slice(&rest);
        }
        rest.clear();
        let mut piece = CutPiece { bytes, start, chunks: Vec::with_capacity(64), fresh };
        let left = match passes {
            true => {
                piece.pass();
                0
            }
            false => piece.cut(chunker, key, max),
        };
        rest.extend_from_slice(piece.bytes.get(piece.bytes.len() - left..).unwrap_or_default());
        if cut.send(piece).is_err() {
            return;
        }
    }
    let mut last = CutPiece { bytes: rest, start: 0, chunks: Vec::new(), fresh: 0 };
    last.cut(chunker, key, 1);
    // Safe to ignore because the writer that does not listen any more has an error to tell.
    let _ = cut.send(last);
}

/// What the whole stream was.
pub(super) struct Total {
    pub bytes: u64,
    pub digest: StreamDigest,
}

/// Reads `source` to its end. Stops without an error when nobody takes the pieces any more.
pub(super) fn read_ahead(
    source: &mut dyn Read,
    headroom: usize,
    full: &Sender<Piece>,
    empty: &Receiver<Vec<u8>>,
    cancel: &Cancel,
) -> Result<Total, RepoError> {
    let mut hasher = blake3::Hasher::new();
    let mut total = 0u64;
    loop {
        let Ok(mut bytes) = empty.recv() else { return Err(RepoError::Stopped) };
        bytes.resize(headroom + FILL_BYTES, 0);
        let filled = fill(source, bytes.get_mut(headroom..).unwrap_or_default(), cancel)?;
        bytes.truncate(headroom + filled);
        hasher.update(bytes.get(headroom..).unwrap_or_default());
        total += filled as u64;
        let ended = filled < FILL_BYTES;
        if filled > 0 && full.send(Piece { bytes, headroom }).is_err() {
            return Err(RepoError::Stopped);
        }
        if ended {
            let digest = StreamDigest::from_bytes(*hasher.finalize().as_bytes());
            return Ok(Total { bytes: total, digest });
        }
    }
}

/// Reads until the buffer is full or the stream ends.
fn fill(source: &mut dyn Read, buffer: &mut [u8], cancel: &Cancel) -> Result<usize, RepoError> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        if cancel.is_cancelled() {
            return Err(RepoError::Cancelled);
        }
        match source.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) if cancel.is_cancelled() => return Err(RepoError::Cancelled),
            Err(source) => return Err(RepoError::Input { source }),
        }
    }
    Ok(filled)
}
