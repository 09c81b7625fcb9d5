//! Runs over systems, as their snapshots and the marks at their ends tell.

use crate::base::id::{AuthorId, SnapshotId};
use crate::base::run::Run;
use crate::engine::OpError;
use crate::engine::app::App;
use crate::settings::System;
use crate::vault::Repository;
use crate::vault::history::History;
use crate::vault::snapshot::{SetId, State, Summary};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};

/// A run over a system.
#[derive(Debug, Clone)]
pub struct SeenSet {
    /// What its snapshots have in common.
    pub set: SetId,
    /// The system's name, where it has one.
    pub system: Option<String>,
    /// The snapshots that are still there, each with the name of its source: in the order of their moments, or in that
    /// in which they were stored where the run did not come to its end ([`SeenSet::as_configured`]).
    pub members: Vec<(String, Summary)>,
    /// How it came to its end; `None` of one that was cut short, or is under way.
    pub end: Option<SetEnd>,
}

/// All runs that are there, in the order of their moments.
///
/// # Errors
/// When the repository cannot be read.
pub fn list_sets(repo: &Repository, app: &App, run: &Run) -> Result<Vec<SeenSet>, OpError> {
    let (_, history) = repo.told(run.events.as_ref())?;
    Ok(sets(&history).into_iter().map(|set| set.as_configured(&app.settings.systems)).collect())
}

/// What a run said at its end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SetEnd {
    /// All was well.
    pub ok: bool,
    /// Sources without a snapshot, and why.
    pub missing: Vec<(String, String)>,
    /// Sources that had a snapshot then.
    pub stored: usize,
    /// All sources, in the order of their moments.
    pub sources: Vec<String>,
}

impl SeenSet {
    /// The moment of its first snapshot, ms since the epoch.
    pub fn time_ms(&self) -> i64 {
        self.members.iter().map(|(_, summary)| summary.head.time_ms).min().unwrap_or_default()
    }

    /// The same, where the run did not come to its end, with its snapshots in the order that the configuration has for
    /// their sources: of two that are read at the same time the first may be stored last.
    pub fn as_configured(mut self, systems: &BTreeMap<String, System>) -> Self {
        if self.end.is_some() {
            return self;
        }
        let system = self.system.as_ref().and_then(|name| systems.get(name));
        if let Some(System { sources, .. }) = system {
            let place = |source: &String| sources.iter().position(|other| other == source);
            self.members.sort_by_key(|(source, _)| place(source).unwrap_or(usize::MAX));
        }
        self
    }

    /// How it is told of in a word.
    pub fn state(&self) -> &'static str {
        let all_complete = self.members.iter().all(|(_, summary)| summary.head.state == State::Complete);
        match &self.end {
            None => "unfinished",
            Some(end) if end.stored > self.members.len() => "partly forgotten",
            Some(end) if !end.missing.is_empty() || !all_complete => "partial",
            Some(_) => "complete",
        }
    }
}

/// A line of a *set ended* mark, as far as it is of interest here.
#[derive(Deserialize)]
struct Line {
    set: Option<String>,
    #[serde(default)]
    ok: bool,
    source: Option<String>,
    snapshot: Option<String>,
    error: Option<String>,
}

/// All runs of which a snapshot is there, oldest first. A run has one author: whoever says that its snapshot is of
/// another's run, or that the other's run has ended, says it of a run of its own.
pub fn sets(history: &History) -> Vec<SeenSet> {
    let said = history.set_ends.iter().filter_map(|(of, value)| Some((*of, end(value)?)));
    let ends: HashMap<SnapshotId, (String, SetEnd)> = said.collect();
    let mut sets: BTreeMap<(SetId, AuthorId), SeenSet> = BTreeMap::new();
    for summary in &history.snapshots {
        let Some(member) = summary.head.member() else { continue };
        let key = (member.set, summary.head.author);
        let (set, system) = (member.set, member.system);
        let seen = sets.entry(key).or_insert_with(|| SeenSet { set, system, members: Vec::new(), end: None });
        if let Some((_, end)) = ends.get(&summary.id).filter(|(of, _)| *of == set.to_string()) {
            seen.end = Some(end.clone());
        }
        seen.members.push((member.role, summary.clone()));
    }
    let mut sets: Vec<SeenSet> = sets.into_values().collect();
    for SeenSet { members, end, .. } in &mut sets {
        let Some(SetEnd { sources, .. }) = end else { continue };
        // Of two that were read at the same time the first may have ended last.
        members.sort_by_key(|(source, _)| sources.iter().position(|other| other == source));
    }
    sets.sort_by_key(SeenSet::time_ms);
    sets
}

/// What a mark says. One that makes no sense says nothing.
fn end(value: &str) -> Option<(String, SetEnd)> {
    let mut lines = value.lines().map(serde_json::from_str::<Line>);
    let head = lines.next()?.ok()?;
    let mut found = SetEnd { ok: head.ok, ..SetEnd::default() };
    for line in lines {
        let line = line.ok()?;
        found.sources.extend(line.source.clone());
        match (line.source, line.snapshot) {
            (Some(_), Some(_)) => found.stored += 1,
            (Some(source), None) => found.missing.push((source, line.error.unwrap_or_default())),
            (None, _) => {}
        }
    }
    Some((head.set?, found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_mark_says_is_read_and_nonsense_is_nothing() {
        let said = "{\"set\":\"ab\",\"system\":null,\"ok\":false}\n{\"source\":\"a\",\"snapshot\":\"11\",\"moment_ms\":1,\"error\":null}\n\
                    {\"source\":\"b\",\"snapshot\":null,\"moment_ms\":null,\"error\":\"no\"}";
        let (missing, sources) = (vec![("b".into(), "no".into())], vec!["a".into(), "b".into()]);
        let expected = SetEnd { ok: false, missing, stored: 1, sources };
        assert_eq!(end(said), Some(("ab".to_owned(), expected)));
        for nonsense in ["", "x", "{}", "[]", "{\"set\":5}", "{\"set\":\"ab\"}\nx"] {
            assert_eq!(end(nonsense), None, "{nonsense}");
        }
    }
}
