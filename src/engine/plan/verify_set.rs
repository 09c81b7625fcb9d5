//! What is to be verified of a run over a system: every snapshot of it, and what the rows of one refer to in another.

use super::{SetJob, VerifyJob, VerifyPlan, plan_set, plan_verify, refused};
use crate::base::fault::Next;
use crate::base::name::{SnapshotName, nearest};
use crate::base::run::Run;
use crate::engine::OpError;
use crate::engine::app::App;
use crate::engine::restore::{Chosen, OnRollback, Reference, choose, is_cluster_script};
use crate::engine::system::SeenSet;
use crate::vault::Repository;
use crate::vault::snapshot::StreamFormat;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What somebody asks to verify of a run over a system.
#[derive(Debug, Clone)]
pub struct VerifySetJob {
    /// The run: `SYSTEM[@TIME|~N]`, or the front of its id.
    pub name: SnapshotName,
    /// How each snapshot of it is tried out.
    pub each: VerifyJob,
}

/// The snapshots of a run, to be tried out one after the other.
pub struct VerifySetPlan {
    /// The run.
    pub set: SeenSet,
    /// In the order of the run.
    pub members: Vec<VerifyMember>,
}

/// A snapshot of a run that is to be tried out.
pub struct VerifyMember {
    /// Its source.
    pub source: String,
    /// The snapshot.
    pub chosen: Arc<Chosen>,
    /// How it is tried out; an error says why it cannot be.
    pub trial: Result<MemberTrial, OpError>,
    /// What its rows refer to.
    pub references: Vec<Reference>,
}

/// How a snapshot is tried out.
pub enum MemberTrial {
    /// As any other is.
    Verify(Box<VerifyPlan>),
    /// Nothing is known of its kind: that each chunk and the digest are right is all that can be said.
    Read,
}

/// Finds the run that is meant, and says how each of its snapshots is tried out. Nothing is started, and no server is
/// asked.
///
/// # Errors
/// When there is no such run, a reference names no source or database of it, or the repository cannot be read. That one
/// snapshot cannot be tried out is part of the plan.
pub fn plan_verify_set(
    job: &VerifySetJob,
    repo: &Repository,
    app: &App,
    run: &Run,
) -> Result<VerifySetPlan, OpError> {
    let set = SetJob { name: job.name.clone(), targets: BTreeMap::new(), skipped: Vec::new() };
    let set = plan_set(&set, repo, app, run)?.set;
    let mut chosen: BTreeMap<&str, Arc<Chosen>> = BTreeMap::new();
    for (source, summary) in &set.members {
        let name = SnapshotName::parse(&summary.id.to_string(), &app.settings.calendar.zone)?;
        let (from, settings) = (app.viewpoint(false), app.read_settings());
        let found = choose(repo, &name, &from, OnRollback::Refuse, settings, run.events.as_ref())?;
        chosen.insert(source, Arc::new(found));
    }
    for (source, found) in &chosen {
        if let Some(settings) = app.settings.sources.get(*source) {
            check_references(source, &settings.references, found, &set)?;
        }
    }
    let member = |source: &String| {
        let own = Arc::clone(chosen.get(source.as_str())?);
        let trial = trial(job.each.clone(), &own, app, run);
        let settings = app.settings.sources.get(source);
        let references = settings.map(|settings| references(&settings.references, &chosen));
        let references = references.unwrap_or_default();
        Some(VerifyMember { source: source.clone(), chosen: own, trial, references })
    };
    let members = set.members.iter().filter_map(|(source, _)| member(source)).collect();
    Ok(VerifySetPlan { set, members })
}

fn trial(mut job: VerifyJob, chosen: &Arc<Chosen>, app: &App, run: &Run) -> Result<MemberTrial, OpError> {
    let streams = &chosen.body.streams;
    if streams.iter().all(|stream| !is_database(stream.format)) {
        job.smoke = None;
        if streams.iter().all(|stream| stream.format == StreamFormat::Unknown) {
            return Ok(MemberTrial::Read);
        }
    }
    let plan = plan_verify(job, Arc::clone(chosen), app, run)?;
    Ok(MemberTrial::Verify(Box::new(plan)))
}

fn is_database(format: StreamFormat) -> bool {
    matches!(format, StreamFormat::PgCustom | StreamFormat::PgTar | StreamFormat::PlainSql)
}

/// What a reference is called: the source of the files, and before that the database with the rows where there are
/// several.
fn parts_of(key: &str) -> (Option<&str>, &str) {
    match key.split_once(':') {
        Some((database, to)) => (Some(database), to),
        None => (None, key),
    }
}

fn references(queries: &BTreeMap<String, String>, chosen: &BTreeMap<&str, Arc<Chosen>>) -> Vec<Reference> {
    let reference = |(key, query): (&String, &String)| {
        let (database, to) = parts_of(key);
        let files = Arc::clone(chosen.get(to)?);
        let database = database.map(str::to_owned);
        Some(Reference { database, to: to.to_owned(), query: query.clone(), files })
    };
    queries.iter().filter_map(reference).collect()
}

/// A reference names a source of the run, and a database where there are several.
fn check_references(
    source: &str,
    queries: &BTreeMap<String, String>,
    chosen: &Chosen,
    set: &SeenSet,
) -> Result<(), OpError> {
    let known: Vec<&str> = set.members.iter().map(|(source, _)| source.as_str()).collect();
    let databases = chosen.body.streams.iter().filter(|stream| is_database(stream.format));
    let databases: Vec<&str> =
        databases.filter(|one| !is_cluster_script(one)).map(|one| one.name.as_str()).collect();
    for key in queries.keys() {
        let (database, to) = parts_of(key);
        if !known.contains(&to) {
            let next = match nearest(to, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the run has: {}", known.join(", ")),
            };
            let message = format!("source `{source}` refers to `{to}`, of which the run has no snapshot");
            return Err(refused(message, Next::plain(&next)));
        }
        let is_clear = match database {
            Some(database) => databases.contains(&database),
            None => databases.len() <= 1,
        };
        if !is_clear {
            let message = format!("source `{source}`: reference `{key}` names none of its databases");
            let next = format!("write `\"DATABASE:{to}\"`; it has: {}", databases.join(", "));
            return Err(refused(message, Next::plain(&next)));
        }
    }
    Ok(())
}
