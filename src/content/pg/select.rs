//! What must come along with a table.
//!
//! The archive's own dependencies say what an entry needs. The other direction, what belongs to a table, follows from
//! them and from the kinds and names of entries: a key needs its table, but so does another table's foreign key.

use super::entry::{Entry, Section};
use super::order::order_by_keys;
use super::toc::Toc;
use crate::base::pattern::{NamePattern, TablePattern};
use std::collections::HashMap;
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

fn is_class(classes: &[Class], index: usize, class: Class) -> bool {
    classes.get(index) == Some(&class)
}

/// What part an entry plays for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Encoding and the like: belongs to every archive. The database's entry, too, which `pg_restore` heeds only when
    /// told.
    Setting,
    /// A table or what can stand in its place.
    Relation,
    /// Rows of a relation, or the statistics of its data: its tag is the relation's.
    Data,
    /// The state of a sequence: goes with it, always.
    SequenceState,
    /// Belongs to a relation and is part of its definition: a default, a check, what a view shows.
    Detail,
    /// Belongs to a relation and makes it faster or safer: indexes, keys, triggers.
    Attachment,
    /// Ties entries that are chosen for other reasons: foreign keys, partitions.
    Tie,
    /// Says something of an entry: comments, privileges.
    Remark,
    /// Large objects.
    LargeObject,
    /// Anything else: types, functions, extensions.
    Other,
}

impl Class {
    fn of(entry: &Entry) -> Self {
        match entry.desc() {
            b"ENCODING" | b"STDSTRINGS" | b"SEARCHPATH" | b"DATABASE" | b"DATABASE PROPERTIES" => {
                Self::Setting
            }
            b"TABLE" | b"FOREIGN TABLE" | b"VIEW" | b"MATERIALIZED VIEW" | b"SEQUENCE" => Self::Relation,
            b"TABLE DATA" | b"MATERIALIZED VIEW DATA" | b"STATISTICS DATA" => Self::Data,
            b"SEQUENCE SET" => Self::SequenceState,
            b"DEFAULT" | b"CHECK CONSTRAINT" => Self::Detail,
            // A view that had to wait for a key: the entry before it is a dummy.
            b"RULE" if entry.tag().ends_with(b" _RETURN") => Self::Detail,
            b"CONSTRAINT" | b"INDEX" | b"TRIGGER" | b"RULE" | b"POLICY" | b"ROW SECURITY" | b"STATISTICS" => {
                Self::Attachment
            }
            b"FK CONSTRAINT" | b"TABLE ATTACH" | b"INDEX ATTACH" => Self::Tie,
            b"ACL" | b"COMMENT" | b"SECURITY LABEL" | b"SEQUENCE OWNED BY" => Self::Remark,
            b"BLOB" | b"BLOBS" | b"BLOB METADATA" | b"BLOB COMMENTS" => Self::LargeObject,
            _ => Self::Other,
        }
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

/// How much of an entry is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Out,
    /// Something needs it: its definition.
    Needed,
    /// It is asked for: its data, its keys and indexes, too.
    Wanted,
}

/// The rows of tables that no entry makes: they are an extension's, and the archive does not say whose. An extension
/// makes its tables when it is made, so that their numbers in the catalog follow its own.
fn rows_of_extensions(toc: &Toc) -> Vec<(usize, usize)> {
    let entries = || toc.entries().iter().enumerate();
    let mut extensions: Vec<(u32, usize)> = entries()
        .filter(|(_, it)| it.desc() == b"EXTENSION")
        .map(|(index, it)| (it.catalog.1, index))
        .collect();
    extensions.sort_unstable();
    let rows =
        entries().filter(|(index, it)| it.desc() == b"TABLE DATA" && toc.needs(*index).next().is_none());
    let of_extension = rows.filter_map(|(index, it)| {
        let before = extensions.partition_point(|(number, _)| *number < it.catalog.1);
        let (_, extension) = extensions.get(before.saturating_sub(1))?;
        Some((index, *extension))
    });
    of_extension.collect()
}

struct Closure<'a> {
    toc: &'a Toc,
    classes: &'a [Class],
    /// For every entry, those that need it: `dependants[starts[i]..starts[i + 1]]`.
    dependants: Vec<u32>,
    starts: Vec<u32>,
    /// The entries that make schemas, by name.
    schemas: HashMap<Vec<u8>, usize>,
    /// Rows in the tables of extensions, with the extension.
    rows_of_extensions: Vec<(usize, usize)>,
    levels: Vec<Level>,
    work: Vec<usize>,
    omitted: Vec<Omitted>,
}

impl<'a> Closure<'a> {
    fn new(toc: &'a Toc, classes: &'a [Class]) -> Self {
        let count = classes.len();
        // There are fewer than 2^32 of them, as of entries.
        let pair = |needed: usize, index: usize| (needed as u32, index as u32);
        let mut pairs: Vec<(u32, u32)> =
            (0..count).flat_map(|index| toc.needs(index).map(move |needed| pair(needed, index))).collect();
        pairs.sort_unstable();
        pairs.dedup();
        let start = |index: usize| pairs.partition_point(|&(needed, _)| (needed as usize) < index);
        let starts = (0..=count).map(|index| start(index) as u32).collect();
        let dependants = pairs.into_iter().map(|(_, dependant)| dependant).collect();
        let schemas = toc.entries().iter().enumerate().filter(|(_, entry)| entry.desc() == b"SCHEMA");
        let schemas = schemas.map(|(index, entry)| (entry.tag().to_vec(), index)).collect();
        let levels = vec![Level::Out; count];
        Self {
            toc,
            classes,
            dependants,
            starts,
            schemas,
            rows_of_extensions: rows_of_extensions(toc),
            levels,
            work: Vec::new(),
            omitted: Vec::new(),
        }
    }

    fn level(&self, index: usize) -> Level {
        self.levels.get(index).copied().unwrap_or(Level::Out)
    }

    fn class(&self, index: usize) -> Class {
        self.classes.get(index).copied().unwrap_or(Class::Other)
    }

    fn entry(&self, index: usize) -> Option<Entry> {
        self.toc.entries().get(index)
    }

    fn dependants(&self, index: usize) -> Vec<usize> {
        match (self.starts.get(index), self.starts.get(index + 1)) {
            (Some(&from), Some(&to)) => {
                let all = self.dependants.get(from as usize..to as usize).unwrap_or_default();
                all.iter().map(|index| *index as usize).collect()
            }
            _ => Vec::new(),
        }
    }

    fn raise(&mut self, index: usize, to: Level) {
        if let Some(level) = self.levels.get_mut(index).filter(|level| **level < to) {
            *level = to;
            self.work.push(index);
        }
    }

    /// The relation that an entry belongs to.
    fn host(&self, index: usize) -> Option<usize> {
        let entry = self.entry(index)?;
        let names_host = matches!(
            entry.desc(),
            b"DEFAULT"
                | b"CONSTRAINT"
                | b"FK CONSTRAINT"
                | b"CHECK CONSTRAINT"
                | b"TRIGGER"
                | b"RULE"
                | b"POLICY"
        );
        let is_host = |&needed: &usize| match (self.class(needed), self.entry(needed)) {
            (Class::Relation, Some(host)) if names_host => {
                let follows =
                    entry.tag().strip_prefix(host.tag()).is_some_and(|rest| rest.first() == Some(&b' '));
                follows && host.namespace() == entry.namespace()
            }
            (Class::Relation, Some(host)) => host.desc() != b"SEQUENCE",
            // Checks of a domain.
            (_, Some(host)) => entry.desc() == b"CHECK CONSTRAINT" && host.desc() == b"DOMAIN",
            _ => false,
        };
        let longest = |&needed: &usize| self.entry(needed).map_or(0, |host| host.tag().len());
        self.toc.needs(index).filter(is_host).max_by_key(longest)
    }

    /// Chooses these, and the data of tables among them.
    fn only(&mut self, first: Vec<usize>) {
        for index in first {
            self.raise(index, Level::Wanted);
            for dependant in self.dependants(index) {
                if self.is_data_of(dependant, index) {
                    self.raise(dependant, Level::Wanted);
                }
            }
        }
    }

    fn is_data_of(&self, data: usize, relation: usize) -> bool {
        match (self.class(data), self.entry(data), self.entry(relation)) {
            (Class::SequenceState, ..) => true,
            (Class::Data, Some(data), Some(relation)) => {
                data.tag() == relation.tag() && data.namespace() == relation.namespace()
            }
            _ => false,
        }
    }

    /// Chooses these and all that they need or that belongs to them; with the rows of what views show, if rows are
    /// wanted.
    fn grow(&mut self, first: Vec<usize>, is_excluded: &[bool], with_rows: bool) -> Result<(), SelectError> {
        let may_be_wanted = |index: usize| !is_excluded.get(index).copied().unwrap_or(false);
        first.into_iter().for_each(|index| self.raise(index, Level::Wanted));
        loop {
            while let Some(index) = self.work.pop() {
                self.need(index);
                if with_rows && self.shows_rows(index) {
                    self.want_shown(index, is_excluded)?;
                }
                for dependant in self.dependants(index) {
                    let level = self.level_beside(dependant, index);
                    if level != Level::Wanted || may_be_wanted(dependant) {
                        self.raise(dependant, level);
                    }
                    if self.level(index) == Level::Wanted
                        && let Some(partition) = self.partition_of(dependant, index)
                        && may_be_wanted(partition)
                    {
                        self.raise(partition, Level::Wanted);
                    }
                }
            }
            let (tied, loose): (Vec<usize>, Vec<usize>) = (0..self.classes.len())
                .filter(|&index| self.class(index) == Class::Tie && self.level(index) == Level::Out)
                .partition(|&index| self.missing_for_tie(index).is_none());
            if tied.is_empty() {
                self.report(&loose);
                self.report_rows_of_extensions();
                return Ok(());
            }
            tied.into_iter().for_each(|index| self.raise(index, Level::Wanted));
        }
    }

    /// Chooses what an entry needs.
    fn need(&mut self, index: usize) {
        for needed in self.toc.needs(index).collect::<Vec<_>>() {
            // Rows need other rows only for the order in which they are loaded.
            if !matches!(self.class(needed), Class::Data | Class::LargeObject | Class::Setting)
                || self.class(index) == Class::LargeObject
            {
                self.raise(needed, Level::Needed);
            }
        }
        let entry = self.entry(index);
        let schema = entry.as_ref().and_then(Entry::namespace).and_then(|name| self.schemas.get(name));
        if let Some(&schema) = schema {
            self.raise(schema, Level::Needed);
        }
    }

    /// Whether an entry is a view that is wanted, or says what it shows.
    fn shows_rows(&self, index: usize) -> bool {
        let is_view = |entry: &Entry| match entry.desc() {
            b"VIEW" | b"MATERIALIZED VIEW" => true,
            _ => entry.desc() == b"RULE" && entry.tag().ends_with(b" _RETURN"),
        };
        self.level(index) == Level::Wanted && self.entry(index).is_some_and(|entry| is_view(&entry))
    }

    /// Wants what a view shows: over tables without their rows it would show nothing, and a materialised one would be
    /// made so.
    fn want_shown(&mut self, view: usize, is_excluded: &[bool]) -> Result<(), SelectError> {
        // A rule that says what a view shows needs the view, too.
        let is_rule = self.class(view) == Class::Detail;
        let own = self.host(view).filter(|_| is_rule);
        for shown in self.toc.needs(view).collect::<Vec<_>>() {
            if self.class(shown) != Class::Relation || own == Some(shown) {
                continue;
            }
            if is_excluded.get(shown).copied().unwrap_or(false) {
                let name = |index| self.entry(index).map(|entry| qualified(&entry)).unwrap_or_default();
                return Err(SelectError::ShowsExcluded { view: name(view), table: name(shown) });
            }
            self.raise(shown, Level::Wanted);
        }
        Ok(())
    }

    /// How much of an entry is chosen because another one is that it needs.
    fn level_beside(&self, dependant: usize, chosen: usize) -> Level {
        let level = self.level(chosen);
        let is_hosted = || self.host(dependant) == Some(chosen);
        let is_identity = || self.entry(dependant).is_some_and(|entry| entry.desc() == b"SEQUENCE");
        match self.class(dependant) {
            Class::Remark if self.class(chosen) != Class::Setting => level,
            Class::SequenceState => level,
            Class::Data if level == Level::Wanted && self.is_data_of(dependant, chosen) => level,
            Class::Detail if is_hosted() => level,
            Class::Attachment if level == Level::Wanted && is_hosted() => level,
            Class::Relation if is_identity() && self.class(chosen) == Class::Relation => level,
            _ => Level::Out,
        }
    }

    /// The partition that a dependant of its root brings along: itself, or what it attaches.
    fn partition_of(&self, dependant: usize, root: usize) -> Option<usize> {
        let entry = self.entry(dependant)?;
        let is_partition = |definition: &[u8]| memchr::memmem::find(definition, b" PARTITION OF ").is_some();
        match entry.desc() {
            b"TABLE ATTACH" => self.toc.needs(dependant).find(|&child| {
                let is_named =
                    |child: Entry| child.namespace() == entry.namespace() && child.tag() == entry.tag();
                child != root && self.entry(child).is_some_and(is_named)
            }),
            b"TABLE" | b"FOREIGN TABLE" if entry.definition().is_some_and(is_partition) => Some(dependant),
            _ => None,
        }
    }

    /// What a tie ties that is not chosen, or without its data.
    fn missing_for_tie(&self, tie: usize) -> Option<usize> {
        let is_key = self.entry(tie).is_some_and(|entry| entry.desc() == b"FK CONSTRAINT");
        let is_missing = |&needed: &usize| match (is_key, self.class(needed)) {
            // A key is checked against the rows.
            (true, Class::Relation) => self.level(needed) < Level::Wanted,
            _ => self.level(needed) == Level::Out,
        };
        // A missing table says more than its missing key.
        self.toc.needs(tie).filter(is_missing).min_by_key(|&needed| self.class(needed) != Class::Relation)
    }

    /// Remembers ties of wanted tables that are left out.
    fn report(&mut self, loose: &[usize]) {
        for &tie in loose {
            let host = self.host(tie).map_or(Level::Out, |host| self.level(host));
            if let (Level::Wanted, Some(missing)) = (host, self.missing_for_tie(tie)) {
                self.omit(tie, missing);
            }
        }
    }

    /// Rows that a user put into the tables of an extension stay behind when only a table is chosen that needs the
    /// extension: where it is there already, so may be they. Somebody who restores into a new database will miss them.
    fn report_rows_of_extensions(&mut self) {
        let is_needed = |&index: &usize| {
            self.level(index) == Level::Needed
                && self.entry(index).is_some_and(|it| it.desc() == b"EXTENSION")
        };
        let left: Vec<(usize, usize)> = self
            .rows_of_extensions
            .iter()
            .filter(|(rows, extension)| self.level(*rows) == Level::Out && is_needed(extension))
            .copied()
            .collect();
        left.into_iter().for_each(|(rows, extension)| self.omit(rows, extension));
    }

    fn omit(&mut self, index: usize, missing: usize) {
        if let (Some(entry), Some(needs)) = (self.entry(index), self.entry(missing)) {
            let is_of_extension = entry.desc() == b"TABLE DATA" && self.level(missing) > Level::Out;
            let what = match is_of_extension {
                true => format!("rows of {}.{}", entry.schema(), entry.name()),
                false => describe(&entry),
            };
            let omitted = Omitted { dump_id: entry.dump_id, what, needs: describe(&needs), is_of_extension };
            self.omitted.push(omitted);
        }
    }

    /// Adds the partitions of tables.
    fn with_partitions(&self, mut tables: Vec<usize>) -> Vec<usize> {
        let mut seen = vec![false; self.classes.len()];
        let mut next = 0;
        tables.iter().for_each(|&index| mark(&mut seen, index));
        while let Some(&root) = tables.get(next) {
            next += 1;
            for dependant in self.dependants(root) {
                let partition = self.partition_of(dependant, root);
                if let Some(partition) = partition.filter(|&index| !seen.get(index).copied().unwrap_or(true))
                {
                    mark(&mut seen, partition);
                    tables.push(partition);
                }
            }
        }
        tables
    }

    /// Whether a person should be told that an entry goes with one that it needs: not if it belongs to it.
    fn is_worth_a_word(&self, gone: usize, with: usize) -> bool {
        let is_detail = matches!(self.class(gone), Class::Remark | Class::Detail);
        let belongs = self.host(gone) == Some(with) || self.is_data_of(gone, with);
        let is_extension = self.entry(with).is_some_and(|entry| entry.desc() == b"EXTENSION");
        (self.class(with) == Class::Relation || is_extension) && !is_detail && !belongs
    }

    /// Chooses everything but these and what needs them.
    fn all_without(&mut self, is_excluded: &[bool]) {
        self.levels.fill(Level::Wanted);
        let mut work: Vec<usize> = (0..is_excluded.len())
            .filter(|&index| is_excluded.get(index).copied().unwrap_or(false))
            .collect();
        let out = |levels: &mut Vec<Level>, index: usize| {
            levels.get_mut(index).is_some_and(|level| std::mem::replace(level, Level::Out) != Level::Out)
        };
        work.iter().for_each(|&index| {
            out(&mut self.levels, index);
        });
        while let Some(index) = work.pop() {
            let rows = self.rows_of_extensions.iter().filter(|(_, it)| *it == index).map(|(rows, _)| *rows);
            for dependant in rows.chain(self.dependants(index)).collect::<Vec<_>>() {
                // Without what it shows, a view is a dummy.
                let view = self.host(dependant).filter(|_| {
                    self.entry(dependant).is_some_and(|entry| entry.tag().ends_with(b" _RETURN"))
                });
                for gone in [Some(dependant), view].into_iter().flatten() {
                    if out(&mut self.levels, gone) {
                        if self.is_worth_a_word(gone, index) {
                            self.omit(gone, index);
                        }
                        work.push(gone);
                    }
                }
            }
        }
    }
}

/// A name with its schema.
fn qualified(entry: &Entry) -> String {
    match entry.namespace() {
        Some(_) => format!("{}.{}", entry.schema(), entry.name()),
        None => entry.name().into_owned(),
    }
}

fn describe(entry: &Entry) -> String {
    match entry.namespace() {
        Some(_) => format!("{} {}.{}", entry.kind(), entry.schema(), entry.name()),
        None => format!("{} {}", entry.kind(), entry.name()),
    }
}
