//! Reads a stream ahead in a thread of its own, in large buffers, and reckons its digest on the way.

use crate::event::Cancel;
use crate::id::StreamDigest;
use crate::repo::RepoError;
use crossbeam_channel::{Receiver, Sender};
use std::io::{ErrorKind, Read};

/// Bytes read at a time.
pub(super) const FILL_BYTES: usize = 2 << 20;
/// Buffers that go round between reader and chunker.
pub(super) const BUFFERS: usize = 4;

/// A piece of the stream: the bytes from `headroom` on. The room before takes what the chunker left over of the piece before.
pub(super) struct Piece {
    pub bytes: Vec<u8>,
    pub headroom: usize,
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
