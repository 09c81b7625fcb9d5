//! An archive made of parts of another.
//!
//! One thing is mended on the way. A key of a partition that is part of its root's cannot be dropped by itself, though
//! `pg_dump` writes that down, and `pg_restore --clean` fails there, always. It goes with its table, and so that
//! command is left out.

use super::entry::{Entry, key_of};
use super::freeze::freezing;
use super::map::{DumpForm, TableMap};
use super::tables::DataKind;
use super::tables::TableData;
use super::toc::Toc;
use super::wire::{INT_BYTES, put_int};
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// States of an entry's offset in the table of contents.
const OFFSET_SET: u8 = 2;
const NO_DATA: u8 = 3;
/// Types of data blocks.
const BLOCK_TABLE: u8 = 1;
const BLOCK_OBJECTS: u8 = 3;

/// Rows of a tar archive are framed anew in pieces of so many bytes: `pg_restore` holds one of them in memory.
const PIECE_BYTES: u64 = 4 << 20;

/// An archive to be written: some bytes, then ranges of the source's stream, one after the other.
///
/// `pg_restore` takes it from a pipe or a file, and has nothing to choose any more: what is in it is what was chosen.
/// Offsets in it are true, so that as a file it serves parallel restores, too. It is a custom archive, also where the
/// source is a tar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synthesis {
    /// Header and table of contents.
    pub head: Vec<u8>,
    /// What to copy behind it: ascending if the source's data is in order, adjacent ranges joined.
    pub copies: Vec<Copied>,
    /// Bytes behind the last of them.
    pub tail: Vec<u8>,
}

/// A range of the source's stream, never empty, and bytes that come before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// What frames the range in the new archive and not in the source: nothing where the source is a custom archive.
    pub before: Vec<u8>,
    /// What to copy.
    pub range: Range<u64>,
}

/// A large object in a tar archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LargeObject {
    /// Its number in the database.
    pub number: u32,
    /// Where in the stream it is.
    pub range: Range<u64>,
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

    /// Bytes behind the table of contents.
    pub fn data_bytes(&self) -> u64 {
        let copies = self.copies.iter();
        let bytes = copies.map(|copy| copy.before.len() as u64 + (copy.range.end - copy.range.start));
        bytes.sum::<u64>() + self.tail.len() as u64
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

/// A text as the table of contents holds it.
fn text(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(INT_BYTES + bytes.len());
    put_int(&mut text, bytes.len() as u32);
    text.extend_from_slice(bytes);
    text
}

/// The indexes of partitions that are attached to those of their roots.
struct Attached(HashSet<Vec<u8>>);

impl Attached {
    fn of(toc: &Toc) -> Self {
        let attached = toc.entries().iter().filter(|entry| entry.desc() == b"INDEX ATTACH");
        Self(attached.map(|entry| key_of(entry.namespace(), entry.tag())).collect())
    }

    /// Whether an entry is the key behind one of them. Its name is that of its table, a space, and its own.
    fn has(&self, entry: &Entry) -> bool {
        let tag = entry.tag();
        let mut names = memchr::memchr_iter(b' ', tag).filter_map(|space| tag.get(space + 1..));
        entry.desc() == b"CONSTRAINT"
            && !self.0.is_empty()
            && names.any(|name| self.0.contains(&key_of(entry.namespace(), name)))
    }
}

/// Whether [`synthesise`] mends something in an archive, for a restore that replaces what is there.
pub fn needs_mending(toc: &Toc) -> bool {
    let attached = Attached::of(toc);
    toc.entries().iter().any(|entry| attached.has(&entry))
}

/// Makes an archive of chosen entries, given by place in the table of contents; `pg_restore` takes them in this order.
/// Of a tar archive, `objects` are the large objects, in the order of the stream.
///
/// # Errors
/// When data of an entry is missing in the map.
pub fn synthesise(
    toc: &Toc,
    map: &TableMap,
    objects: &[LargeObject],
    chosen: &[usize],
    with_data: WithData,
) -> Result<Synthesis, SynthesisError> {
    synthesise_frozen(toc, map, objects, chosen, &[], with_data)
}

/// The same. Of the entries in `frozen`, which are in ascending order, the table is emptied and filled in one
/// transaction, so that the server writes its rows as it would leave them after a vacuum.
pub(super) fn synthesise_frozen(
    toc: &Toc,
    map: &TableMap,
    objects: &[LargeObject],
    chosen: &[usize],
    frozen: &[usize],
    with_data: WithData,
) -> Result<Synthesis, SynthesisError> {
    let mut head = Vec::new();
    let data = assemble(toc, map, objects, chosen, frozen, with_data, &mut |bytes| match bytes {
        Written::Soon(len) => head.reserve_exact(len),
        Written::Bytes(bytes) => head.extend_from_slice(bytes),
    })?;
    Ok(Synthesis { head, copies: data.copies, tail: data.pending })
}

/// The length of the archive that [`synthesise`] makes, which is not made: its table of contents may be large.
///
/// # Errors
/// As [`synthesise`].
pub fn synthesised_bytes(
    toc: &Toc,
    map: &TableMap,
    objects: &[LargeObject],
    chosen: &[usize],
) -> Result<u64, SynthesisError> {
    let mut head_len = 0;
    let data = assemble(toc, map, objects, chosen, &[], WithData::Yes, &mut |written| {
        if let Written::Bytes(bytes) = written {
            head_len += bytes.len() as u64;
        }
    })?;
    Ok(head_len + data.len)
}

/// What becomes of a new archive's header and table of contents.
enum Written<'a> {
    /// So many bytes will come.
    Soon(usize),
    Bytes(&'a [u8]),
}

/// Writes header and table of contents, and gives the data behind them.
fn assemble(
    toc: &Toc,
    map: &TableMap,
    objects: &[LargeObject],
    chosen: &[usize],
    frozen: &[usize],
    with_data: WithData,
    write: &mut dyn FnMut(Written<'_>),
) -> Result<Data, SynthesisError> {
    let entry_at = |&index: &usize| toc.entries().get(index).ok_or(SynthesisError::NoEntry { index });
    let entry_of = |&index: &usize| toc.entries().get(index);
    let ids: HashSet<u32> =
        chosen.iter().filter_map(entry_of).filter(|it| it.has_data).map(|it| it.dump_id).collect();
    // Their places in the map.
    let places = map.tables.iter().zip(0u32..).filter(|(it, _)| ids.contains(&it.dump_id));
    let blocks: HashMap<u32, u32> = places.map(|(table, place)| (table.dump_id, place)).collect();

    let header = toc.header();
    let mut head = toc.custom_head();
    put_int(&mut head, chosen.len() as u32);
    let offset_bytes = usize::from(header.offset_bytes);
    let attached = Attached::of(toc);
    let mut head_len = head.len();
    // What is written in the place of which field of an entry.
    let changed = |index: usize, entry: &Entry| match attached.has(entry) {
        true => Some((entry.drop_field(), text(b""))),
        false if frozen.binary_search(&index).is_ok() => {
            Some((entry.copy_field(), text(&freezing(entry.copy()?)?)))
        }
        false => None,
    };
    for index in chosen {
        let entry = entry_at(index)?;
        let change = changed(*index, &entry);
        let [before, behind] = entry.around(change.as_ref().map(|(field, _)| field));
        let new = change.as_ref().map_or(0, |(_, text)| text.len());
        head_len += before.len() + new + behind.len() + 1 + offset_bytes;
    }
    write(Written::Soon(head_len));
    write(Written::Bytes(&head));

    let mut data = Data::default();
    for index in chosen {
        let entry = entry_at(index)?;
        let change = changed(*index, &entry);
        let [before, behind] = entry.around(change.as_ref().map(|(field, _)| field));
        write(Written::Bytes(before));
        change.iter().for_each(|(_, text)| write(Written::Bytes(text)));
        write(Written::Bytes(behind));
        let (state, place) = match (entry.has_data, with_data) {
            (true, WithData::Yes) => {
                let missing =
                    || SynthesisError::MissingData { what: format!("{} {}", entry.kind(), entry.name()) };
                let block = blocks.get(&entry.dump_id).and_then(|place| map.tables.get(*place as usize));
                let block = block.ok_or_else(missing)?;
                let place = (head_len as u64).saturating_add(data.len);
                match map.form {
                    DumpForm::Tar => data.frame(&block, objects).ok_or_else(missing)?,
                    _ => data.copy(block.range()),
                }
                (OFFSET_SET, place)
            }
            _ => (NO_DATA, 0),
        };
        write(Written::Bytes(&[state]));
        let place = place.to_le_bytes();
        let (kept, lost) = place.split_at(offset_bytes.min(place.len()));
        if lost.iter().any(|&byte| byte != 0) {
            return Err(SynthesisError::TooLong { len: (head_len as u64).saturating_add(data.len) });
        }
        write(Written::Bytes(kept));
    }
    Ok(data)
}

/// The data of a new archive, as it grows.
#[derive(Default)]
struct Data {
    copies: Vec<Copied>,
    /// Bytes that no range follows yet.
    pending: Vec<u8>,
    len: u64,
}

impl Data {
    fn copy(&mut self, range: Range<u64>) {
        let Some(bytes) = range.end.checked_sub(range.start).filter(|bytes| *bytes > 0) else { return };
        self.len = self.len.saturating_add(bytes);
        match self.copies.last_mut() {
            Some(last) if self.pending.is_empty() && last.range.end == range.start => {
                last.range.end = range.end;
            }
            _ => self.copies.push(Copied { before: std::mem::take(&mut self.pending), range }),
        }
    }

    fn int(&mut self, value: u32) {
        put_int(&mut self.pending, value);
        self.len = self.len.saturating_add(INT_BYTES as u64);
    }

    /// A block of data that stood in files of its own. `None` if objects are missing.
    fn frame(&mut self, block: &TableData<'_>, objects: &[LargeObject]) -> Option<()> {
        self.pending.push(match block.kind {
            DataKind::Table => BLOCK_TABLE,
            DataKind::LargeObjects => BLOCK_OBJECTS,
        });
        self.len = self.len.saturating_add(1);
        self.int(block.dump_id);
        match block.kind {
            DataKind::Table => self.pieces(block.range()),
            DataKind::LargeObjects => {
                let within = block.range();
                let from = objects.partition_point(|object| object.range.start < within.start);
                let to = objects.partition_point(|object| object.range.start < within.end);
                let own = objects.get(from..to)?;
                if block.rows != Some(own.len() as u64) {
                    return None;
                }
                for object in own {
                    self.int(object.number);
                    self.pieces(object.range.clone());
                }
                self.int(0);
            }
        }
        Some(())
    }

    fn pieces(&mut self, range: Range<u64>) {
        let mut at = range.start;
        while at < range.end {
            let end = range.end.min(at.saturating_add(PIECE_BYTES));
            self.int((end - at) as u32);
            self.copy(at..end);
            at = end;
        }
        self.int(0);
    }
}
