//! Who looks into the repository: for series that others write, and after runs. The scheduler has no key: it starts
//! `dumpvault history rebuild`.

use super::alert::Fact;
use super::book::StateError;
use super::launch::Program;
use super::state::State;
use crate::settings::Alerts;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// How often it is looked.
const LOOK_MS: i64 = 15 * 60_000;
/// A look that takes longer is stopped.
const LIMIT_MS: i64 = 10 * 60_000;

/// Looks while there are series to be watched, and when something has changed.
pub(super) struct Witness {
    /// Runs that had ended at the last look.
    seen: u64,
    program: Program,
    child: Option<(Child, i64)>,
    looked: Option<i64>,
}

impl Witness {
    pub(super) fn new(program: Program) -> Self {
        Self { seen: 0, program, child: None, looked: None }
    }

    /// Starts a look if it is time, and writes down that one failed.
    pub(super) fn look(
        &mut self,
        state: &mut State,
        alerts: &Alerts,
        ended: u64,
        now: i64,
    ) -> Result<(), StateError> {
        if let Some((child, since)) = &mut self.child {
            let ended = match child.try_wait() {
                Ok(None) if now.saturating_sub(*since).abs() > LIMIT_MS => {
                    // Safe to ignore: what is gone needs no signal, and is waited for at the next look.
                    let _ = child.kill();
                    return Ok(());
                }
                Ok(None) => return Ok(()),
                Ok(Some(status)) => status.code(),
                Err(_) => None,
            };
            self.child = None;
            let fact = match ended {
                Some(0) => Fact::good("failure", "repository"),
                code => {
                    let code = code.map_or_else(|| "a signal".to_owned(), |code| format!("exit code {code}"));
                    let text = format!(
                        "the repository cannot be looked at ({code}): run `dumpvault history rebuild`"
                    );
                    Fact::bad(
                        "failure",
                        "repository",
                        &format!("the repository cannot be looked at: {code}"),
                        text,
                    )
                }
            };
            // Where nothing is watched, whoever cannot reach the repository tells by itself.
            if !alerts.watched.is_empty() {
                state.state_facts(now, &[fact])?;
            }
        }
        let is_due = self.looked.is_none_or(|looked| now.saturating_sub(looked).abs() >= LOOK_MS);
        if (is_due && !alerts.watched.is_empty()) || ended > self.seen {
            (self.looked, self.seen) = (Some(now), ended);
            let mut command = Command::new(&self.program.path);
            command.args(&self.program.options).args(["history", "rebuild", "--quiet"]).process_group(0);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            self.child = command.spawn().ok().map(|child| (child, now));
        }
        Ok(())
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.child {
            // Safe to ignore: it only reads, and what is gone needs no signal.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
