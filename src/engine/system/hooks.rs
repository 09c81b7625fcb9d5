//! Commands that run around the backup of a source: a snapshot of a file system is made and removed, a service is told.

use crate::base::event::Event;
use crate::base::run::Run;
use crate::engine::OpError;
use crate::source::SourceError;
use crate::source::command::CommandSource;
use crate::source::process::{Invocation, Limits};
use crate::source::surroundings::Surroundings;
use std::io::{BufRead, BufReader};

/// What a command is told of.
pub(super) struct Hook<'a> {
    /// The source.
    pub source: &'a str,
    /// The system, where it has a name.
    pub system: Option<&'a str>,
    /// What the programs of the source find around them.
    pub programs: &'a Surroundings,
}

impl Hook<'_> {
    /// Runs a command for `sh -c`, if there is one. What it prints is told line by line.
    pub(super) fn run(&self, which: &str, command: Option<&str>, run: &Run) -> Result<(), OpError> {
        let Some(command) = command else { return Ok(()) };
        let mut invocation = Invocation::new("sh")
            .args(["-c", command])
            .within(self.programs)
            .env("DUMPVAULT_SOURCE", self.source)
            .env("DUMPVAULT_SYSTEM", self.system.unwrap_or_default());
        if which == "after_failure" {
            invocation = invocation.env("DUMPVAULT_FAILED", self.source);
        }
        let failed = |source: SourceError| {
            let what = format!("`{which}` of source `{}`, `{command}`", self.source);
            OpError::Source { what, source }
        };
        let limits = Limits::new(run.cancel.clone());
        let mut running = CommandSource::new(invocation, limits).open().map_err(failed)?;
        for line in BufReader::new(&mut running).split(b'\n') {
            // An error of reading is told by `finish`.
            let Ok(line) = line else { break };
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            run.events.observe(Event::Step { what: format!("{}: {line}", self.source) });
        }
        running.finish().map_err(failed)?;
        Ok(())
    }
}
