//! How many runs of blocks are fetched at a time.

use super::blocks::{Workspace, open_at_once};
use std::sync::{Condvar, Mutex, PoisonError};

/// Lets as many threads fetch as keep those busy that open what came: few from a disk or a server nearby, many over a
/// long wire. Each has memory of its own, and fresh memory is dear.
pub(super) struct Turns {
    state: Mutex<State>,
    free: Condvar,
}

/// Some come while as many are opened as can be.
fn width_min() -> usize {
    open_at_once() + 1
}

struct State {
    taken: usize,
    width: usize,
    /// What was used last is on top.
    spare: Vec<Workspace>,
}

impl Default for Turns {
    fn default() -> Self {
        let state = State { taken: 0, width: width_min(), spare: Vec::new() };
        Self { state: Mutex::new(state), free: Condvar::new() }
    }
}

impl Turns {
    /// Waits for leave to fetch. To be asked for before a run is chosen, so that the one wanted first is fetched first.
    pub(super) fn next(&self) -> Turn<'_> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self.free.wait_while(state, |state| state.taken >= state.width);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        state.taken += 1;
        let workspace = state.spare.pop().unwrap_or_default();
        Turn { turns: self, workspace }
    }
}

/// Leave to fetch a run and to open it, and the memory to do it in. Given back when dropped.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    pub workspace: Workspace,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.turns.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = state.width;
        state.width = match self.workspace.found_opening.take() {
            // Those that open waited for the wire. One more, of those that there are.
            Some(0) => state.width.max(state.taken + 1),
            // What came waited for those that open.
            Some(found) if found >= open_at_once() => state.width.saturating_sub(1).max(width_min()),
            _ => state.width,
        };
        state.taken -= 1;
        state.spare.push(std::mem::take(&mut self.workspace));
        let grown = state.width > before;
        drop(state);
        // Not all of those that wait: they would only go to sleep again.
        self.turns.free.notify_one();
        if grown {
            self.turns.free.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The widths as run after run comes, with as many threads under way as may be, and no more than `threads`.
    fn widths(turns: &Turns, threads: usize, found_opening: usize, runs: usize) -> Vec<usize> {
        let width = || turns.state.lock().unwrap().width;
        (0..runs)
            .map(|_| {
                let others: Vec<Turn<'_>> = (1..width().min(threads)).map(|_| turns.next()).collect();
                turns.next().workspace.found_opening = Some(found_opening);
                drop(others);
                width()
            })
            .collect()
    }

    #[test]
    fn given_a_slow_wire_then_all_that_there_are_fetch_and_given_a_fast_one_few() {
        let turns = Turns::default();
        let least = width_min();
        let threads = least + 9;
        assert_eq!(widths(&turns, threads, 1, 3), [least; 3]);
        let grown: Vec<usize> = (least + 1..=threads).collect();
        assert_eq!(widths(&turns, threads, 0, 9), grown);
        assert_eq!(
            widths(&turns, threads, 0, 3),
            [threads + 1; 3],
            "one thread waits for a turn, and no more"
        );
        assert_eq!(widths(&turns, threads, 1, 1), [threads + 1]);
        assert_eq!(widths(&turns, threads, open_at_once(), 20).last(), Some(&least));
    }

    #[test]
    fn what_was_used_last_is_used_again() {
        let turns = Turns::default();
        let (mut first, second) = (turns.next(), turns.next());
        first.workspace.found_opening = Some(1);
        drop(second);
        drop(first);
        assert_eq!(turns.state.lock().unwrap().spare.len(), 2);
        let again = turns.next();
        assert!(again.workspace.found_opening.is_none(), "what it found belongs to its last run");
    }
}
