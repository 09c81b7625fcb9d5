//! The anomaly guard: a stream far smaller than those before it, or without rows where there were many, is stored and
//! not trusted.
//!
//! A dump that ended well may still be of a database that somebody has emptied. Taken for a good copy it would be the
//! parent and, day by day, push the last full ones out of the retention.

use super::{BackupRequest, WithDamage};
use crate::base::event::{Event, Observer};
use crate::base::words;
use crate::content::pg::{DataKind, TableData};
use crate::engine::keys::{KeyName, Keys, key_map};
use crate::engine::tables::each_table;
use crate::source::files::NEWER_THAN;
use crate::source::indexed::FILES;
use crate::vault::catalog::Catalog;
use crate::vault::crypto::CryptoError;
use crate::vault::history::History;
use crate::vault::snapshot::{Stream, StreamFormat, Summary};
use crate::vault::writer::Finished;
use crate::vault::{RepoError, Repository};
use std::collections::{BTreeMap, HashMap};

/// So many snapshots before are looked at.
const LOOKED_AT: usize = 7;
/// Streams that were smaller than this, in bytes, say nothing: a row more or less halves them.
const SAYS_NOTHING: u64 = 4096;
/// Tables that ever had fewer rows than this in the snapshots looked at may be empty: queues and sessions are at times.
const ROWS_TO_MISS: u64 = 1000;
/// So many of the emptied tables are named.
const NAMED: usize = 3;

/// Trees that had fewer files than this say nothing, unless they had some and have none: a volume that is not mounted
/// looks so.
const FILES_TO_MISS: u64 = 20;
/// Servers that had fewer keys than this may have none: a queue that was worked through.
const KEYS_TO_MISS: u64 = 20;

/// A table by a hash of its names: there may be a million, and seldom is one of them told.
type Table = [u8; 16];

fn key(table: &TableData<'_>) -> Table {
    let mut hasher = blake3::Hasher::new();
    for name in [table.database, table.schema, table.name] {
        hasher.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
    }
    let mut key = Table::default();
    hasher.finalize_xof().fill(&mut key);
    key
}

/// What is usual of one stream.
#[derive(Default)]
struct Usual {
    /// Its length in each snapshot before, the newest first.
    lengths: Vec<u64>,
    /// How many files its index had in each, where it is one.
    files: Vec<u64>,
    /// The fewest rows of each table that was in all of them and never had few; `None` before the first.
    rows: Option<HashMap<Table, u64>>,
    /// The fewest keys of each prefix, those that expire left out, that was in all of them and never had few; `None`
    /// before the first.
    keys: Option<BTreeMap<KeyName, u64>>,
    /// Keys in each, those that expire left out, where it is made of keys.
    lasting: Vec<u64>,
}

impl Usual {
    fn add(&mut self, stream: &Stream) {
        self.lengths.push(stream.bytes);
        self.files.extend(files(stream));
        self.add_keys(stream);
        let before = self.rows.as_ref();
        let mut in_all = HashMap::new();
        let is_read = each_table(stream, |table| {
            let Some(rows) = rows(&table) else { return };
            let key = key(&table);
            let least = match before {
                None => Some(rows),
                Some(before) => before.get(&key).map(|least| rows.min(*least)),
            };
            if let Some(least) = least.filter(|least| *least >= ROWS_TO_MISS) {
                in_all.insert(key, least);
            }
        });
        // Streams without a map say nothing of rows.
        if is_read {
            self.rows = Some(in_all);
        }
    }

    fn add_keys(&mut self, stream: &Stream) {
        let Some(found) = keys(stream) else { return };
        self.lasting.push(lasting(&found));
        let before = self.keys.take();
        let least = |name: &KeyName, count: u64| match &before {
            None => Some(count),
            Some(before) => before.get(name).map(|least| count.min(*least)),
        };
        let lasting = found.groups.iter().map(|(name, group)| (name, group.keys - group.expiring));
        let in_all = lasting.filter_map(|(name, count)| Some((name.clone(), least(name, count)?)));
        self.keys = Some(in_all.filter(|(_, least)| *least >= ROWS_TO_MISS).collect());
    }

    /// Prefixes that had keys and have none, told for a person. Keys that expire may all be gone.
    fn lost(&self, stream: &Stream) -> Option<String> {
        let before = self.keys.as_ref().filter(|keys| !keys.is_empty())?;
        let now = keys(stream)?;
        let name = |(name, least): (&KeyName, &u64)| {
            let database = name.database.map_or_else(String::new, |number| format!(" in database {number}"));
            format!("{}{database} (had at least {})", name.shown(), words::count(*least, "key"))
        };
        let gone: Vec<String> = before
            .iter()
            .filter(|(name, _)| now.groups.get(name).is_none_or(|group| group.keys == 0))
            .map(name)
            .collect();
        let more = match gone.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let named = gone.get(..NAMED).unwrap_or(&gone).join(", ");
        (!gone.is_empty()).then(|| format!("no keys with prefix {named}{more}"))
    }

    /// Tables that had rows and have none, told for a person.
    fn emptied(&self, stream: &Stream) -> Option<String> {
        let before = self.rows.as_ref().filter(|rows| !rows.is_empty())?;
        let mut gone: Vec<(String, String, String, u64)> = Vec::new();
        let is_read = each_table(stream, |it| {
            if let (Some(0), Some(least)) = (rows(&it), before.get(&key(&it))) {
                let [database, schema, name] = [it.database, it.schema, it.name].map(str::to_owned);
                gone.push((database, schema, name, *least));
            }
        });
        if !is_read {
            return None;
        }
        gone.sort_unstable();
        let name = |(_, schema, name, least): &(String, String, String, u64)| {
            format!("{schema}.{name} (had at least {})", words::count(*least, "row"))
        };
        let named: Vec<String> = gone.iter().take(NAMED).map(name).collect();
        let more = match gone.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        (!gone.is_empty()).then(|| match named.as_slice() {
            [one] => format!("no rows in table {one}"),
            several => format!("no rows in tables {}{more}", several.join(", ")),
        })
    }
}

/// Files in an index, directories left out.
fn files(stream: &Stream) -> Option<u64> {
    stream.attributes.get(FILES).filter(|_| stream.format.is_index())?.parse().ok()
}

/// Keys that do not expire.
fn lasting(keys: &Keys) -> u64 {
    keys.groups.values().map(|group| group.keys - group.expiring).sum()
}

/// The keys of a stream that is made of keys.
fn keys(stream: &Stream) -> Option<Keys> {
    let map = key_map(stream).ok().flatten()?;
    let mut keys = Keys::default();
    keys.add("", map);
    Some(keys)
}

/// The rows of a table, where they are known.
fn rows(table: &TableData<'_>) -> Option<u64> {
    table.rows.filter(|_| table.kind == DataKind::Table)
}

/// What is usual in a series.
pub(super) struct Guard {
    share: f64,
    /// By the streams' names.
    usual: BTreeMap<String, Usual>,
    allow_empty: bool,
}

impl Guard {
    /// Reads how long the streams of the newest snapshots that nobody suspects are.
    ///
    /// # Errors
    /// When the storage fails.
    pub(super) fn open(
        repo: &Repository,
        catalog: &mut Catalog,
        history: &History,
        request: &BackupRequest,
        observer: &WithDamage<'_>,
    ) -> Result<Self, RepoError> {
        let mut guard =
            Self { share: request.suspect_below, usual: BTreeMap::new(), allow_empty: request.allow_empty };
        // Of what is left out by age nothing is usual.
        if guard.share <= 0.0 || request.source.contains_key(NEWER_THAN) {
            return Ok(guard);
        }
        let until = request.time.map_or(i64::MAX, |time| time.as_millisecond());
        let counts = |summary: &&Summary| summary.head.state.is_trusted() && summary.head.time_ms <= until;
        for summary in history.series(&request.series, &request.host).rev().filter(counts).take(LOOKED_AT) {
            match repo.body(catalog, &summary.id) {
                Ok(body) => {
                    for stream in body.streams {
                        guard.usual.entry(stream.name.clone()).or_default().add(&stream);
                    }
                }
                Err(RepoError::Crypto(CryptoError::RoleTooWeak { .. })) => {
                    let what =
                        "this append key cannot read the sizes of earlier dumps; nothing is marked suspect";
                    observer.observe(Event::Step { what: what.to_owned() });
                    return Ok(guard);
                }
                // It is told elsewhere.
                Err(error) if error.is_integrity() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(guard)
    }

    /// Far fewer keys than usual, told for a person.
    fn fewer_keys(&self, before: &Usual, now: u64) -> Option<String> {
        let usual = usual(&before.lasting)?;
        let is_less = usual >= ROWS_TO_MISS && (now as f64) < usual as f64 * self.share;
        let told = || {
            let (now, usual) = (words::count(now, "key"), words::count(usual, "key"));
            format!("{now} that do not expire, usually about {usual}")
        };
        (is_less || now == 0 && usual >= KEYS_TO_MISS).then(told)
    }

    /// Far fewer files than usual, told for a person.
    fn fewer(&self, before: &Usual, stream: &Stream) -> Option<String> {
        let (now, usual) = (files(stream)?, usual(&before.files)?);
        let is_less = usual >= FILES_TO_MISS && (now as f64) < usual as f64 * self.share;
        let what = if stream.format == StreamFormat::ObjectIndex { "object" } else { "file" };
        let told = || format!("{}, usually about {}", words::count(now, what), words::count(usual, what));
        (is_less || now == 0 && usual > 0).then(told)
    }

    /// Marks the stream as suspect if it is.
    pub(super) fn judge(&self, stream: Finished) -> Finished {
        let (bytes, name) = (stream.stream().bytes, stream.stream().name.as_str());
        if bytes == 0 && self.allow_empty {
            return stream;
        }
        let Some(before) = self.usual.get(name) else { return stream };
        // A cache may be empty: of keys only those count that do not expire, and not the bytes.
        if let Some(now) = keys(stream.stream()) {
            return match before.lost(stream.stream()).or_else(|| self.fewer_keys(before, lasting(&now))) {
                Some(why) => stream.suspect(why),
                None => stream,
            };
        }
        match usual(&before.lengths) {
            Some(usual) if usual >= SAYS_NOTHING && (bytes as f64) < usual as f64 * self.share => {
                stream.suspect(format!("{}, usually about {}", words::bytes(bytes), words::bytes(usual)))
            }
            _ => match before.emptied(stream.stream()).or_else(|| self.fewer(before, stream.stream())) {
                Some(why) => stream.suspect(why),
                None => stream,
            },
        }
    }
}

/// What is usual after these lengths, the newest first: their median, or the newest where that is less, so that a
/// series that was made smaller on purpose once is not suspected for a week.
fn usual(before: &[u64]) -> Option<u64> {
    let mut sorted = before.to_vec();
    sorted.sort_unstable();
    let median = sorted.get(sorted.len().saturating_sub(1) / 2)?;
    before.first().map(|newest| *newest.min(median))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_is_the_median_and_never_more_than_the_newest() {
        assert_eq!(usual(&[]), None);
        assert_eq!(usual(&[100]), Some(100));
        assert_eq!(usual(&[100, 90, 80]), Some(90));
        // One that was doubled by accident raises no alarm the day after.
        assert_eq!(usual(&[200, 100, 100]), Some(100));
        // One that shrank and was accepted is what is usual from then on.
        assert_eq!(usual(&[10, 100, 100, 100]), Some(10));
    }
}
