//! The history of backups: each `backup` and `run`, from wherever it was started, and what became of each of its sources.

use super::State;
use crate::daemon::book::StateError;
use crate::daemon::process;
use rusqlite::{Row, Transaction, params};
use std::collections::{BTreeMap, BTreeSet};

/// A command that stored something, or should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// Its name: sorts by time.
    pub id: String,
    /// `backup` or `run`.
    pub command: String,
    /// The sources or the system that were named.
    pub words: String,
    /// The scheduler's run that it is a try of.
    pub run: Option<String>,
    /// When it began.
    pub started: i64,
    /// When it ended.
    pub ended: Option<i64>,
    /// Its exit code.
    pub exit: Option<u8>,
    /// Why it failed as a whole.
    pub error: Option<String>,
    /// What to do about that.
    pub hint: Option<String>,
    /// The repository's address.
    pub repository: Option<String>,
    /// Which process it is, as long as it has not ended: boot, process, and when that began.
    pub process: (String, u32, u64),
    /// The end of its log.
    pub log: Option<String>,
}

/// What became of a source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// Its name, where it has one in the configuration, else its series.
    pub source: String,
    /// The series.
    pub series: String,
    /// The host.
    pub host: String,
    /// `COMPLETED` or `FAILED`.
    pub status: String,
    /// The snapshot.
    pub snapshot: Option<String>,
    /// Moment of the dump.
    pub time: Option<i64>,
    /// Plain bytes.
    pub bytes: Option<u64>,
    /// Bytes that the snapshot added to the storage.
    pub stored: Option<u64>,
    /// Plain bytes that were not there before.
    pub new: Option<u64>,
    /// Rows of all tables.
    pub rows: Option<u64>,
    /// How many tables.
    pub tables: Option<u64>,
    /// Calendar tags.
    pub calendar: Vec<String>,
    /// BLAKE3 of the stream, where there is one.
    pub digest: Option<String>,
    /// SHA-256 of the stream.
    pub sha256: Option<String>,
    /// Why the snapshot is suspect.
    pub suspect: Option<String>,
    /// Why there is no snapshot, or not all of it.
    pub error: Option<String>,
    /// Milliseconds that it took.
    pub duration: Option<u64>,
    /// `EXPIRED` or `DELETED` once its snapshot is gone.
    pub kept: Option<String>,
    /// When the rules let go of it.
    pub expires: Option<i64>,
}

/// A row of the history: a source, or a command that did not get to its sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The command.
    pub command: Invocation,
    /// The source's number in the command.
    pub number: u32,
    /// The source.
    pub record: Option<Record>,
}

fn signed(value: Option<u64>) -> Option<i64> {
    value.map(|value| i64::try_from(value).unwrap_or(i64::MAX))
}

fn unsigned(value: Option<i64>) -> Option<u64> {
    value.and_then(|value| u64::try_from(value).ok())
}

/// The columns that a row is read from.
const COLUMNS: &str = "i.id, i.command, i.words, i.run, i.started, i.ended, i.exit, i.error, i.hint, i.repository, i.boot, i.pid,
    i.pid_start, i.log, r.number, r.source, r.series, r.host, r.status, r.snapshot, r.time, r.bytes, r.stored, r.new, r.rows, r.tables,
    r.calendar, r.digest, r.sha256, r.suspect, r.error, r.duration, r.kept, r.expires";

impl Entry {
    pub(super) const COLUMNS: &'static str = COLUMNS;

    pub(super) fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        let command = Invocation {
            id: row.get(0)?,
            command: row.get(1)?,
            words: row.get(2)?,
            run: row.get(3)?,
            started: row.get(4)?,
            ended: row.get(5)?,
            exit: row.get(6)?,
            error: row.get(7)?,
            hint: row.get(8)?,
            repository: row.get(9)?,
            process: (row.get(10)?, row.get(11)?, unsigned(Some(row.get(12)?)).unwrap_or_default()),
            log: row.get(13)?,
        };
        let number: Option<u32> = row.get(14)?;
        let record = match number {
            None => None,
            Some(_) => Some(Record {
                source: row.get(15)?,
                series: row.get(16)?,
                host: row.get(17)?,
                status: row.get(18)?,
                snapshot: row.get(19)?,
                time: row.get(20)?,
                bytes: unsigned(row.get(21)?),
                stored: unsigned(row.get(22)?),
                new: unsigned(row.get(23)?),
                rows: unsigned(row.get(24)?),
                tables: unsigned(row.get(25)?),
                calendar: row.get::<_, String>(26)?.lines().map(str::to_owned).collect(),
                digest: row.get(27)?,
                sha256: row.get(28)?,
                suspect: row.get(29)?,
                error: row.get(30)?,
                duration: unsigned(row.get(31)?),
                kept: row.get(32)?,
                expires: row.get(33)?,
            }),
        };
        Ok(Self { command, number: number.unwrap_or_default(), record })
    }
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

impl Entry {
    /// Its name in lists.
    pub fn id(&self) -> String {
        format!("{}.{}", self.command.id, self.number)
    }

    /// `IN_PROGRESS`, `COMPLETED` or `FAILED`. A command whose process is gone has failed.
    pub fn status(&self) -> &str {
        match (&self.record, self.command.ended) {
            (Some(record), _) => record.kept.as_deref().unwrap_or(&record.status),
            (None, None) if process::is_there(&self.command.process) => "IN_PROGRESS",
            (None, _) => "FAILED",
        }
    }

    /// `MONTHLY`, `WEEKLY`, `DAILY` by the calendar tags, else `MANUAL`.
    pub fn kind(&self) -> &'static str {
        let has = |tag: &str| self.record.iter().flat_map(|record| &record.calendar).any(|own| own == tag);
        match () {
            () if has("monthly") => "MONTHLY",
            () if has("weekly") => "WEEKLY",
            () if has("daily") => "DAILY",
            () => "MANUAL",
        }
    }

    /// A name for a download. No such file exists.
    pub fn file_name(&self) -> Option<String> {
        let record = self.record.as_ref()?;
        let (snapshot, time) = record.snapshot.as_ref().zip(record.time)?;
        let time = jiff::Timestamp::from_millisecond(time).ok()?.strftime("%Y-%m-%dT%H-%M");
        Some(format!("{}_{time}_{}.dump", record.series, snapshot.get(..8).unwrap_or_default()))
    }

    /// Why it failed.
    pub fn error(&self) -> Option<String> {
        let gone = || self.command.ended.is_none() && self.record.is_none() && self.status() == "FAILED";
        let own = self.record.as_ref().and_then(|record| record.error.clone());
        own.or_else(|| self.command.error.clone())
            .or_else(|| gone().then(|| "interrupted: its process is gone".to_owned()))
    }
}

/// A record that names a snapshot: its key, the snapshot, what is kept of it, when it ends, and since when it is gone.
type Standing = (String, String, Option<String>, Option<i64>, Option<i64>);

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

    /// Brings the history to what the repository holds: `new` are commands that it lacked, `there` all snapshots with when the rules let go
    /// of each. Says how many were added, are expired now, and are deleted now.
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
