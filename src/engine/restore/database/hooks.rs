//! Commands that run around a restore: what uses the database is stopped and started, migrations are run.

use crate::base::event::Event;
use crate::base::run::Run;
use crate::engine::OpError;
use crate::settings::Hooks;
use crate::source::SourceError;
use crate::source::command::CommandSource;
use crate::source::process::{Invocation, Limits};
use crate::source::surroundings::Surroundings;
use crate::vault::snapshot::Summary;
use std::io::{BufRead, BufReader};

/// When a command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Before anything is touched: it is for the command to say no.
    Before,
    /// After a restore that went well.
    After,
    /// After one that did not.
    AfterFailure,
}

impl When {
    /// The setting.
    pub fn word(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
            Self::AfterFailure => "after_failure",
        }
    }
}

/// Those of the job, or else those of the configuration.
pub(super) fn either(job: &Hooks, configured: &Hooks) -> Hooks {
    let either = |own: &Option<String>, configured: &Option<String>| own.clone().or(configured.clone());
    Hooks {
        before: either(&job.before, &configured.before),
        after: either(&job.after, &configured.after),
        after_failure: either(&job.after_failure, &configured.after_failure),
    }
}

/// What the commands are told of.
pub(super) struct Around<'a> {
    pub hooks: &'a Hooks,
    pub database: &'a str,
    pub snapshot: &'a Summary,
    pub programs: Surroundings,
}

impl Around<'_> {
    /// Runs the command for `sh -c`, if there is one. What it prints is told line by line.
    pub(super) fn run(&self, when: When, run: &Run) -> Result<(), OpError> {
        let command = match when {
            When::Before => &self.hooks.before,
            When::After => &self.hooks.after,
            When::AfterFailure => &self.hooks.after_failure,
        };
        let Some(command) = command else { return Ok(()) };
        let invocation = Invocation::new("sh")
            .args(["-c", command])
            .within(&self.programs)
            .env("DUMPVAULT_DATABASE", self.database)
            .env("DUMPVAULT_SNAPSHOT", self.snapshot.id.to_string())
            .env("DUMPVAULT_SERIES", &self.snapshot.head.series);
        let failed = |source: SourceError| OpError::Hook { when, command: command.clone(), source };
        let limits = Limits::new(run.cancel.clone());
        let mut running = CommandSource::new(invocation, limits).open().map_err(failed)?;
        for line in BufReader::new(&mut running).split(b'\n') {
            // An error of reading is told by `finish`.
            let Ok(line) = line else { break };
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            run.events.observe(Event::Printed { line });
        }
        running.finish().map_err(failed)?;
        Ok(())
    }
}
