//! What can be said of every failure: of which class it is, by which word a program knows it, and what to do next.
//!
//! The class decides the exit code of a command, and will decide the status of an answer over HTTP. Nobody has to look
//! into an error of another floor, or for words in its text.

use std::borrow::Cow;
use std::fmt;

/// Of which kind a failure is: what whoever gets it can decide on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Something failed or is suspect, and something was stored.
    Partial,
    /// Nothing was stored or read: every source failed, or the storage did.
    NothingDone,
    /// Wrong usage or configuration, found before anything started.
    Usage,
    /// Damage, a verification that failed, or a storage that was turned back.
    Integrity,
    /// Another operation is in the way: try again.
    Conflict,
    /// Refused by a safety rule, or by a question that nobody answered with yes. Nothing was changed.
    Refused,
    /// The server, or whatever else a restore goes into, failed or is not there.
    Target,
    /// There is no repository.
    NoRepository,
    /// The key is wrong, or too weak.
    WrongKey,
    /// Somebody asked to stop.
    Interrupted,
}

/// What to do next, in a sentence. Settings stand in it in braces, `{accept_rollback}`, since only whoever shows it
/// knows how they are given: as options, or in a form of a page. Names that people chose go through [`as_it_is`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next(Cow<'static, str>);

impl Next {
    /// A sentence, with settings in braces.
    pub fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Self(text.into())
    }

    /// A sentence without settings: braces in it are braces.
    pub fn plain(text: &str) -> Self {
        Self::new(as_it_is(text).into_owned())
    }

    /// The sentence, each setting shown as `show` has it.
    pub fn render(&self, show: impl Fn(&str) -> String) -> String {
        let mut text = String::with_capacity(self.0.len());
        let mut rest = self.0.as_ref();
        while let Some((before, after)) = rest.split_once('{') {
            let is_setting =
                |name: &str| !name.is_empty() && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric());
            text.push_str(before);
            if let Some(after) = after.strip_prefix('{') {
                text.push('{');
                rest = after;
                continue;
            }
            rest = match after.split_once('}') {
                Some((name, after)) if is_setting(name) => {
                    text.push_str(&show(name));
                    after
                }
                _ => {
                    text.push('{');
                    after
                }
            };
        }
        text.push_str(rest);
        text
    }
}

/// A name within a sentence: a series may be called `{repo}`, and no brace of it begins a setting.
pub fn as_it_is(name: &str) -> Cow<'_, str> {
    if name.contains('{') { Cow::Owned(name.replace('{', "{{")) } else { Cow::Borrowed(name) }
}

/// Settings by their names.
impl fmt::Display for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(str::to_owned))
    }
}

/// A failure, seen from outside.
pub trait Fault: std::error::Error {
    /// Of which kind it is.
    fn class(&self) -> Class;

    /// A word for programs that stays the same from version to version: `no_repository`.
    fn code(&self) -> &'static str;

    /// What to do next, where that can be known.
    fn next(&self) -> Option<Next> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_shown_as_asked_and_other_braces_stay() {
        let next = Next::new("use {accept_rollback} once; `{\"a\": 1}` and { stay");
        let shown = next.render(|name| format!("--{}", name.replace('_', "-")));
        assert_eq!(shown, "use --accept-rollback once; `{\"a\": 1}` and { stay");
        assert_eq!(Next::new("set {repository}").to_string(), "set repository");
    }

    #[test]
    fn names_with_braces_are_shown_as_they_are() {
        let show = |name: &str| format!("--{name}");
        for name in ["{repo}", "{{repo}}", "{", "a{b", "{a}{b}"] {
            let next = Next::new(format!("use {{stream}} with `{}`", as_it_is(name)));
            assert_eq!(next.render(show), format!("use --stream with `{name}`"));
            assert_eq!(Next::plain(name).render(show), name);
        }
    }
}
