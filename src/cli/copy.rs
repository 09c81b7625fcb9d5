//! `dumpvault copy`.

use super::args::CopyArgs;
use super::exit::Exit;
use super::report::{CliError, hint_of, shown};
use super::{Context, key, prompt, render};
use crate::base::clock::Clock;
use crate::base::fault::Fault as _;
use crate::base::name::SeriesName;
use crate::content::codec::Level;
use crate::engine::app::{App, AppError, ToOverrides};
use crate::engine::copy::{Copied, CopyReport, CopyRequest, Fate, check_source, copy, plan_for_empty};
use crate::engine::report::{Copies, CopyResult, Requests};
use crate::engine::survey::sizes;
use crate::settings::{self, CopyConfig};
use crate::vault::reader::ReadSettings;
use crate::vault::{RepoError, Repository};

/// Plain bytes of the source's blocks held open unless they are too few, bytes of a read, and reads at a time: the destination needs
/// room beside them.
const OPEN_BYTES: u64 = 32 << 20;
const RUN_BYTES_MAX: u64 = 2 << 20;
const WORKERS_MAX: usize = 8;

pub(super) fn run(context: &Context, args: &CopyArgs) -> Result<Exit, CliError> {
    let targets = targets(context, args)?;
    let requests: Vec<CopyRequest> =
        targets.iter().map(|(_, settings)| request(context, args, settings)).collect::<Result<_, _>>()?;
    let from = context.repository()?;
    let mut exit = Exit::Good;
    let mut results = Vec::new();
    for ((name, settings), request) in targets.iter().zip(requests) {
        let given = ToOverrides {
            password_file: args.to_password_file.clone(),
            key_file: args.to_key_file.clone(),
            s3_profile: args.to_s3_profile.clone(),
        };
        let app = context.app.destination(settings, given);
        let outcome = copy_to(context, &from, &app, args.init, &request);
        let wire = app.requests();
        if let Some(requests) = &wire {
            tracing::info!("{name}: {}", render::requests(requests));
        }
        let outcome = match outcome {
            // The only one: as any command that fails.
            Err(error) if targets.len() == 1 => return Err(error),
            Err(error) => Err(CliError::Destination { name: name.clone(), error: Box::new(error) }),
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
fn targets(context: &Context, args: &CopyArgs) -> Result<Vec<(String, CopyConfig)>, CliError> {
    let configured = &context.app.config.copies;
    let Some(to) = &args.to else {
        if configured.is_empty() {
            return Err(CliError::Usage {
                message: "nothing says where to copy to".to_owned(),
                hint: Some(
                    "give --to REPO, or write [copy.offsite] with `repository = \"…\"` into dumpvault.toml"
                        .to_owned(),
                ),
            });
        }
        return Ok(configured.iter().map(|(name, settings)| (name.clone(), settings.clone())).collect());
    };
    let settings = configured.get(to).cloned();
    let settings = settings.unwrap_or_else(|| CopyConfig { repository: to.clone(), ..CopyConfig::default() });
    Ok(vec![(to.clone(), settings)])
}

fn request(context: &Context, args: &CopyArgs, settings: &CopyConfig) -> Result<CopyRequest, CliError> {
    let calendar = context.app.config.calendar()?;
    let either = |given: &[String], configured: &[String]| {
        if given.is_empty() { configured.to_vec() } else { given.to_vec() }
    };
    let own_level = args.compression.as_ref().or(settings.compression.as_ref());
    let level = own_level.or(context.app.config.compression.as_ref());
    let level = level.map(|text| settings::level(text, "--compression")).transpose()?;
    let since = args.since.as_ref().or(settings.since.as_ref());
    let since = since
        .map(|text| settings::since(text, "--since", &calendar.zone, context.clock.now()))
        .transpose()?;
    let read = context.read_settings();
    let names = args.snapshots.iter().map(|name| context.whole_name(name)).collect::<Result<_, _>>()?;
    let series = either(&args.series, &settings.series);
    let series = series.iter().map(|name| SeriesName::parse(name)).collect::<Result<_, _>>()?;
    Ok(CopyRequest {
        names,
        any_host: args.which.any_host,
        series,
        // One that the configuration names may have its first backup yet to come.
        series_must_be: !args.series.is_empty(),
        host: args.host.clone().or_else(|| settings.host.clone()),
        tags: either(&args.tag, &settings.tags),
        since,
        calendar,
        level: level.unwrap_or(Level::DEFAULT),
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
