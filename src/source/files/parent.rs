//! The parent's index, read beside the walk: both are in the same order.

use crate::content::index::{Change, Entry, IndexReader, Kind, Row, canonical};
use crate::source::files::facts::{change, mtime, special};
use rustix::fs::{FileType, Stat};
use std::cmp::Ordering;
use std::io::{BufReader, Read};
use std::ops::Range;

/// Finds paths in the parent's index, in order.
pub(super) struct ParentIndex {
    reader: IndexReader<BufReader<Box<dyn Read + Send>>>,
    section: std::vec::IntoIter<Entry>,
    next: Option<Entry>,
    /// Where in the parent's data the contents of `next` begin.
    offset: u64,
    has_ended: bool,
}

/// What the parent has of a path.
pub(super) struct Before {
    pub row: Row,
    pub change: Change,
    /// Its bytes in the parent's data.
    pub bytes: Range<u64>,
}

impl ParentIndex {
    pub fn new(input: Box<dyn Read + Send>) -> Self {
        let reader = IndexReader::new(BufReader::with_capacity(256 << 10, input));
        Self { reader, section: Vec::new().into_iter(), next: None, offset: 0, has_ended: false }
    }

    /// What it has of the path, which comes after all that were asked for before. Nothing more once it cannot be read: then all is read.
    pub fn find(&mut self, path: &[u8]) -> Option<Before> {
        loop {
            if self.next.is_none() {
                self.next = self.entry();
            }
            let entry = self.next.as_ref()?;
            match canonical(&entry.row.path, path) {
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
                    tracing::warn!("the parent's index: {error}; reading all further files");
                    self.has_ended = true;
                }
            }
        }
    }
}

impl Before {
    /// Whether a file that is as `stat` says is still the one that this row is of.
    pub fn is_unchanged(&self, stat: &Stat) -> bool {
        let now = change(stat, i64::MAX);
        let is_of_kind = match (&self.row.kind, FileType::from_raw_mode(stat.st_mode)) {
            (Kind::File { size, .. }, FileType::RegularFile) => u64::try_from(stat.st_size) == Ok(*size),
            (Kind::Directory, FileType::Directory) | (Kind::Symlink(_), FileType::Symlink) => true,
            (kind, _) => special(stat).as_ref() == Some(kind),
        };
        is_of_kind
            && self.change.is_clean
            && self.row.mtime == mtime(stat)
            && (self.change.ctime, self.change.inode) == (now.ctime, now.inode)
    }
}
