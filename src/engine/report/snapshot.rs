//! Snapshots and streams, wherever they are reported, and what went over the wire.

use super::{Id, Time};
use crate::engine::listing::{Seen, sizes};
use crate::storage;
use crate::vault::reader::ReadCost;
use crate::vault::snapshot::{CONTENT, FailedStream, Stream, StreamFormat, Summary};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// A snapshot. What only its body tells is null where the body cannot be read: for want of a full key, or because it is
/// damaged.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Snapshot_of_{S}")]
pub struct Snapshot<S = StreamReport> {
    /// Its id.
    pub id: Id,
    /// Moment of the dump.
    pub time: Time,
    /// Moment the backup ended.
    pub finished: Time,
    /// Name of the series.
    pub series: String,
    /// Host that the series belongs to.
    pub host: String,
    /// Calendar tags, then the user's.
    pub tags: Vec<String>,
    /// How good it is: `complete`, `partial`, `suspect`.
    pub state: String,
    /// The weakest proof of its streams that they are whole.
    pub proof: String,
    /// Position in the series, from 1.
    pub counter: u64,
    /// The series' snapshot before.
    pub predecessor: Option<Id>,
    /// The snapshot that its streams were compared with.
    pub parent: Option<Id>,
    /// Plain bytes of its streams.
    pub bytes: Option<u64>,
    /// Bytes that it took in the storage when it was made, without padding.
    pub bytes_stored: Option<u64>,
    /// How long its streams flowed.
    pub duration_ms: Option<u64>,
    /// Streams that were stored.
    pub streams: Option<Vec<S>>,
    /// Streams that failed.
    pub failed: Option<Vec<Failed>>,
    /// What the source is: kind, database and the like.
    pub source: Option<BTreeMap<String, String>>,
    /// The run over a system that it was made in; null where it was not. All snapshots of a run have the same.
    pub set: Option<Id>,
    /// The name of that system.
    pub system: Option<String>,
    /// What the source is called in it.
    pub role: Option<String>,
}

/// A stream that failed.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "FailedStream")]
pub struct Failed {
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// A stream.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Stream")]
pub struct StreamReport {
    /// Its name.
    pub name: String,
    /// Plain bytes.
    pub bytes: u64,
    /// BLAKE3-256 of the plain bytes.
    pub blake3: Id,
    /// What proves that it is whole.
    pub proof: String,
    /// What its bytes are: `pg-custom`, `text` and the like.
    pub format: String,
    /// Plain bytes that were new.
    pub bytes_new: u64,
    /// Plain bytes known by their chunk ids.
    pub bytes_known: u64,
    /// Plain bytes found in the parent.
    pub bytes_copied: u64,
    /// Bytes that its data took in packs when it was made.
    pub bytes_stored: u64,
    /// Bytes that its recipe took.
    pub recipe_bytes_stored: u64,
    /// Chunks met.
    pub chunks: u64,
    /// Entries of its recipe.
    pub extents: u64,
    /// Bytes of the parent that were read to compare; null where none was compared with.
    pub bytes_parent_read: Option<u64>,
    /// How long it flowed.
    pub duration_ms: u64,
    /// What else is known of it.
    pub attributes: BTreeMap<String, String>,
}

/// A stream, and what a restore of it reads.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ShownStream {
    /// What is known without a closer look.
    #[serde(flatten)]
    pub stream: StreamReport,
    /// Left out where the recipe cannot be followed.
    #[serde(flatten)]
    pub reads: Option<RestoreReads>,
}

/// What a restore of a stream reads.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RestoreReads {
    /// Blocks that a restore opens. Left out, as the three below, where the recipe cannot be followed.
    pub blocks: usize,
    /// Ranges of blocks that the stream is put together from.
    pub ranges: u64,
    /// Stored bytes that a restore reads.
    pub bytes_restore_reads: u64,
    /// How many times what the stream takes by itself that is.
    pub read_amplification: f64,
}

impl From<&ReadCost> for RestoreReads {
    fn from(cost: &ReadCost) -> Self {
        Self {
            blocks: cost.blocks.len(),
            ranges: cost.extents,
            bytes_restore_reads: cost.stored_read,
            read_amplification: cost.read_amplification(),
        }
    }
}

impl Snapshot {
    /// A snapshot with these tags.
    pub fn new(seen: &Seen, tags: Vec<String>) -> Self {
        Self::with(seen, tags, |_, stream| stream.into())
    }
}

impl<S> Snapshot<S> {
    /// The same; `each` tells of a stream, by its position.
    pub fn with(seen: &Seen, tags: Vec<String>, each: impl Fn(usize, &Stream) -> S) -> Self {
        let Summary { id, head, .. } = &seen.summary;
        let body = seen.body.as_ref();
        let (plain, stored) = body.map(sizes).unzip();
        Self {
            id: Id::of(id),
            time: head.time().into(),
            finished: Time::from_ms(head.finished_ms),
            series: head.series.clone(),
            host: head.host.clone(),
            tags,
            state: head.state.word().into_owned(),
            proof: head.proof.word().into_owned(),
            counter: head.counter,
            predecessor: head.predecessor.map(Id::of),
            parent: body.and_then(|body| body.parent).map(Id::of),
            bytes: plain,
            bytes_stored: stored,
            duration_ms: body.map(|body| body.streams.iter().map(|stream| stream.stats.duration_ms).sum()),
            streams: body
                .map(|body| body.streams.iter().enumerate().map(|(at, stream)| each(at, stream)).collect()),
            failed: body.map(|body| body.failed.iter().map(Failed::from).collect()),
            source: body.map(|body| body.source.clone()),
            set: head.member().map(|member| Id::of(member.set)),
            system: head.system.clone(),
            role: head.role.clone(),
        }
    }
}

impl From<&FailedStream> for Failed {
    fn from(failed: &FailedStream) -> Self {
        Self { name: failed.name.clone(), reason: failed.reason.clone() }
    }
}

impl From<&Stream> for StreamReport {
    fn from(stream: &Stream) -> Self {
        let stats = &stream.stats;
        Self {
            name: stream.name.clone(),
            bytes: stream.bytes,
            blake3: Id::of(stream.digest),
            proof: stream.proof.word().into_owned(),
            format: format_word(stream),
            bytes_new: stats.bytes_new,
            bytes_known: stats.bytes_known,
            bytes_copied: stats.bytes_copied,
            bytes_stored: stats.bytes_stored,
            recipe_bytes_stored: stats.recipe_bytes_stored,
            chunks: stats.chunks,
            extents: stats.extents,
            bytes_parent_read: stats.bytes_parent_read,
            duration_ms: stats.duration_ms,
            attributes: stream.attributes.clone(),
        }
    }
}

/// What a stream's bytes are, in a word. Where the format has no number for it, the stream itself may say.
pub fn format_word(stream: &Stream) -> String {
    match (stream.format, stream.attributes.get(CONTENT)) {
        (StreamFormat::Unknown, Some(content)) => content.clone(),
        (format, _) => format.word().into_owned(),
    }
}

/// What went over the wire.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub struct Requests {
    /// All requests.
    pub total: u64,
    /// Objects, and parts of them, that were put.
    pub put: u64,
    /// Objects, and ranges of them, that were read.
    pub get: u64,
    /// Objects whose length was asked for.
    pub head: u64,
    /// Pages of listings.
    pub list: u64,
    /// Objects that were deleted.
    pub delete: u64,
    /// All others.
    pub other: u64,
    /// Bytes sent.
    pub bytes_up: u64,
    /// Bytes received.
    pub bytes_down: u64,
}

impl From<&storage::Requests> for Requests {
    fn from(requests: &storage::Requests) -> Self {
        Self {
            total: requests.total(),
            put: requests.put,
            get: requests.get,
            head: requests.head,
            list: requests.list,
            delete: requests.delete,
            other: requests.other,
            bytes_up: requests.bytes_up,
            bytes_down: requests.bytes_down,
        }
    }
}
