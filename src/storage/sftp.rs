//! Objects as files below one folder of a server that is reached by SSH.
//!
//! The object under `packs/ab/cd` is the file `packs/ab/cd`, as in a local directory. It is written to `tmp/` first,
//! brought to the disk where the server can do that, and then gets its name without replacing: by a second name
//! (`hardlink@openssh.com`), which no server lets replace, else by a rename. Some servers replace at a rename: that is
//! tried once, and then the name is looked for first.
//!
//! | file | hides |
//! |---|---|
//! | `address` | how a folder on a server is written |
//! | `packets` | bytes of the protocol |
//! | `session` | one conversation that threads share |
//! | `ssh` | the program that carries it |
//! | `transfer`, `listing` | files and folders, many requests at a time |
//! | `publish` | how a file gets its name once and for good |
//! | `trouble` | what failures mean |

mod address;
mod listing;
pub mod packets;
mod publish;
mod scheme;
mod session;
mod ssh;
mod transfer;
mod trouble;

pub use address::SftpAddress;
pub use scheme::{Sftp, SftpOptions};
pub use session::{Abilities, Close, Link};

use self::packets::{Kind, Request, Status};
use self::session::{Lane, Session};
use self::trouble::Trouble;
use super::counted::Counted;
use super::limit::Rate;
use super::{ErrorKind, Listed, Manner, Put, Requests, Storage, StorageError, check_key, check_prefix};
use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// The folder of unfinished objects.
const TMP: &str = "tmp";
/// Puts of so many bytes go over another connection while one is busy.
const LARGE_BYTES: usize = 1 << 20;

/// Makes a way to the server.
type Dial = Box<dyn Fn() -> Result<Link, Trouble> + Send + Sync>;

/// What a storage is made with.
#[derive(Debug, Clone)]
pub struct SftpSettings {
    /// Conversations at the same time, at most.
    pub connections: usize,
    /// A conversation is given up when nothing moved for so long.
    pub stall_timeout: Duration,
    /// Bound of what is sent.
    pub upload: Option<Arc<Rate>>,
    /// Bound of what is received.
    pub download: Option<Arc<Rate>>,
}

impl Default for SftpSettings {
    fn default() -> Self {
        Self { connections: 2, stall_timeout: Duration::from_secs(60), upload: None, download: None }
    }
}

/// A folder on a server. It connects when it is first asked for something, and again when the connection is gone.
pub struct SftpStorage {
    root: String,
    location: String,
    dial: Dial,
    settings: SftpSettings,
    places: Vec<Place>,
    /// What trying again does not cure, so that nobody tries.
    refusal: Mutex<Option<Trouble>>,
    /// Folders that are there.
    folders: Mutex<HashSet<String>>,
    /// False once the server's file system said that it makes no second names.
    links: AtomicBool,
    renames: AtomicU8,
    /// A folder was brought to the disk once: from then on it is an error when that fails.
    synced_folders: AtomicBool,
    counted: Counted,
}

/// A place for one conversation.
#[derive(Default)]
struct Place {
    session: Mutex<Option<Arc<Session>>>,
    users: AtomicUsize,
    is_open: AtomicBool,
}

/// A conversation in use.
struct InUse<'a> {
    session: Arc<Session>,
    place: &'a Place,
}

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        self.place.users.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for SftpStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SftpStorage").field("location", &self.location).finish_non_exhaustive()
    }
}

impl SftpStorage {
    /// The folder at `root`, over ways that `dial` makes. Nothing is sent yet.
    pub fn over(
        root: impl Into<String>,
        location: impl Into<String>,
        dial: impl Fn() -> Result<Link, StorageError> + Send + Sync + 'static,
        settings: SftpSettings,
    ) -> Self {
        let dial = move || {
            dial().map_err(|error| Trouble::Other {
                kind: error.kind,
                retryable: error.retryable,
                text: error.source.to_string(),
            })
        };
        Self::new(root.into(), location.into(), Box::new(dial), settings)
    }

    fn new(root: String, location: String, dial: Dial, settings: SftpSettings) -> Self {
        let places = (0..settings.connections.max(1)).map(|_| Place::default()).collect();
        Self {
            root,
            location,
            dial,
            settings,
            places,
            refusal: Mutex::default(),
            folders: Mutex::default(),
            links: AtomicBool::new(true),
            renames: AtomicU8::new(publish::UNKNOWN),
            synced_folders: AtomicBool::new(false),
            counted: Counted::default(),
        }
    }

    /// A conversation: one that nobody uses, else another one for what is large, else that with the fewest users.
    fn session(&self, is_large: bool) -> Result<InUse<'_>, Trouble> {
        let users = |place: &&Place| place.users.load(Ordering::Relaxed);
        let open = || self.places.iter().filter(|place| place.is_open.load(Ordering::Relaxed));
        let idle = open().find(|place| users(place) == 0);
        let fresh = || self.places.iter().find(|place| !place.is_open.load(Ordering::Relaxed));
        let is_first = open().next().is_none();
        let place = idle
            .or_else(|| fresh().filter(|_| is_large || is_first))
            .or_else(|| open().min_by_key(users))
            .or_else(|| self.places.first())
            .ok_or_else(|| Trouble::permanent(ErrorKind::Other, "no place for a connection"))?;
        place.is_open.store(true, Ordering::Relaxed);
        place.users.fetch_add(1, Ordering::Relaxed);
        let found = self.conversation(place);
        match found {
            Ok(session) => Ok(InUse { session, place }),
            Err(trouble) => {
                place.users.fetch_sub(1, Ordering::Relaxed);
                Err(trouble)
            }
        }
    }

    /// The conversation of a place, which is begun anew when it ended.
    fn conversation(&self, place: &Place) -> Result<Arc<Session>, Trouble> {
        // An option is whole whatever a panicking thread did beside it.
        let mut session = place.session.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = session.as_ref().filter(|session| !session.has_ended()) {
            return Ok(Arc::clone(session));
        }
        *session = None;
        let mut refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(refusal) = refusal.as_ref() {
            return Err(refusal.clone());
        }
        drop(refusal);
        self.counted.other.fetch_add(1, Ordering::Relaxed);
        let begun = (self.dial)().and_then(|link| Session::begin(link, self.settings.stall_timeout));
        match begun {
            Ok(begun) => Ok(Arc::clone(session.insert(Arc::new(begun)))),
            Err(trouble) => {
                if trouble.is_permanent() {
                    refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
                    *refusal = Some(trouble.clone());
                }
                Err(trouble)
            }
        }
    }

    fn path(&self, key: &str) -> String {
        match (self.root.ends_with('/'), key.is_empty()) {
            (_, true) => self.root.clone(),
            (true, false) => format!("{}{key}", self.root),
            (false, false) => format!("{}/{key}", self.root),
        }
    }

    fn folders(&self) -> MutexGuard<'_, HashSet<String>> {
        // A set is whole whatever a panicking thread did beside it.
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, operation: &'static str, key: &str) -> impl Fn(Trouble) -> StorageError {
        let object = if key.is_empty() { self.location.clone() } else { format!("{}/{key}", self.location) };
        move |trouble| trouble.of(operation, object.clone())
    }

    /// Makes the folder of the repository, and those above it.
    ///
    /// # Errors
    /// When that cannot be done.
    pub fn make_root(&self) -> Result<(), StorageError> {
        let made = || -> Result<(), Trouble> {
            let used = self.session(false)?;
            let lane = used.session.lane();
            let parts = self.root.char_indices().filter(|(at, letter)| *letter == '/' && *at > 0);
            let ends: Vec<usize> = parts.map(|(at, _)| at).chain([self.root.len()]).collect();
            if transfer::looked(lane.ask(Request::Look(&self.root))?)?.is_some() {
                return Ok(());
            }
            for end in ends {
                let folder = self.root.get(..end).unwrap_or(&self.root);
                // Those that are there already say that it failed; whether all are is told at the end.
                lane.ask(Request::Make(folder))?;
            }
            match transfer::looked(lane.ask(Request::Look(&self.root))?)? {
                Some(found) if found.kind() != Kind::File => Ok(()),
                Some(_) => Err(Trouble::permanent(
                    ErrorKind::Invalid,
                    "there is a file in the place of the directory",
                )),
                None => lane.done(Request::Make(&self.root)),
            }
        };
        made().map_err(self.failed("write", ""))
    }

    /// Files in `tmp/`, and when each was written last by the server's clock.
    fn unfinished(&self, lane: &Lane<'_>) -> Result<Vec<(String, SystemTime)>, Trouble> {
        let mut found = Vec::new();
        let each = &mut |listed: Listed| found.push((listed.key, listed.modified));
        // Within `tmp` names are as in any folder.
        listing::list(
            lane,
            &|key| format!("{}/{key}", self.path(TMP)).trim_end_matches('/').to_owned(),
            "",
            each,
        )?;
        Ok(found)
    }

    /// How many unfinished objects there are.
    ///
    /// # Errors
    /// When the server cannot tell.
    pub fn leftovers(&self) -> Result<usize, StorageError> {
        let count = || self.unfinished(&self.session(false)?.session.lane()).map(|found| found.len());
        count().map_err(self.failed("list", TMP))
    }

    /// Removes unfinished objects that nobody wrote to for `older_than`, by the server's clock.
    ///
    /// # Errors
    /// When one cannot be removed.
    pub fn remove_leftovers(&self, older_than: Duration) -> Result<(), StorageError> {
        let remove = || -> Result<(), Trouble> {
            let used = self.session(false)?;
            let lane = used.session.lane();
            let found = self.unfinished(&lane)?;
            if found.is_empty() {
                return Ok(());
            }
            let now = publish::clock(&lane, &self.temporary()?)?;
            for (name, modified) in found {
                // One from the future, of a clock since put right, has no age yet.
                if now.duration_since(modified).is_ok_and(|age| age >= older_than) {
                    match lane.done(Request::Remove(&format!("{}/{name}", self.path(TMP)))) {
                        Err(trouble) if !trouble.is_missing() => return Err(trouble),
                        _ => {}
                    }
                }
            }
            Ok(())
        };
        remove().map_err(self.failed("delete", TMP))
    }

    /// The name of a new file in `tmp/`.
    fn temporary(&self) -> Result<String, Trouble> {
        let mut random = [0; 16];
        getrandom::fill(&mut random)
            .map_err(|error| Trouble::permanent(ErrorKind::Other, error.to_string()))?;
        Ok(format!("{}/{:032x}", self.path(TMP), u128::from_le_bytes(random)))
    }

    fn try_range(&self, key: &str, offset: u64, buffer: &mut [u8]) -> Result<(), Trouble> {
        let used = self.session(false)?;
        let lane = used.session.lane();
        let found = transfer::open(&lane, &self.path(key))?;
        let (handle, size) = found.ok_or_else(|| Trouble::permanent(ErrorKind::NotFound, "no such file"))?;
        if buffer.is_empty() {
            return Ok(());
        }
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > size) {
            let text = format!("{} bytes at {offset} reach behind its end, {size}", buffer.len());
            return Err(Trouble::permanent(ErrorKind::ShortObject, text));
        }
        transfer::fetch(&lane, &handle, offset, buffer, self.settings.download.as_ref())?;
        self.counted.bytes_down.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn try_get(&self, key: &str, bytes_max: u64) -> Result<Vec<u8>, Trouble> {
        let used = self.session(false)?;
        let lane = used.session.lane();
        let found = transfer::open(&lane, &self.path(key))?;
        let (handle, size) = found.ok_or_else(|| Trouble::permanent(ErrorKind::NotFound, "no such file"))?;
        let length = usize::try_from(size).ok().filter(|_| size <= bytes_max).ok_or_else(|| {
            let text = format!("it has {size} bytes, more than the {bytes_max} that are allowed");
            Trouble::permanent(ErrorKind::Other, text)
        })?;
        let mut bytes = Vec::new();
        bytes
            .try_reserve_exact(length)
            .map_err(|error| Trouble::permanent(ErrorKind::Other, error.to_string()))?;
        bytes.resize(length, 0);
        transfer::fetch(&lane, &handle, 0, &mut bytes, self.settings.download.as_ref())?;
        self.counted.bytes_down.fetch_add(size, Ordering::Relaxed);
        Ok(bytes)
    }

    fn try_size(&self, key: &str) -> Result<Option<u64>, Trouble> {
        let used = self.session(false)?;
        let found = transfer::looked(used.session.lane().ask(Request::Look(&self.path(key)))?)?;
        match found.map(|found| (found.kind(), found.size)) {
            Some((Kind::File, Some(size))) => Ok(Some(size)),
            Some((Kind::File, None)) => Err(Trouble::permanent(ErrorKind::Other, "the server tells no size")),
            Some((Kind::Link, _)) => Err(transfer::link_in_the_way()),
            Some(_) | None => Ok(None),
        }
    }

    fn try_list(&self, prefix: &str, each: &mut dyn FnMut(Listed)) -> Result<(), Trouble> {
        let used = self.session(false)?;
        let lane = used.session.lane();
        let folder = prefix.trim_end_matches('/');
        let path_of = |key: &str| self.path(key);
        let is_there = match listing::list(&lane, &path_of, folder, each) {
            // Some servers answer so about what is not a folder.
            Err(Trouble::Refused(Status::Failed | Status::Other(_), words)) => {
                match transfer::looked(lane.ask(Request::Look(&self.path(folder)))?)? {
                    Some(found) if found.kind() == Kind::Folder => {
                        return Err(Trouble::Refused(Status::Failed, words));
                    }
                    _ => false,
                }
            }
            listed => listed?,
        };
        // A root that is gone reads as an empty one. That must not pass for a repository without objects.
        if !is_there && transfer::looked(lane.ask(Request::Look(&self.root))?)?.is_none() {
            return Err(Trouble::permanent(ErrorKind::NotFound, "the directory does not exist"));
        }
        Ok(())
    }

    fn try_delete(&self, key: &str) -> Result<(), Trouble> {
        let used = self.session(false)?;
        let lane = used.session.lane();
        let path = self.path(key);
        match lane.done(Request::Remove(&path)) {
            Ok(()) => self.sync_folder(&lane, parent(&path)),
            Err(trouble) if trouble.is_missing() => Ok(()),
            // Folders cannot be removed so, and are no objects. Where nothing may be removed, that is told of what is
            // not there, too.
            Err(trouble) => match transfer::looked(lane.ask(Request::Look(&path))?)? {
                Some(found) if found.kind() == Kind::Folder => Ok(()),
                None if !matches!(trouble, Trouble::Refused(Status::Denied, _)) => Ok(()),
                _ => Err(trouble),
            },
        }
    }

    fn count(&self, counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// The folder of a path.
fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or(".", |(folder, _)| if folder.is_empty() { "/" } else { folder })
}

impl Storage for SftpStorage {
    fn put(&self, key: &str, bytes: &[u8]) -> Result<Put, StorageError> {
        check_key("write", key)?;
        self.count(&self.counted.put);
        let failed = self.failed("write", key);
        match self.try_put(key, bytes).map_err(&failed)? {
            publish::Outcome::Put(put) => Ok(put),
            publish::Outcome::Conflict => {
                Err(failed(Trouble::permanent(ErrorKind::Conflict, "other bytes are there")))
            }
        }
    }

    fn get(&self, key: &str, bytes_max: u64) -> Result<Vec<u8>, StorageError> {
        check_key("read", key)?;
        self.count(&self.counted.get);
        self.try_get(key, bytes_max).map_err(self.failed("read", key))
    }

    fn get_range(&self, key: &str, offset: u64, buffer: &mut [u8]) -> Result<(), StorageError> {
        check_key("read", key)?;
        self.count(&self.counted.get);
        self.try_range(key, offset, buffer).map_err(self.failed("read", key))
    }

    fn size(&self, key: &str) -> Result<Option<u64>, StorageError> {
        check_key("read", key)?;
        self.count(&self.counted.head);
        self.try_size(key).map_err(self.failed("read", key))
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Listed)) -> Result<(), StorageError> {
        check_prefix(prefix)?;
        self.count(&self.counted.list);
        self.try_list(prefix, each).map_err(self.failed("list", prefix.trim_end_matches('/')))
    }

    fn delete(&self, key: &str) -> Result<(), StorageError> {
        check_key("delete", key)?;
        self.count(&self.counted.delete);
        self.try_delete(key).map_err(self.failed("delete", key))
    }

    fn location(&self) -> String {
        self.location.clone()
    }

    fn is_local(&self) -> bool {
        false
    }

    fn requests(&self) -> Option<Requests> {
        Some(self.counted.requests())
    }

    fn manners(&self) -> Result<Vec<Manner>, StorageError> {
        self.try_manners().map_err(self.failed("write", TMP))
    }
}
