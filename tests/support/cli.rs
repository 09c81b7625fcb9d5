//! The program as a person runs it: a real process, a real repository, nothing of the person's own environment.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::reports::Promise;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tempfile::TempDir;

/// Longer than anything takes here that does not hang, however busy the machine.
pub const HANGS: Duration = Duration::from_secs(120);

/// The passphrase of [`Vault::with_passphrase`]: unmistakable where it must not turn up.
pub const PASSPHRASE: &str = "xyzzy-unmistakable-passphrase";

/// Exit codes as the manual has them.
pub mod exit {
    pub const OK: i32 = 0;
    pub const PART_FAILED: i32 = 1;
    pub const NOTHING_DONE: i32 = 2;
    pub const USAGE: i32 = 3;
    pub const INTEGRITY: i32 = 4;
    pub const CONFLICT: i32 = 5;
    pub const REFUSED: i32 = 6;
    pub const TARGET: i32 = 7;
    pub const NO_REPOSITORY: i32 = 10;
    pub const WRONG_KEY: i32 = 12;
    pub const INTERRUPTED: i32 = 130;
    pub const READER_GONE: i32 = 141;
}

/// A home of its own for the program: repository, key file, cache, state. Gone when dropped.
pub struct Vault {
    home: TempDir,
    cache: PathBuf,
    secret: Secret,
}

#[derive(Clone, Copy, PartialEq)]
enum Secret {
    KeyFile,
    Passphrase,
    None,
}

impl Vault {
    /// With a repository that a key file opens. A passphrase costs a fifth of a second at every opening, by design.
    pub fn new() -> Self {
        let vault = Self::bare(Secret::KeyFile);
        let key = vault.key_file();
        vault.run(["init", "--key-file", key.to_str().unwrap()]).expect(exit::OK);
        vault
    }

    /// With a repository that [`PASSPHRASE`] opens.
    pub fn with_passphrase() -> Self {
        let vault = Self::bare(Secret::Passphrase);
        vault.run(["init"]).expect(exit::OK);
        vault
    }

    /// Without a repository, and without a secret in the environment.
    pub fn empty() -> Self {
        Self::bare(Secret::None)
    }

    fn bare(secret: Secret) -> Self {
        // Configuration files that a group may write to are refused.
        rustix::process::umask(Mode::WGRP | Mode::WOTH);
        let home = tempfile::Builder::new().prefix("dv-cli-").tempdir().unwrap();
        fs::create_dir(home.path().join("work")).unwrap();
        let cache = home.path().join("cache");
        Self { home, cache, secret }
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    pub fn repo(&self) -> PathBuf {
        self.home.path().join("repo")
    }

    pub fn key_file(&self) -> PathBuf {
        self.home.path().join("key")
    }

    /// Where the program runs.
    pub fn work(&self) -> PathBuf {
        self.home.path().join("work")
    }

    /// The cache directory in use; the program's own is `dumpvault` below it.
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    pub fn state(&self) -> PathBuf {
        self.home.path().join("state")
    }

    /// From now on another, empty cache.
    pub fn forget_cache(&mut self) {
        self.cache = tempfile::Builder::new().prefix("cache-").tempdir_in(self.home()).unwrap().keep();
    }

    /// From now on this host has never seen the repository.
    pub fn forget_state(&self) {
        if self.state().exists() {
            std::fs::remove_dir_all(self.state()).unwrap();
        }
    }

    /// The program with these arguments, in this home. Standard input is empty.
    pub fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        // Figures are of the program as it is shipped, which is another build.
        let other = std::env::var_os("DUMPVAULT_TEST_PROGRAM");
        let mut command = Command::new(other.unwrap_or_else(|| env!("CARGO_BIN_EXE_dumpvault").into()));
        command.args(args);
        self.surround(&mut command);
        command
    }

    /// A shell script in which `$dumpvault` is the program.
    pub fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        self.surround(&mut command);
        command.env("dumpvault", env!("CARGO_BIN_EXE_dumpvault"));
        command
    }

    fn surround(&self, command: &mut Command) {
        command.env_clear();
        for name in ["PATH", "LLVM_PROFILE_FILE"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .env("HOME", self.home())
            .env("TZ", "UTC")
            .env("LC_ALL", "C")
            .env("XDG_CACHE_HOME", &self.cache)
            .env("XDG_STATE_HOME", self.state())
            .env("XDG_CONFIG_HOME", self.home().join("config"))
            .env("DUMPVAULT_REPOSITORY", self.repo())
            .current_dir(self.work())
            .stdin(Stdio::null());
        match self.secret {
            Secret::KeyFile => command.env("DUMPVAULT_KEY_FILE", self.key_file()),
            Secret::Passphrase => command.env("DUMPVAULT_PASSWORD", PASSPHRASE),
            Secret::None => command,
        };
    }

    /// Runs the program to its end.
    pub fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Output {
        run(self.command(args), b"")
    }

    /// Runs the program to its end with `stdin` as its standard input.
    pub fn run_with<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>, stdin: &[u8]) -> Output {
        run(self.command(args), stdin)
    }

    /// Backs `bytes` up; the new snapshot's id.
    pub fn backup(&self, series: &str, bytes: &[u8]) -> String {
        self.backup_with(series, bytes, &[])
    }

    /// The same with more options.
    pub fn backup_with(&self, series: &str, bytes: &[u8], options: &[&str]) -> String {
        let before = self.ids();
        let args = ["backup", "--stdin", "--series", series];
        self.run_with(args.iter().chain(options), bytes).expect(exit::OK);
        let mut new = self.ids();
        new.retain(|id| !before.contains(id));
        assert_eq!(new.len(), 1, "one backup makes one snapshot");
        new.remove(0)
    }

    /// Restores to standard output.
    pub fn restore(&self, name: &str) -> Output {
        self.run(["restore", name, "--output", "-"])
    }

    /// What `snapshots --json` lists, oldest first.
    pub fn snapshots(&self) -> Vec<Value> {
        let listed = self.run(["snapshots", "--json"]).expect(exit::OK).json();
        listed["snapshots"].as_array().expect("an array of snapshots").clone()
    }

    /// Ids of all snapshots, oldest first.
    pub fn ids(&self) -> Vec<String> {
        self.snapshots().iter().map(|snapshot| text(snapshot, "id")).collect()
    }

    /// The snapshot with this id.
    pub fn snapshot(&self, id: &str) -> Value {
        let found = self.snapshots().into_iter().find(|snapshot| snapshot["id"] == id);
        found.unwrap_or_else(|| panic!("no snapshot {id}"))
    }

    /// The files below the repository, by key, sorted.
    pub fn objects(&self) -> Vec<String> {
        files_below(&self.repo())
    }

    /// The objects below a folder of the repository.
    pub fn objects_in(&self, folder: &str) -> Vec<String> {
        let prefix = format!("{folder}/");
        self.objects().into_iter().filter(|key| key.starts_with(&prefix)).collect()
    }

    /// Bytes of all objects.
    pub fn repo_bytes(&self) -> u64 {
        self.objects().iter().map(|key| fs::metadata(self.repo().join(key)).unwrap().len()).sum()
    }
}

/// How the program ended, and what it said.
#[derive(Debug)]
pub struct Output {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Output {
    /// Demands an exit code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert!(self.code == Some(code), "expected exit code {code}, got {self}");
        self
    }

    /// Demands one of several exit codes.
    #[track_caller]
    pub fn expect_one_of(self, codes: &[i32]) -> Self {
        assert!(self.code.is_some_and(|code| codes.contains(&code)), "expected one of {codes:?}, got {self}");
        self
    }

    /// Demands words in what it said to the person; upper and lower case are the same.
    #[track_caller]
    pub fn says(self, words: &str) -> Self {
        assert!(self.stderr.to_lowercase().contains(&words.to_lowercase()), "no `{words}` in {self}");
        self
    }

    /// Demands that words are not in what it said.
    #[track_caller]
    pub fn does_not_say(self, words: &str) -> Self {
        assert!(!self.stderr.to_lowercase().contains(&words.to_lowercase()), "`{words}` is in {self}");
        self
    }

    /// Standard output as text.
    #[track_caller]
    pub fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).unwrap_or_else(|_| panic!("no text: {self}"))
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self}"))
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let head = &self.stdout[..self.stdout.len().min(2000)];
        write!(
            f,
            "exit code {:?}, signal {:?}, {} bytes on stdout:\n{}\nstderr:\n{}",
            self.code,
            self.signal,
            self.stdout.len(),
            String::from_utf8_lossy(head),
            self.stderr
        )
    }
}

/// Runs a command to its end.
pub fn run(command: Command, stdin: &[u8]) -> Output {
    let mut running = Running::start(command);
    running.feed(stdin);
    running.wait()
}

/// A process under way. Its output is read all the time; it is killed when it hangs, and when dropped.
pub struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
    /// Dropped when the process has ended: then nobody may be killed any more.
    alive: Option<mpsc::Sender<()>>,
    /// What it will print.
    promise: Promise,
}

impl Running {
    /// Starts a command with a pipe to its standard input.
    pub fn start(mut command: Command) -> Self {
        let promise = Promise::of(&command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut out = child.stdout.take().unwrap();
        let mut err = child.stderr.take().unwrap();
        let pid = Pid::from_child(&child);
        let (alive, ended) = mpsc::channel::<()>();
        thread::spawn(move || {
            if ended.recv_timeout(HANGS) == Err(mpsc::RecvTimeoutError::Timeout) {
                let _ = kill_process(pid, Signal::KILL);
            }
        });
        Self {
            stdin: child.stdin.take(),
            child,
            stdout: Some(thread::spawn(move || drain(&mut out))),
            stderr: Some(thread::spawn(move || drain(&mut err))),
            alive: Some(alive),
            promise,
        }
    }

    /// Writes to its standard input; whether all of it was taken.
    pub fn feed(&mut self, bytes: &[u8]) -> bool {
        self.stdin.as_mut().expect("open").write_all(bytes).is_ok()
    }

    /// Closes its standard input.
    pub fn close(&mut self) {
        self.stdin = None;
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        // It may have ended before; it is not reaped, so that the number is still its own.
        let _ = kill_process(self.pid(), signal);
    }

    /// Closes its standard input and waits for its end.
    #[track_caller]
    pub fn wait(mut self) -> Output {
        self.close();
        self.wait_open()
    }

    /// Waits for its end, its standard input as it is: open, where nobody closed it.
    #[track_caller]
    pub fn wait_open(mut self) -> Output {
        let status = self.child.wait().unwrap();
        let hung = self.alive.take().is_some_and(|alive| alive.send(()).is_err());
        let stdout = self.stdout.take().unwrap().join().unwrap();
        let stderr = String::from_utf8_lossy(&self.stderr.take().unwrap().join().unwrap()).into_owned();
        let output = Output { code: status.code(), signal: status.signal(), stdout, stderr };
        assert!(!hung, "it hung and was killed: {output}");
        assert!(!output.stderr.contains("panicked at"), "{output}");
        self.promise.hold(output.code, &output.stdout);
        output
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn drain(from: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = from.read_to_end(&mut bytes);
    bytes
}

/// A named pipe that children hold open for writing: a reader sees the end exactly when the last of them is gone.
pub struct Lifeline {
    path: PathBuf,
    _dir: TempDir,
}

impl Lifeline {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lifeline");
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        Self { path, _dir: dir }
    }

    pub fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// Waits until somebody holds it.
    #[track_caller]
    pub fn held(self) -> Held {
        let path = self.path.clone();
        let file = within(move || File::open(path).unwrap());
        Held { file, _lifeline: self }
    }
}

/// A lifeline that was held at least once.
pub struct Held {
    file: File,
    _lifeline: Lifeline,
}

impl Held {
    /// Waits for a line.
    #[track_caller]
    pub fn line(&mut self) -> String {
        let mut file = self.file.try_clone().unwrap();
        within(move || {
            let mut line = Vec::new();
            let mut byte = [0];
            while file.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
                line.push(byte[0]);
            }
            String::from_utf8(line).unwrap()
        })
    }

    /// Waits until nobody holds it any more.
    #[track_caller]
    pub fn let_go(self) {
        let mut file = self.file;
        within(move || drain(&mut file));
    }
}

/// What `act` gives, unless it hangs.
#[track_caller]
pub fn within<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || send.send(act()));
    match receive.recv_timeout(HANGS) {
        Ok(value) => value,
        Err(error) => panic!("waited in vain: {error}"),
    }
}

/// Bytes that neither compress nor repeat, the same for the same seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new_derive_key("dumpvault tests noise")
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

/// Rows of text, as a plain dump has them.
pub fn rows(seed: u64, count: usize) -> Vec<u8> {
    let mut text = String::new();
    for row in 0..count as u64 {
        let mixed = (row ^ seed.rotate_left(17)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        text.push_str(&format!("{row}\tcustomer {row}\t{}\t2026-11-{:02}\n", mixed >> 40, mixed % 28 + 1));
    }
    text.into_bytes()
}

/// The words of `unshare` by which this user may make file systems in a mount namespace of its own; `None` where it may
/// not.
pub fn may_mount(vault: &Vault) -> Option<&'static str> {
    ["-m", "-r -m"].into_iter().find(|words| {
        run(vault.shell(&format!("unshare {words} mount -t tmpfs tmpfs .")), b"").code == Some(0)
    })
}

/// The files below a folder, by relative path, sorted.
pub fn files_below(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// Copies a folder with all that is in it.
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in files_below(from) {
        let target = to.join(&file);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(from.join(&file), target).unwrap();
    }
}

/// A text field of a JSON object.
#[track_caller]
pub fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("no text `{field}` in {value}")).to_owned()
}

/// A number field of a JSON object.
#[track_caller]
pub fn number(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap_or_else(|| panic!("no number `{field}` in {value}"))
}

/// Whether the long tests are asked for.
pub fn long() -> bool {
    std::env::var_os("DUMPVAULT_TEST_LONG").is_some()
}
