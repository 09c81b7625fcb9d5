//! `dumpvault history rebuild`: the repository is the truth, and the history is made to say what it says.

use super::exit::Exit;
use super::history::record_of;
use super::report::CliError;
use super::{Context, render};
use crate::base::clock::Clock;
use crate::base::retention::Policy;
use crate::daemon::launch::id_of;
use crate::daemon::state::{Found, Invocation, Record, SeriesRow, State};
use crate::engine::OpError;
use crate::engine::forget::{Policies, expiries};
use crate::engine::report::HistoryRebuilt;
use crate::vault::Repository;
use crate::vault::history::History;
use crate::vault::snapshot::selection::newer;
use crate::vault::snapshot::{State as Kept, Summary};
use std::collections::BTreeMap;

pub(super) fn run(context: &Context) -> Result<Exit, CliError> {
    let mut state = State::open(&context.app.environment.state_root())?;
    let looked = context.clock.now().as_millisecond();
    let repo = context.repository()?;
    let (mut catalog, history) = repo.told(context.progress.as_ref()).map_err(OpError::from)?;
    let known = state.known_snapshots()?;
    let mut new = Vec::new();
    for summary in history.snapshots.iter().filter(|summary| !known.contains(&summary.id.to_string())) {
        new.push(found(context, &repo, &mut catalog, summary)?);
    }
    let settings = &context.app.settings;
    let policies = Policies::of_settings(settings, Policy::default(), None);
    let expires = expiries(&history, &policies, &settings.calendar, context.clock.now());
    let there = history.snapshots.iter().map(|summary| &summary.id);
    let series_names = history.snapshots.iter().map(|summary| &summary.head.series);
    let found = Found {
        new,
        there: there.map(|id| (id.to_string(), expires.get(id).copied())).collect(),
        forgotten: history.forgotten.iter().map(ToString::to_string).collect(),
        rules: series_names.filter_map(|name| Some((name.clone(), policies.words(name)?))).collect(),
        looked,
        pruned: state.last_prune()?,
    };
    let now = context.clock.now().as_millisecond();
    let (added, expired, deleted) = state.rebuild(&found, now)?;
    state.note_series(&series(&history), now)?;
    let damaged = history.damaged_packs.len().saturating_add(history.damaged_snapshots.len());
    state.note_figure("damaged_objects", "", now, u64::try_from(damaged).unwrap_or(u64::MAX))?;
    let snapshots = u64::try_from(history.snapshots.len()).unwrap_or(u64::MAX);
    if context.json {
        context.report(HistoryRebuilt { snapshots, added, expired, deleted });
    } else {
        context.say(&format!(
            "{}: {added} added to the history, {expired} expired, {deleted} deleted",
            render::count(history.snapshots.len(), "snapshot")
        ));
    }
    Ok(Exit::Good)
}

/// What the history would say of a snapshot that it does not know. Of one that this key cannot open it is what the head
/// says.
fn found(
    context: &Context,
    repo: &Repository,
    catalog: &mut crate::vault::catalog::Catalog,
    summary: &Summary,
) -> Result<(Invocation, Record), CliError> {
    let head = &summary.head;
    let own = context.app.settings.sources.iter().find(|(_, source)| source.series == head.series);
    let source = own.map_or_else(|| head.series.clone(), |(name, _)| name.clone());
    let suspects: Vec<String> = match head.state {
        Kept::Suspect => vec!["stored as suspect".to_owned()],
        _ => Vec::new(),
    };
    let record = match repo.body(catalog, &summary.id) {
        Ok(body) => record_of(&source, summary, &body, &suspects),
        Err(error) if error.is_integrity() || matches!(error, crate::vault::RepoError::Crypto(_)) => Record {
            source,
            series: head.series.clone(),
            host: head.host.clone(),
            status: if head.state == Kept::Partial { "FAILED" } else { "COMPLETED" }.to_owned(),
            snapshot: Some(summary.id.to_string()),
            time: Some(head.time_ms),
            calendar: head.calendar.clone(),
            suspect: (!suspects.is_empty()).then(|| suspects.join("; ")),
            ..Record::default()
        },
        Err(error) => return Err(OpError::from(error).into()),
    };
    let invocation = Invocation {
        id: id_of(&summary.id.to_string(), head.time_ms).0,
        command: if head.set.is_some() { "run" } else { "backup" }.to_owned(),
        words: head.system.clone().unwrap_or_default(),
        run: None,
        started: head.time_ms,
        ended: Some(head.finished_ms),
        exit: None,
        error: None,
        hint: None,
        repository: context.app.settings.repository.place.as_ref().map(|place| place.value.to_string()),
        process: (String::new(), 0, 0),
        log: None,
    };
    Ok((invocation, record))
}

/// The series as they are now.
fn series(history: &History) -> Vec<SeriesRow> {
    let mut all: BTreeMap<(String, String), Vec<&Summary>> = BTreeMap::new();
    for summary in &history.snapshots {
        all.entry((summary.head.host.clone(), summary.head.series.clone())).or_default().push(summary);
    }
    let each = all.into_iter().map(|((host, series), members)| {
        let is_whole = |summary: &Summary| !history.damaged_snapshots.contains_key(&summary.id);
        let is_good = |summary: &&&Summary| {
            summary.head.state == Kept::Complete
                && is_whole(summary)
                && !summary.is_doubtful
                && !summary.head.is_import()
        };
        let newest = members.iter().max_by(|a, b| newer(a, b));
        let good = members.iter().filter(is_good).max_by(|a, b| newer(a, b));
        let count = |state: Kept| {
            u64::try_from(members.iter().filter(|summary| summary.head.state == state).count())
                .unwrap_or(u64::MAX)
        };
        SeriesRow {
            newest: newest.map(|summary| summary.head.time_ms),
            good: good.map(|summary| summary.head.time_ms),
            complete: count(Kept::Complete),
            partial: count(Kept::Partial),
            suspect: count(Kept::Suspect),
            is_suspect: newest
                .is_some_and(|summary| summary.head.state == Kept::Suspect || !is_whole(summary)),
            verified: members.iter().filter_map(|summary| history.verified.get(&summary.id)).max().copied(),
            checked: members.iter().filter_map(|summary| history.checked.get(&summary.id)).max().copied(),
            host,
            series,
        }
    });
    each.collect()
}
