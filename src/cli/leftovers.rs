//! Databases that killed runs left on a server: found, told, and dropped when somebody says so.

use super::Context;
use super::prompt;
use super::report::CliError;
use crate::engine::restore::LeftBehind;

/// How somebody agrees that something left behind is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Consent {
    /// It is asked for, where there is a terminal.
    Asked,
    /// It was given with an option.
    Given,
    /// Nobody wants to be asked: it is only told.
    Unasked,
}

impl Consent {
    /// By `--drop-leftovers` and `--yes`.
    pub(super) fn new(drop_leftovers: bool, yes: bool) -> Self {
        match (drop_leftovers, yes) {
            (true, _) => Self::Given,
            (false, true) => Self::Unasked,
            (false, false) => Self::Asked,
        }
    }
}

/// Offers to drop what was left behind on a server. Whether something was dropped.
///
/// # Errors
/// When somebody interrupts instead of answering.
pub(super) fn offer(context: &Context, consent: Consent, found: Vec<LeftBehind>) -> Result<bool, CliError> {
    let mut is_dropped = false;
    for leftover in found {
        let state = if leftover.is_whole { "waits to be swapped" } else { "was left unfinished" };
        let about = format!("database `{}` {state} (made {})", leftover.database, leftover.made);
        let question = format!("{}. Drop it?", capital(&about));
        let answer = match consent {
            // Only an unfinished database goes unasked: the other one may be wanted.
            Consent::Given if !leftover.is_whole => Some(Ok(true)),
            Consent::Asked => prompt::confirm(&question, &context.cancel),
            Consent::Given | Consent::Unasked => None,
        };
        let is_agreed = match answer {
            Some(answer) => answer.map_err(|error| CliError::usage(error.to_string()))?,
            None => {
                context.warn(format!("{about}; {}", way_out(&leftover)));
                false
            }
        };
        if is_agreed {
            match leftover.drop_now() {
                Ok(true) => {
                    context.say(&format!("dropped database `{}`", leftover.database));
                    is_dropped = true;
                }
                Ok(false) => {}
                Err(error) => context.warn(format!("cannot drop database `{}`: {error}", leftover.database)),
            }
        }
    }
    Ok(is_dropped)
}

fn way_out(leftover: &LeftBehind) -> String {
    match leftover.is_whole {
        true => format!("use `dumpvault swap {} LIVE`, or drop it", leftover.database),
        false => "use --drop-leftovers to drop it".to_owned(),
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
