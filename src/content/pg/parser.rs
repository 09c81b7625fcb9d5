//! The states of an archive's stream, and when it is complete.

use super::data::{DataFacts, Step, Walk};
use super::entry::Entry;
use super::header::{Compression, Container, Header};
use super::wire::{Fields, INT_BYTES, Stop};
use super::words::Words;
use super::{ArchiveError, Problem};
use std::collections::HashMap;

/// Data entries that an archive may have: more tables than any server has held.
const DATA_ENTRIES_MAX: u64 = 4 << 20;
/// Bytes of their names, together.
const NAMES_BYTES_MAX: u64 = 128 << 20;

/// What a data block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockKind {
    /// A table's rows.
    Table,
    /// Large objects.
    LargeObjects,
}

/// A data block: one entry's data in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// What it holds.
    pub kind: BlockKind,
    /// Where it begins, in bytes from the start of the stream.
    pub offset: u64,
    /// Its length with all that frames it: copied as they are, these bytes are a block of another archive.
    pub len: u64,
    /// Its data.
    pub data: DataFacts,
    /// Large objects in it.
    pub objects: u64,
}

/// An entry that announces a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataEntry<'a> {
    /// The entry's number.
    pub dump_id: u32,
    /// `TABLE DATA`, `BLOBS`…
    pub kind: &'a str,
    /// Schema, empty if it has none.
    pub schema: &'a str,
    /// Name.
    pub name: &'a str,
    /// Whether the data is what COPY wrote.
    pub is_copy: bool,
}

/// Is told what the parser finds, in the order of the stream.
pub trait Visitor {
    /// The header, once.
    fn header(&mut self, _header: &Header) {}

    /// Every entry of the table of contents.
    fn entry(&mut self, _entry: &Entry<&[u8]>) {}

    /// The table of contents has ended, at this offset.
    fn contents_end(&mut self, _offset: u64) {}

    /// A data block has ended.
    fn block(&mut self, _entry: &DataEntry<'_>, _block: &Block) {}
}

impl Visitor for () {}

#[derive(Debug)]
enum Stage {
    Header,
    Entries {
        left: u64,
    },
    /// Between two blocks: the only place where a stream may end.
    BlockStart,
    Table(Walk),
    /// Before a large object's number.
    Object,
    ObjectData(Walk),
}

/// Parses an archive as it streams, however it is cut into pushes.
///
/// Memory: the names of the data entries; an entry that is cut by the end of a push (at most 128 MiB); nothing else.
#[derive(Debug)]
pub struct Parser {
    container: Container,
    stage: Stage,
    header: Option<Header>,
    /// The start of something of which the rest has not come.
    pending: Vec<u8>,
    /// How long `pending` must be for the next look at it.
    needed: usize,
    /// Bytes of the stream that are dealt with; those in `pending` are not.
    offset: u64,
    entries: DataEntries,
    block: Block,
    block_entry: usize,
    failed: Option<ArchiveError>,
}

impl Default for Parser {
    fn default() -> Self {
        Self::new()
    }
}

impl Parser {
    /// A parser at the start of a stream.
    pub fn new() -> Self {
        Self::of(Container::Custom)
    }

    pub(super) fn of(container: Container) -> Self {
        Self {
            container,
            stage: Stage::Header,
            header: None,
            pending: Vec::new(),
            needed: 0,
            offset: 0,
            entries: DataEntries::default(),
            block: Block::new(BlockKind::Table, 0),
            block_entry: 0,
            failed: None,
        }
    }

    /// Takes the next bytes of the stream.
    ///
    /// # Errors
    /// When they are not those of an archive. From then on every call gives the same error.
    pub fn push(&mut self, bytes: &[u8], visitor: &mut impl Visitor) -> Result<(), ArchiveError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.advance(bytes, visitor).inspect_err(|error| self.failed = Some(error.clone()))
    }

    /// The end of a tar archive's table of contents, which stands in a file of its own: the entries that announce data.
    pub(super) fn contents(self) -> Result<DataEntries, ArchiveError> {
        let bytes = self.offset + self.pending.len() as u64;
        match (self.failed, self.stage) {
            (Some(error), _) => Err(error),
            (None, Stage::BlockStart) if self.pending.is_empty() => Ok(self.entries),
            (None, Stage::Header | Stage::Entries { .. }) => {
                Err(ArchiveError::Truncated { what: "the table of contents", bytes })
            }
            (None, _) => Err(Problem::Damaged("bytes behind the table of contents").at(self.offset)),
        }
    }

    /// The end of the stream.
    ///
    /// # Errors
    /// When the archive is not complete: `pg_dump` would have gone on.
    pub fn finish(self) -> Result<(), ArchiveError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let what = match self.stage {
            Stage::Header => "the header",
            Stage::Entries { .. } => "the table of contents",
            Stage::BlockStart if self.pending.is_empty() => return self.entries.finish(self.offset),
            Stage::BlockStart => "the start of a data block",
            Stage::Table(_) => "the data of a table",
            Stage::Object | Stage::ObjectData(_) => "large objects",
        };
        Err(ArchiveError::Truncated { what, bytes: self.offset + self.pending.len() as u64 })
    }

    fn advance(&mut self, mut bytes: &[u8], visitor: &mut impl Visitor) -> Result<(), ArchiveError> {
        while !bytes.is_empty() {
            let taken = match &mut self.stage {
                Stage::Table(walk) | Stage::ObjectData(walk) => {
                    let step =
                        walk.advance(bytes).map_err(|(at, problem)| problem.at(self.offset + at as u64))?;
                    match step {
                        Step::More => {
                            self.offset += bytes.len() as u64;
                            return Ok(());
                        }
                        Step::Ended(taken) => {
                            self.offset += taken as u64;
                            self.data_ended(visitor);
                            taken
                        }
                    }
                }
                _ => self.item(bytes, visitor)?,
            };
            bytes = bytes.get(taken..).unwrap_or_default();
        }
        Ok(())
    }

    /// Takes bytes until one item (header, entry, start of a block, number of an object) is whole; gives how many it
    /// took.
    fn item(&mut self, bytes: &[u8], visitor: &mut impl Visitor) -> Result<usize, ArchiveError> {
        if self.pending.is_empty() {
            return match self.decode(bytes, visitor) {
                Ok(len) => {
                    self.offset += len as u64;
                    Ok(len)
                }
                Err(Stop::More(needed)) => {
                    self.pending.extend_from_slice(bytes);
                    self.needed = needed;
                    Ok(bytes.len())
                }
                Err(Stop::Bad { at, problem }) => Err(problem.at(self.offset + at as u64)),
            };
        }
        // Never more than is needed, so that an item that is whole is all that is pending.
        let wanted = self.needed.saturating_sub(self.pending.len());
        let more = bytes.get(..wanted).unwrap_or(bytes);
        self.pending.extend_from_slice(more);
        if self.pending.len() >= self.needed {
            let mut pending = std::mem::take(&mut self.pending);
            match self.decode(&pending, visitor) {
                Ok(len) => {
                    self.offset += len as u64;
                    pending.clear();
                }
                Err(Stop::More(needed)) => self.needed = needed,
                Err(Stop::Bad { at, problem }) => return Err(problem.at(self.offset + at as u64)),
            }
            self.pending = pending;
        }
        Ok(more.len())
    }

    /// Decodes the item that the stage expects; gives its length.
    fn decode(&mut self, bytes: &[u8], visitor: &mut impl Visitor) -> Result<usize, Stop> {
        match &mut self.stage {
            Stage::Header => {
                let header = Header::decode(bytes, self.container)?;
                let len = header.len;
                visitor.header(&header);
                self.stage = Stage::Entries { left: header.entries };
                self.header = Some(header);
                if let Stage::Entries { left: 0 } = self.stage {
                    self.contents_ended(len, visitor);
                }
                Ok(len)
            }
            Stage::Entries { left } => {
                let Some(header) = &self.header else {
                    return Err(Stop::Bad { at: 0, problem: Problem::NotAnArchive });
                };
                let (entry, len) = Entry::decode(header, bytes, 0)?;
                *left -= 1;
                let is_last = *left == 0;
                visitor.entry(&entry);
                if entry.has_data {
                    self.entries.add(&entry)?;
                }
                if is_last {
                    self.contents_ended(len, visitor);
                }
                Ok(len)
            }
            Stage::BlockStart => self.block_start(bytes),
            Stage::Object => {
                let object = Fields::new(bytes, 0).int()?;
                if object == 0 {
                    self.block_ended(self.offset + INT_BYTES as u64, visitor);
                } else {
                    self.block.objects += 1;
                    self.stage = Stage::ObjectData(Walk::new(false));
                }
                Ok(INT_BYTES)
            }
            Stage::Table(_) | Stage::ObjectData(_) => Ok(0),
        }
    }

    fn contents_ended(&mut self, len: usize, visitor: &mut impl Visitor) {
        self.stage = Stage::BlockStart;
        visitor.contents_end(self.offset + len as u64);
    }

    fn block_start(&mut self, bytes: &[u8]) -> Result<usize, Stop> {
        let bad = |at, what| Stop::Bad { at, problem: Problem::Damaged(what) };
        if self.entries.left == 0 {
            return Err(bad(0, "bytes behind the last data block"));
        }
        let mut fields = Fields::new(bytes, 0);
        let kind = match fields.byte()? {
            1 => BlockKind::Table,
            3 => BlockKind::LargeObjects,
            _ => return Err(bad(0, "the type of a data block")),
        };
        let dump_id = fields.dump_id()?;
        self.block = Block::new(kind, self.offset);
        self.block_entry =
            self.entries.take(dump_id).ok_or_else(|| bad(1, "a data block that no entry announces"))?;
        let is_plain = self.header.as_ref().is_some_and(|header| header.compression == Compression::None);
        self.stage = match kind {
            BlockKind::Table => Stage::Table(Walk::new(is_plain)),
            BlockKind::LargeObjects => Stage::Object,
        };
        Ok(fields.at())
    }

    /// A table's or an object's data has ended, right before `offset`.
    fn data_ended(&mut self, visitor: &mut impl Visitor) {
        match &self.stage {
            Stage::Table(walk) => {
                self.block.data = walk.facts();
                self.block_ended(self.offset, visitor);
            }
            Stage::ObjectData(walk) => {
                let facts = walk.facts();
                self.block.data.bytes += facts.bytes;
                self.block.data.pieces += facts.pieces;
                self.stage = Stage::Object;
            }
            _ => {}
        }
    }

    fn block_ended(&mut self, end: u64, visitor: &mut impl Visitor) {
        self.block.len = end - self.block.offset;
        self.stage = Stage::BlockStart;
        if let Some(entry) = self.entries.get(self.block_entry) {
            visitor.block(&entry, &self.block);
        }
    }
}

impl Block {
    fn new(kind: BlockKind, offset: u64) -> Self {
        Self { kind, offset, len: 0, data: DataFacts::default(), objects: 0 }
    }
}

/// The entries that announce blocks, and which blocks have come. There may be a million.
#[derive(Debug, Default)]
pub(super) struct DataEntries {
    all: Vec<Announced>,
    /// Their names, one behind the other.
    names: String,
    /// Kinds and schemas, each once.
    words: Words,
    by_id: HashMap<u32, u32>,
    left: u64,
    names_bytes: u64,
}

#[derive(Debug, Clone, Copy)]
struct Announced {
    dump_id: u32,
    kind: u32,
    schema: u32,
    /// Where the name ends; it begins where the one before ends.
    name_end: u32,
    is_copy: bool,
    seen: bool,
}

impl DataEntries {
    fn add(&mut self, entry: &Entry<&[u8]>) -> Result<(), Stop> {
        let too_long =
            |what, len, max| Err(Stop::Bad { at: 0, problem: Problem::TooLong { what, len, max } });
        self.left += 1;
        if self.left > DATA_ENTRIES_MAX {
            return too_long("the table of contents", self.left, DATA_ENTRIES_MAX);
        }
        let (kind, schema, name) = (entry.kind(), entry.schema(), entry.name());
        self.names_bytes += (kind.len() + schema.len() + name.len()) as u64;
        if self.names_bytes > NAMES_BYTES_MAX {
            return too_long("the names of the tables", self.names_bytes, NAMES_BYTES_MAX);
        }
        if self.by_id.insert(entry.dump_id, self.all.len() as u32).is_some() {
            return Err(Stop::Bad { at: 0, problem: Problem::Damaged("two entries with the same number") });
        }
        self.names.push_str(&name);
        let announced = Announced {
            dump_id: entry.dump_id,
            kind: self.words.number(&kind),
            schema: self.words.number(&schema),
            name_end: self.names.len() as u32,
            is_copy: entry.copy().is_some(),
            seen: false,
        };
        self.all.push(announced);
        Ok(())
    }

    /// An entry by its place.
    pub(super) fn get(&self, index: usize) -> Option<DataEntry<'_>> {
        let entry = self.all.get(index)?;
        let before = index.checked_sub(1).and_then(|before| self.all.get(before));
        let name = before.map_or(0, |before| before.name_end) as usize..entry.name_end as usize;
        Some(DataEntry {
            dump_id: entry.dump_id,
            kind: self.words.get(entry.kind),
            schema: self.words.get(entry.schema),
            name: self.names.get(name).unwrap_or_default(),
            is_copy: entry.is_copy,
        })
    }

    /// The first of a kind.
    pub(super) fn first_of(&self, kind: &str) -> Option<DataEntry<'_>> {
        (0..self.all.len()).filter_map(|index| self.get(index)).find(|entry| entry.kind == kind)
    }

    /// Marks an entry's block as come; `None` if there is no such entry or its block has come before.
    pub(super) fn take(&mut self, dump_id: u32) -> Option<usize> {
        let index = *self.by_id.get(&dump_id)? as usize;
        let entry = self.all.get_mut(index).filter(|entry| !entry.seen)?;
        entry.seen = true;
        self.left -= 1;
        Some(index)
    }

    pub(super) fn finish(&self, bytes: u64) -> Result<(), ArchiveError> {
        match self.all.iter().position(|entry| !entry.seen) {
            None => Ok(()),
            Some(first) => Err(ArchiveError::Unfinished {
                missing: self.left,
                blocks: self.all.len() as u64,
                first: self.get(first).map(|first| first.to_string()).unwrap_or_default(),
                bytes,
            }),
        }
    }
}

impl std::fmt::Display for DataEntry<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self.schema {
            "" => write!(f, "{} {}", self.kind, self.name),
            schema => write!(f, "{} {schema}.{}", self.kind, self.name),
        }
    }
}
