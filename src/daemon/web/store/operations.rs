//! What people asked for that is no job: restores, verifications, deletions; links to downloads; and answers that are
//! kept.

use super::Access;
use crate::daemon::book::StateError;
use rusqlite::{OptionalExtension, params};

/// Something that a person asked for, and a child process does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Its name: sorts by time.
    pub id: String,
    /// `restore`, `verify`, `delete`, `pin`.
    pub kind: String,
    /// What it is about.
    pub object: String,
    /// The command that is run for it.
    pub words: String,
    /// Who asked.
    pub actor: String,
    /// `IN_PROGRESS`, `COMPLETED`, `FAILED`.
    pub status: String,
    /// When it began.
    pub started: i64,
    /// When it ended.
    pub ended: Option<i64>,
    /// The exit code.
    pub exit: Option<i32>,
    /// What the command printed: JSON.
    pub report: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
}

/// A link to a download that works once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Who may follow it.
    pub user: String,
    /// The snapshot.
    pub snapshot: String,
    /// The stream of it.
    pub stream: Option<String>,
    /// How long it is.
    pub bytes: u64,
    /// The name for the file.
    pub file: String,
    /// The digest of the stream, as `sha256:…` or `blake3:…`.
    pub digest: Option<String>,
    /// When it ends.
    pub expires: i64,
}

const COLUMNS: &str = "id, kind, object, words, actor, status, started, ended, exit, report, error";

fn operation(row: &rusqlite::Row<'_>) -> rusqlite::Result<Operation> {
    Ok(Operation {
        id: row.get(0)?,
        kind: row.get(1)?,
        object: row.get(2)?,
        words: row.get(3)?,
        actor: row.get(4)?,
        status: row.get(5)?,
        started: row.get(6)?,
        ended: row.get(7)?,
        exit: row.get(8)?,
        report: row.get(9)?,
        error: row.get(10)?,
    })
}

impl Access {
    /// Begins an operation, unless one of the same kind is about the same thing now; then its id.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn begin_operation(&mut self, new: &Operation) -> Result<Option<String>, StateError> {
        self.write(|db| {
            let sql = "SELECT id FROM operation WHERE kind = ? AND object = ? AND status = 'IN_PROGRESS'";
            let other = db.query_row(sql, [&new.kind, &new.object], |row| row.get(0)).optional()?;
            if other.is_none() {
                let row = params![new.id, new.kind, new.object, new.words, new.actor, new.started];
                let sql = "INSERT INTO operation(id, kind, object, words, actor, status, started) VALUES (?, ?, ?, ?, ?, 'IN_PROGRESS', ?)";
                db.execute(sql, row)?;
            }
            Ok(other)
        })
    }

    /// An operation has ended.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn end_operation(&mut self, ended: &Operation) -> Result<(), StateError> {
        self.write(|db| {
            let sql = "UPDATE operation SET status = ?2, ended = ?3, exit = ?4, report = ?5, error = ?6 WHERE id = ?1";
            let row = params![ended.id, ended.status, ended.ended, ended.exit, ended.report, ended.error];
            db.execute(sql, row).map(drop)
        })
    }

    /// Those that a service which is gone left behind have failed.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn end_what_was_left(&mut self, now: i64) -> Result<(), StateError> {
        self.write(|db| {
            let sql = "UPDATE operation SET status = 'FAILED', ended = ?, error = 'interrupted: the service stopped' WHERE status = 'IN_PROGRESS'";
            db.execute(sql, [now])?;
            db.execute("DELETE FROM link WHERE expires < ?", [now])?;
            db.execute("DELETE FROM answer WHERE at < ?", [now.saturating_sub(86_400_000)]).map(drop)
        })
    }

    /// Operations, the newest first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn operations(&self, most: u32) -> Result<Vec<Operation>, StateError> {
        self.read(|db| {
            let sql = format!("SELECT {COLUMNS} FROM operation ORDER BY id DESC LIMIT ?");
            db.prepare(&sql)?.query_map([most], operation)?.collect()
        })
    }

    /// The operation of that id.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn operation(&self, id: &str) -> Result<Option<Operation>, StateError> {
        self.read(|db| {
            let sql = format!("SELECT {COLUMNS} FROM operation WHERE id = ?");
            db.query_row(&sql, [id], operation).optional()
        })
    }

    /// Keeps a link of which that is the hash.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add_link(&mut self, hash: &[u8], link: &Link) -> Result<(), StateError> {
        self.write(|db| {
            let bytes = i64::try_from(link.bytes).unwrap_or(i64::MAX);
            let row = params![
                hash,
                link.user,
                link.snapshot,
                link.stream,
                bytes,
                link.file,
                link.digest,
                link.expires
            ];
            let sql = "INSERT INTO link(hash, user, snapshot, stream, bytes, file, digest, expires) VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
            db.execute(sql, row).map(drop)
        })
    }

    /// Uses a link up: its user's, in time, for the first time.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn take_link(&mut self, hash: &[u8], user: &str, now: i64) -> Result<Option<Link>, StateError> {
        self.write(|db| {
            let sql =
                "UPDATE link SET used = ?3 WHERE hash = ?1 AND user = ?2 AND used IS NULL AND expires > ?3
                       RETURNING user, snapshot, stream, bytes, file, digest, expires";
            let link = |row: &rusqlite::Row<'_>| {
                Ok(Link {
                    user: row.get(0)?,
                    snapshot: row.get(1)?,
                    stream: row.get(2)?,
                    bytes: u64::try_from(row.get::<_, i64>(3)?).unwrap_or_default(),
                    file: row.get(4)?,
                    digest: row.get(5)?,
                    expires: row.get(6)?,
                })
            };
            db.query_row(sql, params![hash, user, now], link).optional()
        })
    }

    /// The answer that was given to a request of that key.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn answer(&self, key: &str) -> Result<Option<(u16, String)>, StateError> {
        self.read(|db| {
            let sql = "SELECT status, body FROM answer WHERE key = ?";
            db.query_row(sql, [key], |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })
    }

    /// Keeps an answer for a request that comes again.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn keep_answer(&mut self, key: &str, status: u16, body: &str, now: i64) -> Result<(), StateError> {
        self.write(|db| {
            let sql = "INSERT OR REPLACE INTO answer(key, at, status, body) VALUES (?, ?, ?, ?)";
            db.execute(sql, params![key, now, status, body]).map(drop)
        })
    }

    /// What was kept under that key, and when.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn kept(&self, key: &str) -> Result<Option<(i64, String)>, StateError> {
        self.read(|db| {
            let sql = "SELECT at, text FROM kept WHERE key = ?";
            db.query_row(sql, [key], |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })
    }

    /// Keeps a text.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn keep(&mut self, key: &str, text: &str, now: i64) -> Result<(), StateError> {
        self.write(|db| {
            db.execute("INSERT OR REPLACE INTO kept(key, at, text) VALUES (?, ?, ?)", params![key, now, text])
                .map(drop)
        })
    }

    /// Somebody looked at a suspect snapshot and said that it is right.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn acknowledge(
        &mut self,
        snapshot: &str,
        actor: &str,
        note: &str,
        now: i64,
    ) -> Result<(), StateError> {
        self.write(|db| {
            let sql = "INSERT OR REPLACE INTO acknowledged(snapshot, actor, at, note) VALUES (?, ?, ?, ?)";
            db.execute(sql, params![snapshot, actor, now, note]).map(drop)
        })
    }

    /// Who said so, and why.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn acknowledged(&self, snapshot: &str) -> Result<Option<(String, i64, String)>, StateError> {
        self.read(|db| {
            let sql = "SELECT actor, at, note FROM acknowledged WHERE snapshot = ?";
            db.query_row(sql, [snapshot], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()
        })
    }
}
