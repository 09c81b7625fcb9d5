//! An archive made of parts of another.
//!
//! One thing is mended on the way. A key of a partition that is part of its root's cannot be dropped by itself, though `pg_dump` writes that
//! down, and `pg_restore --clean` fails there, always. It goes with its table, and so that command is left out.

use super::entry::Entry;
use super::map::TableMap;
use super::toc::Toc;
use super::wire::put_int;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// States of an entry's offset in the table of contents.
const OFFSET_SET: u8 = 2;
const NO_DATA: u8 = 3;

/// An archive to be written: some bytes, then ranges of the source's stream, one after the other.
///
/// `pg_restore` takes it from a pipe or a file, and has nothing to choose any more: what is in it is what was chosen. Offsets in
/// it are true, so that as a file it serves parallel restores, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synthesis {
    /// Header and table of contents.
    pub head: Vec<u8>,
    /// What to copy behind it: ascending if the source's blocks are in order, adjacent ranges joined.
    pub ranges: Vec<Range<u64>>,
}

impl Synthesis {
    /// Length of the whole archive.
    pub fn len(&self) -> u64 {
        self.head.len() as u64 + self.data_bytes()
    }

    /// Never: there is always a header.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes to copy.
    pub fn data_bytes(&self) -> u64 {
        self.ranges.iter().map(|range| range.end - range.start).sum()
    }
}

/// An archive cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SynthesisError {
    /// An entry's data is not in the source's map. Left out, it would be restored as an empty table.
    #[error("the map of the dump does not have the data of {what}")]
    MissingData {
        /// The entry.
        what: String,
    },
    /// An entry is not there.
    #[error("the table of contents has no entry at place {index}")]
    NoEntry {
        /// Its place.
        index: usize,
    },
    /// Offsets of the source are too short to say where data is.
    #[error("the archive would be {len} bytes long, more than its offsets can say")]
    TooLong {
        /// Its length.
        len: u64,
    },
}

/// Whether the entries of a new archive have their data with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithData {
    /// All that have any.
    Yes,
    /// None: a table of contents alone. `pg_restore` must be told not to restore data (`--section`), or it makes
    /// empty tables.
    No,
}

/// Bytes of a text that is empty: its length.
const EMPTY_TEXT_BYTES: usize = 5;

/// The indexes of partitions that are attached to those of their roots: schema and name.
struct Attached<'a>(HashSet<(Option<&'a [u8]>, &'a [u8])>);

impl<'a> Attached<'a> {
    fn of(toc: &Toc<'a>) -> Self {
        let attached = toc.entries().iter().filter(|entry| entry.desc == b"INDEX ATTACH");
        Self(attached.map(|entry| (entry.namespace, entry.tag)).collect())
    }

    /// Whether an entry is the key behind one of them. Its name is that of its table, a space, and its own.
    fn has(&self, entry: &Entry<'_>) -> bool {
        let mut names = memchr::memchr_iter(b' ', entry.tag).filter_map(|space| entry.tag.get(space + 1..));
        entry.desc == b"CONSTRAINT"
            && !self.0.is_empty()
            && names.any(|name| self.0.contains(&(entry.namespace, name)))
    }
}

/// Whether [`synthesise`] mends something in an archive, for a restore that replaces what is there.
pub fn needs_mending(toc: &Toc) -> bool {
    let attached = Attached::of(toc);
    toc.entries().iter().any(|entry| attached.has(entry))
}

/// Makes an archive of chosen entries, given by place in the table of contents; `pg_restore` takes them in this order.
///
/// # Errors
/// When data of an entry is missing in the map.
pub fn synthesise(
    toc: &Toc,
    map: &TableMap,
    chosen: &[usize],
    with_data: WithData,
) -> Result<Synthesis, SynthesisError> {
    let blocks: HashMap<u32, Range<u64>> =
        map.tables.iter().map(|table| (table.dump_id, table.range())).collect();
    let entry_at = |&index: &usize| toc.entries().get(index).ok_or(SynthesisError::NoEntry { index });

    let header = toc.header();
    let mut head = toc.bytes.get(..header.count_at).unwrap_or_default().to_vec();
    put_int(&mut head, chosen.len() as u32);
    let mut head_len = head.len();
    for index in chosen {
        head_len += entry_at(index)?.raw.len();
    }
    let attached = Attached::of(toc);
    for index in chosen {
        let entry = entry_at(index)?;
        if attached.has(entry) {
            head_len = head_len - entry.drop_at.len() + EMPTY_TEXT_BYTES;
        }
    }
    head.reserve(head_len.saturating_sub(head.len()));

    let mut ranges: Vec<Range<u64>> = Vec::new();
    let mut offset = head_len as u64;
    for index in chosen {
        let entry = entry_at(index)?;
        if attached.has(entry) {
            head.extend_from_slice(entry.raw.get(..entry.drop_at.start).unwrap_or_default());
            put_int(&mut head, 0);
            head.extend_from_slice(entry.raw.get(entry.drop_at.end..entry.offset_at).unwrap_or_default());
        } else {
            head.extend_from_slice(entry.raw.get(..entry.offset_at).unwrap_or_default());
        }
        let (state, place) = match (entry.has_data, with_data) {
            (true, WithData::Yes) => {
                let range = blocks.get(&entry.dump_id).cloned().ok_or_else(|| {
                    SynthesisError::MissingData { what: format!("{} {}", entry.kind(), entry.name()) }
                })?;
                let place = offset;
                offset += range.end - range.start;
                match ranges.last_mut() {
                    Some(last) if last.end == range.start => last.end = range.end,
                    _ => ranges.push(range),
                }
                (OFFSET_SET, place)
            }
            _ => (NO_DATA, 0),
        };
        head.push(state);
        let place = place.to_le_bytes();
        let (kept, lost) = place.split_at(usize::from(header.offset_bytes).min(place.len()));
        if lost.iter().any(|&byte| byte != 0) {
            return Err(SynthesisError::TooLong { len: offset });
        }
        head.extend_from_slice(kept);
    }
    Ok(Synthesis { head, ranges })
}
