//! Servers with several databases: which there are, and what belongs to none of them.

use super::super::dump::PostgresDump;
use super::super::{Connection, PostgresError};
use super::{Clients, columns, unclear};
use crate::base::event::Cancel;
use crate::base::pattern::NamePattern;
use crate::source::SourceError;
use crate::source::command::ProcessDump;
use crate::source::process::Limits;

/// Which databases of a server are dumped.
#[derive(Debug, Clone, Default)]
pub struct DatabaseChoice {
    /// Every one that can be connected to and is no template.
    pub all: bool,
    /// Names and patterns. A name need not be there: dumping it fails, and says so.
    pub wanted: Vec<NamePattern>,
    /// Not these.
    pub excluded: Vec<NamePattern>,
}

impl DatabaseChoice {
    /// The one database that is meant, where no server needs to be asked for that.
    pub fn single(&self) -> Option<String> {
        match (self.all, self.wanted.as_slice(), self.excluded.as_slice()) {
            (false, [one], []) => one.literal(),
            _ => None,
        }
    }

    /// The databases to dump of those that are `there`, sorted.
    ///
    /// # Errors
    /// The pattern that fits none.
    pub fn choose(&self, there: &[String]) -> Result<Vec<String>, PostgresError> {
        let mut chosen: Vec<String> = if self.all { there.to_vec() } else { Vec::new() };
        for pattern in &self.wanted {
            let before = chosen.len();
            match pattern.literal() {
                Some(name) => chosen.push(name),
                None => chosen.extend(there.iter().filter(|name| pattern.matches(name)).cloned()),
            }
            if chosen.len() == before {
                return Err(PostgresError::NoneFits { pattern: pattern.to_string(), there: there.to_vec() });
            }
        }
        chosen.retain(|name| !self.excluded.iter().any(|pattern| pattern.matches(name)));
        chosen.sort_unstable();
        chosen.dedup();
        Ok(chosen)
    }
}

impl Clients {
    /// The databases of a server that can be connected to and are no templates, sorted; and the one that was asked. As
    /// for `pg_dumpall`, one whose `DROP DATABASE` was cut short is none: it has the connection limit -2, and takes
    /// nobody.
    ///
    /// # Errors
    /// When the server cannot be reached or asked.
    pub fn databases(
        &self,
        connection: &Connection,
        cancel: &Cancel,
    ) -> Result<(Vec<String>, Connection), PostgresError> {
        let what = "list the server's databases";
        let sql = "SELECT coalesce(array_to_json(array_agg(datname::text ORDER BY datname)), '[]') FROM pg_database \
                   WHERE datallowconn AND NOT datistemplate AND datconnlimit <> -2";
        let own = connection.database().into_iter();
        let mut first_error = None;
        for database in own.chain(["postgres", "template1"]) {
            let asked = connection.with_database(database);
            match self.ask(&asked, what, sql, cancel) {
                Ok(row) => {
                    let names = serde_json::from_str(&row).map_err(|_| unclear(what, &row))?;
                    return Ok((names, asked));
                }
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        Err(first_error.unwrap_or(PostgresError::NoClientAtAll { tool: "psql" }))
    }
}

/// What belongs to a server as a whole: roles, their memberships and settings, tablespaces. A script of
/// `pg_dumpall --globals-only`.
#[derive(Debug, Clone)]
pub struct GlobalsSource {
    /// The server.
    pub connection: Connection,
    /// Where to look for client programs.
    pub clients: Clients,
    /// How long the dump may take, and who may stop it.
    pub limits: Limits,
}

impl GlobalsSource {
    /// Starts the dump. Only a superuser sees passwords: with another role they are left out, and the second value is
    /// `false`.
    ///
    /// # Errors
    /// As [`super::super::PostgresSource::open`].
    pub fn open(&self) -> Result<(PostgresDump, bool), SourceError> {
        let cancel = &self.limits.cancel;
        let (_, asked) = self.clients.databases(&self.connection, cancel)?;
        let server = self.clients.server(&asked, cancel)?;
        let client = self.clients.choose("pg_dumpall", server.version, server.version, cancel)?;
        let what = "ask for the role's rights";
        let row = self.clients.ask(
            &asked,
            what,
            "SELECT rolsuper FROM pg_roles WHERE rolname = current_user",
            cancel,
        )?;
        let is_superuser = match columns(&row).next() {
            Some("t") => true,
            Some("f") => false,
            _ => return Err(unclear(what, &row).into()),
        };
        let mut invocation = self.clients.client(&asked, &client.path).arg("--globals-only");
        if !is_superuser {
            invocation = invocation.arg("--no-role-passwords");
        }
        let dump = Box::new(ProcessDump::start(&invocation, self.limits.clone())?);
        Ok((PostgresDump { dump, server, tool: "pg_dumpall", client }, is_superuser))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(all: bool, wanted: &[&str], excluded: &[&str]) -> DatabaseChoice {
        let patterns = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        DatabaseChoice { all, wanted: patterns(wanted), excluded: patterns(excluded) }
    }

    #[test]
    fn databases_are_chosen_by_names_and_patterns() {
        let there: Vec<String> = ["app", "app_test", "shop.eu", "shop.us"].map(str::to_owned).to_vec();
        for (choice, right) in [
            (choice(true, &[], &[]), &["app", "app_test", "shop.eu", "shop.us"][..]),
            (choice(true, &[], &["*_test"]), &["app", "shop.eu", "shop.us"]),
            (choice(false, &["\"shop.\"*", "app"], &["*us"]), &["app", "shop.eu"]),
            (choice(false, &["app", "a*"], &[]), &["app", "app_test"]),
            // A name that is not there is tried, so that its absence is an error and no silence.
            (choice(false, &["gone", "app"], &[]), &["app", "gone"]),
        ] {
            assert_eq!(choice.choose(&there).unwrap(), right, "{choice:?}");
        }
        assert!(choice(false, &["nothing*"], &[]).choose(&there).is_err());
        assert_eq!(choice(false, &["app"], &[]).single().as_deref(), Some("app"));
        assert_eq!(choice(false, &["\"a*\""], &[]).single().as_deref(), Some("a*"));
        assert_eq!(choice(false, &["a*"], &[]).single(), None);
    }
}
