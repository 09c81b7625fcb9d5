//! The index made anew: what every pack's own table says, in fresh index objects.

use super::Repairer;
use crate::base::event::{Cancel, Event, Observer};
use crate::base::id::{IndexId, PackId};
use crate::vault::catalog::{Catalog, Found};
use crate::vault::check::Damage;
use crate::vault::format::index::{Index, IndexedPack};
use crate::vault::gc::INDEX_CHUNKS;
use crate::vault::objects::{ObjectName, pack_key};
use crate::vault::reader::BlockReader;
use crate::vault::{RepoError, Repository};
use std::collections::{HashMap, HashSet};

/// What making the index anew came to.
#[derive(Debug, Default)]
pub struct IndexRepair {
    /// Packs that the index names now.
    pub packs: u64,
    /// Index objects before; they are gone.
    pub indexes_before: u64,
    /// Index objects now.
    pub indexes_written: u64,
    /// Packs whose own table cannot be read, and of which nothing else says what they hold. They are left alone.
    pub unexplained: Vec<Damage>,
    /// Packs that are not there, and that hold what no other pack does: the index goes on naming them.
    pub missing: Vec<PackId>,
    /// Packs that are not there, and that nobody can miss: the index names them no more.
    pub dropped: Vec<PackId>,
}

impl Repairer<'_> {
    /// Reads the chunk table of every pack and puts index objects that say the same, in the place of all there are.
    ///
    /// # Errors
    /// When the storage fails or a prune is under way. What was not finished shows as index objects too many, which do
    /// no harm.
    pub fn repair_index(
        &self,
        now_ms: i64,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<IndexRepair, RepoError> {
        self.index(Some(now_ms), observer, cancel)
    }

    /// What [`Repairer::repair_index`] would come to. Every pack's table is read; nothing is put or deleted.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn foresee_index(&self, observer: &dyn Observer, cancel: &Cancel) -> Result<IndexRepair, RepoError> {
        self.index(None, observer, cancel)
    }

    /// Without a time it is only looked at.
    fn index(
        &self,
        now_ms: Option<i64>,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<IndexRepair, RepoError> {
        self.require_full_key()?;
        let _session = now_ms.map(|now_ms| self.repo.begin_beside_backups(now_ms)).transpose()?;
        observer.observe(Event::Step { what: "reading pack tables".to_owned() });
        let old = self.repo.list_names::<IndexId>("index/")?;
        // What readable indexes say serves where a pack's own table does not.
        self.repo.drop_catalog()?;
        let (mut catalog, _, presence) = self.repo.synced(observer)?;
        // What only a newer program can read must not be replaced.
        self.repo.refuse_newer_indexes(&catalog.indexes()?, &mut Vec::new())?;
        let mut repair = IndexRepair { indexes_before: old.len() as u64, ..IndexRepair::default() };
        repair.unexplained = presence
            .unexplained
            .iter()
            .map(|(id, what)| Damage { object: pack_key(id), what: what.clone() })
            .collect();
        let listed = self.repo.list_packs()?;
        let mut writer = Writer::new(self.repo, now_ms.is_none());
        let mut unseen = HashSet::new();
        for pack in catalog.packs()? {
            if cancel.is_cancelled() {
                return Err(RepoError::Cancelled);
            }
            let Some(bytes) = listed.get(&pack.id) else { continue };
            let is_vouched = !presence.unvouched.contains(&pack.number);
            let own = match self.own_table(&pack.id, *bytes, is_vouched) {
                Ok(own) => own,
                // To name it would be to vouch for it.
                Err(error) if error.is_integrity() && !is_vouched => {
                    unseen.insert(pack.id);
                    let object = pack_key(&pack.id);
                    repair.unexplained.push(Damage { object, what: error.to_string() });
                    continue;
                }
                Err(error) if error.is_integrity() => {
                    let row = catalog.pack(pack.number)?;
                    IndexedPack { id: row.id, bytes: row.bytes, table: row.table.clone() }
                }
                Err(error) => return Err(error),
            };
            repair.packs += 1;
            writer.add(own)?;
        }
        for pack in missing(&mut catalog, &listed, &presence.unvouched, &mut repair)? {
            writer.add(pack)?;
        }
        let replaced = self.without_sole_witnesses(old, &unseen)?;
        repair.indexes_written = writer.finish(&replaced)?;
        if now_ms.is_none() {
            return Ok(repair);
        }
        for id in &replaced {
            self.repo.storage.delete(&id.key())?;
        }
        drop(catalog);
        self.repo.drop_catalog()?;
        self.repo.catalog(observer)?;
        Ok(repair)
    }

    /// What a pack says of itself. One that no full author vouches for is opened as a whole, unless a check has done
    /// so.
    fn own_table(&self, id: &PackId, bytes: u64, is_vouched: bool) -> Result<IndexedPack, RepoError> {
        if is_vouched || self.repo.checker().was_opened(id) {
            self.repo.read_pack_table(id, bytes)
        } else {
            BlockReader::open_pack(self.repo, id, bytes)
        }
    }

    /// The index objects without those that tell of packs in `unseen` whose own tables cannot be read: what is whole in
    /// such a pack is found by them alone.
    fn without_sole_witnesses(
        &self,
        mut indexes: Vec<IndexId>,
        unseen: &HashSet<PackId>,
    ) -> Result<Vec<IndexId>, RepoError> {
        if unseen.is_empty() {
            return Ok(indexes);
        }
        let listed = self.repo.list_packs()?;
        let mut silent = HashSet::new();
        for id in unseen {
            let Some(bytes) = listed.get(id) else { continue };
            match self.repo.read_pack_table(id, *bytes) {
                Err(error) if error.is_integrity() => {
                    silent.insert(*id);
                }
                outcome => drop(outcome?),
            }
        }
        let mut stay = HashSet::new();
        for id in &indexes {
            match self.repo.read_index(id) {
                Ok((Ok(_), index)) => {
                    let names = index.packs.iter().any(|pack| silent.contains(&pack.id));
                    if names && self.is_right_otherwise(&index, &silent, &listed)? {
                        stay.insert(*id);
                    }
                }
                Err(error) if !error.is_integrity() => return Err(error),
                _ => {}
            }
        }
        indexes.retain(|id| !stay.contains(id));
        Ok(indexes)
    }

    /// Whether an index object says of all packs that are there what they say themselves, those in `silent` left out.
    fn is_right_otherwise(
        &self,
        index: &Index,
        silent: &HashSet<PackId>,
        listed: &HashMap<PackId, u64>,
    ) -> Result<bool, RepoError> {
        for said in index.packs.iter().filter(|pack| !silent.contains(&pack.id)) {
            let Some(bytes) = listed.get(&said.id) else { continue };
            match self.repo.read_pack_table(&said.id, *bytes) {
                Ok(own) if own.table == said.table && *bytes == said.bytes => {}
                Ok(_) => return Ok(false),
                Err(error) if error.is_integrity() => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// Packs that are not there and must stay named, so that errors can name them.
fn missing(
    catalog: &mut Catalog,
    listed: &HashMap<PackId, u64>,
    unvouched: &HashSet<i64>,
    repair: &mut IndexRepair,
) -> Result<Vec<IndexedPack>, RepoError> {
    let packs = catalog.packs()?;
    let there: HashSet<i64> =
        packs.iter().filter(|pack| listed.contains_key(&pack.id)).map(|pack| pack.number).collect();
    let mut stay = Vec::new();
    for pack in packs.iter().filter(|pack| !there.contains(&pack.number)) {
        let row = catalog.pack(pack.number)?;
        let mut is_alone = false;
        for block in &row.table.blocks {
            for (id, _) in row.table.chunks_of(block) {
                let found = catalog.find(id, block.kind, |number| there.contains(&number))?;
                is_alone |= !matches!(found, Found::At(..));
            }
        }
        if is_alone && unvouched.contains(&pack.number) {
            // It may still come, and be another than was said: to name it would be to vouch for it.
            repair.missing.push(pack.id);
        } else if is_alone {
            repair.missing.push(pack.id);
            stay.push(IndexedPack { id: row.id, bytes: row.bytes, table: row.table.clone() });
        } else {
            repair.dropped.push(pack.id);
        }
    }
    Ok(stay)
}

/// Puts index objects one by one, so that memory holds one of them.
struct Writer<'a> {
    repo: &'a Repository,
    packs: Vec<IndexedPack>,
    chunks: usize,
    written: u64,
    /// Objects are counted and not put.
    is_dry: bool,
}

impl<'a> Writer<'a> {
    fn new(repo: &'a Repository, is_dry: bool) -> Self {
        Self { repo, packs: Vec::new(), chunks: 0, written: 0, is_dry }
    }

    fn add(&mut self, pack: IndexedPack) -> Result<(), RepoError> {
        if self.chunks >= INDEX_CHUNKS {
            self.put(&[])?;
        }
        self.chunks += pack.table.chunks.len();
        self.packs.push(pack);
        Ok(())
    }

    fn put(&mut self, replaces: &[IndexId]) -> Result<(), RepoError> {
        self.chunks = 0;
        self.written += 1;
        let index = Index { packs: std::mem::take(&mut self.packs), replaces: replaces.to_vec() };
        if self.is_dry {
            return Ok(());
        }
        let bytes = index.seal(self.repo.id, &self.repo.keys, self.repo.entropy.as_ref())?;
        self.repo.put_hashed::<IndexId>(&bytes).map(|_| ())
    }

    /// The last one says which are replaced: by then the others are there. How many were written.
    fn finish(mut self, replaces: &[IndexId]) -> Result<u64, RepoError> {
        if !self.packs.is_empty() || !replaces.is_empty() {
            self.put(replaces)?;
        }
        Ok(self.written)
    }
}
