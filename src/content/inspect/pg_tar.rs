//! The archive of `pg_dump -Ft`: a tar, and what its files say.

use super::tar::{Files, TarEnd, Walk};
use crate::content::pg::{ArchiveError, LargeObject, TableMap, TarSurvey};

/// Follows an archive as it streams.
#[derive(Debug)]
pub(super) struct PgTar {
    walk: Walk,
    survey: TarSurvey,
    bytes: u64,
}

impl Files for TarSurvey {
    fn begin(&mut self, name: &[u8], header_at: u64, at: u64) {
        Self::begin(self, name, header_at, at);
    }

    fn data(&mut self, bytes: &[u8]) {
        Self::data(self, bytes);
    }

    fn end(&mut self, end: u64, next_at: u64) {
        Self::end(self, end, next_at);
    }
}

impl PgTar {
    pub(super) fn new() -> Self {
        Self { walk: Walk::new(), survey: TarSurvey::new(), bytes: 0 }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.walk.push(bytes, &mut self.survey);
    }

    pub(super) fn edge(&self, number: usize) -> Option<u64> {
        self.survey.edge(number)
    }

    /// The end of the stream: the map, and where other bytes follow.
    pub(super) fn finish(self) -> Result<(TableMap, Option<u64>), ArchiveError> {
        match self.walk.finish() {
            TarEnd::Whole { behind } => Ok((self.survey.finish(self.bytes)?, behind)),
            TarEnd::Cut { .. } => Err(self.survey.cut(self.bytes)),
            TarEnd::Damaged { at } => {
                Err(ArchiveError::Damaged { what: "the header of a file in the tar", offset: at })
            }
        }
    }
}

/// Finds the large objects in a part of a tar archive, from a file's header on.
#[derive(Debug)]
pub struct ObjectFinder {
    walk: Walk,
    found: Found,
}

#[derive(Debug, Default)]
struct Found {
    open: Option<(u32, u64)>,
    objects: Vec<LargeObject>,
}

impl Files for Found {
    fn begin(&mut self, name: &[u8], _: u64, at: u64) {
        let number = name.strip_prefix(b"blob_").and_then(|rest| rest.strip_suffix(b".dat"));
        let number = number.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        self.open = number.map(|number| (number, at));
    }

    fn end(&mut self, end: u64, _: u64) {
        if let Some((number, at)) = self.open.take() {
            self.objects.push(LargeObject { number, range: at..end });
        }
    }
}

impl ObjectFinder {
    /// A part that begins at `offset` of the stream.
    pub fn at(offset: u64) -> Self {
        Self { walk: Walk::at(offset), found: Found::default() }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.walk.push(bytes, &mut self.found);
    }

    /// Those that are whole, in the order of the stream.
    pub fn finish(self) -> Vec<LargeObject> {
        self.found.objects
    }
}
