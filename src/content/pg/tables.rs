//! The tables of a dump in memory: a server may have a million, so that each takes 64 bytes and those of its name, or
//! 32 where it does not matter where its data is.

use super::words::Words;
use minicbor::{Decode, Encode};
use std::fmt;
use std::ops::Range;

/// What a range holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum DataKind {
    /// A table's rows.
    #[n(0)]
    Table,
    /// Large objects.
    #[n(1)]
    LargeObjects,
}

/// Where one table's data is, and how much of it there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableData<'a> {
    /// What it is.
    pub kind: DataKind,
    /// The number of its entry in the archive's table of contents; 0 in a script.
    pub dump_id: u32,
    /// The database, in a script of several; the stream's only one otherwise (empty if it is not named).
    pub database: &'a str,
    /// Schema, empty if it has none.
    pub schema: &'a str,
    /// Name.
    pub name: &'a str,
    /// First byte in the stream: of the block in an archive, of the first row in a script or a tar; of the first file
    /// in a tar's large objects.
    pub offset: u64,
    /// Bytes in the stream: the whole block in an archive, the rows and the end mark in a script or a tar, whole files
    /// of a tar's large objects.
    pub len: u64,
    /// Bytes of the rows or large objects alone, as the archive has them (compressed, if it is).
    pub data_bytes: u64,
    /// Rows, or large objects. `None` where they cannot be told: compressed archives, INSERT commands.
    pub rows: Option<u64>,
    /// Bytes of the block that the repository did not hold when the dump was stored. `None` where nobody counted.
    pub new_bytes: Option<u64>,
}

impl TableData<'_> {
    /// Its place in the stream.
    pub fn range(&self) -> Range<u64> {
        self.offset..self.offset.saturating_add(self.len)
    }
}

/// Tables in the order of the stream.
#[derive(Clone, Default)]
pub struct Tables {
    /// Schemas and databases, each once: in the order in which tables name them, a table's schema before its database.
    pub(super) words: Words,
    names: String,
    rows: Vec<Row>,
    /// Of each, or of none.
    places: Vec<Place>,
}

/// A table: what is a number of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub data_bytes: u64,
    /// 0: unknown; else one more than there are.
    pub rows: u64,
    /// Numbers of words.
    pub schema: u32,
    pub database: u32,
    /// Where the name ends; it begins where the one before ends.
    name_end: u32,
    pub kind: DataKind,
}

/// Where a table's data is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    pub offset: u64,
    pub len: u64,
    /// 0: unknown; else one more than there are.
    pub new_bytes: u64,
    pub dump_id: u32,
}

/// Bytes of all names together. Whoever fills in names has a limit that is far below.
const NAMES_BYTES_MAX: usize = u32::MAX as usize;

impl Tables {
    /// None, and room for so many with names of so many bytes.
    pub(super) fn with_room(count: usize, places: usize, names_bytes: usize) -> Self {
        let (names, rows) = (String::with_capacity(names_bytes), Vec::with_capacity(count));
        Self { words: Words::default(), names, rows, places: Vec::with_capacity(places) }
    }

    /// Gives back the room that nothing came into.
    pub(super) fn shrink(&mut self) {
        self.names.shrink_to_fit();
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// One of them by its place.
    pub fn get(&self, at: usize) -> Option<TableData<'_>> {
        let row = self.rows.get(at)?;
        let place = self.place(at);
        Some(TableData {
            kind: row.kind,
            dump_id: place.dump_id,
            database: self.words.get(row.database),
            schema: self.words.get(row.schema),
            name: self.name(at),
            offset: place.offset,
            len: place.len,
            data_bytes: row.data_bytes,
            rows: row.rows.checked_sub(1),
            new_bytes: place.new_bytes.checked_sub(1),
        })
    }

    /// All of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = TableData<'_>> + Clone {
        // Every place below the length has a table.
        (0..self.len()).map(|at| self.get(at).unwrap_or(TableData::NONE))
    }

    /// Adds one behind the others.
    pub fn push(&mut self, table: TableData<'_>) {
        let (schema, database) = (self.words.number(table.schema), self.words.number(table.database));
        let place = Place {
            offset: table.offset,
            len: table.len,
            new_bytes: table.new_bytes.map_or(0, |bytes| bytes.saturating_add(1)),
            dump_id: table.dump_id,
        };
        let rows = table.rows.map_or(0, |rows| rows.saturating_add(1));
        let row = Row { data_bytes: table.data_bytes, rows, schema, database, name_end: 0, kind: table.kind };
        self.push_row(table.name, row, Some(place));
    }

    /// Says of each table how many of its bytes were new.
    pub fn set_new_bytes(&mut self, new_bytes: impl Fn(Range<u64>) -> u64) {
        for place in &mut self.places {
            let range = place.offset..place.offset.saturating_add(place.len);
            place.new_bytes = new_bytes(range).saturating_add(1);
        }
    }

    /// Adds one behind the others; either all of them have a place, or none.
    pub(super) fn push_row(&mut self, name: &str, row: Row, place: Option<Place>) {
        // Beyond the limit names are lost, and not data.
        if self.names.len().saturating_add(name.len()) <= NAMES_BYTES_MAX {
            self.names.push_str(name);
        }
        self.rows.push(Row { name_end: self.names.len() as u32, ..row });
        self.places.extend(place);
    }

    pub(super) fn row(&self, at: usize) -> Option<&Row> {
        self.rows.get(at)
    }

    /// Where its data is.
    pub(super) fn place(&self, at: usize) -> Place {
        self.places.get(at).copied().unwrap_or_default()
    }

    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    pub(super) fn places_mut(&mut self) -> &mut [Place] {
        &mut self.places
    }

    pub(super) fn name(&self, at: usize) -> &str {
        let start = at.checked_sub(1).and_then(|before| self.rows.get(before)).map_or(0, |row| row.name_end);
        let end = self.rows.get(at).map_or(start, |row| row.name_end);
        self.names.get(start as usize..end as usize).unwrap_or_default()
    }
}

impl Row {
    /// A row before anything is known of its name.
    pub(super) fn new(kind: DataKind, [schema, database]: [u32; 2]) -> Self {
        Self { data_bytes: 0, rows: 0, schema, database, name_end: 0, kind }
    }
}

impl TableData<'_> {
    /// A table without anything.
    pub const NONE: TableData<'static> = TableData {
        kind: DataKind::Table,
        dump_id: 0,
        database: "",
        schema: "",
        name: "",
        offset: 0,
        len: 0,
        data_bytes: 0,
        rows: None,
        new_bytes: None,
    };
}

impl PartialEq for Tables {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Tables {}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> FromIterator<TableData<'a>> for Tables {
    fn from_iter<I: IntoIterator<Item = TableData<'a>>>(tables: I) -> Self {
        let mut all = Self::default();
        tables.into_iter().for_each(|table| all.push(table));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_what_was_pushed_and_take_little() {
        let named = |name| TableData { name, schema: "public", database: "app", ..TableData::NONE };
        let pushed = [
            TableData { rows: Some(0), ..named("a") },
            TableData { name: "", schema: "", ..named("") },
            TableData {
                kind: DataKind::LargeObjects,
                rows: None,
                new_bytes: Some(7),
                dump_id: 9,
                ..named("größe")
            },
        ];
        let mut tables: Tables = pushed.into_iter().collect();
        assert!(tables.iter().eq(pushed));
        assert_eq!(tables.get(3), None);
        tables.set_new_bytes(|range| range.end + 3);
        assert_eq!(tables.iter().map(|table| table.new_bytes).collect::<Vec<_>>(), [Some(3); 3]);
        assert_eq!((size_of::<Row>(), size_of::<Place>()), (32, 32));
    }
}
