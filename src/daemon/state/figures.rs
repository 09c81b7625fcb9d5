//! What metrics are made of.

use super::State;
use crate::daemon::book::StateError;
use std::collections::BTreeMap;

/// What became of a job's runs. Times in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobFigures {
    /// Since when a run is under way.
    pub running_since: Option<i64>,
    /// When the newest run began.
    pub last_start: Option<i64>,
    /// When the newest good one ended.
    pub last_success: Option<i64>,
    /// When the newest bad one ended.
    pub last_failure: Option<i64>,
    /// Bad ones since the last good one.
    pub failures: i64,
    /// How long the newest good one took.
    pub last_duration: Option<i64>,
    /// What it read.
    pub bytes: Option<i64>,
    /// What of that was new.
    pub new: Option<i64>,
    /// What it added to the storage.
    pub stored: Option<i64>,
    /// Rows in it.
    pub rows: Option<i64>,
    /// Tables in it.
    pub tables: Option<i64>,
    /// Good runs.
    pub completed: i64,
    /// Bad runs.
    pub failed: i64,
    /// Slots that were missed.
    pub missed: i64,
    /// Slots that were skipped.
    pub skipped: i64,
    /// Attempts behind the first.
    pub retries: i64,
}

impl State {
    /// What became of all jobs' runs.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn job_figures(&self) -> Result<BTreeMap<String, JobFigures>, StateError> {
        self.read(|db| {
            let mut all: BTreeMap<String, JobFigures> = BTreeMap::new();
            let mut runs = db.prepare_cached(
                "SELECT job, max(CASE status WHEN 'IN_PROGRESS' THEN started END), max(started),
                    max(CASE status WHEN 'COMPLETED' THEN ended END), max(CASE status WHEN 'FAILED' THEN ended END),
                    sum(status = 'COMPLETED'), sum(status = 'FAILED'), sum(max(attempt - 1, 0))
                 FROM run GROUP BY job",
            )?;
            let rows = runs.query_map([], |row| {
                let own = JobFigures {
                    running_since: row.get(1)?,
                    last_start: row.get(2)?,
                    last_success: row.get(3)?,
                    last_failure: row.get(4)?,
                    completed: row.get(5)?,
                    failed: row.get(6)?,
                    retries: row.get(7)?,
                    ..JobFigures::default()
                };
                Ok((row.get::<_, String>(0)?, own))
            })?;
            for row in rows {
                let (job, own) = row?;
                all.insert(job, own);
            }
            let mut failures = db.prepare_cached("SELECT count(*) FROM run WHERE job = ?1 AND status = 'FAILED' AND ended > ?2")?;
            let mut newest = db.prepare_cached(
                "SELECT r.ended - r.started, sum(p.bytes), sum(p.new), sum(p.stored), sum(p.rows), sum(p.tables)
                 FROM run r LEFT JOIN invocation i ON i.run = r.id LEFT JOIN record p ON p.invocation = i.id AND p.snapshot IS NOT NULL
                 WHERE r.id = (SELECT id FROM run WHERE job = ?1 AND status = 'COMPLETED' AND ended = ?2 LIMIT 1) GROUP BY r.id",
            )?;
            for (job, own) in &mut all {
                let since = own.last_success.unwrap_or(i64::MIN);
                own.failures = failures.query_row(rusqlite::params![job, since], |row| row.get(0))?;
                let mut found = newest.query(rusqlite::params![job, own.last_success])?;
                if let Some(row) = found.next()? {
                    own.last_duration = row.get(0)?;
                    (own.bytes, own.new, own.stored) = (row.get(1)?, row.get(2)?, row.get(3)?);
                    (own.rows, own.tables) = (row.get(4)?, row.get(5)?);
                }
            }
            let mut slots = db.prepare_cached(
                "SELECT job, sum(CASE decision WHEN 'missed' THEN covers ELSE 0 END),
                    sum(CASE decision WHEN 'skipped' THEN covers ELSE 0 END) FROM slot GROUP BY job",
            )?;
            let rows = slots.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?)))?;
            for row in rows {
                let (job, missed, skipped) = row?;
                let own = all.entry(job).or_default();
                (own.missed, own.skipped) = (missed, skipped);
            }
            Ok(all)
        })
    }

    /// Jumps of the clock that were noted.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn clock_jumps(&self) -> Result<i64, StateError> {
        self.read(|db| db.query_row("SELECT count(*) FROM audit WHERE kind = 'clock'", [], |row| row.get(0)))
    }

    /// Messages by channel and what became of them.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn delivery_counts(&self) -> Result<Vec<(String, String, i64)>, StateError> {
        self.read(|db| {
            let sql = "SELECT channel, result, count(*) FROM delivery GROUP BY channel, result ORDER BY channel, result";
            let mut all = db.prepare_cached(sql)?;
            all.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
        })
    }

    /// When the oldest message was made that waits for its delivery.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn oldest_pending(&self) -> Result<Option<i64>, StateError> {
        self.read(|db| {
            db.query_row("SELECT min(made) FROM delivery WHERE result = 'pending'", [], |row| row.get(0))
        })
    }

    /// Size of the file, where the system tells.
    pub fn bytes(&self) -> Option<u64> {
        std::fs::metadata(self.path()).ok().map(|file| file.len())
    }
}
