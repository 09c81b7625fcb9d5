//! Whether a configuration file is believed: who owns it, and who may write to it and its folder.
//!
//! Such a file names commands, and they run as whoever calls dumpvault. So it counts only if nobody else can have
//! written it: file and folder belong to root or to the effective user, and neither others nor a group may write to
//! them. What lies on a read-only file system nobody writes to, whatever its mode says; containers get their settings
//! that way.

use super::ConfigError;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A configuration is text for people; what is longer is something else.
const BYTES_MAX: u64 = 16 << 20;

/// What is wrong with a file's or folder's owner or mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// Neither root's nor the caller's.
    #[error("it belongs to another user (uid {uid})")]
    Owner {
        /// Whose it is.
        uid: u32,
    },
    /// Its mode lets a group or everybody write.
    #[error("other users may write to it (mode {mode:03o})")]
    Mode {
        /// The permission bits.
        mode: u32,
    },
}

/// Reads a file that only root or the user `uid` can have written. `None` when it is not there.
///
/// # Errors
/// [`ConfigError::Untrusted`] when somebody else could have; [`ConfigError::Read`] when it cannot be read.
pub(super) fn read(path: &Path, uid: u32) -> Result<Option<String>, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed(source)),
    };
    // Of the open file: what has its name may be another one by now.
    let read_only = rustix::fs::fstatvfs(&file).is_ok_and(|disk| is_read_only(&disk));
    judge(path, path, &file.metadata().map_err(failed)?, read_only, uid)?;
    for folder in folders(path) {
        let read_only = rustix::fs::statvfs(&folder).is_ok_and(|disk| is_read_only(&disk));
        judge(path, &folder, &folder.metadata().map_err(failed)?, read_only, uid)?;
    }
    let mut text = String::new();
    file.by_ref().take(BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    Ok(Some(text))
}

/// The folder that the path names, and that of the file which it leads to, where that is another.
fn folders(path: &Path) -> Vec<PathBuf> {
    let parent = |path: &Path| match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_owned(),
        None => PathBuf::from("/"),
    };
    let mut folders = vec![parent(path)];
    // What has no path of its own, such as a pipe, lies in no other folder.
    if let Ok(real) = path.canonicalize() {
        folders.push(parent(&real));
    }
    folders
}

fn is_read_only(disk: &rustix::fs::StatVfs) -> bool {
    disk.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY)
}

fn judge(file: &Path, place: &Path, meta: &Metadata, read_only: bool, uid: u32) -> Result<(), ConfigError> {
    match distrust(meta.uid(), meta.mode(), uid) {
        None => Ok(()),
        Some(Distrust::Mode { .. }) if read_only => Ok(()),
        Some(reason) => {
            Err(ConfigError::Untrusted { path: file.to_owned(), place: place.to_owned(), reason })
        }
    }
}

/// Why the user `uid` must not believe what belongs to `owner` and has this mode; `None` when it may.
fn distrust(owner: u32, mode: u32, uid: u32) -> Option<Distrust> {
    if owner != 0 && owner != uid {
        return Some(Distrust::Owner { uid: owner });
    }
    (mode & 0o022 != 0).then_some(Distrust::Mode { mode: mode & 0o1777 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn only_root_and_the_user_are_believed_and_only_where_nobody_else_writes() {
        for (owner, mode, uid, good) in [
            (0, 0o644, 1000, true),
            (1000, 0o600, 1000, true),
            (0, 0o755, 0, true),
            (1000, 0o600, 0, false),
            (1001, 0o600, 1000, false),
            (1000, 0o664, 1000, false),
            (0, 0o646, 1000, false),
            (0, 0o1777, 0, false),
        ] {
            assert_eq!(distrust(owner, mode, uid).is_none(), good, "{owner} {mode:o} {uid}");
        }
    }

    #[test]
    fn the_folder_of_a_link_and_of_what_it_leads_to_both_count() {
        let dir = tempfile::tempdir().unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let (near, far) = (dir.path().join("near"), dir.path().join("far"));
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        for folder in [&near, &far] {
            std::fs::create_dir(folder).unwrap();
            mode(folder, 0o755);
        }
        let (link, file) = (near.join("c.toml"), far.join("real.toml"));
        std::fs::write(&file, "x").unwrap();
        mode(&file, 0o644);
        symlink(&file, &link).unwrap();
        assert_eq!(read(&link, uid).unwrap().as_deref(), Some("x"));
        for open in [&near, &far, &file] {
            let before = open.metadata().unwrap().mode();
            mode(open, 0o777);
            let error = read(&link, uid).unwrap_err();
            assert!(
                matches!(&error, ConfigError::Untrusted { reason: Distrust::Mode { .. }, .. }),
                "{error}"
            );
            mode(open, before & 0o777);
        }
        assert_eq!(read(&far.join("absent"), uid).unwrap(), None);
    }
}
