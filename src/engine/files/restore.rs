//! Files that come back into a directory.

use super::extra::Extras;
use super::pieces::Takes;
use super::{PlacedFile, Tree, WantedFiles};
use crate::base::event::{Cancel, Event, Observer};
use crate::base::fault::Class;
use crate::base::words::path as shown;
use crate::content::index::{Kind, Of, Row, is_path};
use crate::engine::OpError;
use crate::engine::app::App;
use crate::source::files::{NewFile, Ownership, TreeWriter, is_directory, is_older, seems_same};
use rustix::fs::Stat;
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Which files that are there are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// None.
    Never,
    /// Those that were modified before the backup's.
    Older,
    /// Those whose size, time or contents differ.
    Changed,
    /// All.
    Always,
}

/// Whom files belong to where nobody says: nobody but root may give files away.
pub fn usual_ownership(app: &App) -> Ownership {
    if app.environment.is_root() { Ownership::Names } else { Ownership::None }
}

/// What is wanted.
#[derive(Debug, Clone)]
pub struct FilesJob {
    /// Which files.
    pub wanted: WantedFiles,
    /// Which of those that are there are replaced.
    pub overwrite: Overwrite,
    /// Who owns them.
    pub ownership: Ownership,
}

/// What a restore would do.
#[derive(Debug, Default)]
pub struct FilesPlan {
    /// Files, links and the like.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Bytes of contents, without holes.
    pub bytes: u64,
    /// What is there and would be replaced.
    pub replaced: u64,
    /// The first of these.
    pub replaced_first: Vec<String>,
    /// What is there and would stay.
    pub kept: u64,
    /// What could not be read when it was backed up.
    pub unreadable: u64,
    /// Objects whose keys are no paths.
    pub unfit: u64,
    /// The directory holds something.
    pub holds_something: bool,
}

/// What a restore did.
#[derive(Debug, Default)]
pub struct FilesReport {
    /// Files, links and the like that were written.
    pub files: u64,
    /// Directories that were made or set right.
    pub directories: u64,
    /// Bytes of contents that were written.
    pub bytes: u64,
    /// What was there and stayed.
    pub kept: u64,
    /// What was deleted, since the snapshot does not have it.
    pub deleted: u64,
    /// What is not what its digest says, or cannot be read: it was not put in its place.
    pub damaged: Vec<String>,
    /// What could not be written, or not be deleted.
    pub failed: u64,
    /// Attributes that could not be set.
    pub attributes_lost: u64,
    /// What could not be read when it was backed up.
    pub unreadable: u64,
}

impl FilesReport {
    /// What it comes to; `None` when all is there.
    pub fn class(&self) -> Option<Class> {
        match () {
            () if !self.damaged.is_empty() => Some(Class::Integrity),
            () if self.failed > 0 || self.attributes_lost > 0 => Some(Class::Partial),
            () => None,
        }
    }
}

/// So many are named.
const NAMED_MAX: u64 = 20;
/// Files whose bytes are read in one go: so many at most …
const BATCH_FILES: usize = 16 << 10;
/// … or with so many bytes.
const BATCH_BYTES: u64 = 256 << 20;

/// What an object is as a file: keys have no modes.
const OBJECT_MODE: u32 = 0o644;

/// Whether all of it could not be read when it was backed up.
pub(super) fn is_lost(row: &Row) -> bool {
    row.is_torn || !matches!(row.kind, Kind::File { .. })
}

fn failed(path: &Path, source: io::Error) -> OpError {
    OpError::File { path: path.to_owned(), source }
}

/// Whether what is there stays.
fn stays(overwrite: Overwrite, row: &Row, stat: &Stat) -> bool {
    match overwrite {
        Overwrite::Never => true,
        Overwrite::Older => !is_older(row, stat),
        Overwrite::Changed => seems_same(row, stat),
        Overwrite::Always => false,
    }
}

impl Tree<'_> {
    /// Says what a restore into a directory would do. Nothing is changed.
    ///
    /// # Errors
    /// When the index cannot be read, or the directory not be looked at.
    pub fn plan(&self, job: &FilesJob, into: &Path, cancel: &Cancel) -> Result<FilesPlan, OpError> {
        let mut plan = FilesPlan::default();
        let mut there = match std::fs::read_dir(into) {
            Ok(mut entries) => {
                plan.holds_something = entries.next().is_some();
                Some(TreeWriter::open(into, job.ownership).map_err(|source| failed(into, source))?)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(failed(into, source)),
        };
        there = there.filter(|_| plan.holds_something);
        self.files(&job.wanted, cancel, &mut |PlacedFile { row, bytes }| {
            match row.kind {
                _ if self.holds() == Of::Objects && is_lost(&row) => plan.unreadable += 1,
                _ if self.holds() == Of::Objects && !is_path(&row.path) => plan.unfit += 1,
                Kind::Directory => plan.directories += 1,
                Kind::Unreadable | Kind::Vanished => plan.unreadable += 1,
                _ => {
                    plan.files += 1;
                    plan.bytes += bytes.end - bytes.start;
                    // What cannot be looked at is told when it is written.
                    let stat = there.as_mut().and_then(|there| there.look(&row.path).ok().flatten());
                    match stat.filter(|stat| !is_directory(stat)) {
                        Some(stat) if stays(job.overwrite, &row, &stat) => plan.kept += 1,
                        Some(_) => {
                            plan.replaced += 1;
                            if plan.replaced <= 3 {
                                plan.replaced_first.push(shown(&row.path));
                            }
                        }
                        None => {}
                    }
                }
            }
            Ok(())
        })?;
        Ok(plan)
    }

    /// Objects have no owners.
    fn ownership(&self, job: &FilesJob) -> Ownership {
        if self.holds() == Of::Objects { Ownership::None } else { job.ownership }
    }

    /// Restores into a directory, which is made if it is not there.
    ///
    /// # Errors
    /// When the index or the storage cannot be read, or the directory not be written to at all. What goes wrong with
    /// single files is in the report, and all others are restored.
    pub fn restore(
        &self,
        job: &FilesJob,
        into: &Path,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<FilesReport, OpError> {
        self.restore_without(job, into, &Extras::default(), observer, cancel)
    }

    /// The same, and deletes the extras. That is done last, and only where all else went well.
    ///
    /// # Errors
    /// As [`Tree::restore`].
    pub fn restore_without(
        &self,
        job: &FilesJob,
        into: &Path,
        extras: &Extras,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<FilesReport, OpError> {
        std::fs::create_dir_all(into).map_err(|source| failed(into, source))?;
        let tree = TreeWriter::open(into, self.ownership(job)).map_err(|source| failed(into, source))?;
        let mut work = Work {
            from: self,
            job,
            tree,
            observer,
            cancel,
            queue: Vec::new(),
            queued_bytes: 0,
            links: Vec::new(),
            current: None,
            report: FilesReport::default(),
            told: 0,
        };
        self.files(&job.wanted, cancel, &mut |file| work.take(file))?;
        work.flush()?;
        work.delete(extras)?;
        let Work { tree, mut report, mut told, .. } = work;
        for (path, what) in tree.finish() {
            report.attributes_lost += 1;
            told += 1;
            if told <= NAMED_MAX {
                observer.observe(Event::Warning { message: format!("`{}`: {what}", shown(&path)) });
            }
        }
        Ok(report)
    }
}

/// A restore under way.
struct Work<'a> {
    from: &'a Tree<'a>,
    job: &'a FilesJob,
    tree: TreeWriter,
    observer: &'a dyn Observer,
    cancel: &'a Cancel,
    /// Files whose bytes are to be read, in order.
    queue: Vec<PlacedFile>,
    queued_bytes: u64,
    /// Further names of files that may still be in the queue.
    links: Vec<Row>,
    /// The file whose bytes come.
    current: Option<Current>,
    report: FilesReport,
    told: u64,
}

/// The file that bytes are written to.
struct Current {
    /// What of it is data, and was not written yet.
    rest: VecDeque<Range<u64>>,
    /// `None` when it could not be made: its bytes are passed over.
    file: Option<NewFile>,
    hasher: blake3::Hasher,
}

impl Work<'_> {
    fn name(&mut self, message: String) {
        self.told += 1;
        if self.told <= NAMED_MAX {
            self.observer.observe(Event::Warning { message });
        }
    }

    fn failed(&mut self, path: &[u8], error: &io::Error) {
        self.report.failed += 1;
        self.name(format!("cannot restore `{}`: {error}", shown(path)));
    }

    fn written(&mut self, path: &[u8], lost: Vec<String>) {
        self.report.files += 1;
        for what in lost {
            self.report.attributes_lost += 1;
            self.name(format!("`{}`: {what}", shown(path)));
        }
    }

    /// Takes the next file.
    fn take(&mut self, mut file: PlacedFile) -> Result<(), OpError> {
        if self.from.holds() == Of::Objects {
            if is_lost(&file.row) {
                self.report.unreadable += 1;
                return Ok(());
            }
            let room = match is_path(&file.row.path) {
                true => self.tree.make_way(&file.row.path),
                false => Err(io::Error::other("its key is not a path")),
            };
            if let Err(error) = room {
                self.failed(&file.row.path, &error);
                return Ok(());
            }
            file.row.mode = OBJECT_MODE;
        }
        let row = &file.row;
        match &row.kind {
            Kind::Directory => {
                match self.tree.directory(row) {
                    Ok(()) => self.report.directories += 1,
                    Err(error) => self.failed(&file.row.path, &error),
                }
                return Ok(());
            }
            Kind::Unreadable | Kind::Vanished => {
                self.report.unreadable += 1;
                return Ok(());
            }
            _ => {}
        }
        match self.tree.look(&row.path) {
            Ok(Some(stat)) if is_directory(&stat) => {
                self.failed(&file.row.path, &io::Error::other("a directory is in its place"));
                return Ok(());
            }
            Ok(Some(stat)) if stays(self.job.overwrite, row, &stat) && self.is_as_it_was(row) => {
                self.report.kept += 1;
                return Ok(());
            }
            Ok(_) => {}
            Err(error) => {
                self.failed(&file.row.path, &error);
                return Ok(());
            }
        }
        match row.kind {
            Kind::HardLink(_) => self.links.push(file.row),
            Kind::File { .. } => {
                self.queued_bytes += file.bytes.end - file.bytes.start;
                self.queue.push(file);
            }
            _ => self.other(&file.row),
        }
        match self.queue.len() + self.links.len() >= BATCH_FILES || self.queued_bytes >= BATCH_BYTES {
            true => self.flush(),
            false => Ok(()),
        }
    }

    fn other(&mut self, row: &Row) {
        match self.tree.other(row) {
            Ok(lost) => self.written(&row.path, lost),
            Err(error) => self.failed(&row.path, &error),
        }
    }

    /// Whether what is there and seems to be the file is it: its bytes are read. What stays gets the row's mode and
    /// owner.
    fn is_as_it_was(&mut self, row: &Row) -> bool {
        if self.job.overwrite != Overwrite::Changed {
            return true;
        }
        let Kind::File { size, digest } = row.kind else { return false };
        let same = self.tree.existing(&row.path).and_then(|file| {
            let mut hasher = blake3::Hasher::new();
            let mut buffer = vec![0; 256 << 10];
            for range in segments(row, size) {
                let mut at = range.start;
                while at < range.end {
                    let want = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(buffer.len());
                    let part = buffer.get_mut(..want).unwrap_or_default();
                    file.read_exact_at(part, at)?;
                    hasher.update(part);
                    at += want as u64;
                }
            }
            Ok(*hasher.finalize().as_bytes() == digest)
        });
        same.unwrap_or(false) && self.tree.adorn(row).is_ok()
    }

    /// Deletes what the snapshot does not have. What is in a directory goes before it.
    fn delete(&mut self, extras: &Extras) -> Result<(), OpError> {
        if !extras.paths.is_empty() && self.report.class().is_some() {
            let message = "nothing was deleted, since not everything could be restored".to_owned();
            self.observer.observe(Event::Warning { message });
            return Ok(());
        }
        for lying in extras.paths.iter().rev() {
            if self.cancel.is_cancelled() {
                return Err(crate::vault::RepoError::Cancelled.into());
            }
            match self.tree.remove(lying) {
                Ok(()) => self.report.deleted += 1,
                Err(error) => {
                    self.report.failed += 1;
                    self.name(format!("cannot delete `{}`: {error}", shown(&lying.path)));
                }
            }
        }
        Ok(())
    }

    /// Reads and writes what is queued.
    fn flush(&mut self) -> Result<(), OpError> {
        let queue = std::mem::take(&mut self.queue);
        self.queued_bytes = 0;
        let (from, cancel) = (self.from, self.cancel);
        from.contents(&queue, self, cancel)?;
        for row in std::mem::take(&mut self.links) {
            self.other(&row);
        }
        Ok(())
    }
}

impl Takes for Work<'_> {
    fn damaged(&mut self, row: &Row, why: &str) {
        self.current = None;
        self.name(format!("not restored: `{}`: {why}", shown(&row.path)));
        self.report.damaged.push(shown(&row.path));
    }

    fn begin(&mut self, row: &Row) {
        self.current = None;
        let size = if let Kind::File { size, .. } = row.kind { size } else { 0 };
        let file = match self.tree.file(&row.path) {
            Ok(file) => Some(file),
            Err(error) => {
                self.failed(&row.path, &error);
                None
            }
        };
        self.current = Some(Current { rest: segments(row, size), file, hasher: blake3::Hasher::new() });
    }

    fn put(&mut self, row: &Row, mut bytes: &[u8]) {
        self.observer.observe(Event::Advanced { bytes: bytes.len() as u64, bytes_known: 0 });
        let Some(current) = &mut self.current else { return };
        current.hasher.update(bytes);
        let mut failure = None;
        while let Some(range) = current.rest.front_mut().filter(|_| !bytes.is_empty()) {
            let count = usize::try_from(range.end - range.start).unwrap_or(usize::MAX).min(bytes.len());
            let (part, behind) = bytes.split_at_checked(count).unwrap_or((bytes, &[]));
            let written = current.file.as_ref().map_or(Ok(()), |file| file.write(part, range.start));
            range.start += count as u64;
            bytes = behind;
            if range.start >= range.end {
                current.rest.pop_front();
            }
            if let Err(error) = written {
                failure = Some(error);
                current.file = None;
            }
        }
        if let Some(error) = failure {
            self.failed(&row.path, &error);
        }
    }

    fn end(&mut self, row: &Row) {
        let Kind::File { digest, .. } = row.kind else { return };
        let Some(Current { file: Some(file), hasher, .. }) = self.current.take() else { return };
        if *hasher.finalize().as_bytes() != digest {
            self.damaged(row, "it is not what its digest says");
            return;
        }
        match self.tree.finish_file(file, row) {
            Ok(lost) => {
                self.report.bytes += row.data_bytes();
                self.written(&row.path, lost);
            }
            Err(error) => self.failed(&row.path, &error),
        }
    }
}

/// What of a file is data.
pub(super) fn segments(row: &Row, size: u64) -> VecDeque<Range<u64>> {
    let mut segments = VecDeque::new();
    let mut at = 0;
    let holes = row.extra.holes.as_deref().unwrap_or_default();
    for [offset, len] in holes.as_chunks::<2>().0 {
        if *offset > at {
            segments.push_back(at..*offset);
        }
        at = offset.saturating_add(*len);
    }
    if at < size {
        segments.push_back(at..size);
    }
    segments
}
