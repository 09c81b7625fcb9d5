//! All destinations of a copy, one after another: one that fails does not stop the others.

use super::{CopyReport, Standing, copy_to, examine, open};
use crate::base::run::Run;
use crate::engine::OpError;
use crate::engine::app::App;
use crate::engine::plan::{CopyPlan, PlannedCopy};
use crate::storage::Requests;
use crate::vault::Repository;
use crate::vault::crypto::Credential;

/// A key that is needed.
pub enum KeyWanted<'a> {
    /// Of a repository that is about to be made at the address of this `App`.
    New(&'a App),
    /// Of the one that is there.
    There(&'a App),
}

/// What became of a destination.
pub struct CopyOutcome<E> {
    /// What went over the wire to it; `None` where it is a folder.
    pub requests: Option<Requests>,
    /// What was copied, or why nothing was.
    pub result: Result<CopyReport, E>,
}

/// Whoever copies is asked for keys, and told what happens.
pub trait CopyAsker<E> {
    /// The key of a destination.
    ///
    /// # Errors
    /// When there is none.
    fn key(&mut self, wanted: KeyWanted<'_>) -> Result<Credential, E>;

    /// A repository was made.
    fn made(&mut self, repo: &Repository);

    /// A destination is done with.
    fn ended(&mut self, copy: &PlannedCopy, outcome: CopyOutcome<E>);
}

/// Copies to every destination of a plan; with `init`, one that holds no repository gets one. `asker` is told what
/// became of each. An interruption ends the list.
pub fn run_copies<E: From<OpError>>(
    plan: &CopyPlan,
    from: &Repository,
    app: &App,
    init: bool,
    run: &Run,
    asker: &mut dyn CopyAsker<E>,
) {
    for copy in &plan.copies {
        let at = app.at(&copy.destination.repository);
        let result = to_one(copy, from, &at, init, run, asker);
        asker.ended(copy, CopyOutcome { requests: at.requests(), result });
        if run.cancel.is_cancelled() {
            break;
        }
    }
}

fn to_one<E: From<OpError>>(
    copy: &PlannedCopy,
    from: &Repository,
    at: &App,
    init: bool,
    run: &Run,
    asker: &mut dyn CopyAsker<E>,
) -> Result<CopyReport, E> {
    // That it is there is told before a key is asked for.
    let standing = examine(from, at, init, &copy.request, run)?;
    let to = match &standing {
        Standing::ToMakeLater => None,
        Standing::ToMake => {
            let credential = asker.key(KeyWanted::New(at))?;
            let to = open(from, at, &standing, &credential, run)?;
            to.iter().for_each(|made| asker.made(made));
            to
        }
        Standing::There(_) => open(from, at, &standing, &asker.key(KeyWanted::There(at))?, run)?,
    };
    Ok(copy_to(from, to.as_ref(), at, &copy.request, run)?)
}
