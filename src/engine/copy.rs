//! Copy: snapshots of one repository into another, whatever the keys of the two.
//!
//! Into a repository that was made for it, in which content has the same names, blocks go as they are and only what is
//! missing there is read. Into any other a snapshot's streams are read, checked, and stored as a backup stores them:
//! chunk ids differ from repository to repository, so that bytes are copied. What the destination has already is found
//! by its chunks and in the copy before. Either way a day's copy takes what the day's backup took. The head of a copy
//! names the snapshot that it is a copy of; by that a later run knows what is there. Packs that arrived before a run
//! was cut short are found again by the next.

mod batch;
mod destination;
mod run;

use self::batch::Batch;
use self::destination::{Standing, copy_to, examine, open};
pub use self::run::{CopyAsker, CopyOutcome, KeyWanted, run_copies};

use super::OpError;
use super::backup::{BackupRequest, ParentChoice, Parents, READ_AMPLIFICATION_MAX, WithDamage, tags_of};
use super::file_digest::Whole;
use crate::base::calendar::Calendar;
use crate::base::clock::Clock;
use crate::base::event::{Cancel, Event, Observer, Silent};
use crate::base::fault::{Class, Fault as _};
use crate::base::id::SnapshotId;
use crate::base::name::{SeriesName, SnapshotName};
use crate::content::codec::Level;
use crate::vault::crypto::{CryptoError, Role};
use crate::vault::format::mark::MarkKind;
use crate::vault::history::{History, Stops};
use crate::vault::reader::{Locator, ReadSettings};
use crate::vault::snapshot::selection::{SelectionError, Viewpoint, check_series, newer};
use crate::vault::snapshot::{Body, DigestKind, State, Stream, Summary};
use crate::vault::writer::{
    BackupSession, Committed, Finished, SUSPECT, StoredStream, TransferError, TransferSource, UNREAD,
};
use crate::vault::{RepoError, Repository};
use crossbeam_channel::{Receiver, Sender};
use jiff::Timestamp;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::Read;
use std::sync::{Arc, Mutex};

/// Pieces of a stream, of a megabyte each, on their way from the one repository to the other.
const PIECES: usize = 4;
/// Which of the two repositories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one that is read.
    Source,
    /// The one that is written to.
    Destination,
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Destination => "destination",
        })
    }
}

/// What to copy, and how.
#[derive(Debug, Clone)]
pub struct CopyRequest {
    /// Snapshots by name; all if there is none.
    pub names: Vec<SnapshotName>,
    /// A host with none of its own takes names to mean the newest of all hosts'.
    pub any_host: bool,
    /// Of these only those of one of these series, if any is named …
    pub series: Vec<SeriesName>,
    /// … which must be there, and is only told of otherwise …
    pub series_must_be: bool,
    /// … and of this host …
    pub host: Option<String>,
    /// … with all of these tags, calendar tags among them …
    pub tags: Vec<String>,
    /// … and not older than this.
    pub since: Option<Timestamp>,
    /// How calendar tags are reckoned.
    pub calendar: Calendar,
    /// Compression at the destination.
    pub level: Level,
    /// Blocks that could go as they are, are compressed anew.
    pub recompress: bool,
    /// Threads that compress.
    pub workers: usize,
    /// How the source is read.
    pub read: ReadSettings,
    /// The host that copies: its series are meant first, and marks name it.
    pub by: String,
    /// Say what would be copied, and copy nothing.
    pub dry_run: bool,
}

/// What became of a snapshot.
#[derive(Debug)]
pub enum Fate {
    /// It is there already, under this id.
    There(SnapshotId),
    /// It would be copied.
    Wanted,
    /// It was copied.
    Copied(Box<Committed>),
    /// It cannot be copied.
    Failed(OpError),
}

/// A snapshot that was to be copied.
#[derive(Debug)]
pub struct Copied {
    /// The source's snapshot.
    pub summary: Summary,
    /// What became of it.
    pub fate: Fate,
}

/// What a copy did.
#[derive(Debug, Default)]
pub struct CopyReport {
    /// The snapshots that were dealt with, oldest first.
    pub snapshots: Vec<Copied>,
    /// Why it ended before all of them were dealt with.
    pub stopped: Option<OpError>,
    /// Snapshots of the source that cannot be seen, and of which nobody knows whether they were meant.
    pub hidden: Vec<String>,
    /// Damage met at the destination. What was copied is whole all the same.
    pub damage: Vec<String>,
    /// Copies that are there, and whose tags or pin could not be brought up to those of their originals.
    pub unfollowed: Vec<String>,
}

impl CopyReport {
    /// What it comes to; `None` where all that was wanted is there.
    pub fn class(&self) -> Option<Class> {
        let is_copied = |copied: &Copied| matches!(copied.fate, Fate::Copied(_));
        let is_failed = |copied: &Copied| matches!(copied.fate, Fate::Failed(_));
        if let Some(error) = &self.stopped {
            return Some(match error.class() {
                Class::NothingDone if self.snapshots.iter().any(is_copied) => Class::Partial,
                class => class,
            });
        }
        if self.snapshots.iter().any(is_failed) || !self.hidden.is_empty() {
            return Some(Class::Integrity);
        }
        (!self.damage.is_empty() || !self.unfollowed.is_empty()).then_some(Class::Partial)
    }
}

/// Copies what is not there yet, oldest first. A snapshot of the source that is damaged does not stop the others.
///
/// # Errors
/// When nothing can be copied at all. What stops it later is in the report, with what was copied until then.
pub fn copy(
    from: &Repository,
    to: &Repository,
    clock: &dyn Clock,
    request: &CopyRequest,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<CopyReport, OpError> {
    if from.id() == to.id() {
        return Err(OpError::SameRepository { location: to.location() });
    }
    observer.observe(Event::Step { what: "comparing the repositories".to_owned() });
    let (history, wanted) = look(from, request, observer)?;
    let mut report = CopyReport::default();
    for damage in &history.damaged {
        let message = damage.error.to_string();
        if damage.stops == Stops::Nothing {
            observer.observe(Event::Warning { message });
            continue;
        }
        observer.observe(Event::Damage {
            object: damage.error.object().unwrap_or_default().to_owned(),
            message: message.clone(),
        });
        report.hidden.push(message);
    }
    let there = Known::read(to, observer)?;
    let watched = WithDamage::new(observer);
    let copier = Copier { from, to, clock, request, history: &history, observer: &watched, cancel };
    let mut batch = None;
    for summary in wanted {
        let outcome = match there.copy_of(&summary) {
            Some(copy) => Ok(Fate::There(copy.id)),
            None if request.dry_run => Ok(Fate::Wanted),
            None => copier.add(&mut batch, &summary, report.snapshots.len()),
        };
        let fate = match outcome {
            Ok(fate) => fate,
            Err((Side::Source, error)) if concerns_one(&error) => {
                let error = not_copied(&summary, Side::Source, error);
                observer.observe(Event::Warning { message: error.to_string() });
                Fate::Failed(error)
            }
            Err((side, error)) => {
                report.stopped = Some(not_copied(&summary, side, error));
                break;
            }
        };
        if let (Fate::There(_), Some(copy)) = (&fate, there.copy_of(&summary)) {
            copier.follow_or_say(&summary, copy, &there.pinned, &mut report);
        }
        report.snapshots.push(Copied { summary, fate });
        if batch.as_ref().is_some_and(Batch::is_full)
            && let Some(full) = batch.take()
            && !copier.conclude(full, &mut report)
        {
            break;
        }
    }
    if let Some(rest) = batch {
        copier.conclude(rest, &mut report);
    }
    // Of those that were on their way when it stopped nothing is there.
    report.snapshots.retain(|one| request.dry_run || !matches!(one.fate, Fate::Wanted));
    report.damage.extend(watched.into_damage());
    Ok(report)
}

/// Whether only this snapshot cannot be copied: it is damaged, or is called what nothing new may be called.
fn concerns_one(error: &OpError) -> bool {
    match error {
        OpError::Repo(error) => error.is_integrity(),
        OpError::Name(_) => true,
        _ => false,
    }
}

/// The source's history, and the snapshots that are meant.
fn look(
    from: &Repository,
    request: &CopyRequest,
    observer: &dyn Observer,
) -> Result<(History, Vec<Summary>), OpError> {
    let (_, history) = from.known(observer)?;
    for series in &request.series {
        match check_series(&history.snapshots, series) {
            Err(error @ SelectionError::NoSeries { .. }) if !request.series_must_be => {
                observer.observe(Event::Warning { message: error.to_string() });
            }
            Err(error @ SelectionError::NoSeries { .. }) => return Err(error.into()),
            _ => {}
        }
    }
    let wanted = select(&history, request, observer)?;
    Ok((history, wanted))
}

/// Sees that the snapshots that are meant can be copied: before a destination is made for them.
///
/// # Errors
/// When the key cannot read them, a name means none of them, or the source fails.
pub fn check_source(
    from: &Repository,
    request: &CopyRequest,
    observer: &dyn Observer,
) -> Result<(), OpError> {
    if from.role() != Role::Full {
        return Err(RepoError::from(CryptoError::RoleTooWeak { needed: "copying snapshots" }).into());
    }
    look(from, request, observer).map(|_| ())
}

/// What would be copied into a repository that holds nothing.
///
/// # Errors
/// As [`check_source`].
pub fn plan_for_empty(
    from: &Repository,
    request: &CopyRequest,
    observer: &dyn Observer,
) -> Result<CopyReport, OpError> {
    check_source(from, request, &Silent)?;
    let (_, wanted) = look(from, request, observer)?;
    let snapshots = wanted.into_iter().map(|summary| Copied { summary, fate: Fate::Wanted }).collect();
    Ok(CopyReport { snapshots, ..CopyReport::default() })
}

fn not_copied(summary: &Summary, side: Side, error: OpError) -> OpError {
    OpError::NotCopied {
        snapshot: summary.id.short(),
        series: summary.head.series.clone(),
        side,
        source: Box::new(error),
    }
}

/// The snapshots that are meant, oldest first.
fn select(
    history: &History,
    request: &CopyRequest,
    observer: &dyn Observer,
) -> Result<Vec<Summary>, OpError> {
    let named: Option<HashSet<SnapshotId>> = if request.names.is_empty() {
        None
    } else {
        let view = Viewpoint { host: request.by.clone(), any_host: request.any_host };
        let find =
            |name: &SnapshotName| super::restore::find(history, name, &view, observer).map(|found| found.id);
        Some(request.names.iter().map(find).collect::<Result<_, _>>()?)
    };
    let tags = tags_of(&history.snapshots, &request.calendar);
    let is_meant = |(summary, calendar): &(&Summary, Vec<&'static str>)| {
        let head = &summary.head;
        let has = |tag: &String| calendar.contains(&tag.as_str()) || head.tags.contains(tag);
        named.as_ref().is_none_or(|named| named.contains(&summary.id))
            && (request.series.is_empty() || request.series.iter().any(|series| head.is_of(series)))
            && request.host.as_ref().is_none_or(|host| *host == head.host)
            && request.tags.iter().all(has)
            && request.since.is_none_or(|since| head.time() >= since)
    };
    // The history has them oldest first.
    let meant = history.snapshots.iter().zip(tags).filter(is_meant);
    Ok(meant.map(|(summary, _)| summary.clone()).collect())
}

/// The first snapshot that this one is a copy of: itself, unless it is one.
fn origin_of(summary: &Summary) -> SnapshotId {
    summary.head.origin.unwrap_or(summary.id)
}

/// What the destination holds.
struct Known {
    /// Snapshots by what they are copies of.
    by_origin: HashMap<SnapshotId, Summary>,
    pinned: HashSet<SnapshotId>,
}

impl Known {
    fn read(to: &Repository, observer: &dyn Observer) -> Result<Self, RepoError> {
        let mut catalog = to.catalog(observer)?;
        Ok(Self::of(to.history(&mut catalog)?))
    }

    fn of(history: History) -> Self {
        // One that is known to be lost is no copy: it is copied again.
        let damaged = history.damaged_snapshots;
        let sound = history.snapshots.into_iter().filter(|summary| !damaged.contains_key(&summary.id));
        let by_origin = sound.map(|summary| (origin_of(&summary), summary)).collect();
        Self { by_origin, pinned: history.pinned }
    }

    fn copy_of(&self, summary: &Summary) -> Option<&Summary> {
        self.by_origin.get(&origin_of(summary))
    }
}

/// An error, and which repository it is of.
type Failure = (Side, OpError);

fn of_source(error: impl Into<OpError>) -> Failure {
    (Side::Source, error.into())
}

fn of_destination(error: impl Into<OpError>) -> Failure {
    (Side::Destination, error.into())
}

/// How streams get from one repository into the other.
enum Way<'a> {
    /// Block by block: content has the same names in both.
    Blocks { source: &'a mut TransferSource, parent: Option<SnapshotId> },
    /// As a backup, with the copies before as parents.
    Bytes(Box<Parents>),
}

impl Way<'_> {
    /// The parent that the copy names.
    fn parent(&self) -> Option<SnapshotId> {
        match self {
            Self::Blocks { parent, .. } => *parent,
            Self::Bytes(parents) => parents.used(),
        }
    }
}

struct Copier<'a> {
    from: &'a Repository,
    to: &'a Repository,
    clock: &'a dyn Clock,
    request: &'a CopyRequest,
    history: &'a History,
    observer: &'a WithDamage<'a>,
    cancel: &'a Cancel,
}

impl Copier<'_> {
    /// As [`Copier::follow`]; a failure makes the copy no worse, and is said.
    fn follow_or_say(
        &self,
        summary: &Summary,
        copy: &Summary,
        pinned: &HashSet<SnapshotId>,
        report: &mut CopyReport,
    ) {
        if let Err(error) = self.follow(summary, copy, pinned) {
            let message = format!("the copy of {} lacks its tags or its pin: {error}", summary.id.short());
            self.observer.observe(Event::Warning { message: message.clone() });
            report.unfollowed.push(message);
        }
    }

    /// Says of a copy what was said of its original since: that it is pinned, and tags. What is not said any more of
    /// the original stays with the copy, since somebody may have said it there.
    fn follow(
        &self,
        summary: &Summary,
        copy: &Summary,
        pinned: &HashSet<SnapshotId>,
    ) -> Result<(), RepoError> {
        if self.request.dry_run {
            return Ok(());
        }
        let now_ms = self.clock.now().as_millisecond();
        let mark =
            |kind, value| self.to.marks().mark_snapshot(&copy.id, kind, value, &self.request.by, now_ms);
        if self.history.pinned.contains(&summary.id) && !pinned.contains(&copy.id) {
            mark(MarkKind::Pinned, Some(None))?;
        }
        let lacks = |copy: &Summary| summary.head.tags.iter().any(|tag| !copy.head.tags.contains(tag));
        if !lacks(copy) {
            return Ok(());
        }
        // What is written takes the place of all that was said before, also while this run was under way.
        let mut catalog = self.to.catalog(&Silent)?;
        let history = self.to.history(&mut catalog)?;
        let Some(now) = history.snapshots.iter().find(|other| other.id == copy.id) else { return Ok(()) };
        if lacks(now) {
            let tags: BTreeSet<&String> = now.head.tags.iter().chain(&summary.head.tags).collect();
            let tags: Vec<&str> = tags.into_iter().map(String::as_str).collect();
            mark(MarkKind::Tags, Some(Some(tags.join("\n"))))?;
        }
        Ok(())
    }

    /// Copies one stream; it is finished only once all of it is there. By bytes it then has the digest of the dump; by
    /// blocks it has the recipe of the dump, and every chunk that came was checked.
    fn stream(
        &self,
        session: &mut BackupSession,
        way: &mut Way<'_>,
        locator: &Arc<Mutex<Locator>>,
        (streams, stream): (&[Stream], &Stream),
    ) -> Result<Finished, Failure> {
        let name = stream.name.as_str();
        self.observer
            .observe(Event::StreamStarted { stream: name.to_owned(), bytes_expected: Some(stream.bytes) });
        let mut stored = match way {
            Way::Blocks { source, .. } => {
                session.transfer(source, stream, self.observer, self.cancel).map_err(|error| match error {
                    TransferError::Source(error) => of_source(error),
                    TransferError::Destination(error) => of_destination(error),
                })?
            }
            Way::Bytes(parents) => self.bytes(session, parents, locator, (streams, stream))?,
        };
        stored.set_table_map(stream.table_map.clone().map(Into::into));
        if stream.digest_kind() == DigestKind::OfFiles {
            stored.set_digest_of(stream);
        }
        self.observer.observe(Event::StreamFinished { stream: name.to_owned() });
        let suspicion = stream.attributes.get(SUSPECT).cloned();
        let finished = stored.finish(stream.proof, stream.format, stream.attributes.clone());
        if finished.stream().digest != stream.digest {
            let what = "it did not arrive as it was read".to_owned();
            return Err(of_destination(RepoError::Inconsistent { object: format!("stream {name}"), what }));
        }
        let finished = match stream.attributes.get(UNREAD) {
            Some(what) => finished.without(what.clone()),
            None => finished,
        };
        Ok(match suspicion {
            Some(why) => finished.suspect(why),
            None => finished,
        })
    }

    /// Reads a stream, and stores it as a backup does.
    fn bytes(
        &self,
        session: &mut BackupSession,
        parents: &mut Parents,
        locator: &Arc<Mutex<Locator>>,
        (streams, stream): (&[Stream], &Stream),
    ) -> Result<StoredStream, Failure> {
        let name = stream.name.as_str();
        let basis = parents.basis(session, name, self.observer);
        let (pieces_in, pieces) = crossbeam_channel::bounded(PIECES);
        let mut incoming = Incoming { pieces, piece: Vec::new(), at: 0, is_whole: false };
        let outcome = std::thread::scope(|scope| {
            let reader = std::thread::Builder::new().name("source".to_owned());
            let reader = reader
                .spawn_scoped(scope, move || self.read(locator, (streams, stream), &pieces_in))
                .map_err(|source| of_source(RepoError::Thread { source }))?;
            let stored = session.store(name, &mut incoming, basis, self.observer, self.cancel);
            // The reader may wait for room that nobody will make any more.
            drop(incoming);
            let read = reader.join().unwrap_or(Err(RepoError::Stopped));
            match (stored, read) {
                (Ok(stored), Ok(())) => Ok(stored),
                // Reading ended because nobody took any more.
                (Err(error), Ok(()) | Err(RepoError::Output { .. } | RepoError::Stopped)) => {
                    Err(of_destination(error))
                }
                (_, Err(error)) => Err(of_source(error)),
            }
        });
        let stored = outcome?;
        parents.conclude(name, &stored, self.observer);
        Ok(stored)
    }

    /// Reads the stream and hands it over, and in the end that this was all of it.
    fn read(
        &self,
        locator: &Arc<Mutex<Locator>>,
        (streams, stream): (&[Stream], &Stream),
        pieces: &Sender<Option<Vec<u8>>>,
    ) -> Result<(), RepoError> {
        let mut hand_over = |bytes: &[u8]| {
            let taken = pieces.send(Some(bytes.to_vec()));
            taken.map_err(|_| std::io::Error::other("the destination takes no more"))
        };
        let settings = self.request.read;
        let whole = Whole { repo: self.from, locator, streams, settings };
        whole.read(stream, &Silent, self.cancel, &mut hand_over)?;
        // Safe to ignore because a destination that does not listen any more has an error to tell.
        let _ = pieces.send(None);
        Ok(())
    }

    /// What the parent is looked for with.
    fn backup_request(&self, summary: &Summary, parent: Option<SnapshotId>) -> BackupRequest {
        BackupRequest {
            series: summary.head.series.clone(),
            host: summary.head.host.clone(),
            time: Some(summary.head.time()),
            tags: Vec::new(),
            calendar: self.request.calendar.clone(),
            level: self.request.level,
            allow_empty: true,
            workers: self.request.workers,
            parent: parent.map_or(ParentChoice::None, ParentChoice::Snapshot),
            read_amplification_max: READ_AMPLIFICATION_MAX,
            suspect_below: 0.0,
            source: Default::default(),
            set: None,
        }
    }
}

/// The complete snapshots of the destination in the series of the one that comes, oldest first.
fn complete<'a>(history: &'a History, summary: &'a Summary) -> impl DoubleEndedIterator<Item = &'a Summary> {
    let series = history.series(&summary.head.series, &summary.head.host);
    series.filter(|other| other.head.state == State::Complete)
}

/// The destination's copy of the parent of the snapshot that comes.
fn copied_parent<'a>(history: &'a History, summary: &'a Summary, body: &Body) -> Option<&'a Summary> {
    complete(history, summary)
        .find(|other| Some(origin_of(other)) == body.parent || Some(other.id) == body.parent)
}

/// The complete snapshot of its series that is next in time to the one that comes, an older one first.
fn nearest(history: &History, summary: &Summary) -> Option<SnapshotId> {
    let before = complete(history, summary).rev().find(|other| other.head.time_ms <= summary.head.time_ms);
    before.or_else(|| complete(history, summary).next()).map(|found| found.id)
}

/// Where the copy stands in the destination's series: its counter, the one before, and whether it comes as an import:
/// snapshots may be copied in any order, and an older one that comes later is not the newest.
fn place(history: &History, summary: &Summary) -> (u64, Option<SnapshotId>, bool) {
    let series = history.series(&summary.head.series, &summary.head.host);
    let newest = series.filter(|other| !other.head.is_import()).max_by(|a, b| newer(a, b));
    let is_older = newest.is_some_and(|newest| summary.head.time_ms < newest.head.time_ms);
    match newest {
        _ if is_older || summary.head.is_import() => (0, None, true),
        Some(newest) => (newest.head.counter.saturating_add(1), Some(newest.id), false),
        None => (1, None, false),
    }
}

/// A stream on its way, as something to read. It ends well only after the word that it is whole.
struct Incoming {
    pieces: Receiver<Option<Vec<u8>>>,
    piece: Vec<u8>,
    at: usize,
    is_whole: bool,
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.at >= self.piece.len() {
            if self.is_whole {
                return Ok(0);
            }
            match self.pieces.recv() {
                Ok(Some(piece)) => (self.piece, self.at) = (piece, 0),
                Ok(None) => self.is_whole = true,
                Err(_) => return Err(std::io::Error::other("the source cannot be read on")),
            }
        }
        let rest = self.piece.get(self.at..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        self.at += count;
        Ok(count)
    }
}
