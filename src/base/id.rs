//! Identifiers: every kind of id is a type of its own, and prints as lower-case hex.

use std::fmt;
use std::str::FromStr;

/// A string that is not the hex form of an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an id: expected {expected_hex_digits} hexadecimal digits")]
pub struct ParseIdError {
    text: String,
    expected_hex_digits: usize,
}

/// Decodes exactly `N` bytes of hex; `None` when length or digits are wrong.
fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != N * 2 {
        return None;
    }
    let mut bytes = [0u8; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        // Lower case only: an object has one name.
        *byte = hex_digit(*high)? << 4 | hex_digit(*low)?;
    }
    Some(bytes)
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Length of the id in bytes.
            pub const LEN: usize = $len;

            /// Wraps raw bytes.
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// Wraps a slice; `None` when it does not hold exactly [`Self::LEN`] bytes.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// The raw bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// The first eight hex digits, for people.
            pub fn short(&self) -> String {
                self.to_string().chars().take(8).collect()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }

        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
                Self::from_slice(d.bytes()?).ok_or_else(|| minicbor::decode::Error::message("an id of another length"))
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                parse_hex(text).map(Self).ok_or_else(|| ParseIdError {
                    text: text.to_owned(),
                    expected_hex_digits: $len * 2,
                })
            }
        }
    };
}

id_type!(
    /// Random identity of a repository, in the header of each of its objects.
    RepoId,
    16
);
id_type!(
    /// Keyed BLAKE3-256 of a chunk's plain bytes.
    ChunkId,
    32
);
id_type!(
    /// Keyed BLAKE3-256 of a recipe node's plain bytes (another key than a chunk's).
    NodeId,
    32
);
id_type!(
    /// BLAKE3-256 of a pack object's bytes.
    PackId,
    32
);
id_type!(
    /// BLAKE3-256 of an index object's bytes.
    IndexId,
    32
);
id_type!(
    /// BLAKE3-256 of a snapshot object's bytes.
    SnapshotId,
    32
);
id_type!(
    /// BLAKE3-256 of a mark object's bytes.
    MarkId,
    32
);
id_type!(
    /// BLAKE3-256 of a prune plan's bytes.
    PlanId,
    32
);
id_type!(
    /// Random name of a session: of one backup or prune that is under way.
    SessionId,
    16
);
id_type!(
    /// BLAKE3-256 of a key slot object's bytes.
    SlotId,
    32
);
id_type!(
    /// Random name of an author: of one key, over rotations, new passphrases and further slots.
    AuthorId,
    16
);
id_type!(
    /// BLAKE3-256 of a statement object's bytes.
    StatementId,
    32
);
id_type!(
    /// BLAKE3-256 of an epoch object's bytes.
    EpochId,
    32
);
id_type!(
    /// Plain BLAKE3-256 of a whole stream: what `b3sum` prints for the same bytes.
    StreamDigest,
    32
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trips_and_rejects_anything_else() {
        let id = RepoId::from_bytes(*b"0123456789abcdef");
        assert_eq!(id.to_string().parse::<RepoId>(), Ok(id));
        assert_eq!(id.short(), "30313233");
        for bad in ["", "30", "zz313233343536373839616263646566", "3031323334353637383961626364656F"] {
            assert!(bad.parse::<RepoId>().is_err(), "{bad}");
        }
    }
}
