//! The digest of a stream of files: that of the digests of its files, which stand in the index beside it.

use super::stream_reader::StreamReader;
use crate::base::event::{Cancel, Event, Observer};
use crate::base::words::path as shown;
use crate::content::index::{DataDigest, Entry, IndexError, IndexReader, Of};
use crate::source::indexed::PAIR;
use crate::vault::reader::{Locator, Output, ReadSettings, ReadStats};
use crate::vault::snapshot::{DigestKind, Stream, StreamFormat};
use crate::vault::{RepoError, Repository};
use std::io::{self, BufReader};
use std::sync::{Arc, Mutex};

/// What a stream is read with, and those beside it.
pub(super) struct Whole<'a> {
    pub repo: &'a Repository,
    pub locator: &'a Arc<Mutex<Locator>>,
    /// All streams of the snapshot.
    pub streams: &'a [Stream],
    pub settings: ReadSettings,
}

impl Whole<'_> {
    /// Writes all of a stream to `output`, and checks its digest, of whichever kind it is.
    ///
    /// # Errors
    /// On any error the bytes written until then may be wrong. Only after `Ok` is the stream whole.
    pub(super) fn read(
        &self,
        stream: &Stream,
        observer: &dyn Observer,
        cancel: &Cancel,
        output: &mut Output<'_>,
    ) -> Result<ReadStats, RepoError> {
        let (reader, settings) = (self.repo.reader(), self.settings);
        let plain = |output: &mut Output<'_>| {
            reader.read_stream(self.locator, stream, settings, observer, cancel, output)
        };
        if stream.digest_kind() != DigestKind::OfFiles {
            return plain(output);
        }
        let Some(index) = index_of(self.streams, stream) else {
            let message = format!(
                "the files in `{}` cannot be checked: the snapshot has no index of them",
                stream.name
            );
            observer.observe(Event::Warning { message });
            return plain(output);
        };
        let mut check = Check::open(self.repo, index, stream);
        let mut wrong = None;
        let outcome = plain(&mut |bytes: &[u8]| {
            check.push(bytes).map_err(|error| {
                wrong = Some(error);
                io::Error::other("a file is not what its digest says")
            })?;
            output(bytes)
        });
        match wrong {
            Some(error) => Err(error),
            None => outcome.and_then(|stats| check.finish().map(|()| stats)),
        }
    }
}

/// The index of a stream of files.
pub(super) fn index_of<'a>(streams: &'a [Stream], data: &Stream) -> Option<&'a Stream> {
    let mut indexes = streams.iter().filter(|stream| stream.format.is_index());
    indexes.find(|stream| stream.attributes.get(PAIR) == Some(&data.name))
}

/// What an index is of.
pub(super) fn of(index: &Stream) -> Of {
    if index.format == StreamFormat::ObjectIndex { Of::Objects } else { Of::Files }
}

/// Holds the bytes of a stream against the rows of its index.
struct Check<'a> {
    stream: &'a Stream,
    rows: IndexReader<BufReader<StreamReader>>,
    failure: Arc<Mutex<Option<RepoError>>>,
    section: std::vec::IntoIter<Entry>,
    current: Option<Part>,
    digest: DataDigest,
}

/// The file that the next bytes are of.
struct Part {
    path: Vec<u8>,
    expected: [u8; 32],
    left: u64,
    hasher: blake3::Hasher,
}

impl<'a> Check<'a> {
    fn open(repo: &Repository, index: &Stream, stream: &'a Stream) -> Self {
        let reader = StreamReader::open(repo, index.clone());
        let failure = reader.failure();
        Self {
            stream,
            rows: IndexReader::new(of(index), BufReader::new(reader)),
            failure,
            section: Vec::new().into_iter(),
            current: None,
            digest: DataDigest::default(),
        }
    }

    fn wrong(&self, what: String) -> RepoError {
        RepoError::Inconsistent { object: format!("stream {}", self.stream.name), what }
    }

    /// Why the index cannot be read: what the repository says of it, if it does.
    fn unread(&self, error: &IndexError) -> RepoError {
        let failure = self.failure.lock().ok().and_then(|mut failure| failure.take());
        failure.unwrap_or_else(|| self.wrong(error.to_string()))
    }

    /// The next file that has bytes.
    fn next(&mut self) -> Result<Option<Part>, RepoError> {
        loop {
            for entry in self.section.by_ref() {
                if let Some(expected) = entry.row.data_digest() {
                    let (expected, left) = (*expected, entry.row.data_bytes());
                    let hasher = blake3::Hasher::new();
                    return Ok(Some(Part { path: entry.row.path, expected, left, hasher }));
                }
            }
            match self.rows.section() {
                Ok(Some(section)) => self.section = section.into_iter(),
                Ok(None) => return Ok(None),
                Err(error) => return Err(self.unread(&error)),
            }
        }
    }

    fn push(&mut self, mut bytes: &[u8]) -> Result<(), RepoError> {
        while !bytes.is_empty() {
            let part = match self.current.take() {
                Some(part) => Some(part),
                None => self.next()?,
            };
            let Some(mut part) = part else {
                return Err(self.wrong("it has bytes of no file in the index".to_owned()));
            };
            let count = usize::try_from(part.left).unwrap_or(usize::MAX).min(bytes.len());
            let (of_part, rest) = bytes.split_at_checked(count).unwrap_or((bytes, &[]));
            part.hasher.update(of_part);
            part.left -= count as u64;
            bytes = rest;
            match part.left {
                0 if *part.hasher.finalize().as_bytes() != part.expected => {
                    return Err(self.wrong(format!("`{}` is not what its digest says", shown(&part.path))));
                }
                0 => self.digest.file(&part.expected),
                _ => self.current = Some(part),
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), RepoError> {
        if self.current.is_some() || self.next()?.is_some() {
            return Err(self.wrong("it ends before the files in the index do".to_owned()));
        }
        match self.digest.finish() == *self.stream.digest.as_bytes() {
            true => Ok(()),
            false => Err(self.wrong("its files do not have the digests of the backup".to_owned())),
        }
    }
}
