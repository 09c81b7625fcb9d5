//! Proof of a restore: what the database holds, compared with what was counted in the stream.

use super::super::Chosen;
use super::{Archive, Part};
use crate::base::event::{Cancel, Observer};
use crate::content::pg::{DataKind, DumpForm, TableData};
use crate::engine::OpError;
use crate::engine::tables::table_map;
use crate::source::postgres::{Belonging, Count, PostgresError, RestoreTarget};
use crate::vault::snapshot::Stream;
use std::collections::{BTreeMap, HashSet};

/// What a database must hold after a restore.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    tables: BTreeMap<(String, String), ExpectedTable>,
    large_objects: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct ExpectedTable {
    rows: Option<u64>,
    at_least: bool,
}

/// A table that was counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// Rows in the stream; `None` where they are not known: then it is enough that the table can be read.
    pub expected: Option<u64>,
    /// More of them are right, too: the dump holds a part of the table only.
    pub at_least: bool,
    /// Rows in the database.
    pub found: Count,
}

impl Compared {
    /// Whether the database holds what the stream had.
    pub fn is_right(&self) -> bool {
        match (&self.found, self.expected) {
            (Err(_), _) => false,
            (Ok(_), None) => true,
            (Ok(found), Some(expected)) if self.at_least => *found >= expected,
            (Ok(found), Some(expected)) => *found == expected,
        }
    }
}

impl std::fmt::Display for Compared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}: ", self.schema, self.name)?;
        match (&self.found, self.expected) {
            (Err(error), _) => write!(f, "{error}"),
            (Ok(found), Some(expected)) => write!(f, "{found} rows restored, {expected} in the dump"),
            (Ok(found), None) => write!(f, "{found} rows"),
        }
    }
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Every table with data.
    pub tables: Vec<Compared>,
    /// Large objects in the stream and in the database, where the stream has some.
    pub large_objects: Option<(u64, u64)>,
}

impl Findings {
    /// Whether everything is there.
    pub fn is_good(&self) -> bool {
        self.wrong().next().is_none() && self.large_objects_are_right()
    }

    /// The tables that are not as they should be.
    pub fn wrong(&self) -> impl Iterator<Item = &Compared> {
        self.tables.iter().filter(|table| !table.is_right())
    }

    /// Whether no large object is missing.
    pub fn large_objects_are_right(&self) -> bool {
        self.large_objects.is_none_or(|(expected, found)| found >= expected)
    }
}

impl Expected {
    fn add(&mut self, table: &TableData<'_>, at_least: bool) {
        match table.kind {
            DataKind::LargeObjects => {
                let sum = self.large_objects.unwrap_or(0);
                self.large_objects = table.rows.map(|rows| sum.saturating_add(rows));
            }
            DataKind::Table => {
                let key = (table.schema.to_owned(), table.name.to_owned());
                let place = self.tables.entry(key).or_insert(ExpectedTable { rows: Some(0), at_least });
                place.rows = place.rows.zip(table.rows).map(|(a, b)| a.saturating_add(b));
                place.at_least |= at_least;
            }
        }
    }

    /// Also takes more rows for right: the tables held some before.
    pub fn beside_others(mut self) -> Self {
        self.tables.values_mut().for_each(|table| table.at_least = true);
        self
    }

    /// Counts what the database holds, over so many connections.
    ///
    /// # Errors
    /// When the server cannot be asked. What is missing is in the answer.
    pub fn compare(&self, target: &RestoreTarget, connections: usize) -> Result<Findings, OpError> {
        let names: Vec<(String, String)> = self.tables.keys().cloned().collect();
        let counts = target.count_rows(&names, connections)?;
        let each = self.tables.iter().zip(counts);
        let mut tables: Vec<Compared> = each
            .map(|(((schema, name), table), found)| Compared {
                schema: schema.clone(),
                name: name.clone(),
                expected: table.rows,
                at_least: table.at_least,
                found,
            })
            .collect();
        if tables.iter().any(|table| !table.is_right() && table.found.is_ok()) {
            match target.belongings(&names) {
                Ok(belongings) => {
                    let each = tables.iter_mut().zip(&belongings);
                    each.for_each(|(table, it)| table.at_least |= it.of_extension);
                    tables = routed(tables, &belongings, |root| target.count_whole(root));
                }
                // A server before PostgreSQL 10 does not understand the question, and has no partitions of this kind.
                Err(PostgresError::Step { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let large_objects = match self.large_objects {
            None => None,
            Some(expected) => Some((expected, target.count_large_objects()?)),
        };
        Ok(Findings { tables, large_objects })
    }
}

/// Rows that were loaded through a partitioned table went to whatever partition takes them here: `pg_dump` does so by
/// itself where a hash of values differs between databases. Then all partitions together say whether they came, and one
/// line stands for them.
fn routed(
    tables: Vec<Compared>,
    belongings: &[Belonging],
    count: impl Fn(&(String, String)) -> Count,
) -> Vec<Compared> {
    let mut groups: BTreeMap<&(String, String), Vec<&Compared>> = BTreeMap::new();
    for (table, belonging) in tables.iter().zip(belongings) {
        if let Some(root) = &belonging.root {
            groups.entry(root).or_default().push(table);
        }
    }
    let mut whole: BTreeMap<&(String, String), Compared> = BTreeMap::new();
    for (root, members) in groups {
        if members.iter().all(|member| member.is_right()) {
            continue;
        }
        let expected =
            members.iter().try_fold(0u64, |sum, member| Some(sum.saturating_add(member.expected?)));
        let at_least = members.iter().any(|member| member.at_least);
        let (schema, name) = root.clone();
        let together = Compared { schema, name, expected, at_least, found: count(root) };
        // Where rows are missing, each partition by itself says more; the root by itself holds none.
        let has_root = members.iter().any(|member| (&member.schema, &member.name) == (&root.0, &root.1));
        if expected.is_some() && (has_root || together.is_right()) {
            whole.insert(root, together);
        }
    }
    let is_alone =
        |belonging: &Belonging| belonging.root.as_ref().is_none_or(|root| !whole.contains_key(root));
    let mut all: Vec<Compared> = tables
        .iter()
        .zip(belongings)
        .filter(|(_, it)| is_alone(it))
        .map(|(table, _)| table.clone())
        .collect();
    all.extend(whole.into_values());
    all
}

impl Chosen {
    /// What a database must hold after the whole stream was restored into it; `None` when nothing is known of its
    /// tables.
    ///
    /// # Errors
    /// When the archive's table of contents cannot be read.
    pub fn expected(
        &self,
        stream: &Stream,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<Option<Expected>, OpError> {
        let Ok(Some(map)) = table_map(stream) else { return Ok(None) };
        let mut expected = Expected::default();
        match map.form {
            DumpForm::Archive | DumpForm::Tar => {
                let archive = self.archive_without_objects(stream, observer, cancel)?;
                return Ok(Some(archive.expected(archive.map().tables.iter())));
            }
            DumpForm::Script => map.tables.iter().for_each(|table| expected.add(&table, false)),
            // Several databases, of which none is the target.
            DumpForm::ClusterScript => return Ok(None),
        }
        Ok(Some(expected))
    }
}

impl Archive {
    /// What a database must hold after a part was restored into it.
    pub fn expected_of(&self, part: &Part) -> Expected {
        self.expected(self.tables(part))
    }

    /// The same for chosen entries.
    pub(in crate::engine::restore) fn expected_of_entries(&self, entries: &[usize]) -> Expected {
        let places = self.tables_of(entries);
        self.expected(places.iter().filter_map(|place| self.map().tables.get(*place as usize)))
    }

    fn expected<'a>(&self, tables: impl Iterator<Item = TableData<'a>>) -> Expected {
        let is_table = |desc: &[u8]| matches!(desc, b"TABLE" | b"FOREIGN TABLE");
        let defined: HashSet<(String, String)> = self
            .toc()
            .entries()
            .iter()
            .filter(|entry| is_table(entry.desc()))
            .map(|entry| (entry.schema().into_owned(), entry.name().into_owned()))
            .collect();
        let mut expected = Expected::default();
        for table in tables {
            // An extension's table has rows of its own, which no dump holds.
            let at_least = !defined.contains(&(table.schema.to_owned(), table.name.to_owned()));
            expected.add(&table, at_least);
        }
        expected
    }
}
