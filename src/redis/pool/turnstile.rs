//! How many threads may use a connection at a time, and in which order the others follow.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::error::Result;
use crate::redis::Deadline;
use crate::redis::connection::{Interrupt, WATCH};

/// A counting semaphore that serves in the order of asking. Without the order, a thread that asks
/// again at once would pass those that are still waking up, for as long as it likes.
pub(super) struct Turnstile {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    free: usize,
    waiting: VecDeque<u64>,
    next_ticket: u64,
}

/// The right to use one connection, until it is dropped.
pub(super) struct Turn<'a>(&'a Turnstile);

impl Turnstile {
    pub fn new(places: usize) -> Self {
        Self {
            state: Mutex::new(State {
                free: places,
                waiting: VecDeque::new(),
                next_ticket: 0,
            }),
            changed: Condvar::new(),
        }
    }

    /// Waits for a turn; `None` if `deadline` came first.
    pub fn enter(&self, deadline: Deadline, interrupt: Interrupt<'_>) -> Result<Option<Turn<'_>>> {
        let mut state = self.state();
        if state.free > 0 && state.waiting.is_empty() {
            state.free -= 1;
            return Ok(Some(Turn(self)));
        }
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.waiting.push_back(ticket);
        loop {
            let left = deadline
                .instant()
                .map(|end| end.saturating_duration_since(Instant::now()));
            let wait = left.map_or(WATCH, |left| left.min(WATCH));
            (state, _) = self
                .changed
                .wait_timeout(state, wait)
                .unwrap_or_else(PoisonError::into_inner);
            if state.free > 0 && state.waiting.front() == Some(&ticket) {
                state.free -= 1;
                state.waiting.pop_front();
                self.wake(state);
                return Ok(Some(Turn(self)));
            }
            let over = deadline.instant().is_some_and(|end| end <= Instant::now());
            // Whatever `interrupt` does, it must not be done under the lock.
            drop(state);
            let verdict = interrupt();
            state = self.state();
            if over || verdict.is_err() {
                state.waiting.retain(|&other| other != ticket);
                self.wake(state);
                return verdict.map(|()| None);
            }
        }
    }

    /// Lets the waiting threads look whether it is their turn.
    fn wake(&self, state: MutexGuard<'_, State>) {
        let any = state.free > 0 && !state.waiting.is_empty();
        drop(state);
        if any {
            self.changed.notify_all();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here can be left half done by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.free += 1;
        self.0.wake(state);
    }
}
