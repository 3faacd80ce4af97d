//! A connection that the calling thread waits for, together with others.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::Health;
use super::exchange::{Exchange, Step};
use super::patience::Patience;
use super::session::Session;
use super::socket::Socket;
use super::wait::Wait;
use crate::error::Result;
use crate::redis::command::Commands;
use crate::redis::config::RedisConfig;
use crate::redis::credentials::Login;
use crate::redis::deadline::Deadline;
use crate::redis::reply::ReplySink;

/// How many bytes one connection takes in before it is the others' turn.
const SHARE: usize = 1 << 20;

/// How many bytes are read before they are looked at, and what they leave room for is sent: few enough
/// to be in the cache still.
const PIECE: usize = 64 * 1024;

/// A connection that is ready for commands.
pub struct Connection {
    config: Arc<RedisConfig>,
    socket: Socket,
    session: Option<Box<Session>>,
    health: Health,
    /// That of the credentials it logged in with.
    generation: u64,
    /// The shortest so far.
    round_trip: Duration,
}

impl Connection {
    pub(super) fn new(
        config: &Arc<RedisConfig>,
        socket: Socket,
        session: Option<Box<Session>>,
    ) -> Self {
        Self {
            config: config.clone(),
            socket,
            session,
            health: Health::Ready,
            generation: 0,
            round_trip: Duration::MAX,
        }
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
        self.socket.has_ended(self.session.is_some())
    }

    /// The newest credentials, if it has older ones.
    pub(in crate::redis) fn newer_login(&self) -> Option<Login> {
        self.config.credentials.newer_than(self.generation)
    }

    pub(super) fn set_generation(&mut self, generation: u64) {
        self.generation = generation;
    }

    /// What connections of its kind are configured by.
    pub(in crate::redis) fn config(&self) -> &Arc<RedisConfig> {
        &self.config
    }

    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        let n = match &mut self.session {
            None => self.socket.read(space)?,
            Some(session) => session.read(&self.socket, space)?,
        };
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(n)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.session {
            None => self.socket.write(bytes),
            Some(session) => session.write(&self.socket, bytes),
        }
    }

    /// What to poll for after `step` would have blocked.
    fn events(&self, step: &Step<'_>) -> PollFlags {
        match (&self.session, step) {
            (Some(session), _) => session.events(matches!(step, Step::Write(_))),
            (None, Step::Write(_)) => PollFlags::OUT,
            (None, _) => PollFlags::IN,
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Where the next piece is read into.
fn piece<S: ReplySink + ?Sized>(sink: &mut S) -> Result<&mut [u8]> {
    let space = sink.space()?;
    let most = space.len().min(PIECE);
    Ok(&mut space[..most])
}

/// One pipeline on its way through a connection.
pub(in crate::redis) struct Talk {
    exchange: Exchange,
    patience: Patience,
    /// When the connection last carried a byte.
    since: Instant,
}

impl Talk {
    /// A pipeline that is to be answered until `deadline`.
    pub fn new(connection: &Connection, deadline: Deadline, now: Instant) -> Self {
        let patience = Patience::to_talk(&connection.config, deadline);
        Self::with(patience, connection.round_trip, now)
    }

    /// The first pipeline of a connection.
    pub(super) fn first(patience: Patience, now: Instant) -> Self {
        Self::with(patience, Duration::MAX, now)
    }

    fn with(patience: Patience, round_trip: Duration, now: Instant) -> Self {
        Self {
            exchange: Exchange::new(round_trip),
            patience,
            since: now,
        }
    }

    /// Sends of `commands` what goes and takes in what has come; `None` when all replies have.
    /// `connection`, `commands` and `sink` are the same each time. After an error the connection is
    /// not [ready](Connection::is_ready) any more, nor is it in between.
    pub fn advance<S: ReplySink + ?Sized>(
        &mut self,
        connection: &mut Connection,
        commands: &Commands,
        sink: &mut S,
    ) -> Result<Option<Wait>> {
        connection.health = Health::Busy;
        let outcome = self.go_on(connection, commands, sink);
        match &outcome {
            Ok(None) => {
                connection.health = Health::Ready;
                connection.round_trip = self.exchange.round_trip();
            }
            Err(_) if self.exchange.lost() => connection.health = Health::Lost,
            _ => {}
        }
        outcome
    }

    fn go_on<S: ReplySink + ?Sized>(
        &mut self,
        connection: &mut Connection,
        commands: &Commands,
        sink: &mut S,
    ) -> Result<Option<Wait>> {
        let mut share = SHARE;
        let mut sent = false;
        loop {
            let step = self.exchange.step(commands, sink.replies())?;
            // Nothing is waited for any more, but what is there is taken in.
            if step != Step::Done && self.patience.is_over(self.since) {
                return Err(self.patience.expired());
            }
            let done = match step {
                Step::Write(bytes) => connection.write(bytes).map(|n| {
                    self.exchange.sent(n);
                    sent = true;
                }),
                // What was sent just now isn't answered yet, and the other servers are to have
                // their commands before one's replies are read.
                Step::Read if sent && !self.exchange.answered() => {
                    return Ok(Some(Wait {
                        events: connection.events(&step),
                        until: self.patience.until(self.since),
                    }));
                }
                Step::Read => match connection.read(piece(sink)?) {
                    Ok(n) => {
                        self.exchange.received();
                        let before = sink.held_up();
                        sink.advance(n)?;
                        self.patience.extend(sink.held_up().saturating_sub(before));
                        share = share.saturating_sub(n);
                        Ok(())
                    }
                    Err(error) => Err(error),
                },
                Step::Done => return Ok(None),
            };
            let now = Instant::now();
            match done {
                Ok(()) => {
                    self.since = now;
                    if share == 0 {
                        return Ok(Some(Wait::until(now)));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let until = self.patience.until(self.since);
                    if until.is_some_and(|until| until <= now) {
                        return Err(self.patience.expired());
                    }
                    return Ok(Some(Wait {
                        events: connection.events(&step),
                        until,
                    }));
                }
                Err(error) => return Err(self.exchange.failed(error, self.patience.address())),
            }
        }
    }
}
