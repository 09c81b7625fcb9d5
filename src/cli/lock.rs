//! `dumpvault lock`: how what was locked is shown.

use super::args::{LockArgs, LockCommand};
use super::exit::Exit;
use super::report::CliError;
use super::{Context, render};
use crate::base::clock::Clock;
use crate::engine::report::LockExtension;
use jiff::Timestamp;

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
