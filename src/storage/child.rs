//! What all programs have in common that carry a storage: they get no secrets of this program, and the end of what they
//! print is kept.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::{ChildStderr, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

/// What is kept of what a program prints.
const PRINTED_BYTES_MAX: usize = 4096;

/// Prepares a program: a process group of its own, so that an interrupt at the terminal does not reach it, and nothing
/// in its environment that only this program has to know. `secret` are beginnings of further names that it does not
/// get.
pub(super) fn prepare(command: &mut Command, secret: &[&str]) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    for (name, _) in std::env::vars_os() {
        let bytes = name.as_encoded_bytes();
        if ["DUMPVAULT_", "PGPASS"].iter().chain(secret).any(|word| bytes.starts_with(word.as_bytes())) {
            command.env_remove(name);
        }
    }
}

/// The end of what a program prints, gathered while it runs.
#[derive(Clone, Default)]
pub(super) struct Printed(Arc<Mutex<(Vec<u8>, bool)>>);

impl Printed {
    /// Gathers until the program closes its end.
    pub(super) fn of(mut from: ChildStderr) -> Self {
        let printed = Self::default();
        let own = printed.clone();
        // Without a thread nothing is known of why the program fails; that it fails is told all the same.
        let _ = std::thread::Builder::new().name("printed".to_owned()).spawn(move || {
            let mut buffer = [0; 1024];
            loop {
                let count = from.read(&mut buffer).unwrap_or_default();
                let mut kept = own.0.lock().unwrap_or_else(PoisonError::into_inner);
                if count == 0 {
                    kept.1 = true;
                    return;
                }
                kept.0.extend_from_slice(buffer.get(..count).unwrap_or_default());
                let over = kept.0.len().saturating_sub(PRINTED_BYTES_MAX);
                kept.0.drain(..over);
            }
        });
        printed
    }

    /// Whether nothing more will come.
    #[cfg(feature = "sftp")]
    pub(super) fn has_ended(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    /// What came so far.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner).0).into_owned()
    }
}
