//! One server of a deployment.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::redis::Pool;
use crate::redis::breaker::{Admission, Breaker, BreakerState, Outcome};
use crate::redis::config::Address;
use crate::redis::latency::Latencies;

/// A server: the connections to it, and how it has behaved.
pub struct Node {
    pool: Pool,
    breaker: Option<Breaker>,
    latencies: Latencies,
    /// The time of its last ping in nanoseconds; 0 before there was one.
    distance: AtomicU64,
}

/// The right to make one call to a node.
#[derive(Debug)]
#[must_use]
pub struct Admitted {
    since: Instant,
    probe: bool,
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
        self.breaker.as_ref().is_none_or(|breaker| {
            !matches!(breaker.state(Instant::now()), BreakerState::Open { .. })
        })
    }

    /// Asks the breaker for a call, which is to be [recorded](Self::record).
    ///
    /// # Errors
    /// [`ErrorKind::Connection`] while the node is left alone.
    pub fn admit(&self) -> Result<Admitted> {
        let since = Instant::now();
        let probe = match self.breaker.as_ref().map(|breaker| breaker.admit(since)) {
            None | Some(Admission::Go) => false,
            Some(Admission::Probe) => true,
            Some(Admission::Refused { until }) => {
                let left = until.saturating_duration_since(since).as_millis();
                return Err(Error::new(
                    ErrorKind::Connection,
                    format!(
                        "redis at {} is left alone by the circuit breaker, for {left} ms more: too \
                         many of the last calls failed or were slow",
                        self.address()
                    ),
                ));
            }
        };
        Ok(Admitted { since, probe })
    }

    /// Takes note of how a call went.
    pub fn record(&self, admitted: &Admitted, outcome: &Result<()>) {
        let took = admitted.since.elapsed();
        let failed = matches!(outcome, Err(error) if error.is_outage());
        if outcome.is_ok() {
            self.latencies.record(took);
        }
        if let Some(breaker) = &self.breaker {
            let outcome = Outcome {
                ok: !failed,
                elapsed: took,
            };
            breaker.record(Instant::now(), outcome, admitted.probe);
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}
