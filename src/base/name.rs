//! Names: which a series, a host and a stream may have, and how a person names a snapshot.
//!
//! A snapshot's name is `[HOST/]SERIES[~N|@TIME][:STREAM]`, `latest` or the front of an id. What is checked here keeps
//! that notation free of doubt and a terminal free of tricks. Every name that comes into a repository passes here,
//! whoever brings it; what is stored already can be read by its id, whatever it is called.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

/// Characters of a series' or host's name.
const NAME_CHARS_MAX: usize = 200;
/// Bytes of a stream's name.
const STREAM_BYTES_MAX: usize = 1024;
/// Digits that make an id out of a word.
pub(super) const ID_DIGITS_MIN: usize = 4;
/// Stands for the newest snapshot of all.
pub(super) const LATEST: &str = "latest";

/// What a name is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameKind {
    /// A series.
    Series,
    /// A host.
    Host,
    /// A stream of a snapshot.
    Stream,
    /// A tag.
    Tag,
}

impl std::fmt::Display for NameKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Series => "series name",
            Self::Host => "host name",
            Self::Stream => "stream name",
            Self::Tag => "tag",
        })
    }
}

/// A name that nothing new may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid {kind} `{shown}`: it {reason}", shown = shown(name))]
pub struct BadName {
    /// What it is for.
    pub kind: NameKind,
    /// As given.
    pub name: String,
    /// What is wrong: "is empty", "begins with `-`".
    pub reason: String,
}

impl BadName {
    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self.kind {
            NameKind::Series => {
                "use 1 to 200 visible characters without `/`, `:`, `~` and `@`; `latest` is reserved"
            }
            NameKind::Host => {
                "use 1 to 200 visible characters without `/`, `:`, `~` and `@`; set `host` in the configuration"
            }
            NameKind::Stream => "rename the database, or exclude it",
            NameKind::Tag => "use 1 to 200 visible characters",
        }
    }
}

/// The name with everything that a terminal would hide or obey written out.
pub fn shown(name: &str) -> String {
    let one = |c: char| if is_hidden(c) { c.escape_unicode().to_string() } else { c.to_string() };
    name.chars().take(NAME_CHARS_MAX).map(one).collect()
}

/// Whether a character is not seen where it stands, or turns others around: controls, bidirectional and zero-width
/// ones, fillers.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Checks the name of something new.
///
/// # Errors
/// When nothing may be called so.
pub fn check_name(kind: NameKind, name: &str) -> Result<(), BadName> {
    let bad = |reason: &str| Err(BadName { kind, name: name.to_owned(), reason: reason.to_owned() });
    if name.is_empty() {
        return bad("is empty");
    }
    if kind == NameKind::Stream {
        // Databases are called as they are called, even with line ends; whoever shows a stream's name has to take care.
        return match name.len() > STREAM_BYTES_MAX || name.contains('\0') {
            true => bad("is longer than 1024 bytes, or holds a NUL"),
            false => Ok(()),
        };
    }
    if name.chars().count() > NAME_CHARS_MAX {
        return bad("is longer than 200 characters");
    }
    if name.chars().any(is_hidden) {
        return bad("has characters that are not seen");
    }
    if name.trim() != name || name.chars().any(|c| c.is_whitespace() && c != ' ') {
        return bad("has blanks at its ends, or others than ordinary ones");
    }
    if kind == NameKind::Tag {
        return Ok(());
    }
    if name.starts_with('-') {
        return bad("begins with `-`, as options do");
    }
    if name.chars().all(|c| c == '.') {
        return bad("consists of dots");
    }
    if let Some(c) = name.chars().find(|c| matches!(c, '/' | ':' | '~' | '@')) {
        return bad(&format!("has a `{c}`, which separates the parts of a snapshot's name"));
    }
    if kind == NameKind::Series && name == LATEST {
        return bad("stands for the newest snapshot of all");
    }
    Ok(())
}

/// A snapshot's name that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// What follows `@` is no date or time.
    #[error("invalid time `{text}` in `{name}`")]
    Time {
        /// The whole name.
        name: String,
        /// What should be a time.
        text: String,
    },
    /// What follows `~` is no number.
    #[error("invalid number `{text}` in `{name}`")]
    Steps {
        /// The whole name.
        name: String,
        /// What should be a number.
        text: String,
    },
    /// A part is missing.
    #[error("invalid snapshot name `{name}`: {reason}")]
    Form {
        /// The whole name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl NameError {
    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Time { .. } => "use 2026-11-01, 2026-11-01T03:00 or 2026-11-01T03:00:00Z",
            Self::Steps { .. } => {
                "use app~1 for the snapshot before the newest of `app`, app~2 for the one before it"
            }
            Self::Form { .. } => "use an id, `latest`, or [HOST/]SERIES[~N|@TIME][:STREAM]",
        }
    }
}

/// Which of a series' snapshots is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// The newest.
    Newest,
    /// So many before the newest.
    Back(usize),
    /// The newest that is not later than this.
    Until(Timestamp),
}

/// A snapshot's name, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotName {
    /// All of it but the stream, as given.
    text: String,
    /// The host, where one is named.
    pub host: Option<String>,
    /// The series, or `latest`, or the front of an id.
    pub word: String,
    /// Which one.
    pub position: Position,
    /// The stream, or the path in a stream, where one is named.
    pub stream: Option<String>,
}

impl SnapshotName {
    /// Takes a name apart. Dates without a zone are those of `zone`.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(name: &str, zone: &TimeZone) -> Result<Self, NameError> {
        let form = |reason| NameError::Form { name: name.to_owned(), reason };
        let end = name.find([':', '~', '@']).unwrap_or(name.len());
        let (front, rest) = name.split_at_checked(end).ok_or_else(|| form("it has no series"))?;
        let (host, word) = split_series(front).map_err(form)?;
        let (position, tail) = match (rest.strip_prefix('~'), rest.strip_prefix('@')) {
            (Some(rest), _) => {
                let end = rest.find(':').unwrap_or(rest.len());
                let (steps, tail) = rest.split_at_checked(end).unwrap_or((rest, ""));
                let steps = steps
                    .parse()
                    .map_err(|_| NameError::Steps { name: name.to_owned(), text: steps.to_owned() })?;
                (Position::Back(steps), tail)
            }
            (None, Some(rest)) => until(rest, zone)
                .ok_or_else(|| NameError::Time { name: name.to_owned(), text: rest.to_owned() })?,
            (None, None) => (Position::Newest, rest),
        };
        let stream = match tail.strip_prefix(':') {
            Some("") => return Err(form("no stream follows `:`")),
            stream => stream.map(str::to_owned),
        };
        let text = name.strip_suffix(tail).unwrap_or(name).to_owned();
        Ok(Self { text, host, word, position, stream })
    }

    /// The word as digits of an id, where nothing but an id can be meant by itself and it may be one.
    pub fn id_digits(&self) -> Option<String> {
        let digits = self.word.to_ascii_lowercase();
        let is_id = digits.len() >= ID_DIGITS_MIN && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        (is_id && self.host.is_none() && self.position == Position::Newest).then_some(digits)
    }

    /// Whether the newest of all series is meant.
    pub fn is_latest(&self) -> bool {
        self.word == LATEST
    }
}

/// The name without its stream, as it was given.
impl std::fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// A series, of one host or of all: `[HOST/]SERIES`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesName {
    /// The host, where one is named.
    pub host: Option<String>,
    /// The series.
    pub series: String,
}

impl SeriesName {
    /// Takes a name apart.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        let form = |reason| NameError::Form { name: name.to_owned(), reason };
        if name.contains([':', '~', '@']) {
            return Err(form("a series is wanted, not a snapshot of it"));
        }
        split_series(name).map(|(host, series)| Self { host, series }).map_err(form)
    }
}

impl std::fmt::Display for SeriesName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.host {
            Some(host) => write!(f, "{host}/{}", self.series),
            None => f.write_str(&self.series),
        }
    }
}

/// `[HOST/]SERIES`.
fn split_series(text: &str) -> Result<(Option<String>, String), &'static str> {
    let (host, series) = match text.split_once('/') {
        Some((host, series)) => (Some(host), series),
        None => (None, text),
    };
    if series.contains('/') {
        return Err("it has more than one `/`");
    }
    if host == Some("") {
        return Err("no host stands before `/`");
    }
    if series.is_empty() {
        return Err("it has no series");
    }
    Ok((host.map(str::to_owned), series.to_owned()))
}

/// The moment at the front of `text`, and what follows it. Times hold colons as streams do: the longest front that is a
/// time is it.
fn until<'a>(text: &'a str, zone: &TimeZone) -> Option<(Position, &'a str)> {
    let ends = std::iter::once(text.len()).chain(text.rmatch_indices(':').map(|(at, _)| at));
    let mut fronts = ends.filter_map(|end| text.split_at_checked(end));
    fronts.find_map(|(front, rest)| Some((Position::Until(end_of(front, zone)?), rest)))
}

/// The last moment that `text` means: the end of a day for a date, the moment itself for a time.
pub fn end_of(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Some(moment);
    }
    // A bare date parses as a datetime, too: midnight would be its first moment, not its last.
    if text.len() <= 10
        && let Ok(date) = text.parse::<Date>()
    {
        return zone.to_timestamp(date.to_datetime(jiff::civil::Time::MAX)).ok();
    }
    zone.to_timestamp(text.parse::<DateTime>().ok()?).ok()
}

/// The first moment that `text` means: the beginning of a day for a date, the moment itself for a time.
pub fn start_of(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Some(moment);
    }
    zone.to_timestamp(text.parse::<DateTime>().ok()?).ok()
}

/// The name of `known` that is most like `name`, if one is so alike that it may have been meant.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted: Vec<char> = name.to_lowercase().chars().take(NAME_CHARS_MAX).collect();
    let mut best: Option<(usize, &str)> = None;
    for candidate in known {
        let letters: Vec<char> = candidate.to_lowercase().chars().take(NAME_CHARS_MAX).collect();
        let steps = distance(&wanted, &letters);
        // One slip in three letters: more makes another word of it.
        let is_alike = steps <= (wanted.len().max(letters.len()) / 3).max(1) && steps < letters.len();
        if is_alike && best.is_none_or(|(fewest, _)| steps < fewest) {
            best = Some((steps, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Letters to put in, take out, replace or swap with their neighbour (optimal string alignment).
fn distance(from: &[char], to: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (row, letter) in from.iter().enumerate() {
        let mut this = Vec::with_capacity(last.len());
        this.push(row + 1);
        for (column, other) in to.iter().enumerate() {
            let at = |line: &[usize], column: usize| line.get(column).copied().unwrap_or(usize::MAX / 2);
            let mut steps = (at(&last, column + 1) + 1)
                .min(at(&this, column) + 1)
                .min(at(&last, column) + usize::from(letter != other));
            let is_swap = column > 0
                && row > 0
                && from.get(row - 1) == Some(other)
                && to.get(column - 1) == Some(letter);
            if is_swap {
                steps = steps.min(at(&before, column - 1) + 1);
            }
            this.push(steps);
        }
        before = std::mem::replace(&mut last, this);
    }
    last.last().copied().unwrap_or(from.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str) -> Result<SnapshotName, NameError> {
        SnapshotName::parse(name, &TimeZone::UTC)
    }

    #[test]
    fn a_name_comes_apart_into_host_series_position_and_stream() {
        let parts = |name: &str| {
            let name = parse(name).unwrap();
            (name.host, name.word, name.position, name.stream)
        };
        let some = |text: &str| Some(text.to_owned());
        let word = |text: &str| text.to_owned();
        let at = |text: &str| Position::Until(text.parse().unwrap());
        assert_eq!(parts("app"), (None, word("app"), Position::Newest, None));
        assert_eq!(parts("db1/app"), (some("db1"), word("app"), Position::Newest, None));
        assert_eq!(parts("app~2"), (None, word("app"), Position::Back(2), None));
        assert_eq!(parts("app~2:a/b:c"), (None, word("app"), Position::Back(2), some("a/b:c")));
        assert_eq!(parts("db1/app:/etc/x"), (some("db1"), word("app"), Position::Newest, some("/etc/x")));
        assert_eq!(parts("1a2b:globals.sql"), (None, word("1a2b"), Position::Newest, some("globals.sql")));
        let noon = at("2026-11-01T12:00:00Z");
        assert_eq!(parts("app@2026-11-01T12:00"), (None, word("app"), noon, None));
        assert_eq!(parts("app@2026-11-01T12:00:00Z:x"), (None, word("app"), noon, some("x")));
        assert_eq!(parts("h/app@2026-11-01T12:00:x@y"), (some("h"), word("app"), noon, some("x@y")));
        let day = at("2026-11-01T23:59:59.999999999Z");
        assert_eq!(parts("app@2026-11-01:30"), (None, word("app"), day, some("30")));
        assert_eq!(parse("db1/app~1:x").unwrap().to_string(), "db1/app~1");
    }

    #[test]
    fn a_name_that_is_none_says_why() {
        for (name, what) in [
            ("app@noon", "invalid time `noon`"),
            ("app@:x", "invalid time"),
            ("app~x", "invalid number `x`"),
            ("app~", "invalid number"),
            ("app:", "no stream"),
            ("", "no series"),
            ("/app", "no host"),
            ("db1/", "no series"),
            ("a/b/c", "more than one"),
        ] {
            let error = parse(name).unwrap_err();
            assert!(error.to_string().contains(what), "{name}: {error}");
            assert!(!error.hint().is_empty());
        }
        assert!(SeriesName::parse("app~1").is_err() && SeriesName::parse("db1/app").is_ok());
    }

    #[test]
    fn odd_names_are_refused_and_shown_without_their_tricks() {
        let odd = [
            "",
            " ",
            ".",
            "..",
            "--help",
            "-n",
            "a/b",
            "a:b",
            "a~1",
            "a@b",
            "a\nb",
            "a\u{1b}[0m",
            "\u{202e}gpj",
            "a\u{200b}",
            "a ",
            " a",
            "a\u{a0}b",
            "\u{feff}app",
            "latest",
        ];
        for name in odd {
            let error = check_name(NameKind::Series, name).unwrap_err();
            assert!(!error.to_string().chars().any(is_hidden), "{error}");
        }
        let long = "x".repeat(201);
        assert!(check_name(NameKind::Series, &long).is_err() && check_name(NameKind::Host, &long).is_err());
        for name in
            ["app", "größe", "日本", "my app", "a.b", "v1.2-3_x", "cafe", "$x", "x".repeat(200).as_str()]
        {
            assert_eq!(check_name(NameKind::Series, name), Ok(()), "{name}");
            assert_eq!(check_name(NameKind::Host, name), Ok(()), "{name}");
        }
        assert!(check_name(NameKind::Host, "a/b").is_err() && check_name(NameKind::Host, "latest").is_ok());
        // Databases may be called anything.
        for name in ["a:b", "../x", " ", "qu'o\"te", "-x", "a\nb"] {
            assert_eq!(check_name(NameKind::Stream, name), Ok(()), "{name}");
        }
        assert!(check_name(NameKind::Stream, "a\0b").is_err() && check_name(NameKind::Stream, "").is_err());
        assert!(check_name(NameKind::Tag, "a\tb").is_err() && check_name(NameKind::Tag, "-x").is_ok());
    }

    #[test]
    fn a_slip_finds_the_word_that_was_meant() {
        let known = ["vendhub", "app", "shop", "redis"];
        for (slip, meant) in [
            ("vendhbu", "vendhub"),
            ("vendub", "vendhub"),
            ("ap", "app"),
            ("shpo", "shop"),
            ("Redis", "redis"),
        ] {
            assert_eq!(nearest(slip, known), Some(meant), "{slip}");
        }
        for other in ["x", "mongo", "customers", ""] {
            assert_eq!(nearest(other, known), None, "{other}");
        }
    }
}
