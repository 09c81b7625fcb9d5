//! The file itself: how it is opened, and when it is not believed.

use super::Catalog;
use crate::base::id::RepoId;
use rusqlite::{Connection, params};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

/// The catalog failed. It can always be rebuilt.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// SQLite cannot make sense of the file, or a row does not have its checksum.
    #[error("the catalog `{path}` is corrupt: {reason}", path = path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// SQLite failed otherwise: a full disk, no permission, a lock held too long.
    #[error("catalog `{path}`: {source}", path = path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// A file beside it failed.
    #[error("catalog file `{path}`: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What lies beneath.
        #[source]
        source: std::io::Error,
    },
}

/// The path of a catalog that has no file.
const MEMORY: &str = ":memory:";
const SCHEMA_VERSION: i64 = 2;
const SCHEMA: &str = "
    CREATE TABLE meta (repo BLOB NOT NULL, instance BLOB NOT NULL) STRICT;
    CREATE TABLE indexes (id BLOB PRIMARY KEY) STRICT, WITHOUT ROWID;
    CREATE TABLE foreign_indexes (id BLOB PRIMARY KEY, fingerprint BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE signed (id BLOB PRIMARY KEY) STRICT, WITHOUT ROWID;
    CREATE TABLE vouchers (pack INTEGER NOT NULL, author BLOB NOT NULL, PRIMARY KEY (pack, author)) STRICT, WITHOUT ROWID;
    CREATE TABLE disputed (pack INTEGER PRIMARY KEY) STRICT;
    CREATE TABLE packs (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id BLOB NOT NULL UNIQUE,
        bytes INTEGER NOT NULL,
        indexed INTEGER NOT NULL,
        chunk_table BLOB NOT NULL,
        checksum BLOB NOT NULL
    ) STRICT;
    CREATE TABLE chunk_keys (key INTEGER NOT NULL, pack INTEGER NOT NULL, PRIMARY KEY (key, pack)) STRICT, WITHOUT ROWID;
    CREATE TABLE objects (key TEXT PRIMARY KEY, bytes BLOB NOT NULL) STRICT;
";

pub(super) fn classify(path: &Path, source: rusqlite::Error) -> CatalogError {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase, SystemIoFailure};
    let path = path.to_owned();
    let corrupt = match &source {
        rusqlite::Error::SqliteFailure(error, message) => {
            matches!(error.code, DatabaseCorrupt | NotADatabase)
                // A cut file fails as a short read.
                || error.code == SystemIoFailure && error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHORT_READ
                || message.as_ref().is_some_and(|text| text.contains("malformed") || text.contains("no such table") || text.contains("no such column"))
        }
        rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::QueryReturnedNoRows
        | rusqlite::Error::InvalidColumnIndex(_) => true,
        _ => false,
    };
    if corrupt {
        CatalogError::Corrupt { path, reason: source.to_string() }
    } else {
        CatalogError::Sqlite { path, source }
    }
}

impl Catalog {
    /// Opens the catalog in `dir`, or makes an empty one where there is none, or one that is corrupt or of another
    /// repository.
    ///
    /// # Errors
    /// When the directory cannot be used.
    pub fn open(dir: &Path, repo: &RepoId, instance: [u8; 16]) -> Result<Self, CatalogError> {
        use std::os::unix::fs::DirBuilderExt;
        let io = |source| CatalogError::Io { path: dir.to_owned(), source };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io)?;
        let path = dir.join("catalog.sqlite");
        match Self::open_file(&path, repo, instance) {
            Err(CatalogError::Corrupt { .. }) => {
                Self::remove_files(dir)?;
                Self::open_file(&path, repo, instance)
            }
            outcome => outcome,
        }
    }

    /// Removes the catalog's files, so that the next opening begins afresh.
    ///
    /// # Errors
    /// When a file is there and cannot be removed.
    pub fn remove_files(dir: &Path) -> Result<(), CatalogError> {
        for name in ["catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm", "chunks.filter"] {
            let path = dir.join(name);
            match std::fs::remove_file(&path) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(CatalogError::Io { path, source });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A catalog that is kept nowhere, for when the cache directory cannot be used.
    ///
    /// # Errors
    /// When SQLite has no memory.
    pub fn in_memory(repo: &RepoId, instance: [u8; 16]) -> Result<Self, CatalogError> {
        let path = Path::new(MEMORY);
        let connection = Connection::open_in_memory().map_err(|source| classify(path, source))?;
        Self::set_up(connection, path, repo, instance)
    }

    /// Whether whoever opens the catalog anew finds in it what was put into this one.
    pub fn is_on_disk(&self) -> bool {
        self.path != Path::new(MEMORY)
    }

    fn open_file(path: &Path, repo: &RepoId, instance: [u8; 16]) -> Result<Self, CatalogError> {
        let connection = Connection::open(path).map_err(|source| classify(path, source))?;
        Self::set_up(connection, path, repo, instance)
    }

    fn set_up(
        mut connection: Connection,
        path: &Path,
        repo: &RepoId,
        instance: [u8; 16],
    ) -> Result<Self, CatalogError> {
        let failed = |source| classify(path, source);
        connection.busy_timeout(std::time::Duration::from_secs(60)).map_err(failed)?;
        // Lost in a power cut at worst: then it is rebuilt.
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA cache_size = -8192;
                 PRAGMA temp_store = MEMORY; PRAGMA journal_size_limit = 16777216;",
            )
            .map_err(failed)?;
        let transaction =
            connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(failed)?;
        let version: i64 =
            transaction.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
        if version == 0 {
            transaction.execute_batch(SCHEMA).map_err(failed)?;
            transaction
                .execute("INSERT INTO meta VALUES (?, ?)", params![repo.as_bytes(), instance])
                .map_err(failed)?;
            transaction.pragma_update(None, "user_version", SCHEMA_VERSION).map_err(failed)?;
        }
        let (owner, instance): (Vec<u8>, Vec<u8>) = transaction
            .query_row("SELECT repo, instance FROM meta", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .map_err(failed)?;
        transaction.commit().map_err(failed)?;
        let corrupt =
            |reason: &str| CatalogError::Corrupt { path: path.to_owned(), reason: reason.to_owned() };
        if version != 0 && version != SCHEMA_VERSION {
            return Err(corrupt("it was written by another version of dumpvault"));
        }
        if owner != repo.as_bytes() {
            return Err(corrupt("it belongs to another repository"));
        }
        let instance = instance.try_into().map_err(|_| corrupt("it has no name"))?;
        Ok(Self { connection, path: path.to_owned(), instance, rows: VecDeque::new() })
    }
}
