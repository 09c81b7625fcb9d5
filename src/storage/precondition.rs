//! What "already there" means: decided once for all services that put only if nothing is there.
//!
//! A service refuses to replace an object, or an answer was lost and the object is one's own: which, only its bytes
//! tell. So what is there is compared; the same bytes are success, others a conflict.

use super::{ErrorKind, Put, Storage, StorageError};

/// How often a put starts over when the object that was in its way is gone at the second look.
const ATTEMPTS: u32 = 8;

/// What one attempt came to.
pub(super) enum Attempt {
    /// It is there, one way or the other.
    Done(Put),
    /// The service says that something is there.
    Taken,
    /// Nothing happened; the next attempt is another one.
    #[cfg(any(test, feature = "s3"))]
    Again,
}

/// Looks at what is under the key: `None` is nothing.
type Look<'a> = &'a dyn Fn() -> Result<Option<Put>, StorageError>;

/// Puts an object unless something is there, by attempts that may look first.
///
/// # Errors
/// [`ErrorKind::Conflict`] when other bytes are there.
pub(super) fn put_new(
    storage: &dyn Storage,
    key: &str,
    bytes: &[u8],
    attempt: &mut dyn FnMut(Look<'_>) -> Result<Attempt, StorageError>,
) -> Result<Put, StorageError> {
    let object = || format!("{}/{key}", storage.location());
    let look = || match compare(storage, key, bytes)? {
        Found::Nothing => Ok(None),
        Found::Same => Ok(Some(Put::AlreadyThere)),
        Found::Other => {
            let what = "other bytes are there";
            Err(StorageError::permanent("write", object(), ErrorKind::Conflict, what))
        }
    };
    for _ in 0..ATTEMPTS {
        match attempt(&look)? {
            Attempt::Done(put) => return Ok(put),
            Attempt::Taken => {
                if let Some(put) = look()? {
                    return Ok(put);
                }
            }
            #[cfg(any(test, feature = "s3"))]
            Attempt::Again => {}
        }
    }
    let what = "objects under this key come and go";
    Err(StorageError {
        retryable: true,
        ..StorageError::permanent("write", object(), ErrorKind::Other, what)
    })
}

/// What is under a key, compared with bytes.
enum Found {
    Nothing,
    Same,
    Other,
}

fn compare(storage: &dyn Storage, key: &str, bytes: &[u8]) -> Result<Found, StorageError> {
    let writing = |error: StorageError| StorageError { operation: "write", ..error };
    match storage.size(key).map_err(writing)? {
        None => return Ok(Found::Nothing),
        Some(size) if size != bytes.len() as u64 => return Ok(Found::Other),
        Some(_) => {}
    }
    match storage.get(key, bytes.len() as u64) {
        Ok(there) if there == bytes => Ok(Found::Same),
        Ok(_) => Ok(Found::Other),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(Found::Nothing),
        Err(error) => Err(writing(error)),
    }
}

/// Whether the last part of the key is a hash of 32 bytes in hex: then no two contents ever want it.
#[cfg(feature = "s3")]
pub(super) fn is_named_by_hash(key: &str) -> bool {
    key.rsplit('/').next().is_some_and(|name| blake3::Hash::from_hex(name).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::memory::MemoryStorage;

    #[test]
    fn given_an_answer_that_was_lost_then_the_same_bytes_are_success_and_others_a_conflict() {
        let storage = MemoryStorage::new();
        storage.put("a", b"1").unwrap();
        let put = |bytes: &[u8]| put_new(&storage, "a", bytes, &mut |_| Ok(Attempt::Taken));
        assert_eq!(put(b"1").unwrap(), Put::AlreadyThere);
        for other in [&b"2"[..], b"", b"11"] {
            assert_eq!(put(other).unwrap_err().kind, ErrorKind::Conflict);
        }
    }

    #[test]
    fn given_objects_that_come_and_go_then_it_ends_and_may_be_tried_again() {
        let storage = MemoryStorage::new();
        let mut attempts = 0;
        let put = put_new(&storage, "a", b"1", &mut |look| {
            attempts += 1;
            assert_eq!(look().unwrap(), None);
            Ok(Attempt::Taken)
        });
        assert!(put.unwrap_err().retryable);
        assert_eq!(attempts, ATTEMPTS);
    }
}
