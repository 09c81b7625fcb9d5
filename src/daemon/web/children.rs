//! Child processes that answer a question or do what somebody asked for: this program again, with `--json`. The service
//! itself opens no repository and holds no key.

use crate::base::permits::Permits;
use crate::daemon::launch::{PROGRESS_VARIABLE, Program};
use hyper::body::Bytes;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{Receiver, channel};

/// So much of an answer is read.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// So much of what was told besides.
const SAID_BYTES_MAX: u64 = 64 << 10;
/// Children that answer questions at the same time.
const AT_ONCE: u64 = 2;
/// A piece of a download.
const PIECE: usize = 256 << 10;
const LOOK: Duration = Duration::from_millis(20);

/// Starts children.
pub struct Children {
    program: Program,
    permits: Permits,
    running: Arc<Mutex<BTreeSet<i32>>>,
}

/// What a child answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Its exit code; `None` where a signal ended it.
    pub exit: Option<i32>,
    /// The report, where it is one.
    pub report: Value,
    /// What went wrong, in words.
    pub error: Option<String>,
}

/// A child that is counted as long as it is not over.
struct Counted {
    pid: i32,
    running: Arc<Mutex<BTreeSet<i32>>>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.pid);
    }
}

impl Children {
    /// Starts that program.
    pub fn new(program: Program) -> Self {
        Self { program, permits: Permits::new(AT_ONCE), running: Arc::default() }
    }

    fn command(&self, words: &[String]) -> Command {
        let mut command = Command::new(&self.program.path);
        command.args(&self.program.options).args(words).stdin(Stdio::null()).process_group(0);
        for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
            command.env_remove(name);
        }
        command
    }

    fn spawn(&self, mut command: Command) -> std::io::Result<(Child, Counted)> {
        let child = command.spawn()?;
        let pid = Pid::from_child(&child).as_raw_nonzero().get();
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(pid);
        Ok((child, Counted { pid, running: Arc::clone(&self.running) }))
    }

    /// Asks all that run to stop.
    pub fn stop(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).clone();
        running.into_iter().for_each(end);
    }

    /// Runs a command to its end. One that answers questions waits until few others do.
    pub fn ask(&self, words: &[&str], limit: Duration) -> Answer {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let _permit = self.permits.one();
        self.run(&words, limit, None)
    }

    /// Runs a command to its end, however many others run. It writes into `progress` how far it is.
    pub fn run(&self, words: &[String], limit: Duration, progress: Option<&std::path::Path>) -> Answer {
        let failed = |error: String| Answer { exit: None, report: Value::Null, error: Some(error) };
        let mut command = self.command(words);
        command.arg("--json").stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(progress) = progress {
            command.env(PROGRESS_VARIABLE, progress);
        }
        let (mut child, counted) = match self.spawn(command) {
            Ok(started) => started,
            Err(error) => return failed(format!("cannot be started: {error}")),
        };
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let (out, said) = std::thread::scope(|scope| {
            let out = scope.spawn(|| read(out, ANSWER_BYTES_MAX));
            let said = scope.spawn(|| read(err, SAID_BYTES_MAX));
            let began = Instant::now();
            let mut is_asked = false;
            while !(out.is_finished() && said.is_finished()) {
                if began.elapsed() > limit && !std::mem::replace(&mut is_asked, true) {
                    end(counted.pid);
                }
                std::thread::sleep(LOOK);
            }
            (out.join().unwrap_or_default(), said.join().unwrap_or_default())
        });
        let exit = child.wait().ok().and_then(|status| status.code());
        drop(counted);
        let report: Value = serde_json::from_slice(&out).unwrap_or(Value::Null);
        let error = match exit {
            Some(0) => None,
            _ => Some(why(&report, &said, exit)),
        };
        Answer { exit, report, error }
    }

    /// Runs a command whose output is handed on, `bytes` of it after the first `skip`. If it ends otherwise, the last
    /// piece is an error. `told` hears how many bytes went, and whether all is well.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn pipe(
        &self,
        words: &[String],
        (skip, bytes): (u64, u64),
        told: impl FnOnce(u64, Option<String>) + Send + 'static,
    ) -> std::io::Result<Receiver<std::io::Result<Bytes>>> {
        let mut command = self.command(words);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let (mut child, counted) = self.spawn(command)?;
        let (send, receive) = channel(4);
        let out = child.stdout.take();
        std::thread::Builder::new().name("download".to_owned()).spawn(move || {
            let outcome = hand_on(out, skip, bytes, &send);
            let wrong = match &outcome {
                Ok(_) => None,
                Err((_, error)) => Some(error.to_string()),
            };
            if wrong.is_some() {
                end(counted.pid);
            }
            let status = child.wait();
            let status = status.ok().filter(|status| status.success() || skip > 0 || wrong.is_some());
            let wrong = wrong.or_else(|| status.is_none().then(|| "the command failed".to_owned()));
            if let Some(error) = &wrong {
                // Safe to ignore: whoever went away needs no word of it.
                let _ = send.blocking_send(Err(std::io::Error::other(error.clone())));
            }
            drop(counted);
            let sent = match outcome {
                Ok(sent) | Err((sent, _)) => sent,
            };
            told(sent, wrong);
        })?;
        Ok(receive)
    }
}

type Sender = tokio::sync::mpsc::Sender<std::io::Result<Bytes>>;

/// Hands bytes on. The last piece is kept back until the whole is there.
fn hand_on(
    out: Option<impl Read>,
    skip: u64,
    bytes: u64,
    send: &Sender,
) -> Result<u64, (u64, std::io::Error)> {
    let Some(mut out) = out else { return Ok(0) };
    let skipped =
        std::io::copy(&mut (&mut out).take(skip), &mut std::io::sink()).map_err(|error| (0, error))?;
    if skipped < skip {
        return Err((0, std::io::ErrorKind::UnexpectedEof.into()));
    }
    let mut sent = 0;
    let mut piece = vec![0; PIECE];
    while sent < bytes {
        let most = usize::try_from(bytes - sent).unwrap_or(PIECE).min(PIECE);
        let read = out.read(piece.get_mut(..most).unwrap_or_default()).map_err(|error| (sent, error))?;
        if read == 0 {
            return Err((sent, std::io::ErrorKind::UnexpectedEof.into()));
        }
        let part = Bytes::copy_from_slice(piece.get(..read).unwrap_or_default());
        send.blocking_send(Ok(part)).map_err(|_| (sent, std::io::ErrorKind::BrokenPipe.into()))?;
        sent += u64::try_from(read).unwrap_or_default();
    }
    Ok(sent)
}

fn read(from: Option<impl Read>, most: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut from) = from {
        // Safe to ignore: what is cut short is no report, and that is told.
        let _ = (&mut from).take(most).read_to_end(&mut bytes);
        // What is too much is read all the same, or the child would wait for ever.
        let _ = std::io::copy(&mut from, &mut std::io::sink());
    }
    bytes
}

/// Asks a process group to end.
fn end(pid: i32) {
    if let Some(group) = Pid::from_raw(pid) {
        // Safe to ignore because a group that is gone needs no signal.
        let _ = kill_process_group(group, Signal::TERM);
    }
}

/// Why a child failed: what its report says, or the last line that it told.
fn why(report: &Value, said: &[u8], exit: Option<i32>) -> String {
    let reported = ["error", "message"].iter().find_map(|key| match report.get(key) {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Object(error)) => error.get("message").and_then(Value::as_str).map(str::to_owned),
        _ => None,
    });
    let said = String::from_utf8_lossy(said).into_owned();
    let last = said.lines().rev().find(|line| line.contains("error:")).or_else(|| said.lines().next_back());
    let words =
        reported.or_else(|| last.map(|line| line.trim_start_matches("dumpvault: error: ").to_owned()));
    words.unwrap_or_else(|| match exit {
        Some(code) => format!("exit code {code}"),
        None => "it was stopped".to_owned(),
    })
}
