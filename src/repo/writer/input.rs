//! Reads a stream ahead in large buffers and reckons its digest on the way; cuts it into chunks and names them. A thread each.

use crate::chunker::Chunker;
use crate::event::Cancel;
use crate::id::{ChunkId, StreamDigest};
use crate::repo::RepoError;
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

/// A run of whole chunks.
pub(super) struct CutPiece {
    pub bytes: Vec<u8>,
    /// Where in `bytes` the first chunk begins; the others follow.
    pub start: usize,
    /// Length and id of each chunk.
    pub chunks: Vec<(usize, ChunkId)>,
    /// Bytes that were read for it.
    pub fresh: usize,
}

impl CutPiece {
    /// Each chunk with its id, in order.
    pub fn iter(&self) -> impl Iterator<Item = (ChunkId, &[u8])> {
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
            self.chunks.push((chunk.len(), id));
            run = later;
        }
        run.len()
    }
}

/// Cuts pieces into chunks and names them with `key`. Stops when nobody takes them any more.
pub(super) fn cut_ahead(chunker: &Chunker, key: &[u8; 32], full: &Receiver<Piece>, cut: &Sender<CutPiece>) {
    let max = chunker.sizes().max;
    let mut rest: Vec<u8> = Vec::with_capacity(max);
    for Piece { mut bytes, headroom } in full {
        let fresh = bytes.len() - headroom;
        // What was left over of the piece before goes right in front: chunks are cut from one run of bytes.
        let start = headroom - rest.len();
        if let Some(room) = bytes.get_mut(start..headroom) {
            room.copy_from_slice(&rest);
        }
        rest.clear();
        let mut piece = CutPiece { bytes, start, chunks: Vec::with_capacity(64), fresh };
        let left = piece.cut(chunker, key, max);
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
