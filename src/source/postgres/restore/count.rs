//! Asking a restored database what it holds: the proof that everything came.

use super::super::PostgresError;
use super::super::client::{COLUMN_SEPARATOR, columns, step, unclear};
use super::{RestoreTarget, quoted_name, quoted_text};
use crate::source::Dump;
use crate::source::command::ProcessDump;
use std::io::{BufRead, BufReader};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Tables asked about in one connection.
const BATCH_TABLES: usize = 50;
/// Rows that a policy would hide are an error, not a smaller count.
const SEE_ALL: &str = "SET row_security = off";

/// Rows of a table, or why they cannot be counted.
pub type Count = Result<u64, String>;

/// Where the server may have put rows that a dump has for a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Belonging {
    /// Schema and name of the partitioned table that it is a partition of at last, or is itself: rows that are loaded
    /// through it go to whatever partition takes them.
    pub root: Option<(String, String)>,
    /// It is an extension's: with rows that no dump holds.
    pub of_extension: bool,
}

/// What a database says of its constraints and indexes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Constraints {
    /// Foreign keys, each of a partitioned table once.
    pub foreign_keys: u64,
    /// Of these, those that were not validated, as in the database that was dumped.
    pub foreign_keys_not_valid: u64,
    /// Indexes that are not valid. A restore makes none.
    pub indexes_not_valid: u64,
}

impl RestoreTarget {
    /// Counts the rows of tables (schema and name), each without those that inherit from it, over so many connections.
    ///
    /// # Errors
    /// When the server cannot be asked at all. That a table is not there, or may not be read, is in the answer.
    pub fn count_rows(
        &self,
        tables: &[(String, String)],
        connections: usize,
    ) -> Result<Vec<Count>, PostgresError> {
        let batches: Vec<&[(String, String)]> =
            tables.chunks(batch_size(tables.len(), connections)).collect();
        let next = AtomicUsize::new(0);
        let answers = Mutex::new(Vec::new());
        answers.lock().unwrap_or_else(PoisonError::into_inner).resize_with(batches.len(), || None);
        let work = || {
            loop {
                let at = next.fetch_add(1, Ordering::SeqCst);
                let Some(batch) = batches.get(at) else { break };
                let counted = self.count_batch(batch);
                let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(place) = answers.get_mut(at) {
                    *place = Some(counted);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..connections.min(batches.len()) {
                // A thread that cannot be started leaves its work to the others.
                let _ = std::thread::Builder::new().name("count".to_owned()).spawn_scoped(scope, work);
            }
            work();
        });
        let answers = answers.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut counts = Vec::with_capacity(tables.len());
        for (batch, answer) in batches.iter().zip(answers) {
            match answer {
                Some(Ok(own)) => counts.extend(own.into_iter().map(Ok)),
                // One of them is not there: which, is found out one by one.
                _ => {
                    for table in *batch {
                        let one = self.count_batch(std::slice::from_ref(table));
                        counts.push(match one {
                            Ok(own) => own.first().copied().ok_or_else(|| "no answer".to_owned()),
                            Err(error @ PostgresError::Connect { .. }) => return Err(error),
                            Err(error) => Err(error.to_string()),
                        });
                    }
                }
            }
        }
        Ok(counts)
    }

    /// Counts the rows of a table together with all that inherit from it.
    pub fn count_whole(&self, (schema, name): &(String, String)) -> Count {
        let sql = format!("SELECT count(*) FROM {}", qualified(schema, name));
        let found = self.numbers("count the rows of a partitioned table", &sql, 1);
        found.map(|found| found.first().copied().unwrap_or_default()).map_err(|error| error.to_string())
    }

    /// Asks what tables (schema and name) belong to. One that is not there belongs to nothing.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub fn belongings(&self, tables: &[(String, String)]) -> Result<Vec<Belonging>, PostgresError> {
        let what = "ask for the partitions among the restored tables";
        let target = self.connection.with_database(&self.database);
        let mut all = Vec::with_capacity(tables.len());
        for batch in tables.chunks(BATCH_TABLES) {
            let row = self.clients.ask_at_leisure(
                &target,
                what,
                SEE_ALL,
                &belongings_query(batch),
                &self.limits,
            )?;
            let found: Vec<(usize, String, String, bool, bool)> =
                serde_json::from_str(&row).map_err(|_| unclear(what, &row))?;
            let mut batch_all = vec![Belonging::default(); batch.len()];
            for (at, schema, name, is_partitioned, of_extension) in found {
                if let Some(place) = batch_all.get_mut(at) {
                    *place = Belonging { root: is_partitioned.then_some((schema, name)), of_extension };
                }
            }
            all.extend(batch_all);
        }
        Ok(all)
    }

    fn count_batch(&self, tables: &[(String, String)]) -> Result<Vec<u64>, PostgresError> {
        let each: Vec<String> = tables
            .iter()
            .map(|(schema, name)| format!("(SELECT count(*) FROM ONLY {})", qualified(schema, name)))
            .collect();
        self.numbers(
            "count the rows of the restored tables",
            &format!("SELECT {}", each.join(", ")),
            tables.len(),
        )
    }

    /// Counts the large objects.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub fn count_large_objects(&self) -> Result<u64, PostgresError> {
        let sql = "SELECT count(*) FROM pg_largeobject_metadata";
        let found = self.numbers("count the restored large objects", sql, 1)?;
        Ok(found.first().copied().unwrap_or_default())
    }

    /// Looks at foreign keys and indexes.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub fn constraints(&self) -> Result<Constraints, PostgresError> {
        // A partition's copy of its root's foreign key depends on that one.
        let sql = "
WITH keys AS (
  SELECT convalidated FROM pg_constraint WHERE contype = 'f' AND NOT EXISTS (
    SELECT FROM pg_depend WHERE classid = 'pg_constraint'::regclass AND objid = pg_constraint.oid
    AND refclassid = 'pg_constraint'::regclass)
)
SELECT (SELECT count(*) FROM keys), (SELECT count(*) FROM keys WHERE NOT convalidated),
  (SELECT count(*) FROM pg_index WHERE NOT indisvalid)";
        let found = self.numbers("look at the restored keys and indexes", sql, 3)?;
        let &[foreign_keys, foreign_keys_not_valid, indexes_not_valid] = found.as_slice() else {
            return Err(unclear("look at the restored keys and indexes", ""));
        };
        Ok(Constraints { foreign_keys, foreign_keys_not_valid, indexes_not_valid })
    }

    /// Runs a query that changes nothing, and gives the first column of each row that has a value.
    ///
    /// # Errors
    /// When the server cannot be asked, or refuses.
    pub fn each_value(
        &self,
        what: &str,
        sql: &str,
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<(), PostgresError> {
        let target = self.connection.with_database(&self.database);
        let read_only = "SET default_transaction_read_only = on";
        let invocation = self
            .clients
            .client(&target, self.clients.psql())
            // In batches: there may be as many rows as files.
            .args(["-X", "-A", "-t", "-q", "-0", "-v", "ON_ERROR_STOP=1", "-v", "FETCH_COUNT=10000", "-F"])
            .arg(COLUMN_SEPARATOR.to_string())
            // The blank: what begins with a backslash is a command of `psql`.
            .args(["-c".to_owned(), read_only.to_owned(), "-c".to_owned(), format!(" {sql}")]);
        let failed = |source| step(what, source);
        let mut dump = Box::new(ProcessDump::start(&invocation, self.limits.clone()).map_err(failed)?);
        for row in BufReader::new(&mut dump).split(0) {
            // An error of reading is told by `finish`.
            let Ok(row) = row else { break };
            let value = row.split(|byte| *byte == COLUMN_SEPARATOR as u8).next().unwrap_or_default();
            if !value.is_empty() {
                each(value);
            }
        }
        dump.finish().map(drop).map_err(failed)
    }

    fn numbers(&self, what: &str, sql: &str, count: usize) -> Result<Vec<u64>, PostgresError> {
        let target = self.connection.with_database(&self.database);
        let row = self.clients.ask_at_leisure(&target, what, SEE_ALL, sql, &self.limits)?;
        let numbers: Option<Vec<u64>> = columns(&row).map(|column| column.parse().ok()).collect();
        numbers.filter(|numbers| numbers.len() == count).ok_or_else(|| unclear(what, &row))
    }
}

/// A table's name for SQL; the schema may be unknown.
pub(in crate::source::postgres) fn qualified(schema: &str, name: &str) -> String {
    match schema {
        "" => quoted_name(name),
        schema => format!("{}.{}", quoted_name(schema), quoted_name(name)),
    }
}

/// Climbs from each table to the one that is no partition any more. `pg_partition_root` does the same, from PostgreSQL
/// 12 on.
fn belongings_query(tables: &[(String, String)]) -> String {
    let wanted: Vec<String> = tables
        .iter()
        .enumerate()
        .map(|(at, (schema, name))| format!("({at}, to_regclass({}))", quoted_text(&qualified(schema, name))))
        .collect();
    format!(
        "WITH RECURSIVE wanted (at, id) AS (VALUES {}), up (at, id, top) AS (
           SELECT at, id::oid, id::oid FROM wanted WHERE id IS NOT NULL
           UNION ALL
           SELECT at, up.id, inhparent FROM up JOIN pg_class ON oid = top AND relispartition JOIN pg_inherits ON inhrelid = top
         )
         SELECT coalesce(array_to_json(array_agg(json_build_array(at, nspname, relname, relkind = 'p', EXISTS (
           SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = up.id AND deptype = 'e')))), '[]')
         FROM up JOIN pg_class ON pg_class.oid = top AND NOT relispartition JOIN pg_namespace ON pg_namespace.oid = relnamespace",
        wanted.join(", ")
    )
}

/// Small enough for all connections to have work.
fn batch_size(tables: usize, connections: usize) -> usize {
    tables.div_ceil(connections.max(1) * 4).clamp(1, BATCH_TABLES)
}
