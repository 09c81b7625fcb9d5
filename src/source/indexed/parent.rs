//! The parent's index, read beside the walk or the listing: both are in the same order.

use crate::content::index::{Change, Entry, IndexReader, Of, Row};
use std::cmp::Ordering;
use std::io::{BufReader, Read};
use std::ops::Range;

/// Finds paths or keys in the parent's index, in order.
pub(crate) struct ParentIndex {
    of: Of,
    reader: IndexReader<BufReader<Box<dyn Read + Send>>>,
    section: std::vec::IntoIter<Entry>,
    next: Option<Entry>,
    /// Where in the parent's data the contents of `next` begin.
    offset: u64,
    has_ended: bool,
}

/// What the parent has of a path or key.
pub(crate) struct Before {
    pub row: Row,
    pub change: Change,
    /// Its bytes in the parent's data.
    pub bytes: Range<u64>,
}

impl ParentIndex {
    pub(crate) fn new(of: Of, input: Box<dyn Read + Send>) -> Self {
        let reader = IndexReader::new(of, BufReader::with_capacity(256 << 10, input));
        Self { of, reader, section: Vec::new().into_iter(), next: None, offset: 0, has_ended: false }
    }

    /// What it has of a path or key, which comes after all that were asked for before. Nothing more once it cannot be
    /// read: then all is read.
    pub(crate) fn find(&mut self, path: &[u8]) -> Option<Before> {
        loop {
            if self.next.is_none() {
                self.next = self.entry();
            }
            let entry = self.next.as_ref()?;
            match self.of.compare(&entry.row.path, path) {
                Ordering::Greater => return None,
                order => {
                    let len = entry.row.data_bytes();
                    let Some(end) = self.offset.checked_add(len) else {
                        self.has_ended = true;
                        return None;
                    };
                    let bytes = std::mem::replace(&mut self.offset, end)..end;
                    let entry = self.next.take()?;
                    if order == Ordering::Equal {
                        return Some(Before { row: entry.row, change: entry.change, bytes });
                    }
                }
            }
        }
    }

    /// All that it has of a key: the current version, and those behind it.
    pub(crate) fn versions(&mut self, key: &[u8]) -> Vec<Before> {
        std::iter::from_fn(|| self.find(key)).collect()
    }

    fn entry(&mut self) -> Option<Entry> {
        loop {
            if let Some(entry) = self.section.next() {
                return Some(entry);
            }
            if self.has_ended {
                return None;
            }
            match self.reader.section() {
                Ok(Some(section)) => self.section = section.into_iter(),
                Ok(None) => self.has_ended = true,
                Err(error) => {
                    tracing::warn!("the parent's index: {error}; reading all that follows");
                    self.has_ended = true;
                }
            }
        }
    }
}
