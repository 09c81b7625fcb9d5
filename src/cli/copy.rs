//! `dumpvault copy`: which destinations options and configuration mean, and how copies are shown.

use super::args::CopyArgs;
use super::exit::Exit;
use super::report::{CliError, hint_of, shown};
use super::{Context, key, prompt, render};
use crate::base::clock::Clock;
use crate::base::fault::Fault as _;
use crate::base::name::SeriesName;
use crate::engine::app::{App, AppError, Place};
use crate::engine::copy::{Copied, CopyReport, CopyRequest, Fate, check_source, copy, plan_for_empty};
use crate::engine::listing::sizes;
use crate::engine::report::{Copies, CopyResult, Requests};
use crate::settings::{self, Destination};
use crate::vault::reader::ReadSettings;
use crate::vault::{RepoError, Repository};

/// Plain bytes of the source's blocks held open unless they are too few, bytes of a read, and reads at a time: the destination needs
/// room beside them.
const OPEN_BYTES: u64 = 32 << 20;
const RUN_BYTES_MAX: u64 = 2 << 20;
const WORKERS_MAX: usize = 8;

/// A repository to copy into, and what goes there.
type Offsite = Destination<Place>;

pub(super) fn run(context: &Context, args: &CopyArgs) -> Result<Exit, CliError> {
    let targets = targets(context, args)?;
    let requests: Vec<CopyRequest> =
        targets.iter().map(|(_, settings)| request(context, args, settings)).collect::<Result<_, _>>()?;
    let from = context.repository()?;
    let mut exit = Exit::Good;
    let mut results = Vec::new();
    for ((name, settings), request) in targets.iter().zip(requests) {
        let app = context.app.at(&settings.repository);
        let outcome = copy_to(context, &from, &app, args.init, &request);
        let wire = app.requests();
        if let Some(requests) = &wire {
            tracing::info!("{name}: {}", render::requests(requests));
        }
        let outcome = match outcome {
            // The only one: as any command that fails.
            Err(error) if targets.len() == 1 => return Err(error),
            Err(error) => Err(CliError::Destination { name: (*name).clone(), error: Box::new(error) }),
            Ok(report) => Ok(report),
        };
        let own = match &outcome {
            Err(error) => context.fail(error, false),
            Ok(report) => tell(context, report, &request),
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

/// Where to copy to, with a name for each.
fn targets<'a>(context: &'a Context, args: &CopyArgs) -> Result<Vec<(&'a String, &'a Offsite)>, CliError> {
    let known = &context.app.settings.copies;
    if let Some(to) = &args.to {
        return Ok(known.get_key_value(to).into_iter().collect());
    }
    if known.is_empty() {
        return Err(CliError::Usage {
            message: "nothing says where to copy to".to_owned(),
            hint: Some(
                "give --to REPO, or write [copy.offsite] with `repository = \"…\"` into dumpvault.toml"
                    .to_owned(),
            ),
        });
    }
    Ok(known.iter().collect())
}

fn request(context: &Context, args: &CopyArgs, settings: &Offsite) -> Result<CopyRequest, CliError> {
    let calendar = context.app.settings.calendar.clone();
    let level = args.compression.as_deref().map(|text| settings::level(text, "--compression")).transpose()?;
    let own_level = level.or(settings.compression);
    let since = args.since.as_deref().map(|text| settings::since(text, "--since")).transpose()?;
    let since = since.or(settings.since).map(|since| since.moment(&calendar.zone, context.clock.now()));
    let read = context.read_settings();
    let names = args.snapshots.iter().map(|name| context.whole_name(name)).collect::<Result<_, _>>()?;
    let series = match args.series.as_slice() {
        [] => settings.series.clone(),
        given => given.iter().map(|name| SeriesName::parse(name)).collect::<Result<_, _>>()?,
    };
    Ok(CopyRequest {
        names,
        any_host: args.which.any_host,
        series,
        // One that the configuration names may have its first backup yet to come.
        series_must_be: !args.series.is_empty(),
        host: args.host.clone().or_else(|| settings.host.clone()),
        tags: if args.tag.is_empty() { settings.tags.clone() } else { args.tag.clone() },
        since,
        calendar,
        level: own_level.unwrap_or(context.app.settings.compression),
        recompress: own_level.is_some(),
        workers: context.cores(),
        read: ReadSettings {
            workers: read.workers.min(WORKERS_MAX),
            open_bytes: OPEN_BYTES,
            run_bytes: read.run_bytes.min(RUN_BYTES_MAX),
            ..read
        },
        by: context.app.host(),
        dry_run: args.dry_run,
    })
}

fn copy_to(
    context: &Context,
    from: &Repository,
    app: &App,
    init: bool,
    request: &CopyRequest,
) -> Result<CopyReport, CliError> {
    // That it is there is told before a passphrase is asked for.
    let to = match app.identify() {
        Err(AppError::Repo(RepoError::NoRepository { .. })) if init && !request.dry_run => {
            // Nothing is made for a copy that cannot be.
            check_source(from, request, &context.progress)?;
            let credential = key::of_new_repository(context, app, false)?;
            let to = app.init_alike(from, &credential, context.clock.now().as_millisecond())?;
            context.say(&format!("made repository {} at {}", to.id(), to.location()));
            to
        }
        // Made there, it would hold nothing yet.
        Err(AppError::Repo(RepoError::NoRepository { .. })) if init => {
            return Ok(plan_for_empty(from, request, &context.progress)?);
        }
        Err(AppError::Repo(RepoError::NoRepository { location })) => {
            return Err(CliError::NoDestination { location });
        }
        Err(error) => return Err(error.into()),
        Ok(identity) => {
            let found = app.credential(&|| prompt::ask("passphrase of the repository to copy into: "))?;
            found.warnings.into_iter().for_each(|message| context.warn(message));
            app.open(&identity, &found.credential)?
        }
    };
    if !request.dry_run
        && let Err(error) = app.remove_leftovers(super::backup::LEFTOVER_AGE)
    {
        tracing::info!("old temporary files were not removed: {error}");
    }
    Ok(copy(from, &to, &context.clock, request, &context.progress, &context.cancel)?)
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
