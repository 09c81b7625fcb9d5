//! What a terminal is given beyond plain text: colours where they are wanted, lines no longer than it is wide.

use std::io::IsTerminal;
use std::os::fd::AsFd;

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
    pub fn paint(self, text: &str) -> String {
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

/// Whether standard output was closed when the process began. The runtime opens the null device in its place then, for reading and writing;
/// who wants to throw the output away opens it for writing alone, or standard error with it.
pub(super) fn is_closed() -> bool {
    let stands_in = |fd: std::os::fd::BorrowedFd<'_>| {
        let is_null = rustix::fs::fstat(fd).is_ok_and(|own| {
            rustix::fs::stat("/dev/null").is_ok_and(|null| {
                own.st_rdev == null.st_rdev
                    && rustix::fs::FileType::from_raw_mode(own.st_mode).is_char_device()
            })
        });
        let flags = rustix::fs::fcntl_getfl(fd);
        is_null && flags.is_ok_and(|flags| flags & rustix::fs::OFlags::RWMODE == rustix::fs::OFlags::RDWR)
    };
    stands_in(std::io::stdout().as_fd()) && !stands_in(std::io::stderr().as_fd())
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
