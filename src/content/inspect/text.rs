//! What text is, by its first lines: a script of PostgreSQL's, one of MySQL's, SQL of unknown origin, or none of them.

use super::lines::lines;
use super::mysql;

/// The opening comment of a script of `pg_dump` or `pg_dumpall`, behind a line `--`.
const DUMPS: [&[u8]; 2] = [b"-- PostgreSQL database dump", b"-- PostgreSQL database cluster dump"];
/// The mark that some editors and shells put before UTF-8.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
const UTF_16: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

/// What the first bytes of a text say. A place is where the dump begins: text may stand before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Text {
    /// A script of `pg_dump` or `pg_dumpall`.
    Dump {
        at: usize,
    },
    Mysql {
        at: usize,
    },
    /// SQL statements without such a comment.
    Sql,
    Utf16,
    Unknown,
}

impl Text {
    pub(super) fn of(front: &[u8]) -> Self {
        if UTF_16.iter().any(|mark| front.starts_with(mark)) {
            return Self::Utf16;
        }
        let text = front.strip_prefix(BYTE_ORDER_MARK).unwrap_or(front);
        let skipped = front.len() - text.len();
        let mut dashes = None;
        for (at, line) in lines(text) {
            if line.contains(&0) {
                return Self::Unknown;
            }
            let at = skipped + at;
            if mysql::STARTS.iter().any(|start| line.starts_with(start)) {
                return Self::Mysql { at };
            }
            if let (Some(dashes), true) = (dashes, DUMPS.contains(&line)) {
                return Self::Dump { at: dashes };
            }
            dashes = (line == b"--").then_some(at);
        }
        if is_sql(text) { Self::Sql } else { Self::Unknown }
    }
}

/// Whether a text begins with a statement that PostgreSQL might take, or a command of psql's, behind blank space and
/// comments.
///
/// The first word has to open a statement and the next one to go on with it, so that prose, settings (`NAME=value`) and
/// the dialects of others (a name in backquotes, a comment that is a statement) are none.
pub(super) fn is_sql(text: &[u8]) -> bool {
    let rest = behind_comments(text);
    if let Some(command) = rest.strip_prefix(b"\\") {
        return ["connect ", "c ", "restrict ", "set ", "i ", "ir ", "encoding ", "echo "]
            .iter()
            .any(|word| command.starts_with(word.as_bytes()));
    }
    let first_line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if first_line.contains(&b'`') {
        return false;
    }
    let statement: Vec<String> = rest
        .split(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'"' | b'.' | b'@' | 0x80..)))
        .filter(|word| !word.is_empty())
        .take(3)
        .map(|word| String::from_utf8_lossy(word).to_ascii_uppercase())
        .collect();
    let word = |at: usize| statement.get(at).map(String::as_str).unwrap_or_default();
    // A statement ends with a semicolon, unless what is at hand is a part of it.
    let may_end = rest.len() >= FIRST_STATEMENT_BYTES_MAX || rest.contains(&b';');
    may_end && opens_a_statement(word(0), word(1), word(2), rest)
}

/// A first statement that is longer is taken for one without its end.
const FIRST_STATEMENT_BYTES_MAX: usize = 2048;

fn opens_a_statement(first: &str, second: &str, third: &str, text: &[u8]) -> bool {
    const OBJECTS: [&str; 44] = [
        "ACCESS",
        "AGGREGATE",
        "CAST",
        "COLLATION",
        "CONVERSION",
        "CONSTRAINT",
        "DATABASE",
        "DEFAULT",
        "DOMAIN",
        "EVENT",
        "EXTENSION",
        "FOREIGN",
        "FUNCTION",
        "GLOBAL",
        "GROUP",
        "INDEX",
        "LANGUAGE",
        "LARGE",
        "LOCAL",
        "MATERIALIZED",
        "OPERATOR",
        "OR",
        "OWNED",
        "POLICY",
        "PROCEDURE",
        "PUBLICATION",
        "ROLE",
        "ROUTINE",
        "RULE",
        "SCHEMA",
        "SEQUENCE",
        "SERVER",
        "STATISTICS",
        "SUBSCRIPTION",
        "SYSTEM",
        "TABLE",
        "TABLESPACE",
        "TEMP",
        "TEMPORARY",
        "TEXT",
        "TRIGGER",
        "TYPE",
        "UNIQUE",
        "UNLOGGED",
    ];
    const MORE_OBJECTS: [&str; 5] = ["USER", "VIEW", "TRANSFORM", "RECURSIVE", "COLUMN"];
    let is_object = |word: &str| OBJECTS.contains(&word) || MORE_OBJECTS.contains(&word);
    match first {
        "CREATE" | "ALTER" | "DROP" => is_object(second),
        "COMMENT" => second == "ON" && is_object(third),
        "SECURITY" => second == "LABEL",
        "SET" => {
            let value = text.iter().position(|byte| *byte == b'=').is_some() || third == "TO";
            let is_setting = !second.is_empty() && !second.starts_with('@') && value;
            is_setting
                || matches!(second, "ROLE" | "SESSION" | "LOCAL" | "CONSTRAINTS" | "TRANSACTION" | "TIME")
        }
        "INSERT" | "MERGE" => second == "INTO",
        "DELETE" => second == "FROM",
        "UPDATE" => third == "SET" || second == "ONLY",
        "COPY" => memchr::memmem::find(text, b" FROM stdin").is_some(),
        "BEGIN" | "COMMIT" | "ROLLBACK" => {
            matches!(second, "" | "WORK") || text.get(first.len()) == Some(&b';')
        }
        "START" => second == "TRANSACTION",
        "GRANT" => memchr::memmem::find(text, b" TO ").is_some(),
        "REVOKE" => memchr::memmem::find(text, b" FROM ").is_some(),
        "DO" => memchr::memchr(b'$', text).is_some(),
        "SELECT" | "WITH" | "VALUES" | "TRUNCATE" | "REINDEX" | "VACUUM" | "ANALYZE" | "REFRESH"
        | "RESET" | "DISCARD" | "IMPORT" | "CALL" | "LOCK" => true,
        _ => false,
    }
}

/// The text behind blank space, `--` comments and `/* */` comments. One with a mark, `/*!`, is MySQL's, and a
/// statement.
fn behind_comments(text: &[u8]) -> &[u8] {
    let mut rest = text;
    loop {
        rest = rest.trim_ascii_start();
        let end = if rest.starts_with(b"--") {
            memchr::memchr(b'\n', rest)
        } else if rest.starts_with(b"/*") && rest.get(2) != Some(&b'!') && rest.get(2) != Some(&b'M') {
            memchr::memmem::find(rest, b"*/").map(|at| at + 1)
        } else {
            return rest;
        };
        rest = end.and_then(|end| rest.get(end + 1..)).unwrap_or_default();
    }
}

/// Whether bytes are text, as far as a person would say so.
pub(super) fn is_text(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | 0x1b | b' '..=0x7e | 0x80..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_text_then_only_sql_that_postgresql_takes_is_sql() {
        for sql in [
            "SELECT 1;",
            "-- mine\n\nCREATE TABLE t (a int);\nINSERT INTO t VALUES (1);\n",
            "/* made by hand */ set client_encoding = 'UTF8';",
            "begin;\ncreate schema a;\ncommit;\n",
            "\\connect app\n",
            "INSERT INTO public.\"Odd\" VALUES (1);",
            "GRANT SELECT ON t TO keeper;",
            "DO $$ BEGIN END $$;",
            "\u{feff}SELECT 1;",
        ] {
            assert_eq!(Text::of(sql.as_bytes()), Text::Sql, "{sql}");
        }
        for other in [
            "",
            "{\"select\": 1}",
            "[1, 2, 3]",
            "PATH=/usr/bin\nHOME=/root\n",
            "SELECTED=1\n",
            "Update your system; then restart.\n",
            "Begin with the first page; go on.\n",
            "hello\n",
            "a,b,c\n1,2,3\n",
            "CREATE TABLE `t` (`a` int);",
            "/*!40101 SET NAMES utf8 */;\n",
            "SET @OLD_UNIQUE_CHECKS=@@UNIQUE_CHECKS;",
            "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n",
            "USE shop;\n",
            "*3\r\n$3\r\nSET\r\n",
            "<?xml version=\"1.0\"?>\n",
            "-- only a comment\n",
            "Comment on this; please.\n",
        ] {
            assert_eq!(Text::of(other.as_bytes()), Text::Unknown, "{other}");
        }
    }

    #[test]
    fn given_a_dump_behind_other_text_then_it_is_found() {
        let dump = "--\n-- PostgreSQL database dump\n--\n";
        assert_eq!(Text::of(dump.as_bytes()), Text::Dump { at: 0 });
        assert_eq!(Text::of(format!("\u{feff}{dump}").as_bytes()), Text::Dump { at: 3 });
        assert_eq!(Text::of(format!("warning: can't\n{dump}").as_bytes()), Text::Dump { at: 15 });
        assert_eq!(Text::of(dump.replace('\n', "\r\n").as_bytes()), Text::Dump { at: 0 });
        assert_eq!(Text::of(b"-- MySQL dump 10.13  Distrib 8.0\n"), Text::Mysql { at: 0 });
        assert_eq!(Text::of(b"/*M!999999\\- x */ \n-- MariaDB dump 10.19\n"), Text::Mysql { at: 19 });
        assert_eq!(Text::of(b"\xff\xfe-\0-\0"), Text::Utf16);
    }
}
