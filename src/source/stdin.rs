//! A stream that somebody else makes: a standard input, a file, a socket.

use super::pipe::{WATCH_INTERVAL, ready};
use super::{Dump, PlannedStream, Source, SourceError, StartedDump};
use crate::base::event::Cancel;
use crate::base::numbers::Proof;
use crate::base::run::Run;
use rustix::event::PollFlags;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Reads the stream from `reader`.
///
/// Nobody can tell whether what feeds it ended well, so that finishing gives [`Proof::Unproven`]; the stream's own
/// structure, where the caller knows it, may prove more.
pub fn open<'a>(reader: impl Read + Send + 'a) -> Box<dyn Dump + 'a> {
    Box::new(Handed(reader))
}

/// Reads the stream from a file descriptor, and stops when somebody asks to or when it takes longer than it may, also
/// while it is silent.
///
/// # Errors
/// Reading it gives [`io::ErrorKind::Other`] once cancelled, [`io::ErrorKind::TimedOut`] after `timeout`; finishing it
/// then says why.
pub fn open_fd(fd: OwnedFd, timeout: Option<Duration>, cancel: Cancel) -> Box<dyn Dump> {
    super::pipe::widen(&fd);
    Box::new(Watched { file: fd.into(), began: Instant::now(), timeout, stopped: None, cancel })
}

/// This process's standard input as a source.
#[derive(Debug, Clone, Copy, Default)]
pub struct StandardInput {
    /// How long it may take.
    pub timeout: Option<Duration>,
}

impl Source for StandardInput {
    fn describe(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("kind".to_owned(), "stdin".to_owned())])
    }

    fn streams(self: Box<Self>, series: &str, run: &Run) -> Result<Vec<PlannedStream<'static>>, SourceError> {
        let cancel = run.cancel.clone();
        let start = Box::new(move || {
            let fd = io::stdin().as_fd().try_clone_to_owned().map_err(|source| SourceError::Io {
                program: "standard input".to_owned(),
                operation: "read from",
                source,
            })?;
            Ok(StartedDump { dump: open_fd(fd, self.timeout, cancel), attributes: BTreeMap::new() })
        });
        Ok(vec![PlannedStream { name: series.to_owned(), start }])
    }
}

struct Watched {
    file: File,
    began: Instant,
    timeout: Option<Duration>,
    stopped: Option<SourceError>,
    cancel: Cancel,
}

impl Watched {
    fn overrun(&self) -> Option<SourceError> {
        if self.cancel.is_cancelled() {
            return Some(SourceError::Cancelled { program: "standard input".to_owned() });
        }
        let limit = self.timeout.filter(|limit| self.began.elapsed() >= *limit)?;
        Some(SourceError::InputTimedOut { limit })
    }
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(stop) = self.overrun() {
                let kind = match stop {
                    SourceError::InputTimedOut { .. } => io::ErrorKind::TimedOut,
                    _ => io::ErrorKind::Other,
                };
                let told = io::Error::new(kind, stop.to_string());
                self.stopped = Some(stop);
                return Err(told);
            }
            if ready(&self.file, PollFlags::IN, WATCH_INTERVAL)? {
                return self.file.read(buffer);
            }
        }
    }
}

impl Dump for Watched {
    fn finish(self: Box<Self>) -> Result<Proof, SourceError> {
        match self.stopped {
            Some(stopped) => Err(stopped),
            None => Ok(Proof::Unproven),
        }
    }
}

struct Handed<R>(R);

impl<R: Read> Read for Handed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: Read + Send> Dump for Handed<R> {
    fn finish(self: Box<Self>) -> Result<Proof, SourceError> {
        Ok(Proof::Unproven)
    }
}
