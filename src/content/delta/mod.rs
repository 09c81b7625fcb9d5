//! What changed between a stream and its parent: new bytes and parent bytes in, copies and literals out, in one pass.
//!
//! The new stream is walked in lockstep with the parent, comparing wide. Where they differ, the next rows of the new
//! stream are looked up among the parent's next rows, then in a window of 256 KiB around the place. At last they are
//! looked up among sparsely sampled rows of all that was scanned of the parent. Streams without rows are sampled by
//! content instead. What a hash proposes is compared byte by byte before it is copied, so a copy is always true; a poor
//! proposal costs bytes, not truth.
//!
//! **Output depends on the bytes alone**, not on how they are split into pushes: a search begins only when the
//! bytes that it may look at ([`AHEAD_BYTES`]) are there, or the run has ended.
//!
//! **Memory**: 128 KiB held back, a copy of at most 257 KiB of the parent, 256 KiB for the near table, 4 MiB for the
//! far table once something large moved: under 5 MiB, whatever the lengths of the streams.
//!
//! **Time** is linear in the new bytes: searching consumes what it looked at, and parent bytes are indexed on credit
//! that new bytes earn (four each near the alignment; far away a quarter each, and 32 MiB to start with).

mod anchors;
mod compare;
mod parent;
mod resync;
mod sections;
#[cfg(test)]
mod tests;

pub use parent::Parent;

use anchors::newline;
use compare::{common_prefix, common_suffix};
use parent::Reading;
use resync::{Hit, Place, Resync, View};
use sections::Sections;
use std::ops::Range;

/// New bytes that a search may look at.
pub const AHEAD_BYTES: usize = 64 << 10;
/// A copy is at least that long: below it the bytes, compressed, cost less than what names the copy.
pub const MATCH_MIN: usize = 32;
/// An equal piece within changed bytes costs two operations more.
const PIECE_MIN: usize = 64;
/// A copy counts as among new rows if the bytes just before it were new at least this many times as often as copied.
const NEW_TO_COPIED: u64 = 4;
/// How many bytes before a copy are looked at for that, about.
const LATELY_BYTES: u64 = 64 << 10;
/// A copy up to that length in the midst of new rows begins and ends where rows do: what is left of a row that a copy
/// was cut out of is not stored by column, nor are its neighbours.
const SHORT_COPY: usize = 1 << 10;
/// Unless so many of its bytes would become new by that.
const GIVEN_UP_MAX: usize = 128;

/// Takes the result, in the order of the new stream.
pub trait Sink {
    /// Why the result could not be taken. The differ must not be used after it.
    type Error;

    /// The next `len` bytes are the parent's from `offset` on. Two copies in a row are never joinable.
    fn copy(&mut self, offset: u64, len: u64) -> Result<(), Self::Error>;

    /// The next bytes are new. Long literals come in several calls.
    fn literal(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;
}

/// What a [`Differ`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Copies made.
    pub copies: u64,
    /// Bytes in them.
    pub copied_bytes: u64,
    /// Bytes that the parent did not have.
    pub literal_bytes: u64,
    /// Reads of the parent that failed; the first one's error is in [`Differ::take_failure`].
    pub parent_failures: u64,
}

/// Compares one stream with its parent. `E` is the error of the parent's reads.
#[derive(Debug)]
pub struct Differ<E> {
    /// Bytes of the new stream that are settled.
    at: u64,
    /// Where in the parent the new stream is, or was last.
    offset: u64,
    sections: Sections,
    /// The last bytes were copied: every further byte that agrees is worth taking.
    locked: bool,
    /// The last byte was a newline, or there was none.
    starts_row: bool,
    /// The copy that may still grow; empty if its length is 0.
    copy_from: u64,
    copy_len: u64,
    /// Its bytes, as long as it is a short one, and whether they begin a row.
    copied: Vec<u8>,
    copy_starts_row: bool,
    /// Bytes that were new, and bytes that were copied, lately.
    new_lately: u64,
    copied_lately: u64,
    /// Bytes of the run that wait for more.
    held: Vec<u8>,
    scratch: Vec<u8>,
    resync: Resync,
    reading: Reading<E>,
    summary: Summary,
}

impl<E> Default for Differ<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E> Differ<E> {
    /// A differ at the start of both streams.
    pub fn new() -> Self {
        Self::with_sections(Vec::new())
    }

    /// A differ for streams of sections in the same order, of which those of the parent end at `parent_ends`,
    /// ascending. Where one of the new stream goes on and its counterpart has ended, what follows in the parent is not
    /// searched far and wide.
    pub fn with_sections(parent_ends: Vec<u64>) -> Self {
        Self {
            at: 0,
            offset: 0,
            sections: Sections::new(parent_ends),
            locked: false,
            starts_row: true,
            copy_from: 0,
            copy_len: 0,
            copied: Vec::new(),
            copy_starts_row: true,
            new_lately: 0,
            copied_lately: 0,
            held: Vec::new(),
            scratch: Vec::new(),
            resync: Resync::new(),
            reading: Reading::new(),
            summary: Summary::default(),
        }
    }

    /// A section of the new stream ends at `offset`: to be told in ascending order, and before the bytes around it are
    /// pushed.
    pub fn section_ends(&mut self, offset: u64) {
        self.sections.end_at(offset);
    }

    /// Takes the next bytes of the new stream, of which nothing is known. Up to [`AHEAD_BYTES`] of them are held back
    /// until more come or the run ends.
    pub fn push<P: Parent<Error = E>, S: Sink>(
        &mut self,
        bytes: &[u8],
        parent: &mut P,
        sink: &mut S,
    ) -> Result<(), S::Error> {
        let mut rest = bytes;
        if !self.held.is_empty() {
            let held_len = self.held.len();
            let (more, _) = rest.split_at_checked(AHEAD_BYTES).unwrap_or((rest, &[]));
            let mut held = std::mem::take(&mut self.held);
            held.extend_from_slice(more);
            let done = self.advance(&held, false, parent, sink)?;
            let bridged = done >= held_len;
            if bridged {
                rest = rest.get(done - held_len..).unwrap_or_default();
                held.clear();
            } else {
                // Less than a look ahead is left, so `more` was all there is.
                held.drain(..done);
            }
            self.held = held;
            if !bridged {
                return Ok(());
            }
        }
        let done = self.advance(rest, false, parent, sink)?;
        self.held.extend_from_slice(rest.get(done..).unwrap_or_default());
        Ok(())
    }

    /// Ends the run of unknown bytes, if there is one: `len` bytes follow that the caller has stored already.
    /// `parent_end` is where they end in the parent, if it holds them: the next run is compared from there on. Without,
    /// the parent most likely goes on behind what stands there instead.
    pub fn known<P: Parent<Error = E>, S: Sink>(
        &mut self,
        parent_end: Option<u64>,
        len: u64,
        parent: &mut P,
        sink: &mut S,
    ) -> Result<(), S::Error> {
        self.end_run(parent, sink)?;
        self.resync.passed(len);
        self.at += len;
        self.copied_lately = self.copied_lately.saturating_add(len);
        self.starts_row = false;
        self.reading.look_again();
        self.move_to(parent_end.unwrap_or_else(|| self.offset.saturating_add(len)));
        match parent_end {
            Some(_) => self.sections.agreed(self.at),
            None => self.sections.lost(),
        }
        Ok(())
    }

    /// Ends the run of unknown bytes: all of them have gone to `sink` when this returns. Also the way to end the
    /// stream.
    pub fn end_run<P: Parent<Error = E>, S: Sink>(
        &mut self,
        parent: &mut P,
        sink: &mut S,
    ) -> Result<(), S::Error> {
        let mut held = std::mem::take(&mut self.held);
        self.advance(&held, true, parent, sink)?;
        held.clear();
        self.held = held;
        self.unlock();
        self.emit_copy(sink)
    }

    /// Where in the parent the stream is, or was last. Exact after [`Differ::end_run`] if the run's last bytes were
    /// copied.
    pub fn position(&self) -> u64 {
        self.offset
    }

    /// What was done so far. Complete for all runs that have ended.
    pub fn summary(&self) -> Summary {
        Summary { parent_failures: self.reading.failures, ..self.summary }
    }

    /// The first error of reading the parent, once. After a failed read all is literal until the next [`Differ::known`]
    /// position; after 16 of them all is.
    pub fn take_failure(&mut self) -> Option<E> {
        self.reading.first_failure.take()
    }

    /// Bytes looked at: what the time is proportional to.
    #[cfg(test)]
    fn work(&self) -> u64 {
        self.reading.work
    }

    /// Works through `bytes`; the number that is settled. `ended`: no more will come.
    fn advance<P: Parent<Error = E>, S: Sink>(
        &mut self,
        bytes: &[u8],
        ended: bool,
        parent: &mut P,
        sink: &mut S,
    ) -> Result<usize, S::Error> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            if self.locked {
                let same = self.reading.agrees(parent, self.offset, rest);
                self.grow_copy(rest.get(..same).unwrap_or_default());
                self.offset += same as u64;
                if same < rest.len() {
                    self.unlock();
                }
                at += same;
                continue;
            }
            let whole = rest.len() >= AHEAD_BYTES;
            if !whole && !ended {
                break;
            }
            let ahead = rest.get(..AHEAD_BYTES).unwrap_or(rest);
            at += self.part_ways(
                View { bytes: ahead, starts_row: self.starts_row, last: !whole },
                parent,
                sink,
            )?;
        }
        Ok(at)
    }

    /// Finds where `view` goes on in the parent and settles the bytes before; their number. Without a find, all but the
    /// last few are literal: the row that they may begin is looked for with the next bytes.
    fn part_ways<P: Parent<Error = E>, S: Sink>(
        &mut self,
        view: View<'_>,
        parent: &mut P,
        sink: &mut S,
    ) -> Result<usize, S::Error> {
        let hit = if self.reading.is_blind() {
            None
        } else {
            let section_end = self.sections.shared_end(self.at, self.offset);
            let place = Place { offset: self.offset, section_end };
            self.resync.search(view, place, parent, &mut self.reading)
        };
        let Some(hit) = hit else {
            let settled =
                if view.last { view.bytes.len() } else { view.bytes.len() - anchors::KEY_BYTES_MAX };
            let bytes = view.bytes.get(..settled).unwrap_or_default();
            self.literal(bytes, sink)?;
            return Ok(settled);
        };
        let Hit { gap, offset } = self.grow_back(view.bytes, hit, parent);
        let between = view.bytes.get(..gap).unwrap_or_default();
        self.bridge(between, offset, parent, sink)?;
        if self.copy_len == 0 || self.copy_from + self.copy_len != offset {
            self.emit_copy(sink)?;
            self.copy_from = offset;
        }
        self.move_to(offset);
        self.locked = true;
        Ok(gap)
    }

    /// Takes into the match what agrees before it.
    fn grow_back<P: Parent<Error = E>>(&mut self, bytes: &[u8], hit: Hit, parent: &mut P) -> Hit {
        let before = bytes.get(..hit.gap).unwrap_or_default();
        let len = before.len().min(usize::try_from(hit.offset).unwrap_or(usize::MAX));
        self.reading.fetch(parent, hit.offset - len as u64, len, &mut self.scratch);
        // A read that failed half way says nothing about what is just before the match.
        let same = if self.scratch.len() == len { common_suffix(before, &self.scratch) } else { 0 };
        Hit { gap: hit.gap - same, offset: hit.offset - same as u64 }
    }

    /// Settles the bytes between the old alignment and a match at `offset`: literals, and what agrees with the parent
    /// in place (a changed row has a new length in front and equal columns around the changed one).
    fn bridge<P: Parent<Error = E>, S: Sink>(
        &mut self,
        bytes: &[u8],
        offset: u64,
        parent: &mut P,
        sink: &mut S,
    ) -> Result<(), S::Error> {
        let mut done = 0;
        if bytes.len() >= PIECE_MIN && offset > self.offset {
            let len = bytes.len().min(usize::try_from(offset - self.offset).unwrap_or(usize::MAX));
            let mut old = std::mem::take(&mut self.scratch);
            self.reading.fetch(parent, self.offset, len, &mut old);
            let from = self.offset;
            let mut at = 0;
            while let (Some(new), Some(old)) = (bytes.get(at..len), old.get(at..)) {
                if new.len() < PIECE_MIN {
                    break;
                }
                let same = common_prefix(new, old);
                if same >= PIECE_MIN {
                    self.literal(bytes.get(done..at).unwrap_or_default(), sink)?;
                    self.emit_copy(sink)?;
                    self.copy_from = from + at as u64;
                    self.grow_copy(new.get(..same).unwrap_or_default());
                    done = at + same;
                }
                at += same + 1;
            }
            self.scratch = old;
        }
        self.literal(bytes.get(done..).unwrap_or_default(), sink)
    }

    fn unlock(&mut self) {
        if std::mem::take(&mut self.locked) {
            self.sections.agreed(self.at);
        }
    }

    fn move_to(&mut self, offset: u64) {
        self.resync.moved(self.offset, offset);
        self.offset = offset;
    }

    /// Accounts for new bytes that are settled.
    fn take(&mut self, bytes: &[u8]) {
        self.resync.passed(bytes.len() as u64);
        self.at += bytes.len() as u64;
        if let Some(&last) = bytes.last() {
            self.starts_row = last == b'\n';
        }
    }

    fn literal<S: Sink>(&mut self, bytes: &[u8], sink: &mut S) -> Result<(), S::Error> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.emit_copy(sink)?;
        self.take(bytes);
        self.emit_literal(bytes, sink)
    }

    fn emit_literal<S: Sink>(&mut self, bytes: &[u8], sink: &mut S) -> Result<(), S::Error> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.new_lately += bytes.len() as u64;
        self.summary.literal_bytes += bytes.len() as u64;
        sink.literal(bytes)
    }

    /// The next bytes are the parent's behind the copy under way.
    fn grow_copy(&mut self, bytes: &[u8]) {
        if self.copy_len == 0 {
            self.copied.clear();
            self.copy_starts_row = self.starts_row;
        }
        self.take(bytes);
        self.copy_len += bytes.len() as u64;
        if self.copy_len <= SHORT_COPY as u64 {
            self.copied.extend_from_slice(bytes);
        }
    }

    fn emit_copy<S: Sink>(&mut self, sink: &mut S) -> Result<(), S::Error> {
        let (from, len) = (self.copy_from, std::mem::take(&mut self.copy_len));
        if len == 0 {
            return Ok(());
        }
        let is_among_new_rows =
            len <= SHORT_COPY as u64 && self.mostly_new_lately() && self.resync.sees_rows();
        let copied = std::mem::take(&mut self.copied);
        let rows = is_among_new_rows.then(|| whole_rows(&copied, self.copy_starts_row)).flatten();
        match rows {
            None => self.make_copy(from, len, sink)?,
            Some(rows) => {
                self.emit_literal(copied.get(..rows.start).unwrap_or_default(), sink)?;
                self.make_copy(from + rows.start as u64, rows.len() as u64, sink)?;
                self.emit_literal(copied.get(rows.end..).unwrap_or_default(), sink)?;
            }
        }
        self.copied = copied;
        self.copied_lately = self.copied_lately.saturating_add(len);
        Ok(())
    }

    /// Halves what was counted until it is of late.
    fn mostly_new_lately(&mut self) -> bool {
        let counted = self.new_lately.saturating_add(self.copied_lately);
        let halvings = (counted / LATELY_BYTES).checked_ilog2().map_or(0, |times| times + 1);
        self.new_lately >>= halvings;
        self.copied_lately >>= halvings;
        self.new_lately > SHORT_COPY as u64 && self.new_lately / NEW_TO_COPIED >= self.copied_lately
    }

    fn make_copy<S: Sink>(&mut self, from: u64, len: u64, sink: &mut S) -> Result<(), S::Error> {
        if len == 0 {
            return Ok(());
        }
        self.summary.copies += 1;
        self.summary.copied_bytes += len;
        sink.copy(from, len)
    }
}

/// Where the whole rows of a short copy are; empty where they are too short to be worth one. `None` if there is no end
/// of a row, or too much would be given up.
fn whole_rows(copied: &[u8], starts_row: bool) -> Option<Range<usize>> {
    let first = newline(copied)? + 1;
    let end = memchr::memrchr(b'\n', copied)? + 1;
    let start = if starts_row { 0 } else { first };
    let rows = if end < start + MATCH_MIN { start..start } else { start..end };
    (copied.len() - rows.len() <= GIVEN_UP_MAX).then_some(rows)
}
