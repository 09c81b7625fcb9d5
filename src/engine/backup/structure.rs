//! What a dump's own structure says while it passes: whether it is whole, and where its tables are.

use super::WithDamage;
use crate::base::event::{Event, Observer};
use crate::base::id::StreamDigest;
use crate::content::inspect::{Inspection, Inspector, Verdict};
use crate::content::pg::TableMap;
use crate::content::rdb::KeyMap;
use crate::engine::OpError;
use crate::source::Dump;
use crate::vault::snapshot::Proof;
use crate::vault::writer::{Edges, Input};
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

/// Bytes of table maps that one snapshot takes; a stream whose map does not fit any more is stored without. A table
/// takes some 40 bytes, so that this is enough for several hundred thousand. The snapshot object itself may have 64
/// MiB.
pub(super) const TABLE_MAPS_BYTES_MAX: usize = 32 << 20;

/// A dump that is looked into as it is read. For PostgreSQL's dumps that goes faster than the digest beside it; gzip
/// has to be inflated.
pub(super) struct Surveyed<'a> {
    dump: &'a mut dyn Dump,
    /// None where the source knows what it gives.
    inspector: Option<Inspector>,
    edges: Arc<Edges>,
    edges_told: usize,
    /// Is told when all is settled that the backup reads; none where other streams follow, and once it is told.
    untold: Option<&'a WithDamage<'a>>,
}

impl<'a> Surveyed<'a> {
    pub(super) fn new(dump: &'a mut dyn Dump, untold: Option<&'a WithDamage<'a>>) -> Self {
        let inspector = dump.format().is_none().then(Inspector::new);
        Self { dump, inspector, edges: Arc::default(), edges_told: 0, untold }
    }

    /// Where the dump's sections end, as far as they were read.
    pub(super) fn edges(&self) -> Arc<Edges> {
        Arc::clone(&self.edges)
    }

    /// The dump was read to its end: what its structure says.
    pub(super) fn inspection(self) -> Option<Inspection> {
        self.inspector.map(Inspector::finish)
    }
}

impl Read for Surveyed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.dump.read(buffer)?;
        if self.untold.is_some() && self.dump.is_settled() {
            self.untold.take().into_iter().for_each(|observer| observer.observe(Event::Settled));
        }
        let Some(inspector) = &mut self.inspector else { return Ok(count) };
        match buffer.get(..count).unwrap_or_default() {
            [] if !buffer.is_empty() => inspector.settle(),
            bytes => inspector.push(bytes),
        }
        while let Some(edge) = inspector.edge(self.edges_told) {
            self.edges.push(edge);
            self.edges_told += 1;
        }
        Ok(count)
    }
}

impl Input for Surveyed<'_> {
    fn copy(&mut self) -> Option<Range<u64>> {
        self.dump.copy()
    }

    fn digest(&self) -> Option<StreamDigest> {
        self.dump.digest()
    }
}

/// What to keep of an inspection.
pub(super) struct Judged {
    pub proof: Proof,
    pub map: Option<TableMap>,
    pub keys: Option<KeyMap>,
    /// Why the stream is not to be trusted, if it is not.
    pub suspicion: Option<String>,
}

impl Judged {
    fn by_exit_alone(exited: Proof) -> Self {
        Self { proof: exited, map: None, keys: None, suspicion: None }
    }
}

/// Joins what the processes' ends and the stream's structure prove, and tells what a person should do better.
///
/// # Errors
/// When the stream ends before it is whole: no exit status makes up for that. One that came to its end and makes no
/// sense on the way is stored and suspected instead: if it is this program that reads it wrong, a database of that kind
/// still has its copies.
pub(super) fn judge(
    name: &str,
    inspection: Inspection,
    exited: Proof,
    observer: &dyn Observer,
) -> Result<Judged, OpError> {
    let warn = |message: String| observer.observe(Event::Warning { message });
    let Inspection { kind, verdict, keys, remarks } = inspection;
    let judged = match verdict {
        Verdict::Whole(map) => {
            let proof = if exited == Proof::Unproven { Proof::Structure } else { Proof::ExitedAndStructure };
            Judged { proof, map: map.map(|map| *map), keys: keys.map(|keys| *keys), suspicion: None }
        }
        Verdict::Incomplete(source) if source.is_cut_off() => {
            return Err(OpError::Incomplete { stream: name.to_owned(), exited, source });
        }
        Verdict::Incomplete(source) => {
            Judged { suspicion: Some(source.to_string()), ..Judged::by_exit_alone(exited) }
        }
        Verdict::Unreadable(error) => {
            warn(format!(
                "cannot parse stream `{name}`: {error}; stored as is, so only the exit status shows that it is complete"
            ));
            Judged::by_exit_alone(exited)
        }
        Verdict::Unknown => Judged::by_exit_alone(exited),
    };
    for remark in remarks {
        warn(format!("stream `{name}`: {remark}"));
    }
    let by_dump = judged.map.as_ref().map(|map| map.compression.as_str());
    match (by_dump.filter(|word| !matches!(*word, "" | "none")), kind.compression()) {
        (Some(word), _) => warn(format!(
            "stream `{name}` is already compressed ({word}), so it cannot be deduplicated and its rows cannot be counted. \
             Use `pg_dump -Z0`: dumpvault compresses by itself"
        )),
        (None, Some(word)) => warn(format!(
            "stream `{name}` is already compressed ({word}), so it cannot be deduplicated. \
             Back up the uncompressed data: dumpvault compresses by itself"
        )),
        (None, None) => {}
    }
    Ok(judged)
}

/// The bytes to store of a map, if there is room left for them.
pub(super) fn encode_map(
    name: &str,
    map: &TableMap,
    room: &mut usize,
    observer: &dyn Observer,
) -> Option<Vec<u8>> {
    let too_large = || {
        format!(
            "the map of stream `{name}` ({} tables) is too large for the snapshot: the dump is stored whole, without a list of its tables",
            map.tables.len()
        )
    };
    fit_map(map.encode(), room, too_large, observer)
}

/// The bytes to store of a section map, if there is room left for them.
pub(super) fn fit_section_map(
    name: &str,
    bytes: Vec<u8>,
    room: &mut usize,
    observer: &dyn Observer,
) -> Option<Vec<u8>> {
    let too_large = || {
        format!(
            "the map of stream `{name}` is too large for the snapshot: one file takes as long to find as all"
        )
    };
    fit_map(bytes, room, too_large, observer)
}

fn fit_map(
    bytes: Vec<u8>,
    room: &mut usize,
    too_large: impl FnOnce() -> String,
    observer: &dyn Observer,
) -> Option<Vec<u8>> {
    match room.checked_sub(bytes.len()) {
        Some(left) => {
            *room = left;
            Some(bytes)
        }
        None => {
            observer.observe(Event::Warning { message: too_large() });
            None
        }
    }
}
