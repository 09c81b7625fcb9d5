//! New files that nobody else can have had a hand in.
//!
//! A folder may be one that others write to, such as `/tmp`. A name that can be guessed may be there already: as a file
//! of somebody else, who then reads or keeps what is written, or as a link to a file of ours, which is then
//! overwritten. So a new file gets a random name, is made by this very call or not at all, is its owner's alone, and
//! takes its final name once it is finished.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A file that is being written. Dropping it removes it, unless it was given its final name.
#[derive(Debug)]
pub(crate) struct Unfinished {
    file: File,
    path: PathBuf,
    is_kept: bool,
}

impl Unfinished {
    /// A new, empty file in `folder`; its name is `front` and then random. Only its owner may read and write it.
    ///
    /// # Errors
    /// When the folder cannot be written to, or there is no randomness.
    pub(crate) fn within(folder: &Path, front: impl Into<OsString>) -> io::Result<Self> {
        let mut random = [0u8; 16];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let mut name = front.into();
        name.push(format!("{:032x}", u128::from_le_bytes(random)));
        let path = folder.join(name);
        let no_follow = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).custom_flags(no_follow).open(&path)?;
        Ok(Self { file, path, is_kept: false })
    }

    /// A new file beside `path`, hidden, and named so that a leftover tells what it would have become.
    ///
    /// # Errors
    /// As [`Unfinished::within`]; or when `path` ends in no name.
    pub(crate) fn beside(path: &Path) -> io::Result<Self> {
        let mut front = OsString::from(".");
        front.push(path.file_name().ok_or(io::ErrorKind::InvalidFilename)?);
        front.push(".partial-");
        Self::within(path.parent().unwrap_or(Path::new("")), front)
    }

    /// The file, to be written to.
    pub(crate) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Where it lies until it is finished.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Brings it to the disk and gives it the name `path`, in the place of what has that name. A link there is
    /// replaced, not followed.
    ///
    /// # Errors
    /// When either fails; the file is then gone.
    pub(crate) fn finish(self, path: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        self.finish_unsynced(path)
    }

    /// As [`Unfinished::finish`], for a file that may be empty or gone after a power cut.
    ///
    /// # Errors
    /// As [`Unfinished::finish`].
    pub(crate) fn finish_unsynced(mut self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)?;
        self.is_kept = true;
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.is_kept {
            // Safe to ignore because the file's name says that it is not whole.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::{MetadataExt, symlink};

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn given_a_link_under_the_final_name_then_it_is_replaced_and_what_it_points_to_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (victim, path) = (dir.path().join("victim"), dir.path().join("out"));
        fs::write(&victim, "precious").unwrap();
        symlink(&victim, &path).unwrap();
        let mut file = Unfinished::beside(&path).unwrap();
        assert_eq!(fs::metadata(file.path()).unwrap().mode() & 0o777, 0o600);
        file.file().write_all(b"new").unwrap();
        file.finish(&path).unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
        assert!(path.symlink_metadata().unwrap().is_file());
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn given_an_error_then_nothing_is_left_and_no_two_names_are_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let (one, two) = (Unfinished::beside(&path).unwrap(), Unfinished::beside(&path).unwrap());
        assert_ne!(one.path(), two.path());
        drop(one);
        assert_eq!(names(dir.path()).len(), 1);
        // A folder cannot be replaced by a file.
        fs::create_dir(&path).unwrap();
        two.finish(&path).unwrap_err();
        assert_eq!(names(dir.path()), ["out"]);
    }
}
