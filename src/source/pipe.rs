//! Pipes to and from child processes: waiting with a limit, and keeping the end of what is written.

use super::LastWords;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often a silent program's time limit and the wish to cancel are looked at.
pub(super) const WATCH_INTERVAL: Duration = Duration::from_millis(150);

/// What is kept of a program's standard error.
const TAIL_BYTES_MAX: usize = 8 * 1024;

/// Capacity asked for on a data pipe: fewer turns between the two processes. Also the kernel's limit without
/// privileges.
#[cfg(target_os = "linux")]
const PIPE_BYTES: usize = 1024 * 1024;

/// What is kept of lines that tell what went wrong and were written before the last bytes.
const TELLING_BYTES_MAX: usize = 4 * 1024;

/// How much is kept of one such line.
const LINE_BYTES_MAX: usize = 512;

/// A thread that reads a pipe to its end and keeps the last bytes, so that the writer is never blocked. What went wrong
/// is kept, too, however much follows it: PostgreSQL's programs tell the error first, and then the whole statement.
///
/// Dropping it ends the thread soon, without waiting for it.
pub(super) struct Tail {
    enough: Arc<AtomicBool>,
    thread: Option<JoinHandle<Kept>>,
}

impl Tail {
    pub(super) fn follow(pipe: OwnedFd, name: &str) -> io::Result<Self> {
        let enough = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&enough);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || keep_tail(&pipe, &told))?;
        Ok(Self { enough, thread: Some(thread) })
    }

    /// What was kept. Does not wait for the pipe's end, which a process left behind may hold off for ever; what is in
    /// the pipe now is read.
    pub(super) fn end(mut self) -> LastWords {
        self.enough.store(true, Ordering::SeqCst);
        let kept = self.thread.take().and_then(|thread| thread.join().ok());
        LastWords::new(&kept.unwrap_or_default().text())
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.enough.store(true, Ordering::SeqCst);
    }
}

/// What is kept of a pipe.
#[derive(Default)]
struct Kept {
    /// Telling lines that are not among the last bytes any more.
    telling: Vec<u8>,
    /// The line that is being cut off, as far as it was cut off.
    cut: Vec<u8>,
    /// One byte more than is shown tells whether anything was cut.
    last: VecDeque<u8>,
}

impl Kept {
    fn push(&mut self, bytes: &[u8]) {
        self.last.extend(bytes);
        let surplus = self.last.len().saturating_sub(TAIL_BYTES_MAX + 1);
        for byte in self.last.drain(..surplus) {
            if byte != b'\n' {
                if self.cut.len() < LINE_BYTES_MAX {
                    self.cut.push(byte);
                }
                continue;
            }
            keep_if_telling(&mut self.telling, &self.cut);
            self.cut.clear();
        }
    }

    /// Telling lines, then the last ones.
    fn text(mut self) -> String {
        // A line whose end is still among the last bytes loses its beginning there.
        let is_cut = self.last.len() > TAIL_BYTES_MAX;
        if is_cut {
            keep_if_telling(&mut self.telling, &self.cut);
        }
        let last = whole_lines(self.last.make_contiguous());
        match self.telling.is_empty() {
            true => last,
            false => format!("{}…\n{last}", String::from_utf8_lossy(&self.telling)),
        }
    }
}

fn keep_if_telling(telling: &mut Vec<u8>, line: &[u8]) {
    let is_telling = super::is_telling(&String::from_utf8_lossy(line));
    if is_telling && telling.len() + line.len() < TELLING_BYTES_MAX {
        telling.extend_from_slice(line);
        telling.push(b'\n');
    }
}

fn keep_tail(pipe: &OwnedFd, enough: &AtomicBool) -> Kept {
    let mut kept = Kept::default();
    let mut buffer = [0u8; TAIL_BYTES_MAX];
    // After `enough`, at most what a full pipe may hold is read: a process left behind might write for ever.
    let mut reads_left = 1024 * 1024 / TAIL_BYTES_MAX;
    loop {
        // The flag is read before the poll: what was written before it was set is then in the pipe.
        let stopping = enough.load(Ordering::SeqCst);
        if stopping {
            reads_left = reads_left.saturating_sub(1);
        }
        let patience = if stopping { Duration::ZERO } else { WATCH_INTERVAL };
        match ready(pipe, PollFlags::IN, patience) {
            Ok(false) if stopping => return kept,
            Ok(false) => continue,
            Ok(true) if stopping && reads_left == 0 => return kept,
            Ok(true) => {}
            Err(_) => return kept,
        }
        match rustix::io::read(pipe, &mut buffer[..]) {
            // An error here costs the last words only; the exit status still tells.
            Ok(0) | Err(_) => return kept,
            Ok(count) => kept.push(buffer.get(..count).unwrap_or_default()),
        }
    }
}

/// The last [`TAIL_BYTES_MAX`] bytes as text, without the first line where that was cut.
fn whole_lines(kept: &[u8]) -> String {
    let mut shown = kept;
    if kept.len() > TAIL_BYTES_MAX {
        let first_line_bytes = kept.iter().position(|byte| *byte == b'\n').map_or(1, |at| at + 1);
        shown = kept.get(first_line_bytes..).filter(|rest| !rest.is_empty()).unwrap_or(kept);
    }
    String::from_utf8_lossy(shown).into_owned()
}

/// Waits at most `patience` until one of `wanted` (or an error, or a hang-up) holds for the pipe. A signal ends the
/// wait early.
pub(super) fn ready(pipe: impl AsFd, wanted: PollFlags, patience: Duration) -> io::Result<bool> {
    Ok(!conditions(pipe, wanted, patience)?.is_empty())
}

/// Like [`ready`], and says what holds.
pub(super) fn conditions(pipe: impl AsFd, wanted: PollFlags, patience: Duration) -> io::Result<PollFlags> {
    let mut polled = [PollFd::new(&pipe, wanted)];
    let timeout = Timespec::try_from(patience).map_err(io::Error::other)?;
    match poll(&mut polled, Some(&timeout)) {
        Ok(_) => Ok(polled[0].revents()),
        Err(Errno::INTR) => Ok(PollFlags::empty()),
        Err(errno) => Err(errno.into()),
    }
}

/// Asks for a large pipe. Being refused costs speed only.
pub(super) fn widen(pipe: impl AsFd) {
    #[cfg(target_os = "linux")]
    {
        // Safe to ignore: an unprivileged user over the pipe quota keeps the default of 64 KiB.
        let _ = rustix::pipe::fcntl_setpipe_size(pipe, PIPE_BYTES);
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = pipe;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_kept_however_long_the_statement_behind_it_is() {
        let mut kept = Kept::default();
        kept.push(b"pg_restore: connecting\npg_restore: error: could not execute query: ERROR:  no such ");
        kept.push(b"function\nHINT:  Add type casts.\nCommand was: CREATE TABLE t (\n");
        for at in 0..3000 {
            kept.push(format!("  c{at} integer,\n").as_bytes());
        }
        kept.push(b");\n");
        let text = kept.text();
        assert!(
            text.starts_with("pg_restore: error: could not execute query: ERROR:  no such function\nHINT:")
        );
        assert!(text.ends_with(");\n") && text.len() < TAIL_BYTES_MAX + TELLING_BYTES_MAX + 8);

        let mut kept = Kept::default();
        kept.push(format!("ERROR:  syntax error near {}\n", "x".repeat(20_000)).as_bytes());
        assert!(kept.text().starts_with("ERROR:  syntax error near x"));
    }

    #[test]
    fn a_tail_that_was_cut_begins_with_a_whole_line() {
        let mut text = vec![b'x'; 100];
        text.push(b'\n');
        text.resize(TAIL_BYTES_MAX + 1, b'y');
        assert!(whole_lines(&text).bytes().all(|byte| byte == b'y'));
        assert_eq!(whole_lines(b"short\nand whole\n"), "short\nand whole\n");
        // One endless line is shown cut rather than not at all.
        assert_eq!(whole_lines(&[b'z'; TAIL_BYTES_MAX + 1]).len(), TAIL_BYTES_MAX);
    }
}
