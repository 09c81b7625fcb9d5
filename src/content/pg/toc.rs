//! The table of contents of an archive, whole and in memory: its order, and how entries are found.
//!
//! There may be millions of entries, and what is said of one is much like what is said of the next: in memory they are
//! compressed, in pieces of whole entries. Those that were used last are kept open, which are all of them in archives
//! of some thousand tables.

use super::ArchiveError;
use super::Problem;
use super::entry::{Entry, Piece, Section};
use super::header::{Container, Header};
use super::wire::Stop;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// No table of contents to be searched may be longer. (An archive with a longer one can still be restored as a whole.)
const TOC_BYTES_MAX: u64 = 512 << 20;
/// How a tar archive begins, and how many bytes stand before the table of contents in it.
const TAR_START: &[u8] = b"toc.dat\0";
const TAR_HEADER_BYTES: usize = 512;

/// A piece ends with the entry that makes it so long.
const PIECE_BYTES: usize = 64 << 10;
/// Pieces are open up to so many bytes; one always is.
const OPEN_BYTES_MAX: usize = 8 << 20;
/// zstd's fastest level but for the negative ones.
const LEVEL: i32 = 1;

/// Room is made at once for so many entries at most, whatever the header says: what grows leaves holes behind.
const ROOM_ENTRIES_MAX: u64 = 4 << 20;

const WHAT: &str = "the table of contents";

/// Header and table of contents of an archive.
pub struct Toc {
    header: Header,
    /// The header as it stands in the archive.
    head: Vec<u8>,
    pieces: Vec<Closed>,
    /// Where each entry begins, counted from the first.
    places: Vec<u32>,
    sections: Vec<Section>,
    /// Numbers of entries and their places among the entries, by number.
    by_id: Vec<(u32, u32)>,
    /// Bytes of the stream before the header.
    before: u64,
    /// Bytes of all entries.
    entries_bytes: u64,
    open: Mutex<Open>,
}

/// Some entries, compressed.
struct Closed {
    /// Where the first begins, counted as in `places`.
    start: u32,
    len: u32,
    /// As they are where they do not get shorter.
    bytes: Box<[u8]>,
}

/// The pieces that were used last, the newest first, by number.
#[derive(Default)]
struct Open {
    pieces: VecDeque<(usize, Piece)>,
    bytes: usize,
}

impl Toc {
    /// Reads the first bytes of an archive, custom or tar: [`super::TableMap::head_bytes`] of them; more may follow.
    ///
    /// # Errors
    /// When they are damaged or too few.
    pub fn parse(bytes: &[u8]) -> Result<Self, ArchiveError> {
        let mut reader = TocReader::new();
        reader.push(bytes);
        reader.finish()
    }

    fn new(header: Header, head: Vec<u8>, before: u64) -> Self {
        let room = header.entries.min(ROOM_ENTRIES_MAX) as usize;
        Self {
            header,
            head,
            pieces: Vec::new(),
            places: Vec::with_capacity(room),
            sections: Vec::with_capacity(room),
            by_id: Vec::with_capacity(room),
            before,
            entries_bytes: 0,
            open: Mutex::default(),
        }
    }

    /// Takes the bytes of the next entries.
    fn close(&mut self, plain: &[u8]) {
        if plain.is_empty() {
            return;
        }
        // zstd fails only without memory.
        let stored = zstd::bulk::compress(plain, LEVEL).ok().filter(|stored| stored.len() < plain.len());
        let bytes = stored.unwrap_or_else(|| plain.to_vec()).into_boxed_slice();
        // No longer than a table of contents may be.
        let (start, len) = (self.entries_bytes as u32, plain.len() as u32);
        self.pieces.push(Closed { start, len, bytes });
        self.entries_bytes += plain.len() as u64;
    }

    /// Makes entries findable, once all have come.
    fn sort(&mut self) -> Result<(), ArchiveError> {
        self.by_id.sort_unstable();
        let twice = self.by_id.windows(2).find(|pair| matches!(pair, [(a, _), (b, _)] if a == b));
        let Some([_, (_, index)]) = twice else { return Ok(()) };
        let at = self.places.get(*index as usize).copied().unwrap_or_default();
        Err(Problem::Damaged("two entries with the same number").at(self.first_at() + u64::from(at)))
    }

    /// What the archive says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The same, for a custom archive: its bytes up to the number of entries.
    pub(super) fn custom_head(&self) -> Vec<u8> {
        self.header.as_custom(&self.head)
    }

    /// The entries, in the order in which `pg_restore` restores them.
    pub fn entries(&self) -> Entries<'_> {
        Entries { toc: self }
    }

    /// The section in which an entry is restored: its own, or that of the entries before it. Entries are named by their
    /// place in [`Self::entries`], here and wherever a number of `usize` is asked for.
    pub fn section(&self, index: usize) -> Section {
        self.sections.get(index).copied().unwrap_or(Section::PreData)
    }

    /// The place of the entry with this number.
    pub fn find(&self, dump_id: u32) -> Option<usize> {
        let at = self.by_id.binary_search_by_key(&dump_id, |(id, _)| *id).ok()?;
        self.by_id.get(at).map(|(_, index)| *index as usize)
    }

    /// Bytes of header and table of contents: where the first block begins.
    pub fn head_bytes(&self) -> u64 {
        self.first_at() + self.entries_bytes
    }

    /// Where the first entry begins in the stream.
    fn first_at(&self) -> u64 {
        self.before + self.head.len() as u64
    }

    /// The places of the entries that an entry needs, of those that are in the archive.
    pub(super) fn needs(&self, index: usize) -> impl Iterator<Item = usize> + use<> {
        let entry = self.entries().get(index);
        let found = entry.iter().flat_map(Entry::dependencies).filter_map(|id| self.find(id));
        found.collect::<Vec<_>>().into_iter()
    }

    /// A piece, open.
    fn piece(&self, number: usize) -> Option<Piece> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = open.pieces.iter().position(|(it, _)| *it == number) {
            let (number, piece) = open.pieces.remove(at)?;
            open.pieces.push_front((number, Arc::clone(&piece)));
            return Some(piece);
        }
        let closed = self.pieces.get(number)?;
        let plain = match closed.bytes.len() < closed.len as usize {
            // Compressed here, so that it can be opened.
            true => zstd::bulk::decompress(&closed.bytes, closed.len as usize).ok()?,
            false => closed.bytes.to_vec(),
        };
        let piece = Piece::from(plain);
        open.bytes += piece.len();
        open.pieces.push_front((number, Arc::clone(&piece)));
        while open.bytes > OPEN_BYTES_MAX && open.pieces.len() > 1 {
            let gone = open.pieces.pop_back().map_or(0, |(_, piece)| piece.len());
            open.bytes = open.bytes.saturating_sub(gone);
        }
        Some(piece)
    }
}

/// The entries of a table of contents, by their places.
#[derive(Debug, Clone, Copy)]
pub struct Entries<'t> {
    toc: &'t Toc,
}

impl<'t> Entries<'t> {
    /// How many.
    pub fn len(self) -> usize {
        self.toc.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.toc.places.is_empty()
    }

    /// The entry at a place.
    pub fn get(self, index: usize) -> Option<Entry> {
        let Toc { header, pieces, places, .. } = self.toc;
        let place = *places.get(index)?;
        let number = pieces.partition_point(|piece| piece.start <= place).checked_sub(1)?;
        let at = place.checked_sub(pieces.get(number)?.start)?;
        // It was read once.
        Entry::decode(header, self.toc.piece(number)?, at as usize).ok().map(|(entry, _)| entry)
    }

    /// All of them.
    pub fn iter(self) -> impl Iterator<Item = Entry> + 't {
        (0..self.len()).filter_map(move |index| self.get(index))
    }
}

impl std::fmt::Debug for Toc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Toc").field("header", &self.header).field("entries", &self.places.len()).finish()
    }
}

/// Reads the first bytes of an archive as they come.
#[derive(Debug, Default)]
pub struct TocReader {
    /// Bytes of the stream before those that are pending.
    offset: u64,
    pending: Vec<u8>,
    /// How many of these are whole entries.
    whole: usize,
    /// How many there must be for the next look at them.
    needed: usize,
    toc: Option<Toc>,
    section: Option<Section>,
    is_complete: bool,
    failed: Option<ArchiveError>,
}

impl TocReader {
    /// A reader of an archive that has not begun.
    pub fn new() -> Self {
        Self { needed: TAR_START.len(), ..Self::default() }
    }

    /// Takes the next bytes; those behind the table of contents are passed over. What is wrong with them is said at the
    /// end.
    pub fn push(&mut self, bytes: &[u8]) {
        // However much comes at once, little of it is in memory twice.
        for bytes in bytes.chunks(PIECE_BYTES) {
            if self.is_complete || self.failed.is_some() {
                return;
            }
            self.pending.extend_from_slice(bytes);
            if self.pending.len() >= self.needed {
                self.failed = self.advance().err();
            }
        }
    }

    /// The table of contents.
    ///
    /// # Errors
    /// When the bytes are damaged or too few.
    pub fn finish(mut self) -> Result<Toc, ArchiveError> {
        if !self.is_complete && self.failed.is_none() {
            // So few bytes say what they are, too.
            self.failed = self.advance().err();
        }
        let bytes = self.offset + self.pending.len() as u64;
        match (self.failed, self.toc) {
            (Some(error), _) => Err(error),
            (None, Some(toc)) if self.is_complete => Ok(toc),
            (None, _) => Err(ArchiveError::Truncated { what: WHAT, bytes }),
        }
    }

    /// Takes all that is whole of what is pending.
    fn advance(&mut self) -> Result<(), ArchiveError> {
        if self.toc.is_none() && !self.begin()? {
            return Ok(());
        }
        let Some(toc) = &mut self.toc else { return Ok(()) };
        while toc.places.len() < toc.header.entries as usize {
            let (entry, end) = match Entry::decode(&toc.header, self.pending.as_slice(), self.whole) {
                Ok(found) => found,
                Err(Stop::More(needed)) => {
                    self.needed = needed;
                    return Ok(());
                }
                Err(stop) => return Err(stop.at_end(self.offset, self.pending.len(), WHAT)),
            };
            let at = self.offset + self.whole as u64;
            let len = self.offset + end as u64 - toc.before;
            if len > TOC_BYTES_MAX {
                return Err(Problem::TooLong { what: WHAT, len, max: TOC_BYTES_MAX }.at(at));
            }
            if entry.section != Section::None {
                self.section = Some(entry.section);
            }
            toc.sections.push(self.section.unwrap_or(Section::PreData));
            // No longer than that, see above.
            toc.by_id.push((entry.dump_id, toc.places.len() as u32));
            toc.places.push((at - toc.first_at()) as u32);
            self.whole = end;
            if end >= PIECE_BYTES {
                toc.close(self.pending.get(..end).unwrap_or_default());
                self.offset += end as u64;
                self.pending.drain(..end);
                self.whole = 0;
            }
        }
        toc.close(self.pending.get(..self.whole).unwrap_or_default());
        self.pending = Vec::new();
        self.is_complete = true;
        toc.sort()
    }

    /// Reads the header; gives whether it has come.
    fn begin(&mut self) -> Result<bool, ArchiveError> {
        let (container, before) = match self.pending.starts_with(TAR_START) {
            true => (Container::Tar, TAR_HEADER_BYTES),
            false => (Container::Custom, 0),
        };
        let bytes = self.pending.get(before..).unwrap_or_default();
        let header = match Header::decode(bytes, container) {
            Ok(header) => header,
            Err(Stop::More(needed)) => {
                self.needed = before + needed;
                return Ok(false);
            }
            Err(stop) => return Err(stop.at_end(before as u64, bytes.len(), WHAT)),
        };
        let head = bytes.get(..header.len).unwrap_or_default().to_vec();
        self.pending.drain(..before + head.len());
        self.offset = (before + head.len()) as u64;
        self.toc = Some(Toc::new(header, head, before as u64));
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::put_int;
    use super::*;

    fn text(out: &mut Vec<u8>, text: Option<&str>) {
        match text {
            None => out.extend([1, 1, 0, 0, 0]),
            Some(text) => {
                put_int(out, text.len() as u32);
                out.extend(text.as_bytes());
            }
        }
    }

    /// A custom archive of version 1.14 that is a table of contents alone: tables with these numbers, each needing the
    /// one before.
    fn archive(numbers: &[u32]) -> Vec<u8> {
        let mut out = b"PGDMP\x01\x0e\x00\x04\x08\x01".to_vec();
        [0, 0, 0, 3, 27, 10, 126, 0].into_iter().for_each(|part| put_int(&mut out, part));
        ["app", "15.8", "15.8"].into_iter().for_each(|word| text(&mut out, Some(word)));
        put_int(&mut out, numbers.len() as u32);
        for (at, number) in numbers.iter().enumerate() {
            let name = format!("measured_{at:06}");
            put_int(&mut out, *number);
            put_int(&mut out, 0);
            ["1259", "20000", &name, "TABLE"].into_iter().for_each(|word| text(&mut out, Some(word)));
            put_int(&mut out, 2);
            text(
                &mut out,
                Some(&format!("CREATE TABLE public.{name} (\n    id integer NOT NULL,\n    what text\n);\n")),
            );
            text(&mut out, Some(&format!("DROP TABLE public.{name};\n")));
            for word in [None, Some("public"), None, Some("heap"), Some("app"), Some("false")] {
                text(&mut out, word);
            }
            if let Some(before) = at.checked_sub(1).and_then(|at| numbers.get(at)) {
                text(&mut out, Some(&before.to_string()));
            }
            text(&mut out, None);
            out.push(3);
            out.extend([0; 8]);
        }
        out
    }

    /// In an order that is not that of the entries.
    fn numbers(count: u32) -> Vec<u32> {
        (0..count).map(|at| 1 + (at * 7919) % count).collect()
    }

    #[test]
    fn entries_are_found_in_any_order_however_the_bytes_come() {
        let numbers = numbers(3000);
        let archive = archive(&numbers);
        let whole = Toc::parse(&[archive.as_slice(), b"rows"].concat()).unwrap();
        assert!(whole.pieces.len() > 5, "{} pieces", whole.pieces.len());
        assert_eq!(whole.head_bytes(), archive.len() as u64);
        for push_bytes in [1, 77, PIECE_BYTES + 1] {
            let mut reader = TocReader::new();
            archive.chunks(push_bytes).for_each(|bytes| reader.push(bytes));
            let toc = reader.finish().unwrap();
            assert_eq!((&toc.places, &toc.by_id), (&whole.places, &whole.by_id), "{push_bytes}");
            for at in (0..3000).rev().step_by(7).chain(0..3000) {
                let entry = toc.entries().get(at).unwrap();
                assert_eq!(
                    (entry.dump_id, entry.name().into_owned()),
                    (numbers[at], format!("measured_{at:06}"))
                );
                assert_eq!(toc.find(entry.dump_id), Some(at));
                assert_eq!(
                    toc.needs(at).collect::<Vec<_>>(),
                    at.checked_sub(1).into_iter().collect::<Vec<_>>()
                );
            }
        }
        let mut reader = TocReader::new();
        reader.push(&archive[..archive.len() - 1]);
        assert!(matches!(reader.finish(), Err(ArchiveError::Truncated { .. })));
    }

    #[test]
    fn an_entry_takes_little_memory_and_few_pieces_are_open() {
        let count = 100_000;
        let toc = Toc::parse(&archive(&numbers(count))).unwrap();
        assert_eq!(toc.entries().iter().count(), count as usize);
        let stored: usize = toc.pieces.iter().map(|piece| piece.bytes.len() + size_of::<Closed>()).sum();
        let listed = toc.places.len() * 4 + toc.sections.len() + toc.by_id.len() * 8;
        let a_table = (stored + listed) / count as usize;
        assert!(
            a_table <= 60,
            "{a_table} bytes for a table; as they come they have {}",
            toc.entries_bytes / 100_000
        );
        let open = toc.open.lock().unwrap();
        assert!(open.bytes <= OPEN_BYTES_MAX);
        assert_eq!(open.bytes, open.pieces.iter().map(|(_, piece)| piece.len()).sum::<usize>());
    }

    #[test]
    fn a_number_that_comes_twice_is_refused_where_it_stands() {
        let Err(ArchiveError::Damaged { what, offset }) = Toc::parse(&archive(&[1, 2, 3, 2])) else {
            panic!("two entries with the same number are taken");
        };
        assert_eq!(what, "two entries with the same number");
        let whole = Toc::parse(&archive(&[1, 2, 3, 4])).unwrap();
        assert_eq!(offset, whole.first_at() + u64::from(whole.places[3]));
    }
}
