//! What anybody may believe of what an append key says.

use super::*;
use crate::support::turnstile::SimClock;
use dumpvault::base::calendar::Calendar;
use dumpvault::base::clock::Clock as _;
use dumpvault::base::retention::Representative;
use dumpvault::vault::format::session::SessionKind;
use dumpvault::vault::history::History;
use dumpvault::vault::snapshot::Summary;
use dumpvault::vault::snapshot::retention::{Candidate, Policy, Reckoning, Verdict, decide};

/// Whether the time of a snapshot does not fit the one at which it was stored, and nobody trusts its host.
fn is_odd(summary: &Summary) -> bool {
    let ahead_ms = summary.head.time_ms - summary.stored_ms;
    summary.head.host == "web" && !(-24 * HOUR..=5 * MINUTE).contains(&ahead_ms)
}

/// Nothing that an append key put decides anything.
pub fn nobody_is_believed(repo: &Repository, model: &Model) {
    let history = repo.history(&mut repo.catalog(&Silent).unwrap()).unwrap();
    let is_of_web =
        |id: &SnapshotId| model.honest.contains_key(id) || model.forged.contains(&format!("snapshots/{id}"));
    for summary in &history.snapshots {
        let Summary { id, head, by_full, is_doubtful, .. } = summary;
        let is_own = head.host == "web";
        assert_eq!(*by_full, !is_own, "{id} of {}: by a full author: {by_full}", head.host);
        assert!(is_own || !is_of_web(id), "a host speaks for another: {id}");
        assert_eq!(*is_doubtful, is_odd(summary), "{id}: doubtful: {is_doubtful}, {}", head.time_ms);
    }
    // None of the honest says any of this.
    assert!(history.verified.is_empty(), "an append key says that a snapshot was verified");
    assert!(history.damaged_packs.is_empty(), "an append key says that packs are damaged");
    assert!(history.pinned.iter().chain(history.damaged_snapshots.keys()).all(is_of_web));
    let (plans, _) = repo.plans().unwrap();
    let forged: Vec<_> =
        plans.iter().filter(|plan| model.forged.contains(&format!("gc/{}", plan.id))).collect();
    assert!(forged.is_empty(), "an append key plans what is deleted: {forged:?}");
    for session in repo.sessions().unwrap() {
        let is_forged = model.forged.contains(&format!("sessions/{}-0", session.id));
        let is_prune = session.kind() == SessionKind::Prune && !session.is_foreign;
        assert!(!is_forged || !is_prune, "an append key prunes: {session:?}");
    }
    assert!(history.turned_back.is_empty(), "{:?}", history.turned_back);
}

/// What a policy does not keep. A snapshot whose time is odd changes nothing of what becomes of the others.
pub fn let_go(history: &History, model: &Model, dice: &mut Dice, clock: &SimClock) -> Vec<SnapshotId> {
    let (last, daily) = [(3, 0), (0, 1000), (2, 3)][dice.below(3) as usize];
    let representative = [Representative::First, Representative::Last][dice.below(2) as usize];
    let policy = Policy { last, daily, representative, ..Policy::default() };
    let calendar = Calendar::default();
    let reckoning = Reckoning { calendar: &calendar, now: clock.now(), force: dice.one_in(2) };
    let decided = |counts: &dyn Fn(&Summary) -> bool| -> BTreeMap<SnapshotId, Verdict> {
        let counting: Vec<&Summary> = history.snapshots.iter().filter(|one| counts(one)).collect();
        let candidates: Vec<Candidate<'_>> = counting.iter().map(|summary| candidate(summary)).collect();
        let ids = counting.iter().map(|summary| summary.id);
        ids.zip(decide(&policy, &candidates, &reckoning)).collect()
    };
    let with_all = decided(&|_| true);
    let without_odd = decided(&|one| !is_odd(one));
    let is_forged = |id: &SnapshotId| model.forged.contains(&format!("snapshots/{id}"));
    for (id, verdict) in without_odd.iter().filter(|(id, _)| !is_forged(id)) {
        let is_kept = with_all.get(id).is_some_and(Verdict::is_kept);
        assert!(is_kept || !verdict.is_kept(), "{id} goes for one with an odd time: {}", verdict.words());
    }
    with_all.into_iter().filter(|(_, verdict)| !verdict.is_kept()).map(|(id, _)| id).collect()
}

fn candidate(summary: &Summary) -> Candidate<'_> {
    Candidate { summary, streams: Vec::new(), failed: Vec::new(), pinned: false, verified: false }
}
