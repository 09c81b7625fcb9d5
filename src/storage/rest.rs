//! Objects of a service that is spoken to by requests of our own: whatever its dialect, they are put, read, listed and
//! locked here.
//!
//! A [`Dialect`] writes requests and understands answers. What all services have in common is decided once. A put never
//! replaces, and a range brings what was asked for. A refused token is fetched again once. A missing object may mean a
//! missing container. A lock that was asked for is looked for.

pub(super) mod tokens;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::bucket::{Bucket, BucketLock, Replacing};
use super::precondition::{self, Attempt};
use super::retention::{Retention, is_kept};
use super::retry::Backoff;
use super::scheme::{Connected, Connecting};
use super::wire::answers::ends_of;
use super::wire::bodies::Bodies;
use super::wire::talk::{Answer, Draft, Failure, Incoming, Talk};
use super::{ErrorKind, Listed, ObjectLock, Put, Requests, Storage, StorageError, check_key, check_prefix};

/// Ranges beyond this are refused by services that count with signs.
const OFFSET_MAX: u64 = i64::MAX as u64;

/// A lock of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Locked {
    /// Who has a right of their own may end it.
    pub governance: bool,
    pub until: SystemTime,
}

/// A page of a listing.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// Whatever lies there, under its name in the container.
    pub objects: Vec<Listed>,
    /// Where the next begins.
    pub next: Option<String>,
}

/// What a service is called, asked and understood by. Names are those of objects in the container.
pub(super) trait Dialect: Send + Sync + 'static {
    /// The container's address, with the prefix.
    fn location(&self) -> String;

    /// What stands before every key, and a slash, if there is anything.
    fn prefix(&self) -> &str;

    /// Says in the request who asks.
    fn authorized(&self, talk: &Talk, draft: Draft) -> Result<Draft, Failure>;

    /// The service refused who asked: whether there may be other credentials now.
    fn renew(&self, refused: &Draft) -> bool;

    /// Puts an object where there is none.
    fn put(&self, name: &str, body: &Bytes, is_pack: bool, lock: Option<Locked>) -> Draft;

    /// Reads an object, or the bytes from the first to the last.
    fn get(&self, name: &str, range: Option<(u64, u64)>) -> Draft;

    /// Asks for an object's size and lock.
    fn head(&self, name: &str) -> Draft;

    /// A page of objects whose names begin so.
    fn list(&self, prefix: &str, from: Option<&str>) -> Draft;

    /// Deletes an object.
    fn delete(&self, name: &str) -> Draft;

    /// Locks an object for longer.
    fn extend(&self, name: &str, lock: Locked) -> Draft;

    /// Asks what the container does for its objects.
    fn container(&self) -> Draft;

    /// What a refusal means.
    fn refusal(&self, answer: &Answer) -> Failure;

    /// Whether a refusal to put says that something is there.
    fn is_taken(&self, failure: &Failure) -> bool;

    /// Whether the refusal says that an object is not there, and leaves open whether its container is.
    fn is_doubtful(&self, failure: &Failure) -> bool;

    /// The container is not there.
    fn no_container(&self) -> Failure;

    /// Size and lock, as the answer to `head` tells.
    fn facts_of(&self, answer: &Answer) -> Option<(u64, Option<SystemTime>)>;

    /// What a page tells.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    fn page_of(&self, answer: &Answer) -> Result<Page, String>;

    /// Locks and versions, as the answer to `container` tells.
    fn protection_of(&self, answer: &Answer) -> (BucketLock, Option<bool>);

    /// What to do where a lock that was asked for is not there.
    fn lock_hint(&self) -> &'static str;
}

/// A container, or what lies below a prefix of it.
pub(super) struct Rest<D> {
    dialect: D,
    talk: Talk,
    backoff: Arc<Backoff>,
    bodies: Arc<Bodies>,
    retention: Option<Retention>,
    /// Something in the container was found, so the container is there.
    is_there: AtomicBool,
    /// A lock that was asked for was there.
    is_locking: AtomicBool,
}

impl<D: Dialect> Rest<D> {
    pub(super) fn new(dialect: D, talk: Talk, backoff: Arc<Backoff>, retention: Option<Retention>) -> Self {
        let (is_there, is_locking) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { dialect, talk, backoff, bodies: Arc::default(), retention, is_there, is_locking }
    }

    /// As commands use it.
    pub(super) fn connected(self, around: &Connecting) -> Connected {
        let bucket = Arc::new(self);
        Connected { bucket: Some(Arc::clone(&bucket) as _), ..Connected::by_wire(bucket, around) }
    }

    fn name(&self, key: &str) -> String {
        format!("{}{key}", self.dialect.prefix())
    }

    fn object(&self, key: &str) -> String {
        let separator = if key.is_empty() { "" } else { "/" };
        format!("{}{separator}{key}", self.dialect.location())
    }

    fn failed<'a>(&'a self, operation: &'static str, key: &'a str) -> impl Fn(Failure) -> StorageError + 'a {
        move |failure| failure.on(operation, self.object(key))
    }

    fn error(&self, operation: &'static str, key: &str, kind: ErrorKind, what: String) -> StorageError {
        StorageError::permanent(operation, self.object(key), kind, what)
    }

    /// Sends a request and lets `take` read the answer; once more where the credentials were refused and there may be
    /// others.
    fn exchange<T>(
        &self,
        draft: Draft,
        mut take: impl AsyncFnMut(Incoming<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut once = |draft: Draft| {
            let signed = self.dialect.authorized(&self.talk, draft).map_err(|failure| (failure, None))?;
            let outcome = self.talk.send(&signed, async |incoming| match incoming.is_success() {
                true => take(incoming).await,
                false => Err(self.dialect.refusal(&incoming.whole().await?)),
            });
            outcome.map_err(|failure| (failure, Some(Box::new(signed))))
        };
        let outcome = match once(draft.clone()) {
            Err((failure, Some(signed))) if failure.status == 401 && self.dialect.renew(&signed) => {
                tracing::info!("the credentials were refused; going on with new ones");
                once(draft)
            }
            outcome => outcome,
        };
        match outcome {
            Ok(output) => {
                self.is_there.store(true, Ordering::Relaxed);
                Ok(output)
            }
            Err((failure, _)) if self.dialect.is_doubtful(&failure) => Err(self.look_for_container(failure)),
            Err((failure, _)) => Err(failure),
        }
    }

    fn ask(&self, draft: Draft) -> Result<Answer, Failure> {
        self.exchange(draft, async |incoming| incoming.whole().await)
    }

    /// Nothing is there: is the container? Asked until something was found in it.
    fn look_for_container(&self, missing: Failure) -> Failure {
        if self.is_there.load(Ordering::Relaxed) {
            return missing;
        }
        let draft = match self.dialect.authorized(&self.talk, self.dialect.list(self.dialect.prefix(), None))
        {
            Ok(draft) => draft,
            Err(failure) => return failure,
        };
        match self.talk.ask(&draft) {
            Ok(answer) if answer.is_success() => {
                self.is_there.store(true, Ordering::Relaxed);
                missing
            }
            Ok(answer) => match self.dialect.refusal(&answer) {
                failure if matches!(failure.kind, ErrorKind::NotFound | ErrorKind::Invalid) => {
                    self.dialect.no_container()
                }
                failure if failure.retryable => failure,
                // Who may not list is not told.
                _ => missing,
            },
            Err(failure) => failure,
        }
    }

    fn lock_of(&self, key: &str) -> Option<Locked> {
        let retention = self.retention.filter(|_| is_kept(key))?;
        let until = self.talk.wire.service_time().checked_add(retention.lasts)?;
        Some(Locked { governance: retention.governance, until })
    }

    /// Some services take the wish for a lock and keep none: the first locked object is looked at.
    fn look_for_lock(&self, key: &str) -> Result<(), StorageError> {
        if self.is_locking.load(Ordering::Relaxed) {
            return Ok(());
        }
        let answer =
            self.ask(self.dialect.head(&self.name(key))).map_err(self.failed("read the lock of", key))?;
        match self.dialect.facts_of(&answer) {
            Some((_, Some(_))) => {
                self.is_locking.store(true, Ordering::Relaxed);
                Ok(())
            }
            _ => {
                let what = format!("the service took the lock and keeps none: {}", self.dialect.lock_hint());
                Err(self.error("lock", key, ErrorKind::Invalid, what))
            }
        }
    }

    fn facts(&self, key: &str) -> Result<(u64, Option<SystemTime>), Failure> {
        let answer = self.ask(self.dialect.head(&self.name(key)))?;
        let told = self.dialect.facts_of(&answer);
        told.ok_or_else(|| Failure::alien(answer.status, "it tells no size"))
    }

    fn page(&self, prefix: &str, from: Option<&str>) -> Result<Page, StorageError> {
        let answer = self.ask(self.dialect.list(&self.name(prefix), from));
        let answer = answer.map_err(self.failed("list", prefix))?;
        let page = self.dialect.page_of(&answer).map_err(|what| Failure::alien(answer.status, what));
        page.map_err(self.failed("list", prefix))
    }
}

impl<D: Dialect> Storage for Rest<D> {
    fn put(&self, key: &str, bytes: &[u8]) -> Result<Put, StorageError> {
        check_key("write", key)?;
        // Shared by all attempts.
        let (body, name) = (self.bodies.body(bytes), self.name(key));
        let put = precondition::put_new(self, key, bytes, &mut |_| {
            let draft = self.dialect.put(&name, &body, key.starts_with("packs/"), self.lock_of(key));
            match self.ask(draft) {
                Ok(_) => Ok(Attempt::Done(Put::Created)),
                Err(failure) if self.dialect.is_taken(&failure) => Ok(Attempt::Taken),
                Err(failure) => Err(self.failed("write", key)(failure)),
            }
        })?;
        if put == Put::Created && self.lock_of(key).is_some() {
            self.look_for_lock(key)?;
        }
        Ok(put)
    }

    fn get(&self, key: &str, bytes_max: u64) -> Result<Vec<u8>, StorageError> {
        check_key("read", key)?;
        let content = self.exchange(self.dialect.get(&self.name(key), None), async |mut incoming| {
            not_a_page(&incoming)?;
            let told = incoming.length();
            if let Some(bytes) = told.filter(|bytes| *bytes > bytes_max) {
                return Ok(Err(bytes));
            }
            let mut content = Vec::new();
            // Bounded by what the caller allows; a length that is a lie costs no more than that.
            content.reserve_exact(usize::try_from(told.unwrap_or(0)).unwrap_or(0));
            while let Some(piece) = incoming.piece().await? {
                if content.len() as u64 + piece.len() as u64 > bytes_max {
                    return Ok(Err(content.len() as u64 + piece.len() as u64));
                }
                content.extend_from_slice(&piece);
            }
            match told.filter(|told| *told != content.len() as u64) {
                Some(told) => Err(Failure::cut(format_args!("{} bytes of {told}", content.len()))),
                None => Ok(Ok(content)),
            }
        });
        content.map_err(self.failed("read", key))?.map_err(|bytes| {
            let what = format!("it has {bytes} bytes or more, and {bytes_max} are allowed");
            self.error("read", key, ErrorKind::Other, what)
        })
    }

    fn get_range(&self, key: &str, offset: u64, buffer: &mut [u8]) -> Result<(), StorageError> {
        check_key("read", key)?;
        let wanted = buffer.len() as u64;
        let short = || {
            let what = format!("{wanted} bytes at {offset} reach behind its end");
            self.error("read", key, ErrorKind::ShortObject, what)
        };
        let end = offset.checked_add(wanted).filter(|end| *end <= OFFSET_MAX && wanted > 0);
        let Some(end) = end else {
            return match self.size(key)? {
                None => Err(self.error("read", key, ErrorKind::NotFound, "no such object".to_owned())),
                Some(_) if wanted == 0 => Ok(()),
                Some(_) => Err(short()),
            };
        };
        let draft = self.dialect.get(&self.name(key), Some((offset, end - 1)));
        let outcome = self.exchange(draft, async |mut incoming| {
            not_a_page(&incoming)?;
            match ends_of(incoming.header("content-range")) {
                Some((first, last)) if first == offset && last + 1 == end => {}
                Some((first, last)) if first == offset && last < end => return Ok(Range::Short),
                // Some answer a range behind the end with success and nothing.
                None if incoming.status == 206 && incoming.length() == Some(0) => return Ok(Range::Short),
                _ => return Ok(Range::Other),
            }
            let mut room = &mut *buffer;
            while let Some(piece) = incoming.piece().await? {
                if piece.len() > room.len() {
                    return Ok(Range::Other);
                }
                let (to, rest) = room.split_at_mut(piece.len());
                to.copy_from_slice(&piece);
                room = rest;
            }
            if room.is_empty() { Ok(Range::Full) } else { Err(Failure::cut("bytes are missing")) }
        });
        match outcome {
            Ok(Range::Full) => Ok(()),
            Ok(Range::Short) => Err(short()),
            Ok(Range::Other) => {
                let what = "the service gave other bytes than those asked for".to_owned();
                Err(self.error("read", key, ErrorKind::Other, what))
            }
            Err(failure) if failure.status == 416 => Err(short()),
            Err(failure) => Err(self.failed("read", key)(failure)),
        }
    }

    fn size(&self, key: &str) -> Result<Option<u64>, StorageError> {
        check_key("read", key)?;
        match self.facts(key) {
            Ok((bytes, _)) => Ok(Some(bytes)),
            Err(failure) if failure.kind == ErrorKind::NotFound => Ok(None),
            Err(failure) => Err(self.failed("read", key)(failure)),
        }
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Listed)) -> Result<(), StorageError> {
        check_prefix(prefix)?;
        let mut from: Option<String> = None;
        loop {
            // A page that fails is asked for again by itself: a listing of a million objects has hundreds.
            let page = self.backoff.run(&mut || self.page(prefix, from.as_deref()));
            let page = page.map_err(|error| StorageError { retryable: false, ..error })?;
            for listed in page.objects {
                let Some(key) = listed.key.strip_prefix(self.dialect.prefix()) else { continue };
                // What others put there under names of their own is none of ours.
                if check_key("list", key).is_ok() {
                    each(Listed { key: key.to_owned(), ..listed });
                }
            }
            match page.next {
                None => return Ok(()),
                Some(next) if from.as_ref() == Some(&next) => {
                    let what = "the service gives the same page again".to_owned();
                    return Err(self.error("list", prefix, ErrorKind::Other, what));
                }
                next => from = next,
            }
        }
    }

    fn delete(&self, key: &str) -> Result<(), StorageError> {
        check_key("delete", key)?;
        match self.ask(self.dialect.delete(&self.name(key))) {
            Err(failure) if failure.kind == ErrorKind::NotFound => Ok(()),
            outcome => outcome.map(drop).map_err(self.failed("delete", key)),
        }
    }

    fn location(&self) -> String {
        self.dialect.location()
    }

    fn is_local(&self) -> bool {
        false
    }

    fn lock(&self) -> Option<&dyn ObjectLock> {
        self.retention.is_some().then_some(self as &dyn ObjectLock)
    }

    fn requests(&self) -> Option<Requests> {
        Some(self.talk.wire.requests())
    }

    fn skew_ms(&self) -> Option<i64> {
        self.talk.wire.skew_ms()
    }
}

/// What came of asking for a range.
enum Range {
    Full,
    Short,
    Other,
}

/// No object of ours is a page: somebody else answered.
fn not_a_page(incoming: &Incoming<'_>) -> Result<(), Failure> {
    match incoming.header("content-type").starts_with("text/html") {
        true => Err(Failure::alien(incoming.status, "a web page")),
        false => Ok(()),
    }
}

impl<D: Dialect> ObjectLock for Rest<D> {
    fn lasts(&self) -> Duration {
        self.retention.map_or(Duration::ZERO, |retention| retention.lasts)
    }

    fn now(&self) -> SystemTime {
        self.talk.wire.service_time()
    }

    fn locked_until(&self, key: &str) -> Result<Option<SystemTime>, StorageError> {
        check_key("read", key)?;
        self.backoff.run(&mut || {
            let facts = self.facts(key).map_err(self.failed("read the lock of", key));
            facts.map(|(_, until)| until)
        })
    }

    fn extend(&self, key: &str, until: SystemTime) -> Result<(), StorageError> {
        check_key("write", key)?;
        let governance = self.retention.is_some_and(|retention| retention.governance);
        let extended = self.backoff.run(&mut || {
            let draft = self.dialect.extend(&self.name(key), Locked { governance, until });
            self.ask(draft).map(drop).map_err(self.failed("lock", key))
        });
        match extended {
            // One that lasts longer, of a host that locks for longer, cannot be made shorter.
            Err(error) if error.kind != ErrorKind::NotFound && !error.retryable => {
                match self.locked_until(key) {
                    Ok(Some(end)) if end >= until => Ok(()),
                    _ => Err(error),
                }
            }
            outcome => outcome,
        }
    }
}

impl<D: Dialect> Bucket for Rest<D> {
    fn probe_replacing(&self, key: &str, bytes: &[u8]) -> Result<Replacing, StorageError> {
        check_key("write", key)?;
        let draft = self.dialect.put(&self.name(key), &Bytes::copy_from_slice(bytes), false, None);
        match self.ask(draft) {
            Ok(_) => Ok(Replacing::Replaced),
            Err(failure) if self.dialect.is_taken(&failure) => Ok(Replacing::Refused),
            Err(failure) => Err(self.failed("write", key)(failure)),
        }
    }

    fn bucket_lock(&self) -> Result<BucketLock, StorageError> {
        self.protection().map(|(lock, _)| lock)
    }

    fn keeps_versions(&self) -> Result<Option<bool>, StorageError> {
        self.protection().map(|(_, versions)| versions)
    }
}

impl<D: Dialect> Rest<D> {
    fn protection(&self) -> Result<(BucketLock, Option<bool>), StorageError> {
        match self.ask(self.dialect.container()) {
            Ok(answer) => Ok(self.dialect.protection_of(&answer)),
            Err(failure) if failure.retryable => Err(self.failed("read", "")(failure)),
            Err(failure) => {
                let told = match failure.code.is_empty() {
                    true => format!("HTTP {}", failure.status),
                    false => failure.code,
                };
                Ok((BucketLock::Unknown(told), None))
            }
        }
    }
}

impl<D: Dialect> std::fmt::Debug for Rest<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the credentials.
        f.debug_struct("Rest").field("location", &self.dialect.location()).finish_non_exhaustive()
    }
}
