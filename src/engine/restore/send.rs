//! A stream goes out to a file, a program, a database or a writer; what a failed restore leaves in a database.

use super::Chosen;
use crate::base::event::{Cancel, Event, Observer};
use crate::base::unfinished::Unfinished;
use crate::content::pg::Synthesis;
use crate::engine::OpError;
use crate::engine::file_digest::Whole;
use crate::source::postgres::{
    Discarded, DumpKind, KIND_BYTES_WANTED, PostgresError, Prepared, RestoreTarget, kind_of_dump,
};
use crate::source::{Sink, SourceError};
use crate::vault::RepoError;
use crate::vault::reader::{Output, ReadStats};
use crate::vault::snapshot::Stream;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What goes out: a stream as it is, or an archive made of parts of it.
#[derive(Clone, Copy)]
pub(super) struct Content<'a> {
    pub(super) stream: &'a Stream,
    pub(super) parts: Option<&'a Synthesis>,
    /// Bytes at the front that the target does not get.
    pub(super) skipped: usize,
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

    pub(super) fn read(
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

    pub(super) fn whole(&self) -> Whole<'_> {
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

    pub(super) fn feed(
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

    pub(super) fn feed_database(
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
    pub(super) fn mark_bytes(
        &self,
        content: Content<'_>,
        kind: DumpKind,
        cancel: &Cancel,
    ) -> Result<usize, OpError> {
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
pub(super) fn keep(prepared: Prepared, database: &str, observer: &dyn Observer) -> Result<(), OpError> {
    for lost in prepared.keep()? {
        let message = format!("database `{database}` lacks something that the dump's had: {lost}");
        observer.observe(Event::Warning { message });
    }
    Ok(())
}

/// Clears away what a failed restore left in the database, and says so.
pub(super) fn discard(prepared: Prepared, database: &str, failure: OpError) -> OpError {
    let created = prepared.created();
    aftermath(prepared.discard(), created, database, failure)
}

/// Says what a failed restore left in the database.
pub(super) fn aftermath(
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
