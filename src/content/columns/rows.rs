//! How rows lie in a block, and where their fields end.
//!
//! A row is a line of fields with tabs between, or such a line in a frame of `pg_dump -Fc -Z0`: a zero, the line's
//! length with its end, u32.

use super::ROWS_MIN;
use super::value::{Field, zero_bytes};

/// Tables of PostgreSQL have no more.
pub(super) const COLUMNS_MAX: usize = 1600;
/// Length of a row's frame.
pub(super) const FRAME_BYTES: usize = 5;

/// Rows one after another, alike in frame and number of columns.
pub(super) struct Run {
    /// Where they lie.
    pub start: usize,
    pub end: usize,
    pub rows: usize,
    pub columns: usize,
    pub is_framed: bool,
}

enum Found {
    Row { end: usize, is_framed: bool },
    Other { end: usize },
    End,
}

/// Finds runs in a block, one after another.
#[derive(Default)]
pub(super) struct Rows {
    /// A bit for each byte that is a tab or the end of a line.
    marks: Vec<u64>,
    at: usize,
    row: Vec<Field>,
    columns: Vec<Vec<Field>>,
}

impl Rows {
    /// Begins with `plain`, which is to be handed to every call until the next `begin`.
    pub(super) fn begin(&mut self, plain: &[u8]) {
        self.at = 0;
        self.marks.clear();
        let (wide, rest) = plain.as_chunks::<64>();
        self.marks.extend(wide.iter().map(mark_64));
        let mut last = [0; 64];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        self.marks.push(mark_64(&last));
    }

    /// The fields of the last run by column.
    pub(super) fn columns(&self) -> &[Vec<Field>] {
        &self.columns
    }

    /// The next run of at least [`ROWS_MIN`] rows.
    pub(super) fn next_run(&mut self, plain: &[u8]) -> Option<Run> {
        loop {
            let start = self.at;
            let (mut rows, mut shape) = (0, None);
            loop {
                match self.row(plain) {
                    Found::Row { end, is_framed } => {
                        let own = (is_framed, self.row.len());
                        if rows == 0 {
                            self.columns.resize_with(own.1, Vec::new);
                            self.columns.iter_mut().for_each(Vec::clear);
                        } else if shape != Some(own) {
                            break;
                        }
                        shape = Some(own);
                        self.columns
                            .iter_mut()
                            .zip(&self.row)
                            .for_each(|(column, field)| column.push(*field));
                        rows += 1;
                        self.at = end;
                    }
                    Found::Other { end } if rows == 0 => {
                        self.at = end;
                        break;
                    }
                    Found::End if rows == 0 => return None,
                    Found::Other { .. } | Found::End => break,
                }
            }
            if let Some((is_framed, columns)) = shape
                && rows >= ROWS_MIN
            {
                return Some(Run { start, end: self.at, rows, columns, is_framed });
            }
        }
    }

    /// The row at `self.at`; its fields in `self.row`.
    fn row(&mut self, plain: &[u8]) -> Found {
        let frame = frame_at(plain, self.at);
        let start = if frame.is_some() { self.at + FRAME_BYTES } else { self.at };
        self.row.clear();
        let mut field = start as u32;
        let mut word = start / 64;
        let mut marks = self.marks.get(word).copied().unwrap_or_default() & (u64::MAX << (start % 64));
        let end = loop {
            while marks == 0 {
                word += 1;
                let Some(next) = self.marks.get(word) else {
                    return frame.map_or(Found::End, |end| Found::Other { end });
                };
                marks = *next;
            }
            let at = word * 64 + marks.trailing_zeros() as usize;
            marks &= marks - 1;
            self.row.push(Field { start: field, end: at as u32 });
            field = at as u32 + 1;
            if plain.get(at) == Some(&b'\n') {
                break at + 1;
            }
        };
        let end_of_frame = frame.unwrap_or(end);
        if end_of_frame != end || self.row.len() > COLUMNS_MAX {
            return Found::Other { end: end_of_frame };
        }
        Found::Row { end, is_framed: frame.is_some() }
    }
}

/// Where the frame at `at` ends, if there is one whose last byte is the end of a line.
fn frame_at(plain: &[u8], at: usize) -> Option<usize> {
    let [0, l0, l1, l2, l3] = *plain.get(at..)?.first_chunk::<FRAME_BYTES>()? else { return None };
    let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let end = (at + FRAME_BYTES).checked_add(len).filter(|_| len > 0)?;
    (plain.get(end - 1) == Some(&b'\n')).then_some(end)
}

/// The bits of tabs and ends of lines.
fn mark_64(bytes: &[u8; 64]) -> u64 {
    const TABS: u64 = 0x0909_0909_0909_0909;
    const ENDS: u64 = 0x0a0a_0a0a_0a0a_0a0a;
    let (words, _) = bytes.as_chunks::<8>();
    words.iter().enumerate().fold(0, |marks, (number, word)| {
        let word = u64::from_le_bytes(*word);
        let found = zero_bytes(word ^ TABS) | zero_bytes(word ^ ENDS);
        // The high bits of eight bytes, gathered in one.
        let byte = (found >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        marks | byte << (8 * number)
    })
}
