//! A directory on the way down: opened within the one above, never through a symbolic link.

use rustix::fs::{Dir, Mode, OFlags, openat};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The directory of that name in another one.
pub(super) fn open(above: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    openat(above, name, FOLDER, Mode::empty())
}

/// The directory at the top, which alone may be a symbolic link.
pub(super) fn open_top(path: &Path) -> Result<OwnedFd, Errno> {
    openat(rustix::fs::CWD, path, FOLDER.difference(OFlags::NOFOLLOW), Mode::empty())
}

/// The names in a directory, as it gives them.
pub(super) fn names(directory: impl AsFd) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

/// The path of what has that name in a directory.
pub(super) fn path_below(directory: &[u8], name: &[u8]) -> Vec<u8> {
    match directory {
        [] => name.to_vec(),
        directory => [directory, b"/", name].concat(),
    }
}
