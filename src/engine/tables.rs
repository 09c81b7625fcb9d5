//! Tables of dumps, as their maps tell them: what a snapshot holds, and what changed from one to another. Reads no data.

use crate::content::index::SectionMap;
use crate::content::pg::{DataKind, MapError, TableMap};
use crate::vault::snapshot::{Body, Stream};
use std::collections::{BTreeMap, BTreeSet};

/// The map that was stored with a stream, where there is one.
///
/// # Errors
/// When it is of a newer program, or makes no sense.
pub fn table_map(stream: &Stream) -> Result<Option<TableMap>, MapError> {
    let bytes = stream.table_map.as_ref().filter(|bytes| !SectionMap::is_meant(bytes));
    bytes.map(|bytes| TableMap::decode(bytes)).transpose()
}

/// Names a table among all of a snapshot. Orders by stream, then as a person looks for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TableName {
    /// The stream.
    pub stream: String,
    /// The database; empty if the stream does not name it.
    pub database: String,
    /// The schema; empty if it has none.
    pub schema: String,
    /// The name.
    pub name: String,
    /// It stands for all large objects of the stream.
    pub is_large_objects: bool,
}

/// How much is in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amount {
    /// Rows, or large objects; `None` where they cannot be told.
    pub rows: Option<u64>,
    /// Bytes of the rows alone.
    pub bytes: u64,
    /// Bytes that were new when the snapshot was made, where somebody counted; of no account in a comparison.
    pub new_bytes: Option<u64>,
}

/// A table in two snapshots. At least one of the two has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableChange {
    /// The table.
    pub name: TableName,
    /// How it was.
    pub before: Option<Amount>,
    /// How it is.
    pub after: Option<Amount>,
}

/// What changed between two snapshots. Streams are told apart by name; two snapshots of one stream each are compared whatever the names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Streams that only the first has.
    pub streams_gone: Vec<String>,
    /// Streams that only the second has.
    pub streams_new: Vec<String>,
    /// Streams of which one or both have no map, so that nothing is known of their tables.
    pub streams_unknown: Vec<String>,
    /// Schemas (stream, database, schema) of which no table with data is left.
    pub schemas_gone: Vec<(String, String, String)>,
    /// Schemas that had no table with data.
    pub schemas_new: Vec<(String, String, String)>,
    /// All tables of the streams that can be compared.
    pub tables: Vec<TableChange>,
}

/// Compares the tables of two snapshots.
pub fn difference(before: &Body, after: &Body) -> Difference {
    let mut found = Difference::default();
    let mut pairs: Vec<(&Stream, &Stream)> = Vec::new();
    match (before.streams.as_slice(), after.streams.as_slice()) {
        ([old], [new]) => pairs.push((old, new)),
        (olds, news) => {
            for old in olds {
                match news.iter().find(|new| new.name == old.name) {
                    Some(new) => pairs.push((old, new)),
                    None => found.streams_gone.push(old.name.clone()),
                }
            }
            let is_new = |new: &&Stream| !olds.iter().any(|old| old.name == new.name);
            found.streams_new = news.iter().filter(is_new).map(|new| new.name.clone()).collect();
        }
    }
    for (old, new) in pairs {
        match (table_map(old), table_map(new)) {
            (Ok(Some(was)), Ok(Some(is))) => compare(&new.name, &was, &is, &mut found),
            _ => found.streams_unknown.push(new.name.clone()),
        }
    }
    found
}

fn compare(stream: &str, before: &TableMap, after: &TableMap, found: &mut Difference) {
    let (was, is) = (amounts(stream, before), amounts(stream, after));
    let names: BTreeSet<&TableName> = was.keys().chain(is.keys()).collect();
    let change = |name: &TableName| TableChange {
        name: name.clone(),
        before: was.get(name).map(|amount| Amount { new_bytes: None, ..*amount }),
        after: is.get(name).map(|amount| Amount { new_bytes: None, ..*amount }),
    };
    found.tables.extend(names.into_iter().map(change));
    let schemas = |tables: &BTreeMap<TableName, Amount>| -> BTreeSet<(String, String, String)> {
        let named = tables.keys().filter(|name| !name.schema.is_empty());
        named.map(|name| (name.stream.clone(), name.database.clone(), name.schema.clone())).collect()
    };
    let (had, has) = (schemas(&was), schemas(&is));
    found.schemas_gone.extend(had.difference(&has).cloned());
    found.schemas_new.extend(has.difference(&had).cloned());
}

/// The tables of a map; what has the same name counts as one.
pub fn amounts(stream: &str, map: &TableMap) -> BTreeMap<TableName, Amount> {
    let mut tables: BTreeMap<TableName, Amount> = BTreeMap::new();
    for table in &map.tables {
        let is_large_objects = table.kind == DataKind::LargeObjects;
        let name = TableName {
            stream: stream.to_owned(),
            // One database a stream: its name is no part of the table's, so that a copy of the database can be compared.
            database: if table.database == map.database { String::new() } else { table.database.clone() },
            schema: table.schema.clone(),
            name: if is_large_objects { "large objects".to_owned() } else { table.name.clone() },
            is_large_objects,
        };
        let amount = tables.entry(name).or_insert(Amount { rows: Some(0), bytes: 0, new_bytes: Some(0) });
        amount.rows = amount.rows.zip(table.rows).map(|(a, b)| a.saturating_add(b));
        amount.bytes = amount.bytes.saturating_add(table.data_bytes);
        // What is new is counted with what frames the rows, and the table's size is without.
        let new_bytes = table.new_bytes.map(|bytes| bytes.min(table.data_bytes));
        amount.new_bytes = amount.new_bytes.zip(new_bytes).map(|(a, b)| a.saturating_add(b));
    }
    tables
}
