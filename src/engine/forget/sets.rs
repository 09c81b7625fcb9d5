//! Retention of runs over systems: a run counts as one snapshot, whose streams are its sources.

use crate::base::id::SnapshotId;
use crate::engine::system::{SeenSet, sets};
use crate::vault::history::History;
use crate::vault::snapshot::retention::{Candidate, Policy, Reckoning, Rule, decide};
use crate::vault::snapshot::{State, Summary};
use std::collections::{BTreeMap, HashMap};

/// Why a snapshot stays: a rule, and the source that it holds for where that is not the run as a whole.
pub(super) type Reasons = Vec<(Rule, Option<String>)>;

/// Why snapshots stay for the sake of the runs that they are of, by the rules of each system.
pub(super) fn kept_by_runs(
    history: &History,
    systems: &BTreeMap<String, Policy>,
    reckoning: &Reckoning<'_>,
) -> HashMap<SnapshotId, Reasons> {
    let all = sets(history);
    let mut kept = HashMap::new();
    for (system, policy) in systems {
        let own: Vec<&SeenSet> = all.iter().filter(|set| set.system.as_ref() == Some(system)).collect();
        let summaries: Vec<Option<Summary>> = own.iter().map(|set| as_one(system, set)).collect();
        let candidates: Vec<Candidate<'_>> = own
            .iter()
            .zip(&summaries)
            .filter_map(|(set, summary)| Some(candidate(set, summary.as_ref()?)))
            .collect();
        for (set, verdict) in own.iter().zip(decide(policy, &candidates, reckoning)) {
            for (_, member) in set.members.iter().filter(|_| verdict.is_kept()) {
                kept.insert(member.id, verdict.reasons.clone());
            }
        }
    }
    kept
}

/// A run as if it were a snapshot of a series that is called as the system.
fn as_one(system: &str, set: &SeenSet) -> Option<Summary> {
    let (_, first) = set.members.first()?;
    let mut one = first.clone();
    one.head.series = system.to_owned();
    one.head.time_ms = set.time_ms();
    one.head.state = match set.state() {
        "complete" => State::Complete,
        _ => State::Partial,
    };
    // Runs have no numbers: their times tell which is newer.
    one.head.counter = 0;
    Some(one)
}

fn candidate<'a>(set: &'a SeenSet, summary: &'a Summary) -> Candidate<'a> {
    let complete = set.members.iter().filter(|(_, member)| member.head.state == State::Complete);
    let missing = set.end.iter().flat_map(|end| &end.missing);
    Candidate {
        summary,
        streams: complete.map(|(source, _)| source.as_str()).collect(),
        failed: missing.map(|(source, _)| source.as_str()).collect(),
        pinned: false,
        verified: false,
    }
}
