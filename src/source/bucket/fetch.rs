//! Threads that read objects ahead of whoever takes them, in pieces. What is asked for and was not taken yet has a
//! bound.

use super::{BucketError, Tags};
use crate::base::objects::{Facts, Object, Objects, ObjectsError, Taken, Trouble};
use crossbeam_channel::{Receiver, Sender};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Requests under way at the same time.
const THREADS: usize = 16;
/// An object is read in pieces of so many bytes.
const PIECE_BYTES: u64 = 8 << 20;
/// So many bytes are asked for ahead, and one piece more …
const AHEAD_BYTES: u64 = 16 << 20;
/// … and so many pieces.
const AHEAD_PIECES: usize = 256;

/// What a thread is to read.
struct Job {
    object: Arc<Object>,
    /// None: only its tags.
    range: Option<Range<u64>>,
    reply: Sender<Result<Taken, ObjectsError>>,
}

/// A piece that was asked for.
pub(super) struct Asked {
    answer: Receiver<Result<Taken, ObjectsError>>,
    bytes: u64,
}

/// The threads.
pub(super) struct Fetcher {
    jobs: Sender<Job>,
    bytes: u64,
    pieces: usize,
}

impl Fetcher {
    /// Starts the threads. They end when this is dropped.
    ///
    /// # Errors
    /// When there are none to be had.
    pub(super) fn start(objects: &Arc<dyn Objects>, tags: Tags) -> Result<Self, BucketError> {
        let (jobs_in, jobs) = crossbeam_channel::unbounded();
        let is_tagless = Arc::new(AtomicBool::new(tags == Tags::None));
        for number in 0..THREADS {
            let (jobs, objects, is_tagless) =
                (Receiver::clone(&jobs), Arc::clone(objects), Arc::clone(&is_tagless));
            let thread = std::thread::Builder::new().name(format!("fetch-{number}"));
            let run = move || {
                for Job { object, range, reply } in jobs {
                    // Safe to ignore because nobody waits for it any more.
                    let _ = reply.send(match range {
                        Some(range) => read(objects.as_ref(), &object, range, &is_tagless),
                        None => read_tags(objects.as_ref(), &object, &is_tagless).map(|tags| Taken {
                            facts: Facts { tags, ..Facts::default() },
                            ..Taken::default()
                        }),
                    });
                }
            };
            match thread.spawn(run) {
                // A few are as good, only slower.
                Err(source) if number == 0 => return Err(BucketError::Thread { source }),
                _ => {}
            }
        }
        Ok(Self { jobs: jobs_in, bytes: 0, pieces: 0 })
    }

    /// Whether more may be asked for.
    pub(super) fn has_room(&self) -> bool {
        self.pieces == 0 || self.bytes < AHEAD_BYTES && self.pieces < AHEAD_PIECES
    }

    /// Asks for the next piece from `offset` on; gives where the one after it begins.
    pub(super) fn ask(&mut self, object: &Arc<Object>, offset: u64) -> (Asked, u64) {
        let end = object.bytes.min(offset.saturating_add(PIECE_BYTES));
        let (reply, answer) = crossbeam_channel::bounded(1);
        let bytes = end.saturating_sub(offset);
        self.bytes += bytes;
        self.pieces += 1;
        // Safe to ignore because an answer that never comes is told as one.
        let _ = self.jobs.send(Job { object: Arc::clone(object), range: Some(offset..end), reply });
        (Asked { answer, bytes }, end)
    }

    /// Asks for the tags alone: the facts of what is taken then have no others.
    pub(super) fn ask_tags(&mut self, object: &Arc<Object>) -> Asked {
        let (reply, answer) = crossbeam_channel::bounded(1);
        self.pieces += 1;
        // Safe to ignore because an answer that never comes is told as one.
        let _ = self.jobs.send(Job { object: Arc::clone(object), range: None, reply });
        Asked { answer, bytes: 0 }
    }

    /// Waits for a piece.
    pub(super) fn take(&mut self, asked: Asked) -> Result<Taken, ObjectsError> {
        self.bytes -= asked.bytes;
        self.pieces -= 1;
        asked.answer.recv().unwrap_or_else(|_| {
            let (operation, object) = ("read", "bucket".to_owned());
            Err(ObjectsError {
                operation,
                object,
                what: "a thread ended".to_owned(),
                trouble: Trouble::Unreachable,
            })
        })
    }
}

/// Reads bytes of an object; with the first of them its tags, if it has some.
fn read(
    objects: &dyn Objects,
    object: &Object,
    range: Range<u64>,
    is_tagless: &AtomicBool,
) -> Result<Taken, ObjectsError> {
    let is_first = range.start == 0;
    let mut taken = objects.read(object, range)?;
    if is_first && taken.tags > 0 {
        taken.facts.tags = read_tags(objects, object, is_tagless)?;
    }
    Ok(taken)
}

/// The tags of an object; none where they may not be read.
fn read_tags(
    objects: &dyn Objects,
    object: &Object,
    is_tagless: &AtomicBool,
) -> Result<Option<Vec<(String, String)>>, ObjectsError> {
    if is_tagless.load(Ordering::Relaxed) {
        return Ok(None);
    }
    match objects.tags(object) {
        Ok(tags) => Ok(Some(tags)),
        // The object itself is still read. A key that may not read one object's tags may read no tags.
        Err(error) if error.trouble == Trouble::Denied => {
            if !is_tagless.swap(true, Ordering::Relaxed) {
                tracing::warn!("{error}; tags are not backed up");
            }
            Ok(None)
        }
        Err(error) if matches!(error.trouble, Trouble::Missing | Trouble::Changed) => Ok(None),
        Err(error) => Err(error),
    }
}
