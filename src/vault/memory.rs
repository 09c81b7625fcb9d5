//! What this host remembers of a repository, so that a storage that was turned back is noticed: no cache, and worth
//! keeping.
//!
//! One SQLite file a repository, `repositories/<id>/memory.sqlite` below the state directory. It holds statements and
//! epochs that were seen, the newest snapshot of each series, when snapshots were first seen, sessions that were ended,
//! the slot that opened last, and the answers that a person gave. A backup must not fail because its memory does: what
//! cannot be read or written is told and done without.

use crate::base::id::{SessionId, SlotId, SnapshotId};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The newest snapshot of a series that this host has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// Host of the series.
    pub host: String,
    /// Its name.
    pub series: String,
    /// Counter of the snapshot.
    pub counter: u64,
    /// The snapshot.
    pub snapshot: SnapshotId,
}

/// What a person decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Which of two objects closes an epoch; the subject is its number, the answer an object's name.
    Epoch,
    /// The repository lacks the object that is the subject: accepted.
    Rollback,
}

impl Question {
    fn word(self) -> &'static str {
        match self {
            Self::Epoch => "epoch",
            Self::Rollback => "rollback",
        }
    }
}

/// This host's memory of one repository.
pub struct HostMemory {
    connection: Mutex<Connection>,
    /// Why nothing is remembered beyond this run.
    failure: Option<String>,
    is_new: bool,
    /// Series of which a snapshot is gone that nobody forgot.
    held: Mutex<HashSet<(String, String)>>,
}

impl std::fmt::Debug for HostMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostMemory").field("failure", &self.failure).finish_non_exhaustive()
    }
}

const SCHEMA_VERSION: i64 = 1;
const SCHEMA: &str = "
    CREATE TABLE trusted (key TEXT PRIMARY KEY, bytes BLOB NOT NULL) STRICT;
    CREATE TABLE junk (key TEXT PRIMARY KEY) STRICT;
    CREATE TABLE series (
        host TEXT NOT NULL, series TEXT NOT NULL, counter INTEGER NOT NULL, snapshot BLOB NOT NULL,
        PRIMARY KEY (host, series)
    ) STRICT;
    CREATE TABLE first_seen (snapshot BLOB PRIMARY KEY, not_before_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE ended (session BLOB PRIMARY KEY) STRICT, WITHOUT ROWID;
    CREATE TABLE answers (question TEXT NOT NULL, subject TEXT NOT NULL, answer TEXT NOT NULL,
        PRIMARY KEY (question, subject)) STRICT;
    CREATE TABLE facts (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
";
/// Sessions that were ended are remembered up to this many; they are told apart by random names.
const ENDED_MAX: i64 = 10_000;

impl HostMemory {
    /// Opens the memory in `dir`, which is made where it is missing; one that lasts for this run only where that fails.
    pub fn open(dir: &Path) -> Self {
        let opened = Self::open_dir(dir);
        let (connection, failure, is_new) = match opened {
            Ok((connection, is_new)) => (Ok(connection), None, is_new),
            Err(reason) => {
                let failure = format!("cannot use the state directory `{}`: {reason}", dir.display());
                (Connection::open_in_memory(), Some(failure), true)
            }
        };
        // Where SQLite has no memory nothing else will work either; every later call tells.
        let connection = connection.and_then(|connection| Self::set_up(connection).map(|(made, _)| made));
        match connection {
            Ok(connection) => {
                Self { connection: Mutex::new(connection), failure, is_new, held: Mutex::default() }
            }
            Err(error) => {
                tracing::warn!("{error}");
                Self::open_nothing(failure.unwrap_or_else(|| error.to_string()))
            }
        }
    }

    fn open_nothing(failure: String) -> Self {
        // An unconnected handle of SQLite cannot be made without memory: try until there is some.
        loop {
            if let Ok(connection) = Connection::open_in_memory() {
                return Self {
                    connection: Mutex::new(connection),
                    failure: Some(failure),
                    is_new: true,
                    held: Mutex::default(),
                };
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn open_dir(dir: &Path) -> Result<(Connection, bool), String> {
        use std::os::unix::fs::DirBuilderExt;
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|error| error.to_string())?;
        let connection = Connection::open(dir.join("memory.sqlite")).map_err(|error| error.to_string())?;
        Self::set_up(connection).map_err(|error| error.to_string())
    }

    fn set_up(mut connection: Connection) -> rusqlite::Result<(Connection, bool)> {
        connection.busy_timeout(Duration::from_secs(60))?;
        connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;")?;
        let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if version == 0 {
            transaction.execute_batch(SCHEMA)?;
            transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        }
        transaction.commit()?;
        Ok((connection, version == 0))
    }

    /// Why nothing is remembered beyond this run, if that is so.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Whether this host has never seen the repository before.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the database; what fails is told, and `T`'s default stands in.
    fn with<T: Default>(&self, act: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> T {
        act(&self.lock()).unwrap_or_else(|error| {
            tracing::warn!("this host's memory of the repository: {error}");
            T::default()
        })
    }

    /// Statements and epochs that were seen, by key.
    pub fn trusted(&self) -> HashMap<String, Vec<u8>> {
        self.with(|db| {
            let mut statement = db.prepare_cached("SELECT key, bytes FROM trusted")?;
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })
    }

    /// Remembers a statement or epoch that was found to be genuine.
    pub fn trust(&self, key: &str, bytes: &[u8]) {
        self.with(|db| {
            db.execute("INSERT OR IGNORE INTO trusted VALUES (?, ?)", params![key, bytes]).map(|_| ())
        });
    }

    /// Objects that were found to say nothing, so that they are not fetched again.
    pub fn junk(&self) -> HashSet<String> {
        self.with(|db| {
            let mut statement = db.prepare_cached("SELECT key FROM junk")?;
            statement.query_map([], |row| row.get(0))?.collect()
        })
    }

    /// Remembers an object that says nothing.
    pub fn note_junk(&self, key: &str) {
        self.with(|db| db.execute("INSERT OR IGNORE INTO junk VALUES (?)", [key]).map(|_| ()));
    }

    /// The newest snapshot of each series that this host has seen.
    pub fn newest(&self) -> Vec<Remembered> {
        self.with(|db| {
            let mut statement = db.prepare_cached("SELECT host, series, counter, snapshot FROM series")?;
            let rows = statement.query_map([], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)?, row.get::<_, Vec<u8>>(3)?))
            })?;
            rows.filter_map(|row| match row {
                Ok((host, series, counter, id)) => SnapshotId::from_slice(&id).map(|snapshot| {
                    Ok(Remembered { host, series, counter: counter.cast_unsigned(), snapshot })
                }),
                Err(error) => Some(Err(error)),
            })
            .collect()
        })
    }

    /// What is remembered of these series, by host and name, stays until the next call: a new backup must not hide that
    /// an older one is gone.
    pub fn hold_fast(&self, series: HashSet<(String, String)>) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = series;
    }

    /// Remembers the newest snapshots, in the place of what was remembered of their series.
    pub fn remember_newest(&self, newest: &[Remembered]) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.with(|db| {
            let mut statement = db.prepare_cached("INSERT OR REPLACE INTO series VALUES (?, ?, ?, ?)")?;
            for Remembered { host, series, counter, snapshot } in newest {
                if held.contains(&(host.clone(), series.clone())) {
                    continue;
                }
                statement.execute(params![host, series, counter.cast_signed(), snapshot.as_bytes()])?;
            }
            Ok(())
        });
    }

    /// Remembers nothing of a series any more.
    pub fn drop_series(&self, host: &str, series: &str) {
        self.with(|db| {
            db.execute("DELETE FROM series WHERE host = ? AND series = ?", [host, series]).map(|_| ())
        });
    }

    /// For each of the snapshots that are there at `now_ms`, a moment before which it was not: when this host had last
    /// looked before it first saw it. `i64::MIN` for those of the first look.
    pub fn not_before(&self, snapshots: &[SnapshotId], now_ms: i64) -> HashMap<SnapshotId, i64> {
        self.with(|db| {
            let known: rusqlite::Result<HashMap<SnapshotId, i64>> = {
                let mut statement = db.prepare_cached("SELECT snapshot, not_before_ms FROM first_seen")?;
                let rows = statement.query_map([], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get(1)?)))?;
                rows.filter_map(|row| match row {
                    Ok((id, ms)) => SnapshotId::from_slice(&id).map(|id| Ok((id, ms))),
                    Err(error) => Some(Err(error)),
                })
                .collect()
            };
            let known = known?;
            let mut found = HashMap::with_capacity(snapshots.len());
            let fresh: Vec<&SnapshotId> = snapshots.iter().filter(|id| !known.contains_key(id)).collect();
            let gone = known.len() + fresh.len() > snapshots.len();
            found.extend(snapshots.iter().filter_map(|id| Some((*id, *known.get(id)?))));
            if fresh.is_empty() && !gone {
                return Ok(found);
            }
            let looked: Option<i64> = db
                .query_row("SELECT CAST(value AS INTEGER) FROM facts WHERE name = 'looked'", [], |row| {
                    row.get(0)
                })
                .optional()?;
            let not_before = looked.unwrap_or(i64::MIN);
            let transaction = db.unchecked_transaction()?;
            for id in fresh {
                transaction
                    .prepare_cached("INSERT OR IGNORE INTO first_seen VALUES (?, ?)")?
                    .execute(params![id.as_bytes(), not_before])?;
                found.insert(*id, not_before);
            }
            let there: HashSet<&SnapshotId> = snapshots.iter().collect();
            for id in known.keys().filter(|id| !there.contains(id)) {
                transaction
                    .prepare_cached("DELETE FROM first_seen WHERE snapshot = ?")?
                    .execute([id.as_bytes()])?;
            }
            transaction.execute(
                "INSERT OR REPLACE INTO facts VALUES ('looked', CAST(? AS BLOB))",
                [now_ms.to_string()],
            )?;
            transaction.commit()?;
            Ok(found)
        })
    }

    /// Notes that this host looked at the snapshots at `now_ms`.
    pub fn looked(&self, now_ms: i64) {
        self.with(|db| {
            db.execute(
                "INSERT OR REPLACE INTO facts VALUES ('looked', CAST(? AS BLOB))",
                [now_ms.to_string()],
            )
            .map(|_| ())
        });
    }

    /// Whether the session was ended: it never counts again, though its objects may be put again.
    pub fn was_ended(&self, session: &SessionId) -> bool {
        self.with(|db| {
            db.query_row("SELECT 1 FROM ended WHERE session = ?", [session.as_bytes()], |_| Ok(()))
                .optional()
                .map(|found| found.is_some())
        })
    }

    /// Remembers that a session was ended.
    pub fn note_ended(&self, session: &SessionId) {
        self.with(|db| {
            db.execute("INSERT OR IGNORE INTO ended VALUES (?)", [session.as_bytes()])?;
            db.execute(
                "DELETE FROM ended WHERE (SELECT count(*) FROM ended) > ? AND session NOT IN
                 (SELECT session FROM ended LIMIT ?)",
                [ENDED_MAX, ENDED_MAX],
            )
            .map(|_| ())
        });
    }

    /// The slot that opened last.
    pub fn last_slot(&self) -> Option<SlotId> {
        let bytes: Option<Vec<u8>> = self.with(|db| {
            db.query_row("SELECT value FROM facts WHERE name = 'slot'", [], |row| row.get(0)).optional()
        });
        SlotId::from_slice(&bytes?)
    }

    /// Remembers the slot that opened.
    pub fn note_slot(&self, slot: &SlotId) {
        if self.last_slot() != Some(*slot) {
            self.with(|db| {
                db.execute("INSERT OR REPLACE INTO facts VALUES ('slot', ?)", [slot.as_bytes()]).map(|_| ())
            });
        }
    }

    /// When this host pruned last, ms since the epoch.
    pub fn last_pruned_ms(&self) -> Option<i64> {
        self.with(|db| {
            let pruned = "SELECT CAST(value AS INTEGER) FROM facts WHERE name = 'pruned'";
            db.query_row(pruned, [], |row| row.get(0)).optional()
        })
    }

    /// Remembers that this host has pruned.
    pub fn note_pruned(&self, now_ms: i64) {
        self.with(|db| {
            db.execute("INSERT OR REPLACE INTO facts VALUES ('pruned', CAST(? AS BLOB))", [now_ms])
                .map(|_| ())
        });
    }

    /// What a person answered.
    pub fn answer(&self, question: Question, subject: &str) -> Option<String> {
        self.with(|db| {
            db.query_row(
                "SELECT answer FROM answers WHERE question = ? AND subject = ?",
                [question.word(), subject],
                |row| row.get(0),
            )
            .optional()
        })
    }

    /// Remembers an answer.
    pub fn note_answer(&self, question: Question, subject: &str, answer: &str) {
        self.with(|db| {
            db.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", [question.word(), subject, answer])
                .map(|_| ())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> SnapshotId {
        SnapshotId::from_bytes([n; 32])
    }

    #[test]
    fn what_was_noted_is_there_when_it_is_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let memory = HostMemory::open(dir.path());
        assert!(memory.is_new() && memory.failure().is_none());
        let newest =
            Remembered { host: "db1".into(), series: "app".into(), counter: u64::MAX, snapshot: id(1) };
        memory.remember_newest(std::slice::from_ref(&newest));
        memory.trust("authors/1", b"statement");
        memory.note_junk("authors/2");
        memory.note_ended(&SessionId::from_bytes([4; 16]));
        memory.note_slot(&SlotId::from_bytes([5; 32]));
        memory.note_answer(Question::Epoch, "0", "abc");
        drop(memory);
        let memory = HostMemory::open(dir.path());
        assert!(!memory.is_new());
        assert_eq!(memory.newest(), [newest]);
        assert_eq!(memory.trusted().get("authors/1").unwrap(), b"statement");
        assert!(memory.junk().contains("authors/2"));
        assert!(memory.was_ended(&SessionId::from_bytes([4; 16])));
        assert!(!memory.was_ended(&SessionId::from_bytes([6; 16])));
        assert_eq!(memory.last_slot(), Some(SlotId::from_bytes([5; 32])));
        assert_eq!(memory.answer(Question::Epoch, "0").as_deref(), Some("abc"));
        assert_eq!(memory.answer(Question::Rollback, "0"), None);
        memory.drop_series("db1", "app");
        assert!(memory.newest().is_empty());
    }

    #[test]
    fn a_snapshot_was_not_there_before_the_last_look_that_did_not_see_it() {
        let dir = tempfile::tempdir().unwrap();
        let memory = HostMemory::open(dir.path());
        assert_eq!(memory.not_before(&[id(1)], 1_000)[&id(1)], i64::MIN);
        assert_eq!(memory.not_before(&[id(1)], 1_500)[&id(1)], i64::MIN);
        memory.looked(2_000);
        let seen = memory.not_before(&[id(1), id(2)], 3_000);
        assert_eq!((seen[&id(1)], seen[&id(2)]), (i64::MIN, 2_000));
        assert_eq!(memory.not_before(&[id(2)], 4_000)[&id(2)], 2_000);
        // Gone, and back: seen for the first time again.
        assert_eq!(memory.not_before(&[id(1), id(2)], 5_000)[&id(1)], 4_000);
    }

    #[test]
    fn a_directory_that_cannot_be_used_costs_the_memory_and_nothing_else() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let memory = HostMemory::open(&file.path().join("below"));
        assert!(memory.failure().is_some());
        memory.trust("authors/1", b"statement");
        assert_eq!(memory.trusted().len(), 1);
    }
}
