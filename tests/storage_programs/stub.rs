//! A server of SFTP in this process, over a real folder, that can and does what it is told: what servers of others are
//! like that cannot be installed here.

use dumpvault::storage::Storage;
use dumpvault::storage::retry::{Backoff, Retry, RetryPolicy};
use dumpvault::storage::sftp::{Close, Link, SftpSettings, SftpStorage};
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

/// What it can, and how it does it.
#[derive(Debug, Clone)]
pub struct Ways {
    /// It announces hard links.
    pub links: bool,
    /// Its file system makes them.
    pub links_work: bool,
    /// It announces that it syncs.
    pub syncs: bool,
    /// A rename replaces.
    pub rename_replaces: bool,
    /// It gives at most so many bytes at a time.
    pub gives_max: usize,
    /// It answers requests in another order, as far as that is allowed.
    pub shuffles: bool,
    /// It answers reads and writes only when so many of them have come.
    pub waits_for: usize,
    /// Writes fail, and it has so much room.
    pub room: Option<u64>,
    /// It sends this in the place of everything.
    pub says: Option<&'static [u8]>,
    /// After so many packets it ends, once for each number.
    pub ends_after: Vec<usize>,
    /// It takes requests and says nothing.
    pub is_mute: bool,
}

impl Default for Ways {
    fn default() -> Self {
        Self {
            links: true,
            links_work: true,
            syncs: true,
            rename_replaces: false,
            gives_max: usize::MAX,
            shuffles: false,
            waits_for: 0,
            room: None,
            says: None,
            ends_after: Vec::new(),
            is_mute: false,
        }
    }
}

/// The server.
#[derive(Clone)]
pub struct Stub {
    ways: Arc<Ways>,
    folder: Arc<TempDir>,
    dialled: Arc<AtomicUsize>,
    asked: Arc<Mutex<Vec<u8>>>,
}

struct Nothing;

impl Close for Nothing {
    fn close(&self) {}
    fn said(&self) -> (String, Option<i32>) {
        (String::new(), Some(255))
    }
}

impl Stub {
    pub fn new(ways: Ways) -> Self {
        Self {
            ways: Arc::new(ways),
            folder: Arc::new(tempfile::tempdir().unwrap()),
            dialled: Arc::default(),
            asked: Arc::default(),
        }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// How often somebody connected.
    pub fn dialled(&self) -> usize {
        self.dialled.load(Ordering::SeqCst)
    }

    /// Types of the requests that came.
    pub fn asked(&self) -> Vec<u8> {
        self.asked.lock().unwrap().clone()
    }

    pub fn bare(&self) -> SftpStorage {
        let stub = self.clone();
        let root = self.folder.path().to_str().unwrap().to_owned();
        let settings =
            SftpSettings { stall_timeout: Duration::from_secs(5), connections: 1, ..SftpSettings::default() };
        SftpStorage::over(root.clone(), format!("sftp://stub/{root}"), move || Ok(stub.dial()), settings)
    }

    pub fn storage(&self) -> Arc<dyn Storage> {
        let wait = Duration::from_micros(100);
        let policy = RetryPolicy { first: wait, longest: wait, ..RetryPolicy::default() };
        Arc::new(Retry::new(self.bare(), Arc::new(Backoff::new(policy, 1, Arc::default()))))
    }

    fn dial(&self) -> Link {
        let number = self.dialled.fetch_add(1, Ordering::SeqCst);
        let (input, theirs) = std::io::pipe().unwrap();
        let (ours, output) = std::io::pipe().unwrap();
        let stub = self.clone();
        std::thread::spawn(move || stub.serve(number, ours, theirs));
        Link { input: Box::new(input), output: Box::new(output), close: Box::new(Nothing) }
    }

    fn serve(&self, number: usize, mut input: PipeReader, mut output: PipeWriter) {
        let ways = &self.ways;
        let mut serving = Serving { ways, handles: HashMap::new(), next: 0 };
        let mut held: Vec<Vec<u8>> = Vec::new();
        let mut came = 0;
        loop {
            let mut length = [0; 4];
            if input.read_exact(&mut length).is_err() {
                return;
            }
            let mut packet = vec![0; u32::from_be_bytes(length) as usize];
            if input.read_exact(&mut packet).is_err() {
                return;
            }
            came += 1;
            if ways.ends_after.get(number).is_some_and(|most| came > *most) {
                return;
            }
            if ways.is_mute {
                continue;
            }
            if let Some(says) = ways.says {
                let _ = output.write_all(says);
                continue;
            }
            self.asked.lock().unwrap().push(packet[0]);
            let is_bulk = matches!(packet[0], 5 | 6);
            let answer = serving.answer(&packet);
            if ways.waits_for > 0 && is_bulk {
                held.push(answer);
                if held.len() < ways.waits_for {
                    continue;
                }
            } else if ways.shuffles && is_bulk {
                held.push(answer);
                // Nobody sends more before some of these are answered: they go when nothing else has come.
                if held.len() < 3 && has_more(&input) {
                    continue;
                }
            } else {
                held.push(answer);
            }
            for answer in held.drain(..).rev() {
                let mut framed = (answer.len() as u32).to_be_bytes().to_vec();
                framed.extend(answer);
                if output.write_all(&framed).is_err() {
                    return;
                }
            }
        }
    }
}

fn has_more(input: &PipeReader) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut ready = [PollFd::new(input, PollFlags::IN)];
    poll(&mut ready, Some(&Timespec { tv_sec: 0, tv_nsec: 2_000_000 })).unwrap() > 0
}

enum Open {
    File(File),
    Folder(Vec<(String, fs::Metadata)>),
}

struct Serving<'a> {
    ways: &'a Ways,
    handles: HashMap<u32, Open>,
    next: u32,
}

/// Takes fields off a packet.
struct Take<'a>(&'a [u8]);

impl<'a> Take<'a> {
    fn number(&mut self) -> u32 {
        let (number, rest) = self.0.split_at(4);
        self.0 = rest;
        u32::from_be_bytes(number.try_into().unwrap())
    }
    fn long(&mut self) -> u64 {
        u64::from(self.number()) << 32 | u64::from(self.number())
    }
    fn text(&mut self) -> &'a [u8] {
        let length = self.number() as usize;
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        text
    }
    fn path(&mut self) -> PathBuf {
        PathBuf::from(std::str::from_utf8(self.text()).unwrap())
    }
    fn handle(&mut self) -> u32 {
        u32::from_be_bytes(self.text().try_into().unwrap())
    }
}

fn text(out: &mut Vec<u8>, text: &[u8]) {
    out.extend((text.len() as u32).to_be_bytes());
    out.extend(text);
}

fn attributes(out: &mut Vec<u8>, meta: &fs::Metadata) {
    out.extend(0xdu32.to_be_bytes());
    out.extend(meta.len().to_be_bytes());
    out.extend(meta.mode().to_be_bytes());
    out.extend([0; 4]);
    out.extend((meta.mtime() as u32).to_be_bytes());
}

fn code(error: &std::io::Error) -> u32 {
    match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => 2,
        std::io::ErrorKind::PermissionDenied => 3,
        _ => 4,
    }
}

impl Serving<'_> {
    fn answer(&mut self, packet: &[u8]) -> Vec<u8> {
        let mut take = Take(&packet[1..]);
        let id = take.number();
        if packet[0] == 1 {
            let mut out = vec![2, 0, 0, 0, 3];
            let has = [
                (self.ways.links, "hardlink@openssh.com"),
                (self.ways.syncs, "fsync@openssh.com"),
                (true, "statvfs@openssh.com"),
            ];
            for (_, name) in has.iter().filter(|(has, _)| *has) {
                text(&mut out, name.as_bytes());
                text(&mut out, b"1");
            }
            return out;
        }
        let head = |kind: u8| {
            let mut out = vec![kind];
            out.extend(id.to_be_bytes());
            out
        };
        let status = |code: u32| {
            let mut out = head(101);
            out.extend(code.to_be_bytes());
            text(&mut out, b"as told");
            text(&mut out, b"");
            out
        };
        let ended = |done: std::io::Result<()>| status(done.map_or_else(|error| code(&error), |()| 0));
        match packet[0] {
            3 => {
                let path = take.path();
                let mut options = OpenOptions::new();
                match take.number() {
                    1 => options.read(true),
                    _ => options.write(true).create_new(true).mode(0o600),
                };
                match options.open(path) {
                    Ok(file) => self.opened(head(102), Open::File(file)),
                    Err(error) => status(code(&error)),
                }
            }
            4 => status(self.handles.remove(&take.handle()).map_or(4, |_| 0)),
            5 => {
                let (handle, offset, length) = (take.handle(), take.long(), take.number() as usize);
                let Some(Open::File(file)) = self.handles.get(&handle) else { return status(4) };
                let mut bytes = vec![0; length.min(self.ways.gives_max)];
                match file.read_at(&mut bytes, offset) {
                    Ok(0) => status(1),
                    Ok(count) => {
                        let mut out = head(103);
                        text(&mut out, &bytes[..count]);
                        out
                    }
                    Err(error) => status(code(&error)),
                }
            }
            6 => {
                let (handle, offset, bytes) = (take.handle(), take.long(), take.text());
                match self.handles.get(&handle) {
                    _ if self.ways.room.is_some() => status(4),
                    Some(Open::File(file)) => ended(file.write_all_at(bytes, offset)),
                    _ => status(4),
                }
            }
            7 => match fs::symlink_metadata(take.path()) {
                Ok(meta) => {
                    let mut out = head(105);
                    attributes(&mut out, &meta);
                    out
                }
                Err(error) => status(code(&error)),
            },
            11 => match fs::read_dir(take.path()) {
                Ok(found) => {
                    let meta = |entry: fs::DirEntry| {
                        Some((
                            entry.file_name().into_string().ok()?,
                            fs::symlink_metadata(entry.path()).ok()?,
                        ))
                    };
                    self.opened(head(102), Open::Folder(found.flatten().filter_map(meta).collect()))
                }
                Err(error) => status(code(&error)),
            },
            12 => {
                let Some(Open::Folder(entries)) = self.handles.get_mut(&take.handle()) else {
                    return status(4);
                };
                let some: Vec<_> = entries.drain(..entries.len().min(7)).collect();
                if some.is_empty() {
                    return status(1);
                }
                let mut out = head(104);
                out.extend((some.len() as u32).to_be_bytes());
                for (name, meta) in some {
                    text(&mut out, name.as_bytes());
                    text(&mut out, b"-rw-------");
                    attributes(&mut out, &meta);
                }
                out
            }
            13 => ended(fs::remove_file(take.path())),
            14 => ended(fs::create_dir(take.path())),
            18 => {
                let (from, to) = (take.path(), take.path());
                match self.ways.rename_replaces {
                    true => ended(fs::rename(from, to)),
                    // As OpenSSH does it.
                    false => ended(fs::hard_link(&from, &to).and_then(|()| fs::remove_file(&from))),
                }
            }
            200 => match take.text() {
                b"fsync@openssh.com" => match self.handles.get(&take.handle()) {
                    Some(Open::File(file)) => ended(file.sync_all()),
                    _ => status(4),
                },
                b"hardlink@openssh.com" if !self.ways.links_work => status(3),
                b"hardlink@openssh.com" => ended(fs::hard_link(take.path(), take.path())),
                b"statvfs@openssh.com" => {
                    let mut out = head(201);
                    for number in [1, 1, 9, 9, self.ways.room.unwrap_or(u64::MAX), 9, 9, 9, 9, 9, 9] {
                        out.extend(number.to_be_bytes());
                    }
                    out
                }
                _ => status(8),
            },
            _ => status(8),
        }
    }

    fn opened(&mut self, mut out: Vec<u8>, open: Open) -> Vec<u8> {
        self.next += 1;
        self.handles.insert(self.next, open);
        text(&mut out, &self.next.to_be_bytes());
        out
    }
}
