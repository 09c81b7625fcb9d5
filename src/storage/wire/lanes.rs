//! Executors for what is asynchronous, one for each thread that waits.
//!
//! Whoever waits for an answer drives the connection that it comes over, and nobody else: a body that comes in many
//! pieces costs no change of threads for each. Connections therefore belong to lanes, and stay open in them; a caller
//! takes the lane that was given back last.

use std::cell::Cell;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::super::retry::Backoff;
use tokio::runtime::{Builder, Runtime};

/// How soon a wait notices that it is to end, and how long a request may last then: what clears up still has to get
/// through.
const CANCEL_POLL: Duration = Duration::from_millis(250);
const CANCEL_GRACE: Duration = Duration::from_secs(3);
/// Turns of a lane before it is used.
const ROUNDS: usize = 3;

thread_local! {
    /// The lane that this thread is in.
    static CURRENT: Cell<usize> = const { Cell::new(0) };
}

/// The lane that the calling thread drives, by number; the first outside of any.
pub(crate) fn current() -> usize {
    CURRENT.get()
}

/// As many executors as there are threads that wait at a time.
#[derive(Default)]
pub(crate) struct Lanes {
    /// The one used last is on top.
    spare: Mutex<Vec<Lane>>,
    made: AtomicUsize,
}

struct Lane {
    number: usize,
    /// Gone only while it is dropped.
    runtime: Option<Runtime>,
}

impl Drop for Lane {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Connections that are kept open, and a name that is being looked up, are not waited for.
            runtime.shutdown_background();
        }
    }
}

impl Lanes {
    /// Drives `future` to its end on the calling thread.
    ///
    /// # Errors
    /// When no executor can be had: too many files are open.
    pub(crate) fn run<F: Future>(&self, future: F) -> std::io::Result<F::Output> {
        let spare = self.spare().pop();
        let lane = spare.map_or_else(|| self.another(), Ok)?;
        CURRENT.set(lane.number);
        let output = lane.runtime.as_ref().map(|runtime| {
            runtime.block_on(async {
                // Nobody drove the lane meanwhile. Connections that the server closed see it now, and not when a
                // request goes out on them: once round to hear of it, once for their tasks to act on it.
                for _ in 0..ROUNDS {
                    tokio::task::yield_now().await;
                }
                future.await
            })
        });
        self.spare().push(lane);
        output.ok_or_else(|| std::io::ErrorKind::NotConnected.into())
    }

    /// The same; not for long once everything is to stop.
    ///
    /// # Errors
    /// Why there is no outcome, in words.
    pub(crate) fn drive<T>(&self, backoff: &Backoff, future: impl Future<Output = T>) -> Result<T, String> {
        let outcome = self.run(async {
            let mut future = std::pin::pin!(future);
            let mut polls_left = CANCEL_GRACE.as_millis() / CANCEL_POLL.as_millis();
            loop {
                match tokio::time::timeout(CANCEL_POLL, future.as_mut()).await {
                    Ok(outcome) => return Ok(outcome),
                    Err(_) if !backoff.is_cancelled() => {}
                    Err(_) if polls_left > 0 => polls_left -= 1,
                    Err(_) => return Err("interrupted".to_owned()),
                }
            }
        });
        outcome.unwrap_or_else(|error| Err(error.to_string()))
    }

    fn spare(&self) -> std::sync::MutexGuard<'_, Vec<Lane>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn another(&self) -> std::io::Result<Lane> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Lane { number: self.made.fetch_add(1, Ordering::Relaxed), runtime: Some(runtime) })
    }
}
