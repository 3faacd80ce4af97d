//! A connection on its way to be open: credentials, addresses, socket, TLS and login, under one time
//! limit.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustls::ClientConfig;
use socket2::SockAddr;

use super::bell::Bell;
use super::blocking::{Connection, Talk};
use super::handshake::{Greeting, Handshake};
use super::patience::Patience;
use super::preparation::{Near, Preparation, Prepared};
use super::session::Session;
use super::socket::Socket;
use super::wait::{Progress, Wait};
use super::{Connector, failure, newer, unreachable};
use crate::error::{Error, Result};
use crate::redis::credentials::{Login, Request};
use crate::redis::deadline::Deadline;

/// How long to wait for room in the backlog of a Unix socket.
pub(super) const KNOCK: Duration = Duration::from_millis(1);

/// A connection that is being opened, or gets a new login.
pub(in crate::redis) struct Opening {
    connector: Arc<Connector>,
    patience: Patience,
    stage: Stage,
    /// There if a thread is waited for: one that prepares, or a provider's.
    bell: Option<Arc<Bell>>,
    login: Login,
    /// The server's words about a login, while a newer one is asked for.
    refused: Option<Error>,
    /// Whether one was asked for; that is done once.
    asked_again: bool,
    tls: Option<Arc<ClientConfig>>,
}

enum Stage {
    Asking(Request),
    Preparing(Preparation),
    Reaching(Option<Box<Session>>, Reach),
    LoggingIn(Box<Greeted>),
    Renewing(Box<Greeted>),
    Over,
}

/// A connection whose first answers are due.
struct Greeted {
    connection: Connection,
    talk: Talk,
    handshake: Handshake,
    greeting: Greeting,
}

impl Greeted {
    fn new(connection: Connection, handshake: Handshake, patience: &Patience) -> Box<Self> {
        Box::new(Self {
            connection,
            talk: Talk::first(patience.clone(), Instant::now()),
            greeting: handshake.greeting(),
            handshake,
        })
    }

    /// Goes on as far as possible; how it went, once all is said.
    fn advance(&mut self) -> Result<Result<()>, Wait> {
        let commands = self.handshake.commands();
        let talked = self
            .talk
            .advance(&mut self.connection, commands, &mut self.greeting);
        match talked {
            Ok(Some(wait)) => Err(wait),
            outcome => Ok(outcome.map(|_| ())),
        }
    }
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
        let near = Near::find(connector)?;
        let waits = config.credentials.is_provided() || !near.is_complete(config);
        let mut opening = Self {
            connector: connector.clone(),
            patience: Patience::to_connect(config, deadline),
            stage: Stage::Over,
            bell: if waits { Some(bell()?.clone()) } else { None },
            login: Login::default(),
            refused: None,
            asked_again: false,
            tls: None,
        };
        opening.stage = opening.first_stage(near)?;
        Ok(opening)
    }

    /// Begins to log in once more, on a `connection` that was used before; if that fails, another
    /// is opened in its place.
    pub fn renew<'b>(
        connector: &Arc<Connector>,
        connection: Connection,
        login: Login,
        deadline: Deadline,
        bell: impl FnOnce() -> Result<&'b Arc<Bell>>,
    ) -> Result<Self> {
        let patience = Patience::to_connect(connector.config(), deadline);
        let handshake = Handshake::renewal(login);
        Ok(Self {
            connector: connector.clone(),
            stage: Stage::Renewing(Greeted::new(connection, handshake, &patience)),
            patience,
            bell: Some(bell()?.clone()),
            login: Login::default(),
            refused: None,
            asked_again: false,
            tls: None,
        })
    }

    /// Goes on as far as possible without waiting. It is over once it is done, or after an error.
    pub fn advance(&mut self) -> Result<Progress<Connection>> {
        let connector = self.connector.clone();
        let config = connector.config();
        loop {
            match std::mem::replace(&mut self.stage, Stage::Over) {
                Stage::Asking(request) => match request.outcome() {
                    Some(answer) => {
                        self.login = newer(answer, self.refused.take())?;
                        self.stage = self.near_stage(Near::find(&connector)?)?;
                    }
                    None => match self.until_rung() {
                        Ok(wait) => {
                            self.stage = Stage::Asking(request);
                            return Ok(Progress::Waiting(wait));
                        }
                        Err(error) => return Err(request.given_up(error)),
                    },
                },
                Stage::Preparing(preparation) => {
                    let Some(prepared) = preparation.result()? else {
                        let wait = self.until_rung()?;
                        self.stage = Stage::Preparing(preparation);
                        return Ok(Progress::Waiting(wait));
                    };
                    self.stage = self.reaching(prepared)?;
                }
                Stage::Reaching(session, mut reach) => {
                    match reach.advance(&self.patience, config.keepalive)? {
                        Progress::Waiting(wait) => {
                            self.stage = Stage::Reaching(session, reach);
                            return Ok(Progress::Waiting(wait));
                        }
                        Progress::Done(socket) => {
                            let connection = Connection::new(config, socket, session);
                            let handshake = Handshake::new(config, self.login.clone());
                            self.stage = Stage::LoggingIn(Greeted::new(
                                connection,
                                handshake,
                                &self.patience,
                            ));
                        }
                    }
                }
                Stage::LoggingIn(mut greeted) => match greeted.advance() {
                    Err(wait) => {
                        self.stage = Stage::LoggingIn(greeted);
                        return Ok(Progress::Waiting(wait));
                    }
                    Ok(outcome) => {
                        if let Some(connection) = self.judge(*greeted, outcome)? {
                            return Ok(Progress::Done(connection));
                        }
                    }
                },
                Stage::Renewing(mut greeted) => match greeted.advance() {
                    Err(wait) => {
                        self.stage = Stage::Renewing(greeted);
                        return Ok(Progress::Waiting(wait));
                    }
                    Ok(outcome) => {
                        let verdict = greeted.handshake.judge(&greeted.greeting, outcome, config);
                        match verdict {
                            Ok(()) => return Ok(Progress::Done(greeted.logged_in())),
                            Err(error) if self.is_late() => return Err(error),
                            Err(_) => self.stage = self.first_stage(Near::find(&connector)?)?,
                        }
                    }
                },
                Stage::Over => return Err(self.patience.expired()),
            }
        }
    }

    /// The connection, if its login is accepted; if the login is refused, newer credentials are
    /// asked for, once.
    fn judge(&mut self, greeted: Greeted, outcome: Result<()>) -> Result<Option<Connection>> {
        let config = self.connector.config();
        let Greeted {
            handshake,
            greeting,
            ..
        } = &greeted;
        let failed = outcome.is_err() && !greeting.has_begun();
        if let (true, Some(files), Some(client)) = (failed, &config.tls, &self.tls) {
            files.distrust(client);
        }
        match handshake.judge(greeting, outcome, config) {
            Ok(()) => Ok(Some(greeted.logged_in())),
            Err(error) if !self.asked_again && handshake.is_login_refused(greeting) => {
                let Some(request) = self.request(handshake.generation())? else {
                    return Err(error);
                };
                self.asked_again = true;
                self.refused = Some(error);
                self.stage = Stage::Asking(request);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The socket to poll, if there is one yet.
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        match &self.stage {
            Stage::Asking(_) | Stage::Preparing(_) | Stage::Over => None,
            Stage::Reaching(_, reach) => reach.socket.as_ref().map(|(socket, _)| socket.as_fd()),
            Stage::LoggingIn(greeted) | Stage::Renewing(greeted) => {
                Some(greeted.connection.as_fd())
            }
        }
    }

    /// Begins with the newest credentials, or asks for the first.
    fn first_stage(&mut self, near: Near) -> Result<Stage> {
        match self.connector.config().credentials.newest() {
            Some(login) => {
                self.login = login;
                self.near_stage(near)
            }
            None => Ok(self.request(0)?.map_or(Stage::Over, Stage::Asking)),
        }
    }

    fn request(&self, generation: u64) -> Result<Option<Request>> {
        let Some(bell) = self.bell.clone() else {
            return Ok(None);
        };
        let source = &self.connector.config().credentials;
        source.request(generation, move || bell.ring())
    }

    /// Goes on to what there is to prepare, or to the server.
    fn near_stage(&mut self, near: Near) -> Result<Stage> {
        match (&self.bell, near.is_complete(self.connector.config())) {
            (Some(bell), false) => Ok(Stage::Preparing(Preparation::start(
                &self.connector,
                near.address,
                bell,
            )?)),
            _ => self.reaching(near.into()),
        }
    }

    fn reaching(&mut self, prepared: Prepared) -> Result<Stage> {
        let config = self.connector.config();
        let session = match (&config.tls, &prepared.tls) {
            (Some(settings), Some(client)) => {
                let name = settings.server_name(&config.address)?;
                let session = Session::new(client.clone(), name)
                    .map_err(|error| unreachable(&config.address, &io::Error::other(error)))?;
                Some(Box::new(session))
            }
            _ => None,
        };
        self.tls = prepared.tls;
        Ok(Stage::Reaching(session, Reach::new(prepared.addresses)))
    }

    fn is_late(&self) -> bool {
        let now = Instant::now();
        self.patience.until(now).is_some_and(|until| until <= now)
    }

    fn until_rung(&self) -> Result<Wait> {
        if self.is_late() {
            return Err(self.patience.expired());
        }
        Ok(Wait::bell(self.patience.until(Instant::now())))
    }
}

impl Greeted {
    fn logged_in(self) -> Connection {
        let mut connection = self.connection;
        connection.set_generation(self.handshake.generation());
        connection
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
