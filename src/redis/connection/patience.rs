//! How long to wait for the server, and what to say when that has passed.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind};
use crate::redis::Deadline;
use crate::redis::config::{Address, RedisConfig};

/// How long after its time limit a call still takes in what its socket holds.
const GRACE: Duration = Duration::from_millis(1);

/// The time limits of one use of a connection.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    config: Arc<RedisConfig>,
    deadline: Deadline,
    stage: Stage,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// One limit on all of connecting: name, socket, TLS and login.
    Connecting {
        limit: Duration,
        until: Option<Instant>,
    },
    /// A limit on each silence.
    Talking { silence: Option<Duration> },
}

impl Patience {
    pub fn to_connect(config: &Arc<RedisConfig>, deadline: Deadline) -> Self {
        let limit = config.connect_timeout;
        Self {
            config: config.clone(),
            deadline,
            stage: Stage::Connecting {
                limit: limit.unwrap_or_default(),
                until: limit.and_then(|limit| Instant::now().checked_add(limit)),
            },
        }
    }

    pub fn to_talk(config: &Arc<RedisConfig>, deadline: Deadline) -> Self {
        Self {
            config: config.clone(),
            deadline,
            stage: Stage::Talking {
                silence: config.socket_timeout,
            },
        }
    }

    /// Leaves the server so much more time, which was spent on something else.
    pub fn extend(&mut self, by: Duration) {
        self.deadline = self.deadline.later(by);
    }

    pub fn address(&self) -> &Address {
        &self.config.address
    }

    /// Until when to wait for a socket that has been silent `since` then.
    pub fn until(&self, since: Instant) -> Option<Instant> {
        let stage = match self.stage {
            Stage::Connecting { until, .. } => until,
            Stage::Talking { silence } => silence.and_then(|silence| since.checked_add(silence)),
        };
        match (stage, self.deadline.instant()) {
            (Some(stage), Some(deadline)) => Some(stage.min(deadline)),
            (stage, deadline) => stage.or(deadline),
        }
    }

    /// Whether time was up at `now`, and is not even to be used for what can be done without waiting.
    pub fn is_over(&self, now: Instant) -> bool {
        self.until(now).is_some_and(|until| until + GRACE <= now)
    }

    /// The error when [`until`](Self::until) has come.
    pub fn expired(&self) -> Error {
        let over = |end: Instant| end <= Instant::now();
        if self.deadline.instant().is_some_and(over) {
            let doing = match self.stage {
                Stage::Connecting { .. } => "connecting to redis at",
                Stage::Talking { .. } => "waiting for redis at",
            };
            return self
                .deadline
                .exceeded()
                .context(format_args!("{doing} {}", self.address()));
        }
        let address = self.address();
        let message = match self.stage {
            Stage::Connecting { limit, .. } => format!(
                "redis at {address} gave no connection within {} ms (socket_connect_timeout)",
                limit.as_millis()
            ),
            Stage::Talking { silence } => format!(
                "redis at {address} sent nothing for {} ms (socket_timeout)",
                silence.unwrap_or_default().as_millis()
            ),
        };
        Error::new(ErrorKind::Timeout, message)
    }

    /// The same, to be handed through code that knows errors of I/O only.
    pub fn expired_io(&self) -> io::Error {
        io::Error::other(self.expired())
    }

    /// What `operation` gives, unless time is up before. tokio's limit looks at the operation before
    /// the clock: by itself it would let a task go on that never has to wait.
    pub async fn bound<T>(&self, operation: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let now = Instant::now();
        if self.is_over(now) {
            return Err(self.expired_io());
        }
        match self.until(now) {
            None => operation.await,
            Some(until) => tokio::time::timeout_at(until.into(), operation)
                .await
                .unwrap_or_else(|_| Err(self.expired_io())),
        }
    }

    /// The time to give to the next of `untried` addresses, so that a dead one leaves some for
    /// the others. `None` is no limit; an error means that time is up.
    pub fn share(&self, untried: usize) -> io::Result<Option<Duration>> {
        let now = Instant::now();
        let Some(until) = self.until(now) else {
            return Ok(None);
        };
        let left = until.saturating_duration_since(now);
        if left.is_zero() {
            return Err(self.expired_io());
        }
        Ok(Some(left / u32::try_from(untried.max(1)).unwrap_or(1)))
    }
}
