//! Numbers of the format that later programs give further meanings. One that this program does not know is kept as it
//! is, shown as unknown, and written back unchanged: a newer program's snapshot must not look damaged.

use minicbor::decode::{Decoder, Error as DecodeError};
use minicbor::encode::{Encoder, Error as EncodeError, Write};
use minicbor::{Decode, Encode};
use std::borrow::Cow;

/// What proves that a stream is whole. The order is that of the numbers, from weak to strong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proof {
    /// Nothing: a bare standard input of an unknown format.
    Unproven,
    /// Every process behind the stream exited with status 0.
    Exited,
    /// The stream's own structure is complete.
    Structure,
    /// Both.
    ExitedAndStructure,
    /// Something that a newer program knows.
    Other(Unknown),
}

impl Proof {
    /// Whether nothing at all says that the stream is whole.
    pub fn is_missing(self) -> bool {
        self == Self::Unproven
    }
}

/// How good a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Every stream of the source is in it.
    Complete,
    /// Some streams failed; they are named in the body.
    Partial,
    /// Whole, but so unlike its predecessors that a person should look.
    Suspect,
    /// Something that a newer program knows. Never taken for complete.
    Other(Unknown),
}

/// What kind of bytes a stream holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamFormat {
    /// Anything else; the attribute `content` may say what.
    Unknown,
    /// A pg_dump custom archive.
    PgCustom,
    /// A plain SQL script.
    PlainSql,
    /// A pg_dump tar archive.
    PgTar,
    /// A Redis RDB file.
    RedisRdb,
    /// The list of files of a folder.
    FileIndex,
    /// The bytes of those files.
    FileData,
    /// The list of objects of a bucket.
    ObjectIndex,
    /// The bytes of those objects.
    ObjectData,
    /// Settings of a source.
    Settings,
    /// A tar of a PostgreSQL base backup.
    BaseBackupTar,
    /// Something that a newer program knows.
    Other(Unknown),
}

/// What a stream's digest covers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DigestKind {
    /// All of its bytes.
    #[default]
    Whole,
    /// The digests of the files in it, in order: nobody has to read those that did not change.
    OfFiles,
    /// Something that a newer program knows.
    Other(Unknown),
}

/// A number without a meaning here. Made by decoding alone, so that a known meaning has one value only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unknown(u32);

/// The two directions between meanings and numbers, and the encoding.
macro_rules! numbered {
    ($name:ident { $($number:literal $variant:ident $word:literal,)+ }) => {
        impl $name {
            /// The number in the format.
            pub fn number(self) -> u32 {
                match self {
                    $(Self::$variant => $number,)+
                    Self::Other(Unknown(number)) => number,
                }
            }

            /// What a number of the format means.
            pub fn from_number(number: u32) -> Self {
                match number {
                    $($number => Self::$variant,)+
                    other => Self::Other(Unknown(other)),
                }
            }

            /// The word shown to people and in JSON.
            pub fn word(self) -> Cow<'static, str> {
                match self {
                    $(Self::$variant => Cow::Borrowed($word),)+
                    Self::Other(Unknown(number)) => Cow::Owned(format!("unknown ({number})")),
                }
            }
        }

        impl<C> Encode<C> for $name {
            fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
                e.u32(self.number())?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
                d.u32().map(Self::from_number)
            }
        }
    };
}

numbered!(Proof {
    0 Unproven "unproven",
    1 Exited "exit-status",
    2 Structure "structure",
    3 ExitedAndStructure "exit-status+structure",
});

numbered!(State {
    1 Complete "complete",
    2 Partial "partial",
    3 Suspect "suspect",
});

numbered!(DigestKind {
    0 Whole "blake3",
    1 OfFiles "blake3-of-files",
});

numbered!(StreamFormat {
    0 Unknown "unknown",
    1 PgCustom "pg_dump-custom",
    2 PlainSql "plain-sql",
    3 PgTar "pg_dump-tar",
    4 RedisRdb "redis-rdb",
    5 FileIndex "file-index",
    6 FileData "file-data",
    7 ObjectIndex "object-index",
    8 ObjectData "object-data",
    9 Settings "settings",
    10 BaseBackupTar "base-backup-tar",
});

impl StreamFormat {
    /// Whether it is the list of what another stream holds.
    pub fn is_index(self) -> bool {
        matches!(self, Self::FileIndex | Self::ObjectIndex)
    }

    /// Whether it is what the rows of an index are of.
    pub fn is_contents(self) -> bool {
        matches!(self, Self::FileData | Self::ObjectData)
    }
}

impl State {
    /// Whether nothing speaks against the snapshot's streams: those that are in it are as good as their backup could
    /// tell.
    pub fn is_trusted(self) -> bool {
        matches!(self, Self::Complete | Self::Partial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_number_of_a_newer_program_then_it_is_kept_and_shown() {
        for number in [0u32, 1, 3, 4, 5, 11, 23, 24, 255, 256, 70_000, u32::MAX] {
            let bytes = minicbor::to_vec(number).unwrap();
            let format: StreamFormat = minicbor::decode(&bytes).unwrap();
            let state: State = minicbor::decode(&bytes).unwrap();
            let proof: Proof = minicbor::decode(&bytes).unwrap();
            assert_eq!((format.number(), state.number(), proof.number()), (number, number, number));
            assert_eq!(minicbor::to_vec(format).unwrap(), bytes);
            assert_eq!(minicbor::to_vec(state).unwrap(), bytes);
            assert_eq!(minicbor::to_vec(proof).unwrap(), bytes);
        }
        assert_eq!(StreamFormat::from_number(77).word(), "unknown (77)");
        assert_eq!(State::from_number(9).word(), "unknown (9)");
        assert!(!State::from_number(9).is_trusted());
        assert!(Proof::from_number(9) > Proof::ExitedAndStructure);
        assert_eq!(Proof::from_number(2), Proof::Structure);
    }
}
