//! Tables of dumps, and what changed of them.

use super::change::Change;
use super::keys::ChangedKeys;
use super::{Id, Report};
use crate::base::id::SnapshotId;
use crate::content::pg::{DataKind, TableData};
use crate::engine::keys::KeyChange;
use crate::engine::restore::Picked;
use crate::engine::tables::{Amount, Difference, Sorted, TableChange, TableName};
use schemars::{JsonSchema, SchemaGenerator};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// What a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TableKind {
    /// A table.
    Table,
    /// All large objects together.
    LargeObjects,
}

/// Names a table among all of a snapshot.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Name {
    /// The stream.
    pub stream: String,
    /// The database; empty if the stream does not name it, or has only one.
    pub database: String,
    /// The schema; empty if it has none.
    pub schema: String,
    /// The name.
    pub name: String,
    /// What it is.
    pub kind: TableKind,
}

impl From<&TableName> for Name {
    fn from(table: &TableName) -> Self {
        let TableName { stream, database, schema, name, is_large_objects } = table.clone();
        let kind = if is_large_objects { TableKind::LargeObjects } else { TableKind::Table };
        Self { stream, database, schema, name, kind }
    }
}

/// A table, and how much is in it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct TableAmount {
    /// The table.
    #[serde(flatten)]
    pub table: Name,
    /// Rows, or large objects; null where they cannot be told.
    pub rows: Option<u64>,
    /// Bytes of the rows alone.
    pub bytes: u64,
    /// Bytes that were new when the snapshot was made, where somebody counted.
    pub new_bytes: Option<u64>,
}

impl TableAmount {
    /// A table with so much in it.
    pub fn new(name: &TableName, amount: &Amount) -> Self {
        Self { table: name.into(), rows: amount.rows, bytes: amount.bytes, new_bytes: amount.new_bytes }
    }
}

/// What a list is made of, member by member.
pub trait Members<T> {
    /// All of them, from the first on.
    fn all(&self) -> Box<dyn Iterator<Item = T> + '_>;
}

impl Members<TableAmount> for Vec<Sorted> {
    fn all(&self) -> Box<dyn Iterator<Item = TableAmount> + '_> {
        Box::new(self.iter().flat_map(Sorted::iter).map(|(name, amount)| TableAmount::new(&name, &amount)))
    }
}

impl Members<ChangedTable> for Difference {
    fn all(&self) -> Box<dyn Iterator<Item = ChangedTable> + '_> {
        Box::new(self.tables().map(|change| ChangedTable::from(&change)))
    }
}

impl Members<PickedTable> for Picked {
    fn all(&self) -> Box<dyn Iterator<Item = PickedTable> + '_> {
        Box::new(self.tables().map(PickedTable::from))
    }
}

/// A list whose members are made while it is written: of a million tables none is held in the form of a report.
#[derive(Clone)]
pub struct Streamed<T>(Arc<dyn Members<T>>);

impl<T> Streamed<T> {
    /// The list of what `members` gives.
    pub fn of(members: impl Members<T> + 'static) -> Self {
        Self(Arc::new(members))
    }
}

impl<T: Serialize> Serialize for Streamed<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.all())
    }
}

impl<T: fmt::Debug> fmt::Debug for Streamed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.all()).finish()
    }
}

impl<T: JsonSchema> JsonSchema for Streamed<T> {
    fn inline_schema() -> bool {
        Vec::<T>::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        Vec::<T>::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> schemars::Schema {
        Vec::<T>::json_schema(generator)
    }
}

/// A table that is restored.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct PickedTable {
    /// The schema; empty if it has none.
    pub schema: String,
    /// The name.
    pub name: String,
    /// Rows, or large objects; null where they cannot be told.
    pub rows: Option<u64>,
    /// Bytes of the rows alone.
    pub bytes: u64,
    /// What it is.
    pub kind: TableKind,
}

impl PickedTable {
    /// Its name for people.
    pub fn shown(&self) -> String {
        match self.kind {
            TableKind::LargeObjects => "large objects".to_owned(),
            TableKind::Table if self.schema.is_empty() => self.name.clone(),
            TableKind::Table => format!("{}.{}", self.schema, self.name),
        }
    }
}

impl From<TableData<'_>> for PickedTable {
    fn from(table: TableData<'_>) -> Self {
        Self {
            schema: table.schema.to_owned(),
            name: table.name.to_owned(),
            rows: table.rows,
            bytes: table.data_bytes,
            kind: match table.kind {
                DataKind::LargeObjects => TableKind::LargeObjects,
                DataKind::Table => TableKind::Table,
            },
        }
    }
}

/// What changed between two snapshots.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Diff {
    /// The first snapshot.
    pub before: Id,
    /// The second.
    pub after: Id,
    /// Streams that only the second has.
    pub streams_new: Vec<String>,
    /// Streams that only the first has.
    pub streams_gone: Vec<String>,
    /// Streams of which nothing is known of their tables, in one or both.
    pub streams_unknown: Vec<String>,
    /// Schemas that had no table with data.
    pub schemas_new: Vec<Schema>,
    /// Schemas of which no table with data is left.
    pub schemas_gone: Vec<Schema>,
    /// All tables of the streams that can be compared.
    pub tables: Streamed<ChangedTable>,
    /// Keys of Redis and Valkey of the streams that can be compared, by database and prefix.
    pub keys: Vec<ChangedKeys>,
}

impl Report for Diff {}

impl Diff {
    /// What changed from one snapshot to another.
    pub fn new(found: Difference, keys: &[KeyChange], before: &SnapshotId, after: &SnapshotId) -> Self {
        Self {
            before: Id::of(before),
            after: Id::of(after),
            streams_new: found.streams_new.clone(),
            streams_gone: found.streams_gone.clone(),
            streams_unknown: found.streams_unknown.clone(),
            schemas_new: found.schemas_new.iter().map(Schema::from).collect(),
            schemas_gone: found.schemas_gone.iter().map(Schema::from).collect(),
            tables: Streamed::of(found),
            keys: keys.iter().map(ChangedKeys::from).collect(),
        }
    }
}

/// A schema of a database.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Schema {
    /// The stream.
    pub stream: String,
    /// The database; empty if the stream does not name it, or has only one.
    pub database: String,
    /// The schema.
    pub schema: String,
}

impl From<&(String, String, String)> for Schema {
    fn from((stream, database, schema): &(String, String, String)) -> Self {
        Self { stream: stream.clone(), database: database.clone(), schema: schema.clone() }
    }
}

/// A table in two snapshots.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ChangedTable {
    /// The table.
    #[serde(flatten)]
    pub table: Name,
    /// What became of it.
    pub change: Change,
    /// How it was; null if it is new.
    pub before: Option<Size>,
    /// How it is; null if it is gone.
    pub after: Option<Size>,
}

/// How much is in a table.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "TableSize")]
pub struct Size {
    /// Rows, or large objects; null where they cannot be told.
    pub rows: Option<u64>,
    /// Bytes of the rows alone.
    pub bytes: u64,
}

impl From<&TableChange> for ChangedTable {
    fn from(TableChange { name, before, after }: &TableChange) -> Self {
        let change = match (before, after) {
            (None, _) => Change::New,
            (_, None) => Change::Gone,
            _ if before == after => Change::None,
            _ => Change::Changed,
        };
        let size = |amount: &Amount| Size { rows: amount.rows, bytes: amount.bytes };
        Self {
            table: name.into(),
            change,
            before: before.as_ref().map(size),
            after: after.as_ref().map(size),
        }
    }
}
