//! A restore by several workers, each with a stream of its own, and no temporary file but the table of contents.
//!
//! ```text
//! definitions ─> data: N workers, each reads its tables and feeds its own pg_restore ─> indexes, then keys (pg_restore -j N) ─> the rest
//! ```
//!
//! No transaction spans them, so that the database has to be new or empty. Everything that can be wrong with the
//! archive is found before the first command reaches the server.

use super::super::{Chosen, Target, discard, keep};
use super::Archive;
use crate::base::event::{Cancel, Event, Observer};
use crate::content::pg::{JobsPlan, LargeObject, Part, Synthesis, SynthesisError, TableMap, Toc, plan_jobs};
use crate::engine::OpError;
use crate::source::postgres::{DumpKind, Failure, PostgresError, Prepared, RestoreTarget};
use crate::vault::RepoError;
use crate::vault::reader::{ReadSettings, ReadStats};
use crate::vault::snapshot::Stream;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};

/// How a restore by several workers is done.
pub struct Jobs<'a> {
    /// So many at a time, at least one.
    pub workers: usize,
    /// A directory for the table of contents; the file is only its owner's, and gone afterwards.
    pub scratch: &'a Path,
    /// Watches.
    pub observer: &'a dyn Observer,
    /// May stop it.
    pub cancel: &'a Cancel,
}

type Synthesise = fn(&Part, &Toc, &TableMap, &[LargeObject]) -> Result<Synthesis, SynthesisError>;

/// The archives of a plan's parts.
pub(in crate::engine::restore) struct Parts {
    pre_data: Option<Synthesis>,
    data: Vec<Synthesis>,
    /// Each with what `pg_restore` must be told.
    post_data: Vec<(Synthesis, &'static [&'static str])>,
    last: Option<Synthesis>,
}

impl Parts {
    pub(in crate::engine::restore) fn new(archive: &Archive, plan: &JobsPlan) -> Result<Self, OpError> {
        Self::with(archive, plan, Part::synthesise)
    }

    /// The same, with rows that are frozen in tables that the restore makes.
    fn frozen(archive: &Archive, plan: &JobsPlan) -> Result<Self, OpError> {
        Self::with(archive, plan, Part::synthesise_frozen)
    }

    fn with(archive: &Archive, plan: &JobsPlan, synthesise: Synthesise) -> Result<Self, OpError> {
        let toc = archive.toc();
        let one = |part: &Part| synthesise(part, toc, archive.map(), archive.objects());
        let some = |part: &Part| (!part.is_empty()).then(|| one(part)).transpose();
        Ok(Self {
            pre_data: some(&plan.pre_data)?,
            data: plan.data.iter().map(one).collect::<Result<_, _>>()?,
            post_data: plan
                .post_data
                .iter()
                .map(|part| Ok((one(part)?, part.arguments)))
                .collect::<Result<_, OpError>>()?,
            last: some(&plan.last)?,
        })
    }

    fn bytes(&self) -> u64 {
        let others = [&self.pre_data, &self.last];
        self.data.iter().chain(others.into_iter().flatten()).map(Synthesis::len).sum()
    }
}

impl Archive {
    /// Spreads chosen entries over workers.
    pub fn plan_jobs(&self, entries: &[usize], workers: usize) -> JobsPlan {
        plan_jobs(self.toc(), self.map(), entries, workers)
    }
}

impl Chosen {
    /// Restores chosen entries of an archive into a database that is new or empty.
    ///
    /// # Errors
    /// A database made for this restore is dropped again then; one that was there, empty, may hold a part of the dump,
    /// and the error says so.
    pub fn restore_jobs(
        &self,
        stream: &Stream,
        archive: &Archive,
        entries: &[usize],
        target: &RestoreTarget,
        jobs: &Jobs<'_>,
    ) -> Result<ReadStats, OpError> {
        let plan = archive.plan_jobs(entries, jobs.workers);
        let parts = Parts::new(archive, &plan)?;
        let state = target.inspect()?;
        if !state.is_empty() {
            let database = target.database.clone();
            return Err(PostgresError::PartsNeedEmpty { database, tables: state.tables }.into());
        }
        let (major, minor) = archive.map().format_version;
        let database = archive.database_plan(target.is_for_all());
        let kind = DumpKind::Archive { format: (major, minor) };
        let prepare = || Ok::<_, PostgresError>(target.prepare_as(kind, database.as_ref())?.in_parts());
        let mut prepared = prepare()?;
        let mut outcome = match prepared.may_freeze() {
            true => self.fill(stream, &Parts::frozen(archive, &plan)?, &prepared, jobs),
            false => self.fill(stream, &parts, &prepared, jobs),
        };
        if let Err(failure) = &outcome
            && prepared.may_freeze()
            && needs_rows_as_they_come(failure)
        {
            tracing::info!("rows cannot be written as frozen, so the restore begins once more: {failure}");
            // What was made is dropped, or the next attempt would find it.
            if let Err(error) = prepared.discard() {
                tracing::warn!("after `{failure}`: {error}");
                return Err(error.into());
            }
            prepared = prepare()?;
            outcome = self.fill(stream, &parts, &prepared, jobs);
        }
        match outcome {
            Ok(stats) => {
                keep(prepared, &target.database, jobs.observer)?;
                Ok(stats)
            }
            Err(failure) => {
                let again = prepared.created() && needs_one_session(&failure);
                let failure = discard(prepared, &target.database, failure);
                if !again {
                    return Err(failure);
                }
                tell_one_session(jobs.observer, &stream.name);
                let whole = archive.synthesise(entries)?;
                let target = Target::Database(Box::new(target.clone()));
                self.restore_part(stream, &whole, target, jobs.observer, jobs.cancel)
            }
        }
    }

    /// Restores the parts into a database that is ready for them.
    pub(in crate::engine::restore) fn fill(
        &self,
        stream: &Stream,
        parts: &Parts,
        prepared: &Prepared,
        jobs: &Jobs<'_>,
    ) -> Result<ReadStats, OpError> {
        let &Jobs { observer, cancel, .. } = jobs;
        observer.observe(Event::StreamStarted {
            stream: stream.name.clone(),
            bytes_expected: Some(parts.bytes()),
        });
        // A part of an old stream needs as many blocks at a time as the whole: its worker may come to have as much
        // room.
        let all = self.settings;
        let settings = ReadSettings {
            workers: (all.workers / jobs.workers.max(1)).max(1),
            open_bytes: (all.open_bytes / jobs.workers.max(1) as u64).max(8 << 20),
            ..all
        };
        let run = Run { chosen: self, stream, prepared, settings, observer, cancel };
        let outcome = run.all(parts, jobs);
        let stream = stream.name.clone();
        observer.observe(match &outcome {
            Ok(_) => Event::StreamFinished { stream },
            Err(_) => Event::StreamFailed { stream },
        });
        outcome
    }
}

const INDEXES: &str = "indexes and keys";
const DATA: &str = "data";

/// Whether the server takes the rows, perhaps, but not as frozen ones: a role may add rows to a table that it may not
/// empty. To empty a table takes more locks than to fill it, and stronger ones: where there is no room for them, or
/// somebody waits for them, it may go well without.
fn needs_rows_as_they_come(error: &OpError) -> bool {
    let OpError::Source { what, source } = error else { return false };
    let is_of_locks = matches!(source.failure(), Some(Failure::OutOfLocks | Failure::Deadlock));
    let names_it = || {
        let said = source.to_string();
        ["COPY FREEZE", "TRUNCATE TABLE ONLY"].iter().any(|words| said.contains(words))
    };
    what == DATA && (is_of_locks || names_it())
}

/// Whether something may be made only in the session that made its surroundings: some extensions change the search path
/// when they are made, and an index over a function that calls another by its bare name lives by that.
pub(in crate::engine::restore) fn needs_one_session(error: &OpError) -> bool {
    matches!(error, OpError::Source { what, .. } if what == INDEXES)
        && error.failure() == Some(Failure::DependencyMissing)
}

pub(in crate::engine::restore) fn tell_one_session(observer: &dyn Observer, stream: &str) {
    let message = format!(
        "an index of `{stream}` calls a function by its bare name: trying again over one connection; \
         `ALTER FUNCTION … SET search_path` mends it"
    );
    observer.observe(Event::Warning { message });
}

/// A restore under way.
struct Run<'a> {
    chosen: &'a Chosen,
    stream: &'a Stream,
    prepared: &'a Prepared,
    settings: ReadSettings,
    observer: &'a dyn Observer,
    cancel: &'a Cancel,
}

impl Run<'_> {
    fn all(&self, parts: &Parts, jobs: &Jobs<'_>) -> Result<ReadStats, OpError> {
        let never = AtomicBool::new(false);
        let mut stats = ReadStats::default();
        if let Some(part) = &parts.pre_data {
            add(&mut stats, self.feed(part, "definitions", &never)?);
        }
        for read in self.side_by_side(&parts.data)? {
            add(&mut stats, read);
        }
        if !parts.post_data.is_empty() {
            self.observer.observe(Event::Step { what: "making indexes and keys".to_owned() });
        }
        for (part, arguments) in &parts.post_data {
            let run = if self.prepared.reads_files() {
                let file = TocFile::create(jobs.scratch, &part.head)?;
                self.prepared.run_file(&file.path, jobs.workers, arguments)
            } else {
                self.prepared.run_bytes(&part.head, arguments)
            };
            run.map_err(|source| OpError::Source { what: INDEXES.to_owned(), source })?;
            self.prepared.validate_indexes()?;
        }
        if let Some(part) = &parts.last {
            add(&mut stats, self.feed(part, "privileges and views", &never)?);
        }
        Ok(stats)
    }

    /// The data: a thread for each worker. The first that fails stops the others.
    fn side_by_side(&self, parts: &[Synthesis]) -> Result<Vec<ReadStats>, OpError> {
        let failed = AtomicBool::new(false);
        let first_error = Mutex::new(None);
        let work = |part: &Synthesis| match self.feed(part, DATA, &failed) {
            Ok(stats) => Some(stats),
            Err(error) => {
                if !failed.swap(true, Ordering::SeqCst) {
                    *first_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                }
                None
            }
        };
        let done: Vec<Option<ReadStats>> = std::thread::scope(|scope| {
            let work = &work;
            let started: Vec<_> = parts
                .iter()
                .map(|part| {
                    let named = std::thread::Builder::new().name("restore".to_owned());
                    named.spawn_scoped(scope, move || work(part))
                })
                .collect();
            // A worker that could not be started is as one that failed.
            started.into_iter().map(|thread| thread.ok().and_then(|it| it.join().ok()).flatten()).collect()
        });
        let first_error = first_error.into_inner().unwrap_or_else(PoisonError::into_inner);
        match (first_error, done.into_iter().collect::<Option<Vec<_>>>()) {
            (Some(error), _) => Err(error),
            (None, Some(stats)) => Ok(stats),
            (None, None) => Err(RepoError::Stopped.into()),
        }
    }

    /// Feeds one part to a `pg_restore` of its own, in one transaction. Gives up, committing nothing, once
    /// `others_failed`.
    fn feed(&self, part: &Synthesis, what: &str, others_failed: &AtomicBool) -> Result<ReadStats, OpError> {
        let failed = |source| OpError::Source { what: what.to_owned(), source };
        let mut sink = self.prepared.open_part().map_err(failed)?;
        let mut output = |bytes: &[u8]| {
            if others_failed.load(Ordering::SeqCst) {
                return Err(std::io::Error::other("another worker failed"));
            }
            sink.write_all(bytes)
        };
        let read =
            self.chosen.read_parts(self.stream, part, self.settings, self.observer, self.cancel, &mut output);
        match read {
            Ok(stats) if !others_failed.load(Ordering::SeqCst) => {
                sink.finish().map(|()| stats).map_err(failed)
            }
            Err(RepoError::Output { .. }) if !others_failed.load(Ordering::SeqCst) => {
                Err(failed(sink.fail_reason()))
            }
            // Before its input is closed: it must not take a cut stream for a whole one.
            Ok(_) => {
                sink.abort();
                Err(RepoError::Stopped.into())
            }
            Err(error) => {
                sink.abort();
                Err(error.into())
            }
        }
    }
}

fn add(sum: &mut ReadStats, more: ReadStats) {
    sum.bytes += more.bytes;
    sum.blocks_opened += more.blocks_opened;
    sum.bytes_fetched += more.bytes_fetched;
}

/// The table of contents as a file, which `pg_restore -j` needs to read it again in each of its processes. Holds no
/// rows.
struct TocFile {
    path: PathBuf,
}

impl TocFile {
    fn create(folder: &Path, bytes: &[u8]) -> Result<Self, OpError> {
        use std::os::unix::fs::OpenOptionsExt;
        let nonce =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos());
        let path = folder.join(format!(".dumpvault-toc-{}-{nonce:x}", std::process::id()));
        let failed = |source| OpError::File { path: path.clone(), source };
        let opened = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let mut file = opened.map_err(failed)?;
        let made = Self { path: path.clone() };
        file.write_all(bytes).map_err(failed)?;
        Ok(made)
    }
}

impl Drop for TocFile {
    fn drop(&mut self) {
        // Safe to ignore because it holds no data, and its name says what it is.
        let _ = std::fs::remove_file(&self.path);
    }
}
