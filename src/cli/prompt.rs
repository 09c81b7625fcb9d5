//! How a person is asked: text, yes or no, a word to be typed; and when there is no terminal to ask at.

use super::clean;
use super::report::CliError;
use crate::base::event::Cancel;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io::{Error, ErrorKind, IsTerminal, Write};

/// How soon a question notices that nobody is to answer it any more.
const CANCEL_POLL: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Whether there is somebody to ask.
pub(super) fn is_answered_by_a_person() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks for a passphrase without showing it; `None` when there is nobody to ask.
pub(super) fn ask(question: &str) -> Option<std::io::Result<String>> {
    is_answered_by_a_person().then(|| rpassword::prompt_password(clean::line(question)))
}

/// Asks a yes-or-no question; anything but `yes` is no. Without anybody to ask, the answer is `None`.
///
/// # Errors
/// When somebody cancels instead of answering.
pub(super) fn confirm(question: &str, cancel: &Cancel) -> Option<std::io::Result<bool>> {
    confirm_word(question, "yes", cancel)
}

/// As [`confirm`], with another word in the place of `yes`.
///
/// # Errors
/// As [`confirm`].
pub(super) fn confirm_word(question: &str, word: &str, cancel: &Cancel) -> Option<std::io::Result<bool>> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return None;
    }
    let mut stderr = std::io::stderr().lock();
    // Safe to ignore because a question that cannot be shown gets no `yes`.
    let _ = write!(stderr, "{} Type `{word}` to continue: ", clean::line(question));
    let _ = stderr.flush();
    // A read would go on after a signal.
    let stdin = std::io::stdin();
    while !is_answered(&stdin) {
        if cancel.is_cancelled() {
            return Some(Err(Error::new(ErrorKind::Interrupted, "interrupted")));
        }
    }
    let mut answer = String::new();
    Some(Ok(stdin.read_line(&mut answer).is_ok() && answer.trim() == word))
}

/// Waits a moment for something to read, or for an error that reading tells.
fn is_answered(stdin: &std::io::Stdin) -> bool {
    let ready = poll(&mut [PollFd::new(stdin, PollFlags::IN)], Some(&CANCEL_POLL));
    !matches!(ready, Ok(0) | Err(Errno::INTR))
}

/// Asks for consent, unless it was given with an option.
///
/// # Errors
/// Without a terminal, and when somebody interrupts instead of answering.
pub(super) fn agreed(context: &super::Context, question: &str, yes: bool) -> Result<bool, CliError> {
    if yes {
        context.say(question);
        return Ok(true);
    }
    let answer = confirm(question, &context.cancel).ok_or_else(|| CliError::Refused {
        message: format!("no terminal to confirm: {question}"),
        hint: Some("use --yes".to_owned()),
    })?;
    answer.map_err(|error| CliError::usage(error.to_string()))
}
