//! The files of a pack cache.
//!
//! ```text
//! <2 hex>/<pack>          a pack, as it is in the storage
//! wanted/<hash of series> the packs that the series' newest snapshot needs, one name a line
//! tmp/<random>            being written
//! ```
//! When a file was last of use is its time of modification; when a list was written is the list's. No clock but the
//! file system's is asked.

use super::CacheError;
use crate::base::unfinished::Unfinished;
use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const WANTED: &str = "wanted";
const TMP: &str = "tmp";
/// Files in `tmp/` that are so much older than one just made belong to a process that was killed.
const TMP_AGE_MAX: Duration = Duration::from_secs(3600);
/// A list longer than this is not read: 1 TiB of packs of 32 MiB are a seventh of it.
const WANTED_BYTES_MAX: u64 = 16 << 20;

/// One pack in the cache.
pub(super) struct CacheFile {
    pub name: String,
    pub bytes: u64,
    /// When the newest list that names it was written; `None` when none does.
    pub wanted: Option<SystemTime>,
    pub used: SystemTime,
}

#[derive(Debug)]
pub(super) struct CacheFolder {
    root: PathBuf,
}

impl CacheFolder {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Makes the folder, and clears away what killed processes left.
    pub(super) fn prepare(&self) -> Result<(), CacheError> {
        for folder in [TMP, WANTED] {
            let path = self.root.join(folder);
            make_folder(&path).map_err(failed("make", &path))?;
        }
        let tmp = self.root.join(TMP);
        let probe = self.unfinished(b"").map_err(failed("write", &tmp))?;
        let now = modified(probe.path());
        drop(probe);
        for entry in entries(&tmp)? {
            let age = now.zip(modified(&entry.path())).and_then(|(now, then)| now.duration_since(then).ok());
            if age.is_some_and(|age| age > TMP_AGE_MAX) {
                // Safe to ignore because a leftover is looked at again the next time.
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        let (front, _) = name.split_at_checked(2).unwrap_or(("", name));
        self.root.join(front).join(name)
    }

    pub(super) fn holds(&self, name: &str) -> bool {
        self.path(name).is_file()
    }

    /// The file under `name`, `None` when it is not there.
    pub(super) fn open(&self, name: &str) -> Result<Option<File>, CacheError> {
        let path = self.path(name);
        // Not to wait for a FIFO that somebody placed there.
        let no_wait = rustix::fs::OFlags::NONBLOCK.union(rustix::fs::OFlags::NOFOLLOW).bits() as i32;
        let opened = OpenOptions::new().read(true).custom_flags(no_wait).open(&path);
        match opened {
            Ok(file) if file.metadata().is_ok_and(|meta| meta.is_file()) => Ok(Some(file)),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("open", &path)(error)),
        }
    }

    /// Writes the file beside and renames it into place. What is there already is replaced: the bytes are the same.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), CacheError> {
        self.write_to(&self.path(name), bytes)
    }

    pub(super) fn write_wanted(&self, list: &str, names: &[&str]) -> Result<(), CacheError> {
        let mut text = names.join("\n");
        text.push('\n');
        self.write_to(&self.root.join(WANTED).join(list), text.as_bytes())
    }

    fn write_to(&self, path: &Path, bytes: &[u8]) -> Result<(), CacheError> {
        let folder = path.parent().unwrap_or(&self.root);
        make_folder(folder).map_err(failed("make", folder))?;
        let unfinished = self.unfinished(bytes).map_err(failed("write", path))?;
        unfinished.finish_unsynced(path).map_err(failed("rename", path))
    }

    /// Not brought to the disk: a file that a power cut emptied is found out by its hash.
    fn unfinished(&self, bytes: &[u8]) -> io::Result<Unfinished> {
        let mut unfinished = Unfinished::within(&self.root.join(TMP), "")?;
        unfinished.file().write_all(bytes)?;
        Ok(unfinished)
    }

    /// Removes the file; not being there is success.
    pub(super) fn remove(&self, name: &str) -> Result<(), CacheError> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    /// Notes that the file was of use.
    pub(super) fn touch(&self, name: &str) {
        use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, utimensat};
        let at = |nanoseconds| Timespec { tv_sec: 0, tv_nsec: nanoseconds };
        let times = Timestamps { last_access: at(UTIME_OMIT), last_modification: at(UTIME_NOW) };
        // Safe to ignore because the file is then merely removed sooner.
        let _ = utimensat(CWD, self.path(name), &times, AtFlags::empty());
    }

    /// All packs in the cache.
    pub(super) fn files(&self) -> Result<Vec<CacheFile>, CacheError> {
        let wanted = self.wanted()?;
        let mut files = Vec::new();
        for folder in entries(&self.root)? {
            let name = folder.file_name();
            if name.len() != 2 || !folder.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            for entry in entries(&folder.path())? {
                // What vanishes meanwhile was removed by another process.
                let Ok(meta) = entry.metadata() else { continue };
                let Ok(name) = entry.file_name().into_string() else { continue };
                if meta.is_file() {
                    let used = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                    let wanted = wanted.get(&name).copied();
                    files.push(CacheFile { name, bytes: meta.len(), wanted, used });
                }
            }
        }
        Ok(files)
    }

    /// The packs that some list names, and when the newest such list was written.
    fn wanted(&self) -> Result<HashMap<String, SystemTime>, CacheError> {
        let mut wanted = HashMap::new();
        for entry in entries(&self.root.join(WANTED))? {
            let Ok(meta) = entry.metadata() else { continue };
            if !meta.is_file() || meta.len() > WANTED_BYTES_MAX {
                continue;
            }
            // A list that cannot be read protects nothing.
            let Ok(text) = fs::read_to_string(entry.path()) else { continue };
            let written = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            for name in text.lines() {
                let newest = wanted.entry(name.to_owned()).or_insert(written);
                *newest = written.max(*newest);
            }
        }
        Ok(wanted)
    }
}

fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|meta| meta.modified()).ok()
}

/// What lies in the folder; nothing when it is not there.
fn entries(path: &Path) -> Result<Vec<fs::DirEntry>, CacheError> {
    let listing = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listing => listing.map_err(failed("list", path))?,
    };
    listing.collect::<io::Result<_>>().map_err(failed("list", path))
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CacheError {
    let path = path.to_owned();
    move |source| CacheError { operation, path, source }
}
