//! A connection whose task waits.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockAddr, SockRef};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::exchange::{Exchange, Step};
use super::handshake::Handshake;
use super::opening::KNOCK;
use super::patience::Patience;
use super::preparation::Prepared;
use super::socket::{has_ended, prepare};
use super::{Health, failure, located, unanswered_tls, unreachable};
use crate::error::{Error, ErrorKind, Result};
use crate::redis::command::Commands;
use crate::redis::config::{Address, RedisConfig};
use crate::redis::credentials::Login;
use crate::redis::deadline::Deadline;
use crate::redis::reply::ReplySink;

enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

/// A connection that is ready for commands. It belongs to the tokio runtime that it was opened
/// on, and lives no longer.
pub struct AsyncConnection {
    config: Arc<RedisConfig>,
    stream: Stream,
    health: Health,
    /// That of the credentials it logged in with.
    generation: u64,
    /// The shortest so far.
    round_trip: Duration,
}

/// A connection that was not let in.
pub(super) struct Unwelcome {
    pub error: Error,
    /// The server refused the credentials, rather than the connection.
    pub login_refused: bool,
    /// The server has not said a word.
    pub silent: bool,
}

impl From<Error> for Unwelcome {
    fn from(error: Error) -> Self {
        Self {
            error,
            login_refused: false,
            silent: true,
        }
    }
}

impl AsyncConnection {
    pub(super) async fn open(
        config: &Arc<RedisConfig>,
        prepared: Prepared,
        patience: &Patience,
    ) -> Result<Self> {
        let address = &config.address;
        let stream = patience
            .bound(reach(config, prepared.addresses, patience))
            .await;
        let stream = stream.map_err(|error| match error.downcast::<Error>() {
            Ok(error) => error,
            Err(error) => unreachable(address, &error),
        })?;
        let stream = match (stream, prepared.tls, &config.tls) {
            (Stream::Tcp(stream), Some(client), Some(settings)) => {
                let name = settings.server_name(address)?;
                let session = TlsConnector::from(client).connect(name, stream);
                let session = patience.bound(session).await;
                let session = session.map_err(|error| match failure(address, error) {
                    error if error.kind() == ErrorKind::Timeout => unanswered_tls(error),
                    error => error,
                });
                Stream::Tls(Box::new(session?))
            }
            (stream, ..) => stream,
        };
        Ok(Self {
            config: config.clone(),
            stream,
            health: Health::Ready,
            generation: 0,
            round_trip: Duration::MAX,
        })
    }

    /// Sends `commands` and reads their replies into `sink`. After an error, or when the future is
    /// dropped before its end, the connection is not [ready](Self::is_ready) any more.
    pub async fn exchange<S: ReplySink + ?Sized>(
        &mut self,
        commands: &Commands,
        sink: &mut S,
        deadline: Deadline,
    ) -> Result<()> {
        let config = self.config.clone();
        let patience = Patience::to_talk(&config, deadline);
        self.converse(commands, sink, &patience)
            .await
            .map_err(|error| located(&config.address, error))
    }

    pub(super) async fn converse<S: ReplySink + ?Sized>(
        &mut self,
        commands: &Commands,
        sink: &mut S,
        patience: &Patience,
    ) -> Result<()> {
        let (health, mut exchange) = (&mut self.health, Exchange::new(self.round_trip));
        let outcome = match &mut self.stream {
            Stream::Tcp(stream) => {
                talk(stream, health, &mut exchange, commands, sink, patience).await
            }
            Stream::Tls(stream) => {
                talk(stream, health, &mut exchange, commands, sink, patience).await
            }
            Stream::Unix(stream) => {
                talk(stream, health, &mut exchange, commands, sink, patience).await
            }
        };
        self.round_trip = exchange.round_trip();
        outcome
    }

    /// Says a handshake, and what became of it.
    pub(super) async fn greet(
        &mut self,
        handshake: &Handshake,
        patience: &Patience,
    ) -> Result<(), Unwelcome> {
        let mut greeting = handshake.greeting();
        let outcome = self
            .converse(handshake.commands(), &mut greeting, patience)
            .await;
        match handshake.judge(&greeting, outcome, &self.config) {
            Ok(()) => {
                self.generation = handshake.generation();
                Ok(())
            }
            Err(error) => Err(Unwelcome {
                error,
                login_refused: handshake.is_login_refused(&greeting),
                silent: !greeting.has_begun(),
            }),
        }
    }

    /// The newest credentials, if it has older ones.
    pub(in crate::redis) fn newer_login(&self) -> Option<Login> {
        self.config.credentials.newer_than(self.generation)
    }

    /// Whether the connection can carry another exchange.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.health == Health::Ready
    }

    /// Whether the server ended the connection before it answered the last exchange at all.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.health == Health::Lost
    }

    /// Whether the server has ended the connection while it was idle.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        match &self.stream {
            Stream::Tcp(stream) => has_ended(&SockRef::from(stream), false),
            Stream::Tls(stream) => has_ended(&SockRef::from(stream.get_ref().0), true),
            Stream::Unix(stream) => has_ended(&SockRef::from(stream), false),
        }
    }
}

async fn talk<S: ReplySink + ?Sized>(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    health: &mut Health,
    exchange: &mut Exchange,
    commands: &Commands,
    sink: &mut S,
    patience: &Patience,
) -> Result<()> {
    *health = Health::Busy;
    let mut turn = async || -> Result<()> {
        loop {
            let done = match exchange.step(commands, sink.replies())? {
                Step::Write(bytes) => write_all(stream, bytes, patience)
                    .await
                    .map(|()| exchange.sent(bytes.len())),
                Step::Read => match patience.bound(stream.read(sink.space()?)).await {
                    Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(n) => {
                        exchange.received();
                        sink.advance(n)?;
                        Ok(())
                    }
                    Err(error) => Err(error),
                },
                Step::Done => return Ok(()),
            };
            done.map_err(|error| exchange.failed(error, patience.address()))?;
        }
    };
    let outcome = turn().await;
    match outcome {
        Ok(()) => *health = Health::Ready,
        Err(_) if exchange.lost() => *health = Health::Lost,
        Err(_) => {}
    }
    outcome
}

async fn write_all(
    stream: &mut (impl AsyncWrite + Unpin),
    mut bytes: &[u8],
    patience: &Patience,
) -> io::Result<()> {
    while !bytes.is_empty() {
        match patience.bound(stream.write(bytes)).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            n => bytes = &bytes[n..],
        }
    }
    patience.bound(stream.flush()).await
}

/// The first of the server's addresses that answers. Each gets its share of the time.
async fn reach(
    config: &RedisConfig,
    addresses: VecDeque<SockAddr>,
    patience: &Patience,
) -> io::Result<Stream> {
    if let Address::Unix(path) = &config.address {
        loop {
            match UnixStream::connect(path).await {
                // The backlog is full, and nothing tells when there is room again.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    tokio::time::sleep(KNOCK).await;
                }
                result => return result.map(Stream::Unix),
            }
        }
    }
    let addresses: Vec<_> = addresses.iter().filter_map(SockAddr::as_socket).collect();
    let mut failed = io::Error::other("the host has no address");
    for (tried, address) in addresses.iter().enumerate() {
        let connecting = TcpStream::connect(address);
        let stream = match patience.share(addresses.len() - tried)? {
            None => connecting.await,
            Some(share) => tokio::time::timeout(share, connecting)
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
        };
        match stream.and_then(|stream| {
            prepare(&SockRef::from(&stream), config.keepalive)?;
            Ok(stream)
        }) {
            Ok(stream) => return Ok(Stream::Tcp(stream)),
            Err(error) => failed = error,
        }
    }
    if failed.kind() == io::ErrorKind::TimedOut {
        return Err(patience.expired_io());
    }
    Err(failed)
}
