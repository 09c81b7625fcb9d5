//! Keys of Redis and Valkey, as their maps tell them: what a snapshot holds, and what changed from one to another.
//! Reads no data.

use crate::content::rdb::{Group, KeyMap, KeyMapError};
use crate::vault::snapshot::{Body, Stream, StreamFormat};
use std::collections::BTreeMap;

/// The map that was stored with a stream of keys, where there is one.
///
/// # Errors
/// When it makes no sense.
pub(crate) fn key_map(stream: &Stream) -> Result<Option<KeyMap>, KeyMapError> {
    let of_keys = stream.table_map.as_ref().filter(|_| stream.format == StreamFormat::RedisRdb);
    of_keys.filter(|bytes| KeyMap::is_meant(bytes)).map(|bytes| KeyMap::decode(bytes)).transpose()
}

/// Keys of one database of a stream that begin alike. Orders by stream, database and prefix.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyName {
    /// The stream.
    pub stream: String,
    /// The database; `None` are all that were not told apart.
    pub database: Option<u64>,
    /// What they begin with, up to the first colon; `*` are all others.
    pub prefix: Vec<u8>,
}

impl KeyName {
    /// The prefix as text.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.prefix).into_owned()
    }
}

/// Keys in two snapshots. At least one of the two has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyChange {
    /// Which.
    pub name: KeyName,
    /// How many there were.
    pub before: Option<Group>,
    /// How many there are.
    pub after: Option<Group>,
}

/// The keys of a snapshot's streams, and the streams that have such a map.
#[derive(Debug, Default)]
pub struct Keys {
    /// Names of the streams.
    pub streams: Vec<String>,
    /// Their keys.
    pub groups: BTreeMap<KeyName, Group>,
}

impl Keys {
    /// Reads what is stored of them. A map that makes no sense is passed over: `ls` tells of it.
    pub fn of(body: &Body) -> Self {
        let mut keys = Self::default();
        for stream in &body.streams {
            if let Ok(Some(map)) = key_map(stream) {
                keys.add(&stream.name, map);
            }
        }
        keys
    }

    /// Adds the keys of a stream.
    pub fn add(&mut self, stream: &str, map: KeyMap) {
        self.streams.push(stream.to_owned());
        for found in map.groups {
            let name = KeyName { stream: stream.to_owned(), database: found.database, prefix: found.prefix };
            self.groups.insert(name, found.group);
        }
    }
}

/// What changed of the keys of streams that both snapshots have, all groups of them. Two snapshots of one stream each
/// are compared whatever the names.
pub(crate) fn difference(mut before: Keys, after: &Keys) -> Vec<KeyChange> {
    if let ([was], [is]) = (before.streams.as_slice(), after.streams.as_slice())
        && was != is
    {
        let renamed = |(name, group)| (KeyName { stream: is.clone(), ..name }, group);
        before.groups = before.groups.into_iter().map(renamed).collect();
        before.streams = vec![is.clone()];
    }
    let in_both =
        |name: &KeyName| before.streams.contains(&name.stream) && after.streams.contains(&name.stream);
    let mut changes: BTreeMap<KeyName, (Option<Group>, Option<Group>)> = BTreeMap::new();
    for (name, group) in before.groups.iter().filter(|(name, _)| in_both(name)) {
        changes.entry(name.clone()).or_default().0 = Some(*group);
    }
    for (name, group) in after.groups.iter().filter(|(name, _)| in_both(name)) {
        changes.entry(name.clone()).or_default().1 = Some(*group);
    }
    let change = |(name, (before, after))| KeyChange { name, before, after };
    changes.into_iter().map(change).collect()
}
