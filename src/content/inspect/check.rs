//! What all checks of a stream's own structure have in common, and streams that are made of fields of known lengths.

use crate::content::rdb::KeyMap;
use std::fmt::Debug;

/// Follows one kind of content as it streams. It takes any bytes, in bounded memory, and says at the end what they
/// were.
pub(super) trait Check: Debug + Send {
    /// Takes the next bytes of the stream.
    fn push(&mut self, bytes: &[u8]);

    /// The end of the stream.
    fn finish(&mut self) -> End;

    /// After the end: the keys that were in it, where it is made of keys.
    fn keys(&mut self) -> Option<KeyMap> {
        None
    }
}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Whole by its own structure.
    Whole,
    /// By a checksum alone: what stands at this place is not known.
    WholeBySum(u64),
    /// Whole by its structure, and bytes of another kind follow from this place on.
    Followed(u64),
    /// Before its end, within that.
    Cut(&'static str),
    /// It makes no sense, from about this place on.
    Damaged { what: &'static str, at: u64 },
    /// Its structure does not say.
    Unsure,
}

/// Reads fields, one after another, and says what comes behind each.
pub(super) trait Fields: Debug + Send {
    /// A field is whole. `at` is where it begins.
    fn field(&mut self, field: &[u8], at: u64) -> Next;

    /// The stream ended right before a field (its first byte included), or within one, or in what is passed over.
    fn end(&self, is_between: bool) -> End;
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// So many bytes to pass over, then a field of so many.
    Field { skip: u64, bytes: usize },
    /// It makes no sense.
    Damaged(&'static str),
    /// The content has ended, before this field: what stands here is something else.
    Ended,
}

/// Follows fields.
#[derive(Debug)]
pub(super) struct Follow<F> {
    fields: F,
    field: Vec<u8>,
    wanted: usize,
    skip: u64,
    offset: u64,
    ended: Option<End>,
}

impl<F: Fields> Follow<F> {
    /// Begins with a field of so many bytes, at least one.
    pub(super) fn new(fields: F, wanted: usize) -> Self {
        Self { fields, field: Vec::new(), wanted, skip: 0, offset: 0, ended: None }
    }

    fn field_is_whole(&mut self) {
        let at = self.offset - self.field.len() as u64;
        match self.fields.field(&self.field, at) {
            // A field without bytes would be one for ever.
            Next::Field { skip, bytes } => (self.skip, self.wanted) = (skip, bytes.max(1)),
            Next::Damaged(what) => self.ended = Some(End::Damaged { what, at }),
            Next::Ended => self.ended = Some(End::Followed(at)),
        }
        self.field.clear();
    }
}

impl<F: Fields> Check for Follow<F> {
    fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() && self.ended.is_none() {
            let skipped = self.skip.min(rest.len() as u64);
            self.skip -= skipped;
            self.offset += skipped;
            rest = rest.get(skipped as usize..).unwrap_or_default();
            let part = rest.get(..self.wanted.saturating_sub(self.field.len())).unwrap_or(rest);
            self.field.extend_from_slice(part);
            self.offset += part.len() as u64;
            rest = rest.get(part.len()..).unwrap_or_default();
            if self.skip == 0 && self.field.len() == self.wanted {
                self.field_is_whole();
            }
        }
    }

    fn finish(&mut self) -> End {
        let is_between = self.skip == 0 && self.field.is_empty();
        self.ended.unwrap_or_else(|| self.fields.end(is_between))
    }
}

/// A little-endian number of up to eight bytes.
pub(super) fn little(bytes: &[u8]) -> u64 {
    bytes.iter().rev().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}
