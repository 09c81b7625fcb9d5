//! What goes wrong on the way, and at the other end.

use crate::cli::{Vault, exit};
use crate::sftp_life::{Life, table};
use crate::sshd::Sshd;
use crate::stub::{Stub, Ways};
use dumpvault::storage::{ErrorKind, Put, Storage};

#[test]
fn placeholder() {
    let _ = (Vault::empty(), exit::OK, Sshd::start(), Stub::new(Ways::default()), table(1, |_| false));
    let _ = (ErrorKind::Other, Put::Created, Life::new(""));
}
