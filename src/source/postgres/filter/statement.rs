//! What of a statement decides where it ends, and what follows: rows, other settings, another database.

use super::Reason;
use super::foreign::Foreign;
use super::schedules::Schedules;

/// Tokens that are kept of a statement's front; of one that makes or changes something, more.
const FRONT_MAX: usize = 8;
const FRONT_MAX_OF_DEFINITION: usize = 16;

/// A piece of SQL that is neither white space nor a comment.
#[derive(Debug, Clone, Copy)]
pub(super) enum Token<'a> {
    /// A name or a keyword, in small letters.
    Word(&'a str),
    /// A quoted name, without its quotes.
    Name(&'a str),
    /// One with escapes in it: `U&"…"`.
    EscapedName,
    /// A text's beginning.
    Text(&'a str),
    /// Digits, a dollar quote.
    Value,
    /// Any other byte.
    Other(u8),
}

/// What a statement does to the reading of what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing that shows.
    None,
    /// The server asks for rows: the following lines are data.
    Rows,
    /// The same, for a table that holds jobs.
    Jobs(String),
    /// `standard_conforming_strings`.
    Quoting(Option<bool>),
    /// `client_encoding`; empty when it is not known.
    Encoding(String),
    /// Settings go back to what they were at some time.
    AllUnknown,
}

/// How far a COPY has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Copy {
    /// Another statement.
    #[default]
    No,
    Begun,
    Binary,
    Named,
    Dotted,
    Columns,
    Listed,
    From,
    Program,
    /// Rows follow.
    Rows,
    /// It reads or writes something else than the rest of the script.
    Elsewhere,
}

/// The statement under way.
#[derive(Debug, Default)]
pub(super) struct Statement {
    tokens: u64,
    front: Vec<String>,
    parens: u32,
    /// Unquoted names, as psql counts them, and the initials of the first four that it minds.
    names: usize,
    initials: [u8; 4],
    /// Nested BEGIN and CASE of a function's body.
    begins: u32,
    /// BEGIN was the last token; it opens a body only before ATOMIC.
    awaits_atomic: bool,
    is_atomic: bool,
    /// A semicolon that ends nothing was the last token.
    inner_end: bool,
    copy: Copy,
    /// For a database that must not act by itself: the tables that would write to other servers, and the jobs that a
    /// server would run.
    outside: Option<(Foreign, Schedules)>,
}

impl Statement {
    /// From now on, rows for foreign tables are refused, and jobs.
    pub(super) fn keep_from_others(&mut self) {
        self.outside = Some(Default::default());
    }

    /// Whether nothing of it has come.
    pub(super) fn is_empty(&self) -> bool {
        self.tokens == 0
    }

    /// Takes the next token. A semicolon is not one: see [`Statement::semicolon`].
    pub(super) fn token(&mut self, token: Token<'_>) -> Result<(), Reason> {
        if let (true, Token::Word("copy")) = (self.inner_end, token) {
            return Err(Reason::Ambiguous("COPY behind a semicolon that ends no statement"));
        }
        if self.tokens == 0 && matches!(token, Token::Word("copy")) {
            self.copy = Copy::Begun;
        } else {
            self.copy = self.copy.next(token, self.parens)?;
        }
        self.inner_end = false;
        if std::mem::take(&mut self.awaits_atomic) && matches!(token, Token::Word("atomic")) {
            self.is_atomic = true;
        }
        match token {
            Token::Word(word) => self.word(word),
            Token::Other(b'(') => self.parens = self.parens.saturating_add(1),
            Token::Other(b')') => self.parens = self.parens.saturating_sub(1),
            _ => {}
        }
        self.tokens += 1;
        let is_definition = matches!(self.front.first().map(String::as_str), Some("create" | "alter"));
        if self.front.len() < if is_definition { FRONT_MAX_OF_DEFINITION } else { FRONT_MAX } {
            self.front.push(match token {
                Token::Word(word) => word.to_owned(),
                Token::Text(text) => format!("'{text}"),
                Token::Other(byte) => char::from(byte).to_string(),
                Token::Name(name) => format!("\"{name}"),
                Token::EscapedName | Token::Value => String::new(),
            });
        }
        Ok(())
    }

    /// As psql finds out whether semicolons belong to a function's body.
    fn word(&mut self, word: &str) {
        let minded = matches!(word, "create" | "function" | "procedure" | "or" | "replace");
        if let (true, Some(initial)) = (minded, self.initials.get_mut(self.names)) {
            *initial = word.bytes().next().unwrap_or_default();
        }
        self.names = self.names.saturating_add(1);
        let is_function =
            matches!(self.initials, [b'c', b'f' | b'p', _, _] | [b'c', b'o', b'r', b'f' | b'p']);
        if !is_function || self.parens > 0 {
            return;
        }
        match word {
            "begin" => {
                self.awaits_atomic = self.begins == 0;
                self.begins = self.begins.saturating_add(1);
            }
            "case" if self.begins > 0 => self.begins = self.begins.saturating_add(1),
            "end" => self.begins = self.begins.saturating_sub(1),
            _ => {}
        }
    }

    /// A semicolon: what the statement does, if it ends there.
    pub(super) fn semicolon(&mut self) -> Result<Option<Effect>, Reason> {
        if self.begins > 0 && !self.is_atomic {
            // psql before version 14 knows no such bodies, and ends the statement here.
            return Err(Reason::Ambiguous("BEGIN without ATOMIC in CREATE FUNCTION or PROCEDURE"));
        }
        if self.parens > 0 || self.begins > 0 {
            if self.copy != Copy::No {
                return Err(Reason::Ambiguous("a semicolon within a COPY command"));
            }
            self.inner_end = true;
            self.tokens += 1;
            return Ok(None);
        }
        let mut ended = std::mem::take(self);
        let mut jobs = None;
        if let Some((foreign, schedules)) = &mut ended.outside {
            let front: Vec<&str> = ended.front.iter().map(String::as_str).collect();
            foreign.see(&front)?;
            jobs = schedules.see(&front)?;
        }
        self.outside = ended.outside.take();
        Ok(Some(match (ended.effect()?, jobs) {
            (Effect::Rows, Some(table)) => Effect::Jobs(table),
            (effect, _) => effect,
        }))
    }

    fn effect(&self) -> Result<Effect, Reason> {
        let front: Vec<&str> = self.front.iter().map(String::as_str).collect();
        match self.copy {
            Copy::Rows => return Ok(Effect::Rows),
            Copy::No | Copy::Elsewhere => {}
            _ => return Err(Reason::Ambiguous("a COPY command of an unknown form")),
        }
        Ok(match front.as_slice() {
            ["create" | "drop", "database", ..] => return Err(Reason::OwnDatabase),
            ["set", rest @ ..] => setting(rest),
            ["reset", "all" | "client_encoding" | "names" | "standard_conforming_strings", ..]
            | ["discard" | "rollback" | "abort", ..] => Effect::AllUnknown,
            _ => Effect::None,
        })
    }
}

/// What a SET does, told by what comes behind the word.
fn setting(rest: &[&str]) -> Effect {
    let (is_local, rest) = match rest {
        ["local", rest @ ..] => (true, rest),
        ["session", rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let (name, value) = match rest {
        ["names", value] => ("client_encoding", *value),
        [name, "=" | "to", value] => (*name, *value),
        // More than one value, or none: whatever it does is not known.
        [name @ ("client_encoding" | "names" | "standard_conforming_strings"), ..] => (*name, ""),
        _ => return Effect::None,
    };
    let value = if is_local { "" } else { value.trim_start_matches('\'') };
    match name {
        "standard_conforming_strings" => Effect::Quoting(match value.to_ascii_lowercase().as_str() {
            "on" | "true" | "yes" | "1" => Some(true),
            "off" | "false" | "no" | "0" => Some(false),
            _ => None,
        }),
        "client_encoding" | "names" => Effect::Encoding(value.to_owned()),
        _ => Effect::None,
    }
}

impl Copy {
    /// `COPY [BINARY] table [(columns)] FROM STDIN`, as the server's grammar has it; all else must read or write
    /// elsewhere.
    fn next(self, token: Token<'_>, parens: u32) -> Result<Self, Reason> {
        use Token::{EscapedName, Name, Other, Text, Word};
        Ok(match (self, token) {
            (Self::No | Self::Elsewhere | Self::Rows, _) => self,
            (Self::Columns, Other(b')')) if parens == 1 => Self::Listed,
            (Self::Columns, _) => self,
            (Self::Begun, Word("binary")) => Self::Binary,
            (Self::Begun, Other(b'(')) => Self::Elsewhere,
            (Self::Begun | Self::Binary | Self::Dotted, Word("from" | "to")) => return Err(unknown()),
            (Self::Begun | Self::Binary | Self::Dotted, Word(_) | Name(_) | EscapedName) => Self::Named,
            (Self::Named, Other(b'.')) => Self::Dotted,
            (Self::Named, Other(b'(')) => Self::Columns,
            (Self::Named | Self::Listed, Word("from")) => Self::From,
            (Self::Named | Self::Listed, Word("to")) => Self::Elsewhere,
            // The server takes one for the other.
            (Self::From, Word("stdin" | "stdout")) => Self::Rows,
            (Self::From, Word("program")) => Self::Program,
            (Self::From | Self::Program, Text(_)) => Self::Elsewhere,
            _ => return Err(unknown()),
        })
    }
}

fn unknown() -> Reason {
    Reason::Ambiguous("a COPY command of an unknown form")
}
