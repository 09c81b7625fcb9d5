//! Where the new stream goes on in the parent, after they went apart.

use super::anchors::{Anchors, KEY_BYTES_MAX, Kind, Table, newline};
use super::parent::{Parent, Reading};
use std::ops::Range;

/// Rounds of a search: bytes of the parent that are indexed ahead, bytes of the new stream that are tried against them,
/// and how long a match must be. Most edits are found in the first.
const ROUNDS: [Round; 3] = [
    Round { ahead: 4 << 10, tried: 2 << 10, match_min: super::MATCH_MIN },
    Round { ahead: 32 << 10, tried: 16 << 10, match_min: super::MATCH_MIN },
    Round { ahead: WINDOW as usize, tried: super::AHEAD_BYTES, match_min: 64 },
];
/// Rows are looked for so far before and after the place that was left; also the parent bytes that searching may index
/// at once.
const WINDOW: u64 = 256 << 10;
/// A row and the next are looked at within so many bytes before anything is indexed.
const STEP: usize = 1 << 10;
/// Indexing starts so far before the place that was left: the row it lies in and some before it.
const BEHIND: u64 = 512;
/// Entries in the table of the window, as a power of two.
const NEAR_BITS: u32 = 14;
/// Entries in the table of the rest of the parent.
const FAR_BITS: u32 = 18;
/// One anchor in 32 goes there.
const FAR_MASK: u64 = 31;
/// A match far away must be longer: it costs a jump.
const FAR_MATCH_MIN: usize = 256;
/// Parent bytes are scanned for far anchors in such steps.
const SCAN_STEP: usize = 256 << 10;
/// Parent bytes that may be indexed near the alignment for each new byte.
const INDEX_PER_BYTE: u64 = 4;
const INDEX_CREDIT_MAX: u64 = 2 << 20;
/// Parent bytes that may be scanned far ahead: so many, and a quarter of the bytes that passed.
const SCAN_FREE: u64 = 32 << 20;
/// New bytes that a look at a far place costs, and how many of them are saved up at most.
const JUMP_COST: u64 = 64 << 10;
const JUMP_CREDIT_MAX: u64 = 4 << 20;
/// Skipped regions that are remembered for a later scan.
const SKIPPED_MAX: usize = 32;

struct Round {
    ahead: usize,
    tried: usize,
    match_min: usize,
}

/// A match: `gap` bytes into the view, at `offset` of the parent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hit {
    pub(super) gap: usize,
    pub(super) offset: u64,
}

/// Where the alignment was last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) offset: u64,
    /// Where the section of the parent ends in which what is looked for must be, if that is known.
    pub(super) section_end: Option<u64>,
}

/// The bytes to find a place for.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) bytes: &'a [u8],
    /// They begin a row.
    pub(super) starts_row: bool,
    /// The run ends with them.
    pub(super) last: bool,
}

impl View<'_> {
    /// Bytes that have to agree for a match at `gap`, if that many are wanted: a run's end excuses from more than the
    /// least.
    fn wanted(&self, gap: usize, match_min: usize) -> Option<&[u8]> {
        let rest = self.bytes.get(gap..)?;
        let excused = self.last && rest.len() >= super::MATCH_MIN;
        rest.get(..match_min).or(excused.then_some(rest))
    }
}

/// Tables of the parent's anchors, and budgets that keep the time linear in the new bytes.
#[derive(Debug)]
pub(super) struct Resync {
    near: Table,
    /// Made when it is first needed.
    far: Option<Table>,
    kind: Kind,
    /// What of the parent around the alignment is in `near`.
    indexed: Range<u64>,
    index_credit: u64,
    /// Up to here the parent was scanned for far anchors.
    scanned: u64,
    scan_ended: bool,
    scan_spent: u64,
    /// Regions that a jump left out unscanned.
    skipped: Vec<Range<u64>>,
    jump_credit: u64,
    bytes_passed: u64,
    /// Searches in a row that found nothing.
    misses: u32,
    scratch: Vec<u8>,
    keys: Vec<(usize, u64)>,
}

impl Resync {
    pub(super) fn new() -> Self {
        Self {
            near: Table::new(NEAR_BITS),
            far: None,
            kind: Kind::Rows,
            indexed: 0..0,
            index_credit: INDEX_CREDIT_MAX,
            scanned: 0,
            scan_ended: false,
            scan_spent: 0,
            skipped: Vec::with_capacity(SKIPPED_MAX),
            jump_credit: JUMP_CREDIT_MAX,
            bytes_passed: 0,
            misses: 0,
            scratch: Vec::new(),
            keys: Vec::new(),
        }
    }

    /// Whether the last search looked for rows.
    pub(super) fn sees_rows(&self) -> bool {
        self.kind == Kind::Rows
    }

    /// New bytes went by: they pay for later searches.
    pub(super) fn passed(&mut self, len: u64) {
        self.bytes_passed = self.bytes_passed.saturating_add(len);
        self.index_credit =
            INDEX_CREDIT_MAX.min(self.index_credit.saturating_add(len.saturating_mul(INDEX_PER_BYTE)));
        self.jump_credit = JUMP_CREDIT_MAX.min(self.jump_credit.saturating_add(len));
    }

    /// The alignment moves from one place of the parent to another.
    pub(super) fn moved(&mut self, from: u64, to: u64) {
        let unseen = from.max(self.scanned)..to;
        if to > from.saturating_add(WINDOW) && unseen.start < unseen.end {
            if self.skipped.len() == SKIPPED_MAX {
                let smallest =
                    self.skipped.iter().enumerate().min_by_key(|(_, region)| region.end - region.start);
                if let Some(at) = smallest.map(|(at, _)| at) {
                    self.skipped.swap_remove(at);
                }
            }
            self.skipped.push(unseen);
        }
        self.misses = 0;
    }

    /// Where the bytes of `view` go on in the parent.
    pub(super) fn search<P: Parent>(
        &mut self,
        view: View<'_>,
        place: Place,
        parent: &mut P,
        reading: &mut Reading<P::Error>,
    ) -> Option<Hit> {
        let offset = place.offset;
        if matches(view, 0, offset, super::MATCH_MIN, parent, reading) {
            return Some(Hit { gap: 0, offset });
        }
        let kind = Kind::of(view.bytes);
        if kind == Kind::Rows
            && self.misses == 0
            && let Some(hit) = self.step_over(view, offset, parent, reading)
        {
            return Some(hit);
        }
        // Once lost, only the widest round can bring something new.
        let rounds = if self.misses > 0 { ROUNDS.get(2..) } else { ROUNDS.get(..) };
        for round in rounds.unwrap_or_default() {
            self.index(kind, offset, round.ahead, parent, reading);
            let around = offset.saturating_sub(WINDOW)..offset.saturating_add(WINDOW);
            for (gap, key) in Anchors::new(kind, view.bytes, view.starts_row, round.tried, view.last) {
                if let Some(found) = self.near.get(key)
                    && around.contains(&found)
                    && matches(view, gap, found, round.match_min, parent, reading)
                {
                    return Some(Hit { gap, offset: found });
                }
            }
            reading.work += view.bytes.len().min(round.tried) as u64;
            if view.bytes.len() <= round.tried && offset.saturating_add(WINDOW) <= self.indexed.end {
                break;
            }
        }
        let hit = self.search_far(kind, view, place, parent, reading);
        if hit.is_none() {
            self.misses = self.misses.saturating_add(1);
        }
        hit
    }

    /// The commonest edits, told without an index: a row replaced, a row gone, a row added. A row that follows must
    /// agree as a whole.
    fn step_over<P: Parent>(
        &mut self,
        view: View<'_>,
        offset: u64,
        parent: &mut P,
        reading: &mut Reading<P::Error>,
    ) -> Option<Hit> {
        // Looking costs as much as indexing does.
        self.index_credit = self.index_credit.checked_sub(STEP as u64)?;
        let new = view.bytes.get(..STEP).unwrap_or(view.bytes);
        reading.fetch(parent, offset, STEP, &mut self.scratch);
        let old = self.scratch.as_slice();
        let new_row = newline(new).map(|at| at + 1);
        let old_row = newline(old).map(|at| at + 1);
        let begins = if view.starts_row { Some(0) } else { None };
        [(new_row, old_row), (begins, old_row), (new_row, Some(0))].into_iter().find_map(|(gap, step)| {
            let (gap, step) = (gap?, step?);
            let (new, old) = (new.get(gap..)?, old.get(step..)?);
            let row = newline(new)? + 1;
            let len = row.max(super::MATCH_MIN);
            (new.get(..len)? == old.get(..len)?).then_some(Hit { gap, offset: offset + step as u64 })
        })
    }

    /// Puts the parent's anchors from just before `offset` to `ahead` after it into the near table.
    fn index<P: Parent>(
        &mut self,
        kind: Kind,
        offset: u64,
        ahead: usize,
        parent: &mut P,
        reading: &mut Reading<P::Error>,
    ) {
        let from = offset.saturating_sub(BEHIND);
        if kind != self.kind || !(self.indexed.start..=self.indexed.end).contains(&offset) {
            self.kind = kind;
            // What is in the table stays: matches are compared anyway.
            self.indexed = from..from;
        }
        // Extended in steps worth their overhead.
        if self.indexed.end >= offset.saturating_add(ahead as u64 / 2) {
            return;
        }
        let wanted = offset.saturating_add(ahead as u64) - self.indexed.end;
        let len = wanted.min(self.index_credit) as usize;
        self.index_credit -= len as u64;
        let (start, ahead_of) = (self.indexed.end, offset..offset.saturating_add(WINDOW));
        self.indexed.end = start.saturating_add(len as u64);
        let Self { near, scratch, .. } = self;
        each_anchor(kind, start, len, scratch, parent, reading, |key, at| near.insert(key, at, &ahead_of));
    }

    /// Looks in the sparse table of the whole parent, and scans more of the parent into it as far as the budget goes.
    fn search_far<P: Parent>(
        &mut self,
        kind: Kind,
        view: View<'_>,
        place: Place,
        parent: &mut P,
        reading: &mut Reading<P::Error>,
    ) -> Option<Hit> {
        // A short run is not worth a jump.
        if view.bytes.len() < super::AHEAD_BYTES {
            return None;
        }
        let mut keys = std::mem::take(&mut self.keys);
        keys.clear();
        let anchors = Anchors::new(kind, view.bytes, view.starts_row, super::AHEAD_BYTES, view.last);
        keys.extend(anchors.filter(|(_, key)| key & FAR_MASK == 0));
        reading.work += view.bytes.len() as u64;
        // Wider at each miss: an insertion of some hundred kilobytes is more common than a deletion of many megabytes.
        let mut steps = 16u32 << self.misses.min(3);
        let hit = loop {
            let hit = self.probe_far(&mut keys, view, parent, reading);
            if hit.is_some() || steps == 0 || keys.is_empty() || !self.scan(kind, place, parent, reading) {
                break hit;
            }
            steps -= 1;
        };
        self.keys = keys;
        hit
    }

    /// Tries `keys` against the far table; those that lead astray are dropped from the list.
    fn probe_far<P: Parent>(
        &mut self,
        keys: &mut Vec<(usize, u64)>,
        view: View<'_>,
        parent: &mut P,
        reading: &mut Reading<P::Error>,
    ) -> Option<Hit> {
        let far = self.far.as_ref()?;
        let mut hit = None;
        let jump_credit = &mut self.jump_credit;
        keys.retain(|&(gap, key)| {
            let (None, Some(offset)) = (hit, far.get(key)) else { return true };
            if *jump_credit < JUMP_COST {
                return true;
            }
            *jump_credit -= JUMP_COST;
            if matches(view, gap, offset, FAR_MATCH_MIN, parent, reading) {
                hit = Some(Hit { gap, offset });
            }
            false
        });
        hit
    }

    /// Scans one more step of the parent for far anchors; whether there was something to scan.
    fn scan<P: Parent>(
        &mut self,
        kind: Kind,
        place: Place,
        parent: &mut P,
        reading: &mut Reading<P::Error>,
    ) -> bool {
        let budget = SCAN_FREE + self.bytes_passed / 4;
        if reading.is_blind() || budget < self.scan_spent + SCAN_STEP as u64 {
            return false;
        }
        let start = self.scanned.max(place.offset);
        let (start, len) = match place.section_end {
            Some(end) if start >= end => return false,
            _ if self.scan_ended => {
                let Some(region) = self.skipped.last_mut() else { return false };
                let (start, left) = (region.start, region.end - region.start);
                region.start += left.min(SCAN_STEP as u64);
                if region.start == region.end {
                    self.skipped.pop();
                }
                (start, left.min(SCAN_STEP as u64) as usize)
            }
            _ => {
                self.scanned = start.saturating_add(SCAN_STEP as u64);
                (start, SCAN_STEP)
            }
        };
        self.scan_spent += len as u64;
        let far = self.far.get_or_insert_with(|| Table::new(FAR_BITS));
        let ended = each_anchor(kind, start, len, &mut self.scratch, parent, reading, |key, at| {
            if key & FAR_MASK == 0 {
                far.insert(key, at, &(0..0));
            }
        });
        self.scan_ended |= ended;
        true
    }
}

/// Whether the view's bytes after `gap` are those of the parent at `offset`, for long enough.
fn matches<P: Parent>(
    view: View<'_>,
    gap: usize,
    offset: u64,
    match_min: usize,
    parent: &mut P,
    reading: &mut Reading<P::Error>,
) -> bool {
    view.wanted(gap, match_min).is_some_and(|wanted| reading.agrees(parent, offset, wanted) == wanted.len())
}

/// Calls `found` with key and offset of each anchor of the parent in `start..start + len`; whether the parent ended.
fn each_anchor<P: Parent>(
    kind: Kind,
    start: u64,
    len: usize,
    scratch: &mut Vec<u8>,
    parent: &mut P,
    reading: &mut Reading<P::Error>,
    mut found: impl FnMut(u64, u64),
) -> bool {
    // One byte more in front tells whether a row starts here.
    let lead = usize::from(start > 0);
    let asked = lead + len + KEY_BYTES_MAX;
    reading.fetch(parent, start - lead as u64, asked, scratch);
    let ended = scratch.len() < asked;
    let (before, bytes) = scratch.split_at_checked(lead).unwrap_or_default();
    let starts_row = before.first().is_none_or(|&byte| byte == b'\n');
    for (at, key) in Anchors::new(kind, bytes, starts_row, len, ended) {
        found(key, start + at as u64);
    }
    ended
}
