//! What is remembered of a file: how many keys of each database begin alike, and its encoding.

use super::survey::{Group, PREFIXES_MAX, Survey};
use minicbor::bytes::ByteSlice;
use minicbor::{Decode, Encode};

/// The encoding's version; version 1 are table maps.
const VERSION: u32 = 2;
/// What it is a map of: keys.
const KIND: u32 = 0;
/// No encoded map may be larger.
const MAP_BYTES_MAX: usize = 1 << 20;
/// More rows than a writer tells apart.
const ROWS_MAX: usize = 32 * PREFIXES_MAX;

/// Keys of one database that begin alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyGroup {
    /// The database; `None` are all that were not told apart.
    pub database: Option<u64>,
    /// What stands before the first colon of each key, with the colon; `*` are all other keys.
    pub prefix: Vec<u8>,
    /// How many there are.
    pub group: Group,
}

/// The keys of a file by database and prefix, in that order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyMap {
    /// The groups.
    pub groups: Vec<KeyGroup>,
    /// Libraries of functions.
    pub functions: u64,
}

/// An encoded map cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the map of keys is damaged: {what}")]
pub struct KeyMapError {
    what: &'static str,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Stored<'a> {
    #[n(0)]
    version: u32,
    #[n(1)]
    kind: u32,
    #[cbor(b(2))]
    groups: Vec<StoredGroup<'a>>,
    #[n(3)]
    functions: u64,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct StoredGroup<'a> {
    #[n(0)]
    database: Option<u64>,
    #[cbor(b(1))]
    prefix: &'a ByteSlice,
    #[n(2)]
    keys: u64,
    #[n(3)]
    expiring: u64,
    #[n(4)]
    expired: u64,
    #[n(5)]
    bytes: u64,
}

impl KeyMap {
    /// What there is to remember of a file.
    pub fn of(survey: &Survey) -> Self {
        let group = |((database, prefix), group): (&(u64, Vec<u8>), &Group)| KeyGroup {
            database: (*database != u64::MAX).then_some(*database),
            prefix: prefix.clone(),
            group: *group,
        };
        Self { groups: survey.groups.iter().map(group).collect(), functions: survey.functions }
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let groups = self.groups.iter().map(|KeyGroup { database, prefix, group }| StoredGroup {
            database: *database,
            prefix: prefix.as_slice().into(),
            keys: group.keys,
            expiring: group.expiring,
            expired: group.expired,
            bytes: group.bytes,
        });
        let stored =
            Stored { version: VERSION, kind: KIND, groups: groups.collect(), functions: self.functions };
        // Writing into memory does not fail.
        minicbor::to_vec(&stored).unwrap_or_default()
    }

    /// Whether bytes are a map of this kind, as far as their beginning says.
    pub fn is_meant(bytes: &[u8]) -> bool {
        // A map of four with 0: 2, 1: 0.
        bytes.starts_with(&[0xa4, 0x00, VERSION as u8, 0x01, KIND as u8])
    }

    /// Reads a map.
    ///
    /// # Errors
    /// When it makes no sense, or is of another kind.
    pub fn decode(bytes: &[u8]) -> Result<Self, KeyMapError> {
        let wrong = |what| KeyMapError { what };
        if bytes.len() > MAP_BYTES_MAX {
            return Err(wrong("it is too large"));
        }
        if !Self::is_meant(bytes) {
            return Err(wrong("it is of another kind"));
        }
        let stored: Stored<'_> = minicbor::decode(bytes).map_err(|_| wrong("it cannot be decoded"))?;
        if stored.groups.len() > ROWS_MAX {
            return Err(wrong("it has too many rows"));
        }
        let group = |stored: StoredGroup<'_>| {
            let StoredGroup { database, prefix, keys, expiring, expired, bytes } = stored;
            let is_odd = keys == 0 || expiring > keys || expired > expiring;
            let group = Group { keys, expiring, expired, bytes };
            match is_odd {
                true => Err(wrong("a row that cannot be")),
                false => Ok(KeyGroup { database, prefix: prefix.to_vec(), group }),
            }
        };
        let groups = stored.groups.into_iter().map(group).collect::<Result<_, _>>()?;
        Ok(Self { groups, functions: stored.functions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> KeyMap {
        let group = Group { keys: 9, expiring: 3, expired: 1, bytes: 400 };
        let of = |database, prefix: &[u8]| KeyGroup { database, prefix: prefix.to_vec(), group };
        KeyMap {
            groups: vec![of(Some(0), b"bull:"), of(Some(0), b"*"), of(Some(3), b"\xff:"), of(None, b"*")],
            functions: 2,
        }
    }

    #[test]
    fn a_map_comes_back_and_every_cut_of_it_is_refused() {
        let bytes = map().encode();
        assert!(KeyMap::is_meant(&bytes));
        assert_eq!(KeyMap::decode(&bytes).unwrap(), map());
        for cut in 0..bytes.len() {
            assert!(KeyMap::decode(&bytes[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn rows_that_cannot_be_are_refused() {
        for group in [
            Group { keys: 0, ..Group::default() },
            Group { keys: 1, expiring: 2, ..Group::default() },
            Group { keys: 1, expired: 1, ..Group::default() },
        ] {
            let row = KeyGroup { database: None, prefix: b"*".to_vec(), group };
            assert!(KeyMap::decode(&KeyMap { groups: vec![row], functions: 0 }.encode()).is_err());
        }
    }
}
