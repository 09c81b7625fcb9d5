//! Shell commands: what they get, what they print, and how long they may take.

use super::SendError;
use crate::settings::Environment;
use rustix::process::{Pid, Signal, kill_process_group};
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What is looked at of the output.
const OUTPUT_BYTES_MAX: u64 = 64 << 10;
/// How often it is looked whether the command has ended.
const LOOK: Duration = Duration::from_millis(20);

/// Runs a command and gives what it prints. It finds no secret of dumpvault in its environment.
pub(super) fn run(
    script: &str,
    input: &[u8],
    limit: Duration,
    environment: &Environment,
) -> Result<Vec<u8>, SendError> {
    let failed = |error: std::io::Error| SendError::new(format!("the command cannot be run: {error}"));
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(script).current_dir(&environment.directory).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let is_secret = |name: &str| name.starts_with("DUMPVAULT_") || name.starts_with("AWS_");
    for name in environment.variables.keys().filter(|name| name.to_str().is_none_or(is_secret)) {
        command.env_remove(name);
    }
    for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
        command.env_remove(name);
    }
    let mut child = command.spawn().map_err(failed)?;
    let group = Pid::from_child(&child);
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let began = Instant::now();
    let bytes = input.to_vec();
    // Each ends with the command's end of the pipe. A command that reads nothing is no failure.
    std::thread::spawn(move || stdin.map(|mut pipe| pipe.write_all(&bytes)));
    let output = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stdout.map(|pipe| pipe.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes));
        bytes
    });
    let status = loop {
        match child.try_wait().map_err(failed)? {
            Some(status) => break status,
            None if began.elapsed() > limit => {
                // Safe to ignore because a group that is gone needs no signal.
                let _ = kill_process_group(group, Signal::KILL);
                // Safe to ignore because it was killed.
                let _ = child.wait();
                return Err(SendError::new(format!("the command exceeded {limit:?} and was stopped")));
            }
            None => std::thread::sleep(LOOK),
        }
    };
    if !status.success() {
        return Err(SendError::new(format!("the command failed: {status}")));
    }
    Ok(output.join().unwrap_or_default())
}
