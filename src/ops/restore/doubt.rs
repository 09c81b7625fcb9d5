//! What makes a snapshot doubtful beside those before it, to be asked about before anything of it is executed.

use super::Chosen;
use crate::id::SnapshotId;
use crate::repo::history::History;
use crate::snapshot::{Body, Stream, StreamFormat, Summary};
use std::fmt;

/// A reason to ask before a stream is restored or verified.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Doubt {
    /// An earlier snapshot of the series holds another kind of dump. Whoever can add a snapshot could so turn an archive into a
    /// script of their own.
    KindChanged {
        /// The series.
        series: String,
        /// The earlier snapshot.
        earlier: SnapshotId,
        /// What it holds.
        was: StreamFormat,
        /// What this one holds.
        is: StreamFormat,
    },
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KindChanged { series, earlier, was, is } => write!(
                f,
                "the kind of dump in series `{series}` changed: {} in snapshot {}, {} in this one",
                words(*was),
                earlier.short(),
                words(*is)
            ),
        }
    }
}

fn words(format: StreamFormat) -> &'static str {
    match format {
        StreamFormat::PgCustom => "a pg_dump archive",
        StreamFormat::PlainSql => "a script",
        _ => "another format",
    }
}

/// The snapshots of the same series that a snapshot is held against: the one before it, and the newest verified one before it, so
/// that two in a row do not vouch for each other.
pub(super) fn earlier_of(history: &History, summary: &Summary) -> Vec<SnapshotId> {
    let head = &summary.head;
    let mut before: Vec<&Summary> = history
        .series(&head.series, &head.host)
        .filter(|other| other.id != summary.id && other.head.counter < head.counter)
        .collect();
    before.sort_by_key(|other| other.head.counter);
    let last = before.last().map(|other| other.id);
    let verified = before.iter().rev().find(|other| history.verified.contains_key(&other.id));
    let mut ids: Vec<SnapshotId> = last.into_iter().chain(verified.map(|other| other.id)).collect();
    ids.dedup();
    ids
}

impl Chosen {
    /// What should be asked about before the stream is executed. Earlier snapshots that cannot be read raise no doubt: `check` tells of
    /// them.
    pub fn doubts(&self, stream: &Stream) -> Vec<Doubt> {
        let mut locator = self.locator.lock().unwrap_or_else(|poison| poison.into_inner());
        let changed = |earlier: &SnapshotId| {
            let was = format_in(&locator.body(earlier).ok()?, &stream.name)?;
            (was != stream.format).then(|| Doubt::KindChanged {
                series: self.summary.head.series.clone(),
                earlier: *earlier,
                was,
                is: stream.format,
            })
        };
        self.earlier.iter().filter_map(changed).take(1).collect()
    }
}

/// The format of the stream of that name, or of the only one, whatever its name.
fn format_in(body: &Body, name: &str) -> Option<StreamFormat> {
    let only = match body.streams.as_slice() {
        [only] => Some(only),
        _ => None,
    };
    let stream = body.streams.iter().find(|stream| stream.name == name).or(only)?;
    Some(stream.format)
}
