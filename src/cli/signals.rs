//! Signals that end the program: it is asked to stop, so that it cleans up first.

use super::exit::Exit;
use crate::base::event::Cancel;
use signal_hook::consts::{SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU};
use signal_hook::iterator::Signals;
use std::time::{Duration, Instant};

/// Every signal that would end the program and can be caught.
const ENDING: [i32; 9] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGALRM, SIGVTALRM, SIGUSR1, SIGUSR2, SIGXCPU];

/// Those of a person who does not want to wait.
const INSISTING: [i32; 3] = [SIGINT, SIGTERM, SIGQUIT];

/// A signal that comes sooner after the first is the same wish: `timeout` and service managers signal both a program
/// and its group, a terminal that is closed does so, too.
const SAME_WISH: Duration = Duration::from_secs(1);

/// The first signal asks to stop cleanly; a later SIGINT, SIGTERM or SIGQUIT ends the process at once.
///
/// # Errors
/// When the system refuses.
pub(super) fn watch(cancel: &Cancel) -> std::io::Result<()> {
    let ignored = ignored();
    // As before: these two are obeyed even when a shell starts its background jobs with them ignored.
    let wanted: Vec<i32> =
        ENDING.into_iter().filter(|signal| [SIGINT, SIGTERM].contains(signal) || !ignored(*signal)).collect();
    for signal in &wanted {
        // Set at once, whenever the thread gets its turn.
        signal_hook::flag::register(*signal, cancel.flag())?;
    }
    let mut signals = Signals::new(&wanted)?;
    let watch = move || {
        let mut first = None;
        for signal in signals.forever() {
            let since = first.get_or_insert_with(Instant::now);
            if since.elapsed() >= SAME_WISH && INSISTING.contains(&signal) {
                std::process::exit(i32::from(Exit::Interrupted.code()));
            }
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(watch).map(drop)
}

/// Which signals whoever started the program wants ignored, as `nohup` does. None where the system does not tell.
fn ignored() -> impl Fn(i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = mask_of(&status);
    move |signal| signal > 0 && mask >> (signal - 1) & 1 == 1
}

fn mask_of(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_told_from_the_systems_mask() {
        let mask = mask_of("Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000000\n");
        assert_eq!(mask & 1, 1, "SIGHUP");
        assert_eq!(mask >> 1 & 1, 0, "SIGINT");
        assert_eq!(mask_of(""), 0);
    }
}
