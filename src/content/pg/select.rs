//! What must come along with a table.
//!
//! The archive's own dependencies say what an entry needs. The other direction, what belongs to a table, follows from
//! them and from the kinds and names of entries: a key needs its table, but so does another table's foreign key.

mod class;
mod closure;

use super::entry::{Entry, Section};
use super::order::order_by_keys;
use super::toc::Toc;
use crate::base::pattern::{NamePattern, TablePattern};
use class::{Class, is_class};
use closure::{Closure, Level};
use std::fmt;

/// What of an archive is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Tables, views and sequences. Neither tables nor schemas: everything.
    pub tables: Vec<TablePattern>,
    /// Schemas, with all that is in them.
    pub schemas: Vec<NamePattern>,
    /// Tables that are not wanted, though the others would say so. What needs them is left out, too.
    pub exclude_tables: Vec<TablePattern>,
    /// Extensions that are not wanted, and what needs them.
    pub exclude_extensions: Vec<NamePattern>,
    /// The tables and their data alone: no keys, no indexes, nothing that they need.
    pub bare: bool,
    /// Large objects, too. (Everything has them anyway.)
    pub large_objects: bool,
    /// Which sections.
    pub sections: Sections,
}

impl Selection {
    /// Tables or schemas are named.
    fn is_named(&self) -> bool {
        !self.tables.is_empty() || !self.schemas.is_empty()
    }
}

/// Which sections are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sections {
    /// Definitions of tables, types, functions.
    pub pre_data: bool,
    /// Data.
    pub data: bool,
    /// Indexes, keys, triggers.
    pub post_data: bool,
}

impl Sections {
    /// All of them.
    pub const ALL: Self = Self { pre_data: true, data: true, post_data: true };
    /// Definitions without data.
    pub const SCHEMA_ONLY: Self = Self { pre_data: true, data: false, post_data: true };
    /// Data without definitions.
    pub const DATA_ONLY: Self = Self { pre_data: false, data: true, post_data: false };
}

impl Default for Sections {
    fn default() -> Self {
        Self::ALL
    }
}

/// An entry that belongs to what was chosen, and was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Omitted {
    /// Its number.
    pub dump_id: u32,
    /// What it is.
    pub what: String,
    /// What it needs and is not chosen; or, of rows that a user put into an extension's table, the extension.
    pub needs: String,
    /// Whether it is such rows: what was chosen may need them.
    pub is_of_extension: bool,
}

impl fmt::Display for Omitted {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} needs {}", self.what, self.needs)
    }
}

impl Omitted {
    /// What is skipped and why, for a person.
    pub fn told(&self) -> String {
        match self.is_of_extension {
            true => format!("{}: they belong to {}; add the table with --table", self.what, self.needs),
            false => format!("{}: {} is not restored", self.what, self.needs),
        }
    }
}

/// What was chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chosen {
    /// Places in the table of contents, ascending; but of rows alone, those that others refer to come first.
    pub entries: Vec<usize>,
    /// What a person should know is missing: foreign keys to tables that are not chosen, mostly.
    pub omitted: Vec<Omitted>,
    /// Of rows alone: the tables that refer to each other in a circle, so that no order will do.
    pub circular: Vec<String>,
}

/// Nothing can be chosen.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// A pattern matches nothing.
    #[error("the dump has no {what} `{pattern}`")]
    NoMatch {
        /// Table or schema.
        what: &'static str,
        /// The pattern.
        pattern: String,
    },
    /// Rows are wanted of what has none of its own.
    #[error("`{view}` is a view: the dump holds no rows of it, only those of the tables that it shows")]
    NoRows {
        /// The view.
        view: String,
    },
    /// A view is wanted without a table that it shows.
    #[error("`{view}` shows rows of `{table}`, which is excluded")]
    ShowsExcluded {
        /// The view.
        view: String,
        /// The table.
        table: String,
    },
}

/// Chooses entries of an archive.
///
/// # Errors
/// When a pattern matches nothing: a misspelt name must not become an empty restore. Nor must a view.
pub fn select(toc: &Toc, selection: &Selection) -> Result<Chosen, SelectError> {
    let classes: Vec<Class> = toc.entries().iter().map(|entry| Class::of(&entry)).collect();
    if selection.sections == Sections::DATA_ONLY {
        refuse_views(toc, &classes, &selection.tables)?;
    }
    let wanted = wanted(toc, &classes, selection)?;
    let mut excluded = matched(toc, &classes, &selection.exclude_tables, "table")?;
    excluded.extend(extensions(toc, &selection.exclude_extensions)?);
    if !selection.is_named() && excluded.is_empty() {
        return Ok(within(toc, selection.sections, &classes, Vec::new(), |_| true));
    }
    let mut closure = Closure::new(toc, &classes);
    let mut is_excluded = vec![false; classes.len()];
    for index in closure.with_partitions(excluded) {
        mark(&mut is_excluded, index);
    }
    let is_in = |flags: &[bool], index: usize| flags.get(index).copied().unwrap_or(false);

    if selection.is_named() {
        let first: Vec<usize> = wanted.into_iter().filter(|&index| !is_in(&is_excluded, index)).collect();
        match selection.bare {
            true => closure.only(first),
            false => closure.grow(first, &is_excluded, selection.sections.data)?,
        }
    } else {
        closure.all_without(&is_excluded);
    }
    let omitted = std::mem::take(&mut closure.omitted);
    let is_chosen = |index| closure.level(index) > Level::Out;
    Ok(within(toc, selection.sections, &classes, omitted, is_chosen))
}

/// What is chosen, of the wanted sections.
fn within(
    toc: &Toc,
    sections: Sections,
    classes: &[Class],
    omitted: Vec<Omitted>,
    is_chosen: impl Fn(usize) -> bool,
) -> Chosen {
    let is_in = |&index: &usize| match toc.section(index) {
        _ if is_class(classes, index, Class::Setting) => true,
        _ if !is_chosen(index) => false,
        Section::None | Section::PreData => sections.pre_data,
        Section::Data => sections.data,
        Section::PostData => sections.post_data,
    };
    let places = || (0..classes.len()).filter(is_in);
    // Counted first: what grows leaves holes behind.
    let mut entries = Vec::with_capacity(places().count());
    entries.extend(places());
    let circular = match sections == Sections::DATA_ONLY {
        true => order_by_keys(toc, &mut entries),
        false => Vec::new(),
    };
    Chosen { entries, omitted, circular }
}

/// Refuses a name that stands for views alone, where rows alone are wanted.
fn refuse_views(toc: &Toc, classes: &[Class], tables: &[TablePattern]) -> Result<(), SelectError> {
    for pattern in tables {
        let found = matched(toc, classes, std::slice::from_ref(pattern), "table")?;
        let entries: Vec<Entry> = found.iter().filter_map(|index| toc.entries().get(*index)).collect();
        // The data of a materialised view is a command that fills it.
        let is_view = |entry: &Entry| {
            matches!(
                entry.desc(),
                b"VIEW" | b"MATERIALIZED VIEW" | b"MATERIALIZED VIEW DATA" | b"STATISTICS DATA"
            )
        };
        if let (Some(entry), true) = (entries.first(), entries.iter().all(is_view)) {
            return Err(SelectError::NoRows { view: qualified(entry) });
        }
    }
    Ok(())
}

fn mark(flags: &mut [bool], index: usize) {
    if let Some(flag) = flags.get_mut(index) {
        *flag = true;
    }
}

/// The entries that patterns name. Archives of `--data-only` have rows without tables.
fn matched(
    toc: &Toc,
    classes: &[Class],
    patterns: &[TablePattern],
    what: &'static str,
) -> Result<Vec<usize>, SelectError> {
    let mut found = Vec::new();
    for pattern in patterns {
        let before = found.len();
        let named = toc.entries().iter().enumerate().zip(classes).filter(|((_, entry), class)| {
            let can_be_named = matches!(class, Class::Relation | Class::Data | Class::SequenceState);
            can_be_named && pattern.matches(&entry.schema(), &entry.name())
        });
        found.extend(named.map(|((index, _), _)| index));
        if found.len() == before {
            return Err(SelectError::NoMatch { what, pattern: pattern.to_string() });
        }
    }
    Ok(found)
}

/// The extensions that patterns name.
fn extensions(toc: &Toc, patterns: &[NamePattern]) -> Result<Vec<usize>, SelectError> {
    let mut found = Vec::new();
    for pattern in patterns {
        let before = found.len();
        let named = toc.entries().iter().enumerate();
        let named = named.filter(|(_, it)| it.desc() == b"EXTENSION" && pattern.matches(&it.name()));
        found.extend(named.map(|(index, _)| index));
        if found.len() == before {
            return Err(SelectError::NoMatch { what: "extension", pattern: pattern.to_string() });
        }
    }
    Ok(found)
}

fn wanted(toc: &Toc, classes: &[Class], selection: &Selection) -> Result<Vec<usize>, SelectError> {
    let mut found = matched(toc, classes, &selection.tables, "table")?;
    for pattern in &selection.schemas {
        let before = found.len();
        let within = toc.entries().iter().enumerate().zip(classes).filter(|((_, entry), class)| {
            let schema = match entry.desc() {
                b"SCHEMA" => entry.name(),
                _ => entry.schema(),
            };
            // A tie is chosen by what it ties, wherever it stands.
            **class != Class::Tie && !schema.is_empty() && pattern.matches(&schema)
        });
        found.extend(within.map(|((index, _), _)| index));
        if found.len() == before {
            return Err(SelectError::NoMatch { what: "schema", pattern: pattern.to_string() });
        }
    }
    if selection.large_objects {
        found.extend((0..classes.len()).filter(|&index| is_class(classes, index, Class::LargeObject)));
    }
    Ok(found)
}

/// A name with its schema.
fn qualified(entry: &Entry) -> String {
    match entry.namespace() {
        Some(_) => format!("{}.{}", entry.schema(), entry.name()),
        None => entry.name().into_owned(),
    }
}
