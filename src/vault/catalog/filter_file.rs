//! The filter of the catalog's chunks, kept in a file beside it.

use super::filter::{ChunkFilter, chunk_key};
use super::{Catalog, CatalogError};
use crate::base::unfinished::Unfinished;
use rusqlite::OptionalExtension as _;
use std::path::PathBuf;

impl Catalog {
    /// The filter over all chunks known, and the number of the newest pack up to which it surely holds all: loaded from
    /// beside the catalog where it fits, else built anew.
    pub fn filter(&mut self) -> Result<(ChunkFilter, i64), CatalogError> {
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
            return Ok((filter, newest));
        }
        let mut filter = ChunkFilter::default();
        let mut statement = self.connection.prepare("SELECT key FROM chunk_keys").map_err(&failed)?;
        let mut rows = statement.query([]).map_err(&failed)?;
        while let Some(row) = rows.next().map_err(&failed)? {
            filter.insert(row.get::<_, i64>(0).map_err(&failed)?.cast_unsigned());
        }
        Ok((filter, newest))
    }

    pub(super) fn filter_path(&self) -> PathBuf {
        self.path.with_file_name("chunks.filter")
    }

    /// A saved filter and the newest pack in it; `None` when there is none, or not one of this catalog.
    pub(super) fn load_filter(&self) -> Option<(ChunkFilter, i64)> {
        if !self.is_on_disk() {
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

    /// Saves the filter, which holds all chunks of packs up to number `until`, beside the catalog. Others may have
    /// added packs since it was loaded: whoever loads it adds those behind `until`.
    pub fn save_filter(&self, filter: &ChunkFilter, until: i64) -> Result<(), CatalogError> {
        if !self.is_on_disk() {
            return Ok(());
        }
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
            put(&until.to_le_bytes())?;
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
