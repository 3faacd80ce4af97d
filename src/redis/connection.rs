//! One connection to Redis, blocking or asynchronous.
//!
//! Both forms are thin: the order of writes and reads is decided by `exchange`, what to say
//! first and what to make of the answer by `handshake`, and how long to wait by `patience`,
//! none of which does I/O. A blocking connection never blocks by itself: it goes as far as it can
//! and says what to wait for, so that one thread can wait for many (`pool::driver`).
//!
//! A connection that fails, or is left in the middle of an exchange, is never used again: it may
//! have replies to come that nobody waits for.

mod asynchronous;
mod bell;
mod blocking;
mod exchange;
mod handshake;
mod opening;
mod patience;
mod preparation;
mod session;
mod socket;
mod wait;

use std::io;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};

use rustls::ClientConfig;

pub use self::asynchronous::AsyncConnection;
pub(in crate::redis) use self::bell::Bell;
pub use self::blocking::Connection;
pub(in crate::redis) use self::blocking::Talk;
use self::handshake::Handshake;
pub(in crate::redis) use self::opening::Opening;
use self::patience::Patience;
pub(in crate::redis) use self::wait::{Progress, Wait};
use super::config::{Address, RedisConfig};
use super::deadline::Deadline;
use super::tls::TlsSettings;
use crate::error::{Error, ErrorKind, Result};

/// Asked now and then by a thread that waits: an error ends the wait. Python checks for signals
/// here.
pub type Interrupt<'a> = &'a dyn Fn() -> Result<()>;

/// Whether a connection can be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Health {
    /// Every reply has been read.
    Ready,
    /// An exchange is under way, or was given up.
    Busy,
    /// The connection was lost before a single byte of reply came.
    Lost,
}

/// Opens connections to one server.
pub struct Connector {
    config: Arc<RedisConfig>,
    /// Made at the first connection, for it reads files; kept, for it reads many.
    tls: OnceLock<Arc<ClientConfig>>,
    /// Threads that read the files, or resolve the server's name.
    preparing: Arc<AtomicUsize>,
}

impl Connector {
    /// A connector; does no I/O.
    #[must_use]
    pub fn new(config: Arc<RedisConfig>) -> Self {
        Self {
            config,
            tls: OnceLock::new(),
            preparing: Arc::default(),
        }
    }

    /// What connections are configured by.
    #[must_use]
    pub fn config(&self) -> &Arc<RedisConfig> {
        &self.config
    }

    /// What a new connection says first.
    fn handshake(&self) -> Handshake {
        Handshake::new(&self.config)
    }

    /// Whether the files of TLS have been read, if there are any.
    fn is_prepared(&self) -> bool {
        self.config.tls.is_none() || self.tls.get().is_some()
    }

    /// Opens a connection and logs in, within the connect timeout and `deadline`, on a tokio runtime
    /// with I/O and time.
    pub async fn connect_async(self: &Arc<Self>, deadline: Deadline) -> Result<AsyncConnection> {
        let patience = Patience::to_connect(&self.config, deadline);
        let tls = match &self.config.tls {
            Some(settings) if self.tls.get().is_some() => Some(self.tls_client(settings)?),
            Some(_) => Some(self.read_tls_files(&patience).await?),
            None => None,
        };
        let mut connection = AsyncConnection::open(&self.config, tls, &patience).await?;
        let handshake = self.handshake();
        let mut greeting = handshake.greeting();
        let outcome = connection
            .converse(handshake.commands(), &mut greeting, &patience)
            .await;
        handshake.judge(&greeting, outcome, &self.config)?;
        Ok(connection)
    }

    fn tls_client(&self, settings: &TlsSettings) -> Result<Arc<ClientConfig>> {
        if let Some(made) = self.tls.get() {
            return Ok(made.clone());
        }
        let made = settings.client_config()?;
        Ok(self.tls.get_or_init(|| made).clone())
    }

    /// The machine's certificates are tens of milliseconds of reading and parsing, too long for a
    /// thread that other requests share.
    async fn read_tls_files(self: &Arc<Self>, patience: &Patience) -> Result<Arc<ClientConfig>> {
        let this = self.clone();
        let reading = tokio::task::spawn_blocking(move || match &this.config.tls {
            Some(settings) => this.tls_client(settings),
            None => Err(Error::new(ErrorKind::Config, "TLS is not configured")),
        });
        let read = patience
            .bound(async { reading.await.map_err(io::Error::other) })
            .await;
        read.map_err(|error| failure(patience.address(), error))?
    }
}

/// Whether an error of I/O carries one of this crate's, such as a time limit's.
fn is_ours(error: &io::Error) -> bool {
    matches!(error.get_ref(), Some(inner) if inner.is::<Error>())
}

/// The error behind one of I/O: this crate's own, if that is what it carries.
fn failure(address: &Address, error: io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(error) => lost(address, &error),
    }
}

/// The error of a connection that the server, or something between, has ended.
fn lost(address: &Address, error: &io::Error) -> Error {
    let message = match error.get_ref() {
        _ if error.kind() == io::ErrorKind::UnexpectedEof => {
            format!("redis at {address} closed the connection")
        }
        Some(inner) if inner.is::<rustls::Error>() => {
            format!("TLS with redis at {address} failed: {error}")
        }
        _ => format!("the connection to redis at {address} broke: {error}"),
    };
    Error::new(ErrorKind::Connection, message)
}

/// An error of the protocol with the address, of which whoever takes the bytes in knows nothing.
pub(in crate::redis) fn located(address: &Address, error: Error) -> Error {
    match error.kind() {
        ErrorKind::Protocol => error.context(format_args!("redis at {address}")),
        _ => error,
    }
}

/// The error of a connection that was never made.
fn unreachable(address: &Address, error: &io::Error) -> Error {
    Error::new(
        ErrorKind::Connection,
        format!("cannot connect to redis at {address}: {error}"),
    )
}
