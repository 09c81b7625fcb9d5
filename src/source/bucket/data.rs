//! The data stream: bytes of objects that changed, and ranges of the parent's for those that did not. Rows of the index
//! come of it.

use super::fetch::{Asked, Fetcher};
use super::listing::Listing;
use super::{BucketError, Tags};
use crate::base::event::Event;
use crate::base::id::StreamDigest;
use crate::base::numbers::{Proof, StreamFormat};
use crate::base::objects::{Facts, Object, Objects, ObjectsError, Taken, Trouble};
use crate::base::run::Run;
use crate::base::words::path as shown;
use crate::content::index::{Change, Kind, Of, Row, Time};
use crate::source::indexed::{Before, Copies, Deadline, Kept, ParentIndex, Rows};
use crate::source::{Dump, SourceError};
use std::collections::VecDeque;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

/// Objects that were looked at and wait for those before them.
const QUEUED: usize = 4096;
/// Objects up to this size are given once all of them was read: one that is overwritten meanwhile is read again.
const WHOLE_BYTES: u64 = 32 << 20;
/// How often an object is read that keeps changing.
const ATTEMPTS: u32 = 4;
/// So many objects one after another that cannot be read: it is not the objects.
const FAILURES_MAX: u32 = 20;
/// So many objects that could not be read are named.
const NAMED_MAX: u64 = 20;

/// What comes next.
enum Next {
    /// It is as it was, but perhaps for the tags that were asked for.
    Unchanged(Box<Before>, Option<Asked>),
    /// It is read.
    Reading(Reading),
}

/// An object that was asked for.
struct Reading {
    object: Arc<Object>,
    /// Pieces in order.
    asked: VecDeque<Asked>,
    /// Where the first piece begins that was not asked for.
    rest: u64,
    is_begun: bool,
}

impl Reading {
    fn new(object: Object) -> Self {
        Self { object: Arc::new(object), asked: VecDeque::new(), rest: 0, is_begun: false }
    }

    /// Whether a piece is still to be asked for: of an empty object, too, for what it has besides.
    fn wants(&self) -> bool {
        !self.is_begun || self.rest < self.object.bytes
    }

    fn ask(&mut self, fetcher: &mut Fetcher) {
        let (asked, end) = fetcher.ask(&self.object, self.rest);
        self.asked.push_back(asked);
        (self.rest, self.is_begun) = (end, true);
    }
}

/// The object whose bytes are given now.
struct Current {
    object: Arc<Object>,
    facts: Facts,
    /// Pieces that are there.
    pieces: VecDeque<Vec<u8>>,
    /// How much of the first was given.
    at: usize,
    /// Those that are still to come.
    later: Option<Reading>,
    given: u64,
    hasher: blake3::Hasher,
}

/// What a person is told of.
#[derive(Default)]
struct Told {
    unread: u64,
    vanished: u64,
    again: u64,
    /// Objects that could not be read, since the last that could.
    in_a_row: u32,
}

/// The data stream.
pub(super) struct Data {
    objects: Arc<dyn Objects>,
    listing: Option<Listing>,
    fetcher: Fetcher,
    tags: Tags,
    queue: VecDeque<Next>,
    current: Option<Current>,
    index_name: String,
    parent: Option<ParentIndex>,
    /// What the parent has of the key that was listed last.
    versions: (Option<Vec<u8>>, Vec<Before>),
    copies: Copies,
    rows: Rows,
    told: Told,
    has_ended: bool,
    failure: Option<BucketError>,
    kept: Kept,
    deadline: Deadline,
    run: Run,
}

impl Data {
    /// Begins to list.
    ///
    /// # Errors
    /// When there are no threads to be had.
    pub(super) fn start(
        objects: Arc<dyn Objects>,
        (tags, versions): (Tags, bool),
        index_name: String,
        (kept, deadline): (Kept, Deadline),
        run: Run,
    ) -> Result<Self, BucketError> {
        let listing = Listing::start(Arc::clone(&objects), versions, run.cancel.clone())?;
        let fetcher = Fetcher::start(&objects, tags)?;
        Ok(Self {
            objects,
            listing: Some(listing),
            fetcher,
            tags,
            queue: VecDeque::new(),
            current: None,
            index_name,
            parent: None,
            versions: Default::default(),
            copies: Copies::default(),
            rows: Rows::new(Of::Objects),
            told: Told::default(),
            has_ended: false,
            failure: None,
            kept,
            deadline,
            run,
        })
    }

    /// Looks ahead, and asks for what has to be read, as far as there is room.
    fn look_ahead(&mut self) -> Result<(), BucketError> {
        while self.queue.len() < QUEUED && self.fetcher.has_room() {
            if let Some(Current { later: Some(reading), .. }) = &mut self.current
                && reading.wants()
            {
                reading.ask(&mut self.fetcher);
                continue;
            }
            if let Some(Next::Reading(reading)) = self.queue.back_mut()
                && reading.wants()
            {
                reading.ask(&mut self.fetcher);
                continue;
            }
            let Some(listing) = &mut self.listing else { return Ok(()) };
            let Some(object) = listing.object()? else {
                self.listing = None;
                return Ok(());
            };
            let next = match self.before(&object) {
                Some(before) => {
                    let is_asked = self.tags == Tags::All;
                    let asked = is_asked.then(|| self.fetcher.ask_tags(&Arc::new(object)));
                    Next::Unchanged(Box::new(before), asked)
                }
                None => Next::Reading(Reading::new(object)),
            };
            self.queue.push_back(next);
        }
        Ok(())
    }

    /// What the parent has of that very object.
    fn before(&mut self, object: &Object) -> Option<Before> {
        let parent = self.parent.as_mut()?;
        if self.versions.0.as_ref() != Some(&object.key) {
            self.versions = (Some(object.key.clone()), parent.versions(&object.key));
        }
        let found = self.versions.1.iter().position(|before| is_unchanged(before, object))?;
        let mut before = self.versions.1.remove(found);
        // What was current yesterday need not be today.
        before.row.is_old = object.is_old;
        before.row.extra.version = object.version.clone().or(before.row.extra.version);
        Some(before)
    }

    /// The next object; whether there is one.
    fn step(&mut self) -> Result<bool, BucketError> {
        if self.run.cancel.is_cancelled() {
            return Err(BucketError::Cancelled);
        }
        self.deadline.look()?;
        self.look_ahead()?;
        match self.queue.pop_front() {
            None => return Ok(false),
            Some(Next::Unchanged(before, asked)) => {
                let Before { mut row, change, bytes } = *before;
                let tags = asked.map(|asked| self.fetcher.take(asked)).transpose()?;
                let tags = tags.and_then(|taken| taken.facts.tags);
                match tags.is_some_and(|tags| is_tagged_anew(&mut row, tags)) {
                    true => self.rows.push(&row, &change)?,
                    false => self.rows.unchanged(&row, &change)?,
                }
                self.copies.push(bytes);
            }
            Some(Next::Reading(reading)) => self.begin(reading)?,
        }
        Ok(true)
    }

    /// Waits for an object, or its first piece. One that is another meanwhile is looked at again.
    fn begin(&mut self, mut reading: Reading) -> Result<(), BucketError> {
        // It may have been put off while the bytes before it were under way.
        if !reading.is_begun {
            reading.ask(&mut self.fetcher);
        }
        let mut outcome = self.first(&mut reading);
        for _ in 1..ATTEMPTS {
            match &outcome {
                Err(error) if error.trouble == Trouble::Changed => {}
                _ => break,
            }
            self.told.again += 1;
            reading.asked.drain(..).for_each(|asked| drop(self.fetcher.take(asked)));
            outcome = match self.objects.look(&reading.object.key) {
                Ok(Some(now)) => {
                    reading = Reading::new(now);
                    reading.ask(&mut self.fetcher);
                    self.first(&mut reading)
                }
                Ok(None) => Err(gone(&reading.object)),
                Err(error) => Err(error),
            };
        }
        match outcome {
            Ok((facts, pieces)) => {
                self.told.in_a_row = 0;
                self.copies.settle();
                let (object, hasher) = (Arc::clone(&reading.object), blake3::Hasher::new());
                let later = (!reading.asked.is_empty() || reading.wants()).then_some(reading);
                self.current = Some(Current { object, facts, pieces, at: 0, later, given: 0, hasher });
                Ok(())
            }
            Err(error) => {
                reading.asked.drain(..).for_each(|asked| drop(self.fetcher.take(asked)));
                self.unread(&reading.object, error)
            }
        }
    }

    /// The whole object where it is small, else its first piece.
    fn first(&mut self, reading: &mut Reading) -> Result<(Facts, VecDeque<Vec<u8>>), ObjectsError> {
        let is_whole = reading.object.bytes <= WHOLE_BYTES;
        let (mut facts, mut pieces) = (None, VecDeque::new());
        loop {
            if reading.asked.is_empty() && reading.wants() {
                reading.ask(&mut self.fetcher);
            }
            let Some(asked) = reading.asked.pop_front() else { break };
            let Taken { bytes, facts: found, .. } = self.fetcher.take(asked)?;
            facts.get_or_insert(found);
            pieces.push_back(bytes);
            if !is_whole {
                break;
            }
        }
        Ok((facts.unwrap_or_default(), pieces))
    }

    /// An object that cannot be read.
    fn unread(&mut self, object: &Object, error: ObjectsError) -> Result<(), BucketError> {
        match error.trouble {
            Trouble::Missing => {
                self.told.vanished += 1;
                return Ok(());
            }
            Trouble::Unreachable | Trouble::Credentials | Trouble::Invalid => return Err(error.into()),
            Trouble::Other => {
                self.told.in_a_row += 1;
                if self.told.in_a_row >= FAILURES_MAX {
                    return Err(error.into());
                }
            }
            Trouble::Changed | Trouble::Archived | Trouble::Denied => {}
        }
        if self.run.cancel.is_cancelled() {
            return Err(BucketError::Cancelled);
        }
        let why = match error.trouble {
            Trouble::Changed => "it was overwritten each time that it was read".to_owned(),
            _ => error.what,
        };
        self.tell(&object.key, &why);
        let mut row = row(object, Kind::Unreadable, None);
        row.extra.reason = Some(why);
        Ok(self.rows.push(&row, &Change::default())?)
    }

    fn tell(&mut self, key: &[u8], why: &str) {
        self.told.unread += 1;
        if self.told.unread <= NAMED_MAX {
            let message = format!("cannot read `{}`: {why}", shown(key));
            self.run.events.observe(Event::Warning { message });
        }
    }

    /// Bytes of the object under way; 0 at its end.
    fn give(&mut self, current: &mut Current, buffer: &mut [u8]) -> Result<usize, BucketError> {
        loop {
            if let Some(piece) = current.pieces.front() {
                let rest = piece.get(current.at..).unwrap_or_default();
                let count = rest.len().min(buffer.len());
                if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
                    to.copy_from_slice(from);
                    current.hasher.update(from);
                }
                current.at += count;
                current.given += count as u64;
                if current.at >= piece.len() {
                    current.pieces.pop_front();
                    current.at = 0;
                }
                if count > 0 {
                    return Ok(count);
                }
                continue;
            }
            let Some(reading) = &mut current.later else { return Ok(0) };
            while reading.wants() && (reading.asked.is_empty() || self.fetcher.has_room()) {
                reading.ask(&mut self.fetcher);
            }
            let Some(asked) = reading.asked.pop_front() else { return Ok(0) };
            match self.fetcher.take(asked) {
                Ok(taken) => current.pieces.push_back(taken.bytes),
                Err(error) => {
                    if matches!(error.trouble, Trouble::Unreachable | Trouble::Credentials | Trouble::Invalid)
                    {
                        return Err(error.into());
                    }
                    // What was given cannot be taken back: the row says that it is no whole object.
                    let reading = current.later.take();
                    for asked in reading.into_iter().flat_map(|reading| reading.asked) {
                        drop(self.fetcher.take(asked));
                    }
                    return Ok(0);
                }
            }
        }
    }

    /// All of the object under way was given.
    fn end_object(&mut self, current: Current) -> Result<(), BucketError> {
        let Current { object, facts, given, hasher, .. } = current;
        let digest = *hasher.finalize().as_bytes();
        let mut row = row(&object, Kind::File { size: given, digest }, Some(facts));
        row.is_torn = given != object.bytes;
        if row.is_torn {
            let why = "it was overwritten, or could not be read on, while it was read".to_owned();
            self.tell(&object.key, &why);
            row.extra.reason = Some(why);
        }
        let is_clean = !row.is_torn && !object.etag.is_empty();
        Ok(self.rows.push(&row, &Change { is_clean, ctime: row.mtime, inode: 0 })?)
    }

    fn end(&mut self) -> Result<(), BucketError> {
        self.has_ended = true;
        self.copies.settle();
        let counts = [
            ("vanished", self.told.vanished),
            ("unreadable", self.told.unread),
            ("read_again", self.told.again),
            ("requests", self.objects.requests()),
        ];
        Ok(self.rows.finish(&counts, &self.kept)?)
    }

    /// The next bytes; 0 where a range of the parent comes first, and at the end.
    fn next_bytes(&mut self, buffer: &mut [u8]) -> Result<usize, BucketError> {
        loop {
            if self.copies.are_ready() {
                return Ok(0);
            }
            if let Some(mut current) = self.current.take() {
                let count = self.give(&mut current, buffer)?;
                if count > 0 {
                    self.current = Some(current);
                    return Ok(count);
                }
                self.end_object(current)?;
                continue;
            }
            if self.has_ended {
                return Ok(0);
            }
            if !self.step()? {
                self.end()?;
            }
        }
    }
}

impl Read for Data {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.next_bytes(buffer).map_err(|error| {
            let told = io::Error::other(error.to_string());
            self.failure = Some(error);
            told
        })
    }
}

impl Dump for Data {
    fn finish(self: Box<Self>) -> Result<Proof, SourceError> {
        match self.failure {
            Some(failure) => Err(failure.into()),
            None if self.has_ended => Ok(Proof::Structure),
            None => Err(SourceError::NotReadToEnd { program: "the bucket".to_owned() }),
        }
    }

    fn format(&self) -> Option<StreamFormat> {
        Some(StreamFormat::ObjectData)
    }

    fn wants(&self) -> Option<String> {
        Some(self.index_name.clone())
    }

    fn give(&mut self, parent: Box<dyn Read + Send>) {
        self.parent = Some(ParentIndex::new(Of::Objects, parent));
    }

    fn copy(&mut self) -> Option<Range<u64>> {
        self.copies.take()
    }

    fn digest(&self) -> Option<StreamDigest> {
        Some(self.rows.digest())
    }

    fn unread(&self) -> Option<String> {
        let count = self.told.unread;
        (count > 0).then(|| format!("{} could not be read", crate::base::words::count(count, "object")))
    }
}

fn gone(object: &Object) -> ObjectsError {
    let object = shown(&object.key);
    ObjectsError { operation: "read", object, what: "it is gone".to_owned(), trouble: Trouble::Missing }
}

/// What a listing says, as a row of that kind has it.
fn row(object: &Object, kind: Kind, facts: Option<Facts>) -> Row {
    let mut row = Row {
        path: object.key.clone(),
        kind,
        mode: 0,
        uid: 0,
        gid: 0,
        mtime: modified(object),
        is_torn: false,
        is_old: object.is_old,
        extra: Default::default(),
    };
    let mut facts = facts.unwrap_or_default();
    facts.class = object.class.clone().or(facts.class);
    row.extra.facts = (facts != Facts::default()).then_some(facts);
    row.extra.version.clone_from(&object.version);
    row.extra.etag = Some(object.etag.clone()).filter(|etag| !etag.is_empty());
    row
}

/// Gives a row these tags; whether it had others.
fn is_tagged_anew(row: &mut Row, tags: Vec<(String, String)>) -> bool {
    let tags = Some(tags).filter(|tags| !tags.is_empty());
    let mut facts = row.extra.facts.take().unwrap_or_default();
    let is_new = facts.tags != tags;
    facts.tags = tags;
    row.extra.facts = (facts != Facts::default()).then_some(facts);
    is_new
}

fn modified(object: &Object) -> Time {
    let (seconds, nanos) = object.modified;
    Time { seconds, nanos: if nanos < 1_000_000_000 { nanos } else { 0 } }
}

/// Whether an object that a listing has is still the one that the parent's row is of.
fn is_unchanged(before: &Before, object: &Object) -> bool {
    let row = &before.row;
    let is_its_size = matches!(row.kind, Kind::File { size, .. } if size == object.bytes);
    is_its_size
        && before.change.is_clean
        && !object.etag.is_empty()
        && row.extra.etag.as_deref() == Some(&object.etag)
        && row.mtime == modified(object)
        // One of the two may be of a listing without versions.
        && row.extra.version.as_ref().zip(object.version.as_ref()).is_none_or(|(one, other)| one == other)
}
