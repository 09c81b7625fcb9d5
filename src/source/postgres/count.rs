//! Asking a restored database what it holds: the proof that everything came.

use super::PostgresError;
use super::client::{columns, unclear};
use super::restore::{RestoreTarget, quoted_name};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Tables asked about in one connection.
const BATCH_TABLES: usize = 50;
/// Rows that a policy would hide are an error, not a smaller count.
const SEE_ALL: &str = "SET row_security = off";

/// Rows of a table, or why they cannot be counted.
pub type Count = Result<u64, String>;

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

    fn count_batch(&self, tables: &[(String, String)]) -> Result<Vec<u64>, PostgresError> {
        let each: Vec<String> = tables
            .iter()
            .map(|(schema, name)| match schema.as_str() {
                "" => format!("(SELECT count(*) FROM ONLY {})", quoted_name(name)),
                schema => {
                    format!("(SELECT count(*) FROM ONLY {}.{})", quoted_name(schema), quoted_name(name))
                }
            })
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

    fn numbers(&self, what: &str, sql: &str, count: usize) -> Result<Vec<u64>, PostgresError> {
        let target = self.connection.with_database(&self.database);
        let row = self.clients.ask_at_leisure(&target, what, SEE_ALL, sql, &self.limits)?;
        let numbers: Option<Vec<u64>> = columns(&row).map(|column| column.parse().ok()).collect();
        numbers.filter(|numbers| numbers.len() == count).ok_or_else(|| unclear(what, &row))
    }
}

/// Small enough for all connections to have work.
fn batch_size(tables: usize, connections: usize) -> usize {
    tables.div_ceil(connections.max(1) * 4).clamp(1, BATCH_TABLES)
}
