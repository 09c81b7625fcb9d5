//! A database that is made for a restore: as the dump says that it was.

use super::super::client::{Version, unclear};
use super::super::{Connection, PostgresError};
use super::{RestoreTarget, quoted_name, quoted_text};
use crate::base::event::Cancel;

/// From this version on, locales of the server's own are known.
const BUILTIN_LOCALES: Version = Version::new(17);

/// Settings that could stop the restore itself, or the restoring role: set when all is there.
const LATE_SETTINGS: [&str; 12] = [
    "default_transaction_read_only",
    "default_transaction_isolation",
    "default_transaction_deferrable",
    "role",
    "row_security",
    "session_replication_role",
    "event_triggers",
    "statement_timeout",
    "lock_timeout",
    "transaction_timeout",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
];

/// Of a statement that failed, so much is shown.
const STATEMENT_CHARS_SHOWN: usize = 200;

/// How a database is to be made, as its dump says.
#[derive(Debug, Clone, Default)]
pub struct DatabasePlan {
    /// What stands behind `CREATE DATABASE name WITH`, the values as SQL: `ENCODING`, `'UTF8'`.
    pub options: Vec<(String, String)>,
    /// The role that owns it.
    pub owner: Option<String>,
    /// The statements that give it what else it had.
    pub statements: Vec<PlanStatement>,
    /// What of it is known to be lost, in words.
    pub lost: Vec<String>,
}

/// A statement about the database to be made.
#[derive(Debug, Clone)]
pub struct PlanStatement {
    /// Its text; the database's name stands between two pieces.
    pub pieces: Vec<String>,
    /// The setting that it makes, if it makes one.
    pub setting: Option<String>,
    /// It grants or revokes rights.
    pub is_privilege: bool,
}

impl PlanStatement {
    /// Begins with a blank: a text of somebody else's that begins with a backslash is a command to `psql`, a shell's
    /// among them.
    fn text(&self, database: &str) -> String {
        format!(" {}", self.pieces.join(&quoted_name(database)))
    }

    /// Whether it has to be there before the rows, as for `pg_restore --create`: views may show them by it.
    fn is_early(&self) -> bool {
        self.setting.as_deref().is_some_and(|name| !LATE_SETTINGS.contains(&name))
    }
}

impl DatabasePlan {
    /// What stands behind `CREATE DATABASE name`, for a server of this version; adds to what is lost.
    fn clauses(&mut self, version: Version, with_tablespace: bool) -> String {
        let provider = self.option("LOCALE_PROVIDER");
        let mut clauses = String::new();
        let mut lost = Vec::new();
        for (key, value) in &self.options {
            let is_known = match key.as_str() {
                "TEMPLATE" => false,
                "TABLESPACE" => with_tablespace,
                "ENCODING" | "LC_COLLATE" | "LC_CTYPE" => true,
                "LOCALE" => version >= Version::new(13),
                "LOCALE_PROVIDER" => match value.as_str() {
                    "builtin" => version >= BUILTIN_LOCALES,
                    _ => version >= Version::new(15),
                },
                "ICU_LOCALE" => version >= Version::new(15),
                "ICU_RULES" => version >= Version::new(16),
                "BUILTIN_LOCALE" => version >= BUILTIN_LOCALES,
                _ => false,
            };
            if is_known {
                clauses += &format!(" {key} = {value}");
            } else if key == "LOCALE" {
                clauses += &format!(" LC_COLLATE = {value} LC_CTYPE = {value}");
            } else if matches!(key.as_str(), "ICU_LOCALE" | "ICU_RULES" | "BUILTIN_LOCALE") {
                let provider = provider.as_deref().unwrap_or("libc");
                lost.push(format!(
                    "its locale {value} of {provider}, which PostgreSQL {version} does not know"
                ));
            }
        }
        self.lost.extend(lost);
        clauses
    }

    fn option(&self, key: &str) -> Option<String> {
        self.options.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone())
    }
}

impl RestoreTarget {
    /// What stands behind `CREATE DATABASE name TEMPLATE template0`.
    pub(in crate::source::postgres) fn clauses(
        &self,
        asked: &Connection,
        version: Version,
        plan: &mut DatabasePlan,
    ) -> Result<String, PostgresError> {
        // Another database's tablespace takes the place of the dump's.
        let clauses = plan.clauses(version, self.like.is_none() && !self.no_tablespaces);
        match &self.like {
            Some(model) if plan.options.is_empty() => self.properties(asked, model),
            Some(model) => Ok(clauses + &self.place_of(asked, model)?),
            None => Ok(clauses),
        }
    }

    /// Makes the settings that have to be there before the rows.
    pub(in crate::source::postgres) fn begin(&self, asked: &Connection, plan: &mut DatabasePlan) {
        let early = plan.statements.iter().filter(|it| it.is_early()).map(|it| it.text(&self.database));
        let lost: Vec<String> = early.filter_map(|statement| self.change(asked, &statement).err()).collect();
        plan.lost.extend(lost);
    }

    /// Gives the database all else; gives what could not be had, in words.
    pub(in crate::source::postgres) fn complete(
        &self,
        asked: &Connection,
        plan: DatabasePlan,
    ) -> Vec<String> {
        let mut lost = plan.lost;
        let owner = plan.owner.filter(|_| !self.no_owner && self.like.is_none());
        let owner = owner.map(|owner| {
            format!("ALTER DATABASE {} OWNER TO {}", quoted_name(&self.database), quoted_name(&owner))
        });
        let is_wanted = |it: &&PlanStatement| !(it.is_early() || it.is_privilege && self.no_privileges);
        let others = plan.statements.iter().filter(is_wanted).map(|it| it.text(&self.database));
        lost.extend(owner.into_iter().chain(others).filter_map(|it| self.change(asked, &it).err()));
        lost
    }

    /// Runs a statement about the database; says why it cannot be had.
    fn change(&self, asked: &Connection, statement: &str) -> Result<(), String> {
        let what = format!("change database `{}`", self.database);
        self.clients.ask(asked, &what, statement, &Cancel::new()).map(drop).map_err(|error| {
            let shown: String = statement.trim_start().chars().take(STATEMENT_CHARS_SHOWN).collect();
            let said = error.to_string();
            let reason = said.split_once("ERROR:").map_or(said.as_str(), |(_, reason)| reason);
            format!("`{shown}`: {}", reason.trim().lines().next().unwrap_or_default())
        })
    }

    /// Owner and tablespace of `model`, as clauses.
    fn place_of(&self, asked: &Connection, model: &str) -> Result<String, PostgresError> {
        let what = format!("ask how database `{model}` was made");
        let tablespace = if self.no_tablespaces { "''" } else { "format(' TABLESPACE %I', spcname)" };
        let sql = format!(
            "SELECT format(' OWNER %I', pg_get_userbyid(datdba)) || {tablespace} \
             FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace WHERE datname = {}",
            quoted_text(model)
        );
        let clauses = self.clients.ask(asked, &what, &sql, &Cancel::new())?;
        if clauses.is_empty() {
            return Err(unclear(&what, &clauses));
        }
        Ok(clauses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(options: &[(&str, &str)]) -> DatabasePlan {
        let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        DatabasePlan { options, ..DatabasePlan::default() }
    }

    #[test]
    fn options_are_those_that_the_server_knows_and_others_are_told() {
        let mut icu = plan(&[
            ("TEMPLATE", "template0"),
            ("ENCODING", "'UTF8'"),
            ("LOCALE_PROVIDER", "icu"),
            ("LOCALE", "'C'"),
            ("ICU_LOCALE", "'de'"),
            ("TABLESPACE", "fast"),
        ]);
        let all = " ENCODING = 'UTF8' LOCALE_PROVIDER = icu LOCALE = 'C' ICU_LOCALE = 'de' TABLESPACE = fast";
        assert_eq!(icu.clauses(Version::new(16), true), all);
        assert!(icu.lost.is_empty());
        assert_eq!(
            icu.clauses(Version::new(12), false),
            " ENCODING = 'UTF8' LC_COLLATE = 'C' LC_CTYPE = 'C'"
        );
        assert_eq!(icu.lost, ["its locale 'de' of icu, which PostgreSQL 12 does not know"]);
        let mut builtin =
            plan(&[("LOCALE_PROVIDER", "builtin"), ("LOCALE", "'C'"), ("BUILTIN_LOCALE", "'C.UTF-8'")]);
        assert_eq!(builtin.clauses(Version::new(16), true), " LOCALE = 'C'");
        assert_eq!(builtin.lost.len(), 1);
    }
}
