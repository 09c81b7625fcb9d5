//! Damaged packs: what still opens in them is copied into new packs, what does not is told, and the packs stay where
//! they are.

use super::Repairer;
use crate::base::event::{Cancel, Event, Observer};
use crate::base::id::{IndexId, PackId};
use crate::vault::catalog::{Catalog, Found, PackRow};
use crate::vault::check::{Damage, Depth, broken_blocks};
use crate::vault::format::index::Index;
use crate::vault::reader::{BlockReader, Workspace};
use crate::vault::repack::Repacker;
use crate::vault::sync::Presence;
use crate::vault::{RepoError, pack_key};
use std::collections::{HashMap, HashSet};

/// A pack that is damaged, and stays so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// The pack.
    pub pack: PackId,
    /// What is wrong with it.
    pub what: String,
    /// Its blocks.
    pub blocks: u64,
    /// Those that do not open.
    pub blocks_broken: u64,
    /// Chunks and recipe nodes in these that no other pack holds.
    pub chunks_lost: u64,
}

/// What bringing damaged packs to safety came to.
#[derive(Debug, Default)]
pub struct PacksRepair {
    /// Packs that were marked as damaged and are whole: they are marked no more.
    pub recovered: Vec<PackId>,
    /// Packs that are damaged.
    pub set_aside: Vec<SetAside>,
    /// Packs that are not there. Only a copy of the repository, or a new backup, brings back what they held.
    pub missing: Vec<PackId>,
    /// Packs of which nothing says what they hold.
    pub unexplained: Vec<Damage>,
    /// Chunks and recipe nodes that were copied.
    pub chunks_salvaged: u64,
    /// Packs written with them.
    pub packs_written: u64,
    /// Bytes of those packs.
    pub bytes_written: u64,
}

impl PacksRepair {
    /// Whether nothing is lost for good.
    pub fn is_whole(&self) -> bool {
        self.missing.is_empty() && self.set_aside.iter().all(|pack| pack.chunks_lost == 0)
    }
}

impl Repairer<'_> {
    /// Looks at every pack that is known to be damaged (marked, or of another size than it should have). One that is
    /// whole is so no more; what opens of the others, and is nowhere else, is copied into new packs.
    ///
    /// # Errors
    /// When the storage fails or a prune is under way.
    pub fn repair_packs(
        &self,
        host: &str,
        now_ms: i64,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<PacksRepair, RepoError> {
        self.packs(Some((host, now_ms)), observer, cancel)
    }

    /// What [`Repairer::repair_packs`] would come to. The packs are read; nothing is put. How many packs it would write
    /// is not known then.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn foresee_packs(&self, observer: &dyn Observer, cancel: &Cancel) -> Result<PacksRepair, RepoError> {
        self.packs(None, observer, cancel)
    }

    /// Without a host and a time it is only looked at.
    fn packs(
        &self,
        at: Option<(&str, i64)>,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<PacksRepair, RepoError> {
        self.require_full_key()?;
        let _session = at.map(|(_, now_ms)| self.repo.begin_beside_backups(now_ms)).transpose()?;
        let (mut catalog, history, mut presence) = self.repo.synced(observer)?;
        // What a prune will delete holds nothing for good.
        let (plans, unreadable) = self.repo.plans()?;
        for error in unreadable {
            tracing::debug!("{error}");
        }
        crate::vault::sync::heed_plans(&plans, &catalog, &mut presence)?;
        let listed = self.repo.list_packs()?;
        let unexplained = presence.unexplained.iter();
        let mut repair = PacksRepair {
            unexplained: unexplained
                .map(|(id, what)| Damage { object: pack_key(id), what: what.clone() })
                .collect(),
            ..PacksRepair::default()
        };
        let blocks = BlockReader::new(self.repo);
        let mut bad: Vec<(i64, PackId, String)> = Vec::new();
        for (number, (id, reason)) in presence.unusable.clone() {
            if cancel.is_cancelled() {
                return Err(RepoError::Cancelled);
            }
            observer.observe(Event::Step { what: format!("reading pack {}", id.short()) });
            if !listed.contains_key(&id) {
                repair.missing.push(id);
                continue;
            }
            let row = catalog.pack(number)?;
            match self.repo.checker().check_pack(&row, &blocks) {
                Ok(Depth::Opened) => {
                    if let Some((host, now_ms)) = at {
                        self.repo.marks().clear_damaged(&id, host, now_ms)?;
                    }
                    presence.unusable.remove(&number);
                    repair.recovered.push(id);
                }
                // The bytes are those that were put; what an index object says of them is not all that they should
                // hold.
                Ok(Depth::Hash) => bad.push((number, id, reason)),
                Err(error) if error.is_integrity() => bad.push((number, id, reason)),
                Err(error) => return Err(error),
            }
        }
        bad.sort_by_key(|(_, id, _)| *id);
        let repacker = at.map(|_| Repacker::new(self.repo));
        let salvage = Salvage {
            catalog: &mut catalog,
            presence: &presence,
            blocks: &blocks,
            repacker,
            copied: HashSet::new(),
        };
        self.salvage(salvage, &bad, cancel, &mut repair)?;
        if let Some((host, now_ms)) = at {
            for pack in &repair.set_aside {
                if !history.damaged_packs.contains_key(&pack.pack) {
                    self.repo.marks().mark_damaged(&pack.pack, &pack.what, host, now_ms)?;
                }
            }
        }
        repair.recovered.sort();
        repair.missing.sort();
        Ok(repair)
    }

    fn salvage(
        &self,
        mut salvage: Salvage<'_>,
        bad: &[(i64, PackId, String)],
        cancel: &Cancel,
        repair: &mut PacksRepair,
    ) -> Result<(), RepoError> {
        let mut lost = HashMap::new();
        for (number, id, what) in bad {
            if cancel.is_cancelled() {
                return Err(RepoError::Cancelled);
            }
            let row = salvage.catalog.pack(*number)?;
            let broken = broken_blocks(salvage.blocks, &row)?;
            lost.insert(*id, salvage.take(&row, &broken)?);
            repair.set_aside.push(SetAside {
                pack: *id,
                what: what.clone(),
                blocks: row.table.blocks.len() as u64,
                blocks_broken: broken.len() as u64,
                chunks_lost: 0,
            });
        }
        let Salvage { repacker, copied, .. } = salvage;
        // Two bad packs may each hold what the other has lost.
        for pack in &mut repair.set_aside {
            let lost = lost.remove(&pack.pack).unwrap_or_default();
            pack.chunks_lost = lost.iter().filter(|chunk| !copied.contains(*chunk)).count() as u64;
        }
        repair.chunks_salvaged = copied.len() as u64;
        let Some(repacker) = repacker else { return Ok(()) };
        let repacked = repacker.finish()?;
        repair.bytes_written = repacked.bytes;
        repair.packs_written = repacked.packs.len() as u64;
        if repacked.packs.is_empty() {
            return Ok(());
        }
        let index = Index { packs: repacked.packs, replaces: Vec::new() };
        let bytes = index.seal(self.repo.id, &self.repo.keys, self.repo.entropy.as_ref())?;
        self.repo.put_hashed::<IndexId>(&bytes).map(|_| ())
    }
}

/// A chunk or node: what tells it from all others.
type Chunk = (bool, [u8; 32]);

struct Salvage<'a> {
    catalog: &'a mut Catalog,
    presence: &'a Presence,
    blocks: &'a BlockReader,
    /// `None` where nothing is to be written.
    repacker: Option<Repacker<'a>>,
    copied: HashSet<Chunk>,
}

impl Salvage<'_> {
    /// Copies what opens and is nowhere else; what does not open and is nowhere else is the answer.
    fn take(&mut self, row: &PackRow, broken: &hashbrown::HashSet<u32>) -> Result<Vec<Chunk>, RepoError> {
        let Presence { unusable, condemned, .. } = self.presence;
        let is_usable = |number: i64| !unusable.contains_key(&number) && !condemned.contains_key(&number);
        let mut lost = Vec::new();
        let mut workspace = Workspace::default();
        for (number, block) in (0u32..).zip(&row.table.blocks) {
            let mut wanted = Vec::new();
            let mut offset = 0usize;
            for (at, (id, len)) in row.table.chunks_of(block).iter().enumerate() {
                let range = offset..offset + *len as usize;
                offset = range.end;
                let found = self.catalog.find(id, block.kind, is_usable)?;
                let chunk = (block.kind == crate::vault::format::index::BlockKind::Recipe, *id);
                if !matches!(found, Found::At(..)) && !self.copied.contains(&chunk) {
                    wanted.push((chunk, at, range));
                }
            }
            if broken.contains(&number) {
                lost.extend(wanted.into_iter().map(|(chunk, ..)| chunk));
                continue;
            }
            if wanted.is_empty() {
                continue;
            }
            let opened = self.blocks.open_whole(row, number, &mut workspace)?;
            let mut remains = Vec::new();
            for (chunk, at, range) in wanted {
                if let Some(bytes) = opened.plain.get(range)
                    && self.copied.insert(chunk)
                {
                    remains.push((chunk.1, opened.prefix(at), bytes));
                }
            }
            if let Some(repacker) = &mut self.repacker {
                repacker.add(block.naming(), &remains)?;
            }
        }
        Ok(lost)
    }
}
