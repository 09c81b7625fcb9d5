//! A server's data in an order that does not change with every start of the server: the next backup finds again what it
//! knows.
//!
//! The whole file has to be there before the first key of it is known, so it is held in memory. One that is larger than
//! that may be is stored as it comes.

use super::RedisError;
use crate::base::numbers::Proof;
use crate::content::inspect::{Inspector, Verdict};
use crate::content::rdb::{Ordered, Reader};
use crate::source::{Dump, SourceError, StartedDump};
use std::io::{self, Read};

const READ_BYTES: usize = 256 << 10;
/// What is ready to be read, at least, unless it is the end.
const READY_BYTES: usize = 64 << 10;
/// Attribute of a stream: how its keys are ordered.
const ORDER: &str = "order";

/// Puts a dump in order, if it takes no more than `bytes_max` of memory.
pub(super) fn in_order(
    started: StartedDump,
    bytes_max: u64,
    server: &str,
) -> Result<StartedDump, SourceError> {
    let StartedDump { mut dump, mut attributes } = started;
    let mut file = Vec::new();
    let mut reader = Reader::with_places();
    let mut inspector = Inspector::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match dump.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                let bytes = buffer.get(..count).unwrap_or_default();
                reader.push(bytes);
                inspector.push(bytes);
                file.extend_from_slice(bytes);
            }
            // The dump itself knows best why.
            Err(source) => {
                return Err(match dump.finish() {
                    Err(error) => error,
                    Ok(_) => RedisError::Lost {
                        server: server.to_owned(),
                        during: "while it sent its data",
                        source,
                    }
                    .into(),
                });
            }
        }
        let taken = file.len() as u64 + reader.keys() * Ordered::KEY_BYTES as u64;
        if taken > bytes_max {
            attributes.insert(ORDER.to_owned(), "as sent".to_owned());
            let dump = Box::new(AsSent { held: file, at: 0, rest: dump });
            return Ok(StartedDump { dump, attributes });
        }
    }
    let (_, survey, places) = reader.finish_places();
    let is_whole = matches!(inspector.finish().verdict, Verdict::Whole(_));
    let proof = dump.finish();
    let ordered = match is_whole {
        true => Ordered::new(file, &survey, places),
        // What is wrong with it is seen by who stores it.
        false => Err(file),
    };
    let dump: Box<dyn Dump> = match ordered {
        Ok(ordered) => {
            attributes.insert(ORDER.to_owned(), "sorted".to_owned());
            Box::new(Sorted { ordered, ready: Vec::new(), at: 0, proof })
        }
        Err(file) => {
            attributes.insert(ORDER.to_owned(), "as sent".to_owned());
            Box::new(Held { file, at: 0, proof })
        }
    };
    Ok(StartedDump { dump, attributes })
}

/// Copies what is held from `at` on.
fn give(held: &[u8], at: &mut usize, buffer: &mut [u8]) -> usize {
    let rest = held.get(*at..).unwrap_or_default();
    let count = rest.len().min(buffer.len());
    if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
        to.copy_from_slice(from);
    }
    *at += count;
    count
}

struct Sorted {
    ordered: Ordered,
    ready: Vec<u8>,
    at: usize,
    proof: Result<Proof, SourceError>,
}

impl Read for Sorted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.ready.len() {
            self.ready.clear();
            self.at = 0;
            while self.ready.len() < READY_BYTES && self.ordered.next(&mut self.ready) {}
        }
        Ok(give(&self.ready, &mut self.at, buffer))
    }
}

impl Dump for Sorted {
    fn finish(self: Box<Self>) -> Result<Proof, SourceError> {
        self.proof
    }

    // It was read to its end before.
    fn is_settled(&self) -> bool {
        true
    }
}

struct Held {
    file: Vec<u8>,
    at: usize,
    proof: Result<Proof, SourceError>,
}

impl Read for Held {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(give(&self.file, &mut self.at, buffer))
    }
}

impl Dump for Held {
    fn finish(self: Box<Self>) -> Result<Proof, SourceError> {
        self.proof
    }

    // It was read to its end before.
    fn is_settled(&self) -> bool {
        true
    }
}

/// What was held, and all that follows.
struct AsSent<'a> {
    held: Vec<u8>,
    at: usize,
    rest: Box<dyn Dump + 'a>,
}

impl Read for AsSent<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match give(&self.held, &mut self.at, buffer) {
            0 => {
                self.held = Vec::new();
                self.at = 0;
                self.rest.read(buffer)
            }
            count => Ok(count),
        }
    }
}

impl Dump for AsSent<'_> {
    fn finish(self: Box<Self>) -> Result<Proof, SourceError> {
        self.rest.finish()
    }

    fn is_settled(&self) -> bool {
        self.rest.is_settled()
    }
}
