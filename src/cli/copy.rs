//! `dumpvault copy`: which destinations options and configuration mean, and how copies are shown.

use super::args::CopyArgs;
use super::exit::Exit;
use super::report::{CliError, hint_of, shown};
use super::{Context, key, prompt, render};
use crate::base::fault::Fault as _;
use crate::base::id::SnapshotId;
use crate::base::name::{SeriesName, SnapshotName};
use crate::engine::OpError;
use crate::engine::app::App;
use crate::engine::copy::{
    Copied, CopyReport, CopyRequest, Fate, Standing, copy_to as into_destination, examine, open,
};
use crate::engine::listing::sizes;
use crate::engine::plan::{CopyJob, PlannedCopy, SetJob, plan_copy, plan_set};
use crate::engine::report::{Copies, CopyResult, Requests};
use crate::settings;
use crate::vault::Repository;
use std::collections::BTreeMap;

pub(super) fn run(context: &Context, args: &CopyArgs) -> Result<Exit, CliError> {
    let mut job = job(context, args)?;
    let mut plan = plan_copy(&job, &context.app, &context.run())?;
    let from = context.repository()?;
    if let Some(set) = &args.set {
        job.names = members(context, &from, set)?;
        plan = plan_copy(&job, &context.app, &context.run())?;
    }
    let mut exit = Exit::Good;
    let mut results = Vec::new();
    for PlannedCopy { name, destination, request } in &plan.copies {
        let app = context.app.at(&destination.repository);
        let outcome = copy_to(context, &from, &app, args.init, request);
        let wire = app.requests();
        if let Some(requests) = &wire {
            tracing::info!("{name}: {}", render::requests(requests));
        }
        let outcome = match outcome {
            // The only one: as any command that fails.
            Err(error) if plan.copies.len() == 1 => return Err(error),
            Err(error) => Err(CliError::Destination { name: name.clone(), error: Box::new(error) }),
            Ok(report) => Ok(report),
        };
        let own = match &outcome {
            Err(error) => context.fail(error, false),
            Ok(report) => tell(context, report, request),
        };
        exit = worse(exit, own);
        results.push(match outcome {
            Err(error) => CopyResult::failed(name, error.to_string(), error.hint()),
            Ok(report) => CopyResult::reached(name, &report, wire.as_ref(), &shown),
        });
        if context.cancel.is_cancelled() {
            exit = Exit::Interrupted;
            break;
        }
    }
    if context.json {
        let requests_source = context.app.requests().as_ref().map(Requests::from);
        context.report(Copies { dry_run: args.dry_run, results, requests_source });
    }
    Ok(exit)
}

/// The first failure tells the exit code, an interruption whatever came before.
fn worse(before: Exit, now: Exit) -> Exit {
    if before == Exit::Good || now == Exit::Interrupted { now } else { before }
}

fn job(context: &Context, args: &CopyArgs) -> Result<CopyJob, CliError> {
    Ok(CopyJob {
        to: args.to.clone(),
        names: args.snapshots.iter().map(|name| context.whole_name(name)).collect::<Result<_, _>>()?,
        any_host: args.which.any_host,
        series: args.series.iter().map(|name| SeriesName::parse(name)).collect::<Result<_, _>>()?,
        host: args.host.clone(),
        tags: args.tag.clone(),
        since: args.since.as_deref().map(|text| settings::since(text, "--since")).transpose()?,
        level: args.compression.as_deref().map(|text| settings::level(text, "--compression")).transpose()?,
        dry_run: args.dry_run,
    })
}

/// The snapshots of a run, by their ids.
fn members(context: &Context, repo: &Repository, set: &str) -> Result<Vec<SnapshotName>, CliError> {
    let name = context.name(set)?;
    if name.stream.is_some() {
        return Err(CliError::usage("--set copies whole snapshots; name a stream without --set"));
    }
    let (mut catalog, history) = repo.told(&context.progress)?;
    let mut body = |id: &SnapshotId| repo.body(&mut catalog, id).map_err(OpError::from);
    let job = SetJob { name, targets: BTreeMap::new(), skipped: Vec::new() };
    let plan = plan_set(&job, &history, &mut body, &context.app)?;
    plan.set.members.iter().map(|(_, summary)| context.name(&summary.id.to_string())).collect()
}

fn copy_to(
    context: &Context,
    from: &Repository,
    app: &App,
    init: bool,
    request: &CopyRequest,
) -> Result<CopyReport, CliError> {
    let run = context.run();
    // That it is there is told before a passphrase is asked for.
    let standing = examine(from, app, init, request, &run)?;
    let to = match &standing {
        Standing::ToMakeLater => None,
        Standing::ToMake => {
            let credential = key::of_new_repository(context, app, false)?;
            let to = open(from, app, &standing, &credential, &run)?;
            if let Some(made) = &to {
                context.say(&format!("created repository {} at {}", made.id(), made.location()));
            }
            to
        }
        Standing::There(_) => {
            let found = app.credential(&|| prompt::ask("Passphrase of the destination: "))?;
            found.warnings.into_iter().for_each(|message| context.warn(message));
            open(from, app, &standing, &found.credential, &run)?
        }
    };
    Ok(into_destination(from, to.as_ref(), app, request, &run)?)
}

/// Says what was done, and gives the exit code for it.
fn tell(context: &Context, report: &CopyReport, request: &CopyRequest) -> Exit {
    let zone = &request.calendar.zone;
    let mut counts = [0u64; 4];
    let is_good = report.damage.is_empty() && report.unfollowed.is_empty();
    let mut exit = if is_good { Exit::Good } else { Exit::Partial };
    for Copied { summary, fate } in &report.snapshots {
        let head = &summary.head;
        let what = format!("{} of {}, {}", summary.id.short(), head.series, render::time(head.time_ms, zone));
        match fate {
            Fate::There(_) => counts[0] += 1,
            Fate::Wanted => {
                counts[1] += 1;
                context.say(&format!("would copy {what}"));
            }
            Fate::Copied(committed) => {
                counts[2] += 1;
                let (plain, stored) = sizes(&committed.body);
                context.say(&format!(
                    "copied {what}: snapshot {}, {}, {} stored",
                    committed.summary.id.short(),
                    render::bytes(plain),
                    render::bytes(stored),
                ));
            }
            // Told when it happened.
            Fate::Failed(_) => counts[3] += 1,
        }
    }
    let [there, wanted, copied, failed] = counts;
    context.say(&match request.dry_run {
        true => format!("{} would be copied, {there} there already", render::count(wanted, "snapshot")),
        false => {
            format!("{} copied, {there} there already, {failed} failed", render::count(copied, "snapshot"))
        }
    });
    if failed > 0 || !report.hidden.is_empty() {
        exit = Exit::Integrity;
    }
    if let Some(error) = &report.stopped {
        exit = match Exit::from(error.class()) {
            Exit::NothingDone if copied > 0 => Exit::Partial,
            exit => exit,
        };
        if error.is_cancelled() || context.cancel.is_cancelled() {
            exit = Exit::Interrupted;
        }
        let (message, hint) = (error.to_string(), hint_of(error));
        let failed = CliError::Told { message, hint, code: Some(error.code()), kind: None, exit };
        context.fail(&failed, exit == Exit::Interrupted);
    }
    exit
}
