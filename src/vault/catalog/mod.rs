//! The catalog: a local SQLite materialisation of what the repository's objects say.
//!
//! It may be lost, rolled back, corrupted or swapped at any time and is then rebuilt: nothing is true because the catalog says
//! so. What it says of a pack carries a checksum; that a pack is there is checked against a listing; what it says of a chunk's
//! place is checked when the block is opened.
//!
//! Tables: `packs` holds each pack's chunk table as one row, `chunk_keys` finds the packs that hold a chunk by the first 64
//! bits of its id, `indexes` names the index objects taken in, `objects` keeps small immutable objects as they are stored.

pub mod filter;

use crate::base::id::{AuthorId, IndexId, PackId, RepoId};
use crate::base::unfinished::Unfinished;
use crate::vault::format::index::{BlockEntry, BlockKind, ChunkTable, IndexedPack};
use filter::{ChunkFilter, chunk_key};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::{HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

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

/// Where a chunk lies.
#[derive(Debug, Clone)]
pub struct Location {
    /// The pack.
    pub pack: Arc<PackRow>,
    /// Number of the block in it.
    pub block: u32,
    /// Offset of the chunk in the block's plain bytes.
    pub offset: u32,
    /// Length of the chunk in bytes.
    pub len: u32,
}

impl Location {
    /// What the chunk's block holds.
    pub fn kind(&self) -> Option<BlockKind> {
        self.pack.block(self.block).map(|block| block.kind)
    }
}

/// One pack as the catalog knows it.
#[derive(Debug)]
pub struct PackRow {
    /// Number in this catalog.
    pub number: i64,
    /// The pack.
    pub id: PackId,
    /// Its size in bytes.
    pub bytes: u64,
    /// What it holds.
    pub table: ChunkTable,
    /// Number of each chunk's block.
    chunk_blocks: Vec<u32>,
}

impl PackRow {
    /// A row of that number.
    pub(in crate::vault) fn new(number: i64, id: PackId, bytes: u64, table: ChunkTable) -> Self {
        let numbered = (0u32..).zip(&table.blocks);
        let chunk_blocks =
            numbered.flat_map(|(number, block)| std::iter::repeat_n(number, block.chunks as usize)).collect();
        Self { number, id, bytes, table, chunk_blocks }
    }

    /// The block with that number.
    pub fn block(&self, number: u32) -> Option<&BlockEntry> {
        self.table.blocks.get(number as usize)
    }

    /// Number of the block that holds chunk `at`.
    pub fn block_of(&self, at: usize) -> u32 {
        self.chunk_blocks.get(at).copied().unwrap_or(u32::MAX)
    }

    /// Number of the chunk with that id and kind in the pack.
    fn find(&self, id: &[u8; 32], kind: BlockKind) -> Option<usize> {
        let mut fits = self.table.chunks.iter().enumerate().filter(|(_, (other, _))| other == id);
        fits.find(|(at, _)| self.is_kind(*at, kind)).map(|(at, _)| at)
    }

    /// Whether chunk `at` has that id and kind.
    pub fn holds_at(&self, at: usize, id: &[u8; 32], kind: BlockKind) -> bool {
        self.table.chunks.get(at).is_some_and(|(other, _)| other == id) && self.is_kind(at, kind)
    }

    fn is_kind(&self, at: usize, kind: BlockKind) -> bool {
        self.chunk_blocks
            .get(at)
            .and_then(|block| self.block(*block))
            .is_some_and(|block| block.kind.holds_like(kind))
    }

    fn location(self: &Arc<Self>, at: usize) -> Option<Location> {
        let block = *self.chunk_blocks.get(at)?;
        let entry = self.block(block)?;
        let before = self.table.chunks.get(entry.first_chunk as usize..at)?;
        let offset = before.iter().map(|(_, len)| len).sum();
        let (_, len) = *self.table.chunks.get(at)?;
        Some(Location { pack: Arc::clone(self), block, offset, len })
    }
}

/// Packs kept decoded: each some 20 to 80 KiB.
const ROWS_CACHED: usize = 128;

/// The open catalog of one repository. One thread at a time.
pub struct Catalog {
    connection: Connection,
    path: PathBuf,
    /// Random name of this file's life: a saved filter belongs to one.
    instance: [u8; 16],
    rows: VecDeque<Arc<PackRow>>,
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalog").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The path of a catalog that has no file.
/// No object that is larger is kept.
const KEPT_BYTES_MAX: usize = 4 << 20;
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

impl Catalog {
    /// Opens the catalog in `dir`, or makes an empty one where there is none, or one that is corrupt or of another repository.
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

    fn failed(&self) -> impl Fn(rusqlite::Error) -> CatalogError + use<> {
        let path = self.path.clone();
        move |source| classify(&path, source)
    }

    fn corrupt(&self, reason: &str) -> CatalogError {
        CatalogError::Corrupt { path: self.path.clone(), reason: reason.to_owned() }
    }

    /// The index objects taken in.
    ///
    /// # Errors
    /// When the catalog fails; so for all that follow.
    pub fn indexes(&self) -> Result<HashSet<IndexId>, CatalogError> {
        let failed = self.failed();
        let mut statement = self.connection.prepare_cached("SELECT id FROM indexes").map_err(&failed)?;
        let ids = statement.query_map([], |row| row.get::<_, Vec<u8>>(0)).map_err(&failed)?;
        let mut indexes = HashSet::new();
        for id in ids {
            let id = IndexId::from_slice(&id.map_err(&failed)?);
            indexes.insert(id.ok_or_else(|| self.corrupt("an index id of another length"))?);
        }
        Ok(indexes)
    }

    /// Takes in an index object and its packs, or packs that no index names yet (`index` is `None`). What is known stays; `voucher` is the
    /// author that says what the packs hold. A pack of which two sources say different things is *disputed* from then on.
    pub fn add_packs(
        &mut self,
        index: Option<&IndexId>,
        voucher: Option<&AuthorId>,
        packs: &[IndexedPack],
    ) -> Result<(), CatalogError> {
        let failed = self.failed();
        let encode_failed = self.corrupt("a chunk table that cannot be encoded");
        let transaction = self
            .connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .map_err(&failed)?;
        {
            let mut add_pack = transaction
                .prepare_cached(
                    "INSERT INTO packs (id, bytes, indexed, chunk_table, checksum) VALUES (?, ?, ?, ?, ?)
                     ON CONFLICT (id) DO UPDATE SET indexed = max(indexed, excluded.indexed)
                     RETURNING number, checksum",
                )
                .map_err(&failed)?;
            let mut vouch = transaction
                .prepare_cached("INSERT OR IGNORE INTO vouchers VALUES (?, ?)")
                .map_err(&failed)?;
            let mut dispute =
                transaction.prepare_cached("INSERT OR IGNORE INTO disputed VALUES (?)").map_err(&failed)?;
            let mut add_key = transaction
                .prepare_cached("INSERT OR IGNORE INTO chunk_keys VALUES (?, ?)")
                .map_err(&failed)?;
            let mut keys = Vec::new();
            for pack in packs {
                let Ok(table) = pack.table.encode() else { return Err(encode_failed) };
                let checksum = row_checksum(&pack.id, pack.bytes, &table);
                let (number, known): (i64, Vec<u8>) = add_pack
                    .query_row(
                        params![pack.id.as_bytes(), pack.bytes as i64, index.is_some(), table, checksum],
                        |row| Ok((row.get(0)?, row.get(1)?)),
                    )
                    .map_err(&failed)?;
                if known != checksum {
                    dispute.execute([number]).map_err(&failed)?;
                    continue;
                }
                if let Some(author) = voucher {
                    vouch.execute(params![number, author.as_bytes()]).map_err(&failed)?;
                }
                keys.extend(pack.table.chunks.iter().map(|(id, _)| (chunk_key(id).cast_signed(), number)));
            }
            // In order the B-tree is filled several times faster.
            keys.sort_unstable();
            keys.dedup();
            for (key, number) in keys {
                add_key.execute(params![key, number]).map_err(&failed)?;
            }
            if let Some(index) = index {
                transaction
                    .execute("INSERT OR IGNORE INTO indexes VALUES (?)", params![index.as_bytes()])
                    .map_err(&failed)?;
            }
        }
        transaction.commit().map_err(&failed)
    }

    /// What a pack's own table says, in the place of what was known of it. Who vouched for anything else does not vouch for this.
    pub fn settle_pack(&mut self, pack: &IndexedPack) -> Result<(), CatalogError> {
        let failed = self.failed();
        let table = pack.table.encode().map_err(|_| self.corrupt("a chunk table that cannot be encoded"))?;
        let checksum = row_checksum(&pack.id, pack.bytes, &table);
        let known: Option<(i64, Vec<u8>, bool)> = self
            .connection
            .query_row(
                "SELECT number, checksum, indexed FROM packs WHERE id = ?",
                [pack.id.as_bytes()],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )
            .optional()
            .map_err(&failed)?;
        match known {
            Some((number, known, _)) if known == checksum => self
                .connection
                .execute("DELETE FROM disputed WHERE pack = ?", [number])
                .map(|_| ())
                .map_err(failed),
            Some((_, _, indexed)) => {
                self.remove_packs(&HashSet::from([pack.id]))?;
                self.add_packs(None, None, std::slice::from_ref(pack))?;
                self.connection
                    .execute(
                        "UPDATE packs SET indexed = ? WHERE id = ?",
                        params![indexed, pack.id.as_bytes()],
                    )
                    .map(|_| ())
                    .map_err(failed)
            }
            None => self.add_packs(None, None, std::slice::from_ref(pack)),
        }
    }

    /// Authors that vouch for what each pack holds, by the pack's number.
    pub fn vouchers(&self) -> Result<HashMap<i64, Vec<AuthorId>>, CatalogError> {
        let failed = self.failed();
        let mut statement =
            self.connection.prepare_cached("SELECT pack, author FROM vouchers").map_err(&failed)?;
        let rows = statement
            .query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)))
            .map_err(&failed)?;
        let mut vouchers: HashMap<i64, Vec<AuthorId>> = HashMap::new();
        for row in rows {
            let (pack, author) = row.map_err(&failed)?;
            let author = AuthorId::from_slice(&author);
            let author = author.ok_or_else(|| self.corrupt("an author's id of another length"))?;
            vouchers.entry(pack).or_default().push(author);
        }
        Ok(vouchers)
    }

    /// Numbers of packs of which index objects say different things.
    pub fn disputed(&self) -> Result<HashSet<i64>, CatalogError> {
        let failed = self.failed();
        let mut statement = self.connection.prepare_cached("SELECT pack FROM disputed").map_err(&failed)?;
        let rows = statement.query_map([], |row| row.get(0)).map_err(&failed)?;
        rows.collect::<Result<HashSet<i64>, _>>().map_err(failed)
    }

    /// Whether the object's signature was checked before. A catalog that cannot tell has not seen it.
    pub fn is_signed(&self, id: &[u8; 32]) -> bool {
        let statement = self.connection.prepare_cached("SELECT 1 FROM signed WHERE id = ?");
        statement.and_then(|mut statement| statement.exists([id])).unwrap_or(false)
    }

    /// Remembers that the object's signature was checked.
    pub fn note_signed(&mut self, id: &[u8; 32]) {
        let added = self.connection.execute("INSERT OR IGNORE INTO signed VALUES (?)", [id]);
        if let Err(error) = added {
            tracing::debug!("the catalog does not remember a signature: {error}");
        }
    }

    /// Index objects that counted for nothing under the same statements and epochs.
    pub fn foreign_indexes(&self, fingerprint: &[u8; 32]) -> Result<HashSet<IndexId>, CatalogError> {
        let failed = self.failed();
        let mut statement = self
            .connection
            .prepare_cached("SELECT id FROM foreign_indexes WHERE fingerprint = ?")
            .map_err(&failed)?;
        let ids = statement.query_map([fingerprint], |row| row.get::<_, Vec<u8>>(0)).map_err(&failed)?;
        let ids = ids.map(|id| Ok(IndexId::from_slice(&id?))).collect::<rusqlite::Result<Vec<_>>>();
        Ok(ids.map_err(failed)?.into_iter().flatten().collect())
    }

    /// Remembers an index object that counts for nothing.
    pub fn note_foreign_index(&mut self, id: &IndexId, fingerprint: &[u8; 32]) -> Result<(), CatalogError> {
        self.connection
            .execute(
                "INSERT OR REPLACE INTO foreign_indexes VALUES (?, ?)",
                params![id.as_bytes(), fingerprint],
            )
            .map(|_| ())
            .map_err(self.failed())
    }

    /// An index object now names these packs, which are known already.
    pub fn set_indexed(
        &mut self,
        index: &IndexId,
        voucher: &AuthorId,
        packs: &[PackId],
    ) -> Result<(), CatalogError> {
        let failed = self.failed();
        let transaction = self
            .connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .map_err(&failed)?;
        for pack in packs {
            transaction
                .execute("UPDATE packs SET indexed = 1 WHERE id = ?", [pack.as_bytes()])
                .map_err(&failed)?;
            transaction
                .execute(
                    "INSERT OR IGNORE INTO vouchers SELECT number, ? FROM packs WHERE id = ?",
                    params![voucher.as_bytes(), pack.as_bytes()],
                )
                .map_err(&failed)?;
        }
        transaction
            .execute("INSERT OR IGNORE INTO indexes VALUES (?)", [index.as_bytes()])
            .map_err(&failed)?;
        transaction.commit().map_err(&failed)
    }

    /// Forgets that these index objects were taken in. What they said stays.
    pub fn remove_indexes(&mut self, indexes: &[IndexId]) -> Result<(), CatalogError> {
        let failed = self.failed();
        let transaction = self
            .connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .map_err(&failed)?;
        for index in indexes {
            transaction.execute("DELETE FROM indexes WHERE id = ?", [index.as_bytes()]).map_err(&failed)?;
        }
        transaction.commit().map_err(&failed)
    }

    /// Forgets packs that are there no more.
    pub fn remove_packs(&mut self, packs: &HashSet<PackId>) -> Result<(), CatalogError> {
        let failed = self.failed();
        let gone: Vec<KnownPack> =
            self.packs()?.into_iter().filter(|pack| packs.contains(&pack.id)).collect();
        for pack in gone {
            let row = self.pack(pack.number)?;
            let transaction = self
                .connection
                .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
                .map_err(&failed)?;
            {
                let mut remove_key = transaction
                    .prepare_cached("DELETE FROM chunk_keys WHERE key = ? AND pack = ?")
                    .map_err(&failed)?;
                for (id, _) in &row.table.chunks {
                    let key = chunk_key(id).cast_signed();
                    remove_key.execute(params![key, pack.number]).map_err(&failed)?;
                }
                transaction.execute("DELETE FROM packs WHERE number = ?", [pack.number]).map_err(&failed)?;
                for table in ["vouchers", "disputed"] {
                    transaction
                        .execute(&format!("DELETE FROM {table} WHERE pack = ?"), [pack.number])
                        .map_err(&failed)?;
                }
            }
            transaction.commit().map_err(&failed)?;
        }
        self.rows.retain(|row| !packs.contains(&row.id));
        Ok(())
    }

    /// Says something else of a pack that is known: what its own table says.
    pub fn replace_pack(&mut self, pack: &IndexedPack) -> Result<(), CatalogError> {
        let failed = self.failed();
        let Ok(table) = pack.table.encode() else {
            return Err(self.corrupt("a chunk table that cannot be encoded"));
        };
        let checksum = row_checksum(&pack.id, pack.bytes, &table);
        let transaction = self
            .connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .map_err(&failed)?;
        let number: i64 = transaction
            .query_row(
                "UPDATE packs SET bytes = ?, chunk_table = ?, checksum = ? WHERE id = ? RETURNING number",
                params![pack.bytes as i64, table, checksum, pack.id.as_bytes()],
                |row| row.get(0),
            )
            .map_err(&failed)?;
        {
            // Keys of what it does not hold after all stay: whoever is led here by one looks into the table.
            let mut add_key = transaction
                .prepare_cached("INSERT OR IGNORE INTO chunk_keys VALUES (?, ?)")
                .map_err(&failed)?;
            for (id, _) in &pack.table.chunks {
                add_key.execute(params![chunk_key(id).cast_signed(), number]).map_err(&failed)?;
            }
        }
        transaction.commit().map_err(&failed)?;
        self.rows.retain(|row| row.id != pack.id);
        Ok(())
    }

    /// Number, id and size of every pack known, and whether an index object names it.
    pub fn packs(&self) -> Result<Vec<KnownPack>, CatalogError> {
        let failed = self.failed();
        let mut statement = self
            .connection
            .prepare_cached("SELECT number, id, bytes, indexed FROM packs")
            .map_err(&failed)?;
        let rows = statement
            .query_map([], |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get::<_, Vec<u8>>(1)?,
                    row.get::<_, i64>(2)?,
                    row.get::<_, bool>(3)?,
                ))
            })
            .map_err(&failed)?;
        let mut packs = Vec::new();
        for row in rows {
            let (number, id, bytes, indexed) = row.map_err(&failed)?;
            let id = PackId::from_slice(&id).ok_or_else(|| self.corrupt("a pack id of another length"))?;
            packs.push(KnownPack { number, id, bytes: bytes.cast_unsigned(), indexed });
        }
        Ok(packs)
    }

    /// The pack with that number.
    pub fn pack(&mut self, number: i64) -> Result<Arc<PackRow>, CatalogError> {
        if let Some(at) = self.rows.iter().position(|row| row.number == number)
            && let Some(row) = self.rows.remove(at)
        {
            self.rows.push_front(Arc::clone(&row));
            return Ok(row);
        }
        let failed = self.failed();
        let mut statement = self
            .connection
            .prepare_cached("SELECT id, bytes, chunk_table, checksum FROM packs WHERE number = ?")
            .map_err(&failed)?;
        type Row = (Vec<u8>, i64, Vec<u8>, Vec<u8>);
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
        let found: Option<Row> = statement.query_row([number], read).optional().map_err(&failed)?;
        let (id, bytes, table, checksum) =
            found.ok_or_else(|| self.corrupt("a chunk in a pack that is not there"))?;
        let id = PackId::from_slice(&id).ok_or_else(|| self.corrupt("a pack id of another length"))?;
        let bytes = bytes.cast_unsigned();
        if checksum != row_checksum(&id, bytes, &table) {
            return Err(self.corrupt("a pack's row does not have its checksum"));
        }
        let table = ChunkTable::decode(&table).map_err(|error| self.corrupt(&error.to_string()))?;
        let row = Arc::new(PackRow::new(number, id, bytes, table));
        self.rows.push_front(Arc::clone(&row));
        self.rows.truncate(ROWS_CACHED);
        Ok(row)
    }

    /// Every place that holds the chunk (or recipe node), the newest first.
    pub fn locate(&mut self, id: &[u8; 32], kind: BlockKind) -> Result<Vec<Location>, CatalogError> {
        let mut locations = Vec::new();
        for number in self.packs_with(id)? {
            let row = self.pack(number)?;
            locations.extend(row.find(id, kind).and_then(|at| row.location(at)));
        }
        Ok(locations)
    }

    /// The packs that hold the chunk and are `usable`, and the chunk's number there; the first found.
    pub fn find(
        &mut self,
        id: &[u8; 32],
        kind: BlockKind,
        usable: impl Fn(i64) -> bool,
    ) -> Result<Found, CatalogError> {
        let mut unusable = false;
        for number in self.packs_with(id)? {
            let row = self.pack(number)?;
            match row.find(id, kind) {
                Some(at) if usable(number) => return Ok(Found::At(row, at)),
                Some(_) => unusable = true,
                None => {}
            }
        }
        Ok(if unusable { Found::OnlyUnusable } else { Found::Nowhere })
    }

    fn packs_with(&self, id: &[u8; 32]) -> Result<Vec<i64>, CatalogError> {
        let failed = self.failed();
        let mut statement = self
            .connection
            .prepare_cached("SELECT pack FROM chunk_keys WHERE key = ? ORDER BY pack DESC LIMIT 256")
            .map_err(&failed)?;
        let rows = statement.query_map([chunk_key(id).cast_signed()], |row| row.get(0)).map_err(&failed)?;
        rows.collect::<Result<Vec<i64>, _>>().map_err(failed)
    }

    /// A small object kept from an earlier read.
    pub fn object(&self, key: &str) -> Result<Option<Vec<u8>>, CatalogError> {
        let failed = self.failed();
        let mut statement =
            self.connection.prepare_cached("SELECT bytes FROM objects WHERE key = ?").map_err(&failed)?;
        statement.query_row([key], |row| row.get(0)).optional().map_err(failed)
    }

    /// Keeps a small object. One that is not small is read again where it lies: a snapshot of a million tables has 25 MB.
    pub fn keep_object(&mut self, key: &str, bytes: &[u8]) -> Result<(), CatalogError> {
        if bytes.len() > KEPT_BYTES_MAX {
            return Ok(());
        }
        self.connection
            .execute("INSERT OR REPLACE INTO objects VALUES (?, ?)", params![key, bytes])
            .map(|_| ())
            .map_err(self.failed())
    }

    /// Number of chunks known, duplicates in several packs counted each.
    pub fn chunk_count(&self) -> Result<u64, CatalogError> {
        self.connection
            .query_row("SELECT count(*) FROM chunk_keys", [], |row| row.get::<_, i64>(0))
            .map(i64::cast_unsigned)
            .map_err(self.failed())
    }

    /// The filter over all chunks known: loaded from beside the catalog where it fits, else built anew.
    pub fn filter(&mut self) -> Result<ChunkFilter, CatalogError> {
        let failed = self.failed();
        let newest: i64 = self
            .connection
            .query_row("SELECT coalesce(max(number), 0) FROM packs", [], |row| row.get(0))
            .map_err(&failed)?;
        if let Some((mut filter, until)) = self.load_filter()
            && until <= newest
        {
            for number in until + 1..=newest {
                let known: Option<i64> = self
                    .connection
                    .query_row("SELECT number FROM packs WHERE number = ?", [number], |row| row.get(0))
                    .optional()
                    .map_err(&failed)?;
                if known.is_some() {
                    self.pack(number)?.table.chunks.iter().for_each(|(id, _)| filter.insert(chunk_key(id)));
                }
            }
            return Ok(filter);
        }
        let mut filter = ChunkFilter::default();
        let mut statement = self.connection.prepare("SELECT key FROM chunk_keys").map_err(&failed)?;
        let mut rows = statement.query([]).map_err(&failed)?;
        while let Some(row) = rows.next().map_err(&failed)? {
            filter.insert(row.get::<_, i64>(0).map_err(&failed)?.cast_unsigned());
        }
        Ok(filter)
    }

    fn filter_path(&self) -> PathBuf {
        self.path.with_file_name("chunks.filter")
    }

    /// A saved filter and the newest pack in it; `None` when there is none, or not one of this catalog.
    fn load_filter(&self) -> Option<(ChunkFilter, i64)> {
        if self.path == Path::new(":memory:") {
            return None;
        }
        let bytes = std::fs::read(self.filter_path()).ok()?;
        let (checksum, rest) = bytes.split_first_chunk::<32>()?;
        if blake3::hash(rest) != *checksum {
            return None;
        }
        let (instance, rest) = rest.split_first_chunk::<16>()?;
        let (until, rest) = rest.split_first_chunk::<8>()?;
        if *instance != self.instance {
            return None;
        }
        Some((ChunkFilter::load(rest)?, i64::from_le_bytes(*until)))
    }

    /// Saves the filter, which must hold all chunks known, beside the catalog.
    pub fn save_filter(&self, filter: &ChunkFilter) -> Result<(), CatalogError> {
        if self.path == Path::new(":memory:") {
            return Ok(());
        }
        let newest: i64 = self
            .connection
            .query_row("SELECT coalesce(max(number), 0) FROM packs", [], |row| row.get(0))
            .map_err(self.failed())?;
        let path = self.filter_path();
        let write = || {
            use std::io::{Seek, Write};
            let mut unfinished = Unfinished::beside(&path)?;
            let mut file = std::io::BufWriter::new(unfinished.file());
            let mut hasher = blake3::Hasher::new();
            file.write_all(&[0; 32])?;
            let mut put = |part: &[u8]| {
                hasher.update(part);
                file.write_all(part)
            };
            put(&self.instance)?;
            put(&newest.to_le_bytes())?;
            filter.save(&mut put)?;
            file.rewind()?;
            file.write_all(hasher.finalize().as_bytes())?;
            file.flush()?;
            drop(file);
            unfinished.finish_unsynced(&path)
        };
        write().map_err(|source| CatalogError::Io { path: path.clone(), source })
    }
}

/// A pack in the catalog's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownPack {
    /// Number in this catalog.
    pub number: i64,
    /// The pack.
    pub id: PackId,
    /// Size that it should have, in bytes.
    pub bytes: u64,
    /// Whether an index object names it.
    pub indexed: bool,
}

/// Where [`Catalog::find`] found a chunk.
#[derive(Debug)]
pub enum Found {
    /// In this pack, as the chunk of this number.
    At(Arc<PackRow>, usize),
    /// Only in packs that must not be relied on.
    OnlyUnusable,
    /// Nowhere.
    Nowhere,
}

fn row_checksum(id: &PackId, bytes: u64, table: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(id.as_bytes()).update(&bytes.to_le_bytes()).update(table);
    *hasher.finalize().as_bytes()
}

fn classify(path: &Path, source: rusqlite::Error) -> CatalogError {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::codec::Codec;
    use crate::vault::format::index::Naming;

    const REPO: RepoId = RepoId::from_bytes([1; 16]);

    fn id(n: u32) -> [u8; 32] {
        *blake3::hash(&n.to_le_bytes()).as_bytes()
    }

    fn pack(n: u8, chunks: std::ops::Range<u32>) -> IndexedPack {
        let mut table = ChunkTable::default();
        for chunk in chunks {
            table.push(Naming::first(BlockKind::Data), Codec::Raw, 100, &[(id(chunk), 84)]);
        }
        IndexedPack { id: PackId::from_bytes([n; 32]), bytes: 65536, table }
    }

    #[test]
    fn packs_are_found_by_chunk_and_adding_twice_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut catalog = Catalog::open(dir.path(), &REPO, [0; 16]).unwrap();
        let index = IndexId::from_bytes([7; 32]);
        for _ in 0..2 {
            catalog.add_packs(None, None, &[pack(1, 0..10)]).unwrap();
            catalog.add_packs(Some(&index), None, &[pack(1, 0..10), pack(2, 5..20)]).unwrap();
        }
        assert_eq!(catalog.packs().unwrap().iter().filter(|pack| pack.indexed).count(), 2);
        assert_eq!(catalog.locate(&id(7), BlockKind::Data).unwrap().len(), 2);
        assert_eq!(catalog.locate(&id(7), BlockKind::Recipe).unwrap().len(), 0);
        assert_eq!(catalog.locate(&id(99), BlockKind::Data).unwrap().len(), 0);
        let newest = catalog.packs().unwrap().iter().map(|pack| pack.number).max().unwrap();
        assert!(matches!(catalog.find(&id(3), BlockKind::Data, |_| true).unwrap(), Found::At(_, 3)));
        assert!(matches!(
            catalog.find(&id(15), BlockKind::Data, |n| n != newest).unwrap(),
            Found::OnlyUnusable
        ));
        assert!(matches!(catalog.find(&id(7), BlockKind::Data, |n| n != newest).unwrap(), Found::At(_, 7)));
    }

    #[test]
    fn a_saved_filter_serves_its_own_catalog_only_and_learns_newer_packs() {
        let dir = tempfile::tempdir().unwrap();
        let mut catalog = Catalog::open(dir.path(), &REPO, [0; 16]).unwrap();
        catalog.add_packs(None, None, &[pack(1, 0..10)]).unwrap();
        let filter = catalog.filter().unwrap();
        catalog.save_filter(&filter).unwrap();
        catalog.add_packs(None, None, &[pack(2, 10..20)]).unwrap();
        assert!(catalog.load_filter().is_some());
        let filter = catalog.filter().unwrap();
        assert!((0..20).all(|n| filter.may_contain(chunk_key(&id(n)))));

        let mut bytes = std::fs::read(catalog.filter_path()).unwrap();
        bytes[100] ^= 1;
        std::fs::write(catalog.filter_path(), &bytes).unwrap();
        assert!(catalog.load_filter().is_none(), "a flipped bit");
        assert!((0..20).all(|n| catalog.filter().unwrap().may_contain(chunk_key(&id(n)))));
    }

    #[test]
    fn a_foreign_cut_or_random_file_is_replaced_by_an_empty_catalog() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog.sqlite");
        let fill = |repo: &RepoId| {
            let mut catalog = Catalog::open(dir.path(), repo, [0; 16]).unwrap();
            catalog.add_packs(None, None, &[pack(1, 0..2000)]).unwrap();
            assert_eq!(catalog.packs().unwrap().len(), 1);
        };
        fill(&RepoId::from_bytes([2; 16]));
        assert_eq!(Catalog::open(dir.path(), &REPO, [0; 16]).unwrap().packs().unwrap(), []);
        fill(&REPO);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let reopened = Catalog::open(dir.path(), &REPO, [0; 16]).and_then(|catalog| catalog.packs());
        assert!(matches!(reopened, Ok(_) | Err(CatalogError::Corrupt { .. })), "{reopened:?}");
        std::fs::write(&path, vec![0xa5; 100_000]).unwrap();
        assert_eq!(Catalog::open(dir.path(), &REPO, [0; 16]).unwrap().packs().unwrap(), []);
    }

    #[test]
    fn a_row_that_was_tampered_with_is_corrupt_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let mut catalog = Catalog::open(dir.path(), &REPO, [0; 16]).unwrap();
        catalog.add_packs(None, None, &[pack(1, 0..10)]).unwrap();
        catalog.connection.execute("UPDATE packs SET bytes = 131072", []).unwrap();
        assert!(matches!(catalog.locate(&id(1), BlockKind::Data), Err(CatalogError::Corrupt { .. })));
    }
}
