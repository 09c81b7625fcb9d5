//! Restore: a snapshot's stream goes out, to a file, a program, a database, or a writer.

mod archive;
mod database;
mod doubt;
mod extract;
mod guard;
mod journal;
mod loading;
mod look;
mod reading;
mod redis;
mod script;
mod server;
mod set;
mod swap;
mod transaction;
mod trial;
mod verify;

pub use archive::{Archive, Compared, Expected, Findings, Jobs, Part};
pub use database::{
    Count, DatabaseJob, DatabasePlan, DatabaseReport, Effect, Filled, Restoring, When, plan_database,
    run_database,
};
pub use doubt::Doubt;
pub use extract::{Extract, Picked};
pub use guard::ExpectedHost;
pub(in crate::engine) use guard::refuse_protected;
pub use loading::Loaded;
pub use look::{Looked, Reference};
pub use reading::{ReadThrough, is_read_through};
pub use redis::{RedisJob, RedisPlan, RedisReport, meant, numbers, plan_redis, run_redis, streams_of_keys};
pub use server::is_cluster_script;
pub use server::{
    DatabaseOutcome, PlannedDatabase, Restored, ServerJob, ServerPlan, ServerReport, Standing, Without,
    plan_server, run_server,
};
pub use set::{SetCommand, SetReport, StepEnd, run_set, set_commands};
pub use swap::{Manners, SwapJob, SwapPlan, plan_swap, quoted, run_swap};
pub use trial::{Found, Tried, VerifyReport, next_of_verify, run_verify};
pub use verify::Verified;

use super::OpError;
use super::file_digest::Whole;
use crate::base::event::{Cancel, Event, Observer};
use crate::base::id::SnapshotId;
use crate::base::name::SnapshotName;
use crate::base::unfinished::Unfinished;
use crate::content::pg::Synthesis;
use crate::source::postgres::{
    Discarded, DumpKind, KIND_BYTES_WANTED, PostgresError, Prepared, RestoreTarget, kind_of_dump,
};
use crate::source::{Sink, SourceError};
use crate::vault::catalog::Catalog;
use crate::vault::history::{History, HistoryDamage};
use crate::vault::reader::{Locator, Output, ReadSettings, ReadStats};
use crate::vault::snapshot::selection::{SelectionError, Viewpoint, select};
use crate::vault::snapshot::{Body, Stream, StreamFormat, Summary};
use crate::vault::{RepoError, Repository};
use std::collections::BTreeMap;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// A snapshot that was chosen, with its body read.
pub struct Chosen {
    /// Id and head.
    pub summary: Summary,
    /// Streams and the rest.
    pub body: Body,
    locator: Arc<Mutex<Locator>>,
    /// Snapshots of its series that it is held against.
    earlier: Vec<doubt::Earlier>,
    repo: Repository,
    settings: ReadSettings,
}

/// What to do where the repository lacks what was seen in it: the newest that is left may be an old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnRollback {
    /// A name that is no id stands for nothing: a person decides.
    Refuse,
    /// Tell what is missing, and go on.
    Tell,
}

/// Finds the snapshot that `name` stands for and reads its body.
///
/// # Errors
/// When there is none, or it cannot be read.
pub fn choose(
    repo: &Repository,
    name: &SnapshotName,
    from: &Viewpoint,
    rollback: OnRollback,
    settings: ReadSettings,
    observer: &dyn Observer,
) -> Result<Chosen, OpError> {
    let (mut catalog, mut history) = repo.known(observer)?;
    if rollback == OnRollback::Tell {
        tell_rollback(&mut history, observer);
    }
    let summary = match find_in(repo, &mut catalog, &history, name, from, observer) {
        Err(OpError::Selection(error)) => {
            Err(refused_foreign(&history, name).unwrap_or_else(|| error.into()))
        }
        found => found,
    }?;
    let body = repo.body(&mut catalog, &summary.id)?;
    Ok(Chosen::new(repo, catalog, &history, summary, body, settings))
}

/// Tells what the repository lacks that was seen in it. Names of snapshots stand for what is left from then on.
pub fn tell_rollback(history: &mut History, observer: &dyn Observer) {
    if let Some(message) = rollback_words(&std::mem::take(&mut history.turned_back)) {
        observer.observe(Event::Warning { message });
    }
}

/// What the repository lacks, in one line; `None` where nothing is missing.
pub fn rollback_words(missing: &[String]) -> Option<String> {
    let (first, others) = missing.split_first()?;
    let more = match others.len() {
        0 => String::new(),
        others => format!("; {others} more: `dumpvault check` lists them"),
    };
    Some(format!("the repository was turned back: {first}{more}"))
}

/// Reads a snapshot that counts for nothing, once a person wants that one all the same.
///
/// # Errors
/// When it is not there, or cannot be read.
pub fn choose_foreign(
    repo: &Repository,
    id: &SnapshotId,
    settings: ReadSettings,
    observer: &dyn Observer,
) -> Result<Chosen, OpError> {
    let (mut catalog, history) = repo.known(observer)?;
    let object = format!("snapshots/{id}");
    let foreign = history.foreign.iter().find(|foreign| foreign.object == object);
    let head = foreign.and_then(|foreign| foreign.head.clone());
    let head = head.ok_or(RepoError::Missing { object })?;
    let body = repo.body(&mut catalog, id)?;
    let stored_ms = head.finished_ms;
    let summary = Summary { id: *id, head, stored_ms, is_doubtful: true, by_full: false };
    Ok(Chosen::new(repo, catalog, &history, summary, body, settings))
}

/// Why a snapshot is refused whose whole id was given, and which counts for nothing.
fn refused_foreign(history: &History, name: &SnapshotName) -> Option<OpError> {
    let id: SnapshotId = name.word.parse().ok()?;
    let object = format!("snapshots/{id}");
    let foreign = history.foreign.iter().find(|foreign| foreign.object == object)?;
    let head = foreign.head.as_ref()?;
    Some(OpError::ForeignSnapshot {
        snapshot: id,
        why: foreign.why.to_string(),
        claim: format!("key {} added it to `{}/{}`", head.author, head.host, head.series),
    })
}

/// As [`find`], and where a stream is called as the series that was asked for, the error names it.
///
/// # Errors
/// As [`find`].
pub fn find_in(
    repo: &Repository,
    catalog: &mut Catalog,
    history: &History,
    name: &SnapshotName,
    from: &Viewpoint,
    observer: &dyn Observer,
) -> Result<Summary, OpError> {
    let found = find(history, name, from, observer);
    let Err(OpError::Selection(SelectionError::NotFound { name: text, near, series })) = found else {
        return found;
    };
    // Only the newest of each series is looked into: on the way to an error nobody waits for more.
    let mut newest: BTreeMap<(&str, &str), &Summary> = BTreeMap::new();
    for summary in &history.snapshots {
        newest.insert((&summary.head.series, &summary.head.host), summary);
    }
    let mut newest: Vec<&Summary> = newest.into_values().collect();
    // `db1/app`, where `db1` is the series of a whole server.
    newest.sort_by_key(|summary| name.host.as_deref() != Some(summary.head.series.as_str()));
    let holder = newest.into_iter().find(|summary| {
        let body = repo.body(catalog, &summary.id);
        body.is_ok_and(|body| body.streams.iter().any(|stream| stream.name == name.word))
    });
    let stream = holder.map(|summary| format!("{}:{}", summary.head.series, name.word));
    Err(SelectionError::NotFound { name: text, near: stream.or(near), series }.into())
}

/// Finds the snapshot that `name` stands for. Damage that may have to do with the choice is told.
///
/// # Errors
/// When there is none.
pub fn find(
    history: &History,
    name: &SnapshotName,
    from: &Viewpoint,
    observer: &dyn Observer,
) -> Result<Summary, OpError> {
    let digits = name.id_digits();
    match select(&history.snapshots, name, from) {
        Ok(found) => {
            let by_id = digits.is_some_and(|digits| found.id.to_string().starts_with(&digits));
            if by_id {
                // It is the one that was meant, whatever else is missing.
                let message = rollback_words(&history.turned_back);
                message.into_iter().for_each(|message| observer.observe(Event::Warning { message }));
            } else {
                refuse_if_hidden(history, found, name, observer)?;
            }
            Ok(found.clone())
        }
        Err(error) => {
            // By its id, a snapshot can be had whose mark is lost.
            let by_id = history.uncommitted.iter().filter(|summary| {
                let digits = digits.as_ref().filter(|digits| digits.len() >= 8);
                digits.is_some_and(|digits| summary.id.to_string().starts_with(digits))
            });
            if let [summary] = by_id.collect::<Vec<_>>().as_slice() {
                let message = format!(
                    "snapshot {} is not committed: its backup was cut short at the very end, or its mark is lost",
                    summary.id.short()
                );
                observer.observe(Event::Warning { message });
                return Ok((*summary).clone());
            }
            let mut damage: Vec<String> =
                history.damaged.iter().map(|damage| damage.error.to_string()).collect();
            damage.extend(
                history
                    .uncommitted
                    .iter()
                    .filter(|summary| summary.head.series == name.word || name.is_latest())
                    .map(|summary| format!("`snapshots/{}` has no mark that commits it", summary.id)),
            );
            if damage.is_empty() {
                return Err(error.into());
            }
            Err(OpError::SelectionAmidDamage { source: Box::new(error), damage: damage.join("; ") })
        }
    }
}

/// The snapshot meant may be one that cannot be seen: an older one must not be taken for it.
fn refuse_if_hidden(
    history: &History,
    found: &Summary,
    name: &SnapshotName,
    observer: &dyn Observer,
) -> Result<(), OpError> {
    let Summary { id, head, .. } = found;
    if let Some(missing) = rollback_words(&history.turned_back) {
        let (name, visible, time) = (name.to_string(), id.short(), head.time());
        return Err(OpError::TurnedBack { missing, name, visible, time });
    }
    refuse_if_doubtful(history, found, name)?;
    let newer: Vec<&Summary> = history
        .uncommitted
        .iter()
        .filter(|other| {
            other.head.series == head.series
                && other.head.host == head.host
                && other.head.counter > head.counter
        })
        .collect();
    // A mark that cannot be read may be that of any snapshot without one.
    let hides = |damage: &&HistoryDamage| match &damage.series {
        Some(series) => *series == head.series || name.is_latest(),
        None => !newer.is_empty(),
    };
    let hidden: Vec<String> =
        history.damaged.iter().filter(hides).map(|damage| damage.error.to_string()).collect();
    if !hidden.is_empty() {
        return Err(OpError::Hidden {
            name: name.to_string(),
            visible: id.to_string(),
            damage: hidden.join("; "),
        });
    }
    for other in newer {
        let other = other.id.short();
        let message = format!("there is a newer snapshot {other} of this series, which is not committed");
        observer.observe(Event::Warning { message });
    }
    tell_of_worse(history, found, name, observer);
    Ok(())
}

/// A name stands for a complete snapshot: where the newest is not, night after night maybe, that is older than somebody
/// thinks.
fn tell_of_worse(history: &History, found: &Summary, name: &SnapshotName, observer: &dyn Observer) {
    let head = &found.head;
    let text = name.to_string();
    if text.contains('@') || text.contains('~') {
        return;
    }
    let series = history.series(&head.series, &head.host);
    let newest = series.filter(|other| !other.head.is_import()).max_by_key(|other| other.head.counter);
    let Some(newest) = newest.filter(|newest| newest.head.counter > head.counter) else { return };
    let message = format!(
        "`{text}` is snapshot {} of {}; {} of {} is newer and {}: name it by its id to use it",
        found.id.short(),
        head.time().strftime("%Y-%m-%d %H:%M UTC"),
        newest.id.short(),
        newest.head.time().strftime("%Y-%m-%d %H:%M UTC"),
        newest.head.state.word()
    );
    observer.observe(Event::Warning { message });
}

/// The newest snapshot by its counter is one whose time is not believed: a person decides.
fn refuse_if_doubtful(history: &History, found: &Summary, name: &SnapshotName) -> Result<(), OpError> {
    let text = name.to_string();
    let is_asked_by_time = text.contains('@') || text.contains('~');
    let series = history.series(&found.head.series, &found.head.host);
    let newest = series.filter(|other| !other.head.is_import()).max_by_key(|other| other.head.counter);
    let doubtful = newest.filter(|newest| newest.is_doubtful && !is_asked_by_time);
    let Some(doubtful) = doubtful.or(Some(found).filter(|found| found.is_doubtful)) else { return Ok(()) };
    Err(OpError::Doubtful {
        name: text,
        doubtful: doubtful.id.short(),
        time: doubtful.head.time(),
        stored: crate::base::clock::timestamp(doubtful.stored_ms),
        visible: (!found.is_doubtful).then(|| found.id.short()),
    })
}

/// The stream of that name.
///
/// # Errors
/// When there is none.
pub fn check_stream<'a>(summary: &Summary, body: &'a Body, name: &str) -> Result<&'a Stream, OpError> {
    let found = body.streams.iter().find(|stream| stream.name == name);
    found.ok_or_else(|| which_stream(summary, body, format!("has no stream `{name}`")))
}

fn which_stream(summary: &Summary, body: &Body, problem: String) -> OpError {
    OpError::WhichStream {
        snapshot: summary.id.short(),
        problem,
        streams: body.streams.iter().map(|stream| stream.name.clone()).collect(),
    }
}

/// What goes out: a stream as it is, or an archive made of parts of it.
#[derive(Clone, Copy)]
struct Content<'a> {
    stream: &'a Stream,
    parts: Option<&'a Synthesis>,
    /// Bytes at the front that the target does not get.
    skipped: usize,
}

/// Where a restore goes.
pub enum Target<'a> {
    /// Bytes to write to.
    Writer(&'a mut (dyn Write + Send)),
    /// A file, replaced as a whole once everything is right.
    File(PathBuf),
    /// A program that reads the stream; the words name it.
    Program(&'a dyn Fn() -> Result<Box<dyn Sink>, SourceError>, String),
    /// A database.
    Database(Box<RestoreTarget>),
}

impl Chosen {
    /// The repository that it is in.
    pub fn repo(&self) -> &Repository {
        &self.repo
    }

    /// A chosen snapshot of `repo`.
    pub fn new(
        repo: &Repository,
        catalog: Catalog,
        history: &History,
        summary: Summary,
        body: Body,
        settings: ReadSettings,
    ) -> Self {
        let locator = Locator::new(repo, catalog, history.damaged_packs.clone());
        let earlier = doubt::earlier_of(history, &summary);
        Self { summary, body, locator: Arc::new(Mutex::new(locator)), earlier, repo: repo.clone(), settings }
    }

    /// The stream of that name, or the only one.
    ///
    /// # Errors
    /// When there is none of that name, or several to choose from.
    pub fn stream(&self, name: Option<&str>) -> Result<&Stream, OpError> {
        match (name, self.body.streams.as_slice()) {
            (Some(name), _) => check_stream(&self.summary, &self.body, name),
            (None, [only]) => Ok(only),
            // What stands beside the data is meant where it is named.
            (None, [first, others @ ..])
                if first.format != StreamFormat::Settings
                    && others.iter().all(|stream| stream.format == StreamFormat::Settings) =>
            {
                Ok(first)
            }
            (None, _) => Err(which_stream(&self.summary, &self.body, "has several streams".to_owned())),
        }
    }

    /// The same, and its map goes with it, which is large with a million tables: the body holds none of this stream any
    /// more.
    ///
    /// # Errors
    /// As [`Chosen::stream`].
    pub fn take_stream(&mut self, name: Option<&str>) -> Result<Stream, OpError> {
        let name = self.stream(name)?.name.clone();
        let found = self.body.streams.iter_mut().find(|stream| stream.name == name);
        let map = found.and_then(|stream| stream.table_map.take());
        let stream = self.stream(Some(&name))?.clone();
        Ok(Stream { table_map: map, ..stream })
    }

    /// Writes the whole stream to `target`.
    ///
    /// # Errors
    /// On any error nothing may be taken as restored: a file is not there, a program was killed before its input ended,
    /// a database was rolled back.
    pub fn restore(
        &self,
        stream: &Stream,
        target: Target<'_>,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<ReadStats, OpError> {
        self.send(Content { stream, parts: None, skipped: 0 }, target, observer, cancel)
    }

    /// Writes an archive made of parts of the stream to `target`. What is not in it is not read. Every chunk is
    /// checked; the stream's digest cannot be.
    ///
    /// # Errors
    /// As [`Chosen::restore`].
    pub fn restore_part(
        &self,
        stream: &Stream,
        parts: &Synthesis,
        target: Target<'_>,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<ReadStats, OpError> {
        self.send(Content { stream, parts: Some(parts), skipped: 0 }, target, observer, cancel)
    }

    fn send(
        &self,
        content: Content<'_>,
        target: Target<'_>,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<ReadStats, OpError> {
        let stream = content.stream;
        observer.observe(Event::StreamStarted {
            stream: stream.name.clone(),
            bytes_expected: Some(content.parts.map_or(stream.bytes, Synthesis::len)),
        });
        let outcome = self.send_to(content, target, observer, cancel);
        let stream = stream.name.clone();
        observer.observe(match &outcome {
            Ok(_) => Event::StreamFinished { stream },
            Err(_) => Event::StreamFailed { stream },
        });
        outcome
    }

    fn send_to(
        &self,
        content: Content<'_>,
        target: Target<'_>,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<ReadStats, OpError> {
        match target {
            Target::Writer(writer) => {
                let stats = self.read(content, observer, cancel, &mut |bytes| writer.write_all(bytes))?;
                writer.flush().map_err(|source| RepoError::Output { source })?;
                Ok(stats)
            }
            Target::File(path) => self.restore_file(content, &path, observer, cancel),
            Target::Program(open, what) => {
                let sink = open().map_err(|source| OpError::Source { what: what.clone(), source })?;
                self.feed(content, sink, &what, observer, cancel)
            }
            Target::Database(target) => self.restore_database(content, &target, observer, cancel),
        }
    }

    fn read(
        &self,
        content: Content<'_>,
        observer: &dyn Observer,
        cancel: &Cancel,
        output: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<ReadStats, RepoError> {
        match content.parts {
            None => self.whole().read(content.stream, observer, cancel, output),
            Some(parts) => self.read_parts(content.stream, parts, self.settings, observer, cancel, output),
        }
    }

    fn whole(&self) -> Whole<'_> {
        let Self { repo, locator, body, settings, .. } = self;
        Whole { repo, locator, streams: &body.streams, settings: *settings }
    }

    /// Writes a range of a stream to `output`: every chunk is checked.
    pub(in crate::engine) fn read_range(
        &self,
        stream: &Stream,
        range: Range<u64>,
        cancel: &Cancel,
        output: &mut Output<'_>,
    ) -> Result<ReadStats, RepoError> {
        self.repo.reader().read_range(&self.locator, stream, range, self.settings, cancel, output)
    }

    fn restore_file(
        &self,
        content: Content<'_>,
        path: &Path,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<ReadStats, OpError> {
        let failed = |source| OpError::File { path: path.to_owned(), source };
        if path.metadata().is_ok_and(|meta| !meta.is_file()) {
            let mut device = open_device(path).map_err(failed)?;
            return Ok(self.read(content, observer, cancel, &mut |bytes| device.write_all(bytes))?);
        }
        let mut partial = Unfinished::beside(path).map_err(failed)?;
        let stats = self.read(content, observer, cancel, &mut |bytes| partial.file().write_all(bytes))?;
        partial.finish(path).map_err(failed)?;
        Ok(stats)
    }

    fn feed(
        &self,
        content: Content<'_>,
        mut sink: Box<dyn Sink>,
        what: &str,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<ReadStats, OpError> {
        let failed = |source| OpError::Source { what: what.to_owned(), source };
        let mut skipped = content.skipped;
        let mut output = |bytes: &[u8]| {
            let (passed, rest) = bytes.split_at(skipped.min(bytes.len()));
            skipped -= passed.len();
            sink.write_all(rest)
        };
        match self.read(content, observer, cancel, &mut output) {
            Ok(stats) => sink.finish().map(|()| stats).map_err(failed),
            Err(RepoError::Output { .. }) => Err(failed(sink.fail_reason())),
            Err(error) => {
                // Before its input is closed: it must not take a cut stream for a whole one.
                sink.abort();
                Err(error.into())
            }
        }
    }

    fn restore_database(
        &self,
        content: Content<'_>,
        target: &RestoreTarget,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<ReadStats, OpError> {
        self.admit_form(content.stream, target)?;
        let kind = match content.parts {
            // What goes out is an archive of its own, whatever the stream is.
            Some(parts) => kind_of_dump(&parts.head),
            None => self.dump_kind(content.stream, cancel)?,
        };
        if kind == DumpKind::Tar {
            // An older program stored one without looking into it, cut off or not: `pg_restore` takes some for whole,
            // and waits for ever for the rest of others.
            self.map(content.stream, observer, cancel)?;
        }
        let is_archive = matches!(kind, DumpKind::Archive { .. } | DumpKind::Tar);
        let plan = match is_archive && target.create {
            true => {
                let archive = self.archive_without_objects(content.stream, observer, cancel)?;
                archive.database_plan(target.is_for_all())
            }
            false => None,
        };
        let mended = match is_archive && target.clean && content.parts.is_none() {
            true => self.archive(content.stream, observer, cancel)?.mended()?,
            false => None,
        };
        let kind = mended.as_ref().map_or(kind, |mended| kind_of_dump(&mended.head));
        let content = Content { parts: content.parts.or(mended.as_ref()), ..content };
        let content = Content { skipped: self.mark_bytes(content, kind, cancel)?, ..content };
        let feed =
            |prepared: &Prepared| self.feed_database(content, prepared, &target.database, observer, cancel);
        self.restore_into(content, target, (kind, plan.as_ref()), &feed, observer)
    }

    fn feed_database(
        &self,
        content: Content<'_>,
        prepared: &Prepared,
        database: &str,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<ReadStats, OpError> {
        let what = format!("database `{database}`");
        let sink = prepared.open_sink().map_err(|source| OpError::Source { what: what.clone(), source })?;
        self.feed(content, sink, &what, observer, cancel)
    }

    /// The length of a byte order mark before a script. `psql` takes one at the front of its input only, where a
    /// `BEGIN` stands.
    fn mark_bytes(&self, content: Content<'_>, kind: DumpKind, cancel: &Cancel) -> Result<usize, OpError> {
        let is_script = kind == DumpKind::Sql && content.parts.is_none();
        let mark = crate::content::inspect::BYTE_ORDER_MARK;
        let front = match is_script {
            true => self.front(content.stream, mark.len(), cancel)?,
            false => Vec::new(),
        };
        Ok(if front == mark { mark.len() } else { 0 })
    }

    /// What kind of dump the stream is, from its first bytes.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn dump_kind(&self, stream: &Stream, cancel: &Cancel) -> Result<DumpKind, OpError> {
        Ok(kind_of_dump(&self.front(stream, KIND_BYTES_WANTED, cancel)?))
    }

    /// The first bytes of a stream, at most so many.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn front(&self, stream: &Stream, bytes: usize, cancel: &Cancel) -> Result<Vec<u8>, OpError> {
        let mut front = Vec::new();
        let range = 0..stream.bytes.min(bytes as u64);
        self.repo.reader().read_range(&self.locator, stream, range, self.settings, cancel, &mut |bytes| {
            front.extend_from_slice(bytes);
            Ok(())
        })?;
        Ok(front)
    }
}

/// Opens a device or a named pipe: it cannot be replaced, and is written to.
///
/// In a folder that others write to, a named pipe of somebody else may wait under the name of the file that is wanted.
fn open_device(path: &Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::MetadataExt;
    let file = std::fs::OpenOptions::new().write(true).open(path)?;
    let owner = file.metadata()?.uid();
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Err(std::io::Error::other(format!(
            "it is not an ordinary file and belongs to another user (uid {owner})"
        )));
    }
    Ok(file)
}

/// Ends a restore that went well, and tells what of the dump's database could not be had.
fn keep(prepared: Prepared, database: &str, observer: &dyn Observer) -> Result<(), OpError> {
    for lost in prepared.keep()? {
        let message = format!("database `{database}` lacks something that the dump's had: {lost}");
        observer.observe(Event::Warning { message });
    }
    Ok(())
}

/// Clears away what a failed restore left in the database, and says so.
fn discard(prepared: Prepared, database: &str, failure: OpError) -> OpError {
    let created = prepared.created();
    aftermath(prepared.discard(), created, database, failure)
}

/// Says what a failed restore left in the database.
fn aftermath(
    discarded: Result<Discarded, PostgresError>,
    created: bool,
    database: &str,
    failure: OpError,
) -> OpError {
    let changed = !matches!(
        discarded,
        Ok(Discarded::WasThereBefore
            | Discarded::RolledBack
            | Discarded::Dropped
            | Discarded::NotOursAnyMore)
    );
    let aftermath = match discarded {
        Ok(Discarded::WasThereBefore) => format!("database `{database}` is unchanged"),
        Ok(Discarded::RolledBack) => format!("the restore into database `{database}` was rolled back"),
        Ok(Discarded::Dropped) => format!("dropped database `{database}`, which this restore created"),
        Ok(Discarded::NotOursAnyMore) => {
            format!("another session replaced database `{database}` meanwhile")
        }
        Ok(Discarded::PartlyFilled { tables, .. }) => {
            format!("database `{database}` was empty and now holds a part of the dump ({tables} tables)")
        }
        Err(error) if created => format!(
            "could not drop database `{database}`, which this restore created: {error}; drop it before you retry"
        ),
        Err(error) => format!("database `{database}` may hold a part of the dump: {error}"),
    };
    OpError::Aftermath { failure: Box::new(failure), aftermath, changed }
}
