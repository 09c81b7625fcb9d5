//! The 32 bytes that every object begins with.

use super::FormatError;
use crate::base::id::RepoId;

/// Length of a header in bytes.
pub const HEADER_BYTES: usize = 32;

const MAGIC: [u8; 8] = *b"\x89DVLT\r\n\x1a";
const VERSION: u8 = 1;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectType {
    /// `config`
    Config,
    /// `keys/…`
    KeySlot,
    /// `packs/…`
    Pack,
    /// `index/…`
    Index,
    /// `snapshots/…`
    Snapshot,
    /// `marks/…`
    Mark,
    /// `sessions/…`
    Session,
    /// `gc/…`
    PrunePlan,
    /// `authors/…`
    Author,
    /// `epochs/…`
    Epoch,
}

impl ObjectType {
    fn number(self) -> u8 {
        match self {
            Self::Config => 1,
            Self::KeySlot => 2,
            Self::Pack => 3,
            Self::Index => 4,
            Self::Snapshot => 5,
            Self::Mark => 6,
            Self::Session => 7,
            Self::PrunePlan => 8,
            Self::Author => 9,
            Self::Epoch => 10,
        }
    }
}

/// The incompatible feature of snapshots with digests of another kind than of all bytes.
pub const OTHER_DIGESTS: u16 = 1;
/// The incompatible feature of packs with blocks that are stored by column, and of index objects that name such packs.
pub const COLUMNS: u16 = 2;

/// A header of format version 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the object is.
    pub kind: ObjectType,
    /// Key epoch that it is sealed in.
    pub epoch: u16,
    /// Repository that it belongs to.
    pub repo: RepoId,
}

impl Header {
    /// The header's bytes.
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let parts: [&[u8]; 5] = [
            &MAGIC,
            &[self.kind.number(), VERSION],
            &[0; 4],
            &self.epoch.to_le_bytes(),
            self.repo.as_bytes(),
        ];
        bytes.iter_mut().zip(parts.into_iter().flatten()).for_each(|(to, from)| *to = *from);
        bytes
    }

    /// The header's bytes, with these incompatible features.
    pub fn with_features(&self, features: u16) -> [u8; HEADER_BYTES] {
        let mut bytes = self.to_bytes();
        let [.., i0, i1, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = &mut bytes;
        [*i0, *i1] = features.to_le_bytes();
        bytes
    }

    /// The incompatible features of a header.
    pub fn features_of(bytes: &[u8; HEADER_BYTES]) -> u16 {
        let [_, _, _, _, _, _, _, _, _, _, i0, i1, ..] = *bytes;
        u16::from_le_bytes([i0, i1])
    }

    /// The key epoch that an object claims, whatever its version: where that stands is the same in all of them.
    pub fn epoch_of(bytes: &[u8]) -> Option<u16> {
        let (raw, _) = bytes.split_first_chunk::<HEADER_BYTES>()?;
        let [.., e0, e1, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = raw;
        Some(u16::from_le_bytes([*e0, *e1]))
    }

    /// Reads the header at the front of `bytes`; the rest of the object is the second part of the answer.
    ///
    /// # Errors
    /// When it is no header of `kind` that this program can read, or not of `repo` (where given).
    pub fn read<'a>(
        bytes: &'a [u8],
        kind: ObjectType,
        repo: Option<&RepoId>,
    ) -> Result<(Self, [u8; HEADER_BYTES], &'a [u8]), FormatError> {
        let (raw, rest) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(FormatError::CutShort)?;
        let [magic @ .., k, version, _, _, _, _, e0, e1, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] =
            raw;
        if *magic != MAGIC {
            return Err(FormatError::NotOurs);
        }
        if *version != VERSION {
            return Err(FormatError::NewerVersion { version: *version });
        }
        let features = Self::features_of(raw);
        let known = match kind {
            ObjectType::Snapshot => OTHER_DIGESTS,
            ObjectType::Pack | ObjectType::Index => COLUMNS,
            _ => 0,
        };
        if features & !known != 0 {
            return Err(FormatError::UnknownFeatures { bits: features });
        }
        if *k != kind.number() {
            return Err(FormatError::WrongType { actual: *k, expected: kind });
        }
        let actual = RepoId::from_slice(&raw[16..]).ok_or(FormatError::CutShort)?;
        if repo.is_some_and(|repo| *repo != actual) {
            return Err(FormatError::OtherRepository { actual });
        }
        let header = Self { kind, epoch: u16::from_le_bytes([*e0, *e1]), repo: actual };
        Ok((header, *raw, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPO: RepoId = RepoId::from_bytes([5; 16]);
    const HEADER: Header = Header { kind: ObjectType::Index, epoch: 0x0102, repo: REPO };

    #[test]
    fn a_header_round_trips() {
        let mut bytes = HEADER.to_bytes().to_vec();
        bytes.extend(b"rest");
        let (read, raw, rest) = Header::read(&bytes, ObjectType::Index, Some(&REPO)).unwrap();
        assert_eq!((read, raw, rest), (HEADER, HEADER.to_bytes(), b"rest".as_slice()));
        assert_eq!((Header::epoch_of(&bytes), Header::epoch_of(b"short")), (Some(0x0102), None));
    }

    #[test]
    fn anything_else_is_refused_with_its_reason() {
        let with = |at: usize, value: u8| {
            let mut bytes = HEADER.to_bytes();
            bytes[at] = value;
            Header::read(&bytes, ObjectType::Index, Some(&REPO)).unwrap_err()
        };
        assert!(matches!(with(0, 0), FormatError::NotOurs));
        assert!(matches!(with(8, 3), FormatError::WrongType { actual: 3, .. }));
        assert!(matches!(with(9, 2), FormatError::NewerVersion { version: 2 }));
        assert!(matches!(with(10, 1), FormatError::UnknownFeatures { bits: 1 }));
        let snapshot = Header { kind: ObjectType::Snapshot, ..HEADER };
        let read = |features| {
            let raw = snapshot.with_features(features);
            Header::read(&raw, ObjectType::Snapshot, None).map(|(header, ..)| header)
        };
        assert_eq!(read(OTHER_DIGESTS).unwrap(), snapshot);
        assert!(matches!(read(3), Err(FormatError::UnknownFeatures { bits: 3 })));
        assert_eq!(snapshot.with_features(1)[10..12], [1, 0]);
        for kind in [ObjectType::Pack, ObjectType::Index, ObjectType::Snapshot] {
            let raw = Header { kind, ..HEADER }.with_features(COLUMNS);
            let outcome = Header::read(&raw, kind, None);
            assert_eq!(outcome.is_ok(), kind != ObjectType::Snapshot);
        }
        assert!(matches!(with(31, 0), FormatError::OtherRepository { .. }));
        assert!(matches!(Header::read(&[0x89], ObjectType::Index, None), Err(FormatError::CutShort)));
    }
}
