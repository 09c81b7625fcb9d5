//! Any program as a source (its standard output is the dump) or as a target (its standard input takes the restore).

mod kind;

pub use kind::Command;

use super::pipe::{Tail, WATCH_INTERVAL, conditions, ready, widen};
use super::process::{Invocation, Limits, Running, Standing, Stop};
use super::{Dump, LastWords, PlannedStream, Sink, Source, SourceError, StartedDump};
use crate::base::numbers::Proof;
use crate::base::run::Run;
use rustix::event::PollFlags;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, ioctl_fionread};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::process::{ChildStdin, ChildStdout, Stdio};
use std::time::{Duration, Instant};

/// How long a program that stopped reading may take to end by itself and so to say why.
const LAST_WORDS_WAIT: Duration = Duration::from_secs(5);

/// A program whose standard output is the dump. Its standard input is empty.
///
/// The dump ended well when the program exited with status 0 after its output had ended. Programs further up a pipe
/// inside a shell script are the script's business (`set -o pipefail`).
#[derive(Debug, Clone)]
pub struct CommandSource {
    /// What to run.
    pub invocation: Invocation,
    /// How long, and who may stop it. [`Limits::exit_grace`] begins when the output ends.
    pub limits: Limits,
}

impl CommandSource {
    /// Runs `invocation` within `limits`.
    pub fn new(invocation: Invocation, limits: Limits) -> Self {
        Self { invocation, limits }
    }

    /// Starts the program.
    ///
    /// # Errors
    /// When it cannot be started, or stopping was asked for already.
    pub fn open(&self) -> Result<Box<dyn Dump>, SourceError> {
        Ok(Box::new(ProcessDump::start(&self.invocation, self.limits.clone())?))
    }
}

/// A program whose standard output is to be backed up.
#[derive(Debug, Clone)]
pub struct Program {
    /// What to run.
    pub invocation: Invocation,
    /// How long it may take.
    pub timeout: Option<Duration>,
}

impl Source for Program {
    fn describe(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            ("kind".to_owned(), "command".to_owned()),
            ("program".to_owned(), self.invocation.program()),
        ])
    }

    fn streams(self: Box<Self>, series: &str, run: &Run) -> Result<Vec<PlannedStream<'static>>, SourceError> {
        let limits = Limits::new(run.cancel.clone()).with_timeout(self.timeout);
        let start = Box::new(move || {
            let dump = CommandSource::new(self.invocation, limits).open()?;
            Ok(StartedDump { dump, attributes: BTreeMap::new() })
        });
        Ok(vec![PlannedStream { name: series.to_owned(), start }])
    }
}

/// A dump from a program's standard output.
pub(super) struct ProcessDump {
    running: Running,
    pipe: ChildStdout,
    ended: bool,
    /// See [`Dump::is_settled`].
    is_settled: bool,
    /// Since when the program has been gone while its pipe stays open and silent.
    orphaned_since: Option<Instant>,
    stopped: Option<SourceError>,
}

impl ProcessDump {
    pub(super) fn start(invocation: &Invocation, limits: Limits) -> Result<Self, SourceError> {
        let mut running = Running::start(invocation, Stdio::null(), Stdio::piped(), limits)?;
        let pipe = running.take_stdout()?;
        widen(&pipe);
        Ok(Self { running, pipe, ended: false, is_settled: false, orphaned_since: None, stopped: None })
    }

    /// Of a program that prints nothing before it knows what it prints: nothing that changes later gets into it.
    pub(super) fn settled_once_it_prints(self) -> Self {
        Self { is_settled: true, ..self }
    }

    fn stop(&mut self, why: Stop) -> io::Error {
        let error = self.running.stop(why);
        let told = io::Error::other(error.to_string());
        self.stopped = Some(error);
        told
    }

    /// The pipe is open and silent: is there anybody left to write to it?
    fn look_after_silence(&mut self) -> io::Result<()> {
        match self.running.standing()? {
            Standing::Runs => {}
            // The dump failed, whatever its leftovers may still write.
            Standing::Failed => self.ended = true,
            Standing::EndedWell => {
                let since = *self.orphaned_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= self.running.limits().exit_grace {
                    return Err(self.stop(Stop::PipeHeldOpen));
                }
            }
        }
        Ok(())
    }
}

impl Read for ProcessDump {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(error) = &self.stopped {
            return Err(io::Error::other(error.to_string()));
        }
        while !self.ended && !buffer.is_empty() {
            if let Some(why) = self.running.overrun() {
                return Err(self.stop(why));
            }
            if !ready(&self.pipe, PollFlags::IN, WATCH_INTERVAL)? {
                self.look_after_silence()?;
                continue;
            }
            self.orphaned_since = None;
            match self.pipe.read(buffer) {
                Ok(0) => self.ended = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
        Ok(0)
    }
}

impl Dump for ProcessDump {
    fn finish(mut self: Box<Self>) -> Result<Proof, SourceError> {
        if let Some(error) = self.stopped.take() {
            return Err(error);
        }
        if !self.ended {
            return Err(SourceError::NotReadToEnd { program: self.running.program().to_owned() });
        }
        let grace = self.running.limits().exit_grace;
        self.running.end(Some(grace))?;
        Ok(Proof::Exited)
    }

    fn is_settled(&self) -> bool {
        self.is_settled
    }
}

/// What becomes of the standard output of a program that takes a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SinkOutput {
    /// It goes where this process's own goes.
    Inherit,
    /// It is thrown away.
    Discard,
}

/// Starts a program that takes a restore on its standard input.
///
/// It ended well when it read every byte and exited with status 0. There is no time limit between the end of its input
/// and its exit but the limits' `timeout`: an index may take hours to build.
///
/// # Errors
/// When it cannot be started, or stopping was asked for already.
pub fn open_sink(
    invocation: &Invocation,
    output: SinkOutput,
    limits: Limits,
) -> Result<Box<dyn Sink>, SourceError> {
    let stdout = match output {
        SinkOutput::Inherit => Stdio::inherit(),
        SinkOutput::Discard => Stdio::null(),
    };
    Ok(Box::new(ProcessSink::start(invocation, stdout, limits)?))
}

/// A restore into a program's standard input.
pub(super) struct ProcessSink {
    // Dropped in this order: the program is ended before its input is closed.
    running: Running,
    output: Option<Tail>,
    pipe: ChildStdin,
    orphaned_since: Option<Instant>,
    stopped: Option<SourceError>,
    /// A write failed: whatever the program says in the end, it did not get everything.
    broken: bool,
    early_end: EarlyEnd,
}

/// A program that ended well before it had read everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EarlyEnd {
    /// It did not take the whole restore.
    Fails,
    /// It knows by itself when it has all it needs.
    Allowed,
    /// It had all it needed, and is gone; the rest of the stream goes nowhere.
    Happened,
}

impl ProcessSink {
    pub(super) fn start(invocation: &Invocation, stdout: Stdio, limits: Limits) -> Result<Self, SourceError> {
        let mut running = Running::start(invocation, Stdio::piped(), stdout, limits)?;
        let pipe = running.take_stdin()?;
        widen(&pipe);
        // Not blocking in a write keeps time limit and cancel in force while the program is busy. The other end of a
        // pipe has flags of its own: the program sees an ordinary blocking input.
        fcntl_getfl(&pipe)
            .and_then(|flags| fcntl_setfl(&pipe, flags | OFlags::NONBLOCK))
            .map_err(|errno| running.io_error("write to", errno.into()))?;
        Ok(Self {
            running,
            output: None,
            pipe,
            orphaned_since: None,
            stopped: None,
            broken: false,
            early_end: EarlyEnd::Fails,
        })
    }

    /// Starts it with its standard output kept as [`LastWords`], for [`ProcessSink::finish_with_output`].
    pub(super) fn start_keeping_output(invocation: &Invocation, limits: Limits) -> Result<Self, SourceError> {
        let mut sink = Self::start(invocation, Stdio::piped(), limits)?;
        let stdout = sink.running.take_stdout()?;
        let tail = Tail::follow(stdout.into(), "stdout")
            .map_err(|source| sink.running.io_error("read from", source))?;
        sink.output = Some(tail);
        Ok(sink)
    }

    /// Starts it with its standard output given to the caller, who has to read it to its end.
    pub(super) fn start_piped(
        invocation: &Invocation,
        limits: Limits,
    ) -> Result<(Self, ChildStdout), SourceError> {
        let mut sink = Self::start(invocation, Stdio::piped(), limits)?;
        let stdout = sink.running.take_stdout()?;
        widen(&stdout);
        Ok((sink, stdout))
    }

    /// Takes the program's exit status for the whole truth: that it did not read everything is no error.
    pub(super) fn allowing_early_end(self) -> Self {
        Self { early_end: EarlyEnd::Allowed, ..self }
    }

    /// Like [`Sink::finish`], and gives the end of the program's output.
    pub(super) fn finish_with_output(mut self) -> Result<LastWords, SourceError> {
        if let Some(error) = self.stopped.take() {
            return Err(error);
        }
        if self.broken || self.early_end == EarlyEnd::Fails && !self.all_was_read()? {
            return Err(self.reason());
        }
        let Self { mut running, output, pipe, .. } = self;
        drop(pipe);
        running.end(None)?;
        Ok(output.map(Tail::end).unwrap_or_default())
    }

    /// Waits until the pipe is empty (`true`) or nobody is left to read it (`false`).
    ///
    /// A pipe takes up to 1 MiB that nobody ever reads: without this, a small restore into a program that ignores its
    /// input would pass for a good one.
    fn all_was_read(&mut self) -> Result<bool, SourceError> {
        let mut nap = Duration::from_millis(1);
        loop {
            // Asked first: bytes are counted after the last reader is known to be gone, or while it may still read
            // them.
            let gone = conditions(&self.pipe, PollFlags::empty(), Duration::ZERO)
                .map_err(|source| self.running.io_error("write to", source))?
                .intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL);
            match ioctl_fionread(&self.pipe) {
                Ok(0) => return Ok(true),
                Ok(_) => {}
                // A system that cannot count the bytes cannot have the check.
                Err(_) => return Ok(true),
            }
            if gone {
                return Ok(false);
            }
            if let Some(why) = self.running.overrun() {
                return Err(self.running.stop(why));
            }
            self.look_after_standstill().map_err(|source| self.running.io_error("write to", source))?;
            if let Some(error) = self.stopped.take() {
                return Err(error);
            }
            conditions(&self.pipe, PollFlags::empty(), nap)
                .map_err(|source| self.running.io_error("write to", source))?;
            nap = (nap * 2).min(Duration::from_millis(20));
        }
    }

    /// The pipe is full: is there anybody left to read it? Stops the program when not.
    fn look_after_standstill(&mut self) -> io::Result<()> {
        match self.running.standing()? {
            Standing::Runs => {}
            Standing::Failed => self.stopped = Some(self.running.failure()),
            Standing::EndedWell => {
                let since = *self.orphaned_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= self.running.limits().exit_grace {
                    self.stopped = Some(self.running.stop(Stop::PipeHeldOpen));
                }
            }
        }
        Ok(())
    }

    /// Ends the program, its input still open, and says why it stopped reading.
    pub(super) fn reason(&mut self) -> SourceError {
        if let Some(error) = self.stopped.take() {
            return error;
        }
        self.running.own_failure(LAST_WORDS_WAIT).unwrap_or_else(|| SourceError::StoppedReading {
            program: self.running.program().to_owned(),
            last_words: self.running.last_words(),
        })
    }
}

impl Write for ProcessSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            if self.early_end == EarlyEnd::Happened {
                return Ok(bytes.len());
            }
            if let Some(error) = &self.stopped {
                return Err(io::Error::new(io::ErrorKind::BrokenPipe, error.to_string()));
            }
            if let Some(why) = self.running.overrun() {
                self.stopped = Some(self.running.stop(why));
                continue;
            }
            match rustix::io::write(&self.pipe, bytes) {
                Ok(count) => {
                    self.orphaned_since = None;
                    return Ok(count);
                }
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => {}
                Err(Errno::PIPE)
                    if self.early_end == EarlyEnd::Allowed
                        && self.running.ends_well_within(LAST_WORDS_WAIT) =>
                {
                    self.early_end = EarlyEnd::Happened;
                }
                Err(errno) => {
                    self.broken = true;
                    return Err(errno.into());
                }
            }
            if !ready(&self.pipe, PollFlags::OUT, WATCH_INTERVAL)? {
                self.look_after_standstill()?;
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for ProcessSink {
    fn finish(self: Box<Self>) -> Result<(), SourceError> {
        self.finish_with_output().map(drop)
    }

    fn abort(mut self: Box<Self>) {
        self.running.kill();
    }

    fn fail_reason(mut self: Box<Self>) -> SourceError {
        self.reason()
    }
}
