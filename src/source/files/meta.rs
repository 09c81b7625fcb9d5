//! Owner, attributes, mode and times of a file, as its row has them.

use crate::content::index::{Kind, Row};
use rustix::fs::{
    AtFlags, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chmodat, chownat, fchmod, fchown,
    fsetxattr, futimens, lsetxattr, utimensat,
};
use rustix::io::Errno;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// What becomes of owners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// Names, and numbers where this system does not know the name.
    Names,
    /// Numbers.
    Numbers,
    /// Everything belongs to the user that restores.
    None,
}

/// Who owns what, here.
pub(super) struct Identities {
    pub ownership: Ownership,
    pub users: HashMap<Vec<u8>, u32>,
    pub groups: HashMap<Vec<u8>, u32>,
}

impl Identities {
    fn of(&self, row: &Row) -> Option<(Uid, Gid)> {
        let (mut uid, mut gid) = (row.uid, row.gid);
        match (self.ownership, &row.extra.names) {
            (Ownership::None, _) => return None,
            (Ownership::Names, Some((user, group))) => {
                uid = self.users.get(user.as_slice()).copied().unwrap_or(uid);
                gid = self.groups.get(group.as_slice()).copied().unwrap_or(gid);
            }
            _ => {}
        }
        // The number that says "leave it".
        (uid != u32::MAX && gid != u32::MAX).then(|| (Uid::from_raw(uid), Gid::from_raw(gid)))
    }

    /// As [`apply`], for what is not opened: links, pipes, devices.
    pub(super) fn apply_to_name(
        &self,
        directory: impl AsFd,
        name: &[u8],
        row: &Row,
    ) -> io::Result<Vec<String>> {
        let directory = directory.as_fd();
        if let Some((uid, gid)) = self.of(row) {
            chownat(directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        let path = [format!("/proc/self/fd/{}/", directory.as_raw_fd()).as_bytes(), name].concat();
        let lost = attributes(row, |key, value| lsetxattr(&*path, key, value, XattrFlags::empty()));
        if !matches!(row.kind, Kind::Symlink(_)) {
            chmodat(directory, name, Mode::from_raw_mode(row.mode), AtFlags::empty())?;
        }
        utimensat(directory, name, &times(row), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(lost)
    }
}

/// Sets owner, then attributes, which a change of the owner takes away, then mode and times. Attributes that cannot be
/// set are told.
pub(super) fn apply(file: impl AsFd, row: &Row, identities: &Identities) -> io::Result<Vec<String>> {
    let file = file.as_fd();
    if let Some((uid, gid)) = identities.of(row) {
        fchown(file, Some(uid), Some(gid))?;
    }
    let lost = attributes(row, |key, value| fsetxattr(file, key, value, XattrFlags::empty()));
    fchmod(file, Mode::from_raw_mode(row.mode))?;
    futimens(file, &times(row))?;
    Ok(lost)
}

fn attributes(row: &Row, set: impl Fn(&[u8], &[u8]) -> Result<(), Errno>) -> Vec<String> {
    let mut lost = Vec::new();
    for (key, value) in row.extra.xattrs.iter().flatten() {
        if let Err(error) = set(key, value) {
            lost.push(format!("attribute `{}`: {error}", String::from_utf8_lossy(key)));
        }
    }
    lost
}

fn times(row: &Row) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: row.mtime.seconds, tv_nsec: row.mtime.nanos.into() },
    }
}
