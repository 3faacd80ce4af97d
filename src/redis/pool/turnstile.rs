//! How many requests may use a connection at a time, and in which order the others follow.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::redis::connection::Bell;

/// A counting semaphore that serves in the order of asking. Without the order, a thread that asks
/// again at once would pass those that are still waking up, for as long as it likes.
pub(super) struct Turnstile(Mutex<State>);

struct State {
    free: usize,
    waiting: VecDeque<(u64, Arc<Bell>)>,
    next_ticket: u64,
}

impl State {
    /// Lets the first in the queue look whether it is its turn.
    fn call(&self) {
        if self.free > 0
            && let Some((_, bell)) = self.waiting.front()
        {
            bell.ring();
        }
    }
}

/// The right to use one connection, until it is dropped.
pub(super) struct Turn<'a>(&'a Turnstile);

/// A place in the queue, until it is dropped.
pub(super) struct Queued<'a> {
    turnstile: &'a Turnstile,
    ticket: u64,
}

impl Turnstile {
    pub fn new(places: usize) -> Self {
        Self(Mutex::new(State {
            free: places,
            waiting: VecDeque::new(),
            next_ticket: 0,
        }))
    }

    /// A turn, if nobody has to be waited for.
    pub fn enter(&self) -> Option<Turn<'_>> {
        let mut state = self.state();
        if state.free == 0 || !state.waiting.is_empty() {
            return None;
        }
        state.free -= 1;
        Some(Turn(self))
    }

    /// Joins the queue; `bell` is rung when it may be our turn.
    pub fn queue(&self, bell: &Arc<Bell>) -> Queued<'_> {
        let mut state = self.state();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.waiting.push_back((ticket, bell.clone()));
        // The last turn may have ended since it was asked for.
        state.call();
        Queued {
            turnstile: self,
            ticket,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here can be left half done by a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> Queued<'a> {
    /// A turn, if it is ours.
    pub fn turn(&self) -> Option<Turn<'a>> {
        let mut state = self.turnstile.state();
        let first = state.waiting.front()?.0;
        if state.free == 0 || first != self.ticket {
            return None;
        }
        state.free -= 1;
        state.waiting.pop_front();
        state.call();
        Some(Turn(self.turnstile))
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        let mut state = self.turnstile.state();
        if let Some(at) = state
            .waiting
            .iter()
            .position(|(ticket, _)| *ticket == self.ticket)
        {
            state.waiting.remove(at);
            state.call();
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.free += 1;
        state.call();
    }
}
