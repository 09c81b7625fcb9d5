//! What a terminal is given beyond plain text: colours where they are wanted, lines no longer than it is wide.

use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

/// A colour of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    /// Something to look at: suspect, partial.
    Yellow,
    /// Something is wrong: damaged, failed.
    Red,
    /// Something proven.
    Green,
}

impl Colour {
    /// The text in this colour.
    pub(super) fn paint(self, text: &str) -> String {
        let code = match self {
            Self::Yellow => 33,
            Self::Red => 31,
            Self::Green => 32,
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// Whether colours are wanted there: on a terminal that knows them, unless NO_COLOR says otherwise (no-color.org).
pub(super) fn wanted(stream: &impl IsTerminal) -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    stream.is_terminal() && !is_set("NO_COLOR") && !is_dumb
}

static IS_CLOSED: AtomicBool = AtomicBool::new(false);

/// Takes note that standard output was closed when the process began: the runtime has opened the null device in its
/// place.
pub(super) fn note_closed() {
    IS_CLOSED.store(true, Ordering::Relaxed);
}

/// Whether standard output was closed when the process began.
pub(super) fn is_closed() -> bool {
    IS_CLOSED.load(Ordering::Relaxed)
}

/// Columns of the terminal that standard output is; `None` where it is none, and lines may be as long as they are.
pub(super) fn columns() -> Option<usize> {
    let stdout = std::io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(stdout.as_fd()).ok()?;
    // A terminal that does not know its size says 0.
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}
