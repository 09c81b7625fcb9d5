//! What became of copies.

use super::snapshot::Requests;
use super::{Hint, Id, Report, Time};
use crate::base::fault::Fault as _;
use crate::engine::copy::{Copied, CopyReport, Fate};
use crate::engine::listing::sizes;
use crate::storage;
use schemars::JsonSchema;
use serde::Serialize;

/// What became of the destinations of a copy. A single destination that failed as a whole is an error, and no report.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Copies {
    /// Nothing was copied, only looked.
    pub dry_run: bool,
    /// In the order of the destinations. Those after one that was interrupted are missing.
    pub results: Vec<CopyResult>,
    /// What went over the wire from the repository that was copied; null where it is a folder.
    pub requests_source: Option<Requests>,
}

impl Report for Copies {}

/// What became of a destination.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum CopyResult {
    /// It was copied to, as far as that went.
    Reached(Reached),
    /// Nothing could be copied at all.
    Failed(NotReached),
}

/// A destination that was copied to.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "CopiedTo")]
pub struct Reached {
    /// The destination's name, or its address.
    pub to: String,
    /// All that was wanted is there, and no damage was met.
    pub ok: bool,
    /// The snapshots that were dealt with, oldest first.
    pub snapshots: Vec<CopiedSnapshot>,
    /// Why it ended before all of them were dealt with.
    pub error: Option<String>,
    /// What to do about that.
    pub hint: Option<String>,
    /// Damage met at the destination. What was copied is whole all the same.
    pub damage: Vec<String>,
    /// Copies that are there, and whose tags or pin could not be brought up to those of their originals.
    pub unfollowed: Vec<String>,
    /// Snapshots of the source that cannot be seen, and of which nobody knows whether they were meant.
    pub hidden: Vec<String>,
    /// What went over the wire to the destination; null where it is a folder.
    pub requests: Option<Requests>,
}

/// A destination that could not be copied to.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "FailedCopy")]
pub struct NotReached {
    /// The destination's name, or its address.
    pub to: String,
    /// Always false.
    pub ok: bool,
    /// What failed.
    pub error: String,
    /// What to do next, where that can be known.
    pub hint: Option<String>,
}

/// A snapshot that was to be copied.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct CopiedSnapshot {
    /// Its id in the repository that is copied.
    pub id: Id,
    /// Name of the series.
    pub series: String,
    /// Host that the series belongs to.
    pub host: String,
    /// Moment of the dump.
    pub time: Time,
    /// What became of it.
    pub state: CopyState,
    /// The copy's id at the destination, where there is one.
    pub copy: Option<Id>,
    /// Plain bytes, of one that was copied.
    pub bytes: Option<u64>,
    /// Bytes that it took at the destination, of one that was copied.
    pub bytes_stored: Option<u64>,
    /// Why it cannot be copied, of one that failed.
    pub error: Option<String>,
}

/// What became of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CopyState {
    /// It was there already.
    There,
    /// It would be copied.
    Wanted,
    /// It was copied.
    Copied,
    /// It cannot be copied.
    Failed,
}

impl CopyResult {
    /// What was copied to a destination.
    pub fn reached(
        to: &str,
        report: &CopyReport,
        requests: Option<&storage::Requests>,
        hint: Hint<'_>,
    ) -> Self {
        let failed = report.snapshots.iter().any(|copied| matches!(copied.fate, Fate::Failed(_)));
        let stopped = report.stopped.as_ref();
        Self::Reached(Reached {
            to: to.to_owned(),
            ok: stopped.is_none() && !failed && report.damage.is_empty() && report.hidden.is_empty(),
            snapshots: report.snapshots.iter().map(CopiedSnapshot::from).collect(),
            error: stopped.map(ToString::to_string),
            hint: stopped.and_then(|error| error.next()).map(hint),
            damage: report.damage.clone(),
            unfollowed: report.unfollowed.clone(),
            hidden: report.hidden.clone(),
            requests: requests.map(Requests::from),
        })
    }

    /// Why nothing was.
    pub fn failed(to: &str, error: String, hint: Option<String>) -> Self {
        Self::Failed(NotReached { to: to.to_owned(), ok: false, error, hint })
    }
}

impl From<&Copied> for CopiedSnapshot {
    fn from(Copied { summary, fate }: &Copied) -> Self {
        let head = &summary.head;
        let (state, copy, sizes, error) = match fate {
            Fate::There(id) => (CopyState::There, Some(Id::of(id)), None, None),
            Fate::Wanted => (CopyState::Wanted, None, None, None),
            Fate::Copied(committed) => {
                (CopyState::Copied, Some(Id::of(committed.summary.id)), Some(sizes(&committed.body)), None)
            }
            Fate::Failed(error) => (CopyState::Failed, None, None, Some(error.to_string())),
        };
        let (bytes, bytes_stored) = sizes.unzip();
        Self {
            id: Id::of(summary.id),
            series: head.series.clone(),
            host: head.host.clone(),
            time: head.time().into(),
            state,
            copy,
            bytes,
            bytes_stored,
            error,
        }
    }
}
