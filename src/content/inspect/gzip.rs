//! gzip (RFC 1952). Nothing but inflating tells where a member ends; then its checksum and length prove it.

use super::check::{Check, End, little};
use crc_fast::{CrcAlgorithm, Digest};
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

pub(super) const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
/// What was inflated last: as far back as data may refer.
const WINDOW_BYTES: usize = 32 << 10;
const HEADER_BYTES: usize = 10;
const TRAILER_BYTES: usize = 8;

const HAS_CHECKSUM: u8 = 0x02;
const HAS_EXTRA: u8 = 0x04;
const HAS_NAME: u8 = 0x08;
const HAS_COMMENT: u8 = 0x10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// The ten bytes that every member begins with.
    Header,
    ExtraLength,
    Extra {
        left: u64,
    },
    /// A text that ends with a zero.
    Text,
    HeaderChecksum {
        left: u64,
    },
    Body,
    Trailer,
    /// Zeros behind the last member.
    Padding,
    Ended(End),
}

/// Members one behind the other.
pub(super) struct Gzip {
    at: At,
    /// A member has ended.
    has_member: bool,
    field: Vec<u8>,
    /// Parts of the header that are still to come.
    flags: u8,
    inflater: Box<DecompressorOxide>,
    window: Vec<u8>,
    place: usize,
    sum: Digest,
    len: u64,
    offset: u64,
}

impl std::fmt::Debug for Gzip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gzip").field("at", &self.at).field("offset", &self.offset).finish_non_exhaustive()
    }
}

fn checksum() -> Digest {
    Digest::new(CrcAlgorithm::Crc32IsoHdlc)
}

impl Gzip {
    pub(super) fn new() -> Self {
        Self {
            at: At::Header,
            has_member: false,
            field: Vec::new(),
            flags: 0,
            inflater: Box::default(),
            window: vec![0; WINDOW_BYTES],
            place: 0,
            sum: checksum(),
            len: 0,
            offset: 0,
        }
    }

    /// Takes bytes up to the end of a part of a member; gives how many.
    fn part(&mut self, bytes: &[u8]) -> usize {
        match self.at {
            At::Header => self.fixed(bytes, HEADER_BYTES, Self::header),
            At::ExtraLength => {
                self.fixed(bytes, 2, |it, field| At::Extra { left: little(field) }.or_next(it))
            }
            At::Extra { left } | At::HeaderChecksum { left } => {
                let taken = left.min(bytes.len() as u64);
                let left = left - taken;
                self.at = match self.at {
                    At::Extra { .. } => At::Extra { left },
                    _ => At::HeaderChecksum { left },
                }
                .or_next(self);
                taken as usize
            }
            At::Text => match memchr::memchr(0, bytes) {
                Some(end) => {
                    self.at = self.next_part();
                    end + 1
                }
                None => bytes.len(),
            },
            At::Body => self.body(bytes),
            At::Trailer => self.fixed(bytes, TRAILER_BYTES, Self::trailer),
            At::Padding => {
                let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
                if zeros < bytes.len() {
                    self.at = At::Ended(End::Followed(self.offset + zeros as u64));
                }
                bytes.len()
            }
            At::Ended(_) => bytes.len(),
        }
    }

    fn fixed(&mut self, bytes: &[u8], wanted: usize, read: fn(&mut Self, &[u8]) -> At) -> usize {
        let part = bytes.get(..wanted.saturating_sub(self.field.len())).unwrap_or(bytes);
        self.field.extend_from_slice(part);
        // What follows a member may be none, and shorter than a header.
        let magic = self.field.iter().zip(&MAGIC).all(|(is, should)| is == should);
        if self.at == At::Header && !magic {
            let at = self.offset + part.len() as u64 - self.field.len() as u64;
            let is_padding = self.has_member && self.field.iter().all(|byte| *byte == 0);
            self.at = match is_padding {
                true => At::Padding,
                false => At::Ended(End::Followed(at)),
            };
            self.field.clear();
            return part.len();
        }
        if self.field.len() == wanted {
            let field = std::mem::take(&mut self.field);
            self.at = read(self, &field);
            self.field = field;
            self.field.clear();
        }
        part.len()
    }

    fn header(&mut self, header: &[u8]) -> At {
        self.flags = header.get(3).copied().unwrap_or_default();
        if self.flags & 0xe0 != 0 {
            return At::Ended(End::Damaged { what: "the flags of a member", at: self.offset });
        }
        self.next_part()
    }

    /// The next part of the header, or what it is a header of.
    fn next_part(&mut self) -> At {
        for (flag, at) in [
            (HAS_EXTRA, At::ExtraLength),
            (HAS_NAME, At::Text),
            (HAS_COMMENT, At::Text),
            (HAS_CHECKSUM, At::HeaderChecksum { left: 2 }),
        ] {
            if self.flags & flag != 0 {
                self.flags &= !flag;
                return at;
            }
        }
        self.inflater.init();
        (self.place, self.len, self.sum) = (0, 0, checksum());
        At::Body
    }

    fn body(&mut self, bytes: &[u8]) -> usize {
        let (status, taken, made) =
            decompress(&mut self.inflater, bytes, &mut self.window, self.place, TINFL_FLAG_HAS_MORE_INPUT);
        self.sum.update(self.window.get(self.place..self.place + made).unwrap_or_default());
        self.len = self.len.wrapping_add(made as u64);
        self.place = (self.place + made) % WINDOW_BYTES;
        match status {
            TINFLStatus::Done => self.at = At::Trailer,
            TINFLStatus::NeedsMoreInput | TINFLStatus::HasMoreOutput if taken + made > 0 => {}
            _ => self.at = At::Ended(End::Damaged { what: "compressed data", at: self.offset }),
        }
        taken
    }

    fn trailer(&mut self, trailer: &[u8]) -> At {
        let (sum, len) = trailer.split_at(4);
        let is_right = little(sum) == self.sum.finalize() && little(len) == self.len & 0xffff_ffff;
        self.has_member = true;
        match is_right {
            true => At::Header,
            false => At::Ended(End::Damaged { what: "the checksum of a member", at: self.offset }),
        }
    }
}

impl At {
    /// A part of the header, or the next one if nothing of it is left.
    fn or_next(self, of: &mut Gzip) -> At {
        match self {
            Self::Extra { left: 0 } | Self::HeaderChecksum { left: 0 } => of.next_part(),
            other => other,
        }
    }
}

impl Check for Gzip {
    fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = self.part(rest);
            self.offset += taken as u64;
            rest = rest.get(taken..).unwrap_or_default();
        }
    }

    fn finish(&mut self) -> End {
        match self.at {
            At::Ended(end) => end,
            At::Padding => End::Whole,
            At::Header if self.has_member && self.field.is_empty() => End::Whole,
            At::Header | At::ExtraLength | At::Extra { .. } | At::Text | At::HeaderChecksum { .. } => {
                End::Cut("the header of a member")
            }
            At::Body => End::Cut("compressed data"),
            At::Trailer => End::Cut("the checksum of a member"),
        }
    }
}
