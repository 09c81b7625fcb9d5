//! Sources: what a dump comes from, and how it goes back.
//!
//! A source opens its stream as a [`Dump`]: bytes to read, then an end that says whether it ended well. A restore feeds
//! a [`Sink`]: bytes to write, then an end that says whether the program behind it took them all. Sources know nothing
//! of the repository.
//!
//! # What holds for every child process
//! - It is started without a shell, in a process group of its own, so that a signal meant for this process does not
//!   reach it by itself, and so that stopping it stops what it started too. What leaves the group (`setsid`) is out of
//!   reach.
//! - Its standard error is read to the end by a thread; the last 8 KiB are kept for the error message.
//! - It is reaped. Dropping a [`Dump`] or a [`Sink`] that was not finished ends the whole group: SIGTERM, at most 2 s,
//!   SIGKILL.

pub(crate) mod bucket;
pub mod command;
mod fault;
pub mod files;
pub mod indexed;
pub mod kind;
mod pipe;
pub mod postgres;
pub mod process;
pub(crate) mod redis;
pub mod stdin;
pub(crate) mod surroundings;
pub(crate) mod wrapper;

pub mod sample;

use crate::base::id::StreamDigest;
use crate::base::numbers::{Proof, StreamFormat};
use crate::base::objects::Place;
use crate::base::run::Run;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

/// A dump that is running: bytes to read, then an end to ask for.
///
/// `read` gives 0 when the bytes ended, whether well or not: only [`Dump::finish`] tells. It fails when the dump was
/// stopped (time limit, cancelled) or the pipe broke; `finish` then gives the reason as a [`SourceError`].
pub trait Dump: Read + Send {
    /// Call when the bytes ended. Waits for every process behind the stream and says what proves that it is whole.
    ///
    /// # Errors
    /// When the dump did not end well: the bytes read are then not a dump.
    fn finish(self: Box<Self>) -> Result<Proof, SourceError>;

    /// What its bytes are, where the source knows: they are not looked into then, and there may be none.
    fn format(&self) -> Option<StreamFormat> {
        None
    }

    /// The stream of the parent snapshot that it wants to read, to tell what did not change. Asked before the first
    /// byte is read.
    fn wants(&self) -> Option<String> {
        None
    }

    /// Gives it what it wants: only where [`Dump::copy`] may refer to the parent's stream of its own name.
    fn give(&mut self, _parent: Box<dyn Read + Send>) {}

    /// Asked each time that `read` gave 0: the range of the parent's stream that the next bytes are, without being
    /// given. The bytes ended when there is none.
    fn copy(&mut self) -> Option<Range<u64>> {
        None
    }

    /// Asked with its first bytes: whether what it gives is settled, so that no later change of what it reads gets into
    /// it. What is read bit by bit is settled at its end.
    fn is_settled(&self) -> bool {
        false
    }

    /// Asked when the bytes ended: the digest of the digests of the files in it. Without, all bytes are digested, and
    /// none can be copies.
    fn digest(&self) -> Option<StreamDigest> {
        None
    }

    /// Asked when the bytes ended: the map to keep with the stream.
    fn map(&self) -> Option<Vec<u8>> {
        None
    }

    /// Asked when the bytes ended: what could not be read and is missing from the stream, which is good otherwise.
    fn unread(&self) -> Option<String> {
        None
    }
}

/// A dump that was started.
pub struct StartedDump {
    /// Its bytes and its end.
    pub dump: Box<dyn Dump>,
    /// What is known of it: server version, client version.
    pub attributes: BTreeMap<String, String>,
}

/// Starts a dump.
pub type Start<'a> = Box<dyn FnOnce() -> Result<StartedDump, SourceError> + 'a>;

/// A stream to back up: a name, and how to start it.
pub struct PlannedStream<'a> {
    /// Name, unique in the snapshot.
    pub name: String,
    /// Starts the dump.
    pub start: Start<'a>,
}

/// Something that can be backed up: a database, a server, a program, a standard input. `docs/architecture.md` says how
/// to add a kind.
pub trait Source: Send {
    /// What the snapshot says of it: its kind, its address. Arguments may hold secrets and stay out.
    fn describe(&self) -> BTreeMap<String, String>;

    /// The bucket that it reads, if it reads one: what is stored in a bucket is not to hold itself.
    fn place(&self) -> Option<Place> {
        None
    }

    /// Bytes that it holds in memory at most, beside what a backup holds of any source.
    fn bytes_open(&self) -> u64 {
        0
    }

    /// Its streams, ready to be started one after the other. A server is asked which databases it has; `series` names
    /// the stream of what has only one.
    ///
    /// # Errors
    /// When it cannot be asked, or what was chosen is not there.
    fn streams(self: Box<Self>, series: &str, run: &Run) -> Result<Vec<PlannedStream<'static>>, SourceError>;
}

/// A restore that is running: bytes to write, then an end to ask for.
///
/// Dropping it is [`Sink::abort`].
pub trait Sink: Write + Send {
    /// Closes the program's input and waits until it ended well, having read every byte.
    ///
    /// # Errors
    /// When it did not: nothing may be taken as restored.
    fn finish(self: Box<Self>) -> Result<(), SourceError>;

    /// Ends the program *before* its input is closed, so that it cannot take a cut stream for a whole one.
    fn abort(self: Box<Self>);

    /// Call when a write failed. Ends the program, its input still open, and says why it stopped reading: its exit
    /// status and last words instead of "broken pipe".
    fn fail_reason(self: Box<Self>) -> SourceError;
}

/// A source, or the program that takes a restore, failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// There is no such program.
    #[error("program `{program}` not found")]
    ProgramNotFound {
        /// As it was asked for.
        program: String,
    },
    /// The directory that the program was to run in is not there.
    #[error("cannot run `{program}` in `{}`: no such directory", directory.display())]
    NoWorkingDirectory {
        /// The program.
        program: String,
        /// The directory.
        directory: PathBuf,
    },
    /// The program is there, and the system would not start it.
    #[error("cannot start `{program}`: {source}")]
    Start {
        /// The program.
        program: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A pipe to the program, or the wait for it, failed.
    #[error("cannot {operation} `{program}`: {source}")]
    Io {
        /// The program.
        program: String,
        /// What was tried: "read from", "write to", "wait for".
        operation: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The program ended with a status that is not 0.
    #[error("`{program}` failed with exit status {status}{last_words}")]
    Exited {
        /// The program.
        program: String,
        /// Its exit status.
        status: i32,
        /// The end of its standard error.
        last_words: LastWords,
    },
    /// A signal ended the program.
    #[error("`{program}` was killed by {signal}{last_words}")]
    Killed {
        /// The program.
        program: String,
        /// The signal's name and number.
        signal: String,
        /// The end of its standard error.
        last_words: LastWords,
    },
    /// The program ran for longer than it may, and was stopped.
    #[error("`{program}` exceeded {limit:?} and was stopped{last_words}")]
    TimedOut {
        /// The program.
        program: String,
        /// The time limit for the whole run.
        limit: Duration,
        /// The end of its standard error.
        last_words: LastWords,
    },
    /// The stream that somebody else feeds did not end in time.
    #[error("standard input did not end within {limit:?}")]
    InputTimedOut {
        /// The time limit for the whole stream.
        limit: Duration,
    },
    /// The program closed its output and went on running for longer than it may, and was stopped.
    #[error("`{program}` closed its output and did not end within {limit:?}; it was stopped{last_words}")]
    HungAfterOutput {
        /// The program.
        program: String,
        /// How long it was waited for.
        limit: Duration,
        /// The end of its standard error.
        last_words: LastWords,
    },
    /// The program ended well, but something that it had started kept its pipe open, silent.
    #[error("`{program}` exited, but a background process kept the pipe open for {limit:?}{last_words}")]
    PipeHeldOpen {
        /// The program.
        program: String,
        /// How long it was waited for.
        limit: Duration,
        /// The end of its standard error.
        last_words: LastWords,
    },
    /// Somebody asked to stop.
    #[error("`{program}` was stopped: cancelled")]
    Cancelled {
        /// The program.
        program: String,
    },
    /// The dump was finished before all its bytes were read: a bug of the caller.
    #[error("the output of `{program}` was not read to its end")]
    NotReadToEnd {
        /// The program.
        program: String,
    },
    /// The program that takes a restore ended, or closed its input, before it had read everything, and said nothing is
    /// wrong.
    #[error("`{program}` stopped reading before the end of the stream{last_words}")]
    StoppedReading {
        /// The program.
        program: String,
        /// The end of its standard error.
        last_words: LastWords,
    },
    /// Two streams of a snapshot would bear the same name.
    #[error("database `{name}` clashes with the stream that --pg-globals creates")]
    StreamName {
        /// The name.
        name: &'static str,
    },
    /// PostgreSQL's side of it.
    #[error(transparent)]
    Postgres(#[from] postgres::PostgresError),
    /// Redis's or Valkey's side of it.
    #[error(transparent)]
    Redis(#[from] redis::RedisError),
    /// Files, and what keeps them from being read.
    #[error(transparent)]
    Files(#[from] files::FilesError),
    /// A bucket, and what keeps it from being read.
    #[error(transparent)]
    Bucket(#[from] bucket::BucketError),
    /// An index that could not be made.
    #[error(transparent)]
    Indexed(#[from] indexed::IndexedError),
}

impl SourceError {
    /// What to do about it, where that can be known: one sentence for a person.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::ProgramNotFound { program } if program.contains('/') => {
                Some(format!("check the path `{program}`"))
            }
            Self::ProgramNotFound { program } => Some(format!(
                "install it, add its directory to PATH, or give its full path instead of `{program}`"
            )),
            Self::Killed { signal, .. } if signal.starts_with("SIGKILL") => {
                Some("probably out of memory; check `dmesg`".to_owned())
            }
            Self::InputTimedOut { .. } => Some(
                "raise --timeout, or find what its producer waits for (table lock, network, prompt)"
                    .to_owned(),
            ),
            Self::TimedOut { .. } | Self::HungAfterOutput { .. } => {
                Some("raise --timeout, or find what it waits for (table lock, network, prompt)".to_owned())
            }
            Self::PipeHeldOpen { .. } => Some("make the command wait for its children".to_owned()),
            Self::Exited { last_words, .. } => {
                let dumps = ["pg_dump:", "pg_dumpall:"].iter().any(|name| last_words.as_str().contains(name));
                let doing = match dumps {
                    true => postgres::Doing::Dump,
                    false => postgres::Doing::Restore(postgres::Given::default()),
                };
                self.failure().and_then(|failure| failure.hint(doing)).map(str::to_owned)
            }
            Self::Postgres(error) => error.hint(),
            Self::Redis(error) => error.hint(),
            Self::Bucket(error) => error.hint(),
            Self::StreamName { .. } => {
                Some("exclude it ({pg_exclude_database}) and back it up on its own".to_owned())
            }
            _ => None,
        }
    }

    /// What went wrong in one of PostgreSQL's programs, if it was one of them and its words are known.
    pub fn failure(&self) -> Option<postgres::Failure> {
        match self {
            Self::Exited { last_words, .. }
                if POSTGRES_PROGRAMS.iter().any(|name| last_words.as_str().contains(name)) =>
            {
                postgres::Failure::of(last_words.as_str())
            }
            Self::Postgres(error) => error.failure(),
            _ => None,
        }
    }
}

/// How PostgreSQL's programs begin their messages, wherever they run.
const POSTGRES_PROGRAMS: [&str; 4] = ["pg_dump:", "pg_restore:", "pg_dumpall:", "psql:"];

/// The end of what a program wrote to its standard error: whole lines, at most 8 KiB; safe to print. Displays as
/// nothing when empty, else as `:` and its last lines, indented.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LastWords(String);

/// How many of the kept lines a message shows.
const LINES_SHOWN_MAX: usize = 20;

/// How many of them those are that tell what went wrong, where there are more lines than that.
const TELLING_SHOWN_MAX: usize = 12;

/// How much of a line a message shows.
const LINE_CHARS_MAX: usize = 400;

/// Whether a line of a program's tells what went wrong, in PostgreSQL's way.
fn is_telling(line: &str) -> bool {
    const WORDS: [&str; 9] =
        ["ERROR:", "FATAL:", "PANIC:", "DETAIL:", "HINT:", "CONTEXT:", "LINE ", "QUERY:", " error: "];
    WORDS.iter().any(|word| line.contains(word))
}

impl LastWords {
    /// Keeps the text, without colours; control characters become blanks, since a terminal may obey them.
    pub fn new(text: &str) -> Self {
        let harmless = |c: char| if c.is_control() && c != '\n' { ' ' } else { c };
        Self(without_colours(text.trim_end()).chars().map(harmless).collect())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Takes away what sets colours: `ESC [ … m`.
fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("\u{1b}[") {
        plain += before;
        let end = behind.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        rest = match end.strip_prefix(['m', 'K']) {
            Some(later) => later,
            // Something else, of which only the escape is made harmless.
            None => {
                plain += "\u{1b}[";
                behind
            }
        };
    }
    plain + rest
}

impl fmt::Display for LastWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        f.write_str(":")?;
        shown(&self.0).iter().try_for_each(|line| {
            write!(f, "\n  ")?;
            match line.char_indices().nth(LINE_CHARS_MAX) {
                Some((end, _)) => write!(f, "{}…", line.get(..end).unwrap_or_default()),
                None => f.write_str(line),
            }
        })
    }
}

/// The lines to show: the last ones, and if there are too many, those before them that tell what went wrong.
fn shown(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().collect();
    if lines.len() <= LINES_SHOWN_MAX {
        return lines;
    }
    let is_told = |line: &&&str| is_telling(line);
    let telling: Vec<&str> = lines.iter().filter(is_told).take(TELLING_SHOWN_MAX).copied().collect();
    let last = lines.len() - (LINES_SHOWN_MAX - telling.len());
    let is_cut = lines.iter().take(last).any(|line| is_telling(line));
    let mut shown = if is_cut { telling } else { Vec::new() };
    if is_cut {
        shown.push("…");
    }
    let room = LINES_SHOWN_MAX.saturating_sub(shown.len());
    let rest = lines.iter().skip(lines.len().saturating_sub(room));
    // Those that were told already are not told twice.
    shown.extend(rest.filter(|line| !is_cut || !is_telling(line)));
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_shown_before_the_long_statement_behind_it() {
        let columns: String = (0..60).map(|at| format!("    c{at} integer,\n")).collect();
        let said = format!(
            "pg_restore: error: could not execute query: ERROR:  function hh(integer) does not exist\n\
             HINT:  No function matches.\nCommand was: CREATE TABLE w (\n{columns});\n"
        );
        let shown = LastWords::new(&said).to_string();
        assert!(shown.contains("ERROR:  function hh") && shown.contains("HINT:"), "{shown}");
        assert!(shown.contains("c59 integer") && !shown.contains("c1 integer"), "{shown}");
        assert_eq!(shown.matches("ERROR").count(), 1);
        assert!(shown.lines().count() <= LINES_SHOWN_MAX + 1);
        let short = LastWords::new("one\ntwo ERROR: x\nthree").to_string();
        assert_eq!(short, ":\n  one\n  two ERROR: x\n  three");
        let long = LastWords::new(&format!("ERROR: {}", "ü".repeat(5000))).to_string();
        assert!(long.chars().count() < 500 && long.ends_with('…'));
        let plain: String = (0..60).map(|at| format!("line {at}\n")).collect();
        assert!(LastWords::new(&plain).to_string().starts_with(":\n  line 40\n"));
    }

    #[test]
    fn colours_of_programs_are_taken_away() {
        let words = LastWords::new("pg_dump: \u{1b}[01;31merror: \u{1b}[0mno\u{1b}[K such \u{1b} table");
        assert_eq!(words.as_str(), "pg_dump: error: no such   table");
    }
}
