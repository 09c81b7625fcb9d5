//! The client programs that take a restore, and how they are kept from committing a stream that is cut.

use super::PostgresError;
use crate::source::command::ProcessSink;
use crate::source::process::{Invocation, Limits};
use crate::source::{Sink, SourceError};
use std::io::{self, Write};
use std::process::Stdio;

/// What `psql` prints after the commit.
const COMMITTED: &str = "dumpvault:committed";

/// `pg_restore`.
///
/// It commits when it has read all that the archive's table of contents names, and does not wait for the end of its input.
/// So the last byte is held back until [`Sink::finish`]: a caller that finds the stream wrong at its very end can still abort.
/// (In a tar archive, the last byte needed is not the last one.) And so it is no error when it leaves bytes unread: its exit
/// status tells.
pub(super) struct ArchiveSink {
    process: ProcessSink,
    held_back: Option<u8>,
}

impl ArchiveSink {
    pub(super) fn start(invocation: &Invocation, limits: Limits) -> Result<Self, SourceError> {
        let process = ProcessSink::start(invocation, Stdio::null(), limits)?.allowing_early_end();
        Ok(Self { process, held_back: None })
    }

    fn release(&mut self) -> io::Result<()> {
        if let Some(byte) = self.held_back {
            self.process.write_all(&[byte])?;
            self.held_back = None;
        }
        Ok(())
    }
}

impl Write for ArchiveSink {
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
    fn finish(mut self: Box<Self>) -> Result<(), SourceError> {
        if self.release().is_err() {
            return Err(self.process.reason());
        }
        self.process.finish_with_output().map(drop)
    }

    fn abort(self: Box<Self>) {
        Box::new(self.process).abort();
    }

    fn fail_reason(mut self: Box<Self>) -> SourceError {
        self.process.reason()
    }
}

/// `psql`, fed with a plain dump between a `BEGIN` and a `COMMIT` of our own.
///
/// `psql --single-transaction` would commit at the end of its input, whatever cut it short: half a table, if this process is
/// killed. Here the `COMMIT` is the last thing that [`Sink::finish`] sends, and what `psql` prints after it proves that it was
/// not swallowed, say as a row of an unfinished COPY.
pub(super) struct SqlSink(ProcessSink);

impl SqlSink {
    pub(super) fn start(client: Invocation, limits: Limits) -> Result<Self, SourceError> {
        let invocation = client.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null", "-f", "-"]);
        let mut sink = ProcessSink::start_keeping_output(&invocation, limits)?;
        match sink.write_all(b"BEGIN;\n") {
            Ok(()) => Ok(Self(sink)),
            Err(_) => Err(sink.reason()),
        }
    }
}

impl Write for SqlSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Sink for SqlSink {
    fn finish(mut self: Box<Self>) -> Result<(), SourceError> {
        if self.0.write_all(format!("\nCOMMIT;\n\\echo {COMMITTED}\n").as_bytes()).is_err() {
            return Err(self.0.reason());
        }
        let last_words = self.0.finish_with_output()?;
        if last_words.as_str().ends_with(COMMITTED) {
            return Ok(());
        }
        Err(PostgresError::NotCommitted { last_words }.into())
    }

    fn abort(self: Box<Self>) {
        Box::new(self.0).abort();
    }

    fn fail_reason(mut self: Box<Self>) -> SourceError {
        self.0.reason()
    }
}
