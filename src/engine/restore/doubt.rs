//! What makes a snapshot doubtful beside those before it, to be asked about before anything of it is executed.

use super::Chosen;
use crate::base::id::{AuthorId, SnapshotId};
use crate::vault::history::History;
use crate::vault::snapshot::{Body, Stream, StreamFormat, Summary};
use std::fmt;

/// A reason to ask before a stream is restored or verified.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Doubt {
    /// An earlier snapshot of the series holds another kind of dump. Whoever can add a snapshot could so turn an
    /// archive into a script of their own.
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
    /// Another key added the earlier snapshots of the series, and the one that added this may only add.
    AuthorChanged {
        /// The series.
        series: String,
        /// The earlier snapshot.
        earlier: SnapshotId,
        /// Whose key added it.
        was: AuthorId,
        /// Whose key added this one.
        is: AuthorId,
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
            Self::AuthorChanged { series, earlier, was, is } => write!(
                f,
                "the key that adds to series `{series}` changed: author {was} in snapshot {}, author {is} in this one",
                earlier.short()
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

/// The snapshots of the same series that a snapshot is held against: the one before it, and the newest verified one
/// before it, so that two in a row do not vouch for each other.
pub(super) fn earlier_of(history: &History, summary: &Summary) -> Vec<Earlier> {
    let head = &summary.head;
    let mut before: Vec<&Summary> = history
        .series(&head.series, &head.host)
        .filter(|other| other.id != summary.id && other.head.counter < head.counter)
        .collect();
    before.sort_by_key(|other| other.head.counter);
    let verified = before.iter().rev().find(|other| history.verified.contains_key(&other.id));
    let wanted = before.last().into_iter().chain(verified);
    let mut earlier: Vec<Earlier> =
        wanted.map(|other| Earlier { id: other.id, author: other.head.author }).collect();
    earlier.dedup();
    earlier
}

/// An earlier snapshot of a series, and who added it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Earlier {
    id: SnapshotId,
    author: AuthorId,
}

impl Chosen {
    /// What should be asked about before the stream is executed. Earlier snapshots that cannot be read raise no doubt:
    /// `check` tells of them.
    pub fn doubts(&self, stream: &Stream) -> Vec<Doubt> {
        let mut locator = self.locator.lock().unwrap_or_else(|poison| poison.into_inner());
        let head = &self.summary.head;
        let changed = |earlier: &Earlier| {
            let was = format_in(&locator.body(&earlier.id).ok()?, &stream.name)?;
            (was != stream.format).then(|| Doubt::KindChanged {
                series: head.series.clone(),
                earlier: earlier.id,
                was,
                is: stream.format,
            })
        };
        let kind = self.earlier.iter().find_map(changed);
        // A full key may do everything anyway.
        let another = self.earlier.iter().find(|earlier| earlier.author != head.author);
        let author = another.filter(|_| !self.summary.by_full).map(|earlier| Doubt::AuthorChanged {
            series: head.series.clone(),
            earlier: earlier.id,
            was: earlier.author,
            is: head.author,
        });
        kind.into_iter().chain(author).collect()
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
