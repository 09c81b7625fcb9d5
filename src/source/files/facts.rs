//! What a row says of a file besides its contents.

use crate::content::index::{Change, Extra, Kind, Row, Time};
use minicbor::bytes::ByteVec;
use rustix::fs::{FileType, Stat, lgetxattr, llistxattr, major, minor};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

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

/// Extended attributes of `name` in `directory`, sorted; `None` if there are none. A symbolic link is not followed.
pub(super) fn xattrs(directory: &OwnedFd, name: &[u8]) -> io::Result<Option<Vec<(ByteVec, ByteVec)>>> {
    let path = [format!("/proc/self/fd/{}/", directory.as_raw_fd()).as_bytes(), name].concat();
    let mut list = vec![0u8; 1024];
    let len = loop {
        match llistxattr(&*path, &mut list) {
            Ok(len) => break len,
            Err(rustix::io::Errno::RANGE) if list.len() < XATTR_BYTES_MAX => list.resize(XATTR_BYTES_MAX, 0),
            Err(rustix::io::Errno::NOTSUP) => return Ok(None),
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
        match lgetxattr(&*path, name, &mut value) {
            Ok(len) => {
                let value = value.get(..len).unwrap_or_default().to_vec();
                found.push((ByteVec::from(name.to_vec()), ByteVec::from(value)));
            }
            // Gone since, or for the system alone.
            Err(rustix::io::Errno::NODATA | rustix::io::Errno::PERM | rustix::io::Errno::ACCESS) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok((!found.is_empty()).then_some(found))
}

#[cfg(test)]
mod tests {
    use super::*;

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
