//! What happened and is told once: each waits here for the channels.

use crate::daemon::alert::redact::redact;
use rusqlite::{Transaction, params};

/// Writes down that something happened.
pub(super) fn notice(
    db: &Transaction<'_>,
    at: i64,
    event: &str,
    subject: &str,
    run: Option<&str>,
    text: &str,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO notice(at, event, subject, run, text) VALUES (?, ?, ?, ?, ?)";
    db.prepare_cached(sql)?.execute(params![at, event, subject, run, redact(text)]).map(drop)
}
