//! Tag: pin a snapshot, change its tags.

use super::OpError;
use crate::base::clock::Clock;
use crate::base::event::Observer;
use crate::base::name::{NameKind, SnapshotName, check_name};
use crate::vault::crypto::{CryptoError, Role};
use crate::vault::format::mark::MarkKind;
use crate::vault::snapshot::Summary;
use crate::vault::snapshot::selection::{Viewpoint, select};
use crate::vault::{RepoError, Repository};
use std::collections::BTreeSet;

/// What to change.
#[derive(Debug, Clone, Default)]
pub(crate) struct TagRequest {
    /// Tags to add.
    pub add: Vec<String>,
    /// Tags to take away.
    pub remove: Vec<String>,
    /// Pin (true) or unpin (false).
    pub pin: Option<bool>,
    /// The snapshot's time is right, whatever the storage says of when it was put.
    pub confirm_time: bool,
    /// Nothing is written.
    pub dry_run: bool,
}

/// Changes what is said of the snapshot that `name` stands for; gives it with its tags as they are now, and whether it
/// is pinned.
///
/// # Errors
/// When a new tag is none, there is no such snapshot, or the repository fails. Unpinning takes a full key.
pub(crate) fn tag(
    repo: &Repository,
    clock: &dyn Clock,
    name: &SnapshotName,
    from: &Viewpoint,
    request: &TagRequest,
    observer: &dyn Observer,
) -> Result<(Summary, bool), OpError> {
    for tag in &request.add {
        check_name(NameKind::Tag, tag)?;
    }
    let host = from.host.as_str();
    let mut catalog = repo.catalog(observer)?;
    let history = repo.history(&mut catalog)?;
    let mut summary = match super::restore::find_in(repo, &mut catalog, &history, name, from, observer) {
        // Who names it here has looked at it.
        Err(OpError::Doubtful { .. }) => select(&history.snapshots, name, from)?.clone(),
        found => found?,
    };
    drop(catalog);
    let now_ms = clock.now().as_millisecond();
    if !request.remove.is_empty() && repo.role() != Role::Full {
        return Err(RepoError::from(CryptoError::RoleTooWeak { needed: "removing tags" }).into());
    }
    if request.confirm_time && !request.dry_run {
        repo.confirm_times(Some(&summary.id), now_ms)?;
    }
    let mut tags: BTreeSet<String> = summary.head.tags.iter().cloned().collect();
    tags.extend(request.add.iter().cloned());
    tags.retain(|tag| !request.remove.contains(tag));
    let tags: Vec<String> = tags.into_iter().collect();
    let before: BTreeSet<&String> = summary.head.tags.iter().collect();
    if tags.iter().collect::<BTreeSet<_>>() != before {
        if !request.dry_run {
            let tags = Some(Some(tags.join("\n")));
            repo.marks().mark_snapshot(&summary.id, MarkKind::Tags, tags, host, now_ms)?;
        }
        summary.head.tags = tags;
    }
    let mut pinned = history.pinned.contains(&summary.id);
    if let Some(pin) = request.pin.filter(|pin| *pin != pinned) {
        if !request.dry_run {
            let value = pin.then_some(None);
            repo.marks().mark_snapshot(&summary.id, MarkKind::Pinned, value, host, now_ms)?;
        }
        pinned = pin;
    }
    Ok((summary, pinned))
}
