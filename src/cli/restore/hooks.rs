//! Commands that run around a restore: what uses the database is stopped and started, migrations are run.

use super::Work;
use crate::cli::args::RestoreArgs;
use crate::cli::exit::Exit;
use crate::cli::report::CliError;
use crate::engine::OpError;
use crate::settings::Hooks as Configured;
use crate::source::SourceError;
use crate::source::command::CommandSource;
use crate::source::process::{Invocation, Limits};
use std::io::Write;

/// The commands, of the command line or else the configuration.
pub(super) struct Hooks {
    before: Option<String>,
    after: Option<String>,
    after_failure: Option<String>,
}

impl Hooks {
    pub fn new(args: &RestoreArgs, config: &Configured) -> Self {
        let either =
            |option: &Option<String>, configured: &Option<String>| option.clone().or(configured.clone());
        Self {
            before: either(&args.before, &config.before),
            after: either(&args.after, &config.after),
            after_failure: either(&args.after_failure, &config.after_failure),
        }
    }

    /// Whether something runs before anything is touched.
    pub fn has_before(&self) -> bool {
        self.before.is_some()
    }

    pub fn before(&self, work: &Work<'_>, database: &str) -> Result<(), CliError> {
        // Nothing was touched yet: it is for the command to say no.
        run("--before", self.before.as_deref(), work, database).map_err(|error| error.ends(Exit::Refused))
    }

    /// After a restore that went well, or not.
    pub fn after(&self, is_good: bool, work: &Work<'_>, database: &str) -> Result<(), CliError> {
        let outcome = match is_good {
            true => run("--after", self.after.as_deref(), work, database),
            false => run("--after-failure", self.after_failure.as_deref(), work, database),
        };
        outcome.map_err(|error| error.ends(Exit::Partial))
    }
}

/// What the command prints goes to standard error: standard output is for results.
fn run(which: &str, command: Option<&str>, work: &Work<'_>, database: &str) -> Result<(), CliError> {
    let Some(command) = command else { return Ok(()) };
    let invocation = Invocation::new("sh")
        .args(["-c", command])
        .within(&work.context.programs().surroundings())
        .env("DUMPVAULT_DATABASE", database)
        .env("DUMPVAULT_SNAPSHOT", work.chosen.summary.id.to_string())
        .env("DUMPVAULT_SERIES", &work.chosen.summary.head.series);
    let failed = |source: SourceError| OpError::Source { what: format!("{which} `{command}`"), source };
    let mut running =
        CommandSource::new(invocation, Limits::new(work.context.cancel.clone())).open().map_err(failed)?;
    let copied = std::io::copy(&mut running, &mut std::io::stderr().lock());
    running.finish().map_err(failed)?;
    // Told by `finish` where it matters.
    drop(copied);
    let _ = std::io::stderr().flush();
    Ok(())
}
