//! What marks come to, taken together. Pure.

use crate::base::id::{AuthorId, MarkId, PackId, SnapshotId};
use crate::vault::authors::{Reach, Voucher, reach};
use crate::vault::format::mark::{Mark, MarkKind};
use crate::vault::objects::{ObjectName as _, name_in_key, pack_key};
use std::collections::{BTreeSet, HashMap, HashSet};

/// A mark that counts, and whose word it is.
#[derive(Debug, Clone)]
pub(in crate::vault) struct Vouched {
    pub id: MarkId,
    pub mark: Mark,
    pub by: Voucher,
}

/// What marks say, by the object that they speak of.
#[derive(Debug, Default)]
pub(super) struct Folded {
    /// Key of each committed snapshot: the series that its mark names, and whether a *full* author says so.
    pub committed: HashMap<String, Committed>,
    /// Packs that do not hold what they should, with the words of the mark.
    pub damaged_packs: HashMap<PackId, String>,
    /// Packs of which an author that may only add says that they are damaged: with the author.
    pub doubted_packs: HashMap<PackId, (AuthorId, String)>,
    pub damaged_snapshots: HashMap<SnapshotId, String>,
    pub pinned: HashSet<SnapshotId>,
    pub verified: HashMap<SnapshotId, i64>,
    pub forgotten: HashSet<SnapshotId>,
    pub given_up: HashSet<String>,
    pub time_confirmed: HashSet<SnapshotId>,
    pub seen_whole: HashSet<SnapshotId>,
    /// When a check last went through with these snapshots whole, ms since the epoch.
    pub checked: HashMap<SnapshotId, i64>,
    /// What *set ended* marks say, and of which snapshot.
    pub set_ends: Vec<(SnapshotId, String)>,
    tags: HashMap<String, TagsSaid>,
}

/// A snapshot that a mark commits.
#[derive(Debug, Clone)]
pub(super) struct Committed {
    pub series: Option<String>,
    pub by_full: bool,
    pub mark: MarkId,
    /// Who says so; where several do, any.
    pub author: AuthorId,
}

#[derive(Debug, Default)]
struct TagsSaid {
    /// In the place of those in the head, where a full author said so.
    instead: Option<BTreeSet<String>>,
    added: BTreeSet<String>,
}

/// The marks that hold no more because another one supersedes them. A full author's may name any; another's only those
/// of the same author that say the same kind of thing of the same object, tags left out, so that whoever may only add
/// takes nothing back.
pub(in crate::vault) fn superseded(marks: &[Vouched]) -> HashSet<MarkId> {
    let by_id: HashMap<&MarkId, &Vouched> = marks.iter().map(|vouched| (&vouched.id, vouched)).collect();
    let may = |new: &Vouched, old: &MarkId| {
        new.by.is_full()
            || by_id.get(old).is_some_and(|old| {
                old.by.author == new.by.author
                    && old.mark.kind == new.mark.kind
                    && old.mark.object == new.mark.object
                    && new.mark.kind != MarkKind::Tags
            })
    };
    marks
        .iter()
        .flat_map(|new| new.mark.supersedes.iter().filter(move |old| may(new, old)).copied())
        .collect()
}

/// Takes together what `marks` say. `author_of` knows the author of each snapshot that counts.
pub(super) fn fold(marks: &[Vouched], author_of: impl Fn(&SnapshotId) -> Option<AuthorId>) -> Folded {
    let superseded = superseded(marks);
    let mut folded = Folded::default();
    let mut abandoned: HashSet<&String> = HashSet::new();
    for vouched in marks.iter().filter(|vouched| !superseded.contains(&vouched.id)) {
        let Vouched { mark, by, .. } = vouched;
        let snapshot = name_in_key::<SnapshotId>(&mark.object).filter(|id| id.key() == mark.object);
        let is_own = || match snapshot.as_ref().map(&author_of) {
            Some(Some(author)) => author == by.author,
            // Not there: whoever says that it was committed says it of its own.
            Some(None) => mark.kind == MarkKind::Committed,
            None => false,
        };
        let counts = match reach(mark, *by) {
            Reach::Any => true,
            Reach::Own => is_own(),
            Reach::None => false,
        };
        let pack = name_in_key::<PackId>(&mark.object).filter(|pack| pack_key(pack) == mark.object);
        if !counts {
            if let (MarkKind::Damaged, Some(pack)) = (mark.kind, pack) {
                let why = mark.value.clone().unwrap_or_default();
                folded.doubted_packs.insert(pack, (by.author, why));
            }
            continue;
        }
        folded.take(vouched, snapshot, pack, &mut abandoned);
    }
    folded.committed.retain(|object, _| !abandoned.contains(object));
    folded
}

impl Folded {
    fn take<'a>(
        &mut self,
        vouched: &'a Vouched,
        snapshot: Option<SnapshotId>,
        pack: Option<PackId>,
        abandoned: &mut HashSet<&'a String>,
    ) {
        let Vouched { mark, by, id } = vouched;
        match mark.kind {
            MarkKind::Committed => {
                let entry = self.committed.entry(mark.object.clone());
                let said = entry.or_insert_with(|| Committed {
                    series: mark.value.clone(),
                    by_full: by.is_full(),
                    mark: *id,
                    author: by.author,
                });
                said.by_full |= by.is_full();
            }
            MarkKind::Damaged => {
                let why = || mark.value.clone().unwrap_or_default();
                if let Some(pack) = pack {
                    self.damaged_packs.insert(pack, why());
                }
                if let Some(snapshot) = snapshot {
                    self.damaged_snapshots.insert(snapshot, why());
                }
            }
            MarkKind::Pinned => self.pinned.extend(snapshot),
            // A sample proves nothing of the rest.
            MarkKind::Verified if mark.value.is_some() => {}
            MarkKind::Verified => {
                if let Some(snapshot) = snapshot {
                    let last = self.verified.entry(snapshot).or_insert(mark.time_ms);
                    *last = (*last).max(mark.time_ms);
                }
            }
            MarkKind::Tags => {
                let own = mark.value.iter().flat_map(|tags| tags.lines()).map(str::to_owned);
                let said = self.tags.entry(mark.object.clone()).or_default();
                match by.is_full() {
                    // Two of them were made at the same time: both count.
                    true => said.instead.get_or_insert_default().extend(own),
                    false => said.added.extend(own),
                }
            }
            MarkKind::Cleared if mark.supersedes.is_empty() => {
                abandoned.insert(&mark.object);
            }
            MarkKind::Forgotten => {
                let ids = mark.value.iter().flat_map(|ids| ids.lines());
                self.forgotten.extend(ids.filter_map(|id| id.parse::<SnapshotId>().ok()));
            }
            MarkKind::GivenUp => {
                self.given_up.insert(mark.object.clone());
            }
            MarkKind::TimeConfirmed => self.time_confirmed.extend(snapshot),
            MarkKind::Checked => {
                let ids = mark.value.iter().flat_map(|ids| ids.lines());
                let ids = ids.filter_map(|id| id.parse::<SnapshotId>().ok());
                // A prune says it for good and names no host. What a check says, the next one says anew.
                if mark.host.is_empty() {
                    self.seen_whole.extend(ids);
                    return;
                }
                for id in ids {
                    let last = self.checked.entry(id).or_insert(mark.time_ms);
                    *last = (*last).max(mark.time_ms);
                }
            }
            MarkKind::SetEnded => self.set_ends.extend(snapshot.zip(mark.value.clone())),
            MarkKind::Cleared | MarkKind::Other(_) => {}
        }
    }

    /// Whether a full author says that the snapshot was whole once.
    pub(super) fn seen_whole(&self, id: &SnapshotId) -> bool {
        self.seen_whole.contains(id) || self.verified.contains_key(id)
    }

    /// The tags of a snapshot whose head bears `own`.
    pub(super) fn tags(&self, key: &str, own: Vec<String>) -> Vec<String> {
        let Some(said) = self.tags.get(key) else { return own };
        let mut tags: BTreeSet<String> = said.instead.clone().unwrap_or_else(|| own.into_iter().collect());
        tags.extend(said.added.iter().cloned());
        tags.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::crypto::Role;

    const FULL: Voucher = Voucher { author: AuthorId::from_bytes([1; 16]), role: Role::Full };
    const HOST: Voucher = Voucher { author: AuthorId::from_bytes([2; 16]), role: Role::Append };
    const OTHER: Voucher = Voucher { author: AuthorId::from_bytes([3; 16]), role: Role::Append };

    fn snapshot(n: u8) -> SnapshotId {
        SnapshotId::from_bytes([n; 32])
    }

    fn mark(id: u8, by: Voucher, kind: MarkKind, of: u8, value: Option<&str>, supersedes: &[u8]) -> Vouched {
        Vouched {
            id: MarkId::from_bytes([id; 32]),
            by,
            mark: Mark {
                kind,
                object: snapshot(of).key(),
                time_ms: 5,
                supersedes: supersedes.iter().map(|id| MarkId::from_bytes([*id; 32])).collect(),
                value: value.map(str::to_owned),
                host: String::new(),
            },
        }
    }

    /// Snapshot 1 is the host's, snapshot 2 that of a full author.
    fn folded(marks: &[Vouched]) -> Folded {
        fold(marks, |id| match id {
            id if *id == snapshot(1) => Some(HOST.author),
            id if *id == snapshot(2) => Some(FULL.author),
            _ => None,
        })
    }

    #[test]
    fn an_author_that_may_only_add_speaks_of_its_own_snapshots_alone() {
        for (kind, of_own) in [
            (MarkKind::Committed, true),
            (MarkKind::Pinned, true),
            (MarkKind::Damaged, true),
            (MarkKind::Verified, false),
            (MarkKind::Forgotten, false),
            (MarkKind::GivenUp, false),
            (MarkKind::TimeConfirmed, false),
            (MarkKind::Checked, false),
        ] {
            let says = |by, of| {
                let ids = snapshot(of).to_string();
                let value = matches!(kind, MarkKind::Forgotten | MarkKind::Checked).then_some(ids.as_str());
                let folded = folded(&[mark(9, by, kind, of, value, &[])]);
                !folded.committed.is_empty()
                    || !folded.pinned.is_empty()
                    || !folded.damaged_snapshots.is_empty()
                    || !folded.verified.is_empty()
                    || !folded.forgotten.is_empty()
                    || !folded.given_up.is_empty()
                    || !folded.time_confirmed.is_empty()
                    || !folded.seen_whole.is_empty()
            };
            assert_eq!(says(HOST, 1), of_own, "{kind:?}");
            assert!(!says(OTHER, 1) && !says(HOST, 2), "{kind:?}");
            assert!(says(FULL, 1) && says(FULL, 2), "{kind:?}");
        }
    }

    #[test]
    fn tags_are_added_by_all_and_taken_back_by_full_authors_alone() {
        let own = || vec!["head".to_owned()];
        let key = snapshot(1).key();
        let added = mark(10, HOST, MarkKind::Tags, 1, Some("a\nb"), &[]);
        assert_eq!(folded(std::slice::from_ref(&added)).tags(&key, own()), ["a", "b", "head"]);
        let taken = mark(11, HOST, MarkKind::Tags, 1, Some(""), &[10]);
        assert_eq!(folded(&[added.clone(), taken]).tags(&key, own()), ["a", "b", "head"]);
        let replaced = mark(12, FULL, MarkKind::Tags, 1, Some("c"), &[10]);
        assert_eq!(folded(&[added, replaced]).tags(&key, own()), ["c"]);
    }

    #[test]
    fn marks_are_superseded_by_full_authors_and_by_their_own() {
        let pinned = mark(10, HOST, MarkKind::Pinned, 1, None, &[]);
        let by = |by, kind, of| {
            let newer = mark(11, by, kind, of, None, &[10]);
            superseded(&[pinned.clone(), newer]).len() == 1
        };
        assert!(by(HOST, MarkKind::Pinned, 1));
        assert!(!by(HOST, MarkKind::Committed, 1) && !by(HOST, MarkKind::Pinned, 2));
        assert!(!by(OTHER, MarkKind::Pinned, 1));
        assert!(by(FULL, MarkKind::Cleared, 1));
    }

    #[test]
    fn a_pack_that_an_append_author_calls_damaged_is_a_warning() {
        let mut said = mark(10, HOST, MarkKind::Damaged, 1, Some("rot"), &[]);
        let pack = PackId::from_bytes([7; 32]);
        said.mark.object = pack_key(&pack);
        let folded_by_host = folded(std::slice::from_ref(&said));
        assert!(folded_by_host.damaged_packs.is_empty());
        assert_eq!(folded_by_host.doubted_packs[&pack].0, HOST.author);
        said.by = FULL;
        assert_eq!(folded(&[said]).damaged_packs[&pack], "rot");
    }
}
