//! Restoring into a Redis or Valkey server key by key.

use super::{agreed, failed, holds};
use crate::base::clock::Clock;
use crate::cli::args::{OnConflict, RestoreArgs};
use crate::cli::exit::Exit;
use crate::cli::render;
use crate::cli::report::CliError;
use crate::cli::restore::Work;
use crate::engine::report::{Restore, RestoredKeys};
use crate::engine::restore::Target;
use crate::source::redis::{self, Choice, Conflict, Outcome, TargetState, Told};
use crate::vault::reader::ReadStats;
use crate::vault::snapshot::Stream;
use std::sync::PoisonError;

/// Keys that are named in a refusal.
const NAMED: usize = 5;

pub(super) fn run(
    work: &Work<'_>,
    streams: &[Stream],
    args: &RestoreArgs,
    target: &redis::Target,
    state: &TargetState,
) -> Result<Exit, CliError> {
    let Work { context, chosen, .. } = work;
    let server = target.access.address.server();
    if state.info.is_replica() && !state.info.is_cluster() {
        let refusal = target.refusal(state);
        refusal.map_or(Ok(()), |refusal| Err(failed(refusal)))?;
    }
    let databases = args.keys.db.iter().map(|text| redis::databases(text).map_err(failed));
    let choice = Choice {
        patterns: args.keys.key.iter().map(|pattern| pattern.clone().into_bytes()).collect(),
        databases: databases.collect::<Result<_, _>>()?,
        conflict: match args.keys.on_conflict.unwrap_or(OnConflict::Fail) {
            OnConflict::Fail => Conflict::Fail,
            OnConflict::Skip => Conflict::Skip,
            OnConflict::Replace => Conflict::Replace,
        },
    };
    let about = format!("`{server}` ({}, {})", state.info.name(), holds(state));
    let is_empty = state.databases.is_empty();
    // Nothing is sent before it is known that it can be.
    if args.dry_run || choice.conflict == Conflict::Fail && !is_empty {
        let (looked, _) = send(work, streams, target, state, &choice, true)?;
        none_meant(&looked, &choice)?;
        if looked.there > 0 && choice.conflict == Conflict::Fail {
            let some: Vec<&str> = looked.named.iter().take(NAMED).map(|(key, _)| key.as_str()).collect();
            return Err(CliError::Refused {
                message: format!(
                    "refused: {} of the snapshot are in {about} already: {}",
                    render::count(looked.there as usize, "key"),
                    some.join(", ")
                ),
                hint: Some("use --on-conflict skip to keep them, or --on-conflict replace".to_owned()),
            });
        }
        if args.dry_run {
            let (meant, there) = (render::count(looked.meant as usize, "key"), looked.there);
            context.say(&format!(
                "would restore {meant} into {about}, {there} of which are there already; nothing was touched"
            ));
            return Ok(Exit::Good);
        }
    }
    let words = match choice.conflict {
        Conflict::Fail | Conflict::Skip => "Keys that are there stay.",
        Conflict::Replace => "Keys of the same name will be replaced.",
    };
    let end = if args.yes { '.' } else { '?' };
    let id = chosen.summary.id.short();
    let question = format!("Restore {} of snapshot {id} into {about}{end} {words}", what(&choice));
    if !is_empty && !agreed(context, &question, args.yes, &about)? {
        return Err(CliError::Refused { message: "cancelled; nothing was restored".to_owned(), hint: None });
    }
    let (outcome, stats) = send(work, streams, target, state, &choice, false)?;
    none_meant(&outcome, &choice)?;
    super::tell_queues(work, streams);
    Ok(tell(work, &server, &outcome, &stats))
}

fn send(
    work: &Work<'_>,
    streams: &[Stream],
    target: &redis::Target,
    state: &TargetState,
    choice: &Choice,
    is_look: bool,
) -> Result<(Outcome, ReadStats), CliError> {
    let context = work.context;
    let told = Told::default();
    let now_ms = u64::try_from(context.clock.now().as_millisecond()).unwrap_or_default();
    let open = || redis::open_keys(target, choice, state.reads.version, is_look, now_ms, &told);
    let into = format!("server `{}`", target.access.address.server());
    let mut sent = Ok(ReadStats::default());
    for stream in streams {
        let own = Work { stream, ..*work };
        sent = own.send(Target::Program(&open, into.clone())).and_then(|stats| Ok(sum(sent?, &stats)));
        if sent.is_err() {
            break;
        }
    }
    let outcome = told.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match sent {
        Ok(stats) => Ok((outcome, stats)),
        Err(error) => {
            if outcome.restored > 0 {
                let keys = render::count(outcome.restored as usize, "key");
                context.warn(format!("{keys} had been restored before this failed, and stay"));
            }
            Err(error.into())
        }
    }
}

fn sum(before: ReadStats, more: &ReadStats) -> ReadStats {
    ReadStats {
        bytes: before.bytes + more.bytes,
        blocks_opened: before.blocks_opened + more.blocks_opened,
        bytes_fetched: before.bytes_fetched + more.bytes_fetched,
    }
}

fn none_meant(outcome: &Outcome, choice: &Choice) -> Result<(), CliError> {
    match outcome.meant == 0 && !choice.is_all() {
        true => Err(CliError::Usage {
            message: format!("the snapshot has none of {}; nothing was restored", what(choice)),
            hint: Some("`ls SNAPSHOT` lists prefixes and databases".to_owned()),
        }),
        false => Ok(()),
    }
}

/// What is meant, in words.
fn what(choice: &Choice) -> String {
    let patterns: Vec<String> =
        choice.patterns.iter().map(|pattern| format!("`{}`", String::from_utf8_lossy(pattern))).collect();
    let keys =
        if patterns.is_empty() { "all keys".to_owned() } else { format!("keys {}", patterns.join(", ")) };
    let databases: Vec<String> = choice.databases.iter().map(|(from, _)| from.to_string()).collect();
    match databases.is_empty() {
        true => keys,
        false => format!("{keys} of database {}", databases.join(", ")),
    }
}

fn tell(work: &Work<'_>, server: &str, outcome: &Outcome, stats: &ReadStats) -> Exit {
    let Work { context, chosen, stream, began, .. } = work;
    let exit = if outcome.refused == 0 { Exit::Good } else { Exit::Partial };
    for (key, why) in &outcome.named {
        context.warn(format!("key `{key}` was not restored: {why}"));
    }
    let unnamed = outcome.refused.saturating_sub(outcome.named.len() as u64);
    if unnamed > 0 {
        context.warn(format!("{} more were not restored", render::count(unnamed as usize, "key")));
    }
    let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    if context.json {
        let report = Restore::new(&chosen.summary.id, stream, None, stats, ms, None);
        context.report(report.with_keys(RestoredKeys::from(outcome)));
        return exit;
    }
    let mut beside = Vec::new();
    for (count, words) in [
        (outcome.there, "were there and stay"),
        (outcome.expired, "had expired"),
        (outcome.refused, "were not taken"),
    ] {
        if count > 0 {
            beside.push(format!(", {count} {words}"));
        }
    }
    context.say(&format!(
        "{}: restored {} of snapshot {} to server `{server}` in {}{}",
        chosen.summary.head.series,
        render::count(outcome.restored as usize, "key"),
        chosen.summary.id.short(),
        render::duration(ms),
        beside.concat()
    ));
    exit
}
