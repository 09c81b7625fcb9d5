//! Objects as files of a remote that rclone knows: seventy kinds of clouds, as well as rclone does them.
//!
//! Objects go through `rclone serve restic`, whose protocol is that of restic's REST server, over a socket in a folder
//! of this user. Its listings tell no times, so that listings come from `rclone lsjson`.
//!
//! The server replaces an object that is put again. So a `put` looks first, as with a bucket that ignores conditions:
//! what is named by the hash of its bytes can only be replaced by the same.
//!
//! | file | hides |
//! |---|---|
//! | `http` | bytes of HTTP |
//! | `process` | rclone as a child, its end, its listings |
//! | `scheme` | addresses and settings |

mod http;
mod process;
mod scheme;

pub use scheme::{Rclone, RcloneOptions};

use self::process::{Program, Server};
use super::counted::Counted;
use super::limit::Rate;
use super::{ErrorKind, Listed, Manner, Put, Requests, Storage, StorageError, check_key, check_prefix};
use std::fmt;
use std::io::{self, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How much of an object that is there already is compared at a time.
const COMPARE_BYTES: usize = 8 << 20;
/// No object is as large: 8 TiB.
const OBJECT_BYTES_MAX: u64 = 1 << 43;
/// How files end that rclone has under way, on remotes where they get their name at the end.
const UNDER_WAY: &str = ".partial";
/// Words of an error that are read.
const WORDS_BYTES_MAX: usize = 16 << 10;
/// What is sent at a time where there is a bound.
const PIECE_BYTES: usize = 64 << 10;

/// A remote. It is started when it is first asked for something, and again when it is gone.
pub struct RcloneStorage {
    program: Program,
    stall_timeout: Duration,
    upload: Option<Arc<Rate>>,
    download: Option<Arc<Rate>>,
    running: Mutex<Option<Arc<Running>>>,
    /// What trying again does not cure, so that nobody tries.
    refusal: Mutex<Option<(ErrorKind, String)>>,
    counted: Counted,
}

/// A server, and connections to it that nobody uses.
struct Running {
    server: Server,
    idle: Mutex<Vec<BufReader<UnixStream>>>,
}

impl fmt::Debug for RcloneStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RcloneStorage").field("remote", &self.program.remote).finish_non_exhaustive()
    }
}

/// What comes of a request.
enum Answer {
    /// Done; the object's size where it was told.
    Done(Option<u64>),
    /// No such object.
    Missing,
}

/// What is to be done with the body of an answer.
enum Body<'a> {
    Nothing,
    /// The whole, of at most so many bytes.
    Whole(&'a mut Vec<u8>, u64),
    /// As many bytes as this has, from an offset on.
    Range(u64, &'a mut [u8]),
}

impl RcloneStorage {
    fn new(
        program: Program,
        stall_timeout: Duration,
        upload: Option<Arc<Rate>>,
        download: Option<Arc<Rate>>,
    ) -> Self {
        Self {
            program,
            stall_timeout,
            upload,
            download,
            running: Mutex::default(),
            refusal: Mutex::default(),
            counted: Counted::default(),
        }
    }

    fn object(&self, key: &str) -> String {
        if key.is_empty() { self.location() } else { format!("{}/{key}", self.location()) }
    }

    fn error(
        &self,
        operation: &'static str,
        key: &str,
        kind: ErrorKind,
        source: impl Into<String>,
    ) -> StorageError {
        StorageError::permanent(operation, self.object(key), kind, source.into())
    }

    fn running(&self) -> Result<Arc<Running>, StorageError> {
        // An option is whole whatever a panicking thread did beside it.
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = running.as_ref().filter(|running| !running.server.has_ended()) {
            return Ok(Arc::clone(running));
        }
        *running = None;
        let mut refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((kind, text)) = refusal.as_ref() {
            return Err(self.error("reach", "", *kind, text.clone()));
        }
        self.counted.other.fetch_add(1, Ordering::Relaxed);
        match self.program.serve() {
            Ok(server) => {
                Ok(Arc::clone(running.insert(Arc::new(Running { server, idle: Mutex::default() }))))
            }
            Err(error) => {
                if !error.retryable {
                    *refusal = Some((error.kind, error.source.to_string()));
                }
                Err(error)
            }
        }
    }

    /// One request. `operation` and `key` are for the error.
    fn ask(
        &self,
        operation: &'static str,
        method: &str,
        key: &str,
        sent: Option<&[u8]>,
        body: Body<'_>,
    ) -> Result<Answer, StorageError> {
        let running = self.running()?;
        let passing = |error: io::Error| {
            let said = running.server.said();
            let text = if said.is_empty() { error.to_string() } else { format!("{error} (rclone: {said})") };
            StorageError { retryable: true, ..self.error(operation, key, ErrorKind::Other, text) }
        };
        let idle = running.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => self.connect(&running).map_err(&passing)?,
        };
        let range = match &body {
            Body::Range(offset, into) => {
                let last = offset.saturating_add(into.len() as u64).saturating_sub(1);
                format!("Range: bytes={offset}-{last}\r\n")
            }
            _ => String::new(),
        };
        let path = if method == "POST" && key.is_empty() { "?create=true" } else { key };
        self.send(&mut connection, method, path, &range, sent).map_err(&passing)?;
        let head = http::head(&mut connection).map_err(&passing)?;
        if method == "HEAD" {
            let answer = self.judge(operation, key, &head, "", &running)?;
            self.put_back(&running, connection, &head);
            return Ok(answer);
        }
        if !matches!(head.status, 200 | 206) {
            let (words, is_all) = http::some(&mut connection, &head, WORDS_BYTES_MAX).map_err(&passing)?;
            let answer = self.judge(operation, key, &head, &String::from_utf8_lossy(&words), &running);
            if is_all {
                self.put_back(&running, connection, &head);
            }
            return answer;
        }
        if self.take(operation, key, &mut connection, &head, body, &passing)? {
            self.put_back(&running, connection, &head);
        }
        Ok(Answer::Done(None))
    }

    /// Takes the body of an answer. False when some of it was left behind.
    fn take(
        &self,
        operation: &'static str,
        key: &str,
        connection: &mut BufReader<UnixStream>,
        head: &http::Head,
        body: Body<'_>,
        passing: &dyn Fn(io::Error) -> StorageError,
    ) -> Result<bool, StorageError> {
        match body {
            Body::Nothing => {
                return http::some(connection, head, WORDS_BYTES_MAX).map(|(_, all)| all).map_err(passing);
            }
            Body::Whole(into, bytes_max) => {
                let length =
                    head.length.ok_or_else(|| passing(io::Error::other("an object of unknown length")))?;
                let bytes =
                    usize::try_from(length).ok().filter(|_| length <= bytes_max).ok_or_else(|| {
                        let text =
                            format!("it has {length} bytes, more than the {bytes_max} that are allowed");
                        self.error(operation, key, ErrorKind::Other, text)
                    })?;
                into.try_reserve_exact(bytes).map_err(|error| passing(io::Error::other(error)))?;
                into.resize(bytes, 0);
                http::body(connection, head, into).map_err(passing)?;
                self.received(length);
            }
            Body::Range(offset, into) => {
                let whole = head.range.map(|(_, whole)| whole).or(head.length).unwrap_or_default();
                if offset.checked_add(into.len() as u64).is_none_or(|end| end > whole) {
                    let text = format!("{} bytes at {offset} reach behind its end, {whole}", into.len());
                    return Err(self.error(operation, key, ErrorKind::ShortObject, text));
                }
                // A whole object in the place of a range that is all of it is right, too.
                let begins = head.range.map_or(0, |(first, _)| first);
                if begins != offset {
                    return Err(self.error(operation, key, ErrorKind::Other, "the answer is another range"));
                }
                http::body(connection, head, into).map_err(passing)?;
                self.received(into.len() as u64);
            }
        }
        Ok(true)
    }

    fn connect(&self, running: &Running) -> io::Result<BufReader<UnixStream>> {
        let stream = UnixStream::connect(running.server.socket())?;
        stream.set_read_timeout(Some(self.stall_timeout))?;
        stream.set_write_timeout(Some(self.stall_timeout))?;
        Ok(BufReader::with_capacity(64 << 10, stream))
    }

    fn send(
        &self,
        connection: &mut BufReader<UnixStream>,
        method: &str,
        path: &str,
        headers: &str,
        sent: Option<&[u8]>,
    ) -> io::Result<()> {
        let stream = connection.get_mut();
        let (Some(rate), Some(bytes)) = (&self.upload, sent) else {
            return http::send(stream, method, path, headers, sent);
        };
        let headers = format!("{headers}Content-Length: {}\r\n", bytes.len());
        http::send(stream, method, path, &headers, None)?;
        for piece in bytes.chunks(PIECE_BYTES) {
            std::thread::sleep(rate.reserve(piece.len() as u64));
            stream.write_all(piece)?;
        }
        Ok(())
    }

    fn received(&self, bytes: u64) {
        self.counted.bytes_down.fetch_add(bytes, Ordering::Relaxed);
        if let Some(rate) = &self.download {
            std::thread::sleep(rate.reserve(bytes));
        }
    }

    fn put_back(&self, running: &Running, connection: BufReader<UnixStream>, head: &http::Head) {
        if !head.closes {
            running.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
    }

    /// What a status means. rclone says why in what it prints, and hardly in its answers.
    fn judge(
        &self,
        operation: &'static str,
        key: &str,
        head: &http::Head,
        words: &str,
        running: &Running,
    ) -> Result<Answer, StorageError> {
        if matches!(head.status, 200 | 206) {
            return Ok(Answer::Done(head.length));
        }
        if head.status == 404 {
            return Ok(Answer::Missing);
        }
        if head.status == 416 {
            return Err(self.error(
                operation,
                key,
                ErrorKind::ShortObject,
                "the range reaches behind its end",
            ));
        }
        let said = format!("{} {}", words.trim(), running.server.said());
        let text = format!("rclone answers {}: {}", head.status, said.trim());
        let has = |list: &[&str]| list.iter().any(|word| said.to_lowercase().contains(word));
        if has(&["no space", "quota", "storage cap", "insufficient storage", "disk full"]) {
            return Err(self.error(operation, key, ErrorKind::NoSpace, text));
        }
        if head.status == 403 || has(&["permission denied", "accessdenied", "access denied", "forbidden"]) {
            return Err(self.error(operation, key, ErrorKind::Denied, text));
        }
        let retryable = head.status >= 500 || head.status == 429;
        Err(StorageError { retryable, ..self.error(operation, key, ErrorKind::Other, text) })
    }

    /// Makes the remote's directory, where there are such.
    ///
    /// # Errors
    /// When that cannot be done.
    pub fn make_root(&self) -> Result<(), StorageError> {
        self.ask("write", "POST", "", Some(b""), Body::Nothing).map(drop)
    }

    fn compare(&self, key: &str, bytes: &[u8]) -> Result<Put, StorageError> {
        let mut buffer = vec![0; COMPARE_BYTES.min(bytes.len())];
        let mut offset = 0;
        for expected in bytes.chunks(COMPARE_BYTES) {
            let Some(there) = buffer.get_mut(..expected.len()) else { break };
            self.get_range(key, offset, there)?;
            if there != expected {
                return Err(self.error("write", key, ErrorKind::Conflict, "other bytes are there"));
            }
            offset += expected.len() as u64;
        }
        Ok(Put::AlreadyThere)
    }

    fn missing(&self, key: &str) -> StorageError {
        self.error("read", key, ErrorKind::NotFound, "no such object")
    }
}

/// Whether the name is the hash of the bytes: then nothing else can rightly have it.
fn is_named_by_hash(key: &str, bytes: &[u8]) -> bool {
    key.rsplit('/').next() == Some(blake3::hash(bytes).to_hex().as_str())
}

impl Storage for RcloneStorage {
    fn put(&self, key: &str, bytes: &[u8]) -> Result<Put, StorageError> {
        check_key("write", key)?;
        match self.size(key)? {
            Some(size) if size == bytes.len() as u64 => return self.compare(key, bytes),
            // rclone was killed while it wrote into place, as it does on some remotes. What the name is the hash of
            // replaces that.
            Some(size) if size < bytes.len() as u64 && is_named_by_hash(key, bytes) => {
                tracing::warn!("replacing `{}`, of which {size} bytes had arrived", self.object(key));
            }
            Some(_) => return Err(self.error("write", key, ErrorKind::Conflict, "other bytes are there")),
            None => {}
        }
        self.counted.put.fetch_add(1, Ordering::Relaxed);
        match self.ask("write", "POST", key, Some(bytes), Body::Nothing)? {
            Answer::Done(_) => {
                self.counted.bytes_up.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                Ok(Put::Created)
            }
            Answer::Missing => {
                Err(self.error("write", key, ErrorKind::NotFound, "the remote does not exist"))
            }
        }
    }

    fn get(&self, key: &str, bytes_max: u64) -> Result<Vec<u8>, StorageError> {
        check_key("read", key)?;
        self.counted.get.fetch_add(1, Ordering::Relaxed);
        let mut bytes = Vec::new();
        match self.ask("read", "GET", key, None, Body::Whole(&mut bytes, bytes_max))? {
            Answer::Done(_) => Ok(bytes),
            Answer::Missing => Err(self.missing(key)),
        }
    }

    fn get_range(&self, key: &str, offset: u64, buffer: &mut [u8]) -> Result<(), StorageError> {
        check_key("read", key)?;
        if buffer.is_empty() {
            return self.size(key)?.map(drop).ok_or_else(|| self.missing(key));
        }
        // No object is so large, and rclone answers something else then.
        if offset.saturating_add(buffer.len() as u64) > OBJECT_BYTES_MAX {
            let size = self.size(key)?.ok_or_else(|| self.missing(key))?;
            let text = format!("{} bytes at {offset} reach behind its end, {size}", buffer.len());
            return Err(self.error("read", key, ErrorKind::ShortObject, text));
        }
        self.counted.get.fetch_add(1, Ordering::Relaxed);
        match self.ask("read", "GET", key, None, Body::Range(offset, buffer))? {
            Answer::Done(_) => Ok(()),
            Answer::Missing => Err(self.missing(key)),
        }
    }

    fn size(&self, key: &str) -> Result<Option<u64>, StorageError> {
        check_key("read", key)?;
        self.counted.head.fetch_add(1, Ordering::Relaxed);
        match self.ask("read", "HEAD", key, None, Body::Nothing)? {
            Answer::Done(Some(size)) => Ok(Some(size)),
            Answer::Done(None) => Err(self.error("read", key, ErrorKind::Other, "rclone tells no size")),
            Answer::Missing => Ok(None),
        }
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Listed)) -> Result<(), StorageError> {
        check_prefix(prefix)?;
        self.counted.list.fetch_add(1, Ordering::Relaxed);
        let folder = prefix.trim_end_matches('/');
        // The listing of what is a file, and no folder, is that file.
        let itself = format!("{folder}/{}", folder.rsplit('/').next().unwrap_or_default());
        let mut doubtful = None;
        let is_there = self.program.list(folder, &mut |listed| {
            // What has a name that is no key does not exist for a repository.
            let is_object = check_key("list", &listed.key).is_ok() && !listed.key.ends_with(UNDER_WAY);
            match is_object {
                true if listed.key == itself => doubtful = Some(listed),
                true => each(listed),
                false => {}
            }
        })?;
        if let Some(listed) = doubtful.filter(|_| !matches!(self.size(folder), Ok(Some(_)))) {
            each(listed);
        }
        // A remote that is gone must not read as an empty one.
        if !(is_there || folder.is_empty() || self.program.list("", &mut |_| {})?)
            || !is_there && folder.is_empty()
        {
            return Err(self.error(
                "list",
                folder,
                ErrorKind::NotFound,
                "the remote's directory does not exist",
            ));
        }
        Ok(())
    }

    fn delete(&self, key: &str) -> Result<(), StorageError> {
        check_key("delete", key)?;
        self.counted.delete.fetch_add(1, Ordering::Relaxed);
        self.ask("delete", "DELETE", key, None, Body::Nothing).map(drop)
    }

    fn location(&self) -> String {
        format!("rclone:{}", self.program.remote)
    }

    fn is_local(&self) -> bool {
        false
    }

    fn requests(&self) -> Option<Requests> {
        Some(self.counted.requests())
    }

    fn manners(&self) -> Result<Vec<Manner>, StorageError> {
        Ok(vec![
            Manner::lacking(
                "writing without replacing",
                "rclone replaces objects",
                "nothing relies on it; do not run two `init` at the same moment",
            ),
            Manner::good("durability", "whatever rclone's remote promises"),
        ])
    }
}
