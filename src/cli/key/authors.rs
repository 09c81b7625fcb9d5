//! `dumpvault key add`, `grant`, `rotate` and `revoke`: who holds a key, and what it may do.

use super::{new_credential, now_ms, opened, told};
use crate::base::id::AuthorId;
use crate::cli::args::{GrantArgs, KeyAddArgs, RotateArgs};
use crate::cli::exit::Exit;
use crate::cli::report::CliError;
use crate::cli::{Context, prompt, render};
use crate::engine::listing::{Seen, sizes, survey};
use crate::engine::report::{Author, KeyGrant, KeyRotation};
use crate::vault::crypto::Role;
use crate::vault::format::author::Statement;
use crate::vault::rotation::{RotateReport, RotateRequest, Rotation};
use crate::vault::{KeyRing, NewKey, Repository};
use std::collections::BTreeMap;

pub(super) fn add(context: &Context, args: &KeyAddArgs) -> Result<Exit, CliError> {
    let (repo, _) = opened(context)?;
    let role = if args.append || args.role == "append" { Role::Append } else { Role::Full };
    if role == Role::Full && (!args.hosts.is_empty() || !args.series.is_empty()) {
        return Err(CliError::usage("--host and --series are for append keys: a full key may do everything"));
    }
    let hosts = if args.hosts.is_empty() { vec![context.app.host()] } else { args.hosts.clone() };
    let series = (!args.series.is_empty()).then(|| args.series.clone());
    let credential = new_credential(context, &args.new)?;
    let new = NewKey { role, name: &args.label, hosts: hosts.clone(), series, share: args.share };
    let id = KeyRing::of(&repo).add(&credential, &new, now_ms(context))?;
    let may = match role {
        Role::Full => String::new(),
        Role::Append => format!("; it may add backups of host {}", hosts.join(", ")),
    };
    told(context, &format!("added {role} key, slot {}{may}", id.short()), &id)
}

pub(super) fn grant(context: &Context, args: &GrantArgs) -> Result<Exit, CliError> {
    let (repo, _) = opened(context)?;
    let ring = KeyRing::of(&repo);
    let author = ring.find(&args.key)?;
    let statement = ring.grant(&author, now_ms(context), |statement| {
        if args.only && !args.hosts.is_empty() {
            statement.hosts.clear();
        }
        statement.hosts.extend(args.hosts.iter().cloned());
        statement.hosts.sort();
        statement.hosts.dedup();
        if args.all_series {
            statement.series = None;
        } else if !args.series.is_empty() {
            let before = if args.only { Some(Vec::new()) } else { statement.series.take() };
            // Whoever may add to all series may add to these, too.
            statement.series = before.map(|before| {
                let mut series: Vec<String> = before.into_iter().chain(args.series.iter().cloned()).collect();
                series.sort();
                series.dedup();
                series
            });
        }
        if let Some(name) = &args.rename {
            statement.name.clone_from(name);
        }
    })?;
    if context.json {
        context.report(KeyGrant { author: Author::new(&repo, &statement) });
    } else {
        context.say(&format!("key `{}` may now {}", repo.authors().name(&author), may(&statement)));
    }
    Ok(Exit::Good)
}

pub(super) fn revoke(
    context: &Context,
    key: &str,
    since: Option<jiff::Timestamp>,
    args: &RotateArgs,
) -> Result<Exit, CliError> {
    let (repo, _) = opened(context)?;
    let author = KeyRing::of(&repo).find(key)?;
    drop(repo);
    rotate(context, vec![author], since, args)
}

pub(super) fn rotate(
    context: &Context,
    revoke: Vec<AuthorId>,
    since: Option<jiff::Timestamp>,
    args: &RotateArgs,
) -> Result<Exit, CliError> {
    let (repo, credential) = opened(context)?;
    if args.content && !prompt::agreed(context, &price(context, &repo)?, args.yes)? {
        let message = "cancelled; nothing was changed".to_owned();
        return Err(CliError::Refused { message, hint: None });
    }
    let request = RotateRequest {
        revoke: revoke.clone(),
        since_ms: since.map(jiff::Timestamp::as_millisecond),
        content: args.content,
        end_sessions: args.end_sessions,
        now_ms: now_ms(context),
    };
    let report = Rotation::new(&repo, request, &context.progress, &context.cancel).run(&credential)?;
    if context.json {
        context.report(KeyRotation::new(&report, &revoke));
        return Ok(Exit::Good);
    }
    let RotateReport { epoch, content_generation, authors, dropped, .. } = report;
    let RotateReport { packs_refused, sessions_ended, .. } = report;
    for author in &revoke {
        context.say(&format!("revoked key `{}`", repo.authors().name(author)));
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

/// What a new content root costs, in words.
fn price(context: &Context, repo: &Repository) -> Result<String, CliError> {
    let found = survey(repo, &context.progress)?;
    let mut newest: BTreeMap<(&str, &str), &Seen> = BTreeMap::new();
    for seen in found.snapshots.iter().filter(|seen| !seen.summary.head.is_import()) {
        let head = &seen.summary.head;
        newest.insert((&head.host, &head.series), seen);
    }
    let bytes: u64 = newest.values().filter_map(|seen| seen.body.as_ref()).map(|body| sizes(body).0).sum();
    Ok(format!(
        "A new content root finds nothing that is stored now: the next backup of each series is a full one. That is {} of dumps in {} series, \
         before compression, beside the {} of packs that are there until their snapshots go.",
        render::bytes(bytes),
        newest.len(),
        render::bytes(found.pack_bytes)
    ))
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
