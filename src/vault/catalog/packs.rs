//! Packs that are taken in, settled, replaced and removed, and who says what they hold.

use super::filter::chunk_key;
use super::row::row_checksum;
use super::{Catalog, CatalogError};
use crate::base::id::{AuthorId, IndexId, PackId};
use crate::vault::format::index::IndexedPack;
use rusqlite::{OptionalExtension as _, params};
use std::collections::{HashMap, HashSet};

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

impl Catalog {
    /// Takes in an index object and its packs, or packs that no index names yet (`index` is `None`). What is known
    /// stays; `voucher` is the author that says what the packs hold. A pack of which two sources say different things
    /// is *disputed* from then on.
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

    /// What a pack's own table says, in the place of what was known of it. Who vouched for anything else does not vouch
    /// for this.
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
}
