//! The history of backups: each `backup` and `run`, from wherever it was started, and what became of each of its
//! sources.

use super::State;
use super::entry::{Entry, Invocation, Record, signed};
use crate::daemon::book::StateError;
use rusqlite::{Transaction, params};
use std::collections::{BTreeMap, BTreeSet};

const COLUMNS: &str = Entry::COLUMNS;

/// A record that names a snapshot: its key, the snapshot, what is kept of it, when it ends, and since when it is gone.
type Standing = (String, String, Option<String>, Option<i64>, Option<i64>);

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

    /// Brings the history to what the repository holds: `new` are commands that it lacked, `there` all snapshots with
    /// when the rules let go of each. Says how many were added, are expired now, and are deleted now.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn rebuild(
        &mut self,
        new: &[(Invocation, Record)],
        there: &BTreeMap<String, Option<i64>>,
        pruned: Option<i64>,
        now: i64,
    ) -> Result<(u64, u64, u64), StateError> {
        self.write(|db| {
            let mut added = 0;
            for (invocation, record) in new {
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
            let mut all = db.prepare("SELECT rowid_of, snapshot, kept, expires, gone FROM (
                SELECT invocation || ' ' || number AS rowid_of, snapshot, kept, expires, gone FROM record WHERE snapshot IS NOT NULL)")?;
            let rows: Vec<Standing> = all
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))?
                .collect::<rusqlite::Result<_>>()?;
            let (mut expired, mut deleted) = (0, 0);
            let mut change = db.prepare(
                "UPDATE record SET kept = ?2, expires = ?3, gone = ?4 WHERE invocation || ' ' || number = ?1",
            )?;
            for (key, snapshot, kept, expires, gone) in rows {
                let (new_kept, new_expires, new_gone) = match there.get(&snapshot) {
                    Some(expires) => (None, *expires, None),
                    None => {
                        let gone = gone.unwrap_or(now);
                        let is_pruned = pruned.is_some_and(|pruned| pruned > gone);
                        (Some(if is_pruned { "DELETED" } else { "EXPIRED" }.to_owned()), None, Some(gone))
                    }
                };
                expired += u64::from(new_kept.as_deref() == Some("EXPIRED"));
                deleted += u64::from(new_kept.as_deref() == Some("DELETED"));
                if (&new_kept, new_expires, new_gone) != (&kept, expires, gone) {
                    change.execute(params![key, new_kept, new_expires, new_gone])?;
                }
            }
            Ok((added, expired, deleted))
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
