//! A call under way: waiting for its turn, opening a connection, talking.

use std::cell::{Cell, OnceCell};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

use rustix::event::PollFlags;

use super::shelf::Open;
use super::turnstile::{Queued, Turn};
use super::{Call, Pool, Via};
use crate::error::{Error, ErrorKind, Result};
use crate::redis::connection::{
    Bell, Connection, Connector, Opening, Progress, Talk, Wait, located,
};
use crate::redis::credentials::Login;
use crate::redis::deadline::Deadline;
use crate::redis::reply::ReplySink;

/// What the calls of one run share.
pub(super) struct Round {
    pub deadline: Deadline,
    /// Made when the first call waits for something other than a socket.
    bell: OnceCell<Arc<Bell>>,
}

impl Round {
    pub fn new(deadline: Deadline) -> Self {
        Self {
            deadline,
            bell: OnceCell::new(),
        }
    }

    /// The bell, if anyone may ring it.
    pub fn bell_in_use(&self) -> Option<&Arc<Bell>> {
        self.bell.get()
    }

    fn bell(&self) -> Result<&Arc<Bell>> {
        if let Some(bell) = self.bell.get() {
            return Ok(bell);
        }
        let made = Bell::new().map_err(|error| {
            Error::new(
                ErrorKind::Connection,
                format!("a pipe to wait with cannot be made: {error}"),
            )
        })?;
        Ok(self.bell.get_or_init(|| Arc::new(made)))
    }
}

/// One call and how far it has come.
pub(super) struct Flight<'f, 'a, S: ReplySink + ?Sized> {
    pub call: &'f mut Call<'a, S>,
    stage: Stage<'a>,
    wait: Wait,
    /// Whether what it waits for has happened.
    due: Cell<bool>,
}

/// A connection is dropped before the turn that it was opened in, for whoever is next may open
/// another. Calls through a connection of their own need no turn.
enum Stage<'a> {
    New,
    Queued(Queued<'a>),
    Opening {
        opening: Box<Opening>,
        turn: Option<Turn<'a>>,
    },
    Talking {
        talk: Talk,
        since: Instant,
        /// Whether the connection had been used before.
        kept: bool,
        /// `None` is the call's own.
        pooled: Option<Open<Connection>>,
        turn: Option<Turn<'a>>,
    },
    Ended,
}

impl<'f, 'a, S: ReplySink + ?Sized> Flight<'f, 'a, S> {
    pub fn new(call: &'f mut Call<'a, S>) -> Self {
        call.outcome = None;
        call.took = None;
        Self {
            call,
            stage: Stage::New,
            wait: Wait::bell(None),
            due: Cell::new(true),
        }
    }

    pub fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Ended)
    }

    /// Whether a step can be taken.
    pub fn is_due(&self) -> bool {
        self.due.get()
    }

    /// Takes note of what happened.
    pub fn notice(&self, event: bool, rung: bool, now: Instant) {
        let late = self.wait.until.is_some_and(|until| until <= now);
        let heard = rung && self.wait.events.is_empty();
        self.due.set(event || heard || late);
    }

    /// What it waits for.
    pub fn wait(&self) -> Wait {
        self.wait
    }

    /// The socket to poll and for what.
    pub fn polled(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let socket = match &self.stage {
            _ if self.wait.events.is_empty() => None,
            Stage::New | Stage::Queued(_) | Stage::Ended => None,
            Stage::Opening { opening, .. } => opening.socket(),
            Stage::Talking { pooled, .. } => match (pooled, &self.call.via) {
                (Some(open), _) => Some(open.connection.as_fd()),
                (None, Via::Own(own)) => {
                    own.connection.as_ref().map(|open| open.connection.as_fd())
                }
                (None, Via::Pool(_)) => None,
            },
        };
        socket.map(|socket| (socket, self.wait.events))
    }

    /// Whether commands are on their way.
    pub fn is_talking(&self) -> bool {
        matches!(self.stage, Stage::Talking { .. })
    }

    /// Goes on as far as possible without waiting.
    pub fn advance(&mut self, round: &Round) {
        self.due.set(false);
        match self.go_on(round) {
            Ok(Some(wait)) => self.wait = wait,
            Ok(None) => self.end(Some(Ok(()))),
            Err(error) => self.end(Some(Err(error))),
        }
    }

    /// Ends with `outcome`; `None` gives the call up for a rival.
    pub fn end(&mut self, outcome: Option<Result<()>>) {
        if let Stage::Talking { since, .. } = &self.stage {
            self.call.took = Some(since.elapsed());
        }
        let succeeded = matches!(outcome, Some(Ok(())));
        let stage = std::mem::replace(&mut self.stage, Stage::Ended);
        match (&mut self.call.via, stage) {
            (
                Via::Pool(pool),
                Stage::Talking {
                    pooled: Some(open),
                    turn,
                    ..
                },
            ) => {
                if open.connection.is_ready() {
                    pool.blocking.put(open);
                } else {
                    drop(open);
                }
                drop(turn);
            }
            (Via::Own(own), _) if !succeeded => own.connection = None,
            _ => {}
        }
        self.call.outcome = outcome;
    }

    fn go_on(&mut self, round: &Round) -> Result<Option<Wait>> {
        loop {
            match &mut self.stage {
                Stage::New => {
                    if let Some(wait) = self.begin(round)? {
                        return Ok(Some(wait));
                    }
                }
                Stage::Queued(queued) => {
                    let deadline = round.deadline;
                    let Via::Pool(pool) = self.call.via else {
                        return Ok(None);
                    };
                    if deadline.remaining().is_err() {
                        return Err(pool.exhausted(deadline));
                    }
                    match queued.turn() {
                        Some(turn) => self.take_turn(pool, turn, round)?,
                        None => return Ok(Some(Wait::bell(deadline.instant()))),
                    }
                }
                Stage::Opening { opening, .. } => match opening.advance()? {
                    Progress::Waiting(wait) => return Ok(Some(wait)),
                    Progress::Done(connection) => self.opened(connection, round),
                },
                Stage::Talking { .. } => match self.talk() {
                    Err(error) if !self.replace_connection(round)? => return Err(error),
                    Err(_) => {}
                    Ok(waiting) => return Ok(waiting),
                },
                Stage::Ended => return Ok(None),
            }
        }
    }

    /// Begins, unless it is to begin later.
    fn begin(&mut self, round: &Round) -> Result<Option<Wait>> {
        if self.call.commands.is_empty() && matches!(self.call.via, Via::Pool(_)) {
            self.stage = Stage::Ended;
            return Ok(None);
        }
        round.deadline.remaining()?;
        if let Some(begins) = self.call.begins
            && begins > Instant::now()
        {
            let end = round.deadline.instant();
            return Ok(Some(Wait::until(end.map_or(begins, |end| end.min(begins)))));
        }
        match &mut self.call.via {
            Via::Pool(pool) => {
                let pool: &'a Pool = pool;
                match pool.turnstile.enter() {
                    Some(turn) => self.take_turn(pool, turn, round)?,
                    None => self.stage = Stage::Queued(pool.turnstile.queue(round.bell()?)),
                }
            }
            Via::Own(own) => {
                let kept = own.connection.take();
                let kept = kept.filter(|open| open.connection.is_ready());
                let login = kept.as_ref().and_then(|open| open.connection.newer_login());
                self.stage = match (kept, login) {
                    (Some(open), None) => {
                        let now = Instant::now();
                        let talk = Talk::new(&open.connection, round.deadline, now);
                        own.connection = Some(open);
                        Stage::Talking {
                            talk,
                            since: now,
                            kept: false,
                            pooled: None,
                            turn: None,
                        }
                    }
                    (kept, login) => {
                        let kept = kept.map(|open| open.connection).zip(login);
                        let opening = opening(&own.connector, kept, round)?;
                        Stage::Opening {
                            opening: Box::new(opening),
                            turn: None,
                        }
                    }
                };
            }
        }
        Ok(None)
    }

    /// Goes on with the connection used last, or a new one.
    fn take_turn(&mut self, pool: &'a Pool, turn: Turn<'a>, round: &Round) -> Result<()> {
        match pool.blocking.take(Connection::is_stale) {
            Some(open) => {
                if let Some(login) = open.connection.newer_login() {
                    let kept = (open.connection, login);
                    return self.open(pool, Some(kept), Some(turn), round);
                }
                let now = Instant::now();
                self.stage = Stage::Talking {
                    talk: Talk::new(&open.connection, round.deadline, now),
                    since: now,
                    kept: true,
                    pooled: Some(open),
                    turn: Some(turn),
                };
                Ok(())
            }
            None => self.open(pool, None, Some(turn), round),
        }
    }

    /// Goes on with a connection that is opened, or `kept` and given a new login.
    fn open(
        &mut self,
        pool: &Pool,
        kept: Option<(Connection, Login)>,
        turn: Option<Turn<'a>>,
        round: &Round,
    ) -> Result<()> {
        let opening = opening(&pool.connector, kept, round)?;
        self.stage = Stage::Opening {
            opening: Box::new(opening),
            turn,
        };
        Ok(())
    }

    /// Begins to talk through a new connection.
    fn opened(&mut self, connection: Connection, round: &Round) {
        let now = Instant::now();
        let talk = Talk::new(&connection, round.deadline, now);
        let Stage::Opening { turn, .. } = std::mem::replace(&mut self.stage, Stage::Ended) else {
            return;
        };
        let pooled = match &mut self.call.via {
            Via::Pool(pool) => Some(pool.blocking.count(connection)),
            Via::Own(own) => {
                own.connection = Some(own.counter.count(connection));
                None
            }
        };
        self.stage = Stage::Talking {
            talk,
            since: now,
            kept: false,
            pooled,
            turn,
        };
    }

    /// Sends what goes and takes in what has come; `None` when all has.
    fn talk(&mut self) -> Result<Option<Wait>> {
        let Stage::Talking { talk, pooled, .. } = &mut self.stage else {
            return Ok(None);
        };
        let call = &mut *self.call;
        let own = match &mut call.via {
            Via::Own(own) => own.connection.as_mut(),
            Via::Pool(_) => None,
        };
        let Some(open) = pooled.as_mut().or(own) else {
            return Ok(None);
        };
        let connection = &mut open.connection;
        talk.advance(connection, call.commands, call.sink)
            .map_err(|error| located(&connection.config().address, error))
    }

    /// Opens another connection in place of a kept one that turned out dead before a byte of reply
    /// came, if it is one.
    fn replace_connection(&mut self, round: &Round) -> Result<bool> {
        let (
            Via::Pool(pool),
            Stage::Talking {
                kept: true,
                pooled: Some(open),
                turn,
                ..
            },
        ) = (&self.call.via, &mut self.stage)
        else {
            return Ok(false);
        };
        if !open.connection.is_lost() {
            return Ok(false);
        }
        let (pool, turn) = (*pool, turn.take());
        self.stage = Stage::Ended;
        pool.blocking.clear();
        self.call.sink.sent_again();
        self.open(pool, None, turn, round)?;
        Ok(true)
    }
}

/// What leads to a new connection, or to one that was `kept` with a new login.
fn opening(
    connector: &Arc<Connector>,
    kept: Option<(Connection, Login)>,
    round: &Round,
) -> Result<Opening> {
    let bell = || round.bell();
    match kept {
        Some((connection, login)) => {
            Opening::renew(connector, connection, login, round.deadline, bell)
        }
        None => Opening::begin(connector, round.deadline, bell),
    }
}
