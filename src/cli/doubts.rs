//! Doubtful snapshots are asked about before anything of them is executed.
//!
//! `--yes` is no answer: it says that a database may be replaced, and stands in scripts that nobody watches.

use super::report::CliError;
use super::{Context, prompt};
use crate::engine::restore::{Chosen, is_read_through};
use crate::vault::snapshot::Stream;

/// Names each doubt; goes on if it was accepted beforehand or a person says so.
pub(super) fn settle(
    context: &Context,
    chosen: &Chosen,
    stream: &Stream,
    accepted: bool,
) -> Result<(), CliError> {
    for doubt in chosen.doubts(stream) {
        if accepted {
            context.warn(doubt.to_string());
            continue;
        }
        let hint = Some(format!(
            "find out who changed it; use --accept-change to go on with snapshot {}",
            chosen.summary.id.short()
        ));
        let effect = match is_read_through(stream) {
            true => "Restoring it replaces what is there",
            false => "Restoring a dump runs its SQL",
        };
        let question = format!("{effect}. {doubt}.");
        match prompt::confirm(&question, &context.cancel) {
            None => {
                return Err(CliError::Refused {
                    message: format!("refused: {doubt}, and there is no terminal to confirm"),
                    hint,
                });
            }
            Some(Ok(true)) => {}
            Some(Ok(false)) => {
                return Err(CliError::Refused {
                    message: "cancelled; nothing was restored".to_owned(),
                    hint: None,
                });
            }
            Some(Err(error)) => return Err(CliError::usage(error.to_string())),
        }
    }
    Ok(())
}

/// Names each doubt, where nothing is executed.
pub(super) fn tell(context: &Context, chosen: &Chosen, stream: &Stream) {
    for doubt in chosen.doubts(stream) {
        context.warn(doubt.to_string());
    }
}
