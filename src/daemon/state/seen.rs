//! What was last seen of the repository and of disks: series, figures, counters.

use super::State;
use crate::base::series::SeenSeries;
use crate::daemon::book::StateError;
use rusqlite::params;

fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl State {
    /// All series.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn series(&self) -> Result<Vec<SeenSeries>, StateError> {
        self.read(|db| {
            let mut all = db.prepare_cached(
                "SELECT host, series, newest, good, complete, partial, suspect, is_suspect, verified, checked FROM series
                 ORDER BY host, series",
            )?;
            let rows = all.query_map([], |row| {
                Ok(SeenSeries {
                    host: row.get(0)?,
                    series: row.get(1)?,
                    newest: row.get(2)?,
                    good: row.get(3)?,
                    complete: count(row.get(4)?),
                    partial: count(row.get(5)?),
                    suspect: count(row.get(6)?),
                    is_suspect: row.get(7)?,
                    verified: row.get(8)?,
                    checked: row.get(9)?,
                })
            })?;
            rows.collect()
        })
    }

    /// From now on the repository has these series and no others.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn note_series(&mut self, series: &[SeenSeries], now: i64) -> Result<(), StateError> {
        self.write(|db| {
            db.execute("DELETE FROM series", [])?;
            let mut insert = db.prepare("INSERT INTO series VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?;
            for one in series {
                insert.execute(params![
                    one.host,
                    one.series,
                    one.newest,
                    one.good,
                    signed(one.complete),
                    signed(one.partial),
                    signed(one.suspect),
                    one.is_suspect,
                    one.verified,
                    one.checked
                ])?;
            }
            let sql = "INSERT INTO counter VALUES ('looked', ?1) ON CONFLICT(name) DO UPDATE SET value = ?1";
            db.execute(sql, [now]).map(drop)
        })
    }

    /// A figure at a moment.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn note_figure(&mut self, name: &str, label: &str, at: i64, value: u64) -> Result<(), StateError> {
        self.write(|db| {
            db.execute(
                "INSERT OR REPLACE INTO figure VALUES (?, ?, ?, ?)",
                params![name, label, at, rounded(value)],
            )?;
            db.execute("DELETE FROM figure WHERE at < ?", [at.saturating_sub(400 * 86_400_000)]).map(drop)
        })
    }

    /// A figure since then, oldest first.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn figures(&self, name: &str, label: &str, since: i64) -> Result<Vec<(i64, f64)>, StateError> {
        self.read(|db| {
            let sql = "SELECT at, value FROM figure WHERE name = ? AND label = ? AND at >= ? ORDER BY at";
            let mut all = db.prepare_cached(sql)?;
            all.query_map(params![name, label, since], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })
    }

    /// The newest value of each figure: name, label, value.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn newest_figures(&self) -> Result<Vec<(String, String, f64)>, StateError> {
        self.read(|db| {
            let sql =
                "SELECT name, label, value, max(at) FROM figure GROUP BY name, label ORDER BY name, label";
            let mut all = db.prepare_cached(sql)?;
            all.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
        })
    }

    /// Counts something once more.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn count(&mut self, name: &str, by: u64) -> Result<(), StateError> {
        self.write(|db| {
            let sql =
                "INSERT INTO counter VALUES (?1, ?2) ON CONFLICT(name) DO UPDATE SET value = value + ?2";
            db.execute(sql, params![name, signed(by)]).map(drop)
        })
    }

    /// Sets a counter that is a moment.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn set_counter(&mut self, name: &str, value: i64) -> Result<(), StateError> {
        self.write(|db| {
            let sql = "INSERT INTO counter VALUES (?1, ?2) ON CONFLICT(name) DO UPDATE SET value = ?2";
            db.execute(sql, params![name, value]).map(drop)
        })
    }

    /// A counter; `None` where nothing was ever counted.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn counter(&self, name: &str) -> Result<Option<i64>, StateError> {
        use rusqlite::OptionalExtension;
        self.read(|db| {
            db.query_row("SELECT value FROM counter WHERE name = ?", [name], |row| row.get(0)).optional()
        })
    }
}

fn rounded(value: u64) -> f64 {
    value as f64
}
