//! Restoring into a Redis or Valkey server: what has to hold before it is touched.

mod keys;

use super::{Work, done};
use crate::base::clock::Clock;
use crate::cli::args::{RestoreArgs, Via};
use crate::cli::exit::Exit;
use crate::cli::report::CliError;
use crate::cli::{Context, doubts, prompt, render};
use crate::content::rdb::Reader;
use crate::engine::OpError;
use crate::engine::keys::key_map;
use crate::engine::restore::{Chosen, Target};
use crate::source::SourceError;
use crate::source::kind::Home;
use crate::source::process::Limits;
use crate::source::redis::{self, Access, Form, RedisError, TargetState, settled, soon};
use crate::vault::snapshot::{Stream, StreamFormat};
use std::sync::Arc;
use std::time::Instant;

/// Magic and version.
const HEADER_BYTES: usize = 9;

/// The streams that are restored: the one that is named, or all that are of keys.
fn streams(chosen: &Chosen, wanted: Option<&str>) -> Result<Vec<Stream>, CliError> {
    let all = chosen.body.streams.iter().filter(|stream| stream.format == StreamFormat::RedisRdb);
    let all: Vec<Stream> = all.cloned().collect();
    match (wanted, all.is_empty()) {
        (None, false) => Ok(all),
        _ => {
            let stream = chosen.stream(wanted)?;
            match stream.format == StreamFormat::RedisRdb {
                true => Ok(vec![stream.clone()]),
                false => Err(CliError::usage(format!("stream `{}` is not a Redis RDB file", stream.name))),
            }
        }
    }
}

pub(super) fn run(
    context: &Context,
    args: &RestoreArgs,
    chosen: &Chosen,
    wanted: Option<&str>,
    address: &str,
    limits: Limits,
) -> Result<Exit, CliError> {
    let streams = streams(chosen, wanted)?;
    let Some((first, others)) = streams.split_first() else { return Ok(Exit::Good) };
    let work = &Work { context, chosen, stream: first, picked: None, began: Instant::now() };
    let stream = first;
    let access = settled(&access(context, address)?, &limits).map_err(OpError::from)?;
    let server = access.address.server();
    let events = Arc::clone(&context.progress) as Arc<dyn crate::base::event::Observer>;
    let target = redis::Target { access, limits, events };
    let mut reader = Reader::new();
    reader.push(&chosen.front(stream, HEADER_BYTES, &context.cancel)?);
    let file = Form::of(&reader.finish().1);
    for stream in &streams {
        if !args.dry_run {
            doubts::settle(context, chosen, stream, args.accept_change)?;
        } else {
            doubts::tell(context, chosen, stream);
        }
    }
    if args.keys.by_key() && args.keys.via == Some(Via::Master) {
        return Err(CliError::usage(
            "--key, --db and --on-conflict restore key by key: leave out --via master",
        ));
    }
    let state = target.inspect().map_err(OpError::from)?;
    refuse_other_host(args, &target)?;
    refuse_protected(context, &target, &state)?;
    if args.keys.by_key() || !others.is_empty() || state.info.is_cluster() {
        if args.keys.via == Some(Via::Master) {
            let message = "a cluster is restored key by key: leave out --via master";
            return Err(CliError::usage(message));
        }
        return keys::run(work, &streams, args, &target, &state);
    }
    let refusal = target.refusal(&state).or_else(|| target.misfit(&state, file));
    refusal.map_or(Ok(()), |refusal| Err(failed(refusal)))?;
    let about = format!("`{server}` ({}, {})", state.info.name(), holds(&state));
    let head = &chosen.summary.head;
    let zone = &context.app.settings.calendar.zone;
    let what = format!(
        "snapshot {} of `{}` ({}, {})",
        chosen.summary.id.short(),
        head.series,
        render::time(head.time_ms, zone),
        render::bytes(stream.bytes)
    );
    let keys: u64 = state.databases.values().map(|found| found.keys).sum();
    if keys > 0 && !args.force {
        return Err(CliError::Refused {
            message: format!("refused: {about} is not empty"),
            hint: Some("use --force to replace all that it holds".to_owned()),
        });
    }
    if keys > 0 && state.empties_first {
        return Err(CliError::Refused {
            message: format!("refused: {about} empties itself before it has received anything"),
            hint: Some(
                "`CONFIG SET repl-diskless-load disabled` there keeps its data until all has come".to_owned(),
            ),
        });
    }
    if args.dry_run {
        context.say(&format!("would restore {what} into {about}; nothing was touched"));
        return Ok(Exit::Good);
    }
    let end = if args.yes { '.' } else { '?' };
    let question = format!("Restore {what} into {about}{end} All of its keys will be replaced.");
    if keys > 0 && !agreed(context, &question, args.yes, &about)? {
        return Err(CliError::Refused { message: "cancelled; nothing was restored".to_owned(), hint: None });
    }
    let now_ms = u64::try_from(context.clock.now().as_millisecond()).unwrap_or_default();
    let open = || target.open(stream.bytes, context.app.entropy(), Some(soon(now_ms)));
    let into = format!("server `{server}`");
    let stats = work.send(Target::Program(&open, into.clone()))?;
    tell_queues(work, &streams);
    Ok(done(work, &into, stats, None))
}

/// Prefixes of libraries that keep jobs in Redis.
const QUEUES: [&str; 7] = ["bull:", "bullmq:", "rq:", "resque:", "sidekiq:", "celery-task-meta-", "arq:"];

/// Says what a queue of jobs does next: its time went on.
fn tell_queues(work: &Work<'_>, streams: &[Stream]) {
    let is_queue = |prefix: &[u8]| QUEUES.iter().any(|name| prefix == name.as_bytes());
    let has_queue = |stream: &Stream| {
        let map = key_map(stream).ok().flatten();
        map.is_some_and(|map| map.groups.iter().any(|group| is_queue(&group.prefix)))
    };
    if streams.iter().any(has_queue) {
        work.context.say(
            "it holds a queue of jobs: delayed jobs whose time has passed run at once, and those done since the backup run again",
        );
    }
}

/// The way to the server: that of a source of the configuration with this address, or what the command line and the environment say.
fn access(context: &Context, address: &str) -> Result<Access, CliError> {
    let variable = |name: &str| context.app.environment.text(name);
    let said = Access::of_words(address, &variable).map_err(failed)?;
    let shown = said.address.display();
    let is_it = |home: &Home| home.address == shown;
    let sources = context.app.settings.sources.iter();
    let mut named = sources.filter(|(_, source)| source.kind.home().as_ref().is_some_and(is_it));
    if let Some((name, source)) = named.next() {
        let around = context.programs().surroundings_of(name, &source.programs, context.progress.as_ref())?;
        return Ok(source.kind.redis(&around).unwrap_or(said));
    }
    Ok(said)
}

fn failed(error: RedisError) -> CliError {
    OpError::from(SourceError::from(error)).into()
}

/// Keys by database, in a few words.
fn holds(state: &TargetState) -> String {
    let each = state.databases.iter();
    let each: Vec<String> = each
        .map(|(number, found)| format!("{} in database {number}", render::count(found.keys, "key")))
        .collect();
    if each.is_empty() { "empty".to_owned() } else { each.join(", ") }
}

fn agreed(context: &Context, question: &str, yes: bool, about: &str) -> Result<bool, CliError> {
    if yes {
        context.say(question);
        return Ok(true);
    }
    let answer = prompt::confirm(question, &context.cancel).ok_or_else(|| CliError::Refused {
        message: format!("{about} is not empty and there is no terminal to confirm"),
        hint: Some("use --yes".to_owned()),
    })?;
    answer.map_err(|error| CliError::usage(error.to_string()))
}

fn refuse_other_host(args: &RestoreArgs, target: &redis::Target) -> Result<(), CliError> {
    let Some(expected) = &args.expect_host else { return Ok(()) };
    let address = &target.access.address;
    if address.host() == Some(expected) || address.server() == *expected {
        return Ok(());
    }
    Err(CliError::Refused {
        message: format!("refused: the target is `{}`, not `{expected}` (--expect-host)", address.server()),
        hint: Some("check --to-redis".to_owned()),
    })
}

/// `protect` in the configuration: these servers are not touched while they hold something.
fn refuse_protected(context: &Context, target: &redis::Target, state: &TargetState) -> Result<(), CliError> {
    let address = &target.access.address;
    let server = address.server();
    let names = [address.host().unwrap_or(&server), &server];
    let mut patterns = context.app.settings.protect.iter();
    match patterns.find(|pattern| names.iter().any(|name| pattern.matches(name))) {
        Some(pattern) if !state.databases.is_empty() => Err(CliError::Refused {
            message: format!(
                "refused: `{server}` is not empty ({}) and is protected by `protect = [\"{pattern}\"]`",
                holds(state)
            ),
            hint: Some("restore into another server, or edit `protect`".to_owned()),
        }),
        _ => Ok(()),
    }
}
