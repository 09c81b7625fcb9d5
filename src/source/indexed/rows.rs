//! The index under way, and the stream that comes of it.
//!
//! The data stream comes first: the index holds the digests of what was read for it. Until it is stored it lies
//! compressed in memory.

use super::{FILES, IndexedError, PAIR};
use crate::base::id::StreamDigest;
use crate::base::level::Level;
use crate::base::numbers::{Proof, StreamFormat};
use crate::base::words::path as shown;
use crate::content::codec::{Codec, Compressor, Decompressor};
use crate::content::index::{Change, DataDigest, IndexError, IndexWriter, Kind, Of, Row, SectionMap};
use crate::source::{Dump, PlannedStream, SourceError, StartedDump};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

/// Index bytes that are compressed at a time.
const PIECE_BYTES: usize = 1 << 20;

/// Rows that come in order, and the digest of the data that they are of.
pub(crate) struct Rows {
    of: Of,
    writer: IndexWriter,
    digest: DataDigest,
    plain: Vec<u8>,
    compressor: Compressor,
    made: Made,
    rows: u64,
    files: u64,
    unchanged: u64,
}

impl Rows {
    /// None yet.
    pub(crate) fn new(of: Of) -> Self {
        Self {
            of,
            writer: IndexWriter::new(of),
            digest: DataDigest::default(),
            plain: Vec::new(),
            compressor: Compressor::default(),
            made: Made::default(),
            rows: 0,
            files: 0,
            unchanged: 0,
        }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// When an index cannot have it.
    pub(crate) fn push(&mut self, row: &Row, change: &Change) -> Result<(), IndexedError> {
        self.writer.push(row, change).map_err(|source| match source {
            source @ IndexError::Malformed { .. } => IndexedError::Name { name: shown(&row.path), source },
            source => IndexedError::Index { source },
        })?;
        self.digest.row(row);
        self.rows += 1;
        self.files += u64::from(row.kind != Kind::Directory && !row.is_old);
        let bytes = self.writer.take();
        self.keep(&bytes, PIECE_BYTES)
    }

    /// Adds a row of the parent's.
    ///
    /// # Errors
    /// As [`Rows::push`].
    pub(crate) fn unchanged(&mut self, row: &Row, change: &Change) -> Result<(), IndexedError> {
        self.unchanged += 1;
        self.push(row, change)
    }

    fn keep(&mut self, bytes: &[u8], least: usize) -> Result<(), IndexedError> {
        self.plain.extend_from_slice(bytes);
        if self.plain.len() < least {
            return Ok(());
        }
        let mut stored = Vec::new();
        let codec = self.compressor.compress(&self.plain, Level::ZSTD, &mut stored)?;
        stored.shrink_to_fit();
        self.made.pieces.push((codec, stored, self.plain.len()));
        self.plain.clear();
        Ok(())
    }

    /// All rows are there: leaves the index for its stream, with counts of what was met.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub(crate) fn finish(&mut self, counts: &[(&str, u64)], kept: &Kept) -> Result<(), IndexedError> {
        let writer = std::mem::replace(&mut self.writer, IndexWriter::new(self.of));
        let (bytes, map) = writer.finish();
        self.keep(&bytes, 0)?;
        let own = [("rows", self.rows), (FILES, self.files), ("unchanged", self.unchanged)];
        let counts = own.iter().chain(counts).map(|(name, count)| ((*name).to_owned(), count.to_string()));
        let made = Made { map, counts: counts.collect(), ..std::mem::take(&mut self.made) };
        *kept.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(made);
        Ok(())
    }

    /// The digest of the data.
    pub(crate) fn digest(&self) -> StreamDigest {
        StreamDigest::from_bytes(self.digest.finish())
    }
}

/// The index of data that was read.
#[derive(Default)]
struct Made {
    /// Compressed pieces, and how long they are plain.
    pieces: Vec<(Codec, Vec<u8>, usize)>,
    map: SectionMap,
    counts: BTreeMap<String, String>,
}

/// Where the data leaves its index.
#[derive(Clone, Default)]
pub(crate) struct Kept(Arc<Mutex<Option<Made>>>);

/// Starts the data stream.
type StartData = Box<dyn FnOnce() -> Result<Box<dyn Dump>, SourceError>>;

impl Kept {
    /// Name of the index of a series.
    pub(crate) fn index_name(&self, series: &str) -> String {
        format!("{series}/index")
    }

    /// The two streams of a series: the data, then the index that it leaves here.
    pub(crate) fn streams(self, series: &str, start: StartData) -> Vec<PlannedStream<'static>> {
        let (index, data) = (self.index_name(series), format!("{series}/data"));
        let attributes = |pair: &str| BTreeMap::from([(PAIR.to_owned(), pair.to_owned())]);
        let (of_data, of_index) = (attributes(&index), attributes(&data));
        let start_data = Box::new(move || Ok(StartedDump { dump: start()?, attributes: of_data }));
        let start_index = Box::new(move || {
            let made = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
            let made = made.ok_or(IndexedError::NoData)?;
            let mut attributes = of_index;
            attributes.extend(made.counts.clone());
            let dump =
                Index { made, section: 0, plain: Vec::new(), at: 0, decompressor: Decompressor::default() };
            Ok(StartedDump { dump: Box::new(dump), attributes })
        });
        vec![
            PlannedStream { name: data, start: start_data },
            PlannedStream { name: index, start: start_index },
        ]
    }
}

/// The index as a stream.
struct Index {
    made: Made,
    section: usize,
    plain: Vec<u8>,
    at: usize,
    decompressor: Decompressor,
}

impl Read for Index {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at >= self.plain.len() {
            let Some((codec, stored, len)) = self.made.pieces.get_mut(self.section) else { return Ok(0) };
            self.decompressor.decompress(*codec, stored, *len, &mut self.plain).map_err(io::Error::other)?;
            stored.clear();
            stored.shrink_to_fit();
            self.section += 1;
            self.at = 0;
        }
        let rest = self.plain.get(self.at..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        self.at += count;
        Ok(count)
    }
}

impl Dump for Index {
    fn finish(self: Box<Self>) -> Result<Proof, SourceError> {
        Ok(Proof::Structure)
    }

    // The data was read before.
    fn is_settled(&self) -> bool {
        true
    }

    fn format(&self) -> Option<StreamFormat> {
        Some(match self.made.map.of {
            Of::Files => StreamFormat::FileIndex,
            Of::Objects => StreamFormat::ObjectIndex,
        })
    }

    fn map(&self) -> Option<Vec<u8>> {
        Some(self.made.map.encode())
    }
}
