//! Forgetting: snapshots go, with all that is said of them. What they alone reach goes with a prune.

use crate::base::id::{MarkId, SnapshotId};
use crate::storage::ErrorKind;
use crate::vault::catalog::Catalog;
use crate::vault::crypto::{CryptoError, Role};
use crate::vault::format::mark::{Mark, MarkKind};
use crate::vault::history::{History, Vouched, superseded};
use crate::vault::objects::ObjectName;
use crate::vault::{RepoError, Repository};
use std::collections::HashMap;

/// Ids that one *forgotten* mark names at most.
const FORGOTTEN_TOGETHER: usize = 500;
/// So many *forgotten* marks that name fewer are put together.
const SHORT_MARKS: usize = 8;

impl Repository {
    /// Removes a snapshot that was never committed and whose session was ended. Its writer may be suspended right before the last step: it
    /// takes the mark back that it then puts, but may be killed before it comes to that. So it is said first that such a mark says nothing.
    pub(super) fn remove_abandoned(&self, id: &SnapshotId, now_ms: i64) -> Result<(), RepoError> {
        self.put_mark(&Mark {
            kind: MarkKind::Cleared,
            object: id.key(),
            time_ms: now_ms,
            supersedes: Vec::new(),
            value: None,
            host: String::new(),
        })?;
        Ok(self.storage.delete(&id.key())?)
    }

    /// Says of every committed snapshot whose object is gone that it is given up, so that nothing waits for it any more; which they are.
    ///
    /// # Errors
    /// When the key is not a full one, or the storage fails.
    pub fn give_up_missing(&self, now_ms: i64) -> Result<Vec<SnapshotId>, RepoError> {
        let history = self.history(&mut self.catalog(&crate::base::event::Silent)?)?;
        let mut given_up = Vec::new();
        for damage in &history.damaged {
            let RepoError::Missing { object } = &damage.error else { continue };
            let Some(id) = object.strip_prefix("snapshots/").and_then(|name| name.parse::<SnapshotId>().ok())
            else {
                continue;
            };
            self.give_up(id.key(), now_ms)?;
            given_up.push(id);
        }
        Ok(given_up)
    }

    /// Says that nothing waits any more for an object that is gone or cannot be read.
    fn give_up(&self, object: String, now_ms: i64) -> Result<(), RepoError> {
        self.put_mark(&Mark {
            kind: MarkKind::GivenUp,
            object,
            time_ms: now_ms,
            supersedes: Vec::new(),
            value: None,
            host: String::new(),
        })
        .map(|_| ())
    }

    /// Gives up every mark, and every snapshot that no mark commits, that cannot be read; their keys.
    ///
    /// # Errors
    /// When the key is not a full one, or the storage fails.
    pub fn give_up_unreadable(&self, now_ms: i64) -> Result<Vec<String>, RepoError> {
        self.refuse_append("giving up what cannot be read")?;
        let mut given_up: Vec<String> = Vec::new();
        loop {
            // A mark that cannot be read may commit a snapshot that cannot be read: once the one is given up, the other can be.
            let history = self.history(&mut self.catalog(&crate::base::event::Silent)?)?;
            let unreadable = history.damaged.iter().filter(|damage| !damage.stops_deletion);
            let mut objects: Vec<String> =
                unreadable.filter_map(|damage| damage.error.object().map(str::to_owned)).collect();
            objects.retain(|object| !given_up.contains(object));
            if objects.is_empty() {
                return Ok(given_up);
            }
            for object in objects {
                self.give_up(object.clone(), now_ms)?;
                given_up.push(object);
            }
        }
    }

    /// Confirms the times of snapshots that are doubtful; which they are.
    ///
    /// # Errors
    /// When the key is not a full one, or the storage fails.
    pub fn confirm_times(
        &self,
        only: Option<&SnapshotId>,
        now_ms: i64,
    ) -> Result<Vec<SnapshotId>, RepoError> {
        self.refuse_append("confirming times")?;
        let history = self.history(&mut self.catalog(&crate::base::event::Silent)?)?;
        let all = history.snapshots.iter().chain(&history.uncommitted);
        let doubtful =
            all.filter(|summary| summary.is_doubtful && only.is_none_or(|only| *only == summary.id));
        let mut confirmed = Vec::new();
        for summary in doubtful {
            self.put_mark(&Mark {
                kind: MarkKind::TimeConfirmed,
                object: summary.id.key(),
                time_ms: now_ms,
                supersedes: Vec::new(),
                value: None,
                host: String::new(),
            })?;
            confirmed.push(summary.id);
        }
        Ok(confirmed)
    }

    /// Keys of all objects that count for nothing.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn foreign_objects(&self) -> Result<Vec<String>, RepoError> {
        let mut catalog = self.catalog(&crate::base::event::Silent)?;
        let history = self.history(&mut catalog)?;
        self.foreign_of(&catalog, &history)
    }

    fn foreign_of(&self, catalog: &Catalog, history: &History) -> Result<Vec<String>, RepoError> {
        let mut objects: Vec<String> = history.foreign.iter().map(|foreign| foreign.object.clone()).collect();
        objects.extend(catalog.foreign_indexes(&self.authors.fingerprint())?.iter().map(ObjectName::key));
        objects.extend(self.foreign_slots()?.iter().map(ObjectName::key));
        Ok(objects)
    }

    /// Removes all objects that count for nothing; their keys. What only they reach goes with a prune. Of snapshots it is said first that
    /// they go on purpose: hosts may remember them from the time when they counted, and marks may still commit them.
    ///
    /// # Errors
    /// When the key is not a full one, or the storage fails.
    pub fn forget_foreign(&self) -> Result<Vec<String>, RepoError> {
        self.refuse_append("removing foreign objects")?;
        let mut catalog = self.catalog(&crate::base::event::Silent)?;
        let history = self.history(&mut catalog)?;
        let objects = self.foreign_of(&catalog, &history)?;
        let snapshots: Vec<SnapshotId> = history.foreign_snapshots().collect();
        if !snapshots.is_empty() {
            let marks = self.read_marks(&mut catalog, &mut Vec::new())?;
            self.note_forgotten(&snapshots, &marks)?;
            self.remove_marks_of(&snapshots, &marks)?;
        }
        for object in &objects {
            self.storage.delete(object)?;
        }
        Ok(objects)
    }

    fn refuse_append(&self, needed: &'static str) -> Result<(), RepoError> {
        match self.keys.role() {
            Role::Full => Ok(()),
            Role::Append => Err(CryptoError::RoleTooWeak { needed }.into()),
        }
    }

    /// Says that snapshots are removed on purpose, so that no host takes it for a rollback. Few words a run come together.
    fn note_forgotten(&self, snapshots: &[SnapshotId], marks: &[Vouched]) -> Result<(), RepoError> {
        let gone = superseded(marks);
        let is_short = |vouched: &&Vouched| {
            let lines = vouched.mark.value.as_ref().map_or(0, |ids| ids.lines().count());
            vouched.mark.kind == MarkKind::Forgotten
                && vouched.by.is_full()
                && !gone.contains(&vouched.id)
                && lines < FORGOTTEN_TOGETHER
        };
        let short: Vec<&Vouched> = marks.iter().filter(is_short).collect();
        let short = if short.len() >= SHORT_MARKS { short } else { Vec::new() };
        let said = short.iter().flat_map(|vouched| vouched.mark.value.iter().flat_map(|ids| ids.lines()));
        let mut ids: Vec<String> = said.map(str::to_owned).collect();
        ids.extend(snapshots.iter().map(ToString::to_string));
        ids.sort_unstable();
        ids.dedup();
        let marks_due = ids.len().div_ceil(FORGOTTEN_TOGETHER);
        for (at, ids) in ids.chunks(FORGOTTEN_TOGETHER).enumerate() {
            self.put_mark(&Mark {
                kind: MarkKind::Forgotten,
                object: "snapshots".to_owned(),
                time_ms: self.clock.now().as_millisecond(),
                // With the last one all are said anew.
                supersedes: match at + 1 == marks_due {
                    true => short.iter().map(|vouched| vouched.id).collect(),
                    false => Vec::new(),
                },
                value: Some(ids.join("\n")),
                host: String::new(),
            })?;
        }
        for vouched in short {
            self.storage.delete(&vouched.id.key())?;
        }
        Ok(())
    }

    /// Removes snapshots, committed or not. That they are removed on purpose is said first, then their marks go, so that a crash in between leaves garbage and no snapshot that is
    /// listed and missing. What is not there any more is no error.
    ///
    /// # Errors
    /// When the key is not a full one, a mark cannot be read, or the storage fails; then some of the snapshots may be gone.
    pub fn forget(&self, snapshots: &[SnapshotId]) -> Result<(), RepoError> {
        if self.keys.role() != Role::Full {
            return Err(CryptoError::RoleTooWeak { needed: "forgetting snapshots" }.into());
        }
        let mut catalog = self.catalog(&crate::base::event::Silent)?;
        let mut unreadable = Vec::new();
        Self::refuse_turned_back(&self.history(&mut catalog)?)?;
        let marks = self.read_marks(&mut catalog, &mut unreadable)?;
        let noted = if snapshots.is_empty() { Ok(()) } else { self.note_forgotten(snapshots, &marks) };
        // A full store takes the word only once something is gone.
        let is_full = matches!(&noted, Err(RepoError::Storage(error)) if error.kind == ErrorKind::NoSpace);
        if !is_full {
            noted?;
        }
        self.remove_marks_of(snapshots, &marks)?;
        for snapshot in snapshots {
            self.storage.delete(&snapshot.key())?;
        }
        if is_full {
            self.note_forgotten(snapshots, &marks)?;
        }
        Ok(())
    }

    /// Removes the marks of snapshots that are about to go.
    fn remove_marks_of(&self, snapshots: &[SnapshotId], marks: &[Vouched]) -> Result<(), RepoError> {
        let mut of_object: HashMap<&str, Vec<(&MarkId, usize)>> = HashMap::new();
        for Vouched { id, mark, .. } in marks {
            // A mark that is superseded must not hold again for a moment because the one that does so went first.
            let superseded_by = marks.iter().filter(|other| other.mark.supersedes.contains(id)).count();
            of_object.entry(&mark.object).or_default().push((id, superseded_by));
        }
        for snapshot in snapshots {
            let mut own = of_object.remove(snapshot.key().as_str()).unwrap_or_default();
            own.sort_by_key(|(_, superseded_by)| std::cmp::Reverse(*superseded_by));
            for (mark, _) in own {
                self.storage.delete(&mark.key())?;
            }
        }
        Ok(())
    }
}
