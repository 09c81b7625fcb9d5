//! What checks, repairs and prolonged locks found and did.

use super::{Id, Report, Time};
use crate::engine::repair::SnapshotsRepair;
use crate::vault::check::{CheckReport, Damage, Hit};
use crate::vault::history::ForeignObject;
use crate::vault::object_locks;
use crate::vault::repair::{IndexRepair, PacksRepair, SetAside};
use schemars::JsonSchema;
use serde::Serialize;

/// What a check found.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Check {
    /// Nothing is damaged. Locks that end too soon are another matter.
    pub ok: bool,
    /// How deep the check went.
    pub level: CheckLevel,
    /// All data was to be read, by `--read-data`.
    pub read_data: bool,
    /// Committed snapshots.
    pub snapshots: u64,
    /// Metadata objects that were read.
    pub objects: u64,
    /// Packs listed.
    pub packs: u64,
    /// Bytes of those packs.
    pub pack_bytes: u64,
    /// Packs that were read.
    pub packs_read: u64,
    /// Bytes of packs that were read.
    pub bytes_read: u64,
    /// Packs that should have been read, and for which there was no time.
    pub packs_left: u64,
    /// Packs that were never read to the end and found whole, as far as this host remembers.
    pub packs_never_read: u64,
    /// When the pack that was read the longest ago was read.
    pub oldest_read: Option<Time>,
    /// Damaged or missing objects.
    pub damage: Vec<DamagedObject>,
    /// Packs known to be damaged of which no snapshot needs anything any more. No damage: a prune removes them.
    pub set_aside: Vec<DamagedObject>,
    /// Packs marked as damaged that were read and are whole.
    pub recovered: Vec<Id>,
    /// Snapshots that are not whole.
    pub snapshots_hit: Vec<SnapshotHit>,
    /// Packs that no committed snapshot needs. Not damage.
    pub unreferenced_packs: u64,
    /// Bytes of those packs.
    pub unreferenced_bytes: u64,
    /// Snapshots without a mark that commits them. Not damage.
    pub uncommitted: Vec<Id>,
    /// Objects that count for nothing. Not damage.
    pub foreign: Vec<DamagedObject>,
    /// What this host, or a full key, saw in the repository and is gone.
    pub turned_back: Vec<String>,
    /// What an append key says is gone or damaged: it may be lying.
    pub claimed_lost: Vec<String>,
    /// Temporary files of runs under way or killed, where the repository is a folder.
    pub temporary_files: usize,
    /// Locks of needed objects that end too soon. Empty where nothing is locked, or something is damaged.
    pub short_locks: Vec<ShortLock>,
}

impl Report for Check {}

/// How deep a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CheckLevel {
    /// Objects are what their names say; no key was needed.
    Storage,
    /// Every snapshot was followed to its blocks; no pack was read.
    Structure,
    /// Packs were read, too.
    Data,
}

impl Check {
    /// What was found; of the storage alone, or with a key.
    pub fn new(found: &CheckReport, is_storage_only: bool) -> Self {
        let level = match (is_storage_only, found.packs_read) {
            (true, _) => CheckLevel::Storage,
            (false, 0) => CheckLevel::Structure,
            (false, _) => CheckLevel::Data,
        };
        Self {
            ok: found.is_clean(),
            level,
            read_data: false,
            snapshots: found.snapshots,
            objects: found.objects,
            packs: found.packs,
            pack_bytes: found.pack_bytes,
            packs_read: found.packs_read,
            bytes_read: found.bytes_read,
            packs_left: found.packs_left,
            packs_never_read: found.packs_never_read,
            oldest_read: found.oldest_read_ms.map(Time::from_ms),
            damage: all(&found.damage),
            set_aside: all(&found.quarantined),
            recovered: Id::all(&found.recovered),
            snapshots_hit: all(&found.hits),
            unreferenced_packs: found.unreferenced_packs,
            unreferenced_bytes: found.unreferenced_bytes,
            uncommitted: Id::all(&found.uncommitted),
            foreign: all(&found.foreign),
            turned_back: found.turned_back.clone(),
            claimed_lost: found.claimed_lost.clone(),
            temporary_files: 0,
            short_locks: Vec::new(),
        }
    }
}

/// One report for each of several things.
fn all<'a, T, R: From<&'a T>>(things: &'a [T]) -> Vec<R> {
    things.iter().map(R::from).collect()
}

/// An object, and what is the matter with it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct DamagedObject {
    /// Key of the object in the storage.
    pub object: String,
    /// What is wrong with it.
    pub what: String,
    /// Series and host that it says it is of, for people.
    #[serde(skip)]
    pub claims: Option<(String, String)>,
}

impl From<&Damage> for DamagedObject {
    fn from(damage: &Damage) -> Self {
        Self { object: damage.object.clone(), what: damage.what.clone(), claims: None }
    }
}

impl From<&ForeignObject> for DamagedObject {
    fn from(foreign: &ForeignObject) -> Self {
        let claims = foreign.head.as_ref().map(|head| (head.series.clone(), head.host.clone()));
        Self { object: foreign.object.clone(), what: foreign.why.to_string(), claims }
    }
}

/// A committed snapshot that cannot be restored whole.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SnapshotHit {
    /// The snapshot.
    pub snapshot: Id,
    /// Its series.
    pub series: String,
    /// The stream; empty when it is the snapshot itself that is damaged.
    pub stream: String,
    /// Bytes of the stream that are lost, where that is known; 0 otherwise.
    pub bytes_lost: u64,
    /// Offset in the stream of the first of them.
    pub first_lost: u64,
    /// Which bytes of the stream are lost: first, and one past the last. Of very many ranges, some stand together as
    /// one.
    pub ranges: Vec<[u64; 2]>,
    /// The tables of a database that they are of, where that is known.
    pub tables: Vec<String>,
    /// Packs that should hold them.
    pub packs: Vec<Id>,
    /// Why.
    pub what: String,
}

impl From<&Hit> for SnapshotHit {
    fn from(hit: &Hit) -> Self {
        Self {
            snapshot: Id::of(hit.id),
            series: hit.series.clone(),
            stream: hit.stream.clone(),
            bytes_lost: hit.bytes_lost,
            first_lost: hit.first_lost,
            ranges: hit.ranges.iter().map(|range| [range.start, range.end]).collect(),
            tables: hit.tables.clone(),
            packs: Id::all(&hit.packs),
            what: hit.what.clone(),
        }
    }
}

/// An object whose lock ends too soon.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ShortLock {
    /// Key of the object in the storage.
    pub object: String,
    /// Until when it is locked; null where it is not.
    pub until: Option<Time>,
}

impl From<&object_locks::ShortLock> for ShortLock {
    fn from(short: &object_locks::ShortLock) -> Self {
        Self { object: short.object.clone(), until: short.until.and_then(Time::of_system) }
    }
}

/// Object locks that were extended, or would be.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct LockExtension {
    /// Nothing was changed, only looked.
    pub dry_run: bool,
    /// Objects that snapshots need.
    pub objects: u64,
    /// All of them are locked until then at least.
    pub until: Time,
}

impl Report for LockExtension {}

/// The index was made anew.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RepairedIndex {
    /// Nothing was changed, only looked: the numbers are those that a repair would come to.
    pub dry_run: bool,
    /// Everything that the packs hold is named again.
    pub ok: bool,
    /// Packs that the index names now.
    pub packs: u64,
    /// Index objects before, which the new ones replace.
    pub indexes_before: u64,
    /// Index objects now.
    pub indexes_written: u64,
    /// Packs of which nothing says what they hold. They are left alone.
    pub unexplained: Vec<DamagedObject>,
    /// Packs that are not there, and that held what no other pack does.
    pub missing: Vec<Id>,
    /// Packs that are not there, and that nobody can miss: the index names them no more.
    pub dropped: Vec<Id>,
}

impl Report for RepairedIndex {}

impl RepairedIndex {
    /// What a repair came to, or would.
    pub fn new(repair: &IndexRepair, dry_run: bool) -> Self {
        Self {
            dry_run,
            ok: repair.unexplained.is_empty() && repair.missing.is_empty(),
            packs: repair.packs,
            indexes_before: repair.indexes_before,
            indexes_written: repair.indexes_written,
            unexplained: all(&repair.unexplained),
            missing: Id::all(&repair.missing),
            dropped: Id::all(&repair.dropped),
        }
    }
}

/// Damaged packs were brought to safety.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RepairedPacks {
    /// Nothing was changed, only looked: the lists are those that a repair would come to.
    pub dry_run: bool,
    /// Nothing is lost for good.
    pub ok: bool,
    /// Packs that were marked as damaged and are whole: they are marked no more.
    pub recovered: Vec<Id>,
    /// Packs that are damaged.
    pub set_aside: Vec<DamagedPack>,
    /// Packs that are not there. Only a copy of the repository, or a new backup, brings back what they held.
    pub missing: Vec<Id>,
    /// Packs of which nothing says what they hold.
    pub unexplained: Vec<DamagedObject>,
    /// Chunks and recipe nodes that were copied.
    pub chunks_salvaged: u64,
    /// Packs written with them; 0 with `dry_run`.
    pub packs_written: u64,
    /// Bytes of those packs.
    pub bytes_written: u64,
}

impl Report for RepairedPacks {}

impl RepairedPacks {
    /// What a repair came to, or would.
    pub fn new(repair: &PacksRepair, dry_run: bool) -> Self {
        Self {
            dry_run,
            ok: repair.is_whole(),
            recovered: Id::all(&repair.recovered),
            set_aside: all(&repair.set_aside),
            missing: Id::all(&repair.missing),
            unexplained: all(&repair.unexplained),
            chunks_salvaged: repair.chunks_salvaged,
            packs_written: repair.packs_written,
            bytes_written: repair.bytes_written,
        }
    }
}

/// A pack that is damaged, and stays so.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct DamagedPack {
    /// The pack.
    pub pack: Id,
    /// What is wrong with it.
    pub what: String,
    /// Its blocks.
    pub blocks: u64,
    /// Those that do not open.
    pub blocks_broken: u64,
    /// Chunks and recipe nodes in these that no other pack holds.
    pub chunks_lost: u64,
}

impl From<&SetAside> for DamagedPack {
    fn from(pack: &SetAside) -> Self {
        Self {
            pack: Id::of(pack.pack),
            what: pack.what.clone(),
            blocks: pack.blocks,
            blocks_broken: pack.blocks_broken,
            chunks_lost: pack.chunks_lost,
        }
    }
}

/// Snapshots were marked by whether they are whole.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RepairedSnapshots {
    /// Nothing was changed, only looked: the lists are those that a repair would come to.
    pub dry_run: bool,
    /// All snapshots are whole.
    pub ok: bool,
    /// Snapshots that are marked since now.
    pub marked: Vec<Id>,
    /// Snapshots that were marked before and are not whole still.
    pub still: Vec<Id>,
    /// Snapshots that were marked and are whole again: they are marked no more.
    pub recovered: Vec<Id>,
    /// Snapshots that were committed and are not there: nothing speaks of them any more.
    pub given_up: Vec<Id>,
    /// What of which snapshot is lost.
    pub snapshots_hit: Vec<SnapshotHit>,
}

impl Report for RepairedSnapshots {}

impl RepairedSnapshots {
    /// What a repair came to, or would.
    pub fn new(repair: &SnapshotsRepair, dry_run: bool) -> Self {
        Self {
            dry_run,
            ok: repair.marked.is_empty() && repair.still.is_empty() && repair.given_up.is_empty(),
            marked: Id::all(&repair.marked),
            still: Id::all(&repair.still),
            recovered: Id::all(&repair.recovered),
            given_up: Id::all(&repair.given_up),
            snapshots_hit: all(&repair.report.hits),
        }
    }
}

/// Marks and snapshots that cannot be read were given up.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RepairedMarks {
    /// Always true.
    pub ok: bool,
    /// Nothing was given up, only looked.
    pub dry_run: bool,
    /// Keys of the objects in the storage.
    pub given_up: Vec<String>,
}

impl Report for RepairedMarks {}

/// Doubtful times were confirmed.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RepairedTimes {
    /// Always true.
    pub ok: bool,
    /// Nothing was confirmed, only looked.
    pub dry_run: bool,
    /// The snapshots.
    pub confirmed: Vec<Id>,
}

impl Report for RepairedTimes {}
