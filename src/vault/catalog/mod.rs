//! The catalog: a local SQLite materialisation of what the repository's objects say.
//!
//! It may be lost, rolled back, corrupted or swapped at any time and is then rebuilt: nothing is true because the
//! catalog says so. What it says of a pack carries a checksum; that a pack is there is checked against a listing; what
//! it says of a chunk's place is checked when the block is opened.
//!
//! Tables: `packs` holds each pack's chunk table as one row, and `chunk_keys` finds the packs that hold a chunk by the
//! first 64 bits of its id. `indexes` names the index objects taken in. `objects` keeps small immutable objects as they
//! are stored.

mod file;
pub mod filter;
mod filter_file;
mod packs;
mod row;

pub use file::CatalogError;
pub use packs::KnownPack;
pub use row::{Location, PackRow};

use crate::base::id::{IndexId, PackId};
use crate::vault::format::index::{BlockKind, ChunkTable};
use file::classify;
use filter::chunk_key;
use row::row_checksum;
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

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

/// No object that is larger is kept.
const KEPT_BYTES_MAX: usize = 4 << 20;

impl Catalog {
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

    /// Keeps a small object. One that is not small is read again where it lies: a snapshot of a million tables has 25
    /// MB.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::RepoId;
    use crate::content::codec::Codec;
    use crate::vault::format::index::IndexedPack;
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
        let (filter, until) = catalog.filter().unwrap();
        // Another backup adds a pack before this one saves what it knows.
        catalog.add_packs(None, None, &[pack(2, 10..20)]).unwrap();
        catalog.save_filter(&filter, until).unwrap();
        assert!(catalog.load_filter().is_some());
        let (filter, _) = catalog.filter().unwrap();
        assert!((0..20).all(|n| filter.may_contain(chunk_key(&id(n)))));

        let mut bytes = std::fs::read(catalog.filter_path()).unwrap();
        bytes[100] ^= 1;
        std::fs::write(catalog.filter_path(), &bytes).unwrap();
        assert!(catalog.load_filter().is_none(), "a flipped bit");
        assert!((0..20).all(|n| catalog.filter().unwrap().0.may_contain(chunk_key(&id(n)))));
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
