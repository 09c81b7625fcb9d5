//! `dumpvault key add`, `grant`, `rotate` and `revoke`: who holds a key, and what it may do.

use super::{new_credential, opened, told};
use crate::cli::args::{GrantArgs, KeyAddArgs, RotateArgs};
use crate::cli::exit::Exit;
use crate::cli::report::CliError;
use crate::cli::{Context, prompt, render};
use crate::engine::keyring::{
    ContentPrice, GrantJob, KeyAddJob, RotateJob, RotatePlan, check_key_add, plan_key_add, plan_rotate,
    run_grant, run_key_add, run_rotate,
};
use crate::engine::report::{Author, KeyGrant, KeyRotation, KeyRotationPlan, NewKeyPlan};

pub(super) fn add(context: &Context, args: &KeyAddArgs) -> Result<Exit, CliError> {
    let (repo, _) = opened(context)?;
    let job = KeyAddJob {
        is_append: args.append || args.role == "append",
        name: args.label.clone(),
        hosts: args.hosts.clone(),
        series: args.series.clone(),
        share: args.share,
    };
    let plan = plan_key_add(job, &context.app)?;
    let KeyAddJob { is_append, hosts, .. } = &plan.job;
    let (role, may) = match is_append {
        false => ("full", String::new()),
        true => ("append", format!("; it may add backups of host {}", hosts.join(", "))),
    };
    if args.dry_run {
        check_key_add(&plan, &repo)?;
        if context.json {
            context.report(NewKeyPlan::new(&plan));
        } else {
            context.output(&format!("would add {role} key `{}`{may}", plan.job.name));
        }
        return Ok(Exit::Good);
    }
    let credential = new_credential(context, &args.new)?;
    let id = run_key_add(&plan, &credential, &repo, &context.run())?;
    told(context, &format!("added {role} key, slot {}{may}", id.short()), &id)
}

pub(super) fn grant(context: &Context, args: &GrantArgs) -> Result<Exit, CliError> {
    let (repo, _) = opened(context)?;
    let job = GrantJob {
        key: args.key.clone(),
        hosts: args.hosts.clone(),
        series: args.series.clone(),
        all_series: args.all_series,
        only: args.only,
        rename: args.rename.clone(),
    };
    let statement = run_grant(&job, args.dry_run, &repo, &context.run())?;
    let author = Author::new(&repo, &statement);
    if context.json {
        context.report(KeyGrant { dry_run: args.dry_run, author });
    } else if args.dry_run {
        context.output(&format!("key `{}` would be allowed to {}", statement.name, may(&author)));
    } else {
        let name = if author.name.is_empty() { author.author.short() } else { &author.name };
        context.say(&format!("key `{name}` may now {}", may(&author)));
    }
    Ok(Exit::Good)
}

pub(super) fn rotate(
    context: &Context,
    revoke: Option<String>,
    since: Option<jiff::Timestamp>,
    args: &RotateArgs,
) -> Result<Exit, CliError> {
    let (repo, credential) = opened(context)?;
    let run = context.run();
    let job = RotateJob { revoke, since, content: args.content, end_sessions: args.end_sessions };
    let plan = plan_rotate(job, &repo, &run)?;
    if args.dry_run {
        return Ok(would_rotate(context, &plan));
    }
    if let Some(price) = &plan.price
        && !prompt::agreed(context, &words(price), args.yes)?
    {
        let message = "cancelled; nothing was changed".to_owned();
        return Err(CliError::Refused { message, hint: None });
    }
    let report = KeyRotation::new(&run_rotate(&plan, &repo, &credential, &run)?, &plan.revoked_ids());
    if context.json {
        context.report(report);
        return Ok(Exit::Good);
    }
    let KeyRotation { epoch, content_generation, authors, objects_dropped, .. } = report;
    let KeyRotation { packs_refused, sessions_ended, .. } = report;
    for (_, name) in &plan.revoked {
        context.say(&format!("revoked key `{name}`"));
    }
    let keys = render::count(authors, "key");
    context.say(&format!("key epoch {epoch} is open for {keys}; no host has to do anything"));
    if args.content {
        context.say(&format!(
            "content generation {content_generation}: the next backup of every series is a full one"
        ));
    }
    if objects_dropped > 0 {
        context.say(&format!(
            "objects that no longer count: {objects_dropped}; `dumpvault forget --foreign` removes them"
        ));
    }
    if packs_refused > 0 {
        context.warn(format!("packs that do not hold what the revoked key said of them: {packs_refused}"));
    }
    if sessions_ended > 0 {
        context.say(&format!("{sessions_ended} running backups were ended; they can be tried again at once"));
    }
    Ok(Exit::Good)
}

/// Says what a rotation would do.
fn would_rotate(context: &Context, plan: &RotatePlan) -> Exit {
    if context.json {
        context.report(KeyRotationPlan::new(plan));
        return Exit::Good;
    }
    for (author, name) in &plan.revoked {
        context.output(&format!("would revoke key `{name}` ({})", author.short()));
    }
    context.output("would open a new key epoch for all other keys");
    if let Some(price) = &plan.price {
        context.output(&words(price));
    }
    Exit::Good
}

/// What a new content root costs, in words.
fn words(price: &ContentPrice) -> String {
    format!(
        "A new content root finds nothing that is stored now: the next backup of each series is a full one. That is {} of dumps in {} series, \
         before compression, beside the {} of packs that are there until their snapshots go.",
        render::bytes(price.dump_bytes),
        price.series,
        render::bytes(price.pack_bytes)
    )
}

fn may(author: &Author) -> String {
    if author.role == "full" {
        return "do everything".to_owned();
    }
    let series = match &author.series {
        None => "all series".to_owned(),
        Some(series) => format!("series {}", series.join(", ")),
    };
    format!("add backups of {series} of host {}", author.hosts.join(", "))
}

/// All keys, a row each.
pub(super) fn rows(authors: &[Author]) -> Vec<Vec<String>> {
    let row = |author: &Author| {
        vec![
            author.author.short().to_owned(),
            author.role.clone(),
            if author.revoked { "revoked".to_owned() } else { may(author) },
            author.name.clone(),
        ]
    };
    authors.iter().map(row).collect()
}
