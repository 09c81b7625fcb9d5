//! What a row says of a file besides its contents.

use crate::content::index::{Change, Extra, Kind, Row, Time};
use minicbor::bytes::ByteVec;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, fgetxattr, flistxattr, lgetxattr, llistxattr, major, minor,
    openat, statat,
};
use rustix::io::Errno;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// Bytes of an attribute's value at most, and of the list of their names: what Linux allows.
const XATTR_BYTES_MAX: usize = 64 << 10;

/// Names of owners, as the system's files have them.
#[derive(Debug, Default)]
pub(super) struct Owners {
    users: HashMap<u32, Vec<u8>>,
    groups: HashMap<u32, Vec<u8>>,
}

impl Owners {
    /// Those of this system; without those that cannot be read.
    pub(super) fn of_system() -> Self {
        let read = |path| std::fs::read(path).unwrap_or_default();
        Self { users: names(&read("/etc/passwd")), groups: names(&read("/etc/group")) }
    }

    fn of(&self, uid: u32, gid: u32) -> Option<(ByteVec, ByteVec)> {
        let (user, group) = (self.users.get(&uid), self.groups.get(&gid));
        let name = |name: Option<&Vec<u8>>| ByteVec::from(name.cloned().unwrap_or_default());
        (user.is_some() || group.is_some()).then(|| (name(user), name(group)))
    }
}

/// Lines `name:…:number:…`.
pub(super) fn names(file: &[u8]) -> HashMap<u32, Vec<u8>> {
    let of_line = |line: &[u8]| {
        let mut fields = line.split(|byte| *byte == b':');
        let name = fields.next()?.to_vec();
        let number = std::str::from_utf8(fields.nth(1)?).ok()?.parse().ok()?;
        Some((number, name))
    };
    // The first name of a number counts, as it does to the system.
    let mut names = HashMap::new();
    for (number, name) in file.split(|byte| *byte == b'\n').filter_map(of_line) {
        names.entry(number).or_insert(name);
    }
    names
}

/// What `stat` says, as a row of that kind has it.
pub(super) fn row(path: &[u8], kind: Kind, stat: &Stat, owners: &Owners) -> Row {
    let (uid, gid) = (stat.st_uid, stat.st_gid);
    let extra = Extra { names: owners.of(uid, gid), ..Extra::default() };
    let mode = stat.st_mode & 0o7777;
    Row {
        path: path.to_vec(),
        kind,
        mode,
        uid,
        gid,
        mtime: mtime(stat),
        is_torn: false,
        is_old: false,
        extra,
    }
}

/// When the contents were changed last.
pub(super) fn mtime(stat: &Stat) -> Time {
    time(stat.st_mtime, stat.st_mtime_nsec)
}

fn ctime(stat: &Stat) -> Time {
    time(stat.st_ctime, stat.st_ctime_nsec)
}

fn time(seconds: impl Into<i64>, nanos: impl TryInto<u32>) -> Time {
    // Some file systems say what is no nanosecond.
    let nanos = nanos.try_into().unwrap_or_default();
    Time { seconds: seconds.into(), nanos: if nanos < 1_000_000_000 { nanos } else { 0 } }
}

/// What tells whether it changes: clean if it changed last before that second.
pub(super) fn change(stat: &Stat, before: i64) -> Change {
    let is_clean = mtime(stat).seconds.max(ctime(stat).seconds) < before;
    Change { ctime: ctime(stat), inode: stat.st_ino, is_clean }
}

/// Whether both say the same of contents.
pub(super) fn is_same(one: &Stat, other: &Stat) -> bool {
    let of = |stat: &Stat| (stat.st_size, mtime(stat), ctime(stat), stat.st_ino);
    of(one) == of(other)
}

/// What is no regular file, link or directory; `None` for those.
pub(super) fn special(stat: &Stat) -> Option<Kind> {
    let device = |kind: fn(u32, u32) -> Kind| kind(major(stat.st_rdev), minor(stat.st_rdev));
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice => Some(device(Kind::CharDevice)),
        FileType::BlockDevice => Some(device(Kind::BlockDevice)),
        FileType::Fifo => Some(Kind::Fifo),
        FileType::Socket => Some(Kind::Socket),
        _ => None,
    }
}

/// Names and values of extended attributes.
type Attributes = Vec<(ByteVec, ByteVec)>;

/// Where the system shows this process's open files.
const OPEN_FILES: &str = "/proc/self/fd";

/// Extended attributes of `name` in `directory`, sorted; `None` if there are none. A symbolic link is not followed.
pub(super) fn xattrs(directory: &OwnedFd, name: &[u8]) -> io::Result<Option<Attributes>> {
    xattrs_by(OPEN_FILES, directory, name)
}

fn xattrs_by(open_files: &str, directory: &OwnedFd, name: &[u8]) -> io::Result<Option<Attributes>> {
    let path = [format!("{open_files}/{}/", directory.as_raw_fd()).as_bytes(), name].concat();
    let listed = attributes(|list| llistxattr(&*path, list), |key, value| lgetxattr(&*path, key, value));
    match listed {
        // A chroot or container without /proc.
        Err(error) if error.kind() == io::ErrorKind::NotFound && !Path::new(open_files).exists() => {
            xattrs_of_opened(directory, name)
        }
        listed => listed,
    }
}

/// The same by opening it. What is not opened for that has none that a user sets.
fn xattrs_of_opened(directory: &OwnedFd, name: &[u8]) -> io::Result<Option<Attributes>> {
    let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if !matches!(FileType::from_raw_mode(stat.st_mode), FileType::RegularFile | FileType::Directory) {
        return Ok(None);
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = openat(directory, name, flags, Mode::empty())?;
    attributes(|list| flistxattr(&file, list), |key, value| fgetxattr(&file, key, value))
}

fn attributes(
    list_into: impl Fn(&mut [u8]) -> Result<usize, Errno>,
    get_into: impl Fn(&[u8], &mut [u8]) -> Result<usize, Errno>,
) -> io::Result<Option<Attributes>> {
    let mut list = vec![0u8; 1024];
    let len = loop {
        match list_into(&mut list) {
            Ok(len) => break len,
            Err(Errno::RANGE) if list.len() < XATTR_BYTES_MAX => list.resize(XATTR_BYTES_MAX, 0),
            Err(Errno::NOTSUP) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    };
    list.truncate(len);
    let mut names: Vec<&[u8]> = list.split(|byte| *byte == 0).filter(|name| !name.is_empty()).collect();
    if names.is_empty() {
        return Ok(None);
    }
    names.sort_unstable();
    let mut value = vec![0; XATTR_BYTES_MAX];
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        match get_into(name, &mut value) {
            Ok(len) => {
                let value = value.get(..len).unwrap_or_default().to_vec();
                found.push((ByteVec::from(name.to_vec()), ByteVec::from(value)));
            }
            // Gone since, or for the system alone.
            Err(Errno::NODATA | Errno::PERM | Errno::ACCESS) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok((!found.is_empty()).then_some(found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{XattrFlags, lsetxattr};
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn given_no_proc_then_the_attributes_of_files_and_folders_are_the_same_and_links_have_none() {
        let temp = tempfile::tempdir().unwrap();
        let path = |name: &str| temp.path().join(name);
        std::fs::write(path("file"), b"x").unwrap();
        std::fs::create_dir(path("folder")).unwrap();
        std::os::unix::fs::symlink("file", path("link")).unwrap();
        for name in ["file", "folder"] {
            lsetxattr(path(name), "user.dumpvault", name.as_bytes(), XattrFlags::empty()).unwrap();
        }
        std::fs::write(path("plain"), b"x").unwrap();
        let directory: OwnedFd = std::fs::File::open(temp.path()).unwrap().into();
        for (name, has_some) in [("file", true), ("folder", true), ("plain", false), ("link", false)] {
            let without = xattrs_by("/nonexistent", &directory, name.as_bytes()).unwrap();
            let with = xattrs(&directory, std::ffi::OsStr::new(name).as_bytes()).unwrap();
            assert_eq!((without.is_some(), with.is_some()), (has_some, has_some), "{name}");
            assert!(without == with, "{name}");
        }
        let gone = xattrs_by("/nonexistent", &directory, b"gone").unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn owners_have_the_first_name_of_their_number() {
        let users =
            names(b"root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:\n# none\nbackup:x:34:34::/:\nbad:x:y:\n");
        assert_eq!(users.get(&0).map(Vec::as_slice), Some(&b"root"[..]));
        let owners = Owners { users, groups: HashMap::new() };
        assert_eq!(owners.of(34, 7), Some((b"backup".to_vec().into(), Vec::new().into())));
        assert_eq!(owners.of(35, 7), None);
    }
}
