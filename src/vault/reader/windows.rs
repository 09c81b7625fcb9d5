//! A stream's bytes at any offset, as a backup looks at its parent: mostly ascending, often the same place again,
//! sometimes a jump.
//!
//! The stream is had in slabs. While slabs are wanted one after another, the next ones are fetched and opened ahead in
//! threads of their own; after a jump nothing is fetched that was not asked for.

use super::blocks::BlockReader;
use super::locate::Locator;
use super::outline::Outline;
use super::plan::{Job, Planned, Planner, run_jobs};
use super::recipe::RecipeWalker;
use super::turns::Turns;
use super::{ReadSettings, append};
use crate::base::event::Cancel;
use crate::base::id::NodeId;
use crate::content::delta;
use crate::vault::RepoError;
use crossbeam_channel::{Receiver, Sender};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// Bytes of a slab.
const SLAB_BYTES: u64 = 512 << 10;
/// Slabs kept: what a comparison looks at lies within two of them, and a few places far away.
const SLABS_KEPT: usize = 6;

/// A stream of the repository, read in windows. Memory: some slabs, and [`ReadSettings::open_bytes`] of open blocks.
pub struct Windows {
    bytes: u64,
    blocks: Arc<BlockReader>,
    locator: Arc<Mutex<Locator>>,
    /// Both are gone only while it is dropped.
    requests: Option<Sender<u64>>,
    segments: Option<Receiver<Planned>>,
    threads: Vec<JoinHandle<()>>,
    stop: Cancel,
    /// Slabs asked for whose bytes were not taken yet, in the order of asking.
    asked: VecDeque<u64>,
    /// Slabs at hand, the one used last in front.
    slabs: VecDeque<(u64, Vec<u8>)>,
    /// The slab wanted last, and how many are asked for ahead of it.
    last: u64,
    ahead: u64,
    ahead_max: u64,
    bytes_read: u64,
}

impl Windows {
    /// Windows on the stream of `bytes` bytes below `root`. With the stream's outline its recipe is not walked again.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn new(
        blocks: Arc<BlockReader>,
        locator: Arc<Mutex<Locator>>,
        (root, bytes): (NodeId, u64),
        outline: Option<Outline>,
        settings: ReadSettings,
    ) -> Result<Self, RepoError> {
        let workers = settings.workers.max(1);
        let (jobs_in, jobs_out) = crossbeam_channel::bounded::<Job>(workers * 2);
        let (segments_in, segments) = crossbeam_channel::bounded::<Planned>(64);
        let (requests, wanted) = crossbeam_channel::unbounded();
        let stop = Cancel::new();
        let mut windows = Self {
            bytes,
            blocks: Arc::clone(&blocks),
            locator: Arc::clone(&locator),
            requests: Some(requests),
            segments: Some(segments),
            threads: Vec::with_capacity(workers + 1),
            stop: stop.clone(),
            asked: VecDeque::new(),
            slabs: VecDeque::with_capacity(SLABS_KEPT),
            last: u64::MAX,
            ahead: 1,
            ahead_max: 2 + 2 * workers as u64,
            bytes_read: 0,
        };
        let turns = Arc::new(Turns::default());
        for _ in 0..workers {
            let (blocks, turns, jobs) = (Arc::clone(&blocks), Arc::clone(&turns), jobs_out.clone());
            windows.spawn("parent", move || run_jobs(&blocks, &turns, &jobs))?;
        }
        let walker = RecipeWalker::new(blocks, Arc::clone(&locator));
        let planner = Planner::new(locator, settings, jobs_in, segments_in, stop);
        windows.spawn("parent plan", move || {
            plan_slabs(planner, walker, &root, outline.as_ref(), bytes, &wanted);
        })?;
        Ok(windows)
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), RepoError> {
        let thread = std::thread::Builder::new().name(name.to_owned());
        let thread = thread.spawn(work).map_err(|source| RepoError::Thread { source })?;
        self.threads.push(thread);
        Ok(())
    }

    /// Length of the stream.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of the stream that were had.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// Brings the slab to the front of those at hand.
    fn bring(&mut self, slab: u64) -> Result<(), RepoError> {
        if self.slabs.front().is_some_and(|(number, _)| *number == slab) {
            return Ok(());
        }
        if let Some(at) = self.slabs.iter().position(|(number, _)| *number == slab)
            && let Some(found) = self.slabs.remove(at)
        {
            self.slabs.push_front(found);
            return Ok(());
        }
        let follows = slab == self.last.wrapping_add(1);
        self.ahead = if follows { (self.ahead * 2).clamp(1, self.ahead_max) } else { 0 };
        self.last = slab;
        let end = self.bytes.div_ceil(SLAB_BYTES);
        for wanted in (slab..=slab + self.ahead).take_while(|wanted| *wanted < end) {
            let at_hand = self.slabs.iter().any(|(number, _)| *number == wanted);
            if !at_hand && !self.asked.contains(&wanted) {
                let asked = self.requests.as_ref().is_some_and(|requests| requests.send(wanted).is_ok());
                if !asked {
                    return Err(RepoError::Stopped);
                }
                self.asked.push_back(wanted);
            }
        }
        // What was asked for before a jump comes first, and is dropped.
        while let Some(next) = self.asked.pop_front() {
            let spare = if self.slabs.len() >= SLABS_KEPT { self.slabs.pop_back() } else { None };
            let mut buffer = spare.map(|(_, buffer)| buffer).unwrap_or_default();
            buffer.clear();
            if next == slab {
                self.receive(next, Some(&mut buffer))?;
                self.bytes_read += buffer.len() as u64;
                self.slabs.push_front((slab, buffer));
                return Ok(());
            }
            // Whatever is the matter with it, nobody wants it now.
            let _ = self.receive(next, None);
        }
        Err(RepoError::Stopped)
    }

    /// Takes all segments of the slab that was asked for first.
    fn receive(&mut self, slab: u64, mut out: Option<&mut Vec<u8>>) -> Result<(), RepoError> {
        let range = slab_range(slab, self.bytes);
        let mut missing = range.end - range.start;
        let mut outcome = Ok(());
        while missing > 0 {
            let received = self.segments.as_ref().and_then(|segments| segments.recv().ok());
            let segment = received.unwrap_or(Err(RepoError::Stopped))?;
            missing = missing.saturating_sub(segment.bytes());
            if let (Some(out), Ok(())) = (out.as_deref_mut(), &outcome) {
                let mut pieces = segment.iter();
                outcome = pieces
                    .try_for_each(|(held, piece)| append(out, held, piece, &self.blocks, &self.locator));
            }
        }
        outcome
    }
}

impl delta::Parent for Windows {
    type Error = RepoError;

    fn window(&mut self, offset: u64, want: usize) -> Result<&[u8], RepoError> {
        if offset >= self.bytes {
            return Ok(&[]);
        }
        self.bring(offset / SLAB_BYTES)?;
        let slab = self.slabs.front().map(|(_, bytes)| bytes.as_slice()).unwrap_or_default();
        let from = slab.get((offset % SLAB_BYTES) as usize..).unwrap_or_default();
        Ok(from.get(..want).unwrap_or(from))
    }
}

impl Drop for Windows {
    fn drop(&mut self) {
        self.stop.cancel();
        self.requests = None;
        self.segments = None;
        for thread in self.threads.drain(..) {
            // Safe to ignore because nobody waits for what it would have had.
            let _ = thread.join();
        }
    }
}

fn slab_range(slab: u64, bytes: u64) -> Range<u64> {
    let start = slab.saturating_mul(SLAB_BYTES);
    start..start.saturating_add(SLAB_BYTES).min(bytes)
}

fn plan_slabs(
    mut planner: Planner,
    mut walker: RecipeWalker,
    root: &NodeId,
    outline: Option<&Outline>,
    bytes: u64,
    wanted: &Receiver<u64>,
) {
    for slab in wanted {
        let range = slab_range(slab, bytes);
        let walked = match outline {
            Some(outline) => outline.walk(range, |extent| planner.add(extent)),
            None => walker.walk(root, range, |extent| planner.add(extent)),
        };
        let handed_on = match planner.end(walked) {
            Err(RepoError::Stopped) => break,
            Err(error) => planner.fail(error),
            Ok(()) => Ok(()),
        };
        if handed_on.is_err() {
            break;
        }
    }
}
