//! What a backup takes back, and what it does not say, because prunes ran at the same time.

use super::BackupSession;
use super::Writer;
use crate::base::event::Silent;
use crate::base::id::{IndexId, PackId};
use crate::vault::meanwhile::has_lost_any;
use crate::vault::objects::ObjectName as _;
use std::collections::{BTreeMap, HashSet};

impl BackupSession {
    /// A prune went on without this session: the packs that its index objects name may be gone. So that nobody takes
    /// that for damage, they are removed, where the key may. (Packs that are there say themselves what they hold.)
    pub(super) fn withdraw_indexes(&self) {
        for id in &self.sink.indexes {
            if let Err(error) = self.repo.storage.delete(&id.key()) {
                tracing::debug!("an index object stays behind: {error}");
            }
        }
        if let Err(error) = self.repo.drop_catalog() {
            tracing::debug!("{error}");
        }
    }
}

impl Writer<'_> {
    /// Leaves out packs that no index object names any more: they are not missed. `indexes` are those that named them
    /// before.
    pub(super) fn leave_out_unnamed(&self, indexes: &HashSet<IndexId>, packs: &mut BTreeMap<PackId, String>) {
        if packs.is_empty() || !has_lost_any(self.repo, indexes).unwrap_or(false) {
            return;
        }
        let named = self.repo.catalog(&Silent).ok().and_then(|catalog| catalog.packs().ok());
        // What cannot be told stays said.
        if let Some(named) = named {
            let named: HashSet<PackId> = named.iter().map(|pack| pack.id).collect();
            packs.retain(|id, _| named.contains(id));
        }
    }
}
