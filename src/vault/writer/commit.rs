//! The end of a backup: snapshots are sealed, put and committed, or leave nothing behind.

use super::{BackupSession, Finished};
use crate::base::id::{AuthorId, MarkId, PackId, SnapshotId};
use crate::vault::crypto::Role;
use crate::vault::format::mark::{Mark, MarkKind};
use crate::vault::format::snapshot::seal;
use crate::vault::memory::{Question, Remembered};
use crate::vault::objects::ObjectName;
use crate::vault::session::Standing;
use crate::vault::snapshot::{
    Body, FailedStream, Head, PINS_BYTES_MAX, Proof, SetMember, State, Stream, Summary,
};
use crate::vault::{RepoError, Repository};
use minicbor::bytes::ByteVec;
use std::collections::BTreeMap;
use std::sync::Arc;

/// So often a mark that must not stand is tried to be deleted.
const TAKE_BACK_TRIES: usize = 4;

/// A snapshot that is sealed, and that nobody can see yet.
pub(super) struct Staged {
    summary: Summary,
    body: Body,
    bytes: Vec<u8>,
    now_ms: i64,
}

/// What a snapshot says besides its streams.
#[derive(Debug, Clone)]
pub struct CommitRequest {
    /// Series.
    pub series: String,
    /// Host.
    pub host: String,
    /// Moment of the dump, ms since the epoch.
    pub time_ms: i64,
    /// The present, ms since the epoch.
    pub now_ms: i64,
    /// The user's tags.
    pub tags: Vec<String>,
    /// Position in the series.
    pub counter: u64,
    /// The series' snapshot before.
    pub predecessor: Option<SnapshotId>,
    /// Time zone of the calendar tags.
    pub time_zone: String,
    /// Calendar tags.
    pub calendar: Vec<String>,
    /// Version of the program.
    pub program: String,
    /// What the source was.
    pub source: BTreeMap<String, String>,
    /// The parent.
    pub parent: Option<SnapshotId>,
    /// Streams that failed.
    pub failed: Vec<FailedStream>,
    /// Of a copy: the first snapshot that it is a copy of.
    pub origin: Option<SnapshotId>,
    /// Of a copy: the author of that one.
    pub origin_author: Option<AuthorId>,
    /// The time was given, and is that of an older dump.
    pub is_import: bool,
    /// Snapshots of other series that whoever reads this one must find.
    pub pins: Vec<SnapshotId>,
    /// The run over a system that it is made in.
    pub set: Option<SetMember>,
}

/// A committed snapshot.
#[derive(Debug, Clone)]
pub struct Committed {
    /// Id and head.
    pub summary: Summary,
    /// Streams and the rest.
    pub body: Body,
    /// Packs that could not be relied on, whose chunks were stored again.
    pub healed: BTreeMap<PackId, String>,
    /// Packs that cannot be relied on, with chunks that are in no other pack: older snapshots may not be whole.
    pub lost: BTreeMap<PackId, String>,
    /// Why the locks of what the snapshot relies on could not be prolonged.
    pub lock_failure: Option<Arc<RepoError>>,
}

impl BackupSession {
    /// Makes everything durable and commits the snapshot: packs, index, snapshot, mark, in this order.
    ///
    /// # Errors
    /// When anything fails; then there is no snapshot, unless the very last step's answer was lost.
    /// [`RepoError::Fenced`] when this backup was suspended for so long that a prune went on without it: what it relied
    /// on may be gone.
    pub fn commit(mut self, streams: Vec<Finished>, request: CommitRequest) -> Result<Committed, RepoError> {
        let series = request.series.clone();
        self.stage(streams, request)?;
        let nothing = || RepoError::Inconsistent { object: series, what: "nothing was committed".to_owned() };
        self.commit_staged()?.pop().ok_or_else(nothing)
    }

    /// Seals a snapshot, to be committed together with others by [`BackupSession::commit_staged`].
    ///
    /// # Errors
    /// When it cannot be sealed, its streams are not of this session, or its author may not add to the series.
    pub fn stage(&mut self, streams: Vec<Finished>, request: CommitRequest) -> Result<Summary, RepoError> {
        if streams.is_empty() || streams.iter().any(|stream| stream.session != self.number) {
            let what = "a snapshot needs streams of its own backup".to_owned();
            return Err(RepoError::Inconsistent { object: request.series, what });
        }
        self.repo.authors.may_add(&request.series, &request.host)?;
        let is_whole = request.failed.is_empty() && !streams.iter().any(|stream| stream.is_partial);
        let state = match (streams.iter().any(|stream| stream.is_suspect), is_whole) {
            (true, _) => State::Suspect,
            (false, true) => State::Complete,
            (false, false) => State::Partial,
        };
        let streams: Vec<Stream> = streams.into_iter().map(|finished| finished.stream).collect();
        let head = Head {
            series: request.series,
            host: request.host,
            time_ms: request.time_ms,
            state,
            tags: request.tags,
            counter: request.counter,
            predecessor: request.predecessor,
            finished_ms: request.now_ms,
            time_zone: request.time_zone,
            calendar: if state == State::Complete { request.calendar } else { Vec::new() },
            proof: streams.iter().map(|stream| stream.proof).min().unwrap_or(Proof::Unproven),
            program: request.program,
            origin: request.origin,
            author: self.repo.keys.author().id(),
            pins: pins_of(&request.pins),
            import: request.is_import.then_some(true),
            origin_author: request.origin_author,
            set: request.set.as_ref().map(|member| member.set.0.into()),
            system: request.set.as_ref().and_then(|member| member.system.clone()),
            role: request.set.map(|member| member.role),
        };
        let body = Body { streams, failed: request.failed, source: request.source, parent: request.parent };
        let Repository { id: repo_id, keys, entropy, .. } = &self.repo;
        let bytes = seal(&head, &body, *repo_id, keys, entropy.as_ref())?;
        let id = SnapshotId::from_bytes(*blake3::hash(&bytes).as_bytes());
        let stored_ms = self.repo.clock.now().as_millisecond();
        let by_full = self.repo.role() == Role::Full;
        let summary = Summary { id, head, stored_ms, is_doubtful: false, by_full };
        self.staged.push(Staged { summary: summary.clone(), body, bytes, now_ms: request.now_ms });
        Ok(summary)
    }

    /// What a staged snapshot holds.
    pub fn staged_body(&self, id: &SnapshotId) -> Option<&Body> {
        self.staged.iter().find(|staged| staged.summary.id == *id).map(|staged| &staged.body)
    }

    /// Makes all durable that was stored so far: from then on it can be read, as a parent of what is stored next.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn make_readable(&mut self) -> Result<(), RepoError> {
        self.sink.settle()?;
        // The catalog tells where it lies; where it has no file, or was lost, an index object must.
        match !self.sink.known.is_catalog_lost() && self.sink.known.catalog().is_on_disk() {
            true => Ok(()),
            false => self.sink.write_index(),
        }
    }

    /// How many snapshots are staged, and the stored bytes of all that was put together so far.
    pub fn staged(&self) -> (usize, u64) {
        let (data, recipe) = self.sink.pipeline.stored_bytes();
        (self.staged.len(), data + recipe)
    }

    /// Makes everything durable and commits the staged snapshots, in the order in which they were staged. Whether packs
    /// are gone and the session is still good is looked at for all of them together.
    ///
    /// # Errors
    /// As [`BackupSession::commit`]; of several snapshots the first ones may be committed all the same.
    pub fn commit_staged(mut self) -> Result<Vec<Committed>, RepoError> {
        let outcome = self.commit_fenced();
        if let Err(RepoError::Fenced { .. }) = outcome {
            self.withdraw_indexes();
        }
        let (staged, lock_failure) = outcome?;
        Ok(self.conclude(staged, lock_failure))
    }

    fn commit_fenced(&mut self) -> Result<(Vec<Staged>, Option<Arc<RepoError>>), RepoError> {
        self.sink.flush()?;
        // A lock that cannot be prolonged makes the snapshot no worse than none: it is committed, and said.
        let lock_failure = self.extend_locks().err().map(Arc::new);
        self.fence(true)?;
        let staged = std::mem::take(&mut self.staged);
        for one in &staged {
            self.repo.put_hashed::<SnapshotId>(&one.bytes)?;
        }
        // Now they keep what they reach. A prune that looked for snapshots before has ended this session before that.
        if let Err(error) = self.fence(false) {
            staged.iter().for_each(|one| self.repo.writer().clear_away(&one.summary.id));
            return Err(error);
        }
        let marks = staged.iter().map(|one| {
            self.repo.marks().put_mark(&Mark {
                kind: MarkKind::Committed,
                object: one.summary.id.key(),
                time_ms: one.now_ms,
                supersedes: Vec::new(),
                // Should the snapshot be lost, the mark still tells whose it was.
                value: Some(one.summary.head.series.clone()),
                host: one.summary.head.host.clone(),
            })
        });
        let marks = marks.collect::<Result<Vec<MarkId>, RepoError>>()?;
        // Whoever removes snapshots as abandoned, or rotates keys, has ended their sessions first, and looked for marks
        // then: it has seen these, or this finds the session ended.
        let ended = match self.fence(false) {
            Err(RepoError::Fenced { why }) => self.close_names(&marks).and_then(|named| match named {
                true => Ok(()),
                false => Err(RepoError::Fenced { why }),
            }),
            outcome => outcome,
        };
        let ended = ended.and_then(|()| self.see_snapshots(&staged));
        if let Err(error @ RepoError::Fenced { .. }) = ended {
            for (mark, one) in marks.iter().zip(&staged) {
                self.take_back(mark, &one.summary.id);
            }
            return Err(error);
        }
        ended?;
        Ok((staged, lock_failure))
    }

    /// Whether the epoch that this session writes in was closed by an object that names all the marks: then they count,
    /// though the session was ended.
    fn close_names(&self, marks: &[MarkId]) -> Result<bool, RepoError> {
        let epoch = self.repo.keys.newest().number();
        let now = self.repo.refreshed()?;
        let epochs = now.authors.epochs();
        Ok(epochs.newest() > epoch && marks.iter().all(|mark| epochs.counts(epoch, mark.as_bytes())))
    }

    /// Sees that nobody removed the snapshots as abandoned before they were committed.
    fn see_snapshots(&self, staged: &[Staged]) -> Result<(), RepoError> {
        for one in staged {
            if self.repo.storage.size(&one.summary.id.key())?.is_none() {
                let why = "its snapshot was removed as abandoned before it was committed".to_owned();
                return Err(RepoError::Fenced { why });
            }
        }
        Ok(())
    }

    /// Removes a mark that must not stand, and its snapshot.
    fn take_back(&self, mark: &MarkId, snapshot: &SnapshotId) {
        // Whoever saw it meanwhile shall not take it for lost: here by what this host remembers, elsewhere by the word
        // of a full key.
        self.repo.memory.note_answer(Question::Rollback, &snapshot.to_string(), "taken back");
        if self.repo.role() == Role::Full {
            let forgotten = self.repo.marks().put_mark(&Mark {
                kind: MarkKind::Forgotten,
                object: "snapshots".to_owned(),
                time_ms: self.repo.clock.now().as_millisecond(),
                supersedes: Vec::new(),
                value: Some(snapshot.to_string()),
                host: String::new(),
            });
            if let Err(error) = forgotten {
                tracing::warn!("{error}");
            }
        }
        // Where that fails again and again, a mark without a snapshot stays: told by every check, until a repair gives
        // it up.
        let mut taken_back = self.repo.storage.delete(&mark.key());
        for _ in 1..TAKE_BACK_TRIES {
            if taken_back.is_ok() {
                break;
            }
            taken_back = self.repo.storage.delete(&mark.key());
        }
        if let Err(error) = taken_back {
            tracing::warn!("{error}");
        }
        self.repo.writer().clear_away(snapshot);
    }

    /// The snapshots stand; what follows only saves time, and lets their loss be noticed.
    fn conclude(mut self, staged: Vec<Staged>, lock_failure: Option<Arc<RepoError>>) -> Vec<Committed> {
        for one in &staged {
            self.remember(&one.summary.head, one.summary.id);
            if let Err(error) = self.sink.known.catalog().keep_object(&one.summary.id.key(), &one.bytes) {
                tracing::warn!("{error}");
            }
        }
        self.sink.known.save_filter();
        if self.sink.known.is_catalog_lost()
            && let Err(error) = self.repo.drop_catalog()
        {
            tracing::warn!("{error}");
        }
        let mut healed = self.sink.known.healed().clone();
        let mut lost = self.sink.known.lost();
        let indexes = self.sink.known.catalog().indexes().unwrap_or_default();
        self.repo.writer().leave_out_unnamed(&indexes, &mut healed);
        self.repo.writer().leave_out_unnamed(&indexes, &mut lost);
        // What was met on the way is told once.
        let mut met = Some((healed, lost, lock_failure));
        let committed = staged.into_iter().map(|Staged { summary, body, .. }| {
            let (healed, lost, lock_failure) = met.take().unwrap_or_default();
            Committed { summary, body, healed, lost, lock_failure }
        });
        committed.collect()
    }

    /// Remembers the new snapshot as the newest of its series, so that its loss is noticed.
    fn remember(&self, head: &Head, snapshot: SnapshotId) {
        let Head { host, series, counter, .. } = head;
        if !head.is_import() {
            let newest =
                Remembered { host: host.clone(), series: series.clone(), counter: *counter, snapshot };
            self.repo.memory.remember_newest(&[newest]);
        }
    }

    /// Prolongs the locks of all that the snapshot will rely on.
    fn extend_locks(&mut self) -> Result<(), RepoError> {
        if !self.repo.object_locks().locks() {
            return Ok(());
        }
        let relied = self.sink.known.relied_on();
        self.repo.object_locks().extend_locks(self.sink.known.catalog(), relied)
    }

    /// Refuses to go on when a prune may have deleted something that this backup relies on. The session tells: whoever
    /// deletes ends it first. That packs are gone all the same, by other hands, is looked at once.
    fn fence(&mut self, look_at_packs: bool) -> Result<(), RepoError> {
        if look_at_packs {
            let relied = self.sink.known.relied_on();
            let listed = self.repo.list_packs()?;
            if let Some(gone) = relied.iter().find(|pack| !listed.contains_key(pack)) {
                let why = format!("pack {}, which it relies on, is gone", gone.short());
                return Err(RepoError::Fenced { why });
            }
        }
        let why = match self.session.standing()? {
            Standing::Registered => return Ok(()),
            Standing::Ended => "it was suspended and a prune ended its session",
            Standing::OtherTime => {
                "the storage shows another time of its session: times in the repository were changed, or a session \
                 that a prune had ended was put again"
            }
        };
        Err(RepoError::Fenced { why: why.to_owned() })
    }
}

fn pins_of(ids: &[SnapshotId]) -> Option<ByteVec> {
    let room = PINS_BYTES_MAX / SnapshotId::LEN;
    let bytes: Vec<u8> = ids.iter().take(room).flat_map(|id| *id.as_bytes()).collect();
    (!bytes.is_empty()).then(|| bytes.into())
}
