//! What went wrong, and what that means to whoever asked: what a server answers, and what `ssh` says when it ends.

use super::packets::{Malformed, Status};
use crate::storage::{ErrorKind, StorageError};

/// A failure before it is known of which object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The server answered, and refused.
    Refused(Status, String),
    /// Anything else.
    Other { kind: ErrorKind, retryable: bool, text: String },
}

impl Trouble {
    pub(super) fn permanent(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self::Other { kind, retryable: false, text: text.into() }
    }

    pub(super) fn passing(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self::Other { kind, retryable: true, text: text.into() }
    }

    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Refused(Status::Missing, _))
    }

    pub(super) fn is_permanent(&self) -> bool {
        matches!(self, Self::Other { retryable: false, .. })
    }

    /// The same, of an object.
    pub(super) fn of(self, operation: &'static str, object: String) -> StorageError {
        let (kind, retryable, text) = match self {
            Self::Other { kind, retryable, text } => (kind, retryable, text),
            Self::Refused(status, words) => {
                let (kind, retryable) = match status {
                    Status::Missing => (ErrorKind::NotFound, false),
                    Status::Denied => (ErrorKind::Denied, false),
                    Status::Lost => (ErrorKind::Other, true),
                    // Quotas that have numbers of their own in later versions, which some servers send all the same.
                    Status::Other(14 | 15) => (ErrorKind::NoSpace, false),
                    _ => (ErrorKind::Other, false),
                };
                let said = if words.is_empty() { "no reason given".to_owned() } else { words };
                (kind, retryable, format!("the server says `{said}`"))
            }
        };
        StorageError { operation, object, kind, retryable, wait: None, source: text.into() }
    }
}

impl From<Malformed> for Trouble {
    fn from(error: Malformed) -> Self {
        Self::permanent(ErrorKind::Other, error.to_string())
    }
}

/// Words of `ssh` after which trying again is no use, what they mean, and what to do.
const FINAL: [(&str, ErrorKind, &str); 15] = [
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        ErrorKind::Denied,
        "the host has another key than the one in known_hosts; find out why before you replace it",
    ),
    (
        "Host key verification failed",
        ErrorKind::Denied,
        "the host's key is not in known_hosts; connect once with ssh and compare the fingerprint, or add it with ssh-keyscan",
    ),
    (
        "Permission denied (",
        ErrorKind::Denied,
        "the server accepts none of the keys; ssh may not ask for a passphrase here: use a key without one, or an agent",
    ),
    ("Too many authentication failures", ErrorKind::Denied, "name one key with [sftp] identity"),
    ("No supported authentication methods", ErrorKind::Denied, "the server accepts none of the keys"),
    ("Unable to negotiate", ErrorKind::Denied, "ssh and the server have no algorithm in common"),
    ("bad permissions", ErrorKind::Denied, "others can read the private key: chmod 600"),
    ("Bad owner or permissions", ErrorKind::Invalid, "repair the permissions of ssh's configuration"),
    ("Bad configuration option", ErrorKind::Invalid, "repair ssh's configuration"),
    ("terminating, ", ErrorKind::Invalid, "repair ssh's configuration"),
    ("Bad port", ErrorKind::Invalid, "check the port"),
    ("hostname contains invalid characters", ErrorKind::Invalid, "check the host's name"),
    ("usage: ssh", ErrorKind::Invalid, "this ssh does not know an option"),
    ("subsystem request failed", ErrorKind::Invalid, "the server offers no SFTP to this account"),
    ("This service allows sftp connections only", ErrorKind::Invalid, "the server started no SFTP"),
];

/// What it means that the program ended: what it printed last, its exit code, and whether the server had said that it
/// speaks SFTP.
pub(super) fn ended(printed: &str, code: Option<i32>, was_reached: bool) -> Trouble {
    let said = essence(printed);
    for (words, kind, meaning) in FINAL {
        if printed.contains(words) {
            return Trouble::permanent(kind, format!("{meaning} (ssh: {said})"));
        }
    }
    let code = code.map_or_else(|| "was killed".to_owned(), |code| format!("ended with exit code {code}"));
    let text = match said.is_empty() {
        true => format!("ssh {code}"),
        false => format!("ssh: {said}"),
    };
    let kind = if was_reached { ErrorKind::Other } else { ErrorKind::Unreachable };
    Trouble::passing(kind, text)
}

/// The last line that says something, without what ssh frames warnings with.
fn essence(printed: &str) -> String {
    let says =
        |line: &&str| !line.is_empty() && !line.starts_with('@') && !line.starts_with("Warning: Permanently");
    let line = printed.lines().map(str::trim).rfind(says).unwrap_or_default();
    line.chars().filter(|letter| !letter.is_control()).take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_what_ssh_prints_then_it_is_told_whether_trying_again_helps() {
        let kind = |printed: &str, reached| match ended(printed, Some(255), reached) {
            Trouble::Other { kind, retryable, text } => (kind, retryable, text),
            Trouble::Refused(..) => panic!("{printed}"),
        };
        for (printed, expected) in [
            ("root@h: Permission denied (publickey).\r\n", ErrorKind::Denied),
            ("No ED25519 host key is known for h.\r\nHost key verification failed.\r\n", ErrorKind::Denied),
            (
                "@@@@\n@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n@@@@\nHost key verification failed.",
                ErrorKind::Denied,
            ),
            ("subsystem request failed on channel 0\r\n", ErrorKind::Invalid),
            (
                "/x: line 1: Bad configuration option: foo\n/x: terminating, 1 bad configuration options",
                ErrorKind::Invalid,
            ),
        ] {
            let (kind, retryable, _) = kind(printed, false);
            assert_eq!((kind, retryable), (expected, false), "{printed}");
        }
        for printed in [
            "ssh: connect to host h port 22: Connection refused",
            "ssh: Could not resolve hostname h",
            "Connection closed by 1.2.3.4 port 22",
            "",
        ] {
            assert_eq!(kind(printed, false).0, ErrorKind::Unreachable);
            let (kind, retryable, _) = kind(printed, true);
            assert_eq!((kind, retryable), (ErrorKind::Other, true));
        }
        assert!(kind("a\nclient_loop: send disconnect: Broken pipe\r\n", true).2.ends_with("Broken pipe"));
    }

    #[test]
    fn given_a_status_then_its_kind_is_known() {
        let kind = |status| Trouble::Refused(status, "x".to_owned()).of("read", "a".to_owned());
        assert_eq!(kind(Status::Missing).kind, ErrorKind::NotFound);
        assert_eq!(kind(Status::Denied).kind, ErrorKind::Denied);
        assert_eq!(kind(Status::Other(15)).kind, ErrorKind::NoSpace);
        assert!(kind(Status::Lost).retryable && !kind(Status::Failed).retryable);
        assert_eq!(kind(Status::Failed).to_string(), "cannot read `a`: the server says `x`");
    }
}
