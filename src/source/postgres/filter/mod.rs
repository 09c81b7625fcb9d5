//! A filter between a script and psql: nothing in the script runs on the machine that restores it.
//!
//! psql executes any backslash outside quotes as a command of its own: `\!` runs a shell, `\i` reads a file, `\connect`
//! goes to another database. The filter reads the script as psql does and lets only those through that a dump needs.
//!
//! How psql reads depends on two settings of the session, `standard_conforming_strings` and `client_encoding`, and any
//! function that the script calls may change them unseen. So a statement that another setting would have read
//! differently is held back until its end, and goes out behind a line that sets both to what the filter has read it by.
//! Where versions of psql differ, or psql and the server, the script is refused.
//!
//! | file | hides |
//! |---|---|
//! | `lex` | strings, names, dollar quotes and comments |
//! | `statement` | where a statement ends, which COPY has rows in the script, which SET matters |
//! | `encoding` | characters with an ASCII byte in them |
//! | `foreign` | which tables hand rows on to another server |
//! | `schedules` | which tables hold jobs that the server runs by itself |

mod encoding;
mod foreign;
mod lex;
mod schedules;
mod statement;

use encoding::{Doubt, Encoding, Mask};
use lex::{Event, Lexer, Step};
use memchr::{memchr, memchr_iter, memmem};
use statement::{Effect, Statement};
use std::fmt;
use std::io;

/// A statement is held back up to this length. A longer one goes out behind a guard, needed or not.
const HELD_BYTES_MAX: usize = 64 << 10;
/// The longest line of a command of psql's.
const COMMAND_BYTES_MAX: usize = 1024;
/// So much of a command is shown.
const COMMAND_CHARS_SHOWN: usize = 32;

/// Why a script is not fed to psql.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("refused: {reason} in line {line} of the script")]
pub struct ScriptRefused {
    /// The line, from 1.
    pub line: u64,
    /// What stands there.
    pub reason: Reason,
}

/// What a script is refused for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// A command of psql's; its name, cleaned for display.
    Command(String),
    /// A `\connect`; as it stands there, cleaned for display.
    Connect(String),
    /// A variable of psql's own; its name.
    Variable(String),
    /// The script makes or drops a database.
    OwnDatabase,
    /// It can be read in more than one way.
    Ambiguous(&'static str),
    /// A zero byte: this is no text.
    NotText,
    /// Rows for a foreign table, or one that hands them on to such a table; its name.
    ForeignRows(String),
    /// A job for a scheduler within the server; the table that holds it.
    Schedule(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(name) => write!(f, "psql command `{name}`"),
            Self::Connect(line) => write!(f, "`{line}`, which changes the database,"),
            Self::Variable(name) => write!(f, "psql variable `:{name}`"),
            Self::OwnDatabase => f.write_str("CREATE or DROP DATABASE"),
            Self::Ambiguous(what) => write!(f, "{what}, which can be read in two ways,"),
            Self::NotText => f.write_str("a zero byte, which is not text,"),
            Self::ForeignRows(table) => {
                write!(f, "rows for foreign table `{table}`, which would be written to its server,")
            }
            Self::Schedule(table) => {
                write!(f, "rows of `{table}`, which tell a scheduler of the server what to run,")
            }
        }
    }
}

impl ScriptRefused {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match &self.reason {
            Reason::Schedule(table) => {
                return Some(format!(
                    "back up with `pg_dump -Fc`, of which such rows are left out, or with `--exclude-table-data={table}`"
                ));
            }
            Reason::Connect(_) | Reason::OwnDatabase => {
                "the script makes or changes databases by itself: run it as a whole with `dumpvault cat SNAPSHOT | psql -X -d postgres`"
            }
            Reason::NotText => return None,
            Reason::ForeignRows(_) => {
                "back up with `pg_dump -Fc`, of which such rows can be left out, or without --include-foreign-data"
            }
            Reason::Command(_) | Reason::Variable(_) | Reason::Ambiguous(_) => {
                "psql would run it on this machine; read the script first, and use --allow-psql-commands only if you trust it"
            }
        }
        .to_owned())
    }
}

/// A script could not be passed on.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// It is refused.
    #[error(transparent)]
    Refused(#[from] ScriptRefused),
    /// Whatever takes it failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// How the session reads when the script begins.
#[derive(Debug, Clone, Default)]
pub struct SessionSettings {
    /// `standard_conforming_strings`, if known.
    pub conforming: Option<bool>,
    /// `client_encoding`; empty if not known.
    pub encoding: String,
}

/// Which part of the script comes next.
#[derive(Debug)]
enum Phase {
    /// So many bytes of a byte order mark have come.
    Mark(usize),
    Sql,
    /// A command of psql's, and whether it stands alone on its line, between statements.
    Command {
        line: Vec<u8>,
        alone: bool,
    },
    /// Behind the semicolon of a COPY: rows begin with the next line.
    BeforeRows,
    Rows(Row),
}

/// How much of the mark that ends rows has come since the line began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Row {
    Start,
    Backslash,
    Dot,
    Carriage,
    Inside,
}

/// Passes a script on to psql, as long as it can be.
#[derive(Debug)]
pub struct ScriptFilter {
    database: String,
    conforming: Option<bool>,
    encoding: Option<Encoding>,
    phase: Phase,
    lexer: Lexer,
    statement: Statement,
    mask: Mask,
    doubt: Doubt,
    /// The statement under way, with what stands before it.
    held: Vec<u8>,
    quoting_doubt: bool,
    encoding_doubt: bool,
    /// A part of the statement went out already; behind a guard, or not.
    released: Option<bool>,
    /// The last byte that went out, and the last that came, ended a line.
    out_ended_line: bool,
    in_ended_line: bool,
    line: u64,
    dump_ended: bool,
    text_behind_end: Option<u64>,
    /// The table, if it holds jobs, that rows are about to come for: there may be none.
    jobs: Option<String>,
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl ScriptFilter {
    /// A filter for a script that goes into `database`.
    pub fn new(database: impl Into<String>, settings: &SessionSettings) -> Self {
        Self {
            database: database.into(),
            conforming: settings.conforming,
            encoding: Encoding::named(&settings.encoding),
            phase: Phase::Mark(0),
            lexer: Lexer::new(),
            statement: Statement::default(),
            mask: Mask::default(),
            doubt: Doubt::default(),
            held: Vec::new(),
            quoting_doubt: false,
            encoding_doubt: false,
            released: None,
            out_ended_line: true,
            in_ended_line: true,
            line: 1,
            dump_ended: false,
            text_behind_end: None,
            jobs: None,
        }
    }

    /// Refuses rows for foreign tables, and jobs: the database is a copy that must neither write to other servers nor
    /// do anything by itself.
    pub fn keep_from_others(mut self) -> Self {
        self.statement.keep_from_others();
        self
    }

    /// The line of the first statement behind the comment that ends a dump of `pg_dump`, if there is one.
    pub fn text_behind_end(&self) -> Option<u64> {
        self.text_behind_end
    }

    /// Takes the next bytes, and gives `out` those that may go on, with what is put between them.
    ///
    /// # Errors
    /// When the script is refused, or `out` fails. Nothing more may be passed on then.
    pub fn push(
        &mut self,
        bytes: &[u8],
        out: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), FilterError> {
        let text = memchr(0, bytes).and_then(|at| bytes.get(..at));
        self.pass(text.unwrap_or(bytes), out)?;
        match text {
            None => Ok(()),
            Some(_) => Err(self.refused(Reason::NotText).into()),
        }
    }

    fn pass(
        &mut self,
        bytes: &[u8],
        out: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), FilterError> {
        let mut rest = bytes;
        while let Some((&byte, behind)) = rest.split_first() {
            if let Phase::Rows(row) = self.phase {
                let mut looked_at = rest;
                if self.jobs.is_some() {
                    self.no_job(row, byte)?;
                    looked_at = rest.get(..1).unwrap_or(rest);
                }
                let taken = self.rows(looked_at, row);
                let (passed, behind) = rest.split_at_checked(taken).unwrap_or((rest, &[]));
                self.send(passed, out)?;
                rest = behind;
                continue;
            }
            self.byte(byte, out)?;
            if byte == b'\n' {
                self.line += 1;
            }
            self.in_ended_line = byte == b'\n' || matches!(self.phase, Phase::Mark(_));
            rest = behind;
        }
        Ok(())
    }

    /// The end of the script.
    ///
    /// # Errors
    /// As [`ScriptFilter::push`].
    pub fn finish(&mut self, out: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> Result<(), FilterError> {
        if let Phase::Command { line, alone } = &mut self.phase {
            let (line, alone) = (std::mem::take(line), *alone);
            self.command(&line, alone)?;
        }
        self.release(out)
    }

    fn refused(&self, reason: Reason) -> ScriptRefused {
        ScriptRefused { line: self.line, reason }
    }

    fn byte(&mut self, byte: u8, out: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> Result<(), FilterError> {
        match &mut self.phase {
            Phase::Mark(came) => {
                // psql passes over a mark in its first line, which is not the script's first.
                if BYTE_ORDER_MARK.get(*came) == Some(&byte) {
                    *came += 1;
                    return Ok(());
                }
                let missed = BYTE_ORDER_MARK.get(..*came).filter(|mark| mark.len() < BYTE_ORDER_MARK.len());
                self.phase = Phase::Sql;
                for byte in missed.unwrap_or_default() {
                    self.sql(*byte, out)?;
                }
                self.sql(byte, out)
            }
            Phase::Sql => self.sql(byte, out),
            Phase::Command { line, alone } => {
                if byte != b'\n' && line.len() < COMMAND_BYTES_MAX {
                    line.push(byte);
                    return Ok(());
                }
                let (line, alone) = (std::mem::take(line), *alone);
                if byte != b'\n' {
                    return Err(self.refused(Reason::Command(command_name(&line))).into());
                }
                self.phase = Phase::Sql;
                self.command(&line, alone)?;
                self.held.push(byte);
                self.release(out)?;
                self.released = None;
                Ok(())
            }
            Phase::BeforeRows => match byte {
                b'\n' => {
                    self.phase = Phase::Rows(Row::Start);
                    self.held.push(byte);
                    self.release(out)?;
                    self.released = None;
                    Ok(())
                }
                b' ' | b'\t' | b'\r' => {
                    self.held.push(byte);
                    Ok(())
                }
                _ => Err(self.refused(Reason::Ambiguous("more than COPY in one line")).into()),
            },
            Phase::Rows(_) => Ok(()),
        }
    }

    fn sql(&mut self, byte: u8, out: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> Result<(), FilterError> {
        let between = self.lexer.is_between() && self.statement.is_empty() && self.in_ended_line;
        let seen = self.mask.see(byte, self.encoding.as_ref());
        let doubtful = self.doubt.see(byte).then_some(byte);
        let conforming = self.conforming.unwrap_or(true);
        let step = self.lexer.step(seen, doubtful, conforming, &mut self.statement);
        let Step { quoting_doubt, encoding_doubt, event } = step.map_err(|reason| self.refused(reason))?;
        self.quoting_doubt |= quoting_doubt;
        self.encoding_doubt |= encoding_doubt;
        if self.dump_ended && self.text_behind_end.is_none() && !self.statement.is_empty() {
            self.text_behind_end = Some(self.line);
        }
        match event {
            Some(Event::Backslash) => {
                self.phase = Phase::Command { line: vec![byte], alone: between };
                return Ok(());
            }
            Some(Event::Comment) => match self.lexer.comment() {
                b" PostgreSQL database dump complete" => self.dump_ended = true,
                b" PostgreSQL database dump" | b" PostgreSQL database cluster dump" => {
                    self.dump_ended = false
                }
                _ => {}
            },
            Some(Event::End(effect)) => {
                self.held.push(byte);
                self.release(out)?;
                self.released = None;
                self.take(effect);
                return Ok(());
            }
            None => {}
        }
        self.held.push(byte);
        if byte == b'\n' && self.statement.is_empty() && self.lexer.is_between() {
            // psql executes a statement when it has the whole line.
            self.release(out)?;
            self.released = None;
        }
        if self.held.len() >= HELD_BYTES_MAX {
            let knows_both = self.conforming.is_some() && self.encoding.is_some();
            if self.released.is_none() && knows_both {
                (self.quoting_doubt, self.encoding_doubt) = (true, true);
            }
            self.release(out)?;
        }
        Ok(())
    }

    fn take(&mut self, effect: Effect) {
        match effect {
            Effect::None => {}
            Effect::Rows => self.phase = Phase::BeforeRows,
            Effect::Jobs(table) => {
                self.jobs = Some(table);
                self.phase = Phase::BeforeRows;
            }
            Effect::Quoting(conforming) => self.conforming = conforming,
            Effect::Encoding(name) => self.encoding = Encoding::named(&name),
            Effect::AllUnknown => (self.conforming, self.encoding) = (None, None),
        }
    }

    /// Lets go of what is held, behind a guard where the settings matter.
    fn release(&mut self, out: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> Result<(), FilterError> {
        let (quoting, encoding) = (self.quoting_doubt, self.encoding_doubt);
        (self.quoting_doubt, self.encoding_doubt) = (false, false);
        if (quoting || encoding) && self.released != Some(true) {
            // Its beginning is gone, and nothing stands before it.
            let too_late = self.released == Some(false);
            let guard = self.guard(quoting, encoding).filter(|_| !too_late);
            let Some(guard) = guard else {
                let what = "a backslash before a quote, or a letter of several bytes,";
                return Err(self.refused(Reason::Ambiguous(what)).into());
            };
            if !self.out_ended_line {
                self.send(b"\n", out)?;
            }
            self.send(guard.as_bytes(), out)?;
        }
        if !self.held.is_empty() {
            self.released = Some(self.released.unwrap_or(quoting && encoding));
        }
        let held = std::mem::take(&mut self.held);
        self.send(&held, out)?;
        self.held = held;
        self.held.clear();
        Ok(())
    }

    /// Sets what the statement was read by. psql follows both settings at the end of each command, and by lines.
    fn guard(&self, quoting: bool, encoding: bool) -> Option<String> {
        let mut line = String::new();
        if quoting {
            let value = if self.conforming? { "on" } else { "off" };
            line.push_str(&format!("SET standard_conforming_strings = {value};"));
        }
        if encoding {
            line.push_str(&format!("SET client_encoding = '{}';", self.encoding.as_ref()?.name()));
        }
        line.push('\n');
        Some(line)
    }

    fn send(&mut self, bytes: &[u8], out: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let Some(last) = bytes.last() else { return Ok(()) };
        out(bytes)?;
        self.out_ended_line = *last == b'\n';
        Ok(())
    }

    /// Judges a command of psql's, without its line end. What may go on is held like SQL.
    fn command(&mut self, line: &[u8], alone: bool) -> Result<(), ScriptRefused> {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end();
        let (name, rest) = text.split_once(' ').unwrap_or((text, ""));
        let is_word = !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric());
        match name {
            // psql says what is wrong with it.
            "\\." if alone && rest.is_empty() => {}
            "\\restrict" | "\\unrestrict" if alone && is_word => {}
            "\\encoding" if alone && is_plain(rest) && Encoding::named(rest).is_some() => {
                self.encoding = Encoding::named(rest);
            }
            "\\connect" | "\\c" if alone && connects_to(rest) == Some(self.database.clone()) => return Ok(()),
            "\\connect" | "\\c" => return Err(self.refused(Reason::Connect(shown(text, usize::MAX)))),
            _ => return Err(self.refused(Reason::Command(command_name(line)))),
        }
        self.held.extend_from_slice(line);
        Ok(())
    }

    /// Refuses a row where the mark that ends rows should stand.
    fn no_job(&mut self, row: Row, byte: u8) -> Result<(), ScriptRefused> {
        match (row, byte) {
            (Row::Start, b'\\') => Ok(()),
            (Row::Backslash, b'.') => {
                self.jobs = None;
                Ok(())
            }
            _ => Err(self.refused(Reason::Schedule(self.jobs.clone().unwrap_or_default()))),
        }
    }

    /// Rows of a COPY; gives how many bytes it took.
    fn rows(&mut self, bytes: &[u8], row: Row) -> usize {
        let mut row = row;
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if row == Row::Inside {
                let rest = bytes.get(at..).unwrap_or_default();
                match memmem::find(rest, b"\n\\.") {
                    Some(found) => {
                        at += found + 3;
                        row = Row::Dot;
                    }
                    None => {
                        at = bytes.len();
                        row = match rest {
                            [.., b'\n', b'\\'] => Row::Backslash,
                            [.., b'\n'] => Row::Start,
                            _ => Row::Inside,
                        };
                    }
                }
                continue;
            }
            at += 1;
            row = match (row, byte) {
                (Row::Dot | Row::Carriage, b'\n') => {
                    self.line += lines(bytes.get(..at).unwrap_or_default());
                    self.phase = Phase::Sql;
                    self.in_ended_line = true;
                    return at;
                }
                (_, b'\n') => Row::Start,
                (Row::Start, b'\\') => Row::Backslash,
                (Row::Backslash, b'.') => Row::Dot,
                (Row::Dot, b'\r') => Row::Carriage,
                _ => Row::Inside,
            };
        }
        self.line += lines(bytes);
        self.phase = Phase::Rows(row);
        at
    }
}

fn lines(bytes: &[u8]) -> u64 {
    memchr_iter(b'\n', bytes).count() as u64
}

/// Nothing in it means anything to psql.
fn is_plain(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// The first word of a line.
fn command_name(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    shown(text.split(char::is_whitespace).next().unwrap_or_default(), COMMAND_CHARS_SHOWN)
}

/// Text of the script's, fit for a terminal and short.
fn shown(text: &str, chars_max: usize) -> String {
    let clean = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
    clean.take(chars_max.min(COMMAND_BYTES_MAX)).collect()
}

/// The database of a `\connect` as `pg_dump` writes it; `None` if there is more to it than a database.
fn connects_to(rest: &str) -> Option<String> {
    let rest = rest.strip_prefix("-reuse-previous=on ").unwrap_or(rest);
    let Some(quoted) = rest.strip_prefix('"') else {
        return Some(rest.to_owned()).filter(|name| is_plain(name) && !name.is_empty() && name != "-");
    };
    let mut name = String::new();
    let mut chars = quoted.strip_suffix('"')?.chars();
    while let Some(c) = chars.next() {
        if c == '"' && chars.next() != Some('"') {
            return None;
        }
        name.push(c);
    }
    let Some(value) = name.strip_prefix("dbname=") else {
        return (!name.contains('=') && !name.contains("://")).then_some(name);
    };
    let value = value.strip_prefix('\'')?.strip_suffix('\'')?;
    let mut name = String::new();
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\'' => return None,
            '\\' => name.push(chars.next()?),
            c => name.push(c),
        }
    }
    Some(name)
}
