//! SQL as psql's lexer takes it apart: what is a string, a name, a comment, and so where a backslash begins a command
//! of psql's.
//!
//! Where versions of psql, or psql and the server, read the same bytes differently, the script is refused. Where two
//! settings lead to different readings, that is said as a [`Step::doubt`].

use super::Reason;
use super::statement::{Effect, Statement, Token};

/// Of a name, a text or a comment so much is kept.
const KEPT_BYTES_MAX: usize = 64;
/// A dollar quote's tag is a name.
const TAG_BYTES_MAX: usize = 256;

/// How a text in single quotes is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `standard_conforming_strings` says whether backslashes escape.
    Plain,
    /// `E''`.
    Escape,
    /// `U&''`.
    Unicode,
    /// `B''` and `X''`, in which no quote is doubled.
    Bits,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Sql,
    Comment,
    Block {
        depth: u32,
    },
    Text(Kind),
    /// Behind a quote, which may be doubled.
    TextEnd(Kind),
    Name,
    NameEnd,
    /// The tag of a dollar quote, if it becomes one.
    Tag,
    Dollar {
        matched: usize,
    },
}

/// What came of a byte.
#[derive(Debug, Default)]
pub(super) struct Step {
    /// Another `standard_conforming_strings` would have it read differently.
    pub quoting_doubt: bool,
    /// Another `client_encoding` would.
    pub encoding_doubt: bool,
    /// What it ended or began.
    pub event: Option<Event>,
}

/// Something that is more than a byte.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A statement ended.
    End(Effect),
    /// A backslash where SQL was expected.
    Backslash,
    /// A comment to the end of the line.
    Comment,
}

/// Reads a script byte by byte.
#[derive(Debug)]
pub(super) struct Lexer {
    state: State,
    /// Word, text, name or comment under way.
    kept: Vec<u8>,
    /// Dollar quote's tag, with both dollars.
    tag: Vec<u8>,
    in_word: bool,
    /// The word began with a digit.
    is_number: bool,
    /// The word, text or name stands behind a colon: psql may put a variable's value in its place.
    is_variable: bool,
    /// `U&` has come.
    unicode: bool,
    /// It stands before the name under way.
    is_unicode: bool,
    /// A `-` or `/` that may begin a comment.
    pending: Option<u8>,
    /// A number has come with an E and a sign.
    exponent: bool,
    colon: bool,
    /// A carriage return has come, and a line end must follow.
    carriage: bool,
    /// In a text: an odd number of backslashes has come. In a block comment: the last byte.
    odd: bool,
    last: u8,
    /// A text ended, and perhaps a line since.
    behind_text: bool,
    line_since_text: bool,
    /// The text goes on with one of a line before.
    is_continued: bool,
}

impl Lexer {
    pub(super) fn new() -> Self {
        Self {
            state: State::Sql,
            kept: Vec::new(),
            tag: Vec::new(),
            in_word: false,
            is_number: false,
            is_variable: false,
            unicode: false,
            is_unicode: false,
            pending: None,
            exponent: false,
            colon: false,
            carriage: false,
            odd: false,
            last: 0,
            behind_text: false,
            line_since_text: false,
            is_continued: false,
        }
    }

    /// Whether the next byte is read as SQL, and belongs to nothing that came before.
    pub(super) fn is_between(&self) -> bool {
        self.state == State::Sql && !self.in_word && self.pending.is_none() && !self.unicode
    }

    /// The words of the comment that just ended.
    pub(super) fn comment(&self) -> &[u8] {
        self.kept.trim_ascii_end()
    }

    /// Reads a byte, as psql sees it. `doubtful` is the byte of the script, where psql sees it in one encoding and not
    /// in another; `conforming` is `standard_conforming_strings`.
    pub(super) fn step(
        &mut self,
        byte: u8,
        doubtful: Option<u8>,
        conforming: bool,
        statement: &mut Statement,
    ) -> Result<Step, Reason> {
        let mut step =
            Step { encoding_doubt: doubtful.is_some_and(|byte| self.minds(byte)), ..Step::default() };
        match self.state {
            State::Sql => step.event = self.sql(byte, statement)?,
            State::Comment => step.event = self.in_comment(byte)?,
            State::Block { depth } => self.in_block(byte, depth),
            State::Text(kind) => step.quoting_doubt = self.in_text(byte, kind, conforming)?,
            State::TextEnd(kind) if byte == b'\'' && kind != Kind::Bits => {
                self.keep(byte);
                self.state = State::Text(kind);
            }
            State::TextEnd(_) => {
                self.text_ended(statement)?;
                step.event = self.sql(byte, statement)?;
            }
            State::Name if byte == b'"' => self.state = State::NameEnd,
            State::Name => self.keep(byte),
            State::NameEnd if byte == b'"' => {
                self.keep(byte);
                self.state = State::Name;
            }
            State::NameEnd => {
                self.refuse_variable()?;
                self.state = State::Sql;
                match std::mem::take(&mut self.is_unicode) {
                    true => statement.token(Token::EscapedName)?,
                    false => statement.token(Token::Name(&String::from_utf8_lossy(&self.kept)))?,
                }
                step.event = self.sql(byte, statement)?;
            }
            State::Tag => step.event = self.in_tag(byte, statement)?,
            State::Dollar { matched } => self.in_dollar(byte, matched, statement)?,
        }
        Ok(step)
    }

    /// Whether it makes a difference that psql sees this byte.
    fn minds(&self, byte: u8) -> bool {
        if byte >= 0x80 {
            return false;
        }
        match self.state {
            State::Sql | State::TextEnd(_) | State::NameEnd | State::Tag => true,
            State::Comment => false,
            State::Block { .. } => matches!(byte, b'*' | b'/'),
            State::Text(_) => matches!(byte, b'\'' | b'\\'),
            State::Name => byte == b'"',
            State::Dollar { matched } => matched > 0 || byte == b'$',
        }
    }

    fn keep(&mut self, byte: u8) {
        if self.kept.len() < KEPT_BYTES_MAX {
            self.kept.push(byte);
        }
    }

    fn sql(&mut self, byte: u8, statement: &mut Statement) -> Result<Option<Event>, Reason> {
        if std::mem::take(&mut self.carriage) && byte != b'\n' {
            return Err(Reason::Ambiguous("a carriage return within a line"));
        }
        if std::mem::take(&mut self.exponent) && !byte.is_ascii_digit() {
            // Some versions of psql take the sign for a part of the number, so that `1e--` begins no comment.
            return Err(Reason::Ambiguous("an exponent without digits"));
        }
        if std::mem::take(&mut self.unicode) {
            match byte {
                b'\'' => return self.open_text(Kind::Unicode),
                b'"' => {
                    self.is_unicode = true;
                    return self.open_name();
                }
                _ => self.token(statement, Token::Other(b'&'))?,
            }
        }
        if self.in_word
            && let Some(event) = self.in_word(byte, statement)?
        {
            return Ok(event);
        }
        match (self.pending.take(), byte) {
            (Some(b'-'), b'-') => {
                self.kept.clear();
                self.state = State::Comment;
                return Ok(None);
            }
            (Some(b'/'), b'*') => {
                self.last = 0;
                self.state = State::Block { depth: 0 };
                return Ok(None);
            }
            (Some(pending), _) => self.token(statement, Token::Other(pending))?,
            (None, _) => {}
        }
        let behind_colon = std::mem::take(&mut self.colon);
        match byte {
            b'\n' => self.line_since_text = self.behind_text,
            b'\r' => self.carriage = true,
            b' ' | b'\t' | 0x0b | 0x0c => {}
            b'-' | b'/' => self.pending = Some(byte),
            b'\'' => {
                self.is_variable = behind_colon;
                return self.open_text(Kind::Plain);
            }
            b'"' => {
                self.is_variable = behind_colon;
                return self.open_name();
            }
            b'$' => {
                self.tag.clear();
                self.tag.push(byte);
                self.state = State::Tag;
            }
            b'{' if behind_colon => return Err(Reason::Variable("{".to_owned())),
            b':' => {
                self.token(statement, Token::Other(byte))?;
                self.colon = !behind_colon;
            }
            b'\\' => return Ok(Some(Event::Backslash)),
            b';' => {
                self.behind_text = false;
                return Ok(statement.semicolon()?.map(Event::End));
            }
            _ if is_name_byte(byte) => {
                self.begin_word(byte);
                self.is_variable = behind_colon;
            }
            _ => self.token(statement, Token::Other(byte))?,
        }
        Ok(None)
    }

    /// A byte behind the beginning of a word. Gives nothing if the word is over, and the byte is to be read by itself.
    fn in_word(&mut self, byte: u8, statement: &mut Statement) -> Result<Option<Option<Event>>, Reason> {
        let goes_on = is_name_byte(byte)
            || (byte == b'.' && self.is_number && !self.is_variable)
            || (byte == b'$' && !self.is_number && !self.is_variable);
        if goes_on {
            self.keep(byte);
            return Ok(Some(None));
        }
        if byte == b'$' {
            return Err(Reason::Ambiguous("a dollar sign behind a number or a variable"));
        }
        match self.word_ended(byte, statement)? {
            None => Ok(None),
            Some(None) => Ok(Some(None)),
            Some(Some(kind)) => self.open_text(kind).map(Some),
        }
    }

    fn token(&mut self, statement: &mut Statement, token: Token<'_>) -> Result<(), Reason> {
        self.behind_text = false;
        statement.token(token)
    }

    fn begin_word(&mut self, byte: u8) {
        self.behind_text = false;
        self.kept.clear();
        self.kept.push(byte);
        self.in_word = true;
        self.is_number = byte.is_ascii_digit();
        self.is_variable = false;
    }

    /// The byte behind a word has come. Gives what the word opens together with it, if it is no word of its own.
    fn word_ended(&mut self, next: u8, statement: &mut Statement) -> Result<Option<Option<Kind>>, Reason> {
        self.in_word = false;
        let word = String::from_utf8_lossy(&self.kept).to_ascii_lowercase();
        if self.is_variable {
            if next == b'\'' || (next == b'&' && word == "u") {
                return Err(Reason::Ambiguous("a text behind a variable"));
            }
            // psql takes it for a variable that is not set.
            return self.refuse_variable().map(|()| None);
        }
        if self.is_number {
            let letters = word.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '_'));
            let minded = ["begin", "case", "end", "create", "function", "procedure", "or", "replace"]
                .contains(&letters);
            if minded || (!letters.is_empty() && matches!(next, b'\'' | b'&')) {
                return Err(Reason::Ambiguous("letters behind a number"));
            }
            self.exponent = word.ends_with('e') && matches!(next, b'-' | b'+');
            statement.token(Token::Value)?;
            return Ok(None);
        }
        match (word.as_str(), next) {
            ("e", b'\'') => return Ok(Some(Some(Kind::Escape))),
            ("b" | "x", b'\'') => return Ok(Some(Some(Kind::Bits))),
            ("n", b'\'') => return Ok(Some(Some(Kind::Plain))),
            ("u", b'&') => {
                self.unicode = true;
                return Ok(Some(None));
            }
            (word, _) => statement.token(Token::Word(word))?,
        }
        Ok(None)
    }

    fn open_text(&mut self, kind: Kind) -> Result<Option<Event>, Reason> {
        self.is_continued = self.behind_text && self.line_since_text;
        self.behind_text = false;
        self.kept.clear();
        self.odd = false;
        self.state = State::Text(kind);
        Ok(None)
    }

    fn open_name(&mut self) -> Result<Option<Event>, Reason> {
        self.behind_text = false;
        self.kept.clear();
        self.state = State::Name;
        Ok(None)
    }

    /// Gives whether the other way to read backslashes would have another end of the text.
    fn in_text(&mut self, byte: u8, kind: Kind, conforming: bool) -> Result<bool, Reason> {
        let odd = std::mem::take(&mut self.odd);
        let mut doubt = false;
        match byte {
            b'\'' => {
                let escaped = odd && (kind == Kind::Escape || (kind == Kind::Plain && !conforming));
                doubt = odd && kind == Kind::Plain;
                if escaped {
                    self.keep(byte);
                } else {
                    self.state = State::TextEnd(kind);
                }
            }
            b'\\' if self.is_continued => {
                // The server reads it as it read the text before, and psql as a new one.
                return Err(Reason::Ambiguous("a backslash in a text that goes on from a line before"));
            }
            b'\\' => {
                self.odd = !odd;
                self.keep(byte);
            }
            _ => self.keep(byte),
        }
        Ok(doubt)
    }

    fn text_ended(&mut self, statement: &mut Statement) -> Result<(), Reason> {
        self.refuse_variable()?;
        self.state = State::Sql;
        statement.token(Token::Text(&String::from_utf8_lossy(&self.kept)))?;
        self.behind_text = true;
        self.line_since_text = false;
        Ok(())
    }

    /// psql has set variables of its own, all in capital letters.
    fn refuse_variable(&mut self) -> Result<(), Reason> {
        let is_own = self.kept.iter().any(u8::is_ascii_uppercase)
            && self.kept.iter().all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_'));
        if std::mem::take(&mut self.is_variable) && is_own {
            return Err(Reason::Variable(String::from_utf8_lossy(&self.kept).into_owned()));
        }
        Ok(())
    }

    fn in_comment(&mut self, byte: u8) -> Result<Option<Event>, Reason> {
        if std::mem::take(&mut self.carriage) && byte != b'\n' {
            // For psql the comment ends there, for other readers it does not.
            return Err(Reason::Ambiguous("a carriage return within a comment"));
        }
        match byte {
            b'\n' => {
                self.state = State::Sql;
                self.line_since_text = self.behind_text;
                Ok(Some(Event::Comment))
            }
            b'\r' => {
                self.carriage = true;
                Ok(None)
            }
            _ => {
                self.keep(byte);
                Ok(None)
            }
        }
    }

    fn in_block(&mut self, byte: u8, depth: u32) {
        let (opens, closes) = (self.last == b'/' && byte == b'*', self.last == b'*' && byte == b'/');
        self.last = byte;
        if byte == b'\n' {
            self.line_since_text = self.behind_text;
        }
        if opens || closes {
            // A byte serves one mark only.
            self.last = 0;
        }
        self.state = match depth {
            _ if opens => State::Block { depth: depth.saturating_add(1) },
            0 if closes => State::Sql,
            _ if closes => State::Block { depth: depth - 1 },
            _ => State::Block { depth },
        };
    }

    fn in_tag(&mut self, byte: u8, statement: &mut Statement) -> Result<Option<Event>, Reason> {
        if self.tag.len() == 1 && byte.is_ascii_digit() {
            // A parameter.
            self.state = State::Sql;
            self.begin_word(byte);
            return Ok(None);
        }
        if is_name_byte(byte) {
            self.tag.push(byte);
            if self.tag.len() > TAG_BYTES_MAX {
                return Err(Reason::Ambiguous("a dollar sign before a long name"));
            }
            return Ok(None);
        }
        if byte == b'$' {
            self.tag.push(byte);
            self.state = State::Dollar { matched: 0 };
            return Ok(None);
        }
        // A dollar sign that opens nothing; what follows is read anew.
        self.state = State::Sql;
        self.token(statement, Token::Other(b'$'))?;
        let tag = std::mem::take(&mut self.tag);
        for byte in tag.into_iter().skip(1) {
            self.sql(byte, statement)?;
        }
        self.sql(byte, statement)
    }

    fn in_dollar(&mut self, byte: u8, matched: usize, statement: &mut Statement) -> Result<(), Reason> {
        let matched = match self.tag.get(matched) {
            Some(expected) if *expected == byte => matched + 1,
            // The byte may begin the tag itself.
            _ => usize::from(byte == b'$'),
        };
        self.state = State::Dollar { matched };
        if matched == self.tag.len() {
            self.state = State::Sql;
            self.token(statement, Token::Value)?;
        }
        Ok(())
    }
}

/// As both psql and the server have names.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}
