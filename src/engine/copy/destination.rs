//! Where a copy goes: what is there is found before a key is asked for, and nothing is made for a copy that cannot be.

use super::{CopyReport, CopyRequest, check_source, copy, plan_for_empty};
use crate::base::run::Run;
use crate::engine::OpError;
use crate::engine::app::{App, AppError};
use crate::vault::crypto::Credential;
use crate::vault::{Identity, RepoError, Repository};

/// What is at a destination.
#[derive(Debug)]
pub(super) enum Standing {
    /// A repository, which a key opens.
    There(Box<Identity>),
    /// Nothing, and it is to be made.
    ToMake,
    /// Nothing, and a dry run makes none: all that is meant would be copied.
    ToMakeLater,
}

/// Looks at what is at the destination `at`. Asks for no key and makes nothing.
///
/// # Errors
/// [`OpError::NoDestination`] if nothing is there and `init` is false; when what is to be copied cannot be read, the
/// key of `from` may not copy, or the destination's storage fails.
pub(super) fn examine(
    from: &Repository,
    at: &App,
    init: bool,
    request: &CopyRequest,
    run: &Run,
) -> Result<Standing, OpError> {
    match at.identify() {
        Ok(identity) => Ok(Standing::There(Box::new(identity))),
        Err(AppError::Repo(RepoError::NoRepository { .. })) if init => {
            if request.dry_run {
                return Ok(Standing::ToMakeLater);
            }
            check_source(from, request, run.events.as_ref())?;
            Ok(Standing::ToMake)
        }
        Err(AppError::Repo(RepoError::NoRepository { location })) => Err(OpError::NoDestination { location }),
        Err(error) => Err(error.into()),
    }
}

/// Opens the repository at a destination, or makes one in which the content of `from` has the same names. `None` where
/// a dry run makes none.
///
/// # Errors
/// When the key is wrong, something is damaged, or the storage fails.
pub(super) fn open(
    from: &Repository,
    at: &App,
    standing: &Standing,
    credential: &Credential,
    run: &Run,
) -> Result<Option<Repository>, OpError> {
    Ok(match standing {
        Standing::There(identity) => Some(at.open(identity, credential)?),
        Standing::ToMake => Some(at.init_alike(from, credential, run.clock.now().as_millisecond())?),
        Standing::ToMakeLater => None,
    })
}

/// Copies into `to`, or says what would be copied where there is no repository yet. Unfinished objects of earlier runs
/// are removed first.
///
/// # Errors
/// As [`copy()`].
pub(super) fn copy_to(
    from: &Repository,
    to: Option<&Repository>,
    at: &App,
    request: &CopyRequest,
    run: &Run,
) -> Result<CopyReport, OpError> {
    let Some(to) = to else { return plan_for_empty(from, request, run.events.as_ref()) };
    if !request.dry_run {
        at.remove_old_leftovers();
    }
    copy(from, to, run.clock.as_ref(), request, run.events.as_ref(), &run.cancel)
}
