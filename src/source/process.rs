//! Child processes: started without a shell, watched, always reaped.
//!
//! The one rule behind the order of calls here: a process group may only be signalled while its leader is not reaped,
//! since a reaped leader's number may belong to somebody else. So the leader's end is noticed without reaping it
//! (`WNOWAIT`), the group is dealt with, and the leader is reaped last.

use super::pipe::Tail;
use super::surroundings::Surroundings;
use super::wrapper::Wrapper;
use super::{LastWords, SourceError};
use crate::base::event::Cancel;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a program may take from the end of its output to its own end, when nothing else is said.
pub const EXIT_GRACE_DEFAULT: Duration = Duration::from_secs(60);

/// How long a program may take to end by itself after SIGTERM.
const TERM_WAIT: Duration = Duration::from_secs(2);

/// What to run: a program, its arguments and its surroundings. No shell is involved.
///
/// Arguments and environment values may be secret, so that `Debug` does not show them.
#[derive(Clone)]
pub struct Invocation {
    program: OsString,
    args: Vec<OsString>,
    /// Applied last: what it does to words, it does to all of them.
    wrapper: Wrapper,
    surroundings: Surroundings,
    env: Vec<(OsString, Option<OsString>)>,
    working_dir: Option<PathBuf>,
    account: Option<(u32, u32)>,
}

impl Invocation {
    /// A program, by path or by a name to be looked up in `PATH`.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            wrapper: Wrapper::default(),
            surroundings: Surroundings::default(),
            env: Vec::new(),
            working_dir: None,
            account: None,
        }
    }

    /// The same, run by another program that takes it as its arguments. Nothing changes if the wrapper is empty.
    ///
    /// The environment is that of the other program: whether it hands it on is its own affair.
    pub fn behind(mut self, wrapper: &Wrapper) -> Self {
        self.wrapper = wrapper.clone();
        self
    }

    /// Adds one argument.
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Puts these around it. What is said of its environment, its folder and its user besides comes before them.
    pub fn within(mut self, surroundings: &Surroundings) -> Self {
        self.surroundings = surroundings.clone();
        self
    }

    /// Sets a variable of the environment, which is otherwise inherited but for what is secret.
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((key.into(), Some(value.into())));
        self
    }

    /// Removes a variable from the environment.
    pub fn env_remove(mut self, key: impl Into<OsString>) -> Self {
        self.env.push((key.into(), None));
        self
    }

    /// Runs it in that directory.
    pub fn working_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.working_dir = Some(directory.into());
        self
    }

    /// Runs it as that user and group, and in no other group: for a program that refuses to run as root.
    pub fn account(mut self, uid: u32, gid: u32) -> Self {
        self.account = Some((uid, gid));
        self
    }

    /// The program that is started, as it was asked for, for messages.
    pub fn program(&self) -> String {
        self.wrapper.program().unwrap_or(&self.program).to_string_lossy().into_owned()
    }

    fn command(&self) -> Command {
        let (program, args) = self.wrapper.wrap(&self.program, &self.args);
        let mut command = Command::new(program);
        command.args(args).process_group(0).stderr(Stdio::piped());
        self.surroundings.put_around(&mut command);
        for (key, value) in &self.env {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        if let Some(directory) = &self.working_dir {
            command.current_dir(directory);
        }
        if let Some((uid, gid)) = self.account {
            command.uid(uid).gid(gid);
        }
        command
    }

    fn started_path(&self) -> &Path {
        Path::new(self.wrapper.program().unwrap_or(&self.program))
    }

    fn start_error(&self, source: io::Error) -> SourceError {
        let program = self.program();
        if source.kind() == io::ErrorKind::NotFound {
            // The system says the same for a missing directory, a missing program and a script with a missing
            // interpreter.
            let directory = self.working_dir.as_ref().or(self.surroundings.directory.as_ref());
            if let Some(directory) = directory.cloned().filter(|dir| !dir.is_dir()) {
                return SourceError::NoWorkingDirectory { program, directory };
            }
            if !program.contains('/') || !self.started_path().exists() {
                return SourceError::ProgramNotFound { program };
            }
        }
        SourceError::Start { program, source }
    }
}

impl fmt::Debug for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&OsStr> = self.env.iter().map(|(key, _)| key.as_os_str()).collect();
        f.debug_struct("Invocation")
            .field("program", &self.program)
            .field("args", &self.args.len())
            .field("env", &keys)
            .field("working_dir", &self.working_dir)
            .finish()
    }
}

/// How long a program may run, and who may stop it.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bounds the whole run, from the start to the exit; `None` for no bound.
    pub timeout: Option<Duration>,
    /// Bounds the time from the end of a dump's output to its program's exit, and the time for which a process left
    /// behind by a program that has ended may hold its pipe without using it. `timeout` cuts it short.
    pub exit_grace: Duration,
    /// Asks to stop.
    pub cancel: Cancel,
}

impl Limits {
    /// No time limit but [`EXIT_GRACE_DEFAULT`]; stoppable through `cancel`.
    pub fn new(cancel: Cancel) -> Self {
        Self { timeout: None, exit_grace: EXIT_GRACE_DEFAULT, cancel }
    }

    /// The same with another time limit for the whole run.
    pub fn with_timeout(self, timeout: Option<Duration>) -> Self {
        Self { timeout, ..self }
    }
}

/// Why a program was stopped from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    TimedOut,
    HungAfterOutput(Duration),
    PipeHeldOpen,
    Cancelled,
}

/// How a program stands, without reaping it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Runs,
    EndedWell,
    Failed,
}

/// A program that was started and is watched. Dropping it ends and reaps its group.
pub(super) struct Running {
    program: String,
    child: Child,
    group: Pid,
    stderr: Option<Tail>,
    started: Instant,
    limits: Limits,
    /// Set when the leader is reaped: from then on the group must not be signalled.
    status: Option<ExitStatus>,
}

impl Running {
    pub(super) fn start(
        invocation: &Invocation,
        stdin: Stdio,
        stdout: Stdio,
        limits: Limits,
    ) -> Result<Self, SourceError> {
        if limits.cancel.is_cancelled() {
            return Err(SourceError::Cancelled { program: invocation.program() });
        }
        let started = Instant::now();
        let mut child = invocation
            .command()
            .stdin(stdin)
            .stdout(stdout)
            .spawn()
            .map_err(|source| invocation.start_error(source))?;
        let group = Pid::from_child(&child);
        let stderr = child.stderr.take();
        let mut running =
            Self { program: invocation.program(), child, group, stderr: None, started, limits, status: None };
        if let Some(pipe) = stderr {
            let tail = Tail::follow(pipe.into(), "stderr")
                .map_err(|source| SourceError::Start { program: running.program.clone(), source })?;
            running.stderr = Some(tail);
        }
        Ok(running)
    }

    pub(super) fn take_stdin(&mut self) -> Result<ChildStdin, SourceError> {
        self.child.stdin.take().ok_or_else(|| self.io_error("write to", Errno::PIPE.into()))
    }

    pub(super) fn take_stdout(&mut self) -> Result<ChildStdout, SourceError> {
        self.child.stdout.take().ok_or_else(|| self.io_error("read from", Errno::PIPE.into()))
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn program(&self) -> &str {
        &self.program
    }

    pub(super) fn io_error(&self, operation: &'static str, source: io::Error) -> SourceError {
        SourceError::Io { program: self.program.clone(), operation, source }
    }

    /// Whether it must be stopped now.
    pub(super) fn overrun(&self) -> Option<Stop> {
        if self.limits.cancel.is_cancelled() {
            return Some(Stop::Cancelled);
        }
        let timeout = self.limits.timeout?;
        (self.started.elapsed() >= timeout).then_some(Stop::TimedOut)
    }

    /// How it stands now; does not wait and does not reap.
    pub(super) fn standing(&self) -> io::Result<Standing> {
        if let Some(status) = self.status {
            return Ok(if status.success() { Standing::EndedWell } else { Standing::Failed });
        }
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        loop {
            return match waitid(WaitId::Pid(self.group), options) {
                Ok(None) => Ok(Standing::Runs),
                Ok(Some(status)) if status.exit_status() == Some(0) => Ok(Standing::EndedWell),
                Ok(Some(_)) => Ok(Standing::Failed),
                Err(Errno::INTR) => continue,
                Err(errno) => Err(errno.into()),
            };
        }
    }

    /// Waits for the leader's end until `deadline` at most; `overrun` is heeded when `watched`.
    fn wait(&self, deadline: Option<Instant>, watched: bool) -> Result<Waited, io::Error> {
        let mut nap = Duration::from_millis(1);
        loop {
            match self.standing()? {
                Standing::Runs => {}
                ended => return Ok(Waited::Ended(ended)),
            }
            if let Some(stop) = self.overrun().filter(|_| watched) {
                return Ok(Waited::MustStop(stop));
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(Waited::Deadline);
            }
            thread::sleep(nap);
            nap = (nap * 2).min(Duration::from_millis(20));
        }
    }

    /// Ends the whole group and reaps the leader. Safe to call again.
    pub(super) fn kill(&mut self) {
        self.kill_after(Signal::TERM, TERM_WAIT);
    }

    /// The same for a program that ends properly on another signal, and may take `patience` for that.
    pub(super) fn kill_after(&mut self, signal: Signal, patience: Duration) {
        if self.status.is_some() {
            return;
        }
        // Every result here is safe to ignore: a group that is gone cannot be signalled and need not be, and a wait
        // that fails leaves the hard way.
        let _ = kill_process_group(self.group, signal);
        let _ = self.wait(Some(Instant::now() + patience), false);
        let _ = kill_process_group(self.group, Signal::KILL);
        self.status = self.child.wait().ok();
    }

    /// Waits for the end of a program whose output has ended or whose input is closed, and judges it.
    ///
    /// `grace` bounds the wait, where given; the limits bound it in any case.
    pub(super) fn end(&mut self, grace: Option<Duration>) -> Result<(), SourceError> {
        let begun = Instant::now();
        let waited = self
            .wait(grace.map(|grace| begun + grace), true)
            .map_err(|source| self.io_error("wait for", source))?;
        match waited {
            Waited::Ended(Standing::Failed) => Err(self.failure()),
            Waited::Ended(_) => {
                self.status = Some(self.child.wait().map_err(|source| self.io_error("wait for", source))?);
                Ok(())
            }
            // For a dump, a time limit that runs out here is the same hang as a grace that does.
            Waited::MustStop(Stop::TimedOut) if grace.is_some() => {
                let limit = self.limits.timeout.unwrap_or_else(|| begun.elapsed());
                Err(self.stop(Stop::HungAfterOutput(limit)))
            }
            Waited::MustStop(stop) => Err(self.stop(stop)),
            Waited::Deadline => Err(self.stop(Stop::HungAfterOutput(begun.elapsed()))),
        }
    }

    /// Whether the program ends by itself, and well, within `patience`.
    pub(super) fn ends_well_within(&self, patience: Duration) -> bool {
        matches!(self.wait(Some(Instant::now() + patience), true), Ok(Waited::Ended(Standing::EndedWell)))
    }

    /// Waits at most `patience` for the program to end by itself, then ends it; gives its own failure, or `None` when
    /// there is none.
    pub(super) fn own_failure(&mut self, patience: Duration) -> Option<SourceError> {
        match self.wait(Some(Instant::now() + patience), true) {
            Ok(Waited::Ended(Standing::Failed)) => Some(self.failure()),
            Ok(Waited::MustStop(stop)) => Some(self.stop(stop)),
            Ok(_) => {
                self.kill();
                None
            }
            Err(source) => {
                let error = self.io_error("wait for", source);
                self.kill();
                Some(error)
            }
        }
    }

    /// Stops it and says why.
    pub(super) fn stop(&mut self, why: Stop) -> SourceError {
        self.kill();
        let program = self.program.clone();
        let last_words = self.last_words();
        let timeout = self.limits.timeout;
        match why {
            Stop::Cancelled => SourceError::Cancelled { program },
            Stop::TimedOut => {
                let limit = timeout.unwrap_or_else(|| self.started.elapsed());
                SourceError::TimedOut { program, limit, last_words }
            }
            Stop::HungAfterOutput(limit) => SourceError::HungAfterOutput { program, limit, last_words },
            Stop::PipeHeldOpen => {
                SourceError::PipeHeldOpen { program, limit: self.limits.exit_grace, last_words }
            }
        }
    }

    /// The failure of a leader that has ended with a bad status. Ends what it left behind, too.
    pub(super) fn failure(&mut self) -> SourceError {
        self.kill();
        let program = self.program.clone();
        let last_words = self.last_words();
        let Some(status) = self.status else {
            return self.io_error("wait for", Errno::CHILD.into());
        };
        match (status.code(), status.signal()) {
            (Some(status), _) => SourceError::Exited { program, status, last_words },
            (None, signal) => {
                SourceError::Killed { program, signal: signal_name(signal.unwrap_or(0)), last_words }
            }
        }
    }

    /// The end of its standard error so far. Stops following it.
    pub(super) fn last_words(&mut self) -> LastWords {
        self.stderr.take().map(Tail::end).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

enum Waited {
    Ended(Standing),
    MustStop(Stop),
    Deadline,
}

/// `SIGKILL (9)`.
fn signal_name(number: i32) -> String {
    let names = [
        (Signal::HUP, "SIGHUP"),
        (Signal::INT, "SIGINT"),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::ILL, "SIGILL"),
        (Signal::ABORT, "SIGABRT"),
        (Signal::BUS, "SIGBUS"),
        (Signal::FPE, "SIGFPE"),
        (Signal::KILL, "SIGKILL"),
        (Signal::USR1, "SIGUSR1"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::USR2, "SIGUSR2"),
        (Signal::PIPE, "SIGPIPE"),
        (Signal::ALARM, "SIGALRM"),
        (Signal::TERM, "SIGTERM"),
        (Signal::XCPU, "SIGXCPU"),
        (Signal::XFSZ, "SIGXFSZ"),
    ];
    match names.iter().find(|(signal, _)| signal.as_raw() == number) {
        Some((_, name)) => format!("{name} ({number})"),
        None => format!("signal {number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_neither_arguments_nor_values() {
        let invocation = Invocation::new("prog").arg("s3cret-arg").env("KEY", "s3cret-value");
        let shown = format!("{invocation:?}");
        assert!(shown.contains("prog") && shown.contains("KEY") && !shown.contains("s3cret"), "{shown}");
    }
}
