//! Restoring objects into a bucket: what has to hold before it is touched, what is asked, and what is told after.

use super::files::{first, matches_something, overwrite, tree};
use crate::base::objects::{Reach, Reached};
use crate::base::words;
use crate::cli::args::RestoreArgs;
use crate::cli::exit::Exit;
use crate::cli::report::CliError;
use crate::cli::{Context, doubts, prompt, render};
use crate::content::index::Of;
use crate::engine::OpError;
use crate::engine::files::{BucketJob, BucketPlan, BucketReport, Overwrite, WantedFiles};
use crate::engine::report::{RestoreObjectsPlan, RestoredObjects};
use crate::engine::restore::Chosen;
use crate::source::SourceError;
use crate::source::bucket::BucketError;
use crate::source::kind::Home;
use crate::storage::s3::S3;
use std::time::Instant;

pub(super) fn run(
    context: &Context,
    args: &RestoreArgs,
    chosen: &Chosen,
    stream: Option<&str>,
    address: &str,
) -> Result<Exit, CliError> {
    let began = Instant::now();
    let tree = tree(chosen, stream)?;
    if tree.holds() != Of::Objects {
        let message = format!("snapshot {} holds files, and no objects", chosen.summary.id.short());
        return Err(CliError::usage_hint(message, "restore files with --to-dir"));
    }
    let wanted = WantedFiles::of(&args.files.path).map_err(|error| CliError::usage(error.to_string()))?;
    let job = BucketJob { wanted, overwrite: overwrite(&args.files), deletes: args.bucket.delete };
    if job.overwrite == Overwrite::Older {
        return Err(CliError::usage("--overwrite older goes with --to-dir"));
    }
    let reached = reached(context, args, address)?;
    let place = S3.place(&reached).map_err(|problem| CliError::usage(problem.text))?;
    if let Some(own) = context.app.overlap(&place) {
        return Err(CliError::usage_hint(
            format!("`{place}` holds the repository `{own}`"),
            "restore into another bucket, or below another prefix",
        ));
    }
    let run = context.run();
    let into = S3.open(&reached, &run).map_err(|error| failed(error.into()))?;
    let place = into.place().to_string();
    for data in &chosen.body.streams {
        doubts::tell(context, chosen, data);
    }
    let plan = tree.plan_bucket(&job, &into, &run)?;
    matches_something(&tree, plan.objects + plan.unreadable + plan.deleted)?;
    refuse_protected(context, &into.place(), &plan)?;
    if args.dry_run {
        return Ok(dry_run(context, chosen, &plan, &place));
    }
    if plan.deleted > plan.there / 2 && !args.force {
        return Err(CliError::Refused {
            message: format!(
                "refused: --delete would delete {} of {} in `{place}`{}",
                plan.deleted,
                words::count(plan.there, "object"),
                first(&plan.deleted_first, plan.deleted)
            ),
            hint: Some("check the address, or use --force".to_owned()),
        });
    }
    if plan.there > 0 && !prompt::agreed(context, &question(&plan, &place), args.yes)? {
        return Err(CliError::Refused { message: "cancelled; nothing was restored".to_owned(), hint: None });
    }
    let report = tree.restore_bucket(&job, &into, &run)?;
    Ok(told(context, chosen, &report, &place, began))
}

/// How the bucket is reached: as the options say, or without any, as the source of the configuration with this address is.
fn reached(context: &Context, args: &RestoreArgs, address: &str) -> Result<Reached, CliError> {
    let said = Reached {
        address: address.to_owned(),
        endpoint: args.bucket.bucket_endpoint.clone(),
        region: args.bucket.bucket_region.clone(),
        profile: args.bucket.bucket_profile.clone(),
        ..Reached::default()
    };
    let is_said = said.endpoint.is_some() || said.region.is_some() || said.profile.is_some();
    let is_it = |home: &Home| home.address == address;
    let sources = context.app.settings.sources.iter();
    let mut named = sources.filter(|(_, source)| source.kind.home().as_ref().is_some_and(is_it));
    match named.next() {
        Some((name, source)) if !is_said => {
            let programs = context.programs();
            let around = programs.surroundings_of(name, &source.programs, context.progress.as_ref())?;
            Ok(source.kind.bucket(&around).unwrap_or(said))
        }
        _ => Ok(said),
    }
}

fn failed(error: BucketError) -> CliError {
    OpError::from(SourceError::from(error)).into()
}

fn question(plan: &BucketPlan, place: &str) -> String {
    let BucketPlan { objects, there, replaced, replaced_first, kept, deleted, deleted_first, .. } = plan;
    let deletes = match deleted {
        0 => String::new(),
        deleted => format!(
            " {} would be deleted{}.",
            words::count(*deleted, "object"),
            first(deleted_first, *deleted)
        ),
    };
    format!(
        "`{place}` is not empty ({}): of {} to restore, {replaced} would replace what is there{}, and {kept} are there already.{deletes}",
        words::count(*there, "object"),
        words::count(*objects, "object"),
        first(replaced_first, *replaced),
    )
}

/// `protect` in the configuration: these buckets are not touched while they hold something.
fn refuse_protected(
    context: &Context,
    place: &crate::base::objects::Place,
    plan: &BucketPlan,
) -> Result<(), CliError> {
    let (whole, endpoint) = (place.to_string(), place.endpoint.clone().unwrap_or_default());
    let host = endpoint.split_once("://").map_or(endpoint.as_str(), |(_, host)| host);
    let names = [place.bucket.as_str(), whole.as_str(), host, host.split(':').next().unwrap_or(host)];
    let mut patterns = context.app.settings.protect.iter();
    match patterns.find(|pattern| names.iter().any(|name| pattern.matches(name))) {
        Some(pattern) if plan.there > 0 => Err(CliError::Refused {
            message: format!(
                "refused: `{whole}` is not empty ({}) and is protected by `protect = [\"{pattern}\"]`",
                words::count(plan.there, "object")
            ),
            hint: Some("restore into another bucket, or edit `protect`".to_owned()),
        }),
        _ => Ok(()),
    }
}

fn dry_run(context: &Context, chosen: &Chosen, plan: &BucketPlan, place: &str) -> Exit {
    let id = chosen.summary.id;
    if context.json {
        context.report(RestoreObjectsPlan::new(&id, plan, place));
        return Exit::Good;
    }
    context.output(&format!(
        "would restore {} ({}) of snapshot {} into `{place}`",
        words::count(plan.objects - plan.kept, "object"),
        render::bytes(plan.bytes),
        id.short(),
    ));
    if plan.there > 0 {
        context.output(&question(plan, place));
    }
    Exit::Good
}

fn told(context: &Context, chosen: &Chosen, report: &BucketReport, place: &str, began: Instant) -> Exit {
    let exit = match () {
        () if !report.damaged.is_empty() => Exit::Integrity,
        () if report.failed > 0 => Exit::Partial,
        () => Exit::Good,
    };
    let ms = began.elapsed().as_millis() as u64;
    let id = chosen.summary.id;
    for (count, what) in [
        (report.unreadable, "could not be read when the backup was made, and not restored"),
        (report.damaged.len() as u64, "damaged and not restored"),
        (report.failed, "could not be restored or deleted"),
    ] {
        if count > 0 {
            context.warn(format!("{}: {what}", words::count(count, "object")));
        }
    }
    if context.json {
        context.report(RestoredObjects::new(&id, report, place, ms));
        return exit;
    }
    let kept = match report.kept {
        0 => String::new(),
        kept => format!(", {} there already", words::count(kept, "object")),
    };
    let deleted = match report.deleted {
        0 => String::new(),
        deleted => format!(", {} deleted", words::count(deleted, "object")),
    };
    context.say(&format!(
        "{}: restored {} of snapshot {} to `{place}`: {} in {}{kept}{deleted}",
        chosen.summary.head.series,
        words::count(report.objects, "object"),
        id.short(),
        render::bytes(report.bytes),
        render::duration(ms),
    ));
    exit
}
