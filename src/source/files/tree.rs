//! A tree that is written: each file gets its name once all of it is right, and no step leads through a symbolic link.
//!
//! Every directory on the way is opened by its name within the one above it, and a name that became a link is refused.
//! Directories are made for their owner alone; what may be done with them, and their times, are set at the very end,
//! from the bottom up.

use super::facts::{mtime, names};
use super::meta::{Identities, Ownership, apply};
use super::there::Lying;
use crate::content::index::{Kind, Row};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Stat, linkat, makedev, mkdirat, mknodat, openat, renameat, statat,
    symlinkat, unlinkat,
};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// What is written to.
pub struct TreeWriter {
    root: Arc<OwnedFd>,
    /// The directory used last.
    last: Option<(Vec<u8>, Arc<OwnedFd>)>,
    /// Directories whose modes and times are still to be set, in the order of the index.
    directories: Vec<Row>,
    identities: Identities,
}

/// A file that has another name until it is right. Dropping it removes it.
pub struct NewFile {
    directory: Arc<OwnedFd>,
    unfinished: Vec<u8>,
    name: Vec<u8>,
    file: File,
    is_kept: bool,
}

/// How a directory is opened on the way down.
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

fn taken(what: &str) -> io::Error {
    io::Error::other(format!("a {what} is in its place"))
}

impl TreeWriter {
    /// Opens the directory below which everything goes. Links on the way to it are followed: the caller named it.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(directory: &Path, ownership: Ownership) -> io::Result<Self> {
        let flags = FOLDER.difference(OFlags::NOFOLLOW);
        let root = Arc::new(openat(CWD, directory, flags, Mode::empty())?);
        let read = |path| std::fs::read(path).unwrap_or_default();
        let known = |path| names(&read(path)).into_iter().map(|(number, name)| (name, number)).collect();
        let identities = Identities { ownership, users: known("/etc/passwd"), groups: known("/etc/group") };
        Ok(Self { root, last: None, directories: Vec::new(), identities })
    }

    /// The directory of that path, which is below the root.
    fn folder(&mut self, path: &[u8]) -> io::Result<Arc<OwnedFd>> {
        if path.is_empty() {
            return Ok(Arc::clone(&self.root));
        }
        let (mut at, mut rest) = (Arc::clone(&self.root), path);
        if let Some((known, directory)) = &self.last
            && let Some(below) = path.strip_prefix(known.as_slice())
            && matches!(below.first(), None | Some(b'/'))
        {
            (at, rest) = (Arc::clone(directory), below.strip_prefix(b"/").unwrap_or(below));
        }
        for name in rest.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            at = Arc::new(openat(&*at, name, FOLDER, Mode::empty())?);
        }
        self.last = Some((path.to_vec(), Arc::clone(&at)));
        Ok(at)
    }

    /// The directory that a path is in, and its name there.
    fn place<'a>(&mut self, path: &'a [u8]) -> io::Result<(Arc<OwnedFd>, &'a [u8])> {
        let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (path.get(..at).unwrap_or_default(), path.get(at + 1..).unwrap_or_default()),
            None => (&[][..], path),
        };
        Ok((self.folder(parent)?, name))
    }

    /// What is there already.
    ///
    /// # Errors
    /// When that cannot be told.
    pub fn look(&mut self, path: &[u8]) -> io::Result<Option<Stat>> {
        let looked = self
            .place(path)
            .and_then(|(directory, name)| Ok(statat(&*directory, name, AtFlags::SYMLINK_NOFOLLOW)?));
        match looked {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a directory, for its owner alone; one that is there already stays as it is until the end.
    ///
    /// # Errors
    /// When it cannot be made, or something else is in its place.
    pub fn directory(&mut self, row: &Row) -> io::Result<()> {
        if row.path.is_empty() {
            return Ok(());
        }
        let (directory, name) = self.place(&row.path)?;
        match mkdirat(&*directory, name, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let stat = statat(&*directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
                match FileType::from_raw_mode(stat.st_mode) {
                    FileType::Directory => {}
                    FileType::Symlink => return Err(taken("symbolic link")),
                    _ => return Err(taken("file")),
                }
            }
            Err(error) => return Err(error.into()),
        }
        self.directories.push(row.clone());
        Ok(())
    }

    /// Makes the directories that a path is in, where they are not there.
    ///
    /// # Errors
    /// When one cannot be made, or something else is in its place.
    pub fn make_way(&mut self, path: &[u8]) -> io::Result<()> {
        let Some(end) = path.iter().rposition(|byte| *byte == b'/') else { return Ok(()) };
        let parent = path.get(..end).unwrap_or_default();
        if self.last.as_ref().is_some_and(|(known, _)| known == parent) {
            return Ok(());
        }
        let slashes = parent.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in slashes.chain([parent.len()]) {
            let (directory, name) = self.place(parent.get(..end).unwrap_or_default())?;
            let mode = Mode::from_raw_mode(0o777);
            match mkdirat(&*directory, name, mode) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.folder(parent).map(drop)
    }

    /// A new file, which is to take that path.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn file(&mut self, path: &[u8]) -> io::Result<NewFile> {
        let (directory, name) = self.place(path)?;
        let unfinished = unfinished()?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&*directory, &*unfinished, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(NewFile { directory, unfinished, name: name.to_vec(), file: file.into(), is_kept: false })
    }

    /// Gives the file its length, owner, attributes, mode and times, and then its name, in the place of what has it.
    ///
    /// # Errors
    /// When any of that fails: what was there before is still there. Attributes that could not be set are in the
    /// answer.
    pub fn finish_file(&self, mut new: NewFile, row: &Row) -> io::Result<Vec<String>> {
        if let Kind::File { size, .. } = row.kind {
            new.file.set_len(size)?;
        }
        let lost = apply(&new.file, row, &self.identities)?;
        renameat(&*new.directory, &*new.unfinished, &*new.directory, &*new.name)?;
        new.is_kept = true;
        Ok(lost)
    }

    /// Opens a file that is there, to be compared.
    ///
    /// # Errors
    /// When it is no regular file, or cannot be opened.
    pub fn existing(&mut self, path: &[u8]) -> io::Result<File> {
        let (directory, name) = self.place(path)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file = File::from(openat(&*directory, name, flags, Mode::empty())?);
        if file.metadata()?.is_file() { Ok(file) } else { Err(taken("special file")) }
    }

    /// Gives a file that is there owner, attributes, mode and times of the row.
    ///
    /// # Errors
    /// When that fails.
    pub fn adorn(&mut self, row: &Row) -> io::Result<Vec<String>> {
        let file = self.existing(&row.path)?;
        apply(&file, row, &self.identities)
    }

    /// Makes what is neither file nor directory: under another name first, so that what is there is replaced at once.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn other(&mut self, row: &Row) -> io::Result<Vec<String>> {
        let first = match &row.kind {
            Kind::HardLink(first) => {
                let (directory, name) = self.place(first)?;
                Some((directory, name.to_vec()))
            }
            _ => None,
        };
        let (directory, name) = self.place(&row.path)?;
        let unfinished = unfinished()?;
        let at = &*directory;
        let node = |kind, device| mknodat(at, &*unfinished, kind, Mode::RUSR | Mode::WUSR, device);
        match &row.kind {
            Kind::HardLink(_) => {
                let Some((from, first)) = first else { return Ok(Vec::new()) };
                linkat(&*from, &*first, at, &*unfinished, AtFlags::empty())?;
                // Two names of one file are not renamed over each other: the new name has to go by hand.
                let renamed = renameat(at, &*unfinished, at, name);
                // Safe to ignore because it is gone but in that one case.
                let _ = unlinkat(at, &*unfinished, AtFlags::empty());
                return Ok(renamed.map(|()| Vec::new())?);
            }
            Kind::Symlink(text) => symlinkat(text.as_slice(), at, &*unfinished)?,
            Kind::Fifo => node(FileType::Fifo, 0)?,
            Kind::Socket => node(FileType::Socket, 0)?,
            Kind::CharDevice(major, minor) => node(FileType::CharacterDevice, makedev(*major, *minor))?,
            Kind::BlockDevice(major, minor) => node(FileType::BlockDevice, makedev(*major, *minor))?,
            Kind::File { .. } | Kind::Directory | Kind::Unreadable | Kind::Vanished => return Ok(Vec::new()),
        }
        let done = self.identities.apply_to_name(at, &unfinished, row);
        let done = done.and_then(|lost| Ok(renameat(at, &*unfinished, at, name).map(|()| lost)?));
        if done.is_err() {
            // Safe to ignore because the error is told, and the name says what was left.
            let _ = unlinkat(at, &*unfinished, AtFlags::empty());
        }
        done
    }

    /// Removes what lies there: a directory only if nothing is in it any more.
    ///
    /// # Errors
    /// When it is there, and cannot be removed.
    pub fn remove(&mut self, lying: &Lying) -> io::Result<()> {
        let flags = if lying.is_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        let (directory, name) = self.place(&lying.path)?;
        match unlinkat(&*directory, name, flags) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Sets owners, attributes, modes and times of directories, from the bottom up; tells what went wrong with which.
    pub fn finish(mut self) -> Vec<(Vec<u8>, String)> {
        let mut wrong = Vec::new();
        self.last = None;
        while let Some(row) = self.directories.pop() {
            let done = self.folder(&row.path).and_then(|directory| {
                self.last = None;
                apply(&*directory, &row, &self.identities)
            });
            match done {
                Ok(lost) => wrong.extend(lost.into_iter().map(|what| (row.path.clone(), what))),
                Err(error) => wrong.push((row.path, error.to_string())),
            }
        }
        wrong
    }
}

impl NewFile {
    /// Writes bytes at an offset. What is not written is a hole.
    ///
    /// # Errors
    /// When that fails.
    pub fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_kept {
            // Safe to ignore because its name says what it is.
            let _ = unlinkat(&*self.directory, &*self.unfinished, AtFlags::empty());
        }
    }
}

fn unfinished() -> io::Result<Vec<u8>> {
    let mut random = [0u8; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(format!(".dumpvault-{:016x}", u64::from_le_bytes(random)).into_bytes())
}

/// Whether a file that is there has the size and the time of the row.
pub fn seems_same(row: &Row, stat: &Stat) -> bool {
    let Kind::File { size, .. } = row.kind else { return false };
    FileType::from_raw_mode(stat.st_mode).is_file()
        && u64::try_from(stat.st_size) == Ok(size)
        && mtime(stat) == row.mtime
}

/// Whether what is there was modified before the row's file.
pub fn is_older(row: &Row, stat: &Stat) -> bool {
    mtime(stat) < row.mtime
}

/// Whether what is there is a directory.
pub fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode).is_dir()
}
