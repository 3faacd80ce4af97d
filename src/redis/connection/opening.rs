//! A connection on its way to be open: addresses, socket, TLS and login, under one time limit.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use socket2::SockAddr;

use super::bell::Bell;
use super::blocking::{Connection, Talk};
use super::handshake::{Greeting, Handshake};
use super::patience::Patience;
use super::preparation::Preparation;
use super::session::Session;
use super::socket::Socket;
use super::wait::{Progress, Wait};
use super::{Connector, failure, unreachable};
use crate::error::Result;
use crate::redis::config::Address;
use crate::redis::deadline::Deadline;

/// How long to wait for room in the backlog of a Unix socket.
pub(super) const KNOCK: Duration = Duration::from_millis(1);

/// A connection that is being opened.
pub(in crate::redis) struct Opening {
    connector: Arc<Connector>,
    patience: Patience,
    stage: Stage,
}

enum Stage {
    Preparing(Preparation),
    Reaching(Option<Box<Session>>, Reach),
    LoggingIn(Box<Login>),
    Over,
}

struct Login {
    connection: Connection,
    talk: Talk,
    handshake: Handshake,
    greeting: Greeting,
}

impl Opening {
    /// Begins to open a connection. `bell` gives what is to be rung by a thread that has finished
    /// what cannot be polled for.
    pub fn begin<'b>(
        connector: &Arc<Connector>,
        deadline: Deadline,
        bell: impl FnOnce() -> Result<&'b Arc<Bell>>,
    ) -> Result<Self> {
        let config = connector.config();
        let patience = Patience::to_connect(config, deadline);
        let known = match &config.address {
            Address::Unix(path) => {
                Some(SockAddr::unix(path).map_err(|error| unreachable(&config.address, &error))?)
            }
            Address::Tcp { host, port } => host
                .parse()
                .ok()
                .map(|ip| SockAddr::from(SocketAddr::new(ip, *port))),
        };
        let stage = match known {
            Some(address) if connector.is_prepared() => {
                Stage::reaching(connector, VecDeque::from([address]))?
            }
            known => Stage::Preparing(Preparation::start(connector, known, bell()?)?),
        };
        Ok(Self {
            connector: connector.clone(),
            patience,
            stage,
        })
    }

    /// Goes on as far as possible without waiting. It is over once it is done, or after an error.
    pub fn advance(&mut self) -> Result<Progress<Connection>> {
        let config = self.connector.config();
        loop {
            match std::mem::replace(&mut self.stage, Stage::Over) {
                Stage::Preparing(preparation) => {
                    if let Some(addresses) = preparation.result()? {
                        self.stage = Stage::reaching(&self.connector, addresses)?;
                        continue;
                    }
                    let now = Instant::now();
                    let until = self.patience.until(now);
                    if until.is_some_and(|until| until <= now) {
                        return Err(self.patience.expired());
                    }
                    self.stage = Stage::Preparing(preparation);
                    return Ok(Progress::Waiting(Wait::bell(until)));
                }
                Stage::Reaching(session, mut reach) => {
                    match reach.advance(&self.patience, config.keepalive)? {
                        Progress::Waiting(wait) => {
                            self.stage = Stage::Reaching(session, reach);
                            return Ok(Progress::Waiting(wait));
                        }
                        Progress::Done(socket) => {
                            let handshake = self.connector.handshake();
                            self.stage = Stage::LoggingIn(Box::new(Login {
                                connection: Connection::new(config, socket, session),
                                talk: Talk::with(self.patience.clone(), Instant::now()),
                                greeting: handshake.greeting(),
                                handshake,
                            }));
                        }
                    }
                }
                Stage::LoggingIn(mut login) => {
                    let Login {
                        connection,
                        talk,
                        handshake,
                        greeting,
                    } = &mut *login;
                    let outcome = match talk.advance(connection, handshake.commands(), greeting) {
                        Ok(Some(wait)) => {
                            self.stage = Stage::LoggingIn(login);
                            return Ok(Progress::Waiting(wait));
                        }
                        outcome => outcome.map(|_| ()),
                    };
                    handshake.judge(greeting, outcome, config)?;
                    return Ok(Progress::Done(login.connection));
                }
                Stage::Over => return Err(self.patience.expired()),
            }
        }
    }

    /// The socket to poll, if there is one yet.
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        match &self.stage {
            Stage::Preparing(_) | Stage::Over => None,
            Stage::Reaching(_, reach) => reach.socket.as_ref().map(|(socket, _)| socket.as_fd()),
            Stage::LoggingIn(login) => Some(login.connection.as_fd()),
        }
    }
}

impl Stage {
    fn reaching(connector: &Connector, addresses: VecDeque<SockAddr>) -> Result<Self> {
        let config = connector.config();
        let session = match &config.tls {
            None => None,
            Some(settings) => {
                let client = connector.tls_client(settings)?;
                let name = settings.server_name(&config.address)?;
                let session = Session::new(client, name)
                    .map_err(|error| unreachable(&config.address, &io::Error::other(error)))?;
                Some(Box::new(session))
            }
        };
        Ok(Self::Reaching(session, Reach::new(addresses)))
    }
}

/// The search for the first of the server's addresses that answers. Each gets its share of the
/// time.
struct Reach {
    untried: VecDeque<SockAddr>,
    /// The attempt under way, and when to give it up.
    socket: Option<(Socket, Option<Instant>)>,
    /// Why the last attempt failed; `None` if it took too long.
    failed: Option<io::Error>,
}

impl Reach {
    fn new(addresses: VecDeque<SockAddr>) -> Self {
        Self {
            untried: addresses,
            socket: None,
            failed: Some(io::Error::other("the host has no address")),
        }
    }

    fn advance(&mut self, patience: &Patience, keepalive: bool) -> Result<Progress<Socket>> {
        let address = patience.address();
        loop {
            if let Some((socket, until)) = self.socket.take() {
                match socket.is_connected() {
                    Ok(true) => return Ok(Progress::Done(socket)),
                    Ok(false) if until.is_none_or(|until| until > Instant::now()) => {
                        self.socket = Some((socket, until));
                        return Ok(Progress::Waiting(Wait {
                            events: PollFlags::OUT,
                            until,
                        }));
                    }
                    Ok(false) => self.failed = None,
                    Err(error) => self.failed = Some(error),
                }
            }
            let Some(next) = self.untried.pop_front() else {
                return Err(match &self.failed {
                    Some(error) => unreachable(address, error),
                    None => patience.expired(),
                });
            };
            let share = patience
                .share(self.untried.len() + 1)
                .map_err(|error| failure(address, error))?;
            let now = Instant::now();
            match Socket::connect(&next, keepalive) {
                Ok(socket) => {
                    let until = share.and_then(|share| now.checked_add(share));
                    self.socket = Some((socket, until));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.untried.push_front(next);
                    let until = patience.until(now);
                    let knock = now + KNOCK;
                    let until = until.map_or(knock, |until| until.min(knock));
                    return Ok(Progress::Waiting(Wait::until(until)));
                }
                Err(error) => self.failed = Some(error),
            }
        }
    }
}
