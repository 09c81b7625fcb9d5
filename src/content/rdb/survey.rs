//! What the keys of a file come to.

use std::collections::BTreeMap;

/// So many prefixes are told apart in each database; all others are `*`.
pub const PREFIXES_MAX: usize = 256;
/// So many groups in all databases together.
const GROUPS_MAX: usize = 4096;
/// Prefixes are at most so long.
const PREFIX_BYTES_MAX: usize = 64;
/// Databases that are told apart. A server has as many as it is configured to have, 16 by default.
const DATABASES_MAX: usize = 1024;
/// What is not told apart.
const REST: &[u8] = b"*";

/// Keys of one database that begin alike.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Group {
    /// How many there are.
    pub keys: u64,
    /// Of these, how many end by themselves.
    pub expiring: u64,
    /// Of these, how many had ended when the file was written, by its own clock.
    pub expired: u64,
    /// Bytes of them in the file: types, keys, values, and what is said of each.
    pub bytes: u64,
}

/// Keys by database and prefix, and what the file says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Version of the format.
    pub version: u32,
    /// Written by Valkey in a form of its own.
    pub is_valkey: bool,
    /// Fields such as `redis-ver` and `ctime`, cut to 512 bytes each, at most 64 of them.
    pub fields: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Groups by database and by what stands before the first colon, the colon included; `*` are all others.
    pub groups: BTreeMap<(u64, Vec<u8>), Group>,
    /// The same by database and type, as `TYPE` calls it.
    pub types: BTreeMap<(u64, &'static str), Group>,
    /// Libraries of functions.
    pub functions: u64,
    prefixes: BTreeMap<u64, usize>,
    /// When the file was written; 0 where it does not tell.
    written_ms: u64,
}

/// What is counted of a key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub word: &'static str,
    pub bytes: u64,
    /// When it ends by itself, in milliseconds since 1970.
    pub ends_ms: Option<u64>,
}

impl Group {
    fn add(&mut self, key: Key, now_ms: u64) {
        self.keys += 1;
        self.expiring += u64::from(key.ends_ms.is_some());
        self.expired += u64::from(key.ends_ms.is_some_and(|end| end <= now_ms));
        self.bytes = self.bytes.saturating_add(key.bytes);
    }
}

impl Survey {
    /// Counts a key, of which `front` is the beginning.
    pub(super) fn count(&mut self, database: u64, front: &[u8], key: Key) {
        let now_ms = self.written_ms;
        let colon = front.iter().take(PREFIX_BYTES_MAX).position(|byte| *byte == b':');
        let prefix = colon.and_then(|colon| front.get(..=colon)).unwrap_or(REST);
        let group = match self.groups.get_mut(&(database, prefix) as &dyn Named) {
            Some(group) => group,
            None => self.new_group(database, prefix),
        };
        group.add(key, now_ms);
        let database = if self.prefixes.contains_key(&database) { database } else { u64::MAX };
        self.types.entry((database, key.word)).or_default().add(key, now_ms);
    }

    fn new_group(&mut self, database: u64, prefix: &[u8]) -> &mut Group {
        let known = self.prefixes.len();
        let (database, prefix) = match self.prefixes.get_mut(&database) {
            Some(count) if *count >= PREFIXES_MAX || self.groups.len() >= GROUPS_MAX => (database, REST),
            Some(count) => {
                *count += 1;
                (database, prefix)
            }
            // A hostile file: one group for all that is left.
            None if known >= DATABASES_MAX => (u64::MAX, REST),
            None => {
                self.prefixes.insert(database, 1);
                (database, prefix)
            }
        };
        self.groups.entry((database, prefix.to_vec())).or_default()
    }

    /// Keeps a field.
    pub(super) fn say(&mut self, name: Vec<u8>, value: Vec<u8>) {
        const FIELDS_MAX: usize = 64;
        if name == b"ctime" {
            let seconds = std::str::from_utf8(&value).ok().and_then(|text| text.parse::<u64>().ok());
            self.written_ms = seconds.unwrap_or_default().saturating_mul(1000);
        }
        if self.fields.len() < FIELDS_MAX {
            self.fields.insert(name, value);
        }
    }

    /// All keys.
    pub fn keys(&self) -> u64 {
        self.groups.values().map(|group| group.keys).sum()
    }
}

/// A group's name, borrowed or owned, so that looking one up allocates nothing.
trait Named {
    fn parts(&self) -> (u64, &[u8]);
}

impl Named for (u64, Vec<u8>) {
    fn parts(&self) -> (u64, &[u8]) {
        (self.0, &self.1)
    }
}

impl Named for (u64, &[u8]) {
    fn parts(&self) -> (u64, &[u8]) {
        (self.0, self.1)
    }
}

impl<'a> std::borrow::Borrow<dyn Named + 'a> for (u64, Vec<u8>) {
    fn borrow(&self) -> &(dyn Named + 'a) {
        self
    }
}

impl PartialEq for dyn Named + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for dyn Named + '_ {}

impl PartialOrd for dyn Named + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for dyn Named + '_ {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.parts().cmp(&other.parts())
    }
}
