//! The client programs that take a restore, and how they are kept from committing a stream that is cut.

use super::PostgresError;
use super::filter::{FilterError, ScriptFilter, ScriptRefused};
use crate::source::command::ProcessSink;
use crate::source::process::{Invocation, Limits};
use crate::source::{LastWords, Sink, SourceError};
use std::io::{self, Write};
use std::process::Stdio;

/// What `psql` prints after the commit.
const COMMITTED: &str = "dumpvault:committed";

/// `pg_restore`.
///
/// It commits when it has read all that the archive's table of contents names, and does not wait for the end of its
/// input. So the last byte is held back until [`Sink::finish`]: a caller that finds the stream wrong at its very end
/// can still abort. (In a tar archive, the last byte needed is not the last one.) And so it is no error when it leaves
/// bytes unread: its exit status tells.
pub(super) struct ArchiveSink(AllButLast);

impl ArchiveSink {
    pub(super) fn start(invocation: &Invocation, limits: Limits) -> Result<Self, SourceError> {
        Ok(Self(AllButLast::to(ProcessSink::start(invocation, Stdio::null(), limits)?)))
    }
}

impl Write for ArchiveSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// `pg_restore`, and the last byte of what it is to get.
pub(super) struct AllButLast {
    process: ProcessSink,
    held_back: Option<u8>,
}

impl AllButLast {
    pub(super) fn to(process: ProcessSink) -> Self {
        Self { process: process.allowing_early_end(), held_back: None }
    }

    /// Hands over the last byte, too, and waits for the program's end.
    pub(super) fn finish(mut self) -> Result<(), SourceError> {
        if self.release().is_err() {
            return Err(self.process.reason());
        }
        self.process.finish_with_output().map(drop)
    }

    pub(super) fn abort(self) {
        Box::new(self.process).abort();
    }

    pub(super) fn reason(mut self) -> SourceError {
        self.process.reason()
    }

    fn release(&mut self) -> io::Result<()> {
        if let Some(byte) = self.held_back {
            self.process.write_all(&[byte])?;
            self.held_back = None;
        }
        Ok(())
    }
}

impl Write for AllButLast {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match bytes {
            [] => Ok(0),
            [last] => {
                self.release()?;
                self.held_back = Some(*last);
                Ok(1)
            }
            [but_last @ .., _] => {
                self.release()?;
                self.process.write(but_last)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for ArchiveSink {
    fn finish(self: Box<Self>) -> Result<(), SourceError> {
        self.0.finish()
    }

    fn abort(self: Box<Self>) {
        self.0.abort();
    }

    fn fail_reason(self: Box<Self>) -> SourceError {
        self.0.reason()
    }
}

/// `psql`, fed with a script.
///
/// Every byte passes the filter first, if there is one. What it refuses ends `psql` before its input does.
pub(super) struct Psql {
    process: ProcessSink,
    filter: Option<ScriptFilter>,
    refused: Option<ScriptRefused>,
}

impl Psql {
    pub(super) fn start(
        client: Invocation,
        limits: Limits,
        filter: Option<ScriptFilter>,
    ) -> Result<Self, SourceError> {
        let invocation = client.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null", "-f", "-"]);
        let process = ProcessSink::start_keeping_output(&invocation, limits)?;
        Ok(Self { process, filter, refused: None })
    }

    /// Keeps why a script is refused: an I/O error cannot bear it.
    fn judged(&mut self, outcome: Result<(), FilterError>) -> io::Result<()> {
        match outcome {
            Ok(()) => Ok(()),
            Err(FilterError::Io(error)) => Err(error),
            Err(FilterError::Refused(refused)) => {
                let error = io::Error::other(refused.to_string());
                self.refused = Some(refused);
                Err(error)
            }
        }
    }

    /// Says that the script ends here; what the filter has held back goes out.
    pub(super) fn end_script(&mut self) -> io::Result<()> {
        let process = &mut self.process;
        let outcome = match &mut self.filter {
            Some(filter) => filter.finish(&mut |passed| process.write_all(passed)),
            None => Ok(()),
        };
        self.judged(outcome)
    }

    /// Ends the input and waits for the program; gives the end of what it said.
    pub(super) fn finish(self) -> Result<LastWords, SourceError> {
        let Self { process, filter, .. } = self;
        process.finish_with_output().map_err(|failure| explained(failure, filter.as_ref()))
    }

    /// Ends the program before its input.
    pub(super) fn abort(self) {
        Box::new(self.process).abort();
    }

    /// Ends the program and says why the script did not go through.
    pub(super) fn reason(mut self) -> SourceError {
        if let Some(refused) = self.refused {
            Box::new(self.process).abort();
            return PostgresError::Script(refused).into();
        }
        let reason = self.process.reason();
        explained(reason, self.filter.as_ref())
    }
}

/// A failure at text that `pg_dump` did not write is about that text.
fn explained(failure: SourceError, filter: Option<&ScriptFilter>) -> SourceError {
    match (filter.and_then(ScriptFilter::text_behind_end), failure) {
        (Some(line), source @ SourceError::Exited { .. }) => {
            PostgresError::TextBehindDump { line, source: Box::new(source) }.into()
        }
        (_, failure) => failure,
    }
}

impl Write for Psql {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(filter) = &mut self.filter else {
            return self.process.write(bytes);
        };
        let process = &mut self.process;
        let outcome = filter.push(bytes, &mut |passed| process.write_all(passed));
        self.judged(outcome).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.process.flush()
    }
}

/// What is put around a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Around {
    /// A transaction: all of the script or nothing.
    Transaction,
    /// Nothing: each statement is its own transaction, so that the server needs no lock for every object at once.
    Nothing,
}

impl Around {
    fn beginning(self) -> &'static [u8] {
        match self {
            Self::Transaction => b"BEGIN;\n",
            // Waiting for the disk after each statement would take longer than the statements.
            Self::Nothing => b"SET synchronous_commit = off;\n",
        }
    }

    fn end(self) -> &'static str {
        match self {
            Self::Transaction => "COMMIT;",
            // One commit that is waited for brings all earlier ones to the disk, if it has something to write. The
            // transaction is that of the script, where it left one open.
            Self::Nothing => {
                "RESET synchronous_commit;\nBEGIN;\nSELECT pg_catalog.pg_logical_emit_message(true, 'dumpvault', '');\nCOMMIT;"
            }
        }
    }
}

/// `psql`, fed with a plain dump between a beginning and an end of our own.
///
/// `psql --single-transaction` would commit at the end of its input, whatever cut it short: half a table, if this
/// process is killed. Here the `COMMIT` is the last thing that [`Sink::finish`] sends, and what `psql` prints after it
/// proves that it was not swallowed, say as a row of an unfinished COPY.
pub(super) struct SqlSink {
    psql: Psql,
    around: Around,
}

impl SqlSink {
    pub(super) fn start(
        client: Invocation,
        limits: Limits,
        filter: Option<ScriptFilter>,
        (around, before): (Around, &[u8]),
    ) -> Result<Self, SourceError> {
        let mut psql = Psql::start(client, limits, filter)?;
        // Our own words are no part of the script.
        let process = &mut psql.process;
        match process.write_all(around.beginning()).and_then(|()| process.write_all(before)) {
            Ok(()) => Ok(Self { psql, around }),
            Err(_) => Err(psql.reason()),
        }
    }
}

impl Write for SqlSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.psql.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.psql.flush()
    }
}

impl Sink for SqlSink {
    fn finish(self: Box<Self>) -> Result<(), SourceError> {
        let Self { mut psql, around } = *self;
        let commit = format!("\n{}\n\\echo {COMMITTED}\n", around.end());
        let sent = psql.end_script().and_then(|()| psql.process.write_all(commit.as_bytes()));
        if sent.is_err() {
            return Err(psql.reason());
        }
        let last_words = psql.finish()?;
        if last_words.as_str().ends_with(COMMITTED) {
            return Ok(());
        }
        Err(PostgresError::NotCommitted { last_words }.into())
    }

    fn abort(self: Box<Self>) {
        self.psql.abort();
    }

    fn fail_reason(self: Box<Self>) -> SourceError {
        self.psql.reason()
    }
}
