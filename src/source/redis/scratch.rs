//! A server for a while, to load a file into: it listens on a socket in a folder that is its owner's alone, and writes
//! nothing there.

use super::address::Address;
use super::login::{Access, Secret};
use super::target::Target;
use super::{Holds, RedisError, pull};
use crate::base::event::{Cancel, Observer};
use crate::content::rdb::{Contents, Survey};
use crate::source::SourceError;
use crate::source::pipe::WATCH_INTERVAL;
use crate::source::process::{Invocation, Limits, Running, Standing};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An empty server is there at once.
const START_MAX: Duration = Duration::from_secs(30);
const BUFFER_BYTES: u64 = 16 << 20;
/// Runs the server for as long as somebody holds the other end of its input, also where that is killed.
const GUARDED: &str = "exec 3<&0; \"$@\" 3<&- & server=$!; (read -r _ <&3; kill -9 $server) & guard=$!; \
                       wait $server; code=$?; kill $guard; exit $code";
/// What a shell ends with where there is no such program.
const NOT_FOUND: i32 = 127;

/// A server that ends when this does.
pub(crate) struct ScratchServer {
    // Before the guard's input is closed, which ends it anyway.
    running: Running,
    _input: ChildStdin,
    access: Access,
    log: PathBuf,
}

impl ScratchServer {
    /// Starts a server program in a folder that is empty, and waits for it.
    ///
    /// # Errors
    /// When it cannot be started, or does not answer.
    pub(crate) fn start(program: &OsStr, folder: &Path, limits: &Limits) -> Result<Self, SourceError> {
        let socket = folder.join("socket");
        let log = folder.join("log");
        let invocation = Invocation::new("/bin/sh").args(["-c", GUARDED, "sh"]).arg(program);
        let invocation = invocation
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--daemonize", "no"])
            // What is restored goes from memory to memory.
            .args(["--repl-diskless-load", "on-empty-db", "--maxmemory", "0"])
            .args(["--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0"])
            .arg("--dir")
            .arg(folder)
            .arg("--unixsocket")
            .arg(&socket)
            .args(["--unixsocketperm", "700", "--logfile"])
            .arg(&log);
        let mut running = Running::start(&invocation, Stdio::piped(), Stdio::null(), limits.clone())?;
        let input = running.take_stdin()?;
        let access = Access::new(Address::of_parts(&socket.to_string_lossy(), None, false), Secret::None);
        let mut server = Self { running, _input: input, access, log };
        server.wait(program, limits)?;
        Ok(server)
    }

    fn wait(&mut self, program: &OsStr, limits: &Limits) -> Result<(), SourceError> {
        let began = Instant::now();
        let program = program.to_string_lossy().into_owned();
        loop {
            if limits.cancel.is_cancelled() {
                return Err(SourceError::Cancelled { program });
            }
            if self.target_quietly().is_ok() {
                return Ok(());
            }
            if !matches!(self.running.standing(), Ok(Standing::Runs)) {
                return Err(match self.running.failure() {
                    SourceError::Exited { status: NOT_FOUND, .. } => SourceError::ProgramNotFound { program },
                    _ => RedisError::NotStarted { program, reason: self.last_words() }.into(),
                });
            }
            if began.elapsed() > START_MAX {
                return Err(RedisError::NotStarted { program, reason: self.last_words() }.into());
            }
            std::thread::sleep(WATCH_INTERVAL / 10);
        }
    }

    fn target_quietly(&self) -> Result<(), SourceError> {
        self.access.enter(&Limits::new(Cancel::new())).map(drop)
    }

    /// What it said last.
    pub(crate) fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        last.trim().to_owned()
    }

    /// The server, to be restored into.
    pub(crate) fn target(&self, limits: &Limits, events: Arc<dyn Observer>) -> Target {
        Target { access: self.access.clone(), limits: limits.clone(), events }
    }

    /// What it holds, as a backup of it would find it, of keys that do not end before `soon_ms`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn holds(&self, soon_ms: u64, limits: &Limits) -> Result<(Survey, Contents), SourceError> {
        let started = pull::open(&self.access, BUFFER_BYTES, limits)?;
        Holds::read(started, &self.access.address.server(), soon_ms, &mut || Ok(()))
    }
}
