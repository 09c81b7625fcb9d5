//! What lies in directories already, in the order of the index. No symbolic link is followed but one on the way to the
//! top, and nothing that is mounted is entered.

use super::folder;
use rustix::fs::{AtFlags, FileType, fstat, statat};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::vec::IntoIter;

/// Something that lies there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lying {
    /// Its path below the top.
    pub path: Vec<u8>,
    /// It is a directory.
    pub is_directory: bool,
}

/// Goes through directories and what is in them.
pub struct There {
    top: OwnedFd,
    roots: IntoIter<Vec<u8>>,
    levels: Vec<Level>,
}

/// A directory on the way.
struct Level {
    directory: OwnedFd,
    path: Vec<u8>,
    names: IntoIter<Vec<u8>>,
    device: u64,
}

/// What is not there, or is no directory, holds nothing.
fn if_there(opened: Result<OwnedFd, Errno>) -> io::Result<Option<OwnedFd>> {
    match opened {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl There {
    /// Below `top`, goes through what is in each of the `roots`, which are in the order of the index and apart from
    /// each other. A root itself is not given.
    ///
    /// # Errors
    /// When the top cannot be opened.
    pub fn below(top: &Path, roots: Vec<Vec<u8>>) -> io::Result<Self> {
        let top = folder::open_top(top)?;
        Ok(Self { top, roots: roots.into_iter(), levels: Vec::new() })
    }

    /// The next, which is in the directory that was given last, if it was one and holds something.
    ///
    /// # Errors
    /// When a directory cannot be read.
    pub fn advance(&mut self) -> io::Result<Option<Lying>> {
        loop {
            let Some(level) = self.levels.last_mut() else {
                let Some(root) = self.roots.next() else { return Ok(None) };
                self.enter_root(root)?;
                continue;
            };
            let Some(name) = level.names.next() else {
                self.levels.pop();
                continue;
            };
            let path = folder::path_below(&level.path, &name);
            let stat = match statat(&level.directory, &*name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            let is_directory = FileType::from_raw_mode(stat.st_mode).is_dir();
            let device = level.device;
            if is_directory && stat.st_dev == device {
                let opened = folder::open(&level.directory, &name);
                if let Some(directory) = if_there(opened)? {
                    self.levels.push(Level::new(directory, path.clone(), device)?);
                }
            }
            return Ok(Some(Lying { path, is_directory }));
        }
    }

    fn enter_root(&mut self, root: Vec<u8>) -> io::Result<()> {
        let mut directory = folder::open(&self.top, b".")?;
        for name in root.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            let Some(next) = if_there(folder::open(&directory, name))? else {
                return Ok(());
            };
            directory = next;
        }
        let device = fstat(&directory)?.st_dev;
        self.levels.push(Level::new(directory, root, device)?);
        Ok(())
    }
}

impl Level {
    fn new(directory: OwnedFd, path: Vec<u8>, device: u64) -> io::Result<Self> {
        let mut names = folder::names(&directory)?;
        names.sort_unstable();
        Ok(Self { directory, path, names: names.into_iter(), device })
    }
}
