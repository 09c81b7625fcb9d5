//! Which snapshot and stream a command means.

use super::report::CliError;
use super::{Context, prompt};
use crate::base::name::SnapshotName;
use crate::engine::OpError;
use crate::engine::listing::Seen;
use crate::engine::restore::{Chosen, OnRollback, choose, choose_foreign};
use crate::engine::snapshots;
use crate::vault::Repository;

/// The snapshot that a name stands for, its tags among all others.
pub(super) fn one(
    context: &Context,
    repo: &Repository,
    name: &SnapshotName,
    any_host: bool,
) -> Result<(Seen, Vec<String>), CliError> {
    let (from, calendar) = (context.app.viewpoint(any_host), &context.app.settings.calendar);
    Ok(snapshots::one(repo, name, &from, calendar, &context.progress)?)
}

pub(super) fn chosen(context: &Context, name: &SnapshotName, any_host: bool) -> Result<Chosen, CliError> {
    let repo = context.repository()?;
    let from = context.app.viewpoint(any_host);
    let choose = |name: &SnapshotName, rollback| {
        choose(&repo, name, &from, rollback, context.app.read_settings(), &context.progress)
    };
    let mut rollback = OnRollback::Refuse;
    let mut found = choose(name, rollback);
    if let Err(error @ OpError::TurnedBack { visible, .. }) = &found
        && asked(context, &format!("{error}. Go on with {visible}?"))?.is_some()
    {
        // The answer is for this command alone: what deletes asks again.
        rollback = OnRollback::Tell;
        found = choose(name, rollback);
    }
    match found {
        // An answer names the snapshot, as its id does.
        Err(error @ OpError::Doubtful { .. }) => match confirmed(context, &error)? {
            Some(doubtful) => Ok(choose(&context.name(&doubtful)?, rollback)?),
            None => Err(error.into()),
        },
        Err(error @ OpError::ForeignSnapshot { snapshot, .. }) => {
            let wanted = asked(context, &format!("{error}. Go on with it?"))?;
            match wanted {
                Some(()) => {
                    Ok(choose_foreign(&repo, &snapshot, context.app.read_settings(), &context.progress)?)
                }
                None => Err(error.into()),
            }
        }
        outcome => Ok(outcome?),
    }
}

/// The doubtful snapshot, if a person wants that one; `None` when there is nobody to ask.
fn confirmed(context: &Context, error: &OpError) -> Result<Option<String>, CliError> {
    let OpError::Doubtful { doubtful, .. } = error else { return Ok(None) };
    Ok(asked(context, &format!("{error}. Go on with {doubtful}?"))?.map(|()| doubtful.clone()))
}

/// The stream that the snapshot's name says, or the option.
pub(super) fn stream_of(name: &SnapshotName, option: Option<&str>) -> Result<Option<String>, CliError> {
    match (&name.stream, option) {
        (Some(named), Some(option)) if named != option => {
            Err(CliError::usage(format!("`{name}:{named}` names another stream than --stream {option}")))
        }
        (named, option) => Ok(named.clone().or_else(|| option.map(str::to_owned))),
    }
}

/// A person's consent; `None` when there is nobody to ask.
fn asked(context: &Context, question: &str) -> Result<Option<()>, CliError> {
    match prompt::confirm(question, &context.cancel) {
        None => Ok(None),
        Some(Ok(true)) => Ok(Some(())),
        Some(Ok(false)) => {
            Err(CliError::Refused { message: "cancelled; nothing was restored".to_owned(), hint: None })
        }
        Some(Err(error)) => Err(CliError::usage(error.to_string())),
    }
}
