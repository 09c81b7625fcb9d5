//! The system's `ssh` as the way to a server: it knows keys, agents, jump hosts, known hosts and security keys.
//!
//! It never asks anybody anything, shares no connection of others, and notices a dead line. It has a process group of
//! its own, so that an interrupt at the terminal reaches this program and not the conversation that has to be ended in
//! order.

use super::SftpAddress;
use super::session::{Close, Link};
use super::trouble::Trouble;
use crate::storage::ErrorKind;
use crate::storage::child::{self, Printed};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process_group};
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a program that closed its output may take to end.
const END_PATIENCE: Duration = Duration::from_secs(2);
const END_POLL: Duration = Duration::from_millis(5);

/// Options that go before what the user's configuration says: no questions, no shared connection, no forwarding, and a
/// line that is dead is noticed after a minute.
const OPTIONS: [&str; 10] = [
    "BatchMode=yes",
    "ConnectTimeout=15",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=4",
    "ControlMaster=no",
    "ControlPath=none",
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
    "PermitLocalCommand=no",
    "RequestTTY=no",
];

/// How `ssh` is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ssh {
    /// The program and its first words.
    pub command: Vec<OsString>,
    /// The file of the only key to use.
    pub identity: Option<PathBuf>,
    /// Writing gives up after so long.
    pub patience: Duration,
}

impl Ssh {
    /// The words after the program's own.
    fn words(&self, address: &SftpAddress) -> Vec<OsString> {
        let mut words: Vec<OsString> = Vec::new();
        for option in OPTIONS {
            words.extend(["-o".into(), option.into()]);
        }
        if let Some(identity) = &self.identity {
            words.extend(["-o".into(), "IdentitiesOnly=yes".into(), "-i".into(), identity.into()]);
        }
        if let Some(port) = address.port {
            words.extend(["-p".into(), port.to_string().into()]);
        }
        if let Some(user) = &address.user {
            words.extend(["-l".into(), user.into()]);
        }
        words.extend(["-s".into(), "--".into(), address.host.as_str().into(), "sftp".into()]);
        words
    }

    /// Starts the program.
    pub(super) fn dial(&self, address: &SftpAddress) -> Result<Link, Trouble> {
        let (program, front) = self
            .command
            .split_first()
            .map_or((OsString::from("ssh"), &[][..]), |(program, front)| (program.clone(), front));
        let mut command = Command::new(&program);
        command.args(front).args(self.words(address));
        child::prepare(&mut command, &["AWS_"]);
        let failed = |error: &io::Error| {
            let program = program.display();
            Trouble::permanent(
                ErrorKind::Invalid,
                match error.kind() {
                    io::ErrorKind::NotFound => {
                        format!("`{program}` is not installed; SFTP needs OpenSSH's client")
                    }
                    _ => format!("cannot start `{program}`: {error}"),
                },
            )
        };
        let mut child = command.spawn().map_err(|error| failed(&error))?;
        let (Some(input), Some(output), Some(printed)) =
            (child.stdout.take(), child.stdin.take(), child.stderr.take())
        else {
            return Err(Trouble::permanent(ErrorKind::Other, "the program has no pipes"));
        };
        let running = Running {
            group: Pid::from_child(&child),
            printed: Printed::of(printed),
            inner: Arc::new(Mutex::new(Inner { child, said: None })),
        };
        let output = Bounded::new(output, self.patience).map_err(|error| failed(&error))?;
        Ok(Link { input: Box::new(input), output: Box::new(output), close: Box::new(running) })
    }
}

struct Running {
    group: Pid,
    printed: Printed,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    child: Child,
    said: Option<(String, Option<i32>)>,
}

impl Running {
    fn kill(&self) {
        // Safe to ignore because an error says that the group is gone.
        let _ = kill_process_group(self.group, Signal::KILL);
    }
}

impl Close for Running {
    fn close(&self) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        // A child that was waited for has no group any more that would be ours.
        if inner.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.kill();
            // Safe to ignore because it was killed, and only `wait` knows its number from now on.
            let _ = inner.child.wait();
        }
    }

    fn said(&self) -> (String, Option<i32>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(said) = &inner.said {
            return said.clone();
        }
        let began = Instant::now();
        let status = loop {
            match inner.child.try_wait() {
                Ok(None) if began.elapsed() < END_PATIENCE => std::thread::sleep(END_POLL),
                Ok(None) => {
                    self.kill();
                    break inner.child.wait().ok();
                }
                ended => break ended.ok().flatten(),
            }
        };
        // What it started may hold on to the pipe for longer than it lived.
        while !self.printed.has_ended() && began.elapsed() < END_PATIENCE {
            std::thread::sleep(END_POLL);
        }
        let said = (self.printed.text(), status.and_then(|status| status.code()));
        inner.said = Some(said.clone());
        said
    }
}

/// A pipe into which nothing is written for longer than patience allows.
struct Bounded {
    pipe: ChildStdin,
    patience: Timespec,
}

impl Bounded {
    fn new(pipe: ChildStdin, patience: Duration) -> io::Result<Self> {
        fcntl_setfl(&pipe, fcntl_getfl(&pipe)? | OFlags::NONBLOCK)?;
        let patience =
            Timespec::try_from(patience).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(Self { pipe, patience })
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.pipe.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                wrote => return wrote,
            }
            let mut ready = [PollFd::new(&self.pipe, PollFlags::OUT)];
            match poll(&mut ready, Some(&self.patience)) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
