//! The parent of a backup: which snapshot it is, and what becomes of it where it is of no use.

use super::{BackupRequest, WithDamage};
use crate::base::event::{Event, Observer};
use crate::base::id::SnapshotId;
use crate::base::name::SnapshotName;
use crate::content::index::SectionMap;
use crate::content::inspect::Kind;
use crate::engine::OpError;
use crate::engine::file_digest::of;
use crate::engine::stream_reader::StreamReader;
use crate::engine::tables::each_table;
use crate::vault::catalog::Catalog;
use crate::vault::crypto::CryptoError;
use crate::vault::history::History;
use crate::vault::reader::ReadCost;
use crate::vault::snapshot::selection::{Viewpoint, newer, select};
use crate::vault::snapshot::{Body, State, Stream, StreamFormat};
use crate::vault::writer::{BackupSession, Basis, IsAlike, StoredStream};
use crate::vault::{RepoError, Repository};
use jiff::Timestamp;
use std::io::Read;

/// A stream whose restore would open a block more often than that, on average, is stored afresh.
const OPENS_MAX: f64 = 1.2;
/// So many packs are fetched for any parent …
const FETCHES_FREE: u64 = 16;
/// … and one more for so many bytes of the stream: sending few bytes again costs less than fetching many packs.
const BYTES_PER_FETCH: u64 = 64 << 10;

/// Which snapshot's streams new ones are compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParentChoice {
    /// The series' newest complete one.
    Newest,
    /// The one that this name stands for.
    Named(Box<SnapshotName>),
    /// This one.
    Snapshot(SnapshotId),
    /// None: only whole chunks are found again.
    None,
}

/// The parent's streams. A parent that cannot be read never fails a backup: what would have been found in it is stored.
pub(in crate::engine) struct Parents {
    snapshot: Option<(SnapshotId, Body)>,
    repo: Repository,
    /// What tells this series from others.
    label: String,
    read_amplification_max: f64,
    workers: usize,
    is_used: bool,
}

impl Parents {
    /// Finds the parent and reads what it says of its streams.
    ///
    /// # Errors
    /// When a parent was named that there is not, or the storage fails.
    pub(crate) fn open(
        repo: &Repository,
        catalog: &mut Catalog,
        history: &History,
        request: &BackupRequest,
        import: Option<Timestamp>,
        observer: &WithDamage<'_>,
    ) -> Result<Self, OpError> {
        let choice = match &request.parent {
            ParentChoice::Newest | ParentChoice::Snapshot(_) if !repo.reads_are_cheap() => {
                let what = "no pack cache for this remote repository; deduplicating whole chunks only";
                observer.observe(Event::Step { what: what.to_owned() });
                &ParentChoice::None
            }
            choice => choice,
        };
        let is_of_files =
            request.source.get("kind").is_some_and(|kind| matches!(kind.as_str(), "files" | "bucket"));
        let id = match choice {
            ParentChoice::None => None,
            ParentChoice::Snapshot(id) => Some(*id),
            ParentChoice::Named(name) => {
                let from = Viewpoint { host: request.host.clone(), any_host: false };
                Some(select(&history.snapshots, name, &from)?.id)
            }
            ParentChoice::Newest => match import {
                // What comes of old days builds on the day before, and no backup builds on that.
                Some(time) => history
                    .series(&request.series, &request.host)
                    .filter(|summary| summary.head.state == State::Complete && !summary.is_doubtful)
                    .filter(|summary| summary.head.time_ms <= time.as_millisecond())
                    .max_by_key(|summary| (summary.head.time_ms, summary.id)),
                None => history
                    .series(&request.series, &request.host)
                    .filter(|summary| {
                        // Files that could not be read are missing from it, and all others are as good as ever.
                        summary.head.state == State::Complete
                            || is_of_files && summary.head.state == State::Partial
                    })
                    .filter(|summary| !summary.is_doubtful && !summary.head.is_import())
                    .max_by(|a, b| newer(a, b)),
            }
            .map(|summary| summary.id),
        };
        match &id {
            Some(id) => tracing::debug!("parent: snapshot {id}"),
            None => tracing::debug!("parent: none"),
        }
        let snapshot = match id.map(|id| (id, repo.body(catalog, &id))) {
            None => None,
            Some((id, Ok(body))) => Some((id, body)),
            Some((_, Err(error))) => {
                tell(observer, "the parent snapshot", &error);
                None
            }
        };
        Ok(Self::with(repo, snapshot, request))
    }

    /// The streams of that snapshot, which is perhaps not committed yet; `None` for whole chunks only.
    pub(crate) fn with(
        repo: &Repository,
        snapshot: Option<(SnapshotId, Body)>,
        request: &BackupRequest,
    ) -> Self {
        Self {
            snapshot,
            repo: repo.clone(),
            label: format!("{}/{}", request.host, request.series),
            read_amplification_max: request.read_amplification_max,
            workers: request.workers,
            is_used: false,
        }
    }

    /// How long the stream of that name was in the parent.
    pub(crate) fn bytes_of(&self, name: &str) -> Option<u64> {
        let mut streams = self.snapshot.iter().flat_map(|(_, body)| &body.streams);
        streams.find(|stream| stream.name == name && stream.bytes > 0).map(|stream| stream.bytes)
    }

    /// What a new stream of that name is stored on the basis of.
    pub(crate) fn basis(&mut self, session: &BackupSession, name: &str, observer: &WithDamage<'_>) -> Basis {
        let streams = self.snapshot.iter_mut().flat_map(|(_, body)| &mut body.streams);
        let Some(stream) = { streams }.find(|stream| stream.name == name && stream.bytes > 0) else {
            return Basis::Chunks;
        };
        let section_ends = section_ends(stream);
        // Of a million tables it is large, and nobody else wants it.
        stream.table_map = None;
        // Text and other bytes are told apart by a guess at the first few, which may turn out otherwise the next day.
        let is_archive = stream.format == StreamFormat::PgCustom;
        let is_of_files = stream.format.is_contents();
        let is_alike: IsAlike = Box::new(move |front: &[u8]| {
            is_of_files || matches!(Kind::of(front), Kind::PgCustom { .. }) == is_archive
        });
        let label = format!("{}/{name}", self.label);
        let parent = match session.parent(stream, &label, self.workers, is_alike) {
            Ok(parent) => parent.with_sections(section_ends),
            Err(RepoError::OlderContent { .. }) => {
                let what = format!("storing all of `{name}`: the content root was rotated since its parent");
                observer.observe(Event::Step { what });
                return Basis::Chunks;
            }
            Err(error) => {
                tell(observer, &format!("the parent of stream `{name}`"), &error);
                return Basis::Chunks;
            }
        };
        // Of unchanged files nobody wants to read a terabyte in one night.
        let why = why_afresh(parent.survey(), self.read_amplification_max);
        if let Some(why) = why.filter(|_| !is_of_files) {
            observer
                .observe(Event::Step { what: format!("storing a full copy of `{}`: {why}", stream.name) });
            return Basis::Afresh(parent.into_survey());
        }
        self.is_used = true;
        Basis::Parent(Box::new(parent))
    }

    /// The stream `wanted` of the parent, to tell by it what of its stream `name` did not change: only where the two
    /// fit each other.
    pub(crate) fn stream_beside(&self, name: &str, wanted: &str) -> Option<Box<dyn Read + Send>> {
        let (_, body) = self.snapshot.as_ref()?;
        let find = |name: &str| body.streams.iter().find(|stream| stream.name == name);
        let (data, index) = (find(name)?, find(wanted)?);
        let map = SectionMap::decode(index.table_map.as_ref()?).ok()?;
        if map.data_bytes() != data.bytes || map.of != of(index) || !index.format.is_index() {
            return None;
        }
        Some(Box::new(StreamReader::open(&self.repo, index.clone())))
    }

    /// Tells what of the parent was of no use to a stream.
    pub(crate) fn conclude(&mut self, name: &str, stored: &StoredStream, observer: &WithDamage<'_>) {
        if stored.is_unlike_parent {
            let message = format!(
                "stream `{name}` has another format than its parent; deduplicated by whole chunks only"
            );
            observer.observe(Event::Warning { message });
        }
        if let Some(error) = &stored.parent_failure {
            tell(observer, &format!("the parent of stream `{name}`"), error);
        }
    }

    /// The parent, if anything was compared with it.
    pub(crate) fn used(&self) -> Option<SnapshotId> {
        self.snapshot.as_ref().filter(|_| self.is_used).map(|(id, _)| *id)
    }
}

/// Where the tables of a dump begin and end; nothing for other streams.
fn section_ends(stream: &Stream) -> Vec<u64> {
    let mut ends: Vec<u64> = Vec::new();
    let is_read = each_table(stream, |table| {
        // In the order of the stream. Blocks of an archive lie side by side.
        for end in [table.offset, table.range().end] {
            if ends.last() != Some(&end) {
                ends.push(end);
            }
        }
    });
    if !is_read {
        return Vec::new();
    }
    ends.shrink_to_fit();
    ends
}

/// What makes restores, or the comparison itself, so slow that a stream had better not rest on its parent.
fn why_afresh(parent: &ReadCost, read_amplification_max: f64) -> Option<String> {
    let (amplification, opens) = (parent.read_amplification(), parent.opens());
    if amplification > read_amplification_max {
        return Some(format!(
            "its read amplification reached {amplification:.1} (limit {read_amplification_max:.1})"
        ));
    }
    if parent.fetches > FETCHES_FREE.max(parent.bytes / BYTES_PER_FETCH) {
        return Some(format!("its parent lies in {} packs that the cache does not hold", parent.fetches));
    }
    let text = "restoring its parent wants blocks of too many backups at a time, and opens each";
    (opens > OPENS_MAX).then(|| format!("{text} {opens:.1} times"))
}

/// Says why a parent is of no use: as damage, if it is damaged.
fn tell(observer: &WithDamage<'_>, what: &str, error: &RepoError) {
    const INSTEAD: &str = "deduplicated by whole chunks only";
    match error {
        RepoError::Crypto(CryptoError::RoleTooWeak { .. }) => observer.observe(Event::Step {
            what: format!("this append key cannot read {what}; deduplicating whole chunks only"),
        }),
        error if error.is_integrity() => {
            let object = error.object().unwrap_or_default().to_owned();
            observer.observe(Event::Damage { object, message: format!("{what}: {error}; {INSTEAD}") });
        }
        error => {
            observer.observe(Event::Warning { message: format!("{what} cannot be read: {error}; {INSTEAD}") })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::why_afresh;
    use crate::vault::reader::{BlockUse, ReadCost};

    #[test]
    fn given_a_parent_that_is_slow_to_restore_then_it_is_told_why() {
        let block = BlockUse { live: 500_000, plain: 1_000_000, stored: 300_000, stretches: 1 };
        let mut survey = ReadCost { stored_read: 300_000, stored_own: 150_000, ..ReadCost::default() };
        survey.blocks.insert((1, 0), block);
        assert_eq!(why_afresh(&survey, 2.0), None);
        assert!(why_afresh(&survey, 1.9).is_some_and(|why| why.contains("reached 2.0 (limit 1.9)")));
        survey.reopened = 200_000;
        assert_eq!(why_afresh(&survey, 2.0), None);
        survey.reopened = 300_000;
        assert!(why_afresh(&survey, 2.0).is_some_and(|why| why.contains("opens each 1.3 times")));
    }
}
