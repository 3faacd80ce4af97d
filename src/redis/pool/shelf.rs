//! Idle connections, and the count of all.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::{Counts, TRUSTED};

/// Where connections wait for the next request; the one used last is taken first, so that the
/// surplus of a busy hour stays untouched at the bottom.
pub(super) struct Shelf<C> {
    idle: Mutex<Vec<Idle<C>>>,
    open: Counter,
}

struct Idle<C> {
    connection: Open<C>,
    since: Instant,
}

/// A connection that is counted as open until it is dropped, wherever that happens.
pub(super) struct Open<C> {
    pub connection: C,
    _counted: Counted,
}

struct Counted(Arc<AtomicUsize>);

/// How many connections are open.
#[derive(Clone, Default)]
pub(super) struct Counter(Arc<AtomicUsize>);

impl Counter {
    /// Counts a new connection in.
    pub fn count<C>(&self, connection: C) -> Open<C> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Open {
            connection,
            _counted: Counted(self.0.clone()),
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<C> Default for Shelf<C> {
    fn default() -> Self {
        Self {
            idle: Mutex::default(),
            open: Counter::default(),
        }
    }
}

impl<C> Shelf<C> {
    /// The connection used last that isn't dead, if one is idle. `is_stale` is asked outside the
    /// lock.
    pub fn take(&self, is_stale: impl Fn(&C) -> bool) -> Option<Open<C>> {
        loop {
            let Idle { connection, since } = self.idle().pop()?;
            if since.elapsed() < TRUSTED || !is_stale(&connection.connection) {
                return Some(connection);
            }
        }
    }

    /// What counts the connections, wherever they are.
    pub fn counter(&self) -> &Counter {
        &self.open
    }

    /// Counts a new connection in.
    pub fn count(&self, connection: C) -> Open<C> {
        self.open.count(connection)
    }

    /// Keeps a connection for the next request.
    pub fn put(&self, connection: Open<C>) {
        let since = Instant::now();
        self.idle().push(Idle { connection, since });
    }

    /// Closes all idle connections.
    pub fn clear(&self) {
        let idle = std::mem::take(&mut *self.idle());
        drop(idle);
    }

    pub fn counts(&self) -> Counts {
        Counts {
            idle: self.idle().len(),
            open: self.open.0.load(Ordering::Relaxed),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle<C>>> {
        // Nothing in here can be left half done by a panic.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
