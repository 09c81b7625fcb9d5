//! Keys with their values, as they stand in a file: what a server takes one by one.

use super::fields::number;
use super::lzf::front_of;
use super::steps::opcode;
use crc_fast::{CrcAlgorithm, Digest};

/// A key of so many bytes, compressed, would take the memory of all others.
const KEY_BYTES_MAX: usize = 512 << 20;

/// A key, or a library of functions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The database.
    pub database: u64,
    /// The key; empty for functions.
    pub key: Vec<u8>,
    /// When it ends by itself, in milliseconds since 1970.
    pub ends_ms: Option<u64>,
    /// What it is.
    pub value: Value,
}

/// What a record holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// The type and the bytes of a value.
    Of {
        /// The type's number.
        kind: u8,
        /// Whether Valkey has numbered it.
        is_valkey: bool,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// The code of a library of functions.
    Functions(Vec<u8>),
    /// It is longer than it may be.
    TooLong,
}

impl Value {
    /// The form in which `DUMP` gives a value and `RESTORE` takes it, for a server that reads files of that version;
    /// none for functions.
    ///
    /// The type, the value, the version and a checksum of all that stands before.
    pub fn payload(&self, version: u16) -> Option<Vec<u8>> {
        let Self::Of { kind, bytes, .. } = self else { return None };
        let mut payload = Vec::with_capacity(bytes.len() + 11);
        payload.push(*kind);
        payload.extend_from_slice(bytes);
        payload.extend_from_slice(&version.to_le_bytes());
        let mut sum = Digest::new(CrcAlgorithm::Crc64Redis);
        sum.update(&payload);
        payload.extend_from_slice(&sum.finalize().to_le_bytes());
        Some(payload)
    }
}

/// Keeps the bytes of a key while they pass.
#[derive(Debug)]
pub(super) struct Capture {
    bytes_max: usize,
    /// The type, while a key passes.
    kind: Option<u8>,
    bytes: Vec<u8>,
    is_too_long: bool,
    records: Vec<Record>,
}

impl Capture {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, kind: None, bytes: Vec::new(), is_too_long: false, records: Vec::new() }
    }

    pub(super) fn take(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.records)
    }

    pub(super) fn begin(&mut self, kind: u8) {
        self.kind = Some(kind);
        self.bytes.clear();
        self.is_too_long = false;
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.kind.is_none() {
            return;
        }
        let free = self.bytes_max.saturating_sub(self.bytes.len());
        self.is_too_long |= bytes.len() > free;
        // The key stands at the front, and is wanted even where the value is too long.
        self.bytes.extend_from_slice(bytes.get(..free).unwrap_or(bytes));
    }

    pub(super) fn end(&mut self, database: u64, ends_ms: Option<u64>, is_valkey: bool) {
        let Some(kind) = self.kind.take() else { return };
        let Some((text, rest)) = string(&self.bytes) else {
            let record = Record { database, key: Vec::new(), ends_ms, value: Value::TooLong };
            return self.records.push(record);
        };
        let record = match kind {
            _ if self.is_too_long => Record { database, key: text, ends_ms, value: Value::TooLong },
            opcode::FUNCTION => Record { database, key: Vec::new(), ends_ms, value: Value::Functions(text) },
            kind => {
                let value = Value::Of { kind, is_valkey, bytes: rest.to_vec() };
                Record { database, key: text, ends_ms, value }
            }
        };
        self.records.push(record);
    }
}

/// A string that stands at the front, and what follows it.
pub(super) fn string(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    if let 0xc0..=0xc2 = first {
        let (number, rest) = rest.split_at_checked(1 << (first & 3))?;
        let number = match *number {
            [a] => i32::from(i8::from_le_bytes([a])),
            [a, b] => i32::from(i16::from_le_bytes([a, b])),
            [a, b, c, d] => i32::from_le_bytes([a, b, c, d]),
            _ => return None,
        };
        return Some((number.to_string().into_bytes(), rest));
    }
    if *first == 0xc3 {
        let (packed, rest) = number(rest)?;
        let (plain, rest) = number(rest)?;
        let (packed, rest) = rest.split_at_checked(usize::try_from(packed).ok()?)?;
        let plain = usize::try_from(plain).ok()?;
        let text = (plain <= KEY_BYTES_MAX).then(|| front_of(packed, plain))?;
        return (text.len() == plain).then_some((text, rest));
    }
    let (bytes_of_text, rest) = number(bytes)?;
    let (text, rest) = rest.split_at_checked(usize::try_from(bytes_of_text).ok()?)?;
    Some((text.to_vec(), rest))
}
