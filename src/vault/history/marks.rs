//! Marks that are put: what is said of snapshots and packs, in the place of what was said before.

use super::{Vouched, superseded};
use crate::base::id::{MarkId, PackId, SnapshotId};
use crate::vault::format::mark::{Mark, MarkKind};
use crate::vault::objects::{ObjectName as _, pack_key};
use crate::vault::{RepoError, Repository};

/// Ids that one *checked* mark names at most.
const CHECKED_TOGETHER: usize = 500;

/// Who puts marks into a repository.
#[derive(Debug, Clone, Copy)]
pub struct Marks<'a>(pub(super) &'a Repository);

impl Marks<'_> {
    /// Puts a mark.
    pub(in crate::vault) fn put_mark(&self, mark: &Mark) -> Result<MarkId, RepoError> {
        self.0.put_hashed(&mark.seal(self.0.id, &self.0.keys, self.0.entropy.as_ref())?)
    }

    /// Says something of a snapshot in the place of all that marks of the same kind say of it; with `None`, nothing any
    /// more.
    ///
    /// # Errors
    /// When the mark cannot be written. Taking back takes a full key.
    pub fn mark_snapshot(
        &self,
        snapshot: &SnapshotId,
        kind: MarkKind,
        value: Option<Option<String>>,
        host: &str,
        now_ms: i64,
    ) -> Result<(), RepoError> {
        self.mark_object(snapshot.key(), kind, value, host, now_ms)
    }

    /// The pack is whole again, or was all the time: takes back that it is damaged.
    ///
    /// # Errors
    /// When the mark cannot be written. Takes a full key.
    pub fn clear_damaged(&self, pack: &PackId, host: &str, now_ms: i64) -> Result<(), RepoError> {
        self.mark_object(pack_key(pack), MarkKind::Damaged, None, host, now_ms)
    }

    fn mark_object(
        &self,
        object: String,
        kind: MarkKind,
        value: Option<Option<String>>,
        host: &str,
        now_ms: i64,
    ) -> Result<(), RepoError> {
        let mut catalog = self.0.catalog(&crate::base::event::Silent)?;
        let mut unreadable = Vec::new();
        let marks = self.0.read_marks(&mut catalog, &mut unreadable)?;
        let gone = superseded(&marks);
        let holds = |vouched: &&Vouched| {
            vouched.mark.kind == kind && vouched.mark.object == object && !gone.contains(&vouched.id)
        };
        let supersedes: Vec<MarkId> = marks.iter().filter(holds).map(|vouched| vouched.id).collect();
        let (kind, value) = match value {
            Some(value) => (kind, value),
            None if supersedes.is_empty() => return Ok(()),
            None => (MarkKind::Cleared, None),
        };
        let mark = Mark { kind, object, time_ms: now_ms, supersedes, value, host: host.to_owned() };
        self.put_mark(&mark).map(|_| ())
    }

    /// Says that a check of this host found these snapshots whole, in the place of what it said before. Takes a full
    /// key.
    ///
    /// # Errors
    /// When a mark cannot be written.
    pub fn mark_checked(&self, snapshots: &[SnapshotId], host: &str, now_ms: i64) -> Result<(), RepoError> {
        let mut catalog = self.0.catalog(&crate::base::event::Silent)?;
        let marks = self.0.read_marks(&mut catalog, &mut Vec::new())?;
        let gone = superseded(&marks);
        let is_old = |vouched: &&Vouched| {
            vouched.mark.kind == MarkKind::Checked && vouched.mark.host == host && !gone.contains(&vouched.id)
        };
        let old: Vec<MarkId> = marks.iter().filter(is_old).map(|vouched| vouched.id).collect();
        let marks_due = snapshots.len().div_ceil(CHECKED_TOGETHER);
        for (at, ids) in snapshots.chunks(CHECKED_TOGETHER).enumerate() {
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            self.put_mark(&Mark {
                kind: MarkKind::Checked,
                object: "snapshots".to_owned(),
                time_ms: now_ms,
                supersedes: if at + 1 == marks_due { old.clone() } else { Vec::new() },
                value: Some(ids.join("\n")),
                host: host.to_owned(),
            })?;
        }
        for id in old.iter().filter(|_| marks_due > 0) {
            // Safe to ignore because it is superseded: a storage that deletes nothing keeps a small object more.
            let _ = self.0.storage.delete(&id.key());
        }
        Ok(())
    }

    /// Remembers that a pack is damaged, so that no new snapshot relies on it.
    ///
    /// # Errors
    /// When the mark cannot be written.
    pub fn mark_damaged(
        &self,
        pack: &PackId,
        why: &str,
        host: &str,
        now_ms: i64,
    ) -> Result<MarkId, RepoError> {
        self.put_mark(&Mark {
            kind: MarkKind::Damaged,
            object: pack_key(pack),
            time_ms: now_ms,
            supersedes: Vec::new(),
            value: Some(why.to_owned()),
            host: host.to_owned(),
        })
    }
}
