//! RESP, the language of these servers, over TCP, TLS or a socket.

use super::address::{Address, Place};
use super::tls::{Certificates, Secure};
use super::{RedisError, Watch};
use crate::source::SourceError;
use crate::source::pipe::WATCH_INTERVAL;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A server that computes an answer for longer has stopped.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const READ_BYTES: usize = 64 << 10;
/// Lines hold a word, a number or an error.
const LINE_BYTES_MAX: usize = 64 << 10;
/// Nothing that is asked for is longer.
const ANSWER_BYTES_MAX: usize = 256 << 20;
const DEPTH_MAX: u32 = 8;
const ITEMS_MAX: usize = 1 << 20;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    Line(String),
    Error(String),
    Number(i64),
    Bytes(Vec<u8>),
    Nothing,
    List(Vec<Reply>),
}

impl Reply {
    /// Its text, whatever its form.
    pub(super) fn into_text(self) -> String {
        match self {
            Self::Line(text) | Self::Error(text) => text,
            Self::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Self::Number(number) => number.to_string(),
            Self::Nothing | Self::List(_) => String::new(),
        }
    }
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Secure(Box<Secure>),
}

/// A connection.
pub(super) struct Wire {
    socket: Socket,
    read: Vec<u8>,
    at: usize,
    pub server: String,
    pub watch: Watch,
}

impl Wire {
    /// Connects, and no more.
    pub(super) fn connect(
        address: &Address,
        certificates: &Certificates,
        watch: Watch,
    ) -> Result<Self, SourceError> {
        let server = address.server();
        let failed = |source| RedisError::Connect { server: address.server(), source };
        let socket = match &address.place {
            Place::Sentinels { .. } => {
                return Err(failed(io::Error::new(ErrorKind::InvalidInput, "sentinels are no server")).into());
            }
            Place::Socket(path) => {
                let socket = UnixStream::connect(path).map_err(failed)?;
                socket.set_read_timeout(Some(WATCH_INTERVAL)).map_err(failed)?;
                socket.set_write_timeout(Some(ANSWER_TIMEOUT)).map_err(failed)?;
                Socket::Unix(socket)
            }
            Place::Tcp { host, port } => {
                let socket = dial(host, *port).map_err(failed)?;
                let connected = match address.tls {
                    false => Socket::Tcp(socket),
                    true => {
                        let wrong = |reason| RedisError::Tls { server: address.server(), reason };
                        socket.set_read_timeout(Some(CONNECT_TIMEOUT)).map_err(failed)?;
                        Socket::Secure(Box::new(certificates.secure(host, socket).map_err(wrong)?))
                    }
                };
                match &connected {
                    Socket::Tcp(socket) => tuned(socket).map_err(failed)?,
                    Socket::Secure(secure) => tuned(secure.socket()).map_err(failed)?,
                    Socket::Unix(_) => {}
                }
                connected
            }
        };
        Ok(Self { socket, read: Vec::new(), at: 0, server, watch })
    }

    /// A connection that somebody else made.
    pub(super) fn accepted(socket: TcpStream, server: String, watch: Watch) -> io::Result<Self> {
        tuned(&socket)?;
        Ok(Self { socket: Socket::Tcp(socket), read: Vec::new(), at: 0, server, watch })
    }

    /// The addresses of both ends: ours, theirs. None over a socket.
    pub(super) fn ends(&self) -> Option<(IpAddr, IpAddr)> {
        let socket = match &self.socket {
            Socket::Tcp(socket) => socket,
            Socket::Secure(secure) => secure.socket(),
            Socket::Unix(_) => return None,
        };
        Some((socket.local_addr().ok()?.ip(), socket.peer_addr().ok()?.ip()))
    }

    /// Asks, and waits for the answer, which may be an error.
    pub(super) fn ask(&mut self, words: &[&[u8]]) -> Result<Reply, SourceError> {
        self.send(words)?;
        self.reply(0)
    }

    /// The answer to something that was written.
    pub(super) fn answer(&mut self) -> Result<Reply, SourceError> {
        self.reply(0)
    }

    /// Asks; an error is one.
    pub(super) fn order(&mut self, command: &'static str, words: &[&[u8]]) -> Result<Reply, SourceError> {
        match self.ask(words)? {
            Reply::Error(text) => Err(self.refused(command, text)),
            reply => Ok(reply),
        }
    }

    pub(super) fn refused(&self, command: &'static str, text: String) -> SourceError {
        let text = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(400).collect();
        RedisError::Said { server: self.server.clone(), command, text }.into()
    }

    pub(super) fn send(&mut self, words: &[&[u8]]) -> Result<(), SourceError> {
        let mut message = zeroize::Zeroizing::new(format!("*{}\r\n", words.len()).into_bytes());
        for word in words {
            message.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            message.extend_from_slice(word);
            message.extend_from_slice(b"\r\n");
        }
        self.write(&message)
    }

    /// Writes bytes as they are, for as long as the other side takes them at all.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), SourceError> {
        let written = match &mut self.socket {
            Socket::Tcp(socket) => socket.write_all(bytes),
            Socket::Unix(socket) => socket.write_all(bytes),
            Socket::Secure(socket) => socket.write_all(bytes).and_then(|()| socket.flush()),
        };
        written.map_err(|source| {
            RedisError::Lost { server: self.server.clone(), during: "while writing to it", source }.into()
        })
    }

    /// A line without its end; empty ones, too.
    pub(super) fn line(&mut self, idle: Duration, during: &'static str) -> Result<Vec<u8>, SourceError> {
        let mut searched = 0;
        loop {
            let held = self.read.get(self.at..).unwrap_or_default();
            if let Some(end) = held.get(searched..).and_then(|rest| memchr::memchr(b'\n', rest)) {
                let line = held.get(..searched + end).unwrap_or_default();
                let line = line.strip_suffix(b"\r").unwrap_or(line).to_vec();
                self.at += searched + end + 1;
                return Ok(line);
            }
            searched = held.len();
            if searched > LINE_BYTES_MAX {
                return Err(self.not_redis("a line without an end"));
            }
            self.fill(idle, during)?;
        }
    }

    fn reply(&mut self, depth: u32) -> Result<Reply, SourceError> {
        const DURING: &str = "while answering";
        let mut line = self.line(ANSWER_TIMEOUT, DURING)?;
        // Some say with an empty line that they are there.
        while line.is_empty() {
            line = self.line(ANSWER_TIMEOUT, DURING)?;
        }
        let (kind, rest) = line.split_first().ok_or_else(|| self.not_redis("an empty answer"))?;
        let text = String::from_utf8_lossy(rest).into_owned();
        let length = |text: &str| text.parse::<i64>().ok();
        Ok(match kind {
            b'+' => Reply::Line(text),
            b'-' => Reply::Error(text),
            b':' => Reply::Number(length(&text).ok_or_else(|| self.not_redis("a number that is none"))?),
            b'$' | b'*' => match (kind, length(&text)) {
                (_, Some(..0)) => Reply::Nothing,
                (b'$', Some(bytes)) if bytes as usize <= ANSWER_BYTES_MAX => {
                    let found = self.exactly(bytes as usize)?;
                    self.exactly(2)?;
                    Reply::Bytes(found)
                }
                (b'*', Some(items)) if items as usize <= ITEMS_MAX && depth < DEPTH_MAX => {
                    let each = (0..items).map(|_| self.reply(depth + 1));
                    Reply::List(each.collect::<Result<_, _>>()?)
                }
                _ => return Err(self.not_redis("a length that is none")),
            },
            _ => return Err(self.not_redis("an answer of an unknown kind")),
        })
    }

    fn exactly(&mut self, bytes: usize) -> Result<Vec<u8>, SourceError> {
        loop {
            if let Some(found) = self.read.get(self.at..self.at + bytes) {
                let found = found.to_vec();
                self.at += bytes;
                return Ok(found);
            }
            self.fill(ANSWER_TIMEOUT, "while answering")?;
        }
    }

    /// What has come and was not taken; waits for something where nothing has. Empty at the end of the connection.
    pub(super) fn some(&mut self, idle: Duration, during: &'static str) -> Result<Vec<u8>, SourceError> {
        if self.at == self.read.len() {
            match self.fill(idle, during) {
                Err(SourceError::Redis(RedisError::Closed { .. })) => return Ok(Vec::new()),
                outcome => outcome?,
            }
        }
        let found = self.read.split_off(self.at);
        self.read.clear();
        self.at = 0;
        Ok(found)
    }

    /// The next command of the other side, once whole.
    pub(super) fn command(&mut self) -> Result<Vec<Vec<u8>>, SourceError> {
        match self.reply(0)? {
            Reply::List(words) => Ok(words.into_iter().map(|word| word.into_text().into_bytes()).collect()),
            Reply::Line(_) | Reply::Error(_) | Reply::Number(_) | Reply::Bytes(_) | Reply::Nothing => {
                Err(self.not_redis("something that is not a command"))
            }
        }
    }

    /// Looks whether the other side closed the connection, without waiting long. What it says is thrown away.
    pub(super) fn is_closed(&mut self) -> bool {
        match read_from(&mut self.socket, &mut [0; 4096]) {
            Ok(count) => count == 0,
            Err(error) => !is_waiting(&error),
        }
    }

    /// Waits for bytes, at most `idle` long.
    fn fill(&mut self, idle: Duration, during: &'static str) -> Result<(), SourceError> {
        let began = Instant::now();
        if self.at > 0 && self.at == self.read.len() {
            self.read.clear();
            self.at = 0;
        }
        let held = self.read.len();
        self.read.resize(held + READ_BYTES, 0);
        let outcome = loop {
            let server = || self.server.clone();
            if let Err(stop) = self.watch.look(&self.server) {
                break Err(stop);
            }
            let free = self.read.get_mut(held..).unwrap_or_default();
            match read_from(&mut self.socket, free) {
                Ok(0) => break Err(RedisError::Closed { server: server(), during }.into()),
                Ok(count) => break Ok(count),
                Err(error) if is_waiting(&error) && began.elapsed() >= idle => {
                    break Err(RedisError::Silent { server: server(), during, limit: idle }.into());
                }
                Err(error) if is_waiting(&error) => {}
                Err(error) if error.kind() == ErrorKind::InvalidData => {
                    break Err(RedisError::Tls { server: server(), reason: error.to_string() }.into());
                }
                Err(source) => break Err(RedisError::Lost { server: server(), during, source }.into()),
            }
        };
        self.read.truncate(held + outcome.as_ref().map_or(0, |count| *count));
        outcome.map(drop)
    }

    pub(super) fn not_redis(&self, what: &'static str) -> SourceError {
        RedisError::NotRedis { server: self.server.clone(), what }.into()
    }
}

fn read_from(socket: &mut Socket, bytes: &mut [u8]) -> io::Result<usize> {
    match socket {
        Socket::Tcp(socket) => socket.read(bytes),
        Socket::Unix(socket) => socket.read(bytes),
        Socket::Secure(socket) => socket.read(bytes),
    }
}

fn is_waiting(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// A host may have several addresses: the first that answers counts.
fn dial(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(ErrorKind::NotFound, "the host has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn tuned(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(WATCH_INTERVAL))?;
    socket.set_write_timeout(Some(ANSWER_TIMEOUT))
}
