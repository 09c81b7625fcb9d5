//! When each pack was last read and found whole: so that checks of a part come round to everything, the longest unread
//! first.
//!
//! Kept beside the catalog, and not in it: it is not told by the repository's objects, so that it outlives a catalog
//! that is rebuilt. Should it be lost, packs are read sooner than need be.

use crate::base::id::PackId;
use rusqlite::{Connection, params};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// How closely a pack was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vault) enum Depth {
    /// Its bytes have the hash that is its name.
    Hash,
    /// Every block was opened as well, and every id in it compared.
    Opened,
}

impl Depth {
    fn number(self) -> i64 {
        match self {
            Self::Hash => 0,
            Self::Opened => 1,
        }
    }
}

/// The record. It never fails: what it cannot keep is forgotten.
pub(in crate::vault) struct Remembered {
    connection: Mutex<Option<Connection>>,
}

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;
    CREATE TABLE IF NOT EXISTS verified (
        pack BLOB NOT NULL, depth INTEGER NOT NULL, at_ms INTEGER NOT NULL, PRIMARY KEY (pack, depth)
    ) STRICT, WITHOUT ROWID;
";

impl Remembered {
    /// Opens the record in the repository's cache directory. A file that is none is replaced.
    pub(crate) fn open(dir: &Path) -> Self {
        let path = dir.join("verified.sqlite");
        // Safe to ignore because opening the file fails, too, and says so.
        let _ = std::fs::create_dir_all(dir);
        let connection = open_file(&path).or_else(|_| {
            // Safe to ignore because the next opening tells whether it helped.
            let _ = std::fs::remove_file(&path);
            open_file(&path)
        });
        if let Err(error) = &connection {
            tracing::warn!("`{}`: {error}; what this check reads is not remembered", path.display());
        }
        Self { connection: Mutex::new(connection.ok()) }
    }

    /// When packs were last found whole, looked at as closely as `depth` or closer, ms since the epoch. Times yet to
    /// come are left out.
    pub(crate) fn times(&self, depth: Depth, now_ms: i64) -> HashMap<PackId, i64> {
        self.with(|connection| {
            let mut statement = connection.prepare(
                "SELECT pack, max(at_ms) FROM verified WHERE depth >= ? AND at_ms <= ? GROUP BY pack",
            )?;
            let rows = statement.query_map(params![depth.number(), now_ms], |row| {
                Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, i64>(1)?))
            })?;
            let mut times = HashMap::new();
            for row in rows {
                let (pack, at) = row?;
                times.extend(PackId::from_slice(&pack).map(|pack| (pack, at)));
            }
            Ok(times)
        })
        .unwrap_or_default()
    }

    /// Whether every block of the pack was ever opened.
    pub(crate) fn was_opened(&self, pack: &PackId) -> bool {
        let found = self.with(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT 1 FROM verified WHERE pack = ? AND depth >= ?")?;
            statement.exists(params![pack.as_bytes(), Depth::Opened.number()])
        });
        found.unwrap_or(false)
    }

    /// The pack was found whole. Kept at once: whoever is stopped half way has not read in vain.
    pub(crate) fn note(&self, pack: &PackId, depth: Depth, now_ms: i64) {
        self.with(|connection| {
            connection.prepare_cached("INSERT OR REPLACE INTO verified VALUES (?, ?, ?)")?.execute(params![
                pack.as_bytes(),
                depth.number(),
                now_ms
            ])
        });
    }

    /// The pack is not whole, or is there no more.
    pub(crate) fn forget(&self, pack: &PackId) {
        self.with(|connection| {
            connection
                .prepare_cached("DELETE FROM verified WHERE pack = ?")?
                .execute(params![pack.as_bytes()])
        });
    }

    fn with<T>(&self, what: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Option<T> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = what(connection.as_ref()?);
        outcome.inspect_err(|error| tracing::warn!("which packs were read is not remembered: {error}")).ok()
    }
}

fn open_file(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    connection.execute_batch(SCHEMA)?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::OsEntropy;
    use crate::storage::memory::MemoryStorage;
    use crate::vault::crypto::{Credential, KeyFile};
    use crate::vault::format::config::Config;
    use crate::vault::{Repository, Surroundings};
    use std::sync::Arc;

    #[test]
    fn whoever_asks_of_many_packs_opens_the_record_once() {
        let dir = tempfile::tempdir().unwrap();
        let key = KeyFile::create(&dir.path().join("key"), &OsEntropy).unwrap();
        let around = Surroundings::new(Arc::new(OsEntropy), dir.path().join("cache"));
        let (storage, credential) = (Arc::new(MemoryStorage::new()), Credential::KeyFile(key));
        let repo = Repository::init(storage, &credential, "", Config::new(0), &around).unwrap();
        let pack = PackId::from_bytes([1; 32]);
        Remembered::open(&repo.cache_dir).note(&pack, Depth::Opened, 1);
        assert!(repo.checker().was_opened(&pack));
        // Nobody opens the file again: it is there no more.
        std::fs::remove_dir_all(&repo.cache_dir).unwrap();
        assert!(repo.clone().checker().was_opened(&pack));
    }

    #[test]
    fn what_was_opened_was_hashed_too_and_times_to_come_do_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (PackId::from_bytes([1; 32]), PackId::from_bytes([2; 32]));
        let record = Remembered::open(dir.path());
        record.note(&a, Depth::Opened, 100);
        record.note(&b, Depth::Hash, 200);
        let record = Remembered::open(dir.path());
        assert_eq!(record.times(Depth::Opened, 1000), HashMap::from([(a, 100)]));
        assert_eq!(record.times(Depth::Hash, 1000), HashMap::from([(a, 100), (b, 200)]));
        assert_eq!(record.times(Depth::Hash, 150), HashMap::from([(a, 100)]));
        assert!(record.was_opened(&a) && !record.was_opened(&b));
        record.forget(&a);
        assert!(record.times(Depth::Opened, 1000).is_empty());
    }

    #[test]
    fn a_file_of_rubbish_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("verified.sqlite"), vec![0xa5; 10_000]).unwrap();
        let record = Remembered::open(dir.path());
        record.note(&PackId::from_bytes([1; 32]), Depth::Hash, 1);
        assert_eq!(record.times(Depth::Hash, 1).len(), 1);
    }
}
