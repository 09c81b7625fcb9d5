//! What an archive says of its database: how it was made, and what was set for it. `pg_restore` heeds that only with
//! `--create`, and then under the old name alone; here the name stands apart.

use super::entry::Entry;
use super::toc::Toc;

/// What a dump holds of its database itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DatabaseEntry {
    /// What stands behind `CREATE DATABASE name WITH`: keys and values, the values as SQL has them: `ENCODING`,
    /// `'UTF8'`.
    pub options: Vec<(String, String)>,
    /// The role that owns it, unquoted.
    pub owner: Option<String>,
    /// All else, in the dump's order.
    pub statements: Vec<DatabaseStatement>,
    /// How much of it is not UTF-8 and cannot be read, in words.
    pub unreadable: Vec<String>,
}

/// What a statement about a database is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatementKind {
    /// `ALTER DATABASE … SET`, `ALTER ROLE … IN DATABASE … SET`: of this setting.
    Setting,
    /// Grants.
    Privilege,
    /// Comment, security labels.
    Remark,
    /// `CONNECTION LIMIT`, `IS_TEMPLATE`: who may connect.
    Access,
}

/// One statement about a database; or several that are for one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseStatement {
    /// What it is for.
    pub kind: StatementKind,
    /// The name of the setting, where it is one.
    pub setting: Option<String>,
    /// The text; between two pieces stands the database's name.
    pub pieces: Vec<String>,
}

impl DatabaseEntry {
    /// What the archive holds of its database; `None` if it has no entry for it.
    pub fn of(toc: &Toc) -> Option<Self> {
        let database = &toc.entries().iter().find(|entry| entry.desc() == b"DATABASE")?;
        let mut found = Self::default();
        if let Some(definition) = found.text(database, database.definition()) {
            let statements = split(&definition);
            found.options = statements.first().map(|create| options(create)).unwrap_or_default();
        }
        found.owner = found.text(database, database.owner()).filter(|owner| !owner.is_empty());
        for entry in toc.entries().iter() {
            let of_database = entry.tag().starts_with(b"DATABASE ");
            let kind = match entry.desc() {
                b"DATABASE PROPERTIES" => StatementKind::Setting,
                b"ACL" if of_database => StatementKind::Privilege,
                b"COMMENT" | b"SECURITY LABEL" if of_database => StatementKind::Remark,
                _ => continue,
            };
            if let Some(definition) = found.text(&entry, entry.definition()) {
                found.statements.extend(units(split(&definition)).map(|unit| statement(kind, unit)));
            }
        }
        Some(found)
    }

    fn text(&mut self, entry: &Entry, bytes: Option<&[u8]>) -> Option<String> {
        let bytes = bytes?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Some(text.to_owned()),
            Err(_) => {
                self.unreadable.push(format!("{} {}", entry.kind(), entry.name()));
                None
            }
        }
    }
}

/// Words, quoted names and texts of a statement, each with the white space before it.
fn tokens(sql: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = sql;
    while !rest.is_empty() {
        let end = token_len(rest);
        let (token, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
        tokens.push(token);
        rest = after;
    }
    tokens
}

/// Bytes of the first token, at least one.
fn token_len(sql: &str) -> usize {
    let body = sql.trim_start();
    let blank = sql.len() - body.len();
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$');
    let word = body.find(|c| !is_word(c)).unwrap_or(body.len());
    let behind = body.get(word..).unwrap_or_default();
    let len = match (body.get(..word), behind.chars().next()) {
        (Some("E" | "e" | "U"), Some('\'')) => word + quoted_len(behind, '\'', true),
        (Some(""), Some('\'')) => quoted_len(body, '\'', false),
        (Some(""), Some('"')) => quoted_len(body, '"', false),
        (Some(""), Some('-')) if body.starts_with("--") => body.find('\n').unwrap_or(body.len()),
        (Some(""), Some(other)) => other.len_utf8(),
        _ => word,
    };
    blank + len.min(body.len())
}

/// Bytes of a quoted text with its quotes; to the end where none closes it.
fn quoted_len(text: &str, quote: char, escapes: bool) -> usize {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\\' && escapes {
            chars.next();
        } else if c == quote && chars.next_if(|(_, next)| *next == quote).is_none() {
            return at + quote.len_utf8();
        }
    }
    text.len()
}

/// The tokens of each statement, without its semicolon and without comments.
fn split(sql: &str) -> Vec<Vec<&str>> {
    let mut statements = vec![Vec::new()];
    for token in tokens(sql).into_iter().filter(|token| !token.trim_start().starts_with("--")) {
        match statements.last_mut() {
            Some(statement) if token.trim() != ";" => statement.push(token),
            _ => statements.push(Vec::new()),
        }
    }
    statements.retain(|statement| statement.iter().any(|token| !token.trim().is_empty()));
    statements
}

/// Statements that are for one session stay together: what is between setting a session's role and putting it back.
fn units(statements: Vec<Vec<&str>>) -> impl Iterator<Item = Vec<Vec<&str>>> {
    let mut units: Vec<Vec<Vec<&str>>> = Vec::new();
    let mut is_open = false;
    for statement in statements {
        let words: Vec<&str> = statement.iter().take(3).map(|token| token.trim()).collect();
        let is_end = words == ["RESET", "SESSION", "AUTHORIZATION"];
        match units.last_mut().filter(|_| is_open) {
            Some(unit) => unit.push(statement),
            None => units.push(vec![statement]),
        }
        is_open = !is_end && (is_open || words == ["SET", "SESSION", "AUTHORIZATION"]);
    }
    units.into_iter()
}

fn statement(kind: StatementKind, unit: Vec<Vec<&str>>) -> DatabaseStatement {
    let mut pieces = Vec::new();
    let mut piece = String::new();
    for (at, statement) in unit.iter().enumerate() {
        piece.push_str(if at == 0 { "" } else { "; " });
        let mut before = "";
        for token in statement {
            // Names that are not quoted are written in lower case.
            if before == "DATABASE" {
                piece.push(' ');
                pieces.push(std::mem::take(&mut piece));
            } else {
                piece.push_str(if before.is_empty() { token.trim_start() } else { token });
            }
            before = token.trim();
        }
    }
    pieces.push(piece);
    let after = pieces.last().map(|piece| piece.trim_start()).unwrap_or_default();
    let setting = after.strip_prefix("SET ").and_then(|rest| tokens(rest).first().map(|name| unquoted(name)));
    let kind = match (kind, &setting) {
        (StatementKind::Setting, None) => StatementKind::Access,
        (kind, _) => kind,
    };
    DatabaseStatement { kind, setting: setting.filter(|_| kind == StatementKind::Setting), pieces }
}

fn unquoted(name: &str) -> String {
    let name = name.trim();
    match name.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) => inner.replace("\"\"", "\""),
        None => name.to_owned(),
    }
}

/// Keys and values behind `CREATE DATABASE name WITH`.
fn options(create: &[&str]) -> Vec<(String, String)> {
    let of = |place: Option<usize>| place.and_then(|place| create.get(place)).map(|token| token.trim());
    let equals = create.iter().enumerate().filter(|(_, token)| token.trim() == "=").map(|(at, _)| at);
    equals.filter_map(|at| Some((of(at.checked_sub(1))?.to_owned(), of(Some(at + 1))?.to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_whatever_it_is_and_whatever_stands_around_it() {
        for (sql, before, after) in [
            ("ALTER DATABASE app CONNECTION LIMIT = 7;", "ALTER DATABASE ", " CONNECTION LIMIT = 7"),
            (
                "COMMENT ON DATABASE \"a \"\"DATABASE x\"\";'\" IS E'it''s \\' DATABASE y; \"';",
                "COMMENT ON DATABASE ",
                " IS E'it''s \\' DATABASE y; \"'",
            ),
            (
                "ALTER ROLE \"DATABASE\" IN DATABASE app SET search_path TO 'a', 'b';",
                "ALTER ROLE \"DATABASE\" IN DATABASE ",
                " SET search_path TO 'a', 'b'",
            ),
        ] {
            let one = units(split(sql)).map(|unit| statement(StatementKind::Remark, unit));
            let pieces: Vec<Vec<String>> = one.map(|one| one.pieces).collect();
            assert_eq!(pieces, [[before, after]], "{sql}");
        }
    }

    #[test]
    fn statements_are_told_apart_and_those_of_one_session_stay_together() {
        let sql = "ALTER DATABASE app SET \"my.Own\" TO 'x;y';\n-- a comment; DATABASE z\nALTER DATABASE app IS_TEMPLATE = true;\n\n\n";
        let all: Vec<_> = units(split(sql)).map(|unit| statement(StatementKind::Setting, unit)).collect();
        assert_eq!(all[0].setting.as_deref(), Some("my.Own"));
        assert_eq!(all[1].kind, StatementKind::Access);
        assert_eq!(all.len(), 2);
        let sql = "REVOKE ALL ON DATABASE app FROM PUBLIC;\nSET SESSION AUTHORIZATION a;\nGRANT CONNECT ON DATABASE app TO b;\n\
                   RESET SESSION AUTHORIZATION;\nGRANT CONNECT ON DATABASE app TO c;";
        let all: Vec<_> = units(split(sql)).map(|unit| statement(StatementKind::Privilege, unit)).collect();
        assert_eq!(all.iter().map(|one| one.pieces.len()).collect::<Vec<_>>(), [2, 2, 2]);
        assert!(all[1].pieces[1].ends_with("RESET SESSION AUTHORIZATION"));
    }

    #[test]
    fn options_are_keys_and_values() {
        let sql = "CREATE DATABASE \"a = b\" WITH TEMPLATE = template0 ENCODING = 'LATIN1' LOCALE_PROVIDER = libc LOCALE = 'C' TABLESPACE = \"Fast one\";";
        let found = options(&split(sql)[0]);
        let right = [
            ("TEMPLATE", "template0"),
            ("ENCODING", "'LATIN1'"),
            ("LOCALE_PROVIDER", "libc"),
            ("LOCALE", "'C'"),
            ("TABLESPACE", "\"Fast one\""),
        ];
        assert_eq!(found, right.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn text_that_is_no_statement_ends() {
        for odd in ["'", "E'\\", "\"", "-", "--", "é'é", ";;;", "DATABASE", "\u{0}DATABASE \u{0}"] {
            units(split(odd)).for_each(|unit| drop(statement(StatementKind::Remark, unit)));
        }
    }
}
