//! Objects that go into a bucket: its listing and the index, both in the order of keys, are read side by side.

use super::pieces::Takes;
use super::restore::is_lost;
use super::{Overwrite, PlacedFile, Tree, WantedFiles};
use crate::base::event::{Event, Observer};
use crate::base::fault::Class;
use crate::base::objects::{Facts, Object, Objects, ObjectsError, Parts, Trouble};
use crate::base::run::Run;
use crate::base::words::path as shown;
use crate::content::index::{Kind, Row};
use crate::engine::OpError;
use crate::source::SourceError;
use crate::source::bucket::{BucketError, Listing};
use crossbeam_channel::{Receiver, Sender};
use std::cmp::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

/// Requests under way at the same time.
const THREADS: usize = 8;
/// An object up to this size is put by one of the threads.
const SMALL_BYTES: u64 = 8 << 20;
/// One up to this size is put in one request where the backed up one was.
const WHOLE_BYTES: u64 = 64 << 20;
/// Parts of larger ones have at least so many bytes …
const PART_BYTES: u64 = 8 << 20;
/// … and there are no more of them than this: services take 10,000.
const PARTS_MAX: u64 = 9_000;
/// Objects whose bytes are read in one go: so many at most …
const BATCH_OBJECTS: usize = 16 << 10;
/// … or with so many bytes.
const BATCH_BYTES: u64 = 256 << 20;
/// So many are named.
const NAMED_MAX: u64 = 20;
/// So many objects one after another that cannot be written: it is not the objects.
const FAILURES_MAX: u64 = 20;
/// Of what would be replaced or deleted so many are named before it is.
const SHOWN: u64 = 3;

/// What is wanted.
#[derive(Debug, Clone)]
pub struct BucketJob {
    /// Which objects.
    pub wanted: WantedFiles,
    /// Which of those that are there are replaced.
    pub overwrite: Overwrite,
    /// Delete what is there, is wanted, and is not in the snapshot.
    pub deletes: bool,
}

/// What a restore would do.
#[derive(Debug, Default)]
pub struct BucketPlan {
    /// Objects of the snapshot that are wanted.
    pub objects: u64,
    /// Bytes of those that would be put.
    pub bytes: u64,
    /// Objects that are there, wanted or not.
    pub there: u64,
    /// Objects that are there and would be replaced.
    pub replaced: u64,
    /// The first of these.
    pub replaced_first: Vec<String>,
    /// Objects that are there and would stay.
    pub kept: u64,
    /// Objects that would be deleted.
    pub deleted: u64,
    /// The first of these.
    pub deleted_first: Vec<String>,
    /// What could not be read when it was backed up.
    pub unreadable: u64,
}

/// What a restore did.
#[derive(Debug, Default)]
pub struct BucketReport {
    /// Objects that were put.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that were there and stayed.
    pub kept: u64,
    /// Objects that were deleted.
    pub deleted: u64,
    /// Objects that are not what their digests say: they were not put.
    pub damaged: Vec<String>,
    /// Objects that could not be put, or not be deleted.
    pub failed: u64,
    /// What could not be read when it was backed up.
    pub unreadable: u64,
}

impl BucketReport {
    /// What it comes to; `None` when all is there.
    pub fn class(&self) -> Option<Class> {
        match () {
            () if !self.damaged.is_empty() => Some(Class::Integrity),
            () if self.failed > 0 => Some(Class::Partial),
            () => None,
        }
    }
}

/// What becomes of a key.
enum Fate {
    /// It is put; something else is there.
    Replaced(PlacedFile),
    /// It is put; nothing is there.
    New(PlacedFile),
    /// It stays.
    Kept,
    /// It is not in the snapshot.
    Extra(Object),
    /// It could not be read when it was backed up, and what is there stays.
    Lost,
}

fn failed(error: impl Into<BucketError>) -> OpError {
    SourceError::from(error.into()).into()
}

/// Whether what is there stays.
fn stays(overwrite: Overwrite, row: &Row, there: &Object) -> bool {
    let Kind::File { size, .. } = row.kind else { return true };
    match overwrite {
        Overwrite::Never => true,
        Overwrite::Always => false,
        // The same upload, or the same bytes by their MD5, as far as a listing can tell.
        Overwrite::Changed | Overwrite::Older => {
            size == there.bytes && !there.etag.is_empty() && row.extra.etag.as_deref() == Some(&there.etag)
        }
    }
}

impl Tree<'_> {
    /// Gives what becomes of each key that is wanted, in order; and how many objects are there.
    fn fates(
        &self,
        job: &BucketJob,
        into: &Arc<dyn Objects>,
        run: &Run,
        each: &mut dyn FnMut(Fate) -> Result<(), OpError>,
    ) -> Result<u64, OpError> {
        let mut listing = Listing::start(Arc::clone(into), false, run.cancel.clone()).map_err(failed)?;
        let mut there = 0;
        let mut next = listing.object().map_err(failed)?;
        let mut advance = |next: &mut Option<Object>, there: &mut u64| {
            *there += 1;
            let following = listing.object().map_err(failed)?;
            Ok::<_, OpError>(std::mem::replace(next, following))
        };
        self.files(&job.wanted, &run.cancel, &mut |file| {
            while let Some(object) = &next {
                match object.key.cmp(&file.row.path) {
                    Ordering::Less => {
                        let object = advance(&mut next, &mut there)?;
                        let extra = object.filter(|object| job.wanted.fits(&object.key, false));
                        extra.map_or(Ok(()), |extra| each(Fate::Extra(extra)))?;
                    }
                    Ordering::Equal => {
                        let object = advance(&mut next, &mut there)?;
                        return each(match object {
                            _ if is_lost(&file.row) => Fate::Lost,
                            Some(object) if stays(job.overwrite, &file.row, &object) => Fate::Kept,
                            _ => Fate::Replaced(file),
                        });
                    }
                    Ordering::Greater => break,
                }
            }
            each(if is_lost(&file.row) { Fate::Lost } else { Fate::New(file) })
        })?;
        while next.is_some() {
            let object = advance(&mut next, &mut there)?;
            let extra = object.filter(|object| job.wanted.fits(&object.key, false));
            extra.map_or(Ok(()), |extra| each(Fate::Extra(extra)))?;
        }
        Ok(there)
    }

    /// Says what a restore into a bucket would do. Nothing is changed.
    ///
    /// # Errors
    /// When the index cannot be read, or the bucket not be listed.
    pub fn plan_bucket(
        &self,
        job: &BucketJob,
        into: &Arc<dyn Objects>,
        run: &Run,
    ) -> Result<BucketPlan, OpError> {
        let mut plan = BucketPlan::default();
        let named = |count: u64, names: &mut Vec<String>, key: &[u8]| {
            if count <= SHOWN {
                names.push(shown(key));
            }
        };
        let there = self.fates(job, into, run, &mut |fate| {
            plan.objects += u64::from(!matches!(fate, Fate::Extra(_) | Fate::Lost));
            match fate {
                Fate::Kept => plan.kept += 1,
                Fate::Lost => plan.unreadable += 1,
                Fate::New(file) => plan.bytes += file.row.data_bytes(),
                Fate::Replaced(file) => {
                    plan.bytes += file.row.data_bytes();
                    plan.replaced += 1;
                    named(plan.replaced, &mut plan.replaced_first, &file.row.path);
                }
                Fate::Extra(object) if job.deletes => {
                    plan.deleted += 1;
                    named(plan.deleted, &mut plan.deleted_first, &object.key);
                }
                Fate::Extra(_) => {}
            }
            Ok(())
        })?;
        plan.there = there;
        Ok(plan)
    }

    /// Restores into a bucket. What the snapshot does not have is deleted last, and only where all else went well.
    ///
    /// # Errors
    /// When the index or the storage cannot be read, or the bucket not be listed or written to at all. What goes wrong
    /// with single objects is in the report.
    pub fn restore_bucket(
        &self,
        job: &BucketJob,
        into: &Arc<dyn Objects>,
        run: &Run,
    ) -> Result<BucketReport, OpError> {
        let done = Arc::new(Done { observer: Arc::clone(&run.events), state: Mutex::default() });
        let (jobs_in, jobs) = crossbeam_channel::bounded(THREADS);
        let outcome = std::thread::scope(|scope| {
            for _ in 0..THREADS {
                let (jobs, done) = (Receiver::clone(&jobs), Arc::clone(&done));
                scope.spawn(move || work(into.as_ref(), &jobs, &done));
            }
            let outcome = self.put_all(job, into, run, jobs_in.clone(), &done);
            drop(jobs_in);
            outcome
        });
        let extra = outcome?;
        done.check()?;
        let (jobs_in, jobs) = crossbeam_channel::bounded(THREADS);
        let is_good = {
            let state = done.lock();
            state.report.damaged.is_empty() && state.report.failed == 0
        };
        match (extra.is_empty(), is_good) {
            (true, _) => {}
            (false, false) => {
                let message = "nothing was deleted, since not everything could be restored".to_owned();
                run.events.observe(Event::Warning { message });
            }
            (false, true) => std::thread::scope(|scope| {
                for _ in 0..THREADS {
                    let (jobs, done) = (Receiver::clone(&jobs), Arc::clone(&done));
                    scope.spawn(move || work(into.as_ref(), &jobs, &done));
                }
                for key in extra {
                    if run.cancel.is_cancelled() || done.is_over() || jobs_in.send(Job::Delete(key)).is_err()
                    {
                        break;
                    }
                }
                drop(jobs_in);
            }),
        }
        done.check()?;
        if run.cancel.is_cancelled() {
            return Err(crate::vault::RepoError::Cancelled.into());
        }
        Ok(std::mem::take(&mut done.lock().report))
    }

    /// Puts what is to be put; gives the keys to delete.
    fn put_all(
        &self,
        job: &BucketJob,
        into: &Arc<dyn Objects>,
        run: &Run,
        jobs: Sender<Job>,
        done: &Done,
    ) -> Result<Vec<Vec<u8>>, OpError> {
        let mut putting = Putting { into: into.as_ref(), jobs, done, current: None };
        let (mut queue, mut queued_bytes, mut extra) = (Vec::new(), 0, Vec::new());
        self.fates(job, into, run, &mut |fate| {
            match fate {
                Fate::Kept => done.lock().report.kept += 1,
                Fate::Lost => done.lock().report.unreadable += 1,
                Fate::Extra(object) if job.deletes => extra.push(object.key),
                Fate::Extra(_) => {}
                Fate::New(file) | Fate::Replaced(file) => {
                    queued_bytes += file.row.data_bytes();
                    queue.push(file);
                }
            }
            if queue.len() >= BATCH_OBJECTS || queued_bytes >= BATCH_BYTES {
                self.contents(&std::mem::take(&mut queue), &mut putting, &run.cancel)?;
                queued_bytes = 0;
                done.check()?;
            }
            Ok(())
        })?;
        self.contents(&queue, &mut putting, &run.cancel)?;
        Ok(extra)
    }
}

/// What a thread is to do.
enum Job {
    Put { key: Vec<u8>, bytes: Vec<u8>, facts: Box<Facts> },
    Delete(Vec<u8>),
}

fn work(into: &dyn Objects, jobs: &Receiver<Job>, done: &Done) {
    for job in jobs {
        if done.is_over() {
            continue;
        }
        match job {
            Job::Put { key, bytes, facts } => {
                let len = bytes.len() as u64;
                done.note(&key, Some(len), into.put(&key, bytes, &facts));
            }
            Job::Delete(key) => done.note(&key, None, into.delete(&key)),
        }
    }
}

/// What was done so far.
struct Done {
    observer: Arc<dyn Observer>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    report: BucketReport,
    told: u64,
    in_a_row: u64,
    /// Why nothing more is tried.
    over: Option<ObjectsError>,
}

impl Done {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.lock().over.is_some()
    }

    /// Whether it makes sense to go on.
    fn check(&self) -> Result<(), OpError> {
        self.lock().over.clone().map_or(Ok(()), |error| Err(failed(error)))
    }

    /// What became of an object: put, with its length, or deleted.
    fn note(&self, key: &[u8], put: Option<u64>, outcome: Result<(), ObjectsError>) {
        let mut state = self.lock();
        let Err(error) = outcome else {
            state.in_a_row = 0;
            match put {
                Some(bytes) => {
                    state.report.objects += 1;
                    state.report.bytes += bytes;
                }
                None => state.report.deleted += 1,
            }
            return;
        };
        state.report.failed += 1;
        state.in_a_row += 1;
        let is_all = matches!(error.trouble, Trouble::Unreachable | Trouble::Credentials | Trouble::Invalid);
        if is_all || state.in_a_row >= FAILURES_MAX {
            state.over.get_or_insert(error);
            return;
        }
        let did = if put.is_some() { "restore" } else { "delete" };
        self.name(&mut state, format!("cannot {did} `{}`: {}", shown(key), error.what));
    }

    fn damaged(&self, key: &[u8], why: &str) {
        let mut state = self.lock();
        state.report.damaged.push(shown(key));
        self.name(&mut state, format!("not restored: `{}`: {why}", shown(key)));
    }

    fn name(&self, state: &mut State, message: String) {
        state.told += 1;
        if state.told <= NAMED_MAX {
            self.observer.observe(Event::Warning { message });
        }
    }
}

/// Takes contents, and puts them.
struct Putting<'a> {
    into: &'a dyn Objects,
    jobs: Sender<Job>,
    done: &'a Done,
    current: Option<Current<'a>>,
}

/// The object whose bytes come.
struct Current<'a> {
    bytes: Vec<u8>,
    /// How many make a part; all of them where it is put in one request.
    part_bytes: u64,
    parts: Option<Box<dyn Parts + 'a>>,
    hasher: blake3::Hasher,
    len: u64,
}

impl Takes for Putting<'_> {
    fn begin(&mut self, row: &Row) {
        let part_bytes = part_bytes(row);
        let bytes = Vec::with_capacity(usize::try_from(row.data_bytes().min(part_bytes)).unwrap_or_default());
        self.current =
            Some(Current { bytes, part_bytes, parts: None, hasher: blake3::Hasher::new(), len: 0 });
    }

    fn put(&mut self, row: &Row, mut bytes: &[u8]) {
        self.done.observer.observe(Event::Advanced { bytes: bytes.len() as u64, bytes_known: 0 });
        let Some(current) = &mut self.current else { return };
        current.hasher.update(bytes);
        current.len += bytes.len() as u64;
        while !bytes.is_empty() {
            let room = usize::try_from(current.part_bytes).unwrap_or(usize::MAX) - current.bytes.len();
            let (now, later) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
            current.bytes.extend_from_slice(now);
            bytes = later;
            if bytes.is_empty() {
                return;
            }
            // More follows: what is there is a part.
            if let Err(error) = current.send(self.into, row) {
                self.done.note(&row.path, Some(0), Err(error));
                self.current = None;
                return;
            }
        }
    }

    fn end(&mut self, row: &Row) {
        let Kind::File { digest, .. } = row.kind else { return };
        let Some(mut current) = self.current.take() else { return };
        if *current.hasher.finalize().as_bytes() != digest {
            self.done.damaged(&row.path, "it is not what its digest says");
            return;
        }
        if current.parts.is_some() {
            let len = current.len;
            let sent = current.send(self.into, row);
            let finished = sent.and_then(|()| current.parts.map_or(Ok(()), |parts| parts.finish()));
            self.done.note(&row.path, Some(len), finished);
            return;
        }
        let (key, bytes, facts) = (row.path.clone(), current.bytes, Box::new(facts(row)));
        if current.len <= SMALL_BYTES {
            // Safe to ignore because the threads end after this does.
            let _ = self.jobs.send(Job::Put { key, bytes, facts });
            return;
        }
        self.done.note(&key, Some(current.len), self.into.put(&key, bytes, &facts));
    }

    fn damaged(&mut self, row: &Row, why: &str) {
        self.current = None;
        self.done.damaged(&row.path, why);
    }
}

impl<'a> Current<'a> {
    /// Sends a part.
    fn send(&mut self, into: &'a dyn Objects, row: &Row) -> Result<(), ObjectsError> {
        let parts = match &mut self.parts {
            Some(parts) => parts,
            parts => parts.insert(into.begin(&row.path, &facts(row))?),
        };
        let capacity = self.bytes.capacity();
        parts.put(std::mem::replace(&mut self.bytes, Vec::with_capacity(capacity)))
    }
}

fn facts(row: &Row) -> Facts {
    row.extra.facts.clone().unwrap_or_default()
}

/// How many bytes of an object go into one request. Where the backed up one was put in parts, the same parts give the
/// same ETag, by which the next restore tells that it is there.
fn part_bytes(row: &Row) -> u64 {
    const MIB: u64 = 1 << 20;
    let len = row.data_bytes();
    let least = PART_BYTES.max(len.div_ceil(PARTS_MAX));
    let parts = row.extra.etag.as_deref().and_then(|etag| etag.rsplit_once('-')?.1.parse::<u64>().ok());
    match parts {
        None if len <= WHOLE_BYTES => WHOLE_BYTES,
        None => least,
        Some(parts) => {
            let usual = [5, 8, 10, 15, 16, 20, 25, 32, 50, 64].map(|size| size * MIB);
            usual.into_iter().find(|size| len.div_ceil(*size) == parts).unwrap_or(least)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(size: u64, etag: &str) -> Row {
        let extra = crate::content::index::Extra { etag: Some(etag.to_owned()), ..Default::default() };
        let kind = Kind::File { size, digest: [0; 32] };
        let mtime = Default::default();
        Row {
            path: b"a".to_vec(),
            kind,
            mode: 0,
            uid: 0,
            gid: 0,
            mtime,
            is_torn: false,
            is_old: false,
            extra,
        }
    }

    #[test]
    fn parts_are_those_of_the_upload_where_they_can_be_told_and_never_too_many() {
        assert_eq!(part_bytes(&row(20 << 20, "ab-3")), 8 << 20);
        assert_eq!(part_bytes(&row(20 << 20, "ab-4")), 5 << 20);
        assert_eq!(part_bytes(&row(20 << 20, "ab")), WHOLE_BYTES);
        assert_eq!(part_bytes(&row(20 << 20, "ab-7")), PART_BYTES);
        let huge = row(5 << 40, "ab");
        assert!(huge.data_bytes().div_ceil(part_bytes(&huge)) <= 10_000);
    }
}
