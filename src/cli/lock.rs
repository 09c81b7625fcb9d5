//! `dumpvault object-lock`: how what was locked is shown.

use super::args::{ObjectLockArgs, ObjectLockCommand};
use super::exit::Exit;
use super::report::CliError;
use super::{Context, render};
use crate::engine::object_lock::extend_locks;

pub(super) fn run(context: &Context, args: &ObjectLockArgs) -> Result<Exit, CliError> {
    let ObjectLockCommand::Extend { dry_run } = args.command;
    let repo = context.repository()?;
    let extended = extend_locks(dry_run, &repo, &context.run())?;
    if context.json {
        context.report(extended);
        return Ok(Exit::Good);
    }
    let verb = if dry_run { "would be locked" } else { "locked" };
    context.say(&format!(
        "{} {verb} until {}",
        render::count(extended.objects, "object"),
        render::time(extended.until.ms(), &context.app.settings.calendar.zone)
    ));
    Ok(Exit::Good)
}
