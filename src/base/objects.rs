//! Buckets that hold somebody's own objects: what can be asked of one, and what it says. Who backs one up, or restores
//! into one, goes by this; how a service is spoken to is for whoever implements it.

use super::run::Run;
use super::unit::Problem;
use minicbor::{Decode, Encode};
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What an object has besides its bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Facts {
    /// Media type.
    #[n(0)]
    pub content_type: Option<String>,
    /// How the bytes are coded: `gzip`.
    #[n(1)]
    pub content_encoding: Option<String>,
    /// How a browser shows it.
    #[n(2)]
    pub content_disposition: Option<String>,
    /// Its languages.
    #[n(3)]
    pub content_language: Option<String>,
    /// How long others may keep it.
    #[n(4)]
    pub cache_control: Option<String>,
    /// Until when, as the header has it.
    #[n(5)]
    pub expires: Option<String>,
    /// Where a website sends who asks for it.
    #[n(6)]
    pub redirect: Option<String>,
    /// Storage class, where it is not the usual one.
    #[n(7)]
    pub class: Option<String>,
    /// The user's own metadata, sorted by name.
    #[n(8)]
    pub metadata: Option<Vec<(String, String)>>,
    /// Tags, sorted by name.
    #[n(9)]
    pub tags: Option<Vec<(String, String)>>,
}

/// An object, as a listing has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Object {
    /// Its key below the place's prefix.
    pub key: Vec<u8>,
    /// Its length.
    pub bytes: u64,
    /// What the service tells one upload from another by, without quotes; empty where it does not tell.
    pub etag: String,
    /// When it was put: seconds since the epoch, and nanoseconds.
    pub modified: (i64, u32),
    /// Storage class, where it is not the usual one.
    pub class: Option<String>,
    /// Its version, where that is known.
    pub version: Option<String>,
    /// It is a version that another one, or a deletion, took the place of.
    pub is_old: bool,
}

/// A part of a listing.
#[derive(Debug, Default)]
pub struct Page {
    /// Objects, in the order of their keys.
    pub objects: Vec<Object>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<String>,
}

/// Bytes of an object, and what else came with them.
#[derive(Debug, Default)]
pub struct Taken {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// What the object has besides. Tags are asked for by themselves.
    pub facts: Facts,
    /// How many tags it has.
    pub tags: u32,
}

/// A bucket, or what lies below a prefix of it. All calls block, and may be made by several threads at a time; what can
/// be cured by trying again was tried again.
pub trait Objects: Send + Sync {
    /// Where it is, for a person.
    fn place(&self) -> Place;

    /// A page of the listing: the first, or the one that begins there. With `versions` also of those that are not
    /// current, each behind the newer ones of its key.
    ///
    /// # Errors
    /// When it cannot be listed.
    fn page(&self, from: Option<&str>, versions: bool) -> Result<Page, ObjectsError>;

    /// What an object is now; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be asked.
    fn look(&self, key: &[u8]) -> Result<Option<Object>, ObjectsError>;

    /// Bytes of that very object: not of another that was put under its key since.
    ///
    /// # Errors
    /// [`Trouble::Changed`] or [`Trouble::Missing`] when it is not there any more.
    fn read(&self, object: &Object, range: Range<u64>) -> Result<Taken, ObjectsError>;

    /// The tags of an object, sorted by name.
    ///
    /// # Errors
    /// When they cannot be asked for.
    fn tags(&self, object: &Object) -> Result<Vec<(String, String)>, ObjectsError>;

    /// Puts a whole object, in the place of what has that key.
    ///
    /// # Errors
    /// When it cannot be put: then what was there is there.
    fn put(&self, key: &[u8], bytes: Vec<u8>, facts: &Facts) -> Result<(), ObjectsError>;

    /// Begins an object that is put in parts. Nothing has that key until it is finished.
    ///
    /// # Errors
    /// When it cannot be begun.
    fn begin(&self, key: &[u8], facts: &Facts) -> Result<Box<dyn Parts + '_>, ObjectsError>;

    /// Deletes an object. That there is none is success.
    ///
    /// # Errors
    /// When it cannot be deleted.
    fn delete(&self, key: &[u8]) -> Result<(), ObjectsError>;

    /// How many requests were made so far.
    fn requests(&self) -> u64;
}

/// An object that is put in parts. Dropping it gives the parts up.
pub trait Parts {
    /// Puts the next part: all but the last have at least 5 MiB.
    ///
    /// # Errors
    /// When that fails.
    fn put(&mut self, bytes: Vec<u8>) -> Result<(), ObjectsError>;

    /// Puts the parts together: from then on the object is there.
    ///
    /// # Errors
    /// When that fails: then what was there before is there.
    fn finish(self: Box<Self>) -> Result<(), ObjectsError>;
}

/// What became of a call, as far as a caller can decide on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// There is no such object.
    Missing,
    /// Another object is under that key.
    Changed,
    /// It lies in an archive and has to be restored there first.
    Archived,
    /// The credentials may not do that.
    Denied,
    /// There are no credentials, or none that the service knows.
    Credentials,
    /// There is no such bucket, or the settings make no sense.
    Invalid,
    /// Nobody answers.
    Unreachable,
    /// Anything else.
    Other,
}

/// A call failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot {operation} `{object}`: {what}")]
pub struct ObjectsError {
    /// What was tried: "read", "list".
    pub operation: &'static str,
    /// On what, in full.
    pub object: String,
    /// What the service said.
    pub what: String,
    /// Of which kind it is.
    pub trouble: Trouble,
}

/// Where a bucket is: what two addresses are compared by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The service, where it is not the usual one.
    pub endpoint: Option<String>,
    /// The bucket.
    pub bucket: String,
    /// What stands before every key, without slashes at its ends.
    pub prefix: String,
}

impl Place {
    /// Whether an object can lie in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let within = |one: &str, other: &str| {
            other.is_empty()
                || one.strip_prefix(other).is_some_and(|rest| matches!(rest.chars().next(), None | Some('/')))
        };
        let service = |place: &Self| place.endpoint.as_deref().map(service);
        self.bucket == other.bucket
            && service(self) == service(other)
            && (within(&self.prefix, &other.prefix) || within(&other.prefix, &self.prefix))
    }
}

/// Host and port of an endpoint, in one of the ways to write them.
fn service(endpoint: &str) -> String {
    let lower = endpoint.to_ascii_lowercase();
    let (scheme, rest) = lower.split_once("://").unwrap_or(("https", lower.as_str()));
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if port.chars().all(|c| c.is_ascii_digit()) => (host, port),
        _ => (authority, if scheme == "http" { "80" } else { "443" }),
    };
    let host = if matches!(host, "localhost" | "[::1]") { "127.0.0.1" } else { host };
    format!("{host}:{port}")
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.endpoint {
            Some(endpoint) => write!(f, "s3:{endpoint}/{}", self.bucket)?,
            None => write!(f, "s3://{}", self.bucket)?,
        }
        if self.prefix.is_empty() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

/// How a bucket is reached. What is not said is found in the environment and the profile.
#[derive(Clone, Default)]
pub struct Reached {
    /// Its address: `s3://bucket/prefix`.
    pub address: String,
    /// The service, where the address names none.
    pub endpoint: Option<String>,
    /// Region of the bucket.
    pub region: Option<String>,
    /// Profile with the keys.
    pub profile: Option<String>,
    /// Access key, secret key and session token, where they do not come from the environment.
    pub keys: Option<(String, String, Option<String>)>,
    /// Whether the bucket stands in the path and not in the host's name.
    pub path_style: Option<bool>,
    /// Certificates of authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// A request is given up, and made again, when nothing moved for so long.
    pub stall_timeout: Option<Duration>,
}

impl fmt::Debug for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the keys.
        f.debug_struct("Reached").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Who knows how to speak to buckets.
pub trait Reach: Sync {
    /// Understands an address, as far as that goes without asking anybody.
    ///
    /// # Errors
    /// When it is none.
    fn place(&self, reached: &Reached) -> Result<Place, Problem>;

    /// The bucket. Nothing is asked of it yet.
    ///
    /// # Errors
    /// When the settings make no sense.
    fn open(&self, reached: &Reached, run: &Run) -> Result<Arc<dyn Objects>, ObjectsError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(endpoint: Option<&str>, bucket: &str, prefix: &str) -> Place {
        Place { endpoint: endpoint.map(str::to_owned), bucket: bucket.to_owned(), prefix: prefix.to_owned() }
    }

    #[test]
    fn places_overlap_where_one_lies_in_the_other_whichever_way_the_service_is_written() {
        let all = place(Some("http://localhost:9000"), "vault", "");
        assert!(all.overlaps(&place(Some("http://127.0.0.1:9000/"), "vault", "db/prod")));
        assert!(place(None, "vault", "db").overlaps(&place(None, "vault", "db/prod")));
        assert!(place(Some("https://s.example"), "v", "a").overlaps(&place(
            Some("https://S.example:443"),
            "v",
            "a"
        )));
        assert!(!place(None, "vault", "db").overlaps(&place(None, "vault", "db2")));
        assert!(!place(None, "vault", "db").overlaps(&place(None, "other", "db")));
        assert!(!all.overlaps(&place(Some("http://localhost:9001"), "vault", "")));
    }
}
