//! Restoring objects into a bucket: what has to hold before it is touched, what is asked, and what is told after.

use super::files::{in_the_way, overwrite};
use crate::base::objects::Reached;
use crate::base::words;
use crate::cli::args::RestoreArgs;
use crate::cli::exit::Exit;
use crate::cli::report::CliError;
use crate::cli::{Context, doubts, prompt, render};
use crate::engine::files::{
    BucketJob, BucketPlan, BucketReport, IntoBucketJob, WantedFiles, first, plan_into_bucket, run_into_bucket,
};
use crate::engine::report::{RestoreObjectsPlan, RestoredObjects};
use crate::engine::restore::Chosen;
use std::time::Instant;

pub(super) fn run(
    context: &Context,
    args: &RestoreArgs,
    chosen: &Chosen,
    stream: Option<&str>,
    address: &str,
) -> Result<Exit, CliError> {
    let began = Instant::now();
    let wanted = WantedFiles::of(&args.files.path).map_err(|error| CliError::usage(error.to_string()))?;
    let job = IntoBucketJob {
        reached: Reached {
            address: address.to_owned(),
            endpoint: args.bucket.bucket_endpoint.clone(),
            region: args.bucket.bucket_region.clone(),
            profile: args.bucket.bucket_profile.clone(),
            ..Reached::default()
        },
        objects: BucketJob { wanted, overwrite: overwrite(&args.files), deletes: args.bucket.delete },
        force: args.force,
    };
    let run = context.run();
    for data in &chosen.body.streams {
        doubts::tell(context, chosen, data);
    }
    let mut into = plan_into_bucket(job, chosen, stream, &context.app, &run)?;
    if args.dry_run {
        return Ok(dry_run(context, chosen, &into.plan, &into.place));
    }
    if let Some(refusal) = into.refusal.take() {
        return Err(refusal.into());
    }
    let place = into.place.clone();
    if into.plan.there > 0 && !prompt::agreed(context, &question(&into.plan, &place), args.yes)? {
        return Err(CliError::Refused { message: "cancelled; nothing was restored".to_owned(), hint: None });
    }
    let report = run_into_bucket(into, &run)?;
    Ok(told(context, chosen, &report, &place, began))
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
        "`{place}` is not empty ({}): {}.{deletes}",
        words::count(*there, "object"),
        in_the_way("object", *objects, (*replaced, &first(replaced_first, *replaced)), *kept),
    )
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
    let exit = report.class().map_or(Exit::Good, Exit::from);
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
