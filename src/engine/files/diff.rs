//! What became of files from one snapshot to another: two indexes, read side by side.

use super::{Tree, lies_below};
use crate::base::event::Cancel;
use crate::content::index::{Entry, IndexReader, Kind, Row};
use crate::engine::OpError;
use crate::engine::stream_reader::StreamReader;
use crate::vault::RepoError;
use std::cmp::Ordering;
use std::io::BufReader;
use std::sync::{Arc, Mutex};

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Became {
    /// It came.
    Added,
    /// It went.
    Removed,
    /// Its contents, or what it is, changed.
    Changed,
    /// It went to another path, with the same contents. [`super::Moves`] finds that out.
    Moved,
    /// Its contents are the same; mode, owner, times or attributes are not.
    Adorned,
}

/// Takes changes one after another: what became of a file, and its newer row, or the older one of a file that went.
pub type EachChange<'a> = dyn FnMut(Became, &Row) -> Result<(), OpError> + 'a;

impl Tree<'_> {
    /// Gives each file at or below a path that is another one in `after`, in the order of the indexes.
    ///
    /// # Errors
    /// When an index cannot be read, or whoever takes them fails.
    pub fn changes(
        &self,
        after: &Tree<'_>,
        below: &[u8],
        cancel: &Cancel,
        each: &mut EachChange<'_>,
    ) -> Result<(), OpError> {
        // Equal indexes have no differences, and are not read.
        if self.index.digest == after.index.digest {
            return Ok(());
        }
        let of = self.map.of;
        let (mut before, mut after) = (Rows::of(self), Rows::of(after));
        let (mut was, mut is) = (before.next_current()?, after.next_current()?);
        loop {
            if cancel.is_cancelled() {
                return Err(RepoError::Cancelled.into());
            }
            let order = match (&was, &is) {
                (None, None) => return Ok(()),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(was), Some(is)) => of.compare(&was.path, &is.path),
            };
            let old = if order.is_le() { was.take() } else { None };
            let new = if order.is_ge() { is.take() } else { None };
            let found = match (&old, &new) {
                (Some(old), Some(new)) => became(old, new).map(|became| (became, new)),
                (Some(old), None) => Some((Became::Removed, old)),
                (None, Some(new)) => Some((Became::Added, new)),
                (None, None) => None,
            };
            if let Some((became, row)) = found.filter(|(_, row)| lies_below(&row.path, below)) {
                each(became, row)?;
            }
            if old.is_some() {
                was = before.next_current()?;
            }
            if new.is_some() {
                is = after.next_current()?;
            }
        }
    }
}

/// What became of a file that is in both.
fn became(old: &Row, new: &Row) -> Option<Became> {
    match (&old.kind, &new.kind) {
        _ if old == new => None,
        (Kind::File { size, digest }, Kind::File { size: other, digest: of_other }) => {
            Some(if (size, digest) == (other, of_other) { Became::Adorned } else { Became::Changed })
        }
        (one, other) if one == other => Some(Became::Adorned),
        _ => Some(Became::Changed),
    }
}

/// The rows of an index, one after another.
pub(super) struct Rows<'a> {
    tree: &'a Tree<'a>,
    reader: IndexReader<BufReader<StreamReader>>,
    failure: Arc<Mutex<Option<RepoError>>>,
    section: std::vec::IntoIter<Entry>,
}

impl<'a> Rows<'a> {
    pub(super) fn of(tree: &'a Tree<'a>) -> Self {
        let reader = StreamReader::open(tree.chosen.repo(), tree.index.clone());
        let failure = reader.failure();
        let reader = IndexReader::new(tree.map.of, BufReader::with_capacity(256 << 10, reader));
        Self { tree, reader, failure, section: Vec::new().into_iter() }
    }

    /// The next row that is no old version of an object.
    fn next_current(&mut self) -> Result<Option<Row>, OpError> {
        loop {
            match self.next()? {
                Some(row) if row.is_old => {}
                row => return Ok(row),
            }
        }
    }

    /// The next row; none after the last, once the digest of the whole index was right.
    pub(super) fn next(&mut self) -> Result<Option<Row>, OpError> {
        loop {
            if let Some(entry) = self.section.next() {
                return Ok(Some(entry.row));
            }
            match self.reader.section() {
                Ok(Some(section)) => self.section = section.into_iter(),
                Ok(None) => return Ok(None),
                Err(error) => {
                    let failure = self.failure.lock().ok().and_then(|mut failure| failure.take());
                    return Err(failure.map_or_else(|| self.tree.wrong(&error), OpError::from));
                }
            }
        }
    }
}
