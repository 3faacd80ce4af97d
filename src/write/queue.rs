//! A bounded queue between the thread that encodes and the one that writes.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::Result;
use crate::redis::connection::Interrupt;

/// How often a thread that waits for room looks up.
const WATCH: Duration = Duration::from_millis(50);

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    closed: bool,
}

/// A queue with room for a few items.
#[derive(Debug)]
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    room: usize,
}

impl<T> Queue<T> {
    pub fn new(room: usize) -> Self {
        Self {
            state: Mutex::new(State {
                items: VecDeque::with_capacity(room),
                closed: false,
            }),
            changed: Condvar::new(),
            room,
        }
    }

    /// Adds an item once there is room; gives it back if the queue is closed.
    pub fn push(&self, item: T, interrupt: Interrupt<'_>) -> Result<Option<T>> {
        let mut state = self.lock();
        while state.items.len() >= self.room && !state.closed {
            let waited = self.changed.wait_timeout(state, WATCH);
            let (woken, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = woken;
            if timeout.timed_out() {
                drop(state);
                interrupt()?;
                state = self.lock();
            }
        }
        if state.closed {
            return Ok(Some(item));
        }
        state.items.push_back(item);
        self.changed.notify_all();
        Ok(None)
    }

    /// The next item, waited for; `None` once the queue is closed and empty.
    pub fn pop(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if let Some(item) = state.items.pop_front() {
                self.changed.notify_all();
                return Some(item);
            }
            if state.closed {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets no more items in; those that are there can still be taken.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Lets no more items in and drops those that are there.
    pub fn discard(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.items.clear();
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
