//! Sessions, tokens, and how often somebody guessed wrong.

use super::{Access, Role, User};
use crate::daemon::book::StateError;
use rusqlite::{OptionalExtension, params};

/// A session without a click ends after half an hour.
const IDLE_MS: i64 = 30 * 60_000;
/// Every session ends after twelve hours.
const ABSOLUTE_MS: i64 = 12 * 3_600_000;
/// So many wrong tries are free.
const FREE_TRIES: i64 = 5;
const FIRST_WAIT_MS: i64 = 60_000;
const WAIT_MS_MAX: i64 = 3_600_000;
/// After so long without a wrong try all is forgotten.
const FORGET_MS: i64 = 24 * 3_600_000;

/// Somebody who has signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// BLAKE3 of the cookie's secret.
    pub hash: Vec<u8>,
    /// Whose.
    pub user: String,
    /// When they signed in.
    pub created: i64,
    /// When they were here last.
    pub seen: i64,
    /// When they last gave the password.
    pub proved: i64,
    /// From where.
    pub address: String,
    /// With what.
    pub agent: String,
}

/// A program's way in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its name in lists.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Who made it.
    pub creator: String,
    /// Only about these sources; all where it is empty.
    pub sources: Vec<String>,
    /// When it was made.
    pub created: i64,
    /// When it ends.
    pub expires: Option<i64>,
    /// When it was last used.
    pub used: Option<i64>,
}

/// Whether another try is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttled {
    /// Not before that; 0 where now is fine.
    pub until: i64,
    /// Wrong tries so far.
    pub failures: i64,
}

fn session(row: &rusqlite::Row<'_>) -> rusqlite::Result<Session> {
    Ok(Session {
        hash: row.get(0)?,
        user: row.get(1)?,
        created: row.get(2)?,
        seen: row.get(3)?,
        proved: row.get(4)?,
        address: row.get(5)?,
        agent: row.get(6)?,
    })
}

fn token(row: &rusqlite::Row<'_>) -> rusqlite::Result<Token> {
    Ok(Token {
        id: row.get(0)?,
        name: row.get(1)?,
        role: Role::of(&row.get::<_, String>(2)?).unwrap_or(Role::Viewer),
        creator: row.get(3)?,
        sources: row.get::<_, String>(4)?.lines().map(str::to_owned).collect(),
        created: row.get(5)?,
        expires: row.get(6)?,
        used: row.get(7)?,
    })
}

const SESSION: &str = "hash, user, created, seen, proved, address, agent";
const TOKEN: &str = "id, name, role, creator, sources, created, expires, used";

impl Access {
    /// Begins a session.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn begin_session(&mut self, session: &Session) -> Result<(), StateError> {
        self.write(|db| {
            db.execute(
                "DELETE FROM session WHERE seen < ?1 OR created < ?2",
                [session.created.saturating_sub(IDLE_MS), session.created.saturating_sub(ABSOLUTE_MS)],
            )?;
            let row = params![
                session.hash,
                session.user,
                session.created,
                session.seen,
                session.proved,
                session.address,
                session.agent
            ];
            db.execute(&format!("INSERT INTO session({SESSION}) VALUES (?, ?, ?, ?, ?, ?, ?)"), row).map(drop)
        })
    }

    /// The session of that hash with its user, if it has not ended. It is seen now.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn session(&mut self, hash: &[u8], now: i64) -> Result<Option<(Session, User)>, StateError> {
        let found = self.read(|db| {
            let sql = format!("SELECT {SESSION} FROM session WHERE hash = ? AND seen > ? AND created > ?");
            let row = params![hash, now.saturating_sub(IDLE_MS), now.saturating_sub(ABSOLUTE_MS)];
            db.prepare_cached(&sql)?.query_row(row, session).optional()
        })?;
        let Some(found) = found else { return Ok(None) };
        let Some(user) = self.user(&found.user)? else { return Ok(None) };
        // A write a minute is enough.
        if now.saturating_sub(found.seen) > 60_000 {
            self.write(|db| {
                db.execute("UPDATE session SET seen = ?2 WHERE hash = ?1", params![hash, now]).map(drop)
            })?;
        }
        Ok(Some((found, user)))
    }

    /// The password was given again.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn prove(&mut self, hash: &[u8], now: i64) -> Result<(), StateError> {
        self.write(|db| {
            db.execute("UPDATE session SET proved = ?2 WHERE hash = ?1", params![hash, now]).map(drop)
        })
    }

    /// Ends a session, or all of a user's but that one.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn end_session(&mut self, user: &str, hash: &[u8], others: bool) -> Result<(), StateError> {
        let which = if others { "IS NOT" } else { "IS" };
        self.write(|db| {
            let sql = format!("DELETE FROM session WHERE user = ?1 AND hash {which} ?2");
            db.execute(&sql, params![user, hash]).map(drop)
        })
    }

    /// Sessions that have not ended, of one user or of all.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn sessions(&self, user: Option<&str>, now: i64) -> Result<Vec<Session>, StateError> {
        self.read(|db| {
            let sql = format!(
                "SELECT {SESSION} FROM session WHERE (?1 IS NULL OR user = ?1) AND seen > ?2 AND created > ?3 ORDER BY seen DESC"
            );
            let row = params![user, now.saturating_sub(IDLE_MS), now.saturating_sub(ABSOLUTE_MS)];
            db.prepare(&sql)?.query_map(row, session)?.collect()
        })
    }

    /// Adds a token of which that is the hash.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add_token(&mut self, hash: &[u8], token: &Token) -> Result<(), StateError> {
        self.write(|db| {
            let row = params![
                hash,
                token.id,
                token.name,
                token.role.word(),
                token.creator,
                token.sources.join("\n"),
                token.created,
                token.expires
            ];
            let sql = "INSERT INTO token(hash, id, name, role, creator, sources, created, expires) VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
            db.execute(sql, row).map(drop)
        })
    }

    /// The token of that hash, if it has not ended. It is used now.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn token(&mut self, hash: &[u8], now: i64) -> Result<Option<Token>, StateError> {
        let found = self.read(|db| {
            let sql =
                format!("SELECT {TOKEN} FROM token WHERE hash = ? AND (expires IS NULL OR expires > ?)");
            db.prepare_cached(&sql)?.query_row(params![hash, now], token).optional()
        })?;
        if let Some(found) = &found
            && found.used.is_none_or(|used| now.saturating_sub(used) > 60_000)
        {
            self.write(|db| {
                db.execute("UPDATE token SET used = ?2 WHERE hash = ?1", params![hash, now]).map(drop)
            })?;
        }
        Ok(found)
    }

    /// All tokens, the newest first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn tokens(&self) -> Result<Vec<Token>, StateError> {
        self.read(|db| {
            db.prepare(&format!("SELECT {TOKEN} FROM token ORDER BY created DESC"))?
                .query_map([], token)?
                .collect()
        })
    }

    /// Removes a token; `false` where there is none of that id.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn remove_token(&mut self, id: &str) -> Result<bool, StateError> {
        self.write(|db| Ok(db.execute("DELETE FROM token WHERE id = ?", [id])? == 1))
    }

    /// Whether these may try again.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn throttled(&self, keys: &[&str], now: i64) -> Result<Throttled, StateError> {
        self.read(|db| {
            let mut worst = Throttled { until: 0, failures: 0 };
            for key in keys {
                let sql = "SELECT until, failures FROM throttle WHERE key = ? AND at > ?";
                let row = db
                    .prepare_cached(sql)?
                    .query_row(params![key, now.saturating_sub(FORGET_MS)], |row| {
                        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
                    })
                    .optional()?;
                if let Some((until, failures)) = row {
                    worst.failures = worst.failures.max(failures);
                    if until > now {
                        worst.until = worst.until.max(until);
                    }
                }
            }
            Ok(worst)
        })
    }

    /// How many addresses have to wait.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn waiting_addresses(&self, now: i64) -> Result<u64, StateError> {
        self.read(|db| {
            let sql = "SELECT count(*) FROM throttle WHERE key LIKE 'address %' AND until > ?";
            let count: i64 = db.prepare_cached(sql)?.query_row([now], |row| row.get(0))?;
            Ok(u64::try_from(count).unwrap_or_default())
        })
    }

    /// These guessed wrong.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn guessed(&mut self, keys: &[&str], now: i64) -> Result<Throttled, StateError> {
        self.write(|db| {
            db.execute("DELETE FROM throttle WHERE at < ?", [now.saturating_sub(FORGET_MS)])?;
            for key in keys {
                let sql = "INSERT INTO throttle(key, failures, until, at) VALUES (?1, 1, 0, ?2)
                           ON CONFLICT(key) DO UPDATE SET failures = failures + 1, at = ?2";
                db.execute(sql, params![key, now])?;
                let sql = "SELECT failures FROM throttle WHERE key = ?";
                let failures: i64 = db.query_row(sql, [key], |row| row.get(0))?;
                let over = failures.saturating_sub(FREE_TRIES);
                if over >= 0 {
                    let wait = FIRST_WAIT_MS.saturating_mul(1 << over.min(6)).min(WAIT_MS_MAX);
                    let sql = "UPDATE throttle SET until = ?2 WHERE key = ?1";
                    db.execute(sql, params![key, now.saturating_add(wait)])?;
                }
            }
            Ok(())
        })?;
        self.throttled(keys, now)
    }

    /// These guessed right.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn forgive(&mut self, keys: &[&str]) -> Result<(), StateError> {
        self.write(|db| {
            keys.iter().try_for_each(|key| db.execute("DELETE FROM throttle WHERE key = ?", [key]).map(drop))
        })
    }
}
