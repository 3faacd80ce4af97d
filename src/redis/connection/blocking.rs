//! A connection whose thread waits.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use socket2::SockRef;

use super::exchange::{Step, begin};
use super::patience::Patience;
use super::socket::{Socket, Stream, Wire};
use super::{Health, Interrupt, failure, located, unreachable};
use crate::error::Result;
use crate::redis::command::Commands;
use crate::redis::config::{Address, RedisConfig};
use crate::redis::deadline::Deadline;
use crate::redis::reply::ReplySink;

/// How often a thread that waits for something other than a socket looks up.
pub(in crate::redis) const WATCH: Duration = Duration::from_millis(50);

/// A connection that is ready for commands.
pub struct Connection {
    config: Arc<RedisConfig>,
    socket: Socket,
    tls: Option<Box<rustls::ClientConnection>>,
    health: Health,
}

impl Connection {
    pub(super) fn open(
        config: &Arc<RedisConfig>,
        tls: Option<Arc<ClientConfig>>,
        dialing: &Arc<AtomicUsize>,
        patience: &Patience<'_>,
        interrupt: Interrupt<'_>,
    ) -> Result<Self> {
        let tls = match (tls, &config.tls) {
            (Some(client), Some(settings)) => {
                let name = settings.server_name(&config.address)?;
                let session = rustls::ClientConnection::new(client, name)
                    .map_err(|error| unreachable(&config.address, &io::Error::other(error)))?;
                Some(Box::new(session))
            }
            _ => None,
        };
        let stream = dial(config, dialing, patience, interrupt)?;
        Ok(Self {
            config: config.clone(),
            socket: Socket::new(stream),
            tls,
            health: Health::Ready,
        })
    }

    /// Sends `commands` and reads their replies into `sink`. After an error the connection is not
    /// [ready](Self::is_ready) any more.
    pub fn exchange<S: ReplySink + ?Sized>(
        &mut self,
        commands: &Commands,
        sink: &mut S,
        deadline: Deadline,
        interrupt: Interrupt<'_>,
    ) -> Result<()> {
        let config = self.config.clone();
        let patience = Patience::to_talk(&config, deadline);
        self.converse(commands, sink, &patience, interrupt)
            .map_err(|error| located(&config.address, error))
    }

    pub(super) fn converse<S: ReplySink + ?Sized>(
        &mut self,
        commands: &Commands,
        sink: &mut S,
        patience: &Patience<'_>,
        interrupt: Interrupt<'_>,
    ) -> Result<()> {
        self.health = Health::Busy;
        let mut wire = Wire {
            socket: &mut self.socket,
            patience,
            interrupt,
        };
        let mut exchange = begin(commands, patience.address());
        let mut talk = || -> Result<()> {
            loop {
                match exchange.step(sink.replies())? {
                    Step::Write(bytes) => exchange.sent(match &mut self.tls {
                        None => wire.write_all(bytes),
                        Some(tls) => rustls::Stream::new(&mut **tls, &mut wire).write_all(bytes),
                    })?,
                    Step::Read => {
                        let space = sink.space()?;
                        let n = exchange.received(match &mut self.tls {
                            None => wire.read(space),
                            Some(tls) => rustls::Stream::new(&mut **tls, &mut wire).read(space),
                        })?;
                        sink.advance(n)?;
                    }
                    Step::Done => return Ok(()),
                }
            }
        };
        let outcome = talk();
        match outcome {
            Ok(()) => self.health = Health::Ready,
            Err(_) if exchange.lost() => self.health = Health::Lost,
            Err(_) => {}
        }
        outcome
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
        let socket = self.socket.stream.options();
        if socket.set_nonblocking(true).is_err() {
            return true;
        }
        let stale = has_ended(&socket, self.tls.is_some());
        stale || socket.set_nonblocking(false).is_err()
    }
}

/// Whether a non-blocking socket is at its end, or, without TLS, has bytes nobody asked for.
pub(super) fn has_ended(socket: &SockRef<'_>, tls: bool) -> bool {
    match socket.peek(&mut [std::mem::MaybeUninit::uninit()]) {
        Ok(0) => true,
        // TLS has messages of its own, such as session tickets.
        Ok(_) => !tls,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

/// Sets what every TCP connection has: no delay of small writes, and probes that keep idle
/// connections in the tables of cloud networks and notice within a minute when they aren't.
pub(super) fn prepare(socket: &SockRef<'_>, keepalive: bool) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    if keepalive {
        let probes = socket2::TcpKeepalive::new()
            .with_time(Duration::from_secs(30))
            .with_interval(Duration::from_secs(10))
            .with_retries(3);
        socket.set_tcp_keepalive(&probes)?;
    }
    Ok(())
}

/// An attempt to connect, counted until its thread ends: nobody waits for one that hangs, so
/// without a limit there would be ever more of them.
struct Attempt(Arc<AtomicUsize>);

impl Attempt {
    fn start(count: &Arc<AtomicUsize>, limit: usize) -> Option<Self> {
        let attempt = Self(count.clone());
        (count.fetch_add(1, Ordering::Relaxed) < limit).then_some(attempt)
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Connects in a thread of its own: neither resolving a name nor connecting can be bounded or
/// interrupted otherwise.
fn dial(
    config: &RedisConfig,
    dialing: &Arc<AtomicUsize>,
    patience: &Patience<'_>,
    interrupt: Interrupt<'_>,
) -> Result<Stream> {
    let address = patience.address();
    let Some(attempt) = Attempt::start(dialing, config.pool_size) else {
        return Err(unreachable(
            address,
            &io::Error::other(format!(
                "{} attempts to connect are hanging already, in the system's resolver or in the \
                 network",
                config.pool_size
            )),
        ));
    };
    let until = patience.until(Instant::now());
    let (answer, answered) = mpsc::sync_channel(1);
    let (target, keepalive) = (address.clone(), config.keepalive);
    std::thread::Builder::new()
        .name("feast-rs-connect".to_owned())
        .spawn(move || {
            let _attempt = attempt;
            // Nobody waits any more if this fails, and the socket is closed.
            let _ = answer.send(reach(&target, keepalive, until));
        })
        .map_err(|error| unreachable(address, &error))?;
    loop {
        interrupt()?;
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(patience.expired());
        }
        match answered.recv_timeout(left.map_or(WATCH, |left| left.min(WATCH))) {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut => {
                return Err(patience.expired());
            }
            Ok(Err(error)) => return Err(unreachable(address, &error)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                let error = io::Error::other("the connecting thread ended");
                return Err(failure(address, error));
            }
        }
    }
}

/// The first of the server's addresses that answers. Each gets its share of the time.
fn reach(address: &Address, keepalive: bool, until: Option<Instant>) -> io::Result<Stream> {
    let (host, port) = match address {
        Address::Unix(path) => return UnixStream::connect(path).map(Stream::Unix),
        Address::Tcp { host, port } => (host.as_str(), *port),
    };
    let addresses: Vec<_> = (host, port).to_socket_addrs()?.collect();
    let mut failed = io::Error::other("the host has no address");
    for (tried, address) in addresses.iter().enumerate() {
        let stream = match until {
            None => TcpStream::connect(address),
            Some(until) => {
                let left = until.saturating_duration_since(Instant::now());
                let share = left / u32::try_from(addresses.len() - tried).unwrap_or(1);
                TcpStream::connect_timeout(address, share.max(Duration::from_millis(1)))
            }
        };
        match stream.and_then(|stream| {
            prepare(&SockRef::from(&stream), keepalive)?;
            Ok(stream)
        }) {
            Ok(stream) => return Ok(Stream::Tcp(stream)),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}
