//! The layout of an entry of an archive's table of contents.

use super::Problem;
use super::header::{Container, Header};
use super::wire::{DEPENDENCIES_MAX, ENTRY_BYTES_MAX, Fields, Stop, decimal};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// When an entry is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// With whatever it belongs to: comments, privileges.
    None,
    /// Before the data: tables, types, functions.
    PreData,
    /// Data.
    Data,
    /// After the data: indexes, keys, triggers.
    PostData,
}

/// An entry: where its parts stand in the bytes that it was read from.
///
/// Whoever reads a stream borrows them; those of a table of contents in memory are shared ([`Piece`]).
#[derive(Debug, Clone)]
pub struct Entry<B = Piece> {
    /// Its number, unique in the archive.
    pub dump_id: u32,
    /// Whether a data block belongs to it.
    pub has_data: bool,
    /// The object's number in the server's catalog: catalog table and row. 0 if it has none.
    pub catalog: (u32, u32),
    /// When it is restored.
    pub section: Section,
    places: Places,
    bytes: B,
}

/// Bytes that several entries stand in.
pub type Piece = Arc<[u8]>;

/// Where what stands, in the bytes that an entry was read from.
#[derive(Debug, Clone, Default)]
struct Places {
    start: usize,
    tag: Range<usize>,
    desc: Range<usize>,
    definition: Option<Range<usize>>,
    /// The SQL that drops it, with its length.
    drop: Range<usize>,
    copy: Option<Range<usize>>,
    /// The same, with its length.
    copy_field: Range<usize>,
    access_method: Option<Range<usize>>,
    namespace: Option<Range<usize>>,
    owner: Option<Range<usize>>,
    dependencies: Range<usize>,
    /// State and number of the data's offset; in a tar archive the data's file.
    offset: usize,
}

impl<B: AsRef<[u8]>> Entry<B> {
    /// Reads the entry at `at` of the bytes; gives where the next one begins.
    pub(super) fn decode(header: &Header, bytes: B, at: usize) -> Result<(Self, usize), Stop> {
        let mut fields = Fields::new(bytes.as_ref(), at);
        let read = (|| {
            let places = Places { start: at, ..Places::default() };
            let (dump_id, has_data) = (fields.dump_id()?, fields.int()? != 0);
            let catalog = (number(&mut fields)?, number(&mut fields)?);
            let tag = text(&mut fields, "a name")?.unwrap_or_default();
            let desc = text(&mut fields, "the kind of an entry")?.unwrap_or_default();
            let section = section(&mut fields)?;
            let places = rest(header, &mut fields, Places { tag, desc, ..places })?;
            Ok(Entry { dump_id, has_data, catalog, section, places, bytes: () })
        })();
        match read {
            // What is waited for is bounded, however the length is made up.
            Err(Stop::More(end)) if (end - at) as u64 > ENTRY_BYTES_MAX => Err(Stop::Bad {
                at,
                problem: Problem::TooLong {
                    what: "an entry of the table of contents",
                    len: (end - at) as u64,
                    max: ENTRY_BYTES_MAX,
                },
            }),
            Err(stop) => Err(stop),
            Ok(Entry { dump_id, has_data, catalog, section, places, .. }) => {
                let end = fields.at();
                Ok((Self { dump_id, has_data, catalog, section, places, bytes }, end))
            }
        }
    }

    fn at(&self, place: &Range<usize>) -> &[u8] {
        self.bytes.as_ref().get(place.clone()).unwrap_or_default()
    }

    /// Its name, for keys and triggers behind their table's name and a space. In the database's encoding, as all texts
    /// here.
    pub fn tag(&self) -> &[u8] {
        self.at(&self.places.tag)
    }

    /// What it is: `TABLE`, `TABLE DATA`, `INDEX`…
    pub fn desc(&self) -> &[u8] {
        self.at(&self.places.desc)
    }

    /// The SQL that makes it.
    pub fn definition(&self) -> Option<&[u8]> {
        self.places.definition.as_ref().map(|place| self.at(place))
    }

    /// The COPY command of table data. Data of `pg_dump --inserts` has none.
    pub fn copy(&self) -> Option<&[u8]> {
        self.places.copy.as_ref().map(|place| self.at(place))
    }

    /// The schema.
    pub fn namespace(&self) -> Option<&[u8]> {
        self.places.namespace.as_ref().map(|place| self.at(place))
    }

    /// The role that owns it.
    pub fn owner(&self) -> Option<&[u8]> {
        self.places.owner.as_ref().map(|place| self.at(place))
    }

    /// How a table keeps its rows; empty where that is the server's default.
    pub(super) fn access_method(&self) -> Option<&[u8]> {
        self.places.access_method.as_ref().map(|place| self.at(place))
    }

    /// Where the SQL stands that drops it, with its length.
    pub(super) fn drop_field(&self) -> Range<usize> {
        self.places.drop.clone()
    }

    /// Where the COPY command stands, with its length.
    pub(super) fn copy_field(&self) -> Range<usize> {
        self.places.copy_field.clone()
    }

    /// The entry as it stands in the archive, up to the data's offset: what stands before a field, and what behind it.
    /// All stands before none.
    pub(super) fn around(&self, field: Option<&Range<usize>>) -> [&[u8]; 2] {
        let Places { start, offset, .. } = &self.places;
        let field = field.cloned().unwrap_or(*offset..*offset);
        [&(*start..field.start), &(field.end..*offset)].map(|place| self.at(place))
    }

    /// The numbers of the entries that it needs. They need not be in the archive.
    pub fn dependencies(&self) -> impl Iterator<Item = u32> + use<'_, B> {
        let mut fields = Fields::new(self.at(&self.places.dependencies), 0);
        // Checked when the entry was read.
        std::iter::from_fn(move || decimal(fields.text("").ok()??))
    }

    /// The name, with what is not UTF-8 replaced.
    pub fn name(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.tag())
    }

    /// The schema, empty if it has none, with what is not UTF-8 replaced.
    pub fn schema(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.namespace().unwrap_or_default())
    }

    /// What it is.
    pub fn kind(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.desc())
    }
}

/// What stands behind an entry's section.
fn rest(header: &Header, fields: &mut Fields<'_>, places: Places) -> Result<Places, Stop> {
    let definition = text(fields, "a definition")?;
    let from = fields.at();
    fields.text("a definition")?;
    let drop = from..fields.at();
    let from = fields.at();
    let copy = text(fields, "a COPY command")?;
    let copy_field = from..fields.at();
    let namespace = text(fields, "a name")?;
    fields.text("a name")?;
    let access_method = if header.has_access_method() { text(fields, "a name")? } else { None };
    if header.has_relation_kind() {
        fields.int()?;
    }
    let owner = text(fields, "a name")?;
    // Whether rows have numbers of their own, which no supported server has.
    fields.text("a mark")?;
    let from = fields.at();
    dependencies(fields)?;
    let dependencies = from..fields.at();
    let offset = fields.at();
    match header.container {
        Container::Custom => fields.raw(1 + usize::from(header.offset_bytes)).map(|_| ())?,
        // The file that the data is in, which the entry's number names, too.
        Container::Tar => fields.text("a file's name").map(|_| ())?,
    }
    Ok(Places {
        definition,
        drop,
        copy,
        copy_field,
        access_method,
        namespace,
        owner,
        dependencies,
        offset,
        ..places
    })
}

/// Where a text stands.
fn text(fields: &mut Fields<'_>, what: &'static str) -> Result<Option<Range<usize>>, Stop> {
    let text = fields.text(what)?;
    Ok(text.map(|text| fields.at() - text.len()..fields.at()))
}

/// Schema and name in one, to find entries by: no name holds a NUL.
pub(super) fn key_of(namespace: Option<&[u8]>, name: &[u8]) -> Vec<u8> {
    [namespace.unwrap_or_default(), &[0], name].concat()
}

/// A number written as text.
fn number(fields: &mut Fields) -> Result<u32, Stop> {
    let at = fields.at();
    let text = fields.text("a number")?.unwrap_or(b"0");
    decimal(text).ok_or(Stop::Bad { at, problem: Problem::Damaged("a number in the table of contents") })
}

fn section(fields: &mut Fields) -> Result<Section, Stop> {
    let at = fields.at();
    Ok(match fields.int()? {
        1 => Section::None,
        2 => Section::PreData,
        3 => Section::Data,
        4 => Section::PostData,
        _ => return Err(Stop::Bad { at, problem: Problem::Damaged("the section of an entry") }),
    })
}

/// Checks a list of numbers that ends with a null.
fn dependencies(fields: &mut Fields<'_>) -> Result<(), Stop> {
    for _ in 0..DEPENDENCIES_MAX {
        let at = fields.at();
        match fields.text("a number")? {
            None => return Ok(()),
            Some(text) if decimal(text).is_some() => {}
            Some(_) => {
                return Err(Stop::Bad { at, problem: Problem::Damaged("the number of a needed entry") });
            }
        }
    }
    let max = DEPENDENCIES_MAX as u64;
    Err(fields.bad(Problem::TooLong { what: "a list of needed entries", len: max + 1, max }))
}
