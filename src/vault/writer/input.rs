//! Reads a stream ahead in large buffers and reckons its digest on the way; cuts it into chunks and names them. A
//! thread each.
//!
//! Where the writer finds that the stream follows its parent with changes all over, no chunk is one that is known, and
//! looking for their ends and reckoning their ids is for nothing: then pieces pass uncut. What the writer found in a
//! piece decides on the piece [`LAG`] later, and is waited for, so that the outcome depends on the bytes alone and not
//! on which thread is faster.

use crate::base::event::Cancel;
use crate::base::id::{ChunkId, StreamDigest};
use crate::base::numbers::DigestKind;
use crate::content::chunker::Chunker;
use crate::vault::RepoError;
use crossbeam_channel::{Receiver, Sender};
use ring::digest::{Context, SHA256};
use std::io::{ErrorKind, Read};
use std::ops::Range;

/// Bytes read at a time.
pub(super) const FILL_BYTES: usize = 2 << 20;
/// Buffers that go round between reader, chunker and writer.
pub(super) const BUFFERS: usize = 6;

/// A stream that may say of parts of itself that they are the parent's, without giving their bytes.
pub trait Input: Read + Send {
    /// Asked each time that `read` gave 0: the range of the parent's stream that the next bytes are. `None` at the end
    /// of the stream; otherwise it is read on.
    fn copy(&mut self) -> Option<Range<u64>>;

    /// Asked at the beginning and at the end of the stream: the digest of the digests of its files, which takes the
    /// place of that of its bytes. A stream either has one all the time or never.
    fn digest(&self) -> Option<StreamDigest>;
}

/// A stream that gives all of its bytes.
pub(super) struct Plain<'a>(pub &'a mut (dyn Read + Send));

impl Read for Plain<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Input for Plain<'_> {
    fn copy(&mut self) -> Option<Range<u64>> {
        None
    }

    fn digest(&self) -> Option<StreamDigest> {
        None
    }
}

/// The next of the stream.
pub(super) enum Piece {
    /// The bytes from `headroom` on. The room before takes what the chunker left over of the piece before.
    Bytes { bytes: Vec<u8>, headroom: usize },
    /// So many bytes as this range of the parent's stream has, which are the same.
    Copy(Range<u64>),
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
    /// What comes after them: a range of the parent's stream.
    pub copy: Option<Range<u64>>,
}

impl CutPiece {
    /// Each chunk or span with its id, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Option<ChunkId>, &[u8])> {
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

/// Cuts pieces into chunks and names them with `key`. For each piece that it took, the writer says in `scattered`
/// whether all of it followed the parent but for small changes. Stops when nobody takes them any more.
pub(super) fn cut_ahead(
    chunker: &Chunker,
    key: &[u8; 32],
    full: &Receiver<Piece>,
    cut: &Sender<CutPiece>,
    scattered: &Receiver<bool>,
) {
    let max = chunker.sizes().max;
    let mut rest: Vec<u8> = Vec::with_capacity(max);
    for (number, piece) in full.iter().enumerate() {
        let passes = match number < LAG {
            true => false,
            false => match scattered.recv() {
                Ok(scattered) => scattered,
                Err(_) => return,
            },
        };
        let (mut bytes, headroom) = match piece {
            Piece::Bytes { bytes, headroom } => (bytes, headroom),
            Piece::Copy(range) => {
                let bytes = std::mem::take(&mut rest);
                let mut last = CutPiece { bytes, start: 0, chunks: Vec::new(), fresh: 0, copy: Some(range) };
                last.cut(chunker, key, 1);
                if cut.send(last).is_err() {
                    return;
                }
                continue;
            }
        };
        let fresh = bytes.len() - headroom;
        // What was left over of the piece before goes right in front: chunks are cut from one run of bytes.
        let start = headroom - rest.len();
        if let Some(room) = bytes.get_mut(start..headroom) {
            room.copy_from_slice(&rest);
        }
        rest.clear();
        let mut piece = CutPiece { bytes, start, chunks: Vec::with_capacity(64), fresh, copy: None };
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
    let mut last = CutPiece { bytes: rest, start: 0, chunks: Vec::new(), fresh: 0, copy: None };
    last.cut(chunker, key, 1);
    // Safe to ignore because the writer that does not listen any more has an error to tell.
    let _ = cut.send(last);
}

/// What the whole stream was.
pub(super) struct Total {
    pub bytes: u64,
    pub digest: StreamDigest,
    pub digest_kind: DigestKind,
    /// SHA-256 in hexadecimal digits, for whoever has the dump and another program; nobody here looks at it. None where
    /// not all bytes were read.
    pub sha256: Option<String>,
}

/// The digests of a stream as it passes.
struct Digests {
    blake3: blake3::Hasher,
    sha256: Option<Context>,
}

impl Digests {
    fn update(&mut self, bytes: &[u8]) {
        self.blake3.update(bytes);
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
    }

    fn finish(self) -> (StreamDigest, Option<String>) {
        let hex = |context: Context| {
            context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        (StreamDigest::from_bytes(*self.blake3.finalize().as_bytes()), self.sha256.map(hex))
    }
}

/// Reads `source` to its end. Stops without an error when nobody takes the pieces any more.
pub(super) fn read_ahead(
    source: &mut dyn Input,
    headroom: usize,
    full: &Sender<Piece>,
    empty: &Receiver<Vec<u8>>,
    cancel: &Cancel,
) -> Result<Total, RepoError> {
    let sha256 = source.digest().is_none().then(|| Context::new(&SHA256));
    let mut digests = Digests { blake3: blake3::Hasher::new(), sha256 };
    let (mut total, mut is_copied) = (0u64, false);
    // Between two copies there may be no bytes, and the buffer for them is kept.
    let mut spare = None;
    loop {
        let next = spare.take().map_or_else(|| empty.recv(), Ok);
        let Ok(mut bytes) = next else { return Err(RepoError::Stopped) };
        let filled = fill(source, &mut bytes, headroom, cancel)?;
        digests.update(bytes.get(headroom..).unwrap_or_default());
        total += filled as u64;
        let ended = filled < FILL_BYTES;
        if filled == 0 {
            spare = Some(bytes);
        } else if full.send(Piece::Bytes { bytes, headroom }).is_err() {
            return Err(RepoError::Stopped);
        }
        if !ended {
            continue;
        }
        let Some(range) = source.copy() else { break };
        is_copied = true;
        total = total.saturating_add(range.end.saturating_sub(range.start));
        if full.send(Piece::Copy(range)).is_err() {
            return Err(RepoError::Stopped);
        }
    }
    match source.digest() {
        Some(digest) => Ok(Total { bytes: total, digest, digest_kind: DigestKind::OfFiles, sha256: None }),
        None if is_copied => {
            let what = "bytes that nobody read, and no digest of them".to_owned();
            Err(RepoError::Inconsistent { object: "the stream".to_owned(), what })
        }
        None => {
            let (digest, sha256) = digests.finish();
            Ok(Total { bytes: total, digest, digest_kind: DigestKind::Whole, sha256 })
        }
    }
}

/// A buffer grows by so much at first, and then to twice as much: a stream of many small parts does not clear 2 MiB for
/// each.
const FIRST_FILL_BYTES: usize = 64 << 10;

/// Reads behind `headroom` until there are [`FILL_BYTES`], or the stream ends or does not go on with bytes; how many
/// there are.
fn fill(
    source: &mut dyn Input,
    bytes: &mut Vec<u8>,
    headroom: usize,
    cancel: &Cancel,
) -> Result<usize, RepoError> {
    bytes.resize(headroom, 0);
    let mut filled = 0;
    while filled < FILL_BYTES {
        if cancel.is_cancelled() {
            return Err(RepoError::Cancelled);
        }
        if bytes.len() == headroom + filled {
            bytes.resize(headroom + (2 * filled).clamp(FIRST_FILL_BYTES, FILL_BYTES), 0);
        }
        match source.read(bytes.get_mut(headroom + filled..).unwrap_or_default()) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) if cancel.is_cancelled() => return Err(RepoError::Cancelled),
            Err(source) => return Err(RepoError::Input { source }),
        }
    }
    bytes.truncate(headroom + filled);
    Ok(filled)
}
