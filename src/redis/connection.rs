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
mod attempt;
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
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

pub use self::asynchronous::AsyncConnection;
use self::asynchronous::Unwelcome;
pub(in crate::redis) use self::attempt::Attempt;
pub(in crate::redis) use self::bell::Bell;
pub use self::blocking::Connection;
pub(in crate::redis) use self::blocking::Talk;
use self::handshake::Handshake;
pub(in crate::redis) use self::opening::Opening;
use self::patience::Patience;
use self::preparation::Prepared;
pub(in crate::redis) use self::wait::{Progress, Wait};
use super::config::{Address, RedisConfig};
use super::credentials::Login;
use super::deadline::Deadline;
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
    /// Threads that read the files of TLS, or resolve the server's name.
    preparing: Arc<AtomicUsize>,
    /// The same for tasks; these have a pool of their own.
    preparing_async: Arc<AtomicUsize>,
}

impl Connector {
    /// A connector; does no I/O.
    #[must_use]
    pub fn new(config: Arc<RedisConfig>) -> Self {
        Self {
            config,
            preparing: Arc::default(),
            preparing_async: Arc::default(),
        }
    }

    /// What connections are configured by.
    #[must_use]
    pub fn config(&self) -> &Arc<RedisConfig> {
        &self.config
    }

    /// Opens a connection and logs in, within the connect timeout and `deadline`, on a tokio runtime
    /// with I/O and time.
    pub async fn connect_async(self: &Arc<Self>, deadline: Deadline) -> Result<AsyncConnection> {
        let patience = Patience::to_connect(&self.config, deadline);
        let login = match self.config.credentials.newest() {
            Some(login) => login,
            None => newer(self.ask(0, &patience).await?, None)?,
        };
        let generation = login.generation;
        match self.open_async(login, &patience).await {
            Ok(connection) => Ok(connection),
            Err(refused) if refused.login_refused && self.config.credentials.is_provided() => {
                let answer = self.ask(generation, &patience).await?;
                let login = newer(answer, Some(refused.error))?;
                let opened = self.open_async(login, &patience).await;
                opened.map_err(|unwelcome| unwelcome.error)
            }
            Err(unwelcome) => Err(unwelcome.error),
        }
    }

    /// Logs in once more, on a connection that was used before. After an error it is not to be used
    /// again.
    pub async fn renew_async(
        &self,
        connection: &mut AsyncConnection,
        deadline: Deadline,
    ) -> Result<()> {
        let Some(login) = connection.newer_login() else {
            return Ok(());
        };
        let patience = Patience::to_connect(&self.config, deadline);
        let renewed = connection
            .greet(&Handshake::renewal(login), &patience)
            .await;
        renewed.map_err(|unwelcome| unwelcome.error)
    }

    async fn open_async(
        self: &Arc<Self>,
        login: Login,
        patience: &Patience,
    ) -> Result<AsyncConnection, Unwelcome> {
        let prepared = Prepared::by_task(self, patience).await?;
        let tls = prepared.tls.clone();
        let opened = AsyncConnection::open(&self.config, prepared, patience).await;
        let greeted = match opened {
            Ok(mut connection) => {
                let handshake = Handshake::new(&self.config, login);
                let greeted = connection.greet(&handshake, patience).await;
                greeted.map(|()| connection)
            }
            Err(error) => Err(error.into()),
        };
        if let (Some(files), Some(client), Err(unwelcome)) = (&self.config.tls, &tls, &greeted)
            && unwelcome.silent
        {
            files.distrust(client);
        }
        greeted
    }

    /// What the provider says when it is asked for credentials newer than `generation`.
    async fn ask(&self, generation: u64, patience: &Patience) -> Result<Result<Option<Login>>> {
        let (wake, woken) = tokio::sync::oneshot::channel();
        let source = &self.config.credentials;
        let ring = move || {
            // Nobody waits any more if this fails.
            let _ = wake.send(());
        };
        let Some(request) = source.request(generation, ring)? else {
            return Ok(Ok(None));
        };
        if let Some(answer) = request.outcome() {
            return Ok(answer);
        }
        let waited = patience.bound(async { woken.await.map_err(io::Error::other) });
        match waited.await {
            Ok(()) => Ok(request.outcome().unwrap_or(Ok(None))),
            Err(error) => Err(request.given_up(failure(patience.address(), error))),
        }
    }
}

/// The credentials that a provider has answered with; an error if it failed, or has none that are
/// newer than those that were `refused`.
fn newer(answer: Result<Option<Login>>, refused: Option<Error>) -> Result<Login> {
    match (answer, refused) {
        (Ok(Some(login)), _) => Ok(login),
        (Ok(None), Some(refused)) => Err(refused),
        (Ok(None), None) => Err(Error::new(
            ErrorKind::Config,
            "there is no credential_provider to ask",
        )),
        (Err(failed), None) => Err(failed),
        (Err(failed), Some(refused)) => Err(refused.context(failed)),
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
    let of_tls = error.get_ref().and_then(|inner| inner.downcast_ref());
    let message = match of_tls {
        _ if error.kind() == io::ErrorKind::UnexpectedEof => {
            format!("redis at {address} closed the connection")
        }
        Some(of_tls) => format!("TLS with redis at {address} failed: {}", explained(of_tls)),
        None => format!("the connection to redis at {address} broke: {error}"),
    };
    Error::new(ErrorKind::Connection, message)
}

/// What went wrong with TLS, and what to do where rustls' words do not tell.
fn explained(error: &rustls::Error) -> String {
    use rustls::{CertificateError, Error};

    let untrusted = match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => true,
        // A self-signed certificate, as openssl makes it, is that of an authority.
        Error::InvalidCertificate(CertificateError::Other(other)) => {
            other.to_string().contains("CaUsedAsEndEntity")
        }
        _ => false,
    };
    if untrusted {
        return "the server's certificate is self-signed, or of an authority that is not trusted; \
                give the authority's certificate as ssl_ca_certs"
            .to_owned();
    }
    error.to_string()
}

/// The error of a server that took the connection and did not answer to TLS.
fn unanswered_tls(error: Error) -> Error {
    error.context("logging in over TLS failed (if no TLS is spoken there, remove ssl: true)")
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
