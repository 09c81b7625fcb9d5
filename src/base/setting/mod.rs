//! Settings: where one comes from, what is wrong with one, and the one description of each that reading, examples and
//! the manual share.
//!
//! | file | hides |
//! |---|---|
//! | `file` | the notation of files, and the line of each value |
//! | `kind` | how a value of a kind is written, read and shown |
//! | `schema` | what a key is called, means and is by default; the manual and the example made of it |
//! | `table` | tables of a file, whose keys are handed out typed and whose unknown keys are refused |

mod file;
mod kind;
mod schema;
mod table;

pub use super::unit::Problem;
pub use file::File;
pub use kind::{
    AGE, BOOLEAN, COMMAND, COUNT, FACTOR, FILE, FRACTION, HOST, Kind, LEVEL, OBJECT_LOCK, PART, PATHS,
    PATIENCE, PORT, QUERIES, Raw, SECRET, SERIES, SINCE, SIZE, SOME, TAGS, TEXT, TEXTS, TIME, VARIABLES,
    WORDS, ZONE,
};
pub use schema::{Described, Entry, Key, Section, example, manual};
pub use table::{Book, Said, Shown, Table};

use std::any::Any;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// What whoever reads a table of settings may ask besides.
pub struct Given<'a> {
    /// A variable of the environment that is no setting.
    pub variable: &'a dyn Fn(&str) -> Option<PathBuf>,
    /// An option of the command line that is about this table alone.
    pub option: &'a dyn Fn(&str) -> Option<OsString>,
    /// Of a destination: what the settings of the same kind came to for everything else.
    pub other: Option<&'a (dyn Any + Send + Sync)>,
}

impl Given<'_> {
    /// The text of a variable of the environment; `None` where it is empty or is no text.
    pub fn text(&self, name: &str) -> Option<String> {
        let found = (self.variable)(name)?.into_os_string().into_string().ok();
        found.filter(|text| !text.is_empty())
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A line of a file.
    File {
        /// The file.
        path: Arc<PathBuf>,
        /// The line, from 1 on.
        line: usize,
    },
    /// A variable of the environment.
    Variable(&'static str),
    /// An option of the command line.
    Flag(&'static str),
    /// Nobody said anything.
    Default,
}

impl Origin {
    /// What comes before what: the command line, the environment, the file, what is so by default.
    pub fn rank(&self) -> u8 {
        match self {
            Self::Flag(_) => 0,
            Self::Variable(_) => 1,
            Self::File { .. } => 2,
            Self::Default => 3,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) | Self::Flag(name) => f.write_str(name),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value<T> {
    /// The value.
    pub value: T,
    /// Its origin.
    pub origin: Origin,
}

impl<T> Value<T> {
    /// Another value of the same origin.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Value<U> {
        Value { value: change(self.value), origin: self.origin }
    }
}

/// A setting is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingError {
    /// Its name: `source.app.timeout`. Empty where a file as a whole is not what it should be.
    pub setting: String,
    /// Where its value stands.
    pub origin: Origin,
    /// What is wrong with it: "invalid duration `soon`".
    pub problem: String,
    /// What to do about it.
    pub next: Option<String>,
}

impl SettingError {
    /// What is wrong with a setting from there.
    pub fn new(setting: impl Into<String>, origin: Origin, problem: Problem) -> Self {
        Self { setting: setting.into(), origin, problem: problem.text, next: problem.next }
    }
}

impl std::error::Error for SettingError {}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::File { path, line } => {
                write!(f, "configuration `{}`, line {line}: ", path.display())?;
                if !self.setting.is_empty() {
                    write!(f, "{}: ", self.setting)?;
                }
            }
            Origin::Variable(name) | Origin::Flag(name) => write!(f, "{name}: ")?,
            Origin::Default => write!(f, "{}: ", self.setting)?,
        }
        f.write_str(&self.problem)
    }
}
