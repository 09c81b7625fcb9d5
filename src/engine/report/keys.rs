//! Keys of Redis and Valkey, and what changed of them.

use super::change::Change;
use crate::content::rdb::Group;
use crate::engine::keys::{KeyChange, KeyName, Keys};
use schemars::JsonSchema;
use serde::Serialize;

/// Keys of one database that begin alike.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Prefix")]
pub struct Prefix {
    /// The stream.
    pub stream: String,
    /// Number of the database; null for all that were not told apart.
    pub database: Option<u64>,
    /// What the keys begin with, up to the first colon; `*` stands for all other keys. Bytes that are no UTF-8 are
    /// replaced.
    pub prefix: String,
}

impl From<&KeyName> for Prefix {
    fn from(name: &KeyName) -> Self {
        Self { stream: name.stream.clone(), database: name.database, prefix: name.shown() }
    }
}

/// How many keys there are.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "KeyCount")]
pub struct KeyCount {
    /// Keys.
    pub keys: u64,
    /// Of these, keys that expire.
    pub expiring: u64,
    /// Bytes of them in the file.
    pub bytes: u64,
}

impl From<&Group> for KeyCount {
    fn from(group: &Group) -> Self {
        Self { keys: group.keys, expiring: group.expiring, bytes: group.bytes }
    }
}

/// Keys that begin alike, and how many they are.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct KeyAmount {
    /// Which.
    #[serde(flatten)]
    pub prefix: Prefix,
    /// How many.
    #[serde(flatten)]
    pub count: KeyCount,
}

impl KeyAmount {
    /// All of a snapshot.
    pub fn all(keys: &Keys) -> Vec<Self> {
        let one = |(name, group): (&KeyName, &Group)| Self { prefix: name.into(), count: group.into() };
        keys.groups.iter().map(one).collect()
    }
}

/// Keys in two snapshots.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ChangedKeys {
    /// Which.
    #[serde(flatten)]
    pub prefix: Prefix,
    /// What became of them.
    pub change: Change,
    /// How many there were; null if there were none.
    pub before: Option<KeyCount>,
    /// How many there are; null if there are none.
    pub after: Option<KeyCount>,
}

impl From<&KeyChange> for ChangedKeys {
    fn from(KeyChange { name, before, after }: &KeyChange) -> Self {
        let change = match (before, after) {
            (None, _) => Change::New,
            (_, None) => Change::Gone,
            _ if before == after => Change::None,
            _ => Change::Changed,
        };
        let count = |group: &Option<Group>| group.as_ref().map(KeyCount::from);
        Self { prefix: name.into(), change, before: count(before), after: count(after) }
    }
}
