//! Tables of dumps, as their maps tell them: what a snapshot holds, and what changed from one to another. Reads no
//! data.

use crate::content::index::SectionMap;
use crate::content::pg::{DataKind, MapError, TableData, TableMap};
use crate::content::rdb::KeyMap;
use crate::vault::snapshot::{Body, Stream, StreamFormat};
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::iter::Peekable;

/// The map that was stored with a stream, where there is one.
///
/// # Errors
/// When it is of a newer program, or makes no sense.
pub(crate) fn table_map(stream: &Stream) -> Result<Option<TableMap>, MapError> {
    map_bytes(stream).map(TableMap::decode).transpose()
}

/// Hands on the tables of a stream's map, one at a time; gives whether it has a map that could be read to its end. A
/// damaged one is for `check` to tell of.
pub(super) fn each_table(stream: &Stream, each: impl FnMut(TableData<'_>)) -> bool {
    map_bytes(stream).is_some_and(|bytes| TableMap::each_table(bytes, each).is_ok())
}

fn map_bytes(stream: &Stream) -> Option<&[u8]> {
    let bytes = stream.table_map.as_ref().map(|bytes| bytes.as_slice());
    bytes.filter(|bytes| !SectionMap::is_meant(bytes) && !KeyMap::is_meant(bytes))
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

/// What changed between two snapshots. Streams are told apart by name; two snapshots of one stream each are compared
/// whatever the names.
#[derive(Debug, Default)]
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
    /// The streams that can be compared.
    pairs: Vec<(Sorted, Sorted)>,
}

impl Difference {
    /// All tables of the streams that can be compared, stream by stream, in the order of their names.
    pub fn tables(&self) -> impl Iterator<Item = TableChange> {
        self.pairs.iter().flat_map(|(before, after)| Changes {
            before: before.iter().peekable(),
            after: after.iter().peekable(),
        })
    }
}

/// Two streams' tables, name by name.
struct Changes<B: Iterator, A: Iterator> {
    before: Peekable<B>,
    after: Peekable<A>,
}

impl<B, A> Iterator for Changes<B, A>
where
    B: Iterator<Item = (TableName, Amount)>,
    A: Iterator<Item = (TableName, Amount)>,
{
    type Item = TableChange;

    fn next(&mut self) -> Option<TableChange> {
        let order = match (self.before.peek(), self.after.peek()) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((was, _)), Some((is, _))) => was.cmp(is),
        };
        let before = if order.is_le() { self.before.next() } else { None };
        let after = if order.is_ge() { self.after.next() } else { None };
        // What is new has no part in a comparison.
        let amount = |side: &Option<(TableName, Amount)>| {
            side.as_ref().map(|(_, amount)| Amount { new_bytes: None, ..*amount })
        };
        let (was, is) = (amount(&before), amount(&after));
        let (name, _) = before.or(after)?;
        Some(TableChange { name, before: was, after: is })
    }
}

/// The tables of a snapshot's streams and how much is in them: some 60 MB of a million tables.
#[derive(Debug)]
pub(crate) struct Maps(Vec<(String, Option<Sorted>)>);

impl Maps {
    /// Reads what is stored of them, and lets that go.
    pub(crate) fn of(body: Body) -> Self {
        let of_stream = |mut stream: Stream| {
            let map = map_bytes(&stream).map(TableMap::decode_amounts);
            stream.table_map = None;
            let sorted = map.and_then(Result::ok).map(|map| Sorted::of(&stream.name, map));
            (stream.name, sorted)
        };
        // Settings are text of another kind.
        let streams = body.streams.into_iter().filter(|stream| stream.format != StreamFormat::Settings);
        Self(streams.map(of_stream).collect())
    }
}

/// Compares the tables of two snapshots.
pub(crate) fn difference(Maps(mut olds): Maps, Maps(mut news): Maps) -> Difference {
    let mut found = Difference::default();
    let mut pairs = Vec::new();
    if olds.len() == 1 && news.len() == 1 {
        pairs.extend(olds.pop().zip(news.pop()));
    }
    for old in olds {
        match news.iter().position(|(name, _)| *name == old.0) {
            Some(at) => pairs.push((old, news.remove(at))),
            None => found.streams_gone.push(old.0),
        }
    }
    found.streams_new = news.into_iter().map(|(name, _)| name).collect();
    for ((_, was), (name, is)) in pairs {
        let (Some(mut was), Some(is)) = (was, is) else {
            found.streams_unknown.push(name);
            continue;
        };
        was.stream = name;
        let (had, has) = (was.schemas(), is.schemas());
        found.schemas_gone.extend(had.difference(&has).cloned());
        found.schemas_new.extend(has.difference(&had).cloned());
        found.pairs.push((was, is));
    }
    found
}

/// A map's tables, as a person looks for them.
#[derive(Debug)]
pub struct Sorted {
    stream: String,
    map: TableMap,
    /// Places in the map.
    order: Vec<u32>,
}

/// By what tables are put in order, and told apart.
type Key<'a> = (&'a str, &'a str, &'a str, bool);

impl Sorted {
    /// The tables of a stream.
    pub fn of(stream: &str, map: TableMap) -> Self {
        let mut order: Vec<u32> = (0..map.tables.len() as u32).collect();
        let key = |at: &u32| map.tables.get(*at as usize).map(|table| key(&map, &table));
        order.sort_unstable_by(|a, b| key(a).cmp(&key(b)));
        Self { stream: stream.to_owned(), map, order }
    }

    /// The stream's name.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// The map.
    pub fn map(&self) -> &TableMap {
        &self.map
    }

    /// Each table and how much is in it; what has the same name counts as one.
    pub fn iter(&self) -> impl Iterator<Item = (TableName, Amount)> {
        let same = move |a: &u32, b: &u32| self.key(*a) == self.key(*b);
        self.order.chunk_by(same).filter_map(move |group| {
            let tables = group.iter().filter_map(|at| self.map.tables.get(*at as usize));
            let (database, schema, name, is_large_objects) = self.key(*group.first()?)?;
            let name = TableName {
                stream: self.stream.clone(),
                database: database.to_owned(),
                schema: schema.to_owned(),
                name: name.to_owned(),
                is_large_objects,
            };
            Some((name, tables.fold(Amount { rows: Some(0), bytes: 0, new_bytes: Some(0) }, Amount::with)))
        })
    }

    fn key(&self, at: u32) -> Option<Key<'_>> {
        self.map.tables.get(at as usize).map(|table| key(&self.map, &table))
    }

    fn schemas(&self) -> BTreeSet<(String, String, String)> {
        let mut schemas = BTreeSet::new();
        let mut last = None;
        for (database, schema, ..) in self.order.iter().filter_map(|at| self.key(*at)) {
            if !schema.is_empty() && last != Some((database, schema)) {
                schemas.insert((self.stream.clone(), database.to_owned(), schema.to_owned()));
            }
            last = Some((database, schema));
        }
        schemas
    }
}

fn key<'a>(map: &TableMap, table: &TableData<'a>) -> Key<'a> {
    let is_large_objects = table.kind == DataKind::LargeObjects;
    // The database of the stream is left out of the table's name. So two databases with other names can be compared.
    let database = if table.database == map.database { "" } else { table.database };
    (database, table.schema, if is_large_objects { "large objects" } else { table.name }, is_large_objects)
}

impl Amount {
    fn with(self, table: TableData<'_>) -> Self {
        let sum = |a: Option<u64>, b: Option<u64>| a.zip(b).map(|(a, b)| a.saturating_add(b));
        Self {
            rows: sum(self.rows, table.rows),
            bytes: self.bytes.saturating_add(table.data_bytes),
            // What is new is counted with what frames the rows, and the table's size is without.
            new_bytes: sum(self.new_bytes, table.new_bytes.map(|bytes| bytes.min(table.data_bytes))),
        }
    }
}
