//! Sweeping: what is live in condemned packs is copied, indexes are rewritten without them, then they go.

use super::live::LiveSet;
use super::survey::Survey;
use super::witness::{Chunk, Holders};
use super::{PruneReport, targets};
use crate::base::event::{Cancel, Event, Observer};
use crate::base::id::{IndexId, PackId, PlanId};
use crate::vault::catalog::{KnownPack, PackRow};
use crate::vault::format::index::{Index, IndexedPack};
use crate::vault::format::mark::MarkKind;
use crate::vault::history::Vouched;
use crate::vault::objects::{ObjectName, fetch, pack_key};
use crate::vault::reader::{BlockReader, Workspace};
use crate::vault::repack::Repacker;
use crate::vault::session::{HEARTBEAT, Session};
use crate::vault::{RepoError, Repository};
use std::collections::{HashMap, HashSet};
use std::time::Instant;

/// Index objects are merged to about so many chunks: some 10 MiB.
pub(in crate::vault) const INDEX_CHUNKS: usize = 1 << 18;
/// So many index objects that could be merged are.
const SMALL_INDEXES: usize = 8;

impl Repository {
    pub(super) fn sweep(
        &self,
        survey: &Survey,
        due: &[PlanId],
        session: &Session,
        observer: &dyn Observer,
        cancel: &Cancel,
        report: &mut PruneReport,
    ) -> Result<(), RepoError> {
        observer.observe(Event::Step { what: "copying what is still live".to_owned() });
        let mut doomed = targets(survey, due);
        // A plan is an object, too: what it condemns is asked itself before it goes.
        self.keep_disputed(survey, &mut doomed, observer, cancel, report)?;
        let written = self.copy_live(survey, &mut doomed, cancel, report)?;
        self.read_back(&written, cancel)?;
        observer.observe(Event::Step { what: "rewriting the index".to_owned() });
        self.rewrite_indexes(survey, &doomed, written, report)?;
        if cancel.is_cancelled() {
            return Err(RepoError::Cancelled);
        }
        observer.observe(Event::Step { what: "deleting packs".to_owned() });
        self.delete_packs(survey, &doomed, session, report)?;
        for plan in survey.plans.iter().filter(|plan| due.contains(&plan.id)) {
            // One with a pack that could not be copied stays, so that nobody relies on that pack.
            if plan.plan.packs.iter().all(|pack| doomed.contains(pack)) {
                self.drop_plan(&plan.id)?;
                report.plans_done += 1;
            }
        }
        Ok(())
    }

    /// Reads packs that were just written as the storage has them: from now on others may go because of them.
    fn read_back(&self, written: &[IndexedPack], cancel: &Cancel) -> Result<(), RepoError> {
        let storage = self.past_cache().storage;
        for pack in written {
            if cancel.is_cancelled() {
                return Err(RepoError::Cancelled);
            }
            fetch(storage.as_ref(), &pack.id, pack.bytes)?;
        }
        Ok(())
    }

    /// Copies what is live in the packs `from`, and was seen in no pack that is neither among them nor condemned. One
    /// that cannot be copied is taken out of `from`.
    pub(super) fn copy_live(
        &self,
        survey: &Survey,
        from: &mut HashSet<PackId>,
        cancel: &Cancel,
        report: &mut PruneReport,
    ) -> Result<Vec<IndexedPack>, RepoError> {
        let going: HashSet<PackId> = survey.condemned().union(from).copied().collect();
        let packs: Vec<KnownPack> = survey.packs(&mut survey.locator(), |id| from.contains(id))?;
        let holders = survey.held_elsewhere(&packs, &going, cancel)?;
        let known: HashSet<PackId> = packs.iter().map(|pack| pack.id).collect();
        let stay = |id: &PackId, why: &str, report: &mut PruneReport| {
            report
                .warnings
                .push(format!("keeping pack {}: cannot tell what is referenced in it: {why}", id.short()));
        };
        from.retain(|id| {
            let readable = known.contains(id) || !survey.listed.contains_key(id);
            if !readable {
                stay(id, "no index names it, and its own table cannot be read", report);
            }
            readable
        });
        let mut copier = Copier::new(self, &survey.live, holders);
        for pack in packs {
            if cancel.is_cancelled() {
                return Err(RepoError::Cancelled);
            }
            let row = survey.locator().catalog().pack(pack.number)?;
            match copier.copy_from(&row) {
                Ok(()) => {}
                Err(error) if error.is_integrity() => {
                    stay(&pack.id, &error.to_string(), report);
                    from.remove(&pack.id);
                }
                Err(error) => return Err(error),
            }
        }
        copier.finish(report)
    }

    /// Names packs in index objects.
    pub(super) fn index_packs(
        &self,
        survey: &Survey,
        packs: Vec<IndexedPack>,
        report: &mut PruneReport,
    ) -> Result<(), RepoError> {
        let mut writer = IndexWriter::new(self);
        for pack in packs {
            writer.add(pack)?;
        }
        let fresh = writer.finish(&[])?;
        report.indexes_written += fresh.len() as u64;
        self.follow(survey, &fresh, &[])
    }

    /// Brings the catalog up to date, so that it need not be rebuilt. Where that fails, it is.
    fn follow(
        &self,
        survey: &Survey,
        fresh: &[(IndexId, Vec<IndexedPack>)],
        replaced: &[IndexId],
    ) -> Result<(), RepoError> {
        let mut locator = survey.locator();
        let catalog = locator.catalog();
        let mut follow = || {
            for (id, packs) in fresh {
                catalog.add_packs(Some(id), Some(&self.authors.me()), packs)?;
            }
            catalog.remove_indexes(replaced)
        };
        if let Err(error) = follow() {
            tracing::warn!("{error}");
            self.drop_catalog()?;
        }
        Ok(())
    }

    /// Writes index objects that name the packs `written`, and those that stay of the index objects that name doomed
    /// ones; then removes the latter. Many small index objects become one on the way.
    fn rewrite_indexes(
        &self,
        survey: &Survey,
        doomed: &HashSet<PackId>,
        written: Vec<IndexedPack>,
        report: &mut PruneReport,
    ) -> Result<(), RepoError> {
        let gone = survey.missing_and_dead()?;
        let goes = |pack: &PackId| doomed.contains(pack) || gone.contains(pack);
        let (mut touched, mut small) = (Vec::new(), Vec::new());
        // Naming a pack vouches for it: what others than full authors say is not repeated before it was seen.
        let mut hearsay = HashSet::new();
        let mut sayings = Sayings::default();
        for id in self.list_names::<IndexId>("index/")? {
            match self.read_index(&id) {
                // Of nobody who counts: it stays, and says nothing.
                Ok((Err(_), _)) => {}
                Ok((Ok(by), index)) => {
                    if !by.is_full() {
                        hearsay.insert(id);
                    }
                    index.packs.iter().try_for_each(|pack| sayings.take(pack).map(|_| ()))?;
                    let chunks: usize = index.packs.iter().map(|pack| pack.table.chunks.len()).sum();
                    if index.packs.iter().any(|pack| goes(&pack.id)) {
                        touched.push(id);
                    // Others' packs would have to be opened first, only to save an object.
                    } else if chunks < INDEX_CHUNKS / 4 && by.is_full() {
                        small.push(id);
                    }
                }
                // It stays as it is: nothing can be said of it.
                Err(error) if error.is_integrity() => {}
                Err(error) => return Err(error),
            }
        }
        if touched.len() + small.len() >= SMALL_INDEXES {
            touched.append(&mut small);
        }
        let mut writer = IndexWriter::new(self);
        let mut named = Sayings::default();
        for pack in written {
            named.take(&pack)?;
            writer.add(pack)?;
        }
        for id in &touched {
            for pack in self.read_index(id).map_err(taken_away)?.1.packs {
                // A pack that is missing and wanted stays named, so that errors can name it, where a full author named
                // it.
                if goes(&pack.id) {
                    continue;
                }
                // What is written here replaces what was said before: it must not be the error that is left. (Lies of
                // append authors are hearsay; this is for full authors that were wrong.)
                let is_disputed = sayings.disputed.contains(&pack.id);
                let pack = if is_disputed { self.as_it_says_itself(survey, pack)? } else { pack };
                let is_hearsay = hearsay.contains(id);
                // It may still come, and be another than was said. (Asking for it would say the same, with a warning.)
                if is_hearsay && !survey.listed.contains_key(&pack.id) {
                    continue;
                }
                let is_seen = !is_hearsay;
                let Some(pack) = (if is_seen { Some(pack) } else { self.seen(survey, pack, report)? }) else {
                    continue;
                };
                if named.take(&pack)? {
                    writer.add(pack)?;
                }
            }
        }
        let fresh = writer.finish(&touched)?;
        for id in &touched {
            self.storage.delete(&id.key())?;
        }
        report.indexes_replaced += touched.len() as u64;
        report.indexes_written += fresh.len() as u64;
        self.follow(survey, &fresh, &touched)
    }

    /// The pack by its own table, once every block in it was opened; `None` where that fails, with a word in the
    /// report. A check that opened it before proves that its own table was no lie; what an index object says of it may
    /// be one.
    fn seen(
        &self,
        survey: &Survey,
        said: IndexedPack,
        report: &mut PruneReport,
    ) -> Result<Option<IndexedPack>, RepoError> {
        let bytes = survey.listed.get(&said.id).map_or(said.bytes, |(bytes, _)| *bytes);
        let repo = self.past_cache();
        let own = match self.checker().was_opened(&said.id) {
            true => repo.read_pack_table(&said.id, bytes),
            false => BlockReader::open_pack(&repo, &said.id, bytes),
        };
        match own {
            Ok(own) => Ok(Some(own)),
            Err(error) if error.is_integrity() => {
                let short = said.id.short();
                report
                    .warnings
                    .push(format!("pack {short} is named no more, since it is not what was said: {error}"));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// What a pack's own table says, where it can be read; otherwise what was said of it.
    fn as_it_says_itself(&self, survey: &Survey, said: IndexedPack) -> Result<IndexedPack, RepoError> {
        let bytes = survey.listed.get(&said.id).map_or(said.bytes, |(bytes, _)| *bytes);
        match self.past_cache().read_pack_table(&said.id, bytes) {
            Ok(own) => Ok(own),
            Err(error) if error.is_integrity() => Ok(said),
            Err(error) => Err(error),
        }
    }

    fn delete_packs(
        &self,
        survey: &Survey,
        doomed: &HashSet<PackId>,
        session: &Session,
        report: &mut PruneReport,
    ) -> Result<(), RepoError> {
        // First, so that no other process of this host misses what goes now.
        self.forget_packs(survey, doomed)?;
        let mut heard = Instant::now();
        let mut in_order: Vec<&PackId> = doomed.iter().collect();
        in_order.sort();
        for pack in in_order {
            if heard.elapsed() > HEARTBEAT {
                heard = Instant::now();
                session.beat()?;
            }
            self.storage.delete(&pack_key(pack))?;
            if let Some((bytes, _)) = survey.listed.get(pack) {
                report.packs_deleted += 1;
                report.bytes_deleted += bytes;
            }
        }
        let mut locator = survey.locator();
        let catalog = locator.catalog();
        // What was said of them says nothing any more.
        let mut unreadable = Vec::new();
        let doomed_keys: HashMap<String, PackId> = doomed.iter().map(|id| (pack_key(id), *id)).collect();
        for Vouched { id, mark, .. } in self.read_marks(catalog, &mut unreadable)? {
            if mark.kind == MarkKind::Damaged && doomed_keys.contains_key(&mark.object) {
                self.storage.delete(&id.key())?;
            }
        }
        Ok(())
    }

    /// Takes packs that go, or went, out of the catalog.
    fn forget_packs(&self, survey: &Survey, doomed: &HashSet<PackId>) -> Result<(), RepoError> {
        let gone = doomed.union(&survey.missing_and_dead()?).copied().collect();
        if let Err(error) = survey.locator().catalog().remove_packs(&gone) {
            tracing::warn!("{error}");
            self.drop_catalog()?;
        }
        Ok(())
    }
}

/// An index object that was there a moment ago went with another prune.
fn taken_away(error: RepoError) -> RepoError {
    match error {
        RepoError::Missing { .. } => {
            RepoError::Overtaken { what: format!("a prune ran at the same time: {error}") }
        }
        error => error,
    }
}

/// What index objects say of packs, by its hash.
#[derive(Default)]
struct Sayings {
    said: HashSet<(PackId, [u8; 32])>,
    packs: HashSet<PackId>,
    /// Packs of which different things are said.
    disputed: HashSet<PackId>,
}

impl Sayings {
    /// Notes what is said of a pack; whether it was not said before.
    fn take(&mut self, pack: &IndexedPack) -> Result<bool, RepoError> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&pack.bytes.to_le_bytes()).update(&pack.table.encode()?);
        let is_new = self.said.insert((pack.id, *hasher.finalize().as_bytes()));
        if is_new && !self.packs.insert(pack.id) {
            self.disputed.insert(pack.id);
        }
        Ok(is_new)
    }
}

/// Writes index objects of a good size.
struct IndexWriter<'a> {
    repo: &'a Repository,
    packs: Vec<IndexedPack>,
    chunks: usize,
    written: Vec<(IndexId, Vec<IndexedPack>)>,
}

impl<'a> IndexWriter<'a> {
    fn new(repo: &'a Repository) -> Self {
        Self { repo, packs: Vec::new(), chunks: 0, written: Vec::new() }
    }

    fn add(&mut self, pack: IndexedPack) -> Result<(), RepoError> {
        self.chunks += pack.table.chunks.len();
        self.packs.push(pack);
        if self.chunks >= INDEX_CHUNKS { self.write(&[]) } else { Ok(()) }
    }

    fn write(&mut self, replaces: &[IndexId]) -> Result<(), RepoError> {
        self.chunks = 0;
        let index = Index { packs: std::mem::take(&mut self.packs), replaces: replaces.to_vec() };
        let bytes = index.seal(self.repo.id, &self.repo.keys, self.repo.entropy.as_ref())?;
        let id = self.repo.put_hashed(&bytes)?;
        self.written.push((id, index.packs));
        Ok(())
    }

    /// The last one says which are replaced: by then the others are there.
    fn finish(mut self, replaces: &[IndexId]) -> Result<Vec<(IndexId, Vec<IndexedPack>)>, RepoError> {
        if !self.packs.is_empty() || !replaces.is_empty() && !self.written.is_empty() {
            self.write(replaces)?;
        }
        Ok(self.written)
    }
}

/// Copies live chunks into new packs.
struct Copier<'a> {
    live: &'a LiveSet,
    /// What other packs were seen to hold.
    holders: Holders,
    copied: HashSet<Chunk>,
    blocks: BlockReader,
    workspace: Workspace,
    repacker: Repacker<'a>,
}

impl<'a> Copier<'a> {
    fn new(repo: &'a Repository, live: &'a LiveSet, holders: Holders) -> Self {
        Self {
            live,
            holders,
            copied: HashSet::new(),
            blocks: BlockReader::new(repo),
            workspace: Workspace::default(),
            repacker: Repacker::new(repo),
        }
    }

    /// Whether the chunk is needed, and nothing else holds it.
    fn is_wanted(&self, chunk: &Chunk) -> bool {
        self.live.is_live(&chunk.1) && !self.holders.holds(chunk) && !self.copied.contains(chunk)
    }

    fn copy_from(&mut self, row: &PackRow) -> Result<(), RepoError> {
        for (number, block) in (0u32..).zip(&row.table.blocks) {
            let chunks = row.table.chunks_of(block);
            if !chunks.iter().any(|(id, _)| self.is_wanted(&(block.kind, *id))) {
                continue;
            }
            let opened = self.blocks.open_whole(row, number, &mut self.workspace)?;
            let mut rest = opened.plain.as_slice();
            let mut remains = Vec::new();
            for (at, (id, len)) in chunks.iter().enumerate() {
                // `open_run` has checked that they fit.
                let (chunk, later) = rest.split_at_checked(*len as usize).unwrap_or_default();
                rest = later;
                // Not before the block has opened: another pack may hold it whole.
                let own = (block.kind, *id);
                if self.is_wanted(&own) {
                    if self.live.is_twice(id) {
                        self.copied.insert(own);
                    }
                    remains.push((*id, opened.prefix(at), chunk));
                }
            }
            self.repacker.add(block.naming(), &remains)?;
        }
        Ok(())
    }

    fn finish(self, report: &mut PruneReport) -> Result<Vec<IndexedPack>, RepoError> {
        let repacked = self.repacker.finish()?;
        report.packs_written += repacked.packs.len() as u64;
        report.bytes_written += repacked.bytes;
        report.chunks_rescued += repacked.chunks;
        Ok(repacked.packs)
    }
}
