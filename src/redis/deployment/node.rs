//! One server of a deployment.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::redis::breaker::{Admission, Breaker, Outcome};
use crate::redis::config::Address;
use crate::redis::latency::Latencies;
use crate::redis::routing::Purpose;
use crate::redis::{Deadline, Pool};

/// A server: the connections to it, and how it has behaved.
pub struct Node {
    pool: Pool,
    breaker: Option<Breaker>,
    latencies: Latencies,
    /// The time of its last ping in nanoseconds; 0 before there was one.
    distance: AtomicU64,
}

/// The right to make one call to a node.
///
/// Dropped without being [settled](Self::settle), it counts as a call that was given up for no
/// reason of the node's.
#[derive(Debug)]
#[must_use]
pub struct Admitted {
    node: Arc<Node>,
    since: Instant,
    /// Whether the request's time was more than half gone.
    late: bool,
    /// Whether the breaker waits for the outcome.
    probe: bool,
}

impl Admitted {
    /// Takes note of how the call went, and that it ended at `ended`, or just now.
    pub fn settle(mut self, outcome: &Result<()>, ended: Option<Instant>) {
        let ended = ended.unwrap_or_else(Instant::now);
        let took = ended.saturating_duration_since(self.since);
        if outcome.is_ok() {
            self.node.latencies.record(took);
        }
        let Some(breaker) = &self.node.breaker else {
            return;
        };
        let error = outcome.as_ref().err();
        let tells_nothing = |error: &Error| match error.kind() {
            ErrorKind::Interrupted => true,
            // Whoever comes late learns little about the node by running out of time.
            ErrorKind::Timeout => self.late,
            _ => false,
        };
        if error.is_some_and(tells_nothing) {
            return;
        }
        let outcome = Outcome {
            ok: !error.is_some_and(Error::is_outage),
            elapsed: took,
        };
        breaker.record(ended, outcome, self.probe);
        self.probe = false;
    }

    /// Takes note that another server was faster: whoever probes this one has learned enough.
    pub fn beaten(mut self) {
        if let (true, Some(breaker)) = (self.probe, &self.node.breaker) {
            let outcome = Outcome {
                ok: false,
                elapsed: self.since.elapsed(),
            };
            breaker.record(Instant::now(), outcome, true);
            self.probe = false;
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let (true, Some(breaker)) = (self.probe, &self.node.breaker) {
            breaker.abandon();
        }
    }
}

impl Node {
    /// A node without connections.
    #[must_use]
    pub fn new(pool: Pool, breaker: Option<Breaker>) -> Self {
        Self {
            pool,
            breaker,
            latencies: Latencies::default(),
            distance: AtomicU64::new(0),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.pool.config().address
    }

    /// The connections to it.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// How long it has taken to answer.
    #[must_use]
    pub fn latencies(&self) -> &Latencies {
        &self.latencies
    }

    /// How long a ping takes; nothing before there was one.
    #[must_use]
    pub fn distance(&self) -> Option<Duration> {
        match self.distance.load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    /// Sets what [`distance`](Self::distance) gives.
    pub fn set_distance(&self, distance: Duration) {
        let nanos = u64::try_from(distance.as_nanos()).unwrap_or(u64::MAX);
        self.distance.store(nanos.max(1), Ordering::Relaxed);
    }

    /// Its circuit breaker, if it has one.
    #[must_use]
    pub fn breaker(&self) -> Option<&Breaker> {
        self.breaker.as_ref()
    }

    /// Whether its breaker lets calls through at the moment.
    #[must_use]
    pub fn is_open_to_calls(&self) -> bool {
        let breaker = self.breaker.as_ref();
        breaker.is_none_or(|breaker| breaker.admits(Instant::now()))
    }

    /// Asks the breaker for a call, which no write is refused, within `deadline`, which is to be [settled](Admitted::settle).
    ///
    /// # Errors
    /// [`ErrorKind::Connection`], a [refusal](Error::is_refusal), while the node is left alone.
    pub fn admit(self: &Arc<Self>, purpose: Purpose, deadline: Deadline) -> Result<Admitted> {
        let since = Instant::now();
        let breaker = self.breaker.as_ref().filter(|_| purpose == Purpose::Read);
        let probe = match breaker.map(|breaker| breaker.admit(since)) {
            None | Some(Admission::Go) => false,
            Some(Admission::Probe) => true,
            Some(Admission::Refused { .. }) => return Err(self.refusal()),
        };
        Ok(Admitted {
            node: self.clone(),
            since,
            late: deadline.is_half_gone(),
            probe,
        })
    }

    /// Why no call is made while its breaker is open.
    pub fn refusal(&self) -> Error {
        let message = format!(
            "redis at {} is left alone by the circuit breaker: too many of the last calls failed \
             or were slow",
            self.address()
        );
        Error::new(ErrorKind::Connection, message).refusal()
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}
