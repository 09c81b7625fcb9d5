//! The state of scheduler and history: one SQLite file in the state directory, `schedule.sqlite`.
//!
//! What was committed is on the disk (`synchronous = FULL`). Of backups the repository is the truth: losing this file
//! loses no backup.

mod alerts;
mod audit;
mod browse;
mod entry;
mod figures;
mod history;
mod jobs;
mod notices;
mod seen;

pub use alerts::DeliveryRow;
pub use audit::{AuditEntry, AuditFault};
pub use browse::{Page, Wanted};
pub use entry::{Entry, Invocation, Record};
pub use figures::JobFigures;
pub use history::{Found, not_kept};
pub use jobs::{Asked, JobRow, RunRow};

use super::book::{
    Changes, Decision, Ending, JobState, OpenRun, RunChange, RunId, StateError, Store, Trigger,
};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior, params};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Another process holds the file for moments only.
const BUSY_MAX: Duration = Duration::from_secs(10);
/// The file in the state directory.
const FILE: &str = "schedule.sqlite";
const SCHEMA_VERSION: i64 = 3;
const SCHEMA: &str = "
CREATE TABLE job_state(
    job TEXT PRIMARY KEY, cursor INTEGER NOT NULL, schedule TEXT NOT NULL, paused_until INTEGER, skips INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE run(
    id TEXT PRIMARY KEY, job TEXT NOT NULL, kind TEXT NOT NULL,
    trigger TEXT NOT NULL CHECK(trigger IN ('schedule', 'catch_up', 'manual')), slot INTEGER,
    status TEXT NOT NULL CHECK(status IN ('QUEUED', 'IN_PROGRESS', 'COMPLETED', 'FAILED')),
    queued INTEGER NOT NULL, not_before INTEGER NOT NULL, attempt INTEGER NOT NULL, started INTEGER, ended INTEGER,
    parts TEXT NOT NULL, reason TEXT, exit INTEGER, noted INTEGER, log TEXT
) STRICT;
CREATE UNIQUE INDEX one_running ON run(job) WHERE status = 'IN_PROGRESS';
CREATE UNIQUE INDEX one_queued ON run(job) WHERE status = 'QUEUED';
CREATE INDEX run_of_job ON run(job, id);
CREATE TABLE slot(
    job TEXT NOT NULL, at INTEGER NOT NULL,
    decision TEXT NOT NULL CHECK(decision IN ('run', 'catch_up', 'skipped', 'missed', 'paused')),
    covers INTEGER NOT NULL, run TEXT REFERENCES run(id) ON DELETE SET NULL, decided INTEGER NOT NULL, PRIMARY KEY(job, at)
) STRICT, WITHOUT ROWID;
CREATE TABLE attempt(
    run TEXT NOT NULL REFERENCES run(id) ON DELETE CASCADE, number INTEGER NOT NULL, started INTEGER NOT NULL,
    ended INTEGER, exit INTEGER, reason TEXT, PRIMARY KEY(run, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE invocation(
    id TEXT PRIMARY KEY, command TEXT NOT NULL, words TEXT NOT NULL, run TEXT, attempt INTEGER,
    started INTEGER NOT NULL, ended INTEGER, exit INTEGER, error TEXT, hint TEXT,
    repository TEXT, boot TEXT NOT NULL, pid INTEGER NOT NULL, pid_start INTEGER NOT NULL, log TEXT
) STRICT;
CREATE INDEX invocation_of_run ON invocation(run) WHERE run IS NOT NULL;
CREATE TABLE record(
    invocation TEXT NOT NULL REFERENCES invocation(id) ON DELETE CASCADE, number INTEGER NOT NULL,
    source TEXT NOT NULL, series TEXT NOT NULL, host TEXT NOT NULL, status TEXT NOT NULL, snapshot TEXT, time INTEGER,
    bytes INTEGER, stored INTEGER, new INTEGER, rows INTEGER, tables INTEGER, calendar TEXT NOT NULL,
    digest TEXT, sha256 TEXT, suspect TEXT, error TEXT, duration INTEGER, PRIMARY KEY(invocation, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE audit(
    seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, actor TEXT NOT NULL, kind TEXT NOT NULL, object TEXT NOT NULL,
    detail TEXT NOT NULL, hash BLOB NOT NULL
) STRICT;
";
/// What version 2 has besides.
const SECOND: &str = "
ALTER TABLE job_state ADD COLUMN began INTEGER;
ALTER TABLE record ADD COLUMN kept TEXT;
ALTER TABLE record ADD COLUMN expires INTEGER;
ALTER TABLE record ADD COLUMN gone INTEGER;
CREATE INDEX record_of_snapshot ON record(snapshot) WHERE snapshot IS NOT NULL;
CREATE INDEX run_ended ON run(job, ended) WHERE status = 'COMPLETED';
CREATE TABLE series(
    host TEXT NOT NULL, series TEXT NOT NULL, newest INTEGER, good INTEGER, complete INTEGER NOT NULL, partial INTEGER NOT NULL,
    suspect INTEGER NOT NULL, is_suspect INTEGER NOT NULL, verified INTEGER, checked INTEGER, PRIMARY KEY(host, series)
) STRICT, WITHOUT ROWID;
CREATE TABLE figure(
    name TEXT NOT NULL, label TEXT NOT NULL, at INTEGER NOT NULL, value REAL NOT NULL, PRIMARY KEY(name, label, at)
) STRICT, WITHOUT ROWID;
CREATE TABLE counter(name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
";

/// And version 3.
const THIRD: &str = "ALTER TABLE record ADD COLUMN gone_by TEXT;";

/// The open file.
pub struct State {
    pub(super) db: Connection,
    path: PathBuf,
    seen: Option<i64>,
}

impl State {
    /// Whether that directory has a state.
    pub(crate) fn is_in(directory: &Path) -> bool {
        directory.join(FILE).exists()
    }

    /// Opens the state in that directory, and makes what is missing.
    ///
    /// # Errors
    /// When it cannot be used, is damaged, or is of a newer program.
    pub fn open(directory: &Path) -> Result<Self, StateError> {
        use std::os::unix::fs::DirBuilderExt;
        let path = directory.join(FILE);
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|error| StateError::Unusable { path: path.clone(), reason: error.to_string() })?;
        let db = Connection::open(&path).map_err(|error| failure(&path, &error))?;
        let mut state = Self { db, path, seen: None };
        state.set_up().map_err(|error| state.failure(&error))?;
        let found: i64 = state.query("PRAGMA user_version")?;
        if found != SCHEMA_VERSION {
            return Err(StateError::Newer { path: state.path, found, known: SCHEMA_VERSION });
        }
        Ok(state)
    }

    /// The first process to open the file changes its journal, and SQLite makes no other wait for that.
    fn turn_to_wal(&self) -> rusqlite::Result<()> {
        let began = Instant::now();
        loop {
            let turned = self.db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0));
            match turned {
                Err(error)
                    if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                        && began.elapsed() < BUSY_MAX =>
                {
                    std::thread::sleep(Duration::from_millis(10));
                }
                outcome => return outcome.map(drop),
            }
        }
    }

    fn set_up(&mut self) -> rusqlite::Result<()> {
        self.db.busy_timeout(BUSY_MAX)?;
        let version: i64 = self.db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if version > SCHEMA_VERSION {
            return Ok(());
        }
        self.turn_to_wal()?;
        self.db.execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;")?;
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if version < 1 {
            transaction.execute_batch(SCHEMA)?;
        }
        if version < 2 {
            transaction.execute_batch(SECOND)?;
            transaction.execute_batch(alerts::SCHEMA)?;
        }
        if version < 3 {
            transaction.execute_batch(THIRD)?;
        }
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        transaction.commit()
    }

    fn query<T: rusqlite::types::FromSql>(&self, sql: &str) -> Result<T, StateError> {
        self.db.query_row(sql, [], |row| row.get(0)).map_err(|error| self.failure(&error))
    }

    pub(super) fn read<T>(
        &self,
        act: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StateError> {
        act(&self.db).map_err(|error| self.failure(&error))
    }

    pub(super) fn failure(&self, error: &rusqlite::Error) -> StateError {
        failure(&self.path, error)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Does something in one transaction that nobody else writes beside.
    pub(super) fn write<T>(
        &mut self,
        act: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StateError> {
        let path = self.path.clone();
        let failure = |error: rusqlite::Error| failure(&path, &error);
        let transaction =
            self.db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failure)?;
        let value = act(&transaction).map_err(failure)?;
        transaction.commit().map_err(failure)?;
        Ok(value)
    }
}

/// What SQLite's errors mean for whoever cannot go on.
fn failure(path: &Path, error: &rusqlite::Error) -> StateError {
    let (path, reason) = (path.to_owned(), error.to_string());
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StateError::Damaged { path, reason },
        Some(ErrorCode::ConstraintViolation) => StateError::Raced { what: reason },
        _ => match error {
            rusqlite::Error::StatementChangedRows(_) => StateError::Raced { what: "a run".to_owned() },
            _ => StateError::Unusable { path, reason },
        },
    }
}

/// One row and no other was changed.
fn one(changed: usize) -> rusqlite::Result<()> {
    if changed == 1 { Ok(()) } else { Err(rusqlite::Error::StatementChangedRows(changed)) }
}

fn trigger(word: &str) -> Trigger {
    match word {
        "catch_up" => Trigger::CatchUp,
        "manual" => Trigger::Manual,
        _ => Trigger::Schedule,
    }
}

/// Sources, one a line: names hold no line ends.
fn parts(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// Puts a run into the queue.
pub(super) fn insert_run(db: &Transaction<'_>, run: &OpenRun) -> rusqlite::Result<()> {
    let row = params![
        run.id.0,
        run.job,
        run.kind,
        run.trigger.word(),
        run.slot,
        run.queued,
        run.not_before,
        run.attempt,
        run.parts.join("\n")
    ];
    let mut insert = db.prepare_cached(
        "INSERT INTO run(id, job, kind, trigger, slot, status, queued, not_before, attempt, parts)
         VALUES (?, ?, ?, ?, ?, 'QUEUED', ?, ?, ?, ?)",
    )?;
    insert.execute(row).map(drop)
}

fn change_run(db: &Transaction<'_>, at: i64, id: &RunId, change: &RunChange) -> rusqlite::Result<()> {
    match change {
        RunChange::Starts => {
            let sql =
                "UPDATE run SET status = 'IN_PROGRESS', started = ?2, attempt = attempt + 1, noted = NULL
                       WHERE id = ?1 AND status = 'QUEUED'";
            one(db.execute(sql, params![id.0, at])?)?;
            let sql =
                "INSERT INTO attempt(run, number, started) SELECT id, attempt, ?2 FROM run WHERE id = ?1";
            one(db.execute(sql, params![id.0, at])?)
        }
        RunChange::Ended { ok, ending } => {
            let sql = "UPDATE run SET status = ?2, ended = ?3, reason = ?4, exit = ?5
                       WHERE id = ?1 AND status IN ('QUEUED', 'IN_PROGRESS')";
            let status = if *ok { "COMPLETED" } else { "FAILED" };
            one(db.execute(sql, params![id.0, status, at, ending.reason, ending.exit])?)?;
            end_attempt(db, at, id, ending)
        }
        RunChange::Again { not_before, parts, ending } => {
            end_attempt(db, at, id, ending)?;
            let sql = "UPDATE run SET status = 'QUEUED', not_before = ?2, parts = ?3, reason = ?4, exit = ?5
                       WHERE id = ?1 AND status = 'IN_PROGRESS'";
            let row = params![id.0, not_before, parts.join("\n"), ending.reason, ending.exit];
            one(db.execute(sql, row)?)
        }
    }
}

fn end_attempt(db: &Transaction<'_>, at: i64, id: &RunId, ending: &Ending) -> rusqlite::Result<()> {
    let sql = "UPDATE attempt SET ended = ?2, exit = ?3, reason = ?4 WHERE run = ?1 AND ended IS NULL";
    db.execute(sql, params![id.0, at, ending.exit, ending.reason]).map(drop)
}

impl Store for State {
    fn jobs(&self) -> Result<BTreeMap<String, JobState>, StateError> {
        self.read(|db| {
            let mut all =
                db.prepare_cached("SELECT job, cursor, schedule, paused_until, skips FROM job_state")?;
            let rows = all.query_map([], |row| {
                let state = JobState {
                    cursor: row.get(1)?,
                    schedule: row.get(2)?,
                    paused_until: row.get(3)?,
                    skips: row.get(4)?,
                };
                Ok((row.get(0)?, state))
            })?;
            rows.collect()
        })
    }

    fn open_runs(&self) -> Result<Vec<OpenRun>, StateError> {
        self.read(|db| {
            let mut all = db.prepare_cached(
                "SELECT id, job, kind, trigger, slot, queued, not_before, attempt,
                        CASE status WHEN 'IN_PROGRESS' THEN started END, parts
                 FROM run WHERE status IN ('QUEUED', 'IN_PROGRESS')",
            )?;
            let rows = all.query_map([], |row| {
                Ok(OpenRun {
                    id: RunId(row.get(0)?),
                    job: row.get(1)?,
                    kind: row.get(2)?,
                    trigger: trigger(&row.get::<_, String>(3)?),
                    slot: row.get(4)?,
                    queued: row.get(5)?,
                    not_before: row.get(6)?,
                    attempt: row.get(7)?,
                    started: row.get(8)?,
                    parts: parts(&row.get::<_, String>(9)?),
                })
            })?;
            rows.collect()
        })
    }

    fn newest(&self) -> Result<Option<i64>, StateError> {
        self.query("SELECT max(at) FROM (SELECT max(decided) AS at FROM slot UNION ALL SELECT max(started) FROM attempt)")
    }

    fn commit(&mut self, changes: &Changes) -> Result<(), StateError> {
        self.write(|db| {
            for (id, change) in &changes.runs {
                change_run(db, changes.at, id, change)?;
                alerts::notice_of_run(db, changes.at, id, change)?;
            }
            changes.queued.iter().try_for_each(|run| insert_run(db, run))?;
            let mut slot = db.prepare_cached(
                "INSERT INTO slot(job, at, decision, covers, run, decided) VALUES (?, ?, ?, ?, ?, ?)",
            )?;
            for row in &changes.slots {
                let covers = i64::try_from(row.covers).unwrap_or(i64::MAX);
                let run = row.run.as_ref().map(|run| run.0.as_str());
                slot.execute(params![row.job, row.at, row.decision.word(), covers, run, changes.at])?;
                if row.decision == Decision::Missed {
                    let text = if covers == 1 { "1 slot was missed".to_owned() } else { format!("{covers} slots were missed") };
                    notices::notice(db, changes.at, "missed", &row.job, None, &text)?;
                }
            }
            changes.facts.iter().try_for_each(|fact| alerts::apply(db, changes.at, fact))?;
            // A pause that somebody wrote meanwhile stays.
            let mut job = db.prepare_cached(
                "INSERT INTO job_state(job, cursor, schedule, paused_until, skips, began) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT(job) DO UPDATE SET cursor = max(cursor, ?2), schedule = ?3, skips = ?5,
                     began = CASE WHEN schedule = ?3 THEN coalesce(began, cursor) ELSE ?6 END,
                     paused_until = CASE WHEN paused_until > ?6 THEN paused_until ELSE ?4 END",
            )?;
            for (name, state) in &changes.jobs {
                job.execute(params![
                    name,
                    state.cursor,
                    state.schedule,
                    state.paused_until,
                    state.skips,
                    changes.at
                ])?;
            }
            for note in &changes.notes {
                audit::append(db, changes.at, "scheduler", note)?;
                // Of a pause the scheduler notes the end alone, and whoever paused the job may have forgotten it.
                if note.kind == "pause" {
                    let text = "the pause is over, and the job runs at its times again";
                    notices::notice(db, changes.at, "resumed", &note.object, None, text)?;
                }
            }
            Ok(())
        })
    }

    fn is_changed(&mut self) -> bool {
        // Where even that cannot be read, what is in memory is not to be relied on.
        let version = self.query::<i64>("PRAGMA data_version").ok();
        let changed = version.is_none() || version != self.seen;
        self.seen = version;
        changed
    }

    fn noted_exit(&self, run: &RunId) -> Result<Option<i32>, StateError> {
        let noted =
            self.db.query_row("SELECT noted FROM run WHERE id = ?", [&run.0], |row| row.get(0)).optional();
        noted.map(Option::flatten).map_err(|error| self.failure(&error))
    }

    fn failed_parts(&self, run: &RunId) -> Result<Vec<String>, StateError> {
        self.read(|db| {
            let mut all = db.prepare_cached(
                "SELECT source FROM record WHERE status = 'FAILED' AND invocation =
                     (SELECT max(id) FROM invocation WHERE run = ?) ORDER BY number",
            )?;
            all.query_map([&run.0], |row| row.get(0))?.collect()
        })
    }
}
