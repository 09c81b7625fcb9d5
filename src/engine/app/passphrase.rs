//! Where a passphrase comes from: a file, a command, a variable. Copies of it are wiped, and what is odd about it is
//! told.

use super::{AppError, Found};
use crate::base::secret::Passphrase;
use crate::vault::crypto::Credential;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// What is longer than this is no file or output with a passphrase in its first line.
const BYTES_MAX: usize = 64 << 10;
/// How soon a command is noticed that ended, is to end, or takes too long.
const WATCH: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
/// How long a command may take to end by itself after SIGTERM.
const TERM_WAIT: Duration = Duration::from_secs(2);

/// A passphrase as it is, from `origin`.
pub(super) fn found(text: String, origin: &str) -> Result<Found, AppError> {
    if text.is_empty() {
        return Err(AppError::EmptyPassphrase { origin: origin.to_owned() });
    }
    let warnings = odd(&text, origin).into_iter().collect();
    Ok(Found { credential: Credential::Passphrase(Passphrase::new(text)), warnings })
}

/// What an editor puts before or behind a passphrase unseen. It counts, or what was made with it could not be opened
/// any more.
fn odd(text: &str, origin: &str) -> Option<String> {
    let what = if text.starts_with('\u{feff}') {
        "begins with a byte order mark"
    } else if text.ends_with(char::is_whitespace) {
        "ends with a blank"
    } else if text.starts_with(char::is_whitespace) {
        "begins with a blank"
    } else {
        return None;
    };
    Some(format!("the passphrase from {origin} {what}, which counts as a part of it"))
}

/// The first line of a file, as other tools read their password files.
pub(super) fn of_file(path: &Path) -> Result<Found, AppError> {
    let origin = format!("`{}`", path.display());
    let failed = |reason: String| AppError::Passphrase { origin: origin.clone(), reason };
    let mut bytes = Bytes::new();
    let mut file = File::open(path).map_err(|error| failed(error.to_string()))?;
    while bytes.take_from(&mut file).map_err(|error| failed(error.to_string()))? {}
    let mut outcome = found(bytes.first_line().map_err(|error| failed(error.to_string()))?, &origin)?;
    if path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o077 != 0) {
        outcome.warnings.push(format!("password file {origin} is readable by other users: run `chmod 600`"));
    }
    Ok(outcome)
}

/// Bounds of a command.
pub(super) struct Limits<'a> {
    pub timeout: Duration,
    pub cancel: &'a AtomicBool,
    /// Whether it may ask a person at the terminal, which only programs of the terminal's own group may read.
    pub is_interactive: bool,
}

/// The first line that the shell command prints.
///
/// It keeps the variables of cloud services, which it may need to fetch the passphrase; not those of this program.
pub(super) fn of_command(command: &str, limits: &Limits<'_>) -> Result<Found, AppError> {
    let origin = "the password command";
    let failed = |reason: String| AppError::Passphrase { origin: origin.to_owned(), reason };
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"DUMPVAULT_") {
            shell.env_remove(name);
        }
    }
    if !limits.is_interactive {
        shell.process_group(0);
    }
    let child = shell.spawn().map_err(|error| failed(error.to_string()))?;
    let mut running = Running { child, has_group: !limits.is_interactive, began: Instant::now() };
    let (bytes, status) = running.output(limits)?;
    if !status.success() {
        return Err(failed(format!("it failed with {status}")));
    }
    found(bytes.first_line().map_err(|_| failed("it printed no text".to_owned()))?, origin)
}

/// Bytes of a passphrase and what follows it. Wiped when dropped, and never moved to a larger place.
struct Bytes {
    bytes: Zeroizing<Vec<u8>>,
    buffer: Zeroizing<[u8; 4096]>,
}

impl Bytes {
    fn new() -> Self {
        Self { bytes: Zeroizing::new(Vec::with_capacity(BYTES_MAX)), buffer: Zeroizing::new([0; 4096]) }
    }

    /// Reads once; false at the end.
    fn take_from(&mut self, source: &mut impl Read) -> io::Result<bool> {
        let count = match source.read(self.buffer.as_mut_slice()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            read => read?,
        };
        if self.bytes.len() + count > BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "too long for a passphrase"));
        }
        self.bytes.extend_from_slice(self.buffer.get(..count).unwrap_or_default());
        Ok(count > 0)
    }

    fn first_line(&self) -> Result<String, std::str::Utf8Error> {
        Ok(std::str::from_utf8(&self.bytes)?.lines().next().unwrap_or_default().to_owned())
    }
}

/// A command that was started. Dropping it ends it.
struct Running {
    child: Child,
    has_group: bool,
    began: Instant,
}

impl Running {
    /// What it printed, and how it ended.
    fn output(&mut self, limits: &Limits<'_>) -> Result<(Bytes, ExitStatus), AppError> {
        let failed = |error: io::Error| AppError::Passphrase {
            origin: "the password command".to_owned(),
            reason: error.to_string(),
        };
        let mut bytes = Bytes::new();
        let mut pipe = self.child.stdout.take();
        loop {
            if limits.cancel.load(Ordering::SeqCst) {
                return Err(failed(io::Error::new(io::ErrorKind::Interrupted, "interrupted")));
            }
            if self.began.elapsed() >= limits.timeout {
                return Err(AppError::PasswordCommandSlow { limit: limits.timeout });
            }
            match &mut pipe {
                Some(open) => {
                    let ready = poll(&mut [PollFd::new(open, PollFlags::IN)], Some(&WATCH));
                    if ready.is_ok_and(|ready| ready > 0) && !bytes.take_from(open).map_err(failed)? {
                        pipe = None;
                    }
                }
                None => match self.child.try_wait().map_err(failed)? {
                    Some(status) => return Ok((bytes, status)),
                    None => pause(),
                },
            }
        }
    }
}

fn pause() {
    // Safe to ignore because a signal merely makes it shorter.
    let _ = poll(&mut [], Some(&WATCH));
}

impl Drop for Running {
    fn drop(&mut self) {
        // Only one that was not waited for has a number that is surely its own.
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let pid = Pid::from_child(&self.child);
        let signal = |signal| match self.has_group {
            true => kill_process_group(pid, signal),
            false => rustix::process::kill_process(pid, signal),
        };
        // Every result is safe to ignore: a program that is gone cannot be signalled and need not be.
        let _ = signal(Signal::TERM);
        let asked = Instant::now();
        while asked.elapsed() < TERM_WAIT && is_running(pid) {
            pause();
        }
        let _ = signal(Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Whether the child runs; does not reap it.
fn is_running(pid: Pid) -> bool {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    matches!(waitid(WaitId::Pid(pid), options), Ok(None))
}
