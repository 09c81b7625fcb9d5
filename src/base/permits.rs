//! Counted places that threads wait for: requests under way, blocks that are opened, bytes that are held.

use super::event::Cancel;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often a wait looks whether it was cancelled.
const LOOK: Duration = Duration::from_millis(50);

/// So many places; who comes later waits for one. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Permits(Arc<Places>);

#[derive(Debug)]
struct Places {
    all: u64,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    taken: u64,
    /// Who waits for several places: may be woken in vain, and then somebody else must be.
    wanting_several: u64,
}

/// Places that were taken; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    places: Arc<Places>,
    count: u64,
    /// How many were taken when this one was asked for.
    pub found: u64,
}

impl Permits {
    /// Of `all` places; 0 counts as 1.
    pub(crate) fn new(all: u64) -> Self {
        Self(Arc::new(Places { all: all.max(1), state: Mutex::default(), freed: Condvar::new() }))
    }

    /// How many are not taken.
    #[cfg(test)]
    pub(crate) fn free(&self) -> u64 {
        self.0.all - self.lock().taken
    }

    /// Waits for one place.
    pub(crate) fn one(&self) -> Permit {
        let state = self.lock();
        let found = state.taken;
        let state = self.0.freed.wait_while(state, |state| state.taken >= self.0.all);
        state.unwrap_or_else(PoisonError::into_inner).taken += 1;
        Permit { places: Arc::clone(&self.0), count: 1, found }
    }

    /// Waits for `count` places, or for all where there are not so many; `None` once cancelled.
    pub(crate) fn take(&self, count: u64, cancel: &Cancel) -> Option<Permit> {
        let count = count.min(self.0.all);
        let mut state = self.lock();
        let found = state.taken;
        state.wanting_several += 1;
        while state.taken + count > self.0.all && !cancel.is_cancelled() {
            let waited = self.0.freed.wait_timeout(state, LOOK);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.wanting_several -= 1;
        if state.taken + count > self.0.all {
            return None;
        }
        state.taken += count;
        Some(Permit { places: Arc::clone(&self.0), count, found })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Numbers are whole after any panic.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.places.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.taken -= self.count;
        let wake_all = self.count > 1 || state.wanting_several > 0;
        drop(state);
        if wake_all { self.places.freed.notify_all() } else { self.places.freed.notify_one() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn never_more_places_are_taken_than_there_are() {
        let permits = Permits::new(10);
        let (now, most) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for thread in 1..=8u64 {
                let (permits, now, most) = (&permits, &now, &most);
                scope.spawn(move || {
                    for round in 0..50 {
                        let count = (thread * 7 + round) % 6 + 1;
                        let permit = permits.take(count, &Cancel::new()).unwrap();
                        most.fetch_max(now.fetch_add(count, Ordering::SeqCst) + count, Ordering::SeqCst);
                        std::thread::yield_now();
                        now.fetch_sub(count, Ordering::SeqCst);
                        drop(permit);
                    }
                });
            }
        });
        assert!((1..=10).contains(&most.load(Ordering::SeqCst)), "{most:?}");
        assert_eq!(permits.take(99, &Cancel::new()).unwrap().count, 10, "more than there are means all");
    }

    #[test]
    fn who_waits_goes_away_once_cancelled() {
        let permits = Permits::new(1);
        let held = permits.one();
        let cancel = Cancel::new();
        cancel.cancel();
        assert!(permits.take(1, &cancel).is_none());
        drop(held);
        assert_eq!(permits.take(1, &cancel).unwrap().found, 0);
    }
}
