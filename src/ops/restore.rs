//! Restore: a snapshot's stream goes out, to a file, a program, a database, or a writer.

mod archive;
mod jobs;
mod proof;
mod verify;

pub use archive::{Archive, Part};
pub use jobs::Jobs;
pub use proof::{Compared, Expected, Findings};
pub use verify::Verified;

use super::OpError;
use crate::event::{Cancel, Event, Observer};
use crate::pgarchive::Synthesis;
use crate::repo::catalog::Catalog;
use crate::repo::history::{History, HistoryDamage};
use crate::repo::reader::{Locator, ReadSettings, ReadStats};
use crate::repo::{RepoError, Repository};
use crate::snapshot::selection::select;
use crate::snapshot::{Body, Stream, Summary};
use crate::source::postgres::{DumpKind, KIND_BYTES_WANTED, Prepared, RestoreTarget, kind_of_dump};
use crate::source::{Sink, SourceError};
use jiff::tz::TimeZone;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// A snapshot that was chosen, with its body read.
pub struct Chosen {
    /// Id and head.
    pub summary: Summary,
    /// Streams and the rest.
    pub body: Body,
    locator: Arc<Mutex<Locator>>,
    repo: Repository,
    settings: ReadSettings,
}

/// Finds the snapshot that `name` stands for and reads its body.
///
/// # Errors
/// When there is none, or it cannot be read.
pub fn choose(
    repo: &Repository,
    name: &str,
    zone: &TimeZone,
    settings: ReadSettings,
    observer: &dyn Observer,
) -> Result<Chosen, OpError> {
    let (mut catalog, history) = repo.known(observer)?;
    let summary = find(&history, name, zone, observer)?;
    let body = repo.body(&mut catalog, &summary.id)?;
    Ok(Chosen::new(repo, catalog, &history, summary, body, settings))
}

/// Finds the snapshot that `name` stands for. Damage that may have to do with the choice is told.
///
/// # Errors
/// When there is none.
pub fn find(
    history: &History,
    name: &str,
    zone: &TimeZone,
    observer: &dyn Observer,
) -> Result<Summary, OpError> {
    match select(&history.snapshots, name, zone) {
        Ok(found) => {
            let by_id = name.len() >= 4 && found.id.to_string().starts_with(&name.to_ascii_lowercase());
            if !by_id {
                refuse_if_hidden(history, found, name, observer)?;
            }
            Ok(found.clone())
        }
        Err(error) => {
            // By its id, a snapshot can be had whose mark is lost.
            let by_id = history.uncommitted.iter().filter(|summary| {
                name.len() >= 8 && summary.id.to_string().starts_with(&name.to_ascii_lowercase())
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
                    .filter(|summary| summary.head.series == name || name == "latest")
                    .map(|summary| format!("`snapshots/{}` has no mark that commits it", summary.id)),
            );
            if damage.is_empty() {
                return Err(error.into());
            }
            Err(OpError::SelectionAmidDamage { source: error, damage: damage.join("; ") })
        }
    }
}

/// The snapshot meant may be one that cannot be seen: an older one must not be taken for it.
fn refuse_if_hidden(
    history: &History,
    found: &Summary,
    name: &str,
    observer: &dyn Observer,
) -> Result<(), OpError> {
    let Summary { id, head } = found;
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
        Some(series) => *series == head.series || name == "latest",
        None => !newer.is_empty(),
    };
    let hidden: Vec<String> =
        history.damaged.iter().filter(hides).map(|damage| damage.error.to_string()).collect();
    if !hidden.is_empty() {
        return Err(OpError::Hidden {
            name: name.to_owned(),
            visible: id.to_string(),
            damage: hidden.join("; "),
        });
    }
    for other in newer {
        let other = other.id.short();
        let message = format!("there is a newer snapshot {other} of this series, which is not committed");
        observer.observe(Event::Warning { message });
    }
    Ok(())
}

/// What goes out: a stream as it is, or an archive made of parts of it.
#[derive(Clone, Copy)]
struct Content<'a> {
    stream: &'a Stream,
    parts: Option<&'a Synthesis>,
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
        Self { summary, body, locator: Arc::new(Mutex::new(locator)), repo: repo.clone(), settings }
    }

    /// The stream of that name, or the only one.
    ///
    /// # Errors
    /// When there is none of that name, or several to choose from.
    pub fn stream(&self, name: Option<&str>) -> Result<&Stream, OpError> {
        let which = |problem: String| OpError::WhichStream {
            snapshot: self.summary.id.short(),
            problem,
            streams: self.body.streams.iter().map(|stream| stream.name.clone()).collect(),
        };
        match (name, self.body.streams.as_slice()) {
            (Some(name), streams) => streams
                .iter()
                .find(|stream| stream.name == name)
                .ok_or_else(|| which(format!("has no stream `{name}`"))),
            (None, [only]) => Ok(only),
            (None, _) => Err(which("holds several streams".to_owned())),
        }
    }

    /// Writes the whole stream to `target`.
    ///
    /// # Errors
    /// On any error nothing may be taken as restored: a file is not there, a program was killed before its input ended, a
    /// database was rolled back.
    pub fn restore(
        &self,
        stream: &Stream,
        target: Target<'_>,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<ReadStats, OpError> {
        self.send(Content { stream, parts: None }, target, observer, cancel)
    }

    /// Writes an archive made of parts of the stream to `target`. What is not in it is not read. Every chunk is checked; the
    /// stream's digest cannot be.
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
        self.send(Content { stream, parts: Some(parts) }, target, observer, cancel)
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
        let stats = match target {
            Target::Writer(writer) => {
                let stats = self.read(content, observer, cancel, &mut |bytes| writer.write_all(bytes))?;
                writer.flush().map_err(|source| RepoError::Output { source })?;
                stats
            }
            Target::File(path) => self.restore_file(content, &path, observer, cancel)?,
            Target::Program(open, what) => {
                let sink = open().map_err(|source| OpError::Source { what: what.clone(), source })?;
                self.feed(content, sink, &what, observer, cancel)?
            }
            Target::Database(target) => self.restore_database(content, &target, observer, cancel)?,
        };
        observer.observe(Event::StreamFinished { stream: stream.name.clone() });
        Ok(stats)
    }

    fn read(
        &self,
        content: Content<'_>,
        observer: &dyn Observer,
        cancel: &Cancel,
        output: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<ReadStats, RepoError> {
        match content.parts {
            None => {
                self.repo.read_stream(&self.locator, content.stream, self.settings, observer, cancel, output)
            }
            Some(parts) => self.read_parts(content.stream, parts, self.settings, observer, cancel, output),
        }
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
            // A device or a named pipe cannot be replaced: it is written to.
            let mut file = std::fs::OpenOptions::new().write(true).open(path).map_err(failed)?;
            return Ok(self.read(content, observer, cancel, &mut |bytes| file.write_all(bytes))?);
        }
        let mut partial = PartialFile::create(path).map_err(failed)?;
        let stats = self.read(content, observer, cancel, &mut |bytes| partial.file.write_all(bytes))?;
        partial.finish().map_err(failed)?;
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
        match self.read(content, observer, cancel, &mut |bytes| sink.write_all(bytes)) {
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
        let kind = self.dump_kind(content.stream, cancel)?;
        let plan = match kind {
            DumpKind::Archive { .. } if target.create => {
                let archive = self.archive(content.stream, observer, cancel)?;
                archive.database_plan(target.is_for_all())?
            }
            _ => None,
        };
        let mended = match (kind, content.parts) {
            (DumpKind::Archive { .. }, None) if target.clean => {
                self.archive(content.stream, observer, cancel)?.mended()?
            }
            _ => None,
        };
        let content = Content { parts: content.parts.or(mended.as_ref()), ..content };
        let prepared = target.prepare_as(kind, plan.as_ref())?;
        let outcome = self.feed_database(content, &prepared, &target.database, observer, cancel);
        match outcome {
            Ok(stats) => {
                keep(prepared, &target.database, observer)?;
                Ok(stats)
            }
            Err(failure) => Err(discard(prepared, &target.database, failure)),
        }
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

    /// What kind of dump the stream is, from its first bytes.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn dump_kind(&self, stream: &Stream, cancel: &Cancel) -> Result<DumpKind, OpError> {
        let mut front = Vec::new();
        let range = 0..stream.bytes.min(KIND_BYTES_WANTED as u64);
        self.repo.read_range(&self.locator, stream, range, self.settings, cancel, &mut |bytes| {
            front.extend_from_slice(bytes);
            Ok(())
        })?;
        Ok(kind_of_dump(&front))
    }
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
    use crate::source::postgres::Discarded;
    let created = prepared.created();
    let aftermath = match prepared.discard() {
        Ok(Discarded::WasThereBefore) => format!("database `{database}` is as it was"),
        Ok(Discarded::Dropped) => format!("database `{database}`, made for this restore, was dropped again"),
        Ok(Discarded::NotOursAnyMore) => {
            format!("database `{database}` was replaced by somebody else meanwhile")
        }
        Ok(Discarded::PartlyFilled { tables, .. }) => {
            format!("database `{database}` was empty and now holds a part of the dump ({tables} tables)")
        }
        Err(error) if created => format!(
            "database `{database}`, made for this restore, is still there and to be dropped before the next try: {error}"
        ),
        Err(error) => format!("database `{database}` may hold a part of the dump: {error}"),
    };
    OpError::Aftermath { failure: Box::new(failure), aftermath }
}

/// A file that appears under its name only when it is finished.
struct PartialFile {
    file: std::fs::File,
    partial: PathBuf,
    path: PathBuf,
    finished: bool,
}

impl PartialFile {
    fn create(path: &Path) -> std::io::Result<Self> {
        use std::os::unix::fs::OpenOptionsExt;
        let name = path.file_name().ok_or(std::io::ErrorKind::InvalidFilename)?;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.partial", std::process::id()));
        let partial = path.with_file_name(hidden);
        // A dump is as secret as its database.
        let file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
        Ok(Self { file, partial, path: path.to_owned(), finished: false })
    }

    fn finish(mut self) -> std::io::Result<()> {
        self.file.sync_all()?;
        std::fs::rename(&self.partial, &self.path)?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        if !self.finished {
            // Safe to ignore because the file's name says that it is not whole.
            let _ = std::fs::remove_file(&self.partial);
        }
    }
}
