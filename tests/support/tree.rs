//! What a tree of files is: everything that a backup has to bring back.

#![allow(dead_code, clippy::unwrap_used)]

use rustix::fs::{XattrFlags, lgetxattr, llistxattr, lsetxattr};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// A file, as it is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub mode: u32,
    pub owner: (u32, u32),
    pub mtime: (i64, i64),
    pub contents: Vec<u8>,
    /// Kibibytes that it takes on the disk, where it has holes.
    pub held_kib: Option<u64>,
    /// The first path of the same file.
    pub first: Vec<u8>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// All files below a directory, and itself, by their paths below it.
pub fn seen(root: &Path) -> BTreeMap<Vec<u8>, Seen> {
    let mut found = BTreeMap::new();
    let mut firsts = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    let mut all = Vec::new();
    while let Some(path) = todo.pop() {
        if path.symlink_metadata().unwrap().is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        all.push(path);
    }
    all.sort();
    for path in all {
        let meta = path.symlink_metadata().unwrap();
        let kind = meta.file_type();
        let contents = match () {
            () if kind.is_file() => fs::read(&path).unwrap(),
            () if kind.is_symlink() => fs::read_link(&path).unwrap().into_os_string().into_vec(),
            () if kind.is_fifo() || kind.is_socket() || kind.is_dir() => Vec::new(),
            () => meta.rdev().to_le_bytes().to_vec(),
        };
        let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
        let has_holes = kind.is_file() && meta.blocks() * 512 < meta.len();
        let first = firsts.entry((meta.dev(), meta.ino())).or_insert_with(|| name.clone()).clone();
        let seen = Seen {
            mode: meta.mode(),
            owner: (meta.uid(), meta.gid()),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            contents,
            held_kib: has_holes.then(|| meta.blocks() / 2),
            first,
            xattrs: xattrs(&path),
        };
        found.insert(name, seen);
    }
    found
}

fn xattrs(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut list = vec![0u8; 64 << 10];
    let len = llistxattr(path, &mut list).unwrap_or(0);
    let names = list[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let mut value = vec![0; 64 << 10];
        let len = lgetxattr(path, name, &mut value).unwrap();
        value[..len].to_vec()
    };
    let mut found: Vec<_> = names.map(|name| (name.to_vec(), value(name))).collect();
    found.sort();
    found
}

pub fn put_xattr(path: &Path, name: &str, value: &[u8]) {
    lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
}

/// An access control list that gives user 12345 the right to read.
pub fn put_acl(path: &Path) {
    let entry = |tag: u16, rights: u16, id: u32| {
        [&tag.to_le_bytes()[..], &rights.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    let all = u32::MAX;
    let entries =
        [entry(1, 6, all), entry(2, 4, 12345), entry(4, 4, all), entry(16, 4, all), entry(32, 0, all)];
    let value = [&2u32.to_le_bytes()[..], &entries.concat()].concat();
    put_xattr(path, "system.posix_acl_access", &value);
}
