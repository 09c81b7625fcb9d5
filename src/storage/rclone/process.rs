//! rclone as a child: a server behind a socket that only this user reaches, and listings.
//!
//! The server does not notice that its parent is gone. So a shell stands in between that waits for the end of its
//! input: when this program ends, however that is, the pipe closes, and the shell ends the server and removes the
//! socket.

use crate::storage::child::{self, Printed};
use crate::storage::{ErrorKind, Listed, StorageError};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use std::ffi::OsString;
use std::fs::DirBuilder;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Runs the words after the folder, and ends them with its input. Whichever ends first ends the other.
const WATCH: &str = r#"dir=$1; shift
trap 'trap "" TERM; kill -TERM 0; rm -rf -- "$dir"; exit 1' HUP
( "$@" </dev/null; kill -HUP $$ ) &
read -r _
trap '' TERM HUP; kill -TERM 0; rm -rf -- "$dir""#;

/// How long rclone may take to answer first.
const START_PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);
/// The first version whose server listens on a socket.
const VERSION_MIN: (u32, u32) = (1, 61);
/// What rclone ends with when a directory is not there.
const NOT_FOUND: i32 = 3;

/// How rclone is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Program {
    pub program: OsString,
    pub args: Vec<String>,
    /// `remote:path`.
    pub remote: String,
}

/// A server that runs.
pub(super) struct Server {
    child: Mutex<Child>,
    group: Pid,
    folder: PathBuf,
    printed: Printed,
}

impl Drop for Server {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        child.stdin.take();
        let began = Instant::now();
        while child.try_wait().is_ok_and(|ended| ended.is_none()) {
            if began.elapsed() > Duration::from_secs(2) {
                // Safe to ignore because an error says that the group is gone.
                let _ = kill_process_group(self.group, Signal::KILL);
                let _ = child.wait();
            }
            std::thread::sleep(POLL);
        }
        // Safe to ignore because the shell has removed it, unless it was killed.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Program {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(words).args(&self.args);
        child::prepare(&mut command, &[]);
        command
    }

    fn failed(&self, error: &std::io::Error) -> StorageError {
        let program = self.program.display();
        let text = match error.kind() {
            std::io::ErrorKind::NotFound => format!("`{program}` is not installed"),
            _ => format!("cannot start `{program}`: {error}"),
        };
        StorageError::permanent("reach", format!("rclone:{}", self.remote), ErrorKind::Invalid, text)
    }

    fn check_version(&self) -> Result<(), StorageError> {
        let mut command = Command::new(&self.program);
        command.arg("version");
        child::prepare(&mut command, &[]);
        let output = command.output().map_err(|error| self.failed(&error))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text.lines().next().and_then(|line| line.strip_prefix("rclone v")).unwrap_or_default();
        let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or_default());
        if (parts.next().unwrap_or_default(), parts.next().unwrap_or_default()) < VERSION_MIN {
            let what = format!("rclone {version} is too old; 1.61 is needed");
            let object = format!("rclone:{}", self.remote);
            return Err(StorageError::permanent("reach", object, ErrorKind::Invalid, what));
        }
        Ok(())
    }

    /// Starts a server, and waits until it answers.
    pub(super) fn serve(&self) -> Result<Server, StorageError> {
        self.check_version()?;
        let folder = folder().map_err(|error| self.failed(&error))?;
        let address = format!("unix://{}", folder.join("s").display());
        let mut command = Command::new("sh");
        command.args(["-c", WATCH, "sh"]).arg(&folder).arg(&self.program);
        command.args(["serve", "restic", "--addr", &address, "--b2-hard-delete"]).args(&self.args);
        command.args(["--", &self.remote]);
        child::prepare(&mut command, &[]);
        command.stdout(std::process::Stdio::null());
        let mut child = command.spawn().map_err(|error| self.failed(&error))?;
        let printed = child.stderr.take().map(Printed::of).unwrap_or_default();
        let group = Pid::from_child(&child);
        let server = Server { child: Mutex::new(child), group, folder, printed };
        let began = Instant::now();
        loop {
            if UnixStream::connect(server.socket()).is_ok() {
                return Ok(server);
            }
            if server.has_ended() || began.elapsed() > START_PATIENCE {
                let said = server.said();
                return Err(self.refused(if said.is_empty() {
                    "rclone does not start".to_owned()
                } else {
                    said
                }));
            }
            std::thread::sleep(POLL);
        }
    }

    /// rclone did not get as far as the remote, or not far with it.
    fn refused(&self, said: String) -> StorageError {
        let object = format!("rclone:{}", self.remote);
        // Its configuration, and not the network: trying again is no use.
        let is_final = ["didn't find section", "CRITICAL", "Fatal error", "unknown flag"];
        match is_final.iter().any(|words| said.contains(words)) {
            true => StorageError::permanent("reach", object, ErrorKind::Invalid, said),
            false => StorageError {
                retryable: true,
                ..StorageError::permanent("reach", object, ErrorKind::Unreachable, said)
            },
        }
    }

    /// Calls `each` for every file below `folder` of the remote. False when there is no such folder.
    pub(super) fn list(&self, folder: &str, each: &mut dyn FnMut(Listed)) -> Result<bool, StorageError> {
        let place = match folder.is_empty() {
            true => self.remote.clone(),
            false => join(&self.remote, folder),
        };
        let words = ["lsjson", "-R", "--files-only", "--no-mimetype", "--hash=false", "--use-server-modtime"];
        let mut command = self.command(&words);
        command.args(["--", &place]).stdin(std::process::Stdio::null());
        let mut child = command.spawn().map_err(|error| self.failed(&error))?;
        let printed = child.stderr.take().map(Printed::of).unwrap_or_default();
        let output = child.stdout.take().map(BufReader::new);
        let mut broken = None;
        for line in output.into_iter().flat_map(BufRead::lines) {
            let line = match line {
                Ok(line) => line,
                Err(error) => {
                    broken = Some(error.to_string());
                    break;
                }
            };
            // One object a line, with a comma between them.
            let line = line.trim().trim_end_matches(',');
            if line.is_empty() || line == "[" || line == "]" {
                continue;
            }
            let listed = serde_json::from_str::<Entry>(line).map_err(|error| error.to_string());
            match listed.and_then(|entry| entry.listed(folder).map_err(|error| error.to_string())) {
                Ok(listed) => listed.into_iter().for_each(&mut *each),
                Err(error) => broken = Some(format!("a listing that cannot be read: {error}")),
            }
        }
        let status = child.wait().map_err(|error| self.failed(&error))?;
        match (broken, status.code()) {
            (None, Some(0)) => Ok(true),
            (None, Some(NOT_FOUND)) => Ok(false),
            (broken, _) => Err(self.refused(broken.unwrap_or_else(|| essence(&printed.text())))),
        }
    }
}

/// A path below a remote.
fn join(remote: &str, folder: &str) -> String {
    match remote.ends_with([':', '/']) {
        true => format!("{remote}{folder}"),
        false => format!("{remote}/{folder}"),
    }
}

/// A file in a listing.
#[derive(Debug, Deserialize)]
struct Entry {
    #[serde(rename = "Path")]
    path: String,
    #[serde(rename = "Size")]
    size: i64,
    #[serde(rename = "ModTime")]
    modified: String,
}

impl Entry {
    /// As an object below `folder`. A file whose size nobody knows is `None`, which no object is.
    fn listed(self, folder: &str) -> Result<Option<Listed>, jiff::Error> {
        let key = if folder.is_empty() { self.path } else { format!("{folder}/{}", self.path) };
        let modified = SystemTime::from(self.modified.parse::<jiff::Timestamp>()?);
        Ok(u64::try_from(self.size).ok().map(|bytes| Listed { key, bytes, modified }))
    }
}

impl Server {
    pub(super) fn socket(&self) -> PathBuf {
        self.folder.join("s")
    }

    pub(super) fn has_ended(&self) -> bool {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        !child.try_wait().is_ok_and(|ended| ended.is_none())
    }

    /// What it said last.
    pub(super) fn said(&self) -> String {
        essence(&self.printed.text())
    }
}

/// The last line that is more than a notice, without its time.
fn essence(printed: &str) -> String {
    let says = |line: &&str| !line.is_empty() && !line.contains("NOTICE:");
    let line = printed.lines().map(str::trim).rfind(says).unwrap_or_default();
    let line = line.get(20..).filter(|_| line.starts_with("20")).unwrap_or(line);
    line.chars().filter(|letter| !letter.is_control()).take(400).collect()
}

/// A new folder that only this user may look into, with a path that is short enough for a socket.
fn folder() -> std::io::Result<PathBuf> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| std::io::Error::other(error.to_string()))?;
    let name = format!("dumpvault-{:016x}", u64::from_le_bytes(random));
    let usual = std::env::temp_dir();
    // A socket's path has 108 bytes at most.
    let above = if usual.as_os_str().len() > 60 { Path::new("/tmp") } else { usual.as_path() };
    let folder = above.join(name);
    DirBuilder::new().mode(0o700).create(&folder)?;
    Ok(folder)
}
