//! Reading: a recipe in, the stream's bytes out, in order, every byte checked before it leaves.
//!
//! ```text
//! planner: recipe -> extents -> blocks wanted, in order ─ jobs ─> [fetch, open, decompress, check ids] x N
//!                                    └─ segments, in order ─> caller: waits for each block, writes, digests
//! ```
//!
//! Open blocks are kept while a segment under way or the least-recently-used list holds them; their plain bytes are
//! bounded by [`ReadSettings::open_bytes`]. Memory is that, plus a few blocks a thread, whatever the stream's length.

mod blocks;
mod buffers;
mod cost;
mod fetch;
mod locate;
mod nodes;
mod outline;
mod plan;
mod reach;
mod recipe;
mod turns;
mod windows;

pub(in crate::vault) use blocks::blinded_hash;
pub use blocks::{BlockReader, Workspace};
pub use cost::{BlockUse, ReadCost};
pub(super) use fetch::{FetchedBlock, WantedBlock, fetch_blocks};
pub use locate::Locator;
pub use outline::Outline;
pub(in crate::vault) use reach::{Reacher, Visitor};
pub use recipe::{Extent, RecipeWalker, Step};
pub use windows::Windows;

use super::{RepoError, Repository};
use crate::base::event::{Cancel, Event, Observer};
use crate::vault::format::index::BlockKind;
use crate::vault::snapshot::{DigestKind, Stream};
use plan::{Held, Job, Piece, Planned, Planner, Segment, run_jobs};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use turns::Turns;

/// How a restore works.
#[derive(Debug, Clone, Copy)]
pub struct ReadSettings {
    /// Threads that fetch and open blocks.
    pub workers: usize,
    /// Plain bytes of open blocks at a time, to begin with …
    pub open_bytes: u64,
    /// … and at most, where blocks that had to be closed are wanted again.
    pub open_bytes_max: u64,
    /// Blocks that lie side by side are fetched in one read of up to so many bytes.
    pub run_bytes: u64,
}

impl ReadSettings {
    /// Settings for `cores` cores on a storage without latency.
    pub fn local(cores: usize) -> Self {
        Self::new(cores.max(1) + 1, 96 << 20, 1 << 20)
    }

    /// Settings for a storage behind a wire, where each request waits for its answer: many at once, and large. At 50 ms
    /// they bring 600 MB/s of whole packs, and 100 MB/s of single blocks.
    pub fn remote() -> Self {
        Self::new(16, 128 << 20, 2 << 20)
    }

    /// Settings with the same room for open blocks from the beginning to the end.
    pub const fn new(workers: usize, open_bytes: u64, run_bytes: u64) -> Self {
        Self { workers, open_bytes, open_bytes_max: open_bytes, run_bytes }
    }
}

/// What a restore read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadStats {
    /// Bytes of the stream written.
    pub bytes: u64,
    /// Blocks opened.
    pub blocks_opened: u64,
    /// Sealed bytes of those blocks.
    pub bytes_fetched: u64,
}

/// Takes a stream's bytes.
pub type Output<'a> = dyn FnMut(&[u8]) -> std::io::Result<()> + 'a;

/// Bytes handed to the output at a time.
const OUTPUT_BYTES: usize = 1 << 20;
/// Pieces of which the first bytes are read before any of them is copied.
const TOUCHED_AHEAD: usize = 16;
const CACHE_LINE_BYTES: usize = 64;

/// Reads streams out of a repository.
pub struct Reader<'a> {
    pub(in crate::vault) repo: &'a Repository,
}

impl Reader<'_> {
    /// Writes the whole stream to `output` and checks length and digest. A digest of the digests of files takes the
    /// index to check, which is for the caller; what is checked here is the length, and every chunk.
    ///
    /// # Errors
    /// On any error the bytes written until then are right, but not all. Only after `Ok` is the stream whole.
    pub fn read_stream(
        &self,
        locator: &Arc<Mutex<Locator>>,
        stream: &Stream,
        settings: ReadSettings,
        observer: &dyn Observer,
        cancel: &Cancel,
        output: &mut Output<'_>,
    ) -> Result<ReadStats, RepoError> {
        let mut hasher = blake3::Hasher::new();
        let mut written = 0u64;
        let misfit =
            |what: String| RepoError::Inconsistent { object: format!("stream {}", stream.name), what };
        let mut checked = |bytes: &[u8]| {
            hasher.update(bytes);
            written += bytes.len() as u64;
            observer.observe(Event::Advanced { bytes: bytes.len() as u64, bytes_known: 0 });
            output(bytes)
        };
        let stats = self.read_range(locator, stream, 0..stream.bytes, settings, cancel, &mut checked)?;
        if written != stream.bytes {
            return Err(misfit(format!("{written} bytes restored of {}", stream.bytes)));
        }
        let is_checked = stream.digest_kind() == DigestKind::Whole;
        if is_checked && hasher.finalize() != *stream.digest.as_bytes() {
            return Err(misfit("the restored bytes do not have the digest of the dump".to_owned()));
        }
        Ok(stats)
    }

    /// Writes a byte range of the stream to `output`. Every chunk is checked; the stream's digest cannot be.
    ///
    /// # Errors
    /// As [`Reader::read_stream`].
    pub fn read_range(
        &self,
        locator: &Arc<Mutex<Locator>>,
        stream: &Stream,
        range: Range<u64>,
        settings: ReadSettings,
        cancel: &Cancel,
        output: &mut Output<'_>,
    ) -> Result<ReadStats, RepoError> {
        let outcome = self.read_range_as_it_was(locator, stream, range, settings, cancel, output);
        // A prune may have moved or deleted what this was reading.
        outcome.map_err(|error| locator.lock().unwrap_or_else(PoisonError::into_inner).explain(error))
    }

    fn read_range_as_it_was(
        &self,
        locator: &Arc<Mutex<Locator>>,
        stream: &Stream,
        range: Range<u64>,
        settings: ReadSettings,
        cancel: &Cancel,
        output: &mut Output<'_>,
    ) -> Result<ReadStats, RepoError> {
        let blocks = Arc::new(BlockReader::new(self.repo));
        let mut walker = RecipeWalker::new(Arc::clone(&blocks), Arc::clone(locator));
        let (length, _) = walker.root(&stream.root)?;
        if length != stream.bytes {
            let what = format!("its recipe makes {length} bytes, and it should have {}", stream.bytes);
            return Err(RepoError::Inconsistent { object: format!("stream {}", stream.name), what });
        }
        let workers = settings.workers.max(1);
        let (jobs_in, jobs_out) = crossbeam_channel::bounded::<Job>(workers * 2);
        let (segments_in, segments) = crossbeam_channel::bounded::<Planned>(64);
        let stop = Cancel::new();
        let turns = Turns::default();
        std::thread::scope(|scope| {
            let named = |name: &str| std::thread::Builder::new().name(name.to_owned());
            for _ in 0..workers {
                let (blocks, turns, jobs) = (Arc::clone(&blocks), &turns, jobs_out.clone());
                let spawned = named("open").spawn_scoped(scope, move || run_jobs(&blocks, turns, &jobs));
                spawned.map_err(|source| RepoError::Thread { source })?;
            }
            drop(jobs_out);
            let mut planner = Planner::new(Arc::clone(locator), settings, jobs_in, segments_in, stop.clone());
            let planned = named("plan").spawn_scoped(scope, move || {
                planner.run(&mut walker, &stream.root, range).map(|()| planner.stats())
            });
            let planned = planned.map_err(|source| RepoError::Thread { source })?;
            let written = write_segments(&segments, &blocks, locator, cancel, output);
            // The planner may wait for room that nobody will make any more.
            stop.cancel();
            drop(segments);
            let planned = planned.join().unwrap_or(Err(RepoError::Stopped));
            match (written, planned) {
                (Err(error), _) => Err(error),
                (Ok(_), Err(error)) => Err(error),
                (Ok(()), Ok(stats)) => Ok(stats),
            }
        })
    }
}

/// Writes segments in order until there are no more. That these were all is for the planner to say.
fn write_segments(
    segments: &crossbeam_channel::Receiver<Planned>,
    blocks: &BlockReader,
    locator: &Mutex<Locator>,
    cancel: &Cancel,
    output: &mut Output<'_>,
) -> Result<(), RepoError> {
    let mut buffer = Vec::with_capacity(OUTPUT_BYTES);
    let mut write = |bytes: &[u8]| match output(bytes) {
        Err(_) if cancel.is_cancelled() => Err(RepoError::Cancelled),
        outcome => outcome.map_err(|source| RepoError::Output { source }),
    };
    for segment in segments {
        if cancel.is_cancelled() {
            return Err(RepoError::Cancelled);
        }
        let segment = segment?;
        for pieces in segment.pieces.chunks(TOUCHED_AHEAD) {
            touch(&segment, pieces);
            for (held, piece) in segment.held_by(pieces) {
                if buffer.len() + piece.len as usize > OUTPUT_BYTES {
                    write(&buffer)?;
                    buffer.clear();
                }
                append(&mut buffer, held, piece, blocks, locator)?;
            }
        }
    }
    write(&buffer)
}

/// Reads a byte of each cache line with which the pieces begin and end whose block is open. Pieces of a few hundred
/// bytes lie scattered over as many blocks as there were days: their bytes come from memory at the same time then, and
/// not one after another as they are copied.
fn touch(segment: &Segment, pieces: &[Piece]) {
    let sum = segment.held_by(pieces).fold(0u8, |sum, (held, piece)| {
        let start = held.start as usize + piece.offset as usize;
        let plain = held.slot.opened().and_then(|plain| plain.get(start..start + piece.len as usize));
        let Some([first, middle @ .., last]) = plain else { return sum };
        sum ^ first ^ middle.get(CACHE_LINE_BYTES - 1).unwrap_or(first) ^ last
    });
    std::hint::black_box(sum);
}

/// Waits for the piece's block and appends the piece's bytes to `out`.
fn append(
    out: &mut Vec<u8>,
    held: &Held,
    piece: Piece,
    blocks: &BlockReader,
    locator: &Mutex<Locator>,
) -> Result<(), RepoError> {
    match held.slot.wait() {
        Ok(plain) => out.extend_from_slice(slice_of(held, held.start, piece, plain)?),
        Err(error) => out.extend_from_slice(&elsewhere(held, piece, error, blocks, locator)?),
    }
    Ok(())
}

fn slice_of<'a>(held: &Held, start: u32, piece: Piece, plain: &'a [u8]) -> Result<&'a [u8], RepoError> {
    let start = start as usize + piece.offset as usize;
    plain.get(start..start + piece.len as usize).ok_or_else(|| RepoError::Inconsistent {
        object: format!("chunk {}", held.chunk.short()),
        what: "the recipe wants bytes beyond its end".to_owned(),
    })
}

/// A block did not open: the chunk may lie in another pack, too (stored again since, to heal the damage).
fn elsewhere(
    held: &Held,
    piece: Piece,
    error: &Arc<RepoError>,
    blocks: &BlockReader,
    locator: &Mutex<Locator>,
) -> Result<Vec<u8>, RepoError> {
    let id = held.chunk.as_bytes();
    let lock = || locator.lock().unwrap_or_else(PoisonError::into_inner);
    for round in 0..2 {
        let locations = match round {
            0 => lock().all(id, BlockKind::Data)?,
            _ => lock().by_own_tables(id, BlockKind::Data)?,
        };
        for location in locations.iter().filter(|location| location.pack.id != held.pack) {
            let mut opened = None;
            let run = location.block..location.block + 1;
            let mut take = |_, plain| opened = Some(plain);
            let outcome = blocks.open_run(&location.pack, run, &mut Workspace::default(), &mut take);
            if let (Ok(()), Some(plain)) = (outcome, opened) {
                return slice_of(held, location.offset, piece, &plain).map(<[u8]>::to_vec);
            }
        }
    }
    Err(plan::unshare(error))
}
