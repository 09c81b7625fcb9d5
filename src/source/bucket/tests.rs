//! The source against a bucket in memory that misbehaves as no server here does.

use super::*;
use crate::base::clock::SystemClock;
use crate::base::event::{Cancel, Silent};
use crate::base::objects::{Facts, Object, Objects, Page, Parts, Taken};
use crate::base::run::Room;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

type Refuses = dyn Fn(&Object) -> Option<Trouble> + Send + Sync;

/// Pages as they are given, and objects whose bytes are their keys.
struct Stub {
    pages: Vec<Vec<&'static str>>,
    refuses: Box<Refuses>,
    requests: AtomicU64,
}

impl Stub {
    fn with(pages: &[&[&'static str]]) -> Self {
        let pages = pages.iter().map(|page| page.to_vec()).collect();
        Self { pages, refuses: Box::new(|_| None), requests: AtomicU64::new(0) }
    }
}

fn error(trouble: Trouble) -> ObjectsError {
    ObjectsError { operation: "read", object: "stub".to_owned(), what: "no".to_owned(), trouble }
}

fn object(key: &str) -> Object {
    let (etag, modified) = (key.to_owned(), (1, 0));
    Object { key: key.into(), bytes: key.len() as u64, etag, modified, ..Object::default() }
}

impl Objects for Stub {
    fn place(&self) -> Place {
        Place { endpoint: None, bucket: "stub".to_owned(), prefix: String::new() }
    }

    fn page(&self, from: Option<&str>, _: bool) -> Result<Page, ObjectsError> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let at: usize = from.map_or(0, |from| from.parse().unwrap());
        let next = (at + 1 < self.pages.len()).then(|| (at + 1).to_string());
        Ok(Page { objects: self.pages[at].iter().map(|key| object(key)).collect(), next })
    }

    fn look(&self, key: &[u8]) -> Result<Option<Object>, ObjectsError> {
        Ok(Some(object(std::str::from_utf8(key).unwrap())))
    }

    fn read(&self, object: &Object, range: Range<u64>) -> Result<Taken, ObjectsError> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        match (self.refuses)(object) {
            Some(trouble) => Err(error(trouble)),
            None => {
                let bytes = object.key[range.start as usize..range.end as usize].to_vec();
                Ok(Taken { bytes, facts: Facts::default(), tags: 0 })
            }
        }
    }

    fn tags(&self, _: &Object) -> Result<Vec<(String, String)>, ObjectsError> {
        Ok(Vec::new())
    }

    fn put(&self, _: &[u8], _: Vec<u8>, _: &Facts) -> Result<(), ObjectsError> {
        Err(error(Trouble::Denied))
    }

    fn begin(&self, _: &[u8], _: &Facts) -> Result<Box<dyn Parts + '_>, ObjectsError> {
        Err(error(Trouble::Denied))
    }

    fn delete(&self, _: &[u8]) -> Result<(), ObjectsError> {
        Err(error(Trouble::Denied))
    }

    fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

/// Reads the data stream to its end: its bytes, and what it says of objects that it could not read.
fn read(stub: Stub) -> Result<(Vec<u8>, Option<String>), SourceError> {
    read_within(stub, None)
}

fn read_within(stub: Stub, limit: Option<Duration>) -> Result<(Vec<u8>, Option<String>), SourceError> {
    let run = Run::new(Arc::new(SystemClock), Arc::new(Silent), Cancel::new(), Room::default());
    let within = (Kept::default(), Deadline::after(limit));
    let data = Data::start(Arc::new(stub), (Tags::None, false), "x/index".to_owned(), within, run)?;
    let (mut data, mut bytes) = (Box::new(data), Vec::new());
    let outcome = io::Read::read_to_end(&mut data, &mut bytes);
    let unread = data.unread();
    let finished = data.finish();
    assert_eq!(outcome.is_ok(), finished.is_ok());
    finished.map(|_| (bytes, unread))
}

#[test]
fn reading_ends_with_an_error_when_its_time_is_over() {
    let error = read_within(Stub::with(&[&["a"], &["b"]]), Some(Duration::ZERO)).unwrap_err();
    assert!(error.to_string().contains("exceeded"), "{error}");
    assert!(read_within(Stub::with(&[&["a"], &["b"]]), Some(Duration::from_secs(600))).is_ok());
}

#[test]
fn keys_out_of_order_on_the_first_page_are_sorted_and_later_ones_are_refused() {
    let (bytes, unread) = read(Stub::with(&[&["b", "a"], &["d"], &["c"]])).unwrap();
    assert_eq!((bytes.as_slice(), unread), (&b"abcd"[..], None));
    let (bytes, _) = read(Stub::with(&[&[], &["a"], &[], &["b"], &[]])).unwrap();
    assert_eq!(bytes, b"ab");
    let error = read(Stub::with(&[&["a", "c"], &["b"]])).unwrap_err();
    assert!(matches!(error, SourceError::Bucket(BucketError::Unsorted { .. })), "{error}");
    // One key twice is no order either.
    assert!(read(Stub::with(&[&["a"], &["a"]])).is_err());
}

#[test]
fn a_service_that_answers_nothing_any_more_ends_the_backup_and_single_objects_do_not() {
    let keys: Vec<&'static str> = (0..100).map(|number| &*format!("{number:03}").leak()).collect();
    let stub = |refuses: Box<Refuses>| Stub { refuses, ..Stub::with(&[&keys]) };
    let some = stub(Box::new(|object| object.key.ends_with(b"7").then_some(Trouble::Other)));
    let (bytes, unread) = read(some).unwrap();
    assert_eq!((bytes.len(), unread.as_deref()), (270, Some("10 objects could not be read")));
    let all = stub(Box::new(|object| (object.key >= b"050".to_vec()).then_some(Trouble::Other)));
    assert!(read(all).is_err());
    let denied = stub(Box::new(|_| Some(Trouble::Denied)));
    assert_eq!(read(denied).unwrap().1.as_deref(), Some("100 objects could not be read"));
    for trouble in [Trouble::Unreachable, Trouble::Credentials, Trouble::Invalid] {
        let one = stub(Box::new(move |object| (object.key == b"042").then_some(trouble)));
        assert!(read(one).is_err(), "{trouble:?}");
    }
}
