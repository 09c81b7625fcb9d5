//! Triggers of tables that rows are loaded into: whether they would fire, whether they may be off meanwhile, and what
//! foreign keys say of the rows afterwards, whose triggers were off, too.

use super::super::PostgresError;
use super::super::client::unclear;
use super::count::qualified;
use super::{RestoreTarget, quoted_text};

/// Tables asked about at a time.
const BATCH_TABLES: usize = 200;

/// What rows that are loaded into tables set off.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Triggers {
    /// Those that fire on inserted rows: `public.orders (audit)`.
    pub firing: Vec<String>,
    /// Whether all can be off while rows are loaded, and all be on afterwards as they were before.
    pub can_be_off: bool,
}

/// A foreign key that rows contradict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokenKey {
    /// The table whose rows reference what is not there.
    pub table: String,
    /// The constraint.
    pub name: String,
    /// How many rows do; `None` when they could not be counted.
    pub rows: Option<u64>,
}

impl RestoreTarget {
    /// Asks which triggers of these tables (schema and name) fire when rows are loaded.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub fn triggers(&self, tables: &[(String, String)]) -> Result<Triggers, PostgresError> {
        let mut all = Triggers { firing: Vec::new(), can_be_off: true };
        for batch in tables.chunks(BATCH_TABLES) {
            let what = "ask for the triggers of the tables";
            // Of a partition, older servers call the copy of its root's trigger internal. INSERT is bit 2 of the type.
            let sql = format!(
                "WITH ours AS (SELECT * FROM pg_trigger WHERE tgrelid IN ({}))
                 SELECT json_build_array(
                   (SELECT coalesce(json_agg(format('%s (%s)', tgrelid::regclass, tgname) ORDER BY tgrelid, tgname), '[]') FROM ours
                    WHERE (NOT tgisinternal OR tgconstraint = 0) AND tgenabled IN ('O', 'A') AND tgtype & 4 <> 0),
                   (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
                   AND NOT EXISTS (SELECT FROM ours WHERE tgenabled <> 'O'))",
                regclasses(batch)
            );
            let answer = self.ask_itself(what, &sql)?;
            let (firing, can_be_off): (Vec<String>, bool) =
                serde_json::from_str(&answer).map_err(|_| unclear(what, &answer))?;
            all.firing.extend(firing);
            all.can_be_off &= can_be_off;
        }
        Ok(all)
    }

    /// Looks for rows of these tables that foreign keys forbid.
    ///
    /// # Errors
    /// When the server cannot be asked for the foreign keys.
    pub fn broken_keys(&self, tables: &[(String, String)]) -> Result<Vec<BrokenKey>, PostgresError> {
        let mut broken = Vec::new();
        for batch in tables.chunks(BATCH_TABLES) {
            let what = "ask for the foreign keys of the tables";
            // Keys over periods compare otherwise.
            let sql = format!(
                "SELECT coalesce(json_agg(json_build_array(conname, conrelid::regclass::text, format(
                   'SELECT count(*) FROM %s c WHERE %s AND NOT EXISTS (SELECT FROM %s p WHERE %s)',
                   conrelid::regclass, filled, confrelid::regclass, same))), '[]')
                 FROM pg_constraint k, LATERAL (
                   SELECT string_agg(format('c.%I IS NOT NULL', a.attname), ' AND ') AS filled,
                     string_agg(format('p.%I = c.%I', b.attname, a.attname), ' AND ') AS same
                   FROM unnest(k.conkey, k.confkey) AS pair (own, other)
                   JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = own
                   JOIN pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = other) columns
                 WHERE contype = 'f' AND convalidated AND conrelid IN ({})
                 AND (to_json(k) ->> 'conperiod') IS DISTINCT FROM 'true'",
                regclasses(batch)
            );
            let answer = self.ask_itself(what, &sql)?;
            let keys: Vec<(String, String, String)> =
                serde_json::from_str(&answer).map_err(|_| unclear(what, &answer))?;
            for (name, table, count) in keys {
                let counted = self.ask_itself("check the foreign keys of the restored rows", &count);
                let rows = counted.ok().and_then(|rows| rows.parse().ok());
                if rows != Some(0) {
                    broken.push(BrokenKey { table, name, rows });
                }
            }
        }
        Ok(broken)
    }

    /// Asks the database itself, however long it takes.
    fn ask_itself(&self, what: &str, sql: &str) -> Result<String, PostgresError> {
        let target = self.connection.with_database(&self.database);
        self.clients.ask_at_leisure(&target, what, "SET row_security = off", sql, &self.limits)
    }
}

fn regclasses(tables: &[(String, String)]) -> String {
    let each: Vec<String> = tables
        .iter()
        .map(|(schema, name)| format!("to_regclass({})", quoted_text(&qualified(schema, name))))
        .collect();
    each.join(", ")
}
