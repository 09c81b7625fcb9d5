//! When the repository is asked: at the beginning, when a run or an operation has ended, and every few minutes.

use super::known;
use super::site::Web;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often it is looked whether something ended.
const LOOK: Duration = Duration::from_secs(5);
/// The repository is asked that often at least: others may have written into it.
const EVERY_MS: i64 = 10 * 60_000;
/// Tables of so many of the newest snapshots are read beforehand, for the pictures.
const TABLES_OF: usize = 30;

/// The thread that asks.
pub struct Watcher {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Watcher {
    /// Starts it.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(web: Arc<Web>) -> std::io::Result<Self> {
        let (stop, stopped) = channel::<()>();
        let thread = std::thread::Builder::new().name("watcher".to_owned()).spawn(move || {
            // Safe to ignore: what cannot be written now is written at the next look.
            let _ = web.access(|access| access.end_what_was_left(web.now()));
            let mut seen = None;
            let mut asked = i64::MIN;
            loop {
                let mark = mark(&web);
                if mark != seen || web.now().saturating_sub(asked) > EVERY_MS {
                    (seen, asked) = (mark, web.now());
                    known::refresh(&web);
                    read_tables(&web, || matches!(stopped.try_recv(), Err(TryRecvError::Disconnected)));
                }
                if !matches!(stopped.recv_timeout(LOOK), Err(RecvTimeoutError::Timeout)) {
                    break;
                }
            }
        })?;
        Ok(Self { stop, thread })
    }

    /// Ends it.
    pub fn stop(self) {
        drop(self.stop);
        let _ = self.thread.join();
    }
}

/// What changes when something has ended.
fn mark(web: &Web) -> Option<(i64, i64)> {
    let runs = web.state(|state| state.last_end()).ok()?;
    let operations = web.access(|access| access.operations(1)).ok()?;
    let operations = operations.first().and_then(|operation| operation.ended).unwrap_or_default();
    Some((runs, operations))
}

fn read_tables(web: &Web, is_stopped: impl Fn() -> bool) {
    let listing = known::Listing::last(web).unwrap_or_default();
    for snapshot in listing.snapshots.iter().rev().take(TABLES_OF) {
        if is_stopped() {
            return;
        }
        // Safe to ignore: pictures lack that snapshot until somebody looks into it.
        let _ = known::tables(web, &snapshot.id);
    }
}
