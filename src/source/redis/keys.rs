//! Restores key by key: into a server that holds others, that is reached but does not reach us, or of an older version.
//!
//! Each key goes as `RESTORE` takes it, so that the server looks at each by itself. What it does not know it refuses,
//! and takes all others.

use super::lanes::Lanes;
use super::target::Target;
use super::wire::Reply;
use super::{RedisError, Watch};
use crate::content::rdb::{Reader, Record, Structure, Value, glob};
use crate::source::{Sink, SourceError};
use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};

/// A server takes no longer one in one piece (`proto-max-bulk-len`).
const VALUE_BYTES_MAX: usize = 512 << 20;
/// So many keys that failed are named.
const NAMED_MAX: usize = 20;
/// A number of Valkey's that Redis has given to something else.
const HASH_OF_VALKEY: u8 = 22;

/// What becomes of a key that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// Nothing is restored.
    Fail,
    /// It stays.
    Skip,
    /// It is replaced.
    Replace,
}

/// Which keys are restored, and where.
#[derive(Debug, Clone)]
pub struct Choice {
    /// Patterns of keys; none for all.
    pub patterns: Vec<Vec<u8>>,
    /// Databases of the file, each with the one that its keys go to; none for all, each to itself.
    pub databases: Vec<(u64, u64)>,
    /// What becomes of a key that is there already.
    pub conflict: Conflict,
}

impl Choice {
    /// Whether everything is meant.
    pub fn is_all(&self) -> bool {
        self.patterns.is_empty() && self.databases.is_empty()
    }

    /// The database that a key goes to, if it is meant.
    fn place(&self, record: &Record) -> Option<u64> {
        let is_meant = self.patterns.is_empty()
            || self.patterns.iter().any(|pattern| glob::matches(pattern, &record.key));
        if !is_meant {
            return None;
        }
        match self.databases.as_slice() {
            [] => Some(record.database),
            some => some.iter().find(|(from, _)| *from == record.database).map(|(_, to)| *to),
        }
    }
}

/// What became of the keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Keys that were meant.
    pub meant: u64,
    /// Keys that are there now.
    pub restored: u64,
    /// Libraries of functions that are there now.
    pub functions: u64,
    /// Keys that had ended by themselves since the backup.
    pub expired: u64,
    /// Keys that were there already, and stayed.
    pub there: u64,
    /// Keys that the server did not take.
    pub refused: u64,
    /// Some of those that were there or not taken, each with why.
    pub named: Vec<(String, String)>,
}

/// What an [`Outcome`] is written to while the keys pass.
pub(crate) type Told = Arc<Mutex<Outcome>>;

enum Asked {
    /// A key is restored.
    Restore(Vec<u8>),
    /// It was asked whether a key is there.
    Exists(Vec<u8>),
    /// A library of functions is loaded.
    Functions { counts: bool },
}

/// Takes a file, and sends its keys.
pub(super) struct KeyLoader {
    lanes: Lanes<Asked>,
    reader: Reader,
    choice: Choice,
    /// The newest version of files that the server reads.
    version: u16,
    is_valkey: bool,
    /// Only looks which keys are there.
    is_look: bool,
    now_ms: u64,
    told: Told,
    failed: Option<SourceError>,
}

impl fmt::Debug for KeyLoader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyLoader").field("choice", &self.choice).finish_non_exhaustive()
    }
}

/// Restores key by key.
///
/// # Errors
/// When the server cannot be reached, or is not one to restore into.
pub(crate) fn open_keys(
    target: &Target,
    choice: &Choice,
    version: u32,
    is_look: bool,
    now_ms: u64,
    told: &Told,
) -> Result<Box<dyn Sink>, SourceError> {
    let (wire, info) = target.enter()?;
    let watch = Watch::new(target.limits.clone());
    let lanes = match info.is_cluster() {
        true => Lanes::of_cluster(&target.access, wire, watch)?,
        false => Lanes::of_one(&target.access, wire, watch),
    };
    Ok(Box::new(KeyLoader {
        lanes,
        reader: Reader::with_records(VALUE_BYTES_MAX),
        choice: choice.clone(),
        version: u16::try_from(version).unwrap_or(u16::MAX),
        is_valkey: info.is_valkey(),
        is_look,
        now_ms,
        told: Arc::clone(told),
        failed: None,
    }))
}

impl KeyLoader {
    fn tell(&self, note: impl FnOnce(&mut Outcome)) {
        note(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn take(&mut self, record: Record) -> Result<(), SourceError> {
        if let Value::Functions(code) = &record.value {
            if self.choice.is_all() && !self.is_look {
                // Each server of a cluster has its own. One of them counts.
                for at in 0..self.lanes.count() {
                    let counts = at == 0;
                    self.lanes.add(
                        at,
                        &[b"FUNCTION", b"LOAD", b"REPLACE", code],
                        Asked::Functions { counts },
                    )?;
                }
            }
            return Ok(());
        }
        let Some(database) = self.choice.place(&record) else { return Ok(()) };
        self.tell(|told| told.meant += 1);
        let lane = self.lanes.of_key(&record.key);
        match self.lanes.select(lane, database)? {
            // A cluster has fewer of them, and takes the keys of others all the same.
            Some(_) if self.lanes.is_cluster() => {
                let why = "the cluster has no such database: `--db` puts keys into another";
                self.tell(|told| refuse(told, &record.key, why));
                return Ok(());
            }
            Some(error) => return Err(error),
            None => {}
        }
        if self.is_look {
            return self.lanes.add(lane, &[b"EXISTS", &record.key], Asked::Exists(record.key.clone()));
        }
        if record.ends_ms.is_some_and(|end| end <= self.now_ms) {
            self.tell(|told| told.expired += 1);
            return Ok(());
        }
        let is_foreign = |kind: u8, is_valkey: bool| kind >= HASH_OF_VALKEY && is_valkey != self.is_valkey;
        let payload = match &record.value {
            Value::Of { kind, is_valkey, .. } if is_foreign(*kind, *is_valkey) => {
                Err("a type of the other family of servers")
            }
            value => value.payload(self.version).ok_or("it is longer than 512 MiB"),
        };
        let payload = match payload {
            Ok(payload) => payload,
            Err(why) => {
                self.tell(|told| refuse(told, &record.key, why));
                return Ok(());
            }
        };
        let ends = record.ends_ms.unwrap_or(0).to_string();
        let mut words: Vec<&[u8]> = vec![b"RESTORE", &record.key, ends.as_bytes(), &payload, b"ABSTTL"];
        if self.choice.conflict == Conflict::Replace {
            words.push(b"REPLACE");
        }
        self.lanes.add(lane, &words, Asked::Restore(record.key.clone()))
    }

    /// Notes what became of what was sent.
    fn hear(&mut self) {
        for (asked, reply) in self.lanes.take_answers() {
            self.tell(|told| match (asked, reply) {
                (Asked::Restore(_), Reply::Line(_)) => told.restored += 1,
                (Asked::Restore(_), Reply::Error(text)) if text.starts_with("BUSYKEY") => told.there += 1,
                (Asked::Restore(key), Reply::Error(text)) => refuse(told, &key, &text),
                (Asked::Exists(key), Reply::Number(1..)) => {
                    told.there += 1;
                    name(told, &key, "is there already");
                }
                (Asked::Exists(_), _) | (Asked::Restore(_), _) => {}
                (Asked::Functions { .. }, Reply::Error(text)) => refuse(told, b"functions", &text),
                (Asked::Functions { counts }, _) => told.functions += u64::from(counts),
            });
        }
    }

    fn pass(&mut self, bytes: &[u8]) -> Result<(), SourceError> {
        self.reader.push(bytes);
        let taken = self.reader.take_records().into_iter().try_for_each(|record| self.take(record));
        self.hear();
        taken
    }
}

fn refuse(told: &mut Outcome, key: &[u8], why: &str) {
    told.refused += 1;
    name(told, key, why);
}

fn name(told: &mut Outcome, key: &[u8], why: &str) {
    if told.named.len() < NAMED_MAX {
        let why = why.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
        told.named.push((String::from_utf8_lossy(key).into_owned(), why));
    }
}

impl Write for KeyLoader {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.pass(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(error) => {
                let told = io::Error::new(ErrorKind::BrokenPipe, error.to_string());
                self.failed.get_or_insert(error);
                Err(told)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for KeyLoader {
    fn finish(mut self: Box<Self>) -> Result<(), SourceError> {
        let flushed = self.lanes.flush_all();
        self.hear();
        flushed?;
        let reason = match std::mem::take(&mut self.reader).finish().0 {
            Structure::Whole => return Ok(()),
            Structure::Unknown { at } => format!("something that is not known stands at offset {at}"),
            Structure::Damaged { what, at } => format!("{what} makes no sense at offset {at}"),
            Structure::Cut(within) => format!("it is cut off within {within}"),
            Structure::Followed(at) => format!("other data follows its end at offset {at}"),
        };
        Err(RedisError::Unreadable { reason }.into())
    }

    fn abort(self: Box<Self>) {}

    fn fail_reason(mut self: Box<Self>) -> SourceError {
        let server = self.lanes.server();
        self.failed.take().unwrap_or_else(|| RedisError::Gone { server }.into())
    }
}

/// Reads `3` or `3:5`: a database of the file, and the one that its keys go to.
///
/// # Errors
/// When it is neither.
pub(crate) fn databases(text: &str) -> Result<(u64, u64), RedisError> {
    const NUMBERS: RangeInclusive<u64> = 0..=1_000_000;
    let number = |text: &str| text.parse::<u64>().ok().filter(|number| NUMBERS.contains(number));
    let (from, to) = text.split_once(':').unwrap_or((text, text));
    number(from).zip(number(to)).ok_or_else(|| RedisError::BadDatabase { text: text.to_owned() })
}
