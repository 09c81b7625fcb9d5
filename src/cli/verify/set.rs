//! `dumpvault verify SYSTEM`: every source of a run, and what the rows of one refer to in another.

use super::{found, job, settle, try_out};
use crate::base::name::nearest;
use crate::base::numbers::StreamFormat;
use crate::cli::args::VerifyArgs;
use crate::cli::exit::Exit;
use crate::cli::report::CliError;
use crate::cli::{Context, render, which};
use crate::engine::plan::{SetJob, SetPlan, plan_set, plan_verify};
use crate::engine::report::{Id, VerifiedSource, VerifySet};
use crate::engine::restore::{Chosen, Reference, is_cluster_script};
use std::collections::BTreeMap;

pub(super) fn run(context: &Context, args: &VerifyArgs, set: &str) -> Result<Exit, CliError> {
    let name = context.name(set)?;
    if name.stream.is_some() {
        return Err(CliError::usage("--set verifies whole snapshots; name a stream without --set"));
    }
    job(args, None)?;
    let plan = {
        let repo = context.repository()?;
        let job = SetJob { name, targets: BTreeMap::new(), skipped: Vec::new() };
        plan_set(&job, &repo, &context.app, &context.run())?
    };
    let mut members: BTreeMap<&str, Chosen> = BTreeMap::new();
    for (source, summary) in &plan.set.members {
        let name = context.name(&summary.id.to_string())?;
        members.insert(source, which::chosen(context, &name, false)?);
    }
    check_references(context, &plan, &members)?;
    let mut report = VerifySet {
        set: Id::of(plan.set.set),
        system: plan.set.system.clone(),
        ok: true,
        sources: Vec::new(),
    };
    let mut worst = Exit::Good;
    for (source, summary) in &plan.set.members {
        let outcome = verify_one(context, args, source, &members);
        let (exit, streams, error) = match outcome {
            Ok((exit, streams)) => (exit, streams, None),
            Err(error) => {
                let exit = context.fail(&error, false);
                (exit, Vec::new(), Some(error.to_string()))
            }
        };
        let ok = exit == Exit::Good;
        report.sources.push(VerifiedSource {
            source: source.clone(),
            snapshot: Id::of(summary.id),
            ok,
            streams,
            error,
        });
        worst = worse(worst, exit);
        if context.cancel.is_cancelled() {
            break;
        }
    }
    report.ok = worst == Exit::Good;
    let good = report.sources.iter().filter(|source| source.ok).count();
    let all = render::count(plan.set.members.len(), "source");
    let short = plan.set.set.to_string();
    context.say(&format!("run {}: {good} of {all} good", short.get(..8).unwrap_or_default()));
    if context.json {
        context.report(report);
    }
    Ok(worst)
}

/// What is wrong in one is worse than what was not found out.
fn worse(one: Exit, other: Exit) -> Exit {
    match (one, other) {
        (Exit::Interrupted, _) | (_, Exit::Interrupted) => Exit::Interrupted,
        (Exit::Integrity, _) | (_, Exit::Integrity) => Exit::Integrity,
        (Exit::Good, other) => other,
        (one, _) => one,
    }
}

/// What a reference is called: the source of the files, and before that the database with the rows where there are
/// several.
fn parts_of(key: &str) -> (Option<&str>, &str) {
    match key.split_once(':') {
        Some((database, to)) => (Some(database), to),
        None => (None, key),
    }
}

/// A reference names a source of the run, and a database where there are several.
fn check_references(
    context: &Context,
    plan: &SetPlan,
    members: &BTreeMap<&str, Chosen>,
) -> Result<(), CliError> {
    let known: Vec<&str> = plan.set.members.iter().map(|(source, _)| source.as_str()).collect();
    for (source, chosen) in members {
        let Some(settings) = context.app.settings.sources.get(*source) else { continue };
        let databases = chosen.body.streams.iter().filter(|stream| is_database(stream.format));
        let databases: Vec<&str> =
            databases.filter(|one| !is_cluster_script(one)).map(|one| one.name.as_str()).collect();
        for key in settings.references.keys() {
            let (database, to) = parts_of(key);
            if !known.contains(&to) {
                let hint = match nearest(to, known.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("the run has: {}", known.join(", ")),
                };
                let message = format!("source `{source}` refers to `{to}`, of which the run has no snapshot");
                return Err(CliError::usage_hint(message, hint));
            }
            let is_clear = match database {
                Some(database) => databases.contains(&database),
                None => databases.len() <= 1,
            };
            if !is_clear {
                let message = format!("source `{source}`: reference `{key}` names none of its databases");
                let hint = format!("write `\"DATABASE:{to}\"`; it has: {}", databases.join(", "));
                return Err(CliError::usage_hint(message, hint));
            }
        }
    }
    Ok(())
}

fn is_database(format: StreamFormat) -> bool {
    matches!(format, StreamFormat::PgCustom | StreamFormat::PgTar | StreamFormat::PlainSql)
}

type Verified = (Exit, Vec<crate::engine::report::VerifiedStream>);

fn verify_one(
    context: &Context,
    args: &VerifyArgs,
    source: &str,
    members: &BTreeMap<&str, Chosen>,
) -> Result<Verified, CliError> {
    let chosen = members.get(source).ok_or_else(|| CliError::usage("no such source"))?;
    let run = context.run();
    let mut job = job(args, None)?;
    if chosen.body.streams.iter().all(|stream| !is_database(stream.format)) {
        job.smoke = None;
        // No kind that anything is known of: that each chunk and the digest are right is all that can be said.
        if chosen.body.streams.iter().all(|stream| stream.format == StreamFormat::Unknown) {
            for stream in &chosen.body.streams {
                let mut nobody = std::io::sink();
                let target = crate::engine::restore::Target::Writer(&mut nobody);
                chosen.restore(stream, target, &context.progress, &context.cancel)?;
                let bytes = render::bytes(stream.bytes);
                context.say(&format!("{source}: `{}` read: {bytes}, as it was stored", stream.name));
            }
            return Ok((Exit::Good, Vec::new()));
        }
    }
    let settings = context.app.settings.sources.get(source);
    let references = settings.into_iter().flat_map(|settings| &settings.references);
    let references: Vec<Reference<'_>> = references
        .filter_map(|(key, query)| {
            let (database, to) = parts_of(key);
            let files = members.get(to)?;
            let database = database.map(str::to_owned);
            Some(Reference { database, to: to.to_owned(), query: query.clone(), files })
        })
        .collect();
    let name = context.name(&chosen.summary.id.to_string())?;
    let plan = plan_verify(job, which::chosen(context, &name, false)?, &context.app, &run)?;
    settle(context, args, &plan)?;
    let verified = try_out(context, &plan, &references, &run)?;
    Ok((verified.class().map_or(Exit::Good, Exit::from), found(&verified)))
}
