//! The archive of `mongodump --archive`: a prelude that names the collections, then blocks. A block is a header that
//! names a collection, its documents, and a mark; a collection ends with a block whose header says so. Documents are
//! BSON and begin with their length.

use super::check::{End, Fields, Follow, Next, little};
use std::collections::HashMap;

pub(super) const MAGIC: [u8; 4] = [0x6d, 0xe2, 0x99, 0x81];
/// Ends the prelude, and each block.
const MARK: [u8; 4] = [0xff; 4];
/// A server's documents have at most 16 MiB, and its own ones a little more.
const DOCUMENT_BYTES_MAX: u64 = 64 << 20;
/// Headers and what describes a collection; longer ones are passed over, and then nothing is known of their collection.
const HEADER_BYTES_MAX: u64 = 1 << 20;
/// Collections that are kept track of, and the bytes of their names.
const COLLECTIONS_MAX: usize = 1 << 20;
const NAMES_BYTES_MAX: usize = 64 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Magic,
    /// Before a document of the prelude, or within it.
    Prelude,
    PreludeDocument,
    BlockStart,
    BlockHeader,
    Documents,
}

/// An archive.
#[derive(Debug)]
pub(super) struct Archive {
    at: At,
    /// Whether each collection has ended; none begun where it is only named.
    collections: HashMap<(String, String), Progress>,
    names_bytes: usize,
    is_unsure: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Named,
    Begun,
    Ended,
}

impl Archive {
    pub(super) fn follow() -> Follow<Self> {
        let archive = Self { at: At::Magic, collections: HashMap::new(), names_bytes: 0, is_unsure: false };
        Follow::new(archive, 4)
    }

    fn to(&mut self, at: At, skip: u64, bytes: usize) -> Next {
        self.at = at;
        Next::Field { skip, bytes }
    }

    /// A length, or the mark: what follows. Documents are read where `read` is given, else passed over.
    fn length(&mut self, field: &[u8], at_mark: At, read: Option<At>) -> Next {
        if field == MARK {
            return self.to(at_mark, 0, 4);
        }
        let bytes = little(field);
        if !(5..=DOCUMENT_BYTES_MAX).contains(&bytes) {
            return Next::Damaged("the length of a document");
        }
        match read {
            Some(read) if bytes <= HEADER_BYTES_MAX => self.to(read, 0, bytes as usize - 4),
            Some(_) if self.at == At::BlockStart => Next::Damaged("the length of a block's header"),
            Some(_) => {
                self.is_unsure = true;
                self.to(self.at, bytes - 4, 4)
            }
            None => self.to(self.at, bytes - 4, 4),
        }
    }

    fn note(&mut self, document: &Document, progress: Progress) {
        let name = (document.database.clone(), document.collection.clone());
        self.names_bytes = self.names_bytes.saturating_add(name.0.len() + name.1.len());
        if self.collections.len() >= COLLECTIONS_MAX || self.names_bytes > NAMES_BYTES_MAX {
            self.is_unsure = true;
            return;
        }
        let place = self.collections.entry(name).or_insert(progress);
        if *place != Progress::Ended {
            *place = progress;
        }
    }
}

impl Fields for Archive {
    fn field(&mut self, field: &[u8], _: u64) -> Next {
        match self.at {
            At::Magic => self.to(At::Prelude, 0, 4),
            At::Prelude => self.length(field, At::BlockStart, Some(At::PreludeDocument)),
            At::PreludeDocument => {
                // The first document describes the archive; views have no data.
                let document = Document::read(field);
                if document.kind == "collection" {
                    self.note(&document, Progress::Named);
                }
                self.to(At::Prelude, 0, 4)
            }
            At::BlockStart if field == MARK => Next::Damaged("a block without a header"),
            At::BlockStart => self.length(field, At::BlockStart, Some(At::BlockHeader)),
            At::BlockHeader => {
                let document = Document::read(field);
                self.note(&document, if document.is_end { Progress::Ended } else { Progress::Begun });
                self.to(At::Documents, 0, 4)
            }
            At::Documents => self.length(field, At::BlockStart, None),
        }
    }

    fn end(&self, is_between: bool) -> End {
        let is = |wanted: Progress| self.collections.values().any(|progress| *progress == wanted);
        match self.at {
            At::BlockStart if !is_between => End::Cut("the start of a block"),
            At::BlockStart if is(Progress::Begun) => End::Cut("the data of a collection"),
            At::BlockStart if is(Progress::Named) || self.is_unsure => End::Unsure,
            At::BlockStart => End::Whole,
            At::Magic | At::Prelude | At::PreludeDocument => End::Cut("the list of collections"),
            At::BlockHeader | At::Documents => End::Cut("a block"),
        }
    }
}

/// What is wanted of a document.
#[derive(Debug, Default)]
struct Document {
    database: String,
    collection: String,
    kind: String,
    is_end: bool,
}

impl Document {
    /// Reads the fields of a document, without its length, as far as it makes sense.
    fn read(bytes: &[u8]) -> Self {
        let mut found = Self::default();
        let mut rest = bytes;
        while let Some(after) = found.element(rest) {
            rest = after;
        }
        found
    }

    /// Reads one field; gives what stands behind it.
    fn element<'a>(&mut self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let (kind, rest) = bytes.split_first().filter(|(kind, _)| **kind != 0)?;
        let end = memchr::memchr(0, rest)?;
        let (name, value) = (rest.get(..end)?, rest.get(end.checked_add(1)?..)?);
        let stated = || Some(little(value.get(..4)?) as usize);
        let len = match kind {
            0x01 | 0x09 | 0x11 | 0x12 => 8,
            0x02 => stated()?.checked_add(4)?,
            0x03 | 0x04 => stated()?,
            0x05 => stated()?.checked_add(5)?,
            0x07 => 12,
            0x08 => 1,
            0x0a => 0,
            0x10 => 4,
            _ => return None,
        };
        let (value, rest) = value.split_at_checked(len)?;
        let text = || {
            let text = value.get(4..value.len().saturating_sub(1)).unwrap_or_default();
            String::from_utf8_lossy(text).into_owned()
        };
        match (name, kind) {
            (b"db", 0x02) => self.database = text(),
            (b"collection", 0x02) => self.collection = text(),
            (b"type", 0x02) => self.kind = text(),
            (b"EOF", 0x08) => self.is_end = value == [1],
            _ => {}
        }
        Some(rest)
    }
}
