//! Whether a server holds what a file does: both are read key by key, and neither order nor form counts.

use super::RedisError;
use crate::content::rdb::{Contents, Reader, Structure, Survey};
use crate::source::{SourceError, StartedDump};

const READ_BYTES: usize = 256 << 10;
/// Values that are longer are counted, and not compared.
const VALUE_BYTES_MAX: usize = 64 << 20;
/// Keys that end within that time may be gone when they are looked for.
const SOON_MS: u64 = 3_600_000;

/// Before which time a key has to end, in milliseconds since 1970, not to be compared any more.
pub(crate) fn soon(now_ms: u64) -> u64 {
    now_ms.saturating_add(SOON_MS)
}

/// Takes the bytes of a file, and knows at the end what it holds.
#[derive(Debug)]
pub(crate) struct Holds {
    reader: Reader,
    contents: Contents,
    soon_ms: u64,
}

impl Holds {
    /// Of keys that do not end before `soon_ms`.
    pub(crate) fn new(soon_ms: u64) -> Self {
        Self { reader: Reader::with_records(VALUE_BYTES_MAX), contents: Contents::default(), soon_ms }
    }

    /// Takes the next bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.reader.push(bytes);
        for record in self.reader.take_records() {
            self.contents.add(&record, self.soon_ms);
        }
    }

    /// How the file ended, and what it holds.
    pub(crate) fn finish(self) -> (Structure, Survey, Contents) {
        let (structure, survey) = self.reader.finish();
        (structure, survey, self.contents)
    }

    /// Reads what a server sends; `each` is called now and then.
    pub(super) fn read(
        started: StartedDump,
        server: &str,
        soon_ms: u64,
        each: &mut dyn FnMut() -> Result<(), SourceError>,
    ) -> Result<(Survey, Contents), SourceError> {
        let StartedDump { mut dump, .. } = started;
        let mut holds = Self::new(soon_ms);
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let count = dump.read(&mut buffer).map_err(|source| SourceError::Io {
                program: server.to_owned(),
                operation: "read from",
                source,
            })?;
            match buffer.get(..count) {
                Some(bytes) if !bytes.is_empty() => holds.push(bytes),
                _ => break,
            }
            each()?;
        }
        dump.finish()?;
        match holds.finish() {
            (Structure::Whole, survey, contents) => Ok((survey, contents)),
            _ => Err(RedisError::NoEnd { server: server.to_owned() }.into()),
        }
    }
}

/// Differences in words.
pub(super) fn words(differences: &[(u64, &'static str)]) -> String {
    let each =
        differences.iter().map(|(database, word)| format!("values of type {word} in database {database}"));
    each.collect::<Vec<_>>().join(", ")
}
