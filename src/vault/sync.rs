//! Bringing the catalog up to what the storage holds.

use super::authors::{Foreign, Voucher};
use super::catalog::{Catalog, CatalogError};
use super::format::FormatError;
use super::format::index::{INDEX_BYTES_MAX, Index, IndexedPack};
use super::format::pack::{FOOTER_BYTES, FRONT_BYTES, Footer, PackOpener};
use super::history::{History, JUNK_TOLD};
use super::meanwhile::has_lost_any;
use super::objects::{fetch, name_in_key, pack_key};
use super::session::SeenPlan;
use super::{RepoError, Repository};
use crate::base::event::{Event, Observer};
use crate::base::id::{AuthorId, IndexId, PackId};
use crate::storage::{ErrorKind, StorageError};
use crate::vault::crypto::Role;
use std::collections::{HashMap, HashSet};

/// How the packs that the catalog knows compare with those that the storage lists.
#[derive(Debug, Default)]
pub struct Presence {
    /// Packs that are not there, or not with their size, or marked as damaged: by number, with the reason.
    pub unusable: HashMap<i64, (PackId, String)>,
    /// Packs that a prune will delete, by number: nothing new relies on them. They are no damage.
    pub condemned: HashMap<i64, PackId>,
    /// Packs of which nobody who is to be relied on says what they hold, by number: a chunk in one is known only once
    /// its block was opened.
    pub unvouched: HashSet<i64>,
    /// Packs listed that neither an index nor their own table explains, with the reason.
    pub unexplained: Vec<(PackId, String)>,
    /// Which index objects contradicted packs' own tables until now, in words.
    pub lies: Vec<String>,
    /// Packs are missing, and so are index objects: a prune ran since the catalog was brought up to date.
    is_overtaken: bool,
}

/// Why a pack cannot be used that is not there.
const MISSING: &str = "it is missing";
/// So often the catalog is brought up to date again, when prunes run at the same time.
const SYNCS: usize = 4;
/// Under which name the catalog keeps which closes its index objects were judged by.
const CLOSES: &str = "closes";

/// What lies in the storage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OnDisk {
    /// Bytes of all objects.
    pub bytes: u64,
    /// Packs.
    pub packs: u64,
    /// Their bytes: each is padded.
    pub pack_bytes: u64,
}

/// Whether bytes that do not open were never ours, and not damaged or those of a newer program.
pub(super) fn is_foreign(error: &FormatError) -> bool {
    !matches!(error, FormatError::WrongHash) && !error.is_newer()
}

/// Takes away what prunes will delete.
pub(super) fn heed_plans(
    plans: &[SeenPlan],
    catalog: &Catalog,
    presence: &mut Presence,
) -> Result<(), RepoError> {
    let condemned = super::session::condemned(plans);
    for pack in catalog.packs()? {
        if !presence.unusable.contains_key(&pack.number) && condemned.contains(&pack.id) {
            presence.condemned.insert(pack.number, pack.id);
        }
    }
    Ok(())
}

impl Repository {
    /// Opens the catalog and takes in index objects that are new. Damaged ones are reported to `observer` and left out.
    ///
    /// # Errors
    /// When the storage fails, or the catalog's directory cannot be used.
    pub fn catalog(&self, observer: &dyn Observer) -> Result<Catalog, RepoError> {
        match self.open_catalog(observer) {
            Err(error) if error.is_catalog_corrupt() => {
                observer.observe(Event::Step { what: "rebuilding the catalog".to_owned() });
                Catalog::remove_files(&self.cache_dir)?;
                self.open_catalog(observer)
            }
            outcome => outcome,
        }
    }

    /// Everything that a backup must know first: the catalog brought up to date, the history, and which packs are
    /// there. A catalog that turns out corrupt on the way is rebuilt.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn synced(&self, observer: &dyn Observer) -> Result<(Catalog, History, Presence), RepoError> {
        let gather = || {
            let mut catalog = self.catalog(observer)?;
            let history = self.history(&mut catalog)?;
            let presence = self.reconcile(&mut catalog, &history.damaged_packs)?;
            Ok((catalog, history, presence))
        };
        let mut outcome = gather();
        for _ in 1..SYNCS {
            outcome = match outcome {
                Ok((_, _, presence)) if presence.is_overtaken => gather(),
                outcome => outcome,
            }
        }
        match outcome {
            Err(RepoError::Catalog(error)) => {
                observer.observe(Event::Step { what: format!("rebuilding the catalog: {error}") });
                self.drop_catalog()?;
                gather()
            }
            outcome => outcome,
        }
    }

    /// Opens the catalog once more, as it is: for a second thread, just after it was brought up to date.
    pub(super) fn another_catalog(&self) -> Result<Catalog, RepoError> {
        let mut instance = [0; 16];
        self.entropy.fill(&mut instance)?;
        match Catalog::open(&self.cache_dir, &self.id, instance) {
            Err(CatalogError::Io { .. } | CatalogError::Sqlite { .. }) => {
                self.memory_catalog(&crate::base::event::Silent, instance)
            }
            outcome => Ok(outcome?),
        }
    }

    /// Opens the catalog without a look at the index objects; where it cannot be used, an empty one in memory.
    ///
    /// # Errors
    /// When it cannot be made anew.
    pub fn catalog_as_it_is(&self, observer: &dyn Observer) -> Result<Catalog, RepoError> {
        let mut instance = [0; 16];
        self.entropy.fill(&mut instance)?;
        let opened = match Catalog::open(&self.cache_dir, &self.id, instance).map_err(RepoError::from) {
            Err(error) if error.is_catalog_corrupt() => {
                observer.observe(Event::Step { what: "rebuilding the catalog".to_owned() });
                self.drop_catalog()?;
                Catalog::open(&self.cache_dir, &self.id, instance).map_err(RepoError::from)
            }
            outcome => outcome,
        };
        match opened {
            Err(RepoError::Catalog(error @ (CatalogError::Io { .. } | CatalogError::Sqlite { .. }))) => {
                let message = format!("{error}; continuing with a catalog in memory");
                observer.observe(Event::Warning { message });
                Ok(Catalog::in_memory(&self.id, instance)?)
            }
            outcome => outcome,
        }
    }

    /// Bytes of all packs, padding and all: from the catalog where it knows the very index objects that there are, else
    /// by a listing of the packs, which asks once for a thousand of them.
    ///
    /// # Errors
    /// When the storage or the catalog fails.
    pub fn pack_bytes(&self, catalog: &Catalog) -> Result<u64, RepoError> {
        let listed: HashSet<IndexId> = self.list_names::<IndexId>("index/")?.into_iter().collect();
        if catalog.indexes()? == listed {
            return Ok(catalog.packs()?.iter().map(|pack| pack.bytes).sum());
        }
        let mut bytes = 0;
        self.storage.list("packs/", &mut |listed| bytes += listed.bytes)?;
        Ok(bytes)
    }

    /// Forgets the catalog; the next opening rebuilds it.
    ///
    /// # Errors
    /// When its files cannot be removed.
    pub fn drop_catalog(&self) -> Result<(), RepoError> {
        Ok(Catalog::remove_files(&self.cache_dir)?)
    }

    fn open_catalog(&self, observer: &dyn Observer) -> Result<Catalog, RepoError> {
        let mut instance = [0; 16];
        self.entropy.fill(&mut instance)?;
        let mut catalog = match Catalog::open(&self.cache_dir, &self.id, instance) {
            Err(error @ (CatalogError::Io { .. } | CatalogError::Sqlite { .. })) => {
                // A backup or restore must not fail because a cache does.
                let message = format!("{error}; continuing with a catalog in memory");
                observer.observe(Event::Warning { message });
                return self.memory_catalog(observer, instance);
            }
            outcome => outcome?,
        };
        // What is known is read before what there is: another backup of this host adds to both, the storage first.
        let known = catalog.indexes()?;
        let listed: HashSet<IndexId> = self.list_names::<IndexId>("index/")?.into_iter().collect();
        let closes = self.authors.epochs().fingerprint();
        let before = catalog.object(CLOSES)?;
        let is_other = before.as_ref().is_some_and(|before| before != &closes);
        if is_other || known.iter().any(|id| !listed.contains(id)) {
            // Indexes were replaced or removed, or a close says anew which of them count: what they said may hold no
            // longer.
            drop(catalog);
            Catalog::remove_files(&self.cache_dir)?;
            catalog = Catalog::open(&self.cache_dir, &self.id, instance)?;
        }
        if before.as_ref() != Some(&closes.to_vec()) {
            catalog.keep_object(CLOSES, &closes)?;
        }
        self.take_in(&mut catalog, &listed, observer)?;
        Ok(catalog)
    }

    fn memory_catalog(&self, observer: &dyn Observer, instance: [u8; 16]) -> Result<Catalog, RepoError> {
        let mut catalog = Catalog::in_memory(&self.id, instance)?;
        let listed: HashSet<IndexId> = self.list_names::<IndexId>("index/")?.into_iter().collect();
        self.take_in(&mut catalog, &listed, observer)?;
        Ok(catalog)
    }

    /// Takes in the index objects that are listed and not known.
    fn take_in(
        &self,
        catalog: &mut Catalog,
        listed: &HashSet<IndexId>,
        observer: &dyn Observer,
    ) -> Result<(), RepoError> {
        let mut listed = listed.clone();
        for _ in 0..SYNCS {
            if !self.take_in_once(catalog, &listed, observer)? {
                break;
            }
            // What replaced those that are gone was put before they went.
            listed = self.list_names::<IndexId>("index/")?.into_iter().collect();
        }
        Ok(())
    }

    /// As [`Repository::take_in`]; whether some of the index objects were removed since they were listed.
    fn take_in_once(
        &self,
        catalog: &mut Catalog,
        listed: &HashSet<IndexId>,
        observer: &dyn Observer,
    ) -> Result<bool, RepoError> {
        let known = catalog.indexes()?;
        let fingerprint = self.verdicts();
        let foreign = catalog.foreign_indexes(&fingerprint)?;
        let mut fresh: Vec<IndexId> =
            listed.difference(&known).filter(|id| !foreign.contains(id)).copied().collect();
        fresh.sort();
        let (mut is_overtaken, mut damaged) = (false, Vec::new());
        for id in fresh {
            match self.read_index(&id) {
                Ok((Ok(by), index)) => catalog.add_packs(Some(&id), Some(&by.author), &index.packs)?,
                Ok((Err(why), _)) => {
                    tracing::debug!("index object {}: {why}", id.short());
                    catalog.note_foreign_index(&id, &fingerprint)?;
                }
                Err(RepoError::Missing { .. }) => is_overtaken = true,
                Err(RepoError::Damaged { source, .. }) if is_foreign(&source) => {
                    tracing::debug!("index object {}: {source}", id.short());
                    catalog.note_foreign_index(&id, &fingerprint)?;
                }
                Err(error @ RepoError::Damaged { .. }) => {
                    let message = format!("{error}; its packs' own tables are read instead");
                    if super::history::is_newer(&error) {
                        observer.observe(Event::Damage { object: format!("index/{id}"), message });
                    } else {
                        damaged.push(message);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        // No failure, since whoever may put objects can put such, and no line for each.
        if damaged.len() > JUNK_TOLD {
            let count = damaged.len();
            damaged = vec![format!(
                "{count} index objects are damaged: `dumpvault check` names them; packs' own tables are read instead"
            )];
        }
        damaged.into_iter().for_each(|message| observer.observe(Event::Warning { message }));
        Ok(is_overtaken)
    }

    /// A value that changes with all that it hangs on which index objects count for nothing: a newer program may read
    /// more.
    pub(super) fn verdicts(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.authors.fingerprint()).update(env!("CARGO_PKG_VERSION").as_bytes());
        *hasher.finalize().as_bytes()
    }

    /// What an index object says, and whose word it is.
    pub(super) fn read_index(&self, id: &IndexId) -> Result<(Result<Voucher, Foreign>, Index), RepoError> {
        let bytes = fetch(self.storage.as_ref(), id, INDEX_BYTES_MAX)?;
        let opened = match Index::open(&bytes, &self.id, &self.keys) {
            Err(source)
                if source.is_newer() && !self.authors.is_newer_by_full(&bytes, None, Some(id.as_bytes())) =>
            {
                return Ok((Err(Foreign::Newer), Index::default()));
            }
            opened => {
                opened.map_err(|source| RepoError::Damaged { object: format!("index/{id}"), source })?
            }
        };
        Ok((self.authors.judge(&opened.claim, Some(id.as_bytes()), false), opened.content))
    }

    /// Looks once more, now that a session is registered, which packs a prune has deleted since `presence` was looked
    /// up.
    pub(super) fn look_again(&self, catalog: &Catalog, presence: &mut Presence) -> Result<(), RepoError> {
        let listed = self.list_packs()?;
        for pack in catalog.packs()? {
            if !presence.unusable.contains_key(&pack.number) && !listed.contains_key(&pack.id) {
                presence.condemned.insert(pack.number, pack.id);
            }
        }
        Ok(())
    }

    /// What lies in the storage, padding and all.
    ///
    /// # Errors
    /// When the listing fails.
    pub fn on_disk(&self) -> Result<OnDisk, RepoError> {
        let mut found = OnDisk::default();
        self.storage.list("", &mut |listed| {
            found.bytes += listed.bytes;
            if listed.key.starts_with("packs/") {
                found.packs += 1;
                found.pack_bytes += listed.bytes;
            }
        })?;
        Ok(found)
    }

    /// All packs that the storage lists, with their sizes.
    ///
    /// # Errors
    /// When the listing fails.
    pub fn list_packs(&self) -> Result<HashMap<PackId, u64>, RepoError> {
        let mut packs = HashMap::new();
        self.storage.list("packs/", &mut |listed| {
            packs.extend(name_in_key::<PackId>(&listed.key).map(|id| (id, listed.bytes)));
        })?;
        Ok(packs)
    }

    /// Compares catalog and storage. Packs that no index names (of a backup that was killed, or under a lost index) are
    /// taken in by their own tables, where the key can read them.
    ///
    /// # Errors
    /// When the storage or the catalog fails.
    pub fn reconcile(
        &self,
        catalog: &mut Catalog,
        damaged_packs: &HashMap<PackId, String>,
    ) -> Result<Presence, RepoError> {
        // Before packs are listed: other processes of this host write into the same catalog what they have just put.
        let known = catalog.packs()?;
        let mut listed = self.list_packs()?;
        let mut presence = Presence::default();
        let mut gone = HashSet::new();
        for pack in known {
            // Nothing but this catalog ever named it: a prune has cleared it away.
            // (Asked again, since it may have been written after the listing.)
            if !pack.indexed
                && !listed.contains_key(&pack.id)
                && self.storage.size(&pack_key(&pack.id))?.is_none()
            {
                gone.insert(pack.id);
                continue;
            }
            let reason = match listed.remove(&pack.id) {
                None => Some(MISSING.to_owned()),
                Some(bytes) if bytes != pack.bytes => {
                    Some(format!("it has {bytes} bytes and should have {}", pack.bytes))
                }
                Some(_) => damaged_packs.get(&pack.id).map(|why| format!("it is marked as damaged: {why}")),
            };
            if let Some(reason) = reason {
                presence.unusable.insert(pack.number, (pack.id, reason));
            }
        }
        if !gone.is_empty() {
            catalog.remove_packs(&gone)?;
        }
        self.pass_over_pruned(catalog, &mut presence)?;
        self.settle_disputes(catalog, &mut presence)?;
        if self.keys.role() == Role::Full {
            let mut marked = HashSet::new();
            for (id, bytes) in listed {
                match self.read_pack_table(&id, bytes) {
                    Ok(pack) => {
                        catalog.add_packs(None, None, &[pack])?;
                        marked.extend(damaged_packs.contains_key(&id).then_some(id));
                    }
                    // Removed since it was listed.
                    Err(RepoError::Missing { .. }) => {}
                    // It was told when it was marked.
                    Err(error) if error.is_integrity() && damaged_packs.contains_key(&id) => {}
                    // Left behind by a full disk or a cut.
                    Err(error) if error.is_integrity() => {
                        presence.unexplained.push((id, error.to_string()));
                    }
                    Err(error) => return Err(error),
                }
            }
            presence.unexplained.sort();
            // What lies in them is known, and that it cannot be relied on: whoever looked for it later would find their
            // tables, and take it for whole.
            let known = if marked.is_empty() { Vec::new() } else { catalog.packs()? };
            for pack in known.into_iter().filter(|pack| marked.contains(&pack.id)) {
                let why = damaged_packs.get(&pack.id).map(String::as_str).unwrap_or_default();
                presence.unusable.insert(pack.number, (pack.id, format!("it is marked as damaged: {why}")));
            }
        }
        // Last: nobody vouches for a pack that is known by its own table alone, and whoever has a key can write one
        // that lies.
        presence.unvouched = self.unvouched(catalog)?;
        Ok(presence)
    }

    /// Packs that a prune has removed since the catalog was looked at are no damage: on this host the catalog names
    /// them no more; on others an index object is gone, too.
    fn pass_over_pruned(&self, catalog: &mut Catalog, presence: &mut Presence) -> Result<(), RepoError> {
        let missing: HashSet<i64> = presence
            .unusable
            .iter()
            .filter(|(_, (_, reason))| reason == MISSING)
            .map(|(number, _)| *number)
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let known: HashSet<i64> = catalog.packs()?.iter().map(|pack| pack.number).collect();
        presence.unusable.retain(|number, _| !missing.contains(number) || known.contains(number));
        presence.is_overtaken =
            missing.iter().any(|number| known.contains(number)) && has_lost_any(self, &catalog.indexes()?)?;
        Ok(())
    }

    /// Numbers of packs of which neither this author, nor one that may read, says what they hold.
    fn unvouched(&self, catalog: &Catalog) -> Result<HashSet<i64>, RepoError> {
        let vouchers = catalog.vouchers()?;
        let me = self.authors.me();
        let mut relied = HashMap::new();
        let mut is_relied_on = |author: &AuthorId| {
            *relied.entry(*author).or_insert_with(|| *author == me || self.authors.is_full(author))
        };
        let mut unvouched = HashSet::new();
        for pack in catalog.packs()? {
            let by = vouchers.get(&pack.number).map(Vec::as_slice).unwrap_or_default();
            let any = if self.dedup_all { !by.is_empty() } else { by.iter().any(&mut is_relied_on) };
            if !any {
                unvouched.insert(pack.number);
            }
        }
        Ok(unvouched)
    }

    /// Where index objects say different things of a pack, its own table decides; who cannot read it takes nothing from
    /// it.
    fn settle_disputes(&self, catalog: &mut Catalog, presence: &mut Presence) -> Result<(), RepoError> {
        let disputed = catalog.disputed()?;
        if disputed.is_empty() {
            return Ok(());
        }
        let listed = self.list_packs()?;
        let mut settled = HashMap::new();
        for pack in catalog.packs()?.into_iter().filter(|pack| disputed.contains(&pack.number)) {
            let Some(bytes) = listed.get(&pack.id) else { continue };
            let own = match self.keys.role() {
                Role::Full => self.read_pack_table(&pack.id, *bytes),
                Role::Append => Err(RepoError::Stopped),
            };
            match own {
                Ok(own) => {
                    catalog.settle_pack(&own)?;
                    presence.unusable.remove(&pack.number);
                    settled.insert(own.id, own);
                }
                Err(RepoError::Stopped) => {
                    presence.condemned.insert(pack.number, pack.id);
                }
                Err(error) if error.is_integrity() => {
                    let why = format!("index objects differ on what it holds, and {error}");
                    presence.unusable.entry(pack.number).or_insert((pack.id, why));
                }
                Err(error) => return Err(error),
            }
        }
        presence.lies = self.said_otherwise(&settled)?;
        Ok(())
    }

    /// The index objects that say of packs what their own tables do not, in words.
    fn said_otherwise(&self, packs: &HashMap<PackId, IndexedPack>) -> Result<Vec<String>, RepoError> {
        let mut lies = Vec::new();
        if packs.is_empty() {
            return Ok(lies);
        }
        for id in self.list_names::<IndexId>("index/")? {
            let Ok((Ok(_), index)) = self.read_index(&id) else { continue };
            let is_lie = |said: &IndexedPack| packs.get(&said.id).is_some_and(|own| own != said);
            let wrong = index.packs.iter().filter(|said| is_lie(said)).count();
            if wrong > 0 {
                lies.push(format!("`index/{id}` contradicts the own tables of {wrong} packs, which decide"));
            }
        }
        Ok(lies)
    }

    /// Reads the own tables of all packs that nobody to be relied on vouches for: for when a chunk is nowhere that
    /// index objects say.
    ///
    /// # Errors
    /// When the storage or the catalog fails. A table that cannot be read changes nothing.
    pub(super) fn read_own_tables(&self, catalog: &mut Catalog) -> Result<(), RepoError> {
        if self.keys.role() != Role::Full {
            return Ok(());
        }
        let unvouched = self.unvouched(catalog)?;
        let mut known = HashMap::new();
        for pack in catalog.packs()? {
            known.insert(pack.id, unvouched.contains(&pack.number));
        }
        for (id, bytes) in self.list_packs()? {
            if known.get(&id) == Some(&false) {
                continue;
            }
            match self.read_pack_table(&id, bytes) {
                Ok(own) => catalog.settle_pack(&own)?,
                Err(error) if error.is_integrity() => tracing::debug!("{error}"),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads a pack's own chunk table.
    pub(super) fn read_pack_table(&self, id: &PackId, bytes: u64) -> Result<IndexedPack, RepoError> {
        let object = pack_key(id);
        let damaged = |source| RepoError::Damaged { object: object.clone(), source };
        let failed = |error: StorageError| match error.kind {
            ErrorKind::NotFound => RepoError::Missing { object: object.clone() },
            ErrorKind::ShortObject => damaged(FormatError::CutShort),
            _ => error.into(),
        };
        let footer_at =
            bytes.checked_sub(FOOTER_BYTES as u64).ok_or_else(|| damaged(FormatError::CutShort))?;
        let mut footer = [0; FOOTER_BYTES];
        self.storage.get_range(&object, footer_at, &mut footer).map_err(failed)?;
        let footer = Footer::read(&footer, bytes).map_err(damaged)?;
        let mut front = [0; FRONT_BYTES];
        self.storage.get_range(&object, 0, &mut front).map_err(failed)?;
        let opener = PackOpener::new(&front, &self.id, &self.keys).map_err(damaged)?;
        // Bounded by `Footer::read`.
        let mut sealed = vec![0; footer.table_bytes as usize];
        self.storage.get_range(&object, footer.table_offset, &mut sealed).map_err(failed)?;
        let table = opener.open_table(&footer, &mut sealed).map_err(damaged)?;
        Ok(IndexedPack { id: *id, bytes, table })
    }
}

/// Turns a catalog that fails into an ordinary absence: the caller then stores afresh, and nothing is lost.
pub(super) fn tolerate<T>(outcome: Result<T, CatalogError>, absent: T, lost: &mut bool) -> T {
    outcome.unwrap_or_else(|error| {
        if !*lost {
            tracing::warn!("{error}; this backup goes on without it and stores what it cannot look up");
        }
        *lost = true;
        absent
    })
}
