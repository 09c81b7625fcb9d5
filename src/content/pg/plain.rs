//! Enough of SQL's and psql's syntax to find COPY blocks in a script of `pg_dump -Fp` or `pg_dumpall`.
//!
//! Outside of COPY blocks the script is read as psql reads it, as far as strings, quoted names, dollar quotes and
//! comments go: a function's body may well contain the lines that are looked for. COPY's rows are only searched for
//! their end, and their newlines counted.

use super::map::{DumpForm, TableMap};
use super::tables::TableData;
use memchr::{memchr, memchr_iter, memmem};

/// What ends the rows of a COPY command: a line of its own; and the same where lines end as on Windows.
const ROWS_END: &[u8] = b"\n\\.\n";
const ROWS_END_CR: &[u8] = b"\n\\.\r\n";
/// Of a COPY command, so much is kept: names of 1,600 columns.
const STATEMENT_BYTES_MAX: usize = 256 << 10;
/// Of any other statement, and of a comment or a command of psql's.
const LINE_BYTES_MAX: usize = 1024;
/// A dollar quote's tag is a name.
const TAG_BYTES_MAX: usize = 256;
/// COPY blocks that a script may have.
const TABLES_MAX: usize = 4 << 20;
/// Bytes of their names, together.
const NAMES_BYTES_MAX: usize = 128 << 20;

/// A script is not a whole dump.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// It does not say that it is a dump.
    #[error("not a script of pg_dump: its opening comment is missing")]
    NotADump,
    /// It ends too early.
    #[error("the script is cut off after {bytes} bytes, within {what}")]
    Truncated {
        /// Within what.
        what: String,
        /// Length of the stream.
        bytes: u64,
    },
    /// It has more tables than any server has held.
    #[error("the script has more than {TABLES_MAX} tables, or {NAMES_BYTES_MAX} bytes of their names")]
    TooManyTables,
}

/// Encodings that a script may be in, and no database.
const CLIENT_ENCODINGS: [&str; 7] = ["BIG5", "GB18030", "GBK", "JOHAB", "SHIFT_JIS_2004", "SJIS", "UHC"];

/// What a script of `pg_dump` is written in, where a database can be, too. It stands among the first lines.
pub fn script_encoding(front: &[u8]) -> Option<String> {
    let start = b"\nSET client_encoding = '";
    let at = memmem::find(front, start)? + start.len();
    let rest = front.get(at..)?;
    let name = std::str::from_utf8(rest.get(..memchr(b'\'', rest)?)?).ok()?;
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    (is_name && !CLIENT_ENCODINGS.contains(&name)).then(|| name.to_owned())
}

/// Where in the syntax the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lex {
    Sql,
    /// `--` to the end of the line; with the line's start kept if it began one.
    Comment,
    /// `/* */`, which nest.
    Block {
        depth: u32,
    },
    /// A string, in which a backslash may protect the next byte.
    Text {
        escapes: bool,
    },
    /// The byte behind a backslash in such a string.
    Escaped,
    /// A quoted name.
    Name,
    /// The tag of a dollar quote.
    Tag,
    Dollar,
    /// A command of psql's.
    Meta,
    /// COPY's rows: so many bytes of their end have come.
    Rows {
        matched: usize,
    },
}

/// Scans a script as it streams, however it is cut into pushes.
#[derive(Debug)]
pub struct ScriptScanner {
    lex: Lex,
    offset: u64,
    /// The last byte of SQL, or a newline.
    last: u8,
    /// The one before.
    last_but_one: u8,
    /// The last byte of SQL was a carriage return, which stands for nothing.
    after_return: bool,
    /// What ends the rows under way.
    rows_end: &'static [u8],
    /// Some line ended with a carriage return.
    has_returns: bool,
    /// The statement's or the line's start.
    kept: Vec<u8>,
    /// Dollar quote's tag, with both dollars.
    tag: Vec<u8>,
    /// How much of the closing tag has come.
    tag_matched: usize,
    /// Strings without `E` have escapes, too.
    backslashes: bool,
    table: Option<OpenTable>,
    newlines: u64,
    names_bytes: usize,
    too_many: bool,
    marks: Marks,
    map: TableMap,
}

/// A table of which the rows are coming.
#[derive(Debug)]
struct OpenTable {
    schema: String,
    name: String,
    /// Of the first row.
    offset: u64,
}

/// What the comments say about beginning and end.
#[derive(Debug, Default)]
struct Marks {
    /// Dumps begun, ever.
    begun: u64,
    open_databases: u64,
    open_clusters: u64,
    restricted: bool,
    /// Dumps of databases that stand by themselves, and dumps of servers.
    dumps: u64,
    clusters: u64,
    /// All that began has ended.
    is_whole: bool,
    /// Where something else follows.
    behind: Option<u64>,
    /// How much of what ends a dump has come behind the closing comment.
    end: End,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum End {
    #[default]
    Inside,
    /// The line that says so.
    Said,
    /// The line `--` behind it.
    Closed,
    /// An empty line, if nothing else is awaited.
    Complete,
}

impl Default for ScriptScanner {
    fn default() -> Self {
        Self::new()
    }
}

impl ScriptScanner {
    /// A scanner at the start of a stream.
    pub fn new() -> Self {
        Self::at(0)
    }

    /// A scanner of a script that begins at `offset` of its stream.
    pub fn at(offset: u64) -> Self {
        Self {
            lex: Lex::Sql,
            offset,
            after_return: false,
            rows_end: ROWS_END,
            has_returns: false,
            last: b'\n',
            last_but_one: b'\n',
            kept: Vec::new(),
            tag: Vec::new(),
            tag_matched: 0,
            backslashes: false,
            table: None,
            newlines: 0,
            names_bytes: 0,
            too_many: false,
            marks: Marks::default(),
            map: TableMap::of(DumpForm::Script),
        }
    }

    /// Takes the next bytes of the stream. Any bytes will do: what they were is said at the end.
    pub fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = match self.lex {
                Lex::Rows { matched } => self.rows(rest, matched),
                Lex::Text { escapes: false } => self.quoted(rest, b'\'', false),
                Lex::Text { escapes: true } => self.quoted(rest, b'\'', true),
                Lex::Dollar => self.dollar(rest),
                Lex::Comment | Lex::Meta => self.line(rest),
                _ => {
                    self.byte(rest.first().copied().unwrap_or_default());
                    1
                }
            };
            self.offset += taken as u64;
            rest = rest.get(taken..).unwrap_or_default();
        }
    }

    /// The end of the stream: where the tables are.
    ///
    /// # Errors
    /// When the script is not a whole dump: `pg_dump` would have gone on.
    pub fn finish(self) -> Result<TableMap, ScriptError> {
        let truncated = |what: String| Err(ScriptError::Truncated { what, bytes: self.offset });
        let marks = &self.marks;
        if self.too_many {
            return Err(ScriptError::TooManyTables);
        }
        if marks.begun == 0 {
            return Err(ScriptError::NotADump);
        }
        if let Some(table) = &self.table {
            return truncated(format!("the rows of {}.{}", table.schema, table.name));
        }
        // What follows is another's: it says nothing of the dump.
        let is_whole = marks.is_whole;
        if is_whole {
            return Ok(self.into_map());
        }
        if marks.open_databases > 0 {
            return truncated(match self.map.database.as_str() {
                "" => "the dump of a database".into(),
                name => format!("the dump of the database {name}"),
            });
        }
        if marks.open_clusters > 0 {
            return truncated("the dump of a server".into());
        }
        if marks.end != End::Complete || self.lex != Lex::Sql {
            return truncated("the closing comment".into());
        }
        Ok(self.into_map())
    }

    fn into_map(mut self) -> TableMap {
        self.map.stream_bytes = self.offset;
        if self.map.form == DumpForm::ClusterScript {
            self.map.database.clear();
        }
        self.map
    }

    /// Whether lines end as on Windows.
    pub fn has_carriage_returns(&self) -> bool {
        self.has_returns
    }

    /// Whether one dump stands behind another, other than those of a server's databases.
    pub fn holds_several(&self) -> bool {
        self.marks.dumps > 1 || self.marks.clusters > 1
    }

    /// Where something that is neither a comment nor another dump follows the end.
    pub fn behind(&self) -> Option<u64> {
        self.marks.behind
    }

    /// A byte of SQL, a name or a tag.
    fn byte(&mut self, byte: u8) {
        match self.lex {
            Lex::Sql => self.sql(byte),
            Lex::Name => {
                self.keep(byte);
                if byte == b'"' {
                    self.lex = Lex::Sql;
                }
            }
            Lex::Escaped => self.lex = Lex::Text { escapes: true },
            Lex::Block { depth } => {
                match (self.last, byte) {
                    (b'/', b'*') => self.lex = Lex::Block { depth: depth.saturating_add(1) },
                    (b'*', b'/') if depth <= 1 => self.lex = Lex::Sql,
                    (b'*', b'/') => self.lex = Lex::Block { depth: depth - 1 },
                    _ => {}
                }
                // A byte serves one mark only.
                self.last =
                    if matches!((self.last, byte), (b'/', b'*') | (b'*', b'/')) { b' ' } else { byte };
            }
            Lex::Tag => {
                // `$1` is a parameter.
                let is_parameter = self.tag.len() == 1 && byte.is_ascii_digit();
                let is_name = !is_parameter && (byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80);
                self.tag.push(byte);
                if byte == b'$' {
                    self.tag_matched = 0;
                    self.lex = Lex::Dollar;
                } else if !is_name || self.tag.len() > TAG_BYTES_MAX {
                    // A dollar sign that opens nothing; the byte is read once more as SQL.
                    self.lex = Lex::Sql;
                    self.last = b'$';
                    self.sql(byte);
                }
            }
            _ => {}
        }
    }

    fn sql(&mut self, byte: u8) {
        if self.last == b';' && !matches!(byte, b'\n' | b'\r') {
            self.kept.clear();
        }
        let after_return = std::mem::replace(&mut self.after_return, byte == b'\r');
        match byte {
            b'\r' => return,
            b'\n' => self.has_returns |= after_return,
            // A dash may open a comment; what else it may be goes on with another byte.
            b'-' => {}
            _ if self.marks.is_whole && !byte.is_ascii_whitespace() => {
                self.marks.behind.get_or_insert(self.offset);
            }
            _ => {}
        }
        let starts_line = self.last == b'\n' && self.kept.is_empty();
        match byte {
            b'\\' if starts_line => self.begin(Lex::Meta, byte),
            b'-' if self.last == b'-' => {
                let whole_line = self.kept == b"-" && self.last_but_one == b'\n';
                self.lex = Lex::Comment;
                if whole_line {
                    self.kept.push(byte);
                } else {
                    // The statement goes on behind the comment, without what opened it.
                    self.kept.pop();
                }
            }
            b'*' if self.last == b'/' => {
                self.lex = Lex::Block { depth: 1 };
                self.kept.pop();
                self.last = b' ';
                return;
            }
            b'\'' => {
                let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
                let marked = matches!(self.last, b'e' | b'E') && !is_name(self.last_but_one);
                self.lex = Lex::Text { escapes: marked || self.backslashes };
                self.keep(byte);
            }
            b'"' => {
                self.lex = Lex::Name;
                self.keep(byte);
            }
            b'$' if !(self.last.is_ascii_alphanumeric() || matches!(self.last, b'_' | b'$' | 0x80..)) => {
                self.tag.clear();
                self.tag.push(byte);
                self.lex = Lex::Tag;
                self.keep(byte);
            }
            b'\n' if self.statement_ended(after_return) => {
                self.kept.clear();
                return;
            }
            b'\n' if starts_line => self.marks.blank_line(),
            _ => self.keep(byte),
        }
        self.last_but_one = self.last;
        self.last = byte;
    }

    fn begin(&mut self, lex: Lex, byte: u8) {
        self.kept.clear();
        self.kept.push(byte);
        self.lex = lex;
    }

    /// Keeps a byte of the statement, if it may be needed. White space before it is not.
    fn keep(&mut self, byte: u8) {
        if self.kept.is_empty() && byte.is_ascii_whitespace() {
            return;
        }
        let max = if self.kept.starts_with(b"COPY ") { STATEMENT_BYTES_MAX } else { LINE_BYTES_MAX };
        if self.kept.len() < max {
            self.kept.push(byte);
        }
    }

    /// At a newline: whether a statement ends here. If it opens rows, they begin behind it.
    fn statement_ended(&mut self, after_return: bool) -> bool {
        if self.last != b';' {
            return false;
        }
        self.marks.end = End::Inside;
        self.last = b'\n';
        self.last_but_one = b';';
        match self.kept.as_slice() {
            b"SET standard_conforming_strings = off;" => self.backslashes = true,
            b"SET standard_conforming_strings = on;" => self.backslashes = false,
            _ => {}
        }
        let copy = self.kept.strip_prefix(b"COPY ").filter(|rest| rest.ends_with(b" FROM stdin;"));
        let Some((schema, name)) = copy.map(table_name) else {
            return true;
        };
        self.names_bytes += schema.len() + name.len() + self.map.database.len();
        if self.map.tables.len() >= TABLES_MAX || self.names_bytes > NAMES_BYTES_MAX {
            self.too_many = true;
        }
        // Behind the newline.
        self.table = Some(OpenTable { schema, name, offset: self.offset + 1 });
        self.newlines = 0;
        self.rows_end = if after_return { ROWS_END_CR } else { ROWS_END };
        // The newline before the end mark may be that of the command.
        self.lex = Lex::Rows { matched: 1 };
        true
    }

    /// Where the rows of a table begin and end, by turns.
    pub fn edge(&self, number: usize) -> Option<u64> {
        let table = self.map.tables.get(number / 2);
        match number % 2 {
            0 => table.map(|table| table.offset).or(self.table.as_ref().map(|table| table.offset)),
            _ => table.map(|table| table.range().end),
        }
    }

    /// COPY's rows; gives how many bytes it took.
    fn rows(&mut self, bytes: &[u8], matched: usize) -> usize {
        let mut matched = matched;
        let mut at = 0;
        // What the last push began.
        while let (1.., Some(&byte)) = (matched, bytes.get(at)) {
            at += 1;
            matched = match self.rows_end.get(matched) {
                Some(&next) if next == byte => matched + 1,
                _ => usize::from(byte == b'\n'),
            };
            if matched == self.rows_end.len() {
                self.newlines += newlines(bytes, at);
                self.rows_ended(at);
                return at;
            }
        }
        let rest = bytes.get(at..).unwrap_or_default();
        if let Some(found) = memmem::find(rest, self.rows_end) {
            let taken = at + found + self.rows_end.len();
            self.newlines += newlines(bytes, taken);
            self.rows_ended(taken);
            return taken;
        }
        if !rest.is_empty() {
            // The longest part of the mark that the bytes end with.
            matched = (1..self.rows_end.len())
                .rev()
                .find(|&len| self.rows_end.get(..len).is_some_and(|part| rest.ends_with(part)))
                .unwrap_or(0);
        }
        self.newlines += newlines(bytes, bytes.len());
        self.lex = Lex::Rows { matched };
        bytes.len()
    }

    fn rows_ended(&mut self, taken: usize) {
        if let Some(OpenTable { schema, name, offset }) = self.table.take().filter(|_| !self.too_many) {
            let len = (self.offset + taken as u64).saturating_sub(offset);
            let TableMap { tables, database, .. } = &mut self.map;
            tables.push(TableData {
                database,
                schema: &schema,
                name: &name,
                offset,
                len,
                // The newline before the mark is that of the last row.
                data_bytes: len.saturating_sub(self.rows_end.len() as u64 - 1),
                rows: self.newlines.checked_sub(1),
                ..TableData::NONE
            });
        }
        self.lex = Lex::Sql;
        self.last = b'\n';
        self.last_but_one = b'\n';
    }

    /// The inside of a string; gives how many bytes it took.
    fn quoted(&mut self, bytes: &[u8], quote: u8, escapes: bool) -> usize {
        let end = match escapes {
            true => memchr::memchr2(quote, b'\\', bytes),
            false => memchr(quote, bytes),
        };
        let Some(end) = end else { return bytes.len() };
        // A doubled quote closes the string and opens the next one; whether that has escapes, it inherits.
        match bytes.get(end) {
            Some(b'\\') => self.lex = Lex::Escaped,
            _ => {
                self.lex = Lex::Sql;
                // So that a string that follows at once is read like this one.
                (self.last_but_one, self.last) = (b' ', if escapes { b'E' } else { quote });
            }
        }
        end + 1
    }

    /// The inside of a dollar quote; gives how many bytes it took.
    fn dollar(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        loop {
            if self.tag_matched == 0 {
                let rest = bytes.get(at..).unwrap_or_default();
                let Some(found) = memchr(b'$', rest) else { return bytes.len() };
                at += found + 1;
                self.tag_matched = 1;
            }
            let Some(&byte) = bytes.get(at) else { return at };
            if self.tag.get(self.tag_matched) == Some(&byte) {
                at += 1;
                self.tag_matched += 1;
                if self.tag_matched == self.tag.len() {
                    self.lex = Lex::Sql;
                    (self.last_but_one, self.last) = (b' ', b' ');
                    return at;
                }
            } else {
                // The byte may be a dollar sign itself.
                self.tag_matched = 0;
            }
        }
    }

    /// A comment or a command of psql's, to the end of the line; gives how many bytes it took.
    fn line(&mut self, bytes: &[u8]) -> usize {
        let end = memchr(b'\n', bytes);
        let line = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        let is_whole_line = self.lex == Lex::Meta || self.kept.starts_with(b"--");
        if is_whole_line {
            let room = LINE_BYTES_MAX.saturating_sub(self.kept.len());
            self.kept.extend_from_slice(line.get(..room).unwrap_or(line));
        }
        let Some(end) = end else { return bytes.len() };
        if is_whole_line {
            let kept = std::mem::take(&mut self.kept);
            let text = kept.strip_suffix(b"\r").unwrap_or(&kept);
            self.has_returns |= text.len() < kept.len();
            match self.lex {
                Lex::Meta => self.command(&String::from_utf8_lossy(text)),
                _ => self.comment(&String::from_utf8_lossy(text)),
            }
        }
        self.lex = Lex::Sql;
        self.last_but_one = b'\n';
        self.last = b'\n';
        end + 1
    }

    fn comment(&mut self, line: &str) {
        if let Some(version) = line.strip_prefix("-- Dumped from database version ") {
            self.map.server_version = version.into();
        } else if let Some(version) = line.strip_prefix("-- Dumped by pg_dump version ") {
            self.map.dump_version = version.into();
        }
        if line == "-- PostgreSQL database cluster dump" {
            self.map.form = DumpForm::ClusterScript;
        }
        self.marks.comment(line);
    }

    fn command(&mut self, line: &str) {
        if let Some(target) = line.strip_prefix("\\connect ") {
            self.map.database = connect_target(target);
        }
        self.marks.command(line);
    }
}

impl Marks {
    fn comment(&mut self, line: &str) {
        let was = self.end;
        self.end = End::Inside;
        match line {
            "-- PostgreSQL database dump" => {
                self.begins();
                self.dumps += u64::from(self.open_clusters == 0);
                self.open_databases += 1;
            }
            "-- PostgreSQL database cluster dump" => {
                self.begins();
                self.clusters += 1;
                self.open_clusters += 1;
            }
            "-- PostgreSQL database dump complete" => {
                self.open_databases = self.open_databases.saturating_sub(1);
                self.end = End::Said;
            }
            "-- PostgreSQL database cluster dump complete" => {
                self.open_clusters = self.open_clusters.saturating_sub(1);
                self.end = End::Said;
            }
            "--" if was == End::Said => self.end = End::Closed,
            _ => {}
        }
    }

    fn begins(&mut self) {
        self.begun += 1;
        self.is_whole = false;
        self.behind = None;
    }

    fn command(&mut self, line: &str) {
        if line.starts_with("\\restrict ") {
            self.restricted = true;
            self.end = End::Inside;
        } else if line.starts_with("\\unrestrict ") {
            self.restricted = false;
        } else {
            self.end = End::Inside;
        }
    }

    fn blank_line(&mut self) {
        if self.end == End::Closed && !self.restricted {
            self.end = End::Complete;
            self.is_whole = self.open_databases == 0 && self.open_clusters == 0;
        }
    }
}

fn newlines(bytes: &[u8], end: usize) -> u64 {
    memchr_iter(b'\n', bytes.get(..end).unwrap_or(bytes)).count() as u64
}

/// Schema and name at the start of a COPY command's rest.
fn table_name(rest: &[u8]) -> (String, String) {
    let mut parts = vec![Vec::new()];
    let mut bytes = rest.iter().copied().peekable();
    let mut quoted = false;
    while let Some(byte) = bytes.next() {
        let Some(part) = parts.last_mut() else { break };
        match byte {
            b'"' if quoted && bytes.next_if_eq(&b'"').is_some() => part.push(b'"'),
            b'"' => quoted = !quoted,
            b'.' if !quoted => parts.push(Vec::new()),
            b' ' if !quoted => break,
            _ => part.push(byte),
        }
    }
    let mut text = || parts.pop().map_or(String::new(), |part| String::from_utf8_lossy(&part).into_owned());
    let name = text();
    (text(), name)
}

/// The database of psql's `\connect`: a name, perhaps quoted, or a connection string with nothing else in it.
fn connect_target(target: &str) -> String {
    let target = target.trim();
    let target = target.strip_prefix("-reuse-previous=on ").unwrap_or(target);
    let unquoted = match target.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) => inner.replace("\"\"", "\""),
        None => target.to_owned(),
    };
    let Some(value) = unquoted.strip_prefix("dbname=") else { return unquoted };
    let value = value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')).unwrap_or(value);
    let mut name = String::new();
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        name.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    name
}
