//! How many objects a server can lock at once.

use super::RestoreTarget;
use crate::source::postgres::PostgresError;
use crate::source::postgres::client::unclear;

/// Locks that the server promises to have room for: of each connection, whoever's, and of what else counts as one.
const LOCKS: &str = "
SELECT sum(setting::bigint) * current_setting('max_locks_per_transaction')::bigint FROM pg_settings
WHERE name IN ('max_connections', 'max_prepared_transactions', 'max_worker_processes', 'max_wal_senders', 'autovacuum_max_workers')";
/// With default settings a server was seen to have room for 1.6 times as many.
const ROOM_BEYOND_PROMISE: u64 = 3;

impl RestoreTarget {
    /// Whether the server may be able to lock so many objects at once. It has room for more than its settings promise;
    /// for how many more nobody knows beforehand.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub fn may_have_room_for_locks(&self, objects: u64) -> Result<bool, PostgresError> {
        let what = "ask how many locks there is room for";
        let database = self.connection.with_database(&self.database);
        let answer = self.clients.ask(&database, what, LOCKS, &self.limits.cancel)?;
        let promised: u64 = answer.parse().map_err(|_| unclear(what, &answer))?;
        Ok(objects <= promised.saturating_mul(ROOM_BEYOND_PROMISE))
    }
}
