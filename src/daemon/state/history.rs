//! The history of backups: each `backup` and `run`, from wherever it was started, and what became of each of its
//! sources.

use super::State;
use super::entry::{Entry, Invocation, LOST, Record, signed};
use crate::daemon::alert::Fact;
use crate::daemon::book::StateError;
use rusqlite::{Connection, Transaction, params};
use std::collections::{BTreeMap, BTreeSet};

const COLUMNS: &str = Entry::COLUMNS;

/// Rows of which a [`Standing`] is read.
const STANDINGS: &str =
    "SELECT r.invocation, r.number, r.snapshot, r.series, r.kept, r.expires, r.gone, r.gone_by, i.ended
    FROM record r JOIN invocation i ON i.id = r.invocation WHERE r.snapshot IS NOT NULL";

/// A younger snapshot is not removed unless somebody insists. The mark of its removal is kept for longer than this.
const YOUNG_MS: i64 = 24 * 3_600_000;

/// What the repository holds.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Commands that the history lacked.
    pub new: Vec<(Invocation, Record)>,
    /// All snapshots, and until when the rules keep each.
    pub there: BTreeMap<String, Option<i64>>,
    /// Snapshots that were removed by somebody.
    pub forgotten: BTreeSet<String>,
    /// The rules of each series, in words.
    pub rules: BTreeMap<String, String>,
    /// When it was looked; what was stored later need not be there.
    pub looked: i64,
    /// When a prune last went through.
    pub pruned: Option<i64>,
}

/// A record that names a snapshot.
struct Standing {
    invocation: String,
    number: u32,
    snapshot: String,
    series: String,
    kept: Option<String>,
    expires: Option<i64>,
    gone: Option<i64>,
    gone_by: Option<String>,
    ended: Option<i64>,
}

/// What has become of its snapshot.
struct Fate {
    kept: Option<&'static str>,
    expires: Option<i64>,
    gone: Option<i64>,
    gone_by: Option<String>,
}

impl Fate {
    /// Whether it is another than is written.
    fn is_news(&self, of: &Standing) -> bool {
        (self.kept, self.expires, self.gone, &self.gone_by)
            != (of.kept.as_deref(), of.expires, of.gone, &of.gone_by)
    }
}

impl Standing {
    fn of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            invocation: row.get(0)?,
            number: row.get(1)?,
            snapshot: row.get(2)?,
            series: row.get(3)?,
            kept: row.get(4)?,
            expires: row.get(5)?,
            gone: row.get(6)?,
            gone_by: row.get(7)?,
            ended: row.get(8)?,
        })
    }

    fn fate(&self, found: &Found, now: i64) -> Fate {
        if let Some(expires) = found.there.get(&self.snapshot) {
            return Fate { kept: None, expires: *expires, gone: None, gone_by: None };
        }
        let ended = self.ended.unwrap_or(i64::MAX);
        if ended >= found.looked && self.gone.is_none() {
            return Fate { kept: None, expires: self.expires, gone: None, gone_by: None };
        }
        let gone = Some(self.gone.unwrap_or(now));
        let is_let_go = found.forgotten.contains(&self.snapshot) || self.gone_by.is_some();
        let was_young = gone.is_some_and(|gone| gone.saturating_sub(ended) < YOUNG_MS);
        let was_lost = self.kept.as_deref() == Some("FAILED") || self.gone.is_none();
        if was_young && was_lost && !is_let_go {
            return Fate { kept: Some("FAILED"), expires: None, gone, gone_by: None };
        }
        let is_pruned = found.pruned.zip(gone).is_some_and(|(pruned, gone)| pruned > gone);
        // A rule takes what was to go by then; nobody here knows of another.
        let by_rules = self.expires.is_some_and(|expires| expires <= now.saturating_add(YOUNG_MS));
        let rules = found.rules.get(&self.series).filter(|_| by_rules);
        let why = rules.map_or_else(|| "let go of elsewhere, or by hand".to_owned(), |rules| not_kept(rules));
        let gone_by = self.gone_by.clone().or(Some(why));
        Fate { kept: Some(if is_pruned { "DELETED" } else { "EXPIRED" }), expires: None, gone, gone_by }
    }

    /// Writes down what has become of it.
    fn settle(&self, db: &Transaction<'_>, found: &Found, now: i64) -> rusqlite::Result<Fate> {
        let fate = self.fate(found, now);
        if fate.kept == Some("FAILED") && self.kept.as_deref() != fate.kept {
            self.is_lost(db, now)?;
        }
        if fate.is_news(self) {
            let sql = "UPDATE record SET kept = ?3, expires = ?4, gone = ?5, gone_by = ?6 WHERE invocation = ?1 AND number = ?2";
            let Fate { kept, expires, gone, gone_by } = &fate;
            let row = params![self.invocation, self.number, kept, expires, gone, gone_by];
            db.prepare_cached(sql)?.execute(row)?;
        }
        Ok(fate)
    }

    /// Its run was no good one, and somebody is told.
    fn is_lost(&self, db: &Transaction<'_>, now: i64) -> rusqlite::Result<()> {
        let sql = "UPDATE run SET status = 'FAILED', reason = ?2 WHERE status = 'COMPLETED'
                   AND id = (SELECT run FROM invocation WHERE id = ?1)";
        db.execute(sql, params![self.invocation, LOST])?;
        let subject = format!("series {}", self.series);
        let text = format!("snapshot {}: {LOST}", self.snapshot.get(..8).unwrap_or(&self.snapshot));
        super::alerts::apply(db, now, &Fact::bad("integrity", &subject, "a backup is not there", text))
    }
}

/// Why a snapshot goes that no rule keeps.
pub fn not_kept(rules: &str) -> String {
    format!("no rule keeps it ({rules})")
}

fn insert_records(db: &Transaction<'_>, invocation: &str, records: &[Record]) -> rusqlite::Result<()> {
    for (number, record) in (0u32..).zip(records) {
        let row = params![
            invocation,
            number,
            record.source,
            record.series,
            record.host,
            record.status,
            record.snapshot,
            record.time,
            signed(record.bytes),
            signed(record.stored),
            signed(record.new),
            signed(record.rows),
            signed(record.tables),
            record.calendar.join("\n"),
            record.digest,
            record.sha256,
            record.suspect,
            record.error,
            signed(record.duration)
        ];
        let names = "invocation, number, source, series, host, status, snapshot, time, bytes, stored, new, rows, tables,
            calendar, digest, sha256, suspect, error, duration";
        let marks = ["?"; 19].join(", ");
        db.execute(&format!("INSERT INTO record({names}) VALUES ({marks})"), row)?;
    }
    Ok(())
}

impl State {
    /// Writes down that a command begins.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn begin(&mut self, invocation: &Invocation, attempt: Option<u32>) -> Result<(), StateError> {
        let (boot, pid, pid_start) = &invocation.process;
        self.write(|db| {
            let row = params![
                invocation.id,
                invocation.command,
                invocation.words,
                invocation.run,
                attempt,
                invocation.started,
                boot,
                pid,
                signed(Some(*pid_start))
            ];
            let sql =
                "INSERT INTO invocation(id, command, words, run, attempt, started, boot, pid, pid_start)
                       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
            db.execute(sql, row).map(drop)
        })
    }

    /// Writes down how it ended, and what became of its sources.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn end(&mut self, invocation: &Invocation, records: &[Record]) -> Result<(), StateError> {
        self.write(|db| {
            let row = params![
                invocation.id, invocation.ended, invocation.exit, invocation.error, invocation.hint,
                invocation.repository, invocation.log
            ];
            db.execute(
                "UPDATE invocation SET ended = ?2, exit = ?3, error = ?4, hint = ?5, repository = ?6, log = ?7 WHERE id = ?1",
                row,
            )?;
            insert_records(db, &invocation.id, records)?;
            super::alerts::apply_records(db, invocation, records)
        })
    }

    /// Snapshots that some record is about.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn known_snapshots(&self) -> Result<BTreeSet<String>, StateError> {
        self.read(|db| {
            let mut all = db.prepare("SELECT DISTINCT snapshot FROM record WHERE snapshot IS NOT NULL")?;
            all.query_map([], |row| row.get(0))?.collect()
        })
    }

    /// Brings the history to what the repository holds. Says how many were added, are expired now, and are deleted now.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn rebuild(&mut self, found: &Found, now: i64) -> Result<(u64, u64, u64), StateError> {
        self.write(|db| {
            let mut added = 0;
            for (invocation, record) in &found.new {
                let sql = "INSERT OR IGNORE INTO invocation(id, command, words, started, ended, repository, boot, pid, pid_start)
                           VALUES (?, ?, ?, ?, ?, ?, '', 0, 0)";
                let row = params![
                    invocation.id, invocation.command, invocation.words, invocation.started, invocation.ended,
                    invocation.repository
                ];
                if db.execute(sql, row)? == 1 {
                    insert_records(db, &invocation.id, std::slice::from_ref(record))?;
                    added += 1;
                }
            }
            let mut all = db.prepare(STANDINGS)?;
            let rows: Vec<Standing> = all.query_map([], Standing::of)?.collect::<rusqlite::Result<_>>()?;
            let (mut expired, mut deleted) = (0, 0);
            for row in rows {
                let fate = row.settle(db, found, now)?;
                expired += u64::from(fate.kept == Some("EXPIRED"));
                deleted += u64::from(fate.kept == Some("DELETED"));
            }
            Ok((added, expired, deleted))
        })
    }

    /// What some command saw of a repository on its way: of `found` the rules' ends need not be known, nor what is new.
    /// Backups into that repository which are not there any more say so from now on, as [`State::rebuild`] would have
    /// it. Says how many changed.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn glance(&mut self, repository: &str, mut found: Found, now: i64) -> Result<u64, StateError> {
        let all = |db: &Connection| {
            let sql = format!(
                "{STANDINGS} AND i.repository = ? AND (r.kept IS NULL OR r.kept IN ('EXPIRED', 'FAILED'))"
            );
            let mut all = db.prepare_cached(&sql)?;
            all.query_map([repository], Standing::of)?.collect::<rusqlite::Result<Vec<_>>>()
        };
        let rows = self.read(all)?;
        for row in &rows {
            if let Some(expires) = found.there.get_mut(&row.snapshot) {
                *expires = row.expires;
            }
        }
        // Most often nothing has changed, and nobody waits for the file.
        if !rows.iter().any(|row| row.fate(&found, now).is_news(row)) {
            return Ok(0);
        }
        self.write(|db| {
            let mut changed = 0;
            for row in all(db)? {
                changed += u64::from(row.settle(db, &found, now)?.is_news(&row));
            }
            Ok(changed)
        })
    }

    /// Writes down which snapshots were removed, and why.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn note_gone(&mut self, gone: &[(String, String)], now: i64) -> Result<(), StateError> {
        self.write(|db| {
            let sql = "UPDATE record SET kept = 'EXPIRED', gone = ?2, gone_by = ?3, expires = NULL WHERE snapshot = ?1";
            let mut change = db.prepare(sql)?;
            gone.iter().try_for_each(|(snapshot, why)| change.execute(params![snapshot, now, why]).map(drop))
        })
    }

    /// Ends commands whose process is gone: whether one is there `is_there` knows. Says how many.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn end_gone(
        &mut self,
        now: i64,
        is_there: &dyn Fn(&(String, u32, u64)) -> bool,
    ) -> Result<usize, StateError> {
        let open: Vec<Invocation> = self.read(|db| {
            let sql = format!(
                "SELECT {COLUMNS} FROM invocation i LEFT JOIN record r ON r.invocation = i.id WHERE i.ended IS NULL"
            );
            let mut all = db.prepare_cached(&sql)?;
            let rows = all.query_map([], Entry::of)?.map(|entry| entry.map(|entry| entry.command));
            rows.collect()
        })?;
        let gone: Vec<Invocation> = open.into_iter().filter(|command| !is_there(&command.process)).collect();
        if gone.is_empty() {
            return Ok(0);
        }
        self.write(|db| {
            for command in &gone {
                let error = "interrupted: its process is gone";
                let sql = "UPDATE invocation SET ended = ?2, error = ?3 WHERE id = ?1 AND ended IS NULL";
                db.execute(sql, params![command.id, now, error])?;
                let command =
                    Invocation { ended: Some(now), error: Some(error.to_owned()), ..command.clone() };
                super::alerts::apply_records(db, &command, &[])?;
            }
            Ok(gone.len())
        })
    }

    /// The history, newest first: at most so many rows, older than that command where one is named.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn history(&self, most: u32, before: Option<&str>) -> Result<Vec<Entry>, StateError> {
        self.read(|db| {
            let sql = format!(
                "SELECT {COLUMNS} FROM invocation i LEFT JOIN record r ON r.invocation = i.id
                 WHERE i.id < ?1 ORDER BY i.id DESC, r.number LIMIT ?2"
            );
            let mut all = db.prepare(&sql)?;
            all.query_map(params![before.unwrap_or("~"), most], Entry::of)?.collect()
        })
    }

    /// The rows of a command by the beginning of its id; none where several begin so.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn invocation(&self, prefix: &str) -> Result<Vec<Entry>, StateError> {
        self.read(|db| {
            let mut ids = db.prepare("SELECT id FROM invocation WHERE substr(id, 1, length(?1)) = ?1 LIMIT 2")?;
            let ids: Vec<String> =
                ids.query_map([prefix], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
            let [id] = ids.as_slice() else { return Ok(Vec::new()) };
            let sql = format!(
                "SELECT {COLUMNS} FROM invocation i LEFT JOIN record r ON r.invocation = i.id WHERE i.id = ? ORDER BY r.number"
            );
            db.prepare(&sql)?.query_map([id], Entry::of)?.collect()
        })
    }
}
