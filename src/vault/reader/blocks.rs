//! Blocks fetched, opened, decompressed, and every id in them checked.

use crate::base::id::PackId;
use crate::base::permits::Permits;
use crate::base::secret::SecretKey;
use crate::content::codec::Decompressor;
use crate::storage::{ErrorKind, StorageError};
use crate::vault::catalog::PackRow;
use crate::vault::crypto::CryptoError;
use crate::vault::format::FormatError;
use crate::vault::format::index::{BlockEntry, BlockKind, ChunkTable, IndexedPack, PREFIX_BYTES};
use crate::vault::format::pack::{FRONT_BYTES, PackOpener};
use crate::vault::objects::pack_key;
use crate::vault::{RepoError, Repository};
use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// So many blocks can be opened at a time without a core that waits.
pub(super) fn open_at_once() -> usize {
    // Asking means reading files.
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from)) + 1
}

/// Unwrapped pack keys kept: unwrapping takes a tenth of a millisecond and a request.
const OPENERS_KEPT: usize = 256;

/// Blocks that begin so near to the pack's front are fetched together with it.
const FRONT_NEAR: u64 = 64 << 10;

/// Takes the number of a block, its compressed bytes and its plain ones.
pub(super) type EachBlock<'a> = dyn FnMut(u32, &[u8], Vec<u8>) + 'a;

/// The opener of one pack, once somebody fetched its front.
type OpenerPlace = Arc<Mutex<Option<Arc<PackOpener>>>>;

/// Opens blocks; shared by all threads of a restore.
pub struct BlockReader {
    repo: Repository,
    openers: Mutex<VecDeque<(PackId, OpenerPlace)>>,
    /// Packs are brought into the cache whole before anything is read from them.
    whole: bool,
    warmed: Mutex<HashSet<PackId>>,
    /// Of these packs, a data block that opens is not compared with its ids.
    believed: HashSet<PackId>,
    /// Lets so many threads pass as there are cores, and one more: of many that wait for a storage behind a wire, more
    /// would only take the caches and fresh memory from each other when they open what came.
    opening: Permits,
}

/// Working memory of one thread that opens blocks.
#[derive(Default)]
pub struct Workspace {
    decompressor: Decompressor,
    sealed: Vec<u8>,
    /// So many threads were opening blocks when the last run had been fetched.
    pub(super) found_opening: Option<usize>,
}

impl BlockReader {
    /// A reader of `repo`'s blocks.
    pub fn new(repo: &Repository) -> Self {
        Self {
            repo: repo.clone(),
            openers: Mutex::default(),
            whole: false,
            warmed: Mutex::default(),
            believed: HashSet::new(),
            opening: Permits::new(open_at_once() as u64),
        }
    }

    /// A pack's own table, after every block in it was opened and every id compared.
    ///
    /// # Errors
    /// When the pack does not hold what its table says, or the storage fails.
    pub(in crate::vault) fn open_pack(
        repo: &Repository,
        id: &PackId,
        bytes: u64,
    ) -> Result<IndexedPack, RepoError> {
        let pack = repo.read_pack_table(id, bytes)?;
        let row = PackRow::new(0, *id, bytes, pack.table.clone());
        let (blocks, mut workspace) = (Self::new(repo), Workspace::default());
        for number in 0..row.table.blocks.len() as u32 {
            blocks.open_run(&row, number..number + 1, &mut workspace, &mut |_, _| {})?;
        }
        Ok(pack)
    }

    /// A reader that is to read here and there all over the packs: where there is a cache, it has them fetched whole.
    pub fn of_whole_packs(repo: &Repository) -> Self {
        Self { whole: true, ..Self::new(repo) }
    }

    /// Believes whoever sealed `packs` that a data block holds what its ids say: the seal tells that nobody changed it
    /// since. Nothing that is restored may be read so, and no pack of an author that only adds: it may have sealed
    /// other bytes than it names.
    pub fn believing(self, packs: HashSet<PackId>) -> Self {
        Self { believed: packs, ..self }
    }

    /// Has the pack fetched whole, the first time that something of it is wanted.
    fn warm(&self, pack: &PackId, kind: BlockKind) {
        let Some(cache) = self.repo.storage.cache() else { return };
        // Recipes are small, and read node by node.
        if !self.whole && kind != BlockKind::Recipe {
            return;
        }
        let is_new = self.warmed.lock().unwrap_or_else(PoisonError::into_inner).insert(*pack);
        if is_new && let Err(error) = cache.warm(&pack_key(pack)) {
            // Safe to ignore because the range that is asked for next tells the same.
            tracing::debug!("{error}");
        }
    }

    /// Fetches and opens consecutive blocks of a pack in one read; `each` gets the plain bytes of one after another.
    ///
    /// # Errors
    /// When the pack is missing or damaged. Blocks given to `each` before are good.
    pub fn open_run(
        &self,
        pack: &PackRow,
        blocks: std::ops::Range<u32>,
        workspace: &mut Workspace,
        each: &mut dyn FnMut(u32, Vec<u8>),
    ) -> Result<(), RepoError> {
        self.open_run_into(pack, blocks, workspace, &mut |_| Vec::new(), &mut |number, _, plain| {
            each(number, plain);
        })
    }

    /// Opens one block with what blinds its chunks.
    ///
    /// # Errors
    /// As [`BlockReader::open_run`].
    pub(in crate::vault) fn open_whole(
        &self,
        pack: &PackRow,
        block: u32,
        workspace: &mut Workspace,
    ) -> Result<OpenedBlock, RepoError> {
        let mut opened = OpenedBlock { prefixes: Vec::new(), plain: Vec::new() };
        let entry = pack.block(block).copied();
        let numbers = block..block.saturating_add(1);
        self.open_run_into(pack, numbers, workspace, &mut |_| Vec::new(), &mut |_, stored, plain| {
            let prefixes = entry.as_ref().map(|entry| prefixes_of(entry, stored)).unwrap_or_default();
            opened = OpenedBlock { prefixes: prefixes.to_vec(), plain };
        })?;
        Ok(opened)
    }

    /// As [`BlockReader::open_run`], into buffers that `buffer` gives for a number of bytes; `each` gets the compressed
    /// bytes, too.
    pub(super) fn open_run_into(
        &self,
        pack: &PackRow,
        blocks: std::ops::Range<u32>,
        workspace: &mut Workspace,
        buffer: &mut dyn FnMut(usize) -> Vec<u8>,
        each: &mut EachBlock<'_>,
    ) -> Result<(), RepoError> {
        let object = pack_key(&pack.id);
        let entries = pack.table.blocks.get(blocks.start as usize..blocks.end as usize).unwrap_or_default();
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return Err(RepoError::Inconsistent { object, what: "it has no such block".to_owned() });
        };
        self.warm(&pack.id, first.kind);
        let with_front = first.offset <= FRONT_NEAR && !self.is_at_hand(&pack.id);
        let start = if with_front { 0 } else { first.offset };
        let bytes = last.offset + u64::from(last.stored_bytes) - start;
        let opener = if with_front { None } else { Some(self.opener(&pack.id)?) };
        let mut sealed = std::mem::take(&mut workspace.sealed);
        // Bounded: a run is a few blocks, each at most 4 MiB. Never made shorter: what grows again would be cleared
        // again.
        if (sealed.len() as u64) < bytes {
            sealed.resize(bytes as usize, 0);
        }
        let run = sealed.get_mut(..bytes as usize).unwrap_or_default();
        let outcome = self.repo.storage.get_range(&object, start, run);
        outcome.map_err(|error| storage_error(&object, error))?;
        let (front, rest) = run.split_at_mut((first.offset - start) as usize);
        let opener = match opener {
            Some(opener) => opener,
            None => self.opener_of(&pack.id, front)?,
        };
        let mut rest = rest;
        let pass = self.opening.one();
        workspace.found_opening = usize::try_from(pass.found).ok();
        for (number, entry) in blocks.zip(entries) {
            let (own, later) = rest.split_at_mut_checked(entry.stored_bytes as usize).ok_or_else(|| {
                RepoError::Damaged { object: object.clone(), source: FormatError::CutShort }
            })?;
            rest = later;
            let mut plain = buffer(entry.plain_bytes as usize);
            let stored = self.unseal(&opener, &object, (number, entry), own, workspace, &mut plain)?;
            if entry.kind == BlockKind::Recipe || !self.believed.contains(&pack.id) {
                self.compare_ids(&object, &pack.table, (number, entry), stored, &plain)?;
            }
            each(number, stored, plain);
        }
        workspace.sealed = sealed;
        Ok(())
    }

    /// Opens one block whose sealed bytes are at hand and checks every id in it; gives its compressed bytes.
    ///
    /// # Errors
    /// When it is damaged, or its bytes are not those that its ids name.
    #[expect(clippy::too_many_arguments, reason = "all are parts of one block's identity")]
    pub fn open_block<'a>(
        &self,
        opener: &PackOpener,
        object: &str,
        table: &ChunkTable,
        (number, entry): (u32, &BlockEntry),
        sealed: &'a mut [u8],
        workspace: &mut Workspace,
        plain: &mut Vec<u8>,
    ) -> Result<&'a [u8], RepoError> {
        let stored = self.unseal(opener, object, (number, entry), sealed, workspace, plain)?;
        self.compare_ids(object, table, (number, entry), stored, plain)?;
        Ok(stored)
    }

    /// Opens and decompresses one block, and gives its compressed bytes.
    fn unseal<'a>(
        &self,
        opener: &PackOpener,
        object: &str,
        (number, entry): (u32, &BlockEntry),
        sealed: &'a mut [u8],
        workspace: &mut Workspace,
        plain: &mut Vec<u8>,
    ) -> Result<&'a [u8], RepoError> {
        let damaged = |source| RepoError::Damaged { object: object.to_owned(), source };
        let stored = opener.open_block(number, entry, sealed).map_err(damaged)?;
        let inconsistent = |what: String| RepoError::Inconsistent { object: object.to_owned(), what };
        let prefixes = prefixes_of(entry, stored);
        let compressed = stored.get(prefixes.len()..).unwrap_or_default();
        workspace
            .decompressor
            .decompress(entry.codec, compressed, entry.plain_bytes as usize, plain)
            .map_err(|error| inconsistent(format!("block {number}: {error}")))?;
        Ok(stored)
    }

    /// Compares a block's chunks with their ids.
    fn compare_ids(
        &self,
        object: &str,
        table: &ChunkTable,
        (number, entry): (u32, &BlockEntry),
        stored: &[u8],
        plain: &[u8],
    ) -> Result<(), RepoError> {
        let inconsistent = |what: String| RepoError::Inconsistent { object: object.to_owned(), what };
        let prefixes = prefixes_of(entry, stored);
        let keys = self.repo.content.of(entry.generation).ok_or_else(|| {
            let generation = entry.generation;
            inconsistent(format!("block {number} is of content generation {generation}, which nothing began"))
        })?;
        let key = match entry.kind {
            BlockKind::Data | BlockKind::Blinded => &keys.chunk_id,
            BlockKind::Recipe => &keys.node_id,
        };
        let mut prefixes = prefixes.chunks_exact(PREFIX_BYTES);
        let mut rest = plain;
        for (id, len) in table.chunks_of(entry) {
            let split = rest.split_at_checked(*len as usize);
            let (chunk, later) = split.ok_or_else(|| inconsistent(format!("block {number} is too short")))?;
            let hash = match prefixes.next() {
                Some(prefix) => blinded_hash(key, prefix, chunk),
                None => blake3::keyed_hash(key.expose(), chunk),
            };
            if hash != *id {
                return Err(inconsistent(format!("block {number} holds other bytes than its ids say")));
            }
            rest = later;
        }
        Ok(())
    }

    /// The opener of a pack.
    ///
    /// # Errors
    /// When the pack is missing, or its front damaged.
    pub fn opener(&self, pack: &PackId) -> Result<Arc<PackOpener>, RepoError> {
        let place = self.place_of(pack);
        // Held while the pack's front is fetched: threads that want the same pack at the same moment fetch it once.
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(opener) = place.as_ref() {
            return Ok(Arc::clone(opener));
        }
        let object = pack_key(pack);
        let mut front = [0; FRONT_BYTES];
        let outcome = self.repo.storage.get_range(&object, 0, &mut front);
        outcome.map_err(|error| storage_error(&object, error))?;
        let opener = self.unwrapped(object, &front)?;
        *place = Some(Arc::clone(&opener));
        Ok(opener)
    }

    fn unwrapped(&self, object: String, front: &[u8; FRONT_BYTES]) -> Result<Arc<PackOpener>, RepoError> {
        let opener = PackOpener::new(front, &self.repo.id, &self.repo.keys);
        opener.map(Arc::new).map_err(|source| match source {
            FormatError::Crypto(error @ CryptoError::RoleTooWeak { .. }) => error.into(),
            source => RepoError::Damaged { object, source },
        })
    }

    /// Whether nobody needs to fetch the pack's front any more, or somebody is just doing it.
    fn is_at_hand(&self, pack: &PackId) -> bool {
        self.place_of(pack).try_lock().map_or(true, |place| place.is_some())
    }

    /// The opener of a pack whose front was fetched with its first blocks: one wait for the wire instead of two.
    fn opener_of(&self, pack: &PackId, front: &[u8]) -> Result<Arc<PackOpener>, RepoError> {
        let object = pack_key(pack);
        let Some(front) = front.first_chunk::<FRONT_BYTES>() else {
            return Err(RepoError::Damaged { object, source: FormatError::CutShort });
        };
        let opener = self.unwrapped(object, front)?;
        let place = self.place_of(pack);
        place.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| Arc::clone(&opener));
        Ok(opener)
    }

    /// Where the pack's opener is kept, or will be.
    fn place_of(&self, pack: &PackId) -> OpenerPlace {
        let mut openers = self.openers.lock().unwrap_or_else(PoisonError::into_inner);
        let at = openers.iter().position(|(id, _)| id == pack);
        let kept = at.and_then(|at| openers.remove(at)).unwrap_or_else(|| (*pack, Arc::default()));
        let place = Arc::clone(&kept.1);
        openers.push_front(kept);
        openers.truncate(OPENERS_KEPT);
        place
    }
}

/// What blinds the chunks of an opened block: it stands in front of the compressed bytes.
pub(in crate::vault) fn prefixes_of<'a>(entry: &BlockEntry, opened: &'a [u8]) -> &'a [u8] {
    opened.get(..entry.chunks as usize * entry.kind.prefix_bytes()).unwrap_or_default()
}

/// The hash that names a blinded chunk.
pub(in crate::vault) fn blinded_hash(key: &SecretKey, prefix: &[u8], chunk: &[u8]) -> blake3::Hash {
    blake3::Hasher::new_keyed(key.expose()).update(prefix).update(chunk).finalize()
}

/// An opened block.
pub(in crate::vault) struct OpenedBlock {
    /// What blinds its chunks, 16 bytes each, or nothing.
    pub prefixes: Vec<u8>,
    /// Its chunks' bytes.
    pub plain: Vec<u8>,
}

impl OpenedBlock {
    /// What blinds chunk `number`; nothing where nothing does.
    pub(crate) fn prefix(&self, number: usize) -> &[u8] {
        let start = number * PREFIX_BYTES;
        self.prefixes.get(start..start + PREFIX_BYTES).unwrap_or_default()
    }
}

fn storage_error(object: &str, error: StorageError) -> RepoError {
    match error.kind {
        ErrorKind::NotFound => RepoError::Missing { object: object.to_owned() },
        ErrorKind::ShortObject => {
            RepoError::Damaged { object: object.to_owned(), source: FormatError::CutShort }
        }
        _ => error.into(),
    }
}
