//! Forgetting: snapshots go, with all that is said of them. What they alone reach goes with a prune.

use crate::crypto::{CryptoError, Role};
use crate::id::{MarkId, SnapshotId};
use crate::repo::format::mark::{Mark, MarkKind};
use crate::repo::objects::ObjectName;
use crate::repo::{RepoError, Repository};
use std::collections::HashMap;

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
        let history = self.history(&mut self.catalog(&crate::event::Silent)?)?;
        let mut given_up = Vec::new();
        for damage in &history.damaged {
            let RepoError::Missing { object } = &damage.error else { continue };
            let Some(id) = object.strip_prefix("snapshots/").and_then(|name| name.parse().ok()) else {
                continue;
            };
            self.remove_abandoned(&id, now_ms)?;
            given_up.push(id);
        }
        Ok(given_up)
    }

    /// Removes snapshots, committed or not. Their marks go first, so that a crash in between leaves garbage and no snapshot that is
    /// listed and missing. What is not there any more is no error.
    ///
    /// # Errors
    /// When the key is not a full one, a mark cannot be read, or the storage fails; then some of the snapshots may be gone.
    pub fn forget(&self, snapshots: &[SnapshotId]) -> Result<(), RepoError> {
        if self.keys.role() != Role::Full {
            return Err(CryptoError::RoleTooWeak { needed: "forgetting snapshots" }.into());
        }
        let mut catalog = self.catalog(&crate::event::Silent)?;
        let mut unreadable = Vec::new();
        let marks = self.read_marks(&mut catalog, &mut unreadable)?;
        let mut of_object: HashMap<&str, Vec<(&MarkId, usize)>> = HashMap::new();
        for (id, mark) in &marks {
            // A mark that is superseded must not hold again for a moment because the one that does so went first.
            let superseded_by = marks.iter().filter(|(_, other)| other.supersedes.contains(id)).count();
            of_object.entry(&mark.object).or_default().push((id, superseded_by));
        }
        for snapshot in snapshots {
            let mut own = of_object.remove(snapshot.key().as_str()).unwrap_or_default();
            own.sort_by_key(|(_, superseded_by)| std::cmp::Reverse(*superseded_by));
            for (mark, _) in own {
                self.storage.delete(&mark.key())?;
            }
            self.storage.delete(&snapshot.key())?;
        }
        Ok(())
    }
}
