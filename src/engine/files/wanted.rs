//! Which files are meant, and in which sections of an index they can be.

use crate::content::index::{Of, Section, canonical};
use crate::source::files::{Choice, ChoiceError};
use std::cmp::Ordering;

/// Files that are meant.
#[derive(Debug, Clone, Default)]
pub struct WantedFiles {
    /// Patterns in the way of git; `None` for all files.
    choice: Option<Choice>,
    /// What lies in a directory that fits is not meant with it.
    is_each: bool,
    /// Everything that fits is one of these, or lies below one; `None` where it may be anywhere.
    below: Option<Vec<Vec<u8>>>,
    /// The patterns themselves, without a first slash: keys that are no paths are meant by what they begin with.
    literal: Vec<Vec<u8>>,
    /// Of objects versions that are not current, too.
    versions: bool,
}

impl WantedFiles {
    /// What fits one of the patterns, and what is in a directory that does; all where there are none.
    ///
    /// # Errors
    /// When a pattern makes no sense.
    pub fn of(patterns: &[String]) -> Result<Self, ChoiceError> {
        if patterns.is_empty() {
            return Ok(Self::default());
        }
        let choice = Some(Choice::excluding(patterns)?);
        let below = patterns.iter().map(|pattern| literal(pattern)).collect();
        let written = |pattern: &String| pattern.strip_prefix('/').unwrap_or(pattern).as_bytes().to_vec();
        Ok(Self {
            choice,
            is_each: false,
            below,
            literal: patterns.iter().map(written).collect(),
            versions: false,
        })
    }

    /// What fits one of the patterns itself.
    ///
    /// # Errors
    /// As [`WantedFiles::of`].
    pub fn each_of(patterns: &[String]) -> Result<Self, ChoiceError> {
        Ok(Self { is_each: true, ..Self::of(patterns)? })
    }

    /// Exactly that path, and what is below it.
    pub fn exactly(path: &[u8]) -> Self {
        Self { below: Some(vec![path.to_vec()]), ..Self::default() }
    }

    /// The same, with versions of objects that are not current.
    pub fn with_versions(self, versions: bool) -> Self {
        Self { versions, ..self }
    }

    /// Whether a row of that age is meant.
    pub fn fits_age(&self, is_old: bool) -> bool {
        self.versions || !is_old
    }

    /// Whether all are meant.
    pub fn is_all(&self) -> bool {
        self.choice.is_none() && self.below.is_none()
    }

    /// Whether that file is meant.
    pub fn fits(&self, path: &[u8], is_directory: bool) -> bool {
        match (&self.choice, &self.below) {
            (Some(choice), _) if self.is_each => choice.fits_itself(path, is_directory),
            (Some(choice), _) => {
                choice.fits(path, is_directory)
                    || path.first() == Some(&b'/') && self.literal.iter().any(|one| lies_below(path, one))
            }
            (None, Some(below)) => below.iter().any(|one| lies_below(path, one)),
            (None, None) => true,
        }
    }

    /// Whether a section can have one of them, or a directory above one. `next` is where the next section begins.
    pub fn may_be_in(&self, of: Of, section: &Section, next: Option<&[u8]>) -> bool {
        let Some(below) = &self.below else { return true };
        if of == Of::Objects {
            // Keys that begin alike stand together; versions of one may reach into the next section.
            let begins = |one: &Vec<u8>| section.first <= *one || section.first.starts_with(one);
            return below.iter().any(|one| begins(one) && next.is_none_or(|next| next >= one.as_slice()));
        }
        let is_before = |path: &[u8]| next.is_none_or(|next| canonical(path, next) == Ordering::Less);
        let is_reached = |path: &[u8]| canonical(&section.first, path) != Ordering::Greater;
        below.iter().any(|one| {
            let has_it = (is_reached(one) || lies_below(&section.first, one)) && is_before(one)
                || lies_below(&section.first, one);
            let has_above = above(one).any(|path| is_reached(path) && is_before(path));
            has_it || has_above
        })
    }
}

/// Whether a path is that one, or in it. What ends with a slash is the beginning of keys.
pub fn lies_below(path: &[u8], directory: &[u8]) -> bool {
    directory.is_empty()
        || directory.ends_with(b"/") && path.starts_with(directory)
        || path.strip_prefix(directory).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
}

/// The directories that a path is in.
fn above(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    std::iter::once(&path[..0]).chain(slashes.map(|(at, _)| path.get(..at).unwrap_or_default()))
}

/// The directory, or file, that all lies in that fits the pattern; `None` where it may be anywhere.
fn literal(pattern: &str) -> Option<Vec<u8>> {
    let inner = pattern.strip_suffix('/').unwrap_or(pattern);
    if !inner.contains('/')
        || inner.starts_with("//")
        || pattern.starts_with(['!', '#'])
        || pattern.contains('\\')
    {
        return None;
    }
    let names = inner.trim_start_matches('/').split('/');
    let plain: Vec<&str> = names.take_while(|name| !name.contains(['*', '?', '['])).collect();
    Some(plain.join("/").into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_bound_what_is_looked_at() {
        let bound = |pattern: &str| literal(pattern).map(|path| String::from_utf8(path).unwrap());
        assert_eq!(bound("/etc/nginx/").as_deref(), Some("etc/nginx"));
        assert_eq!(bound("/srv/app/*.conf").as_deref(), Some("srv/app"));
        assert_eq!(bound("/*.conf").as_deref(), Some(""));
        assert_eq!(bound("*.conf"), None);
        assert_eq!(bound("!/etc"), None);
    }

    #[test]
    fn sections_are_read_that_can_have_the_file_or_its_directories() {
        let wanted = WantedFiles::of(&["/srv/app/x".to_owned()]).unwrap();
        let section = |first: &str| Section { first: first.into(), ..Section::default() };
        let may = |first: &str, next: Option<&str>| {
            wanted.may_be_in(Of::Files, &section(first), next.map(str::as_bytes))
        };
        assert!(may("", Some("etc")) && may("opt", Some("srv/b")) && may("srv/app/w", Some("srv/app/y")));
        assert!(may("srv/app/x/1", None) && may("srv/app/x", Some("srv/app/x/1")));
        assert!(!may("etc", Some("opt")) && !may("srv/app/y", None) && !may("usr", None));
        assert!(wanted.fits(b"srv/app/x/1", false) && !wanted.fits(b"srv/app/y", false));
    }
}
