//! What is taken for SQL: only that is ever given to psql.

/// The words that a statement begins with.
const WORDS: [&str; 56] = [
    "ABORT",
    "ALTER",
    "ANALYZE",
    "BEGIN",
    "CALL",
    "CHECKPOINT",
    "CLOSE",
    "CLUSTER",
    "COMMENT",
    "COMMIT",
    "COPY",
    "CREATE",
    "DEALLOCATE",
    "DECLARE",
    "DELETE",
    "DISCARD",
    "DO",
    "DROP",
    "END",
    "EXECUTE",
    "EXPLAIN",
    "FETCH",
    "GRANT",
    "IMPORT",
    "INSERT",
    "LISTEN",
    "LOAD",
    "LOCK",
    "MERGE",
    "MOVE",
    "NOTIFY",
    "PREPARE",
    "REASSIGN",
    "REFRESH",
    "REINDEX",
    "RELEASE",
    "RESET",
    "REVOKE",
    "ROLLBACK",
    "SAVEPOINT",
    "SECURITY",
    "SELECT",
    "SET",
    "SHOW",
    "START",
    "TABLE",
    "TRUNCATE",
    "UNLISTEN",
    "UPDATE",
    "VACUUM",
    "VALUES",
    "WITH",
    // Commands of psql's: whether they may be run is the filter's to say.
    "\\RESTRICT",
    "\\UNRESTRICT",
    "\\ENCODING",
    "\\CONNECT",
];

/// Other databases' dumps say so in their first comment.
const FOREIGN: [&str; 3] = ["-- MySQL dump", "-- MariaDB dump", "/*M!"];

/// Whether a stream that begins like this is SQL for PostgreSQL, as far as can be told: a comment or a statement.
pub(in crate::source::postgres) fn is_sql(first_bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(first_bytes);
    let mut rest = text.trim_start_matches('\u{feff}').trim_start();
    if FOREIGN.iter().any(|foreign| rest.starts_with(foreign)) {
        return false;
    }
    let mut has_comment = false;
    loop {
        let comment_end = if rest.starts_with("--") {
            rest.find('\n').map(|at| at + 1)
        } else if rest.starts_with("/*") {
            rest.find("*/").map(|at| at + 2)
        } else {
            break;
        };
        has_comment = true;
        // The comment is longer than what can be seen.
        let Some(end) = comment_end else { return true };
        rest = rest.get(end..).unwrap_or_default().trim_start();
    }
    // What can be seen may end anywhere.
    if matches!(rest, "" | "-" | "/") {
        return has_comment;
    }
    // Any other command of psql's is for the filter to refuse by its name.
    if rest.starts_with(['\\', '(']) {
        return true;
    }
    let end = rest.find(|c: char| !(c.is_ascii_alphabetic() || c == '_')).unwrap_or(rest.len());
    let (word, behind) = rest.split_at_checked(end).unwrap_or((rest, ""));
    let word = word.to_ascii_uppercase();
    if behind.is_empty() {
        return has_comment && WORDS.iter().any(|whole| whole.starts_with(&word));
    }
    let is_free = behind.starts_with(|c: char| c.is_whitespace() || matches!(c, ';' | '(' | '/' | '-'));
    is_free && WORDS.contains(&word.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sql_is_told_from_other_text() {
        for sql in [
            "--\n-- PostgreSQL database dump\n--\n\n\\restrict x\n",
            "\u{feff}-- comment\r\nSET x = 1;",
            "/* by hand */ select 1;",
            "\n\nINSERT INTO t VALUES (1);",
            "-- a comment that goes on",
            "-- comment\n-",
            "-- comment\nSELE",
            "\\! id\n",
            "BEGIN;",
        ] {
            assert!(is_sql(sql.as_bytes()), "{sql}");
        }
        for other in [
            "{\"a\": 1}",
            "PATH=/usr/bin\n",
            "SET=1\n",
            "-- MySQL dump 10.13  Distrib 8.0\n",
            "REDIS0011",
            "<html>",
            "Selection of things",
            "",
            "PGDMP",
        ] {
            assert!(!is_sql(other.as_bytes()), "{other}");
        }
    }
}
