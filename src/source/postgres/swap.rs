//! Putting a restored database in the place of a live one, which stays under another name.

use super::client::{Version, unclear};
use super::restore::{RestoreTarget, quoted_name, quoted_text};
use super::{Connection, PostgresError};
use crate::event::Cancel;
use std::time::Duration;

/// PostgreSQL cuts longer names, in bytes.
const NAME_BYTES_MAX: usize = 63;
/// So often a rename is tried while others keep connecting.
const RENAMES: usize = 5;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(300);

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
    pub(super) fn properties(&self, asked: &Connection, model: &str) -> Result<String, PostgresError> {
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

    /// Gives this database the grants, settings, comment and connection limit of `live`, renames that to `kept` and this one to
    /// `live`, all in one transaction.
    ///
    /// Nobody may be connected to either; with `terminate` those who are lose their connection.
    ///
    /// # Errors
    /// Both databases are as before then. [`PostgresError::InUse`] while others are connected.
    pub fn take_place_of(&self, live: &str, kept: &str, terminate: bool) -> Result<(), PostgresError> {
        // Not stoppable half-way.
        let cancel = Cancel::new();
        let (asked, _) = self.maintenance(&cancel)?;
        let what = format!("put database `{}` in the place of `{live}`", self.database);
        let mut statements = self.to_be_like(&asked, live)?;
        if terminate {
            statements.push(others_out(live));
        }
        statements.push(format!("ALTER DATABASE {} RENAME TO {}", quoted_name(live), quoted_name(kept)));
        statements.push(format!(
            "ALTER DATABASE {} RENAME TO {}",
            quoted_name(&self.database),
            quoted_name(live)
        ));
        // One string is one transaction.
        let all = statements.join("; ");
        let mut tries = 0;
        loop {
            tries += 1;
            match self.clients.ask(&asked, &what, &all, &cancel) {
                Ok(_) => return Ok(()),
                Err(PostgresError::Step { source, .. })
                    if source.to_string().contains("is being accessed by other users") =>
                {
                    if !terminate || tries == RENAMES {
                        return Err(PostgresError::InUse { database: live.to_owned() });
                    }
                    std::thread::sleep(PAUSE);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Drops the database, which must be the caller's own.
    ///
    /// # Errors
    /// When the server cannot be asked, or others are connected.
    pub fn drop_database(&self) -> Result<(), PostgresError> {
        let cancel = Cancel::new();
        let (asked, _) = self.maintenance(&cancel)?;
        let what = format!("drop database `{}`", self.database);
        let sql = format!("DROP DATABASE IF EXISTS {}", quoted_name(&self.database));
        self.clients.ask(&asked, &what, &sql, &cancel).map(drop)
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
               FROM live WHERE shobj_description(oid, 'pg_database') IS NOT NULL
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
    pub(super) fn terminate_others(&self) -> Result<(), PostgresError> {
        let cancel = &self.limits.cancel;
        let (asked, _) = self.maintenance(cancel)?;
        let what = format!("end the connections to database `{}`", self.database);
        self.clients.ask(&asked, &what, &others_out(&self.database), cancel).map(drop)
    }
}

fn others_out(database: &str) -> String {
    format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = {} AND pid <> pg_backend_pid()",
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
