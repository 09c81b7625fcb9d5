//! Objects as files below one folder, on any file system that keeps POSIX's promises.
//!
//! The object under `packs/ab/cd` is the file `packs/ab/cd`. An object is written to `tmp/` first, brought to the disk,
//! moved to its name without replacing, and then the folder is brought to the disk. A crash leaves a whole object or a
//! leftover in `tmp/`, which no listing shows.
//!
//! Below the root nothing is followed: a symbolic link where an object or a folder should be is an error. Whoever can
//! make one in the repository cannot aim writes at other files, and a listing never silently misses what lies behind
//! it. What is neither file, folder nor link, or has a name that is no key, does not exist for this module.

mod folder;
mod scheme;

pub use scheme::Directory;

use std::collections::HashSet;
use std::fs::{DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use self::folder::{FOLDER_MODE, Folder, Kind, Moved, link_in_the_way};
use super::{
    ErrorKind, KEY_BYTES_MAX, Listed, Put, Storage, StorageError, check_key, check_prefix, is_key_part,
};

/// The folder of unfinished objects.
const TMP: &str = "tmp";
/// How much of an object that is there already is compared at a time.
const COMPARE_BYTES: usize = 256 * 1024;
/// How often `put` starts over when the object that was in its way is gone at the second look.
const PUT_ATTEMPTS: u32 = 8;

/// A folder that holds objects. Files are made with mode 0600 and folders with 0700.
///
/// It holds on to the folder that it opened, not to the path: what is mounted over it later gets nothing.
#[derive(Debug)]
pub struct LocalStorage {
    root: Folder,
    path: PathBuf,
    /// Folders whose own entry in their parent this value has brought to the disk. Another process may have made one
    /// and not have come to that yet.
    durable: Mutex<HashSet<String>>,
    /// False once the file system said that it cannot rename without replacing.
    renames: AtomicBool,
}

/// An unfinished object: of a `put` that is under way, or of one that was killed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// The file.
    pub path: PathBuf,
    /// How much had been written.
    pub bytes: u64,
    /// When it was written last, by the file system's clock.
    pub modified: SystemTime,
}

impl LocalStorage {
    /// Opens the folder at `path`. Changes nothing, so a read-only mount will do.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no folder at `path`; [`ErrorKind::Denied`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StorageError> {
        let path = path.into();
        match Folder::open(&path) {
            Ok(root) => Ok(Self { root, path, durable: Mutex::default(), renames: AtomicBool::new(true) }),
            Err(error) => Err(match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                    let object = path.display().to_string();
                    StorageError::permanent("read", object, ErrorKind::NotFound, error)
                }
                _ => failure("read", &path, error),
            }),
        }
    }

    /// Makes the folder at `path` with mode 0700, its parents too, durably, and opens it. A folder that is there is
    /// taken as it is.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`], [`ErrorKind::NoSpace`], and as [`LocalStorage::open`].
    pub fn create(path: impl Into<PathBuf>) -> Result<Self, StorageError> {
        let path = path.into();
        let missing: Vec<&Path> = path
            .ancestors()
            .take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists())
            .collect();
        DirBuilder::new()
            .recursive(true)
            .mode(FOLDER_MODE.as_raw_mode())
            .create(&path)
            .map_err(|error| failure("write", &path, error))?;
        for folder in missing {
            let parent = match folder.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            };
            Folder::open(parent)
                .and_then(|parent| parent.sync())
                .map_err(|error| failure("write", parent, error))?;
        }
        Self::open(path)
    }

    /// The files in `tmp/`: what killed writers left, and what others are writing just now.
    ///
    /// # Errors
    /// When `tmp/` cannot be read.
    pub fn leftovers(&self) -> Result<Vec<Leftover>, StorageError> {
        let path = self.path.join(TMP);
        let failed = |error| failure("list", &path, error);
        let Some(tmp) = self.root.child(TMP).map_err(failed)? else {
            return Ok(Vec::new());
        };
        let mut leftovers = Vec::new();
        tmp.for_each(
            |_| true,
            |name, entry| {
                if entry.kind == Kind::File {
                    let path = path.join(name);
                    leftovers.push(Leftover { path, bytes: entry.bytes, modified: entry.modified });
                }
                Ok(())
            },
        )
        .map_err(failed)?;
        Ok(leftovers)
    }

    /// Removes the leftovers that nobody has written to for `older_than` or longer, and gives them. The file system's
    /// clock tells the age, also where it is another host's. Whoever is still writing one of them gets an error from
    /// `put`, so leave a slow writer its time.
    ///
    /// # Errors
    /// When one cannot be removed; those before it are gone.
    pub fn remove_leftovers(&self, older_than: Duration) -> Result<Vec<Leftover>, StorageError> {
        let path = self.path.join(TMP);
        let failed = |error| failure("delete", &path, error);
        let Some(tmp) = self.root.child(TMP).map_err(failed)? else {
            return Ok(Vec::new());
        };
        let now = tmp.touch().map_err(failed)?;
        let mut old = self.leftovers()?;
        // One from the future, of a clock since put right, has no age yet.
        old.retain(|file| now.duration_since(file.modified).is_ok_and(|age| age >= older_than));
        for file in &old {
            // Each has a name, being a file in `tmp/`.
            let Some(name) = file.path.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            tmp.remove(name).map_err(|error| failure("delete", &file.path, error))?;
        }
        Ok(old)
    }

    /// The folder `path` below the root ("" is the root), opened part by part so that no link is followed anywhere on
    /// the way. `None` when it is not there.
    fn folder(&self, path: &str) -> io::Result<Option<Folder>> {
        let mut folder = self.root.again()?;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            match folder.child(part)? {
                Some(child) => folder = child,
                None => return Ok(None),
            }
        }
        Ok(Some(folder))
    }

    /// As `folder`, and makes what is missing. What it gives is on the disk, whoever made it.
    fn folder_made(&self, path: &str) -> io::Result<Folder> {
        // A set is whole whatever a panicking thread did beside it.
        let durable = || self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        let mut folder = self.root.again()?;
        let mut walked = String::new();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            walked = join(&walked, part);
            let child = folder.child_made(part)?;
            if !durable().contains(&walked) {
                folder.sync()?;
                durable().insert(walked.clone());
            }
            folder = child;
        }
        Ok(folder)
    }

    /// The object's file and its size. Not being there is an error.
    fn object(&self, key: &str) -> Result<(File, u64), StorageError> {
        check_key("read", key)?;
        let (folder, name) = split(key);
        let object = self.folder(folder).and_then(|folder| match folder {
            Some(folder) => folder.file(name),
            None => Ok(None),
        });
        object.map_err(self.failed("read", key))?.ok_or_else(|| {
            let error = io::Error::from(io::ErrorKind::NotFound);
            self.error("read", key, ErrorKind::NotFound, error)
        })
    }

    fn try_put(&self, key: &str, bytes: &[u8]) -> io::Result<Outcome> {
        let (folder, name) = split(key);
        let folder = self.folder_made(folder)?;
        // Looked at first, so that what is there already is not written once more, nor needs room.
        if let Some(outcome) = compare(&folder, name, bytes)? {
            return Ok(outcome);
        }
        // Its entry in the root need not be durable: a leftover that a crash takes is no loss.
        let tmp = self.root.child_made(TMP)?;
        let mut unfinished = Unfinished::write(&tmp, bytes)?;
        for _ in 0..PUT_ATTEMPTS {
            if self.move_in(&mut unfinished, &folder, name)? {
                folder.sync()?;
                return Ok(Outcome::Put(Put::Created));
            }
            if let Some(outcome) = compare(&folder, name, bytes)? {
                return Ok(outcome);
            }
        }
        Err(io::Error::other("objects under this key come and go"))
    }

    /// Gives the unfinished object its name; false when something has it.
    fn move_in(&self, unfinished: &mut Unfinished<'_>, folder: &Folder, name: &str) -> io::Result<bool> {
        let mut moved = Moved::Unsupported;
        if self.renames.load(Ordering::Relaxed) {
            moved = unfinished.tmp.rename_new(&unfinished.name, folder, name)?;
        }
        if moved == Moved::Unsupported {
            self.renames.store(false, Ordering::Relaxed);
            moved = unfinished.tmp.link_new(&unfinished.name, folder, name)?;
        }
        unfinished.moved = moved == Moved::Yes;
        Ok(unfinished.moved)
    }

    /// Lists the objects right in the folder `path`; the folders in it go to `pending`.
    fn list_folder(
        &self,
        path: &str,
        pending: &mut Vec<String>,
        each: &mut dyn FnMut(Listed),
    ) -> io::Result<()> {
        if let Some(folder) = self.folder(path)? {
            folder.for_each(is_key_part, |name, entry| {
                let key = join(path, name);
                if key.len() > KEY_BYTES_MAX || key == TMP {
                    return Ok(());
                }
                match entry.kind {
                    Kind::File => {
                        each(Listed { key, bytes: entry.bytes, modified: entry.modified });
                    }
                    Kind::Folder => pending.push(key),
                    Kind::Link => return Err(link_in_the_way(&key)),
                    Kind::Other => {}
                }
                Ok(())
            })?;
        }
        // A root that was removed reads as an empty one. That must not pass for a repository without objects.
        match self.root.is_removed()? {
            true => Err(io::Error::other("the storage's directory was removed")),
            false => Ok(()),
        }
    }

    fn error(
        &self,
        operation: &'static str,
        key: &str,
        kind: ErrorKind,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> StorageError {
        StorageError::permanent(operation, self.path.join(key).display().to_string(), kind, source)
    }

    fn failed(&self, operation: &'static str, key: &str) -> impl Fn(io::Error) -> StorageError {
        let path = self.path.join(key);
        move |error| failure(operation, &path, error)
    }
}

impl Storage for LocalStorage {
    fn put(&self, key: &str, bytes: &[u8]) -> Result<Put, StorageError> {
        check_key("write", key)?;
        match self.try_put(key, bytes).map_err(self.failed("write", key))? {
            Outcome::Put(put) => Ok(put),
            Outcome::Conflict => Err(self.error("write", key, ErrorKind::Conflict, "other bytes are there")),
        }
    }

    fn get(&self, key: &str, bytes_max: u64) -> Result<Vec<u8>, StorageError> {
        let (file, bytes) = self.object(key)?;
        let failed = self.failed("read", key);
        let length = usize::try_from(bytes).ok().filter(|_| bytes <= bytes_max);
        let length = length.ok_or_else(|| {
            let message = format!("it has {bytes} bytes, more than the {bytes_max} that are allowed");
            self.error("read", key, ErrorKind::Other, message)
        })?;
        let mut content = Vec::new();
        content.try_reserve_exact(length).map_err(|error| failed(io::Error::other(error)))?;
        file.take(bytes).read_to_end(&mut content).map_err(&failed)?;
        if content.len() != length {
            return Err(failed(io::Error::other("it got shorter while it was read")));
        }
        Ok(content)
    }

    fn get_range(&self, key: &str, offset: u64, buffer: &mut [u8]) -> Result<(), StorageError> {
        let (file, bytes) = self.object(key)?;
        if buffer.is_empty() {
            return Ok(());
        }
        // Asked first, since the system's offsets are signed and end before ours.
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > bytes) {
            let message = format!("{} bytes at {offset} reach behind its end, {bytes}", buffer.len());
            return Err(self.error("read", key, ErrorKind::ShortObject, message));
        }
        file.read_exact_at(buffer, offset).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.error("read", key, ErrorKind::ShortObject, error),
            _ => self.failed("read", key)(error),
        })
    }

    fn size(&self, key: &str) -> Result<Option<u64>, StorageError> {
        check_key("read", key)?;
        let (folder, name) = split(key);
        let size = || {
            let Some(folder) = self.folder(folder)? else {
                return Ok(None);
            };
            let Some(entry) = folder.entry(name)? else {
                return Ok(None);
            };
            match entry.kind {
                Kind::File => Ok(Some(entry.bytes)),
                Kind::Link => Err(link_in_the_way(name)),
                Kind::Folder | Kind::Other => Ok(None),
            }
        };
        size().map_err(self.failed("read", key))
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Listed)) -> Result<(), StorageError> {
        check_prefix(prefix)?;
        let mut pending = vec![prefix.trim_end_matches('/').to_owned()];
        while let Some(folder) = pending.pop() {
            self.list_folder(&folder, &mut pending, each).map_err(self.failed("list", &folder))?;
        }
        Ok(())
    }

    fn delete(&self, key: &str) -> Result<(), StorageError> {
        check_key("delete", key)?;
        let (folder, name) = split(key);
        let delete = || {
            let Some(folder) = self.folder(folder)? else {
                return Ok(());
            };
            folder.remove(name)?;
            // Also when it was not there: whoever removed it may not have come to this yet.
            folder.sync()
        };
        delete().map_err(self.failed("delete", key))
    }

    fn location(&self) -> String {
        self.path.display().to_string()
    }
}

/// How a `put` that met no I/O error ended.
enum Outcome {
    Put(Put),
    Conflict,
}

/// A file in `tmp/` that is removed when dropped, unless it was moved away.
struct Unfinished<'a> {
    tmp: &'a Folder,
    name: String,
    moved: bool,
}

impl<'a> Unfinished<'a> {
    /// Writes `bytes` and brings them to the disk.
    fn write(tmp: &'a Folder, bytes: &[u8]) -> io::Result<Self> {
        let mut random = [0u8; 16];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let name = format!("{:032x}", u128::from_le_bytes(random));
        let mut file = tmp.new_file(&name)?;
        let unfinished = Self { tmp, name, moved: false };
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(unfinished)
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if !self.moved {
            // Safe to ignore: what stays is a leftover, which nothing lists and `remove_leftovers` takes.
            let _ = self.tmp.remove(&self.name);
        }
    }
}

/// A key's folder ("" for the root) and its last part.
fn split(key: &str) -> (&str, &str) {
    key.rsplit_once('/').unwrap_or(("", key))
}

/// What `split` takes apart.
fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// Holds what is under `name` against `bytes`. `None` when nothing is there. When it says that they are the same they
/// are on the disk, too: another writer may have moved them in and not have synced the folder yet.
fn compare(folder: &Folder, name: &str, bytes: &[u8]) -> io::Result<Option<Outcome>> {
    let Some((mut file, bytes_there)) = folder.file(name)? else {
        return match folder.entry(name)? {
            Some(entry) if entry.kind != Kind::File => {
                Err(io::Error::other("something that is not a file has this name"))
            }
            _ => Ok(None),
        };
    };
    if bytes_there != bytes.len() as u64 {
        return Ok(Some(Outcome::Conflict));
    }
    let mut buffer = vec![0u8; COMPARE_BYTES.min(bytes.len())];
    for expected in bytes.chunks(COMPARE_BYTES) {
        // No chunk is longer than the buffer; were one, they would not be the same.
        let Some(found) = buffer.get_mut(..expected.len()) else {
            return Ok(Some(Outcome::Conflict));
        };
        file.read_exact(found)?;
        if found != expected {
            return Ok(Some(Outcome::Conflict));
        }
    }
    file.sync_all()?;
    folder.sync()?;
    Ok(Some(Outcome::Put(Put::AlreadyThere)))
}

fn failure(operation: &'static str, path: &Path, error: io::Error) -> StorageError {
    use io::ErrorKind as Io;
    let (kind, retryable) = match error.kind() {
        // A limit on the size of files is a quota: objects are far smaller than what any file system takes.
        Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => (ErrorKind::NoSpace, false),
        Io::PermissionDenied | Io::ReadOnlyFilesystem => (ErrorKind::Denied, false),
        // Something was moved or removed while we worked on it; when it is the object itself the caller has said so.
        Io::NotFound => (ErrorKind::Other, true),
        Io::Interrupted | Io::WouldBlock | Io::TimedOut | Io::StaleNetworkFileHandle => {
            (ErrorKind::Other, true)
        }
        _ => (ErrorKind::Other, false),
    };
    let object = path.display().to_string();
    StorageError { operation, object, kind, retryable, wait: None, source: error.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn given_a_file_system_that_cannot_rename_without_replacing_then_links_do_the_same() {
        let place = tempfile::tempdir().unwrap();
        let storage = LocalStorage::open(place.path()).unwrap();
        storage.renames.store(false, Ordering::Relaxed);

        assert_eq!(storage.put("packs/a", b"one").unwrap(), Put::Created);
        assert_eq!(storage.put("packs/a", b"one").unwrap(), Put::AlreadyThere);
        assert_eq!(storage.put("packs/a", b"two").unwrap_err().kind, ErrorKind::Conflict);

        assert_eq!(storage.get("packs/a", 3).unwrap(), b"one");
        assert_eq!(storage.leftovers().unwrap(), []);
    }

    #[test]
    fn given_a_name_taken_since_the_first_look_then_neither_way_of_moving_replaces_it() {
        for renames in [true, false] {
            let place = tempfile::tempdir().unwrap();
            let storage = LocalStorage::open(place.path()).unwrap();
            storage.renames.store(renames, Ordering::Relaxed);
            storage.put("a", b"first").unwrap();

            let tmp = storage.root.child_made(TMP).unwrap();
            let mut late = Unfinished::write(&tmp, b"second").unwrap();

            assert!(!storage.move_in(&mut late, &storage.root, "a").unwrap());
            assert_eq!(storage.get("a", 9).unwrap(), b"first");
        }
    }

    #[test]
    fn errors_of_the_system_are_told_apart_by_what_a_caller_can_do() {
        let kind = |errno: Errno| {
            let error = failure("write", Path::new("/repository/a"), errno.into());
            (error.kind, error.retryable)
        };
        for full in [Errno::NOSPC, Errno::DQUOT, Errno::FBIG] {
            assert_eq!(kind(full), (ErrorKind::NoSpace, false), "{full:?}");
        }
        for denied in [Errno::ACCESS, Errno::PERM, Errno::ROFS] {
            assert_eq!(kind(denied), (ErrorKind::Denied, false), "{denied:?}");
        }
        assert_eq!(kind(Errno::IO), (ErrorKind::Other, false));
        assert_eq!(kind(Errno::STALE), (ErrorKind::Other, true));
    }
}
