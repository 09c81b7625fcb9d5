//! The table of contents of an archive, whole and in memory: its order, and how entries are found.

use super::entry::{Entry, Section};
use super::header::{Container, Header};
use super::wire::Stop;
use super::{ArchiveError, Problem};
use std::collections::HashMap;

/// No table of contents to be searched may be longer. (An archive with a longer one can still be restored as a whole.)
const TOC_BYTES_MAX: u64 = 512 << 20;
/// How a tar archive begins, and how many bytes stand before the table of contents in it.
const TAR_START: &[u8] = b"toc.dat\0";
const TAR_HEADER_BYTES: usize = 512;

/// Header and table of contents of an archive, borrowed from its first bytes. An entry is read anew whenever it is asked for: there may be
/// a million, and each would take as much memory as its bytes once more.
#[derive(Debug, Clone)]
pub struct Toc<'a> {
    pub(super) bytes: &'a [u8],
    header: Header,
    /// Where each entry begins.
    places: Vec<u32>,
    sections: Vec<Section>,
    by_id: HashMap<u32, u32>,
    /// Bytes before it.
    before: usize,
    len: usize,
}

impl<'a> Toc<'a> {
    /// Reads the first bytes of an archive, custom or tar: [`super::TableMap::head_bytes`] of them; more may follow.
    ///
    /// # Errors
    /// When they are damaged or too few.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ArchiveError> {
        let what = "the table of contents";
        let (container, before) = match bytes.starts_with(TAR_START) {
            true => (Container::Tar, TAR_HEADER_BYTES),
            false => (Container::Custom, 0),
        };
        let bytes = bytes.get(before..).unwrap_or_default();
        let wrong = |stop: Stop| stop.at_end(before as u64, bytes.len(), what);
        let header = Header::decode(bytes, container).map_err(wrong)?;
        let mut at = header.len;
        let mut places = Vec::new();
        let mut sections = Vec::new();
        let mut by_id = HashMap::new();
        let mut section = Section::PreData;
        for index in 0..header.entries as u32 {
            let (entry, end) = Entry::decode(&header, bytes, at).map_err(wrong)?;
            if end as u64 > TOC_BYTES_MAX {
                return Err(Problem::TooLong { what, len: end as u64, max: TOC_BYTES_MAX }.at(at as u64));
            }
            if entry.section != Section::None {
                section = entry.section;
            }
            if by_id.insert(entry.dump_id, index).is_some() {
                return Err(Problem::Damaged("two entries with the same number").at(at as u64));
            }
            sections.push(section);
            // No longer than that, see above.
            places.push(at as u32);
            at = end;
        }
        Ok(Self { bytes, header, places, sections, by_id, before, len: at })
    }

    /// What the archive says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The entries, in the order in which `pg_restore` restores them.
    pub fn entries(&self) -> Entries<'_, 'a> {
        Entries { toc: self }
    }

    /// The section in which an entry is restored: its own, or that of the entries before it. Entries are named by their place
    /// in [`Self::entries`], here and wherever a number of `usize` is asked for.
    pub fn section(&self, index: usize) -> Section {
        self.sections.get(index).copied().unwrap_or(Section::PreData)
    }

    /// The place of the entry with this number.
    pub fn find(&self, dump_id: u32) -> Option<usize> {
        self.by_id.get(&dump_id).map(|index| *index as usize)
    }

    /// Bytes of header and table of contents: where the first block begins.
    pub fn head_bytes(&self) -> u64 {
        (self.before + self.len) as u64
    }

    /// The places of the entries that an entry needs, of those that are in the archive.
    pub(super) fn needs(&self, index: usize) -> impl Iterator<Item = usize> + '_ {
        let entry = self.entries().get(index);
        entry.into_iter().flat_map(|entry| entry.dependencies().filter_map(|id| self.find(id)))
    }
}

/// The entries of a table of contents, by their places.
#[derive(Debug, Clone, Copy)]
pub struct Entries<'t, 'a> {
    toc: &'t Toc<'a>,
}

impl<'t, 'a> Entries<'t, 'a> {
    /// How many.
    pub fn len(self) -> usize {
        self.toc.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.toc.places.is_empty()
    }

    /// The entry at a place.
    pub fn get(self, index: usize) -> Option<Entry<'a>> {
        let place = *self.toc.places.get(index)?;
        // It was read once.
        Entry::decode(&self.toc.header, self.toc.bytes, place as usize).ok().map(|(entry, _)| entry)
    }

    /// All of them.
    pub fn iter(self) -> impl Iterator<Item = Entry<'a>> + 't {
        (0..self.len()).filter_map(move |index| self.get(index))
    }
}
