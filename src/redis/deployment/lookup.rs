//! The known topology, and the one look-up that is under way at a time.
//!
//! Look-ups run in a thread of their own, which ends with them: whoever needs the outcome waits for
//! it as long as its own deadline allows, and however many requests find the topology outdated at
//! once, the servers are asked once.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::error::{Error, ErrorKind, Result};
use crate::redis::Deadline;
use crate::redis::connection::Interrupt;
use crate::redis::topology::Topology;

/// How often a thread that waits looks up.
const WATCH: Duration = Duration::from_millis(50);

/// Look-ups that nobody waits for are no closer together than this.
pub(super) const REST: Duration = Duration::from_millis(50);

/// The same while a server is left alone, which every request to it finds anew.
pub(super) const REST_WHILE_REFUSED: Duration = Duration::from_millis(250);

#[derive(Debug, Default)]
pub(super) struct Lookup {
    state: Mutex<State>,
    ended: Condvar,
    ended_async: Notify,
}

#[derive(Clone, Debug, Default)]
struct State {
    topology: Option<Arc<Topology>>,
    /// How many look-ups have ended.
    ended: u64,
    /// When the last one did.
    at: Option<Instant>,
    running: bool,
    /// Whether what is done afterwards is under way.
    following: bool,
    /// Why the last one failed.
    error: Option<Error>,
}

impl Lookup {
    /// The topology, if one is known, and how old it is.
    pub fn known(&self) -> Option<(Arc<Topology>, Duration)> {
        let state = self.state();
        let topology = state.topology.clone()?;
        Some((topology, state.at.map_or(Duration::MAX, |at| at.elapsed())))
    }

    /// Starts `look_up` in a thread unless one is under way; gives the number of the look-up to
    /// wait for. `afterwards` is done when nobody waits any more.
    pub fn start(
        self: &Arc<Self>,
        look_up: impl FnOnce() -> Result<Topology> + Send + 'static,
        afterwards: impl FnOnce(&Topology) + Send + 'static,
    ) -> Result<u64> {
        let mut state = self.state();
        let number = state.ended + 1;
        if state.running {
            return Ok(number);
        }
        state.running = true;
        drop(state);
        let this = self.clone();
        let thread = std::thread::Builder::new().name("feast-rs-topology".to_owned());
        let started = thread.spawn(move || {
            let ending = Ending(&this);
            let found = look_up();
            ending.with(found);
            if let Some((topology, _)) = this.known()
                && !std::mem::replace(&mut this.state().following, true)
            {
                afterwards(&topology);
                this.state().following = false;
            }
        });
        match started {
            Ok(_) => Ok(number),
            Err(cause) => {
                let error = Error::new(
                    ErrorKind::Connection,
                    format!("the thread that looks up the servers cannot be started: {cause}"),
                );
                self.end(Err(error.clone()));
                Err(error)
            }
        }
    }

    /// Whether the last look-up ended less than `rest` ago.
    pub fn is_fresh(&self, rest: Duration) -> bool {
        self.state().at.is_some_and(|at| at.elapsed() < rest)
    }

    /// Waits for the end of look-up `number`; gives the topology that is known then.
    pub fn wait(
        &self,
        number: u64,
        deadline: Deadline,
        interrupt: Interrupt<'_>,
    ) -> Result<Arc<Topology>> {
        let mut state = self.state();
        while state.ended < number {
            let left = deadline.remaining()?;
            let nap = left.map_or(WATCH, |left| left.min(WATCH));
            let woken = self.ended.wait_timeout(state, nap);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
            drop(state);
            interrupt()?;
            state = self.state();
        }
        state.outcome()
    }

    /// The same without blocking.
    pub async fn wait_async(&self, number: u64, deadline: Deadline) -> Result<Arc<Topology>> {
        loop {
            let ended = self.ended_async.notified();
            tokio::pin!(ended);
            // From here on no end is missed.
            ended.as_mut().enable();
            {
                let state = self.state();
                if state.ended >= number {
                    return state.outcome();
                }
            }
            match deadline.instant() {
                None => ended.await,
                Some(end) => tokio::time::timeout_at(end.into(), ended)
                    .await
                    .map_err(|_| deadline.exceeded())?,
            }
        }
    }

    fn end(&self, found: Result<Topology>) {
        let mut state = self.state();
        state.running = false;
        state.ended += 1;
        state.at = Some(Instant::now());
        match found {
            Ok(topology) => {
                state.error = None;
                if state.topology.as_deref() != Some(&topology) {
                    state.topology = Some(Arc::new(topology));
                }
            }
            Err(error) => state.error = Some(error),
        }
        drop(state);
        self.ended.notify_all();
        self.ended_async.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here can be left half done by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn outcome(&self) -> Result<Arc<Topology>> {
        match (&self.topology, &self.error) {
            (_, Some(error)) => Err(error.clone()),
            (Some(topology), None) => Ok(topology.clone()),
            (None, None) => Err(Error::new(ErrorKind::Connection, "no server is known")),
        }
    }
}

/// Ends the look-up even if it panics: nobody is to wait for it for ever.
struct Ending<'a>(&'a Lookup);

impl Ending<'_> {
    fn with(self, found: Result<Topology>) {
        self.0.end(found);
        std::mem::forget(self);
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let error = Error::new(ErrorKind::Connection, "looking up the servers failed");
        self.0.end(Err(error));
    }
}
