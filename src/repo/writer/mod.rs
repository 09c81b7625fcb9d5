//! Writing: streams in, a committed snapshot out.
//!
//! [`BackupSession::store`] takes a stream and gives a [`StoredStream`]; only [`StoredStream::finish`], which wants the proof
//! that the source ended well, makes a [`Finished`]; and only those can be committed. Until the commit nothing shows: packs of a
//! session that fails are garbage, which a later backup finds and uses again.

mod input;
mod known;
mod parent;
mod pipeline;
mod recipe;
mod stream;
mod tally;
mod transfer;
mod withdraw;

pub use parent::{Basis, Parent};
pub use pipeline::PipelineSettings;
pub use tally::{Edges, NewBytes};
pub use transfer::{TransferError, TransferSource};

use super::catalog::Catalog;
use super::format::index::{BlockKind, ChunkEntry, Index, IndexedPack, PREFIX_BYTES};
use super::format::mark::{Mark, MarkKind};
use super::format::session::SessionKind;
use super::format::snapshot::seal;
use super::memory::{Question, Remembered};
use super::objects::ObjectName;
use super::reader::{Survey, blinded_hash};
use super::session::{SeenPlan, Session};
use super::sync::{Presence, heed_plans};
use super::{RepoError, Repository};
use crate::chunker::Chunker;
use crate::crypto::Role;
use crate::event::{Cancel, Event, Observer};
use crate::id::{AuthorId, ChunkId, IndexId, MarkId, NodeId, PackId, SnapshotId};
use crate::snapshot::{
    Body, FailedStream, Head, PINS_BYTES_MAX, Proof, State, Stream, StreamFormat, StreamStats, Summary,
};
use input::{BUFFERS, CutPiece, Total, cut_ahead, read_ahead};
use known::{Known, Place};
use minicbor::bytes::ByteVec;
use pipeline::{Block, Pipeline};
use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use stream::StreamWriter;
use tally::Tally;

/// So often a mark that must not stand is tried to be deleted.
const TAKE_BACK_TRIES: usize = 4;
/// Chunks of fewer bytes have ids that say nothing of them, and no writer looks for them by content.
const BLINDED_BELOW: usize = 16 << 10;
/// An index object is written at least every so many packs …
const PACKS_PER_INDEX: usize = 64;
/// … or after so long, so that a killed backup's work is found again without its key.
const INDEX_INTERVAL: Duration = Duration::from_secs(300);

/// A backup under way.
pub struct BackupSession {
    repo: Repository,
    session: Session,
    number: u64,
    chunker: Chunker,
    sink: Sink,
    staged: Vec<Staged>,
}

/// A snapshot that is sealed, and that nobody can see yet.
struct Staged {
    summary: Summary,
    body: Body,
    bytes: Vec<u8>,
    now_ms: i64,
}

/// A stream whose bytes are stored, and of which nobody knows yet whether it is whole.
#[derive(Debug)]
#[must_use = "a stored stream that is not finished is garbage"]
pub struct StoredStream {
    session: u64,
    stream: Stream,
    /// The first bytes, enough to tell what it is.
    pub front: Vec<u8>,
    /// The parent was of no use because its stream is of another kind.
    pub is_unlike_parent: bool,
    /// Why the parent could not be read, or not all of it; nothing that could not be read was taken from it.
    pub parent_failure: Option<RepoError>,
    /// Which bytes are new, if they were to be counted.
    pub new_bytes: Option<NewBytes>,
}

impl StoredStream {
    /// Length in bytes.
    pub fn bytes(&self) -> u64 {
        self.stream.bytes
    }

    /// Keeps the stream's table map with it.
    pub fn set_table_map(&mut self, map: Option<Vec<u8>>) {
        self.stream.table_map = map.map(Into::into);
    }

    /// The source ended well, as `proof` says: the stream may be committed.
    pub fn finish(
        self,
        proof: Proof,
        format: StreamFormat,
        attributes: BTreeMap<String, String>,
    ) -> Finished {
        let stream = Stream { proof, format, attributes, ..self.stream };
        Finished { session: self.session, stream, is_suspect: false }
    }
}

/// A stream that may be committed. Made by [`StoredStream::finish`] alone.
#[derive(Debug)]
pub struct Finished {
    session: u64,
    stream: Stream,
    is_suspect: bool,
}

/// The attribute of a stream that says why it is suspect.
pub const SUSPECT: &str = "suspect";

impl Finished {
    /// What will stand in the snapshot.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Whole, and so odd that a person should look: the snapshot becomes a suspect one, and says why.
    pub fn suspect(mut self, why: String) -> Self {
        self.is_suspect = true;
        self.stream.attributes.insert(SUSPECT.to_owned(), why);
        self
    }
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

/// A backup that is registered, and the plans of prunes that it heeds.
pub struct Registered {
    session: Session,
    plans: Vec<SeenPlan>,
}

impl Registered {
    /// How many seconds the clock that shows `now_ms` is ahead of the storage's; to be asked right after.
    pub fn skew_seconds(&self, now_ms: i64) -> i64 {
        self.session.skew_seconds(now_ms)
    }
}

impl Repository {
    /// Registers a backup that is about to begin. What is looked up from now on, no prune takes away without saying so: it either finds the
    /// session, or its plan is there now. (Plans are read before packs are listed: one that was carried out in between is gone, and so are its
    /// packs.)
    ///
    /// # Errors
    /// When the storage fails, or a thread cannot be started.
    pub fn register_backup(&self) -> Result<Registered, RepoError> {
        let session = Session::register(self, SessionKind::Write)?;
        let (plans, unreadable) = self.plans()?;
        for error in unreadable {
            // Not heeded, and not said to be: whoever can read it waits for this session.
            tracing::warn!("{error}");
        }
        Ok(Registered { session, plans })
    }

    /// Begins a backup. `catalog` and `presence` are those of this repository, just brought up to date.
    ///
    /// # Errors
    /// When the storage or the catalog fails, or threads cannot be started.
    pub fn begin_backup(
        &self,
        catalog: Catalog,
        mut presence: Presence,
        settings: PipelineSettings,
    ) -> Result<BackupSession, RepoError> {
        let registered = self.register_backup()?;
        // What was looked up is older than the session.
        self.look_again(&catalog, &mut presence)?;
        self.begin_registered(registered, catalog, presence, settings)
    }

    /// Begins a backup that was registered before `catalog` and `presence` were brought up to date: packs are listed once less.
    ///
    /// # Errors
    /// As [`Repository::begin_backup`].
    pub fn begin_registered(
        &self,
        registered: Registered,
        catalog: Catalog,
        mut presence: Presence,
        settings: PipelineSettings,
    ) -> Result<BackupSession, RepoError> {
        static SESSIONS: AtomicU64 = AtomicU64::new(0);
        let Registered { session, plans } = registered;
        heed_plans(&plans, &catalog, &mut presence)?;
        if !plans.is_empty() {
            session.acknowledge(plans.into_iter().map(|seen| seen.id).collect())?;
        }
        Ok(BackupSession {
            session,
            repo: self.clone(),
            number: SESSIONS.fetch_add(1, Ordering::Relaxed),
            chunker: Chunker::new(&self.content.chunker_gear, self.config.chunk_sizes),
            staged: Vec::new(),
            sink: Sink {
                repo: self.clone(),
                known: Known::new(self, catalog, presence),
                pipeline: Pipeline::start(self, settings)?,
                data: OpenBlock::default(),
                recipe: OpenBlock::default(),
                blinded: OpenBlock::default(),
                unindexed: Vec::new(),
                indexes: Vec::new(),
                last_index: Instant::now(),
                stats: StreamStats::default(),
                tally: Tally::default(),
            },
        })
    }
}

impl Repository {
    /// Removes a snapshot that nobody commits any more. Where that fails, a prune does it.
    fn clear_away(&self, id: &SnapshotId) {
        if let Err(error) = self.storage.delete(&id.key()) {
            tracing::warn!("{error}");
        }
    }
}

impl BackupSession {
    /// Counts the new bytes of the next stream between `edges`, which its reader adds as it reads.
    pub fn tally(&mut self, edges: Arc<Edges>) {
        self.sink.tally = Tally::new(Some(edges));
    }

    /// Stores all that `source` yields, as far as `basis` does not have it. Progress goes to `observer`.
    ///
    /// # Errors
    /// When reading, the storage or a thread fails, or somebody cancels. What was stored until then stays, as garbage.
    pub fn store(
        &mut self,
        name: &str,
        source: &mut (dyn Read + Send),
        basis: Basis,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<StoredStream, RepoError> {
        let began = Instant::now();
        self.sink.stats = StreamStats::default();
        if let Basis::Parent(parent) = &basis {
            parent.survey().blocks.keys().for_each(|(pack, _)| self.sink.known.rely_on(*pack));
        }
        let before = self.sink.pipeline.stored_bytes();
        let headroom = self.chunker.sizes().max;
        let (full_in, full) = crossbeam_channel::bounded(BUFFERS);
        let (empty_in, empty) = crossbeam_channel::bounded(BUFFERS);
        for _ in 0..BUFFERS {
            // Safe to ignore because the channel has room for exactly these.
            let _ = empty_in.send(Vec::with_capacity(headroom + input::FILL_BYTES));
        }
        let (taken, total) = std::thread::scope(|scope| {
            let reader = std::thread::Builder::new().name("read".to_owned());
            let reader = reader
                .spawn_scoped(scope, move || read_ahead(source, headroom, &full_in, &empty, cancel))
                .map_err(|thread| RepoError::Thread { source: thread })?;
            let (cut_in, cut) = crossbeam_channel::bounded(BUFFERS);
            let (scattered_in, scattered) = crossbeam_channel::unbounded();
            let (chunker, key) = (&self.chunker, &self.repo.content.chunk_id);
            let cutter = std::thread::Builder::new().name("chunk".to_owned());
            cutter
                .spawn_scoped(scope, move || cut_ahead(chunker, key.expose(), &full, &cut_in, &scattered))
                .map_err(|thread| RepoError::Thread { source: thread })?;
            let pieces = Pieces { cut, scattered: scattered_in, empty: empty_in };
            let stored = self.sink.store_pieces(basis, pieces, observer, cancel);
            let read = reader.join().unwrap_or(Err(RepoError::Stopped));
            match (stored, read) {
                // The reader stops because the other side did, and the other way round: the cause is told.
                (Err(error), Err(RepoError::Stopped) | Ok(_)) => Err(error),
                (_, Err(error)) => Err(error),
                (Ok(taken), Ok(total)) => Ok((taken, total)),
            }
        })?;
        let Taken { root, front, is_unlike_parent, parent_failure } = taken;
        self.sink.pipeline.settle()?;
        let after = self.sink.pipeline.stored_bytes();
        let stats = StreamStats {
            bytes_stored: after.0 - before.0,
            recipe_bytes_stored: after.1 - before.1,
            duration_ms: began.elapsed().as_millis() as u64,
            ..self.sink.stats
        };
        let Total { bytes, digest } = total;
        let stream = Stream {
            name: name.to_owned(),
            bytes,
            digest,
            proof: Proof::Unproven,
            root,
            format: StreamFormat::Unknown,
            stats,
            attributes: BTreeMap::new(),
            table_map: None,
        };
        let new_bytes = std::mem::take(&mut self.sink.tally).finish();
        Ok(StoredStream { session: self.number, stream, front, is_unlike_parent, parent_failure, new_bytes })
    }

    /// Makes everything durable and commits the snapshot: packs, index, snapshot, mark, in this order.
    ///
    /// # Errors
    /// When anything fails; then there is no snapshot, unless the very last step's answer was lost. [`RepoError::Fenced`] when this backup
    /// was suspended for so long that a prune went on without it: what it relied on may be gone.
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
        let state = match (streams.iter().any(|stream| stream.is_suspect), request.failed.is_empty()) {
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

    /// How many snapshots are staged, and the stored bytes of all that was put together so far.
    pub fn staged(&self) -> (usize, u64) {
        let (data, recipe) = self.sink.pipeline.stored_bytes();
        (self.staged.len(), data + recipe)
    }

    /// Makes everything durable and commits the staged snapshots, in the order in which they were staged. Whether packs are gone and the
    /// session is still good is looked at for all of them together.
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
            staged.iter().for_each(|one| self.repo.clear_away(&one.summary.id));
            return Err(error);
        }
        let marks = staged.iter().map(|one| {
            self.repo.put_mark(&Mark {
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
        // Whoever removes snapshots as abandoned, or rotates keys, has ended their sessions first, and looked for marks then: it has seen
        // these, or this finds the session ended.
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

    /// Whether the epoch that this session writes in was closed by an object that names all the marks: then they count, though the session
    /// was ended.
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
        // Whoever saw it meanwhile shall not take it for lost: here by what this host remembers, elsewhere by the word of a full key.
        self.repo.memory.note_answer(Question::Rollback, &snapshot.to_string(), "taken back");
        if self.repo.role() == Role::Full {
            let forgotten = self.repo.put_mark(&Mark {
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
        // Where that fails again and again, a mark without a snapshot stays: told by every check, until a repair gives it up.
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
        self.repo.clear_away(snapshot);
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
        self.repo.leave_out_unnamed(&indexes, &mut healed);
        self.repo.leave_out_unnamed(&indexes, &mut lost);
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
        if !self.repo.locks() {
            return Ok(());
        }
        let relied = self.sink.known.relied_on();
        self.repo.extend_locks(self.sink.known.catalog(), relied)
    }

    /// Refuses to go on when a prune may have deleted something that this backup relies on. The session tells: whoever deletes ends it
    /// first. That packs are gone all the same, by other hands, is looked at once.
    fn fence(&mut self, look_at_packs: bool) -> Result<(), RepoError> {
        if look_at_packs {
            let relied = self.sink.known.relied_on();
            let listed = self.repo.list_packs()?;
            if let Some(gone) = relied.iter().find(|pack| !listed.contains_key(pack)) {
                let why = format!("pack {}, which it relies on, is gone", gone.short());
                return Err(RepoError::Fenced { why });
            }
        }
        if !self.session.is_registered()? {
            let why = "it was suspended for so long that a prune went on without it".to_owned();
            return Err(RepoError::Fenced { why });
        }
        Ok(())
    }

    /// Shows other machines that this backup is alive. That happens every five minutes by itself; this is for whoever keeps time otherwise.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn show_life(&self) -> Result<(), RepoError> {
        self.session.beat().map(|_| ())
    }

    /// How many seconds the clock that shows `now_ms` is ahead of the storage's; to be asked right after the backup began.
    pub fn clock_skew_seconds(&self, now_ms: i64) -> i64 {
        self.session.skew_seconds(now_ms)
    }

    /// Gives up: keeps what is durable for a later backup, commits nothing.
    pub fn abandon(mut self) {
        let finished = self.sink.pipeline.take_finished();
        self.sink.known.add_packs(&finished);
    }
}

fn pins_of(ids: &[SnapshotId]) -> Option<ByteVec> {
    let room = PINS_BYTES_MAX / SnapshotId::LEN;
    let bytes: Vec<u8> = ids.iter().take(room).flat_map(|id| *id.as_bytes()).collect();
    (!bytes.is_empty()).then(|| bytes.into())
}

/// Chunks that will make up the next block.
#[derive(Default)]
struct OpenBlock {
    plain: Vec<u8>,
    chunks: Vec<ChunkEntry>,
    prefixes: Vec<u8>,
}

/// Where chunks and nodes go: looked up, gathered into blocks, handed to the pipeline.
struct Sink {
    repo: Repository,
    known: Known,
    pipeline: Pipeline,
    data: OpenBlock,
    recipe: OpenBlock,
    blinded: OpenBlock,
    /// Durable packs that no index object names yet.
    unindexed: Vec<IndexedPack>,
    /// Index objects that were written.
    indexes: Vec<IndexId>,
    last_index: Instant,
    stats: StreamStats,
    tally: Tally,
}

/// Bytes at the front of a stream that are kept, to tell what it is.
const FRONT_BYTES: usize = 512;

/// What became of a stream's pieces.
struct Taken {
    root: NodeId,
    front: Vec<u8>,
    is_unlike_parent: bool,
    parent_failure: Option<RepoError>,
}

/// Where pieces come from, and what goes back.
struct Pieces {
    cut: crossbeam_channel::Receiver<CutPiece>,
    /// For each piece, whether it followed the parent with changes all over.
    scattered: crossbeam_channel::Sender<bool>,
    /// Buffers to fill again.
    empty: crossbeam_channel::Sender<Vec<u8>>,
}

impl Sink {
    fn store_pieces(
        &mut self,
        mut basis: Basis,
        pieces: Pieces,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<Taken, RepoError> {
        let Pieces { cut, scattered, empty } = pieces;
        let mut pieces = cut.iter().peekable();
        let front = pieces.peek().and_then(|piece| piece.bytes.get(piece.start..)).unwrap_or_default();
        let front = front.get(..FRONT_BYTES).unwrap_or(front).to_vec();
        let is_unlike_parent = basis.drop_unlike(&front);
        let mut writer = StreamWriter::new(self, basis);
        for piece in pieces {
            if cancel.is_cancelled() {
                return Err(RepoError::Cancelled);
            }
            let found_before = writer.bytes_found();
            let is_scattered = writer.piece(&piece)?;
            // Safe to ignore because the cutter may have ended already.
            let _ = scattered.send(is_scattered);
            let CutPiece { bytes, fresh, .. } = piece;
            // Safe to ignore because the reader may have ended already, and the last piece's buffer is none of its own.
            let _ = empty.try_send(bytes);
            writer.take_finished()?;
            let bytes_known = writer.bytes_found() - found_before;
            observer.observe(Event::Advanced { bytes: fresh as u64, bytes_known });
        }
        let (root, parent_failure) = writer.finish()?;
        self.submit(BlockKind::Data)?;
        self.submit(BlockKind::Blinded)?;
        self.submit(BlockKind::Recipe)?;
        Ok(Taken { root, front, is_unlike_parent, parent_failure })
    }

    /// Whether a chunk's id must say nothing of its bytes, which are few enough to be guessed.
    fn is_blinded(&self, bytes: &[u8]) -> bool {
        bytes.len() < BLINDED_BELOW.min(self.repo.config.chunk_sizes.min)
    }

    fn is_known(&mut self, chunk: &ChunkId) -> bool {
        self.known.contains(chunk.as_bytes(), BlockKind::Data)
    }

    /// Whether the chunk is known and not in a block of which the surveyed stream wants little else.
    fn is_known_in(&mut self, chunk: &ChunkId, survey: &Survey) -> bool {
        match self.known.place(chunk.as_bytes(), BlockKind::Data) {
            None => false,
            Some(Place::Pending) => true,
            Some(Place::At { pack, block }) => {
                survey.blocks.get(&(pack, block)).is_none_or(|block| survey.is_sound(block))
            }
        }
    }

    /// Stores a chunk unless it is known; its id.
    fn add_chunk(&mut self, id: ChunkId, bytes: &[u8]) -> Result<ChunkId, RepoError> {
        if !self.is_blinded(bytes) && self.is_known(&id) {
            self.stats.bytes_known += bytes.len() as u64;
            return Ok(id);
        }
        self.store_chunk(id, bytes)
    }

    /// Stores a chunk that is not known; its id: `id`, unless it is too short for one that tells what it is.
    fn store_chunk(&mut self, id: ChunkId, bytes: &[u8]) -> Result<ChunkId, RepoError> {
        if self.is_blinded(bytes) {
            return self.add_blinded(bytes);
        }
        self.stats.bytes_new += bytes.len() as u64;
        self.add_new(BlockKind::Data, *id.as_bytes(), &[], bytes)?;
        Ok(id)
    }

    /// Stores bytes as a chunk whose id says nothing of them.
    fn add_blinded(&mut self, bytes: &[u8]) -> Result<ChunkId, RepoError> {
        self.stats.bytes_new += bytes.len() as u64;
        let (id, prefix) = self.blind(bytes)?;
        self.add_new(BlockKind::Blinded, *id.as_bytes(), &prefix, bytes)?;
        Ok(id)
    }

    /// Stores a chunk of gathered runs as a block of its own.
    fn add_gathered(&mut self, bytes: &[u8]) -> Result<ChunkId, RepoError> {
        self.stats.bytes_new += bytes.len() as u64;
        let (id, prefix) = self.blind(bytes)?;
        self.add_alone(BlockKind::Blinded, *id.as_bytes(), &prefix, bytes)?;
        Ok(id)
    }

    /// A fresh id for `bytes`, and the random bytes that it covers besides.
    fn blind(&self, bytes: &[u8]) -> Result<(ChunkId, [u8; PREFIX_BYTES]), RepoError> {
        let mut prefix = [0; PREFIX_BYTES];
        self.repo.entropy.fill(&mut prefix)?;
        let hash = blinded_hash(&self.repo.content.chunk_id, &prefix, bytes);
        Ok((ChunkId::from_bytes(*hash.as_bytes()), prefix))
    }

    /// Stores a chunk that is not known as a block of its own.
    fn add_alone(
        &mut self,
        kind: BlockKind,
        id: [u8; 32],
        prefix: &[u8],
        bytes: &[u8],
    ) -> Result<(), RepoError> {
        let mut plain = self.pipeline.buffer();
        plain.extend_from_slice(bytes);
        let chunks = vec![(id, bytes.len() as u32)];
        self.pipeline.submit(Block { kind, plain, chunks, prefixes: prefix.to_vec(), packed: None })?;
        self.known.add_pending(id);
        Ok(())
    }

    fn add_node(&mut self, bytes: &[u8]) -> Result<NodeId, RepoError> {
        let id = *blake3::keyed_hash(self.repo.content.node_id.expose(), bytes).as_bytes();
        if !self.known.contains(&id, BlockKind::Recipe) {
            self.add_new(BlockKind::Recipe, id, &[], bytes)?;
        }
        Ok(NodeId::from_bytes(id))
    }

    fn add_new(
        &mut self,
        kind: BlockKind,
        id: [u8; 32],
        prefix: &[u8],
        bytes: &[u8],
    ) -> Result<(), RepoError> {
        if self.open(kind).plain.len() + bytes.len() > self.repo.config.block_bytes {
            self.submit(kind)?;
        }
        let block = self.open(kind);
        block.prefixes.extend_from_slice(prefix);
        block.plain.extend_from_slice(bytes);
        block.chunks.push((id, bytes.len() as u32));
        self.known.add_pending(id);
        Ok(())
    }

    fn open(&mut self, kind: BlockKind) -> &mut OpenBlock {
        match kind {
            BlockKind::Data => &mut self.data,
            BlockKind::Recipe => &mut self.recipe,
            BlockKind::Blinded => &mut self.blinded,
        }
    }

    /// Hands the open block of that kind to the pipeline, if there is anything in it.
    fn submit(&mut self, kind: BlockKind) -> Result<(), RepoError> {
        if self.open(kind).chunks.is_empty() {
            return Ok(());
        }
        let fresh = OpenBlock { plain: self.pipeline.buffer(), ..OpenBlock::default() };
        let OpenBlock { plain, chunks, prefixes } = std::mem::replace(self.open(kind), fresh);
        self.pipeline.submit(Block { kind, plain, chunks, prefixes, packed: None })
    }

    fn take_finished(&mut self) -> Result<(), RepoError> {
        let packs = self.pipeline.take_finished();
        self.add_finished(packs)?;
        let due = self.last_index.elapsed() >= INDEX_INTERVAL && !self.unindexed.is_empty();
        if due || self.unindexed.len() >= PACKS_PER_INDEX { self.write_index() } else { Ok(()) }
    }

    fn add_finished(&mut self, packs: Vec<IndexedPack>) -> Result<(), RepoError> {
        if !packs.is_empty() {
            self.known.add_packs(&packs);
            self.unindexed.extend(packs);
        }
        Ok(())
    }

    fn write_index(&mut self) -> Result<(), RepoError> {
        self.last_index = Instant::now();
        if self.unindexed.is_empty() {
            return Ok(());
        }
        let index = Index { packs: std::mem::take(&mut self.unindexed), replaces: Vec::new() };
        let bytes = index.seal(self.repo.id, &self.repo.keys, self.repo.entropy.as_ref())?;
        let id: IndexId = self.repo.put_hashed(&bytes)?;
        self.indexes.push(id);
        self.known.set_indexed(&id, &index.packs);
        Ok(())
    }

    /// Makes all packs durable and names them in index objects, also those that an earlier backup left without.
    fn flush(&mut self) -> Result<(), RepoError> {
        // Also what a stream that failed left in its open block: its chunks count as known by now.
        self.submit(BlockKind::Data)?;
        self.submit(BlockKind::Blinded)?;
        self.submit(BlockKind::Recipe)?;
        let packs = self.pipeline.flush()?;
        self.add_finished(packs)?;
        let own: HashSet<PackId> = self.unindexed.iter().map(|pack| pack.id).collect();
        for pack in self.known.unindexed().into_iter().filter(|pack| !own.contains(&pack.id)) {
            // Others of this host wrote it, and a prune may have deleted it since.
            if self.repo.storage.size(&pack.id.key())?.is_some() {
                self.unindexed.push(pack);
            }
        }
        while self.unindexed.len() > PACKS_PER_INDEX {
            let later = self.unindexed.split_off(PACKS_PER_INDEX);
            self.write_index()?;
            self.unindexed = later;
        }
        self.write_index()
    }
}
