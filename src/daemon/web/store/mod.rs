//! What the service keeps beside the history: users, sessions, tokens, links, operations. One SQLite file,
//! `access.sqlite`.
//!
//! It is a file of its own because the history may be deleted at any time, and nobody's account shall go with it. Of
//! secrets only hashes are kept.

mod operations;
mod people;
mod secrets;

pub use operations::{Link, Operation};
pub use people::{NewUser, Role, User};
pub use secrets::{Session, Throttled, Token};

use crate::daemon::book::StateError;
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};
use std::path::{Path, PathBuf};
use std::time::Duration;

const BUSY_MAX: Duration = Duration::from_secs(5);
const SCHEMA_VERSION: i64 = 1;
const SCHEMA: &str = "
CREATE TABLE user(
    name TEXT PRIMARY KEY, role TEXT NOT NULL, password TEXT NOT NULL, created INTEGER NOT NULL, changed INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE session(
    hash BLOB PRIMARY KEY, user TEXT NOT NULL REFERENCES user(name) ON DELETE CASCADE, created INTEGER NOT NULL,
    seen INTEGER NOT NULL, proved INTEGER NOT NULL, address TEXT NOT NULL, agent TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE token(
    hash BLOB PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, role TEXT NOT NULL, creator TEXT NOT NULL,
    sources TEXT NOT NULL, created INTEGER NOT NULL, expires INTEGER, used INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE throttle(key TEXT PRIMARY KEY, failures INTEGER NOT NULL, until INTEGER NOT NULL, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE link(
    hash BLOB PRIMARY KEY, user TEXT NOT NULL, snapshot TEXT NOT NULL, stream TEXT, bytes INTEGER NOT NULL, file TEXT NOT NULL,
    digest TEXT, expires INTEGER NOT NULL, used INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE operation(
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, object TEXT NOT NULL, words TEXT NOT NULL, actor TEXT NOT NULL, status TEXT NOT NULL,
    started INTEGER NOT NULL, ended INTEGER, exit INTEGER, report TEXT, error TEXT
) STRICT, WITHOUT ROWID;
CREATE TABLE answer(key TEXT PRIMARY KEY, at INTEGER NOT NULL, status INTEGER NOT NULL, body TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE kept(key TEXT PRIMARY KEY, at INTEGER NOT NULL, text TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE acknowledged(snapshot TEXT PRIMARY KEY, actor TEXT NOT NULL, at INTEGER NOT NULL, note TEXT NOT NULL) STRICT, WITHOUT ROWID;
";

/// The open file.
pub struct Access {
    pub(super) db: Connection,
    path: PathBuf,
}

impl Access {
    /// Opens it in the state directory, and makes what is missing.
    ///
    /// # Errors
    /// When it cannot be used, is damaged, or is of a newer program.
    pub fn open(directory: &Path) -> Result<Self, StateError> {
        use std::os::unix::fs::DirBuilderExt;
        let path = directory.join("access.sqlite");
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|error| StateError::Unusable { path: path.clone(), reason: error.to_string() })?;
        let db = Connection::open(&path).map_err(|error| failure(&path, &error))?;
        let mut access = Self { db, path };
        let found = access.set_up().map_err(|error| failure(&access.path, &error))?;
        if found > SCHEMA_VERSION {
            return Err(StateError::Newer { path: access.path, found, known: SCHEMA_VERSION });
        }
        Ok(access)
    }

    fn set_up(&mut self) -> rusqlite::Result<i64> {
        self.db.busy_timeout(BUSY_MAX)?;
        let version = |db: &Connection| db.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0));
        let found = version(&self.db)?;
        if found > SCHEMA_VERSION {
            return Ok(found);
        }
        self.db.execute_batch("PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL;")?;
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if version(&transaction)? == 0 {
            transaction.execute_batch(SCHEMA)?;
            transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        }
        transaction.commit()?;
        Ok(SCHEMA_VERSION)
    }

    fn read<T>(&self, act: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StateError> {
        act(&self.db).map_err(|error| failure(&self.path, &error))
    }

    fn write<T>(
        &mut self,
        act: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StateError> {
        let path = self.path.clone();
        let failed = |error: rusqlite::Error| failure(&path, &error);
        let transaction =
            self.db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        let value = act(&transaction).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        Ok(value)
    }
}

fn failure(path: &Path, error: &rusqlite::Error) -> StateError {
    let (path, reason) = (path.to_owned(), error.to_string());
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StateError::Damaged { path, reason },
        Some(ErrorCode::ConstraintViolation) => StateError::Raced { what: reason },
        _ => StateError::Unusable { path, reason },
    }
}
