//! What a file holds, whatever the order of its keys and the form of their values: to hold two files against each
//! other.

use super::elements::{self, Elements};
use super::record::{Record, Value};
use std::collections::BTreeMap;

/// Keys of one database, type and form, and a digest of them in which their order does not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    keys: u64,
    low: u128,
    high: u128,
}

impl Sum {
    fn add(&mut self, digest: &blake3::Hash) {
        let half = |range: std::ops::Range<usize>| {
            let bytes = digest.as_bytes().get(range).and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(0, u128::from_le_bytes)
        };
        self.keys += 1;
        self.low = self.low.wrapping_add(half(0..16));
        self.high = self.high.wrapping_add(half(16..32));
    }
}

/// All values of a file that last.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    /// By database, type, and the type's number where the bytes themselves count.
    sums: BTreeMap<(u64, &'static str, Option<u8>), Sum>,
    /// Keys that end soon, or are too long to be compared.
    left_out: u64,
}

impl Contents {
    /// Adds a key. One that ends before `soon_ms` may be gone elsewhere, and is left out.
    pub fn add(&mut self, record: &Record, soon_ms: u64) {
        let Value::Of { kind, is_valkey, bytes } = &record.value else {
            self.left_out += u64::from(record.value == Value::TooLong);
            return;
        };
        if record.ends_ms.is_some_and(|end| end < soon_ms) {
            self.left_out += 1;
            return;
        }
        let word = super::steps::word_of(*kind);
        let taken = elements::of(*kind, *is_valkey, bytes, soon_ms);
        if taken.is_none() && matches!(word, "hash") {
            self.left_out += 1;
            return;
        }
        let mut hasher = blake3::Hasher::new();
        put(&mut hasher, &record.key);
        hasher.update(&record.ends_ms.unwrap_or(0).to_le_bytes());
        let form = match &taken {
            Some(Elements::InOrder(elements)) => {
                elements.iter().for_each(|element| put(&mut hasher, element));
                None
            }
            Some(Elements::Unordered(elements)) => {
                let mut sum = Sum::default();
                for parts in elements {
                    let mut own = blake3::Hasher::new();
                    parts.iter().for_each(|part| put(&mut own, part));
                    sum.add(&own.finalize());
                }
                hasher.update(&sum.keys.to_le_bytes());
                hasher.update(&sum.low.to_le_bytes()).update(&sum.high.to_le_bytes());
                None
            }
            None => {
                put(&mut hasher, bytes);
                Some(*kind)
            }
        };
        self.sums.entry((record.database, word, form)).or_default().add(&hasher.finalize());
    }

    /// Keys whose values can be compared.
    pub fn keys(&self) -> u64 {
        self.sums.values().map(|sum| sum.keys).sum()
    }

    /// Databases and types of which something differs. Where a server writes a type in another form, nothing can be
    /// said.
    pub fn differences(&self, other: &Self) -> Vec<(u64, &'static str)> {
        let mut found = Vec::new();
        for (name, sum) in self.sums.iter().chain(&other.sums) {
            let (database, word, form) = *name;
            let own = self.sums.get(name);
            let theirs = other.sums.get(name);
            let is_other_form = form.is_some() && (own.is_none() || theirs.is_none());
            let is_known = found.contains(&(database, word));
            if !is_known && !is_other_form && own != theirs && sum.keys > 0 {
                found.push((database, word));
            }
        }
        found
    }
}

fn put(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, kind: u8, bytes: &[u8], ends_ms: Option<u64>) -> Record {
        let value = Value::Of { kind, is_valkey: false, bytes: bytes.to_vec() };
        Record { database: 0, key: key.into(), ends_ms, value }
    }

    fn contents(records: &[Record]) -> Contents {
        let mut contents = Contents::default();
        records.iter().for_each(|record| contents.add(record, 1000));
        contents
    }

    #[test]
    fn neither_order_nor_form_counts_and_every_other_change_does() {
        let set = |bytes: &[u8]| record("s", 2, bytes, None);
        let text = |value: &[u8], end| record("t", 0, value, end);
        let one = contents(&[set(&[2, 1, b'a', 1, b'b']), text(&[1, b'7'], None)]);
        let same = contents(&[text(&[0xc0, 7], None), set(&[2, 1, b'b', 1, b'a'])]);
        assert_eq!((one.differences(&same), one.keys()), (vec![], 2));
        for other in [
            contents(&[set(&[2, 1, b'a', 1, b'c']), text(&[1, b'7'], None)]),
            contents(&[set(&[1, 1, b'a']), text(&[1, b'7'], None)]),
        ] {
            assert_eq!(one.differences(&other), [(0, "set")]);
        }
        let later = contents(&[set(&[2, 1, b'a', 1, b'b']), text(&[1, b'7'], Some(5000))]);
        assert_eq!(later.differences(&one), [(0, "string")]);
        assert_eq!(one.differences(&Contents::default()).len(), 2);
        // What ends soon may be gone.
        let soon = contents(&[text(&[1, b'7'], Some(900))]);
        assert!(soon.differences(&Contents::default()).is_empty());
        // Streams have several forms, each of which says more than the one before.
        let stream = |kind: u8| contents(&[record("x", kind, &[1, 2], None)]);
        assert!(stream(19).differences(&stream(21)).is_empty());
        let other = contents(&[record("x", 19, &[1, 3], None)]);
        assert_eq!(stream(19).differences(&other), [(0, "stream")]);
    }
}
