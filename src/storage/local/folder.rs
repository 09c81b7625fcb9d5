//! An open folder and what lies directly in it. The system calls of the local storage, and their traps, live here:
//! everything goes through the open folder and no symbolic link is followed.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;

/// The mode of a new folder.
pub(super) const FOLDER_MODE: Mode = Mode::RWXU;
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

const OPEN_ROOT: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const OPEN_FOLDER: OFlags = OPEN_ROOT.union(OFlags::NOFOLLOW);
/// `NONBLOCK` does nothing to files, and keeps a FIFO that somebody placed there from stopping us for ever.
const OPEN_FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);
const OPEN_NEW: OFlags =
    OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// An open folder.
#[derive(Debug)]
pub(super) struct Folder(OwnedFd);

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    Link,
    Other,
}

/// What the system knows of one name in a folder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub kind: Kind,
    pub bytes: u64,
    pub modified: SystemTime,
}

/// How a move ended that met no error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moved {
    /// The file has its new name, and the old one no longer.
    Yes,
    /// Something has that name; nothing was changed.
    NameTaken,
    /// The file system cannot do it in this way.
    Unsupported,
}

impl Folder {
    /// Opens the folder at `path`, following links: the path is the caller's word, not the repository's.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(fs::open(path, OPEN_ROOT, Mode::empty())?))
    }

    /// Another handle on the same folder.
    pub(super) fn again(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// Opens the folder `name`; `None` when there is none.
    pub(super) fn child(&self, name: &str) -> io::Result<Option<Self>> {
        match fs::openat(&self.0, name, OPEN_FOLDER, Mode::empty()) {
            Ok(folder) => Ok(Some(Self(folder))),
            Err(Errno::NOENT) => Ok(None),
            // Systems differ in which of the two a link gives.
            Err(Errno::NOTDIR | Errno::LOOP) => match self.entry(name)? {
                Some(Entry { kind: Kind::Link, .. }) => Err(link_in_the_way(name)),
                _ => Ok(None),
            },
            Err(errno) => Err(errno.into()),
        }
    }

    /// Opens the folder `name`, made if missing. Another thread or process may be making it as well.
    pub(super) fn child_made(&self, name: &str) -> io::Result<Self> {
        if let Some(child) = self.child(name)? {
            return Ok(child);
        }
        match fs::mkdirat(&self.0, name, FOLDER_MODE) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        self.child(name)?.ok_or_else(|| io::Error::other(format!("`{name}` is not a directory")))
    }

    /// Opens the file `name` and gives its size; `None` when there is no such file.
    pub(super) fn file(&self, name: &str) -> io::Result<Option<(File, u64)>> {
        let file = match fs::openat(&self.0, name, OPEN_FILE, Mode::empty()) {
            Ok(file) => file,
            // `NXIO` is a socket's answer.
            Err(Errno::NOENT | Errno::NXIO) => return Ok(None),
            Err(Errno::LOOP) => return Err(link_in_the_way(name)),
            Err(errno) => return Err(errno.into()),
        };
        let entry = Entry::of(&fs::fstat(&file)?);
        Ok((entry.kind == Kind::File).then(|| (File::from(file), entry.bytes)))
    }

    /// Makes the file `name`, which must not be there, for writing.
    pub(super) fn new_file(&self, name: &str) -> io::Result<File> {
        Ok(File::from(fs::openat(&self.0, name, OPEN_NEW, FILE_MODE)?))
    }

    /// What `name` is; `None` when there is nothing.
    pub(super) fn entry(&self, name: &str) -> io::Result<Option<Entry>> {
        match fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Entry::of(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The names in the folder, as they come, and what they are. Passes over what vanishes meanwhile, and over names
    /// that `wanted` does not want.
    pub(super) fn for_each(
        &self,
        wanted: impl Fn(&str) -> bool,
        mut each: impl FnMut(&str, Entry) -> io::Result<()>,
    ) -> io::Result<()> {
        for item in Dir::read_from(&self.0)? {
            let item = item?;
            // What is not UTF-8 is nothing that we made.
            let Ok(name) = item.file_name().to_str() else {
                continue;
            };
            if !wanted(name) {
                continue;
            }
            if let Some(entry) = self.entry(name)? {
                each(name, entry)?;
            }
        }
        Ok(())
    }

    /// Gives the file `from` the name `name` in the folder `to`, unless something has it, in one step.
    pub(super) fn rename_new(&self, from: &str, to: &Self, name: &str) -> io::Result<Moved> {
        match fs::renameat_with(&self.0, from, &to.0, name, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(Moved::Yes),
            Err(Errno::EXIST) => Ok(Moved::NameTaken),
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(Moved::Unsupported),
            Err(errno) => Err(errno.into()),
        }
    }

    /// As `rename_new`, by way of a second name: a link never replaces, on any file system that has links.
    pub(super) fn link_new(&self, from: &str, to: &Self, name: &str) -> io::Result<Moved> {
        match fs::linkat(&self.0, from, &to.0, name, AtFlags::empty()) {
            Ok(()) => {
                // Safe to ignore: the object is in its place, and the first name is a leftover that is swept some day.
                let _ = self.remove(from);
                Ok(Moved::Yes)
            }
            Err(Errno::EXIST) => Ok(Moved::NameTaken),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Removes the name of what is not a folder. Not being there, or being a folder, is success.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        match fs::unlinkat(&self.0, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT | Errno::ISDIR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Brings the folder's entries to the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        match fs::fsync(&self.0) {
            // Some network and user-space file systems have no such operation for folders. There is nothing more that
            // could be asked of them, and their names are the server's to keep.
            Ok(()) | Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Sets the folder's times to the present by the file system's clock, and gives that. Needs no room on a full disk.
    pub(super) fn touch(&self) -> io::Result<SystemTime> {
        let now = Timespec { tv_sec: 0, tv_nsec: fs::UTIME_NOW };
        fs::futimens(&self.0, &Timestamps { last_access: now, last_modification: now })?;
        Ok(Entry::of(&fs::fstat(&self.0)?).modified)
    }

    /// Whether the folder was removed while it was open.
    pub(super) fn is_removed(&self) -> io::Result<bool> {
        Ok(fs::fstat(&self.0)?.st_nlink == 0)
    }
}

impl Entry {
    fn of(stat: &Stat) -> Self {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Folder,
            FileType::Symlink => Kind::Link,
            _ => Kind::Other,
        };
        let seconds = Duration::from_secs(stat.st_mtime.unsigned_abs());
        let second = match stat.st_mtime {
            ..0 => UNIX_EPOCH.checked_sub(seconds),
            _ => UNIX_EPOCH.checked_add(seconds),
        };
        let modified = second
            .and_then(|second| second.checked_add(Duration::from_nanos(stat.st_mtime_nsec)))
            // Out of range only on a damaged file system; such a file is as old as can be.
            .unwrap_or(UNIX_EPOCH);
        // A size is never negative.
        Self { kind, bytes: u64::try_from(stat.st_size).unwrap_or(0), modified }
    }
}

pub(super) fn link_in_the_way(name: &str) -> io::Error {
    io::Error::other(format!("`{name}` is a symbolic link, and none is followed inside a repository"))
}
