//! Connections kept open between requests.
//!
//! A request takes the connection used last, or opens one, or, when as many are in use as
//! `redis_pool_size` allows, waits its turn; turns come in the order of asking. Blocking and
//! asynchronous connections are kept apart, each with that limit.
//!
//! A kept connection may have died meanwhile: the server was restarted, or a firewall forgot it.
//! One that was idle for more than a second is looked at first (a peek costs about a microsecond;
//! under load none is idle that long). One that still turns out dead before a byte of reply came
//! is replaced, all other idle ones are dropped, and the request is sent once more. That is safe
//! for commands that may be run twice, which all of feast-rs' are; nothing is sent again after a
//! time limit or once a reply has begun.

mod call;
mod driver;
mod flight;
mod lookout;
mod round;
mod shelf;
mod turnstile;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

pub use self::call::{Call, Via};
pub use self::driver::run_all;
use self::shelf::{Counter, Open, Shelf};
use self::turnstile::Turnstile;
use super::command::Commands;
use super::config::RedisConfig;
use super::connection::{AsyncConnection, Connection, Connector, Interrupt};
use super::deadline::Deadline;
use super::reply::ReplySink;
use crate::error::{Error, ErrorKind, Result};

/// How long a connection may be idle and still be used without a look.
const TRUSTED: Duration = Duration::from_secs(1);

/// The connections to one server. Making one does no I/O and starts no thread. Dropping it closes
/// its sockets, without a word to the server; a forked child must forget it instead of using it.
pub struct Pool {
    connector: Arc<Connector>,
    blocking: Shelf<Connection>,
    turnstile: Turnstile,
    asynchronous: Shelf<AsyncConnection>,
    permits: Semaphore,
}

/// A connection that nobody else uses. It is opened when it is first used, and closed after an
/// error.
pub struct OwnConnection {
    connector: Arc<Connector>,
    counter: Counter,
    connection: Option<Open<Connection>>,
}

impl OwnConnection {
    /// Sends `commands` and reads all replies into `sink`.
    pub fn run<S: ReplySink + ?Sized>(
        &mut self,
        commands: &Commands,
        sink: &mut S,
        interrupt: Interrupt<'_>,
    ) -> Result<()> {
        let call = Call::new(Via::Own(self), commands, sink);
        driver::run(call, Deadline::NEVER, interrupt)
    }
}

impl fmt::Debug for OwnConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnConnection").finish_non_exhaustive()
    }
}

/// How many connections there are.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// All connections, those in use included.
    pub open: usize,
    /// Those that wait for a request.
    pub idle: usize,
}

impl Pool {
    /// An empty pool.
    #[must_use]
    pub fn new(config: Arc<RedisConfig>) -> Self {
        let size = config.pool_size;
        Self {
            connector: Arc::new(Connector::new(config)),
            blocking: Shelf::default(),
            turnstile: Turnstile::new(size),
            asynchronous: Shelf::default(),
            permits: Semaphore::new(size.min(Semaphore::MAX_PERMITS)),
        }
    }

    /// What the connections are configured by.
    #[must_use]
    pub fn config(&self) -> &RedisConfig {
        self.connector.config()
    }

    /// The blocking connections.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.blocking.counts()
    }

    /// The asynchronous connections.
    #[must_use]
    pub fn async_counts(&self) -> Counts {
        self.asynchronous.counts()
    }

    /// Sends `commands` and reads all replies into `sink`, blocking this thread until `deadline`
    /// at most. `interrupt` is asked when a signal arrives and now and then while waiting for a
    /// turn or a connection; its error ends the wait.
    ///
    /// Errors are of the kinds `Connection`, `Timeout`, `Server` (refused at login), `Protocol`,
    /// `Config` (files of TLS), and those of the sink.
    pub fn run<S: ReplySink + ?Sized>(
        &self,
        commands: &Commands,
        sink: &mut S,
        deadline: Deadline,
        interrupt: Interrupt<'_>,
    ) -> Result<()> {
        let call = Call::new(Via::Pool(self), commands, sink);
        driver::run(call, deadline, interrupt)
    }

    /// The same without blocking, on a tokio runtime with I/O and time: always the same one, for
    /// the connections belong to it. Dropping the future closes the connection that it used.
    pub async fn run_async<S: ReplySink + ?Sized>(
        &self,
        commands: &Commands,
        sink: &mut S,
        deadline: Deadline,
    ) -> Result<()> {
        if commands.is_empty() {
            return Ok(());
        }
        deadline.remaining()?;
        let _permit = match (self.permits.try_acquire(), deadline.instant()) {
            (Ok(permit), _) => Ok(permit),
            (Err(_), None) => self.permits.acquire().await,
            (Err(_), Some(end)) => tokio::time::timeout_at(end.into(), self.permits.acquire())
                .await
                .map_err(|_| self.exhausted(deadline))?,
        }
        .map_err(|_| Error::new(ErrorKind::Connection, "the connection pool is closed"))?;
        if let Some(mut open) = self.kept_async(deadline).await {
            let outcome = open.connection.exchange(commands, sink, deadline).await;
            if !open.connection.is_lost() {
                if open.connection.is_ready() {
                    self.asynchronous.put(open);
                }
                return outcome;
            }
            self.asynchronous.clear();
            sink.sent_again();
        }
        let opened = self.connector.connect_async(deadline).await?;
        let mut open = self.asynchronous.count(opened);
        let outcome = open.connection.exchange(commands, sink, deadline).await;
        if open.connection.is_ready() {
            self.asynchronous.put(open);
        }
        outcome
    }

    /// A kept connection with the newest login. One whose login cannot be renewed is dropped.
    async fn kept_async(&self, deadline: Deadline) -> Option<Open<AsyncConnection>> {
        let mut open = self.asynchronous.take(AsyncConnection::is_stale)?;
        let renewed = self
            .connector
            .renew_async(&mut open.connection, deadline)
            .await;
        renewed.ok().map(|()| open)
    }

    /// Closes all idle connections.
    pub fn clear(&self) {
        self.blocking.clear();
        self.asynchronous.clear();
    }

    /// A connection that is the caller's alone, beside the `redis_pool_size` that are shared. Does
    /// no I/O.
    #[must_use]
    pub fn own(&self) -> OwnConnection {
        OwnConnection {
            connector: self.connector.clone(),
            counter: self.blocking.counter().clone(),
            connection: None,
        }
    }

    fn exhausted(&self, deadline: Deadline) -> Error {
        let config = self.config();
        deadline.exceeded().context(format_args!(
            "all {} connections to redis at {} are in use (raise redis_pool_size)",
            config.pool_size, config.address
        ))
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("address", &self.config().address)
            .field("blocking", &self.counts())
            .field("asynchronous", &self.async_counts())
            .finish_non_exhaustive()
    }
}
