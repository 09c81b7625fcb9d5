//! Reads everything that a server holds, as a replica does at its first contact: what comes is an RDB file.
//!
//! A server cuts off a replica that does not read for its `repl-timeout` (60 s), and its own memory grows meanwhile. So
//! a thread takes what comes into memory, and the backup takes it from there.

use super::login::Access;
use super::server::ServerInfo;
use super::wire::{Reply, Wire};
use super::{RedisError, Watch};
use crate::base::numbers::Proof;
use crate::source::process::Limits;
use crate::source::{Dump, SourceError, StartedDump};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A server says that it is there once a second while it prepares, and sends without a pause then.
const IDLE_MAX: Duration = Duration::from_secs(120);
const PREPARING: &str = "while it prepared its data";
const SENDING: &str = "while it sent its data";
/// Length of the mark behind data whose length is not known.
const MARK_BYTES: usize = 40;
/// The mark that ends an RDB file, and the checksum behind it.
const END_BYTES: usize = 9;
const END: u8 = 0xff;
/// Bytes that pass from thread to thread at once.
const PIECE_BYTES: usize = 256 << 10;

/// How the data ends.
#[derive(Debug, PartialEq, Eq)]
enum Ends {
    After(u64),
    At(Vec<u8>),
}

/// Starts reading a server.
pub(super) fn open(access: &Access, buffer_bytes: u64, limits: &Limits) -> Result<StartedDump, SourceError> {
    let mut wire = access.enter(limits)?;
    let info = ServerInfo::ask(&mut wire)?;
    of(wire, &info, buffer_bytes)
}

/// Starts reading a server that says that of itself.
pub(super) fn of(mut wire: Wire, info: &ServerInfo, buffer_bytes: u64) -> Result<StartedDump, SourceError> {
    introduce(&mut wire, info)?;
    wire.send(&[b"PSYNC", b"?", b"-1"])?;
    let ends = preamble(&mut wire)?;
    let mut attributes = BTreeMap::new();
    if !info.version().is_empty() {
        attributes.insert("server".to_owned(), info.name());
        attributes.insert("server_version".to_owned(), info.version().to_owned());
    }
    if info.is_replica() {
        attributes.insert("from".to_owned(), "replica".to_owned());
    }
    let pieces = (buffer_bytes / PIECE_BYTES as u64).max(2) as usize;
    let (sender, receiver) = bounded(pieces);
    let stop = Arc::new(AtomicBool::new(false));
    let (server, watch) = (wire.server.clone(), wire.watch.clone());
    let stopped = Arc::clone(&stop);
    std::thread::Builder::new()
        .name("redis-pull".to_owned())
        .spawn(move || {
            let end = Pull { wire, bytes: 0, sender: &sender, stop: &stopped }.all(&ends);
            // Nobody waits for it any more, where this fails.
            let _ = sender.send(Piece::End(end));
        })
        .map_err(|source| SourceError::Start { program: server.clone(), source })?;
    let dump = Pulled { receiver, piece: Vec::new(), at: 0, end: None, stop, server, watch };
    Ok(StartedDump { dump: Box::new(dump), attributes })
}

/// Says what we understand. What a server does not know it refuses, and that is fine.
fn introduce(wire: &mut Wire, info: &ServerInfo) -> Result<(), SourceError> {
    // Without it, also new servers write a file of their own first.
    let understood: [&[&[u8]]; 2] =
        [&[b"REPLCONF", b"capa", b"eof", b"capa", b"psync2"], &[b"REPLCONF", b"rdb-only", b"1"]];
    for words in understood {
        tell(wire, words)?;
    }
    if info.is_valkey() {
        // Its own version: some of its data has no other form, and without a version it would end the connection there.
        tell(wire, &[b"REPLCONF", b"version", info.version().as_bytes()])?;
    }
    Ok(())
}

fn tell(wire: &mut Wire, words: &[&[u8]]) -> Result<(), SourceError> {
    match wire.ask(words)? {
        Reply::Error(text) if text.starts_with("ERR Unrecognized REPLCONF") => Ok(()),
        Reply::Error(text) => Err(wire.refused("REPLCONF", text)),
        _ => Ok(()),
    }
}

/// What stands before the data: `+FULLRESYNC …`, empty lines for as long as the server prepares, then how the data will
/// end.
fn preamble(wire: &mut Wire) -> Result<Ends, SourceError> {
    loop {
        let line = wire.line(IDLE_MAX, PREPARING)?;
        match line.split_first() {
            None => {}
            Some((b'+', rest)) if rest.starts_with(b"FULLRESYNC") => {}
            Some((b'-', rest)) => {
                return Err(wire.refused("PSYNC", String::from_utf8_lossy(rest).into_owned()));
            }
            Some((b'$', rest)) => {
                let mark = rest.strip_prefix(b"EOF:").filter(|mark| mark.len() == MARK_BYTES);
                let length = std::str::from_utf8(rest).ok().and_then(|text| text.parse().ok());
                let ends = mark.map(|mark| Ends::At(mark.to_vec())).or(length.map(Ends::After));
                return ends.ok_or_else(|| wire.not_redis("how its data ends"));
            }
            Some(_) => return Err(wire.not_redis("its answer to PSYNC")),
        }
    }
}

enum Piece {
    Bytes(Vec<u8>),
    End(Result<(), SourceError>),
}

/// The thread that reads.
struct Pull<'a> {
    wire: Wire,
    bytes: u64,
    sender: &'a Sender<Piece>,
    stop: &'a AtomicBool,
}

impl Pull<'_> {
    fn all(mut self, ends: &Ends) -> Result<(), SourceError> {
        let mut held = Vec::with_capacity(2 * PIECE_BYTES);
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(SourceError::Cancelled { program: self.wire.server.clone() });
            }
            let came = self.wire.some(IDLE_MAX, SENDING)?;
            if came.is_empty() {
                return Err(RedisError::Cut {
                    server: self.wire.server.clone(),
                    bytes: self.bytes + held.len() as u64,
                }
                .into());
            }
            let searched = held.len().saturating_sub(MARK_BYTES - 1);
            held.extend_from_slice(&came);
            let end = match ends {
                Ends::After(length) => {
                    let left = length.saturating_sub(self.bytes);
                    (held.len() as u64 >= left).then_some(left as usize)
                }
                Ends::At(mark) => end_before(&held, mark, searched),
            };
            if let Some(end) = end {
                held.truncate(end);
                if held.iter().rev().nth(END_BYTES - 1) != Some(&END) {
                    return Err(RedisError::NoEnd { server: self.wire.server.clone() }.into());
                }
                return self.pass(held);
            }
            // What may be the beginning of the mark stays here, and so does the end before it.
            let settled = held.len().saturating_sub(MARK_BYTES + END_BYTES);
            if settled >= PIECE_BYTES {
                let kept = held.split_off(settled);
                let piece = std::mem::replace(&mut held, Vec::with_capacity(2 * PIECE_BYTES));
                held.extend_from_slice(&kept);
                self.pass(piece)?;
            }
        }
    }

    fn pass(&mut self, piece: Vec<u8>) -> Result<(), SourceError> {
        self.bytes += piece.len() as u64;
        let gone = |_| SourceError::Cancelled { program: self.wire.server.clone() };
        self.sender.send(Piece::Bytes(piece)).map_err(gone)
    }
}

/// Where the data ends: before the mark, and what stands there ends as an RDB file does. Behind the mark more may
/// follow.
fn end_before(held: &[u8], mark: &[u8], searched: usize) -> Option<usize> {
    let fits = |end: &usize| end.checked_sub(END_BYTES).and_then(|at| held.get(at)) == Some(&END);
    let found = memchr::memmem::find_iter(held.get(searched..)?, mark);
    found.map(|at| searched + at).find(fits)
}

/// What was read.
struct Pulled {
    receiver: Receiver<Piece>,
    piece: Vec<u8>,
    at: usize,
    end: Option<Result<(), SourceError>>,
    stop: Arc<AtomicBool>,
    server: String,
    watch: Watch,
}

impl Read for Pulled {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let rest = self.piece.get(self.at..).unwrap_or_default();
            if !rest.is_empty() {
                let count = rest.len().min(buffer.len());
                if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
                    to.copy_from_slice(from);
                }
                self.at += count;
                return Ok(count);
            }
            if self.end.is_some() {
                return Ok(0);
            }
            if let Err(error) = self.watch.look(&self.server) {
                let told = io::Error::new(ErrorKind::TimedOut, error.to_string());
                self.end = Some(Err(error));
                return Err(told);
            }
            match self.receiver.recv_timeout(crate::source::pipe::WATCH_INTERVAL) {
                Ok(Piece::Bytes(piece)) => (self.piece, self.at) = (piece, 0),
                Ok(Piece::End(end)) => self.end = Some(end),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.end = Some(Err(RedisError::NoEnd { server: self.server.clone() }.into()));
                }
            }
        }
    }
}

impl Dump for Pulled {
    fn finish(mut self: Box<Self>) -> Result<Proof, SourceError> {
        match self.end.take() {
            Some(end) => end.map(|()| Proof::Exited),
            None => Err(SourceError::NotReadToEnd { program: self.server.clone() }),
        }
    }

    fn is_settled(&self) -> bool {
        true
    }
}

impl Drop for Pulled {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_counts_only_behind_an_end() {
        let mark = [b'm'; MARK_BYTES];
        let mut held = b"data".to_vec();
        held.extend_from_slice(&mark);
        held.push(END);
        held.extend_from_slice(&[1; 8]);
        let end = held.len();
        held.extend_from_slice(&mark);
        held.push(b'\n');
        assert_eq!(end_before(&held, &mark, 0), Some(end));
        assert_eq!(end_before(&held[..end], &mark, 0), None);
        assert_eq!(end_before(&held, &mark, end + 2), None);
    }
}
