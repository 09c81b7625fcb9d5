//! A restore by a `pg_restore` that is too new for the server: it writes a script, `psql` runs that.
//!
//! From 17 on, `pg_restore` begins with a setting that no older server knows, and cannot be told not to. All else that
//! it writes is what the dump holds. So the one line is taken out on its way.

use super::filter::ScriptFilter;
use super::sink::{AllButLast, Psql};
use crate::source::command::ProcessSink;
use crate::source::process::{Invocation, Limits};
use crate::source::{Sink, SourceError};
use std::io::{self, Read, Write};
use std::process::ChildStdout;
use std::thread::{self, JoinHandle};

/// The setting that came with PostgreSQL 17.
const TIMEOUT_LINE: &[u8] = b"SET transaction_timeout = 0;";
/// The line stands among the first.
const PREAMBLE_BYTES_MAX: usize = 16 * 1024;

/// Takes [`TIMEOUT_LINE`] out of a script, wherever it stands before the first command that does anything.
#[derive(Debug)]
pub(super) struct Preamble {
    /// What came and is not passed on yet; `None` when the line is behind us.
    held: Option<Vec<u8>>,
}

impl Preamble {
    pub(super) fn new() -> Self {
        Self { held: Some(Vec::new()) }
    }

    /// Takes bytes; gives those that may be passed on before the others, where there are any.
    fn pass(&mut self, bytes: &[u8], output: &mut dyn Write) -> io::Result<()> {
        let Some(mut held) = self.held.take() else {
            return output.write_all(bytes);
        };
        held.extend_from_slice(bytes);
        let mut start = 0;
        while let Some(len) = held.get(start..).and_then(|rest| memchr::memchr(b'\n', rest)) {
            let line = held.get(start..start + len).unwrap_or_default();
            let end = start + len + 1;
            if line == TIMEOUT_LINE {
                // An empty line stays, so that lines keep their numbers in what is said of them.
                output.write_all(held.get(..start).unwrap_or_default())?;
                return output.write_all(held.get(end - 1..).unwrap_or_default());
            }
            let may_precede =
                [&b"--"[..], b"SET ", b"\\restrict ", b"BEGIN;", b"SELECT pg_catalog.set_config("];
            if !line.is_empty() && !may_precede.iter().any(|word| line.starts_with(word)) {
                return output.write_all(&held);
            }
            start = end;
        }
        if held.len() > PREAMBLE_BYTES_MAX {
            return output.write_all(&held);
        }
        self.held = Some(held);
        Ok(())
    }

    fn end(&mut self, output: &mut dyn Write) -> io::Result<()> {
        match self.held.take() {
            Some(held) => output.write_all(&held),
            None => Ok(()),
        }
    }
}

/// A sink for a script, without the line.
pub(super) struct ForOlderServer {
    sink: Box<dyn Sink>,
    preamble: Preamble,
}

impl ForOlderServer {
    pub(super) fn new(sink: Box<dyn Sink>) -> Self {
        Self { sink, preamble: Preamble::new() }
    }
}

impl Write for ForOlderServer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.preamble.pass(bytes, &mut self.sink)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

impl Sink for ForOlderServer {
    fn finish(mut self: Box<Self>) -> Result<(), SourceError> {
        match self.preamble.end(&mut self.sink) {
            Ok(()) => self.sink.finish(),
            Err(_) => Err(self.sink.fail_reason()),
        }
    }

    fn abort(self: Box<Self>) {
        self.sink.abort();
    }

    fn fail_reason(self: Box<Self>) -> SourceError {
        self.sink.fail_reason()
    }
}

/// `pg_restore`, which writes a script, and `psql`, which takes it.
///
/// The last byte of the archive is held back until [`Sink::finish`], as for `pg_restore` alone; and `psql` is told that
/// the script has ended only when `pg_restore` ended well.
///
/// An archive may come from somebody else, and `psql` runs more than SQL: so the script passes the filter like any
/// other.
pub(super) struct ScriptSink {
    restore: AllButLast,
    psql: JoinHandle<(Psql, io::Result<()>)>,
}

impl ScriptSink {
    /// `restore` writes its script to standard output; `psql` reads it from standard input.
    pub(super) fn start(
        restore: &Invocation,
        psql: Invocation,
        filter: Option<ScriptFilter>,
        limits: Limits,
    ) -> Result<Self, SourceError> {
        let psql = Psql::start(psql, limits.clone(), filter)?;
        let (restore, script) = ProcessSink::start_piped(restore, limits)?;
        let restore = AllButLast::to(restore);
        let started = thread::Builder::new().name("script".to_owned()).spawn(move || hand_on(script, psql));
        match started {
            Ok(psql) => Ok(Self { restore, psql }),
            Err(source) => Err(SourceError::Start { program: "psql".to_owned(), source }),
        }
    }

    /// Why it failed: what `psql` says, where it stopped reading; else `failed`.
    fn reason_of(psql: JoinHandle<(Psql, io::Result<()>)>, failed: SourceError) -> SourceError {
        match psql.join() {
            Ok((psql, Err(_))) => psql.reason(),
            Ok((psql, Ok(()))) => {
                psql.abort();
                failed
            }
            Err(_) => failed,
        }
    }
}

/// Hands the script on until it ends, or `psql` does.
fn hand_on(mut script: ChildStdout, mut psql: Psql) -> (Psql, io::Result<()>) {
    let mut preamble = Preamble::new();
    let mut buffer = vec![0u8; 64 * 1024];
    let copied = loop {
        match script.read(&mut buffer) {
            Ok(0) => break preamble.end(&mut psql).and_then(|()| psql.end_script()),
            Ok(count) => {
                if let Err(error) = preamble.pass(buffer.get(..count).unwrap_or_default(), &mut psql) {
                    break Err(error);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    (psql, copied)
}

impl Write for ScriptSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.restore.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.restore.flush()
    }
}

impl Sink for ScriptSink {
    fn finish(self: Box<Self>) -> Result<(), SourceError> {
        let Self { restore, psql } = *self;
        if let Err(failed) = restore.finish() {
            return Err(Self::reason_of(psql, failed));
        }
        match psql.join() {
            Ok((psql, Ok(()))) => psql.finish().map(drop),
            Ok((psql, Err(_))) => Err(psql.reason()),
            Err(_) => Err(SourceError::StoppedReading {
                program: "psql".to_owned(),
                last_words: crate::source::LastWords::default(),
            }),
        }
    }

    fn abort(self: Box<Self>) {
        let Self { restore, psql } = *self;
        restore.abort();
        if let Ok((psql, _)) = psql.join() {
            psql.abort();
        }
    }

    fn fail_reason(self: Box<Self>) -> SourceError {
        let Self { restore, psql } = *self;
        let failed = restore.reason();
        Self::reason_of(psql, failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(parts: &[&[u8]]) -> Vec<u8> {
        let (mut preamble, mut output) = (Preamble::new(), Vec::new());
        parts.iter().for_each(|part| preamble.pass(part, &mut output).unwrap());
        preamble.end(&mut output).unwrap();
        output
    }

    #[test]
    fn the_setting_goes_and_nothing_else_however_the_bytes_are_cut() {
        let script = b"--\n-- PostgreSQL database dump\n--\n\n\\restrict x\n\nSET lock_timeout = 0;\nSET transaction_timeout = 0;\nSET client_encoding = 'UTF8';\nCREATE TABLE t ();\n";
        let right = b"--\n-- PostgreSQL database dump\n--\n\n\\restrict x\n\nSET lock_timeout = 0;\n\nSET client_encoding = 'UTF8';\nCREATE TABLE t ();\n";
        for size in [1, 7, 40, 1000] {
            assert_eq!(through(&script.chunks(size).collect::<Vec<_>>()), right, "{size}");
        }
    }

    #[test]
    fn what_stands_behind_the_first_command_is_left_alone() {
        let row = b"COPY t FROM stdin;\nSET transaction_timeout = 0;\n\\.\n";
        assert_eq!(through(&[row]), row);
        assert_eq!(through(&[b"SET transaction_timeout = 0;"]), b"SET transaction_timeout = 0;");
        let long = vec![b'-'; 2 * PREAMBLE_BYTES_MAX];
        assert_eq!(through(&[&long]), long);
    }
}
