//! Kinds of values: how each is written in a file, in a variable and on the command line, and what of it may be shown.

use crate::base::level::Level;
use crate::base::name::{NameKind, check_name};
use crate::base::secret::Passphrase;
use crate::base::unit::{self, Age, ObjectLock, Problem, Since};
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// A value as it was written.
#[derive(Debug, Clone, PartialEq)]
pub enum Raw {
    /// A variable's or an option's, which have no types.
    Word(OsString),
    /// Text in a file.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// Another number.
    Float(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// Several.
    List(Vec<Self>),
    /// A table.
    Table(BTreeMap<String, Self>),
    /// What no setting is: dates, numbers that are too large.
    Other,
}

impl Raw {
    /// The text that it is.
    ///
    /// # Errors
    /// When it is something else.
    pub fn text(&self) -> Result<&str, Problem> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Word(word) => word.to_str().ok_or_else(|| Problem::new("not valid UTF-8")),
            other => Err(other.instead_of("text")),
        }
    }

    /// Text, or a number as text.
    fn text_or_number(&self) -> Result<String, Problem> {
        match self {
            Self::Integer(number) => Ok(number.to_string()),
            Self::Float(number) => Ok(number.to_string()),
            other => other.text().map(str::to_owned),
        }
    }

    /// The list of texts that it is.
    ///
    /// # Errors
    /// When it is something else.
    pub fn texts(&self) -> Result<Vec<String>, Problem> {
        match self {
            Self::List(list) => list.iter().map(|one| one.text().map(str::to_owned)).collect(),
            other => Err(other.instead_of("a list of texts")),
        }
    }

    fn number<T: TryFrom<i64> + std::str::FromStr>(&self, range: &str) -> Result<T, Problem> {
        let wrong = || Problem::new(format!("expected a number {range}"));
        match self {
            Self::Integer(number) => T::try_from(*number).map_err(|_| wrong()),
            Self::Word(word) => word.to_str().and_then(|word| word.parse().ok()).ok_or_else(wrong),
            other => Err(other.instead_of("a number")),
        }
    }

    /// Something else was wanted.
    fn instead_of(&self, wanted: &str) -> Problem {
        let is = match self {
            Self::Word(_) | Self::Text(_) => "text",
            Self::Integer(_) | Self::Float(_) => "a number",
            Self::Boolean(_) => "true or false",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other => "a date",
        };
        Problem::new(format!("expected {wanted}, found {is}"))
    }
}

/// As a file has it.
impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |text: &str| toml::Value::from(text).to_string();
        match self {
            Self::Word(word) => f.write_str(&quoted(&word.to_string_lossy())),
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number}"),
            Self::Boolean(value) => write!(f, "{value}"),
            Self::List(list) => {
                f.write_str("[")?;
                for (at, one) in list.iter().enumerate() {
                    write!(f, "{}{one}", if at == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Self::Table(table) => {
                f.write_str("{")?;
                for (at, (name, one)) in table.iter().enumerate() {
                    write!(f, "{} {} = {one}", if at == 0 { "" } else { "," }, quoted(name))?;
                }
                f.write_str(" }")
            }
            Self::Other => f.write_str("…"),
        }
    }
}

/// A kind of value.
pub struct Kind<T> {
    /// What it is called in the manual.
    pub word: &'static str,
    /// Reads one.
    pub parse: fn(&Raw) -> Result<T, Problem>,
    /// What may be shown of one; `None` where nothing may.
    pub show: fn(&Raw) -> Option<Raw>,
}

fn all(raw: &Raw) -> Option<Raw> {
    Some(raw.clone())
}

fn nothing(_: &Raw) -> Option<Raw> {
    None
}

/// The program: what is behind it may be secret, and so may be what a shell sets before it.
fn program(raw: &Raw) -> Option<Raw> {
    let first = match raw {
        Raw::List(list) => list.first()?.text().ok()?,
        other => other.text().ok()?.split_whitespace().next()?,
    };
    let is_plain = first.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    is_plain.then(|| Raw::Text(format!("{first} …")))
}

fn words(raw: &Raw) -> Result<Vec<OsString>, Problem> {
    match raw {
        Raw::List(_) => Ok(raw.texts()?.into_iter().map(OsString::from).collect()),
        other => Ok(other.text()?.split_whitespace().map(OsString::from).collect()),
    }
}

fn path(raw: &Raw) -> Result<PathBuf, Problem> {
    match raw {
        Raw::Word(word) => Ok(word.into()),
        other => other.text().map(PathBuf::from),
    }
}

fn boolean(raw: &Raw) -> Result<bool, Problem> {
    match raw {
        Raw::Boolean(value) => Ok(*value),
        Raw::Word(word) if word == "true" => Ok(true),
        Raw::Word(word) if word == "false" => Ok(false),
        other => Err(other.instead_of("true or false")),
    }
}

fn named(kind: NameKind, raw: &Raw) -> Result<String, Problem> {
    let name = raw.text()?;
    check_name(kind, name).map_err(|error| Problem::new(error.to_string()).next(error.hint()))?;
    Ok(name.to_owned())
}

fn tags(raw: &Raw) -> Result<Vec<String>, Problem> {
    let tags = raw.texts()?;
    tags.iter().try_for_each(|tag| named(NameKind::Tag, &Raw::Text(tag.clone())).map(drop))?;
    Ok(tags)
}

fn variables(raw: &Raw) -> Result<BTreeMap<String, String>, Problem> {
    let Raw::Table(table) = raw else { return Err(raw.instead_of("a table of variables")) };
    let mut variables = BTreeMap::new();
    for (name, value) in table {
        let value = value.text()?;
        let is_odd = |c: char| c == '=' || c.is_whitespace() || c.is_control();
        if name.is_empty() || name.contains(is_odd) || value.contains('\0') {
            let text = format!("`{name}` is not the name of a variable, or its value holds a NUL");
            return Err(Problem::new(text));
        }
        variables.insert(name.clone(), value.to_owned());
    }
    Ok(variables)
}

/// Any text.
pub const TEXT: Kind<String> = Kind { word: "text", parse: |raw| raw.text().map(str::to_owned), show: all };
/// A file or folder.
pub const FILE: Kind<PathBuf> = Kind { word: "path", parse: path, show: all };
/// `true` or `false`.
pub const BOOLEAN: Kind<bool> = Kind { word: "true or false", parse: boolean, show: all };
/// How many.
pub const COUNT: Kind<u32> =
    Kind { word: "number", parse: |raw| raw.number("from 0 to 4294967295"), show: all };
/// From 1 on.
pub const SOME: Kind<u32> = Kind {
    word: "number",
    parse: |raw| match (COUNT.parse)(raw)? {
        0 => Err(Problem::new("expected a number from 1 on")),
        count => Ok(count),
    },
    show: all,
};
/// Of a server.
pub const PORT: Kind<u16> = Kind { word: "port", parse: |raw| raw.number("from 0 to 65535"), show: all };
/// Bytes.
pub const SIZE: Kind<u64> =
    Kind { word: "size", parse: |raw| unit::bytes(&raw.text_or_number()?), show: all };
/// How long something may take.
pub const TIME: Kind<Duration> =
    Kind { word: "duration", parse: |raw| unit::duration(raw.text()?), show: all };
/// How long ago.
pub const AGE: Kind<Age> = Kind { word: "age", parse: |raw| unit::age(raw.text()?), show: all };
/// From when on.
pub const SINCE: Kind<Since> = Kind { word: "time or age", parse: |raw| unit::since(raw.text()?), show: all };
/// A part of one.
pub const FRACTION: Kind<f64> =
    Kind { word: "fraction", parse: |raw| unit::fraction(&raw.text_or_number()?), show: all };
/// The same, and not nothing.
pub const PART: Kind<f64> =
    Kind { word: "fraction", parse: |raw| unit::part(&raw.text_or_number()?), show: all };
/// How long nothing may move. Shorter ones would end requests that only wait for their turn.
pub const PATIENCE: Kind<Duration> = Kind {
    word: "duration",
    parse: |raw| {
        let text = raw.text()?;
        let time = unit::duration(text)?;
        let short = || Problem::new(format!("`{text}` is too short")).next("use at least 1s");
        (time >= Duration::from_secs(1)).then_some(time).ok_or_else(short)
    },
    show: all,
};
/// So many times.
pub const FACTOR: Kind<f64> =
    Kind { word: "factor", parse: |raw| unit::factor(&raw.text_or_number()?), show: all };
/// How hard to compress.
pub const LEVEL: Kind<Level> = Kind { word: "level", parse: |raw| unit::level(raw.text()?), show: all };
/// How long objects are locked.
pub const OBJECT_LOCK: Kind<Option<ObjectLock>> =
    Kind { word: "lock", parse: |raw| unit::object_lock(raw.text()?), show: all };
/// A time zone by its IANA name.
pub const ZONE: Kind<TimeZone> = Kind {
    word: "time zone",
    parse: |raw| {
        let name = raw.text()?;
        let next = "use an IANA name, such as Europe/Berlin or UTC";
        TimeZone::get(name).map_err(|_| Problem::new(format!("unknown time zone `{name}`")).next(next))
    },
    show: all,
};
/// Several texts.
pub const TEXTS: Kind<Vec<String>> = Kind { word: "list of texts", parse: Raw::texts, show: all };
/// Several files or folders.
pub const PATHS: Kind<Vec<PathBuf>> = Kind {
    word: "list of paths",
    parse: |raw| Ok(raw.texts()?.into_iter().map(PathBuf::from).collect()),
    show: all,
};
/// Words of a command line: text that is split at blanks, or a list.
pub const WORDS: Kind<Vec<OsString>> = Kind { word: "command", parse: words, show: program };
/// A command for `sh -c`.
pub const COMMAND: Kind<String> =
    Kind { word: "shell command", parse: |raw| raw.text().map(str::to_owned), show: program };
/// A series' name.
pub const SERIES: Kind<String> = Kind { word: "name", parse: |raw| named(NameKind::Series, raw), show: all };
/// A host's name.
pub const HOST: Kind<String> = Kind { word: "name", parse: |raw| named(NameKind::Host, raw), show: all };
/// Tags of snapshots.
pub const TAGS: Kind<Vec<String>> = Kind { word: "list of tags", parse: tags, show: all };
/// Variables for programs.
pub const VARIABLES: Kind<BTreeMap<String, String>> =
    Kind { word: "table of variables", parse: variables, show: nothing };
/// Queries by what they are of.
pub const QUERIES: Kind<BTreeMap<String, String>> =
    Kind { word: "table of queries", parse: variables, show: nothing };
/// A passphrase.
pub const SECRET: Kind<Passphrase> = Kind {
    word: "passphrase",
    parse: |raw| raw.text().map(|text| Passphrase::new(text.to_owned())),
    show: nothing,
};
