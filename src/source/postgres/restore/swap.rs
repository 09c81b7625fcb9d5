//! Putting a restored database in the place of a live one, which stays under another name.

use super::super::client::{Version, unclear};
use super::super::{Connection, PostgresError};
use super::{RestoreTarget, quoted_name, quoted_text};
use crate::base::event::Cancel;
use crate::source::SourceError;
use std::time::{Duration, Instant};

/// PostgreSQL cuts longer names, in bytes.
const NAME_BYTES_MAX: usize = 63;
/// So often a rename is tried at least while others keep connecting.
const RENAMES: usize = 5;
/// So often it is looked who is connected before somebody counts as connected.
const LOOKS: usize = 5;
/// Between two looks at who is connected.
const PAUSE: Duration = Duration::from_millis(300);

/// What keeps a database from being renamed now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InTheWay {
    /// Sessions in it, in words: `3 of pgbouncer as app from 10.0.0.7`.
    pub sessions: Vec<String>,
    /// Transactions in it that were prepared and neither committed nor rolled back.
    pub prepared: u64,
}

impl InTheWay {
    /// Whether nothing is.
    pub fn is_nothing(&self) -> bool {
        self.sessions.is_empty() && self.prepared == 0
    }
}

impl std::fmt::Display for InTheWay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut all = self.sessions.clone();
        match self.prepared {
            0 => {}
            1 => all.push("1 prepared transaction".to_owned()),
            many => all.push(format!("{many} prepared transactions")),
        }
        f.write_str(&all.join(", "))
    }
}

/// A name for a database beside another: `shop_new_20261121_030000`.
pub fn name_beside(database: &str, suffix: &str) -> String {
    let room = NAME_BYTES_MAX.saturating_sub(suffix.len());
    let mut end = database.len().min(room);
    while !database.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", database.get(..end).unwrap_or_default())
}

impl RestoreTarget {
    /// What stands behind `CREATE DATABASE name` to make one like `model`: owner, encoding, locale, tablespace.
    pub(in crate::source::postgres) fn properties(
        &self,
        asked: &Connection,
        model: &str,
    ) -> Result<String, PostgresError> {
        let what = format!("ask how database `{model}` was made");
        let cancel = Cancel::new();
        let version = self.clients.server(asked, &cancel)?.version;
        let provider = if version >= Version::new(17) {
            "CASE datlocprovider WHEN 'i' THEN format(' LOCALE_PROVIDER icu ICU_LOCALE %L', datlocale) \
             WHEN 'b' THEN format(' LOCALE_PROVIDER builtin BUILTIN_LOCALE %L', datlocale) ELSE '' END"
        } else if version >= Version::new(15) {
            "CASE datlocprovider WHEN 'i' THEN format(' LOCALE_PROVIDER icu ICU_LOCALE %L', daticulocale) ELSE '' END"
        } else {
            "''"
        };
        let sql = format!(
            "SELECT format(' OWNER %I ENCODING %L LC_COLLATE %L LC_CTYPE %L TABLESPACE %I', pg_get_userbyid(datdba), \
             pg_encoding_to_char(encoding), datcollate, datctype, spcname) || {provider} \
             FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace WHERE datname = {}",
            quoted_text(model)
        );
        let properties = self.clients.ask(asked, &what, &sql, &cancel)?;
        if properties.is_empty() {
            return Err(unclear(&what, &properties));
        }
        Ok(properties)
    }

    /// Looks whether this database can be renamed at all, and what is in the way now. Changes nothing.
    ///
    /// # Errors
    /// [`PostgresError::CannotSwap`] when waiting would not help.
    pub fn look_before_swap(&self) -> Result<InTheWay, PostgresError> {
        let mut looks = 1;
        loop {
            let in_the_way = self.look_once()?;
            // The server needs a moment to notice that a session has ended, our own of a question before, say.
            if in_the_way.is_nothing() || looks == LOOKS || self.limits.cancel.is_cancelled() {
                return Ok(in_the_way);
            }
            looks += 1;
            std::thread::sleep(PAUSE);
        }
    }

    fn look_once(&self) -> Result<InTheWay, PostgresError> {
        let cancel = &self.limits.cancel;
        let (asked, server) = self.maintenance(cancel)?;
        let what = format!("ask who uses database `{}`", self.database);
        let sql = format!(
            "SELECT json_build_array(d.datistemplate, r.rolsuper, r.rolcreatedb AND pg_has_role(d.datdba, 'USAGE'),
               (SELECT count(*) FROM pg_prepared_xacts WHERE database = d.datname),
               (SELECT coalesce(json_agg(json_build_array(n, who, coalesce(app, ''), coalesce(place, ''))), '[]') FROM (
                 SELECT count(*) AS n, coalesce(usename, 'the server') AS who, application_name AS app, host(client_addr) AS place
                 FROM pg_stat_activity WHERE datid = d.oid AND pid <> pg_backend_pid()
                 AND coalesce(query, '') NOT LIKE 'autovacuum: %' GROUP BY 2, 3, 4 ORDER BY 1 DESC LIMIT 10) sessions))
             FROM pg_database d, pg_roles r WHERE d.datname = {} AND r.rolname = current_user",
            quoted_text(&self.database)
        );
        let answer = self.clients.ask(&asked, &what, &sql, cancel)?;
        if answer.is_empty() {
            return Err(PostgresError::NoDatabase {
                database: self.database.clone(),
                target: server.place(),
            });
        }
        type Sessions = Vec<(u64, String, String, String)>;
        let (is_template, is_superuser, is_owner, prepared, sessions): (bool, bool, bool, u64, Sessions) =
            serde_json::from_str(&answer).map_err(|_| unclear(&what, &answer))?;
        let refused = match () {
            () if is_template => Some("it is a template"),
            () if !is_superuser && !is_owner => {
                Some("the role must be its owner and have CREATEDB, or be a superuser")
            }
            () => None,
        };
        if let Some(reason) = refused {
            let database = self.database.clone();
            return Err(PostgresError::CannotSwap { database, reason: reason.to_owned() });
        }
        let sessions = sessions.into_iter().map(|(count, who, app, place)| {
            let app = if app.is_empty() { String::new() } else { format!("{app} as ") };
            let place = if place.is_empty() { String::new() } else { format!(" from {place}") };
            format!("{count} of {app}{who}{place}")
        });
        Ok(InTheWay { sessions: sessions.collect(), prepared })
    }

    /// Gives this database the grants, settings, comment and connection limit of `live`, renames that to `kept` and
    /// this one to `live`, all in one transaction.
    ///
    /// Nobody may be connected to either: it is waited for `patience` at most. With `terminate`, those who are lose
    /// their connection.
    ///
    /// # Errors
    /// Both databases are as before then. [`PostgresError::InUse`] when others are still connected.
    pub fn take_place_of(
        &self,
        live: &str,
        kept: &str,
        terminate: bool,
        patience: Duration,
    ) -> Result<(), PostgresError> {
        // Not stoppable half-way; between two tries it is.
        let cancel = Cancel::new();
        let beside = [live, kept];
        let (asked, _) = self.maintenance_beside(&beside, &cancel)?;
        let what = format!("put database `{}` in the place of `{live}`", self.database);
        let old = Self { database: live.to_owned(), like: Some(self.database.clone()), ..self.clone() };
        let began = Instant::now();
        let mut tries = 0;
        loop {
            tries += 1;
            // A rename waits by itself for some seconds, in which nobody can connect: it is only tried when it may go
            // well.
            let mut in_the_way = old.look_once()?;
            if terminate {
                in_the_way.sessions.clear();
            }
            if in_the_way.is_nothing() {
                let mut statements = self.to_be_like(&asked, live)?;
                if terminate {
                    statements.push(others_out(live));
                }
                statements.push(renamed(live, kept));
                statements.push(renamed(&self.database, live));
                // One string is one transaction.
                match self.clients.ask(&asked, &what, &statements.join("; "), &cancel) {
                    Err(PostgresError::Step { source, .. }) if is_in_use(&source) => {}
                    outcome => return outcome.map(drop),
                }
                in_the_way = old.look_once()?;
            }
            let may_try = terminate && tries < RENAMES;
            if !may_try && began.elapsed() >= patience {
                return Err(PostgresError::InUse { database: live.to_owned(), by: in_the_way });
            }
            if self.limits.cancel.is_cancelled() {
                let source = Box::new(SourceError::Cancelled { program: "psql".to_owned() });
                return Err(PostgresError::Step { what, source });
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Gives the database the name `wanted`, which is free.
    ///
    /// # Errors
    /// The database keeps its name then: `wanted` is taken by now, somebody is connected, or the role may not.
    pub fn take_name(&self, wanted: &str) -> Result<(), PostgresError> {
        // One statement: it is done or it is not.
        let cancel = Cancel::new();
        let (asked, _) = self.maintenance_beside(&[wanted], &cancel)?;
        let what = format!("give database `{}` the name `{wanted}`", self.database);
        let mut tries = 0;
        loop {
            tries += 1;
            match self.clients.ask(&asked, &what, &renamed(&self.database, wanted), &cancel) {
                // What the restore's own programs left is gone soon; the server waits for some seconds by itself, too.
                Err(PostgresError::Step { source, .. }) if tries < RENAMES && is_in_use(&source) => {
                    std::thread::sleep(PAUSE);
                }
                outcome => return outcome.map(drop),
            }
        }
    }

    /// The statements that give this database what `live` has and no dump of a single database holds.
    fn to_be_like(&self, asked: &Connection, live: &str) -> Result<Vec<String>, PostgresError> {
        let what = format!("ask for the settings of database `{live}`");
        let new = quoted_text(&self.database);
        // Settings that are lists are stored quoted already.
        let sql = format!(
            "WITH live AS (SELECT * FROM pg_database WHERE datname = {live}), settings AS (
               SELECT setrole, split_part(setting, '=', 1) AS name, substr(setting, strpos(setting, '=') + 1) AS value
               FROM pg_db_role_setting JOIN live ON setdatabase = live.oid, unnest(setconfig) AS setting
             ), each AS (
               SELECT 1 AS n, format('REVOKE ALL ON DATABASE %I FROM PUBLIC', {new}) AS s FROM live WHERE datacl IS NOT NULL
               UNION ALL SELECT 2, format('GRANT %s ON DATABASE %I TO %s%s', privilege_type, {new},
                 CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
                 CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
               FROM live, aclexplode(datacl)
               UNION ALL SELECT 3, CASE setrole WHEN 0 THEN format('ALTER DATABASE %I SET ', {new})
                 ELSE format('ALTER ROLE %I IN DATABASE %I SET ', pg_get_userbyid(setrole), {new}) END
                 || format('%I TO ', name) || CASE WHEN name IN ('search_path', 'temp_tablespaces', 'local_preload_libraries',
                   'session_preload_libraries', 'unix_socket_directories') THEN value ELSE quote_literal(value) END
               FROM settings
               UNION ALL SELECT 4, format('COMMENT ON DATABASE %I IS %L', {new}, shobj_description(oid, 'pg_database'))
               FROM live
               UNION ALL SELECT 5, format('ALTER DATABASE %I CONNECTION LIMIT %s', {new}, datconnlimit)
               FROM live WHERE datconnlimit <> -1
             ) SELECT coalesce(array_to_json(array_agg(s ORDER BY n)), '[]') FROM each",
            live = quoted_text(live),
        );
        let answer = self.clients.ask(asked, &what, &sql, &Cancel::new())?;
        serde_json::from_str(&answer).map_err(|_| unclear(&what, &answer))
    }

    /// Ends all connections of others to the database.
    ///
    /// # Errors
    /// When the server cannot be asked, or the role may not.
    pub(in crate::source::postgres) fn terminate_others(&self) -> Result<(), PostgresError> {
        let cancel = &self.limits.cancel;
        let (asked, _) = self.maintenance(cancel)?;
        let what = format!("end the connections to database `{}`", self.database);
        self.clients.ask(&asked, &what, &others_out(&self.database), cancel).map(drop)
    }
}

fn renamed(from: &str, to: &str) -> String {
    format!("ALTER DATABASE {} RENAME TO {}", quoted_name(from), quoted_name(to))
}

/// Whether others are connected to a database that was to be renamed.
fn is_in_use(source: &SourceError) -> bool {
    source.to_string().contains("is being accessed by other users")
}

pub(in crate::source::postgres) fn others_out(database: &str) -> String {
    // A worker of autovacuum is nobody's: only a superuser may end it, and the server does so itself where it is in the
    // way.
    format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = {} AND pid <> pg_backend_pid() \
         AND usesysid IS NOT NULL",
        quoted_text(database)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beside_fit_where_names_do() {
        assert_eq!(name_beside("shop", "_new_1"), "shop_new_1");
        let long = name_beside(&"ü".repeat(40), "_new_1");
        assert!(long.len() <= 63 && long.ends_with("ü_new_1"), "{long}");
    }
}
