//! Snapshots that are copied and committed together.
//!
//! Before a snapshot is copied both sides are looked at, and before it is committed whether all that it relies on is
//! still there. That costs the same for one snapshot and for many, and small ones share packs. What is committed
//! together is bounded in number, bytes and time: a run that is killed loses no more than that.

use super::super::backup::{Parents, pack_damage};
use super::{
    Copier, CopyReport, Failure, Fate, Side, Way, copied_parent, nearest, not_copied, of_destination,
    of_source, origin_of, place,
};
use crate::base::id::SnapshotId;
use crate::base::name::{NameKind, check_name};
use crate::vault::RepoError;
use crate::vault::crypto::Role;
use crate::vault::history::History;
use crate::vault::reader::Locator;
use crate::vault::snapshot::{State, Summary};
use crate::vault::writer::{BackupSession, CommitRequest, PipelineSettings, TransferSource};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A batch is committed once it has so many snapshots …
const BATCH_SNAPSHOTS_MAX: usize = 64;
/// … or so many bytes were stored for it …
const BATCH_BYTES_MAX: u64 = 256 << 20;
/// … or after so long: what was copied until a run is killed is to be listed.
const BATCH_LASTS_MAX: Duration = Duration::from_secs(60);

/// Snapshots that are committed together: looking at both sides, and whether all of it is still there, costs the same
/// for one and for many.
pub(super) struct Batch {
    session: BackupSession,
    /// Where the same content has the same names in both.
    source: Option<TransferSource>,
    locator: Arc<Mutex<Locator>>,
    /// The destination's, with what is about to be committed.
    history: History,
    /// Its snapshots by what they are copies of.
    there: HashMap<SnapshotId, SnapshotId>,
    /// Places in the report.
    members: Vec<usize>,
    began: Instant,
}

impl Batch {
    /// Whether what is in it is to be committed now.
    pub(super) fn is_full(&self) -> bool {
        let (snapshots, bytes) = self.session.staged();
        snapshots >= BATCH_SNAPSHOTS_MAX
            || bytes >= BATCH_BYTES_MAX
            || self.began.elapsed() >= BATCH_LASTS_MAX
    }
}

impl Copier<'_> {
    /// Copies a snapshot, and commits it later, with others: `at` is its place in the report. Until then it is
    /// *wanted*.
    pub(super) fn add(
        &self,
        batch: &mut Option<Batch>,
        summary: &Summary,
        at: usize,
    ) -> Result<Fate, Failure> {
        let open = match batch.take() {
            Some(open) => open,
            None => self.begin()?,
        };
        let open = batch.insert(open);
        // Another run may have been quicker.
        if let Some(id) = open.there.get(&origin_of(summary)) {
            return Ok(Fate::There(*id));
        }
        match self.stage(open, summary) {
            Ok(()) => {
                open.members.push(at);
                Ok(Fate::Wanted)
            }
            // What arrived until somebody stopped it is committed.
            Err((Side::Destination, error)) if !error.is_cancelled() => {
                // What it has is not to be relied on any more.
                if let Some(broken) = batch.take() {
                    broken.session.abandon();
                }
                Err(of_destination(error))
            }
            Err(failure) => Err(failure),
        }
    }

    /// Looks at both sides, for the snapshots of one batch.
    fn begin(&self) -> Result<Batch, Failure> {
        let catalog = self.from.catalog(self.observer).map_err(of_source)?;
        let damaged = self.history.damaged_packs.clone();
        let locator = Arc::new(Mutex::new(Locator::new(self.from, catalog, damaged)));
        let source = self
            .from
            .is_alike(self.to)
            .then(|| TransferSource::new(self.from, &locator, self.request.read, self.request.recompress));

        let registered = self.to.writer().register_backup().map_err(of_destination)?;
        let (catalog, history, presence) = self.to.synced(self.observer).map_err(of_destination)?;
        let settings =
            PipelineSettings { level: self.request.level, read_back: true, workers: self.request.workers };
        let session = self.to.writer().begin_registered(registered, catalog, presence, settings);
        let session = session.map_err(of_destination)?;
        let sound = history.snapshots.iter().filter(|one| !history.damaged_snapshots.contains_key(&one.id));
        let there = sound.map(|one| (origin_of(one), one.id)).collect();
        let (began, members) = (Instant::now(), Vec::new());
        Ok(Batch { session, source, locator, history, there, members, began })
    }

    /// Copies all streams of a snapshot, and seals it.
    fn stage(&self, batch: &mut Batch, summary: &Summary) -> Result<(), Failure> {
        let Summary { head, .. } = summary;
        for (kind, name) in [(NameKind::Series, &head.series), (NameKind::Host, &head.host)] {
            check_name(kind, name).map_err(of_source)?;
        }
        let body = {
            let mut locator = batch.locator.lock().unwrap_or_else(PoisonError::into_inner);
            self.from.body(locator.catalog(), &summary.id).map_err(of_source)?
        };
        let (counter, predecessor, is_import) = place(&batch.history, summary);
        let copied_parent = copied_parent(&batch.history, summary, &body).map(|found| found.id);
        let Batch { session, source, locator, history, .. } = batch;
        // What was written before a rotation of the content root has other names at the destination.
        let can_take = |source: &TransferSource| {
            body.streams.iter().try_fold(true, |all, stream| Ok(all && source.can_take(stream)?))
        };
        let source = match source {
            Some(source) if can_take(source).map_err(|error: RepoError| of_source(error))? => Some(source),
            _ => None,
        };
        let mut way = match source {
            Some(source) => Way::Blocks { source, parent: copied_parent },
            None => {
                let parent = copied_parent.or_else(|| nearest(history, summary));
                let backup = self.backup_request(summary, parent);
                let staged = parent.and_then(|id| Some((id, session.staged_body(&id)?.clone())));
                let is_readable = self.to.role() == Role::Full && self.to.reads_are_cheap();
                let parents = match staged {
                    Some(parent) if is_readable => {
                        session.make_readable().map_err(of_destination)?;
                        Ok(Parents::with(self.to, Some(parent), &backup))
                    }
                    Some(_) => Ok(Parents::with(self.to, None, &backup)),
                    None => {
                        let mut catalog = self.to.catalog_as_it_is(self.observer).map_err(of_destination)?;
                        Parents::open(self.to, &mut catalog, history, &backup, None, self.observer)
                    }
                };
                Way::Bytes(Box::new(parents.map_err(of_destination)?))
            }
        };
        let mut finished = Vec::with_capacity(body.streams.len());
        // What a newer program says of its snapshot cannot be said again by this one, and must not turn into
        // "complete".
        let doubt = match summary.head.state {
            State::Other(_) => Some(format!("the state of the original is {}", summary.head.state.word())),
            _ => None,
        };
        for stream in &body.streams {
            let stream = self.stream(session, &mut way, locator, (&body.streams, stream))?;
            finished.push(match &doubt {
                Some(why) => stream.suspect(why.clone()),
                None => stream,
            });
        }
        if self.cancel.is_cancelled() {
            return Err(of_destination(RepoError::Cancelled));
        }
        let head = summary.head.clone();
        let set = head.member();
        let commit = CommitRequest {
            series: head.series,
            host: head.host,
            time_ms: head.time_ms,
            now_ms: self.clock.now().as_millisecond(),
            tags: head.tags,
            counter,
            predecessor,
            time_zone: head.time_zone,
            calendar: head.calendar,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            source: body.source,
            parent: way.parent(),
            failed: body.failed,
            origin: Some(origin_of(summary)),
            origin_author: Some(head.origin_author.unwrap_or(head.author)),
            set,
            is_import,
            pins: Vec::new(),
        };
        let staged = batch.session.stage(finished, commit).map_err(of_destination)?;
        batch.there.insert(origin_of(summary), staged.id);
        // The next one may be its child.
        batch.history.snapshots.push(staged);
        batch
            .history
            .snapshots
            .sort_by_key(|summary| (summary.head.time_ms, summary.head.counter, summary.id));
        Ok(())
    }

    /// Commits a batch, and says in the report what became of its members. Whether it can go on.
    pub(super) fn conclude(&self, batch: Batch, report: &mut CopyReport) -> bool {
        let Batch { session, members, .. } = batch;
        if members.is_empty() {
            session.abandon();
            return true;
        }
        let committed = match session.commit_staged() {
            Ok(committed) => committed,
            Err(error) => {
                let first = members.first().and_then(|at| report.snapshots.get(*at));
                let stopped = first.map(|one| not_copied(&one.summary, Side::Destination, error.into()));
                // An earlier failure was the cause.
                report.stopped = report.stopped.take().or(stopped);
                return false;
            }
        };
        for (at, committed) in members.into_iter().zip(committed) {
            report.damage.extend(pack_damage(&committed, self.observer));
            let Some(summary) = report.snapshots.get(at).map(|one| one.summary.clone()) else { continue };
            self.follow_or_say(&summary, &committed.summary, &HashSet::new(), report);
            if let Some(one) = report.snapshots.get_mut(at) {
                one.fate = Fate::Copied(Box::new(committed));
            }
        }
        true
    }
}
