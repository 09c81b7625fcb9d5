//! Which snapshot and stream a name stands for: damage, a rollback or a doubtful time may stand in the way.

use super::Chosen;
use crate::base::event::{Event, Observer};
use crate::base::id::SnapshotId;
use crate::base::name::SnapshotName;
use crate::engine::OpError;
use crate::vault::catalog::Catalog;
use crate::vault::history::{History, HistoryDamage};
use crate::vault::reader::ReadSettings;
use crate::vault::snapshot::selection::{SelectionError, Viewpoint, select};
use crate::vault::snapshot::{Body, Stream, Summary};
use crate::vault::{RepoError, Repository};
use std::collections::BTreeMap;

/// What to do where the repository lacks what was seen in it: the newest that is left may be an old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnRollback {
    /// A name that is no id stands for nothing: a person decides.
    Refuse,
    /// Tell what is missing, and go on.
    Tell,
}

/// Finds the snapshot that `name` stands for and reads its body.
///
/// # Errors
/// When there is none, or it cannot be read.
pub fn choose(
    repo: &Repository,
    name: &SnapshotName,
    from: &Viewpoint,
    rollback: OnRollback,
    settings: ReadSettings,
    observer: &dyn Observer,
) -> Result<Chosen, OpError> {
    let (mut catalog, mut history) = repo.known(observer)?;
    if rollback == OnRollback::Tell {
        tell_rollback(&mut history, observer);
    }
    let summary = match find_in(repo, &mut catalog, &history, name, from, observer) {
        Err(OpError::Selection(error)) => {
            Err(refused_foreign(&history, name).unwrap_or_else(|| error.into()))
        }
        found => found,
    }?;
    let body = repo.body(&mut catalog, &summary.id)?;
    Ok(Chosen::new(repo, catalog, &history, summary, body, settings))
}

/// Tells what the repository lacks that was seen in it. Names of snapshots stand for what is left from then on.
pub fn tell_rollback(history: &mut History, observer: &dyn Observer) {
    if let Some(message) = rollback_words(&std::mem::take(&mut history.turned_back)) {
        observer.observe(Event::Warning { message });
    }
}

/// What the repository lacks, in one line; `None` where nothing is missing.
pub fn rollback_words(missing: &[String]) -> Option<String> {
    let (first, others) = missing.split_first()?;
    let more = match others.len() {
        0 => String::new(),
        others => format!("; {others} more: `dumpvault check` lists them"),
    };
    Some(format!("the repository was turned back: {first}{more}"))
}

/// Reads a snapshot that counts for nothing, once a person wants that one all the same.
///
/// # Errors
/// When it is not there, or cannot be read.
pub fn choose_foreign(
    repo: &Repository,
    id: &SnapshotId,
    settings: ReadSettings,
    observer: &dyn Observer,
) -> Result<Chosen, OpError> {
    let (mut catalog, history) = repo.known(observer)?;
    let object = format!("snapshots/{id}");
    let foreign = history.foreign.iter().find(|foreign| foreign.object == object);
    let head = foreign.and_then(|foreign| foreign.head.clone());
    let head = head.ok_or(RepoError::Missing { object })?;
    let body = repo.body(&mut catalog, id)?;
    let stored_ms = head.finished_ms;
    let summary = Summary { id: *id, head, stored_ms, is_doubtful: true, by_full: false };
    Ok(Chosen::new(repo, catalog, &history, summary, body, settings))
}

/// Why a snapshot is refused whose whole id was given, and which counts for nothing.
fn refused_foreign(history: &History, name: &SnapshotName) -> Option<OpError> {
    let id: SnapshotId = name.word.parse().ok()?;
    let object = format!("snapshots/{id}");
    let foreign = history.foreign.iter().find(|foreign| foreign.object == object)?;
    let head = foreign.head.as_ref()?;
    Some(OpError::ForeignSnapshot {
        snapshot: id,
        why: foreign.why.to_string(),
        claim: format!("key {} added it to `{}/{}`", head.author, head.host, head.series),
    })
}

/// As [`find`], and where a stream is called as the series that was asked for, the error names it.
///
/// # Errors
/// As [`find`].
pub fn find_in(
    repo: &Repository,
    catalog: &mut Catalog,
    history: &History,
    name: &SnapshotName,
    from: &Viewpoint,
    observer: &dyn Observer,
) -> Result<Summary, OpError> {
    let found = find(history, name, from, observer);
    let Err(OpError::Selection(SelectionError::NotFound { name: text, near, series })) = found else {
        return found;
    };
    // Only the newest of each series is looked into: on the way to an error nobody waits for more.
    let mut newest: BTreeMap<(&str, &str), &Summary> = BTreeMap::new();
    for summary in &history.snapshots {
        newest.insert((&summary.head.series, &summary.head.host), summary);
    }
    let mut newest: Vec<&Summary> = newest.into_values().collect();
    // `db1/app`, where `db1` is the series of a whole server.
    newest.sort_by_key(|summary| name.host.as_deref() != Some(summary.head.series.as_str()));
    let holder = newest.into_iter().find(|summary| {
        let body = repo.body(catalog, &summary.id);
        body.is_ok_and(|body| body.streams.iter().any(|stream| stream.name == name.word))
    });
    let stream = holder.map(|summary| format!("{}:{}", summary.head.series, name.word));
    Err(SelectionError::NotFound { name: text, near: stream.or(near), series }.into())
}

/// Finds the snapshot that `name` stands for. Damage that may have to do with the choice is told.
///
/// # Errors
/// When there is none.
pub fn find(
    history: &History,
    name: &SnapshotName,
    from: &Viewpoint,
    observer: &dyn Observer,
) -> Result<Summary, OpError> {
    let digits = name.id_digits();
    match select(&history.snapshots, name, from) {
        Ok(found) => {
            let by_id = digits.is_some_and(|digits| found.id.to_string().starts_with(&digits));
            if by_id {
                // It is the one that was meant, whatever else is missing.
                let message = rollback_words(&history.turned_back);
                message.into_iter().for_each(|message| observer.observe(Event::Warning { message }));
            } else {
                refuse_if_hidden(history, found, name, observer)?;
            }
            Ok(found.clone())
        }
        Err(error) => {
            // By its id, a snapshot can be had whose mark is lost.
            let by_id = history.uncommitted.iter().filter(|summary| {
                let digits = digits.as_ref().filter(|digits| digits.len() >= 8);
                digits.is_some_and(|digits| summary.id.to_string().starts_with(digits))
            });
            if let [summary] = by_id.collect::<Vec<_>>().as_slice() {
                let message = format!(
                    "snapshot {} is not committed: its backup was cut short at the very end, or its mark is lost",
                    summary.id.short()
                );
                observer.observe(Event::Warning { message });
                return Ok((*summary).clone());
            }
            let mut damage: Vec<String> =
                history.damaged.iter().map(|damage| damage.error.to_string()).collect();
            damage.extend(
                history
                    .uncommitted
                    .iter()
                    .filter(|summary| summary.head.series == name.word || name.is_latest())
                    .map(|summary| format!("`snapshots/{}` has no mark that commits it", summary.id)),
            );
            if damage.is_empty() {
                return Err(error.into());
            }
            Err(OpError::SelectionAmidDamage { source: Box::new(error), damage: damage.join("; ") })
        }
    }
}

/// The snapshot meant may be one that cannot be seen: an older one must not be taken for it.
fn refuse_if_hidden(
    history: &History,
    found: &Summary,
    name: &SnapshotName,
    observer: &dyn Observer,
) -> Result<(), OpError> {
    let Summary { id, head, .. } = found;
    if let Some(missing) = rollback_words(&history.turned_back) {
        let (name, visible, time) = (name.to_string(), id.short(), head.time());
        return Err(OpError::TurnedBack { missing, name, visible, time });
    }
    refuse_if_doubtful(history, found, name)?;
    let newer: Vec<&Summary> = history
        .uncommitted
        .iter()
        .filter(|other| {
            other.head.series == head.series
                && other.head.host == head.host
                && other.head.counter > head.counter
        })
        .collect();
    // A mark that cannot be read may be that of any snapshot without one.
    let hides = |damage: &&HistoryDamage| match &damage.series {
        Some(series) => *series == head.series || name.is_latest(),
        None => !newer.is_empty(),
    };
    let hidden: Vec<String> =
        history.damaged.iter().filter(hides).map(|damage| damage.error.to_string()).collect();
    if !hidden.is_empty() {
        return Err(OpError::Hidden {
            name: name.to_string(),
            visible: id.to_string(),
            damage: hidden.join("; "),
        });
    }
    for other in newer {
        let other = other.id.short();
        let message = format!("there is a newer snapshot {other} of this series, which is not committed");
        observer.observe(Event::Warning { message });
    }
    tell_of_worse(history, found, name, observer);
    Ok(())
}

/// A name stands for a complete snapshot: where the newest is not, night after night maybe, that is older than somebody
/// thinks.
fn tell_of_worse(history: &History, found: &Summary, name: &SnapshotName, observer: &dyn Observer) {
    let head = &found.head;
    let text = name.to_string();
    if text.contains('@') || text.contains('~') {
        return;
    }
    let series = history.series(&head.series, &head.host);
    let newest = series.filter(|other| !other.head.is_import()).max_by_key(|other| other.head.counter);
    let Some(newest) = newest.filter(|newest| newest.head.counter > head.counter) else { return };
    let message = format!(
        "`{text}` is snapshot {} of {}; {} of {} is newer and {}: name it by its id to use it",
        found.id.short(),
        head.time().strftime("%Y-%m-%d %H:%M UTC"),
        newest.id.short(),
        newest.head.time().strftime("%Y-%m-%d %H:%M UTC"),
        newest.head.state.word()
    );
    observer.observe(Event::Warning { message });
}

/// The newest snapshot by its counter is one whose time is not believed: a person decides.
fn refuse_if_doubtful(history: &History, found: &Summary, name: &SnapshotName) -> Result<(), OpError> {
    let text = name.to_string();
    let is_asked_by_time = text.contains('@') || text.contains('~');
    let series = history.series(&found.head.series, &found.head.host);
    let newest = series.filter(|other| !other.head.is_import()).max_by_key(|other| other.head.counter);
    let doubtful = newest.filter(|newest| newest.is_doubtful && !is_asked_by_time);
    let Some(doubtful) = doubtful.or(Some(found).filter(|found| found.is_doubtful)) else { return Ok(()) };
    Err(OpError::Doubtful {
        name: text,
        doubtful: doubtful.id.short(),
        time: doubtful.head.time(),
        stored: crate::base::clock::timestamp(doubtful.stored_ms),
        visible: (!found.is_doubtful).then(|| found.id.short()),
    })
}

/// The stream of that name.
///
/// # Errors
/// When there is none.
pub fn check_stream<'a>(summary: &Summary, body: &'a Body, name: &str) -> Result<&'a Stream, OpError> {
    let found = body.streams.iter().find(|stream| stream.name == name);
    found.ok_or_else(|| which_stream(summary, body, format!("has no stream `{name}`")))
}

pub(super) fn which_stream(summary: &Summary, body: &Body, problem: String) -> OpError {
    OpError::WhichStream {
        snapshot: summary.id.short(),
        problem,
        streams: body.streams.iter().map(|stream| stream.name.clone()).collect(),
    }
}
