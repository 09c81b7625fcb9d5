//! `dumpvault object-lock`: how what was locked is shown.

use super::args::{ObjectLockArgs, ObjectLockCommand};
use super::exit::Exit;
use super::report::CliError;
use super::{Context, render};
use crate::base::clock::Clock;
use crate::engine::report::LockExtension;
use jiff::Timestamp;

pub(super) fn run(context: &Context, args: &ObjectLockArgs) -> Result<Exit, CliError> {
    let ObjectLockCommand::Extend { dry_run } = args.command;
    let zone = context.app.settings.calendar.zone.clone();
    let repo = context.repository()?;
    let now_ms = context.clock.now().as_millisecond();
    let extended =
        repo.object_locks().extend_all_locks(now_ms, dry_run, &context.progress, &context.cancel)?;
    let until = Timestamp::try_from(extended.until).unwrap_or(Timestamp::MAX);
    if context.json {
        context.report(LockExtension { dry_run, objects: extended.objects, until: until.into() });
    } else {
        let verb = if dry_run { "would be locked" } else { "locked" };
        context.say(&format!(
            "{} {verb} until {}",
            render::count(extended.objects, "object"),
            render::time(until.as_millisecond(), &zone)
        ));
    }
    Ok(Exit::Good)
}
