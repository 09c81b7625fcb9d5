//! Zstandard (RFC 8878) and LZ4 frames: each block states its length, so that the end is found without decompressing.

use super::check::{End, Fields, Follow, Next, little};

pub(super) const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
pub(super) const LZ4: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];

/// Whether four bytes open a frame that decoders pass over.
pub(super) fn is_skippable(magic: &[u8]) -> bool {
    matches!(magic, [0x50..=0x5f, 0x2a, 0x4d, 0x18])
}

/// Where in a frame the next field is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Magic,
    SkippableLength,
    ZstdDescriptor,
    ZstdBlock { checksum: u64 },
    Lz4Descriptor,
    Lz4Block { block_checksum: u64, checksum: u64 },
}

/// A stream of frames.
#[derive(Debug)]
pub(super) struct Frames {
    at: At,
    /// A frame with content has come.
    has_content: bool,
}

impl Frames {
    pub(super) fn follow() -> Follow<Self> {
        Follow::new(Self { at: At::Magic, has_content: false }, 4)
    }

    fn to(&mut self, at: At, skip: u64, bytes: usize) -> Next {
        self.at = at;
        Next::Field { skip, bytes }
    }
}

impl Fields for Frames {
    fn field(&mut self, field: &[u8], _: u64) -> Next {
        let first = field.first().copied().unwrap_or_default();
        match self.at {
            At::Magic if field == ZSTD => {
                self.has_content = true;
                self.to(At::ZstdDescriptor, 0, 1)
            }
            At::Magic if field == LZ4 => {
                self.has_content = true;
                self.to(At::Lz4Descriptor, 0, 1)
            }
            At::Magic if is_skippable(field) => self.to(At::SkippableLength, 0, 4),
            At::Magic => Next::Ended,
            At::SkippableLength => self.to(At::Magic, little(field), 4),
            At::ZstdDescriptor => {
                let is_single = first & 0x20 != 0;
                let dictionary = [0, 1, 2, 4].get(usize::from(first & 3)).copied().unwrap_or(0);
                let content = match first >> 6 {
                    0 => u64::from(is_single),
                    power => 1 << power,
                };
                let checksum = if first & 4 != 0 { 4 } else { 0 };
                self.to(At::ZstdBlock { checksum }, u64::from(!is_single) + dictionary + content, 3)
            }
            At::ZstdBlock { checksum } => {
                let header = little(field);
                let bytes = match header >> 1 & 3 {
                    0 | 2 => header >> 3,
                    1 => 1,
                    _ => return Next::Damaged("a block of a reserved type"),
                };
                match header & 1 {
                    0 => self.to(self.at, bytes, 3),
                    _ => self.to(At::Magic, bytes + checksum, 4),
                }
            }
            At::Lz4Descriptor if first >> 6 != 1 => Next::Damaged("a frame of an unknown version"),
            At::Lz4Descriptor => {
                let of = |bit: u8, bytes: u64| if first & bit != 0 { bytes } else { 0 };
                let at = At::Lz4Block { block_checksum: of(0x10, 4), checksum: of(0x04, 4) };
                // A byte of block sizes, content size, dictionary, the header's checksum.
                self.to(at, 2 + of(0x08, 8) + of(0x01, 4), 4)
            }
            At::Lz4Block { block_checksum, checksum } => match little(field) & 0x7fff_ffff {
                0 => self.to(At::Magic, checksum, 4),
                bytes => self.to(self.at, bytes + block_checksum, 4),
            },
        }
    }

    fn end(&self, is_between: bool) -> End {
        match (self.at, is_between) {
            (At::Magic, true) if self.has_content => End::Whole,
            (At::Magic, _) => End::Cut("a frame, or the start of another"),
            _ => End::Cut("a frame"),
        }
    }
}
