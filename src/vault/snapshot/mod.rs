//! Snapshots as values: what was backed up, when, and how it is known to be whole. Pure.
//!
//! | file | hides |
//! |---|---|
//! | `recipe` | the encoding of recipe nodes, and where nodes are cut |
//! | `retention` | which snapshots a policy keeps |
//! | `selection` | which snapshot a name means |

pub mod recipe;
pub mod retention;
pub mod selection;

pub use crate::base::calendar::CalendarTag;
pub use crate::base::numbers::{DigestKind, Proof, State, StreamFormat, Unknown};

use crate::base::id::{AuthorId, NodeId, SnapshotId, StreamDigest};
use crate::base::name::SeriesName;
use jiff::Timestamp;
use minicbor::bytes::{ByteArray, ByteVec};
use minicbor::{Decode, Encode};
use std::collections::BTreeMap;

/// The part of a snapshot that writers without the secret key can read, too.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Head {
    /// Name of the series.
    #[n(0)]
    pub series: String,
    /// Host that the series belongs to.
    #[n(1)]
    pub host: String,
    /// Moment of the dump, ms since the epoch.
    #[n(2)]
    pub time_ms: i64,
    /// How good it is.
    #[n(3)]
    pub state: State,
    /// The user's tags.
    #[n(4)]
    pub tags: Vec<String>,
    /// Position in the series, from 1.
    #[n(5)]
    pub counter: u64,
    /// The series' snapshot before.
    #[n(6)]
    pub predecessor: Option<SnapshotId>,
    /// Moment the backup ended, ms since the epoch.
    #[n(7)]
    pub finished_ms: i64,
    /// Time zone of the calendar tags.
    #[n(8)]
    pub time_zone: String,
    /// Calendar tags at commit.
    #[n(9)]
    pub calendar: Vec<String>,
    /// The weakest proof of its streams.
    #[n(10)]
    pub proof: Proof,
    /// Version of the program that wrote it.
    #[n(11)]
    pub program: String,
    /// Of a copy: the first snapshot that it is a copy of, in whatever repository that is.
    #[n(12)]
    pub origin: Option<SnapshotId>,
    /// Who wrote it.
    #[n(13)]
    pub author: AuthorId,
    /// The newest snapshots of other series that changed since this author's last one: should one of them be gone,
    /// somebody turned the storage back.
    #[n(14)]
    pub pins: Option<ByteVec>,
    /// The time was given, and lies more than a day back: sorted by time, never the newest while another is there,
    /// never a parent.
    #[n(15)]
    pub import: Option<bool>,
    /// Of a copy: the author of the original; shown only.
    #[n(16)]
    pub origin_author: Option<AuthorId>,
    /// The run over a system that it was made in: all snapshots of that have the same.
    #[n(17)]
    pub set: Option<ByteArray<16>>,
    /// The name of that system.
    #[n(18)]
    pub system: Option<String>,
    /// What the source is called in it.
    #[n(19)]
    pub role: Option<String>,
}

/// Of a snapshot: the run over a system that it was made in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetMember {
    /// The run: all of its snapshots have the same.
    pub set: SetId,
    /// The name of the system.
    pub system: Option<String>,
    /// What the source is called in it.
    pub role: String,
}

/// A run over a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SetId(pub [u8; 16]);

impl std::fmt::Display for SetId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Bytes of [`Head::pins`] at most.
pub const PINS_BYTES_MAX: usize = 64 << 10;

impl Head {
    /// The run over a system that it was made in, if it was.
    pub fn member(&self) -> Option<SetMember> {
        let set = SetId(**self.set.as_ref()?);
        Some(SetMember { set, system: self.system.clone(), role: self.role.clone().unwrap_or_default() })
    }

    /// Whether it is an import of an older dump.
    pub fn is_import(&self) -> bool {
        self.import == Some(true)
    }

    /// Whether the snapshot belongs to a series: of any host, where the name says none.
    pub fn is_of(&self, series: &SeriesName) -> bool {
        self.series == series.series && series.host.as_ref().is_none_or(|host| *host == self.host)
    }

    /// The snapshots that it pins.
    pub fn pinned_ids(&self) -> impl Iterator<Item = SnapshotId> {
        let ids = self.pins.as_ref().map_or(&[][..], |pins| pins.as_slice());
        ids.chunks_exact(SnapshotId::LEN).filter_map(SnapshotId::from_slice)
    }

    /// Moment of the dump. Times beyond what a calendar can show become the nearest that it can.
    pub fn time(&self) -> Timestamp {
        crate::base::clock::timestamp(self.time_ms)
    }
}

/// The part of a snapshot that only readers can read.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Body {
    /// The finished streams.
    #[n(0)]
    pub streams: Vec<Stream>,
    /// The streams that failed.
    #[n(1)]
    pub failed: Vec<FailedStream>,
    /// What the source was: kind, database, server version and so on.
    #[n(2)]
    pub source: BTreeMap<String, String>,
    /// The parent, where there was one.
    #[n(3)]
    pub parent: Option<SnapshotId>,
}

/// A stream that is not in the snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct FailedStream {
    /// Its name.
    #[n(0)]
    pub name: String,
    /// Why it failed.
    #[n(1)]
    pub reason: String,
}

/// The attribute of a stream of format 0 that says what its bytes are.
pub const CONTENT: &str = "content";

/// One stored stream.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Stream {
    /// Its name, unique in the snapshot.
    #[n(0)]
    pub name: String,
    /// Length in bytes.
    #[n(1)]
    pub bytes: u64,
    /// Plain BLAKE3 of all of it, or of what [`Stream::digest_kind`] says.
    #[n(2)]
    pub digest: StreamDigest,
    /// What proves that it is whole.
    #[n(3)]
    pub proof: Proof,
    /// Root of its recipe.
    #[n(4)]
    pub root: NodeId,
    /// What its bytes are.
    #[n(5)]
    pub format: StreamFormat,
    /// What storing it took.
    #[n(6)]
    pub stats: StreamStats,
    /// Server version and the like.
    #[n(7)]
    pub attributes: BTreeMap<String, String>,
    /// The encoded map of a dump's tables; absent where the stream is no dump that is looked into, and from older
    /// programs.
    #[n(8)]
    pub table_map: Option<ByteVec>,
    /// What the digest covers; absent for all bytes.
    #[n(9)]
    pub digest_kind: Option<DigestKind>,
}

impl Stream {
    /// What the digest covers.
    pub fn digest_kind(&self) -> DigestKind {
        self.digest_kind.unwrap_or_default()
    }
}

/// What storing a stream took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct StreamStats {
    /// Plain bytes stored for the first time.
    #[n(0)]
    pub bytes_new: u64,
    /// Plain bytes known by their chunk ids.
    #[n(1)]
    pub bytes_known: u64,
    /// Plain bytes found in the parent.
    #[n(2)]
    pub bytes_copied: u64,
    /// Bytes that the new data blocks take in packs.
    #[n(3)]
    pub bytes_stored: u64,
    /// Chunks met.
    #[n(4)]
    pub chunks: u64,
    /// Extents in the recipe.
    #[n(5)]
    pub extents: u64,
    /// Bytes that the new recipe blocks take in packs.
    #[n(6)]
    pub recipe_bytes_stored: u64,
    /// How long it took.
    #[n(7)]
    pub duration_ms: u64,
    /// Bytes of the parent that were read to compare; absent where nothing was compared.
    #[n(8)]
    pub bytes_parent_read: Option<u64>,
}

/// A committed snapshot: its id and head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Its id.
    pub id: SnapshotId,
    /// Its head.
    pub head: Head,
    /// When it was stored: by the storage's clock, and never before this host last looked without seeing it. Ms since
    /// the epoch.
    pub stored_ms: i64,
    /// Its time is not believed: its author may only add, and says a time that does not fit when it was stored.
    pub is_doubtful: bool,
    /// Its author may do everything, and not only add.
    pub by_full: bool,
}

/// Where a snapshot stands among those of its series; the greatest is the newest.
pub type Rank = (bool, bool, u64, i64, SnapshotId);

impl Summary {
    /// Which of a series' snapshots is the newest: by counter, then by when it was stored; of imports by time. A
    /// doubtful one, or an import, is so only where there is no other.
    pub fn rank(&self) -> Rank {
        let is_import = self.head.is_import();
        let last = if is_import { self.head.time_ms } else { self.stored_ms };
        (!self.is_doubtful, !is_import, self.head.counter, last, self.id)
    }
}
