//! How a store that takes nothing any more gets room for the first objects of a prune.
//!
//! Whoever deletes says so first, with a session and a plan: on a store that takes nothing any more he could delete
//! nothing. One pack that nothing needs is room enough to say it, so one goes without. Nobody can begin to rely on it
//! meanwhile, since a backup puts its session before it looks at anything, and the store takes none; those that began
//! before are seen, and refused to run beside.

use super::survey::Survey;
use super::witness::Witness;
use super::{PruneSettings, storage_time};
use crate::base::event::{Cancel, Observer};
use crate::base::id::PackId;
use crate::vault::objects::pack_key;
use crate::vault::session::SKEW_MAX;
use crate::vault::{RepoError, Repository};
use std::collections::HashSet;
use std::time::{Duration, SystemTime};

impl Repository {
    /// The storage's time, as far as its answers told it, where nothing can be put to find it out.
    ///
    /// # Errors
    /// [`RepoError::ClockSkew`] when the host's clock, which shows `now_ms`, is too far from it.
    pub(super) fn told_time(&self, now_ms: i64) -> Result<SystemTime, RepoError> {
        // A storage that tells no time has the host's.
        let skew_ms = self.storage.skew_ms().unwrap_or(0);
        if skew_ms.unsigned_abs() > SKEW_MAX.as_millis() as u64 {
            return Err(RepoError::ClockSkew { seconds: -skew_ms / 1000 });
        }
        Ok(storage_time(now_ms.saturating_add(skew_ms)))
    }

    /// Deletes one pack that nothing needs, the largest there is. Gives its size.
    ///
    /// # Errors
    /// [`RepoError::Busy`] when a session is live; `refused`, the storage's own error, when there is no such pack.
    pub(super) fn make_room(
        &self,
        refused: RepoError,
        settings: &PruneSettings,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<u64, RepoError> {
        let now = self.told_time(settings.now_ms)?;
        self.refuse_any_session(now)?;
        let survey = Survey::take(self, now, Witness::new(self), observer, cancel)?;
        survey.refuse_loss()?;
        if survey.held.is_some() {
            return Err(refused);
        }
        let mut dead: Vec<(u64, PackId)> = Vec::new();
        for weight in survey.weigh(&HashSet::new(), cancel)?.iter().filter(|weight| weight.live_chunks == 0) {
            let id = weight.pack.id;
            let put = survey.listed.get(&id).map(|(_, put)| *put);
            let age = put.and_then(|put| now.duration_since(put).ok()).unwrap_or(Duration::ZERO);
            if age >= settings.grace && self.object_locks().last_lock_end(&[id])?.is_none() {
                dead.push((weight.pack.bytes, id));
            }
        }
        // Indexes may lie of what a pack holds.
        let disputed = self.disputed(&survey, &dead.iter().map(|(_, id)| *id).collect(), cancel)?;
        dead.retain(|(_, id)| !disputed.contains_key(id));
        let Some((bytes, id)) = dead.into_iter().max() else { return Err(refused) };
        // Looked at as late as can be.
        self.refuse_any_session(now)?;
        self.storage.delete(&pack_key(&id))?;
        tracing::info!("pack {} is deleted to make room for the prune's own objects", id.short());
        Ok(bytes)
    }

    fn refuse_any_session(&self, now: SystemTime) -> Result<(), RepoError> {
        match self.sessions()?.iter().find(|session| session.is_live(now)) {
            None => Ok(()),
            Some(session) => {
                let what = format!("a backup or prune is under way (session {})", session.id.short());
                Err(RepoError::Busy { what })
            }
        }
    }
}
