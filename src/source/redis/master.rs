//! Restores into a server by acting as its master: it asks for everything, and gets the file.
//!
//! A server throws away what it holds once the whole file has come, and not before. So the last byte is held back until
//! the caller has seen that all others were right: a file that is cut changes nothing, and one with a wrong byte would
//! end the server.

use super::followed::Followed;
use super::server::ServerInfo;

use super::wire::Wire;
use super::{Holds, RedisError, Watch, proof, pull};
use crate::base::event::Cancel;
use crate::base::secret::Entropy;
use crate::content::inspect::{Inspector, Verdict};
use crate::content::rdb::{Contents, Survey};
use crate::source::pipe::WATCH_INTERVAL;
use crate::source::process::Limits;
use crate::source::{Sink, SourceError};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// A server looks for its master once a second.
const ARRIVAL_MAX: Duration = Duration::from_secs(30);
/// Commands of a handshake; there are about six.
const COMMANDS_MAX: u32 = 100;
const ID_BYTES: usize = 20;
/// A replica gives up a master after a minute, unless somebody said otherwise.
const PING_INTERVAL: Duration = Duration::from_secs(5);
const PROOF_BUFFER_BYTES: u64 = 16 << 20;

/// A server that follows us.
pub(super) struct Master {
    followed: Followed,
    replica: Wire,
    last: Option<u8>,
    reader: Holds,
    /// Whether the values are compared in the end, of keys that do not end before that time.
    soon_ms: Option<u64>,
    inspector: Inspector,
    failed: Option<SourceError>,
}

impl Master {
    /// Makes the server follow us, up to the point where it waits for the first of `bytes`.
    ///
    /// `begin` tells it to follow us, at that address and port.
    pub(super) fn start(
        wire: Wire,
        begin: impl FnOnce(Wire, &str, u16) -> Result<Followed, SourceError>,
        limits: &Limits,
        bytes: u64,
        entropy: &dyn Entropy,
        soon_ms: Option<u64>,
    ) -> Result<Self, SourceError> {
        let server = wire.server.clone();
        let watch = Watch::new(limits.clone());
        let mut id = [0; ID_BYTES];
        let no_id = |error: crate::base::secret::EntropyError| io::Error::other(error.to_string());
        let failed = |source| RedisError::Listen { server: server.clone(), source };
        entropy.fill(&mut id).map_err(|error| failed(no_id(error)))?;
        // The target keeps this as its second replication id. With a fixed one, replicas of strangers could resume from
        // it.
        let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let (ours, theirs) = wire.ends().unwrap_or((loopback, loopback));
        let listener = TcpListener::bind((ours, 0)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        let mut followed = begin(wire, &ours.to_string(), port)?;
        let replica = arrival(&listener, theirs, &server, &watch)
            .and_then(|replica| Self::greet(replica, &id, bytes))
            .and_then(|replica| in_sync(&mut followed, &watch).map(|()| replica));
        match replica {
            Ok(replica) => {
                let (reader, inspector) = (Holds::new(soon_ms.unwrap_or(0)), Inspector::new());
                Ok(Self { followed, replica, last: None, reader, soon_ms, inspector, failed: None })
            }
            Err(error) => {
                drop(listener);
                followed.let_go()?;
                Err(error)
            }
        }
    }

    /// Answers what a replica asks, until it wants everything.
    fn greet(mut replica: Wire, id: &str, bytes: u64) -> Result<Wire, SourceError> {
        for _ in 0..COMMANDS_MAX {
            let words = replica.command()?;
            let word = words.first().map(|word| word.to_ascii_uppercase()).unwrap_or_default();
            match word.as_slice() {
                b"PING" => replica.write(b"+PONG\r\n")?,
                b"PSYNC" | b"SYNC" => {
                    replica.write(format!("+FULLRESYNC {id} 0\r\n${bytes}\r\n").as_bytes())?;
                    return Ok(replica);
                }
                // What it may log in with is not looked at.
                _ => replica.write(b"+OK\r\n")?,
            }
        }
        Err(replica.not_redis("more questions than a replica has"))
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let outcome = self.replica.watch.look(&self.replica.server).and_then(|()| self.replica.write(bytes));
        outcome.map_err(|error| {
            let told = io::Error::new(ErrorKind::BrokenPipe, error.to_string());
            self.failed.get_or_insert(error);
            told
        })
    }

    /// Waits until it has loaded everything. From the last byte on nothing can be taken back: nobody stops it here.
    fn loaded(&mut self) -> Result<(), SourceError> {
        loop {
            let info = self.followed.info()?;
            if info.get("master_link_status") == Some("up") && info.number("loading") == 0 {
                return Ok(());
            }
            if self.replica.is_closed() && info.number("loading") == 0 {
                let info = self.followed.info()?;
                return match info.get("master_link_status") == Some("up") {
                    true => Ok(()),
                    false => Err(RedisError::NotLoaded { server: self.followed.server() }.into()),
                };
            }
        }
    }
}

/// Waits for the server to come. Others are sent away: what is restored is not theirs to read.
fn arrival(listener: &TcpListener, from: IpAddr, server: &str, watch: &Watch) -> Result<Wire, SourceError> {
    let began = Instant::now();
    loop {
        watch.look(server)?;
        match listener.accept() {
            Ok((socket, peer)) if peer.ip().to_canonical() == from.to_canonical() => {
                return accepted(socket, server, watch)
                    .map_err(|source| RedisError::Listen { server: server.to_owned(), source }.into());
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if began.elapsed() > ARRIVAL_MAX {
                    return Err(RedisError::Unreached { server: server.to_owned() }.into());
                }
                std::thread::sleep(WATCH_INTERVAL / 10);
            }
            Err(source) => return Err(RedisError::Listen { server: server.to_owned(), source }.into()),
        }
    }
}

fn accepted(socket: TcpStream, server: &str, watch: &Watch) -> io::Result<Wire> {
    socket.set_nonblocking(false)?;
    Wire::accepted(socket, server.to_owned(), watch.clone())
}

/// Sees that it is the server itself that waits for data, and not somebody else at its address.
fn in_sync(followed: &mut Followed, watch: &Watch) -> Result<(), SourceError> {
    let began = Instant::now();
    loop {
        watch.look(&followed.server())?;
        if followed.info()?.number("master_sync_in_progress") == 1 {
            return Ok(());
        }
        if began.elapsed() > ARRIVAL_MAX {
            return Err(RedisError::Unreached { server: followed.server() }.into());
        }
        std::thread::sleep(WATCH_INTERVAL / 10);
    }
}

impl Write for Master {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some((last, but_last)) = bytes.split_last() else { return Ok(0) };
        if let Some(held) = self.last.take() {
            self.send(&[held])?;
        }
        self.send(but_last)?;
        self.last = Some(*last);
        self.reader.push(bytes);
        self.inspector.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Master {
    fn finish(mut self: Box<Self>) -> Result<(), SourceError> {
        // What was stored may be what a server sent wrong: loading it would end this one.
        let verdict = std::mem::take(&mut self.inspector).finish().verdict;
        if let Verdict::Incomplete(error) = verdict {
            let reason = error.to_string();
            drop(self.replica);
            self.followed.let_go()?;
            return Err(RedisError::Damaged { reason }.into());
        }
        if let Some(last) = self.last.take()
            && self.send(&[last]).is_err()
        {
            return Err(self.fail_reason());
        }
        let loaded = self.loaded();
        let Self { followed, mut replica, reader, soon_ms, .. } = *self;
        let (_, survey, contents) = reader.finish();
        // As long as it follows us, nobody else writes to it.
        let proven = match (&loaded, soon_ms) {
            (Ok(()), Some(soon_ms)) => prove(&followed, &mut replica, &contents, soon_ms),
            _ => Ok(()),
        };
        drop(replica);
        let info = match loaded {
            Ok(()) => followed.let_go()?,
            Err(error) => {
                followed.let_go()?;
                return Err(error);
            }
        };
        counted(&info, &survey)?;
        proven
    }

    fn abort(self: Box<Self>) {
        drop(self.replica);
        // It tells by itself where that fails.
        let _ = self.followed.let_go();
    }

    fn fail_reason(mut self: Box<Self>) -> SourceError {
        let failed = self.failed.take();
        drop(self.replica);
        match self.followed.let_go() {
            Err(error) => error,
            Ok(_) => failed.unwrap_or_else(|| RedisError::NotLoaded { server: String::new() }.into()),
        }
    }
}

/// Reads back what the server holds, and compares. Where that cannot be had, that is said: everything was counted.
fn prove(
    followed: &Followed,
    replica: &mut Wire,
    contents: &Contents,
    soon_ms: u64,
) -> Result<(), SourceError> {
    let mut heard = Instant::now();
    let mut each = || {
        // A replica gives up a master that it does not hear.
        if heard.elapsed() > PING_INTERVAL {
            replica.write(b"*1\r\n$4\r\nPING\r\n")?;
            heard = Instant::now();
        }
        Ok(())
    };
    let server = followed.server();
    let limits = Limits::new(Cancel::new());
    let started = pull::open(followed.access(), PROOF_BUFFER_BYTES, &limits);
    let found = started.and_then(|started| Holds::read(started, &server, soon_ms, &mut each));
    match found {
        Ok((_, there)) => match contents.differences(&there) {
            differing if differing.is_empty() => Ok(()),
            differing => Err(RedisError::Differs { server, what: proof::words(&differing) }.into()),
        },
        Err(error) => {
            followed.warn(format!("keys of `{server}` were counted, and its values not compared: {error}"));
            Ok(())
        }
    }
}

/// Holds what the server has against what the file had. Keys that end by themselves may have ended.
fn counted(info: &ServerInfo, survey: &Survey) -> Result<(), SourceError> {
    let found = info.databases();
    let mut expected: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for ((database, _), group) in &survey.groups {
        let sum = expected.entry(*database).or_default();
        (sum.0, sum.1) = (sum.0 + group.keys, sum.1 + group.expiring);
    }
    for (database, (keys, expiring)) in expected {
        let there = found.get(&database).map_or(0, |found| found.keys);
        if there > keys || there + expiring < keys {
            return Err(RedisError::Counts { database, there, expected: keys }.into());
        }
    }
    Ok(())
}
