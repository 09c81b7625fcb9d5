//! The dumpvault binary: parse, run, exit code.

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether standard output was closed when the process began.
static IS_STDOUT_CLOSED: AtomicBool = AtomicBool::new(false);

/// Runs before the runtime starts, which opens the null device in the place of what is closed: later nobody can tell
/// that from a parent that throws the output away.
#[ctor::ctor(unsafe)]
fn look_at_stdout() {
    let is_closed = rustix::io::fcntl_getfd(std::io::stdout()).is_err();
    IS_STDOUT_CLOSED.store(is_closed, Ordering::Relaxed);
}

fn main() -> std::process::ExitCode {
    dumpvault::cli::main(IS_STDOUT_CLOSED.load(Ordering::Relaxed))
}
