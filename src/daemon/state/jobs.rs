//! What people ask of jobs, and what they are shown of them.

use super::{State, audit, insert_run};
use crate::daemon::book::{Note, OpenRun, RunId, StateError};
use rusqlite::{OptionalExtension, Row, params};
use std::collections::BTreeMap;

/// How far a job is, and how its last run went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRow {
    /// Every slot up to here is decided.
    pub cursor: i64,
    /// The schedule that it was decided by.
    pub schedule: String,
    /// No slot runs before that.
    pub paused_until: Option<i64>,
    /// The run that has not ended.
    pub open: Option<RunRow>,
    /// The newest run that has.
    pub last: Option<RunRow>,
    /// When the last good run ended.
    pub last_good: Option<i64>,
}

/// A run of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRow {
    /// Its name.
    pub id: String,
    /// The job.
    pub job: String,
    /// What the job does.
    pub kind: String,
    /// Why it was queued.
    pub trigger: String,
    /// Its slot.
    pub slot: Option<i64>,
    /// `QUEUED`, `IN_PROGRESS`, `COMPLETED`, `FAILED`.
    pub status: String,
    /// When it was queued.
    pub queued: i64,
    /// When its last try began.
    pub started: Option<i64>,
    /// When it ended.
    pub ended: Option<i64>,
    /// How often it was tried.
    pub attempts: u32,
    /// Exit code of the last try.
    pub exit: Option<i32>,
    /// Why it, or the last try, failed.
    pub reason: Option<String>,
    /// The end of its log.
    pub log: Option<String>,
}

const COLUMNS: &str =
    "id, job, kind, trigger, slot, status, queued, started, ended, attempt, exit, reason, log";

impl RunRow {
    pub(super) const COLUMNS: &'static str = COLUMNS;

    pub(super) fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            job: row.get(1)?,
            kind: row.get(2)?,
            trigger: row.get(3)?,
            slot: row.get(4)?,
            status: row.get(5)?,
            queued: row.get(6)?,
            started: row.get(7)?,
            ended: row.get(8)?,
            attempts: row.get(9)?,
            exit: row.get(10)?,
            reason: row.get(11)?,
            log: row.get(12)?,
        })
    }
}

/// What came of asking for a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// It is queued.
    Queued,
    /// The job has a run that has not ended.
    Busy(String),
}

impl State {
    /// Asks for a run of a job, unless it has one that has not ended.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn ask(&mut self, run: &OpenRun, actor: &str) -> Result<Asked, StateError> {
        self.write(|db| {
            let sql = "SELECT id FROM run WHERE job = ? AND status IN ('QUEUED', 'IN_PROGRESS')";
            let busy: Option<String> = db.query_row(sql, [&run.job], |row| row.get(0)).optional()?;
            if let Some(busy) = busy {
                return Ok(Asked::Busy(busy));
            }
            insert_run(db, run)?;
            let text = format!("run {} was asked for", run.id);
            audit::append(db, run.queued, actor, &Note { kind: "trigger", object: run.job.clone(), text })?;
            Ok(Asked::Queued)
        })
    }

    /// Pauses a job until then, or ends its pause.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn pause(
        &mut self,
        job: &str,
        schedule: &str,
        until: Option<i64>,
        now: i64,
        actor: &str,
    ) -> Result<(), StateError> {
        self.write(|db| {
            db.execute(
                "INSERT INTO job_state(job, cursor, schedule, paused_until, skips) VALUES (?1, ?2, ?3, ?4, 0)
                 ON CONFLICT(job) DO UPDATE SET paused_until = ?4",
                params![job, now, schedule, until],
            )?;
            let text = match until.and_then(|until| jiff::Timestamp::from_millisecond(until).ok()) {
                Some(until) => format!("paused until {until}"),
                None => "resumed".to_owned(),
            };
            audit::append(db, now, actor, &Note { kind: "pause", object: job.to_owned(), text })
        })
    }

    /// How far all jobs are.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn job_rows(&self) -> Result<BTreeMap<String, JobRow>, StateError> {
        self.read(|db| {
            let mut all = db.prepare("SELECT job, cursor, schedule, paused_until FROM job_state")?;
            let jobs = all.query_map([], |row| {
                Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })?;
            let newest = |job: &str, open: bool| {
                let which = if open { "IN" } else { "NOT IN" };
                let sql = format!(
                    "SELECT {COLUMNS} FROM run WHERE job = ? AND status {which} ('QUEUED', 'IN_PROGRESS') ORDER BY id DESC LIMIT 1"
                );
                db.prepare_cached(&sql)?.query_row([job], RunRow::of).optional()
            };
            let mut rows = BTreeMap::new();
            for job in jobs {
                let (name, cursor, schedule, paused_until) = job?;
                let sql = "SELECT max(ended) FROM run WHERE job = ? AND status = 'COMPLETED'";
                let last_good = db.prepare_cached(sql)?.query_row([&name], |row| row.get(0))?;
                let (open, last) = (newest(&name, true)?, newest(&name, false)?);
                rows.insert(name, JobRow { cursor, schedule, paused_until, open, last, last_good });
            }
            Ok(rows)
        })
    }

    /// The run with that beginning of its id; none where several begin so.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn run(&self, prefix: &str) -> Result<Option<RunRow>, StateError> {
        self.read(|db| {
            let sql = format!("SELECT {COLUMNS} FROM run WHERE substr(id, 1, length(?1)) = ?1 LIMIT 2");
            let mut found = db.prepare(&sql)?;
            let found: Vec<RunRow> =
                found.query_map([prefix], RunRow::of)?.collect::<rusqlite::Result<_>>()?;
            Ok(if found.len() == 1 { found.into_iter().next() } else { None })
        })
    }

    /// Slots that were decided otherwise than by a run, newest first: slot, job, decision, how many slots.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn gaps(&self, most: u32) -> Result<Vec<(i64, String, String, i64)>, StateError> {
        self.read(|db| {
            let mut all = db.prepare(
                "SELECT at, job, decision, covers FROM slot WHERE decision NOT IN ('run', 'catch_up') ORDER BY at DESC LIMIT ?",
            )?;
            all.query_map([most], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?.collect()
        })
    }

    /// When a prune last went through that this state knows of.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn last_prune(&self) -> Result<Option<i64>, StateError> {
        self.read(|db| {
            let sql = "SELECT max(at) FROM (SELECT max(ended) AS at FROM run WHERE kind = 'prune' AND status = 'COMPLETED'
                       UNION ALL SELECT value FROM counter WHERE name = 'pruned')";
            db.query_row(sql, [], |row| row.get(0))
        })
    }

    /// Notes the exit code of a run's try, by its own process.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn note_exit(&mut self, run: &RunId, attempt: u32, code: u8) -> Result<(), StateError> {
        self.write(|db| {
            let sql = "UPDATE run SET noted = ?3 WHERE id = ?1 AND attempt = ?2 AND status = 'IN_PROGRESS'";
            db.execute(sql, params![run.0, attempt, code]).map(drop)
        })
    }

    /// Keeps the end of a run's log.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn keep_log(&mut self, run: &RunId, log: &str) -> Result<(), StateError> {
        self.write(|db| db.execute("UPDATE run SET log = ?2 WHERE id = ?1", params![run.0, log]).map(drop))
    }

    /// Runs that have ended and have no log yet.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn without_log(&self) -> Result<Vec<RunId>, StateError> {
        self.read(|db| {
            let mut all = db.prepare_cached(
                "SELECT id FROM run WHERE log IS NULL AND status IN ('COMPLETED', 'FAILED')",
            )?;
            all.query_map([], |row| row.get(0).map(RunId))?.collect()
        })
    }

    /// Removes runs, slots and commands that ended before that.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn forget_before(&mut self, at: i64) -> Result<(), StateError> {
        self.write(|db| {
            db.execute("DELETE FROM slot WHERE decided < ?", [at])?;
            db.execute("DELETE FROM run WHERE ended < ?", [at])?;
            db.execute("DELETE FROM delivery WHERE ended < ?", [at])?;
            db.execute("DELETE FROM invocation WHERE ended < ?", [at]).map(drop)
        })
    }
}
