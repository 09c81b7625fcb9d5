//! The history as pages show it: filtered, sorted, a page at a time, and summed up.

use super::entry::Entry;
use super::{RunRow, State};
use crate::daemon::book::StateError;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

/// What of the history is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// `DAILY`, `WEEKLY`, `MONTHLY`, `MANUAL`.
    pub kind: Option<String>,
    /// `IN_PROGRESS`, `COMPLETED`, `FAILED`, `EXPIRED`.
    pub status: Option<String>,
    /// The series or source.
    pub series: Option<String>,
    /// Only these sources; all where it is empty.
    pub sources: Vec<String>,
    /// From then on.
    pub from: Option<i64>,
    /// Before that.
    pub to: Option<i64>,
    /// `date`, `size`, `duration`, `status`, `type`.
    pub sort: String,
    /// The smallest first.
    pub ascending: bool,
    /// Rows of a page.
    pub limit: u32,
    /// Rows before it.
    pub offset: u32,
    /// Snapshots that are in the repository, as a JSON list; `None` where that is not known.
    pub there: Option<String>,
}

/// A page of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Its rows. Logs are left out.
    pub entries: Vec<Entry>,
    /// How many there are on all pages.
    pub total: u64,
}

/// What kind of dump a row is.
const KIND: &str =
    "CASE WHEN r.calendar LIKE '%monthly%' THEN 'MONTHLY' WHEN r.calendar LIKE '%weekly%' THEN 'WEEKLY'
    WHEN r.calendar LIKE '%daily%' THEN 'DAILY' ELSE 'MANUAL' END";
/// What became of a row. Whether a command that has not ended is still there is for its reader to see.
const STATUS: &str =
    "CASE WHEN r.status IS NOT NULL THEN r.status WHEN i.ended IS NULL THEN 'IN_PROGRESS' ELSE 'FAILED' END";
const GONE: &str = "(r.status = 'COMPLETED' AND r.snapshot IS NOT NULL AND r.snapshot NOT IN (SELECT value FROM json_each(:there)))";

impl Wanted {
    fn conditions(&self) -> (String, Vec<(&'static str, Value)>) {
        let mut all = vec!["1".to_owned()];
        let mut values = Vec::new();
        let mut add = |condition: String, name: &'static str, value: Value| {
            all.push(condition);
            values.push((name, value));
        };
        let text = |text: &String| Value::Text(text.clone());
        if let Some(kind) = &self.kind {
            add(format!("{KIND} = :kind"), ":kind", text(kind));
        }
        if let Some(series) = &self.series {
            add("(r.series = :series OR r.source = :series)".to_owned(), ":series", text(series));
        }
        if !self.sources.is_empty() {
            let list = serde_json::to_string(&self.sources).unwrap_or_default();
            let one = "coalesce(r.source, i.words) IN (SELECT value FROM json_each(:sources))";
            add(one.to_owned(), ":sources", Value::Text(list));
        }
        if let Some(from) = self.from {
            add("i.started >= :from".to_owned(), ":from", Value::Integer(from));
        }
        if let Some(to) = self.to {
            add("i.started < :to".to_owned(), ":to", Value::Integer(to));
        }
        match (self.status.as_deref(), &self.there) {
            (Some("EXPIRED"), Some(there)) => add(GONE.to_owned(), ":there", text(there)),
            (Some("COMPLETED"), Some(there)) => {
                add(format!("({STATUS} = 'COMPLETED' AND NOT {GONE})"), ":there", text(there));
            }
            (Some(status), _) => {
                add(format!("{STATUS} = :status"), ":status", Value::Text(status.to_owned()))
            }
            (None, _) => {}
        }
        (all.join(" AND "), values)
    }

    fn order(&self) -> String {
        let way = if self.ascending { "ASC" } else { "DESC" };
        let column = match self.sort.as_str() {
            "size" => "r.bytes",
            "duration" => "r.duration",
            "status" => STATUS,
            "type" => KIND,
            _ => return format!("i.id {way}, r.number"),
        };
        format!("{column} {way}, i.id DESC, r.number")
    }
}

impl State {
    /// A page of the history.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn browse(&self, wanted: &Wanted) -> Result<Page, StateError> {
        self.read(|db| {
            let (conditions, values) = wanted.conditions();
            let bound: Vec<(&str, &dyn rusqlite::ToSql)> =
                values.iter().map(|(name, value)| (*name, value as &dyn rusqlite::ToSql)).collect();
            let from = "FROM invocation i LEFT JOIN record r ON r.invocation = i.id";
            let sql = format!("SELECT count(*) {from} WHERE {conditions}");
            let total: i64 = db.prepare_cached(&sql)?.query_row(bound.as_slice(), |row| row.get(0))?;
            let (limit, offset) = (Value::from(wanted.limit), Value::from(wanted.offset));
            let mut bound = bound;
            bound.push((":limit", &limit));
            bound.push((":offset", &offset));
            let columns = Entry::COLUMNS.replace("i.log", "NULL");
            let sql = format!(
                "SELECT {columns} {from} WHERE {conditions} ORDER BY {} LIMIT :limit OFFSET :offset",
                wanted.order()
            );
            let entries = db
                .prepare_cached(&sql)?
                .query_map(bound.as_slice(), Entry::of)?
                .collect::<rusqlite::Result<_>>()?;
            Ok(Page { entries, total: u64::try_from(total).unwrap_or_default() })
        })
    }

    /// The newest row of that status, of these sources or all: without its log.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn newest_of(&self, status: &str, sources: &[String]) -> Result<Option<Entry>, StateError> {
        let wanted = Wanted {
            status: Some(status.to_owned()),
            sources: sources.to_vec(),
            limit: 1,
            ..Wanted::default()
        };
        Ok(self.browse(&wanted)?.entries.into_iter().next())
    }

    /// The newest snapshot of a series that is good, and the row of any snapshot.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn row_of(&self, snapshot: &str) -> Result<Option<Entry>, StateError> {
        self.read(|db| {
            let columns = Entry::COLUMNS.replace("i.log", "NULL");
            let sql = format!(
                "SELECT {columns} FROM record r JOIN invocation i ON i.id = r.invocation WHERE r.snapshot = ? ORDER BY i.id DESC LIMIT 1"
            );
            db.prepare_cached(&sql)?.query_row([snapshot], Entry::of).optional()
        })
    }

    /// Runs, the newest first, of a job or of all, of a status or all.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn runs(
        &self,
        job: Option<&str>,
        status: Option<&str>,
        (limit, offset): (u32, u32),
    ) -> Result<(Vec<RunRow>, u64), StateError> {
        self.read(|db| {
            let condition = "(?1 IS NULL OR job = ?1) AND (?2 IS NULL OR status = ?2)";
            let sql = format!("SELECT count(*) FROM run WHERE {condition}");
            let total: i64 = db.prepare_cached(&sql)?.query_row(params![job, status], |row| row.get(0))?;
            let columns = RunRow::COLUMNS.replace("log", "NULL");
            let sql =
                format!("SELECT {columns} FROM run WHERE {condition} ORDER BY id DESC LIMIT ?3 OFFSET ?4");
            let rows = db
                .prepare_cached(&sql)?
                .query_map(params![job, status, limit, offset], RunRow::of)?
                .collect::<rusqlite::Result<_>>()?;
            Ok((rows, u64::try_from(total).unwrap_or_default()))
        })
    }

    /// When a source was last asked for by hand, since then: the newest moment.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn asked_for(&self, source: &str, jobs: &[String], since: i64) -> Result<Option<i64>, StateError> {
        self.read(|db| {
            let jobs = serde_json::to_string(jobs).unwrap_or_default();
            let sql = "SELECT max(queued) FROM run WHERE trigger = 'manual' AND queued > ?3
                       AND job IN (SELECT value FROM json_each(?2))
                       AND (parts = '' OR char(10) || parts || char(10) LIKE '%' || char(10) || ?1 || char(10) || '%')";
            db.query_row(sql, params![source, jobs, since], |row| row.get(0))
        })
    }

    /// The commands of a run, without their logs: what each stored.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn rows_of_run(&self, run: &str) -> Result<Vec<Entry>, StateError> {
        self.read(|db| {
            let columns = Entry::COLUMNS.replace("i.log", "NULL");
            let sql = format!(
                "SELECT {columns} FROM invocation i LEFT JOIN record r ON r.invocation = i.id WHERE i.run = ? ORDER BY i.id, r.number"
            );
            db.prepare_cached(&sql)?.query_map([run], Entry::of)?.collect()
        })
    }

    /// By day in that many milliseconds from UTC: the worst of `status` that runs ended with, and how many were good.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn days(&self, since: i64) -> Result<Vec<(i64, String, String)>, StateError> {
        self.read(|db| {
            let sql = "SELECT ended, CASE WHEN status = 'COMPLETED' AND attempt > 1 THEN 'WARNING' ELSE status END, job
                       FROM run WHERE ended > ?1
                       UNION ALL SELECT at, CASE decision WHEN 'missed' THEN 'MISSED' ELSE 'SKIPPED' END, job
                       FROM slot WHERE decision IN ('missed', 'skipped') AND at > ?1
                       UNION ALL SELECT i.started, CASE WHEN r.suspect IS NOT NULL THEN 'WARNING' ELSE coalesce(r.status, 'FAILED') END,
                           coalesce(r.source, i.words)
                       FROM invocation i LEFT JOIN record r ON r.invocation = i.id
                       WHERE i.started > ?1 AND i.ended IS NOT NULL AND (i.run IS NULL OR r.suspect IS NOT NULL)";
            db.prepare_cached(sql)?
                .query_map([since], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
                .collect()
        })
    }

    /// When a run or a command last ended.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn last_end(&self) -> Result<i64, StateError> {
        self.read(|db| {
            let sql = "SELECT max(coalesce((SELECT max(ended) FROM (SELECT ended FROM run ORDER BY id DESC LIMIT 50)), 0),
                                  coalesce((SELECT max(ended) FROM (SELECT ended FROM invocation ORDER BY id DESC LIMIT 50)), 0))";
            db.prepare_cached(sql)?.query_row([], |row| row.get(0))
        })
    }

    /// The middle of the newest durations of a source, and of its sizes.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn usual(&self, source: &str) -> Result<Option<(u64, u64)>, StateError> {
        self.read(|db| {
            let newest = |db: &Connection, column: &str| {
                let sql = format!(
                    "SELECT {column} FROM record WHERE source = ? AND status = 'COMPLETED' AND {column} IS NOT NULL
                     ORDER BY invocation DESC LIMIT 15"
                );
                let mut all: Vec<i64> = db
                    .prepare_cached(&sql)?
                    .query_map(params_from_iter([source]), |row| row.get(0))?
                    .collect::<rusqlite::Result<_>>()?;
                all.sort_unstable();
                Ok::<_, rusqlite::Error>(all.get(all.len() / 2).and_then(|value| u64::try_from(*value).ok()))
            };
            Ok(newest(db, "bytes")?.zip(newest(db, "duration")?))
        })
    }
}
