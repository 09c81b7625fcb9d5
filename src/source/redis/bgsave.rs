//! Has a server save its file, and reads that: only where somebody asks for it.
//!
//! A save that runs already began too early, one that failed leaves the file of yesterday in its place, and `LASTSAVE`
//! does not move then. So a save of our own is begun, its outcome is asked for, and the file itself has to tell a time
//! that is not before its beginning.

use super::RedisError;
use super::login::Access;
use super::server::ServerInfo;
use super::wire::{Reply, Wire};
use crate::base::numbers::Proof;
use crate::content::rdb::Reader;
use crate::source::command::CommandSource;
use crate::source::process::{Invocation, Limits};
use crate::source::surroundings::Surroundings;
use crate::source::wrapper::Wrapper;
use crate::source::{Dump, SourceError, StartedDump};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(100);
/// A save begins anew when another came before it, or when an append-only file is being written. So often at most.
const TRIES_MAX: u32 = 10;

/// Where the file is.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    /// Its path; the server is asked where there is none.
    pub path: Option<PathBuf>,
    /// What reads it there, in the place of this process.
    pub exec: Option<Wrapper>,
    pub around: Surroundings,
}

/// Saves, and starts reading.
pub(super) fn open(access: &Access, place: &Place, limits: &Limits) -> Result<StartedDump, SourceError> {
    let mut wire = access.enter(limits)?;
    let info = ServerInfo::ask(&mut wire)?;
    let path = match &place.path {
        Some(path) => path.clone(),
        None => configured(&mut wire)?,
    };
    let began = save(&mut wire)?;
    let mut attributes = BTreeMap::from([("method".to_owned(), "bgsave".to_owned())]);
    if !info.version().is_empty() {
        attributes.insert("server".to_owned(), info.name());
        attributes.insert("server_version".to_owned(), info.version().to_owned());
    }
    let file: Box<dyn Dump> = match &place.exec {
        Some(exec) if !exec.is_empty() => {
            let invocation = Invocation::new("cat").arg(&path).behind(exec).within(&place.around);
            CommandSource::new(invocation, limits.clone()).open()?
        }
        // It is renamed into place: what is open stays whole.
        _ => Box::new(Opened(
            File::open(&path).map_err(|source| RedisError::NoFile { path: path.clone(), source })?,
        )),
    };
    let dump =
        Saved { file, reader: Some(Reader::new()), written: None, began, path, server: wire.server.clone() };
    Ok(StartedDump { dump: Box::new(dump), attributes })
}

/// Where the server says that it writes.
fn configured(wire: &mut Wire) -> Result<PathBuf, SourceError> {
    let mut setting =
        |name: &'static str| match wire.order("CONFIG GET", &[b"CONFIG", b"GET", name.as_bytes()])? {
            Reply::List(list) => Ok(list.into_iter().nth(1).map(Reply::into_text).unwrap_or_default()),
            _ => Err(wire.not_redis("its answer to CONFIG GET")),
        };
    let (folder, name) = (setting("dir")?, setting("dbfilename")?);
    Ok(Path::new(&folder).join(name))
}

/// Has it save, and waits. Gives the second at which that began, by the server's clock.
fn save(wire: &mut Wire) -> Result<u64, SourceError> {
    for _ in 0..TRIES_MAX {
        idle(wire)?;
        let began = clock(wire)?;
        match wire.ask(&[b"BGSAVE"])? {
            // Somebody else was faster: theirs may have begun before now.
            Reply::Error(text) if text.contains("already in progress") => continue,
            // An append-only file is being written: `idle` waits for that.
            Reply::Error(text) if text.contains("AOF") || text.contains("child process") => {
                std::thread::sleep(PAUSE);
                continue;
            }
            Reply::Error(text) => return Err(wire.refused("BGSAVE", text)),
            _ => {}
        }
        let info = idle(wire)?;
        let is_good = info.get("rdb_last_bgsave_status") == Some("ok");
        if !is_good || info.number("rdb_last_save_time") < began {
            let status = info.get("rdb_last_bgsave_status").unwrap_or("unknown").to_owned();
            return Err(RedisError::NotSaved { server: wire.server.clone(), status }.into());
        }
        return Ok(began);
    }
    Err(RedisError::NotSaved { server: wire.server.clone(), status: "others save all the time".to_owned() }
        .into())
}

/// Waits until it writes no file, and tells how that ended.
fn idle(wire: &mut Wire) -> Result<ServerInfo, SourceError> {
    loop {
        wire.watch.look(&wire.server)?;
        let reply = wire.order("INFO", &[b"INFO", b"persistence"])?;
        let info = ServerInfo::of(&reply.into_text());
        let is_busy = |name| info.number(name) == 1;
        if !is_busy("rdb_bgsave_in_progress") && !is_busy("aof_rewrite_in_progress") {
            return Ok(info);
        }
        std::thread::sleep(PAUSE);
    }
}

fn clock(wire: &mut Wire) -> Result<u64, SourceError> {
    let Reply::List(parts) = wire.order("TIME", &[b"TIME"])? else {
        return Err(wire.not_redis("its answer to TIME"));
    };
    let seconds = parts.into_iter().next().and_then(|part| part.into_text().parse().ok());
    seconds.ok_or_else(|| wire.not_redis("its answer to TIME"))
}

/// A file that is open.
struct Opened(File);

impl Read for Opened {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Dump for Opened {
    fn finish(self: Box<Self>) -> Result<Proof, SourceError> {
        Ok(Proof::Exited)
    }

    // The next save writes another file.
    fn is_settled(&self) -> bool {
        true
    }
}

/// A file that has to be that of this save.
struct Saved {
    file: Box<dyn Dump>,
    /// Until it is known when the file was written.
    reader: Option<Reader>,
    written: Option<u64>,
    began: u64,
    path: PathBuf,
    server: String,
}

impl Read for Saved {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        if let Some(reader) = &mut self.reader {
            reader.push(buffer.get(..count).unwrap_or_default());
            let said = reader.survey().fields.get(b"ctime".as_slice());
            self.written = said.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
            // It stands at the front.
            if self.written.is_some() {
                self.reader = None;
            }
        }
        Ok(count)
    }
}

impl Dump for Saved {
    fn finish(self: Box<Self>) -> Result<Proof, SourceError> {
        let Self { file, written, began, path, server, .. } = *self;
        let proof = file.finish()?;
        match written {
            Some(written) if written >= began => Ok(proof),
            _ => Err(RedisError::OtherFile { path, server }.into()),
        }
    }

    fn is_settled(&self) -> bool {
        self.file.is_settled()
    }
}
