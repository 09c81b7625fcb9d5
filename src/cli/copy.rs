//! `dumpvault copy`: which destinations options and configuration mean, and how copies are shown.

use super::args::CopyArgs;
use super::exit::Exit;
use super::report::{CliError, hint_of, shown};
use super::{Context, key, prompt, render};
use crate::base::fault::Fault as _;
use crate::base::name::{SeriesName, SnapshotName};
use crate::engine::copy::{
    Copied, CopyAsker, CopyOutcome, CopyReport, CopyRequest, Fate, KeyWanted, run_copies,
};
use crate::engine::listing::sizes;
use crate::engine::plan::{CopyJob, PlannedCopy, SetJob, plan_copy, plan_set};
use crate::engine::report::{Copies, CopyResult, Requests};
use crate::settings;
use crate::vault::Repository;
use crate::vault::crypto::Credential;
use std::collections::BTreeMap;

pub(super) fn run(context: &Context, args: &CopyArgs) -> Result<Exit, CliError> {
    let mut job = job(context, args)?;
    let mut plan = plan_copy(&job, &context.app, &context.run())?;
    let from = context.repository()?;
    if let Some(set) = &args.set {
        job.names = members(context, &from, set)?;
        plan = plan_copy(&job, &context.app, &context.run())?;
    }
    let is_only = plan.copies.len() == 1;
    let mut told = Told { context, is_only, exit: Exit::Good, results: Vec::new(), failure: None };
    run_copies(&plan, &from, &context.app, args.init, &context.run(), &mut told);
    if let Some(error) = told.failure {
        return Err(error);
    }
    if context.json {
        let requests_source = context.app.requests().as_ref().map(Requests::from);
        context.report(Copies { dry_run: args.dry_run, results: told.results, requests_source });
    }
    Ok(told.exit)
}

/// What is asked and told while it is copied.
struct Told<'a> {
    context: &'a Context,
    is_only: bool,
    exit: Exit,
    results: Vec<CopyResult>,
    /// Of the only destination: the command fails as any other does.
    failure: Option<CliError>,
}

impl CopyAsker<CliError> for Told<'_> {
    fn key(&mut self, wanted: KeyWanted<'_>) -> Result<Credential, CliError> {
        match wanted {
            KeyWanted::New(app) => key::of_new_repository(self.context, app, false),
            KeyWanted::There(app) => {
                let found = app.credential(&|| prompt::ask("Passphrase of the destination: "))?;
                found.warnings.into_iter().for_each(|message| self.context.warn(message));
                Ok(found.credential)
            }
        }
    }

    fn made(&mut self, repo: &Repository) {
        self.context.say(&format!("created repository {} at {}", repo.id(), repo.location()));
    }

    fn ended(&mut self, copy: &PlannedCopy, outcome: CopyOutcome<CliError>) {
        let (context, name) = (self.context, &copy.name);
        let CopyOutcome { requests, result } = outcome;
        if let Some(requests) = &requests {
            tracing::info!("{name}: {}", render::requests(&requests.into()));
        }
        let own = match result {
            Err(error) if self.is_only => {
                self.failure = Some(error);
                return;
            }
            Err(error) => {
                let error = CliError::Destination { name: name.clone(), error: Box::new(error) };
                self.results.push(CopyResult::failed(name, error.to_string(), error.hint()));
                context.fail(&error, false)
            }
            Ok(report) => {
                self.results.push(CopyResult::reached(name, &report, requests.as_ref(), &shown));
                tell(context, &report, &copy.request)
            }
        };
        self.exit = match context.cancel.is_cancelled() {
            true => Exit::Interrupted,
            false => worse(self.exit, own),
        };
    }
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
    let job = SetJob { name, targets: BTreeMap::new(), skipped: Vec::new() };
    let plan = plan_set(&job, repo, &context.app, &context.run())?;
    plan.set.members.iter().map(|(_, summary)| context.name(&summary.id.to_string())).collect()
}

/// Says what was done, and gives the exit code for it.
fn tell(context: &Context, report: &CopyReport, request: &CopyRequest) -> Exit {
    let zone = &request.calendar.zone;
    let mut counts = [0u64; 4];
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
    let Some(error) = &report.stopped else { return report.class().map_or(Exit::Good, Exit::from) };
    let is_interrupted = error.is_cancelled() || context.cancel.is_cancelled();
    let exit = match report.class() {
        _ if is_interrupted => Exit::Interrupted,
        class => class.map_or(Exit::Good, Exit::from),
    };
    let (message, hint) = (error.to_string(), hint_of(error));
    let failed = CliError::Told { message, hint, code: Some(error.code()), kind: None, exit };
    context.fail(&failed, is_interrupted)
}
