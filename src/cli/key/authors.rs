//! `dumpvault key add`, `grant`, `rotate` and `revoke`: who holds a key, and what it may do.

use super::{new_credential, opened, told};
use crate::base::id::AuthorId;
use crate::cli::args::{GrantArgs, KeyAddArgs, RotateArgs};
use crate::cli::exit::Exit;
use crate::cli::report::CliError;
use crate::cli::{Context, prompt, render};
use crate::engine::keyring::{
    ContentPrice, GrantJob, KeyAddJob, RotateJob, RotatePlan, check_key_add, plan_key_add, plan_rotate,
    run_grant, run_key_add, run_rotate,
};
use crate::engine::report::{Author, KeyGrant, KeyRotation, KeyRotationPlan, NewKeyPlan};
use crate::vault::Repository;
use crate::vault::crypto::Role;
use crate::vault::format::author::Statement;
use crate::vault::rotation::RotateReport;

pub(super) fn add(context: &Context, args: &KeyAddArgs) -> Result<Exit, CliError> {
    let (repo, _) = opened(context)?;
    let job = KeyAddJob {
        role: if args.append || args.role == "append" { Role::Append } else { Role::Full },
        name: args.label.clone(),
        hosts: args.hosts.clone(),
        series: args.series.clone(),
        share: args.share,
    };
    let plan = plan_key_add(job, &context.app)?;
    let KeyAddJob { role, hosts, .. } = &plan.job;
    let may = match role {
        Role::Full => String::new(),
        Role::Append => format!("; it may add backups of host {}", hosts.join(", ")),
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
    if context.json {
        context.report(KeyGrant { dry_run: args.dry_run, author: Author::new(&repo, &statement) });
    } else if args.dry_run {
        context.output(&format!("key `{}` would be allowed to {}", statement.name, may(&statement)));
    } else {
        let name = repo.authors().name(&statement.author);
        context.say(&format!("key `{name}` may now {}", may(&statement)));
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
    let report = run_rotate(&plan, &repo, &credential, &run)?;
    if context.json {
        context.report(KeyRotation::new(&report, &plan.revoked_ids()));
        return Ok(Exit::Good);
    }
    let RotateReport { epoch, content_generation, authors, dropped, .. } = report;
    let RotateReport { packs_refused, sessions_ended, .. } = report;
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
    if dropped > 0 {
        context.say(&format!(
            "objects that no longer count: {dropped}; `dumpvault forget --foreign` removes them"
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

fn may(statement: &Statement) -> String {
    if statement.role == Role::Full {
        return "do everything".to_owned();
    }
    let series = match &statement.series {
        None => "all series".to_owned(),
        Some(series) => format!("series {}", series.join(", ")),
    };
    format!("add backups of {series} of host {}", statement.hosts.join(", "))
}

/// All keys, a row each.
pub(super) fn rows(repo: &Repository) -> Vec<Vec<String>> {
    let active: Vec<AuthorId> = repo.authors().all().iter().map(|statement| statement.author).collect();
    let mut known: Vec<&Statement> = repo.authors().known().collect();
    known.sort_by(|a, b| (&a.name, a.author).cmp(&(&b.name, b.author)));
    known
        .into_iter()
        .map(|statement| {
            let is_active = active.contains(&statement.author);
            vec![
                statement.author.short(),
                statement.role.to_string(),
                if is_active { may(statement) } else { "revoked".to_owned() },
                statement.name.clone(),
            ]
        })
        .collect()
}
