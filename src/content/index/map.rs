//! The section map: where in the index a section is, and where in the data its files are.

use super::{IndexError, MAGIC_BYTES, Of, malformed};
use minicbor::bytes::ByteSlice;
use minicbor::{Decode, Encode};
use std::ops::Range;

/// The encoding's version; version 1 are table maps.
const VERSION: u32 = 2;
/// No encoded map may be larger.
const MAP_BYTES_MAX: usize = 64 << 20;

/// One section.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Section {
    /// Path of its first row.
    pub first: Vec<u8>,
    /// Bytes that it takes in the index.
    pub index_bytes: u64,
    /// Its rows.
    pub rows: u64,
    /// Bytes that its files take in the data.
    pub data_bytes: u64,
    /// Rows that the next backup may rely on.
    pub clean_rows: u64,
}

/// All sections of an index, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SectionMap {
    /// What the index is of.
    pub of: Of,
    /// The sections.
    pub sections: Vec<Section>,
}

/// A section, and where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed<'a> {
    /// The section.
    pub section: &'a Section,
    /// Its bytes in the index.
    pub index: Range<u64>,
    /// Its files' bytes in the data.
    pub data: Range<u64>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Stored<'a> {
    #[n(0)]
    version: u32,
    #[n(1)]
    kind: u32,
    #[cbor(b(2))]
    sections: Vec<StoredSection<'a>>,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct StoredSection<'a> {
    #[n(0)]
    shared: u64,
    #[cbor(b(1))]
    suffix: &'a ByteSlice,
    #[n(2)]
    index_bytes: u64,
    #[n(3)]
    rows: u64,
    #[n(4)]
    data_bytes: u64,
    #[n(5)]
    clean_rows: u64,
}

impl Of {
    /// Its number in a map.
    fn kind(self) -> u32 {
        match self {
            Self::Files => 1,
            Self::Objects => 2,
        }
    }
}

impl SectionMap {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut last: &[u8] = &[];
        let stored = self.sections.iter().map(|section| {
            let shared = section.first.iter().zip(last).take_while(|(one, other)| one == other).count();
            last = &section.first;
            StoredSection {
                shared: shared as u64,
                suffix: section.first.get(shared..).unwrap_or_default().into(),
                index_bytes: section.index_bytes,
                rows: section.rows,
                data_bytes: section.data_bytes,
                clean_rows: section.clean_rows,
            }
        });
        let stored = Stored { version: VERSION, kind: self.of.kind(), sections: stored.collect() };
        // Writing into memory does not fail.
        minicbor::to_vec(&stored).unwrap_or_default()
    }

    /// Whether bytes are a map of this kind, as far as their beginning says.
    pub fn is_meant(bytes: &[u8]) -> bool {
        Self::of(bytes).is_some()
    }

    fn of(bytes: &[u8]) -> Option<Of> {
        // A map of three with 0: 2, 1: the kind.
        let is_its = |of: &Of| bytes.starts_with(&[0xa3, 0x00, VERSION as u8, 0x01, of.kind() as u8]);
        [Of::Files, Of::Objects].into_iter().find(is_its)
    }

    /// Reads a map.
    ///
    /// # Errors
    /// When it is one of another kind, or makes no sense.
    pub fn decode(bytes: &[u8]) -> Result<Self, IndexError> {
        if bytes.len() > MAP_BYTES_MAX {
            return Err(malformed("a map too large"));
        }
        let of = Self::of(bytes).ok_or(IndexError::OtherMap)?;
        let stored: Stored<'_> =
            minicbor::decode(bytes).map_err(|_| malformed("a map that cannot be read"))?;
        let mut map = Self { of, ..Self::default() };
        let (mut index_bytes, mut data_bytes, mut path_bytes) = (MAGIC_BYTES as u64, 0u64, 0usize);
        for StoredSection { shared, suffix, index_bytes: index, rows, data_bytes: data, clean_rows } in
            stored.sections
        {
            let last = map.sections.last().map_or(&[][..], |section: &Section| &section.first);
            let front = usize::try_from(shared).ok().and_then(|shared| last.get(..shared));
            let first = [front.ok_or(malformed("a path that shares more than there is"))?, suffix].concat();
            of.check(&first)?;
            // Shared beginnings make paths out of nothing: what they come to is bounded, too.
            path_bytes += first.len();
            index_bytes = index_bytes.checked_add(index).ok_or(malformed("lengths overflow"))?;
            data_bytes = data_bytes.checked_add(data).ok_or(malformed("lengths overflow"))?;
            if rows == 0 || clean_rows > rows || index < rows || path_bytes > 4 * MAP_BYTES_MAX {
                return Err(malformed("a section that cannot be"));
            }
            map.sections.push(Section { first, index_bytes: index, rows, data_bytes: data, clean_rows });
        }
        Ok(map)
    }

    /// Every section with its places.
    pub fn placed(&self) -> impl Iterator<Item = Placed<'_>> {
        let (mut index, mut data) = (MAGIC_BYTES as u64, 0u64);
        self.sections.iter().map(move |section| {
            let from = (index, data);
            index = index.saturating_add(section.index_bytes);
            data = data.saturating_add(section.data_bytes);
            Placed { section, index: from.0..index, data: from.1..data }
        })
    }

    /// Rows of all sections.
    pub fn rows(&self) -> u64 {
        self.sections.iter().fold(0, |sum, section| sum.saturating_add(section.rows))
    }

    /// Bytes of the data.
    pub fn data_bytes(&self) -> u64 {
        self.sections.iter().fold(0, |sum, section| sum.saturating_add(section.data_bytes))
    }
}
