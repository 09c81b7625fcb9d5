//! Users and what they may do.

use super::Access;
use crate::daemon::book::StateError;
use rusqlite::{OptionalExtension, Row, params};

/// What somebody may do. Each may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Sees.
    Viewer,
    /// Runs, cancels, verifies, pauses, acknowledges.
    Operator,
    /// Downloads, restores, deletes, manages.
    Admin,
}

impl Role {
    /// All of them, the weakest first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// The role of that word.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.word() == word)
    }
}

/// Somebody who may sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Name.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// The password's hash.
    pub password: String,
    /// When they were added.
    pub created: i64,
    /// When password or role was changed.
    pub changed: i64,
}

/// A user to be added.
pub struct NewUser<'a> {
    /// Name.
    pub name: &'a str,
    /// What they may do.
    pub role: Role,
    /// The password's hash.
    pub password: &'a str,
}

impl User {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            name: row.get(0)?,
            // A word that nobody knows may do least.
            role: Role::of(&row.get::<_, String>(1)?).unwrap_or(Role::Viewer),
            password: row.get(2)?,
            created: row.get(3)?,
            changed: row.get(4)?,
        })
    }
}

const COLUMNS: &str = "name, role, password, created, changed";

impl Access {
    /// Adds a user; `false` where there is one of that name.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add_user(&mut self, user: &NewUser<'_>, now: i64) -> Result<bool, StateError> {
        self.write(|db| {
            let sql = "INSERT INTO user(name, role, password, created, changed) VALUES (?1, ?2, ?3, ?4, ?4)
                       ON CONFLICT(name) DO NOTHING";
            Ok(db.execute(sql, params![user.name, user.role.word(), user.password, now])? == 1)
        })
    }

    /// Removes a user with all their sessions; `false` where there is none.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn remove_user(&mut self, name: &str) -> Result<bool, StateError> {
        self.write(|db| {
            db.execute("DELETE FROM token WHERE creator = ?", [name])?;
            Ok(db.execute("DELETE FROM user WHERE name = ?", [name])? == 1)
        })
    }

    /// Changes a password, and ends all sessions but the one named; `false` where there is no such user.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn change_password(
        &mut self,
        name: &str,
        password: &str,
        keep: Option<&[u8]>,
        now: i64,
    ) -> Result<bool, StateError> {
        self.write(|db| {
            let sql = "UPDATE user SET password = ?2, changed = ?3 WHERE name = ?1";
            let changed = db.execute(sql, params![name, password, now])? == 1;
            db.execute("DELETE FROM session WHERE user = ?1 AND hash IS NOT ?2", params![name, keep])?;
            Ok(changed)
        })
    }

    /// The user of that name.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn user(&self, name: &str) -> Result<Option<User>, StateError> {
        self.read(|db| {
            let sql = format!("SELECT {COLUMNS} FROM user WHERE name = ?");
            db.prepare_cached(&sql)?.query_row([name], User::of).optional()
        })
    }

    /// All users by name.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn users(&self) -> Result<Vec<User>, StateError> {
        self.read(|db| {
            let mut all = db.prepare_cached(&format!("SELECT {COLUMNS} FROM user ORDER BY name"))?;
            all.query_map([], User::of)?.collect()
        })
    }
}
