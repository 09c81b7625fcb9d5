//! Reads a server key by key, where it does not let itself be replicated: as many managed ones.
//!
//! `SCAN` names the keys, `DUMP` gives the values, and an RDB file is made of them. It does not show one moment: what
//! is written meanwhile may be in it or not. A key that `SCAN` names twice is in it once.

use super::login::Access;
use super::server::ServerInfo;
use super::wire::{Reply, Wire};
use crate::base::id::StreamDigest;
use crate::base::numbers::{Proof, StreamFormat};
use crate::content::rdb::{KeyMap, Reader, put_length};
use crate::source::process::Limits;
use crate::source::{Dump, SourceError, StartedDump};
use crc_fast::{CrcAlgorithm, Digest};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::io::{self, ErrorKind, Read};

/// Keys that are asked for by name at once.
const PAGE: &str = "1000";
/// Values that are asked for at once: as many as come to about this many bytes.
const BATCH_BYTES: usize = 2 << 20;
const BATCH_KEYS_MAX: usize = 1000;
/// Version and checksum behind each value.
const FOOTER_BYTES: usize = 10;
/// Versions from here on are Valkey's own.
const VALKEY_FROM: u16 = 80;
const FUNCTION: u8 = 245;
const EXPIRES_MS: u8 = 252;
const DATABASE: u8 = 254;
const END: u8 = 255;
/// Tells the moment at which a key ends; older servers tell how long that is from now.
const MOMENT: &str = "PEXPIRETIME";
/// Attribute of a stream that does not show one moment.
const CONSISTENCY: &str = "consistency";

/// Starts reading.
pub(super) fn open(access: &Access, limits: &Limits) -> Result<StartedDump, SourceError> {
    let mut wire = access.enter(limits)?;
    let info = ServerInfo::ask(&mut wire)?;
    let mut attributes = BTreeMap::from([(CONSISTENCY.to_owned(), "scan".to_owned())]);
    if !info.version().is_empty() {
        attributes.insert("server".to_owned(), info.name());
        attributes.insert("server_version".to_owned(), info.version().to_owned());
    }
    // Without the right to ask what there is, all keys of the first database are what can be had.
    let mut databases: VecDeque<u64> = info.databases().into_keys().collect();
    if databases.is_empty() {
        databases.push_back(0);
    }
    let scan = Scan {
        wire,
        databases,
        cursor: None,
        names: VecDeque::new(),
        seen: HashSet::new(),
        batch_keys: 16,
        // The moment itself is the same bytes every day.
        ends_by: if info.redis_version() >= (7, 0) { MOMENT } else { "PTTL" },
        version: None,
        ready: Vec::new(),
        at: 0,
        sum: Digest::new(CrcAlgorithm::Crc64Redis),
        has_ended: false,
        failed: None,
    };
    Ok(StartedDump { dump: Box::new(scan), attributes })
}

struct Scan {
    wire: Wire,
    /// Those that are left; the first is being read once there is a cursor.
    databases: VecDeque<u64>,
    /// Where the scan of a database is; 0 at its end.
    cursor: Option<Vec<u8>>,
    names: VecDeque<Vec<u8>>,
    /// Keys of this database that were given.
    seen: HashSet<[u8; 16]>,
    batch_keys: usize,
    /// The command that tells when a key ends.
    ends_by: &'static str,
    /// Of all values, which the header says.
    version: Option<u16>,
    ready: Vec<u8>,
    at: usize,
    sum: Digest,
    has_ended: bool,
    failed: Option<SourceError>,
}

impl Scan {
    /// Makes more bytes ready, or is at the end.
    fn go_on(&mut self) -> Result<(), SourceError> {
        if self.version.is_none() {
            return self.begin();
        }
        if !self.names.is_empty() {
            return self.values();
        }
        let Some(database) = self.databases.front().copied() else {
            self.ready.push(END);
            self.sum.update(&[END]);
            let sum = self.sum.finalize();
            self.ready.extend_from_slice(&sum.to_le_bytes());
            self.has_ended = true;
            return Ok(());
        };
        let cursor = match self.cursor.take() {
            Some(cursor) if cursor == b"0" => {
                self.databases.pop_front();
                return Ok(());
            }
            Some(cursor) => cursor,
            None => {
                let number = database.to_string();
                self.wire.order("SELECT", &[b"SELECT", number.as_bytes()])?;
                self.seen.clear();
                let mut bytes = vec![DATABASE];
                put_length(database, &mut bytes);
                self.give(&bytes);
                b"0".to_vec()
            }
        };
        let reply = self.wire.order("SCAN", &[b"SCAN", &cursor, b"COUNT", PAGE.as_bytes()])?;
        let Reply::List(parts) = reply else { return Err(self.wire.not_redis("its answer to SCAN")) };
        let Ok([Reply::Bytes(next), Reply::List(names)]) = <[Reply; 2]>::try_from(parts) else {
            return Err(self.wire.not_redis("its answer to SCAN"));
        };
        for name in names {
            let Reply::Bytes(name) = name else { return Err(self.wire.not_redis("the name of a key")) };
            let mut hash = [0; 16];
            blake3::Hasher::new().update(&name).finalize_xof().fill(&mut hash);
            if self.seen.insert(hash) {
                self.names.push_back(name);
            }
        }
        self.cursor = Some(next);
        Ok(())
    }

    /// The header, and functions where there are some.
    fn begin(&mut self) -> Result<(), SourceError> {
        let functions = match self.wire.ask(&[b"FUNCTION", b"DUMP"])? {
            Reply::Bytes(dump) => Some(dump),
            _ => None,
        };
        // A server without functions says its version with the first value.
        let version = match &functions {
            Some(dump) => footer(dump),
            None => Some(self.version_of_a_value()?),
        };
        let version = version.ok_or_else(|| self.wire.not_redis("its answer to DUMP"))?;
        self.version = Some(version);
        let header = match version {
            VALKEY_FROM.. => format!("VALKEY{version:03}"),
            _ => format!("REDIS{version:04}"),
        };
        self.give(header.as_bytes());
        if let Some(dump) = functions {
            let code = dump.get(..dump.len().saturating_sub(FOOTER_BYTES)).unwrap_or_default();
            if code.first() == Some(&FUNCTION) {
                self.give(code);
            }
        }
        Ok(())
    }

    fn version_of_a_value(&mut self) -> Result<u16, SourceError> {
        const OLDEST: u16 = 9;
        let Some(database) = self.databases.front() else { return Ok(OLDEST) };
        let number = database.to_string();
        self.wire.order("SELECT", &[b"SELECT", number.as_bytes()])?;
        let Reply::Bytes(name) = self.wire.ask(&[b"RANDOMKEY"])? else { return Ok(OLDEST) };
        match self.wire.ask(&[b"DUMP", &name])? {
            Reply::Bytes(dump) => Ok(footer(&dump).unwrap_or(OLDEST)),
            _ => Ok(OLDEST),
        }
    }

    /// Values of the next keys.
    fn values(&mut self) -> Result<(), SourceError> {
        let names: Vec<Vec<u8>> = self.names.drain(..self.batch_keys.min(self.names.len())).collect();
        let ends = self.ends_by;
        self.wire.send(&[b"TIME"])?;
        for name in &names {
            self.wire.send(&[ends.as_bytes(), name])?;
            self.wire.send(&[b"DUMP", name])?;
        }
        let now_ms = time(self.wire.answer()?).unwrap_or_default();
        let from_ms = if ends == MOMENT { 0 } else { now_ms };
        let mut came = 0;
        let mut bytes = Vec::new();
        for name in names {
            let left = self.wire.answer()?;
            let dump = match self.wire.answer()? {
                Reply::Bytes(dump) => dump,
                // It is gone meanwhile.
                Reply::Nothing => continue,
                Reply::Error(text) => return Err(self.wire.refused("DUMP", text)),
                _ => return Err(self.wire.not_redis("its answer to DUMP")),
            };
            came += dump.len();
            let (kind, value) = match dump.split_first() {
                Some((kind, rest)) if rest.len() >= FOOTER_BYTES => {
                    (kind, &rest[..rest.len() - FOOTER_BYTES])
                }
                _ => return Err(self.wire.not_redis("its answer to DUMP")),
            };
            match left {
                Reply::Number(left @ 0..) => {
                    bytes.push(EXPIRES_MS);
                    bytes.extend_from_slice(&(from_ms + left.unsigned_abs()).to_le_bytes());
                }
                Reply::Error(text) => return Err(self.wire.refused(ends, text)),
                _ => {}
            }
            bytes.push(*kind);
            put_length(name.len() as u64, &mut bytes);
            bytes.extend_from_slice(&name);
            bytes.extend_from_slice(value);
        }
        self.batch_keys = match came {
            0..BATCH_BYTES => (self.batch_keys * 2).min(BATCH_KEYS_MAX),
            _ => (self.batch_keys / 2).max(1),
        };
        self.give(&bytes);
        Ok(())
    }

    fn give(&mut self, bytes: &[u8]) {
        self.sum.update(bytes);
        self.ready.extend_from_slice(bytes);
    }
}

/// The version in the last bytes of a value.
fn footer(dump: &[u8]) -> Option<u16> {
    let [low, high, ..] = dump.last_chunk::<FOOTER_BYTES>()?;
    Some(u16::from_le_bytes([*low, *high]))
}

/// The server's clock, in milliseconds since 1970.
fn time(reply: Reply) -> Option<u64> {
    let Reply::List(parts) = reply else { return None };
    let mut numbers = parts.into_iter().map(|part| part.into_text().parse::<u64>().ok());
    let (seconds, micros) = (numbers.next()??, numbers.next()??);
    Some(seconds.saturating_mul(1000) + micros / 1000)
}

impl Read for Scan {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.ready.len() {
            if self.has_ended || self.failed.is_some() {
                return Ok(0);
            }
            self.ready.clear();
            self.at = 0;
            let outcome = self.wire.watch.look(&self.wire.server).and_then(|()| self.go_on());
            if let Err(error) = outcome {
                let told = io::Error::new(ErrorKind::TimedOut, error.to_string());
                self.failed = Some(error);
                return Err(told);
            }
        }
        let rest = self.ready.get(self.at..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        self.at += count;
        Ok(count)
    }
}

impl Dump for Scan {
    fn finish(mut self: Box<Self>) -> Result<Proof, SourceError> {
        match self.failed.take() {
            Some(error) => Err(error),
            None if self.has_ended => Ok(Proof::Exited),
            None => Err(SourceError::NotReadToEnd { program: self.wire.server.clone() }),
        }
    }
}

/// A dump that made its own file: that file proves nothing of what the server holds.
pub(super) struct Made {
    dump: Box<dyn Dump>,
    reader: Reader,
}

impl Made {
    pub(super) fn of(started: StartedDump) -> StartedDump {
        let StartedDump { dump, attributes } = started;
        StartedDump { dump: Box::new(Self { dump, reader: Reader::new() }), attributes }
    }
}

impl Read for Made {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.dump.read(buffer)?;
        self.reader.push(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

impl Dump for Made {
    fn finish(self: Box<Self>) -> Result<Proof, SourceError> {
        self.dump.finish()
    }

    fn format(&self) -> Option<StreamFormat> {
        Some(StreamFormat::RedisRdb)
    }

    fn digest(&self) -> Option<StreamDigest> {
        None
    }

    fn is_settled(&self) -> bool {
        self.dump.is_settled()
    }

    fn map(&self) -> Option<Vec<u8>> {
        Some(KeyMap::of(self.reader.survey()).encode())
    }
}
