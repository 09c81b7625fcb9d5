//! The way back of a whole system: the snapshots of one run in the reverse order of their moments, each to its own kind
//! of target.
//!
//! What refers to others was read first, so what is referred to comes back first: files before the rows that name them,
//! rows before jobs.

use super::refused;
use crate::base::fault::Next;
use crate::base::name::{Position, SnapshotName};
use crate::base::run::Run;
use crate::engine::OpError;
use crate::engine::app::App;
use crate::engine::restore::{is_cluster_script, rollback_words};
use crate::engine::system::{SeenSet, SetEnd, sets};
use crate::source::kind::Home;
use crate::vault::Repository;
use crate::vault::snapshot::{Body, State, StreamFormat, Summary};
use std::collections::BTreeMap;
use std::ffi::OsString;

/// What somebody asks to bring back.
#[derive(Debug, Clone)]
pub struct SetJob {
    /// The run: `SYSTEM[@TIME|~N]`, or the front of its id.
    pub name: SnapshotName,
    /// Targets by source, in the place of where the configuration says that each lives.
    pub targets: BTreeMap<String, String>,
    /// Sources that stay as they are.
    pub skipped: Vec<String>,
}

/// Where a snapshot goes back to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetTarget {
    /// Databases, and roles where the snapshot has some, into a PostgreSQL server.
    Postgres(Home),
    /// Into a Redis server.
    Redis(String),
    /// Files below a folder.
    Folder(String),
    /// Objects into a bucket, or below a prefix of it.
    Bucket(String),
    /// A stream into a file.
    File(String),
}

/// A snapshot that goes back.
#[derive(Debug, Clone)]
pub struct SetStep {
    /// Its source.
    pub source: String,
    /// The snapshot.
    pub summary: Summary,
    /// Where to; `None` where nobody says.
    pub target: Option<SetTarget>,
}

/// The way back of a run.
#[derive(Debug, Clone)]
pub struct SetPlan {
    /// The run.
    pub set: SeenSet,
    /// In the order in which they are done.
    pub steps: Vec<SetStep>,
    /// A newer run, which is not complete.
    pub newer: Option<SeenSet>,
}

impl SetStep {
    /// The command that does it, without the program's name.
    pub fn words(&self) -> Option<Vec<OsString>> {
        let words = |option: &[&str]| -> Vec<OsString> {
            let id = self.summary.id.short();
            ["restore", &id].iter().chain(option).map(OsString::from).collect()
        };
        Some(match self.target.as_ref()? {
            SetTarget::Redis(address) => words(&["--to-redis", address]),
            SetTarget::Folder(folder) => words(&["--to-dir", folder]),
            SetTarget::Bucket(address) => words(&["--to-bucket", address]),
            SetTarget::File(file) => words(&["--output", file]),
            SetTarget::Postgres(Home { address, exec }) => {
                let mut words = words(&["--all-databases"]);
                // Without an address it is the environment's.
                if address != "postgresql://" {
                    words.extend(["--server".into(), address.into()]);
                }
                if let Some(exec) = exec {
                    let exec: Vec<String> =
                        exec.iter().map(|word| word.to_string_lossy().into_owned()).collect();
                    words.extend(["--pg-exec".into(), exec.join(" ").into()]);
                }
                words
            }
        })
    }
}

/// Finds the run that is meant, and says what comes back in which order.
///
/// # Errors
/// When there is no such run, a target is named for no source of it, or the repository cannot be read.
pub fn plan_set(job: &SetJob, repo: &Repository, app: &App, run: &Run) -> Result<SetPlan, OpError> {
    let (mut catalog, history) = repo.told(run.events.as_ref())?;
    let all: Vec<SeenSet> =
        sets(&history).into_iter().map(|set| set.as_configured(&app.settings.systems)).collect();
    let (set, newer) = choose(&all, &job.name, &app.host())?;
    let by_id = job.name.id_digits().is_some_and(|digits| set.set.to_string().starts_with(&digits));
    if let Some(missing) = rollback_words(&history.turned_back).filter(|_| !by_id) {
        let visible = set.set.to_string();
        let visible = visible.get(..8).unwrap_or_default().to_owned();
        let time = crate::base::clock::timestamp(set.time_ms());
        return Err(OpError::TurnedBack { missing, name: job.name.to_string(), visible, time });
    }
    let known: Vec<&str> = set.members.iter().map(|(source, _)| source.as_str()).collect();
    let named = job.targets.keys().chain(&job.skipped);
    if let Some(unknown) = named.into_iter().find(|name| !known.contains(&name.as_str())) {
        let message = format!("the run has no snapshot of a source `{unknown}`");
        return Err(refused(message, Next::plain(&format!("it has: {}", known.join(", ")))));
    }
    let mut steps = Vec::new();
    let wanted = set.members.iter().rev().filter(|(source, _)| !job.skipped.contains(source));
    for (source, summary) in wanted {
        let target = target(source, &repo.body(&mut catalog, &summary.id)?, job.targets.get(source), app);
        steps.push(SetStep { source: source.clone(), summary: summary.clone(), target });
    }
    Ok(SetPlan { set: set.clone(), steps, newer: newer.cloned() })
}

fn target(source: &str, body: &Body, said: Option<&String>, app: &App) -> Option<SetTarget> {
    let has = |format: StreamFormat| body.streams.iter().any(|stream| stream.format == format);
    let settings = app.settings.sources.get(source);
    let home = settings.and_then(|settings| settings.kind.home());
    let place = said.cloned().or_else(|| home.as_ref().map(|home| home.address.clone()));
    match () {
        () if has(StreamFormat::PgCustom) || body.streams.iter().any(is_cluster_script) => {
            let exec = home.and_then(|home| home.exec).filter(|_| said.is_none());
            Some(SetTarget::Postgres(Home { address: place?, exec }))
        }
        () if has(StreamFormat::RedisRdb) => place.map(SetTarget::Redis),
        () if has(StreamFormat::FileIndex) => place.map(SetTarget::Folder),
        // Objects may become files, where somebody says so.
        () if has(StreamFormat::ObjectIndex) => place.map(|place| match place.starts_with("s3:") {
            true => SetTarget::Bucket(place),
            false => SetTarget::Folder(place),
        }),
        () if body.streams.len() == 1 => said.cloned().map(SetTarget::File),
        () => None,
    }
}

/// The run that a name means, and a newer one that is not complete.
fn choose<'a>(
    all: &'a [SeenSet],
    name: &SnapshotName,
    own: &str,
) -> Result<(&'a SeenSet, Option<&'a SeenSet>), OpError> {
    if let Some(digits) = name.id_digits() {
        let by_id: Vec<&SeenSet> =
            all.iter().filter(|set| set.set.to_string().starts_with(&digits)).collect();
        if let [only] = by_id.as_slice() {
            return Ok((only, None));
        }
    }
    let is_of_system = |set: &&SeenSet| match &set.system {
        Some(system) => *system == name.word || name.is_latest(),
        None => name.is_latest(),
    };
    let mut of_system: Vec<&SeenSet> = all.iter().filter(is_of_system).collect();
    let mut hosts: Vec<&str> = of_system.iter().filter_map(|set| host_of(set)).collect();
    hosts.sort_unstable();
    hosts.dedup();
    let host = match (&name.host, hosts.as_slice()) {
        (Some(host), _) => host.as_str(),
        (None, [only]) => only,
        (None, several) if several.contains(&own) => own,
        (None, []) => own,
        (None, several) => {
            let message = format!("several hosts have a system `{}`", name.word);
            let each: Vec<String> = several.iter().map(|host| format!("{host}/{}", name.word)).collect();
            return Err(refused(message, Next::plain(&format!("name one of {}", each.join(", ")))));
        }
    };
    of_system.retain(|set| host_of(set) == Some(host));
    let is_complete = |set: &&SeenSet| is_whole(set);
    let newest_first = || of_system.iter().rev().copied();
    let (found, newer) = match name.position {
        Position::Newest => {
            let found = newest_first().find(is_complete);
            let newest = newest_first().next();
            (found, newest.filter(|newest| found.is_some_and(|found| found.set != newest.set)))
        }
        Position::Back(steps) => (newest_first().filter(is_complete).nth(steps), None),
        Position::Until(time) => {
            let until = time.as_millisecond();
            (newest_first().filter(is_complete).find(|set| set.time_ms() <= until), None)
        }
    };
    found.map(|found| (found, newer)).ok_or_else(|| {
        let message = format!("no complete run of `{name}` is in the repository");
        refused(message, Next::new("`dumpvault snapshots --sets` lists all; give the id of a partial one"))
    })
}

/// All of its snapshots are there and complete. One that never was does not count if nobody required it: all was well
/// then.
fn is_whole(set: &SeenSet) -> bool {
    let is_all = |end: &SetEnd| end.stored == set.members.len() && (end.ok || end.missing.is_empty());
    let all_there = set.end.as_ref().is_some_and(is_all);
    all_there && set.members.iter().all(|(_, summary)| summary.head.state == State::Complete)
}

fn host_of(set: &SeenSet) -> Option<&str> {
    set.members.first().map(|(_, summary)| summary.head.host.as_str())
}
