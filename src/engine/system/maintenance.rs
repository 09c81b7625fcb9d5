//! The key for what only a full key may do.

use crate::base::event::Event;
use crate::base::fault::Next;
use crate::base::run::Run;
use crate::engine::OpError;
use crate::engine::app::{App, Ask};
use crate::engine::plan::SystemPlan;
use crate::vault::Repository;
use crate::vault::crypto::Role;

/// The repository opened with a full key, past any cache; `None` where the plan needs none. `repo` is the same
/// repository, as the backups use it.
///
/// # Errors
/// When there is no full key, or the repository cannot be opened with it.
pub fn maintenance(
    plan: &SystemPlan,
    repo: &Repository,
    app: &App,
    ask: Ask<'_>,
    run: &Run,
) -> Result<Option<Repository>, OpError> {
    if !plan.afterwards.needs_full_key() {
        return Ok(None);
    }
    let found = match (app.maintenance_credential(), repo.role()) {
        (Some(found), _) => found?,
        (None, Role::Full) => app.credential(ask)?,
        (None, Role::Append) => {
            return Err(too_weak(
                "forget, prune and check need a full key, and this is an append key",
                "set `maintenance_key_file`, or take `forget`, `prune` and `check` out of the system",
            ));
        }
    };
    for message in found.warnings {
        run.events.observe(Event::Warning { message });
    }
    let full = app.open_uncached(&app.identify()?, &found.credential)?;
    match full.role() {
        Role::Full => Ok(Some(full)),
        Role::Append => {
            Err(too_weak("`maintenance_key_file` holds an append key", "name the key file of a full key"))
        }
    }
}

fn too_weak(message: &str, next: &'static str) -> OpError {
    OpError::Job { message: message.to_owned(), next: Some(Next::new(next)) }
}
