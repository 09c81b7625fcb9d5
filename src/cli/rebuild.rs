//! `dumpvault history rebuild`: the repository is the truth, and the history is made to say what it says.

use super::exit::Exit;
use super::history::record_of;
use super::report::CliError;
use super::{Context, render};
use crate::base::clock::Clock;
use crate::base::id::SnapshotId;
use crate::base::numbers::State as Kept;
use crate::base::retention::Policy;
use crate::daemon::launch::id_of;
use crate::daemon::state::{Found, Invocation, Record, State};
use crate::engine::forget::Policies;
use crate::engine::listing::Present;
use crate::engine::listing::Seen;
use crate::engine::recall::recall;
use crate::engine::report::HistoryRebuilt;

pub(super) fn run(context: &Context) -> Result<Exit, CliError> {
    let mut state = State::open(&context.app.environment.state_root())?;
    let looked = context.clock.now().as_millisecond();
    let repo = context.repository()?;
    let known = state.known_snapshots()?;
    let settings = &context.app.settings;
    let policies = Policies::of_settings(settings, Policy::default(), None);
    let is_known = |id: &SnapshotId| known.contains(&id.to_string());
    let recalled = recall(&repo, &is_known, &policies, &settings.calendar, &context.run())?;
    let series_names = recalled.series.iter().map(|one| &one.series);
    let found = Found {
        new: recalled.new.iter().map(|seen| found(context, seen)).collect(),
        there: recalled.expires.iter().map(|(id, expires)| (id.to_string(), *expires)).collect(),
        forgotten: recalled.forgotten.iter().map(ToString::to_string).collect(),
        rules: series_names.filter_map(|name| Some((name.clone(), policies.words(name)?))).collect(),
        looked,
        pruned: state.last_prune()?,
    };
    let now = context.clock.now().as_millisecond();
    let (added, expired, deleted) = state.rebuild(&found, now)?;
    state.note_series(&recalled.series, now)?;
    state.note_figure("damaged_objects", "", now, recalled.damaged)?;
    let snapshots = u64::try_from(recalled.expires.len()).unwrap_or(u64::MAX);
    if context.json {
        context.report(HistoryRebuilt { snapshots, added, expired, deleted });
    } else {
        context.say(&format!(
            "{}: {added} added to the history, {expired} expired, {deleted} deleted",
            render::count(snapshots, "snapshot")
        ));
    }
    Ok(Exit::Good)
}

/// What a command sees of the repository on its way, the history is told: a row whose snapshot another host removed
/// says so. A host without a history gets none by that, and one that cannot be written stops no command.
pub(super) fn remember(context: &Context, present: &Present, looked: i64) {
    let root = context.app.environment.state_root();
    let Some(place) = context.app.settings.repository.place.as_ref().filter(|_| State::is_in(&root)) else {
        return;
    };
    let policies = Policies::of_settings(&context.app.settings, Policy::default(), None);
    let told = State::open(&root).and_then(|mut state| {
        let found = Found {
            there: present.there.iter().map(|id| (id.to_string(), None)).collect(),
            forgotten: present.forgotten.iter().map(ToString::to_string).collect(),
            rules: present
                .series
                .iter()
                .filter_map(|name| Some((name.clone(), policies.words(name)?)))
                .collect(),
            looked,
            pruned: state.last_prune()?,
            ..Found::default()
        };
        state.glance(&place.value.to_string(), found, context.clock.now().as_millisecond())
    });
    if let Err(error) = told {
        tracing::warn!("the history does not say which backups are gone: {error}");
    }
}

/// What the history would say of a snapshot that it does not know. Of one that this key cannot open it is what the head
/// says.
fn found(context: &Context, Seen { summary, body }: &Seen) -> (Invocation, Record) {
    let head = &summary.head;
    let own = context.app.settings.sources.iter().find(|(_, source)| source.series == head.series);
    let source = own.map_or_else(|| head.series.clone(), |(name, _)| name.clone());
    let suspects: Vec<String> = match head.state {
        Kept::Suspect => vec!["stored as suspect".to_owned()],
        _ => Vec::new(),
    };
    let record = match body {
        Some(body) => record_of(&source, summary, body, &suspects),
        None => Record {
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
    (invocation, record)
}
