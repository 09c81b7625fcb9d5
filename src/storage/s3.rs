//! Objects in a bucket of Amazon S3 and everything that speaks its protocol.
//!
//! The object under `packs/ab/cd` is `<prefix>/packs/ab/cd` in the bucket. The service makes a PUT atomic; that it does
//! not replace is asked with `If-None-Match: *`. Not every service knows that header: one that refuses it is asked
//! first whether the object is there. One that silently ignores it is asked first, too, for objects whose names are not
//! hashes. The others are the same bytes under the same name, so that replacing them changes nothing. Two writers of
//! one key within the same moment are then not told apart; nothing in the format relies on it.
//!
//! The SDK is asynchronous: callers' threads drive it while they wait (`wire/lanes`). The SDK's own retries,
//! time limits and clients are not used: [`super::retry`] tries again, `wire` watches each request.
//!
//! Credentials come from everything the SDK knows (environment, profiles, a credential process, web identity, the
//! container's or the machine's role), and never from an address or an argument.

mod address;
mod client;
mod error;
mod facts;
mod lock;
mod manners;
mod objects;
mod probe;
mod put;
mod scheme;

pub use super::retention::Retention;
pub use address::S3Address;
pub use scheme::{S3, S3Options};

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;

use self::client::Clients;
use self::error::Failure;
use self::manners::Manners;
use super::limit::Rate;
use super::retry::Backoff;
use super::wire::bodies::Bodies;
use super::wire::lanes::Lanes;
use super::wire::{self, Wire, answers};
use super::{ErrorKind, Listed, ObjectLock, Put, Requests, Storage, StorageError, check_key, check_prefix};

/// Ranges beyond this are refused by services that count with signs.
const OFFSET_MAX: u64 = i64::MAX as u64;

/// How to reach a bucket.
#[derive(Clone)]
pub struct S3Settings {
    /// The region; the SDK's way of finding it otherwise.
    pub region: Option<String>,
    /// The service, when the address does not name it; the SDK's way of finding it otherwise.
    pub endpoint: Option<String>,
    /// `host/bucket/key` instead of `bucket.host/key`; as the endpoint suggests otherwise.
    pub path_style: Option<bool>,
    /// The profile in the SDK's files.
    pub profile: Option<String>,
    /// Access key and secret key, in place of those that the SDK finds: a source's own.
    pub keys: Option<(String, String)>,
    /// The session token of these keys, where they have one.
    pub session_token: Option<String>,
    /// Certificates (PEM) of authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// `STANDARD_IA` and the like, for packs.
    pub storage_class: Option<String>,
    /// `AES256` or `aws:kms`.
    pub encryption: Option<String>,
    /// The key of `aws:kms`.
    pub kms_key: Option<String>,
    /// How long what a restore needs is locked.
    pub retention: Option<Retention>,
    /// Bounds of the bandwidth.
    pub upload: Option<Arc<Rate>>,
    /// Bounds of the bandwidth.
    pub download: Option<Arc<Rate>>,
    /// A request that does not move for so long has failed.
    pub stall_timeout: Duration,
    /// Larger objects are put in parts of a quarter of this.
    pub single_put_bytes_max: usize,
    /// Tries parts of long operations again: pages of a listing, parts of a large object.
    pub backoff: Arc<Backoff>,
}

impl S3Settings {
    /// The usual settings.
    pub fn new(backoff: Arc<Backoff>) -> Self {
        Self {
            region: None,
            endpoint: None,
            path_style: None,
            profile: None,
            keys: None,
            session_token: None,
            ca_file: None,
            storage_class: None,
            encryption: None,
            kms_key: None,
            retention: None,
            upload: None,
            download: None,
            stall_timeout: Duration::from_secs(60),
            single_put_bytes_max: 128 << 20,
            backoff,
        }
    }
}

impl std::fmt::Debug for S3Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the keys.
        f.debug_struct("S3Settings").field("region", &self.region).finish_non_exhaustive()
    }
}

/// A bucket, or what lies below a prefix of it. See the module.
pub struct S3Storage {
    clients: Clients,
    lanes: Lanes,
    address: S3Address,
    settings: S3Settings,
    wire: Arc<Wire>,
    bodies: Arc<Bodies>,
    manners: Manners,
}

impl S3Storage {
    /// Prepares to use the bucket; nothing is sent yet, but for what the SDK asks to find credentials.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for settings that make no sense.
    pub fn connect(address: S3Address, settings: S3Settings) -> Result<Self, StorageError> {
        let invalid = |source: Box<dyn std::error::Error + Send + Sync>| {
            StorageError::permanent("read", address.to_string(), ErrorKind::Invalid, source)
        };
        let ca_pem = match &settings.ca_file {
            Some(path) => Some(
                wire::read_authorities(path)
                    .map_err(|error| invalid(format!("`{}`: {error}", path.display()).into()))?,
            ),
            None => None,
        };
        let lanes = Lanes::default();
        let (upload, download) = (settings.upload.clone(), settings.download.clone());
        let wire = Arc::new(Wire::new(upload, download, settings.stall_timeout, client::seen));
        let http = wire::http_client(Arc::clone(&wire), ca_pem).map_err(|error| invalid(Box::new(error)))?;
        let (clients, found) =
            Clients::connect(http, &lanes, &address, &settings).map_err(|error| invalid(Box::new(error)))?;
        let address = S3Address { endpoint: found.endpoint, ..address };
        let (bodies, manners) = (Arc::default(), Manners::new(found.checksums));
        Ok(Self { clients, lanes, address, settings, wire, bodies, manners })
    }

    /// Lets `act` ask, on the caller's thread. Where the service says that the credentials have expired, others are
    /// looked for and it asks once more.
    fn wait<T>(&self, mut act: impl AsyncFnMut(&Client) -> Result<T, Failure>) -> Result<T, Failure> {
        let Self { clients, lanes, wire, address, settings, .. } = self;
        let (client, generation) = clients.current();
        let outcome = self.drive(act(&client));
        match outcome {
            Ok(_) => clients.worked(generation),
            Err(failure) if failure.has_expired_credentials() => {
                if !clients.renew(generation, (lanes, wire.as_ref()), address, settings) {
                    return Err(failure);
                }
                let (client, generation) = clients.current();
                let outcome = self.drive(act(&client));
                if outcome.is_ok() {
                    clients.worked(generation);
                }
                return outcome;
            }
            Err(_) => {}
        }
        outcome
    }

    /// Waits for `future` on the caller's thread; not for long once everything is to stop.
    fn drive<T>(&self, future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let outcome = self.lanes.drive(&self.settings.backoff, future);
        outcome.unwrap_or_else(|error| Err(Failure::cut(error)))
    }

    fn object(&self, key: &str) -> String {
        let separator = if key.is_empty() { "" } else { "/" };
        format!("{}{separator}{key}", self.address)
    }

    fn failed<'a>(&'a self, operation: &'static str, key: &'a str) -> impl Fn(Failure) -> StorageError + 'a {
        move |failure| failure.on(operation, self.object(key))
    }

    fn error(&self, operation: &'static str, key: &str, kind: ErrorKind, what: String) -> StorageError {
        StorageError::permanent(operation, self.object(key), kind, what)
    }

    /// One page of a listing, and where the next begins.
    fn page(
        &self,
        prefix: &str,
        from: Option<String>,
    ) -> Result<(Vec<Listed>, Option<String>), StorageError> {
        let name = self.address.name(prefix);
        let page = self.wait(async |client| {
            let request = client
                .list_objects_v2()
                .bucket(&self.address.bucket)
                .set_prefix(Some(name.clone()).filter(|name| !name.is_empty()))
                .set_continuation_token(from.clone());
            Ok(request.send().await?)
        });
        let page = page.map_err(self.failed("list", prefix))?;
        let mut objects = Vec::new();
        for object in page.contents() {
            let key = object.key().and_then(|name| self.address.key(name));
            // What others put there under names of their own is none of ours.
            let Some(key) = key.filter(|key| check_key("list", key).is_ok()) else { continue };
            let bytes = u64::try_from(object.size().unwrap_or(0)).unwrap_or(0);
            let modified = object.last_modified().and_then(|time| SystemTime::try_from(*time).ok());
            let modified = modified.unwrap_or(SystemTime::UNIX_EPOCH);
            objects.push(Listed { key: key.to_owned(), bytes, modified });
        }
        match (page.is_truncated().unwrap_or(false), page.next_continuation_token) {
            (false, _) => Ok((objects, None)),
            (true, Some(next)) => Ok((objects, Some(next))),
            (true, None) => {
                let what = "the service says that there is more, and not where".to_owned();
                Err(self.error("list", prefix, ErrorKind::Other, what))
            }
        }
    }
}

impl Storage for S3Storage {
    fn put(&self, key: &str, bytes: &[u8]) -> Result<Put, StorageError> {
        check_key("write", key)?;
        self.put_new(key, bytes)
    }

    fn get(&self, key: &str, bytes_max: u64) -> Result<Vec<u8>, StorageError> {
        check_key("read", key)?;
        let content = self.wait(async |client| {
            let mut answer = self.get_object(client, key, None).await?;
            match length_of(&answer) {
                Some(bytes) if bytes > bytes_max => Ok(Err(bytes)),
                bytes => {
                    let mut content = Vec::new();
                    // Bounded by what the caller allows; a length that is a lie costs no more than that.
                    content.reserve_exact(usize::try_from(bytes.unwrap_or(0)).unwrap_or(0));
                    while let Some(piece) = self.piece(&mut answer).await? {
                        if content.len() as u64 + piece.len() as u64 > bytes_max {
                            return Ok(Err(content.len() as u64 + piece.len() as u64));
                        }
                        content.extend_from_slice(&piece);
                    }
                    match bytes.filter(|bytes| *bytes != content.len() as u64) {
                        Some(bytes) => Err(Failure::cut(format_args!("{} bytes of {bytes}", content.len()))),
                        None => Ok(Ok(content)),
                    }
                }
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
        let range = format!("bytes={offset}-{}", end - 1);
        let outcome = self.wait(async |client| {
            let mut answer = match self.get_object(client, key, Some(range.clone())).await {
                Err(failure) if failure.is_invalid_range() => return Ok(Range::Short),
                answer => answer?,
            };
            let told = answer.content_range().and_then(answers::ends_of);
            // Some services give more behind a range of one byte; what was asked for is in front.
            let is_longer = told.is_some_and(|(_, last)| last >= end);
            match told {
                Some((first, last)) if first == offset && last + 1 >= end => {}
                Some(_) if length_of(&answer).is_some_and(|bytes| bytes < wanted) => return Ok(Range::Short),
                _ => return Ok(Range::Other),
            }
            let mut room = &mut *buffer;
            while let Some(piece) = self.piece(&mut answer).await? {
                if piece.len() > room.len() && !is_longer {
                    return Ok(Range::Other);
                }
                let taken = piece.len().min(room.len());
                let (to, rest) = room.split_at_mut(taken);
                to.copy_from_slice(piece.get(..taken).unwrap_or_default());
                room = rest;
                if is_longer && room.is_empty() {
                    break;
                }
            }
            if room.is_empty() { Ok(Range::Full) } else { Err(Failure::cut("bytes are missing")) }
        });
        match outcome.map_err(self.failed("read", key))? {
            Range::Full => Ok(()),
            Range::Short => Err(short()),
            Range::Other => {
                let what = "the service gave other bytes than those asked for".to_owned();
                Err(self.error("read", key, ErrorKind::Other, what))
            }
        }
    }

    fn size(&self, key: &str) -> Result<Option<u64>, StorageError> {
        check_key("read", key)?;
        let outcome = self.wait(async |client| match self.head_object(client, key).await {
            Err(failure) if failure.kind == ErrorKind::NotFound => Ok(None),
            Err(failure) if failure.is_unexplained() => self.ask_by_get(client, key, failure).await,
            answer => Ok(Some(u64::try_from(answer?.content_length().unwrap_or(0)).unwrap_or(0))),
        });
        outcome.map_err(self.failed("read", key))
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Listed)) -> Result<(), StorageError> {
        check_prefix(prefix)?;
        let mut from = None;
        loop {
            // A page that fails is asked for again by itself: a listing of a million objects has a thousand.
            let page = self.settings.backoff.run(&mut || self.page(prefix, from.clone()));
            let (objects, next) = page.map_err(|error| StorageError { retryable: false, ..error })?;
            objects.into_iter().for_each(&mut *each);
            if next.is_none() {
                return Ok(());
            }
            from = next;
        }
    }

    fn delete(&self, key: &str) -> Result<(), StorageError> {
        check_key("delete", key)?;
        let outcome = self.wait(async |client| {
            let request = client.delete_object().bucket(&self.address.bucket).key(self.address.name(key));
            Ok(request.send().await?)
        });
        match outcome {
            Err(failure) if failure.kind == ErrorKind::NotFound => Ok(()),
            outcome => outcome.map(|_| ()).map_err(self.failed("delete", key)),
        }
    }

    fn location(&self) -> String {
        self.address.to_string()
    }

    fn is_local(&self) -> bool {
        false
    }

    fn lock(&self) -> Option<&dyn ObjectLock> {
        self.settings.retention.is_some().then_some(self as &dyn ObjectLock)
    }

    fn requests(&self) -> Option<Requests> {
        Some(self.wire.requests())
    }

    fn skew_ms(&self) -> Option<i64> {
        self.wire.skew_ms()
    }
}

/// What came of asking for a range.
enum Range {
    Full,
    Short,
    Other,
}

impl S3Storage {
    async fn get_object(
        &self,
        client: &Client,
        key: &str,
        range: Option<String>,
    ) -> Result<GetObjectOutput, Failure> {
        let request = client.get_object().bucket(&self.address.bucket).key(self.address.name(key));
        let answer = request.set_range(range).send().await?;
        // No object of ours is one: somebody else answered.
        match answer.content_type().is_some_and(|kind| kind.starts_with("text/html")) {
            true => Err(Failure::alien(200, "a web page")),
            false => Ok(answer),
        }
    }

    async fn head_object(&self, client: &Client, key: &str) -> Result<HeadObjectOutput, Failure> {
        let request = client.head_object().bucket(&self.address.bucket).key(self.address.name(key));
        Ok(request.send().await?)
    }

    /// Asks for the object's size once more, by reading a byte of it: unlike the refusal of a HEAD, that of a GET says
    /// why.
    async fn ask_by_get(&self, client: &Client, key: &str, refused: Failure) -> Result<Option<u64>, Failure> {
        match self.get_object(client, key, Some("bytes=0-0".to_owned())).await {
            Ok(answer) => {
                let told = answer.content_range().and_then(|range| range.rsplit_once('/')?.1.parse().ok());
                told.or_else(|| length_of(&answer)).map(Some).ok_or(refused)
            }
            Err(failure) if failure.kind == ErrorKind::NotFound => Ok(None),
            Err(failure) if failure.is_invalid_range() => Ok(Some(0)),
            Err(failure) if failure.code.is_empty() && !failure.retryable => Err(refused),
            Err(failure) => Err(failure),
        }
    }

    /// The next piece of an answer's body.
    async fn piece(&self, answer: &mut GetObjectOutput) -> Result<Option<bytes::Bytes>, Failure> {
        let host = self.address.endpoint.as_deref().map_or(self.address.bucket.clone(), wire::host_of);
        match self.wire.piece_of(&host, answer.body.next()).await {
            Some(Some(piece)) => piece.map(Some).map_err(Failure::cut),
            Some(None) => Ok(None),
            None => {
                let limit = self.settings.stall_timeout.as_secs_f64();
                Err(Failure::cut(format_args!("nothing came for {limit:.1} s")))
            }
        }
    }
}

fn length_of(answer: &GetObjectOutput) -> Option<u64> {
    answer.content_length().and_then(|bytes| u64::try_from(bytes).ok())
}

impl std::fmt::Debug for S3Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Storage").field("address", &self.address).finish_non_exhaustive()
    }
}
