//! Forgetting: snapshots go, with all that is said of them. What they alone reach goes with a prune.

use super::survey::{Survey, refuse_newer};
use crate::base::id::{MarkId, PackId, SnapshotId};
use crate::storage::ErrorKind;
use crate::vault::catalog::Catalog;
use crate::vault::crypto::{CryptoError, Role};
use crate::vault::format::FormatError;
use crate::vault::format::config::PACK_BYTES_MAX;
use crate::vault::format::mark::{Mark, MarkKind};
use crate::vault::history::{History, Stops, Vouched, is_newer, refuse_turned_back, superseded};
use crate::vault::objects::{ObjectName, fetch};
use crate::vault::{RepoError, Repository};
use std::collections::{HashMap, HashSet};

/// Ids that one *forgotten* or *checked* mark names at most.
const TOGETHER: usize = 500;
/// So many of these marks that name fewer are put together.
const SHORT_MARKS: usize = 8;

impl Repository {
    /// Removes a snapshot that was never committed and whose session was ended. Its writer may be suspended right
    /// before the last step: it takes the mark back that it then puts, but may be killed before it comes to that. So it
    /// is said first that such a mark says nothing.
    pub(super) fn remove_abandoned(&self, id: &SnapshotId, now_ms: i64) -> Result<(), RepoError> {
        self.marks().put_mark(&Mark {
            kind: MarkKind::Cleared,
            object: id.key(),
            time_ms: now_ms,
            supersedes: Vec::new(),
            value: None,
            host: String::new(),
        })?;
        Ok(self.storage.delete(&id.key())?)
    }

    /// Says of every committed snapshot whose object is gone that it is given up, so that nothing waits for it any
    /// more; which they are.
    ///
    /// # Errors
    /// When the key is not a full one, or the storage fails.
    pub fn give_up_missing(&self, now_ms: i64) -> Result<Vec<SnapshotId>, RepoError> {
        let missing = self.missing_snapshots()?;
        missing.iter().try_for_each(|id| self.give_up(id.key(), now_ms))?;
        Ok(missing)
    }

    /// Committed snapshots whose object is gone.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn missing_snapshots(&self) -> Result<Vec<SnapshotId>, RepoError> {
        let history = self.history(&mut self.catalog(&crate::base::event::Silent)?)?;
        let missing = history.damaged.iter().filter_map(|damage| {
            let RepoError::Missing { object } = &damage.error else { return None };
            object.strip_prefix("snapshots/")?.parse().ok()
        });
        Ok(missing.collect())
    }

    /// Says that nothing waits any more for an object that is gone or cannot be read.
    fn give_up(&self, object: String, now_ms: i64) -> Result<(), RepoError> {
        self.marks()
            .put_mark(&Mark {
                kind: MarkKind::GivenUp,
                object,
                time_ms: now_ms,
                supersedes: Vec::new(),
                value: None,
                host: String::new(),
            })
            .map(|_| ())
    }

    /// Gives up every mark, every prune plan, and every snapshot that no mark commits, that cannot be read; their keys.
    ///
    /// # Errors
    /// When the key is not a full one, or the storage fails.
    pub fn give_up_unreadable(&self, now_ms: i64) -> Result<Vec<String>, RepoError> {
        self.refuse_append("giving up what cannot be read")?;
        let mut given_up: Vec<String> = Vec::new();
        loop {
            // A mark that cannot be read may commit a snapshot that cannot be read: once the one is given up, the other
            // can be.
            let history = self.history(&mut self.catalog(&crate::base::event::Silent)?)?;
            let unreadable = history.damaged.iter().filter(|damage| damage.stops == Stops::Nothing);
            let mut objects: Vec<String> =
                unreadable.filter_map(|damage| damage.error.object().map(str::to_owned)).collect();
            let plans = self.plans()?.1;
            let plans = plans.iter().filter(|error| !is_newer(error)).filter_map(RepoError::object);
            objects.extend(plans.filter(|plan| !history.given_up.contains(*plan)).map(str::to_owned));
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
            self.marks().put_mark(&Mark {
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

    /// Keys of all objects that count for nothing, packs that hold nothing included: what
    /// [`Repository::forget_foreign`] removes.
    ///
    /// # Errors
    /// When the storage fails, or a full author has begun with a newer format.
    pub fn foreign_objects(&self) -> Result<Vec<String>, RepoError> {
        let mut catalog = self.catalog(&crate::base::event::Silent)?;
        let history = self.history(&mut catalog)?;
        self.foreign_of(&mut catalog, &history)
    }

    fn foreign_of(&self, catalog: &mut Catalog, history: &History) -> Result<Vec<String>, RepoError> {
        // What a newer program of somebody else wrote looks foreign, too.
        history.damaged.iter().try_for_each(|damage| refuse_newer(&damage.error))?;
        self.plans()?.1.iter().try_for_each(refuse_newer)?;
        self.refuse_newer_indexes(&catalog.indexes()?, &mut Vec::new())?;
        let mut objects: Vec<String> = history.foreign.iter().map(|foreign| foreign.object.clone()).collect();
        objects.extend(self.foreign_plans()?.into_iter().map(|foreign| foreign.object));
        objects.extend(catalog.foreign_indexes(&self.verdicts())?.iter().map(ObjectName::key));
        objects.extend(self.key_ring().foreign_slots()?.iter().map(ObjectName::key));
        objects.extend(self.authors.junk.iter().map(ObjectName::key));
        for (pack, _) in self.reconcile(catalog, &history.damaged_packs)?.unexplained {
            objects.extend(self.is_no_pack(&pack)?.then(|| pack.key()));
        }
        Ok(objects)
    }

    /// Whether the bytes are those that were put, and no pack of this repository all the same.
    fn is_no_pack(&self, id: &PackId) -> Result<bool, RepoError> {
        match fetch(self.storage.as_ref(), id, PACK_BYTES_MAX) {
            Ok(bytes) => self.read_pack_table(id, bytes.len() as u64).map(drop),
            Err(error) => Err(error),
        }
        .map_or_else(
            |error| match error {
                RepoError::Damaged { source: FormatError::WrongHash, .. } | RepoError::Missing { .. } => {
                    Ok(false)
                }
                error if error.is_integrity() => Ok(true),
                error => Err(error),
            },
            |()| Ok(false),
        )
    }

    /// Removes all objects that count for nothing; their keys. What only they reach goes with a prune. Of snapshots it
    /// is said first that they go on purpose: hosts may remember them from the time when they counted, and marks may
    /// still commit them.
    ///
    /// # Errors
    /// When the key is not a full one, the storage fails or was turned back, a full author has begun with a newer
    /// format, or keys were rotated meanwhile.
    pub fn forget_foreign(&self) -> Result<Vec<String>, RepoError> {
        self.refuse_append("removing foreign objects")?;
        let now = self.refreshed()?;
        let mut catalog = now.catalog(&crate::base::event::Silent)?;
        let history = now.history(&mut catalog)?;
        refuse_turned_back(&history)?;
        let objects = now.foreign_of(&mut catalog, &history)?;
        // What looks foreign may be of an epoch that began while it was listed.
        if now.refreshed()?.authors.fingerprint() != now.authors.fingerprint() {
            let what = "keys were added or rotated at the same time".to_owned();
            return Err(RepoError::Overtaken { what });
        }
        let snapshots: Vec<SnapshotId> = history.foreign_snapshots().collect();
        if !snapshots.is_empty() {
            let marks = now.read_marks(&mut catalog, &mut Vec::new())?;
            now.note_forgotten(&snapshots, &marks)?;
            now.remove_marks_of(&snapshots, &marks)?;
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

    /// Says that snapshots are removed on purpose, so that no host takes it for a rollback.
    fn note_forgotten(&self, snapshots: &[SnapshotId], marks: &[Vouched]) -> Result<(), RepoError> {
        self.note_together(MarkKind::Forgotten, snapshots, marks, |_| true)
    }

    /// Says of the snapshots of append authors that a survey saw whole for the first time that they were. A full store
    /// takes no such word, and goes on without.
    pub(super) fn note_seen_whole(&self, survey: &Survey) -> Result<(), RepoError> {
        if survey.seen_whole.is_empty() {
            return Ok(());
        }
        let marks = self.read_marks(survey.locator().catalog(), &mut Vec::new())?;
        let forgotten: HashSet<&str> = marks
            .iter()
            .filter(|vouched| vouched.mark.kind == MarkKind::Forgotten && vouched.by.is_full())
            .flat_map(|vouched| vouched.mark.value.iter().flat_map(|ids| ids.lines()))
            .collect();
        let stays = |id: &str| !forgotten.contains(id);
        match self.note_together(MarkKind::Checked, &survey.seen_whole, &marks, stays) {
            Err(refused) if refused.is_no_space() => Ok(()),
            outcome => outcome,
        }
    }

    /// Says something of snapshots in marks of their own, several in each. Few words a run come together; what those
    /// said before is repeated where it `stays`.
    fn note_together(
        &self,
        kind: MarkKind,
        snapshots: &[SnapshotId],
        marks: &[Vouched],
        stays: impl Fn(&str) -> bool,
    ) -> Result<(), RepoError> {
        let gone = superseded(marks);
        let is_short = |vouched: &&Vouched| {
            let lines = vouched.mark.value.as_ref().map_or(0, |ids| ids.lines().count());
            // Those with a host are a check's.
            vouched.mark.kind == kind
                && vouched.mark.host.is_empty()
                && vouched.by.is_full()
                && !gone.contains(&vouched.id)
                && lines < TOGETHER
        };
        let short: Vec<&Vouched> = marks.iter().filter(is_short).collect();
        let short = if short.len() >= SHORT_MARKS { short } else { Vec::new() };
        let said = short.iter().flat_map(|vouched| vouched.mark.value.iter().flat_map(|ids| ids.lines()));
        let mut ids: Vec<String> = said.filter(|id| stays(id)).map(str::to_owned).collect();
        ids.extend(snapshots.iter().map(ToString::to_string));
        ids.sort_unstable();
        ids.dedup();
        let marks_due = ids.len().div_ceil(TOGETHER);
        for (at, ids) in ids.chunks(TOGETHER).enumerate() {
            self.marks().put_mark(&Mark {
                kind,
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

    /// Removes snapshots, committed or not. That they are removed on purpose is said first, then their marks go, so
    /// that a crash in between leaves garbage and no snapshot that is listed and missing. What is not there any more is
    /// no error.
    ///
    /// # Errors
    /// When the key is not a full one, a mark cannot be read, or the storage fails; then some of the snapshots may be
    /// gone.
    pub fn forget(&self, snapshots: &[SnapshotId]) -> Result<(), RepoError> {
        if self.keys.role() != Role::Full {
            return Err(CryptoError::RoleTooWeak { needed: "forgetting snapshots" }.into());
        }
        let mut catalog = self.catalog(&crate::base::event::Silent)?;
        let mut unreadable = Vec::new();
        refuse_turned_back(&self.history(&mut catalog)?)?;
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
