//! A stream that somebody else makes: a standard input, a file, a socket.

use super::pipe::{WATCH_INTERVAL, ready};
use super::{Dump, SourceError};
use crate::event::Cancel;
use crate::snapshot::Proof;
use rustix::event::PollFlags;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

/// Reads the stream from `reader`.
///
/// Nobody can tell whether what feeds it ended well, so that finishing gives [`Proof::Unproven`]; the stream's own structure,
/// where the caller knows it, may prove more.
pub fn open<'a>(reader: impl Read + Send + 'a) -> Box<dyn Dump + 'a> {
    Box::new(Handed(reader))
}

/// Reads the stream from a file descriptor, and stops when somebody asks to, also while it is silent.
///
/// # Errors
/// Reading it gives [`io::ErrorKind::Other`] once cancelled.
pub fn open_fd(fd: OwnedFd, cancel: Cancel) -> Box<dyn Dump> {
    super::pipe::widen(&fd);
    open(Watched { file: fd.into(), cancel })
}

struct Watched {
    file: File,
    cancel: Cancel,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.cancel.is_cancelled() {
            if ready(&self.file, PollFlags::IN, WATCH_INTERVAL)? {
                return self.file.read(buffer);
            }
        }
        Err(io::Error::other("cancelled"))
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
