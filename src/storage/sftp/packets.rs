//! Packets of the SSH File Transfer Protocol, version 3 (draft-ietf-secsh-filexfer-02), and the extensions of OpenSSH's
//! `PROTOCOL`.
//!
//! Pure: bytes to values and back. A packet is a length of four bytes, a type, and fields; a request carries an id that
//! its answer repeats. Nothing here trusts a length: each is held against what the packet has.

use std::time::{Duration, SystemTime};

/// A longer packet is none: a server sends at most 256 KiB, and a shell that prints a greeting sends letters.
pub const PACKET_BYTES_MAX: u32 = 1 << 20;
/// The version that is spoken.
pub const VERSION: u32 = 3;
/// Longest words of a server that are kept for an error.
const MESSAGE_BYTES_MAX: usize = 300;

/// The extension that brings a file to the disk.
pub const FSYNC: &str = "fsync@openssh.com";
/// The extension that gives a file a second name, and never replaces.
pub const HARDLINK: &str = "hardlink@openssh.com";
/// The extension that tells how large a request may be.
pub const LIMITS: &str = "limits@openssh.com";
/// The extension that tells how much room there is.
pub const STATVFS: &str = "statvfs@openssh.com";

/// What is asked of a server.
#[derive(Debug, Clone, Copy)]
pub enum Request<'a> {
    /// Opens a file to be read.
    Read(&'a str),
    /// Makes a file that is not there, to be written, with mode 0600.
    Create(&'a str),
    /// Ends the use of a handle.
    Close(&'a [u8]),
    /// Asks for bytes of a file: offset, length.
    Get(&'a [u8], u64, u32),
    /// Writes bytes into a file.
    Put(&'a [u8], u64, &'a [u8]),
    /// What lies under a path; a link is not followed.
    Look(&'a str),
    /// Opens a folder.
    Folder(&'a str),
    /// Some more names of a folder.
    Names(&'a [u8]),
    /// Removes a file.
    Remove(&'a str),
    /// Makes a folder with mode 0700.
    Make(&'a str),
    /// Gives a file another name.
    Rename(&'a str, &'a str),
    /// Gives a file a second name.
    Link(&'a str, &'a str),
    /// Brings a file to the disk.
    Sync(&'a [u8]),
    /// How large requests may be.
    Limits,
    /// How much room there is.
    Room(&'a str),
}

/// What a server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// How something ended.
    Status(Status, String),
    /// A handle to a file or folder.
    Handle(Vec<u8>),
    /// Bytes of a file.
    Data(Vec<u8>),
    /// Names in a folder.
    Names(Vec<(Vec<u8>, Attributes)>),
    /// What lies under a path.
    Attributes(Attributes),
    /// The answer to an extension.
    Extended(Vec<u8>),
}

/// How something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Well.
    Good,
    /// There is no more.
    End,
    /// There is no such file.
    Missing,
    /// It is not allowed.
    Denied,
    /// It failed. Servers say no more, whatever it was.
    Failed,
    /// The server lost its own connection to something.
    Lost,
    /// The server does not do such a thing.
    Unsupported,
    /// Any other number.
    Other(u32),
}

/// What lies under a path, as far as it is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Bytes.
    pub size: Option<u64>,
    /// Type and mode.
    pub mode: Option<u32>,
    /// Seconds since 1970 of the last write.
    pub modified_s: Option<u32>,
}

/// The type of what lies under a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file; also where a server tells no types.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A device, a socket.
    Other,
}

impl Attributes {
    /// The type.
    pub fn kind(&self) -> Kind {
        match self.mode.map(|mode| mode & 0o170_000) {
            Some(0o100_000 | 0) | None => Kind::File,
            Some(0o040_000) => Kind::Folder,
            Some(0o120_000) => Kind::Link,
            Some(_) => Kind::Other,
        }
    }

    /// When it was written last, by the server's clock.
    pub fn modified(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(self.modified_s.unwrap_or_default()))
    }
}

/// Bytes that are no packet of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server breaks the protocol: {0}")]
pub struct Malformed(pub &'static str);

/// The first packet of a conversation.
pub fn hello() -> Vec<u8> {
    let mut packet = vec![0, 0, 0, 5, 1];
    packet.extend_from_slice(&VERSION.to_be_bytes());
    packet
}

/// The server's first packet: its version, and the names of its extensions.
///
/// # Errors
/// When it is none.
pub fn welcome(packet: &[u8]) -> Result<(u32, Vec<String>), Malformed> {
    let mut rest = Fields(packet);
    if rest.byte()? != 2 {
        return Err(Malformed("its first packet is not its version"));
    }
    let version = rest.number()?;
    let mut extensions = Vec::new();
    while !rest.0.is_empty() {
        let name = rest.text()?;
        rest.text()?;
        extensions.push(String::from_utf8_lossy(name).into_owned());
    }
    Ok((version, extensions))
}

/// Adds the packet of a request.
pub fn encode(id: u32, request: &Request<'_>, out: &mut Vec<u8>) {
    let begins = out.len();
    out.extend_from_slice(&[0; 4]);
    let head = |out: &mut Vec<u8>, kind: u8| {
        out.push(kind);
        out.extend_from_slice(&id.to_be_bytes());
    };
    let mode = |out: &mut Vec<u8>, mode: u32| {
        out.extend_from_slice(&4u32.to_be_bytes());
        out.extend_from_slice(&mode.to_be_bytes());
    };
    let extended = |out: &mut Vec<u8>, name: &str| {
        head(out, 200);
        text(out, name.as_bytes());
    };
    match *request {
        Request::Read(path) => {
            head(out, 3);
            text(out, path.as_bytes());
            out.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0]);
        }
        Request::Create(path) => {
            head(out, 3);
            text(out, path.as_bytes());
            // Write, create, and only where nothing is.
            out.extend_from_slice(&0x2au32.to_be_bytes());
            mode(out, 0o600);
        }
        Request::Close(handle) => one(out, head, 4, handle),
        Request::Get(handle, offset, length) => {
            one(out, head, 5, handle);
            out.extend_from_slice(&offset.to_be_bytes());
            out.extend_from_slice(&length.to_be_bytes());
        }
        Request::Put(handle, offset, bytes) => {
            one(out, head, 6, handle);
            out.extend_from_slice(&offset.to_be_bytes());
            text(out, bytes);
        }
        Request::Look(path) => one(out, head, 7, path.as_bytes()),
        Request::Folder(path) => one(out, head, 11, path.as_bytes()),
        Request::Names(handle) => one(out, head, 12, handle),
        Request::Remove(path) => one(out, head, 13, path.as_bytes()),
        Request::Make(path) => {
            one(out, head, 14, path.as_bytes());
            mode(out, 0o700);
        }
        Request::Rename(from, to) => {
            one(out, head, 18, from.as_bytes());
            text(out, to.as_bytes());
        }
        Request::Link(from, to) => {
            extended(out, HARDLINK);
            text(out, from.as_bytes());
            text(out, to.as_bytes());
        }
        Request::Sync(handle) => {
            extended(out, FSYNC);
            text(out, handle);
        }
        Request::Limits => extended(out, LIMITS),
        Request::Room(path) => {
            extended(out, STATVFS);
            text(out, path.as_bytes());
        }
    }
    // Paths have some hundred bytes, and what is written at a time some hundred KiB.
    let length = u32::try_from(out.len() - begins - 4).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(begins..begins + 4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

fn one(out: &mut Vec<u8>, head: impl Fn(&mut Vec<u8>, u8), kind: u8, field: &[u8]) {
    head(out, kind);
    text(out, field);
}

fn text(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(text);
}

/// A packet without its length: the id of the request, and the answer to it.
///
/// # Errors
/// When it is none.
pub fn decode(packet: &[u8]) -> Result<(u32, Answer), Malformed> {
    let mut rest = Fields(packet);
    let kind = rest.byte()?;
    let id = rest.number()?;
    let answer = match kind {
        101 => {
            let status = match rest.number()? {
                0 => Status::Good,
                1 => Status::End,
                2 => Status::Missing,
                3 => Status::Denied,
                4 => Status::Failed,
                6 | 7 => Status::Lost,
                8 => Status::Unsupported,
                other => Status::Other(other),
            };
            // Some servers leave the words out, which the draft does not allow.
            let words = if rest.0.is_empty() { &[][..] } else { rest.text()? };
            let words = words.get(..MESSAGE_BYTES_MAX).unwrap_or(words);
            Answer::Status(status, String::from_utf8_lossy(words).into_owned())
        }
        102 => {
            let handle = rest.text()?;
            if handle.len() > 256 {
                return Err(Malformed("a handle has more than 256 bytes"));
            }
            Answer::Handle(handle.to_vec())
        }
        103 => Answer::Data(rest.text()?.to_vec()),
        104 => Answer::Names(names(&mut rest)?),
        105 => Answer::Attributes(rest.attributes()?),
        201 => Answer::Extended(rest.0.to_vec()),
        _ => return Err(Malformed("an answer of an unknown type")),
    };
    Ok((id, answer))
}

fn names(rest: &mut Fields<'_>) -> Result<Vec<(Vec<u8>, Attributes)>, Malformed> {
    let count = rest.number()?;
    let mut names = Vec::new();
    // A name takes 12 bytes at least, so that a count alone takes no memory.
    for _ in 0..count {
        let name = rest.text()?.to_vec();
        rest.text()?;
        names.push((name, rest.attributes()?));
    }
    Ok(names)
}

/// The longest read and the longest write of `limits@openssh.com`; 0 where the server does not say.
///
/// # Errors
/// When it is no such answer.
pub fn limits(extended: &[u8]) -> Result<(u64, u64), Malformed> {
    let mut rest = Fields(extended);
    rest.long()?;
    Ok((rest.long()?, rest.long()?))
}

/// The bytes that are free for this user by `statvfs@openssh.com`.
///
/// # Errors
/// When it is no such answer.
pub fn room(extended: &[u8]) -> Result<u64, Malformed> {
    let mut rest = Fields(extended);
    rest.long()?;
    let block_bytes = rest.long()?;
    rest.long()?;
    rest.long()?;
    Ok(rest.long()?.saturating_mul(block_bytes))
}

/// What is left of a packet.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or(Malformed("a packet is too short"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed("a packet is too short"))
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        self.fixed().map(|[byte]| byte)
    }

    fn number(&mut self) -> Result<u32, Malformed> {
        self.fixed().map(u32::from_be_bytes)
    }

    fn long(&mut self) -> Result<u64, Malformed> {
        self.fixed().map(u64::from_be_bytes)
    }

    fn text(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.number()?;
        self.take(usize::try_from(length).map_err(|_| Malformed("a packet is too short"))?)
    }

    fn attributes(&mut self) -> Result<Attributes, Malformed> {
        let flags = self.number()?;
        let has = |bit: u32| flags & bit != 0;
        let mut found = Attributes::default();
        if has(1) {
            found.size = Some(self.long()?);
        }
        if has(2) {
            self.long()?;
        }
        if has(4) {
            found.mode = Some(self.number()?);
        }
        if has(8) {
            self.number()?;
            found.modified_s = Some(self.number()?);
        }
        if has(0x8000_0000) {
            for _ in 0..self.number()? {
                self.text()?;
                self.text()?;
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests;
