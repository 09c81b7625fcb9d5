//! A check without a key: every object's bytes have the hash that is its name, and a header of this repository.

use super::packs::{Due, choose, read};
use super::remember::{Depth, Remembered};
use super::{CheckReport, CheckSettings, Damage, ReadData};
use crate::base::event::{Cancel, Event, Observer};
use crate::base::id::{EpochId, IndexId, MarkId, PackId, PlanId, RepoId, SlotId, SnapshotId, StatementId};
use crate::storage::Storage;
use crate::vault::format::FormatError;
use crate::vault::format::header::{Header, ObjectType};
use crate::vault::format::index::INDEX_BYTES_MAX;
use crate::vault::objects::{ObjectName, fetch, name_in_key};
use crate::vault::{RepoError, Repository};
use std::path::Path;

/// Checks all that can be checked of `storage` without a key. Packs found whole are remembered below `cache_root`.
///
/// What it cannot see: an object that is not there any more, and bytes that were wrong when they were written.
///
/// # Errors
/// When the storage fails, or holds no repository.
pub fn check_storage(
    storage: &dyn Storage,
    cache_root: &Path,
    settings: &CheckSettings,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<CheckReport, RepoError> {
    let mut report = CheckReport::default();
    let repo = match Repository::identify(storage) {
        Ok(identity) => Some(identity.id),
        Err(error) if error.is_integrity() => {
            report.add(&error);
            None
        }
        Err(error) => return Err(error),
    };
    observer.observe(Event::Step { what: "reading metadata".to_owned() });
    let check = Check { storage, repo, cancel };
    if check.all::<SlotId>("keys/", ObjectType::KeySlot, &mut report)? == 0 {
        report.damage.push(Damage { object: "keys".to_owned(), what: "no key slot is there".to_owned() });
    }
    report.snapshots = check.all::<SnapshotId>("snapshots/", ObjectType::Snapshot, &mut report)?;
    check.all::<MarkId>("marks/", ObjectType::Mark, &mut report)?;
    check.all::<IndexId>("index/", ObjectType::Index, &mut report)?;
    check.all::<StatementId>("authors/", ObjectType::Author, &mut report)?;
    check.all::<EpochId>("epochs/", ObjectType::Epoch, &mut report)?;
    check.all::<PlanId>("gc/", ObjectType::PrunePlan, &mut report)?;

    let mut packs = Vec::new();
    storage.list("packs/", &mut |listed| {
        let id = name_in_key::<PackId>(&listed.key);
        packs.extend(id.map(|id| Due { id, bytes: listed.bytes, number: 0 }));
    })?;
    report.packs = packs.len() as u64;
    report.pack_bytes = packs.iter().map(|pack| pack.bytes).sum();
    let name = repo.map_or_else(|| "unknown".to_owned(), |repo| repo.to_string());
    let remembered = Remembered::open(&cache_root.join(name));
    let times = remembered.times(Depth::Hash, settings.now_ms);
    // There is little else to do without a key.
    let share = if settings.read == ReadData::Nothing { ReadData::All } else { settings.read };
    let chosen = choose(packs.clone(), share, &times);
    let look = |pack: &Due| check.one(&pack.id, ObjectType::Pack, pack.bytes).map(|()| Depth::Hash);
    let reading = read(&chosen, settings, &remembered, observer, cancel, &look)?;
    report.take_reading(&reading);
    report.describe_age(packs.iter().map(|pack| pack.id), &remembered.times(Depth::Hash, settings.now_ms));
    for (id, what) in reading.bad {
        report.damage.push(Damage { object: id.key(), what });
    }
    report.damage.sort_by(|a, b| a.object.cmp(&b.object));
    Ok(report)
}

struct Check<'a> {
    storage: &'a dyn Storage,
    repo: Option<RepoId>,
    cancel: &'a Cancel,
}

impl Check<'_> {
    /// Checks all objects of a kind; how many there are.
    fn all<N: ObjectName + std::str::FromStr>(
        &self,
        prefix: &str,
        kind: ObjectType,
        report: &mut CheckReport,
    ) -> Result<u64, RepoError> {
        let mut names = Vec::new();
        self.storage.list(prefix, &mut |listed| {
            names.extend(name_in_key::<N>(&listed.key).map(|name| (name, listed.bytes)));
        })?;
        for (name, bytes) in &names {
            if self.cancel.is_cancelled() {
                return Err(RepoError::Cancelled);
            }
            let outcome = match self.one(name, kind, *bytes) {
                Err(error @ RepoError::Missing { .. }) => {
                    // Forgotten or replaced since it was listed.
                    let is_there = self.storage.size(&name.key())?.is_some();
                    if is_there { Err(error) } else { Ok(()) }
                }
                outcome => outcome,
            };
            report.note(outcome)?;
        }
        Ok(names.len() as u64)
    }

    fn one<N: ObjectName>(&self, name: &N, kind: ObjectType, bytes: u64) -> Result<(), RepoError> {
        let limit = if kind == ObjectType::Pack {
            crate::vault::format::config::PACK_BYTES_MAX
        } else {
            INDEX_BYTES_MAX
        };
        let damaged = |source| RepoError::Damaged { object: name.key(), source };
        if bytes > limit {
            return Err(damaged(FormatError::Malformed { what: "it is larger than any such object" }));
        }
        let read = fetch(self.storage, name, bytes)?;
        match Header::read(&read, kind, self.repo.as_ref()) {
            Ok(_) => Ok(()),
            // Whole, and another program's to read.
            Err(FormatError::NewerVersion { .. } | FormatError::UnknownFeatures { .. }) => Ok(()),
            Err(source) => Err(damaged(source)),
        }
    }
}
