//! `dumpvault lock`, and what `check` says of locks.

use super::args::{LockArgs, LockCommand};
use super::exit::Exit;
use super::report::CliError;
use super::{Context, render};
use crate::base::clock::Clock;
use crate::engine::report::{self, LockExtension};
use crate::vault::Repository;
use crate::vault::object_locks::ShortLock;
use jiff::Timestamp;

/// So many objects are named.
const NAMED: usize = 5;

pub(super) fn run(context: &Context, args: &LockArgs) -> Result<Exit, CliError> {
    let LockCommand::Extend = args.command;
    let zone = context.app.settings.calendar.zone.clone();
    let repo = context.repository()?;
    let now_ms = context.clock.now().as_millisecond();
    let extended = repo.object_locks().extend_all_locks(now_ms, &context.progress, &context.cancel)?;
    let until = Timestamp::try_from(extended.until).unwrap_or(Timestamp::MAX);
    if context.json {
        context.report(LockExtension { objects: extended.objects, until: until.into() });
    } else {
        context.say(&format!(
            "{} objects are locked until {}",
            extended.objects,
            render::time(until.as_millisecond(), &zone)
        ));
    }
    Ok(Exit::Good)
}

/// Looks at the locks and says which end too soon. Nothing, where nothing is to be locked.
pub(super) fn check(context: &Context, repo: &Repository) -> Result<Vec<ShortLock>, CliError> {
    let now_ms = context.clock.now().as_millisecond();
    let (short, objects) = repo.object_locks().short_locks(now_ms, &context.progress, &context.cancel)?;
    if short.is_empty() {
        return Ok(short);
    }
    let named: Vec<String> = short.iter().take(NAMED).map(words).collect();
    let more = match short.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    context.warn(format!(
        "of {objects} objects that snapshots need, the locks of {} end too soon: {}{more}; run `dumpvault lock extend`",
        short.len(),
        named.join(", ")
    ));
    Ok(short)
}

fn words(lock: &ShortLock) -> String {
    let until = report::ShortLock::from(lock).until;
    format!("{} ({})", lock.object, until.map_or_else(|| "not locked".to_owned(), |until| until.to_string()))
}
