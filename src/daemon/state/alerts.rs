//! Alerts in the state: what is wrong, what happened, who was told, and what waits for its delivery.

use super::entry::{HOLLOW, Invocation, Record};
use super::notices::notice;
use super::{State, audit};
use crate::daemon::alert::message::Message;
use crate::daemon::alert::overdue::Past;
use crate::daemon::alert::plan::{HOUR_MS, Heard, Picture, Plan, Speaker, is_digest_due, plan};
use crate::daemon::alert::post::{Attempt, Delivery};
use crate::daemon::alert::redact::redact;
use crate::daemon::alert::{AlertRow, Fact, Notice};
use crate::daemon::book::{Note, RunChange, RunId, StateError};
use crate::settings::Alerts;
use rusqlite::{OptionalExtension, Row, Transaction, params};
use std::collections::BTreeMap;

/// The tables of alerts.
pub(super) const SCHEMA: &str = "
CREATE TABLE alert(
    id INTEGER PRIMARY KEY AUTOINCREMENT, condition TEXT NOT NULL, subject TEXT NOT NULL, cause TEXT NOT NULL,
    since INTEGER NOT NULL, count INTEGER NOT NULL, text TEXT NOT NULL, hint TEXT, run TEXT,
    acked_by TEXT, note TEXT, recovered INTEGER, last_good INTEGER, UNIQUE(condition, subject)
) STRICT;
CREATE TABLE told(
    alert INTEGER NOT NULL REFERENCES alert(id) ON DELETE CASCADE, channel TEXT NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY(alert, channel)
) STRICT, WITHOUT ROWID;
CREATE TABLE notice(
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, event TEXT NOT NULL, subject TEXT NOT NULL, run TEXT,
    text TEXT NOT NULL
) STRICT;
CREATE TABLE channel(name TEXT PRIMARY KEY, seen INTEGER, digest INTEGER) STRICT, WITHOUT ROWID;
CREATE TABLE delivery(
    id TEXT PRIMARY KEY, channel TEXT NOT NULL, event TEXT NOT NULL, made INTEGER NOT NULL, due INTEGER NOT NULL,
    attempts INTEGER NOT NULL, ended INTEGER, result TEXT NOT NULL CHECK(result IN ('pending', 'sent', 'failed')),
    error TEXT, body TEXT NOT NULL
) STRICT;
CREATE INDEX delivery_open ON delivery(channel, due) WHERE result = 'pending';
CREATE INDEX delivery_made ON delivery(channel, made);
";

const COLUMNS: &str =
    "id, condition, subject, cause, since, count, text, hint, run, acked_by, note, recovered, last_good";

fn alert_of(row: &Row<'_>) -> rusqlite::Result<AlertRow> {
    Ok(AlertRow {
        id: row.get(0)?,
        condition: row.get(1)?,
        subject: row.get(2)?,
        cause: row.get(3)?,
        since: row.get(4)?,
        count: u64::try_from(row.get::<_, i64>(5)?).unwrap_or_default(),
        text: row.get(6)?,
        hint: row.get(7)?,
        run: row.get(8)?,
        acked_by: row.get(9)?,
        note: row.get(10)?,
        recovered: row.get(11)?,
        last_good: row.get(12)?,
    })
}

/// A delivery as people are shown it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRow {
    /// Its name.
    pub id: String,
    /// The channel.
    pub channel: String,
    /// What it tells.
    pub event: String,
    /// When it was made.
    pub made: i64,
    /// Attempts so far.
    pub attempts: u32,
    /// When it was taken or given up.
    pub ended: Option<i64>,
    /// `pending`, `sent`, `failed`.
    pub result: String,
    /// Why the last attempt failed.
    pub error: Option<String>,
}

/// Writes down that something is wrong, or no longer.
pub(super) fn apply(db: &Transaction<'_>, at: i64, fact: &Fact) -> rusqlite::Result<()> {
    match fact {
        Fact::Good { condition, subject } => {
            let sql = "UPDATE alert SET recovered = ?3 WHERE condition = ?1 AND (subject = ?2 OR ?2 = '*') AND recovered IS NULL";
            db.prepare_cached(sql)?.execute(params![condition, subject, at]).map(drop)
        }
        Fact::Bad { condition, subject, cause, text, hint, run } => {
            let (text, hint) = details(db, run.as_deref(), text, hint.clone())?;
            let sql = "SELECT max(ended) FROM run WHERE job = ? AND status = 'COMPLETED'";
            let last_good: Option<i64> = db.prepare_cached(sql)?.query_row([subject], |row| row.get(0))?;
            // One that had just ended goes on: whoever was told does not hear of it twice.
            let sql = "INSERT INTO alert(condition, subject, cause, since, count, text, hint, run, last_good)
                       VALUES (?1, ?2, ?3, ?4, 1, ?5, ?6, ?7, ?8)
                       ON CONFLICT(condition, subject) DO UPDATE SET
                           count = count + (run IS NOT ?7 AND ?7 IS NOT NULL), cause = ?3, text = ?5, hint = ?6, run = ?7,
                           recovered = NULL";
            let row = params![condition, subject, cause, at, text, hint, run, last_good];
            db.prepare_cached(sql)?.execute(row).map(drop)
        }
    }
}

/// What the run's own command said of why it failed.
fn details(
    db: &Transaction<'_>,
    run: Option<&str>,
    text: &str,
    hint: Option<String>,
) -> rusqlite::Result<(String, Option<String>)> {
    let sql = "SELECT i.error, i.hint, (SELECT group_concat(source || ': ' || coalesce(error, suspect), '; ') FROM record
                   WHERE invocation = i.id AND (error IS NOT NULL OR suspect IS NOT NULL))
               FROM invocation i WHERE run = ? ORDER BY id DESC LIMIT 1";
    let said = match run {
        None => None,
        Some(run) => db
            .prepare_cached(sql)?
            .query_row([run], |row| {
                Ok((
                    row.get::<_, Option<String>>(0)?,
                    row.get::<_, Option<String>>(1)?,
                    row.get::<_, Option<String>>(2)?,
                ))
            })
            .optional()?,
    };
    let (error, own_hint, parts) = said.unwrap_or_default();
    let more = error.or(parts).map_or_else(String::new, |error| format!(": {error}"));
    Ok((redact(&format!("{text}{more}")), hint.or(own_hint).map(|hint| redact(&hint))))
}

/// What the end of a command means that no scheduler started, and what is odd of any dump.
pub(super) fn apply_records(
    db: &Transaction<'_>,
    command: &Invocation,
    records: &[Record],
) -> rusqlite::Result<()> {
    let at = command.ended.unwrap_or(command.started);
    for record in records {
        let series = format!("series {}", record.series);
        if record.status == "COMPLETED" {
            let fact = match record.is_hollow() {
                true => Fact::bad("warning", &series, "empty dump", HOLLOW),
                false => Fact::good("warning", &series),
            };
            apply(db, at, &fact)?;
        }
        if command.run.is_some() {
            continue;
        }
        let bad = |condition, cause: &str, text: &str| Fact::Bad {
            condition,
            subject: series.clone(),
            cause: cause.to_owned(),
            text: text.to_owned(),
            hint: command.hint.clone(),
            run: Some(command.id.clone()),
        };
        match (&record.error, &record.suspect) {
            (Some(error), _) => apply(db, at, &bad("failure", "a backup failed", error))?,
            (None, Some(why)) => apply(db, at, &bad("suspect", "a backup is suspect", why))?,
            (None, None) => {
                for condition in ["failure", "suspect"] {
                    apply(db, at, &Fact::good(condition, &series))?;
                }
            }
        }
    }
    let subject = format!("{} {}", command.command, command.words).trim().to_owned();
    if command.run.is_none() && records.is_empty() {
        if let Some(error) = &command.error {
            let fact = Fact::Bad {
                condition: "failure",
                subject,
                cause: command
                    .exit
                    .map_or_else(|| "interrupted".to_owned(), |exit| format!("exit code {exit}")),
                text: error.clone(),
                hint: command.hint.clone(),
                run: Some(command.id.clone()),
            };
            apply(db, at, &fact)?;
        }
    } else if command.run.is_none() {
        apply(db, at, &Fact::good("failure", &subject))?;
    }
    Ok(())
}

/// What becomes of runs is heard by pings, and by whoever wants to know of good ones.
pub(super) fn notice_of_run(
    db: &Transaction<'_>,
    at: i64,
    run: &RunId,
    change: &RunChange,
) -> rusqlite::Result<()> {
    let (event, text) = match change {
        RunChange::Starts => ("start", "started".to_owned()),
        RunChange::Ended { ok: true, .. } => ("success", "ended well".to_owned()),
        RunChange::Ended { ok: false, ending } => ("failed", ending.reason.clone().unwrap_or_default()),
        RunChange::Again { .. } => return Ok(()),
    };
    let job: String = db.query_row("SELECT job FROM run WHERE id = ?", [&run.0], |row| row.get(0))?;
    notice(db, at, event, &job, Some(&run.0), &text)
}

fn picture(db: &Transaction<'_>, now: i64, settings: &Alerts) -> rusqlite::Result<Picture> {
    let mut all = db.prepare_cached(&format!("SELECT {COLUMNS} FROM alert ORDER BY id"))?;
    let alerts = all.query_map([], alert_of)?.collect::<rusqlite::Result<_>>()?;
    let mut all = db.prepare_cached("SELECT seq, at, event, subject, run, text FROM notice ORDER BY seq")?;
    let notices = all.query_map([], |row| {
        Ok(Notice {
            seq: row.get(0)?,
            at: row.get(1)?,
            event: row.get(2)?,
            subject: row.get(3)?,
            run: row.get(4)?,
            text: row.get(5)?,
        })
    })?;
    let notices = notices.collect::<rusqlite::Result<_>>()?;
    let sql = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'notice'), 0)";
    let newest = db.query_row(sql, [], |row| row.get(0))?;
    let mut heard = BTreeMap::new();
    for (name, channel) in &settings.channels {
        let sql = "SELECT seen, digest FROM channel WHERE name = ?";
        let known =
            db.prepare_cached(sql)?.query_row([name], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let (seen, digest) = known.unwrap_or_default();
        let mut all = db.prepare_cached("SELECT alert, at FROM told WHERE channel = ?")?;
        let told =
            all.query_map([name], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
        let mut all = db.prepare_cached("SELECT made FROM delivery WHERE channel = ? AND made > ?")?;
        let recent = all.query_map(params![name, now.saturating_sub(HOUR_MS)], |row| row.get(0))?;
        let recent = recent.collect::<rusqlite::Result<_>>()?;
        let mut one = Heard { told, seen, digest, recent, activity: Vec::new() };
        if is_digest_due(channel, &one, now) {
            let sql = "SELECT job, sum(status = 'COMPLETED'), sum(status = 'FAILED') FROM run WHERE ended > ? GROUP BY job ORDER BY job";
            let mut all = db.prepare_cached(sql)?;
            let number = |row: &Row<'_>, at: usize| {
                row.get::<_, i64>(at).map(|n| u64::try_from(n).unwrap_or_default())
            };
            let rows = all.query_map([digest], |row| Ok((row.get(0)?, number(row, 1)?, number(row, 2)?)))?;
            one.activity = rows.collect::<rusqlite::Result<_>>()?;
        }
        heard.insert(name.clone(), one);
    }
    Ok(Picture { alerts, notices, newest, heard })
}

fn write_plan(
    db: &Transaction<'_>,
    now: i64,
    plan: &Plan,
    new_name: &dyn Fn() -> String,
) -> rusqlite::Result<()> {
    for (channel, message) in &plan.messages {
        let body = serde_json::to_string(message).unwrap_or_default();
        let sql = "INSERT INTO delivery(id, channel, event, made, due, attempts, result, body)
                   VALUES (?1, ?2, ?3, ?4, ?4, 0, 'pending', ?5)";
        db.prepare_cached(sql)?.execute(params![new_name(), channel, message.event, now, body])?;
    }
    for (channel, alert) in &plan.told {
        let sql = "INSERT OR REPLACE INTO told(alert, channel, at) VALUES (?, ?, ?)";
        db.prepare_cached(sql)?.execute(params![alert, channel, now])?;
    }
    for (channel, alert) in &plan.ended {
        db.prepare_cached("DELETE FROM told WHERE alert = ? AND channel = ?")?
            .execute(params![alert, channel])?;
    }
    for (channel, seen) in &plan.seen {
        let sql = "INSERT INTO channel(name, seen) VALUES (?1, ?2) ON CONFLICT(name) DO UPDATE SET seen = ?2";
        db.prepare_cached(sql)?.execute(params![channel, seen])?;
    }
    for channel in &plan.digests {
        let sql =
            "INSERT INTO channel(name, digest) VALUES (?1, ?2) ON CONFLICT(name) DO UPDATE SET digest = ?2";
        db.prepare_cached(sql)?.execute(params![channel, now])?;
    }
    for alert in &plan.over {
        db.prepare_cached("DELETE FROM alert WHERE id = ?")?.execute([alert])?;
    }
    db.prepare_cached("DELETE FROM notice WHERE seq <= ?")?.execute([plan.consumed]).map(drop)
}

impl State {
    /// Writes down what is so.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn state_facts(&mut self, at: i64, facts: &[Fact]) -> Result<(), StateError> {
        self.write(|db| facts.iter().try_for_each(|fact| apply(db, at, fact)))
    }

    /// Makes the messages that are due. Says when there may be others.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn plan_messages(
        &mut self,
        now: i64,
        settings: &Alerts,
        speaker: &Speaker<'_>,
        new_name: &dyn Fn() -> String,
    ) -> Result<Option<i64>, StateError> {
        self.write(|db| {
            let plan = plan(now, &picture(db, now, settings)?, settings, speaker);
            write_plan(db, now, &plan, new_name)?;
            Ok(plan.wake)
        })
    }

    /// What waits for an attempt on that channel.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn due_deliveries(&self, channel: &str, now: i64) -> Result<Vec<Delivery>, StateError> {
        self.read(|db| {
            // Of a clock that was set back nothing is waited for. None overtakes another: an end is told after its
            // beginning.
            let mut all = db.prepare_cached(
                "SELECT id, made, attempts, body FROM delivery d
                 WHERE result = 'pending' AND channel = ?1 AND NOT EXISTS (
                     SELECT 1 FROM delivery e WHERE e.result = 'pending' AND e.channel = ?1
                     AND e.due > ?2 AND e.due <= ?2 + ?3 AND (e.made, e.id) <= (d.made, d.id)
                 ) ORDER BY made, id LIMIT 100",
            )?;
            let rows = all.query_map(params![channel, now, 2 * HOUR_MS], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get::<_, String>(3)?))
            })?;
            let mut found = Vec::new();
            for row in rows {
                let (id, made, attempts, body) = row?;
                // What cannot be read nobody can be told.
                if let Ok(message) = serde_json::from_str::<Message>(&body) {
                    found.push(Delivery { id, made, attempts, message });
                }
            }
            Ok(found)
        })
    }

    /// When the next attempt is due.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn next_delivery(&self) -> Result<Option<i64>, StateError> {
        self.read(|db| {
            // The oldest of each channel: the others wait for it.
            let sql = "SELECT min(due) FROM delivery d WHERE result = 'pending' AND NOT EXISTS (
                SELECT 1 FROM delivery e
                WHERE e.result = 'pending' AND e.channel = d.channel AND (e.made, e.id) < (d.made, d.id))";
            db.query_row(sql, [], |row| row.get(0))
        })
    }

    /// Writes down what came of an attempt.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn note_attempt(
        &mut self,
        channel: &str,
        delivery: &Delivery,
        attempt: &Attempt,
        at: i64,
    ) -> Result<(), StateError> {
        self.write(|db| {
            let (result, due, error) = match attempt {
                Attempt::Sent => ("sent", at, None),
                Attempt::Again { due, error } => ("pending", *due, Some(error)),
                Attempt::GivenUp { error } => ("failed", at, Some(error)),
            };
            let sql = "UPDATE delivery SET result = ?2, due = ?3, error = ?4, attempts = attempts + 1,
                       ended = CASE ?2 WHEN 'pending' THEN NULL ELSE ?5 END WHERE id = ?1";
            db.execute(sql, params![delivery.id, result, due, error.map(|error| error.reason.clone()), at])?;
            if result == "pending" {
                // The others of this channel wait as well.
                let sql = "UPDATE delivery SET due = ?2 WHERE channel = ?1 AND result = 'pending' AND due < ?2 AND attempts = 0
                           AND event NOT IN ('start', 'success', 'failed')";
                db.execute(sql, params![channel, due])?;
            }
            let is_hopeless = matches!(attempt, Attempt::GivenUp { .. })
                || matches!(attempt, Attempt::Again { error, .. } if error.is_permanent);
            match (attempt, error) {
                (Attempt::Sent, _) => apply(db, at, &Fact::good("channel", channel)),
                (_, Some(error)) if is_hopeless => {
                    let text = format!("cannot be told: {}", error.reason);
                    apply(db, at, &Fact::bad("channel", channel, "cannot be told", text))
                }
                _ => Ok(()),
            }
        })
    }

    /// What is wrong, the oldest first.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn alerts(&self) -> Result<Vec<AlertRow>, StateError> {
        self.read(|db| {
            let mut all = db.prepare(&format!(
                "SELECT {COLUMNS} FROM alert WHERE recovered IS NULL ORDER BY since, id"
            ))?;
            all.query_map([], alert_of)?.collect()
        })
    }

    /// How many messages wait for their delivery, by channel.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn waiting_deliveries(&self) -> Result<BTreeMap<String, u64>, StateError> {
        self.read(|db| {
            let sql = "SELECT channel, count(*) FROM delivery WHERE result = 'pending' GROUP BY channel";
            let count =
                |row: &Row<'_>| Ok((row.get(0)?, u64::try_from(row.get::<_, i64>(1)?).unwrap_or_default()));
            db.prepare_cached(sql)?.query_map([], count)?.collect()
        })
    }

    /// The newest deliveries, newest first.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn deliveries(&self, most: u32) -> Result<Vec<DeliveryRow>, StateError> {
        self.read(|db| {
            let mut all = db.prepare(
                "SELECT id, channel, event, made, attempts, ended, result, error FROM delivery ORDER BY made DESC, id DESC LIMIT ?",
            )?;
            let rows = all.query_map([most], |row| {
                Ok(DeliveryRow {
                    id: row.get(0)?,
                    channel: row.get(1)?,
                    event: row.get(2)?,
                    made: row.get(3)?,
                    attempts: row.get(4)?,
                    ended: row.get(5)?,
                    result: row.get(6)?,
                    error: row.get(7)?,
                })
            })?;
            rows.collect()
        })
    }

    /// Somebody knows of what is wrong with that subject, of that condition or of any, and wants no reminders. Says of
    /// how many.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn acknowledge(
        &mut self,
        subject: &str,
        condition: Option<&str>,
        note: Option<&str>,
        now: i64,
        actor: &str,
    ) -> Result<usize, StateError> {
        self.write(|db| {
            let sql = "UPDATE alert SET acked_by = ?3, note = ?4
                       WHERE subject = ?1 AND (?2 IS NULL OR condition = ?2) AND recovered IS NULL";
            let changed = db.execute(sql, params![subject, condition, actor, note])?;
            if changed > 0 {
                let which = condition.unwrap_or("all");
                let text = match note {
                    Some(note) => format!("{which} acknowledged: {}", redact(note)),
                    None => format!("{which} acknowledged"),
                };
                audit::append(db, now, actor, &Note { kind: "alert", object: subject.to_owned(), text })?;
            }
            Ok(changed)
        })
    }

    /// Of each job, what decides when it is overdue.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn pasts(&self) -> Result<BTreeMap<String, Past>, StateError> {
        self.read(|db| {
            let mut all = db.prepare_cached(
                "SELECT job, coalesce(began, cursor), paused_until,
                    (SELECT max(coalesce(slot, queued)) FROM run WHERE run.job = job_state.job AND status = 'COMPLETED'),
                    (SELECT max(at) FROM slot WHERE slot.job = job_state.job AND decision = 'paused'),
                    (SELECT min(queued) FROM run WHERE run.job = job_state.job AND status IN ('QUEUED', 'IN_PROGRESS'))
                 FROM job_state",
            )?;
            let rows = all.query_map([], |row| {
                let past = Past {
                    began: row.get(1)?,
                    paused_until: row.get(2)?,
                    good: row.get(3)?,
                    paused: row.get(4)?,
                    open: row.get(5)?,
                };
                Ok((row.get(0)?, past))
            })?;
            rows.collect()
        })
    }
}
