//! Questions to a person.

use std::io::{IsTerminal, Write};

/// Asks for a passphrase without showing it; `None` when there is nobody to ask.
pub(super) fn ask(question: &str) -> Option<std::io::Result<String>> {
    let somebody = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    somebody.then(|| rpassword::prompt_password(question))
}

/// Asks a yes-or-no question; anything but `yes` is no. Without anybody to ask, the answer is `None`.
pub(super) fn confirm(question: &str) -> Option<bool> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return None;
    }
    let mut stderr = std::io::stderr().lock();
    // Safe to ignore because a question that cannot be shown gets no `yes`.
    let _ = write!(stderr, "{question} Type `yes` to go on: ");
    let _ = stderr.flush();
    let mut answer = String::new();
    Some(std::io::stdin().read_line(&mut answer).is_ok() && answer.trim() == "yes")
}
