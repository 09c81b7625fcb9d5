//! Rows of the history: a command, what became of each of its sources, and both together.

use crate::daemon::process;
use rusqlite::Row;

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
    /// `EXPIRED` or `DELETED` once its snapshot is gone. `FAILED` if it is gone and nobody removed it.
    pub kept: Option<String>,
    /// Why its snapshot is gone: the rules that did not keep it, or who removed it.
    pub gone_by: Option<String>,
    /// Until when the rules keep it.
    pub expires: Option<i64>,
}

/// What is said of a dump without a table or a row.
pub(super) const HOLLOW: &str = "the dump has no table, or no row in any of its tables";

impl Record {
    /// Whether its dump has no table, or no row in any of its tables.
    pub fn is_hollow(&self) -> bool {
        self.tables == Some(0) || self.rows == Some(0)
    }
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

/// What is said of a backup that ended well, and is not there.
pub(super) const LOST: &str = "its snapshot is not in the repository, and nobody let go of it";

pub(super) fn signed(value: Option<u64>) -> Option<i64> {
    value.map(|value| i64::try_from(value).unwrap_or(i64::MAX))
}

pub(super) fn unsigned(value: Option<i64>) -> Option<u64> {
    value.and_then(|value| u64::try_from(value).ok())
}

/// The columns that a row is read from.
const COLUMNS: &str = "i.id, i.command, i.words, i.run, i.started, i.ended, i.exit, i.error, i.hint, i.repository, i.boot, i.pid,
    i.pid_start, i.log, r.number, r.source, r.series, r.host, r.status, r.snapshot, r.time, r.bytes, r.stored, r.new, r.rows, r.tables,
    r.calendar, r.digest, r.sha256, r.suspect, r.error, r.duration, r.kept, r.expires, r.gone_by";

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
                gone_by: row.get(34)?,
            }),
        };
        Ok(Self { command, number: number.unwrap_or_default(), record })
    }
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

    /// What is odd about a dump, which is stored anyway: it has no table, or no row in any. The usual size of its
    /// series cannot tell where it was so from the first day.
    pub fn warning(&self) -> Option<&'static str> {
        self.record.as_ref().filter(|record| record.is_hollow()).map(|_| HOLLOW)
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

    /// The kind of storage that the repository is in: `local`, `s3`, `azure`, `gcs`, `sftp`, `rclone`.
    pub fn storage(&self) -> Option<&'static str> {
        let address = self.command.repository.as_deref()?;
        let kinds =
            [("s3:", "s3"), ("azure:", "azure"), ("gs:", "gcs"), ("sftp:", "sftp"), ("rclone:", "rclone")];
        let found = kinds.into_iter().find(|(scheme, _)| address.starts_with(scheme));
        Some(found.map_or("local", |(_, kind)| kind))
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
        let lost = self.record.as_ref().filter(|record| record.kept.as_deref() == Some("FAILED"));
        let own = own.or_else(|| lost.map(|_| LOST.to_owned()));
        own.or_else(|| self.command.error.clone())
            .or_else(|| gone().then(|| "interrupted: its process is gone".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storage_is_called_by_what_it_is() {
        for (address, kind) in [
            ("/srv/vault", "local"),
            ("file:///srv/vault", "local"),
            ("s3://bucket/vault", "s3"),
            ("azure://container/vault", "azure"),
            ("gs://bucket/vault", "gcs"),
            ("sftp://u@host//vault", "sftp"),
            ("sftp:alias:vault", "sftp"),
            ("rclone:remote:vault", "rclone"),
            ("azure", "local"),
        ] {
            let command = Invocation {
                id: String::new(),
                command: "backup".to_owned(),
                words: String::new(),
                run: None,
                started: 0,
                ended: None,
                exit: None,
                error: None,
                hint: None,
                repository: Some(address.to_owned()),
                process: (String::new(), 0, 0),
                log: None,
            };
            let entry = Entry { command, number: 0, record: None };
            assert_eq!(entry.storage(), Some(kind), "{address}");
        }
    }
}
