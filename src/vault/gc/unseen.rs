//! Snapshots that no full author has seen whole.
//!
//! An append author may commit a snapshot over chunks that never were. From what lies in the storage nobody can tell it
//! from an honest one whose packs are away. So a prune says of each such snapshot that it has followed to its end that
//! it was whole: from then on what it lacks stops prunes, as for snapshots of full authors. One that was never seen
//! whole stops none. It keeps what can be reached of it, and where a recipe node is missing, so that something may be
//! hidden, nothing goes for some days after it was stored. These days begin with the author's first snapshot of that
//! kind, so that whoever goes on putting such snapshots gains nothing.

use super::live::LiveSet;
use super::mark::Marker;
use crate::base::event::Cancel;
use crate::base::id::{AuthorId, NodeId, PackId, SnapshotId};
use crate::vault::RepoError;
use crate::vault::catalog::Catalog;
use crate::vault::catalog::filter::chunk_key;
use crate::vault::history::{History, Stops, ms_of};
use crate::vault::reader::RecipeWalker;
use crate::vault::session::SKEW_MAX;
use crate::vault::snapshot::Summary;
use hashbrown::HashSet;
use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What was never seen whole and hides something keeps everything for so long after it was stored.
const HELD: Duration = Duration::from_secs(7 * 86_400);

/// A snapshot of an append author that counts, and that no full author has seen whole before.
pub(super) struct Unseen {
    pub id: SnapshotId,
    author: AuthorId,
    stored_ms: i64,
    roots: Vec<NodeId>,
    /// Why its body cannot be read.
    unreadable: Option<RepoError>,
}

/// What following it came to.
pub(super) enum Seen {
    Whole,
    /// Chunks are missing, and nothing else can be.
    Lacking {
        chunks: u64,
    },
    /// Something cannot be read, and what lies behind it is not known.
    Hiding(RepoError),
}

impl Unseen {
    /// With the roots of its streams, or the reason why they are not known.
    pub(super) fn new(summary: &Summary, roots: Result<Vec<NodeId>, RepoError>) -> Self {
        let (roots, unreadable) = match roots {
            Ok(roots) => (roots, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let (author, stored_ms) = (summary.head.author, summary.stored_ms);
        Self { id: summary.id, author, stored_ms, roots, unreadable }
    }

    pub(super) fn roots(&self) -> &[NodeId] {
        &self.roots
    }

    pub(super) fn is_readable(&self) -> bool {
        self.unreadable.is_none()
    }

    /// Follows it alone. `absent` are keys of chunks that only packs claim that do not hold them.
    pub(super) fn follow(
        &mut self,
        walker: RecipeWalker,
        live: &mut LiveSet,
        absent: &HashSet<u64>,
        cancel: &Cancel,
    ) -> Result<Seen, RepoError> {
        if let Some(error) = self.unreadable.take() {
            return Ok(Seen::Hiding(error));
        }
        let mut marker = Marker::new(walker, live, cancel).asking_for(absent);
        let broken = marker.mark_what_can_be_read(&self.roots)?;
        Ok(match (broken.into_iter().next(), marker.lost() + marker.absent()) {
            (Some(error), _) => Seen::Hiding(error),
            (None, 0) => Seen::Whole,
            (None, chunks) => Seen::Lacking { chunks },
        })
    }
}

/// Until when nothing goes, given the snapshots that are not whole and were never seen so, with whether each hides
/// something.
pub(super) fn held_until(
    history: &History,
    unwhole: &[(&Unseen, bool)],
    now: SystemTime,
) -> Option<SystemTime> {
    // Whoever can set times could put off the end for ever.
    let is_past = |stored_ms: &i64| *stored_ms <= ms_of(now + SKEW_MAX);
    let mut first: HashMap<Option<AuthorId>, i64> = HashMap::new();
    let mut note = |author: Option<AuthorId>, stored_ms: i64| {
        let since = first.entry(author).or_insert(stored_ms);
        *since = (*since).min(stored_ms);
    };
    let mut hiding = Vec::new();
    for (unseen, hides) in unwhole.iter().filter(|(unseen, _)| is_past(&unseen.stored_ms)) {
        note(Some(unseen.author), unseen.stored_ms);
        hiding.extend(hides.then_some(Some(unseen.author)));
    }
    // That it was marked does not begin the days anew.
    let marked = |summary: &&Summary| {
        history.damaged_snapshots.contains_key(&summary.id) && !history.was_whole(summary)
    };
    for summary in history.snapshots.iter().filter(marked).filter(|summary| is_past(&summary.stored_ms)) {
        note(Some(summary.head.author), summary.stored_ms);
    }
    for damage in &history.damaged {
        if let Stops::ForAWhile { author, stored_ms } = damage.stops
            && is_past(&stored_ms)
        {
            note(author, stored_ms);
            hiding.push(author);
        }
    }
    let until = |author: Option<AuthorId>| {
        let since_ms = u64::try_from(*first.get(&author)?).unwrap_or_default();
        Some(UNIX_EPOCH + Duration::from_millis(since_ms) + HELD)
    };
    hiding.into_iter().filter_map(until).filter(|until| *until > now).max()
}

/// Keys of all that only the packs `bad` claim.
pub(super) fn only_in(
    catalog: &mut Catalog,
    bad: &std::collections::HashSet<PackId>,
) -> Result<HashSet<u64>, RepoError> {
    let mut keys = HashSet::new();
    if bad.is_empty() {
        return Ok(keys);
    }
    let packs = catalog.packs()?;
    for pack in packs.iter().filter(|pack| bad.contains(&pack.id)) {
        keys.extend(catalog.pack(pack.number)?.table.chunks.iter().map(|(id, _)| chunk_key(id)));
    }
    for pack in packs.iter().filter(|pack| !bad.contains(&pack.id)) {
        for (id, _) in &catalog.pack(pack.number)?.table.chunks {
            keys.remove(&chunk_key(id));
        }
    }
    Ok(keys)
}
