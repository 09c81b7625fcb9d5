//! What is left out: patterns as git has them, and age.

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A pattern makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("invalid pattern `{pattern}`: {reason}")]
pub struct ChoiceError {
    /// The pattern.
    pub pattern: String,
    /// Why.
    pub reason: String,
}

/// Which files are left out.
#[derive(Debug, Clone)]
pub struct Choice {
    matcher: Gitignore,
    newer_than: Option<i64>,
}

impl Default for Choice {
    fn default() -> Self {
        Self { matcher: Gitignore::empty(), newer_than: None }
    }
}

impl Choice {
    /// Leaves out what fits one of these patterns, each in the way of a line in a `.gitignore` of `/`.
    ///
    /// # Errors
    /// When one makes no sense.
    pub fn excluding(patterns: &[String]) -> Result<Self, ChoiceError> {
        let mut builder = GitignoreBuilder::new("/");
        let wrong = |pattern: &str, error: ignore::Error| ChoiceError {
            pattern: pattern.to_owned(),
            reason: error.to_string(),
        };
        for pattern in patterns {
            builder.add_line(None, pattern).map_err(|error| wrong(pattern, error))?;
        }
        let matcher = builder.build().map_err(|error| wrong(&patterns.join(", "), error))?;
        Ok(Self { matcher, newer_than: None })
    }

    /// Leaves out files, not directories, that were changed last before this second since the epoch.
    pub fn newer_than(self, seconds: i64) -> Self {
        Self { newer_than: Some(seconds), ..self }
    }

    /// Whether the file of that path, without its first slash, is left out.
    pub(super) fn leaves_out(&self, path: &[u8], is_directory: bool, mtime: i64) -> bool {
        if !is_directory && self.newer_than.is_some_and(|since| mtime < since) {
            return true;
        }
        let path = Path::new(OsStr::from_bytes(path));
        matches!(self.matcher.matched(path, is_directory), Match::Ignore(_))
    }
}

impl Choice {
    /// Whether a pattern fits the path, without its first slash.
    pub fn fits_itself(&self, path: &[u8], is_directory: bool) -> bool {
        self.matcher.matched(Path::new(OsStr::from_bytes(path)), is_directory).is_ignore()
    }

    /// Whether a pattern fits the path, without its first slash, or a directory that it is in.
    pub fn fits(&self, path: &[u8], is_directory: bool) -> bool {
        let path = Path::new(OsStr::from_bytes(path));
        !path.has_root() && self.matcher.matched_path_or_any_parents(path, is_directory).is_ignore()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_to_git() {
        let patterns = ["*.tmp", "/srv/cache/", "!keep.tmp", "node_modules"].map(str::to_owned);
        let choice = Choice::excluding(&patterns).unwrap();
        let out = |path: &str, is_directory| choice.leaves_out(path.as_bytes(), is_directory, 0);
        assert!(out("srv/a.tmp", false) && out("a/b/c.tmp", false) && out("srv/cache", true));
        assert!(out("home/x/node_modules", true));
        assert!(!out("srv/keep.tmp", false) && !out("srv/cache", false) && !out("x/srv/cache", true));
        assert!(Choice::excluding(&["[z-a]".to_owned()]).is_err());
    }

    #[test]
    fn old_files_are_left_out_and_their_directories_stay() {
        let choice = Choice::default().newer_than(100);
        assert!(choice.leaves_out(b"a", false, 99));
        assert!(!choice.leaves_out(b"a", false, 100) && !choice.leaves_out(b"a", true, 0));
    }
}
