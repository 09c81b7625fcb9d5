//! Files that come back into a directory.

use super::{PlacedFile, Tree, WantedFiles};
use crate::base::event::{Cancel, Event, Observer};
use crate::content::index::{Kind, Row};
use crate::engine::OpError;
use crate::source::files::{NewFile, Ownership, TreeWriter, is_directory, is_older, seems_same, shown};
use crate::vault::RepoError;
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
    /// What is not what its digest says, or cannot be read: it was not put in its place.
    pub damaged: Vec<String>,
    /// What could not be written.
    pub failed: u64,
    /// Attributes that could not be set.
    pub attributes_lost: u64,
    /// What could not be read when it was backed up.
    pub unreadable: u64,
}

/// So many are named.
const NAMED_MAX: u64 = 20;
/// Files whose bytes are read in one go: so many at most …
const BATCH_FILES: usize = 16 << 10;
/// … or with so many bytes.
const BATCH_BYTES: u64 = 256 << 20;
/// Bytes of files that are not wanted are passed over up to so many: it costs less than to begin anew.
const GAP_BYTES: u64 = 1 << 20;

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

    /// Restores into a directory, which is made if it is not there.
    ///
    /// # Errors
    /// When the index or the storage cannot be read, or the directory not be written to at all. What goes wrong with single files is in the
    /// report, and all others are restored.
    pub fn restore(
        &self,
        job: &FilesJob,
        into: &Path,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<FilesReport, OpError> {
        std::fs::create_dir_all(into).map_err(|source| failed(into, source))?;
        let tree = TreeWriter::open(into, job.ownership).map_err(|source| failed(into, source))?;
        let mut work = Work {
            from: self,
            job,
            tree,
            observer,
            cancel,
            queue: Vec::new(),
            queued_bytes: 0,
            links: Vec::new(),
            report: FilesReport::default(),
            told: 0,
        };
        self.files(&job.wanted, cancel, &mut |file| work.take(file))?;
        work.flush()?;
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
    fn take(&mut self, file: PlacedFile) -> Result<(), OpError> {
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

    /// Whether what is there and seems to be the file is it: its bytes are read. What stays gets the row's mode and owner.
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

    /// Reads and writes what is queued.
    fn flush(&mut self) -> Result<(), OpError> {
        let queue = std::mem::take(&mut self.queue);
        self.queued_bytes = 0;
        let mut rest = queue.as_slice();
        while !rest.is_empty() {
            let (run, _) = rest.split_at_checked(run_of(rest)).unwrap_or((rest, &[]));
            let (done, outcome) = self.write(run);
            rest = rest.get(done..).unwrap_or_default();
            let Err(error) = outcome else { continue };
            if !error.is_integrity() {
                return Err(error.into());
            }
            // One of those that were read ahead is damaged: this one, by itself, tells whether it is.
            let Some((first, later)) = rest.split_first() else { break };
            match self.write(std::slice::from_ref(first)) {
                (_, Ok(())) => {}
                (_, Err(error)) if error.is_integrity() => {
                    self.damaged(&first.row.path, &error.to_string());
                }
                (_, Err(error)) => return Err(error.into()),
            }
            rest = later;
        }
        for row in std::mem::take(&mut self.links) {
            self.other(&row);
        }
        Ok(())
    }

    fn damaged(&mut self, path: &[u8], why: &str) {
        self.name(format!("not restored: `{}`: {why}", shown(path)));
        self.report.damaged.push(shown(path));
    }

    /// Writes files whose bytes lie close to each other; how many of them are done, well or not.
    fn write(&mut self, run: &[PlacedFile]) -> (usize, Result<(), RepoError>) {
        let bytes = match (run.first(), run.last()) {
            (Some(first), Some(last)) => first.bytes.start..last.bytes.end,
            _ => return (0, Ok(())),
        };
        let (mut at, mut done, mut current) = (bytes.start, 0, None);
        let (from, cancel) = (self.from, self.cancel);
        let mut take = |mut bytes: &[u8], work: &mut Self| {
            while let Some(file) = run.get(done) {
                if at < file.bytes.start {
                    let skipped = usize::try_from(file.bytes.start - at).unwrap_or(usize::MAX);
                    let skipped = skipped.min(bytes.len());
                    at += skipped as u64;
                    bytes = bytes.get(skipped..).unwrap_or_default();
                }
                if at < file.bytes.start {
                    return;
                }
                let under_way = current.get_or_insert_with(|| work.begin(&file.row));
                let count = usize::try_from(file.bytes.end - at).unwrap_or(usize::MAX).min(bytes.len());
                let (of_file, behind) = bytes.split_at_checked(count).unwrap_or((bytes, &[]));
                work.put(under_way, &file.row, of_file);
                at += count as u64;
                bytes = behind;
                if at < file.bytes.end {
                    return;
                }
                if let Some(ended) = current.take() {
                    work.end(ended, &file.row);
                }
                done += 1;
            }
        };
        let outcome = from.read(bytes, cancel, &mut |part| {
            take(part, self);
            Ok(())
        });
        if outcome.is_ok() {
            // Those at the end that have no bytes.
            take(&[], self);
        }
        (done, outcome)
    }

    fn begin(&mut self, row: &Row) -> Current {
        let size = if let Kind::File { size, .. } = row.kind { size } else { 0 };
        let file = match self.tree.file(&row.path) {
            Ok(file) => Some(file),
            Err(error) => {
                self.failed(&row.path, &error);
                None
            }
        };
        Current { rest: segments(row, size), file, hasher: blake3::Hasher::new() }
    }

    fn put(&mut self, current: &mut Current, row: &Row, mut bytes: &[u8]) {
        self.observer.observe(Event::Advanced { bytes: bytes.len() as u64, bytes_known: 0 });
        current.hasher.update(bytes);
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
                self.failed(&row.path, &error);
                current.file = None;
            }
        }
    }

    fn end(&mut self, current: Current, row: &Row) {
        let Kind::File { digest, .. } = row.kind else { return };
        let Some(file) = current.file else { return };
        if *current.hasher.finalize().as_bytes() != digest {
            self.damaged(&row.path, "it is not what its digest says");
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

/// How many of the files lie close enough to be read in one go.
fn run_of(files: &[PlacedFile]) -> usize {
    let pairs = files.iter().zip(files.iter().skip(1));
    let close = pairs.take_while(|(one, next)| next.bytes.start.saturating_sub(one.bytes.end) <= GAP_BYTES);
    close.count() + 1
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
