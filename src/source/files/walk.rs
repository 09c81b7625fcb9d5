//! A tree, file by file, in the order of the index. Directories are opened one within the other, and no symbolic link
//! is followed but one that a root itself is.

use super::{Choice, FilesError, folder};
use crate::base::event::Cancel;
use crossbeam_channel::Sender;
use rayon::prelude::{IntoParallelIterator, ParallelIterator};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, openat, stat, statat};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file that was found.
pub(super) struct Found {
    /// Its path without the first slash.
    pub path: Vec<u8>,
    /// The directory that it is in, and its name there; none for a root and the directories above it.
    pub place: Option<(Arc<OwnedFd>, Vec<u8>)>,
    /// What it is, or why that cannot be told.
    pub stat: io::Result<Stat>,
}

/// In directories of so many names or more several threads look at them.
const MANY: usize = 256;

/// What of a tree is walked.
pub(super) struct Walked {
    /// What is left out.
    pub choice: Choice,
    /// Whether what is mounted in it is entered.
    pub crosses: bool,
    /// Whether caches are left out, which say so of themselves.
    pub skips_caches: bool,
}

/// What the walk has counted.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counted {
    pub excluded: u64,
    pub vanished: u64,
}

/// Walks all roots, which are sorted and apart from each other. Stops without an error when nobody takes the files any
/// more.
///
/// # Errors
/// When a root is not there or cannot be read.
pub(super) fn walk(
    roots: &[PathBuf],
    walked: &Walked,
    found: &Sender<Found>,
    cancel: &Cancel,
) -> Result<Counted, FilesError> {
    let mut walk = Walk { walked, found, cancel, counted: Counted::default() };
    let mut above: Vec<PathBuf> = Vec::new();
    for root in roots {
        let failed = |source: io::Error| FilesError::Root { path: root.clone(), source };
        let mut parents: Vec<&Path> = root.ancestors().skip(1).collect();
        parents.reverse();
        for parent in parents {
            if above.iter().any(|known| known == parent) {
                continue;
            }
            above.push(parent.to_owned());
            let stat = stat(parent).map_err(|error| failed(error.into()))?;
            if !walk.give(Found { path: path_of(parent), place: None, stat: Ok(stat) }) {
                return Ok(walk.counted);
            }
        }
        if !walk.root(root).map_err(failed)? {
            break;
        }
    }
    Ok(walk.counted)
}

fn path_of(path: &Path) -> Vec<u8> {
    let bytes = path.as_os_str().as_bytes();
    bytes.strip_prefix(b"/").unwrap_or(bytes).to_vec()
}

struct Walk<'a> {
    walked: &'a Walked,
    found: &'a Sender<Found>,
    cancel: &'a Cancel,
    counted: Counted,
}

/// A directory on the way.
struct Level {
    directory: Arc<OwnedFd>,
    path: Vec<u8>,
    rest: std::vec::IntoIter<(Vec<u8>, io::Result<Stat>)>,
}

impl Walk<'_> {
    /// Whether anybody takes more.
    fn give(&self, found: Found) -> bool {
        !self.cancel.is_cancelled() && self.found.send(found).is_ok()
    }

    fn root(&mut self, root: &Path) -> io::Result<bool> {
        let is_directory = FileType::from_raw_mode(stat(root)?.st_mode).is_dir();
        let path = path_of(root);
        if !is_directory {
            let parent = root.parent().unwrap_or(Path::new("/"));
            let name = root.file_name().map(|name| name.as_bytes().to_vec()).unwrap_or_default();
            let parent = Arc::new(folder::open_top(parent)?);
            let stat = statat(&*parent, &*name, AtFlags::SYMLINK_NOFOLLOW)?;
            return Ok(self.give(Found { path, place: Some((parent, name)), stat: Ok(stat) }));
        }
        let directory = folder::open_top(root)?;
        let stat = fstat(&directory)?;
        let device = stat.st_dev;
        let level = self.open(directory, path.clone())?;
        if !self.give(Found { path, place: None, stat: Ok(stat) }) {
            return Ok(false);
        }
        self.below(level, device)
    }

    /// Gives all that is below a directory; whether anybody takes more.
    fn below(&mut self, top: Level, device: u64) -> io::Result<bool> {
        let mut levels = vec![top];
        while let Some(level) = levels.last_mut() {
            let Some((name, stat)) = level.rest.next() else {
                levels.pop();
                continue;
            };
            let path = folder::path_below(&level.path, &name);
            let Ok(is) = &stat else {
                let place = Some((Arc::clone(&level.directory), name));
                if stat.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
                    self.counted.vanished += 1;
                } else if !self.give(Found { path, place, stat }) {
                    return Ok(false);
                }
                continue;
            };
            let is_directory = FileType::from_raw_mode(is.st_mode).is_dir();
            if self.walked.choice.leaves_out(&path, is_directory, is.st_mtime) {
                self.counted.excluded += 1;
                continue;
            }
            // What is mounted there is another file system's.
            let enters = is_directory && (self.walked.crosses || is.st_dev == device);
            let opened = enters.then(|| folder::open(&*level.directory, &name));
            let place = Some((Arc::clone(&level.directory), name));
            let opened = match opened {
                Some(Err(rustix::io::Errno::NOENT)) => {
                    self.counted.vanished += 1;
                    continue;
                }
                Some(Err(error)) => Err(error.into()),
                Some(Ok(directory)) => self.open(directory, path.clone()).map(Some),
                None => Ok(None),
            };
            let (below, stat) = match opened {
                Ok(below) => (below, stat),
                Err(error) => (None, Err(error)),
            };
            if !self.give(Found { path, place, stat }) {
                return Ok(false);
            }
            levels.extend(below);
        }
        Ok(true)
    }

    /// Lists a directory and looks at all that is in it.
    fn open(&mut self, directory: OwnedFd, path: Vec<u8>) -> io::Result<Level> {
        let mut names = folder::names(&directory)?;
        if self.walked.skips_caches && names.iter().any(|name| name == CACHE_TAG) && is_cache(&directory) {
            // The directory and its tag stay: what was restored is a cache again.
            self.counted.excluded += names.len() as u64 - 1;
            names.retain(|name| name == CACHE_TAG);
        }
        names.sort_unstable();
        let fd = directory.as_fd();
        let look = |name: Vec<u8>| {
            let stat = statat(fd, &*name, AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from);
            (name, stat)
        };
        let seen: Vec<_> = match names.len() >= MANY {
            true => names.into_par_iter().map(look).collect(),
            false => names.into_iter().map(look).collect(),
        };
        Ok(Level { directory: Arc::new(directory), path, rest: seen.into_iter() })
    }
}

/// The file by which a directory says that it is a cache (<https://bford.info/cachedir/>), and what it begins with.
const CACHE_TAG: &[u8] = b"CACHEDIR.TAG";
const CACHE_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// Whether the tag in a directory is one. It is not opened where it is no regular file.
fn is_cache(directory: &OwnedFd) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let is_file = statat(directory, CACHE_TAG, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_file());
    let opened = is_file.then(|| openat(directory, CACHE_TAG, flags, Mode::empty()));
    let Some(Ok(file)) = opened else { return false };
    let mut front = Vec::new();
    let read = std::fs::File::from(file).take(CACHE_SIGNATURE.len() as u64).read_to_end(&mut front);
    read.is_ok() && front == CACHE_SIGNATURE
}
