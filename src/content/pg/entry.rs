//! The layout of an entry of an archive's table of contents.

use super::Problem;
use super::header::{Container, Header};
use super::wire::{DEPENDENCIES_MAX, ENTRY_BYTES_MAX, Fields, Stop, decimal};
use std::borrow::Cow;
use std::ops::Range;

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

/// An entry, of which all texts are borrowed from the bytes that it was read from.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// Its number, unique in the archive.
    pub dump_id: u32,
    /// Whether a data block belongs to it.
    pub has_data: bool,
    /// The object's number in the server's catalog: catalog table and row. 0 if it has none.
    pub catalog: (u32, u32),
    /// Its name, for keys and triggers behind their table's name and a space. In the database's encoding, as all texts here.
    pub tag: &'a [u8],
    /// What it is: `TABLE`, `TABLE DATA`, `INDEX`…
    pub desc: &'a [u8],
    /// When it is restored.
    pub section: Section,
    /// The SQL that makes it.
    pub definition: Option<&'a [u8]>,
    /// The COPY command of table data. Data of `pg_dump --inserts` has none.
    pub copy: Option<&'a [u8]>,
    /// The schema.
    pub namespace: Option<&'a [u8]>,
    /// The role that owns it.
    pub owner: Option<&'a [u8]>,
    dependencies: &'a [u8],
    /// The entry as it stands in the archive.
    pub(super) raw: &'a [u8],
    /// Where in `raw` the SQL stands that drops it.
    pub(super) drop_at: Range<usize>,
    /// Where in `raw` the COPY command stands.
    pub(super) copy_at: Range<usize>,
    /// How a table keeps its rows; empty where that is the server's default.
    pub(super) access_method: Option<&'a [u8]>,
    /// Where in `raw` state and number of the data's offset stand; in a tar archive the data's file.
    pub(super) offset_at: usize,
}

impl<'a> Entry<'a> {
    /// Reads the entry at `at` of the slice; gives where the next one begins.
    pub(super) fn decode(header: &Header, bytes: &'a [u8], at: usize) -> Result<(Self, usize), Stop> {
        let mut fields = Fields::new(bytes, at);
        match Self::fields(header, bytes, &mut fields) {
            // What is waited for is bounded, however the length is made up.
            Err(Stop::More(end)) if (end - at) as u64 > ENTRY_BYTES_MAX => Err(Stop::Bad {
                at,
                problem: Problem::TooLong {
                    what: "an entry of the table of contents",
                    len: (end - at) as u64,
                    max: ENTRY_BYTES_MAX,
                },
            }),
            result => result.map(|entry| (entry, fields.at())),
        }
    }

    fn fields(header: &Header, bytes: &'a [u8], fields: &mut Fields<'a>) -> Result<Self, Stop> {
        let start = fields.at();
        let dump_id = fields.dump_id()?;
        let has_data = fields.int()? != 0;
        let catalog = (number(fields)?, number(fields)?);
        let tag = fields.text("a name")?.unwrap_or_default();
        let desc = fields.text("the kind of an entry")?.unwrap_or_default();
        let section = section(fields)?;
        let definition = fields.text("a definition")?;
        let drop_from = fields.at() - start;
        fields.text("a definition")?;
        let drop_at = drop_from..fields.at() - start;
        let copy_from = fields.at() - start;
        let copy = fields.text("a COPY command")?;
        let copy_at = copy_from..fields.at() - start;
        let namespace = fields.text("a name")?;
        fields.text("a name")?;
        let access_method = if header.has_access_method() { fields.text("a name")? } else { None };
        if header.has_relation_kind() {
            fields.int()?;
        }
        let owner = fields.text("a name")?;
        // Whether rows have numbers of their own, which no supported server has.
        fields.text("a mark")?;
        let dependencies = dependencies(bytes, fields)?;
        let offset_at = fields.at() - start;
        match header.container {
            Container::Custom => drop(fields.raw(1 + usize::from(header.offset_bytes))?),
            // The file that the data is in, which the entry's number names, too.
            Container::Tar => drop(fields.text("a file's name")?),
        }
        let raw = bytes.get(start..fields.at()).unwrap_or_default();
        Ok(Self {
            dump_id,
            has_data,
            catalog,
            tag,
            desc,
            section,
            definition,
            copy,
            namespace,
            owner,
            dependencies,
            raw,
            drop_at,
            copy_at,
            access_method,
            offset_at,
        })
    }

    /// The numbers of the entries that it needs. They need not be in the archive.
    pub fn dependencies(&self) -> impl Iterator<Item = u32> + use<'a> {
        let mut fields = Fields::new(self.dependencies, 0);
        // Checked when the entry was read.
        std::iter::from_fn(move || decimal(fields.text("").ok()??))
    }

    /// The name, with what is not UTF-8 replaced.
    pub fn name(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.tag)
    }

    /// The schema, empty if it has none, with what is not UTF-8 replaced.
    pub fn schema(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.namespace.unwrap_or_default())
    }

    /// What it is.
    pub fn kind(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.desc)
    }
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

/// Checks a list of numbers that ends with a null, and gives its bytes.
fn dependencies<'a>(bytes: &'a [u8], fields: &mut Fields<'a>) -> Result<&'a [u8], Stop> {
    let start = fields.at();
    for _ in 0..DEPENDENCIES_MAX {
        let at = fields.at();
        match fields.text("a number")? {
            None => return Ok(bytes.get(start..fields.at()).unwrap_or_default()),
            Some(text) if decimal(text).is_some() => {}
            Some(_) => {
                return Err(Stop::Bad { at, problem: Problem::Damaged("the number of a needed entry") });
            }
        }
    }
    let max = DEPENDENCIES_MAX as u64;
    Err(fields.bad(Problem::TooLong { what: "a list of needed entries", len: max + 1, max }))
}
